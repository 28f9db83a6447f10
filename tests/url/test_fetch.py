"""One fetch: what is sent, what is read, and what becomes of the connection."""

import builtins
import io
import os

import pytest

from ioto import runtime, url
from ioto.url import ProtocolError, StatusError, TooLarge, UrlError
from tests.url.support import CLOSE, OK, Script, answer, ask, read_body, read_request, serve

HEAD = b'HTTP/1.1 200 OK\r\n'
CHUNKED = HEAD + b'Transfer-Encoding: chunked\r\n'


def sent(method='GET', body=None, path='/x', **options):
    """What a server gets."""
    script = Script(lambda asked: OK)

    async def main(client, base):
        async with client.fetch(method, base + path, body, **options) as up:
            assert await up.read() == (b'' if method == 'HEAD' else b'ok')
    serve(main, script)
    return script.asked[0]


def test_a_plain_request_has_host_and_the_default_fields():
    asked = sent()
    assert asked.line == 'GET /x HTTP/1.1' and set(asked.fields) == {'host', 'user-agent', 'accept', 'accept-encoding'}
    assert asked.fields['host'].startswith('127.0.0.1:') and asked.fields['accept-encoding'] == 'gzip, deflate'


def test_fields_of_the_request_replace_the_default_ones_in_any_case():
    asked = sent(headers={'USER-agent': 'me', 'Accept': None, 'X-One': 1, 'host': 'other'})
    assert asked.fields['user-agent'] == 'me' and 'accept' not in asked.fields and asked.fields['x-one'] == '1'
    assert asked.fields['host'] == 'other'
    assert 'accept-encoding' not in sent(decode=False).fields
    assert 'accept-encoding' not in sent(headers=[('Range', 'bytes=1-')]).fields
    for options in ({}, {'decode': False}):
        assert sent(headers={'accept-encoding': 'gzip', 'Range': 'bytes=1-'}, **options).fields['accept-encoding'] == 'gzip'


def test_a_field_with_a_list_is_sent_once_for_each_item():
    async def echo(stream):
        head = await stream.read_until(b'\r\n\r\n')
        await stream.write(answer(200, body=head))
    text = serve(lambda client, base: client.get(base, headers={'X-A': ['1', 2], 'Accept': ('a/b',), 'User-Agent': []}), echo)
    fields = [line for line in text.split('\r\n')[1:] if line[:4] not in ('Host', '')]
    assert fields == ['Accept-Encoding: gzip, deflate', 'X-A: 1', 'X-A: 2', 'Accept: a/b']


def test_fields_of_the_client_are_sent_with_each_request():
    script = Script(lambda asked: OK)

    async def main(client, base):
        await client.get(base)
        await client.get(base, headers={'X-A': 2})
    serve(main, script, headers={'x-a': 1, 'User-Agent': None})
    assert [asked.fields['x-a'] for asked in script.asked] == ['1', '2']
    assert 'user-agent' not in script.asked[0].fields and 'user-agent' not in script.asked[1].fields
    serve(lambda client, base: client.get(base), script, headers={'Host': 'other'})
    assert script.asked[2].fields['host'] == 'other'


@pytest.mark.parametrize('options', [
    {'headers': {'X': 'a\r\nY: b'}}, {'headers': {'X\r\nY': 'a'}}, {'headers': {'X': 'a\nb'}}, {'headers': {'X': '\0'}},
    {'headers': {'X Y': 'a'}}, {'headers': {'X': '\u20ac'}}, {'bearer': 'a\r\nX: y'}, {'auth': ('a:b', 'c', 'basic')},
    {'method': 'GET /\r\n'}, {'method': 'G T'}, {'path': '/a\r\nX: y'}, {'path': '/ HTTP/1.1\nX: y'}, {'timeout': {'nothing': 1}},
    {'body': 5}, {'headers': {'Content-Length': 5}, 'body': b'123', 'path': '/\0'}])
def test_nothing_can_inject_a_line(options):
    with pytest.raises(UrlError):
        sent(**options)


