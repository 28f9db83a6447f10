"""`python3 -m ioto.url`, as a child: what goes where, and the exit status."""

import hashlib
import io
import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from ioto import runtime
from ioto.http.multipart import Multipart, Part
from ioto.runtime.tls import server_context
from ioto.url import Form
from ioto.url.__main__ import STATUSES
from ioto.web import Server
from tests.child import PATIENCE, TREE
from tests.url import peer
from tests.url.support import CLOSE, Script, answer, serve

DATA = random.Random(7).randbytes(300_000)
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.lower().endswith('_proxy')}


def curl(*words, cwd, stdin=b''):
    """The finished child."""
    return subprocess.run([sys.executable, '-m', 'ioto.url', *map(str, words)], cwd=cwd, input=stdin, capture_output=True,
                          timeout=PATIENCE, env=ENVIRONMENT | {'PYTHONPATH': TREE})


def against(handler, *runs, cwd, tls=None, stdin=b''):
    """The children of some command lines, in which BASE is the server, and what that was asked."""
    async def main(_client, base):
        return [await runtime.to_thread(lambda: curl(*[str(word).replace('BASE', base) for word in words], cwd=cwd, stdin=stdin))
                for words in runs]
    return serve(main, handler, tls=tls)


@pytest.fixture
def web(module_web):
    """The address of the server, which closes its connections a moment after a child has ended."""
    before = len(os.listdir('/proc/self/fd'))
    yield module_web
    limit = time.monotonic() + PATIENCE
    while len(os.listdir('/proc/self/fd')) > before and time.monotonic() < limit:
        time.sleep(.01)


@pytest.fixture(scope='module')
def module_web(tmp_path_factory):
    """The address of our own web server with /data, /none, /moved and /echo, which tells what it got."""
    site = tmp_path_factory.mktemp('site')
    (site / 'data').write_bytes(DATA)
    ready, port = threading.Event(), []

    async def main():
        server = Server({'listen': ['http://127.0.0.1:0'], 'documents': str(site)})

        @server.action('/echo')
        async def echo(web):
            sha, size = hashlib.sha256(), 0
            async for chunk in web.body():
                sha.update(chunk)
                size += len(chunk)
            return {'method': web.method, 'type': web.headers.get('content-type'), 'length': web.headers.get('content-length'),
                    'sha': sha.hexdigest(), 'own': web.headers.get('x-own'), 'agent': web.headers.get('user-agent'), 'size': size}

        @server.action('/moved')
        async def moved(web):
            await web.redirect('/data')
        await server.start()
        port.append(server.listeners[0].port)
        stop = runtime.Event()
        port.append(lambda kernel=runtime.current().kernel: kernel.call_threadsafe(stop.set))
        ready.set()
        await stop.wait()
        await server.stop(1)
    thread = threading.Thread(target=runtime.run, args=(main,), daemon=True)
    thread.start()
    assert ready.wait(PATIENCE)
    yield f'http://127.0.0.1:{port[0]}'
    port[1]()
    thread.join(PATIENCE)


def echoed(done):
    assert done.returncode == 0 and not done.stderr, done.stderr
    return json.loads(done.stdout)


def test_the_body_goes_to_standard_output(web, tmp_path):
    done = curl(f'{web}/data', f'{web[7:]}/data', cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, DATA * 2, b'')


def test_files(web, tmp_path):
    done = curl('-o', 'one', '-o', '-', f'{web}/data', f'{web}/data', f'{web}/none', cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / 'one').read_bytes() == DATA and done.stdout.startswith(DATA)
    assert curl('-sO', f'{web}/data', cwd=tmp_path).returncode == 0 and (tmp_path / 'data').read_bytes() == DATA
    assert curl('-o', '/dev/null', f'{web}/data', cwd=tmp_path).stdout == b''
    assert sorted(os.listdir(tmp_path)) == ['data', 'one']


def test_heads(web, tmp_path):
    done = curl('-I', f'{web}/data', cwd=tmp_path)
    assert done.stdout.startswith(b'HTTP/1.1 200 OK\r\n') and done.stdout.endswith(b'\r\n\r\n') and b'300000' in done.stdout
    done = curl('-iL', f'{web}/moved', cwd=tmp_path)
    assert done.stdout.count(b'HTTP/1.1 ') == 2 and done.stdout.endswith(b'\r\n\r\n' + DATA)
    assert curl(f'{web}/moved', cwd=tmp_path).stdout != DATA and curl('-L', f'{web}/moved', cwd=tmp_path).stdout == DATA
    shown = curl('-v', '-H', 'X-Own: 5', f'{web}/echo', cwd=tmp_path).stderr.decode().splitlines()
    assert '> GET /echo HTTP/1.1' in shown and '> X-Own: 5' in shown and '< HTTP/1.1 200 OK' in shown


