"""The client against mosquitto, and against a broker that says what a test wants it to say."""

import itertools
import os
import select
import subprocess
import sys
import time

import pytest

from ioto import mqtt, runtime
from ioto.mqtt import Client, MqttError
from ioto.runtime.fiber import kernel
from tests.mqtt.broker import Broker
from tests.mqtt.hostile import CLOSE, HOLD, Hostile
from tests.mqtt.proxy import Proxy
from tests.mqtt.wire import DOWN, UP, connack, packet, publish, reply

QUICK = (0.01, 0.05)        # seconds of back-off
HERE = '127.0.0.1'


@pytest.fixture(scope='module')
def broker(tmp_path_factory):
    with Broker(tmp_path_factory.mktemp('mosquitto')) as broker:
        yield broker


def go(main, seconds=10):
    """Run a test's fiber; nothing in it may take longer."""
    async def limited():
        async with runtime.timeout(seconds):
            return await main()
    return runtime.run(limited)


async def until(condition, *args):
    """Wait until it is true."""
    while not condition(*args):
        await runtime.sleep(0.005)


async def seen(proxy, kind, way, count=1, **fields):
    """Wait until the proxy has seen so many packets, and return them."""
    await until(lambda: len(proxy.seen(kind, way, **fields)) >= count)
    return proxy.seen(kind, way, **fields)


def client(name='c', **options):
    return Client(name, **{'backoff': QUICK, **options})


def clean(broker, *names):
    """Have the broker forget these sessions."""
    async def main():
        for name in names:
            mq = client(name)
            await mq.connect(HERE, broker.port)
            await mq.disconnect()
    go(main)


# With mosquitto

@pytest.mark.parametrize('qos', [0, 1, 2])
def test_what_is_published_arrives(broker, qos):
    async def main():
        mq, got = client(), []
        subscription = mq.subscribe(f'arrives/{qos}/#', got.append, qos)
        assert subscription.granted is None
        assert await mq.connect(HERE, broker.port) is False
        assert await subscription is subscription and subscription.granted == qos
        texts = [f'message {n}' for n in range(200)]
        for text in texts:
            await mq.publish(f'arrives/{qos}/a', text, qos)
        await until(lambda: len(got) == 200)
        assert [message.payload.decode() for message in got] == texts
        assert {(message.topic, message.qos, message.retain, message.dup) for message in got} == {
            (f'arrives/{qos}/a', qos, False, False)}
        assert all(type(message.payload) is bytes for message in got)
        await mq.disconnect()
        assert (mq.stats['sent'], mq.stats['received'], mq.stats['queued']) == (200, 200, 0)
        assert mq.stats['acknowledged'] == (200 if qos else 0)
    go(main)


@pytest.mark.parametrize('payload, data', [
    (b'bytes', b'bytes'), ('téxt', 'téxt'.encode()), ({'a': [1, 'é']}, '{"a":[1,"é"]}'.encode()), ([1, None], b'[1,null]'),
    (bytearray(b'x'), b'x'), (memoryview(b'xyz')[1:], b'yz'), (b'', b'')])
def test_payloads(broker, payload, data):
    async def main():
        async with client() as mq:
            await mq.connect(HERE, broker.port)
            subscription = await mq.subscribe('payloads')
            await mq.publish('payloads', payload)
            async for message in subscription:
                assert message.payload == data
                break
    go(main)


def test_payloads_that_are_none():
    async def main():
        for payload in (5, None, 1.5, object()):
            with pytest.raises(TypeError, match='expected a payload of bytes, text'):
                await client().publish('a', payload)
    go(main)


def test_large_payloads(broker):
    async def main():
        async with client(max_packet=1 << 22) as mq:
            await mq.connect(HERE, broker.port)
            data = os.urandom(3 << 20)
            subscription = await mq.subscribe('large', qos=1)
            await mq.publish('large', data, 1, wait='ack')
            async for message in subscription:
                assert message.payload == data
                break
    go(main)


@pytest.mark.parametrize('wait', ['none', 'sent', 'ack'])
@pytest.mark.parametrize('qos', [0, 1, 2])
def test_what_publish_waits_for(broker, qos, wait):
    async def main():
        async with client() as mq:
            await mq.connect(HERE, broker.port)
            receipt = await mq.publish('waits', b'x', qos, wait=wait)
            assert receipt.done == (wait == 'ack' or not qos and wait == 'sent')
            await receipt.wait()
            assert receipt.done
    go(main)


def test_retained_messages(broker):
    async def main():
        async with client() as mq:
            await mq.connect(HERE, broker.port)
            await mq.publish('retained/a', b'kept', 1, retain=True, wait='ack')
            got = []
            await mq.subscribe('retained/a', got.append)
            await until(lambda: got)
            assert got[0].retain and got[0].payload == b'kept'
            await mq.publish('retained/a', b'', 1, retain=True, wait='ack')
    go(main)


def test_iteration_and_its_end(broker):
    async def main():
        async with client() as mq:
            await mq.connect(HERE, broker.port)
            subscription = await mq.subscribe('iteration/+', qos=1)
            for n in range(5):
                await mq.publish(f'iteration/{n}', str(n), 1)
            found = []
            async for message in subscription:
                found.append(message.payload)
                if len(found) == 5:
                    await subscription.unsubscribe()
            assert found == [b'0', b'1', b'2', b'3', b'4']
            assert not mq.session.held
    go(main)


def test_async_handlers_keep_the_order_and_are_waited_for_before_the_acknowledgement(broker):
    async def main():
        async with client() as mq:
            await mq.connect(HERE, broker.port)
            got, going = [], []

            async def handler(message):
                going.append(message)
                assert len(going) == 1
                await runtime.sleep(0.001)
                assert message.answer in mq.session.held
                going.remove(message)
                got.append(message.payload)
            await mq.subscribe('async', handler, 1)
            for n in range(50):
                await mq.publish('async', str(n), 1)
            await until(lambda: len(got) == 50)
            assert got == [b'%d' % n for n in range(50)]
            await until(lambda: not mq.session.held)
            assert mq.inbox.count == mq.inbox.size == 0
    go(main)


def test_overlapping_subscriptions_all_get_the_message(broker):
    async def main():
        async with client() as mq:
            await mq.connect(HERE, broker.port)
            got = []
            for name in ('over/#', 'over/+', 'over/lap', 'other'):
                await mq.subscribe(name, lambda message, name=name: got.append(name), 1)
            await mq.publish('over/lap', b'', 1)
            await until(lambda: got)
            assert got[:3] == ['over/#', 'over/+', 'over/lap'] and 'other' not in got
    go(main)


def test_unsubscribed_filters_bring_no_more(broker):
    async def main():
        async with client() as mq:
            await mq.connect(HERE, broker.port)
            got = []
            first = await mq.subscribe('un/a', lambda message: got.append('first'))
            second = await mq.subscribe('un/a', lambda message: got.append('second'))
            await first.unsubscribe()
            await mq.publish('un/a', b'', 1)
            await until(lambda: got)
            assert got == ['second']                        # the broker still has the filter
            await second.unsubscribe()
            await mq.publish('un/a', b'', 1, wait='ack')
            await mq.subscribe('un/b', lambda message: got.append('b'))
            await mq.publish('un/b', b'', 1)
            await until(lambda: 'b' in got)
            assert got == ['second', 'b'] and mq.stats['unmatched'] == 0
    go(main)


