"""Frames, messages, control frames and the end of a connection (RFC 6455 §5 to §8)."""

import math
import struct
import tracemalloc

import pytest

from ioto.websocket import Protocol, ProtocolError
from ioto.websocket.protocol import mask
from tests.websocket.feeding import (BINARY, CLOSE, KEY, PING, PONG, TEXT, agreed, coded, failure, frame, outcome, passes,
                                     unframed)

HELLO = frame(0x81, b'Hello')
# RFC 3629 §4: the bytes of a character.
TAILS = [(0x80, 0xbf)]
UTF8 = [[(0, 0x7f)], [(0xc2, 0xdf)] + TAILS, [(0xe0, 0xe0), (0xa0, 0xbf)] + TAILS, [(0xe1, 0xec)] + TAILS * 2,
        [(0xed, 0xed), (0x80, 0x9f)] + TAILS, [(0xee, 0xef)] + TAILS * 2, [(0xf0, 0xf0), (0x90, 0xbf)] + TAILS * 2,
        [(0xf1, 0xf3)] + TAILS * 3, [(0xf4, 0xf4), (0x80, 0x8f)] + TAILS * 2]


def begins_text(data):
    """Whether valid UTF-8 may begin with these bytes."""
    if not data:
        return True
    for character in UTF8:
        part = data[:len(character)]
        if all(low <= byte <= high for byte, (low, high) in zip(part, character)):
            return begins_text(data[len(part):])
    return False


@pytest.mark.parametrize('data, events', [
    (b'\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58', [(TEXT, 'Hello')]),
    (frame(0x81), [(TEXT, '')]), (frame(0x82), [(BINARY, b'')]),
    (frame(0x82, b'\xff\0'), [(BINARY, b'\xff\0')]), (frame(0x81, 'ä€😀\0'.encode()), [(TEXT, 'ä€😀\0')]),
    (frame(0x01, b'Hel') + frame(0x80, b'lo'), [(TEXT, 'Hello')]),
    (frame(0x02, b'a') + frame(0, b'b') + frame(0) + frame(0x80, b'c'), [(BINARY, b'abc')]),
    (frame(0x01) + frame(0x80), [(TEXT, '')]),
    (frame(0x01, b'\xe2') + frame(0, b'\x82') + frame(0x80, b'\xac'), [(TEXT, '€')]),
    (frame(0x01, b'a') + frame(0x89, b'?') + frame(0, b'b') + frame(0x8a, b'!') + frame(0x80, b'c'),
     [(PING, b'?'), (PONG, b'!'), (TEXT, 'abc')]),
    (frame(0x01, b'a') + frame(0x88, b'\x03\xe8'), [(CLOSE, 1000, '')]),
    (HELLO * 3 + frame(0x89, b'x' * 125), [(TEXT, 'Hello')] * 3 + [(PING, b'x' * 125)]),
    (HELLO[:3], []), (b'', []),
])
def test_messages(data, events):
    """The first vector and "Hello" in fragments are those of §5.7."""
    assert passes(data) == events


@pytest.mark.parametrize('length', [0, 1, 2, 3, 4, 124, 125, 126, 127, 1000, 4096, 8191, 8192, 8193, 20001, 65535, 65536, 65537])
@pytest.mark.parametrize('server', [True, False])
def test_every_form_of_length_both_ways(length, server):
    payload = bytes(at * 7 & 0xff for at in range(length))
    data = Protocol(not server).send(payload)
    assert unframed(data) == [(0x82, payload)]
    assert bool(data[1] & 128) == server
    for size in (len(data), 1000, 9001, 7):
        assert outcome([data[at:at + size] for at in range(0, len(data), size)], server=server)[0] == [(BINARY, payload)]
    assert outcome([Protocol(not server).send('x' * length)], server=server)[0] == [(TEXT, 'x' * length)]


def test_mask_is_an_exclusive_or_and_takes_any_bytes():
    for size in [*range(140), 8190, 8192, 8193, 8194, 8195, 8196, 30000]:
        data = bytes(at * 31 & 0xff for at in range(size))
        expected = bytes(byte ^ KEY[at % 4] for at, byte in enumerate(data))
        for kind in (bytes, bytearray, memoryview):
            assert mask(kind(data), KEY) == expected
            assert unframed(Protocol().send(kind(data))) == [(0x82, data)]


def test_each_frame_of_a_client_has_a_key_of_its_own():
    client = Protocol(server=False)
    keys = {client.send('Hello')[2:6] for _ in range(50)} | {client.ping(b'Hello')[2:6] for _ in range(50)}
    assert len(keys) == 100