def test_data(web, tmp_path):
    (tmp_path / 'file').write_bytes(DATA)
    form = 'application/x-www-form-urlencoded'

    def sent(*words, stdin=b''):
        found = echoed(curl(*words, f'{web}/echo', cwd=tmp_path, stdin=stdin))
        return found['method'], found['type'], found['length'], found['sha']

    def digest(data):
        return hashlib.sha256(data).hexdigest()
    assert sent('-d', 'a=1', '-d', 'b=ü') == ('POST', form, '8', digest('a=1&b=ü'.encode()))
    assert sent('-d', '@file') == ('POST', form, '300000', digest(DATA))
    assert sent('-d', 'x', '-d', '@file', '-X', 'PUT') == ('PUT', form, '300002', digest(b'x&' + DATA))
    assert sent('-d', '@-', '-H', 'Content-Type: a/b', stdin=DATA) == ('POST', 'a/b', None, digest(DATA))
    (tmp_path / 'text').write_text('t\n')
    assert sent('-d', '@-', '-d', '@text', '-d', '@-', stdin=b'i') == ('POST', form, '5', digest(b'i&t\n&'))
    found = echoed(curl('-H', 'X-Own: 1', '-H', 'X-Own: ü', '-H', 'User-Agent;', f'{web}/echo', cwd=tmp_path))
    assert (found['own'], found['agent']) == ('1, ü'.encode().decode('latin-1'), '')
    found = echoed(curl('-H', 'X-Own: a: b', '-H', 'User-Agent:', f'{web}/echo', cwd=tmp_path))
    assert found['own'] == 'a: b' and not found['agent'] and found['method'] == 'GET'


def test_forms(web, tmp_path):
    (tmp_path / 'file.txt').write_bytes(DATA)
    found = echoed(curl('-F', 'a=1', '-F', 'b=@file.txt', f'{web}/echo', cwd=tmp_path))
    assert found['method'] == 'POST' and int(found['length']) == found['size'] > len(DATA)
    assert found['type'].startswith('multipart/form-data; boundary=')
    found = echoed(curl('-F', 'b=@-;filename=x', f'{web}/echo', cwd=tmp_path, stdin=DATA))
    assert found['length'] is None and found['size'] > len(DATA)


def test_what_the_parts_of_a_form_hold(tmp_path):
    (tmp_path / 'a;b').write_bytes(b'in a file')
    server = Script(lambda asked: answer(200))
    done, = against(server, ['-F', 'a=1;2', '-F', 'b={};type=application/json', '-F', 'c=<a;b', '-F', 'd=@a;b; filename=x.png;type=t/u',
                             'BASE/'], cwd=tmp_path)
    assert done.returncode == 0
    parts = server.asked[0].body.split(b'\r\n--')
    assert [part.partition(b'form-data; ')[2] for part in parts[:-1]] == [
        b'name="a"\r\n\r\n1;2', b'name="b"\r\nContent-Type: application/json\r\n\r\n{}', b'name="c"\r\n\r\nin a file',
        b'name="d"; filename="x.png"\r\nContent-Type: t/u\r\n\r\nin a file']


def test_a_form_is_what_the_parser_reads(tmp_path):
    (tmp_path / 'ü".png').write_bytes(DATA)
    with open(tmp_path / 'ü".png', 'rb') as file:
        form = Form({'a"\r\n': 'ü', 'b': b'\r\n--', 'n': 5, 'm': io.BytesIO(b'memory')})
        form.add('c', file)
        form.add('d', file, 'other', 'a/b')

        async def main():
            for _ in range(2):
                form.begin()
                body = b''.join([piece async for piece in form.pieces])
                assert len(body) == form.length
            return body
        body = runtime.run(main)
    decoder, found = Multipart(form.media), []
    for event in decoder.feed(body):
        if isinstance(event, Part):
            found.append([event.name, event.filename, event.content_type, b''])
        elif event:
            found[-1][3] += event
    decoder.finish()
    assert found == [['a"\r\n', None, '', 'ü'.encode()], ['b', None, '', b'\r\n--'],
                     ['n', None, '', b'5'], ['m', None, '', b'memory'], ['c', 'ü".png', 'image/png', DATA],
                     ['d', 'other', 'a/b', DATA]]


