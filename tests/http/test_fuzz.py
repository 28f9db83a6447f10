"""Random mutations of valid messages: nothing but ParseError comes out, and the cuts make no difference."""

import os
import random

from ioto.http import HttpError, ParseError
from ioto.http.client import find_head as find_response_head
from ioto.http.client import parse_response
from ioto.http.fields import parse_cookies
from ioto.http.lists import parameters, qualities
from ioto.http.uri import parse_query
from tests.http.feeding import events, head

SEED = int(os.environ.get('FUZZ_SEED') or random.randrange(1 << 32))
MUTATIONS = 300_000

VALID = [
    b'GET / HTTP/1.1\r\nHost: a.example\r\n\r\n',
    b'\r\n' + head(b'Accept: */*;q=0.5, text/html', b'Cookie: a=b; c="d"', b'Connection: keep-alive, Upgrade',
     b'Upgrade: x',
                   line=b'GET /a/b?c=d&e=%20 HTTP/1.1', host=b'Host: a.example:8080'),
    head(b'Content-Length: 5', b'Expect: 100-continue') + b'hello' + head(line=b'GET /2 HTTP/1.0'),
    head(b'Transfer-Encoding: chunked', b'Trailer: A') + b'5;a="b"\r\nhello\r\nA\r\n0123456789\r\n0\r\nA: b\r\n\r\n'
    + head(line=b'GET /%2e/x/../y HTTP/1.1'),
    head(b'Content-Length: 0, 0', line=b'OPTIONS * HTTP/1.1', host=b'Host: [::1]:80')
    + head(line=b'CONNECT a.example:443 HTTP/1.1'),
    head(b'X: \xe9', b'Content-Type: text/html; charset="utf-8"', line=b'GET http://B.example/?x HTTP/1.2',
     host=b'Host:\t a '),
]
PIECES = [b'\r', b'\n', b'\r\n', b'\r\n\r\n', b'\0', b' ', b'\t', b':', b',', b';', b'"', b'\\', b'%', b'%00', b'/..',
    b'//', b'#', b'?', b'*', b'@', b'[', b']', b'\x0b', b'\x7f', b'\x80', b'\xff', b'0', b'-', b'+', b'0x', b'_',
          b'chunked', b'Transfer-Encoding: chunked\r\n', b'Content-Length: 5\r\n', b'Host: b\r\n',
          b'Connection: close\r\n', b'HTTP/1.0', b'HTTP/2.0', b'GET ', b'F' * 17, b'Expect: x\r\n', b'A' * 9000]


def mutated(rng, data):
    """`data` with one to four changes: bytes replaced, dropped, doubled, moved or put in."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 5, 20)))
        kind = rng.randrange(6)
        if kind == 0:
            data[at:at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del data[at:end]
        elif kind == 2:
            data[at:at] = data[at:end]
        elif kind == 3:
            piece = data[at:end]
            del data[at:end]
            to = rng.randrange(len(data) + 1)
            data[to:to] = piece
        elif kind == 4:
            data[at:at] = rng.choice(PIECES)
        else:
            data[at:at + 1] = bytes([data[at] ^ 1 << rng.randrange(8)]) if at < len(data) else b''
    return bytes(data)


def check_values(found):
    """The functions for field values and queries raise nothing but HttpError for what a request brings."""
    for event in found:
        if event[0] in ('body', 'error'):
            continue
        target, path, query, fields = event[1], event[2], event[3], event[5]
        assert path == '*' or path == '' or path[0] == '/' and '/../' not in path and '\0' not in path, target
        parse_cookies(fields.get('cookie', ''))
        qualities(fields.get('accept', ''))
        parameters(fields.get('content-type', ''))
        try:
            parse_query(query)
        except HttpError:
            pass


def test_mutated_requests():
    print(f'FUZZ_SEED={SEED}')
    rng = random.Random(SEED)
    refused = 0
    for number in range(MUTATIONS):
        data = mutated(rng, rng.choice(VALID))
        found = events([data])                          # any other error fails the test, with the seed above
        refused += bool(found) and found[-1][0] == 'error'
        if number % 8 == 0:
            check_values(found)
            at = sorted(rng.choices(range(len(data) + 1), k=rng.choice((1, 2, 5))))
            pieces = [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]
            assert events(pieces) == found, (data, at)
        if number % 100 == 0 and len(data) < 2000:
            assert events([data[at:at + 1] for at in range(len(data))]) == found, data
    assert MUTATIONS * 0.3 < refused < MUTATIONS * 0.95


def test_mutated_responses():
    print(f'FUZZ_SEED={SEED}')
    rng = random.Random(SEED)
    valid = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\nConnection: close\r\n\r\n'
    for _ in range(10_000):
        data = mutated(rng, valid)
        try:
            start, end = find_response_head(data)
            if end >= 0:
                parse_response(data, start, end, rng.choice(('GET', 'HEAD', 'CONNECT')))
        except ParseError:
            pass
