"""TaskGroup: fibers that end together, by the failure of one or of the code that started them."""

from .fiber import Cancelled, suspend
from .scopes import Scope


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
