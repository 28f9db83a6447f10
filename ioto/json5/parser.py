"""Reading JSON5.

The json module's scanner, written in C, reads strict JSON. The Reader takes the rest, item by item: one expression
matches comma, key and value at once; where it stops short, single steps know rare syntax and name each fault. Nesting
is kept in a list, and patterns repeat single characters, or groups up to a limit: no text costs stack or time out of
proportion to its length.
"""

import re
from json.decoder import JSONDecoder
from os.path import commonprefix

LINE_END = '\n\r\u2028\u2029'
SPACE = '\t\v\f \xa0\u1680\u202f\u205f\u3000\ufeff' + ''.join(map(chr, range(0x2000, 0x200b)))
WHITE = LINE_END + SPACE
# By `str`, names are those of ECMAScript 5.1 §7.6 but for these; unicodedata is not on every board
NOT_FIRST = '\u1885\u1886'
NOT_IN_NAMES = '\xb7\u0387\u19da\u2118\u212e\u30fb\uff65' + ''.join(map(chr, range(0x1369, 0x1372)))

DEPTH = 500                     # levels that nest where the C scanner, which may go deeper, did not read the text
TOO_LONG = 10 ** 4300           # and thus Infinity; int() reads no more digits
UNDEFINED = object()
LITERALS = {'true': True, 'false': False, 'null': None}
OPEN = {'{': dict, '[': list}
CLOSE = {dict: '}', list: ']'}
ESCAPES = {'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v', '0': '\0', **dict.fromkeys(LINE_END, '')}

GAP = rf'[{WHITE}]*+(?:/(?:/[^{LINE_END}]*+|\*[^*]*+\*++/)[{WHITE}]*+){{0,99}}'
NUMBER = r'[-+]?(?:0[xX][0-9a-fA-F]++|(?=\.?[0-9])(?:0|[1-9][0-9]*+)?(?:\.[0-9]*+)?(?:[eE][-+]?[0-9]++)?|Infinity|NaN)'
SCALAR = NUMBER + '|true|false|null'
STRING = r'''"[^"\\\n\r]*+"|'[^'\\\n\r]*+\''''
VALUE = rf'({STRING}|(?:{SCALAR})(?={GAP}(?:[]}},]|\Z))|[{{\[])?'
REGEX = (rf'/(?:[^][/\\{{}},{LINE_END}]|\\[^{LINE_END}]|\[(?:[^]\\{LINE_END}]|\\[^{LINE_END}]){{0,999}}\]'
         rf'|\{{[0-9,]*+\}}){{1,999}}/[A-Za-z]*+(?=[]}},{WHITE}]|\Z)')

scan = JSONDecoder().scan_once
match_gap = re.compile(GAP).match
match_item = {close: re.compile(rf'{GAP}(,?){GAP}(?:(\{close})|{key}{VALUE})?').match for close, key in (
    (']', '()'), ('}', rf'([A-Za-z_$][A-Za-z0-9_$]*+|{STRING})[{WHITE}]*+:{GAP}'))}
plain = re.compile(f'({SCALAR})|{REGEX}')
match_digits = re.compile(NUMBER.replace('++', '*+')[:-1] + r'|\.)?').match         # a number, or how one begins
match_text = {quote: re.compile(rf'[^{quote}\\\n\r]*+').match for quote in '"\'`'}
find_bare_end = re.compile(
    rf'''\$\{{[^{{}}{LINE_END}]*+\}}|([]}}[,"'`{LINE_END}]|\$?\{{|:(?=[{WHITE}]|\Z)|(?<=[{SPACE}])/[/*]|\Z)''').finditer


class Json5Error(ValueError):
    """A text, query or value that cannot be used: .message, .line and .column (from 1, in characters; or 0), .path."""

    def __init__(self, message, line=0, column=0, path=None):
        ValueError.__init__(self, message, line, column, path)
        self.message, self.line, self.column, self.path = message, line, column, path

    def __str__(self):
        place = f'{self.path}:{self.line}:{self.column}: ' if self.path else f'line {self.line}, column {self.column}: '
        return place * (self.line > 0) + self.message