def test_a_master_serves_what_it_covers_and_the_broker_hears_of_it_alone(broker):
    async def main():
        with Proxy(broker.port) as proxy:
            async with client() as mq:
                await mq.connect(HERE, proxy.port)
                got = []
                master = await mq.subscribe('master/1/#', lambda message: got.append('master'), 1, master=True)
                served = await mq.subscribe('master/1/a/+', lambda message: got.append('served'), 2)
                assert served.granted == 1
                assert len(proxy.seen('SUBSCRIBE', UP)) == 1
                await mq.publish('master/1/a/b', b'', 1)
                await until(lambda: len(got) == 2)
                assert got == ['master', 'served']
                await master.unsubscribe()                  # now the other is the broker's matter
                assert len(await seen(proxy, 'SUBSCRIBE', UP, 2)) == 2
    go(main)


def test_request(broker):
    async def main():
        async with client('device') as mq, client('service') as service:
            await mq.connect(HERE, broker.port)
            await service.connect(HERE, broker.port)

            def serve(message):
                _, _, device, topic, number = message.topic.split('/')
                return service.publish(f'ioto/device/{device}/{topic}/{number}', b'answer to ' + message.payload, 1)
            await service.subscribe('ioto/service/device/metric/#', serve, 1)
            for text in (b'one', b'two'):
                answer = await mq.request('metric', text)
                assert answer == b'answer to ' + text and answer.topic.startswith('ioto/device/device/metric/')
            assert len(mq.inbox.subscriptions) == 1
            with pytest.raises(TimeoutError):
                await mq.request('nobody/serves', b'', timeout=0.1)
            assert not mq.requests
    go(main)


def test_will(broker):
    async def main():
        async with client('watcher') as mq:
            await mq.connect(HERE, broker.port)
            got = []
            await mq.subscribe('will/+', got.append, 1)
            dying = client('dying')
            await dying.connect(HERE, broker.port, will={'topic': 'will/d', 'payload': 'gone', 'qos': 1})
            dying.fiber.cancel()                            # without DISCONNECT
            await until(lambda: got)
            assert got[0].payload == b'gone' and got[0].topic == 'will/d'
            leaving = client('leaving')
            await leaving.connect(HERE, broker.port, will={'topic': 'will/l'})
            await leaving.disconnect()
            await mq.publish('will/end', b'', 1)
            await until(lambda: len(got) == 2)
            assert got[1].topic == 'will/end'
    go(main)


@pytest.mark.parametrize('call', [
    lambda mq: mq.publish('a/+', b''), lambda mq: mq.publish('', b''), lambda mq: mq.publish('a\0', b''), lambda mq: mq.publish('\ud800'),
    lambda mq: mq.publish('x' * 65536), lambda mq: mq.publish('a', b'', 3), lambda mq: mq.publish('a', b'', 1, wait='perhaps'),
    lambda mq: mq.subscribe('a#'), lambda mq: mq.subscribe(''), lambda mq: mq.subscribe('a', qos=3),
    lambda mq: mq.connect('127.0.0.1', 1, will={'topic': 'w/#'}),
    lambda mq: mq.connect('127.0.0.1', 1, will={'topic': 'w', 'qos': 3}), lambda mq: mq.connect('127.0.0.1', 1, password='x')])
def test_what_the_standard_forbids_raises_at_the_call(call):
    async def main():
        mq = client()
        with pytest.raises(ValueError):
            await call(mq)
        assert mq.fiber is None and not mq.session.used and not mq.inbox.subscriptions
    go(main)


@pytest.mark.parametrize('options', [
    {'clean': False}, {'keepalive': -1}, {'keepalive': 65536}, {'inflight': 0}, {'queue': 0}, {'bound': 0}, {'client_id': 'x', 'schedule': 'sometimes'}])
def test_clients_that_cannot_be(options):
    with pytest.raises(ValueError):
        Client(**options)


def test_signals_say_what_happens(broker):
    heard = []
    def connected(**data):
        heard.append(('connected', data))
    def disconnected(**data):
        heard.append(('disconnected', data))
    runtime.watch('mqtt:connected', connected)
    runtime.watch('mqtt:disconnected', disconnected)

    async def main():
        with Proxy(broker.port) as proxy:
            mq = client()
            await mq.connect(HERE, proxy.port)
            assert mq.state == 'connected' and mq.error is None
            proxy.cut()
            await until(lambda: len(heard) == 3)
            await mq.disconnect()
            assert mq.state == 'disconnected' and mq.stats['reconnects'] == 1
    try:
        go(main)
    finally:
        runtime.unwatch('mqtt:connected', connected)
        runtime.unwatch('mqtt:disconnected', disconnected)
    assert [name for name, _ in heard] == ['connected', 'disconnected'] * 2
    assert heard[1][1] == {'error': 'the broker closed the connection', 'expected': False}
    assert heard[3][1] == {'error': None, 'expected': True}


def test_connect_says_whether_there_was_a_session(broker):
    async def main():
        mq = client('kept', clean=False)
        assert await mq.connect(HERE, broker.port) is False
        await mq.disconnect()
        assert await mq.connect(HERE, broker.port) is True
        await mq.disconnect()
    go(main)
    clean(broker, 'kept')


def test_messages_wait_for_who_was_away(broker):
    """Also those that come before anybody has subscribed anew in this process."""
    async def main():
        first = client('away', clean=False)
        await first.connect(HERE, broker.port)
        await first.subscribe('away/#', lambda message: None, 2)
        await first.disconnect()
        async with client('sender') as sender:
            await sender.connect(HERE, broker.port)
            for n in range(10):
                await sender.publish('away/x', str(n), 2, wait='ack')
        mq, got = client('away', clean=False), []
        assert await mq.connect(HERE, broker.port) is True
        await until(lambda: len(mq.inbox.orphans) == 10)
        assert mq.stats['acknowledged'] == 0 and len(mq.session.held) == 10
        mq.subscribe('away/#', lambda message: got.append(message.payload), 2)
        await until(lambda: len(got) == 10)
        assert got == [b'%d' % n for n in range(10)]
        await until(lambda: not mq.session.received)        # each released
        await mq.disconnect()
    go(main)
    clean(broker, 'away')


# What it costs

COST = '''
import sys
from ioto import runtime

def status(name):
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith(name))
async def main():
    await runtime.sleep(0.01)
    before = status('VmRSS')
    from ioto import mqtt
    mq = mqtt.Client('cost')
    await mq.connect('127.0.0.1', int(sys.argv[1]))
    await mq.subscribe('cost/#', print)
    await mq.publish('cost', b'x' * 64, 1, wait='ack')
    client = status('VmRSS')
    await runtime.sleep(0.1)
    woken = status('voluntary_ctxt_switches')
    await runtime.sleep(2)
    woken = status('voluntary_ctxt_switches') - woken
    loaded = {'ssl', 'sqlite3', 'ioto.http', 'ioto.websocket'} & set(sys.modules)
    idle = status('VmRSS')
    for n in range(5000):
        mq.subscribe(f'cost/{n}/+/value', print)
    await mq.publish('cost', b'x' * 64, 1, wait='ack')
    print(client - before, woken, (status('VmRSS') - idle) * 1024 // 5000, loaded, file=sys.stderr)
    await mq.disconnect()
runtime.log.configure(types='!all')
runtime.run(main)
'''


