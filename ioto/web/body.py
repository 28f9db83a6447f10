"""The body of a request as its action reads it: decoded from the connection only when asked for.

`async for data in body` gives bytes as they arrive; the client is told to go on (100) when the first read has to wait for it.
What an action leaves unread is taken off the connection up to a bound, beyond which the connection is closed instead.
"""

from ..http import CHUNKED, HttpError, ParseError
from ..http.body import ChunkedDecoder, LengthDecoder

CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'
PIECE = 1 << 15              # bytes of one read: twice as many leave the heap in pieces
DISCARD = 1 << 18           # bytes of an unread body that are read to keep a connection


class Disconnected(ConnectionError):
    """The client has gone."""


class Body:
    """Made with the bytes that were received behind the head; `rest` has those behind the body, once it is `done`."""

    __slots__ = ('web', 'stream', 'decoder', 'ready', 'received', 'awaited', 'rest')

    def __init__(self, web, data):
        self.web = web
        self.stream = web.connection.stream
        self.ready = []             # decoded and not yet given out, the next one last
        self.received = 0           # bytes decoded
        self.awaited = False        # the client waits to be told to go on
        self.rest = data
        self.decoder = None
        if web.length:
            self.decoder = ChunkedDecoder() if web.length == CHUNKED else LengthDecoder(web.length)
            self.awaited = web.expect and not data
            if data:
                self._feed(data)

    @property
    def done(self):
        """Whether the whole body has been received."""
        return self.decoder is None or self.decoder.done

    def _feed(self, data):
        parts = self.decoder.feed(data)
        for part in parts:
            self.received += len(part)
            self.web.connection.trace('B', part)
        if self.decoder.done:
            self.rest = self.decoder.rest
        else:
            self.rest = b''
        parts.reverse()
        self.ready = parts

    def too_large(self, limit):
        """The error for a body over a limit; the connection closes, for the rest is not read."""
        self.web.connection.closing = True
        return HttpError(413, f'more than {limit}{" bytes" if isinstance(limit, int) else ""}')

    def __aiter__(self):
        return self

    async def __anext__(self):
        data = await self.read()
        if not data:
            raise StopAsyncIteration
        return data

    async def read(self, n=None):
        """Return bytes as they arrive, at most n, b'' at the end. Raises HttpError 400, 413, Disconnected."""
        while True:
            if self.received > self.web.route.body:
                raise self.too_large(self.web.route.body)
            if self.ready:
                break
            if self.done:
                return b''
            await self._receive()
        data = self.ready.pop()
        if n is not None and len(data) > n:
            self.ready.append(data[n:])
            data = data[:n]
        return data

    async def _receive(self):
        web = self.web
        try:
            if self.awaited:
                self.awaited = False
                if not web.started:
                    await self.stream.write(CONTINUE)
            data = await self.stream.read(PIECE)
            if not data:
                self.decoder.finish()
        except OSError as error:
            raise Disconnected(str(error)) from None
        except ParseError:
            raise Disconnected('the client ended within the body') from None
        self.stream.kernel.budget -= len(data) >> 11            # thousands of small chunks are no one operation
        self._feed(data)

    def keepable(self):
        """Whether the rest of the body is small enough to be read and dropped, so that the connection can go on."""
        if self.done:
            return True
        if self.awaited:
            return False            # whether the client will send it is unknown (RFC 9110 §10.1.1)
        return self.web.length == CHUNKED or self.web.length - self.received <= DISCARD

    async def discard(self):
        """Read and drop the rest. Returns whether its end was reached within the bound."""
        self.ready = []
        bound = self.received + DISCARD
        while not self.done and not self.awaited and self.received <= bound:
            await self._receive()
            self.ready = []
        return self.done
