"""The session in a file: what is there after a restart, a SIGKILL, a full disk; and what keeping it costs."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from ioto import runtime
from ioto.mqtt.store import Store, StoreError
from ioto.runtime import sqlite
from tests.child import PATIENCE, TREE

CHILD = f'''
import os, sys
sys.path.insert(0, {TREE!r})
from ioto import runtime
from ioto.mqtt.store import Store
async def main():
    store = Store(sys.argv[1], 'device', sync=0.05)
    order = 1 + max([entry[0] for entry in store.entries], default=int(sys.argv[2]))
    while True:                     # all that a message of QoS 2 goes through, in both directions
        store.put(order, order % 60000 + 1, 2, order & 1, f'a/{{order}}', b'%d' % order)
        store.receive(order % 60000 + 1)
        await done(store, b'put', order)
        if order % 3 == 0:
            store.release(order)
            await done(store, b'released', order)
        if order % 5 == 0:
            store.forget(order)
            store.complete(order % 60000 + 1)
            await done(store, b'forgotten', order)
        order += 1
        await runtime.sleep(0)
async def done(store, what, order):
    await store.settle()
    os.write(1, b'%s %d\\n' % (what, order))
runtime.run(main)
'''


def run(main):
    async def limited():
        async with runtime.timeout(PATIENCE):
            return await main()
    return runtime.run(limited)


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'state' / 'mqtt.db'


def session(path, change=None, client='device'):
    """(entries, received) of the file, after a change that is committed."""
    async def main():
        store = Store(path, client)
        if change:
            change(store)
        found = store.entries, set(store.received)
        await store.close()
        return found
    return run(main)


def put(store, *orders):
    for order in orders:
        store.put(order, order + 100, 1, 0, f'topic/{order}', b'payload %d' % order)


def entry(order, released=0):
    return (order, order + 100, 1, 0, released, f'topic/{order}', b'' if released else b'payload %d' % order)


# What is there after a restart

@pytest.mark.parametrize('row', [
    (1, 0, 0, 0, 'a', b''), (2, 65535, 1, 1, 'ä/€/𝄞', bytes(range(256))),
    (1 << 40, 7, 2, 0, 'x' * 65535, os.urandom(100_000)),
])
def test_a_message_comes_back_as_it_was(path, row):
    session(path, lambda store: store.put(*row))
    [found] = session(path)[0]
    assert found == (*row[:4], 0, *row[4:]) and type(found[6]) is bytes


@pytest.mark.parametrize('kind', [bytes, bytearray, memoryview])
def test_a_payload_may_be_any_bytes(path, kind):
    session(path, lambda store: store.put(1, 1, 1, 0, 'a', kind(b'payload')))
    assert session(path)[0][0][6] == b'payload'


def test_a_new_file_has_no_session(path):
    assert session(path) == ([], set()) == session(path)


def steps(*changes, together):
    """Changes of one commit, or each of its own."""
    def change(store):
        for name, *arguments in changes:
            put(store, *arguments) if name == 'put' else getattr(store, name)(*arguments)
            if not together:
                assert store.commit() is True
    return change


@pytest.mark.parametrize('together', [True, False])
@pytest.mark.parametrize('changes, entries, received', [
    ([('put', 2, 1, 3)], [entry(1), entry(2), entry(3)], set()),
    ([('put', 1, 2), ('forget', 1)], [entry(2)], set()),
    ([('put', 1, 2), ('release', 1)], [entry(1, 1), entry(2)], set()),
    ([('put', 1, 2), ('release', 1), ('forget', 1)], [entry(2)], set()),
    ([('receive', 5), ('receive', 6), ('receive', 5), ('complete', 6)], [], {5}),
    ([('receive', 5), ('complete', 5), ('receive', 5)], [], {5}),
    ([('complete', 9), ('forget', 9), ('release', 9)], [], set()),
    ([('receive', 5), ('clear_received',), ('receive', 6)], [], {6}),
    ([('receive', 5), ('clear_received',), ('receive', 5), ('clear_received',)], [], set()),
])
def test_what_is_left_of_changes(path, changes, entries, received, together):
    session(path, steps(*changes, together=together))
    assert session(path) == (entries, received)


def test_a_change_of_what_was_there_before(path):
    session(path, lambda store: (put(store, 1, 2, 3), store.receive(5), store.receive(6)))
    session(path, lambda store: (store.release(2), store.forget(3), store.complete(5)))
    assert session(path) == ([entry(1), entry(2, 1)], {6})


def test_a_session_of_another_client_is_set_aside(path, capfd):
    session(path, lambda store: put(store, 1))
    assert session(path, client='other') == ([], set())
    message = f"{path} was set aside as {path}.corrupt-1: it is of the client 'device', and this is 'other'"
    assert message in capfd.readouterr().err
    os.rename(f'{path}.corrupt-1', path)
    assert session(path)[0] == [entry(1)]


def test_damage_that_reading_would_not_meet_is_found(path, capfd):
    session(path, lambda store: put(store, *range(300)))
    session(path, lambda store: [store.forget(order) for order in range(10, 300)])
    with open(path, 'r+b') as file:             # pages that are free
        file.seek(-8 * 512, os.SEEK_END)
        file.write(os.urandom(8 * 512))
    assert session(path) in (([], set()), ([entry(order) for order in range(10)], set()))
    assert session(path, lambda store: put(store, *range(400, 600)))
    assert len(session(path)[0]) in (200, 210)


# SIGKILL

def test_a_sigkill_loses_and_repeats_nothing(path):
    seed = random.randrange(1 << 30)
    print('seed', seed)
    chance, last = random.Random(seed), 0
    states = {}
    for _ in range(10):
        with subprocess.Popen([sys.executable, '-c', CHILD, str(path), str(last)], stdout=subprocess.PIPE) as child:
            lines = [child.stdout.readline() for _ in range(chance.randrange(1, 3000))]
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.read().splitlines(keepends=True)
        for line in lines:
            if line.endswith(b'\n'):
                state, last = line.decode().split()[0], int(line.split()[1])
                states[last] = state
        entries, received = session(path)
        found = {order: 'released' if released else 'put' for order, _, _, _, released, _, _ in entries}
        unsaid = {last, last + 1}           # it may have been killed between a commit and saying so
        assert {order: state for order, state in found.items() if order not in unsaid} == {
            order: state for order, state in states.items() if state != 'forgotten' and order not in unsaid}
        assert {identifier - 1 for identifier in received} - unsaid == set(found) - unsaid
        for order, _, _, retain, released, topic, payload in entries:
            assert (retain, topic, payload) == (order & 1, f'a/{order}', b'' if released else b'%d' % order)
        last = max([last, *found])
        states = found


# What cannot be

def test_a_full_disk_refuses_a_commit_as_a_whole_and_it_may_be_tried_again(disk, remount):
    path = disk / 'mqtt.db'

    async def main():
        store = Store(path, 'device')
        order = 0
        with pytest.raises(StoreError, match=f'{path}: database or disk is full'):
            while True:
                store.put(order, order + 1, 1, 0, 'a', bytes(10_000))
                store.put(order + 1, order + 1, 1, 0, 'b', b'')
                store.commit()
                order += 2
        with pytest.raises(StoreError):
            await store.durable()
        store.forget(order)                     # what is not accepted is taken back
        for old in range(0, 40, 2):
            store.forget(old)
        remount('size=4m')
        assert store.commit() is True
        await store.close()
        return order
    order = run(main)
    assert [row[0] for row in session(path)[0]] == sorted([*range(1, 40, 2), *range(40, order), order + 1])


# What it costs

@pytest.fixture
def forced(monkeypatch):
    calls, fdatasync = [], os.fdatasync
    monkeypatch.setattr(sqlite.os, 'fdatasync', lambda descriptor: (calls.append(descriptor), fdatasync(descriptor)))
    return calls


def test_a_thousand_messages_a_second_need_a_forcing_a_second(path, forced):
    async def main():
        store = Store(path, 'device')
        began = time.monotonic()
        for order in range(1500):
            store.put(order, order + 1, 1, 0, 'a/b', bytes(64))
            if order >= 20:
                store.forget(order - 20)
            store.commit()
            await runtime.sleep(began + order / 1000 - time.monotonic())
        assert len(forced) <= 1 + (time.monotonic() - began) / store.file.sync
        await store.close()
    run(main)


def test_nothing_is_written_without_a_change_or_for_what_came_and_went(path, forced):
    async def main():
        store = Store(path, 'device', sync=0.01)
        commits = store.file.commits
        assert store.commit() is True
        put(store, 1)
        store.release(1)
        store.forget(1)
        await store.durable()
        size = os.path.getsize(f'{path}-wal')
        await runtime.sleep(0.05)
        assert not size and not store.file.timer and store.file.commits == commits
        await store.close()
    run(main)


def test_nothing_is_committed_while_the_wal_is_cut_and_the_loop_does_not_wait(path):
    async def main():
        store = Store(path, 'device')
        store.file.free.clear()
        put(store, 1)
        store.file.copier.execute('BEGIN IMMEDIATE')
        assert store.commit() is False
        waiting = [runtime.spawn(store.settle()), runtime.spawn(store.durable())]
        put(store, 2)
        await runtime.sleep(0.05)
        assert store.messages and not any(fiber.done for fiber in waiting)
        store.file.copier.execute('ROLLBACK')
        store.file.free.set()
        for fiber in waiting:
            await fiber.join()
        assert not store.messages
        await store.close()
    run(main)
    assert session(path)[0] == [entry(1), entry(2)]


def test_durable_forces_what_was_staged(path, forced):
    async def main():
        store = Store(path, 'device', sync=1000)
        put(store, 1)
        await store.durable()
        assert len(forced) == 1 and os.path.getsize(f'{path}-wal') > 0
        await store.close()
    run(main)


def written():
    with open('/proc/self/io', encoding='ascii') as file:
        return int(dict(line.split(': ') for line in file)['wchar'])


@pytest.mark.parametrize('together, waiting, most', [(1, 0, 1200), (1, 20, 2700), (20, 20, 700)])
def test_the_bytes_that_a_message_costs(path, together, waiting, most):
    """Of 100 bytes, put and forgotten, in the WAL and the database together, as the docstring of the module says."""
    async def main():
        store = Store(path, 'device')
        before, count = written(), 2000
        for first in range(0, count, together):
            for order in range(first, first + together):
                store.put(order, order + 1, 1, 0, 'sensor/temperature/1', bytes(100))
            store.commit()
            for order in range(first - waiting, first - waiting + together):
                store.forget(order)
            store.commit()
            await runtime.sleep(0)
        await store.close()
        return (written() - before) / count
    assert run(main) < most
