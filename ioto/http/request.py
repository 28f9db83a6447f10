"""The request head, as a server reads it (RFC 9112 §3, RFC 9110 §7.2).

`parse_request` is on the path of every request: one expression matches the usual request line, one finds the fields,
and a request without anything unusual is done. `_read_line` takes other targets and versions, `body_length` the
framing, `_read_options` Connection, Upgrade and Expect.
"""

from .errors import ParseError, shown
from .fields import tokens
from .grammar import PLAIN_REQUEST_LINE, REQUEST_LINE
from .head import UNTIL_CLOSE, body_length, parse_fields
from .uri import normalize_path, split_host, split_target

match_plain_line = PLAIN_REQUEST_LINE.match


class Request:
    """A request head. A character is a byte (latin-1), except in `path`, which was UTF-8.

    method, target  as received: 'GET', '/a%20b/../c?x=1'
    path            decoded and normalised: '/c'; '*' for `OPTIONS *`, '' for CONNECT
    query           as received, without '?': 'x=1'; '' if there is none
    version         10 or 11; HTTP/1.2 and up count as 11
    fields          {lower-case name: value}; repeated ones are joined by ', ', Cookie by '; '
    pairs           [(name, value), …] as received
    authority       of the target, else of Host, as received: 'Example.com:8080'; '' if there is none
    host            the same in lower case without port: 'example.com'
    length          bytes of the body, 0 if there is none, or CHUNKED
    keep_alive      whether the connection may stay open
    expect          whether the client waits for `100 Continue` before it sends the body
    protocol        the Upgrade field, if Connection names it, else None
    """

    __slots__ = ('method', 'target', 'path', 'query', 'version', 'fields', 'pairs', 'authority', 'host', 'length',
                 'keep_alive', 'expect', 'protocol')


def parse_request(data, start, end, into=Request):
    """Parse the head data[start:end] that `find_head` found into a new `into()`, a Request.

    Raises ParseError: 505 for the version, 501 for the transfer coding, 417 for the expectation, otherwise 400.
    """
    text = data[start:end].decode('latin-1')
    plain = match_plain_line(text)
    line = plain or REQUEST_LINE.match(text)
    fields, pairs = parse_fields(text, line)
    request = into()
    request.fields = fields
    request.pairs = pairs
    authority = None
    if plain:
        request.version = 11
        request.method, request.target, path, request.query = plain.groups('')
        request.path = normalize_path(path) if '//' in path or '/.' in path else path
    else:
        authority = _read_line(request, line)
    host = fields.get('host')
    if host is not None:
        request.authority = host
        request.host = split_host(host)[0]
    elif request.version == 11:
        raise ParseError(400, 'no Host')
    else:
        request.authority = request.host = ''
    if authority is not None:
        request.authority = authority
        request.host = split_host(authority)[0]
    request.length = 0
    if 'content-length' in fields or 'transfer-encoding' in fields:
        request.length = body_length(fields, request.version)
        if request.length == UNTIL_CLOSE:
            raise ParseError(400, 'Transfer-Encoding does not end in chunked')
    request.keep_alive = True
    request.expect = False
    request.protocol = None
    connection = fields.get('connection', 'keep-alive')
    if connection != 'keep-alive' or 'expect' in fields or request.version == 10:
        _read_options(request, connection)
    return request


def _read_line(request, line):
    """Take any request line; returns the authority of the target, or None."""
    request.method, request.target, major, minor = line.groups()
    if major != '1':
        raise ParseError(505, f'HTTP/{major}.{minor} is not served')
    request.version = 10 if minor == '0' else 11
    authority, request.path, request.query = split_target(request.method, request.target)
    return authority


def _read_options(request, connection):
    """Take Connection, Upgrade and Expect; HTTP/1.0 knows but the first (RFC 9110 §7.6.1, §7.8, §10.1.1)."""
    options = tokens(connection)
    request.keep_alive = 'close' not in options
    if request.version == 10:
        request.keep_alive &= 'keep-alive' in options and 'connection' in request.fields
    elif 'upgrade' in options:
        request.protocol = request.fields.get('upgrade')
    for expectation in tokens(request.fields.get('expect', '')):
        if expectation != '100-continue':
            raise ParseError(417, f'unknown expectation: {shown(expectation)}')
        request.expect = request.version == 11 and request.length != 0
