"""Where expressions, as OneTable's (https://doc.onetable.io/api/model/where), compiled into predicates of stored items.

    compile('${severity} = {error} and ${count} > {3}')
    compile('${address.zip} in (@{...zips}) or not begins_with(${name}, @{start})', {'zips': ['a', 'b'], 'start': 'x'})

${path} is a field of the item; {value} a number, true, false, null or else text, {"42"} always text, a JSON string;
@{name} a substitution, and @{...name} the items of one that is a list, where a list may stand. Words may be capitals.

    any       := all ('or' all)*            all := one ('and' one)*
    one       := 'not' one | '(' any ')' | function | operand test
    test      := ('<' | '<=' | '=' | '<>' | '>=' | '>') operand | 'between' operand 'and' operand
               | 'in' '(' operand (',' operand)* ')'
    operand   := ${path} | {value} | @{name} | 'size' '(' ${path} ')'
    function  := attribute_exists(${path}) | attribute_not_exists(${path}) | attribute_type(${path}, operand)
               | begins_with(${path}, operand) | contains(${path}, operand) | not_contains(${path}, operand)

As in DynamoDB, values of different types, or of fields that are not there, are neither equal nor one less than the
other; <>, not and not_contains are true where =, what follows and contains are not. Text is ordered by its UTF-8; size
is that of text, arrays and objects; types are S, N, BOOL, NULL, L and M. Sets are arrays, and binary is base64 text.
"""
import json
import operator
import re

from ..json5 import Json5Error, query
from .errors import DbError
from .values import match_number, number

LENGTH = 16384                          # of an expression, in characters
DEPTH = 50                              # of parentheses and nots
TYPES = {str: 'S', int: 'N', float: 'N', bool: 'BOOL', type(None): 'NULL', list: 'L', dict: 'M'}
CONSTANTS = {'true': True, 'false': False, 'null': None}
MISSING = object()

match_token = re.compile(r"""(\s*+)(?:\$\{(?P<field>[^{}]*+)\}|@\{(?P<name>[^{}]*+)\}
    |\{(?P<value>\s*+"(?:[^"\\]|\\.)*+"\s*+|[^}]*+)\}
    |(?P<word><=|>=|<>|[<=>(),]|\w++)|(?P<end>\Z)|(?P<bad>.))""", re.VERBOSE | re.DOTALL).match



def same(a, b):
    """Equal and of the same type, at every depth."""
    kind = TYPES.get(type(a))
    if kind != TYPES.get(type(b)) or kind is None:
        return False
    if kind == 'L':
        return len(a) == len(b) and all(map(same, a, b))
    if kind == 'M':
        return a.keys() == b.keys() and all(same(item, b[name]) for name, item in a.items())
    return a == b


def _ordered(test):
    def compare(a, b):
        kind = TYPES.get(type(a))
        return kind in ('S', 'N') and kind == TYPES.get(type(b)) and test(a, b)
    return compare


def _contains(whole, part):
    if isinstance(whole, str):
        return isinstance(part, str) and part in whole
    return isinstance(whole, list) and any(same(item, part) for item in whole)


COMPARE = {'=': same, '<>': lambda a, b: not same(a, b), '<': _ordered(operator.lt), '<=': _ordered(operator.le),
           '>=': _ordered(operator.ge), '>': _ordered(operator.gt)}
PRESENCE = {'attribute_exists': lambda value: value is not MISSING,
            'attribute_not_exists': lambda value: value is MISSING}
FUNCTIONS = PRESENCE | {
    'begins_with': lambda value, start: isinstance(value, str) and isinstance(start, str) and value.startswith(start),
    'contains': _contains, 'not_contains': lambda whole, part: not _contains(whole, part),
    'attribute_type': lambda value, name: TYPES.get(type(value)) == name}


