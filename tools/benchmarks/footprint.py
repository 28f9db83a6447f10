"""
What the agent costs the board when nobody asks for anything: start, memory, size, idle.
"""

import contextlib
import io
import os
import shutil
import subprocess
import tempfile
import time
import zipfile

from tools import peers
from tools.benchmarks import load
from tools.benchmarks.report import Column, Result, interleave
from tools.benchmarks.servers import HELLO, Server, interpreter, pinned_to_server, process_memory, running, serving

KB = 1024
# The packages of a web server without anything else; modules directly in ioto/ belong to every profile. What is left out of the
# packages serves clients, TLS, schedules, log files, users or the command line; a test runs the agent from the zip that remains.
WEB_PROFILE = ('runtime', 'json5', 'http', 'web')
NEEDLESS = {f'ioto/{name}.py' for name in (
    'runtime/cron', 'runtime/destinations', 'runtime/dial', 'runtime/group', 'runtime/queue', 'runtime/scopes', 'runtime/threads',
    'runtime/tls', 'web/secure',
    'http/client', 'http/lists', 'json5/__main__', 'json5/atomic', 'json5/fill',
    'web/access', 'web/digest', 'web/passwords', 'web/sessions', 'web/users', 'password')}
SERVERS = ('agent', 'aiohttp', 'uvicorn', 'waitress', 'microdot', 'nginx')
BARE = 'bare interpreter'
FIRST_RUN = 'agent, first run'


def start(options):
    """Milliseconds from exec until a connection is taken, and until the first answer is there."""
    result = Result('start', 'from exec to the listening socket, and to the first answer', [
        Column('listening', 'ms'), Column('first answer', 'ms')])
    measures = {name: lambda name=name: start_times(name) for name in serving('hello', SERVERS)}
    measures[FIRST_RUN] = first_start
    measures[BARE] = bare_start
    times = interleave(max(5, options.rounds), measures, lambda name: measures[name]())
    result.rows = {name: list(pair) for name, pair in times.items()}
    result.budget('first answer, ms', result.value('agent', 'first answer'), 'at most', 150)
    result.notes.append(f'"{FIRST_RUN}": its sources are not compiled yet, as after copying them onto the board')
    result.notes.append(f'"{BARE}": from exec to exit of python3 -c pass')
    return result


def start_times(name, tree=peers.ROOT):
    """(ms until listening, ms until the first whole answer) of one server, which is ended afterwards."""
    server = Server(name, tree)
    try:
        listening = server.wait_listening()
        load.check_answer(server, '/api/hello', HELLO)
        return listening * 1000, (time.perf_counter() - server.started) * 1000
    finally:
        server.stop()


def first_start():
    """The same for the agent in a fresh copy of its sources."""
    with tempfile.TemporaryDirectory(prefix='ioto-bench-') as tree:
        for path in source_files():
            os.makedirs(os.path.dirname(os.path.join(tree, path)), exist_ok=True)
            shutil.copy(os.path.join(peers.ROOT, path), os.path.join(tree, path))
        return start_times('agent', tree)


def bare_start():
    """(ms, ms) that an interpreter takes that does nothing."""
    began = time.perf_counter()
    subprocess.run([interpreter(), '-c', 'pass'], stdin=subprocess.DEVNULL, preexec_fn=pinned_to_server, check=True)
    elapsed = (time.perf_counter() - began) * 1000
    return elapsed, elapsed


def memory(options):
    """Resident and proportional memory after one request, against an interpreter that only sleeps."""
    names = serving('hello', SERVERS)
    columns = [Column('RSS', 'KB'), Column('PSS', 'KB'), Column('RSS over bare', 'KB', ratio=False),
               Column('PSS over bare', 'KB', ratio=False)]
    result = Result('memory', 'idle, after one request', columns)
    # Started once before, so that nothing is compiled in the process that is measured.
    with running(names) as servers:
        names = list(servers)
    with running(names) as servers, sleeping_interpreter() as pid:
        for server in servers.values():
            load.check_answer(server, '/api/hello', HELLO)
        time.sleep(0.5)
        bare = process_memory(pid)
        for name in names:
            used = servers[name].memory()
            result.rows[name] = [used[0] / KB, used[1] / KB, (used[0] - bare[0]) / KB, (used[1] - bare[1]) / KB]
        result.rows[BARE] = [bare[0] / KB, bare[1] / KB, None, None]
    result.budget('RSS over a bare interpreter, KB', result.value('agent', 'RSS over bare'), 'at most', 6 * KB)
    return result


