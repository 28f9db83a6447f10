"""Schedules: the grammar, the calendar, the clock's changes. Random schedules are compared with a scan."""
import os
import random
import time
from calendar import timegm

import pytest

from ioto.runtime import cron

BERLIN, NEW_YORK, SYDNEY = 'Europe/Berlin', 'America/New_York', 'Australia/Sydney'
# As POSIX rules, so that the tests need no time zone files. The last two change at midnight, where days interleave.
ZONES = {
    'UTC': 'UTC0', BERLIN: 'CET-1CEST,M3.5.0,M10.5.0/3', NEW_YORK: 'EST5EDT,M3.2.0,M11.1.0',
    SYDNEY: 'AEST-10AEDT,M10.1.0,M4.1.0/3', 'Kathmandu': '<+0545>-5:45',
    'Lord Howe': '<+1030>-10:30<+11>-11,M10.1.0,M4.1.0',
    'midnight': 'BRT3BRST,M10.3.0/0,M2.3.0/0', 'a minute past midnight': 'NST3:30NDT,M3.2.0/0:01,M11.1.0/0:01',
}
INF = float('inf')


@pytest.fixture
def zone():
    """A function that sets the local time zone."""
    before = os.environ.get('TZ')

    def choose(name):
        os.environ['TZ'] = ZONES[name]
        time.tzset()
    choose('UTC')
    yield choose
    if before is None:
        del os.environ['TZ']
    else:
        os.environ['TZ'] = before
    time.tzset()


def epoch(text, dst=-1):
    """Epoch seconds of 'YYYY-MM-DD HH:MM[:SS]' on the wall."""
    form = '%Y-%m-%d %H:%M:%S' if text.count(':') == 2 else '%Y-%m-%d %H:%M'
    return time.mktime(time.strptime(text, form)[:8] + (dst,))


def shown(seconds):
    return time.strftime('%Y-%m-%d %H:%M', time.localtime(seconds))


# Where the next permitted minute is

@pytest.mark.parametrize('spec, when, expected', [
    ('* * * * *', '2026-01-01 00:00', '2026-01-01 00:00'),
    ('0 * * * *', '2026-01-01 00:01', '2026-01-01 01:00'),
    ('59 23 * * *', '2026-01-01 23:59', '2026-01-01 23:59'),
    ('0 0 * * *', '2026-01-01 00:01', '2026-01-02 00:00'),
    ('0 0 1 * *', '2026-01-01 00:01', '2026-02-01 00:00'),
    ('30 4 1 1 *', '2026-01-01 04:31', '2027-01-01 04:30'),
    ('*/15 * * * *', '2026-01-01 10:16', '2026-01-01 10:30'),
    ('5/20 * * * *', '2026-01-01 10:06', '2026-01-01 10:25'),
    ('10-40/10 * * * *', '2026-01-01 10:41', '2026-01-01 11:10'),
    ('0 9-17/4 * * *', '2026-01-01 14:00', '2026-01-01 17:00'),
    ('1,5,3 * * * *', '2026-01-01 10:02', '2026-01-01 10:03'),
    ('0 0 * feb *', '2026-01-05 00:00', '2026-02-01 00:00'),
    ('0 0 * FEB-Mar *', '2026-04-05 00:00', '2027-02-01 00:00'),
    ('0 0 * * mon', '2026-01-01 00:00', '2026-01-05 00:00'),
    ('0 0 * * Monday', '2026-01-01 00:00', '2026-01-05 00:00'),
    ('0 0 * * 0', '2026-01-01 00:00', '2026-01-04 00:00'),
    ('0 0 * * 7', '2026-01-01 00:00', '2026-01-04 00:00'),
    ('0 0 * * sat-sun', '2026-01-01 00:00', '2026-01-03 00:00'),
    ('0 0 * * sat-sun', '2026-01-03 00:01', '2026-01-04 00:00'),
    ('0 0 * * sun-sun', '2026-01-05 00:00', '2026-01-11 00:00'),
    ('0 0 * * 0-0', '2026-01-05 00:00', '2026-01-11 00:00'),
    ('0 0 * * fri-7', '2026-01-03 00:01', '2026-01-04 00:00'),
    ('0 0 1 3 *', '2026-02-01 00:00', '2026-03-01 00:00'),
    ('0 0 29 2 *', '2026-01-01 00:00', '2028-02-29 00:00'),
    ('0 0 29 2 *', '2096-02-29 00:01', '2104-02-29 00:00'),
    ('0 0 31 * *', '2026-01-31 00:01', '2026-03-31 00:00'),
    ('0 0 30 * *', '2026-01-30 00:01', '2026-03-30 00:00'),
    ('  0\t0 1  1 * ', '2026-01-01 00:01', '2027-01-01 00:00'),
    ('59 23 31 12 *', '2026-01-01 00:00', '2026-12-31 23:59'),
], ids=str)
def test_until(zone, spec, when, expected):
    begin = epoch(when)
    assert shown(begin + cron.until(spec, begin)) == expected


