"""The head of a message, request or response: its end, its fields, its first fault (RFC 9112 §2.2, §5, §6).

A whole head costs one search for the blank line and one expression that finds all fields. One that is not whole, may be
over a limit or does not match is read line by line in `check_lines`, which raises the fault that is first in the bytes.
What takes the whole head to see, such as version, Host and framing, comes after that.
"""

from .errors import ParseError, shown
from .grammar import FIELD_LINE, FIELD_LINES, FIELD_PREFIX, REQUEST_PREFIX

CHUNKED = -1            # length of a chunked body
UNTIL_CLOSE = -2        # length of a response body that ends with the connection

find_fields = FIELD_LINES.findall


class HeadLimits:
    """Bounds of a head: bytes of a line without its CRLF, bytes of all lines with theirs, number of fields."""

    __slots__ = ('line', 'head', 'fields', 'short')

    def __init__(self, line=8192, head=16384, fields=100):
        self.line = line
        self.head = head
        self.fields = fields
        self.short = min(line, head, 4 * fields)        # a head this short is within all bounds


LIMITS = HeadLimits()


def find_head(data, start=0, limits=LIMITS, first_line=REQUEST_PREFIX):
    """Find the head in `data` from `start` on, empty lines skipped (RFC 9112 §2.2); returns (start, end).

    The blank line is at `end`, the body at `end + 2`; `end` is -1 until the head is whole. Raises ParseError: 414 for a
    request line over a limit, 431 for fields, otherwise 400.
    """
    while data.startswith(b'\r\n', start):
        start += 2
    end = data.find(b'\r\n\r\n', start)
    if end < 0:
        check_lines(data[start:].decode('latin-1'), limits, first_line)
        return start, -1
    end += 2
    size = end - start
    if size > limits.short and (
            size > limits.line or size > limits.head or data.count(b'\n', start, end) > limits.fields + 1):
        check_lines(data[start:end].decode('latin-1'), limits, first_line)
    return start, end


def parse_fields(text, line, first_line=REQUEST_PREFIX):
    """The fields of a whole head as {lower-case name: value} and [(name, value), …]. Raises ParseError 400.

    `line` is the match of the first line, None if it did not match.
    """
    pairs = line and find_fields(text, line.end())
    if pairs is None or len(pairs) != text.count('\n') - 1:
        check_lines(text, None, first_line)
        pairs = split_fields(text, line.end())
    fields = {lower[name]: value for name, value in pairs}
    if len(fields) != len(pairs):
        fields = combined(pairs)
    return fields, pairs


def split_fields(text, start=0):
    """The [(name, value), …] of checked field lines."""
    lines = [line.partition(':') for line in text[start:].split('\r\n')[:-1]]
    return [(name, value.strip(' \t')) for name, _, value in lines]


def combined(pairs):
    """{lower-case name: value}, the values of a repeated field joined (RFC 9110 §5.3; Cookie: RFC 6265 §5.4)."""
    fields = {}
    for name, value in pairs:
        name = lower[name]
        if name in fields:
            value = f'{fields[name]}{"; " if name == "cookie" else ", "}{value}'
        fields[name] = value
    return fields


class _Lower(dict):
    """The lower case of names: faster than str.lower, and requests share the memory."""

    def __missing__(self, name):
        low = name.lower()
        if len(self) < 200 and len(name) < 40:
            self[name] = low
        return low


lower = _Lower()


def check_lines(text, limits=None, first_line=REQUEST_PREFIX):
    """Raise ParseError for the first byte of `text`, the beginning of a head, that no valid head has there.

    `first_line` is the prefix expression of the first line, None if all lines are fields.
    """
    line, head, fields = (limits.line, limits.head, limits.fields) if limits else [len(text) + 2] * 3
    if text == '\r' or text.endswith('\n\r'):
        text = text[:-1]                # it may be half of the blank line
    prefix = first_line or FIELD_PREFIX
    count = 0 if first_line else 1
    begin = 0
    while begin < len(text):
        if count > fields:
            raise ParseError(431, f'more than {fields} fields')
        end = prefix.match(text, begin).end()
        size = len(text[begin:end].rstrip('\r\n'))
        if size > line or begin + size + 2 > head:
            what = f'line over {line} bytes' if size > line else f'head over {head} bytes'
            raise ParseError(414 if prefix is REQUEST_PREFIX else 431, what)
        if end < len(text) and (end == begin or text[end - 1] != '\n'):
            last = text[begin:end + 1]
            what = 'field' if prefix is FIELD_PREFIX else 'first line'
            if '\r' in last or last.endswith('\n'):
                what = 'line end'
            raise ParseError(400, f'bad {what}: {shown(last)}')
        begin = end
        prefix = FIELD_PREFIX
        count += 1


def body_length(fields, version):
    """Bytes of the body, CHUNKED or UNTIL_CLOSE (RFC 9112 §6.3). Raises ParseError where readers could differ.

    An identical repeated Content-Length counts once (RFC 9110 §8.6).
    """
    length = fields.get('content-length')
    coding = fields.get('transfer-encoding')
    if coding is None:
        if length is None:
            return UNTIL_CLOSE
        number, *others = {number.strip(' \t') for number in length.split(',')} if ',' in length else (length,)
        if others or len(number) > 18 or not number.isdecimal():
            raise ParseError(400, f'bad Content-Length: {shown(length)}')
        return int(number)
    if length is not None or version == 10:
        raise ParseError(400, 'Transfer-Encoding with Content-Length or in HTTP/1.0')
    *codings, last = [name.strip(' \t').lower() for name in coding.split(',')]
    if not last or '' in codings or 'chunked' in codings:
        raise ParseError(400, f'bad Transfer-Encoding: {shown(coding)}')
    if last != 'chunked':
        return UNTIL_CLOSE
    if codings:
        raise ParseError(501, f'unknown transfer coding: {shown(coding)}')
    return CHUNKED


def encode_field(name, value):
    """The bytes of a field line. Raises ValueError for a name that is no token and for control bytes in the value."""
    line = f'{name}: {value}\r\n'
    if ':' in name or not FIELD_LINE.fullmatch(line):
        raise ValueError(f'bad field: {line!a}')
    return line.encode('latin-1')
