"""Connecting: TCP over IPv4 and IPv6, UNIX sockets, and TLS over either.

Addresses of both families are tried in turn, the next one 250 ms after the last began or as soon as it failed, and the first that
connects wins (RFC 8305).
"""

import errno
import os
import socket

from .fiber import kernel
from .kernel import sleep
from .group import TaskGroup
from .lookup import resolve
from .scopes import timeout as time_limit
from .stream import Stream

STAGGER = 0.25          # seconds between attempts (RFC 8305 §5)
RETRY = 0.02            # seconds between attempts on a UNIX socket


async def _connect_one(family, address):
    mine = kernel()
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    stream = Stream(mine, sock, address if family == socket.AF_UNIX else address[:2])
    try:
        code = sock.connect_ex(address)
        while code == errno.EAGAIN:                 # a UNIX socket whose line is full
            await sleep(RETRY)
            code = sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            await stream.writable()
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            where = address if family == socket.AF_UNIX else f'{address[0]} port {address[1]}'
            raise OSError(code, f'cannot connect to {where}: {os.strerror(code)}')
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        stream.abort()
        raise
    return stream


async def _race(addresses):
    """Connect to the first of the addresses that answers; the others are cancelled and closed."""
    winner = []
    errors = []

    async def attempt(family, address, group):
        try:
            stream = await _connect_one(family, address)
        except OSError as error:
            errors.append(error)
            return
        if winner:
            stream.abort()
        else:
            winner.append(stream)
            group.cancel()

    try:
        async with TaskGroup() as group:
            for family, address in addresses:
                fiber = group.spawn(attempt(family, address, group), f'connect {address}')
                if len(addresses) > 1:
                    try:
                        async with time_limit(STAGGER):
                            await fiber.join()
                    except TimeoutError:
                        pass
                if winner:
                    break
    except BaseException:
        for stream in winner:
            stream.abort()
        raise
    if not winner:
        raise errors[0]
    return winner[0]


async def connect(host, port=None, tls=None, alpn=None, server_name=None, timeout=None):
    """Connect to a host and port, or to a UNIX socket ('unix:/path'), and return a Stream.

    tls: an ssl.SSLContext, or True for one with the system's authorities. alpn: protocol names to offer. server_name: for SNI
    and the certificate check, by default the host. timeout: seconds for the look-up, connecting and the TLS handshake together.
    Raises OSError (ConnectionError, ssl.SSLError, ...) that names the peer, TimeoutError.
    """
    async with time_limit(timeout):
        if host.startswith('unix:'):
            stream = await _connect_one(socket.AF_UNIX, host[5:])
        else:
            stream = await _race(await resolve(host, port))
        if tls is None or tls is False:
            return stream
        return await start_tls(stream, tls, alpn, server_name or host, (host, port))


async def start_tls(stream, context, alpn=None, server_name=None, session_key=None):
    """Put TLS over a connected stream as its client and return the new stream. The old one must not be used again."""
    from .tls import TlsStream, client_context
    if context is True:
        context = client_context(alpn=alpn)
    elif alpn:
        context.set_alpn_protocols(alpn)
    stream.forget()
    stream.closed = True
    try:
        secure = TlsStream(stream.kernel, stream.sock, stream.remote, context, False, server_name,
                           session_key and (*session_key, server_name))
    except BaseException:
        stream.sock.close()
        raise
    try:
        await secure.handshake()
    except BaseException:
        secure.abort()
        raise
    return secure
