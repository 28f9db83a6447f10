"""Parts of documents: what a Range asks for, and when it is ignored (RFC 9110 §14). Small files come from the cache, large by sendfile."""

import os
import re
import ssl
import subprocess
import time

import pytest

from ioto import runtime
from ioto.http.dates import format_date
from ioto.web import ranges
from tests.web.support import Client, serve

SMALL = bytes(range(256)) * 4
LARGE = os.urandom(400_000)
PATHS = {'/small.bin': SMALL, '/large.bin': LARGE}


@pytest.fixture
def site(tmp_path):
    (tmp_path / 'small.bin').write_bytes(SMALL)
    (tmp_path / 'large.bin').write_bytes(LARGE)
    (tmp_path / 'empty.txt').write_bytes(b'')
    for name in ('small.bin', 'large.bin', 'empty.txt'):
        os.utime(tmp_path / name, (1e9, 1e9))
    return tmp_path


def asking(path, method='GET', **fields):
    lines = [f'{method} {path} HTTP/1.1', 'Host: x', *(f'{name.replace("_", "-")}: {value}' for name, value in fields.items()), '', '']
    return '\r\n'.join(lines).encode()


def parts(answer, size):
    """[(first, data), …] of a multipart/byteranges answer."""
    boundary = re.fullmatch(r'multipart/byteranges; boundary=(\S+)', answer.fields['content-type'])[1]
    first, *pieces, last = (b'\r\n' + answer.body.lstrip(b'\r\n')).split(f'\r\n--{boundary}'.encode())
    assert (first, last) == (b'', b'--\r\n')
    found = []
    for piece in pieces:
        head, _, data = piece.partition(b'\r\n\r\n')
        kind, begin, end, total = re.fullmatch(rb'\r\nContent-Type: (\S+)\r\nContent-Range: bytes (\d+)-(\d+)/(\d+)', head).groups()
        assert kind == b'application/octet-stream' and int(total) == size and int(end) - int(begin) + 1 == len(data)
        found.append((int(begin), data))
    return found


@pytest.mark.parametrize('value, found', [
    ('bytes=0-4', [(0, 5)]), ('bytes=5-', [(5, 100)]), ('bytes=-7', [(93, 100)]), ('bytes=-700', [(0, 100)]), ('bytes=99-', [(99, 100)]),
    ('bytes=0-999', [(0, 100)]), ('BYTES=0-0', [(0, 1)]), ('bytes= 0-0 , 90-90', [(0, 1), (90, 91)]), ('bytes=,0-0,,', [(0, 1)]),
    ('bytes=100-', []), ('bytes=100-200', []), ('bytes=-0', []), ('bytes=200-300,-0', []), ('bytes=200-, 3-4', [(3, 5)]),
    ('bytes=3-2', None), ('bytes=200-100', None), ('bytes=0-1,3-2', None), ('bytes=', None), ('bytes=-', None), ('bytes=a-b', None),
    ('bytes 0-1', None), ('lines=0-1', None), ('bytes=0x1-2', None), ('bytes=1-2-3', None), ('bytes=+1-2', None), ('bytes=1--2', None),
    ('bytes=1 - 2', None), ('bytes=0-1;2-3', None), ('bytes=²-', None), ('', None), ('bytes=0-' + '9' * 90, [(0, 100)]),
    ('bytes=0-' + '9' * 5000, None), ('bytes=' + ','.join(['0-0'] * 10), [(0, 1)]), ('bytes=' + ','.join(['0-0'] * 11), None)])
def test_what_a_field_asks_of_100_bytes(value, found):
    assert ranges.parse(value, 100) == found


@pytest.mark.parametrize('value, found', [
    ('bytes=0-9,500-509', [(0, 10), (500, 510)]), ('bytes=500-509,0-9', [(500, 510), (0, 10)]), ('bytes=0-9,10-19', [(0, 20)]),
    ('bytes=0-99,50-60', [(0, 100)]), ('bytes=900-,0-50,20-60', [(0, 61), (900, 1000)]), ('bytes=0-9,80-89', [(0, 90)])])
def test_ranges_that_overlap_or_nearly_touch_become_one_and_others_stay_in_order(value, found):
    assert ranges.parse(value, 1000) == found


def test_an_empty_document_has_no_parts():
    assert ranges.parse('bytes=0-', 0) is ranges.parse('bytes=-5', 0) is None


def test_one_range_is_206(site):
    async def main(client, server):
        for path, data in PATHS.items():
            size = len(data)
            for value, begin, end in (('0-4', 0, 5), ('10-', 10, size), ('-7', size - 7, size), (f'{size - 1}-{size + 9}', size - 1, size)):
                answer = await client.ask(asking(path, Range=f'bytes={value}'))
                assert answer.status == 206 and answer.body == data[begin:end]
                assert answer.fields['content-range'] == f'bytes {begin}-{end - 1}/{size}'
                assert answer.fields['content-type'] == 'application/octet-stream' and 'etag' in answer.fields
            assert (await client.ask(asking(path))).fields['accept-ranges'] == 'bytes'
    serve(main, {'documents': str(site)})


def test_several_ranges_are_multipart(site):
    async def main(client, server):
        for path, data in PATHS.items():
            answer = await client.ask(asking(path, Range='bytes=500-509, 0-4, -5, 200-209'))
            assert answer.status == 206 and 'content-range' not in answer.fields and 'etag' in answer.fields
            end = len(data) - 5
            assert parts(answer, len(data)) == [(500, data[500:510]), (0, data[:5]), (end, data[-5:]), (200, data[200:210])]
            assert (await client.ask(asking(path))).body == data
    serve(main, {'documents': str(site)})


