"""
The web server against its peers: http (an action), static (a small file), connections (many at a time), stream (1 GB),
upload (a form with a large file).
"""

import contextlib
import os
import tempfile
import time

from tools.benchmarks import load
from tools.benchmarks.report import Column, Result, interleave
from tools.benchmarks.servers import HELLO, SMALL, BenchError, running, serving

RATE = 'requests/s'
ACTION = '/api/hello'
FILE = '/small.txt'
DISK = 'the disk alone'


def http(options):
    """Rates of a JSON action, with wrk's one header field and with those of a browser."""
    result = Result('http', 'a JSON action, GET, keep-alive, 32 connections, one core',
                    [Column('1 field', RATE), Column('11 fields', RATE)])
    measure_rates(result, ACTION, HELLO, serving('hello'), options, [(), load.BROWSER_FIELDS])
    for column in ('1 field', '11 fields'):
        result.budget(f'uvicorn, {column}', result.ratio('uvicorn', column), 'at least', 1.0)
        result.budget(f'aiohttp, {column}', result.ratio('aiohttp', column), 'at least', 1.8)
    return result


def static(options):
    """Rates of a file of 1 KiB."""
    result = Result('static', 'a file of 1 KiB, GET, keep-alive, 32 connections, one core', [Column('1 KiB', RATE)])
    measure_rates(result, FILE, SMALL, serving('small'), options, [()])
    result.budget('aiohttp', result.ratio('aiohttp', '1 KiB'), 'at least', 8)
    return result


def measure_rates(result, path, body, names, options, cases):
    """Fill the rows of a Result: one column a case, which is a tuple of header fields."""
    with running(names) as servers:
        names = list(servers)
        for server in servers.values():
            load.check_answer(server, path, body)
        rates = interleave(options.rounds, names, lambda name: tuple(
            load.wrk(servers[name].port, path, 32, options.seconds, fields)[0] for fields in cases))
    result.rows = {name: list(rates[name]) for name in names}


def connections(options):
    """What open connections cost: processor time a request under load from 1 to 1,000, and memory while they idle."""
    counts = (1, 32, 256, 1000)
    names = serving('hello', ('agent', 'aiohttp', 'uvicorn', 'nginx'))
    columns = [Column(f'{count} open', 'µs/request') for count in counts]
    columns.append(Column('32 + 1000 idle', 'µs/request'))
    columns += [Column(f'rate, {count} open', RATE, ratio=False) for count in (1, 1000)]
    result = Result('connections', 'an action over many connections: processor time a request, memory a connection',
                    [*columns, Column('an idle one', 'bytes')])
    memory = {}
    with running(names) as servers:
        names = list(servers)
        for server in servers.values():
            memory[server.name] = idle_memory(server, 1000)
        active = interleave(options.rounds, names, lambda name: tuple(
            number for count in counts for number in cost(servers[name], count, options.seconds)))
        idle = interleave(options.rounds, names, lambda name: crowded_cost(servers[name], 1000, options.seconds))
    for name in names:
        costs, rates = active[name][::2], active[name][1::2]
        result.rows[name] = [*costs, idle[name], rates[0], rates[-1], memory[name]]
    ours = result.rows['agent']
    result.budget('1000 open against 32 open, processor time', ours[3] / ours[1], 'at most', 1.25)
    result.budget('1000 idle beside 32 active, processor time', ours[4] / ours[1], 'at most', 1.25)
    result.budget('an idle connection, bytes', memory['agent'], 'at most', 12 * 1024)
    result.notes.append('with 1 open, each request waits for the load as well: no two requests share a wake-up')
    return result


def idle_memory(server, count):
    """Bytes of resident memory for each of `count` idle keep-alive connections, after a first one has warmed up."""
    for sock in load.open_connections(server.port, ACTION, 4):
        sock.close()
    time.sleep(0.2)
    before = server.memory()[0]
    sockets = load.open_connections(server.port, ACTION, count)
    time.sleep(0.2)
    after = server.memory()[0]
    close(sockets)
    return (after - before) / count


def cost(server, count, seconds):
    """(µs of processor time a request, requests a second) under load over that many connections."""
    before = server.cpu()
    rate, requests = load.wrk(server.port, ACTION, count, seconds)
    return (server.cpu() - before) / requests * 1e6, rate


