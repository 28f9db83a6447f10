"""A headless Chromium driven over the WebDriver protocol (W3C WebDriver), spoken with plain sockets.

`with Browser(folder) as browser:` starts chromedriver and a window with an empty profile in `folder`; both end with it.
"""
import json
import os
import shutil
import socket
import subprocess
import time

ARGUMENTS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
             '--disable-background-networking', '--disable-component-update', '--disable-sync',
             '--disable-dev-shm-usage']
PATIENCE = 60       # seconds; a browser's first start on a busy machine


def available():
    return shutil.which('chromedriver') is not None


class WebDriverError(Exception):
    """What chromedriver answered instead of a value."""


class Browser:
    def __init__(self, folder, width=1200, height=900, arguments=()):
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            self.port = probe.getsockname()[1]
        self.session = None
        self.driver = subprocess.Popen(['chromedriver', f'--port={self.port}'], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       env={**os.environ, 'HOME': str(folder)})
        try:
            self._wait()
            options = {'args': [*ARGUMENTS, f'--user-data-dir={folder}/profile', f'--window-size={width},{height}',
                                *arguments]}
            made = self.call('POST', '/session', {'capabilities': {'alwaysMatch': {
                'goog:chromeOptions': options, 'goog:loggingPrefs': {'browser': 'ALL'}}}})
            self.session = f"/session/{made['sessionId']}"
        except BaseException:
            self.close()
            raise

    def _wait(self):
        limit = time.monotonic() + PATIENCE
        while True:
            try:
                if self.call('GET', '/status')['ready']:
                    return
            except OSError:
                if time.monotonic() > limit or self.driver.poll() is not None:
                    raise
            time.sleep(0.05)

    def call(self, method, path, value=None):
        """One command; its value. Raises WebDriverError."""
        body = json.dumps(value).encode() if value is not None else b''
        head = (f'{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n'
                'Connection: close\r\n\r\n')
        with socket.create_connection(('127.0.0.1', self.port), PATIENCE) as sock:
            sock.sendall(head.encode() + body)
            data = b''
            while b'\r\n\r\n' not in data:
                data += sock.recv(65536) or _lost(data)
            head, _, data = data.partition(b'\r\n\r\n')
            length = next(int(line.split(b':')[1]) for line in head.split(b'\r\n')
                          if line.lower().startswith(b'content-length:'))
            while len(data) < length:
                data += sock.recv(65536) or _lost(data)
        answer = json.loads(data)['value']
        if isinstance(answer, dict) and 'error' in answer:
            raise WebDriverError(f"{answer['error']}: {answer['message']}")
        return answer

    def open(self, url):
        self.call('POST', f'{self.session}/url', {'url': url})

    def script(self, text, *values):
        """What this JavaScript function body returns."""
        return self.call('POST', f'{self.session}/execute/sync', {'script': text, 'args': list(values)})

    def wait(self, text, seconds=20):
        """Wait until this JavaScript expression is true and return its value."""
        limit = time.monotonic() + seconds
        while not (value := self.script(f'return {text}')):
            assert time.monotonic() < limit, f'not true within {seconds} s: {text}'
            time.sleep(0.05)
        return value

    def log(self):
        """The console messages since the last call."""
        return self.call('POST', f'{self.session}/se/log', {'type': 'browser'})

    def command(self, name, **values):
        """A command of the Chrome DevTools protocol."""
        return self.call('POST', f'{self.session}/goog/cdp/execute', {'cmd': name, 'params': values})

    def close(self):
        try:
            if self.session:
                self.call('DELETE', self.session)
        finally:
            self.driver.terminate()
            self.driver.wait(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _lost(data):
    raise ConnectionError(f'chromedriver closed the connection after {data[:200]!r}')