def test_what_a_client_costs(broker):
    """At most 2.5 MB over the runtime, no wake-ups while nothing happens, about 2 KB for a filter."""
    command = [sys.executable, '-c', COST, str(broker.port)]
    subprocess.run(command, capture_output=True, timeout=60)           # compiles
    found = subprocess.run(command, capture_output=True, text=True, timeout=60).stderr.split('\n')[0]
    memory, woken, each, loaded = found.split(' ', 3)
    assert int(memory) <= 2560 and int(woken) <= 2 and int(each) <= 2500 and loaded == 'set()', found


# Losses

@pytest.mark.parametrize('qos', [1, 2])
def test_a_message_survives_the_loss_of_any_packet_of_its_exchange(broker, qos):
    steps = {1: [(UP, 'PUBLISH'), (DOWN, 'PUBACK')],
             2: [(UP, 'PUBLISH'), (DOWN, 'PUBREC'), (UP, 'PUBREL'), (DOWN, 'PUBCOMP')]}[qos]

    async def main():
        with Proxy(broker.port) as proxy:
            name = f'loss{qos}'
            sender, receiver, got = client(name, clean=False), client(name + 'r'), []
            await receiver.connect(HERE, broker.port)
            await receiver.subscribe('loss/x', lambda message: got.append(message.payload), 2)
            await sender.connect(HERE, proxy.port)
            for n, (way, kind) in enumerate(steps):
                proxy.clear()
                rule = proxy.rule('cut before', way, kind)
                receipt = await sender.publish('loss/x', str(n), qos)
                await receipt.wait()
                assert rule.done.is_set()
                sent = proxy.seen('PUBLISH', UP)
                if kind in ('PUBREL', 'PUBCOMP'):           # after PUBREC never PUBLISH
                    assert [each.dup for each in sent] == [False]
                    assert len(proxy.seen('PUBREL', UP)) == 2
                else:
                    assert [each.dup for each in sent] == [False, True]
                    assert len({each.identifier for each in sent}) == 1
            await until(lambda: len(set(got)) == len(steps))
            if qos == 2:
                assert got == [b'%d' % n for n in range(len(steps))]
            await sender.disconnect()
            await receiver.disconnect()
    go(main)
    clean(broker, f'loss{qos}')


@pytest.mark.parametrize('way, kind', [(DOWN, 'PUBLISH'), (UP, 'PUBREC'), (DOWN, 'PUBREL'), (UP, 'PUBCOMP')])
def test_a_received_qos_2_message_is_delivered_once_whatever_is_lost(broker, way, kind):
    async def main():
        with Proxy(broker.port) as proxy:
            mq, got = client('once', clean=False), []
            await mq.connect(HERE, proxy.port)
            await mq.subscribe('once', lambda message: got.append(message.payload), 2)
            async with client('once-sender') as sender:
                await sender.connect(HERE, broker.port)
                rule = proxy.rule('cut before', way, kind)
                await sender.publish('once', b'x', 2, wait='ack')
                await until(rule.done.is_set)
                await sender.publish('once', b'y', 2, wait='ack')
                await until(lambda: b'y' in got)
            await until(lambda: not mq.session.received)
            assert got == [b'x', b'y']
            await mq.disconnect()
    go(main)
    clean(broker, 'once')


def test_subscriptions_come_back_when_the_session_is_not_present(broker):
    async def main():
        with Proxy(broker.port) as proxy:
            async with client('back') as mq:
                await mq.connect(HERE, proxy.port)
                got = []
                for n in range(20):
                    await mq.subscribe(f'back/{n}', got.append, 1)
                proxy.cut()
                await until(lambda: mq.stats['reconnects'] == 1)
                assert len(await seen(proxy, 'SUBSCRIBE', UP, 3, connection=1)) == 3
                await mq.publish('back/7', b'', 1, wait='ack')
                await mq.publish('back/19', b'', 1, wait='ack')
                await until(lambda: len(got) == 2)
    go(main)


def test_subscriptions_are_not_asked_for_again_when_the_session_is_present(broker):
    async def main():
        with Proxy(broker.port) as proxy:
            mq = client('present', clean=False)
            await mq.connect(HERE, proxy.port)
            got = []
            await mq.subscribe('present/a', got.append, 1)
            leaving = await mq.subscribe('present/b', got.append, 1)
            proxy.refusing = True
            proxy.cut()
            await until(lambda: mq.state == 'waiting')
            late = mq.subscribe('present/c', got.append, 1)
            await leaving.unsubscribe()
            proxy.refusing = False
            await late
            assert [each.body[4:] for each in proxy.seen('SUBSCRIBE', UP, connection=proxy.connections - 1)] == [b'present/c\1']
            await seen(proxy, 'UNSUBSCRIBE', UP)
            for name in 'cba':
                await mq.publish(f'present/{name}', b'', 1, wait='ack')
            await until(lambda: len(got) == 2)
            assert [message.topic[-1] for message in got] == ['c', 'a']
            await mq.disconnect()
    go(main)
    clean(broker, 'present')


def test_what_is_published_offline_leaves_in_order_with_the_connection(broker):
    async def main():
        async with client('reader') as reader, client('offline') as mq:
            await reader.connect(HERE, broker.port)
            got = []
            await reader.subscribe('offline', lambda message: got.append(int(message.payload)), 2)
            receipts = [await mq.publish('offline', str(n), n % 3) for n in range(100)]
            assert not any(receipt.done for receipt in receipts) and mq.stats['queued'] == 100
            await mq.connect(HERE, broker.port)
            for receipt in receipts:
                await receipt.wait()
            await until(lambda: len(got) == 100)
            for qos in range(3):
                assert [n for n in got if n % 3 == qos] == list(range(qos, 100, 3))
    go(main)


def test_a_full_queue_drops_the_oldest_qos_0_then_waits(broker):
    async def main():
        async with client('full', queue=4) as mq:
            for n, qos in enumerate((1, 0, 1, 0)):
                await mq.publish('full', str(n), qos)
            await mq.publish('full', b'4', 1)
            await mq.publish('full', b'5', 1)
            assert [message.packet[-1:] for message in mq.session.line] == [b'0', b'2', b'4', b'5']
            assert mq.stats['dropped'] == 2
            fiber = runtime.spawn(mq.publish('full', b'6', 1, wait='ack'))
            await runtime.sleep(0.05)
            assert not fiber.done and len(mq.session) == 4
            await mq.connect(HERE, broker.port)
            await fiber.join()
    go(main)


def test_the_queue_is_bounded_in_bytes(broker):
    async def main():
        async with client('bytes', queue_bytes=1000) as mq:
            for _ in range(3):
                await mq.publish('b', bytes(400), 1)
            with pytest.raises(TimeoutError):
                async with runtime.timeout(0.05):
                    await mq.publish('b', bytes(400), 1)
            assert len(mq.session) == 3
    go(main)


