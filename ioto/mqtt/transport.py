"""What the client talks over."""

from ..runtime import dial


async def connect(host, port=None, tls=None, alpn=(), server_name=None, path='/mqtt', headers=(), timeout=30):
    """Return a stream to a broker."""
    return await dial.connect(host, port or (8883 if tls else 1883), tls, list(alpn) or None, server_name, timeout)
