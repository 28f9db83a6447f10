"""Bad input and bad clients over real sockets: malformed requests, slow and silent clients, random mutations, long
pipelines, and SIGTERM during a transfer. What must hold: the right status, a well-formed answer, a closed connection
where the framing is in doubt, nobody else delayed, no connection left behind.
"""

import contextlib
import json
import os
import random
import socket
import time

import pytest

from tests.web import webchild
from tests.web.play import sound
from tests.web.rawhttp import STATUS_LINE, Connection, Malformed, fetch, parse_fields, request

SEED = int(os.environ.get('IOTO_TEST_SEED', '20261121'))
MUTATIONS = 3000
NEXT = request('/other.txt')
CHUNKED = 'Transfer-Encoding: chunked'

# name, request, status: each must be answered once, with the connection closed, and with no answer to what follows it.
MALFORMED = [
    ('binary', bytes(range(128, 256)) + b'\r\n\r\n', 400),
    ('tls-hello', bytes.fromhex('16030100a5010000a10303') + bytes(range(1, 100)) + b'\r\n\r\n', 400),
    ('ssh', b'SSH-2.0-OpenSSH_9.2\r\n\r\n', 400),
    ('smtp', b'EHLO example.com\r\n\r\n', 400),
    ('nul-line', b'\x00\r\n\r\n', 400),
    ('bare-lf', b'GET / HTTP/1.1\nHost: test\n\n', 400),
    ('bare-cr', b'GET / HTTP/1.1\rHost: test\r\r\n\r\n', 400),
    ('cl-te', request('/api/echo', 'Content-Length: 6', CHUNKED, method='POST', body=b'0\r\n\r\nG'), 400),
    ('te-cl', request('/api/echo', CHUNKED, 'Content-Length: 3', method='POST', body=b'8\r\nSMUGGLED\r\n0\r\n\r\n'),
     400),
    ('te-te', request('/api/echo', CHUNKED, 'Transfer-Encoding: identity', method='POST', body=b'0\r\n\r\n'),
     (400, 501)),
    ('te-space-colon', request('/api/echo', 'Transfer-Encoding : chunked', 'Content-Length: 5', method='POST',
                               body=b'0\r\n\r\n'), 400),
    ('te-tab', request('/api/echo', 'Transfer-Encoding:\x0bchunked', 'Content-Length: 5', method='POST',
                       body=b'0\r\n\r\n'), 400),
    ('te-folded', request('/api/echo', 'Transfer-Encoding:', ' chunked', 'Content-Length: 5', method='POST',
                          body=b'0\r\n\r\n'), 400),
    ('te-lf', request('/api/echo', 'X: y\nTransfer-Encoding: chunked', 'Content-Length: 5', method='POST',
                      body=b'0\r\n\r\n'), 400),
    ('cl-cl', request('/api/echo', 'Content-Length: 0', 'Content-Length: 44', method='POST'), 400),
    ('cl-list', request('/api/echo', 'Content-Length: 0, 44', method='POST'), 400),
    ('cl-plus', request('/api/echo', 'Content-Length: +44', method='POST'), 400),
    ('cl-negative', request('/api/echo', 'Content-Length: -1', method='POST'), 400),
    ('cl-overflow', request('/api/echo', 'Content-Length: 18446744073709551616', method='POST'), (400, 413)),
    ('chunk-overflow', request('/api/echo', CHUNKED, method='POST', body=b'10000000000000000\r\n0\r\n\r\n'),
     (400, 413)),
    ('chunk-negative', request('/api/echo', CHUNKED, method='POST', body=b'-1\r\nx\r\n0\r\n\r\n'), 400),
    ('chunk-extension-lf', request('/api/echo', CHUNKED, method='POST', body=b'2;\nxx\r\n0\r\n\r\n'), 400),
    ('chunk-bare-lf', request('/api/echo', CHUNKED, method='POST', body=b'2\nxx\n0\n\n'), 400),
    ('chunk-spill', request('/api/echo', CHUNKED, method='POST', body=b'2\r\nxxxxx0\r\n\r\n'), 400),
    ('two-hosts', request('/', 'Host: other'), 400),
    ('host-space', request('/', host='a b'), 400),
    ('no-host', request('/', host=None), 400),
    ('version-2', request('/', version='2.0'), 505),
    ('long-line', request('/' + 'a' * 100000), 414),
    ('long-field', request('/', 'X: ' + 'a' * 100000), 431),
    ('long-name', request('/', 'X' * 100000 + ': a'), 431),
    ('many-fields', request('/', *['X: y'] * 20000), 431),
    ('endless-empty-lines', b'\r\n' * 50000 + b'X\r\n\r\n', 400),
    ('large-body', request('/api/echo', 'Content-Length: 900000', method='POST', body=b'x' * 900000), 413),
    ('large-chunks', request('/api/echo', CHUNKED, method='POST',
                             body=(b'1000\r\n' + b'x' * 4096 + b'\r\n') * 200 + b'0\r\n\r\n'), 413),
    ('space-before-field', b'GET / HTTP/1.1\r\n Host: test\r\nHost: test\r\n\r\n', 400),
    ('traversal', request('/../../../../etc/passwd'), 400),
]


