"""Streams to brokers: TCP, TLS, UNIX sockets and WebSockets, with mosquitto, and with servers that misbehave."""
import os
import subprocess
import sys

import pytest

from ioto import runtime
from ioto.mqtt.transport import connect, split_url
from ioto.runtime.tls import client_context
from ioto.websocket.handshake import accept_key
from tests.mqtt.broker import Alpn, Broker
from tests.mqtt.wire import connect as hello
from tests.mqtt.wire import connack, packet, publish, subscribe

PATIENCE = 20


@pytest.fixture(scope='module')
def broker(tmp_path_factory, certs):
    with Broker(tmp_path_factory.mktemp('broker'), certs=certs) as broker:
        yield broker


async def receive(stream, size):
    data = b''
    async with runtime.timeout(PATIENCE):
        while len(data) < size:
            more = await stream.read()
            assert more, data
            data += more
    return data


async def talk(stream, size=300_000):
    """A session of QoS 0: 200 messages, and one of some size, all of them echoed."""
    stream.post(hello())
    assert await receive(stream, 4) == connack()
    stream.post(subscribe(1, ('loop/#', 0)))
    assert await receive(stream, 5) == packet('SUBACK', b'\0\1\0')
    messages = b''.join([publish('loop/a', str(n).encode()) for n in range(200)] + [publish('loop/b', os.urandom(size))])
    for at in range(0, len(messages), 1000):
        stream.post(messages[at:at + 1000])
    await stream.drain()
    assert await receive(stream, len(messages)) == messages
    assert not stream.queued_bytes and stream.sent == len(messages + hello() + subscribe(1, ('loop/#', 0)))
    stream.post(packet('DISCONNECT'))
    await stream.close()
    await stream.close()
    assert stream.closed


LISTENERS = [('plain', {}), ('tls', {'tls': 'plain'}), ('mutual', {'tls': 'certificate'}), ('websockets', {'websocket': True}),
             ('wss', {'tls': 'plain', 'websocket': True, 'path': '/x?y=z', 'headers': [('X-More', 'a')]}), ('unix', {})]


def contexts(certs):
    authority = certs / 'ca.crt'
    return {'plain': client_context(authority), 'certificate': client_context(authority, certs / 'client.crt', certs / 'client.key')}


@pytest.mark.parametrize('listener, options', LISTENERS, ids=[name for name, _ in LISTENERS])
def test_a_session_with_mosquitto(broker, certs, listener, options):
    async def main():
        tls = contexts(certs).get(options.get('tls'))
        for host in ('localhost', '127.0.0.1') if listener != 'unix' else (broker.unix, f'unix:{broker.unix}'):
            stream = await connect(host, broker.ports.get(listener), **{**options, 'tls': tls})
            assert stream.secure is bool(tls) and not stream.closed and stream.remote
            await talk(stream, 12_000 if options.get('websocket') else 300_000)     # mosquitto reads 40 KB a second of a WebSocket
    runtime.run(main)


def test_alpn_and_the_server_name_reach_a_server_on_443s_terms(broker, certs, tmp_path):
    async def main(port):
        tls = contexts(certs)['certificate']
        stream = await connect('127.0.0.1', port, tls, alpn=['x-amzn-mqtt-ca'], server_name='localhost')
        assert stream.alpn == 'x-amzn-mqtt-ca'
        await talk(stream)
        stream = await connect('127.0.0.1', port, contexts(certs)['plain'])         # nginx has nothing for who offers none
        assert await stream.read() == b''
        await stream.close()

    with Alpn(tmp_path, broker.port, certs) as nginx:
        runtime.run(main, nginx.port)
        nginx.stop()
        assert sorted(nginx.seen())[-1] == ('x-amzn-mqtt-ca', 'localhost', 'SUCCESS')


def test_tls_resumes_a_session(broker, certs):
    async def main():
        tls = contexts(certs)['plain']
        resumed = []
        for _ in range(2):
            stream = await connect('127.0.0.1', broker.ports['tls'], tls)
            stream.post(hello())
            await receive(stream, 4)
            resumed.append(stream.resumed)
            await stream.close()
        assert resumed == [False, True]
    runtime.run(main)


def fails(kind, why, *arguments, **options):
    """`connect` raises this, leaving nothing open."""
    async def main():
        with pytest.raises(kind, match=why):
            await connect(*arguments, **options)
    runtime.run(main)


def test_a_certificate_that_does_not_stand_is_refused(broker, certs):
    for options, why in (({'tls': True}, 'self-signed'), ({'tls': contexts(certs)['plain'], 'server_name': 'other.example'}, 'other.example')):
        fails(ConnectionError, f'no TLS with 127.0.0.1 port {broker.ports["tls"]}: its certificate does not stand: .*{why}',
              '127.0.0.1', broker.ports['tls'], **options)
        fails(ConnectionError, 'does not stand', '127.0.0.1', broker.ports['wss'], websocket=True, **options)


