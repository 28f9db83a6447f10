"""The known classes of request smuggling: each is refused with its status, and what follows is never a request.

Every vector is followed by a request that a careless server would answer (`/smuggled`).
"""

import pytest

from tests.http.feeding import agreed, head

NEXT = b'GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n'
CHUNKS = b'5\r\nhello\r\n0\r\n\r\n'
CL = b'Content-Length: 6'
TE = b'Transfer-Encoding: chunked'


def refusal(data):
    """The status of the error; no request may come before it."""
    found = agreed(data)
    assert [event[0] for event in found] == ['error'], found
    return found[0][1]


@pytest.mark.parametrize('fields', [
    [CL, TE], [TE, CL], [b'Content-Length: 0', TE], [TE, b'X: y', b'content-length: 6'], [CL, b'Transfer-Encoding:'],
    [CL, b'Transfer-Encoding: x'],
    [CL, b'Transfer-Encoding: identity'], [b'Content-Length:', TE], [b'Content-Length: x', TE],
    [CL, b'Transfer-Encoding: gzip, chunked'],
])
def test_content_length_with_transfer_encoding_is_400(fields):
    """CL.TE and TE.CL; RFC 9112 §6.1."""
    assert refusal(head(*fields) + b'0\r\n\r\n' + NEXT) == 400


@pytest.mark.parametrize('line, code', [
    (b'Transfer-Encoding : chunked', 400), (b'Transfer-Encoding\t: chunked', 400),
    (b' Transfer-Encoding: chunked', 400), (b'\tTransfer-Encoding: chunked', 400),
    (b'Transfer-Encoding\x0b: chunked', 400), (b'Transfer-Encoding\xa0: chunked', 400),
    (b'Transfer-Encoding\x00: chunked', 400), (b'\x00Transfer-Encoding: chunked', 400),
    (b'Transfer-Encoding: \x0bchunked', 400), (b'Transfer-Encoding:\x0cchunked', 400),
    (b'Transfer-Encoding: chunked\x0b', 400), (b'Transfer-Encoding: chunked\x00', 400),
    (b'Transfer-Encoding: \x00chunked', 400), (b'Transfer-Encoding: chunked\x7f', 400),
    (b'Transfer-Encoding:\r\n chunked', 400), (b'Transfer-Encoding:\r\n\tchunked', 400),
    (b'Transfer-Encoding:\n chunked', 400), (b'Transfer-Encoding: chunked\n', 400),
    (b'Transfer-Encoding: chunked\r', 400), (b'X: y\rTransfer-Encoding: chunked', 400),
    (b'X: y\nTransfer-Encoding: chunked', 400), (b'X:\nTransfer-Encoding: chunked', 400),
    (b'X: y\r\r\nTransfer-Encoding: chunked', 400),
    (b'Transfer-Encoding: xchunked', 400), (b'Transfer-Encoding: chunkedx', 400), (b'Transfer-Encoding: chunk', 400),
    (b'Transfer-Encoding: chunked;q=1', 400),
    (b'Transfer-Encoding: chunked;', 400), (b'Transfer-Encoding: "chunked"', 400),
    (b"Transfer-Encoding: 'chunked'", 400), (b'Transfer-Encoding: chunked chunked', 400),
    (b'Transfer-Encoding: chunked, identity', 400), (b'Transfer-Encoding: chunked, gzip', 400),
    (b'Transfer-Encoding: chunked, chunked', 400),
    (b'Transfer-Encoding: chunked,', 400), (b'Transfer-Encoding: , chunked', 400), (b'Transfer-Encoding: ,', 400),
    (b'Transfer-Encoding:', 400), (b'Transfer-Encoding: ', 400),
    (b'Transfer-Encoding: gzip,, chunked', 400), (b'Transfer-Encoding: identity', 400),
    (b'Transfer-Encoding: gzip', 400), (b'Transfer-Encoding: \xe7hunked', 400),
    (b'Transfer-Encoding: \xa0chunked', 400), (b'Transfer-Encoding: chunked\xa0', 400),
    (b'Transfer-Encoding: \x85chunked', 400), (b'Transfer-Encoding: gzip, chunked', 501),
    (b'Transfer-Encoding: identity, chunked', 501), (b'Transfer-Encoding: x;a=b, chunked', 501),
    (b'Transfer-Encoding: cow, chunked', 501), (b'"Transfer-Encoding": chunked', 400),
    (b'Transfer-Encoding; chunked', 400), (b'Transfer-Encoding chunked', 400),
    (b'Transfer-Encoding:chunked\r\nTransfer-Encoding: identity', 400),
    (b'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked', 400),
    (b'Transfer-Encoding: identity\r\nTransfer-Encoding: chunked', 501),
    (b'Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked', 501),
    (b'Transfer-Encoding:\r\nTransfer-Encoding: chunked', 400),
    (b'Transfer-Encoding: chunked\r\ntransfer-encoding:', 400), (b'Transf\xe9r-Encoding: chunked', 400),
    (b'Transfer Encoding: chunked', 400),
])
def test_obscured_transfer_encoding(line, code):
    """TE.TE; RFC 9112 §6.1, §6.3: 400 if chunked is not the final coding, 501 for a coding not understood before it."""
    assert refusal(head(line) + CHUNKS + NEXT) == code


