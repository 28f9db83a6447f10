"""What WebSockets and event streams share: a connection that stays open, and a client that may read slowly.

What waits for a client is bounded by `limits.backlog`. In the fiber that serves the client, the action itself, `send` waits until
there is room, and the client is dropped when it takes nothing for `timeouts.inactivity`. In any other fiber `send` never waits: a
client for whom more than the backlog waits is dropped, and Disconnected raised. So one who sends to many is held up by none:

    for channel in list(channels):      # others run meanwhile, and may change the set
        try:
            await channel.send(news)
        except Disconnected:
            pass                        # its own action ends, and takes it out

What is sent within one turn leaves in one system call. The connection's Deadline, in the phase `open`, calls `tick`: no timer a message.
"""

from ..runtime.kernel import sleep
from .body import Disconnected
from .connection import OPEN

TURN = 16384            # bytes that one turn may queue before the others run
LOOK = 1.0              # seconds between looks for what came, of an action that only sends
UNREAD = 10.0           # and of one that neither reads nor sends: clients want an answer to a ping within 20


class Outlet:
    """`.closed`: nothing more can be sent. `.remote`: the client's address, `.user`: who has signed in, `.web`: the request."""

    messages = ()           # received and not yet asked for, the next one last
    chunk = 16384           # bytes of one read: up to 2700 frames
    look_at = 0.0           # when to look for what came next (monotonic seconds, as all)
    last = float('inf')     # when the client is dropped at the latest
    moved_to = -1           # bytes sent in `moved`, the last time that queued ones moved

    def __init__(self, web):
        connection = web.connection
        self.web, self.remote, self.user = web, web.remote, web.user
        self.stream, self.deadline, self.fiber = connection.stream, connection.deadline, connection.fiber
        self.kernel = self.stream.kernel
        self.timeouts = connection.server.timeouts
        self.backlog = web.route.limits['backlog']
        self.closed = False
        self.active = self.kernel.time      # when the client was heard last, or something sent to it
        web.outlet, web.keep_alive = self, False
        web.started = web.finished = True
        connection.phase = OPEN
        self.deadline.set(self.active + self.timeouts['ping'])

    def check(self):
        """Raise Disconnected where nothing can be sent."""
        stream, now = self.stream, self.kernel.time
        if now > self.look_at and stream.reader is None:
            self.look_at = now + LOOK
            self.look()
        if self.closed or stream.failure is not None:
            raise Disconnected('the client has gone')

    async def put(self, data):
        """Send bytes and see to it that not too many wait; see the head of this module."""
        stream, kernel, own = self.stream, self.kernel, self.kernel.current is self.fiber
        stream.post(data)
        if own and stream.queued_bytes > min(TURN, self.backlog):
            await sleep(0)                      # at the end of the turn it leaves
            if stream.queued_bytes > min(TURN, self.backlog):
                self.moved, self.moved_to = kernel.time, stream.sent
                self.deadline.set(self.moved + self.timeouts['inactivity'])
                try:
                    await stream.drain()
                except OSError as error:
                    raise Disconnected(str(error)) from None
        elif not own:
            if stream.queued_bytes > self.backlog:
                stream.send_posted()            # what only waits for the end of this turn is not the client's fault
                if stream.queued_bytes > self.backlog:
                    self.drop()
                    raise Disconnected(f'over {self.backlog} bytes waited for {self.remote}')
            await kernel.checkpoint()

    def tick(self):
        """The connection's deadline has passed."""
        stream, now = self.stream, self.kernel.time
        if not stream.queued_bytes or stream.sent != self.moved_to:
            self.moved, self.moved_to = now, stream.sent
        limit = min(self.last, self.moved + self.timeouts['inactivity'])
        if now >= limit:
            self.drop()
        elif not stream.closed:
            if stream.reader is None:
                self.look()
            when = self.active + self.timeouts['ping']
            if when <= now:
                self.idle()
                when = now + self.timeouts['ping']
            self.deadline.set(min(when, limit, now + UNREAD) if stream.reader is None else min(when, limit))

    def look(self):
        """Take what came, without waiting for it; returns whether there was anything."""
        try:
            data = None if self.messages or self.stream.ahead else self.stream.receive(self.chunk)
        except OSError:
            data = b''
        if data is not None:
            self.feed(data)
        return data is not None

    def feed(self, data):
        """Take what the client sent, b'' for its end."""
        if not data:
            self.closed = True

    def drop(self):
        """Cut the client off; who waits for it goes on."""
        self.stream.abort()
        self.feed(b'')

    async def finish(self, code=1000):
        """The action has ended: 1011 for an error."""
        await self.end(code)
        self.deadline.cancel()
        await self.stream.linger()
