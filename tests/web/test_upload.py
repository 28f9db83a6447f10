"""Uploads: what an action gets of a multipart form, its limits, and that nothing is left behind."""

import errno
import os
import signal
import socket
import subprocess
import time

import pytest

from ioto import runtime
from ioto.web import Server, WebError
from ioto.web import draft as drafts
from ioto.web.upload import safe_name
from tests import webdriver
from tests.child import Child, write
from tests.http.test_multipart import BAD_PARTS, CLOSE, KIND, part
from tests.web.support import connect, read_answer, serve
from tests.web.test_load import forget_peak, resident


def file(field, name, content=b'content', kind='text/plain'):
    return part(f'form-data; name="{field}"; filename="{name}"', content, f'Content-Type: {kind}')


def post(*parts, path='/up', kind=KIND, close=CLOSE, **fields):
    body = b''.join(parts) + close
    lines = [f'POST {path} HTTP/1.1', 'Host: x', f'Content-Type: {kind}', f'Content-Length: {len(body)}',
             *(f'{name.replace("_", "-")}: {value}' for name, value in fields.items()), '', '']
    return '\r\n'.join(lines).encode() + body


async def tell(web):
    """What the form has, as JSON."""
    found = await web.form()
    files = {}
    for field in web.files:
        for one in web.files.all(field):
            with open(one.filename, 'rb') as content:
                files.setdefault(field, []).append([one.client_filename, one.content_type, one.size, content.read().decode()])
        assert web.files[field] is web.files.all(field)[-1]
    return {'form': found, 'vars': web.vars, 'files': files}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'uploads'


def run(folder, main, action=tell, left=0, **config):
    """Run a test of one action, after which so many files are left and all descriptors closed."""
    before = len(os.listdir('/proc/self/fd'))
    upload = {'dir': str(folder), **config.pop('upload', {})}
    result = serve(main, {'upload': upload, **config}, {'/up': action})
    assert len(os.listdir(folder)) == left
    assert len(os.listdir('/proc/self/fd')) == before
    return result


def test_variables_and_files_of_a_form(folder):
    async def main(client, server):
        for _ in range(2):
            answer = await client.ask(post(
                part('form-data; name="a"', b'1'), file('f', 'x.txt', b'one'), part('form-data; name="a"', 'ä'.encode()), file('g', '', b''),
                file('f', 'y.txt', b'', 'text/x'), file('h', '', b'unnamed'), part('form-data; name=""'), path='/up?q=0'))
            assert answer.status == 200
            assert eval(answer.body) == {
                'form': {'a': 'ä', '': ''}, 'vars': {'q': '0', 'a': 'ä', '': ''},
                'files': {'f': [['x.txt', 'text/plain', 3, 'one'], ['y.txt', 'text/x', 0, '']], 'h': [['file', 'text/plain', 7, 'unnamed']]}}
            assert os.listdir(folder) == []             # before the answer was sent
    run(folder, main)


def test_a_chunked_form_and_a_second_call(folder):
    async def twice(web):
        assert await web.form() is await web.form()
        return (await tell(web))['files']

    async def main(client, server):
        body = file('f', 'x', b'y' * 100_000) + CLOSE
        chunks = b''.join(b'%x\r\n%b\r\n' % (len(body[at:at + 7000]), body[at:at + 7000]) for at in range(0, len(body), 7000))
        answer = await client.ask(b'POST /up HTTP/1.1\r\nHost: x\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n'
                                  % (KIND.encode(), chunks))
        assert eval(answer.body)['f'][0][2] == 100_000
    run(folder, main, twice)


@pytest.mark.parametrize('name, safe', [
    ('a.txt', 'a.txt'), ('日本 1.txt', '日本 1.txt'), ('../../etc/passwd', 'passwd'), ('C:\\dir\\a.txt', 'a.txt'), ('/etc/', 'file'),
    ('.htaccess', 'htaccess'), ('...', 'file'), ('..', 'file'), ('', 'file'), ('a\0b\r\nc\x7f\u202e.exe', 'abc.exe'), (' . x', 'x'),
    ('x' * 5000 + '.txt', 'x' * 196 + '.txt'), ('ä' * 200, 'ä' * 100), ('é' + 'x' * 199, 'x' * 199), ('.' * 300 + 'x', 'x')])
