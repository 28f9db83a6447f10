"""The exact JSON5 reader: every production of the standard, one character of look-ahead, errors to the character.

It takes what `parser.parse` cannot leave to the C parser: a text with an error, which it names by line, column and
what was expected; rare syntax, such as a comment between a property's name and its colon; and the relaxed syntax of
configuration files. Nesting is kept in a list rather than on Python's stack, and nearly every regular expression
repeats single characters only, so that a hostile text costs time in proportion to its length and little memory beyond
its value.

A fault is reported at the first character that no valid text could have there, as the reference implementation does.
"""

import re

from .syntax import (DEPTH, LINE_END, SPACE, WHITE, Json5Error, in_name, match_name, match_scalar, match_white,
                     position, scalar)

ESCAPES = {'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v'}
UNDEFINED = object()

match_comment = re.compile(rf'//[^{LINE_END}]*+|/\*[^*]*+\*++/|/\*[\s\S]*?\*/').match
match_number_start = re.compile(
    r'[-+]?(?:0[xX][0-9a-fA-F]*+|(?:(?:0|[1-9][0-9]*+)(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]*+)?|\.)?').match
match_hex = re.compile('[0-9a-fA-F]*+').match
match_low_surrogate = re.compile(r'\\u([dD][c-fC-F][0-9a-fA-F]{2})').match
match_text = re.compile(r'[^"\'`\\\n\r]*+').match
match_bare = re.compile(
    rf'''[^][,{{}}"'`:${WHITE}]++|:(?![{WHITE}]|\Z)|\$\{{[^{{}}{LINE_END}]*+\}}|\$(?!\{{)'''
    rf'|([{SPACE}]++)(?!/[/*])').match
match_regex = re.compile(
    rf'/(?:[^][/\\{{}},{LINE_END}]|\\[^{LINE_END}]|\[(?:[^]\\{LINE_END}]|\\[^{LINE_END}]){{0,999}}\]|\{{[0-9,]*+\}})'
    rf'{{1,999}}/[A-Za-z]*+(?=[],}}{WHITE}]|\Z)').match


