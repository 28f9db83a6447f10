"""Attacks on signing in, as tables: what a stranger sends, and the status that it gets. Paths, cookies, Basic, Digest, forms."""

import base64
import gzip

import pytest

from tests.child import write
from tests.web.support import serve
from tests.web.test_access import ACTIONS, AUTH, WORDS, Browser
from tests.web.test_users import DigestClient

SECRET = 'for administrators only'
ROUTES = [{'match': '/admin/', 'role': 'admin', 'handler': 'file', 'methods': ['GET', 'PUT', 'DELETE']}, {'match': '/one.txt', 'role': 'admin'},
          {'match': '/digest', 'auth': ['digest']}, {'match': '/md5', 'auth': ['digest', 'md5']}, {'match': '/basic', 'auth': ['basic']},
          {'match': '/all', 'auth': ['form', 'basic', 'digest']}, {'match': '/edit', 'can': 'edit'}, {}]


@pytest.fixture
def site(tmp_path):
    for name in ('admin/secret.txt', 'one.txt', 'admin/index.html'):
        write(tmp_path, f'site/{name}', SECRET)
        (tmp_path / f'site/{name}.gz').write_bytes(gzip.compress(SECRET.encode()))
    write(tmp_path, 'site/public/page.html', 'open')
    return {'documents': str(tmp_path / 'site'), 'auth': AUTH, 'routes': ROUTES, 'hosts': [{'name': 'other.example'}],
            'redirect': [{'from': '/old/', 'to': '/admin/'}]}


def send(config, *requests, before=None):
    """The answers to requests, each of lines, by a server of `config`; `before(server)` makes further ones."""
    async def main(client, server):
        return [await client.ask('\r\n'.join([*lines, '', '']).encode('latin-1'))
                for lines in (*requests, *(before(server) if before else ()))]
    return serve(main, config, {} if config['documents'] else ACTIONS)


def host(target, name='test', method='GET'):
    return f'{method} {target} HTTP/1.1', f'Host: {name}'


# Ways around a route

@pytest.mark.parametrize('target, status', [
    ('/admin/secret.txt', 401), ('//admin/secret.txt', 401), ('/./admin/secret.txt', 401),
    ('/public/../admin/secret.txt', 401),
    ('/public/%2e%2e/admin/secret.txt', 401), ('/%61dmin/secret.txt', 401), ('/admin%2Fsecret.txt', 401),
    ('/admin%2fsecret.txt', 401),
    ('/%2Fadmin//secret.txt', 401), ('/admin/./secret.txt', 401), ('/admin/x/../secret.txt', 401),
    ('/admin/secret.txt/', 401),
    ('/admin/secret.txt?', 401), ('/admin/secret.txt?/../../public/page.html', 401), ('/admin/secret.txt.gz', 401),
    ('/admin/', 401),
    ('http://test/admin/secret.txt', 401), ('HTTP://evil.example/admin/secret.txt', 401),
    ('http://other.example//admin/secret.txt', 401),
    ('/admin', 301), ('/old/secret.txt', 302), ('/one.txt', 401), ('/One.txt', 404), ('/one.txt/', 404),
    ('/one.txt;x', 404), ('/one.txt%20', 404),
    ('/ADMIN/secret.txt', 404), ('/admin;/secret.txt', 404), ('/%2561dmin/secret.txt', 404),
    ('/admin%5Csecret.txt', 404), ('/..%5Cadmin/secret.txt', 404),
    ('/admin\\secret.txt', 400), ('/admin/secret.txt%00', 400), ('/../admin/secret.txt', 400),
    ('/%c0%afadmin/secret.txt', 400),
    ('/admin/%2e%2e/%2e%2e/admin/secret.txt', 400), ('/%/admin/secret.txt', 400), ('/admin/secret.txt#', 400),
    ('admin/secret.txt', 400),
    ('/public/page.html', 200),
])
def test_no_way_of_writing_a_path_goes_around_its_route(site, target, status):
    for name in ('test', 'other.example', 'other.example.:80'):
        answer, = send(site, host(target, name))
        assert answer.status == status and SECRET.encode() not in answer.body


