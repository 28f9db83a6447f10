"""The agent's app for the benchmarks: an action that answers at once, one that reads its body slowly, a WebSocket that echoes, and
events: `/api/publish` sends one to all who listen at `/api/events`."""

from ioto.runtime import sleep
from ioto.web import Disconnected

STEP = 1 << 20
PAUSE = 0.004


async def start(agent):

    @agent.web.action('/api/hello')
    async def hello(web):
        return {'hello': 'world'}

    @agent.web.action('/api/slow')
    async def slow(web):
        total = pending = 0
        async for piece in web.body():
            total += len(piece)
            pending += len(piece)
            if pending >= STEP:
                pending = 0
                await sleep(PAUSE)
        return str(total)

    @agent.web.action('/api/echo')
    async def echo(web):
        socket = await web.upgrade()
        async for message in socket:
            await socket.send(message)

    channels = set()

    @agent.web.action('/api/events')
    async def events(web):
        channel = await web.events()
        channels.add(channel)
        try:
            await channel.wait()
        finally:
            channels.discard(channel)

    @agent.web.action('/api/publish')
    async def publish(web):
        for channel in list(channels):
            try:
                await channel.send(web.query)
            except Disconnected:
                channels.discard(channel)
        return str(len(channels))

    @agent.web.action('/api/form')
    async def form(web):
        await web.form()
        return str(web.files['file'].size)
