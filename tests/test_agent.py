"""The agent: services in order, apps, signals, and what happens when a part fails."""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import ioto
from ioto import json5, runtime, url
from tests.child import ENTRY, PATIENCE, TREE, Child, get, write

BASE = "{services: {web: true}, web: {listen: ['http://127.0.0.1:0'], documents: 'site'}}"


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, 'config/ioto.json5', BASE)
    write(tmp_path, 'config/device.json5',
          "{name: 'Pump', id: 'ABCDEFGHJK', product: 'secret', model: 'P1', colour: 'red'}")
    write(tmp_path, 'site/index.html', 'hello')
    return tmp_path / 'config'


def run(folder, *options):
    return subprocess.run([sys.executable, ENTRY, '--config', str(folder), *map(str, options)], cwd=folder.parent,
                          capture_output=True, text=True, timeout=PATIENCE)


def app(folder, text):
    return str(write(folder.parent, 'app.py', text))


# The HTTP client

def with_url(folder, text):
    write(folder, 'local.json5', '{\n  services: {url: true, web: false},\n  url: ' + text + '\n}')


def test_url_uses_what_the_configuration_says(folder):
    from ioto.url.client import TIMES, default
    with_url(folder, """{timeouts: {first: '2 secs', whole: '5 mins'}, limits: {body: '1K', hostConnections: 2, redirects: 0, keep: 'never'},
        proxy: 'http://127.0.0.1:9', headers: {'User-Agent': 'pump'}, tls: {verify: false, authority: '@certs/ca.crt'}}""")

    async def main():
        async with ioto.Agent(folder) as agent:
            assert agent.services == ['url']
            client = default()
        assert client.pool.closed
        return client
    client = runtime.run(main)
    assert client.times == TIMES | {'first': 2, 'whole': 300} and client.pool.expiry == float('inf')
    assert (client.limit, client.redirects, client.pool.per_host, client.pool.total) == (1024, 0, 2, 100)
    assert client.fields['user-agent'][1] == 'pump' and client.proxies.all['https'] == 'http://127.0.0.1:9'
    assert client.trust == (os.path.abspath('certs/ca.crt'), None, None, False)


def test_url_where_it_is_not_installed(folder, monkeypatch):
    write(folder, 'local.json5', '{services: {url: true}}')
    monkeypatch.setitem(sys.modules, 'ioto.url', None)
    with pytest.raises(ioto.ConfigError, match='local.json5:1:13: services.url: it needs the module ioto.url, which is not here'):
        ioto.Agent(folder)


