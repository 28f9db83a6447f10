"""Sessions: what the server remembers of a browser, found by the cookie that it sends back.

A session ends `lifetime` seconds after its last use. Of more than `limit` the one unused longest goes, those without a user
first, so strangers cannot push out who has signed in.
"""

import os
import time
from _operator import _compare_digest        # hmac's, without the OpenSSL that hmac loads

from ..http.fields import format_cookie


class Session(dict):
    """A browser's values, with `.id` (128 bits), `.user` (a name or None), `.token` against XSRF and `.used` (clock)."""

    __slots__ = ('id', 'user', 'token', 'used')

    def check_token(self, token):
        """Tell in constant time whether a token (str or None) is right."""
        return _compare_digest((token or '').encode('utf-8', 'replace'), self.token.encode())


class Sessions:
    """The sessions of a server."""

    def __init__(self, limit=1000, lifetime=1800.0, name='ioto-session', clock=time.monotonic):
        self.limit, self.lifetime, self.name, self.clock = limit, lifetime, name, clock
        self.tables = {}, {}        # without and with a user: identifier -> session, in the order of use

    def __len__(self):
        return sum(map(len, self.tables))

    def get(self, identifier):
        """Return the session of an identifier, or None; this is a use of it."""
        for table in self.tables:
            session = table.pop(identifier, None)
            if session is not None and self.clock() - session.used < self.lifetime:
                session.used = self.clock()
                table[identifier] = session
                return session

    def create(self, user=None):
        return self.renew(Session(), user)

    def renew(self, session, user=None):
        """Give a session to who signed in: the same values under a new identifier and token, against session fixation."""
        self.destroy(session)
        session.user, session.used = user, self.clock()
        session.id, session.token = os.urandom(16).hex(), os.urandom(16).hex()
        for table in self.tables:
            while table:
                old = next(iter(table.values()))
                if len(self) < self.limit and session.used - old.used < self.lifetime:
                    break
                self.destroy(old)
        self.tables[user is not None][session.id] = session
        return session

    def destroy(self, session):
        for table in self.tables:
            table.pop(getattr(session, 'id', None), None)

    def destroy_user(self, user):
        for session in [*self.tables[1].values()]:
            if session.user == user:
                self.destroy(session)

    def cookie_name(self, secure):
        """The cookie's name; under TLS it is bound to this host (RFC 6265bis §4.1.3.2)."""
        return '__Host-' * secure + self.name

    def cookie(self, session, secure):
        """The Set-Cookie value of a session; without one, the one that removes the cookie."""
        value, age = ('', 0) if session is None else (session.id, None)
        return format_cookie(self.cookie_name(secure), value, max_age=age, secure=secure)
