"""Replacing a file as a whole: at any moment, also when the power fails, it has the old content or the new.

A temporary file beside it is written, forced to the disk and renamed; then the folder is forced to the disk. Its name
is always the same, so that the next save takes over what a kill left; a lock on the folder makes savers take turns.
"""

import os

from .render import render


def save(path, value, style='pretty', mode=None):
    """Write render(value, style) and a line end, or with style None a text, to the file, or where the symbolic link leads, of `path`.

    `mode` is the permissions; None keeps those of the old file or leaves them to the umask. Raises OSError, Json5Error
    or TypeError, and then the file is as it was.
    """
    import fcntl
    data = (value if style is None else render(value, style) + '\n').encode()
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f'.{name}.tmp')

    def opener(name, flags):
        return os.open(name, flags | os.O_NOFOLLOW, 0o666 if mode is None else 0o600)

    folder = os.open(folder, os.O_RDONLY)
    try:
        _if_supported(fcntl.flock, folder, fcntl.LOCK_EX)
        old = os.stat(path) if os.path.exists(path) else None
        if old and mode is None:
            mode = old.st_mode & 0o7777
        with open(temporary, 'wb', opener=opener) as file:
            try:
                if old:
                    _if_supported(os.chown, file.fileno(), old.st_uid, old.st_gid)
                if mode is not None:
                    os.chmod(file.fileno(), mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.rename(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        _if_supported(os.fsync, folder)
    finally:
        os.close(folder)


def _if_supported(call, *arguments):
    """Call, although the user may lack the right to change owners, and network folders locks or fsync."""
    try:
        call(*arguments)
    except OSError as error:
        if error.errno not in (1, 9, 22):       # EPERM, EBADF, EINVAL
            raise


def sync(path, folder=None):
    """Force the names in a folder, whose path may begin in an open one, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(descriptor)
    except OSError:
        pass                            # not every file system can
    finally:
        os.close(descriptor)
