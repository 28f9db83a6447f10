"""The codec: every packet both ways, what is refused and why, bytes however they come."""

import os
import random

import pytest

from ioto.mqtt import packet
from ioto.mqtt.errors import ProtocolError
from ioto.mqtt.packet import Connect, Decoder, prefixed

SEED = int(os.environ.get('SEED', random.randrange(1 << 32)))
BIG = bytes(range(256)) * 1000


def topic(text):
    return prefixed(text)


# (packet, from a client?, what it is taken apart into)
PACKETS = {
    'CONNECT': (packet.connect('me'), True, (packet.CONNECT, Connect('me', True, 60))),
    'CONNECT of all fields': (
        packet.connect('mé', False, 65535, 'user', b'\0\xff', (b'a/will', b'gone', 2, True)), True,
        (packet.CONNECT, Connect('mé', False, 65535, 'user', b'\0\xff', ('a/will', b'gone', 2, True)))),
    'CONNECT with an empty will and name': (
        packet.connect('', True, 0, '', None, ('w', b'', 0, False)), True,
        (packet.CONNECT, Connect('', True, 0, '', None, ('w', b'', 0, False)))),
    'CONNACK': (packet.connack(False), False, (packet.CONNACK, False, 0)),
    'CONNACK with a session': (packet.connack(True), False, (packet.CONNACK, True, 0)),
    'CONNACK that refuses': (packet.connack(False, 5), False, (packet.CONNACK, False, 5)),
    'PUBLISH': (packet.publish(topic('a/b'), b'hello'), None, (0x30, 0, 'a/b', b'hello')),
    'PUBLISH without payload': (packet.publish(topic('a'), b''), None, (0x30, 0, 'a', b'')),
    'PUBLISH retained': (packet.publish(topic('a/b'), b'x', 0x31), None, (0x31, 0, 'a/b', b'x')),
    'PUBLISH QoS 1': (packet.publish(topic('é€😀'), b'x', 0x32, 1), None, (0x32, 1, 'é€😀', b'x')),
    'PUBLISH QoS 2 again': (packet.publish(topic('/'), b'\0', 0x3d, 65535), None, (0x3d, 65535, '/', b'\0')),
    'PUBLISH QoS 1 without payload': (packet.publish(topic('a'), b'', 0x32, 9), None, (0x32, 9, 'a', b'')),
    'PUBLISH of 127 bytes': (packet.publish(topic('a'), bytes(122)), None, (0x30, 0, 'a', bytes(122))),
    'PUBLISH of 128 bytes': (packet.publish(topic('a'), bytes(125)), None, (0x30, 0, 'a', bytes(125))),
    'PUBLISH large': (packet.publish(topic('a/b'), BIG, 0x34, 258), None, (0x34, 258, 'a/b', BIG)),
    'PUBLISH with a long topic': (packet.publish(topic('t' * 65535), b'x'), None, (0x30, 0, 't' * 65535, b'x')),
    'PUBACK': (packet.acknowledgement(packet.PUBACK, 258), None, (packet.PUBACK, 258)),
    'PUBREC': (packet.acknowledgement(packet.PUBREC, 1), None, (packet.PUBREC, 1)),
    'PUBREL': (packet.acknowledgement(packet.PUBREL, 65535), None, (packet.PUBREL, 65535)),
    'PUBCOMP': (packet.acknowledgement(packet.PUBCOMP, 256), None, (packet.PUBCOMP, 256)),
    'SUBSCRIBE': (packet.subscribe(7, [('a/+', 1), ('#', 2)]), True, (packet.SUBSCRIBE, 7, (('a/+', 1), ('#', 2)))),
    'SUBACK': (packet.suback(7, [0, 1, 2, 0x80]), False, (packet.SUBACK, 7, (0, 1, 2, 0x80))),
    'SUBACK of one': (packet.suback(7, [2]), False, (packet.SUBACK, 7, (2,))),
    'UNSUBSCRIBE': (packet.unsubscribe(8, ['a/+', '#']), True, (packet.UNSUBSCRIBE, 8, ('a/+', '#'))),
    'UNSUBACK': (packet.acknowledgement(packet.UNSUBACK, 8), False, (packet.UNSUBACK, 8)),
    'PINGREQ': (packet.PINGREQ_PACKET, True, (packet.PINGREQ,)),
    'PINGRESP': (packet.PINGRESP_PACKET, False, (packet.PINGRESP,)),
    'DISCONNECT': (packet.DISCONNECT_PACKET, True, (packet.DISCONNECT,)),
}
OURS, THEIRS = ([name for name, (_, side, _) in PACKETS.items() if side in (wanted, None)] for wanted in (False, True))


