"""multipart/form-data: the parts of a form as they arrive (RFC 7578, RFC 2046 §5.1).

`Multipart` is fed a body that is cut anywhere and returns events: a `Part` where one begins, bytes of its content,
None where it ends. Content is searched for the delimiter (CRLF, two hyphens, boundary) and passed on uncopied where a
slice is the whole; only what may be the beginning of a delimiter is held back. All else is bounded and as the grammar
has it: CRLF only, no text before the first part or behind the last beyond `OUTSIDE`, nothing behind a boundary on its
line. What is not is a ParseError.

Names are UTF-8. Of the escapes in them `\\"` and `\\\\` count (old clients), and %22, %0D and %0A (browsers, curl);
`filename*` is taken as RFC 8187 has it.
"""

import re

from .errors import ParseError, shown
from .head import LIMITS, check_lines, combined, split_fields
from .lists import parameters
from .uri import percent_decode

HEAD = 8192             # bytes of a part's head
OUTSIDE = 1024          # bytes before the first boundary, and behind the last
PADDING = 64            # bytes of white space behind a boundary

BOUNDARY = r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]"       # RFC 2046 §5.1.1
DELIMITER_END = re.compile(rb'(--)|[\t ]*+\r\n')
DELIMITER_MORE = re.compile(rb'-?|[\t ]*+\r?')
EPILOGUE = re.compile(rb'(?s:[\t ]*+(?:\r(?:\n.*)?)?)')


class Part:
    """The head of a part: `name`, `filename` (None for what is no file), `content_type` ('' for none)."""

    __slots__ = ('name', 'filename', 'content_type')

    def __init__(self, text):
        check_lines(text, LIMITS, None)
        fields = combined(split_fields(text))
        kind, found = parameters(fields.get('content-disposition', ''), True)
        if kind != 'form-data' or 'name' not in found:
            raise ParseError(400, 'a part of the form has no name')
        self.name = _text(found['name'])
        self.filename = found.get('filename')
        if self.filename is not None:
            self.filename = _text(self.filename)
        if 'filename*' in found:
            self.filename = _extended(found['filename*'])
        self.content_type = fields.get('content-type', '')
        coding = fields.get('content-transfer-encoding', 'binary').lower()
        if coding not in ('binary', '8bit', '7bit') or self.content_type[:10].lower() == 'multipart/':
            raise ParseError(415, 'a part of the form is encoded, or has parts itself')


class Multipart:
    """The decoder for a request's Content-Type; `done` when the last boundary was seen. Raises ParseError."""

    def __init__(self, content_type):
        boundary = parameters(content_type, True)[1].get('boundary', '')
        if not re.fullmatch(BOUNDARY, boundary):
            raise ParseError(400, f'bad boundary: {shown(boundary)}')
        self.done = False
        self._delimiter = b'\r\n--' + boundary.encode()
        self._step = Multipart._content
        self._held = b'\r\n'            # received, but not understood; the first delimiter may lack its CRLF
        self._skip = 2                  # bytes in front of the content that are a delimiter's if one follows at once
        self._outside = OUTSIDE         # bytes of preamble that may come, None within the parts

    def feed(self, data):
        """Return the events of some more bytes."""
        if self._held:
            data = self._held + data
            self._held = b''
        events = []
        at = 0
        while at >= 0:
            at = self._step(self, data, at, events)
        return events

    def finish(self):
        """Say that the body has ended."""
        if not self.done:
            raise ParseError(400, 'the form ended before its last boundary')

    # Each step takes what it understands from data[at:] and returns where the next begins, -1 when more has to come.

    def _content(self, data, at, events):
        delimiter = self._delimiter
        found = end = data.find(delimiter, at)
        if found < 0:
            end = data.rfind(b'\r', max(at, len(data) - len(delimiter) + 1))
            if end < 0 or not delimiter.startswith(data[end:]):
                end = len(data)
            self._held = data[end:]
        if end > at:
            start = at + self._skip
            self._skip = 0
            if self._outside is not None:
                self._outside -= end - start
                if self._outside < 0:
                    raise ParseError(400, 'the form does not begin with its boundary')
            elif end > start:
                events.append(data[start:end])
        if found < 0:
            return -1
        if self._outside is None:
            events.append(None)
        self._outside = None
        self._step = Multipart._delimiter_end
        return found + len(delimiter)

    def _delimiter_end(self, data, at, events):
        line = DELIMITER_END.match(data, at)
        if not line:
            if len(data) - at > PADDING or not DELIMITER_MORE.fullmatch(data, at):
                raise ParseError(400, f'a boundary is followed by {shown(data[at:at + 40])}')
            self._held = data[at:]
            return -1
        self._step = Multipart._epilogue if line[1] else Multipart._head
        return line.end()

    def _head(self, data, at, events):
        end = data.find(b'\r\n\r\n', at, at + HEAD)
        if end < 0 and len(data) - at < HEAD and not data.startswith(b'\r\n', at):
            self._held = data[at:]
            return -1
        if end < 0:
            raise ParseError(400, f'a part of the form has no head, or one over {HEAD} bytes')
        events.append(Part(data[at:end + 2].decode('latin-1')))
        self._step = Multipart._content
        self._skip = 2
        return end + 2

    def _epilogue(self, data, at, events):
        self.done = True
        self._held = data[at:]
        if len(self._held) > OUTSIDE or not EPILOGUE.fullmatch(self._held):
            raise ParseError(400, 'something follows the last boundary')
        return -1


def _text(value):
    try:
        value = value.encode('latin-1').decode()
    except ValueError:
        raise ParseError(400, f'a name is not UTF-8: {shown(value)}') from None
    return re.sub('%(22|0[AD])', lambda escape: chr(int(escape[1], 16)), value)


def _extended(value):
    """The text of an ext-value, UTF-8'language'escaped (RFC 8187 §3.2)."""
    try:
        charset, _, text = value.split("'")
        if charset.lower() == 'utf-8':
            return percent_decode(text)
    except ValueError:
        pass
    raise ParseError(400, f'bad file name: {shown(value)}')
