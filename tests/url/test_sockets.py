"""WebSockets of the client: handshake, echo, limits, life and death; over TLS, through proxies, with servers of others."""

import os
import zlib

import pytest

from ioto import runtime, url
from ioto.runtime.tls import server_context
from ioto.url import Client, ConnectError, ProtocolError, StatusError, TimeoutError, UrlError
from ioto.web import Server
from ioto.websocket.handshake import accept_key
from tests.url import peer
from tests.url.support import OK, Script, answer, read_request, serve, tunnel

MESSAGES = ['', 'Hello', b'', b'\0', 'ä€😀' * 50, 'x' * 125, 'x' * 126, b'y' * 65535, 'z' * 65536, os.urandom(300_000)]

WEBSOCKETS = '''
import sys
from websockets.sync.server import serve

def echo(socket):
    for message in socket:
        if message == 'close':
            socket.close(4001, 'as asked')
        socket.send(message if message != 'fragments' else iter(['frag', 'ments', ' of one']))

serve(echo, '127.0.0.1', int(sys.argv[1]), subprotocols=['chat'], compression='deflate' if sys.argv[2] == '1' else None).serve_forever()
'''


def frame(first, payload=b''):
    """A short frame of a server."""
    return bytes((first, len(payload))) + payload


def head(asked, *fields):
    lines = ['HTTP/1.1 101 X', 'Upgrade: websocket', 'Connection: Upgrade',
             f'Sec-WebSocket-Accept: {accept_key(asked.fields["sec-websocket-key"])}', *fields, '', '']
    return '\r\n'.join(lines).encode()


class Raw:
    """A server that upgrades, sends `data`, and then runs `await then(stream)`, by default until the client closes."""

    def __init__(self, data=b'', *fields, then=None):
        self.data, self.fields, self.then, self.got = data, fields, then, b''

    async def __call__(self, stream):
        self.asked = await read_request(stream)
        await stream.write(head(self.asked, *self.fields) + self.data)
        try:
            if self.then:
                await self.then(stream)
            else:
                while data := await stream.read():
                    self.got += (frames := unmask(data))
                    if b'\x88' in frames:
                        break
        except OSError:
            pass


def unmask(data):
    """The frames of a client, without their masks."""
    out = b''
    while data:
        size, key, payload = data[1] & 127, data[2:6], data[6:]
        assert data[1] & 128 and size < 126
        out += bytes((data[0], size)) + bytes(byte ^ key[at & 3] for at, byte in enumerate(payload[:size]))
        data = payload[size:]
    return out


async def own_server(action, **config):
    server = Server({'listen': ['http://127.0.0.1:0'], **config})
    server.action('/')(action)
    await server.start()
    return server, f'ws://127.0.0.1:{server.listeners[0].port}/'


async def echo(web):
    socket = await web.upgrade(subprotocols=['chat'])
    async for message in socket:
        await socket.send(message)


async def exchange(socket):
    """What any echo has to do for us."""
    for message in MESSAGES:
        await socket.send(message)
        assert await socket.receive() == message
    for message in MESSAGES[:-1]:
        await socket.send(message)
    assert [await socket.receive() for _ in MESSAGES[:-1]] == MESSAGES[:-1]
    await socket.ping(b'there?')


def run(main, limit=20, **options):
    async def inside():
        async with runtime.timeout(limit), Client(proxy=False, **options) as client:
            await main(client)
            assert not client.pool.count - sum(map(len, client.pool.idle.values()))
    runtime.run(inside)


# Servers

@pytest.mark.parametrize('deflate', [True, False])
def test_our_own_server(deflate):
    async def main(client):
        server, where = await own_server(echo)
        async with client.websocket(where, subprotocols=['other', 'chat'], deflate=deflate) as socket:
            assert socket.subprotocol == 'chat' and socket.code is None
            await exchange(socket)
        assert (socket.code, socket.reason) == (1000, '')
        socket = await client.websocket(where.replace('ws', 'http'))
        assert socket.subprotocol is None
        await socket.close(4000, 'enough')
        assert (socket.code, socket.reason) == (4000, 'enough')
        await server.stop(1)
    run(main)


