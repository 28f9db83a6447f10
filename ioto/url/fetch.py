"""One fetch: a request, the redirects and challenges that it meets, and its answer, read as it comes.

    async with url.fetch('PUT', target, body=file, timeout=30) as up:
        print(up.status, up.headers['content-type'])
        async for chunk in up:
            …

Entering sends the request and returns at the head of the final answer. The connection goes back to the pool with the
last byte of the body, and is closed where the body is left unread, the fiber is cancelled, or anything fails. All
errors are UrlError.
"""

from codecs import lookup
from time import monotonic

from ..http.body import ChunkedDecoder, LengthDecoder
from ..http.client import CloseDecoder, request_head
from ..http.errors import ParseError
from ..http.fields import tokens
from ..http.head import CHUNKED, UNTIL_CLOSE
from ..http.url import Url, parse_url, with_query
from ..runtime.scopes import timeout as time_limit
from .body import payload_of
from .connection import LIMITS
from .errors import ConnectError, ProtocolError, TimeoutError, TlsError, TooLarge, UrlError

SAFE = frozenset(('GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'))      # idempotent: RFC 9110 §9.2.2
# Codecs of Python that are no charsets: some raise other errors, some take for ever.
NO_CHARSETS = frozenset(('punycode', 'idna', 'undefined', 'unicode-escape', 'raw-unicode-escape'))
REST = 65536            # bytes of an answer read for its connection's sake, before the request is sent again
REST_TIME = 0.5         # seconds for that
FOREVER = float('inf')
PHASES = {'connect': 'no connection', 'tls': 'no TLS', 'first': 'no answer', 'idle': 'nothing more came or went',
          'whole': 'the exchange was not complete'}


