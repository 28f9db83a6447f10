"""The head of a message, request or response: where it ends, which byte is its first fault, and what frames the body.

A head that is whole is found by one search for the blank line and parsed by one regular expression over all its fields
(`parse_fields`). Everything rare leaves that path: a head that has not arrived whole, one near a limit, and one that did not
match is read line by line (`check_lines`) and the first fault in byte order is raised. Whether a byte is a fault depends on the
bytes before it alone. So the error, with its message, is the same whether the head came whole or byte by byte.

A fault of a line is found in byte order; what needs the whole head (Host, framing, the version) is looked at after that.
RFC 9112 §2.2, §5, §6.
"""

from .errors import ParseError, shown
from .grammar import CONTENT_LENGTH, FIELD, FIELD_LINE, FIELD_LINE_PREFIX, REQUEST_LINE_PREFIX

CHUNKED = -1            # a body length: the body is chunked
UNTIL_CLOSE = -2        # a body length: the body ends where the connection does; responses only

find_field_lines = FIELD_LINE.findall


class HeadLimits:
    """Bounds of a head: bytes of a line, bytes of all lines with their CRLFs, number of fields."""

    __slots__ = ('line', 'head', 'fields', 'short')

    def __init__(self, line=8192, head=16384, fields=100):
        self.line = line
        self.head = head
        self.fields = fields
        self.short = min(line, head, 4 * fields)        # a head this short is within all bounds


LIMITS = HeadLimits()


def find_head(data, start=0, limits=LIMITS, first_line=REQUEST_LINE_PREFIX):
    """Find the head in `data` (bytes or bytearray) from `start` on; empty lines before it are skipped (RFC 9112 §2.2).

    Returns (start, end): where the head starts, and where the blank line after it does, so that the body starts at `end + 2`;
    `end` is -1 as long as the head is not there whole. Raises ParseError at the first byte that no valid head has, with status
    414 for a long request line, 431 for long or too many fields, otherwise 400.
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


def parse_fields(text, line, first_line=REQUEST_LINE_PREFIX):
    """The fields of a whole head as ({lower-case name: value}, [(name, value), …]).

    `line` is the match of the first line, or None if it did not match. Raises ParseError 400 for the first fault.
    """
    pairs = line and find_field_lines(text, line.end())
    if pairs is None or len(pairs) != text.count('\n') - 1:
        check_lines(text, None, first_line)
        pairs = split_fields(text, line.end())
    fields = {lower[name]: value for name, value in pairs}
    if len(fields) != len(pairs):
        fields = combined(pairs)
    return fields, pairs


def split_fields(text, start=0):
    """The [(name, value), …] of field lines that are known to be valid; white space around a value is no part of it."""
    lines = [line.partition(':') for line in text[start:].split('\r\n')[:-1]]
    return [(name, value.strip(' \t')) for name, _, value in lines]


class _LowerNames(dict):
    """Field names to lower case: a look-up is faster than str.lower, and the names of all requests share their memory."""

    __slots__ = ()

    def __missing__(self, name):
        low = name.lower()
        if len(self) < 200 and len(name) < 40:
            self[name] = low
        return low


lower = _LowerNames()


def combined(pairs):
    """{lower-case name: value} with the values of a repeated field joined (RFC 9110 §5.3; Cookie: RFC 9113 §8.2.3)."""
    fields = {}
    for name, value in pairs:
        name = lower[name]
        if name in fields:
            value = f'{fields[name]}{"; " if name == "cookie" else ", "}{value}'
        fields[name] = value
    return fields


def check_lines(text, limits=None, first_line=REQUEST_LINE_PREFIX):
    """Raise ParseError for the first byte of `text`, the head or its beginning, that no valid head has at this place.

    With `first_line` None, as in trailers, all lines are fields. Returns None where there is no such byte.
    """
    line, head, fields = (limits.line, limits.head, limits.fields) if limits else (len(text),) * 3
    begin = 0
    prefix = first_line or FIELD_LINE_PREFIX
    count = 0 if first_line else 1
    if text == '\r' or text.endswith('\n\r'):
        text = text[:-1]                # perhaps half of the blank line
    while begin < len(text):
        if count > fields:
            raise ParseError(431, f'more than {fields} fields')
        end = prefix.match(text, begin).end()
        length = end - begin
        if length and text[end - 1] in '\r\n':
            length = len(text[begin:end].rstrip('\r\n'))
        if length > line or begin + length + 2 > head:
            status = 414 if prefix is REQUEST_LINE_PREFIX else 431
            raise ParseError(status, f'line over {line} bytes' if length > line else f'head over {head} bytes')
        if end < len(text) and not (length and text[end - 1] == '\n'):
            raise _fault(text, begin, end, prefix)
        begin = end
        prefix = FIELD_LINE_PREFIX
        count += 1


def _fault(text, begin, at, prefix):
    """The error for the byte at `at` of the line that begins at `begin`."""
    byte = text[at]
    if at > begin and text[at - 1] == '\r':
        what = 'CR without LF'
    elif byte == '\n':
        what = 'LF without CR'
    elif prefix is not FIELD_LINE_PREFIX:
        what = 'bad request line' if prefix is REQUEST_LINE_PREFIX else 'bad status line'
    elif at == begin and byte in ' \t':
        what = 'folded field' if begin else 'space before the first field'
    elif ':' in text[begin:at]:
        what = 'bad byte in a field value'
    elif byte in ' \t':
        what = 'space in or after a field name'
    else:
        what = 'bad byte in a field name'
    return ParseError(400, f'{what}: {shown(text[begin:at + 1])}')


def content_length(value):
    """The number of a Content-Length value; the same number repeated counts once (RFC 9110 §8.6). Raises ParseError 400."""
    match = CONTENT_LENGTH.fullmatch(value)
    if not match:
        raise ParseError(400, f'bad Content-Length: {shown(value)}')
    return int(match[1])


def transfer_codings(value):
    """The codings before the final `chunked` of a Transfer-Encoding value, or None if it does not end in `chunked`.

    Raises ParseError 400 for an empty member and for `chunked` anywhere else: a proxy may read such a list otherwise.
    """
    codings = [coding.strip(' \t').lower() for coding in value.split(',')]
    last = codings.pop()
    if not last or '' in codings or 'chunked' in codings:
        raise ParseError(400, f'bad Transfer-Encoding: {shown(value)}')
    return codings if last == 'chunked' else None


def encode_field(name, value):
    """The bytes of a field line. Raises ValueError for a name that is no token and for CR, LF, NUL and the like in the value."""
    line = f'{name}: {value}'
    if not FIELD.fullmatch(line):
        raise ValueError(f'bad field: {shown(line)}')
    return line.encode('latin-1') + b'\r\n'
