"""Exactly once, against mosquitto with persistence: connections cut at random bytes, SIGKILL, power cuts.

mosquitto 2.0.11 repeats a PUBLISH after PUBREL when two connections in a row end early. The proxy saw which ones, and what the client
then delivers again is the broker's fault (wire.repeated_by_the_broker). SEED=n repeats what is random here.
"""

import glob
import os
import random
import shutil
import subprocess
import sys
import threading
from collections import Counter

import pytest

from ioto import runtime
from ioto.mqtt import Client
from tests.child import TREE
from tests.mqtt.broker import Broker
from tests.mqtt.proxy import Proxy
from tests.mqtt.wire import DOWN, UP, repeated_by_the_broker

HERE, PATIENCE = '127.0.0.1', 60
COUNT, CUTS, KILLS, POWER_CUTS = 5000, 100, 20, 10
WINDOW = 20             # messages of QoS 2 that mosquitto has under way to a client

# It publishes what it is told to; says what `publish` has accepted, and what was on the disk at which of that; and notes what came,
# by one os.write. Killed between that and the client's commit it has the message come again, with DUP: then its notes tell.
CHILD = f'''
import os, shutil, sys, time
sys.path.insert(0, {TREE!r})
from ioto import runtime
from ioto.mqtt import Client
from ioto.mqtt.store import Store

port, folder, way, *told = sys.stdin.readline().split()
notes = os.open(folder + '/notes', os.O_RDWR | os.O_CREAT | os.O_APPEND)
known = {{line for line in os.read(notes, 1 << 24).splitlines() if line[:1].isdigit()}}
os.write(notes, b'began\\n')
accepted = {{}}

def say(*words):
    os.write(1, (' '.join(map(str, words)) + '\\n').encode())

def handler(message):
    payload = message.payload
    again = message.dup and payload in known
    known.add(payload)
    os.write(notes, (b'again ' if again else b'') + payload + b'\\n')

async def publish(mq, qos, first, last):
    for number in range(first, last):
        await mq.publish('out', f'{{qos}}-{{number}}', qos)
        if way == 'suicide':
            os.kill(os.getpid(), 9)
        accepted[qos] = number
        say('accepted', qos, number)

async def tell(store):
    while True:
        before, handled = dict(accepted), len(known)
        await store.durable()
        for qos, number in before.items():
            say('durable', qos, number)
        say('handled', 0, handled)
        await runtime.sleep(0.05)               # not often: the client has to see to what it needs

def keep_snapshots(store, fdatasync=os.fdatasync):
    def force(descriptor):          # and copy what a power cut would leave at the least: nothing that came afterwards
        size = os.fstat(descriptor).st_size
        fdatasync(descriptor)
        os.mkdir(folder + '/new')
        with store.file.lock:       # no checkpoint meanwhile
            for end in ('', '-wal'):
                shutil.copy(store.file.path + end, folder + '/new/mqtt.db' + end)
        wal = folder + '/new/mqtt.db-wal'
        os.truncate(wal, min(size, os.path.getsize(wal)))
        os.rename(folder + '/new', f'{{folder}}/snapshot-{{time.monotonic_ns():020}}')
    os.fdatasync = force
    force(store.file.wal)

async def main():
    store = Store(folder + '/mqtt.db', 'chaos')
    if way == 'snapshots':
        keep_snapshots(store)
    mq = Client('chaos', clean=False, store=store, backoff=(0.005, 0.02))
    mq.subscribe('in', handler, 2)
    for at in range(0, len(told), 3):
        runtime.spawn(publish(mq, *map(int, told[at:at + 3])))
    runtime.spawn(tell(store))
    if int(port):
        await mq.connect('{HERE}', int(port), retry=True)
    say('connected', 0, 0)
    await runtime.sleep(1e6)

runtime.run(main)
'''


@pytest.fixture(scope='module')
def broker(tmp_path_factory):
    with Broker(tmp_path_factory.mktemp('mosquitto'), persistence=True, text='set_tcp_nodelay true') as broker:
        yield broker


@pytest.fixture
def dice():
    seed = int(os.environ.get('SEED', random.randrange(1 << 32)))
    print(f'SEED={seed}')
    return random.Random(seed)


def go(main, *arguments):
    async def limited():
        async with runtime.timeout(PATIENCE):
            await main(*arguments)
    runtime.run(limited)


