"""Server: listeners, limits, counters and the fields that every answer has.

Status line, Date and fixed fields are ready-made bytes for each status, made anew by the first answer of a new second: no timer.
"""

import time

from ..http import HeadLimits, encode_field
from ..http.dates import format_date
from ..http.status import STATUS_LINES
from ..runtime import units
from ..runtime.fiber import kernel
from ..runtime.kernel import sleep
from ..runtime.log import DEBUG, INFO, TRACE, Log
from ..runtime.listener import listen, split_address
from .connection import BUSY, OPEN, Connection
from .files import Files
from .routes import Router, WebError

# What each means stands in config/web.json5.
LIMITS = {
    'body': 'unlimited', 'buffer': '1 MB', 'header': '16K', 'line': '8K', 'fields': 100, 'connections': 1000,
    'clientConnections': 'unlimited', 'requests': 'unlimited', 'cache': '1 MB', 'item': '64K',
    'form': '64K', 'upload': '20 MB', 'files': 20, 'sessions': 1000, 'frame': '1 MB', 'message': '1 MB', 'backlog': '1 MB',
}
TIMEOUTS = {'parse': '10 secs', 'inactivity': '60 secs', 'request': '5 mins', 'tls': '10 secs', 'grace': '10 secs',
            'session': '30 mins', 'ping': '30 secs'}
HEADERS = {
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'SAMEORIGIN',
    'Referrer-Policy': 'same-origin',
    'Content-Security-Policy': "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'self'; frame-ancestors 'self'",
}
FULL = b'503 Service Unavailable\ntoo many connections\n'

log = Log('web')


def addresses_of(config):
    """The configured addresses, as a list."""
    addresses = config.get('listen', ['http://:8080'])
    return [addresses] if isinstance(addresses, str) else addresses or []


