"""PUT and DELETE of documents: atomic, conditional, inside the folder, and nothing left by what was cut."""

import errno
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from ioto import runtime
from ioto.http.dates import format_date
from ioto.web import draft as drafts
from tests.child import Child, write
from tests.web.support import connect, read_answer, serve
from tests.web.test_ranges import asking

ROUTES = [{'match': '/closed/', 'handler': 'file'}, {'match': '/only/', 'handler': 'file', 'methods': ['PUT']},
          {'handler': 'file', 'methods': ['GET', 'PUT', 'DELETE']}]


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / 'site'
    for name in ('sub', 'only', 'closed', '.git', '.well-known'):
        (folder / name).mkdir(parents=True)
    (folder / 'a.txt').write_text('first')
    (tmp_path / 'outside.txt').write_text('outside')
    (folder / 'out').symlink_to(tmp_path)
    (folder / 'out.txt').symlink_to(tmp_path / 'outside.txt')
    (folder / 'in.txt').symlink_to('a.txt')
    (folder / 'sub' / 'git').symlink_to('../.git')
    os.mkfifo(folder / 'fifo')
    return folder


def put(path, body=b'', **fields):
    lines = [f'PUT {path} HTTP/1.1', 'Host: x', f'Content-Length: {len(body)}',
             *(f'{name.replace("_", "-")}: {value}' for name, value in fields.items()), '', '']
    return '\r\n'.join(lines).encode() + body


def run(site, main, **config):
    """Run a test, after which the folder has no file that nobody named and no descriptor is open."""
    before = len(os.listdir('/proc/self/fd'))
    serve(main, {'documents': str(site), 'routes': ROUTES, **config})
    assert [name for _, _, names in os.walk(site) for name in names if name.startswith('.')] == []
    assert len(os.listdir('/proc/self/fd')) == before


@pytest.fixture(params=['unnamed', 'named'])
def drafting(request, monkeypatch):
    """Drafts with and without O_TMPFILE."""
    if request.param == 'named':
        opened = os.open

        def refuse(path, flags, *args, **options):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, 'as on some file systems')
            return opened(path, flags, *args, **options)
        monkeypatch.setattr(drafts.os, 'open', refuse)


def test_put_creates_and_replaces_and_delete_removes(site, drafting):
    async def main(client, server):
        for path, file in (('/new.txt', 'new.txt'), ('/sub/%C3%A4%20b.bin', 'sub/ä b.bin'), ('/.well-known/x', '.well-known/x')):
            created = await client.ask(put(path, b'one'))
            assert (created.status, created.body, (site / file).read_bytes()) == (201, b'', b'one')
            assert (await client.ask(asking(path))).fields['etag'] == created.fields['etag']
            replaced = await client.ask(put(path, b'two' * 100_000))
            assert replaced.status == 204 and replaced.fields['etag'] != created.fields['etag']
            assert (site / file).read_bytes() == b'two' * 100_000
            got = await client.ask(asking(path))            # the cache has the change at once
            assert got.body == b'two' * 100_000 and got.fields['etag'] == replaced.fields['etag']
            assert (await client.ask(put(path))).status == 204
            assert (await client.ask(asking(path))).body == b''
            assert (await client.ask(asking(path, 'DELETE'))).status == 204
            assert not (site / file).exists() and (await client.ask(asking(path))).status == 404
            assert (await client.ask(asking(path, 'DELETE'))).status == 404
    run(site, main)


def test_mode_is_the_umasks_or_that_of_the_old_version(site, drafting):
    async def main(client, server):
        await client.ask(put('/new.txt', b'x'))
        umask = os.umask(0)
        os.umask(umask)
        assert (site / 'new.txt').stat().st_mode & 0o777 == 0o666 & ~umask
        (site / 'a.txt').chmod(0o640)
        await client.ask(put('/a.txt', b'x'))
        assert (site / 'a.txt').stat().st_mode & 0o777 == 0o640
    run(site, main)


@pytest.mark.parametrize('method, path, status', [
    ('PUT', '/none/x', 409), ('PUT', '/sub', 409), ('PUT', '/a.txt/x', 409), ('PUT', '/', 405), ('PUT', '/sub/', 405), ('PUT', '/.git/x', 403),
    ('PUT', '/.hidden', 403), ('PUT', '/out/x', 403), ('PUT', '/out.txt', 403), ('PUT', '/in.txt', 403), ('PUT', '/sub/git/x', 403),
    ('PUT', '/fifo', 403), ('PUT', '/' + 'x' * 300, 414), ('PUT', '/..%2fx', 400), ('PUT', '/x%00', 400), ('PUT', '/closed/x', 405),
    ('PUT', '/sub/..%2f..%2fx', 400), ('DELETE', '/only/x', 405), ('GET', '/only/x', 405), ('DELETE', '/none', 404), ('DELETE', '/none/x', 404),
    ('DELETE', '/sub', 409), ('DELETE', '/', 405), ('DELETE', '/out.txt', 403), ('DELETE', '/in.txt', 403), ('DELETE', '/out/outside.txt', 403),
    ('DELETE', '/.hidden', 403), ('DELETE', '/fifo', 403), ('DELETE', '/a.txt/', 405)])