@pytest.fixture(scope='module')
def agent(tmp_path_factory):
    agent = webchild.start(tmp_path_factory.mktemp('hostile'), limits={'body': '100K', 'connections': 1000},
                        timeouts={'parse': '2 secs', 'inactivity': '60 secs'})
    try:
        yield agent
    finally:
        agent.stop()


def stats(agent):
    return json.loads(fetch(agent.port, '/api/stats').body)


def settled(agent, seconds=20):
    """Waits until no connection is open but the one that asks; returns the last count."""
    deadline = time.monotonic() + seconds
    while True:
        count = stats(agent)['connections']
        if count <= 1 or time.monotonic() > deadline:
            return count
        time.sleep(0.05)


@pytest.mark.parametrize('data, status', [(data, status) for _, data, status in MALFORMED],
                         ids=[name for name, *_ in MALFORMED])
def test_refuses_and_closes(agent, data, status):
    with Connection(agent.port) as connection:
        connection.send(data + NEXT)
        answer = connection.response()
        assert answer.status in (status if isinstance(status, tuple) else (status,)), answer
        sound(answer)
        assert 'close' in answer.tokens('connection')
        assert connection.ended() == b''


def test_answer_is_the_same_however_a_bad_request_is_cut(agent):
    """The status of a refusal does not depend on how the bytes arrived."""
    generator = random.Random(SEED)
    for name, data, status in MALFORMED:
        if len(data) > 2000:
            continue
        for cut in generator.sample(range(1, len(data)), min(4, len(data) - 1)):
            with Connection(agent.port) as connection:
                connection.send(data[:cut])
                time.sleep(0.005)
                connection.send(data[cut:])
                answer = connection.response()
                assert answer.status in (status if isinstance(status, tuple) else (status,)), (name, cut, answer)
                assert connection.ended() == b'', (name, cut)


def test_half_sent_head_is_answered_408(agent):
    """timeouts.parse bounds the time for a head, counted from its first byte."""
    with contextlib.ExitStack() as stack:
        began, connections = time.monotonic(), []
        for data in (b'GET / HT', b'GET / HTTP/1.1\r\n', b'GET / HTTP/1.1\r\nHost: test\r\nX: '):
            connections.append(stack.enter_context(Connection(agent.port)))
            connections[-1].send(data)
        for connection in connections:
            answer = connection.response()
            took = time.monotonic() - began
            assert answer.status == 408, answer
            sound(answer)
            assert 'close' in answer.tokens('connection')
            assert connection.ended() == b''
            assert 1 < took < 8, took


