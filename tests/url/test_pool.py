"""Kept connections: used again, bounded, closed when idle, and asked again where one was stale."""

import pytest

from ioto import runtime
from ioto.url import Client, ConnectError, ProtocolError, TimeoutError, UrlError
from tests.url.support import CLOSE, OK, Script, answer, read_request, serve


def test_requests_one_after_the_other_share_a_connection():
    script = Script(lambda asked: OK)

    async def main(client, base):
        for _ in range(5):
            await client.get(base)
    serve(main, script)
    assert script.connections == 1


@pytest.mark.parametrize('data', [
    OK.replace(b'OK\r\n', b'OK\r\nConnection: close\r\n'), OK.replace(b'1.1', b'1.0'), b'HTTP/1.1 200 OK\r\n\r\nok' + CLOSE])
def test_a_server_that_does_not_keep_gets_a_new_connection(data):
    script = Script(lambda asked: data)

    async def main(client, base):
        for _ in range(2):
            assert await client.get(base) == 'ok'
            assert not client.pool.count
    serve(main, script)
    assert script.connections == 2


def test_http_1_0_with_keep_alive_keeps():
    script = Script(lambda asked: OK.replace(b'1.1 200 OK', b'1.0 200 OK\r\nConnection: Keep-Alive'))

    async def main(client, base):
        for _ in range(2):
            assert await client.get(base) == 'ok'
    serve(main, script)
    assert script.connections == 1


def test_a_client_that_says_close_does_not_keep():
    async def main(client, base):
        await client.get(base, **options)
        assert not client.pool.count
    close = {'headers': {'Connection': 'close'}}
    options = close
    serve(main, Script(lambda asked: OK))
    options = {}
    serve(main, Script(lambda asked: OK), **close)


@pytest.mark.parametrize('options, most', [({'per_host': 3}, 3), ({'connections': 2}, 2), ({}, 20)])
def test_connections_are_bounded_and_who_waits_is_served(options, most):
    highest = 0

    async def slow(stream):
        nonlocal highest
        while await read_request(stream):
            highest = max(highest, client_of_test.pool.count)
            await runtime.sleep(.005)
            await stream.write(OK)

    async def main(client, base):
        async with runtime.TaskGroup() as group:
            for _ in range(40):
                group.spawn(client.get(base))
        assert client.pool.count == most
    client_of_test = Client(proxy=False, **options)
    serve(main, slow, client=client_of_test)
    assert highest == most


def test_who_waits_in_vain_leaves_the_line():
    async def silent(stream):
        await read_request(stream)
        await stream.read()

    async def main(client, base):
        async with runtime.TaskGroup() as group:
            async def first():
                with pytest.raises(TimeoutError):
                    await client.get(base, timeout=.3)
            group.spawn(first())
            await runtime.sleep(.05)
            with pytest.raises(TimeoutError) as caught:
                await client.get(base, timeout=.05)
            assert caught.value.phase == 'whole' and not client.pool.waiting
    serve(main, silent, per_host=1)


def test_who_waits_for_another_host_is_served_in_turn():
    script = Script(lambda asked: OK)
    done = []

    async def main(client, base):
        async def get(where):
            done.append((await client.get(where), where))
        async with await runtime.listen('127.0.0.1:0', script) as server:
            other = f'http://127.0.0.1:{server.port}'
            order = [base, base, other, base, base]
            async with runtime.TaskGroup() as group:
                for where in order:
                    group.spawn(get(where))
        assert done == [('ok', where) for where in order]
    serve(main, script, connections=1)


def test_an_idle_connection_gives_way_to_another_host():
    script = Script(lambda asked: OK)

    async def main(client, base):
        async with await runtime.listen('127.0.0.1:0', script) as other:
            for where in (base, f'http://127.0.0.1:{other.port}', base):
                assert await client.get(where) == 'ok'
                assert client.pool.count == 1 and list(client.pool.counts.values()) == [1]
    serve(main, script, connections=1)
    assert script.connections == 3


def test_idle_connections_expire():
    script = Script(lambda asked: OK)

    async def main(client, base):
        await client.get(base)
        assert client.pool.count == 1
        while client.pool.keeper is not None:
            await runtime.sleep(.01)
        assert not client.pool.count
        await client.get(base)
    serve(main, script, idle=.05)
    assert script.connections == 2


def test_a_closed_client_keeps_nothing():
    async def main(client, base):
        async with client.fetch('GET', base) as up:
            client.close()
            assert await up.read() == b'ok'
        assert not client.pool.count
    serve(main, Script(lambda asked: OK))


