"""The board's rule: what each profile may import. A child interpreter refuses everything else and serves a request.

OpenWrt's python3-light lacks the modules in LACKING; each is a package of its own. A module that imports one of them
fails by itself in such a child, so the list needs no others.
"""
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.child import PATIENCE, TREE, Child, get, write

LACKING = ('asyncio ctypes curses dbm decimal doctest email logging lzma multiprocessing pydoc readline sqlite3 ssl '
           'unicodedata unittest urllib uuid venv xml xmlrpc http mimetypes tkinter idlelib lib2to3 ensurepip '
           'distutils _ssl _hashlib _asyncio _ctypes _curses _dbm _gdbm _decimal _lzma _multiprocessing _sqlite3 _uuid '
           '_elementtree pyexpat').split()
HEAVY = ('argparse', 'dataclasses', 'inspect', 'typing', 'datetime', 'ssl', 'sqlite3', 'random', 'tempfile', 'shutil',
         'difflib', 'importlib.util', 'traceback', 'pathlib')

OPTIONAL = ('http.multipart', 'http.lists', 'runtime.threads', 'web.draft', 'web.ranges', 'web.store', 'web.upload')

HOOK = '''
import sys
LACKING = set(%r)
class Board:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in LACKING:
            raise ModuleNotFoundError(f"No module named {name!r} on this board", name=name)
assert not LACKING & set(sys.modules), LACKING & set(sys.modules)
sys.meta_path.insert(0, Board())
sys.path.insert(0, %r)
'''

WEB = '''
import ioto
async def start(agent):
    first = sorted(sys.modules)
    @agent.web.action('/modules')
    async def modules(web):
        if web.method == 'POST':
            await web.form()
        return {'at start': first, 'after requests': sorted(sys.modules)}
sys.exit(ioto.run(config=sys.argv[2], start=start))
'''

@pytest.fixture
def folder(tmp_path):
    write(tmp_path, 'config/ioto.json5',
          "{services: {web: true}, web: {listen: ['http://127.0.0.1:0'], documents: 'site'}}")
    write(tmp_path, 'site/index.html', 'hello')
    return tmp_path / 'config'


def board(folder, program, lacking):
    """A child interpreter without site packages that runs the program under the hook."""
    command = [sys.executable, '-I', '-S', '-c', HOOK % (lacking, TREE) + program]
    return Child(folder, command=command)


def test_the_hook_refuses():
    for name in ('ssl', 'asyncio', 'http.client', 'urllib.parse'):
        result = subprocess.run([sys.executable, '-I', '-S', '-c', HOOK % (LACKING, TREE) + f'import {name}'],
                                capture_output=True, text=True, timeout=PATIENCE)
        assert result.returncode == 1 and 'on this board' in result.stderr


def test_web_runs_with_nothing_but_python3_light(folder):
    with board(folder, WEB, LACKING) as child:
        assert get(child.port)[2] == b'hello'
        assert get(child.port, '/missing')[0] == 404
        assert json.loads(get(child.port, '/api/device')[2])['agent']['services'] == ['web']
        modules = json.loads(get(child.port, '/modules')[2])
        assert child.stop() == 0
    assert not set(LACKING) & set(modules['after requests'])
    assert not {f'ioto.{name}' for name in OPTIONAL} & set(modules['after requests'])


def test_uploads_ranges_and_put_run_with_nothing_but_python3_light(folder):
    write(folder, 'ioto.json5', "{services: {web: true}, web: {listen: ['http://127.0.0.1:0'], documents: 'site', "
          "routes: [{match: '/modules'}, {handler: 'file', methods: ['GET', 'PUT']}]}}")
    write(folder.parent, 'site/index.html.gz', 'packed')
    form = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\nfile\r\n--b--\r\n'
    with board(folder, WEB, LACKING) as child:
        for request, status, fields, body in (
                ('GET /index.html', 206, 'Range: bytes=1-', b''), ('GET /index.html', 200, 'Accept-Encoding: gzip', b''),
                ('PUT /new.txt', 201, 'Content-Length: 3', b'new'),
                ('POST /modules', 200, f'Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(form)}', form)):
            with socket.create_connection(('127.0.0.1', child.port), PATIENCE) as sock:
                sock.sendall(f'{request} HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n'.encode() + body)
                assert f' {status} ' in sock.recv(65536).split(b'\r\n')[0].decode(), (request, fields)
        modules = json.loads(get(child.port, '/modules')[2])
        assert child.stop() == 0
    assert {f'ioto.{name}' for name in OPTIONAL} <= set(modules['after requests'])
    assert not {*LACKING, *HEAVY} & set(modules['after requests'])


