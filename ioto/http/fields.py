"""Fields by name, lists of tokens, cookies (RFC 9110 §5.6.1, RFC 6265). Richer values are in lists.py."""

import re

from .grammar import TOKEN
from .head import combined

# Patterns that `re` compiles, and keeps, when they are first used: most devices need few of them.
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