def test_disconnect_has_everything_acknowledged_and_connect_may_follow(broker):
    async def main():
        mq = client('again')
        for _ in range(3):
            await mq.connect(HERE, broker.port)
            receipts = [await mq.publish('again', b'x', 2) for _ in range(100)]
            await mq.disconnect()
            assert all(receipt.done for receipt in receipts) and mq.state == 'disconnected'
            await mq.disconnect()                           # harmless
        with pytest.raises(MqttError, match='disconnect first'):
            await mq.connect(HERE, broker.port)
            await mq.connect(HERE, broker.port)
        await mq.disconnect()
    go(main)


def test_a_slow_handler_slows_the_broker_down(broker):
    """What waits is bounded; nothing is lost."""
    async def main():
        async with client('slow', bound=20) as mq, client('fast') as sender:
            await mq.connect(HERE, broker.port)
            await sender.connect(HERE, broker.port)
            got, most = [], 0

            async def handler(message):
                nonlocal most
                most = max(most, mq.inbox.count)
                await runtime.sleep(0.0005)
                got.append(int(message.payload[:4]))
            await mq.subscribe('slow', handler)
            for n in range(1000):
                await sender.publish('slow', b'%04d' % n + bytes(1000))
            await sender.publish('end', b'', 1, wait='ack')
            await until(lambda: len(got) == 1000)
            assert got == list(range(1000)) and most < 20 + 20      # and what one read brings
            assert mq.stats['dropped'] == 0
    go(main)


def test_a_handler_may_wait_for_acknowledgements_while_more_than_the_bound_waits(broker):
    async def main():
        async with client('both', bound=5) as mq, client('other') as sender:
            await mq.connect(HERE, broker.port)
            await sender.connect(HERE, broker.port)
            got = []

            async def handler(message):
                await mq.publish('both/out', message.payload, 1, wait='ack')
                got.append(message.payload)
            await mq.subscribe('both/in', handler, 1)
            for n in range(40):
                await sender.publish('both/in', str(n), 1)
            await until(lambda: len(got) == 40)
    go(main)


def test_publishing_and_receiving_leave_others_their_turn(broker):
    async def main():
        async with client('busy') as mq, client('flood') as sender:
            await mq.connect(HERE, broker.port)
            await sender.connect(HERE, broker.port)
            turns, got = [], []

            async def watch():
                while True:
                    turns.append(time.monotonic())
                    await runtime.sleep(0)
            await mq.subscribe('busy', got.append)
            fiber = runtime.spawn(watch())
            for _ in range(20000):
                await sender.publish('busy', b'x' * 64)
            await until(lambda: len(got) > 10000)
            fiber.cancel()
            assert len(turns) > 500
    go(main)


def test_throttle(broker):
    heard = []
    def throttled(**data):
        heard.append(data)
    runtime.watch('mqtt:throttle', throttled)

    async def main():
        with Proxy(broker.port) as proxy:
            async with client('throttle') as mq:
                await mq.connect(HERE, proxy.port)
                for close in (False, True):
                    began = time.monotonic()
                    mq.throttle(0.3, close)
                    receipts = [await mq.publish('throttle', b'x', qos) for qos in (0, 1)]
                    await runtime.sleep(0.1)
                    assert not proxy.seen('PUBLISH', UP)
                    assert bool(proxy.seen('DISCONNECT', UP)) == close
                    for receipt in receipts:
                        await receipt.wait()
                    assert time.monotonic() - began >= 0.3
                    proxy.clear()
    try:
        go(main)
    finally:
        runtime.unwatch('mqtt:throttle', throttled)
    assert heard == [{'seconds': 0.3, 'close': False}, {'seconds': 0.3, 'close': True}]


def test_on_demand(broker):
    async def main():
        with Proxy(broker.port) as proxy:
            async with client('demand', demand=0.1) as mq:
                assert await mq.connect(HERE, proxy.port) is None
                await runtime.sleep(0.05)
                assert proxy.connections == 0
                for n in (1, 2):
                    await mq.publish('demand', b'x', 1, wait='ack')
                    assert mq.state == 'connected' and proxy.connections == n
                    await until(lambda: mq.state == 'waiting')
                    assert len(await seen(proxy, 'DISCONNECT', UP, n)) == n
                await mq.publish('demand', b'x', 0, wait='sent')
                await until(lambda: proxy.seen('PUBLISH', UP, qos=0))
                assert mq.error is None
    go(main)


def test_outside_its_schedule_nothing_connects(broker):
    async def main():
        async with client('schedule', schedule='never') as mq:
            assert await mq.connect(HERE, broker.port) is None
            receipt = await mq.publish('schedule', b'x', 1)
            await runtime.sleep(0.1)
            assert mq.state == 'waiting' and not receipt.done
        async with client('schedule', schedule='anytime') as mq:
            assert await mq.connect(HERE, broker.port) is False
    go(main)


# With a broker that is not as it should be

def hostile(main, *scripts):
    """Run a fiber with a Hostile; returns it."""
    with Hostile(*scripts) as broker:
        async def run():
            await main(broker)
        go(run)
    return broker


@pytest.mark.parametrize('code', [1, 2, 3, 4, 5, 6])
def test_a_refusal_raises_with_its_code_and_is_not_tried_again(code):
    async def main(broker):
        for retry in (False, True):
            mq = client()
            with pytest.raises(MqttError, match=f'code {code}') as caught:
                await mq.connect(HERE, broker.port, retry=retry)
            assert caught.value.code == code and mq.state == 'disconnected' and mq.fiber is None
        await runtime.sleep(0.1)
    assert hostile(main, ['CONNECT', connack(code=code), HOLD]).connections == 2


def test_nobody_listens():
    async def main():
        with pytest.raises(MqttError, match='127.0.0.1 port 1'):
            await client().connect(HERE, 1)
        mq = client()
        with pytest.raises(TimeoutError):
            async with runtime.timeout(0.2):
                await mq.connect(HERE, 1, retry=True)
        assert mq.fiber is None and mq.state == 'disconnected'
    go(main)


def test_retry_goes_on_until_it_is_connected():
    async def main(broker):
        mq = client()
        assert await mq.connect(HERE, broker.port, retry=True) is False
        await mq.disconnect()
    assert hostile(main, [CLOSE], ['CONNECT', CLOSE], ['CONNECT', connack(), HOLD]).connections == 3


def test_puback_does_not_complete_a_qos_2_message():
    async def main(broker):
        mq = client()
        await mq.connect(HERE, broker.port)
        receipt = await mq.publish('a', b'x', 2)
        await until(lambda: mq.stats['unexpected'] == 2)
        assert not receipt.done
        await mq.publish('b', b'')
        await receipt.wait()
        await mq.disconnect()
    hostile(main, ['CONNECT', connack(), 'PUBLISH', reply('PUBACK', 1), reply('PUBCOMP', 1), 'PUBLISH', reply('PUBREC', 1),
                   'PUBREL', reply('PUBCOMP', 1), 'DISCONNECT'])