def test_the_framing_is_that_of_the_body_whatever_the_fields_say():
    script = Script(lambda asked: OK)

    async def main(client, base):
        for body in (None, b'body'):
            async with client.fetch('PUT', base, body, headers={'Content-Length': 9, 'Transfer-Encoding': 'chunked'}):
                pass
            await client.get(base)
    serve(main, script, headers={'content-length': 5, 'Transfer-Encoding': 'chunked'})
    assert [asked.fields.get('content-length') for asked in script.asked] == ['0', None, '4', None]
    assert not [asked for asked in script.asked if 'transfer-encoding' in asked.fields]


def test_a_bad_default_field_is_refused_at_once():
    with pytest.raises(UrlError):
        url.Client(headers={'X': 'a\r\nb'})


async def pieces():
    for piece in (b'one', '', 'zwö', b'x' * 100000):
        yield piece


@pytest.mark.parametrize('body, expected, fields', [
    (b'abc', b'abc', {'content-length': '3'}),
    (memoryview(b'abc'), b'abc', {'content-length': '3'}),
    ('ü', 'ü'.encode(), {'content-length': '2', 'content-type': 'text/plain; charset=utf-8'}),
    ({'a': '1 2', 'b': ['ü', '&']}, b'a=1%202&b=%C3%BC&b=%26', {'content-type': 'application/x-www-form-urlencoded'}),
    (b'', b'', {'content-length': '0'}),
    (None, b'', {'content-length': '0'}),
    (b'y' * 3_000_000, b'y' * 3_000_000, {'content-length': '3000000'}),
    (pieces, b'onezw\xc3\xb6' + b'x' * 100000, {'transfer-encoding': 'chunked'}),
    (io.BytesIO(b'abc'), b'abc', {'content-length': '3'}),
])
@pytest.mark.parametrize('expect', [False, True])
def test_bodies_are_framed_by_what_they_are(body, expected, fields, expect):
    if isinstance(body, io.BytesIO):
        body.seek(0)
    asked = sent('POST', body() if callable(body) else body, expect=expect and body is not None)
    assert asked.body == expected and fields.items() <= asked.fields.items()
    assert ('content-length' in asked.fields) != ('transfer-encoding' in asked.fields)


def test_a_file_is_sent_from_its_position_with_its_length(tmp_path):
    data = os.urandom(500_000)
    (tmp_path / 'file').write_bytes(data)
    with open(tmp_path / 'file', 'rb') as file:
        file.seek(1000)
        asked = sent('PUT', file)
    assert asked.body == data[1000:] and asked.fields['content-length'] == '499000'


def test_a_pipe_is_sent_in_chunks():
    reader, writer = os.pipe()
    os.write(writer, b'through a pipe')
    os.close(writer)
    with open(reader, 'rb') as file:
        asked = sent('PUT', file)
    assert asked.body == b'through a pipe' and asked.fields['transfer-encoding'] == 'chunked'


def test_an_answer_and_a_stream_are_bodies_too():
    script = Script(lambda asked: answer(200, body=b'from above') if asked.method == 'GET' else OK)

    async def main(client, base):
        async with client.fetch('GET', base) as down, client.fetch('PUT', base, down) as up:
            await up.read()
        stream = await runtime.connect('127.0.0.1', int(base.rpartition(':')[2]))
        await stream.write(b'GET / HTTP/1.0\r\n\r\n')
        stream.shutdown()
        async with client.fetch('PUT', base, stream) as up:
            await up.read()
        await stream.close()
    serve(main, script)
    assert script.asked[1].body == b'from above' and script.asked[3].body.endswith(b'from above')


@pytest.mark.parametrize('length, why', [(3, 'longer than its Content-Length'), (30, 'before its Content-Length'), (-5, 'bad Content-Length')])
def test_a_stream_that_breaks_its_promised_length_is_an_error(length, why):
    async def body():
        yield b'12345'

    async def main(client, base):
        with pytest.raises(UrlError, match=why):
            await client.post(base, body(), headers={'Content-Length': length})
    serve(main, Script(lambda asked: OK))
    assert sent('PUT', pieces(), headers={'Content-Length': None}).fields['transfer-encoding'] == 'chunked'
    assert sent('PUT', pieces(), headers={'Content-Length': 100007}).fields['content-length'] == '100007'