@pytest.mark.parametrize('spec, days', [
    # 2026-11-01 is a Sunday. Either suffices where both are restricted ...
    ('0 0 13 11 fri', [6, 13, 20, 27]), ('0 0 1,15 11 wed', [1, 4, 11, 15, 18, 25]),
    ('0 0 2-3 11 0', [1, 2, 3, 8, 15, 22, 29]),
    # ... and both must hold where one begins with a star, be it with a step.
    ('0 0 * 11 fri', [6, 13, 20, 27]), ('0 0 13 11 *', [13]), ('0 0 */2 11 fri', [13, 27]), ('0 0 13-19 11 */7', [15]),
])
def test_day_of_month_and_day_of_week(zone, spec, days):
    found, when = [], epoch('2026-11-01 00:00')
    while (when := when + cron.until(spec, when)) < epoch('2026-12-01 00:00'):
        found.append(time.localtime(when).tm_mday)
        when += 60
    assert found == days


@pytest.mark.parametrize('seconds', [0, 1, 29.25, 59.999])
def test_within_a_permitted_minute_there_is_no_wait(zone, seconds):
    when = epoch('2026-05-05 12:30') + seconds
    assert cron.until('30 12 * * *', when) == 0
    assert cron.until_end('30 12 * * *', when) == pytest.approx(60 - seconds, abs=1e-6)


def test_the_wait_is_to_the_start_of_the_minute(zone):
    when = epoch('2026-05-05 12:29') + 59.75
    assert cron.until('30 12 * * *', when) == pytest.approx(0.25, abs=1e-6)
    assert cron.until_end('30 12 * * *', when) == 0


def test_by_default_the_time_is_now():
    assert cron.until('anytime') == 0 and cron.until_end('anytime') == INF
    assert 0 <= cron.until('* * * * *') <= 60 and 0 <= cron.until('hour') <= 3600
    assert 0 < cron.until_end('* 0-22 * * *') + cron.until_end('* 23 * * *') <= 23 * 3600


# Where the window ends

@pytest.mark.parametrize('spec, when, expected', [
    ('* 9-16 * * 1-5', '2026-01-05 09:00', '2026-01-05 17:00'),
    ('* 9-16 * * 1-5', '2026-01-05 16:59:30', '2026-01-05 17:00'),
    ('0-29 * * * *', '2026-01-05 09:10', '2026-01-05 09:30'),
    ('* 22-23,0-5 * * *', '2026-01-05 23:00', '2026-01-06 06:00'),
    ('* * * * 1-5', '2026-01-05 09:10', '2026-01-10 00:00'),
    ('* * * 2 *', '2026-02-05 09:10', '2026-03-01 00:00'),
    ('* * * 2 *', '2028-02-05 09:10', '2028-03-01 00:00'),
    ('* * 1-28 * *', '2026-02-05 09:10', '2026-03-29 00:00'),
    ('* * * 1-11 *', '2026-01-01 00:00', '2026-12-01 00:00'),
    ('* * 1-30 * 0-5', '2026-02-01 00:00', '2026-10-31 00:00'),
], ids=str)
def test_until_end(zone, spec, when, expected):
    begin = epoch(when)
    assert cron.until(spec, begin) == 0
    assert shown(begin + cron.until_end(spec, begin)) == expected


@pytest.mark.parametrize('spec', ['* * * * *', '*/1 * * * *', '0-59 0-23 1-31 1-12 0-6', '* * 1-31 * 1', '* * 5 * 1-7',
                                  'anytime'])
def test_what_is_always_permitted_never_ends(spec):
    assert cron.until(spec, 0) == 0 and cron.until_end(spec, 0) == INF


@pytest.mark.parametrize('spec', ['never', '@never', '0 0 31 2 *', '0 0 30,31 feb *', '* * 31 2,4,6,9,11 *',
                                  '* * 31 4 */2'])