def test_trickled_head_is_answered_408(agent):
    """A byte now and then does not extend the time for a head."""
    with Connection(agent.port) as connection:
        began = time.monotonic()
        connection.send(b'GET / HTTP/1.1\r\nHost: test\r\n')
        while time.monotonic() - began < 8:
            if not connection.send(b'X: y\r\n'):
                break
            try:
                if connection.wait_head(0.2):
                    break
            except TimeoutError:
                continue
        assert connection.response().status == 408
        assert time.monotonic() - began < 8


def test_second_head_has_the_same_time(agent):
    """The limit holds for each request of a persistent connection."""
    with Connection(agent.port) as connection:
        connection.send(request() + b'GET / HT')
        assert connection.response().status == 200
        assert connection.response().status == 408
        assert connection.ended() == b''


def test_idle_connection_is_not_answered_408(agent):
    """A client that has sent nothing of a request is only idle (RFC 9110 §15.5.9 is for a request not completed)."""
    with Connection(agent.port) as connection:
        connection.send(request())
        assert connection.response().status == 200
        time.sleep(3)
        connection.send(request())
        assert connection.response().status == 200


def test_slow_heads_delay_nobody(agent):
    """200 clients, each with an unfinished head that grows slowly, and one that asks properly. The bound is generous:
    an answer alone takes about a millisecond."""
    slow = [Connection(agent.port) for _ in range(200)]
    try:
        for connection in slow:
            connection.send(b'GET / HTTP/1.1\r\nHost: test\r\n')
        for turn in range(5):
            for connection in slow[turn::5]:
                connection.send(b'X-Slow: ')
            began = time.monotonic()
            assert fetch(agent.port).body == webchild.HELLO
            assert time.monotonic() - began < 1
    finally:
        for connection in slow:
            connection.close()
    assert settled(agent) <= 1


def test_slow_readers_delay_nobody(agent):
    """Clients that ask for a large file and do not read it."""
    slow = [Connection(agent.port, receive_buffer=4096) for _ in range(50)]
    try:
        for connection in slow:
            connection.send(request('/big.bin') * 4)
        began = time.monotonic()
        for _ in range(5):
            assert fetch(agent.port).body == webchild.HELLO
        assert time.monotonic() - began < 3
        for connection in slow[:3]:
            assert connection.response().body == webchild.BIG
    finally:
        for connection in slow:
            connection.close()
    assert settled(agent) <= 1


def test_slow_bodies_delay_nobody(agent):
    slow = [Connection(agent.port) for _ in range(100)]
    try:
        for connection in slow:
            connection.send(request('/api/echo', 'Content-Length: 1000', method='POST', body=b'x'))
        began = time.monotonic()
        assert fetch(agent.port, '/api/echo', method='POST', body=b'quick').status == 200
        assert time.monotonic() - began < 1
    finally:
        for connection in slow:
            connection.close()
    assert settled(agent) <= 1


def test_vanishing_clients_leave_nothing(agent):
    """Clients that reset the connection at every stage."""
    pieces = (b'', b'GET', b'GET / HTTP/1.1\r\nHost: te', request('/big.bin'), request('/api/slow'),
              request('/api/slow') * 3,
              request('/api/echo', 'Content-Length: 100', method='POST', body=b'half'),
              request('/api/echo', CHUNKED, method='POST', body=b'5\r\nhe'),
              request('/api/echo', 'Expect: 100-continue', 'Content-Length: 5', method='POST'))
    for data in pieces * 5:
        connection = Connection(agent.port)
        connection.send(data)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\x01\x00\x00\x00\x00\x00\x00\x00')
        connection.close()
    assert fetch(agent.port).body == webchild.HELLO
    assert settled(agent) <= 1


