"""python3 -m ioto.db: every command, its errors and statuses."""

import json
import os
import subprocess
import sys

import pytest

from ioto.db import Database
from tests.child import PATIENCE, TREE, Child, write

SCHEMA = '''{
    models: {
        Store: {pk: {value: 's#${deviceId}'}, sk: {value: 's#${key}'}, deviceId: {required: true}, key: {required: true},
                value: {type: 'any'}, address: {type: 'object'}, word: {hidden: true}},
        Log: {pk: {value: 'l#'}, sk: {value: '${id}'}, id: {generate: 'ulid'}, n: {type: 'number'}},
    },
    context: {deviceId: 'here'},
    process: {Store: {sync: 'up'}, Log: {mem: false}},
}'''
NONE = 'ioto.db: there is no such item\n'


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, 'config/ioto.json5', "{services: {database: true}, device: {id: 'DEVICE'}}")
    write(tmp_path, 'config/schema.json5', SCHEMA)
    return tmp_path


def run(folder, *words, stdin=''):
    """(status, standard output, standard error)."""
    done = subprocess.run([sys.executable, '-m', 'ioto.db', *map(str, words)], cwd=folder, input=stdin, capture_output=True, text=True,
                          timeout=PATIENCE, env={**os.environ, 'PYTHONPATH': TREE})
    return done.returncode, done.stdout, done.stderr


def good(folder, *words, stdin=''):
    status, out, error = run(folder, *words, stdin=stdin)
    assert (status, error) == (0, '')
    return out


def test_items_are_made_found_changed_and_removed(folder):
    made = json.loads(good(folder, 'create', 'Store', 'key=007', 'value=[1, {a: 2}]', 'word=hidden'))
    assert made == {'deviceId': 'DEVICE', 'key': '007', 'value': [1, {'a': 2}]}
    good(folder, 'create', 'Store', "{key: 'b', value: 'text'}")
    changed = json.loads(good(folder, 'update', 'Store', 'key=007', 'address.zip=98', 'value=null', '--hidden'))
    assert changed['address'] == {'zip': 98} and 'value' not in changed and changed['word'] == 'hidden' and changed['sk'] == 's#007'
    assert [json.loads(line)['key'] for line in good(folder, 'find', 'Store').splitlines()] == ['007', 'b']
    assert good(folder, 'find', 'Store', '--reverse', '--limit', '1', '--fields', 'key') == '{"key":"b"}\n'
    assert good(folder, 'find', 'Store', '--where', '${value} = {text}', '--fields=key') == '{"key":"b"}\n'
    assert good(folder, 'find', 'Store', '--count') == '2\n'
    assert json.loads(good(folder, 'get', 'Store', 'key=b'))['value'] == 'text'
    assert run(folder, 'update', 'Store', 'key=c', 'value=1')[0] == 1
    good(folder, 'update', 'Store', 'key=c', 'value=1', '--upsert')
    assert run(folder, 'create', 'Store', 'key=c')[2] == 'ioto.db: Store: expected no item with this key: there is one\n'
    good(folder, 'create', 'Store', 'key=c', '--replace')
    good(folder, 'remove', 'Store', 'key=b')
    assert run(folder, 'remove', 'Store', 'key=b') == run(folder, 'get', 'Store', 'key=b') == (1, '', NONE)
    assert good(folder, 'remove', 'Store', '--many') == '2\n'


def test_a_find_goes_through_all_pages(folder):
    good(folder, 'import', stdin=''.join(f'{{"_type": "Log", "id": "{n:04}", "n": {n}}}\n' for n in range(250)))
    for options, expected in ([], range(250)), (['--limit', '120'], range(120)), (['--reverse', '--limit', '100'], range(249, 149, -1)):
        assert [json.loads(line)['n'] for line in good(folder, 'find', 'Log', *options).splitlines()] == [*expected]


def test_what_is_exported_is_imported(folder):
    good(folder, 'create', 'Store', 'key=a', 'word=ä')
    text = good(folder, 'export')
    assert json.loads(text)['word'] == 'ä'
    assert good(folder, 'export', 'all.jsonl') == '1\n' and (folder / 'all.jsonl').read_text() == text
    assert good(folder, 'import', 'all.jsonl', '--database', 'other.db') == '1\n'
    assert json.loads(good(folder, 'get', 'Store', 'key=a', '--database', 'other.db', '--hidden'))['word'] == 'ä'
    status, out, error = run(folder, 'import', stdin=text + '{"_type": "Nope"}\n')
    assert status == 1 and error.startswith('ioto.db: line 2: expected a model of the schema')


def test_models_and_stats(folder):
    good(folder, 'create', 'Store', 'key=a')
    assert good(folder, 'models') == 'Store: key key, indexes primary, sync up\nLog: key id, indexes primary, sync none\n'
    lines = dict(line.split(': ', 1) for line in good(folder, 'stats').splitlines())
    assert lines['file'] == str(folder / 'state/ioto.db') and lines['Store'] == lines['to be synchronised'] == '1'
    assert int(lines['bytes']) == os.path.getsize(folder / 'state/ioto.db')