def test_a_user_and_forms_that_are_sent_again(tmp_path):
    def reply(asked):
        if 'authorization' not in asked.fields:
            return answer(401, 'WWW-Authenticate: Basic realm="x"')
        return answer(200, body=asked.fields['authorization'].encode() + asked.body[-4:])
    done, = against(Script(reply), ['-u', 'me:pw', '-F', 'a=@x', 'BASE/'], cwd=_with(tmp_path, 'x', DATA))
    assert done.stdout == b'Basic bWU6cHc=--\r\n' and not done.stderr


def _with(folder, name, data):
    (folder / name).write_bytes(data)
    return folder


def test_resume_and_checksum(tmp_path):
    sha = hashlib.sha256(DATA).hexdigest()

    def reply(asked):
        begin = int(asked.fields.get('range', 'bytes=0-')[6:-1])
        head = f'HTTP/1.1 206 X\r\nContent-Range: bytes {begin}-{len(DATA) - 1}/{len(DATA)}\r\n' if begin else 'HTTP/1.1 200 X\r\n'
        head += f'ETag: "1"\r\nContent-Length: {len(DATA) - begin}\r\n\r\n'
        return head.encode() + DATA[begin:][:70_000] + CLOSE
    server = Script(reply)
    cut, whole, wrong = against(server, ['-O', 'BASE/y'], ['--resume', '--checksum', sha, '-O', 'BASE/x'],
                                ['--checksum', '0' * 64, '-o', 'z', 'BASE/x'], cwd=tmp_path)
    assert cut.returncode == 18 and whole.returncode == 0 and (tmp_path / 'x').read_bytes() == DATA
    assert wrong.returncode == 56 and b'checksum' in wrong.stderr
    assert os.listdir(tmp_path) == ['x'] and server.asked[2].fields['range'] == 'bytes=70000-'


@pytest.mark.parametrize('words, status, text', [
    ((), 2, 'required'),
    (('--nonsense', 'x'), 2, 'unrecognized'),
    (('-d', 'x', '-F', 'a=b', 'x'), 2, 'exclude'),
    (('-H', 'x', 'x'), 2, 'expected -H'),
    (('-F', 'x', 'x'), 2, 'expected -F'),
    (('-H', 'X: a\nb', 'http://127.0.0.1:1/'), 2, 'bad field'),
    (('-o', 'a', '-o', 'b', 'x'), 2, 'more -o'),
    (('--resume', 'x'), 2, 'plain GET'),
    (('--resume', '-o', '-', 'x'), 2, 'plain GET'),
    (('--timeout', '0', 'x'), 2, 'seconds'),
    (('ftp://x/',), 3, 'expected http'),
    (('http://a b/',), 3, 'bad host'),
    (('-O', 'http://127.0.0.1:1/'), 3, 'ends in a name'),
    (('http://none.invalid/',), 6, 'cannot find host'),
    (('http://127.0.0.1:1/',), 7, 'refused'),
    (('-d', '@none', 'x'), 26, 'No such file'),
    (('--proxy', 'http://127.0.0.1:1', 'http://x/'), 7, 'refused'),
    (('--proxy', 'http://none.invalid:1', 'http://x/'), 5, 'cannot find host none.invalid: '),
    (('--proxy', 'socks5://127.0.0.1:1', 'http://x/'), 5, 'bad proxy'),
    (('--proxy', 'https://127.0.0.1:1', 'http://x/'), 5, 'bad proxy: expected http://host:port, got https:'),
    (('--checksum', 'x', '-O', 'http://127.0.0.1:1/x'), 2, 'expected a checksum'),
    (('nonsense://x',), 3, "found 'nonsense://x'"),
    (('-d', '@.', 'x'), 26, '.: Is a directory'),
    (('-F', 'a=@none', 'x'), 26, 'none: No such file'),
    (('-I', '-d', 'x', 'x'), 2, 'exclude'),
    (('http://127.0.0.1:1/', 'ftp://x/'), 7, 'refused'),
])
def test_errors_before_an_answer(tmp_path, words, status, text):
    done = curl(*words, cwd=tmp_path)
    assert done.returncode == status and text in done.stderr.decode() and not done.stdout and not os.listdir(tmp_path)
    if status != 2 and len(words) < 2:
        assert done.stderr.startswith(b'url: (%d) ' % status) and done.stderr.count(b'\n') == 1


