"""The scheduler: one thread, many fibers, one `selectors` poll.

A primitive that makes a fiber wait notes who waits (in a descriptor, a timer, a line) and yields; `Kernel.wake` puts the fiber into
the ready queue again. Nothing else is exchanged between a fiber and the scheduler, so waiting costs one generator and waking one
append.

A turn runs each fiber that was ready when it began, once, then sends what streams have posted, then polls. Each fiber has a budget
of operations a turn, spent by whatever could complete without waiting (`checkpoint`), so that one that is always ready gives others
their turn.
"""

import heapq
import os
import signal as posix
import threading
from collections import deque
from time import monotonic
from types import coroutine

from .fiber import Cancelled, Fiber, kernel, local, suspend
from .poller import READ, READABLE, WRITABLE, WRITE, Poller, Waitable
from .timers import Timer

BUDGET = 32             # operations that a fiber may complete in one turn without waiting
FAREWELL = 10.0         # seconds that fibers have to end, once main has
NAP = 86400.0           # seconds of one poll at most, for epoll counts milliseconds in 32 bits


class Kernel:
    """The state of one running scheduler."""

    def __init__(self):
        self.ready = deque()
        self.current = None
        self.budget = BUDGET
        self.fibers = set()
        self.posted = deque()               # streams with output that leaves at the end of this turn, stores to commit before it
        self.unsaved = False                # whether a database commits then, before which nothing may leave
        self.time = monotonic()             # seconds, read once a poll
        self.descriptors = {}
        self.poller = Poller()
        self.timers = []
        self.timer_count = 0
        self.dead_timers = 0
        self.calls = deque()                # (function, args) handed in by threads and POSIX signals
        self.handlers = {}                  # signal number -> the handler that was there before
        self.ending = False                 # main has ended
        self.ended = None                   # KeyboardInterrupt or SystemExit that ends the run
        self.wake_lock = threading.Lock()
        self.wake_reader, self.wake_writer = os.pipe()
        os.set_blocking(self.wake_reader, False)
        os.set_blocking(self.wake_writer, False)

    # Fibers

    def spawn(self, coro, name=None):
        """Start a coroutine, or what else can be awaited, as a fiber. It runs from the next turn."""
        if not hasattr(coro, 'send'):
            if not hasattr(coro, '__await__'):
                raise TypeError(f'spawn expects a coroutine, got {coro!r}')
            coro = _await(coro)
        fiber = Fiber(coro, name or getattr(coro, '__qualname__', 'fiber'), self)
        self.fibers.add(fiber)
        fiber.scheduled = True
        self.ready.append(fiber)
        if self.ending:
            fiber.cancel()
        return fiber

    def wake(self, fiber):
        """Let a waiting fiber go on. Waking it twice is waking it once."""
        if not fiber.scheduled and not fiber.done:
            fiber.scheduled = True
            self.ready.append(fiber)

    @coroutine
    def checkpoint(self):
        """Spend one operation of this fiber's budget, and when it is used up let the others run."""
        self.budget -= 1
        if self.budget < 0:
            self.wake(self.current)
            yield

    def _finish(self, fiber, result, error):
        fiber.done = True
        fiber.result = result
        fiber.coro = fiber.scope = None
        self.fibers.discard(fiber)
        if isinstance(error, Cancelled):
            fiber.cancelled = True
        elif error is not None:
            fiber.error = error
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                self.ended = error
            elif not fiber.watchers:
                self.report(f'fiber {fiber.name} failed', error)
        watchers = fiber.watchers
        if watchers is not None:
            fiber.watchers = None
            for function in watchers:
                function(fiber)

    @staticmethod
    def report(message, error):
        """Log an error that nobody awaits, with its traceback."""
        from .log import Log
        Log('runtime').exception(message, error)

    # The loop

    def run(self, main, args):
        """Run until main ends, then cancel what is left. Returns its result or raises its error."""
        try:
            main = self.spawn(main(*args) if callable(main) else main, 'main')
            main.watchers = [lambda _ended: None]       # its error is raised, not logged
            waker = self.spawn(self._take_calls(), 'waker')
            self._loop(lambda: main.done or self.ended is not None)
            self.fibers.discard(waker)
            self.ending = True
            for fiber in list(self.fibers):
                fiber.cancel()
            limit = monotonic() + FAREWELL
            timer = self.call_at(limit, lambda: None)
            self._loop(lambda: not self.fibers or monotonic() >= limit)
            timer.cancel()
            waker.coro.close()
            if self.fibers:
                names = ', '.join(sorted(fiber.name for fiber in self.fibers))
                self.report(f'fibers did not end within {FAREWELL:g} s of cancellation: {names}', None)
        finally:
            self.close()
        if self.ended is not None:
            raise self.ended
        if main.error is not None:
            raise main.error
        if main.cancelled:
            raise Cancelled()
        return main.result

    def _loop(self, finished):
        ready, popleft, timers, descriptors, poll = self.ready, self.ready.popleft, self.timers, self.descriptors, self.poller.poll
        while True:
            for _ in range(len(ready)):
                fiber = popleft()
                fiber.scheduled = False
                if fiber.done:
                    continue
                self.current = fiber
                self.budget = BUDGET
                interrupt = fiber.interrupt
                try:
                    if interrupt is None:
                        foreign = fiber.coro.send(None)
                    else:
                        fiber.interrupt = None
                        foreign = fiber.coro.throw(interrupt)
                except StopIteration as stop:
                    self._finish(fiber, stop.value, None)
                except BaseException as error:
                    self._finish(fiber, None, error)
                else:
                    if foreign is not None:
                        self._refuse(fiber, foreign)
            self.current = fiber = None
            if self.posted:
                self._send_posted()
            if finished():
                return
            if ready:
                timeout = 0
            elif timers:
                timeout = min(max(0.0, timers[0][0] - monotonic()), NAP)
            else:
                timeout = None
            for fd, bits in poll(timeout):
                waitable = descriptors.get(fd)
                if waitable is None:
                    continue
                unwanted = 0
                if bits & READABLE:
                    fiber = waitable.reader
                    if fiber is None:
                        unwanted = READ
                    elif not fiber.scheduled:
                        fiber.scheduled = True
                        ready.append(fiber)
                if bits & WRITABLE:
                    fiber = waitable.writer
                    if fiber is None:
                        unwanted |= WRITE
                    elif not fiber.scheduled:
                        fiber.scheduled = True
                        ready.append(fiber)
                if unwanted & waitable.mask:
                    self.interest(waitable, waitable.mask & ~unwanted)
            self.time = now = monotonic()
            if timers and timers[0][0] <= now:
                self._fire(now)

    def _refuse(self, fiber, foreign):
        error = RuntimeError(f'fiber {fiber.name} awaited {foreign!r}, which is not of this runtime')
        error.depth = 0
        fiber.throw_in(error)

    def _send_posted(self):
        posted = self.posted
        while posted:                       # which may grow meanwhile
            posted.popleft().send_posted()
        self.unsaved = False

    # Descriptors

    def interest(self, waitable, mask):
        """Ask the poller to report `mask` (READ, WRITE, both or 0) for a Waitable."""
        old, waitable.mask = waitable.mask, mask
        if not old:
            self.descriptors[waitable.fd] = waitable
            self.poller.register(waitable.fd, mask)
        elif mask:
            self.poller.modify(waitable.fd, mask)
        else:
            del self.descriptors[waitable.fd]
            self.poller.unregister(waitable.fd)

    # Timers

    def call_at(self, when, function, *args):
        """Call a plain function at `when` (monotonic seconds). Returns a Timer."""
        timer = Timer(self, function, args)
        self.timer_count += 1
        heapq.heappush(self.timers, (when, self.timer_count, timer))
        return timer

    def call_later(self, delay, function, *args):
        """Call a plain function after `delay` seconds. Returns a Timer."""
        return self.call_at(monotonic() + delay, function, *args)

    def timer_cancelled(self):
        """Count a cancelled timer, and rebuild the heap when they are most of it."""
        self.dead_timers += 1
        if self.dead_timers > 64 and self.dead_timers * 2 > len(self.timers):
            self.timers[:] = [entry for entry in self.timers if entry[2].function is not None]
            heapq.heapify(self.timers)
            self.dead_timers = 0

    def _fire(self, now):
        timers = self.timers
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)[2]
            function = timer.function
            if function is None:
                self.dead_timers -= 1
                continue
            args = timer.args
            timer.function = None
            try:
                function(*args)
            except Exception as error:
                self.report('a timer failed', error)

    # Threads and POSIX signals

    def call_threadsafe(self, function, *args):
        """Call a plain function in the scheduler's thread, from any thread. Does nothing once the scheduler has ended."""
        self.calls.append((function, args))
        with self.wake_lock:
            if self.wake_writer >= 0:
                try:
                    os.write(self.wake_writer, b'\0')
                except BlockingIOError:
                    pass                        # the pipe is full, so it will wake all the same

    async def _take_calls(self):
        pipe = Waitable(self, self.wake_reader)
        while True:
            while self.calls:
                function, args = self.calls.popleft()
                try:
                    function(*args)
                except Exception as error:
                    self.report('a call from a thread or a signal failed', error)
            await pipe.readable()
            try:
                os.read(self.wake_reader, 4096)
            except BlockingIOError:
                pass

    def on_signal(self, number, function):
        """Call `function` from the loop for a POSIX signal (main thread only); None restores what was there before."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError('POSIX signals reach the main thread only')
        if function is None:
            self._restore([number])
            return
        if not self.handlers:
            self.old_wakeup = posix.set_wakeup_fd(self.wake_writer, warn_on_full_buffer=False)
        old = posix.signal(number, lambda _number, _frame: self.calls.append((function, ())))
        self.handlers.setdefault(number, old)

    def _restore(self, numbers):
        for number in numbers:
            if number in self.handlers:
                posix.signal(number, self.handlers.pop(number))
                if not self.handlers:
                    posix.set_wakeup_fd(self.old_wakeup)

    def end(self, error):
        """End the run: `run` raises this KeyboardInterrupt or SystemExit when the fibers have ended."""
        self.ended = error

    def close(self):
        """Give back the descriptors and the signal handlers."""
        self._restore(list(self.handlers))
        with self.wake_lock:
            os.close(self.wake_writer)
            self.wake_writer = -1
        os.close(self.wake_reader)
        self.poller.close()


async def _await(what):
    return await what


def run(main, *args):
    """Start the scheduler, run the coroutine function `main(*args)` as its first fiber, and return what it returns.

    Fibers that are left when it ends are cancelled and have 10 s to finish. SIGINT cancels everything and raises
    KeyboardInterrupt, unless a handler of one's own is set. Raises RuntimeError where a scheduler already runs in this thread.
    """
    if local.kernel is not None:
        raise RuntimeError('a scheduler already runs in this thread')
    local.kernel = mine = Kernel()
    try:
        if (threading.current_thread() is threading.main_thread()
                and posix.getsignal(posix.SIGINT) is posix.default_int_handler):
            mine.on_signal(posix.SIGINT, lambda: mine.end(KeyboardInterrupt()))
        return mine.run(main, args)
    finally:
        local.kernel = None


def spawn(coro, name=None):
    """Start a coroutine as a fiber of its own and return it. An error that nobody joins is logged with its name."""
    return kernel().spawn(coro, name)


def current():
    """Return the running Fiber."""
    return kernel().current


def now():
    """Return monotonic seconds, as timers count them."""
    return monotonic()


def on_signal(number, function):
    """Call a function, plain or async, from the scheduler when the POSIX signal `number` arrives; None restores the default."""
    mine = kernel()

    def call():
        coro = function()
        if hasattr(coro, 'send'):
            mine.spawn(coro, f'signal {number}')
    mine.on_signal(number, function and call)


async def sleep(seconds):
    """Wait this many seconds. 0 lets the other fibers run once; infinity waits until cancelled."""
    mine = kernel()
    me = mine.current
    if seconds <= 0:
        mine.wake(me)
        await suspend()
        return
    until = monotonic() + seconds
    timer = mine.call_at(until, mine.wake, me) if seconds < 1e9 else None
    try:
        await suspend()
        while monotonic() < until:
            await suspend()
    finally:
        if timer is not None:
            timer.cancel()