@pytest.mark.parametrize('data', [
    *[frame(first | reserved, b'x') for first in (0x81, 0x82, 0x01, 0x80, 0x88, 0x89, 0x8a) for reserved in (0x10, 0x20, 0x40, 0x70)],
    *[frame(0x80 | opcode) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)],
    *[frame(opcode, b'\x03\xe8') for opcode in (CLOSE, PING, PONG)],
    *[frame(0x80 | opcode, b'\x03\xe8' + b'x' * 124) for opcode in (CLOSE, PING, PONG)],
    frame(0x89, b'', size=8), frame(0x80, b'x'), frame(0, b'x'),
    frame(0x81, b'x', key=None), frame(0x89, b'', key=None), frame(0x82, b'x' * 126, key=None),
    frame(0x81, b'x' * 125, size=2), frame(0x81, b'', size=2), frame(0x82, b'x' * 126, size=8), frame(0x82, b'', size=8),
    frame(0x82, length=65535, size=8), frame(0x82, length=1 << 63, size=8), frame(0x82, length=(1 << 64) - 1, size=8),
    frame(0x88, b'\x03'), *[frame(0x88, struct.pack('!H', code)) for code in (
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)],
], ids=bytes.hex)
def test_refuses_with_1002(data):
    assert failure(data) == ([], 1002)
    if data[0] != 0x80 and data[0]:
        assert failure(HELLO + frame(0x01, b'x') + frame(0x89, b'y') + data) == ([(TEXT, 'Hello'), (PING, b'y')], 1002)


@pytest.mark.parametrize('data', [frame(0x01, b'x') + frame(first, b'y') for first in (0x01, 0x02, 0x81, 0x82)])
def test_refuses_a_message_within_a_message(data):
    assert failure(data) == ([], 1002)


def test_refuses_a_masked_frame_from_a_server():
    for data in (HELLO, frame(0x8a, b'x'), frame(0x02, b'x' * 300)):
        assert failure(data, server=False) == ([], 1002)
    assert passes(frame(0x81, b'Hello', key=None) + frame(0x8a, key=None), server=False) == [(TEXT, 'Hello'), (PONG, b'')]


def test_a_fault_is_found_as_soon_as_its_byte_is_there():
    for data, needed in ((frame(0x91, b'x'), 2), (frame(0x81, b'x', key=None), 2), (frame(0x82, length=5, size=2), 4),
        (frame(0x82, length=1 << 40, size=8), 10), (frame(0x89, b'x' * 126), 2)):
        protocol = Protocol()
        for at in range(needed - 1):
            assert protocol.receive(data[at:at + 1]) == []
        with pytest.raises(ProtocolError):
            protocol.receive(data[needed - 1:needed])


@pytest.mark.parametrize('text', [
    b'\x80', b'\xbf', b'\xc0\x80', b'\xc1\xbf', b'\xe0\x80\x80', b'\xe0\x9f\xbf', b'\xed\xa0\x80', b'\xed\xbf\xbf', b'\xf0\x80\x80\x80',
    b'\xf0\x8f\xbf\xbf', b'\xf4\x90\x80\x80', b'\xf5\x80\x80\x80', b'\xf8\x88\x80\x80\x80', b'\xfe', b'\xff', b'\xc3a', b'\xe2\x82a',
    b'\xf0\x9f\x98a', b'\xe2a', b'\xf0\x9fa', b'\xed\xa0', b'\xf4\x90', b'\xe0\x80',
], ids=bytes.hex)
def test_bad_utf8_fails_with_1007_at_its_first_byte(text):
    """§8.1; in one frame, in fragments, and when the rest of a frame has yet to come. A surrogate at its third byte."""
    text = b'ok \xc3\xa4' + text + b' end'
    bad = next(at for at in range(len(text)) if not begins_text(text[:at + 1]))
    bad += text[bad - 1] == 0xed
    assert failure(frame(0x81, text)) == ([], 1007)
    fragments = frame(0x01) + b''.join(frame(0, text[at:at + 1]) for at in range(len(text)))
    assert failure(fragments) == ([], 1007)
    for pieces in ([frame(0x81, text)[:6], *[frame(0x81, text)[at:at + 1] for at in range(6, 6 + len(text))]],
                   [frame(0x01), *[frame(0, text[at:at + 1]) for at in range(len(text))]]):
        protocol = Protocol()
        for piece in pieces[:bad + 1]:
            assert protocol.receive(piece) == []
        with pytest.raises(ProtocolError) as caught:
            protocol.receive(pieces[bad + 1])
        assert caught.value.code == 1007


