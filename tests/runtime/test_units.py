"""Times and sizes as configurations write them."""
import math

import pytest

from ioto.runtime import units


@pytest.mark.parametrize('text, expected', [
    ('10 secs', 10), ('1 sec', 1), ('10 seconds', 10), ('10s', 10), ('10', 10), ('0', 0), ('1 min', 60),
    ('5 mins', 300), ('2 minutes', 120), ('2m', 120), ('24 hrs', 86400), ('1 hr', 3600), ('1.5 hours', 5400),
    ('.5h', 1800), ('3 days', 259200), ('1 day', 86400), ('2 weeks', 1209600), ('1 wk', 604800), ('1 month', 2592000),
    ('1 year', 31536000), ('250 msecs', 0.25), ('250ms', 0.25), ('1 millisecond', 0.001), ('9 ms', 0.009),
    ('  10   secs ', 10), ('10 SECS', 10), ('1.50 secs', 1.5),
    (30, 30), (1.5, 1.5), (0, 0), (math.inf, math.inf), (10 ** 400, math.inf),
    ('never', math.inf), ('infinite', math.inf), ('Never', math.inf), ('unlimited', math.inf), ('forever', math.inf),
])
def test_seconds(text, expected):
    value = units.seconds(text)
    assert value == expected and isinstance(value, float)


@pytest.mark.parametrize('text, expected', [
    ('512 bytes', 512), ('1 byte', 1), ('512', 512), ('512b', 512), ('10K', 10240), ('10 kb', 10240), ('10KiB', 10240),
    ('20MB', 20 << 20), ('1.5 GB', 3 << 29), ('1G', 1 << 30), ('2T', 2 << 40), ('0', 0), ('0.5k', 512), ('.3 KB', 307),
    (1024, 1024), (1e6, 1000000), (0, 0), ('999999999999999', 999999999999999), (9007199254740993, 9007199254740993),
])
def test_size(text, expected):
    value = units.size(text)
    assert value == expected and isinstance(value, int)


@pytest.mark.parametrize('text', ['unlimited', 'infinite', 'never', 'UNLIMITED', math.inf])
def test_size_without_limit_is_infinity(text):
    assert units.size(text) == math.inf


BAD = ['', ' ', 'lots', 'secs', '-1', '-1 sec', '+1', '1e3', '1_000', '0x10', '1,5', '1.', '1 2', '10 parsecs',
       '10 secs later', '١٠', '1 hr 30 mins', 'nan', 'inf', '9' * 400, -1, -0.5, math.nan, True, False, None, [], b'10']


@pytest.mark.parametrize('value', BAD, ids=repr)
@pytest.mark.parametrize('convert, example', [(units.seconds, "'10 secs'"), (units.size, "'20MB'")])
def test_refuses_and_says_what_was_expected(convert, example, value):
    with pytest.raises(ValueError) as caught:
        convert(value)
    assert example in str(caught.value) and str(caught.value).endswith(f'got {value!r}')


@pytest.mark.parametrize('convert, value', [(units.seconds, '10 MB'), (units.seconds, '10K'), (units.size, '10 secs'),
                                            (units.size, '1h')])
def test_a_time_is_no_size(convert, value):
    with pytest.raises(ValueError):
        convert(value)
