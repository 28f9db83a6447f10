"""Reverse proxies in front of the server: whom to believe about who the client is.

    proxies: ['127.0.0.1', '10.0.0.0/8', 'fd00::/8', 'unix']

`unix` stands for who comes by a UNIX socket. Where the peer is one of these, `web.remote` is the rightmost address of
X-Forwarded-For that is none of them, since each proxy adds the peer it has seen to the end and all before that may be
made up; what is no IP address ends the search. `web.secure` is what the last X-Forwarded-Proto says. The name of the
host is that of Host, which proxies pass on (in nginx: proxy_set_header Host $http_host). Nothing is looked at before an
action, a redirect or the log asks for it.
"""

from socket import AF_INET, AF_INET6, inet_pton

from .routes import WebError


def number(address):
    """(bits of the address, value) of an IP address as text, None for anything else."""
    family, bits = (AF_INET6, 128) if ':' in address else (AF_INET, 32)
    try:
        return bits, int.from_bytes(inet_pton(family, address), 'big')
    except (OSError, ValueError):
        return None


class Proxies:
    """The addresses and networks of `web.proxies`. Raises WebError."""

    def __init__(self, entries):
        self.unix = False
        self.networks = set()               # (bits of the address, bits that may differ, value of the others)
        for n, entry in enumerate(entries):
            if entry == 'unix':
                self.unix = True
                continue
            try:
                address, slash, prefix = entry.partition('/')
                bits, value = number(address)
                free = bits - int(prefix) if slash else 0
                if free > bits:
                    raise ValueError
                self.networks.add((bits, free, value >> free))
            except (TypeError, ValueError):
                message = f"expected '127.0.0.1', '10.0.0.0/8', 'unix' or the like, got {entry!r}"
                raise WebError(f'web.proxies[{n}]', message) from None

    def trusts(self, address):
        """Whether this address is one of a proxy."""
        found = number(address)
        if found is None:
            return self.unix and address == 'unix'
        return any(found[0] == bits and found[1] >> free == rest for bits, free, rest in self.networks)

    def client(self, web):
        """The address of the client of a request."""
        client = web.connection.stream.remote[0]
        for address in reversed(web.fields.get('x-forwarded-for', '').split(',')):
            address = address.strip(' \t')
            if not self.trusts(client) or number(address) is None:
                break
            client = address
        return client

    def secure(self, web):
        """Whether the client of a request has come by TLS."""
        stream = web.connection.stream
        scheme = web.fields.get('x-forwarded-proto', '').rpartition(',')[2].strip(' \t').lower()
        return scheme == 'https' if scheme and self.trusts(stream.remote[0]) else stream.secure
