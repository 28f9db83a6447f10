"""parse: what JSON5 1.0.0 allows, each production; which way reads it makes no difference."""

import contextlib
import json
import math
import random
import struct
import sys
import time

import pytest

from ioto.json5 import Json5Error, load, locate, parse
from ioto.json5.parser import Reader

SEED = 20261121

VALID = [
    # objects and names
    ('{}', {}),
    ('{"a":1}', {'a': 1}),
    ("{'a':1}", {'a': 1}),
    ('{a:1}', {'a': 1}),
    ('{a:1,}', {'a': 1}),
    ('{$_:1,_$:2,a\u200c:3,b\u200d:4}', {'$_': 1, '_$': 2, 'a\u200c': 3, 'b\u200d': 4}),
    ('{ùńîċõďë:9, Ⅷ:1, 变量:2, a\u0301\u0660\u203f:3}', {'ùńîċõďë': 9, 'Ⅷ': 1, '变量': 2, 'a\u0301\u0660\u203f': 3}),
    ('{\\u0061\\u0062:1,\\u0024\\u005F:2,a\\u200D:3}', {'ab': 1, '$_': 2, 'a\u200d': 3}),
    ('{"__proto__":1, constructor: 2}', {'__proto__': 1, 'constructor': 2}),
    ('{__proto__:{a:1}}', {'__proto__': {'a': 1}}),
    (
        '{null:1,true:2,false:3,Infinity:4,NaN:5,while:6,undefined:7}',
        {'null': 1, 'true': 2, 'false': 3, 'Infinity': 4, 'NaN': 5, 'while': 6, 'undefined': 7},
    ),
    ('{a:1,b:2,a:3}', {'a': 3, 'b': 2}),
    ('{"a":1,a:2,\'a\':3}', {'a': 3}),
    ('{"":1}', {'': 1}),
    ('{a\n:\n1\n,\n}', {'a': 1}),
    ('{a/**/:/**/1/**/,/**/}', {'a': 1}),
    ('{a//\n:1}', {'a': 1}),
    ('{a:{b:[{}]}}', {'a': {'b': [{}]}}),
    # arrays
    ('[]', []),
    ('[1]', [1]),
    ('[1,]', [1]),
    ('[1,2]', [1, 2]),
    ('[1,[2,3],]', [1, [2, 3]]),
    ('[1 , // c\n]', [1]),
    ('[[],{},[[]],]', [[], {}, [[]]]),
    ("[',]', ',}', ', ]',]", [',]', ',}', ', ]']),
    ("['[,', '{,\\n}', 1]", ['[,', '{,\n}', 1]),
    # literals
    ('null', None),
    ('true', True),
    ('false', False),
    ('[null,true,false]', [None, True, False]),
    # numbers
    ('[0,0.,0e0,.0,-0]', [0, 0.0, 0.0, 0.0, 0]),
    ('[1,23,456,7890]', [1, 23, 456, 7890]),
    ('[-1,+2,-.1,+.5]', [-1, 2, -0.1, 0.5]),
    ('[1e0,1e1,1e01,1.e0,1.1e0,1e-1,1e+1,5.]', [1.0, 10.0, 10.0, 1.0, 1.1, 0.1, 10.0, 5.0]),
    ('+1.23e100', 1.23e100),
    ('.5e3', 500.0),
    ('[0x1,0x10,0xff,0XFF,0x00]', [1, 16, 255, 255, 0]),
    ('-0x0123456789abcdefABCDEF', -0x0123456789ABCDEFABCDEF),
    ('+0xC8', 200),
    ('[0xe1, 0x1e]', [0xE1, 0x1E]),
    ('[Infinity,-Infinity,+Infinity]', [math.inf, -math.inf, math.inf]),
    ('1e400', math.inf),
    ('-1e400', -math.inf),
    ('1e-400', 0.0),
    ('123456789012345678901234567890', 123456789012345678901234567890),
    ('[1/**/,/**/2]', [1, 2]),
    ('{a:1}//', {'a': 1}),
    ('{a:1}/**/', {'a': 1}),
    # strings
    ('"abc"', 'abc'),
    ("'abc'", 'abc'),
    ("""['"',"'", '""', "''"]""", ['"', "'", '""', "''"]),
    ("''", ''),
    ('""', ''),
    ("'\\b\\f\\n\\r\\t\\v\\0\\x0f\\u01fF\\\n\\\r\n\\\r\\\u2028\\\u2029\\a\\'\\\"'", "\b\f\n\r\t\v\0\x0f\u01ffa'\""),
    ("'\\0'", '\0'),
    ("'\\0a'", '\0a'),
    ("'\\0\\x31'", '\x001'),
    ("'\\A\\C\\/\\D\\C\\$\\{\\é'", 'AC/DC${é'),
    ("'a\\\nb'", 'ab'),
    ("'\u2028\u2029'", '\u2028\u2029'),
    ('["\u2028"]', ['\u2028']),
    ("['\t\x00\x01\x7f']", ['\t\x00\x01\x7f']),
    ('["\t", //\n]', ['\t']),
    ("'\\ud83d\\ude00'", '😀'),
    ("'\\ud83d'", '\ud83d'),
    ("'\\ude00\\ud83d'", '\ude00\ud83d'),
    ("'\\uD83D\\u0041'", '\ud83dA'),
    ("'\\ud83d\\\n\\ude00'", '\ud83d\ude00'),
    ("['\\ud83d\\\n\\ude00']", ['\ud83d\ude00']),
    ("'😀'", '😀'),
    ("['\\u0022\\x22\\'', 'a\\\\']", ['""\'', 'a\\']),
    ("['//', '/*', '*/']", ['//', '/*', '*/']),
    ("'`'", '`'),
    ("['" + '\\n' * 2000 + "']", ['\n' * 2000]),
    # comments and white space
    ('{//comment\n}', {}),
    ('{}//comment', {}),
    ('{/*comment\n** */}', {}),
    ('[1,/* * */]', [1]),
    ('{a:1/* * */,/** * b */}', {'a': 1}),
    ('{/* * */a/* * */:/* * */[/* * */1/* * */,2]}', {'a': [1, 2]}),
    ('[' + '/**/' * 300 + '1' + '//\n' * 300 + ',' + '/* * */' * 300 + ']', [1]),
    ('/**/1/***/', 1),
    ('/* a * / **/[]', []),
    ('//\r1', 1),
    ('//\u20281', 1),
    ('//\u20291', 1),
    ('//\r\n1', 1),
    ('[]//\\\n', []),
    ('/*//*/1', 1),
    ('//*\n1', 1),
    ('{\t\v\f \u00a0\ufeff\n\r\u2028\u2029\u2003\u1680\u202f\u205f\u3000}', {}),
    ('\ufeff{a:1}', {'a': 1}),
    (' \n[1]\n ', [1]),
    ('\u30001\u3000', 1),
]