@pytest.mark.parametrize('error', [ZeroDivisionError, FileNotFoundError, TimeoutError, EOFError])
def test_an_error_of_the_source_of_a_body_ends_the_fetch_and_is_raised(error):
    async def body():
        yield b'12345'
        raise error

    async def main(client, base):
        with pytest.raises(error) as caught:
            await client.post(base, body())
        assert type(caught.value) is error and not client.pool.count
    serve(main, Script(lambda asked: OK), limit=5)


def test_a_file_that_shrinks_is_an_error(tmp_path):
    (tmp_path / 'file').write_bytes(b'x' * 300_000)

    async def main(client, base):
        with open(tmp_path / 'file', 'rb+') as file:
            fetch = client.fetch('PUT', base, file)
            file.truncate(200_000)
            with pytest.raises(UrlError, match='the file ended'):
                async with fetch:
                    pass
    serve(main, Script(lambda asked: OK), limit=5)


def test_no_limit_is_a_limit_too():
    async def main(client, base):
        assert await client.get(base, timeout=dict.fromkeys(('connect', 'tls', 'first', 'idle', 'whole'))) == 'ok'
    serve(main, Script(lambda asked: OK))


@pytest.mark.parametrize('data, body, length', [
    (HEAD + b'Content-Length: 5\r\n\r\nhello', b'hello', 5),
    (HEAD + b'Content-Length: 5, 5\r\n\r\nhello', b'hello', 5),
    (HEAD + b'Content-Length: 0\r\n\r\n', b'', 0),
    (CHUNKED + b'\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n', b'hello', None),
    (HEAD + b'\r\nhello' + CLOSE, b'hello', None),
    (b'HTTP/1.0 200 OK\r\n\r\nhello' + CLOSE, b'hello', None),
    (b'HTTP/1.0 200\r\nContent-Length: 5\r\n\r\nhello' + CLOSE, b'hello', 5),
    (HEAD + b'Connection: close\r\nContent-Length: 5\r\n\r\nhello' + CLOSE, b'hello', 5),
    (b'HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n', b'', 0),
    (b'HTTP/1.1 304 Not\r\nContent-Length: 5\r\n\r\n', b'', 0),
    (b'HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n' + OK, b'ok', 2),
    (b'HTTP/1.1 100 Continue\r\n\r\n' * 3 + OK, b'ok', 2),
])
def test_an_answer_ends_where_its_framing_says(data, body, length):
    """RFC 9112 §6.3"""
    up = ask(data)
    assert (up.body, up.length) == (body, length)


def test_an_answer_to_head_has_no_body():
    up = ask(HEAD + b'Content-Length: 5\r\nContent-Encoding: gzip\r\n\r\n', 'HEAD')
    assert up.body == b'' and up.headers['Content-LENGTH'] == '5'


def test_an_answer_may_come_byte_by_byte():
    data = CHUNKED + b'Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 7\r\n\r\n'

    async def slow(stream):
        while await read_request(stream):
            for byte in data:
                await stream.write(bytes((byte,)))
                await runtime.sleep(0)

    async def main(client, base):
        for _ in range(2):
            async with client.fetch('GET', base) as up:
                assert up.headers.all('set-cookie') == ['a=1', 'b=2'] and up.trailers == {}
                assert await up.read() == b'hello' and up.trailers == {'x-sum': '7'}
        assert client.pool.count == 1
    serve(main, slow)


@pytest.mark.parametrize('media, body, text', [
    ('text/plain', 'ü€'.encode(), 'ü€'), ('text/plain; charset=ISO-8859-1', b'\xfc', 'ü'), ('text/plain; charset="UTF-8"', b'\xc3\xbc', 'ü'),
    ('text/plain', b'\xef\xbb\xbfa', 'a'), ('text/plain', b'\xff', '\ufffd'), ('text/plain; charset=us-ascii', b'a', 'a'), ('', b'a', 'a')])
def test_text_is_decoded_by_its_charset(media, body, text):
    async def main(client, base):
        assert await client.get(base) == text
    serve(main, Script(lambda asked: answer(200, *[f'Content-Type: {media}'] * bool(media), body=body)))


