"""HTTP dates to seconds since 1970 and back, in all three forms (RFC 9110 §5.6.7), in every locale."""

import re
from time import gmtime, time

DAYS = ('Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun')
MONTHS = ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec')

_day = '|'.join(DAYS)
_month = '|'.join(MONTHS)
_clock = '([0-9]{2}):([0-9]{2}):([0-9]{2})'
FIXED = f'(?:{_day}), ([0-9]{{2}}) ({_month}) ([0-9]{{4}}) {_clock} GMT'
RFC850 = f'(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, ([0-9]{{2}})-({_month})-([0-9]{{2}}) {_clock} GMT'
ASCTIME = f'(?:{_day}) ({_month}) ([0-9]{{2}}| [0-9]) {_clock} ([0-9]{{4}})'


def format_date(seconds):
    """Seconds since 1970, UTC, as 'Sun, 06 Nov 1994 08:49:37 GMT'."""
    year, month, day, hour, minute, second, weekday = gmtime(seconds)[:7]
    return f'{DAYS[weekday]}, {day:02} {MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT'


def parse_date(text, now=None):
    """The seconds since 1970 of a date in any of the three forms; None if it is none or not in the calendar.

    A two-digit year is the last with these digits that is at most 50 years after `now`, by default the clock's.
    """
    short_year = False
    if match := re.fullmatch(FIXED, text):
        day, month, year, *clock = match.groups()
    elif match := re.fullmatch(ASCTIME, text):
        month, day, *clock, year = match.groups()
    elif match := re.fullmatch(RFC850, text):
        day, month, year, *clock = match.groups()
        short_year = True
    else:
        return None
    year, month, day, hour, minute, second = int(year), MONTHS.index(month) + 1, int(day), *map(int, clock)
    if short_year:
        last, *rest = gmtime(time() if now is None else now)[:6]
        last += 50
        year = last - (last - year) % 100
        if year == last and [month, day, hour, minute, second] > rest:
            year -= 100
    days = day_number(year, month, day)
    if gmtime(days * 86400)[:3] != (year, month, day) or hour > 23 or minute > 59 or second > 60:
        return None
    return ((days * 24 + hour) * 60 + minute) * 60 + second


def day_number(year, month, day):
    """Days from 1970-01-01, in years that begin in March so that the leap day is the last."""
    if month < 3:
        year, month = year - 1, month + 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day - 719469
