"""Brokers that misbehave: the connection is dropped with a clear reason, memory stays bounded, the client comes back and goes on."""

import re
import socket
import subprocess
import sys
import threading

import pytest

from ioto import runtime
from ioto.mqtt import Client, MqttError
from tests.mqtt.hostile import CLOSE, HOLD, RESET, Hostile
from tests.mqtt.wire import connack, packet, publish, reply, text

QUICK = (0.01, 0.05)        # seconds of back-off
HERE = '127.0.0.1'


def client(**options):
    return Client('c', **{'backoff': QUICK, **options})


def hostile(main, *scripts, seconds=15):
    """Run a fiber with a Hostile; returns it."""
    with Hostile(*scripts) as broker:
        async def limited():
            async with runtime.timeout(seconds):
                await main(broker)
        runtime.run(limited)
    return broker


async def until(condition):
    while not condition():
        await runtime.sleep(0.005)


@pytest.fixture
def losses():
    """What mqtt:disconnected says of each loss."""
    found = []

    def disconnected(error, expected):
        if not expected:
            found.append(error)
    runtime.watch('mqtt:disconnected', disconnected)
    yield found
    runtime.unwatch('mqtt:disconnected', disconnected)


# Before CONNACK

BEFORE = [
    ('an end', [CLOSE], 'closed the connection before CONNACK'),
    ('a reset', ['CONNECT', RESET], 'closed the connection before CONNACK'),
    ('silence', ['CONNECT', HOLD], 'no CONNACK from 127.0.0.1 port .* within 0.5 s'),
    ('slow bytes', ['CONNECT', b'\x20', 0.3, b'\2', 0.3, b'\0', HOLD], 'no CONNACK .* within 0.5 s'),
    ('PUBLISH', ['CONNECT', publish('a', b'x'), HOLD], r'PUBLISH before CONNACK \(§3.2\)'),
    ('SUBACK', ['CONNECT', reply('SUBACK', 1, 0), HOLD], 'SUBACK before CONNACK'),
    ('PINGRESP', ['CONNECT', packet('PINGRESP'), HOLD], 'PINGRESP before CONNACK'),
    ('flags', ['CONNECT', b'\x20\2\2\0', HOLD], 'CONNACK with flags 00000010'),
    ('reserved bits', ['CONNECT', b'\x21\2\0\0', HOLD], 'CONNACK has flags 0001'),
    ('present and refused', ['CONNECT', b'\x20\2\1\5', HOLD], 'CONNACK with flags 00000001 and code 5'),
    ('too short', ['CONNECT', b'\x20\1\0', HOLD], 'CONNACK that is cut short'),
    ('too long', ['CONNECT', b'\x20\3\0\0\0', HOLD], 'CONNACK with 1 bytes too many'),
    ('endless length', ['CONNECT', b'\x20\xff\xff\xff\xff\xff', HOLD], 'more than four bytes'),
    ('oversize', ['CONNECT', b'\x30\xff\xff\xff\x7f', HOLD], 'expected at most 1000'),
    ('an end within it', ['CONNECT', b'\x20\2\0', CLOSE], 'closed the connection before CONNACK'),
    ('HTTP', ['CONNECT', b'HTTP/1.1 400 Bad Request\r\n\r\n', HOLD], 'PUBREC has flags|has flags|is not for this side'),
]


@pytest.mark.parametrize('steps, why', [row[1:] for row in BEFORE], ids=[row[0] for row in BEFORE])
def test_a_connection_that_begins_wrongly(steps, why):
    """The first raises; later ones are tried again, with the reason in `error`."""
    async def main(broker):
        mq = client(max_packet=1000)
        with pytest.raises(MqttError, match=why) as caught:
            await mq.connect(HERE, broker.port, timeout=0.5)
        assert caught.value.code is None and mq.fiber is None and mq.state == 'disconnected'
        fiber = runtime.spawn(mq.connect(HERE, broker.port, timeout=0.5, retry=True))
        await until(lambda: mq.error)
        assert re.search(why, mq.error)
        assert await fiber.join() is False and mq.error is None
        await mq.disconnect()
    hostile(main, steps, steps, ['CONNECT', connack(), HOLD])


