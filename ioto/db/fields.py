"""Fields of a schema: their properties checked, and compiled into functions; value templates.

What is wrong raises SchemaError, whose `field` says where: each level puts its name before it.
"""
import re

from ..json5 import to_json
from . import values as cast
from .errors import DbError, SchemaError
from .values import document, text, wrong

NOTES = ('readonly', 'notes', 'description', 'title', 'label', 'reference', 'timestamp')
NESTED = {'type': str, 'required': bool, 'default': object, 'enum': list, 'validate': str, 'generate': str,
          'uuid': (str, bool), 'schema': dict, 'items': dict, 'isoDates': bool, 'nulls': bool,
          **dict.fromkeys(NOTES, object)}
FIELD = NESTED | {'value': str, 'hidden': bool, 'unique': bool, 'ttl': bool, 'partial': bool}
WORDS = {str: 'a text', bool: 'true or false', dict: 'an object', list: 'an array', float: 'a number'}
CHOICES = {'enable': ('both|cloud|device',) * 2, 'sync': ('none|up|down|both',) * 2,
           'format': (r'onetable:1\.[01]\.\d+', "'onetable:1.1.0'"),
           'version': (r'\d+\.\d+\.\d+([-+][\w.+-]+)?|latest', "a version such as '1.0.0'"),
           'timestamps': ('True|False|create|update', "true, false, 'create' or 'update'")}
DEPTH = 20                              # of nested schemas

TYPES = {'string': cast.string, 'number': cast.number, 'boolean': cast.boolean, 'date': cast.seconds,
         'object': cast.mapping, 'array': cast.array, 'set': cast.unique_set, 'binary': cast.binary,
         'buffer': cast.binary, 'any': document}
SCALAR = ('string', 'number', 'boolean', 'date')
ONLY = {'schema': ('object',), 'partial': ('object',), 'items': ('array',), 'ttl': ('date', 'number'),
        'isoDates': ('date',), 'generate': ('string',), 'uuid': ('string',), 'value': ('string', 'number', 'date'),
        'unique': SCALAR, 'validate': SCALAR}
GENERATE = {'ulid': cast.ulid, 'uuid': cast.uuid, 'uid': cast.uid}

match_name = re.compile(r'''[^\s.$:{}[\]'"]+''').fullmatch
match_variable = re.compile(r'([^:.]+(?:\.[^:.]+)*)(?::([0-9]{1,3})(?::(.))?)?').fullmatch
match_pattern = re.compile(r'/(.*)/([dgimsuvy]*)', re.DOTALL).fullmatch
split_template = re.compile(r'\$\{([^{}]*)\}').split
sub_ends = re.compile(r'\\.|\[(?:\\.|[^]\\])*\]|(\$)', re.DOTALL).sub


def bad(field, expected, value):
    return SchemaError(wrong(expected, value).reason, field=field)


def known(config, table):
    """Return an object whose properties are those of a table, and of its types."""
    if not isinstance(config, dict):
        raise bad('', 'an object', config)
    for name, value in config.items():
        if name not in table:
            raise SchemaError(f'not supported here, expected one of {", ".join(table)}', field=str(name))
        if not isinstance(value, table[name]):
            raise bad(name, ' or '.join(word for one, word in WORDS.items() if issubclass(one, table[name])), value)
        if name in CHOICES and not re.fullmatch(CHOICES[name][0], str(value)):
            raise bad(name, CHOICES[name][1].replace('|', ', '), value)
    return config


def each(config, make):
    """{name: make(name, value)} of an object, with errors that say where."""
    if not isinstance(config, dict):
        raise bad('', 'an object', config)
    made = {}
    for name, value in config.items():
        try:
            made[name] = make(name, value)
        except SchemaError as error:
            raise error.within(name)
    return made


def compile_fields(config, params, depth=0):
    def make(name, one):
        if not match_name(str(name)):
            raise SchemaError('expected a name without spaces, quotes and . : $ { } [ ]')
        return Field(one, params, depth)
    return each(config, make)


class Field:
    """A field: `.config`, `.type` and others of its properties; `.check` turns a value into what is stored, `.convert`
    heeds only the type. `.kind` is the Python type of values that need no check, or None; `.default` a function that
    makes the value of a new item, or None.
    """

    def __init__(self, config, params, depth=0):
        get = known(config, NESTED if depth else FIELD).get
        self.config, self.type = config, get('type', 'string').lower()
        if self.type not in TYPES:
            raise bad('type', ', '.join(TYPES), get('type'))
        if depth > DEPTH:
            raise SchemaError(f'expected at most {DEPTH} levels of schemas')
        for name, types in ONLY.items():
            if get(name) not in (None, False) and self.type not in types:
                raise bad(name, f'a field of type {" or ".join(types)}', self.type)
        self.required, self.unique, self.ttl = get('required', False), get('unique', False), get('ttl', False)
        self.nulls, self.partial = get('nulls', params['nulls']), get('partial', params['partial'])
        self.value, self.hidden = get('value'), get('hidden', params['hidden'] and 'value' in config)
        self.iso = self.type == 'date' and get('isoDates', params['isoDates'])
        self.convert = cast.whole_seconds if self.ttl else cast.iso if self.iso else TYPES[self.type]
        for name, make, check in ('schema', compile_fields, _object), ('items', Field, _array):
            if name in config:
                nested = each({name: get(name)}, lambda name, one, make=make: make(one, params, depth + 1))[name]
                self.convert = check(nested)
        at = 'enum'
        try:
            self.enum = [self.convert(one) for one in get(at)] if at in config else None
            self.pattern = _pattern(get('validate'))
            self.check = self.convert if self.enum is None and self.pattern is None else self._check
            self.kind = {'string': str, 'boolean': bool}.get(self.type) if self.check is self.convert else None
            at = 'default'
            value = None if get(at) is None else self.check(get(at))
        except SchemaError:
            raise
        except DbError as error:
            raise SchemaError(error.reason, field=error.within(at).field) from None
        self.default = _generator(get('generate') or get('uuid')) or (
            None if value is None else (lambda: document(value)) if isinstance(value, (dict, list)) else lambda: value)

    def _check(self, value):
        value = self.convert(value)
        if self.enum is not None and value not in self.enum:
            raise wrong(f'one of {to_json(self.enum)[1:-1]}', value)
        if self.pattern is not None and not self.pattern(text(value)):
            raise wrong(f'a match of {self.config["validate"]}', value)
        return value


