"""`python3 -m ioto.web`: a folder or a web.json5 served without the agent."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from tests.child import PATIENCE, TREE, get, write

LOCAL = '--listen=http://127.0.0.1:0'


class Web:
    """The command as a child: `.line` is what it printed first, `.port` where it listens."""

    def __init__(self, folder, *words):
        self.process = subprocess.Popen([sys.executable, '-m', 'ioto.web', *map(str, words)], cwd=folder, stdin=subprocess.DEVNULL,
                                        env={**os.environ, 'PYTHONPATH': TREE}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        self.line = self.process.stdout.readline()
        assert self.line, self.process.communicate()
        self.port = int(re.search(r':(\d+)', self.line)[1])
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def stop(self, number=signal.SIGTERM):
        """End it; returns (exit status, further output, log)."""
        self.process.send_signal(number)
        output, log = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output, log


def run(folder, *words):
    """(exit status, output, errors) of the command where it ends by itself."""
    done = subprocess.run([sys.executable, '-m', 'ioto.web', *map(str, words)], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': TREE}, timeout=PATIENCE)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize('words', [[], ['.'], ['site'], ['--documents', 'site', '.'], ['web.json5'], ['config'], ['agent']])
def test_serves_a_folder_or_a_configuration(tmp_path, words):
    write(tmp_path, 'index.html', 'here')
    write(tmp_path, 'site/index.html', 'site')
    if words not in ([], ['.']):
        write(tmp_path, 'web.json5', "{documents: 'site', listen: ['http://127.0.0.1:1']}")
    write(tmp_path, 'config/web.json5', "{documents: 'site', listen: ['http://127.0.0.1:1']}")
    write(tmp_path, 'agent/ioto.json5', "{services: {web: true}, web: {documents: 'site'}, profiles: {dev: {web: {listen: ['http://:1']}}}}")
    with Web(tmp_path, LOCAL, *words) as web:
        status, _, body = get(web.port)
        assert (status, body) == (200, b'here' if words in ([], ['.']) else b'site')
        assert get(web.port, '/none')[0] == 404
        assert web.line == f'Serving {tmp_path}{"" if words in ([], ["."]) else "/site"} on http://127.0.0.1:{web.port}\n'
        assert web.stop(signal.SIGTERM if words else signal.SIGINT) == (0, '', '')


def test_listens_on_several_addresses_and_shows(tmp_path):
    write(tmp_path, 'index.html', 'here')
    with Web(tmp_path, LOCAL, f'--listen=unix:{tmp_path}/sock', '--show', 'Hb', '--verbose') as web:
        assert web.line == f'Serving {tmp_path} on http://127.0.0.1:{web.port}, unix:{tmp_path}/sock\n'
        assert get(web.port)[0] == 200
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f'{tmp_path}/sock')
            sock.sendall(b'GET / HTTP/1.0\r\n\r\n')
            assert sock.recv(100).startswith(b'HTTP/1.1 200')
        log = web.stop()[2]
    assert 'request\n    GET / HTTP/1.1' not in log and 'request\n    GET /' in log and 'response body\n    here' in log
    assert 'request: trace: unix GET / 200 4' in log


def test_sighup_reads_the_configuration_again(tmp_path):
    write(tmp_path, 'site/index.html', 'site')
    write(tmp_path, 'web.json5', "{documents: 'site', log: {path: 'access.log', format: '%r'}}")
    with Web(tmp_path, LOCAL, 'web.json5') as web:
        def reload(text):
            write(tmp_path, 'web.json5', text)
            web.process.send_signal(signal.SIGHUP)
            return web.process.stderr.readline()
        assert reload("{documents: 'site', headers: {'X-A': 'b'}}") == 'web: info: Configuration reloaded\n'
        assert get(web.port)[1]['x-a'] == 'b'
        assert reload("{documents: 5}") == ('web: error: Configuration not reloaded: web.json5:1:2: web.documents: '
                                            'expected a text, got 5\n').replace('web.json5', f'{tmp_path}/web.json5')
        assert get(web.port)[1]['x-a'] == 'b'
        assert web.stop()[0] == 0


def test_signatures_beside_web_json5(tmp_path):
    write(tmp_path, 'web.json5', "{routes: [{match: '/api/', validate: true}]}")
    write(tmp_path, 'signatures.json5', "{\n '/api/x': {GET: {query: {a: {typ: 1}}}}}")
    assert run(tmp_path, LOCAL, 'web.json5') == (
        1, '', f"{tmp_path}/signatures.json5:2:31: web.signatures['/api/x'].GET.query.a.typ: unknown property: expected one of type, "
        'required, enum, min, max, pattern, default, items, fields, extra, drop, role\n')
    write(tmp_path, 'signatures.json5', "{signatures: {'/api/x': {GET: {query: {a: {type: 'integer'}}}}}}")
    with Web(tmp_path, LOCAL, 'web.json5') as web:
        assert get(web.port, '/api/x')[0] == 404


@pytest.mark.parametrize('words, message', [
    (['none'], 'none: there is no such file or folder'),
    (['web.json5'], "{0}/web.json5:2:3: web.limit: unknown property, did you mean 'limits'?"),
    (['.'], "./web.json5:2:3: web.limit: unknown property, did you mean 'limits'?"),
    (['hosts.json5'], "{0}/hosts.json5:1:43: web.hosts[0].documents: there is no folder {0}/b"),
    (['site', '--listen=ftp://x'], "web.listen[0]: expected an address such as 'http://:8080', got 'ftp://x'"),
    (['site', '--documents=none'], 'web.documents: there is no folder {0}/none'),
    (['site', '--show=x'], "web.show: expected letters out of 'HhBb', got 'x'"),
])
def test_mistakes_are_told_as_the_agent_tells_them(tmp_path, words, message):
    write(tmp_path, 'site/index.html', 'site')
    write(tmp_path, 'web.json5', '{\n  limit: {}}')
    write(tmp_path, 'hosts.json5', "{documents: 'site', hosts: [{name: 'b.x', documents: 'b'}]}")
    assert run(tmp_path, *words) == (1, '', message.format(tmp_path) + '\n')


def test_a_port_in_use(tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        assert run(tmp_path, f'--listen=http://127.0.0.1:{port}') == (
            1, '', f'ioto.web: cannot listen on 127.0.0.1:{port}: Address already in use\n')


def test_help_and_usage(tmp_path):
    status, text, _ = run(tmp_path, '--help')
    assert status == 0 and all(word in text for word in ('PATH', '--listen', '--documents', '--show', '--verbose', 'SIGHUP'))
    assert run(tmp_path, '--none')[0] == 2