def parse(text, relaxed=False):
    """Return the value of a JSON5 text, which is str or UTF-8; at least 500 levels nest. Raises Json5Error.

    With `relaxed`, strings may also stand in `backticks`, span lines, or have no quotes, such as https://host:80/x or
    ${home}/*.log: up to one of ,[]{}, a quote, a line end, a colon before white space, or a comment after white space.
    So may a /regular expression/, with commas only in […] and {…}. A property that is undefined is left out.
    """
    if not isinstance(text, str):
        text = decode(text)
    try:
        value, end = scan(text, 0 if text[:1] in '{[' else match_gap(text).end())
        if end == len(text) or match_gap(text, end).end() == len(text):
            return value
    except (ValueError, StopIteration, RecursionError):
        pass
    try:
        return Reader(text, relaxed).document()
    except RecursionError:
        raise Json5Error('expected room on the stack to parse', 1, 1) from None


def load(path, relaxed=True):
    """Return the value of the file. Raises OSError, or Json5Error with .path set."""
    with open(path, 'rb') as file:
        data = file.read()
    try:
        return parse(data, relaxed)
    except Json5Error as error:
        error.path = str(path)
        raise


def decode(data):
    try:
        return str(data, 'utf-8')
    except UnicodeDecodeError as error:
        before, byte = str(data[:error.start], 'utf-8'), data[error.start]
    raise Json5Error(f'expected UTF-8, found the byte 0x{byte:02x}', *position(before, len(before)))


def scalar(text):
    if text in LITERALS:
        return LITERALS[text]
    digits = text.lstrip('+-')
    try:
        value = int(digits, 0)
        value = value if value < TOO_LONG else float('inf')
    except ValueError:                          # no integer, or too long
        value = float(digits)
    return -value if text[0] == '-' else value


def position(text, offset):
    """Return (line, column), from 1, of the character at `offset`."""
    line, start = 1, 0
    for end in re.finditer(f'\r\n|[{LINE_END}]', text[:offset]):
        line, start = line + 1, end.end()
    return line, offset - start + 1


def is_name(text):
    """Tell whether the text may be a key without quotes."""
    return text != '' and all(in_name(char, index == 0) for index, char in enumerate(text))


def in_name(char, first):
    if char.isalpha() or char in '$_' or char in '\u200c\u200d' and not first:
        return True
    return (char if first else 'a' + char).isidentifier() and char not in NOT_IN_NAMES + NOT_FIRST * first


