"""The opening handshake of a client (RFC 6455 §4.1, RFC 7692 §7.1)."""

import os
import re
from binascii import b2a_base64

from ..http.fields import tokens
from .handshake import EXTENSIONS, UPGRADE, VERSION, accept_key, deflates
from .protocol import ProtocolError


def offer(subprotocols=(), deflate=True):
    """(pairs of fields for the request, key for `confirm`); `subprotocols` in the order of preference."""
    key = b2a_base64(os.urandom(16), newline=False).decode()
    pairs = [*UPGRADE, VERSION, ('Sec-WebSocket-Key', key)]
    if subprotocols:
        pairs.append(('Sec-WebSocket-Protocol', ', '.join(subprotocols)))
    if deflate:
        pairs.append(('Sec-WebSocket-Extensions', 'permessage-deflate; client_max_window_bits'))
    return pairs, key


def confirm(status, fields, key, subprotocols=(), deflate=True):
    """(subprotocol or None, compression or None) that the server chose from what was offered. Raises ProtocolError.

    `fields` are those of its answer, {lower-case name: value}; the last two arguments are those of `offer`.
    """
    get = fields.get
    if status != 101 or get('upgrade', '').lower() != 'websocket' or 'upgrade' not in tokens(get('connection', '')):
        raise ProtocolError(1002, f'no upgrade: status {status}')
    if get('sec-websocket-accept') != accept_key(key):
        raise ProtocolError(1002, 'wrong Sec-WebSocket-Accept')
    subprotocol = get('sec-websocket-protocol')
    if subprotocol not in (None, *subprotocols):
        raise ProtocolError(1002, f'subprotocol not offered: {subprotocol}')
    answer = get('sec-websocket-extensions')
    if not answer:
        return subprotocol, None
    parameters = next(deflates(answer), None)
    if (not deflate or ',' in answer or parameters is None or parameters.get('client_max_window_bits') == ''
            or not re.fullmatch(EXTENSIONS, answer)):
        raise ProtocolError(1010, f'extension not offered: {answer}')
    return subprotocol, parameters
