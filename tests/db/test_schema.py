"""db/schema.py, db/fields.py, db/values.py: each property of OneTable's schemas, as a table of cases."""
import datetime
import json
import os
import random
import re
import subprocess
import sys
import time

import pytest

from ioto.db import fields, values
from ioto.db.errors import DbError, SchemaError
from ioto.db.fields import Prefix
from ioto.db.schema import load
from tests.child import TREE

NOW = 1706702400.5                      # 2024-01-31T12:00:00.500Z
STAMP = '2024-01-31T12:00:00.500Z'
UTC = datetime.timezone.utc
MISSING = object()


def model(fields, params=None, context=None, **more):
    """A model X with these fields, whose items are found by `id`."""
    fields = {'pk': {'value': 'x#${id}'}, 'sk': {'value': 'x#'}, 'id': {'type': 'string'}} | fields
    return load({'models': {'X': fields}, 'params': params or {}} | more, context=context).models['X']


def stored(field, *value, params=None):
    """What is stored of a field f for the value given, or for none."""
    given = {'id': '1'} | {'f': one for one in value}
    return model({'f': field}, params).prepare(given, NOW).get('f', MISSING)


def refused(call, *arguments, **named):
    with pytest.raises(DbError) as caught:
        call(*arguments, **named)
    return str(caught.value)


DEEP = []
for _ in range(150):
    DEEP = [DEEP]


@pytest.mark.parametrize('field, given, expected', [
    # string
    ({'type': 'string'}, 'text', 'text'), ({'type': 'string'}, '', ''), ({'type': 'string'}, 1000, '1000'), ({}, 1.5, '1.5'),
    ({'type': 'string'}, 2.0, '2'), ({'type': 'string'}, True, 'true'), ({'type': 'String'}, 'x', 'x'), ({'type': 'string'}, 'ä€\0', 'ä€\0'),
    # number
    ({'type': 'number'}, 42, 42), ({'type': 'number'}, -1.5, -1.5), ({'type': 'number'}, '42', 42), ({'type': 'number'}, ' -1.5e3 ', -1500.0),
    ({'type': 'number'}, 10 ** 38 - 1, 10 ** 38 - 1),
    # boolean
    ({'type': 'boolean'}, True, True), ({'type': 'boolean'}, 'false', False), ({'type': 'boolean'}, 'TRUE', True), ({'type': 'boolean'}, 1, True),
    ({'type': 'boolean'}, 0, False),
    # date: seconds, or text with isoDates
    ({'type': 'date'}, NOW, NOW), ({'type': 'date'}, 5, 5), ({'type': 'date'}, STAMP, NOW), ({'type': 'date'}, '2024-01-31', 1706659200),
    ({'type': 'date', 'isoDates': True}, NOW, STAMP), ({'type': 'date', 'isoDates': True}, STAMP, STAMP),
    ({'type': 'date', 'isoDates': True}, 0, '1970-01-01T00:00:00.000Z'), ({'type': 'date', 'isoDates': True}, -0.001, '1969-12-31T23:59:59.999Z'),
    ({'type': 'date', 'isoDates': True}, '2024-01-31T13:30:00.5+01:30', STAMP),
    ({'type': 'date', 'isoDates': True}, '2024-01-31T10:30:00.5-0130', STAMP),
    ({'type': 'date', 'isoDates': True}, '2024-02-29 12:00', '2024-02-29T12:00:00.000Z'),
    ({'type': 'date', 'isoDates': True}, '0999-12-31T23:59:59Z', '0999-12-31T23:59:59.000Z'),
    ({'type': 'date', 'isoDates': True}, datetime.datetime(2024, 1, 31, 12, 0, 0, 500000, UTC), STAMP),
    ({'type': 'date', 'isoDates': True}, datetime.datetime(2024, 1, 31, 12, 0, 0, 500000), STAMP),
    # object, array, any: any depth
    ({'type': 'object'}, {'a': {'b': [1, None, {'c': 'x'}]}}, {'a': {'b': [1, None, {'c': 'x'}]}}), ({'type': 'array'}, (1, 'x', None), [1, 'x', None]),
    ({'type': 'any'}, 'x', 'x'), ({'type': 'any'}, 5, 5), ({'type': 'any'}, [True], [True]), ({'type': 'any'}, {'a': 1}, {'a': 1}),
    # binary and its other name
    ({'type': 'binary'}, b'\0\xff', 'AP8='), ({'type': 'buffer'}, bytearray(b'ab'), 'YWI='), ({'type': 'binary'}, 'AP8=', 'AP8='),
    # set
    ({'type': 'set'}, ['b', 'a', 'b'], ['b', 'a']), ({'type': 'set'}, {3, 1, 2}, [1, 2, 3]), ({'type': 'set'}, [0, 1.5, 0], [0, 1.5]), ({'type': 'set'}, (), []),
])
def test_types_are_cast_where_that_needs_no_guess(field, given, expected):
    found = stored(field, given)
    assert found == expected and type(found) is type(expected)
    assert json.loads(json.dumps(found)) == found
    assert stored(field, found) == found                # what was read can be written again


def test_dates_without_a_zone_are_utc_wherever_the_device_is(monkeypatch):
    monkeypatch.setenv('TZ', 'XYZ-5')
    time.tzset()
    try:
        assert stored({'type': 'date'}, datetime.datetime(2024, 1, 31, 12)) == stored({'type': 'date'}, '2024-01-31T12:00') == 1706702400
    finally:
        monkeypatch.undo()
        time.tzset()


