"""Schedules in the form of cron: the minutes of local time at which something is permitted.

`minute hour day-of-month month day-of-week`, each `*`, a number, a range `9-17`, a step `*/5`, `10-40/10` or `5/20` (from 5 to
the end), or a list of these with commas. Months and days of the week have names (jan, monday); 0 and 7 are Sunday. As in Vixie
cron, where both day fields are restricted either suffices; where one begins with `*` both must hold. ALIASES have words for
usual schedules; `@daily` and `daily` are the same.

A schedule is a set of wall-clock minutes, so it is an instant ('0 3 * * *') as well as a window ('* 9-16 * * 1-5'). A minute
that the change to summer time skips does not happen; one that the change back repeats happens twice. To run a job at each start:

    while True:
        await sleep(cron.until(spec))
        job()
        await sleep(cron.until_end(spec))

The search steps over days of the plain calendar, whole months at once, and looks at the clock's offset from UTC only around
what it finds, so '0 0 29 2 *' costs no more than a millisecond.
"""
from time import gmtime, localtime, time

INFINITY = float('inf')
DAY = 86400
HORIZON = 45 * 366 * DAY    # seconds; 29 February falls on a given day of the week within 40 years

MONTHS = 'january february march april may june july august september october november december'.split()
DAYS = 'sunday monday tuesday wednesday thursday friday saturday'.split()
FIELDS = (('minute', 0, 59, ()), ('hour', 0, 23, ()), ('day of month', 1, 31, ()), ('month', 1, 12, MONTHS),
          ('day of week', 0, 7, DAYS))
LONGEST = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)      # days of each month

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
    """Return the seconds from `when` (epoch seconds; default now) to the next permitted minute.

    0 within one, infinity where there is none. Raises ValueError for a bad spec, naming the field and what was expected.
    """
    return _wait(spec, when, True)


def until_end(spec, when=None):
    """Return the seconds from `when` (epoch seconds; default now) to the end of the permitted minutes on end that it is in.

    0 where it is in none, infinity where they do not end. Raises ValueError for a bad spec.
    """
    return _wait(spec, when, False)


def parse(spec):
    """Return the Schedule of a spec. Raises ValueError, which names the field, the text and what was expected."""
    schedule = _schedules.get(spec) if isinstance(spec, str) else None
    if schedule is None:
        schedule = Schedule(spec)
        if len(_schedules) >= 32:
            _schedules.clear()
        _schedules[spec] = schedule
    return schedule


class Schedule:
    """A parsed spec, in terms of the plain calendar: days of 86400 seconds, counted from 1 January 1970 without time zone."""

    def __init__(self, spec):
        if not isinstance(spec, str):
            raise ValueError(f'cron schedule: expected a text, got {spec!r}')
        text = spec.strip().lower()
        self.never = self.always = False
        text = ALIASES.get(text.removeprefix('@'), text)
        if text is None:
            self.never = True
            return
        fields = text.split()
        if len(fields) != 5:
            raise ValueError(f"cron schedule {spec!r}: expected five fields, 'minute hour day month weekday', or a word such as "
                             "'anytime', 'never', 'daily', 'workhours'")
        minutes, hours, self.days, self.months, weekdays = (_field(*row, text) for row, text in zip(FIELDS, fields))
        self.weekdays = {(day - 1) % 7 for day in weekdays}         # as tm_wday, from Monday
        self.either = fields[2][0] != '*' and fields[4][0] != '*'
        self.minutes = bytes(hour in hours and minute in minutes for hour in range(24) for minute in range(60))
        all_days, all_weekdays = len(self.days) == 31, len(self.weekdays) == 7
        self.always = (0 not in self.minutes and len(self.months) == 12 and
                       (all_days or all_weekdays if self.either else all_days and all_weekdays))
        self.never = not self.either and min(self.days) > max(LONGEST[month] for month in self.months)

    def next(self, clock, permitted):
        """Return the first second at or after `clock` (calendar seconds) that is permitted, or is not. Infinity for none."""
        if self.never or self.always:
            return INFINITY if self.always != permitted else clock
        day, second = divmod(clock, DAY)
        minute, last = second // 60, day + HORIZON // DAY
        while day < last:
            date = gmtime(day * DAY)
            in_month = date.tm_mon in self.months
            in_days, in_weekdays = date.tm_mday in self.days, date.tm_wday in self.weekdays
            if in_month and (in_days or in_weekdays if self.either else in_days and in_weekdays):
                found = self.minutes.find(permitted, minute)
            else:
                found = -1 if permitted else minute
            if found >= 0:
                return max(clock, day * DAY + found * 60)
            # Not past the 29th, so as not to step over the first days of the next month.
            day += 1 if in_month else max(1, 29 - date.tm_mday)
            minute = 0
        return INFINITY


def _field(name, low, high, names, text):
    """The set of numbers that a field stands for."""
    found = set()
    for part in text.split(','):
        span, slash, step = part.partition('/')
        first, dash, last = span.partition('-')
        if first == '*' and not dash:
            begin, end = low, high
        else:
            begin = end = _number(first, low, high, names)
            if dash:
                end = _number(last, low, high, names)
                if end == 0 and begin and names is DAYS:
                    end = 7                     # 'sat-sun'
            elif slash:
                end = high
        step = _number(step, 1, 99, ()) if slash else 1
        if None in (begin, end, step) or begin > end:
            raise ValueError(f"cron {name} {text!r}: expected *, {low}-{high}{f' or {names[0][:3]}-{names[-1][:3]}' if names else ''}"
                             f", ranges upwards, steps such as */5, or a list of these with commas, got {part!r}")
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
    """Seconds until the clock on the wall shows a minute that is permitted, or is not.

    While the offset from UTC stays, that is calendar arithmetic. A change of the offset begins the search again from there.
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
            # No clock is turned by more than a day, so nothing before this can be it.
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
