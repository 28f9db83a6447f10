"""Whole URLs: parsed, resolved against a base, their queries built (RFC 3986, RFC 9110 §4.2). Targets of requests are
in uri.py.

`parse_url` gives a Url that can go onto a request line as it is: spaces and what is not ASCII are escaped, host names
become their ASCII form (RFC 5891, by RFC 3492 without Python's codec, for python3-light lacks the tables that it
loads), dot segments are gone. Control characters, and authorities that readers could take differently, are refused
and never repaired.

'unix:/run/app.sock:/path?query' is the path of a server behind a UNIX socket.
"""

import re
from functools import lru_cache

from .errors import ParseError, shown
from .grammar import URI
from .uri import percent_decode, percent_encode, split_host

# RFC 3986 appendix B
PARTS = re.compile(r'(?:([A-Za-z][A-Za-z0-9+.\-]*+):)?+(?://([^/?#]*+))?+([^?#]*+)(?:\?([^#]*+))?+(?:#(.*+))?+')
CONTROLS = re.compile(r'[\x00-\x1f\x7f]')
UNSAFE = re.compile(rf'%(?![0-9A-Fa-f]{{2}})|[^{URI}?]')
USER = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:]|%[0-9A-Fa-f]{2})*+"
LABEL = re.compile(r'[^\x00-\x2c\x2e\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]++')
DOTS = re.compile('[.\u3002\uff0e\uff61]')                         # RFC 3490 §3.1
PORTS = {'http': 80, 'https': 443, 'ws': 80, 'wss': 443}


class Url:
    """An absolute URL; not to be changed.

    scheme, host, port  'http', 'https', 'ws' or 'wss', host in lower case (an IPv6 address in brackets) and number; for
                        a UNIX socket 'unix', its path and 0
    user, password      decoded, or None
    path, query         as on the request line; query is None without a "?"
    fragment            what follows "#", or None
    """

    __slots__ = ('scheme', 'host', 'port', 'user', 'password', 'path', 'query', 'fragment')

    @property
    def secure(self):
        return self.scheme == 'https' or self.scheme == 'wss'

    @property
    def origin(self):
        """What credentials belong to (RFC 9110 §4.3.1)."""
        return self.scheme, self.host, self.port

    @property
    def target(self):
        """The path and query, for the request line."""
        return self.path if self.query is None else f'{self.path}?{self.query}'

    @property
    def authority(self):
        """Host and port as in a Host field: without a default port."""
        if self.scheme == 'unix':
            return 'localhost'
        return self.host if self.port == PORTS[self.scheme] else f'{self.host}:{self.port}'

    @property
    def place(self):
        """The URL without user, query and fragment, for messages: they can hold secrets."""
        where = f'unix:{self.host}:' if self.scheme == 'unix' else f'{self.scheme}://{self.authority}'
        return where + self.path

    def __str__(self):
        """The URL without user and password."""
        text = self.place if self.query is None else f'{self.place}?{self.query}'
        return text if self.fragment is None else f'{text}#{self.fragment}'

    def __repr__(self):
        return f'<Url {self.place}>'


@lru_cache(64)
def parse_url(text):
    """The Url of an absolute text. Raises ValueError that says what is wrong with it."""
    return _build(*_split(text))


@lru_cache(16)
def resolve(base, reference):
    """The Url that a reference means at the Url `base` (RFC 3986 §5.2.2). Raises ValueError."""
    scheme, authority, path, query, fragment = _split(reference)
    if scheme is not None or authority is not None:
        return _build(scheme or base.scheme, authority, path, query, fragment)
    url = Url()
    for name in Url.__slots__:
        setattr(url, name, getattr(base, name))
    if path:
        url.path = _path(path if path.startswith('/') else base.path[:base.path.rfind('/') + 1] + path)
        url.query = query
    elif query is not None:
        url.query = query
    url.fragment = fragment
    return url


def build_query(values):
    """The query, or urlencoded form, of {name: value} or pairs; a value that is a list stands once for each item."""
    pairs = values.items() if hasattr(values, 'items') else values
    return '&'.join([f'{percent_encode(str(name), "")}={percent_encode(str(item), "")}' for name, value in pairs
                     for item in (value if isinstance(value, (list, tuple)) else (value,))])


def with_query(url, values):
    """The Url with more of a query: a text, or what `build_query` takes."""
    more = values if isinstance(values, str) else build_query(values)
    return resolve(url, f'?{url.query}&{more}' if url.query else f'?{more}')


