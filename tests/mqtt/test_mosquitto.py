"""The client against mosquitto: every way to it, every QoS, sessions, restarts, wills, refusals.

A proxy between them sees what goes over the wire, and cuts it.
"""

import signal

import pytest

from ioto import runtime
from ioto.mqtt import Client, MqttError
from ioto.runtime.tls import client_context
from tests.mqtt.broker import Alpn, Broker, only_lets_subscribe
from tests.mqtt.proxy import Proxy
from tests.mqtt.wire import DOWN, UP

PATIENCE = 20


@pytest.fixture(scope='module')
def broker(tmp_path_factory, certs):
    with Broker(tmp_path_factory.mktemp('broker'), certs=certs) as broker:
        yield broker


@pytest.fixture
def proxy(broker):
    with Proxy(broker.port) as proxy:
        yield proxy


def run(main, *arguments):
    """Run a coroutine function, for a limited time."""
    async def limited():
        async with runtime.timeout(2 * PATIENCE):
            await main(*arguments)
    runtime.run(limited)


async def until(condition):
    """Wait until something is true."""
    async with runtime.timeout(PATIENCE):
        while not condition():
            await runtime.sleep(0.005)


def client(name, **options):
    return Client(name, **{'backoff': (0.02, 0.2), **options})


class Inbox(list):
    """A handler that keeps what came."""

    def __call__(self, message):
        self.append(message)

    @property
    def payloads(self):
        return [message.payload for message in self]


# Every way to the broker

@pytest.fixture(scope='module')
def nginx(broker, certs, tmp_path_factory):
    with Alpn(tmp_path_factory.mktemp('nginx'), broker.port, certs) as nginx:
        yield nginx


def ways(broker, nginx, certs):
    """{name: arguments of connect}"""
    plain = client_context(certs / 'ca.crt')
    mutual = client_context(certs / 'ca.crt', certs / 'client.crt', certs / 'client.key')
    ports = broker.ports
    return {'plain': {'host': '127.0.0.1', 'port': broker.port},
            'name': {'host': 'localhost', 'port': broker.port},
            'unix': {'host': broker.unix},
            'URL': {'host': f'mqtt://127.0.0.1:{broker.port}'},
            'TLS': {'host': '127.0.0.1', 'port': ports['tls'], 'tls': plain},
            'TLS by URL': {'host': f'mqtts://localhost:{ports["tls"]}', 'tls': plain},
            'client certificate': {'host': '127.0.0.1', 'port': ports['mutual'], 'tls': mutual},
            'ALPN': {'host': '127.0.0.1', 'port': nginx.port, 'tls': mutual, 'alpn': ['x-amzn-mqtt-ca'], 'server_name': 'localhost'},
            'WebSocket': {'host': f'ws://127.0.0.1:{ports["websockets"]}/mqtt'},
            'WebSocket over TLS': {'host': f'wss://localhost:{ports["wss"]}', 'tls': plain}}


@pytest.mark.parametrize('way', ['plain', 'name', 'unix', 'URL', 'TLS', 'TLS by URL', 'client certificate', 'ALPN', 'WebSocket',
                                 'WebSocket over TLS'])
def test_every_qos_both_ways(broker, nginx, certs, way):
    async def main():
        inbox, topic = Inbox(), f'ways/{way}/a'
        async with client(f'way {way}') as mq:
            assert await mq.connect(**ways(broker, nginx, certs)[way]) is False
            for qos in range(3):
                subscription = await mq.subscribe(f'ways/{way}/{"a+#"[qos]}', inbox, qos=2)
                assert subscription.granted == 2
                for n in range(100):
                    await mq.publish(topic, f'{qos} {n}', qos=qos)
                await mq.publish(topic, bytes(5000), qos=qos, wait='ack')
                await until(lambda: len(inbox) == 101)
                assert inbox.payloads == [b'%d %d' % (qos, n) for n in range(100)] + [bytes(5000)]
                assert {(message.qos, message.topic, message.retain, message.dup) for message in inbox} == {(qos, topic, False, False)}
                inbox.clear()
                await subscription.unsubscribe()
            await mq.publish(topic, b'nobody', qos=1, wait='ack')
            stats = mq.stats
        assert not inbox and mq.state == 'disconnected'
        assert (stats['sent'], stats['received'], stats['acknowledged'], stats['queued']) == (304, 303, 203, 0)
        assert stats['unexpected'] == stats['unmatched'] == stats['dropped'] == stats['reconnects'] == 0
    run(main)


