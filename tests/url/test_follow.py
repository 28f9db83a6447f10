"""Redirects (RFC 9110 §15.4): which method, which body, and who is told what."""

import sys

import pytest

from ioto import runtime
from ioto.runtime.tls import server_context
from ioto.url import ProtocolError, StatusError
from tests.url.support import OK, Script, answer, serve


def redirecting(status):
    def tell(asked):
        data = OK if asked.target.startswith('/end') else answer(status, 'Location: /end', body=b'moved')
        return data if asked.method != 'HEAD' else data[:data.index(b'\r\n\r\n') + 4]
    return Script(tell)


@pytest.mark.parametrize('status, method, then, body', [
    (301, 'GET', 'GET', b''), (301, 'POST', 'GET', b''), (301, 'PUT', 'PUT', b'x'), (301, 'HEAD', 'HEAD', b''),
    (302, 'POST', 'GET', b''), (302, 'DELETE', 'DELETE', b'x'), (303, 'POST', 'GET', b''), (303, 'PUT', 'GET', b''),
    (303, 'HEAD', 'HEAD', b''), (307, 'POST', 'POST', b'x'), (307, 'GET', 'GET', b''), (308, 'POST', 'POST', b'x'), (308, 'PUT', 'PUT', b'x')])
def test_the_method_is_kept_or_becomes_get(status, method, then, body):
    script = redirecting(status)

    async def main(client, base):
        sends = method not in ('GET', 'HEAD')
        async with client.fetch(method, base + '/a', b'x' if sends else None, headers={'Content-Type': 'a/b'} if sends else None) as up:
            assert up.status == 200 and str(up.url) == base + '/end'
    serve(main, script)
    last = script.asked[1]
    assert (last.method, last.body, last.connection) == (then, body, 1)
    assert ('content-type' in last.fields) == bool(body)


@pytest.mark.parametrize('location, target', [
    ('/end?x#y', '/end?x'), ('end', '/dir/end'), ('../end', '/end'), ('?a', '/dir/start?a'), ('/end a', '/end%20a'),
    ('/end\xc3\xbc', '/end%C3%BC'), ('/end%C3%BC', '/end%C3%BC'), ('//{host}/end', '/end'), ('{base}/end', '/end')])
def test_locations_are_references(location, target):
    script = Script(lambda asked: OK if asked.target == target
                    else answer(301, 'Location: ' + location.format(base='http://' + asked.fields['host'], host=asked.fields['host'])))

    async def main(client, base):
        assert await client.get(base + '/dir/start#here') == 'ok'
    serve(main, script)


def test_the_fragment_stays():
    async def main(client, base):
        async with client.fetch('GET', base + '/a#here') as up:
            assert str(up.url) == base + '/end#here'
    serve(main, redirecting(301))


def test_zero_redirects_give_the_redirect_itself():
    async def main(client, base):
        async with client.fetch('GET', base + '/a', redirects=0) as up:
            assert up.status == 302 and up.headers['location'] == '/end' and await up.read() == b'moved'
        with pytest.raises(StatusError):
            await client.get(base + '/a', redirects=0)
    serve(main, redirecting(302))


@pytest.mark.parametrize('status', [300, 304, 305, 302])
def test_what_names_no_place_is_the_answer(status):
    async def main(client, base):
        async with client.fetch('GET', base) as up:
            assert up.status == status
    serve(main, Script(lambda asked: answer(status)))


def test_more_than_the_limit_is_an_error():
    script = Script(lambda asked: answer(302, f'Location: /{int(asked.target[1:]) + 1}'))

    async def main(client, base):
        with pytest.raises(ProtocolError, match='more than 3 redirects'):
            await client.get(base + '/0', redirects=3)
    serve(main, script)
    assert len(script.asked) == 4


