"""OneTable schemas (https://doc.onetable.io, format onetable:1.1.0), checked and compiled.

    schema = load('schema.json5')
    fault = schema.models['Fault']
    item = fault.prepare({'severity': 'warn'}, time(), schema.context)      # what is stored
    hash, sort = fault.keys({'id': id}, schema.context)                     # where

The rules of a model become tuples and closures once; an item passes them in one loop. As in OneTable: fields that the
model does not have are left out of what callers give (nested ones, and those of stored items, are kept); values are
cast where that needs no guess; null removes a field unless `nulls`; defaults fill what is missing in new items and in
what is read; values of the context win; a field with a `value` template is computed, and hidden.

What a device cannot do is refused with its path: `map`, `encode`, `crypt`, `scope`, generators of one's own, templates
that use another template's field, and in nested fields what FIELD has and NESTED lacks. NOTES, `queries`, `items` and
`extensions` are for people and other tools. Beyond OneTable, a schema has `blend`, schema files that it is laid over;
`process` (or `control`), which models are stored here and synchronised; and `context`, values for templates until the
program knows better ones.
"""
from os.path import dirname, join

from .. import json5
from ..runtime import units
from .errors import DbError, SchemaError
from .fields import Field, bad, compile_fields, each, fill, key_part, known, rows, template
from .values import document, iso, seconds, text

INDEX = {'hash': str, 'sort': str, 'project': (str, list), 'follow': bool, 'type': str, 'description': str}
PROCESS = {'enable': str, 'sync': str, 'show': bool, 'mem': bool, 'delay': (str, int, float), 'notify': object,
           'actions': object}
PARAMS = {'isoDates': False, 'timestamps': False, 'typeField': '_type', 'nulls': False, 'hidden': True,
          'partial': False, 'createdField': 'created', 'updatedField': 'updated', 'separator': '#'}
SCHEMA = {'format': str, 'version': str, 'name': str, 'description': str, 'blend': list, 'params': dict,
          'context': dict, 'indexes': dict, 'process': dict, 'control': dict, 'models': dict, 'queries': dict,
          'items': list, 'extensions': dict}
CONTEXT = ('accountId', 'deviceId')     # what the agent knows
KEY = ('string', 'number', 'date', 'binary', 'buffer')
DEPTH = 20                              # of schemas that blend others


def load(source, base=None, context=None):
    """Return the Schema of a file or dictionary. `blend` is relative to the folder `base`, by default that of the file.

    `context` has values for templates and fields, over those of the schema. Raises SchemaError with file and path.
    """
    return _in_file(source, lambda: Schema(_read(source, base, 0), context or {}))


def _in_file(source, call):
    try:
        return call()
    except (OSError, json5.Json5Error) as error:
        raise SchemaError(str(error)) from None
    except SchemaError as error:
        error.file = error.file or ('' if isinstance(source, dict) else str(source))
        raise


def _read(source, base, depth):
    """The whole of a schema: those that it blends, in order, under it."""
    config = known(source if isinstance(source, dict) else json5.load(source), SCHEMA)
    whole = {}
    for n, name in enumerate(config.get('blend', ())):
        if not isinstance(name, str) or depth > DEPTH:
            raise bad(f'blend[{n}]', 'the name of a schema file that does not blend itself', name)
        path = join(base or ('' if config is source else dirname(source)), name)
        json5.blend(whole, _in_file(path, lambda path=path: _read(path, None, depth + 1)))
    return json5.blend(whole, config)


class Index:
    """An index: `.hash` and `.sort`, names of fields or None; it finds whole items: `.project` is for the cloud."""

    def __init__(self, config, hash=None):
        known(config, INDEX)
        self.hash, self.sort, self.project = config.get('hash', hash), config.get('sort'), config.get('project', 'all')
        if not self.hash and not self.sort:
            raise SchemaError('expected hash or sort, each the name of a field')


