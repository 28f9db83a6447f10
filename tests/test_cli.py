"""The command line: options, exit statuses, the daemon."""
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from ioto import cli
from tests.child import ENTRY, PATIENCE, TREE, Child, get, write

EVERY = ('account app background cloud config debug exit home id nolocal nosave product profile quiet reset show state '
         'timeouts trace verbose version help').split()


def run(*options, cwd=TREE, command=(ENTRY,)):
    return subprocess.run([sys.executable, *command, *map(str, options)], cwd=cwd, capture_output=True, text=True,
                          timeout=PATIENCE)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, 'config/ioto.json5',
          "{services: {web: true}, web: {listen: ['http://127.0.0.1:0'], documents: 'site'}}")
    write(tmp_path, 'site/index.html', 'hello')
    return tmp_path / 'config'


@pytest.mark.parametrize('words, options', [
    ([], {}),
    (['--config', 'x/', '--verbose'], {'config': 'x/', 'verbose': True}),
    (['--config=x', '--profile=prod', '--exit=10 secs'], {'config': 'x', 'profile': 'prod', 'exit': '10 secs'}),
    (['--trace', 'stdout:error:all,!web'], {'trace': 'stdout:error:all,!web'}),
    (['--trace=a=b'], {'trace': 'a=b'}),
    (['--profile', 'dev', '--profile', 'prod'], {'profile': 'prod'}),
])
def test_options_are_parsed(words, options):
    assert cli.parse(words) == options


@pytest.mark.parametrize('words, message', [
    (['--conifg', 'x'], "unknown option '--conifg', did you mean '--config'?"),
    (['--xyzzy'], "unknown option '--xyzzy'"),
    (['config/'], "unexpected 'config/'"),
    (['-h'], "unknown option '-h'"),
    (['--config'], '--config expects a value: FOLDER'),
    (['--config', '--verbose'], '--config expects a value: FOLDER'),
    (['--config='], '--config expects a value: FOLDER'),
    (['--verbose=yes'], '--verbose takes no value'),
])
def test_a_wrong_command_line_is_refused(words, message):
    with pytest.raises(cli.UsageError) as caught:
        cli.parse(words)
    assert str(caught.value) == message


def test_a_wrong_command_line_has_status_2_and_a_hint():
    result = run('--xyzzy')
    assert result.returncode == 2
    assert result.stdout == '' and "unknown option '--xyzzy'" in result.stderr and '--help' in result.stderr


def test_help_explains_every_option_in_a_line():
    result = run('--help')
    assert result.returncode == 0
    assert sorted(re.findall(r'^  --(\w+)', result.stdout, re.M)) == sorted(EVERY) == sorted(cli.OPTIONS)
    assert all(len(line) <= 120 for line in result.stdout.splitlines())


@pytest.mark.parametrize('command', [(ENTRY,), ('-m', 'ioto')])
def test_version_is_a_number_on_a_line(command):
    result = run('--version', command=command)
    assert result.returncode == 0 and re.fullmatch(r'\d+\.\d+\.\d+\n', result.stdout)


def test_it_runs_from_any_folder(folder, tmp_path):
    with Child(folder, cwd=tmp_path) as child:
        assert get(child.port)[2] == b'hello'
        assert child.stop() == 0


def test_without_config_the_folder_config_is_used_or_asked_for(folder, tmp_path):
    assert run('--exit', 'app:ready', cwd=tmp_path).returncode == 0
    result = run('--exit', 'app:ready', cwd=folder)
    assert result.returncode == 2 and result.stdout == ''
    assert 'no folder config/ here, expected --config FOLDER' in result.stderr


def test_a_mistake_in_the_configuration_has_status_1_and_says_where(folder):
    write(folder, 'web.json5', '{\n    index: "a.html",\n    limits: {body: "lots"}\n}')
    result = run('--config', folder)
    assert result.returncode == 1
    assert result.stderr == f"{folder}/web.json5:3:14: web.limits.body: expected a size such as '100K', got 'lots'\n"


def test_a_service_that_is_not_there_is_an_error_and_not_silence(folder):
    write(folder, 'local.json5', '{services: {shadow: true}}')
    result = run('--config', folder)
    assert result.returncode == 1
    assert result.stderr.startswith(f'{folder}/local.json5:1:13: services.shadow: ')
    assert result.stderr.count('\n') == 1
    with Child(folder, '--nolocal') as child:
        assert child.stop() == 0


def test_exit_after_a_time(folder):
    began = time.monotonic()
    result = run('--config', folder, '--exit', '1 sec')
    assert result.returncode == 0 and time.monotonic() - began >= 1


def test_exit_after_an_event(folder):
    result = run('--config', folder, '--exit', 'app:ready')
    assert result.returncode == 0 and ' ready' in result.stdout


def test_exit_with_nonsense_is_refused(folder):
    result = run('--config', folder, '--exit', '10 parsecs')
    assert result.returncode == 1 and '--exit' in result.stderr


def test_trace_with_nonsense_is_refused(folder):
    result = run('--config', folder, '--trace', 'stdout:errors')
    assert result.returncode == 1 and '--trace' in result.stderr


@pytest.mark.parametrize('option, seen, unseen', [('--quiet', [], ['Starting']), ('--verbose', ['Starting'], []),
                                                  ('--debug', ['Starting'], [])])
