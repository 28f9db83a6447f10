"""Who may pass a route, and the pages to sign in and out. Loaded only where `auth`, or a route's role, can or auth, asks for it.

A browser that has not signed in is sent to the login page and from there back (`next`, a path of this server and nothing else); other
clients get 401 with the challenges of the ways that the route takes (RFC 9110 §11). Whom a session is of is looked up for each request,
so a user who is changed or taken away loses its rights at once. Posts that come from pages of other sites are refused (login CSRF), and
a GET never signs out. While there are no users the login page asks for the set-up code, which only the log shows, and makes the first
administrator, who is kept in state/auth.json5; the users there add to those configured, and replace them by name.
"""

import os
import re
from _operator import _compare_digest

from ..http import HttpError
from ..http.digest import ALGORITHMS, secret
from ..http.uri import percent_encode
from ..json5 import Json5Error, load
from ..runtime.log import INFO, Log
from ..runtime.threads import to_thread
from . import passwords
from .routes import Route, WebError
from .sessions import PRIVATE
from .users import Users, expect, is_name

SCHEMES = {'digest': 'SHA-256', 'md5': 'MD5', 'basic': 'Basic', 'form': 'Form'}         # the best first
LETTERS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'                # Crockford's: none looks like another
LOOKALIKES = str.maketrans('ILO', '110', '- ')
SHORTEST = 8                # characters of the first administrator's password
HTML = b'Content-Type: text/html; charset=utf-8\r\n'
PAGE = '''<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<title>{0}</title><link rel="stylesheet" href="/style.css">
<main class="sign"><form class="card" method="post"><h1>{0}</h1><p role="alert">{1}</p>{2}<button>{0}</button></form></main>
'''
INPUT = '<p><label>{} <input name="{}" type="{}" autocomplete="{}" autocapitalize="none" required></label></p>\n'
SIGN_IN = INPUT.format('Name', 'username', 'text', 'username') + INPUT.format('Password', 'password', 'password', 'current-password')
SET_UP = (INPUT.format("Set-up code, which the device's log shows", 'code', 'text', 'off')
          + INPUT.format('Name of the administrator', 'username', 'text', 'username')
          + INPUT.format(f'Password of {SHORTEST} characters or more', 'password', 'password', 'new-password')
          + INPUT.format('Password again', 'again', 'password', 'new-password'))
SIGN_OUT = '<p><label><input name="everywhere" type="checkbox"> in all browsers</label></p>\n'

log = Log('web')


