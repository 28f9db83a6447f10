"""A connection after the handshake, for either side: frames (RFC 6455 §5 to §8), permessage-deflate (RFC 7692 §7).

A whole small message is dealt with in the loop of `receive`. Of others, each piece is unmasked, inflated and checked as
it comes: a fault or limit is found at its byte, and a bomb takes no more memory than a message.
"""

import os
import sys
import zlib
from codecs import getincrementaldecoder

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FINAL, COMPRESSED = 0x80, 0x40
CODES = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}        # §7.4, IANA
TAIL = b'\0\0\xff\xff'
WINDOW = 12             # bits: a connection takes 40 KB instead of zlib's 300 KB
BLOCK = 4096

number = int.from_bytes


class ProtocolError(Exception):
    """A fault of the peer's: close `code`, `reason`, and the `events` before it."""

    def __init__(self, code, reason):
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.events = []


def mask(data, key):
    """`data` masked or unmasked (§5.3), in blocks by an XOR of two long integers."""
    size = len(data)
    if size > BLOCK:
        return b''.join([mask(data[at:at + BLOCK], key) for at in range(0, size, BLOCK)])
    return (number(data) ^ number((key * (size + 3 >> 2))[:size])).to_bytes(size)


def frame(first, data, masked):
    """A frame (§5.2); `first` is its first byte."""
    size = len(data)
    wide = size > 65535
    head = bytes((first, FINAL * masked | (size if size < 126 else 126 + wide)))
    if size > 125:
        head += size.to_bytes(2 + 6 * wide)
    if masked:
        key = os.urandom(4)
        return head + key + mask(data, key)
    return head + data


class Deflate:
    """The compressor and inflater of one side, by {parameter: value} of the server's answer."""

    def __init__(self, server, parameters):
        ours, theirs = ('server', 'client') if server else ('client', 'server')
        self._keep_out = f'{ours}_no_context_takeover' not in parameters
        self._keep_in = f'{theirs}_no_context_takeover' not in parameters
        self._out_bits = min(WINDOW, int(parameters.get(f'{ours}_max_window_bits', WINDOW)))
        self._in_bits = int(parameters.get(f'{theirs}_max_window_bits', 15))
        self._out = self._in = None

    def compress(self, data, last):
        """The next fragment of a message, compressed."""
        out = self._out or zlib.compressobj(wbits=-self._out_bits, memLevel=5)
        data = out.compress(data) + out.flush(zlib.Z_SYNC_FLUSH)
        self._out = out if self._keep_out or not last else None
        return data[:-4] if last else data

    def inflate(self, data, room, last):
        """The next piece of a message, up to a byte more than `room`. Raises zlib.error.

        Only an empty block may follow a final one (§7.2.3.4).
        """
        source = self._in or zlib.decompressobj(-self._in_bits)
        tail = TAIL * last
        data = source.decompress(data + tail, room + 1)
        if source.eof and len(data) <= room and source.unused_data not in (tail, b'\0' + tail):
            raise zlib.error
        self._in = source if not last or self._keep_in and not source.eof else None
        return data


