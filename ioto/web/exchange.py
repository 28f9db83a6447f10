"""Web: one request and its answer, as an action sees them.

The answer leaves in one of two ways. What an action returns (a dict or list as JSON, a str as text, bytes) is put behind its head
and sent in one piece by the connection. What it writes with `await web.write(…)` is streamed: the first write sends the head, with
the Content-Length that was set or else chunked (to HTTP/1.0: until the close), and each waits until the client has room. The body of
the request is read only as the action asks for it (body.py), so a slow action slows its client down.
"""

import json
from types import MappingProxyType

from ..http import HttpError, Request, encode_field
from ..http.body import LAST_CHUNK, chunk
from ..http.fields import Headers, format_cookie, parse_cookies
from ..http.status import REASONS
from ..http.uri import parse_form, parse_query
from ..json5 import to_json
from ..runtime.fiber import Cancelled
from .body import Body, Disconnected

JSON = b'Content-Type: application/json\r\n'
TEXT = b'Content-Type: text/plain; charset=utf-8\r\n'
BYTES = b'Content-Type: application/octet-stream\r\n'
FORM, MULTIPART = 'application/x-www-form-urlencoded', 'multipart/form-data'
NO_BODY = {204, 304}
VARIABLES = 1000        # of a form
RESERVED = {'transfer-encoding', 'date', 'content-length', 'connection'}        # the server sets these


def without(lines, names):
    """Field lines without those that begin with one of `names`, in lower case with their colon."""
    return b''.join(line for line in lines.splitlines(True) if not line.lower().startswith(names))


def _refuse_constant(name):
    raise ValueError(f'{name} is no JSON')


class Finished(Cancelled):
    """Ends an action whose answer nobody reads further: that to a HEAD."""