def test_dates_agree_with_the_calendar():
    seed = int(os.environ.get('SEED', random.SystemRandom().randrange(10 ** 6)))
    print('SEED', seed)
    rng = random.Random(seed)
    for _ in range(3000):
        zone = datetime.timezone(datetime.timedelta(minutes=rng.randrange(-800, 800)))
        day = datetime.datetime(1, 1, 2, tzinfo=UTC) + datetime.timedelta(milliseconds=rng.randrange(3155378 * 10 ** 8))
        expected = day.isoformat(timespec='milliseconds').replace('+00:00', 'Z')
        for given in (day, day.timestamp(), expected, day.isoformat(), day.astimezone(zone).isoformat(' ') if 9000 > day.year > 2 else day):
            assert values.iso(given) == expected, (seed, given)


@pytest.mark.parametrize('type, given, reason', [
    ('string', [], 'expected a string, got an array'), ('string', b'x', 'expected a string, got bytes'), ('number', 'x', 'expected a number, got "x"'),
    ('number', '', 'a number'), ('number', True, 'a number'), ('number', float('nan'), 'a number'), ('number', float('inf'), 'a number'),
    ('number', 10 ** 38, 'a number'), pytest.param('number', 10 ** 5000, 'a number', id='huge'), ('number', '9' * 1000, 'a number'), ('number', '1e999', 'a number'),
    ('boolean', 'yes', 'true or false'), ('boolean', 2, 'true or false'), ('boolean', [], 'true or false'),
    ('date', 'yesterday', 'a date'), ('date', '2024-02-30', 'a date'), ('date', '2024-01-01T24:00', 'a date'), ('date', '2024-13-01', 'a date'),
    ('date', 1706702400000, 'seconds since 1970'), ('date', True, 'a date'), ('date', float('nan'), 'a date'), ('date', '0000-01-01', 'a date'),
    ('object', [], 'an object'), ('object', {1: 2}, 'JSON'), ('object', {'a': {1, 2}}, 'JSON'), ('object', {'a': float('nan')}, 'a number'),
    ('array', {}, 'an array'), ('array', 'text', 'an array'), ('array', [b''], 'JSON'), ('any', DEEP, '100 levels'), ('any', object(), 'JSON'),
    ('binary', 'no base64!', 'base64'), ('binary', 5, 'base64'), ('set', ['a', 1], 'an array of texts'), ('set', [[1]], 'a number'), ('set', 'ab', 'an array'),
    ('set', [True], 'a number'),
])
def test_other_values_are_refused_with_model_field_and_what_was_expected(type, given, reason):
    error = refused(stored, {'type': type}, given)
    assert error.startswith('X.f: expected ') and reason in error and len(error) < 200


@pytest.mark.parametrize('field, given, expected', [
    ({'required': True}, (), 'X.f: expected a value, for it is required'), ({'required': True}, (None,), 'X.f: expected a value, for it is required'),
    ({'required': True}, ('',), ''), ({'required': True, 'default': 'd'}, (), 'd'), ({'required': True, 'default': 'd'}, (None,), 'X.f: expected a value'),
    ({'required': False}, (), MISSING),
    ({'default': 'd'}, (), 'd'), ({'default': 'd'}, ('given',), 'given'), ({'default': 'd'}, (None,), MISSING),
    ({'type': 'number', 'default': '7'}, (), 7), ({'type': 'boolean', 'default': False}, (), False), ({'type': 'array', 'default': []}, (), []),
    ({'nulls': True}, (None,), None), ({'nulls': True}, (), MISSING), ({'nulls': False}, (None,), MISSING),
    ({'enum': ['a', 'b']}, ('a',), 'a'), ({'enum': ['a', 'b']}, (), MISSING), ({'enum': ['a', 'b']}, ('c',), 'X.f: expected one of "a","b", got "c"'),
    ({'enum': ['1', 2]}, (2,), '2'), ({'type': 'number', 'enum': [1, 2]}, ('2',), 2), ({'enum': ['a']}, ('A',), 'X.f: expected one of "a", got "A"'),
    ({'validate': '/^[0-9a-f]+$/i'}, ('AF09',), 'AF09'), ({'validate': '/b/'}, ('abc',), 'abc'), ({'validate': '/^b/'}, ('abc',), 'X.f: expected a match of /^b/, got "abc"'),
    ({'validate': '/^b$/'}, ('b\n',), 'X.f: expected a match'), ({'validate': r'/^[$]\$$/'}, ('$$',), '$$'), ({'validate': '/^b$/m'}, ('a\nb\n',), 'a\nb\n'),
    ({'validate': r'/^\w\/\d$/u'}, ('a/1',), 'a/1'), ({'validate': r'/^\d$/'}, ('٣',), 'X.f: expected a match'), ({'validate': '/^a.b$/s'}, ('a\nb',), 'a\nb'),
    ({'type': 'number', 'validate': '/^[0-9]{1,3}$/'}, (1000,), 'X.f: expected a match'), ({'type': 'number', 'validate': '/^[0-9]{1,3}$/'}, (100.0,), 100),
])
def test_rules_of_a_field(field, given, expected):
    if isinstance(expected, str) and expected.startswith('X.f'):
        assert expected in refused(stored, field, *given)
    else:
        assert stored(field, *given) == expected


@pytest.mark.parametrize('kind, pattern', [
    ('ulid', '[0-7][0-9A-HJKMNP-TV-Z]{25}'), ('uuid', '[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}'),
    ('uid', '[0-9A-HJKMNP-TV-Z]{10}'), ('uid(4)', '[0-9A-HJKMNP-TV-Z]{4}'), ('uid(32)', '[0-9A-HJKMNP-TV-Z]{32}'),
])
def test_generate(kind, pattern):
    made = [stored({'type': 'string', 'generate': kind}) for _ in range(50)]
    assert all(re.fullmatch(pattern, one) for one in made)
    assert len(set(made)) == 50
    assert stored({'generate': kind}, 'given') == 'given'


