"""The agent as a child process, for tests that talk to it over sockets.

`start(folder, …)` writes a configuration folder and a small site, starts `python3 ioto.py --config FOLDER` on a port
that the kernel chooses, and returns when it is ready.
"""

import json
import os
import time

from tests import child

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


def write_site(folder):
    """The files of FILES under folder, with their time of modification set."""
    for name, data in FILES.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file:
            file.write(data)
        when = time.time() + 86400 * 30 if name == 'future.txt' else MODIFIED
        os.utime(path, (when, when))


class Child(child.Child):
    """A running agent with that site: also .pid, .folder, .site, .log()."""

    def __init__(self, folder):
        super().__init__(folder, '--app', APP, cwd=folder)
        self.folder, self.site, self.pid = folder, os.path.join(folder, 'site'), self.process.pid

    log = child.Child.output

    def running(self):
        return self.process.poll() is None

    def terminate(self):
        self.process.terminate()


def start(folder, limits=None, timeouts=None, **web):
    """Start the agent with that web configuration in `folder`."""
    folder = str(folder)
    write_site(os.path.join(folder, 'site'))
    settings = {'listen': ['http://127.0.0.1:0'], 'documents': os.path.join(folder, 'site'), **web}
    if limits:
        settings['limits'] = limits
    if timeouts:
        settings['timeouts'] = timeouts
    for name, value in (('ioto.json5', {'services': {'web': True}}), ('web.json5', settings)):
        with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
            json.dump(value, file)
    return Child(folder).__enter__()
