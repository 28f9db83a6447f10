"""The state of a session (MQTT 3.1.1 §3.1.2.4, §4.3, §4.4, §4.6) without socket, clock or fiber.

Out: a message is given its packet identifier and its place in line by `add`. `leaving` takes from the line those that may be
sent: in order, at most `inflight` of QoS 1 and 2 at a time. `acknowledged` moves them on:

    QoS 1   sent --PUBACK--> done
    QoS 2   sent --PUBREC--> released (PUBREL answered) --PUBCOMP--> done

What fits no state changes nothing and is counted. `resume`, at each new connection, gives what is to be sent again: in the old
order PUBLISH with DUP of what was sent, and PUBREL, never PUBLISH, of what was released.

In: `arrived` says whether a message is to be handled, `settle` that it was. PUBACK and PUBREC are made in the order of arrival,
so one that is still being handled holds up those behind it. A QoS 2 identifier is remembered from `settle` to PUBREL.

`output` has the packets that this makes, for the client to send. With a store no packet leaves before what it says is committed,
which a SIGKILL does not undo. Some wait until a power cut does not either (`change` counts what was stored, `durable` says up to
where), for the store may then be as it was up to `sync` seconds ago, but never has a later change without an earlier one:

    leaves                  waits for        for else, after a power cut,
    PUBLISH, QoS 1          put, committed   (it may be forgotten: who publishes waits for 'ack' to know better)
    PUBLISH, QoS 2          put, on disk     another message could take the identifier, and the broker drop it as a repetition
    PUBREL                  release, disk    PUBLISH would be sent again, of a message that the broker has passed on
    (PUBACK, PUBCOMP came)  nothing          PUBLISH of QoS 1, or PUBREL, is sent again; both are allowed
    PUBACK                  handler          (nothing is stored)
    PUBREC                  receive, commit  the message comes again, if PUBREC was lost too; so it is forced to the disk at once
    PUBCOMP                 complete, disk   another message could come with the identifier, and be taken for a repetition
    (CONNACK: no session)   nothing          as for PUBCOMP; so what it clears is forced to the disk at once
"""

from collections import deque

from .packet import (DUP, HEADS, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, RETAIN, acknowledgement, prefixed,
                     publish)


class Outgoing:
    """A message to be sent. `packet` is its PUBLISH, None once the broker has it; `order` its place, `size` its bytes."""

    __slots__ = ('order', 'identifier', 'qos', 'packet', 'size', 'change')

    def __init__(self, packet, qos, identifier=0):
        self.packet, self.qos, self.identifier = packet, qos, identifier
        self.size = len(packet)
        self.change = self.order = 0


class Message:
    """A message that was received: `.topic` (str), `.payload` (bytes), `.qos` it came with, `.retain` whether the broker had
    it before we subscribed, `.dup` whether the broker may have sent it before."""

    __slots__ = ('topic', 'payload', 'qos', 'retain', 'dup', 'identifier', 'connection', 'answer', 'holders', 'failed')

    def __init__(self, head, identifier, topic, payload):
        self.topic = topic
        self.payload = payload
        self.identifier = identifier
        self.qos = head >> 1 & 3
        self.retain = head & 1 == 1
        self.dup = head & 8 == 8
        self.holders = 0                    # subscriptions that have not handled it yet
        self.failed = False                 # one of them could not

    @property
    def size(self):
        """Characters of the topic and bytes of the payload."""
        return len(self.topic) + len(self.payload)

    def __repr__(self):
        return f'<Message {self.topic!r} {len(self.payload)} bytes, QoS {self.qos}>'


