"""Downloads: whole or not there, whatever happens on the way."""

import hashlib
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time

import pytest

from ioto import runtime
from ioto.url import ConnectError, ProtocolError, StatusError, TimeoutError, TooLarge, UrlError
from ioto.url import downloads as module
from ioto.web import Server
from tests.child import PATIENCE, TREE
from tests.url import peer
from tests.url.support import Script, read_request, serve

DATA = random.Random(5).randbytes(400_000)
SHA = hashlib.sha256(DATA).hexdigest()
ETAG = ('ETag: "one"',)
OLD = ('Date: Sun, 06 Nov 1994 08:49:38 GMT', 'Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT')


class Source:
    """A server of `data` with ranges, that closes each connection after as many bytes of body as `cuts` has next."""

    def __init__(self, data=DATA, cuts=(), fields=ETAG, ranges=True, length=True, status=200, wait=0):
        self.data, self.cuts, self.fields = data, list(cuts), list(fields)
        self.ranges, self.length, self.status, self.wait = ranges, length, status, wait
        self.asked = []
        self.lies = False
        self.change = None                      # called before each answer

    async def __call__(self, stream):
        try:
            while asked := await read_request(stream):
                self.asked.append(asked)
                if self.change:
                    self.change(self)
                head, body = self.answer(asked)
                cut = self.cuts.pop(0) if self.cuts else None
                await stream.write('\r\n'.join([*head, '', '']).encode())
                for at in range(0, len(body[:cut]), 50_000):
                    await stream.write(body[:cut][at:at + 50_000])
                    await runtime.sleep(self.wait)
                if cut is not None and cut < len(body) or not self.length:
                    return
        except OSError:
            pass

    def answer(self, asked):
        size = len(self.data)
        begin = re.match('bytes=([0-9]+)-$', asked.fields.get('range', ''))
        version = asked.fields.get('if-range')
        if begin and self.lies:
            return ['HTTP/1.1 206 X', 'Content-Range: bytes 0-2/3', 'Content-Length: 3'], b'abc'
        if begin and self.ranges and any(field.endswith(f': {version}') for field in self.fields):
            begin = int(begin[1])
            if begin >= size:
                return ['HTTP/1.1 416 X', f'Content-Range: bytes */{size}', 'Content-Length: 0', *self.fields], b''
            return ['HTTP/1.1 206 X', f'Content-Range: bytes {begin}-{size - 1}/{size}', f'Content-Length: {size - begin}',
                    *self.fields], self.data[begin:]
        length = [f'Content-Length: {size}'] if self.length else ['Connection: close']
        return [f'HTTP/1.1 {self.status} X', *length, *self.fields], self.data


def get(tmp_path, handler, **options):
    """What `download` to a file named `got` returns or raises; nothing but that file and its part may be there."""
    path = tmp_path / 'got'

    async def main(client, base):
        try:
            return await client.download(base + '/x', path, **options)
        except (UrlError, OSError) as error:
            return error
    result = serve(main, handler)
    assert set(os.listdir(tmp_path)) <= {'got', 'got.part', 'got.part.json'}
    if isinstance(result, Exception):
        assert not path.exists()
    return result


def names(tmp_path):
    return sorted(os.listdir(tmp_path))


def ranges(source):
    return [asked.fields.get('range') for asked in source.asked]


@pytest.mark.parametrize('fields', [ETAG, OLD, ()])
@pytest.mark.parametrize('size', [0, 1, len(DATA)])
def test_a_file(tmp_path, fields, size):
    seen = []
    source = Source(DATA[:size], fields=fields)
    assert get(tmp_path, source, progress=lambda *now: seen.append(now)) == size
    assert (tmp_path / 'got').read_bytes() == DATA[:size] and names(tmp_path) == ['got']
    assert not size or seen[-1] == (size, size) and seen == sorted(seen)
    assert 'accept-encoding' not in source.asked[0].fields


