"""PUT and DELETE of documents, on routes with handler 'file' whose methods name them (RFC 9110 §9.3.4, §9.3.5).

A body is received as a draft in the folder of its target, forced to the disk and renamed: a reader, or a restart after
a power cut, finds the old version or the new one. Conditions are evaluated before the body is read and again right
before the rename, where only one writer is at a time. Folders have to be there; hidden names, links and what is
outside the documents are not written.
"""

import errno
import os
import stat
from threading import Lock

from ..http import HttpError
from ..http.conditions import evaluate
from ..json5.atomic import sync
from ..runtime.threads import to_thread
from .draft import FULL, Draft, sweep, temporary
from .files import hidden, tag

STATUS = {
    errno.ENOENT: 409, errno.ENOTDIR: 409, errno.EEXIST: 409, errno.EISDIR: 409, errno.EACCES: 403, errno.EPERM: 403,
    errno.EROFS: 403, errno.ELOOP: 403, errno.ENAMETOOLONG: 414} | dict.fromkeys(FULL, 507)

turn = Lock()
swept = set()           # folders in which nothing is left of a process that was killed


class Store:
    """What writes into the folder of a Files."""

    def __init__(self, files):
        self.files = files
        self.handlers = {'PUT': self.write, 'DELETE': self.write}

    def _place(self, path):
        """Open the folder of a path: (descriptor, name). Raises OSError, HttpError 403."""
        above, _, name = path.rpartition('/')
        root = self.files.folder
        real = os.path.realpath(root + above)
        if hidden(path) or not self.files.within(real) or hidden(real[len(root):]):
            raise HttpError(403, 'this name is not for documents')
        folder = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if real not in swept:
            sweep(real)
            swept.add(real)
        return folder, name

    async def write(self, web):
        """Answer a PUT or DELETE."""
        try:
            await (self._put if web.method == 'PUT' else self._delete)(web)
        except OSError as error:
            if error.errno not in STATUS:
                raise
            raise HttpError(STATUS[error.errno], error.strerror) from None
        self.files.forget()

    async def _put(self, web):
        web.refuse_coding()
        if 'content-range' in web.fields:
            raise HttpError(400, 'a part of a document cannot be put')          # RFC 9110 §14.5
        if not web.length and 'content-length' not in web.fields:
            raise HttpError(411, 'a document is put with a body')               # it would be emptied
        folder, name = self._place(web.path)
        kernel = web.connection.stream.kernel
        draft = web.upload = Draft(folder, temporary(), kernel.time)
        try:
            current(web, folder, name)
            async for data in web.body():
                draft.moved = kernel.time
                await draft.write(data)
            status, etag = await draft.flush(lambda: replace(web, draft, name))
        finally:
            if not draft.ended:
                await to_thread(draft.remove)
        web.set_header('ETag', etag)
        web.answer(status, b'', b'')

    async def _delete(self, web):
        try:
            folder, name = self._place(web.path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise HttpError(404, 'no such document') from None
            raise
        await to_thread(remove, web, folder, name)
        web.answer(204, b'', b'')


def current(web, folder, name):
    """The stat result of a document, None if there is none. Raises HttpError 412, 409 for a folder, 403, 404."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        found = None
    else:
        if not stat.S_ISREG(found.st_mode):
            raise HttpError(409 if stat.S_ISDIR(found.st_mode) else 403, 'this is not a file')
    if found is None and web.method == 'DELETE':
        raise HttpError(404, 'no such document')
    if evaluate(web.method, web.fields, found and tag(found), found and found.st_mtime, found is not None):
        raise HttpError(412, 'the document is another version')
    return found


def replace(web, draft, name):
    """Put a whole draft in its place: (status, ETag). Called in a thread."""
    os.fsync(draft.descriptor)
    with turn:
        old = current(web, draft.folder, name)
        os.utime(draft.descriptor)          # no sibling that was compressed before is newer
        if old:
            try:
                os.fchown(draft.descriptor, old.st_uid, old.st_gid)
            except PermissionError:
                pass
            os.fchmod(draft.descriptor, old.st_mode & 0o7777)
        if draft.name is None:
            draft.name = temporary() if old else name
            os.link(f'/proc/self/fd/{draft.descriptor}', draft.name, dst_dir_fd=draft.folder,
                    follow_symlinks=True)
        if draft.name != name:
            draft.present = True
            draft.rename(name)
        etag = tag(os.fstat(draft.descriptor))
    sync('.', draft.folder)
    return 204 if old else 201, etag


def remove(web, folder, name):
    """Remove a document. Called in a thread."""
    try:
        with turn:
            current(web, folder, name)
            os.unlink(name, dir_fd=folder)
        sync('.', folder)
    finally:
        os.close(folder)
