"""Scopes: parts of a fiber's code that end together, by time or by the failure of a sibling.

Each scope knows the next one out (`outer`) and its depth. To end it, an exception that carries that depth is thrown into the
fiber; the scope recognises its own exception object on the way out, so a time-out inside a time-out is charged to the right
one. A scope that was overtaken (something further out ended while its own exception was unwinding) passes the outer one on.
"""

from .fiber import Cancelled, kernel


class Scope:
    """What `timeout` and `TaskGroup` (group.py) share."""

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