def test_cut_at_fifty_random_places_it_ends_with_the_same_bytes(tmp_path):
    seed = random.randrange(1 << 32)
    print('seed', seed)
    places = sorted(random.Random(seed).sample(range(1, len(DATA)), 50))
    cuts = [end - begin for begin, end in zip([0] + places, places)]
    source = Source(cuts=cuts)
    assert get(tmp_path, source, checksum=SHA) == len(DATA)
    assert (tmp_path / 'got').read_bytes() == DATA and names(tmp_path) == ['got']
    assert ranges(source) == [None] + [f'bytes={place}-' for place in places]


def test_resumed_by_last_modified_where_there_is_no_etag(tmp_path):
    source = Source(cuts=[1000], fields=OLD)
    assert get(tmp_path, source) == len(DATA) and ranges(source) == [None, 'bytes=1000-']
    assert source.asked[1].fields['if-range'] == 'Sun, 06 Nov 1994 08:49:37 GMT'


@pytest.mark.parametrize('source', [
    Source(cuts=[1000], ranges=False),
    Source(cuts=[1000], fields=()),
    Source(cuts=[1000], fields=('ETag: W/"one"', *OLD)),
    Source(cuts=[1000], fields=(OLD[1], OLD[1].replace('Last-Modified', 'Date'))),
], ids=['no ranges', 'no validator', 'weak ETag', 'weak date'])
def test_begun_anew_where_it_cannot_be_resumed(tmp_path, source):
    assert get(tmp_path, source, checksum=SHA) == len(DATA) and len(source.asked) == 2


def test_begun_anew_when_the_version_changed(tmp_path):
    def change(source):
        if len(source.asked) == 2:
            source.data, source.fields = DATA[::-1], ['ETag: "two"']
    source = Source(cuts=[1000, 2000])
    source.change = change
    assert get(tmp_path, source) == len(DATA) and (tmp_path / 'got').read_bytes() == DATA[::-1]
    assert ranges(source) == [None, 'bytes=1000-', 'bytes=2000-']


@pytest.mark.parametrize('bad', [
    'Content-Range: bytes 999-399999/400000', 'Content-Range: bytes 1000-399999/400001', 'Content-Range: bytes 1000-1/400000',
    'Content-Range: bytes 1000-400000/400000', 'Content-Range: bytes 1000-399998/400000', 'Content-Range: lines 1-2/3', 'X: y',
    'Content-Range: bytes 1000-399999/400000\r\nETag: "two"',
])
def test_a_part_that_was_not_asked_for_is_not_taken(tmp_path, bad):
    class Lying(Source):
        def answer(self, asked):
            if 'range' in asked.fields:
                return ['HTTP/1.1 206 X', f'Content-Length: {len(DATA) - 1000}', bad], b'?' * (len(DATA) - 1000)
            return super().answer(asked)
    source = Lying(cuts=[1000])
    assert get(tmp_path, source) == len(DATA) and (tmp_path / 'got').read_bytes() == DATA
    assert ranges(source) == [None, 'bytes=1000-', None]


def test_a_part_of_another_date_is_not_taken_from_a_server_that_knows_no_if_range(tmp_path):
    class Careless(Source):
        def answer(self, asked):
            if 'range' in asked.fields:
                asked.fields['if-range'] = self.fields[0].partition(': ')[2]
            return super().answer(asked)

    def change(source):
        if len(source.asked) == 2:
            source.data, source.fields = DATA[::-1], ['Last-Modified: Sun, 06 Nov 1994 09:00:00 GMT', OLD[1]]
    source = Careless(cuts=[1000], fields=OLD)
    source.change = change
    assert get(tmp_path, source) == len(DATA) and (tmp_path / 'got').read_bytes() == DATA[::-1]
    assert ranges(source) == [None, 'bytes=1000-', None]


