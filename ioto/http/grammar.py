"""The grammar of HTTP/1.1 as regular expressions, each with its section.

Heads are str of latin-1, a character for a byte. Repetitions are possessive (`*+`): no input makes a match go back over
what it has read, so time is in proportion to length. Lines end in CRLF and nothing else.

A PREFIX expression matches what can still become a valid line. It stops at the first fault, which depends on no later
byte: the error is the same however the bytes were cut.
"""

import re

# What goes into [ ]: RFC 9110 §5.6.2, §5.5; RFC 3986 §3.3 (pchar and "/", without "%"), §2 (all, without "#").
TOKEN = r"!#$%&'*+\-.^_`|~0-9A-Za-z"
VALUE = r'\t\x20-\x7e\x80-\xff'
PATH = r"A-Za-z0-9\-._~!$&'()*+,;=:@/"
URI = PATH + r'%\[\]'
QUERY = URI + r'?\\^`{|}'             # browsers send the last six as they are
QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'     # RFC 9110 §5.6.4


def line_of(*parts):
    """The expressions for these parts in a row, and for any beginning of them."""
    prefix = ''
    for part in reversed(parts):
        prefix = f'(?:{part}{prefix})?+'
    return re.compile(''.join(parts)), re.compile(prefix)


# RFC 9112 §3: the request line; usually it is HTTP/1.1 and a path without escapes.
REQUEST_LINE, REQUEST_PREFIX = line_of(
    f'([{TOKEN}]++)', ' ', rf'([{URI}]++(?:\?[{QUERY}]*+)?+)', ' ', *'HTTP/', '([0-9])', r'\.', '([0-9])', '\r', '\n')
PLAIN_REQUEST_LINE = re.compile(rf'(?!CONNECT )([{TOKEN}]++) ((/[{PATH}]*+)(?:\?([{QUERY}]*+))?+) HTTP/1\.1\r\n')

# RFC 9112 §5: a field line; FIELD_LINES finds those without white space after the value, which is rare.
FIELD_LINES = re.compile(rf'^([{TOKEN}]++):[\t ]*+([{VALUE}]*+)(?<![\t ])\r\n', re.MULTILINE)
FIELD_LINE, FIELD_PREFIX = line_of(f'[{TOKEN}]++', ':', f'[{VALUE}]*+', '\r', '\n')

# RFC 9112 §7.1: the line before a chunk; white space around ";" and "=" has to be taken (RFC 9110 §5.6.3).
CHUNK_LINE = re.compile((
    rf'([0-9A-Fa-f]{{1,16}}+)(?:[\t ]*+;[\t ]*+[{TOKEN}]++(?:[\t ]*+=[\t ]*+(?:[{TOKEN}]++|{QUOTED}))?+)*+\r\n'
).encode('latin-1'))

# RFC 3986 §3.2: host and port.
AUTHORITY = re.compile(
    r"(?!:)(\[[0-9A-Fa-f:.]++\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2}){0,255}+)(?::([0-9]{0,5}+))?+")