def test_the_window_holds_after_a_reconnect():
    async def main(broker):
        mq = client(inflight=3)
        await mq.connect(HERE, broker.port)
        receipts = [await mq.publish('a', str(n), 1) for n in range(6)]
        for receipt in receipts:
            await receipt.wait()
        await mq.disconnect()
    broker = hostile(
        main, ['CONNECT', connack(), *['PUBLISH'] * 3, 0.1, CLOSE],
        ['CONNECT', connack(True), *['PUBLISH'] * 3, 0.1, reply('PUBACK', 1) + reply('PUBACK', 2) + reply('PUBACK', 3),
         *['PUBLISH'] * 3, reply('PUBACK', 4) + reply('PUBACK', 5) + reply('PUBACK', 6), 'DISCONNECT'])
    sent = [(each.payload, each.identifier, each.dup) for each in broker.received[1] if each.type == 'PUBLISH']
    assert sent == [(b'%d' % n, n + 1, n < 3) for n in range(6)]


def test_each_acknowledgement_lets_the_next_message_leave_and_the_next_one_in():
    async def main(broker):
        mq = client(inflight=20, queue=30)
        await mq.connect(HERE, broker.port)
        for n in range(100):
            await mq.publish('a', str(n), 1)
        await mq.disconnect()
    steps = [step for n in range(1, 81) for step in (reply('PUBACK', n), 'PUBLISH')]
    hostile(main, ['CONNECT', connack(), *['PUBLISH'] * 20, *steps, *[reply('PUBACK', n) for n in range(81, 101)], 'DISCONNECT'])


def test_a_refused_subscription_raises():
    async def main(broker):
        mq = client()
        await mq.connect(HERE, broker.port)
        with pytest.raises(MqttError, match='refuses.*secret') as caught:
            await mq.subscribe('secret/#', print, 1)
        assert caught.value.code == 0x80
        await mq.disconnect()
    hostile(main, ['CONNECT', connack(), 'SUBSCRIBE', reply('SUBACK', 1, 0x80), 'DISCONNECT'])


def test_a_failing_handler_leaves_its_message_unacknowledged_and_later_ones_go_on():
    async def main(broker):
        mq = client(clean=False)

        def plain(message):
            if message.payload == b'bad':
                raise ValueError('on purpose')

        async def later(message):
            plain(message)
        mq.subscribe('plain', plain, 1)
        mq.subscribe('async', later, 1)
        await mq.connect(HERE, broker.port)
        await until(lambda: len(broker.received[0]) == 5)
        await mq.disconnect()
    broker = hostile(main, [
        'CONNECT', connack(True), 'SUBSCRIBE',
        publish('plain', b'bad', 1, 1) + publish('plain', b'', 1, 2) + publish('async', b'bad', 1, 3) + publish('async', b'', 2, 4)
        + publish('plain', b'', 1, 5), 'PUBACK', 'PUBREC', 'PUBACK', HOLD])
    assert [each.identifier for each in broker.received[0][2:5]] == [2, 4, 5]


def test_acknowledgements_of_one_read_leave_together_in_order():
    async def main(broker):
        mq = client()
        mq.subscribe('a', lambda message: None, 1)
        await mq.connect(HERE, broker.port)
        sends = []
        connection = mq.connection.stream
        transmit = type(connection).transmit
        connection.__class__ = type('Watched', (type(connection),), {
            '__slots__': (), 'transmit': lambda self, data: sends.append(bytes(data)) or transmit(self, data)})
        await mq.publish('go', b'')
        await until(lambda: mq.stats['received'] == 5)
        await runtime.sleep(0.05)
        assert sends[1:] == [b''.join(reply('PUBACK', n) for n in range(1, 6))]
        await mq.disconnect()
    hostile(main, ['CONNECT', connack(), 'SUBSCRIBE', 'PUBLISH', b''.join(publish('a', b'x', 1, n) for n in range(1, 6)), HOLD])


def test_pingreq_is_sent_by_what_the_client_has_sent_not_by_what_it_received(hasty):

    async def main(broker):
        mq = client(keepalive=100)
        await mq.connect(HERE, broker.port)
        await until(lambda: len(broker.received[0]) >= 3)
        assert [each.type for each in broker.received[0][1:]][:2] == ['PINGREQ'] * 2
        await mq.disconnect()

    def flood(connection):
        """Send all the time until a packet comes."""
        for _ in range(1000):
            connection.send(publish('a', b'x'))
            if select.select([connection.sock], [], [], 0.003)[0]:
                return
        raise AssertionError('nothing came')
    hostile(main, ['CONNECT', connack(), flood, 'PINGREQ', packet('PINGRESP'), flood, 'PINGREQ', packet('PINGRESP'), HOLD])


def test_a_client_that_sends_needs_no_pingreq(hasty):

    async def main(broker):
        mq = client(keepalive=100)
        await mq.connect(HERE, broker.port)
        for _ in range(60):
            await mq.publish('a', b'x')
            await runtime.sleep(0.01)
        assert 'PINGREQ' not in [each.type for each in broker.received[0]]
        await mq.disconnect()
    hostile(main, ['CONNECT', connack(), HOLD])


def test_a_broker_that_answers_no_ping_is_given_up(hasty):

    async def main(broker):
        mq, errors = client(keepalive=20), []
        def disconnected(error, expected):
            errors.append(error)
        runtime.watch('mqtt:disconnected', disconnected)
        await mq.connect(HERE, broker.port)
        await until(lambda: broker.connections == 2 and mq.state == 'connected')
        runtime.unwatch('mqtt:disconnected', disconnected)
        assert errors == ['no PINGRESP within 10 s']
        await mq.disconnect()
    flood = [step for _ in range(60) for step in (publish('a', b'x'), 0.005)]
    hostile(main, ['CONNECT', connack(), *flood, HOLD], ['CONNECT', connack(), HOLD])


def test_a_read_that_brings_more_than_handlers_have_room_for_loses_nothing():
    """Some brokers send QoS 1 without a window: thousands of small messages come in one read."""
    burst = b''.join(publish('a', b'', 1, n) for n in range(1, 3001))

    async def main():
        handled = []

        async def handler(message):
            await runtime.sleep(0)
            handled.append(message.identifier)
        async with client(bound=10) as mq:
            mq.subscribe('a', handler, 1)
            await mq.connect(HERE, broker.port)
            await until(lambda: len(handled) == 3000)
            assert handled == list(range(1, 3001)) and mq.stats['dropped'] == 0
    with Hostile(['CONNECT', connack(), 'SUBSCRIBE', reply('SUBACK', 1, 1) + burst, *['PUBACK'] * 3000, HOLD]) as broker:
        go(main)


def test_unanswered_messages_do_not_hang_their_publisher_at_disconnect():
    async def main(broker):
        mq = client()
        await mq.connect(HERE, broker.port)
        fiber = runtime.spawn(mq.publish('a', b'x', 1, wait='ack'))
        await runtime.sleep(0.05)
        asking = runtime.spawn(mq.subscribe('b'))
        await runtime.sleep(0.05)
        began = time.monotonic()
        await mq.disconnect(0.2)
        assert time.monotonic() - began < 3
        for waiting in (fiber, asking):
            with pytest.raises(MqttError, match='disconnected'):
                await waiting.join()
        assert mq.stats['queued'] == 1
    hostile(main, ['CONNECT', connack(), HOLD])


# With a store