# After it

FORBIDDEN = [
    ('identifier 0 of PUBLISH', publish('a', b'x', 1, identifier=0), 'PUBLISH with packet identifier 0'),
    ('identifier 0 at QoS 2', publish('a', b'x', 2, identifier=0), 'PUBLISH with packet identifier 0'),
    *[(f'identifier 0 of {name}', reply(name, 0), f'{name} with packet identifier 0')
      for name in ('PUBACK', 'PUBREC', 'PUBREL', 'PUBCOMP', 'UNSUBACK')],
    ('identifier 0 of SUBACK', reply('SUBACK', 0, 0), 'SUBACK with packet identifier 0'),
    *[(f'flags of {name}', packet(name, b'\0\1', flags), f'{name} has flags {flags:04b}')
      for name, flags in (('PUBACK', 2), ('PUBREC', 1), ('PUBREL', 0), ('PUBREL', 3), ('PUBCOMP', 8), ('UNSUBACK', 2))],
    ('flags of SUBACK', packet('SUBACK', b'\0\1\0', 2), 'SUBACK has flags 0010'),
    ('flags of PINGRESP', packet('PINGRESP', b'', 1), 'PINGRESP has flags 0001'),
    ('wildcard #', publish('a/#', b'x'), 'wildcard'),
    ('wildcard +', publish('+', b'x', 1), 'wildcard'),
    ('U+0000', publish('a\0', b'x'), r'U\+0000'),
    ('no UTF-8', packet('PUBLISH', b'\0\2\xc3\x28x'), 'no UTF-8'),
    ('overlong UTF-8', packet('PUBLISH', b'\0\2\xc0\x80x'), 'no UTF-8'),
    ('surrogate', packet('PUBLISH', b'\0\3\xed\xa0\x80x'), 'no UTF-8'),
    ('no topic', publish('', b'x'), 'it is empty'),
    ('QoS 3', packet('PUBLISH', b'\0\1a\0\1x', 6), 'QoS 3'),
    ('DUP at QoS 0', publish('a', b'x', dup=True), 'DUP at QoS 0'),
    ('topic cut short', packet('PUBLISH', b'\0\7abc'), 'PUBLISH that is cut short'),
    ('no identifier', packet('PUBLISH', b'\0\1a\0', 2), 'PUBLISH that is cut short'),
    ('PUBLISH of nothing', packet('PUBLISH', b''), 'PUBLISH that is cut short'),
    ('PUBACK cut short', packet('PUBACK', b'\0'), 'PUBACK that is cut short'),
    ('PUBACK too long', packet('PUBACK', b'\0\1\0'), 'PUBACK with 1 bytes too many'),
    ('SUBACK without codes', reply('SUBACK', 1), 'SUBACK that is cut short'),
    ('SUBACK with code 3', reply('SUBACK', 1, 3), 'SUBACK with return code 0x3'),
    ('PINGRESP too long', packet('PINGRESP', b'x'), 'PINGRESP with 1 bytes too many'),
    ('oversize', publish('good', bytes(2000)), 'a packet of 2009 bytes, expected at most 1000'),
    ('oversize, announced', b'\x30\xff\xff\xff\x7f', 'expected at most 1000'),
    ('endless length', b'\x30\xff\xff\xff\xff\x01', 'more than four bytes'),
    *[(name, packet(name, body), f'{name} is not for this side') for name, body in (
        ('CONNECT', text('MQTT') + b'\4\2\0\0' + text('x')), ('SUBSCRIBE', b'\0\1' + text('a') + b'\0'),
        ('UNSUBSCRIBE', b'\0\1' + text('a')), ('PINGREQ', b''), ('DISCONNECT', b''))],
    ('packet type 0', b'\0\0', 'packet type 0 is not for this side'),
    ('packet type 15', b'\xf0\0', 'packet type 15 is not for this side'),
    ('second CONNACK', connack(), r'a second CONNACK \(§3.2\)'),
]


