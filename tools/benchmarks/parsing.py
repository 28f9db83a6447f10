"""
The JSON5 parser against the json5 and pyjson5 packages and the C json module.

The timing runs in a child, the interpreter of .venv-peers with this tree on its path, so that all parsers share one
process; run as a program this module is that child and prints its numbers as JSON.
"""

import json
import os
import subprocess
import sys
import time

if __name__ != '__main__':
    from tools import peers
    from tools.benchmarks.report import Column, Result
    from tools.benchmarks.servers import BenchError, interpreter, pinned_to_server

CASES = ('config, 2 KB', 'JSON, 2 KB', 'JSON, 200 KB')
BEST_OF_TIME = 0.04


def json5(options):
    """Megabytes a second of parsing a commented configuration and strict JSON."""
    result = Result('json5', 'parsing: a commented JSON5 configuration, and strict JSON',
                    [Column(case, 'MB/s') for case in CASES])
    python = peers.python_of(peers.PEERS)
    command = [python if os.path.exists(python) else interpreter(), os.path.abspath(__file__), str(options.rounds)]
    child = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=peers.ROOT),
                           preexec_fn=pinned_to_server)
    if child.returncode:
        raise BenchError(f'json5: {child.stderr.strip()[-600:]}')
    result.rows = json.loads(child.stdout)
    result.budget('json5 package, config', result.ratio('json5', CASES[0]), 'at least', 100)
    for case in CASES[1:]:
        result.budget(f'C json module, {case}', result.ratio('C json', case), 'at least', 0.8)
    return result


def config_text():
    """A configuration of about 2 KB as a person writes it: comments, unquoted names, single quotes, trailing commas."""
    routes = ''.join(f'''
            // Route {number}: served from the documents folder.
            {{ match: '/section{number}/', methods: ['GET', 'HEAD'], handler: 'file', cache: {{age: 3600, }}, }},'''
                     for number in range(10))
    return f'''/*
    The web server of a device.
*/
{{
    services: {{ web: true, database: false, mqtt: false, }},   // what starts
    web: {{
        listen: ['http://127.0.0.1:8080', 'http://[::1]:8080',],
        documents: 'site',
        limits: {{ body: '100K', connections: 100, header: 0x4000, upload: +2.5e7, }},
        timeouts: {{ parse: '5 secs', inactivity: '1 min', request: '5 mins', }},
        headers: {{ 'X-Frame-Options': 'sameorigin', "Cache-Control": 'no-cache', }},
        greeting: 'It\\'s a line \\
that goes on',
        routes: [{routes}
        ],
    }},
}}
'''


def json_text(count):
    """Strict JSON of `count` records as a device reports them."""
    return json.dumps([{
        'id': f'device-{number:06}', 'name': 'Kitchen "north" sensor', 'online': number % 3 > 0,
        'battery': 3.71 + number, 'uptime': number * 86413, 'tags': ['zigbee', 'floor-1', None],
        'place': {'lat': 48.137154, 'lon': -11.576124},
    } for number in range(count)])


def parsers():
    """{name: parse function}; the C module takes no comments."""
    from ioto import json5 as ours

    table = {'agent': ours.parse}
    for name in ('json5', 'pyjson5'):
        try:
            table[name] = __import__(name).loads
        except ImportError:
            pass
    return {**table, 'C json': json.loads}


def seconds_for(parse, text):
    """Seconds that one parse takes: the mean of as many as fit in a moment."""
    count, elapsed = 1, 0
    while True:
        began = time.perf_counter()
        for _ in range(count):
            parse(text)
        elapsed = time.perf_counter() - began
        if elapsed > BEST_OF_TIME / 2:
            return elapsed / count
        count = max(count + 1, int(count * BEST_OF_TIME / max(elapsed, 1e-6)))


def measure(rounds):
    """The rows of the table: medians over rounds that take the parsers in turn."""
    table = parsers()
    texts = dict(zip(CASES, (config_text(), json_text(11), json_text(1070))))
    rows = {name: [None] * len(CASES) for name in table}
    for place, (case, text) in enumerate(texts.items()):
        able = [name for name in table if not (name == 'C json' and case.startswith('config'))]
        # The json5 package takes seconds for the large text; once is enough there.
        turns = {name: 1 if name == 'json5' and len(text) > 100_000 else rounds for name in able}
        if len({json.dumps(table[name](text), sort_keys=True) for name in able}) != 1:
            raise SystemExit(f'the parsers do not agree on {case}')
        times = {name: [] for name in able}
        for turn in range(rounds):
            for name in able:
                if turn < turns[name]:
                    times[name].append(seconds_for(table[name], text))
        for name in able:
            rows[name][place] = len(text) / sorted(times[name])[len(times[name]) // 2] / 1e6
    return rows


if __name__ == '__main__':
    json.dump(measure(int(sys.argv[1])), sys.stdout)