def test_what_is_left_of_another_query_is_not_taken(tmp_path):
    async def main(client, base):
        with pytest.raises(UrlError):
            await client.download(base + '/x', tmp_path / 'got', retries=0, query={'secret': 1})
        assert 'secret' not in (tmp_path / 'got.part.json').read_text()
        await client.download(base + '/x?secret=2', tmp_path / 'got')
    source = Source(cuts=[1000, 0])
    serve(main, source)
    assert ranges(source) == [None, 'bytes=1000-', None]


@pytest.mark.parametrize('status, fields, passes', [
    (503, ['Retry-After: 1'], True), (502, [], True), (429, ['Retry-After: soon'], True), (503, ['Retry-After: 3600'], False),
    (404, ['Retry-After: 1'], False)])
def test_a_status_that_passes_is_no_end_once_something_came(tmp_path, status, fields, passes):
    class Busy(Source):
        def answer(self, asked):
            if len(self.asked) != 2:
                return super().answer(asked)
            self.refused = time.monotonic()
            return [f'HTTP/1.1 {status} X', 'Content-Length: 0', *fields], b''
    source = Busy(cuts=[1000])
    found = get(tmp_path, source, retries=1)
    assert found == len(DATA) if passes else found.status == status
    assert ranges(source) == [None] + ['bytes=1000-'] * (1 + passes)
    assert time.monotonic() - source.refused >= ('Retry-After: 1' in fields) * passes


def test_a_part_that_nobody_asked_for_is_an_error(tmp_path):
    class Lying(Source):
        def answer(self, asked):
            return ['HTTP/1.1 206 X', 'Content-Length: 3', 'Content-Range: bytes 0-2/3'], b'abc'
    assert isinstance(get(tmp_path, Lying()), ProtocolError) and names(tmp_path) == []


def test_ranges_shorter_than_asked_for_and_of_unknown_total(tmp_path):
    class Short(Source):
        def answer(self, asked):
            begin = int(asked.fields.get('range', 'bytes=0-')[6:-1])
            if 'range' not in asked.fields:
                return ['HTTP/1.1 200 X', 'Transfer-Encoding: chunked', *ETAG], b'3e8\r\n' + DATA[:1000] + b'\r\n'
            if begin == 3000:
                return ['HTTP/1.1 416 X', 'Content-Range: bytes */3000', 'Content-Length: 0'], b''
            return ['HTTP/1.1 206 X', f'Content-Range: bytes {begin}-{begin + 999}/*', 'Content-Length: 1000', *ETAG], \
                DATA[begin:begin + 1000]
    source = Short(cuts=[1006])
    assert get(tmp_path, source) == 3000 and (tmp_path / 'got').read_bytes() == DATA[:3000]


def test_the_next_call_goes_on_where_the_last_gave_up(tmp_path):
    source = Source(cuts=[100_000] + [0] * 3)
    assert isinstance(get(tmp_path, source, retries=2), UrlError)
    assert names(tmp_path) == ['got.part', 'got.part.json'] and len(source.asked) == 4
    assert os.path.getsize(tmp_path / 'got.part') == 100_000
    found = json.loads((tmp_path / 'got.part.json').read_text())
    assert found['validator'] == '"one"' and found['total'] == len(DATA)


def again(tmp_path, first, second, **options):
    """Two calls at one server: the first is cut for good; the result of the second."""
    path = tmp_path / 'got'
    source = Source(cuts=[100_000, 0])

    async def main(client, base):
        with pytest.raises(UrlError):
            await client.download(base + '/x', path, retries=0, **first)
        between = names(tmp_path)
        if second:
            second(source, tmp_path)
        source.asked.clear()
        source.cuts.clear()
        await client.download(base + '/x', path, **options)
        assert path.read_bytes() == source.data and names(tmp_path) == ['got']
        return between, ranges(source)
    return serve(main, source)


def note(**changes):
    def change(_source, tmp_path):
        found = json.loads((tmp_path / 'got.part.json').read_text())
        (tmp_path / 'got.part.json').write_text(json.dumps(found | changes))
    return change


