"""Routes: what answers a path.

Routes are tried in order. A `match` that ends in "/" is a prefix, any other is exact, none matches all, and the first that matches
decides. Routes with the same `match` that follow add their methods, so GET and POST of a path may be told apart, but no request slips
past a restricted route to a laxer one because of its method. What was decided is remembered, so a request costs one look-up.
"""

from types import CoroutineType

from ..http import encode_field
from ..http.uri import percent_encode
from ..runtime import units
from ..runtime.log import Log
from ..runtime.units import PropertyError

METHODS = ('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE')         # of an action that names none
READING = ('GET', 'HEAD')                                           # of a document
KNOWN = {*METHODS, 'OPTIONS', 'TRACE', 'CONNECT'}                   # 405 where they are not allowed; others get 501
REMEMBERED = 512                                                    # paths

REDIRECTS = (301, 302, 303, 307, 308)

log = Log('web')


class WebError(PropertyError):
    """A wrong property of the web configuration."""


class Route:
    """One entry of `web.routes`."""

    __slots__ = ('match', 'prefix', 'handler', 'methods', 'redirect', 'status', 'stream', 'cache', 'fields', 'body', 'buffer',
                 'timeout', 'inactivity', 'patience', 'limits', 'checks', 'schemes', 'login', 'replaces', 'special', 'cors',
                 'validate')

    def __init__(self, config, where, server, headers=()):
        self.match = config.get('match') or ''
        if self.match and self.match[0] != '/':
            raise WebError(f'{where}.match', f'expected a path that begins with "/", got {self.match!r}')
        self.prefix = not self.match or self.match.endswith('/')
        self.handler = config.get('handler')        # 'file', 'action' or None
        self.methods = methods(config.get('methods'), f'{where}.methods')
        self.redirect = config.get('redirect')
        self.status = redirect_status(config.get('status', 302), f'{where}.status')
        if 'status' in config and not self.redirect:
            raise WebError(f'{where}.status', 'it is the code of a `redirect`, which is not here')
        self.stream = bool(config.get('stream'))
        headers = {**dict(headers), **(config.get('headers') or {})}
        try:
            self.fields = b''.join(encode_field(name, value) for name, value in headers.items() if value)
        except ValueError as error:
            raise WebError(f'{where}.headers', str(error)) from None
        common = {name.lower() for name in server.common}       # which a route's own take the place of
        self.replaces = tuple(b'%b:' % name.lower().encode() for name in headers if name.lower() in common)
        self.cache = b''            # Cache-Control of answers that are no errors
        if 'cache' in config:
            self.cache = encode_field('Cache-Control', cache_control(config['cache'], f'{where}.cache'))
        limits = config.get('limits') or {}
        self.body = units.size(limits['body']) if 'body' in limits else server.limits['body']
        self.buffer = units.size(limits['buffer']) if 'buffer' in limits else server.limits['buffer']
        timeouts = server.timeouts | {name: units.seconds(value) for name, value in (config.get('timeouts') or {}).items()}
        self.timeout, self.inactivity = timeouts['request'], timeouts['inactivity']
        if self.stream:
            self.body = self.timeout = float('inf')
        self.patience = min(self.timeout, self.inactivity)      # seconds until the deadline is looked at first
        self.limits = server.limits | {name: units.size(value) for name, value in limits.items()}
        self.checks = []            # coroutine functions of a Web, asked in order before the handler; one that answers ends it
        self.schemes = self.login = None        # how and where to sign in; None for what `auth` says
        if not config.keys().isdisjoint(('role', 'can', 'auth')):
            from .access import guard
            self.checks.append(guard(self, config, where, server))
        if config.get('xsrf'):
            from .sessions import check_token
            self.checks.append(check_token)
        self.cors = None
        if 'cors' in config:
            from .cors import Cors
            self.cors = Cors(config['cors'], f'{where}.cors')
        self.special = bool(self.fields or self.cache or self.replaces or self.cors)    # its answers have more fields
        self.validate = bool(config.get('validate'))
        if self.validate and server.signatures is None:
            raise WebError(f'{where}.validate', 'there are no signatures to hold requests against')

    def matches(self, path):
        return path.startswith(self.match) if self.prefix else path == self.match


