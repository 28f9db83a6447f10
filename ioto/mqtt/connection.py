"""One connection with a broker, from CONNECT to its end.

Each read goes through the decoder; its packets go to the session and the inbox of the client, and what they answer leaves together.
With a store, what a read has changed is committed before the answers leave.

PINGREQ is sent when the client has sent nothing for most of `keepalive` (MQTT 3.1.1 §3.1.2.10); PINGRESP has half of that time, at
least 5 s. When messages wait for handlers the connection is not read, so that TCP slows the broker down; see subscription.py.
"""

from time import monotonic

from ..runtime.kernel import sleep
from ..runtime.log import Log
from ..runtime.scopes import timeout as time_limit
from ..runtime.timers import Deadline
from . import packet
from .errors import MqttError, ProtocolError
from .packet import (CONNACK, DISCONNECT_PACKET, NAMES, PINGREQ_PACKET, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL,
                     SUBACK, UNSUBACK, Decoder)
from .receipt import Answer
from .session import Message

log = Log('mqtt')
CHUNK = 16384           # bytes of one read: what it brings is handled within one turn
LARGE = 262144          # and of one within a large packet
TURN = 16               # packets after which the others have a turn
ORPHAN_TIME = 10.0      # seconds after CONNACK in which messages of a kept session wait for who subscribes
ANSWER_TIME = 30.0      # seconds that the broker has for SUBACK and UNSUBACK
BATCH = 8               # filters of one SUBSCRIBE: some brokers take no more
TICK = 0.45             # of the keep-alive: two of them without anything sent make less than it
REFUSALS = ('', 'unacceptable protocol version', 'identifier rejected', 'server unavailable', 'bad user name or password',
            'not authorized')


async def connect(client, where, hello, timeout):
    """Connect and send CONNECT. Returns (Connection, session present, packets that came with CONNACK). Raises MqttError."""
    name = where['host'] + (f" port {where['port']}" if where['port'] else '')
    stream, step = None, 'connection'
    try:
        async with time_limit(timeout):
            from .transport import connect as dial
            stream = await dial(timeout=timeout, **where)
            step = 'CONNACK'
            stream.post(hello)
            decoder, packets = Decoder(False, client.max_packet), []
            while not packets and decoder.fault is None:
                data = await stream.read(CHUNK)
                if not data:
                    raise MqttError(f'{name} closed the connection before CONNACK')
                packets = decoder.feed(data)
    except BaseException as error:
        if stream is not None:
            stream.abort()
        if isinstance(error, TimeoutError):
            raise MqttError(f'no {step} from {name} within {timeout:g} s') from error
        if isinstance(error, MqttError) or not isinstance(error, Exception):
            raise
        if isinstance(error, ConnectionError) and step == 'CONNACK':
            raise MqttError(f'{name} closed the connection before CONNACK') from error
        why = getattr(error, 'strerror', None) or str(error)
        named = isinstance(error, OSError) and step == 'connection'
        raise MqttError(why if named else f'cannot connect to {name}: {why}') from error
    head, *given = packets[0] if packets else (0,)
    if head == CONNACK and not given[1]:
        return Connection(client, stream, decoder), given[0] and not client.clean, packets[1:]
    stream.abort()
    if head == CONNACK:
        code = given[1]
        why = REFUSALS[code] if code < len(REFUSALS) else 'for a reason that MQTT 3.1.1 does not know'
        raise MqttError(f'{name} refuses the connection: {why} (code {code})', code)
    raise ProtocolError(f'{NAMES[head >> 4]} before CONNACK (§3.2)') if packets else decoder.fault


