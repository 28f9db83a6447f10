"""
The database against TinyDB and against plain sqlite3, which has the same tables, statements and transactions: the ceiling.

Each measurement is a process of its own on the servers' core, apps/documents.py; its numbers come as JSON.
"""

import json
import os
import subprocess
import tempfile

from tools import peers
from tools.benchmarks.report import Column, Result, interleave
from tools.benchmarks.servers import APPS, BenchError, interpreter, pinned_to_server

RATES = {'get': 80_000, 'create': 40_000, 'update': 30_000}
LATENCY = {'latency': 'p99.9, ms', 'slow': 'p99.9 on a disk that needs 50 ms more to be forced, ms'}


def db(options):
    """Gets, creates and updates a second of 100-byte documents; finding among a million; how long the loop waits."""
    result = Result('db', 'documents of 100 bytes, one core; 64 changes are one commit', [
        *(Column(case, '1/s') for case in RATES), Column('find 20 of 1,000,000', 'ms'), Column('get of 1,000,000', 'ms'),
        Column('memory for them', 'KB')])
    subjects = ['agent', 'sqlite3'] + ['tinydb'] * os.path.exists(peers.python_of(peers.PEERS))

    def rates(subject):
        with folder() as path:
            found = child(subject, 'rates', path, options.seconds)
            return tuple(found[case] for case in RATES)
    result.rows = {subject: [*found, None, None, None] for subject, found in interleave(options.rounds, subjects, rates).items()}
    for subject in ('agent', 'sqlite3'):
        with folder() as path:
            child(subject, 'large', path, options.seconds)
            found = child(subject, 'large', path, options.seconds)
            result.rows[subject][3:] = [found['find'], found['get'], found['memory']]
    for case, least in RATES.items():
        result.budget(f'{case}, 1/s', result.value('agent', case), 'at least', least)
        result.budget(f'{case}, of plain sqlite3', result.ratio('sqlite3', case), 'at least', 0.4)
    result.budget('find 20 by prefix of 1,000,000, ms', result.value('agent', 'find 20 of 1,000,000'), 'at most', 1)
    result.budget('memory for 1,000,000, KB', result.value('agent', 'memory for them'), 'at most', 8 * 1024)
    for case, name in LATENCY.items():
        with folder() as path:
            found = child('agent', case, path, max(10, options.seconds))
        result.budget(f'1,000 writes a second, {name}', found['p99.9'], 'at most', 5)
        result.notes.append(f'1,000 writes a second, {name.replace("p99.9", "longest turn")}: {found["longest"]:.1f}')
    result.notes.append('tinydb: 500 documents, for each call reads through all; it writes its file each 64 changes')
    return result


def folder():
    return tempfile.TemporaryDirectory(prefix='ioto-bench-')


def child(subject, case, path, seconds):
    """What apps/documents.py prints."""
    python = peers.python_of(peers.PEERS) if subject == 'tinydb' else interpreter()
    done = subprocess.run([python, os.path.join(APPS, 'documents.py'), subject, case, path, str(seconds)],
                          capture_output=True, text=True, preexec_fn=pinned_to_server)
    if done.returncode:
        raise BenchError(f'{subject}, {case}: {done.stderr.strip()[-600:]}')
    return json.loads(done.stdout)
