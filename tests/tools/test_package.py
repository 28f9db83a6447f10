"""tools/package.py: what it takes out of a source, what stays, and that an archive runs alone on a board."""

import ast
import bz2
import io
import json
import os
import re
import socket
import subprocess
import sys
import zipfile
from base64 import b64encode
from contextlib import closing
from http.client import HTTPConnection

import pytest

from ioto.web.passwords import hash_password
from tests.child import PATIENCE, Child, get, write
from tests.test_profiles import HOOK, LACKING
from tools import package, peers

CLI = 'from ioto.cli import main\nsys.exit(main())'


@pytest.fixture(scope='module', params=[False, True], ids=['packed', 'plain'])
def archives(request, tmp_path_factory):
    """{profile: the path of its archive, in a folder without anything else}"""
    folder = tmp_path_factory.mktemp('archives')
    made = {profile: folder / f'{profile}.pyz' for profile in package.BUDGETS}
    for profile, path in made.items():
        path.write_bytes(package.build(profile, plain=request.param))
    return made


def contents(data):
    """{name: text} of the modules that an archive holds."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        for name in opened.namelist():
            text = (bz2.decompress if name == 'ioto/modules' else bytes)(opened.read(name)).decode()
            found |= {name: text} if name != 'ioto/modules' else dict(each.split('\n', 1) for each in text.split('\0')[1:])
    return found


def python(*arguments, path='', cwd=None):
    """The output of an interpreter that has `path` for its PYTHONPATH and nothing of the tree."""
    done = subprocess.run([sys.executable, '-S', *arguments], capture_output=True, text=True, cwd=cwd,
                          env={**os.environ, 'PYTHONPATH': str(path)})
    return done.stdout + done.stderr


@pytest.mark.parametrize('source, squeezed', [
    ('a = 1  # one\n', 'a=1\n'),
    ('# coding: utf-8\n\na = 1\n', '\n\na=1\n'),
    ('"""What it is."""\nimport a, b\n', '\nimport a,b\n'),
    ('"""What it is."""\n', '\n'),
    ('def f():\n    """Two\n\n    lines."""\n    return 1\n', 'def f():\n\n\n\n return 1\n'),
    ('class Error(Exception):\n    """Two\n    lines."""\n\n\na = 1\n', 'class Error(Exception):\n pass\n\n\n\na=1\n'),
    ('class Error(Exception): """One."""\n', 'class Error(Exception):pass\n'),
    ('def f():\n    if a:\n        # why\n        return b\n', 'def f():\n if a:\n\n  return b\n'),
    ('f(\n    a,  # first\n    b)\n', 'f(\na,\nb)\n'),
    ('a = b \\\n    + c\n', 'a=b\\\n+c\n'),
    ("a = '''  # kept\n    as it is'''\n", "a='''  # kept\n    as it is'''\n"),
    ("a = f'{b}  # {c!r:>{d}} {{' + r'\\ '\n", "a=f'{b}  # {c!r:>{d}} {{'+r'\\ '\n"),
    ("a = f'''{\n  b}  '''\n", "a=f'''{\n  b}  '''\n"),
    ("a = b in f'x' or 'y' if not 1 else -2 is c\n", "a=b in f'x'or'y'if not 1 else-2 is c\n"),
    ("a = '' 'b' \"c\"\n", "a='' 'b' \"c\"\n"),
    ('from . import a\nfrom .b import c\n', 'from.import a\nfrom.b import c\n'),
    ('a = 1 .real\n', 'a=1 .real\n'),
    ('def f(a, *, b: int = 3) -> None: ...\n', 'def f(a,*,b:int=3)->None:...\n'),
    ('print(__doc__)\n\ndef f():\n    "doc"\n', 'print(__doc__)\n\ndef f():\n "doc"\n'),
    ('ä = ß in ö\n', 'ä=ß in ö\n'),
    ('a = 1', 'a=1')])
def test_squeezes(source, squeezed):
    assert package.squeeze(source) == squeezed


def test_docstrings_stay_where_they_are_wanted():
    assert package.squeeze('"""Doc."""\n# comment\n', keep_docstrings=True) == '"""Doc."""\n\n'
    made = dict(package.entries(package.source_files(), keep_docstrings=True))
    assert all(ast.get_docstring(ast.parse(text)) for name, text in made.items() if name != '__main__.py')


def test_another_program_is_never_packed(monkeypatch):
    monkeypatch.setattr(package, 'may_join', lambda left, right: True)
    with pytest.raises(package.PackageError, match='another program'):
        package.squeeze('a = b or not c\n')
    with pytest.raises(package.PackageError, match='line 3 would move'):
        package.compare(ast.parse('a\n\nb\n'), ast.parse('a\nb\n'), {})


def test_the_same_sources_give_the_same_bytes(monkeypatch, tmp_path):
    made = package.build()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TZ', 'Asia/Tokyo')
    assert package.build() == made


@pytest.mark.parametrize('profile', package.BUDGETS)
def test_an_archive_holds_the_same_modules_in_either_form(profile):
    plain = contents(package.build(profile, plain=True))
    assert list(plain) == ['__main__.py', *package.profile_files(profile)[1:]]
    packed = contents(package.build(profile))
    del packed['ioto/packed.py']
    assert packed.pop('ioto/__init__.py') == plain.pop('ioto/__init__.py') + 'from . import packed\n'
    assert packed == plain


def test_each_module_left_out_is_there():
    assert package.WEB_WITHOUT < set(package.source_files())


def test_an_archive_is_a_program_and_a_place_to_import_from(archives, tmp_path):
    document = write(tmp_path, 'x.json5', '{a: [1, 2]}')
    alone = {'cwd': tmp_path, 'path': archives['all']}
    for name in archives.values():
        assert re.fullmatch(r'\d+\.\d+\.\d+\n', python(str(name), '--version', cwd=tmp_path))
    assert python('-m', 'ioto', '--version', **alone) == python(str(archives['all']), '--version', cwd=tmp_path)
    assert python('-m', 'ioto.json5', '--query', 'a[1]', str(document), **alone) == '2\n'
    assert python('-m', 'ioto.json5', '--help', **alone).startswith('usage: python3 -m ioto.json5')
    check = python('-m', 'ioto.password', '--check', 'nothing', '--password', 'word', **alone)
    assert 'word' in check and 'Traceback' not in check


def test_a_traceback_points_into_the_tree(archives, tmp_path):
    failing = 'import ioto.json5, traceback\ntry: ioto.json5.parse("[1, x]")\nexcept ValueError: traceback.print_exc()'
    output = python('-c', failing, cwd=tmp_path, path=archives['web'])
    places = re.findall(r'web\.pyz/(ioto/\S+\.py)", line (\d+), in \w+\n    (.+)', output)
    assert len(places) > 2 and 'Json5Error' in output
    for path, line, text in places:
        assert package.read_source(path).splitlines()[int(line) - 1].replace(' ', '') == text.replace(' ', '')


LATE = '''
import os, sys, traceback
import ioto.json5
os.unlink(sys.argv[1])                  # as after a chroot
if len(sys.argv) > 2:
    open(sys.argv[1], 'w').write('another archive')
from ioto.web import users
try:
    ioto.json5.parse('[1, x]')
except ValueError:
    traceback.print_exc()
print(users.__name__, ioto.json5.template('${a}', {'a': 'late'}))
'''


def test_an_archive_may_also_be_unpacked(archives, tmp_path):
    with zipfile.ZipFile(archives['web']) as opened:
        opened.extractall(tmp_path / 'unpacked')
    assert re.fullmatch(r'\d+\.\d+\.\d+\n', python('unpacked', '--version', cwd=tmp_path))


@pytest.mark.parametrize('more', [[], ['replaced']])
def test_packed_it_can_do_without_its_archive(tmp_path, more):
    path = tmp_path / 'gone.pyz'
    path.write_bytes(package.build())
    output = python('-c', LATE, str(path), *more, cwd=tmp_path, path=path)
    assert 'ioto.web.users late\n' in output and "expected a value, found 'x'\n" in output and output.count('Traceback') == 1


def imported(path):
    """The modules of ioto, as paths, that a module imports anywhere in it, by name or through a package's LATER."""
    names = set()
    folder = path.split('/')[:-1]
    tree = ast.parse(package.read_source(path))
    packages = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or node.module.partition('.')[0] == 'ioto'):
            base = folder[:len(folder) - node.level + 1] if node.level else []
            base = base + node.module.split('.') if node.module else base
            names.add('/'.join(base))
            for alias in node.names:
                names |= {'/'.join([*base, alias.name]), *later('/'.join(base), alias.name)}
                packages[alias.asname or alias.name] = '/'.join([*base, alias.name])
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in packages:
            names |= later(packages[node.value.id], node.attr)
    every = set(package.source_files())
    return {path for name in names for path in (f'{name}.py', f'{name}/__init__.py') if path in every}