@pytest.mark.parametrize('data, why', [row[1:] for row in FORBIDDEN], ids=[row[0] for row in FORBIDDEN])
def test_what_the_standard_forbids_closes_the_connection_and_the_client_comes_back(data, why, losses, capfd):
    """What came before it counts, what comes after it does not."""
    got = []

    async def main(broker):
        mq = client(max_packet=1000)
        mq.subscribe('good', lambda message: got.append(message.payload), 1)
        await mq.connect(HERE, broker.port)
        await until(lambda: len(got) == 2)
        await mq.disconnect()
    good = ['CONNECT', connack(), 'SUBSCRIBE', reply('SUBACK', 1, 1)]
    broker = hostile(main, [*good, publish('good', b'x', 1) + data + publish('good', b'never'), HOLD],
                     [*good[:3], publish('good', b'y'), HOLD])
    assert broker.connections == 2 and got == [b'x', b'y']
    assert len(losses) == 1 and re.search(why, losses[0])
    assert f'connection lost: {losses[0]}' in capfd.readouterr().err


@pytest.mark.parametrize('codes', [(0,), (0, 0, 0)])
def test_a_suback_with_another_number_of_codes_closes_the_connection(codes, losses):
    async def main(broker):
        mq = client()
        for name in 'ab':
            mq.subscribe(name, print)
        await mq.connect(HERE, broker.port)
        await until(lambda: broker.connections == 2 and mq.state == 'connected')
        await mq.disconnect()
    hostile(main, ['CONNECT', connack(), 'SUBSCRIBE', reply('SUBACK', 1, *codes), HOLD], ['CONNECT', connack(), HOLD])
    assert losses == [f'SUBACK with {len(codes)} codes for 2 filters (§3.9.3)']


def test_what_was_never_asked_for_is_counted_and_changes_nothing():
    async def main(broker):
        mq, got = client(), []
        subscription = mq.subscribe('a', got.append)
        await mq.connect(HERE, broker.port)
        await subscription
        receipt = await mq.publish('b', b'', 1)
        await receipt.wait()
        await until(lambda: got)
        assert mq.stats['unexpected'] == 7 and mq.stats['reconnects'] == 0
        await mq.disconnect()
    wrong = [reply('PUBACK', 9), reply('PUBREC', 9), reply('PUBCOMP', 9), reply('SUBACK', 9, 0), reply('UNSUBACK', 9), packet('PINGRESP'),
             reply('UNSUBACK', 1), reply('PUBREL', 9)]
    hostile(main, ['CONNECT', connack(), 'SUBSCRIBE', b''.join(wrong), 'PUBREL', 'PUBCOMP', reply('SUBACK', 1, 0), 'PUBLISH',
                   reply('PUBREC', 2), reply('PUBACK', 2), publish('a', b''), HOLD])


def test_what_an_answer_before_a_fault_has_made_room_for_goes_on():
    """PUBACK, and then a packet that ends the connection, in one read."""
    async def main(broker):
        mq = client(queue=1)
        await mq.connect(HERE, broker.port)
        await mq.publish('a', b'1', 1)
        await mq.publish('a', b'2', 1)              # waits for room
        await until(lambda: broker.connections == 2 and len(mq.session) == 0)
        await mq.disconnect()
    hostile(main, ['CONNECT', connack(), 'PUBLISH', reply('PUBACK', 1) + connack(), HOLD],
            ['CONNECT', connack(), 'PUBLISH', reply('PUBACK', 2), HOLD])