@pytest.mark.parametrize('deflate', ['1', '0'])
def test_the_package_websockets(deflate):
    port = peer.free_port()
    with peer.child(port, peer.package('websockets'), '-c', WEBSOCKETS, port, deflate):
        async def main(client):
            async with client.websocket(f'ws://127.0.0.1:{port}/', subprotocols=['chat']) as socket:
                assert socket.subprotocol == 'chat'
                await exchange(socket)
                await socket.send('fragments')
                assert await socket.receive() == 'fragments of one'
                await socket.send('close')
                assert [message async for message in socket] == []
            assert (socket.code, socket.reason) == (4001, 'as asked')
        run(main)


def test_tls_and_a_tunnel_through_a_proxy_with_a_user(certs):
    seen = []

    async def relay(stream):
        seen.append(asked := await read_request(stream))
        await tunnel(stream, asked)

    async def main(client):
        handler = Raw(frame(0x81, b'hi'))
        async with (await runtime.listen('127.0.0.1:0', handler, tls=server_context(str(certs / 'server.crt'), str(certs / 'server.key'))) as server,
                    await runtime.listen('127.0.0.1:0', relay) as proxy):
            where = f'wss://127.0.0.1:{server.port}/x?y'
            async with client.websocket(where) as socket:
                assert await socket.receive() == 'hi'
            async with Client(proxy=f'http://me:pw@127.0.0.1:{proxy.port}', authority=str(certs / 'ca.crt')) as other:
                async with other.websocket(where, headers={'X-Own': '1'}, bearer='secret') as socket:
                    assert await socket.receive() == 'hi'
            assert handler.asked.line == 'GET /x?y HTTP/1.1' and handler.asked.fields['x-own'] == '1'
            assert handler.asked.fields['authorization'] == 'Bearer secret'
            with pytest.raises(UrlError, match='certificate'):
                await Client(proxy=False).websocket(where)
    run(main, authority=str(certs / 'ca.crt'))
    assert [asked.method for asked in seen] == ['CONNECT'] and seen[0].fields['proxy-authorization']


