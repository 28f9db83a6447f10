"""The connections of a client: kept for the next request, bounded for each host and in all.

A place is taken before connecting and given back when the connection closes; idle connections hold theirs. Who finds
none waits in line, and what becomes free is handed over. One fiber closes those idle for too long; it lives while
there are connections, and its cancellation at the end of the scheduler closes idle ones, so a client that nobody
closes leaves nothing behind.
"""

from collections import deque
from time import monotonic

from ..runtime.fiber import kernel, suspend
from ..runtime.kernel import sleep


class Pool:
    """Connections by key, at most `per_host` of a key and `total` in all; idle ones for `idle` seconds."""

    def __init__(self, total, per_host, idle):
        self.total, self.per_host, self.expiry = total, per_host, idle
        self.count = 0              # places taken
        self.counts = {}            # key -> places taken
        self.idle = {}              # key -> [connection], the last used at the end
        self.waiting = deque()      # [key, fiber, served, connection]
        self.keeper = None
        self.closed = False

    async def take(self, key):
        """An idle connection for the key, or None and a place to connect one: `give` or `leave` ends it."""
        if connection := self._idle(key):
            return connection
        if self._place(key):
            return None
        mine = kernel()
        waiter = [key, mine.current, False, None]
        self.waiting.append(waiter)
        try:
            while not waiter[2]:
                await suspend()
        except BaseException:
            if not waiter[2]:
                self.waiting.remove(waiter)
            elif waiter[3]:
                self.give(waiter[3])
            else:
                self.leave(key)
            raise
        return waiter[3]

    def give(self, connection):
        """Take back a connection that another request may use."""
        key, mine = connection.key, connection.stream.kernel
        if self.closed or mine.ending or not self.expiry:
            return self.drop(connection)
        for waiter in self.waiting:
            if waiter[0] == key:
                return self._serve(waiter, connection)
            if self.counts.get(waiter[0], 0) < self.per_host:
                return self.drop(connection)    # who came before waits only because all places are taken
        connection.since = monotonic()
        self.idle.setdefault(key, []).append(connection)
        if self.waiting:
            self._hand_on()                     # one for another host can have its place
        if self.keeper is None:
            self.keeper = mine.spawn(self._keep(), 'url: idle connections')
            self.keeper.watchers = [self._kept]         # also called if it is cancelled before it began

    def drop(self, connection):
        """Close a connection and give its place back."""
        connection.close()
        self.leave(connection.key)

    def leave(self, key):
        """Give a place back."""
        self._leave(key)
        if self.waiting:
            self._hand_on()

    def _leave(self, key):
        self.count -= 1
        self.counts[key] -= 1
        if not self.counts[key]:
            del self.counts[key]

    def close(self):
        """Close what is idle, now and from now on."""
        self.closed = True
        self._close_idle(float('inf'))
        if self.keeper is not None:
            self.keeper.cancel()

    def _idle(self, key):
        """The last used of the idle connections that still stands."""
        idle = self.idle.get(key)
        while idle:
            connection = idle.pop()
            if not idle:
                del self.idle[key]
            if connection.alive():
                return connection
            self.drop(connection)
            idle = self.idle.get(key)
        return None

    def _place(self, key):
        """Take a place, that of the longest idle connection if need be; whether there was one."""
        if self.counts.get(key, 0) >= self.per_host:
            return False
        if self.count >= self.total:
            if not self.idle:
                return False
            oldest = min((idle[0] for idle in self.idle.values()), key=lambda connection: connection.since)
            self._forget(oldest)
            oldest.close()
            self._leave(oldest.key)
        self.count += 1
        self.counts[key] = self.counts.get(key, 0) + 1
        return True

    def _hand_on(self):
        """Give places to those in line that can have one."""
        for waiter in list(self.waiting):
            if self._place(waiter[0]):
                self._serve(waiter, None)

    def _serve(self, waiter, connection):
        self.waiting.remove(waiter)
        waiter[2:] = True, connection
        fiber = waiter[1]
        fiber.kernel.wake(fiber)

    def _forget(self, connection):
        idle = self.idle[connection.key]
        idle.remove(connection)
        if not idle:
            del self.idle[connection.key]

    def _close_idle(self, before):
        for connection in [each for idle in self.idle.values() for each in idle if each.since <= before]:
            self._forget(connection)
            self.drop(connection)

    async def _keep(self):
        while self.count:
            now = monotonic()
            oldest = min([idle[0].since for idle in self.idle.values()], default=now)
            await sleep(oldest + self.expiry - now)
            self._close_idle(monotonic() - self.expiry)

    def _kept(self, _fiber):
        self.keeper = None
        self._close_idle(float('inf'))
