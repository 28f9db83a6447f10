"""Subscriptions, and the way of a received message to them.

A plain handler runs at once, in the fiber that reads. What an async handler returned, a coroutine, waits in its subscription's queue
for one fiber that awaits them in order; so does a message for `async for`. A message counts as handled when all its subscriptions
have handled it: iteration, when the next message is asked for. One whose handler failed is logged and stays unacknowledged.

When more than `bound` messages, or `room` bytes, wait in all queues, `Inbox.full` is true and the client stops reading; where
it must read on, for the answer that a handler waits for, ten times that may wait, and beyond it messages are dropped, counted.
"""

from collections import deque

from ..runtime.fiber import kernel
from ..runtime.log import Log
from ..runtime.sync import Event, Line
from .errors import MqttError
from .receipt import Answer
from .topics import Tree, matches

log = Log('mqtt')
KNOWN = 1024            # topics whose subscriptions are remembered,
KNOWN_SIZE = 256        # each of up to this many characters
ORPHANS = 1000          # messages that wait for their subscription
ROOM = 1 << 20          # bytes of topics and payloads that may wait


class Subscription:
    """A filter that was subscribed to; made by `Client.subscribe`.

    `await` it for the broker's answer; `async for message in` it where it has no handler. `.granted`: the QoS that the broker
    gave, None before that; `.error`: the MqttError where it refused.
    """

    __slots__ = ('client', 'filter', 'handler', 'qos', 'master', 'cover', 'granted', 'error', 'answer', 'active', 'queue', 'current',
                 'working', 'arrived')

    def __init__(self, client, filter, handler, qos, master):
        self.client, self.filter, self.handler, self.qos, self.master = client, filter, handler, qos, master
        self.cover = None           # the master subscription that has its messages come
        self.granted = self.error = None
        self.answer = Answer()
        self.active = True
        self.queue = deque()        # (message, coroutine or None)
        self.current = None         # message that an iteration has given out
        self.working = None         # the fiber that awaits the handler's coroutines
        self.arrived = Line() if handler is None else None

    def __await__(self):
        return self._answered().__await__()

    async def _answered(self):
        if self.cover is not None:
            await self.cover
            self.granted = self.cover.granted
        else:
            await self.client.answer(self.answer)
        return self

    def grant(self, code):
        """The broker has answered: the QoS it grants, or 0x80."""
        if code == 0x80:
            self.granted, self.error = None, MqttError(f'the broker refuses a subscription to {self.filter!r}', 0x80)
            if self.answer.done:
                log.error(f'{self.error}')
        else:
            self.granted, self.error = code, None
            for other in self.client.inbox.subscriptions if self.master else ():
                if other.cover is self:
                    other.granted = code
        if self.answer.done:
            self.answer = Answer()
        self.answer.finish(self, self.error)

    def interrupt(self, error):
        """Who waits for the broker's answer waits in vain; it may come with another connection."""
        if not self.answer.done:
            answer, self.answer = self.answer, Answer()
            answer.finish(error=error)

    async def unsubscribe(self):
        """Have no more messages, not even those that wait for a handler or an iteration: they count as handled.

        It returns when the broker has said so (§3.11), at once where there is no connection.
        """
        if self.active:
            self.active = False
            self.acknowledge()
            while self.queue:
                message, coro = self.queue.popleft()
                if coro is not None:
                    coro.close()
                self.client.inbox.handled(message)
            while self.arrived:
                self.arrived.serve()
            self.answer.finish(self, MqttError(f'the subscription to {self.filter!r} has ended'))
            await self.client.unsubscribed(self)

    def put(self, message, coro):
        """Have a message wait for its turn."""
        self.queue.append((message, coro))
        if coro is None:
            self.arrived.serve()
        elif self.working is None:
            self.working = kernel().spawn(self._work(), f'mqtt {self.filter}')

    async def _work(self):
        queue, inbox, coro = self.queue, self.client.inbox, None
        try:
            while queue:
                message, coro = queue.popleft()
                try:
                    await coro
                except Exception as error:
                    self.failed(message, error)
                    inbox.handled(message, False)
                else:
                    inbox.handled(message)
                await kernel().checkpoint()
        finally:
            self.working = None
            for _, coro in queue:
                coro.close()            # the scheduler ends
            queue.clear()

    def failed(self, message, error):
        kept = ', which stays unacknowledged' if message.qos else ''
        log.exception(f'the handler of {self.filter!r} failed for a message of {message.topic!r}{kept}', error)

    # Iteration

    def acknowledge(self):
        """The message that an iteration has given out was handled."""
        if self.current is not None:
            message, self.current = self.current, None
            self.client.inbox.handled(message)

    def __aiter__(self):
        if self.handler is not None:
            raise TypeError(f'{self.filter!r} has a handler: subscribe without one to iterate')
        return self

    async def __anext__(self):
        self.acknowledge()
        await kernel().checkpoint()         # before a message is taken: an interruption loses none
        while not self.queue:
            if not self.active:
                raise StopAsyncIteration
            await self.arrived.wait(self.arrived.serve)
        self.current = self.queue.popleft()[0]
        return self.current