def later(name, attribute):
    """The module that a package imports when this attribute of it is first asked for, in a set, or none."""
    if not os.path.isfile(os.path.join(peers.ROOT, name, '__init__.py')):
        return set()
    for node in ast.parse(package.read_source(f'{name}/__init__.py')).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == 'LATER':
            table = ast.literal_eval(node.value)
            return {f'{name}/{table[attribute]}'} if attribute in table else set()
    return set()


def test_the_imports_of_a_module_are_seen():
    assert {'ioto/runtime/tls.py', 'ioto/runtime/lookup.py', 'ioto/runtime/poller.py'} < imported('ioto/runtime/listener.py')
    assert 'ioto/json5/atomic.py' in imported('ioto/password.py') and 'ioto/agent.py' in imported('ioto/cli.py')


def test_the_web_profile_has_all_that_it_reaches_but_tls_and_clients():
    kept = set(package.profile_files('web'))
    missing = {(path, needed) for path in kept for needed in imported(path) - kept}
    # the agent tells who asks for the clients that they are not here
    assert {needed for _, needed in missing} <= {
        'ioto/runtime/tls.py', 'ioto/url/__init__.py', 'ioto/url/client.py', 'ioto/mqtt/service.py', 'ioto/db/__init__.py',
        'ioto/db/errors.py', 'ioto/db/service.py', 'ioto/db/api.py'}, missing


