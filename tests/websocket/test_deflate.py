"""permessage-deflate: messages and their windows (RFC 7692 §6, §7.2)."""

import itertools
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib

import pytest

from ioto.websocket import Protocol, ProtocolError
from tests.websocket.feeding import BINARY, PING, TEXT, agreed, failure, frame, outcome, passes, unframed

ALONE = {'server_no_context_takeover': '', 'client_no_context_takeover': ''}
HELLO = bytes.fromhex('f248cdc9c90700')
FINAL_HELLO = bytes.fromhex('f348cdc9c9070000')
TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MEMORY = '''
import sys
sys.path.insert(0, sys.argv[1])
from ioto.websocket import Protocol, negotiate
from ioto.websocket.client import offer

def resident():
    with open('/proc/self/smaps_rollup') as file:
        return next(int(line.split()[1]) for line in file if line.startswith('Private_Dirty:'))

def connection():
    protocol = Protocol(deflate=deflate)
    protocol.receive(data)
    protocol.send('x' * 1000)
    return protocol

deflate = negotiate({name.lower(): value for name, value in offer()[0]})[2]
data = Protocol(server=False, deflate=deflate).send('x' * 1000)
kept = [connection()]
before = resident()
kept += [connection() for _ in range(200)]
print((resident() - before) / 200)
'''
TEXTS = ['{"temperature": %d, "unit": "C", "name": "sensor"}' % number for number in range(30)]


def squeezed(data, final=False):
    """The DEFLATE data of a message, as another peer makes it."""
    compressor = zlib.compressobj(9, wbits=-15)
    if final:
        return compressor.compress(data) + compressor.flush() + b'\0'
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize('data', [
    frame(0xc1, HELLO), frame(0x41, HELLO[:3]) + frame(0x80, HELLO[3:]),
    frame(0xc1, bytes.fromhex('000500faff48656c6c6f00')), frame(0xc1, FINAL_HELLO), frame(0xc1, FINAL_HELLO[:-1]),
    frame(0xc1, bytes.fromhex('f248050000 00ffffcac9c90700'.replace(' ', ''))),
    frame(0x41) + frame(0, HELLO) + frame(0x89) + frame(0x80),
    frame(0x41, FINAL_HELLO[:6]) + frame(0, FINAL_HELLO[6:]) + frame(0x80), frame(0x81, b'Hello'), frame(0x01, b'Hel') + frame(0x80, b'lo'),
])
@pytest.mark.parametrize('deflate', [{}, ALONE])
def test_the_examples_of_the_rfc(data, deflate):
    """§7.2.3: one frame, fragments, a stored block, a final block, two blocks; and a message that is not compressed."""
    twice = [event for event in passes(data * 2 + frame(0xc1, HELLO), deflate=deflate) if event[0] != PING]
    assert twice == [(TEXT, 'Hello')] * 3


def test_a_window_is_kept_unless_agreed_otherwise():
    """§7.2.3.2: the second message refers to the first."""
    data = frame(0xc1, HELLO) + frame(0xc1, bytes.fromhex('f200110000'))
    assert passes(data, deflate={}) == [(TEXT, 'Hello')] * 2
    assert passes(data, deflate={'server_no_context_takeover': ''}) == [(TEXT, 'Hello')] * 2
    assert failure(data, deflate=ALONE) == ([(TEXT, 'Hello')], 1007)


def test_an_empty_message():
    for data in (frame(0xc1, b'\0'), frame(0xc1, bytes.fromhex('0200')), frame(0x41) + frame(0x80, b'\0'), frame(0xc1, squeezed(b'', final=True))):
        assert passes(data, deflate={}) == [(TEXT, '')]


@pytest.mark.parametrize('data', [
    frame(0xc9), frame(0xc8), frame(0xca), frame(0x41, HELLO) + frame(0xc0), frame(0xa1, HELLO), frame(0xd1, HELLO), frame(0xc3)])
def test_only_the_first_frame_of_a_message_says_that_it_is_compressed(data):
    assert failure(data, deflate={}) == ([], 1002)


def test_refuses_a_compressed_message_that_was_not_agreed():
    assert failure(frame(0xc1, HELLO)) == ([], 1002)


@pytest.mark.parametrize('payload', [b'\xff\xff\xff', b'\x06', b'\x07abc', bytes.fromhex('000500faf048656c6c6f00'), FINAL_HELLO + b'x',
    FINAL_HELLO + b'\0', FINAL_HELLO[:-1] + b'\1', FINAL_HELLO[:-1] * 2, squeezed(b'\xff'), squeezed('ä'.encode()[:1])])
def test_refuses_with_1007_what_does_not_inflate_to_text(payload):
    assert failure(frame(0xc1, payload), deflate={}) == ([], 1007)
    assert failure(frame(0x41, payload) + frame(0x80), deflate={}) == ([], 1007)


@pytest.mark.parametrize('final', [False, True])
@pytest.mark.parametrize('size', [99, 100, 101, 102, 1000, 100_000])
def test_the_limit_of_a_message_is_that_of_its_inflated_bytes(size, final):
    data = frame(0xc2, squeezed(b'x' * size, final))
    if size > 100:
        assert failure(data, deflate={}, message=100) == ([], 1009)
        assert failure(frame(0x42) + frame(0, squeezed(b'x' * size, final)), deflate={}, message=100) == ([], 1009)
    else:
        assert passes(data, deflate={}, message=100) == [(BINARY, b'x' * size)]


