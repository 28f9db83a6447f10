"""
What the agent costs the board when nobody asks for anything: start, memory, size, idle.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time

from tools import package, peers
from tools.benchmarks import load
from tools.benchmarks.report import Column, Result, interleave
from tools.benchmarks.servers import HELLO, Server, interpreter, pinned_to_server, process_memory, running, serving

KB = 1024
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
        for path in package.source_files():
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
    """KB of what is packaged: part by part, and as the archive of each profile; beside it what this saves."""
    result = Result('size', 'what tools/package.py makes', [
        Column('packaged', 'KB', ratio=False), Column('plain', 'KB', ratio=False), Column('zipped source', 'KB', ratio=False),
        Column('source', 'KB', ratio=False), Column('lines', '', ratio=False)])
    sources = package.source_files()
    source = {path: package.read_source(path).encode() for path in sources}
    packed = dict(zip(sources, package.entries(sources)))
    groups = {}
    for path in sources:
        groups.setdefault(package.part_of(path), []).append(path)
    for profile in package.BUDGETS:
        groups['profile ' + profile] = package.profile_files(profile)
    for name, paths in sorted(groups.items()):
        contents = [packed[path] for path in paths]
        made = package.joined(contents), contents, [(path, source[path]) for path in paths]
        data = b''.join(source[path] for path in paths)
        result.rows[name] = [*(len(package.archive(each)) / KB for each in made), len(data) / KB, data.count(b'\n')]
    for profile in package.BUDGETS:
        result.rows['profile ' + profile][0] = len(package.build(profile)) / KB
    for profile, limit in package.BUDGETS.items():
        result.budget(f'profile {profile}, KB', result.value('profile ' + profile, 'packaged'), 'at most', limit / KB)
    result.notes.append('"plain": with a file for each module; "zipped source": the tree itself; but for the profiles by zlib')
    return result


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