def test_names_of_clients_are_made_safe(name, safe):
    assert safe_name(name) == safe


def test_a_file_may_be_saved_also_on_another_file_system(folder, tmp_path):
    other = f'/dev/shm/ioto-test-{os.getpid()}'
    places = [str(tmp_path / 'kept'), other]

    async def keep(web):
        await web.form()
        for one, place in zip(web.files.all('f'), places):
            await one.save(place)
            assert one.filename == place
        with pytest.raises(OSError):
            await web.files['g'].save(str(tmp_path / 'none' / 'x'))

    async def main(client, server):
        (tmp_path / 'kept').write_text('old')
        assert (await client.ask(post(file('f', 'a', b'A' * 700_000), file('f', 'b', b'B' * 1_200_000), file('g', 'c')))).status == 204
    try:
        run(folder, main, keep)
        assert (tmp_path / 'kept').read_bytes() == b'A' * 700_000
        with open(other, 'rb') as file_there:
            assert file_there.read() == b'B' * 1_200_000
        assert not [name for name in os.listdir('/dev/shm') if name.startswith(f'.upload-{os.getpid()}')]
    finally:
        os.unlink(other)


def test_files_stay_where_remove_is_false_unless_the_answer_is_an_error(folder):
    names = []

    async def maybe(web):
        await web.form()
        names.append(web.files['f'].filename)
        assert not os.path.basename(names[-1]).startswith('.')
        if 'error' in web.vars:
            return await web.error(400)
        if 'fail' in web.vars:
            raise ValueError('meant to')
        return 'kept'

    async def main(client, server):
        for path, status in (('/up', 200), ('/up?error', 400), ('/up?fail', 500), ('/up', 200)):
            assert (await client.ask(post(file('f', 'a', b'x' * 99), path=path))).status == status
        assert sorted(os.listdir(folder)) == sorted(os.path.basename(names[n]) for n in (0, 3))
    run(folder, main, maybe, left=2, upload={'remove': False})


@pytest.mark.parametrize('parts, said', [
    ([file('f', 'x', b'y' * 1001)], '1000 bytes in a file'), ([file('f', 'x')] * 4, '3 files'), ([file('f', '', b'')] + [file('f', 'x')] * 3, None),
    ([part('form-data; name="a"', b'y' * 500)], 'variables'), ([part(f'form-data; name="{"n" * 501}"')], 'variables'),
    ([part('form-data; name="a"', b'y' * 200)] * 3, 'variables'), ([part('form-data; name=""')] * 1001, '1000 variables'),
    ([part('form-data; name="a"', b'y' * 490)], None), ([file('f', 'x', b'y' * 1000)] * 3, None),
    ([part('form-data; name="a"')] * 10_000, 'variables'), ([file('f', 'x', b'')] * 10_000, 'files'), ([file('f', '', b'')] * 10_000, '1000 variables')])
def test_limits_are_413(folder, parts, said):
    async def main(client, server):
        answer = await client.ask(post(*parts))
        assert answer.status == (413 if said else 200)
        assert not said or said in answer.body.decode() and answer.fields['connection'] == 'close'
        assert os.listdir(folder) == []
    run(folder, main, routes=[{'match': '/up', 'limits': {'upload': 1000, 'files': 3, 'form': 500}}])


def test_a_body_over_the_limit_of_all_is_413(folder):
    async def main(client, server):
        assert (await client.ask(post(file('f', 'x', b'y' * 1000)))).status == 413
    run(folder, main, limits={'body': 1000})


