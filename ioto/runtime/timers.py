"""Timers: calls at a moment, and deadlines that are moved more often than they are met.

The kernel keeps all timers in one heap. A cancelled one stays there until it comes up, or until cancelled ones are the larger half.
"""

from time import monotonic


class Timer:
    """A call at a moment; made by `Kernel.call_at`."""

    __slots__ = ('kernel', 'function', 'args')

    def __init__(self, kernel, function, args):
        self.kernel = kernel
        self.function = function
        self.args = args

    def cancel(self):
        """Take the call back; harmless when it has happened."""
        if self.function is not None:
            self.function = self.args = None
            self.kernel.timer_cancelled()


class Deadline:
    """A moment that is often moved and seldom reached, such as a connection's idle time-out.

    Moving it later is one assignment to `when` (monotonic seconds, or infinity): the timer looks at it only when it fires, and
    then re-arms itself. Moving it earlier goes through `set`.
    """

    __slots__ = ('kernel', 'function', 'when', 'timer', 'armed')

    def __init__(self, kernel, function):
        self.kernel = kernel
        self.function = function
        self.when = self.armed = float('inf')
        self.timer = None

    def set(self, when):
        """Move to `when`, earlier or later."""
        self.when = when
        if when < self.armed:
            if self.timer is not None:
                self.timer.cancel()
            self.armed = when
            self.timer = self.kernel.call_at(when, self._fire)

    def _fire(self):
        self.timer = None
        self.armed = float('inf')
        if monotonic() >= self.when:
            self.when = self.armed
            self.function()
        else:
            self.set(self.when)

    def cancel(self):
        """Forget the moment."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.when = self.armed = float('inf')
