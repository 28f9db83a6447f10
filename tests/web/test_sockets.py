"""WebSockets of the server: handshake, echo, every violation with its close code, life and death, clients that read slowly."""

import os
import subprocess
import zlib

import pytest

from ioto import runtime
from ioto.web import Disconnected
from tests.web.opened import handshake, open_socket, read_frame, serve, slow_client, until
from tests.web.support import connect
from tests.websocket.feeding import frame
from tools import peers

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8a
PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'socketpeer.py')


def closing(code, reason=''):
    return code.to_bytes(2) + reason.encode()


class Echo:
    """An action that echoes; `.socket` is its last one, `.ended` how they closed."""

    def __init__(self, **options):
        self.options, self.ended = options, []

    async def __call__(self, web):
        self.socket = socket = await web.upgrade(**self.options)
        async for message in socket:
            await socket.send(message)
        self.ended.append((socket.code, socket.reason))


@pytest.fixture
def echo():
    return Echo()


def run(main, echo, config=None):
    return serve(main, config, {'/': echo})


# The handshake

@pytest.mark.parametrize('status, request_', [
    (426, handshake(Connection=None, Upgrade=None)),
    (426, handshake(Upgrade='h2c')),
    (426, handshake(Sec_WebSocket_Version='8')),
    (426, handshake(Sec_WebSocket_Version=None)),
    (426, handshake(version='1.0')),
    (400, handshake(Connection='keep-alive')),
    (400, handshake(Sec_WebSocket_Key=None)),
    (400, handshake(Sec_WebSocket_Key='short')),
    (400, handshake(Sec_WebSocket_Extensions='=')),
    (400, handshake(Content_Length='1') + b'x'),
    (405, handshake(method='POST')),
    (405, handshake(method='HEAD')),
    (403, handshake(Origin='http://evil.example')),
    (403, handshake(Origin='http://test:81')),
    (403, handshake(Origin='http://test.evil.example')),
    (403, handshake(Origin='null')),
    (403, handshake(Origin='http://test, http://test')),
])
def test_refuses_a_bad_handshake(status, request_, echo):
    async def main(client, server):
        answer = await client.ask(request_)
        assert answer.status == status
        assert 'date' in answer.fields and ('head' in request_.decode().lower()[:4] or answer.fields['content-length'])
        if status == 426:
            assert answer.fields['sec-websocket-version'] == '13' and answer.fields['upgrade'] == 'websocket'
        if b'/1.0' not in request_:
            assert (await client.ask('GET /other')).status == 426      # the connection is still one of HTTP
    run(main, echo)


@pytest.mark.parametrize('origin, options', [
    (None, {}), ('http://test', {}), ('https://TEST', {}), ('http://app.example', {'origins': ['http://app.example']}),
    ('http://test', {'origins': ['http://app.example']}), ('http://evil.example', {'origins': '*'}), ('null', {'origins': ['*']}),
])
def test_opens_for_pages_of_this_host_and_those_named(origin, options):
    async def main(client, server):
        await open_socket(client, Origin=origin)
    run(main, Echo(**options))


def test_the_answer_has_the_fields_of_the_server_the_route_and_the_action():
    async def action(web):
        web.set_cookie('seen', '1')
        await web.upgrade()

    async def main(client, server):
        answer = await open_socket(client)
        assert answer.fields['sec-websocket-accept'] == 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
        assert answer.fields['connection'] == 'Upgrade' and answer.fields['x-route'] == 'yes' and answer.fields['x-server'] == 'so'
        assert 'seen=1' in answer.fields['set-cookie'] and 'date' in answer.fields
        assert 'content-length' not in answer.fields and 'transfer-encoding' not in answer.fields
    run(main, action, {'headers': {'X-Server': 'so'}, 'routes': [{'headers': {'X-Route': 'yes'}}]})


@pytest.mark.parametrize('asked, agreed', [('b, a', 'b'), ('c, a', 'a'), ('c', None), (None, None)])
def test_agrees_on_the_first_subprotocol_that_the_client_asks_for(asked, agreed):
    echo = Echo(subprotocols=['a', 'b'])

    async def main(client, server):
        answer = await open_socket(client, Sec_WebSocket_Protocol=asked)
        assert answer.fields.get('sec-websocket-protocol') == agreed
        assert echo.socket.subprotocol == agreed and echo.socket.remote == '127.0.0.1' and echo.socket.user is None
    run(main, echo)