def stream(server):
    """All packets that one side may send, one after the other, and what they are."""
    names = THEIRS if server else OURS
    return b''.join(PACKETS[name][0] for name in names), [PACKETS[name][2] for name in names]


@pytest.mark.parametrize('name', PACKETS)
def test_takes_apart_what_is_built(name):
    data, side, found = PACKETS[name]
    for server in (False, True):
        decoder = Decoder(server)
        if side in (server, None):
            assert decoder.feed(data) == [found]
            assert decoder.fault is None
        else:
            assert decoder.feed(data) == []
            assert 'is not for this side' in str(decoder.fault)


@pytest.mark.parametrize('data, packets', [
    (b'\x10\x10\0\4MQTT\4\2\0\x3c\0\4abcd', (packet.CONNECT, Connect('abcd', True, 60))),        # §3.1
    (b'\x30\x07\0\3a/bhi', (0x30, 0, 'a/b', b'hi')),
    (b'\x3b\x09\0\3a/b\0\x0ahi', (0x3b, 10, 'a/b', b'hi')),
    (b'\x82\x09\0\x0a\0\4a/b/\1', (packet.SUBSCRIBE, 10, (('a/b/', 1),))),
    (b'\xe0\0', (packet.DISCONNECT,)),
])
def test_bytes_are_those_of_the_standard(data, packets):
    assert Decoder(True).feed(data) == [packets]


@pytest.mark.parametrize('size, data', [
    (0, '00'), (127, '7f'), (128, '8001'), (16383, 'ff7f'), (16384, '808001'), (2097151, 'ffff7f'), (2097152, '80808001'),
    (268435455, 'ffffff7f')])
def test_remaining_lengths(size, data):
    assert packet.length(size).hex() == data


@pytest.mark.parametrize('build', [
    lambda: packet.length(268435456), lambda: prefixed('a\0b'), lambda: prefixed('\ud800'), lambda: prefixed('x' * 65536),
    lambda: packet.connect('x', password=b'word without name')])
def test_builds_nothing_that_the_standard_forbids(build):
    with pytest.raises(ValueError):
        build()


def connect_with(old, new):
    data = packet.connect('me', True, 60, 'user', b'word', (b'w', b'x', 1, True))
    assert data.count(old) == 1
    return data.replace(old, new)