def test_bad_forms_are_refused_and_leave_nothing(folder):
    async def main(client, server):
        for body in BAD_PARTS:
            other = await connect(server)
            answer = await other.ask(post(file('f', 'x', b'y' * 600_000), body))
            assert answer.status in (400, 431), body
            await other.stream.close()
        for request, status in ((post(file('f', 'x'), close=b''), 400), (post(file('f', 'x'), kind='multipart/form-data'), 400),
                                (post(file('f', 'x'), kind=KIND.replace('form-data', 'mixed')), 415),
                                (post(file('f', 'x'), Content_Encoding='gzip'), 415), (post(part('form-data; name=a', b'\xff')), 400)):
            other = await connect(server)
            assert (await other.ask(request)).status == status
            await other.stream.close()
        assert os.listdir(folder) == []
        assert (await client.ask(post(file('f', 'x')))).status == 200
    run(folder, main)


def test_an_upload_that_is_cut_anywhere_leaves_nothing(folder):
    request = post(part('form-data; name=a', b'b'), file('f', 'x', b'y' * 600_000), file('g', 'z'))
    begin = request.find(b'\r\n\r\n') + 4

    async def main(client, server):
        for end in [*range(begin, begin + 400, 7), 300_000, 550_000, *range(len(request) - 300, len(request) - 2, 7)]:
            other = await connect(server)
            await other.stream.write(request[:end])
            await other.stream.close()
        while len(server.connections) > 1:
            await runtime.sleep(0.01)
        assert os.listdir(folder) == []
    run(folder, main)


def test_an_action_that_fails_or_hangs_and_a_server_that_stops_leave_nothing(folder):
    async def hang(web):
        await web.form()
        assert os.listdir(folder)
        if 'fail' in web.vars:
            raise ValueError('meant to')
        await runtime.sleep(60)

    async def main(client, server):
        assert (await client.ask(post(file('f', 'x'), path='/up?fail'))).status == 500
        assert os.listdir(folder) == []
        assert (await client.ask(post(file('f', 'x')))).status == 503
        assert os.listdir(folder) == []
        other = await connect(server)
        await other.stream.write(post(file('f', 'x')))
        while not os.listdir(folder):
            await runtime.sleep(0.01)
        await server.stop(0)
        assert os.listdir(folder) == []
        await other.stream.close()
    run(folder, main, hang, timeouts={'request': '300 msecs'})


def test_a_check_before_the_handler_that_reads_the_form_leaves_nothing(folder):
    async def check(web):
        if (await web.form()).get('token') != 'right':
            await web.error(403)

    async def main(client, server):
        server.router.routes[0].checks.append(check)
        assert (await client.ask(post(file('f', 'x')))).status == 403
        assert os.listdir(folder) == []
        assert (await client.ask(post(file('f', 'x'), part('form-data; name=token', b'right')))).status == 200
    run(folder, main)


def test_a_full_disk_is_507(folder, monkeypatch):
    written = os.write

    def full(descriptor, data):
        if len(data) < 100_000:
            return written(descriptor, data)
        raise OSError(errno.ENOSPC, 'No space left on device')

    async def main(client, server):
        with monkeypatch.context() as patched:
            patched.setattr(drafts.os, 'write', full)
            answer = await client.ask(post(file('f', 'x', b'y' * 2_000_000)))
        assert answer.status == 507 and b'No space left' in answer.body
        assert os.listdir(folder) == []
    run(folder, main)


def test_progress_is_told(folder):
    told = []
    watched = []

    async def main(client, server):
        async def watch(web):
            async def look():
                while True:
                    watched.append(web.received)
                    await runtime.sleep(0.01)
            fiber = runtime.spawn(look())
            await web.form(progress=lambda *numbers: told.append(numbers))
            fiber.cancel()
        server.action('/watch')(watch)
        request = post(file('f', 'x', b'y' * 500_000), path='/watch')
        size = len(request) - request.find(b'\r\n\r\n') - 4
        await client.stream.write(request[:300_000])
        await runtime.sleep(0.1)
        await client.stream.write(request[300_000:])
        assert (await read_answer(client.stream)).status == 204
        assert told == sorted(told) and told[-1] == (size, size) and len(told) > 3
        assert watched == sorted(watched) and 0 < watched[-1] and max(watched) > 250_000
    run(folder, main)