# Messages

def test_echoes_what_came_behind_the_handshake_in_the_same_packet(echo):
    async def main(client, server):
        await open_socket(client, more=frame(TEXT, b'first') + frame(BINARY, b'\0second')[:7])
        assert await read_frame(client.stream) == (TEXT, b'first')
        await client.stream.write(frame(BINARY, b'\0second')[7:])
        assert await read_frame(client.stream) == (BINARY, b'\0second')
        await client.stream.write(frame(CLOSE, closing(1000, 'done')))
        assert await read_frame(client.stream) == (CLOSE, closing(1000, 'done'))
        assert await client.closed()
    run(main, echo)
    assert echo.ended == [(1000, 'done')]


@pytest.mark.parametrize('size', [0, 1, 125, 126, 65535, 65536, 1 << 20])
def test_echoes_messages_of_every_length(size, echo):
    async def main(client, server):
        await open_socket(client)
        sender = runtime.spawn(client.stream.write(frame(BINARY, os.urandom(1) * size)))
        first, payload = await read_frame(client.stream)
        assert first == BINARY and len(payload) == size
        await sender.join()
    run(main, echo)


def test_answers_a_ping_between_fragments_at_once(echo):
    async def main(client, server):
        await open_socket(client)
        await client.stream.write(frame(0x01, 'ä'.encode()[:1]) + frame(PING, b'there?'))
        assert await read_frame(client.stream) == (PONG, b'there?')
        await client.stream.write(frame(0x00, b'') + frame(0x80, 'ä'.encode()[1:]))
        assert await read_frame(client.stream) == (TEXT, 'ä'.encode())
    run(main, echo)


def test_messages_of_one_read_are_answered_in_one_write(echo, monkeypatch):
    async def main(client, server):
        await open_socket(client)
        sends = []
        stream = next(iter(server.connections)).stream
        transmit = type(stream).transmit
        monkeypatch.setattr(type(stream), 'transmit', lambda self, data: (sends.append(len(data)) if self is stream else None, transmit(self, data))[1])
        await client.stream.write(frame(TEXT, b'x' * 64) * 100)
        assert len(await client.stream.read_exactly(6600)) == 6600
        assert sends == [6600]
    run(main, echo)


def test_text_and_bytes_are_told_apart_and_receive_gives_one_message():
    async def action(web):
        socket = await web.upgrade()
        assert await socket.receive() == 'text' and await socket.receive() == b'bytes'
        await socket.ping(b'mine')
        with pytest.raises(ValueError):
            await socket.ping(b'x' * 126)
        with pytest.raises(Disconnected):
            await socket.receive()
        with pytest.raises(Disconnected):
            await socket.send('late')
        with pytest.raises(Disconnected):
            await socket.ping()
        assert (socket.code, socket.reason) == (1005, '') and socket.closed

    async def main(client, server):
        await open_socket(client, more=frame(TEXT, b'text') + frame(BINARY, b'bytes'))
        assert await read_frame(client.stream) == (PING, b'mine')
        await client.stream.write(frame(CLOSE))
        assert await read_frame(client.stream) == (CLOSE, b'')
        assert await client.closed()
    run(main, action)


def test_messages_of_several_reads_keep_their_order():
    async def action(web):
        socket = await web.upgrade()
        socket.feed(frame(TEXT, b'1') + frame(TEXT, b'2'))
        socket.feed(frame(TEXT, b'3') + frame(TEXT, b'4'))
        found.extend([await socket.receive() for _ in range(4)])

    async def main(client, server):
        await open_socket(client)
        await read_frame(client.stream)
    found = []
    run(main, action)
    assert found == ['1', '2', '3', '4']


def test_an_iteration_may_be_left_and_taken_up_again():
    async def action(web):
        socket = await web.upgrade()
        async for message in socket:
            found.append(message)
            break
        found.append(await socket.receive())
        found.extend([message async for message in socket])

    async def main(client, server):
        await open_socket(client, more=frame(TEXT, b'1') + frame(TEXT, b'2') + frame(TEXT, b'3') + frame(CLOSE))
        assert await read_frame(client.stream) == (CLOSE, b'')
        assert await client.closed()
    found = []
    run(main, action)
    assert found == ['1', '2', '3']


