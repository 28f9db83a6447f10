"""The agent as a child process, for tests that talk to it over sockets.

`start(folder, …)` writes a configuration folder and a small site, starts `python3 ioto.py --config FOLDER` on a port
that the kernel chose, and returns when the port accepts connections. The child is ended by its own process id only.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
APP = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'webapp.py')

HELLO = b'Hello, world.\n'
INDEX = b'<!DOCTYPE html>\n<html><head><title>Index</title></head><body>index</body></html>\n'
BIG = bytes(range(256)) * 1200                 # 307,200 bytes, in which each byte's place can be checked
MODIFIED = 1577836800                          # Wed, 01 Jan 2020 00:00:00 GMT, the time of each file but future.txt
FILES = {
    'index.html': INDEX,
    'hello.txt': HELLO,
    'other.txt': b'Another file.\n',
    'empty.txt': b'',
    'style.css': b'body { color: black }\n',
    'data.json': b'{"value": 1}\n',
    'pixel.png': b'\x89PNG\r\n\x1a\n' + bytes(40),
    'big.bin': BIG,
    'with space.txt': b'space\n',
    'future.txt': b'from the future\n',
    'dir/index.html': b'<p>directory</p>\n',
    'dir/sub/file.txt': b'deep\n',
    'bare/file.txt': b'no index here\n',
}


def free_port():
    """A port number that the kernel gave out a moment ago."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def write_site(folder):
    """The files of FILES under folder, with their time of modification set."""
    for name, data in FILES.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file:
            file.write(data)
        when = time.time() + 86400 * 30 if name == 'future.txt' else MODIFIED
        os.utime(path, (when, when))


class Child:
    """A running agent: .port, .pid, .folder, .site; .stop() returns the exit status, .log() what it printed."""

    def __init__(self, folder, port, process, log):
        self.folder, self.port, self.process, self.log_path = folder, port, process, log
        self.pid, self.site = process.pid, os.path.join(folder, 'site')

    def log(self):
        with open(self.log_path, encoding='utf-8', errors='replace') as file:
            return file.read()

    def running(self):
        return self.process.poll() is None

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds=15):
        return self.process.wait(seconds)

    def stop(self):
        if self.running():
            self.terminate()
            try:
                return self.wait()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode


def start(folder, limits=None, timeouts=None, seconds=15, **web):
    """Starts the agent with that web configuration in `folder` (a str); raises RuntimeError with its output if it does
    not accept connections within `seconds`."""
    folder = str(folder)
    port = free_port()
    write_site(os.path.join(folder, 'site'))
    settings = {'listen': [f'http://127.0.0.1:{port}'], 'documents': os.path.join(folder, 'site'), **web}
    if limits:
        settings['limits'] = limits
    if timeouts:
        settings['timeouts'] = timeouts
    for name, value in (('ioto.json5', {'services': {'web': True}}), ('web.json5', settings)):
        with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
            json.dump(value, file)
    log = os.path.join(folder, 'output.txt')
    with open(log, 'wb') as output:
        process = subprocess.Popen([sys.executable, os.path.join(ROOT, 'ioto.py'), '--config', folder, '--app', APP],
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
    child = Child(folder, port, process, log)
    if not accepts(child, seconds):
        status = child.stop()
        raise RuntimeError(f'the agent does not listen on port {port} (exit status {status}):\n{child.log()}')
    return child


def accepts(child, seconds):
    """Whether the child accepts a connection within that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and child.running():
        try:
            socket.create_connection(('127.0.0.1', child.port), 1).close()
            return True
        except OSError:
            time.sleep(0.02)
    return False
