"""db/where.py: where expressions as OneTable writes them and DynamoDB understands them."""
import json
import os
import random
import time

import pytest

from ioto.db.errors import DbError
from ioto.db.where import compile

ITEM = {'n': 5, 'f': 1.5, 'one': 1, 's': 'hello', 'empty': '', 't': True, 'no': False, 'null': None, 'list': [1, 'x', True, {'a': 1}], 'o': {'a': 1, 'b': {'c': 'deep'}},
        'number text': '5', 'date': '2024-01-31T12:00:00.000Z', 'uni': 'ä€😀', "it's": 'quoted'}
SUBSTITUTIONS = {'five': 5, 'text': 'hello', 'list': [1, 5, 'hello'], 'none': [], 'longer': [1, 5, 'hello', 2], 'object': {'a': 1}, 'null': None, 'with space': 'hello', 'braces': '}{'}


@pytest.mark.parametrize('text, expected', [
    # values and their types
    ('${n} = {5}', True), ('${n} = {5.0}', True), ('${n} = {"5"}', False), ('${number text} = {"5"}', True), ('${number text} = {5}', False), ('${f} = {15e-1}', True), ('${n} = {05}', True),
    ('${s} = {hello}', True), ('${s} = {"hello"}', True), ('${s} = { "hello" }', True), ('${s} = {"h\\u0065llo"}', True), ('${s} = {Hello}', False), ('${s} = { hello}', False), ('${empty} = {}', True),
    ('${t} = {true}', True), ('${t} = {"true"}', False), ('${no} = {false}', True), ('${null} = {null}', True), ('${uni} = {ä€😀}', True), ("${[\"it's\"]} = {quoted}", True),
    ('${s} = @{text}', True), ('${n} = @{five}', True), ('${s} = @{with space}', True), ('${null} = @{null}', True), ('@{five} = ${n}', True), ('{5} = ${n}', True), ('${n} = ${n}', True),
    # booleans are no numbers, nor at depth
    ('${one} = {true}', False), ('${t} = {1}', False), ('${no} = {0}', False), ('${list[0]} = ${list[2]}', False), ('${o} = @{object}', False), ('${list[3]} = @{object}', True),
    # comparisons
    ('${n} < {6}', True), ('${n} < {5}', False), ('${n} <= {5}', True), ('${n} > {4.9}', True), ('${n} >= {5}', True), ('${n} >= {5.1}', False), ('${n} <> {5}', False), ('${n} <> {6}', True),
    ('${s} > {hell}', True), ('${s} < {hello!}', True), ('${date} > {2024-01-01}', True), ('${uni} > {z}', True), ('${t} > {false}', False), ('${list} = ${list}', True), ('${list} = @{list}', False), ('@{list} = @{longer}', False), ('${list} < ${list}', False),
    # other types and what is not there: false, but for <>
    ('${n} < {x}', False), ('${n} >= {x}', False), ('${s} > {1}', False), ('${n} <> {x}', True), ('${gone} = {1}', False), ('${gone} <> {1}', True), ('${gone} = ${gone}', False), ('${gone} < {1}', False),
    ('${gone} = {null}', False), ('${null} < {1}', False), ('not ${gone} = {1}', True),
    # paths
    ('${o.b.c} = {deep}', True), ('${o.b.d} = {deep}', False), ('${list[1]} = {x}', True), ('${list[3].a} = {1}', True), ('${list[9]} = {x}', False), ('${o[\'a\']} = {1}', True), ('${s.length} = {5}', False),
    # and, or, not, parentheses
    ('${n} = {5} and ${s} = {hello}', True), ('${n} = {5} AND ${s} = {x}', False), ('${n} = {6} Or ${s} = {hello}', True), ('NOT ${n} = {6}', True), ('not not ${n} = {5}', True),
    ('${n} = {5} or ${n} = {6} and ${n} = {7}', True), ('(${n} = {5} or ${n} = {6}) and ${n} = {7}', False), ('not ${n} = {5} or ${s} = {hello}', True), ('not (${n} = {5} or ${s} = {hello})', False),
    ('${n}={5}and(${s}={hello})', True), ('\n ${n}\t= {5}\n', True),
    # between, in
    ('${n} between {1} and {5}', True), ('${n} BETWEEN {6} AND {9}', False), ('${s} between {a} and {z} and ${n} = {5}', True), ('${n} between {a} and {z}', False), ('{3} between ${one} and ${n}', True),
    ('${n} in ({1}, {5})', True), ('${n} IN ({1})', False), ('${s} in ({hello})', True), ('${n} in (@{...list})', True), ('${s} in ({x}, @{...list}, {y})', True), ('${one} in (@{...none})', False),
    ('${t} in ({1})', False), ('${gone} in ({null})', False), ('${o.a} in (@{...list})', True), ('not ${n} in ({1})', True),
    # functions
    ('begins_with(${s}, {he})', True), ('begins_with(${s}, {})', True), ('begins_with(${s}, {lo})', False), ('begins_with(${n}, {5})', False), ('begins_with(${gone}, {a})', False), ('Begins_With(${s}, @{text})', True),
    ('contains(${s}, {ell})', True), ('contains(${s}, {x})', False), ('contains(${list}, {x})', True), ('contains(${list}, {true})', True), ('contains(${list}, @{object})', True), ('contains(${list}, {2})', False),
    ('contains(${n}, {5})', False), ('contains(${s}, ${s})', True), ('not_contains(${list}, {2})', True), ('not_contains(${s}, {ell})', False), ('not_contains(${gone}, {x})', True), ('contains(${o}, {a})', False),
    ('attribute_exists(${n})', True), ('attribute_exists(${null})', True), ('attribute_exists(${gone})', False), ('attribute_not_exists(${o.b.x})', True), ('attribute_not_exists(${n})', False),
    ('attribute_type(${n}, {N})', True), ('attribute_type(${f}, {N})', True), ('attribute_type(${t}, {BOOL})', True), ('attribute_type(${t}, {N})', False), ('attribute_type(${null}, {NULL})', True),
    ('attribute_type(${list}, {L})', True), ('attribute_type(${o}, {M})', True), ('attribute_type(${s}, {S})', True), ('attribute_type(${gone}, {NULL})', False),
    ('size(${s}) = {5}', True), ('size(${list}) > {3}', True), ('size(${o}) = {2}', True), ('size(${uni}) = {3}', True), ('size(${n}) > {0}', False), ('size(${gone}) = {0}', False), ('{5} = size(${s})', True),
    ('size(${s}) between {1} and {9}', True), ('size(${s}) in ({5})', True),
])
def test_expressions(text, expected):
    found = compile(text, SUBSTITUTIONS)(ITEM)
    assert found is expected


