"""The opening handshake of a server (RFC 6455 §4.2, RFC 7692 §7.1). The caller judges the Origin."""

import re
from binascii import b2a_base64

from ..http.errors import HttpError
from ..http.fields import tokens
from ..http.grammar import TOKEN
from .protocol import WINDOW

UPGRADE = [('Upgrade', 'websocket'), ('Connection', 'Upgrade')]
VERSION = 'Sec-WebSocket-Version', '13'
EXTENSION = rf'[{TOKEN}]++(?:[\t ]*+;[\t ]*+[{TOKEN}]++(?:=(?:[{TOKEN}]++|"[{TOKEN}]++"))?+)*+'
EXTENSIONS = rf'(?:[\t ,]*+{EXTENSION}[\t ]*+(?:,|\Z))*+[\t ,]*+'
PARAMETER = '(client|server)_(no_context_takeover|max_window_bits=(9|1[0-5]))|client_max_window_bits'


def accept_key(key):
    """The Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    from hashlib import sha1            # loads OpenSSL
    return b2a_base64(sha1(f'{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11'.encode()).digest(), newline=False).decode()


def deflates(value):
    """The {parameter: value or ''} of each valid permessage-deflate in a Sec-WebSocket-Extensions.

    A window of 8 bits, which zlib cannot write, is declined.
    """
    for member in re.sub('[\t "]', '', value).split(','):
        name, *parts = member.split(';')
        found = dict(part.partition('=')[::2] for part in parts)
        valid = len(found) == len(parts) and all(re.fullmatch(PARAMETER, part) for part in parts)
        if valid and name == 'permessage-deflate':
            yield found


def negotiate(fields, subprotocols=(), deflate=True, method='GET', version=11):
    """(pairs for the answer 101, the client's first subprotocol of ours or None, compression or None).

    `fields`: {lower-case name: value}. Raises HttpError 405, 400; 426 if no WebSocket of this version is asked for.
    """
    get = fields.get
    if method != 'GET':
        raise HttpError(405, 'a WebSocket begins with GET', [('Allow', 'GET')])
    if version < 11 or 'websocket' not in tokens(get('upgrade', '')) or get('sec-websocket-version') != '13':
        raise HttpError(426, 'only for WebSockets of version 13', [*UPGRADE, VERSION])
    key = get('sec-websocket-key', '')
    offers = get('sec-websocket-extensions', '')
    if ('upgrade' not in tokens(get('connection', '')) or not re.fullmatch('[A-Za-z0-9+/]{22}==', key)
            or not re.fullmatch(EXTENSIONS, offers)):
        raise HttpError(400, 'bad WebSocket handshake')
    pairs = [*UPGRADE, ('Sec-WebSocket-Accept', accept_key(key))]
    asked = re.findall('[^\t ,]+', get('sec-websocket-protocol', ''))
    subprotocol = next((name for name in asked if name in subprotocols), None)
    if subprotocol:
        pairs.append(('Sec-WebSocket-Protocol', subprotocol))
    parameters = next(deflates(offers), None) if deflate else None
    if parameters is not None:
        if 'client_max_window_bits' in parameters:
            parameters['client_max_window_bits'] = min(WINDOW, int(parameters['client_max_window_bits'] or WINDOW))
        answer = {'permessage-deflate': '', **parameters}
        pairs.append(('Sec-WebSocket-Extensions', '; '.join(f'{name}={answer[name]}'.rstrip('=') for name in answer)))
    return pairs, subprotocol, parameters