def test_the_broker_saw_alpn_server_name_and_certificate(nginx):
    assert ('x-amzn-mqtt-ca', 'localhost', 'SUCCESS') in nginx.seen()


def test_large_messages(broker, certs):
    async def main():
        tls = client_context(certs / 'ca.crt')
        for options in {'port': broker.port}, {'port': broker.ports['tls'], 'tls': tls}:
            inbox, payload = Inbox(), bytes(range(256)) * 20000
            async with client('large', max_packet=8 << 20) as mq:
                await mq.connect('127.0.0.1', **options)
                await mq.subscribe('large', inbox, qos=2)
                for qos in range(3):
                    await mq.publish('large', payload, qos=qos, wait='ack')
                await until(lambda: len(inbox) == 3)
                assert inbox.payloads == [payload] * 3
    run(main)


@pytest.mark.parametrize('way, why', [('TLS', 'does not stand'), ('client certificate', 'certificate required'), ('WebSocket over TLS', 'does not stand'),
                                      ('plain', 'no TLS with'), ('WebSocket', 'closed before it answered the WebSocket handshake')])
def test_tls_that_does_not_come_about_is_an_error_that_says_why(broker, nginx, certs, way, why):
    async def main():
        options = ways(broker, nginx, certs)[way]
        options['tls'] = client_context(certs / 'ca.crt') if way in ('plain', 'client certificate') else True if 'tls' in options else None
        if way == 'WebSocket':
            options['host'] = f'ws://127.0.0.1:{nginx.port}'        # where TLS is spoken
        mq = client('unwelcome')
        with pytest.raises(MqttError, match=why) as caught:
            await mq.connect(**options)
        assert caught.value.code is None and mq.state == 'disconnected'
    run(main)


# Who may connect, and subscribe

@pytest.mark.parametrize('retry', [False, True])
def test_a_wrong_password_is_code_5_and_not_tried_again(tmp_path, retry):
    async def main(broker, port):
        for name, password in ('user', 'wrong'), ('nobody', 'right'), (None, None):
            mq = client('guest')
            with pytest.raises(MqttError) as caught:
                await mq.connect('127.0.0.1', port, username=name, password=password, retry=retry)
            assert caught.value.code == 5 and 'not authorized' in str(caught.value) and mq.state == 'disconnected'
        async with client('guest') as mq:
            await mq.connect('127.0.0.1', port, username='user', password='right')
        async with client('guest') as mq:
            await mq.connect(f'mqtt://user:right@127.0.0.1:{port}')

    with Broker(tmp_path, users={'user': 'right'}) as broker, Proxy(broker.port) as proxy:
        run(main, broker, proxy.port)
        assert proxy.connections == 5


def test_a_refused_subscription_raises_and_the_others_stand(tmp_path):
    async def main(port):
        inbox = Inbox()
        async with client('curious') as mq:
            refused, allowed = mq.subscribe('secret/#', inbox), mq.subscribe('ok/#', inbox, qos=1)
            await mq.connect('127.0.0.1', port)
            with pytest.raises(MqttError, match='secret/#') as caught:
                await refused
            assert caught.value.code == 0x80 and (await allowed).granted == 1
            with pytest.raises(MqttError):
                await mq.subscribe('secret/a', inbox)
            await mq.publish('secret/a', b'x', wait='sent')
            await mq.publish('ok/a', b'y', qos=1, wait='ack')
            await until(lambda: inbox)
            assert inbox.payloads == [b'y'] and mq.stats['reconnects'] == 0

    with Broker(tmp_path, text=only_lets_subscribe(tmp_path, 'ok/#')) as broker:
        run(main, broker.port)


def test_a_granted_qos_may_be_lower(tmp_path):
    async def main(port):
        inbox = Inbox()
        async with client('modest') as mq:
            await mq.connect('127.0.0.1', port)
            assert [(await mq.subscribe(f'low/{qos}', inbox, qos=qos)).granted for qos in range(3)] == [0, 1, 1]
            await mq.publish('low/2', b'x', qos=1, wait='ack')
            await until(lambda: inbox)
            assert inbox[0].qos == 1

    with Broker(tmp_path, each='max_qos 1\n') as broker:
        run(main, broker.port)


