"""Connecting and listening: addresses, families, failures, UNIX sockets."""

import errno
import os
import socket
import time

import pytest

from ioto import runtime
from ioto.runtime import dial, listener


async def echo(stream):
    while data := await stream.read():
        await stream.write(data)


def run(main):
    async def limited():
        async with runtime.timeout(20):
            return await main()
    return runtime.run(limited)


@pytest.mark.parametrize('text, expected', [
    ('127.0.0.1:80', ('127.0.0.1', 80)), (':8080', ('', 8080)), ('[::1]:443', ('::1', 443)), ('localhost:0', ('localhost', 0)),
    (8080, ('', 8080)), (('a', 1), ('a', 1)), ('unix:/tmp/x', ('unix', '/tmp/x'))])
def test_addresses(text, expected):
    assert listener.split_address(text) == expected


@pytest.mark.parametrize('text', ['', '80', 'host', 'host:', 'host:port', '::1:80', 'host:65536', 'host:-1', 'host:+1'])
def test_bad_addresses_are_refused(text):
    with pytest.raises(ValueError, match='expected an address'):
        listener.split_address(text)


@pytest.mark.parametrize('address', ['127.0.0.1:0', 'localhost:0', ':0'])
def test_listen_and_connect(address):
    async def main():
        async with await runtime.listen(address, echo) as server:
            assert server.addresses and server.port
            async with await runtime.connect('127.0.0.1', server.port) as stream:
                await stream.write(b'hello')
                assert await stream.read() == b'hello'
                assert stream.remote == ('127.0.0.1', server.port)
    run(main)


def test_unix_sockets_and_stale_ones(tmp_path):
    path = str(tmp_path / 'sock')

    async def main():
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(path)
        stale.close()
        async with await runtime.listen('unix:' + path, echo) as server:
            assert server.addresses == ['unix:' + path]
            async with await runtime.connect('unix:' + path) as stream:
                await stream.write(b'hello')
                assert await stream.read() == b'hello'
            with pytest.raises(OSError) as caught:
                await runtime.listen('unix:' + path, echo)
            assert caught.value.errno == errno.EADDRINUSE
        assert not os.path.exists(path)
    run(main)


def test_a_port_in_use_names_the_address():
    async def main():
        async with await runtime.listen('127.0.0.1:0', echo) as server:
            with pytest.raises(OSError, match=f'cannot listen on 127.0.0.1:{server.port}') as caught:
                await runtime.listen(f'127.0.0.1:{server.port}', echo)
            assert caught.value.errno == errno.EADDRINUSE
    run(main)


def test_a_refused_connection_names_the_peer():
    async def main():
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        with pytest.raises(ConnectionRefusedError, match=f'127.0.0.1 port {port}'):
            await runtime.connect('127.0.0.1', port)
    run(main)


def test_an_unknown_host_is_an_oserror_that_names_it(monkeypatch):
    def fail(*_args):
        raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')
    monkeypatch.setattr(socket, 'getaddrinfo', fail)

    async def main():
        with pytest.raises(OSError, match='no-such-host.invalid'):
            await runtime.connect('no-such-host.invalid', 80)
    run(main)


def test_names_are_looked_up_off_the_loop(monkeypatch):
    real = socket.getaddrinfo

    def slow(host, *args):
        time.sleep(0.1)
        return real('127.0.0.1', *args)
    monkeypatch.setattr(socket, 'getaddrinfo', slow)

    async def main():
        ticks = []

        async def ticker():
            while True:
                ticks.append(1)
                await runtime.sleep(0.002)
        async with await runtime.listen('127.0.0.1:0', echo) as server:
            fiber = runtime.spawn(ticker())
            async with await runtime.connect('slow.invalid', server.port):
                pass
            fiber.cancel()
        assert len(ticks) > 10
    run(main)


def test_a_dead_first_address_delays_by_the_stagger_only(monkeypatch):
    """RFC 8305: the second family is tried while the first hangs."""
    dead = socket.socket()
    dead.bind(('127.0.0.1', 0))
    dead.listen(0)
    fill = []
    for _ in range(3):                      # its backlog is full, so further SYNs get no answer
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(dead.getsockname())
        fill.append(sock)

    async def main():
        async with await runtime.listen('127.0.0.1:0', echo) as server:
            async def both(host, port, passive=False):
                return [(socket.AF_INET, dead.getsockname()), (socket.AF_INET, ('127.0.0.1', server.port))]
            begin = time.monotonic()
            monkeypatch.setattr(dial, 'resolve', both)
            async with await runtime.connect('two.invalid', server.port) as stream:
                assert stream.remote[1] == server.port
            assert time.monotonic() - begin < 5
    try:
        run(main)
    finally:
        for sock in (dead, *fill):
            sock.close()