class Target:
    """What answers a path: for each method the handler's coroutine function, with its route."""

    __slots__ = ('handlers', 'allow', 'route')

    def __init__(self, handlers, route):
        self.handlers = handlers            # {method: (route, function(web))}
        self.route = route                  # of the answer when no method fits
        self.allow = ', '.join(sorted({*handlers, 'OPTIONS'}))


class Router:
    """The routes and the actions of a server."""

    def __init__(self, server, base=None, headers=()):
        self.server = server
        self.actions = base.actions if base else {}             # path -> (function, methods); one dictionary for all hosts
        self.known = base.known if base else set(KNOWN)
        self.headers = headers              # of a virtual host
        self.remembered = {}

    def configure(self, config, files):
        """Take over the routes and redirections of a configuration; actions stay bound. Raises WebError."""
        server, headers = self.server, self.headers
        routes = [Route(entry, f'web.routes[{n}]', server, headers) for n, entry in enumerate(config.get('routes') or [{}])]
        redirects = [Redirect(entry, f'web.redirect[{n}]', config.get('name'))
                     for n, entry in enumerate(config.get('redirect') or [])]
        for n, route in enumerate(routes):
            self._reachable(route, routes[:n], f'web.routes[{n}]')
        if server.access:
            routes[:0] = server.access.routes
        self.routes, self.redirects, self.files = routes, redirects, files
        self.default = Route({}, 'web', server, headers)        # of answers that no route gives
        for route in routes:
            self.known.update(route.methods or ())
        self.remembered.clear()

    @staticmethod
    def _reachable(route, before, where):
        """Say that an earlier route takes all that this one matches; as an error where this one would have asked for more."""
        for n, earlier in enumerate(before):
            if earlier.match == route.match and earlier.methods and not {*(route.methods or METHODS)} <= {*earlier.methods}:
                continue
            if earlier.match == route.match or earlier.prefix and route.match.startswith(earlier.match):
                message = f'nothing comes here: web.routes[{n}] takes {earlier.match or "everything"} before it'
                if route.checks or route.validate:
                    raise WebError(f'{where}.match', message)
                log.error(f'{where}: {message}')
                return

    def bind(self, path, function, allowed=None):
        """Bind a function to a path; a path that ends in "/" stands for all below it."""
        if not path.startswith('/'):
            raise ValueError(f'an action is bound to a path that begins with "/", not {path!r}')
        allowed = methods(allowed, f'action {path}') or METHODS
        self.known.update(allowed)
        self.actions[path] = (function, allowed)
        self._forget()

    def unbind(self, path):
        """Take an action away. Raises KeyError when there is none."""
        del self.actions[path]
        self._forget()

    def _forget(self):
        hosts = self.server.hosts
        for router in (self, *(hosts.routers if hosts else ())):
            router.remembered.clear()

    def find(self, path):
        """Return the Target of a path, or None when no route matches."""
        try:
            return self.remembered[path]
        except KeyError:
            pass
        target = self._decide(path)
        if len(self.remembered) >= REMEMBERED:
            self.remembered.clear()
        if len(path) <= 200:
            self.remembered[path] = target
        return target

    def _decide(self, path):
        first = None
        handlers = {}
        for route in self.routes:
            if first is None:
                if not route.matches(path):
                    continue
                first = route
            elif route.match != first.match:
                continue
            for method, handler in self._handlers(route, path):
                handlers.setdefault(method, (route, handler))
        return None if first is None else Target(handlers, first)

    def _handlers(self, route, path):
        writers = {}
        if route.redirect:
            handler, offered = redirector(route), METHODS
        else:
            action = longest(self.actions, path) if route.handler != 'file' else None
            if action is not None:
                handler, offered = action
                if 'GET' in offered and 'HEAD' not in offered:
                    offered = (*offered, 'HEAD')
            elif route.handler == 'action' or self.files is None:
                handler, offered = not_found, METHODS
            else:
                handler, offered = self.files.serve, READING
                if route.handler == 'file' and path[-1:] != '/' and {'PUT', 'DELETE'}.intersection(route.methods or ()):
                    from .store import Store
                    writers = Store(self.files).handlers
        offered = (*offered, *writers)
        if route.methods:
            allowed = {*route.methods, 'HEAD'} if 'GET' in route.methods else route.methods
            offered = [method for method in offered if method in allowed]
        handlers = [(method, writers.get(method, handler)) for method in offered]
        if route.validate:
            handlers = self.server.signatures.around(path, handlers)
        if route.checks:
            handlers = [(method, checked(route.checks, handler)) for method, handler in handlers]
        return handlers


