"""
What makes requests: wrk for rates, plain sockets for single answers and for connections that stay open.

wrk counts an answer by its status only, so `check_answer` looks at one whole answer first; a run in which wrk saw
another status than 2xx or 3xx, or lost a connection, is an error and no number. A server that ends each answer by
closing (HTTP/1.0 without a length) makes wrk count a read error for every request: exactly as many are no fault.
"""

import http.client
import re
import socket
import subprocess

from tools import peers
from tools.benchmarks.servers import BenchError, pinned_to_load

# What a browser sends beside Host, ten fields.
BROWSER_FIELDS = (
    'Connection: keep-alive',
    'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36',
    'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
    'Accept-Language: en-US,en;q=0.9,de;q=0.8',
    'Accept-Encoding: gzip, deflate, br',
    'Referer: http://127.0.0.1/index.html',
    'Cookie: theme=dark; session=4f2b8c6d9e0a1b3c5d7e9f0a2b4c6d8e',
    'Sec-Fetch-Dest: empty',
    'Sec-Fetch-Mode: cors',
    'Sec-Fetch-Site: same-origin',
)


def wrk(port, path, connections=32, seconds=2, fields=(), scheme='http'):
    """
    Keep-alive GET requests for some seconds over that many connections. Returns (requests a second, requests in all).
    """
    program = peers.which('wrk')
    if program is None:
        raise BenchError('wrk, which makes the load, is not there')
    command = [program, '-t1', f'-c{connections}', f'-d{seconds}s', '--timeout', '10s']
    for field in fields:
        command += ['-H', field]
    done = subprocess.run([*command, f'{scheme}://127.0.0.1:{port}{path}'], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, preexec_fn=pinned_to_load)
    return wrk_numbers(done.stdout + done.stderr)


def wrk_numbers(output):
    """(requests a second, requests in all) out of wrk's report; BenchError if it reports failures or nothing."""
    rate = re.search(r'Requests/sec:\s+([\d.]+)', output)
    requests = re.search(r'(\d+) requests in', output)
    if rate is None or requests is None:
        raise BenchError(f'wrk: {" ".join(output.split())}')
    if other := re.search(r'Non-2xx or 3xx responses: \d+', output):
        raise BenchError(f'wrk: {other.group()} of {requests.group(1)}')
    errors = re.search(r'Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)', output)
    if errors and errors.groups() != ('0', requests.group(1), '0', '0'):
        raise BenchError(f'wrk: {errors.group()}')
    return float(rate.group(1)), int(requests.group(1))


def get(port, path, timeout=10):
    """One GET over a connection of its own; returns (status, body)."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=timeout)
    try:
        connection.request('GET', path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def check_answer(server, path, body):
    """BenchError unless the server answers 200 with exactly this body: only equal work is compared."""
    status, found = get(server.port, path)
    if status != 200 or found != body:
        raise BenchError(f'{server.name} answers {path} with {status} and {found[:80]!r}, not 200 and {body[:80]!r}')


def open_connections(port, path, count):
    """Open that many keep-alive connections, each after one whole request and answer; returns their sockets."""
    request = f'GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n'.encode()
    sockets = []
    for _ in range(count):
        sock = socket.create_connection(('127.0.0.1', port), timeout=10)
        sockets.append(sock)
        sock.sendall(request)
        read_answer(sock)
    return sockets


def read_answer(sock):
    """Read one answer that has a Content-Length; returns its body."""
    data = b''
    while b'\r\n\r\n' not in data:
        data += received(sock)
    head, _, body = data.partition(b'\r\n\r\n')
    length = re.search(rb'(?i)\r\ncontent-length: *(\d+)', head)
    if not length:
        raise BenchError(f'an answer without Content-Length: {head[:80]!r}')
    while len(body) < int(length.group(1)):
        body += received(sock)
    return body


def received(sock):
    data = sock.recv(65536)
    if not data:
        raise BenchError('the server closed a keep-alive connection')
    return data


def download(port, path):
    """Read an answer of any size up to the end of the connection; returns the bytes of its body."""
    with socket.create_connection(('127.0.0.1', port), timeout=60) as sock:
        sock.sendall(f'GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n'.encode())
        data = b''
        while b'\r\n\r\n' not in data:
            data += received(sock)
        total = len(data.partition(b'\r\n\r\n')[2])
        buffer = bytearray(1 << 20)
        # MSG_TRUNC lets the kernel drop what it would copy: the load must not be what limits the speed.
        while count := sock.recv_into(buffer, 0, socket.MSG_TRUNC):
            total += count
        return total


def upload_form(port, path, size):
    """POST a multipart form with a file of `size` bytes as fast as the server takes it; returns the body of the answer."""
    begin = b'--a-boundary\r\nContent-Disposition: form-data; name="file"; filename="file.bin"\r\n\r\n'
    end = b'\r\n--a-boundary--\r\n'
    piece = bytes(range(256)) * 4096
    with socket.create_connection(('127.0.0.1', port), timeout=60) as sock:
        sock.sendall(f'POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n'
                     'Content-Type: multipart/form-data; boundary=a-boundary\r\n'
                     f'Content-Length: {len(begin) + size + len(end)}\r\n\r\n'.encode() + begin)
        for at in range(0, size, len(piece)):
            sock.sendall(memoryview(piece)[:size - at])
        sock.sendall(end)
        return read_answer(sock)


def upload(port, path, size):
    """POST `size` bytes in chunks of 64 KiB as fast as the server takes them; returns (status, body)."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    piece = bytes(65536)
    try:
        connection.request('POST', path, body=(piece for _ in range(size // len(piece))), encode_chunked=True,
                           headers={'Transfer-Encoding': 'chunked', 'Content-Type': 'application/octet-stream'})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
