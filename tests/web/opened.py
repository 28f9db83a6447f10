"""What the tests of WebSockets and of events share: a server whose fibers are counted, frames, raw clients."""

import socket

from ioto import runtime
from ioto.runtime.fiber import kernel
from tests.web import support

KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
FIELDS = {'Host': 'test', 'Connection': 'keep-alive, Upgrade', 'Upgrade': 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': KEY}


def serve(main, config=None, actions=(), limit=30):
    """As support.serve; afterwards no fiber and no connection of it may be left."""
    async def checked(client, server):
        before = {fiber for fiber in kernel().fibers if fiber.name != 'connection'}
        result = await main(client, server)
        await client.stream.close()
        await until(lambda: not server.connections and kernel().fibers <= before, 'no fiber is left')
        assert not server.clients
        return result
    return support.serve(checked, config, actions, limit)


async def until(condition, what, seconds=6):
    """Wait until a condition holds."""
    for _ in range(seconds * 100):
        if condition():
            return
        await runtime.sleep(0.01)
    raise AssertionError(f'not within {seconds} s: {what}')


def handshake(path='/', method='GET', version='1.1', **changes):
    """A request to upgrade; `changes` to its fields have _ for -, None leaves one out."""
    fields = FIELDS | {name.replace('_', '-'): value for name, value in changes.items()}
    lines = [f'{name}: {value}\r\n' for name, value in fields.items() if value is not None]
    return f'{method} {path} HTTP/{version}\r\n{"".join(lines)}\r\n'.encode()


async def open_socket(client, path='/', more=b'', **changes):
    """Upgrade a raw client's connection; the head of the answer."""
    answer = await client.ask(handshake(path, **changes) + more)
    assert answer.status == 101, answer.body
    return answer


async def read_frame(stream):
    """(first byte, payload) of the next frame from the server; None at the end."""
    try:
        first, size = await stream.read_exactly(2)
    except EOFError:
        return None
    assert size < 128, 'a server does not mask'
    if size > 125:
        size = int.from_bytes(await stream.read_exactly(2 if size == 126 else 8))
    return first, await stream.read_exactly(size)


async def slow_client(server, request):
    """A connection with small buffers on both sides, over which a request was sent and nothing will be read."""
    for sock in server.listeners[0].sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(('127.0.0.1', server.listeners[0].port))
    sock.sendall(request)
    return sock
