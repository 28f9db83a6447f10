"""The embedded web server: HTTP/1.1 with routes, actions and static files.

    server = Server({'listen': ['http://127.0.0.1:8080'], 'documents': 'site'})

    @server.action('/api/hello')
    async def hello(web):
        return {'hello': web.vars.get('name', 'world')}

    await server.start()

A `Server` (server.py) holds the listeners, the counters and the limits; `routes` decides what answers a path; each connection
is one fiber that runs `connection.Connection`; an action gets a `Web` (exchange.py), the request and its answer in one object;
`files` serves documents. The HTTP grammar itself is in ioto.http, which knows nothing of sockets.
"""

from .exchange import Disconnected, Web
from .routes import WebError
from .server import Server

__all__ = ['Disconnected', 'Server', 'Web', 'WebError']
