"""Downloads: the body of an answer as a file that is there only when it is whole.

The bytes go to `path`.part, written in helper threads in large pieces, which is forced to the disk and renamed when all
have come. `path`.part.json says of which version they are: by a strong ETag, else a strong Last-Modified. After a cut
or a passing status such as 503, or in a later call, also when the process was killed, the rest is asked for with Range
and If-Range (RFC 9110 §13.1.5 and §14); another version, or a server without ranges or such a validator, has all begin
anew. What was written before a restart of the system may not have reached the disk: it counts only where a checksum
proves the whole.
"""

import fcntl
import os
import re
from threading import Lock
from zlib import crc32

from ..http.dates import parse_date
from ..json5 import Json5Error, parse, to_json
from ..json5.atomic import sync
from ..runtime.kernel import sleep
from ..runtime.threads import to_thread
from .client import check
from .errors import ProtocolError, StatusError, TooLarge, UrlError

BATCH = 200_000         # bytes that go to a thread at a time
TRIES = 100             # requests in all
DELAY = 0.05            # seconds before the second request that brought nothing more, doubled with each
LONGEST = 10.0          # seconds between requests at most, where the server does not ask for more
PATIENCE = 120          # seconds that a server may ask for
PASSING = frozenset((429, 502, 503, 504))       # statuses that may be others at the next request
RANGE = r'bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)'


class Part:
    """A file that is to become `path`: `size` bytes were received, of `total` (None if not known).

    To be used within `async with`: what is not finished at its end is removed, unless `keep` is set and it can be
    resumed. One thread at a time works on it; what a cancelled fiber left to do is not begun after the end.
    """

    def __init__(self, path, keep=False):
        self.path = os.path.realpath(path)
        self.part, self.note = f'{self.path}.part', f'{self.path}.part.json'
        self.keep = keep
        self.size = 0
        self.total = self.validator = self.descriptor = self.place = self.mark = None
        self.begun = self._ended = False
        self._lock = Lock()
        self._parts, self._waiting = [], 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, trace):
        await to_thread(self._end)

    async def write(self, data):
        """Add bytes. Raises OSError."""
        self.size += len(data)
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting >= BATCH:
            await self.do(self._write, self._take())

    async def finish(self, checksum=None):
        """Put the file in its place; False where it has not this (algorithm, hexadecimal digest)."""
        return await self.do(self._finish, self._take(), checksum)

    async def do(self, function, *args):
        """Call one of the following in a thread."""
        return await to_thread(self._locked, function, *args)

    def _locked(self, function, *args):
        with self._lock:
            if not self._ended:
                return function(*args)

    def open(self):
        """Open the file beside `path`, for this download alone."""
        if os.path.isdir(self.path):
            raise IsADirectoryError(f'{self.path} is a folder')
        mode = os.path.exists(self.path) and os.stat(self.path).st_mode & 0o777
        self.descriptor = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode or 0o666)
        try:
            if mode:                            # that of the file which it replaces
                os.fchmod(self.descriptor, mode)
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self.descriptor), os.stat(self.part)):
                raise BlockingIOError           # it was renamed before it was locked
        except (BlockingIOError, FileNotFoundError):
            self._close()
            raise BlockingIOError(f'{self.part} is in use by another download') from None

    def recall(self, proven):
        """Go on with what an earlier call left of this URL; `proven`: a checksum tells whether it is right."""
        size = os.lseek(self.descriptor, 0, os.SEEK_END)
        try:
            with open(self.note, encoding='utf-8') as file:
                note = parse(file.read())
            if note['url'] == self.mark and (proven or note['boot'] == _boot()) and size <= (note['total'] or size):
                self.size, self.total, self.validator = size, note['total'], note['validator']
        except (OSError, Json5Error, KeyError, TypeError):
            pass

    def begin(self, up=None):
        """Forget what was received; what comes is the body of the Fetch `up`, if given."""
        self._take()
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        self.size, self.total, self.validator = 0, up and up.length, up and _validator(up.headers)
        if self.validator and self.keep:
            note = {'url': self.mark, 'validator': self.validator, 'total': self.total, 'boot': _boot()}
            with open(self.note, 'w', encoding='utf-8') as file:
                file.write(to_json(note))
        else:
            _unlink(self.note)

    def _take(self):
        parts, self._parts, self._waiting = self._parts, [], 0
        return parts

    def _write(self, parts):
        view = memoryview(b''.join(parts))
        while view:
            view = view[os.write(self.descriptor, view):]

    def _finish(self, parts, checksum):
        self._write(parts)
        if checksum:
            from hashlib import file_digest
            with open(self.part, 'rb', 0) as file:
                if file_digest(file, checksum[0]).hexdigest() != checksum[1]:
                    return False
        os.fsync(self.descriptor)
        os.rename(self.part, self.path)
        self._close()
        _unlink(self.note)
        sync(os.path.dirname(self.path) or '.')
        return True

    def _end(self):
        with self._lock:
            self._ended = True
            if self.descriptor is None:
                return
            try:
                if self.keep and self.size and self.validator:
                    self._write(self._take())
                else:
                    _unlink(self.note)
                    os.unlink(self.part)
            except OSError:
                pass                            # what raised before it says more
            self._close()

    def _close(self):
        os.close(self.descriptor)
        self.descriptor = None


