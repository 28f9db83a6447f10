"""The database over HTTP, at /api/db, for users with the roles of `database.api`: REST, and changes as they happen.

    GET    /api/db                      the models: keys, indexes, fields
    GET    /api/db/MODEL?…              {items, next}; by fields, limit next where index reverse fields count
    POST   /api/db/MODEL                create an item: 201 and its Location, 409 where it is there
    GET    /api/db/MODEL/KEY            one item
    PUT    /api/db/MODEL/KEY            create it, or replace it as a whole
    PATCH  /api/db/MODEL/KEY?where=…    change the given fields; null removes one, names may be paths: address.zip
    DELETE /api/db/MODEL/KEY?where=…    remove it: 204

KEY has the fields that make the key, with "/" between them; they may also stand in the query, /api/db/MODEL?id=7. An
answer to a change means that it is on the disk. Errors are {error, model, field}. What is hidden, or not for management
apps (`show: false`), is neither shown nor searched.

/api/db and /api/db/MODEL asked for text/event-stream, or to upgrade to a WebSocket, send each change as {event, model,
item}. Who is slow, or has signed out by the next one, is dropped; so are all when more than QUEUE wait: load again after
each connecting.
"""
import re
from collections import deque

from .. import json5
from ..http import HttpError
from ..http.uri import percent_encode
from ..runtime import Event, sleep, spawn
from ..runtime.log import Log
from .errors import Conflict, DbError
from ..runtime.units import PropertyError

OPTIONS = ('limit', 'next', 'where', 'index', 'reverse', 'fields', 'count', '_xsrf')
PAGE, LONGEST = 100, 1000       # items in a page, if the client does not say, and at most
SCAN = 200                      # items that one turn looks at
LISTENERS = 100                 # clients that are told of changes
QUEUE = 1000                    # changes that wait to be told
ANYONE, NOBODY = 'anyone', 'nobody'
READING = ('GET', 'HEAD')
METHODS = {'GET': 'read', 'HEAD': 'read', 'POST': 'create', 'PUT': 'replace', 'PATCH': 'update', 'DELETE': 'remove'}
log = Log('db')


class Missing(DbError):
    """There is no such model or item."""


