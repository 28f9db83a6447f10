"""API signatures: what requests and answers of actions look like, for routes with `validate: true`.

    signatures: {
        '/api/pump': {                      // the path of an action; a "/" at the end makes it a prefix
            POST: {                         // '*' for any method
                role: 'user',               // only for users with this role
                query: {unit: {type: 'string', enum: ['a', 'b'], default: 'a'}},
                request: {speed: {type: 'number', min: 0, max: 100, required: true}},
                response: {speed: {type: 'number'}, secret: {drop: true}},
            },
        },
    }

A description has `type` (string, number, integer, boolean, object, array, null, any, or a list of these), `required`,
`enum`, `min` and `max` (of a number's value, of a text's or array's length), `pattern` (of the whole text), `default`,
`items` (of an array), `fields` (of an object; others are refused in a request and left out of a response, unless
`extra: true`), `drop` (the field is left out) and `role` (a field for users with that role). `query`, `request` and
`response` hold fields, or a description whose `type` is a text.

A request that does not match is answered 400 with the field's name. The values that an action gets from `web.json()`,
`web.form()` and `web.vars` are those that were checked: with defaults, and converted where they came as text. Where a
path has a signature, methods that it does not name are not allowed; a path without one is not held against anything.
"""

import json
import re
from types import CoroutineType

from ..http import HttpError
from ..json5 import to_json
from ..runtime.log import Log
from .exchange import FORM
from .routes import WebError, longest
from .routes import methods as check_methods

KINDS = {str: 'string', bool: 'boolean', int: 'integer', float: 'number', dict: 'object', (list, tuple): 'array', type(None): 'null'}
NAMES = {'string': 'a string', 'number': 'a number', 'integer': 'an integer', 'boolean': 'true or false', 'object': 'an object',
         'array': 'an array', 'null': 'null', 'any': 'a value'}
PROPERTIES = {      # of a description: type of the value
    'type': (str, list), 'required': bool, 'enum': list, 'min': (int, float), 'max': (int, float), 'pattern': str,
    'default': object, 'items': dict, 'fields': dict, 'extra': bool, 'drop': bool, 'role': str}
METHOD = {'role': str, 'query': dict, 'request': dict, 'response': dict}
INFINITY = float('inf')

log = Log('web')


class Mismatch(Exception):
    """A value that is not as described: `.field`, `.message`."""

    def __init__(self, field, message):
        super().__init__(f'{field or "body"}: {message}')
        self.field, self.message = field, message


def known(value, table, where):
    """Return a dictionary whose properties are those of a table. Raises WebError."""
    if not isinstance(value, dict):
        raise WebError(where, f'expected an object, got {value!r}')
    for name, item in value.items():
        if not isinstance(item, table.get(name, ())):
            wrong = f'expected {kinds(table[name])}, got {item!r}' if name in table else f'unknown property: expected one of {", ".join(table)}'
            raise WebError(step(where, name), wrong)
    return value


def kinds(types):
    """Words for a type or several."""
    types = types if isinstance(types, tuple) else (types,)
    return ' or '.join(next(NAMES[name] for kind, name in KINDS.items() if issubclass(one, kind)) for one in types)


def step(where, name):
    """The name of a property within another."""
    return f'{where}.{name}' if name.isidentifier() else f'{where}[{name!r}]'


