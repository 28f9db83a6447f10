"""WebSockets on bytes: no socket, no clock, no fiber (RFC 6455, RFC 7692). `client` has the client's handshake."""

from .handshake import accept_key, negotiate
from .protocol import BINARY, CLOSE, PING, PONG, TEXT, Protocol, ProtocolError
