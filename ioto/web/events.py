"""Server-sent events (HTML Living Standard §9.2): a stream of text/event-stream that a browser's EventSource reads.

    async def news(web):
        channel = await web.events()
        channels.add(channel)
        try:
            await channel.wait()
        finally:
            channels.discard(channel)

Others send on the channel meanwhile (see outlet.py). The stream is chunked, to HTTP/1.0 it ends with the connection, which serves
nothing else afterwards. A client that comes again says which event it saw last: `channel.last_id`. When nothing was sent for
`timeouts.ping`, a comment is.
"""

import re

from ..http.body import LAST_CHUNK, chunk
from ..json5 import to_json
from .exchange import Finished
from .outlet import Outlet


class Channel(Outlet):
    """Events for one client; made by `web.events()`. `.last_id`: the Last-Event-ID that it came with, '' for none."""

    def __init__(self, web, retry=None):
        web.set_header('Content-Type', 'text/event-stream')
        web.set_header('Cache-Control', 'no-store')
        web.set_header('X-Accel-Buffering', 'no')           # nginx is to pass on each at once
        web.keep_alive = False
        web.connection.stream.post(web._begin())
        if web.method == 'HEAD':
            raise Finished
        super().__init__(web)
        self.last_id = web.fields.get('last-event-id', '').encode('latin-1').decode('utf-8', 'replace')
        if retry is not None:
            self.stream.post(self._framed(b'retry: %d\n\n' % (retry * 1000)))

    def _framed(self, data):
        self.active = self.kernel.time
        return chunk(data) if self.web.chunked_out else data

    async def send(self, data, event=None, id=None):
        """Send an event: `data` is a str, or a value that becomes JSON; `event` its type, `id` what `last_id` will be.

        For many clients make a value text once, before. Raises ValueError for an `event` or `id` of several lines, Disconnected.
        """
        text = data if isinstance(data, str) else to_json(data)
        text = 'data: ' + re.sub('\r\n?|\n', '\ndata: ', text) + '\n\n'
        for name, value in ('event', event), ('id', id):
            if value is not None:
                if re.search('[\r\n\0]', str(value)):
                    raise ValueError(f'{name} {value!r} has a newline or NUL')
                text = f'{name}: {value}\n{text}'
        data = text.encode()
        self.check()
        await self.put(self._framed(data))

    async def wait(self):
        """Return when the client has gone or the channel was closed. For one fiber, such as the action."""
        while not self.closed:
            if not self.look():             # what it says is of no interest
                await self.stream.await_receive()
            await self.kernel.checkpoint()

    def close(self):
        """End the stream; an EventSource will come again, unless it is answered 204."""
        if not self.closed:
            self.closed = True
            self.stream.post(LAST_CHUNK * self.web.chunked_out)
            if self.stream.reader is not None:
                self.kernel.wake(self.stream.reader)        # in `wait`

    stop = close                            # of the server

    def idle(self):
        self.stream.post(self._framed(b':\n\n'))

    async def end(self, code):
        if code == 1000:                    # after an error the client sees the stream cut
            self.close()