INVALID = [  # text, line, column, a part of the message
    ('', 1, 1, 'a value, found the end of the input'),
    (' ', 1, 2, 'a value'),
    ('//a', 1, 4, 'a value'),
    ('/a', 1, 2, "'/' or '*'"),
    ('/', 1, 2, "'/' or '*'"),
    ('/*', 1, 3, "'*/'"),
    ('/**', 1, 4, "'*/'"),
    ('[1]/*\n', 2, 1, "'*/'"),
    ('a', 1, 1, 'a value'),
    ('{\\a:1}', 1, 3, "'u'"),
    ('{\\u0021:1}', 1, 2, 'letter'),
    ('{a\\a:1}', 1, 4, "'u'"),
    ('{a\\u0021:1}', 1, 3, 'letter'),
    ('{\\u0031:1}', 1, 2, 'letter'),
    ('{\\u00g1:1}', 1, 6, 'hexadecimal'),
    ('{\\ud835\\udcb3:1}', 1, 2, 'letter'),
    ('{\u200ca:1}', 1, 2, 'name'),
    ('-a', 1, 2, 'a number'),
    ('+', 1, 2, 'a number'),
    ('- 1', 1, 2, 'a number'),
    ('--1', 1, 2, 'a number'),
    ('+-1', 1, 2, 'a number'),
    ('.a', 1, 2, 'a digit'),
    ('.', 1, 2, 'a digit'),
    ('-.', 1, 3, 'a digit'),
    ('.e5', 1, 2, 'a digit'),
    ('1ea', 1, 3, 'a digit'),
    ('1e', 1, 3, 'a digit'),
    ('1e-a', 1, 4, 'a digit'),
    ('1.e+', 1, 5, 'a digit'),
    ('1e1.5', 1, 4, 'the end'),
    ('0xg', 1, 3, 'a hexadecimal digit'),
    ('0x', 1, 3, 'a hexadecimal digit'),
    ('-0X', 1, 4, 'a hexadecimal digit'),
    ('0x1.8', 1, 4, 'the end'),
    ('01', 1, 2, 'the end'),
    ('-01', 1, 3, 'the end'),
    ('[00]', 1, 3, "',' or ']'"),
    ('1a', 1, 2, 'the end'),
    ('1.5.3', 1, 4, 'the end'),
    ('1_0', 1, 2, 'the end'),
    ('0b1', 1, 2, 'the end'),
    ('[٣]', 1, 2, 'a value'),
    ('[1٣]', 1, 3, "',' or ']'"),
    ('Infinit', 1, 8, "'Infinity'"),
    ('-Infinitx', 1, 9, "'Infinity'"),
    ('Nan', 1, 3, "'NaN'"),
    ('+Nax', 1, 4, "'NaN'"),
    ('-true', 1, 2, 'a number'),
    ('tru!', 1, 4, "'true'"),
    ('[trux]', 1, 5, "'true'"),
    ('truex', 1, 5, 'the end'),
    ('True', 1, 1, 'a value'),
    ('None', 1, 2, "'NaN'"),
    ('undefined', 1, 1, 'a value'),
    ('nul', 1, 4, "'null'"),
    ('"\n"', 1, 2, 'the closing ", found the end of the line'),
    ("'\r'", 1, 2, "the closing '"),
    ('"', 1, 2, 'the closing "'),
    ("'a\"", 1, 4, "the closing '"),
    ('"\\', 1, 3, 'an escape'),
    ('"\\"', 1, 4, 'the closing'),
    ('"\\xg"', 1, 4, 'a hexadecimal digit'),
    ('"\\x0g"', 1, 5, 'a hexadecimal digit'),
    ('"\\u000g"', 1, 7, 'a hexadecimal digit'),
    ('"\\u{61}"', 1, 4, 'a hexadecimal digit'),
    ("'\\x'", 1, 4, 'hexadecimal'),
    ("['\\ud83d\\u']", 1, 11, 'hexa'),
    ("'\\01'", 1, 4, 'no digit'),
    ("'\\00'", 1, 4, 'no digit'),
    ("['\\08']", 1, 5, 'no digit'),
    ("'a\\\n\nb'", 2, 1, 'the closing'),
    ('`a`', 1, 1, 'a value'),
    ('{!:1}', 1, 2, "name or '}'"),
    ('{a!1}', 1, 3, "':'"),
    ('{a:!}', 1, 4, 'a value'),
    ('{a:1!}', 1, 5, "',' or '}'"),
    ('[!]', 1, 2, 'a value'),
    ('[1!]', 1, 3, "',' or ']'"),
    ('[1 2]', 1, 4, "',' or ']'"),
    ('1 2', 1, 3, 'the end'),
    ('\x01', 1, 1, 'a value'),
    ('\x85', 1, 1, 'a value'),
    ('[\x1c1]', 1, 2, 'a value'),
    ('{', 1, 2, 'name'),
    ('{a', 1, 3, "':'"),
    ('{a:', 1, 4, 'a value'),
    ('{a:1', 1, 5, "','"),
    ('{a:1,', 1, 6, 'name'),
    ('[', 1, 2, 'a value'),
    ('[1', 1, 3, "',' or ']'"),
    ('[1,', 1, 4, 'a value'),
    ('{,}', 1, 2, 'name'),
    ('[,]', 1, 2, 'a value'),
    ('[,1]', 1, 2, 'a value'),
    ('[1,,]', 1, 4, 'a value'),
    ('[1,,2]', 1, 4, 'a value'),
    ('{a:1,,}', 1, 6, 'name'),
    ('{a:,}', 1, 4, 'a value'),
    ('{a:1 b:2}', 1, 6, "','"),
    ('[1}', 1, 3, "']'"),
    ('{a:1]', 1, 5, "'}'"),
    (']', 1, 1, 'a value'),
    ('}', 1, 1, 'a value'),
    (',', 1, 1, 'a value'),
    (':', 1, 1, 'a value'),
    ('[]]', 1, 3, 'the end'),
    ('{}{}', 1, 3, 'the end'),
    ('{1:2}', 1, 2, 'name'),
    ('{1a:2}', 1, 2, 'name'),
    ('{a-b:2}', 1, 3, "':'"),
    ('{a.b:2}', 1, 3, "':'"),
    ('{a b:2}', 1, 4, "':'"),
    ('{[a]:1}', 1, 2, 'name'),
    ('{a:b:1}', 1, 4, 'a value'),
    ('[a:1]', 1, 2, 'a value'),
    ('["a":1]', 1, 5, "','"),
    ('{"a"}', 1, 5, "':'"),
    ('{"a",}', 1, 5, "':'"),
    ('"a""b"', 1, 4, 'the end'),
    ('{²:1}', 1, 2, 'name'),
    ('{a²:1}', 1, 3, "':'"),
    ('{a·b:1}', 1, 3, "':'"),
    ('{℮:1}', 1, 2, 'name'),
    ('["a" "b"]', 1, 6, "','"),
    ('[1/ 2]', 1, 4, "'*'"),
    ('{\n  a: 1,\r\n  b: [\r    x\u2028]', 4, 5, 'a value'),
    ('[1,\u2028\u2029\n\r\n\r!', 6, 1, 'a value'),
    ('[\n1,\n\n', 4, 1, 'a value'),
    ('😀', 1, 1, 'a value'),
    ('["😀", !]', 1, 7, 'a value'),
    ('{"a": 1,\n "b" 2}', 2, 6, "':'"),
    ('[1, 2\n, 3 4]', 2, 5, "','"),
    ('/**//', 1, 6, "'/' or '*'"),
    ('\ufeff!', 1, 2, 'a value'),
]


