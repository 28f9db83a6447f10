"""Content codings: gzip and deflate, undone as they come (RFC 9110 §8.4.1).

What comes out is bounded: in pieces of 64 KB, so a small input cannot fill the memory, and by the limit of the fetch
in all.
"""

import zlib

from .errors import ProtocolError, TooLarge

PIECE = 65536
CODINGS = 3             # layers at most
GZIP = 31               # window bits of zlib with the wrapping of gzip


class Decoder:
    """One coding. `feed` takes bytes, `read` gives pieces until it returns b'', `finish` is for the end of the body."""

    def __init__(self, coding, limit):
        self.gzip = coding != 'deflate'
        self.engine = zlib.decompressobj(GZIP) if self.gzip else None
        self.held = b''
        self.left = self.limit = limit
        self.room = 2 * limit + PIECE           # for what is compressed: much of it may bring nothing
        self.begun = self.more = False

    def feed(self, data):
        """Raises TooLarge."""
        self.held += data
        self.room -= len(data)
        if self.room < 0:
            raise TooLarge(f'the body is over twice the limit of {self.limit} bytes, compressed')

    def read(self):
        """At most 64 KB, b'' where more has to be fed. Raises ProtocolError, TooLarge."""
        if self.engine is None and not self._begin():
            return b''
        while self.held or self.more:
            if self.engine.eof:
                # RFC 1952 §2.2: members follow each other; zeros are padding.
                if not self.gzip or not (data := self.held.lstrip(b'\0')):
                    self.held = b''
                    break
                self.held = data
                self.engine = zlib.decompressobj(GZIP)
            try:
                piece = self._inflate()
            except zlib.error as error:
                raise ProtocolError(f'the body is no {"gzip" if self.gzip else "deflate"}: {error}') from None
            if piece:
                self.left -= len(piece)
                if self.left < 0:
                    raise TooLarge(f'the body is over the limit of {self.limit} bytes when decompressed')
                return piece
        return b''

    def _begin(self):
        """Make the engine of deflate, with two bytes at hand: some servers leave out zlib's wrapping (RFC 1950)."""
        if len(self.held) < 2:
            return False
        wrapped = self.held[0] & 15 == 8 and int.from_bytes(self.held[:2], 'big') % 31 == 0
        self.engine = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        return True

    def _inflate(self):
        engine = self.engine
        piece = engine.decompress(self.held, PIECE)
        self.begun = True
        self.more = len(piece) == PIECE and not engine.eof         # it may hold back output
        self.held = engine.unused_data if engine.eof else engine.unconsumed_tail
        return piece

    def finish(self):
        """Raises ProtocolError where the coding has not ended."""
        if self.held or self.begun and not self.engine.eof:
            raise ProtocolError('the compressed body is cut')


class Chain:
    """Several codings, the last applied undone first."""

    def __init__(self, first, rest):
        self.first, self.rest = first, rest

    def feed(self, data):
        self.first.feed(data)

    def read(self):
        while True:
            if piece := self.rest.read():
                return piece
            piece = self.first.read()
            if not piece:
                return b''
            self.rest.feed(piece)

    def finish(self):
        self.first.finish()
        self.rest.finish()


def decoder_of(value, limit):
    """What undoes a Content-Encoding; None for none. Raises ProtocolError for one that was not asked for."""
    names = [name for name in [name.strip(' \t').lower() for name in value.split(',')] if name not in ('', 'identity')]
    if len(names) > CODINGS or set(names) - {'gzip', 'x-gzip', 'deflate'}:
        raise ProtocolError(f'expected the content coding gzip or deflate, got {value!a}')
    decoder = None
    for name in names:
        engine = Decoder(name, limit)
        decoder = Chain(engine, decoder) if decoder else engine
    return decoder