class _Parser:
    """Recursive descent over an expression; `kind`, `token` and `at` (from 0) are the next token's."""

    def __init__(self, text, substitutions):
        if not isinstance(text, str) or len(text) > LENGTH:
            raise DbError(f'where: expected a text of at most {LENGTH} characters')
        self.text, self.substitutions, self.depth, self.end = text, substitutions, 0, 0
        self.step()

    def step(self):
        found = match_token(self.text, self.end)
        self.kind, self.at, self.end = found.lastgroup, found.end(1), found.end()
        self.token = found[self.kind].lower() if self.kind == 'word' else found[self.kind]

    def error(self, expected):
        found = repr(self.text[self.at:self.at + 20]) if self.kind != 'end' else 'the end'
        return DbError(f'where: column {self.at + 1}: expected {expected}, found {found}')

    def take(self, words):
        """Step over one of these words, if it comes next, and return it."""
        word = self.token
        if self.kind == 'word' and word in words:
            self.step()
            return word

    def need(self, word):
        if not self.take((word,)):
            raise self.error(word)

    def whole(self):
        test = self.any()
        if self.kind != 'end':
            raise self.error('and, or, or the end')
        return test

    def any(self):
        return self.chain(self.all, ('or',), any)

    def all(self):
        return self.chain(self.one, ('and',), all)

    def chain(self, part, word, combine):
        tests = [part()]
        while self.take(word):
            tests.append(part())
        return tests[0] if len(tests) == 1 else lambda item: combine(test(item) for test in tests)

    def one(self):
        if self.depth == DEPTH:
            raise self.error(f'at most {DEPTH} levels')
        self.depth += 1
        if self.take(('not',)):
            made = self.negation(self.one())
        elif self.take(('(',)):
            made = self.any()
            self.need(')')
        elif name := self.take(FUNCTIONS):
            made = self.function(name, FUNCTIONS[name])
        else:
            made = self.test(self.operand())
        self.depth -= 1
        return made

    def negation(self, test):
        return lambda item: not test(item)

    def function(self, name, test):
        self.need('(')
        get = self.field()
        if name in PRESENCE:
            self.need(')')
            return lambda item: test(get(item))
        self.need(',')
        if name == 'attribute_type' and self.kind == 'value' and self.token not in TYPES.values():
            raise self.error(' or '.join(f'{{{kind}}}' for kind in dict.fromkeys(TYPES.values())))
        other = self.operand()
        self.need(')')
        return lambda item: test(get(item), other(item))

    def test(self, left):
        if sign := self.take(COMPARE):
            compare, right = COMPARE[sign], self.operand()
            return lambda item: compare(left(item), right(item))
        if self.take(('between',)):
            low = self.operand()
            self.need('and')
            high, at_least, at_most = self.operand(), COMPARE['>='], COMPARE['<=']
            return lambda item: at_least(left(item), low(item)) and at_most(left(item), high(item))
        if not self.take(('in',)):
            raise self.error(f'{", ".join(COMPARE)}, between or in')
        self.need('(')
        operands = self.operands()
        while self.take((',',)):
            operands += self.operands()
        self.need(')')
        return lambda item: any(same(left(item), one(item)) for one in operands)

    def operands(self):
        if self.kind != 'name' or not self.token.startswith('...'):
            return [self.operand()]
        values = self.substitutions.get(self.token[3:])
        if not isinstance(values, list):
            raise self.error('a substitution that is a list')
        self.step()
        return [lambda item, value=value: value for value in values]

    def operand(self):
        if self.kind == 'field':
            return self.field()
        if self.take(('size',)):
            self.need('(')
            get = self.field()
            self.need(')')
            return lambda item: len(value) if isinstance(value := get(item), (str, list, dict)) else MISSING
        value = self.token
        if self.kind == 'name':
            if value not in self.substitutions:
                raise self.error('a substitution of that name')
            value = self.substitutions[value]
        elif self.kind != 'value':
            raise self.error('${field}, {value}, @{name} or size(${field})')
        elif match_number(value):
            value = number(value)
        elif value.strip().startswith('"'):
            try:
                value = json.loads(value)
            except ValueError:
                raise self.error('a JSON string') from None
        else:
            value = CONSTANTS.get(value.strip(), value)
        self.step()
        return lambda item: value

    def field(self):
        """A function from an item to the value of the field that comes next, or MISSING."""
        try:
            get = getter(self.token if self.kind == 'field' else '')
        except DbError:
            raise self.error('${field}') from None
        self.step()
        return get


def getter(path, default=MISSING):
    """Return a function from an item to the value at a path, or the default. Raises DbError."""
    try:
        steps = query.split(path)
    except Json5Error:
        steps = ()
    if not steps or query.APPEND in steps:
        raise DbError('expected the path of a field', field=path)
    if len(steps) == 1:
        return lambda item, name=steps[0]: item.get(name, default)

    def get(value):
        for step in steps:
            key, there = query.find(value, step)
            if not there:
                return default
            value = value[key]
        return value
    return get


def compile(text, substitutions=None):
    """Return a function that tells whether the expression is true of an item. Raises DbError with a fault's column."""
    return _Parser(text, substitutions or {}).whole()
