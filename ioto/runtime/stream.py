"""Streams: a connected socket that fibers read and write.

Each operation tries the system call first and waits only when that would block. A read that returned less than it asked for has
emptied the socket, so the next one waits first. `write` sends at once and returns when all is with the kernel; what is given to
`post` within one turn leaves in one send at its end. One fiber may read at a time; writes of several are kept whole and in order.
"""

import os
import socket
from collections import deque
from time import monotonic

from .fiber import suspend
from .poller import Waitable
from .sync import Lock

CHUNK = 65536               # bytes asked of one system call
SENDFILE = 1 << 20          # bytes asked of one sendfile call
LINGER = 2.0                # seconds that `linger` reads on, and that `close` sends on
LINGER_BYTES = 1 << 18      # and bytes


def literal(host, port):
    """Return [(family, socket address)] of an IP address, None for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
            return [(family, (host, port))]
        except OSError:
            pass
    return None


class IncompleteRead(EOFError):
    """The stream ended before what was asked for was there; `.partial` has the bytes that were."""

    def __init__(self, partial, wanted):
        super().__init__(f'the stream ended after {len(partial)} bytes, {wanted} expected')
        self.partial = partial


class LimitExceeded(ValueError):
    """The separator did not come within the limit."""


class Stream(Waitable):
    """A connected, non-blocking socket. `remote` is the peer's address, `secure` whether it is over TLS."""

    __slots__ = ('sock', 'remote', 'closed', 'empty', 'ahead', 'at', 'queued', 'queued_bytes', 'failure', 'lock', 'sent')

    secure = False

    def __init__(self, kernel, sock, remote=None):
        super().__init__(kernel, sock.fileno())
        self.sock = sock
        self.remote = remote
        self.closed = False
        self.empty = False          # the socket had nothing more when it was read last
        self.ahead = b''            # received, and given out up to `at`
        self.at = 0
        self.queued = None          # what was posted and is not yet sent
        self.queued_bytes = 0       # of it
        self.failure = None         # the error of sending what was posted
        self.lock = Lock()          # held by who sends
        self.sent = 0               # bytes handed to the kernel

    # What TLS does otherwise

    def receive(self, n):
        """Return up to n bytes, b'' at the end, or None if that would block."""
        try:
            return self.sock.recv(n)
        except BlockingIOError:
            return None

    def transmit(self, data):
        """Send what the socket takes and return how many bytes that was, 0 if it would block."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    await_receive = Waitable.readable       # wait until `receive` may go on
    await_transmit = Waitable.writable

    # Reading

    async def read(self, n=CHUNK):
        """Return 1 to n bytes as soon as there are any, b'' at the end. Raises OSError when the connection broke."""
        kernel = self.kernel
        kernel.budget -= 1
        if kernel.budget < 0:
            await kernel.checkpoint()           # before anything is taken: an interruption here loses nothing
        at = self.at
        if at < len(self.ahead):
            data = self.ahead[at:at + n]
            self._skip(at + n)
            return data
        if self.empty:
            await self.await_receive()
        while True:
            data = self.receive(n)
            if data is not None:
                self.empty = len(data) < n
                return data
            await self.await_receive()

    def _skip(self, at):
        """What has been received and not given out begins at `ahead[at]`."""
        if at < len(self.ahead):
            self.at = at
        else:
            self.ahead = b''
            self.at = 0

    async def read_exactly(self, n):
        """Return exactly n bytes. Raises IncompleteRead (an EOFError) when the stream ends before."""
        parts = []
        missing = n
        while missing:
            data = await self.read(missing)
            if not data:
                raise IncompleteRead(b''.join(parts), n)
            parts.append(data)
            missing -= len(data)
        return parts[0] if len(parts) == 1 else b''.join(parts)

    async def read_until(self, separator, limit=CHUNK):
        """Return the bytes up to and with the separator.

        Raises LimitExceeded (a ValueError) when that is more than `limit` bytes, IncompleteRead when the stream ends before.
        """
        await self.kernel.checkpoint()
        start = self.at
        while True:
            found = self.ahead.find(separator, start, self.at + limit)
            if found >= 0:
                data = self.ahead[self.at:found + len(separator)]
                self._skip(found + len(separator))
                return data
            have = self.ahead[self.at:]
            if len(have) >= limit:
                raise LimitExceeded(f'no {separator!r} within {limit} bytes')
            self.ahead, self.at = b'', 0
            try:
                more = await self.read()
            except BaseException:
                self.ahead = have
                raise
            if not more:
                raise IncompleteRead(have, f'{separator!r}')
            self.ahead = have + more
            start = max(0, len(have) - len(separator) + 1)

    def unread(self, data):
        """Put bytes back, to be read first."""
        self.ahead = data + self.ahead[self.at:]
        self.at = 0

    # Writing: `queued` is None while all is with the kernel. Whoever drains it holds the lock.

    async def write(self, data):
        """Send bytes; returns when the kernel has taken all. Raises OSError when the connection broke."""
        if not self.offer(data):
            await self.drain()
        kernel = self.kernel
        kernel.budget -= 1
        if kernel.budget < 0:
            await kernel.checkpoint()

    def offer(self, data):
        """Send what the socket takes at once and queue the rest. Returns whether there is none; if there is, `drain` waits for it.

        `write` without the cost of a coroutine, for who sends one small answer after another. Raises OSError.
        """
        if self.queued is None and not self.kernel.unsaved:
            n = self.transmit(data)
            self.sent += n
            if n == len(data):
                return True
            data = memoryview(data)[n:]
        elif self.failure is not None:
            raise self.failure
        self.post(data)
        return False

    def post(self, data):
        """Queue bytes to leave by the end of this turn, together with all else that is posted in it. See `drain`."""
        if self.failure is None and not self.closed:
            if self.queued is None:
                self.queued = deque()
            if not self.queued:
                self.kernel.posted.append(self)
            self.queued.append(data)
            self.queued_bytes += len(data)

    def _take_queued(self):
        queued, self.queued = self.queued, deque()
        return queued[0] if len(queued) == 1 else b''.join(queued)

    def send_posted(self):
        """Send what was posted; called by the scheduler at the end of a turn."""
        if not self.queued or self.lock.locked() or self.closed:
            return
        try:
            data = self._take_queued()
            n = self.transmit(data)
            self.sent += n
            self.queued_bytes -= n
            if n == len(data):
                self.queued = None
                return
        except Exception as error:              # the next write raises it
            self.failure = error
            return
        self.queued.append(memoryview(data)[n:])
        self.kernel.spawn(self._drain_quietly(), 'posted output')

    async def _drain_quietly(self):
        try:
            await self.drain()
        except Exception:
            pass                                # kept in `failure`

    async def drain(self):
        """Wait until all that was posted is with the kernel. Raises OSError when the connection broke."""
        if self.queued is not None:
            if self.kernel.unsaved:
                self.kernel.wake(self.kernel.current)
                await suspend()                     # to the end of the turn
            async with self.lock:
                await self._send_queued()

    async def _send_queued(self):
        if self.failure is not None:
            raise self.failure
        while self.queued:
            view = memoryview(self._take_queued())
            try:
                while view:
                    n = self.transmit(view)
                    if n:
                        self.sent += n
                        self.queued_bytes -= n
                        view = view[n:]
                        await self.kernel.checkpoint()
                    else:
                        await self.await_transmit()
            except BaseException as error:
                if view:
                    self.queued.appendleft(view)
                if isinstance(error, OSError):
                    self.failure = error
                else:
                    self.kernel.posted.append(self)     # who waited was interrupted: the rest leaves all the same
                raise
        self.queued = None

    async def sendfile(self, file, offset, count):
        """Send `count` bytes of an open file (its `fileno()`) from `offset` without copying them through Python.

        Returns the number of bytes sent: less than `count` when the file is shorter.
        """
        async with self.lock:
            await self._send_queued()
            self.queued = deque()               # what others write meanwhile waits behind the file
            try:
                return await self._send_file(file if isinstance(file, int) else file.fileno(), offset, count)
            finally:
                if self.queued:
                    self.kernel.posted.append(self)
                else:
                    self.queued = None

    async def _send_file(self, descriptor, offset, count):
        start, end = offset, offset + count
        while offset < end:
            try:
                n = os.sendfile(self.fd, descriptor, offset, min(end - offset, SENDFILE))
            except BlockingIOError:
                await self.writable()
                continue
            if n == 0:
                break
            self.sent += n
            offset += n
            await self.kernel.checkpoint()
        return offset - start

    # Closing

    def shutdown(self):
        """Say that no more will be written (the peer reads an end)."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    async def linger(self, seconds=LINGER, limit=LINGER_BYTES):
        """Shut down writing and read on for a while, so that the peer gets our last bytes and not a reset (RFC 9112 §9.6)."""
        deadline = monotonic() + seconds
        timer = self.kernel.call_at(deadline, self.abort)
        try:
            await self.drain()
            self.shutdown()
            while limit > 0 and monotonic() < deadline:
                data = await self.read()
                if not data:
                    break
                limit -= len(data)
        except OSError:
            pass
        finally:
            timer.cancel()
            self.abort()

    async def close(self):
        """Send what was posted, for some seconds if the peer is slow, then close. Harmless on a closed stream."""
        if self.closed:
            return
        timer = self.kernel.call_later(LINGER, self.abort)
        try:
            await self.drain()
        except Exception:
            pass                                # kept in `failure`
        finally:
            timer.cancel()
            self.abort()

    def abort(self):
        """Close now; what was posted and not sent is lost. A fiber that waits on this stream gets an OSError."""
        if not self.closed:
            self.closed = True
            self.forget()
            self.sock.close()

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, trace):
        await self.close()

    def __repr__(self):
        return f'<{type(self).__name__} {self.remote}{" closed" if self.closed else ""}>'
