"""multipart/form-data: what a form says, however its bytes were cut, and what is refused."""

import random
import time

import pytest

from ioto.http import ParseError
from ioto.http.multipart import HEAD, OUTSIDE, Multipart, Part

BOUNDARY = '----WebKitFormBoundary7MA4YWxkTrZu0gW'
KIND = f'multipart/form-data; boundary={BOUNDARY}'
OPEN, CLOSE = f'--{BOUNDARY}\r\n'.encode(), f'--{BOUNDARY}--\r\n'.encode()


def part(disposition='form-data; name="a"', content=b'', *fields):
    """A part with its boundary in front."""
    lines = ''.join(f'{line}\r\n' for line in (f'Content-Disposition: {disposition}', *fields))
    return OPEN + lines.encode() + b'\r\n' + content + b'\r\n'


def understood(pieces, kind=KIND):
    """[(name, filename, content type, content), …] of a body given in pieces."""
    decoder = Multipart(kind)
    found = []
    for piece in pieces:
        for event in decoder.feed(piece):
            if isinstance(event, Part):
                found.append([event.name, event.filename, event.content_type, b''])
                ended = False
            elif event is None:
                assert not ended
                ended = True
            else:
                assert event and not ended
                found[-1][3] += event
    decoder.finish()
    assert not found or ended
    return [tuple(one) for one in found]


FORM = (part(content=b'hello') + part('form-data; name="file"; filename="x.txt"', b'\r\n--\r\n--' + BOUNDARY.encode()[:-1] + b'\r\r\n',
                                      'Content-Type: text/plain') + part('form-data; name="empty"') + CLOSE)
FOUND = [('a', None, '', b'hello'), ('file', 'x.txt', 'text/plain', b'\r\n--\r\n--' + BOUNDARY.encode()[:-1] + b'\r\r\n'),
         ('empty', None, '', b'')]


def test_a_form_in_one_piece():
    assert understood([FORM]) == FOUND


def test_a_form_cut_in_two_anywhere_and_in_single_bytes():
    for at in range(len(FORM) + 1):
        assert understood([FORM[:at], FORM[at:]]) == FOUND, at
    assert understood(FORM[n:n + 1] for n in range(len(FORM))) == FOUND


def test_random_contents_of_boundary_pieces_cut_at_random():
    seed = random.randrange(1 << 32)
    print('seed', seed)
    choose = random.Random(seed)
    letters = [b'\r', b'\n', b'-', b'\r\n', b'\r\n-', b'\r\n--', b'\r\n--' + BOUNDARY.encode()[:20], BOUNDARY.encode(), b'x', b'\0']
    for _ in range(300):
        contents = [b''.join(choose.choices(letters, k=choose.randrange(12))) for _ in range(choose.randrange(1, 5))]
        contents = [b'' if b'\r\n--' + BOUNDARY.encode() in b'\r\n' + content else content for content in contents]
        body = b''.join(part(content=content) for content in contents) + CLOSE
        cuts = sorted(choose.choices(range(len(body)), k=choose.randrange(20)))
        pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)])]
        assert [found[3] for found in understood(pieces)] == contents


def outcome(pieces):
    try:
        return understood(pieces)
    except ParseError as error:
        return error.status


def test_forms_changed_at_random_mean_the_same_however_they_are_cut():
    seed = random.randrange(1 << 32)
    print('seed', seed)
    choose = random.Random(seed)
    bits = [b'\r', b'\n', b'\r\n', b'-', b'--', b'"', b'\\', b';', b'=', b':', b' ', b'\0', b'\xff', b'%', b"'", b'*', OPEN, CLOSE, b'x' * 70,
            b'y' * OUTSIDE, b'z' * HEAD, b'filename*=', b'name=', b'Content-Type: multipart/x\r\n']
    outcomes = set()
    for _ in range(3000):
        body = FORM
        for _ in range(choose.choice((1, 1, 2, 3))):
            at = choose.randrange(len(body))
            body = body[:at] + choose.choice(bits) * choose.randrange(2) + body[at + choose.choice((0, 0, 1, 2, 60)):]
        whole = outcome([body])
        size = choose.choice((1, 2, 3, 7, 50))
        assert outcome(body[n:n + size] for n in range(0, len(body), size)) == whole, (size, body)
        outcomes.add(whole if isinstance(whole, int) else 200)
    assert outcomes >= {200, 400}


