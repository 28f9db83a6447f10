"""Packets of MQTT 3.1.1 as the tests see and make them, apart from the codec under test."""

from typing import NamedTuple

TYPES = ('', 'CONNECT', 'CONNACK', 'PUBLISH', 'PUBACK', 'PUBREC', 'PUBREL', 'PUBCOMP', 'SUBSCRIBE', 'SUBACK', 'UNSUBSCRIBE',
         'UNSUBACK', 'PINGREQ', 'PINGRESP', 'DISCONNECT', '')
UP, DOWN = 'up', 'down'         # from the client, to the client


class Packet(NamedTuple):
    """A packet that was seen: on which connection (from 0), which way, and what it says."""
    connection: int
    way: str
    type: str
    flags: int
    body: bytes

    @property
    def dup(self):
        return bool(self.flags & 8)

    @property
    def qos(self):
        return self.flags >> 1 & 3

    @property
    def retain(self):
        return bool(self.flags & 1)

    @property
    def topic(self):
        size = int.from_bytes(self.body[:2])
        return self.body[2:2 + size].decode()

    @property
    def identifier(self):
        """The packet identifier, 0 where there is none."""
        if self.type == 'PUBLISH':
            at = 2 + int.from_bytes(self.body[:2])
            return int.from_bytes(self.body[at:at + 2]) if self.qos else 0
        return 0 if self.type in ('CONNECT', 'CONNACK') else int.from_bytes(self.body[:2])

    @property
    def payload(self):
        return self.body[2 + int.from_bytes(self.body[:2]) + 2 * bool(self.qos):]

    def __repr__(self):
        more = ''
        if self.type == 'PUBLISH':
            more = f' {self.topic} {self.payload[:30]!r} q{self.qos}{" dup" * self.dup}{" retain" * self.retain}'
        return f'<{self.connection} {self.way} {self.type} {self.identifier}{more}>'


def size_of(data):
    """Bytes of the first packet in `data`, 0 while that cannot be told."""
    length = 0
    for n, byte in enumerate(data[1:5]):
        length |= (byte & 127) << 7 * n
        if byte < 128:
            return 2 + n + length
    return 0


def parse(data, connection=0, way=UP):
    """A whole packet."""
    head = 2
    while data[head - 1] & 128:
        head += 1
    return Packet(connection, way, TYPES[data[0] >> 4], data[0] & 15, bytes(data[head:]))


def take(buffer, connection=0, way=UP):
    """Take the first packet out of a bytearray: (Packet, its bytes), None while it is not whole."""
    size = size_of(buffer)
    if not size or len(buffer) < size:
        return None
    data = bytes(buffer[:size])
    del buffer[:size]
    return parse(data, connection, way), data


def repeated_by_the_broker(packets):
    """The payloads of QoS 2 messages that a broker sent again after it had sent PUBREL for them, against §4.3.3.

    mosquitto 2.0.11 does that when two connections in a row end early. Each payload has to be another.
    """
    released, last, found = set(), {}, []
    for packet in packets:
        if packet.way == DOWN and packet.type == 'PUBREL':
            released.add(packet.identifier)
        elif packet.way == DOWN and packet.type == 'PUBLISH' and packet.qos == 2:
            if packet.identifier in released and last[packet.identifier] == packet.payload:
                found.append(packet.payload)
            released.discard(packet.identifier)
            last[packet.identifier] = packet.payload
    return found


# What a broker sends, and what a client does

def packet(name, body=b'', flags=None):
    """A packet by its name; `flags` as §2.2.2 says unless given."""
    kind = TYPES.index(name)
    flags = (2 if name in ('PUBREL', 'SUBSCRIBE', 'UNSUBSCRIBE') else 0) if flags is None else flags
    size, head = len(body), bytearray((kind << 4 | flags,))
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + body


def text(value):
    """A string with its length."""
    data = value.encode()
    return len(data).to_bytes(2) + data


def connack(present=False, code=0):
    return packet('CONNACK', bytes((present, code)))


def publish(topic, payload=b'', qos=0, identifier=1, dup=False, retain=False):
    return packet('PUBLISH', text(topic) + (identifier.to_bytes(2) if qos else b'') + payload, dup << 3 | qos << 1 | retain)


def reply(name, identifier, *codes):
    """PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK (with codes), UNSUBACK."""
    return packet(name, identifier.to_bytes(2) + bytes(codes))


def connect(client_id='raw', clean=True, keepalive=0, level=4, flags=0):
    return packet('CONNECT', text('MQTT') + bytes((level, clean << 1 | flags)) + keepalive.to_bytes(2) + text(client_id))


def subscribe(identifier, *filters):
    """`filters` are (filter, QoS)."""
    return packet('SUBSCRIBE', identifier.to_bytes(2) + b''.join(text(name) + bytes((qos,)) for name, qos in filters))