def ways(text):
    """The results of each way that can read the text: values, or the error's place."""

    def outcome(function, *args):
        try:
            return function(*args)
        except Json5Error as error:
            return error.message, error.line, error.column

    return {'parse': outcome(parse, text), 'reader': outcome(Reader(text).document), 'steps': outcome(steps, text)}


def steps(text):
    """The value as it is read one step at a time, without the fast expression: keeping places needs that."""
    return Reader(text, places={}).document()


def same(one, other):
    """Equal in value, type, order of keys, and sign of zero; NaN equals NaN."""
    return repr(one) == repr(other)


@pytest.mark.parametrize('text,value', VALID, ids=[ascii(text)[:60] for text, _ in VALID])
def test_reads(text, value):
    for way, result in ways(text).items():
        assert same(result, value), way
    assert same(parse(text, relaxed=True), value)
    if not any('\ud800' <= char <= '\udfff' for char in text):
        assert same(parse(text.encode()), value)


@pytest.mark.parametrize('text,line,column,expected', INVALID, ids=[ascii(case[0])[:60] for case in INVALID])
def test_refuses_and_says_where(text, line, column, expected):
    with pytest.raises(Json5Error) as raised:
        parse(text)
    error = raised.value
    assert (error.line, error.column) == (line, column), error.message
    assert expected in error.message and error.message.startswith('expected ')
    assert str(error) == f'line {line}, column {column}: {error.message}'