# What the web profile has to serve, each on a board that lacks all but python3-light.
WEB = '''{
    services: {web: true},
    log: {path: 'stdout', types: 'error,info,trace'},
    web: {
        listen: ['http://localhost:0'],
        documents: 'site',
        cache: {html: '1 day'},
        redirect: [{from: '/old', to: '/'}],
        hosts: [{name: 'other.example', documents: 'other'}],
        log: {path: 'access.log', format: 'common'},
        signatures: {'/api/checked': {POST: {request: {type: 'object', fields: {level: {type: 'integer', max: 9}}}}}},
        routes: [
            {match: '/drop/', handler: 'file', methods: ['GET', 'PUT', 'DELETE']},
            {match: '/members/', role: 'user', auth: 'basic'},
            {match: '/api/checked', validate: true, cors: {origins: ['*']}},
            {},
        ],
    },
    auth: {users: {ann: {password: '%s', roles: ['user']}}},
}'''
APP = '''
async def start(agent):
    action = agent.web.action

    @action('/api/form')
    async def form(web):
        await web.form()
        return {'size': web.files['file'].size, 'note': web.vars['note']}

    @action('/api/checked')
    async def checked(web):
        return await web.json()

    @action('/api/echo')
    async def echo(web):
        socket = await web.upgrade()
        async for message in socket:
            await socket.send(message)

    @action('/api/news')
    async def news(web):
        channel = await web.events()
        await channel.send('read all about it')
'''
FORM = (b'--x\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n12345\r\n--x--\r\n')
ANN = {'Authorization': 'Basic ' + b64encode(b'ann:open sesame').decode()}
ANSWERS = {                                         # path: (status, the beginning of the body)
    '/': (200, b'<h1>from the archive</h1>'),
    '/big.bin': (200, b'x' * 200_000),
    '/old': (302, b''),
    '/none': (404, b''),
    '/api/device': (200, b'{'),
}


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, 'site/index.html', '<h1>from the archive</h1>')
    write(tmp_path, 'site/big.bin', 'x' * 200_000)
    write(tmp_path, 'site/drop/.keep', '')
    write(tmp_path, 'site/members/list.txt', 'ann')
    write(tmp_path, 'other/index.html', 'another site')
    write(tmp_path, 'app.py', APP)
    return write(tmp_path, 'config/ioto.json5', WEB % hash_password('open sesame', 1000)).parent


