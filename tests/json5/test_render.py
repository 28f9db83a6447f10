"""Writing: three styles, all of which read back as the same value."""

import json
import math
import random
import subprocess
import sys

import pytest

from ioto.json5 import Json5Error, parse, render, to_json

VALUE = {'a': [1, 2.5, True, None, 'x'], 'b-c': {}, 'd': [], "it's": "it's", 'q"': 'q"\\"', 'é': '\u2028\ud800\x00\n'}


def test_json():
    assert render(VALUE) == (
        '{"a":[1,2.5,true,null,"x"],"b-c":{},"d":[],"it\'s":"it\'s",'
        '"q\\"":"q\\"\\\\\\"","é":"\\u2028\\ud800\\u0000\\n"}'
    )


def test_to_json_is_the_default_style_and_always_has_utf_8():
    assert to_json(VALUE) == render(VALUE) and json.loads(to_json(VALUE).encode()) == VALUE
    assert [to_json(value) for value in ('a', 1, -0.5, None, True, [], {}, '\udfff')] == [
        '"a"', '1', '-0.5', 'null', 'true', '[]', '{}', '"\\udfff"']


def test_does_without_the_c_encoder():
    code = (
        'import json.encoder; json.encoder.c_make_encoder = None\n'
        'from ioto.json5 import Json5Error, to_json\n'
        'loop = []; loop.append(loop)\n'
        'try: to_json(loop)\n'
        'except Json5Error: print(ascii(to_json({1: ["\u00e9", 1.5, None, "\\ud800"]})))'
    )
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert out.stdout == ascii('{"1":["é",1.5,null,"\\ud800"]}') + '\n'


def test_json5():
    assert render(VALUE, 'json5') == (
        "{a: [1, 2.5, true, null, 'x'], 'b-c': {}, d: [], "
        '"it\'s": "it\'s", \'q"\': \'q"\\\\"\', é: \'\\u2028\\ud800\\u0000\\n\'}'
    )


def test_pretty():
    assert (
        render({'a': [1, {'b': '[{,:'}], 'c': {}, 'd': [[], [2]]}, 'pretty')
        == '''{
    "a": [
        1,
        {
            "b": "[{,:"
        }
    ],
    "c": {},
    "d": [
        [],
        [
            2
        ]
    ]
}'''
    )


@pytest.mark.parametrize('style', ['json', 'json5', 'pretty'])
def test_what_is_written_reads_back(style):
    seed = 7
    print('seed', seed)
    random_ = random.Random(seed)
    alphabet = 'ab$_1 \'"\\/\n\r\t\x00\x7f\x85é\u2028\u2029\ufeff\ud83d\U0001f600{}[],:'

    def text():
        return ''.join(random_.choices(alphabet, k=random_.randrange(8)))

    def one(depth):
        kind = random_.randrange(4 if depth == 4 else 6)
        if kind == 5:
            return {text(): one(depth + 1) for _ in range(random_.randrange(4))}
        if kind == 4:
            return [one(depth + 1) for _ in range(random_.randrange(4))]
        return text() if kind else random_.choice([None, True, False, 0, -1, 10**40, 0.1, -1e300, -0.0])

    for _ in range(2000):
        value = one(0)
        written = render(value, style)
        assert repr(parse(written)) == repr(value), written
        assert written.encode()
        if style != 'json5':
            assert repr(json.loads(written)) == repr(value)
        if style != 'pretty':
            assert '\n' not in written


def test_other_keys_and_tuples_are_as_in_the_json_module():
    for value in ({1: (1, 2), None: 0, 1.5: ''}, {True: {}, False: ()}, ()):
        assert json.loads(render(value)) == json.loads(render(value, 'pretty')) == json.loads(json.dumps(value))


def test_infinity_and_nan_are_no_json():
    for value in (math.inf, -math.inf, math.nan, [math.inf]):
        with pytest.raises(Json5Error):
            render(value)
    for style in ('json5', 'pretty'):
        value = parse(render([math.inf, -math.inf, math.nan], style))
        assert value[:2] == [math.inf, -math.inf] and math.isnan(value[2])


def test_refuses():
    loop = []
    loop.append(loop)
    deep = []
    for _ in range(100000):
        deep = [deep]
    for style in ('json', 'json5', 'pretty'):
        for value in (loop, deep):
            with pytest.raises(Json5Error):
                render(value, style)
        with pytest.raises(TypeError):
            render({'a': b''}, style)
    with pytest.raises(Json5Error):
        render(1, 'xml')


@pytest.mark.parametrize('style', ['json', 'json5', 'pretty'])
def test_what_parse_returns_can_be_written(style):
    text = '[{"a":' * 250 + '[1]'[1:2] + '}]' * 250
    assert parse(render(parse(text), style)) == parse(text)
