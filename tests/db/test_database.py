"""The database as an app sees it: items, queries, changes, batches, watchers, expiry and the outbox."""

import base64
import contextlib
import io
import json
import random
import time

import pytest

from ioto import runtime
from ioto.db import Database, DbError, SchemaError
from ioto.db.store import Store
from ioto.runtime import events
from tests.child import PATIENCE

KEY = {'pk': {'type': 'string', 'value': '${_type}'}, 'sk': {'type': 'string', 'value': '${_type}#${id}'}}
SCHEMA = {
    'version': '1.0.0',
    'indexes': {'primary': {'hash': 'pk', 'sort': 'sk'}, 'gs1': {'hash': 'gs1pk', 'sort': 'gs1sk'}},
    'models': {
        'Fault': {**KEY, 'id': {'type': 'string', 'generate': 'ulid'}, 'severity': {'type': 'string', 'enum': ['info', 'warn', 'error']},
                  'count': {'type': 'number'}, 'tags': {'type': 'array'}, 'at': {'type': 'object'},
                  'gs1pk': {'type': 'string', 'value': 'severity#${severity}'}, 'gs1sk': {'type': 'string', 'value': 'fault#${id}'}},
        'User': {**KEY, 'id': {'type': 'string', 'required': True}, 'email': {'type': 'string', 'unique': True},
                 'nick': {'type': 'string', 'unique': True}},
        'Token': {**KEY, 'id': {'type': 'string', 'required': True}, 'until': {'type': 'date', 'ttl': True},
                  'word': {'type': 'string', 'unique': True}},
        'Reading': {'pk': {'type': 'string', 'value': 'reading#${sensor}'}, 'sk': {'type': 'string', 'value': 'reading#${room}#${n:6}'},
                    'sensor': {'type': 'string', 'required': True}, 'room': {'type': 'string', 'required': True},
                    'n': {'type': 'number', 'required': True}, 'value': {'type': 'number'}},
        'State': {**KEY, 'id': {'type': 'string', 'required': True}, 'value': {'type': 'string'}},
        'Elsewhere': {**KEY, 'id': {'type': 'string', 'required': True}},
    },
    'process': {'Fault': {'sync': 'up'}, 'State': {'mem': True, 'sync': 'both'}, 'Elsewhere': {'enable': 'cloud'}},
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'device.db'


@pytest.fixture
def db(path):
    db = Database(path, SCHEMA)
    yield db
    db.shut()


def run(main):
    async def limited():
        async with runtime.timeout(PATIENCE):
            return await main()
    return runtime.run(limited)


def ids(page):
    return [item['id'] for item in page]


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def readings(db, rooms=('hall', 'kitchen'), count=10):
    for room in rooms:
        for n in range(count):
            db.create('Reading', {'sensor': 'a', 'room': room, 'n': n, 'value': n * n})


# Items

def test_an_item_is_there_until_it_is_removed_also_for_who_opens_the_file_again(path, db):
    made = db.create('Fault', {'severity': 'warn', 'count': 1})
    key = {'id': made['id']}
    assert db.get('Fault', key) == made == {'id': made['id'], 'severity': 'warn', 'count': 1}
    assert db.update('Fault', {**key, 'count': 2}) == db.get('Fault', key) == {**made, 'count': 2}
    db.shut()
    db = Database(path, SCHEMA)
    try:
        assert db.get('Fault', key) == {**made, 'count': 2} == db.remove('Fault', key)
        assert db.get('Fault', key) is None and db.remove('Fault', key) is None
    finally:
        db.shut()


def test_what_is_returned_is_the_callers_own(db):
    made = db.create('Fault', {'at': {'list': [1]}})
    made['at']['list'].append(2)
    assert db.get('Fault', {'id': made['id']})['at'] == {'list': [1]}


def test_hidden_fields_and_projections(db):
    made = db.create('User', {'id': 'a', 'email': 'a@b'}, hidden=True)
    assert made == {'_type': 'User', 'id': 'a', 'email': 'a@b', 'pk': 'User', 'sk': 'User#a'}
    assert db.get('User', {'id': 'a'}, hidden=True) == made
    assert db.get('User', {'id': 'a'}, fields=['email', 'sk', 'nick']) == {'email': 'a@b'}
    assert db.get('User', {'id': 'a'}, fields=['email', 'sk'], hidden=True) == {'email': 'a@b', 'sk': 'User#a'}
    assert db.find('User', {}, fields=['id']).items == [{'id': 'a'}]


def test_a_field_by_its_path(db):
    fault = db.create('Fault', {'at': {'rooms': [{'name': 'hall'}]}})
    assert db.get_field('Fault', 'at.rooms[0].name', fault) == 'hall'
    assert db.get_field('Fault', 'at.floor', fault) is None and db.get_field('Fault', 'at', {'id': 'none'}) is None
    assert db.set_field('Fault', 'at.rooms[0].name', 'attic', {'id': fault['id']})['at'] == {'rooms': [{'name': 'attic'}]}


@pytest.mark.parametrize('call, message', [
    (lambda db: db.create('User', {'id': 'a'}), 'User: expected no item with this key: there is one'),
    (lambda db: db.create('User', {'id': 'b'}, exists=True), 'User: expected an item with this key: there is none'),
    (lambda db: db.update('User', {'id': 'b'}), 'User: expected an item with this key: there is none'),
    (lambda db: db.update('User', {'id': 'a'}, exists=False), 'User: expected no item with this key: there is one'),
    (lambda db: db.update('User', {'id': 'a'}, if_='${nick} = {other}'), 'User: expected an item that meets ${nick} = {other}'),
    (lambda db: db.remove('User', {'id': 'b'}, exists=True), 'User: expected an item with this key: there is none'),
    (lambda db: db.remove('User', {'id': 'a'}, if_='${nick} = {other}'), 'User: expected an item that meets ${nick} = {other}'),
    (lambda db: db.create('User', {'id': 'b', 'email': 'a@b'}), 'User.email: expected a value that no other item has'),
    (lambda db: db.update('User', {'id': 'c', 'email': 'a@b'}, upsert=True), 'User.email: expected a value that no other item has'),
    (lambda db: db.update('User', {'id': 'a'}, add={'nick': 1}), 'User.nick: expected a number here and to add'),
    (lambda db: db.update('User', {'id': 'a'}, push={'nick': [1]}), 'User.nick: expected a list here and to push'),
    (lambda db: db.update('User', {'nick': 'a'}), 'User: expected what makes the whole key: pk, sk'),
    (lambda db: db.remove('User', {}), 'User: expected what makes the whole key: pk, sk'),
    (lambda db: db.create('User', {}), 'User.id: expected a value, for it is required'),
    (lambda db: db.create('Fault', {'severity': 'bad'}), 'Fault.severity: expected one of "info","warn","error", got "bad"'),
    (lambda db: db.create('Usr', {}), "expected a model of the schema, Fault, User, Token, Reading, State; got 'Usr'"),
    (lambda db: db.get('Elsewhere', {'id': 'a'}), "expected a model of the schema, Fault, User, Token, Reading, State; got 'Elsewhere'"),
    (lambda db: db.find('User', {}, index='gs1'), 'User: expected an index'),
    (lambda db: db.find('User', {}, where='${id} ='), None),
    (lambda db: db.find('User', {'nick[': 1}), 'nick[: expected the path of a field'),
    (lambda db: db.find('User', {'other': nested(200)}), 'User.other: expected at most 100 levels'),
    (lambda db: db.find('User', where='${id} = @{a}', substitutions={'a': nested(200)}), 'expected at most 100 levels'),
    (lambda db: db.get_field('User', 'nick[', {'id': 'a'}), 'nick[: expected the path of a field'),
    (lambda db: db.update('User', {'id': 'a'}, add={'nick[': 1}), 'nick[: expected the path of a field'),
    (lambda db: db.update('User', {'id': 'a'}, push={"nick['": [1]}), "nick[': expected the path of a field"),
    (lambda db: db.create('Fault', {'at': {'text': 'x' * 500_000}}), 'Fault: expected an item of at most 409600 characters, got 50'),
    (lambda db: db.watch('User', print, ['make']), "expected events of create, update, remove, expire; got 'make'"),
    (lambda db: db.apply('User', 'upsert', {'id': 'b', 'other': float('inf')}), 'expected a number'),
    (lambda db: db.apply('User', 'upsert', ['id']), 'expected an object, got an array'),
    (lambda db: db.apply('User', 'turn', {'id': 'a'}), "User: expected a command of insert, modify, create, update, upsert, remove; got 'turn'"),
])
def test_a_mistake_is_a_clear_error_and_changes_nothing(db, call, message):
    db.create('User', {'id': 'a', 'email': 'a@b', 'nick': 'ace'})
    before = io.StringIO(), io.StringIO()
    db.export(before[0])
    with pytest.raises(DbError) as caught:
        call(db)
    db.export(before[1])
    assert message is None or str(caught.value).startswith(message)
    assert before[0].getvalue() == before[1].getvalue()


def test_a_bad_schema_is_refused_before_a_file_is_made(path):
    with pytest.raises(SchemaError, match='models.User.email.type'):
        Database(path, {'models': {'User': {**KEY, 'id': {'type': 'string'}, 'email': {'type': 'strin'}}}})
    assert not path.exists()


# Finding

def test_find_by_prefix_in_order_with_limit_and_next(db):
    readings(db)
    db.create('Reading', {'sensor': 'ab', 'room': 'hall', 'n': 1})
    assert [(item['room'], item['n']) for item in db.find('Reading', {'sensor': 'a'})] == [
        (room, n) for room in ('hall', 'kitchen') for n in range(10)]
    assert [item['n'] for item in db.find('Reading', {'sensor': 'a', 'room': 'hall'})] == list(range(10))
    assert [item['n'] for item in db.find('Reading', {'sensor': 'a', 'room': 'hall', 'n': 3})] == [3]
    assert [item['n'] for item in db.find('Reading', {'sensor': 'a', 'sk': {'begins': 'reading#k'}}, limit=3)] == [0, 1, 2]
    assert db.find('Reading', {'sensor': 'b'}).items == []
    assert db.count('Reading', {'sensor': 'a'}) == 20 and db.count('Reading') == 21 == len(db.find('Reading'))


@pytest.mark.parametrize('values', [{'sensor': 'a'}, {'sensor': 'a', 'room': 'hall'}, {}, {'room': 'hall'},
                                    {'sensor': 'a', 'room': 'hall', 'n': 3}])
@pytest.mark.parametrize('reverse', [False, True])
def test_pages_together_are_the_whole_whatever_their_size(db, values, reverse):
    readings(db, ('hall', 'hall\U0010ffff', 'kitchen'), 7)
    db.create('Reading', {'sensor': 'b', 'room': 'hall', 'n': 3})
    whole = db.find('Reading', values, reverse=reverse)
    assert whole.next is None and whole.items == db.find('Reading', values).items[::-1 if reverse else 1]
    for limit in (1, 2, 7, 100):
        found, next = [], None
        while True:
            page = db.find('Reading', values, limit=limit, next=next, reverse=reverse)
            assert len(page) <= limit
            found += page.items
            next = page.next
            if next is None:
                break
        assert found == whole.items


def test_next_is_stable_when_items_come_and_go_and_fits_its_query_only(db):
    readings(db)
    page = db.find('Reading', {'sensor': 'a', 'room': 'hall'}, limit=4)
    for n in (1, 3, 4):
        db.remove('Reading', {'sensor': 'a', 'room': 'hall', 'n': n})
    db.create('Reading', {'sensor': 'a', 'room': 'hall', 'n': -1})
    assert [item['n'] for item in db.find('Reading', {'sensor': 'a', 'room': 'hall'}, next=page.next)] == [5, 6, 7, 8, 9]
    for values, options in (({'sensor': 'a', 'room': 'kitchen'}, {}), ({'sensor': 'a', 'room': 'hall'}, {'reverse': True}),
                            ({'sensor': 'a', 'room': 'hall'}, {'where': '${n} > {3}'})):
        with pytest.raises(DbError, match='expected the next of a page of the same query'):
            db.find('Reading', values, next=page.next, **options)
    for broken in ('', 'x', page.next[:-4], 5, 'bnVsbA==', 'WzFd'):
        if broken != '':
            with pytest.raises(DbError, match='expected the next'):
                db.find('Reading', {'sensor': 'a', 'room': 'hall'}, next=broken)


def test_filters_by_fields_and_where(db):
    readings(db)
    assert [item['room'] for item in db.find('Reading', {'value': 49})] == ['hall', 'kitchen']
    assert [item['n'] for item in db.find('Reading', {'sensor': 'a', 'room': 'hall'}, where='${value} between {10} and {40}')] == [4, 5, 6]
    assert [item['n'] for item in db.find('Reading', {'room': 'hall'}, where='${n} in (@{...few})', substitutions={'few': [1, 2]},
                                          limit=1)] == [1]
    assert db.count('Reading', {'room': 'kitchen'}, where='${n} >= {8}') == 2
    db.create('Fault', {'id': 'x', 'at': {'room': 'hall'}})
    assert ids(db.find('Fault', {'at': {'room': 'hall'}})) == ids(db.find('Fault', {'at.room': 'hall'})) == ['x']
    assert ids(db.find('Fault', {'at.room': 'attic'})) == []


def test_a_secondary_index_follows_its_items(db):
    for number, severity in enumerate(('warn', 'error', 'warn', 'info')):
        db.create('Fault', {'id': str(number), 'severity': severity})
    db.create('Fault', {'id': '9'})                                             # has no secondary keys
    assert ids(db.find('Fault', {'severity': 'warn'}, index='gs1')) == ['0', '2']
    assert ids(db.find('Fault', {'severity': 'warn'}, index='gs1', reverse=True)) == ['2', '0']
    page = db.find('Fault', {'severity': 'warn'}, index='gs1', limit=1)
    assert ids(page) == ['0'] and ids(db.find('Fault', {'severity': 'warn'}, index='gs1', next=page.next)) == ['2']
    db.update('Fault', {'id': '0', 'severity': 'error'})
    db.remove('Fault', {'id': '1'})
    assert ids(db.find('Fault', {'severity': 'warn'}, index='gs1')) == ['2']
    assert ids(db.find('Fault', {'severity': 'error'}, index='gs1')) == ['0']
    assert ids(db.find('Fault', {}, index='gs1')) == ['0', '3', '2']
    assert db.get('Fault', {'severity': 'error'}, index='gs1')['id'] == '0'
    db.create('Fault', {'id': '8', 'severity': 'error'})
    with pytest.raises(DbError, match='expected values that only one item has'):
        db.get('Fault', {'severity': 'error'}, index='gs1')


def test_a_page_ends_where_enough_items_were_looked_at(db):
    readings(db)
    found, next, sizes = [], None, []
    while True:
        page = db.find('Reading', where='${value} = {49}', scan=6, next=next)
        found, next, sizes = found + page.items, page.next, [*sizes, len(page)]
        if next is None:
            break
    assert [item['room'] for item in found] == ['hall', 'kitchen'] and sizes == [0, 1, 1, 0]
    assert db.find('Reading', scan=20).next is None and len(db.find('Reading', scan=20, limit=3)) == 3


def test_a_forged_next_leads_nowhere_else(db):
    readings(db)
    values = {'sensor': 'a', 'sk': {'begins': 'reading#k'}}
    shape, *_ = json.loads(base64.b64decode(db.find('Reading', values, limit=1).next))
    for keys in (['reading#a', 'reading#'], ['reading#a', 5], [1 << 80, None], [[], {}], ['\ud800', '\ud800'], [True, nested(50)]):
        next = base64.b64encode(json.dumps([shape, *keys]).encode()).decode()
        with pytest.raises(DbError):
            db.find('Reading', values, next=next)
    with pytest.raises(DbError):
        db.find('Reading', values, next=base64.b64encode(b'[' * 100_000).decode())


def test_true_is_no_number_also_in_filters(db):
    db.create('Fault', {'id': 'x', 'at': {'flag': True, 'n': 1}})
    assert ids(db.find('Fault', {'at.flag': True})) == ids(db.find('Fault', {'at.n': 1.0})) == ['x']
    assert ids(db.find('Fault', {'at.flag': 1})) == ids(db.find('Fault', {'at.n': True})) == ids(db.find('Fault', {'at': {'flag': 1, 'n': 1}})) == []


def test_models_that_share_a_hash_key_do_not_see_each_other(path):
    key = {'pk': {'type': 'string', 'value': 'one'}, 'sk': {'type': 'string', 'value': 'one#${id}'}, 'id': {'type': 'string'}}
    db = Database(path, {'models': {'A': key, 'B': key}})
    db.create('A', {'id': '1'})
    assert db.get('B', {'id': '1'}) is None and db.find('B', {}).items == [] and db.count('A') == 1
    with pytest.raises(DbError, match='B: expected no item with this key'):
        db.create('B', {'id': '1'})
    db.shut()


def test_keys_may_be_numbers_and_there_may_be_no_sort_key(path):
    db = Database(path, {'indexes': {'primary': {'hash': 'n'}}, 'models': {'A': {'n': {'type': 'number'}, 'text': {'type': 'string'}}}})
    for n in (10, 9, 2.5, -1):
        db.create('A', {'n': n, 'text': str(n)})
    assert [item['n'] for item in db.find('A')] == [-1, 2.5, 9, 10]
    page = db.find('A', limit=2)
    assert [item['n'] for item in db.find('A', next=page.next)] == [9, 10]
    assert db.get('A', {'n': 9.0})['text'] == '9'
    for call in (db.get, db.create, db.find, db.remove):
        with pytest.raises(DbError, match='too large'):
            call('A', {'n': 1 << 64})
    assert db.count('A') == 4
    db.shut()


# Changing

@pytest.mark.parametrize('values, options, expected', [
    ({'count': 2}, {}, {'count': 2, 'tags': ['a'], 'at': {'room': 'hall', 'n': 1}}),
    ({'count': None}, {}, {'tags': ['a'], 'at': {'room': 'hall', 'n': 1}}),
    ({}, {'set': {'at.room': 'attic', 'count': 5}}, {'count': 5, 'tags': ['a'], 'at': {'room': 'attic', 'n': 1}}),
    ({}, {'add': {'count': 2, 'at.n': -1, 'at.m': 3}}, {'count': 3, 'tags': ['a'], 'at': {'room': 'hall', 'n': 0, 'm': 3}}),
    ({}, {'push': {'tags': ['b', 'c'], 'at.list': [1]}}, {'count': 1, 'tags': ['a', 'b', 'c'], 'at': {'room': 'hall', 'n': 1, 'list': [1]}}),
    ({'count': 7}, {'remove': ['at.room', 'tags']}, {'count': 7, 'at': {'n': 1}}),
    ({'count': 7}, {'if_': '${count} = {1}'}, {'count': 7, 'tags': ['a'], 'at': {'room': 'hall', 'n': 1}}),
    ({'count': 7}, {'if_': '${count} = @{one}', 'substitutions': {'one': 1}}, {'count': 7, 'tags': ['a'], 'at': {'room': 'hall', 'n': 1}}),
])
def test_update(db, values, options, expected):
    db.create('Fault', {'id': 'x', 'count': 1, 'tags': ['a'], 'at': {'room': 'hall', 'n': 1}})
    assert db.update('Fault', {'id': 'x', **values}, **options) == {'id': 'x', **expected} == db.get('Fault', {'id': 'x'})


@pytest.mark.parametrize('option, value', [('set', 1), ('add', 1), ('push', [1])])
@pytest.mark.parametrize('step, times', [('.a', 5000), ('[0]', 5000), ('.a[999999999]', 1), ('.list[999999999]', 1), ('.list[-9]', 1), ('.list.x', 1)])
def test_hostile_paths_are_refused(db, option, value, step, times):
    made = db.create('Fault', {'id': 'x', 'at': {'list': ['a']}})
    with pytest.raises(DbError):
        db.update('Fault', {'id': 'x'}, **{option: {'at' + step * times: value}})
    assert db.get('Fault', {'id': 'x'}) == made


def test_upsert_and_replace(db):
    assert db.update('User', {'id': 'a', 'nick': 'n'}, upsert=True) == {'id': 'a', 'nick': 'n'}
    assert db.update('User', {'id': 'a', 'email': 'e'}, upsert=True) == {'id': 'a', 'nick': 'n', 'email': 'e'}
    assert db.update('User', {'id': 'b'}, exists=None, set={'nick': 'm'}) == {'id': 'b', 'nick': 'm'}
    assert db.update('Fault', {'id': 'c'}, upsert=True, add={'count': 1}, push={'tags': [1]}) == {'id': 'c', 'count': 1, 'tags': [1]}
    assert db.create('User', {'id': 'a', 'nick': 'k'}, exists=True) == {'id': 'a', 'nick': 'k'} == db.get('User', {'id': 'a'})
    assert db.create('User', {'id': 'd'}, exists=None) == {'id': 'd'}


def test_what_is_required_may_come_by_set_where_an_item_is_made():
    db = Database(':memory:', {'models': {'A': {**KEY, 'id': {'type': 'string'}, 'name': {'type': 'string', 'required': True}}}})
    assert db.update('A', {'id': 'a'}, set={'name': 'x'}, upsert=True) == {'id': 'a', 'name': 'x'}
    db.shut()


def test_unique_values_are_free_again_when_they_are_gone(db):
    db.create('User', {'id': 'a', 'email': 'one', 'nick': 'x'})
    db.update('User', {'id': 'a', 'email': 'two'})
    db.create('User', {'id': 'b', 'email': 'one'})
    db.remove('User', {'id': 'a'})
    db.update('User', {'id': 'b', 'email': 'two', 'nick': 'x'})
    db.create('User', {'id': 'c', 'email': 'one'})
    assert ids(db.find('User')) == ['b', 'c']


def test_remove_many_reads_while_it_removes(db):
    with db.batch():
        for n in range(5000):
            db.create('Fault', {'id': f'{n:05}', 'severity': 'warn', 'count': n % 3, 'at': {'text': 'x' * 50}})
    assert db.remove('Fault', {}, many=True, if_='${count} > {0}') == 3333 and db.count('Fault') == 1667
    with pytest.raises(ZeroDivisionError):
        with db.batch():
            assert db.remove('Fault', {}, many=True) == 1667
            1 / 0
    assert db.count('Fault') == db.count('Fault', {}, index='gs1') == 1667 and not db.check()


def test_remove_many(db):
    readings(db)
    assert db.remove('Reading', {'sensor': 'a', 'room': 'hall'}, many=True, if_='${n} < {5}') == 5
    assert db.remove('Reading', {'room': 'kitchen'}, many=True) == 10
    assert [item['n'] for item in db.find('Reading')] == [5, 6, 7, 8, 9]
    assert db.remove('Reading', {'room': 'cellar'}, many=True) == 0


def test_the_outbox_has_the_last_change_of_each_item_of_models_that_are_synchronised(db):
    db.create('User', {'id': 'a'})
    db.create('Fault', {'id': 'a'})
    db.create('Fault', {'id': 'b'})
    first = db.pending()
    assert [(command, key, item['id']) for _, _, command, key, item in first] == [
        ('upsert', {'pk': 'Fault', 'sk': 'Fault#a'}, 'a'), ('upsert', {'pk': 'Fault', 'sk': 'Fault#b'}, 'b')]
    db.update('Fault', {'id': 'a', 'count': 1})
    db.create('State', {'id': 's'})
    db.remove('Fault', {'id': 'b'})
    db.acknowledge([row[0] for row in first])                                   # both have changed since
    after = db.pending()
    assert [(model, command, item['id']) for _, model, command, _, item in after] == [
        ('Fault', 'upsert', 'a'), ('State', 'upsert', 's'), ('Fault', 'remove', 'b')]
    assert after[0][4]['count'] == 1 and [row[0] for row in after] == sorted({row[0] for row in after} - {row[0] for row in first})
    assert db.pending(1) == after[:1] and db.pending(2, after=after[0][0]) == after[1:]
    db.acknowledge([row[0] for row in after])
    assert db.pending() == []


def test_numbers_of_changes_never_come_again(path):
    seen = []
    for _ in range(3):
        db = Database(path, SCHEMA)
        db.create('Fault', {})
        seen += [row[0] for row in db.pending()]
        db.acknowledge(seen)
        db.shut()
    assert seen == sorted(set(seen))


def test_the_outbox_agrees_with_the_items_whatever_comes_from_the_cloud(db):
    for name in 'ab':
        db.create('Fault', {'id': name})
    item = db.remove('Fault', {'id': 'b'})
    db.apply('Fault', 'remove', {'id': 'a'})
    db.apply('Fault', 'upsert', {**item, 'count': 2})
    assert [(command, item.get('id'), item.get('count')) for _, _, command, _, item in db.pending()] == [
        ('remove', None, None), ('upsert', 'b', 2)]
    for name in 'ab':                                                           # create, remove, create again: in that order
        db.update('Fault', {'id': name}, upsert=True)
        db.remove('Fault', {'id': name})
    db.create('Fault', {'id': 'a'})
    assert [(command, item['id']) for _, _, command, _, item in db.pending()] == [('remove', 'b'), ('upsert', 'a')]


@pytest.mark.parametrize('iso', [True, False])
def test_what_is_older_than_here_is_not_taken_from_the_cloud(path, iso):
    model = {**KEY, 'id': {'type': 'string'}, 'n': {'type': 'number'}}
    db = Database(path, {'params': {'timestamps': True, 'isoDates': iso}, 'models': {'A': model}, 'process': {'A': {'sync': 'both'}}})
    mine = db.create('A', {'id': 'a', 'n': 1})
    assert db.apply('A', 'upsert', {'id': 'a', 'n': 2, 'updated': '2020-01-01T00:00:00Z'}) is None
    assert db.apply('A', 'remove', {'id': 'a', 'updated': '2020-01-01T00:00:00Z'}) is None
    assert db.get('A', {'id': 'a'}) == mine and len(db.pending()) == 1
    assert db.apply('A', 'upsert', {'id': 'a', 'n': 3, 'updated': '2200-01-01T00:00:00Z'})['n'] == 3
    assert db.apply('A', 'remove', {'id': 'a'})['n'] == 3
    db.shut()


def test_what_comes_from_the_cloud_is_not_sent_back(db):
    item = {'_type': 'Fault', 'id': 'a', 'severity': 'warn', 'gs1pk': 'severity#warn', 'unknown': [1]}
    heard = []
    db.watch('*', lambda *args: heard.append(args[0]))
    assert db.apply('Fault', 'INSERT', item)['severity'] == 'warn'
    assert db.apply('Fault', 'MODIFY', {**item, 'severity': 'error'})['unknown'] == [1]
    assert ids(db.find('Fault', {'severity': 'error'}, index='gs1')) == ['a'] and not db.pending()
    assert db.apply('Fault', 'REMOVE', item)['id'] == 'a' and db.apply('Fault', 'remove', item) is None
    assert db.find('Fault').items == db.pending() == [] and heard == ['create', 'update', 'remove']


# Batches

def test_a_batch_is_there_as_a_whole_or_not_at_all(db):
    heard = []
    db.watch('*', lambda event, model, item, old: heard.append((event, (item or old)['id'])))
    db.create('User', {'id': 'a', 'nick': 'n'})
    with pytest.raises(ZeroDivisionError):
        with db.batch():
            db.remove('User', {'id': 'a'})
            db.create('Fault', {'id': 'b', 'severity': 'warn'})
            db.create('State', {'id': 's'})
            db.create('User', {'id': 'c', 'nick': 'n'})
            assert db.get('User', {'id': 'a'}) is None and heard == [('create', 'a')]
            1 / 0
    assert ids(db.find('User')) == ['a'] and not db.count('Fault') and not db.count('State') and not db.pending()
    with db.batch():
        db.create('Fault', {'id': 'b'})
        db.create('State', {'id': 's'})
        with pytest.raises(DbError):
            db.create('User', {'id': 'd', 'nick': 'n'})
        with pytest.raises(ZeroDivisionError):
            with db.batch():
                db.create('User', {'id': 'e'})
                1 / 0
        with db.batch():
            db.create('User', {'id': 'f'})
    assert ids(db.find('User')) == ['a', 'f'] and len(db.pending()) == 2
    assert heard == [('create', 'a'), ('create', 'b'), ('create', 's'), ('create', 'f')]


def test_a_batch_must_not_await(db):
    async def main():
        db.create('User', {'id': 'a'})
        with pytest.raises(DbError, match='nothing may be awaited in it'):
            with db.batch():
                db.create('User', {'id': 'b'})
                await runtime.sleep(0)
                with pytest.raises(DbError, match='nothing may be awaited in it'):
                    db.create('User', {'id': 'c'})
        db.create('User', {'id': 'd'})
        assert ids(db.find('User')) == ['a', 'd']
    run(main)


def test_a_batch_that_awaits_takes_nothing_of_other_fibers_with_it(db):
    async def awaits():
        with db.batch():
            db.create('User', {'id': 'a'})
            await runtime.sleep(0)

    async def other():
        for call in (db.batch, contextlib.nullcontext):
            with pytest.raises(DbError, match='batch of another fiber is open'), call():
                db.create('User', {'id': 'b'})
        await runtime.sleep(0.01)
        db.create('User', {'id': 'c'})
        await db.flush()

    async def main():
        async with runtime.TaskGroup() as group:
            group.spawn(refused())
            group.spawn(other())
        assert ids(db.find('User')) == ['c']

    async def refused():
        with pytest.raises(DbError, match='nothing may be awaited in it'):
            await awaits()
    run(main)


def test_a_batch_may_be_cancelled_and_must_not_flush(db):
    async def stuck():
        with db.batch():
            db.create('User', {'id': 'a'})
            await runtime.sleep(PATIENCE)

    async def main():
        fiber = runtime.spawn(stuck())
        await runtime.sleep(0)
        await runtime.sleep(0)
        fiber.cancel()
        await runtime.sleep(0)
        await runtime.sleep(0)
        with pytest.raises(DbError, match='expected the end of the batch first'):
            with db.batch():
                db.create('User', {'id': 'b'})
                await db.flush()
        db.create('User', {'id': 'c'})
        await db.flush()
        assert ids(db.find('User')) == ['c']
    run(main)


def test_closing_within_a_batch_and_use_after_it_are_errors(path, db):
    with pytest.raises(DbError, match='closed'):
        with db.batch():
            db.create('User', {'id': 'a'})
            db.shut()
    for call in (lambda: db.create('User', {'id': 'b'}), lambda: db.get('User', {'id': 'a'}), db.expire, db.vacuum,
                 lambda: db.find('User'), db.batch().__enter__, lambda: db.size, lambda: db.pending()):
        with pytest.raises(DbError, match='the database is closed'):
            call()
    db.shut()
    again = Database(path, SCHEMA)
    assert not again.count('User')
    with pytest.raises(DbError, match='in use'):
        Database(path, SCHEMA)
    again.create('User', {'id': 'a'})
    again.shut()


# Watchers

def test_watchers_hear_of_changes_of_their_model_and_kind(db):
    heard = []
    db.watch('User', lambda *args: heard.append(args))
    db.watch('*', lambda event, *_: heard.append(event), ['remove'])
    made = db.create('User', {'id': 'a', 'nick': 'n'})
    changed = db.update('User', {'id': 'a', 'nick': 'm'})
    db.create('State', {'id': 's'})
    db.remove('User', {'id': 'a'})
    assert heard == [('create', 'User', made, None), ('update', 'User', changed, made), ('remove', 'User', None, changed), 'remove']
    db.watch('User', print)
    db.unwatch(print)
    assert db._watchers.after.keys() == {'User', '*'}


def test_who_is_asked_before_may_refuse_and_must_not_change_anything(db):
    def ask(event, model, item, old):
        if item and item.get('nick') == 'root':
            raise DbError('expected another name', model, 'nick')
        if item and item.get('nick') == 'busy':
            db.create('State', {'id': 's'})
    db.watch('User', ask, before=True)
    db.create('User', {'id': 'a', 'nick': 'n'})
    with pytest.raises(DbError, match='User.nick: expected another name'):
        db.update('User', {'id': 'a', 'nick': 'root'})
    with pytest.raises(DbError, match='State: who is asked before a change must not make another'):
        db.create('User', {'id': 'b', 'nick': 'busy'})
    assert db.find('User').items == [{'id': 'a', 'nick': 'n'}] and not db.count('State')


def test_what_a_watcher_changes_is_told_when_it_has_returned(db):
    heard = []

    def first(event, model, item, old):
        heard.append(('begin', item['id']))
        if item['id'] == 'a':
            db.create('User', {'id': 'b'})
        heard.append(('end', item['id']))
    db.watch('User', first)
    db.watch('User', lambda event, model, item, old: heard.append(('second', item['id'])))
    db.create('User', {'id': 'a'})
    assert heard == [(what, name) for name in 'ab' for what in ('begin', 'end', 'second')]


def test_watchers_may_fail_or_be_async_and_there_is_a_signal(db, capfd):
    heard = []

    def changed(**data):
        heard.append(data)

    async def watcher(event, model, item, old):
        await runtime.sleep(0)
        heard.append(item['id'])

    async def main():
        db.watch('User', lambda *_: 1 / 0)
        db.watch('User', watcher)
        events.watch('db:change', changed)
        try:
            db.create('User', {'id': 'a'})
        finally:
            events.unwatch('db:change', changed)
        assert heard == [{'event': 'create', 'model': 'User', 'item': {'id': 'a'}}]
        await runtime.sleep(0)
        await runtime.sleep(0)
    run(main)
    assert heard[1:] == ['a'] and 'ZeroDivisionError' in capfd.readouterr().err


# Expiry

def test_what_has_expired_is_never_returned_and_its_key_and_values_are_free(db):
    heard = []
    db.watch('Token', lambda event, model, item, old: heard.append((event, (item or old)['id'])))
    for name, until in (('a', time.time() - 100), ('b', time.time() + 100), ('c', None)):
        db.create('Token', {'id': name, 'until': until, 'word': name})
    assert ids(db.find('Token')) == ['b', 'c'] and db.count('Token') == 2
    assert db.get('Token', {'id': 'a'}) is None and db.remove('Token', {'id': 'a'}) is None
    with pytest.raises(DbError):
        db.update('Token', {'id': 'a'})
    db.create('Token', {'id': 'd', 'word': 'a', 'until': time.time() - 1})
    db.create('Token', {'id': 'd', 'word': 'd', 'until': time.time() - 1})
    assert heard[3:] == [('expire', 'a'), ('create', 'd'), ('expire', 'd'), ('create', 'd')]
    assert db.expire() == 1 and db.expire() == 0 and ids(db.find('Token')) == ['b', 'c'] and heard[-1] == ('expire', 'd')
    db.update('Token', {'id': 'b', 'until': time.time() - 1})
    assert db.expire() == 1 and ids(db.find('Token')) == ['c']


def test_a_running_scheduler_removes_what_expires(path):
    async def main():
        db = Database(path, SCHEMA)
        gone = runtime.Event()
        db.watch('Token', lambda *_: gone.set(), ['expire'])
        db.create('Token', {'id': 'b', 'until': time.time() + 1000})
        db.create('Token', {'id': 'a', 'until': time.time() - 10})
        await gone.wait()
        assert db._due > time.time() + 900
        await db.close()
    run(main)


def test_what_expires_cannot_be_refused_and_a_failure_stops_nothing(path, monkeypatch, capfd):
    monkeypatch.setattr('ioto.db.database.AGAIN', 0.01)
    monkeypatch.setattr('ioto.db.database.BATCH', 2)
    failures = [DbError('for once')]

    def refuse(event, model, item, old):
        if event == 'expire':
            raise DbError('expected to stay')

    async def main():
        db = Database(path, SCHEMA)
        expire, gone = db.expire, []

        def fails(limit):
            if failures:
                raise failures.pop()
            return expire(limit)
        db.expire = fails
        db.watch('Token', refuse, before=True)
        db.watch('Token', lambda *args: gone.append(args), ['expire'])
        for name in range(20):
            db.create('Token', {'id': str(name), 'until': time.time() - 10})
        begun = time.monotonic()
        while len(gone) < 20:
            await runtime.sleep(0.01)
        assert time.monotonic() - begun < 5
        await db.close()
    run(main)
    assert 'for once' in capfd.readouterr().err


def test_who_hears_of_what_expires_may_change_what_took_its_place(db):
    def again(event, model, item, old):
        db.update('Token', {'id': 'b', 'word': 'mine'})
    db.create('Token', {'id': 'b', 'word': 'b'})
    db.create('Token', {'id': 'a', 'word': 'a', 'until': time.time() - 1})
    db.watch('Token', again, ['expire'])
    db.update('Token', {'id': 'b', 'word': 'a'})
    assert db.get('Token', {'id': 'b'})['word'] == 'mine'
    db.create('Token', {'id': 'c', 'word': 'a'})


def test_a_model_that_comes_to_stay_in_memory_leaves_what_it_had(path, db):
    db.create('Token', {'id': 'a', 'until': time.time() - 1, 'word': 'w'})
    db.create('Token', {'id': 'b', 'word': 'x'})
    db.shut()
    other = Database(path, {**SCHEMA, 'process': {'Token': {'mem': True}}})
    other.create('Token', {'id': 'a', 'word': 'x'})
    assert other.expire() == 0 and ids(other.find('Token')) == ['a']
    other.shut()
    db = Database(path, SCHEMA)
    assert ids(db.find('Token')) == ['b'] and db.expire() == 1
    db.shut()


# Schemas and contexts that change

OLD = {'pk': {'type': 'string', 'value': 'old#${accountId}'}, 'sk': {'type': 'string', 'value': 'a#${id}'},
       'id': {'type': 'string'}, 'name': {'type': 'string', 'unique': True}, 'n': {'type': 'number'}}
NEW = {**OLD, 'pk': {'type': 'string', 'value': 'new#${accountId}'}, 'sk': {'type': 'string', 'value': '${n:4}#${id}'}}


def changing(model):
    return {'models': {'A': model}, 'context': {'accountId': 'none'}, 'process': {'A': {'sync': 'up'}}}


@pytest.mark.parametrize('model, context, key', [
    (NEW, {}, ('new#none', '0007#7')), (OLD, {'accountId': 'mine'}, ('old#mine', 'a#7')), (NEW, {'accountId': 'mine'}, ('new#mine', '0007#7'))])
def test_items_follow_templates_and_context_to_their_new_keys(path, monkeypatch, model, context, key):
    db = Database(path, changing(OLD))
    for n in range(200):
        db.create('A', {'id': str(n), 'n': n, 'name': f'name {n}'})
    db.acknowledge([row[0] for row in db.pending(1000)])
    db.shut()
    monkeypatch.setattr('ioto.db.database.PATIENCE', -1)

    async def main():
        db = Database(path, changing(model), context=context)
        await db.close()
    run(main)
    db = Database(path, changing(model), context=context)
    assert db.count('A') == 200 and db._store.building is None
    item = db.get('A', {'id': '7', 'n': 7}, hidden=True)
    assert (item['pk'], item['sk']) == key
    with pytest.raises(DbError, match='there is one'):
        db.create('A', {'id': '7', 'n': 7})
    with pytest.raises(DbError, match='A.name'):
        db.create('A', {'id': '300', 'n': 7, 'name': 'name 7'})
    assert db.update('A', {'id': '7', 'n': 7, 'name': 'name 300'})['name'] == 'name 300'
    changes = {(change['pk'], change['sk']): command for _, _, command, change, _ in db.pending(1000)}
    assert len(changes) == 400 and changes['old#none', 'a#7'] == 'remove' and changes[key] == 'upsert'
    assert not db.check()
    db.shut()


def test_moving_that_is_cut_off_begins_anew_also_with_the_schema_of_before(path, monkeypatch):
    db = Database(path, changing(OLD))
    for n in range(200):
        db.create('A', {'id': str(n), 'n': n, 'name': str(n)})
    db.shut()
    for model in (OLD, NEW):
        steps, build = iter('ab'), Store.build
        with monkeypatch.context() as patch, pytest.raises(StopIteration):
            patch.setattr(Store, 'build', lambda store, link: next(steps) and build(store, link))
            Database(path, changing(NEW))
        db = Database(path, changing(model))
        assert db.count('A') == 200 == len(db.pending(1000)) - len([row for row in db.pending(1000) if row[2] == 'remove'])
        with pytest.raises(DbError, match='A.name'):
            db.create('A', {'id': '300', 'n': 7, 'name': '7'})
        db.shut()


def test_a_field_that_comes_to_be_a_ttl_or_of_another_type(path, capfd):
    model = {**KEY, 'id': {'type': 'string'}, 'until': {'type': 'date', 'isoDates': True}, 'sort': {'type': 'string'}, 'n': {'type': 'number'}}
    indexes = {'primary': {'hash': 'pk', 'sort': 'sk'}, 'gs1': {'hash': 'pk', 'sort': 'sort'}}
    db = Database(path, {'indexes': indexes, 'models': {'A': model}})
    for name, until, sort in (('a', '2020-01-01', '5'), ('b', '2200-01-01T00:00:00.5Z', '7'), ('c', '2200-01-01', 'x')):
        db.create('A', {'id': name, 'until': until, 'sort': sort})
    db.shut()
    other = {**model, 'until': {'type': 'date', 'ttl': True}, 'sort': {'type': 'number'}}

    async def main():
        db = Database(path, {'indexes': indexes, 'models': {'A': other}})
        assert ids(db.find('A')) == ['b', 'c'] and ids(db.find('A', {'pk': 'A'}, index='gs1')) == ['b']
        assert db.update('A', {'id': 'b', 'n': 1})['n'] == 1 and db.remove('A', {'id': 'c'})['id'] == 'c'
        assert db.find('A').items[0]['until'] == 7258118401
        await db.close()
    run(main)


def test_items_can_move_in_a_full_database(path):
    db = Database(path, changing(OLD), limit=400_000)
    with pytest.raises(DbError, match='full'):
        for n in range(10_000):
            db.create('A', {'id': str(n), 'n': n, 'name': str(n)})
    db.shut()
    db = Database(path, changing(NEW), limit=400_000)
    assert db.count('A') == n == len([row for row in db.pending(20_000) if row[2] == 'upsert'])
    with pytest.raises(DbError, match='full'):
        for m in range(n, 10_000):
            db.create('A', {'id': str(m), 'n': m, 'name': str(m)})
    assert db.remove('A', {'id': '0', 'n': 0})['n'] == 0 and not db.check()
    db.acknowledge([row[0] for row in db.pending(20_000)])
    db.vacuum()
    assert db.size[1] < 500_000
    db.create('A', {'id': '0', 'n': 0})
    db.shut()


def test_of_two_items_that_would_become_one_the_second_stays_as_it_is(path, capfd):
    db = Database(path, changing(OLD))
    for name in 'ab':
        db.create('A', {'id': name, 'n': 1, 'name': name})
    db.shut()
    other = {**OLD, 'sk': {'type': 'string', 'value': 'n#${n}'}}
    db = Database(path, changing(other))
    assert db.get('A', {'n': 1})['id'] == 'a' and db.export(io.StringIO()) == 2
    assert 'an item is left as it is' in capfd.readouterr().err
    db.shut()
    db = Database(path, changing(OLD))
    assert [db.get('A', {'id': name})['name'] for name in 'ab'] == ['a', 'b'] and db.count('A') == 2
    db.shut()


# The whole

def test_models_in_memory_leave_nothing_in_the_file(path, db):
    db.create('State', {'id': 'a', 'value': 'secret'})
    db.update('State', {'id': 'a', 'value': 'secret 2'})
    assert db.get('State', {'id': 'a'})['value'] == 'secret 2' and ids(db.find('State')) == ['a']
    db.shut()
    assert b'secret' not in path.read_bytes()
    db = Database(path, SCHEMA)
    assert db.get('State', {'id': 'a'}) is None
    db.shut()


def test_a_database_without_a_file():
    db = Database(':memory:', SCHEMA)
    fault = db.create('Fault', {'severity': 'warn'})
    db.create('State', {'id': 'a'})

    async def main():
        db.create('Fault', {'severity': 'warn'})
        await db.flush()
        with pytest.raises(DbError), db.batch():
            db.create('Fault', fault)
        assert db.count('Fault') == 2
        await db.close()
    run(main)
    with pytest.raises(DbError, match=':memory:.*closed'):
        db.create('Fault', {})
    with pytest.raises(DbError, match='closed'):
        db.get('Fault', fault)


def test_what_is_exported_can_be_imported_again(db):
    readings(db)
    db.create('User', {'id': 'ä\n', 'email': 'x'})
    file = io.StringIO()
    assert db.export(file) == 21 and file.getvalue().count('\n') == 21
    other = Database(':memory:', SCHEMA)
    assert other.import_(io.StringIO(file.getvalue())) == 21 == other.import_(io.StringIO(file.getvalue()))
    assert other.find('Reading').items == db.find('Reading').items and other.get('User', {'id': 'ä\n'})['email'] == 'x'
    for line, message in (('{', 'line 2: '), ('{"_type":"X"}', "line 2: expected a model"), ('[]', 'line 2: '),
                          (f'{{"_type":"User","id":"a","other":{"[" * 200 + "]" * 200}}}', 'line 2: expected at most 100 levels'),
                          ('{"_type":"User","id":"a","other":NaN}', 'line 2: expected a number'), ('{"_type":"User"}', 'line 2: User.id: expected a value')):
        with pytest.raises(DbError, match=message):
            other.import_([file.getvalue().splitlines()[0], line])
    other.shut()


def test_fields_that_a_schema_does_not_know_are_kept(path, db):
    db.create('Fault', {'id': 'a', 'severity': 'warn', 'count': 3})
    db.shut()
    smaller = {**SCHEMA, 'models': {**SCHEMA['models'], 'Fault': {**KEY, 'id': {'type': 'string'}, 'tags': {'type': 'array'}}}}
    db = Database(path, smaller)
    db.update('Fault', {'id': 'a', 'tags': [1]})
    db.shut()
    db = Database(path, SCHEMA)
    assert db.get('Fault', {'id': 'a'}) == {'id': 'a', 'severity': 'warn', 'count': 3, 'tags': [1]}
    assert ids(db.find('Fault', {'severity': 'warn'}, index='gs1')) == ['a']
    db.shut()


def test_space_is_given_back_and_bounded(path):
    db = Database(path, SCHEMA, limit=300_000)
    with pytest.raises(DbError, match='device.db: database or disk is full'):
        for n in range(100_000):
            db.create('Fault', {'id': str(n), 'at': {'text': 'x' * 300}})
    assert 250_000 < db.size[1] <= 300_000 and db.count('Fault') == n == len(db.pending(n + 1)) and not db.check()
    assert db.remove('Fault', {}, many=True, if_='${id} > {"5"}') > 30
    db.acknowledge([row[0] for row in db.pending(100_000)])
    assert db.size[0] < db.size[1] and db.vacuum() > 20_000 and db.count('Fault') > 0
    db.create('Fault', {})
    db.shut()


def test_random_changes_are_those_of_a_dictionary(path):
    """Also of the index, the outbox and the unique values, through batches that fail and files that are opened again."""
    seed = random.randrange(1 << 30)
    print('seed', seed)
    rng, model = random.Random(seed), {}
    db = Database(path, SCHEMA)
    for _ in range(1500):
        name, severity = str(rng.randrange(30)), rng.choice(['info', 'warn', 'error'])
        match rng.randrange(8):
            case 0 | 1:
                if name in model:
                    with pytest.raises(DbError):
                        db.create('Fault', {'id': name})
                else:
                    model[name] = db.create('Fault', {'id': name, 'severity': severity})
            case 2 | 3:
                model[name] = db.update('Fault', {'id': name, 'severity': severity}, upsert=True, add={'count': 1})
            case 4:
                assert db.remove('Fault', {'id': name}) == model.pop(name, None)
            case 5:
                with pytest.raises(ZeroDivisionError), db.batch():
                    db.update('Fault', {'id': name, 'severity': severity}, upsert=True)
                    1 / 0
            case 6:
                assert db.get('Fault', {'id': name}) == model.get(name)
            case 7 if rng.random() < 0.1:
                db.shut()
                db = Database(path, SCHEMA)
    assert db.find('Fault').items == [model[name] for name in sorted(model)]
    for severity in ('info', 'warn', 'error'):
        assert ids(db.find('Fault', {'severity': severity}, index='gs1')) == sorted(
            name for name, item in model.items() if item['severity'] == severity)
    assert {item['id'] for _, _, command, _, item in db.pending(1000) if command == 'upsert'} == model.keys()
    assert not db.check()
    db.shut()
