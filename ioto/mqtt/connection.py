"""One connection with a broker, from CONNECT to its end.

Each read goes through the decoder; its packets go to the session and the inbox of the client, and what they answer leaves together.
With a store, what a read has changed is committed before the answers leave.

PINGREQ is sent when the client has sent nothing else for most of `keepalive` (MQTT 3.1.1 §3.1.2.10); PINGRESP has half of that time,
at least 5 s. When messages wait for handlers the connection is not read, so that TCP slows the broker down; see subscription.py.
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
BATCH = 8               # filters of one SUBSCRIBE or UNSUBSCRIBE: some brokers take no more
UNREAD = 1 << 18        # bytes of acknowledgements that a broker may leave unread: those of as many messages as it may send
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
        self.asked = {}             # identifier: (Answer of UNSUBSCRIBE or None, its filters or Subscriptions by filter, when)
        self.failure = None         # why we gave it up
        self.closing = self.paused = False
        self.pinged = 0.0           # when a PINGREQ was sent that has no answer
        self.pings = 0
        self.heard = 0.0            # until when nothing was read, for handlers had enough to do
        self.unread = self.position = 0     # acknowledgements posted while what was posted up to this position is not sent
        self.taking = False         # in `_take`, which answers at its end
        self.received = 0           # bytes
        self.timers = []
        self.deadline = Deadline(stream.kernel, self._tick)
        self.mark = self._sent()

    def restore(self, present):
        """Bring the broker to where the session is."""
        client, stream, inbox = self.client, self.stream, self.inbox
        again = self.session.resume(present)
        for each in () if present else inbox.subscriptions:
            each.granted = None
        gone, client.gone = list(client.gone) if present else [], set()
        for at in range(0, len(gone), BATCH):
            self.take_leave(gone[at:at + BATCH])
        self.ask([name for name, some in inbox.filters.items() if any(each.granted is None for each in some)])
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
            self.timers.append(later(client.demand, self._idle, self._sent()))
        self._look_in(client.keepalive * TICK or float('inf'))

    def ask(self, filters):
        """Send SUBSCRIBE packets."""
        known = self.inbox.filters
        for at in range(0, len(filters), BATCH):
            some = filters[at:at + BATCH]
            self._ask(packet.subscribe, [(name, max(each.qos for each in known[name])) for name in some], None,
                      [known[name][:] for name in some])

    def take_leave(self, filters):
        """Send UNSUBSCRIBE; returns the Answer."""
        answer = Answer()
        self._ask(packet.unsubscribe, filters, answer, filters)
        return answer

    def _ask(self, build, what, answer, whose):
        identifier = self.session.identifier()
        self.asked[identifier] = answer, whose, monotonic()
        if not self.closing:                        # DISCONNECT is the last packet (§3.14.4)
            self.stream.post(build(identifier, what))
            self._look_in(ANSWER_TIME)
        elif answer is None:
            self.client.wanted.set()

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
                if len(self.session.held) > 65535:
                    raise ProtocolError('more messages wait for an acknowledgement than there are packet identifiers (§2.3.1)')
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
        self.paused, self.heard = False, monotonic()
        self._alive()

    def _take(self, packets):
        """Act on the packets of one read. Returns how many messages are done with."""
        session, inbox = self.session, self.inbox
        routes, deliver, acknowledged = inbox.routes, inbox.deliver, session.acknowledged
        received = done = 0
        self.taking = True
        try:
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
        except ProtocolError as error:              # what came before it counts
            self.decoder.fault = error
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
        answer, whose, _when = self.asked.get(identifier, (self, (), 0))
        if answer is self or (answer is None) != (head == SUBACK):
            self.session.unexpected += 1
            return
        if answer is None and len(codes) != len(whose):
            raise ProtocolError(f'SUBACK with {len(codes)} codes for {len(whose)} filters (§3.9.3)')
        del self.asked[identifier]
        self.session.used.discard(identifier)
        if answer is not None:
            answer.finish()
        else:
            for some, code in zip(whose, codes):
                for subscription in some:
                    subscription.grant(code)

    def answer(self):
        """Post what the session has to say."""
        output, stream = self.session.output, self.stream
        if self.store is not None:
            self.client.commits.sync()
            if self.store.identifiers:              # what PUBREC says is committed first
                self.client.commits.soon()
                return
        if output and not self.closing:             # DISCONNECT is the last packet (§3.14.4)
            stream.post(bytes(output))
            self.unread += len(output)
            output.clear()
            if stream.sent >= self.position:
                self.unread, self.position = 0, stream.sent + stream.queued_bytes
            elif self.unread > UNREAD:
                self.drop('the broker does not read the acknowledgements of what it sends')

    # Keep-alive and the end

    def _sent(self):
        """Bytes that have left, without PINGREQ packets."""
        return self.stream.sent - self.pings * len(PINGREQ_PACKET)

    def _look_in(self, seconds):
        """Have `_tick` called in so many seconds, or before."""
        self.deadline.set(min(self.deadline.when, monotonic() + seconds))

    def _alive(self):
        """The broker has answered PINGREQ, or its answer may wait behind what was not read."""
        if self.pinged:
            self._look_in(self.pinged + self.client.keepalive * TICK - monotonic())
            self.pinged = 0.0

    def _tick(self):
        now, keepalive = monotonic(), self.client.keepalive
        half, (_, _, oldest) = max(5.0, keepalive / 2), next(iter(self.asked.values()), NEVER)
        if self.closing:
            return
        if self.paused:
            self.pinged, self.heard = 0.0, now
        if self.pinged and now >= self.pinged + half:
            return self.drop(f'no PINGRESP within {half:g} s')
        if now >= max(oldest, self.heard) + ANSWER_TIME:
            return self.drop(f'no SUBACK or UNSUBACK within {ANSWER_TIME:g} s')
        mark, self.mark = self.mark, self._sent()
        if keepalive and not self.pinged and mark == self.mark:
            self.stream.post(PINGREQ_PACKET)
            self.pings += 1
            self.pinged = now
        if keepalive:
            self._look_in(self.pinged + half - now if self.pinged else keepalive * TICK)
        if self.asked:
            self._look_in(max(oldest, self.heard) + ANSWER_TIME - now)

    def _idle(self, sent):
        """Leave a connection on demand when nothing was sent for a while."""
        if sent == self._sent() and not len(self.session) and not self.session.held and not self.client.asking:
            self.leave()
        else:
            self.timers[-1] = self.stream.kernel.call_later(self.client.demand, self._idle, self._sent())

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
NEVER = None, (), float('inf')