@pytest.mark.parametrize('digit', '123456789')
def test_refuses_escaped_digits(digit):
    with pytest.raises(Json5Error) as raised:
        parse(f"'\\{digit}'")
    assert (raised.value.line, raised.value.column) == (1, 3)


def test_nan_has_any_sign():
    for text in ('NaN', '+NaN', '-NaN', '[NaN, +NaN, -NaN,]'):
        value = parse(text)
        assert all(math.isnan(item) for item in (value if isinstance(value, list) else [value]))


def test_sign_of_zero():
    assert math.copysign(1, parse('-0.')) == math.copysign(1, parse('[-.0,]')[0]) == -1
    assert same(parse('-0'), json.loads('-0'))


@pytest.mark.parametrize('text', ['1' * 4300, '-' + '7' * 4300, '0x' + 'f' * 3500, '0x' + '0' * 9000 + '1'])
def test_long_integers_are_exact(text):
    exact = int(text, 16) if 'x' in text else int(text)
    assert parse(text) == exact and parse(f'[{text},]') == [exact]


@pytest.mark.parametrize('text', ['1' * 4301, '-' + '7' * 100000, '0x' + 'f' * 3600, '-0xf' + '0' * 9000])
def test_longer_integers_are_infinite(text):
    infinite = -math.inf if text[0] == '-' else math.inf
    assert parse(text) == infinite and parse(f'[{text},]') == [infinite] and parse(f'[{text}]') == [infinite]