def test_a_store_brings_messages_through_a_restart(broker, tmp_path):
    async def first():
        mq = client('stored', clean=False, store=tmp_path / 'mqtt.db')
        for n in range(50):
            await mq.publish('stored', str(n), n % 3)
        await mq.store.close()

    async def second():
        async with client('stored-reader') as reader:
            await reader.connect(HERE, broker.port)
            got = []
            await reader.subscribe('stored', lambda message: got.append(int(message.payload)), 2)
            mq = client('stored', clean=False, store=tmp_path / 'mqtt.db')
            assert mq.stats['queued'] == 50
            await mq.connect(HERE, broker.port)
            await until(lambda: len(mq.session) == 0)
            await mq.publish('stored', b'50', 2, wait='ack')
            await until(lambda: len(got) == 51)
            for qos in range(3):
                assert [n for n in got if n % 3 == qos] == list(range(qos, 51, 3))
            await mq.close()

    async def third():
        mq = client('stored', clean=False, store=tmp_path / 'mqtt.db')
        assert mq.stats['queued'] == 0
        await mq.close()
    for main in (first, second, third):
        go(main)
    clean(broker, 'stored')


def test_publishes_of_one_turn_share_a_commit(broker, tmp_path):
    async def main():
        mq = client('shared', clean=False, store=tmp_path / 'mqtt.db')
        commits = []
        commit = mq.store.commit
        mq.store.commit = lambda: commits.append(1) or commit()
        async with runtime.TaskGroup() as group:
            for n in range(100):
                group.spawn(mq.publish('shared', str(n), 1))
        assert len(commits) == 1 and len(mq.session) == 100
        await mq.close()
    go(main)


def test_what_cannot_be_stored_is_refused(tmp_path):
    async def main():
        mq = client('refused', clean=False, store=tmp_path / 'mqtt.db')
        commit = mq.store.commit

        def full():
            raise mqtt.store.StoreError('no room')
        mq.store.commit = full
        with pytest.raises(OSError, match='no room'):
            await mq.publish('a', b'x', 1)
        mq.store.commit = commit
        assert len(mq.session) == 0 and not mq.session.used
        await mq.publish('a', b'y', 1)
        await mq.close()
        mq = client('refused', clean=False, store=tmp_path / 'mqtt.db')
        assert [message.packet[-1:] for message in mq.session.flying.values()] == [b'y']
        await mq.close()
    go(main)


def test_what_cannot_be_stored_does_not_leave(broker, tmp_path):
    """Neither a message whose `publish` raises, nor PUBREC of one that was handled; which is not handled again."""
    async def main():
        with Proxy(broker.port) as proxy:
            mq, got = client('full', clean=False, store=tmp_path / 'mqtt.db'), []
            await mq.connect(HERE, proxy.port)
            await mq.subscribe('full/in', lambda message: got.append(message.payload), 2)
            commit = mq.store.commit

            def full():
                if mq.store.messages or mq.store.identifiers:
                    raise mqtt.store.StoreError('no room')
                return commit()
            mq.store.commit = full
            for qos in (1, 2):
                with pytest.raises(OSError, match='no room'):
                    await mq.publish('full/out', b'x', qos)
            assert len(mq.session) == 0 and not mq.session.used and not mq.store.messages
            async with client('full-peer') as peer:
                await peer.connect(HERE, broker.port)
                await peer.publish('full/in', b'y', 2, wait='ack')
            await until(lambda: mq.stats['reconnects'] > 1)
            assert got == [b'y'] and not proxy.seen('PUBREC', UP) and not proxy.seen('PUBLISH', UP)
            mq.store.commit = commit
            await seen(proxy, 'PUBCOMP', UP)
            assert got == [b'y']
            await mq.publish('full/out', b'z', 2, wait='ack')
            assert [each.payload for each in proxy.seen('PUBLISH', UP)] == [b'z']
            await mq.close()
    go(main)
    clean(broker, 'full')


@pytest.mark.parametrize('patient', [False, True])
def test_while_the_wal_is_cut_nothing_leaves_and_the_loop_goes_on(broker, tmp_path, patient):
    async def main():
        with Proxy(broker.port) as proxy:
            mq, got = client('cut', clean=False, store=tmp_path / 'mqtt.db'), []

            async def handler(message):
                got.append(message.payload)
            await mq.connect(HERE, proxy.port)
            await mq.subscribe('cut/in', handler if patient else lambda message: got.append(message.payload), 2)
            await mq.store.durable()
            file = mq.store.file
            file.free.clear()
            file.copier.execute('BEGIN IMMEDIATE')                  # who commits waits for ten seconds
            began = time.monotonic()
            proxy.cut()
            await until(lambda: mq.stats['reconnects'])
            async with client('cut-peer') as peer:
                await peer.connect(HERE, broker.port)
                await peer.publish('cut/in', b'y', 2, wait='ack')
                await until(lambda: got)
                publishing = [runtime.spawn(mq.publish('cut/out', b'x', qos)) for qos in (1, 2)]
                await runtime.sleep(0.05)
            assert time.monotonic() - began < 5
            assert not proxy.seen('PUBREC', UP) and not proxy.seen('PUBLISH', UP)
            assert not any(fiber.done for fiber in publishing)
            file.copier.execute('ROLLBACK')
            file.free.set()
            for fiber in publishing:
                await (await fiber.join()).wait()
            await seen(proxy, 'PUBCOMP', UP)
            assert got == [b'y'] and len(proxy.seen('PUBLISH', UP)) == 2
            await mq.close()
    go(main)
    clean(broker, 'cut')


def test_qos_2_behind_qos_0_waits_for_the_disk_and_no_longer(broker, tmp_path):
    async def main():
        mq = client('behind', clean=False, store=tmp_path / 'mqtt.db')
        await mq.connect(HERE, broker.port)
        mq.throttle(0.05)
        for qos in (0, 2):
            receipt = await mq.publish('behind', b'', qos)
        async with runtime.timeout(5):
            await receipt.wait()
        await mq.close()
    go(main)
    clean(broker, 'behind')

# What handlers and others may do, and when they are interrupted

def test_a_handler_may_use_the_client(broker):
    """Subscribe, unsubscribe, request, publish and wait: the answers are read meanwhile."""
    async def main():
        async with client('uses', bound=1) as mq, client('helper') as helper:
            await mq.connect(HERE, broker.port)
            await helper.connect(HERE, broker.port)
            got = []

            def serve(message):
                return helper.publish(message.topic.replace('/service/', '/device/'), message.payload, 1)
            await helper.subscribe('ioto/service/uses/#', serve, 1)

            async def handler(message):
                other = await mq.subscribe(f'uses/other/{message.payload.decode()}', print, 1)
                await mq.publish('uses/out', b'', 2, wait='ack')
                got.append(await mq.request('echo', message.payload))
                await other.unsubscribe()
            await mq.subscribe('uses/in', handler, 1)
            for n in range(10):
                await helper.publish('uses/in', str(n), 1)
            await until(lambda: len(got) == 10)
            assert got == [b'%d' % n for n in range(10)]
            await until(lambda: len(mq.inbox.subscriptions) == 2)
    go(main)


def test_who_has_a_handler_is_not_iterated():
    with pytest.raises(TypeError, match="'a/#' has a handler"):
        aiter(client().subscribe('a/#', print))


