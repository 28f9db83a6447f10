"""Response heads, for a client and from a server (RFC 9112 §4, §6.3, §9.3)."""

import pytest

from ioto.http import CHUNKED, UNTIL_CLOSE, HeadLimits, ParseError, encode_field
from ioto.http.client import parse_response, response_head
from ioto.http.client import find_head
from ioto.http.status import REASONS, STATUS_LINES, status_line
from tests.http.feeding import agreed


def read(pieces):
    """The response that the pieces bring as a tuple, ('error', status, message), or None as long as it is not whole."""
    data = b''
    try:
        for piece in pieces:
            data += piece
            start, end = find_head(data, 0, HeadLimits(line=200, head=400, fields=5))
            if end >= 0:
                found = parse_response(data, start, end)
                return found.status, found.reason, found.version, dict(found.fields), found.length, found.keep_alive
    except ParseError as error:
        return 'error', error.status, error.message


def length(fields, status=200, method='GET', version='1.1'):
    data = b''.join([f'HTTP/{version} {status} x\r\n'.encode(), *[field + b'\r\n' for field in fields], b'\r\n'])
    return parse_response(data, *find_head(data), method).length


@pytest.mark.parametrize('line, found', [
    (b'HTTP/1.1 200 OK', (200, 'OK', 11)), (b'HTTP/1.0 404 Not Found', (404, 'Not Found', 10)),
    (b'HTTP/1.1 200 ', (200, '', 11)), (b'HTTP/1.1 200', (200, '', 11)),
    (b'HTTP/1.2 200 OK', (200, 'OK', 11)), (b'HTTP/1.1 299 a\tb \xe9', (299, 'a\tb \xe9', 11)),
    (b'HTTP/1.1 999 x', (999, 'x', 11)), (b'HTTP/1.1 200  x', (200, ' x', 11)),
])
def test_status_lines(line, found):
    """RFC 9112 §4."""
    assert agreed(line + b'\r\nContent-Length: 1\r\n\r\n', read)[:3] == found


@pytest.mark.parametrize('line', [
    b'HTTP/1.1', b'HTTP/1.1 ', b'HTTP/1.1 20', b'HTTP/1.1 2000 x', b'HTTP/1.1 099 x', b'HTTP/1.1 2x0 x',
    b'HTTP/1.1  200 OK', b' HTTP/1.1 200 OK', b'http/1.1 200 OK', b'HTTP/1 200 OK',
    b'HTTP/1.1\t200 OK', b'HTTP/1.1 200\tOK', b'HTTP/1.1 +20 OK', b'HTTP/1.1 200 O\x00K', b'HTTP/1.1 200 OK\n',
    b'HTTP/1.1 200 O\rK', b'ICY 200 OK', b'<html>', b'HTTP/1.1 200OK', b'GET / HTTP/1.1',
])
def test_malformed_status_lines_are_refused(line):
    assert agreed(line + b'\r\nContent-Length: 1\r\n\r\n', read)[:2] == ('error', 400)


def test_other_major_versions_are_refused():
    assert agreed(b'HTTP/2.0 200 OK\r\n\r\n', read)[:2] == ('error', 505)


@pytest.mark.parametrize('field', [b'A : b', b' A: b', b'A: b\n', b'A: \x00', b'A', b': b', b'A: b\r\n c'])
def test_fields_are_as_strict_as_in_requests(field):
    assert agreed(b'HTTP/1.1 200 OK\r\n' + field + b'\r\n\r\n', read)[:2] == ('error', 400)


def test_limits_hold_for_responses():
    assert agreed(b'HTTP/1.1 200 ' + b'x' * 300, read) == ('error', 431, 'line over 200 bytes')
    assert agreed(b'HTTP/1.1 200 OK\r\n' + b'A: b\r\n' * 6, read) == ('error', 431, 'more than 5 fields')


@pytest.mark.parametrize('fields, found', [
    ([], UNTIL_CLOSE), ([b'Content-Length: 5'], 5), ([b'Content-Length: 5', b'Content-Length: 5'], 5),
    ([b'Transfer-Encoding: chunked'], CHUNKED), ([b'Transfer-Encoding: gzip'], UNTIL_CLOSE),
])
def test_the_length_of_a_body(fields, found):
    """RFC 9112 §6.3."""
    assert length(fields) == found


