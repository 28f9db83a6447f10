"""Descriptors: who waits for them, and the system's poll.

A descriptor stays registered between waits. Polling is level-triggered: an event that nobody waits for makes the kernel take that
interest away, and the next wait puts it back. So a connection that answers each request costs no registration after its first.
"""

import errno
import os
import select
import selectors
from types import coroutine

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE
READABLE = 0x1b         # EPOLLIN, EPOLLPRI, EPOLLERR, EPOLLHUP
WRITABLE = 0x1c         # EPOLLOUT, EPOLLERR, EPOLLHUP
EVENTS = 256            # descriptors handled in one poll


class Waitable:
    """A descriptor that one fiber may wait to read and one to write."""

    __slots__ = ('kernel', 'fd', 'mask', 'reader', 'writer')

    def __init__(self, kernel, fd):
        self.kernel = kernel
        self.fd = fd
        self.mask = 0               # what the poller is asked to report
        self.reader = None
        self.writer = None

    @coroutine
    def readable(self):
        """Wait until reading would not block (data, end or error)."""
        kernel = self.kernel
        if self.reader is not None:
            raise RuntimeError(f'fiber {self.reader.name} is already reading from this stream')
        if not self.mask & READ:
            if self.fd < 0:
                raise OSError(errno.EBADF, 'this stream is closed')
            kernel.interest(self, self.mask | READ)
        self.reader = kernel.current
        try:
            yield
        finally:
            self.reader = None

    @coroutine
    def writable(self):
        """Wait until writing would not block (room or error)."""
        kernel = self.kernel
        if self.writer is not None:
            raise RuntimeError(f'fiber {self.writer.name} is already writing to this stream')
        if not self.mask & WRITE:
            if self.fd < 0:
                raise OSError(errno.EBADF, 'this stream is closed')
            kernel.interest(self, self.mask | WRITE)
        self.writer = kernel.current
        try:
            yield
        finally:
            self.writer = None

    def forget(self):
        """Leave the poller and wake who waits; to be called before the descriptor is closed."""
        if self.fd < 0:
            return
        if self.mask:
            self.kernel.interest(self, 0)
        self.fd = -1
        for fiber in (self.reader, self.writer):
            if fiber is not None:
                self.kernel.wake(fiber)


class Poller:
    """`selectors` for registration, and on Linux the same epoll descriptor polled directly: no key objects for an event."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.register = self.selector.register
        self.modify = self.selector.modify
        self.unregister = self.selector.unregister
        self.epoll = None
        if isinstance(self.selector, getattr(selectors, 'EpollSelector', ())):
            self.epoll = select.epoll.fromfd(os.dup(self.selector.fileno()))

    def poll(self, timeout):
        """Return [(descriptor, event bits)] within `timeout` seconds (None: when there is something)."""
        if self.epoll is not None:
            return self.epoll.poll(timeout, EVENTS)
        return [(key.fd, (mask & READ and 0x01) | (mask & WRITE and 0x04)) for key, mask in self.selector.select(timeout)]

    def close(self):
        if self.epoll is not None:
            self.epoll.close()
        self.selector.close()
