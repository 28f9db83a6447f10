"""HTTP proxies: which one, and tunnels through it (RFC 9110 §9.3.6, §11.7).

Requests to http go to the proxy with the whole URL in the request line; https and WebSockets through a tunnel that
CONNECT opens, so the proxy sees neither their heads nor their bodies.
"""

import os
import re

from ..http.client import request_head
from ..http.url import parse_url
from .connection import Connection
from .errors import ConnectError, TimeoutError, UrlError

TRIES = 3               # CONNECT requests: one, one after a challenge, one after a stale nonce


class Proxies:
    """The proxy for each URL: a given one, or what the environment says, read once.

    http_proxy, https_proxy, all_proxy  'http://user:password@host:port', also in capitals; HTTP_PROXY does not count in
                                        a CGI script, where a request's Proxy field would set it
    no_proxy                            hosts to reach directly: names with all below them, addresses, networks such as
                                        10.0.0.0/8, each but these with a port or without, or *
    """

    def __init__(self, proxy=None, environ=os.environ):
        def value(name):
            capitals = name != 'http_proxy' or 'REQUEST_METHOD' not in environ
            return environ.get(name) or capitals and environ.get(name.upper()) or ''
        if proxy:
            self.all = {'http': proxy, 'https': proxy}
            _parsed(proxy)
        else:
            both = value('all_proxy')
            self.all = {'http': value('http_proxy') or both, 'https': value('https_proxy') or both}
        self.direct = [name for name in re.split('[, \t]+', value('no_proxy').lower()) if name] if not proxy else []
        self.chosen = {}            # origin -> Url or None

    def choose(self, url):
        """The Url of the proxy for a URL, None for none. Raises UrlError for what is no proxy."""
        origin = url.origin
        if origin not in self.chosen:
            if len(self.chosen) >= 64:
                self.chosen.clear()
            text = self.all.get('https' if url.secure else 'http')
            self.chosen[origin] = _parsed(text) if text and url.scheme != 'unix' and not self._is_direct(url) else None
        return self.chosen[origin]

    def tunnels(self, url):
        """Whether a URL is reached through a tunnel."""
        return url.scheme != 'http'

    def _is_direct(self, url):
        host, port = url.host.strip('[]'), url.port
        for name in self.direct:
            if name == '*':
                return True
            if '/' in name:
                if _in_network(host, name):
                    return True
                continue
            if name.count(':') == 1 or ']:' in name:
                name, _, number = name.rpartition(':')
                if number != str(port):
                    continue
            name = name.strip('[]').removeprefix('*').removeprefix('.')
            if host == name or host.endswith('.' + name):
                return True
        return False

    async def tunnel(self, client, proxy, url, times, end):
        """A Stream through the proxy to the host of a URL. Raises ConnectError."""
        from . import auth
        authority = f'{url.host}:{url.port}'
        connection = None
        for tries in range(TRIES):
            if connection is None:
                connection = Connection(await client.dial(proxy, times, end), None)
            try:
                connection.end = end
                field = auth.proxy_field(client, proxy, 'CONNECT', authority)
                pairs = [('Host', authority)] + [('Proxy-Authorization', field)] * bool(field)
                response = await connection.ask(request_head('CONNECT', authority, pairs), None, 'CONNECT', times)
                if 200 <= response.status < 300:
                    connection.deadline.cancel()
                    if connection.data:
                        raise ConnectError('the server speaks first', url.place)
                    return connection.stream
                again = response.status == 407 and _challenged(client, proxy, response, tries)
            except BaseException as error:
                late = connection.late
                connection.close()
                if late:
                    raise TimeoutError('no tunnel in time', proxy.place, late) from None
                if isinstance(error, ValueError):
                    raise UrlError(str(error), proxy.place) from None
                if isinstance(error, (OSError, EOFError)) and not isinstance(error, UrlError):
                    why = getattr(error, 'strerror', None) or error
                    raise ConnectError(f'no tunnel to {authority}: {why}', proxy.place) from None
                raise
            connection.close()                  # an answer to CONNECT has a body of no use
            connection = None
            if not again:
                break
        status = f'{response.status} {response.reason}'.rstrip()
        raise ConnectError(f'the proxy answers CONNECT {authority} with {status}', proxy.place)


def _challenged(client, proxy, response, tries):
    """Whether the challenge of the proxy can be met."""
    from .auth import Basic, meet, remember
    if proxy.user is None:
        return False
    found, stale = meet(response.fields.all('proxy-authenticate'), proxy.user, proxy.password)
    if found is None or isinstance(found, Basic) or tries and not stale:
        return False
    remember(client, proxy.origin, proxy.user, proxy.password, found)
    return True


def _parsed(text):
    try:
        proxy = parse_url(text if '://' in text else f'http://{text}')
    except ValueError as error:
        raise UrlError(f'bad proxy: {error}') from None
    if proxy.scheme != 'http':
        raise UrlError(f'bad proxy: expected http://host:port, got {proxy.scheme}:')
    return proxy


def _in_network(host, network):
    from ipaddress import ip_address, ip_network
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False
