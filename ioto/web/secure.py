"""The server's end of TLS: `web.tls` as a context for https:// listeners. Imported when there is such a listener.

A listener takes its context anew for each connection, so a reload changes what the next handshake uses, whoever is connected.
ALPN (RFC 7301) agrees on HTTP/1.1.
"""

import os

from ..runtime.tls import TlsError, server_context
from .routes import WebError


class NoCertificate(WebError):
    """There is no certificate yet."""


def make_context(config, resolve):
    """Return the ssl.SSLContext that `config.tls` describes; `resolve` finds its files. Raises NoCertificate, WebError."""
    tls = {name: value for name, value in (config.get('tls') or {}).items() if value not in (None, '')}

    def pair(entry):
        return entry.get('certificate') and resolve(entry['certificate']), entry.get('key') and resolve(entry['key'])

    certificate, key = pair(tls)
    if not certificate or not os.path.exists(certificate):
        missing = f'there is no {certificate}' if certificate else 'https:// needs a certificate'
        raise NoCertificate('web.tls.certificate', f'{missing}; python3 tools/certs.py certs makes one for tests, with its key')
    more = tls.get('certificates') or ()
    for n, entry in enumerate(more):
        if not entry.get('certificate'):
            raise WebError(f'web.tls.certificates[{n}].certificate', 'expected the name of a PEM file')
    try:
        return server_context(
            certificate, key, tls.get('authority') and resolve(tls['authority']), tls.get('verify', False), ['http/1.1'],
            tls.get('ciphers'), tls.get('minimum', '1.2'), tls.get('tickets', True), [pair(entry) for entry in more])
    except TlsError as error:
        raise WebError(f'web.tls.{error.part}', str(error)) from None
