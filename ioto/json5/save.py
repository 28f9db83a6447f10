"""Replacing a file as a whole: at any moment, also when the power fails, it has the old content or the new.

The text goes into a temporary file in the same folder, which is forced to the disk and renamed over the target; then
the folder is forced to the disk, too, so that the new content stands when `save` returns. The temporary file's name is
always the same, so a kill leaves at most one behind, which the next save takes over; a lock on it makes savers in other
threads and processes wait for their turn.
"""

import errno
import fcntl
import os

from .render import render


def save(path, value, style='pretty', mode=None):
    """Write the value to the file `path`, in a style of `render`, with a line end.

    mode    permissions of the file, such as 0o600; None keeps those of the file that is there (its owner is kept as
            well where the system lets us), or leaves them to the umask

    A symbolic link stays one: its target is replaced. Raises OSError, Json5Error or TypeError, and then the file is as
    it was and no temporary file stays.
    """
    data = (render(value, style) + '\n').encode()
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f'.{name}.tmp')
    file = _open_locked(temporary)
    try:
        try:
            _copy_attributes(path, file, mode)
            _write(file, data)
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    finally:
        os.close(file)
    _sync_folder(folder)


def _open_locked(path):
    """Return the descriptor of the file, empty and locked by us, which is still the one of that name."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                if os.path.samestat(os.fstat(file), os.stat(path)):
                    os.ftruncate(file, 0)
                    return file
            except FileNotFoundError:           # its holder renamed it meanwhile
                pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _copy_attributes(path, file, mode):
    wanted = mode
    try:
        old = os.stat(path)
    except FileNotFoundError:
        if mode is None:
            mask = os.umask(0o077)              # only setting it tells; other threads' files are private meanwhile
            os.umask(mask)
            wanted = 0o666 & ~mask
    else:
        if mode is None:
            wanted = old.st_mode & 0o7777
        if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
            try:
                os.fchown(file, old.st_uid, old.st_gid)
            except PermissionError:
                pass
    try:
        os.fchmod(file, wanted)
    except PermissionError:                     # FAT has no modes; who asked for one must know
        if mode is not None:
            raise


def _write(file, data):
    data = memoryview(data)
    while data:
        data = data[os.write(file, data):]
    os.fsync(file)


def _sync_folder(folder):
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:         # a file system without the notion
            raise
    finally:
        os.close(file)