# Retained messages and wills

def test_retained_messages(broker):
    async def main():
        early, late, none = Inbox(), Inbox(), Inbox()
        async with client('keeper') as mq:
            await mq.connect('127.0.0.1', broker.port)
            await mq.subscribe('kept/+', early, qos=1)
            for n in range(3):
                await mq.publish(f'kept/{n}', str(n), qos=1, retain=True, wait='ack')
            await until(lambda: len(early) == 3)
            assert [message.retain for message in early] == [False] * 3         # it came while we were there (§3.3.1.3)
            async with client('latecomer') as other:
                await other.connect('127.0.0.1', broker.port)
                await other.subscribe('kept/#', late, qos=2)
                await until(lambda: len(late) == 3)
                assert sorted(late.payloads) == [b'0', b'1', b'2'] and all(message.retain and message.qos == 1 for message in late)
            for n in range(3):
                await mq.publish(f'kept/{n}', qos=1, retain=True, wait='ack')
            async with client('latecomer') as other:
                await other.connect('127.0.0.1', broker.port)
                await other.subscribe('kept/#', none)
                await other.publish('kept/last', b'x', qos=1, wait='ack')
                await until(lambda: none)
                assert none.payloads == [b'x']
    run(main)


@pytest.mark.parametrize('qos', [0, 1, 2])
def test_a_will_is_published_when_the_connection_is_lost_and_not_at_a_farewell(broker, proxy, qos):
    async def main():
        inbox = Inbox()
        will = {'topic': 'will/a', 'payload': {'gone': qos}, 'qos': qos, 'retain': False}
        async with client('heir') as mq:
            await mq.connect('127.0.0.1', broker.port)
            await mq.subscribe('will/#', inbox, qos=2)
            for farewell in True, False:
                testator = client('testator')
                await testator.connect('127.0.0.1', proxy.port, will=will)
                if farewell:
                    await testator.disconnect()
                else:
                    proxy.refusing = True
                    proxy.cut(reset=True)
                    await until(lambda: testator.state == 'waiting')
                    await until(lambda: inbox)
                    await testator.disconnect()
                await mq.publish('will/end', b'', qos=2, wait='ack')
            await until(lambda: len(inbox) == 3)
        assert [(message.topic, message.payload, message.qos) for message in inbox] == [
            ('will/end', b'', 2), ('will/a', b'{"gone":%d}' % qos, qos), ('will/end', b'', 2)]
    run(main)


# Sessions

def test_a_session_keeps_messages_for_who_is_away(broker):
    async def main():
        first, second = Inbox(), Inbox()
        mq = client('away', clean=False)
        assert await mq.connect('127.0.0.1', broker.port) is False
        await mq.subscribe('away/+', first, qos=2)
        await mq.disconnect()
        async with client('sender') as other:
            await other.connect('127.0.0.1', broker.port)
            for n in range(50):
                await other.publish('away/1', f'{1 + n % 2} {n}', qos=1 + n % 2)
            await other.publish('away/2', b'last', qos=1, wait='ack')
        assert await mq.connect('127.0.0.1', broker.port) is True
        await until(lambda: len(first) == 51)
        assert b'last' in first.payloads
        for qos in 1, 2:                                    # between them there is no order (§4.6)
            assert [each for each in first.payloads if each[:1] == b'%d' % qos] == [b'%d %d' % (qos, n) for n in range(qos - 1, 50, 2)]
        await mq.disconnect()

        async with client('sender') as other:
            await other.connect('127.0.0.1', broker.port)
            await other.publish('away/1', b'more', qos=2, wait='ack')
        mq = client('away', clean=False)                    # another process: it does not subscribe before it connects
        assert await mq.connect('127.0.0.1', broker.port) is True
        await runtime.sleep(0.1)
        await mq.subscribe('away/+', second, qos=2)
        await until(lambda: second)
        assert second.payloads == [b'more']
        await mq.disconnect()
        assert await client('away').connect('127.0.0.1', broker.port) is False
    run(main)


def test_a_clean_session_forgets(broker):
    async def main():
        for _ in range(2):
            async with client('forgetful') as mq:
                assert await mq.connect('127.0.0.1', broker.port) is False
                await mq.subscribe('forgotten', Inbox(), qos=2)
    run(main)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize('persistence', [False, True])
