"""An MQTT 3.1.1 client.

    mq = mqtt.Client('client-id', clean=False, store='state/mqtt.db')
    await mq.connect('broker.example', 8883, tls=True)
    await mq.publish('a/b', {'value': 1}, qos=1, wait='ack')
    subscription = await mq.subscribe('a/+/c', handler, qos=2)           # or: async for message in subscription
    answer = await mq.request('metric/get', payload, timeout=30)
    await mq.disconnect()

`packet` is the codec and `session` the state of a session, both without I/O; `client` does the I/O, `subscription` gives messages
to handlers, `transport` opens what the client talks over, `store` keeps the session in a file.
"""

from .client import Client
from .errors import MqttError, ProtocolError
from .session import Message
from .subscription import Subscription
