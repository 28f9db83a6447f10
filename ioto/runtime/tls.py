"""TLS for streams, through the ssl module on non-blocking sockets.

`ssl` is a package of its own on small systems, so only this module imports it, and only who needs TLS imports this module.
TLS 1.2 is the floor. A handshake is a loop of attempts, each waiting for the direction that OpenSSL names, so it blocks nobody.
A server may have several certificates: the name that the client asks for (SNI, RFC 6066 §3) chooses among the names in them.
All share one authority for certificates of clients, for a session that was agreed under one name can be resumed under another.
Client sessions are remembered for each context and peer, and offered at the next connection.
"""

import errno
import ssl
import weakref

from .stream import CHUNK, Stream

SESSIONS = 32           # remembered client sessions for each context
VERSIONS = {'1.2': ssl.TLSVersion.TLSv1_2, '1.3': ssl.TLSVersion.TLSv1_3}
UNFIT = {'KEY_VALUES_MISMATCH': 'the key belongs to another certificate', 'PEM_LIB': 'the key is none in PEM form'}

_sessions = weakref.WeakKeyDictionary()


class TlsError(OSError):
    """What no context can be made of: `.part` names the argument at fault, str() says why."""

    def __init__(self, part, message):
        super().__init__(message)
        self.part = part


def server_context(certificate, key, authority=None, verify=False, alpn=None, ciphers=None, minimum='1.2', tickets=True,
                   certificates=()):
    """Return a context for listeners.

    `certificate` and `key` are PEM file names, `certificates` further pairs of them, each used for the names in it. `authority`: PEM
    file to check client certificates with, which are then asked for, and required when `verify` is true or {'client': True}.
    `ciphers` of TLS 1.2 as OpenSSL names them; `minimum` '1.2' or '1.3'; `tickets`: whether sessions may be resumed, or how many
    tickets a TLS 1.3 client gets. Raises TlsError (an OSError).
    """
    mode = _verify_mode(verify, authority)
    if str(minimum) not in VERSIONS:
        raise TlsError('minimum', f"expected '1.2' or '1.3', got {minimum!r}")
    known, default = {}, None
    for n, pair in enumerate([(certificate, key), *certificates]):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = VERSIONS[str(minimum)]
        context.options |= ssl.OP_NO_RENEGOTIATION
        found = _load(context, *pair, f'certificates[{n - 1}].' if n else '')
        names = [value.lower() for kind, value in found.get('subjectAltName', ()) if kind == 'DNS']
        if n and not names:
            raise TlsError(f'certificates[{n - 1}].certificate', f'{pair[0]} has no name that a client could ask for')
        if mode:
            _trust(context, authority)
            context.verify_mode = mode
        try:
            if ciphers:
                context.set_ciphers(ciphers)
        except ssl.SSLError:
            raise TlsError('ciphers', f'OpenSSL knows none of {ciphers!r}') from None
        try:
            if tickets is not True:
                context.num_tickets = tickets
                context.options |= 0 if tickets else ssl.OP_NO_TICKET
        except (TypeError, ValueError, OverflowError):
            raise TlsError('tickets', f'expected true, false or a number, got {tickets!r}') from None
        if alpn:
            context.set_alpn_protocols(alpn)
        default = default or context
        for name in names:
            known.setdefault(name, context)

    def choose(sock, name, _context):
        name = (name or '').lower()
        sock.context = known.get(name) or known.get('*.' + name.partition('.')[2]) or default

    if certificates:
        default.sni_callback = choose
    return default


def _verify_mode(verify, authority):
    """CERT_REQUIRED or CERT_OPTIONAL, 0 where clients are asked for no certificate."""
    if not isinstance(verify, dict):
        verify = {'client': verify}
    client = verify.get('client', False)
    issuer = verify.get('issuer', client)
    if set(verify) - {'client', 'issuer'} or type(client) is not bool or type(issuer) is not bool:
        raise TlsError('verify', f'expected true, false or {{client, issuer}} of these, got {verify!r}')
    if client and not issuer:
        raise TlsError('verify', 'a client certificate of any issuer proves nothing; set issuer to true, and authority')
    if issuer and not authority:
        raise TlsError('authority', 'verify needs the PEM file of the authority that signs the certificates of clients')
    return ssl.CERT_REQUIRED if client else ssl.CERT_OPTIONAL if authority else 0