@pytest.mark.parametrize('line', [b'Transfer_Encoding: chunked', b'X-Transfer-Encoding: chunked',
    b'TransferEncoding: chunked', b'Transfer-Encodings: chunked', b'TE: chunked'])
def test_other_names_are_not_transfer_encoding(line):
    assert agreed(head(line))[0][9] == 0


@pytest.mark.parametrize('line, code', [(TE, 400), (b'Transfer-Encoding: identity', 400),
    (b'Transfer-Encoding: gzip, chunked', 400)])
def test_transfer_encoding_in_1_0_is_400(line, code):
    """RFC 9112 §6.1: the framing is faulty."""
    assert refusal(head(line, line=b'POST / HTTP/1.0') + CHUNKS + NEXT) == code


@pytest.mark.parametrize('value', [
    b'+6', b'-6', b'-0', b'+0', b'0x6', b'0X6', b'6x', b'x6', b'6_0', b'_6', b'6 0', b'6\t0', b'6.0', b'6e1', b'six',
    b'', b' ', b',', b'6,', b',6', b'6,,6', b'6, 7', b'6,60',
    b'60,6', b'6;6', b'6, +6', b'6, 06', b'06, 6', b'\xb2', b'\xb9\xb2', b'6\xa0', b'\xa06', b'6\x0b', b'6\x00', b'"6"',
    b'(6)', b'0b1', b'0o6', b'1' * 19, b'9' * 5000,
    b'18446744073709551622', b'6\r\n 0', b'6\r0', b'6\n', b'6 ,7', b'infinity', b'1,000',
])
def test_bad_content_lengths_are_400(value):
    """RFC 9110 §8.6, RFC 9112 §6.3."""
    assert refusal(head(b'Content-Length: ' + value) + b'hello\n' + NEXT) == 400
    assert refusal(head(b'Content-Length: ' + value, line=b'POST / HTTP/1.0') + b'hello\n' + NEXT) == 400


@pytest.mark.parametrize('fields', [
    [b'Content-Length: 6', b'Content-Length: 5'], [b'Content-Length: 6', b'content-length: 06'],
    [b'Content-Length: 6', b'Content-Length:'], [b'Content-Length:', b'Content-Length:'],
    [b'Content-Length: 6', b'Content-Length: 6', b'Content-Length: 7'], [b'Content-Length: 6', b'Content-Length: +6'],
    [b'Content-Length: 0', b'Content-Length: 6'],
    [b'Content-Length : 6'], [b'Content-Length\t: 6'], [b' Content-Length: 6'], [b'Content-Length\x00: 6'],
    [b'Content-Length\xa0: 6'], [b'X: y\nContent-Length: 6'],
])
def test_contradicting_or_obscured_content_lengths_are_400(fields):
    """CL.CL; RFC 9112 §6.3."""
    assert refusal(head(*fields) + b'hello\n' + NEXT) == 400


@pytest.mark.parametrize('data', [
    b'GET / HTTP/1.1\nHost: a\n\n', b'GET / HTTP/1.1\r\nHost: a\n\r\n', b'GET / HTTP/1.1\nHost: a\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: a\r\n\n', b'GET / HTTP/1.1\r\nHost: a\n\n',
    b'GET / HTTP/1.1\rHost: a\r\r', b'GET / HTTP/1.1\r\nHost: a\r\r\n\r\n', b'GET / HTTP/1.1\r\nHost: a\r\n\r\r\n',
    b'GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n', b'GET / HTTP/1.1\r\n\x00\r\nHost: a\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n', b'GET / HTTP/1.1\r\n Host: a\r\n\r\n',
    b'GET / HTTP/1.1\r\n\tHost: a\r\n\r\n', b'GET /\r\nHost: a\r\n\r\n', b'GET / HTTP/1.1\r\n: a\r\nHost: a\r\n\r\n',
])
def test_other_line_ends_folding_and_nul_are_400(data):
    """RFC 9112 §2.2, §5.2; RFC 9110 §5.5."""
    assert refusal(data + NEXT) == 400


