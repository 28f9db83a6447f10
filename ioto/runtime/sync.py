"""Event, Lock, Semaphore and Queue for fibers: as asyncio's, without a loop argument.

All are built from one thing, a line of waiting fibers. Who gives something away (a permit, an item, the lock) wakes the first in
line and takes it out, and what was given counts as his from then on, so that no newcomer can take it first. A fiber that is
cancelled after it was served passes on what it got.
"""

from collections import deque

from .fiber import kernel, suspend


class QueueEmpty(Exception):
    """get_nowait found nothing."""


class QueueFull(Exception):
    """put_nowait found no room."""


class Line:
    """Fibers that wait for the same thing, in order of arrival."""

    __slots__ = ('waiting',)

    def __init__(self):
        self.waiting = deque()

    def __bool__(self):
        return bool(self.waiting)

    async def wait(self, give_back):
        """Wait to be served. If interrupted after that, `give_back()` is called."""
        mine = kernel()
        place = [mine.current, False]
        self.waiting.append(place)
        try:
            while not place[1]:
                await suspend()
        except BaseException:
            if place[1]:
                give_back()
            else:
                self.waiting.remove(place)
            raise

    def serve(self):
        """Serve the first in line. Returns False when there is none."""
        if not self.waiting:
            return False
        place = self.waiting.popleft()
        place[1] = True
        fiber = place[0]
        fiber.kernel.wake(fiber)
        return True


class Event:
    """A flag that fibers can wait for."""

    def __init__(self):
        self._set = False
        self._line = Line()

    def is_set(self):
        return self._set

    def set(self):
        """Raise the flag and let all who wait go on."""
        self._set = True
        while self._line.serve():
            pass

    def clear(self):
        self._set = False

    async def wait(self):
        """Wait until the flag is up. Returns True."""
        if self._set:
            await kernel().checkpoint()
        else:
            await self._line.wait(lambda: None)
        return True


class Semaphore:
    """`value` permits; `acquire` takes one, waiting for it in order of arrival, `release` gives one back."""

    def __init__(self, value=1):
        if value < 0:
            raise ValueError(f'a semaphore has 0 or more permits, not {value}')
        self._value = value
        self._line = Line()

    def locked(self):
        """Return whether `acquire` would wait."""
        return self._value == 0

    async def acquire(self):
        if self._value > 0:
            self._value -= 1
            try:
                await kernel().checkpoint()
            except BaseException:
                self.release()
                raise
        else:
            await self._line.wait(self.release)
        return True

    def release(self):
        if not self._line.serve():
            self._value += 1

    async def __aenter__(self):
        await self.acquire()
        return self

    async def __aexit__(self, kind, error, trace):
        self.release()


class Lock(Semaphore):
    """A semaphore of one that refuses to be released when it is free."""

    def __init__(self):
        super().__init__(1)

    def release(self):
        if self._value:
            raise RuntimeError('the lock is not held')
        super().release()


class Queue:
    """Items in order, at most `maxsize` of them (0: no limit). `put` waits for room, `get` for an item."""

    def __init__(self, maxsize=0):
        self.maxsize = maxsize
        self._items = deque()
        self._getters = Line()
        self._putters = Line()
        self._promised = 0          # items that are there, and belong to getters already served
        self._reserved = 0          # places that are free, and belong to putters already served
        self._unfinished = 0
        self._finished = Event()
        self._finished.set()

    def qsize(self):
        return len(self._items)

    def empty(self):
        return len(self._items) <= self._promised

    def full(self):
        return 0 < self.maxsize <= len(self._items) + self._reserved

    async def put(self, item):
        if self.full():
            await self._putters.wait(self._give_up_place)
            self._reserved -= 1
        else:
            await kernel().checkpoint()
            if self.full():
                return await self.put(item)
        self._add(item)

    def put_nowait(self, item):
        """Add an item. Raises QueueFull."""
        if self.full():
            raise QueueFull
        self._add(item)

    def _add(self, item):
        self._items.append(item)
        self._unfinished += 1
        self._finished.clear()
        self._offer()

    def _offer(self):
        if not self.empty() and self._getters.serve():
            self._promised += 1

    def _give_up_item(self):
        self._promised -= 1
        self._offer()

    def _give_up_place(self):
        self._reserved -= 1
        self._invite()

    def _invite(self):
        if not self.full() and self._putters.serve():
            self._reserved += 1

    async def get(self):
        if self.empty():
            await self._getters.wait(self._give_up_item)
            self._promised -= 1
        else:
            await kernel().checkpoint()
            if self.empty():
                return await self.get()
        return self._take()

    def get_nowait(self):
        """Return the next item. Raises QueueEmpty."""
        if self.empty():
            raise QueueEmpty
        return self._take()

    def _take(self):
        item = self._items.popleft()
        self._invite()
        return item

    def task_done(self):
        """Say that an item that was got has been dealt with."""
        if not self._unfinished:
            raise ValueError('task_done was called more often than put')
        self._unfinished -= 1
        if not self._unfinished:
            self._finished.set()

    async def join(self):
        """Wait until every item that was put has been dealt with."""
        await self._finished.wait()
