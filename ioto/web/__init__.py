"""The embedded web server: HTTP/1.1 with routes, actions and static files.

    server = Server({'listen': ['http://127.0.0.1:8080'], 'documents': 'site'})

    @server.action('/api/hello')
    async def hello(web):
        return {'hello': web.vars.get('name', 'world')}

    await server.start()
"""

from .exchange import Disconnected, Web
from .routes import WebError
from .server import Server

__all__ = ['Disconnected', 'Server', 'Web', 'WebError']
