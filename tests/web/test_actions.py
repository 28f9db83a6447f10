"""Actions: what they get, what they return, and what happens when they fail."""

import json
import time

import pytest

from ioto import runtime
from ioto.http import HttpError
from ioto.web import Server, WebError

from tests.web.support import connect, read_answer, serve


def post(path, body, **fields):
    lines = [f'POST {path} HTTP/1.1', 'Host: test', f'Content-Length: {len(body)}']
    lines += [f'{name.replace("_", "-")}: {value}' for name, value in fields.items()]
    return '\r\n'.join([*lines, '', '']).encode() + body


@pytest.mark.parametrize('value, kind, body', [
    ({'a': [1, 'ä']}, 'application/json', '{"a":[1,"ä"]}'.encode()),
    ([1, None], 'application/json', b'[1,null]'),
    ('text ä', 'text/plain; charset=utf-8', 'text ä'.encode()),
    (b'\0\1', 'application/octet-stream', b'\0\1'),
    (bytearray(b'x'), 'application/octet-stream', b'x'),
    (7, 'application/json', b'7'),
    (True, 'application/json', b'true'),
])
@pytest.mark.parametrize('plain', [False, True])
def test_what_an_action_returns_is_the_answer(value, kind, body, plain):
    async def asynchronous(web):
        return value

    async def main(client, server):
        answer = await client.ask('GET /a')
        assert (answer.status, answer.fields['content-type'], answer.body) == (200, kind, body)
        answer = await client.ask('HEAD /a')
        assert answer.fields['content-length'] == str(len(body))
    serve(main, actions={'/a': (lambda web: value) if plain else asynchronous})


def test_nothing_returned_is_204_without_a_body():
    async def main(client, server):
        answer = await client.ask('GET /a')
        assert answer.status == 204 and 'content-length' not in answer.fields
        assert (await client.ask('GET /a')).status == 204
    serve(main, actions={'/a': lambda web: None})


def test_status_and_fields():
    async def action(web):
        web.status = 201
        web.set_header('X-One', 'first')
        web.set_header('x-one', 'second')
        web.add_header('Link', '<a>')
        web.add_header('Link', '<b>')
        web.set_header('Content-Type', 'text/csv')
        web.set_cookie('name', 'value', max_age=60, http_only=True)
        return 'a,b'

    async def main(client, server):
        answer = await client.ask('GET /a')
        head = answer.raw_head.decode()
        assert answer.status == 201 and answer.fields['content-type'] == 'text/csv'
        assert 'first' not in head and head.lower().count('x-one: second') == 1 and head.count('Link: ') == 2
        assert 'name=value' in answer.fields['set-cookie'] and 'HttpOnly' in answer.fields['set-cookie']
    serve(main, actions={'/a': action})


@pytest.mark.parametrize('name, value', [('X', 'a\r\nSet-Cookie: x'), ('X', 'a\nb'), ('X', 'a\0b'), ('X y', 'a'), ('', 'a'),
                                         ('Transfer-Encoding', 'gzip'), ('Content-Length', '-1'), ('Date', 'now')])
def test_fields_that_would_break_the_answer_are_refused(name, value):
    seen = []

    async def action(web):
        with pytest.raises(ValueError):
            web.set_header(name, value)
        seen.append(True)
        return 'ok'

    async def main(client, server):
        assert (await client.ask('GET /a')).body == b'ok'
    serve(main, actions={'/a': action})
    assert seen


def test_what_an_action_sees_of_the_request():
    async def action(web):
        return {'method': web.method, 'path': web.path, 'query': web.query, 'vars': web.vars, 'agent': web.headers['User-Agent'],
                'has': 'x-none' in web.headers, 'cookies': web.cookies, 'host': web.host, 'remote': web.remote,
                'secure': web.secure, 'user': web.user}

    async def main(client, server):
        answer = await client.ask(b'GET /a%20b/c?x=1&y=%C3%A4&x=2 HTTP/1.1\r\nHost: Test:80\r\nUser-Agent: me\r\nCookie: a=b; c=d\r\n\r\n')
        assert json.loads(answer.body) == {
            'method': 'GET', 'path': '/a b/c', 'query': 'x=1&y=%C3%A4&x=2', 'vars': {'x': '2', 'y': 'ä'}, 'agent': 'me',
            'has': False, 'cookies': {'a': 'b', 'c': 'd'}, 'host': 'test', 'remote': '127.0.0.1', 'secure': False, 'user': None}
    serve(main, actions={'/a b/': action})


