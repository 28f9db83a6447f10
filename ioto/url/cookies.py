"""The cookies of a client (RFC 6265): stored by domain, path and name, and sent where they belong.

Refused: cookies for a domain that is not the server's own or above it, for a top-level domain or an address, Secure
ones that did not come over TLS, others that would stand in for those, and names with __Secure- or __Host- that do not
keep that promise (RFC 6265bis §4.1.3, §5.7). Bounded: the one that was stored first goes.
"""

import re
from time import time

from ..http.dates import MONTHS, parse_date
from ..http.fields import COOKIE_ATTRIBUTE

TOTAL = 500             # cookies
DOMAIN = 50             # of a domain
SIZE = 4096             # bytes of name and value

VALUE = r'[\x21-\x3a\x3c-\x7e\x80-\xff](?:[\x20-\x3a\x3c-\x7e\x80-\xff]*[\x21-\x3a\x3c-\x7e\x80-\xff])?|'


class Jar:
    """Cookies by (domain, path, name)."""

    def __init__(self, clock=time):
        self.clock = clock
        self.cookies = {}           # (domain, path, name) -> (value, exact host?, secure?, expiry)

    def __len__(self):
        return len(self.cookies)

    def store(self, url, fields):
        """Take the Set-Cookie values of an answer from a URL (§5.3)."""
        for field in fields:
            self._store(url, field)

    def _store(self, url, field):
        pair, *parts = field.split(';')
        name, equals, value = (text.strip(' \t') for text in pair.partition('='))
        attributes = {}
        for part in parts:
            key, _, text = part.partition('=')
            attributes[key.strip(' \t').lower()] = text.strip(' \t')
        if not equals or not name or len(name) + len(value) > SIZE or not re.fullmatch(VALUE, value):
            return
        host, secure = url.host, 'secure' in attributes
        domain, exact = attributes.get('domain', '').removeprefix('.').lower(), False
        if not domain or domain == host:
            exact = not domain or not _is_name(host)
            domain = host
        elif not within(host, domain) or '.' not in domain:
            return
        path = attributes.get('path', '')
        if not path.startswith('/') or not re.fullmatch(COOKIE_ATTRIBUTE, path):
            path = url.path[:url.path.rfind('/')] or '/'
        if secure and not url.secure or name.lower().startswith('__secure-') and not secure:
            return
        if name.lower().startswith('__host-') and not (secure and exact and path == '/'):
            return
        for (its, _, other), old in self.cookies.items():
            if old[2] and other == name and not url.secure and (
                    domain == its or within(domain, its) or within(its, domain)):
                return
        expiry = self._expiry(attributes)
        key = domain, path, name
        self.cookies.pop(key, None)
        if expiry > self.clock():
            self.cookies[key] = value, exact, secure, expiry
            self._trim(domain)

    def _expiry(self, attributes):
        """Seconds since 1970; infinity for those of the session."""
        age = attributes.get('max-age', '')
        if re.fullmatch('-?[0-9]{1,15}', age):
            return self.clock() + int(age) if int(age) > 0 else 0
        date = date_of(attributes.get('expires', ''))
        return float('inf') if date is None else date

    def _trim(self, domain):
        mine = [key for key in self.cookies if key[0] == domain]
        for key in mine[:-DOMAIN] or list(self.cookies)[:-TOTAL]:
            del self.cookies[key]

    def header(self, url):
        """The Cookie field for a request to a URL, '' for none (§5.4): longer paths first, then older cookies."""
        now, found = self.clock(), []
        for key, (value, exact, secure, expiry) in list(self.cookies.items()):
            domain, path, name = key
            if expiry <= now:
                del self.cookies[key]
            elif ((url.host == domain or not exact and within(url.host, domain)) and (url.secure or not secure)
                  and (url.path == path or url.path.startswith(path if path.endswith('/') else path + '/'))):
                found.append((len(path), f'{name}={value}'))
        found.sort(key=lambda each: -each[0])
        return '; '.join([text for _, text in found])


def within(host, domain):
    """Whether a host name is below a domain (§5.1.3)."""
    return host.endswith('.' + domain) and _is_name(host)


def _is_name(host):
    """Whether this is a host name and not an address."""
    return not host.startswith('[') and not re.fullmatch(r'[0-9.]+', host)


def date_of(text):
    """The seconds since 1970 of a cookie's date in whatever order it stands (§5.1.1), None for none."""
    if (found := parse_date(text)) is not None:
        return found
    clock = re.search(r'(?<!\d)(\d{1,2}):(\d{1,2}):(\d{1,2})(?!\d)', text)
    month = re.search('|'.join(MONTHS), text, re.IGNORECASE)
    day, year = (re.search(rf'(?<![\d:])({size})(?![\d:])', text) for size in (r'\d{1,2}', r'\d{4}'))
    if not (clock and month and day):
        return None
    if year is None:
        rest = text[day.end():]
        year = re.search(r'(?<![\d:])(\d{2})(?![\d:])', rest)
        if year is None:
            return None
    number = int(year[1])
    if number < 100:
        number += 1900 if number > 69 else 2000
    hour, minute, second = map(int, clock.groups())
    fixed = f'Sun, {int(day[1]):02} {month[0].title()} {number:04} {hour:02}:{minute:02}:{second:02} GMT'
    return parse_date(fixed)