def test_a_restart_of_the_broker(tmp_path, persistence, number):
    async def main(broker):
        inbox, presents = Inbox(), []

        def connected(session_present):
            presents.append(session_present)
        runtime.watch('mqtt:connected', connected)
        sender = client('sender', clean=False)
        mq = client('receiver', clean=False)
        await mq.connect('127.0.0.1', broker.port)
        await mq.subscribe('restart/#', inbox, qos=2)
        await sender.connect('127.0.0.1', broker.port)
        for n in range(20):
            await sender.publish('restart/a', f'before {n}', qos=2)
        await sender.publish('restart/a', b'before', qos=2, wait='ack')
        await until(lambda: len(inbox) == 21)
        if number == signal.SIGKILL:
            await runtime.sleep(2.5 * persistence)              # mosquitto saves each second
        await runtime.to_thread(broker.stop, number)
        await until(lambda: 'waiting' == mq.state == sender.state)
        receipts = [await sender.publish('restart/a', f'while {n}', qos=2) for n in range(20)]
        assert sender.stats['queued'] == 20
        if not persistence:
            mq.subscribe('other/#', inbox, qos=1)
        await runtime.to_thread(broker.resume)
        await until(lambda: mq.state == 'connected' == sender.state)
        assert presents == [False, False, persistence, persistence]
        assert [(await subscription).granted for subscription in mq.inbox.everyone()] == ([2] if persistence else [2, 1])
        await sender.publish('restart/a', b'after', qos=2)
        for receipt in receipts:
            await receipt.wait()
        if not persistence:
            await sender.publish('other/a', b'other', qos=1, wait='ack')
        await runtime.sleep(0.1)
        runtime.unwatch('mqtt:connected', connected)
        await mq.disconnect()
        await sender.disconnect()
        return inbox.payloads

    async def check(broker):
        found = await main(broker)
        expected = [b'before %d' % n for n in range(20)] + [b'before'] + [b'while %d' % n for n in range(20)] + [b'after']
        if persistence:
            assert found == expected
        else:
            assert set(found) <= {*expected, b'other'} and len(found) == len(set(found))     # until it subscribed again, it missed some
            assert b'other' in found and found[:21] == expected[:21]

    with Broker(tmp_path, persistence=persistence) as broker:
        run(check, broker)


# What goes over the wire when a connection is lost, as the proxy saw it. QoS 2 and 1 are exactly and at least once.

LOSSES = [      # what is cut at, the QoS, packets of the client about the message on the second connection
    ('cut before', UP, 'PUBLISH', 1, ['PUBLISH dup', 'DISCONNECT']), ('cut after', UP, 'PUBLISH', 1, ['PUBLISH dup', 'DISCONNECT']),
    ('cut before', DOWN, 'PUBACK', 1, ['PUBLISH dup', 'DISCONNECT']), ('cut before', UP, 'PUBLISH', 2, ['PUBLISH dup', 'PUBREL', 'DISCONNECT']),
    ('cut before', DOWN, 'PUBREC', 2, ['PUBLISH dup', 'PUBREL', 'DISCONNECT']), ('cut after', DOWN, 'PUBREC', 2, ['PUBREL', 'DISCONNECT']),
    ('cut before', UP, 'PUBREL', 2, ['PUBREL', 'DISCONNECT']), ('cut after', UP, 'PUBREL', 2, ['PUBREL', 'DISCONNECT']),
    ('cut before', DOWN, 'PUBCOMP', 2, ['PUBREL', 'DISCONNECT']),
]


@pytest.mark.parametrize('action, way, type, qos, expected', LOSSES)
def test_a_message_that_is_sent_while_the_connection_is_lost(broker, proxy, action, way, type, qos, expected):
    async def main():
        inbox = Inbox()
        name = f'lossy {action} {way} {type} {qos}'
        async with client('witness') as witness, client(name, clean=False) as mq:
            await witness.connect('127.0.0.1', broker.port)
            await witness.subscribe('lossy', inbox, qos=2)
            await mq.connect('127.0.0.1', proxy.port)
            proxy.rule(action, way, type)
            await mq.publish('lossy', b'once', qos=qos, wait='ack')
            await mq.disconnect()
            await witness.publish('lossy', b'end', qos=2, wait='ack')
            await until(lambda: b'end' in inbox.payloads)
            assert inbox.payloads[-2:] == [b'once', b'end'] and len(inbox) <= (2 if qos == 2 else 3)
        await until(lambda: proxy.seen('DISCONNECT', UP))
        again = [each for each in proxy.seen(way=UP, connection=1) if each.type != 'CONNECT']
        assert [each.type + ' dup' * (each.type == 'PUBLISH' and each.dup) for each in again] == expected
        assert len({each.identifier for each in proxy.seen('PUBLISH', UP) + again[:-1]}) == 1
        await client(name).connect('127.0.0.1', broker.port)            # the broker forgets the session
    run(main)