def test_errors_of_answers(tmp_path):
    def reply(asked):
        return {'/404': answer(404, body=b'no'), '/cut': b'HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nabc' + CLOSE,
                '/none': b'', '/bad': b'nonsense\r\n\r\n', '/x': answer(200, body=b'x' * 99), '/empty': None,
                '/chunk': b'HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc' + CLOSE,
                '/loop': answer(302, 'Location: /loop'), '/gzip': answer(200, 'Content-Encoding: gzip', body=b'abc'),
                '/br': answer(200, 'Content-Encoding: br', body=b'abc'), '/half': b'HTTP/1.1 200 X\r\nY' + CLOSE,
                '/long': b'HTTP/1.1 200 X\r\nY: ' + b'y' * 99_999 + b'\r\n\r\n'}[asked.target]
    runs = {
        ('BASE/404',): (0, b''), ('-f', 'BASE/404'): (22, b'404'), ('BASE/cut',): (18, b'6 bytes before'),
        ('-o', 'a', 'BASE/cut'): (18, b'6 bytes before'), ('BASE/chunk',): (18, b'last chunk'), ('BASE/empty',): (52, b'before'),
        ('BASE/half',): (56, b'inside the head'), ('-L', 'BASE/loop'): (47, b'more than 10'), ('BASE/gzip',): (61, b'no gzip'),
        ('BASE/br',): (61, b"'br'"), ('-d', '@-', 'BASE/x', 'BASE/x'): (26, b'only once'),
        ('-m', '.3', 'BASE/none'): (28, b'within 0.3 s'), ('BASE/bad',): (56, b'bad answer'),
        ('BASE/long',): (63, b'bad answer'), ('-o', 'no/a', 'BASE/x'): (23, b'no/a.part: No such file'), ('-o', '/dev/full', 'BASE/x'): (23, b'No space'),
        ('-s', 'BASE/cut'): (18, b''), ('-o', '.', 'BASE/x'): (23, b'.: Is a directory'),
    }
    for (words, (status, text)), done in zip(runs.items(), against(Script(reply), *runs, cwd=tmp_path)):
        assert done.returncode == status and text in done.stderr and done.stderr.count(b'\n') == (text != b''), (words, done)
    assert not os.listdir(tmp_path)


def test_tls(tmp_path, certs):
    context = server_context(str(certs / 'server.crt'), str(certs / 'server.key'))
    server = Script(lambda asked: answer(200, body=b'ok'))
    bad, trusted, any_one, *wrong = against(
        server, ['BASE/'], ['--cacert', certs / 'ca.crt', 'BASE/'], ['-k', 'BASE/'], ['--cacert', 'none', 'BASE/'],
        ['--cert', 'none', 'BASE/'], ['--cert', certs / 'server.crt', '--key', certs / 'ca.crt', 'BASE/'], cwd=tmp_path, tls=context)
    assert bad.returncode == 60 and b'certificate' in bad.stderr
    assert trusted.stdout == any_one.stdout == b'ok'
    assert [done.returncode for done in wrong] == [77, 58, 58] and b'cannot use authority none: No such file' in wrong[0].stderr


def test_what_is_not_tls_is_35(web, tmp_path):
    done = curl(web.replace('http', 'https'), cwd=tmp_path)
    assert done.returncode == 35 and b'no TLS' in done.stderr


def test_a_reader_that_has_enough(web, tmp_path):
    child = subprocess.Popen([sys.executable, '-m', 'ioto.url'] + [f'{web}/data'] * 5, cwd=TREE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env=ENVIRONMENT)
    assert child.stdout.read(10) == DATA[:10]
    child.stdout.close()
    assert child.stderr.read() == b'' and child.wait(PATIENCE) == 23
    child.stderr.close()


@pytest.mark.parametrize('words, left', [(('-o', 'x'), []), (('--resume', '-o', 'x'), ['x.part', 'x.part.json'])])
def test_interrupted_it_leaves_what_can_be_resumed(tmp_path, words, left):
    async def slowly(stream):
        await stream.read()
        await stream.write(b'HTTP/1.1 200 X\r\nETag: "1"\r\nContent-Length: 1000000\r\n\r\n' + DATA)
        await stream.read()

    async def main(_client, base):
        child = subprocess.Popen([sys.executable, '-m', 'ioto.url', *words, base], cwd=tmp_path, stderr=subprocess.PIPE,
                                 env=ENVIRONMENT | {'PYTHONPATH': TREE})
        while not (tmp_path / 'x.part').exists() or not (tmp_path / 'x.part').stat().st_size:
            assert child.poll() is None
            await runtime.sleep(.01)
        child.send_signal(signal.SIGINT)
        assert await runtime.to_thread(child.communicate) == (None, b'') and child.returncode == 130
    serve(main, slowly)
    assert sorted(os.listdir(tmp_path)) == left


