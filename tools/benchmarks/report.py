"""
What a benchmark returns, and how it is shown.

A Result is a table: one row a subject (the agent, a peer), one column a case with its unit. A column with `ratio` gets
a second one: the agent's value divided by the row's, so 2.00 beside a peer's rate reads "the agent does twice that".
Budgets are checked against the same numbers and printed below the table with yes or no.
"""

import statistics
from typing import NamedTuple


class Column(NamedTuple):
    """One case: its heading, the unit of its values, and whether the agent's ratio to each row says anything."""
    name: str
    unit: str
    ratio: bool = True


class Budget(NamedTuple):
    """One promise: what it is about, the value measured, 'at least' or 'at most', and the limit."""
    name: str
    value: float
    relation: str
    limit: float

    @property
    def met(self):
        return self.value >= self.limit if self.relation == 'at least' else self.value <= self.limit


class Result:
    """
    One benchmark's numbers. `rows` maps a subject to its values, in the order of the columns; None where it has none.
    `notes` are sentences printed below: what was left out, and why.
    """

    reference = 'agent'

    def __init__(self, name, title, columns):
        self.name = name
        self.title = title
        self.columns = columns
        self.rows = {}
        self.budgets = []
        self.notes = []

    def value(self, subject, column):
        """The value of a subject in the column of that name; None if it was not measured."""
        values = self.rows.get(subject)
        return values and values[[each.name for each in self.columns].index(column)]

    def ratio(self, subject, column):
        """The agent's value over the subject's; None where either is missing or the subject's is zero."""
        ours, theirs = self.value(self.reference, column), self.value(subject, column)
        return ours / theirs if ours is not None and theirs else None

    def budget(self, name, value, relation, limit):
        """Check a promise; a value of None (the peer is not there) leaves it out with a note."""
        if value is None:
            self.notes.append(f'not checked, for lack of a number: {name}')
        else:
            self.budgets.append(Budget(name, value, relation, limit))

    def plain(self):
        """The same as numbers and strings, for --json."""
        return {
            'name': self.name,
            'title': self.title,
            'rows': [{
                'subject': subject,
                'values': {column.name: value for column, value in zip(self.columns, values)},
                'ratios': {column.name: self.ratio(subject, column.name) for column in self.columns if column.ratio},
            } for subject, values in self.rows.items()],
            'units': {column.name: column.unit for column in self.columns},
            'budgets': [{**budget._asdict(), 'met': budget.met} for budget in self.budgets],
            'notes': self.notes,
        }


def number(value):
    """A value in at most four significant digits, thousands apart: 48,210 · 12.3 · 0.041; '-' for None."""
    if value is None:
        return '-'
    if value == int(value) or abs(value) >= 100:
        return f'{value:,.0f}'
    return f'{value:.1f}' if abs(value) >= 10 else f'{value:.2f}' if abs(value) >= 1 else f'{value:.3f}'


def table(result):
    """A Result as lines of text: title, one line a subject, budgets, notes."""
    names, units = [''], ['']
    for column in result.columns:
        names += [column.name, f'{result.reference}'] if column.ratio else [column.name]
        units += [column.unit, '÷ it'] if column.ratio else [column.unit]
    lines = [names, units]
    for subject, values in result.rows.items():
        line = [subject]
        for column, value in zip(result.columns, values):
            line.append(number(value))
            if column.ratio:
                ratio = result.ratio(subject, column.name)
                line.append('-' if ratio is None else f'{ratio:.2f}')
        lines.append(line)
    widths = [max(len(line[place]) for line in lines) for place in range(len(names))]
    text = [f'{result.name}: {result.title}']
    for line in lines:
        cells = [line[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        text.append(('  ' + '  '.join(cells)).rstrip())
    for budget in result.budgets:
        text.append(f'  budget: {budget.name}: {number(budget.value)}, {budget.relation} {number(budget.limit)}: '
                    + ('yes' if budget.met else 'NO'))
    text += [f'  note: {note}' for note in result.notes]
    return '\n'.join(text)


def interleave(rounds, subjects, measure):
    """
    Measure each subject once a round (a, b, c, a, b, c, …), so that what else the machine does falls on all alike.
    `measure(subject)` returns a number, or a tuple of them. Returns {subject: median, or tuple of medians}.
    """
    taken = {subject: [] for subject in subjects}
    for _ in range(rounds):
        for subject in subjects:
            taken[subject].append(measure(subject))
    return {subject: median(values) for subject, values in taken.items()}


def median(values):
    """The median of numbers, or of tuples of numbers place by place."""
    if isinstance(values[0], tuple):
        return tuple(statistics.median(place) for place in zip(*values))
    return statistics.median(values)
