#!/usr/bin/env python3
"""
Measure the agent and its peers side by side.

    python3 tools/bench.py [http|static|connections|stream|tls|login|upload|websocket|events|client|mqtt|json5|db|start|memory|size|idle …] [--json]

Without names all are measured. Each prints a table: the agent's numbers, those of its peers taken in turn with them in
the same run, the agent's ratio to each peer, and whether the budgets are met. The first run installs the peers (see
tools/peers.py); those that cannot be had are named and left out. Exit status: 0; 1 if something could not be measured;
with --strict also if a budget is not met.
"""

import argparse
import json
import os
import platform
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tools import peers
from tools.benchmarks import client, db, footprint, login, mqtt, parsing, report, secure, servers, web, websocket

BENCHMARKS = {
    'http': web.http,
    'static': web.static,
    'connections': web.connections,
    'stream': web.stream,
    'tls': secure.tls,
    'login': login.login,
    'websocket': websocket.websocket,
    'events': websocket.events,
    'upload': web.upload,
    'client': client.client,
    'mqtt': mqtt.mqtt,
    'json5': parsing.json5,
    'db': db.db,
    'start': footprint.start,
    'memory': footprint.memory,
    'size': footprint.size,
    'idle': footprint.idle,
}
# What these measure is in the tree: no peer is needed, and other work does not matter.
ALONE = {'size'}
# Cores kept busy by others, from which on a result carries a warning.
DISTURBED = 0.1


def arguments(given):
    """The command line as options; argparse ends the program on a mistake."""
    parser = argparse.ArgumentParser(prog='bench.py', description='Measure the agent and its peers side by side.')
    parser.add_argument('names', nargs='*', metavar='benchmark', help=f'any of {", ".join(BENCHMARKS)}; default: all')
    parser.add_argument('--json', action='store_true', help='print one JSON document instead of tables')
    parser.add_argument('--rounds', type=positive, default=3, help='rounds to take the median of (3)')
    parser.add_argument('--seconds', type=positive, default=2, help='seconds of load in each round (2)')
    parser.add_argument('--megabytes', type=positive, default=1024, help='size of what `stream` and `upload` move (1024)')
    parser.add_argument('--idle-seconds', type=positive, default=30, help='how long `idle` watches (30)')
    parser.add_argument('--strict', action='store_true', help='exit status 1 if a budget is not met')
    options = parser.parse_args(given)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f'no benchmark {", ".join(unknown)}; there are {", ".join(BENCHMARKS)}')
    options.names = list(dict.fromkeys(options.names)) or list(BENCHMARKS)
    return options


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def machine():
    """What the numbers depend on, for the first line."""
    return {'python': platform.python_version(), 'machine': platform.machine(), 'cores': len(servers.CORES),
            'time': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}


def main(given):
    options = arguments(given)
    servers.pinned_to_load()
    if set(options.names) - ALONE:
        for line in peers.prepare('bench'):
            peers.say(f'left out, missing {line}')
    if not options.json:
        print(', '.join(f'{name} {value}' for name, value in machine().items()), flush=True)
    results, failed = [], []
    for name in options.names:
        others = servers.OtherWork()
        try:
            result = BENCHMARKS[name](options)
        except servers.BenchError as error:
            peers.say(f'{name}: {error}')
            failed.append({'name': name, 'error': str(error)})
            continue
        foreign = others.cores()
        if name not in ALONE and foreign > DISTURBED:
            result.notes.append(f'other work kept {foreign:.2f} cores busy meanwhile: measure again when it is quiet')
        results.append(result)
        if not options.json:
            print('\n' + report.table(result), flush=True)
    if options.json:
        print(json.dumps({**machine(), 'results': [result.plain() for result in results], 'failed': failed}, indent=2))
    missed = options.strict and any(not budget.met for result in results for budget in result.budgets)
    return 1 if failed or missed else 0


if __name__ == '__main__':
    # An ended run ends its servers as well.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
