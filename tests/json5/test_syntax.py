"""The alphabet: names by the categories of Unicode, places by all the line ends, the error's form."""

import copy
import pickle
import re
import sys

import pytest

from ioto.json5 import Json5Error, parse
from ioto.json5.parser import WHITE, in_name, is_name, position


def test_names_follow_the_categories_of_ecmascript_5():
    unicodedata = pytest.importorskip('unicodedata')
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        category = unicodedata.category(char)
        first = category in ('Lu', 'Ll', 'Lt', 'Lm', 'Lo', 'Nl') or char in '$_'
        later = first or category in ('Mn', 'Mc', 'Nd', 'Pc') or char in '\u200c\u200d'
        assert in_name(char, True) == first, hex(code)
        assert in_name(char, False) == later, hex(code)


def test_white_space_is_that_of_the_standard():
    unicodedata = pytest.importorskip('unicodedata')
    expected = set('\t\v\f\n\r\u2028\u2029\ufeff') | {
        chr(code) for code in range(65536) if unicodedata.category(chr(code)) == 'Zs'
    }
    white = re.compile(f'[{WHITE}]')
    assert {chr(code) for code in range(sys.maxunicode + 1) if white.match(chr(code))} == expected


@pytest.mark.parametrize('char', ['\x1c', '\x85', '\u180e', '\u200b', '\x00'])
def test_other_blanks_are_not_white_space(char):
    for text in (f'{char}1', f'1{char}', f'[1,{char}]', f'[1{char}]', f'{{a{char}:1}}', f'{{}}{char}'):
        with pytest.raises(Json5Error):
            parse(text)


@pytest.mark.parametrize(
    'text,expected',
    [
        ('a', True),
        ('', False),
        ('$', True),
        ('1a', False),
        ('a1', True),
        ('é', True),
        ('aé', True),
        ('a\u0301', True),
        ('\u0301a', False),
        ('a-b', False),
        ('a b', False),
        ('变量', True),
        ('a\n', False),
        ('²', False),
    ],
)
def test_is_name(text, expected):
    assert is_name(text) == expected


def test_position_counts_every_kind_of_line_end_once():
    text = 'a\nb\rc\r\nd\u2028e\u2029\r\r\nf\n\rg'
    places = {char: position(text, text.index(char)) for char in 'abcdefg'}
    assert places == {'a': (1, 1), 'b': (2, 1), 'c': (3, 1), 'd': (4, 1), 'e': (5, 1), 'f': (8, 1), 'g': (10, 1)}
    assert position('abc', 3) == (1, 4) and position('abc\n', 4) == (2, 1) and position('\t\U0001f600x', 2) == (1, 3)


def test_the_error_is_a_value_error_that_can_be_copied():
    error = Json5Error('expected x', 3, 4)
    assert isinstance(error, ValueError)
    for other in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (other.message, other.line, other.column, other.path) == ('expected x', 3, 4, None)
        assert str(other) == 'line 3, column 4: expected x'
    assert str(Json5Error('expected x')) == 'expected x'
    error.path = 'a.json5'
    assert str(error) == 'a.json5:3:4: expected x'
