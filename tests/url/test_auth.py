"""Basic (RFC 7617), Digest (RFC 7616), bearer tokens (RFC 6750)."""

import pytest

from ioto import runtime
from ioto.http.digest import secret
from ioto.url import Client, StatusError
from ioto.url.auth import Basic, Digest, challenges, meet
from ioto.web import Server
from ioto.web.passwords import hash_password
from tests.url.support import OK, Script, answer, serve

BASIC = 'WWW-Authenticate: Basic realm="a"'


def digest(nonce='n', **more):
    return 'WWW-Authenticate: Digest ' + ', '.join([f'realm="a", nonce="{nonce}"', *(f'{name}={value}' for name, value in more.items())])


@pytest.mark.parametrize('value, found', [
    ('Basic realm="a"', [('basic', {'realm': 'a'})]),
    ('Basic realm="a, b=c", Digest nonce="x\\"y", qop="auth,auth-int", stale=TRUE',
     [('basic', {'realm': 'a, b=c'}), ('digest', {'nonce': 'x"y', 'qop': 'auth,auth-int', 'stale': 'TRUE'})]),
    ('Negotiate, Basic realm=a', [('negotiate', {}), ('basic', {'realm': 'a'})]),
    ('NTLM abc==', [('ntlm', {'abc': '='})]), ('Basic realm = "a"', [('basic', {'realm': 'a'})]),
    ('', []), ('realm="a"', [])])
def test_challenges_are_told_apart(value, found):

    assert challenges([value]) == found


def test_the_digest_is_that_of_the_standard():
    """RFC 7616 §3.9.1"""
    fields = {'realm': 'http-auth@example.org', 'nonce': '7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v', 'qop': 'auth, auth-int',
              'opaque': 'FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS', 'algorithm': 'MD5', 'named': 'MD5'}
    for algorithm, response in (('MD5', '8ca523f5e9506fed4657c9700eebdbec'),
                                ('SHA-256', '753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1')):
        made = Digest('Mufasa', 'Circle of Life', algorithm, fields | {'algorithm': algorithm, 'named': algorithm})
        made.cnonce = 'f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ'
        assert f'response="{response}"' in made.field('GET', '/dir/index.html')


def test_without_qop_the_older_form_is_used():
    """RFC 2069 §2.4, with the response that its errata give"""
    made, _ = meet(['Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'], 'Mufasa', 'CircleOfLife')
    value = made.field('GET', '/dir/index.html')
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in value and 'qop' not in value and 'cnonce' not in value


@pytest.mark.parametrize('values, kind, algorithm', [
    (['Basic realm="a", Digest realm="a", nonce="n", qop="auth"'], Digest, 'MD5'),
    (['Digest realm="a", nonce="n", qop="auth", algorithm=MD5', 'Digest realm="a", nonce="n", qop="auth", algorithm=SHA-256'], Digest, 'SHA-256'),
    (['Digest realm="a", nonce="n", qop="auth", algorithm=sha-256', 'Digest realm="a", nonce="n", qop="auth"'], Digest, 'SHA-256'),
    (['Digest realm="a", nonce="n", algorithm=SHA-512-256, Basic realm="a"'], Basic, None),
    (['Digest realm="a", nonce="n", qop="auth-int"'], type(None), None), (['Negotiate'], type(None), None), ([], type(None), None)])
def test_the_strongest_is_met(values, kind, algorithm):
    found, _ = meet(values, 'me', 'pw')
    assert type(found) is kind and getattr(found, 'algorithm', None) == algorithm


def test_a_password_is_sent_only_when_asked_for_and_then_remembered():
    script = Script(lambda asked: OK if 'authorization' in asked.fields else answer(401, BASIC))

    async def main(client, base):
        for _ in range(2):
            assert await client.get(base, auth=('me', 'pw')) == 'ok'
        assert await client.get(base.replace('//', '//me:pw@')) == 'ok'
        with pytest.raises(StatusError):
            await client.get(base)
        assert await client.get(base, auth=('other', 'pw')) == 'ok'
    serve(main, script)
    fields = [asked.fields.get('authorization') for asked in script.asked]
    assert fields[:5] == [None, 'Basic bWU6cHc=', 'Basic bWU6cHc=', 'Basic bWU6cHc=', None] and len(fields) == 7


