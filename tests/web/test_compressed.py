"""Compressed siblings: who gets x.js.br or x.js.gz instead of x.js (RFC 9110 §12.5.3)."""

import gzip
import os

import pytest

from ioto import runtime
from ioto.http.lists import preferred
from tests.web.support import serve
from tests.web.test_ranges import asking

TEXT = b'let a = 1;\n' * 50
GZIP = gzip.compress(TEXT)
BROTLI = b'\x0b\x02\x80as if it were brotli'
LARGE = os.urandom(200_000)


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / 'site'
    folder.mkdir()
    for name, data in (('x.js', TEXT), ('x.js.gz', GZIP), ('x.js.br', BROTLI), ('one.css', TEXT), ('one.css.gz', GZIP), ('plain.txt', TEXT),
                       ('old.txt', TEXT), ('old.txt.gz', GZIP), ('alone.txt.gz', GZIP), ('link.txt', TEXT), ('large.bin', TEXT * 9999),
                       ('large.bin.gz', LARGE), ('index.html', TEXT), ('index.html.gz', GZIP), ('folder.txt', TEXT)):
        (folder / name).write_bytes(data)
        os.utime(folder / name, (1e9, 1e9 - 10 * (name == 'old.txt.gz')))
    (tmp_path / 'secret.gz').write_bytes(GZIP)
    (folder / 'link.txt.gz').symlink_to(tmp_path / 'secret.gz')
    (folder / 'folder.txt.gz').mkdir()
    return folder


def get(site, main, **config):
    serve(main, {'documents': str(site), **config})


@pytest.mark.parametrize('value, both, gzip_only', [
    ('gzip, deflate, br', 'br', 'gzip'), ('gzip', 'gzip', 'gzip'), ('br', 'br', None), ('x-gzip', 'gzip', 'gzip'), ('GZIP', 'gzip', 'gzip'),
    ('*', 'br', 'gzip'), ('', None, None), ('identity', None, None), ('deflate', None, None), ('gzip;q=0, br;q=0', None, None),
    ('gzip;q=1, br;q=0.5', 'gzip', 'gzip'), ('gzip;q=0.5, identity', None, None), ('gzip;q=0.5, *', 'br', None),
    ('br;q=0, *;q=0.1', 'gzip', 'gzip'), ('identity;q=0', None, None), ('identity;q=0, gzip;q=0.001', 'gzip', 'gzip'),
    ('identity;q=0, *', 'br', 'gzip'), ('gzip;q=bad', None, None), ('*;q=0', None, None), ('gzip;q=0.5, identity;q=0.5', 'gzip', 'gzip')])
def test_which_coding_is_preferred(value, both, gzip_only):
    assert preferred(value, ('br', 'gzip')) == both
    assert preferred(value, ('gzip',)) == gzip_only


def test_a_client_gets_what_it_takes(site):
    async def main(client, server):
        tags = set()
        for value, coding, body in (('gzip, br', 'br', BROTLI), ('gzip', 'gzip', GZIP), ('identity', None, TEXT), ('gzip;q=0', None, TEXT)) * 2:
            answer = await client.ask(asking('/x.js', Accept_Encoding=value))
            assert answer.status == 200 and answer.body == body and answer.fields.get('content-encoding') == coding
            assert answer.fields['content-type'].startswith('text/javascript') and answer.fields['vary'] == 'Accept-Encoding'
            tags.add(answer.fields['etag'])
            head = await client.ask(asking('/x.js', 'HEAD', Accept_Encoding=value))
            assert {**head.fields, 'date': ''} == {**answer.fields, 'date': ''}
        assert len(tags) == 3
        plain = await client.ask(asking('/x.js'))
        assert plain.body == TEXT and plain.fields['vary'] == 'Accept-Encoding'
        assert (await client.ask(asking('/', Accept_Encoding='gzip'))).body == GZIP
    get(site, main, mime={'gz': 'application/x-own'})


@pytest.mark.parametrize('path', ['/plain.txt', '/old.txt', '/link.txt', '/folder.txt'])
def test_without_a_newer_regular_sibling_nothing_varies(site, path):
    async def main(client, server):
        for _ in range(2):
            answer = await client.ask(asking(path, Accept_Encoding='gzip, br'))
            assert answer.body == TEXT and 'vary' not in answer.fields and 'content-encoding' not in answer.fields
    get(site, main)


def test_a_compressed_file_is_a_document_of_its_own_and_no_other(site):
    async def main(client, server):
        for _ in range(2):
            answer = await client.ask(asking('/x.js.gz', Accept_Encoding='gzip'))
            assert answer.body == GZIP and answer.fields['content-type'] == 'application/gzip' and 'content-encoding' not in answer.fields
        assert (await client.ask(asking('/alone.txt', Accept_Encoding='gzip'))).status == 404
        assert (await client.ask(asking('/gzip/x.js', Accept_Encoding='gzip'))).status == 404
    get(site, main)


def test_conditions_and_ranges_are_those_of_the_version_that_is_sent(site):
    async def main(client, server):
        plain = (await client.ask(asking('/x.js'))).fields['etag']
        packed = (await client.ask(asking('/x.js', Accept_Encoding='gzip'))).fields['etag']
        for fields, status in (({'If_None_Match': packed}, 304), ({'If_None_Match': plain}, 200), ({'If_Match': plain}, 412)):
            answer = await client.ask(asking('/x.js', Accept_Encoding='gzip', **fields))
            assert answer.status == status
            assert status != 304 or answer.fields['vary'] == 'Accept-Encoding'
        answer = await client.ask(asking('/x.js', Accept_Encoding='gzip', Range='bytes=2-9', If_Range=packed))
        assert answer.status == 206 and answer.body == GZIP[2:10] and answer.fields['content-encoding'] == 'gzip'
        assert answer.fields['content-range'] == f'bytes 2-9/{len(GZIP)}'
        assert (await client.ask(asking('/x.js', Accept_Encoding='gzip', Range='bytes=2-9', If_Range=plain))).body == GZIP
    get(site, main)


def test_large_ones_are_streamed(site):
    async def main(client, server):
        before = len(os.listdir('/proc/self/fd'))
        for _ in range(2):
            assert (await client.ask(asking('/large.bin', Accept_Encoding='gzip'))).body == LARGE
            assert (await client.ask(asking('/large.bin'))).body == TEXT * 9999
        answer = await client.ask(asking('/large.bin', Accept_Encoding='gzip', Range='bytes=1000-1999'))
        assert answer.body == LARGE[1000:2000]
        assert len(os.listdir('/proc/self/fd')) == before
    get(site, main)


def test_siblings_that_come_go_and_change_are_seen(site):
    async def main(client, server):
        async def body(path):
            return (await client.ask(asking(path, Accept_Encoding='gzip'))).body
        assert [await body('/plain.txt'), await body('/one.css'), await body('/x.js')] == [TEXT, GZIP, GZIP]
        (site / 'plain.txt.gz').write_bytes(b'new')
        (site / 'one.css.gz').unlink()
        (site / 'x.js').write_bytes(b'newer than its siblings')
        await runtime.sleep(1.1)
        assert [await body('/plain.txt'), await body('/one.css'), await body('/x.js')] == [b'new', TEXT, b'newer than its siblings']
    get(site, main)