def test_the_longest_prefix_and_then_the_exact_path_win():
    async def main(client, server):
        for path, expected in (('/api/', b'api'), ('/api/x', b'api'), ('/api/v1/', b'v1'), ('/api/v1/y', b'v1'), ('/api/v1/z', b'z')):
            assert (await client.ask(f'GET {path}')).body == expected, path
        assert (await client.ask('GET /api')).status == 404
    serve(main, actions={'/api/': lambda web: 'api', '/api/v1/': lambda web: 'v1', '/api/v1/z': lambda web: 'z'})


def test_methods_of_an_action():
    async def main(client, server):
        server.action('/only', methods=['PUT'])(lambda web: 'put')
        answer = await client.ask('GET /only')
        assert answer.status == 405 and answer.fields['allow'] == 'OPTIONS, PUT'
        answer = await client.ask('OPTIONS /only')
        assert answer.status == 200 and answer.fields['allow'] == 'OPTIONS, PUT'
        assert (await client.ask('BREW /only')).status == 501
        server.remove_action('/only')
        assert (await client.ask('PUT /only')).status == 404
    serve(main)


def test_json_text_and_form_bodies():
    async def both(web):
        if web.path == '/json':
            return {'got': await web.json()}
        if web.path == '/text':
            return await web.text()
        await web.form()
        return web.vars

    async def main(client, server):
        assert (await client.ask(post('/json', b'{"a": 1}'))).body == b'{"got":{"a":1}}'
        assert (await client.ask(post('/text', 'ä'.encode('latin-1'), Content_Type='text/plain; charset=latin-1'))).body == 'ä'.encode()
        kind = 'application/x-www-form-urlencoded'
        answer = await client.ask(post('/form?q=1', b'a=b+c&d=%26', Content_Type=kind))
        assert json.loads(answer.body) == {'q': '1', 'a': 'b c', 'd': '&'}
        for path, body, fields, status in (
                ('/json', b'{', {}, 400), ('/json', b'\xff', {}, 400), ('/json', b'[' * 100000, {}, 400),
                ('/json', b'a=b', {'Content_Type': kind}, 415), ('/text', b'\xff', {}, 400),
                ('/text', b'x', {'Content_Type': 'text/plain; charset=none'}, 415), ('/text', b'x', {'Content_Encoding': 'gzip'}, 415),
                ('/form', b'{}', {'Content_Type': 'application/json'}, 415)):
            assert (await client.ask(post(path, body, **fields))).status == status, (path, body[:20])
        assert (await client.ask(post('/json', b'1'))).body == b'{"got":1}'
    serve(main, actions={'/json': both, '/text': both, '/form': both})


@pytest.mark.parametrize('chunked', [False, True])
def test_bodies_over_the_limits_get_413_and_the_connection_closes(chunked):
    async def action(web):
        return str(len(await web.read_all()))

    def request(size):
        if not chunked:
            return post('/a', b'x' * size)
        return b'POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n' + b'%x\r\n%b\r\n0\r\n\r\n' % (size, b'x' * size)

    async def main(client, server):
        assert (await client.ask(request(1000))).body == b'1000'
        answer = await client.ask(request(3000))
        assert answer.status == 413 and answer.fields['connection'] == 'close'
        assert await client.closed()
    serve(main, {'limits': {'body': 2000}}, {'/a': action})
    serve(main, {'limits': {'buffer': '2000 bytes'}}, {'/a': action})
    serve(main, {'routes': [{'match': '/a', 'limits': {'body': 2000}}]}, {'/a': action})


