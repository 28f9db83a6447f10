"""Documents of a OneTable schema (https://doc.onetable.io) in one file of SQLite, with triggers, expiry and an outbox.

    db = Database('state/device.db', 'config/schema.json5')
    db.create('Fault', {'severity': 'warn', 'message': 'hot'})          db.get('Fault', {'id': id})
    page = db.find('Fault', {'severity': 'warn'}, limit=20, where='${count} > {3}')     # page.items, page.next
    await db.flush()                    # what this fiber has changed is on the disk

A schema says what an item is (schema.py); a store keeps its text under its keys, and says what a transaction is
(store.py). Calls never wait and, `flush` and `close` aside, need no scheduler; all come from one thread. Values hold
what makes the keys, or the key fields themselves. What is returned is the caller's own. A find costs what it reads:
whoever has many items gives what makes their keys, or a limit.
"""
import os
from binascii import a2b_base64, b2a_base64, crc32
from itertools import islice
from json import JSONDecoder
from time import time

from .. import json5
from ..runtime.fiber import local
from ..runtime.log import Log
from .errors import Conflict, DbError
from .fields import Prefix
from .schema import Schema, load
from .store import Store
from .values import document, mapping, seconds
from .watchers import EVENTS, Watchers

PATIENCE = 0.25             # seconds that opening may take to build the tables of indexes; the rest is done in a fiber
NAP = 3600.0                # seconds until items that expire are looked for again, at most, for the clock may be set
REST = 0.02                 # between the steps in which they are removed
AGAIN = 60                  # until that is tried again where it failed
ITEM = 400 << 10            # characters of an item, at most; DynamoDB has such a bound
BATCH = 50                  # items that expire, or lines that are imported, in one transaction
COMMANDS = ('insert', 'modify', 'create', 'update', 'upsert', 'remove')

decode = JSONDecoder().scan_once
log = Log('db')


class Page:
    """Items that were found, `.items`, and `.next`: what continues after them, None where there is no more."""
    __slots__ = ('items', 'next')

    def __init__(self, items, next):
        self.items, self.next = items, next

    def __iter__(self):
        return iter(self.items)

    def __len__(self):
        return len(self.items)