def test_a_file_and_a_schema_need_no_configuration(tmp_path):
    write(tmp_path, 'my.json5', SCHEMA)
    options = '--database', 'my.db', '--schema', 'my.json5'
    assert json.loads(good(tmp_path, *options, 'create', 'Store', 'key=a'))['deviceId'] == 'here'
    assert good(tmp_path, 'find', 'Store', *options, '--count') == '1\n'
    assert sorted(os.listdir(tmp_path)) == ['my.db', 'my.json5']


def test_a_shell_takes_commands(folder):
    status, out, error = run(folder, 'shell', stdin='create Store key=a value="x y"\n\nget Store key=zz\nfind Store --fields key,value '
                             '# all\nmodels\nhelp\nnope\nfind Nope\nget "\nexit\nget Store key=never\n')
    assert status == 1 and '{"key":"a","value":"x y"}\nStore\nLog\n  get MODEL' in out
    assert [line.partition(':')[2][:22] for line in error.splitlines()] == [
        ' there is no such item', ' expected one of get, ', ' expected a model of t', ' No closing quotation']
    assert run(folder, 'shell', stdin='find Store\n')[0] == 0


@pytest.mark.parametrize('words, status, message', [
    ([], 2, 'expected one of the commands get, find'), (['nope'], 2, 'expected one of the commands'),
    (['find', '--colour'], 2, 'option --colour not recognized'), (['find', 'Store', '--limit', 'x'], 2, '--limit: expected a whole'),
    (['get', 'Store', 'key'], 2, "expected FIELD=VALUE, got 'key'"), (['get'], 2, 'expected a model: Store, Log'),
    (['find', 'Nope'], 1, 'expected a model of the schema, Store, Log'), (['find', 'Store', '--where', 'x'], 1, 'where: column 1'),
    (['create', 'Store', 'value=1'], 1, 'Store.'), (['create', 'Log', 'n=x'], 1, 'Log.n: expected a number'),
    (['create', 'Store', '{key: '], 1, 'expected'), (['get', 'Store', 'key=a', '--index', 'gs1'], 1, 'expected an index: primary'),
    (['import', 'nowhere'], 1, "No such file or directory: 'nowhere'"), (['stats', '--schema', 'nowhere'], 1, 'nowhere'),
    (['stats', '--database', 'nowhere.db'], 1, 'there is no database'), (['stats', '--config', 'nowhere'], 1, 'no such configuration folder'),
    (['check', '--database', 'nowhere.db'], 1, 'there is no database'),
])
def test_mistakes(folder, words, status, message):
    good(folder, 'create', 'Store', 'key=first')
    found, out, error = run(folder, *words)
    assert found == status and error.startswith('ioto.db: ') and message in error and 'Traceback' not in error and not out
    assert not (folder / 'nowhere.db').exists()


def test_help(folder):
    assert good(folder, '--help') == good(folder, '-h') and good(folder, '-h').startswith('usage: python3 -m ioto.db')


def test_while_an_agent_has_the_file_it_is_only_checked(folder):
    with Child(folder / 'config'):
        status, _, error = run(folder, 'find', 'Store')
        assert status == 1 and 'it is in use by another process: stop the agent first, or use its /api/db' in error
        assert good(folder, 'check') == 'nothing is wrong\n'


@pytest.mark.parametrize('command', ['check', 'stats', 'find Store'])
def test_a_damaged_file_is_told_and_left_as_it_is(folder, command):
    good(folder, 'create', 'Store', 'key=a')
    path = folder / 'state/ioto.db'
    data = bytearray(path.read_bytes())
    data[2048:2148] = b'x' * 100            # the head of its second page
    path.write_bytes(data)
    status, out, error = run(folder, *command.split())
    assert status == 1 and error and 'state/ioto.db: ' in error and not out
    assert path.read_bytes() == data and not [name for name in os.listdir(folder / 'state') if 'corrupt' in name]


def test_a_file_of_a_later_version_is_left_as_it_is(folder):
    import sqlite3
    good(folder, 'create', 'Store', 'key=a')
    connection = sqlite3.connect(folder / 'state/ioto.db')
    connection.execute('PRAGMA user_version=99')
    connection.close()
    assert 'it is of version 99' in run(folder, 'stats')[2]


def test_what_it_stores_is_what_an_app_finds(folder):
    good(folder, 'create', 'Store', 'key=a', 'value=1')
    db = Database(folder / 'state/ioto.db', folder / 'config/schema.json5', {'deviceId': 'DEVICE'})
    assert db.get('Store', {'key': 'a'})['value'] == 1
    db.shut()
