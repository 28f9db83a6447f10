"""Writing a value as text.

The C encoder of the json module writes strict JSON on one line; the other styles are made from its tokens by a regular
expression, so that no style needs a recursion of its own. What is written, `parse` reads back as the same value.
"""

import re
from json.encoder import JSONEncoder

from .syntax import Json5Error, is_name

STYLES = ('json', 'json5', 'pretty')
AWKWARD = '[\x80-\x9f\u2028\u2029\ufeff\ud800-\udfff]'          # invisible; lone surrogates have no UTF-8
STRING = r'"([^"\\]*+(?:\\.[^"\\]*+)*)"'

encode_json = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(',', ':')).encode
encode_json5 = JSONEncoder(ensure_ascii=False, separators=(', ', ': ')).encode
encode_pretty = JSONEncoder(ensure_ascii=False, separators=(',', ': ')).encode


def render(value, style='json'):
    """Return the text of a value that consists of dict, list, tuple, str, int, float, bool and None.

    json    strict JSON on one line, as short as it gets; what it cannot hold, Infinity and NaN, is an error
    json5   JSON5 on one line for people: keys bare where they may be, single quotes
    pretty  JSON on indented lines, where Infinity and NaN, if there are any, are JSON5's

    Keys that are numbers, bool or None become strings, as with json.dumps. Raises Json5Error for a value that holds
    itself or nests deeper than the stack allows, TypeError for other types.
    """
    if style not in STYLES:
        raise Json5Error(f'expected the style {", ".join(STYLES)}, found {style!r}')
    try:
        text = (encode_json if style == 'json' else encode_json5 if style == 'json5' else encode_pretty)(value)
    except (ValueError, RecursionError) as error:
        raise Json5Error(f'expected a value that JSON can hold: {error}') from None
    if not text.isascii():
        text = re.sub(AWKWARD, lambda found: f'\\u{ord(found[0]):04x}', text)
    if style == 'json5':
        return re.sub(STRING + '(:?)', _bare, text)
    return _indent(text) if style == 'pretty' else text


def _bare(found):
    body, colon = found.groups()
    if colon and is_name(body):
        return body + colon
    return found[0] if "'" in body else "'" + body.replace('\\"', '"') + "'" + colon


def _indent(text):
    line = '\n'

    def replace(found):
        nonlocal line
        mark = found[0]
        if mark == '{' or mark == '[':
            line += '    '
            return mark + line
        if mark == ',':
            return mark + line
        if mark == '}' or mark == ']':
            line = line[:-4]
            return line + mark
        return mark

    return re.sub(STRING + r'|\{\}|\[\]|[][{},]', replace, text)