def _split(text):
    if found := CONTROLS.search(text):
        raise ValueError(f'control character in the URL: {found[0]!a} at {found.start()}')
    scheme, authority, path, query, fragment = PARTS.fullmatch(text).groups()
    return (scheme and scheme.lower(), authority, escape(path), query and escape(query), fragment and escape(fragment))


def _build(scheme, authority, path, query, fragment):
    url = Url()
    url.scheme, url.query, url.fragment = scheme, query, fragment
    url.user = url.password = None
    if scheme == 'unix' and authority is None and path.startswith('/'):
        socket, _, path = path.partition(':')
        url.host, url.port = percent_decode(socket), 0
    elif scheme in PORTS and authority:
        user, at, host = authority.rpartition('@')
        if not re.fullmatch(USER, user):
            raise ValueError('bad user or password in the URL: what is not a letter or digit has to be escaped')
        if at:
            user, colon, password = user.partition(':')
            url.user, url.password = percent_decode(user), percent_decode(password)
        url.host, url.port = _host(host)
        url.port = PORTS[scheme] if url.port is None else url.port
    else:
        found = f'//{authority.rpartition("@")[2]}' if authority is not None else '' if scheme else path
        found = f'{scheme}:{found}' if scheme else found
        raise ValueError(f'expected http://host, https://host or unix:/socket:/path, found {shown(found)}')
    if path and not path.startswith('/'):
        raise ValueError(f'expected a path from the root, found {shown(path)}')
    url.path = _path(path)
    return url


def escape(text):
    """Escape what cannot stand in a target as it is: spaces, quotes, what is not ASCII, a "%" that begins no escape."""
    return UNSAFE.sub(lambda found: percent_encode(found[0]), text)


def _path(path):
    """An absolute path without dot segments (RFC 3986 §5.2.4); '' is '/'."""
    if '/.' not in path:
        return path or '/'
    *segments, last = path.split('/')[1:]
    kept = []
    for segment in segments + ([last] if last not in ('.', '..') else [last, '']):
        if segment == '..':
            del kept[-1:]
        elif segment != '.':
            kept.append(segment)
    return '/' + '/'.join(kept)


def _host(text):
    try:
        name = text if text.isascii() else ascii_host(text)
        host, port = split_host(name)
    except ParseError:
        host = ''
    if not host or port == 0 or '%' in host:
        raise ValueError(f'bad host or port in the URL: {shown(text)}')
    return host, port


def ascii_host(text):
    """The ASCII form of an international 'host' or 'host:port': labels in lower case and Punycode (RFC 5890 §2.3.2.1).

    Names have to be composed (NFC), as keyboards give them. Raises ValueError.
    """
    host, colon, port = text.partition(':')
    labels = []
    for label in DOTS.split(host):
        if not label.isascii():
            label = label.lower()
            if not LABEL.fullmatch(label) or not label.isprintable() or len(coded := punycode(label)) > 59:
                raise ValueError(f'bad host name: {shown(label)}')
            label = 'xn--' + coded
        labels.append(label)
    return '.'.join(labels) + colon + port


def punycode(label):
    """RFC 3492 §6.3."""
    out = [character for character in label if character < '\x80']
    done = basic = len(out)
    if basic:
        out.append('-')
    code, delta, bias = 128, 0, 72
    while done < len(label):
        least = min(ord(character) for character in label if ord(character) >= code)
        delta += (least - code) * (done + 1)
        code = least
        for character in label:
            if ord(character) < code:
                delta += 1
            elif ord(character) == code:
                rest, k = delta, 36
                while rest >= (threshold := min(max(k - bias, 1), 26)):
                    rest, digit = divmod(rest - threshold, 36 - threshold)
                    out.append(_digit(threshold + digit))
                    k += 36
                out.append(_digit(rest))
                bias = _adapt(delta, done + 1, done == basic)
                delta = 0
                done += 1
        delta += 1
        code += 1
    return ''.join(out)


def _digit(number):
    return 'abcdefghijklmnopqrstuvwxyz0123456789'[number]


def _adapt(delta, count, first):
    delta = delta // 700 if first else delta // 2
    delta += delta // count
    k = 0
    while delta > 455:
        delta //= 35
        k += 36
    return k + 36 * delta // (delta + 38)
