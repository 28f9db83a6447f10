"""Event, Lock and Semaphore for fibers: as asyncio's, without a loop argument.

All are built from a line of waiting fibers. Who gives something away serves the first in line, and what was given is his from then on,
so no newcomer can take it first; a fiber that is cancelled after it was served passes it on.
"""

from collections import deque

from .fiber import kernel, suspend


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