def test_bytes_are_utf_8():
    assert parse(b'\xef\xbb\xbf{"\xc3\xa9": 1}') == {'é': 1}
    assert parse(bytearray(b'[1]')) == parse(memoryview(b'[1]')) == [1]
    for data, place in (
        (b'["\xff"]', (1, 3)),
        (b'{\n "\xc3\xa9": \xed\xa0\x80}', (2, 7)),
        (b'\xff\xfe[\0]\0', (1, 1)),
        (b'"\xc3', (1, 2)),
    ):
        with pytest.raises(Json5Error) as raised:
            parse(data)
        assert (raised.value.line, raised.value.column) == place
    with pytest.raises(TypeError):
        parse(None)


@pytest.mark.parametrize(
    'open_text,close_text', [('[', ']'), ('{"a":', '}'), ('{a:', '}'), ('[{"a":', '}]'), ('[/**/', ',]')]
)
def test_500_levels_nest_and_far_deeper_input_is_refused(open_text, close_text):
    levels = 500 // (open_text.count('[') + open_text.count('{'))
    for relaxed in (False, True):
        value = parse(open_text * levels + '1' + close_text * levels, relaxed)
        depth = 0
        while value != 1:
            value = value[0] if isinstance(value, list) else value['a']
            depth += 1
        assert depth == 500
        for more in (100_000, 200_000):
            deep = levels + more
            for text in (open_text * deep + '1' + close_text * deep, open_text * deep):
                with pytest.raises(Json5Error) as raised:
                    parse(text, relaxed)
                assert raised.value.message.startswith('expected at most 500 nested levels')
                assert raised.value.column == levels * len(open_text) + 1


def test_brackets_in_strings_and_side_by_side_are_no_levels():
    for text in ('[' + '"]",' * 600 + '1' + ',"["' * 600 + ']', '[' + '[[{"a":[1]}]],' * 5000 + '1]'):
        assert parse(text) == json.loads(text)


