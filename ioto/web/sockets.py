"""WebSockets of the server: the codec of ioto.websocket on a connection (RFC 6455).

    async def echo(web):
        socket = await web.upgrade()
        async for message in socket:            # str or bytes
            await socket.send(message)

The fiber that asks for messages reads them: one system call brings many, and what answers them leaves in one (see outlet.py). When
the client was silent for `timeouts.ping` it is asked for a sign of life, and dropped when none comes for as long again. An action
that only sends has what came looked at as well, at least as often. When the action ends, so does the WebSocket, with
1000 or after an error 1011; when the server stops, with 1001. All wait a moment for the client's answer (§7.1.1).
"""

from ..http import HttpError
from ..runtime.kernel import sleep
from ..websocket.handshake import negotiate
from ..websocket.protocol import BINARY, CLOSE, Protocol, ProtocolError
from .body import Disconnected
from .outlet import TURN, Outlet

CLOSING = 5.0           # seconds for the other half of the closing handshake
DEFLATED = 4096         # bytes of one read of compressed messages: they may become 1000 times as many


def upgrade(web, subprotocols, deflate, origins):
    """Answer a request to upgrade with 101 and return the Socket; see `Web.upgrade`."""
    fields, server, stream = web.fields, web.connection.server, web.connection.stream
    pairs, subprotocol, parameters = negotiate(fields, subprotocols, deflate, web.method, web.version)
    if web.length:
        raise HttpError(400, 'a WebSocket begins without a body')
    own = [f'{scheme}://{web.authority}'.lower() for scheme in ('https', 'http')[:2 - web.secure]]
    allowed = [*own, *map(str.lower, origins or ())]
    if fields.get('origin', own[0]).lower() not in allowed and '*' not in allowed:
        raise HttpError(403, 'pages of another server may not open this WebSocket')
    web.status = 101
    for pair in pairs:
        web.add_header(*pair)
    fixed = server.opening(200).partition(b'\r\n')[2]
    head = b'HTTP/1.1 101 Switching Protocols\r\n%b%b%b\r\n' % (fixed, web.route.fields, web.extra)
    web.mark_head(head)
    stream.post(head)
    return Socket(web, subprotocol, parameters)


class Socket(Outlet):
    """One WebSocket; made by `web.upgrade()`. `.subprotocol`: the one agreed on, or None.

    `.code` and `.reason` are None and '' while it is open, then those of the close; 1006 where the client went without one.
    """

    asked = 0.0             # when the client was asked for a sign of life

    def __init__(self, web, subprotocol, parameters):
        super().__init__(web)
        limits = web.route.limits
        self.subprotocol = subprotocol
        self.code, self.reason = None, ''
        self.protocol = Protocol(True, limits['frame'], limits['message'], parameters)
        self.messages = []
        if parameters is not None:
            self.chunk = DEFLATED
        if web.ahead:
            self.stream.unread(web.ahead[self.chunk:])
            self.feed(web.ahead[:self.chunk])

    async def __aiter__(self):
        while True:
            while self.messages:
                yield self.messages.pop()
            if self.code is not None:
                return
            await self.read()

    async def receive(self):
        """Return the next message, str or bytes. Raises Disconnected when it is closed."""
        while not self.messages:
            if self.code is not None:
                raise Disconnected(f'closed: {self.code} {self.reason}')
            await self.read()
        return self.messages.pop()

    async def send(self, message):
        """Send a str or bytes. Raises Disconnected."""
        self.check()
        await self.put(self.protocol.send(message))

    async def ping(self, data=b''):
        """Send a ping with up to 125 bytes. Raises Disconnected."""
        self.check()
        await self.put(self.protocol.ping(data))

    async def close(self, code=1000, reason=''):
        """Close it; the action waits for the client's answer. Raises ValueError for what no close frame can say (§7.4)."""
        self.stop(code, reason)
        while self.code is None and self.kernel.current is self.fiber:
            if self.stream.reader is None:
                self.messages.clear()
                await self.read()
            else:
                await sleep(0.02)               # another fiber reads

    def stop(self, code=1001, reason='the server stops'):
        """Begin to close."""
        data = self.protocol.close(code, reason)
        if not self.closed:
            self.closed = True
            self.stream.post(data)
            self.last = self.kernel.time + CLOSING
            self.deadline.set(self.last)

    end = close

    async def read(self):
        try:
            if self.stream.queued_bytes > TURN:
                await self.put(b'')             # who sends pings has to take the pongs
            data = await self.stream.read(self.chunk)
        except OSError:
            data = b''
        self.feed(data)

    def feed(self, data):
        protocol = self.protocol
        if not data:
            self.closed = protocol.closing = True
            self.code = self.code or 1006
            return
        self.active = self.kernel.time
        try:
            events = protocol.receive(data)
        except ProtocolError as error:
            events = error.events
            self.code, self.reason = error.code, error.reason
        if protocol.pending:
            self.stream.post(protocol.pending)
            protocol.pending = b''
        self.messages[:0] = [event[1] for event in reversed(events) if event[0] <= BINARY]
        if events and events[-1][0] == CLOSE:
            _, self.code, self.reason = events[-1]
        self.closed = protocol.closing
        self.kernel.budget -= len(data) >> 9    # thousands of small frames are no one operation

    def idle(self):
        """Ask a silent client for a sign of life; if it was asked already, drop it."""
        reader = self.stream.reader
        if not (self.messages or self.closed or reader is not None and reader.scheduled):       # then something came
            if self.asked > self.active:
                self.drop()
            else:
                self.asked = self.kernel.time
                self.stream.post(self.protocol.ping())
