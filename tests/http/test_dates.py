"""HTTP dates (RFC 9110 §5.6.7)."""

import calendar
import random
import time

import pytest

from ioto.http.dates import format_date, parse_date

NOW = 1_795_000_000         # 2026-11-18


@pytest.mark.parametrize('text', ['Sun, 06 Nov 1994 08:49:37 GMT', 'Sunday, 06-Nov-94 08:49:37 GMT',
    'Sun Nov  6 08:49:37 1994'])
def test_all_three_forms_are_read(text):
    """MUST, RFC 9110 §5.6.7."""
    assert parse_date(text, NOW) == 784111777


@pytest.mark.parametrize('seconds, text', [
    (0, 'Thu, 01 Jan 1970 00:00:00 GMT'), (784111777, 'Sun, 06 Nov 1994 08:49:37 GMT'),
    (951782400, 'Tue, 29 Feb 2000 00:00:00 GMT'), (1709251199, 'Thu, 29 Feb 2024 23:59:59 GMT'),
    (2147483648, 'Tue, 19 Jan 2038 03:14:08 GMT'), (4102444800, 'Fri, 01 Jan 2100 00:00:00 GMT'),
    (-1, 'Wed, 31 Dec 1969 23:59:59 GMT'), (253402300799, 'Fri, 31 Dec 9999 23:59:59 GMT'),
    (-2208988800, 'Mon, 01 Jan 1900 00:00:00 GMT'), (1735689599, 'Tue, 31 Dec 2024 23:59:59 GMT'),
])
def test_known_dates(seconds, text):
    assert format_date(seconds) == text and parse_date(text) == seconds


def test_dates_agree_with_the_calendar():
    rng = random.Random(3)
    for _ in range(20_000):
        seconds = rng.randrange(-2_000_000_000, 200_000_000_000)
        fields = time.gmtime(seconds)
        text = format_date(seconds)
        assert parse_date(text) == seconds == calendar.timegm(fields)
        day, month = calendar.day_abbr[fields.tm_wday], calendar.month_abbr[fields.tm_mon]
        assert text.startswith(f'{day}, {fields.tm_mday:02} {month} {fields.tm_year:04} ')


def test_fractions_of_a_second_are_cut():
    assert format_date(784111777.9) == 'Sun, 06 Nov 1994 08:49:37 GMT'


@pytest.mark.parametrize('year, full', [('94', 1994), ('00', 2000), ('26', 2026), ('27', 2027), ('76', 2076),
    ('77', 1977), ('99', 1999), ('75', 2075)])
def test_a_two_digit_year_is_at_most_50_years_ahead(year, full):
    """MUST, RFC 9110 §5.6.7."""
    assert parse_date(f'Sunday, 06-Nov-{year} 08:49:37 GMT', NOW) == calendar.timegm((full, 11, 6, 8, 49, 37))


def test_the_50_years_are_counted_to_the_second():
    now = calendar.timegm((2026, 11, 6, 8, 49, 37))
    assert parse_date('Friday, 06-Nov-76 08:49:37 GMT', now) == calendar.timegm((2076, 11, 6, 8, 49, 37))
    assert parse_date('Friday, 06-Nov-76 08:49:38 GMT', now) == calendar.timegm((1976, 11, 6, 8, 49, 38))


def test_a_leap_second_is_taken():
    assert parse_date('Sat, 31 Dec 2016 23:59:60 GMT') == 1483228800


@pytest.mark.parametrize('text', [
    '', '0', '784111777', 'yesterday', 'Sun, 06 Nov 1994 08:49:37', 'Sun, 06 Nov 1994 08:49:37 UTC',
    'Sun, 06 Nov 1994 08:49:37 +0000', 'Sun, 06 Nov 1994 08:49:37 gmt', 'sun, 06 Nov 1994 08:49:37 GMT',
    'Sun, 06 nov 1994 08:49:37 GMT', 'Sun, 6 Nov 1994 08:49:37 GMT', 'Sun, 06 Nov 94 08:49:37 GMT',
    'Sun,06 Nov 1994 08:49:37 GMT', 'Sun, 06  Nov 1994 08:49:37 GMT', ' Sun, 06 Nov 1994 08:49:37 GMT',
    'Sun, 06 Nov 1994 08:49:37 GMT ', 'Sun, 06 Nov 1994 8:49:37 GMT', 'Sun, 06 Nov 1994 24:00:00 GMT',
    'Sun, 06 Nov 1994 08:60:37 GMT', 'Sun, 06 Nov 1994 08:49:61 GMT', 'Sun, 00 Nov 1994 08:49:37 GMT',
    'Sun, 31 Nov 1994 08:49:37 GMT', 'Wed, 29 Feb 2023 00:00:00 GMT', 'Mon, 29 Feb 1900 00:00:00 GMT',
    'Tue, 30 Feb 2000 00:00:00 GMT', 'Xxx, 06 Nov 1994 08:49:37 GMT', 'Sun, 06 Xxx 1994 08:49:37 GMT',
    'Sun, 06-Nov-94 08:49:37 GMT', 'Sunday, 06-Nov-1994 08:49:37 GMT', 'Sunday, 06 Nov 94 08:49:37 GMT',
    'Sun Nov 6 08:49:37 1994', 'Sun Nov  6 08:49:37 94', 'Sun Nov  6 08:49:37 1994 GMT', 'Sun Nov  0 08:49:37 1994',
    'Sun, 06 Nov 1994 08:49:37 GMT\n', 'Sun, \u0660\u0666 Nov 1994 08:49:37 GMT',
    'Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT', 'Sun, 06 Nov 1994 08:49:37 GMT; length=5',
    '1994-11-06T08:49:37Z',
])
def test_what_is_no_date_is_none(text):
    assert parse_date(text, NOW) is None