def test_two_fibers_read_and_send_at_once():
    """One sends what it likes while the action echoes: order and frames stay whole."""
    async def action(web):
        socket = await web.upgrade()
        other = runtime.spawn(talk(socket))
        async for message in socket:
            await socket.send(message)
        await other.join()

    async def talk(socket):
        for n in range(500):
            await socket.send(str(n))

    async def main(client, server):
        await open_socket(client)
        sender = runtime.spawn(client.stream.write(b''.join(frame(BINARY, str(n).encode()) for n in range(3000))))
        frames = [await read_frame(client.stream) for _ in range(3500)]
        for first, count in ((TEXT, 500), (BINARY, 3000)):
            assert [payload for kind, payload in frames if kind == first] == [b'%d' % n for n in range(count)]
        await sender.join()
    run(main, action)


# Violations

@pytest.mark.parametrize('code, data', [
    (1002, frame(0xc1, b'compressed, which was not agreed on')),
    (1002, frame(0xa1, b'reserved bit')),
    (1002, frame(0x91, b'reserved bit')),
    (1002, frame(0x83, b'reserved opcode')),
    (1002, frame(0x8b, b'reserved opcode')),
    (1002, frame(TEXT, b'unmasked', key=None)),
    (1002, frame(0x80, b'continues nothing')),
    (1002, frame(0x01, b'a') + frame(TEXT, b'b')),
    (1002, frame(0x09, b'a fragment of a ping')),
    (1002, frame(PING, b'x' * 126)),
    (1002, frame(CLOSE, b'x' * 126)),
    (1002, frame(CLOSE, b'\x03')),
    (1002, frame(TEXT, b'x', size=2)),
    (1002, frame(TEXT, b'x', length=1 << 63, size=8)),
    *[(1002, frame(CLOSE, closing(bad))) for bad in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)],
    (1007, frame(CLOSE, closing(1000) + b'\xff')),
    (1007, frame(TEXT, b'\xc3')),
    (1007, frame(TEXT, b'\xed\xa0\x80')),
    (1007, frame(0x01, b'\xf0\x9f') + frame(0x00, b'x')),
    (1009, frame(BINARY, b'', length=3001)),
    (1009, frame(0x01, b'x' * 3000) + frame(0x80, b'x' * 2001)),
])
def test_closes_with_the_code_of_the_violation(code, data, echo):
    async def main(client, server):
        await open_socket(client, more=frame(TEXT, b'before'))
        assert await read_frame(client.stream) == (TEXT, b'before')
        await client.stream.write(data)
        first, payload = await read_frame(client.stream)
        assert first == CLOSE and int.from_bytes(payload[:2]) == code
        assert await client.closed()
    run(main, echo, {'limits': {'frame': 3000, 'message': 5000}})
    assert echo.ended[0][0] == code


def test_a_route_has_limits_of_its_own(echo):
    async def main(client, server):
        await open_socket(client, more=frame(TEXT, b'12345'))
        assert (await read_frame(client.stream))[1][:2] == closing(1009)
    run(main, echo, {'routes': [{'match': '/', 'limits': {'message': 4}}]})


# Compression

def deflated(data, compressor=None):
    compressor = compressor or zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize('offer, answer', [
    ('permessage-deflate', 'permessage-deflate'),
    ('permessage-deflate; client_no_context_takeover; server_no_context_takeover; server_max_window_bits=9',
     'permessage-deflate; client_no_context_takeover; server_no_context_takeover; server_max_window_bits=9'),
    ('permessage-deflate; server_max_window_bits=8, permessage-deflate', 'permessage-deflate'),
])
def test_compresses_as_agreed(offer, answer, echo):
    async def main(client, server):
        found = await open_socket(client, Sec_WebSocket_Extensions=offer)
        assert found.fields['sec-websocket-extensions'] == answer
        bits = 9 if 'bits=9' in answer else 15
        reader = zlib.decompressobj(-bits)
        for _ in range(3):
            await client.stream.write(frame(0xc1, deflated(b'again and again ' * 50)))
            first, payload = await read_frame(client.stream)
            if 'server_no' in answer:
                reader = zlib.decompressobj(-bits)
            assert first == 0xc1 and reader.decompress(payload + b'\0\0\xff\xff') == b'again and again ' * 50
            assert len(payload) < 100
    run(main, echo)