def test_what_is_not_there_is_416_and_what_is_ignored_is_200(site):
    async def main(client, server):
        for path, data in PATHS.items():
            answer = await client.ask(asking(path, Range=f'bytes={len(data)}-'))
            assert answer.status == 416 and answer.fields['content-range'] == f'bytes */{len(data)}'
            for fields in ({'Range': 'bytes=5-2'}, {'Range': 'lines=0-1'}, {'Range': 'bytes=' + '0-0,' * 11},
                           {'Range': 'bytes=0-0', 'method': 'HEAD'}):
                answer = await client.ask(asking(path, **fields))
                assert answer.status == 200 and answer.fields['content-length'] == str(len(data))
        assert (await client.ask(asking('/empty.txt', Range='bytes=0-'))).status == 200
        assert (await client.ask(asking('/none', Range='bytes=0-'))).status == 404
    serve(main, {'documents': str(site)})


def test_if_range_and_the_other_conditions_come_first(site):
    async def main(client, server):
        for path in PATHS:
            plain = await client.ask(asking(path))
            etag, date = plain.fields['etag'], plain.fields['last-modified']
            for fields, status in (
                    ({'If_Range': etag}, 206), ({'If_Range': '"other"'}, 200), ({'If_Range': 'W/' + etag}, 200), ({'If_Range': date}, 206),
                    ({'If_Range': format_date(1e9 + 1)}, 200), ({'If_Range': format_date(1e9 - 1)}, 200), ({'If_Range': 'x'}, 200),
                    ({'If_None_Match': etag}, 304), ({'If_Match': '"x"'}, 412), ({'If_Match': etag}, 206),
                    ({'If_Unmodified_Since': format_date(1e9 - 1)}, 412), ({'If_Unmodified_Since': date}, 206),
                    ({'If_Modified_Since': date}, 304)):
                assert (await client.ask(asking(path, Range='bytes=0-4', **fields))).status == status, fields
    serve(main, {'documents': str(site)})


def test_the_date_of_a_document_that_has_just_changed_is_no_strong_validator(site):
    async def main(client, server):
        (site / 'new.txt').write_text('new')
        os.utime(site / 'new.txt', (time.time() + 5,) * 2)
        date = (await client.ask(asking('/new.txt'))).fields['last-modified']
        assert (await client.ask(asking('/new.txt', Range='bytes=0-0', If_Range=date))).status == 200
    serve(main, {'documents': str(site)})


def test_no_descriptor_stays_open(site):
    async def main(client, server):
        before = len(os.listdir('/proc/self/fd'))
        for fields in ({'Range': 'bytes=0-4,900-909'}, {'Range': 'bytes=999999-'}, {'Range': 'x'}, {'If_Match': '"x"'}) * 3:
            await client.ask(asking('/large.bin', **fields))
        assert len(os.listdir('/proc/self/fd')) == before
    serve(main, {'documents': str(site)})


def test_curl_asks_for_ranges_and_resumes(site, tmp_path):
    async def main(client, server):
        def curl(*options):
            done = subprocess.run(['curl', '-sS', '--fail', *options, f'http://127.0.0.1:{server.listeners[0].port}/large.bin'],
                                  capture_output=True, timeout=20)
            assert done.returncode == 0, done.stderr
            return done.stdout
        assert await runtime.to_thread(curl, '-r', '100-199') == LARGE[100:200]
        assert await runtime.to_thread(curl, '-r', '-50') == LARGE[-50:]
        (tmp_path / 'got').write_bytes(LARGE[:12345])
        await runtime.to_thread(curl, '-C', '-', '-o', str(tmp_path / 'got'))
        assert (tmp_path / 'got').read_bytes() == LARGE
    serve(main, {'documents': str(site)})


def test_wget_resumes(site, tmp_path):
    async def main(client, server):
        folder = tmp_path / 'wget'
        folder.mkdir()
        (folder / 'large.bin').write_bytes(LARGE[:54321])
        command = ['wget', '-q', '-c', '--no-proxy', f'http://127.0.0.1:{server.listeners[0].port}/large.bin']
        done = await runtime.to_thread(lambda: subprocess.run(command, cwd=folder, timeout=20))
        assert done.returncode == 0 and (folder / 'large.bin').read_bytes() == LARGE
    serve(main, {'documents': str(site)})


def test_ranges_over_tls(site, certs):
    from ioto.runtime.tls import server_context

    async def main(_client, server):
        listener = await runtime.listen('127.0.0.1:0', server._serve, tls=server_context(str(certs / 'server.crt'), str(certs / 'server.key')))
        context = ssl.create_default_context(cafile=str(certs / 'ca.crt'))
        async with await runtime.connect('localhost', listener.port, tls=context, server_name='localhost') as stream:
            client = Client(stream)
            answer = await client.ask(asking('/large.bin', Range='bytes=70000-299999'))
            assert answer.status == 206 and answer.body == LARGE[70000:300000]
            answer = await client.ask(asking('/large.bin', Range='bytes=0-99999,200000-'))
            assert parts(answer, len(LARGE)) == [(0, LARGE[:100000]), (200000, LARGE[200000:])]
        await listener.close()
    serve(main, {'documents': str(site)})
