"""Documents: the files of one folder over HTTP.

Nothing outside the folder is served: the path is decoded and normalised (ioto.http), hidden names do not exist
(.well-known aside), and the real path of what is opened must lie in the real path of the folder. Small files are kept
in a bounded cache with the fields of their answer, compared with the file at most once a second; large ones go out
with sendfile. Beside `x.js` may lie `x.js.br` and `x.js.gz`, not older: they are what clients get that take such a
coding (RFC 9110 §12.5.3), as versions with an ETag of their own.
"""

import errno
import os
import stat
from time import time

from ..http import HttpError, encode_field
from ..http.conditions import evaluate
from ..http.dates import format_date
from ..http.mime import type_of
from ..http.uri import percent_encode
from .routes import WebError, cache_control

RECHECK = 1.0               # seconds that a cached file is trusted
CODINGS = (('br', '.br'), ('gzip', '.gz'))          # what is chosen first of two that a client likes as much
MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}


def stamp(found):
    """What tells one content of a file from another, by its stat result."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def tag(found):
    """The ETag of a file, by its stat result."""
    return '"%x-%x-%x-%x"' % stamp(found)[1:]


def hidden(path):
    """Whether a path has a segment that is not served."""
    return any(segment[:1] == '.' and segment != '.well-known' for segment in path.split('/'))


def siblings(path, modified):
    """The {coding: stamp} of the compressed files beside one that was modified then (in nanoseconds)."""
    found = {}
    for coding, extension in CODINGS:
        try:
            other = os.lstat(path + extension)
        except OSError:
            continue
        if stat.S_ISREG(other.st_mode) and other.st_mtime_ns >= modified:
            found[coding] = stamp(other)
    return found


class Document:
    """A file in the cache."""

    __slots__ = ('path', 'body', 'size', 'modified', 'etag', 'fields', 'checked', 'stamp', 'siblings')


class Files:
    """The documents of a folder. `config` is the `web` configuration."""

    def __init__(self, folder, config, limits):
        self.folder = os.path.realpath(folder)
        if not os.path.isdir(self.folder):
            raise WebError('web.documents', f'there is no folder {folder}')
        self.index = config.get('index') or 'index.html'
        self.types = {name.lstrip('.').lower(): value for name, value in (config.get('mime') or {}).items()}
        self.rules = {name.lstrip('.').lower(): cache_control(value, f'web.cache.{name}')
                      for name, value in (config.get('cache') or {}).items()}
        self.capacity = limits['cache']
        self.largest = limits['item']
        self.documents = {}         # path of a request -> Document
        self.held = 0               # bytes in the cache

    def serve(self, web):
        """Answer a GET or HEAD at once, or return a coroutine that does. Raises HttpError 403, 404."""
        path = web.path
        now = web.connection.stream.kernel.time
        document = self.documents.get(path)
        descriptor = None
        if document is None or (now - document.checked > RECHECK and not self._still(document, now)):
            document, descriptor = self._open(web)
            if document is None:
                return web.redirect(percent_encode(path) + '/' + (f'?{web.query}' if web.query else ''), 301)
        fields = web.fields
        if document.siblings and 'accept-encoding' in fields:
            document, descriptor = self._encoded(web, document, descriptor)
        status = 0
        if 'if-none-match' in fields or 'if-modified-since' in fields or 'if-match' in fields or 'range' in fields \
                or 'if-unmodified-since' in fields:
            try:
                status = evaluate(web.method, fields, document.etag, document.modified)
                if status == 412:
                    raise HttpError(412, 'the document is another version')
                if status == 0 and 'range' in fields and web.method == 'GET':
                    from .ranges import select
                    partial = select(web, document)
                    if partial is not None:
                        return self._send(web, document, descriptor, 206, *partial)
            except HttpError:
                if descriptor is not None:
                    os.close(descriptor)
                raise
        if descriptor is not None:
            if status == 0:
                return self._send(web, document, descriptor, 200, document.fields, [(b'', 0, document.size)])
            os.close(descriptor)
        web.answer(status or 200, document.fields, document.body if not status else b'')

    @staticmethod
    async def _send(web, document, descriptor, status, fields, pieces):
        if descriptor is None:
            body = b''.join([front + document.body[offset:offset + count] for front, offset, count in pieces])
            web.answer(status, fields, body)
            return
        try:
            await web.send_file(status, fields, descriptor, pieces)
        finally:
            os.close(descriptor)

    def _encoded(self, web, document, descriptor):
        """What to send of a document with compressed siblings: (Document, descriptor or None)."""
        from ..http.lists import preferred
        coding = preferred(web.fields['accept-encoding'], tuple(document.siblings))
        if coding is None:
            return document, descriptor
        found = self.documents.get(coding + web.path)
        if found is None or found.stamp != document.siblings[coding]:
            try:
                found, other = self._open(web, coding)
            except (HttpError, OSError):
                return document, descriptor         # it has gone, or may not be read
        else:
            other = None
        if descriptor is not None:
            os.close(descriptor)
        return found, other

    def _still(self, document, now):
        """Whether a cached document is what the file holds. One that is not leaves the cache."""
        try:
            found = os.stat(document.path)
            if stamp(found) == document.stamp and siblings(document.path, found.st_mtime_ns) == document.siblings:
                document.checked = now
                return True
        except OSError:
            pass
        self.forget()
        return False

    def forget(self):
        """Empty the cache."""
        self.documents.clear()
        self.held = 0

    def within(self, real):
        """Whether a real path lies in the folder."""
        return real == self.folder or real.startswith(self.folder.rstrip('/') + '/')

    def _open(self, web, coding=''):
        """Return (Document, descriptor or None), or (None, None) for a folder that lacks its final slash.

        With a coding it is the compressed sibling's.
        """
        path = web.path
        if hidden(path):
            raise HttpError(404, 'no such document')
        name = path[1:] + self.index if path.endswith('/') else path[1:]
        try:
            real = os.path.realpath(os.path.join(self.folder, name + dict(CODINGS).get(coding, '')))
            if not self.within(real):
                raise HttpError(404, 'no such document')
            kind = os.stat(real).st_mode
            if stat.S_ISDIR(kind):
                if path.endswith('/'):
                    raise HttpError(404, 'no such document')
                return None, None
            if not stat.S_ISREG(kind):
                raise HttpError(404, 'no such document')
            descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (OSError, ValueError) as error:
            code = getattr(error, 'errno', errno.EINVAL)
            if code in MISSING:
                raise HttpError(404, 'no such document') from None
            if code in (errno.EACCES, errno.EPERM):
                raise HttpError(403, 'the document may not be read') from None
            raise
        try:
            if os.path.realpath(f'/proc/self/fd/{descriptor}') not in (real, f'/proc/self/fd/{descriptor}'):
                raise HttpError(404, 'no such document')        # moved on the way, where the system can tell
            document = self._document(web, name, descriptor, coding)
            if document.size > self.largest:
                return document, descriptor
            document.body = self._read(descriptor, document.size)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if document.body is None:
            raise HttpError(503, 'the document is being changed')
        self._keep(coding + path, document)
        return document, None

    def _document(self, web, name, descriptor, coding):
        found = os.fstat(descriptor)
        document = Document()
        document.path = os.path.join(self.folder, name)
        document.body = None
        document.size = found.st_size
        document.modified = int(min(found.st_mtime, time()))           # RFC 9110 §8.8.2.1: not after Date
        document.stamp = stamp(found)
        document.siblings = {} if coding else siblings(document.path, found.st_mtime_ns)
        document.etag = tag(found)
        document.checked = web.connection.stream.kernel.time
        extension = name.rpartition('/')[2].rpartition('.')[2].lower() if '.' in name else ''
        kind = self.types.get(extension) or type_of(name)
        cache = not web.route.cache and (self.rules.get(extension) or self.rules.get('*'))
        document.fields = [('Content-Type', kind), ('Last-Modified', format_date(document.modified)),
                           ('ETag', document.etag), ('Accept-Ranges', 'bytes')]
        if coding:
            document.fields.append(('Content-Encoding', coding))
        if coding or document.siblings:
            document.fields.append(('Vary', 'Accept-Encoding'))
        if cache:
            document.fields.append(('Cache-Control', cache))
        document.fields = b''.join(encode_field(name, value) for name, value in document.fields)
        return document

    @staticmethod
    def _read(descriptor, size):
        parts = []
        missing = size
        while missing > 0:
            data = os.read(descriptor, missing)
            if not data:
                return None
            parts.append(data)
            missing -= len(data)
        return b''.join(parts)

    def _keep(self, path, document):
        size = len(document.body) + len(document.fields) + 512
        if size > self.capacity:
            return
        if self.held + size > self.capacity:
            self.forget()
        self.documents[path] = document
        self.held += size
