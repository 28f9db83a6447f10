"""
Whether password hashes make others wait: plain requests while 20 users sign in at the same time.

The users come from addresses of their own, as the throttle counts those, and each signs in once, for a password that was right is
not hashed again. Everything that the server does, hashing included, happens on one core.
"""

import hashlib
import json
import os
import select
import socket
import statistics
import time

from tools.benchmarks import load
from tools.benchmarks.report import Column, Result
from tools.benchmarks.servers import HELLO, SERVERS, BenchError, Kind, Server, agent, interpreter

LOGINS = 20
ROUNDS = 100_000
PAUSE = 0.0005              # seconds between plain requests
BARE = ("import os, runpy, sys; sys.modules['_hashlib'] = None; sys.argv = sys.argv[1:]; "
        "sys.path.insert(0, os.path.dirname(sys.argv[0])); runpy.run_path(sys.argv[0], run_name='__main__')")
PLAIN = b'GET /api/hello HTTP/1.1\r\nHost: bench\r\n\r\n'


def with_users(port, folder):
    """The agent, with users that one salt serves, for making their hashes takes a while too."""
    key = hashlib.pbkdf2_hmac('sha256', b'word', bytes(16), ROUNDS).hex()
    entry = {'password': f'PBKDF2:SHA256:{ROUNDS}:{bytes(16).hex()}:{key}'}
    with open(os.path.join(folder, 'auth.json5'), 'w') as file:
        json.dump({'users': {f'user{n}': entry for n in range(LOGINS * 50)}}, file)
    return agent(port, folder)


def without_openssl(port, folder):
    return [interpreter(), '-c', BARE, *with_users(port, folder)[1:]]


SERVERS['agent, users'] = Kind(with_users, ())
SERVERS['agent, no OpenSSL'] = Kind(without_openssl, ())


def login(options):
    """Milliseconds of plain requests, alone and while the logins run."""
    result = Result('login', f'a plain request while {LOGINS} users sign in ({ROUNDS:,} rounds), one core', [
        Column(f'{what} {when}', 'ms', ratio=False) for when in ('alone', 'meanwhile') for what in ('median', '99 %', 'longest')]
        + [Column('logins', 'per s', ratio=False)])
    result.reference = 'agent, users'
    for name in ('agent, users', 'agent, no OpenSSL'):
        server = Server(name)
        try:
            server.wait_listening()
            load.check_answer(server, '/api/hello', HELLO)
            alone, meanwhile, took = [], [], 0
            for turn in range(min(options.rounds, 50)):
                began = time.perf_counter()
                alone += plain(server.port, lambda: time.perf_counter() - began < 0.5)
                times, seconds = busy(server.port, turn)
                meanwhile += times
                took += seconds
        finally:
            server.stop()
        result.rows[name] = [*summary(alone), *summary(meanwhile), LOGINS * options.rounds / took]
        result.budget(f'{name}: 99 % meanwhile, ms', result.rows[name][4], 'at most', 10)
    return result


def summary(times):
    """(median, 99th percentile, longest) in milliseconds."""
    times = sorted(1000 * seconds for seconds in times)
    return statistics.median(times), times[int(len(times) * 0.99)], times[-1]


def busy(port, turn):
    """Let the users of one turn sign in at once; (seconds of each plain request meanwhile, seconds that the logins took)."""
    waiting = []
    for n in range(LOGINS):
        sock = socket.create_connection(('127.0.0.1', port), 30, source_address=(f'127.0.{turn + 1}.{n + 1}', 0))
        waiting.append(sock)
    began = time.perf_counter()
    for n, sock in enumerate(waiting):
        form = f'username=user{turn * LOGINS + n}&password=word'.encode()
        sock.sendall(b'POST /auth/login HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-www-form-urlencoded\r\n'
                     b'Content-Length: %d\r\n\r\n%b' % (len(form), form))

    def going():
        for sock in select.select(waiting, [], [], 0)[0]:
            answer = sock.recv(65536)
            if not answer.startswith(b'HTTP/1.1 303'):
                raise BenchError(f'a login was answered {answer[:60]!r}')
            waiting.remove(sock)
            sock.close()
        return waiting
    return plain(port, going), time.perf_counter() - began


def plain(port, going):
    """Send plain requests over one connection while `going()`; seconds that each took."""
    times = []
    with socket.create_connection(('127.0.0.1', port), 30) as sock:
        while going():
            began = time.perf_counter()
            sock.sendall(PLAIN)
            load.read_answer(sock)
            times.append(time.perf_counter() - began)
            time.sleep(PAUSE)
    return times