class Database:
    """The database in the file `path`, or ':memory:'. Raises DbError, SchemaError.

    schema      a Schema, a dict or a path
    context     values for the templates of keys, such as deviceId; laid over the schema's own
    flush       seconds until what is committed is forced to the disk
    limit       bytes that the database may have

    Where schema or context make other keys of what is stored (a template has changed, the device has been claimed),
    opening moves it there, and the outbox has `remove` of the old keys and `upsert` of the new ones. Where something
    else has the new keys, or values lack for them, the item stays under the old ones, with an error in the log.
    """

    _timer = _due = _kernel = None

    def __init__(self, path, schema, context=None, flush=1.0, limit=None):
        self.schema = schema = schema if isinstance(schema, Schema) else load(schema)
        self.path, self.context = str(path), {**schema.context, **(context or {})}
        self.models = {name: model for name, model in schema.models.items() if model.enabled}
        self._type, primary = schema.params['typeField'], schema.indexes['primary']
        self._keys, self._watchers = (primary.hash, primary.sort), Watchers()
        self._at, self._context, self._linked, shape = {}, {}, set(), []
        keys = [primary.hash, primary.sort, sorted(self.context.items())]
        for name, model in self.models.items():
            self._at[name] = 'mem' if model.mem else 'main'
            if model.ttl or model.unique or model.indexes != ['primary']:
                self._linked.add(name)
            made = ''.join(field.value or '' for field in model.fields.values())
            self._context[name] = {**self.context, self._type: name} if f'${{{self._type}' in made else self.context
            keys += name, model.mem, [
                (key, field.value, field.type, field.iso, field.unique, field.ttl)
                for key, field in model.fields.items()
                if field.value or field.unique or field.ttl or key in model.key_fields or f'${{{key}' in made]
            shape += name, model.indexes, [(key, field.type) for key, field in model.fields.items()]
        self._areas = sorted({*self._at.values()})
        shape += [(name, index.hash, index.sort) for name, index in schema.indexes.items()]
        shape = '.'.join(f'{crc32(repr(one).encode(errors="replace")):08x}' for one in (keys, shape))
        self._open(self.path, [name for name in schema.indexes if name != 'primary'], shape, flush, limit)

    def _open(self, *options, again=True):
        self._store = store = Store(*options)
        try:
            if 'mem' in self._areas:
                store.attach()
            until = time() + PATIENCE
            while store.build(self._stored_rows):
                if local.kernel and not store.urgent and time() > until:
                    local.kernel.spawn(self._build(), 'indexes of the database')
                    break
            self._arm()
        except BaseException as error:
            self.shut()
            if not (again and isinstance(error, DbError) and os.path.exists(store.marker)):
                raise
            self._open(*options, again=False)           # sets the damaged file aside

    # Items and what is stored with them

    def _model(self, name):
        try:
            return self.models[name]
        except (KeyError, TypeError):
            raise DbError(f'expected a model of the schema, {", ".join(self.models)}; got {name!r}') from None

    def _key(self, model, values):
        keys = model.keys(values, self._context[model.name])
        for key in keys:
            if key is None or type(key) is Prefix:
                raise DbError(f'expected what makes the whole key: {", ".join(filter(None, self._keys))}', model.name)
        return keys

    def _load(self, model, hash, sort):
        """The stored item with these keys, None where there is none, it is of another model or has expired."""
        text = self._store.get(self._at[model.name], hash, sort)
        item = text and _parse(text)
        return item if item and self._is(model, item) else None

    def _is(self, model, item):
        return item.get(self._type) == model.name and not (model.ttl and _expired(model, item))

    def _rows(self, model, item, hash, sort):
        """The rows of other tables for an item: its secondary keys, unique values and time to expire."""
        rows = []
        for field, value in model.uniques(item).items():
            rows.append(('uniques', (f'{model.name}.{field}', value, hash, sort)))
        for index in model.indexes:
            if index != 'primary':
                keys = model.keys(item, self._context[model.name], index)
                if None not in keys and Prefix not in map(type, keys):
                    rows.append((f'index {index}', (*keys, hash, sort)))
        if (when := _when(model, item)) is not None:
            rows.append(('expires', (when, hash, sort)))
        return rows

    def _stored_rows(self, hash, sort, text):
        """The rows of a stored item, which moves where this schema and context make other keys of it."""
        try:
            old = _parse(text)
            model = self.models.get(old.get(self._type))
            if not model or model.mem:
                return ()
            item = model.renew(old, self._context[model.name])
            keys = self._key(model, item)
            if item != old:
                with self.batch():
                    if moved := keys != (hash, sort):
                        self._put(model, hash, sort, None, old)
                    self._put(model, *keys, item, None if moved else old)
            return self._rows(model, item, *keys)
        except DbError as error:
            log.error(f'an item is left as it is, and out of indexes: {error}')
            return ()

    async def _build(self):
        from ..runtime import sleep
        try:
            while not self._store.torn and self._store.build(self._stored_rows):
                await sleep(0)
        except DbError as error:
            log.error(f'indexes: {error}')

    # Reading

    def get(self, model, values, *, index='primary', hidden=False, fields=None):
        """Return the item with these keys, or None. Where they are not whole, the one that they find; more are refused.

        `hidden` fields come only if that is true; `fields` are the names of those that are wanted.
        """
        model = self.models.get(model) or self._model(model)
        hash, sort = model.keys(values, self._context[model.name], index)
        if index != 'primary' or hash is None or sort is None or type(hash) is Prefix or type(sort) is Prefix:
            found = self.find(model.name, values, limit=2, index=index, hidden=hidden, fields=fields).items
            if len(found) > 1:
                raise DbError('expected values that only one item has', model.name)
            return found[0] if found else None
        item = self._load(model, hash, sort)
        return item and _shown(model, item, hidden, fields)

    def get_field(self, model, field, values):
        """Return one field, by its path such as address.lines[0], of an item; None where there is none."""
        from .where import getter
        return getter(field, None)(self.get(model, values, hidden=True) or {})

    def find(self, model, values=None, *, limit=None, scan=None, next=None, index='primary', reverse=False, where=None,
             substitutions=None, hidden=False, fields=None):
        """Return a Page of the items that have these values, in the order of their keys.

        limit       of items in the page
        scan        of items that are looked at for it: a page may have few or none and a `next` all the same
        next        that of the page before: goes on after it, also where items have come and gone since
        where       an expression, see where.py; `substitutions` are its values for @{name}
        """
        model, items, last = self._model(model), [], None
        shape, rows = self._search(model, values or {}, index, reverse, where, substitutions, next)
        for looked, (keys, item) in enumerate(rows):
            if looked == scan or limit is not None and len(items) >= limit:
                break
            last = keys
            if item is not None:
                items.append(_shown(model, item, hidden, fields))
        else:
            last = None
        return Page(items, last and b2a_base64(json5.to_json([shape, *last]).encode(), newline=False).decode())

    def count(self, model, values=None, *, index='primary', where=None, substitutions=None):
        """Return how many items have these values."""
        rows = self._search(self._model(model), values or {}, index, False, where, substitutions)[1]
        return sum(item is not None for _, item in rows)

    def _search(self, model, values, index, reverse, where, substitutions, next=None):
        """A number for what is asked, and an iterator of (keys, item), where an item that is not wanted is None."""
        hash, sort = model.keys(values, self._context[model.name], index)
        used, wanted, checks, substitutions = self.schema.indexes[index], {}, [], document(substitutions or {})
        if index != 'primary' and self._store.building is not None:
            raise DbError(f'the index {index} is being built, for the schema has changed: try again later', model.name)
        for name, value in values.items():
            field = model.fields.get(name)
            key = name in (used.hash, used.sort) and isinstance(value, dict)
            if value is not None and not key and name not in self.context:
                try:
                    wanted[name] = field.convert(value) if field else document(value)
                except DbError as error:
                    error.model = model.name
                    raise error.within(name)
        if wanted or where:
            from .where import compile, getter, same
            checks = [lambda item, get=getter(name), value=value: same(get(item), value)
                      for name, value in wanted.items()]
            if where:
                checks.append(compile(where, substitutions))
        shape = repr((model.name, hash, sort, index, reverse, where, substitutions, wanted))
        shape = crc32(shape.encode(errors='replace'))
        after = None if next is None else _after(next, shape, 2 if index == 'primary' else 4)
        rows = self._store.rows(self._at[model.name], index, hash, sort, reverse, after)
        return shape, self._wanted(model, rows, checks)

    def _wanted(self, model, rows, checks):
        for text, *keys in rows:
            item = _parse(text)
            wanted = self._is(model, item)
            for check in checks:
                wanted = wanted and check(item)
            yield keys, item if wanted else None

    # Changing

    def create(self, model, values, *, exists=False, hidden=False):
        """Make an item and return it. Raises DbError where there is one, or for exists=True none; None replaces."""
        model = self.models.get(model) or self._model(model)
        item = model.prepare(values, time(), self._context[model.name])
        hash, sort = self._key(model, item)
        old = None
        if exists is not False:
            old = self._load(model, hash, sort)
            self._expect(model, old, exists, None, None)
        self._put(model, hash, sort, item, old)
        return model.output(item, hidden)

    def update(self, model, values, *, upsert=False, exists=True, if_=None, substitutions=None, set=None, add=None,
               push=None, remove=(), hidden=False):
        """Change an item and return it. `values` hold its key and new values; None removes a field.

        upsert      create it where it is not there; exists=None is the same, exists=False demands that it is not
        if_         an expression that the item must meet as it was, else DbError
        set         {path: value}, such as {'lines[0].text': 'x'}
        add, push   {path: number} and {path: [values]}; remove: [paths]
        """
        model = self.models.get(model) or self._model(model)
        hash, sort = self._key(model, values)
        old = self._load(model, hash, sort)
        self._expect(model, old, None if upsert else exists, if_, substitutions)
        now, context = time(), self._context[model.name]
        item = old or model.prepare({**values, **(set or {})}, now, context)
        changes = dict(values) if old else {}
        changes.update(set or {}, **dict.fromkeys(remove))
        for paths, start, what in (add, 0, 'a number here and to add'), (push, [], 'a list here and to push'):
            for path, value in (paths or {}).items():
                from .where import getter
                try:
                    changes[path] = start + (getter(path, None)(item) or start) + value
                except TypeError:
                    raise DbError(f'expected {what}', model.name, path) from None
        if old or changes:
            item = model.change(item, changes, now, context)
        self._put(model, hash, sort, item, old)
        return model.output(item, hidden)

    def set_field(self, model, field, value, values, **options):
        """Set one field, by its path, of an item, and return the item; options as for `update`."""
        return self.update(model, values, set={field: value}, **options)

    def remove(self, model, values, *, many=False, exists=None, if_=None, substitutions=None):
        """Remove an item and return it, or None where there is none; with exists=True that is an error.

        if_         an expression that the item must meet, else DbError
        many        remove all items that have these values and meet `if_`, and return how many there were
        """
        model = self._model(model)
        if many:
            with self.batch():
                rows = self._search(model, values, 'primary', False, if_, substitutions)[1]
                return sum(item is not None and bool(self._remove(model, *keys)) for keys, item in rows)
        hash, sort = self._key(model, values)
        if exists or if_:
            self._expect(model, self._load(model, hash, sort), exists, if_, substitutions)
        return self._remove(model, hash, sort)

    def _remove(self, model, hash, sort, send=True):
        old = self._load(model, hash, sort)
        if old is not None:
            self._put(model, hash, sort, None, old, send=send)
            return model.output(old)

    @staticmethod
    def _expect(model, old, exists, if_, substitutions):
        if exists is not None and exists != (old is not None):
            raise Conflict('expected an item with this key: there is none' if exists else
                           'expected no item with this key: there is one', model.name)
        if if_:
            from .where import compile
            if not compile(if_, substitutions)(old or {}):
                raise Conflict(f'expected an item that meets {if_}', model.name)

    def _put(self, model, hash, sort, item, old, event=None, send=True):
        """Store an item that has passed its model, or remove `old` where it is None; tell who watches."""
        name, links, gone, note = model.name, (), (), None
        at, event = self._at[name], event or ('remove' if item is None else 'update' if old else 'create')
        if event != 'expire':
            self._watchers.ask(event, model, item, old)
        if name in self._linked:
            links = self._rows(model, item, hash, sort) if item else ()
            try:
                gone = self._rows(model, old, hash, sort) if old else ()
            except DbError:                     # of an older schema: it was left out of indexes
                pass
            for row in links:
                if row[0] == 'uniques' and row not in gone:
                    for holder in self._store.run(at, 'holder', *row[1][:2]):
                        if not self._expire_key(at, *holder):
                            raise Conflict('expected a value that no other item has', name, row[1][0][len(name) + 1:])
        if send and model.sync in ('up', 'both'):
            note = name
        text = item and json5.to_json(item)
        if text and len(text) > ITEM:
            raise DbError(f'expected an item of at most {ITEM} characters, got {len(text)}', name)
        change = at, hash, sort, text, old is None, links, gone, note
        if not self._store.change(*change) and not (self._expire_key(at, hash, sort) and self._store.change(*change)):
            raise Conflict('expected no item with this key: there is one', name)
        if item and (when := _when(model, item)) is not None:
            self._arm(when)
        self._watchers.note(event, model, item, old)
        if not self._store.depth and event != 'expire':     # which is in a batch, or another change goes on
            self._watchers.tell()

    # Transactions

    def batch(self):
        """`with db.batch():` what is changed in it is committed as one where it ends, or by an exception not at all.

        It must not await. Batches may be nested.
        """
        return Batch(self._store, self._watchers)

    async def flush(self):
        """Return when all that this fiber has changed is on the disk; raises DbError if it could not be."""
        await self._store.flush()

    async def close(self):
        """Commit, force all to the disk and close."""
        self._stop()
        try:
            self._store.end()
        finally:
            await self._store.file.close()

    def shut(self):
        """The same without a scheduler, waiting for the disk."""
        self._stop()
        try:
            self._store.end()
        finally:
            self._store.file.shut()

    # Who watches

    def watch(self, model, function, events=EVENTS, before=False):
        """Call function(event, model, item, old) for changes of a model, or of all for '*'; None is what there is not.

        events      of create, update, remove and expire, those that are wanted
        before      call it before the change, which it may refuse by raising DbError; it must not make another.
                    What expires is gone and cannot be refused

        Others are called after the change, or after the batch that it is in. What they change themselves is told when
        they have returned; an async one is spawned, and what one raises is logged.
        """
        if model != '*':
            self._model(model)
        self._watchers.add(model, function, events, before)

    def unwatch(self, function):
        """Call this function no more."""
        self._watchers.remove(function)

    # What expires

    def _arm(self, when=None):
        """Have `_expire` called when the item that expires first does, where a scheduler runs."""
        kernel = local.kernel
        if kernel is None or self._timer and self._kernel is kernel and when is not None and when >= self._due:
            return
        times = [row[0] for at in self._areas for row in self._store.run(at, 'due', 1)]
        if times:
            self._stop()
            self._due, self._kernel = min(times), kernel
            self._timer = kernel.call_later(min(max(REST, self._due - time()), NAP), self._expire)

    def _stop(self):
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _expire(self):
        self._timer = None
        try:
            self.expire(BATCH)
            self._arm()
        except DbError as error:
            log.error(f'items that expire: {error}')
            self._due, self._timer = time() + AGAIN, self._kernel.call_later(AGAIN, self._expire)

    def expire(self, limit=None):
        """Remove what has expired, some `limit` items, and return how many; a running scheduler does it by itself."""
        count, now = 0, time()
        for at in self._areas:
            while limit is None or count < limit:
                due = [row for row in self._store.run(at, 'due', BATCH) if row[0] <= now]
                if not due:
                    break
                with self.batch():
                    for row in due:
                        if not self._expire_key(at, *row[1:]):
                            self._store.drop(at, 'expires', row)            # of a model that the schema does not have
                count += len(due)
        return count

    def _expire_key(self, at, hash, sort):
        """Remove an item if it has expired, and return whether it has."""
        text = self._store.get(at, hash, sort)
        item = text and _parse(text)
        model = item and self.models.get(item.get(self._type))
        if not model or self._at[model.name] != at or not model.ttl or not _expired(model, item):
            return False
        self._put(model, hash, sort, None, item, 'expire')
        return True

    # What is synchronised

    def pending(self, limit=100, after=0):
        """Return [(seq, model, command, key, item)] of changes that the cloud has not acknowledged, oldest first.

        An item has one entry, in the order of last changes: `upsert` with the item as stored, or where there is none
        `remove` with it as it was, {} if that is not known.
        """
        found = sorted(row for at in self._areas for row in self._store.run(at, 'pending', after, limit))
        return [(seq, model, command, {name: key for name, key in zip(self._keys, keys) if name}, _parse(text or '{}'))
                for seq, model, command, *keys, text in found[:limit]]

    def acknowledge(self, seqs):
        """Take changes out of the outbox; an item that has changed again since stays."""
        with self.batch():
            for at in self._areas:
                for seq in seqs:
                    self._store.run(at, 'forget', seq)

    def apply(self, model, command, item):
        """Store a change that comes from the cloud and return the item; it is not sent back.

        command     one of COMMANDS, in either case
        item        if what is here was updated later, which the cloud will hear of, that stays, and None is returned
        """
        model, command = self._model(model), command.lower()
        if command not in COMMANDS:
            raise DbError(f'expected a command of {", ".join(COMMANDS)}; got {command!r}', model.name)
        item = mapping(item)
        keys, stamp = self._key(model, item), model.updated
        mine = (self._load(model, *keys) or {}).get(stamp) or 0
        if seconds(mine) > seconds(item.get(stamp) or mine):
            return None
        if command == 'remove':
            return self._remove(model, *keys, False)
        return self._take(model, item, False)

    def _take(self, model, item, send):
        """Store an item of elsewhere, with its timestamps, and with fields that this schema does not know."""
        item = {**item, **model.prepare(item, None, self._context[model.name])}
        keys = self._key(model, item)
        self._put(model, *keys, item, self._load(model, *keys), send=send)
        return model.output(item)

    # The whole

    def export(self, file):
        """Write every item that is kept on the disk as a line of JSON to a text file, and return how many there are."""
        count = 0
        for text, *_ in self._store.rows('main', 'primary', None, None):
            file.write(text + '\n')
            count += 1
        return count

    def import_(self, file):
        """Store the items of such lines, over those that are there, and return how many. Raises DbError."""
        count, lines = 0, iter(file)
        while chunk := list(islice(lines, BATCH)):
            with self.batch():
                for line in chunk:
                    count += 1
                    try:
                        item = mapping(json5.parse(line))
                        self._take(self._model(item.get(self._type)), item, True)
                    except (json5.Json5Error, DbError) as error:
                        raise DbError(f'line {count}: {error}') from None
        return count

    def check(self):
        """Return what is wrong with the file, as texts; it reads all of it."""
        return self._store.check()

    @property
    def size(self):
        """Bytes that are in use, and bytes of the file, counting what has not been copied out of the WAL."""
        return self._store.size

    def vacuum(self):
        """Give back the space of what was removed, and return how many bytes. All calls wait for it."""
        before = self.size[1]
        self._store.vacuum()
        return before - self.size[1]


