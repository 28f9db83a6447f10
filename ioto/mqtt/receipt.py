"""What fibers wait for: the broker's answers, and what became of a published message."""

from ..runtime.sync import Line
from .errors import MqttError
from .session import Outgoing


class Answer:
    """`wait` returns what `finish` was given, or raises it."""

    __slots__ = ('done', 'value', 'error', 'line')

    def __init__(self):
        self.done, self.value, self.error, self.line = False, None, None, None

    def finish(self, value=None, error=None):
        if not self.done:
            self.done, self.value, self.error = True, value, error
            while self.line:
                self.line.serve()

    async def wait(self):
        if not self.done:
            self.line = self.line or Line()
            await self.line.wait(lambda: None)
        if self.error is not None:
            raise self.error
        return self.value


class Payload(bytes):
    """What `request` returns: the payload of the answer, which came on `.topic`."""


class Receipt(Outgoing):
    """What became of a published message: `.done` when the broker has acknowledged it (QoS 0: when it has left)."""

    __slots__ = ('client', 'posted', 'done', 'answer')

    def __init__(self, client, data, qos, identifier):
        self.packet, self.qos, self.identifier = data, qos, identifier
        self.size = len(data)
        self.change = 0
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
        connection = self.client.connection
        if connection is not None and (wait == 'sent' or not self.qos):
            await drained(connection.stream)

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
        await drained(self.stream)


async def drained(stream):
    """Wait until the kernel has all that was posted."""
    try:
        await stream.drain()
    except OSError as error:
        raise MqttError(f'the connection was lost before the message left: {error}') from error