class Api:
    """The actions of a Service's database on a web server. Raises PropertyError for roles that there are not."""

    def __init__(self, service, server):
        self.service, self.server = service, server
        self.configure(service.api)
        shown = {name for name, entry in service.schema.process.items() if entry['show']}
        self.models = {name: model for name, model in service.schema.models.items() if model.enabled and name in shown}
        self.keys = {name: service.key_fields(model) for name, model in self.models.items()}
        self.listeners, self.queue, self.changed, self.fiber = {}, deque(), Event(), None
        server.action('/api/db', READING[:1])(self.answer)
        server.action('/api/db/', [*METHODS])(self.answer)

    def configure(self, roles):
        """Take over {read, write}: each a role, ANYONE or NOBODY."""
        known = self.server.access and self.server.access.users.roles
        for name, role in roles.items():
            if known and role not in (*known, ANYONE, NOBODY):
                expected = f"expected a role of auth.roles, '{ANYONE}' or '{NOBODY}'"
                raise PropertyError(f'database.api.{name}', f'{expected}, got {role!r}')
        self.roles = roles

    # Who may

    async def _admit(self, web):
        """Return the user of a request, None for anyone. Raises HttpError 401, 403, 404."""
        reading = web.method in READING
        role, user = self.roles['read' if reading else 'write'], None
        if role == NOBODY:
            raise HttpError(404)
        from ..web.access import refuse_foreign, require_role
        if not reading:
            refuse_foreign(web)
        if role != ANYONE:
            user = await require_role(web, role)
            if 'authorization' not in web.fields:
                from ..web.sessions import check_token
                await check_token(web)
        web.set_header('Cache-Control', 'no-store')
        return user

    def _stays(self, web, user):
        """Whether who was admitted still would be."""
        if user is None:
            return self.roles['read'] == ANYONE
        access = web.connection.server.access
        now = access and access.users.get(user.name)
        return now and (now.has_role(self.roles['read']) or now.has_role(access.role)) and (
            'authorization' in web.fields or web.session.user == user.name)

    # Requests

    async def answer(self, web):
        """The action of all paths."""
        user = await self._admit(web)
        name, _, key = web.path[len('/api/db/'):].partition('/')
        try:
            model = self.models.get(name)
            if name and not model:
                raise Missing(f'expected a model: {", ".join(self.models)}')
            streaming = 'upgrade' in web.fields or 'event-stream' in web.fields.get('accept', '')
            if streaming and web.method == 'GET' and not key:
                return await self._listen(web, name, user)
            if not name:
                models = [self._describe(*one) for one in self.models.items()]
                return {'version': self.service.schema.version, 'models': models}
            if key and web.method == 'POST':
                allow = 'Allow', 'GET, PUT, PATCH, DELETE'
                raise HttpError(405, 'an item is created at its model, or by PUT', [allow])
            return await getattr(self, '_' + METHODS[web.method])(web, model, key)
        except DbError as error:
            answer = _refuse(web, error)
            if web.status >= 500 and web.method not in READING:
                try:
                    await self.service.db.flush()
                except DbError:
                    pass                    # what is lost with this change is no news for the connection's next request
            return answer

    def _describe(self, name, model):
        fields = {name: {key: value for key, value in field.config.items() if key != 'value'} | {'type': field.type}
                  for name, field in model.fields.items() if not field.hidden}
        return {'name': name, 'key': self.keys[name], 'indexes': model.indexes, 'sync': model.sync, 'fields': fields}

    def _key(self, web, model, key):
        """{field: text} of the path or query."""
        names = self.keys[model.name]
        values = [web.vars[name] for name in names if name in web.vars]
        if key and names:
            values = key.split('/', len(names) - 1)
        if len(values) != len(names) or key and not names:
            raise DbError(f'expected the whole key: {"/".join(names) or "nothing, for there is one item"}', model.name)
        return dict(zip(names, values))

    async def _values(self, web, model, key):
        """The fields in the body, with those of the key."""
        values = await web.json()
        if not isinstance(values, dict):
            raise DbError('expected an object of fields', model.name)
        for name, value in key.items():
            if str(values.get(name, value)) != value:
                raise DbError('expected the value in the path, or none', model.name, name)
        return {**values, **key}

    @staticmethod
    def _where(web, model):
        """The expression of the query, or None; of what is hidden it must not tell."""
        where = web.vars.get('where')
        for path in re.findall(r'\$\{([^{}]*)\}', where or ''):
            try:
                _visible(model, (json5.query.split(path) or ('',))[0])
            except json5.Json5Error:        # it is not compiled either
                pass
        return where or None

    async def _read(self, web, model, key):
        db, asked = self.service.db, web.vars
        fields = asked['fields'].split(',') if asked.get('fields') else None
        for name in fields or ():
            _visible(model, name)
        if key:
            item = db.get(model.name, self._key(web, model, key), fields=fields)
            if item is None:
                raise Missing('there is no such item', model.name)
            return item
        values = {_visible(model, name): value for name, value in asked.items() if name not in OPTIONS}
        counting, limit = _flag(asked, 'count'), asked.get('limit', str(PAGE))
        if not (limit.isascii() and limit.isdigit() and 0 < int(limit[:9]) <= LONGEST):
            raise DbError(f'expected a limit of 1 to {LONGEST}')
        options = {'index': asked.get('index', 'primary'), 'reverse': _flag(asked, 'reverse'), 'scan': SCAN,
                   'where': self._where(web, model), 'fields': () if counting else fields}
        items, count, left, next = [], 0, None if counting else int(limit), asked.get('next')
        while True:
            page = db.find(model.name, values, limit=left and left - len(items), next=next, **options)
            count, next = count + len(page), page.next
            if not counting:
                items += page
            if next is None or len(items) == left:
                return {'count': count} if counting else {'items': items, **({'next': next} if next else {})}
            await sleep(0)

    async def _create(self, web, model, key):
        item = self.service.db.create(model.name, await self._values(web, model, {}))
        return await self._made(web, model, item, [item.get(name) for name in self.keys[model.name]])

    async def _replace(self, web, model, key):
        db, key = self.service.db, self._key(web, model, key)
        values = await self._values(web, model, key)
        new = db.get(model.name, key) is None
        item = db.create(model.name, values, exists=None)
        return await self._made(web, model, item, key.values(), new)

    async def _made(self, web, model, item, key, new=True):
        await self.service.db.flush()
        if new:
            web.status = 201
            if None not in key:
                path = '/'.join(percent_encode(json5.to_json(one) if not isinstance(one, str) else one) for one in key)
                web.set_header('Location', f'/api/db/{model.name}/{path}')
        return item

    async def _update(self, web, model, key):
        db, key = self.service.db, self._key(web, model, key)
        values = await self._values(web, model, key)
        if db.get(model.name, key) is None:
            raise Missing('there is no such item', model.name)
        item = db.update(model.name, values, if_=self._where(web, model))
        await db.flush()
        return item

    async def _remove(self, web, model, key):
        db, key = self.service.db, self._key(web, model, key)
        where = self._where(web, model)
        if db.get(model.name, key) is None:
            raise Missing('there is no such item', model.name)
        db.remove(model.name, key, if_=where)
        await db.flush()

    # Changes as they happen

    async def _listen(self, web, name, user):
        if len(self.listeners) >= LISTENERS:
            raise HttpError(503, 'too many clients listen for changes')
        socket = 'upgrade' in web.fields
        outlet = await (web.upgrade() if socket else web.events(retry=2))
        if not self.listeners:
            self.service.db.watch('*', self._note)
            self.fiber = spawn(self._tell(), 'changes of the database')
        self.listeners[outlet] = name, user, (1008, 'signed out') if socket else ()
        try:
            if socket:
                async for _ in outlet:      # what it says is of no interest
                    pass
            else:
                await outlet.wait()
        finally:
            del self.listeners[outlet]
            if not self.listeners:
                self.service.db.unwatch(self._note)
                self.fiber.cancel()
                self.queue.clear()

    def _note(self, event, model, item, old):
        if model not in self.models:
            return
        if len(self.queue) >= QUEUE:
            log.error(f'more than {QUEUE} changes at once: who listens has to load again')
            self.queue.clear()
            for outlet in self.listeners:
                outlet.drop()
        self.queue.append((model, json5.to_json({'event': event, 'model': model, 'item': item or old})))
        self.changed.set()

    async def _tell(self):
        from ..web.body import Disconnected
        while True:
            await self.changed.wait()
            while self.queue:
                name, text = self.queue.popleft()
                for outlet, (wanted, user, farewell) in [*self.listeners.items()]:
                    if wanted not in ('', name):
                        continue
                    try:
                        if self._stays(outlet.web, user):
                            await outlet.send(text)
                        else:
                            outlet.stop(*farewell)
                    except Disconnected:
                        pass                # its own action ends
            self.changed.clear()


def _visible(model, name):
    """The name of a field, if it is one that is shown."""
    if name not in model.fields or model.fields[name].hidden:
        shown = ', '.join(one for one in model.fields if not model.fields[one].hidden)
        raise DbError(f'expected {shown}', model.name, name)
    return name


def _flag(asked, name):
    return asked.get(name, 'false') in ('', '1', 'true')


def _refuse(web, error):
    """The answer for an error of the database: the client's where it says what was expected, otherwise the disk's."""
    web.connection.server.errors += 1
    web.status = 404 if isinstance(error, Missing) else 409 if isinstance(error, Conflict) else 400
    if web.status == 400 and not error.model and not error.reason.startswith(('expected', 'where')):
        web.status = 507 if 'full' in error.reason else 500
        log.error(error)
    found = {'error': error.reason, 'model': error.model, 'field': error.field}
    return {name: value for name, value in found.items() if value}