class Connection:
    """A stream on which CONNACK has come. `closing`: its end is our wish."""

    def __init__(self, client, stream, decoder):
        self.client, self.stream, self.decoder = client, stream, decoder
        self.session, self.inbox, self.store = client.session, client.inbox, client.store
        self.asked = {}             # identifier: (Answer of an UNSUBSCRIBE or None, filters, when)
        self.failure = None         # why we gave it up
        self.closing = self.pinged = self.paused = False
        self.taking = False         # in `_take`, which answers at its end
        self.received = 0           # bytes
        self.timers = []
        self.deadline = Deadline(stream.kernel, self._tick)
        self.mark = stream.sent

    def restore(self, present):
        """Bring the broker to where the session is."""
        client, stream, inbox = self.client, self.stream, self.inbox
        again = self.session.resume(present)
        filters = [name for name, some in inbox.filters.items() if not present or any(each.granted is None for each in some)]
        if present and client.gone:
            self.take_leave(list(client.gone))
        client.gone.clear()
        self.ask(filters)
        for data in again:
            stream.post(data)
        if self.store is not None:
            client.commits.soon()
        inbox.wait_for_subscriptions(present)
        later = stream.kernel.call_later
        self.timers = [later(ORPHAN_TIME, inbox.wait_for_subscriptions, False)]
        if client.schedule is not None:
            from ..runtime.cron import until_end
            self.timers.append(later(min(until_end(client.schedule), 1e8) + 0.5, self.leave))
        if client.demand is not None:
            self.timers.append(later(client.demand, self._idle, stream.sent))
        self._alive()

    def ask(self, filters):
        """Send SUBSCRIBE packets."""
        known = self.inbox.filters
        for at in range(0, len(filters), BATCH):
            some = filters[at:at + BATCH]
            identifier = self.session.identifier()
            self.asked[identifier] = None, some, monotonic()
            self.stream.post(packet.subscribe(identifier, [(name, max(each.qos for each in known[name])) for name in some]))

    def take_leave(self, filters):
        """Send UNSUBSCRIBE; returns the Answer."""
        identifier, answer = self.session.identifier(), Answer()
        self.asked[identifier] = answer, filters, monotonic()
        self.stream.post(packet.unsubscribe(identifier, filters))
        return answer

    # Receiving

    async def run(self, packets):
        """Read until the end. Returns where it was our wish, else raises MqttError or OSError."""
        stream, decoder, inbox = self.stream, self.decoder, self.inbox
        try:
            while True:
                done = self._take(packets)
                if self.store is not None and not self.store.commit():
                    await self.store.settle()
                self._answer_all(done)
                if decoder.fault is not None:
                    raise decoder.fault
                if inbox.full():
                    await self._pause()
                inbox.strained = inbox.full()
                if len(packets) > TURN:
                    await sleep(0)
                data = await stream.read(CHUNK if decoder.missing <= CHUNK else min(decoder.missing, LARGE))
                if not data:
                    raise MqttError('the broker closed the connection')
                self.received += len(data)
                packets = decoder.feed(data) if not self.closing else []
        except (OSError, MqttError) as error:
            if not self.closing:
                raise self.failure or error

    async def _pause(self):
        """Wait until handlers have caught up, or somebody waits for an answer of the broker."""
        self.paused, client, inbox = True, self.client, self.inbox
        while inbox.full() and not client.asking and not self.stream.closed:
            inbox.moved.clear()
            await inbox.moved.wait()
        self.paused = False
        self._alive()

    def _take(self, packets):
        """Act on the packets of one read. Returns how many messages are done with."""
        session, inbox = self.session, self.inbox
        routes, deliver, acknowledged = inbox.routes, inbox.deliver, session.acknowledged
        received = done = 0
        self.taking = True
        for item in packets:
            head = item[0]
            if head & 0xf0 == PUBLISH:
                received += 1
                message = Message(*item)
                if not head & 6 or session.arrived(message):
                    found = routes.get(message.topic)
                    deliver(message, found if found is not None else inbox.find(message.topic))
            elif head in ACKNOWLEDGED:
                receipt = acknowledged(head, item[1])
                if receipt is not None:
                    done += 1
                    receipt.done = True
                    if receipt.answer is not None:
                        receipt.finish(True)
            elif head == PUBREL:
                session.released(item[1])
            elif head == PINGRESP:
                self._alive()
            elif head in (SUBACK, UNSUBACK):
                self._told(*item)
            else:
                raise ProtocolError(f'a second {NAMES[head >> 4]} (§3.2)')
        self.client.counts['received'] += received
        return done

    def _answer_all(self, done):
        """Send what a read made necessary."""
        self.taking = False
        if done:
            self.client.acknowledged(done)
        self.answer()

    def _told(self, head, identifier, codes=None):
        """SUBACK or UNSUBACK."""
        answer, filters, _when = self.asked.get(identifier, (self, (), 0))
        if answer is self or (answer is None) != (head == SUBACK):
            self.session.unexpected += 1
            return
        if answer is None and len(codes) != len(filters):
            raise ProtocolError(f'SUBACK with {len(codes)} codes for {len(filters)} filters (§3.9.3)')
        del self.asked[identifier]
        self.session.used.discard(identifier)
        if answer is not None:
            answer.finish()
        else:
            for name, code in zip(filters, codes):
                for subscription in self.inbox.filters.get(name, ()):
                    subscription.grant(code)

    def answer(self):
        """Post what the session has to say."""
        output = self.session.output
        if self.store is not None:
            self.client.commits.sync()
            if self.store.identifiers:              # what PUBREC says is committed first
                self.client.commits.soon()
                return
        if output and not self.closing:             # DISCONNECT is the last packet (§3.14.4)
            self.stream.post(bytes(output))
            output.clear()

    # Keep-alive and the end

    def _alive(self):
        """The broker has shown that it hears us."""
        self.pinged = False
        if self.client.keepalive:
            self.mark = self.stream.sent
            self.deadline.set(monotonic() + self.client.keepalive * TICK)

    def _tick(self):
        stream, now, half = self.stream, monotonic(), max(5.0, self.client.keepalive / 2)
        if self.closing:
            return
        if self.paused:
            self.pinged = False                     # its answer may wait behind what is not read
        if self.pinged:
            return self.drop(f'no PINGRESP within {half:g} s')
        if any(when + ANSWER_TIME < now for _, _, when in self.asked.values()):
            return self.drop(f'no SUBACK or UNSUBACK within {ANSWER_TIME:g} s')
        if stream.sent == self.mark:
            stream.post(PINGREQ_PACKET)
            self.pinged = True
            self.deadline.set(now + half)
        else:
            self.deadline.set(now + self.client.keepalive * TICK)
        self.mark = stream.sent

    def _idle(self, sent):
        """Leave a connection on demand when nothing was sent for a while."""
        if sent == self.stream.sent and not len(self.session) and not self.session.held and not self.client.asking:
            self.leave()
        else:
            self.timers.append(self.stream.kernel.call_later(self.client.demand, self._idle, self.stream.sent))

    def drop(self, why):
        """Give the connection up."""
        self.failure = MqttError(why)
        self.stream.abort()
        self.inbox.moved.set()

    def leave(self):
        """Say DISCONNECT and close; what is queued stays so."""
        if not self.closing:
            self.closing, self.client.open = True, None
            self.stream.post(DISCONNECT_PACKET)
            self.stream.kernel.spawn(self._close(), 'mqtt close')

    async def _close(self):
        await self.stream.close()
        self.inbox.moved.set()

    def end(self):
        """Give back what it holds."""
        self.stream.abort()
        self.deadline.cancel()
        for timer in self.timers:
            timer.cancel()
        self.inbox.forget_orphans()
        for identifier, (answer, filters, _when) in self.asked.items():
            self.session.used.discard(identifier)
            if answer is not None:
                self.client.gone.update(name for name in filters if name not in self.inbox.filters)
                answer.finish()


ACKNOWLEDGED = frozenset((PUBACK, PUBREC, PUBCOMP))