@pytest.mark.parametrize('words', [['-d', '@-'], ['-d', 'x', '-d', '@-'], ['-F', 'a=<-'], ['-d', '@fifo'], ['-o', 'fifo'], []],
                         ids=' '.join)
def test_interrupted_where_input_or_output_does_not_come_on(tmp_path, words):
    os.mkfifo(tmp_path / 'fifo')
    inner, outer = os.pipe()
    with open(inner, 'rb'), open(outer, 'wb') as full:

        async def main(_client, base):
            child = subprocess.Popen([sys.executable, '-m', 'ioto.url', '-v', *words, base], cwd=tmp_path, stdin=inner, stdout=full,
                                     stderr=subprocess.PIPE, env=ENVIRONMENT | {'PYTHONPATH': TREE})
            if words[:1] in ([], ['-o']):
                while await runtime.to_thread(child.stderr.readline) != b'< \n':
                    pass
            await runtime.sleep(.3)
            child.send_signal(signal.SIGINT)
            await runtime.to_thread(child.communicate)
            assert child.returncode in (130, -signal.SIGINT)        # the latter while Python begins
        serve(main, Script(lambda asked: answer(200, body=DATA)))


def test_closed_standard_streams(web, tmp_path):
    def shell(redirections, path='/data'):
        return subprocess.run(['sh', '-c', f'{sys.executable} -m ioto.url {web}{path} {redirections}'], cwd=TREE, capture_output=True,
                              env=ENVIRONMENT, timeout=PATIENCE)
    done = shell('>&-')
    assert done.returncode == 23 and done.stderr == b'url: (23) the output: Bad file descriptor\n'
    done = shell('2>&- <&-')
    assert (done.returncode, done.stdout) == (0, DATA)
    assert shell('-d @- <&- | head -c 1', '/echo').stdout == b'{' and not shell('2>&-', ':x').stdout


def test_the_password_is_asked_for_on_a_terminal(tmp_path):
    server = Script(lambda asked: answer(200, body=b'ok') if 'authorization' in asked.fields else
                    answer(401, 'WWW-Authenticate: Basic realm="x"'))

    async def main(_client, base):
        terminal, slave = pty.openpty()
        child = subprocess.Popen([sys.executable, '-m', 'ioto.url', '-u', 'me', base], cwd=TREE, stdin=slave, stdout=subprocess.PIPE,
                                 stderr=slave, start_new_session=True, env=ENVIRONMENT)
        text = b''
        while not text.endswith(b'Password of me: '):
            text += await runtime.to_thread(os.read, terminal, 999)
        os.write(terminal, b'pw\n')
        assert (await runtime.to_thread(child.communicate))[0] == b'ok' and not child.returncode
        os.close(terminal)
        os.close(slave)
    serve(main, server)
    assert server.asked[1].fields['authorization'] == 'Basic bWU6cHc='


def test_the_help_has_each_exit_status():
    done = curl('--help', cwd=TREE)
    for _, _, status in STATUSES:
        assert re.search(rf'[:,]\s+{status}\s+[-\w]', done.stdout.decode()), status


def test_nginx_and_its_compression(tmp_path):
    (tmp_path / 'text.txt').write_text('hello ' * 10000)
    with peer.nginx(str(tmp_path)) as port:
        done = curl('-i', f'http://127.0.0.1:{port}/text.txt', cwd=tmp_path)
    assert b'Content-Encoding: gzip' in done.stdout and done.stdout.endswith(b'\r\n\r\n' + b'hello ' * 10000)


def test_progress_on_a_terminal(tmp_path):
    async def slowly(stream):
        await stream.read()
        await stream.write(b'HTTP/1.1 200 X\r\nContent-Length: 4000000\r\n\r\n')
        for _ in range(4):
            await stream.write(b'x' * 1_000_000)
            await runtime.sleep(.45)

    async def main(_client, base):
        master, slave = pty.openpty()
        child = subprocess.Popen([sys.executable, '-m', 'ioto.url', '-o', tmp_path / 'x', base], cwd=TREE, stderr=slave, env=ENVIRONMENT)
        os.close(slave)
        text = b''
        try:
            while data := await runtime.to_thread(os.read, master, 9999):
                text += data
        except OSError:                         # the terminal has no other end any more
            pass
        os.close(master)
        assert await runtime.to_thread(child.wait, PATIENCE) == 0
        return text
    text = serve(main, slowly)
    assert b'% [#' in text and b' left' in text and text.endswith(b'\r\x1b[K')