def test_reading_a_body_in_pieces():
    async def action(web):
        parts = [await web.read(3), await web.read(3)]
        async for data in web.body():
            parts.append(data)
        return [part.decode() for part in parts] + [(await web.read()).decode()]

    async def main(client, server):
        assert json.loads((await client.ask(post('/a', b'abcdefgh'))).body) == ['abc', 'def', 'gh', '']
    serve(main, actions={'/a': action})


def test_an_unread_body_is_dropped_or_ends_the_connection():
    async def main(client, server):
        assert (await client.ask(post('/a', b'GET /b HTTP/1.1\r\n' * 1000))).body == b'a'
        assert (await client.ask('GET /a')).body == b'a'
        answer = await client.ask(b'POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\nxxx')
        assert answer.fields['connection'] == 'close' and await client.closed()
    serve(main, actions={'/a': lambda web: 'a'})


def test_a_slow_reader_slows_its_client_down():
    """The unread body stays with the client: the server takes no more than socket buffers."""
    release = runtime.Event()
    taken = []

    async def action(web):
        async for data in web.body():
            taken.append(len(data))
            await release.wait()
        return str(sum(taken))

    async def main(client, server):
        total = 30_000_000
        await client.stream.write(b'POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' % total)
        fiber = runtime.spawn(client.stream.write(b'x' * total))
        await runtime.sleep(0.1)
        assert not fiber.done and sum(taken) < 200_000
        release.set()
        await fiber.join()
        assert (await read_answer(client.stream)).body == b'%d' % total
    serve(main, actions={'/a': action})


def test_100_continue_is_sent_when_the_action_reads():
    async def reads(web):
        return await web.text()

    async def refuses(web):
        raise HttpError(403, 'not you')

    async def main(client, server):
        head = b'POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n'
        await client.stream.write(head % b'/reads')
        assert await client.stream.read_until(b'\r\n\r\n') == b'HTTP/1.1 100 Continue\r\n\r\n'
        await client.stream.write(b'hello')
        assert (await read_answer(client.stream)).body == b'hello'
        await client.stream.write(head % b'/reads' + b'hello')
        answer = await read_answer(client.stream)
        if answer.status == 100:
            answer = await read_answer(client.stream)
        assert answer.body == b'hello'
        answer = await client.ask(head % b'/refuses')
        assert answer.status == 403 and answer.fields['connection'] == 'close' and await client.closed()
    serve(main, actions={'/reads': reads, '/refuses': refuses})


def test_streamed_answers():
    async def chunked(web):
        web.set_header('Content-Type', 'text/plain')
        for n in range(3):
            await web.write(f'{n},')

    async def sized(web):
        web.set_header('Content-Length', 6)
        await web.write(b'abc')
        await web.write(b'def')

    async def main(client, server):
        answer = await client.ask('GET /chunked')
        assert answer.body == b'0,1,2,' and answer.fields['transfer-encoding'] == 'chunked'
        answer = await client.ask('GET /sized')
        assert answer.body == b'abcdef' and answer.fields['content-length'] == '6'
        answer = await client.ask('HEAD /chunked')
        assert answer.status == 200
        answer = await client.ask('HEAD /sized')
        assert answer.fields['content-length'] == '6'
        await client.stream.write(b'GET /chunked HTTP/1.0\r\n\r\n')
        answer = await read_answer(client.stream)
        assert answer.body == b'0,1,2,' and 'transfer-encoding' not in answer.fields and answer.fields['connection'] == 'close'
    serve(main, actions={'/chunked': chunked, '/sized': sized})


@pytest.mark.parametrize('length, parts', [(3, [b'abcd']), (3, [b'ab'])])
def test_a_streamed_answer_of_the_wrong_length_is_cut_never_padded(length, parts):
    async def action(web):
        web.set_header('Content-Length', length)
        for part in parts:
            await web.write(part)

    async def main(client, server):
        await client.stream.write(b'GET /a HTTP/1.1\r\nHost: x\r\n\r\n')
        data = b''
        while more := await client.stream.read():
            data += more
        assert len(data.partition(b'\r\n\r\n')[2]) < length
    serve(main, actions={'/a': action})


