"""Bodies: where one ends, and what is in it (RFC 9112 §6, §7).

A decoder is fed what the connection brings, cut anywhere. `feed` returns the payload in it as a list of bytes, without copying
where a slice is the whole; `done` tells that the body has ended, and then `rest` is what came after it: the next message.
`finish` is called when the connection ends and raises ParseError if the body has not. Framing is as strict as in heads: CRLF
only, plain hexadecimal sizes, everything bounded.
"""

from .errors import ParseError, shown
from .grammar import CHUNK_LINE
from .head import LIMITS, check_lines, combined, split_fields

CHUNK_LINE_LIMIT = 512          # bytes of a chunk's size and extensions
EXTENSION_LIMIT = 16384         # bytes of extensions in a whole body (RFC 9112 §7.1.1 asks for such a limit)
LAST_CHUNK = b'0\r\n\r\n'
FORBIDDEN_TRAILERS = frozenset((        # RFC 9110 §6.5.1: what frames, routes or controls comes too late here
    'connection', 'content-encoding', 'content-length', 'content-range', 'content-type', 'host', 'keep-alive', 'te',
    'trailer', 'transfer-encoding', 'upgrade'))

match_chunk_line = CHUNK_LINE.match


class LengthDecoder:
    """A body of `length` bytes."""

    def __init__(self, length):
        self.left = length
        self.done = not length
        self.rest = b''
        self.trailers = {}

    def feed(self, data):
        """Take what was received; returns the payload in it."""
        size = len(data)
        if size < self.left:
            self.left -= size
            return [data] if data else []
        payload = data[:self.left]
        self.rest += data[self.left:]
        self.left = 0
        self.done = True
        return [payload] if payload else []

    def finish(self):
        """The connection ended: raises ParseError 400 if the body has not."""
        if not self.done:
            raise ParseError(400, f'the connection ended {self.left} bytes before the body')


class CloseDecoder:
    """A response body that ends where the connection does."""

    done = False
    rest = b''

    def __init__(self):
        self.trailers = {}

    def feed(self, data):
        """Take what was received; returns the payload in it."""
        return [data] if data else []

    def finish(self):
        """The connection ended, and so does the body."""
        self.done = True


class ChunkedDecoder:
    """A chunked body; `trailers` is {lower-case name: value} of the trailer fields, those aside that have no business there."""

    def __init__(self, limits=LIMITS):
        self.limits = limits
        self.done = False
        self.rest = b''
        self.trailers = {}
        self._held = b''                # received, but not yet a whole line
        self._left = 0                  # bytes of the chunk's data and of its CRLF that are still to come
        self._extensions = 0            # bytes of extensions so far
        self._last = False              # the last chunk has been seen: trailers follow

    def feed(self, data):
        """Take what was received; returns the payload in it. Raises ParseError 400, 431 for trailers beyond the limits."""
        payload = []
        if self.done:
            self.rest += data
            return payload
        if self._held:
            data = self._held + data
            self._held = b''
        at = 0
        while not self._last:
            if self._left:
                at = self._data(data, at, payload)
                if self._left:
                    return payload
            line = match_chunk_line(data, at)
            if not line:
                self._hold(data, at)
                return payload
            at = self._chunk(line)
        self._end(data, at)
        return payload

    def _data(self, data, at, payload):
        """Take chunk data and the CRLF after it from data[at:]; returns where they end. `_left` > 0 means more is to come."""
        left = self._left
        if left > 2:
            end = min(at + left - 2, len(data))
            if end > at:
                payload.append(data[at:end])
                left -= end - at
                at = end
        while 0 < left <= 2 and at < len(data):
            if data[at] != b'\n\r'[left - 1]:
                raise ParseError(400, f'no CRLF after a chunk: {shown(data[at:at + 1])}')
            at += 1
            left -= 1
        self._left = left
        return at

    def _chunk(self, line):
        """A chunk begins; returns where its line ends."""
        start, end = line.span()
        if end - start > CHUNK_LINE_LIMIT:
            raise ParseError(400, f'chunk line over {CHUNK_LINE_LIMIT} bytes')
        self._extensions += end - line.end(1) - 2
        if self._extensions > EXTENSION_LIMIT:
            raise ParseError(400, f'chunk extensions over {EXTENSION_LIMIT} bytes')
        size = int(line[1], 16)
        if size:
            self._left = size + 2
        else:
            self._last = True
        return end

    def _hold(self, data, at):
        """Keep the beginning of a chunk line. Raises ParseError if it is whole, since then it did not match, or too long."""
        end = data.find(b'\n', at, at + CHUNK_LINE_LIMIT)
        if end >= 0:
            raise ParseError(400, f'bad chunk line: {shown(data[at:end + 1])}')
        if len(data) - at >= CHUNK_LINE_LIMIT:
            raise ParseError(400, f'chunk line over {CHUNK_LINE_LIMIT} bytes')
        self._held = data[at:]

    def _end(self, data, at):
        """The last chunk is behind: take the trailers and the blank line."""
        end = at
        if not data.startswith(b'\r\n', at):
            end = data.find(b'\r\n\r\n', at) + 2
            text = (data[at:end] if end > 1 else data[at:]).decode('latin-1')
            check_lines(text, self.limits, None)
            if end < 2:
                self._held = data[at:]
                return
            fields = combined(split_fields(text))
            self.trailers = {name: fields[name] for name in fields if name not in FORBIDDEN_TRAILERS}
        self.rest = data[end + 2:]
        self.done = True

    def finish(self):
        """The connection ended: raises ParseError 400 if the body has not."""
        if not self.done:
            raise ParseError(400, 'the connection ended before the last chunk')


def chunk(data):
    """`data` as a chunk; nothing for no data, since an empty chunk would end the body."""
    return b'%x\r\n%b\r\n' % (len(data), data) if data else b''
