"""What the server costs: memory of idle connections and of large bodies, wake-ups when idle."""

import os
import socket
import time

import pytest

from tests.web import webchild
from tests.web.rawhttp import Connection, fetch, request

SIZE = 1 << 30


@pytest.fixture(scope='module')
def agent(tmp_path_factory):
    agent = webchild.start(tmp_path_factory.mktemp('load'), limits={'connections': 2000})
    yield agent
    assert agent.stop() == 0, agent.log()


def resident(pid, peak=False):
    """Bytes that a process has in memory, or had at most."""
    with open(f'/proc/{pid}/status', encoding='ascii') as file:
        for line in file:
            if line.startswith('VmHWM:' if peak else 'VmRSS:'):
                return int(line.split()[1]) * 1024


def forget_peak(pid):
    with open(f'/proc/{pid}/clear_refs', 'w', encoding='ascii') as file:
        file.write('5')


def test_an_idle_connection_costs_12_kilobytes_at_most(agent):
    fetch(agent.port, '/hello.txt')
    before = resident(agent.pid)
    connections = []
    for _ in range(1000):
        connection = Connection(agent.port)
        connection.send(request('/hello.txt'))
        connections.append(connection)
    for connection in connections:
        assert connection.response().status == 200
    cost = (resident(agent.pid) - before) / 1000
    assert fetch(agent.port, '/hello.txt').status == 200
    for connection in connections:
        connection.close()
    assert cost <= 12 * 1024


def test_a_file_of_1_gb_streams_through_with_2_mb_more_at_most(agent):
    path = os.path.join(agent.site, 'huge.bin')
    with open(path, 'wb') as file:
        file.truncate(SIZE)
    fetch(agent.port, '/hello.txt')
    forget_peak(agent.pid)
    before = resident(agent.pid)
    with socket.create_connection(('127.0.0.1', agent.port), 60) as sock:
        sock.sendall(b'GET /huge.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        buffer = bytearray(1 << 20)
        received = 0
        while n := sock.recv_into(buffer):
            received += n
    os.unlink(path)
    assert SIZE < received < SIZE + 2000
    assert resident(agent.pid, peak=True) - before < 2 << 20


def test_a_chunked_upload_of_1_gb_to_a_slow_action_takes_2_mb_more_at_most(agent):
    fetch(agent.port, '/hello.txt')
    forget_peak(agent.pid)
    before = resident(agent.pid)
    chunk = b'40000\r\n' + bytes(0x40000) + b'\r\n'
    with Connection(agent.port, timeout=60) as connection:
        connection.send(b'POST /api/lazy HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n')
        for _ in range(SIZE // 0x40000):
            connection.send(chunk)
        connection.send(b'0\r\n\r\n')
        assert connection.response('POST').body == b'%d' % SIZE
    assert resident(agent.pid, peak=True) - before < 2 << 20


def test_nothing_wakes_an_idle_agent(agent):
    with Connection(agent.port) as connection:
        connection.send(request('/hello.txt'))
        assert connection.response().status == 200
        woken = []
        while len(woken) < 5 and not (woken and woken[-1] == 0):        # what a request leaves to be done may come first
            before = switches(agent.pid)
            time.sleep(3)
            woken.append(switches(agent.pid) - before)
        assert woken[-1] == 0, woken


def switches(pid):
    """How often all threads of a process have given up the processor to wait."""
    total = 0
    for thread in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{thread}/status', encoding='ascii') as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith('voluntary_ctxt_switches'))
    return total