class Reader:
    """Reads one text; with `relaxed`, also the syntax of configuration files (see parser.parse).

    `places`, when a dictionary, receives the offset of each property's key and each array's item, by (id of the
    container, key or index); `containers` keeps the containers alive, so that no id comes twice.
    """

    __slots__ = ('text', 'relaxed', 'places', 'containers')

    def __init__(self, text, relaxed=False, places=None):
        self.text = text
        self.relaxed = relaxed
        self.places = places
        self.containers = []

    def fault(self, expected, at):
        """Return the error that something else than `expected` is at the offset."""
        char = self.text[at:at + 1]
        found = 'the end of the input' if not char else 'the end of the line' if char in LINE_END else repr(char)
        return Json5Error(f'expected {expected}, found {found}', *position(self.text, at))

    def document(self):
        """Return the value of the whole text; raises Json5Error."""
        text = self.text
        stack = []                              # the containers around the current one, each with its key there
        container = key = None
        at = self.skip(0)
        while True:
            char = text[at:at + 1]
            if char == '{' or char == '[':
                if len(stack) == DEPTH:
                    raise self.fault(f'at most {DEPTH} nested levels', at)
                stack.append((container, key))
                container = {} if char == '{' else []
                if self.places is not None:
                    self.containers.append(container)
                key, at = self.item(container, self.skip(at + 1), True)
            else:
                value, at = self.scalar(at)
                if container is None:
                    return self.end(value, at)
                self.attach(container, key, value)
                key, at = self.item(container, self.skip(at), False)
            while key is None:                  # the container has ended and is a value of the one around it
                value = container
                container, key = stack.pop()
                if container is None:
                    return self.end(value, at)
                self.attach(container, key, value)
                key, at = self.item(container, self.skip(at), False)

    def end(self, value, at):
        at = self.skip(at)
        if at < len(self.text):
            raise self.fault('the end of the input', at)
        return None if value is UNDEFINED else value

    def attach(self, container, key, value):
        if type(container) is list:
            container.append(None if value is UNDEFINED else value)
        elif value is UNDEFINED:
            container.pop(key, None)
        else:
            container[key] = value

    def item(self, container, at, first):
        """Step to an item: return its key or index and its value's offset, or None and the offset past the end."""
        text = self.text
        named = type(container) is dict
        close = '}' if named else ']'
        if not first and text[at:at + 1] == ',':
            at = self.skip(at + 1)
        elif not first and text[at:at + 1] != close:
            raise self.fault(f"',' or '{close}'", at)
        if text[at:at + 1] == close:
            return None, at + 1
        key = len(container)
        start = at
        if named:
            key, at = self.string(at) if self.quoted(at) else self.name(at)
            at = self.skip(at)
            if text[at:at + 1] != ':':
                raise self.fault("':'", at)
            at = self.skip(at + 1)
        if self.places is not None:
            self.places[id(container), key] = start
        return key, at

    def skip(self, at):
        """Return the offset past white space and comments."""
        text = self.text
        at = match_white(text, at).end()
        while text[at:at + 1] == '/':
            found = match_comment(text, at)
            if not found:
                if text[at + 1:at + 2] == '*':
                    raise self.fault("'*/'", len(text))
                if self.relaxed:
                    break
                raise self.fault("'/' or '*'", at + 1)
            at = match_white(text, found.end()).end()
        return at

    def scalar(self, at):
        """Return the value and the offset past a string, number or literal."""
        if self.quoted(at):
            return self.string(at)
        text = self.text
        found = match_scalar(text, at)
        if self.relaxed:
            after = self.skip(found.end()) if found else at
            if not found or text[after:after + 1] not in (',', ']', '}', ''):
                return self.bare(at)
        elif not found or match_number_start(text, at).end() > found.end():
            raise self.scalar_fault(at)
        return scalar(found[0]), found.end()

    def scalar_fault(self, at):
        text = self.text
        end = match_number_start(text, at).end()
        signed = end == at + 1 and text[at] in '+-'
        if end > at and not signed:
            return self.fault('a hexadecimal digit' if text[end - 1] in 'xX' else 'a digit', end)
        for word in ('Infinity', 'NaN') if signed else ('true', 'false', 'null', 'Infinity', 'NaN'):
            if text.startswith(word[0], end):
                rest = word
                while text.startswith(rest[0], end):
                    rest, end = rest[1:], end + 1
                return self.fault(f"'{word}'" if signed else f"'{word}' or a string in quotes", end)
        return self.fault('a number' if signed else 'a value', end)

    def bare(self, at):
        """Read what relaxed texts have without quotes: a regular expression, a literal before a line end, a string."""
        text = self.text
        found = match_regex(text, at)
        if found:
            after = self.skip(found.end())
            if text[after:after + 1] in (',', ']', '}', ''):
                return found[0], found.end()
        stop = end = at
        while found := match_bare(text, end):
            end = found.end()
            if not found.lastindex:             # white space belongs to the string only if more of it follows
                stop = end
        word = text[at:stop]
        if not word:
            raise self.fault('a value', at)
        found = match_scalar(word)
        if found and found.end() == len(word):
            return scalar(word), stop
        return UNDEFINED if word == 'undefined' else word, stop

    def quoted(self, at):
        char = self.text[at:at + 1]
        return char == '"' or char == "'" or char == '`' and self.relaxed

    def string(self, at):
        """Return the value and the offset past the string whose quote is at `at`."""
        text = self.text
        quote = text[at]
        parts = []
        at += 1
        while True:
            found = match_text(text, at)
            parts.append(found[0])
            at = found.end()
            char = text[at:at + 1]
            if char == quote:
                return ''.join(parts), at + 1
            if char == '\\':
                part, at = self.escape(at + 1)
                parts.append(part)
            elif char and char in '"\'`':
                parts.append(char)
                at += 1
            elif char and self.relaxed:         # as in a template literal, a line end is LF however it is written
                parts.append('\n')
                at += 2 if text.startswith('\r\n', at) else 1
            else:
                raise self.fault(f'the closing {quote}', at)

    def escape(self, at):
        """Return the characters that an escape stands for and the offset past it; `at` is past its backslash."""
        text = self.text
        char = text[at:at + 1]
        if char == 'u':
            code, at = self.hexadecimal(at + 1, 4)
            low = match_low_surrogate(text, at) if 0xd800 <= code < 0xdc00 else None
            if low:
                code, at = 0x10000 + (code - 0xd800 << 10) + int(low[1], 16) - 0xdc00, low.end()
            return chr(code), at
        if char == 'x':
            code, at = self.hexadecimal(at + 1, 2)
            return chr(code), at
        if char == '0':
            if text[at + 1:at + 2] in tuple('0123456789'):
                raise self.fault('no digit after \\0', at + 1)
            return '\0', at + 1
        if char == '' or char in '123456789':
            raise self.fault('an escape', at)
        if char in LINE_END:
            return '', at + 2 if text.startswith('\r\n', at) else at + 1
        return ESCAPES.get(char, char), at + 1

    def hexadecimal(self, at, count):
        end = match_hex(self.text, at, at + count).end()
        if end < at + count:
            raise self.fault('a hexadecimal digit', end)
        return int(self.text[at:end], 16), end

    def name(self, at):
        """Return the key and the offset past a name without quotes."""
        text = self.text
        found = match_name(text, at)
        parts = [found[0]] if found else []
        at = found.end() if found else at
        while char := text[at:at + 1]:
            end = at + 1
            if char == '\\':
                if text[end:end + 1] != 'u':
                    raise self.fault("'u'", end)
                code, end = self.hexadecimal(end + 1, 4)
                if not in_name(chr(code), not parts):
                    raise self.fault('the escape of a letter or digit', at)
                char = chr(code)
            elif not in_name(char, not parts):
                break
            parts.append(char)
            at = end
        if not parts:
            raise self.fault("a property name or '}'", at)
        return ''.join(parts), at
