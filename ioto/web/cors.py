"""CORS: pages of other origins that may call a route (the Fetch standard, §3.2).

    cors: {origins: ['https://app.example'], methods: ['GET', 'PUT'], headers: ['Content-Type'], expose: ['ETag'],
           credentials: false, age: '1 hr'}

`origins` may be ['*'], or 'null', but not together with `credentials`. Without `methods` those that the route has are allowed,
without `headers` Content-Type. A preflight is answered 204 before any check of the route, since a browser sends no
credentials with it. Other answers, errors and 304 as well, get their fields as their head is made; who is not allowed
gets the answer without them, which his browser then keeps from the page.
"""

import re

from ..http import encode_field
from ..runtime import units
from .routes import WebError, methods

ORIGIN = r'(?i)\*|null|[a-z][a-z0-9+.-]*://[^/\s]+'


class Cors:
    """The `cors` of a route. Raises WebError."""

    def __init__(self, config, where):
        origins = config.get('origins') or []
        for n, origin in enumerate(origins):
            if not re.fullmatch(ORIGIN, origin):
                raise WebError(f'{where}.origins[{n}]', f"expected an origin such as 'https://a.example', or '*', got {origin!r}")
        self.origins = {origin.lower() for origin in origins}
        if not origins:
            raise WebError(f'{where}.origins', "expected origins such as 'https://a.example'")
        if {'*', 'null'} & self.origins and config.get('credentials'):
            raise WebError(f'{where}.credentials', "not possible with the origins '*' and 'null', which any page can have")
        self.methods = methods(config.get('methods'), f'{where}.methods')
        age = config.get('age')
        try:
            self.fields = b''.join(encode_field(f'Access-Control-{name}', value) for name, value in (
                ('Allow-Credentials', 'true' if config.get('credentials') else ''),
                ('Expose-Headers', ', '.join(config.get('expose', ())))) if value)
            self.preflight_fields = encode_field('Access-Control-Allow-Headers', ', '.join(config.get('headers', ['Content-Type'])))
            if age is not None:
                self.preflight_fields += encode_field('Access-Control-Max-Age', int(min(units.seconds(age), 86400)))
        except ValueError as error:
            raise WebError(where, str(error)) from None

    def _asked(self, web):
        return web.fields.get('access-control-request-method') if web.method == 'OPTIONS' else web.method

    def _origin(self, web):
        """The Access-Control-Allow-Origin for a request, None where it is not allowed."""
        origin, method = web.fields.get('origin'), self._asked(web)
        if origin is None or self.methods and method not in self.methods and (method != 'HEAD' or 'GET' not in self.methods):
            return None
        if '*' in self.origins:
            return '*'
        return origin if origin.lower() in self.origins else None

    def answer(self, web):
        """The fields of an answer."""
        origin = self._origin(web)
        vary = b'' if '*' in self.origins else b'Vary: Origin\r\n'
        return vary if origin is None else vary + encode_field('Access-Control-Allow-Origin', origin) + self.fields

    def preflight(self, web):
        """The handler of OPTIONS that asks for a method the route has."""
        fields = b''
        if self._origin(web) is not None:
            fields = encode_field('Access-Control-Allow-Methods', self._asked(web)) + self.preflight_fields
        web.answer(204, fields, b'')