def test_credentials_stay_with_their_origin():
    """Another port is another origin (RFC 6454 §4)."""
    script = Script(lambda asked: OK)

    async def main(client, base):
        async with await runtime.listen('127.0.0.1:0', script) as other:
            script.answer = lambda asked: OK if asked.target == '/end' else answer(307, f'Location: http://127.0.0.1:{other.port}/end')
            for options in ({'headers': {'Authorization': 'secret', 'cookie': 'secret=1', 'X-Other': 'kept'}}, {'bearer': 'secret'},
                            {'auth': ('me', 'secret', 'basic')}):
                del script.asked[:]
                assert await client.post(base + '/a', b'x', **options) == 'ok'
                first, last = script.asked
                assert 'authorization' in first.fields and not {'authorization', 'cookie'} & set(last.fields)
                assert last.body == b'x' and last.fields['host'] == f'127.0.0.1:{other.port}'
                assert last.fields.get('x-other') == ('kept' if 'headers' in options else None)
    serve(main, script)


def test_credentials_among_the_defaults_stay_with_the_first_origin():
    other = Script(lambda asked: OK)

    async def main(client, base):
        async with await runtime.listen('127.0.0.1:0', other) as server:
            place.append(f'http://127.0.0.1:{server.port}/')
            assert await client.get(base) == 'ok'
    place = []
    script = Script(lambda asked: answer(302, f'Location: {place[0]}'))
    serve(main, script, headers={'Authorization': 'Bearer secret', 'Cookie': 'a=b', 'X-Own': 'c', 'Host': 'mine'})
    assert script.asked[0].fields.items() >= {'authorization': 'Bearer secret', 'cookie': 'a=b'}.items()
    assert not {'authorization', 'cookie'} & set(other.asked[0].fields) and other.asked[0].fields['x-own'] == 'c'
    assert (script.asked[0].fields['host'], other.asked[0].fields['host']) == ('mine', place[0][7:-1])


def test_credentials_come_along_within_their_origin():
    script = redirecting(302)

    async def main(client, base):
        await client.get(base + '/a', headers={'Authorization': 'secret'})
        await client.get(base.replace('//', '//me:pw@') + '/a', auth=('me', 'pw', 'basic'))
    serve(main, script)
    assert all('authorization' in asked.fields for asked in script.asked)


def test_tls_is_not_left_unless_asked(certs):
    plain = Script(lambda asked: OK)
    secure = Script(lambda asked: OK)

    async def main(client, base):
        async with await runtime.listen('127.0.0.1:0', plain) as other:
            secure.answer = lambda asked: answer(302, f'Location: http://127.0.0.1:{other.port}/')
            with pytest.raises(ProtocolError, match='from TLS to http'):
                await client.get(base)
            assert not plain.asked
            assert await client.get(base, downgrade=True) == 'ok'
    serve(main, secure, tls=server_context(str(certs / 'server.crt'), str(certs / 'server.key')), authority=str(certs / 'ca.crt'))


def test_a_redirect_whose_body_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(sys.modules['ioto.url.fetch'], 'REST_TIME', .05)
    script = Script(lambda asked: OK if asked.target == '/b' else b'HTTP/1.1 302 X\r\nLocation: /b\r\nContent-Length: 9\r\n\r\nab')

    async def main(client, base):
        assert await client.get(base + '/a') == 'ok'
    serve(main, script, limit=5)
    assert script.connections == 2


def test_a_stream_cannot_be_sent_again():
    async def body():
        yield b'x'

    async def main(client, base):
        with pytest.raises(ProtocolError, match='needs the body again'):
            await client.post(base + '/a', body())
    serve(main, redirecting(307))


def test_a_file_is_sent_again(tmp_path):
    (tmp_path / 'file').write_bytes(b'x' * 200_000)
    script = redirecting(307)

    async def main(client, base):
        with open(tmp_path / 'file', 'rb') as file:
            assert await client.post(base + '/a', file) == 'ok'
    serve(main, script)
    assert [len(asked.body) for asked in script.asked] == [200_000] * 2