class Access:
    """The users of an `auth` configuration and how they sign in to a server. Raises WebError."""

    def __init__(self, server, config):
        self.server = server
        self.login_path, self.logout_path = config.get('login', '/auth/login'), config.get('logout', '/auth/logout')
        self.home = config.get('home', '/')
        self.schemes = schemes(config.get('methods', 'form'), 'auth.methods')
        self.digest = {*self.schemes} & {*ALGORITHMS}           # what some route takes
        self.role = expect(dict, config.get('setup'), 'auth.setup').get('role', 'admin')
        self.code = None                # for the first administrator
        path = server.resolve('@state/auth.json5')
        self.path = None if path[0] == '@' else path
        self.own = self._load()         # users kept there
        roles = expect(dict, config.get('roles'), 'auth.roles')
        if roles:
            roles = {self.role: [*roles], **roles}
        self.users = Users({**config, 'roles': roles, 'users': expect(dict, config.get('users'), 'auth.users') | self.own})
        if server.identity and self.path and (self.own or not self.users) and not server.identity.reaches(path):
            raise WebError('web.chroot', f'{path}, which keeps the users, lies outside')
        self.routes = []
        for path, check in ((self.login_path, self.sign_in), (self.logout_path, self.sign_out)):
            if path:
                route = Route({'match': path, 'handler': 'action', 'methods': ['GET', 'POST'], 'cache': 'no-store',
                               'limits': {'body': 16384}}, 'auth', server)
                route.checks.append(check)
                self.routes.append(route)

    def inherit(self, old):
        """Take over from the Access before a reload, or None."""
        changed = [*self.users.users]
        if old:
            for name, entry in () if self.server.keeps else old.own.items():
                self.own[name] = entry
                self.users.add(name, entry)
            self.code = None if self.users else old.code
            changed = self.users.inherit(old.users)
        for name in changed:
            self.server.sessions.destroy_user(name)
        if self.server.listeners:
            self.announce()

    def announce(self):
        """Show the set-up code while there are no users."""
        if self.login_path and not self.users and not self.code:
            self.code = ''.join([LETTERS[byte & 31] for byte in os.urandom(8)])
            message = f'There are no users yet: {self.login_path} asks for the set-up code {self.code}'
            log.info(message)
            if log.level < INFO:
                print(message, flush=True)

    # Users that the device keeps

    def _load(self):
        try:
            document = load(self.path) if self.path else {}
            return expect(dict, document.get('auth', document).get('users'), 'auth.users')
        except FileNotFoundError:
            return {}
        except (OSError, Json5Error) as error:
            raise WebError('auth', str(error)) from None
        except (AttributeError, WebError):
            raise WebError('auth.users', f'{self.path}: expected an object of users') from None

    def _save(self, name, word, entry):
        """Hash the password of a user, and keep it. Blocks."""
        entry['password'] = passwords.hash_password(word, self.users.target)
        if self.digest:
            entry['digest'] = {algorithm: secret(algorithm, name, self.users.realm, word) for algorithm in ALGORITHMS}
        if self.path and self.server.keeps:
            from ..json5.atomic import save
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            save(self.path, {'users': self._load() | {name: entry}}, mode=0o600)

    async def login(self, web, name, word):
        """Sign a user in: see Web.login."""
        users = self.users
        user = await users.login(name, word, web.remote)
        if user is None:
            return None
        if name in self.own and passwords.needs_rehash(users.passwords[name], users.target):
            async with users.hashing:
                try:
                    if self._load().get(name) == self.own[name]:        # it is not being changed by hand
                        await to_thread(self._save, name, word, self.own[name])
                        users.add(name, self.own[name])
                except (OSError, WebError) as error:
                    log.error(f'{self.path}: {error}')
        log.info(f'{name} signed in from {web.remote}')
        return self._enter(web, name)

    def _enter(self, web, name):
        self.server.sessions.renew(web.session, name)
        web._user = self.users.get(name)
        return web._user

    async def set_up(self, web, name, word, code, again):
        """Make the first administrator and sign it in. Raises HttpError."""
        users = self.users
        attempt = users.throttle.attempt(web.remote, '')
        if not _compare_digest(code.upper().translate(LOOKALIKES).encode('utf-8', 'replace'), self.code.encode()):
            log.info(f'Wrong set-up code from {web.remote}')
            raise HttpError(401, 'wrong set-up code', users.challenges(['Form']))
        users.throttle.succeeded(attempt)
        if not is_name(name) or word != again or not SHORTEST <= len(word) <= passwords.LONGEST:
            raise HttpError(400, 'a name has no colons and control characters' if not is_name(name) else
                            'the passwords differ' if word != again else f'a password has {SHORTEST} characters or more')
        async with users.hashing:
            if not self.code:
                raise HttpError(409, 'somebody else was faster: sign in')
            entry = {'roles': [self.role]}
            await to_thread(self._save, name, word, entry)
            for access in self, self.server.access:         # another one, when a reload came meanwhile
                access.users.add(name, entry)
                access.own[name] = entry
                access.code = None
        log.info(f'{name} became the first administrator, from {web.remote}')
        return self._enter(web, name)

    # Pages

    async def sign_in(self, web):
        """The check that answers for the login page."""
        if web.method != 'POST':
            return await self._own_page(web)
        found = await variables(web)
        words = [str(found.get(name) or '') for name in ('username', 'password', 'code', 'again')]
        try:
            user = await (self.set_up(web, *words) if self.code else self.login(web, *words[:2]))
            if not user:
                raise HttpError(401, 'wrong name or password', self.users.challenges(['Form']))
        except HttpError as error:
            web.status = error.status
            for field in error.headers:
                web.add_header(*field)
            if is_json(web):
                web.answer_value({'error': error.message})
            else:
                self._page(web, error.message)
        else:
            await self._leave(web, {'user': user.name, 'roles': user.roles})

    async def _own_page(self, web):
        """Show the document of the login page's path, if there is one, but not for the set-up."""
        files = self.server.router.files
        try:
            if files and not self.code:
                answer = files.serve(web)
                return await answer if answer else None
        except HttpError as error:
            if error.status != 404:
                raise
        self._page(web)

    def _page(self, web, message='', title='Sign in', inputs=SIGN_IN):
        if self.code and inputs is SIGN_IN:
            title, inputs = 'Set up', SET_UP
        for name in ('username', 'code') if message else ():            # not to be typed again
            value = web.vars.get(name, '').replace('&', '&amp;').replace('"', '&quot;')
            inputs = inputs.replace(f'"{name}" type', f'"{name}" value="{value}" type')
        first = 'name="password"' if message else 'name='
        inputs = inputs.replace(first, f'autofocus {first}', 1)
        web.content_type = HTML
        web.answer_value(PAGE.format(title, message, inputs))

    async def _leave(self, web, answer):
        if is_json(web):
            web.answer_value(answer)
        else:
            path = web.vars.get('next', '')
            await web.redirect(path if re.fullmatch(r'/(?!/)[!-\[\]-~]*', path) else self.home, 303)

    async def sign_out(self, web):
        """The check that answers for the logout page."""
        if web.method != 'POST':
            return self._page(web, '', 'Sign out', SIGN_OUT)
        found = await variables(web)
        if web.user:
            log.info(f'{web.user.name} signed out from {web.remote}')
        web.logout(found.get('everywhere') or web.vars.get('everywhere'))
        await self._leave(web, {'user': None})