def test_generated_keys_may_be_used_in_templates_and_uuid_is_an_older_name():
    item = model({'id': {'uuid': 'ulid'}}).prepare({}, NOW)
    assert item['pk'] == f'x#{item["id"]}' and len(item['id']) == 26
    assert len(stored({'uuid': True})) == 36


def test_ulids_tell_the_time_and_sort_also_within_a_millisecond():
    assert values.ulid(1469918176.385)[:10] == '01ARYZ6S41'         # the example of the specification
    made = [values.ulid(NOW) for _ in range(1000)]
    assert made == sorted(set(made))
    assert values.ulid(NOW - 1) < made[0] < values.ulid(NOW + 1)    # a clock that was set back is followed


@pytest.mark.parametrize('template, given, expected', [
    ('const', {}, 'const'), ('', {}, ''), ('a#${s}', {'s': 'x'}, 'a#x'), ('${s}', {'s': 'x'}, 'x'), ('${s}#${s}', {'s': 'x'}, 'x#x'), ('100%#${s}%s', {'s': '%d'}, '100%#%d%s'),
    ('${n}', {'n': 5}, '5'), ('${n}', {'n': 5.0}, '5'), ('${n}', {'n': 1.5}, '1.5'), ('${n}', {'n': '7'}, '7'), ('${b}', {'b': True}, 'true'), ('${b}#${s}', {'b': False, 's': 'x'}, 'false#x'),
    ('${n:5}', {'n': 42}, '00042'), ('${n:5:0}', {'n': 42}, '00042'), ('${n:5: }', {'n': 42}, '   42'), ('${s:3:_}', {'s': 'x'}, '__x'), ('${n:2:0}', {'n': 12345}, '12345'),
    ('${n:4::}', {'n': 1}, ':::1'), ('${d}', {'d': NOW}, '1706702400.5'), ('${i}', {'i': NOW}, STAMP), ('${o.zip}', {'o': {'zip': '123'}}, '123'),
    ('${o.zip}-${o.in.x}', {'o': {'zip': 5, 'in': {'x': True}}}, '5-true'), ('${_type}#${s}', {'s': 'x'}, 'X#x'), ('${deviceId}/${s}', {'s': 'x'}, 'DEV/x'),
    ('${s}', {'s': 'ä'}, 'ä'), ('${s}', {'s': ''}, ''), ('$s {} $', {}, '$s {} $'), ('${s}', {}, MISSING), ('a${s}b${n}', {'s': 'x'}, MISSING), ('${o.zip}', {'o': {}}, MISSING),
    ('${o.zip.x}', {'o': {'zip': 5}}, MISSING), ('${s}', {'s': None}, MISSING),
])
def test_value_templates(template, given, expected):
    x = model({'t': {'value': template}, 's': {'type': 'string'}, 'n': {'type': 'number'}, 'b': {'type': 'boolean'}, 'd': {'type': 'date'},
               'i': {'type': 'date', 'isoDates': True}, 'o': {'type': 'object', 'schema': {'zip': {}}} if 'in' not in str(given) and 'zip.x' not in template else {'type': 'object'}})
    item = x.prepare({'id': '1', 't': 'ignored'} | given, NOW, {'deviceId': 'DEV'})
    assert item.get('t', MISSING) == expected
    assert 't' not in x.output(item) and x.output(item, hidden=True).get('t', MISSING) == expected


def test_a_template_has_the_rules_of_its_field():
    x = model({'t': {'value': '${n}${n}', 'type': 'number', 'enum': [11, 22]}, 'n': {'type': 'number'}})
    assert x.prepare({'id': '1', 'n': 1}, NOW)['t'] == 11
    assert refused(x.prepare, {'id': '1', 'n': 3}, NOW) == 'X.t: expected one of 11,22, got 33'
    x = model({'t': {'value': '${o}'}, 'o': {'type': 'object'}})
    assert refused(x.prepare, {'id': '1', 'o': {}}, NOW) == 'X.o: expected a text, number or boolean, got an object'


KEYS = {'pk': {'value': 'acc#${accountId}#${deviceId}'}, 'sk': {'value': 'log#${severity}#${seq:5:0}#${id}'}, 'accountId': {}, 'deviceId': {},
        'severity': {}, 'seq': {'type': 'number'}, 'id': {}, 'gspk': {'value': '${severity}'}, 'gssk': {'value': 'at#${seq:5}'}}


@pytest.mark.parametrize('given, context, expected', [
    ({'accountId': 'A', 'deviceId': 'D', 'severity': 'info', 'seq': 7, 'id': '1'}, {}, ('acc#A#D', 'log#info#00007#1')),
    ({'deviceId': 'D', 'severity': 'info', 'seq': '7'}, {'accountId': 'A'}, ('acc#A#D', Prefix('log#info#00007#'))),
    ({'severity': 'info', 'id': '1'}, {'accountId': 'A', 'deviceId': 'D'}, ('acc#A#D', Prefix('log#info#'))),
    ({'seq': 1, 'id': '1'}, {'accountId': 'A'}, (Prefix('acc#A#'), Prefix('log#'))), ({}, {}, (Prefix('acc#'), Prefix('log#'))),
    ({'accountId': 'B', 'deviceId': 'D'}, {'accountId': 'A'}, ('acc#A#D', Prefix('log#'))),         # the context wins
    ({'accountId': 5, 'deviceId': True}, None, ('acc#5#true', Prefix('log#'))), ({'accountId': None, 'deviceId': 'D'}, None, (Prefix('acc#'), Prefix('log#'))),
    ({'pk': 'p', 'sk': 's', 'severity': 'x'}, None, ('p', 's')), ({'pk': 'p', 'sk': {'begins': 'log#i'}}, None, ('p', Prefix('log#i'))),
    ({'pk': 'p', 'sk': {'begins_with': ''}}, None, ('p', Prefix(''))),
])
def test_keys_follow_the_begins_with_rule(given, context, expected):
    assert load({'models': {'X': KEYS}}).models['X'].keys(given, context) == expected


