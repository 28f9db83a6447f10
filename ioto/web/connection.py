"""One connection: a fiber that reads requests, has them answered, and writes the answers in order.

The usual request arrives whole in one read and costs one search for the blank line, the parse, one look-up of its path, the handler,
and one send. Answers to pipelined requests are posted, so those of one read leave in one write. All else leaves that path early.

One Deadline serves the whole life of the connection; what it means is in `phase`: idle (close quietly), receiving a head (408),
busy (the request's own time, and that the client keeps reading or sending), open (what the WebSocket or event stream makes of it).
"""

import time
from types import CoroutineType

from ..http import HttpError, ParseError, find_head, parse_request
from ..runtime.fiber import Cancelled
from ..runtime.log import Log
from ..runtime.timers import Deadline
from .body import Body, Disconnected
from .exchange import Finished, Web
from .routes import not_found

IDLE, HEAD, BUSY, OPEN = range(4)
END = b'\r\n\r\n'
PIPELINED = 1 << 18         # bytes of answers that wait for more of them
PARTS = {'H': 'request', 'B': 'request body', 'h': 'response', 'b': 'response body'}

log = Log('web')
request_log = Log('request')


class Expired(Cancelled):
    """Thrown into the connection's fiber when its deadline passes; `.status` is the answer, if one can still be given."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status
        self.message = message


class Connection:
    """The state of one client's connection."""

    __slots__ = ('server', 'stream', 'fiber', 'deadline', 'phase', 'began', 'closing', 'web', 'progress', 'requests')

    def __init__(self, server, stream):
        self.server = server
        self.stream = stream
        kernel = stream.kernel
        self.fiber = kernel.current
        self.deadline = Deadline(kernel, self._expire)
        self.phase = IDLE
        self.began = 0.0            # when the request in hand began (monotonic seconds)
        self.closing = False        # no request after this one
        self.web = None
        self.progress = None        # bytes moved, when the deadline was looked at last
        self.requests = 0

    async def run(self):
        """Serve requests until the connection ends."""
        server, stream = self.server, self.stream
        kernel, deadline, read = stream.kernel, self.deadline, stream.read
        limits, idle = server.head_limits, server.timeouts['inactivity']
        small = min(limits.line, limits.head)
        remembered, find = server.router.remembered, server.router.find
        data = b''
        at = 0
        deadline.set(kernel.time + idle)
        try:
            while True:
                if at < len(data):
                    kernel.budget -= 1
                    if kernel.budget < 0:
                        await kernel.checkpoint()       # a pipeline is not served before everybody else
                else:
                    deadline.when = kernel.time + idle
                    self.phase = IDLE
                    self.web = web = result = out = data = None         # an idle connection holds nothing
                    data = await read()
                    if not data:
                        break
                    at = 0
                self.began = kernel.time
                self.web = None
                end = data.find(END, at) + 2
                if end < 2 or end - at > small or data[at] < 33:
                    data, at, end = await self._head(data, at, limits)
                    if end < 0:
                        break
                self.phase = BUSY
                self.web = web = parse_request(data, at, end, Web)
                web.connection = self
                at = end + 2
                self.requests += 1
                if web.length:
                    web.reader = Body(web, data[at:])
                elif web.protocol:
                    web.ahead = data[at:]
                if server.plain and len(web.pairs) <= limits.fields:
                    handler = self._route(web, remembered.get(web.path) or find(web.path))
                else:
                    handler = self._unusual(web, limits)
                if self.began + web.route.patience < deadline.when:
                    deadline.set(self.began + web.route.patience)
                try:
                    result = handler(web)
                    if type(result) is CoroutineType:
                        result = await result
                    out = web.out
                    if out is None:
                        if web.started:
                            await web.finish()
                        else:
                            web.answer_value(result)
                            out = web.out
                except (Exception, Expired, Finished, SystemExit) as error:
                    if not self._failed(web, error):
                        if web.outlet is not None:
                            await web.outlet.finish(1011)
                        break
                    out = web.out
                last = not web.keep_alive or self.closing
                if out is not None:
                    if at < len(data) and not last and not web.length:
                        stream.post(out)                    # with the answers to the requests behind it
                        if stream.queued_bytes > PIPELINED:
                            await stream.drain()
                    elif not stream.offer(out):
                        await stream.drain()
                if request_log.level >= server.request_level or server.show:
                    self._log(web)
                if last or web.length:
                    data, at = await self._after(web, last, data[at:]), 0
                    if data is None:
                        break
        except (ParseError, Expired) as error:
            if error.status and (self.web is None or self.web.out is None and not self.web.started):
                await self._refuse(error, (data or b'')[at:at + limits.line])
            stream.abort()                      # behind an answer nothing else may come
        except (OSError, Disconnected):
            pass                                # the client has gone
        finally:
            deadline.cancel()
            if self.web is not None:
                self._log(self.web)             # cut off before its end

    async def _after(self, web, last, data):
        """End a request that is the last or had a body. Returns what follows it, or None to end the connection."""
        if web.length and not last and await web.reader.discard():
            return web.reader.rest
        if data or web.length:
            await self.stream.linger()
        return None

    async def _head(self, data, at, limits):
        """Read on until a head is whole: (data, start, end), with end -1 when the client ended before. Raises ParseError."""
        data = data[at:]
        search = True
        while True:
            if search:
                start, end = find_head(data, 0, limits)
                if end >= 0:
                    return data, start, end
                data = data[start:]
            if data and self.phase != HEAD:
                self.phase = HEAD
                self.deadline.set(self.stream.kernel.time + self.server.timeouts['parse'])
            more = await self.stream.read()
            if not more:
                return b'', 0, -1
            data += more
            search = b'\n' in more or len(data) > limits.line

    # What answers

    def _unusual(self, web, limits):
        """The handler when every request has to be looked at: the server redirects, traces or is stopping."""
        if len(web.pairs) > limits.fields:
            raise ParseError(431, f'more than {limits.fields} fields')
        server, router = self.server, self.server.router
        if server.hosts is not None:
            router = server.hosts.find(web.host) or router
        if server.show:
            self.trace('H', '\n'.join([f'{web.method} {web.target}', *(f'{name}: {value}' for name, value in web.pairs)]))
        if server.stopping or self.requests >= server.limits['requests']:
            self.closing = True
        for rule in router.redirects:
            url = rule.apply(web)
            if url is not None:
                web.route = router.default
                return lambda web: web.redirect(url, rule.status)
        return self._route(web, router.find(web.path), router)

    def _route(self, web, target, router=None):
        """The handler of a request, by what answers its path."""
        method = web.method
        found = target.handlers.get(method) if target is not None else None
        if found is not None and not web.length:
            web.route, handler = found
            return handler
        router = router or self.server.router
        web.route = router.default if target is None else target.route
        if method not in router.known:
            return _refusal(HttpError(501, f'the method {method[:40]} is not known here'))
        if web.path == '*' or method == 'CONNECT':
            allow = ', '.join(sorted(router.known - {'CONNECT', 'TRACE'}))
            if method == 'OPTIONS':
                return _options(allow)
            return _refusal(HttpError(405, '', (('Allow', allow),)))
        if target is None:
            return not_found
        if found is None:
            if method == 'OPTIONS':
                asked = target.handlers.get(web.fields.get('access-control-request-method'))
                if asked is not None:
                    web.route = asked[0]
                    if web.route.cors is not None:
                        return web.route.cors.preflight
                return _options(target.allow)
            return _refusal(HttpError(405, f'{method} is not allowed here', (('Allow', target.allow),)))
        web.route, handler = found
        if web.length > web.route.body:
            return _refusal(web.reader.too_large(web.route.body))
        if web.fields.get('content-type', '')[:10].lower() == 'multipart/':
            from .upload import guarded
            return guarded(handler)
        return handler

    def _failed(self, web, error):
        """Make an error of a handler the answer. Returns False when none can be given any more."""
        if isinstance(error, Finished):
            return True
        if isinstance(error, Disconnected):
            return False
        if not isinstance(error, (HttpError, Expired)):
            log.exception(f'{web.method} {web.path} failed', error)
        if web.started:
            return False                        # the client sees that the answer is cut short
        web.out = web.content_type = None
        web.extra = b''
        if isinstance(error, Expired) or getattr(error, 'close', False):
            self.closing = True
        try:
            if isinstance(error, (HttpError, Expired)):
                web.answer_error(error.status, error.message, getattr(error, 'headers', ()))
                return True
        except ValueError as wrong:             # a status or field that cannot be sent
            log.exception(f'{web.method} {web.path} failed', wrong)
            web.extra = b''
        web.answer_error(500, 'the request could not be answered; the device\'s log says why')
        return True

    def persistence(self, web):
        """The Connection field of an answer, as its head is made."""
        if web.length and web.keep_alive and not web.reader.keepable():
            web.keep_alive = False
        if self.closing or not web.keep_alive:
            web.keep_alive = False
            return b'Connection: close\r\n'
        return b'Connection: keep-alive\r\n' if web.version < 11 else b''

    async def _refuse(self, error, received):
        """Answer what could not be understood, then close."""
        web = self.web
        if web is None:
            self.web = web = Web()
            web.method, web.version, web.length, web.fields, web.host = 'GET', 11, 0, {}, ''
            web.line = received.partition(b'\n')[0].rstrip(b'\r').decode('latin-1')
            self.trace('H', received)
        web.keep_alive, web.connection = False, self
        self.phase = BUSY
        self.began = self.stream.kernel.time
        web.answer_error(error.status, error.message, getattr(error, 'headers', ()))
        self._log(web, error.message)
        self.stream.post(web.out)
        await self.stream.linger()

    # Time

    def _expire(self):
        """The deadline has passed: see what it means, and whether it was meant."""
        kernel, server = self.stream.kernel, self.server
        now = kernel.time
        if self.phase == IDLE:
            self.stream.abort()
        elif self.phase == HEAD:
            self.fiber.throw_in(Expired(408, f'no whole request within {server.timeouts["parse"]:g} s'))
        elif self.phase == BUSY:
            self._expire_busy(now)
        else:
            self.web.outlet.tick()

    def _expire_busy(self, now):
        web, stream, idle = self.web, self.stream, self.server.timeouts['inactivity']
        limit = float('inf')
        if web is not None and web.route is not None:
            idle = web.route.inactivity
        if web is not None and web.route is not None and not web.started and web.out is None:
            limit = (self.began if web.upload is None else web.upload.moved) + web.route.timeout
            if now >= limit:
                late = web.reader is not None and not web.reader.done
                self.fiber.throw_in(Expired(408 if late else 503, f'not done within {web.route.timeout:g} s'))
                return
        if stream.reader is not None or stream.writer is not None:
            moved = (stream.sent, web.reader.received if web is not None and web.reader is not None else 0)
            if moved == self.progress:
                self.fiber.throw_in(Expired(408 if stream.reader is not None else 0, f'nothing moved for {idle:g} s'))
                return
            self.progress = moved
        self.deadline.set(min(limit, now + idle))

    # The log

    def _log(self, web, refusal=''):
        """Log an exchange, once; `refusal` says why the request was not understood."""
        if web.logged:
            return
        web.logged = True
        server, level = self.server, self.server.request_level
        took = time.monotonic() - self.began
        size = len(web.out) - web.head_size if web.out is not None else max(0, self.stream.sent - web.mark)
        status = web.status if web.out is not None or web.started else 499      # the client has gone, as nginx has it
        if server.journal is not None:
            server.journal.add(web, status, size, took)
        elif request_log.level >= level:
            what = f'refused {status}: {refusal}' if refusal else f'{web.method} {web.target} {status} {size} {took * 1000:.1f} ms'
            request_log.write(level, f'{web.remote} {what}')
        if server.show and web.out is not None:
            self.trace('h', web.out[:web.head_size])
            self.trace('b', web.out[web.head_size:])

    def trace(self, part, data):
        """Log a part of the exchange where `show` asks for it: H and B are the request's head and body, h and b the answer's."""
        if data and part in self.server.show:
            text = data if isinstance(data, str) else data.decode('latin-1').replace('\r', '')
            log.info(f'{PARTS[part]}\n{text.strip()}')


def _refusal(error):
    def refuse(web):
        raise error
    return refuse


def _options(allow):
    def options(web):
        web.set_header('Allow', allow)
        web.answer(200, b'', b'')
    return options