def test_an_upload_that_goes_on_outlives_the_time_of_a_request_and_one_that_stops_does_not(folder):
    request = post(file('f', 'x', b'0123456789'))

    async def main(client, server):
        for n in range(6, 0, -1):
            await client.stream.write(request[-n - 1:-n] if n < 6 else request[:-6])
            await runtime.sleep(0.15)
        await client.stream.write(request[-1:])
        assert (await read_answer(client.stream)).status == 200
        await client.stream.write(request[:-20])
        assert (await read_answer(client.stream)).status == 408
        assert os.listdir(folder) == []
    run(folder, main, timeouts={'request': '400 msecs', 'inactivity': '500 msecs'})


def test_a_disk_that_is_slow_stops_no_other_client(folder, monkeypatch):
    written = os.write

    def slow(descriptor, data):
        if len(data) > 1000:
            time.sleep(0.3)
        return written(descriptor, data)

    async def main(client, server):
        monkeypatch.setattr(drafts.os, 'write', slow)
        server.action('/other')(lambda web: 'here')
        await client.stream.write(post(file('f', 'x', b'y' * 100_000)))
        other = await connect(server)
        await runtime.sleep(0.05)
        began = time.monotonic()
        assert (await other.ask('GET /other')).body == b'here'
        assert time.monotonic() - began < 0.2
        assert (await read_answer(client.stream)).status == 200
        await other.stream.close()
    run(folder, main)


def test_a_piece_that_is_still_written_when_the_request_is_cut_leaves_nothing(folder, monkeypatch):
    written = os.write

    def slow(descriptor, data):
        if len(data) > 1000:
            time.sleep(0.3)
        return written(descriptor, data)

    async def main(client, server):
        monkeypatch.setattr(drafts.os, 'write', slow)
        assert (await client.ask(post(file('f', 'x', b'y' * 100_000)))).status == 503
        assert os.listdir(folder) == []
    run(folder, main, timeouts={'request': '100 msecs'})


def test_a_draft_that_was_removed_before_a_thread_came_to_it_is_not_written(tmp_path):
    draft = drafts.Draft(None, str(tmp_path / 'x'))
    draft.remove()
    draft.write_now([b'y'])
    assert os.listdir(tmp_path) == []


def test_the_folder_has_to_be_one_that_can_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    for folder in (tmp_path / 'file', tmp_path / 'file' / 'x', '/proc/nothing'):
        with pytest.raises(WebError) as caught:
            Server({'upload': {'dir': str(folder)}})
        assert caught.value.property == 'web.upload.dir'
    Server({'upload': {'dir': '@x/a/b'}}, lambda path: path.replace('@x', str(tmp_path)))
    assert (tmp_path / 'a' / 'b').is_dir()


def test_without_a_folder_it_is_tmpdir(tmp_path, monkeypatch):
    monkeypatch.setenv('TMPDIR', str(tmp_path))

    async def where(web):
        await web.form()
        return os.path.dirname(web.files['f'].filename)

    async def main(client, server):
        assert (await client.ask(post(file('f', 'x')))).body.decode() == str(tmp_path)
    serve(main, {}, {'/up': where})
    assert os.listdir(tmp_path) == []


def test_urlencoded_forms_have_the_same_limit(folder):
    async def main(client, server):
        for size, status in ((498, 200), (499, 413)):
            body = b'a=' + b'b' * size
            head = f'POST /up HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n'
            assert (await client.ask(head.encode() + body)).status == status
    run(folder, main, limits={'form': 500, 'buffer': 100})


APP = '''
import os

async def start(agent):
    @agent.web.action('/up')
    async def up(web):
        await web.form()
        one = web.files['f']
        return {'size': os.path.getsize(one.filename), 'name': one.client_filename, 'vars': web.vars}
'''