@contextlib.contextmanager
def sleeping_interpreter():
    """A bare interpreter, idle; the process's id."""
    command = [interpreter(), '-c', 'print(flush=True); import time; time.sleep(600)']
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            yield process.pid
        finally:
            process.kill()


def size(options):
    """KB of source as one zip: part by part, the web profile, and all."""
    result = Result('size', 'source in one zip, deflate level 9', [
        Column('zipped', 'KB', ratio=False), Column('source', 'KB', ratio=False), Column('lines', '', ratio=False)])
    parts = {}
    for path in source_files():
        parts.setdefault(part_of(path), []).append(path)
    profile = web_profile()
    for part, paths in [*sorted(parts.items()), ('web profile', profile), ('everything', source_files())]:
        result.rows[part] = [zipped_size(paths) / KB, *source_size(paths)]
    result.budget('web profile, KB', result.value('web profile', 'zipped'), 'at most', 80)
    result.budget('everything, KB', result.value('everything', 'zipped'), 'at most', 150)
    return result


def source_files():
    """What is copied onto a board: ioto.py and every module below ioto/, as paths relative to the tree."""
    found = ['ioto.py'] if os.path.exists(os.path.join(peers.ROOT, 'ioto.py')) else []
    for folder, _, names in os.walk(os.path.join(peers.ROOT, 'ioto')):
        found += [os.path.relpath(os.path.join(folder, name), peers.ROOT) for name in names if name.endswith('.py')]
    return sorted(found)


def part_of(path):
    """The package below ioto/ that a file belongs to; 'agent' for the modules of no package."""
    pieces = path.split(os.sep)
    return pieces[1] if len(pieces) > 2 else 'agent'


def web_profile():
    """The files that a web server without anything else needs."""
    return [path for path in source_files() if part_of(path) in (*WEB_PROFILE, 'agent') and path not in NEEDLESS]


def zipped_size(paths, file=None):
    """Bytes of a zip file of these, which is written to `file` where one is given."""
    buffer = file or io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in paths:
            archive.write(os.path.join(peers.ROOT, path), path)
    return buffer.tell()


def source_size(paths):
    """(KB, lines) of these files."""
    data = b''
    for path in paths:
        with open(os.path.join(peers.ROOT, path), 'rb') as file:
            data += file.read()
    return len(data) / KB, data.count(b'\n')


def idle(options):
    """Wake-ups and processor time of servers that nobody talks to, all watched over the same seconds."""
    names = serving('hello', SERVERS)
    seconds = options.idle_seconds
    result = Result('idle', f'nobody asks for anything, {seconds} s', [
        Column('wake-ups', 'in 10 s', ratio=False), Column('processor time', 'ms in 10 s', ratio=False)])
    with running(names) as servers:
        names = list(servers)
        for server in servers.values():
            load.check_answer(server, '/api/hello', HELLO)
        # What a request has left behind (a connection to close, a log line to write) is not idleness yet.
        time.sleep(3)
        before = {name: (servers[name].wakeups(), servers[name].cpu()) for name in names}
        time.sleep(seconds)
        for name in names:
            woken, used = servers[name].wakeups() - before[name][0], servers[name].cpu() - before[name][1]
            result.rows[name] = [woken * 10 / seconds, used * 1000 * 10 / seconds]
        for server in servers.values():
            load.check_answer(server, '/api/hello', HELLO)
    result.budget('wake-ups in 10 s', result.value('agent', 'wake-ups'), 'at most', 1)
    return result
