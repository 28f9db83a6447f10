"""The tables: what one transaction is, in which order rows come, and how tables of indexes are built again."""

import contextlib
import os
import random
import sqlite3
import time

import pytest

from ioto import runtime
from ioto.db import Database, DbError, store
from ioto.db.fields import Prefix
from ioto.db.store import Store
from tests.child import PATIENCE


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'x.db')


@pytest.fixture
def tables(path):
    made = Store(path, ['gs1'], 'digest')
    yield made
    made.end()
    made.file.shut()


def run(main):
    async def limited():
        async with runtime.timeout(PATIENCE):
            return await main()
    return runtime.run(limited)


def put(tables, n, **options):
    return tables.change('main', 'h', n, f'"{n}"', True, **options)


def seen(path):
    """The items that another connection sees: those that are committed."""
    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute('SELECT sort FROM items ORDER BY sort')]
    finally:
        connection.close()


# Transactions

def test_without_a_scheduler_each_change_is_committed(path, tables):
    put(tables, 1)
    assert seen(path) == [1] and tables.file.commits == 1
    assert not put(tables, 1)
    put(tables, 2)
    assert seen(path) == [1, 2]


def test_in_a_scheduler_the_changes_of_a_turn_are_one_commit_before_what_was_posted_leaves(path, tables):
    class Stream:
        def send_posted(self):
            left.append(seen(path))
    left = []

    async def writer(n):
        put(tables, n)
        assert not put(tables, n) and tables.get('main', 'h', n) and seen(path) == []

    async def main():
        runtime.spawn(writer(1))
        runtime.spawn(writer(2))
        runtime.current().kernel.posted.append(Stream())
        await runtime.sleep(0)
        assert seen(path) == []
        runtime.current().kernel.posted.append(Stream())
        await runtime.sleep(0)
        assert left == [[], [1, 2]] and tables.file.commits == 1
    run(main)


def test_a_turn_commits_each_64_changes(path, tables):
    async def main():
        for n in range(200):
            put(tables, n)
        assert len(seen(path)) == 192 and tables.file.commits == 3
        await runtime.sleep(0)
        assert len(seen(path)) == 200 and tables.file.commits == 4
    run(main)


def test_what_is_changed_in_the_last_turn_and_outside_of_fibers_is_committed(path, tables):
    async def main():
        runtime.current().kernel.call_later(0.01, put, tables, 1)
        while not tables.file.commits:
            await runtime.sleep(0.01)
        put(tables, 2)
    run(main)
    assert seen(path) == [1, 2]
    put(tables, 3)
    assert seen(path) == [1, 2, 3]


def test_a_batch_commits_where_it_ends_with_what_the_turn_had_changed_before(path, tables):
    async def main():
        put(tables, 1)
        with tables:
            assert seen(path) == [1]
            for n in range(2, 300):
                put(tables, n)
            with pytest.raises(ZeroDivisionError), tables:
                put(tables, 1000)
                1 / 0
            assert seen(path) == [1]
        assert seen(path) == list(range(1, 300)) and tables.file.commits == 2
        with pytest.raises(ZeroDivisionError), tables:
            put(tables, 1000)
            1 / 0
        assert len(seen(path)) == 299
    run(main)


def fail_commits(tables, monkeypatch):
    """Let SQLite fail to commit, as a full disk makes it."""
    def fail(kind, error, trace):
        tables.connection.rollback()
        raise store.sqlite.StoreError('x.db: database or disk is full')
    monkeypatch.setattr(tables.file, '__exit__', fail, raising=False)


def test_every_fiber_whose_changes_are_lost_hears_of_it_once_and_no_other(path, tables, monkeypatch, capfd):
    async def writer(n):
        put(tables, n)
        await runtime.sleep(0.05)
        with pytest.raises(DbError, match='disk is full'):
            await tables.flush()
        await tables.flush()

    async def main():
        put(tables, 0)
        await tables.flush()
        with monkeypatch.context() as patch:
            fail_commits(tables, patch)
            async with runtime.TaskGroup() as group:
                group.spawn(writer(1))
                group.spawn(writer(2))
                await runtime.sleep(0.01)
                assert tables.get('main', 'h', 1) is None
                patch.undo()
                with pytest.raises(DbError, match='disk is full'):
                    await tables.flush()                    # nobody has been told yet
                await tables.flush()
        put(tables, 3)
        await tables.flush()
    run(main)
    assert seen(path) == [0, 3] and capfd.readouterr().err.count('changes are lost: x.db: database or disk is full') == 1


