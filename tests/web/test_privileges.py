"""web.user, web.group and web.chroot: agents started by root that serve as somebody else."""

import ast
import grp
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ioto.web import Server, WebError
from tests.child import PATIENCE, TREE, Child, get, write
from tests.web.test_secure import HTTPS, curl, tls_of

root = pytest.mark.skipif(os.geteuid() != 0, reason='only root may become somebody else')
NOBODY = pwd.getpwnam('nobody')
OTHER = next(group for group in grp.getgrall() if group.gr_gid not in (0, NOBODY.pw_gid))

APP = '''
import os
async def start(agent):
    @agent.web.action('/who')
    def who(web):
        return {'uid': os.getresuid(), 'gid': os.getresgid(), 'groups': os.getgroups(),
                'root': sorted(os.listdir('/')), 'cwd': os.getcwd()}

    @agent.web.action('/wrong')
    def wrong(web):
        raise KeyError('oops')

    @agent.web.action('/form')
    async def form(web):
        await web.form()
        return str(len(web.files))

    @agent.web.action('/regain')
    def regain(web):
        for regain in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.chroot('..')):
            try:
                regain()
            except PermissionError:
                continue
            return 'root again'
        return 'never'
'''


@pytest.fixture
def folder():
    """A folder that everybody may enter, with an agent's configuration and a site in `jail`."""
    with tempfile.TemporaryDirectory(prefix='ioto-test-') as name:
        folder = Path(name)
        folder.chmod(0o755)
        write(folder, 'jail/site/index.html', 'hello')
        write(folder, 'app.py', APP)
        yield folder


def agent(folder, **web):
    settings = {'listen': ['http://127.0.0.1:0'], 'documents': 'jail/site', **web}
    write(folder, 'config/ioto.json5', json.dumps({'services': {'web': True}, 'app': 'app.py', 'web': settings}))
    return Child(folder / 'config')


def who(child):
    return json.loads(get(child.port, '/who')[2])


@root
@pytest.mark.parametrize('web, uid, gid, groups', [
    ({'user': 'nobody'}, NOBODY.pw_uid, NOBODY.pw_gid, os.getgrouplist('nobody', NOBODY.pw_gid)),
    ({'user': 'nobody', 'group': OTHER.gr_name}, NOBODY.pw_uid, OTHER.gr_gid, os.getgrouplist('nobody', OTHER.gr_gid)),
    ({'group': OTHER.gr_name}, 0, OTHER.gr_gid, [OTHER.gr_gid]),
])
def test_it_serves_as_that_user_and_group(folder, web, uid, gid, groups):
    with agent(folder, **web) as child:
        seen = who(child)
        assert (seen['uid'], seen['gid'], sorted(seen['groups'])) == ([uid] * 3, [gid] * 3, sorted(groups))
        assert get(child.port)[2] == b'hello'
        assert uid == 0 or get(child.port, '/regain')[2] == b'never'
        child.send(signal.SIGHUP)
        child.wait_for('Configuration reloaded')
        assert who(child) == seen and child.stop() == 0


@root
def test_in_a_chroot_everything_of_the_server_works(folder, certs):
    listen = ['http://127.0.0.1:0', 'https://127.0.0.1:0']      # the key is root's, and outside
    with agent(folder, chroot='jail', user='nobody', listen=listen, tls=tls_of(certs)) as child:
        seen = who(child)
        assert seen['root'] == ['site'] and seen['cwd'] == '/' and seen['uid'] == [NOBODY.pw_uid] * 3
        assert get(child.port)[2] == b'hello' and get(child.port, '/../app.py')[0] in (400, 404)
        assert get(child.port, '/regain')[2] == b'never'
        assert get(child.port, '/wrong')[0] == 500
        child.wait_for("KeyError: 'oops'")                      # with its traceback, though its source is out of sight
        assert json.loads(get(child.port, '/api/device')[2])['agent']['pid'] == child.process.pid
        url = f'https://localhost:{child.wait_for(HTTPS)[1]}'
        assert curl('--cacert', certs / 'ca.crt', url).stdout == b'hello'
        child.send(signal.SIGHUP)
        child.wait_for('Configuration not reloaded')            # it is out of sight, and what is there stays
        assert get(child.port)[2] == b'hello'
        assert child.stop() == 0