def test_bad_text_before_the_limit_is_bad_text_and_after_it_is_too_long():
    for bad, code in ((50, 1007), (99, 1007), (100, 1007), (101, 1009), (150, 1009)):
        text = b'x' * bad + b'\xff' + b'x' * 200
        assert failure(frame(0xc1, squeezed(text)), deflate={}, message=100) == ([], code)


def test_what_follows_a_final_block_does_not_matter_when_the_limit_is_passed():
    for size in (101, 102, 5000):
        assert failure(frame(0xc2, squeezed(os.urandom(size), final=True) + b'junk'), deflate={}, message=100) == ([], 1009)


def test_the_limit_of_a_frame_is_that_of_its_compressed_bytes():
    assert failure(frame(0xc2, squeezed(os.urandom(200))), deflate={}, frame=100) == ([], 1009)
    assert passes(frame(0xc2, squeezed(b'x' * 500)), deflate={}, frame=100) == [(BINARY, b'x' * 500)]


def test_a_bomb_is_refused_while_inflating():
    bomb = zlib.compressobj(9, wbits=-15)
    data = frame(0xc2, bomb.compress(bytes(200 << 20)) + bomb.flush(zlib.Z_SYNC_FLUSH)[:-4])
    assert len(data) < 1 << 20
    protocol = Protocol(deflate={})
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError) as caught:
            protocol.receive(data)
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.code == 1009


def agreements():
    for server, client in itertools.product((None, '9', '12', '15'), repeat=2):
        for flags in ({}, {'server_no_context_takeover': ''}, {'client_no_context_takeover': ''}, ALONE):
            windows = {'server_max_window_bits': server, 'client_max_window_bits': client}
            yield {**flags, **{name: bits for name, bits in windows.items() if bits}}


@pytest.mark.parametrize('deflate', list(agreements()), ids=str)
@pytest.mark.parametrize('server', [True, False])
def test_both_sides_understand_each_other_whatever_was_agreed(deflate, server):
    one, other = Protocol(server, deflate=deflate), Protocol(not server, deflate=deflate)
    noise = os.urandom(3000)
    for message in [*TEXTS, '', b'', noise, noise, b'x' * 70_000, 'ä' * 40_000]:
        kind = TEXT if isinstance(message, str) else BINARY
        assert other.receive(one.send(message)) == [(kind, message)]
        data = one.send(message[:10], last=False) + one.send(message[10:20], last=False) + one.send(message[20:])
        assert other.receive(data) == [(kind, message)]


@pytest.mark.parametrize('side, server', [('server', True), ('client', False)])
@pytest.mark.parametrize('bits', ['9', '10', '11', '12', '15', None])
def test_what_is_sent_needs_no_larger_window_than_agreed(side, server, bits):
    """An inflater of that window reads it."""
    deflate = {f'{side}_max_window_bits': bits} if bits else {}
    protocol = Protocol(server, deflate=deflate)
    inflater = zlib.decompressobj(-int(bits or 12))
    noise = os.urandom(700)
    for number in range(30):
        message = noise[number * 10:] + bytes(number) + noise * (number % 5)
        (first, payload), = unframed(protocol.send(message))
        assert first == 0xc2
        assert inflater.decompress(payload + b'\0\0\xff\xff') == message


def test_a_window_that_is_not_kept_makes_each_message_stand_alone():
    for deflate, same in ((ALONE, True), ({'server_no_context_takeover': ''}, True), ({}, False), ({'client_no_context_takeover': ''}, False)):
        protocol = Protocol(deflate=deflate)
        assert (protocol.send(TEXTS[0]) == protocol.send(TEXTS[0])) == same


@pytest.mark.parametrize('deflate', [{}, ALONE])
def test_a_fragment_with_nothing_to_flush(deflate):
    """A compressed message is not empty (§7.2.3.6)."""
    one, other = Protocol(deflate=deflate), Protocol(server=False, deflate=deflate)
    data = one.send('abc', last=False) + one.send('', last=False) + one.send('') + one.send('') + one.send('abc')
    assert all(payload for first, payload in unframed(data) if first & 0x80)
    assert other.receive(data) == [(TEXT, 'abc'), (TEXT, ''), (TEXT, 'abc')]


def test_control_frames_are_not_compressed():
    protocol = Protocol(deflate={})
    data = protocol.send('a', last=False) + protocol.ping(b'x' * 100) + protocol.send('b') + protocol.close(1000, 'y')
    assert [first for first, _ in unframed(data)] == [0x41, 0x89, 0x80, 0x88]
    assert unframed(data)[1][1] == b'x' * 100 and unframed(data)[3][1] == b'\x03\xe8y'


def test_a_connection_with_windows_takes_little_memory():
    """The budget of the board; zlib's own windows take 300 KB. In a child, as its memory is its own."""
    done = subprocess.run([sys.executable, '-I', '-c', MEMORY, TREE], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 64


def test_agreed_whatever_the_cut_of_a_mixed_stream():
    protocol = Protocol(server=False, deflate={})
    data = b''.join([protocol.send(TEXTS[0]), protocol.ping(b'?'), protocol.send(b'\0' * 3000, last=False), protocol.ping(b'!'),
                     protocol.send(os.urandom(40)), protocol.send(TEXTS[1])])
    events, code, answers = agreed(data, deflate={})
    assert code is None and [event[0] for event in events] == [TEXT, PING, PING, BINARY, TEXT]
    assert answers == [(0x8a, b'?'), (0x8a, b'!')] and events[0] == (TEXT, TEXTS[0])


def test_an_inflated_error_still_closes_with_its_code():
    _, code, answers = outcome([frame(0xc1, b'\xff')], deflate={})
    assert code == 1007 and answers[0][1][:2] == struct.pack('!H', 1007)