@pytest.mark.parametrize('charset', ['klingon', 'hex', 'punycode', 'idna', 'undefined', 'unicode-escape'])
def test_an_unknown_charset_is_an_error(charset):
    """Also what is a codec of Python but no charset: some raise other errors, some take for ever."""
    async def main(client, base):
        with pytest.raises(ProtocolError, match=f"unknown charset '{charset}'"):
            await client.get(base)
    serve(main, Script(lambda asked: answer(200, f'Content-Type: text/plain; charset={charset}', body=b'a')))


def test_json_goes_and_comes():
    script = Script(lambda asked: answer(200, body=b'{"a": [1, null]}') if asked.body else answer(204))

    async def main(client, base):
        assert await client.json('POST', base, {'x': 'ü'}) == {'a': [1, None]}
        assert await client.json('DELETE', base) is None
    serve(main, script)
    assert script.asked[0].fields['content-type'] == script.asked[0].fields['accept'] == 'application/json'
    assert script.asked[0].body.decode() == '{"x":"ü"}' or b'u00fc' in script.asked[0].body

    async def bad(client, base):
        with pytest.raises(ProtocolError, match='not JSON'):
            await client.json('GET', base)
    serve(bad, Script(lambda asked: answer(200, body=b'<html>')))


def test_a_status_that_is_not_2xx_is_an_error_for_who_wants_a_body():
    async def main(client, base):
        for call in (client.get(base), client.post(base, b'x'), client.json('PUT', base, 1)):
            with pytest.raises(StatusError, match='got 404 X') as caught:
                await call
            assert (caught.value.status, caught.value.body, caught.value.headers['x-why']) == (404, b'gone', 'so')
        async with client.fetch('GET', base) as up:
            assert up.status == 404 and await up.text() == 'gone'
        assert client.pool.count == 1
    serve(main, Script(lambda asked: answer(404, 'X-Why: so', body=b'gone')))


@pytest.mark.parametrize('data', [answer(200, body=b'x' * 2000), CHUNKED + b'\r\n' + b'64\r\n' + b'x' * 100 + b'\r\n', HEAD + b'\r\n' + b'x' * 2000])
def test_a_body_over_the_limit_is_too_large(data):
    async def endless(stream):
        await read_request(stream)
        head, _, rest = data.partition(b'\r\n\r\n')
        try:
            await stream.write(head + b'\r\n\r\n')
            while True:
                await stream.write(rest)
        except OSError:
            pass

    async def main(client, base):
        with pytest.raises(TooLarge):
            await client.get(base, limit=1000)
        assert not client.pool.count
    serve(main, endless)


@pytest.mark.parametrize('data', [answer(500, body=b'x' * 2000), b'HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\nabc' + CLOSE])
def test_the_status_tells_more_than_a_body_that_cannot_be_read(data):
    async def main(client, base):
        with pytest.raises(StatusError, match='got 500') as caught:
            await client.get(base, limit=1000)
        assert caught.value.body == b'' and not client.pool.count
    serve(main, Script(lambda asked: data))


def test_early_answers_end_the_sending_of_a_body():
    """RFC 9112 §9.3: the connection is not used again, for the rest of the body is owed."""
    async def refuse(stream):
        await read_request(stream, body=False)
        await stream.write(answer(413, body=b'too much'))
        await stream.linger()

    async def endless():
        while True:
            yield b'x' * 10000

    async def main(client, base):
        async with client.fetch('PUT', base, endless()) as up:
            assert up.status == 413 and await up.read() == b'too much'
        assert not client.pool.count
    serve(main, refuse)


@pytest.mark.parametrize('early', [OK, b'HTTP/1.1 204 X\r\n\r\n'])
def test_a_body_leaves_whole_though_its_good_answer_is_faster(early):
    async def hasty(stream):
        while asked := await read_request(stream, body=False):
            await stream.write(early)
            await runtime.sleep(.05)
            await read_body(stream, asked)
            sizes.append(len(asked.body))

    async def main(client, base):
        for size in (20 << 20, 1):
            async with client.fetch('PUT', base, b'x' * size) as up:
                await up.read()
        while len(sizes) < 2:
            await runtime.sleep(.01)
        assert client.pool.count == 1
    sizes = []
    serve(main, hasty)
    assert sizes == [20 << 20, 1]


