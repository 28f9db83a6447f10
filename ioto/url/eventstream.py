"""Server-sent events of the client (HTML Living Standard §9.2).

    async for event in url.events('https://example.com/news', last_id=seen):
        print(event.event, event.data, event.id)

When the stream ends or breaks it is asked for again, after the time that the server asked for with `retry` (3 s), and
longer each time that fails, up to a minute; Last-Event-ID then says which event was seen last. 204 ends the loop. What
the first request meets is raised: no connection, a status other than 200, another content type; later ones raise only
for the last two, and for an event over the limit. Silence for the time-out 'idle', here 120 s, is a break.

The connection is closed when the loop is left and the iterator forgotten; `async with url.events(…) as events` closes
it at the end of the block.
"""

import re

from ..runtime.scopes import timeout as time_limit
from ..runtime.sync import Event as Flag
from .client import check
from .errors import ProtocolError, StatusError, TooLarge, UrlError

RETRY = 3.0             # seconds, where the server does not say
BOUNDS = 0.1, 3600.0    # of what it says
LONGEST = 60.0          # seconds between tries, where `retry` is not longer
LIMIT = 1 << 20         # bytes of an event, of a line
IDLE = 120.0
NAMES = {b'data', b'event', b'id', b'retry'}


class Event:
    """`.data`; `.event`: its type, 'message' where none was sent; `.id`: the last one sent, '' for none."""

    __slots__ = ('data', 'event', 'id')

    def __init__(self, data, event, id):
        self.data, self.event, self.id = data, event, id

    def __repr__(self):
        return f'<Event {self.event} {self.id} {self.data[:40]!r}>'


class Parser:
    """Bytes of one stream in, Events out (§9.2.6). `.id` is the last event ID, `.retry` seconds or None."""

    def __init__(self, id='', limit=LIMIT):
        self.id = self.next_id = id
        self.limit, self.retry = limit, None
        self.held = bytearray()         # the beginning of a line
        self.data, self.size, self.event = [], 0, ''
        self.after_cr = False           # which ended a line: a newline belongs to it
        self.begun = False

    def feed(self, data):
        """The Events that end in `data`, which is not empty. Raises TooLarge."""
        if self.after_cr and data.startswith(b'\n'):
            data = data[1:]
        self.after_cr = data.endswith(b'\r')
        first, *lines = re.split(b'\r\n|\r|\n', data)
        self.held += first
        self._bound(len(self.held))
        found = []
        for line in lines:
            ended, self.held = bytes(self.held), bytearray(line)
            if not self.begun:
                self.begun, ended = True, ended.removeprefix(b'\xef\xbb\xbf')
            if ended:
                self._field(ended)
            else:
                self._dispatch(found)
        return found

    def _bound(self, more):
        if self.size + more > self.limit:
            raise TooLarge(f'an event is over the limit of {self.limit} bytes')

    def _field(self, line):
        name, _, value = line.partition(b':')
        if name not in NAMES:
            return
        self._bound(len(value))
        text = value.removeprefix(b' ').decode('utf-8', 'replace')
        if name == b'data':
            self.data.append(text)
            self.size += len(value) + 1
        elif name == b'event':
            self.event = text
        elif name == b'id':
            if '\0' not in text:
                self.next_id = text
        elif re.fullmatch('[0-9]+', text):
            self.retry = int(text.lstrip('0')[:9] or '0') / 1000

    def _dispatch(self, found):
        self.id = self.next_id
        if self.data:
            found.append(Event('\n'.join(self.data), self.event or 'message', self.id))
        self.data, self.size, self.event = [], 0, ''


class Events:
    """The events of a URL; made by `Client.events`. `.last_id`: that of the last event, '' for none."""

    up = None                           # the Fetch of the stream

    def __init__(self, client, target, last_id=None, headers=None, limit=LIMIT, timeout=None, **options):
        self.client, self.target, self.options = client, target, options
        self.headers = [('Accept', 'text/event-stream'), ('Cache-Control', 'no-store'), ('Accept-Encoding', None),
                        *(headers.items() if hasattr(headers, 'items') else headers or ())]
        self.timeout = {'idle': IDLE, **(timeout if isinstance(timeout, dict) else {'whole': timeout})}
        self.limit, self.last_id, self.retry = limit, last_id or '', RETRY
        self.parser = None
        self.found = []                 # the next one last
        self.failures = 0               # since a stream was there
        self.opened, self.ended = False, Flag()

    def __aiter__(self):
        return self

    async def __anext__(self):
        while not self.found:
            if self.ended.is_set():
                self._let_go()
                raise StopAsyncIteration
            try:
                if self.up is None:
                    await self._open()
                else:
                    await self._receive()
            except UrlError as error:
                self._let_go()
                if self.ended.is_set():
                    continue                    # closed by another fiber
                if not self.opened or isinstance(error, (StatusError, TooLarge)):
                    self.ended.set()
                    raise
                await self._pause()
            except BaseException:
                self._let_go()                  # the next one asks again
                raise
        event = self.found.pop()
        self.last_id = event.id
        return event

    async def _open(self):
        """Ask for the stream."""
        headers = self.headers
        if self.parser is not None:
            self.last_id = self.parser.id
        if self.last_id:
            value = re.sub('[\0-\x08\x0a-\x1f\x7f]', '', self.last_id).strip()
            headers = [*headers, ('Last-Event-ID', value.encode().decode('latin-1'))]
        up = self.client.fetch('GET', self.target, headers=headers, limit=float('inf'), timeout=self.timeout,
                               **self.options)
        self.up = await up.__aenter__()
        media = up.headers.get('content-type', '').partition(';')[0].strip().lower()
        if up.status == 204:
            self.close()
        elif up.status != 200 or media != 'text/event-stream':
            self.opened = False         # then it raises
            up.limit = self.client.limit
            await check(up)
            raise ProtocolError(f'expected 200 with text/event-stream, got {up.status} with {media!a}', up.url.place)
        else:
            self.opened = True
            self.failures = 0
            self.parser = Parser(self.last_id, self.limit)

    async def _receive(self):
        """Take what comes next of the stream, or wait until it is to be asked for again."""
        try:
            data = await self.up.__anext__()
        except StopAsyncIteration:
            self._let_go()
            await self._pause()
            return
        parser = self.parser
        self.found = parser.feed(data)[::-1]
        if parser.retry is not None:
            self.retry = min(max(parser.retry, BOUNDS[0]), BOUNDS[1])

    async def _pause(self):
        seconds = self.retry * 2 ** min(self.failures, 20)
        self.failures += 1
        await wait(self.ended, min(seconds, max(self.retry, LONGEST)))

    def _let_go(self):
        up, self.up = self.up, None
        if up is not None:
            up._close()

    def close(self):
        """End it; a loop over it ends as well."""
        self.ended.set()
        self._let_go()

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, trace):
        self.close()

    def __del__(self):
        self._let_go()


async def wait(flag, seconds):
    """Wait for a flag, so long at most."""
    try:
        async with time_limit(seconds):
            await flag.wait()
    except TimeoutError:
        pass