async def until(condition):
    while not condition():
        await runtime.sleep(0.003)


def client(name, **options):
    return Client(name, **{'backoff': (0.005, 0.02), 'queue': 60000, **options})


async def forget(broker, name):
    """Have the broker forget a session."""
    async with client(name) as mq:
        await mq.connect(HERE, broker.port)


class Peer:
    """A client with a good connection: `got` is what came to it, {qos: numbers}."""

    def __init__(self):
        self.client, self.got, self.sent = client('peer'), {1: [], 2: []}, {1: 0, 2: 0}

    async def start(self, broker):
        await self.client.connect(HERE, broker.port)
        await self.client.subscribe('out', self._note, 2)

    def _note(self, message):
        qos, number = map(int, message.payload.split(b'-'))
        self.got[qos].append(number)

    async def publish(self, qos, last):
        """Publish all numbers before `last` that have not been yet."""
        while self.sent[qos] < last:
            self.sent[qos] += 1
            await self.client.publish('in', f'{qos}-{self.sent[qos] - 1}', qos)


class Cutter:
    """Cuts a proxy's connections, now and then by a reset."""

    def __init__(self, proxy, dice):
        self.proxy, self.dice, self.count = proxy, dice, 0

    async def upto(self, count, most=700):
        while self.count < count:
            self.proxy.cut_at(self.dice.choice((UP, DOWN)), self.dice.randrange(1, most), self.dice.random() < 0.3)
            await until(lambda: not self.proxy.limits)
            self.count += 1


def check(qos, got, all, unsure=(), faults=()):
    """All is there; of QoS 2 nothing twice. `unsure` may be missing, `faults` may be twice."""
    assert not set(all) - set(got), f'lost: {sorted(set(all) - set(got))}'
    assert set(got) <= {*all, *unsure}
    if qos == 2:
        repeated = {number for number, count in Counter(got).items() if count > 1}
        assert repeated <= set(faults), f'repeated: {sorted(repeated - set(faults))}, by the broker: {sorted(faults)}'


def in_order(got):
    """Whether each number came before greater ones (mosquitto lets those that are published at a reconnection overtake others)."""
    first = list(dict.fromkeys(got))
    return first == sorted(first)


def faults(proxy):
    """Numbers that the broker has sent again though it knew better."""
    return {int(payload.split(b'-')[1]) for payload in repeated_by_the_broker(proxy.seen(way=DOWN))}


@pytest.mark.parametrize('qos', [1, 2])
def test_a_hundred_cuts_lose_nothing_and_repeat_nothing(broker, dice, qos):
    async def main(proxy, peer):
        mq, got = client('cuts', clean=False), []
        await mq.connect(HERE, proxy.port)
        await mq.subscribe('in', lambda message: got.append(int(message.payload.split(b'-')[1])), 2)
        await peer.start(broker)
        cutter, each = Cutter(proxy, dice), COUNT // CUTS
        for n in range(CUTS):
            cutting = runtime.spawn(cutter.upto(n + 1))
            sending = runtime.spawn(peer.publish(qos, (n + 1) * each))
            for number in range(n * each, (n + 1) * each):
                await mq.publish('out', f'{qos}-{number}', qos)
            await sending.join()
            await cutting.join()
            await until(lambda: len(mq.session) <= each and got and got[-1] >= n * each - 1)
        await until(lambda: not len(mq.session) and len(set(peer.got[qos])) == len(set(got)) == COUNT)
        await until(lambda: not mq.session.received)
        assert cutter.count == CUTS and mq.stats['reconnects'] >= CUTS // 2
        check(qos, peer.got[qos], range(COUNT))
        assert in_order(peer.got[qos]) and in_order(got)
        check(qos, got, range(COUNT), faults=faults(proxy))
        await mq.disconnect()
        await peer.client.disconnect()
        await forget(broker, 'cuts')
    with Proxy(broker.port) as proxy:
        go(main, proxy, Peer())