@pytest.mark.parametrize('text', [b'\xc3', b'\xe2\x82', b'\xf0\x9f\x98', b'ok\xe2'])
def test_a_text_must_not_end_within_a_character(text):
    assert failure(frame(0x81, text)) == ([], 1007)
    assert failure(frame(0x01, text) + frame(0x80)) == ([], 1007)
    assert passes(frame(0x01, text)) == []


def test_every_two_bytes_are_judged_as_utf8_says():
    for first in range(0x70, 256):
        for second in range(0, 256, 5):
            data = bytes((first, second))
            assert (outcome([frame(0x81, data)])[1] is None) == (begins_text(data) and begins_text(data + b'a'))
            if first != 0xed:
                assert (outcome([frame(0x01, data)])[1] is None) == begins_text(data)


def test_a_ping_is_answered_at_once_with_its_data_also_within_a_message():
    events, code, answers = agreed(frame(0x89, b'1') + frame(0x01, b'a') + frame(0x89, b'2') + frame(0x80) + frame(0x8a, b'3'))
    assert answers == [(0x8a, b'1'), (0x8a, b'2')]


@pytest.mark.parametrize('payload, code, reason', [
    (b'', 1005, ''), (b'\x03\xe8', 1000, ''), (b'\x03\xe9going', 1001, 'going'), (b'\x0b\xb8\xc3\xa4', 3000, 'ä'),
    (b'\x03\xe8' + b'x' * 123, 1000, 'x' * 123),
    *[(struct.pack('!H', code), code, '') for code in (1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3999, 4000, 4999)],
])
def test_a_close_frame_is_confirmed_once_and_nothing_is_read_after_it(payload, code, reason):
    data = frame(0x88, payload)
    assert agreed(data + HELLO + frame(0x88) + b'\xff\xff') == ([(CLOSE, code, reason)], None, [(0x88, payload)])
    protocol = Protocol()
    assert not protocol.closing and not protocol.closed
    protocol.receive(data)
    assert protocol.closing and protocol.closed
    assert protocol.close() == b''
    with pytest.raises(ConnectionError):
        protocol.send('late')


@pytest.mark.parametrize('reason', [b'\xff', b'\xc3', b'ok\xed\xa0\x80'])
def test_a_close_reason_has_to_be_utf8(reason):
    assert failure(frame(0x88, b'\x03\xe8' + reason)) == ([], 1007)


@pytest.mark.parametrize('server', [True, False])
def test_closing_first(server):
    one, other = Protocol(server), Protocol(not server)
    data = one.close(4000, 'enough ä')
    assert one.closing and not one.closed and one.close(1000) == b''
    with pytest.raises(ConnectionError):
        one.send('late')
    events = other.receive(data)
    assert events == [(CLOSE, 4000, 'enough ä')] and other.closed
    assert one.receive(other.pending) == events and one.closed and one.pending == b''


def test_messages_on_their_way_and_pings_are_still_taken_while_closing():
    protocol = Protocol()
    protocol.close()
    assert protocol.receive(HELLO + frame(0x89, b'?')) == [(TEXT, 'Hello'), (PING, b'?')]
    assert unframed(protocol.pending) == [(0x8a, b'?')]


def test_a_fault_while_closing_makes_no_second_close_frame():
    protocol = Protocol()
    protocol.close()
    with pytest.raises(ProtocolError):
        protocol.receive(frame(0x83))
    assert protocol.pending == b'' and protocol.closed
    assert protocol.receive(HELLO) == []


def test_close_makes_the_frame_that_was_asked_for():
    assert unframed(Protocol().close()) == [(0x88, b'\x03\xe8')]
    assert unframed(Protocol().close(None)) == [(0x88, b'')]
    assert unframed(Protocol(server=False).close(1001, 'x' * 123)) == [(0x88, b'\x03\xe9' + b'x' * 123)]
    for code, reason in ((999, ''), (1004, ''), (1005, ''), (1006, ''), (1015, ''), (2000, ''), (5000, ''), (70000, ''),
        (1000, 'x' * 124), (1000, 'ä' * 62)):
        protocol = Protocol()
        with pytest.raises(ValueError):
            protocol.close(code, reason)
        assert not protocol.closing


def test_pings_and_pongs_that_are_made():
    assert unframed(Protocol().ping() + Protocol().pong(b'x' * 125)) == [(0x89, b''), (0x8a, b'x' * 125)]
    with pytest.raises(ValueError):
        Protocol().ping(b'x' * 126)


