"""
What stays open: websocket (echo of small messages, memory of an open one), events (one event to many clients).

The load is made here, with plain sockets: frames are made before, and of what comes back the bytes are counted.
"""

import os
import selectors
import socket
import time

from tools.benchmarks import load
from tools.benchmarks.report import Column, Result, interleave
from tools.benchmarks.servers import BenchError, running, serving

RATE = 'messages/s'
CONNECTIONS = 16
MESSAGE = 64            # bytes
UPGRADE = (b'GET /api/echo HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
           b'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n')


def websocket(options):
    """Echo of messages of 64 bytes, one at a time and 32 at a time on each connection; memory of an open WebSocket."""
    depths = (1, 32)
    result = Result('websocket', f'echo of {MESSAGE} bytes, {CONNECTIONS} connections, one core, no compression', [
        *[Column(f'{depth} at a time', RATE) for depth in depths], *[Column(f'{depth}, cost', 'µs/message') for depth in depths],
        Column('an open one', 'bytes')])
    names = serving('echo')
    with running(names) as servers:
        names = list(servers)
        memory = {name: open_memory(servers[name], 500) for name in names}
        rates = interleave(options.rounds, names, lambda name: tuple(
            number for depth in depths for number in echo(servers[name], depth, options.seconds)))
    result.rows = {name: [*rates[name][::2], *rates[name][1::2], memory[name]] for name in names}
    for depth in depths:
        result.budget(f'websockets, {depth} at a time', result.ratio('websockets', f'{depth} at a time'), 'at least', 1.5)
    result.notes.append('websockets without its part in C; with 1 at a time the load may be what limits the agent, the cost is its own')
    return result


def open_socket(port):
    sock = socket.create_connection(('127.0.0.1', port), timeout=10)
    sock.sendall(UPGRADE)
    data = b''
    while b'\r\n\r\n' not in data:
        data += load.received(sock)
    if not data.startswith(b'HTTP/1.1 101 '):
        raise BenchError(f'no WebSocket: {data[:80]!r}')
    return sock


def open_memory(server, count):
    """Bytes of resident memory for each of `count` open WebSockets that have echoed a message."""
    def use():
        sock = open_socket(server.port)
        sock.sendall(masked_frame())
        load.received(sock)
        return sock
    for sock in [use() for _ in range(4)]:
        sock.close()
    time.sleep(0.2)
    before = server.memory()[0]
    sockets = [use() for _ in range(count)]
    time.sleep(0.2)
    after = server.memory()[0]
    for sock in sockets:
        sock.close()
    time.sleep(0.3)
    return (after - before) / count


def masked_frame():
    """A text frame of a client."""
    key = os.urandom(4)
    text = (b'0123456789abcdef' * MESSAGE)[:MESSAGE]
    return bytes((0x81, 0x80 | MESSAGE)) + key + bytes(byte ^ key[at & 3] for at, byte in enumerate(text))


def echo(server, depth, seconds):
    """(messages a second that come back, µs of processor time for each) where each connection keeps `depth` on the way."""
    batch = b''.join(masked_frame() for _ in range(depth))
    expected = depth * (MESSAGE + 2)
    selector = selectors.DefaultSelector()
    sockets = [open_socket(server.port) for _ in range(CONNECTIONS)]
    missing = {}
    used = server.cpu()
    for sock in sockets:
        selector.register(sock, selectors.EVENT_READ)
        sock.sendall(batch)
        missing[sock] = expected
    rounds = 0
    began = time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        for key, _ in selector.select(5):
            sock = key.fileobj
            left = missing[sock] - len(load.received(sock))
            if left < 0:
                raise BenchError(f'{-left} bytes more than were sent')
            if not left:
                rounds += 1
                left = expected
                sock.sendall(batch)
            missing[sock] = left
    used = server.cpu() - used
    for sock in sockets:
        sock.close()
    selector.close()
    time.sleep(0.2)
    return rounds * depth / (now - began), used / (rounds * depth) * 1e6


def events(options):
    """Milliseconds from a request that publishes an event until the last of 500 clients has it; the same beside stuck clients."""
    count, stuck = 500, 20
    result = Result('events', f'one event to {count} clients', [
        Column('at all', 'ms', ratio=False), Column(f'beside {stuck} stuck', 'ms', ratio=False),
        Column('memory of one', 'bytes', ratio=False)])
    with running(['agent']) as servers:
        server = servers['agent']
        before = server.memory()[0]
        listeners = [listen(server.port) for _ in range(count)]
        memory = (server.memory()[0] - before) / count
        free = [published(server.port, listeners) for _ in range(20)]
        blocked = [listen(server.port, 4096) for _ in range(stuck)]
        large = b'x' * 8000
        for _ in range(100):                # more than their socket buffers hold, less than the backlog
            load.get(server.port, f'/api/publish?{large.decode()}')
            drain(listeners)
        beside = [published(server.port, listeners) for _ in range(20)]
        for sock in listeners + blocked:
            sock.close()
    result.rows['agent'] = [sorted(free)[10] * 1000, sorted(beside)[10] * 1000, memory]
    result.budget('with stuck ones against without', result.value('agent', f'beside {stuck} stuck') / result.value('agent', 'at all'),
                  'at most', 1.5)
    return result


def listen(port, room=None):
    sock = socket.socket()
    if room:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    sock.settimeout(10)
    sock.connect(('127.0.0.1', port))
    sock.sendall(b'GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')
    while b'\r\n\r\n' not in load.received(sock):
        pass
    return sock


def published(port, listeners):
    """Seconds until each has the event."""
    began = time.perf_counter()
    with socket.create_connection(('127.0.0.1', port), timeout=10) as sock:
        sock.sendall(b'GET /api/publish?news HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n')
        for listener in listeners:
            data = b''
            while not data.endswith(b'data: news\n\n\r\n'):
                data += load.received(listener)
        elapsed = time.perf_counter() - began
        while sock.recv(65536):
            pass
    return elapsed


def drain(listeners):
    for sock in listeners:
        sock.setblocking(False)
        try:
            while sock.recv(1 << 20):
                pass
        except BlockingIOError:
            pass
        sock.settimeout(10)
