"""Client: a session with a broker over connections that come and go.

`connect` starts a fiber that connects, reads, and after a loss connects again, with full jitter: after n failures it waits a random
part of first * 2**n seconds, at most `backoff[1]`. It hands each read to the decoder, its packets to the session and the inbox, and
sends what they answer together. `publish` posts to the stream itself, so what is published in one turn leaves in one send.

With a store all of a turn is committed at once: `send_posted` is called at the end of it, as it is for streams.
PINGREQ is sent when the client has sent nothing for most of `keepalive`; its answer has half of that time, at least 5 s.
"""

import os
from time import monotonic

from ..runtime.events import signal
from ..runtime.fiber import kernel
from ..runtime.kernel import sleep
from ..runtime.log import Log
from ..runtime.scopes import timeout as time_limit
from ..runtime.sync import Event, Line
from ..runtime.timers import Deadline
from . import packet
from .errors import MqttError, ProtocolError
from .packet import (CONNACK, PINGREQ_PACKET, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, RETAIN, SUBACK, UNSUBACK,
                     Decoder, prefixed)
from .session import Message, Outgoing, Session
from .subscription import Answer, Inbox, Subscription
from .topics import check_filter, covers, encode_topic

log = Log('mqtt')
CHUNK = 16384           # bytes of one read: what it brings is handled within one turn
LARGE = 262144          # and of one within a large packet
PATIENCE = 65536        # bytes posted, beyond which `publish` waits for the kernel to take them
KNOWN = 1024            # topics remembered in their encoded form,
KNOWN_SIZE = 256        # each of up to this many bytes
LONGEST_QUEUE = 60000   # messages, which leaves identifiers for the rest
QUEUE_BYTES = 16 << 20
ORPHAN_TIME = 10.0      # seconds after CONNACK in which messages of a kept session wait for who subscribes
BATCH = 8               # filters of one SUBSCRIBE: some brokers take no more
REFUSALS = (None, 'unacceptable protocol version', 'identifier rejected', 'server unavailable', 'bad user name or password',
            'not authorized')
WAITS = ('none', 'sent', 'ack')


class Receipt(Outgoing):
    """What became of a published message: `.done` when the broker has acknowledged it (QoS 0: when it has left)."""

    __slots__ = ('client', 'posted', 'done', 'answer')

    def __init__(self, client, data, qos, identifier):
        Outgoing.__init__(self, data, qos, identifier)
        self.client = client
        self.posted = self.done = False
        self.answer = None

    async def wait(self, wait='ack'):
        """Wait for the acknowledgement, or with 'sent' until the kernel has the message. Raises MqttError when the client
        is disconnected before; the message is sent with the next connection."""
        while not (self.done or self.posted and wait == 'sent'):
            if self.answer is None:
                self.answer = Answer()
            await self.client.answer(self.answer)
        stream = self.client.stream
        if stream is not None and (wait == 'sent' or not self.qos):
            await _drained(stream)

    def finish(self, done, error=None):
        """It was posted, or acknowledged, or will not be by this connection."""
        self.posted, self.done = True, done
        answer, self.answer = self.answer, None
        if answer is not None:
            answer.finish(None, error)


class Sent:
    """The receipt of QoS 0 messages that were posted to a stream."""

    __slots__ = ('stream',)

    def __init__(self, stream):
        self.stream = stream

    @property
    def done(self):
        return not self.stream.queued_bytes

    async def wait(self, wait='ack'):
        """Wait until the kernel has all that was posted. Raises MqttError when the connection was lost before."""
        await _drained(self.stream)


async def _drained(stream):
    try:
        await stream.drain()
    except OSError as error:
        raise MqttError(f'the connection was lost before the message left: {error}') from error


class Payload(bytes):
    """What `request` returns: the payload of the answer, which came on `.topic`."""