def test_users_sign_in_with_nothing_but_python3_light(folder):
    name = folder.name
    write(folder.parent, f'{name}/auth.json5', "{rounds: 50, methods: ['digest', 'md5', 'basic', 'form'], roles: {user: []}}")
    write(folder.parent, f'{name}/web.json5', "{web: {routes: [{match: '/modules', role: 'admin'}, {}]}}")
    with board(folder, WEB, LACKING) as child:
        url = f'http://127.0.0.1:{child.port}'
        code = child.wait_for(re.compile('set-up code (\\w+)'))[1]

        def curl(*options):
            return subprocess.run(['curl', '-s', '-w', '%{http_code}', *options], capture_output=True, text=True, timeout=PATIENCE).stdout
        form = f'code={code}&username=root&password=correct+horse&again=correct+horse'
        assert curl('-d', form, f'{url}/auth/login').endswith('303')
        modules = json.loads(curl('--digest', '-u', 'root:correct horse', f'{url}/modules').removesuffix('200'))
        assert curl('--basic', '-u', 'root:correct horse', '-o', '/dev/null', f'{url}/modules') == '200'
        assert curl('--basic', '-u', 'root:wrong', '-o', '/dev/null', f'{url}/modules') == '401'
        assert child.stop() == 0
    assert not set(LACKING) & set(modules['after requests'])
    assert not {'hashlib', 'hmac'} & set(modules['at start'])


def test_heavy_modules_stay_off_the_start_up_path(folder):
    with board(folder, WEB, []) as child:
        get(child.port)
        modules = json.loads(get(child.port, '/modules')[2])
    assert set(HEAVY) & set(modules['at start']) == set()
    assert set(HEAVY) & set(modules['after requests']) == set()


def test_tls_needs_ssl_and_nothing_else(folder, certs):
    allowed = ('ssl', '_ssl', '_hashlib')
    write(folder, 'web.json5', json.dumps({
        'listen': ['http://127.0.0.1:0', 'https://127.0.0.1:0'], 'documents': 'site',
        'tls': {'certificate': str(certs / 'server.crt'), 'key': str(certs / 'server.key')}}))
    context = ssl.create_default_context(cafile=certs / 'ca.crt')
    with board(folder, WEB, [name for name in LACKING if name not in allowed]) as child:
        port = int(child.wait_for(re.compile(r'https://\S*?:(\d+)'))[1])
        with socket.create_connection(('127.0.0.1', port), PATIENCE) as raw, \
                context.wrap_socket(raw, server_hostname='localhost') as sock:
            sock.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
            data = b''
            while not data.endswith(b'\r\n\r\nhello'):
                part = sock.recv(4096)
                assert part, data
                data += part
        modules = set(json.loads(get(child.port, '/modules')[2])['after requests'])
        assert child.stop() == 0
    assert modules & set(LACKING) == {'ssl', '_ssl'}


@pytest.fixture
def broker():
    """The port of a broker that says CONNACK and no more."""
    def serve():
        while True:
            try:
                with listener.accept()[0] as sock:
                    sock.recv(4096)
                    sock.sendall(b'\x20\2\0\0')
                    while sock.recv(4096):
                        pass
            except OSError:
                return
    with socket.create_server(('127.0.0.1', 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE)


@pytest.mark.parametrize('store, allowed', [('', set()), ('@state/mqtt.db', {'sqlite3', '_sqlite3'})])
def test_mqtt_needs_sqlite3_for_a_store_and_nothing_else(folder, broker, store, allowed):
    write(folder, 'local.json5', json.dumps({'services': {'mqtt': True}, 'device': {'id': 'x'}, 'mqtt': {
        'endpoint': f'mqtt://127.0.0.1:{broker}', 'store': store, 'schedule': 'anytime'}}))
    with board(folder, WEB, [name for name in LACKING if name not in allowed]) as child:
        child.wait_for("connected as 'x', without a session")
        assert get(child.port, '/api/mqtt')[0] == 403
        modules = set(json.loads(get(child.port, '/modules')[2])['after requests'])
        assert child.stop() == 0
    assert modules & set(LACKING) == allowed
    assert not modules & set(HEAVY) - allowed - ({'datetime'} if store else set())


@pytest.mark.parametrize('mqtt, where, name, package', [
    ("endpoint: 'x'", 'mqtt.store', 'sqlite3', "python3-sqlite3; or set store: ''"),
    ("endpoint: 'mqtts://x', store: ''", 'mqtt.endpoint: TLS', 'ssl', 'python3-openssl'),
    ("endpoint: 'x', tls: {}, store: ''", 'mqtt.tls: TLS', 'ssl', 'python3-openssl')])
def test_mqtt_says_which_package_is_missing(folder, mqtt, where, name, package):
    write(folder, 'local.json5', "{services: {mqtt: true}, device: {id: 'x'}, mqtt: {%s}}" % mqtt)
    child = board(folder, WEB, LACKING)
    assert child.wait() == 1
    message = f"{where}: No module named '{name}' on this board; on OpenWrt: opkg install {package}"
    assert message in child.output() and 'Traceback' not in child.output()


def test_only_one_module_imports_sqlite3_and_one_ssl():
    found = {}
    for path in Path(TREE, 'ioto').rglob('*.py'):
        for name in re.findall(r'^ *(?:import|from) (ssl|sqlite3)\b', path.read_text(), re.M):
            found.setdefault(name, set()).add(str(path.relative_to(TREE)))
    assert found == {'ssl': {'ioto/runtime/tls.py'}, 'sqlite3': {'ioto/runtime/sqlite.py'}}
