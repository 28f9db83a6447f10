"""python3 -m ioto.password: hashes, the prompt on a terminal, and auth.json5."""

import os
import pty
import re
import select
import stat
import subprocess
import sys
import termios

import pytest

from ioto import json5
from ioto.http.digest import secret
from ioto.web import passwords
from ioto.web.users import Users

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMMAND = [sys.executable, '-m', 'ioto.password']


def command(*arguments, given=''):
    return subprocess.run([*COMMAND, *map(str, arguments)], cwd=TREE, input=given, capture_output=True, text=True, timeout=60,
                          start_new_session=True)


def typed(*arguments, words):
    """Run on a terminal, typing a word at each prompt. Returns (exit status, terminal's text, standard output)."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, *arguments], cwd=TREE, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs,
                               start_new_session=True)
    text = b''
    try:
        for word in words:
            while not text.endswith(b': '):
                assert select.select([ours], [], [], 60)[0], text
                text += os.read(ours, 1000)
            assert not termios.tcgetattr(ours)[3] & termios.ECHO
            os.write(ours, word.encode())
            text += b'|'
        output = process.stdout.read().decode()
        status = process.wait(60)
        os.set_blocking(ours, False)
        try:
            text += os.read(ours, 10000)
        except BlockingIOError:
            pass
        echo = termios.tcgetattr(ours)[3] & termios.ECHO
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        os.close(ours)
        os.close(theirs)
    assert echo
    return status, text.decode(), output


def last(output):
    return output.rstrip('\n').split('\n')[-1]


def test_prints_the_hash_as_its_last_line():
    result = command('--password', 'wonderland', '--rounds', '50', 'ann')
    assert result.returncode == 0 and result.stderr == ''
    assert last(result.stdout).startswith('PBKDF2:SHA256:50:')
    assert passwords.verify('wonderland', last(result.stdout))


def test_the_default_number_of_rounds():
    result = command('--password', 'wonderland', 'ann')
    assert passwords.split(last(result.stdout))[0] == passwords.ROUNDS == 100_000


def test_what_is_printed_can_be_put_into_auth_json5():
    result = command('--password', 'größe', '--rounds', '50', '--realm', 'here', 'jürgen', 'admin', 'user')
    entry = json5.parse(result.stdout.split('\n')[0])
    assert entry['jürgen'] == {'password': last(result.stdout), 'roles': ['admin', 'user'], 'digest': {
        'SHA-256': secret('SHA-256', 'jürgen', 'here', 'größe'), 'MD5': secret('MD5', 'jürgen', 'here', 'größe')}}


def test_asks_twice_without_echo():
    status, terminal, output = typed('--rounds', '50', 'ann', words=['größe\n', 'größe\n'])
    assert status == 0 and 'größe' not in terminal
    assert terminal.startswith('Password: |') and 'Again: |' in terminal
    assert passwords.verify('größe', last(output))


def test_words_that_differ_are_refused():
    status, terminal, output = typed('--rounds', '50', 'ann', words=['one\n', 'two\n'])
    assert status == 1 and output == '' and 'the passwords differ' in terminal


@pytest.mark.parametrize('words', [['\x04'], ['one\n', '\x04']])
def test_the_end_of_input_at_the_prompt(words):
    status, terminal, output = typed('ann', words=words)
    assert status == 1 and output == '' and 'no password' in terminal and 'Traceback' not in terminal


def test_check_asks_once():
    stored = passwords.hash_password('wonderland', 50)
    assert typed('--check', stored, words=['wonderland\n'])[0] == 0
    assert typed('--check', stored, words=['x\n'])[0] == 1


def test_reads_a_line_where_there_is_no_terminal():
    result = command('--rounds', '50', 'ann', given='wonder land \nmore\n')
    assert result.returncode == 0 and passwords.verify('wonder land ', last(result.stdout))
    result = command('ann', given='')
    assert result.returncode == 1 and result.stderr.strip() == 'no password'


@pytest.mark.parametrize('word, status, text', [('wonderland', 0, 'the password matches'), ('x', 1, 'the password does not match'),
                                                ('', 1, 'the password does not match')])
def test_check(word, status, text):
    result = command('--check', passwords.hash_password('wonderland', 50), '--password', word)
    assert (result.returncode, result.stdout.strip()) == (status, text)


@pytest.mark.parametrize('arguments, status', [
    ((), 2), (('--rounds', 'x', 'ann'), 2), (('--nothing', 'ann'), 2), (('--file',), 2),
    (('--password', '', 'ann'), 1), (('--password', 'x', '--rounds', '0', 'ann'), 1), (('--password', 'x', '--check', 'y'), 1),
    (('--password', 'x', '--rounds', '9', 'a:b'), 1), (('--password', 'x', '--rounds', '9', '--file', '/dev/null/auth.json5', 'ann'), 1),
    (('--help',), 0),
])
def test_exit_statuses(arguments, status):
    result = command(*arguments)
    assert result.returncode == status and 'Traceback' not in result.stderr
    assert bool(result.stderr) == bool(status) and bool(result.stdout) == (not status)


def test_makes_a_new_file_that_only_its_owner_reads(tmp_path):
    path = tmp_path / 'auth.json5'
    result = command('--file', path, '--password', 'wonderland', '--rounds', '50', 'ann', 'admin')
    assert json5.load(path)['users'] == {'ann': {'password': last(result.stdout), 'roles': ['admin']}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Users(json5.load(path)).verify('ann', 'wonderland').has_role('admin')


@pytest.mark.parametrize('mounted', [False, True])
def test_changes_one_user_and_nothing_else(tmp_path, mounted):
    path = tmp_path / 'auth.json5'
    auth = {'realm': 'here', 'roles': {'admin': ['edit'], 'user': []}, 'limits': {'failures': 3},
            'users': {'ann.x': {'password': passwords.hash_password('old', 50), 'roles': ['user'], 'note': 'x'}, 'bob': {'roles': ['user']}}}
    json5.save(path, {'auth': auth, 'tls': {}} if mounted else auth)
    path.chmod(0o640)
    result = command('--file', path, '--password', 'new', '--rounds', '50', 'ann.x')
    assert result.returncode == 0, result.stderr
    auth['users']['ann.x']['password'] = last(result.stdout)
    assert json5.load(path) == ({'auth': auth, 'tls': {}} if mounted else auth)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    command('--file', path, '--password', 'new', '--rounds', '50', 'cy', 'admin', 'user')
    found = json5.load(path)
    assert (found['auth'] if mounted else found)['users']['cy']['roles'] == ['admin', 'user']


@pytest.mark.parametrize('text', [
    "// first {\n{\n    /* before */ roles: {admin: []}, // after\n    users: {\n        // nobody }\n    },\n    // last\n}\n",
    "{auth: { // {\n  users: {'bob': {roles: ['admin'], note: '} // {' /* } */, password: 'OLD'} /* mine */, cy: {}}, roles: {admin: []}}}",
    "\ufeff{roles: {admin: []} /* no users yet */}", '{}', "{users: {bob: {password: 'OLD'}}}", '{"users": {"a": {}, "bob": {}}, "limits": {}}',
])
def test_comments_and_layout_stay(tmp_path, text):
    path = tmp_path / 'auth.json5'
    path.write_text(text.replace('OLD', passwords.hash_password('old', 50)))
    before = json5.load(path)
    comments = re.findall(r'/\*.*?\*/|// (?:first|after|nobody|last|{\n).*', text)
    for word in 'new', 'newer':
        result = command('--file', path, '--password', word, '--rounds', '50', '--realm', 'here', 'bob')
        assert result.returncode == 0, result.stderr
        after = json5.load(path)
        auth = before.setdefault('auth', before) if 'auth' in before else before
        bob = auth.setdefault('users', {}).setdefault('bob', {})
        auth['realm'] = 'here'
        bob.update(password=last(result.stdout), digest=(after.get('auth') or after)['users']['bob']['digest'])
        assert after == before
        assert all(comment in path.read_text() for comment in comments if '}' not in comment or 'nobody' in comment)
    assert command('--file', path, '--remove', 'bob').returncode == 0
    assert ' \n' not in path.read_text()
    del auth['users']['bob']
    assert json5.load(path) == before
    assert all(comment in path.read_text() for comment in comments if '}' not in comment or 'nobody' in comment)


def test_a_changed_password_changes_the_digest_too(tmp_path):
    path = tmp_path / 'auth.json5'
    assert command('--file', path, '--password', 'old', '--rounds', '50', '--realm', 'here', 'ann').returncode == 0
    assert json5.load(path)['realm'] == 'here'
    assert command('--file', path, '--password', 'new', '--rounds', '50', 'ann').returncode == 0
    assert json5.load(path)['users']['ann']['digest'] == {
        algorithm: secret(algorithm, 'ann', 'here', 'new') for algorithm in ('SHA-256', 'MD5')}


@pytest.mark.parametrize('text, arguments, message', [
    ("{roles: {user: []}}", ['ann', 'admin'], 'auth.users.ann.roles'),
    ("{users: {bob: {password: 'plain'}}}", ['ann'], 'auth.users.bob.password'),
    ("{realm: 'here'}", ['--realm', 'there', 'ann'], 'realm'),
    ("{users: {", ['ann'], 'auth.json5:1:'),
    ("[]", ['ann'], 'auth.json5'),
    ("{users: []}", ['ann'], 'auth.json5'),
])
def test_a_file_that_would_not_do_stays_as_it_is(tmp_path, text, arguments, message):
    path = tmp_path / 'auth.json5'
    path.write_text(text)
    result = command('--file', path, '--password', 'x', '--rounds', '50', *arguments)
    assert result.returncode == 1 and message in result.stderr and 'Traceback' not in result.stderr and result.stdout == ''
    assert path.read_text() == text and os.listdir(tmp_path) == ['auth.json5']


def test_runs_on_a_board_without_openssl():
    program = '''
import sys
class Board:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('_hashlib', '_ssl', 'ssl', 'asyncio', 'logging', 'urllib', 'email', 'ctypes', 'readline', 'unittest'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Board())
sys.path.insert(0, sys.argv[1])
import getpass
from ioto.password import main
sys.exit(main(sys.argv[2:]))
'''
    result = subprocess.run([sys.executable, '-I', '-S', '-c', program, TREE, '--password', 'x', '--rounds', '50', '--realm', 'r', 'ann'],
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert passwords.verify('x', last(result.stdout))


def test_takes_a_user_away(tmp_path):
    path = tmp_path / 'auth.json5'
    for name in ('ann', 'bob'):
        command('--file', path, '--password', 'wonderland', '--rounds', '50', name)
    result = command('--file', path, '--remove', 'ann')
    assert result.returncode == 0 and result.stdout == result.stderr == '' and [*json5.load(path)['users']] == ['bob']
    result = command('--file', path, '--remove', 'ann')
    assert result.returncode == 1 and 'has no user ann' in result.stderr
    assert command('--remove', 'bob').returncode == 2


def test_the_rounds_of_the_file_are_taken(tmp_path):
    path = tmp_path / 'auth.json5'
    path.write_text('{auth: {rounds: 60}}')
    assert last(command('--file', path, '--password', 'x', 'ann').stdout).startswith('PBKDF2:SHA256:60:')
    assert last(command('--file', path, '--password', 'x', '--rounds', '70', 'ann').stdout).startswith('PBKDF2:SHA256:70:')
    path.write_text("{rounds: 'many'}")
    result = command('--file', path, '--password', 'x', 'ann')
    assert result.returncode == 1 and 'auth.rounds' in result.stderr and 'Traceback' not in result.stderr
