"""Random streams of frames, whole and damaged: one outcome for all cuts, and no error but ProtocolError."""

import os
import random
import zlib

import pytest

from ioto.websocket import Protocol
from tests.websocket.feeding import BINARY, CLOSE, PING, PONG, TEXT, coded, frame, outcome

SEED = int(os.environ.get('FUZZ_SEED', '6455'))
STREAMS = 5000          # of each of the eight seeds
TEXTS = ('', 'a', 'Hello', 'ä€😀', '{"a": 1}', 'x' * 124, 'x' * 126, 'é' * 300)
DEFLATES = (None, {}, {'server_no_context_takeover': '', 'client_no_context_takeover': ''}, {'client_max_window_bits': '9', 'server_max_window_bits': '10'})
CODES = {None, 1002, 1007, 1009}


def cut(chance, data):
    """`data` in up to five pieces."""
    places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(5)))
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)])]


def stream(chance, server, deflate):
    """(bytes, events) of a peer that keeps the rules; `server` is the side that reads."""
    data, events = b'', []
    side = 'client' if server else 'server'
    bits = int((deflate or {}).get(f'{side}_max_window_bits', 15))
    compressor = None
    for _ in range(chance.randrange(1, 7)):
        text = chance.choice(TEXTS)
        first, payload = (TEXT, text.encode()) if chance.random() < 0.5 else (BINARY, chance.randbytes(chance.choice((0, 3, 64, 130, 400))))
        events_of_it = [(first, text if first == TEXT else payload)]
        if deflate is not None and chance.random() < 0.6:
            if compressor is None or f'{side}_no_context_takeover' in deflate:
                compressor = zlib.compressobj(chance.choice((0, 1, 9)), zlib.DEFLATED, -bits)
            payload = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4] or b'\0'
            first |= 0x40
        pieces = cut(chance, payload) if chance.random() < 0.5 else [payload]
        for at, piece in enumerate(pieces):
            if chance.random() < 0.2:
                opcode = chance.choice((PING, PONG))
                data += made(chance, 0x80 | opcode, text.encode()[:125], server)
                events.append((opcode, text.encode()[:125]))
            data += made(chance, (first if at == 0 else 0) | 0x80 * (at == len(pieces) - 1), piece, server)
        events += events_of_it
    if chance.random() < 0.2:
        data += made(chance, 0x88, b'\x03\xe8bye', server)
        events.append((CLOSE, 1000, 'bye'))
    return data, events


def made(chance, first, payload, server):
    return frame(first, payload, chance.randbytes(4) if server else None)


def damaged(chance, data):
    """`data` with up to four bytes changed, left out or put in, or a part of it twice."""
    data = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            data[at:at + 1] = chance.randbytes(1)
        elif kind == 1 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            del data[at:at + chance.randrange(1, 5)]
        elif kind == 3:
            data[at:at] = chance.choice((b'\0', b'\xff', b'\x80', b'\x81\xfe', b'\x88\x80', chance.randbytes(3)))
        else:
            end = chance.randrange(len(data) + 1)
            data[at:at] = data[end:end + 30]
    return bytes(data)


@pytest.mark.parametrize('part', range(8))
def test_random_streams(part):
    """Undamaged they give their events; damaged, the same outcome in one read, in random reads and byte by byte."""
    print(f'FUZZ_SEED={SEED}')
    chance = random.Random(SEED * 8 + part)
    server = part % 2 == 0
    deflate = DEFLATES[part // 2]
    found = set()
    for number in range(STREAMS):
        data, events = stream(chance, server, deflate)
        options = {'server': server, 'deflate': deflate}
        if number % 4 == 0:
            assert outcome(cut(chance, data), **options)[:2] == (events, None)
        data = damaged(chance, data)
        options.update(frame=chance.choice((150, 1 << 20)), message=chance.choice((200, 1 << 20)))
        whole = coded(outcome([data], **options))
        assert coded(outcome(cut(chance, data), **options)) == whole
        if number % 8 == 0:
            assert coded(outcome([data[at:at + 1] for at in range(len(data))], **options)) == whole
        found.add(whole[1])
    assert found <= CODES and {None, 1002, 1009} <= found


def test_random_bytes():
    chance = random.Random(SEED)
    for _ in range(5000):
        data = chance.randbytes(chance.randrange(1, 60))
        for server in (True, False):
            assert coded(outcome(cut(chance, data), server=server, deflate={})) == coded(outcome([data], server=server, deflate={}))


def test_messages_of_one_side_reach_the_other():
    chance = random.Random(SEED)
    for number in range(1000):
        deflate = chance.choice(DEFLATES)
        one, other = Protocol(number % 2 == 0, deflate=deflate), Protocol(number % 2 == 1, deflate=deflate)
        for _ in range(5):
            message = chance.choice(TEXTS) if chance.random() < 0.5 else chance.randbytes(chance.randrange(300))
            pieces = cut(chance, message)
            data = b''.join([one.send(piece, last=at == len(pieces) - 1) for at, piece in enumerate(pieces)])
            received = [event for piece in cut(chance, data) for event in other.receive(piece)]
            assert received == [(TEXT if isinstance(message, str) else BINARY, message)]