def test_basic_may_be_sent_unasked_and_a_bearer_is():
    script = Script(lambda asked: OK)

    async def main(client, base):
        await client.get(base, auth=('me', 'pw', 'basic'))
        await client.get(base, bearer='token')
    serve(main, script)
    assert [asked.fields['authorization'] for asked in script.asked] == ['Basic bWU6cHc=', 'Bearer token']


@pytest.mark.parametrize('field, requests', [
    (BASIC, 2), (digest(), 2), (digest(qop='"auth"', stale='true'), 4), ('WWW-Authenticate: Negotiate', 1), ('X: y', 1)])
def test_who_is_refused_does_not_ask_for_ever(field, requests):
    script = Script(lambda asked: answer(401, field))

    async def main(client, base):
        with pytest.raises(StatusError, match='401'):
            await client.get(base, auth=('me', 'pw'))
    serve(main, script)
    assert len(script.asked) == requests


def test_a_stale_nonce_is_replaced_and_counts_go_up():
    nonces = iter('abc')

    def check(asked):
        value = asked.fields.get('authorization', '')
        if not value or 'nonce="b"' not in value:
            return answer(401, digest(next(nonces), qop='"auth"', stale='true'))
        return OK
    script = Script(check)

    async def main(client, base):
        for _ in range(3):
            assert await client.get(base, auth=('me', 'pw')) == 'ok'
    serve(main, script)
    assert [asked.fields.get('authorization', '')[-50:].rpartition('nc=')[2][:8] for asked in script.asked[2:]] == [
        '00000001', '00000002', '00000003']


def test_a_nonce_that_ran_out_between_requests_is_replaced_though_nobody_says_stale():
    good = 'a'

    def check(asked):
        return OK if f'nonce="{good}"' in asked.fields.get('authorization', '') else answer(401, digest(good, qop='"auth"'))

    async def main(client, base):
        nonlocal good
        for good in 'ab':
            assert await client.get(base, auth=('me', 'pw')) == 'ok'
    serve(main, Script(check))


def test_a_stream_waits_for_the_challenge():
    script = Script(lambda asked: OK)

    async def body():
        yield b'x'

    async def strict(stream):
        from tests.url.support import read_body, read_request
        while asked := await read_request(stream, body=False):
            if 'authorization' not in asked.fields:
                await stream.write(answer(401, BASIC))
                continue
            await stream.write(b'HTTP/1.1 100 Continue\r\n\r\n')
            await read_body(stream, asked)
            script.asked.append(asked)
            await stream.write(OK)

    async def main(client, base):
        assert await client.post(base, body(), auth=('me', 'pw')) == 'ok'
    serve(main, strict)
    assert script.asked[0].body == b'x'


@pytest.mark.parametrize('methods', [['digest'], ['md5'], ['basic'], ['digest', 'basic']])
def test_our_own_server_lets_its_users_in(methods):
    async def main():
        realm = 'device'
        server = Server({'listen': ['http://127.0.0.1:0'], 'routes': [{'match': '/', 'role': 'user'}], 'auth': {
            'methods': methods, 'realm': realm, 'roles': {'user': []}, 'users': {'jürgen': {
                'password': hash_password('pässword', 10), 'roles': ['user'],
                'digest': {name: secret(name, 'jürgen', realm, 'pässword') for name in ('SHA-256', 'MD5')}}}}})

        @server.action('/who')
        async def who(web):
            return web.user.name
        await server.start()
        async with Client(proxy=False) as client:
            where = f'http://127.0.0.1:{server.listeners[0].port}/who'
            for _ in range(3):
                assert await client.get(where, auth=('jürgen', 'pässword')) == 'jürgen'
            with pytest.raises(StatusError, match='401'):
                await client.get(where, auth=('jürgen', 'wrong'))
        await server.stop(1)
    runtime.run(main)
