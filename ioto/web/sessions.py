"""Sessions: what the server remembers of a browser, found by the cookie that it sends back.

A session ends `lifetime` seconds after its last use. Of more than `limit` the one unused longest goes, those without a user
first, and users only for users: strangers cannot push out who has signed in. One begins when it holds something: the answer's head then takes the cookie
along, and so that nobody else gets it from a cache, Cache-Control, where the action or its route does not say otherwise.
"""

import os
import time
from _operator import _compare_digest        # hmac's, without the OpenSSL that hmac loads

from ..http import HttpError
from ..http.fields import format_cookie
from ..http.uri import parse_form
from .exchange import FORM, MULTIPART, Web

PRIVATE = b'Cache-Control: private, no-cache\r\n'
XSRF = 'XSRF-TOKEN'


class Session(dict):
    """A browser's values, with `.id` (128 bits; None before it begins), `.user` (a name or None), `.token` against XSRF and
    `.used` (clock)."""

    __slots__ = ('id', 'user', 'token', 'used')

    def __init__(self):
        self.id = self.user = None

    def check_token(self, token):
        """Tell in constant time whether a token (str or None) is right."""
        return self.id is not None and _compare_digest((token or '').encode('utf-8', 'replace'), self.token.encode())


class Sessions:
    """The sessions of a server."""

    def __init__(self, limit=1000, lifetime=1800.0, name='ioto-session', clock=time.monotonic):
        self.limit, self.lifetime, self.name, self.clock = limit, lifetime, name, clock
        self.tables = {}, {}        # without and with a user: identifier -> session, in the order of use

    def __len__(self):
        return sum(map(len, self.tables))

    def open(self, web):
        """Return the session of a request, by its cookie, or one that has not begun."""
        web.__class__ = Entered
        session = self.get(web.cookies.get(self.cookie_name(web.secure)))
        return Session() if session is None else session

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
        """Begin a session, or give it to who signed in: the same values under a new identifier and token, against fixation."""
        self._drop(session)
        if session.user not in (None, user):
            session.clear()             # what another user's was
        session.user, session.used = user, self.clock()
        session.id, session.token = os.urandom(16).hex(), os.urandom(16).hex()
        for table in self.tables:
            while table:
                old = next(iter(table.values()))
                if session.used - old.used < self.lifetime and (len(self) < self.limit or old.user and not user):
                    break
                self._drop(old)
        self.tables[user is not None][session.id] = session
        return session

    def _drop(self, session):
        for table in self.tables:
            table.pop(session.id, None)

    def destroy(self, session):
        self._drop(session)
        session.clear()
        session.id = session.user = None

    def destroy_user(self, user):
        for session in [*self.tables[1].values()]:
            if session.user == user:
                self.destroy(session)

    def cookie_name(self, secure):
        """The cookie's name; under TLS it is bound to this host (RFC 6265bis §4.1.3.2)."""
        return '__Host-' * secure + self.name

    def cookie(self, session, secure):
        """The Set-Cookie value of a session; of one that has ended, the one that removes the cookie."""
        value, age = (session.id, None) if session.id else ('', 0)
        return format_cookie(self.cookie_name(secure), value, max_age=age, secure=secure)


class Entered(Web):
    """A request that has asked for its session: the head of its answer sets the cookies."""

    shows_token = False

    def _head(self, status, fields):
        session, sessions, secure, extra = self._session, self.connection.server.sessions, self.secure, self.extra
        if session and session.id is None:
            sessions.renew(session)
        changed = session.id != self.cookies.get(sessions.cookie_name(secure))
        if changed:
            self.add_header('Set-Cookie', sessions.cookie(session, secure))
        if session.id and (self.shows_token or changed and XSRF in self.cookies):
            self.add_header('X-' + XSRF, session.token)
            self.set_cookie(XSRF, session.token, http_only=False, same_site='Strict', secure=secure)
        cache = self.route.cache if status < 400 else b''
        if self.extra != extra and b'\ncache-control:' not in (b'\n' + extra + fields + cache).lower():
            self.extra += PRIVATE
        head = Web._head(self, status, fields)
        self.extra = extra
        return head


async def check_token(web):
    """The check of a route with `xsrf`: what changes something needs the session's token, and other answers show it."""
    if web.method in ('GET', 'HEAD', 'OPTIONS'):
        web.shows_token = bool(web.xsrf)
        return
    token = web.fields.get('x-xsrf-token') or web.vars.get('_xsrf')
    if not token and web.session.id and web._kind() == MULTIPART:
        token = (await web.form()).get('_xsrf')
    elif not token and web._kind() == FORM:
        data = await web.read_all()
        web.body().ready.append(data)       # for the action
        token = parse_form(data).get('_xsrf')
    if not web.session.check_token(token):
        raise HttpError(403, 'without the token of its session (_xsrf or X-XSRF-TOKEN) nothing is changed: load the page again')
