"""Users and what they may do, from auth.json5; signing in by form, Basic (RFC 7617) and Digest (RFC 7616).

    realm: 'ioto',
    users: {ann: {password: 'PBKDF2:…', digest: {'SHA-256': '…'}, roles: ['admin']}},
    roles: {admin: ['user', 'edit'], user: {can: ['view']}},

A role lists abilities and roles that it includes. Digest cannot use `password`, and needs H(name:realm:password) as well.
`python3 -m ioto.password` makes both.
"""

import os
import re
import time
from _operator import _compare_digest
from binascii import a2b_base64
from socket import AF_INET6, inet_pton

from ..http.digest import ALGORITHMS, proof
from ..http.errors import HttpError
from ..runtime import units
from ..runtime.log import Log
from ..runtime.sync import Lock
from ..runtime.threads import to_thread
from . import passwords
from .digest import Nonces, read, sign
from .routes import WebError

LIMITS = {                      # auth.limits
    'failures': 5,              # of a client or a user before the next try has to wait
    'wait': '1 sec',            # then; doubled by each further one
    'longest': '5 mins',        # wait
    'forget': '15 mins',        # all failures, after the last
    'nonce': '5 mins',          # of Digest, good for so long
    'entries': 1000,            # remembered: failures, known clients, nonces
}

log = Log('web')


class User:
    """`.name`, `.roles` (own and included) and `.abilities`."""

    __slots__ = ('name', 'roles', 'abilities')

    def can(self, ability):
        return ability in self.abilities

    def has_role(self, role):
        return role in self.roles


