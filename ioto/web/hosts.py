"""Virtual hosts, found by the name that the client asks for (RFC 9110 §7.2).

    hosts: [{name: 'a.example', documents: 'a'}, {name: ['*.b.example', 'c.example'], routes: […]}]

`*.b.example` stands for all names below b.example; an exact name wins, then the longest. What a host does not set is
that of the server, routes and redirects included, so nothing that is restricted there lies open under another name; its
`headers` are added to the server's. Actions are the same for all hosts: routes say which of them serve any, `web.host`
which is meant. A name that no host has is served by the server's own properties. Each host has its own cache of
documents.
"""

import re

from .files import Files
from .routes import Router, WebError

NAME = r'(\*\.)?[^\s*./:\[\]][^\s*/:\[\]]*|\[[\da-f:.]+\]'


class Hosts:
    """The hosts of a `web` configuration, each with a Router. `main` is the server's."""

    def __init__(self, server, main, config):
        self.names, self.suffixes, self.routers = {}, [], []
        for n, entry in enumerate(config['hosts']):
            where = f'web.hosts[{n}]'
            settings = {**config, **entry, 'name': None}
            router = Router(server, main, entry.get('headers') or {})
            try:
                files = Files(server.resolve(settings['documents']), settings, server.limits) if settings.get('documents') else None
                router.configure(settings, files)
            except WebError as error:
                raise WebError(where + error.property.removeprefix('web'), error.message) from None
            self.routers.append(router)
            names = entry.get('name')
            for name in names if names and isinstance(names, list) else [names]:
                self._add(name, router, f'{where}.name')
        self.suffixes.sort(key=lambda pair: -len(pair[0]))

    def _add(self, name, router, where):
        name = name.lower() if isinstance(name, str) else ''
        bare = name.removeprefix('*')
        if not re.fullmatch(NAME, name) or name in self.names:
            raise WebError(where, f"expected a name such as 'a.example' or '*.a.example', once, got {name!r}")
        self.names[name] = router
        if bare is not name:
            self.suffixes.append((bare, router))

    def find(self, host):
        """Return the Router of a host name in lower case, or None."""
        host = host.rstrip('.')
        if host in self.names:
            return self.names[host]
        for suffix, router in self.suffixes:
            if host.endswith(suffix):
                return router
        return None
