"""WebSockets of the client: the codec of ioto.websocket on a connection of its own (RFC 6455).

    async with url.websocket('wss://example.com/chat', subprotocols=['chat']) as socket:
        await socket.send('hello')
        async for message in socket:            # str or bytes
            print(message)

or `socket = await url.websocket(…)` and `await socket.close()`. The handshake is a fetch, so proxies, redirects,
credentials, cookies and time-outs are as there. A fiber reads: it answers pings and takes note of the end also while
nobody asks for messages. When BACKLOG bytes wait to be asked for it reads no more, and so slows the server. One that
was silent for `ping` seconds is asked for a sign of life, and dropped when none comes for as long again; likewise one
that takes nothing of what is sent for the time-out 'idle'.
"""

from collections import deque

from ..runtime.sync import Event
from ..runtime.timers import Deadline
from ..websocket.client import confirm, offer
from ..websocket.protocol import BINARY, CLOSE, Protocol
from ..websocket.protocol import ProtocolError as Fault
from .client import check
from .errors import ConnectError, ProtocolError

LIMIT = 1 << 20         # bytes of a frame, of a message
BACKLOG = 65536         # bytes received and not asked for, before no more is read
EACH = 64               # what a message counts there besides its length
QUEUED = 16384          # bytes that wait to be sent, before `send` waits for them
CLOSING = 5.0           # seconds for the other half of the closing handshake
CHUNK, DEFLATED = 16384, 4096       # bytes of one read; compressed messages may become 1000 times as many


