"""
The web server over TLS against uvicorn: full handshakes, each with one small request, and requests on connections that stay.

Both have the same certificate (P-256) and, as both leave the choice to OpenSSL, agree on the same version and cipher with the load,
which is looked at first. A full handshake costs the client more than the server, so beside the rate that was seen stands what the
server's processor time would be enough for.
"""

import os
import socket
import ssl

from tools.benchmarks import load
from tools.benchmarks.report import Column, Result, interleave
from tools.benchmarks.servers import HELLO, TLS, BenchError, running, serving

PATH = '/api/hello'
CLOSE = ('Connection: close',)
COLUMNS = ('handshakes', 'requests')


def tls(options):
    """Rates of handshakes and of keep-alive requests, seen and by processor time."""
    result = Result('tls', 'an action over TLS, one core: a handshake for each request, and 32 connections kept alive', [
        Column(name + what, unit) for name in COLUMNS for what, unit in (('', 'seen/s'), (' by CPU', 'per s of CPU'))])
    with running(serving('https')) as servers:
        if len({agreed(server) for server in servers.values()}) > 1:
            raise BenchError('the servers agree on different ciphers')
        rates = interleave(options.rounds, list(servers), lambda name: (
            *rate(servers[name], options.seconds, CLOSE), *rate(servers[name], options.seconds, ())))
    result.rows = {name.removesuffix(TLS): list(values) for name, values in rates.items()}
    for name in COLUMNS:
        result.budget(f'uvicorn, {name} by CPU', result.ratio('uvicorn', name + ' by CPU'), 'at least', 1.0)
    return result


def rate(server, seconds, fields):
    """(requests a second, requests for each second of processor time) of 32 connections that send these fields."""
    before = server.cpu()
    seen, requests = load.wrk(server.port, PATH, 32, seconds, fields, 'https')
    return seen, requests / (server.cpu() - before)


def agreed(server):
    """(version, cipher) that a client and the server agree on, after one whole answer over it."""
    context = ssl.create_default_context(cafile=os.path.join(server.folder, 'certs', 'ca.crt'))
    with socket.create_connection(('127.0.0.1', server.port), timeout=10) as raw, \
            context.wrap_socket(raw, server_hostname='localhost') as sock:
        sock.sendall(f'GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n'.encode())
        body = load.read_answer(sock)
        if body != HELLO:
            raise BenchError(f'{server.name} answers {body[:80]!r}')
        return sock.version(), sock.cipher()[0]
