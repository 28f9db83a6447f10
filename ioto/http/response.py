"""The response head: parsed for a client, built for a server (RFC 9112 §4, §6.3)."""

from .errors import ParseError, shown
from .fields import Headers, tokens
from .grammar import STATUS_LINE, STATUS_LINE_PREFIX
from .head import CHUNKED, LIMITS, UNTIL_CLOSE, content_length, encode_field, parse_fields, transfer_codings
from .head import find_head as find_any_head
from .status import status_line


class Response:
    """A parsed response head.

    status      100 to 999
    reason      the reason phrase, '' if there is none
    version     10 or 11; HTTP/1.2 and up count as 11
    fields      Headers: {lower-case name: value}; read Set-Cookie by fields.all('set-cookie')
    pairs       [(name, value), …] as received
    length      bytes of the body; CHUNKED (-1); UNTIL_CLOSE (-2): the body ends where the connection does
    keep_alive  whether the connection may be used again
    """

    __slots__ = ('status', 'reason', 'version', 'fields', 'pairs', 'length', 'keep_alive')


def find_head(data, start=0, limits=LIMITS):
    """`head.find_head` for a response."""
    return find_any_head(data, start, limits, STATUS_LINE_PREFIX)


def parse_response(data, start, end, method='GET'):
    """Parse the head data[start:end], the answer to a request with `method`. Raises ParseError 502 for what cannot be trusted."""
    text = data[start:end].decode('latin-1')
    line = STATUS_LINE.match(text)
    pairs = parse_fields(text, line, STATUS_LINE_PREFIX)[1]
    major, minor, status, reason = line.groups('')
    if major != '1':
        raise ParseError(505, f'HTTP/{major}.{minor} is not understood')
    response = Response()
    response.status = int(status)
    response.reason = reason
    response.version = 10 if minor == '0' else 11
    response.pairs = pairs
    response.fields = fields = Headers(pairs)
    response.length = _framing(response, method)
    options = tokens(fields.get('connection', ''))
    response.keep_alive = ('close' not in options and response.length != UNTIL_CLOSE
                           and (response.version == 11 or 'keep-alive' in options))
    return response


def _framing(response, method):
    """The length of the body (RFC 9112 §6.3)."""
    status, fields = response.status, response.fields
    if method == 'HEAD' or status < 200 or status in (204, 304) or method == 'CONNECT' and status < 300:
        return 0
    coding, length = fields.get('transfer-encoding'), fields.get('content-length')
    if coding is None:
        return UNTIL_CLOSE if length is None else content_length(length)
    if length is not None or response.version == 10:
        raise ParseError(502, 'Transfer-Encoding with Content-Length or in HTTP/1.0')
    codings = transfer_codings(coding)
    if codings:
        raise ParseError(502, f'unknown transfer coding: {shown(coding)}')
    return UNTIL_CLOSE if codings is None else CHUNKED


def response_head(status, pairs):
    """The bytes of a response head, blank line included. Raises ValueError for a bad name or CR, LF or NUL in a value."""
    return status_line(status) + b''.join([encode_field(name, value) for name, value in pairs]) + b'\r\n'