def test_what_cannot_be_written_is_refused(site, method, path, status):
    async def main(client, server):
        before = sorted(os.walk(site))
        request = put(path, b'x') if method == 'PUT' else asking(path, method)
        assert (await client.ask(request)).status == status
        assert sorted(os.walk(site)) == before
    run(site, main)
    assert (site.parent / 'outside.txt').read_text() == 'outside' and (site / 'a.txt').read_text() == 'first'


def test_a_part_or_a_coded_body_cannot_be_put(site):
    async def main(client, server):
        assert (await client.ask(put('/a.txt', b'x', Content_Range='bytes 0-0/5'))).status == 400
        assert (await client.ask('PUT /a.txt')).status == 411           # without a length, it would be emptied
        assert (await client.ask(put('/empty.txt'))).status == 201
        assert (await client.ask(put('/a.txt', b'x', Content_Encoding='gzip'))).status == 415
        assert (site / 'a.txt').read_text() == 'first'
    run(site, main)


def test_conditions_are_met_before_the_body_is_read(site):
    async def main(client, server):
        etag = (await client.ask(asking('/a.txt'))).fields['etag']
        past, future = format_date(1e9), format_date(time.time() + 9999)
        for path, fields in (('/a.txt', {'If_None_Match': '*'}), ('/a.txt', {'If_Match': '"x"'}), ('/new.txt', {'If_Match': '*'}),
                             ('/a.txt', {'If_Unmodified_Since': past}), ('/a.txt', {'If_None_Match': etag})):
            other = await connect(server)
            head = put(path, b'', **fields).replace(b'Content-Length: 0', b'Content-Length: 5\r\nExpect: 100-continue')
            assert (await other.ask(head)).status == 412, fields
            await other.stream.close()
            assert path == '/new.txt' or (await client.ask(asking(path, 'DELETE', **fields))).status == 412
        assert (site / 'a.txt').read_text() == 'first' and not (site / 'new.txt').exists()
        assert (await client.ask(put('/a.txt', b'x', If_Match=etag))).status == 204
        assert (await client.ask(put('/a.txt', b'y', If_Match=etag))).status == 412
        assert (await client.ask(put('/a.txt', b'z', If_Unmodified_Since=future))).status == 204
        assert (await client.ask(put('/new.txt', b'z', If_None_Match='*'))).status == 201
        assert (await client.ask(asking('/new.txt', 'DELETE', If_Match='*'))).status == 204
    run(site, main)


def test_of_two_writers_who_know_the_same_version_one_wins(site, drafting):
    async def main(client, server):
        for path, fields in (('/a.txt', {'If_Match': (await client.ask(asking('/a.txt'))).fields['etag']}), ('/new.txt', {'If_None_Match': '*'})):
            writers = [await connect(server) for _ in range(8)]
            bodies = [b'%d' % n * 1000 for n in range(8)]
            for writer, body in zip(writers, bodies):       # all pass the first look
                await writer.stream.write(put(path, body, **fields)[:-500])
            await runtime.sleep(0.1)
            for writer, body in zip(writers, bodies):
                await writer.stream.write(body[-500:])
            answers = [(await read_answer(writer.stream)).status for writer in writers]
            assert sorted(answers) == [201 if path == '/new.txt' else 204] + [412] * 7
            assert (site / path[1:]).read_bytes() == next(body for body, status in zip(bodies, answers) if status < 300)
            for writer in writers:
                await writer.stream.close()
    run(site, main)


def test_a_sibling_compressed_while_the_disk_was_slow_is_not_served_for_the_new_version(site, monkeypatch):
    forced = os.fsync

    def slow(descriptor):
        if os.fstat(descriptor).st_size == len('second'):
            time.sleep(0.3)
        forced(descriptor)

    async def main(client, server):
        monkeypatch.setattr(drafts.os, 'fsync', slow)
        await client.stream.write(put('/a.txt', b'second'))
        await runtime.sleep(0.1)
        other = await connect(server)
        assert (await other.ask(put('/a.txt.gz', b'first, compressed'))).status == 201
        assert (await other.ask(asking('/a.txt', Accept_Encoding='gzip'))).body == b'first, compressed'
        assert (await read_answer(client.stream)).status == 204
        assert (await other.ask(asking('/a.txt', Accept_Encoding='gzip'))).body == b'second'
        await other.stream.close()
    run(site, main)