@pytest.mark.parametrize('given, expected', [
    ({'severity': 'info', 'seq': 3}, ('info', 'at#00003')), ({'severity': 'info'}, ('info', Prefix('at#'))), ({}, (None, Prefix('at#'))),
])
def test_keys_of_secondary_indexes(given, expected):
    schema = load({'indexes': {'primary': {'hash': 'pk', 'sort': 'sk'}, 'gs1': {'hash': 'gspk', 'sort': 'gssk', 'project': 'keys', 'follow': True},
                               'local': {'sort': 'gssk', 'type': 'local'}, 'gs3': {'hash': 'other'}}, 'models': {'X': KEYS}})
    x = schema.models['X']
    assert x.indexes == ['primary', 'gs1', 'local'] and x.key_fields == ['pk', 'sk']
    assert (schema.indexes['local'].hash, schema.indexes['gs3'].sort, schema.indexes['gs1'].project) == ('pk', None, 'keys')
    assert x.keys(given, index='gs1') == expected
    assert x.keys(given, {'accountId': 'A', 'deviceId': 'D'}, 'local') == ('acc#A#D', expected[1])
    assert "expected an index: primary or gs1 or local, got 'gs3'" in refused(x.keys, given, index='gs3')


def test_keys_without_templates_are_required_and_may_be_numbers():
    x = load({'indexes': {'primary': {'hash': 'kind', 'sort': 'n'}}, 'models': {'X': {'kind': {}, 'n': {'type': 'number'}}}}).models['X']
    assert x.keys({'kind': 'a', 'n': '5'}) == ('a', 5) and x.keys({'kind': 'a'}) == ('a', None)
    assert refused(x.prepare, {'kind': 'a'}, NOW) == 'X.n: expected a value, for it is required'
    assert x.output(x.prepare({'kind': 'a', 'n': 5}, NOW)) == {'kind': 'a', 'n': 5}
    x = load({'indexes': {'primary': {'hash': 'id'}}, 'models': {'X': {'id': {}}}}).models['X']
    assert x.keys({'id': 'a'}) == ('a', '')


@pytest.mark.parametrize('given, reason', [({'sk': {'<': 5}}, 'X.sk: expected a value or {begins: '), ({'sk': {'begins': 5}}, 'X.sk: expected'), ({'pk': []}, 'X.pk: expected a string'),
                                           ({'seq': 'x', 'severity': 'i'}, 'X.seq: expected a number')])
def test_keys_that_cannot_be_are_refused(given, reason):
    assert refused(load({'models': {'X': KEYS}}).models['X'].keys, given).startswith(reason)


def test_an_item_without_the_values_of_its_keys_is_refused():
    error = refused(load({'models': {'X': KEYS}}).models['X'].prepare, {'deviceId': 'D', 'id': '1', 'severity': 'x', 'seq': 1}, NOW)
    assert error == 'X.pk: expected values for accountId'


def test_values_of_the_context_fill_fields_and_templates():
    x = model({'accountId': {}, 't': {'value': '${deviceId}#${site}'}}, context={'site': 'S'})
    item = x.prepare({'id': '1', 'accountId': 'given'}, NOW, {'accountId': 'A', 'deviceId': 'D', 'site': 'S', 'other': 1})
    assert item == {'_type': 'X', 'id': '1', 'accountId': 'A', 'pk': 'x#1', 'sk': 'x#', 't': 'D#S'}
    assert load({'context': {'a': 1, 'b': 2}}, context={'b': 3}).context == {'a': 1, 'b': 3}


def test_unknown_fields_are_left_out_but_stored_and_nested_ones_kept():
    x = model({'a': {}, 'o': {'type': 'object', 'schema': {'n': {'type': 'number'}}}})
    item = x.prepare({'id': '1', 'unknown': 1, 'o': {'n': '5', 'more': [1]}}, NOW)
    assert item == {'_type': 'X', 'id': '1', 'o': {'more': [1], 'n': 5}, 'pk': 'x#1', 'sk': 'x#'}
    old = item | {'former': {'x': 1}}
    assert x.change(old, {'a': 'y', 'unknown': 1, 'unknown.deep': 2}, NOW) == old | {'a': 'y'}
    assert x.output(old)['former'] == {'x': 1}


NESTED = {'address': {'type': 'object', 'required': True, 'default': {}, 'schema': {
    'street': {'type': 'string', 'required': True, 'default': 'Main'}, 'zip': {'type': 'number'}, 'since': {'type': 'date', 'isoDates': True},
    'tag': {'generate': 'uid(5)'}, 'deeper': {'type': 'object', 'schema': {'kind': {'enum': ['a', 'b'], 'required': True}}}, 'none': {'nulls': True}}},
    'list': {'type': 'array', 'items': {'type': 'object', 'schema': {'n': {'type': 'number', 'required': True}}}}, 'numbers': {'type': 'array', 'items': {'type': 'number'}},
    'matrix': {'type': 'array', 'items': {'type': 'array', 'items': {'type': 'boolean'}}}}


def test_nested_schemas_and_items():
    x = model(NESTED)
    item = x.prepare({'id': '1', 'address': {'zip': '123', 'since': NOW, 'deeper': {'kind': 'a'}, 'none': None}, 'list': [{'n': '1', 'extra': True}],
                      'numbers': ['1', 2.5], 'matrix': [['true'], []]}, NOW)
    tag = item['address'].pop('tag')
    assert len(tag) == 5
    assert item['address'] == {'street': 'Main', 'zip': 123, 'since': STAMP, 'deeper': {'kind': 'a'}, 'none': None}
    assert (item['list'], item['numbers'], item['matrix']) == ([{'n': 1, 'extra': True}], [1, 2.5], [[True], []])