class Fetch:
    """A request and its answer; made by `Client.fetch`.

    status, reason  of the answer
    headers         Headers: {lower-case name: value}, in any case; .all('set-cookie')
    version         10 or 11
    url             the Url that answered, after redirects; str(url) is its text
    trailers        {lower-case name: value}, once the body has been read
    length          bytes of the body as sent, None if not known before its end
    """

    def __init__(self, client, method, target, body=None, headers=None, query=None, timeout=None, limit=None,
                 redirects=None, auth=None, bearer=None, decode=True, expect=False, downgrade=False):
        self.client = client
        self.method = method
        self.status = 0
        self.trailers = {}
        self.own = list(headers.items() if hasattr(headers, 'items') else headers or ())
        self.auth, self.bearer = auth, bearer
        self.decode, self.expect, self.downgrade = decode, expect, downgrade
        self.limit = client.limit if limit is None else limit
        self.redirects = client.redirects if redirects is None else redirects
        self.hops = 0               # redirects followed
        self.tried = {}             # status -> challenges met at this place
        self.times = client.times if timeout is None else client.times_of(timeout)
        self.connection = self.decoder = self.coding = None
        self.lost = False           # the rest of the body
        try:
            self.url = target if isinstance(target, Url) else parse_url(target)
            if query:
                self.url = with_query(self.url, query)
        except ValueError as error:
            raise UrlError(str(error)) from None
        self.payload = payload_of(body)
        if auth is None and self.url.user is not None:
            self.auth = self.url.user, self.url.password
        if self.auth is not None and self.payload is not None and self.payload.once:
            self.expect = True      # a challenge has to come before the body

    async def __aenter__(self):
        whole = self.times['whole']
        self.end = FOREVER if whole is None else monotonic() + whole
        try:
            while True:
                await self._ask()
                if self.status < 300:
                    break
                from .follow import again
                if not await again(self):
                    break
        except BaseException as error:
            raise self._failed(error) from None
        return self

    async def __aexit__(self, kind, error, trace):
        connection = self.connection
        if connection is not None:
            if kind is None and connection.data and self.decoder is not None:
                self._skip()
            self._close()

    # The request

    async def _ask(self):
        """Send the request to where it goes now, and read the head of the answer."""
        client, url, payload = self.client, self.url, self.payload
        head = self._head()
        fresh = False
        while True:
            self.connection = connection = await client.connect(url, self.times, self.end, fresh)
            connection.end = self.end
            used = connection.used
            try:
                response = await connection.ask(head, payload, self.method, self.times, self.expect)
                break
            except (OSError, EOFError):
                # A kept connection that the server closed as we sent: asked once more where that does no harm.
                safe = self.method in SAFE and self.repeatable()
                if not used or connection.begun or connection.late or not safe:
                    raise
            self._close()
            fresh = True
        self.status, self.reason, self.version = response.status, response.reason, response.version
        self.headers = fields = response.fields
        if self.status == 101 and not any(name.lower() == 'upgrade' for name, _ in self.own):
            raise ProtocolError('101 without having been asked for an upgrade', url.place)
        self.keep = response.keep_alive and self.keep
        length = response.length
        self.length = length if length >= 0 else None
        if 'set-cookie' in fields and client.cookies is not None:
            client.jar().store(url, fields.all('set-cookie'))
        if length > 0:
            self.decoder = LengthDecoder(length)
        elif length == CHUNKED:
            self.decoder = ChunkedDecoder(LIMITS)
        elif length == UNTIL_CLOSE:
            self.decoder = CloseDecoder()
        else:
            self.decoder = None
            if self.status != 101:
                if connection.sender is not None:
                    await self._settle()
                self._complete()
            return
        if self.decode and (coding := fields.get('content-encoding')):
            from .coding import decoder_of
            self.coding = decoder_of(coding, self.limit)

    def repeatable(self):
        """Whether the body can be sent again."""
        return self.payload is None or self.payload.again

    def _head(self):
        client, url, payload = self.client, self.url, self.payload
        self.keep = client.keep
        try:
            credentials = client.credentials(self)
            if not self.own and payload is None and not credentials and self.decode and not self.expect:
                line = f'{self.method} {client.target(url)} HTTP/1.1\r\n'
                if self.method in SAFE:
                    return line.encode('ascii') + client.fixed(url)
            return request_head(self.method, client.target(url), self._pairs(credentials))
        except ValueError as error:
            raise UrlError(str(error)) from None

    def _pairs(self, credentials):
        """The fields of the request: those of the client, over them what the request needs, over them its own."""
        payload = self.payload
        fields = {'host': ('Host', self.url.authority)} | self.client.fields | credentials
        if payload is not None:
            if payload.length is None:
                fields['transfer-encoding'] = 'Transfer-Encoding', 'chunked'
            else:
                fields['content-length'] = 'Content-Length', str(payload.length)
            if payload.media:
                fields['content-type'] = 'Content-Type', payload.media
        elif self.method in ('POST', 'PUT', 'PATCH'):
            fields['content-length'] = 'Content-Length', '0'
        if self.expect and payload is not None:
            fields['expect'] = 'Expect', '100-continue'
        if not self.decode or any(name.lower() == 'range' for name, _ in self.own):
            fields.pop('accept-encoding', None)
        for name, value in self.own:
            low = name.lower()
            if low == 'content-length' and payload is not None and payload.length is None and value is not None:
                payload.length = value = int(value)
                if value < 0:
                    raise ValueError(f'bad Content-Length: {value}')
                del fields['transfer-encoding']
            elif low in ('content-length', 'transfer-encoding'):
                continue                        # the framing follows the body
            if value is None:
                fields.pop(low, None)
            elif isinstance(value, (list, tuple)):
                fields.pop(low, None)
                fields |= {(low, n): (name, str(item)) for n, item in enumerate(value)}
            else:
                fields[low] = name, str(value)
        self.keep = 'close' not in tokens(fields.get('connection', ('', ''))[1])
        return list(fields.values())

    # The answer

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            chunk = await self._next()
        except BaseException as error:
            raise self._failed(error) from None
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def _next(self):
        """The next bytes of the content, b'' at its end."""
        coding = self.coding
        while True:
            decoder = self.decoder
            if coding is not None:
                if chunk := coding.read():
                    return chunk
                if decoder is None:
                    coding.finish()
            if decoder is None:
                if self.lost:
                    raise ProtocolError('the rest of the body went with its connection', self.url.place)
                return b''
            connection = self.connection
            data = await connection.receive(self.times['idle'])
            if data:
                parts = decoder.feed(data)
                chunk = parts[0] if len(parts) == 1 else b''.join(parts)
            else:
                decoder.finish()
                if getattr(connection.stream, 'truncated', False):
                    raise ProtocolError('TLS ended without a farewell, so the body may be cut', self.url.place)
                chunk = b''
            if coding is not None:
                coding.feed(chunk)
                chunk = b''
            if decoder.done:
                self.trailers = decoder.trailers
                connection.data = decoder.rest
                self.decoder = None
                if connection.sender is not None:
                    await self._settle()
                self._complete()
            if chunk:
                return chunk

    async def read(self):
        """The rest of the body, at most `limit` bytes. Raises TooLarge."""
        if self.length is not None and self.length > self.limit:
            raise self._failed(TooLarge(f'{self.length} bytes, the limit is {self.limit}', self.url.place))
        parts, size = [], 0
        async for chunk in self:
            parts.append(chunk)
            size += len(chunk)
            if size > self.limit:
                raise self._failed(TooLarge(f'the body is over the limit of {self.limit} bytes', self.url.place))
        return parts[0] if len(parts) == 1 else b''.join(parts)

    async def text(self):
        """The rest of the body as text, by Content-Type's charset or UTF-8; what does not decode becomes U+FFFD."""
        data = await self.read()
        charset = 'utf-8'
        media = self.headers.get('content-type', '')
        if 'charset' in media.lower():
            from ..http.lists import parameters
            charset = parameters(media)[1].get('charset') or charset
        try:
            if lookup(charset).name in NO_CHARSETS:
                raise LookupError
            return data.decode(charset, 'replace').removeprefix('\ufeff')
        except LookupError:
            raise ProtocolError(f'unknown charset {charset!a}', self.url.place) from None

    async def json(self):
        """The rest of the body as a value, None where there is none. Raises ProtocolError where it is not JSON."""
        from ..json5 import Json5Error, parse
        try:
            data = await self.read()
            return parse(data) if data else None
        except Json5Error as error:
            raise ProtocolError(f'the body is not JSON: {error}', self.url.place) from None

    def detach(self):
        """The Stream, after a 101 or for a body of one's own reading; what was received ahead comes from it first."""
        connection, self.connection, self.decoder = self.connection, None, None
        if connection is None:
            raise UrlError('the connection has been given back', self.url.place)
        connection.deadline.cancel()
        if connection.data:
            connection.stream.unread(connection.data)
        self.client.pool.leave(connection.key)
        return connection.stream

    # The end

    async def discard(self):
        """Let go of the answer, as the request is sent again; a short body is read, to keep its connection."""
        if self.decoder is not None and (self.length is None or self.length <= REST):
            self.coding, size = None, 0
            try:
                async with time_limit(REST_TIME):
                    while size <= REST and (chunk := await self._next()):
                        size += len(chunk)
            except (OSError, EOFError, ParseError, UrlError):
                pass                            # then it closes
        self.coding = self.decoder = None
        self._close()

    def _skip(self):
        """Take the end of the body, if it has come already."""
        connection, decoder = self.connection, self.decoder
        try:
            decoder.feed(connection.data)
        except ParseError:
            return
        if decoder.done:
            self.lost = True
            connection.data = decoder.rest
            self._complete()

    async def _settle(self):
        """Let a body leave whose good answer was faster; but a stream of the user's may never end."""
        if self.status < 300 and not self.payload.once:
            self.connection.arm(self.times['idle'], 'idle')
            await self.connection.sender.join()

    def _complete(self):
        """The answer has been read: its connection goes back, if both sides keep it."""
        connection = self.connection
        if connection is None:
            return
        if self.keep and connection.reusable():
            connection.deadline.when = FOREVER
            self.connection = None
            self.client.pool.give(connection)
        else:
            self._close()

    def _close(self):
        connection, self.connection = self.connection, None
        self.lost = self.lost or self.decoder is not None
        self.decoder = None
        if connection is not None:
            self.client.pool.drop(connection)

    def _failed(self, error):
        """Close, and return what to raise for an error."""
        connection = self.connection
        self._close()
        of_source = connection is not None and error is connection.fault
        if not isinstance(error, Exception) or of_source and not isinstance(error, UrlError):
            return error
        where, late = self.url.place, connection is not None and connection.late
        if late:
            return TimeoutError(f'{PHASES[late]} within {self.times[late]:g} s', where, late)
        if isinstance(error, ParseError):
            kind = TooLarge if error.status in (414, 431) else ProtocolError
            return kind(f'bad answer: {error.message}', where)
        if isinstance(error, EOFError):
            return ProtocolError(str(error), where)
        if isinstance(error, OSError) and not isinstance(error, UrlError):
            kind = TlsError if type(error).__module__ == 'ssl' else ConnectError
            return kind(str(error.strerror or error), where)
        if isinstance(error, UrlError) and not error.url:
            return type(error)(str(error), where)
        return error
