"""Scopes: parts of a fiber's code that end together, by time or by the failure of a sibling.

Each scope knows the next one out (`outer`) and its depth. To end it, an exception that carries that depth is thrown into the
fiber; the scope recognises its own exception object on the way out, so a time-out inside a time-out is charged to the right
one. A scope that was overtaken (something further out ended while its own exception was unwinding) passes the outer one on.
"""

from .fiber import Cancelled, kernel, suspend


class Scope:
    """What `timeout` and `TaskGroup` share."""

    __slots__ = ('fiber', 'outer', 'depth', 'ending', 'overtaken')

    def enter(self):
        self.fiber = fiber = kernel().current
        self.outer = fiber.scope
        self.depth = self.outer.depth + 1 if self.outer is not None else 1
        self.ending = None              # the exception that ends this scope, once thrown in
        self.overtaken = None           # the exception of a scope further out
        fiber.scope = self

    def leave(self):
        self.fiber.scope = self.outer

    def end(self):
        """Throw this scope's own exception into its fiber."""
        if self.ending is None:
            self.ending = Cancelled()
            self.ending.depth = self.depth
            self.fiber.throw_in(self.ending)


class timeout(Scope):
    """`async with timeout(seconds):` raises TimeoutError when its body takes longer. None or infinity: no limit."""

    __slots__ = ('seconds', 'timer')

    def __init__(self, seconds):
        self.seconds = seconds

    async def __aenter__(self):
        self.enter()
        self.timer = None
        if self.seconds is not None and self.seconds < 1e9:
            self.timer = self.fiber.kernel.call_later(max(self.seconds, 0), self.end)
        return self

    async def __aexit__(self, kind, error, trace):
        if self.timer is not None:
            self.timer.cancel()
        self.leave()
        if error is not None and error is self.ending:
            if self.overtaken is not None:
                raise self.overtaken
            raise TimeoutError(f'timed out after {self.seconds:g} s') from None

    @property
    def expired(self):
        """Whether the time ran out."""
        return self.ending is not None


class TaskGroup(Scope):
    """`async with TaskGroup() as group:` waits for every fiber that `group.spawn` started.

    The first error, in the body or in a fiber, cancels the rest and is raised when all have ended.
    """

    __slots__ = ('fibers', 'error', 'closing', 'waiting')

    async def __aenter__(self):
        self.enter()
        self.fibers = set()
        self.error = None
        self.closing = False            # the body has ended, and this fiber waits for the rest
        self.waiting = False
        return self

    def spawn(self, coro, name=None):
        """Start a coroutine as a fiber of this group."""
        if self.closing and not self.fibers:
            coro.close()
            raise RuntimeError('this group has ended')
        fiber = self.fiber.kernel.spawn(coro, name)
        fiber.watchers = [self._ended]
        self.fibers.add(fiber)
        if self.error is not None:
            fiber.cancel()
        return fiber

    def cancel(self):
        """Cancel every fiber of the group."""
        for fiber in list(self.fibers):
            fiber.cancel()

    def _ended(self, fiber):
        self.fibers.discard(fiber)
        if fiber.error is not None and self.error is None:
            self.error = fiber.error
            self.cancel()
            if not self.closing:
                self.end()
        if self.closing and not self.fibers:
            self.fiber.kernel.wake(self.fiber)

    async def __aexit__(self, kind, error, trace):
        self.closing = True
        if error is not None:
            self.cancel()
        interrupted = None
        while self.fibers:
            try:
                await suspend()
            except Cancelled as stop:
                if interrupted is None or stop.depth < interrupted.depth:
                    interrupted = stop
                self.cancel()
        self.leave()
        if interrupted is None or interrupted is self.ending:
            interrupted = self.overtaken
        if interrupted is not None and interrupted is not error:
            raise interrupted
        if self.error is not None and (error is None or error is self.ending):
            raise self.error