def client_context(authority=None, certificate=None, key=None, verify=True, alpn=None):
    """Return a context for connecting. `authority`: PEM file of trusted certificates, by default the system's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authority:
        _trust(context, authority)
    else:
        context.load_default_certs()
    if certificate:
        _load(context, certificate, key)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def _trust(context, authority):
    try:
        context.load_verify_locations(authority)
    except OSError as error:
        why = 'it has no certificate in PEM form' if isinstance(error, ssl.SSLError) else error.strerror
        raise TlsError('authority', f'cannot use authority {authority}: {why}') from None


def _load(context, certificate, key, where=''):
    """Load a certificate with its chain, and its key (None: in the same file). Returns what the certificate says."""
    part = path = None
    try:
        for part, path in (('certificate', certificate), ('key', key or certificate)):
            open(path, 'rb').close()
        part, path, why = 'certificate', certificate, 'it has no certificate in PEM form'
        found = ssl._ssl._test_decode_cert(certificate)         # the one reader of certificates that Python has
        part, path, why = 'key', key or certificate, f'it does not fit the certificate {certificate}'
        context.load_cert_chain(certificate, key, _refuse_encrypted)
    except OSError as error:
        if not isinstance(error, ssl.SSLError):
            why = error.strerror or error
        elif part == 'key':
            why = UNFIT.get(error.reason, error.reason or 'the key is none in PEM form')
        raise TlsError(where + part, f'cannot use {part} {path}: {why}') from None
    return found


def _refuse_encrypted():
    raise OSError('it is encrypted, and nobody is here to enter its password')


def _closed(_data):
    raise OSError(errno.EBADF, 'this stream is closed')


class TlsStream(Stream):
    """A stream over TLS. After `handshake`: `alpn` (chosen protocol or None), `version`, `cipher`, `peer_certificate()`."""

    __slots__ = ('session_key', 'wants', 'truncated', 'decrypt', 'encrypt')

    secure = True

    def __init__(self, kernel, sock, remote, context, server_side, server_name=None, session_key=None):
        session = None
        self.session_key = None
        if session_key is not None:
            self.session_key = (weakref.ref(context), session_key)
            session = _sessions.get(context, {}).get(session_key)
        if server_name and server_name.isascii():
            server_name = server_name.encode()          # for a str, Python imports what python3-light lacks
        sock = context.wrap_socket(sock, server_side=server_side, server_hostname=server_name, do_handshake_on_connect=False,
                                   suppress_ragged_eofs=False, session=session)
        if sock._sslobj is None:
            sock.close()
            raise ConnectionResetError(errno.ECONNRESET, 'the peer has gone already')
        super().__init__(kernel, sock, remote)
        self.decrypt, self.encrypt = sock._sslobj.read, sock._sslobj.write      # without the detour of SSLSocket.recv and .send
        self.wants = None               # the direction that OpenSSL waits for
        self.truncated = False          # the peer ended without saying so (close_notify)

    async def handshake(self):
        """Agree on keys and check certificates. Raises ssl.SSLError, ConnectionError."""
        if self.sock.server_side:
            await self.readable()           # the client speaks first
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
            return self.decrypt(n)
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
            return self.encrypt(data)
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
            self.decrypt = self.encrypt = _closed       # OpenSSL would go on with a descriptor that may be another's soon
        super().abort()

    def _remember(self):
        context, key = self.session_key[0](), self.session_key[1]
        try:
            session = self.sock.session
        except ValueError:
            return                                      # the handshake had only begun
        if context is not None and session is not None and session.has_ticket:
            known = _sessions.setdefault(context, {})
            known.pop(key, None)
            while len(known) >= SESSIONS:
                del known[next(iter(known))]
            known[key] = session