def changed(source, _tmp_path):
    source.data, source.fields = DATA[::-1], ['ETag: "two"']


BOTH = ['got.part', 'got.part.json']


@pytest.mark.parametrize('first, second, options, between, asked', [
    ({}, None, {}, BOTH, ['bytes=100000-']),
    ({}, changed, {}, BOTH, ['bytes=100000-']),
    ({}, None, {'resume': False}, BOTH, [None]),
    ({'resume': False}, None, {}, [], [None]),
    ({}, note(url='http://other/'), {}, BOTH, [None]),
    ({}, note(total=99_999), {}, BOTH, [None]),
    ({}, note(boot='another'), {}, BOTH, [None]),
    ({}, note(boot='another'), {'checksum': SHA}, BOTH, ['bytes=100000-']),
    ({}, lambda _, folder: (folder / 'got.part.json').write_text('{"url'), {}, BOTH, [None]),
    ({}, lambda _, folder: (folder / 'got.part.json').unlink(), {}, BOTH, [None]),
    ({}, lambda source, _: setattr(source, 'lies', True), {}, BOTH, ['bytes=100000-', None]),
    ({}, lambda _, folder: (folder / 'got.part').write_bytes(DATA), {}, BOTH, ['bytes=400000-']),
    ({}, lambda _, folder: (folder / 'got.part').write_bytes(b'?' * 9), {'checksum': SHA}, BOTH, ['bytes=9-', None]),
])
def test_what_an_earlier_call_left(tmp_path, first, second, options, between, asked):
    assert again(tmp_path, first, second, **options) == (between, asked)


@pytest.mark.parametrize('checksum', [SHA, SHA.upper(), f'sha256:{SHA}', f'md5:{hashlib.md5(DATA).hexdigest()}',
                                      f'SHA512:{hashlib.sha512(DATA).hexdigest()}'])
def test_a_checksum_that_is_right(tmp_path, checksum):
    assert get(tmp_path, Source(), checksum=checksum) == len(DATA)


def test_a_checksum_that_is_wrong_leaves_nothing(tmp_path):
    error = get(tmp_path, Source(), checksum='0' * 64)
    assert isinstance(error, ProtocolError) and 'checksum' in str(error) and names(tmp_path) == []


@pytest.mark.parametrize('checksum', ['abc', 'sha256:', 'sha999:00', SHA + '0', 'z' * 64, 'shake_128:'])
def test_a_checksum_that_is_none_is_refused_before_anything_is_sent(tmp_path, checksum):
    source = Source()
    assert 'expected a checksum' in str(get(tmp_path, source, checksum=checksum)) and not source.asked


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    (tmp_path / 'got').write_text('old')

    async def main(client, base):
        with pytest.raises(UrlError):
            await client.download(base + '/x', tmp_path / 'got', retries=0)
        assert (tmp_path / 'got').read_text() == 'old'
        await client.download(base + '/x', tmp_path / 'got')
        assert (tmp_path / 'got').read_bytes() == DATA
    serve(main, Source(cuts=[10, 0]))


def test_the_file_behind_a_link_is_replaced_and_keeps_its_rights(tmp_path):
    (tmp_path / 'far').mkdir()
    (tmp_path / 'far/file').write_bytes(b'old')
    (tmp_path / 'far/file').chmod(0o620)
    (tmp_path / 'link').symlink_to('far/file')
    rights = []
    source = Source(cuts=[100_000])
    source.change = lambda _source: rights.append((tmp_path / 'far/file.part').stat().st_mode & 0o777)
    serve(lambda client, base: client.download(base, tmp_path / 'link'), source)
    assert (tmp_path / 'link').is_symlink() and (tmp_path / 'far/file').read_bytes() == DATA
    assert (tmp_path / 'far/file').stat().st_mode & 0o777 == 0o620 and rights == [0o620] * 2
    assert sorted(os.listdir(tmp_path)) == ['far', 'link'] and os.listdir(tmp_path / 'far') == ['file']


