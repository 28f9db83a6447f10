"""What the readers share: the alphabet of JSON5, its numbers and names, and the error.

Standard: JSON5 1.0.0, which takes white space, line ends and names from ECMAScript 5.1 §7, by Unicode's categories.
`str` knows these well enough: letters by isalpha(), the rest by isidentifier(), less what Python adds to the
categories. So the module unicodedata, which a board may lack, is not needed.
"""

import re

DEPTH = 500                 # levels that nest: half of Python's stack, so that whoever walks the value has room
DIGITS = 4300               # a longer integer is Infinity, as it would be for a double; int() takes no more either

LINE_END = '\n\r\u2028\u2029'
SPACE = '\t\v\f \xa0\u1680\u2000-\u200a\u202f\u205f\u3000\ufeff'            # like LINE_END, for […] in a pattern
WHITE = LINE_END + SPACE
LITERALS = {'true': True, 'false': False, 'null': None}

# Other_ID_Start and Other_ID_Continue of Unicode: Python has them in identifiers, ECMAScript 5.1 has not
NOT_FIRST = '\u1885\u1886\u2118\u212e'
NOT_LATER = '\xb7\u0387\u1369\u136a\u136b\u136c\u136d\u136e\u136f\u1370\u1371\u19da\u2118\u212e\u30fb\uff65'

match_white = re.compile(f'[{WHITE}]*+').match
match_name = re.compile('[A-Za-z_$][A-Za-z0-9_$]*+').match
match_scalar = re.compile(
    r'[-+]?(?:0[xX][0-9a-fA-F]++|(?:(?:0|[1-9][0-9]*+)(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?|Infinity|NaN)'
    '|true|false|null').match


class Json5Error(ValueError):
    """A text, query or value that cannot be used.

    .message says what was expected; .line and .column count from 1, in characters (0 where there is no text to point
    into); .path is the file's name where one was read, else None.
    """

    def __init__(self, message, line=0, column=0, path=None):
        ValueError.__init__(self, message, line, column, path)
        self.message = message
        self.line = line
        self.column = column
        self.path = path

    def __str__(self):
        if self.path is not None:
            return f'{self.path}:{self.line}:{self.column}: {self.message}'
        return f'line {self.line}, column {self.column}: {self.message}' if self.line else self.message


def position(text, offset):
    """Return (line, column), from 1, of the character at `offset`; LF, CR, CRLF, U+2028 and U+2029 end a line."""
    line, start = 1, 0
    for end in re.compile(f'\r\n|[{LINE_END}]').finditer(text, 0, offset):
        line += 1
        start = end.end()
    return line, offset - start + 1


def is_name(text):
    """Tell whether `text` is an identifier of ECMAScript 5.1 §7.6, so that it may be a key without quotes."""
    found = match_name(text)
    if found and found.end() == len(text):
        return True
    return text != '' and all(in_name(char, index == 0) for index, char in enumerate(text))


def in_name(char, first):
    if char.isalpha() or char in '$_':
        return True
    if first:
        return char.isidentifier() and char not in NOT_FIRST
    return char in '\u200c\u200d' or f'a{char}'.isidentifier() and char not in NOT_LATER


def scalar(text):
    """Return the value of a JSON5 literal or number; integers are exact up to DIGITS digits and infinite beyond."""
    if text in LITERALS:
        return LITERALS[text]
    digits = text.lstrip('+-')
    try:
        if digits[:2] in ('0x', '0X'):
            significant = digits[2:].lstrip('0')
            value = int(significant or '0', 16) if len(significant) * 1.21 < DIGITS else float('inf')
        elif digits.isdigit():
            value = int(digits) if len(digits) <= DIGITS else float('inf')
        else:
            value = float(digits)
    except ValueError:                          # this process has a lower limit of digits
        value = float('inf')
    return -value if text[0] == '-' else value
