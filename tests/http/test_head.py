"""find_head: limits, and time in proportion to length for hostile input."""

import time

import pytest

from ioto.http import HeadLimits, ParseError, find_head, parse_request
from ioto.http.head import check_lines
from tests.http.feeding import cuts, events, head

SMALL = HeadLimits(line=40, head=120, fields=4)


def error(data, limits):
    """The error of `data` as (status, message), the same for all cuts; None if there is none."""
    def read(pieces):
        return [event for event in events(pieces, limits) if event[0] == 'error']
    whole = read([data])
    for pieces in cuts(data):
        assert read(pieces) == whole
    return whole[0][1:] if whole else None


def line_of(size):
    return b'GET /' + b'a' * (size - 14) + b' HTTP/1.1'


def test_a_request_line_may_be_as_long_as_the_limit():
    assert error(head(line=line_of(40)), SMALL) is None
    assert error(head(line=line_of(41)), SMALL) == (414, 'line over 40 bytes')
    assert error(b'a' * 41, SMALL) == (414, 'line over 40 bytes')
    assert error(b'a' * 40, SMALL) is None


def test_a_field_line_may_be_as_long_as_the_limit():
    assert error(head(b'A: ' + b'b' * 37), SMALL) is None
    assert error(head(b'A: ' + b'b' * 38), SMALL) == (431, 'line over 40 bytes')
    assert error(head(b'A: ' + b' ' * 38), SMALL) == (431, 'line over 40 bytes')


def test_a_head_may_be_as_long_as_the_limit():
    start = head(b'A: ' + b'b' * 37)[:-2]
    for more, found in ((120, None), (121, (431, 'head over 120 bytes'))):
        data = start + b'C: ' + b'd' * (more - len(start) - 5) + b'\r\n\r\n'
        assert len(data) == more + 2
        assert error(data, SMALL) == found


def test_there_may_be_as_many_fields_as_the_limit():
    assert error(head(*[b'A: %d' % n for n in range(3)]), SMALL) is None
    assert error(head(*[b'A: %d' % n for n in range(4)]), SMALL) == (431, 'more than 4 fields')
    assert error(head(*[b'A: %d' % n for n in range(4)])[:-4], SMALL) == (431, 'more than 4 fields')
    roomy = HeadLimits(fields=4)
    assert error(head(*[b'A: %d' % n for n in range(3)]), roomy) is None
    assert error(head(*[b'A: %d' % n for n in range(4)]), roomy) == (431, 'more than 4 fields')


@pytest.mark.parametrize('data, status', [
    (head(b'A: ' + b'b' * 60, b'C : d'), 431), (head(b'C : d', b'A: ' + b'b' * 60), 400),
    (b'GET / HTTP/1.1\n' + b'a' * 200 + b'\r\n\r\n', 400),
    (b'GET /' + b'a' * 60 + b'\n', 414), (b'GET /\x00' + b'a' * 60, 400), (head(*[b'A: b'] * 4, b'C : d'), 431),
    (head(*[b'A: b'] * 2, b'C : d'), 400),
    (b'\r\n' * 100 + head(line=b'GET / HTTP/1.1'), None),
])
def test_the_first_of_several_faults_wins(data, status):
    assert (error(data, SMALL) or (None,))[0] == status


def test_default_limits():
    """8 KB a line (RFC 9112 §3 asks for 8000 at least), 16 KB a head, 100 fields."""
    limits = HeadLimits()
    assert (limits.line, limits.head, limits.fields) == (8192, 16384, 100)
    data = head(line=line_of(8192))
    assert parse_request(data, *find_head(data)).path == '/' + 'a' * 8178
    for data, status in ((b'a' * 8193, 414), (b'GET / HTTP/1.1\r\n' + b'A: b\r\n' * 101, 431),
        (b'GET / HTTP/1.1\r\n' + (b'A: ' + b'b' * 8000 + b'\r\n') * 3, 431)):
        with pytest.raises(ParseError) as caught:
            find_head(data)
        assert caught.value.status == status


# Time in proportion to length

def seconds(function, *args):
    best = 60.0
    for _ in range(5):
        begin = time.process_time()
        try:
            function(*args)
        except ParseError:
            pass
        best = min(best, time.process_time() - begin)
    return best


def parse(data):
    limits = HeadLimits(1 << 30, 1 << 30, 1 << 30)
    start, end = find_head(data, 0, limits)
    if end >= 0:
        parse_request(data, start, end)


@pytest.mark.parametrize('repeated', [
    lambda n: b'a' * n, lambda n: b'GET /' + b'a' * n, lambda n: b'GET ' + b'/' * n + b' HTTP/1.1\r\nHost: a\r\n\r\n',
    lambda n: b'GET ' + b'/..' * n + b' HTTP/1.1\r\nHost: a\r\n\r\n',
    lambda n: b'GET ' + b'/a/..' * n + b' HTTP/1.1\r\nHost: a\r\n\r\n',
    lambda n: b'GET /' + b'%41' * n + b' HTTP/1.1\r\nHost: a\r\n\r\n',
    lambda n: b'GET /' + b'%' * n + b' HTTP/1.1\r\nHost: a\r\n\r\n',
    lambda n: head(b'A:' + b' ' * n + b'\x00'), lambda n: head(b'A: ' + b' b' * n + b' '),
    lambda n: head(b'A:' + b' ' * n), lambda n: head(b'A' * n), lambda n: head(b'A' * n + b' '),
    lambda n: head(b'A:' + b'\t ' * n + b'\r'), lambda n: head(*[b'A: b'] * (n // 4)),
    lambda n: head(*[b'A: b '] * (n // 4)), lambda n: head(*[b'A: b'] * (n // 4), b'C'),
    lambda n: head(b'Content-Length: ' + b'5,' * n), lambda n: head(b'Content-Length: ' + b'5' * n),
    lambda n: head(b'Content-Length: ' + b'5, ' * n + b'6'),
    lambda n: head(b'Content-Length: 5' + b' ' * n + b'x'), lambda n: head(b'Transfer-Encoding: ' + b'a,' * n),
    lambda n: head(b'Connection: ' + b'a, ' * n), lambda n: head(b'Expect: ' + b', ' * n),
    lambda n: head(host=b'Host: ' + b'a' * n + b'/'), lambda n: head(host=b'Host: [' + b':' * n + b']'),
    lambda n: head(host=b'Host: ' + b'%41' * n + b':'), lambda n: b'\r\n' * n,
    lambda n: b'GET http://' + b'a@' * n + b'/ HTTP/1.1\r\nHost: a\r\n\r\n',
])
def test_hostile_heads_take_time_in_proportion_to_their_length(repeated):
    """Sixteen times the length may take sixteen times the time; a quadratic step would take 256 times."""
    short, long = seconds(parse, repeated(4_000)), seconds(parse, repeated(64_000))
    assert long < max(short, 0.0002) * 100


def test_a_head_that_trickles_in_is_checked_without_waiting_for_its_end():
    check_lines('GET / HT')
    with pytest.raises(ParseError):
        check_lines('GET / HX')
