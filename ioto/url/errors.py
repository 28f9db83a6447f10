"""What the client raises: each says what happened, where, and what was expected. All are UrlError."""

import builtins


class UrlError(Exception):
    """A request that cannot be made, or failed; `.url` is where, without user and query."""

    def __init__(self, message, url=''):
        super().__init__(f'{url}: {message}' if url else message)
        self.url = url


class StatusError(UrlError):
    """An answer that is not 2xx, from the functions that return only a body."""

    def __init__(self, status, reason, headers, body, method, url):
        wanted = '101' if url.startswith('ws') else '2xx'
        super().__init__(f'expected {wanted} for {method}, got {status} {reason}'.rstrip(), url)
        self.status = status
        self.headers = headers
        self.body = body


class ConnectError(UrlError):
    """No connection: the host has no address, refuses, resets, or a proxy does."""


class TlsError(UrlError):
    """TLS did not come about, most often for the certificate."""


class TimeoutError(UrlError, builtins.TimeoutError):
    """Too late; `.phase` is what took too long: 'connect', 'tls', 'first', 'idle' or 'whole'."""

    def __init__(self, message, url, phase):
        super().__init__(message, url)
        self.phase = phase


class ProtocolError(UrlError):
    """What came is no answer of HTTP, is not whole, or cannot be followed."""


class TooLarge(UrlError):
    """More than a limit allows."""
