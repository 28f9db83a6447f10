"""Answers to challenges: Digest with SHA-256 or MD5 (RFC 7616), Basic (RFC 7617); the strongest that both sides know.

What met a challenge is remembered for its origin, or proxy, and sent unasked from then on: Digest with the next count
of its nonce.
"""

import os
import re
from binascii import b2a_base64

from ..http.digest import ALGORITHMS, digest, proof, secret
from ..http.grammar import TOKEN
from ..http.lists import members, unquote

# A member of the list that begins a challenge, not a further parameter of one.
BEGINNING = rf'([{TOKEN}]++)(?: ++(?!=)(.*))?+'
KNOWN = 64              # origins remembered

FIELDS = {401: ('www-authenticate', 'Authorization'), 407: ('proxy-authenticate', 'Proxy-Authorization')}


class Basic:
    """A name and password as they are."""

    def __init__(self, user, password):
        if ':' in user:
            raise ValueError('a user of Basic cannot have a colon')
        self.value = 'Basic ' + b2a_base64(f'{user}:{password}'.encode(), newline=False).decode()

    def field(self, _method, _target):
        return self.value


class Digest:
    """Proof that one knows the password, for the nonce of a challenge."""

    def __init__(self, user, password, algorithm, fields):
        self.algorithm, self.nonce = algorithm, fields['nonce']
        self.name = user.encode().decode('latin-1')
        self.asked, self.count = fields, 0
        self.cnonce = os.urandom(8).hex()
        self.secret = secret(algorithm, user, fields['realm'].encode('latin-1').decode('utf-8', 'replace'), password)
        if fields['algorithm'].endswith('-SESS'):
            self.secret = digest(algorithm, self.secret, self.nonce, self.cnonce)

    def field(self, method, target):
        self.count += 1
        asked = self.asked
        fields = {'username': self.name, 'realm': asked['realm'], 'nonce': self.nonce, 'uri': target}
        if 'qop' in asked:
            plain = {'algorithm': self.algorithm, 'nc': f'{self.count:08x}', 'qop': 'auth'}
            fields['cnonce'] = self.cnonce
            fields['response'] = proof(self.secret, method, fields | plain)
        else:                                   # RFC 2069
            plain = {'algorithm': self.algorithm} if asked['named'] else {}
            fields['response'] = digest(self.algorithm, self.secret, self.nonce, digest(self.algorithm, method, target))
        if plain.get('algorithm'):
            plain['algorithm'] = asked['named'] or self.algorithm
        if 'opaque' in asked:
            fields['opaque'] = asked['opaque']
        quoted = [f'{name}="{_quote(value)}"' for name, value in fields.items()]
        return 'Digest ' + ', '.join(quoted + [f'{name}={value}' for name, value in plain.items()])


def _quote(text):
    return re.sub(r'(["\\])', r'\\\1', text)


def challenges(values):
    """The [(scheme in lower case, {parameter: value})] of WWW-Authenticate fields (RFC 9110 §11.6.1)."""
    found = []
    for value in values:
        for member in members(value):
            if begins := re.fullmatch(BEGINNING, member):
                found.append((begins[1].lower(), {}))
                member = begins[2] or ''
            name, equals, text = member.partition('=')
            if equals and found:
                text = text.strip()
                found[-1][1].setdefault(name.strip().lower(), unquote(text) if text.startswith('"') else text)
    return found


def meet(values, user, password):
    """What meets the strongest of the challenges, None if none can be met, and whether our nonce is called stale."""
    best, rank, stale = None, 0, False
    for scheme, fields in challenges(values):
        if scheme == 'digest' and 'nonce' in fields and 'realm' in fields:
            fields['named'] = fields.get('algorithm', '')
            fields['algorithm'] = fields['named'].upper() or 'MD5'
            algorithm = fields['algorithm'].removesuffix('-SESS')
            strength = 2 + (algorithm == 'SHA-256')
            if (algorithm in ALGORITHMS and strength > rank
                    and ('qop' not in fields or 'auth' in [name.strip().lower() for name in fields['qop'].split(',')])):
                best, rank = Digest(user, password, algorithm, fields), strength
                stale = fields.get('stale', '').lower() == 'true'
        elif scheme == 'basic' and not rank:
            best, rank = Basic(user, password), 1
    return best, stale


def answer(fetch):
    """Whether the challenge of a 401 or 407 can be met, and has not been refused; the client remembers how."""
    client, status = fetch.client, fetch.status
    if status == 407:
        proxy = client.proxies and client.proxies.choose(fetch.url)
        if not proxy or proxy.user is None or client.proxies.tunnels(fetch.url):
            return False                        # through a tunnel, it is the server who says so
        place, user, password = proxy.origin, proxy.user, proxy.password
    else:
        place, (user, password) = fetch.url.origin, fetch.auth[:2]
    try:
        found, stale = meet(fetch.headers.all(FIELDS[status][0]), user, password)
    except ValueError:
        return False
    tried = fetch.tried.get(status)
    sent = client.known.get((place, user, password))
    # A nonce of an earlier answer may have run out; one of this very exchange only where the server says so.
    if found is None or not fetch.repeatable() or type(sent) is type(found) is Basic:
        return False
    if tried and not (stale and tried < 3):
        return False
    fetch.tried[status] = (tried or 0) + 1
    remember(client, place, user, password, found)
    return True


def remember(client, place, user, password, found):
    """Send this from now on."""
    if len(client.known) >= KNOWN:
        del client.known[next(iter(client.known))]
    client.known[place, user, password] = found


def credentials(client, fetch):
    """The fields that say who asks: {lower-case name: (name, value)}."""
    fields, url = {}, fetch.url
    if fetch.bearer is not None:
        fields['authorization'] = 'Authorization', f'Bearer {fetch.bearer}'
    elif fetch.auth is not None:
        known = client.known.get((url.origin, *fetch.auth[:2]))
        if known is None and fetch.auth[2:] == ('basic',):
            known = Basic(*fetch.auth[:2])
        if known is not None:
            fields['authorization'] = 'Authorization', known.field(fetch.method, url.target)
    if client.cookies and (cookies := client.cookies.header(url)):
        fields['cookie'] = 'Cookie', cookies
    if client.proxies is not None and (proxy := client.proxies.choose(url)) and not client.proxies.tunnels(url):
        if field := proxy_field(client, proxy, fetch.method, client.target(url)):
            fields['proxy-authorization'] = 'Proxy-Authorization', field
    return fields


def proxy_field(client, proxy, method, target):
    """The Proxy-Authorization for a proxy that has a user: Basic until it asks for Digest."""
    if proxy.user is None:
        return None
    known = client.known.get((proxy.origin, proxy.user, proxy.password)) or Basic(proxy.user, proxy.password)
    return known.field(method, target)