def test_a_batch_that_cannot_be_committed_raises_where_it_ends(path, tables, monkeypatch):
    with monkeypatch.context() as patch:
        fail_commits(tables, patch)
        with pytest.raises(DbError, match='disk is full'), tables:
            put(tables, 1)
    with tables:
        put(tables, 2)
    assert seen(path) == [2] and not tables.lost


# Rows

KEYS = ['', 'a', 'a#', 'a#1', 'a#\U0010ffff', 'a#\U0010ffff\U0010ffff', 'a$', 'aé', 'b', '\ud7ff', '\ue000', '\U0010ffff', -1, 2, 2.5]


@pytest.mark.parametrize('prefix', ['', 'a', 'a#', 'a#\U0010ffff', '\ud7ff', '\U0010ffff', 'c'])
@pytest.mark.parametrize('reverse', [False, True])
def test_a_prefix_finds_what_begins_with_it_in_the_order_of_keys(tables, prefix, reverse):
    for key in KEYS:
        tables.change('main', 'h', key, '1', True, [('index gs1', (key, key, 'h', key))])
        tables.change('main', key, 's', '1', True)
    expected = sorted((key for key in KEYS if isinstance(key, str) and key.startswith(prefix)), reverse=reverse)
    for index, hash, sort in (('primary', 'h', Prefix(prefix)), ('primary', Prefix(prefix), 's'), ('gs1', Prefix(prefix), None),
                              ('gs1', Prefix(prefix), Prefix(prefix))):
        rows = list(tables.rows('main', index, hash, sort, reverse))
        place = 1 if sort == 's' else 2
        assert [row[place] for row in rows if row[place] != 'h' or sort != 's'] == expected
        for n in range(len(rows)):
            after = list(rows[n][1:])
            assert [row[1:] for row in tables.rows('main', index, hash, sort, reverse, after)] == [row[1:] for row in rows[n + 1:]]


def test_a_page_far_in_is_sought_not_read_up_to(tables):
    with tables:
        for n in range(2000):
            tables.change('main', 'h', f's{n:05}', '1', True, [('index gs1', ('i', f's{n:05}', 'h', f's{n:05}'))])
    steps = 0

    def count():
        nonlocal steps
        steps += 1
    tables.connection.set_progress_handler(count, 10)
    for index, hash, after in (('primary', 'h', ['h', 's01900']), ('gs1', 'i', ['i', 's01900', 'h', 's01900'])):
        for reverse in (False, True):
            for sort in (None, Prefix('s')):
                steps = 0
                rows = tables.rows('main', index, hash, sort, reverse, after)
                assert next(rows)[2] == ('s01899' if reverse else 's01901')
                rows.close()
                assert steps < 20


@pytest.mark.parametrize('key', [1 << 64, '\ud800'])
def test_a_key_that_cannot_be_undoes_nothing_else(path, tables, key):
    async def main():
        put(tables, 1)
        with pytest.raises(DbError):
            put(tables, 2, links=[('index gs1', ('a', 'b', 'h', 2)), ('index gs1', ('a', key, 'h', 2))])
        put(tables, 3)
        await tables.flush()
        assert seen(path) == [1, 3]
    run(main)


def test_closing_waits_for_who_flushes_and_copies(tmp_path, monkeypatch):
    monkeypatch.setattr(store, 'WAL', 20_000)

    async def main():
        for n in range(40):
            tables = Store(str(tmp_path / f'{n}.db'), ['gs1'], 'digest')
            for m in range(300):
                tables.change('main', 'h', m, 'x' * 100, True)
            flushing = runtime.spawn(tables.flush())
            for _ in range(n % 4):
                await runtime.sleep(0)
            closing = runtime.spawn(close(tables))
            while not closing.done:
                with pytest.raises(DbError, match='closed') if tables.closed else contextlib.nullcontext():
                    tables.get('main', 'h', 1)
                await runtime.sleep(0)
            await flushing.join()

    async def close(tables):
        tables.end()
        await tables.file.close()
    run(main)


# Tables that are built again

def schema(template):
    return {'indexes': {'primary': {'hash': 'id'}, 'gs1': {'hash': 'gs1pk', 'sort': 'gs1sk'}},
            'models': {'A': {'id': {'type': 'number'}, 'kind': {'type': 'string'}, 'until': {'type': 'date', 'ttl': True},
                             'name': {'type': 'string', 'unique': True},
                             'gs1pk': {'type': 'string', 'value': template}, 'gs1sk': {'type': 'number'}}}}


def fill(path, count, template='old#${kind}'):
    db = Database(path, schema(template))
    with db.batch():
        for n in range(count):
            db.create('A', {'id': n, 'kind': 'odd' if n % 2 else 'even', 'name': str(n), 'gs1sk': n, 'until': time.time() + 1000})
    db.shut()


