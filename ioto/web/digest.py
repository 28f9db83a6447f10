"""Digest authentication with SHA-256 and MD5, qop=auth (RFC 7616); its arithmetic is in http/digest.py.

A nonce holds its time and is signed, so giving one out costs no memory. Those of clients that knew the password are remembered,
with a window of the counts that came. When one has to go, all made before it become stale: nothing forgotten can be replayed.
"""

import os
from _operator import _compare_digest

from ..http.errors import HttpError
from ..http.lists import members, unquote
from ..http.uri import percent_decode

WINDOW = 64                 # counts that may come late, over parallel connections


def sign(key, data):
    """The HMAC-SHA-256 of bytes."""
    import hmac                 # loads OpenSSL
    return hmac.digest(key, data, 'sha256')


def read(text):
    """Return the {name: value} of credentials (§3.4). Raises HttpError 400."""
    pairs = [member.partition('=') for member in members(text)]
    fields = {name.strip().lower(): unquote(value.strip()) if '"' in value else value.strip() for name, _, value in pairs}
    try:
        if len(fields) < len(pairs) or len(fields['nc']) != 8 or int(fields['nc'], 16) < 1:
            raise ValueError
        fields = dict.fromkeys(('nonce', 'cnonce', 'uri', 'response', 'realm', 'qop'), '') | {'algorithm': 'MD5'} | fields
        name = fields.get('username*')          # RFC 8187 §3.2
        fields['username'] = percent_decode(name[7:]) if name else fields['username'].encode('latin-1').decode()
    except (KeyError, ValueError):
        raise HttpError(400, 'malformed Digest credentials') from None
    return fields


class Nonces:
    """The nonces of a server: good for `lifetime` seconds, `limit` of them remembered."""

    def __init__(self, lifetime, limit, clock):
        self.lifetime, self.limit, self.clock = lifetime, limit, clock
        self.key = os.urandom(32)
        self.opaque = os.urandom(16).hex()
        self.used = {}              # nonce -> (highest count, bits of those below it that came)
        self.floor = b''            # nonces up to this one are stale, unless they are in `used`

    def make(self):
        nonce = int(self.clock() * 1e6).to_bytes(8, 'big') + os.urandom(8)
        return (nonce + sign(self.key, nonce)).hex()

    def spend(self, fields):
        """Use up a count; False where it came before, or the nonce is stale or not ours."""
        try:
            nonce = bytes.fromhex(fields['nonce'])
        except ValueError:
            return False
        age = self.clock() - int.from_bytes(nonce[:8], 'big') / 1e6
        if not _compare_digest(nonce[16:], sign(self.key, nonce[:16])) or age > self.lifetime or fields.get('opaque') != self.opaque:
            return False
        highest, seen = self.used.get(nonce, (0, 0))
        if not highest and nonce <= self.floor:
            return False
        late = highest - int(fields['nc'], 16)
        if late >= WINDOW or late >= 0 and seen >> late & 1:
            return False
        if late < 0:
            highest, seen, late = highest - late, seen << min(-late, WINDOW), 0
        self.used[nonce] = highest, (seen | 1 << late) & (1 << WINDOW) - 1
        if len(self.used) > self.limit:
            oldest = next(iter(self.used))
            self.floor = max(self.floor, oldest)
            del self.used[oldest]
        return True
