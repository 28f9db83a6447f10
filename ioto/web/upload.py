"""Uploads: the files of a multipart form, streamed to disk (RFC 7578).

`web.form()` of such a request ends here. Files are written as they arrive, each to a hidden name in `upload.dir`;
variables stay in memory, within `limits.form`. A request whose body is multipart has its handler in `guarded`, which
removes the files that the action did not save when it ends, however that comes about; with `upload.remove` false they
stay, if the request was answered without an error.

While the body makes progress, the time-out of the request does not count, only that of inactivity.
"""

import errno
import os
import re
from types import CoroutineType

from ..http import CHUNKED, HttpError
from ..http.multipart import Multipart, Part
from ..json5.atomic import sync
from ..runtime.threads import to_thread
from .draft import BATCH, Draft, sweep, temporary
from .exchange import VARIABLES
from .routes import WebError

prepared = set()        # folders that have been swept


class Upload(Draft):
    """A file of a form: `filename` (its path), `client_filename` (made safe), `content_type`, `size` in bytes."""

    def __init__(self, folder, part):
        super().__init__(None, os.path.join(folder, temporary()))
        self.field = part.name
        self.client_filename = safe_name(part.filename)
        self.content_type = part.content_type

    @property
    def filename(self):
        return self.name

    async def complete(self, visible):
        """Write what is left, and give a file that is to stay a name of its own."""
        await self.flush(self._show if visible else bool)

    def _show(self):
        name = os.path.join(os.path.dirname(self.name), f'upload-{os.urandom(8).hex()}')
        os.rename(self.name, name)
        self.name = name

    async def save(self, path):
        """Move the file to `path`, which at any moment is what it was or the whole file, of mode 0600, to stay."""
        await to_thread(self._save, path)

    def _save(self, path):
        folder = os.path.dirname(path) or '.'
        with self._lock, open(self.name, 'rb') as source:       # `remove` may run at the same time
            try:
                os.fsync(source.fileno())
                os.rename(self.name, path)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                copy = Draft(None, os.path.join(folder, temporary()))
                try:
                    while data := source.read(BATCH):
                        copy.write_now([data])
                    copy.write_now((), lambda: copy.rename(path))
                finally:
                    copy.remove()
                os.unlink(self.name)
        self.name, self.present = path, False
        sync(folder)


class Uploads(dict):
    """{field: Upload}, of a repeated field the last; `.all(field)` lists them."""

    moved = 0.0

    def __init__(self):
        self.begun = []

    def all(self, field):
        """The files of a field in the order of the form."""
        return [upload for upload in self.begun if upload.field == field]

    def remove(self):
        """Remove the files that were not saved. Called in a thread."""
        for upload in self.begun:
            upload.remove()


def prepare(resolve, settings):
    """Return the folder of `upload.dir`, made and swept when it is first asked for. Raises WebError."""
    folder = settings.get('dir')
    folder = os.path.abspath(resolve(folder) if folder else os.environ.get('TMPDIR') or '/tmp')
    if folder not in prepared:
        try:
            os.makedirs(folder, exist_ok=True)
            sweep(folder)
        except OSError as error:
            raise WebError('web.upload.dir', f'{folder}: {error.strerror}') from None
        prepared.add(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise WebError('web.upload.dir', f'{folder} may not be written')
    return folder


def guarded(handler):
    """A handler whose uploaded files are removed when it ends."""
    async def guard(web):
        keep = False
        try:
            result = handler(web)
            if type(result) is CoroutineType:
                result = await result
            keep = web.status < 400 and not web.connection.server.upload.get('remove', True)
            return result
        finally:
            if web.upload is not None and not keep:
                await to_thread(web.upload.remove)
    return guard


async def receive(web, progress=None):
    """Read a multipart form: its files to `web.files`, its variables returned. Raises HttpError 400, 413, 415, 507."""
    server, limits, body = web.connection.server, web.route.limits, web.body()
    kernel = body.stream.kernel
    decoder = Multipart(web.fields['content-type'])
    folder = prepare(server.resolve, server.upload)
    uploads = web.upload = web.files = Uploads()
    variables = {}
    count, room = 0, limits['form']         # variables so far, bytes that they may still have
    part = upload = None
    total = None if web.length == CHUNKED else web.length
    uploads.moved = kernel.time
    async for data in body:
        for event in decoder.feed(data):
            if type(event) is Part:
                part, upload, value = event, None, bytearray()
                if part.filename is None:
                    count += 1
                    room -= len(part.name)
                else:
                    upload = Upload(folder, part)
                    uploads.begun.append(upload)
                if count > VARIABLES or len(uploads.begun) > limits['files']:
                    raise body.too_large(f'{VARIABLES} variables or {limits["files"]} files')
            elif event is not None and upload is not None:
                if upload.size + len(event) > limits['upload']:
                    raise body.too_large(f'{limits["upload"]} bytes in a file')
                await upload.write(event)
            elif event is not None:
                room -= len(event)
                value += event
            elif upload is None:
                try:
                    variables[part.name] = value.decode()
                except UnicodeError:
                    raise HttpError(400, f'{part.name} is not UTF-8') from None
            elif part.filename or upload.size:
                await upload.complete(not server.upload.get('remove', True))
                uploads[part.name] = upload
            else:
                uploads.begun.pop()         # no file was chosen
                count += 1
            if room < 0:
                raise body.too_large(f'{limits["form"]} bytes of variables')
        uploads.moved = kernel.time
        if progress is not None:
            progress(body.received, total)
    decoder.finish()
    return variables


def safe_name(name):
    """The last part of a path of any system, at most 200 bytes of it, without leading dots and what does not print."""
    name = ''.join(c for c in re.split(r'[/\\]', name)[-1] if c.isprintable())
    return name.encode()[-200:].decode(errors='ignore').lstrip('. ') or 'file'