def test_requests_at_the_same_time_get_each_its_answer(broker):
    async def main():
        async with client('askers') as mq, client('answers') as service:
            await mq.connect(HERE, broker.port)
            await service.connect(HERE, broker.port)
            waiting = []

            async def serve(message):
                waiting.append(message)
                while len(waiting) == 10:                   # all, backwards
                    last = waiting.pop()
                    while last:
                        await service.publish(last.topic.replace('/service/', '/device/'), last.payload, 1)
                        last = waiting and waiting.pop()
            await service.subscribe('ioto/service/askers/#', serve, 1)
            fibers = [runtime.spawn(mq.request(f't{n % 2}', str(n))) for n in range(10)]
            assert [await fiber.join() for fiber in fibers] == [b'%d' % n for n in range(10)]
            assert len(mq.inbox.subscriptions) == 2 and not mq.requests and not mq.asking
    go(main)


def test_a_handler_may_disconnect(broker):
    async def main():
        mq, ended = client('leaver'), []

        async def handler(message):
            await mq.disconnect()
            ended.append(mq.state)
        await mq.connect(HERE, broker.port)
        await mq.subscribe('leaver', handler)
        began = time.monotonic()
        await mq.publish('leaver', b'')
        await until(lambda: ended)
        assert ended == ['disconnected'] and time.monotonic() - began < 2
    go(main)


@pytest.mark.parametrize('handled', [True, False], ids=['handler', 'iteration'])
def test_after_unsubscribe_nothing_is_handled_any_more(handled):
    """What waits then is acknowledged, for nobody wants it."""
    async def main(broker):
        mq, got = client(), []

        async def handler(message):
            got.append(message.payload)
            await runtime.sleep(0.05)
        subscription = mq.subscribe('a', handler if handled else None, 1)
        await mq.connect(HERE, broker.port)
        await until(lambda: mq.inbox.count == 3)
        if not handled:
            got.append((await subscription.__anext__()).payload)
        await runtime.sleep(0.01)
        await subscription.unsubscribe()
        if not handled:
            with pytest.raises(StopAsyncIteration):
                await subscription.__anext__()
        await until(lambda: not mq.inbox.count)
        await mq.disconnect()
        assert got == [b'1']
    data = b''.join(publish('a', str(n).encode(), 1, n) for n in range(1, 4))
    broker = hostile(main, ['CONNECT', connack(), 'SUBSCRIBE', reply('SUBACK', 1, 1) + data,
                            *(['UNSUBSCRIBE', reply('UNSUBACK', 2), *['PUBACK'] * 3] if handled else
                              [*['PUBACK'] * 3, 'UNSUBSCRIBE', reply('UNSUBACK', 2)]), 'DISCONNECT', HOLD])
    assert [each.identifier for each in broker.received[0] if each.type == 'PUBACK'] == [1, 2, 3]


def test_an_iteration_that_is_interrupted_loses_nothing(broker):
    async def main():
        async with client('patience') as mq:
            await mq.connect(HERE, broker.port)
            subscription = await mq.subscribe('patience', qos=1)
            found = []

            async def consume():
                while True:
                    found.append(int((await subscription.__anext__()).payload))
            for n in range(200):
                await mq.publish('patience', str(n), 1)
            for turns in itertools.cycle(range(5)):
                if len(found) == 200:
                    break
                fiber = runtime.spawn(consume())
                for _ in range(turns):
                    kernel().budget = 0                     # it may be interrupted at each await
                    await runtime.sleep(0)
                fiber.cancel()
                await fiber.join()
                await runtime.sleep(0.001)
            assert found == list(range(200))
    go(main)


@pytest.mark.parametrize('what', ['connect', 'publish', 'room', 'receipt', 'subscribe', 'unsubscribe', 'request', 'next', 'disconnect'])
def test_everything_that_waits_can_be_cancelled(what):
    """And leaves nothing behind; the client works afterwards."""
    async def main(broker):
        mq = client(queue=3)
        if what != 'connect':
            await mq.connect(HERE, broker.port)
        calls = {'connect': lambda: mq.connect(HERE, broker.port), 'publish': lambda: mq.publish('a', b'', 1, wait='ack'),
                 'subscribe': lambda: mq.subscribe('a', print), 'request': lambda: mq.request('a'),
                 'disconnect': lambda: mq.disconnect(30), 'room': lambda: mq.publish('a', b'', 1)}
        if what in ('receipt', 'disconnect'):
            receipt = await mq.publish('a', b'', 1)
            calls['receipt'] = receipt.wait
        elif what == 'room':
            for _ in range(3):
                await mq.publish('a', b'', 1)
        elif what in ('unsubscribe', 'next'):
            subscription = mq.subscribe('a')
            calls.update(unsubscribe=subscription.unsubscribe, next=subscription.__anext__)
        with pytest.raises(TimeoutError):
            async with runtime.timeout(0.1):
                await calls[what]()
        assert not mq.asking and not mq.requests and not mq.space and not mq.inbox.moved._line
        if what == 'disconnect':
            await until(lambda: mq.fiber is None)
        else:
            await mq.disconnect(0)
        assert mq.state == 'disconnected' and mq.connection is None
        mq.session.line.clear()
        mq.session.flying.clear()
        assert await mq.connect(HERE, broker.port) is False
        await mq.disconnect()
    first = ['CONNECT', HOLD] if what == 'connect' else ['CONNECT', connack(), HOLD]
    hostile(main, first, ['CONNECT', connack(), HOLD])


# Odds and ends

def test_subscriptions_come_back_also_when_they_were_lost_on_the_way():
    """The broker made a session, and the connection was lost before it had the subscriptions."""
    async def main(broker):
        mq = client(clean=False)
        subscription = mq.subscribe('a', print, 1)
        await mq.connect(HERE, broker.port)
        await until(lambda: len(broker.received) == 3 and len(broker.received[2]) == 2 and subscription.granted == 1)
        await mq.disconnect()
    good = ['SUBSCRIBE', reply('SUBACK', 1, 1)]
    hostile(main, ['CONNECT', connack(), *good, 0.05, CLOSE], ['CONNECT', connack(), 0.05, CLOSE],
            ['CONNECT', connack(True), 'SUBSCRIBE', lambda connection: reply('SUBACK', connection.last.identifier, 1), HOLD])


def test_the_answer_to_an_earlier_subscription_is_none_to_a_later_one():
    async def main(broker):
        mq = client()
        await mq.connect(HERE, broker.port)
        first = mq.subscribe('a', print)
        runtime.spawn(first.unsubscribe())
        await runtime.sleep(0.01)
        second = mq.subscribe('a', print, 1)
        await until(lambda: mq.connection and len(mq.connection.asked) == 1)
        assert second.granted is None
        await mq.publish('go', b'')
        await second
        assert second.granted == 1
        await mq.disconnect()
    hostile(main, ['CONNECT', connack(), 'SUBSCRIBE', 'UNSUBSCRIBE', 'SUBSCRIBE', reply('SUBACK', 1, 0) + reply('UNSUBACK', 2), 'PUBLISH',
                   reply('SUBACK', 3, 1), HOLD])


def test_many_filters_are_left_in_packets_of_few():
    """After a time without connection, with a session that has them."""
    async def main(broker):
        mq = client(clean=False)
        subscriptions = [mq.subscribe(f'a/{n}', print) for n in range(20)]
        for subscription in subscriptions:
            await subscription.unsubscribe()
        await mq.connect(HERE, broker.port)
        await until(lambda: len(broker.received[0]) == 4)
        await mq.disconnect()
    broker = hostile(main, ['CONNECT', connack(True), *['UNSUBSCRIBE'] * 3, HOLD])
    assert [each.body.count(b'a/') for each in broker.received[0][1:4]] == [8, 8, 4]


