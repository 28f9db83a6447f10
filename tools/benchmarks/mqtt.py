"""
The MQTT client against its peers: mqtt (messages of 64 bytes published at each QoS, and received at QoS 0). mosquitto serves
them all, on the servers' core; each client runs in a process of its own on the other.
"""

import os
import socket
import subprocess
import tempfile
import time

from tools import peers
from tools.benchmarks.report import Column, Result, interleave
from tools.benchmarks.servers import APPS, BenchError, free_port, interpreter, pinned_to_load, pinned_to_server

RATE = 'messages/s'
LOAD = os.path.join(APPS, 'mqtt_load.py')
CASES = ('publish', 0), ('publish', 1), ('publish', 2), ('receive', 0)
# As many messages of QoS 2 as a client likes: by default mosquitto drops one that has more than 20 on their way.
CONFIG = 'listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_inflight_messages 0\nmax_queued_messages 0\nlog_type none\n'


def mqtt(options):
    """Rates of publishing, until the broker has acknowledged all, and of a handler's messages."""
    result = Result('mqtt', 'messages of 64 bytes over one connection with mosquitto', [
        *(Column(f'publish QoS {qos}', RATE) for qos in range(3)), Column('receive QoS 0', RATE)])
    names = ['agent'] + [name for name, package in (('gmqtt', 'gmqtt'), ('paho', 'paho-mqtt'))
                         if peers.installed(peers.PEERS, package)]
    with tempfile.TemporaryDirectory() as folder, Mosquitto(folder) as broker:
        rates = interleave(options.rounds, names, lambda name: tuple(
            measure(name, kind, qos, options.seconds, broker.port) for kind, qos in CASES))
    result.rows = {name: list(values) for name, values in rates.items()}
    result.budget('gmqtt, publish QoS 0', result.ratio('gmqtt', 'publish QoS 0'), 'at least', 1.5)
    result.budget('gmqtt, publish QoS 1', result.ratio('gmqtt', 'publish QoS 1'), 'at least', 1)
    result.budget('paho, publish QoS 1', result.ratio('paho', 'publish QoS 1'), 'at least', 3)
    result.budget('paho, receive QoS 0', result.ratio('paho', 'receive QoS 0'), 'at least', 2.5)
    return result


class Mosquitto:
    """The broker, on the servers' core."""

    def __init__(self, folder):
        self.program, self.folder, self.port = peers.which('mosquitto'), folder, free_port()
        if not self.program:
            raise BenchError('mosquitto, which serves the clients, is not there')

    def __enter__(self):
        path = os.path.join(self.folder, 'mosquitto.conf')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(CONFIG.format(port=self.port))
        self.process = subprocess.Popen([self.program, '-c', path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, preexec_fn=pinned_to_server)
        limit = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(('127.0.0.1', self.port)).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > limit:
                    raise BenchError('mosquitto does not start') from None
                time.sleep(0.01)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def command(name, *given):
    python = interpreter() if name == 'agent' else peers.python_of(peers.PEERS)
    return [python, LOAD, name, *map(str, given)]


def measure(name, kind, qos, seconds, port):
    """Run one client in a process of its own; the number that it prints. What it receives waits for it at the broker."""
    process = subprocess.Popen(command(name, kind, qos, seconds, port), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, preexec_fn=pinned_to_load)
    try:
        if kind == 'receive' and process.stdout.readline() == 'ready\n':
            subprocess.run(command('source', kind, qos, seconds, port), check=True, timeout=60, preexec_fn=pinned_to_load)
        output, errors = process.communicate('\n', timeout=60 + 10 * seconds)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise BenchError(f'{name} does not {kind} at QoS {qos}: {errors[-400:]}')
    return float(output)