INBOUND = [('cut before', UP, 'PUBACK', 1), ('cut before', DOWN, 'PUBLISH', 2), ('cut after', DOWN, 'PUBLISH', 2), ('cut before', UP, 'PUBREC', 2),
           ('cut after', UP, 'PUBREC', 2), ('cut before', DOWN, 'PUBREL', 2), ('cut after', DOWN, 'PUBREL', 2), ('cut before', UP, 'PUBCOMP', 2)]


@pytest.mark.parametrize('action, way, type, qos', INBOUND)
def test_a_message_that_comes_while_the_connection_is_lost(broker, proxy, action, way, type, qos):
    async def main():
        inbox = Inbox()
        name = f'receiver {action} {way} {type} {qos}'
        async with client('sender') as sender, client(name, clean=False) as mq:
            await sender.connect('127.0.0.1', broker.port)
            await mq.connect('127.0.0.1', proxy.port)
            await mq.subscribe('inbound', inbox, qos=2)
            proxy.rule(action, way, type)
            await sender.publish('inbound', b'once', qos=qos, wait='ack')
            await until(lambda: mq.stats['reconnects'] and mq.state == 'connected')
            await sender.publish('inbound', b'end', qos=2, wait='ack')
            await until(lambda: b'end' in inbox.payloads)
            assert inbox.payloads in ([b'once', b'end'], *([[b'once', b'once', b'end']] if qos == 1 else []))
            await until(lambda: not mq.session.received)
        await client(name).connect('127.0.0.1', broker.port)
    run(main)


def test_the_window_holds_also_after_a_reconnection(broker, proxy):
    async def main():
        inbox = Inbox()
        async with client('witness') as witness, client('narrow', clean=False, inflight=5) as mq:
            await witness.connect('127.0.0.1', broker.port)
            await witness.subscribe('window', inbox, qos=2)
            await mq.connect('127.0.0.1', proxy.port)
            rule = proxy.rule('drop', DOWN, 'PUBACK', times=1000)
            receipts = [await mq.publish('window', str(n), qos=1) for n in range(20)]
            for connection in range(3):
                await until(lambda: len(proxy.seen('PUBLISH', UP, connection=connection)) == 5)
                await runtime.sleep(0.1)
                sent = proxy.seen('PUBLISH', UP, connection=connection)
                assert [each.payload for each in sent] == [b'%d' % n for n in range(5)]
                assert {each.dup for each in sent} == {connection > 0}
                if connection == 2:
                    rule.times = 0
                proxy.cut(reset=True)
            for receipt in receipts:
                await receipt.wait()
            last = proxy.seen('PUBLISH', UP, connection=3)
            assert [each.payload for each in last] == [b'%d' % n for n in range(20)]
            assert [each.dup for each in last] == [True] * 5 + [False] * 15
            await until(lambda: inbox.payloads[-1:] == [b'19'])
    run(main)


def test_subscriptions_come_back_when_the_broker_has_forgotten_them(broker, proxy):
    async def main():
        inbox = Inbox()
        async with client('comeback') as mq:                # clean: the broker forgets with the connection
            await mq.connect('127.0.0.1', proxy.port)
            await mq.subscribe('back/a', inbox, qos=1)
            await mq.subscribe('back/b', inbox, qos=2)
            gone = await mq.subscribe('back/gone', inbox)
            await gone.unsubscribe()
            for n in range(3):
                proxy.cut()
                await until(lambda: mq.stats['reconnects'] == n + 1 and mq.state == 'connected')
                for topic in 'back/a', 'back/b', 'back/gone':
                    await mq.publish(topic, str(n), qos=1, wait='ack')
                await until(lambda: len(inbox) == 2 * (n + 1))
        assert [(message.topic, message.payload) for message in inbox] == [(f'back/{x}', b'%d' % n) for n in range(3) for x in 'ab']
    run(main)


