"""Client: a session with a broker over connections that come and go.

`connect` starts a fiber that connects, has the Connection read to its end, and connects again, with full jitter: after n failures in a
row it waits a random part of backoff[0] * 2**n seconds, at most backoff[1]; a connection that was lost within STABLE seconds is a failure,
too. `publish` posts to the stream itself, so what is published in one turn leaves in one send; it queues what may not leave yet.
"""

import os
from time import monotonic

from ..runtime.events import signal
from ..runtime.fiber import kernel
from ..runtime.kernel import sleep
from ..runtime.log import Log
from ..runtime.scopes import timeout as time_limit
from ..runtime.sync import Event, Line
from . import connection, packet
from .errors import MqttError
from .packet import PUBLISH, prefixed
from .receipt import Answer, Payload, Receipt, Sent, drained
from .session import Session
from .subscription import Inbox, Subscription
from .topics import check_filter, covers, encode_topic

log = Log('mqtt')
PATIENCE = 65536        # bytes posted, beyond which `publish` waits for the kernel to take them
KNOWN = 1024            # topics remembered in their encoded form,
KNOWN_SIZE = 256        # each of up to this many bytes
LONGEST_QUEUE = 60000   # messages, which leaves identifiers for the rest
QUEUE_BYTES = 16 << 20
STABLE = 10.0           # seconds after which a connection that is lost was no failure
NAP = 60.0              # seconds between looks at the clock, which may be set
WAITS = ('none', 'sent', 'ack')


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
        if min(inflight, queue, queue_bytes, max_packet, bound) < 1:
            raise ValueError('inflight, queue, queue_bytes, max_packet and bound: expected numbers from 1 up')
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
        self.store, self.commits = store, None
        self.session = Session(inflight, store, lambda *args: Receipt(self, *args))
        if store is not None:
            from .commits import Commits
            self.commits = Commits(self.session, self._go_on)
        self.inbox = Inbox(self._settle, bound)
        self.names = {}             # topic: its bytes behind their length
        self.state, self.error = 'disconnected', None
        self.connection = None
        self.open = None            # its stream, while PUBLISH packets may leave
        self.fiber = None           # from connect to disconnect
        self.gone = set()           # filters to unsubscribe from, with the next connection
        self.asking = 0             # fibers that wait for an answer of the broker
        self.space = Line()         # fibers that wait for room in the queue
        self.wanted = Event()       # a connection on demand
        self.requests = {}          # topic: Answer
        self.asked_topics = {}      # topic of requests: Subscription
        self.sequence = 0
        self.ending = False         # disconnect was called
        self.shut = False           # the throttle has closed the connection
        self.throttled = 0.0        # until when (monotonic seconds)
        self.counts = dict.fromkeys(('sent', 'received', 'acknowledged', 'dropped', 'connects', 'bytes_sent',
                                     'bytes_received'), 0)
        self.published = 0          # QoS 0 messages posted by the short way

    @property
    def stats(self):
        """Counts since the start: sent, received, acknowledged, dropped, unmatched, unexpected, reconnects, bytes_sent,
        bytes_received; queued and waiting: messages now."""
        counts, found = self.counts, self.connection
        return {**counts, 'sent': counts['sent'] + self.published, 'dropped': counts['dropped'] + self.inbox.dropped,
                'unmatched': self.inbox.unmatched, 'unexpected': self.session.unexpected,
                'reconnects': max(0, counts['connects'] - 1), 'queued': len(self.session), 'waiting': self.inbox.count,
                'bytes_sent': counts['bytes_sent'] + (found.stream.sent if found else 0),
                'bytes_received': counts['bytes_received'] + (found.received if found else 0)}

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
            if wait != 'none':
                await drained(stream)
            elif stream.queued_bytes > PATIENCE:
                await _room(stream)
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
            if self.commits is None and len(session.flying) < session.inflight:
                self.send()
        elif self.demand is not None:
            self.wanted.set()
        if self.commits is not None:
            try:
                await self.commits.soon().wait()
            except OSError:
                if receipt.order in self.store.messages:        # no other commit has taken it meanwhile
                    session.withdraw(receipt)
                    raise
        mine = kernel()
        mine.budget -= 1
        if mine.budget < 0:
            await mine.checkpoint()
        if stream is not None and stream.queued_bytes > PATIENCE:
            await _room(stream)
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

    async def _make_room(self):
        dropped = self.session.drop()
        if dropped is not None:
            self.counts['dropped'] += 1
            dropped.finish(True)
        else:
            self.wanted.set()
            await self.answer(self.space)

    def send(self):
        """Post what may leave."""
        stream = self.open
        if stream is not None:
            for message in self.session.leaving():
                stream.post(message.packet)
                self.counts['sent'] += 1
                message.posted = True
                if message.answer is not None or not message.qos:
                    message.finish(not message.qos)
        if self.commits is not None:
            self.commits.sync()

    def acknowledged(self, count):
        """So many messages are done with: others may leave, and come; these in bunches while enough are in line, which costs less.

        They leave at once: what is sent carries the acknowledgement of TCP, without which a broker that uses Nagle's
        algorithm (mosquitto does) keeps its next PUBACK for 40 ms.
        """
        self.counts['acknowledged'] += count
        session = self.session
        if session.line:
            self.send()
        if self.space and session.size < self.queue_bytes and (
                len(session) <= self.queue - (self.queue >> 3) or len(session.line) < session.inflight):
            while self.space.serve():
                pass
        if self.ending:
            self.inbox.moved.set()

    def _go_on(self):
        """Something that waited for the disk may leave."""
        if self.connection is not None:
            self.connection.answer()
        self.send()

    async def answer(self, answer):
        """Wait for an Answer that the broker has to give, or a place in a Line, and meanwhile have the client read on."""
        self.asking += 1
        self.inbox.moved.set()
        try:
            return await (answer.wait() if isinstance(answer, Answer) else answer.wait(answer.serve))
        finally:
            self.asking -= 1

    def _settle(self, message, handled):
        """A message of QoS 1 or 2 was handled, or could not be."""
        try:
            self.session.settle(message, handled)
        except OSError as error:
            log.error(f'{message!r} is not acknowledged, for the store cannot be written: {error}')
        if self.connection is not None and not self.connection.taking:
            self.connection.answer()

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
        self._announce(subscription)
        if master:
            self.inbox.masters.append(subscription)
        self.inbox.add(subscription)
        return subscription

    def _announce(self, subscription):
        """The broker is to know of it, unless a master serves it."""
        filter = subscription.filter
        subscription.cover = next((each for each in self.inbox.masters if each.cover is None and each is not subscription
                                   and covers(each.filter, filter)), None)
        if subscription.cover is not None:
            return
        self.inbox.filters.setdefault(filter, []).append(subscription)
        self.gone.discard(filter)
        if self.connection is not None:
            self.connection.ask([filter])
        else:
            self.wanted.set()

    async def unsubscribed(self, subscription):
        """A subscription has ended; the last of its filter ends it at the broker."""
        inbox, filter = self.inbox, subscription.filter
        inbox.remove(subscription)
        if subscription.master:
            inbox.masters.remove(subscription)
        if subscription.cover is not None:
            return
        left = inbox.filters[filter]
        left.remove(subscription)
        for other in inbox.everyone() if subscription.master else ():
            if other.cover is subscription:
                self._announce(other)
        if not left:
            del inbox.filters[filter]
            if self.connection is None:
                self.gone.add(filter)
            else:
                await self.answer(self.connection.take_leave([filter]))

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
        first = None if self.demand is not None or self._closed_for() else Answer()
        self.ending = False
        self.fiber = fiber = kernel().spawn(self._live(where, hello, timeout, retry, first), f'mqtt {self.client_id}')
        try:
            return await first.wait() if first is not None else None
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
        """Connect again and again; `first` is the Answer that `connect` waits for."""
        failures, low, high = 0, *self.backoff
        try:
            while not self.ending:
                await self._permitted()
                began, error = float('inf'), None
                try:
                    self.state = 'connecting'
                    found, present, packets = await connection.connect(self, where, hello, timeout)
                    began = monotonic()
                    self._connected(found, present)
                    if first is not None:
                        first.finish(present)
                        first = None
                    await found.run(packets)
                except Exception as caught:
                    error = caught
                self._disconnected(error)
                if error is None or self.ending:
                    continue
                if first is not None and (not retry or getattr(error, 'code', None)):
                    return first.finish(error=error)
                failures = 0 if monotonic() - began >= STABLE else failures + 1
                self.state = 'waiting'
                await sleep(min(high, low * 2 ** min(failures, 30)) * int.from_bytes(os.urandom(4), 'big') / 2 ** 32)
        finally:
            self._disconnected(None)
            self.state, self.fiber = 'disconnected', None
            if first is not None:
                first.finish(error=MqttError('disconnected before a connection was made'))

    async def _permitted(self):
        """Wait for the schedule, for the end of a throttle that closed the connection, and for something to do."""
        self.state = 'waiting'
        while (delay := max(self._closed_for(), self.throttled - monotonic() if self.shut else 0)) > 0:
            await sleep(min(delay, NAP))
        self.shut = False
        if self.demand is not None and not len(self.session):
            await self.wanted.wait()

    def _connected(self, found, present):
        self.connection, self.state, self.error, self.receipt = found, 'connected', None, Sent(found.stream)
        self.counts['connects'] += 1
        self.wanted.clear()
        log.info(f'connected as {self.client_id!r}, {"with" if present else "without"} a session')
        found.restore(present)
        self._unthrottle()
        signal('mqtt:connected', session_present=present)

    def _disconnected(self, error):
        """A connection has ended, or could not be made; without error it was our wish."""
        if error is not None:
            self.error = getattr(error, 'strerror', None) or str(error) or repr(error)
            if not isinstance(error, (MqttError, OSError)):
                log.exception('the connection failed', error)
        found, self.connection, self.open = self.connection, None, None
        if found is None:
            if error is not None:
                log.info(self.error)
            return
        found.end()
        self.counts['bytes_sent'] += found.stream.sent
        self.counts['bytes_received'] += found.received
        self.inbox.moved.set()
        log.info('disconnected' if error is None else f'connection lost: {self.error}')
        signal('mqtt:disconnected', error=None if error is None else self.error, expected=error is None)

    async def disconnect(self, timeout=5):
        """Send what is queued, have it acknowledged and async handlers end, for at most `timeout` seconds, then DISCONNECT.
        `connect` may follow.

        Messages that are not acknowledged by then stay in the session; who waits for them gets MqttError.
        """
        fiber, session, moved, me = self.fiber, self.session, self.inbox.moved, kernel().current
        if fiber is None:
            return
        self.ending = True
        everyone = self.inbox.everyone()
        for subscription in everyone:
            subscription.acknowledge()
        try:
            async with time_limit(timeout):
                while self.open is not None and (len(session) or any(each.working not in (None, me) for each in everyone)):
                    moved.clear()
                    await moved.wait()
        except TimeoutError:
            pass
        finally:
            if self.connection is not None:
                self.connection.leave()
            else:
                fiber.cancel()
        await fiber.join()
        error = MqttError('the client was disconnected')
        for subscription in self.inbox.everyone():
            subscription.interrupt(error)
        for message in (*session.line, *session.flying.values()):
            if message.answer is not None:
                message.finish(False, error)

    async def close(self):
        """Disconnect, and close the store. The client cannot be used any more."""
        try:
            await self.disconnect()
        finally:
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
        self.shut = close
        if close and self.connection is not None:
            self.connection.leave()
        kernel().call_later(seconds, self._unthrottle)

    def _unthrottle(self):
        if self.connection is not None and not self.connection.closing and monotonic() >= self.throttled:
            self.open = self.connection.stream
            self.acknowledged(0)


async def _room(stream):
    """Wait until the kernel has what was posted. A lost connection is none of the publisher's concern."""
    try:
        await stream.drain()
    except OSError:
        pass


def _bytes(payload):
    """A payload as bytes. Raises TypeError."""
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, (dict, list)):
        import json
        return json.dumps(payload, separators=(',', ':'), ensure_ascii=False).encode()
    try:
        return bytes(memoryview(payload))       # refuses a number, of which bytes() would make zeros
    except TypeError:
        raise TypeError(f'expected a payload of bytes, text, or a dict or list, got {payload!r}') from None