def test_an_error_carries_the_events_before_it():
    protocol = Protocol()
    with pytest.raises(ProtocolError) as caught:
        protocol.receive(HELLO + frame(0x89, b'?') + b'\xff\xff' + HELLO)
    assert caught.value.events == [(TEXT, 'Hello'), (PING, b'?')]
    assert unframed(protocol.pending) == [(0x8a, b'?'), (0x88, b'\x03\xea' + caught.value.reason.encode())]
    assert 'ffff' in caught.value.reason


@pytest.mark.parametrize('data, limits, events', [
    (frame(0x82, b'x' * 101), {'frame': 100}, []), (frame(0x82, b'x' * 101), {'message': 100}, []),
    (frame(0x02, b'x' * 60) + frame(0x80, b'x' * 41), {'message': 100}, []),
    (HELLO + frame(0x01, b'x' * 100) + frame(0, b'') + frame(0x80, b'x'), {'message': 100}, [(TEXT, 'Hello')]),
    (frame(0x82, length=300, size=2), {'message': 299}, []), (frame(0x82, length=1 << 62, size=8), {}, []),
    (frame(0x02, b'x') + frame(0x80, length=1 << 20, size=8), {'frame': math.inf}, []),
], ids=str)
def test_refuses_with_1009_what_is_over_a_limit(data, limits, events):
    assert failure(data, **limits) == (events, 1009)


def test_what_is_as_long_as_the_limits_passes_and_control_frames_have_none():
    data = frame(0x82, b'x' * 100) + frame(0x89, b'x' * 125)
    assert passes(data, frame=100, message=100) == [(BINARY, b'x' * 100), (PING, b'x' * 125)]
    assert passes(frame(0x02, b'x' * 50) + frame(0, b'x' * 50) + frame(0x80), frame=50, message=100) == [(BINARY, b'x' * 100)]
    big = frame(0x82, b'x' * (1 << 21))
    assert outcome([big], frame=math.inf, message=math.inf)[0] == [(BINARY, b'x' * (1 << 21))]


def test_a_length_is_refused_before_its_payload_comes():
    protocol = Protocol()
    with pytest.raises(ProtocolError) as caught:
        protocol.receive(frame(0x82, length=1 << 40, size=8)[:10])
    assert caught.value.code == 1009


def test_fragments_of_one_byte_take_no_more_memory_than_the_message():
    protocol = Protocol(message=200_000)
    data = frame(0, b'xy') * 1000
    protocol.receive(frame(0x02))
    tracemalloc.start()
    try:
        for _ in range(90):
            protocol.receive(data)
        assert tracemalloc.get_traced_memory()[0] < 300_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('server', [True, False])
@pytest.mark.parametrize('parts', [['Hel', 'lo'], ['', ''], [b'a', b'', b'b'], ['ä€', '😀', '']])
def test_sends_in_fragments(server, parts):
    one = Protocol(server)
    data = b''.join(one.send(part, last=False) for part in parts[:-1]) + one.ping() + one.send(parts[-1]) + one.send('next')
    first = 1 if isinstance(parts[0], str) else 2
    assert [byte for byte, _ in unframed(data)] == [first] + [0] * (len(parts) - 2) + [0x89, 0x80, 0x81]
    assert passes(data, server=not server) == [(PING, b''), (first, parts[0][:0].join(parts)), (TEXT, 'next')]


def test_a_text_that_has_no_utf8_is_not_sent():
    with pytest.raises(ValueError):
        Protocol().send('\ud800')


def test_a_long_stream_in_any_reads():
    """Thousands of frames in few reads, cut across headers and payloads."""
    data = b''.join(frame(0x81, b'%d' % number * (number % 40)) for number in range(3000))
    expected = [(TEXT, str(number) * (number % 40)) for number in range(3000)]
    for size in (len(data), 65536, 4093, 61):
        assert coded(outcome([data[at:at + size] for at in range(0, len(data), size)])) == (expected, None, [])


@pytest.mark.parametrize('size', [1, 2, 5, 100, 70000])
def test_pieces_come_as_they_arrive_without_a_limit(size):
    protocol = Protocol(frame=1, message=1, pieces=True)
    payload = bytes(range(256)) * 300
    data = frame(0x02, payload) + frame(0x89, b'there?') + frame(0x80, b'end') + frame(0x82, b'next')
    events = [event for at in range(0, len(data), size) for event in protocol.receive(data[at:at + size])]
    pieces = [event[1] for event in events if event[0] == BINARY]
    assert b''.join(pieces) == payload + b'endnext' and (max(map(len, pieces)) <= size or size > 65536)
    assert (PING, b'there?') in events and protocol.pending
