"""`services.database`: a Database as its configuration wants it; and `services.demo`, which counts in it.

Making a Service checks the schema and that this board has SQLite, and opens nothing; a mistake is a PropertyError that
names its property. The file is opened at the start, before the app's; a stop forces all to the disk. Of what a reload
reads only `database.api` takes effect, the rest at a restart.
"""
import os
import re

from .. import json5
from ..runtime import sleep
from ..runtime.log import Log
from ..runtime.units import PropertyError
from .errors import DbError, SchemaError
from .schema import load

STORE, COUNTER = 'Store', {'key': 'counter'}        # the model and item that the demo counts in
log = Log('db')


class Service:
    """The database of a configuration. `resolve` makes '@state/x' a path; with `keeps` false all stays in memory.

    .db         the Database from `start` on
    .schema     its Schema; .api: who may use it over HTTP, {read, write}
    """

    db = None

    def __init__(self, values, resolve, keeps=True):
        config, device = values.get('database', {}), values.get('device', {})
        path = config.get('path', '@state/ioto.db')
        self.path = resolve(path) if keeps and path != ':memory:' else ':memory:'
        limit = config.get('limit', float('inf'))
        self.options = {'flush': config.get('flush', 1.0), 'limit': None if limit == float('inf') else limit,
                        'context': {name: value for name, value in (('accountId', values.get('account')),
                                                                    ('deviceId', device.get('id'))) if value}}
        self.api = {'read': 'user', 'write': 'admin', **config.get('api', {})}
        if 'schema' not in values:
            raise PropertyError('services.database', 'it needs a schema: schema.json5, or `schema` in ioto.json5')
        self.schema = _load(values['schema'], resolve)
        try:
            from .database import Database
        except ImportError as error:
            raise PropertyError('services.database', str(error)) from None
        self.open = Database

    def key_fields(self, model):
        """The fields that a caller has to give for the whole key of a model, in order."""
        names = []
        for name in model.key_fields:
            value = model.fields[name].value
            names += [name] if value is None else re.findall(r'\$\{([^}:.]+)', value)
        known = {*self.schema.context, *self.options['context'], model.type_field}
        return [name for name in dict.fromkeys(names) if name not in known]

    def start(self):
        """Open the file. Raises DbError."""
        self.db = self.open(self.path, self.schema, **self.options)

    def differs(self, other):
        """The names of the properties in which another Service is not as this one."""
        mine, its = ({'path': one.path, 'schema': one.schema.digest, **one.options} for one in (self, other))
        return [name for name in mine if mine[name] != its[name]]

    async def count(self, period):
        """Add 1 to the item COUNTER every `period` seconds."""
        while True:
            try:
                if self.db.get(STORE, COUNTER) is None:
                    self.db.create(STORE, {**COUNTER, 'value': 0, 'type': 'number'})
                else:
                    self.db.update(STORE, COUNTER, add={'value': 1})
            except DbError as error:
                log.error(f'demo: {error}')
            await sleep(period)


def _load(source, resolve):
    """The Schema of a configuration. Raises PropertyError."""
    own, base = isinstance(source, dict), resolve('@config/')
    try:
        return load(source, base) if own else load(resolve(source))
    except SchemaError as error:
        name, field = error.file, re.match(r'[^\s\'"]*', error.field)[0].rstrip('.')        # as far as it is a query
        if own and not name and json5.get(source, field) is None:           # a file that it blends may have set it
            files = [os.path.join(base, name) for name in reversed(source.get('blend', ()))]
            name = next((name for name in files if json5.get(json5.load(name), field) is not None), '')
        if not name:
            raise PropertyError(f'schema.{error.field}'.rstrip('.'), error.reason) from None
        with open(name, 'rb') as file:
            line, column = json5.locate(file.read(), field)
        message = f'{name}:{line}:{column}: {DbError.__str__(error)}'
        raise PropertyError('schema.blend' if own else 'schema', message) from None