def board(archive):
    """The command line of an interpreter that has the archive, python3-light and nothing else."""
    return [sys.executable, '-I', '-S', '-c', HOOK % (LACKING, str(archive)) + CLI]


def test_the_web_profile_serves_on_a_board(archives, folder):
    with Child(folder, command=board(archives['web'])) as child:
        for path, (status, body) in ANSWERS.items():
            answer = get(child.port, path)
            assert answer[0] == status and answer[2].startswith(body), path
        assert json.loads(get(child.port, '/api/device')[2])['agent']['services'] == ['web']
        assert child.stop() == 0


def ask(port, method, path, body=None, **fields):
    """(status, body) of one request; a field's name is written with _ for -."""
    connection = HTTPConnection('127.0.0.1', port, timeout=PATIENCE)
    with closing(connection):
        connection.request(method, path, body, {name.replace('_', '-'): value for name, value in fields.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_the_web_profile_has_all_its_features_on_a_board(archives, folder):
    with Child(folder, '--app', str(folder.parent / 'app.py'), command=board(archives['web'])) as child:
        port = child.port
        assert ask(port, 'GET', '/', Host='other.example') == (200, b'another site')
        assert ask(port, 'GET', '/big.bin', Range='bytes=-5') == (206, b'xxxxx')
        assert [ask(port, method, '/drop/a.txt', body)[0] for method, body in (('PUT', b'new'), ('GET', None), ('DELETE', None))] == [
            201, 200, 204]
        assert ask(port, 'GET', '/members/list.txt')[0] == 401
        assert ask(port, 'GET', '/members/list.txt', **ANN) == (200, b'ann')
        assert ask(port, 'POST', '/api/form', FORM, Content_Type='multipart/form-data; boundary=x') == (
            200, b'{"size":5,"note":"hello"}')
        assert ask(port, 'POST', '/api/checked', b'{"level":7}', Content_Type='application/json') == (200, b'{"level":7}')
        assert ask(port, 'POST', '/api/checked', b'{"level":10}', Content_Type='application/json')[0] == 400
        assert b'data: read all about it' in ask(port, 'GET', '/api/news')[1]
        with socket.create_connection(('127.0.0.1', port), PATIENCE) as client:
            client.sendall(b'GET /api/echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                           b'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
                           b'\x81\x82\0\0\0\0hi')
            received = b''
            while not received.endswith(b'\r\n\r\n\x81\x02hi'):
                received += client.recv(4096)
                assert received
        assert child.stop() == 0
    assert '"GET /members/list.txt HTTP/1.1" 401' in (folder.parent / 'access.log').read_text()


def test_the_web_profile_tells_of_a_mistake(archives, folder, tmp_path):
    wrong = write(tmp_path, 'wrong/ioto.json5', '{services: {web: true}, web: {documents: 5,}}').parent
    done = subprocess.run([*board(archives['web']), '--config', str(wrong)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and 'ioto.json5:1:31: web.documents' in done.stderr + done.stdout


def test_the_command_writes_runs_and_weighs(tmp_path, monkeypatch, capsys):
    path = str(tmp_path / 'made.pyz')
    assert package.main(['--profile', 'web', '--output', path, '--check']) == 0
    assert re.fullmatch(rf'{path}: [\d.]+ KB, profile web\n', capsys.readouterr().out)
    monkeypatch.setitem(package.BUDGETS, 'web', 1000)
    assert package.main(['--profile', 'web', '--output', path, '--check']) == 1
    assert 'KB more than the profile web may weigh' in capsys.readouterr().err
    monkeypatch.setattr(package, 'build', lambda *options: package.archive([('__main__.py', b'raise SystemExit("no")')]))
    assert package.main(['--output', path, '--check']) == 1
    assert 'does not run: no' in capsys.readouterr().err
    assert package.main(['--output', str(tmp_path / 'no' / 'made.pyz')]) == 1
    assert 'No such file' in capsys.readouterr().err