class Client:
    """An MQTT client.

    client_id   of 1 to 65535 bytes; '' asks the broker for one, which only a clean session may
    clean       whether the broker forgets the session with each connection
    keepalive   seconds; 0 for no keep-alive
    store       path of a file that keeps messages through restarts; None: in memory
    backoff     seconds: the first and the longest wait before connecting again
    inflight    QoS 1 and 2 messages that may be sent and not acknowledged
    max_packet  bytes of a packet that is received; a longer one closes the connection (256 KB)
    queue       messages that wait to be sent or acknowledged, at most 60000; then QoS 0 goes and `publish` waits
    queue_bytes of them (16 MB)
    bound       messages that may wait for async handlers and iterations before reading stops
    request     beginnings of the topics of requests and of their answers; {id} is the client_id
    demand      seconds: connect when there is something to send, disconnect after so long without
    schedule    a schedule in the form of cron (runtime/cron.py): be connected only within it

    `.state` is 'disconnected', 'connecting', 'connected' or 'waiting'; `.error` the text of the last error or None; `.stats` counts.
    Raises ValueError for what cannot be.
    """

    def __init__(self, client_id='', clean=True, keepalive=60, store=None, backoff=(1, 120), inflight=20,
                 max_packet=packet.MAXIMUM, queue=10000, queue_bytes=QUEUE_BYTES, bound=100,
                 request=('ioto/service/{id}/', 'ioto/device/{id}/'), demand=None, schedule=None):
        if not client_id and (not clean or store):
            raise ValueError('a session that is kept needs a client_id')
        if not 0 <= keepalive <= 65535:
            raise ValueError(f'keepalive: expected 0 to 65535 seconds, got {keepalive!r}')
        if schedule is not None:
            from ..runtime.cron import parse
            parse(schedule)
        self.client_id, self.clean, self.keepalive, self.backoff = client_id, clean, keepalive, backoff
        self.max_packet, self.queue, self.queue_bytes = max_packet, min(queue, LONGEST_QUEUE), queue_bytes
        self.demand, self.schedule = demand, schedule
        self.request_prefix, self.answer_prefix = [prefix.replace('{id}', client_id) for prefix in request]
        if isinstance(store, (str, os.PathLike)):
            from .store import Store
            store = Store(store, client_id)
        self.store = store
        self.session = Session(inflight, store, lambda *args: Receipt(self, *args))
        self.inbox = Inbox(self._settle, bound)
        self.names = {}             # topic: its bytes behind their length
        self.state, self.error = 'disconnected', None
        self.stream = None          # while connected
        self.open = None            # the same, while PUBLISH packets may leave
        self.fiber = None           # from connect to disconnect
        self.asked = {}             # identifier: (Answer, filters) of SUBSCRIBE and UNSUBSCRIBE packets
        self.gone = set()           # filters to unsubscribe from, with the next connection
        self.asking = 0             # fibers that wait for an answer of the broker
        self.moved = Event()        # something was handled or acknowledged
        self.space = Line()         # fibers that wait for room in the queue
        self.wanted = Event()       # a connection on demand
        self.commit = None          # the Answer of this turn's commit
        self.syncing = False
        self.failure = None         # why the connection was dropped by us
        self.requests = {}          # topic: Answer
        self.asked_topics = {}      # topic of requests: Subscription
        self.sequence = 0
        self.pinged = self.paused = False
        self.deadline = None
        self.throttled = 0.0        # until when (monotonic seconds)
        self.counts = dict.fromkeys(('sent', 'received', 'acknowledged', 'dropped', 'connects', 'bytes_sent',
                                     'bytes_received'), 0)
        self.published = 0          # QoS 0 messages posted by the short way

    @property
    def stats(self):
        """Counts since the start: sent, received, acknowledged, dropped, unmatched, unexpected, reconnects, bytes_sent,
        bytes_received; queued and waiting: messages now."""
        counts, stream = self.counts, self.stream
        return {**counts, 'sent': counts['sent'] + self.published, 'dropped': counts['dropped'] + self.inbox.dropped,
                'unmatched': self.inbox.unmatched, 'unexpected': self.session.unexpected,
                'reconnects': max(0, counts['connects'] - 1), 'queued': len(self.session), 'waiting': self.inbox.count,
                'bytes_sent': counts['bytes_sent'] + (stream.sent if stream else 0)}

    # Publishing

    async def publish(self, topic, payload=b'', qos=0, retain=False, wait='none'):
        """Send a message, or queue it where there is no connection.

        payload: bytes, a text, or a dict or list, which becomes JSON. wait: 'none' returns at once, 'sent' when the kernel
        has the message, 'ack' with PUBACK or PUBCOMP. Returns a receipt: `await receipt.wait()` for the acknowledgement.
        With a store a message of QoS 1 or 2 is in it before this returns. When the queue is full the oldest QoS 0 messages in
        it are dropped, and if there is none this waits. Raises ValueError for a topic that the standard forbids (§4.7.3).
        """
        name = self.names.get(topic)
        if name is None:
            name = self._name(topic)
        if type(payload) is not bytes:
            payload = _bytes(payload)
        session, stream = self.session, self.open
        if qos == 0 and stream is not None and not session.zeros:
            stream.post(packet.publish(name, payload, 0x31 if retain else 0x30))
            self.published += 1
            mine = stream.kernel
            mine.budget -= 1
            if mine.budget < 0:
                await mine.checkpoint()
            if stream.queued_bytes > PATIENCE or wait != 'none':
                await self._gone_out(stream, wait)
            return self.receipt
        if qos not in (0, 1, 2) or wait not in WAITS:
            raise ValueError(f'expected qos 0, 1 or 2 and wait none, sent or ack, got {qos!r} and {wait!r}')
        while len(session.line) + len(session.flying) >= self.queue or session.size >= self.queue_bytes:
            await self._make_room()
        stream = self.open
        identifier = session.identifier() if qos else 0
        try:
            data = packet.publish(name, payload, PUBLISH | qos << 1 | retain, identifier)
        except ValueError:
            session.used.discard(identifier)
            raise
        receipt = Receipt(self, data, qos, identifier)
        session.add(receipt, retain, topic, payload)
        if stream is not None:
            if len(session.flying) < session.inflight:
                self._send()
        elif self.demand is not None:
            self.wanted.set()
        if self.store is not None:
            await self._committed()
        mine = kernel()
        mine.budget -= 1
        if mine.budget < 0:
            await mine.checkpoint()
        if stream is not None and stream.queued_bytes > PATIENCE:
            await self._gone_out(stream, 'none')
        if wait != 'none':
            await receipt.wait(wait)
        return receipt

    def _name(self, topic):
        name = prefixed(encode_topic(topic))
        if len(name) <= KNOWN_SIZE:
            if len(self.names) >= KNOWN:
                self.names.clear()
            self.names[topic] = name
        return name

    async def _gone_out(self, stream, wait):
        """Wait until what was posted is with the kernel. A lost connection matters to who asked only."""
        try:
            await stream.drain()
        except OSError as error:
            if wait != 'none':
                raise MqttError(f'the connection was lost before the message left: {error}') from error

    async def _make_room(self):
        dropped = self.session.drop()
        if dropped is not None:
            self.counts['dropped'] += 1
            dropped.finish(True)
        else:
            self.wanted.set()
            await self.answer(self.space)

    def _send(self):
        """Post what may leave."""
        stream = self.open
        if stream is not None:
            for message in self.session.leaving():
                stream.post(message.packet)
                self.counts['sent'] += 1
                message.posted = True
                if message.answer is not None or not message.qos:
                    message.finish(not message.qos)

    async def _committed(self):
        """Wait for the commit at the end of this turn."""
        commit = self.commit
        if commit is None:
            commit = self.commit = Answer()
            kernel().posted.append(self)
        await commit.wait()

    def send_posted(self):
        """Commit what this turn has brought; called by the scheduler at the end of it."""
        commit, self.commit = self.commit, None
        try:
            self.store.commit()
        except OSError as error:
            commit.finish(error=error)
            return
        commit.finish()
        self._sync()

    def _sync(self):
        """Have a fiber see to it that what waits for the disk does not wait in vain."""
        session = self.session
        if not self.syncing and session.unsafe():
            self.syncing = True
            kernel().spawn(self._make_durable(), 'mqtt store')

    async def _make_durable(self):
        session = self.session
        try:
            while session.unsafe():
                change = session.change
                self.store.commit()
                await self.store.durable()
                session.stored(change)
                self._answer()
                self._send()
        except OSError as error:
            log.error(f'messages of QoS 2 wait, for the store cannot be written: {error}')
        finally:
            self.syncing = False

    async def answer(self, answer):
        """Wait for an Answer that the broker has to give, or a place in a Line, and meanwhile have the client read on."""
        self.asking += 1
        self.moved.set()
        try:
            return await (answer.wait() if isinstance(answer, Answer) else answer.wait(answer.serve))
        finally:
            self.asking -= 1

    # Subscribing

    def subscribe(self, filter, handler=None, qos=0, master=False):
        """Have messages come to a handler, plain or async, called with a Message; without one, iterate over what is returned.

        It stands at once, also before `connect`; `await` the Subscription that this returns for the broker's answer. master:
        later filters that this one covers are served by it, and the broker never hears of them. Raises ValueError for a
        filter that the standard forbids (§4.7); awaiting it raises MqttError with code 0x80 where the broker refuses.
        """
        check_filter(filter)
        if qos not in (0, 1, 2):
            raise ValueError(f'expected qos 0, 1 or 2, got {qos!r}')
        subscription = Subscription(self, filter, handler, qos, master)
        inbox = self.inbox
        subscription.cover = next((each for each in inbox.masters if covers(each.filter, filter)), None)
        if subscription.cover is None:
            self._announce(subscription)
        if master:
            inbox.masters.append(subscription)
        inbox.add(subscription)
        return subscription

    def _announce(self, subscription):
        """The broker is to know of it."""
        self.inbox.filters.setdefault(subscription.filter, []).append(subscription)
        self.gone.discard(subscription.filter)
        if self.stream is not None:
            self._ask([subscription.filter])
        else:
            self.wanted.set()

    def _ask(self, filters):
        """Send SUBSCRIBE packets."""
        known = self.inbox.filters
        for at in range(0, len(filters), BATCH):
            some = filters[at:at + BATCH]
            identifier = self.session.identifier()
            self.asked[identifier] = None, some
            self.stream.post(packet.subscribe(identifier, [(name, max(each.qos for each in known[name])) for name in some]))

    async def unsubscribed(self, subscription):
        """A subscription has ended; the last of its filter ends it at the broker."""
        inbox, filter = self.inbox, subscription.filter
        inbox.remove(subscription)
        if subscription.cover is not None:
            return
        left = inbox.filters[filter]
        left.remove(subscription)
        if subscription.master:
            inbox.masters.remove(subscription)
            for other in inbox.everyone():
                if other.cover is subscription:
                    other.cover = None
                    self._announce(other)
        if not left:
            del inbox.filters[filter]
            if self.stream is None:
                self.gone.add(filter)
            else:
                await self.answer(self._take_leave([filter]))

    def _take_leave(self, filters):
        identifier, answer = self.session.identifier(), Answer()
        self.asked[identifier] = answer, filters
        self.stream.post(packet.unsubscribe(identifier, filters))
        return answer

    async def request(self, topic, payload=b'', timeout=30, qos=1):
        """Publish to a topic of requests and return the payload of the answer, bytes with a `.topic`. Raises TimeoutError."""
        self.sequence += 1
        subscription = self.asked_topics.get(topic)
        if subscription is None:
            subscription = self.subscribe(f'{self.answer_prefix}{topic}/+', self._answered, qos)
            self.asked_topics[topic] = subscription
        expected = f'{self.answer_prefix}{topic}/{self.sequence}'
        answer = self.requests[expected] = Answer()
        try:
            async with time_limit(timeout):
                try:
                    await subscription
                except MqttError:
                    self.asked_topics.pop(topic, None)
                    await subscription.unsubscribe()
                    raise
                await self.publish(f'{self.request_prefix}{topic}/{expected.rpartition("/")[2]}', payload, qos)
                return await self.answer(answer)
        finally:
            del self.requests[expected]

    def _answered(self, message):
        answer = self.requests.get(message.topic)
        if answer is not None:
            payload = Payload(message.payload)
            payload.topic = message.topic
            answer.finish(payload)

    # Connecting

    async def connect(self, host, port=None, tls=None, alpn=(), server_name=None, username=None, password=None, will=None,
                      timeout=30, retry=False, path='/mqtt', headers=()):
        """Connect, and stay connected until `disconnect`. Returns whether the broker had a session of ours; None where the
        connection comes later, on demand or by schedule.

        host: a name, an address, the path of a UNIX socket, or a URL (mqtt, mqtts, ws, wss). tls, alpn, server_name, path and
        headers: see transport.py. will: {topic, payload, qos, retain}. timeout: seconds for the way to CONNACK.
        Raises MqttError: with `.code` 1 to 5 where the broker refuses, which is not tried again; for any other failure unless
        `retry`, which goes on trying. A later loss is mended without end, whatever the reason.
        """
        if self.fiber is not None:
            raise MqttError('this client is connected already, or about to be: disconnect first')
        where = {'host': host, 'port': port, 'tls': tls, 'alpn': alpn, 'server_name': server_name, 'path': path,
                 'headers': headers, 'websocket': False}
        if '://' in host:
            from .transport import split_url
            found = split_url(host)
            username, password = username or found.pop('username', None), password or found.pop('password', None)
            where.update((name, value) for name, value in found.items() if name in where and not (name == 'tls' and tls))
        if will is not None:
            will = {'payload': b'', 'qos': 0, 'retain': False, **will}
            will = encode_topic(will['topic']), _bytes(will['payload']), will['qos'], will['retain']
        hello = packet.connect(self.client_id, self.clean, self.keepalive, username, password, will)
        first = Answer()
        self.fiber = fiber = kernel().spawn(self._live(where, hello, timeout, retry, first), f'mqtt {self.client_id}')
        if self.demand is not None or self._closed_for():
            return None
        try:
            return await first.wait()
        except BaseException:
            fiber.cancel()
            await fiber.join()
            raise

    def _closed_for(self):
        """Seconds until the schedule permits a connection."""
        if self.schedule is None:
            return 0
        from ..runtime.cron import until
        return until(self.schedule)

    async def _live(self, where, hello, timeout, retry, first):
        """Connect again and again."""
        failures, attempt = 0, first
        try:
            while True:
                await self._permitted()
                error, expected = None, False
                received = self.counts['bytes_received']
                try:
                    expected = await self._connected(where, hello, timeout, attempt)
                except Exception as caught:
                    error = self.failure or caught
                    if not isinstance(error, (MqttError, OSError)):
                        log.exception('the connection failed', error)
                if error is not None:
                    self.error = str(error) or repr(error)
                    if self.state == 'connecting':
                        log.error(self.error) if attempt is None else log.info(self.error)
                self._lost(error, expected)
                if attempt is not None and error is not None and (error.code or not retry):
                    attempt.finish(error=error)
                    return
                if expected:
                    continue
                if attempt is not None and attempt.done:
                    attempt = None
                failures = 0 if self.counts['bytes_received'] - received > 4 else failures + 1
                low, high = self.backoff
                self.state = 'waiting'
                await sleep(min(high, low * 2 ** min(failures, 30)) * int.from_bytes(os.urandom(4), 'big') / 2 ** 32)
        finally:
            self._lost(None, True)
            self.state, self.fiber = 'disconnected', None
            first.finish(error=MqttError('disconnected before a connection was made'))

    async def _permitted(self):
        """Wait for the schedule, a throttle that closed the connection, and for something to do."""
        self.state = 'waiting'
        while (delay := max(self._closed_for(), self.throttled - monotonic())) > 0:
            await sleep(min(delay, 60))             # the clock may be set meanwhile
        if self.demand is not None and not len(self.session):
            self.wanted.clear()
            await self.wanted.wait()

    async def _open(self, where, hello, timeout):
        """Connect and introduce ourselves. Returns (stream, decoder, session present, packets that came with CONNACK)."""
        name = f"{where['host']}" + (f" port {where['port']}" if where['port'] else '')
        stream, step = None, 'connection'
        try:
            async with time_limit(timeout):
                from .transport import connect
                stream = await connect(**{key: value for key, value in where.items() if value is not None}, timeout=None)
                step = 'CONNACK'
                stream.post(hello)
                decoder = Decoder(False, self.max_packet)
                packets = []
                while not packets and decoder.fault is None:
                    data = await stream.read(CHUNK)
                    if not data:
                        raise MqttError(f'{name} closed the connection before CONNACK')
                    packets = decoder.feed(data)
                    self.counts['bytes_received'] += len(data)
                if packets and packets[0][0] != CONNACK:
                    raise ProtocolError(f'{packet.NAMES[packets[0][0] >> 4]} before CONNACK (§3.2)')
                if not packets:
                    raise decoder.fault
                _, present, code = packets[0]
                if code:
                    why = REFUSALS[code] if code < len(REFUSALS) else 'a reason that MQTT 3.1.1 does not know'
                    raise MqttError(f'{name} refuses the connection: {why} (code {code})', code)
                return stream, decoder, present and not self.clean, packets[1:]
        except BaseException as error:
            if stream is not None:
                stream.abort()
            if isinstance(error, TimeoutError):
                raise MqttError(f'no {step} from {name} within {timeout:g} s') from error
            if isinstance(error, MqttError) or not isinstance(error, Exception):
                raise
            why = getattr(error, 'strerror', None) or str(error)
            named = isinstance(error, OSError) and step == 'connection'
            raise MqttError(why if named else f'cannot connect to {name}: {why}') from error

    async def _connected(self, where, hello, timeout, attempt):
        """One connection, from CONNECT to its end; returns True where that was our wish."""
        self.state, self.failure = 'connecting', None
        stream, decoder, present, packets = await self._open(where, hello, timeout)
        try:
            self.stream, self.state, self.error = stream, 'connected', None
            self.receipt = Sent(stream)
            self.pinged = self.paused = self.closing = False
            self.counts['connects'] += 1
            log.info(f'connected as {self.client_id!r}, {"with" if present else "without"} a session')
            self._restore(present)
            if attempt is not None:
                attempt.finish(present)
            signal('mqtt:connected', session_present=present)
            self._take(packets)
            while decoder.fault is None:
                data = await stream.read(CHUNK if decoder.missing <= CHUNK else min(decoder.missing, LARGE))
                if not data:
                    if self.closing:
                        return True
                    raise MqttError('the broker closed the connection')
                packets = decoder.feed(data)
                self.counts['bytes_received'] += len(data)
                self._take(packets)
                if self.inbox.full():
                    await self._pause()
                if len(packets) > 16:
                    await sleep(0)
            raise decoder.fault
        except OSError:
            if self.closing:
                return True
            raise
        finally:
            stream.abort()

    def _restore(self, present):
        """Bring a new connection to where the last one was."""
        session, stream, inbox = self.session, self.stream, self.inbox
        again = session.resume(present)
        filters = [name for name, some in inbox.filters.items() if not present or any(each.granted is None for each in some)]
        if self.gone:
            if present:
                self._take_leave(list(self.gone))
            self.gone.clear()
        self._ask(filters)
        for data in again:
            stream.post(data)
        if self.store is not None:
            self.store.commit()
            self._sync()
        inbox.wait_for_subscriptions(present)
        mine = kernel()
        self.timers = [mine.call_later(ORPHAN_TIME, inbox.wait_for_subscriptions, False)] if present else []
        if self.schedule is not None:
            from ..runtime.cron import until_end
            self.timers.append(mine.call_later(min(until_end(self.schedule), 1e9), self._leave))
        self.idle = stream.sent
        if self.demand is not None:
            self.timers.append(mine.call_later(self.demand, self._idle))
        self.deadline = Deadline(mine, self._tick)
        if self.keepalive:
            self.mark = stream.sent
            self.deadline.set(monotonic() + self.keepalive * 0.45)
        self._unthrottle()

    def _lost(self, error, expected):
        """A connection has ended, or did not come about."""
        stream, self.stream, self.open = self.stream, None, None
        if stream is None:
            return
        stream.abort()
        self.counts['bytes_sent'] += stream.sent
        self.deadline.cancel()
        for timer in self.timers:
            timer.cancel()
        self.inbox.wait_for_subscriptions(False)
        for identifier, (answer, filters) in self.asked.items():
            self.session.used.discard(identifier)
            if answer is not None:
                self.gone.update(name for name in filters if name not in self.inbox.filters)
                answer.finish()
        self.asked.clear()
        if expected:
            log.info('disconnected')
        else:
            log.error(f'connection lost: {error}')
        signal('mqtt:disconnected', error=None if expected else str(error), expected=expected)

    async def _pause(self):
        """Stop reading until handlers have caught up, or somebody waits for an answer."""
        self.paused = True
        while self.inbox.full() and not self.asking:
            self.moved.clear()
            await self.moved.wait()
        self.paused = False

    # Receiving

    def _take(self, packets):
        """Act on packets that came in one read."""
        session, inbox = self.session, self.inbox
        routes, deliver, acknowledged = inbox.routes, inbox.deliver, session.acknowledged
        received = done = 0
        for item in packets:
            head = item[0]
            if head & 0xf0 == PUBLISH:
                received += 1
                message = Message(*item)
                if not head & 6 or session.arrived(message):
                    found = routes.get(message.topic)
                    deliver(message, found if found is not None else inbox.find(message.topic))
            elif head in (PUBACK, PUBREC, PUBCOMP):
                receipt = acknowledged(head, item[1])
                if receipt is not None:
                    done += 1
                    receipt.done = True
                    if receipt.answer is not None:
                        receipt.finish(True)
            elif head == PUBREL:
                session.released(item[1])
            elif head == PINGRESP:
                self.pinged = False
                if self.keepalive:
                    self.deadline.set(monotonic() + self.keepalive * 0.45)
            elif head in (SUBACK, UNSUBACK):
                self._told(*item)
            else:
                raise ProtocolError(f'a second {packet.NAMES[head >> 4]} (§3.2)')
        if received:
            self.counts['received'] += received
        if done:
            self.counts['acknowledged'] += done
            for _ in range(done):
                if not self.space.serve():
                    break
            self.moved.set()
        if self.store is not None:
            self.store.commit()
            self._sync()
        if session.line:
            self._send()
        if session.output:
            self._answer()

    def _told(self, head, identifier, codes=None):
        """SUBACK or UNSUBACK."""
        if identifier not in self.asked or (self.asked[identifier][0] is None) != (head == SUBACK):
            self.session.unexpected += 1
            return
        answer, filters = self.asked.pop(identifier)
        self.session.used.discard(identifier)
        if answer is not None:
            answer.finish()
            return
        if len(codes) != len(filters):
            raise ProtocolError(f'SUBACK with {len(codes)} codes for {len(filters)} filters (§3.9.3)')
        for name, code in zip(filters, codes):
            for subscription in self.inbox.filters.get(name, ()):
                subscription.grant(code)

    def _answer(self):
        """Post what the session has to say."""
        output, stream = self.session.output, self.stream
        if output and stream is not None:
            stream.post(bytes(output))
            output.clear()

    def _settle(self, message, handled):
        """A message of QoS 1 or 2 was handled, or could not be."""
        session = self.session
        try:
            session.settle(message, handled)
        except OSError as error:
            log.error(f'{message!r} stays unacknowledged, for the store cannot be written: {error}')
        if session.output:
            self._answer()
        self.moved.set()

    # The connection's end

    def _tick(self):
        """Look whether the connection is alive."""
        stream, now = self.stream, monotonic()
        if self.pinged and not self.paused:
            return self._drop(f'no PINGRESP within {max(5.0, self.keepalive / 2):g} s')
        if stream.sent == self.mark:
            stream.post(PINGREQ_PACKET)
            self.pinged = True
            self.deadline.set(now + max(5.0, self.keepalive / 2))
        else:
            self.deadline.set(now + self.keepalive * 0.45)
        self.mark = stream.sent

    def _idle(self):
        """Leave a connection on demand when nothing was sent for a while."""
        stream = self.stream
        if stream.sent == self.idle and not len(self.session) and not self.session.held:
            self._leave()
        else:
            self.idle = stream.sent
            self.timers.append(kernel().call_later(self.demand, self._idle))

    def _drop(self, why):
        self.failure = MqttError(why)
        self.stream.abort()

    def _leave(self):
        """Say DISCONNECT and close; what is queued stays so."""
        stream = self.stream
        if stream is not None and not self.closing:
            self.closing, self.open = True, None
            stream.post(packet.DISCONNECT_PACKET)
            kernel().spawn(stream.close(), 'mqtt close')

    async def disconnect(self, timeout=5):
        """Send what is queued and have it acknowledged, for at most `timeout` seconds, then DISCONNECT. `connect` may follow.

        Messages that are not acknowledged by then stay in the session; who waits for them gets MqttError.
        """
        fiber = self.fiber
        if fiber is None:
            return
        session = self.session
        for subscription in self.inbox.everyone():
            subscription.acknowledge()
        if self.stream is not None:
            try:
                async with time_limit(timeout):
                    while self.open is not None and (len(session) or session.held):
                        await sleep(0.01)
            except TimeoutError:
                pass
        self._leave()
        if self.stream is not None:
            await self.stream.close()
        fiber.cancel()
        await fiber.join()
        error = MqttError('the client was disconnected')
        for message in (*session.line, *session.flying.values()):
            if message.answer is not None:
                message.finish(False, error)

    async def close(self):
        """Disconnect, and close the store. The client cannot be used any more."""
        await self.disconnect()
        if self.store is not None:
            await self.store.close()

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, trace):
        await self.close()

    def throttle(self, seconds, close=False):
        """Let no PUBLISH leave for so many seconds: they queue. close: disconnect meanwhile."""
        self.throttled = monotonic() + seconds
        self.open = None
        signal('mqtt:throttle', seconds=seconds, close=close)
        if close:
            self._leave()
        kernel().call_later(seconds, self._unthrottle)

    def _unthrottle(self):
        if self.stream is not None and not self.closing and monotonic() >= self.throttled:
            self.open = self.stream
            self._send()


def _bytes(payload):
    """A payload as bytes."""
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, (dict, list)):
        import json
        return json.dumps(payload, separators=(',', ':'), ensure_ascii=False).encode()
    return bytes(memoryview(payload))           # refuses a number, of which bytes() would make zeros