@pytest.mark.parametrize('text, column, expected, found', [
    ('', 1, '${field}, {value}, @{name} or size(${field})', 'the end'), ('${n}', 5, '=, <>, <, <=, >=, >, between or in', 'the end'), ('${n} = ', 8, '${field}, {value}', 'the end'), ('${n} == {5}', 7, '${field}', "'= {5}'"),
    ('${n} = 5', 8, '${field}', "'5'"), ("${n} = 'x'", 8, '${field}', '"\'x\'"'), ('${n} = {5} ${s}', 12, 'and, or, or the end', "'${s}'"), ('${n} = {5} and', 15, '${field}', 'the end'), ('(${n} = {5}', 12, ')', 'the end'),
    ('${n} = {5})', 11, 'and, or, or the end', "')'"), ('${n} like {5}', 6, '=, <>', "'like {5}'"), ('${n} = {5', 8, '${field}', "'{5'"), ('${n = {5}', 1, '${field}', "'${n = {5}'"), ('${} = {5}', 1, '${field}', "'${} = {5}'"),
    ('${a[} = {5}', 1, '${field}', "'${a[} = {5}'"), ('${list[$]} = {5}', 1, '${field}', "'${list[$]} = {5}'"), ('${n} between {1} or {2}', 18, 'and', "'or {2}'"), ('${n} in {1}', 9, '(', "'{1}'"), ('${n} in ()', 10, '${field}', "')'"),
    ('${n} in ({1} {2})', 14, ')', "'{2})'"), ('begins_with(${n})', 17, ',', "')'"), ('begins_with({n}, {x})', 13, '${field}', "'{n}, {x})'"), ('attribute_exists ${n}', 18, '(', "'${n}'"), ('size(${n}', 10, ')', 'the end'), ('size({n}) = {1}', 6, '${field}', "'{n}) = {1}'"),
    ('attribute_type(${n}, {SS})', 22, '{S} or {N}', "'{SS})'"), ('${n} = @{missing}', 8, 'a substitution of that name', "'@{missing}'"), ('${n} in (@{...text})', 10, 'a substitution that is a list', "'@{...text})'"), ('${n} = @{...list}', 8, 'a substitution of that name', "'@{...list}'"),
    ('${s} = {"\\x"}', 8, 'a JSON string', "'{\"\\\\x\"}'"), ('${s} = {"x}', 8, 'a JSON string', "'{\"x}'"), ('and ${n} = {5}', 1, '${field}', "'and ${n} = {5}'"), ('${n} = {5}; drop', 11, 'and, or', "'; drop'"), ('__import__(os)', 1, '${field}', "'__import__(os)'"),
])
def test_faults_say_where_and_what_was_expected(text, column, expected, found):
    with pytest.raises(DbError) as caught:
        compile(text, SUBSTITUTIONS)
    message = str(caught.value)
    assert message.startswith(f'where: column {column}: expected {expected}') and message.endswith(f', found {found}')