class Socket:
    """One WebSocket; made by `Client.websocket`. `.subprotocol`: the one agreed on, or None.

    `.code` and `.reason` are None and '' while it is open, then those of the close; 1006 where the server went without
    one, then `.reason` says why.
    """

    def __init__(self, client, target, subprotocols=(), headers=None, deflate=True, ping=30.0, frame=LIMIT,
                 message=LIMIT, **options):
        if isinstance(target, str) and target[:4].lower() == 'http':
            target = 'ws' + target[4:]
        pairs, self._key = offer(subprotocols, deflate)
        headers = [*(headers.items() if hasattr(headers, 'items') else headers or ()), *pairs]
        self._up = client._buffered('GET', target, None, {**options, 'headers': headers})
        self._offered = subprotocols, deflate
        self._limits = frame, message
        self._ping = ping or float('inf')
        self.subprotocol = self.code = self._reader = None
        self.reason = ''
        self.closed = False                     # nothing more can be sent

    # The handshake

    def __await__(self):
        return self._open().__await__()

    async def __aenter__(self):
        return self if self._reader else await self._open()

    async def __aexit__(self, kind, error, trace):
        if kind is None:
            await self.close()
        else:
            self._begin_close(1011, '')
            self._stream.send_posted()
            self._drop('')

    async def _open(self):
        up = self._up
        async with up:
            if up.status != 101:
                await check(up)
            try:
                self.subprotocol, parameters = confirm(up.status, up.headers, self._key, *self._offered)
            except Fault as error:
                raise ProtocolError(error.reason, up.url.place) from None
            self._stream = stream = up.detach()
        self._idle = up.times['idle']
        self._protocol = Protocol(False, *self._limits, parameters)
        self._chunk = CHUNK if parameters is None else DEFLATED
        self._messages, self._size = deque(), 0
        self._discard = False                   # messages: we have closed
        self._news, self._room = Event(), Event()
        self._last = float('inf')               # when the server is dropped at the latest
        self._active = self._moved = stream.kernel.time
        self._moved_to, self._asked = stream.sent, 0.0
        self._deadline = Deadline(stream.kernel, self._tick)
        self._deadline.set(self._active + min(self._ping, self._idle))
        self._reader = stream.kernel.spawn(self._read(), 'url: WebSocket')
        self._reader.watchers = [lambda _ended: self._drop('the server has gone')]
        return self

    # What a user does

    async def __aiter__(self):
        while await self._arrival():
            yield self._take()

    async def receive(self):
        """Return the next message, str or bytes. Raises ConnectError when it is closed."""
        if not await self._arrival():
            raise ConnectError(f'closed: {self.code} {self.reason}'.rstrip(), self._up.url.place)
        return self._take()

    async def send(self, message):
        """Send a str or bytes; waits while much is on its way. Raises ConnectError when it is closed."""
        self._check()
        await self._put(self._protocol.send(message))

    async def ping(self, data=b''):
        """Send a ping with up to 125 bytes. Raises ConnectError when it is closed."""
        self._check()
        await self._put(self._protocol.ping(data))

    async def close(self, code=1000, reason=''):
        """Close it and wait a moment for the server's answer. Raises ValueError for what no close frame can say."""
        self._begin_close(code, reason)
        self._discard, self._size = True, 0
        self._messages.clear()
        self._room.set()
        try:
            await self._reader.join()
        except BaseException:
            self._drop('')
            raise

    # How it is done

    async def _arrival(self):
        """Wait for a message; whether there is one."""
        while not self._messages:
            if self.code is not None:
                return False
            self._news.clear()
            await self._news.wait()
        return True

    def _take(self):
        message = self._messages.popleft()
        self._size -= len(message) + EACH
        if self._size < BACKLOG:
            self._room.set()
        return message

    def _check(self):
        if self.closed or self._stream.failure is not None:
            raise ConnectError(f'closed: {self.code or 1006} {self.reason}'.rstrip(), self._up.url.place)

    async def _put(self, data):
        stream = self._stream
        stream.post(data)
        if stream.queued_bytes > QUEUED:
            try:
                await stream.drain()
            except OSError as error:
                raise ConnectError(self.reason or str(error), self._up.url.place) from None

    def _begin_close(self, code, reason):
        data = self._protocol.close(code, reason)
        if not self.closed:
            self.closed = True
            self._stream.post(data)
        self._end_by(CLOSING)

    def _end_by(self, seconds):
        self._last = min(self._last, self._stream.kernel.time + seconds)
        self._deadline.set(self._last)

    async def _read(self):
        stream = self._stream
        try:
            while data := await stream.read(self._chunk):
                self._feed(data)
                while self._size >= BACKLOG and not stream.closed:
                    self._room.clear()
                    await self._room.wait()
        except OSError:
            pass

    def _feed(self, data):
        protocol = self._protocol
        self._active = self._stream.kernel.time
        try:
            events = protocol.receive(data)
        except Fault as error:
            events = error.events
            self.code, self.reason = error.code, error.reason
        if protocol.pending:
            self._stream.post(protocol.pending)
            protocol.pending = b''
        if not self._discard:
            found = [event[1] for event in events if event[0] <= BINARY]
            self._messages += found
            self._size += sum(map(len, found)) + EACH * len(found)
        if events and events[-1][0] == CLOSE:
            _, self.code, self.reason = events[-1]
        if protocol.closed:
            self._end_by(CLOSING)               # the server's is to disconnect: §7.1.1
        self.closed = protocol.closing
        self._news.set()
        self._stream.kernel.budget -= len(data) >> 9        # thousands of small frames are no one operation

    def _tick(self):
        """The deadline has passed."""
        stream = self._stream
        now = stream.kernel.time
        if not stream.queued_bytes or stream.sent != self._moved_to:
            self._moved, self._moved_to = now, stream.sent
        if self._size >= BACKLOG:
            self._active = now                  # what it says is not read
        if now >= self._last:
            return self._drop('no answer to the close')
        if now >= self._moved + self._idle:
            return self._drop(f'nothing went for {self._idle:g} s')
        when = self._active + self._ping
        if when <= now:
            if self._asked > self._active:
                return self._drop(f'no sign of life for {2 * self._ping:g} s')
            self._asked, when = now, now + self._ping
            stream.post(self._protocol.ping())
        self._deadline.set(min(when, self._last, now + self._idle))

    def _drop(self, reason):
        """Cut the connection, if it is there; who waits goes on."""
        self._deadline.cancel()
        self._stream.abort()
        if self.code is None:
            self.code, self.reason = 1006, reason
        self.closed = True
        self._news.set()
        self._room.set()