@pytest.mark.parametrize('body', [
    b'5\nhello\r\n0\r\n\r\n', b'5\r\nhello\n0\r\n\r\n', b'5\r\nhello\r\n0\n\r\n', b'5\r\nhello\r\n0\r\n\n',
    b'5\rhello\r\n0\r\n\r\n', b'5\r\nhello\r0\r\n\r\n', b'5\r\r\nhello\r\n0\r\n\r\n',
    b'5\r\nhello0\r\n\r\n', b'5\r\nhelloXX0\r\n\r\n', b'5\r\nhello\r\r\n0\r\n\r\n', b'5\r\nhello\rX0\r\n\r\n',
    b'5\r\nhello\n\r0\r\n\r\n', b'5\r\nhello\r\n\r\n0\r\n\r\n', b'5\r\nhello\n\n0\r\n\r\n', b'4\r\nhello\r\n0\r\n\r\n',
    b'0x5\r\nhello\r\n0\r\n\r\n', b'5x\r\nhello\r\n0\r\n\r\n', b'+5\r\nhello\r\n0\r\n\r\n', b'-5\r\nhello\r\n0\r\n\r\n',
    b'-0\r\n\r\n', b' 5\r\nhello\r\n0\r\n\r\n', b'5 \r\nhello\r\n0\r\n\r\n',
    b'5\t\r\nhello\r\n0\r\n\r\n', b'\t5\r\nhello\r\n0\r\n\r\n', b'5_0\r\nhello\r\n0\r\n\r\n',
    b'0_5\r\nhello\r\n0\r\n\r\n', b'5.\r\nhello\r\n0\r\n\r\n', b'g\r\nhello\r\n0\r\n\r\n',
    b'\r\n5\r\nhello\r\n0\r\n\r\n',
    b'\xb5\r\nhello\r\n0\r\n\r\n', b'5\x00\r\nhello\r\n0\r\n\r\n', b'"5"\r\nhello\r\n0\r\n\r\n',
    b'5,5\r\nhello\r\n0\r\n\r\n', b'5\x0b\r\nhello\r\n0\r\n\r\n',
    b'00000000000000005\r\nhello\r\n0\r\n\r\n', b'10000000000000005\r\nhello\r\n0\r\n\r\n',
    b'100000000000000000000000000000005\r\nhello\r\n0\r\n\r\n', b'00000000000000000\r\n\r\n',
    b'5;\r\nhello\r\n0\r\n\r\n', b'5;=\r\nhello\r\n0\r\n\r\n', b'5;a=\r\nhello\r\n0\r\n\r\n',
    b'5;a\nb\r\nhello\r\n0\r\n\r\n', b'5;a\rb\r\nhello\r\n0\r\n\r\n', b'5;a="b\r\nhello\r\n0\r\n\r\n',
    b'5;a="\n"\r\nhello\r\n0\r\n\r\n', b'5;a="\x00"\r\nhello\r\n0\r\n\r\n', b'5;a b\r\nhello\r\n0\r\n\r\n',
    b'5;a=b c\r\nhello\r\n0\r\n\r\n', b'5;;a\r\nhello\r\n0\r\n\r\n', b'5 a\r\nhello\r\n0\r\n\r\n',
    b'5;a \r\nhello\r\n0\r\n\r\n', b'5;a="b"c\r\nhello\r\n0\r\n\r\n', b'5;\x00\r\nhello\r\n0\r\n\r\n',
    b'5;a=\xff\r\nhello\r\n0\r\n\r\n', b'5;' + b'a' * 600 + b'\r\nhello\r\n0\r\n\r\n', b'0' * 600,
    b'5\r\nhello\r\n0\r\nA : b\r\n\r\n', b'0\r\n A: b\r\n\r\n', b'0\r\nA: b\n\r\n', b'0\r\nA: b\r\n c\r\n\r\n',
    b'0\r\nA\r\n\r\n', b'0\r\n: b\r\n\r\n', b'0\r\nA: \x00\r\n\r\n', b'0\r\nA: b\rc\r\n\r\n',
    b'0\r\n\xe9: b\r\n\r\n', b'0\r\nA: b\r\n\n', b'0\r\n\rX', b'0\r\n\x00', b'0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n',
])
def test_bad_chunks_are_400(body):
    """RFC 9112 §7.1: the request itself has been read, what follows is not."""
    found = agreed(head(TE) + body + NEXT)
    assert [event[0] for event in found] == ['POST', 'error'], found
    assert found[1][1] == 400


def test_a_body_is_never_taken_for_a_request():
    for body in (NEXT, CHUNKS + NEXT):
        found = agreed(head(b'Content-Length: %d' % len(body)) + body + NEXT)
        assert [event[0] for event in found] == ['POST', 'body', 'GET'] and found[1][1] == body


def test_a_request_without_framing_fields_has_no_body():
    assert [event[0] for event in agreed(head() + NEXT)] == ['POST', 'GET']
