"""Connecting to a broker over TCP, TLS, a UNIX socket, or a WebSocket on any of them (MQTT 3.1.1 §4.2, §6).

`connect` gives a Stream of the runtime, or for a WebSocket (websocket.py, loaded for it) an object with that part of it
that a client uses: read, post, drain, close, abort, `queued_bytes`, `sent`, `closed`, `remote`, `secure`, `kernel`.
Host, port and the rest come as arguments; `split_url` makes them of a URL.
"""

import re

from ..runtime import dial
from ..runtime.scopes import timeout as time_limit

PORTS = {(False, False): 1883, (False, True): 8883, (True, False): 80, (True, True): 443}     # by WebSocket, TLS
SCHEMES = {'mqtt': (False, False), 'mqtts': (False, True), 'ws': (True, False), 'wss': (True, True)}


def split_url(text):
    """What a URL stands for: arguments of `connect`, and 'username' and 'password'. Raises ValueError.

    mqtt:// and mqtts:// end with the host and port, ws:// and wss:// may have a path.
    """
    from ..http.url import parse_url
    scheme, _, rest = text.partition('://')
    kind = SCHEMES.get(scheme.lower())
    if kind is None or not rest:
        raise ValueError(f'expected mqtt://, mqtts://, ws:// or wss:// and a host, found {text[:20]!a}')
    url = parse_url(f'ws://{rest}')
    websocket, secure = kind
    if url.fragment is not None or not websocket and url.target != '/':
        raise ValueError(f'expected no more than host and port: {scheme}://{url.authority}{url.target}')
    given = re.match('[^/?#]*:[0-9]+(?![^/?#])', rest)
    found = {'host': url.host.strip('[]'), 'port': url.port if given else PORTS[kind], 'tls': secure or None,
             'websocket': websocket, 'username': url.user or None, 'password': url.password or None}
    if '/' in rest or '?' in rest:
        found['path'] = url.target
    return found


async def connect(host, port=None, tls=None, alpn=(), server_name=None, websocket=False, path='/mqtt', headers=(),
                  timeout=30):
    """Connect to a broker and return a stream.

    host         name, address, or the path of a UNIX socket ('/path' or 'unix:/path')
    port         by default 1883, with TLS 8883; for a WebSocket 80 and 443
    tls          a context (`runtime.tls.client_context`), or True for one with the system's authorities
    alpn         names of protocols to offer in TLS
    server_name  for SNI and the check of the certificate, by default the host
    websocket    MQTT over WebSocket: `path` is then what is asked for, `headers` are more (name, value) fields
    timeout      seconds for all of it

    Raises OSError that names the peer (TimeoutError, ConnectionError), ValueError for arguments that cannot be.
    """
    local = host.removeprefix('unix:') if host.startswith(('/', 'unix:')) else None
    if local:
        place, name = local, 'localhost'
    else:
        port = port or PORTS[bool(websocket), bool(tls)]
        place, name = f'{host} port {port}', host
    try:
        async with time_limit(timeout):
            stream = await dial.connect(f'unix:{local}' if local else host, port)
            if tls:
                stream = await _secure(stream, tls, alpn, server_name or name, (host, port), place)
            if not websocket:
                return stream
            authority = f'[{name}]' if ':' in name else name
            if port and port != PORTS[True, bool(tls)]:
                authority = f'{authority}:{port}'
            from .websocket import upgrade
            return await upgrade(stream, path, [('Host', authority), *headers], place)
    except TimeoutError as error:
        raise error if error.errno else TimeoutError(f'no connection to {place} within {timeout:g} s') from None


async def _secure(stream, tls, alpn, server_name, key, place):
    try:
        return await dial.start_tls(stream, tls, list(alpn), server_name, key)
    except OSError as error:
        why = getattr(error, 'verify_message', None)
        why = f'its certificate does not stand: {why}' if why else error.strerror or error
        raise ConnectionError(f'no TLS with {place}: {why}') from error