FLAGS = b'MQTT\4\xee'       # what `connect_with` has: user name, password, will retained at QoS 1, clean session
TO_BOTH = {
    'type 0': (b'\0\0', 'packet type 0'),
    'type 15': (b'\xf0\0', 'packet type 15'),
    'PUBACK with flags': (b'\x42\2\0\1', 'PUBACK has flags 0010'),
    'PUBREL without its flags': (b'\x60\2\0\1', 'PUBREL has flags 0000'),
    'PUBREC of identifier 0': (b'\x50\2\0\0', 'PUBREC with packet identifier 0'),
    'PUBCOMP cut short': (b'\x70\1\0', 'PUBCOMP that is cut short'),
    'PUBACK too long': (b'\x40\3\0\1\0', 'PUBACK with 1 bytes too many'),
    'length of five bytes': (b'\x30\x80\x80\x80\x80\1', 'four bytes'),
    'PUBLISH with QoS 3': (b'\x36\x06\0\1a\0\1x', 'QoS 3'),
    'PUBLISH with DUP at QoS 0': (b'\x38\4\0\1ax', 'DUP at QoS 0'),
    'PUBLISH with identifier 0': (b'\x32\6\0\1a\0\0x', 'identifier 0'),
    'PUBLISH without topic length': (b'\x30\1\0', 'cut short'),
    'PUBLISH without body': (b'\x30\0', 'cut short'),
    'PUBLISH with the topic cut short': (b'\x30\4\0\3aa\x30\3\0\1a', 'cut short'),
    'PUBLISH with the identifier cut short': (b'\x32\4\0\1a\0\x30\3\0\1a', 'cut short'),
    'PUBLISH to no topic': (b'\x30\2\0\0', 'it is empty'),
    'PUBLISH to #': (b'\x30\3\0\1#', 'wildcard'),
    'PUBLISH to a/+': (b'\x30\5\0\3a/+', 'wildcard'),
    'PUBLISH to U+0000': (b'\x30\5\0\3a\0b', 'U+0000'),
    'PUBLISH to ill-formed UTF-8': (b'\x30\4\0\2\xc3\x28', 'UTF-8'),
    'PUBLISH to a surrogate': (b'\x30\5\0\3\xed\xa0\x80', 'UTF-8'),
    'PUBLISH to an overlong form': (b'\x30\4\0\2\xc0\xaf', 'UTF-8'),
}
TO_CLIENT = {
    'CONNECT from a broker': (packet.connect('x'), 'CONNECT is not for this side'),
    'CONNACK with flags': (b'\x21\2\0\0', 'CONNACK has flags 0001'),
    'CONNACK too short': (b'\x20\1\0', 'CONNACK that is cut short'),
    'CONNACK with reserved bits': (b'\x20\2\2\0', 'CONNACK with flags'),
    'CONNACK that refuses a session': (b'\x20\2\1\5', 'CONNACK with flags'),
    'SUBACK without codes': (b'\x90\2\0\1', 'cut short'),
    'SUBACK with code 3': (b'\x90\3\0\1\3', 'code 0x3'),
    'SUBACK with identifier 0': (b'\x90\3\0\0\0', 'identifier 0'),
    'UNSUBACK with identifier 0': (b'\xb0\2\0\0', 'identifier 0'),
    'PINGRESP with a body': (b'\xd0\1\0', 'too many'),
    'PINGREQ from a broker': (b'\xc0\0', 'not for this side'),
}
TO_SERVER = {
    'CONNACK from a client': (packet.connack(False), 'not for this side'),
    'another protocol': (connect_with(b'MQTT', b'MQTs'), 'protocol name'),
    'protocol level 5': (connect_with(FLAGS, b'MQTT\5\xee'), 'level 5'),
    'reserved flag of CONNECT': (connect_with(FLAGS, b'MQTT\4\xef'), 'flags 11101111'),
    'will of QoS 3': (connect_with(FLAGS, b'MQTT\4\xfe'), 'flags'),
    'will flags without will': (connect_with(FLAGS, b'MQTT\4\xea'), 'flags'),
    'password without user name': (connect_with(FLAGS, b'MQTT\4\x6e'), 'flags'),
    'CONNECT too long': (connect_with(FLAGS, b'MQTT\4\xae'), 'too many'),
    'CONNECT cut short': (b'\x10\4\0\4MQ', 'cut short'),
    'client identifier with U+0000': (connect_with(b'\0\2me', b'\0\2m\0'), 'text'),
    'user name of ill-formed UTF-8': (connect_with(b'user', b'us\xc3\x28'), 'text'),
    'will topic with a wildcard': (connect_with(b'\0\1w', b'\0\1#'), 'wildcard'),
    'SUBSCRIBE with the flags of PUBLISH': (b'\x80\6\0\1\0\1a\0', 'SUBSCRIBE has flags 0000'),
    'SUBSCRIBE to nothing': (b'\x82\2\0\1', 'cut short'),
    'SUBSCRIBE with QoS 3': (b'\x82\6\0\1\0\1a\3', 'QoS 3'),
    'SUBSCRIBE to a#': (b'\x82\7\0\1\0\2a#\0', 'bad topic filter'),
    'SUBSCRIBE without QoS': (b'\x82\5\0\1\0\1a', 'cut short'),
    'SUBSCRIBE with identifier 0': (b'\x82\6\0\0\0\1a\0', 'identifier 0'),
    'UNSUBSCRIBE from nothing': (b'\xa2\2\0\1', 'cut short'),
    'UNSUBSCRIBE without its flags': (b'\xa0\5\0\1\0\1a', 'UNSUBSCRIBE has flags 0000'),
    'DISCONNECT with a body': (b'\xe0\1\0', 'too many'),
    'PINGREQ with flags': (b'\xc1\0', 'PINGREQ has flags 0001'),
}
MALFORMED = [(name, server, *case) for cases, sides in ((TO_BOTH, (False, True)), (TO_CLIENT, (False,)), (TO_SERVER, (True,)))
             for name, case in cases.items() for server in sides]


@pytest.mark.parametrize('name, server, data, why', MALFORMED, ids=[f'{row[0]}, {row[1]}' for row in MALFORMED])
def test_refuses(name, server, data, why):
    good = packet.publish(topic('a'), b'before')
    decoder = Decoder(server)
    assert decoder.feed(good + data + good) == [(0x30, 0, 'a', b'before')]
    assert isinstance(decoder.fault, ProtocolError) and why in str(decoder.fault)
    assert decoder.feed(good) == []                         # after a fault nothing counts

    slow = Decoder(server)
    for byte in good + data + good:
        slow.feed(bytes((byte,)))
    assert type(slow.fault) is ProtocolError and why in str(slow.fault)