@pytest.mark.parametrize(
    'text', ['{"a": [1]}', "{a: ['b',], /**/}", '[' * 500 + ']' * 500, '[' * 5000, '{a/**/: 1}', '[1', '"\\x', '0x1']
)
def test_never_raises_recursion_error_from_deep_in_the_stack(text):
    """At each depth of the stack the same comes out, or at its very end Json5Error for want of room."""
    try:
        expected = parse(text)
    except Json5Error as error:
        expected = str(error)
    outcomes = []

    def descend():
        outcomes.append(None)
        mine = len(outcomes) - 1
        try:
            descend()
        except RecursionError:
            pass
        try:
            outcomes[mine] = parse(text)
        except Json5Error as error:
            outcomes[mine] = str(error)
        except RecursionError:
            outcomes[mine] = RecursionError

    descend()
    assert len(outcomes) > 300
    assert all(outcome == expected for outcome in outcomes[: len(outcomes) - 40])
    assert RecursionError not in outcomes[:-6]


def random_value(random_, depth=0):
    kind = random_.randrange(9 if depth < 5 else 6)
    if kind == 0:
        return random_.choice([None, True, False])
    if kind == 1:
        return random_.choice([0, 1, -1, random_.randrange(-(10**6), 10**6), random_.randrange(10**30)])
    if kind == 2:
        number = struct.unpack('d', random_.randbytes(8))[0]
        return number if math.isfinite(number) else random_.random()
    if kind < 6:
        return random_text(random_)
    if kind == 6:
        return [random_value(random_, depth + 1) for _ in range(random_.randrange(5))]
    return {random_text(random_): random_value(random_, depth + 1) for _ in range(random_.randrange(5))}


def random_text(random_):
    alphabet = 'ab_$01"\'\\/\n\r\t\x00\x0b\x7f\x85\xa0é\u0301\u2028\u2029\u200d\ufeff\U0001f600,:[]{} *`+-.eExu'
    return ''.join(random_.choices(alphabet, k=random_.randrange(9)))


def write(value, random_):
    """The value in random spellings of JSON5."""

    def gap():
        return random_.choice(
            [
                '',
                '',
                '',
                ' ',
                '\n',
                '\r\n',
                '\t',
                '\u2028',
                '\ufeff',
                '/**/',
                '/* , ] " */',
                "// ' }\n",
                '//\u2029',
                '/***/',
            ]
        )

    def string(text):
        quote = random_.choice('"\'')
        out = []
        for char in text:
            code = ord(char)
            if random_.random() < 0.1:
                out.append('\\' + random_.choice(['\n', '\r', '\r\n', '\u2028', '\u2029']))
            if char in '\n\r\\' or char == quote or random_.random() < 0.2:
                choices = (
                    [f'\\u{code:04x}']
                    if code < 65536
                    else [''.join(f'\\u{unit:04X}' for unit in struct.unpack('<2H', char.encode('utf-16-le')))]
                )
                if code < 256:
                    choices.append(f'\\x{code:02X}')
                if char in '\b\f\n\r\t\v':
                    choices.append('\\' + 'bfnrtv'['\b\f\n\r\t\v'.index(char)])
                elif char not in '0123456789xubfnrtv\r\n\u2028\u2029':
                    choices.append('\\' + char)
                out.append(random_.choice(choices))
            else:
                out.append(char)
        return quote + ''.join(out) + quote

    def items(texts, ends):
        body = ','.join(texts) + (random_.choice(['', ',' + gap()]) if texts else '')
        return ends[0] + gap() + body + ends[1]

    def one(value):
        if isinstance(value, str):
            text = string(value)
        elif isinstance(value, bool) or value is None:
            text = json.dumps(value)
        elif isinstance(value, int):
            text = random_.choice([str(value), ('-' if value < 0 else random_.choice(['', '+'])) + hex(abs(value))])
        elif isinstance(value, float):
            text = repr(value)
            if text.startswith('0.') and random_.random() < 0.5:
                text = text[1:]
            elif text.endswith('.0') and random_.random() < 0.5:
                text = text[:-1]
            text = (random_.choice(['', '+']) if value > 0 else '') + text
        elif isinstance(value, list):
            text = items([one(item) for item in value], '[]')
        else:
            text = items(
                [
                    gap() + (key if plain(key) and random_.random() < 0.7 else string(key)) + gap() + ':' + one(item)
                    for key, item in value.items()
                ],
                '{}',
            )
        return gap() + text + gap()

    def plain(key):
        return key.isidentifier() and key.isascii()

    return one(value)