VALID = [
    request(), request('/api/echo?a=b%20c'), request('/dir'), request(method='HEAD'), request(method='OPTIONS'),
    request('*', method='OPTIONS'),
    request('http://test/hello.txt'), request('/hello.txt', 'If-None-Match: "a", W/"b"',
                                              'If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT'),
    request('/hello.txt', 'Connection: keep-alive', 'Accept-Encoding: gzip, br', 'Cookie: a=b; c=d',
            'Range: bytes=0-3'),
    request('/hello.txt', 'Connection: keep-alive', version='1.0'), request('/api/stream'), request('/api/none'),
    request('/api/echo', 'Content-Length: 5', method='POST', body=b'hello'),
    request('/api/echo', CHUNKED, method='POST', body=b'5;a="b"\r\nhello\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n'),
    request('/api/ignore', 'Content-Length: 5', method='POST', body=b'hello'),
    request('/api/echo', 'Expect: 100-continue', 'Content-Length: 5', method='POST', body=b'hello'),
    request() + request('/missing') + request('/api/echo', CHUNKED, method='POST', body=b'1\r\nx\r\n0\r\n\r\n'),
]
SPLICES = [b'\r\n', b'\n', b'\r', b'\x00', b' ', b'\t', b':', b'\xff', b'%', b'%00', b'..', b'/', b'0', b'-1',
           b'Content-Length: 5\r\n', b'Host: x\r\n', b';', b'"',
           b'Transfer-Encoding: chunked\r\n', b'\r\n\r\n', b'HTTP/1.1', b'\x7f', b'ffffffffffffffff',
           b'Expect: 100-continue\r\n', b'Connection: close\r\n', b',']


def mutate(generator, data):
    data = bytearray(data)
    for _ in range(generator.choice((1, 1, 1, 2, 3, 6))):
        place = generator.randrange(len(data) + 1)
        kind = generator.randrange(6)
        if kind == 0 and place < len(data):
            data[place] = generator.randrange(256)
        elif kind == 1:
            data[place:place] = generator.choice(SPLICES)
        elif kind == 2:
            del data[place:place + generator.choice((1, 1, 2, 5, 20))]
        elif kind == 3:
            length = generator.randrange(1, 30)
            data[place:place] = data[place:place + length] * generator.choice((1, 2, 50))
        elif kind == 4:
            del data[place:]
        else:
            data[place:place + 1] = generator.choice(SPLICES)
    return bytes(data)


def test_random_mutations(agent):
    """Mutated requests, cut at random and half-closed at the end: each connection ends soon, each answer is
    well-formed, the server goes on answering, and no connection stays."""
    print(f'IOTO_TEST_SEED={SEED}')
    generator = random.Random(SEED)
    for number in range(MUTATIONS):
        data = mutate(generator, generator.choice(VALID))
        cut = generator.randrange(len(data) + 1) if generator.random() < 0.5 else len(data)
        with Connection(agent.port) as connection:
            connection.send(data[:cut])
            if cut < len(data):
                connection.send(data[cut:])
            connection.half_close()
            try:
                received = connection.ended()
            except TimeoutError as error:
                pytest.fail(f'seed {SEED}, mutation {number}: {data!r}: {error}')
            check_stream(received, f'seed {SEED}, mutation {number}: {data!r}: {received[:300]!r}')
        if number % 100 == 0:
            assert fetch(agent.port).body == webchild.HELLO
    assert agent.running(), agent.log()
    assert settled(agent) <= 1
    assert 'Traceback' not in agent.log(), agent.log()[-3000:]


def check_stream(received, what):
    """The bytes are a sequence of status lines with heads: at least the first head is whole and well-formed."""
    if not received:
        return
    lines = received.partition(b'\r\n\r\n')[0].split(b'\r\n')
    assert b'\r\n\r\n' in received and STATUS_LINE.match(lines[0]), what
    try:
        parse_fields(lines[1:])
    except Malformed as error:
        pytest.fail(f'{what}: {error}')
    assert b'HTTP/1.1 500' not in received, what


