"""
An HTTP client under measurement: CLIENT get|downloads SECONDS COUNT URL. It prints requests a second, or MB a second.

`get` asks for the same small text again and again over one kept connection; `downloads` keeps COUNT downloads going.
"""

import os
import sys
import time


def get(fetch, seconds):
    """Requests a second of a blocking function."""
    fetch()
    count, began = 0, time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        for _ in range(20):
            fetch()
        count += 20
    return count / (now - began)


async def get_async(fetch, seconds):
    """Requests a second of a coroutine function."""
    await fetch()
    count, began = 0, time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        for _ in range(20):
            await fetch()
        count += 20
    return count / (now - began)


class Meter:
    """The bytes that several fibers or tasks have read until the time was over."""

    def __init__(self, seconds):
        self.began = time.perf_counter()
        self.end = self.began + seconds
        self.size = 0

    def count(self, data):
        self.size += len(data)

    @property
    def over(self):
        return time.perf_counter() >= self.end

    def rate(self):
        return self.size / (time.perf_counter() - self.began) / (1 << 20)


async def agent(kind, seconds, count, url):
    from ioto import runtime
    from ioto.url import Client
    async with Client(per_host=count, connections=count) as client:
        if kind == 'get':
            return await get_async(lambda: client.get(url), seconds)
        meter = Meter(seconds)

        async def download():
            while not meter.over:
                async with client.fetch('GET', url) as up:
                    async for chunk in up:
                        meter.count(chunk)
        async with runtime.TaskGroup() as group:
            for _ in range(count):
                group.spawn(download())
        return meter.rate()


async def aiohttp(kind, seconds, count, url):
    import asyncio
    from aiohttp import ClientSession, TCPConnector
    async with ClientSession(connector=TCPConnector(limit=count)) as session:
        if kind == 'get':
            async def fetch():
                async with session.get(url) as answer:
                    return await answer.text()
            return await get_async(fetch, seconds)
        meter = Meter(seconds)

        async def download():
            while not meter.over:
                async with session.get(url) as answer:
                    async for chunk in answer.content.iter_any():
                        meter.count(chunk)
        await asyncio.gather(*[download() for _ in range(count)])
        return meter.rate()


def requests(seconds, url):
    from requests import Session
    with Session() as session:
        return get(lambda: session.get(url).text, seconds)


def main(client, kind, seconds, count, url):
    seconds, count = float(seconds), int(count)
    if client == 'requests':
        return requests(seconds, url)
    if client == 'aiohttp':
        import asyncio
        return asyncio.run(aiohttp(kind, seconds, count, url))
    sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..', '..')))
    from ioto import runtime
    return runtime.run(agent, kind, seconds, count, url)


if __name__ == '__main__':
    print(main(*sys.argv[1:]))
