"""Fibers: coroutines with a name, and how they wait, end and are interrupted.

An interruption (a cancellation, an expired time-out) is an exception thrown in at the await. Where several meet, the outermost wins:
each carries the depth of the scope that it ends (scopes.py), and a cancellation of the whole fiber has depth 0.
"""

import threading
from types import coroutine


class Cancelled(BaseException):
    """Raised at an await of a fiber that was cancelled. Let it pass; `finally` blocks may await."""

    depth = 0


class _Local(threading.local):
    kernel = None


local = _Local()


def kernel():
    """Return this thread's running Kernel. Raises RuntimeError when none runs."""
    found = local.kernel
    if found is None:
        raise RuntimeError('no scheduler runs in this thread: start one with runtime.run(main)')
    return found


class Fiber:
    """A coroutine that runs by itself; made by `spawn`."""

    __slots__ = ('name', 'coro', 'kernel', 'scheduled', 'interrupt', 'scope', 'done', 'cancelled', 'result', 'error', 'watchers')

    def __init__(self, coro, name, kernel):
        self.name = name
        self.coro = coro
        self.kernel = kernel
        self.scheduled = False      # in the ready queue
        self.interrupt = None       # exception to throw in when it runs next
        self.scope = None           # innermost timeout or group that its code is in
        self.done = False
        self.cancelled = False      # ended by cancel()
        self.result = None
        self.error = None
        self.watchers = None        # functions to call with this fiber at its end

    def cancel(self):
        """Raise Cancelled at this fiber's current or next await. No effect on one that has ended."""
        self.throw_in(Cancelled())

    def throw_in(self, error):
        """Interrupt at the await with `error`, whose `.depth` says how far out it unwinds; the outermost wins."""
        if self.done:
            return
        pending = self.interrupt
        if pending is None or error.depth < pending.depth:
            self.interrupt = error
        scope = self.scope
        while scope is not None and scope.depth > error.depth:
            if scope.overtaken is None or error.depth < scope.overtaken.depth:
                scope.overtaken = error
            scope = scope.outer
        self.kernel.wake(self)

    async def join(self):
        """Wait for the end. Returns the result, or None if it was cancelled; raises the error that ended it."""
        if not self.done:
            me = self.kernel.current
            if me is self:
                raise RuntimeError('a fiber cannot join itself')
            if self.watchers is None:
                self.watchers = []
            wake = self._wake(me)
            self.watchers.append(wake)
            try:
                while not self.done:
                    await suspend()
            finally:
                if not self.done:
                    self.watchers.remove(wake)
        if self.error is not None:
            raise self.error
        return self.result

    def _wake(self, fiber):
        return lambda _ended: self.kernel.wake(fiber)

    def __repr__(self):
        return f'<Fiber {self.name} {"done" if self.done else "running"}>'


@coroutine
def suspend():
    """Give control to the scheduler until something wakes this fiber. May return early: test the condition again."""
    yield
