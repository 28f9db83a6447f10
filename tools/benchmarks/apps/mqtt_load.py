"""
An MQTT client under measurement: CLIENT publish|receive QOS SECONDS PORT. It prints messages a second.

`publish` sends 64 bytes again and again, and counts until the broker has acknowledged the last; at QoS 0 that is the
acknowledgement of one more message of QoS 1. `receive` subscribes, says "ready", and stands still until a line comes on its
standard input; meanwhile CLIENT `source` publishes so many messages on a plain socket that the broker has plenty
waiting. What is measured is how fast a handler is given them: otherwise it would be how fast the broker reads.
"""

import os
import socket
import sys
import time

TOPIC = 'bench/topic'
PAYLOAD = b'x' * 64
BATCH = 500             # messages between looks at the clock


class Meter:
    """Counts what is received."""

    def __init__(self, seconds):
        self.count, self.limit = 0, waiting(seconds)

    def __call__(self, *_):
        self.count += 1
        if self.count == self.limit:
            self.ended = time.perf_counter()

    def stand_still(self):
        print('ready', flush=True)
        sys.stdin.readline()
        self.began = time.perf_counter()

    @property
    def done(self):
        return self.count >= self.limit

    def rate(self):
        return self.limit / (self.ended - self.began)


def waiting(seconds):
    """How many messages wait to be received."""
    return int(seconds * 100000)


async def agent(kind, qos, seconds, port):
    from ioto import mqtt, runtime
    runtime.log.configure(types='error')
    client, meter = mqtt.Client('measured'), Meter(seconds)
    await client.connect('127.0.0.1', port)
    if kind == 'receive':
        await client.subscribe(TOPIC, meter, qos)
        meter.stand_still()
        while not meter.done:
            await runtime.sleep(0.01)
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
    client, meter = Client('measured'), Meter(seconds)
    await client.connect('127.0.0.1', port, version=MQTTv311)
    if kind == 'receive':
        client.on_message = lambda *message: meter(message) or 0
        client.subscribe(TOPIC, qos)
        await asyncio.sleep(0.5)
        meter.stand_still()
        while not meter.done:
            await asyncio.sleep(0.01)
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
    client, meter = Client(CallbackAPIVersion.VERSION2, 'measured'), Meter(seconds)
    client.connect('127.0.0.1', port)
    if kind == 'receive':
        client.on_message = meter
        client.on_connect = lambda *_: client.subscribe(TOPIC, qos)
        ready = time.perf_counter() + 0.5
        while time.perf_counter() < ready:
            client.loop(0.1)
        meter.stand_still()
        while not meter.done:
            client.loop(0.1)
        rate = meter.rate()
    else:
        client.loop_start()
        while not client.is_connected():
            time.sleep(0.01)
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


def source(seconds, port):
    """Publish what is to wait; returns when the broker has it all."""
    name = TOPIC.encode()
    block = bytes((0x30, len(name) + len(PAYLOAD) + 2, 0, len(name))) + name + PAYLOAD
    with socket.create_connection(('127.0.0.1', port)) as sock:
        sock.sendall(b'\x10\x12\0\4MQTT\4\2\0\0\0\6source')
        left = waiting(seconds)
        while left:
            count = min(left, BATCH)
            sock.sendall(block * count)
            left -= count
        sock.sendall(b'\xc0\0')
        answers = b''
        while not answers.endswith(b'\xd0\0'):
            answers += sock.recv(4096)


def main(client, kind='', qos='0', seconds='0', port='0'):
    given = kind, int(qos), float(seconds), int(port)
    if client == 'source':
        return source(*given[-2:])
    if client == 'paho':
        return paho(*given)
    if client == 'gmqtt':
        import asyncio
        return asyncio.run(gmqtt(*given))
    sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..', '..')))
    from ioto import runtime
    return runtime.run(agent, *given)


if __name__ == '__main__':
    rate = main(*sys.argv[1:])
    if rate is not None:
        print(rate)