def test_masters_within_masters(broker):
    async def main():
        with Proxy(broker.port) as proxy:
            async with client() as mq:
                await mq.connect(HERE, proxy.port)
                got = []
                outer = await mq.subscribe('mm/#', got.append, 1, master=True)
                inner = await mq.subscribe('mm/a/#', got.append, 1, master=True)
                twin = await mq.subscribe('mm/a/#', got.append, 1, master=True)
                leaf = await mq.subscribe('mm/a/b', got.append, 1)
                await outer.unsubscribe()
                assert len(proxy.seen('SUBSCRIBE', UP)) == 2    # of inner, which serves the others
                await mq.publish('mm/a/b', b'', 1, wait='ack')
                await until(lambda: len(got) == 3)
                await inner.unsubscribe()
                await twin.unsubscribe()
                await leaf
                await mq.publish('mm/a/b', b'', 1, wait='ack')
                await until(lambda: len(got) == 4)
                assert [each.body[4:] for each in proxy.seen('SUBSCRIBE', UP)][1:] == [b'mm/a/#\1', b'mm/a/#\1', b'mm/a/b\1']
                assert not mq.inbox.masters
    go(main)


def test_pings_do_not_keep_a_connection_on_demand(hasty):
    async def main(broker):
        mq = client(keepalive=20, demand=0.2)
        await mq.connect(HERE, broker.port)
        await mq.publish('a', b'')
        await until(lambda: mq.state == 'waiting')
        assert mq.error is None
        await mq.disconnect()

    def answer(connection):
        while (found := connection.next()).type != 'DISCONNECT':
            connection.send(packet('PINGRESP') if found.type == 'PINGREQ' else b'')
    broker = hostile(main, ['CONNECT', connack(), answer, HOLD])
    assert 'PINGREQ' in [each.type for each in broker.received[0]]


def test_pingreq_is_sent_while_reading_stops_and_goes_on(hasty):
    """A slow handler makes the client pause again and again."""
    async def main(broker):
        mq = client(keepalive=40, bound=2)

        async def handler(message):
            await runtime.sleep(0.002)
        mq.subscribe('a', handler)
        await mq.connect(HERE, broker.port)
        await until(lambda: [each.type for each in broker.received[0]].count('PINGREQ') >= 3)
        await mq.disconnect(0)
    hostile(main, ['CONNECT', connack(), 'SUBSCRIBE', reply('SUBACK', 1, 0),
                   lambda connection: [connection.send(publish('a', bytes(4000))) for _ in range(2500)] and b'', HOLD])


def test_a_throttle_that_closes_holds_while_there_is_no_connection(monkeypatch):
    monkeypatch.setattr('ioto.mqtt.client.os.urandom', lambda size: b'\x80' + bytes(size - 1))     # half a second

    async def main(broker):
        mq = client(backoff=(0.5, 0.5))
        fiber = runtime.spawn(mq.connect(HERE, broker.port, retry=True))
        await until(lambda: mq.state == 'waiting' and broker.connections)
        mq.throttle(1, close=True)
        began = time.monotonic()
        await fiber.join()
        assert time.monotonic() - began >= 1 and broker.connections == 2
        await mq.disconnect()
    hostile(main, [CLOSE], ['CONNECT', connack(), HOLD])


def test_a_window_ends_while_connected(monkeypatch):
    monkeypatch.setattr('ioto.runtime.cron.until_end', lambda spec: 0.1)

    async def main(broker):
        mq = client(schedule='anytime')
        assert await mq.connect(HERE, broker.port) is False
        receipt = await mq.publish('a', b'x', 1)
        monkeypatch.setattr('ioto.runtime.cron.until', lambda spec: 0.3)
        await until(lambda: mq.state == 'waiting')
        assert mq.error is None and not receipt.done
        monkeypatch.setattr('ioto.runtime.cron.until', lambda spec: 0)
        await receipt.wait()
        await mq.disconnect()
    hostile(main, ['CONNECT', connack(), 'PUBLISH', 'DISCONNECT', HOLD],
            ['CONNECT', connack(), 'PUBLISH', reply('PUBACK', 1), HOLD])



def test_disconnect_is_the_last_packet():
    async def main(broker):
        mq = client()
        going = runtime.Event()

        async def handler(message):
            await going.wait()
        mq.subscribe('a', handler, 1)
        await mq.connect(HERE, broker.port)
        await until(lambda: mq.inbox.count)
        await mq.disconnect(0.05)
        going.set()                                         # now it is handled, and too late to say so
        await until(lambda: not mq.inbox.count)
    broker = hostile(main, ['CONNECT', connack(), 'SUBSCRIBE', publish('a', b'x', 1, 1), 'DISCONNECT', HOLD])
    assert broker.received[0][-1].type == 'DISCONNECT'


def test_messages_that_nobody_wants_are_acknowledged_when_nobody_has_come(monkeypatch):
    monkeypatch.setattr('ioto.mqtt.connection.ORPHAN_TIME', 0.2)

    async def main(broker):
        mq, got = client(clean=False), []
        await mq.connect(HERE, broker.port)
        await until(lambda: mq.stats['unmatched'] == 2)
        mq.subscribe('late', got.append, 2)
        await runtime.sleep(0.05)
        await mq.disconnect()
        assert not got
    hostile(main, ['CONNECT', connack(True), publish('late', b'', 1, 1) + publish('late', b'', 2, 2), 'PUBACK', 'PUBREC',
                   'SUBSCRIBE', 'DISCONNECT'])


def test_without_a_session_messages_that_nobody_wants_are_acknowledged_at_once():
    async def main(broker):
        mq = client()
        await mq.connect(HERE, broker.port)
        await until(lambda: len(broker.received[0]) == 2)
        assert mq.stats['unmatched'] == 1
        await mq.disconnect()
    hostile(main, ['CONNECT', connack(), publish('a', b'', 1, 1), 'PUBACK', 'DISCONNECT'])


def test_an_orphan_of_a_lost_connection_is_not_taken_for_handled():
    async def main(broker):
        mq, got = client(clean=False), []
        await mq.connect(HERE, broker.port)
        await until(lambda: broker.connections == 2 and mq.state == 'connected')
        mq.subscribe('a', got.append, 2)
        await until(lambda: got)
        assert len(got) == 1
        await until(lambda: 'PUBREC' in [each.type for each in broker.received[1]])
        await mq.disconnect()
    hostile(main, ['CONNECT', connack(True), publish('a', b'x', 2, 7), 0.1, CLOSE],
            ['CONNECT', connack(True), publish('a', b'x', 2, 7, dup=True), HOLD])


def test_a_url_says_where_and_who():
    async def main(broker):
        mq = client()
        await mq.connect(f'mqtt://user:word@127.0.0.1:{broker.port}')
        await mq.disconnect()
    broker = hostile(main, ['CONNECT', connack(), HOLD])
    assert broker.received[0][0].body.endswith(b'\0\1c\0\4user\0\4word')