def test_tls_to_a_port_without_it(broker, certs):
    fails(ConnectionError, 'no TLS with', '127.0.0.1', broker.port, contexts(certs)['plain'])


def test_nobody_there(tmp_path):
    fails(OSError, 'cannot connect to 127.0.0.1 port 1', '127.0.0.1', 1)
    fails(OSError, f'cannot connect to {tmp_path}/none', f'{tmp_path}/none')


@pytest.mark.parametrize('text, expected', [
    ('mqtt://broker', {'host': 'broker', 'port': 1883}),
    ('mqtt://broker/', {'host': 'broker', 'port': 1883, 'path': '/'}),
    ('MQTT://broker:80', {'host': 'broker', 'port': 80}),
    ('mqtts://u:p%40@Broker.example', {'host': 'broker.example', 'port': 8883, 'tls': True, 'username': 'u', 'password': 'p@'}),
    ('mqtts://a:1@[::1]', {'host': '::1', 'port': 8883, 'tls': True, 'username': 'a', 'password': '1'}),
    ('mqtt://[::1]:99', {'host': '::1', 'port': 99}),
    ('mqtt://user@broker:1', {'host': 'broker', 'port': 1, 'username': 'user'}),
    ('ws://broker', {'host': 'broker', 'port': 80, 'websocket': True}),
    ('ws://broker:8080/', {'host': 'broker', 'port': 8080, 'websocket': True, 'path': '/'}),
    ('wss://broker/mqtt?x=1', {'host': 'broker', 'port': 443, 'tls': True, 'websocket': True, 'path': '/mqtt?x=1'}),
])
def test_urls(text, expected):
    assert split_url(text) == {'tls': None, 'websocket': False, 'username': None, 'password': None, **expected}


@pytest.mark.parametrize('text, why', [('http://x', "found 'http://x'"), ('x', "found 'x'"), ('mqtt://', 'and a host'), ('mqtt://x:99999', 'port'),
                                       ('mqtt://x/topic', 'no more than'), ('mqtt://x#y', 'no more than'), ('ws://x\n', 'control'),
                                       ('wss://x/#y', 'no more than'), ('mqtt://a b@x', 'user'), ('mqtt://x:0', 'port')])
def test_refuses_urls(text, why):
    with pytest.raises(ValueError, match=why):
        split_url(text)


# WebSockets with a server that says what a test wants

def head(key, *more):
    return '\r\n'.join(['HTTP/1.1 101 X', 'Upgrade: websocket', 'Connection: Upgrade', f'Sec-WebSocket-Accept: {accept_key(key)}',
                        *(more or ['Sec-WebSocket-Protocol: mqtt']), '', '']).encode()


def frame(first, payload=b''):
    """A frame of a server."""
    size = len(payload)
    length = bytes((size,)) if size < 126 else b'\x7e' + size.to_bytes(2) if size < 65536 else b'\x7f' + size.to_bytes(8)
    return bytes((first,)) + length + payload


def unmask(data):
    """[(first byte, payload)] of the short frames of a client."""
    out = []
    while data:
        size, key, payload = data[1] & 127, data[2:6], data[6:]
        assert data[1] & 128 and size < 126
        out.append((data[0], bytes(byte ^ key[at & 3] for at, byte in enumerate(payload[:size]))))
        data = payload[size:]
    return out


class Server:
    """Answers the handshake with `answer(key)`, sends `pieces` one by one, and keeps what comes after it in `got`."""

    def __init__(self, *pieces, answer=head, close=False):
        self.pieces, self.answer, self.closes, self.got = pieces, answer, close, b''

    async def __call__(self, stream):
        try:
            self.asked = (await stream.read_until(b'\r\n\r\n')).decode()
            fields = dict(line.split(': ', 1) for line in self.asked.split('\r\n')[1:-2])
            await stream.write(self.answer(fields['Sec-WebSocket-Key']))
            for piece in self.pieces:
                await stream.write(piece)
                await runtime.sleep(0)
            while not self.closes and (data := await stream.read()):
                self.got += data
                if unmask(self.got)[-1][0] == 0x88:
                    await stream.write(frame(0x88, b'\x03\xe8'))
                    break
        except (OSError, runtime.IncompleteRead):
            pass


def serve(server, function, **options):
    """Run `await function(stream)` with a WebSocket to a Server."""
    async def main():
        listener = await runtime.listen('127.0.0.1:0', server)
        try:
            async with runtime.timeout(PATIENCE):
                stream = await connect('127.0.0.1', listener.port, websocket=True, **options)
                try:
                    await function(stream)
                finally:
                    await stream.close()
        finally:
            await listener.close(True)
    runtime.run(main)