class Users:
    """The users of an `auth` configuration. Raises WebError."""

    def __init__(self, config, clock=time.monotonic):
        limits = LIMITS | expect(dict, config.get('limits'), 'auth.limits')
        for name, value in limits.items():
            limits[name] = checked(units.seconds, value, f'auth.limits.{name}')
        self.realm = config.get('realm', 'ioto')
        if not re.fullmatch(r'[ !#-\[\]-~]+', str(self.realm)):
            raise WebError('auth.realm', 'expected ASCII characters without quotes and backslashes')
        self.throttle = Throttle(limits, clock)
        self.nonces = Nonces(limits['nonce'], limits['entries'], clock)
        self.roles = {}                 # name -> abilities and included roles
        for name, role in expect(dict, config.get('roles'), 'auth.roles').items():
            if isinstance(role, dict) and {*role} - {'can', 'abilities', 'roles'}:
                raise WebError(f'auth.roles.{name}', 'expected a list of names, or {can: [], roles: []}')
            lists = [role.get(kind) for kind in ('can', 'abilities', 'roles')] if isinstance(role, dict) else [role]
            self.roles[name] = [one for found in lists for one in expect(list, found, f'auth.roles.{name}')]
        self._expand(self.roles, 'auth.roles', set())
        self.users, self.passwords, self.secrets = {}, {}, {}
        self.target = config.get('rounds', passwords.ROUNDS)           # of hashes that are made
        if type(self.target) is not int or not 0 < self.target < 10_000_000:
            raise WebError('auth.rounds', 'expected 1 to 9999999')
        self.rounds = 0                 # of the slowest hash: what each try takes
        for name, entry in expect(dict, config.get('users'), 'auth.users').items():
            self.add(name, expect(dict, entry, f'auth.users.{name}'), f'auth.users.{name}')
        if self.users:
            sign(b'', b'')              # loads OpenSSL, which the first who signs in would have to wait for
        self.rounds = self.rounds or passwords.ROUNDS
        self.decoy = f'PBKDF2:SHA256:{self.rounds}:{os.urandom(16).hex()}:{os.urandom(32).hex()}'
        self.key = os.urandom(32)
        self.proven = {}                # name -> signature of the right password, as Basic sends it each time
        self.hashing = Lock()           # by one thread at a time

    def _expand(self, names, where, found, above=()):
        """Add names, and what they include, to `found`."""
        for name in names:
            if name in above:
                raise WebError(where, f'role {name!r} includes itself')
            if name not in found:
                found.add(name)
                self._expand(self.roles.get(name, ()), f'auth.roles.{name}', found, (*above, name))

    def add(self, name, entry, where='auth.users'):
        """Take a user, an entry of `auth.users`. Raises WebError."""
        if not is_name(name):
            raise WebError(where, 'expected a name without colons and control characters')
        own = set(expect(list, entry.get('roles'), f'{where}.roles'))
        if self.roles and own - {*self.roles}:
            raise WebError(f'{where}.roles', f'expected names in auth.roles, got {own}')
        found = set()
        self._expand(own, where, found)
        user = self.users[name] = User()
        user.name, user.roles = name, sorted(found & (own | {*self.roles}))
        user.abilities = found - {*user.roles}
        if entry.get('password'):
            self.passwords[name] = entry['password']
            self.rounds = max(self.rounds, checked(passwords.split, entry['password'], f'{where}.password')[0])
        self.secrets[name] = expect(dict, entry.get('digest'), f'{where}.digest')
        for algorithm, text in self.secrets[name].items():
            if not isinstance(text, str) or len(text) != {'SHA-256': 64, 'MD5': 32}.get(algorithm):
                raise WebError(f'{where}.digest.{algorithm}', 'expected a hash made by "python3 -m ioto.password"')
        if not entry.get('password') and not entry.get('digest'):
            log.info(f'{where}: without a `password` nobody can sign in so')

    def __len__(self):
        return len(self.users)

    def get(self, name):
        return self.users.get(name)

    def verify(self, name, word):
        """Return the User of a name and password, or None, in the same time for all names. Blocks."""
        stored = self.passwords.get(name, self.decoy)
        right = passwords.verify(word, stored)
        missing = self.rounds - passwords.split(stored)[0]
        if missing > 0:
            passwords.derive(word, b'', missing)
        return self.users[name] if right else None

    async def login(self, name, word, client, scheme=''):
        """Return the User of a name and password, or None. Raises HttpError 429 while client or user has to wait."""
        word = word[:passwords.LONGEST + 1]
        signature = sign(self.key, word.encode('utf-8', 'surrogatepass'))
        if self._is_proven(name, signature):
            return self._succeed(name, self.throttle.attempt(client, name), client, scheme)
        async with self.hashing:            # the throttle in here: tries at once are neither failures nor free
            attempt = self.throttle.attempt(client, name)
            if self._is_proven(name, signature) or await to_thread(self.verify, name, word):
                self.proven[name] = signature
                return self._succeed(name, attempt, client, scheme)
        tell_wrong(name, client)

    def _is_proven(self, name, signature):
        return _compare_digest(self.proven.get(name, b''), signature)

    def _succeed(self, name, attempt, client, scheme):
        if scheme and len(attempt) > 1:         # not known yet: these sign in with each request
            log.info(f'{name} signed in from {client} by {scheme}')
        self.throttle.succeeded(attempt)
        return self.users[name]

    async def authenticate(self, value, method, target, client, schemes):
        """Return the User of an Authorization field, or None where it is of none of `schemes` ('SHA-256', 'MD5', 'Basic').

        target: as received. Raises HttpError 400, 401 with challenges, 429.
        """
        scheme, _, text = value.partition(' ')
        user, stale = None, False
        if scheme.lower() == 'basic' and 'Basic' in schemes:
            try:
                name, word = a2b_base64(text.strip(), strict_mode=True).decode().split(':', 1)
            except ValueError:
                raise HttpError(400, 'malformed Basic credentials') from None
            user = await self.login(name, word, client, 'Basic')
        elif scheme.lower() == 'digest' and {*schemes} & {*ALGORITHMS}:
            fields = read(text)
            if fields['uri'] != target:         # RFC 7616 §3.4.6
                raise HttpError(400, 'Digest credentials for another uri')
            if fields['algorithm'] in schemes and fields['realm'] == self.realm and fields['qop'] == 'auth':
                user, stale = self._prove(fields, method, client)
        else:
            return None
        if user is None:
            raise HttpError(401, 'wrong name or password', self.challenges(schemes, stale))
        return user

    def _prove(self, fields, method, client):
        """Return (user or None, whether only the nonce is wrong)."""
        name = fields['username']
        attempt = self.throttle.attempt(client, name)
        secret = self.secrets.get(name, {}).get(fields['algorithm'], self.decoy)
        if not _compare_digest(proof(secret, method, fields).encode(), fields['response'].encode()):
            tell_wrong(name, client)
            return None, False
        user = self._succeed(name, attempt, client, 'Digest')
        return (user, False) if self.nonces.spend(fields) else (None, True)

    def challenges(self, schemes, stale=False):
        """The WWW-Authenticate fields of a 401, the best first (RFC 7616 §3.3). No browser asks for a password by 'Form'."""
        return [('WWW-Authenticate', f'{scheme} realm="{self.realm}", charset="UTF-8"' if scheme in ('Basic', 'Form') else
                 f'Digest realm="{self.realm}", qop="auth", algorithm={scheme}, nonce="{self.nonces.make()}", '
                 f'opaque="{self.nonces.opaque}", charset=UTF-8{", stale=true" * stale}') for scheme in schemes]


    def inherit(self, old):
        """Go on with the failures and nonces of `old`, before a reload. Returns the names whose password is another."""
        self.throttle.failed, self.throttle.known = old.throttle.failed, old.throttle.known
        old.nonces.lifetime, old.nonces.limit = self.nonces.lifetime, self.nonces.limit
        self.nonces = old.nonces
        return [name for name in old.users if self.passwords.get(name) != old.passwords.get(name)]


