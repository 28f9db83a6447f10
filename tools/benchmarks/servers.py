"""
The agent and its peers as child processes: how each is started, found ready, measured from outside and ended.

Every server serves the same on a port of its own: `/api/hello` answers {"hello":"world"} as JSON, `/small.txt` is a
file of 1 KiB, `/large.bin` a large one, `POST /api/slow` reads its body in about 1 MB steps with a pause after each and
answers the number of bytes; `/api/echo` is a WebSocket that sends back what it gets. Not all do all of it; SERVERS says which. Where the machine has two cores, servers run on
the first and the load on the second, so that neither takes time from the other.
"""

import contextlib
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from tools import certs, peers

APPS = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'apps')
HELLO = b'{"hello":"world"}'
SMALL = (b'The quick brown fox jumps over the lazy dog, again and again. \r\n' * 16)[:1024]
CORES = sorted(os.sched_getaffinity(0))


class BenchError(Exception):
    """A measurement that cannot be made, or that would not be a fair one; its text says why."""


class Kind(NamedTuple):
    """A server: its command line made by `command(port, folder)`, what it serves, what it needs to be there."""
    command: object
    serves: tuple
    needs: tuple = ()
    program: str = ''


def interpreter():
    """The path of this interpreter itself: a shim or a virtual environment's link would be measured as well."""
    return os.path.realpath(sys.executable)


def agent(port, folder, tree=peers.ROOT):
    return [interpreter(), os.path.join(tree, 'ioto.py'), '--config', folder, '--app', os.path.join(APPS, 'agent.py')]


def peer(script):
    """The command of a peer in Python: apps/SCRIPT.py PORT FOLDER, run by .venv-peers."""
    return lambda port, folder: [peers.python_of(peers.PEERS), os.path.join(APPS, script + '.py'), str(port), folder]


def bare_loop(path):
    return lambda port, folder: [interpreter(), os.path.join(APPS, 'loop.py'), str(port), folder, path]


def nginx(port, folder):
    return [peers.which('nginx'), '-p', folder, '-e', 'stderr', '-c', os.path.join(folder, 'nginx.conf')]


ALL = ('hello', 'small', 'large', 'slow', 'form')
TLS = ', TLS'          # at the end of the names of those that speak https, all with the same certificate
SERVERS = {
    'agent': Kind(agent, (*ALL, 'echo')),
    'aiohttp': Kind(peer('aiohttp_app'), ALL, ('aiohttp',)),
    'uvicorn': Kind(peer('uvicorn_app'), ALL[:-1], ('uvicorn', 'httptools', 'uvloop')),
    'waitress': Kind(peer('waitress_app'), ('hello', 'small'), ('waitress',)),
    'microdot': Kind(peer('microdot_app'), ('hello', 'small'), ('microdot',)),
    'nginx': Kind(nginx, ('hello', 'small', 'large'), program='nginx'),
    'agent' + TLS: Kind(agent, ('https',), program='openssl'),
    'uvicorn' + TLS: Kind(peer('uvicorn_app'), ('https',), ('uvicorn', 'httptools', 'uvloop')),
    'websockets': Kind(peer('websockets_app'), ('echo',), ('websockets',)),
    'bare loop': Kind(bare_loop('hello'), ('hello',)),
    'bare loop, static': Kind(bare_loop('small'), ('small',)),
}

# The agent's folder: its limits give way to the load that one client makes here.
AGENT_CONFIG = '''{
    services: {web: true},
    web: {
        listen: ['%s://127.0.0.1:%d'],
        tls: {certificate: 'certs/server.crt', key: 'certs/server.key'},
        documents: 'site',
        limits: {connections: 4000, upload: 'unlimited'},
        upload: {dir: '@state/uploads'},
        timeouts: {inactivity: '5 mins', request: '10 mins'},
    },
}
'''

NGINX_CONFIG = '''
daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events { worker_connections 4096; }
http {
    access_log off; sendfile on; keepalive_requests 1000000000; keepalive_timeout 300s;
    types { text/plain txt; }
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {
        listen 127.0.0.1:%d backlog=4096;
        root site;
        location = /api/hello { default_type application/json; return 200 '{"hello":"world"}'; }
    }
}
'''


def available(kind):
    """Whether a server of SERVERS can be started here."""
    packages = all(peers.installed(peers.PEERS, name) for name in kind.needs)
    return packages and (not kind.program or peers.which(kind.program) is not None)


def serving(what, among=SERVERS):
    """The names of the servers here that serve `what`, in the table's order."""
    return [name for name in among if what in SERVERS[name].serves and available(SERVERS[name])]


def free_port():
    """A port of the loopback interface that the kernel has just found free."""
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def pinned_to_server():
    """In a child, before its program: the first core, and room for thousands of descriptors."""
    os.sched_setaffinity(0, CORES[:1])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192 if hard == resource.RLIM_INFINITY else min(8192, hard), hard))


def pinned_to_load():
    """In a child, before its program: the second core, where there is one."""
    os.sched_setaffinity(0, CORES[1:2] or CORES)