def crowded_cost(server, idle, seconds):
    """µs of processor time a request over 32 connections while `idle` others stay open."""
    sockets = load.open_connections(server.port, ACTION, idle)
    try:
        return cost(server, 32, seconds)[0]
    finally:
        close(sockets)


def close(sockets):
    for sock in sockets:
        sock.close()
    # Let the server see them go before the next measurement.
    time.sleep(0.3)


def stream(options):
    """A large file down, and a large chunked upload to an action that reads slowly: speed, and memory on top."""
    size = options.megabytes << 20
    names = serving('large', ('agent', 'aiohttp', 'uvicorn', 'nginx'))
    result = Result('stream', f'{options.megabytes:,} MB through one connection: speed and the peak of memory on top', [
        Column('file', 'MB/s'), Column('memory', 'KB more', ratio=False),
        Column('slow upload', 'MB/s', ratio=False), Column('its memory', 'KB more', ratio=False)])
    with running(names) as servers, large_file(size) as path:
        for name, server in servers.items():
            load.check_answer(server, ACTION, HELLO)
            os.link(path, os.path.join(server.site, 'large.bin'))
            values = [*stream_file(server, size)]
            values += stream_upload(server, size) if name in serving('slow') else [None, None]
            result.rows[name] = values
    down, up = result.rows['agent'][1], result.rows['agent'][3]
    result.budget('memory for the file, KB', down, 'at most', 2048)
    result.budget('memory for the upload, KB', up, 'at most', 2048)
    result.notes.append('the action pauses for 4 ms after each megabyte, which bounds the upload at about 250 MB/s')
    return result


@contextlib.contextmanager
def large_file(size):
    """A file of that many bytes, read once so that the cache holds it for each server alike; its path."""
    with tempfile.NamedTemporaryFile(prefix='ioto-bench-') as file:
        file.truncate(size)
        while file.read(1 << 20):
            pass
        os.chmod(file.name, 0o644)
        yield file.name


def stream_file(server, size):
    """Download the large file: (MB a second, KB of memory more at the peak)."""
    return streamed(server, size, lambda: load.download(server.port, '/large.bin') == size)


def stream_upload(server, size):
    """Upload as much in chunks: (MB a second, KB of memory more at the peak)."""
    return streamed(server, size, lambda: load.upload(server.port, '/api/slow', size) == (200, str(size).encode()))


def streamed(server, size, transfer):
    """Run a transfer, which returns whether all of it arrived; (MB a second, KB of memory more at the peak)."""
    server.reset_peak()
    before, began = server.peak(), time.perf_counter()
    if not transfer():
        raise BenchError(f'{server.name} did not transfer all of {size} bytes')
    elapsed = time.perf_counter() - began
    return size / elapsed / (1 << 20), (server.peak() - before) / 1024


def upload(options):
    """A multipart form with a large file, written to disk: speed, memory on top, and what the disk takes by itself."""
    size = options.megabytes << 20
    names = serving('form', ('agent', 'aiohttp'))
    result = Result('upload', f'a form with a file of {options.megabytes:,} MB, written to disk', [
        Column('upload', 'MB/s'), Column('memory', 'KB more', ratio=False)])
    with running(names) as servers:
        for server in servers.values():
            load.upload_form(server.port, '/api/form', 1 << 20)
        values = interleave(options.rounds, [*servers, DISK], lambda name: (
            stream_form(servers[name], size) if name in servers else (disk_speed(size), 0)))
    result.rows = {name: [speed, None if name == DISK else memory] for name, (speed, memory) in values.items()}
    disk = result.value(DISK, 'upload')
    result.budget('MB/s (150, or what the disk takes)', result.value('agent', 'upload'), 'at least', min(150, disk))
    result.budget('memory, KB', result.value('agent', 'memory'), 'at most', 4096)
    return result


def stream_form(server, size):
    """Upload the file in a form: (MB a second, KB of memory more at the peak)."""
    return streamed(server, size, lambda: load.upload_form(server.port, '/api/form', size) == str(size).encode())


def disk_speed(size):
    """MB a second of writing a file where the servers write theirs."""
    piece = bytes(range(256)) * 4096
    began = time.perf_counter()
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(0, size, len(piece)):
            file.write(piece)
    return size / (time.perf_counter() - began) / (1 << 20)