def test_an_action_may_decline_compression():
    async def main(client, server):
        answer = await open_socket(client, Sec_WebSocket_Extensions='permessage-deflate')
        assert 'sec-websocket-extensions' not in answer.fields
    run(main, Echo(deflate=False))


def test_a_bomb_is_stopped_at_the_limit(echo):
    async def main(client, server):
        await open_socket(client, Sec_WebSocket_Extensions='permessage-deflate')
        await client.stream.write(frame(0xc2, deflated(bytes(20 << 20))))
        assert (await read_frame(client.stream))[1][:2] == closing(1009)
    run(main, echo)


@pytest.mark.parametrize('ahead, behind', [(2, 50), (50, 2)])
def test_many_small_bombs_wait_on_the_connection(ahead, behind):
    async def action(web):
        socket = await web.upgrade()
        sizes.append(len(await socket.receive()) + sum(map(len, socket.messages)))

    async def main(client, server):
        await open_socket(client, Sec_WebSocket_Extensions='permessage-deflate',
                          more=b''.join(frame(0xc2, deflated(bytes(1 << 20))) for _ in range(ahead)))
        await client.stream.write(b''.join(frame(0xc2, deflated(bytes(1 << 20))) for _ in range(behind)))
        assert (await read_frame(client.stream))[1][:2] == closing(1000)
    sizes = []
    run(main, action)
    assert sizes[0] <= 5 << 20


# The end

@pytest.mark.parametrize('ends, code', [(None, 1000), (ValueError('mine'), 1011)])
def test_the_end_of_the_action_closes(ends, code):
    async def action(web):
        await web.upgrade()
        if ends:
            raise ends

    async def main(client, server):
        await open_socket(client, more=frame(TEXT, b'unread'))
        assert await read_frame(client.stream) == (CLOSE, closing(code))
        await client.stream.write(frame(CLOSE, closing(code)))
        assert await client.closed()
    run(main, action)


def test_close_waits_for_the_answer_and_drops_what_comes_before_it():
    async def action(web):
        socket = await web.upgrade()
        for code, reason in ((1006, ''), (4999999, ''), (1000, 'x' * 124)):
            with pytest.raises((ValueError, OverflowError)):
                await socket.close(code, reason)
        await socket.close(4001, 'enough')
        assert (socket.code, socket.reason) == (4001, 'enough')
        assert [message async for message in socket] == []
        await socket.close()

    async def main(client, server):
        await open_socket(client)
        assert await read_frame(client.stream) == (CLOSE, closing(4001, 'enough'))
        await client.stream.write(frame(TEXT, b'under way') + frame(CLOSE, closing(4001, 'enough')))
        assert await client.closed()
    run(main, action)


def test_a_client_that_does_not_answer_the_close_is_cut_off(monkeypatch):
    monkeypatch.setattr('ioto.web.sockets.CLOSING', 0.2)

    async def action(web):
        socket = await web.upgrade()
        await socket.close()
        assert socket.code == 1006

    async def main(client, server):
        await open_socket(client)
        assert await read_frame(client.stream) == (CLOSE, closing(1000))
        assert await client.closed()
    run(main, action)


@pytest.mark.parametrize('leave', ['half close', 'reset'])
def test_a_client_that_goes_without_a_close_ends_the_iteration(leave, echo):
    async def main(client, server):
        await open_socket(client, more=frame(TEXT, b'x'))
        assert await read_frame(client.stream) == (TEXT, b'x')
        if leave == 'half close':
            client.stream.shutdown()
            assert await client.closed()
        else:
            client.stream.abort()
        await until(lambda: echo.ended, 'the action ends')
    run(main, echo)
    assert echo.ended == [(1006, '')]


def test_another_fiber_may_close_and_another_may_read():
    async def action(web):
        socket = await web.upgrade()
        other = runtime.spawn(socket.close(4000) if web.query == 'close' else collect(socket))
        if web.query == 'close':
            await collect(socket)
            assert socket.code == 4000
        else:
            await runtime.sleep(0.05)
            await socket.close(4000)
        await other.join()

    async def collect(socket):
        found.extend([message async for message in socket])

    async def main(client, server):
        for query in ('close', 'read'):
            one = await connect(server)
            await open_socket(one, f'/?{query}', more=frame(TEXT, b'x'))
            assert await read_frame(one.stream) == (CLOSE, closing(4000))
            await one.stream.write(frame(CLOSE, closing(4000)))
            assert await one.closed()
            await one.stream.close()
    found = []
    run(main, action)
    assert found == ['x', 'x']