@pytest.mark.parametrize('method, fields, status', [
    ('HEAD', (), 401), ('PUT', ('Content-Length: 0',), 401), ('DELETE', (), 401), ('OPTIONS', (), 200),
    ('POST', ('Content-Length: 0',), 405),
    ('PATCH', (), 405), ('TRACE', (), 405), ('get', (), 501), ('FETCH', (), 501), ('GET', ('Range: bytes=0-3',), 401),
    ('GET', ('If-None-Match: *',), 401),
    ('GET', ('Accept-Encoding: gzip',), 401), ('GET', ('X-HTTP-Method-Override: OPTIONS',), 401),
    ('GET', ('X-Original-URL: /public/page.html',), 401),
    ('GET', ('X-Forwarded-For: 127.0.0.1', 'X-Forwarded-Proto: https'), 401),
    ('GET', ('Authorization: Basic YW5uOndvbmRlcmxhbmQ=',), 401),
    ('GET', ('Accept: text/html',), 302),
    ('OPTIONS', ('Origin: http://test', 'Access-Control-Request-Method: DELETE'), 200),
])
def test_no_method_and_field_goes_around_a_route(site, method, fields, status):
    answer, again = send(site, (*host('/admin/secret.txt', method=method), *fields), host('/admin/secret.txt'))
    assert answer.status == status and again.status == 401
    assert SECRET.encode() not in answer.body and 'etag' not in answer.fields and 'content-range' not in answer.fields


def test_a_document_in_the_cache_is_not_for_the_next_client(site):
    async def main(client, server):
        browser, stranger = Browser(client), Browser(client)
        await browser.sign_in('ann')
        zipped = 'Accept-Encoding: gzip\r\n'
        return [(await one.get(path, fields)).status if one is stranger else (await client.ask(
            f'GET {path} HTTP/1.1\r\nHost: test\r\n{fields}Cookie: ioto-session={browser.cookies["ioto-session"]}\r\n\r\n'.encode())).status
            for path in ('/admin/secret.txt', '/one.txt') for fields in ('', zipped) for one in (browser, stranger)]
    assert serve(main, site, ACTIONS) == [200, 401] * 4


# Cookies

@pytest.mark.parametrize('cookie, status', [
    ('ioto-session={id}', 200), ('a=b; ioto-session={id}; c', 200), ('ioto-session="{id}"', 200),
    ('  ioto-session={id}  ', 200),
    ('ioto-session={id}; ioto-session=x', 200), ('ioto-session=x; ioto-session={id}', 401),
    ('ioto-session=; ioto-session={id}', 401),
    ('', 401), ('=', 401), (';', 401), ('={id}', 401), ('{id}', 401), ('ioto-session', 401),
    ('ioto-session={id}x', 401), ('ioto-session={up}', 401),
    ('ioto-session={id}%00', 401), ('ioto-session={id},x', 401), ('ioto-session="{id}', 401),
    ('ioto-session=""{id}""', 401), ('Ioto-Session={id}', 401),
    ('ioto-session[]={id}', 401), ('__Host-ioto-session={id}', 401), ('__Secure-ioto-session={id}', 401),
    ('$Version=1; $ioto-session={id}', 401),
    ('a="; ioto-session={id}; b="', 200), ('a=b, ioto-session={id}', 401), ('XSRF-TOKEN={id}', 401),
    ('ioto-session=__proto__', 401),
    ('ioto-session=' + 'a' * 8000, 401), ('a=1; ' * 1500 + 'ioto-session={id}', 200), ('ioto-session=\xff\xfe', 401),
    ('ioto-session=None', 401),
    ('ioto-session=' + 'a' * 9000, 431), ('ioto-session={id}\x00', 400), ('ioto-session={id}\r', 400),
    ('x\n ioto-session={id}', 400),
])
def test_cookies(site, cookie, status):
    async def main(client, server):
        browser = Browser(client)
        await browser.sign_in('ann')
        found = browser.cookies['ioto-session']
        value = cookie.replace('{id}', found).replace('{up}', found.upper() if found.upper() != found else 'x')
        return (await client.ask(f'GET /edit HTTP/1.1\r\nHost: test\r\nCookie: {value}\r\n\r\n'.encode('latin-1'))).status, len(server.sessions)
    assert serve(main, {**site, 'documents': None}, {'/edit': lambda web: 'in'}) == (status, 1)