class Reader:
    """Reads one text; `places`, if a dictionary, gets (offset, container) by (id of the container, key or index)."""

    def __init__(self, text, relaxed=False, places=None):
        self.text, self.relaxed, self.places = text, relaxed, places
        self.quotes = tuple('"\'`' if relaxed else '"\'')

    def document(self):
        text = self.text
        stack = []                              # the containers around this one, with what closes each
        box = container = []                    # the document is read as the only item of an array
        close, comma, at = None, '', 0
        while stack or not box:
            found = match_item[close or ']'](text, at)
            mark, end, key, token = found.groups()
            if end and stack and (comma or not mark):
                at = found.end()
            elif mark == comma and (key or token) and self.places is None:
                at = found.end()
                if key[:1] in self.quotes:
                    key = key[1:-1]
            else:
                key, at = self.key(container, close, comma, at)
                token = None
            if key is None:
                container, close = stack.pop()
                comma = ','
                continue
            if token:
                char = token[0]
                value = token[1:-1] if char in self.quotes else OPEN[char]() if char in OPEN else scalar(token)
            else:
                value, at = self.value(at)
            if close != '}':
                container.append(None if value is UNDEFINED else value)
            elif value is UNDEFINED:
                container.pop(key, None)
            else:
                container[key] = value
            comma = ','
            if type(value) in CLOSE:
                if len(stack) == DEPTH:
                    raise self.fault(f'at most {DEPTH} nested levels', at - 1)
                stack.append((container, close))
                container, close, comma = value, CLOSE[type(value)], ''
        at = self.skip(at)
        if at < len(text):
            raise self.fault('the end of the input', at)
        return box[0]

    # The methods that read return a value and the offset past it.

    def key(self, container, close, comma, at):
        """Step to an item; the key is None at the container's end."""
        at = self.skip(at)
        if comma and self.text[at:at + 1] != close:
            at = self.skip(self.expect(',', at, f"',' or '{close}'"))
        if self.text[at:at + 1] == close:
            return None, at + 1
        key, start = len(container), at
        if close == '}':
            key, at = self.string(at) if self.text[at:at + 1] in self.quotes else self.name(at)
            at = self.expect(':', self.skip(at))
        if self.places is not None:
            self.places[id(container), key] = start, container
        return key, at

    def value(self, at):
        text = self.text
        at = self.skip(at)
        char = text[at:at + 1]
        if char in OPEN:
            return OPEN[char](), at + 1
        if char in self.quotes:
            return self.string(at)
        found = plain.match(text, at)
        if self.relaxed:
            after = self.skip(found.end()) if found else at
            if not found or text[after:after + 1] not in (',', ']', '}', ''):
                return self.bare(at)
        elif not found or match_digits(text, at).end() > found.end():
            raise self.value_fault(at)
        return scalar(found[0]) if found[1] else found[0], found.end()

    def bare(self, at):
        for found in find_bare_end(self.text, at):
            if found[1] is not None:
                break
        word = self.text[at:found.start()].rstrip(SPACE)
        if not word:
            raise self.fault('a value', at)
        number = plain.fullmatch(word)
        value = UNDEFINED if word == 'undefined' else scalar(word) if number and number[1] else word
        return value, found.start()

    def string(self, at):
        text = self.text
        quote = text[at]
        parts = []
        at += 1
        while True:
            found = match_text[quote](text, at)
            parts.append(found[0])
            at = found.end()
            if text.startswith('\\', at):
                part, at = self.escape(at + 1)
                parts.append(part)
            elif self.relaxed and text[at:at + 1] in ('\n', '\r'):
                parts.append('\n')
                at += 1 + text.startswith('\r\n', at)
            else:
                return ''.join(parts), self.expect(quote, at, f'the closing {quote}')

    def escape(self, at):
        text = self.text
        char = text[at:at + 1]
        if char in ('x', 'u'):
            code, at = self.hexadecimal(at + 1, 2 if char == 'x' else 4)
            low = 0xd800 <= code < 0xdc00 and re.match(r'\\u([dD][c-fC-F][0-9a-fA-F]{2})', text[at:at + 6])
            if low:
                code, at = 0x10000 + (code - 0xd800 << 10) + int(low[1], 16) - 0xdc00, at + 6
            return chr(code), at
        if char == '' or char in '123456789':
            raise self.fault('an escape', at)
        if char == '0' and text[at + 1:at + 2] in tuple('0123456789'):
            raise self.fault('no digit after \\0', at + 1)
        return ESCAPES.get(char, char), at + 1 + text.startswith('\r\n', at)

    def hexadecimal(self, at, count):
        digits = re.match('[0-9a-fA-F]*', self.text[at:at + count])[0]
        if len(digits) < count:
            raise self.fault('a hexadecimal digit', at + len(digits))
        return int(digits, 16), at + count

    def name(self, at):
        name = ''
        while char := self.text[at:at + 1]:
            end = at + 1
            if char == '\\':
                code, end = self.hexadecimal(self.expect('u', end), 4)
                char = chr(code)
            if not in_name(char, not name):
                if end > at + 1:
                    raise self.fault('the escape of a letter or digit', at)
                break
            name += char
            at = end
        if not name:
            raise self.fault("a property name or '}'", at)
        return name, at

    def skip(self, at):
        """Return the offset past white space and comments."""
        text = self.text
        while True:
            at = match_gap(text, at).end()
            if text.startswith('/*', at):
                at = text.find('*/', at + 2) + 2
                if at < 2:
                    raise self.fault("'*/'", len(text))
            elif not text.startswith('//', at):
                if text.startswith('/', at) and not self.relaxed:
                    raise self.fault("'/' or '*'", at + 1)
                return at

    def expect(self, char, at, name=None):
        if not self.text.startswith(char, at):
            raise self.fault(name or f"'{char}'", at)
        return at + 1

    def fault(self, expected, at):
        char = self.text[at:at + 1]
        found = 'the end of the input' if not char else 'the end of the line' if char in LINE_END else repr(char)
        return Json5Error(f'expected {expected}, found {found}', *position(self.text, at))

    def value_fault(self, at):
        text = self.text
        end = match_digits(text, at).end()
        signed = text[at:end] in ('+', '-')
        if end > at and not signed:
            return self.fault('a hexadecimal digit' if text[end - 1] in 'xX' else 'a digit', end)
        for word in ('Infinity', 'NaN') if signed else ('Infinity', 'NaN', *LITERALS):
            shared = len(commonprefix((word, text[end:end + 8])))
            if shared:
                return self.fault(f"'{word}' or a string in quotes", end + shared)
        return self.fault('a number' if signed else 'a value', end)