def test_an_error_after_the_head_cuts_the_answer_short():
    async def action(web):
        await web.write('begun')
        raise ValueError('late')

    async def main(client, server):
        await client.stream.write(b'GET /a HTTP/1.1\r\nHost: x\r\n\r\n')
        data = b''
        while more := await client.stream.read():
            data += more
        assert b'begun' in data and not data.endswith(b'0\r\n\r\n')
    serve(main, actions={'/a': action})


def test_errors_and_redirects():
    async def fails(web):
        web.set_header('X-Half', 'done')
        raise ValueError('secret detail')

    async def refuses(web):
        raise HttpError(409, 'already there', (('Retry-After', '5'),))

    async def says(web):
        await web.error(404, 'why')

    async def moves(web):
        await web.redirect('/nëw place?a=b')

    async def main(client, server):
        answer = await client.ask('GET /fails')
        assert answer.status == 500 and b'secret' not in answer.body and 'x-half' not in answer.fields
        answer = await client.ask('GET /refuses')
        assert answer.status == 409 and b'already there' in answer.body and answer.fields['retry-after'] == '5'
        answer = await client.ask('GET /says')
        assert answer.status == 404 and b'why' in answer.body
        answer = await client.ask('GET /moves')
        assert answer.status == 302 and answer.fields['location'] == '/n%C3%ABw%20place?a=b'
        assert server.stats['errors'] == 3
    serve(main, actions={'/fails': fails, '/refuses': refuses, '/says': says, '/moves': moves})


def test_pipelined_answers_come_in_order_in_few_writes_and_a_slow_one_holds_back_only_those_behind_it():
    release = runtime.Event()

    async def slow(web):
        await release.wait()
        return 'slow'

    async def main(client, server):
        one = b'GET /%d HTTP/1.1\r\nHost: x\r\n\r\n'
        await client.stream.write(b''.join(one % n for n in range(100)))
        for n in range(100):
            assert (await read_answer(client.stream)).body == b'/%d' % n
        await client.stream.write(one % 1 + b'GET /slow HTTP/1.1\r\nHost: x\r\n\r\n' + one % 2)
        assert (await read_answer(client.stream)).body == b'/1'
        release.set()
        assert (await read_answer(client.stream)).body == b'slow'
        assert (await read_answer(client.stream)).body == b'/2'
    serve(main, actions={'/': lambda web: web.path, '/slow': slow})


def test_routes_in_order():
    config = {'routes': [
        {'match': '/a', 'methods': ['GET'], 'headers': {'X-Route': 'first'}, 'cache': 'no-store'}, {'match': '/a', 'methods': ['POST'], 'handler': 'action'},
        {'match': '/gone/', 'redirect': '/new', 'status': 308}, {'match': '/api/', 'handler': 'action'}]}

    async def main(client, server):
        answer = await client.ask('GET /a')
        assert answer.body == b'GET' and answer.fields['x-route'] == 'first' and answer.fields['cache-control'] == 'no-store'
        answer = await client.ask(post('/a', b''))
        assert answer.body == b'POST' and 'x-route' not in answer.fields
        answer = await client.ask('DELETE /a')
        assert answer.status == 405 and answer.fields['allow'] == 'GET, HEAD, OPTIONS, POST' and 'cache-control' not in answer.fields
        answer = await client.ask('GET /gone/x')
        assert answer.status == 308 and answer.fields['location'] == '/new'
        assert (await client.ask('GET /api/none')).status == 404
        assert (await client.ask('GET /b')).status == 404
    serve(main, config, {'/a': lambda web: web.method, '/b': lambda web: 'no route leads here'})