def agent(tmp_path):
    write(tmp_path, 'app.py', APP)
    write(tmp_path, 'site/index.html', PAGE)
    write(tmp_path, 'config/ioto.json5', "{services: {web: true}, web: {listen: ['http://127.0.0.1:0'], documents: 'site', "
          "upload: {dir: '@state/uploads'}, limits: {upload: '1 GB'}, headers: {'Content-Security-Policy': ''}}}")
    return Child(tmp_path / 'config', '--app', str(tmp_path / 'app.py'), '--state', str(tmp_path / 'state'))


PAGE = '''<!DOCTYPE html><title>up</title><form><input name=a value=b><input type=file name=f></form><script>
seen = []
function send() {
    var request = new XMLHttpRequest()
    request.upload.onprogress = function(event) { seen.push([event.loaded, event.total]) }
    request.onload = function() { done = JSON.parse(request.responseText) }
    request.open('POST', '/up')
    request.send(new FormData(document.forms[0]))
}
done = null
</script>'''


def test_a_killed_server_leaves_nothing_for_the_next(tmp_path):
    uploads = tmp_path / 'state' / 'uploads'
    with agent(tmp_path) as child, socket.create_connection(('127.0.0.1', child.port), 10) as sock:
        sock.sendall(post(file('f', 'x', b'y' * 3_000_000))[:2_500_000])
        while not os.listdir(uploads):
            time.sleep(0.01)
        child.stop(signal.SIGKILL)
    assert os.listdir(uploads)
    mine = f'.upload-{os.getpid()}-{drafts.started("self")}-ab'
    (uploads / mine).write_text('')
    with agent(tmp_path):
        assert os.listdir(uploads) == [mine]


def test_500_mb_of_curl_take_4_mb_more_and_go_as_fast_as_the_disk_or_150_mb_a_second(tmp_path):
    size = 500 << 20
    block = os.urandom(1 << 20)
    began = time.monotonic()
    with open(tmp_path / 'large', 'wb', buffering=0) as large:
        for _ in range(500):
            large.write(block)
    disk = 500 / (time.monotonic() - began)
    with agent(tmp_path) as child:
        def curl(name):
            done = subprocess.run(['curl', '-sS', '--fail', '-F', 'a=b', '-F', f'f=@{name}', f'http://127.0.0.1:{child.port}/up'],
                                  capture_output=True, timeout=60)
            assert done.returncode == 0, done.stderr
            return eval(done.stdout)
        curl(tmp_path / 'app.py')
        forget_peak(child.process.pid)
        before = resident(child.process.pid)
        began = time.monotonic()
        assert curl(tmp_path / 'large') == {'size': size, 'name': 'large', 'vars': {'a': 'b'}}
        speed = 500 / (time.monotonic() - began)
        more = resident(child.process.pid, peak=True) - before
        assert os.listdir(tmp_path / 'state' / 'uploads') == []
    print(f'{speed:.0f} MB/s, the disk {disk:.0f} MB/s, {more / 1024:.0f} KB more')
    assert more < 4 << 20
    assert speed > min(150, disk * 0.8)


@pytest.mark.skipif(not webdriver.available(), reason='no chromedriver')
def test_a_browser_uploads_with_progress(tmp_path):
    (tmp_path / 'ä "1".bin').write_bytes(os.urandom(30_000_000))
    with agent(tmp_path) as child, webdriver.Browser(tmp_path) as browser:
        browser.open(f'http://127.0.0.1:{child.port}/')
        field = browser.call('POST', f'{browser.session}/element', {'using': 'css selector', 'value': 'input[type=file]'})
        browser.call('POST', f'{browser.session}/element/{next(iter(field.values()))}/value', {'text': str(tmp_path / 'ä "1".bin')})
        browser.script('send()')
        assert browser.wait('done') == {'size': 30_000_000, 'name': 'ä "1".bin', 'vars': {'a': 'b'}}
        seen = browser.script('return seen')
        assert seen and seen == sorted(seen) and seen[-1][0] == seen[-1][1] > 30_000_000
