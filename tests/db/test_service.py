"""services.database and services.demo: the configuration's mistakes, and an agent in a child process."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from ioto import Agent, ConfigError, config, json5, runtime
from ioto.db import Database
from tests.child import PATIENCE, TREE, Child, get, write

MODELS = "models: {Store: {pk: {value: 's#${accountId}#${deviceId}'}, sk: {value: '${key}'}, key: {required: true}, value: {type: 'any'}, type: {}}}"
SCHEMA = '{' + MODELS + '}'
APP = '''
async def start(agent):
    @agent.web.action('/put')
    async def put(web):
        return agent.db.create('Store', {'key': web.query})
'''


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, 'config/schema.json5', SCHEMA)
    write(tmp_path, 'app.py', APP)
    configure(tmp_path)
    return tmp_path


def configure(folder, database=None, **more):
    values = {'services': {'web': True, 'database': True}, 'web': {'listen': ['http://127.0.0.1:0']}, 'app': 'app.py',
              'database': {'api': {'read': 'anyone'}, **(database or {})}, 'account': 'acme', 'device': {'id': 'DEVICE'}, **more}
    return write(folder, 'config/ioto.json5', json.dumps(values, indent=1))


def keys(path):
    db = Database(path, json5.parse(SCHEMA), {'accountId': 'acme', 'deviceId': 'DEVICE'})
    found = [item['key'] for item in db.find('Store')]
    db.shut()
    return found


def listed(child):
    return [item['key'] for item in json.loads(get(child.port, '/api/db/Store')[2])['items']]


def test_an_app_has_the_database_and_a_stop_keeps_all(folder):
    with Child(folder / 'config') as child:
        assert json.loads(get(child.port, '/put?a')[2]) == {'key': 'a'} and listed(child) == ['a']
        assert child.stop() == 0
    assert f'app: info: Database {folder}/state/ioto.db has ' in child.output() and 'error' not in child.output()
    assert os.listdir(folder / 'state') == ['ioto.db'] and keys(folder / 'state/ioto.db') == ['a']
    assert os.stat(folder / 'state/ioto.db').st_mode & 0o777 == 0o600


def test_what_is_there_outlives_a_sigkill(folder):
    with Child(folder / 'config') as child:
        get(child.port, '/put?a')
        child.stop(signal.SIGKILL)
    with Child(folder / 'config') as child:
        assert listed(child) == ['a']


def test_an_agent_in_a_scheduler_of_ones_own(folder):
    async def main():
        async with Agent(str(folder / 'config'), app=str(folder / 'app.py'), state=str(folder / 'state')) as agent:
            agent.db.create('Store', {'key': 'x'})
            return agent.db.context
    assert runtime.run(main) == {'accountId': 'acme', 'deviceId': 'DEVICE'}
    assert keys(folder / 'state/ioto.db') == ['x']


@pytest.mark.parametrize('path, state', [('@state/sub/x.sqlite', 'sub/x.sqlite'), (':memory:', None)])
def test_the_path_is_a_property(folder, path, state):
    configure(folder, {'path': path})
    with Child(folder / 'config') as child:
        get(child.port, '/put?a')
        assert child.stop() == 0
    assert not state and not (folder / 'state').exists() or keys(folder / 'state' / state) == ['a']
    if state:
        with Child(folder / 'config', '--reset') as child:
            assert listed(child) == [] and re.search(r'Reset: removed .*x\.sqlite\n', child.output())


def test_a_reset_removes_what_belongs_to_the_database_and_nothing_beside_it(folder):
    configure(folder, {'path': str(folder / 'data/x.sqlite')})
    for name in ('x.sqlite', 'x.sqlite-wal', 'x.sqlite.corrupt-1', 'x.sqlite.damaged', 'x.sqlite.json5', 'other.db'):
        write(folder, f'data/{name}', '')
    for name in ('x.sqlite', 'mqtt.db', 'mqtt.db-wal', 'mqtt.db.corrupt-2-wal', 'note.txt'):
        write(folder, f'state/{name}', '')
    assert len(Agent(str(folder / 'config'), reset=True, state=str(folder / 'state')).forgotten) == 7
    assert sorted(os.listdir(folder / 'data')) == ['other.db', 'x.sqlite.json5']
    assert sorted(os.listdir(folder / 'state')) == ['note.txt', 'x.sqlite']


def test_with_nosave_nothing_is_kept(folder):
    with Child(folder / 'config', '--nosave') as child:
        get(child.port, '/put?a')
        assert listed(child) == ['a']
        assert child.stop() == 0
    assert not (folder / 'state').exists()


def test_a_damaged_file_is_set_aside_and_the_agent_starts(folder):
    write(folder, 'state/ioto.db', 'nonsense' * 500)
    with Child(folder / 'config') as child:
        assert re.search(r'error: .*state/ioto\.db was set aside as .*state/ioto\.db\.corrupt-1: ', child.output())
        get(child.port, '/put?a')
        assert child.stop() == 0
    assert (folder / 'state/ioto.db.corrupt-1').read_text() == 'nonsense' * 500
    with Child(folder / 'config', '--reset') as child:
        assert listed(child) == []
        assert child.stop() == 0
    assert os.listdir(folder / 'state') == ['ioto.db']


def test_a_stop_ends_who_listens_for_changes(folder):
    with Child(folder / 'config') as child, socket.create_connection(('127.0.0.1', child.port), PATIENCE) as sock:
        sock.sendall(b'GET /api/db/Store HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n')
        file = sock.makefile('rb')
        while b'retry' not in file.readline():
            pass
        get(child.port, '/put?a')
        assert child.stop() == 0
        assert b'"event":"create"' in file.read() and 'error' not in child.output()


def test_a_second_agent_says_that_the_file_is_in_use(folder):
    with Child(folder / 'config'):
        second = Child(folder / 'config')
        assert second.wait() == 1 and re.search(r'\ndatabase: .*state/ioto\.db: it is in use by another process\n', second.output())


def test_a_path_that_cannot_be_opened_stops_the_start(folder):
    configure(folder, {'path': str(folder / 'app.py/ioto.db')})
    child = Child(folder / 'config')
    assert child.wait() == 1 and re.search('\ndatabase: .*app.py/ioto.db: (File exists|Not a directory)\n', child.output())


def test_without_sqlite3_it_says_what_to_install(folder):
    program = f"import sys; sys.path.insert(0, {TREE!r}); sys.modules['sqlite3'] = None; import ioto; sys.exit(ioto.run('config'))"
    done = subprocess.run([sys.executable, '-c', program], cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert re.match(r'\S+ioto\.json5:\d+:\d+: services\.database: .*opkg install python3-sqlite3\n', done.stderr)


def test_a_reload_says_what_needs_a_restart_and_takes_the_roles(folder):
    with Child(folder / 'config') as child:
        configure(folder, {'flush': '2 secs', 'limit': '1 MB', 'api': {'read': 'nobody'}})
        write(folder, 'config/schema.json5', SCHEMA.replace('type: {}', 'type: {}, more: {}'))
        child.send(signal.SIGHUP)
        child.wait_for("Configuration reloaded; a restart is needed for the database's schema, flush, limit")
        assert get(child.port, '/api/db/Store')[0] == 404
        write(folder, 'config/schema.json5', SCHEMA.replace('type: {}', 'type: 5'))
        child.send(signal.SIGHUP)
        child.wait_for(re.compile(r'Configuration not reloaded: .*schema\.json5:1:\d+: schema\.models\.Store\.type: expected an object'))
        assert child.stop() == 0


# Where the schema is, and mistakes

def test_the_schema_may_stand_in_ioto_json5_or_in_another_file(folder):
    (folder / 'config/schema.json5').rename(folder / 'mine.json5')
    for schema in json5.parse(SCHEMA), 'mine.json5', {'blend': ['../mine.json5']}:
        configure(folder, schema=schema)
        assert list(Agent(str(folder / 'config'))._database.schema.models) == ['Store']


@pytest.mark.parametrize('database, more, property, reason', [
    ({'path': ''}, {}, 'database.path', 'expected a text that is not empty'),
    ({'flush': 0}, {}, 'database.flush', 'a time above 0'),
    ({'limit': 'big'}, {}, 'database.limit', "a size from 1 byte, such as '100K'"),
    ({'size': 1}, {}, 'database.size', 'unknown property'),
    ({'api': {'read': 'usr'}}, {'auth': {'roles': {'user': []}}}, 'database.api.read', "'anyone' or 'nobody', got 'usr'"),
    ({}, {'demo': {'period': 0}}, 'demo.period', 'a time above 0'),
    ({}, {'services': {'demo': True}}, 'services.demo', 'it needs services.database, and the model Store'),
    ({}, {'schema': {'models': {'Store': {'pk': 5}}}}, 'schema.models.Store.pk', 'expected an object'),
    ({}, {'schema': {'models': {'Store': {"a'b c.": {}}}}}, "schema.models.Store.a'b c", 'expected a name'),
    ({}, {'schema': {'blend': ['none.json5']}}, 'schema', 'none.json5'),
    ({}, {'schema': 'none.json5'}, 'schema', 'none.json5'),
    ({}, {'schema': 'app.py'}, 'schema', 'app.py:'),
])
def test_a_mistake_has_its_place(folder, database, more, property, reason):
    if 'schema' in more:
        (folder / 'config/schema.json5').unlink()
    path = configure(folder, database, **more)
    with pytest.raises(ConfigError, match=re.escape(reason)) as caught:
        Agent(str(folder / 'config'))
    assert re.match(rf'{path}:\d+:\d+: {re.escape(property)}: ', str(caught.value))


@pytest.mark.parametrize('schema, property', [("{blend: ['more.json5'], models: {}}", 'schema.blend'), (None, 'schema')])
def test_a_mistake_in_another_schema_file_has_the_place_there_too(folder, schema, property):
    more = write(folder, 'config/more.json5', '{\n  models: {\n    Pump: {\n      speed: {type: 5}}}}')
    if schema:
        write(folder, 'config/schema.json5', schema)
    else:
        (folder / 'config/schema.json5').unlink()
        configure(folder, schema='@config/more.json5')
    with pytest.raises(ConfigError) as caught:
        Agent(str(folder / 'config'))
    assert re.search(rf': {property}: {more}:4:\d+: models\.Pump\.', str(caught.value))


def test_a_schema_is_needed(folder):
    (folder / 'config/schema.json5').unlink()
    with pytest.raises(ConfigError, match='ioto.json5:.*: services.database: it needs a schema'):
        Agent(str(folder / 'config'))


# The demo

def test_the_demo_counts_also_after_a_restart(folder):
    configure(folder, services={'web': True, 'database': True, 'demo': True}, demo={'period': '20 msecs'})
    value = 0
    for _ in range(2):
        with Child(folder / 'config') as child:
            def counted():
                return next((item['value'] for item in json.loads(get(child.port, '/api/db/Store?key=counter')[2])['items']), 0)
            before, limit = value, value + 3
            while value < limit:
                value = counted()
            assert value >= before and child.stop() == 0
        assert 'error' not in child.output()


# What is shipped

def test_the_shipped_configuration_shows_the_properties_and_starts_with_the_demo(tmp_path):
    with open(os.path.join(TREE, 'config/ioto.json5'), encoding='utf-8') as file:
        block = re.search('(?ms)^    // database: .*?^    // demo: .*?$', file.read())[0]
    shown = json5.parse('{' + re.sub('(?m)^    //', '', block) + '\n}')
    assert set(shown['database']) == set(config.DATABASE) and set(shown['database']['api']) == set(config.DATABASE['api'])
    shutil.copytree(os.path.join(TREE, 'config'), tmp_path / 'config')
    (tmp_path / 'site').mkdir()
    write(tmp_path, 'config/local.json5', json5.render({
        **shown, 'services': {'database': True, 'demo': True}, 'web': {'listen': ['http://127.0.0.1:0']}}))
    with Child(tmp_path / 'config') as child:
        assert get(child.port, '/api/db/Store')[0] == 401
        assert child.stop() == 0
    db = Database(tmp_path / 'state/ioto.db', str(tmp_path / 'config/schema.json5'))
    assert db.get('Store', {'key': 'counter'})['value'] == 0
    db.shut()