def test_redirects_and_challenges_are_met():
    async def handler(stream):
        asked = await read_request(stream)
        if asked.target == '/':
            await stream.write(answer(302, 'Location: http://127.0.0.1:%d/there' % stream.sock.getsockname()[1]))
            asked = await read_request(stream)
        assert asked.target == '/there'
        await stream.write(answer(401, 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'))
        asked = await read_request(stream)
        assert asked.fields['authorization'].startswith('Digest')
        await stream.write(head(asked) + frame(0x88, b'\x03\xe8'))
        await stream.read()

    async def main(client, base):
        async with client.websocket(base, auth=('me', 'pw')) as socket:
            assert [message async for message in socket] == []
        assert socket.code == 1000
    serve(main, handler)


def test_the_function_uses_the_client_of_the_scheduler():
    async def main(_client, base):
        for _ in range(2):
            async with url.websocket(base) as socket:
                assert await socket.receive() == 'hi'
    serve(main, Raw(frame(0x81, b'hi')))


# Handshakes that fail

@pytest.mark.parametrize('data, kind, why', [
    (OK, ProtocolError, 'status 200'), (answer(403), StatusError, 'expected 101 for GET, got 403'), (answer(426), StatusError, '426'), (answer(302), StatusError, '302'),
    (None, ProtocolError, 'before its answer'), (b'HTTP/1.1 101 X\r\n\r\n', ProtocolError, 'no upgrade'), (b'SSH-2.0-x\r\n\r\n', ProtocolError, 'bad answer'),
    (b'HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n', ProtocolError, 'Accept'),
    (answer(302, 'Location: ftp://a/'), ProtocolError, 'redirect')])
def test_an_answer_that_is_no_upgrade_is_an_error(data, kind, why):
    async def main(client, base):
        with pytest.raises(kind, match=why):
            await client.websocket(base)
    serve(main, Script(lambda asked: data))


@pytest.mark.parametrize('field', ['Sec-WebSocket-Protocol: other', 'Sec-WebSocket-Extensions: x-none',
                                   'Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99'])
def test_what_was_not_offered_is_refused(field):
    async def main(client, base):
        with pytest.raises(ProtocolError, match='not offered'):
            await client.websocket(base, subprotocols=['chat'])
    serve(main, Raw(b'', field))


@pytest.mark.parametrize('options', [{'subprotocols': ['a\r\nX: y']}, {'headers': {'X': 'a\nb'}}])
def test_no_field_is_injected(options):
    async def main(client, base):
        with pytest.raises(UrlError, match='bad field'):
            await client.websocket(base, **options)
    serve(main, Script(lambda asked: None))


def test_a_handshake_ends_in_time():
    async def silent(stream):
        await stream.read()
        await stream.read()

    async def main(client, base):
        with pytest.raises(TimeoutError):
            await client.websocket(base, timeout=.1)
        with pytest.raises(OSError):
            async with runtime.timeout(.1):
                await client.websocket(base)
    serve(main, silent)


# What the server sends

@pytest.mark.parametrize('data, code', [
    (frame(0x81, b'\xff'), 1007), (frame(0x83), 1002), (frame(0xc1), 1002), (b'\x81\x81aaaab', 1002), (b'\x82\x7f' + (65536).to_bytes(8), 1009),
    (frame(0x80), 1002), (frame(0x09), 1002), (frame(0x88, b'\0\1'), 1002), (frame(2, b'x' * 60) + frame(0, b'x' * 60), 1009)])
def test_a_violation_ends_it_with_its_code(data, code):
    raw = Raw(frame(0x81, b'first') + data)

    async def main(client, base):
        async with client.websocket(base, message=100) as socket:
            assert [message async for message in socket] == ['first']
            assert socket.code == code
            with pytest.raises(ConnectError, match=str(code)):
                await socket.receive()
            with pytest.raises(ConnectError):
                await socket.send('x')
    serve(main, raw)
    assert raw.got[:1] == b'\x88' and raw.got[2:4] == code.to_bytes(2)


def test_a_bomb_is_stopped_at_the_limit():
    engine = zlib.compressobj(wbits=-15)
    bomb = (engine.compress(bytes(50 << 20)) + engine.flush(zlib.Z_SYNC_FLUSH))[:-4]

    async def main(client, base):
        async with client.websocket(base) as socket:
            assert [message async for message in socket] == [] and socket.code == 1009
    serve(main, Raw(b'\xc2\x7e' + len(bomb).to_bytes(2) + bomb, 'Sec-WebSocket-Extensions: permessage-deflate'))


def test_pings_are_answered_while_nobody_asks_for_messages():
    raw = Raw(frame(0x89, b'you?') + frame(0x88, b'\x03\xe9bye'))

    async def main(client, base):
        socket = await client.websocket(base)
        while socket.code is None:
            await runtime.sleep(.005)
        assert (socket.code, socket.reason) == (1001, 'bye')
        await socket.close()
        await socket.close()
    serve(main, raw)
    assert raw.got == frame(0x8a, b'you?') + frame(0x88, b'\x03\xe9bye')


def test_a_server_that_goes_without_a_word_is_1006():
    async def gone(_stream):
        pass

    async def main(client, base):
        async with client.websocket(base) as socket:
            assert [message async for message in socket] == ['hi']
        assert socket.code == 1006 and socket.reason == 'the server has gone'
    serve(main, Raw(frame(0x81, b'hi'), then=gone))


# Life and death

def test_a_silent_server_is_asked_and_dropped():
    async def main(client, base):
        async with client.websocket(base, ping=.05) as socket:
            with pytest.raises(ConnectError, match='no sign of life'):
                await socket.receive()
    raw = Raw(then=lambda stream: until_cut(stream, raw))
    serve(main, raw)
    assert raw.got == frame(0x89)


async def until_cut(stream, raw):
    while data := await stream.read():
        raw.got += unmask(data)


def test_a_server_that_answers_pings_is_kept():
    async def main(client):
        server, where = await own_server(echo)
        async with client.websocket(where, ping=.02) as socket:
            await runtime.sleep(.3)
            await socket.send('still')
            assert await socket.receive() == 'still'
        await server.stop(1)
    run(main)


def test_who_takes_nothing_is_dropped():
    async def main(client, base):
        async with client.websocket(base, timeout={'idle': .1}, deflate=False) as socket:
            with pytest.raises(ConnectError, match='nothing went'):
                while True:
                    await socket.send(b'x' * 100_000)
    serve(main, Raw(then=lambda stream: runtime.sleep(1)))


def test_a_message_whose_sender_gave_up_still_goes_out_whole():
    got = []

    async def later(stream):
        await runtime.sleep(.1)
        while data := await stream.read():
            got.append(data)

    async def main(client, base):
        socket = await client.websocket(base, deflate=False)
        with pytest.raises(OSError):
            async with runtime.timeout(.05):
                await socket.send(bytes(20_000_000))
        while sum(map(len, got)) < 20_000_000 + 14:
            await runtime.sleep(.01)
        socket._drop('')
    serve(main, Raw(then=later), limit=5)


def test_the_closing_handshake_is_bounded(monkeypatch):
    monkeypatch.setattr('ioto.url.sockets.CLOSING', .1)

    async def main(client, base):
        socket = await client.websocket(base)
        await socket.close()
        assert (socket.code, socket.reason) == (1006, 'no answer to the close')
    serve(main, Raw(then=lambda stream: runtime.sleep(.3)))


def test_a_server_that_does_not_disconnect_is_cut(monkeypatch):
    monkeypatch.setattr('ioto.url.sockets.CLOSING', .1)

    async def main(client, base):
        async with client.websocket(base) as socket:
            assert [message async for message in socket] == []
        assert socket.code == 1000 and socket._stream.closed
    serve(main, Raw(frame(0x88, b'\x03\xe8'), then=lambda stream: runtime.sleep(.3)))


def test_a_reader_that_is_slow_slows_the_server():
    sent = []

    async def flood(stream):
        for number in range(400):
            await stream.write(b'\x82\x7e' + (60_000).to_bytes(2) + bytes(60_000))
            sent.append(number)
        await stream.write(frame(0x88, b'\x03\xe8'))
        await stream.read()

    async def main(client, base):
        async with client.websocket(base, ping=.05) as socket:
            await runtime.sleep(.3)
            assert len(sent) < 300 and socket._size < 200_000
            assert len([message async for message in socket]) == 400 and socket.code == 1000
    serve(main, Raw(then=flood))


def test_closing_does_not_wait_for_messages_that_nobody_wants():
    async def flood(stream):
        while True:
            await stream.write((b'\x82\x7e' + (1000).to_bytes(2) + bytes(1000)) * 60)

    async def main(client, base):
        socket = await client.websocket(base)
        await runtime.sleep(.05)
        await socket.close()
        assert socket.code in (1000, 1006)

    async def flood_until_close(stream):
        async with runtime.TaskGroup() as group:
            flooding = group.spawn(flood(stream))
            await stream.read()
            flooding.cancel()
    serve(main, Raw(then=flood_until_close))


@pytest.mark.parametrize('ending', ['error', 'cancelled'])
def test_a_block_that_fails_closes_at_once(ending):
    async def main(client, base):
        with pytest.raises(KeyError if ending == 'error' else OSError):
            async with runtime.timeout(.1):
                async with client.websocket(base) as socket:
                    if ending == 'error':
                        raise KeyError
                    await socket.receive()
        assert socket._stream.closed
        await runtime.sleep(.01)
    raw = Raw()
    serve(main, raw)
    assert raw.got == frame(0x88, b'\x03\xf3')


def test_one_that_is_left_open_ends_with_the_scheduler():
    async def main(client, base):
        await client.websocket(base)
    serve(main, Raw())


def test_several_fibers_send_and_one_receives():
    async def main(client):
        server, where = await own_server(echo)
        async with client.websocket(where) as socket, runtime.TaskGroup() as group:
            async def send(number):
                for _ in range(20):
                    await socket.send(str(number) * 2000)
            for number in range(5):
                group.spawn(send(number))
            found = [await socket.receive() for _ in range(100)]
            assert sorted(found) == sorted(str(number) * 2000 for number in range(5) for _ in range(20))
        await server.stop(1)
    run(main)


@pytest.mark.parametrize('code, reason', [(1005, ''), (999, ''), (1000, 'x' * 124)])
def test_what_no_close_frame_can_say_is_refused(code, reason):
    async def main(client, base):
        async with client.websocket(base) as socket:
            with pytest.raises(ValueError):
                await socket.close(code, reason)
    serve(main, Raw())
