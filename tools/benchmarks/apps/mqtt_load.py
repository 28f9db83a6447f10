"""
An MQTT client under measurement: CLIENT publish|receive QOS SECONDS PORT. It prints messages a second.

`publish` sends 64 bytes again and again, and counts until the broker has acknowledged the last; at QoS 0 that is the
acknowledgement of one more message of QoS 1. `receive` counts what a handler is given. CLIENT `source` makes the
load for that: it publishes on a plain socket, as fast as the broker takes it, until it is ended.
"""

import os
import socket
import sys
import time

TOPIC = 'bench/topic'
PAYLOAD = b'x' * 64
BATCH = 500             # messages between looks at the clock


class Meter:
    """Counts what is received, from the first message on; `rate` is that of the time since."""

    def __init__(self):
        self.count, self.began = 0, 0.0

    def __call__(self, *_):
        if not self.count:
            self.began = time.perf_counter()
        self.count += 1

    def rate(self):
        return (self.count - 1) / (time.perf_counter() - self.began)


async def agent(kind, qos, seconds, port):
    from ioto import mqtt, runtime
    runtime.log.configure(types='error')
    client, meter = mqtt.Client('measured'), Meter()
    await client.connect('127.0.0.1', port)
    if kind == 'receive':
        await client.subscribe(TOPIC, meter, qos)
        await runtime.sleep(seconds)
        rate = meter.rate()
    else:
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            for _ in range(BATCH):
                receipt = await client.publish(TOPIC, PAYLOAD, qos=qos)
            count += BATCH
        if qos == 0:
            receipt = await client.publish(TOPIC, PAYLOAD, qos=1)
        await receipt.wait()
        rate = count / (time.perf_counter() - began)
    await client.disconnect()
    return rate


async def gmqtt(kind, qos, seconds, port):
    import asyncio
    from gmqtt import Client
    from gmqtt.mqtt.constants import MQTTv311
    client, meter = Client('measured'), Meter()
    await client.connect('127.0.0.1', port, version=MQTTv311)
    if kind == 'receive':
        client.on_message = lambda *message: meter(message) or 0
        client.subscribe(TOPIC, qos)
        await asyncio.sleep(seconds)
        rate = meter.rate()
    else:
        # It has no window and `publish` no way to wait: let it read now and then, and have fewer messages out than identifiers.
        waiting = client._persistent_storage._messages
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            for _ in range(BATCH):
                client.publish(TOPIC, PAYLOAD, qos=qos)
            count += BATCH
            await asyncio.sleep(0)
            while len(waiting) > 10000 or client._connection._transport.get_write_buffer_size() > 1 << 20:
                await asyncio.sleep(0)
        if qos == 0:
            client.publish(TOPIC, PAYLOAD, qos=1)
        while len(waiting):
            await asyncio.sleep(0)
        rate = count / (time.perf_counter() - began)
    await client.disconnect()
    return rate


def paho(kind, qos, seconds, port):
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion
    client, meter = Client(CallbackAPIVersion.VERSION2, 'measured'), Meter()
    client.connect('127.0.0.1', port)
    client.loop_start()
    while not client.is_connected():
        time.sleep(0.01)
    if kind == 'receive':
        client.on_message = meter
        client.subscribe(TOPIC, qos)
        time.sleep(seconds)
        rate = meter.rate()
    else:
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            for _ in range(BATCH):
                receipt = client.publish(TOPIC, PAYLOAD, qos)
            count += BATCH
            while len(client._out_messages) > 10000:
                time.sleep(0.001)
        if qos == 0:
            receipt = client.publish(TOPIC, PAYLOAD, 1)
        receipt.wait_for_publish()
        rate = count / (time.perf_counter() - began)
    client.disconnect()
    client.loop_stop()
    return rate


def source(port):
    name = TOPIC.encode()
    block = bytes((0x30, len(name) + len(PAYLOAD) + 2, 0, len(name))) + name + PAYLOAD
    with socket.create_connection(('127.0.0.1', port)) as sock:
        sock.sendall(b'\x10\x12\0\4MQTT\4\2\0\0\0\6source')
        while True:
            sock.sendall(block * BATCH)


def main(client, kind='', qos='0', seconds='0', port='0'):
    given = kind, int(qos), float(seconds), int(port)
    if client == 'source':
        return source(given[-1])
    if client == 'paho':
        return paho(*given)
    if client == 'gmqtt':
        import asyncio
        return asyncio.run(gmqtt(*given))
    sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..', '..')))
    from ioto import runtime
    return runtime.run(agent, *given)


if __name__ == '__main__':
    print(main(*sys.argv[1:]))