@pytest.mark.parametrize('rule, request_target, location', [
    ({'from': '/old', 'to': '/new'}, '/old?x=1', '/new?x=1'),
    ({'from': '/old/', 'to': '/new/'}, '/old/a%20b', '/new/a%20b'),
    ({'from': '/old', 'to': 'http://other.example/x'}, '/old', 'http://other.example/x'),
    ({'to': 'https://'}, '/a/b?c=d', 'https://test/a/b?c=d'),
    ({'from': 'http://', 'to': 'https://:4443', 'status': 301}, '/a', 'https://test:4443/a'),
    ({'from': '/old', 'to': '/new'}, '/other', None),
    ({'from': 'https://', 'to': '/x'}, '/other', None),
])
def test_redirections(rule, request_target, location):
    async def main(client, server):
        answer = await client.ask(f'GET {request_target}')
        if location is None:
            assert answer.status == 200
        else:
            assert answer.status == rule.get('status', 302) and answer.fields['location'] == location
    serve(main, {'redirect': [rule]}, {'/other': lambda web: 'here'})


@pytest.mark.parametrize('config, name', [
    ({'routes': [{'match': 'a'}]}, 'web.routes[0].match'),
    ({'routes': [{'methods': ['get']}]}, 'web.routes[0].methods'), ({'routes': [{'can': 'edit'}]}, 'web.routes[0].can'),
    ({'redirect': [{'from': '/a'}]}, 'web.redirect[0].to'), ({'redirect': [{'from': 'a', 'to': '/b'}]}, 'web.redirect[0].from'),
    ({'routes': [{'status': 301}]}, 'web.routes[0].status'), ({'routes': [{'methods': []}]}, 'web.routes[0].methods'),
    ({'redirect': [{'to': '/b', 'status': 200}]}, 'web.redirect[0].status'),
    ({'limits': {'body': 'lots'}}, 'web.limits.body'), ({'limits': {'header': 'unlimited'}}, 'web.limits.header'), ({'timeouts': {'parse': 'soon'}}, 'web.timeouts.parse'),
    ({'headers': {'X': 'a\nb'}}, 'web.headers'), ({'documents': '/dev/null/site'}, 'web.documents'),
    ({'listen': ['ftp://x']}, 'web.listen[0]'), ({'cache': {'html': '1 fortnight'}}, 'web.cache.html'),
])
def test_a_wrong_property_is_named(config, name, tmp_path):
    config = {'documents': str(tmp_path), **config}

    async def main(client, server):
        pytest.fail('started')
    with pytest.raises(WebError) as caught:
        serve(main, config)
    assert caught.value.property == name


def test_the_configured_name_is_used_for_redirects():
    async def main(client, server):
        assert (await client.ask('GET /a')).fields['location'] == 'https://device.example/a'
    serve(main, {'redirect': [{'to': 'https://'}], 'name': 'device.example'})


def test_security_fields_are_there_and_can_be_changed():
    async def main(client, server):
        fields = (await client.ask('GET /a')).fields
        assert fields['x-content-type-options'] == 'nosniff' and fields['x-frame-options'] == 'DENY'
        assert 'referrer-policy' not in fields and fields['x-mine'] == 'yes' and 'server' not in fields
        assert "default-src 'self'" in fields['content-security-policy']
    serve(main, {'headers': {'X-Frame-Options': 'DENY', 'Referrer-Policy': '', 'X-Mine': 'yes'}}, {'/a': lambda web: 'a'})


def test_reload_changes_routes_and_keeps_connections_and_a_bad_one_changes_nothing():
    async def main(client, server):
        assert (await client.ask('GET /a')).status == 200
        server.reload({'routes': [{'match': '/b'}]})
        assert (await client.ask('GET /a')).status == 404
        with pytest.raises(WebError):
            server.reload({'routes': [{'match': 'wrong'}], 'limits': {'body': 5}})
        assert server.limits['body'] > 5 and (await client.ask('GET /a')).status == 404
    serve(main, actions={'/a': lambda web: 'a'})


