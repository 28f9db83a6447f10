"""Values of fields, turned into what is stored as far as that needs no guess; and identifiers.

What is stored is JSON, so what was read can be written again:

    string     text; numbers and booleans become their text
    number     below 1e38, and 38 digits, as in DynamoDB; '42' becomes 42
    boolean    true or false; so do 'true', 'false', 1 and 0
    date       '2024-01-31T12:00:00.000Z' with isoDates, else seconds since 1970 (OneTable's specification, Params);
               may be given as either, with another offset, or as a datetime; without an offset it is UTC
    binary     base64 text; bytes become that. buffer is the same
    set        an array of different texts, or of different numbers
    object, array, any     a copy

Each converter takes a value that is not None and returns what is stored, or raises DbError with what was expected.
"""
import re
from binascii import a2b_base64, b2a_base64
from os import urandom
from time import gmtime, time

from ..json5 import to_json
from .errors import DbError

DEPTH = 100                             # levels of arrays and objects
EARLIEST, LATEST = -62135596800, 253402300799       # seconds from 1970 to the years 1 and 10000
LETTERS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'        # Crockford's, as ULID has them
PAIRS = [first + second for first in LETTERS for second in LETTERS]
BOOLEANS = {'true': True, 'false': False, 1: True, 0: False}

match_number = re.compile(r'\s*(-?[0-9]{1,40})(\.[0-9]{1,40})?([eE][-+]?[0-9]{1,3})?\s*').fullmatch
match_date = re.compile(r'([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]{1,9})?)?'
                        r'(?:Z|([-+][0-9]{2}):?([0-9]{2}))?)?').fullmatch

_iso = None, None, ''                   # seconds, whole seconds and text of the last date
_ulid = 0, '', 0                        # milliseconds, their letters and the random bits of the last one


def wrong(expected, value):
    """A DbError that says what was expected and shows how what came begins."""
    if isinstance(value, (dict, list, tuple)):
        shown = 'an object' if isinstance(value, dict) else 'an array'
    else:
        try:
            shown = to_json(value[:60] if isinstance(value, str) else value)
        except (TypeError, ValueError):
            shown = type(value).__name__
    return DbError(f'expected {expected}, got {shown[:60]}')


def string(value):
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (int, float)):
        return text(value)
    raise wrong('a string', value)


def number(value):
    if isinstance(value, str) and (found := match_number(value)):
        value = float(value) if found[2] or found[3] else int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 10 ** 38:
        return value
    raise wrong('a number', value)


def boolean(value):
    key = value.lower() if isinstance(value, str) else value
    if isinstance(key, (str, int, float)) and key in BOOLEANS:
        return BOOLEANS[key]
    raise wrong('true or false', value)


def seconds(value):
    """A date as seconds since 1970, to the millisecond."""
    moment = value
    if hasattr(value, 'timestamp'):
        moment = value.isoformat() if value.tzinfo is None else value.timestamp()
    if isinstance(moment, str) and (found := match_date(moment)):
        from ..http.dates import day_number
        *date, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
        midnight = day_number(*date) * 86400
        if list(gmtime(midnight)[:3]) == date and hour < 24 and minute < 60 and second < 60:
            hours, minutes = found[8] or '+00', int(found[9] or 0)
            offset = int(hours) * 3600 + (-60 if hours[0] == '-' else 60) * minutes
            moment = midnight + hour * 3600 + minute * 60 + second - offset + float(found[7] or 0)
    if isinstance(moment, (int, float)) and not isinstance(moment, bool) and EARLIEST <= moment < LATEST:
        moment = round(moment, 3)
        return int(moment) if moment == int(moment) else moment
    raise wrong("a date such as '2024-01-31T12:00:00Z', or seconds since 1970", value)


def iso(value):
    """A date as '2024-01-31T12:00:00.000Z'."""
    global _iso
    last, whole, shown = _iso
    if type(value) is not float or value != last:
        moment = value if type(value) is float and 0 < value < LATEST else seconds(value)
        second, millis = divmod(round(moment * 1000), 1000)
        head = shown[:20] if second == whole else '%04d-%02d-%02dT%02d:%02d:%02d.' % gmtime(second)[:6]
        shown = f'{head}{millis:03}Z'
        _iso = value, second, shown
    return shown


def whole_seconds(value):
    """When an item expires: DynamoDB wants whole seconds for that."""
    return -int(-seconds(value) // 1)


def binary(value):
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b2a_base64(value, newline=False).decode()
    try:
        a2b_base64(value, strict_mode=True)
        return value
    except (ValueError, TypeError):
        raise wrong('bytes, or their base64 text', value) from None


def unique_set(value):
    if isinstance(value, (list, tuple, set, frozenset)):
        kept = [one if isinstance(one, str) else number(one) for one in value]
        if len({isinstance(one, str) for one in kept}) < 2:
            return list(dict.fromkeys(sorted(kept) if isinstance(value, (set, frozenset)) else kept))
    raise wrong('an array of texts, or one of numbers', value)


def array(value):
    if isinstance(value, (list, tuple)):
        return document(value)
    raise wrong('an array', value)


def mapping(value):
    if isinstance(value, dict):
        return document(value)
    raise wrong('an object', value)


def document(value, depth=0):
    """A copy of anything that JSON has."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, float)):
        return number(value)
    if depth > DEPTH:
        raise DbError(f'expected at most {DEPTH} levels of arrays and objects')
    if isinstance(value, (list, tuple)):
        return [document(item, depth + 1) for item in value]
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {name: document(item, depth + 1) for name, item in value.items()}
    raise wrong('a value that JSON has', value)


def text(value):
    """A stored value as a part of keys, as JavaScript writes it."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, (int, float)):
        return str(int(value) if number(value) == int(value) and abs(value) < 1e21 else value)
    if isinstance(value, str):
        return value
    raise wrong('a text, number or boolean', value)


def ulid(now=None):
    """A ULID (https://github.com/ulid/spec): 26 letters that sort by time, also within a millisecond."""
    global _ulid
    millis = int((time() if now is None else now) * 1000)
    last, head, bits = _ulid
    if millis == last:
        bits = bits + 1
    else:
        head = ''.join([PAIRS[millis >> shift & 1023] for shift in range(40, -1, -10)])
        bits = int.from_bytes(urandom(10), 'big') >> 1      # room to count up
    _ulid = millis, head, bits
    high, low = bits >> 40, bits
    return (head + PAIRS[high >> 30] + PAIRS[high >> 20 & 1023] + PAIRS[high >> 10 & 1023] + PAIRS[high & 1023]
            + PAIRS[low >> 30 & 1023] + PAIRS[low >> 20 & 1023] + PAIRS[low >> 10 & 1023] + PAIRS[low & 1023])


def uuid():
    """A random UUID (RFC 9562 §5.4)."""
    bits = int.from_bytes(urandom(16), 'big')
    digits = f'{bits & ~(0xf << 76 | 3 << 62) | 4 << 76 | 2 << 62:032x}'
    return f'{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}'


def uid(size=10):
    """As many random letters of Crockford's alphabet."""
    return ''.join([LETTERS[byte & 31] for byte in urandom(size)])