class Server:
    """An embedded web server of the `web` properties; `resolve` turns a configured path into a real one.

    With `development` true, https:// listeners speak HTTP as long as there is no certificate. With `keeps` false the users that are
    made are not written to @state/auth.json5.
    """

    def __init__(self, config=None, resolve=str, development=False, keeps=True):
        self.resolve = resolve
        self.development, self.keeps = development, keeps
        self.tls = None                 # the context of https:// listeners
        self.secured = []               # those listeners
        self.listeners = []
        self.connections = set()
        self.clients = {}               # address -> open connections
        self.stopping = False
        self.requests_before = 0        # by connections that have ended
        self.bytes_before = 0
        self.accepted = 0
        self.errors = 0
        self.openings = {}
        self.next_second = 0.0
        self.router = self.journal = self.hosts = self.signatures = self.proxies = None
        self.access = None              # who may sign in, where users are configured or needed
        self._sessions = None
        self.identity = None            # who the process becomes at the start
        if config and (config.get('user') or config.get('group') or config.get('chroot')):
            from .privileges import Identity
            self.identity = Identity(config, resolve)
            self.resolve = self.identity.resolve
        self.configure(config or {})

    # Configuration

    def configure(self, config, renew=True):
        """Take over a configuration, whole or not at all. Raises WebError with the property's name.

        Listeners stay as they are, but with `renew` the next handshakes use the certificates that the files have by then.
        """
        given = {'limits': {**(config.get('limits') or {}), **(config.get('files') or {})}, 'timeouts': config.get('timeouts') or {}}
        limits = {name: self._measure(given, 'limits', name, default, units.size) for name, default in LIMITS.items()}
        timeouts = {name: self._measure(given, 'timeouts', name, default, units.seconds) for name, default in TIMEOUTS.items()}
        common = dict(HEADERS)
        common.update(config.get('headers') or {})
        try:
            fixed = b''.join(encode_field(name, value) for name, value in common.items() if value)
        except ValueError as error:
            raise WebError('web.headers', str(error)) from None
        show = config.get('show') or ''
        upload = config.get('upload') or {}
        if upload.get('dir'):
            from .upload import prepare
            prepare(self.resolve, upload)
        for name in ('line', 'header', 'fields'):
            if limits[name] > 1 << 20:
                raise WebError(f'web.limits.{name}', 'expected at most 1 MB: a head is held in memory')
        tls = self._context(config) if renew else self.tls
        old = dict(self.__dict__)
        self.limits, self.timeouts, self.common = limits, timeouts, common
        self.journal = self.signatures = self.proxies = self.hosts = self.access = None
        router = self.router or Router(self)
        try:
            self._configure_options(config, router)
            files = Files(self.resolve(config['documents']), config, limits) if config.get('documents') else None
            router.configure(config, files)
        except BaseException:
            if self.journal:
                self.journal.close()
            self.__dict__.update(old)
            raise
        if old['journal']:
            old['journal'].close()
        if self.access:
            self.access.inherit(old['access'])
        if self._sessions:
            self._sessions.limit, self._sessions.lifetime = limits['sessions'], timeouts['session']
        self.router = router
        self.config = config
        self.tls = tls
        for listener in self.secured:
            listener.tls = tls
        if tls is None and self._wants_tls(config):         # nobody is sent where nobody answers
            self.router.redirects = [rule for rule in self.router.redirects if rule.scheme != 'https']
        self.head_limits = HeadLimits(min(limits['line'], limits['header']), limits['header'], limits['fields'])
        self.fixed = fixed
        self.upload = upload
        self.openings.clear()
        self.request_level = 0 if self.journal else INFO if config.get('log') else TRACE
        self._show = show
        self._settle()

    reload = configure

    def _wants_tls(self, config):
        return self.secured or any(address.startswith('https://') for address in addresses_of(config))

    def _context(self, config):
        """The TLS context of https:// listeners, None where there are none, or no certificate and this is for development."""
        if not self._wants_tls(config):
            if config.get('tls'):
                log.info('web.tls is not used: no address of web.listen begins with https://')
            return None
        try:
            from .secure import NoCertificate, make_context
        except ImportError as error:
            raise WebError('web.listen', f'https:// needs the module {error.name}, which is not here') from None
        try:
            return make_context(config, self.resolve)
        except NoCertificate as error:
            if not self.development or self.tls is not None:
                raise
            log.info(f'{error.message}. Until then https:// listeners speak HTTP')

    def _configure_options(self, config, router):
        """What is imported only where it is configured."""
        hosts = config, *(config.get('hosts') or ())
        if config.get('auth') or any(name in route for host in hosts for route in host.get('routes') or ()
                                     for name in ('role', 'can', 'auth')):
            from .access import Access
            self.access = Access(self, config.get('auth') or {})
        if config.get('signatures'):
            from .signatures import Signatures
            self.signatures = Signatures(config['signatures'])
        if config.get('proxies'):
            from .proxies import Proxies
            self.proxies = Proxies(config['proxies'])
        if config.get('hosts'):
            from .hosts import Hosts
            self.hosts = Hosts(self, router, config)
        if not isinstance(config.get('log', False), bool):
            from .requestlog import RequestLog
            self.journal = RequestLog(config['log'], self.resolve)

    @property
    def sessions(self):
        """The sessions of this server's clients."""
        if self._sessions is None:
            from .sessions import Sessions
            self._sessions = Sessions(self.limits['sessions'], self.timeouts['session'])
        return self._sessions

    @staticmethod
    def _measure(config, group, name, default, convert):
        value = config[group].get(name, default)
        try:
            return convert(value)
        except (TypeError, ValueError) as error:
            raise WebError(f'web.{group}.{name}', str(error)) from None

    def _settle(self):
        """Whether requests may take the short way: nothing has to be looked at for each of them."""
        self.plain = not (self._show or self.stopping or self.hosts or self.router.redirects or self.limits['requests'] < 1e9)

    @property
    def show(self):
        """What of each exchange goes to the log: letters of H (request head), B (its body), h (response head), b (its body)."""
        return self._show

    @show.setter
    def show(self, letters):
        self._show = letters or ''
        self._settle()

    # Actions

    def action(self, path, methods=None):
        """Bind a function, plain or async, that gets a Web and returns a dict, list, str, bytes or None: `@server.action('/api/hello')`.

        A path that ends in "/" stands for all below it. methods: by default GET, HEAD, POST, PUT, PATCH and DELETE.
        """
        def bind(function):
            self.router.bind(path, function, methods)
            return function
        return bind

    def remove_action(self, path):
        """Take the action of a path away. Raises KeyError when there is none."""
        self.router.unbind(path)

    # Life

    async def start(self):
        """Listen on all configured addresses, or on none, and give up rights. Raises OSError that names the address, WebError."""
        addresses = addresses_of(self.config)
        if not addresses:
            raise WebError('web.listen', 'expected at least one address')
        try:
            for n, address in enumerate(addresses):
                address, secure = self._address(address, f'web.listen[{n}]')
                listener = await listen(address, self._serve, self.tls if secure else None, None, False)
                self.listeners.append(listener)
                if secure:
                    self.secured.append(listener)
            if self.identity:
                self._assume()
        except BaseException:
            await self._close_listeners()
            raise
        for listener in self.listeners:
            listener.accept()
        if self.access:
            self.access.announce()

    def _assume(self):
        identity, self.identity = self.identity, None
        try:
            identity.assume()
        except OSError as error:
            raise WebError('web.chroot' if identity.root else 'web.user', error.strerror) from None
        self.configure(self.config, renew=False)        # by what is in sight, and this user may use

    async def _close_listeners(self):
        for listener in self.listeners:
            await listener.close()
        self.listeners, self.secured = [], []

    @staticmethod
    def _address(text, where):
        """What `listen` takes, of 'http://host:port' and the like, and whether it is https://."""
        scheme, colon, rest = text.partition('://')
        if not colon:
            scheme, rest = 'http', text
        if scheme not in ('http', 'https'):
            raise WebError(where, f"expected an address such as 'http://127.0.0.1:8080', got {text!r}")
        rest = rest.rstrip('/') if not rest.startswith('unix:') else rest
        if not rest.startswith('unix:') and not rest.rpartition(']')[2].rpartition(':')[1]:
            rest += ':443' if scheme == 'https' else ':80'
        try:
            split_address(rest)
        except ValueError as error:
            raise WebError(where, str(error)) from None
        return rest, scheme == 'https'

    @property
    def addresses(self):
        """What this server listens on, as URLs."""
        return [name if name.startswith('unix:') else f'http{"s" * (listener.tls is not None)}://{name}'
                for listener in self.listeners for name in listener.addresses]

    async def stop(self, grace=None):
        """Stop listening, close idle connections, and give requests in hand `grace` seconds (default: timeouts.grace) to end."""
        self.stopping = True
        self._settle()
        await self._close_listeners()
        for connection in list(self.connections):
            connection.closing = True
            if connection.phase == OPEN:
                connection.web.outlet.stop()
            elif connection.phase != BUSY:
                connection.stream.abort()
        until = kernel().time + (self.timeouts['grace'] if grace is None else grace)
        while self.connections and kernel().time < until:
            await sleep(0.05)
        fibers = [connection.fiber for connection in self.connections]
        if fibers:
            log.info(f'{len(fibers)} connections were cut off after the grace period')
        for fiber in fibers:
            fiber.cancel()
        for fiber in fibers:
            await fiber.join()
        self.stopping = False
        self._settle()

    async def _serve(self, stream):
        client = stream.remote[0]
        count = self.clients.get(client, 0)
        self.accepted += 1
        if len(self.connections) >= self.limits['connections'] or count >= self.limits['clientConnections'] and not (
                self.proxies and self.proxies.trusts(client)):
            self.errors += 1
            if stream.secure:
                return                  # a handshake is too much to ask for
            await stream.write(b'%bContent-Type: text/plain; charset=utf-8\r\nRetry-After: 5\r\nConnection: close\r\n'
                               b'Content-Length: %d\r\n\r\n%b' % (self.opening(503), len(FULL), FULL))
            await stream.linger(1.0)
            return
        connection = Connection(self, stream)
        self.connections.add(connection)
        self.clients[client] = count + 1
        try:
            if not stream.secure or await self._handshake(connection):
                await connection.run()
        finally:
            self.connections.discard(connection)
            self.requests_before += connection.requests
            self.bytes_before += stream.sent
            if self.clients[client] == 1:
                del self.clients[client]
            else:
                self.clients[client] -= 1
            connection.web = None

    async def _handshake(self, connection):
        """Whether the TLS handshake succeeded, within timeouts.tls."""
        connection.deadline.set(kernel().time + self.timeouts['tls'])
        try:
            await connection.stream.handshake()
            return True
        except BaseException as error:
            connection.deadline.cancel()
            if not isinstance(error, OSError):
                raise
            if log.level >= DEBUG:
                log.debug(f'TLS handshake with {connection.stream.remote[0]} failed: {error}')

    # Counters

    @property
    def stats(self):
        """Counters since the start: requests, errors, connections accepted and open, requests in hand, bytes sent."""
        return {
            'requests': self.requests_before + sum(connection.requests for connection in self.connections),
            'errors': self.errors,
            'accepted': self.accepted,
            'connections': len(self.connections),
            'active': sum(connection.phase == BUSY for connection in self.connections),
            'bytes_out': self.bytes_before + sum(connection.stream.sent for connection in self.connections),
        }

    # Answers

    def opening(self, status):
        """The first bytes of an answer: status line, Date and the fields that every answer has."""
        now = kernel().time
        if now >= self.next_second:
            second = time.time()
            self.next_second = now + 1 - second % 1
            self.openings = {}
            self.date = b'Date: %b\r\n' % format_date(second).encode()
        found = self.openings.get(status)
        if found is None:
            if type(status) is not int or not 200 <= status <= 999:
                raise ValueError(f'{status!r} is no status of an answer')
            line = STATUS_LINES.get(status) or b'HTTP/1.1 %d \r\n' % status
            found = self.openings[status] = line + self.date + self.fixed
        return found
