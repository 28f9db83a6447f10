"""Listening: TCP over IPv4 and IPv6, UNIX sockets, and TLS over either.

A listener accepts in a fiber of its own and runs its handler in one fiber a connection. When the process is out of descriptors it
pauses instead of spinning.
"""

import errno
import os
import socket
import stat

from .fiber import kernel
from .kernel import sleep
from .log import DEBUG, Log
from .poller import Waitable
from .stream import Stream, literal

BACKLOG = 1024          # connections that wait to be accepted
HANDSHAKE = 10.0        # seconds for a client's TLS handshake
PAUSE = 0.5             # seconds without accepting when descriptors or memory have run out

GONE = {errno.ECONNABORTED, errno.EPROTO, errno.EINTR, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH}      # only that client

log = Log('runtime')


def split_address(address):
    """Return (host, port) of 'host:port', ':port', '[::1]:port', a port number or a pair; ('unix', path) of 'unix:/path'.

    An empty host means every interface. Raises ValueError.
    """
    if isinstance(address, tuple):
        return address[0], int(address[1])
    if isinstance(address, int):
        return '', address
    if address.startswith('unix:'):
        return 'unix', address[5:]
    host, colon, port = address.rpartition(':')
    if host.startswith('[') and host.endswith(']'):
        host = host[1:-1]
    elif ':' in host:
        colon = ''
    if not colon or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(f'expected an address such as 127.0.0.1:8080, [::1]:8080, :8080 or unix:/path, got {address!r}')
    return host, int(port)


class Server:
    """Listening sockets and the fibers that accept from them; made by `listen`."""

    def __init__(self, handler, tls, handshake):
        self.handler = handler
        self.tls = tls
        self.handshake = handshake
        self.sockets = []
        self.fibers = []
        self.connections = {}           # fiber that runs the handler: its socket
        self.path = None                # of a UNIX socket

    @property
    def addresses(self):
        """What this server listens on, as 'host:port', '[host]:port' or 'unix:/path'."""
        if self.path is not None:
            return ['unix:' + self.path]
        names = [sock.getsockname() for sock in self.sockets]
        return [f'[{name[0]}]:{name[1]}' if ':' in name[0] else f'{name[0]}:{name[1]}' for name in names]

    @property
    def port(self):
        """The port of the first socket, None for a UNIX socket."""
        return None if self.path is not None else self.sockets[0].getsockname()[1]

    def accept(self):
        """Begin to accept connections."""
        mine = kernel()
        self.fibers = [mine.spawn(self._accept(sock), f'listen {name}') for sock, name in zip(self.sockets, self.addresses)]

    async def _accept(self, sock):
        mine = kernel()
        waitable = Waitable(mine, sock.fileno())
        try:
            while True:
                try:
                    connection, remote = sock.accept()
                except BlockingIOError:
                    await waitable.readable()
                    continue
                except OSError as error:
                    if error.errno not in GONE:
                        log.error(f'cannot accept connections: {error.strerror}; trying again in {PAUSE:g} s')
                        await sleep(PAUSE)
                    continue
                connection.setblocking(False)
                fiber = mine.spawn(self._serve(mine, connection, remote), 'connection')
                self.connections[fiber] = connection
                fiber.watchers = [self._ended]
                await mine.checkpoint()
        finally:
            waitable.forget()
            sock.close()

    def _ended(self, fiber):
        self.connections.pop(fiber).close()                             # where the fiber never came to it
        if fiber.error is not None:
            fiber.kernel.report(f'fiber {fiber.name} failed', fiber.error)

    async def _serve(self, mine, connection, remote):
        remote = remote[:2] if remote else ('unix', 0)
        if self.tls is None:
            stream = Stream(mine, connection, remote)
        else:
            stream = await self._secure(mine, connection, remote)
            if stream is None:
                return
        try:
            await self.handler(stream)
            await stream.close()
        finally:
            stream.abort()

    async def _secure(self, mine, connection, remote):
        from .tls import TlsStream
        stream = None
        try:
            stream = TlsStream(mine, connection, remote, self.tls, True)
            if self.handshake is None:
                return stream
            from .scopes import timeout as time_limit
            async with time_limit(self.handshake):
                await stream.handshake()
            return stream
        except BaseException as error:
            connection.close() if stream is None else stream.abort()
            if not isinstance(error, OSError):                          # ssl.SSLError and TimeoutError are OSErrors
                raise
            if log.level >= DEBUG:
                log.debug(f'TLS handshake with {remote[0]} failed: {error}')
        return None

    async def close(self, connections=False):
        """Stop listening. Connections go on, unless `connections` is true: then their fibers are cancelled and joined."""
        for fiber in self.fibers:
            fiber.cancel()
        for fiber in self.fibers:
            await fiber.join()
        for sock in self.sockets:
            sock.close()
        self.fibers = []
        if self.path is not None and self.sockets:
            try:
                os.unlink(self.path)
            except OSError:
                pass
        self.sockets = []
        if connections:
            fibers = list(self.connections)
            for fiber in fibers:
                fiber.cancel()
            for fiber in fibers:
                try:
                    await fiber.join()
                except Exception:
                    pass                                                # reported by _ended

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, trace):
        await self.close(connections=True)


def _bind(family, address):
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_UNIX:
            _remove_stale(address)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what is accepted
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path):
    """Remove the UNIX socket of a process that has gone. Raises OSError EADDRINUSE when it still answers."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.setblocking(False)
    refused = probe.connect_ex(path) == errno.ECONNREFUSED
    probe.close()
    if not refused:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    os.unlink(path)


def _bind_all(port):
    """Bind every interface, of IPv4 and, where there is one, of IPv6."""
    sockets = [_bind(socket.AF_INET, ('', port))]
    try:
        sockets.append(_bind(socket.AF_INET6, ('::', port or sockets[0].getsockname()[1])))
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            sockets[0].close()
            raise
    return sockets


async def listen(address, handler, tls=None, handshake=HANDSHAKE, accept=True):
    """Listen on an address (see `split_address`) and run `await handler(stream)` in a fiber for each connection.

    tls: an ssl.SSLContext for servers; its handshake is done before the handler is called and has `handshake` seconds, or is left to
    the handler when that is None. The Server's `tls` may be set to another one for what is accepted next. accept: false leaves it
    to `Server.accept` to begin. Returns a Server. Raises OSError that names the address, ValueError when it is none.
    """
    host, port = split_address(address)
    server = Server(handler, tls, handshake)
    try:
        if isinstance(port, str):
            server.sockets = [_bind(socket.AF_UNIX, port)]
            server.path = port
        elif not host:
            server.sockets = _bind_all(port)
        else:
            addresses = literal(host, port)
            if addresses is None:
                from .lookup import resolve
                addresses = await resolve(host, port, passive=True)
            for family, found in addresses:
                if port == 0 and server.sockets:
                    found = (found[0], server.port, *found[2:])
                server.sockets.append(_bind(family, found))
    except OSError as error:
        for sock in server.sockets:
            sock.close()
        raise OSError(error.errno, f'cannot listen on {address}: {error.strerror or error}') from None
    if accept:
        server.accept()
    return server
