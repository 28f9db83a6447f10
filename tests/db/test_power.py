"""What is left of a database after SIGKILL, a torn WAL, damage, a full disk and a file system that became read-only."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from ioto import runtime
from ioto.db import Database, DbError, store
from tests.child import PATIENCE, TREE

KEY = {'pk': {'type': 'string', 'value': '${_type}'}, 'sk': {'type': 'string', 'value': '${id}'},
       'id': {'type': 'string', 'required': True}, 'n': {'type': 'number'}}
SCHEMA = {
    'indexes': {'primary': {'hash': 'pk', 'sort': 'sk'}, 'gs1': {'hash': 'gs1pk', 'sort': 'gs1sk'}},
    'models': {'Left': KEY, 'Right': {**KEY, 'gs1pk': {'type': 'string', 'value': 'n'}, 'gs1sk': {'type': 'number'},
                                      'text': {'type': 'string', 'unique': True}}, 'Told': KEY},
    'process': {'Left': {'sync': 'up'}, 'Right': {'sync': 'up'}},
}
# Pairs of items with the number of their change, removed at times; the outbox is acknowledged at times, and Told has the number at that.
WRITER = f'''
import os, sys
sys.path.insert(0, {TREE!r})
from ioto import runtime
from ioto.db import Database, store
from tests.db.test_power import SCHEMA, sound
path, lives, store.WAL, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
store.MOST = store.WAL * 2

def change(db, n):
    key = {{'id': str(n % 11)}}
    with db.batch():
        if n % 5 == 0:
            db.remove('Left', key)
            db.remove('Right', key)
        else:
            db.update('Left', {{**key, 'n': n}}, upsert=True)
            db.update('Right', {{**key, 'n': n, 'gs1sk': n, 'text': 'x' * (n % 700) + str(n)}}, upsert=True)
        if n % 13 == 0:
            db.acknowledge([row[0] for row in db.pending(1000)])
            db.update('Told', {{'id': 'up to', 'n': n}}, upsert=True)
        db.update('Told', {{'id': 'last', 'n': n}}, upsert=True)

async def main():
    db = Database(path, SCHEMA, flush=0.02)
    n = sound(db)
    while True:
        n += 1
        change(db, n)
        os.write(1, b'made %d\\n' % n)
        if n % 3 == 0:
            await db.flush()
            os.write(1, b'flushed %d %d\\n' % (n, os.path.getsize(path + '-wal')))
        await runtime.sleep(pause)

for life in range(lives):
    child = os.fork()
    if not child:
        runtime.run(main)
    os.write(1, b'child %d\\n' % child)
    os.write(1, b'status %d\\n' % os.waitpid(child, 0)[1])
'''


def sound(db):
    """Check that items, index, unique values and outbox are those of one moment; the number of the last change."""
    assert not db.check()
    left, right = ({item['id']: item['n'] for item in db.find(model)} for model in ('Left', 'Right'))
    assert left == right
    assert {item['id']: item['n'] for item in db.find('Right', {}, index='gs1')} == right
    told = {item['id']: item['n'] for item in db.find('Told')}
    pending = {(model, item['id']): (command, item['n']) for _, model, command, _, item in db.pending(1000)}
    assert {key: n for key, (command, n) in pending.items() if command == 'upsert'} == {
        (model, name): n for model in ('Left', 'Right') for name, n in left.items() if n > told.get('up to', 0)}
    assert not {key for key, (command, n) in pending.items() if command == 'remove' and key[1] in left}
    for item in db.find('Right'):
        with pytest.raises(DbError, match='Right.text'):
            db.create('Right', {'id': 'other', 'text': item['text']})
    last = told.get('last', 0)
    assert left == {str(n % 11): n for n in range(max(1, last - 10), last + 1) if n % 5} | {
        name: n for name, n in left.items() if n < last - 10}
    return last


def opened(path):
    """The number of the last change that is found in a file, which is closed again."""
    db = Database(path, SCHEMA)
    try:
        return sound(db)
    finally:
        db.shut()


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'device.db'


@pytest.fixture
def seed():
    seed = random.randrange(1 << 30)
    print('seed', seed)
    return random.Random(seed)


def writer(path, lives, wal, pause=0):
    return subprocess.Popen([sys.executable, '-c', WRITER, *map(str, (path, lives, wal, pause))], stdout=subprocess.PIPE)


def test_200_sigkills_lose_nothing_that_was_committed(path, seed):
    """Also in the middle of checkpoints, and while the last life's WAL is recovered; each life checks what it finds."""
    made = 0
    with writer(path, 200, 30_000) as family:
        for _ in range(200):
            child = int(family.stdout.readline().split()[1])
            for _ in range(seed.choice([0, 1, 5, 40])):
                line = family.stdout.readline().split()
                assert line[0] != b'status', 'a life found what it must not, or failed'
                made = int(line[1])
            time.sleep(seed.choice([0, 0.001, 0.01]))
            os.kill(child, signal.SIGKILL)
            while (line := family.stdout.readline().split())[0] != b'status':
                made = int(line[1])
            assert line[1] == b'9'
    assert 200 < made <= opened(path) <= made + 1