def test_what_is_impossible_never_comes_and_costs_nothing(spec):
    began = time.process_time()
    for when in range(0, 1000):
        assert cron.until(spec, when) == INF and cron.until_end(spec, when) == 0
    assert time.process_time() - began < 1


# Words

@pytest.mark.parametrize('word, when, start, end', [
    ('hour', '2026-01-05 09:10', '2026-01-05 10:00', '2026-01-05 10:01'),
    ('@hourly', '2026-01-05 09:10', '2026-01-05 10:00', '2026-01-05 10:01'),
    ('day', '2026-01-05 09:10', '2026-01-06 00:00', '2026-01-06 00:01'),
    ('@daily', '2026-01-05 09:10', '2026-01-06 00:00', '2026-01-06 00:01'),
    ('midnight', '2026-01-05 09:10', '2026-01-06 00:00', '2026-01-06 00:01'),
    ('@midnight', '2026-01-05 09:10', '2026-01-06 00:00', '2026-01-06 00:01'),
    ('noon', '2026-01-05 09:10', '2026-01-05 12:00', '2026-01-05 12:01'),
    ('week', '2026-01-05 09:10', '2026-01-11 00:00', '2026-01-11 00:01'),
    ('@weekly', '2026-01-05 09:10', '2026-01-11 00:00', '2026-01-11 00:01'),
    ('month', '2026-01-05 09:10', '2026-02-01 00:00', '2026-02-01 00:01'),
    ('@Monthly', '2026-01-05 09:10', '2026-02-01 00:00', '2026-02-01 00:01'),
    ('year', '2026-01-05 09:10', '2027-01-01 00:00', '2027-01-01 00:01'),
    ('@yearly', '2026-01-05 09:10', '2027-01-01 00:00', '2027-01-01 00:01'),
    ('@annually', '2026-01-05 09:10', '2027-01-01 00:00', '2027-01-01 00:01'),
    ('weekdays', '2026-01-03 09:10', '2026-01-05 00:00', '2026-01-10 00:00'),
    ('weekends', '2026-01-05 09:10', '2026-01-10 00:00', '2026-01-12 00:00'),
    ('workhours', '2026-01-02 17:00', '2026-01-05 09:00', '2026-01-05 17:00'),
    (' WorkHours ', '2026-01-05 10:00', '2026-01-05 10:00', '2026-01-05 17:00'),
    ('morning', '2026-01-05 12:00', '2026-01-06 06:00', '2026-01-06 12:00'),
    ('afternoon', '2026-01-05 09:10', '2026-01-05 12:00', '2026-01-05 18:00'),
    ('evening', '2026-01-05 09:10', '2026-01-05 18:00', '2026-01-05 22:00'),
    ('night', '2026-01-05 09:10', '2026-01-05 22:00', '2026-01-06 06:00'),
])
def test_words(zone, word, when, start, end):
    begin = epoch(when)
    begin += cron.until(word, begin)
    assert (shown(begin), shown(begin + cron.until_end(word, begin))) == (start, end)


def test_every_word_is_a_schedule(zone):
    for word in cron.ALIASES:
        assert cron.until(word, 0) >= 0 and cron.until_end('@' + word, 0) >= 0


# The clock's changes

@pytest.mark.parametrize('name, spec, when, hours, expected', [
    # Summer time in Berlin began on 2026-03-29 (2:00 was 3:00) and ended on 2026-10-25 (3:00 was 2:00).
    (BERLIN, '0 4 * * *', '2026-03-28 04:01', 22 + 59 / 60, '2026-03-29 04:00'),
    (BERLIN, '0 4 * * *', '2026-10-24 04:01', 24 + 59 / 60, '2026-10-25 04:00'),
    (BERLIN, '30 2 * * *', '2026-03-28 02:31', 46 + 59 / 60, '2026-03-30 02:30'),
    (BERLIN, '0 3 * * *', '2026-03-29 01:00', 1, '2026-03-29 03:00'),
    (BERLIN, '30 2 29 3 *', '2026-01-01 00:00', None, '2027-03-29 02:30'),
    (NEW_YORK, '0 12 * * *', '2026-03-07 12:30', 22.5, '2026-03-08 12:00'),
    (SYDNEY, '0 12 * * *', '2026-04-04 12:30', 24.5, '2026-04-05 12:00'),
    ('midnight', '0 0 * * *', '2026-10-17 12:00', 35, '2026-10-19 00:00'),
    ('midnight', '* * 18 10 *', '2026-10-17 23:59', 1 / 60, '2026-10-18 01:00'),
])
def test_a_start_across_a_change_of_the_clock(zone, name, spec, when, hours, expected):
    zone(name)
    begin = epoch(when)
    wait = cron.until(spec, begin)
    assert shown(begin + wait) == expected
    assert hours is None or wait == pytest.approx(hours * 3600)


