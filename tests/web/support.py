"""A server in this process, and raw exchanges with it."""

from ioto import runtime
from ioto.web import Server


class Answer:
    """A parsed answer: `status`, `fields` (lower-case names), `body` (as framed), `raw_head`."""

    def __init__(self, head, body):
        self.raw_head = head
        lines = head.decode('latin-1').split('\r\n')
        self.status = int(lines[0].split(' ')[1])
        self.fields = {}
        for line in lines[1:]:
            if line:
                name, _, value = line.partition(':')
                self.fields.setdefault(name.lower(), value.strip())
        self.body = body


async def read_answer(stream, method='GET'):
    """Read one answer off a stream, framed as RFC 9112 §6.3 says."""
    head = await stream.read_until(b'\r\n\r\n')
    answer = Answer(head, b'')
    if method == 'HEAD' or answer.status in (204, 304) or answer.status < 200:
        return answer
    if answer.fields.get('transfer-encoding') == 'chunked':
        while True:
            size = int(await stream.read_until(b'\r\n'), 16)
            answer.body += await stream.read_exactly(size)
            assert await stream.read_exactly(2) == b'\r\n'
            if not size:
                return answer
    if 'content-length' in answer.fields:
        answer.body = await stream.read_exactly(int(answer.fields['content-length']))
    else:
        while data := await stream.read():
            answer.body += data
    return answer


class Client:
    """A connection to the server under test."""

    def __init__(self, stream):
        self.stream = stream

    async def ask(self, request, method=None):
        """Send bytes, or the text of a request line, and read one answer."""
        if isinstance(request, str):
            request = f'{request} HTTP/1.1\r\nHost: test\r\n\r\n'.encode()
        await self.stream.write(request)
        return await read_answer(self.stream, method or request.split(b' ')[0].decode())

    async def closed(self):
        """Whether the server has closed, with nothing left to read."""
        return await self.stream.read() == b''


def serve(main, config=None, actions=(), limit=30):
    """Run `await main(client, server)` against a server with the given `web` properties and {path: function} of actions."""
    async def run():
        server = Server({'listen': ['http://127.0.0.1:0'], **(config or {})})
        for path, function in dict(actions).items():
            server.action(path)(function)
        await server.start()
        async with runtime.timeout(limit):
            port = server.listeners[0].port
            async with await runtime.connect('127.0.0.1', port) as stream:
                result = await main(Client(stream), server)
        await server.stop(1)
        return result
    return runtime.run(run)


async def connect(server):
    """Another connection to the same server."""
    return Client(await runtime.connect('127.0.0.1', server.listeners[0].port))