def test_a_torn_wal_leaves_a_prefix_with_all_that_flush_said(path, seed):
    """What a power cut may do: end the WAL anywhere after what was forced, or leave any bytes there."""
    with writer(path, 1, 1 << 30, 0.0005) as family:
        child, flushed, made = int(family.stdout.readline().split()[1]), (0, 0), 0
        for _ in range(300):
            line = family.stdout.readline().split()
            made = int(line[1])
            flushed = (made, int(line[2])) if line[0] == b'flushed' else flushed
        os.kill(child, signal.SIGKILL)
        family.stdout.read()
    number, size = flushed
    whole = os.path.getsize(f'{path}-wal')
    assert number > 50 and whole >= size
    seen = set()
    for damage in range(60):
        copy = path.parent / f'copy {damage}' / 'device.db'
        copy.parent.mkdir()
        for end in ('', '-wal'):
            shutil.copy(f'{path}{end}', f'{copy}{end}')
        early = damage % 3 == 0                                     # before what was forced: any moment, but one
        at = seed.randrange(0 if early else size, whole + 1)
        with open(f'{copy}-wal', 'r+b') as wal:
            if damage % 2:
                wal.truncate(at)
            else:
                wal.seek(at)
                wal.write(seed.randbytes(seed.randrange(1, 2000)))
        found = opened(copy)
        assert found >= (0 if early else number)
        seen.add(found)
    assert len(seen) > 5


@pytest.mark.parametrize('size', [50, 3000])
def test_a_database_cut_or_damaged_anywhere_opens_and_what_is_unfit_is_set_aside(path, seed, size, capfd):
    db = Database(path, SCHEMA)
    with db.batch():
        for n in range(size):
            db.create('Right', {'id': str(n), 'n': n, 'gs1sk': n, 'text': f'{n}' * 50})
    db.shut()
    whole, aside = path.read_bytes(), 0
    assert size == 50 or len(whole) > store.CHECKED
    for damage in range(24):
        copy = path.parent / f'copy {damage}' / 'device.db'
        copy.parent.mkdir()
        at = seed.randrange(len(whole))
        copy.write_bytes(whole[:at] if damage % 2 else whole[:at] + bytes(byte ^ 0xff for byte in whole[at:at + 3000]) + whole[at + 3000:])
        for _ in range(2):                                          # what is found when it is read is set aside the next time
            db = Database(copy, SCHEMA)
            try:
                found = db.check() or [item['n'] for item in db.find('Right')]
                db.create('Left', {'id': 'new'}, exists=None)
            except DbError as error:
                found = [str(error)]
            db.shut()
        (copy.parent / 'device.db.damaged').touch()
        db = Database(copy, SCHEMA)
        db.create('Left', {'id': 'new'}, exists=None)
        assert not db.check()
        db.shut()
        names = sorted(os.listdir(copy.parent))
        assert names in (['device.db'], ['device.db', 'device.db.corrupt-1']), found
        if len(names) == 2:
            aside += 1
            assert f'{copy} was set aside as {copy}.corrupt-1: ' in capfd.readouterr().err
    assert aside > 15