@pytest.mark.parametrize('status, method',
    [(200, 'HEAD'), (404, 'HEAD'), (100, 'GET'), (101, 'GET'), (103, 'GET'), (204, 'GET'), (304, 'GET'),
     (200, 'CONNECT'), (299, 'CONNECT')])
@pytest.mark.parametrize('fields', [[], [b'Content-Length: 5'], [b'Transfer-Encoding: chunked']])
def test_answers_that_have_no_body_whatever_the_fields_say(status, method, fields):
    """RFC 9112 §6.3, 1 and 2."""
    assert length(fields, status, method) == 0


def test_a_refused_connect_has_a_body():
    assert length([b'Content-Length: 5'], 407, 'CONNECT') == 5


@pytest.mark.parametrize('fields, version', [
    ([b'Content-Length: 5', b'Transfer-Encoding: chunked'], '1.1'), ([b'Transfer-Encoding: chunked'], '1.0'),
    ([b'Transfer-Encoding: gzip, chunked'], '1.1'),
    ([b'Transfer-Encoding: chunked, chunked'], '1.1'), ([b'Transfer-Encoding:'], '1.1'),
    ([b'Content-Length: x'], '1.1'), ([b'Content-Length: 5', b'Content-Length: 6'], '1.1'),
])
def test_framing_in_doubt_is_refused(fields, version):
    with pytest.raises(ParseError):
        length(fields, version=version)


@pytest.mark.parametrize('version, fields, keep', [
    ('1.1', b'Content-Length: 0', True), ('1.0', b'Content-Length: 0', False),
    ('1.1', b'Content-Length: 0\r\nConnection: close', False),
    ('1.0', b'Content-Length: 0\r\nConnection: keep-alive', True), ('1.1', b'X: y', False),
    ('1.1', b'Transfer-Encoding: chunked', True),
])
def test_persistence(version, fields, keep):
    """RFC 9112 §9.3; a body until the end of the connection cannot keep it."""
    assert agreed(f'HTTP/{version} 200 OK\r\n'.encode() + fields + b'\r\n\r\n', read)[5] is keep


def test_fields_may_be_asked_in_any_case_and_set_cookie_one_by_one():
    data = b'HTTP/1.1 200 OK\r\nSet-Cookie: a=1, b\r\nset-cookie: c=2\r\nVary: a\r\nVary: b\r\n\r\n'
    fields = parse_response(data, *find_head(data)).fields
    assert fields.all('Set-Cookie') == ['a=1, b', 'c=2']
    assert fields['VARY'] == fields.get('vary') == 'a, b' and 'Vary' in fields and fields.get('x') is None


def test_builds_a_head_that_parses_to_the_same():
    data = response_head(404, [('Content-Length', 0), ('X', 'y')])
    assert data == b'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nX: y\r\n\r\n'
    assert agreed(data, read) == (404, 'Not Found', 11, {'content-length': '0', 'x': 'y'}, 0, True)
    assert response_head(299, []) == b'HTTP/1.1 299 \r\n\r\n'


@pytest.mark.parametrize('name, value', [('A', 'b\r\nC: d'), ('A', 'b\n'), ('A', '\r'), ('A', '\0'), ('A b', 'c'),
    ('', 'c'), ('A:', 'c'), ('A\r\n', 'c'), ('\xe9', 'c'), ('A', '\u20ac'), ('A', '\x1b')])
def test_refuses_to_build_bad_fields(name, value):
    with pytest.raises(ValueError):
        encode_field(name, value)
    with pytest.raises(ValueError):
        response_head(200, [(name, value)])


@pytest.mark.parametrize('status', [0, 99, 1000, -200])
def test_refuses_to_build_a_status_of_other_than_three_digits(status):
    with pytest.raises(ValueError):
        status_line(status)


def test_reason_phrases_and_status_lines():
    """RFC 9110 §15.1 and the IANA registry."""
    assert STATUS_LINES[200] == b'HTTP/1.1 200 OK\r\n' and STATUS_LINES.keys() == REASONS.keys()
    assert {100, 101, 206, 304, 308, 413, 417, 421, 426, 431, 505} <= REASONS.keys()
    for status, line in STATUS_LINES.items():
        assert agreed(line + b'\r\n', read)[:2] == (status, REASONS[status])
