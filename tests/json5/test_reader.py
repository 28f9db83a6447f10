"""The relaxed syntax of configuration files: where strings without quotes end, and what stays an error."""

import pytest

from ioto.json5 import Json5Error, parse

RELAXED = [
    # quotes and lines
    ('`a`', 'a'),
    ('`a\\`b"\'`', 'a`b"\''),
    ('{`a b`: `c`}', {'a b': 'c'}),
    ('`a\nb\r\nc\rd\u2028e`', 'a\nb\nc\nd\u2028e'),
    ("'a\nb'", 'a\nb'),
    ('"a\r\n\r\n b"', 'a\n\n b'),
    ("'a\\\nb\nc'", 'ab\nc'),
    ('`${a} \\x41\\u0042\\n`', '${a} AB\n'),
    ('``', ''),
    # without quotes
    ('hello', 'hello'),
    (' hello world ', 'hello world'),
    ('{a: b}', {'a': 'b'}),
    ('{a: b c , d: e}', {'a': 'b c', 'd': 'e'}),
    ('{a: b\n}', {'a': 'b'}),
    ('{a: b // c\n}', {'a': 'b'}),
    ('{a: b /* c */}', {'a': 'b'}),
    ('{a: b /* c */, d: 1}', {'a': 'b', 'd': 1}),
    ('[a, b,]', ['a', 'b']),
    (
        '[10 secs, 1.5 hours, 20MB, 1.2.3.4, 2026-11-21, 01, 0x, 1e, -, +a, .a]',
        ['10 secs', '1.5 hours', '20MB', '1.2.3.4', '2026-11-21', '01', '0x', '1e', '-', '+a', '.a'],
    ),
    (
        '[trueish, nullable, Infinity1, NaNo, true, null, Infinity, NaN1]',
        ['trueish', 'nullable', 'Infinity1', 'NaNo', True, None, float('inf'), 'NaN1'],
    ),
    ('[1, 0xff, .5, +1, -Infinity, a]', [1, 255, 0.5, 1, float('-inf'), 'a']),
    ('{a: true\n, b: 1 // c\n, c: 2/**/, d: e:}', {'a': True, 'b': 1, 'c': 2, 'd': 'e:'}),
    ('{a: https://host:80/x?y=1#z // c\n}', {'a': 'https://host:80/x?y=1#z'}),
    ('{a: :8080, b: *:80}', {'a': ':8080', 'b': '*:80'}),
    (
        '[/var/log/*.log, /a, /b, /, C:\\temp\\new, ./x, @state/ioto.log, 0 9 * * 1-5]',
        ['/var/log/*.log', '/a', '/b', '/', 'C:\\temp\\new', './x', '@state/ioto.log', '0 9 * * 1-5'],
    ),
    ('{a: ${home}/x, b: $HOME, c: a${b}c${d}}', {'a': '${home}/x', 'b': '$HOME', 'c': 'a${b}c${d}'}),
    ('[a\u00a0b\u00a0]', ['a\u00a0b']),
    ('[été, 变 量, 😀]', ['été', '变 量', '😀']),
    ('[a//b, a/*b*/]', ['a//b', 'a/*b*/']),
    # undefined
    ('undefined', None),
    ('[undefined, 1]', [None, 1]),
    ('{a: undefined, b: 1}', {'b': 1}),
    ('{a: 1, a: undefined}', {}),
    ('{a: undefined /**/}', {}),
    ('{undefined: undefined, b: undefinedly}', {'b': 'undefinedly'}),
    # regular expressions
    ('/ab+c/', '/ab+c/'),
    ('{a: /^\\d{1,3}$/gi}', {'a': '/^\\d{1,3}$/gi'}),
    ('[/[,\\]}/"]+/, /a\\/b/u]', ['/[,\\]}/"]+/', '/a\\/b/u']),
    ('{a: /x y/ // c\n}', {'a': '/x y/'}),
    ('{a: /["\']/g}', {'a': '/["\']/g'}),
    ('[/{2}/]', ['/{2}/']),
]

REFUSED = [
    ('`a', 1, 3, 'the closing `'),
    ("'a\nb", 2, 2, "the closing '"),
    ('{a: b\nc: d}', 2, 1, "',' or '}'"),
    ('{a: b c: d}', 1, 8, "',' or '}'"),
    ('{a: b "c": 1}', 1, 7, "',' or '}'"),
    ("{a: it's}", 1, 7, "',' or '}'"),
    ('{a: b[0]}', 1, 6, "',' or '}'"),
    ('{a: b{c}}', 1, 6, "',' or '}'"),
    ('{a: }', 1, 5, 'a value'),
    ('{a: ,}', 1, 5, 'a value'),
    ('[,]', 1, 2, 'a value'),
    ('', 1, 1, 'a value'),
    ('{a: : b}', 1, 5, 'a value'),
    ('[a:\n]', 1, 3, "',' or ']'"),
    ('{a: 10\n secs: 1}', 2, 2, "',' or '}'"),
    ('{a-b: 1}', 1, 3, "':'"),
    ('{a: 1 /* }', 1, 11, "'*/'"),
    ('[1 2 "3"]', 1, 6, "',' or ']'"),
    ('a, b', 1, 2, 'the end of the input'),
    ('{a: ${b }', 1, 10, "',' or '}'"),
    ("{a: '\\x'}", 1, 8, 'a hexadecimal digit'),
    ('{a: ${b\n}}', 1, 5, 'a value'),
]


@pytest.mark.parametrize('text,value', RELAXED, ids=[ascii(text)[:60] for text, _ in RELAXED])
def test_relaxed(text, value):
    assert repr(parse(text, relaxed=True)) == repr(value)
    with pytest.raises(Json5Error):
        parse(text)


@pytest.mark.parametrize('text,line,column,expected', REFUSED, ids=[ascii(case[0])[:60] for case in REFUSED])
def test_relaxed_refuses(text, line, column, expected):
    with pytest.raises(Json5Error) as raised:
        parse(text, relaxed=True)
    assert (raised.value.line, raised.value.column) == (line, column), raised.value
    assert expected in raised.value.message
