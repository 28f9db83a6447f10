"""Run by an interpreter that has `websockets` and `wsproto`: a client of an echo.  python socketpeer.py PACKAGE PORT COMPRESSION"""

import os
import socket
import sys

PACKAGE, PORT, COMPRESSION = sys.argv[1], int(sys.argv[2]), sys.argv[3] == '1'
MESSAGES = ['', 'Hello', b'', b'\0', 'ä€😀' * 50, 'x' * 125, 'x' * 126, b'y' * 65535, 'z' * 65536, os.urandom(300_000)]


def with_websockets():
    from websockets.sync.client import connect
    with connect(f'ws://127.0.0.1:{PORT}/', subprotocols=['chat'], compression='deflate' if COMPRESSION else None,
                 origin=f'http://127.0.0.1:{PORT}') as client:
        assert client.subprotocol == 'chat'
        assert bool(client.protocol.extensions) == COMPRESSION
        for message in MESSAGES:
            client.send(message)
            assert client.recv() == message
        client.send(iter(['frag', 'ments', ' of one']))
        assert client.recv() == 'fragments of one'
        assert client.ping().wait(5)
        for message in MESSAGES:
            client.send(message)
        assert [client.recv() for _ in MESSAGES] == MESSAGES
        client.close(4000, 'enough')
        assert client.close_code == 4000 and client.close_reason == 'enough'


def with_wsproto():
    from wsproto import WSConnection, ConnectionType, events
    from wsproto.extensions import PerMessageDeflate
    protocol = WSConnection(ConnectionType.CLIENT)
    with socket.create_connection(('127.0.0.1', PORT), 10) as sock:
        def send(event):
            sock.sendall(protocol.send(event))

        waiting = []

        def receive():
            while not waiting:
                data = sock.recv(65536)
                protocol.receive_data(data or None)
                waiting.extend(protocol.events())
            return waiting.pop(0)

        send(events.Request(host=f'127.0.0.1:{PORT}', target='/', subprotocols=['chat'], extensions=[PerMessageDeflate()] * COMPRESSION))
        accepted = receive()
        assert accepted.subprotocol == 'chat' and bool(accepted.extensions) == COMPRESSION, accepted
        for message in MESSAGES:
            kind = events.TextMessage if isinstance(message, str) else events.BytesMessage
            send(kind(data=message))
            parts = []
            while not parts or not parts[-1].message_finished:
                parts.append(receive())
            assert type(message)().join(part.data for part in parts) == message
        send(events.Ping(payload=b'there?'))
        assert receive() == events.Pong(payload=bytearray(b'there?'))
        send(events.CloseConnection(code=4000, reason='enough'))
        closed = receive()
        assert (closed.code, closed.reason) == (4000, 'enough')
        assert sock.recv(1) == b''


{'websockets': with_websockets, 'wsproto': with_wsproto}[PACKAGE]()
print('agreed')
