"""The control packets of MQTT 3.1.1 as bytes, for both roles: client and broker.

Each kind has a function that builds it: `connect`, `connack`, `publish`, `acknowledgement` (PUBACK, PUBREC, PUBREL, PUBCOMP,
UNSUBACK), `subscribe`, `suback`, `unsubscribe`; PINGREQ_PACKET, PINGRESP_PACKET and DISCONNECT_PACKET are ready.

`Decoder.feed` takes bytes as they arrive and returns the packets that they complete, as tuples whose first item is the first
byte of the packet (its type and flags, §2.2):

    (0x30…0x3f, identifier, topic, payload)             PUBLISH; identifier 0 at QoS 0
    (PUBACK and its kin, identifier)
    (CONNACK, session present, code)                    (CONNECT, a Connect)
    (SUBSCRIBE, identifier, ((filter, qos), …))         (SUBACK, identifier, codes)
    (UNSUBSCRIBE, identifier, (filter, …))              (PINGREQ,) (PINGRESP,) (DISCONNECT,)

It is strict: what the standard forbids ends it, with the reason in `Decoder.fault`, after the packets before it. A packet over
the maximum is refused by its length, before it is buffered. A large payload that arrives in pieces is copied once, by joining them.
"""

from collections import namedtuple

from .errors import ProtocolError
from .topics import check_filter, decode_topic

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 0x10, 0x20, 0x30, 0x40, 0x50, 0x62, 0x70
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 0x82, 0x90, 0xa2, 0xb0, 0xc0, 0xd0, 0xe0
RETAIN, QOS, DUP = 1, 6, 8          # flags of PUBLISH; the QoS is shifted by one bit

NAMES = ('packet type 0 CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK PINGREQ '
         'PINGRESP DISCONNECT packet_type_15').replace(' type ', '_type_').split()
PINGREQ_PACKET, PINGRESP_PACKET, DISCONNECT_PACKET = (bytes((head, 0)) for head in (PINGREQ, PINGRESP, DISCONNECT))

MAXIMUM = 256 * 1024                # bytes of a packet that is received, unless asked for otherwise
LONGEST = 268435455                 # of what may follow the fixed header (§2.2.3)
KNOWN = 1024                        # topics that a decoder remembers,
KNOWN_SIZE = 256                    # each of up to this many bytes
PIECE = 8192                        # bytes up to which pieces that arrive are put together at once
SMALL = tuple(bytes((n,)) for n in range(128))
HEADS = tuple(bytes((n,)) for n in range(256))

Connect = namedtuple('Connect', 'client_id clean keepalive username password will', defaults=(None, None, None))
Connect.__doc__ = """What a CONNECT says. `keepalive` in seconds; `password` is bytes, as is the payload of `will`: None or
(topic, payload, qos, retain)."""


# Building

def length(size):
    """A remaining length (§2.2.3). Raises ValueError beyond 256 MB."""
    if size < 128:
        return SMALL[size]
    if size > LONGEST:
        raise ValueError(f'{size} bytes are more than a packet of MQTT can have, {LONGEST}')
    data = bytearray()
    while size > 127:
        data.append(size & 127 | 128)
        size >>= 7
    data.append(size)
    return bytes(data)


def prefixed(data):
    """A text or bytes behind its length (§1.5.3). Raises ValueError for U+0000, surrogates and what is too long."""
    if isinstance(data, str):
        if '\0' in data:
            raise ValueError(f'{data[:60]!r} has the character U+0000, which no text in MQTT may have')
        data = data.encode()
    if len(data) > 65535:
        raise ValueError(f'{len(data)} bytes are more than a field of MQTT can have, 65535')
    return len(data).to_bytes(2, 'big') + data


def _packet(head, *parts):
    return b''.join((HEADS[head], length(sum(map(len, parts))), *parts))


