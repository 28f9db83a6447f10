"""Looking names up: `getaddrinfo`, which blocks, in a helper thread."""

import errno
import socket
from itertools import zip_longest

from .stream import literal
from .threads import to_thread


async def resolve(host, port, passive=False):
    """Return [(family, socket address)] of a host, IPv6 and IPv4 in turn. Raises OSError that names the host."""
    if found := literal(host, port):
        return found
    flags = socket.AI_PASSIVE if passive else 0
    name = host.encode() if host.isascii() else host            # for a str, Python imports what python3-light lacks
    try:
        found = await to_thread(socket.getaddrinfo, name, port, 0, socket.SOCK_STREAM, 0, flags)
    except (OSError, UnicodeError) as error:
        why = getattr(error, 'strerror', None) or error
        raise OSError(getattr(error, 'errno', None) or errno.EINVAL, f'cannot find host {host}: {why}') from None
    families = {}
    for family, *_, address in found:
        families.setdefault(family, []).append((family, address))
    return [each for turn in zip_longest(*families.values()) for each in turn if each]