def test_who_answers_well_and_takes_no_more_of_a_body_is_waited_for_within_limits():
    async def deaf(stream):
        await read_request(stream, body=False)
        await stream.write(OK)
        await stopped.wait()

    async def main(client, base):
        async with client.fetch('PUT', base, b'x' * (20 << 20), timeout={'idle': .1}) as up:
            assert await up.read() == b'ok'
        assert not client.pool.count
        stopped.set()
    stopped = runtime.Event()
    serve(main, deaf)


def test_an_answer_is_read_though_the_server_closed_before_all_was_sent():
    async def refuse(stream):
        await read_request(stream, body=False)
        await stream.write(answer(403, body=b'no'))
        stream.shutdown()
        await runtime.sleep(.1)

    async def main(client, base):
        async with client.fetch('PUT', base, b'x' * (1 << 20)) as up:
            assert up.status == 403
    serve(main, refuse)


def test_bytes_flow_both_ways_at_a_time():
    async def echo(stream):
        await read_request(stream, body=False)
        await stream.write(CHUNKED + b'\r\n')
        while size := int(await stream.read_until(b'\r\n'), 16):
            piece = await stream.read_exactly(size + 2)
            await stream.write(b'%x\r\n' % size + piece)
        await stream.write(b'0\r\n\r\n')
        await stream.read()

    queue = runtime.Queue()

    async def body():
        while piece := await queue.get():
            yield piece

    async def main(client, base):
        await queue.put(b'0')
        async with client.fetch('POST', base, body()) as up:
            for n in range(1, 5):
                assert await up.__anext__() == b'%d' % (n - 1)
                await queue.put(b'%d' % n)
            await queue.put(b'')
            assert await up.read() == b'4'
    serve(main, echo)


class Consent:
    """A server that answers Expect: with 100, with a refusal, or not at all."""

    def __init__(self, first):
        self.first = first
        self.bodies = []

    async def __call__(self, stream):
        while asked := await read_request(stream, body=False):
            if 'expect' in asked.fields:
                await stream.write(self.first)
                if b' 100 ' not in self.first and self.first:
                    continue
            try:
                await read_body(stream, asked)
            except runtime.IncompleteRead:
                return
            self.bodies.append(asked.body)
            await stream.write(OK)


@pytest.mark.parametrize('first', [b'HTTP/1.1 103 X\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n', b'', b'HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n'])
def test_a_body_waits_for_100_but_not_for_ever(first):
    server = Consent(first)

    async def main(client, base):
        async with client.fetch('PUT', base, b'body', expect=True) as up:
            assert up.status == 200 and await up.read() == b'ok'
    serve(main, server)
    assert server.bodies == [b'body']


def test_a_refusal_spares_the_body():
    server = Consent(b'HTTP/1.1 103 Early\r\n\r\n' + answer(403))

    async def main(client, base):
        async with client.fetch('PUT', base, b'body', expect=True) as up:
            assert up.status == 403
        assert not client.pool.count
    serve(main, server)
    assert server.bodies == []


def test_after_101_the_stream_is_handed_over():
    async def upgrade(stream):
        await read_request(stream)
        await stream.write(b'HTTP/1.1 101 Go\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nfirst')
        await stream.write(await stream.read_exactly(4))
        await stream.read()

    async def main(client, base):
        async with client.fetch('GET', base, headers={'Upgrade': 'echo', 'Connection': 'Upgrade'}) as up:
            assert up.status == 101 and up.headers['upgrade'] == 'echo'
            stream = up.detach()
        async with stream:
            assert await stream.read_exactly(5) == b'first'
            await stream.write(b'ping')
            assert await stream.read_exactly(4) == b'ping'
        assert not client.pool.count
    serve(main, upgrade)


