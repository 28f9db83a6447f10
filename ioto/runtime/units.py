"""Times and sizes as people write them in a configuration: '10 secs', '24 hrs', 'never', '20MB', 'unlimited'.

A quantity is a number, or a decimal number and a unit, in either case; without a unit it is in seconds or bytes. Sizes
count by 1024, whether written K, KB or KiB. A month is 30 days and a year 365: these are durations, not dates. What has
no limit is infinity, so a caller compares without a special case.
"""
import re

INFINITY = float('inf')
ENDLESS = ('never', 'infinite', 'infinity', 'unlimited', 'forever')

TIMES = {name: factor for names, factor in (
    ('ms msec millisecond', 0.001), (' s sec second', 1), ('m min minute', 60), ('h hr hour', 3600), ('d day', 86400),
    ('w wk week', 604800), ('month', 2592000), ('y yr year', 31536000)) for name in names.split(' ')}
SIZES = {'': 1, 'b': 1, 'byte': 1} | {
    letter + tail: 1024 ** power for power, letter in enumerate('kmgt', 1) for tail in ('', 'b', 'ib')}


class PropertyError(ValueError):
    """A wrong property of a configuration: `.property` is its name, `.message` what is wrong."""

    def __init__(self, property, message):
        super().__init__(f'{property}: {message}')
        self.property, self.message = property, message


_quantity = re.compile(r'(\d{1,15}(?:\.\d{1,15})?|\.\d{1,15})\s*([a-z]*)', re.ASCII)


def seconds(value):
    """Return a time such as '10 secs', 'never' or 30 as a float in seconds, infinity where there is no limit.

    Raises ValueError, which says what was expected, for anything else and for what is negative.
    """
    return float(_measure(value, TIMES, "a time such as '10 secs', '24 hrs' or 'never'"))


def size(value):
    """Return a size such as '10K', 'unlimited' or 1024 as an int in bytes, infinity where there is no limit.

    Raises ValueError as `seconds` does.
    """
    total = _measure(value, SIZES, "a size such as '512 bytes', '20MB' or 'unlimited'")
    return total if total == INFINITY else int(total)


def _measure(value, units, expected):
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ENDLESS:
            return INFINITY
        if found := _quantity.fullmatch(text):
            number, unit = found.groups()
            factor = units.get(unit) or len(unit) > 2 and units.get(unit.removesuffix('s'))
            if factor:
                number = float(number) if '.' in number else int(number)
                return number * factor if factor >= 1 else number / 1000       # exact, which 0.001 is not
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return value if value < 1e18 else INFINITY
    raise ValueError(f'expected {expected}, got {value!r}')
