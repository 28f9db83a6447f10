"""Proxies: which one the environment names, the whole URL in the request line, tunnels, credentials."""

import pytest

from ioto import runtime
from ioto.http.url import parse_url
from ioto.runtime.tls import server_context
from ioto.url import Client, ConnectError, StatusError, TimeoutError, TlsError, UrlError
from ioto.url.proxies import Proxies
from tests.url import peer
from tests.url.support import CLOSE, OK, Script, answer, read_request, serve, tunnel


@pytest.mark.parametrize('environ, where, chosen', [
    ({}, 'http://a/', None),
    ({'http_proxy': 'http://p:3128'}, 'http://a/', 'http://p:3128/'),
    ({'http_proxy': 'http://p:3128'}, 'https://a/', None),
    ({'http_proxy': 'p:3128'}, 'http://a/', 'http://p:3128/'),
    ({'https_proxy': 'http://p'}, 'https://a/', 'http://p/'),
    ({'HTTPS_PROXY': 'http://p'}, 'https://a/', 'http://p/'),
    ({'HTTPS_PROXY': 'http://p', 'https_proxy': 'http://q'}, 'https://a/', 'http://q/'),
    ({'https_proxy': 'http://p'}, 'wss://a/', 'http://p/'), ({'http_proxy': 'http://p'}, 'ws://a/', 'http://p/'),
    ({'all_proxy': 'http://p'}, 'http://a/', 'http://p/'), ({'ALL_PROXY': 'http://p'}, 'https://a/', 'http://p/'),
    ({'HTTP_PROXY': 'http://p'}, 'http://a/', 'http://p/'),
    ({'HTTP_PROXY': 'http://p', 'REQUEST_METHOD': 'GET'}, 'http://a/', None),
    ({'http_proxy': 'http://p', 'REQUEST_METHOD': 'GET'}, 'http://a/', 'http://p/'),
    ({'all_proxy': 'http://p'}, 'unix:/s:/', None),
])
def test_the_environment_names_the_proxy(environ, where, chosen):
    found = Proxies(environ=environ).choose(parse_url(where))
    assert (str(found) if found else None) == chosen


@pytest.mark.parametrize('direct, where, is_direct', [
    ('a', 'http://a/', True), ('a', 'http://b.a/', True), ('.a', 'http://b.a/', True), ('*.a', 'http://b.a/', True), ('A', 'http://a/', True),
    ('a', 'http://ba/', False), ('a', 'http://a.b/', False), ('b.a', 'http://a/', False), ('*', 'http://x/', True),
    ('x, a y', 'http://a/', True), ('a:80', 'http://a/', True), ('a:81', 'http://a/', False), ('a:81', 'http://a:81/', True),
    ('10.0.0.1', 'http://10.0.0.1/', True), ('10.0.0.0/8', 'http://10.1.2.3/', True), ('10.0.0.0/8', 'http://11.1.2.3/', False),
    ('10.0.0.0/8', 'http://a/', False), ('::1', 'http://[::1]/', True), ('[::1]', 'http://[::1]:8/', True),
    ('[::1]:8', 'http://[::1]:8/', True), ('fe80::/10', 'http://[fe80::1]/', True), ('', 'http://a/', False)])
def test_no_proxy_names_whom_to_reach_directly(direct, where, is_direct):
    proxies = Proxies(environ={'http_proxy': 'http://p', 'no_proxy': direct})
    assert (proxies.choose(parse_url(where)) is None) == is_direct


@pytest.mark.parametrize('proxy', ['https://p', 'socks5://p', 'http://', 'http://p:x', 'ftp://p'])
def test_what_is_no_proxy_is_refused(proxy):
    with pytest.raises(UrlError, match='proxy'):
        Client(proxy=proxy)


def test_the_environment_is_read_when_a_client_is_made(monkeypatch):
    for name in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert Client().proxies is None
    monkeypatch.setenv('http_proxy', 'http://p:1')
    assert str(Client().proxies.choose(parse_url('http://a/'))) == 'http://p:1/'
    assert Client(proxy=False).proxies is None


def through(script, main, user=''):
    """Run `main(client)` with a client whose proxy is the script."""
    async def outer(_client, base):
        async with Client(proxy=base.replace('//', f'//{user}')) as client:
            await main(client)
    serve(outer, script)


def test_http_goes_with_the_whole_url_and_shares_connections():
    script = Script(lambda asked: OK)

    async def main(client):
        await client.get('http://a.example/x?y')
        await client.get('http://b.example:81/')
        await client.post('http://a.example', b'x')
    through(script, main, 'me:p%40@')
    assert [asked.line for asked in script.asked] == [
        'GET http://a.example/x?y HTTP/1.1', 'GET http://b.example:81/ HTTP/1.1', 'POST http://a.example/ HTTP/1.1']
    assert [asked.fields['host'] for asked in script.asked] == ['a.example', 'b.example:81', 'a.example']
    assert script.connections == 1 and script.asked[0].fields['proxy-authorization'] == 'Basic bWU6cEA='


@pytest.mark.parametrize('challenge, user, requests', [
    ('Digest realm="p", nonce="n", qop="auth"', 'me:pw@', 2), ('Digest realm="p", nonce="n", qop="auth"', '', 1), ('Basic realm="p"', 'me:pw@', 1)])
