"""The client against servers of others: httpbin, nginx, aiohttp, Python's http.server, and our own."""

import hashlib
import os

import pytest

from ioto import runtime
from ioto.url import Client, ProtocolError, StatusError, TimeoutError
from ioto.web import Server
from tests.url import peer


def run(main, **options):
    async def inside():
        async with runtime.timeout(40), Client(proxy=False, **options) as client:
            await main(client)
            await runtime.sleep(0)
            assert client.pool.count == sum(map(len, client.pool.idle.values()))
    runtime.run(inside)


def test_httpbin():
    with peer.httpbin() as port:
        base = f'http://127.0.0.1:{port}'

        async def main(client):
            assert (await client.json('GET', base + '/gzip'))['gzipped'] and (await client.json('GET', base + '/deflate'))['deflated']
            assert (await client.json('GET', base + '/get', query={'a': '1 &', 'b': [1, 2]}))['args'] == {'a': '1 &', 'b': ['1', '2']}
            assert (await client.json('POST', base + '/post', {'a': 'ü'}))['json'] == {'a': 'ü'}
            assert '"b": "\\u00fc"' in await client.post(base + '/post', {'b': 'ü'})
            assert (await client.json('GET', base + '/redirect/4'))['url'].endswith('/get')
            assert (await client.json('GET', base + '/absolute-redirect/2'))['url'].endswith('/get')
            with pytest.raises(ProtocolError, match='redirects'):
                await client.get(base + '/redirect/11')
            for status, method in ((302, 'GET'), (307, 'POST')):
                async with client.fetch('POST', f'{base}/redirect-to?url=/anything&status_code={status}', {'a': '1'}) as up:
                    assert (await up.json())['method'] == method
            for algorithm in ('MD5', 'SHA-256'):
                where = f'{base}/digest-auth/auth/me/{algorithm}/{algorithm}'
                assert (await client.json('GET', where, auth=('me', algorithm)))['user'] == 'me'
                with pytest.raises(StatusError, match='401'):
                    await client.get(where, auth=('me', 'wrong'))
            assert (await client.json('GET', base.replace('//', '//u:p@') + '/basic-auth/u/p'))['authenticated']
            assert (await client.json('GET', base + '/bearer', bearer='abc'))['token'] == 'abc'
            assert (await client.json('GET', base + '/cookies/set?a=1&b=2'))['cookies'].items() >= {'a': '1', 'b': '2'}.items()
            assert 'a' not in (await client.json('GET', base + '/cookies/delete?a'))['cookies']
            assert len((await client.get(base + '/stream/7')).splitlines()) == 7
            assert '∮ E⋅da = Q' in await client.get(base + '/encoding/utf8')
            with pytest.raises(TimeoutError):
                await client.get(base + '/delay/3', timeout=.2)
            async with client.fetch('HEAD', base + '/get') as up:
                assert up.status == 200 and await up.read() == b''
        run(main)


def test_nginx(tmp_path):
    data = os.urandom(1 << 20)
    (tmp_path / 'data').write_bytes(data)
    (tmp_path / 'text.txt').write_text('hello ' * 10000)
    with peer.nginx(str(tmp_path)) as port:
        base = f'http://127.0.0.1:{port}'

        async def fetch(client, path):
            digest = hashlib.sha256()
            async with client.fetch('GET', base + path) as up:
                assert up.status == 200
                async for chunk in up:
                    digest.update(chunk)
            return digest.digest()

        async def main(client):
            async with client.fetch('GET', base + '/text.txt') as up:
                assert up.headers['content-encoding'] == 'gzip' and await up.text() == 'hello ' * 10000
            for path in ('/data', '/moved/data', '/few/data', '/never/data'):
                async with runtime.TaskGroup() as group:
                    fibers = [group.spawn(fetch(client, path)) for _ in range(20)]
                assert {fiber.result for fiber in fibers} == {hashlib.sha256(data).digest()}
            async with client.fetch('GET', base + '/data', headers={'Range': 'bytes=10-19'}) as up:
                assert up.status == 206 and await up.read() == data[10:20]
            with pytest.raises(StatusError, match='404'):
                await client.get(base + '/none')
            with pytest.raises(StatusError, match='405'):
                await client.post(base + '/data', b'x' * 100_000)
        run(main)


def test_aiohttp_echoes_what_streams_both_ways():
    with peer.aiohttp() as port:
        data = os.urandom(2_000_000)

        async def pieces():
            for at in range(0, len(data), 70_000):
                yield data[at:at + 70_000]

        async def main(client):
            where = f'http://127.0.0.1:{port}/echo'
            for body in (data, pieces(), b'', b'x'):
                async with client.fetch('PUT', where, body) as up:
                    assert await up.read() == (data if hasattr(body, 'aclose') else body)
            async with client.fetch('PUT', where, b'x' * 100, expect=True) as up:
                assert await up.read() == b'x' * 100
        run(main)


def test_http_server_of_python(tmp_path):
    (tmp_path / 'data').write_bytes(b'x' * 100_000)
    with peer.http_server(str(tmp_path)) as port:
        async def main(client):
            for _ in range(3):
                async with client.fetch('GET', f'http://127.0.0.1:{port}/data') as up:
                    assert up.version == 10 and len(await up.read()) == 100_000
            with pytest.raises(StatusError, match='501'):
                await client.post(f'http://127.0.0.1:{port}/data', b'x')
        run(main)


def test_our_own_server(tmp_path):
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site' / 'data').write_bytes(b'0123456789')

    async def main(client):
        server = Server({'listen': ['http://127.0.0.1:0'], 'documents': str(tmp_path / 'site')})

        @server.action('/echo')
        async def echo(web):
            async for chunk in web.body():
                await web.write(chunk)
        await server.start()
        base = f'http://127.0.0.1:{server.listeners[0].port}'
        assert await client.get(base + '/data') == '0123456789'
        assert await client.post(base + '/echo', 'x' * 300_000) == 'x' * 300_000
        async with client.fetch('PUT', base + '/echo', b'later', expect=True) as up:
            assert await up.read() == b'later'
        async with client.fetch('GET', base + '/data', headers={'Range': 'bytes=2-3'}) as up:
            assert up.status == 206 and await up.read() == b'23'
        assert client.pool.count == 1
        await server.stop(1)
    run(main)
