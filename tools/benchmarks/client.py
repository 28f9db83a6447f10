"""
The HTTP client against its peers: client (GET over a kept connection, 100 downloads at a time). nginx serves them all.
"""

import os
import resource
import subprocess

from tools import peers
from tools.benchmarks.report import Column, Result, interleave
from tools.benchmarks.servers import APPS, BenchError, interpreter, pinned_to_load, pinned_to_server, running

RATE = 'requests/s'
DOWNLOADS = 100
SIZE = 4 << 20          # bytes of each


def client(options):
    """Rates of small requests one after the other, and of many downloads at a time.

    Small requests are also measured with nginx on the client's core: with a core each, most of the time is that of
    waking up idle cores, which is none of the clients'.
    """
    result = Result('client', 'GET of 17 bytes over a kept connection; 100 downloads of 4 MB at a time', [
        Column('GET, one core', RATE), Column('GET, a core each', RATE), Column('downloads', 'MB/s')])
    names = ['agent'] + [name for name in ('requests', 'aiohttp') if peers.installed(peers.PEERS, name)]
    if not peers.which('nginx'):
        raise BenchError('nginx, which serves the clients, is not there')
    with running(['nginx']) as servers:
        server = servers['nginx']
        with open(os.path.join(server.site, 'large.bin'), 'wb') as file:
            file.truncate(SIZE)
        small, large = (f'http://127.0.0.1:{server.port}/{path}' for path in ('api/hello', 'large.bin'))
        rates = interleave(options.rounds, names, lambda name: (
            measure(name, 'get', options.seconds, small, pinned_to_server),
            measure(name, 'get', options.seconds, small),
            measure(name, 'downloads', options.seconds, large) if name != 'requests' else 0))
    result.rows = {name: [value or None for value in values] for name, values in rates.items()}
    result.budget('requests, GET', result.ratio('requests', 'GET, one core'), 'at least', 3)
    result.budget('aiohttp, GET', result.ratio('aiohttp', 'GET, one core'), 'at least', 1.5)
    result.budget('aiohttp, downloads', result.ratio('aiohttp', 'downloads'), 'at least', 1)
    return result


def measure(name, kind, seconds, url, pin=None):
    """Run one client in a process of its own; the number that it prints."""
    python = interpreter() if name == 'agent' else peers.python_of(peers.PEERS)
    done = subprocess.run([python, os.path.join(APPS, 'client_load.py'), name, kind, str(seconds), str(DOWNLOADS), url],
                          capture_output=True, text=True, timeout=60 + seconds, preexec_fn=pin or pinned)
    if done.returncode:
        raise BenchError(f'{name} does not do {kind}: {done.stderr[-400:]}')
    return float(done.stdout)


def pinned():
    pinned_to_load()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192 if hard == resource.RLIM_INFINITY else min(8192, hard), hard))