@pytest.mark.parametrize('body, contents', [
    (CLOSE, []),
    (b'a preamble\r\n' + part(content=b'x') + CLOSE + b'an epilogue', [b'x']),
    (part(content=b'x') + CLOSE.rstrip(), [b'x']),
    (part(content=b'x') + CLOSE.rstrip() + b' \t\r\nepilogue', [b'x']),
    (part(content=b'x').replace(OPEN, OPEN.rstrip() + b' \t \r\n') + CLOSE, [b'x']),
    (OPEN + b'Content-Disposition: form-data; name=a\r\n\r\n' + CLOSE, [b'']),      # no CRLF of its own before the boundary
    (part(content=b'\n--' + BOUNDARY.encode() + b'\n') + CLOSE, [b'\n--' + BOUNDARY.encode() + b'\n']),
    (part(content=b'x--' + BOUNDARY.encode() + b'--') + CLOSE, [b'x--' + BOUNDARY.encode() + b'--']),
    (part(content=b'\r\n\r\n') + CLOSE, [b'\r\n\r\n']),
    (part('form-data;name=a', b'x', 'content-transfer-encoding: 8BIT', 'X-Other: y') + CLOSE, [b'x'])])
def test_contents(body, contents):
    assert [found[3] for found in understood([body])] == contents
    assert [found[3] for found in understood(body[n:n + 1] for n in range(len(body)))] == contents


@pytest.mark.parametrize('disposition, name, filename', [
    ('form-data; name="a"', 'a', None), ('Form-Data ; NAME=a ; FileName=b', 'a', 'b'), ('form-data; name=""; filename=""', '', ''),
    ('form-data; name="a;b"; filename="c,d=\\"e\\".txt"', 'a;b', 'c,d="e".txt'),
    ('form-data; name="ä"; filename="日本.txt"', 'ä', '日本.txt'), ('form-data; name="a%22b%0D%0Ac%41"', 'a"b\r\nc%41', None),
    ('form-data; name="a"; filename="C:\\dir\\x.txt"', 'a', 'C:\\dir\\x.txt'), ('form-data; name="a"; filename="a\\\\b"', 'a', 'a\\b'),
    ("form-data; name=a; filename=x; filename*=UTF-8''%e2%82%ac%20rates", 'a', '€ rates'),
    ("form-data; name=a; filename*=utf-8'en'b", 'a', 'b')])
def test_names(disposition, name, filename):
    assert [found[:2] for found in understood([part(disposition) + CLOSE])] == [(name, filename)]


BAD_PARTS = [
    part('attachment; name="a"'), part('form-data'), part('form-data; name="a'), part('form-data; name="a"; name="b"'),
    part('form-data; name="a"; filename=b c'), part('form-data; name="a" filename="b"'), part('form-data; name'),
    part("form-data; name=a; filename*=latin-1''x"), part("form-data; name=a; filename*=UTF-8''%ff"), part('form-data; name=a; filename*=x'),
    part().replace(b'"a"', b'"\xff"'), part().replace(b'"a"', b'"\x00"'), part().replace(b'"a"', b'"\x7f"'),
    OPEN + b'\r\n\r\n', OPEN + b'X: y\r\n\r\n\r\n', OPEN + b'no colon\r\n\r\n\r\n',
    part(content=b'').replace(b'\r\n', b'\n'), part('form-data; name="a"', b'', 'Content-Disposition: form-data; name="b"'),
    part('form-data;\r\n name="a"'), part('form-data; name="a"', b'', 'X-Space : y'), part('form-data; name="a"', b'', 'X: a\nb'),
    OPEN.rstrip() + b'x\r\n', OPEN.rstrip() + b'\n', OPEN.rstrip() + b'-x', OPEN.rstrip() + b' ' * 100,
    part(content=b'\r\n--' + BOUNDARY.encode() + b'.suffix'), OPEN + b'X: ' + b'y' * HEAD + b'\r\n\r\n',
    OPEN + b''.join(b'X-%d: y\r\n' % n for n in range(200)) + b'\r\n\r\n',
    b'x' * (OUTSIDE + 1), part() + CLOSE + b'x' * (OUTSIDE + 1), part() + CLOSE.rstrip() + b'x', part() + CLOSE.rstrip() + b'\rx']