class Shape:
    """A description, ready to check values with; or an object with these `fields`."""

    def __init__(self, config, where, fields=None):
        known(config, PROPERTIES, where)
        inner = where if fields is not None else f'{where}.fields'
        fields = config.get('fields', fields)
        names = config.get('type', 'object' if fields is not None else 'array' if 'items' in config else 'any')
        self.types = {names} if isinstance(names, str) else set(map(str, names))
        if not self.types or not self.types <= NAMES.keys():
            raise WebError(f'{where}.type', f'expected {", ".join(NAMES)}, or a list of these, got {names!r}')
        self.any = 'any' in self.types
        self.required, self.extra, self.drop = (config.get(name, False) for name in ('required', 'extra', 'drop'))
        self.enum, self.role = config.get('enum'), config.get('role')
        self.low, self.high = config.get('min', -INFINITY), config.get('max', INFINITY)
        if self.low > self.high or self.enum == []:
            raise WebError(f'{where}.{"min" if self.enum is None else "enum"}', 'nothing can match this')
        try:
            self.pattern = re.compile(config['pattern']).fullmatch if 'pattern' in config else None
        except re.error as error:
            raise WebError(f'{where}.pattern', f'no regular expression: {error}') from None
        self.items = Shape(config['items'], f'{where}.items') if 'items' in config else None
        self.fields = None
        if fields is not None:
            self.fields = {name: Shape(field, step(inner, name)) for name, field in fields.items()}
            self.wanted = [(name, field) for name, field in self.fields.items() if field.required or field.default]
        self.expected = self._expected(config)
        self.default = None                 # as JSON, since an action may change what it gets
        if 'default' in config:
            try:
                self.default = to_json(self.check(config['default'], '', None))
            except Mismatch as error:
                raise WebError(f'{where}.default', error.message) from None

    def _expected(self, config):
        if self.enum is not None:
            return 'expected one of ' + ', '.join(map(repr, self.enum))
        text = 'expected ' + ' or '.join(name for kind, name in NAMES.items() if kind in self.types)
        low, high = config.get('min'), config.get('max')
        if low is not None or high is not None:
            text += f' of at least {low}' if high is None else f' of at most {high}' if low is None else f' from {low} to {high}'
            text += '' if self.types & {'number', 'integer'} else ' characters' if 'string' in self.types else ' items'
        return text + (f' that matches {config["pattern"]}' if 'pattern' in config else '')

    def check(self, value, name, web, text=False, answer=False):
        """Return the value as an action gets it, or a client, where it is an `answer`. `text`: it came as text. Raises Mismatch."""
        if text and isinstance(value, str) and not self.any and 'string' not in self.types:
            value = from_text(value)
        kind = next((kind for type, kind in KINDS.items() if isinstance(value, type)), None)
        measure = value if kind == 'integer' or kind == 'number' else len(value) if kind == 'string' or kind == 'array' else None
        if kind == 'number':
            if not abs(value) < INFINITY:
                kind = None
            elif value == int(value) and 'integer' in self.types:
                value, kind = int(value), 'integer'
        if (kind not in self.types and not self.any and not (kind == 'integer' and 'number' in self.types)
                or measure is not None and not self.low <= measure <= self.high
                or self.enum is not None and not any(value == one and (kind == 'boolean') == isinstance(one, bool) for one in self.enum)
                or self.pattern is not None and kind == 'string' and not self.pattern(value)):
            raise Mismatch(name, f'{self.expected}, got {shown(value, kind)}')
        if kind == 'object' and self.fields is not None:
            return self._object(value, name and f'{name}.', web, text, answer)
        if kind == 'array' and self.items is not None:
            return [self.items.check(item, f'{name}[{n}]', web, False, answer) for n, item in enumerate(value)]
        return value

    def _object(self, value, name, web, text, answer):
        found = {}
        for key, item in value.items():
            field = self.fields.get(key)
            if field is None:
                if self.extra:
                    found[key] = item
                elif not answer:
                    raise Mismatch(f'{name}{key[:100]}', 'unknown field')
            elif field.role and web is not None and not (web.user and web.user.has_role(field.role)):
                if not answer:
                    raise Mismatch(f'{name}{key}', f'only for users with the role {field.role}')
            elif not field.drop:
                found[key] = field.check(item, f'{name}{key}', web, text, answer)
        for key, field in self.wanted:
            if key not in value:
                if field.default is None:
                    raise Mismatch(f'{name}{key}', f'{field.expected}, got nothing')
                found[key] = json.loads(field.default)
        return found


def from_text(text):
    """The value of a variable that is no text: JSON, or the "on" of a check box."""
    try:
        return text == 'on' or json.loads(text)
    except (ValueError, RecursionError):
        return text


def shown(value, kind):
    """A value in a message."""
    return repr(value[:40]) if kind == 'string' else NAMES[kind] if kind in ('object', 'array') else json.dumps(value, default=str)[:40]


class Signature:
    """What a method of a path takes and answers."""

    def __init__(self, config, where):
        known(config, METHOD, where)
        self.role = config.get('role')
        self.query, self.request, self.response = (
            None if shape is None else Shape(shape, f'{where}.{name}') if isinstance(shape.get('type'), (str, list))
            else Shape({}, f'{where}.{name}', shape)
            for name, shape in ((name, config.get(name)) for name in ('query', 'request', 'response')))

    def around(self, handler):
        """A handler that checks before and after this one."""
        async def validated(web):
            if self.role and not (web.user and web.user.has_role(self.role)):
                from .access import refusal
                raise refusal(web, f'the role {self.role!r}', web.user)
            try:
                await self._take(web)
            except Mismatch as error:
                return web.answer_error(400, str(error), field=error.field)
            result = handler(web)
            if type(result) is CoroutineType:
                result = await result
            if self.response is None or result is None or web.out is not None or web.started or web.status >= 300:
                return result
            try:
                return self.response.check(result, '', web, answer=True)
            except Mismatch as error:
                log.error(f'{web.method} {web.path}: the answer is not as its signature says: {error}')
                raise HttpError(500, 'the answer is not what it should be; the device\'s log says why') from None
        return validated

    async def _take(self, web):
        """Check query and body, and let the action find what was checked."""
        if self.query is not None:
            web._vars = self.query.check(web.vars, '', web, text=True)
        if self.request is None:
            return
        if web._kind() in (FORM, 'multipart/form-data'):
            query = dict(web.vars)
            values = self.request.check(await web.form(), '', web, text=True)
            web._vars, web.form = {**query, **values}, giving(values)
        else:
            web.json = giving(self.request.check(await web.json() if web.length else {}, '', web))


def giving(value):
    """Stands for web.json or web.form once the body has been read."""
    async def given(progress=None):
        return value
    return given


class Signatures:
    """All signatures of a configuration. Raises WebError."""

    def __init__(self, config):
        self.paths = {}
        for path, methods in config.items():
            where = step('web.signatures', path)
            if path[:1] != '/' or not isinstance(methods, dict):
                raise WebError(where, "expected a path such as '/api/pump' with an object of methods")
            check_methods([method for method in methods if method != '*'] or None, where)
            self.paths[path] = {method: Signature(entry, step(where, method)) for method, entry in methods.items()}

    def around(self, path, handlers):
        """Of the [(method, handler), …] of a path those that have a signature, which is held against requests and answers."""
        found = longest(self.paths, path)
        if found is None:
            return handlers
        every = found.get('*')
        chosen = [(method, handler, found.get(method, method == 'HEAD' and found.get('GET') or every)) for method, handler in handlers]
        return [(method, signature.around(handler)) for method, handler, signature in chosen if signature]
