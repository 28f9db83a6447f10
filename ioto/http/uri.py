"""Targets, hosts, paths and queries (RFC 3986, RFC 9112 §3.2).

A path is decoded exactly once and then normalised, so that a route or a file name is compared with what it means: a slash or
dot that came as an escape counts as one. What cannot be a path on any disk (NUL, bytes that are not UTF-8) or points above the
root is refused and not repaired.
"""

import re
from functools import lru_cache

from .errors import HttpError, ParseError, shown
from .grammar import AUTHORITY

ESCAPE = re.compile(rb'%([0-9A-Fa-f]{2})')
BAD_ESCAPE = re.compile(rb'%(?![0-9A-Fa-f]{2})')
DOTTED = re.compile(r'(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?!$)|$)){4}')
HEXTET = re.compile(r'[0-9a-f]{1,4}')
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
    """Encode all but letters, digits, "-._~" and the characters of `safe`. The opposite of percent_decode."""
    keep = UNRESERVED + safe.encode()
    return ''.join([chr(byte) if byte in keep else f'%{byte:02X}' for byte in text.encode()])


def normalize_path(path):
    """Decode a path and remove its dot segments and repeated slashes (RFC 3986 §5.2.4); the result starts with '/'.

    Raises ParseError 400 for a bad escape, bad UTF-8, NUL and a path above the root.
    """
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
    """Split a request target into (authority or None, normalised path, raw query) (RFC 9112 §3.2). Raises ParseError 400."""
    if method == 'CONNECT':
        if not split_host(target)[0] or split_host(target)[1] is None:
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
    """Split 'Example.com:8080' into ('example.com', 8080); the port is None if there is none, the host may be ''.

    An IPv6 address keeps its brackets. Raises ParseError 400 for what is no host (RFC 9110 §7.2), user information included.
    """
    match = AUTHORITY.fullmatch(authority)
    if not match or len(authority) > 300:
        raise ParseError(400, f'bad host: {shown(authority)}')
    host, port = match.groups()
    host = host.lower()
    if host.startswith('[') and not _is_ipv6(host[1:-1]) or port is not None and not host or int(port or 0) > 65535:
        raise ParseError(400, f'bad host: {shown(authority)}')
    return host, int(port) if port else None


def _is_ipv6(address):
    head, gap, tail = address.partition('::')
    groups = (head.split(':') if head else []) + (tail.split(':') if tail else [])
    size = len(groups)
    if groups and not address.endswith('::') and DOTTED.fullmatch(groups[-1]):
        groups.pop()
        size += 1
    return all(map(HEXTET.fullmatch, groups)) and (size < 8 if gap else size == 8)


def parse_pairs(text):
    """The [(name, value), …] of a query or an urlencoded form, str or bytes. Raises HttpError 400 for bad escapes or UTF-8."""
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