@pytest.mark.parametrize('given, error', [
    ({'address': 5}, 'X.address: expected an object, got 5'), ({'address': {'zip': 'x'}}, 'X.address.zip: expected a number'),
    ({'address': {'street': None}}, 'X.address.street: expected a value'), ({'address': {'deeper': {}}}, 'X.address.deeper.kind: expected a value'),
    ({'address': {'deeper': {'kind': 'c'}}}, 'X.address.deeper.kind: expected one of'), ({'list': {}}, 'X.list: expected an array'),
    ({'list': [{'n': 1}, {}]}, 'X.list[1].n: expected a value'), ({'numbers': [1, None]}, 'X.numbers[1]: expected a number, got null'),
    ({'matrix': [[True], [1, 5]]}, 'X.matrix[1][1]: expected true or false, got 5'),
])
def test_errors_in_nested_values_say_where(given, error):
    assert refused(model(NESTED).prepare, {'id': '1'} | given, NOW).startswith(error)


def test_defaults_and_values_are_copied():
    x = model({'list': {'type': 'array', 'default': [1]}, 'any': {'type': 'any'}})
    first, given = x.prepare({'id': '1'}, NOW), {'a': [1]}
    first['list'].append(2)
    assert x.prepare({'id': '2'}, NOW)['list'] == [1]
    item = x.prepare({'id': '3', 'any': given}, NOW)
    given['a'].append(2)
    assert item['any'] == {'a': [1]}


@pytest.mark.parametrize('field, params, shown', [
    ({}, {}, True), ({'hidden': True}, {}, False), ({'value': 'v'}, {}, False), ({'value': 'v', 'hidden': False}, {}, True), ({'value': 'v'}, {'hidden': False}, True),
    ({'value': 'v', 'hidden': True}, {'hidden': False}, False),
])
def test_hidden(field, params, shown):
    x = model({'f': field}, params)
    item = x.prepare({'id': '1', 'f': 'v'}, NOW)
    assert item['f'] == 'v' and ('f' in x.output(item)) == shown and x.output(item, hidden=True)['f'] == 'v'


@pytest.mark.parametrize('params, created, updated', [
    ({}, MISSING, MISSING), ({'timestamps': False}, MISSING, MISSING), ({'timestamps': True}, NOW, NOW), ({'timestamps': True, 'isoDates': True}, STAMP, STAMP),
    ({'timestamps': 'create'}, NOW, MISSING), ({'timestamps': 'update', 'isoDates': True}, MISSING, STAMP),
    ({'timestamps': True, 'createdField': 'made', 'updatedField': 'touched'}, NOW, NOW),
])
def test_timestamps(params, created, updated):
    x = model({}, params)
    names = params.get('createdField', 'created'), params.get('updatedField', 'updated')
    item = x.prepare({'id': '1', names[0]: 5}, NOW)
    assert [item.get(name, MISSING) for name in names] == [created, updated]
    assert all(x.output(item).get(name, MISSING) == item.get(name, MISSING) for name in names)
    later = x.change(item, dict.fromkeys(names, 5), NOW + 10)
    assert later.get(names[0], MISSING) == created
    assert (later.get(names[1], MISSING) != updated) == (updated is not MISSING)


def test_timestamps_may_be_declared_and_switched_off_for_a_call():
    x = model({'created': {'type': 'date', 'isoDates': True, 'required': True, 'hidden': True}}, {'timestamps': True})
    item = x.prepare({'id': '1'}, NOW)
    assert (item['created'], item['updated']) == (STAMP, NOW) and 'created' not in x.output(item)
    item = x.prepare({'id': '1', 'created': 5, 'updated': 6}, None)
    assert (item['created'], item['updated']) == ('1970-01-01T00:00:05.000Z', 6)
    assert x.change(item, {'updated': 7}, None)['updated'] == 7


@pytest.mark.parametrize('field, given, kept, shown', [
    ({'type': 'date', 'ttl': True}, NOW, 1706702401, 1706702401), ({'type': 'date', 'ttl': True, 'isoDates': True}, STAMP, 1706702401, '2024-01-31T12:00:01.000Z'),
    ({'type': 'number', 'ttl': True}, 5, 5, 5),
])
def test_ttl_is_stored_in_whole_seconds(field, given, kept, shown):
    x = model({'expires': field})
    item = x.prepare({'id': '1', 'expires': given}, NOW)
    assert x.ttl == 'expires' and item['expires'] == kept and x.output(item)['expires'] == shown


def test_items_of_older_schemas_are_read_as_the_schema_says():
    x = model({'d': {'type': 'date', 'isoDates': True}, 'e': {'type': 'date', 'isoDates': False}, 'n': {'default': 'new'}, 'h': {'default': 'x', 'hidden': True}})
    assert x.output({'id': '1', 'd': NOW, 'e': STAMP}) == {'id': '1', 'd': STAMP, 'e': NOW, 'n': 'new'}
    assert x.output({'id': '1', 'd': 'no date', 'e': None, 'n': None}) == {'id': '1', 'd': 'no date', 'e': None, 'n': None}


def test_the_type_field():
    x = model({}, {'typeField': 'kind'})
    item = x.prepare({'id': '1', 'kind': 'other'}, NOW)
    assert item['kind'] == 'X' and 'kind' not in x.output(item) and x.change(item, {'kind': 'other'}, NOW)['kind'] == 'X'
    x = model({'_type': {'type': 'string'}})                # declared: shown
    assert x.output(x.prepare({'id': '1'}, NOW))['_type'] == 'X'