class Model:
    """A model: `.name`, `.fields`, `.indexes` (those whose keys it has), `.key_fields`, `.ttl` (or None) and `.unique`,
    `.updated` (the time of the last change, or None), all by name; and of its process entry `.enabled` (on this
    device), `.sync`, `.mem`.
    """

    def __init__(self, name, config, schema):
        params = schema.params
        self.name, self.type_field, process = name, params['typeField'], schema.process[name]
        self.enabled, self.sync, self.mem = process['enable'] != 'cloud', process['sync'], process['mem']
        self.fields = fields = compile_fields(config, params)
        wanted = [when for when in ('create', 'update') if params['timestamps'] in (True, when)]
        stamps = {params[f'{when}dField']: when for when in wanted}
        for stamp in stamps:
            field = fields.setdefault(stamp, Field({'type': 'date'}, params))
            field.required = False
            if field.type != 'date' or field.value is not None:
                raise SchemaError('expected type date, for params.timestamps is set', field=stamp)
        fields.setdefault(self.type_field, Field({'hidden': True}, params))
        self.updated = params['updatedField'] if 'update' in wanted else None
        self._stamps = [(stamp, fields[stamp].convert, when) for stamp, when in stamps.items()]
        ttl = [name for name, field in fields.items() if field.ttl]
        if len(ttl) > 1:
            raise SchemaError('expected one field with ttl', field=ttl[1])
        self.ttl = ttl[0] if ttl else None
        self.unique = [name for name, field in fields.items() if field.unique]
        context = {*CONTEXT, *schema.context, self.type_field}
        self._templates = each({name: field.value for name, field in fields.items() if field.value is not None},
                               lambda name, source: template(source, fields, context))
        self._outside = any(names - fields.keys() for names, _ in self._templates.values())
        self._compile_keys(schema.indexes)
        self._rows = rows({name: one for name, one in fields.items() if one.value is None and name != self.type_field})
        self._hidden = {name for name, one in fields.items() if one.hidden}
        self._defaults = [(name, one.default) for name, one in fields.items() if one.config.get('default') is not None]
        self._dates = [(name, *((str, iso) if one.iso else ((int, float), seconds)))
                       for name, one in fields.items() if one.type == 'date']

    def _compile_keys(self, indexes):
        fields, primary = self.fields, indexes['primary']
        self.key_fields = list(filter(None, (primary.hash, primary.sort)))
        for name in self.key_fields:
            if name not in fields:
                raise SchemaError('expected this field, a key of the primary index', field=name)
            fields[name].required = True
        self._keys = {}
        for index, one in indexes.items():
            names = list(filter(None, (one.hash, one.sort)))
            if not fields.keys() >= set(names):
                continue
            for name in names:
                field = fields[name]
                if field.type not in KEY:
                    raise bad(f'{name}.type', f'a key of type {" or ".join(KEY)}', field.type)
            self._keys[index] = [key_part(name, fields.get(name), self._templates.get(name, (0, None))[1])
                                 for name in (one.hash, one.sort)]
        self.indexes = list(self._keys)

    def prepare(self, values, now, context=None):
        """Return a new item of the values. `now` is the time in seconds, or None for no timestamps. Raises DbError."""
        if context:
            values = {**values, **context}
        try:
            item = fill(self._rows, values, {self.type_field: self.name})
            if now is not None:
                for name, convert, _ in self._stamps:
                    item[name] = convert(now)
            self._compute(item, self._templates, values)
        except DbError as error:
            error.model = self.name
            raise
        return item

    def change(self, old, values, now, context=None):
        """Return a stored item with the values laid over it; names may be paths: address.zip, list[0]. Raises DbError.

        null removes a field. An object replaces another unless field or schema are `partial`. Keys cannot change.
        """
        item, fields, name = dict(old), self.fields, ''
        stamps = [] if now is None else [stamp for stamp, _, _ in self._stamps]
        try:
            for name, value in values.items():
                if name not in fields:
                    name, value = self._reach(item, name, value)
                field = fields.get(name)
                if field is None or field.value is not None or name == self.type_field or name in stamps:
                    continue
                if value is not None:
                    item[name] = field.check(_merge(item.get(name), value) if field.partial else value)
                elif field.required:
                    raise DbError('expected a value, for it is required')
                elif field.nulls:
                    item[name] = None
                else:
                    item.pop(name, None)
        except DbError as error:
            error.model = self.name
            raise error.within(name)
        for name, convert, when in self._stamps if stamps else ():
            if when == 'update':
                item[name] = convert(now)
        changed = {name for name in fields if item.get(name) != old.get(name)}
        try:
            stale = {name: one for name, one in self._templates.items() if one[0] & changed}
            self._compute(item, stale, {**values, **(context or {})})
            for name in self.key_fields:
                if item.get(name) != old.get(name):
                    raise DbError('a key cannot change: remove the item and create another', field=name)
        except DbError as error:
            error.model = self.name
            raise
        return item

    def renew(self, item, context):
        """Return a stored item with what this context and these templates make of it. Raises DbError."""
        item = item | {name: self.fields[name].convert(value) for name, value in context.items() if name in self.fields}
        if item.get(self.ttl) is not None:
            item[self.ttl] = self.fields[self.ttl].convert(item[self.ttl])
        self._compute(item, self._templates, context)
        return item

    def _reach(self, item, path, value):
        """The field that a path leads into and its whole value, with the new one there; None if the model lacks it."""
        try:
            name, *steps = json5.query.split(path) or ('',)
            if not steps or name not in self.fields:
                return None, None
            if len(steps) > 100:
                raise DbError('expected at most 100 steps')
            whole = {name: document(item.get(name))}
            json5.remove(whole, path) if value is None else json5.set(whole, path, value)
        except json5.Json5Error as error:
            raise DbError(error.message) from None
        return name, whole[name]

    def _compute(self, item, templates, given):
        """Put the fields with templates into the item; they may be made of values that are no fields."""
        values = {**given, **item} if self._outside else item
        for name, (names, expand) in templates.items():
            made, field = expand(values), self.fields[name]
            if type(made) is str:
                try:
                    item[name] = made if field.kind else field.check(made)
                except DbError as error:
                    raise error.within(name)
            elif field.required:
                lacking = ', '.join(sorted(one for one in names if values.get(one) is None))
                raise DbError(f'expected values for {lacking or field.value}', field=name)
            else:
                item.pop(name, None)

    def keys(self, values, context=None, index='primary'):
        """Return (hash, sort) of items with these values: each text, number, Prefix, or None where nothing is known.

        A key that the index does not have is ''. Values may hold the key fields themselves, or {begins: text} for one.
        """
        if context:
            values = {**values, **context}
        try:
            hash, sort = self._keys[index]
            return hash(values), sort(values)
        except KeyError:
            raise DbError(f'expected an index: {" or ".join(self._keys)}, got {index!r}', self.name) from None
        except DbError as error:
            error.model = self.name
            raise

    def uniques(self, item):
        """{field: text} for the unique fields that an item has; no two items may have the same text for a field."""
        return {name: text(item[name]) for name in self.unique if item.get(name) is not None}

    def output(self, item, hidden=False):
        """Return what callers get of an item: defaults, dates as the schema says, no hidden fields unless `hidden`."""
        away = () if hidden else self._hidden
        shown = {name: value for name, value in item.items() if name not in away}
        for name, default in self._defaults:
            if name not in item and name not in away:
                shown[name] = default()
        for name, kind, convert in self._dates:
            if name in shown and not isinstance(shown[name], kind) and shown[name] is not None:
                try:
                    shown[name] = convert(shown[name])
                except DbError:             # no date, of an older schema
                    pass
        return shown