def test_connection_limits():
    async def main(client, server):
        assert (await client.ask('GET /a')).status == 200
        second = await connect(server)
        assert (await second.ask('GET /a')).status == 200
        third = await connect(server)
        answer = await read_answer(third.stream)
        assert answer.status == 503 and await third.closed()
        await second.stream.close()
        await third.stream.close()
        await runtime.sleep(0.05)
        fourth = await connect(server)
        assert (await fourth.ask('GET /a')).status == 200
        await fourth.stream.close()
    serve(main, {'limits': {'connections': 2}}, {'/a': lambda web: 'a'})
    serve(main, {'limits': {'clientConnections': 2}}, {'/a': lambda web: 'a'})


def test_requests_of_one_connection_are_limited():
    async def main(client, server):
        assert 'connection' not in (await client.ask('GET /a')).fields
        assert (await client.ask('GET /a')).fields['connection'] == 'close'
        assert await client.closed()
    serve(main, {'limits': {'requests': 2}}, {'/a': lambda web: 'a'})


def test_show_writes_heads_and_bodies_to_the_log():
    heard = []

    async def echo(web):
        return await web.text()

    async def main(client, server):
        await client.ask(post('/a', b'the body', X_Mark='seen'))
        await client.ask('GET /b')
    runtime.log.add_sink(sink := lambda _time, _kind, _source, message: heard.append(message))
    try:
        serve(main, {'show': 'HhBb'}, {'/a': echo, '/b': lambda web: 'plain'})
    finally:
        runtime.log.remove_sink(sink)
    text = '\n'.join(heard)
    assert 'X-Mark: seen' in text and 'request body' in text and 'HTTP/1.1 200 OK' in text and 'response body' in text


def test_the_request_log_has_a_line_for_each_request():
    heard = []

    async def main(client, server):
        await client.ask('GET /a?b=c')
        await client.ask('GET /none')
    runtime.log.add_sink(sink := lambda _time, _kind, source, message: heard.append((source, message)))
    try:
        serve(main, {'log': True}, {'/a': lambda web: 'four'})
    finally:
        runtime.log.remove_sink(sink)
    lines = [message for source, message in heard if source == 'request']
    assert len(lines) == 2 and lines[0].startswith('127.0.0.1 GET /a?b=c 200 4 ') and ' 404 ' in lines[1]


@pytest.mark.parametrize('pipelined', [False, True])
def test_a_client_that_does_not_read_is_dropped_after_the_inactivity_timeout(pipelined):
    async def main(client, server):
        request = b'GET /a HTTP/1.1\r\nHost: x\r\n\r\n'
        await client.stream.write(request + request * pipelined)
        while server.connections:
            await runtime.sleep(0.02)
    serve(main, {'timeouts': {'inactivity': 0.1}}, {'/a': lambda web: 'x' * 20_000_000}, limit=10)


@pytest.mark.parametrize('status', [100, 101, 103, 199, 1000, 0, -1, '200', 200.0, None])
@pytest.mark.parametrize('streamed', [False, True])
def test_a_status_that_no_answer_has_is_500(status, streamed):
    async def action(web):
        web.status = status
        if streamed:
            await web.write('x')
        return None if streamed else 'x'

    async def main(client, server):
        assert (await client.ask('GET /a')).status == 500
        assert (await client.ask('GET /a')).status == 500
    serve(main, actions={'/a': action})


def test_205_has_no_content():
    async def action(web):
        web.status = 205
        return 'x'

    async def main(client, server):
        answer = await client.ask('GET /a')
        assert (answer.status, answer.fields['content-length'], answer.body) == (205, '0', b'')
    serve(main, actions={'/a': action})


def test_what_an_action_sets_replaces_the_field_of_the_route_and_the_server():
    async def action(web):
        web.set_header('X-Frame-Options', 'DENY')
        web.set_header('Cache-Control', 'max-age=5')
        return 'x'

    async def main(client, server):
        head = (await client.ask('GET /a')).raw_head.decode().lower()
        assert head.count('x-frame-options') == head.count('cache-control') == 1
        assert 'x-frame-options: deny' in head and 'cache-control: max-age=5' in head and 'x-content-type-options' in head
    serve(main, {'routes': [{'cache': 'no-store'}]}, {'/a': action})


