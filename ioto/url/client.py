"""Client: the connections, cookies, credentials and defaults that fetches share.

    async with url.Client(headers={'X-Device': id}, authority='ca.crt') as client:
        print(await client.get('https://example.com/'))

The functions of the package use one that is made for the running scheduler when it is first asked for. It needs no
closing: its connections go with the scheduler.
"""

import os
from time import monotonic
from weakref import WeakKeyDictionary

from .. import version
from ..http.fields import tokens
from ..http.head import encode_field
from ..runtime import dial
from ..runtime.fiber import kernel
from ..runtime.scopes import timeout as time_limit
from .connection import Connection
from .errors import ConnectError, StatusError, TimeoutError, TlsError, UrlError
from .fetch import FOREVER, PHASES, Fetch
from .pool import Pool

LIMIT = 64 << 20        # bytes that are buffered or decompressed
TIMES = {'connect': 10.0, 'tls': 10.0, 'first': 30.0, 'idle': 30.0, 'whole': None}
WHOLE = 120.0           # seconds for what returns a whole body

NOBODY = {}
FRAMING = 'content-length', 'transfer-encoding'         # each request has its own
HEADERS = {'User-Agent': f'ioto/{version}', 'Accept': '*/*', 'Accept-Encoding': 'gzip, deflate'}