def _generator(kind):
    if not kind:
        return None
    if kind is True:                        # of `uuid`, an older name
        kind = 'uuid'
    if found := re.fullmatch(r'uid\(([0-9]{1,2})\)', kind):
        return lambda: cast.uid(int(found[1]))
    if kind not in GENERATE:
        raise bad('generate', 'ulid, uuid, uid or uid(n)', kind)
    return GENERATE[kind]


def _pattern(source):
    """The search of a JavaScript regular expression such as '/^[a-z]+$/i', or None."""
    if source is None:
        return None
    if not (found := match_pattern(source)):
        raise bad('validate', "a regular expression such as '/^[a-z]+$/i'", source)
    flags = sum(getattr(re, letter.upper()) for letter in set(found[2]) & set('ims'))
    end = '$' if flags & re.M else r'\Z'                # Python's $ also matches before a last line end
    try:
        return re.compile(sub_ends(lambda one: end if one[1] else one[0], found[1]), flags | re.ASCII).search
    except re.error as error:
        raise SchemaError(f'no regular expression: {error}', field='validate') from None


def rows(fields):
    return [(name, one.kind, one.check, one.default, one.required, one.nulls) for name, one in fields.items()]


def fill(rows, values, item):
    """Put into the item what the values, generators and defaults give for the fields, and return it. Raises DbError."""
    name = ''
    try:
        for name, kind, check, default, required, nulls in rows:
            value = values.get(name)
            if value is None:
                if default is not None and name not in values:
                    item[name] = default()
                elif required:
                    raise DbError('expected a value, for it is required')
                elif nulls and name in values:
                    item[name] = None
            elif type(value) is kind:
                item[name] = value
            else:
                item[name] = check(value)
    except DbError as error:
        raise error.within(name)
    return item


def _object(fields):
    inner = rows(fields)

    def check(value):
        if not isinstance(value, dict):
            raise wrong('an object', value)
        return fill(inner, value, document({name: one for name, one in value.items() if name not in fields}))
    return check


def _array(field):
    def check(value):
        if not isinstance(value, (list, tuple)):
            raise wrong('an array', value)
        made = []
        for n, one in enumerate(value):
            try:
                made.append(field.check(one))
            except DbError as error:
                raise error.within(f'[{n}]')
        return made
    return check


class Prefix:
    """How a key begins (`.text`), where what follows in its template is unknown: OneTable's begins-with rule."""
    __slots__ = ('text',)

    def __init__(self, text):
        self.text = text

    def __eq__(self, other):
        return isinstance(other, Prefix) and self.text == other.text

    def __repr__(self):
        return f'Prefix({self.text!r})'


def template(source, fields, context):
    """The names in a value template, and a function from values to its text, or a Prefix or None where some lack."""
    pieces = split_template(source)
    tail, names, parts = pieces[-1], set(), []
    for literal, variable in zip(pieces[::2], pieces[1::2]):
        found = match_variable(variable)
        name, *steps = found[1].split('.') if found else ('',)
        if name not in context and (name not in fields or fields[name].value is not None):
            raise bad('value', '${field}, ${field:size} or ${field:size:pad}, of fields without a template, '
                      'or names of the context', source)
        convert = fields[name].convert if name in fields and not steps else document
        plain = convert is cast.string and not found[2]
        parts.append((literal, name, steps, plain, convert, int(found[2] or 0), found[3] or '0'))
        names.add(name)
    if '${' in ''.join(pieces[::2]):
        raise bad('value', '} after each ${', source)

    def expand(values):
        made = ''
        for literal, name, steps, plain, convert, size, pad in parts:
            made += literal
            value = values.get(name)
            if plain and type(value) is str:
                made += value
                continue
            for step in steps:
                value = value.get(step) if isinstance(value, dict) else None
            if value is None:
                return Prefix(made) if made else None
            try:
                made += text(convert(value)).rjust(size, pad)
            except DbError as error:
                raise error.within('.'.join((name, *steps)))
        return made + tail
    return names, expand


def key_part(name, field, expand):
    """A function from values to a key: the field itself if it is there, otherwise what its template makes."""
    if name is None:
        return lambda values: ''

    def part(values):
        key = values.get(name)
        if key is None:
            return expand(values) if expand else None
        try:
            if type(key) is not dict:
                return field.convert(key)
            if len(key) == 1 and type(begins := key.get('begins', key.get('begins_with'))) is str:
                return Prefix(begins)
            raise wrong("a value or {begins: 'text'}, for other conditions belong to `where`", key)
        except DbError as error:
            raise error.within(name)
    return part
