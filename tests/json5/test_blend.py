"""Laying configurations over each other."""

import copy

import pytest

from ioto.json5 import Json5Error, blend

CASES = [
    # into, other, result
    ({}, {}, {}),
    ({'a': 1}, {'b': 2}, {'a': 1, 'b': 2}),
    ({'a': 1}, {'a': 2}, {'a': 2}),
    ({'a': 1}, {'a': None}, {'a': None}),
    ({'a': {'b': 1, 'c': 2}}, {'a': {'b': 3, 'd': 4}}, {'a': {'b': 3, 'c': 2, 'd': 4}}),
    ({'a': [1, 2]}, {'a': [3]}, {'a': [3]}),
    ({'a': 1}, {'a': {'b': 2}}, {'a': {'b': 2}}),
    ({'a': {'b': 2}}, {'a': 1}, {'a': 1}),
    ({'a': [1]}, {'a': {'b': 1}}, {'a': {'b': 1}}),
    # + append
    ({'a': [1]}, {'+a': [2, 3]}, {'a': [1, 2, 3]}),
    ({'a': [1]}, {'+a': 2}, {'a': [1, 2]}),
    ({'a': [1]}, {'+a': {'b': 1}}, {'a': [1, {'b': 1}]}),
    ({}, {'+a': [1]}, {'a': [1]}),
    ({}, {'+a': 'x'}, {'a': 'x'}),
    ({'a': None}, {'+a': [1]}, {'a': [1]}),
    ({'a': 'error,'}, {'+a': 'info'}, {'a': 'error,info'}),
    ({'a': {'b': 1}}, {'+a': {'c': 2}}, {'a': {'b': 1, 'c': 2}}),
    ({'a': {'b': [1]}}, {'a': {'+b': [2]}}, {'a': {'b': [1, 2]}}),
    # - remove
    ({'a': [1, 2, 3, 2]}, {'-a': [2, 9]}, {'a': [1, 3]}),
    ({'a': ['x', 'y']}, {'-a': 'x'}, {'a': ['y']}),
    ({'a': [1, True, 0, False]}, {'-a': [1, False]}, {'a': [True, 0]}),
    ({'a': {'b': 1, 'c': 2}}, {'-a': 'b'}, {'a': {'c': 2}}),
    ({'a': {'b': 1, 'c': 2}}, {'-a': ['b', 'c', 'd', 4]}, {'a': {}}),
    ({'a': {'b': 1, 'c': 2}}, {'-a': {'b': None}}, {'a': {'c': 2}}),
    ({'a': {'b': 1}, 'c': 1}, {'-a': None}, {'c': 1}),
    ({'a': [1]}, {'-a': None}, {}),
    ({'a': 'x'}, {'-a': 'x'}, {}),
    ({'a': 1}, {'-b': 1}, {'a': 1}),
    ({'a': {'b': 1}}, {'-a': 5}, {'a': {'b': 1}}),
    ({'a': [{'b': 1}, {'b': 2}]}, {'-a': [{'b': 1}]}, {'a': [{'b': 2}]}),
    # = replace
    ({'a': {'b': 1}}, {'=a': {'c': 2}}, {'a': {'c': 2}}),
    ({'a': [1]}, {'=a': [2]}, {'a': [2]}),
    ({}, {'=a': 1}, {'a': 1}),
    ({}, {'=+a': 1, '=-b': 2}, {'+a': 1, '-b': 2}),
    # ? default
    ({'a': 1}, {'?a': 2, '?b': 3}, {'a': 1, 'b': 3}),
    ({'a': None}, {'?a': 2}, {'a': None}),
    ({'a': {'b': 1}}, {'?a': {'c': 2}}, {'a': {'b': 1}}),
    ({}, {'?a': {'c': 2}}, {'a': {'c': 2}}),
    # prefixes in what is new; a prefix alone is a key
    ({}, {'a': {'+b': [1], '?c': 2, '-d': 1}}, {'a': {'b': [1], 'c': 2}}),
    ({}, {'a': [{'+b': 1}]}, {'a': [{'+b': 1}]}),
    ({}, {'+': 1, '': 2}, {'+': 1, '': 2}),
    ({'a': [1]}, {'+a': [2], 'b': 1}, {'a': [1, 2], 'b': 1}),
    ({'a': {'b': 1}}, {'=a': {'+b': [2]}}, {'a': {'b': [2]}}),
    # no objects
    (None, {'+a': [1]}, {'a': [1]}),
    ({'a': 1}, [1], [1]),
    (1, 2, 2),
]


@pytest.mark.parametrize('into,other,result', CASES, ids=[f'{into} {other}' for into, other, _ in CASES])
def test_blend(into, other, result):
    untouched = copy.deepcopy(other)
    blended = blend(into, other)
    assert repr(blended) == repr(result)
    assert other == untouched
    if isinstance(into, dict) and isinstance(other, dict):
        assert blended is into


@pytest.mark.parametrize('old,new', [(1, 2), (True, [1]), ('x', ['y']), ('x', 1), ({}, [1]), ({}, 'x')])
def test_refuses_to_append_to_other_values(old, new):
    with pytest.raises(Json5Error, match="'a'"):
        blend({'a': old}, {'+a': new})


def test_shares_nothing():
    other = {'a': {'b': [1, {'c': 2}]}, '+d': [{'e': []}], '=f': {'g': []}, '?h': [[]]}
    value = blend({'d': []}, other)
    value['a']['b'][1]['c'] = value['f']['g'] = 9
    value['d'][0]['e'].append(9)
    value['h'][0].append(9)
    assert other == {'a': {'b': [1, {'c': 2}]}, '+d': [{'e': []}], '=f': {'g': []}, '?h': [[]]}


def test_deep_values_need_no_stack():
    deep = value = {}
    for _ in range(5000):
        deep['a'] = {'b': [{}]}
        deep = deep['a']['b'][0]
    result = blend(blend({}, value), value)
    for _ in range(5000):
        result = result['a']['b'][0]
    assert result == {}
