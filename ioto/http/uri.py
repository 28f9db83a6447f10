"""Targets, hosts, paths and queries (RFC 3986, RFC 9112 §3.2).

A path is decoded once and then normalised: a route or file is found by what the path means, with its dots and slashes
escaped or not. What no file is called (NUL, not UTF-8) and what is above the root is refused, not repaired.
"""

import re
from functools import lru_cache
from socket import AF_INET6, inet_pton

from .errors import HttpError, ParseError, shown
from .grammar import AUTHORITY

ESCAPE = re.compile(rb'%([0-9A-Fa-f]{2})')
BAD_ESCAPE = re.compile(rb'%(?![0-9A-Fa-f]{2})')
UNRESERVED = b'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~'


def percent_decode(text):
    """Decode %XX once; the bytes are UTF-8. Raises ValueError for a bad escape or bad UTF-8."""
    if '%' not in text:
        return text
    data = text.encode()
    if BAD_ESCAPE.search(data):
        raise ValueError(f'bad escape: {shown(text)}')
    return ESCAPE.sub(lambda escape: bytes((int(escape[1], 16),)), data).decode()


def percent_encode(text, safe='/'):
    """Encode all but letters, digits, "-._~" and the characters of `safe`."""
    keep = UNRESERVED + safe.encode()
    return ''.join([chr(byte) if byte in keep else f'%{byte:02X}' for byte in text.encode()])


def normalize_path(path):
    """Decode a path and remove dot segments and repeated slashes (RFC 3986 §5.2.4). Raises ParseError 400."""
    try:
        decoded = percent_decode(path)
    except ValueError:
        raise ParseError(400, f'bad escape or UTF-8 in the path: {shown(path)}') from None
    if '\0' in decoded:
        raise ParseError(400, f'NUL in the path: {shown(path)}')
    segments = []
    for segment in decoded.split('/'):
        if segment == '..':
            if not segments:
                raise ParseError(400, f'path above the root: {shown(path)}')
            segments.pop()
        elif segment and segment != '.':
            segments.append(segment)
    normal = '/' + '/'.join(segments)
    if segments and decoded.endswith(('/', '/.', '/..')):
        normal += '/'
    return normal


def split_target(method, target):
    """The authority or None, normalised path and raw query of a target (RFC 9112 §3.2). Raises ParseError 400."""
    if method == 'CONNECT':
        host, port = split_host(target)
        if not host or port is None:
            raise ParseError(400, f'CONNECT needs host:port: {shown(target)}')
        return target, '', ''
    if target == '*' and method == 'OPTIONS':
        return None, '*', ''
    path, _, query = target.partition('?')
    if path.startswith('/'):
        return None, normalize_path(path), query
    scheme, found, rest = path.partition('://')
    authority, slash, path = rest.partition('/')
    if not found or scheme.lower() not in ('http', 'https') or not split_host(authority)[0]:
        raise ParseError(400, f'bad request target: {shown(target)}')
    if not slash and method == 'OPTIONS' and '?' not in target:
        return authority, '*', ''
    return authority, normalize_path(f'/{path}'), query


@lru_cache(16)
def split_host(authority):
    """Split 'Example.com:80' into ('example.com', 80). The port may be None; an IPv6 address keeps its brackets.

    Raises ParseError 400 for what is no host, user information included (RFC 9110 §7.2).
    """
    if match := AUTHORITY.fullmatch(authority):
        host, port = match[1].lower(), int(match[2] or 0)
        if port < 65536 and (host[:1] != '[' or _is_ipv6(host[1:-1])):
            return host, port if match[2] else None
    raise ParseError(400, f'bad host: {shown(authority)}')


def _is_ipv6(address):
    try:
        return bool(inet_pton(AF_INET6, address))
    except OSError:
        return False


def parse_pairs(text):
    """The [(name, value), …] of a query or urlencoded form, str or bytes. Raises HttpError 400."""
    try:
        if not isinstance(text, str):
            text = str(text, 'utf-8')
        pairs = []
        for part in text.split('&'):
            if part:
                name, _, value = part.replace('+', ' ').partition('=')
                pairs.append((percent_decode(name), percent_decode(value)))
        return pairs
    except ValueError:
        raise HttpError(400, f'bad escape or UTF-8 in the form or query: {shown(text)}') from None


def parse_query(text):
    """The {name: value} of a query or a form; of a repeated name the last value."""
    return dict(parse_pairs(text))


parse_form = parse_query