@pytest.mark.parametrize('given, expected', [
    ({'a': 'new'}, {'a': 'new'}), ({'a': None}, {'a': MISSING}), ({'nul': None}, {'nul': None}), ({'n': '5'}, {'n': 5, 't': 'n#5', 'g': MISSING}), ({'n': None}, {'n': MISSING, 't': MISSING}),
    ({'o': {'x': 1}}, {'o': {'x': 1}}), ({'o.x': 1}, {'o': {'x': 1, 'y': {'z': 1}}}), ({'o.y.z': '2', 'o.y.w': 3}, {'o': {'y': {'z': 2, 'w': 3}}}), ({'o.y': None}, {'o': {}}),
    ({'p': {'x': 1}}, {'p': {'x': 1, 'y': {'z': 1}}}), ({'p': {'y': {'w': 2}}}, {'p': {'y': {'z': 1, 'w': 2}}}), ({'p': {'y': None}}, {'p': {}}),
    ({'list[0]': 9}, {'list': [9, 2]}), ({'list[$]': 3}, {'list': [1, 2, 3]}), ({'list[0]': None}, {'list': [2]}), ({}, {}), ({'t': 'ignored', 'id': '1'}, {}), ({'new.a[0]': 1}, {'new': {'a': [1]}}),
    ({'a': 'b', 'g': 'x'}, {'a': 'b'}),
])
def test_change(given, expected):
    nested = {'x': {'type': 'number'}, 'y': {'type': 'object', 'schema': {'z': {'type': 'number'}}}}
    x = model({'a': {}, 'nul': {'nulls': True}, 'n': {'type': 'number'}, 't': {'value': 'n#${n}'}, 'o': {'type': 'object', 'schema': nested}, 'list': {'type': 'array'}, 'new': {'type': 'object'},
               'p': {'type': 'object', 'schema': nested, 'partial': True}, 'g': {'value': '${a}#${n}'}, 'd': {'default': 'x', 'generate': 'ulid'}})
    old = x.prepare({'id': '1', 'a': 'old', 'n': 1, 'list': [1, 2], 'o': {'y': {'z': 1}}, 'p': {'y': {'z': 1}}}, NOW)
    before = json.dumps(old)
    item = x.change(old, given, NOW)
    wanted = {name: value for name, value in (old | expected).items() if value is not MISSING}
    if 'a' in item and 'n' in item:
        wanted['g'] = f'{item["a"]}#{item["n"]}'
    else:
        wanted.pop('g')
    assert item == wanted
    assert json.dumps(old) == before                        # not changed in place


@pytest.mark.parametrize('given, error', [
    ({'r': None}, 'X.r: expected a value, for it is required'), ({'n': 'x'}, 'X.n: expected a number, got "x"'), ({'id': '2'}, 'X.pk: a key cannot change: remove the item and create another'),
    ({'o.n': 'x'}, 'X.o.n: expected a number'), ({'o.n': None}, 'X.o.n: expected a value'), ({'list[5]': 1}, 'X.list[5]: expected'), ({'o.n.x[': 1}, 'X.o.n.x[: expected a query'),
    ({'id': None}, 'X.pk: expected values for id'), ({'kind': 'c'}, 'X.kind: expected one of'),
])
def test_changes_that_break_a_rule_are_refused(given, error):
    x = model({'r': {'required': True}, 'n': {'type': 'number'}, 'o': {'type': 'object', 'schema': {'n': {'type': 'number', 'required': True}}},
               'list': {'type': 'array'}, 'kind': {'enum': ['a', 'b']}})
    old = x.prepare({'id': '1', 'r': 'x', 'list': [1], 'o': {'n': 1}}, NOW)
    assert refused(x.change, old, given, NOW).startswith(error)


def test_partial_for_all_fields():
    x = model({'o': {'type': 'object'}, 'whole': {'type': 'object', 'partial': False}}, {'partial': True})
    old = x.prepare({'id': '1', 'o': {'a': 1}, 'whole': {'a': 1}}, NOW)
    assert x.change(old, {'o': {'b': 2}, 'whole': {'b': 2}}, NOW) == old | {'o': {'a': 1, 'b': 2}, 'whole': {'b': 2}}


def test_unique_fields():
    x = model({'email': {'unique': True}, 'n': {'type': 'number', 'unique': True}})
    assert x.unique == ['email', 'n'] and x.uniques({'email': 'a@b', 'n': 5.0}) == {'email': 'a@b', 'n': '5'} and x.uniques({}) == {}


def test_process_says_where_models_are_and_control_is_its_older_name():
    models = {name: {'pk': {}, 'sk': {}} for name in 'ABC'}
    schema = load({'models': models, 'control': {'A': {'enable': 'cloud'}, 'B': {'sync': 'down'}}, 'process': {'B': {'sync': 'up', 'mem': True, 'delay': '2 mins', 'notify': 'default'}}})
    a, b, c = schema.models.values()
    assert (a.enabled, b.enabled, c.enabled) == (False, True, True) and (b.sync, b.mem, c.sync, c.mem) == ('up', True, 'none', False)
    assert schema.process['C'] == {'enable': 'both', 'sync': 'none', 'show': True, 'mem': False, 'delay': None}
    assert schema.process['B']['delay'] == 120 and schema.process['B']['notify'] == 'default'