def longest(table, path):
    """The entry of a path in a table: the exact one, else that of the longest prefix, else None."""
    found = table.get(path)
    while found is None and path:
        path = path[:path.rfind('/', 0, -1) + 1]
        found = table.get(path)
    return found


def checked(checks, handler):
    """A handler that asks the checks first."""
    async def check(web):
        for ask in checks:
            await ask(web)
            if web.out is not None or web.started:
                return None
        result = handler(web)
        return await result if type(result) is CoroutineType else result
    return check


def redirector(route):
    """A handler that sends the client to the route's `redirect`."""
    async def redirect(web):
        await web.redirect(route.redirect, route.status)
    return redirect


async def not_found(web):
    """The handler of a path that has neither action nor document."""
    await web.error(404)


class Redirect:
    """One entry of `web.redirect`: from a path (exact, or a prefix that ends in "/"), a scheme ('http://') or everything, to a path,
    a URL, or a scheme with an optional port ('https://:4443') that keeps host, path and query."""

    __slots__ = ('origin', 'to', 'status', 'scheme', 'name')

    def __init__(self, config, where, name):
        self.name = name
        self.origin = config.get('from') or ''
        self.to = config.get('to') or ''
        self.status = redirect_status(config.get('status', 302), f'{where}.status')
        if not self.to:
            raise WebError(f'{where}.to', 'expected a path, a URL or a scheme such as "https://"')
        if self.origin and self.origin[0] != '/' and self.origin not in ('http://', 'https://'):
            raise WebError(f'{where}.from', f"expected a path, 'http://' or 'https://', got {self.origin!r}")
        scheme, colon, rest = self.to.partition('://')
        self.scheme = scheme if colon and (not rest or rest[0] == ':') else None
        if not self.scheme and not colon and self.to[0] != '/':
            raise WebError(f'{where}.to', f'expected a path, a URL or a scheme such as "https://", got {self.to!r}')

    def apply(self, web):
        """Return the URL to send this request to, or None where the rule does not apply."""
        origin = self.origin
        rest = ''
        if web.path[:1] != '/':
            return None                         # OPTIONS * and CONNECT
        if origin in ('http://', 'https://'):
            if web.secure != (origin == 'https://'):
                return None
        elif origin.endswith('/') and origin != '/' and self.to.endswith('/') and web.path.startswith(origin):
            rest = percent_encode(web.path[len(origin):])
        elif origin and origin != web.path and not (origin.endswith('/') and origin != '/' and web.path.startswith(origin)):
            return None
        query = f'?{web.query}' if web.query else ''
        if self.scheme:
            host = self.name or web.host
            if web.secure == (self.scheme == 'https') or not host:
                return None
            host = f'[{host}]' if ':' in host and host[0] != '[' else host
            return f'{self.scheme}://{host}{self.to.partition("://")[2]}{percent_encode(web.path)}{query}'
        target = self.to + rest
        if target.split('?')[0] == web.path:
            return None
        return target if '?' in target else target + query


def redirect_status(status, where):
    if status not in REDIRECTS:
        raise WebError(where, f'expected one of {", ".join(map(str, REDIRECTS))}, got {status!r}')
    return status


def methods(names, where):
    """Return method names as a tuple, None for none. Raises WebError where one is not an upper-case token."""
    if names is None:
        return None
    for name in names or ['']:
        if not (isinstance(name, str) and name.isascii() and name.replace('-', '').isalpha() and name.isupper()):
            raise WebError(where, f"expected methods such as 'GET' and 'POST', got {name!r}")
    return tuple(names)


def cache_control(value, where):
    """Return a Cache-Control value of a time ('1 day' -> 'max-age=86400') or of directives as they stand ('no-cache')."""
    if isinstance(value, str):
        value = value.strip()
        if not value or value[0].isalpha() and value not in ('never', 'infinite'):
            return value
    try:
        seconds = units.seconds(value)
    except (TypeError, ValueError):
        raise WebError(where, f"expected a time such as '1 day' or Cache-Control directives, got {value!r}") from None
    return f'max-age={int(min(seconds, 31536000))}'