def damage_a_large_file(path):
    """One that is too large to be read through when it is opened."""
    db = Database(path, SCHEMA)
    with db.batch():
        for n in range(3000):
            db.create('Right', {'id': str(n), 'n': n, 'text': f'{n}' * 50})
    db.shut()
    with open(path, 'r+b') as file:
        file.seek(store.PAGE * 200)
        file.write(bytes(store.PAGE * 100))


def test_damage_that_is_met_is_told_and_the_file_set_aside_at_the_next_start(path, capfd):
    damage_a_large_file(path)
    db = Database(path, SCHEMA)
    with pytest.raises(DbError, match='device.db: database disk image is malformed'):
        db.find('Right')
    db.shut()
    assert f'{path} is damaged, and is set aside at the next start' in capfd.readouterr().err
    assert opened(path) == 0 and sorted(os.listdir(path.parent)) == ['device.db', 'device.db.corrupt-1']


def test_damage_that_is_met_while_indexes_are_built_sets_the_file_aside_at_once(path, capfd):
    damage_a_large_file(path)
    db = Database(path, {**SCHEMA, 'indexes': {**SCHEMA['indexes'], 'gs2': {'hash': 'n'}}})
    db.create('Left', {'id': 'new'})
    db.shut()
    assert sorted(os.listdir(path.parent)) == ['device.db', 'device.db.corrupt-1']
    assert f'{path} was set aside as {path}.corrupt-1' in capfd.readouterr().err


# What cannot be

def run(main):
    async def limited():
        async with runtime.timeout(PATIENCE):
            return await main()
    return runtime.run(limited)


def test_a_full_disk_is_told_to_who_flushes_and_loses_nothing_that_was_flushed(disk, remount, capfd):
    path = disk / 'device.db'

    async def main():
        db, told = Database(path, SCHEMA), 0

        async def write(first):
            nonlocal told
            n = first
            with pytest.raises(DbError, match='device.db: (database or disk is full|disk I/O error)'):
                while True:
                    db.create('Left', {'id': f'{n:06}', 'n': n})
                    await db.flush()
                    told += 1
                    n += 2
        async with runtime.TaskGroup() as group:
            group.spawn(write(0))
            group.spawn(write(1))
        assert told > 50 and db.count('Left') >= told and not db.check()
        with pytest.raises(DbError):
            with db.batch():
                for n in range(10_000):
                    db.create('Right', {'id': str(n), 'text': str(n)})
        remount('size=9m')
        assert db.count('Right') == 0
        db.create('Left', {'id': 'last'})
        await db.flush()
        found = db.count('Left')
        await db.close()
        assert found > told and opened_count(path) == found
    run(main)
    assert 'changes are lost' in capfd.readouterr().err


def opened_count(path):
    db = Database(path, SCHEMA)
    try:
        assert not db.check() and len(db.pending(100_000)) == db.count('Left')
        return db.count('Left')
    finally:
        db.shut()


def test_a_limit_of_file_sizes_is_an_error_and_loses_nothing(path):
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        status, n = 1, 0
        try:
            db = Database(path, SCHEMA)
            while True:
                db.create('Left', {'id': str(n)})
                n += 1
        except DbError:
            path.with_suffix('.count').write_text(str(n))
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert opened_count(path) == int(path.with_suffix('.count').read_text()) > 10


def test_a_file_system_that_is_read_only_is_an_error(disk, remount):
    path = disk / 'device.db'
    remount('ro')
    with pytest.raises(DbError, match='device.db: Read-only file system'):
        Database(path, SCHEMA)
    remount('rw')
    db = Database(path, SCHEMA)
    db.create('Left', {'id': 'a'})
    db.shut()
    remount('ro')
    with pytest.raises(DbError, match='device.db: Read-only file system'):
        Database(path, SCHEMA)
    remount('rw')
    assert opened_count(path) == 1


def test_two_processes_cannot_have_one_file(path):
    db = Database(path, SCHEMA)
    with pytest.raises(DbError, match='in use'):
        Database(path, SCHEMA)
    db.shut()