def test_a_connection_that_the_server_closed_is_not_used():
    script = Script(lambda asked: OK + CLOSE)

    async def main(client, base):
        for _ in range(3):
            assert await client.post(base, b'x') == 'ok'
            while [each for idle in client.pool.idle.values() for each in idle if each.alive()]:
                await runtime.sleep(.005)
    serve(main, script)
    assert script.connections == 3


class Stale:
    """A server that answers once on each connection and closes when it has the second request."""

    def __init__(self):
        self.requests = []

    async def __call__(self, stream):
        for n in range(2):
            asked = await read_request(stream)
            if asked is None:
                return
            self.requests.append(asked.method)
            if not n:
                await stream.write(OK)


@pytest.mark.parametrize('method, body, repeated', [
    ('GET', None, True), ('PUT', b'x', True), ('DELETE', None, True), ('OPTIONS', None, True), ('POST', b'x', False), ('PATCH', b'x', False)])
def test_a_stale_connection_is_tried_once_more_where_that_is_safe(method, body, repeated):
    """RFC 9110 §9.2.2, RFC 9112 §9.3.1"""
    server = Stale()

    async def main(client, base):
        await client.get(base)
        if repeated:
            async with client.fetch(method, base, body) as up:
                assert await up.read() == b'ok'
        else:
            with pytest.raises((ProtocolError, ConnectError)):
                async with client.fetch(method, base, body):
                    pass
    serve(main, server)
    assert server.requests == ['GET', method] + [method] * repeated


def test_a_body_that_was_begun_is_not_sent_twice():
    server = Stale()

    async def body():
        yield b'x'

    async def main(client, base):
        await client.get(base)
        with pytest.raises(UrlError):
            async with client.fetch('PUT', base, body()):
                pass
    serve(main, server)
    assert server.requests == ['GET', 'PUT']


def test_a_new_connection_that_fails_is_not_tried_again():
    script = Script(lambda asked: None)

    async def main(client, base):
        with pytest.raises(ProtocolError):
            await client.get(base)
    serve(main, script)
    assert script.connections == 1


def test_a_client_serves_one_scheduler_after_the_other():
    client = Client(proxy=False)
    script = Script(lambda asked: answer(200, body=b'x'))

    async def main(base_client, base):
        assert await client.get(base) == 'x'
    for _ in range(2):
        serve(main, script)
        assert not client.pool.count and not client.pool.idle and client.pool.keeper is None


def test_what_is_kept_in_the_last_turn_of_the_scheduler_is_closed():
    client = Client(proxy=False)
    servers = []

    async def main():
        servers.append(server := await runtime.listen('127.0.0.1:0', Script(lambda asked: OK)))
        async with client.fetch('GET', f'http://127.0.0.1:{server.port}/') as up:
            await up.read()
    runtime.run(main)
    assert not client.pool.count and not client.pool.idle and client.pool.keeper is None


def test_ten_thousand_mixed_requests_leave_nothing_behind():
    """Good answers, refusals, broken ones, early ends, time-outs and cancellations; the fixture counts descriptors."""
    answers = [OK, OK, answer(404, body=b'no'), answer(302, 'Location: /0'), b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab' + CLOSE,
               b'nonsense\r\n\r\n', None, b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n',
               b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab', b'HTTP/1.1 200 OK\r\n\r\nrest' + CLOSE]
    script = Script(lambda asked: answers[int(asked.target[1:]) % len(answers)])
    good = failed = 0

    async def some(client, base, numbers):
        nonlocal good, failed
        for n in numbers:
            try:
                await client.get(f'{base}/{n}', timeout={'idle': .002 if n % 10 == 8 else 5})
                good += 1
            except UrlError:
                failed += 1

    async def main(client, base):
        kernel = runtime.current().kernel
        before = set(kernel.fibers)
        async with runtime.TaskGroup() as group:
            for n in range(50):
                group.spawn(some(client, base, range(n * 196, n * 196 + 196)))
        fibers = [runtime.spawn(client.get(f'{base}/{n}')) for n in range(200)]
        for n, fiber in enumerate(fibers):
            if n % 20 == 0:
                await runtime.sleep(0)
            fiber.cancel()
        for fiber in fibers:
            try:
                await fiber.join()
            except UrlError:
                pass
        client.close()
        for _ in range(100):
            await runtime.sleep(.02)
            if not script.open:
                break
        assert not script.open
        assert {fiber.name for fiber in kernel.fibers - before} <= {'waker'}
        assert not client.pool.count and not client.pool.counts
    serve(main, script, limit=60, idle=30)
    assert good + failed == 9800 and good == 9800 // 10 * 5
