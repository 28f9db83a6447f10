"""Paths: what get, set and remove find, make and refuse."""

import copy

import pytest

from ioto.json5 import Json5Error, get, remove, set

VALUE = {
    'users': [{'name': 'Ann', 'age': 3}, {'name': None}],
    'a.b': 1,
    'c': {'text/css': 2, '': 3, "it's": 4, '0': 5, '$': 6, 'x]': 7},
    'n': None,
    's': 'text',
}

GET = [
    ('', VALUE),
    ('users', VALUE['users']),
    ('users[0].name', 'Ann'),
    ('users.0.name', 'Ann'),
    ('users[0]["name"]', 'Ann'),
    ("users[0]['age']", 3),
    ('users[-1]', {'name': None}),
    ('users[-2].name', 'Ann'),
    ("['a.b']", 1),
    ("c['text/css']", 2),
    ('c.text/css', 2),
    ("c['']", 3),
    ("c['it\\'s']", 4),
    ('c["it\'s"]', 4),
    ("c['\\u0078]']", 7),
    ('c[0]', 5),
    ('c.0', 5),
    ('c.$', 6),
    ('n', None),
    ('users[1].name', None),
    ("['users'][0].age", 3),
]
ABSENT = [
    'users.+1',
    'users. 1',
    'users.1_0',
    'x',
    'users[2]',
    'users[-3]',
    'users[$]',
    'users.name',
    'users[0].name.x',
    's[0]',
    's.x',
    'n.x',
    'a.b',
    'c[1]',
    'users[99999999999999999999999]',
    'c[$]',
]
BAD = [
    ('a..b', 2),
    ('.a', 1),
    ('a.', 2),
    ('a[', 2),
    ('a[0', 4),
    ('a[]', 2),
    ('a[x]', 2),
    ("a['x]", None),
    ("a['x'", 6),
    ('a[0]b', 5),
    ('a]', 2),
    ('a[1.5]', 4),
    ('a."b"', 2),
    ("a['\\x']", None),
    ('[$', 3),
    ('a[0]..b', 5),
    ('a[ 0]', 2),
]


@pytest.mark.parametrize('query,value', GET)
def test_get(query, value):
    assert get(VALUE, query, 'default') == value


@pytest.mark.parametrize('query', ABSENT)
def test_get_gives_the_default_for_what_is_not_there(query):
    assert get(VALUE, query) is None and get(VALUE, query, 7) == 7
    assert remove(copy.deepcopy(VALUE), query) is False


@pytest.mark.parametrize('query,column', BAD)
def test_refuses_a_query_that_cannot_be_read(query, column):
    for call in (lambda: get(VALUE, query), lambda: set({}, query, 1), lambda: remove({}, query)):
        with pytest.raises(Json5Error) as raised:
            call()
        assert column is None or raised.value.column == column


@pytest.mark.parametrize(
    'before,query,after',
    [
        ({}, 'a', {'a': 9}),
        ({'a': 1}, 'a', {'a': 9}),
        ({}, 'a.b.c', {'a': {'b': {'c': 9}}}),
        ({}, 'a[0].b', {'a': [{'b': 9}]}),
        ({}, 'a[$].b', {'a': [{'b': 9}]}),
        ({'a': [1]}, 'a[$]', {'a': [1, 9]}),
        ({'a': [1]}, 'a[1]', {'a': [1, 9]}),
        ({'a': [1]}, 'a[0]', {'a': [9]}),
        ({'a': [1, 2]}, 'a[-1]', {'a': [1, 9]}),
        ({'a': None}, 'a.b', {'a': {'b': 9}}),
        ([], '[$]', [9]),
        ([[1]], '[0][$]', [[1, 9]]),
        ([[1]], '[$][$]', [[1], [9]]),
        (None, 'a', {'a': 9}),
        (None, '[0]', [9]),
        ({'a': 1}, '', 9),
        ({}, "['x.y'][0]", {'x.y': [9]}),
        ({'a': {}}, 'a[0]', {'a': {'0': 9}}),
        ({'a': {}}, 'a.0', {'a': {'0': 9}}),
        ({'a': [5]}, 'a.0', {'a': [9]}),
    ],
)
def test_set(before, query, after):
    assert set(before, query, 9) == after


def test_set_works_in_place():
    value = {'a': {'b': [1]}}
    assert set(value, 'a.b[$]', 2) is value
    assert value == {'a': {'b': [1, 2]}}


@pytest.mark.parametrize(
    'before,query',
    [
        ({'a': 1}, 'a.b'),
        ({'a': 'x'}, 'a[0]'),
        ({'a': [1]}, 'a[2]'),
        ({'a': []}, 'a[1].b'),
        ({'a': [1]}, 'a.b'),
        ({'a': {}}, 'a[$]'),
        ({'a': []}, 'a[-1]'),
        (5, 'a'),
        ({'a': [1]}, 'a[-2].b'),
        ({'a': 1}, 'b.c[3]'),
        ({}, 'a[0][-1]'),
        ({'a': [1]}, 'a[$].b[2]'),
        ({'a': [1]}, 'a.١'),
    ],
)
def test_set_refuses_a_way_through_other_values(before, query):
    untouched = copy.deepcopy(before)
    with pytest.raises(Json5Error):
        set(before, query, 9)
    assert before == untouched


def test_remove():
    value = copy.deepcopy(VALUE)
    for query in ('users[0]', 'users[0].name', "c['text/css']", "['a.b']", 'n'):
        assert remove(value, query) is True
    assert value == {'users': [{}], 'c': {'': 3, "it's": 4, '0': 5, '$': 6, 'x]': 7}, 's': 'text'}
    assert remove(value, '') is False