def test_hostile_expressions_are_refused_or_done_in_time_that_grows_with_their_length():
    assert compile('(' * 49 + '${n} = {5}' + ')' * 49)(ITEM)
    for text in ('(' * 50 + '${n} = {5}' + ')' * 50, '(' * 16000, 'not ' * 4000 + '${n} = {5}'):
        with pytest.raises(DbError, match='at most 50 levels'):
            compile(text)
    for text in ('x' * 16385, None, 5, b'x', ['x']):
        with pytest.raises(DbError, match='at most 16384 characters'):
            compile(text)
    before = time.process_time()
    chain = compile(' or '.join(['${n} = {6}'] * 1100))
    assert not chain(ITEM)
    assert compile('${s} in (@{...many})', {'many': [str(n) for n in range(10000)] + ['hello']})(ITEM)
    for text in ('{' * 16000, '${' * 8000, '@{' * 8000, ' ' * 16000, '{"' + '\\' * 16000, '${n} = {"' + 'a"' * 8000, '(' * 40 + ' ' * 16000):
        with pytest.raises(DbError):
            compile(text)
    deep = []
    for _ in range(90):
        deep = [deep]
    assert compile('${a} = @{a}', {'a': deep})({'a': json.loads(json.dumps(deep))})
    assert time.process_time() - before < 2


OPERATORS = ('=', '<>', '<', '<=', '>=', '>')
POOL = (0, 1, 2, -1.5, 'a', 'b', 'ab', '', '1', True, False, None)
NAMES = ('p', 'q', 'r.s', 'l[0]', 'l', 'x')


def shown(value):
    return '{%s}' % (json.dumps(value) if isinstance(value, str) else {True: 'true', False: 'false', None: 'null'}.get(value, value) if value is None or isinstance(value, bool) else value)


def look(item, name):
    """The value of one of NAMES in a list, or an empty list."""
    if name == 'r.s':
        return [item['r']['s']] if 's' in item.get('r', {}) else []
    if name == 'l[0]':
        return item['l'][:1] if 'l' in item else []
    return [item[name]] if name in item else []


def equal(a, b):
    return json.dumps(a) == json.dumps(b) or type(a) in (int, float) and type(b) in (int, float) and a == b


def order(a, b):
    """-1, 0 or 1; None where there is no order."""
    for kinds in ((int, float), (str,)):
        if type(a) in kinds and type(b) in kinds:
            return (a > b) - (a < b)
    return None


def grow(rng, depth):
    """A random expression and a function that evaluates it without where.py."""
    choice = rng.randrange(10 if depth else 7)
    if choice >= 7:
        text, naive = grow(rng, depth - 1)
        if choice == 7:
            return f'not ({text})', lambda item: not naive(item)
        other, second = grow(rng, depth - 1)
        third, last = grow(rng, depth - 1)
        if choice == 8:
            return f'({text}) and ({other}) or ({third})', lambda item: (naive(item) and second(item)) or last(item)
        return f'(({text}) or ({other})) AND ({third})', lambda item: (naive(item) or second(item)) and last(item)
    name, value, high = rng.choice(NAMES), rng.choice(POOL), rng.choice(POOL)
    field = '${%s}' % name
    if choice < 2:
        sign = rng.choice(OPERATORS)

        def compare(item):
            found = look(item, name)
            same = bool(found) and equal(found[0], value)
            if sign in ('=', '<>'):
                return same == (sign == '=')
            rank = order(found[0], value) if found else None
            return rank is not None and {'<': rank < 0, '<=': rank <= 0, '>=': rank >= 0, '>': rank > 0}[sign]
        return f'{field} {sign} {shown(value)}', compare
    if choice == 2:
        return f'{field} between {shown(value)} and {shown(high)}', lambda item: any(
            order(found, value) in (0, 1) and order(found, high) in (0, -1) for found in look(item, name))
    if choice == 3:
        return f'{field} in ({shown(value)},{shown(high)})', lambda item: any(equal(found, value) or equal(found, high) for found in look(item, name))
    if choice == 4:
        return f'begins_with({field}, {shown(value)})', lambda item: any(isinstance(found, str) and isinstance(value, str) and found[:len(value)] == value for found in look(item, name))
    if choice == 5:
        return f'contains({field}, {shown(value)})', lambda item: any(
            isinstance(value, str) and value in found if isinstance(found, str) else isinstance(found, list) and any(equal(one, value) for one in found) for found in look(item, name))
    return f'attribute_exists({field})', lambda item: bool(look(item, name))


def test_random_expressions_are_what_a_naive_evaluator_says():
    seed = int(os.environ.get('SEED', random.SystemRandom().randrange(10 ** 6)))
    print('SEED', seed)
    rng = random.Random(seed)
    answers = {True: 0, False: 0}
    for _ in range(1500):
        text, naive = grow(rng, 3)
        test = compile(text)
        for _ in range(10):
            item = {name: rng.choice(POOL) for name in 'pqx' if rng.random() < 0.8}
            if rng.random() < 0.8:
                item['r'] = {'s': rng.choice(POOL)} if rng.random() < 0.8 else {}
            if rng.random() < 0.8:
                item['l'] = rng.choices(POOL, k=rng.randrange(3))
            found = test(item)
            answers[bool(found)] += 1
            assert bool(found) == bool(naive(item)), (seed, text, item)
    assert min(answers.values()) > 1000