def test_schemas_blend_others(tmp_path):
    (tmp_path / 'parts').mkdir()
    (tmp_path / 'parts/base.json5').write_text("{blend: ['more.json5'], params: {isoDates: true}, models: {A: {pk: {}, sk: {}, n: {type: 'string'}}}}")
    (tmp_path / 'parts/more.json5').write_text("{models: {B: {pk: {}, sk: {}}}, params: {nulls: true, isoDates: false}}")
    (tmp_path / 'schema.json5').write_text("{blend: ['parts/base.json5'], version: '1.2.3', models: {A: {n: {type: Number}, '-sk': null, sk: {value: 'a'}}}}")
    for schema in (load(tmp_path / 'schema.json5'), load({'blend': ['parts/base.json5'], 'version': '1.2.3', 'models': {'A': {'n': {'type': 'number'}}}}, tmp_path)):
        assert sorted(schema.models) == ['A', 'B'] and schema.version == '1.2.3'
        assert schema.params['isoDates'] is True and schema.params['nulls'] is True
        assert schema.models['A'].fields['n'].type == 'number'


@pytest.mark.parametrize('files, error', [
    ({'schema.json5': "{blend: ['schema.json5']}"}, 'schema.json5: blend[0]: expected the name of a schema file that does not blend itself'),
    ({'schema.json5': "{blend: ['no.json5']}"}, "no.json5'"), ({'schema.json5': '{blend: [5]}'}, 'schema.json5: blend[0]: expected'), ({'schema.json5': '{models: {'}, 'schema.json5:1:11: '),
    ({'schema.json5': "{blend: ['b.json5']}", 'b.json5': '{modles: {}}'}, 'b.json5: modles: not supported here, expected one of format, '),
    ({'schema.json5': "{models: {X: {pk: {}, sk: {}, n: {type: 'text'}}}}"}, 'schema.json5: models.X.n.type: expected string, number, boolean, '), ({'schema.json5': '[]'}, 'schema.json5: expected an object, got an array'),
    ({}, "schema.json5'"),
])
def test_faults_of_schema_files_name_the_file(tmp_path, files, error):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert error in refused(load, tmp_path / 'schema.json5')


DEEPER = {'type': 'object'}
for _ in range(40):
    DEEPER = {'type': 'object', 'schema': {'f': DEEPER}}


@pytest.mark.parametrize('field, path, reason', [
    ({'type': 'text'}, 'f.type', 'expected string, number'), ({'type': 5}, 'f.type', 'expected a text, got 5'), ('string', 'f', 'expected an object'), ({'required': 'yes'}, 'f.required', 'expected true or false'),
    ({'requierd': True}, 'f.requierd', 'not supported here, expected one of type, '), ({'map': 'm'}, 'f.map', 'not supported'), ({'crypt': True}, 'f.crypt', 'not supported'),
    ({'encode': []}, 'f.encode', 'not supported'), ({'scope': 'x'}, 'f.scope', 'not supported'), ({'generate': 'serial'}, 'f.generate', 'expected ulid, uuid, uid or uid(n)'), ({'generate': True}, 'f.generate', 'expected a text'),
    ({'generate': 'uid(x)'}, 'f.generate', 'expected'), ({'type': 'number', 'generate': 'ulid'}, 'f.generate', 'expected a field of type string, got "number"'),
    ({'type': 'number', 'default': 'x'}, 'f.default', 'expected a number'), ({'enum': ['a'], 'default': 'b'}, 'f.default', 'expected one of'), ({'type': 'number', 'enum': ['x']}, 'f.enum', 'expected a number'),
    ({'validate': 'abc'}, 'f.validate', 'expected a regular expression'), ({'validate': '/(/'}, 'f.validate', 'no regular expression'), ({'type': 'object', 'validate': '/x/'}, 'f.validate', 'expected a field of type'),
    ({'schema': {}}, 'f.schema', 'expected a field of type object'), ({'type': 'object', 'items': {}}, 'f.items', 'expected a field of type array'), ({'type': 'object', 'schema': {'a': {'type': 'x'}}}, 'f.schema.a.type', 'expected string'),
    ({'type': 'array', 'items': {'type': 'x'}}, 'f.items.type', 'expected string'), ({'type': 'object', 'schema': {'a': {'unique': True}}}, 'f.schema.a.unique', 'not supported here'),
    ({'type': 'object', 'schema': {'a': {'value': 'x'}}}, 'f.schema.a.value', 'not supported here'), ({'type': 'object', 'default': {'a': 1}, 'schema': {'a': {'type': 'boolean', 'enum': [False]}}}, 'f.default.a', 'expected one of'),
    ({'type': 'string', 'ttl': True}, 'f.ttl', 'expected a field of type date or number'), ({'isoDates': True}, 'f.isoDates', 'expected a field of type date'), ({'type': 'array', 'unique': True}, 'f.unique', 'expected a field of type'),
    ({'value': '${nobody}'}, 'f.value', 'names of the context'), ({'value': '${pk}'}, 'f.value', 'without a template'), ({'value': '${id'}, 'f.value', 'expected } after each ${'), ({'value': '${}'}, 'f.value', 'expected ${field}'),
    ({'value': '${id:x}'}, 'f.value', 'expected ${field}'), ({'type': 'boolean', 'value': 'x'}, 'f.value', 'expected a field of type'), (DEEPER, 'f.' + 'schema.f.' * 20 + 'schema.f', 'at most 20 levels'),
])
def test_bad_fields_are_refused_with_their_path(field, path, reason):
    error = refused(model, {'f': field})
    assert error.startswith(f'models.X.{path}: ') and reason in error


