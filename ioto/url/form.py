"""Multipart forms to send (RFC 7578): values, and files that are read as they leave.

    form = Form({'name': 'pump', 'picture': open('pump.png', 'rb')})
    await url.post(target, form)

The length is known beforehand where all files are regular ones, and then the form can be sent again after a challenge
or a redirect; a pipe is sent in chunks, once.
"""

import os
import re
import stat

from ..http.mime import type_of
from ..runtime.threads import to_thread
from .body import PIECE, Payload
from .errors import UrlError


class Form(Payload):
    """A body of `fetch`, of {name: value} or pairs: a value is a binary file, bytes, or what str makes text of."""

    def __init__(self, values=()):
        boundary = os.urandom(18).hex()
        super().__init__(None, f'multipart/form-data; boundary={boundary}')
        self.boundary = boundary.encode()
        self.parts = []                 # (head, bytes or file, offset, bytes of it or None)
        self.length = len(boundary) + 6
        for name, value in values.items() if hasattr(values, 'items') else values:
            self.add(name, value)

    def add(self, name, value, filename=None, media=None):
        """Add a part; `filename` is by default that of a file, `media` what its ending says. Raises UrlError."""
        size, at = None, 0
        if hasattr(value, 'read'):
            if filename is None and hasattr(value, 'name'):
                filename = os.path.basename(str(value.name))
            try:
                if stat.S_ISREG((status := os.fstat(value.fileno())).st_mode):
                    at = value.tell()
                    size = max(status.st_size - at, 0)
            except OSError:                     # io.BytesIO and its kind
                value = value.read()
        if not hasattr(value, 'read'):
            value = value if isinstance(value, bytes) else str(value).encode()
            size = len(value)
        head = f'--{self.boundary.decode()}\r\nContent-Disposition: form-data; name="{_escaped(name)}"'
        if filename is not None:
            head += f'; filename="{_escaped(filename)}"'
            media = media or type_of(filename)
        if media:
            if re.search(r'[\x00-\x1f\x7f]', media):
                raise UrlError(f'bad media type: {media!a}')
            head += f'\r\nContent-Type: {media}'
        head = f'{head}\r\n\r\n'.encode()
        self.parts.append((head, value, at, size))
        if size is None:
            self.length, self.once = None, True
        elif self.length is not None:
            self.length += len(head) + size + 2

    def begin(self):
        self.again = not self.once
        self.pieces = self._pieces()

    async def _pieces(self):
        for head, value, at, size in self.parts:
            yield head
            if isinstance(value, bytes):
                yield value
            else:
                descriptor, left = value.fileno(), size
                while left != 0:
                    if size is None:
                        data = await to_thread(os.read, descriptor, PIECE)
                    else:
                        data = await to_thread(os.pread, descriptor, min(PIECE, left), at)
                        at, left = at + len(data), left - len(data)
                    if not data and left:
                        raise UrlError(f'a file of the form ended {left} bytes before its length')
                    if not data:
                        break
                    yield data
            yield b'\r\n'
        yield b'--%b--\r\n' % self.boundary


def _escaped(text):
    """As browsers write names: UTF-8, with what would end the quotes or the line escaped."""
    return re.sub('["\r\n]', lambda found: f'%{ord(found[0]):02X}', text)
