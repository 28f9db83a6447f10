"""Queue: items passed between fibers, in order, with room for a bounded number of them."""

from collections import deque

from .fiber import kernel
from .sync import Event, Line


class QueueEmpty(Exception):
    """get_nowait found nothing."""


class QueueFull(Exception):
    """put_nowait found no room."""


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