class Throttle:
    """Makes clients and users wait after failures.

    A client that signed in as a user before is counted as that pair: strangers can lock neither out.
    """

    def __init__(self, limits, clock):
        self.limits, self.clock = limits, clock
        self.failed = {}            # (client, None), (None, user) or (client, user) -> (failures, clock of the last, whether the wait is told)
        self.known = {}             # (client, user) that signed in

    def attempt(self, client, name):
        """Count a try as failed, until `succeeded` gets what this returns. Raises HttpError 429 where it comes too early."""
        net = client
        if ':' in client and '.' not in client:
            net = inet_pton(AF_INET6, client.partition('%')[0])[:8]      # who has one has its /64
        now, limits, name = self.clock(), self.limits, name[:64]
        keys = [(net, name)] if (net, name) in self.known else [(net, None), (None, name)]
        found = [self._failures(key, now) for key in keys]
        for key, (failures, last, told) in zip(keys, found):
            if failures >= limits['failures']:
                wait = min(limits['longest'], limits['wait'] * 2 ** min(failures - limits['failures'], 50)) + last - now
                if wait > 0:
                    if not told:
                        log.info(f'Too many failures of {name!r} from {client}: the next try has to wait')
                        self._put(self.failed, key, (failures, last, True))
                    raise HttpError(429, f'too many failures: wait {int(wait) + 1} s', [('Retry-After', str(int(wait) + 1))])
        for key, (failures, _, _) in zip(keys, found):
            self._put(self.failed, key, (failures + 1, now, False))
        return keys

    def _failures(self, key, now):
        found = self.failed.get(key)
        return found if found and now - found[1] < self.limits['forget'] else (0, now, False)

    def succeeded(self, keys):
        """Forget a try and the user's failures; not the client's, who could guess for ever with an account of its own."""
        for key in keys:
            failures, *rest = self.failed.pop(key, (0,))
            if key[1] is None and failures > 1:
                self._put(self.failed, key, (failures - 1, *rest))
        self._put(self.known, (keys[0][0], keys[-1][1]), None)

    def _put(self, table, key, value):
        table.pop(key, None)
        table[key] = value
        if len(table) > self.limits['entries']:
            del table[next(iter(table))]


def tell_wrong(name, client):
    log.info(f'Wrong name or password of {name[:64]!r} from {client}')


def is_name(name):
    """Whether a user may be called so; a colon ends the name in Basic and Digest."""
    return name and ':' not in name and name.isprintable()


def expect(kind, value, where):
    if value is None:
        return kind()
    if not isinstance(value, kind) or kind is list and not all(isinstance(name, str) for name in value):
        raise WebError(where, 'expected a list of names' if kind is list else 'expected an object')
    return value


def checked(function, value, where):
    try:
        return function(value)
    except (TypeError, ValueError) as error:
        raise WebError(where, str(error)) from None