class Protocol:
    """One side. `frame` and `message` limit what is received, in bytes; `deflate` comes from the handshake.

    With `pieces`, for bytes that are one stream, a message gives an event for each piece that comes, and has no limit.
    `pending`: pongs and a close frame, to write and clear after each `receive`, also one that raised.
    `closing`: a close frame was made, no message may follow. `closed`: nothing more is read; a server writes `pending`
    and disconnects, a client waits for that (§7.1.1).
    """

    def __init__(self, server=True, frame=1 << 20, message=1 << 20, deflate=None, pieces=False):
        if pieces:
            frame = message = sys.maxsize
        self.pending = b''
        self.closing = self.closed = False
        self._client = not server
        self._mask_bit = FINAL * server
        self._frame_limit = frame
        self._limit = min(message, sys.maxsize - 1)
        self._short = min(125, frame, message)
        self._pieces = pieces
        self._deflate = None if deflate is None else Deflate(server, deflate)
        self._first_bytes = b'\0\1\2\x80\x81\x82\x88\x89\x8a' + (b'\x41\x42\xc1\xc2' if self._deflate else b'')
        self._held = b''            # the beginning of a header or control frame
        self._left = 0              # bytes of the frame's payload to come
        self._opcode = 0            # of the message in hand
        self._message = bytearray()
        self._check = getincrementaldecoder('utf-8')().decode
        self._sending = False       # a message in fragments

    def receive(self, data):
        """The events in `data`: (TEXT, str), (BINARY, bytes), (PING, bytes), (PONG, bytes), (CLOSE, code, reason).

        Raises ProtocolError.
        """
        events = []
        data = self._held + data
        self._held = b''
        bit, short = self._mask_bit, self._short
        header = 6 if bit else 2
        at, size = 0, len(data)
        try:
            while at < size and not self.closed:
                if self._left:
                    at = self._piece(data, at, events)
                    continue
                first = data[at]
                begin = at + header
                if (first == FINAL | TEXT or first == FINAL | BINARY) and begin <= size and not self._opcode:
                    length = data[at + 1] - bit
                    end = begin + length
                    if 0 <= length <= short and end <= size:
                        payload = data[begin:end]
                        if bit:
                            payload = mask(payload, data[at + 2:begin])
                        events.append((TEXT, payload.decode()) if first & TEXT else (BINARY, payload))
                        at = end
                        continue
                end = self._frame(data, at, events)
                if not end:
                    self._held = data[at:]
                    break
                at = end
        except (ProtocolError, UnicodeDecodeError, zlib.error) as error:
            if not isinstance(error, ProtocolError):
                error = ProtocolError(1007, 'bad text or compressed data')
            error.events = events
            self.pending += self.close(error.code, error.reason)
            self.closed = True
            raise error from None
        return events

    def _frame(self, data, at, events):
        """Take a frame, as far as it is there; returns where that ends, 0 if more bytes are needed."""
        if len(data) < at + 2:
            return 0
        first, second = data[at:at + 2]
        opcode = first & 15
        control = opcode & 8
        length = second & 127
        extra = {126: 2, 127: 8}.get(length, 0)
        if (first not in self._first_bytes or second & FINAL != self._mask_bit or control and extra
                or not control and (not opcode) != bool(self._opcode)):
            raise ProtocolError(1002, f'bad frame: {data[at:at + 2].hex()}')
        begin = at + 2 + extra
        if len(data) < begin:
            return 0
        if extra:
            length = number(data[at + 2:begin])
            if length < 126 or extra > 2 and length < 65536 or length >> 63:
                raise ProtocolError(1002, f'bad length: {length}')
        inflate = first & COMPRESSED if opcode else self._inflate
        if not control and (length > self._frame_limit or not inflate and length > self._limit - len(self._message)):
            raise ProtocolError(1009, f'too long: {length}')
        key = b''
        if self._mask_bit:
            begin += 4
            key = data[begin - 4:begin]
        end = begin + length
        if len(data) < (end if control else begin):
            return 0
        if control:
            self._control(opcode, mask(data[begin:end], key), events)
            return end
        self._opcode = opcode or self._opcode
        self._inflate, self._last, self._left, self._key = inflate, first & FINAL, length, key
        return self._piece(data, begin, events)

    def _control(self, opcode, payload, events):
        """Take a control frame (§5.5)."""
        if opcode == CLOSE:
            code = number(payload[:2]) if payload else 1005
            if payload and code not in CODES:
                raise ProtocolError(1002, f'bad close code: {code}')
            events.append((CLOSE, code, payload[2:].decode()))
            if not self.closing:
                self.pending += self._make(CLOSE, payload)
            self.closing = self.closed = True
        else:
            if opcode == PING:
                self.pending += self.pong(payload)
            events.append((opcode, payload))

    def _piece(self, data, at, events):
        """Take a payload, as far as it is there (§5.4, §8.1); returns where that ends."""
        piece = data[at:at + self._left]
        size = len(piece)
        self._left -= size
        last = not self._left and self._last > 0
        message, limit = self._message, self._limit
        if self._mask_bit:
            piece = mask(piece, self._key)
            self._key = (self._key * 2)[size & 3:][:4]
        if self._inflate:
            piece = self._deflate.inflate(piece, limit - len(message), last)
        message += piece
        if self._opcode == TEXT:
            self._check(piece)
        if len(message) > limit:
            raise ProtocolError(1009, f'over {limit} bytes')
        if last or self._pieces:
            events.append((TEXT, message.decode()) if self._opcode == TEXT else (BINARY, bytes(message)))
            self._message = bytearray()
        if last:
            self._opcode = 0
        return at + size

    def send(self, message, last=True):
        """The bytes of a message, str or bytes, or of a fragment of one. Raises ConnectionError when `closing`."""
        if self.closing:
            raise ConnectionError('WebSocket closed')
        opcode = BINARY
        if isinstance(message, str):
            opcode = TEXT
            message = message.encode()
        if self._deflate:
            opcode |= COMPRESSED
            message = self._deflate.compress(message, last)
        if self._sending:
            opcode = 0
        self._sending = not last
        return frame(opcode | FINAL * last, message, self._client)

    def ping(self, data=b''):
        """The bytes of a ping; up to 125 bytes of data."""
        return self._make(PING, data)

    def pong(self, data=b''):
        """The bytes of a pong; pings are answered without it."""
        return self._make(PONG, data)

    def close(self, code=1000, reason=''):
        """The bytes of a close frame, b'' if there was one; None: without a code (§5.5.1)."""
        if self.closing:
            return b''
        if code and code not in CODES:
            raise ValueError(f'close code {code}')
        data = self._make(CLOSE, code.to_bytes(2) + reason.encode() if code else b'')
        self.closing = True
        return data

    def _make(self, opcode, payload):
        if len(payload) > 125:
            raise ValueError('over 125 bytes')
        return frame(FINAL | opcode, payload, self._client)
