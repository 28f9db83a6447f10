"""The request head: parsed for a server, built for a client (RFC 9112 §3, RFC 9110 §7.2).

`parse_request` is on the path of every request. One expression matches the request line of the common case, one finds all
fields; a request without a body or anything else out of the ordinary is done then. The rest is in `_read_line` (other
forms of target, escapes, HTTP/1.0), `_framing` (Content-Length, Transfer-Encoding) and `_read_options` (Connection, Expect,
Upgrade).
"""

from .errors import ParseError, shown
from .grammar import PLAIN_REQUEST_LINE, REQUEST_LINE
from .fields import tokens
from .head import CHUNKED, content_length, encode_field, find_head, parse_fields, transfer_codings  # noqa: F401
from .uri import normalize_path, split_host, split_target

match_plain_line = PLAIN_REQUEST_LINE.match


class Request:
    """A parsed request head. Strings are decoded from latin-1, so a character is a byte, `path` aside, which is UTF-8.

    method      as received: 'GET'
    target      as received: '/a%20b/../c?x=1'
    path        decoded and normalised, without query: '/c'; '*' for `OPTIONS *`, '' for CONNECT
    query       as received, without '?': 'x=1'; '' if there is none
    version     10 or 11; HTTP/1.2 and up count as 11
    fields      {lower-case name: value}; repeated fields are joined by ', ', Cookie by '; '
    pairs       [(name, value), …] as received
    authority   host and port as received: 'Example.com:8080'; from the target if that names one, else from Host
    host        lower case without port: 'example.com'; '' if there is none
    length      bytes of the body, 0 if there is none; CHUNKED (-1) if it is chunked
    keep_alive  whether the client wants the connection to stay open
    expect      whether the client waits for `100 Continue` before it sends the body
    upgrade     the Upgrade field, if Connection names it too; otherwise None
    """

    __slots__ = ('method', 'target', 'path', 'query', 'version', 'fields', 'pairs', 'authority', 'host', 'length',
                 'keep_alive', 'expect', 'upgrade')


def parse_request(data, start, end, into=Request):
    """Parse the head data[start:end] that `find_head` found. Returns `into()`, a Request, with all attributes set.

    Raises ParseError: 505 for another major version, 501 for an unknown transfer coding, 417 for an unknown expectation,
    otherwise 400.
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
        request.length = _framing(fields, request.version)
    request.keep_alive = True
    request.expect = False
    request.upgrade = None
    connection = fields.get('connection', 'keep-alive')
    if connection != 'keep-alive' or 'expect' in fields or request.version == 10:
        _read_options(request, connection)
    return request


def _read_line(request, line):
    """Set what any request line says; returns the authority if the target has one, else None."""
    request.method, request.target, major, minor = line.groups()
    if major != '1':
        raise ParseError(505, f'HTTP/{major}.{minor} is not served')
    request.version = 10 if minor == '0' else 11
    authority, request.path, request.query = split_target(request.method, request.target)
    return authority


def _framing(fields, version):
    """The length of the body (RFC 9112 §6.3). Raises ParseError where two readers could come to two answers."""
    coding = fields.get('transfer-encoding')
    if coding is None:
        return content_length(fields['content-length'])
    if 'content-length' in fields:
        raise ParseError(400, 'both Content-Length and Transfer-Encoding')
    if version == 10:
        raise ParseError(400, 'Transfer-Encoding in HTTP/1.0')
    codings = transfer_codings(coding)
    if codings is None:
        raise ParseError(400, f'Transfer-Encoding does not end in chunked: {shown(coding)}')
    if codings:
        raise ParseError(501, f'unknown transfer coding: {shown(coding)}')
    return CHUNKED


def _read_options(request, connection):
    """Set what Connection, Upgrade and Expect ask for; HTTP/1.0 knows neither of the last two (RFC 9110 §7.6.1, §7.8, §10.1.1)."""
    options = tokens(connection)
    request.keep_alive = 'close' not in options
    if request.version == 10:
        request.keep_alive &= 'keep-alive' in options and 'connection' in request.fields
    elif 'upgrade' in options:
        request.upgrade = request.fields.get('upgrade')
    for expectation in tokens(request.fields.get('expect', '')):
        if expectation != '100-continue':
            raise ParseError(417, f'unknown expectation: {shown(expectation)}')
        request.expect = request.version == 11 and request.length != 0


def request_head(method, target, pairs):
    """The bytes of a request head, blank line included. Raises ValueError for what would not be one request on the wire."""
    line = f'{method} {target} HTTP/1.1\r\n'
    if not REQUEST_LINE.fullmatch(line):
        raise ValueError(f'bad request line: {shown(line)}')
    return line.encode('ascii') + b''.join([encode_field(name, value) for name, value in pairs]) + b'\r\n'
