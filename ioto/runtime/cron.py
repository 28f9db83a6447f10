"""Schedules in the form of cron: the minutes of local time at which something is permitted.

`minute hour day-of-month month day-of-week`, each `*`, a number, a range `9-17`, a step `*/5`, `10-40/10` or `5/20`
(from 5 to the end), or a list of these with commas. Months and weekdays have names (jan, monday); 0 and 7 are Sunday.
As in Vixie cron, where both day fields are restricted either suffices; where one begins with `*` both must hold.
ALIASES has words for usual schedules; `@daily` and `daily` are the same.

A schedule is a set of minutes on the wall clock, so it is an instant ('0 3 * * *') as well as a window
('* 9-16 * * 1-5'). A minute that the change to summer time skips does not happen; one that the change back repeats
happens twice. For a job at each start: sleep(until(spec)), the job, sleep(until_end(spec)), and again.

The search goes over days, not minutes, so even a date that is years away is found in about a millisecond.
"""
from time import gmtime, localtime, time

INFINITY = float('inf')
DAY = 86400
HORIZON = 45 * 366 * DAY    # seconds; 29 February falls on a given weekday within 40 years

MONTHS = 'january february march april may june july august september october november december'.split()
WEEKDAYS = 'sunday monday tuesday wednesday thursday friday saturday'.split()
FIELDS = (('minute', 0, 59, ()), ('hour', 0, 23, ()), ('day of month', 1, 31, ()), ('month', 1, 12, MONTHS),
          ('day of week', 0, 7, WEEKDAYS))

ALIASES = {     # word, or words that mean the same: fields
    'anytime': '* * * * *', 'never': None, 'minute': '* * * * *',
    'hour hourly': '0 * * * *', 'day daily midnight': '0 0 * * *', 'noon': '0 12 * * *', 'week weekly': '0 0 * * 0',
    'month monthly': '0 0 1 * *', 'year yearly annually': '0 0 1 1 *',
    'weekdays workdays': '* * * * 1-5', 'weekends': '* * * * 0,6', 'workhours': '* 9-16 * * 1-5',      # 9:00 to 17:00
    'morning': '* 6-11 * * *', 'afternoon': '* 12-17 * * *', 'evening': '* 18-21 * * *', 'night': '* 22-23,0-5 * * *',
}
ALIASES = {word: fields for words, fields in ALIASES.items() for word in words.split()}

_schedules = {}     # text: Schedule, a few of them


def until(spec, when=None):
    """Return the seconds from `when` (epoch seconds; default now) to the next permitted minute: 0 within one, infinity
    for none. Raises ValueError for a bad spec, with the field and what was expected."""
    return _wait(spec, when, True)


def until_end(spec, when=None):
    """Return the seconds from `when` to the end of the permitted minutes on end that it is in: 0 where it is in none,
    infinity where they do not end. Raises ValueError as `until` does."""
    return _wait(spec, when, False)


def parse(spec):
    """Return the Schedule of a spec. Raises ValueError as `until` does."""
    if not isinstance(spec, str):
        raise ValueError(f'cron schedule: expected a text, got {spec!r}')
    schedule = _schedules.get(spec)
    if schedule is None:
        schedule = Schedule(spec)
        if len(_schedules) >= 32:
            _schedules.clear()
        _schedules[spec] = schedule
    return schedule


