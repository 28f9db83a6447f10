"""A broker that says what a test wants it to say, in a thread, on a raw socket.

    with Hostile(['CONNECT', connack(), 'SUBSCRIBE', reply('SUBACK', 1, 0x80), HOLD], [CLOSE]) as broker:
        broker.port; broker.received                # the packets that came, by connection

Each argument is a list of steps for one connection; the last list serves all later ones, too. A step is

    'PUBLISH'       wait for a packet, which has to be of this type (PINGREQ comes when it likes, unless asked for)
    bytes           send them; the client may have gone
    a number        seconds to wait
    a function      called with the Connection; bytes that it returns are sent
    HOLD            read until the client closes
    CLOSE, RESET    close, or reset; so does the end of the list, by CLOSE

A step that is not met ends the connection, and fails the test at the end of the block. Later connections than there are lists may
end at any step: a client that leaves while it connects again is none of the test's concern.
"""

import select
import socket
import struct
import threading
import time

from .wire import take

PATIENCE = 20
HOLD, CLOSE, RESET = object(), object(), object()


class Connection:
    """What steps that are functions get: `sock`, `received`, `last` (the packet that came last), `expect`, `send`."""

    def __init__(self, sock, number, received):
        self.sock, self.number, self.received = sock, number, received
        self.buffer = bytearray()

    @property
    def last(self):
        return self.received[-1]

    def next(self):
        """The next packet, None at the end."""
        while not (found := take(self.buffer, self.number)):
            try:
                data = self.sock.recv(65536)
            except ConnectionError:
                data = b''
            if not data:
                return None
            self.buffer += data
        self.received.append(found[0])
        return found[0]

    def expect(self, type):
        """The next packet, of this type."""
        packet = self.next()
        while packet and packet.type == 'PINGREQ' != type:
            packet = self.next()
        if packet is None:
            raise EOFError(f'{type} expected, and the client is gone')
        assert packet.type == type, f'{type} expected, got {packet}'
        return packet

    def send(self, data):
        """Send bytes; whether the client takes them."""
        try:
            self.sock.sendall(data)
        except ConnectionError:
            return False
        return True


class Hostile:
    def __init__(self, *scripts):
        self.scripts = scripts
        self.received = []          # by connection: packets
        self.faults = []
        self.connections = 0
        self.ended = threading.Semaphore(0)     # one for each connection that is over

    def __enter__(self):
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.near, self.far = socket.socketpair()
        self.threads, self.socks = [], []
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()
        return self

    def __exit__(self, kind, *_):
        faults = list(self.faults)              # what a script still waits for is none
        self.far.close()
        self.acceptor.join(PATIENCE)
        for sock in self.socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self.near.close()
        if kind is None:
            assert not faults, faults

    def _accept(self):
        with self.listener:
            while self.near not in select.select([self.listener, self.near], [], [])[0]:
                sock, _ = self.listener.accept()
                sock.settimeout(PATIENCE)
                self.received.append([])
                connection = Connection(sock, self.connections, self.received[-1])
                steps = self.scripts[min(self.connections, len(self.scripts) - 1)]
                self.connections += 1
                self.socks.append(sock)
                self.threads.append(threading.Thread(target=self._serve, args=(connection, steps), daemon=True))
                self.threads[-1].start()

    def _serve(self, connection, steps):
        with connection.sock:
            try:
                for step in steps:
                    if not self._step(connection, step):
                        break
            except (AssertionError, OSError, EOFError) as error:
                if connection.number < len(self.scripts) or not isinstance(error, EOFError):
                    self.faults.append(f'connection {connection.number}: {error}')
        self.ended.release()

    def _step(self, connection, step):
        """Do a step; whether there may be another."""
        if isinstance(step, str):
            connection.expect(step)
        elif isinstance(step, bytes):
            return connection.send(step)
        elif isinstance(step, (int, float)):
            time.sleep(step)
        elif step is HOLD:
            while connection.next():
                pass
        elif step is CLOSE or step is RESET:
            if step is RESET:
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            return False
        else:
            return connection.send(step(connection) or b'')
        return True