@pytest.mark.parametrize('name, spec, when, hours', [
    (BERLIN, '* 0-5 * * *', '2026-03-29 00:00', 5), (BERLIN, '* 0-5 * * *', '2026-10-25 00:00', 7),
    (BERLIN, '* 0-1 * * *', '2026-03-29 00:00', 2), (BERLIN, '* 2 * * *', '2026-10-25 02:00', 2),
    (BERLIN, '* 0-1,3 * * *', '2026-03-29 00:00', 3), (BERLIN, '* * * 3 *', '2026-03-01 00:00', 31 * 24 - 1),
    ('midnight', '* * 14 2 *', '2026-02-14 00:00', 25), ('midnight', '* * 18 10 *', '2026-10-18 01:00', 23),
])
def test_the_length_of_a_window_across_a_change_of_the_clock(zone, name, spec, when, hours):
    zone(name)
    assert cron.until_end(spec, epoch(when, 1 if '-10-25' in when else -1)) == hours * 3600


def test_a_minute_that_is_repeated_is_permitted_twice(zone):
    zone(BERLIN)
    first = epoch('2026-10-25 02:30', dst=1)
    assert cron.until('30 2 * * *', first - 60) == 60
    assert cron.until_end('30 2 * * *', first) == 60
    assert cron.until('30 2 * * *', first + 60) == 3540
    assert cron.until('30 2 * * *', first + 3660) == 24 * 3600 - 60


def test_a_minute_that_is_skipped_every_year_never_comes(zone):
    zone(BERLIN)
    began = time.process_time()
    assert cron.until('30 2 25-31 3 */7', epoch('2026-01-01 00:00')) == INF
    assert time.process_time() - began < 1


# Comparison with a scan

def random_field(rng, low, high):
    def one():
        first, last = sorted((rng.randint(low, high), rng.randint(low, high)))
        return rng.choice([f'{first}', f'{first}', f'{first}-{last}', f'{first}-{last}/{rng.randint(1, 9)}',
                           f'*/{rng.randint(1, 9)}', f'{first}/{rng.randint(1, 9)}'])
    return '*' if rng.random() < 0.4 else ','.join(one() for _ in range(rng.randint(1, 3)))


def expand(text, low, high):
    """A field's numbers; written apart from the module so that one mistake is not made twice."""
    numbers = set()
    for part in text.split(','):
        span, _, step = part.partition('/')
        if span == '*':
            first, last = low, high
        elif '-' in span:
            first, last = map(int, span.split('-'))
        else:
            first, last = int(span), high if step else int(span)
        numbers |= {number for number in range(low, high + 1)
                    if first <= number <= last and (number - first) % int(step or 1) == 0}
    return numbers


def permits(spec):
    fields = spec.split()
    minutes, hours, days, months, weekdays = (expand(text, low, high) for text, (low, high) in
                                              zip(fields, ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))))
    stars = fields[2].startswith('*') or fields[4].startswith('*')

    def permitted(when):
        now = time.localtime(when)
        weekday = (now.tm_wday + 1) % 7
        on_day, on_weekday = now.tm_mday in days, weekday in weekdays or weekday == 0 and 7 in weekdays
        return (now.tm_min in minutes and now.tm_hour in hours and now.tm_mon in months
                and (on_day and on_weekday if stars else on_day or on_weekday))
    return permitted


@pytest.mark.parametrize('name', ZONES)
def test_the_same_as_a_scan_of_every_minute(zone, name):
    """Each begins near a change of the clock or anywhere, and scans three days; any other answer has to be later."""
    zone(name)
    seed = random.randrange(1 << 32)
    print(f'seed {seed}')
    rng = random.Random(seed)
    changes = [when for when in range(timegm((2026, 1, 1, 0, 0, 0)), timegm((2029, 1, 1, 0, 0, 0)), 1800)
               if time.localtime(when - 1800).tm_gmtoff != time.localtime(when).tm_gmtoff]
    for _ in range(60):
        spec = ' '.join(random_field(rng, *limits) for limits in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7)))
        permitted = permits(spec)
        near = changes and rng.random() < 0.7
        when = rng.choice(changes) - rng.randint(-4 * 3600, 30 * 3600) if near else rng.randrange(1 << 31)
        for wanted, function in ((True, cron.until), (False, cron.until_end)):
            minute = when - when % 60
            last = minute + 3 * 86400
            while minute < last and permitted(minute) != wanted:
                minute += 60
            found = function(spec, when)
            if minute < last:
                assert found == max(0, minute - when), (spec, when, wanted, seed)
            else:
                assert found >= last - when, (spec, when, wanted, seed)