def test_fields_set_after_the_head_are_refused():
    seen = []

    async def action(web):
        await web.write('x')
        for name, value in (('Content-Type', 'a/b'), ('Content-Length', 5), ('Connection', 'close'), ('X', 'y')):
            with pytest.raises(ValueError):
                web.set_header(name, value)
        seen.append(True)

    async def main(client, server):
        await client.ask('GET /a')
    serve(main, actions={'/a': action})
    assert seen


def test_an_error_whose_fields_cannot_be_sent_is_500():
    async def action(web):
        raise HttpError(404, 'x', (('X', 'a\nb'),))

    async def main(client, server):
        assert (await client.ask('GET /a')).status == 500
    serve(main, actions={'/a': action})


def test_an_action_that_exits_does_not_end_the_agent():
    async def action(web):
        raise SystemExit(3)

    async def main(client, server):
        assert (await client.ask('GET /a')).status == 500
        assert (await client.ask('GET /a')).status == 500
    serve(main, actions={'/a': action})


def test_nan_is_no_json():
    async def action(web):
        return await web.json()

    async def main(client, server):
        assert (await client.ask(post('/a', b'{"a": NaN}'))).status == 400
    serve(main, actions={'/a': action})


def test_a_form_of_too_many_variables_is_413():
    async def action(web):
        return str(len(await web.form()))

    async def main(client, server):
        kind = 'application/x-www-form-urlencoded'
        assert (await client.ask(post('/a', b'&'.join(b'%d=' % n for n in range(1000)), Content_Type=kind))).body == b'1000'
        assert (await client.ask(post('/a', b'&'.join(b'%d=' % n for n in range(1002)), Content_Type=kind))).status == 413
    serve(main, actions={'/a': action})


def test_a_redirection_carries_no_fields_of_a_route():
    async def main(client, server):
        answer = await client.ask('GET /old')
        assert answer.status == 302 and 'x-route' not in answer.fields
        answer = await client.ask('OPTIONS *')
        assert answer.status == 200
    serve(main, {'routes': [{'match': '/t/', 'headers': {'X-Route': 'r'}}], 'redirect': [{'from': '/old', 'to': '/t/'}, {'to': 'https://'}]})


def test_a_short_request_timeout_is_kept():
    async def action(web):
        await runtime.sleep(20)

    async def main(client, server):
        async with runtime.timeout(5):
            assert (await client.ask('GET /a')).status == 503
    serve(main, {'routes': [{'timeouts': {'request': 0.2}}]}, {'/a': action})


def test_a_short_request_timeout_is_kept_for_a_later_request_of_a_connection():
    async def action(web):
        await runtime.sleep(20 if 'wait' in web.query else 0)

    async def main(client, server):
        async with runtime.timeout(5):
            assert (await client.ask('GET /a')).status == 204
            assert (await client.ask('GET /a?wait')).status == 503
    serve(main, {'routes': [{'timeouts': {'request': 0.2}}]}, {'/a': action})


def test_nothing_follows_an_answer_that_a_slow_client_is_still_reading():
    big = 'x' * 6_000_000

    async def main(client, server):
        await client.stream.write(b'GET /a HTTP/1.1\r\nHost: x\r\n\r\n')
        received = b''
        for _ in range(20):
            await runtime.sleep(0.05)
            received += await client.stream.read(100_000)
        while data := await client.stream.read():
            received += data
        head, _, body = received.partition(b'\r\n\r\n')
        assert b' 200 ' in head and set(body) == {ord('x')}
    serve(main, {'timeouts': {'request': 0.2, 'inactivity': 0.3}}, {'/a': lambda web: big})


def test_a_body_that_stalls_after_the_answer_gets_no_second_one():
    async def main(client, server):
        await client.stream.write(b'POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nab')
        assert (await read_answer(client.stream)).body == b'early'
        assert await client.closed()
        other = await connect(server)
        await other.stream.write(b'POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n')
        assert (await read_answer(other.stream)).body == b'early'
        await other.stream.write(b'bad chunk\r\n')
        assert await other.closed()
        await other.stream.close()
    serve(main, {'timeouts': {'inactivity': 0.1}}, {'/a': lambda web: 'early'})


