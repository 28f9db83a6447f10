"""Reading JSON5: parse, load and locate.

Three ways, tried in the order of their speed, lead to the same value:

1. The scanner of the json module, written in C, reads strict JSON, all of which is JSON5.
2. One compiled regular expression cuts JSON5 into tokens, skipping comments; a dictionary turns each token into its
   JSON (most are found there, others are computed once a text), and the C scanner reads what comes out.
3. The exact reader (reader.py) takes everything else and names every error.

The first two refuse what they are not sure of, so what a text means, and where its error is, never depends on the way.
Standard: JSON5 1.0.0 (https://spec.json5.org), with the values that json.loads gives.
"""

import re
from json.decoder import JSONDecoder
from json.encoder import encode_basestring

from .syntax import DEPTH, LINE_END, WHITE, Json5Error, is_name, match_scalar, match_white, position, scalar

REWRITE_LIMIT = 1 << 20         # characters: beyond, the tokens of one text would take too much memory at once

scan = JSONDecoder().scan_once
scan_rewritten = JSONDecoder(strict=False).scan_once        # a control character may stand in a JSON5 string
find_tokens = re.compile(rf'''
    [{WHITE}]*+
    (?: //[^{LINE_END}]*+ | /\*[^*]*+\*++/ | /\*[\s\S]*?\*/ | \Z
    | ( [][{{}}:,] | [\w$]++[{WHITE}]*+: | '[^'\\\n\r]*+(?:\\[\s\S][^'\\\n\r]*+){{0,999}}'
      | "[^"\\\n\r]*+(?:\\[\s\S][^"\\\n\r]*+){{0,999}}" | [-+.\w$]++ | [\s\S]++ ) )''', re.VERBOSE).findall
NOT_MARKS = bytes({*range(256)} - {*b'[]{}"'})


class Tokens(dict):
    """The JSON of each token of a text. Words are kept apart by a space, and a comma carries a line end as its mark."""

    def __missing__(self, token):
        last = token[-1]
        if last == ':':
            name = token[:-1].rstrip()
            if not (name.isidentifier() and name.isascii() or is_name(name)):
                raise ValueError
            text = f'"{name}":'
        elif last == "'" or last == '"':
            if '\\' in token:
                from .reader import Reader
                text = encode_basestring(Reader(token).string(0)[0])
            elif last == '"':
                text = token
            elif '"' in token:
                text = '"' + token[1:-1].replace('"', '\\"') + '"'
            else:
                text = f'"{token[1:-1]}"'
        else:
            found = match_scalar(token)
            if not found or found.end() < len(token):
                raise ValueError
            text = repr(scalar(token)).replace('inf', 'Infinity').replace('nan', 'NaN') + ' '
        self[token] = text
        return text


KNOWN = {'': '', '{': '{', '}': '}', '[': '[', ']': ']', ':': ':', ',': ',\n',
         'true': 'true ', 'false': 'false ', 'null': 'null '}


def parse(text, relaxed=False):
    """Return the value of a JSON5 text: dict, list, str, int, float, True, False or None.

    text     str, or bytes in UTF-8; a byte order mark is white space
    relaxed  accept configuration files, too. All of JSON5 means what it means without; besides:
             - strings may stand in `backticks`, and strings of any quotes may span lines (each line end reads as LF);
             - a value that is no number or literal may be a string without quotes. It ends before `,` `[` `]` `{` `}`,
               a quote, a line end, a colon that white space follows, or white space before a comment, and is trimmed;
               `${…}` belongs to it, and a backslash is a backslash: 10 secs, https://host:80/x, /var/log/*.log
             - undefined leaves its property out, and is None in an array or alone;
             - a /regular expression/flags is a string of just that text; a comma in it stands in […] or {…}.

    Of equal keys the last wins. Integers are exact up to 4300 digits, infinite beyond. Escapes of lone surrogates are
    kept, as json.loads does. Raises Json5Error, also where more than 500 levels nest.
    """
    if not isinstance(text, str):
        text = _decode(text)
    try:
        value, end = scan(text, 0 if text[:1] in '{[' else match_white(text).end())
        if end == len(text) or match_white(text, end).end() == len(text):
            if end <= 2 * DEPTH or not _too_deep(text):
                return value
    except (ValueError, StopIteration, RecursionError):
        pass
    try:
        if len(text) <= REWRITE_LIMIT:
            return _parse_rewritten(text)
    except (ValueError, StopIteration, RecursionError):
        pass
    try:
        from .reader import Reader
        return Reader(text, relaxed).document()
    except RecursionError:
        pass
    raise Json5Error('expected room on the stack to parse', 1, 1)


def load(path, relaxed=True):
    """Return the value of the file. Raises OSError, or Json5Error with .path set."""
    with open(path, 'rb') as file:
        data = file.read()
    try:
        return parse(data, relaxed)
    except Json5Error as error:
        error.path = str(path)
        raise


def locate(text, query, relaxed=True):
    """Return (line, column) of the key of the property, or of the array's item, that a query path names.

    If it is not there, the place of the nearest one around it that is. Reads the whole text anew: for messages only.
    """
    from .query import find, split
    from .reader import Reader

    if not isinstance(text, str):
        text = _decode(text)
    places = {}
    reader = Reader(text, relaxed, places)
    value = reader.document()
    at = reader.skip(0)
    for step in split(query):
        step, present = find(value, step)
        if not present:
            break
        at = places[id(value), step]
        value = value[step]
    return position(text, at)


def _decode(data):
    try:
        return str(data, 'utf-8')
    except UnicodeDecodeError as error:
        before = str(error.object[:error.start], 'utf-8')
        message = f'expected UTF-8, found the byte 0x{error.object[error.start]:02x}'
    raise Json5Error(message, *position(before, len(before)))


def _parse_rewritten(text):
    """Parse by way of JSON. Raises ValueError or StopIteration for all that is not surely JSON5."""
    tokens = find_tokens(text)
    while tokens and not tokens[-1]:            # comments and the end of the input
        tokens.pop()
    if not tokens or tokens[-1] not in '}]':    # the pattern stopped short: its last alternative took the rest
        raise ValueError
    text = ''.join(map(Tokens(KNOWN).__getitem__, tokens))
    text = text.replace(',\n}', '\n}').replace(',\n]', '\n]')
    if '{\n' in text or '[\n' in text:          # a comma without an item before it
        raise ValueError
    value, end = scan_rewritten(text, 0)
    if end < len(text) or end > 2 * DEPTH and _too_deep(text):
        raise ValueError
    return value


def _too_deep(text):
    """Tell whether more than DEPTH levels nest in a JSON text that is known to be valid.

    Of the text only brackets and quotes are kept. If all quotes come in pairs side by side, each bracket has an even
    number of them before it, so none is in a string. Else the pairs go, which changes that for no bracket, and then
    what is still between quotes.
    """
    if len(text) < 10000 and text.count('[') + text.count('{') <= DEPTH:
        return False
    if '\\' in text:
        text = text.replace('\\\\', '').replace('\\"', '')
    marks = text.encode('utf-8', 'surrogatepass').translate(None, NOT_MARKS)
    brackets = marks.translate(None, b'"')
    if 2 * marks.count(b'""') < len(marks) - len(brackets):
        brackets = re.sub(b'"[^"]*+"', b'', marks.replace(b'""', b''))
    rest = brackets
    for _ in range(9):                          # what is left of most texts when up to 18 levels are taken off inside
        rest = rest.replace(b'{}', b'').replace(b'[]', b'')
    if len(rest) <= 2 * (DEPTH - 18):
        return False
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b'[{' else -1
        if depth > DEPTH:
            return True
    return False