def test_the_request_is_over_for_the_other_ways_to_answer():
    async def action(web):
        socket = await web.upgrade()
        with pytest.raises(RuntimeError):
            await web.write('x')
        with pytest.raises(RuntimeError):
            await web.error(500)
        await socket.send('fine')
        return {'not': 'sent'}

    async def main(client, server):
        await open_socket(client)
        assert await read_frame(client.stream) == (TEXT, b'fine')
        assert (await read_frame(client.stream))[0] == CLOSE
        await client.stream.write(frame(CLOSE, closing(1000)))
        assert await client.closed()
    run(main, action)


def test_a_stopping_server_says_1001(echo):
    async def main(client, server):
        await open_socket(client)
        lazy = await connect(server)
        await open_socket(lazy)
        assert server.stats['active'] == 0
        stopping = runtime.spawn(server.stop(0.5))
        assert (await read_frame(client.stream))[1][:2] == closing(1001)
        assert (await read_frame(lazy.stream))[1][:2] == closing(1001)
        await client.stream.write(frame(CLOSE, closing(1001)))
        assert await client.closed()
        assert not stopping.done
        assert await lazy.closed()              # cut off after the grace
        await stopping.join()
        await lazy.stream.close()
    run(main, echo)
    assert echo.ended[0][0] == 1001


# Time

def test_a_silent_client_is_pinged_and_then_dropped(echo):
    async def main(client, server):
        await open_socket(client)
        for _ in range(3):
            assert await read_frame(client.stream) == (PING, b'')
            await client.stream.write(frame(PONG))
        began = runtime.now()
        assert await read_frame(client.stream) == (PING, b'')
        assert await read_frame(client.stream) is None
        assert 0.1 <= runtime.now() - began < 5
        await until(lambda: echo.ended, 'the action ends')
    run(main, echo, {'timeouts': {'ping': 0.1}})
    assert echo.ended == [(1006, '')]


def test_no_other_timeout_cuts_an_open_socket(echo):
    async def main(client, server):
        await open_socket(client)
        await runtime.sleep(0.4)
        await client.stream.write(frame(TEXT, b'still here'))
        assert await read_frame(client.stream) == (TEXT, b'still here')
    run(main, echo, {'timeouts': {'ping': 'never', 'inactivity': 0.1, 'request': 0.1}})


def test_an_action_that_only_sends_answers_pings_and_sees_the_close(monkeypatch):
    monkeypatch.setattr('ioto.web.outlet.LOOK', 0.02)

    async def action(web):
        socket = await web.upgrade()
        with pytest.raises(Disconnected):
            while True:
                await socket.send('tick')
                await runtime.sleep(0.01)
        ended.append(socket.code)

    async def main(client, server):
        await open_socket(client)
        await client.stream.write(frame(PING, b'?'))
        while (found := await read_frame(client.stream)) != (PONG, b'?'):
            assert found == (TEXT, b'tick')
        await client.stream.write(frame(CLOSE, closing(1001)))
        while (found := await read_frame(client.stream)) != (CLOSE, closing(1001)):
            assert found == (TEXT, b'tick')
    ended = []
    run(main, action)
    assert ended == [1001]


def test_an_action_that_does_nothing_still_answers_and_is_not_dropped():
    async def action(web):
        socket = await web.upgrade()
        await runtime.sleep(0.5)
        assert socket.code is None

    async def main(client, server):
        await open_socket(client)
        for _ in range(2):
            assert await read_frame(client.stream) == (PING, b'')
            await client.stream.write(frame(PONG))
    run(main, action, {'timeouts': {'ping': 0.1}})