def is_json(web):
    return 'json' in web._kind()


async def variables(web):
    """The variables that were posted, as a form or JSON, by a page of this server. Raises HttpError 403 for another's."""
    refuse_foreign(web)
    found = await (web.json() if is_json(web) else web.form())
    return found if isinstance(found, dict) else {}


def refuse_foreign(web):
    """Raise HttpError 403 for what a page of another site sent."""
    site, origin = web.fields.get('sec-fetch-site'), web.fields.get('origin')
    own = site in ('same-origin', 'none') if site else not origin or origin.partition('://')[2].lower() == web.authority.lower()
    if not own:
        raise HttpError(403, 'this came from a page of another site')


def schemes(words, where):
    """The authentication schemes of a word or list of words, the best first. Raises WebError."""
    words = [words] if isinstance(words, str) else words
    if not isinstance(words, list) or not words or not all(word in SCHEMES for word in words):
        raise WebError(where, f'expected some of {", ".join(SCHEMES)}')
    return [scheme for word, scheme in SCHEMES.items() if word in words]


def guard(route, config, where, server):
    """Return the check of a route that only some pass, by `role`, `can` and `auth` of its config. Raises WebError."""
    access, role, ability = server.access, config.get('role'), config.get('can')
    roles = access.users.roles
    if role and roles and role not in roles:
        raise WebError(f'{where}.role', f'expected a role of auth.roles, got {role!r}')
    if ability and (ability in roles or ability not in sum(roles.values(), [])):
        raise WebError(f'{where}.can', f'expected an ability of auth.roles, got {ability!r}')
    route.schemes = schemes(config['auth'], f'{where}.auth') if 'auth' in config else access.schemes
    digest = {*route.schemes} & {*ALGORITHMS}
    access.digest |= digest
    if digest == {*route.schemes} and access.users and not any(digest & {*secrets} for secrets in access.users.secrets.values()):
        log.error(f'{where}: nobody can sign in: no user has a `digest`, which "python3 -m ioto.password --realm" makes')
    route.login, route.redirect = route.redirect, None
    if 'cache' not in config:
        route.cache = PRIVATE

    async def check(web):
        user = await identify(web, route.schemes)
        if not user or role and not user.has_role(role) or ability and not user.can(ability):
            raise refusal(web, f'the role {role!r}' if role else f'the ability {ability!r}', user)
    return check


async def identify(web, schemes):
    """The User of a request, by its credentials or its session, or None. Raises HttpError."""
    given = web.fields.get('authorization')
    if given and not web._user:
        users = web.connection.server.access.users
        web._user = await users.authenticate(given, web.method, web.target, web.remote, schemes)
    return web._user or 'Form' in schemes and web.user


async def require_role(web, role=None):
    """Return the user, if it has this role or that of the first administrator, whatever the routes. Raises HttpError 401, 403."""
    access = web.connection.server.access
    user = access and await identify(web, web.route.schemes or access.schemes)
    if not user or not (user.has_role(access.role) or user.has_role(role)):
        raise refusal(web, f'the role {role!r}' if role else 'the role of administrators', user)
    web.set_header('Cache-Control', 'private, no-cache')
    return user


def refusal(web, what, user):
    """The HttpError for who may not do this: 403, or for who has not signed in 302 to the login page, or 401."""
    access, route = web.connection.server.access, web.route
    if user or not access:
        return HttpError(403, f'this needs {what}')
    schemes, login = route.schemes or access.schemes, route.login or access.login_path
    if login and 'Form' in schemes and web.method in ('GET', 'HEAD') and 'text/html' in web.fields.get('accept', ''):
        back = percent_encode(web.path) + (f'?{web.query}' if web.query else '')
        return HttpError(302, '', [('Location', f'{login}{"&" if "?" in login else "?"}next={percent_encode(back)}')])
    return HttpError(401, 'sign in first', access.users.challenges(schemes))
