"""Run by an interpreter that has `websockets` and `wsproto`: a conversation of each, as either side, with ioto.websocket.

    python peer.py TREE PEER SIDE COMPRESSION

PEER is websockets or wsproto, SIDE the one that ioto is, COMPRESSION 0 or 1. All is in memory. Prints "agreed" at the end.
"""

import os
import random
import sys

sys.path.insert(0, sys.argv[1])

from ioto.http import find_head, parse_request  # noqa: E402
from ioto.websocket import BINARY, CLOSE, PING, PONG, TEXT, Protocol, negotiate  # noqa: E402
from ioto.websocket.client import confirm, offer  # noqa: E402

NOISE = os.urandom(70_000)
MESSAGES = ['', 'Hello', b'', b'\0', 'ä€😀' * 50, 'x' * 125, 'x' * 126, 'y' * 65535, 'z' * 65536, NOISE, NOISE[:200], NOISE[:200], b'q' * 300_000]


class WebsocketsPeer:
    """The sans-I/O protocol of the package `websockets`."""

    def __init__(self, server, compression):
        from websockets.client import ClientProtocol
        from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
        from websockets.server import ServerProtocol
        from websockets.uri import parse_uri
        self.server = server
        options = {'subprotocols': ['chat']}
        if server:
            self.protocol = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()] * compression, **options)
        else:
            factory = ClientPerMessageDeflateFactory(client_max_window_bits=True)
            self.protocol = ClientProtocol(parse_uri('ws://example.com/chat'), extensions=[factory] * compression, **options)
        self.parts = []

    def start(self):
        if not self.server:
            self.protocol.send_request(self.protocol.connect())

    def send(self, message):
        data, method = (message.encode(), self.protocol.send_text) if isinstance(message, str) else (message, self.protocol.send_binary)
        if len(data) < 3:
            method(data)
            return
        method(data[:1], fin=False)
        self.protocol.send_ping(b'within')
        self.protocol.send_continuation(data[1:-1], fin=False)
        self.protocol.send_continuation(data[-1:], fin=True)

    def ping(self, data):
        self.protocol.send_ping(data)

    def close(self, code, reason):
        self.protocol.send_close(code, reason)

    def take(self, data):
        """Events as ioto's."""
        from websockets.frames import Close, Opcode
        from websockets.http11 import Request, Response
        self.protocol.receive_data(data)
        found = []
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                self.protocol.send_response(self.protocol.accept(event))
            elif isinstance(event, Response):
                assert event.status_code == 101
            elif event.opcode is Opcode.CLOSE:
                close = Close.parse(event.data)
                found.append((CLOSE, int(close.code), close.reason))
            elif event.opcode in (Opcode.PING, Opcode.PONG):
                found.append((int(event.opcode), bytes(event.data)))
            else:
                self.kind = event.opcode if event.opcode is not Opcode.CONT else self.kind
                self.parts.append(bytes(event.data))
                if event.fin:
                    data, self.parts = b''.join(self.parts), []
                    found.append((TEXT, data.decode()) if self.kind is Opcode.TEXT else (BINARY, data))
        assert self.protocol.parser_exc is None, self.protocol.parser_exc
        return found

    def out(self):
        return b''.join(self.protocol.data_to_send())


class WsprotoPeer:
    """The connection of the package `wsproto`."""

    def __init__(self, server, compression):
        from wsproto import ConnectionType, WSConnection
        from wsproto.extensions import PerMessageDeflate
        self.server = server
        self.connection = WSConnection(ConnectionType.SERVER if server else ConnectionType.CLIENT)
        self.extensions = [PerMessageDeflate()] * compression
        self.data = b''
        self.parts = []

    def start(self):
        from wsproto.events import Request
        if not self.server:
            self.data += self.connection.send(
                Request(host='example.com', target='/chat', subprotocols=['chat'], extensions=self.extensions))

    def send(self, message):
        from wsproto.events import BytesMessage, TextMessage
        kind = TextMessage if isinstance(message, str) else BytesMessage
        half = len(message) // 2
        if half:
            self.data += self.connection.send(kind(data=message[:half], message_finished=False))
            self.ping(b'within')
        self.data += self.connection.send(kind(data=message[half:]))

    def ping(self, data):
        from wsproto.events import Ping
        self.data += self.connection.send(Ping(payload=data))

    def close(self, code, reason):
        from wsproto.events import CloseConnection
        self.data += self.connection.send(CloseConnection(code=code, reason=reason))

    def take(self, data):
        from wsproto import events
        from wsproto.connection import ConnectionState
        self.connection.receive_data(data)
        found = []
        for event in self.connection.events():
            if isinstance(event, events.Request):
                assert event.subprotocols == ['chat']
                self.data += self.connection.send(events.AcceptConnection(subprotocol='chat', extensions=self.extensions))
            elif isinstance(event, events.Ping):
                found.append((PING, bytes(event.payload)))
                self.data += self.connection.send(event.response())
            elif isinstance(event, events.Pong):
                found.append((PONG, bytes(event.payload)))
            elif isinstance(event, events.CloseConnection):
                found.append((CLOSE, int(event.code), event.reason or ''))
                if self.connection.state is ConnectionState.REMOTE_CLOSING:
                    self.data += self.connection.send(event.response())
            elif isinstance(event, events.Message):
                self.parts.append(event.data)
                if event.message_finished:
                    message = ''.join(self.parts) if isinstance(event, events.TextMessage) else b''.join(self.parts)
                    found.append((TEXT if isinstance(message, str) else BINARY, message))
                    self.parts = []
        return found

    def out(self):
        data, self.data = self.data, b''
        return data