@pytest.mark.parametrize('limit', ['connections', 'clientConnections'])
def test_connections_beyond_the_limit_are_told_so(tmp_path, limit):
    """A well-formed 503 that closes; a place that becomes free is given to the next."""
    agent = webchild.start(tmp_path, limits={limit: 5})
    held = []
    try:
        deadline = time.monotonic() + 10
        while len(held) < 5:
            connection = Connection(agent.port)
            connection.send(request())
            if connection.response().status == 200:
                held.append(connection)
            assert time.monotonic() < deadline
        with Connection(agent.port) as connection:
            connection.send(request())
            answer = connection.response()
            assert answer.status == 503, answer
            sound(answer)
            assert connection.ended() == b''
        held.pop().close()
        while fetch(agent.port).status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        held[0].send(request())
        assert held[0].response().body == webchild.HELLO
    finally:
        for connection in held:
            connection.close()
        agent.stop()


def test_pipeline_of_100_is_answered_in_order(agent):
    with Connection(agent.port) as connection:
        connection.send(b''.join(request(f'/api/echo?{number}', f'X-Number: {number}') for number in range(100)))
        for number in range(100):
            answer = connection.response()
            assert answer.status == 200
            assert f'"{number}"' in answer.body.decode().replace("'", '"'), number


def test_pipeline_of_100_uploads_is_answered_in_order(agent):
    with Connection(agent.port) as connection:
        connection.send(b''.join(request('/api/post', CHUNKED, method='POST',
                                         body=b'3\r\n%03d\r\n0\r\n\r\n' % number) if number % 2 else
                                 request('/api/post', 'Content-Length: 3', method='POST',
                                         body=b'%03d' % number) for number in range(100)))
        assert [connection.response().body for _ in range(100)] == [b'%03d' % number for number in range(100)]


def test_pipeline_beyond_the_socket_buffers(agent):
    """A client that sends much and reads late: 64 answers of 300 KB on one connection, none lost or mixed."""
    with Connection(agent.port, timeout=30) as connection:
        connection.send(request('/big.bin') * 64)
        time.sleep(0.2)
        assert all(connection.response().body == webchild.BIG for _ in range(64))


@pytest.mark.parametrize('target', ['/api/slow', '/big.bin'])
def test_sigterm_finishes_a_transfer(tmp_path, target):
    """The answer in hand is whole, a new connection is refused, the exit status is 0."""
    agent = webchild.start(tmp_path)
    try:
        with Connection(agent.port, receive_buffer=4096) as connection:
            idle = Connection(agent.port)
            idle.send(request())
            assert idle.response().status == 200
            connection.send(request(target))
            connection.wait_head()
            agent.terminate()
            deadline = time.monotonic() + 10
            while refused(agent.port) is False:
                assert time.monotonic() < deadline, 'new connections are still accepted'
                time.sleep(0.02)
            answer = connection.response()
            assert answer.status == 200
            if target == '/big.bin':
                assert answer.body == webchild.BIG
            else:
                assert answer.body == b''.join(b'%04d\n' % number * 200 for number in range(20))
            assert connection.ended() == b''
            assert idle.ended() == b''
            idle.close()
        assert agent.wait() == 0, agent.log()
    finally:
        agent.stop()


def refused(port):
    try:
        socket.create_connection(('127.0.0.1', port), 1).close()
    except OSError:
        return True
    return False


def test_sigterm_when_idle_exits_at_once(tmp_path):
    agent = webchild.start(tmp_path)
    try:
        assert fetch(agent.port).status == 200
        began = time.monotonic()
        agent.terminate()
        assert agent.wait() == 0, agent.log()
        assert time.monotonic() - began < 3
    finally:
        agent.stop()


def test_sigterm_is_bounded_by_a_stuck_client(tmp_path):
    """A client that never reads its answer cannot keep the agent from stopping."""
    agent = webchild.start(tmp_path, timeouts={'grace': '2 secs'})
    try:
        with Connection(agent.port, receive_buffer=4096) as connection:
            connection.send(request('/big.bin') * 40)
            connection.wait_head()
            agent.terminate()
            assert agent.wait() == 0, agent.log()
    finally:
        agent.stop()