def test_random_values_in_random_spellings():
    print('seed', SEED)
    random_ = random.Random(SEED)
    for _ in range(3000):
        value = random_value(random_)
        text = write(value, random_)
        for way, result in ways(text).items():
            assert same(result, value), (way, text)
        assert same(parse(text, relaxed=True), value), text
        assert same(Reader(text, relaxed=True).document(), value), text


def test_strict_json_reads_as_with_the_json_module():
    print('seed', SEED + 1)
    random_ = random.Random(SEED + 1)
    for _ in range(3000):
        value = random_value(random_)
        text = json.dumps(value, ensure_ascii=random_.random() < 0.5, indent=random_.choice([None, None, 1]))
        for way, result in ways(text).items():
            assert same(result, json.loads(text)), (way, text)


def test_mutations_raise_nothing_but_json5_error_and_all_ways_agree():
    """Random damage to JSON and to JSON5. What the json module accepts is accepted, with the same value."""
    print('seed', SEED + 2)
    random_ = random.Random(SEED + 2)
    pieces = [
        '"',
        "'",
        '\\',
        '\\u',
        '\\x4',
        '\\0',
        '1',
        '0',
        '.',
        '-',
        '+',
        'e',
        'E5',
        '0x',
        'Infinity',
        'NaN',
        'true',
        'null',
        'a',
        '$',
        ',',
        ':',
        '[',
        ']',
        '{',
        '}',
        '[,',
        ',]',
        '/',
        '//',
        '/*',
        '*/',
        '*',
        '\n',
        '\r',
        '\u2028',
        ' ',
        '\ufeff',
        '\x00',
        'é',
        '²',
        '·',
        '\u200d',
        '`',
        '\ud83d',
        'undefined',
        ',}',
        ',,',
    ]
    valid = faults = 0
    for _ in range(17000):
        value = random_value(random_, 3)
        text = write(value, random_) if random_.random() < 0.6 else json.dumps(value)
        for _ in range(random_.randrange(1, 4)):
            at = random_.randrange(len(text) + 1)
            cut = random_.choice([0, 0, 1, 1, 2, 5])
            text = text[:at] + (random_.choice(pieces) if random_.random() < 0.8 else '') + text[at + cut :]
        results = ways(text)
        assert len({repr(result) for result in results.values()}) == 1, (text, results)
        strict = results['parse']
        if isinstance(strict, tuple):
            faults += 1
            assert 1 <= strict[1] and 1 <= strict[2], text
        else:
            valid += 1
            assert same(parse(text, relaxed=True), strict), text
            assert same(Reader(text, relaxed=True).document(), strict), text
        try:
            by_json = json.loads(text)
        except ValueError:
            pass
        else:
            assert same(by_json, strict), text
        with contextlib.suppress(Json5Error):
            parse(text, relaxed=True)
    assert valid > 2000 and faults > 10000


