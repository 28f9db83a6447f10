"""Field values: lists, parameters, quality values, cookies (RFC 9110 §5.6, §12.4.2, RFC 6265)."""

import re

from .grammar import QUOTED, TOKEN
from .head import combined

# Patterns that `re` compiles, and keeps, when they are first used: most devices need few of them.
PARAMETER = rf'[\t ]*+;[\t ]*+(?:([{TOKEN}]++)=(?:([{TOKEN}]++)|({QUOTED})))?+'
QUALITY = r'0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?'
MEMBER = rf'(?s:[^",]++|{QUOTED}|".*+)++'
COOKIE = rf'[{TOKEN}]++=[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*+'        # RFC 6265 §4.1.1
COOKIE_ATTRIBUTE = r'[\x20-\x3a\x3c-\x7e]*+'


class Headers(dict):
    """{lower-case name: value} that may be asked in any case, made of [(name, value), …]."""

    __slots__ = ('pairs',)

    def __init__(self, pairs=()):
        super().__init__(combined(pairs))
        self.pairs = pairs

    def __getitem__(self, name):
        return dict.__getitem__(self, name.lower())

    def __contains__(self, name):
        return dict.__contains__(self, name.lower())

    def get(self, name, default=None):
        return dict.get(self, name.lower(), default)

    def all(self, name):
        """The values of a field as received; those of Set-Cookie cannot be joined."""
        name = name.lower()
        return [value for key, value in self.pairs if key.lower() == name]


def tokens(value):
    """The members of a list in lower case, empty ones left out (RFC 9110 §5.6.1)."""
    return [token for token in [token.strip(' \t') for token in value.lower().split(',')] if token]


def members(value):
    """The members of a list as they stand; a comma in quotes ends none."""
    return [member for member in [member.strip(' \t') for member in re.findall(MEMBER, value)] if member]


def parameters(value):
    """Split 'A/B; C="D"' into 'a/b' and {'c': 'D'}; ends at what is malformed (RFC 9110 §5.6.6)."""
    main = value.partition(';')[0]
    found = {}
    at = len(main)
    match_parameter = re.compile(PARAMETER).match
    while match := match_parameter(value, at):
        name, token, quoted = match.groups()
        if name:
            found.setdefault(name.lower(), token or unquote(quoted))
        at = match.end()
    return main.strip(' \t').lower(), found


def unquote(quoted):
    """The text of a quoted string, given with its quotes (RFC 9110 §5.6.4)."""
    return re.sub(r'\\(.)', r'\1', quoted[1:-1])


def qualities(value):
    """The [(name, quality), …] of Accept and the like, best first; a malformed quality is 0."""
    found = []
    for member in members(value):
        name, arguments = parameters(member)
        quality = arguments.get('q', '1')
        found.append((name, float(quality) if re.fullmatch(QUALITY, quality) else 0.0))
    return sorted(found, key=lambda pair: -pair[1])


def parse_cookies(value):
    """The {name: value} of a Cookie field; of a repeated name the first (RFC 6265 §5.4)."""
    cookies = {}
    for part in value.split(';'):
        name, equals, text = part.partition('=')
        name = name.strip(' \t')
        if equals and name:
            text = text.strip(' \t')
            if len(text) > 1 and text[0] == text[-1] == '"':
                text = text[1:-1]
            cookies.setdefault(name, text)
    return cookies


def format_cookie(name, value, path='/', max_age=None, http_only=True, secure=False, same_site='Lax', domain=None):
    """A Set-Cookie value; `max_age` in seconds, None for the session's. Raises ValueError for bad characters."""
    parts = [f'{name}={value}']
    good = '=' not in name and re.fullmatch(COOKIE, parts[0])
    for attribute, text in (('Path', path), ('Domain', domain), ('Max-Age', max_age), ('SameSite', same_site)):
        if text is not None and text != '':
            parts.append(f'{attribute}={text}')
            good = good and re.fullmatch(COOKIE_ATTRIBUTE, parts[-1])
    if not good:
        raise ValueError(f'bad cookie: {parts}')
    return '; '.join(parts + ['Secure'] * secure + ['HttpOnly'] * http_only)
