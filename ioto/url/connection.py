"""One connection to a server or proxy: a request out, the head and the bytes of its answer in (RFC 9112 §9).

What is small leaves with the head in one send. A larger body is sent by a fiber of its own while the answer is
awaited, so that an early answer is read, ends the sending where it is no 2xx, and bytes can flow both ways.

One deadline stands over each wait (head, next bytes, sending) and over the whole exchange; when it is met the socket
is closed, and the fiber that waits on it finds `late`, the phase that took too long.
"""

from time import monotonic

from ..http.body import LAST_CHUNK, chunk
from ..http.client import find_head, parse_response
from ..http.errors import ParseError
from ..http.head import HeadLimits
from ..runtime.stream import CHUNK
from ..runtime.sync import Event
from ..runtime.timers import Deadline
from .body import PIECE
from .errors import UrlError

LIMITS = HeadLimits(line=16384, head=65536, fields=256)
TOGETHER = 65536        # bytes of a body that leaves with its head
BULK = 122880           # bytes of a body asked of one system call: from 128 KB on, malloc maps pages anew
INTERIM = 16            # answers with 1xx before the final one
PATIENCE = 1.0          # seconds to wait for 100 before the body is sent all the same (RFC 9110 §10.1.1)


class EarlyEnd(EOFError):
    """The server closed before its answer was whole."""


class Connection:
    """A stream with what was received ahead, and its deadline.

    used    answers read from it
    begun   whether anything came of the answer that is awaited
    late    the phase whose time is over, else None
    sender  the fiber that sends the body, None when all is sent
    failure why sending ended; the answer may be there all the same
    fault   the error of the source of a body
    """

    __slots__ = ('stream', 'key', 'data', 'deadline', 'end', 'phase', 'late', 'used', 'begun', 'since', 'sender',
                 'failure', 'fault')

    def __init__(self, stream, key):
        self.stream, self.key = stream, key
        self.data = b''
        self.deadline = Deadline(stream.kernel, self._expire)
        self.end = float('inf')
        self.phase = self.late = self.sender = self.failure = self.fault = None
        self.used = 0
        self.begun = False
        self.since = 0.0

    def _expire(self):
        self.late = 'whole' if self.end <= monotonic() else self.phase
        self.stream.abort()

    def alive(self):
        """Whether an idle connection still stands: nothing has come, not even its end."""
        try:
            return not self.data and self.stream.receive(1) is None
        except OSError:
            return False

    def reusable(self):
        """Whether all was sent, and nothing but the answer has come."""
        return self.sender is None and self.failure is None and not self.data and not self.late

    async def ask(self, head, payload, method, times, expect=False):
        """Send a request; the Response of its final answer.

        `times` are the time-outs; with `expect`, the body waits for 100. Raises OSError, EarlyEnd, ParseError, or what
        the source of the body raises.
        """
        self.begun = False
        stream = self.stream
        consent = None
        self.arm(times['idle'], 'idle')
        if payload is None:
            whole = head
        elif payload.data is not None and len(payload.data) <= TOGETHER and not expect:
            whole = head + payload.data
        else:
            whole = head
            consent = Event()
            if not expect:
                consent.set()
        try:
            if not stream.offer(whole):
                await stream.drain()
        except OSError as error:                # it may have answered before it closed
            if self.late:
                raise
            self.failure = error
        if consent is not None:
            self.sender = stream.kernel.spawn(self._send(payload, consent, times, self.used), 'url: body')
        try:
            return await self._answer(method, times['first'], consent)
        except (OSError, EOFError):
            if self.failure is not None and self.fault is None:
                raise self.failure from None
            raise

    async def _answer(self, method, seconds, consent):
        for _ in range(INTERIM):
            response = await self._head(method, seconds)
            if response.status >= 200 or response.status == 101:
                if self.sender is not None and (response.status >= 300 or not consent.is_set()):
                    self.stop_sending()
                self.used += 1
                return response
            if response.status == 100 and consent is not None:
                consent.set()
        raise ParseError(400, f'more than {INTERIM} answers with 1xx')

    async def _head(self, method, seconds):
        data = self.data
        self.arm(seconds, 'first')
        while True:
            if data:
                start, end = find_head(data, 0, LIMITS)
                if start:
                    raise ParseError(400, 'empty line before the status line')
                if end >= 0:
                    self.data = data[end + 2:]
                    self.deadline.when = self.end
                    return parse_response(data, 0, end, method)
            more = await self._read()
            if not more:
                where = 'inside the head of' if data else 'before'
                raise EarlyEnd(f'the server closed the connection {where} its answer')
            self.begun = True
            data = data + more if data else more

    async def receive(self, seconds):
        """The next bytes of a body, b'' at the end of the connection."""
        if data := self.data:
            self.data = b''
            return data
        self.arm(seconds, 'idle')
        data = await self._read(BULK)
        self.deadline.when = self.end
        return data

    async def _read(self, size=CHUNK):
        try:
            return await self.stream.read(size)
        except OSError:
            if self.fault is not None:
                raise self.fault from None
            raise

    def arm(self, seconds, phase):
        """Let what comes next take this long, and no longer than the whole."""
        self.phase = phase
        self.deadline.set(min(monotonic() + seconds, self.end))

    # Sending a body

    async def _send(self, payload, consent, times, used):
        try:
            if not consent.is_set():
                timer = self.stream.kernel.call_later(PATIENCE, consent.set)
                try:
                    await consent.wait()
                finally:
                    timer.cancel()
            payload.begin()
            send = self._send_pieces if payload.file is None else self._send_file
            await send(payload, times['idle'])
            if self.failure is None:
                self.sender = None
                phase = 'first' if self.used == used else 'idle'
                if phase == 'first' or self.stream.reader is not None:
                    self.arm(times[phase], phase)
        except Exception as error:              # ends the exchange
            self.fault = error
            self.stream.abort()

    async def _send_file(self, payload, seconds):
        offset, end = payload.offset, payload.offset + payload.length
        while offset < end:
            self.arm(seconds, 'idle')
            try:
                sent = await self.stream.sendfile(payload.file, offset, min(PIECE, end - offset))
            except OSError as error:
                self.failure = error
                return
            if not sent:
                raise UrlError(f'the file ended {end - offset} bytes before its length')
            offset += sent

    async def _send_pieces(self, payload, seconds):
        left = payload.length
        self.deadline.when = self.end
        async for piece in _pieces(payload):
            if isinstance(piece, str):
                piece = piece.encode()
            if left is None:
                piece = chunk(piece)
            else:
                left -= len(piece)
                if left < 0:
                    raise UrlError(f'the body is longer than its Content-Length, {payload.length}')
            if not await self._write(piece, seconds):
                return
        if left:
            raise UrlError(f'the body ended {left} bytes before its Content-Length, {payload.length}')
        if left is None:
            await self._write(LAST_CHUNK, seconds)

    async def _write(self, piece, seconds):
        """Write; whether that went well."""
        self.arm(seconds, 'idle')
        try:
            await self.stream.write(piece)
        except OSError as error:
            self.failure = error
            return False
        self.deadline.when = self.end
        return True

    def stop_sending(self):
        """Send no more; the connection cannot be used again."""
        if self.sender is not None:
            self.sender.cancel()

    def close(self):
        """Close now. Harmless if it is."""
        self.deadline.cancel()
        self.stop_sending()
        self.stream.abort()


async def _pieces(payload):
    """The pieces of a payload that is sent by itself."""
    data = payload.data
    if data is None:
        async for piece in payload.pieces:
            yield piece
    else:
        for at in range(0, len(data), PIECE):
            yield data[at:at + PIECE]