class Inbox:
    """All subscriptions of a client, and the messages that wait in them. `settle(message, handled)` is called for each of QoS 1
    and 2."""

    def __init__(self, settle, bound):
        self.settle, self.bound = settle, bound
        self.tree = Tree()
        self.filters = {}           # filter: its Subscriptions that the broker is to know
        self.masters = []
        self.subscriptions = {}     # all, in the order in which they came
        self.routes = {}            # topic: its Subscriptions
        self.count = self.size = 0  # messages that wait in queues, their bytes
        self.strained = False       # it is full, and more is read for the answer that somebody waits for
        self.orphans = []           # messages that wait for a subscription
        self.orphaned = 0           # bytes of all that did so on this connection
        self.patient = False        # whether more may do so
        self.unmatched = self.dropped = 0
        self.moved = Event()        # something was handled

    def add(self, subscription):
        """Register; messages that waited for such a subscription are delivered."""
        filter = subscription.filter
        self.tree.add(filter, subscription)
        self.subscriptions[subscription] = None
        self.routes.clear()
        for message in self.orphans[:]:
            if matches(filter, message.topic):
                self.orphans.remove(message)
                self.deliver(message, (subscription,))

    def remove(self, subscription):
        self.tree.remove(subscription.filter, subscription)
        del self.subscriptions[subscription]
        self.routes.clear()

    def everyone(self):
        """All subscriptions."""
        return list(self.subscriptions)

    def find(self, topic):
        """The subscriptions that want a topic."""
        found = tuple(self.tree.match(topic))
        if len(topic) <= KNOWN_SIZE:
            if len(self.routes) >= KNOWN:
                self.routes.clear()
            self.routes[topic] = found
        return found

    def full(self):
        """Whether no more should be read."""
        return self.count > self.bound or self.size > ROOM

    def deliver(self, message, found):
        """Give a message to these subscriptions."""
        message.holders = len(found)
        if not found:
            return self._orphan(message)
        for subscription in found:
            handler, result = subscription.handler, None
            if handler is not None:
                try:
                    result = handler(message)
                except Exception as error:
                    subscription.failed(message, error)
                    self._done(message, False)
                    continue
                if not hasattr(result, 'send'):
                    if message.qos:
                        self._done(message)
                    continue
            if self.strained and (self.count >= 10 * self.bound or self.size >= 10 * ROOM):
                self.dropped += 1
                if result is not None:
                    result.close()
                self._done(message, False)
                continue
            self.count += 1
            self.size += message.size
            subscription.put(message, result)

    def handled(self, message, well=True):
        """One subscription has handled a message that waited in its queue."""
        self.count -= 1
        self.size -= message.size
        self._done(message, well)
        self.moved.set()

    def _done(self, message, well=True):
        if message.qos:
            message.holders -= 1
            if not well:
                message.failed = True
            if not message.holders:
                self.settle(message, not message.failed)

    def _orphan(self, message):
        if self.patient and len(self.orphans) < ORPHANS and self.orphaned + message.size <= ROOM:
            self.orphans.append(message)
            self.orphaned += message.size
            return
        self.unmatched += 1
        log.trace(f'no subscription wants {message!r}')
        if message.qos:
            self.settle(message, True)

    def wait_for_subscriptions(self, patient):
        """From here on messages that nobody wants wait for who does; or do not, and those that waited are done with."""
        self.patient, self.orphaned = patient, 0
        orphans, self.orphans = self.orphans, []
        for message in orphans:
            self._orphan(message)

    def forget_orphans(self):
        """The connection has ended: the broker will send them again."""
        orphans, self.orphans = self.orphans, []
        for message in orphans:
            if message.qos:
                self.settle(message, False)