def test_families_are_tried_in_turn(monkeypatch):
    four, six = (socket.AF_INET, 1, 6, ''), (socket.AF_INET6, 1, 6, '')
    found = [(*six, ('::1', 9, 0, 0)), (*six, ('::2', 9, 0, 0)), (*four, ('127.0.0.1', 9)), (*four, ('127.0.0.2', 9))]
    monkeypatch.setattr(socket, 'getaddrinfo', lambda *args: found)

    async def main():
        return [address[0] for _, address in await dial.resolve('x.invalid', 9)]
    assert run(main) == ['::1', '127.0.0.1', '::2', '127.0.0.2']


def test_connect_timeout():
    dead = socket.socket()
    dead.bind(('127.0.0.1', 0))
    dead.listen(0)
    fill = []
    for _ in range(3):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(dead.getsockname())
        fill.append(sock)

    async def main():
        with pytest.raises(TimeoutError):
            await runtime.connect(*dead.getsockname(), timeout=0.05)
    try:
        run(main)
    finally:
        for sock in (dead, *fill):
            sock.close()


def test_closing_a_server_refuses_new_connections_and_leaves_the_others():
    async def main():
        server = await runtime.listen('127.0.0.1:0', echo)
        port = server.port
        stream = await runtime.connect('127.0.0.1', port)
        await stream.write(b'a')
        assert await stream.read() == b'a'
        await server.close()
        with pytest.raises(ConnectionRefusedError):
            await runtime.connect('127.0.0.1', port)
        await stream.write(b'b')
        assert await stream.read() == b'b'
        await stream.close()
    run(main)


def test_an_error_in_a_handler_is_logged_and_closes_its_stream_only():
    heard = []

    def sink(_time, _kind, _source, message):
        heard.append(message)

    async def failing(stream):
        if await stream.read() == b'fail':
            raise ValueError('handler')
        await stream.write(b'fine')

    async def main():
        async with await runtime.listen('127.0.0.1:0', failing) as server:
            async with await runtime.connect('127.0.0.1', server.port) as stream:
                await stream.write(b'fail')
                assert await stream.read() == b''
            async with await runtime.connect('127.0.0.1', server.port) as stream:
                await stream.write(b'go on')
                assert await stream.read() == b'fine'
    runtime.log.add_sink(sink)
    try:
        run(main)
    finally:
        runtime.log.remove_sink(sink)
    assert any('handler' in message for message in heard)


def test_five_hundred_connections_at_once():
    async def main():
        async with await runtime.listen('127.0.0.1:0', echo) as server:
            async def client(n):
                async with await runtime.connect('127.0.0.1', server.port) as stream:
                    for _ in range(3):
                        await stream.write(b'%d' % n)
                        assert await stream.read() == b'%d' % n
            async with runtime.TaskGroup() as group:
                for n in range(500):
                    group.spawn(client(n))
    run(main)


def test_running_out_of_descriptors_pauses_and_recovers():
    import resource
    heard = []

    def sink(_time, _kind, _source, message):
        heard.append(message)
    old = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main():
        async with await runtime.listen('127.0.0.1:0', echo) as server:
            clients = [socket.socket() for _ in range(10)]
            used = len(os.listdir('/proc/self/fd'))
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 3, old[1]))
            try:
                for client in clients:
                    client.connect(('127.0.0.1', server.port))
                await runtime.sleep(0.1)
                assert heard
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, old)
            for client in clients:
                client.setblocking(False)
                client.send(b'x')
            await runtime.sleep(listener.PAUSE + 0.3)
            assert [client.recv(1) for client in clients] == [b'x'] * 10
            for client in clients:
                client.close()
    runtime.log.add_sink(sink)
    try:
        run(main)
    finally:
        runtime.log.remove_sink(sink)
        resource.setrlimit(resource.RLIMIT_NOFILE, old)


def test_connecting_to_a_unix_socket_with_a_full_line_waits_for_room(tmp_path):
    path = str(tmp_path / 'sock')
    full = socket.socket(socket.AF_UNIX)
    full.bind(path)
    full.listen(0)
    first = socket.socket(socket.AF_UNIX)
    first.connect(path)

    async def main():
        fiber = runtime.spawn(runtime.connect('unix:' + path))
        await runtime.sleep(0.05)
        assert not fiber.done
        accepted = [full.accept()[0]]
        stream = await fiber.join()
        await stream.write(b'x')
        accepted.append(full.accept()[0])
        assert accepted[1].recv(1) == b'x'
        await stream.close()
        for sock in accepted:
            sock.close()
    try:
        run(main)
    finally:
        full.close()
        first.close()


def test_a_listener_may_be_bound_first_and_accept_later():
    async def main():
        async with await runtime.listen('127.0.0.1:0', echo, accept=False) as server:
            async with await runtime.connect('127.0.0.1', server.port) as stream:
                await stream.write(b'x')
                await runtime.sleep(0.02)
                assert not server.connections
                server.accept()
                assert await stream.read() == b'x'
        async with await runtime.listen('127.0.0.1:0', echo, accept=False) as server:
            port = server.port
        with pytest.raises(ConnectionRefusedError):
            await runtime.connect('127.0.0.1', port)
    run(main)
