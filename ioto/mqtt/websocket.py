"""MQTT over a WebSocket, as a stream (MQTT 3.1.1 §6, RFC 6455).

The codec of ioto.websocket on a Stream of the runtime; the handshake is one request and one answer of ioto.http. What
is posted within one turn of the scheduler leaves as one binary message. What comes is passed on as it comes, for
packets keep to no borders of frames (§6.0): a frame of any size takes no more memory than one read. Pings and a close
are answered while the client reads.
"""

from ..http.client import find_head, parse_response, request_head
from ..http.errors import ParseError
from ..runtime.sync import Event
from ..websocket.client import confirm, offer
from ..websocket.protocol import BINARY, CLOSE, TEXT, Protocol, ProtocolError

CLOSING = 2.0           # seconds for the closing handshake
UNREAD = 1 << 20        # bytes that wait, beyond which pings stay unanswered


async def upgrade(stream, path, pairs, place):
    """Make a WebSocket of a stream; `pairs` are fields of the request.

    Raises ConnectionError when the server does not speak MQTT over WebSockets, ValueError for a bad path or field.
    """
    try:
        await _shake_hands(stream, path, pairs, place)
    except BaseException:
        stream.abort()
        raise
    return WebSocket(stream)


async def _shake_hands(stream, path, pairs, place):
    asked, key = offer(['mqtt'], False)
    await stream.write(request_head('GET', path, [*pairs, *asked]))
    data = b''
    status = 0
    try:
        while status < 101:                     # 100 may precede (RFC 9110 §15.2)
            start, end = find_head(data)
            if end >= 0:
                response = parse_response(data, start, end)
                data, status = data[end + 2:], response.status
            elif more := await stream.read():
                data += more
            else:
                raise ConnectionError(f'{place} closed before it answered the WebSocket handshake')
        if status != 101:
            raise ConnectionError(f'no WebSocket at {place}: expected status 101, got {status} {response.reason}')
        if not confirm(status, response.fields, key, ['mqtt'], False)[0]:
            raise ConnectionError(f"the WebSocket at {place} does not speak the subprotocol 'mqtt'")
    except (ParseError, ProtocolError) as error:
        why = error.message if isinstance(error, ParseError) else error.reason
        raise ConnectionError(f'no WebSocket at {place}: {why}') from None
    stream.unread(data)


class WebSocket:
    """A WebSocket as a stream; closing it is the closing handshake."""

    def __init__(self, stream):
        self._stream = stream
        self._protocol = Protocol(False, pieces=True)
        self._waiting = []          # posted in this turn
        self._waiting_bytes = 0
        self._framed = 0            # bytes of what was posted before
        self._fault = None          # what `read` raises after all that came before it
        self._reading = self._closing = False
        self._idle = Event()        # nobody reads
        self.kernel, self.remote, self.secure = stream.kernel, stream.remote, stream.secure

    @property
    def closed(self):
        return self._stream.closed

    @property
    def queued_bytes(self):
        """Bytes that wait to be sent."""
        return self._waiting_bytes + self._stream.queued_bytes

    @property
    def sent(self):
        """How much of what was posted is with the kernel; `sent + queued_bytes` grows with `post` and nothing else."""
        return self._framed - self._stream.queued_bytes

    async def read(self, n=65536):
        """Return 1 to n bytes as soon as there are any, b'' at the end. Raises OSError when the connection broke."""
        if self._closing:
            return b''
        self._reading = True
        try:
            return await self._receive(n)
        finally:
            self._reading = False
            self._idle.set()

    async def _receive(self, n):
        stream, protocol = self._stream, self._protocol
        while not protocol.closed:
            data = await stream.read(n)
            if not data:
                break
            payload = self._take(data)
            if payload:
                return payload
        if self._fault:
            raise ConnectionError(self._fault)
        return b''

    def _take(self, data):
        """The payload in what has come; control frames are dealt with."""
        protocol, stream = self._protocol, self._stream
        try:
            events = protocol.receive(data)
        except ProtocolError as error:
            events = error.events
            self._fault = f'bad WebSocket frames: {error.reason}'
        parts = []
        for event in events:
            if event[0] == BINARY:
                parts.append(event[1])
            elif event[0] == TEXT:
                self._fault = 'a text frame came, but MQTT is binary (MQTT 3.1.1 §6.0)'
                protocol.pending += protocol.close(1003)
                protocol.closed = True
                break
            elif event[0] == CLOSE and event[1] not in (1000, 1001, 1005):
                self._fault = f'the server closed the WebSocket: {event[1]} {event[2]}'.rstrip()
        if protocol.pending:
            if stream.queued_bytes < UNREAD:
                stream.post(protocol.pending)
            stream.send_posted()
            protocol.pending = b''
        stream.kernel.budget -= len(data) >> 9          # thousands of small frames are no one operation
        return b''.join(parts)

    def post(self, data):
        """Queue bytes to leave by the end of this turn, together with all else that is posted in it."""
        if not self._waiting:
            self.kernel.posted.append(self)
        self._waiting.append(data)
        self._waiting_bytes += len(data)

    def send_posted(self):
        """Send what was posted; called by the scheduler at the end of a turn."""
        waiting, stream = self._waiting, self._stream
        if waiting:
            self._waiting = []
            if not self._protocol.closing and not stream.closed and stream.failure is None:
                stream.post(self._protocol.send(b''.join(waiting)))
                self._framed += self._waiting_bytes
                stream.send_posted()
            self._waiting_bytes = 0

    async def drain(self):
        """Wait until all that was posted is with the kernel. Raises OSError when the connection broke."""
        self.send_posted()
        await self._stream.drain()
        if self._protocol.closing:
            raise ConnectionError('the WebSocket is closed')

    async def close(self):
        """Send what was posted, say farewell and wait a moment for the server's. Harmless on a closed stream."""
        stream, protocol = self._stream, self._protocol
        if stream.closed:
            return
        self.send_posted()
        self._closing = True
        timer = self.kernel.call_later(CLOSING, self.abort)
        try:
            stream.post(protocol.close())
            while self._reading:
                self._idle.clear()
                await self._idle.wait()
            while await self._receive(65536):
                pass
        except OSError:
            pass
        finally:
            timer.cancel()
            await stream.close()
            self.abort()

    def abort(self):
        """Close now; a fiber that waits on this stream gets an OSError."""
        self._stream.abort()