def test_asks_for_the_subprotocol_mqtt_and_no_compression():
    server = Server()

    async def nothing(stream):
        pass
    serve(server, nothing, path='/there?a=b', headers=[('Authorization', 'Basic eA==')])
    lines = server.asked.split('\r\n')
    assert lines[0] == 'GET /there?a=b HTTP/1.1' and 'Sec-WebSocket-Protocol: mqtt' in lines and 'Authorization: Basic eA==' in lines
    assert lines[1].startswith('Host: 127.0.0.1:') and 'Extensions' not in server.asked
    assert unmask(server.got) == [(0x88, b'\x03\xe8')]


REFUSALS = [
    (b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno', 'expected status 101, got 401 Unauthorized'),
    (b'HTTP/1.1 301 Moved\r\nLocation: ws://other/\r\n\r\n', 'got 301'),
    (b'HTTP/1.1 200 OK\r\n\r\n', 'got 200'),
    (b'', 'closed before'),
    (b'HTTP/1.1 101 X\r\nUpgrade: web', 'closed before'),
    (b'\x20\x02\0\0', 'no WebSocket at 127.0.0.1 port'),
    (b'HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n', 'wrong Sec-WebSocket-Accept'),
    (lambda key: head(key, 'X: y'), "does not speak the subprotocol 'mqtt'"),
    (lambda key: head(key, 'Sec-WebSocket-Protocol: mqttv3.1'), 'subprotocol not offered: mqttv3.1'),
    (lambda key: head(key, 'Sec-WebSocket-Protocol: mqtt', 'Sec-WebSocket-Extensions: permessage-deflate'), 'extension not offered'),
    (b'HTTP/1.1 401 ' + b'x' * 20000, 'line over'),
]


@pytest.mark.parametrize('data, why', REFUSALS, ids=[why for _, why in REFUSALS])
def test_a_handshake_that_fails_says_why(data, why):
    async def nothing(stream):
        raise AssertionError('there is a stream')
    with pytest.raises(ConnectionError, match=why):
        serve(Server(answer=data if callable(data) else lambda key: data, close=True), nothing)


@pytest.mark.parametrize('options', [{'path': '/a b'}, {'headers': [('A\r\nB', 'c')]}])
def test_a_bad_path_or_field_is_refused(options):
    async def nothing(stream):
        raise AssertionError('there is a stream')
    with pytest.raises(ValueError):
        serve(Server(), nothing, **options)


@pytest.mark.parametrize('options', [{'websocket': True}, {'tls': True}])
def test_a_server_that_is_silent_in_the_handshake_is_given_up(options):
    async def silent(stream):
        while await stream.read():
            pass

    async def main():
        listener = await runtime.listen('127.0.0.1:0', silent)
        with pytest.raises(TimeoutError, match=f'no connection to 127.0.0.1 port {listener.port} within 0.1 s'):
            await connect('127.0.0.1', listener.port, timeout=0.1, **options)
        await listener.close(True)
    runtime.run(main)


WHOLE = frame(0x82, b'one') + frame(0x02, b'two, ') + frame(0x89, b'there?') + frame(0x00, b'') + frame(0x80, b'three') + frame(0x82, b'x' * 70000)
PLAIN = b'onetwo, three' + b'x' * 70000


@pytest.mark.parametrize('size', [1, 2, 3, 7, 1000, len(WHOLE)])
def test_bytes_come_whatever_the_frames_and_a_ping_is_answered(size):
    data = WHOLE if size > 100 else WHOLE[:-70000 - 10]
    plain = PLAIN if size > 100 else PLAIN[:-70000]
    server = Server(*[data[at:at + size] for at in range(0, len(data), size)])

    async def check(stream):
        assert await receive(stream, len(plain)) == plain
    serve(server, check)
    assert unmask(server.got)[0] == (0x8a, b'there?')


def test_what_comes_with_the_answer_is_not_lost():
    async def check(stream):
        assert await stream.read() == b'early'
    serve(Server(answer=lambda key: b'HTTP/1.1 100 Continue\r\n\r\n' + head(key) + frame(0x82, b'early')), check)


def test_what_is_posted_in_a_turn_leaves_in_one_binary_frame():
    server = Server()

    async def check(stream):
        stream.post(b'one')
        stream.post(b'two')
        assert (stream.queued_bytes, stream.sent) == (6, 0)
        await runtime.sleep(0)
        assert (stream.queued_bytes, stream.sent) == (0, 6)
        stream.post(b'three')
    serve(server, check)
    assert unmask(server.got) == [(0x82, b'onetwo'), (0x82, b'three'), (0x88, b'\x03\xe8')]


FAULTS = [(frame(0x81, b'text'), 'text frame', 1003), (frame(0x01, b'te'), 'text frame', 1003), (b'\x82\x81\0\0\0\0x', 'bad frame', 1002),
          (b'\x82\xff' + b'\xff' * 8, 'bad', 1002), (b'\xc2\x01x', 'bad frame', 1002), (frame(0x80, b'x'), 'bad frame', 1002),
          (b'\x82\x7f\xff' + b'\xff' * 7, 'bad length', 1002), (frame(0x88, b'\x03\xf0policy'), '1008 policy', 1008)]


@pytest.mark.parametrize('data, why, code', FAULTS)
def test_what_is_no_mqtt_ends_the_connection_after_what_came_before(data, why, code):
    server = Server(frame(0x82, b'good') + data)

    async def check(stream):
        assert await stream.read() == b'good'
        with pytest.raises(ConnectionError, match=why):
            await stream.read()
        stream.post(b'more')
        with pytest.raises(ConnectionError):
            await stream.drain()
    serve(server, check)
    assert [(first, payload[:2]) for first, payload in unmask(server.got)] == [(0x88, code.to_bytes(2))]


@pytest.mark.parametrize('data', [frame(0x88), frame(0x88, b'\x03\xe8'), frame(0x88, b'\x03\xe9')])
def test_a_close_of_the_server_is_the_end_and_is_confirmed(data):
    server = Server(data)

    async def check(stream):
        assert await stream.read() == b'' == await stream.read()
    serve(server, check)
    assert unmask(server.got) == [(0x88, data[2:])]


def test_a_server_that_goes_without_a_close_is_the_end():
    async def check(stream):
        assert await stream.read() == b''
    serve(Server(close=True), check)


def test_closing_while_a_fiber_reads_gives_it_the_rest():
    got = []

    async def check(stream):
        async def reader():
            while data := await stream.read():
                got.append(data)
        fiber = runtime.spawn(reader())
        await runtime.sleep(0.05)
        await stream.close()
        await fiber.join()
    serve(Server(frame(0x82, b'one')), check)
    assert got == [b'one']


def test_a_server_that_does_not_answer_the_close_is_left():
    async def deaf(stream):
        asked = (await stream.read_until(b'\r\n\r\n')).decode()
        await stream.write(head(asked.partition('Sec-WebSocket-Key: ')[2].partition('\r\n')[0]))
        await runtime.sleep(PATIENCE)

    async def main():
        listener = await runtime.listen('127.0.0.1:0', deaf)
        stream = await connect('127.0.0.1', listener.port, websocket=True)
        before = runtime.now()
        await stream.close()
        assert stream.closed and 1.5 < runtime.now() - before < 10
        await listener.close(True)
    runtime.run(main)


def test_an_abort_wakes_who_reads():
    async def check(stream):
        async def reader():
            with pytest.raises(OSError):
                await stream.read()
        fiber = runtime.spawn(reader())
        await runtime.sleep(0.01)
        stream.abort()
        await fiber.join()
        stream.post(b'lost')
        await stream.close()
    serve(Server(), check)


def test_a_large_frame_takes_no_more_memory_than_a_read():
    """64 MB in one frame, in a child whose memory is limited by what it reports of itself."""
    program = '''
import resource, sys
sys.path.insert(0, %r)
from ioto import runtime
from ioto.mqtt.transport import connect
from tests.mqtt.test_transport import head
SIZE = 64 << 20
async def server(stream):
    asked = (await stream.read_until(b'\\r\\n\\r\\n')).decode()
    await stream.write(head(asked.partition('Sec-WebSocket-Key: ')[2].partition('\\r\\n')[0]) + b'\\x82\\x7f' + SIZE.to_bytes(8))
    for _ in range(SIZE >> 16):
        await stream.write(bytes(65536))
async def main():
    listener = await runtime.listen('127.0.0.1:0', server)
    stream = await connect('127.0.0.1', listener.port, websocket=True)
    before, size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    while size < SIZE:
        size += len(await stream.read())
    print(size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    stream.abort()
    await listener.close(True)
runtime.run(main)
''' % os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=60)
    assert not done.returncode, done.stderr
    size, kilobytes = map(int, done.stdout.split())
    assert size == 64 << 20 and kilobytes < 2048


def test_a_plain_connection_loads_neither_tls_nor_http_nor_websockets():
    program = '''
import sys
sys.path.insert(0, %r)
from ioto import runtime
from ioto.mqtt.transport import connect
async def main():
    await (await connect('127.0.0.1', (await runtime.listen('127.0.0.1:0', lambda stream: stream.close())).port)).close()
runtime.run(main)
print(*[name for name in sys.modules if name.startswith(('ioto.http', 'ioto.websocket', 'ioto.url', 'ioto.web', 'ssl'))])
''' % os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ''), done.stderr
