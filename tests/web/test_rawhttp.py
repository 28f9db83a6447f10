"""The strict client of these tests takes what RFC 9112 allows and refuses what it does not; otherwise a wrong server
could pass."""

import os
import socket
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from tests.web.rawhttp import Closed, Connection, Malformed       # noqa: E402

GOOD = [
    # name, bytes, method, status, body, framing, what is left over
    ('length', b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP', 'GET', 200, b'hi', 'length', b'HTTP'),
    ('head', b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nrest', 'HEAD', 200, b'', 'none', b'rest'),
    ('no-content', b'HTTP/1.1 204 No Content\r\n\r\nrest', 'GET', 204, b'', 'none', b'rest'),
    ('not-modified', b'HTTP/1.1 304 \r\nContent-Length: 9\r\n\r\nrest', 'GET', 304, b'', 'none', b'rest'),
    ('close', b'HTTP/1.0 200 OK\r\n\r\nall of it', 'GET', 200, b'all of it', 'close', b''),
    ('chunked', b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a="b"\r\nhi\r\n0\r\nT: v\r\n\r\nx', 'GET', 200,
     b'hi',
     'chunked', b'x'),
    ('interim', b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', 'POST', 200, b'',
     'length', b''),
    ('connect', b'HTTP/1.1 200 OK\r\n\r\ntunnel', 'CONNECT', 200, b'', 'none', b'tunnel'),
]
BAD = {
    'status-line': b'HTTP/1.1 20 OK\r\n\r\n', 'version': b'HTTP/2.0 200 OK\r\n\r\n',
    'no-space': b'HTTP/1.1 200\r\n\r\n',
    'bare-lf': b'HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n', 'bare-cr': b'HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n',
    'folded': b'HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n', 'space-colon': b'HTTP/1.1 200 OK\r\nX : a\r\n\r\n',
    'control': b'HTTP/1.1 200 OK\r\nX: a\x01\r\n\r\n',
    'two-lengths': b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n',
    'length-and-coding': b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'length-sign': b'HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n',
    'short': b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi',
    'none-with-length': b'HTTP/1.1 204 OK\r\nContent-Length: 0\r\n\r\n',
    'gzip': b'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n',
    'chunk-size': b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n',
    'chunk-end': b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhixx0\r\n\r\n',
    'chunk-none-last': b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n',
    'half-head': b'HTTP/1.1 200 OK\r\n',
    'two-dates': b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: x\r\nDate: x\r\n\r\n',
}


def reading(data):
    """A client connection on which the server has sent data and closed."""
    server, client = socket.socketpair()
    server.sendall(data)
    server.close()
    return Connection(over=client, timeout=2)


@pytest.mark.parametrize('data, method, status, body, framing, rest', [row[1:] for row in GOOD],
                         ids=[row[0] for row in GOOD])
def test_reads(data, method, status, body, framing, rest):
    with reading(data) as connection:
        answer = connection.response(method)
        assert (answer.status, answer.body, answer.framing) == (status, body, framing)
        assert connection.ended() == rest


@pytest.mark.parametrize('data', BAD.values(), ids=BAD)
def test_refuses(data):
    with reading(data) as connection, pytest.raises(Malformed):
        connection.response()


def test_refuses_what_an_old_client_cannot_read():
    for data in (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
                 b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 x\r\n\r\n'):
        with reading(data) as connection, pytest.raises(Malformed):
            connection.response(version=10)


def test_tells_a_close_without_an_answer():
    with reading(b'') as connection, pytest.raises(Closed):
        connection.response()


def test_deadline_ends_each_wait():
    server, client = socket.socketpair()
    with server, Connection(over=client, timeout=0.05) as connection, pytest.raises(TimeoutError):
        connection.response()
