"""Writing a value as text, which `parse` reads back as the same value: the json module's encoder does the work."""

import re
from json import encoder

from .parser import Json5Error, is_name

STYLES = {
    'json': encoder.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(',', ':')),
    'json5': encoder.JSONEncoder(ensure_ascii=False),
    'pretty': encoder.JSONEncoder(ensure_ascii=False, indent=4),
}
# Invisible characters, and lone surrogates, which have no UTF-8
escape = re.compile('[\x80-\x9f\u2028\u2029\ufeff\ud800-\udfff]').sub

try:                            # JSONEncoder makes one of these a call, which costs more than most values
    encode = encoder.c_make_encoder(
        None, STYLES['json'].default, encoder.encode_basestring, None, ':', ',', False, False, False)
except TypeError:               # there is no C encoder, or it takes other arguments
    def encode(value, _):
        return STYLES['json'].encode(value)


def render(value, style='json'):
    """Return the text of a value.

    json    strict JSON on one line; Infinity and NaN are errors
    json5   JSON5 on one line: keys bare where they may be, single quotes
    pretty  JSON on indented lines, but for Infinity and NaN

    Raises Json5Error for a value that holds itself or is too deep, TypeError for types that JSON has not.
    """
    if style not in STYLES:
        raise Json5Error(f'expected the style {", ".join(STYLES)}, found {style!r}')
    try:
        text = ''.join(encode(value, 0)) if style == 'json' else STYLES[style].encode(value)
    except (ValueError, RecursionError) as error:
        raise Json5Error(f'expected a value that JSON can hold: {error}') from None
    if not text.isascii():
        text = escape(lambda found: f'\\u{ord(found[0]):04x}', text)
    return re.sub(r'"([^"\\]*+(?:\\.[^"\\]*+)*)"(:?)', _bare, text) if style == 'json5' else text


to_json = render                # the web server's name for it: to_json(value)


def _bare(found):
    body, colon = found.groups()
    if colon and is_name(body):
        return body + colon
    return found[0] if "'" in body else "'" + body.replace('\\"', '"') + "'" + colon