class Schedule:
    """A parsed spec, in terms of a plain calendar: days of 86400 seconds from 1 January 1970, no time zone."""

    def __init__(self, spec):
        text = spec.strip().lower()
        text = ALIASES.get(text.removeprefix('@'), text)
        self.always, self.never = False, text is None
        if self.never:
            return
        fields = text.split()
        if len(fields) != 5:
            raise ValueError(f"cron schedule {spec!r}: expected 'minute hour day month weekday' or a word such as "
                             "'anytime', 'never', 'daily', 'workhours'")
        minutes, hours, self.days, self.months, weekdays = (_field(*row, text) for row, text in zip(FIELDS, fields))
        self.weekdays = {(day - 1) % 7 for day in weekdays}         # as tm_wday, from Monday
        self.either = fields[2][0] != '*' and fields[4][0] != '*'
        self.minutes = bytes(hour in hours and minute in minutes for hour in range(24) for minute in range(60))
        self.always = (0 not in self.minutes and len(self.months) == 12 and
                       self.on_day(len(self.days) == 31, len(self.weekdays) == 7))
        longest = 29 if self.months == {2} else 31 if self.months - {2, 4, 6, 9, 11} else 30
        self.never = not self.either and min(self.days) > longest

    def on_day(self, day, weekday):
        return day or weekday if self.either else day and weekday

    def next(self, clock, permitted):
        """Return the first second from `clock` on that is permitted, or that is not; infinity for none."""
        if self.never or self.always:
            return clock if self.always == permitted else INFINITY
        day, second = divmod(clock, DAY)
        minute, last = second // 60, day + HORIZON // DAY
        while day < last:
            date = gmtime(day * DAY)
            in_month = date.tm_mon in self.months
            if in_month and self.on_day(date.tm_mday in self.days, date.tm_wday in self.weekdays):
                found = self.minutes.find(permitted, minute)
            else:
                found = -1 if permitted else minute
            if found >= 0:
                return max(clock, day * DAY + found * 60)
            # Days of other months by the four weeks, but not from the 1st beyond the 1st of the next.
            day += 1 if in_month else max(1, 29 - date.tm_mday)
            minute = 0
        return INFINITY


def _field(name, low, high, names, text):
    """The set of numbers that a field stands for."""
    found = set()
    for part in text.split(','):
        span, slash, step = part.partition('/')
        first, dash, last = span.partition('-')
        if span == '*':
            begin, end = low, high
        else:
            begin = _number(first, low, high, names)
            end = _number(last, low, high, names) if dash else high if slash else begin
            if end == 0 and begin and names is WEEKDAYS:
                end = 7                     # 'sat-sun'
        step = _number(step, 1, 99, ()) if slash else 1
        if None in (begin, end, step) or begin > end:
            words = f' or {names[0][:3]}-{names[-1][:3]}' if names else ''
            raise ValueError(f'cron {name} {text!r}: expected *, {low}-{high}{words}, ranges upwards, steps like */5 '
                             f'or a list of these with commas, got {part!r}')
        found.update(range(begin, end + 1, step))
    return found


def _number(word, low, high, names):
    if word.isascii() and word.isdigit() and len(word) <= 2:
        return int(word) if low <= int(word) <= high else None
    if len(word) >= 3:
        for number, name in enumerate(names, low):
            if name.startswith(word):
                return number
    return None


def _wait(spec, when, permitted):
    """Seconds until a minute that is permitted, or is not.

    As long as the offset from UTC stays, that is calendar arithmetic; where it changes, the search begins again.
    """
    schedule = parse(spec)
    if when is None:
        when = time()
    moment = int(when // 1)
    limit = moment + HORIZON
    while moment < limit:
        offset = localtime(moment).tm_gmtoff
        found = schedule.next(moment + offset, permitted) - offset
        if found == INFINITY:
            return INFINITY
        ahead = min(found, moment + DAY)
        if localtime(ahead).tm_gmtoff == offset:
            if ahead == found:
                return max(0.0, found - when)
            # No clock is turned by more than a day, so it cannot come before this.
            moment = max(ahead, found - 2 * DAY)
            continue
        while ahead - moment > 1:               # bisect for the second at which the offset changes
            middle = (moment + ahead) // 2
            if localtime(middle).tm_gmtoff == offset:
                moment = middle
            else:
                ahead = middle
        if found < ahead:
            return max(0.0, found - when)
        moment = ahead
    return INFINITY