def _merge(old, new):
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{name: _merge(old.get(name), value) for name, value in new.items()}}
    return new


class Schema:
    """A checked schema: `.models`, `.indexes`, `.params`, `.process` (an entry for each model), `.version`, `.name`,
    `.context`, `.source` (as read and blended) and `.digest`, which changes when the schema does.
    """

    def __init__(self, config, context):
        from hashlib import sha256

        def section(name, check, default=None):
            return each({name: config.get(name, default or {})}, lambda _, value: check(value))[name]

        models = section('models', lambda all: each(all, _check_name))
        self.source = known(config, SCHEMA)
        self.version, self.name = config.get('version', '0.0.0'), config.get('name', '')
        self.digest = sha256(repr(config).encode(errors='replace')).hexdigest()[:16]
        self.context = {**config.get('context', {}), **context}
        types = {name: (bool, str) if name == 'timestamps' else type(value) for name, value in PARAMS.items()}
        self.params = {**PARAMS, **section('params', lambda given: known(given, types))}
        self.indexes = section('indexes', _indexes, {'primary': {'hash': 'pk', 'sort': 'sk'}})
        entries = {}
        for older in ('control', 'process'):
            entries |= section(older, lambda given: each(given, lambda name, one: _entry(name, one, models)))
        self.process = {name: entries.get(name) or _entry(name, {}, models) for name in models}
        self.models = section('models', lambda all: each(all, lambda name, one: Model(name, one, self)))


def _check_name(name, config):
    if not (str(name).isidentifier() and name.isascii()):
        raise SchemaError('expected a name of letters, digits and _')
    return config


def _indexes(config):
    if 'primary' not in config:
        raise SchemaError('expected the index primary')
    primary = each({'primary': config['primary']}, lambda _, one: Index(one))['primary']
    return {'primary': primary} | each(config, lambda name, one: Index(one, name != 'primary' and primary.hash))


def _entry(name, config, models):
    """A model's entry of `process`: where it is stored and synchronised; `delay` in seconds or None."""
    if name not in models:
        raise SchemaError('expected the name of a model')
    entry = {'enable': 'both', 'sync': 'none', 'show': True, 'mem': False, 'delay': None} | known(config, PROCESS)
    try:
        if entry['delay'] is not None:
            entry['delay'] = units.seconds(entry['delay'])
    except ValueError as error:
        raise SchemaError(str(error), field='delay') from None
    return entry