@root
def test_a_user_who_may_not_read_the_program_runs_all_of_it(folder):
    tree = folder / 'closed'
    shutil.copytree(f'{TREE}/ioto', tree / 'ioto')
    shutil.copy(f'{TREE}/ioto.py', tree)
    tree.chmod(0o700)
    write(folder, 'config/ioto.json5', json.dumps({
        'services': {'web': True}, 'app': 'app.py', 'web': {'listen': ['http://127.0.0.1:0'], 'documents': 'jail/site', 'user': 'nobody'}}))
    with Child(folder / 'config', command=[sys.executable, str(tree / 'ioto.py')]) as child:
        assert get(child.port, '/wrong')[0] == 500
        child.wait_for("KeyError: 'oops'")
        answer = curl('-F', f'file=@{TREE}/ioto.py', f'http://127.0.0.1:{child.port}/form')
        assert answer.stdout == b'1'


@root
@pytest.mark.parametrize('web, message', [
    ({'upload': {'dir': 'jail/site'}}, 'web.upload.dir'), ({'log': {'path': 'jail/access.log', 'format': 'json'}}, 'web.log.path'),
    ({'routes': [{'match': '/a', 'role': 'x'}, {}]}, 'auth'),
])
def test_what_the_user_may_not_use_stops_the_start(folder, web, message):
    write(folder, 'state/auth.json5', '{}').chmod(0o600)
    child = agent(folder, user='nobody', **web)
    assert child.wait() == 1 and message in child.output()


@root
def test_documents_outside_of_the_chroot_stop_the_start(folder):
    write(folder, 'site/index.html', 'outside')
    child = agent(folder, chroot='jail', documents='site')
    assert child.wait() == 1
    assert 'web.documents: there is no folder' in child.output()


@root
def test_users_outside_of_the_chroot_stop_the_start(folder):
    """Else there would seem to be none, and a new administrator were asked for."""
    write(folder, 'state/auth.json5', '{users: {root: {roles: []}}}')
    child = agent(folder, chroot='jail', user='nobody', routes=[{'match': '/a', 'auth': 'form'}, {}])
    assert child.wait() == 1
    assert 'web.chroot: ' in child.output() and 'set-up code' not in child.output()


@root
def test_logs_in_a_folder_of_the_user_are_reopened(folder):
    logs = folder / 'logs'
    logs.mkdir()
    os.chown(logs, NOBODY.pw_uid, NOBODY.pw_gid)
    with agent(folder, user='nobody', log={'path': str(logs / 'access.log')}) as child:
        get(child.port)
        os.rename(logs / 'access.log', logs / 'old.log')
        child.send(signal.SIGHUP)
        child.wait_for('Configuration reloaded')
        get(child.port, '/second')
        child.stop()
    assert '/second' in (logs / 'access.log').read_text() and (logs / 'old.log').stat().st_uid == NOBODY.pw_uid


@pytest.mark.parametrize('web, message', [
    ({'user': 'no-such-user'}, "web.user: there is no user 'no-such-user'"),
    ({'group': 'no-such-group'}, "web.group: there is no group 'no-such-group'"),
    ({'chroot': '/no/such/folder'}, 'web.chroot: there is no folder /no/such/folder'),
])
@root
def test_unknown_names_are_refused_before_anything_listens(web, message):
    with pytest.raises(WebError, match=message):
        Server(web)


@root
@pytest.mark.parametrize('name, value', [('user', 'nobody'), ('group', 'root'), ('chroot', '/')])
def test_only_root_may(name, value):
    program = f'''
import os, sys
sys.path.insert(0, {TREE!r})
from ioto.web import Server
from ioto.web import privileges
os.setuid({NOBODY.pw_uid})
Server({{{name!r}: {value!r}}})
'''
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=PATIENCE)
    assert f'web.{name}: only root may' in done.stderr


def test_all_that_is_imported_late_is_loaded_before_a_chroot():
    """Each import inside a function of what a server may run stands in privileges.LATER, or is one of the packages' modules."""
    alone = {'ioto/cli.py', 'ioto/agent.py', 'ioto/password.py', 'ioto/__init__.py'}      # these run before, or without a server
    wanted = set()
    for path in sorted(Path(TREE, 'ioto').rglob('*.py')):
        if str(path.relative_to(TREE)) in alone or path.name == '__main__.py':
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for node in ast.walk(function):
                    if isinstance(node, ast.Import):
                        wanted |= {alias.name for alias in node.names}
                    elif isinstance(node, ast.ImportFrom) and not node.level:
                        wanted.add(node.module)
    program = f'''
import sys
sys.path.insert(0, {TREE!r})
import ioto.web
from ioto.web import privileges
privileges.preload()
print(*sys.modules)
'''
    loaded = subprocess.run([sys.executable, '-I', '-c', program], capture_output=True, text=True, timeout=PATIENCE).stdout.split()
    assert {'ioto.runtime.tls', 'ioto.runtime.dial', 'ioto.websocket.protocol', 'ioto.http.lists'} <= set(loaded)
    assert not wanted - set(loaded), 'to be added to privileges.LATER'
