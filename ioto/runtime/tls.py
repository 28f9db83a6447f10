"""TLS for streams, through the ssl module on non-blocking sockets.

`ssl` is a package of its own on small systems, so only this module imports it, and only who needs TLS imports this module.
TLS 1.2 is the floor. A handshake is a loop of attempts, each waiting for the direction that OpenSSL names, so it blocks nobody.
Client sessions are remembered for each context and peer, and offered at the next connection.
"""

import ssl
import weakref

from .stream import CHUNK, Stream

SESSIONS = 32           # remembered client sessions for each context

_sessions = weakref.WeakKeyDictionary()


def server_context(certificate, key, authority=None, verify=False, alpn=None):
    """Return a context for listeners.

    `certificate` and `key` are PEM file names; `authority` a PEM file to check client certificates with, which are then asked
    for, and required when `verify` is true. Raises ssl.SSLError or OSError that says which file is at fault.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, certificate, key)
    if authority:
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_OPTIONAL
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def client_context(authority=None, certificate=None, key=None, verify=True, alpn=None):
    """Return a context for connecting. `authority`: PEM file of trusted certificates, by default the system's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authority:
        context.load_verify_locations(authority)
    else:
        context.load_default_certs()
    if certificate:
        _load(context, certificate, key)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def _load(context, certificate, key):
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise type(error)(error.errno, f'cannot load certificate {certificate} with key {key}: {error}') from None


class TlsStream(Stream):
    """A stream over TLS. After `handshake`: `alpn` (chosen protocol or None), `version`, `cipher`, `peer_certificate()`."""

    __slots__ = ('session_key', 'wants', 'truncated')

    secure = True

    def __init__(self, kernel, sock, remote, context, server_side, server_name=None, session_key=None):
        session = None
        self.session_key = None
        if session_key is not None:
            self.session_key = (weakref.ref(context), session_key)
            session = _sessions.get(context, {}).get(session_key)
        sock = context.wrap_socket(sock, server_side=server_side, server_hostname=server_name, do_handshake_on_connect=False,
                                   suppress_ragged_eofs=False, session=session)
        super().__init__(kernel, sock, remote)
        self.wants = None               # the direction that OpenSSL waits for
        self.truncated = False          # the peer ended without saying so (close_notify)

    async def handshake(self):
        """Agree on keys and check certificates. Raises ssl.SSLError, ConnectionError."""
        while True:
            try:
                self.sock.do_handshake()
                return
            except ssl.SSLWantReadError:
                await self.readable()
            except ssl.SSLWantWriteError:
                await self.writable()

    @property
    def alpn(self):
        return self.sock.selected_alpn_protocol()

    @property
    def version(self):
        return self.sock.version()

    @property
    def cipher(self):
        return self.sock.cipher()

    @property
    def resumed(self):
        """Whether a remembered session saved the full handshake."""
        return self.sock.session_reused

    def peer_certificate(self, binary=False):
        """Return the peer's certificate as ssl.SSLSocket.getpeercert does, or None."""
        return self.sock.getpeercert(binary)

    def receive(self, n):
        try:
            return self.sock.recv(n)
        except ssl.SSLWantReadError:
            self.wants = None
        except ssl.SSLWantWriteError:
            self.wants = 'w'
        except ssl.SSLEOFError:
            self.truncated = True
            return b''
        except ssl.SSLZeroReturnError:
            return b''
        return None

    def transmit(self, data):
        try:
            return self.sock.send(data)
        except ssl.SSLWantWriteError:
            self.wants = None
        except ssl.SSLWantReadError:
            self.wants = 'r'
        return 0

    async def await_receive(self):
        wants, self.wants = self.wants, None
        await (self.writable() if wants == 'w' else self.readable())

    async def await_transmit(self):
        wants, self.wants = self.wants, None
        await (self.readable() if wants == 'r' else self.writable())

    async def _send_file(self, descriptor, offset, count):
        import os
        start = offset
        while count:
            data = os.pread(descriptor, min(count, CHUNK), offset)
            if not data:
                break
            view = memoryview(data)
            while view:
                n = self.transmit(view)
                if n:
                    view = view[n:]
                    await self.kernel.checkpoint()
                else:
                    await self.await_transmit()
            self.sent += len(data)
            offset += len(data)
            count -= len(data)
        return offset - start

    def shutdown(self):
        """Send close_notify. The peer's is not waited for."""
        try:
            self.sock.unwrap()
        except (OSError, ValueError):
            pass

    def abort(self):
        if not self.closed:
            if self.session_key is not None:
                self._remember()
            self.shutdown()
        super().abort()

    def _remember(self):
        context, key = self.session_key[0](), self.session_key[1]
        session = self.sock.session
        if context is not None and session is not None and session.has_ticket:
            known = _sessions.setdefault(context, {})
            known.pop(key, None)
            while len(known) >= SESSIONS:
                del known[next(iter(known))]
            known[key] = session