class Batch:
    """What `Database.batch` returns."""
    __slots__ = ('store', 'watchers', 'told')

    def __init__(self, store, watchers):
        self.store, self.watchers = store, watchers

    def __enter__(self):
        self.told = len(self.watchers.queue)
        self.store.__enter__()

    def __exit__(self, kind, error, trace):
        failed, queue = True, self.watchers.queue
        try:
            self.store.__exit__(kind, error, trace)
            failed = kind is not None
        finally:
            while failed and len(queue) > self.told:
                queue.pop()
        if not self.store.depth:
            self.watchers.tell()


def _parse(text):
    try:
        return decode(text, 0)[0]
    except (ValueError, StopIteration, TypeError):
        raise DbError('an item is damaged: it is no JSON') from None


def _when(model, item):
    """When an item expires, or None."""
    when = item.get(model.ttl) if model.ttl else None
    return when if type(when) in (int, float) else None


def _expired(model, item):
    when = _when(model, item)
    return when is not None and when <= time()


def _shown(model, item, hidden, fields):
    shown = model.output(item, hidden)
    return shown if fields is None else {name: shown[name] for name in fields if name in shown}


def _after(token, shape, size):
    """The keys that a `next` stands for. Raises DbError where it is of another query."""
    try:
        found, *keys = json5.parse(a2b_base64(token, strict_mode=True).decode())
    except (ValueError, TypeError):
        found, keys = None, ()
    if found != shape or len(keys) != size:
        raise DbError('expected the next of a page of the same query')
    return keys