@pytest.mark.parametrize('body', BAD_PARTS, ids=lambda body: repr(body[-60:]))
def test_what_no_form_has_is_refused_however_it_is_cut(body):
    body += b'\r\n' * 3 + CLOSE
    for size in (len(body), 1):
        with pytest.raises(ParseError) as caught:
            understood(body[n:n + size] for n in range(0, len(body), size))
        assert caught.value.status in (400, 431)


@pytest.mark.parametrize('field', [
    'Content-Type: multipart/mixed; boundary=x', 'Content-Transfer-Encoding: base64', 'Content-Transfer-Encoding: quoted-printable'])
def test_encoded_and_nested_parts_are_415(field):
    with pytest.raises(ParseError) as caught:
        understood([part('form-data; name=a', b'', field) + CLOSE])
    assert caught.value.status == 415


@pytest.mark.parametrize('kind', [
    'multipart/form-data', 'multipart/form-data; boundary=', 'multipart/form-data; boundary=""', 'multipart/form-data; boundary="a "',
    f'multipart/form-data; boundary={"a" * 71}', 'multipart/form-data; boundary="a\\r"', 'multipart/form-data; boundary="ä"',
    'multipart/form-data; boundary=a; boundary=b', 'multipart/form-data; boundary=a b', 'multipart/form-data; boundary="a',
    'multipart/form-data; boundary=a@b', 'multipart/form-data; boundary="a\\"b"'])
def test_bad_boundaries_are_refused(kind):
    with pytest.raises(ParseError):
        Multipart(kind)


@pytest.mark.parametrize('boundary', ['a', 'a' * 70, '"a b"', '"a\'()+_,-./:=?z"', '"gc0p4Jq0M2Yt08jU534c0p"', "0-9'+_.-"])
def test_good_boundaries(boundary):
    body = part(content=b'x').replace(BOUNDARY.encode(), boundary.strip('"').encode())
    body += b'--%b--' % boundary.strip('"').encode()
    assert understood([body], f'Multipart/Form-Data; charset=x; BOUNDARY={boundary};') == [('a', None, '', b'x')]


def test_a_form_that_ends_early_is_refused_wherever_that_is():
    for end in range(len(FORM) - len(b'\r\n')):
        with pytest.raises(ParseError):
            understood([FORM[:end]])


def test_ten_thousand_parts_and_contents_that_look_like_boundaries_take_time_in_proportion():
    began = time.process_time()
    assert len(understood([part(content=b'x') * 10_000 + CLOSE])) == 10_000
    for block in (b'\r\n' * 32768, b'\r\n--' * 16384, b'\r' * 65536, b'-' * 65536, (b'\r\n--' + BOUNDARY.encode()[:-1]) * 1600):
        assert understood([part(content=b'')[:-2], *[block] * 64, b'\r\n' + CLOSE]) == [('a', None, '', block * 64)]
    assert time.process_time() - began < 3


def test_contents_pass_uncopied():
    decoder = Multipart(KIND)
    decoder.feed(part('form-data; name=a; filename=b')[:-2])
    block = bytes(65536)
    decoder.feed(b'begun')
    assert decoder.feed(block)[0] is block


def test_64_kb_reads_are_decoded_at_150_mb_a_second_at_least():
    block = random.randbytes(65536)
    decoder = Multipart(KIND)
    decoder.feed(part('form-data; name=a; filename=b')[:-2])
    began = time.process_time()
    for _ in range(1600):
        decoder.feed(block)
    assert 100 / (time.process_time() - began) > 150
