"""Bodies: lengths, chunks, trailers, the end of the connection (RFC 9112 §6, §7, §8)."""

import pytest

from ioto.http import HeadLimits, ParseError
from ioto.http.body import LAST_CHUNK, ChunkedDecoder, LengthDecoder, chunk
from ioto.http.client import CloseDecoder
from tests.http.feeding import agreed

LONG = b'x' * 300


def chunked(pieces, limits=HeadLimits()):
    """(payload, done, rest, trailers) of a chunked body, or ('error', status, message)."""
    decoder = ChunkedDecoder(limits)
    payload = b''
    try:
        for piece in pieces:
            payload += b''.join(decoder.feed(piece))
    except ParseError as error:
        return 'error', error.status, error.message
    return payload, decoder.done, decoder.rest, decoder.trailers


@pytest.mark.parametrize('data, payload', [
    (b'0\r\n\r\n', b''), (b'5\r\nhello\r\n0\r\n\r\n', b'hello'), (b'5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n', b'hello!'),
    (b'A\r\n0123456789\r\n0\r\n\r\n', b'0123456789'),
    (b'a\r\n0123456789\r\n0\r\n\r\n', b'0123456789'), (b'005\r\nhello\r\n000\r\n\r\n', b'hello'),
    (b'0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n', b'hello'),
    (b'12C\r\n' + LONG + b'\r\n0\r\n\r\n', LONG), (b'4\r\n\r\n\r\n\r\n0\r\n\r\n', b'\r\n\r\n'),
    (b'5\r\n0\r\n\r\n\r\n0\r\n\r\n', b'0\r\n\r\n'),
])
def test_chunks(data, payload):
    """RFC 9112 §7.1."""
    assert agreed(data, chunked) == (payload, True, b'', {})
    assert agreed(data + b'GET / H', chunked)[:2] == (payload, True)


def test_what_follows_the_body_is_the_rest_whole_and_in_order():
    for pieces in ([b'1\r\na\r\n0\r\n\r\nGET', b' /'], [b'1\r\na\r\n0\r\n\r\n', b'GET /'],
        [b'1\r\na\r\n0\r\n\r', b'\nGET', b' ', b'/']):
        assert chunked(pieces)[2] == b'GET /'


@pytest.mark.parametrize('extension', [
    b';a', b';a=b', b';a="b"', b';a="b;c=\\"d\\""', b';a;b;c', b';a=b;c="d"', b' ;a', b'; a', b';a =b', b';a= b',
    b' \t;\ta = "b c"', b';a=""', b';a="\xe9"', b';a="\\\\"', b";!#$%&'*+-.^_`|~=0",
])
def test_chunk_extensions_are_ignored(extension):
    """RFC 9112 §7.1.1: a recipient MUST ignore unrecognized ones; RFC 9110 §5.6.3: bad white space MUST be parsed."""
    assert agreed(b'5' + extension + b'\r\nhello\r\n0' + extension + b'\r\n\r\n', chunked) == (b'hello', True, b'', {})


def test_chunk_extensions_are_bounded_each_and_in_total():
    """RFC 9112 §7.1.1: a server ought to limit their total length."""
    assert agreed(b'1;' + b'a' * 508 + b'\r\nx\r\n', chunked) == (b'x', False, b'', {})
    assert agreed(b'1;' + b'a' * 509 + b'\r\nx\r\n', chunked) == ('error', 400, 'chunk line over 512 bytes')
    assert chunked([(b'1;' + b'a' * 399 + b'\r\nx\r\n') * 40])[0] == b'x' * 40
    assert chunked([(b'1;' + b'a' * 399 + b'\r\nx\r\n') * 41])[:2] == ('error', 400)
    assert chunked([b'1;' + b'a' * 399 + b'\r\nx\r\n'] * 41)[:2] == ('error', 400)


@pytest.mark.parametrize('lines, trailers', [
    (b'A: b\r\n', {'a': 'b'}), (b'A: b \r\nC:d\r\n', {'a': 'b', 'c': 'd'}), (b'A: b\r\na: c\r\n', {'a': 'b, c'}),
    (b'Empty:\r\n', {'empty': ''}),
    (b'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', {'content-length': '5', 'transfer-encoding': 'chunked'}),
])
def test_trailers(lines, trailers):
    """RFC 9112 §7.1.2, RFC 9110 §6.5: they stay apart from the head and frame nothing."""
    assert agreed(b'1\r\nx\r\n0\r\n' + lines + b'\r\nGET', lambda pieces: chunked(pieces)[::3]) == (b'x', trailers)


