"""Files of SQLite: what is left after SIGKILL, a torn WAL, damage, a full disk; the loop never waits for the disk."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from ioto import runtime
from ioto.runtime import sqlite
from ioto.runtime.sqlite import File, StoreError
from tests.child import PATIENCE, TREE

CHILD = f'''
import os, sys
sys.path.insert(0, {TREE!r})
from ioto import runtime
from ioto.runtime.sqlite import File, StoreError
def setup(connection, found):
    connection.execute('CREATE TABLE IF NOT EXISTS line (number INTEGER PRIMARY KEY, text TEXT)')
path, limit, first, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
file = File(path, setup, page_size=512, sync=0.05, limit=limit)
def put(number):
    with file as connection:
        connection.execute('INSERT INTO line VALUES (?, ?)', (number, 'x' * (number % 700)))
'''
WRITER = CHILD + '''
async def main():
    number = first
    while True:
        put(number)
        os.write(1, b'committed %d\\n' % number)
        if number % 50 == 49:
            await file.durable()
            os.write(1, b'durable %d %d\\n' % (number, os.path.getsize(path + '-wal')))
        number += 1
        await runtime.sleep(pause)
runtime.run(main)
'''


def setup(connection, found):
    connection.execute('CREATE TABLE IF NOT EXISTS line (number INTEGER PRIMARY KEY, text TEXT)')


def put(file, number, text=''):
    with file as connection:
        connection.execute('INSERT INTO line VALUES (?, ?)', (number, text))


def numbers(path):
    """What a File finds; the file is closed again, and sound."""
    file = File(path, setup)
    try:
        assert file.connection.execute('PRAGMA integrity_check').fetchone() == ('ok',)
        rows = file.connection.execute('SELECT number, text FROM line ORDER BY number').fetchall()
        assert all(not text.strip('x') and len(text) in (0, number % 700) for number, text in rows)
        return [row[0] for row in rows]
    finally:
        file.shut()


def run(main):
    async def limited():
        async with runtime.timeout(PATIENCE):
            return await main()
    return runtime.run(limited)


def program(text, *arguments, **options):
    return subprocess.Popen([sys.executable, '-c', text, *map(str, arguments)], stdout=subprocess.PIPE, **options)


def written_until_killed(path, limit, first=0, lines=300, pause=0):
    """Run WRITER and kill it after so many lines: its last (committed, durable, size of the WAL at that)."""
    with program(WRITER, path, limit, first, pause) as child:
        found = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        found += child.stdout.read().splitlines(keepends=True)
    said = {b'durable': (-1, 0)}
    for line in found:
        if line.endswith(b'\n'):
            what, *values = line.split()
            said[what] = tuple(map(int, values))
    return *said[b'committed'], *said[b'durable']


# What is left

@pytest.fixture
def seed():
    seed = random.randrange(1 << 30)
    print('seed', seed)
    return random.Random(seed)


@pytest.mark.parametrize('limit', [20_000, 1 << 30])
def test_a_sigkill_loses_nothing_that_was_committed(tmp_path, seed, limit):
    """Also in the middle of checkpoints, and of a recovery."""
    path, first = tmp_path / 'x.db', 0
    for _ in range(15):
        committed, *_ = written_until_killed(path, limit, first, seed.randrange(1, 400))
        found = numbers(path)
        assert found == list(range(len(found))) and committed < len(found) <= committed + 2
        first = len(found)


def test_what_a_killed_process_left_in_the_wal_is_forced_when_it_is_opened(tmp_path, monkeypatch):
    path, forced = tmp_path / 'x.db', []
    written_until_killed(path, 1 << 30)
    monkeypatch.setattr(sqlite.os, 'fdatasync', lambda descriptor: forced.append(os.fstat(descriptor).st_ino))
    file = File(path, setup)
    assert forced == [os.stat(f'{path}-wal').st_ino]
    file.shut()


def test_a_torn_wal_leaves_a_prefix_with_all_that_durable_said(tmp_path, seed):
    """What a power cut may do: end the WAL anywhere after what was forced, or leave any bytes there."""
    path, copy = tmp_path / 'x.db', tmp_path / 'copy' / 'x.db'
    committed, durable, size = written_until_killed(path, 1 << 30, pause=0.0005)
    whole = os.path.getsize(f'{path}-wal')
    assert durable >= 0 and whole > size
    for damage in range(80):
        copy.parent.mkdir()
        shutil.copy(path, copy)
        shutil.copy(f'{path}-wal', f'{copy}-wal')
        at = seed.randrange(size, whole)
        with open(f'{copy}-wal', 'r+b') as wal:
            if damage % 2:
                wal.truncate(at)
            else:
                wal.seek(at)
                wal.write(seed.randbytes(seed.randrange(1, 2000)))
        found = numbers(copy)
        assert found == list(range(len(found))) and durable < len(found) <= committed + 2
        shutil.rmtree(copy.parent)


def test_a_wal_cut_anywhere_leaves_a_prefix(tmp_path, seed):
    path, copy = tmp_path / 'x.db', tmp_path / 'copy' / 'x.db'
    committed, *_ = written_until_killed(path, 1 << 30)
    lengths = set()
    for at in sorted(seed.sample(range(os.path.getsize(f'{path}-wal')), 40)):
        copy.parent.mkdir()
        shutil.copy(path, copy)
        shutil.copy(f'{path}-wal', f'{copy}-wal')
        os.truncate(f'{copy}-wal', at)
        found = numbers(copy)
        assert found == list(range(len(found))) and len(found) <= committed + 2
        lengths.add(len(found))
        shutil.rmtree(copy.parent)
    assert len(lengths) > 10


def test_a_wal_whose_database_never_reached_the_disk_is_not_taken(tmp_path):
    path = tmp_path / 'x.db'
    written_until_killed(path, 1 << 30, lines=10)
    os.truncate(path, 0)
    assert numbers(path) == []


def damage_header(path):
    with open(path, 'r+b') as file:
        file.write(b'nonsense' * 4)


def damage_pages(path):
    with open(path, 'r+b') as file:
        file.seek(4096)
        file.write(os.urandom(os.path.getsize(path) - 4096))


def cut_short(path):
    os.truncate(path, os.path.getsize(path) // 2 + 100)


def be_newer(path):
    with sqlite3.connect(path) as connection:
        connection.execute('PRAGMA user_version=7')
    connection.close()


def be_text(path):
    path.write_text('{"a": 1}' * 200)


@pytest.mark.parametrize('damage, reason', [
    (damage_header, 'not a database'), (be_text, 'not a database'), (damage_pages, 'malformed'),
    (cut_short, 'malformed'),
    (be_newer, 'it is of version 7, and this program knows version 1')])
def test_an_unfit_file_is_set_aside_and_reported(tmp_path, capfd, damage, reason):
    path = tmp_path / 'x.db'

    def read(connection, found):
        setup(connection, found)
        return connection.execute('SELECT * FROM line').fetchall()
    for number in (1, 2):
        file = File(path, setup)
        for n in range(200):
            put(file, n, 'x' * 100)
        file.shut()
        damage(path)
        damaged = path.read_bytes()
        file = File(path, read)
        assert file.connection.execute('SELECT count(*) FROM line').fetchone() == (0,)
        file.shut()
        assert (tmp_path / f'x.db.corrupt-{number}').read_bytes() == damaged
        message = capfd.readouterr().err
        assert f'{path} was set aside as {path}.corrupt-{number}: ' in message and reason in message
    assert not [name for name in os.listdir(tmp_path) if name.endswith(('-wal', '-shm'))]


def test_a_setup_that_wants_another_file_has_it_set_aside(tmp_path):
    path = tmp_path / 'x.db'
    File(path, setup).shut()
    seen = []

    def fussy(connection, found):
        seen.append(found)
        if found:
            raise ValueError('not this one')
        setup(connection, found)
    File(path, fussy).shut()
    assert seen == [1, 0] and os.path.exists(f'{path}.corrupt-1')
    with pytest.raises(StoreError, match='x.db: not this one'):
        File(path, lambda connection, found: fussy(connection, 1))


# What cannot be

def test_a_full_disk_is_an_error_and_loses_nothing(disk, remount):
    path = disk / 'x.db'

    async def main():
        file = File(path, setup)
        number = 0
        with pytest.raises(StoreError, match='x.db: database or disk is full'):
            while True:
                put(file, number, 'x' * (number % 700))
                number += 1
        assert number % 700 > 50
        with pytest.raises(StoreError, match='full'):
            put(file, number, 'x' * (number % 700))
        await file.durable()
        remount('size=4m')
        put(file, number)
        await file.close()
        assert numbers(path) == list(range(number + 1))
    run(main)


def test_a_disk_that_is_full_at_the_start_is_an_error(disk):
    (disk / 'filler').write_bytes(bytes((1 << 20) - 4096))
    with pytest.raises(StoreError, match='x.db: '):
        File(disk / 'x.db', setup)
    (disk / 'filler').unlink()
    File(disk / 'x.db', setup).shut()


def test_a_limit_of_file_sizes_is_an_error_and_loses_nothing(tmp_path):
    path = tmp_path / 'x.db'
    child = CHILD + '''
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
number = 0
try:
    while True:
        put(number)
        number += 1
except StoreError as error:
    print(error)
    print(number)
os._exit(0)
'''
    with program(child, path, 1 << 30, 0, 0) as running:
        message, number = running.stdout.read().decode().splitlines()
    assert f'{path}: ' in message
    assert numbers(path) == list(range(int(number)))


def test_a_read_only_file_system_is_an_error(disk, remount):
    path = disk / 'x.db'
    remount('ro')
    with pytest.raises(StoreError, match='x.db: Read-only file system'):
        File(path, setup)
    remount('rw')
    file = File(path, setup)
    put(file, 0)
    file.shut()
    remount('ro')
    with pytest.raises(StoreError, match='x.db: Read-only file system'):
        File(path, setup)
    remount('rw')
    assert numbers(path) == [0]


@pytest.mark.parametrize('path, reason', [
    ('x.db/y.db', 'Not a directory|File exists'), ('folder', 'unable to open|Is a directory')])
def test_a_path_that_cannot_be_is_an_error(tmp_path, path, reason):
    (tmp_path / 'x.db').write_text('')
    (tmp_path / 'folder').mkdir()
    with pytest.raises(StoreError, match=reason):
        File(tmp_path / path, setup)


def test_one_process_has_a_file(tmp_path):
    path = tmp_path / 'x.db'
    with program(WRITER, path, 1 << 20, 0, 0.01) as child:
        child.stdout.readline()
        with pytest.raises(StoreError, match='x.db: it is in use by another process'):
            File(path, setup)
        child.stdout.readline()
        child.kill()
    file = File(path, setup)
    with pytest.raises(StoreError, match='in use'):
        File(path, setup)
    put(file, 10_000)           # its locks are still there
    with program(WRITER, path, 1 << 20, 0, 0, stderr=subprocess.PIPE) as child:
        assert b'in use by another process' in child.stderr.read()
    file.shut()
    assert numbers(path)[-1] == 10_000


def test_after_a_failed_forcing_nothing_is_taken_any_more(tmp_path, monkeypatch):
    async def main():
        file = File(tmp_path / 'x.db', setup, sync=1000)
        put(file, 0)
        with monkeypatch.context() as patch:
            patch.setattr(sqlite.os, 'fdatasync', lambda descriptor: os.preadv(-1, [], 0))
            with pytest.raises(StoreError, match='x.db: Bad file descriptor'):
                await file.durable()
        with pytest.raises(StoreError, match='Bad file'):
            await file.durable()
        with pytest.raises(StoreError, match='Bad file'):
            put(file, 1)
        await file.close()
    run(main)


# The disk and the loop

@pytest.fixture
def forced(monkeypatch):
    """A list that grows with each fdatasync of the WAL."""
    calls, fdatasync = [], os.fdatasync

    def count(descriptor):
        calls.append(descriptor)
        fdatasync(descriptor)
    monkeypatch.setattr(sqlite.os, 'fdatasync', count)
    return calls


def test_who_waits_at_once_shares_a_forcing(tmp_path, forced):
    async def main():
        file = File(tmp_path / 'x.db', setup, sync=1000)
        await file.durable()
        assert not forced
        async with runtime.TaskGroup() as group:
            for number in range(100):
                put(file, number)
                group.spawn(file.durable())
        assert 1 <= len(forced) <= 2
        await file.durable()
        assert 1 <= len(forced) <= 2 and file.synced == file.commits == 100
        await file.close()
    run(main)


def test_commits_are_forced_within_sync_seconds_and_a_file_at_rest_is_not(tmp_path, forced):
    async def main():
        file = File(tmp_path / 'x.db', setup, sync=0.1)
        put(file, 0)
        while not file.synced:
            await runtime.sleep(0.01)
        await runtime.sleep(0.3)
        assert len(forced) == 1 and file.timer is None
        await file.close()
    run(main)


def synchronous(file):
    """0 for OFF, 1 for NORMAL."""
    return file.connection.execute('PRAGMA synchronous').fetchone()[0]


def test_the_wal_of_a_busy_writer_stays_bounded(tmp_path):
    path = tmp_path / 'x.db'

    async def main():
        file = File(path, setup, page_size=512, limit=100_000)
        sizes = []
        for number in range(6000):
            put(file, number, 'x' * (number % 700))
            sizes.append(os.path.getsize(f'{path}-wal'))
            assert synchronous(file) == file.copying
            await runtime.sleep(0)
            if file.held:
                await file.free.wait()
        cuts = [after for before, after in zip(sizes, sizes[1:]) if after < before]
        assert len(cuts) >= 5 and max(sizes) < 405_000
        assert max(cuts) < 5000             # cut to nothing, and then the commit that followed
        await file.close()
        assert numbers(path) == list(range(6000))
    run(main)


def test_a_reader_delays_the_cut_and_not_the_writer(tmp_path):
    path = tmp_path / 'x.db'

    async def main():
        file = File(path, setup, page_size=512, limit=50_000)
        put(file, 0)
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute('BEGIN')
        reader.execute('SELECT * FROM line').fetchall()
        for number in range(1, 400):
            put(file, number, 'x' * (number % 700))
            await runtime.sleep(0)
        while file.copying:
            await runtime.sleep(0.01)
        assert os.path.getsize(f'{path}-wal') > 50_000 and synchronous(file) == 1
        reader.close()
        for number in range(400, 800):
            put(file, number, 'x' * (number % 700))
            await runtime.sleep(0)
            await file.free.wait()              # a commit in its way would put the cut off
        while file.copying:
            await runtime.sleep(0.01)
        assert synchronous(file) == 0
        await file.close()
        assert numbers(path) == list(range(800))
    run(main)


SHIM = '''
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
#include <sys/syscall.h>
static int slow(int number, int descriptor) {
    write(2, syscall(SYS_gettid) == getpid() ? "M" : "T", 1);
    usleep(200000);
    return syscall(number, descriptor);
}
int fsync(int descriptor) { return slow(SYS_fsync, descriptor); }
int fdatasync(int descriptor) { return slow(SYS_fdatasync, descriptor); }
'''


@pytest.mark.skipif(not shutil.which('gcc'), reason='gcc makes the disk slow')
def test_a_slow_disk_never_makes_the_loop_wait(tmp_path):
    """Each forcing takes 200 ms and says in which thread it was, while commits go on through several checkpoints."""
    (tmp_path / 'shim.c').write_text(SHIM)
    subprocess.run(['gcc', '-shared', '-fPIC', '-w', '-o', tmp_path / 'shim.so', tmp_path / 'shim.c'], check=True)
    child = CHILD + '''
async def main():
    os.write(2, b'|')
    cuts = number = size = 0
    while cuts < 3:
        put(number)
        number += 1
        now = os.path.getsize(path + '-wal')
        cuts += now < size
        size = now
        await runtime.sleep(0.001)
        if file.held:
            await file.free.wait()
    os.write(2, b'|')
    await file.close()
runtime.run(main)
'''
    with program(child, tmp_path / 'x.db', 50_000, 0, 0, stderr=subprocess.PIPE,
                 env={**os.environ, 'LD_PRELOAD': str(tmp_path / 'shim.so')}) as running:
        opening, working, closing = running.stderr.read().decode().split('|')
    assert 'M' in opening
    assert 'T' in working and set(working) == {'T'} and set(closing) == {'T'}


def test_closing_leaves_one_file_that_is_whole(tmp_path):
    path = tmp_path / 'new' / 'x.db'

    async def main():
        file = File(path, setup)
        put(file, 0)
        assert sorted(os.listdir(path.parent)) == ['x.db', 'x.db-shm', 'x.db-wal']
        assert {os.stat(path.parent / name).st_mode & 0o777 for name in os.listdir(path.parent)} == {0o600}
        await file.close()
        await file.close()
        await file.durable()
        assert os.listdir(path.parent) == ['x.db']
    run(main)
    assert numbers(path) == [0]


def test_a_transaction_is_rolled_back_as_a_whole(tmp_path):
    file = File(tmp_path / 'x.db', setup)
    put(file, 1)
    with pytest.raises(StoreError, match='UNIQUE'):
        with file as connection:
            connection.execute("INSERT INTO line VALUES (2, '')")
            connection.execute("INSERT INTO line VALUES (1, '')")
    with pytest.raises(KeyError):
        with file as connection:
            connection.execute("INSERT INTO line VALUES (2, '')")
            raise KeyError
    file.shut()
    assert numbers(tmp_path / 'x.db') == [1]


def test_without_sqlite3_it_names_the_package():
    program = f"import sys; sys.path.insert(0, {TREE!r}); sys.modules['sqlite3'] = None; import ioto.runtime.sqlite"
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=PATIENCE)
    assert 'opkg install python3-sqlite3' in done.stderr.splitlines()[-1]


def test_a_wal_is_cut_without_a_wait_where_there_is_a_moment_without_commits(tmp_path):
    path = tmp_path / 'x.db'

    async def main():
        file = File(path, setup, limit=30_000, most=1 << 30)
        number = 0
        while not file.copying:
            put(file, number, 'x' * (number % 700))
            number += 1
        while file.copying:
            assert not file.held
            await runtime.sleep(0.01)
        assert os.path.getsize(f'{path}-wal') == 0
        await file.close()
        assert numbers(path) == list(range(number))
    run(main)


def test_a_file_in_memory(tmp_path):
    async def main():
        file = sqlite.Memory(setup)
        put(file, 0, 'x')
        with pytest.raises(ZeroDivisionError), file as connection:
            connection.execute('DELETE FROM line')
            1 / 0
        await file.durable()
        assert file.connection.execute('SELECT text FROM line').fetchall() == [('x',)]
        await file.close()
        await file.close()
    run(main)