def test_how_much_is_said(folder, option, seen, unseen):
    result = run('--config', folder, option, '--exit', 'app:ready')
    assert result.returncode == 0
    assert all(word in result.stdout for word in seen) and not any(word in result.stdout for word in unseen)


def test_trace_names_file_types_and_sources(folder, tmp_path):
    log = tmp_path / 'trace.log'
    result = run('--config', folder, '--trace', f'{log}:error,info:all,!app', '--exit', 'app:ready')
    assert result.returncode == 0 and result.stdout == ''
    assert 'Starting' not in (log.read_text() if log.exists() else '')
    result = run('--config', folder, '--trace', f'{log}:info', '--exit', 'app:ready')
    assert 'Starting' in log.read_text()


def test_profile_overlays(folder):
    write(folder, 'local.json5', "{profiles: {lab: {device: {id: 'LABLABLAB1'}}}}")
    assert 'LABLABLAB1' in run('--config', folder, '--profile', 'lab', '--exit', 'app:ready').stdout
    assert 'LABLABLAB1' not in run('--config', folder, '--exit', 'app:ready').stdout


def test_id_and_product_are_the_devices(folder):
    with Child(folder, '--id', 'ABCDEFGHJK', '--product', 'PRODUCT') as child:
        body = get(child.port, '/api/device')[2]
        assert b'ABCDEFGHJK' in body and b'PRODUCT' not in body


def test_reset_removes_what_was_learned_and_nothing_else(folder, tmp_path):
    state = tmp_path / 'elsewhere'
    for name in ('device.json5', 'provision.json5', 'ioto.key', 'device.db', 'device.db-wal', 'mqtt.db.corrupt-1', 'mine.txt'):
        write(state, name, 'x')
    assert run('--config', folder, '--state', state, '--exit', 'app:ready').returncode == 0
    assert len(os.listdir(state)) == 7
    assert run('--config', folder, '--state', state, '--reset', '--exit', 'app:ready').returncode == 0
    assert os.listdir(state) == ['mine.txt']


def with_users(folder):
    """The options of an agent that needs users, and its state/auth.json5."""
    write(folder, 'config/ioto.json5', "{services: {web: true}, web: {listen: ['http://127.0.0.1:0'], routes: [{match: '/a', auth: 'form'}, {}]}}")
    return ('--config', folder / 'config', '--state', folder / 'state'), folder / 'state/auth.json5'


def test_reset_removes_users_that_cannot_be_read(tmp_path):
    options, users = with_users(tmp_path)
    write(tmp_path, 'state/auth.json5', '{users: {')
    refused = run(*options, '--exit', 'app:ready')
    assert refused.returncode == 1 and f'{users}:1:10' in refused.stderr and 'set-up' not in refused.stdout
    result = run(*options, '--reset', '--exit', 'app:ready')
    assert result.returncode == 0 and 'Reset: removed auth.json5' in result.stdout and 'set-up code' in result.stdout


@pytest.mark.parametrize('options', [[], ['--quiet'], ['--trace', 'stderr:all:app']])
def test_the_set_up_code_is_shown_once_whatever_is_logged(tmp_path, options):
    result = run(*with_users(tmp_path)[0], '--exit', 'app:ready', *options)
    assert (result.stdout + result.stderr).count('set-up code') == 1


def test_nosave_writes_no_users(tmp_path):
    options, users = with_users(tmp_path)
    with Child(options[1], *options[2:], '--nosave') as child:
        code = child.wait_for(re.compile('set-up code (\\w+)'))[1]
        form = f'code={code}&username=root&password=correcthorse&again=correcthorse'
        with socket.create_connection(('127.0.0.1', child.port), PATIENCE) as sock:
            sock.sendall(f'POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: {len(form)}\r\n\r\n{form}'.encode())
            assert sock.recv(1000).startswith(b'HTTP/1.1 303 ')
    assert not users.exists()


def test_background_returns_when_the_agent_is_ready_and_leaves_the_terminal(folder, tmp_path):
    log = tmp_path / 'agent.log'
    result = run('--config', folder, '--background', '--trace', f'{log}:info')
    assert result.returncode == 0 and result.stdout == result.stderr == ''
    port = int(re.search(r'127\.0\.0\.1:(\d+)', log.read_text())[1])
    import json
    pid = json.loads(get(port, '/api/device')[2])['agent']['pid']
    try:
        with open(f'/proc/{pid}/stat') as file:
            session = int(file.read().rpartition(')')[2].split()[3])
        assert session not in (pid, os.getsid(0))
        for number in (0, 1, 2):
            assert os.readlink(f'/proc/{pid}/fd/{number}') == os.devnull
    finally:
        os.kill(pid, signal.SIGTERM)
    limit = time.monotonic() + PATIENCE
    while os.path.exists(f'/proc/{pid}/stat') and time.monotonic() < limit:
        with open(f'/proc/{pid}/stat') as file:
            if file.read().rpartition(')')[2].split()[0] == 'Z':
                break
        time.sleep(0.05)
    with pytest.raises(OSError):
        socket.create_connection(('127.0.0.1', port), 1)


def test_background_that_cannot_start_says_why(folder):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        write(folder, 'local.json5', f"{{web: {{listen: ['http://127.0.0.1:{port}']}}}}")
        result = run('--config', folder, '--background')
    assert result.returncode == 1 and str(port) in result.stderr and 'Traceback' not in result.stderr