@pytest.mark.parametrize('source, options, kind', [
    (Source(status=404), {}, StatusError),
    (Source(status=304), {}, StatusError),
    (Source(), {'limit': len(DATA) - 1}, TooLarge),
    (Source(length=False), {'limit': len(DATA) - 1}, TooLarge),
    (Source(wait=.2), {'timeout': .3}, TimeoutError),
    (Source(wait=.2, fields=()), {'timeout': {'idle': .1}, 'retries': 0}, TimeoutError),
    (Script(lambda asked: b'nonsense\r\n\r\n'), {}, ProtocolError),
    (Script(lambda asked: None), {}, ProtocolError),
    (Source(cuts=[1000] + [0] * 99, fields=()), {'retries': 2}, ProtocolError),
])
def test_errors_are_of_their_kind_and_leave_no_file(tmp_path, source, options, kind):
    error = get(tmp_path, source, **{'resume': False, **options})
    assert type(error) is kind and names(tmp_path) == []


def test_requests_are_bounded_also_where_each_brings_something(tmp_path):
    source = Source(cuts=[1] * 200)
    assert isinstance(get(tmp_path, source, resume=False), ProtocolError) and len(source.asked) == module.TRIES


def test_no_connection_is_told_at_once(tmp_path):
    async def main(client, _base):
        with pytest.raises(ConnectError):
            await client.download('http://127.0.0.1:1/', tmp_path / 'got')
    serve(main, Source())
    assert names(tmp_path) == []


def test_what_cannot_be_written_is_an_os_error(tmp_path):
    async def main(client, base):
        for path, kind in ((tmp_path, IsADirectoryError), (tmp_path / 'none' / 'got', FileNotFoundError)):
            with pytest.raises(kind):
                await client.download(base + '/x', path)
        (tmp_path / 'to').symlink_to(tmp_path / 'victim')
        (tmp_path / 'to').rename(tmp_path / 'got.part')
        with pytest.raises(OSError):
            await client.download(base + '/x', tmp_path / 'got')
    serve(main, Source())
    assert names(tmp_path) == ['got.part']


def test_a_full_disk_keeps_what_came(tmp_path):
    async def main(client, base):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
        try:
            with pytest.raises(OSError, match='large'):
                await client.download(base + '/x', tmp_path / 'got')
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert names(tmp_path) == BOTH and os.path.getsize(tmp_path / 'got.part') == 150_000
        await client.download(base + '/x', tmp_path / 'got', checksum=SHA)
    source = Source()
    serve(main, source)
    assert ranges(source) == [None, 'bytes=150000-'] and names(tmp_path) == ['got']


def test_one_download_at_a_time_for_a_file(tmp_path):
    async def main(client, base):
        first = runtime.spawn(client.download(base + '/x', tmp_path / 'got'))
        while not (tmp_path / 'got.part').exists() or not source.asked:
            await runtime.sleep(.01)
        with pytest.raises(BlockingIOError, match='in use'):
            await client.download(base + '/x', tmp_path / 'got')
        await first.join()
    source = Source(wait=.05)
    serve(main, source)
    assert (tmp_path / 'got').read_bytes() == DATA and names(tmp_path) == ['got']


def test_cancelled_it_gives_all_back_and_can_go_on(tmp_path):
    async def main(client, base):
        for size in (60_000, 160_000):
            def progress(now, _total):
                if now > size:
                    fiber.cancel()
            fiber = runtime.spawn(client.download(base + '/x', tmp_path / 'got', progress=progress))
            assert await fiber.join() is None
            assert os.path.getsize(tmp_path / 'got.part') > size
        await client.download(base + '/x', tmp_path / 'got', checksum=SHA)
        assert len([found for found in ranges(source) if found]) == 2
    source = Source(wait=.02)
    before = len(os.listdir('/proc/self/fd'))
    serve(main, source)
    assert names(tmp_path) == ['got'] and len(os.listdir('/proc/self/fd')) <= before + 2