def connect(client_id, clean=True, keepalive=60, username=None, password=None, will=None):
    """CONNECT (§3.1); `will`: None or (topic, payload, qos, retain). Raises ValueError for what cannot be said."""
    flags = clean << 1
    parts = [prefixed(client_id)]
    if will is not None:
        topic, payload, qos, retain = will
        if qos not in (0, 1, 2) or retain not in (False, True):
            raise ValueError(f'will: expected qos 0, 1 or 2 and retain false or true, got {qos!r} and {retain!r}')
        flags |= 4 | qos << 3 | retain << 5
        parts += prefixed(topic), prefixed(payload)
    if username is not None:
        flags |= 128
        parts.append(prefixed(username))
    if password is not None:
        if username is None:
            raise ValueError('a password needs a user name (§3.1.2.9)')
        flags |= 64
        parts.append(prefixed(password))
    return _packet(CONNECT, b'\0\4MQTT\4', HEADS[flags], keepalive.to_bytes(2, 'big'), *parts)


def connack(present, code=0):
    """CONNACK (§3.2)."""
    return bytes((CONNACK, 2, present, code))


def publish(name, payload, head=PUBLISH, identifier=0):
    """PUBLISH (§3.3) of a topic as `prefixed` gives it; `head` has the flags. Raises ValueError for what is too large."""
    if head & QOS:
        size = len(name) + len(payload) + 2
        return b''.join((HEADS[head], SMALL[size] if size < 128 else length(size), name, identifier.to_bytes(2, 'big'), payload))
    size = len(name) + len(payload)
    return b''.join((HEADS[head], SMALL[size] if size < 128 else length(size), name, payload))


def acknowledgement(head, identifier):
    """PUBACK, PUBREC, PUBREL, PUBCOMP or UNSUBACK (§3.4 to §3.7, §3.11)."""
    return bytes((head, 2, identifier >> 8, identifier & 255))


def subscribe(identifier, filters):
    """SUBSCRIBE (§3.8) to pairs of filter and QoS."""
    return _packet(SUBSCRIBE, identifier.to_bytes(2, 'big'), *[prefixed(name) + HEADS[qos] for name, qos in filters])


def suback(identifier, codes):
    """SUBACK (§3.9): for each filter the QoS granted, or 0x80."""
    return _packet(SUBACK, identifier.to_bytes(2, 'big'), bytes(codes))


def unsubscribe(identifier, filters):
    """UNSUBSCRIBE (§3.10)."""
    return _packet(UNSUBSCRIBE, identifier.to_bytes(2, 'big'), *map(prefixed, filters))


# Reading