async def download(client, target, path, resume=True, checksum=None, progress=None, retries=8, **options):
    """See `Client.download`."""
    checksum, where = _checksum(checksum), client.fetch('GET', target, query=options.get('query')).url
    fields = dict(options.pop('headers', None) or ())
    limit = options.get('limit') or float('inf')
    most = tries = idle = 0
    async with Part(path, resume) as part:
        part.place = where.place
        part.mark = where.place if where.query is None else f'{where.place}?#{crc32(where.query.encode()):08x}'
        await part.do(part.open)
        if resume:
            await part.do(part.recall, bool(checksum))
        old = part.size
        while True:
            problem, wanted, after = None, {}, 0
            if part.size and part.validator:
                wanted = {'Range': f'bytes={part.size}-', 'If-Range': part.validator}
            try:
                whole = await _receive(client.fetch('GET', target, headers=fields | wanted, decode=False, **options),
                                       part, bool(wanted), limit, progress)
            except UrlError as error:
                after = _after(error)
                if after is None or not part.begun:
                    part.keep = part.keep and not isinstance(error, TooLarge)
                    raise
                whole, problem = False, error
            if whole:
                if await part.finish(checksum):
                    return part.size
                if not old:
                    part.keep = False
                    raise ProtocolError(f'the file has not the checksum {checksum[0]}:{checksum[1]}', part.place)
                await part.do(part.begin)       # what was there before may have been at fault
                old = most = 0
            tries += 1
            idle = 0 if part.size > most else idle + 1
            most = max(most, part.size)
            if idle > retries or tries >= TRIES:
                raise problem or ProtocolError(f'no whole answer to {tries} requests', part.place)
            if idle or after:
                await sleep(max(min(DELAY * 2 ** idle, LONGEST), after))


def _after(error):
    """Seconds to wait at least before the rest is asked for after an error; None: it is not."""
    if not isinstance(error, StatusError):
        return None if isinstance(error, TooLarge) or getattr(error, 'phase', '') == 'whole' else 0
    after = error.headers.get('retry-after', '0')
    seconds = int(after) if re.fullmatch('[0-9]{1,9}', after) else 0
    return seconds if error.status in PASSING and seconds <= PATIENCE else None


async def _receive(fetch, part, ranged, limit, progress):
    """Add the body of an answer; whether the file is whole."""
    async with fetch as up:
        end = None
        if ranged and up.status == 416:
            if up.headers.get('content-range') == f'bytes */{part.size}' and _same(up, part):
                return True
            return await part.do(part.begin)
        if up.status == 206:
            found = re.fullmatch(RANGE, up.headers.get('content-range', ''))
            first, end = (int(found[1]), int(found[2]) + 1) if found else (-1, 0)
            total = int(found[3]) if found and found[3] != '*' else part.total
            if not ranged:
                raise ProtocolError('a part came, and all was asked for', up.url.place)
            if (first != part.size or end <= first or total is not None and end > total or not _same(up, part)
                    or part.total not in (None, total) or up.length not in (None, end - first)):
                return await part.do(part.begin)
            part.total = total
        else:
            await check(up)
            await part.do(part.begin, up)
        part.begun = True
        last = min(limit, end or limit)
        if (part.total or 0) > limit:
            raise TooLarge(f'{part.total} bytes, the limit is {limit}', up.url.place)
        async for chunk in up:
            if part.size + len(chunk) > last:
                kind = TooLarge if last == limit else ProtocolError
                raise kind(f'the body goes on behind {last} bytes', up.url.place)
            await part.write(chunk)
            if progress:
                progress(part.size, part.total)
        if end is not None and part.size != end:
            raise ProtocolError(f'the part ended {end - part.size} bytes before its end', up.url.place)
        return end is None or end == part.total


def _same(up, part):
    """Whether an answer is of the version that the part is of, as far as it says."""
    name = 'etag' if part.validator.startswith('"') else 'last-modified'
    return up.headers.get(name, part.validator) == part.validator


def _validator(headers):
    """What If-Range may say: a strong ETag, or the Last-Modified of what has none if that is strong; else None."""
    etag, modified = headers.get('etag'), headers.get('last-modified', '')
    if etag is not None:
        return etag if re.fullmatch(r'"[\x21\x23-\x7e]*"', etag) else None
    changed, now = parse_date(modified), parse_date(headers.get('date', ''))
    return modified if changed is not None and now is not None and now > changed else None


def _checksum(text):
    """(algorithm, digest) of 'algorithm:hexadecimal', sha256 by default. Raises UrlError."""
    if not text:
        return None
    from hashlib import new
    name, _, value = text.lower().rpartition(':')
    name = name or 'sha256'
    try:
        size = new(name).digest_size
    except ValueError:
        size = 0
    if not size or not re.fullmatch(f'[0-9a-f]{{{size * 2}}}', value):
        raise UrlError(f"expected a checksum such as 'sha256:' and 64 hexadecimal digits, got {text!a}")
    return name, value


def _boot():
    """Which start of the system this is."""
    try:
        with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as file:
            return file.read().strip()
    except OSError:
        return None


def _unlink(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