class Agent:
    """CHILD in its lives. `.next`: {qos: the number that it is told next}; `.unsure`: of those that it did not say it accepted."""

    def __init__(self, folder, port, way='plain'):
        self.folder, self.port, self.way = str(folder), port, way
        self.next, self.unsure, self.process = {1: 0, 2: 0}, {1: set(), 2: set()}, None
        self.durable, self.handled, self.news = {1: -1, 2: -1}, 0, 0

    def start(self, last):
        """Begin a life, with all numbers before `last` to be published."""
        told = [f'{qos} {first} {last}' for qos, first in self.next.items() if first < last]
        self.last, self.news = last, 0
        self.process = subprocess.Popen([sys.executable, '-c', CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write(' '.join([str(self.port), self.folder, self.way, *told, '\n']).encode())
        self.process.stdin.close()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            if line.endswith(b'\n'):
                what, qos, number = line.decode().split()
                if what == 'accepted':
                    self.next[int(qos)] = int(number) + 1
                    self.news += 1
                elif what == 'durable':
                    self.durable[int(qos)] = int(number)
                elif what == 'handled':
                    self.handled = int(number)

    def kill(self):
        """End it by SIGKILL, and wait. What it was about to accept is not told again."""
        self.process.kill()
        self.wait()

    def wait(self):
        assert self.process.wait(PATIENCE) == -9
        self.reader.join()
        self.process.stdout.close()
        for qos, number in self.next.items():
            if number < self.last:
                self.unsure[qos].add(number)
                self.next[qos] += 1

    def lives(self):
        """What came, in its lives: [[(qos, number, whether the notes had to tell that it came again)]]."""
        found = []
        with open(f'{self.folder}/notes', encoding='ascii') as file:
            for line in file:
                if line == 'began\n':
                    found.append([])
                else:
                    found[-1].append((*map(int, line.split()[-1].split('-')), line.startswith('again')))
        return found


@pytest.fixture
def agent(tmp_path):
    agent = Agent(tmp_path, 0)
    yield agent
    if agent.process is not None and agent.process.poll() is None:
        agent.kill()


def came(lives, qos, faults, recent):
    """(numbers that were handled, those of QoS 2 that came again as the notes told and not by the broker's fault).

    Only what `recent` has of an earlier life may.
    """
    got, again = [], []
    for life, messages in enumerate(lives):
        for kind, number, noted in messages:
            if kind == qos == 2 and noted:
                if number not in faults:
                    assert number in set().union(*recent[:life]), f'{number} came again'
                    again.append(number)
            elif kind == qos:
                got.append(number)
    return got, again


def test_twenty_kills_and_a_hundred_cuts(broker, dice, agent):
    """Only what was handled and not yet committed when the agent was killed comes again: the client cannot know."""
    async def main(proxy, peer):
        cutter, each = Cutter(proxy, dice), COUNT // 2 // KILLS
        agent.port = proxy.port
        await peer.start(broker)
        agent.start(0)                              # a first life that subscribes
        await until(lambda: proxy.seen('SUBACK', DOWN))
        agent.kill()
        for life in range(KILLS):
            last = (life + 1) * each
            agent.start(last)
            work = [runtime.spawn(peer.publish(qos, last)) for qos in (1, 2)]
            cutting = runtime.spawn(cutter.upto((life + 1) * CUTS // KILLS))
            goal = dice.randrange(2 * each)
            await until(lambda: agent.news >= goal or all(number >= last for number in agent.next.values()))
            await runtime.sleep(dice.random() * 0.1)
            agent.kill()
            cutting.cancel()
            proxy.limits.clear()
            for fiber in work:
                await fiber.join()
        agent.start(COUNT // 2)
        cutting = runtime.spawn(cutter.upto(CUTS))
        extra = COUNT // 2
        while not cutting.done:
            extra += 5
            await peer.publish(2, extra)
            await runtime.sleep(0.02)
        for qos in (1, 2):
            await until(lambda: set(range(agent.next[qos])) <= {*peer.got[qos], *agent.unsure[qos]} and agent.next[qos] == COUNT // 2)
        await until(lambda: sum(len(life) for life in agent.lives()) >= sum(peer.sent.values()))
        await runtime.sleep(0.1)
        agent.kill()
        lives = agent.lives()
        recent = [{number for kind, number, _ in life[-WINDOW:] if kind == 2} for life in lives]
        for qos in (1, 2):
            check(qos, peer.got[qos], set(range(COUNT // 2)) - agent.unsure[qos], agent.unsure[qos])
            assert in_order(peer.got[qos])
            got, again = came(lives, qos, faults(proxy), recent)
            check(qos, got, range(peer.sent[qos]), faults=faults(proxy))
        print(f'{again} were handled and not committed when killed; {len(faults(proxy))} were repeated by the broker')
        assert len(again) <= KILLS and len(lives) == KILLS + 2 and cutter.count == CUTS
        await peer.client.disconnect()
        await forget(broker, 'chaos')
    with Proxy(broker.port) as proxy:
        go(main, proxy, Peer())


@pytest.mark.parametrize('connected', [True, False])
def test_a_sigkill_right_after_publish_returned_loses_nothing(broker, agent, connected):
    async def main(peer):
        await peer.start(broker)
        agent.way = 'suicide'
        for last in range(1, 6):
            for qos in (1, 2):
                agent.port = broker.port if connected else 0
                agent.next = {3 - qos: last, qos: last - 1}
                agent.start(last)
                agent.wait()
        agent.port, agent.way = broker.port, 'plain'
        agent.start(0)
        await until(lambda: all(set(peer.got[qos]) == set(range(5)) for qos in (1, 2)))
        await runtime.sleep(0.1)
        agent.kill()
        for qos in (1, 2):
            check(qos, peer.got[qos], range(5))
        await peer.client.disconnect()
        await forget(broker, 'chaos')
    go(main, Peer())


def power_cut(agent):
    """Put the files back to when they were forced the last time. Returns the numbers of QoS 2 that came since then, or may have."""
    agent.kill()
    shutil.rmtree(f'{agent.folder}/new', ignore_errors=True)
    *old, last = sorted(glob.glob(f'{agent.folder}/snapshot-*'))
    for folder in old:
        shutil.rmtree(folder)
    if os.path.exists(f'{agent.folder}/mqtt.db-shm'):
        os.unlink(f'{agent.folder}/mqtt.db-shm')
    for end in ('', '-wal'):
        shutil.copy(f'{last}/mqtt.db{end}', f'{agent.folder}/mqtt.db{end}')
    came = list(dict.fromkeys((kind, number) for life in agent.lives() for kind, number, _ in life))
    return {number for kind, number in came[agent.handled:] if kind == 2}


def test_power_cuts(broker, dice, agent):
    """What was told to be on the disk, and of QoS 2 what was sent, is neither lost nor repeated; of what came, only what was not on the
    disk may come again."""
    async def main(proxy, peer):
        each, recent, durable = 100, [], {1: set(), 2: set()}
        agent.port, agent.way = proxy.port, 'snapshots'
        await peer.start(broker)
        agent.start(0)
        await until(lambda: proxy.seen('SUBACK', DOWN))
        for life in range(POWER_CUTS):
            recent.append(power_cut(agent))
            begun, last = dict(agent.next), (life + 1) * each
            agent.start(last)
            work = [runtime.spawn(peer.publish(qos, last)) for qos in (1, 2)]
            goal = dice.randrange(2 * each)
            await until(lambda: agent.news >= goal or all(number >= last for number in agent.next.values()))
            await runtime.sleep(dice.random() * 0.1)
            for fiber in work:
                await fiber.join()
            for qos in (1, 2):
                durable[qos] |= set(range(begun[qos], agent.durable[qos] + 1))
        recent.append(power_cut(agent))
        agent.start(0)
        durable[2] |= {int(packet.payload.split(b'-')[1]) for packet in proxy.seen('PUBLISH', UP) if packet.qos == 2}
        await until(lambda: all(durable[qos] <= set(peer.got[qos]) for qos in (1, 2)))
        await until(lambda: {number for life in agent.lives() for _, number, _ in life} == set(range(POWER_CUTS * each)))
        await runtime.sleep(0.2)
        agent.kill()
        for qos in (1, 2):
            check(qos, peer.got[qos], durable[qos], range(POWER_CUTS * each))
            got, again = came(agent.lives(), qos, faults(proxy), recent)
            check(qos, got, range(POWER_CUTS * each), faults=faults(proxy))
        print(f'{POWER_CUTS * each - len(durable[2])} accepted and not sent; {len(again)} handled and not on the disk')
        assert len(durable[2]) > POWER_CUTS and durable[1]
        await peer.client.disconnect()
        await forget(broker, 'chaos')
    with Proxy(broker.port) as proxy:
        go(main, proxy, Peer())