def test_trailers_are_bounded():
    limits = HeadLimits(line=40, head=60, fields=3)

    def read(pieces):
        return chunked(pieces, limits)
    assert agreed(b'0\r\n' + b'A: b\r\n' * 3 + b'\r\n', read) == (b'', True, b'', {'a': 'b, b, b'})
    assert agreed(b'0\r\n' + b'A: b\r\n' * 4 + b'\r\n', read) == ('error', 431, 'more than 3 fields')
    assert agreed(b'0\r\nA: ' + b'b' * 38 + b'\r\n\r\n', read) == ('error', 431, 'line over 40 bytes')
    assert agreed(b'0\r\n' + (b'A: ' + b'b' * 26 + b'\r\n') * 2 + b'\r\n', read) == ('error', 431, 'head over 60 bytes')


def test_a_chunk_may_be_larger_than_memory_and_is_passed_on_as_it_comes():
    decoder = ChunkedDecoder()
    assert decoder.feed(b'FFFFFFFFFFFFFFFF\r\n') == []
    data = bytes(65536)
    for _ in range(100):
        assert decoder.feed(data)[0] is data
    assert not decoder.done


def test_payload_is_not_copied_where_a_slice_is_the_whole():
    data = bytes(1000)
    assert LengthDecoder(1000).feed(data)[0] is data
    assert LengthDecoder(2000).feed(data)[0] is data
    assert CloseDecoder().feed(data)[0] is data


def lengths(size):
    def read(pieces):
        decoder = LengthDecoder(size)
        return b''.join([part for piece in pieces for part in decoder.feed(piece)]), decoder.done, decoder.rest
    return read


@pytest.mark.parametrize('size, data, found', [
    (0, b'', (b'', True, b'')), (0, b'GET', (b'', True, b'GET')), (5, b'hello', (b'hello', True, b'')),
    (5, b'helloGET', (b'hello', True, b'GET')), (5, b'hell', (b'hell', False, b'')),
    (10 ** 18 - 1, b'x', (b'x', False, b'')),
])
def test_a_body_with_a_length_ends_there(size, data, found):
    """RFC 9112 §6.2."""
    assert agreed(data, lengths(size)) == found


def test_the_connection_may_end_only_where_the_body_does():
    """RFC 9112 §8: an incomplete body is not to be taken for a whole one."""
    for decoder, data in ((LengthDecoder(5), b'hell'), (LengthDecoder(1), b''), (ChunkedDecoder(), b''),
        (ChunkedDecoder(), b'5\r\nhello\r\n0\r\n'), (ChunkedDecoder(), b'5\r\nhello\r\n0\r\nA: b\r\n')):
        decoder.feed(data)
        with pytest.raises(ParseError):
            decoder.finish()
    for decoder, data in ((LengthDecoder(5), b'hello'), (LengthDecoder(0), b''), (ChunkedDecoder(), b'0\r\n\r\n'),
        (CloseDecoder(), b'hello'), (CloseDecoder(), b'')):
        decoder.feed(data)
        decoder.finish()
        assert decoder.done and decoder.rest == b'' and decoder.trailers == {}


def test_a_body_until_close_goes_on():
    decoder = CloseDecoder()
    assert decoder.feed(b'a') + decoder.feed(b'') + decoder.feed(b'b') == [b'a', b'b'] and not decoder.done


@pytest.mark.parametrize('payload', [b'', b'x', b'\r\n', LONG, bytes(range(256)) * 300])
def test_chunks_that_are_built_can_be_read(payload):
    data = b''.join([chunk(payload), chunk(b''), chunk(memoryview(payload)), LAST_CHUNK])
    assert chunked([data]) == (payload * 2, True, b'', {})


def test_many_small_chunks_take_time_in_proportion_to_their_number():
    import time
    times = []
    for count in (2_000, 32_000):
        data = b'1\r\nx\r\n' * count
        begin = time.process_time()
        assert len(ChunkedDecoder().feed(data)) == count
        times.append(time.process_time() - begin)
    assert times[1] < max(times[0], 0.0005) * 100
