"""Documents: what is served, with which fields, and what never leaves the folder."""

import os
import socket
import time

import pytest

from ioto import runtime
from ioto.http.dates import format_date

from tests.web.support import serve


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / 'site'
    (folder / 'sub').mkdir(parents=True)
    (folder / 'index.html').write_text('<h1>home</h1>')
    (folder / 'sub' / 'index.html').write_text('<h1>sub</h1>')
    (folder / 'app.js').write_text('let a = 1')
    (folder / 'empty.txt').write_text('')
    (folder / 'name with ä.txt').write_text('umlaut')
    (folder / 'big.bin').write_bytes(os.urandom(300_000))
    (folder / '.hidden').write_text('secret')
    (folder / '.git').mkdir()
    (folder / '.git' / 'config').write_text('secret')
    (folder / '.well-known').mkdir()
    (folder / '.well-known' / 'x').write_text('known')
    (tmp_path / 'secret.txt').write_text('secret')
    (folder / 'out').symlink_to(tmp_path / 'secret.txt')
    (folder / 'outdir').symlink_to(tmp_path)
    (folder / 'in').symlink_to(folder / 'app.js')
    (folder / 'loop').symlink_to(folder / 'loop')
    os.mkfifo(folder / 'fifo')
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(folder / 'sock'))
    sock.close()
    (tmp_path / 'site2').mkdir()
    (tmp_path / 'site2' / 'x').write_text('secret')
    return folder


def get(site, main, **config):
    serve(main, {'documents': str(site), **config})


@pytest.mark.parametrize('path, kind, body', [
    ('/', 'text/html', b'<h1>home</h1>'), ('/index.html', 'text/html', b'<h1>home</h1>'), ('/sub/', 'text/html', b'<h1>sub</h1>'),
    ('/app.js', 'text/javascript', b'let a = 1'), ('/in', '', b'let a = 1'), ('/empty.txt', 'text/plain', b''),
    ('/name%20with%20%C3%A4.txt', 'text/plain', b'umlaut'), ('/sub/../app.js', 'text/javascript', b'let a = 1'),
    ('/app.js?v=2', 'text/javascript', b'let a = 1'), ('/.well-known/x', '', b'known')])
def test_documents(site, path, kind, body):
    async def main(client, server):
        for _ in range(2):                      # from the file, then from the cache
            answer = await client.ask(f'GET {path}')
            assert answer.status == 200 and answer.body == body and answer.fields['content-type'].startswith(kind)
            assert answer.fields['content-length'] == str(len(body))
        head = await client.ask(f'HEAD {path}')
        assert {**head.fields, 'date': ''} == {**answer.fields, 'date': ''}
    get(site, main)


@pytest.mark.parametrize('path', [
    '/none', '/none/', '/app.js/', '/index.html/x', '/.hidden', '/.git/config', '/sub/none', '/out', '/outdir/secret.txt', '/outdir/',
    '/loop', '/fifo', '/sock', '/..%2fsecret.txt', '/%2e%2e/secret.txt', '/sub/%2e%2e/%2e%2e/secret.txt', '/..%5csecret.txt',
    '/....//secret.txt', '/%252e%252e/secret.txt', '/../site2/x', '/a%00.html', '/index.html%00', '/' + 'a' * 300, '/%c0%ae%c0%ae/secret.txt',
    '//secret.txt', '/sub/..;/secret.txt', '/.%2e/secret.txt', '/%', '/%zz'])
def test_nothing_else_is_served(site, path):
    async def main(client, server):
        answer = await client.ask(f'GET {path}')
        assert answer.status in (400, 404) and b'secret' not in answer.body.replace(b'secret.txt', b'')
    get(site, main)


def test_a_folder_without_its_slash_is_redirected(site):
    async def main(client, server):
        answer = await client.ask('GET /sub?a=b')
        assert answer.status == 301 and answer.fields['location'] == '/sub/?a=b'
    get(site, main)


def test_methods_are_those_of_reading(site):
    async def main(client, server):
        answer = await client.ask('DELETE /app.js')
        assert answer.status == 405 and answer.fields['allow'] == 'GET, HEAD, OPTIONS'
        assert (site / 'app.js').exists()
    get(site, main)


def test_large_files_are_streamed(site):
    async def main(client, server):
        data = (site / 'big.bin').read_bytes()
        for _ in range(2):
            assert (await client.ask('GET /big.bin')).body == data
        answer = await client.ask('HEAD /big.bin')
        assert answer.fields['content-length'] == '300000'
        assert server.router.files.held == 0
    get(site, main)


def conditional(path, **fields):
    lines = [f'GET {path} HTTP/1.1', 'Host: x', *(f'{name.replace("_", "-")}: {value}' for name, value in fields.items()), '', '']
    return '\r\n'.join(lines).encode()