@pytest.mark.parametrize('keepalive', [0, 60, 65535])
def test_a_broker_that_answers_no_subscribe_is_given_up(keepalive, hasty, losses):
    async def main(broker):
        mq = client(keepalive=keepalive)
        mq.subscribe('a', print)
        await mq.connect(HERE, broker.port)
        await until(lambda: broker.connections == 2 and mq.state == 'connected')
        await mq.disconnect()
    broker = hostile(main, ['CONNECT', connack(), 'SUBSCRIBE', HOLD], ['CONNECT', connack(), HOLD])
    assert losses == ['no SUBACK or UNSUBACK within 30 s'] and broker.connections == 2


def test_back_off_grows_while_connections_do_not_last(monkeypatch):
    """Also where each begins well: two clients of one name would throw each other out without end."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)
    monkeypatch.setattr('ioto.mqtt.client.sleep', sleep)
    monkeypatch.setattr('ioto.mqtt.client.os.urandom', lambda size: b'\x80' + bytes(size - 1))

    async def main(broker):
        mq = client(backoff=(1, 20))
        mq.subscribe('a', print)
        await mq.connect(HERE, broker.port)
        await until(lambda: len(waits) == 6)
        monkeypatch.setattr('ioto.mqtt.client.STABLE', 0)
        await until(lambda: broker.connections == 8 and mq.state == 'connected')
        await mq.disconnect()
    begin = ['CONNECT', connack(), 'SUBSCRIBE', reply('SUBACK', 1, 0)]
    hostile(main, *[[*begin, CLOSE]] * 6, [*begin, 0.2, CLOSE], [*begin[:2], HOLD])
    assert waits == [1, 2, 4, 8, 10, 10, 0.5]


@pytest.mark.parametrize('random, waits', [(bytes(4), [0, 0, 0]), (b'\xff' * 4, [2, 4, 5]), (b'\x40\0\0\0', [0.5, 1, 1.25])])
def test_jitter_is_full(random, waits, monkeypatch):
    """From nothing to the whole of first * 2**n, or the longest."""
    found = []

    async def sleep(seconds):
        found.append(seconds)
    monkeypatch.setattr('ioto.mqtt.client.sleep', sleep)
    monkeypatch.setattr('ioto.mqtt.client.os.urandom', lambda size: random)

    async def main(broker):
        mq = client(backoff=(1, 5))
        await mq.connect(HERE, broker.port, retry=True)
        await mq.disconnect()
    hostile(main, *[[CLOSE]] * 3, ['CONNECT', connack(), HOLD])
    assert found == pytest.approx(waits, abs=1e-6)


# Floods

def test_a_flood_for_a_slow_handler_stays_bounded():
    """Reading stops: what the broker sends stays with the kernel."""
    async def main(broker):
        mq = client()
        never = runtime.Event()

        async def handler(message):
            await never.wait()
        mq.subscribe('a', handler)
        await mq.connect(HERE, broker.port)
        await until(lambda: mq.connection.paused)
        await runtime.sleep(0.1)
        assert mq.inbox.size < 2 << 20 and mq.inbox.count < 1000
        receipt = await mq.publish('b', b'', 1)
        with pytest.raises(TimeoutError):                   # who waits has it read on, within ten times the bound
            async with runtime.timeout(0.5):
                await receipt.wait()
        assert mq.inbox.count <= 1000 and mq.inbox.size <= 11 << 20 and mq.stats['dropped'] > 0
        never.set()
        await mq.disconnect(0.1)
    hostile(main, ['CONNECT', connack(), 'SUBSCRIBE', *[publish('a', bytes(1000)) * 100] * 400])


@pytest.mark.parametrize('data', [publish('a', b'', 1), publish('a', b'', 2), reply('PUBREC', 5), reply('PUBREL', 5)],
                         ids=['QoS 1', 'QoS 2', 'PUBREC', 'PUBREL'])
def test_a_broker_that_does_not_read_its_answers_is_given_up(data, losses):
    async def main(broker):
        mq = client()
        mq.subscribe('a', lambda message: None)
        await mq.connect(HERE, broker.port)
        mq.connection.stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        most = 0
        while not losses:
            await runtime.sleep(0.005)
            most = max(most, mq.connection.stream.queued_bytes if mq.connection else 0)
        assert losses[0] == 'the broker does not read the acknowledgements of what it sends'
        assert most < 1 << 20
        await mq.disconnect(0)
    hostile(main, ['CONNECT', connack(), 'SUBSCRIBE',
                   lambda connection: connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096),
                   *[data * 5000] * 1000])


def test_more_unacknowledged_messages_than_identifiers_close_the_connection(losses):
    """One that is being handled holds up the acknowledgements of those behind it (§4.6)."""
    async def main(broker):
        mq, never = client(), runtime.Event()

        async def stuck(message):
            await never.wait()
        mq.subscribe('stuck', stuck, 1)
        mq.subscribe('a', lambda message: None, 1)
        await mq.connect(HERE, broker.port)
        await until(lambda: losses)
        assert losses[0] == 'more messages wait for an acknowledgement than there are packet identifiers (§2.3.1)'
        never.set()
        await mq.disconnect(0)
    hostile(main, ['CONNECT', connack(), 'SUBSCRIBE', publish('stuck', b'', 1, 1), *[publish('a', bytes(500), 1, 2) * 1000] * 100])


CHILD = '''
import sys
from ioto import mqtt, runtime
from ioto.runtime import log

async def slow(message):
    await runtime.sleep(0.001)
async def stuck(message):
    await runtime.sleep(1e9)
async def asking(message):
    await mq.publish('out', b'', 1, wait='ack')
def peak():
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'))
async def main():
    global mq
    log.configure(types='!all')
    port, handler, qos, seconds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    mq = mqtt.Client('c', clean=False, backoff=(0.01, 0.05))
    if handler != 'nobody':
        found = {'plain': lambda message: None, 'iteration': None}.get(handler, globals().get(handler))
        mq.subscribe('a/#', found, qos)
    await mq.connect('127.0.0.1', port)
    before = peak()
    await runtime.sleep(seconds)
    print(peak() - before, mq.stats['received'])
    await mq.disconnect(0)
runtime.run(main)
'''
FLOODS = [
    *[(handler, qos, publish('a/b', bytes(1000), qos, 7) * 50) for qos in range(3)
      for handler in ('plain', 'slow', 'stuck', 'asking', 'iteration', 'nobody')],
    *[(handler, qos, publish('a/' + 'b' * 60000, b'', qos, 7) * 2) for qos in (0, 1) for handler in ('asking', 'stuck', 'nobody')],
    ('plain', 0, b''.join(publish(f'a/{n}', b'') for n in range(20000))),
    ('plain', 2, b''.join(publish('a/b', bytes(100), 2, n) for n in range(1, 65536))),
    ('plain', 0, publish('a', bytes(200000)) * 2),
]


@pytest.mark.parametrize('handler, qos, data', FLOODS, ids=[f'{row[0]}, QoS {row[1]}, {len(row[2])}' for row in FLOODS])
def test_memory_stays_bounded_in_a_flood(handler, qos, data):
    """Resident memory of a child, over what it was when connected."""
    def read(sock):
        try:
            while sock.recv(65536):
                pass
        except OSError:
            pass

    def flood(connection):
        """Send, and read what comes, until the client has gone."""
        reader = threading.Thread(target=read, args=(connection.sock,))
        reader.start()
        while connection.send(data):
            pass
        reader.join()
    with Hostile(['CONNECT', connack(True), flood]) as broker:
        child = subprocess.run([sys.executable, '-c', CHILD, str(broker.port), handler, str(qos), '0.4'], capture_output=True,
                               text=True, timeout=30)
        assert not child.stderr and child.returncode == 0, child.stderr
        grown, received = map(int, child.stdout.split())
    assert received > 0 and grown < 16 << 10
