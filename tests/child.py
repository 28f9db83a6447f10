"""An agent in a child process: started, waited for by its log line or by its port, stopped by its own process id."""
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENTRY = os.path.join(TREE, 'ioto.py')
PATIENCE = 20       # seconds; only a broken agent needs them


class Child:
    """`with Child(folder, '--profile', 'prod') as child:` is ready inside, and stopped and reaped after it.

    .output() what it has written so far, .port of its first listener, .wait_for(text), .stop() -> exit status
    """

    def __init__(self, folder, *options, cwd=None, command=None, env=None):
        command = command or [sys.executable, ENTRY]
        self.process = subprocess.Popen(
            [*command, '--config', str(folder), *options], cwd=cwd or os.path.dirname(str(folder)),
            env={**os.environ, 'PYTHONUNBUFFERED': '1', **(env or {})},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.text = b''
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        while data := self.process.stdout.read1(65536):
            with self.changed:
                self.text += data
                self.changed.notify_all()
        with self.changed:
            self.process.stdout.close()
            self.changed.notify_all()

    def output(self):
        with self.changed:
            return self.text.decode(errors='replace')

    def wait_for(self, text):
        """Wait until the output holds `text` (or a match of it, where it is a compiled expression)."""
        find = (lambda output: re.search(re.escape(text), output)) if isinstance(text, str) else text.search
        limit = time.monotonic() + PATIENCE
        with self.changed:
            while not (found := find(self.text.decode(errors='replace'))):
                left = limit - time.monotonic()
                if left <= 0 or self.process.stdout.closed:
                    raise AssertionError(f'no {text!r} in the output:\n{self.text.decode(errors="replace")}')
                self.changed.wait(left)
        return found

    @property
    def port(self):
        return int(self.wait_for(re.compile(r'https?://\S*?:(\d+)\b'))[1])

    @property
    def url(self):
        """Its first listener, by the name that certificates of tests have."""
        return self.wait_for(re.compile(r'(https?)://'))[1] + f'://localhost:{self.port}'

    def send(self, number):
        self.process.send_signal(number)

    def wait(self):
        status = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        return status

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def __enter__(self):
        try:
            self.wait_for(' ready')
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.wait()


def get(port, path='/', host='127.0.0.1', method='GET'):
    """(status, fields in lower case, body) of one request on a connection of its own."""
    with socket.create_connection((host, port), PATIENCE) as sock:
        sock.sendall(f'{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n'.encode())
        data = b''
        while part := sock.recv(65536):
            data += part
    head, _, body = data.partition(b'\r\n\r\n')
    lines = head.decode('latin-1').split('\r\n')
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in lines[1:])}
    return int(lines[0].split()[1]), fields, body


def write(folder, name, text):
    """Write a file below `folder` (a pathlib path), making folders on the way, and return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
    return path