class Web(Request):
    """A request (`method path query headers cookies vars host remote secure`) and its answer (`status`, `set_header`, `write`).

    `query` is the text behind the "?", `vars` its variables, to which `form()` adds those of the body.
    """

    status = 200
    route = None
    out = None              # the whole answer as bytes, once it stands
    head_size = 0           # how much of `out` is its head
    mark = float('inf')     # bytes sent on the connection before the body of a streamed answer
    logged = False
    line = None             # the first bytes of what could not be parsed
    started = False         # the head of a streamed answer has been sent
    chunked_out = False
    expected_out = None     # bytes that the streamed answer still has to have, by its Content-Length
    finished = False
    content_type = None
    content_length = None
    extra = b''             # fields set by the action, encoded
    reader = None           # of the request's body
    ahead = b''             # of a request to upgrade: what was received behind its head
    files = MappingProxyType({})        # of a multipart form, {field: Upload}; see upload.py
    upload = None           # what is being received: `.moved` says when
    outlet = None           # the Socket or Channel that this request has become
    _vars = _cookies = _headers = _form = _session = _user = None

    # The request

    @property
    def headers(self):
        """The request's fields: a dict that ignores the case of names; `.all(name)` lists the values of a repeated one."""
        if self._headers is None:
            self._headers = Headers(self.pairs)
        return self._headers

    @property
    def cookies(self):
        """The request's cookies, {name: value}."""
        if self._cookies is None:
            self._cookies = parse_cookies(self.fields.get('cookie', ''))
        return self._cookies

    @property
    def vars(self):
        """The variables of the query, and after `form()` also those of the body, {name: value}."""
        if self._vars is None:
            self._vars = parse_query(self.query)
        return self._vars

    @property
    def remote(self):
        """The client's address as text; behind a proxy of `web.proxies` that which the proxy names."""
        proxies = self.connection.server.proxies
        return proxies.client(self) if proxies else self.connection.stream.remote[0]

    @property
    def secure(self):
        """Whether the client's connection is over TLS."""
        proxies = self.connection.server.proxies
        return proxies.secure(self) if proxies else self.connection.stream.secure

    @property
    def tls(self):
        """What TLS has agreed on, {version, cipher, resumed}; None without."""
        stream = self.connection.stream
        return {'version': stream.version, 'cipher': stream.cipher[0], 'resumed': stream.resumed} if stream.secure else None

    @property
    def peer_certificate(self):
        """The client's certificate, which `tls.authority` has signed, as ssl.SSLSocket.getpeercert returns it; None without."""
        stream = self.connection.stream
        return stream.peer_certificate() or None if stream.secure else None

    @property
    def session(self):
        """A dict that lasts with the session's cookie, which is set once this holds something."""
        if self._session is None:
            self._session = self.connection.server.sessions.open(self)
        return self._session

    @property
    def user(self):
        """Who has signed in (.name .roles .abilities .can(ability) .has_role(role)), or None."""
        access = self.connection.server.access
        if self._user is None and access:
            self._user = access.users.get(self.session.user)
        return self._user

    @property
    def xsrf(self):
        """The session's token, which routes with `xsrf` want as the form's variable _xsrf or the field X-XSRF-TOKEN."""
        session = self.session
        if session.id is None:
            self.connection.server.sessions.renew(session)
        return session.token

    def require(self, ability):
        """Raise HttpError 401, or 403 for a user who lacks this ability."""
        user = self.user
        if not (user and user.can(ability)):
            from .access import refusal
            raise refusal(self, f'the ability {ability!r}', user)

    async def login(self, name, password):
        """Sign a user in and return it; None where name or password is wrong. Raises HttpError 429 after too many failures."""
        access = self.connection.server.access
        return access and await access.login(self, name, password)

    def logout(self, everywhere=False):
        """End the session, and with `everywhere` all others of its user."""
        sessions, session = self.connection.server.sessions, self.session
        if everywhere:
            sessions.destroy_user(session.user)
        sessions.destroy(session)
        self._user = None

    def body(self):
        """Return the request's body for `async for chunk in web.body()`: bytes as they arrive."""
        if self.reader is None:
            self.reader = Body(self, b'')
        return self.reader

    async def read(self, n=65536):
        """Return up to n bytes of the request's body, b'' at its end."""
        return await self.body().read(n)

    @property
    def received(self):
        """How many bytes of the request's body have arrived."""
        return self.body().received

    def refuse_coding(self):
        """Raise HttpError 415 for a body that is encoded."""
        if self.fields.get('content-encoding', 'identity').lower() != 'identity':
            raise HttpError(415, 'the body is encoded, which this resource does not understand',
                            (('Accept-Encoding', 'identity'),))

    async def read_all(self, limit=None):
        """Return the whole body. Raises HttpError 413 over the limit (`limits.buffer`), 415 where it is encoded."""
        self.refuse_coding()
        limit = self.route.buffer if limit is None else limit
        if self.length > limit:
            raise self.body().too_large(limit)
        whole = bytearray()
        async for data in self.body():
            whole += data
            if len(whole) > limit:
                raise self.body().too_large(limit)
        return bytes(whole)

    async def text(self):
        """Return the body as text by the charset of its Content-Type (default UTF-8). Raises HttpError 400, 413, 415."""
        data = await self.read_all()
        charset = 'utf-8'
        kind = self.fields.get('content-type', '')
        if 'charset=' in kind.lower():
            charset = kind.lower().partition('charset=')[2].partition(';')[0].strip(' "')
        try:
            return data.decode(charset)
        except LookupError:
            raise HttpError(415, f'unknown charset {charset!r}') from None
        except UnicodeError as error:
            raise HttpError(400, f'the body is not {charset}: {error}') from None

    async def json(self):
        """Return the value of the JSON body. Raises HttpError 400, 413, and 415 where it says to be a form."""
        if self._kind() in (FORM, MULTIPART):
            raise HttpError(415, 'expected application/json', (('Accept', 'application/json'),))
        data = await self.read_all()
        try:
            return json.loads(data, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise HttpError(400, f'the body is not JSON: {error}') from None

    async def form(self, progress=None):
        """Return the variables of a form and add them to `vars`; `files` has the files of a multipart one.

        `progress(received, total)` is called with bytes as a multipart form arrives; total is None if not known.
        Raises HttpError 400, 413 (`limits.form`, `.upload`, `.files`), 415, 507.
        """
        if self._form is None:
            kind = self._kind()
            if kind == MULTIPART:
                from .upload import receive
                self.refuse_coding()
                found = await receive(self, progress)
            elif kind in (FORM, ''):
                data = await self.read_all(self.route.limits['form'])
                if data.count(b'&') >= VARIABLES:
                    raise HttpError(413, f'the form has more than {VARIABLES} variables')
                found = parse_form(data)
            else:
                raise HttpError(415, f'expected {FORM}', (('Accept', f'{FORM}, multipart/form-data'),))
            self.vars.update(found)
            self._form = found
        return self._form

    def _kind(self):
        return self.fields.get('content-type', '').partition(';')[0].strip().lower()

    # The answer

    def set_header(self, name, value):
        """Set a field of the answer. Raises ValueError for what it cannot be, and once the head is sent."""
        lower = name.lower()
        if self.started:
            raise ValueError(f'{name}: the head of the answer has been sent')
        if lower == 'content-length' and str(value).isascii() and str(value).isdigit():
            self.content_length = int(value)
        elif lower == 'connection' and value == 'close':
            self.keep_alive = False
        elif lower == 'content-type':
            self.content_type = encode_field(name, value)
        else:
            start = b'%b:' % lower.encode('ascii', 'replace')
            self.extra = b''.join(line for line in self.extra.splitlines(True) if not line.lower().startswith(start))
            self.add_header(name, value)

    def add_header(self, name, value):
        """Add a field that may stand several times, such as Link. Raises ValueError as `set_header`."""
        if self.started or name.lower() in RESERVED and value != 'Upgrade':
            raise ValueError(f'{name}: the head of the answer has been sent' if self.started else f'{name} is set by the server')
        self.extra += encode_field(name, value)

    def set_cookie(self, name, value, **attributes):
        """Set a cookie; attributes: path, max_age (seconds), http_only, secure, same_site, domain."""
        self.add_header('Set-Cookie', format_cookie(name, value, **attributes))

    async def redirect(self, url, status=302):
        """Answer with a redirection to a URL or path."""
        url = ''.join(c if '!' <= c <= '~' else ''.join(f'%{byte:02X}' for byte in c.encode()) for c in url)
        self.status = status
        self.add_header('Location', url)
        self.answer(status, TEXT, f'{status} {REASONS.get(status, "")}\n{url}\n'.encode())

    async def error(self, status, message=''):
        """Answer with an error and say why."""
        self.answer_error(status, message)

    def answer_error(self, status, message='', headers=(), **more):
        """Make an error the answer, see `error`; as JSON, with `more`, to who speaks it."""
        self.connection.server.errors += status >= 400
        for name, value in headers:
            self.add_header(name, value)
        reason, accept = REASONS.get(status, ''), self.fields.get('accept', '')
        if 'json' in accept or 'text' not in accept and 'json' in self._kind():
            self.answer(status, JSON, to_json({'error': message or reason, **more}).encode('utf-8', 'replace'))
        else:
            text = f'{status} {reason}\n' + (f'{message}\n' if message else '')
            self.answer(status, TEXT, text.encode('utf-8', 'replace'))

    def answer(self, status, fields, body):
        """Make the whole answer, which the connection sends: encoded fields without Content-Length, and the body."""
        if self.started:
            raise RuntimeError('the answer has already begun')
        self.status = status
        if status in NO_BODY:
            head, body = self._head(status, fields), b''
        else:
            body = b'' if status == 205 else body
            head = self._head(status, b'%bContent-Length: %d\r\n' % (fields, len(body)))
        self.head_size = len(head)
        self.out = head if self.method == 'HEAD' else head + body

    def _head(self, status, fields):
        """The head of an answer. What the action has set replaces the same fields of the route and the server."""
        connection, route = self.connection, self.route
        opening = connection.server.opening(status)
        if route is not None and route.special:
            if route.replaces:
                opening = without(opening, route.replaces)
            if route.cors:
                fields += route.cors.answer(self)
            opening += route.fields if status >= 400 else route.fields + route.cache
        if self.extra:
            names = tuple(line.lower().partition(b':')[0] + b':' for line in self.extra.splitlines())
            opening = without(opening, names) + self.extra
        if connection.closing or not self.keep_alive or self.version < 11 or self.length:
            fields += connection.persistence(self)
        return b'%b%b\r\n' % (opening, fields)

    def answer_value(self, value):
        """Make what an action returned the answer."""
        kind = type(value)
        if kind is dict or kind is list:
            fields, body = JSON, to_json(value).encode()
        elif kind is str:
            fields, body = TEXT, value.encode()
        elif value is None:
            if self.status == 200:
                self.status = 204
            fields, body = b'', b''
        elif isinstance(value, (bytes, bytearray, memoryview)):
            fields, body = BYTES, bytes(value)
        elif isinstance(value, str):
            fields, body = TEXT, value.encode()
        else:
            fields, body = JSON, to_json(value).encode()
        self.answer(self.status, self.content_type or fields, body)

    # The streamed answer

    def _begin(self):
        """Make the head of a streamed answer."""
        fields = self.content_type or BYTES
        self.expected_out = 0 if self.status == 205 else self.content_length
        if self.status not in NO_BODY:
            if self.expected_out is not None:
                fields += b'Content-Length: %d\r\n' % self.expected_out
            elif self.version >= 11:
                self.chunked_out = True
                fields += b'Transfer-Encoding: chunked\r\n'
            else:
                self.keep_alive = False
        head = self._head(self.status, fields)
        self.mark_head(head)
        return head

    def mark_head(self, head):
        """The head of a streamed answer is about to be sent."""
        stream = self.connection.stream
        self.started = True
        self.mark = stream.sent + stream.queued_bytes + len(head)
        self.connection.trace('h', head)

    async def write(self, data):
        """Send a part of the answer, str or bytes. Raises Disconnected, ValueError for more than the Content-Length set."""
        if self.out is not None or self.finished:
            raise RuntimeError('the answer is complete')
        if isinstance(data, str):
            if self.content_type is None and not self.started:
                self.content_type = TEXT
            data = data.encode()
        stream = self.connection.stream
        if not self.started:
            stream.post(self._begin())
        elif self.method == 'HEAD':
            raise Finished
        if data and self.method != 'HEAD' and self.status not in NO_BODY:
            if self.expected_out is not None:
                if len(data) > self.expected_out:
                    raise ValueError(f'{len(data) - self.expected_out} bytes more than the Content-Length that was set')
                self.expected_out -= len(data)
            self.connection.trace('b', data)
            if self.chunked_out:
                data = chunk(data)
        else:
            data = b''
        try:
            await stream.write(data)
        except OSError as error:
            raise Disconnected(str(error)) from None

    async def finish(self):
        """End a streamed answer; done by itself when the action returns."""
        if self.outlet is not None:
            await self.outlet.finish()
        if not self.started or self.finished:
            return
        self.finished = True
        if self.method == 'HEAD' or self.status in NO_BODY:
            return
        if self.expected_out:
            self.connection.closing = True
            raise ValueError(f'the answer is {self.expected_out} bytes shorter than the Content-Length that was set')
        if self.chunked_out:
            try:
                await self.connection.stream.write(LAST_CHUNK)
            except OSError as error:
                raise Disconnected(str(error)) from None

    async def send_file(self, status, fields, descriptor, pieces):
        """Answer with encoded fields and pieces of an open file by sendfile: [(bytes in front, offset, count), …]."""
        connection = self.connection
        size = sum(len(front) + count for front, _, count in pieces)
        head = self._head(status, b'%bContent-Length: %d\r\n' % (fields, size))
        if self.method == 'HEAD':
            self.head_size = len(head)
            self.out = head
            return
        self.status, self.finished = status, True
        self.mark_head(head)
        connection.trace('b', f'{size} bytes of a file')
        stream = connection.stream
        try:
            for front, offset, count in pieces:
                stream.post(head + front)
                head = b''
                if await stream.sendfile(descriptor, offset, count) != count:
                    raise Disconnected('the file became shorter while it was sent')
        except OSError as error:
            raise Disconnected(str(error)) from None

    # What outlives the answer

    async def upgrade(self, subprotocols=(), deflate=True, origins=None):
        """Make this GET a WebSocket and return its Socket (sockets.py). Raises HttpError 400, 403, 405, 426.

        subprotocols: those spoken here; deflate: whether messages may be compressed; origins: pages of which other servers may
        open it, such as ['https://example.com'], '*' for all; by default only those of this host.
        """
        from .sockets import upgrade
        return upgrade(self, subprotocols, deflate, origins)

    async def events(self, retry=None):
        """Answer with server-sent events and return their Channel (events.py). retry: seconds before a client comes again."""
        from .events import Channel
        return Channel(self, retry)
