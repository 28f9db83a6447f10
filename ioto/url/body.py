"""Bodies of requests: where their bytes come from, how many there are, whether they can be sent again.

`payload_of` makes one of each kind that `fetch` takes. What is in memory leaves with the head; the others are sent by
`pieces`, an async iterator, or straight from the file (sendfile), and in chunks where their length is not known (RFC
9112 §6).
"""

import os
import stat

from ..http.url import build_query
from .errors import UrlError

PIECE = 131072          # bytes of a file sent at a time: each has the idle time-out to leave

FORM = 'application/x-www-form-urlencoded'


class Payload:
    """Bytes in memory, at first.

    data     the bytes, None where they are not in memory
    length   how many, None if not known
    media    the Content-Type where the request names none, None for no field
    once     whether it can be sent only once
    again    whether it can be sent again
    """

    once = False
    again = True
    media = None
    file = None

    def __init__(self, data, media=None):
        self.data = data
        self.length = None if data is None else len(data)
        if media:
            self.media = media

    def begin(self):
        """To be called when the first byte is sent."""


class FilePayload(Payload):
    """A regular file from its position on, which does not move."""

    def __init__(self, file):
        super().__init__(None)
        self.file = file
        self.offset = file.tell()
        self.length = max(os.fstat(file.fileno()).st_size - self.offset, 0)


class PiecesPayload(Payload):
    """What an async iterator gives: bytes or str."""

    once = True

    def __init__(self, pieces):
        super().__init__(None)
        self.pieces = pieces.__aiter__()

    def begin(self):
        self.again = False


def payload_of(body):
    """The Payload of bytes, str, dict (a form), Form, file, Stream or async iterator; None for None. Raises UrlError."""
    if body is None or isinstance(body, Payload):
        return body
    if isinstance(body, (bytes, bytearray, memoryview)):
        return Payload(bytes(body))
    if isinstance(body, str):
        return Payload(body.encode(), 'text/plain; charset=utf-8')
    if isinstance(body, dict):
        return Payload(build_query(body).encode(), FORM)
    if hasattr(body, '__aiter__'):
        return PiecesPayload(body)
    if hasattr(body, 'receive'):                # a Stream
        return PiecesPayload(_read(body.read))
    if hasattr(body, 'read'):
        return _file(body)
    raise UrlError(f'no body can be made of {type(body).__name__}: '
                   'expected bytes, str, dict, file, Stream or async iterator')


def _file(file):
    try:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return FilePayload(file)
    except (OSError, AttributeError):           # io.BytesIO and its kind
        data = file.read()
        return Payload(data.encode() if isinstance(data, str) else data)
    from ..runtime import to_thread             # a pipe or a device: reading it may block
    descriptor = file.fileno()
    return PiecesPayload(_read(lambda: to_thread(os.read, descriptor, PIECE)))


async def _read(read):
    while data := await read():
        yield data