class Decoder:
    """The packets in a stream of bytes.

    server      whether they come from a client; else from a broker
    maximum     bytes of a packet; a longer one is a fault
    fault       None, or the ProtocolError that ended it: the bytes from there on are ignored
    missing     bytes that the packet under way lacks, 0 where that is not known
    """

    def __init__(self, server=False, maximum=MAXIMUM):
        self.allowed = TO_SERVER if server else TO_CLIENT
        self.maximum = maximum
        self.fault = None
        self.missing = 0
        self.pieces = []            # of a packet whose length is known
        self.rest = b''             # the beginning of a packet whose length is not
        self.topics = {}            # bytes of a topic: its text

    def feed(self, data):
        """Return the packets that these bytes complete."""
        if self.fault is not None:
            return []
        packets = []
        try:
            if self.missing:
                data = self._collect(data, packets)
            elif self.rest:
                data, self.rest = self.rest + data, b''
            if data:
                self._split(data, packets)
        except ProtocolError as error:
            self.fault, self.pieces, self.topics, self.missing = error, [], {}, 0
        return packets

    def _split(self, data, packets):
        """The packets in data; one that is not whole at its end goes to `pieces`, or to `rest`."""
        append, topics, maximum = packets.append, self.topics, self.maximum
        at, end = 0, len(data)
        while at < end - 1:
            head, size, start = data[at], data[at + 1], at + 2
            if size > 127:
                size, start = self._length(data, at, end)
                if size < 0:
                    break
            stop = start + size
            if stop - at > maximum:
                raise ProtocolError(f'a packet of {stop - at} bytes, expected at most {maximum}')
            if stop > end:
                self._check(head)
                self.pieces, self.missing = [data[at:]], stop - end
                return
            if 0x30 <= head <= 0x3f:
                begin = start + 2
                after = begin + (data[start] << 8 | data[start + 1]) if size > 1 else stop + 1
                name = data[begin:after]
                topic = topics.get(name)
                identifier = 0
                if head & 6:
                    begin, after = after, after + 2
                    if after > stop or head & 6 == 6 or not (identifier := data[begin] << 8 | data[begin + 1]):
                        self._refuse(head, data[start:stop])
                elif after > stop or head & 8:
                    self._refuse(head, data[start:stop])
                append((head, identifier, topic or self._topic(name), data[after:stop]))
            elif size == 2 and head in ACKNOWLEDGEMENTS:
                if head not in self.allowed or not (identifier := data[start] << 8 | data[start + 1]):
                    self._refuse(head, data[start:stop])
                append((head, identifier))
            else:
                self._check(head)
                append(self._other(head, data[start:stop]))
            at = stop
        self.rest = data[at:]

    def _length(self, data, at, end):
        """(size, start) of a packet whose remaining length has several bytes, (-1, 0) where they are not all there."""
        size = 0
        for n in range(1, 5):
            if at + n >= end:
                return -1, 0
            byte = data[at + n]
            size |= (byte & 127) << 7 * (n - 1)
            if byte < 128:
                return size, at + n + 1
        raise ProtocolError('a remaining length of more than four bytes (§2.2.3)')

    def _collect(self, data, packets):
        """Add to the packet under way. Returns the bytes after it."""
        pieces, missing = self.pieces, self.missing
        piece = data if len(data) <= missing else data[:missing]
        if len(pieces[-1]) + len(piece) <= PIECE:
            pieces[-1] += piece
        else:
            pieces.append(piece)
        self.missing -= len(piece)
        if self.missing:
            return b''
        self.pieces = []
        if not self._large(pieces, packets):
            self._split(b''.join(pieces), packets)
        return data[missing:]

    def _large(self, pieces, packets):
        """Whether it is a PUBLISH whose payload can be put together without the rest, which is done then."""
        first, head = pieces[0], pieces[0][0]
        if len(pieces) == 1 or head & 0xf0 != PUBLISH or len(first) < 8:
            return False
        _, start = self._length(first, 0, 5)
        after = start + 2 + (first[start] << 8 | first[start + 1]) + (2 if head & QOS else 0)
        if after > len(first):
            return False
        short = bytearray(first[:after])            # the same packet without payload, to be checked and taken apart as any
        short[1:start] = length(after - start)
        self._split(bytes(short), packets)
        pieces[0] = first[after:]
        packets[-1] = (*packets[-1][:3], b''.join(pieces))
        return True

    def _check(self, head):
        if not (0x30 <= head <= 0x3f or head in self.allowed):
            self._refuse(head, b'')

    def _refuse(self, head, body):
        """Raise what is wrong with a packet that is not as it should be."""
        name = NAMES[head >> 4]
        if name != 'PUBLISH' and head not in self.allowed:
            known = head in TO_CLIENT or head in TO_SERVER or head >> 4 in (0, 15)
            why = 'is not for this side' if known else f'has flags {head & 15:04b}'
            raise ProtocolError(f'{name.replace("_", " ")} {why} (§2.2)')
        if name == 'PUBLISH':
            if head & QOS == QOS:
                raise ProtocolError('PUBLISH with QoS 3 (§3.3.1.2)')
            if head & (QOS | DUP) == DUP:
                raise ProtocolError('PUBLISH with DUP at QoS 0 (§3.3.1.1)')
        if len(body) >= 2 and (name != 'PUBLISH' or len(body) >= 4 + (body[0] << 8 | body[1])):
            raise ProtocolError(f'{name} with packet identifier 0 (§2.3.1)')
        raise ProtocolError(f'{name} that is cut short: {bytes(body[:20])!r}')

    def _topic(self, name):
        try:
            topic = decode_topic(name)
        except ValueError as error:
            raise ProtocolError(f'PUBLISH with a {error}') from None
        if len(name) <= KNOWN_SIZE:
            if len(self.topics) >= KNOWN:
                self.topics.clear()
            self.topics[name] = topic
        return topic

    def _other(self, head, body):
        """The tuple of a packet other than PUBLISH and acknowledgements."""
        fields = _Fields(NAMES[head >> 4], body)
        found = (head, *PARSERS[head](fields))
        if fields.at != len(body):
            raise ProtocolError(f'{fields.name} with {len(body) - fields.at} bytes too many')
        return found