def test_pings_to_an_action_that_does_nothing_are_answered_before_the_client_gives_up(monkeypatch):
    monkeypatch.setattr('ioto.web.outlet.UNREAD', 0.05)

    async def action(web):
        socket = await web.upgrade()
        await runtime.sleep(2)
        assert socket.code is None

    async def main(client, server):
        await open_socket(client)
        assert await read_frame(client.stream) == (PING, b'')
        for _ in range(3):
            began = runtime.now()
            await client.stream.write(frame(PING, b'?'))
            assert await read_frame(client.stream) == (PONG, b'?')
            assert runtime.now() - began < 0.3
    run(main, action, {'timeouts': {'ping': 0.6}})


# Clients that read slowly

def test_the_action_itself_waits_for_a_slow_client_and_then_drops_it():
    async def action(web):
        socket = await web.upgrade()
        with pytest.raises(Disconnected):
            while True:
                sent.append(socket.stream.queued_bytes)
                await socket.send(b'x' * 2000)
        ended.append(runtime.now())

    async def main(client, server):
        began = runtime.now()
        with await slow_client(server, handshake()):
            await until(lambda: ended, 'the client is dropped')
        assert 0.2 < ended[0] - began < 5
        assert max(sent) < 20000
    sent, ended = [], []
    run(main, action, {'timeouts': {'inactivity': 0.2}})


def test_a_client_that_pings_and_reads_no_pongs_is_dropped(echo):
    async def main(client, server):
        with await slow_client(server, handshake()) as sock:
            sock.setblocking(False)
            stream = None
            while not echo.ended:
                try:
                    sock.send(frame(PING, b'x' * 125) * 100)
                except OSError:
                    pass
                await runtime.sleep(0.01)
                stream = stream or echo.socket.stream
                assert stream.queued_bytes < 200_000
    run(main, echo, {'timeouts': {'inactivity': 0.2}})
    assert echo.ended == [(1006, '')]


def test_one_who_sends_to_many_waits_for_none():
    async def action(web):
        socket = await web.upgrade()
        sockets.append(socket)
        async for _ in socket:
            pass

    async def main(client, server):
        others = [await connect(server) for _ in range(20)]
        for other in others:
            await open_socket(other)
        with await slow_client(server, handshake()):
            await until(lambda: len(sockets) == 21, 'all are open')
            stuck = sockets[-1]
            dropped, highest = [], 0
            for _ in range(200):
                for socket in [socket for socket in sockets if socket not in dropped]:
                    try:
                        await socket.send(b'x' * 1000)
                    except Disconnected:
                        dropped.append(socket)
                highest = max(highest, stuck.stream.queued_bytes)
                for other in others:
                    assert await read_frame(other.stream) == (BINARY, b'x' * 1000)
            assert dropped == [stuck] and highest <= 32768 + 1004 and stuck.code == 1006
        for other in others:
            await other.stream.close()
    sockets = []
    run(main, action, {'limits': {'backlog': '32K'}})


@pytest.mark.parametrize('first, many', [
    (b'', frame(PING)), (frame(0x01), frame(0x00)), (frame(0x01), frame(0x00, b'x'))], ids=['pings', 'empty fragments', 'fragments'])
def test_a_flood_of_tiny_frames_delays_nobody(first, many, echo):
    async def read(stream):
        data = b''
        while not data.endswith(b'end'):
            data = await stream.read()

    async def main(client, server):
        await open_socket(client)
        reader = runtime.spawn(read(client.stream))
        sender = runtime.spawn(client.stream.write(first + many * 200_000 + frame(PING, b'end')))
        other = await connect(server)
        took = []
        while not reader.done:
            began = runtime.now()
            assert (await other.ask('GET /other')).status == 200
            took.append(runtime.now() - began)
        assert len(took) > 10 and max(took) < 0.1
        await sender.join()
        await other.stream.close()
    serve(main, {}, {'/': echo, '/other': lambda web: 'here'})


# Real clients

@pytest.mark.parametrize('compression', ['0', '1'])
@pytest.mark.parametrize('package', ['websockets', 'wsproto'])
def test_talks_with(package, compression, echo):
    if not peers.installed(peers.PEERS, package):
        pytest.skip(f'{package} is not in .venv-peers')

    async def main(client, server):
        command = [peers.python_of(peers.PEERS), PEER, package, str(server.listeners[0].port), compression]
        done = await runtime.to_thread(lambda: subprocess.run(command, capture_output=True, text=True, timeout=20))
        assert done.stdout == 'agreed\n', done.stderr
    run(main, Echo(subprotocols=['chat']))