KILLED = '''
import sys
from ioto import runtime, url
runtime.run(lambda: url.download(sys.argv[1], sys.argv[2]))
'''


def test_killed_in_the_middle_the_next_call_goes_on(tmp_path):
    async def main(client, base):
        child = subprocess.Popen([sys.executable, '-c', KILLED, base + '/x', tmp_path / 'got'], cwd=TREE)
        limit = time.monotonic() + PATIENCE
        while not (tmp_path / 'got.part').exists() or not os.path.getsize(tmp_path / 'got.part'):
            assert time.monotonic() < limit and child.poll() is None
            await runtime.sleep(.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not (tmp_path / 'got').exists()
        await client.download(base + '/x', tmp_path / 'got', checksum=SHA)
        assert 0 < int(ranges(source)[1][6:-1]) < len(DATA) and names(tmp_path) == ['got']
    source = Source(wait=.1)
    serve(main, source)


@pytest.mark.parametrize('kind', ['nginx', 'ours'])
def test_servers_that_are_real(tmp_path, kind):
    site, path = tmp_path / 'site', tmp_path / 'got'
    site.mkdir()
    (site / 'data').write_bytes(DATA)
    os.utime(site / 'data', (1e9, 1e9))

    async def fetch(port):
        from ioto.url import Client
        async with Client(proxy=False) as client:
            target = f'http://127.0.0.1:{port}/data'
            for size in (1000, len(DATA)):
                async with client.fetch('HEAD', target) as up:
                    etag = up.headers['etag']
                path.with_name('got.part').write_bytes(DATA[:size])
                found = {'url': target, 'validator': etag, 'total': None, 'boot': module._boot()}
                path.with_name('got.part.json').write_text(json.dumps(found))
                seen = []
                assert await client.download(target, path, checksum=SHA, progress=lambda *now: seen.append(now)) == len(DATA)
                assert not seen or seen[0][0] > size == 1000
            os.utime(site / 'data', (2e8, 2e8))
            path.with_name('got.part').write_bytes(DATA[:1000])
            path.with_name('got.part.json').write_text(json.dumps(found))
            assert await client.download(target, path) == len(DATA) and path.read_bytes() == DATA
    if kind == 'nginx':
        with peer.nginx(str(site)) as port:
            runtime.run(fetch, port)
    else:
        async def main():
            server = Server({'listen': ['http://127.0.0.1:0'], 'documents': str(site)})
            await server.start()
            await fetch(server.listeners[0].port)
            await server.stop(1)
        runtime.run(main)
    assert not [name for name in names(tmp_path) if 'part' in name]


MEMORY = '''
import re, sys
from ioto import runtime, url
def peak():
    with open('/proc/self/status') as file:
        return int(re.search('VmHWM:[^0-9]*([0-9]+)', file.read())[1])
async def main():
    await url.download(sys.argv[1] + '/small', sys.argv[2], checksum='sha256:' + sys.argv[3])
    before = peak()
    await url.download(sys.argv[1] + '/large', sys.argv[2])
    print(peak() - before)
runtime.run(main)
'''


def test_a_large_file_takes_little_memory(tmp_path):
    (tmp_path / 'small').write_bytes(DATA)
    with open(tmp_path / 'large', 'wb') as file:
        file.truncate(300 << 20)
    with peer.nginx(str(tmp_path)) as port:
        done = subprocess.run([sys.executable, '-c', MEMORY, f'http://127.0.0.1:{port}', tmp_path / 'got', SHA], cwd=TREE,
                              capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    print(done.stdout, 'KB')
    assert (tmp_path / 'got').stat().st_size == 300 << 20 and int(done.stdout) < 2048