def test_other_templates_and_indexes_are_there_when_the_database_is_open(path):
    fill(path, 120)
    for template in ('new#${kind}', 'old#${kind}'):
        db = Database(path, schema(template))
        assert db._store.building is None
        stored = db.get('A', {'id': 1}, hidden=True)
        assert stored['gs1pk'] == template.replace('${kind}', 'odd')
        db.shut()
    other = schema('old#${kind}')
    other['indexes']['gs2'] = {'hash': 'kind', 'sort': 'id'}
    db = Database(path, other)
    assert [item['id'] for item in db.find('A', {'kind': 'odd'}, index='gs2')] == list(range(1, 120, 2))
    with pytest.raises(DbError, match='A.name'):
        db.create('A', {'id': 500, 'name': '7'})
    db.shut()
    db = Database(path, schema('old#${kind}'))
    assert 'index gs2' not in {row[0] for row in db._store.execute('SELECT name FROM sqlite_schema')}
    db.shut()


def test_a_long_building_goes_on_in_steps_also_after_a_stop(path, monkeypatch):
    fill(path, 1000)
    monkeypatch.setattr('ioto.db.database.PATIENCE', -1)
    other = schema('old#${kind}')
    other['indexes']['gs2'] = {'hash': 'kind', 'sort': 'id'}
    rng = random.Random(5)

    async def main(stop):
        db = Database(path, other)
        assert db._store.building is not None
        with pytest.raises(DbError, match='A: the index gs2 is being built'):
            db.find('A', {'kind': 'odd'}, index='gs2')
        for _ in range(stop):
            await runtime.sleep(0)
            n = rng.randrange(1000)
            db.update('A', {'id': n, 'kind': 'even' if n % 2 else 'odd'})
        while not stop and db._store.building is not None:
            await runtime.sleep(0)
        await db.close()
    for stop in (3, 5, 0):
        run(lambda stop=stop: main(stop))
    db = Database(path, other)
    assert db._store.building is None
    for kind in ('even', 'odd'):
        found = [item['id'] for item in db.find('A', {'kind': kind}, index='gs2')]
        assert found == [item['id'] for item in db.find('A', where=f'${{kind}} = {{{kind}}}')] != []
    assert not db.check()
    db.shut()


@pytest.mark.parametrize('changes', [1, 200])
def test_the_wal_of_a_writer_that_never_pauses_stays_bounded(path, monkeypatch, changes):
    monkeypatch.setattr(store, 'WAL', 50_000)
    monkeypatch.setattr(store, 'MOST', 200_000)

    async def main():
        tables = Store(path, ['gs1'], 'digest')
        n = size = cuts = 0
        while cuts < 3:
            for _ in range(changes):
                n += 1
                tables.change('main', 'h', n, 'x' * 100, True)
            await runtime.sleep(0)
            last, size = size, os.path.getsize(f'{path}-wal')
            assert size < 3_000_000
            cuts += size < last
        tables.end()
        await tables.file.close()
    run(main)


@pytest.mark.parametrize('scheduler', [True, False])
def test_the_wal_stays_bounded_where_no_fiber_can_copy_it(path, monkeypatch, scheduler):
    monkeypatch.setattr(store, 'WAL', 50_000)
    monkeypatch.setattr(store, 'MOST', 100_000)
    monkeypatch.setattr(store, 'TURN', 1)

    async def main():
        work()

    def work():
        tables, most = Store(path, ['gs1'], 'digest'), 0
        for n in range(3000):
            put(tables, n)
            most = max(most, os.path.getsize(f'{path}-wal'))
        assert 100_000 < most < (2_000_000 if scheduler else 300_000)
        tables.end()
        tables.file.shut()
    run(main) if scheduler else work()
    assert len(seen(path)) == 3000


def test_gets_of_a_turn_share_a_transaction_that_ends_with_it(path, tables):
    async def main():
        put(tables, 1)
        await runtime.sleep(0)
        for _ in range(3):
            assert tables.get('main', 'h', 1) == '"1"'
        assert tables.connection.in_transaction
        put(tables, 2)
        assert tables.get('main', 'h', 2) == '"2"'
        await runtime.sleep(0)
        assert not tables.connection.in_transaction and seen(path) == [1, 2]
        for _ in range(3):
            tables.get('main', 'h', 1)
        await tables.flush()
        assert not tables.connection.in_transaction
    run(main)


def test_the_cache_is_bounded(tables):
    assert tables.execute('PRAGMA cache_size').fetchone()[0] == -store.CACHE