def test_the_answer_to_head_ends_an_action_that_writes_for_ever():
    ended = []

    async def action(web):
        try:
            while True:
                await web.write('x')
                await runtime.sleep(0.001)
        finally:
            ended.append(True)

    async def main(client, server):
        assert (await client.ask('HEAD /a')).status == 200
        assert (await client.ask('HEAD /a')).status == 200
        while len(ended) < 2:
            await runtime.sleep(0.001)
    serve(main, actions={'/a': action})


def test_a_pipeline_does_not_hold_up_others():
    def action(web):
        end = time.monotonic() + 0.001
        while time.monotonic() < end:
            pass
        return 'x'

    async def main(client, server):
        await client.stream.write(b'GET /a HTTP/1.1\r\nHost: x\r\n\r\n' * 2000)
        other = await connect(server)
        await other.ask('GET /b')
        assert server.stats['requests'] < 1000
        await other.stream.close()
    serve(main, actions={'/a': action, '/b': lambda web: 'quick'})


def test_an_idle_connection_does_not_keep_its_last_answer():
    import gc

    async def main(client, server):
        await client.ask('GET /a')
        await runtime.sleep(0.01)
        gc.collect()
        assert [connection.web for connection in server.connections] == [None]
        assert not [thing for thing in gc.get_objects() if type(thing) is list and thing and thing[0] == 'the big answer']
    serve(main, actions={'/a': lambda web: ['the big answer'] * 1000})


@pytest.mark.parametrize('routes, fault', [
    ([{'match': '/'}, {'match': '/admin/', 'role': 'admin'}], 'web.routes[1].match'),
    ([{}, {'match': '/a', 'xsrf': True}], 'web.routes[1].match'),
    ([{'match': '/a'}, {'match': '/a', 'methods': ['POST'], 'role': 'admin'}], 'web.routes[1].match'),
    ([{'match': '/a', 'methods': ['GET']}, {'match': '/a', 'methods': ['POST'], 'role': 'admin'}], None),
    ([{'match': '/a/', 'role': 'user'}, {'match': '/a', 'role': 'admin'}, {'match': '/b', 'role': 'admin'}], None),
])
def test_a_restricted_route_that_another_hides_is_an_error(routes, fault):
    if fault is None:
        Server({'routes': routes})
        return
    with pytest.raises(WebError, match='nothing comes here: web.routes.0. takes') as caught:
        Server({'routes': routes})
    assert caught.value.property == fault


def test_a_route_that_another_hides_is_said_so(capfd):
    Server({'routes': [{}, {'match': '/a'}]})
    assert 'web.routes[1]: nothing comes here: web.routes[0] takes everything before it' in capfd.readouterr().err

@pytest.mark.parametrize('fields, is_json', [
    ('', False), ('Accept: */*\r\n', False), ('Accept: application/json\r\n', True), ('Accept: text/html,*/*;q=0.8\r\n', False),
    ('Content-Type: application/json\r\nAccept: */*\r\n', True), ('Content-Type: application/json\r\nAccept: text/html\r\n', False)])
@pytest.mark.parametrize('path, status, message', [
    ('/none', 404, 'no such document'), ('/why', 409, 'why "not"'), ('/bare', 404, 'Not Found'), ('/fail', 500, 'the request could')])
def test_errors_are_json_for_who_speaks_it(tmp_path, fields, is_json, path, status, message):
    async def why(web):
        await web.error(409, 'why "not"')

    async def bare(web):
        await web.error(404)

    async def main(client, server):
        return await client.ask(f'GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n'.encode())
    answer = serve(main, {'documents': str(tmp_path)}, {'/why': why, '/bare': bare, '/fail': lambda web: 1 / 0})
    assert answer.status == status
    assert answer.fields['content-type'] == ('application/json' if is_json else 'text/plain; charset=utf-8')
    assert message in (json.loads(answer.body)['error'] if is_json else answer.body.decode())
