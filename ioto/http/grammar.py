r"""The grammar of HTTP/1.1 as regular expressions, each with its section.

Heads are matched as str that was decoded from latin-1, so that a character is a byte; chunk lines as bytes. Repetitions are
possessive (`*+`), so that no input, however hostile, makes a match go back over what it has read: time is in proportion to
length. Lines end in CRLF and in nothing else.

A `_prefix` expression matches the longest beginning of a line that can still become a valid one. Where it stops is the first
faulty byte of the line, which depends on nothing that comes after, so a fault is the same however the bytes were cut.
"""

import re

TOKEN = r"!#$%&'*+\-.^_`|~0-9A-Za-z"                # RFC 9110 §5.6.2, inside [ ]
VALUE = r'\t\x20-\x7e\x80-\xff'                     # RFC 9110 §5.5: field-vchar, SP and HTAB
PATH = r"A-Za-z0-9\-._~!$&'()*+,;=:@/"              # RFC 3986 §3.3: pchar and "/", without "%"
URI = PATH + r'%?\[\]'                              # RFC 3986 §2: what a URI is made of, without "#"
QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'    # RFC 9110 §5.6.4


def _prefix(*parts):
    """An expression for any beginning of `parts` in a row."""
    nested = ''
    for part in reversed(parts):
        nested = f'(?:{part}{nested})?+'
    return re.compile(nested)


# RFC 9112 §3: the request line, and its common case, an origin-form target without escapes in HTTP/1.1.
REQUEST_LINE = re.compile(rf'([{TOKEN}]++) ([{URI}]++) HTTP/([0-9])\.([0-9])\r\n')
PLAIN_REQUEST_LINE = re.compile(rf'(?!CONNECT )([{TOKEN}]++) ((/[{PATH}]*+)(?:\?([{URI}]*+))?+) HTTP/1\.1\r\n')
REQUEST_LINE_PREFIX = _prefix(f'[{TOKEN}]++', ' ', f'[{URI}]++', ' ', *'HTTP/', '[0-9]', r'\.', '[0-9]', '\r', '\n')

# RFC 9112 §4: the status line. The space before an absent reason phrase is left out by some servers.
STATUS_LINE = re.compile(rf'HTTP/([0-9])\.([0-9]) ([1-9][0-9][0-9])(?: ([{VALUE}]*+))?+\r\n')
STATUS_LINE_PREFIX = _prefix(*'HTTP/', '[0-9]', r'\.', '[0-9]', ' ', '[1-9]', '[0-9]', '[0-9]', f'(?: [{VALUE}]*+)?+', '\r', '\n')

# RFC 9112 §5: a field line, but for one with white space after the value, which is rare.
FIELD_LINE = re.compile(rf'^([{TOKEN}]++):[\t ]*+([{VALUE}]*+)(?<![\t ])\r\n', re.MULTILINE)
FIELD_LINE_PREFIX = _prefix(f'[{TOKEN}]++', ':', f'[{VALUE}]*+', '\r', '\n')
FIELD = re.compile(rf'[{TOKEN}]++: [{VALUE}]*+')

# RFC 9110 §8.6: one Content-Length, or the same one repeated.
CONTENT_LENGTH = re.compile(r'([0-9]{1,18}+)(?:[\t ]*+,[\t ]*+\1(?![0-9]))*+')

# RFC 9112 §7.1: the line before a chunk, white space around ";" and "=" included (RFC 9110 §5.6.3: BWS must be parsed).
CHUNK_LINE = re.compile((
    r'([0-9A-Fa-f]{1,16}+)'
    rf'(?:[\t ]*+;[\t ]*+[{TOKEN}]++(?:[\t ]*+=[\t ]*+(?:[{TOKEN}]++|{QUOTED}))?+)*+\r\n').encode('latin-1'))

# RFC 3986 §3.2.2 and RFC 9110 §7.2: host and port; the host is a name, an IPv4 address or an IP literal.
AUTHORITY = re.compile(
    r"(\[[0-9A-Fa-f:.]++\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*+)(?::([0-9]{0,5}+))?+")