def make_folder(folder, port, secure=False):
    """Fill an empty folder with what a server reads: configuration, the files that it serves, certificates where it is secure."""
    site = os.path.join(folder, 'site')
    os.mkdir(site)
    for name, data in (('site/small.txt', SMALL), ('ioto.json5', (AGENT_CONFIG % (secure and 'https' or 'http', port)).encode()),
                       ('nginx.conf', (NGINX_CONFIG % port).encode())):
        with open(os.path.join(folder, name), 'wb') as file:
            file.write(data)
    if secure:
        certs.make_all(certs.arguments([os.path.join(folder, 'certs')]))


class Server:
    """
    One running server: `.name`, `.port`, `.pid`, `.folder`; `.site` is the folder whose files it serves. `tree` is
    where the agent's sources are, if elsewhere than here.
    """

    def __init__(self, name, tree=peers.ROOT):
        self.name = name
        self.temporary = tempfile.TemporaryDirectory(prefix='ioto-bench-')
        self.folder = self.temporary.name
        self.site = os.path.join(self.folder, 'site')
        self.port = free_port()
        make_folder(self.folder, self.port, name.endswith(TLS))
        self.log = open(os.path.join(self.folder, 'output'), 'wb+')
        where = (self.port, self.folder) if tree == peers.ROOT else (self.port, self.folder, tree)
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            SERVERS[name].command(*where), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=self.folder,
            preexec_fn=pinned_to_server)
        self.pid = self.process.pid

    def wait_listening(self, timeout=20):
        """Wait until a connection is taken; returns seconds since the start of the process."""
        while True:
            try:
                socket.create_connection(('127.0.0.1', self.port), timeout=5).close()
                return time.perf_counter() - self.started
            except OSError:
                if self.process.poll() is not None or time.perf_counter() - self.started > timeout:
                    raise BenchError(f'{self.name} does not start: {self.output()}') from None
                time.sleep(0.0005)

    def output(self):
        """The end of what the server has printed."""
        self.log.flush()
        with open(self.log.name, 'rb') as file:
            return file.read()[-600:].decode(errors='replace').strip()

    def memory(self):
        """(RSS, PSS) in bytes, exact: from smaps_rollup, which walks the page tables."""
        return process_memory(self.pid)

    def reset_peak(self):
        """Let `peak` start from what the process holds now."""
        with open(f'/proc/{self.pid}/clear_refs', 'w') as file:
            file.write('5')

    def peak(self):
        """The most memory resident at a time, in bytes."""
        return status_field(self.pid, 'VmHWM') * 1024

    def cpu(self):
        """Seconds of processor time used, all threads together."""
        total = 0
        for thread in os.listdir(f'/proc/{self.pid}/task'):
            with contextlib.suppress(FileNotFoundError), open(f'/proc/{self.pid}/task/{thread}/schedstat') as file:
                total += int(file.read().split()[0])
        return total / 1e9

    def wakeups(self):
        """How often the process has gone to sleep and been woken, all threads together."""
        total = 0
        for thread in os.listdir(f'/proc/{self.pid}/task'):
            with contextlib.suppress(FileNotFoundError):
                total += status_field(f'{self.pid}/task/{thread}', 'voluntary_ctxt_switches')
        return total

    def stop(self):
        """End the process: politely, then by force; its folder goes too."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.temporary.cleanup()


def process_memory(pid):
    """(RSS, PSS) of a process in bytes."""
    with open(f'/proc/{pid}/smaps_rollup') as file:
        fields = dict(line.split(':', 1) for line in file if line.startswith(('Rss:', 'Pss:')))
    return tuple(int(fields[name].split()[0]) * 1024 for name in ('Rss', 'Pss'))


def status_field(pid, name):
    """A number out of /proc/PID/status."""
    with open(f'/proc/{pid}/status') as file:
        for line in file:
            if line.startswith(name + ':'):
                return int(line.split()[1])
    raise BenchError(f'/proc/{pid}/status has no {name}')


class OtherWork:
    """
    How much of the machine's processors others have used since this was made. Servers and load count as ours once they
    have ended and been waited for.
    """

    def __init__(self):
        self.began, self.used = time.perf_counter(), self.foreign()

    @staticmethod
    def foreign():
        """Seconds of processor time of all processes on our cores, without those of this process and its children."""
        with open('/proc/stat') as file:
            rows = [line.split() for line in file if line.startswith('cpu')]
        busy = sum(int(tick) for row in rows if row[0][3:].isdigit() and int(row[0][3:]) in CORES for tick in row[1:4])
        ours = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return busy / os.sysconf('SC_CLK_TCK') - sum(usage.ru_utime + usage.ru_stime for usage in ours)

    def cores(self):
        """The number of processors that others kept busy, on average."""
        return max(0.0, (self.foreign() - self.used) / (time.perf_counter() - self.began))


@contextlib.contextmanager
def running(names):
    """
    Start these servers, wait until each listens, and end them afterwards. `with running(names) as servers:` gives them
    by name. A peer that does not start is named and left out; without the agent there is nothing to compare.
    """
    with contextlib.ExitStack() as stack:
        servers = {name: Server(name) for name in names}
        for server in servers.values():
            stack.callback(server.stop)
        for name, server in list(servers.items()):
            try:
                server.wait_listening()
            except BenchError as error:
                if name.startswith('agent'):
                    raise
                peers.say(f'left out: {error}')
                del servers[name]
        yield servers
