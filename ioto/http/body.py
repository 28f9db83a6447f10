"""Bodies: what is in one and where it ends (RFC 9112 §6, §7).

A decoder is fed what the connection brings, cut anywhere; `feed` returns the payload in it as a list of bytes, not
copied where a slice is the whole. When `done`, `rest` is what came after the body. `finish` is called when the
connection ends, and raises ParseError if the body has not.
"""

from .errors import ParseError, shown
from .grammar import CHUNK_LINE
from .head import LIMITS, check_lines, combined, split_fields

CHUNK_LINE_LIMIT = 512          # bytes of a chunk's size and extensions
EXTENSION_LIMIT = 16384         # bytes of extensions in a body (RFC 9112 §7.1.1)
LAST_CHUNK = b'0\r\n\r\n'

match_chunk_line = CHUNK_LINE.match


class LengthDecoder:
    """A body of `length` bytes."""

    def __init__(self, length):
        self.left = length
        self.done = not length
        self.rest = b''
        self.trailers = {}

    def feed(self, data):
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
        if not self.done:
            raise ParseError(400, f'the connection ended {self.left} bytes before the end of the body')


class ChunkedDecoder:
    """A chunked body; what is not payload is bounded. `trailers`, {lower-case name: value}, never joins the head."""

    def __init__(self, limits=LIMITS):
        self.limits = limits
        self.done = False
        self.rest = b''
        self.trailers = {}
        self._held = b''                # received, but no whole line yet
        self._left = 0                  # bytes of the chunk and its CRLF to come
        self._extensions = 0            # bytes of extensions so far
        self._last = False              # trailers follow

    def feed(self, data):
        """Raises ParseError: 431 for trailers over the limits, otherwise 400."""
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
            line = match_chunk_line(data, at, at + CHUNK_LINE_LIMIT)
            if not line:
                self._hold(data, at)
                return payload
            at = self._chunk(line)
        self._end(data, at)
        return payload

    def _data(self, data, at, payload):
        """Take the chunk and its CRLF from data[at:]; returns where they end. If `_left` is not 0, more is to come."""
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
        end = line.end()
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
        """Keep the beginning of a chunk line. Whole, it did not match: an error, as is a long one."""
        end = data.find(b'\n', at, at + CHUNK_LINE_LIMIT)
        if end >= 0:
            raise ParseError(400, f'bad chunk line: {shown(data[at:end + 1])}')
        if len(data) - at >= CHUNK_LINE_LIMIT:
            raise ParseError(400, f'chunk line over {CHUNK_LINE_LIMIT} bytes')
        self._held = data[at:]

    def _end(self, data, at):
        """Take the trailers and the blank line."""
        end = at
        if not data.startswith(b'\r\n', at):
            end = data.find(b'\r\n\r\n', at) + 2
            text = (data[at:end] if end > 1 else data[at:]).decode('latin-1')
            check_lines(text, self.limits, None)
            if end < 2:
                self._held = data[at:]
                return
            self.trailers = combined(split_fields(text))
        self.rest = data[end + 2:]
        self.done = True

    def finish(self):
        if not self.done:
            raise ParseError(400, 'the connection ended before the last chunk')


def chunk(data):
    """`data` as a chunk; b'' for no data, as an empty chunk would end the body."""
    return b'%x\r\n%b\r\n' % (len(data), data) if data else b''