def hostile(size):
    """Texts of about this size that make careless parsers slow or deep."""
    for piece in (
        '[',
        '{"a":',
        '{a:',
        '"',
        "'",
        '\\',
        '/',
        '/*',
        '//',
        '*',
        ' ',
        '\n',
        ',',
        ':',
        '-',
        '0',
        '1',
        '.',
        'e',
        'a',
        '$',
        'é',
        '\u2028',
        '[]',
        '{}',
        '\\"',
        "\\'",
        '"\\',
        "'\\",
        '/**/',
        '//\n',
        '/*/',
        '/* *',
        '[/*',
        '["',
        "['",
        '1 ',
        'a ',
        'a:',
        '[1,',
        '{a:1,',
        '${',
        '`',
        '\\u',
        '0x',
        '\ufeff',
        '\r\n',
    ):
        text = piece * (size // len(piece))
        yield text
        yield '[' + text
        yield '["' + text
        yield "{a: '" + text
        yield '/*' + text
    yield '[' + '1,' * (size // 2) + ']'
    yield '[' + "'a' , // b\n" * (size // 12) + ']'
    yield '[' + '[],' * (size // 3) + ']'
    yield "['" + '\\n' * (size // 2) + "']"
    yield '{' + 'a:1,' * (size // 4) + '}'
    yield '{a /**/ :' + ' ' * size + '1}'
    yield '[1' + ' ' * size
    yield '["' + '[' * size + '"]'
    yield '[' + '0x' + 'f' * size + ']'
    yield '[' + '1' * size + '.5,]'
    yield '{' + 'é' * size + ': 1}'
    yield '{a: ' + 'b ' * (size // 2) + '}'
    yield '{a: /' + '[' * size + '}'
    yield '{a: /' + 'b' * size + '}'
    yield '[' + '/a,' * (size // 3) + ']'
    yield '[' + '/[' * (size // 2) + ']'


def test_hostile_texts_cost_in_proportion_to_their_length():
    """Each takes some 0.03 seconds. A quadratic reader would need 5, which no noise of the machine looks like."""
    for text in hostile(40000):
        for relaxed in (False, True):
            started = time.process_time()
            with contextlib.suppress(Json5Error):
                parse(text, relaxed)
            assert time.process_time() - started < 2, text[:40]


def test_hostile_texts_of_a_megabyte_end():
    size = 1 << 20
    started = time.process_time()
    for piece in ('[', '\\', '"', "'", '/*', '/**/', '//\n', ' ', '"\\', '{"a":', "['a',", 'a:'):
        for start, relaxed in (('', False), ('["', True), ("{a:'", False)):
            with contextlib.suppress(Json5Error):
                parse(start + piece * (size // len(piece)), relaxed)
    assert time.process_time() - started < 100


def test_long_json5():
    text = '[' + "{a: 'b', /* c */ d: [+1, .5,],},\n" * 40000 + ']'
    assert parse(text) == [{'a': 'b', 'd': [1, 0.5]}] * 40000


def test_load_names_the_file(tmp_path):
    path = tmp_path / 'a.json5'
    path.write_text('{a: `b`}')
    assert load(path) == {'a': 'b'}
    with pytest.raises(Json5Error) as raised:
        load(path, relaxed=False)
    assert str(raised.value) == f"{path}:1:5: expected a value, found '`'"
    with pytest.raises(OSError):
        load(tmp_path / 'none')


def test_locate():
    text = "// c\n{\n  web: {\n    'listen': [1, 2,\n  3],\n    a: yes,\n  }, log: 1, /**/ log: {}\n}"
    for query, place in {
        '': (2, 1),
        'web': (3, 3),
        'web.listen': (4, 5),
        'web.listen[0]': (4, 16),
        'web.listen[2]': (5, 3),
        'web.listen[-1]': (5, 3),
        'web["a"]': (6, 5),
        'web.none': (3, 3),
        'web.none.more': (3, 3),
        'web.listen[9]': (4, 5),
        'none': (2, 1),
        'log': (7, 19),
        'web.a.b': (6, 5),
    }.items():
        assert locate(text, query) == locate(text.encode(), query) == place, query
    assert locate('  [1]', '', relaxed=False) == (1, 3)


def test_imports_nothing_heavy():
    import subprocess

    code = (
        'import sys, json, re, os; before = set(sys.modules); import ioto.json5\n'
        'print(*sorted(name for name in set(sys.modules) - before if not name.startswith("ioto")))'
    )
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert set(out.stdout.split()) <= {'errno', 'fcntl'}
