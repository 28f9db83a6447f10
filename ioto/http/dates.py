"""HTTP dates: seconds since 1970 to text and back, in all three forms (RFC 9110 §5.6.7).

Made from tables and arithmetic: `strftime` and `strptime` follow the locale, and `datetime` costs start-up time.
"""

import re
from time import gmtime, time

DAYS = ('Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday')
MONTHS = ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec')
MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_long = '|'.join(DAYS)
_short = '|'.join([day[:3] for day in DAYS])
_month = '|'.join(MONTHS)
_clock = '([0-9]{2}):([0-9]{2}):([0-9]{2})'
FIXED = re.compile(f'(?:{_short}), ([0-9]{{2}}) ({_month}) ([0-9]{{4}}) {_clock} GMT')
RFC850 = re.compile(f'(?:{_long}), ([0-9]{{2}})-({_month})-([0-9]{{2}}) {_clock} GMT')
ASCTIME = re.compile(f'(?:{_short}) ({_month}) ([0-9]{{2}}| [0-9]) {_clock} ([0-9]{{4}})')


def format_date(seconds):
    """Seconds since 1970, UTC, as 'Sun, 06 Nov 1994 08:49:37 GMT'."""
    year, month, day, hour, minute, second, weekday = gmtime(seconds)[:7]
    return f'{DAYS[weekday][:3]}, {day:02} {MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT'


def parse_date(text, now=None):
    """The seconds since 1970 of a date in any of the three forms; None if it is none or no day of the calendar.

    A two-digit year is the latest with these digits that is not more than 50 years after `now` (seconds, by default the clock).
    """
    if match := FIXED.fullmatch(text):
        day, month, year, hour, minute, second = match.groups()
    elif match := ASCTIME.fullmatch(text):
        month, day, hour, minute, second, year = match.groups()
    elif match := RFC850.fullmatch(text):
        day, month, year, hour, minute, second = match.groups()
        latest = gmtime(time() if now is None else now).tm_year + 50
        year = latest - (latest - int(year)) % 100
    else:
        return None
    year, month, day, hour, minute, second = int(year), MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second)
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= day <= MONTH_DAYS[month - 1] - (month == 2 and not leap) or hour > 23 or minute > 59 or second > 60:
        return None
    return ((_days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second


def _days(year, month, day):
    """Days from 1970-01-01, in a year that begins in March so that the leap day is its last."""
    if month < 3:
        year, month = year - 1, month + 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day - 719469