def test_a_challenge_of_the_proxy_is_met_by_its_user(challenge, user, requests):
    script = Script(lambda asked: OK if asked.fields.get('proxy-authorization', '').startswith('Digest')
                    else answer(407, f'Proxy-Authenticate: {challenge}'))

    async def main(client):
        if requests == 2:
            assert await client.get('http://a.example/') == 'ok'
        else:
            with pytest.raises(StatusError, match='407'):
                await client.get('http://a.example/')
            with pytest.raises(ConnectError, match='CONNECT a.example:443 with 407'):
                await client.get('https://a.example/')
    through(script, main, user)
    if requests == 2:
        assert len(script.asked) == 2 and 'uri="http://a.example/"' in script.asked[1].fields['proxy-authorization']


@pytest.mark.parametrize('data, kind, why', [
    (answer(403), ConnectError, 'with 403'), (answer(502, body=b'why'), ConnectError, 'with 502'), (None, ConnectError, 'no tunnel'),
    (b'HTTP/1.1 101 X\r\n\r\n', ConnectError, 'with 101'), (b'HTTP/1.1 200 OK\r\n\r\nearly', ConnectError, 'speaks first'), (b'HTTP/1.1 200 OK\r\n\r\n' + CLOSE, TlsError, 'no TLS')])
def test_a_tunnel_that_does_not_come_about_is_an_error(data, kind, why):
    script = Script(lambda asked: data if asked.method == 'CONNECT' else None)

    async def main(client):
        with pytest.raises(kind, match=why):
            await client.get('https://a.example/', timeout={'tls': 1})
        assert not client.pool.count
    through(script, main)
    assert script.asked[0].line == 'CONNECT a.example:443 HTTP/1.1' and script.asked[0].fields == {'host': 'a.example:443'}


def test_a_user_that_cannot_be_sent_is_an_error():
    async def main(client):
        for target in ('http://a.example/', 'https://a.example/'):
            with pytest.raises(UrlError, match='cannot have a colon'):
                await client.get(target)
        assert not client.pool.count
    through(Script(lambda asked: OK), main, 'a%3Ab:c@')


def test_a_proxy_that_says_nothing_is_a_time_out():
    async def silent(stream):
        await read_request(stream)
        await stream.read()

    async def main(client):
        for timeout in ({'first': .1}, .1):
            with pytest.raises(TimeoutError):
                await client.get('https://a.example/', timeout=timeout)
    through(silent, main)


def test_the_proxy_of_a_tunnel_sees_neither_fields_nor_credentials(certs):
    """The tunnel ends at a server of ours; what came to the proxy is CONNECT alone."""
    seen = []

    async def relay(stream):
        while asked := await read_request(stream):
            seen.append(asked)
            if 'Digest' not in asked.fields.get('proxy-authorization', ''):
                await stream.write(answer(407, 'Proxy-Authenticate: Digest realm="p", nonce="n", qop="auth", algorithm=SHA-256'))
                continue
            return await tunnel(stream, asked)
    script = Script(lambda asked: OK)

    async def main(_client, base):
        async with await runtime.listen('127.0.0.1:0', relay) as proxy:
            async with Client(proxy=f'http://me:pw@127.0.0.1:{proxy.port}', authority=str(certs / 'ca.crt')) as client:
                for _ in range(2):
                    assert await client.get(base, bearer='secret') == 'ok'
    serve(main, script, tls=server_context(str(certs / 'server.crt'), str(certs / 'server.key')))
    assert [set(asked.fields) for asked in seen] == [{'host', 'proxy-authorization'}] * 2 and script.connections == 1
    assert script.asked[0].line == 'GET / HTTP/1.1' and 'proxy-authorization' not in script.asked[0].fields


def test_a_server_behind_a_tunnel_is_not_taken_for_the_proxy(certs):
    """Its 407 neither has us answer, nor changes how we sign in to the proxy."""
    script = Script(lambda asked: answer(407, 'Proxy-Authenticate: Basic realm="p"'))

    async def relay(stream):
        await tunnel(stream, await read_request(stream))

    async def main(_client, base):
        async with await runtime.listen('127.0.0.1:0', relay) as proxy:
            async with Client(proxy=f'http://me:pw@127.0.0.1:{proxy.port}', authority=str(certs / 'ca.crt')) as client:
                with pytest.raises(StatusError, match='407'):
                    await client.get(base)
                assert not client.known
    serve(main, script, tls=server_context(str(certs / 'server.crt'), str(certs / 'server.key')))
    assert len(script.asked) == 1


def test_tinyproxy_takes_us(tmp_path, certs):
    with peer.tinyproxy(str(tmp_path), 'BasicAuth me word') as port:
        script = Script(lambda asked: answer(200, body=b'x' * 100_000))
        for tls in (None, server_context(str(certs / 'server.crt'), str(certs / 'server.key'))):
            async def main(_client, base):
                async with Client(proxy=f'http://me:word@127.0.0.1:{port}', authority=str(certs / 'ca.crt')) as client:
                    for _ in range(3):
                        assert len(await client.post(base + '/x', b'y' * 50_000)) == 100_000
                async with Client(proxy=f'http://me:wrong@127.0.0.1:{port}', authority=str(certs / 'ca.crt')) as client:
                    with pytest.raises(UrlError, match='40[17]'):
                        await client.get(base)
            serve(main, script, tls=tls)
