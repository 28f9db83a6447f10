"""A server that says what a test wants it to say, and a client to ask it."""

from ioto import runtime
from ioto.url import Client


class Asked:
    """A request as the server got it: `line`, `fields` (lower-case names), `body`, `connection` (counted from 1)."""

    def __init__(self, head, connection):
        self.line, *lines = head.decode('latin-1').split('\r\n')[:-2]
        self.method, self.target = self.line.split(' ')[:2]
        self.fields = {}
        for line in lines:
            name, _, value = line.partition(': ')
            assert name.lower() not in self.fields, f'{name} is there twice'
            self.fields[name.lower()] = value
        self.connection = connection
        self.body = b''


async def read_request(stream, connection=1, body=True):
    """The next request of a stream, None at its end."""
    try:
        asked = Asked(await stream.read_until(b'\r\n\r\n'), connection)
    except (runtime.IncompleteRead, OSError):
        return None
    if body:
        if 'expect' in asked.fields:
            await stream.write(b'HTTP/1.1 100 Continue\r\n\r\n')
        await read_body(stream, asked)
    return asked


async def read_body(stream, asked):
    if asked.fields.get('transfer-encoding') == 'chunked':
        while size := int(await stream.read_until(b'\r\n'), 16):
            asked.body += await stream.read_exactly(size)
            assert await stream.read_exactly(2) == b'\r\n'
        assert await stream.read_exactly(2) == b'\r\n'
    else:
        asked.body = await stream.read_exactly(int(asked.fields.get('content-length', 0)))


async def tunnel(stream, asked):
    """Answer a CONNECT and be its tunnel, until one side ends."""
    host, _, port = asked.target.rpartition(':')
    async with await runtime.connect(host, int(port)) as other, runtime.TaskGroup() as group:
        await stream.write(b'HTTP/1.1 200 Connected\r\n\r\n')

        async def pump(source, target):
            while data := await source.read():
                await target.write(data)
            group.cancel()
        group.spawn(pump(stream, other))
        group.spawn(pump(other, stream))


class Script:
    """A server whose `answer(asked)` gives the bytes to send for each request; None, or bytes that end in CLOSE, close."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []
        self.connections = 0
        self.open = 0

    async def __call__(self, stream):
        self.connections += 1
        self.open += 1
        number = self.connections
        try:
            while asked := await read_request(stream, number):
                self.asked.append(asked)
                data = self.answer(asked)
                if data is None:
                    return
                await stream.write(data.removesuffix(CLOSE))
                if data.endswith(CLOSE):
                    return
        except OSError:
            pass
        finally:
            self.open -= 1


CLOSE = b'<close>'
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'


def answer(status, *fields, body=b''):
    """The bytes of an answer with Content-Length."""
    lines = [f'HTTP/1.1 {status} X', *fields, f'Content-Length: {len(body)}', '', '']
    return '\r\n'.join(lines).encode('latin-1') + body


def serve(main, handler, tls=None, limit=20, address='127.0.0.1:0', **options):
    """Run `await main(client, base)` beside a server with `handler(stream)`; `options` are those of the Client."""
    async def inside():
        async with runtime.timeout(limit), await runtime.listen(address, handler, tls=tls) as server:
            base = f'unix:{server.path}:' if server.path else f'http{"s" if tls else ""}://127.0.0.1:{server.port}'
            client = options.pop('client', None) or Client(proxy=False, **options)
            async with client:
                result = await main(client, base)
                assert client.pool.count == len([each for idle in client.pool.idle.values() for each in idle])
            assert not client.pool.count and not client.pool.waiting
            return result
    return runtime.run(inside)


def ask(data, method='GET', **options):
    """The Fetch of one request that is answered with these bytes, its `body` read; or the error that it raised."""
    closing = data if data.endswith(CLOSE) else data

    async def main(client, base):
        async with client.fetch(method, base + '/x', **options) as up:
            up.body = await up.read()
            return up
    return serve(main, Script(lambda asked: closing))