class Client:
    """Makes requests.

    headers         default fields: they replace User-Agent, Accept, Accept-Encoding; None leaves one out
    tls             an ssl.SSLContext; else one is made of `authority` (PEM file of whom to trust, by default the
                    system's), `certificate` and `key` (PEM files to show), and `verify` (False: trust anyone)
    proxy           'http://user:password@host:port', False for none; by default what the environment says (http_proxy,
                    https_proxy, all_proxy, no_proxy)
    cookies         whether cookies are kept
    timeout         seconds of a whole exchange, or {'connect': 10, 'tls': 10, 'first': 30, 'idle': 30, 'whole': None}:
                    'first' is from the request's end to the end of the answer's head, 'idle' each wait for more after
                    that; None is no limit, but 'whole' is 120 in what returns a whole body
    limit           bytes that are buffered or decompressed, 64 MB
    redirects       followed at most
    connections, per_host, idle     of the pool: open ones in all and for a host, seconds that an unused one is kept
    """

    def __init__(self, headers=None, tls=None, authority=None, certificate=None, key=None, verify=True, proxy=None,
                 cookies=True, timeout=None, limit=LIMIT, redirects=10, connections=100, per_host=20, idle=30.0):
        self.fields = {name.lower(): (name, str(value)) for name, value in {**HEADERS, **(headers or {})}.items()
                       if value is not None and name.lower() not in FRAMING}
        for name, value in (headers or {}).items():
            if value is None:
                self.fields.pop(name.lower(), None)
        try:
            self.ready = b''.join([encode_field(name, value) for name, value in self.fields.values()]) + b'\r\n'
        except ValueError as error:
            raise UrlError(str(error)) from None
        self.keep = 'close' not in tokens(self.fields.get('connection', ('', ''))[1])
        self.tls = tls
        self.trust = authority, certificate, key, verify
        self.cookies = () if cookies else None
        self.times = TIMES
        self.times = self.times_of(timeout)
        self.limit, self.redirects = limit, redirects
        self.pool = Pool(connections, per_host, idle)
        self.heads = {}             # origin -> its Host field and the default ones
        self.known = {}             # origin -> how its last challenge was met
        self.proxies = None
        if proxy or proxy is None and any(name.lower().endswith('_proxy') for name in os.environ):
            from .proxies import Proxies
            self.proxies = Proxies(proxy)

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, trace):
        self.close()

    def close(self):
        """Close idle connections at once, and those in use when their answers have been read."""
        self.pool.close()

    # Requests

    def fetch(self, method, target, body=None, **options):
        """A Fetch, for `async with`.

        target      an http or https URL, or unix:/socket:/path
        body        bytes, str, dict (a form), a file, a Stream or another async iterator of bytes
        headers     {name: value} or pairs; None for a default one leaves it out, a list stands once for each item
        query       {name: value}, pairs or text to add to the URL
        timeout     as that of the client; limit, redirects likewise
        auth        (user, password), used when the server asks for Basic or Digest, or (user, password, 'basic') to
                    send it unasked; by default what the URL says
        bearer      a token (RFC 6750)
        decode      False to leave gzip and deflate as they are
        expect      True to send the body when the server says that it wants it (100-continue)
        downgrade   True to follow redirects from https to http
        """
        return Fetch(self, method, target, body, **options)

    async def get(self, target, **options):
        """The text of a 2xx answer. Raises StatusError for others, all else that is a UrlError."""
        return await self._text('GET', target, None, options)

    async def post(self, target, body=None, **options):
        """POST a body (see `fetch`; a dict is a form); the text of the answer, as `get`."""
        return await self._text('POST', target, body, options)

    async def json(self, method, target, value=None, **options):
        """Send a value as JSON, None for no body; the value of the answer, None if that is empty. Raises as `get`."""
        body = None
        headers = {'Accept': 'application/json'}
        if value is not None:
            from ..json5 import to_json
            body = to_json(value).encode()
            headers['Content-Type'] = 'application/json'
        options['headers'] = headers | dict(options.get('headers') or ())
        async with self._buffered(method, target, body, options) as up:
            await check(up)
            return await up.json()

    def websocket(self, target, **options):
        """Open a WebSocket: await it, or use it with `async with`. See sockets.py.

        subprotocols    in the order of preference
        deflate         False to offer no compression
        ping            seconds of silence before the server is asked for a sign of life; None for never
        frame, message  bytes of a frame and of a message that are taken, 1 MB
        and the options of `fetch`: headers, timeout, auth, …
        """
        from .sockets import Socket
        return Socket(self, target, **options)

    def events(self, target, last_id=None, **options):
        """The server-sent events of a URL, for `async for`; see eventstream.py. `limit` is that of one event, 1 MB."""
        from .eventstream import Events
        return Events(self, target, last_id, **options)

    async def download(self, target, path, **options):
        """Get a file; the number of its bytes. `path` is there only when it is whole.

        resume      True to keep what came of a download that fails, and go on with it in the next call
        checksum    'sha256:…', or another algorithm of hashlib, in hexadecimal digits; without a name it is sha256
        progress    function(received, total) for each piece; the total is None where it is not known
        retries     requests in a row that may bring nothing more, once an answer has begun
        limit       bytes at most (any number); all else is as in `fetch`, and a time-out is that of each request

        Raises UrlError, and OSError where the file cannot be written.
        """
        from .downloads import download
        return await download(self, target, path, **options)

    async def _text(self, method, target, body, options):
        async with self._buffered(method, target, body, options) as up:
            await check(up)
            return await up.text()

    def _buffered(self, method, target, body, options):
        timeout = options.get('timeout')
        if self.times['whole'] is None and (timeout is None or isinstance(timeout, dict)):
            options['timeout'] = {'whole': WHOLE} | (timeout or {})
        return Fetch(self, method, target, body, **options)

    def times_of(self, timeout):
        """The time-outs by phase, of what a `timeout` option says."""
        if timeout is None:
            return self.times
        if not isinstance(timeout, dict):
            timeout = {'whole': timeout}
        if unknown := set(timeout) - set(TIMES):
            raise UrlError(f'no such time-out: {", ".join(sorted(unknown))}; there are {", ".join(TIMES)}')
        times = self.times | timeout
        return times | {phase: FOREVER for phase in ('first', 'idle') if times[phase] is None}

    # What a Fetch asks for

    def fixed(self, url):
        """The Host and default fields as bytes, blank line included."""
        found = self.heads.get(url.origin)
        if found is None:
            if len(self.heads) >= 64:
                self.heads.clear()
            host = b'' if 'host' in self.fields else encode_field('Host', url.authority)
            found = self.heads[url.origin] = host + self.ready
        return found

    def target(self, url):
        """What stands on the request line: the whole URL for a proxy (RFC 9112 §3.2.2)."""
        if self.proxies is not None and not self.proxies.tunnels(url) and self.proxies.choose(url):
            return url.place if url.query is None else f'{url.place}?{url.query}'
        return url.target

    def jar(self):
        """The cookies."""
        if not self.cookies:
            from .cookies import Jar
            self.cookies = Jar()
        return self.cookies

    def credentials(self, fetch):
        """The fields that say who asks: {lower-case name: (name, value)}."""
        if not self.cookies and self.proxies is None and fetch.auth is None and fetch.bearer is None:
            return NOBODY
        from .auth import credentials
        return credentials(self, fetch)

    async def connect(self, url, times, end, fresh=False):
        """A Connection to where a URL is, from the pool or a new one. Raises UrlError."""
        proxy = self.proxies and self.proxies.choose(url)
        key = url.origin if not proxy else (url.origin, proxy.origin) if self.proxies.tunnels(url) else proxy.origin
        async with Phase(url, 'whole', end, None):
            connection = await self.pool.take(key)
        if connection is not None:
            if not fresh:
                return connection
            connection.close()                  # its place is used for a new one
        try:
            if not proxy:
                stream = await self.dial(url, times, end)
            elif self.proxies.tunnels(url):
                stream = await self.proxies.tunnel(self, proxy, url, times, end)
            else:
                stream = await self.dial(proxy, times, end)
            if url.secure:
                stream = await self.secure(stream, url, times, end)
        except BaseException:
            self.pool.leave(key)
            raise
        return Connection(stream, key)

    async def dial(self, url, times, end):
        """A Stream to the host of a URL. Raises ConnectError."""
        try:
            async with Phase(url, 'connect', end, times['connect']):
                if url.scheme == 'unix':
                    return await dial.connect('unix:' + url.host)
                return await dial.connect(url.host.strip('[]'), url.port)
        except TimeoutError:
            raise
        except OSError as error:
            raise ConnectError(str(error.strerror or error), url.place) from None

    def context(self):
        """The TLS context. Raises OSError; `.part` names the argument of Client at fault."""
        if self.tls is None:
            from ..runtime.tls import client_context
            self.tls = client_context(*self.trust, alpn=['http/1.1'])
        return self.tls

    async def secure(self, stream, url, times, end):
        """TLS to the host of a URL over a stream. Raises TlsError."""
        host = url.host.strip('[].')
        try:
            context = self.context()
            async with Phase(url, 'tls', end, times['tls']):
                return await dial.start_tls(stream, context, None, host, (host, url.port))
        except BaseException as error:
            stream.abort()
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                why = getattr(error, 'verify_message', None)
                why = f'its certificate does not stand: {why}' if why else error.strerror or error
                raise TlsError(f'no TLS with {host}: {why}', url.place) from None
            raise


class Phase(time_limit):
    """A time-out that raises the client's TimeoutError; `end` is that of the whole exchange."""

    __slots__ = ('url', 'phase')

    def __init__(self, url, phase, end, seconds):
        left = end - monotonic() if end < FOREVER else None
        if left is not None and (seconds is None or left < seconds):
            seconds, phase = left, 'whole'
        super().__init__(seconds)
        self.url, self.phase = url, phase

    async def __aexit__(self, kind, error, trace):
        try:
            await super().__aexit__(kind, error, trace)
        except OSError:
            raise TimeoutError(f'{PHASES[self.phase]} in time', self.url.place, self.phase) from None


async def check(up):
    """Raise StatusError where an answer is not 2xx."""
    if not 200 <= up.status < 300:
        try:
            body = await up.read()
        except UrlError:                        # too large or cut: the status says more
            body = b''
        raise StatusError(up.status, up.reason, up.headers, body, up.method, up.url.place)


_clients = WeakKeyDictionary()


def default():
    """The Client of the running scheduler."""
    return _clients.get(kernel()) or set_default(Client())


def set_default(client):
    """Make this the Client of the running scheduler, and return it."""
    _clients[kernel()] = client
    return client
