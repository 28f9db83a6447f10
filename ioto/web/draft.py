"""Drafts: files while they are received.

What arrives is gathered and handed to a helper thread in large pieces, so the loop never waits for the disk; the
client is not read on meanwhile, so memory stays bounded. A lock keeps the end of a draft behind the piece that a
thread still writes, also when the fiber that waited for it was interrupted. A full disk is 507.

Where the file system can, a draft in an open folder has no name before it is whole (O_TMPFILE). Other names begin with
the process and its time of start: `sweep` removes those of processes that are no more, so a kill leaves nothing for
long.
"""

import errno
import os
import re
from functools import lru_cache
from threading import Lock

from ..http import HttpError
from ..runtime.threads import to_thread

BATCH = 1 << 18             # bytes that go to a thread at a time
PARTS = 1000                # or pieces of them
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Draft:
    """A new file, `name` in `folder`: an open folder, which the draft closes, or None where the name is a path.

    `size` is what was written, `moved` the time of the scheduler when something last arrived.
    """

    def __init__(self, folder, name, moved=0.0):
        self.folder, self.name, self.moved = folder, name, moved
        self.size = 0
        self.descriptor = None
        self.ended = False
        self.present = False            # under its name, which is to be removed
        self._lock = Lock()
        self._parts = []
        self._waiting = 0

    async def write(self, data):
        """Add bytes. Raises HttpError 507, OSError."""
        self.size += len(data)
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting >= BATCH or len(self._parts) >= PARTS:
            await self.flush()

    async def flush(self, last=None):
        """Write all; then call `last()` in the thread, if given, return its result and close."""
        parts, self._parts, self._waiting = self._parts, [], 0
        try:
            return await to_thread(self.write_now, parts, last)
        except OSError as error:
            if error.errno in FULL:
                raise HttpError(507, f'no room for the file: {error.strerror}') from None
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise HttpError(503, f'no file can be opened: {error.strerror}') from None
            raise

    def write_now(self, parts, last=None):
        """Add bytes at once: what a thread does."""
        with self._lock:
            if not self.ended:
                if self.descriptor is None:
                    self._open()
                view = memoryview(b''.join(parts))
                while view:
                    view = view[os.write(self.descriptor, view):]
                if last:
                    result = last()
                    self._close()
                    return result

    def rename(self, name):
        """Force the file to the disk and give it another name in its folder: a `last` of `flush`."""
        os.fsync(self.descriptor)
        os.rename(self.name, name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        self.name, self.present = name, False

    def _open(self):
        flags = os.O_WRONLY | os.O_CLOEXEC
        if self.folder is not None and os.path.exists('/proc/self/fd'):
            try:
                self.descriptor = os.open('.', flags | os.O_TMPFILE, 0o666, dir_fd=self.folder)
                self.name = None
                return
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                    raise
        mode = 0o600 if self.folder is None else 0o666
        self.descriptor = os.open(self.name, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=self.folder)
        self.present = True

    def _close(self):
        self.ended = True
        for descriptor in {self.descriptor, self.folder} - {None}:
            os.close(descriptor)

    def remove(self):
        """End the draft and remove what was written, unless it is in its place. Called in a thread."""
        with self._lock:
            if self.present:
                self.present = False
                try:
                    os.unlink(self.name, dir_fd=self.folder)
                except FileNotFoundError:
                    pass                # moved by the action
            if not self.ended:
                self._close()


def temporary():
    """A name for a file that this process is writing."""
    return f'.upload-{own(os.getpid())}-{os.urandom(6).hex()}'


@lru_cache(1)
def own(pid):
    return f'{pid}-{started(pid)}'


def started(pid):
    """When a process began, in clock ticks since the system did; None if it is no more."""
    try:
        with open(f'/proc/{pid}/stat', 'rb') as file:
            return int(file.read().rpartition(b')')[2].split()[19])
    except OSError:
        return None


def sweep(folder):
    """Remove from a folder what processes were writing that are no more; where that cannot be told, nothing."""
    for name in os.listdir(folder) if started('self') else ():
        found = re.fullmatch(r'\.upload-(\d+)-(\d+)-[0-9a-f]+', name)
        if found and started(found[1]) != int(found[2]):
            try:
                os.unlink(os.path.join(folder, name))
            except OSError:
                pass                    # another user's