def test_cancellation_closes_the_socket():
    async def silent(stream):
        await read_request(stream)
        asked.set()
        await stream.write(HEAD + b'Content-Length: 100\r\n\r\nabc')
        assert await stream.read() == b''
        ended.set()

    asked, ended = runtime.Event(), runtime.Event()

    async def main(client, base):
        async def read():
            async with client.fetch('GET', base) as up:
                await up.read()
        for coro in (read(), client.get(base)):
            asked.clear()
            ended.clear()
            fiber = runtime.spawn(coro)
            await asked.wait()
            await runtime.sleep(.02)
            assert client.pool.count == 1
            fiber.cancel()
            await fiber.join()
            assert not client.pool.count
            await ended.wait()
        with pytest.raises(TimeoutError, match='timed out after'):
            async with runtime.timeout(.05):
                await client.get(base)
    serve(main, silent)


def test_a_body_left_unread_closes_the_connection_unless_it_is_there():
    script = Script(lambda asked: answer(200, body=b'x' * 10) if asked.target == '/short' else
                    b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc')

    async def main(client, base):
        for path, left in (('/short', 1), ('/short', 1), ('/long', 0)):
            async with client.fetch('GET', base + path):
                await runtime.sleep(.02)
            assert client.pool.count == left
    serve(main, script)
    assert [asked.connection for asked in script.asked] == [1, 1, 1]


@pytest.mark.parametrize('data', [OK, OK[:-1], OK.replace(b'OK\r\n', b'OK\r\nContent-Encoding: gzip\r\n')])
def test_what_is_left_unread_or_lost_is_no_end(data):
    async def main(client, base):
        async with client.fetch('GET', base) as up:
            if data != OK:
                with pytest.raises(builtins.TimeoutError if len(data) < len(OK) else ProtocolError):
                    async with runtime.timeout(.05):
                        await up.read()
        with pytest.raises(ProtocolError):
            await up.read()
    serve(main, Script(lambda asked: data))


def test_who_reads_slowly_while_the_body_goes_out_is_not_late():
    async def echo(stream):
        asked = await read_request(stream, body=False)
        await stream.write(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na')
        await read_body(stream, asked)
        sent.set()
        await stream.write(b'b')
        await stream.read()

    async def body():
        await begun.wait()
        yield b'x'

    async def main(client, base):
        async with client.fetch('PUT', base, body(), timeout={'first': .1, 'idle': .1}) as up:
            assert await up.__anext__() == b'a'
            begun.set()
            await sent.wait()
            await runtime.sleep(.2)
            assert await up.read() == b'b'
    begun, sent = runtime.Event(), runtime.Event()
    serve(main, echo)


def test_what_follows_an_answer_is_no_answer_to_the_next_request():
    """Bytes that nobody asked for: the connection is not used again (RFC 9112 §9.2)."""
    script = Script(lambda asked: OK + b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil')

    async def main(client, base):
        for _ in range(3):
            assert await client.get(base) == 'ok'
    serve(main, script)
    assert script.connections == 3


def test_unix_sockets_are_servers_too(tmp_path):
    script = Script(lambda asked: answer(302, 'Location: b') if asked.target == '/v1/a?x' else OK)

    async def main(client, base):
        assert await client.get(base + '/v1/a?x') == 'ok'
        async with client.fetch('GET', base + '/v1/a?x') as up:
            assert str(up.url) == base + '/v1/b'
    serve(main, script, address=f'unix:{tmp_path}/s')
    assert script.asked[0].fields['host'] == 'localhost' and script.connections == 1


def test_the_functions_of_the_package_leave_nothing_behind():
    async def main(_client, base):
        assert await url.get(base) == 'ok' and await url.post(base, b'') == 'ok'
        async with url.fetch('GET', base) as up:
            assert up.version == 11
        with pytest.raises(ProtocolError):
            await url.json('GET', base)
    for _ in range(2):
        script = Script(lambda asked: OK)
        serve(main, script)
        assert script.connections == 1


def test_names_of_ipv6_have_brackets():
    script = Script(lambda asked: OK)

    async def main(client, base):
        assert await client.get(base.replace('127.0.0.1', '[::1]')) == 'ok'
    try:
        serve(main, script, address='[::1]:0')
    except OSError:
        pytest.skip('no IPv6 here')
    assert script.asked[0].fields['host'].startswith('[::1]:')