def test_conditions(site):
    past, future = format_date(time.time() - 86400), format_date(time.time() + 86400)

    async def main(client, server):
        for path in ('/app.js', '/big.bin'):
            plain = await client.ask(f'GET {path}')
            etag, modified = plain.fields['etag'], plain.fields['last-modified']
            for fields, status in (
                    ({'If_None_Match': etag}, 304), ({'If_None_Match': '*'}, 304), ({'If_None_Match': f'"x", W/{etag}'}, 304),
                    ({'If_None_Match': '"x"'}, 200), ({'If_Modified_Since': modified}, 304), ({'If_Modified_Since': past}, 200),
                    ({'If_Modified_Since': 'yesterday'}, 200), ({'If_None_Match': '"x"', 'If_Modified_Since': modified}, 200),
                    ({'If_Match': etag}, 200), ({'If_Match': '*'}, 200), ({'If_Match': '"x"'}, 412), ({'If_Match': 'W/' + etag}, 412),
                    ({'If_Unmodified_Since': modified}, 200), ({'If_Unmodified_Since': past}, 412),
                    ({'If_Match': etag, 'If_Unmodified_Since': past}, 200), ({'If_Match': etag, 'If_None_Match': etag}, 304),
                    ({'If_Modified_Since': future}, 304)):
                answer = await client.ask(conditional(path, **fields))
                assert answer.status == status, (path, fields)
                if status == 304:
                    assert answer.fields['etag'] == etag and 'content-length' not in answer.fields and answer.body == b''
    get(site, main)


def test_a_change_is_seen_and_a_replaced_file_has_another_etag(site):
    async def main(client, server):
        first = await client.ask('GET /app.js')
        (site / 'new').write_text('let a = 2')
        os.replace(site / 'new', site / 'app.js')
        await runtime.sleep(1.2)
        second = await client.ask('GET /app.js')
        assert second.body == b'let a = 2' and second.fields['etag'] != first.fields['etag']
        (site / 'app.js').unlink()
        await runtime.sleep(1.2)
        assert (await client.ask('GET /app.js')).status == 404
    get(site, main)


def test_the_cache_is_bounded(site):
    for n in range(50):
        (site / f'{n}.txt').write_bytes(b'x' * 1000)

    async def main(client, server):
        for n in range(50):
            assert len((await client.ask(f'GET /{n}.txt')).body) == 1000
            assert server.router.files.held <= 10_000
        assert server.router.files.documents
    get(site, main, files={'cache': 10_000, 'item': 2000})


def test_cache_control_and_types_by_extension_and_route(site):
    async def main(client, server):
        assert (await client.ask('GET /app.js')).fields['cache-control'] == 'max-age=86400'
        answer = await client.ask('GET /index.html')
        assert answer.fields['cache-control'] == 'no-cache' and answer.fields['content-type'] == 'text/x-own'
        assert (await client.ask('GET /empty.txt')).fields['cache-control'] == 'max-age=60'
        answer = await client.ask('GET /sub/')
        assert answer.fields['cache-control'] == 'no-store' and answer.fields['x-route'] == 'sub'
    get(site, main, cache={'js': '1 day', 'html': 'no-cache', '*': 60}, mime={'html': 'text/x-own'},
        routes=[{'match': '/sub/', 'cache': 'no-store', 'headers': {'X-Route': 'sub'}}, {}])


def test_pipelined_documents_stay_in_order(site):
    async def main(client, server):
        from tests.web.support import read_answer
        one = b'GET /%b HTTP/1.1\r\nHost: x\r\n\r\n'
        names = [b'app.js', b'big.bin', b'none', b'app.js', b'sub', b'big.bin'] * 5
        await client.stream.write(b''.join(one % name for name in names))
        big = (site / 'big.bin').read_bytes()
        expected = {b'app.js': b'let a = 1', b'big.bin': big}
        for name in names:
            answer = await read_answer(client.stream)
            if name in expected:
                assert answer.body == expected[name]
            else:
                assert answer.status in (301, 404)
    get(site, main)


@pytest.fixture
def ordinary_user(tmp_path):
    """Root may read anything, so as root the test goes on as nobody."""
    if os.geteuid() != 0:
        yield
        return
    folder = tmp_path
    while folder.stat().st_uid == 0 and str(folder) != folder.anchor and folder.parent.name:
        folder.chmod(0o755)
        folder = folder.parent
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.fixture
def unreadable(site):
    (site / 'app.js').chmod(0)


def test_a_file_that_may_not_be_read_is_403(site, unreadable, ordinary_user):
    async def main(client, server):
        assert (await client.ask('GET /app.js')).status == 403
        assert (await client.ask('GET /')).status == 200
    get(site, main)


def test_a_link_that_points_elsewhere_and_a_file_of_equal_time_and_size_are_seen(site):
    (site / 'one').write_text('1')
    (site / 'two').write_text('2')
    (site / 'link').symlink_to('one')

    async def main(client, server):
        first = await client.ask('GET /link')
        etag = (await client.ask('GET /one')).fields['etag']
        times = (site / 'one').stat()
        (site / 'link2').symlink_to('two')
        os.replace(site / 'link2', site / 'link')
        (site / 'new').write_text('3')
        os.utime(site / 'new', ns=(times.st_atime_ns, times.st_mtime_ns))
        os.replace(site / 'new', site / 'one')
        await runtime.sleep(1.2)
        assert (first.body, (await client.ask('GET /link')).body) == (b'1', b'2')
        again = await client.ask('GET /one')
        assert again.body == b'3' and again.fields['etag'] != etag
    get(site, main)