def test_url_needs_no_settings(folder):
    write(folder, 'local.json5', '{services: {url: true, web: false}}')

    async def main():
        async with await runtime.listen('127.0.0.1:0', answer) as server, ioto.Agent(folder):
            return await url.get(f'http://127.0.0.1:{server.port}/')

    async def answer(stream):
        await stream.read()
        await stream.write(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    assert runtime.run(main) == 'ok'


@pytest.mark.parametrize('text, place, error', [
    ("{proxy: 'socks5://x'}", '3:9', 'url.proxy: bad proxy: expected http://host'),
    ("{proxy: 'https://x'}", '3:9', 'url.proxy: bad proxy: expected http://host:port, got https:'),
    ("{headers: {'X Y': '1'}}", '3:9', r"url.headers: bad field: 'X Y: 1"),
    ("{tls: {authority: '/none'}}", '3:15', 'url.tls.authority: cannot use authority /none: No such file'),
    ("{tls: {certificate: '/dev/null'}}", '3:15', 'url.tls.certificate: cannot use certificate /dev/null: it has no'),
])
def test_mistakes_in_url_stop_the_start(folder, text, place, error):
    with_url(folder, text)
    with pytest.raises(ioto.ConfigError) as caught:
        ioto.Agent(folder)
    assert str(caught.value).startswith(f'{folder}/local.json5:{place}: {error}')


# The web service and what the device says about itself

def test_it_serves_the_site_and_the_device(folder):
    with Child(folder) as child:
        assert get(child.port)[2] == b'hello'
        status, fields, body = get(child.port, '/api/device')
        report = json.loads(body)
        assert status == 200 and fields['content-type'].startswith('application/json')
        assert report['device'] == {'name': 'Pump', 'id': 'ABCDEFGHJK', 'model': 'P1'}
        assert report['agent']['pid'] == child.process.pid and report['agent']['services'] == ['web']
        assert 1 << 20 < report['memory']['agent'] < 1 << 27
        assert 0 < report['memory']['available'] < report['memory']['total']
        assert report['host']['uptime'] > report['agent']['uptime'] > 0
        assert abs(report['time'] - time.time()) < 60


def test_request_counts_and_uptime_move_on(folder):
    with Child(folder) as child:
        first = json.loads(get(child.port, '/api/device')[2])
        for _ in range(3):
            get(child.port)
        second = json.loads(get(child.port, '/api/device')[2])
        assert second['web']['requests'] == first['web']['requests'] + 4
        assert second['agent']['uptime'] > first['agent']['uptime']


def test_the_device_is_read_only(folder):
    with Child(folder) as child:
        status, fields, _ = get(child.port, '/api/device', method='POST')
        assert status == 405 and 'GET' in fields['allow']


def test_it_says_in_a_line_each_what_it_started(folder):
    path = app(folder, 'async def start(agent):\n    pass\n')
    with Child(folder, '--app', path) as child:
        lines = child.output().splitlines()
    assert len(lines) == 4
    for line, words in zip(lines, ('Starting Ioto', 'App app.py', 'Web serves', 'ready')):
        assert line.startswith('app: info: ') and words in line
    assert lines[2].endswith('; without TLS (python3 tools/certs.py makes certificates)')


def test_no_service_enabled_is_allowed(folder):
    write(folder, 'ioto.json5', '{}')
    result = run(folder, '--exit', 'app:ready')
    assert result.returncode == 0 and ' ready' in result.stdout


# Signals

@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_status_0(folder, number):
    with Child(folder) as child:
        port = child.port
        assert child.stop(number) == 0
        with pytest.raises(OSError):
            socket.create_connection(('127.0.0.1', port), 1)
        assert 'Traceback' not in child.output()


def test_a_transfer_in_hand_is_finished_after_sigterm(folder):
    path = app(folder, '''
from ioto import json5, runtime, url
from ioto.runtime.log import Log
async def start(agent):
    @agent.web.action('/slow')
    async def slow(web):
        Log('test').info('slow began')
        await runtime.sleep(0.5)
        return 'done'
''')
    with Child(folder, '--app', path) as child, socket.create_connection(('127.0.0.1', child.port), PATIENCE) as sock:
        sock.sendall(b'GET /slow HTTP/1.1\r\nHost: x\r\n\r\n')
        child.wait_for('slow began')
        child.send(signal.SIGTERM)
        data = b''
        while part := sock.recv(4096):
            data += part
        assert data.startswith(b'HTTP/1.1 200') and data.endswith(b'done')
        assert child.wait() == 0


@pytest.mark.parametrize('number, status', [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_a_second_signal_stops_it_at_once(folder, number, status):
    path = app(folder, '''
from ioto import json5, runtime, url
from ioto.runtime.log import Log
async def start(agent):
    @agent.web.action('/slow')
    async def slow(web):
        Log('test').info('slow began')
        await runtime.sleep(1000)
''')
    with Child(folder, '--app', path) as child, socket.create_connection(('127.0.0.1', child.port), PATIENCE) as sock:
        sock.sendall(b'GET /slow HTTP/1.1\r\nHost: x\r\n\r\n')
        child.wait_for('slow began')
        began = time.monotonic()
        child.send(number)
        child.wait_for('Stopping')
        child.send(number)
        assert child.wait() == status
        assert time.monotonic() - began < 9
        assert 'Traceback' not in child.output()


def test_a_signal_during_the_start_stops_it(folder):
    path = app(folder, '''
from ioto import json5, runtime, url
from ioto.runtime.log import Log
async def start(agent):
    Log('test').info('waiting')
    await runtime.sleep(1000)
''')
    child = Child(folder, '--app', path)
    child.wait_for('waiting')
    assert child.stop() == 0


def test_sighup_reads_the_web_configuration_again(folder):
    with Child(folder) as child:
        assert get(child.port, '/old')[0] == 404
        write(folder, 'web.json5', "{redirect: [{from: '/old', to: '/new', status: 301}]}")
        child.send(signal.SIGHUP)
        child.wait_for('Configuration reloaded')
        status, fields, _ = get(child.port, '/old')
        assert status == 301 and fields['location'].endswith('/new')
        write(folder, 'web.json5', "{redirect: [{from: '/old', too: '/new'}]}")
        child.send(signal.SIGHUP)
        child.wait_for(f'Configuration not reloaded: {folder}/web.json5:1:28: web.redirect[0].too: unknown property')
        assert get(child.port, '/old')[0] == 301
        assert child.stop() == 0


def test_sigusr2_raises_the_trace_level(folder):
    path = app(folder, '''
from ioto.runtime.log import Log
async def start(agent):
    @agent.web.action('/say')
    async def say(web):
        Log('test').trace('a trace message')
''')
    with Child(folder, '--app', path) as child:
        get(child.port, '/say')
        assert 'a trace message' not in child.output()
        child.send(signal.SIGUSR2)
        limit = time.monotonic() + PATIENCE
        while 'a trace message' not in child.output() and time.monotonic() < limit:
            get(child.port, '/say')
        assert 'a trace message' in child.output()


# Failures

def test_a_port_in_use_is_one_line_and_status_1(folder):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        write(folder, 'web.json5', f"{{listen: ['http://127.0.0.1:{port}']}}")
        result = run(folder)
    assert result.returncode == 1
    assert result.stderr.count('\n') == 1 and str(port) in result.stderr and 'in use' in result.stderr


def test_a_folder_that_has_no_name_is_reported_with_its_place(folder):
    write(folder, 'web.json5', "{\n  documents: '@pages/'}")
    result = run(folder)
    assert result.returncode == 1
    assert result.stderr.startswith(f'{folder}/web.json5:2:3: web.documents: expected @config/')


def test_documents_that_do_not_exist_are_reported_with_their_place(folder):
    write(folder, 'web.json5', "{\n  documents: 'nowhere'}")
    result = run(folder)
    assert result.returncode == 1
    assert result.stderr.startswith(f'{folder}/web.json5:2:3: web.documents: ') and result.stderr.count('\n') == 1


def test_a_late_failure_stops_what_had_started(folder):
    path = app(folder, "async def start(agent):\n    raise RuntimeError('no pump')\n")
    result = run(folder, '--app', path)
    assert result.returncode == 1
    assert 'Traceback' in result.stdout + result.stderr and 'RuntimeError: no pump' in result.stderr
    assert ' ready' not in result.stdout


@pytest.mark.parametrize('text', ['def (', 'import nothing_like_this'])
def test_an_app_that_cannot_be_loaded_has_status_1(folder, text):
    assert run(folder, '--app', app(folder, text)).returncode == 1


def test_an_app_that_does_not_exist_is_one_line_and_status_1(folder):
    result = run(folder, '--app', 'none.py')
    assert (result.returncode, result.stderr) == (1, '--app: there is no file none.py\n')
    write(folder, 'local.json5', "{app: 'none.py'}")
    result = run(folder)
    assert result.returncode == 1
    assert result.stderr == f'{folder}/local.json5:1:2: app: there is no file {folder.parent}/none.py\n'


# Apps

APP = '''
from helper import word
async def start(agent):
    @agent.web.action('/word')
    async def say(web):
        return word
async def stop(agent):
    print('stopped', agent.device['name'], flush=True)
'''


def test_an_app_starts_stops_and_finds_its_neighbours(folder):
    write(folder.parent, 'helper.py', "word = 'neighbour'\n")
    with Child(folder, '--app', app(folder, APP)) as child:
        assert get(child.port, '/word')[2] == b'neighbour'
        assert child.stop() == 0
        assert 'stopped Pump' in child.output()


def test_no_request_comes_before_the_apps_start_has_returned_or_after_its_stop_has_begun(folder):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    write(folder, 'web.json5', f"{{listen: ['http://127.0.0.1:{port}']}}")
    path = app(folder, f'''
import socket
from ioto import runtime
def listening():
    with socket.socket() as sock:
        return sock.connect_ex(('127.0.0.1', {port})) == 0
async def start(agent):
    print('before', listening(), flush=True)
    await runtime.sleep(0.1)
    print('later', listening(), flush=True)
    @agent.web.action('/late')
    async def late(web):
        return 'here'
async def stop(agent):
    print('after', listening(), flush=True)
''')
    with Child(folder, '--app', path) as child:
        assert get(port, '/late')[2] == b'here'
        assert child.stop() == 0
        output = child.output()
    assert 'before False' in output and 'later False' in output and 'after False' in output


def test_an_app_whose_web_server_cannot_listen_is_stopped_again(folder):
    path = app(folder, "def stop(agent):\n    print('stopped', flush=True)\n")
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        write(folder, 'web.json5', f"{{listen: ['http://127.0.0.1:{taken.getsockname()[1]}']}}")
        result = run(folder, '--app', path)
    assert result.returncode == 1 and 'stopped' in result.stdout and 'in use' in result.stderr


def test_an_app_may_be_named_in_the_configuration_and_be_plain(folder):
    write(folder.parent, 'plain.py', "def start(agent):\n    print('plain start', flush=True)\n")
    write(folder, 'local.json5', "{app: 'plain.py'}")
    result = run(folder, '--exit', 'app:ready')
    assert result.returncode == 0 and 'plain start' in result.stdout


def test_an_app_whose_stop_fails_gives_status_1_and_the_services_stop(folder):
    path = app(folder, "def stop(agent):\n    raise ValueError('stuck')\n")
    result = run(folder, '--app', path, '--exit', 'app:ready')
    assert result.returncode == 1 and 'stuck' in result.stdout + result.stderr


def test_the_examples_of_the_readme_work(folder, tmp_path):
    with open(os.path.join(TREE, 'README.md'), encoding='utf-8') as file:
        blocks = dict(reversed(re.findall(r'^```(js|python)\n(.*?)^```', file.read(), re.M | re.S)))
    for name in ('device.json5', 'ioto.json5'):
        os.unlink(folder / name)
    write(folder, 'ioto.json5', blocks['js'].replace('127.0.0.1:8080', '127.0.0.1:0'))
    with Child(folder, '--app', app(folder, blocks['python'])) as child:
        assert get(child.port, '/api/hello?name=pump')[2] == b'{"hello":"pump"}'
        assert get(child.port, '/old/x')[0] == 301
        assert get(child.port)[2] == b'hello'
        assert child.stop() == 0
    assert json5.load(folder / 'ioto.json5')['conditional']['profile']['prod']['web']['listen'] == ['http://:80']


# Inside a program of one's own

def test_run_takes_functions_and_returns_the_status(folder):
    order = []

    async def start(agent):
        order.append(agent)

    def stop(agent):
        order.append('stop')

    def ready():
        order.append(order[0].web.addresses[0])

    runtime.watch('app:ready', ready)
    try:
        assert ioto.run(config=str(folder), start=start, stop=stop, exit='app:ready') == 0
    finally:
        runtime.unwatch('app:ready', ready)
    assert order[1].startswith('http://127.0.0.1:') and order[2:] == ['stop']


def test_run_returns_1_for_a_wrong_configuration(tmp_path, capsys):
    assert ioto.run(config=str(tmp_path / 'none')) == 1
    assert 'none' in capsys.readouterr().err


def test_an_agent_lives_inside_a_scheduler_of_ones_own(folder):
    async def main():
        async with ioto.Agent(str(folder)) as agent:
            stream = await runtime.connect('127.0.0.1', int(agent.web.addresses[0].rpartition(':')[2]))
            await stream.write(b'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
            data = b''
            while part := await stream.read(4096):
                data += part
            await stream.close()
            assert agent.services == ['web'] and agent.config['web']['documents'] == 'site'
            return data
    assert runtime.run(main).endswith(b'hello')


def test_a_configuration_may_be_a_dictionary():
    agent = ioto.Agent({'device': {'name': 'x'}}, id='ABCDEFGHJK')
    assert agent.device == {'name': 'x', 'id': 'ABCDEFGHJK'} and agent.web is None


def test_timeouts_may_be_switched_off_for_debugging():
    web = {'documents': TREE, 'routes': [{'match': '/x', 'timeouts': {'request': 1}}], 'timeouts': {'grace': '3 secs'}}
    web = ioto.Agent({'services': {'web': True}, 'web': web}, timeouts=True).config['web']
    assert web['timeouts']['parse'] == web['timeouts']['request'] == float('inf')
    assert web['routes'][0]['timeouts']['request'] == float('inf')
    assert web['timeouts']['grace'] == 3


def test_options_are_checked_as_the_configuration_is():
    with pytest.raises(ioto.ConfigError, match="web.show: expected letters out of 'HhBb', got 'x'"):
        ioto.Agent({}, show='x')


def test_run_in_a_thread_leaves_posix_signals_alone(folder):
    before = signal.getsignal(signal.SIGTERM)
    result = []
    thread = threading.Thread(target=lambda: result.append(ioto.run(config=str(folder), exit='app:ready')))
    thread.start()
    thread.join(PATIENCE)
    assert result == [0] and signal.getsignal(signal.SIGTERM) is before


def test_unknown_options_are_refused(folder):
    with pytest.raises(TypeError, match='trase'):
        ioto.Agent(str(folder), trase='x')


def test_importing_ioto_loads_nothing_else():
    code = 'import sys, ioto; print(*[name for name in sys.modules if name.startswith("ioto")])'
    result = subprocess.run([sys.executable, '-c', code], cwd=TREE, capture_output=True, text=True, timeout=PATIENCE)
    assert result.stdout == 'ioto\n'
    assert re.fullmatch(r'\d+\.\d+\.\d+', ioto.version)
    with pytest.raises(AttributeError):
        ioto.nothing
    assert os.path.basename(os.path.dirname(ioto.__file__)) == 'ioto'


def test_sighup_takes_users_away_and_keeps_the_others_signed_in(tmp_path):
    from ioto.web import passwords
    entry = f"{{password: '{passwords.hash_password('word', 50)}'}}"
    write(tmp_path, 'config/ioto.json5', "{services: {web: true}, web: {listen: ['http://127.0.0.1:0']}}")
    write(tmp_path, 'config/auth.json5', f'{{users: {{ann: {entry}, bob: {entry}}}}}')

    def curl(name, *options):
        jar = tmp_path / f'{name}.jar'
        return subprocess.run(['curl', '-s', '-b', jar, '-c', jar, *options], capture_output=True, text=True, timeout=20).stdout
    with Child(tmp_path / 'config') as child:
        url = f'http://127.0.0.1:{child.port}'
        for name in ('ann', 'bob'):
            curl(name, '-d', f'username={name}&password=word', f'{url}/auth/login')
            assert f'"user":"{name}"' in curl(name, f'{url}/api/device')
        write(tmp_path, 'config/auth.json5', '{users: {ann: {password: 5}}}')
        child.send(signal.SIGHUP)
        child.wait_for('auth.json5:1:16: auth.users.ann.password: expected a hash')
        assert '"user":"ann"' in curl('ann', f'{url}/api/device')
        write(tmp_path, 'config/auth.json5', f'{{users: {{bob: {entry}}}}}')
        child.send(signal.SIGHUP)
        child.wait_for('Configuration reloaded')
        assert '"user":null' in curl('ann', f'{url}/api/device') and '"user":"bob"' in curl('bob', f'{url}/api/device')
