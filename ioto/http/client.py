"""The client's half: request heads built, response heads parsed, the body that ends with the connection (RFC 9112 §3, §4, §6.3)."""

from .errors import ParseError, shown
from .fields import Headers, tokens
from .grammar import REQUEST_LINE, VALUE, line_of
from .head import LIMITS, UNTIL_CLOSE, body_length, encode_field, parse_fields
from .head import find_head as find_any_head
from .status import status_line

# RFC 9112 §4: the status line; some servers leave out the space before an absent reason phrase.
STATUS_LINE, STATUS_PREFIX = line_of(
    *'HTTP/', '[0-9]', r'\.', '[0-9]', ' ', '[1-9]', '[0-9]', '[0-9]', f'(?: [{VALUE}]*+)?+', '\r', '\n')


class Response:
    """A response head.

    status, reason  100 to 999, and the phrase, '' if there is none
    version         10 or 11; HTTP/1.2 and up count as 11
    fields          Headers; fields.all('set-cookie') for Set-Cookie
    pairs           [(name, value), …] as received
    length          bytes of the body, CHUNKED or UNTIL_CLOSE
    keep_alive      whether the connection may be used again
    """

    __slots__ = ('status', 'reason', 'version', 'fields', 'pairs', 'length', 'keep_alive')


def find_head(data, start=0, limits=LIMITS):
    """`head.find_head` for a response."""
    return find_any_head(data, start, limits, STATUS_PREFIX)


def request_head(method, target, pairs):
    """The bytes of a request head, blank line included. Raises ValueError for what would not be one."""
    line = f'{method} {target} HTTP/1.1\r\n'
    if not REQUEST_LINE.fullmatch(line):
        raise ValueError(f'bad request line: {shown(line)}')
    return line.encode('ascii') + b''.join([encode_field(name, value) for name, value in pairs]) + b'\r\n'


def parse_response(data, start, end, method='GET'):
    """Parse the head data[start:end], the answer to a request with `method`. Raises ParseError."""
    text = data[start:end].decode('latin-1')
    line = STATUS_LINE.match(text)
    pairs = parse_fields(text, line, STATUS_PREFIX)[1]
    if text[5] != '1':
        raise ParseError(505, f'{text[:8]} is not understood')
    response = Response()
    response.status = status = int(text[9:12])
    response.reason = text[13:line.end() - 2]
    response.version = 10 if text[7] == '0' else 11
    response.pairs = pairs
    response.fields = fields = Headers(pairs)
    bare = method == 'HEAD' or status < 200 or status in (204, 304) or method == 'CONNECT' and status < 300
    response.length = 0 if bare else body_length(fields, response.version)      # RFC 9112 §6.3
    options = tokens(fields.get('connection', ''))
    response.keep_alive = ('close' not in options and response.length != UNTIL_CLOSE
                           and (response.version == 11 or 'keep-alive' in options))
    return response


def response_head(status, pairs):
    """The bytes of a response head, blank line included. Raises ValueError as `encode_field` does."""
    return status_line(status) + b''.join([encode_field(name, value) for name, value in pairs]) + b'\r\n'


class CloseDecoder:
    """A response body that ends with the connection."""

    done = False
    rest = b''

    def __init__(self):
        self.trailers = {}

    def feed(self, data):
        return [data] if data else []

    def finish(self):
        self.done = True