def test_days_far_away_are_the_same_as_a_scan_of_days(zone):
    seed = random.randrange(1 << 32)
    print(f'seed {seed}')
    rng = random.Random(seed)
    for _ in range(100):
        day, month, weekday = (random_field(rng, *limits) for limits in ((1, 31), (1, 12), (0, 7)))
        if rng.random() < 0.3:
            day, month, weekday = '29', '2', f'*/{rng.randint(2, 7)}'
        spec = f'0 12 {day} {month} {weekday}'
        permitted, begin = permits(spec), rng.randrange(0, 4102444800, 86400)
        found = next((when for when in range(begin + 43200, begin + 45 * 365 * 86400, 86400) if permitted(when)), INF)
        assert cron.until(spec, begin) == found - begin, (spec, begin, seed)


def test_sundays_on_29_february_are_found_across_2100(zone):
    sundays = [year for year in range(2072, 2160, 4)
               if year != 2100 and time.gmtime(timegm((year, 2, 29, 0, 0, 0))).tm_wday == 6]
    assert max(later - year for year, later in zip(sundays, sundays[1:])) == 40
    when = epoch('2072-01-01 00:00')
    for year in sundays:
        when += cron.until('0 0 29 2 */7', when)
        assert shown(when) == f'{year}-02-29 00:00'
        when += 60


def test_a_search_over_many_years_is_quick(zone):
    zone(BERLIN)
    cron.until('0 0 29 2 */7', 0)
    began = time.process_time()
    for when in range(0, 20 * 86400, 86400):
        cron.until('0 0 29 2 */7', epoch('2026-01-01 00:00') + when)
    assert (time.process_time() - began) / 20 < 0.05


# What is refused

@pytest.mark.parametrize('field, column, texts', [
    ('minute', 0, '60 100 -1 +5 x jan 5-1 5-0 1- -5 1-2-3 *-5 1-70 */0 */ */x */-1 */100 /5 ** 1.5 1_0 \u0665 ?'),
    ('hour', 1, '24 22-6 0-24'), ('day of month', 2, '0 32 l 1w jan'), ('month', 3, '0 13 foo ja mon januaryy dec-feb'),
    ('day of week', 4, '8 fr frid4y jan fri-mon mon#1'),
])
def test_a_bad_field_is_named_with_what_was_expected(field, column, texts):
    for text in texts.split():
        for spec in (text, f'1,{text}', f'{text},1'):
            fields = ['*'] * 5
            fields[column] = spec
            for function in (cron.until, cron.until_end):
                with pytest.raises(ValueError) as caught:
                    function(' '.join(fields), 0)
                message = str(caught.value)
                assert message.startswith(f'cron {field} {spec!r}: expected *, ') and message.endswith(f'got {text!r}')


@pytest.mark.parametrize('text', [',', '1,', ',1', '1,,2'])
def test_an_empty_part_of_a_list_is_refused(text):
    with pytest.raises(ValueError, match="got ''"):
        cron.until(f'{text} * * * *', 0)


@pytest.mark.parametrize('spec', ['', ' ', '*', '* * * *', '* * * * * *', 'sometimes', '@reboot', '@',
                                  'always never', '@* * * * *'])
def test_a_bad_schedule_is_refused(spec):
    with pytest.raises(ValueError) as caught:
        cron.until(spec, 0)
    assert 'cron' in str(caught.value) and 'expected' in str(caught.value)


@pytest.mark.parametrize('spec', [None, 5, True, b'* * * * *', ['*'] * 5, {}])
def test_what_is_no_text_is_refused(spec):
    with pytest.raises(ValueError, match='expected a text'):
        cron.until(spec, 0)


def test_few_parsed_schedules_are_kept():
    for minute in range(60):
        for hour in range(3):
            cron.until(f'{minute} {hour} * * *', 0)
    assert len(cron._schedules) <= 32