class Session:
    """See the head of this module. `inflight`: the window; `store`: see store.py; `make(packet, qos, identifier)` an Outgoing."""

    def __init__(self, inflight=20, store=None, make=Outgoing):
        self.inflight, self.store = inflight, store
        self.line = deque()         # Outgoing to be sent
        self.flying = {}            # identifier: Outgoing that was sent and is not done, in order
        self.used = set()           # identifiers that are taken, those of SUBSCRIBE and UNSUBSCRIBE too
        self.last = 0               # identifier given last
        self.order = 0
        self.size = 0               # bytes of what is in line and flying
        self.zeros = 0              # QoS 0 messages in line
        self.change, self.durable = 0, 0 if store else float('inf')
        self.urgent = 0             # the change that is to be on the disk soon, though nothing waits for it
        self.waiting = {}           # PUBREL or PUBCOMP packet that waits for the disk: for which change
        self.output = bytearray()   # packets to send
        self.held = deque()         # for each message in the order of arrival [acknowledgement, b'' for none, None for not yet]
        self.pending = {}           # identifier: QoS 2 Message that is being handled
        self.received = set()       # identifiers of QoS 2 messages that were handled, until PUBREL
        self.connection = 0         # counts connections
        self.unexpected = 0         # acknowledgements that fit nothing
        if store:
            self._restore(make)

    def _restore(self, make):
        entries, self.store.entries = self.store.entries, None
        self.received |= self.store.received
        for order, identifier, qos, retain, released, topic, payload in entries:
            head = PUBLISH | qos << 1 | (RETAIN if retain else 0)
            message = make(publish(prefixed(topic), payload, head, identifier), qos, identifier)
            message.order = self.order = order
            self.size += message.size
            if qos:
                self.used.add(identifier)
                self.last = identifier
            if released:
                message.packet = None
            if released or qos and not self.line and len(self.flying) < self.inflight:
                self.flying[identifier] = message
            else:
                self.zeros += not qos
                self.line.append(message)

    def __len__(self):
        return len(self.line) + len(self.flying)

    # Out

    def identifier(self):
        """Take an identifier that nobody has, never 0 (§2.3.1)."""
        found, used = self.last, self.used
        while True:
            found = found % 65535 + 1
            if found not in used:
                break
        self.last = found
        used.add(found)
        return found

    def add(self, message, retain=False, topic=None, payload=None):
        """Put a message into the line, and into the store if there is one. The packet has its identifier already."""
        self.order += 1
        message.order = self.order
        if self.store:
            self.store.put(self.order, message.identifier, message.qos, retain, topic, payload)
            self.change += 1
            message.change = self.change
        self.size += message.size
        self.zeros += not message.qos
        self.line.append(message)

    def leaving(self):
        """Take out of the line what may be sent, and return it."""
        line, flying, found = self.line, self.flying, []
        staged = self.store.messages if self.store else None
        while line:
            message = line[0]
            if staged and message.order in staged:
                break
            if message.qos:
                if len(flying) >= self.inflight or message.qos == 2 and message.change > self.durable:
                    break
                flying[message.identifier] = message
            else:
                self.zeros -= 1
                self._forget(message)
            found.append(line.popleft())
        return found

    def drop(self):
        """Take the oldest QoS 0 message out of the line and return it; None where there is none."""
        message = next((message for message in self.line if not message.qos), None) if self.zeros else None
        if message is not None:
            self.withdraw(message)
        return message

    def withdraw(self, message):
        """Take a message out of the line again."""
        self.line.remove(message)
        self.zeros -= not message.qos
        self._forget(message)

    def _forget(self, message):
        self.size -= message.size
        self.used.discard(message.identifier)
        if self.store:
            self.store.forget(message.order)

    def acknowledged(self, head, identifier):
        """A PUBACK, PUBREC or PUBCOMP came. Returns the Outgoing that is done with it, else None."""
        message = self.flying.get(identifier)
        if message is None:
            self.unexpected += 1
            if head == PUBREC:
                self.output += acknowledgement(PUBREL, identifier)      # so that the broker can forget it
        elif head == (PUBACK if message.qos == 1 else PUBREC if message.packet else PUBCOMP):
            if head != PUBREC:
                del self.flying[identifier]
                self._forget(message)
                return message
            message.packet = None
            if self.store:
                self.store.release(message.order)
                self.change += 1
            self._say_durably(acknowledgement(PUBREL, identifier))
        elif head == PUBREC and message.qos == 2:
            self._say_durably(acknowledgement(PUBREL, identifier))
        else:
            self.unexpected += 1
        return None

    def _say_durably(self, data):
        """Send a packet when all changes are on the disk."""
        if self.change <= self.durable:
            self.output += data
        else:
            self.waiting.setdefault(data, self.change)

    def stored(self, change):
        """All changes up to this one are on the disk."""
        self.durable = change
        for data in [data for data, at in self.waiting.items() if at <= change]:
            self.output += data
            del self.waiting[data]

    def unsafe(self):
        """Whether something waits to be sent until it is on the disk, or is urgent."""
        return bool(self.waiting or self.urgent > self.durable or self.line and self.line[0].qos == 2 and self.line[0].change > self.durable)

    def resume(self, present):
        """A connection was made, with the broker having a session of ours or not. Returns the packets to be sent again."""
        self.connection += 1
        self.output.clear()
        self.held.clear()
        self.waiting = {data: at for data, at in self.waiting.items() if data[:1] == HEADS[PUBREL]}
        again = []
        for identifier, message in self.flying.items():
            if message.packet:
                message.packet = HEADS[message.packet[0] | DUP] + message.packet[1:]
                again.append(message.packet)
            elif (data := acknowledgement(PUBREL, identifier)) not in self.waiting:
                again.append(data)
        if not present:
            self.pending.clear()
            if self.received:
                self.received.clear()
                if self.store:
                    self.store.clear_received()
                    self.change = self.urgent = self.change + 1
        return again

    # In

    def arrived(self, message):
        """Whether a Message of QoS 1 or 2 is to be handled; if so, `settle` follows."""
        message.connection, message.answer = self.connection, [None]
        if message.qos == 2:
            identifier = message.identifier
            if identifier in self.received:
                self.held.append([acknowledgement(PUBREC, identifier)])
                self._flush()
                return False
            known = self.pending.get(identifier)
            if known is not None:
                if known.connection != self.connection:         # sent again while it is still being handled
                    known.connection = self.connection
                    self.held.append(known.answer)
                return False
            self.pending[identifier] = message
        self.held.append(message.answer)
        return True

    def settle(self, message, handled=True):
        """A Message was handled, and will be acknowledged; or it was not, and will not be on this connection."""
        if message.qos == 2:
            if self.pending.get(message.identifier) is not message:
                return                          # the session that it came in has ended
            del self.pending[message.identifier]
            if handled:
                self.received.add(message.identifier)
                if self.store:
                    self.store.receive(message.identifier)
                    self.change = self.urgent = self.change + 1
        message.answer[0] = acknowledgement(PUBACK if message.qos == 1 else PUBREC, message.identifier) if handled else b''
        self._flush()
        if self.store and handled and message.qos == 2:
            self.store.commit()

    def _flush(self):
        held = self.held
        while held and held[0][0] is not None:
            self.output += held.popleft()[0]

    def released(self, identifier):
        """A PUBREL came."""
        self.pending.pop(identifier, None)
        if identifier in self.received:
            self.received.discard(identifier)
            if self.store:
                self.store.complete(identifier)
                self.change += 1
        self._say_durably(acknowledgement(PUBCOMP, identifier))