def head(line, pairs):
    return '\r\n'.join([line, *[f'{name}: {value}' for name, value in pairs], '', '']).encode('latin-1')


def open_connection(peer, server):
    """The handshake of a peer with ioto, which is the server if `server`; returns ioto's Protocol."""
    peer.start()
    if server:
        data = peer.out()
        start, end = find_head(data)
        request = parse_request(data, start, end)
        pairs, subprotocol, deflate = negotiate(request.fields, ['chat'], COMPRESSION, request.method, request.version)
        peer.take(head('HTTP/1.1 101 Switching Protocols', pairs))
    else:
        pairs, key = offer(['chat'], COMPRESSION)
        peer.take(head('GET /chat HTTP/1.1', [('Host', 'example.com'), *pairs]))
        line, *lines = peer.out().decode('latin-1').split('\r\n')[:-2]
        fields = {name.lower(): value for name, value in (line.split(': ', 1) for line in lines)}
        subprotocol, deflate = confirm(int(line.split()[1]), fields, key, ['chat'], COMPRESSION)
    assert subprotocol == 'chat' and (deflate is not None) == COMPRESSION, (pairs, deflate)
    return Protocol(server, deflate=deflate)


def received(protocol, peer):
    """What ioto receives of all that the peer has to send, in random reads; its answers go back at once."""
    data = peer.out()
    events, back = [], []
    while data:
        size = chance.choice((1, 5, 100, 5000, 70000))
        events += protocol.receive(data[:size])
        data = data[size:]
    if protocol.pending:
        back = peer.take(protocol.pending)
        protocol.pending = b''
    return [event for event in events if event != (PING, b'within')], [event for event in back if event != (PONG, b'within')]


def talk(peer, protocol):
    for message in MESSAGES:
        kind = TEXT if isinstance(message, str) else BINARY
        peer.send(message)
        assert received(protocol, peer) == ([(kind, message)], [])
        assert peer.take(protocol.send(message)) == [(kind, message)]
        half = len(message) // 2
        parts = [protocol.send(message[:half], last=False), protocol.ping(b'mine'), protocol.send(message[half:])]
        if NAME == 'wsproto' and COMPRESSION:
            parts[1:] = reversed(parts[1:])     # it forgets within a message that this is compressed, when a ping comes
        events = peer.take(b''.join(parts))
        assert sorted(events, key=lambda event: event[0]) == [(kind, message), (PING, b'mine')]
        assert received(protocol, peer) == ([(PONG, b'mine')], [])
    peer.ping(b'yours')
    assert received(protocol, peer) == ([(PING, b'yours')], [(PONG, b'yours')])


NAME, IOTO, COMPRESSION = sys.argv[2], sys.argv[3], sys.argv[4] == '1'
chance = random.Random(1)
for ours_first in (True, False):
    peer = (WebsocketsPeer if NAME == 'websockets' else WsprotoPeer)(IOTO != 'server', COMPRESSION)
    protocol = open_connection(peer, IOTO == 'server')
    talk(peer, protocol)
    if ours_first:
        assert peer.take(protocol.close(4000, 'enough ä')) == [(CLOSE, 4000, 'enough ä')]
        assert received(protocol, peer) == ([(CLOSE, 4000, 'enough ä')], [])
    else:
        peer.close(1001, 'bye')
        assert received(protocol, peer)[0] == [(CLOSE, 1001, 'bye')]
    assert protocol.closed
print('agreed')