@pytest.mark.parametrize('schema, error', [
    ({'format': 'onetable:2.0.0'}, "format: expected 'onetable:1.1.0', got"), ({'format': 1}, 'format: expected a text'), ({'version': 'one'}, "version: expected a version such as '1.0.0'"), ({'model': {}}, 'model: not supported here'),
    ({'models': []}, 'models: expected an object'), ({'models': {'a b': {}}}, 'models.a b: expected a name of letters'), ({'models': {'X': []}}, 'models.X: expected an object'), ({'models': {'X': {}}}, 'models.X.pk: expected this field, a key'),
    ({'models': {'X': {'a.b': {}, 'pk': {}, 'sk': {}}}}, 'models.X.a.b: expected a name without'), ({'models': {'X': {'pk': {'type': 'object'}, 'sk': {}}}}, 'models.X.pk.type: expected a key of type'),
    ({'models': {'X': {'pk': {}, 'sk': {}, 'a': {'type': 'date', 'ttl': True}, 'b': {'type': 'date', 'ttl': True}}}}, 'models.X.b: expected one field with ttl'),
    ({'params': {'timestamps': True}, 'models': {'X': {'pk': {}, 'sk': {}, 'created': {}}}}, 'models.X.created: expected type date'),
    ({'params': {'isoDate': True}}, 'params.isoDate: not supported here, expected one of isoDates, '), ({'params': {'isoDates': 'yes'}}, 'params.isoDates: expected true or false'),
    ({'params': {'timestamps': 'both'}}, "params.timestamps: expected true, false, 'create' or 'update'"), ({'params': []}, 'params: expected an object'),
    ({'indexes': {'gs1': {'hash': 'a'}}}, 'indexes: expected the index primary'), ({'indexes': {'primary': {}}}, 'indexes.primary: expected hash or sort'), ({'indexes': {'primary': {'hash': 5}}}, 'indexes.primary.hash: expected a text'),
    ({'indexes': {'primary': {'hash': 'a', 'range': 'b'}}}, 'indexes.primary.range: not supported here'), ({'process': {'X': {}}}, 'process.X: expected the name of a model'),
    ({'process': {'X': {'sync': 'sideways'}}, 'models': {'X': {'pk': {}, 'sk': {}}}}, 'process.X.sync: expected none, up, down, both, got "sideways"'),
    ({'control': {'X': {'enable': 'no'}}, 'models': {'X': {'pk': {}, 'sk': {}}}}, 'control.X.enable: expected both, cloud, device'),
    ({'process': {'X': {'delay': 'soon'}}, 'models': {'X': {'pk': {}, 'sk': {}}}}, 'process.X.delay: expected a time'), ({'blend': 'x'}, 'blend: expected an array'), ({'context': []}, 'context: expected an object'),
])
def test_bad_schemas_are_refused_with_their_path(schema, error):
    assert refused(load, schema).startswith(error)
    with pytest.raises(SchemaError):
        load(schema)


def test_what_other_tools_keep_in_a_schema_is_taken():
    schema = load({'format': 'onetable:1.1.0', 'version': 'latest', 'name': 'N', 'description': 'd', 'queries': {'q': {}}, 'items': [], 'extensions': {'x': 1},
                   'models': {'X': {'pk': {}, 'sk': {}, 'a': {'readonly': True, 'notes': 'n', 'description': 'd', 'title': 't', 'label': 'l', 'reference': 'Y:primary:id=a', 'timestamp': True}}}})
    assert (schema.version, schema.name) == ('latest', 'N') and schema.source['queries'] == {'q': {}}


def test_the_digest_changes_when_the_schema_does():
    one, other = ({'models': {'X': {'pk': {}, 'sk': {}, 'a': {'type': type}}}} for type in ('string', 'number'))
    assert load(one).digest == load(one).digest != load(other).digest and len(load(one).digest) == 16


def test_schemas_are_not_changed():
    given = {'models': {'X': {'pk': {}, 'sk': {}}}, 'params': {'timestamps': True}}
    before = json.dumps(given)
    load(given)
    assert json.dumps(given) == before


def test_errors_have_parts():
    with pytest.raises(DbError) as caught:
        model(NESTED).prepare({'id': '1', 'address': {'zip': 'x'}}, NOW)
    assert (caught.value.model, caught.value.field, caught.value.reason) == ('X', 'address.zip', 'expected a number, got "x"')


def test_the_default_schema_serves_a_device_that_knows_nothing_yet():
    schema = load(os.path.join(TREE, 'config/schema.json5'))
    store, context = schema.models['Store'], schema.context
    item = store.prepare({'key': 'counter', 'value': 1, 'type': 'number'}, NOW, context)
    assert (item['pk'], item['sk']) == store.keys({'key': 'counter'}, context) and store.sync == 'up'
    shown = store.output(item)
    assert (shown['key'], shown['value'], shown['type'], shown['updated']) == ('counter', 1, 'number', STAMP) and 'pk' not in shown
    assert store.change(item, {'value': 2}, NOW + 1, context)['value'] == 2
    assert store.keys({}, context | {'accountId': 'A', 'deviceId': 'D'}) == ('s#A#D', Prefix('s#'))
    assert schema.models['Command'].sync == 'down' and {'Device', 'Log'} <= schema.models.keys()
    assert schema.models['Log'].ttl == 'expires' and len(schema.models['Log'].prepare({'message': 'm'}, NOW, context)['id']) == 26


def test_heavy_modules_are_not_imported():
    program = ("import sys; import ioto.db.schema as s, ioto.db.where; s.load('config/schema.json5').models['Store'].prepare("
               "{'key': 'k', 'value': 1, 'expires': '2030-01-01'}, 5, {'accountId': 'a', 'deviceId': 'd'}); "
               "print({'datetime', 'uuid', 'base64', 'calendar', 'sqlite3', 'asyncio', 'random', 'inspect', 'typing', 'dataclasses'} & set(sys.modules))")
    run = subprocess.run([sys.executable, '-I', '-S', '-c', f'import sys; sys.path.insert(0, {TREE!r}); {program}'], cwd=TREE, capture_output=True, text=True, timeout=60)
    assert run.stdout == 'set()\n', run.stderr


def test_the_tables_of_properties_are_complete():
    assert set(fields.ONLY) <= set(fields.FIELD) and set(fields.NESTED) < set(fields.FIELD)