def test_a_cut_at_any_byte_leaves_the_old_version(site, drafting):
    request = put('/a.txt', b'second')

    async def main(client, server):
        for end in range(len(request)):
            other = await connect(server)
            await other.stream.write(request[:end])
            await other.stream.close()
        while len(server.connections) > 1:
            await runtime.sleep(0.01)
        assert (site / 'a.txt').read_text() == 'first'
        assert (await client.ask(request)).status == 204
    run(site, main)


def test_bodies_over_the_limit_are_413_and_a_full_disk_is_507(site, drafting, monkeypatch):
    async def main(client, server):
        for request in (put('/a.txt', b'x' * 1001), asking('/a.txt', 'PUT', Transfer_Encoding='chunked') + b'3E9\r\n' + b'x' * 1001 + b'\r\n'):
            other = await connect(server)
            assert (await other.ask(request)).status == 413
            await other.stream.close()

        written = os.write

        def full(descriptor, data):
            if len(data) < 1000:
                return written(descriptor, data)
            raise OSError(errno.ENOSPC, 'No space left on device')
        with monkeypatch.context() as patched:
            patched.setattr(drafts.os, 'write', full)
            answer = await client.ask(put('/a.txt', b'x' * 1000))
            assert answer.status == 507 and b'No space left' in answer.body
        assert (site / 'a.txt').read_text() == 'first'
        assert (await client.ask(put('/a.txt', b'x' * 1000))).status == 204
    run(site, main, limits={'body': 1000})


def test_a_long_upload_that_goes_on_outlives_the_time_of_a_request(site):
    async def main(client, server):
        request = put('/a.txt', b'second')
        for n in range(6):
            await client.stream.write(request[-6 + n:len(request) - 5 + n] if n else request[:-5])
            await runtime.sleep(0.15)
        assert (await read_answer(client.stream)).status == 204
        await client.stream.write(request[:-3])
        assert (await read_answer(client.stream)).status == 408
        assert (site / 'a.txt').read_text() == 'second'
    run(site, main, timeouts={'request': '400 msecs', 'inactivity': '500 msecs'})


def test_curl_puts_and_deletes(site, tmp_path):
    (tmp_path / 'local').write_bytes(os.urandom(3_000_000))

    async def main(client, server):
        def curl(*options):
            command = ['curl', '-sS', '-w', '%{http_code}', *options, f'http://127.0.0.1:{server.listeners[0].port}/sub/file']
            return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20).stdout
        for options, status in (((), b'201'), (('-H', 'Transfer-Encoding: chunked'), b'204'), (('-H', 'If-None-Match: *'), b'412')):
            assert (await runtime.to_thread(curl, '-T', str(tmp_path / 'local'), *options))[-3:] == status
            assert (site / 'sub' / 'file').read_bytes() == (tmp_path / 'local').read_bytes()
        assert await runtime.to_thread(curl, '-X', 'DELETE') == b'204'
    run(site, main)


def test_a_kill_during_a_put_leaves_the_old_version_and_nothing_else(tmp_path):
    folder = tmp_path / 'site'
    write(tmp_path, 'config/ioto.json5', "{services: {web: true}, web: {listen: ['http://127.0.0.1:0'], documents: 'site', "
          "routes: [{handler: 'file', methods: ['GET', 'PUT']}]}}")
    write(tmp_path, 'site/a.txt', 'first')
    body = b'second' * 200_000
    for n in range(20):
        with Child(tmp_path / 'config') as child, socket.create_connection(('127.0.0.1', child.port), 10) as sock:
            sock.sendall(put('/a.txt', body)[:60_000 * (n + 1) + 100 * (n == 19)])
            if n % 2:
                time.sleep(0.01 * n)
            child.send(signal.SIGKILL)
        assert (folder / 'a.txt').read_bytes() in (b'first', body)
        if n < 19:
            assert (folder / 'a.txt').read_bytes() == b'first'
    left = [name for name in os.listdir(folder) if name != 'a.txt']
    assert left == [] or re.fullmatch(r'\.upload-\S+', *left)       # between two system calls
    name = f'.upload-{os.getpid()}-{drafts.started("self")}-ab'
    for stale in ('.upload-999999999-1-ab', f'.upload-{os.getpid()}-1-ab', name, '.upload-x'):
        (folder / stale).write_text('')
    with Child(tmp_path / 'config') as child, socket.create_connection(('127.0.0.1', child.port), 10) as sock:
        sock.sendall(put('/a.txt', body))
        assert b' 204 ' in sock.recv(1000)
    assert sorted(os.listdir(folder)) == sorted(['.upload-x', name, 'a.txt'])         # a living process's stays