# Keep-alive

def test_an_idle_connection_lives_by_pings_also_when_much_is_received(broker, proxy):
    """PINGREQ goes by what the client has sent: mosquitto drops who is silent for one and a half times the keep-alive."""
    async def main():
        inbox = Inbox()
        async with client('listener', keepalive=1) as mq, client('talker') as talker:
            await mq.connect('127.0.0.1', proxy.port)
            await talker.connect('127.0.0.1', broker.port)
            await mq.subscribe('talk', inbox)
            for _ in range(300):
                await talker.publish('talk', b'x')
                await runtime.sleep(0.01)
            await until(lambda: len(inbox) == 300)
            assert mq.stats['reconnects'] == 0 and 3 <= len(proxy.seen('PINGREQ', UP)) <= 8
            pings = len(proxy.seen('PINGREQ', UP))
            for _ in range(150):
                await mq.publish('elsewhere', b'x')
                await runtime.sleep(0.01)
            assert len(proxy.seen('PINGREQ', UP)) <= pings + 1          # who sends needs none
            assert mq.stats['reconnects'] == 0
    run(main)


def test_a_frozen_broker_is_noticed_and_come_back_to(tmp_path):
    async def main(broker):
        lost = []

        def disconnected(error, expected):
            lost.append((error, expected))
        inbox = Inbox()
        async with client('patient', keepalive=2, clean=False) as mq:
            await mq.connect('127.0.0.1', broker.port)
            await mq.subscribe('frozen', inbox, qos=1)
            runtime.watch('mqtt:disconnected', disconnected)
            broker.freeze()
            before = runtime.now()
            receipt = await mq.publish('frozen', b'x', qos=1)
            await until(lambda: lost)
            assert lost == [('no PINGRESP within 5 s', False)] and runtime.now() - before < 9
            broker.thaw()
            await receipt.wait()
            await until(lambda: inbox)
            assert set(inbox.payloads) == {b'x'}
            runtime.unwatch('mqtt:disconnected', disconnected)

    with Broker(tmp_path) as broker:
        run(main, broker)


# Requests, and what the broker does not like

def test_requests_and_answers(broker):
    async def main():
        async with client('device1') as mq, client('cloud') as cloud:
            await mq.connect('127.0.0.1', broker.port)
            await cloud.connect('127.0.0.1', broker.port)

            async def answer(message):
                await cloud.publish(message.topic.replace('/service/', '/device/'), message.payload.upper(), qos=1)
            await cloud.subscribe('ioto/service/+/#', answer, qos=1)
            answers = [await mq.request('metric/get', f'text {n}') for n in range(3)]
            assert answers == [b'TEXT 0', b'TEXT 1', b'TEXT 2']
            assert answers[0].topic.startswith('ioto/device/device1/metric/get/')
            async with runtime.TaskGroup() as group:
                fibers = [group.spawn(mq.request(f'store/{n % 3}', str(n))) for n in range(30)]
            assert [await fiber.join() for fiber in fibers] == [b'%d' % n for n in range(30)]
            await cloud.disconnect()
            with pytest.raises(TimeoutError):
                await mq.request('metric/get', b'', timeout=0.1)
    run(main)


def test_a_second_client_of_the_same_name_takes_over(broker):
    async def main():
        first, second = client('twin', backoff=(5, 5)), client('twin')
        await first.connect('127.0.0.1', broker.port)
        await second.connect('127.0.0.1', broker.port)
        await until(lambda: first.state == 'waiting')
        assert 'closed the connection' in first.error
        await first.disconnect()
        await second.publish('twin', b'x', qos=1, wait='ack')
        await second.disconnect()
    run(main)


def test_ten_thousand_filters(broker):
    async def main():
        inbox = Inbox()
        async with client('many') as mq:
            subscriptions = [mq.subscribe(f'many/{n}/+', inbox, qos=n % 3) for n in range(10000)]
            await mq.connect('127.0.0.1', broker.port)
            for n, subscription in enumerate(subscriptions):
                assert (await subscription).granted == n % 3
            for n in range(0, 10000, 1000):
                await mq.publish(f'many/{n}/x', str(n), qos=1, wait='ack')
            await until(lambda: len(inbox) == 10)
            assert inbox.payloads == [b'%d' % n for n in range(0, 10000, 1000)]
    run(main)