class _Fields:
    """The fields of a packet's body, in order."""

    def __init__(self, name, body):
        self.name, self.body, self.at = name, body, 0

    def take(self, count):
        at, self.at = self.at, self.at + count
        if self.at > len(self.body):
            raise ProtocolError(f'{self.name} that is cut short: {bytes(self.body[:20])!r}')
        return self.body[at:self.at]

    def number(self):
        return int.from_bytes(self.take(2), 'big')

    def identifier(self):
        return self.number() or self.refuse('packet identifier 0 (§2.3.1)')

    def data(self):
        return self.take(self.number())

    def text(self):
        data = self.data()
        try:
            text = str(data, 'utf-8')
        except UnicodeDecodeError:
            text = '\0'
        if '\0' in text:
            self.refuse(f'a text that is none: {bytes(data[:60])!r} (§1.5.3)')
        return text

    def filter(self):
        text = self.text()
        try:
            check_filter(text)
        except ValueError as error:
            self.refuse(f'a {error}')
        return text

    def each(self, read):
        """All that is left, by a function that reads one; §3.8.3 and §3.10.3 want at least one."""
        found = [read()]
        while self.at < len(self.body):
            found.append(read())
        return tuple(found)

    def refuse(self, why):
        raise ProtocolError(f'{self.name} with {why}')


def _connack(fields):
    flags, code = fields.take(2)
    if flags > 1 or flags and code:
        fields.refuse(f'flags {flags:08b} and code {code} (§3.2.2)')
    return bool(flags), code


def _connect(fields):
    if fields.data() != b'MQTT':
        fields.refuse('another protocol name than MQTT (§3.1.2.1)')
    level, flags = fields.take(2)
    keepalive, client_id, will = fields.number(), fields.text(), None
    qos = flags >> 3 & 3
    if level != 4:
        fields.refuse(f'protocol level {level}, expected 4 (§3.1.2.2)')
    if flags & 1 or qos == 3 or not flags & 4 and flags & 0x38 or flags & 0xc0 == 0x40:
        fields.refuse(f'flags {flags:08b} (§3.1.2.3)')
    if flags & 4:
        try:
            topic = decode_topic(fields.data())
        except ValueError as error:
            fields.refuse(f'a will with a {error}')
        will = (topic, fields.data(), qos, bool(flags & 0x20))
    return Connect(client_id, bool(flags & 2), keepalive, fields.text() if flags & 0x80 else None,
                   fields.data() if flags & 0x40 else None, will),


def _subscribe(fields):
    def pair():
        found = fields.filter(), fields.take(1)[0]
        return found if found[1] < 3 else fields.refuse(f'QoS {found[1]} (§3.8.3)')
    return fields.identifier(), fields.each(pair)


def _suback(fields):
    def code():
        found = fields.take(1)[0]
        return found if found in (0, 1, 2, 0x80) else fields.refuse(f'return code {found:#x} (§3.9.3)')
    return fields.identifier(), fields.each(code)


def _acknowledgement(fields):
    return fields.identifier(),


def _nothing(_fields):
    return ()


ACKNOWLEDGEMENTS = frozenset((PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK))
PARSERS = {
    CONNECT: _connect, CONNACK: _connack, SUBSCRIBE: _subscribe, SUBACK: _suback,
    UNSUBSCRIBE: lambda fields: (fields.identifier(), fields.each(fields.filter)),
    PINGREQ: _nothing, PINGRESP: _nothing, DISCONNECT: _nothing, **dict.fromkeys(ACKNOWLEDGEMENTS, _acknowledgement)}
TO_CLIENT = frozenset((CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, PINGRESP))
TO_SERVER = frozenset((CONNECT, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT))