def test_a_packet_over_the_maximum_is_refused_before_it_is_buffered():
    data = packet.publish(topic('a'), bytes(100))
    assert len(Decoder(maximum=len(data)).feed(data)) == 1
    decoder = Decoder(maximum=len(data) - 1)
    decoder.feed(data[:2])
    assert str(decoder.fault) == f'a packet of {len(data)} bytes, expected at most {len(data) - 1}'
    huge = Decoder()
    huge.feed(b'\x30\xff\xff\xff\x7f')
    assert '268435460 bytes' in str(huge.fault)


def test_a_packet_that_is_not_for_this_side_is_refused_before_it_is_whole():
    decoder = Decoder()
    decoder.feed(b'\x10\x7f\0')
    assert 'CONNECT is not for this side' in str(decoder.fault)


@pytest.mark.parametrize('server', [False, True])
@pytest.mark.parametrize('size', [1, 2, 3, 5, 7, 64, 1000, 8192, 8193, 20000, 65536, 1 << 20])
def test_bytes_may_come_in_pieces_of_any_size(server, size):
    data, expected = stream(server)
    decoder, found = Decoder(server, 1 << 20), []
    for at in range(0, len(data), size):
        found += decoder.feed(data[at:at + size])
    assert decoder.fault is None and decoder.missing == 0
    assert found == expected


@pytest.mark.parametrize('server', [False, True])
def test_bytes_may_be_split_everywhere(server):
    names = [name for name in (THEIRS if server else OURS) if len(PACKETS[name][0]) < 200]
    data, expected = b''.join(PACKETS[name][0] for name in names), [PACKETS[name][2] for name in names]
    for first in range(len(data) + 1):
        decoder = Decoder(server)
        assert decoder.feed(data[:first]) + decoder.feed(data[first:]) == expected
        assert decoder.fault is None


def test_missing_is_what_the_packet_under_way_lacks():
    data = packet.publish(topic('a/b'), bytes(100000))
    decoder = Decoder()
    for at, size in ((0, 3), (3, 1000), (1003, 50000)):
        assert decoder.feed(data[at:at + size]) == []
    assert decoder.missing == len(data) - 51003
    assert decoder.feed(data[51003:])[0][3] == bytes(100000)


def test_a_large_payload_that_comes_in_pieces_is_copied_once(monkeypatch):
    """Apart from its first piece: what is joined is the payload alone."""
    payload = os.urandom(200000)
    data = packet.publish(topic('a/b'), payload, 0x32, 7)
    decoder, split = Decoder(), []
    monkeypatch.setattr(decoder, '_split', lambda data, packets: split.append(len(data)) or Decoder._split(decoder, data, packets))
    for at in range(0, len(data), 16384):
        found = decoder.feed(data[at:at + 16384])
    assert found == [(0x32, 7, 'a/b', payload)] and type(found[0][3]) is bytes
    assert sum(split) < 17000


def test_topics_that_are_remembered_are_bounded():
    decoder = Decoder()
    for n in range(5000):
        decoder.feed(packet.publish(topic(f'topic/{n}'), b''))
        decoder.feed(packet.publish(topic(f'{n}' * 300), b''))
    assert len(decoder.topics) <= packet.KNOWN
    assert max(map(len, decoder.topics)) <= packet.KNOWN_SIZE


def test_many_tiny_pieces_take_no_more_memory_than_the_packet():
    decoder = Decoder()
    data = packet.publish(topic('a'), bytes(100000))
    for at in range(len(data) - 1):
        decoder.feed(data[at:at + 1])
    assert len(decoder.pieces) <= len(data) // (packet.PIECE // 2) + 1


def test_random_mutations_are_taken_apart_alike_however_they_come():
    """Whatever arrives: packets or a fault, never another exception, and the same whole as in pieces."""
    print(f'SEED={SEED}')
    dice = random.Random(SEED)
    for server in (False, True):
        names = [name for name in (THEIRS if server else OURS) if len(PACKETS[name][0]) < 200]
        for _ in range(3000):
            data = bytearray(b''.join(PACKETS[name][0] for name in dice.choices(names, k=dice.randrange(1, 5))))
            for _ in range(dice.randrange(4)):
                at = dice.randrange(len(data))
                change = dice.randrange(3)
                if change == 0:
                    data[at] = dice.randrange(256)
                elif change == 1:
                    data[at] ^= 1 << dice.randrange(8)
                elif len(data) > 1:
                    del data[at]
            data = bytes(data)
            whole, pieces, found = Decoder(server), Decoder(server), []
            expected = whole.feed(data)
            at = 0
            while at < len(data):
                size = dice.choice((1, 2, 3, 10, 50))
                found += pieces.feed(data[at:at + size])
                at += size
            assert found == expected, data.hex()
            assert str(whole.fault) == str(pieces.fault), data.hex()
