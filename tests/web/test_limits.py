"""Limits and time-outs: of a route where it has its own, and that slow clients hinder nobody."""

import subprocess
import sys
import time

import pytest

from ioto import runtime
from tests.child import TREE
from tests.web import webchild
from tests.web.rawhttp import Connection, fetch
from tests.web.support import connect, read_answer, serve

SLOW = 200


def test_hundreds_of_slow_clients_do_not_stop_a_new_one(tmp_path):
    agent = webchild.start(tmp_path, limits={'connections': 1000})
    slow = []
    try:
        for _ in range(SLOW):
            for start in (b'GET /hello.txt HTTP/1.1\r\nHost: x\r\nX-Slow: ',
                          b'POST /api/count HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n'):
                slow.append(Connection(agent.port))
                slow[-1].send(start)
        times = []
        for _ in range(5):
            for connection in slow:
                connection.send(b'x')
            began = time.monotonic()
            assert fetch(agent.port).status == 200
            times.append(time.monotonic() - began)
        assert min(times) < 0.1
        for connection in slow[:2]:                 # and they are still served
            connection.send(b'x' * 995 if connection is slow[1] else b'\r\n\r\n')
            assert connection.response().status == 200
    finally:
        for connection in slow:
            connection.close()
        assert agent.stop() == 0, agent.log()


async def wait(web):
    await runtime.sleep(20)


async def read(web):
    return str(len(await web.read_all()))


CONFIG = {
    'routes': [{'match': '/hasty/', 'timeouts': {'request': 0.1}}, {'match': '/idle/', 'timeouts': {'inactivity': 0.1}},
               {'match': '/patient/', 'timeouts': {'inactivity': '10 secs', 'request': '20 secs'}},
               {'match': '/small/', 'limits': {'body': 10, 'buffer': 5}}, {}],
    'timeouts': {'request': '2 secs', 'inactivity': '1 sec'}, 'limits': {'body': 100},
}
ACTIONS = {f'/{route}/{action.__name__}': action for route in ('hasty', 'idle', 'patient', 'small', 'any') for action in (wait, read)}


@pytest.mark.parametrize('path, sent, status, least', [
    ('/hasty/wait', None, 503, 0.1), ('/hasty/read', b'x', 408, 0.1), ('/idle/read', b'x', 408, 0.1),
    ('/any/read', b'x', 408, 1),
])
def test_a_route_has_its_own_times(path, sent, status, least):
    async def main(client, server):
        began = time.monotonic()
        body = b'' if sent is None else b'Content-Length: 9\r\n'
        answer = await client.ask(b'POST %b HTTP/1.1\r\nHost: x\r\n%b\r\n%b' % (path.encode(), body, sent or b''))
        assert answer.status == status and time.monotonic() - began >= least
        assert await client.closed()
    serve(main, CONFIG, ACTIONS)


def test_a_route_may_have_more_time_than_the_server():
    async def main(client, server):
        await client.stream.write(b'POST /patient/read HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx')
        await runtime.sleep(2.5)
        await client.stream.write(b'y')
        assert (await read_answer(client.stream)).body == b'2'
    serve(main, CONFIG, ACTIONS)


def test_an_idle_connection_has_the_time_of_the_server_whatever_its_last_route_had():
    async def main(client, server):
        for path in ('/idle/none', '/hasty/none'):
            assert (await client.ask(f'GET {path}')).status == 404
            await runtime.sleep(0.3)
        began = time.monotonic()
        assert await client.closed() and time.monotonic() - began < 10
    serve(main, CONFIG, ACTIONS)


@pytest.mark.parametrize('path, length, status', [
    ('/small/read', 5, 200), ('/small/read', 6, 413), ('/small/read', 11, 413), ('/any/read', 100, 200), ('/any/read', 101, 413)])
@pytest.mark.parametrize('chunked', [False, True])
def test_a_route_has_its_own_limits(path, length, status, chunked):
    async def main(client, server):
        framing = 'Transfer-Encoding: chunked' if chunked else f'Content-Length: {length}'
        body = b'%x\r\n%b\r\n0\r\n\r\n' % (length, b'x' * length) if chunked else b'x' * length
        answer = await client.ask(f'POST {path} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n'.encode() + body)
        assert answer.status == status
    serve(main, CONFIG, ACTIONS)


@pytest.mark.parametrize('limits, more', [({'connections': 2}, 503), ({'clientConnections': 2}, 503), ({'connections': 3}, 404)])
def test_connections_are_limited(limits, more):
    async def main(client, server):
        others = [await connect(server) for _ in range(2)]
        assert (await others[0].ask('GET /')).status == 404
        answer = await others[1].ask('GET /')
        assert answer.status == more and ('retry-after' in answer.fields) == (more == 503)
        for other in others:
            await other.stream.close()
    serve(main, {'limits': limits})


def test_what_is_not_configured_is_not_imported():
    program = "import sys, ioto.web; ioto.web.Server({'log': True}); print(' '.join(sys.modules))"
    modules = subprocess.run([sys.executable, '-c', program], cwd=TREE, capture_output=True, text=True, check=True).stdout.split()
    assert 'ioto.web.server' in modules
    assert not {f'ioto.web.{name}' for name in ('hosts', 'cors', 'proxies', 'signatures', 'requestlog', '__main__')} & set(modules)