# Basic

def encoded(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


@pytest.mark.parametrize('value, status', [
    (f'Basic {encoded("ann:wonderland")}', 200), (f'bASIC   {encoded("ann:wonderland")}', 200),
    (f'Basic {encoded("ANN:wonderland")}', 401),
    (f'Basic {encoded("ann:wonderland ")}', 401), (f'Basic {encoded("ann:")}', 401), (f'Basic {encoded(":")}', 401),
    (f'Basic {encoded("ann::wonderland")}', 401),
    (f'Basic {encoded("ａｎｎ:wonderland")}', 401), (f'Basic {encoded("ann" + chr(0) + ":wonderland")}', 401),
    (f'Basic {encoded("x" * 3000 + ":" + "y" * 2000)}', 401), (f'Basic {encoded("None:None")}', 401),
    (f'Basic realm={encoded("ann:wonderland")}', 400),
    (f'Basic {encoded("ann")}', 400), ('Basic', 400), ('Basic ====', 400),
    (f'Basic {encoded(b"ann:" + bytes([255]))}', 400), ('Basic \xff', 400),
    (f'Basic {encoded("ann:wonderland")[:-1]}', 400),
    (f'Basic {encoded("ann:wonderland")}, Basic {encoded("bob:builder")}', 400),
    (f'Bearer {encoded("ann:wonderland")}', 401), ('', 401), (encoded('ann:wonderland'), 401),
    ('Digest username="ann"', 401),
])
def test_basic(site, value, status):
    answer, = send({**site, 'documents': None}, (*host('/basic'), f'Authorization: {value}'))
    assert answer.status == status
    assert (status == 401) == ('www-authenticate' in answer.fields)


# Digest

@pytest.mark.parametrize('target, answer, status', [
    ('/digest', {}, 200), ('/digest?a=%22', {'uri': '/digest?a=%22'}, 200),
    ('/digest?a=1', {'uri': '/digest?a=1'}, 200),
    ('http://test/digest', {'uri': 'http://test/digest'}, 200), ('http://test/digest', {'uri': '/digest'}, 400),
    ('/%64igest', {'uri': '/digest'}, 400),
    ('/digest', {'uri': '/digest?x'}, 400), ('/digest?x', {}, 400), ('/digest', {'uri': '/other'}, 400),
    ('/digest', {'uri': '*'}, 400),
    ('/digest', {'uri': None}, 400), ('/digest', {'method': 'HEAD'}, 401), ('/digest', {'nc': '1'}, 400),
    ('/digest', {'nc': '000000001'}, 400),
    ('/digest', {'nc': '00000000'}, 400), ('/digest', {'nc': '-0000001'}, 400), ('/digest', {'nc': None}, 400),
    ('/digest', {'nc': 'ffffffff'}, 200),
    ('/digest', {'qop': 'auth-int'}, 401), ('/digest', {'qop': '"auth,auth-int"'}, 401),
    ('/digest', {'qop': None}, 401), ('/digest', {'qop': ''}, 401),
    ('/digest', {'algorithm': 'MD5'}, 401), ('/digest', {'algorithm': None}, 401),
    ('/digest', {'algorithm': 'SHA-256-sess'}, 401),
    ('/digest', {'algorithm': 'sha-256'}, 401), ('/digest', {'algorithm': 'SHA-512-256'}, 401),
    ('/digest', {'algorithm': '../x'}, 401),
    ('/digest', {'realm': 'other'}, 401), ('/digest', {'realm': None}, 401), ('/digest', {'opaque': None}, 401),
    ('/digest', {'opaque': 'x'}, 401),
    ('/digest', {'nonce': ''}, 401), ('/digest', {'nonce': '0' * 96}, 401), ('/digest', {'nonce': None}, 401),
    ('/digest', {'cnonce': ''}, 200),
    ('/digest', {'response': '0' * 64}, 401), ('/digest', {'response': ''}, 401), ('/digest', {'response': None}, 401),
    ('/digest', {'response': '\xe9'}, 401),
    ('/digest', {'username': 'bob'}, 401), ('/digest', {'username': 'ANN'}, 401), ('/digest', {'username': ''}, 401),
    ('/digest', {'username': None}, 400),
    ('/digest', {'username': 'ann", username="bob'}, 400), ('/digest', {'userhash': 'true'}, 200),
    ('/digest', {'username': 'ann\x00'}, 400),
    ('/digest', {'username*': "UTF-8''bob"}, 401), ('/digest', {'username*': "UTF-8''%"}, 400),
    ('/digest', {'username*': 'x'}, 401),
    ('/digest', {'x': 'y' * 7000}, 200), ('/digest', {'x': 'y' * 9000}, 431), ('/md5', {'algorithm': 'MD5'}, 200),
    ('/md5', {}, 200), ('/basic', {}, 401),
])
def test_digest(site, target, answer, status):
    path = '/' + target.removeprefix('http://test').lstrip('/').partition('?')[0]
    changes = {'uri': '/digest' if path == '/%64igest' else path, **answer}

    def ask(server):
        algorithm = 'MD5' if path == '/md5' and 'algorithm' in changes else 'SHA-256'
        client = DigestClient(server.access.users, 'ann', WORDS['ann'], algorithm)
        return [(*host(target), f'Authorization: {client.answer(**changes)}')]
    found, = send({**site, 'documents': None}, before=ask)
    assert found.status == status
    assert (status == 401) == ('www-authenticate' in found.fields)


def test_digest_replayed_over_another_connection_a_method_and_a_reload(site):
    async def main(client, server):
        value = DigestClient(server.access.users, 'ann', WORDS['ann']).answer(uri='/digest')

        async def ask(method='GET'):
            answer = await client.ask(f'{method} /digest HTTP/1.1\r\nHost: test\r\nAuthorization: {value}\r\n\r\n'.encode())
            return answer.status, 'stale=true' in answer.fields.get('www-authenticate', '')
        found = [await ask(), await ask(), await ask('HEAD')]
        server.reload(server.config)
        return [*found, await ask()]
    assert serve(main, {**site, 'documents': None}, ACTIONS) == [(200, False), (401, True), (401, False), (401, True)]


# Forms

@pytest.mark.parametrize('body, kind, status', [
    ('username=ann&password=wonderland', '', 303), ('username=ann&username=bob&password=wonderland', '', 401),
    ('username[]=ann&password=wonderland', '', 401),
    ('username=ann%00&password=wonderland', '', 401), ('username=ann%0a&password=wonderland', '', 401),
    ('username=%EF%BD%81nn&password=wonderland', '', 401),
    ('username=ann&password=wonderland&code=x&again=y', '', 303), ('username=%ff', '', 400), ('username=%', '', 400),
    ('', '', 401), ('a=1&' * 2000, '', 413),
    ('username=ann&password=' + 'x' * 16000, '', 401), ('username=ann&password=' + 'x' * 17000, '', 413),
    ('{"username": "ann"}', 'text/plain', 415),
    ('{"username": "ann", "password": "wonderland"}', 'application/json', 200),
    ('{"username": ["ann"], "password": {"": 0}}', 'application/json', 401),
    ('{"username": "\\ud800", "password": "\\udfff"}', 'application/json', 401),
    ('{"username": 1e999}', 'application/json', 401),
    ('{"username": ' + '[' * 2000 + ']' * 2000 + '}', 'application/json', 400),
    ('{"username": ' + '[' * 900 + ']' * 900 + '}', 'application/json', 401),
    ('{"username": ' + '9' * 5000 + '}', 'application/json', 400), ('null', 'application/json', 401),
    ('', 'application/json', 400),
    ('--x\r\nContent-Disposition: form-data; name="username"\r\n\r\nann\r\n--x--\r\n', 'multipart/form-data; boundary=x', 401),
    ('--x\r\nContent-Disposition: form-data; name="username"; filename="a"\r\n\r\nann\r\n--x--\r\n', 'multipart/form-data; boundary=x', 401),
    ('--x', 'multipart/form-data; boundary=x', 400),
])
def test_forms(site, body, kind, status):
    async def main(client, server):
        answer = await Browser(client).ask('POST', '/auth/login', body, kind or 'application/x-www-form-urlencoded')
        return answer.status, len(server.sessions)
    assert serve(main, site, ACTIONS) == (status, int(status in (200, 303)))
