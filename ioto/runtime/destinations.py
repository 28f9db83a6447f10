"""Where a log may go besides the console: a file that is rotated by size, or the system's log daemon.

Imported when a log is configured to go there.
"""
import os
import re
from stat import S_ISREG
from time import localtime, strftime

from .log import Console

PRIORITIES = (None, 27, 30, 31, 31)     # facility daemon * 8 + severity, RFC 3164 §4.1.1
PACKET = 1024                           # bytes, RFC 3164 §4.1
INFINITY = float('inf')


class File(Console):
    """A file that becomes path.1, and that path.2, when it would grow beyond max_size bytes."""
    size, limit = 0, INFINITY

    def __init__(self, path, max_size, backups):
        self.path, self.max_size, self.backups = path, max_size, backups
        self.fd, self.torn = -1, False

    def write(self, level, line):
        if self.size and self.size + len(line) >= self.limit:
            self.rotate()
        written = super().write(level, line)
        self.size += len(line) + 1
        return written

    def reopen(self):
        self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        try:
            self.fd = os.open(self.path, flags)
        except FileNotFoundError:
            path = os.path.realpath(self.path)
            folder = os.path.dirname(path)
            os.makedirs(folder, exist_ok=True)
            self.fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o640)
            try:
                os.fchown(self.fd, *os.stat(folder)[4:6])       # whom the process may become, where root makes it
            except OSError:
                pass
        status = os.fstat(self.fd)
        self.size = status.st_size
        self.limit = self.max_size if self.max_size and S_ISREG(status.st_mode) else INFINITY

    def rotate(self):
        names = [self.path]
        while len(names) <= self.backups and os.path.exists(names[-1]):
            names.append(f'{self.path}.{len(names)}')
        try:
            for old, new in reversed(list(zip(names, names[1:]))):
                os.replace(old, new)
            if not self.backups and os.path.exists(self.path):
                os.unlink(self.path)
            self.reopen()
        except OSError:
            self.limit += self.max_size     # in a folder that may not be written the file has to go on growing

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Syslog:
    """Datagrams to the system's log daemon, which may start later than the agent and come again."""

    def __init__(self, path, app):
        self.path, self.socket = path, None
        self.tag = re.sub('[^A-Za-z0-9_.-]', '', app)[:32]

    def write(self, level, line):
        head = f'<{PRIORITIES[level]}>{strftime("%b %e %H:%M:%S", localtime())} {self.tag}[{os.getpid()}]: '.encode()
        return all([self.send(head + part) for part in line.split(b'\n')])

    def send(self, packet):
        if len(packet) > PACKET:
            packet = packet[:PACKET - 3].decode('utf-8', 'ignore').encode() + b'...'
        for _attempt in range(2):
            try:
                if self.socket is None:
                    import socket
                    self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                    self.socket.setblocking(False)
                    self.socket.connect(self.path)
                self.socket.send(packet)
                return True
            except BlockingIOError:
                raise
            except OSError:
                self.close()
        return False

    def close(self):
        if self.socket:
            self.socket.close()
            self.socket = None

    reopen = close
