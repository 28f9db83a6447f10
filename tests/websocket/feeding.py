"""Frames made bit by bit, apart from the code under test, and what a Protocol makes of bytes, however they are cut."""

import struct

from ioto.websocket import Protocol, ProtocolError
from tests.http.feeding import cuts

KEY = b'\x37\xfa\x21\x3d'
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(first, payload=b'', key=KEY, length=None, size=None):
    """A frame; `length` is what its header says, in `size` bytes (1, 2, 8). With key None it is not masked."""
    length = len(payload) if length is None else length
    size = size or (1 if length < 126 else 2 if length < 65536 else 8)
    bit = 0 if key is None else 128
    head = struct.pack({1: '!BB', 2: '!BBH', 8: '!BBQ'}[size], first, *([bit | 125 + (size == 2) + 2 * (size == 8)] * (size > 1)),
                       length | bit if size == 1 else length)
    if key is None:
        return head + payload
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def outcome(pieces, **options):
    """(events, close code of the error or None, frames to answer) of a Protocol that gets `pieces`."""
    protocol = Protocol(**options)
    events = []
    code = None
    for piece in pieces:
        try:
            events += protocol.receive(piece)
        except ProtocolError as error:
            assert code is None and protocol.closed and protocol.closing
            code = error.code
            events += error.events
    return events, code, unframed(protocol.pending)


def unframed(data):
    """The frames in `data` as [(first byte, payload), …], unmasked."""
    frames, at = [], 0
    while at < len(data):
        first, length = data[at], data[at + 1] & 127
        key = b'\0\0\0\0'
        masked = data[at + 1] & 128
        at += 2
        if length > 125:
            size = 2 if length == 126 else 8
            length = int.from_bytes(data[at:at + size], 'big')
            at += size
        if masked:
            key = data[at:at + 4]
            at += 4
        assert at + length <= len(data)
        frames.append((first, bytes(byte ^ key[i % 4] for i, byte in enumerate(data[at:at + length]))))
        at += length
    return frames


def agreed(data, **options):
    """The outcome of `data` without the reason of a close frame, after a check that it is the same for all cuts."""
    whole = coded(outcome([data], **options))
    for pieces in cuts(data):
        assert coded(outcome(pieces, **options)) == whole, f'cut as {[len(piece) for piece in pieces]}'
    return whole


def coded(result):
    events, code, answers = result
    return events, code, [(first, payload[:2] if code and first == 0x88 else payload) for first, payload in answers]


def failure(data, **options):
    """(events, close code) of bytes that have to fail, with the one close frame that says so."""
    events, code, answers = agreed(data, **options)
    closes = [payload for first, payload in answers if first == 0x88]
    assert closes == [struct.pack('!H', code)]
    return events, code


def passes(data, **options):
    """The events of bytes that have to pass."""
    events, code, _ = agreed(data, **options)
    assert code is None
    return events
