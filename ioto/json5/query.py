"""Paths into a value: get, set and remove.

    users[0].name     a property, an item by its index ([-1] is the last), a property of that
    types['text/css'] a property whose name holds dots, brackets or nothing at all; the quotes enclose a JSON5 string
    routes[$]         one past the last item: `set` appends there
    (empty)           the value itself

A number steps into an array as an index and into an object as a name, written [0] or .0 alike. A query that cannot be
read raises Json5Error, with the column in the query.
"""

import re

from .syntax import Json5Error

APPEND = object()
OTHER_THAN_NAMES = frozenset('[]"\'')

STEP = r'''(\.?)([^][.'"]+)|\[(?:(\$)|(-?[0-9]+)|(?=["']))'''


def get(value, query, default=None):
    """Return what the query names, or `default` if it is not there. A null that is there is None."""
    for step in split(query):
        step, present = find(value, step)
        if not present:
            return default
        value = value[step]
    return value


def set(value, query, new):
    """Put `new` where the query says, in place, and return the value (`new` itself for the empty query).

    Objects and arrays on the way are made where nothing or null is. Raises Json5Error if the way leads through another
    kind of value, or past the end of an array.
    """
    steps = split(query)
    if not steps:
        return new
    if value is None:
        value = _container(steps[0])
    inner = value
    for at, step in enumerate(steps):
        key, present = find(inner, step)
        if not present or inner[key] is None:
            break
        if at < len(steps) - 1:
            inner = inner[key]
    for following in reversed(steps[at + 1:]):  # made from the inside, so that a fault changes nothing
        container = _container(following)
        _put(container, following, new, query)
        new = container
    _put(inner, step, new, query)
    return value


def remove(value, query):
    """Remove what the query names, in place, and tell whether it was there."""
    steps = split(query)
    for step in steps[:-1]:
        step, present = find(value, step)
        if not present:
            return False
        value = value[step]
    step, present = find(value, steps[-1]) if steps else (None, False)
    if present:
        del value[step]
    return present


def split(query):
    """Return the steps of a query: names, indices and APPEND. Raises Json5Error."""
    if not query:
        return []
    if not OTHER_THAN_NAMES.intersection(query):
        steps = query.split('.')
        if '' not in steps:
            return steps
    from .reader import Reader
    match_step = re.compile(STEP).match
    steps = []
    at = 0
    while at < len(query):
        found = match_step(query, at)
        if not found or found[2] and (found[1] == '.') != (at > 0):
            break
        if found[2]:
            steps.append(found[2])
            at = found.end()
            continue
        at = found.end()
        if found[3]:
            steps.append(APPEND)
        elif found[4]:
            steps.append(int(found[4][:20]))
        else:
            name, at = Reader(query).string(at)
            steps.append(name)
        if query[at:at + 1] != ']':
            break
        at += 1
    else:
        return steps
    raise Json5Error(f'expected a query such as users[0].name, found {query!r}', 1, at + 1)


def find(value, step):
    """Return the key or index that the step means in this value, and whether something is there."""
    if isinstance(value, dict):
        if isinstance(step, int):
            step = str(step)
        return step, step in value
    if not isinstance(value, list) or step is APPEND:
        return step, False
    if isinstance(step, str):
        if not (step.isdigit() and step.isascii() and len(step) < 20):
            return step, False
        step = int(step)
    if step < 0:
        step += len(value)
    return step, 0 <= step < len(value)


def _container(step):
    return {} if isinstance(step, str) else []


def _put(value, step, new, query):
    key, present = find(value, step)
    if isinstance(value, dict) and step is not APPEND:
        value[key] = new
    elif present:
        value[key] = new
    elif isinstance(value, list) and (step is APPEND or key == len(value)):
        value.append(new)
    else:
        where = 'an item of an array' if not isinstance(step, str) else f'a property {step!r}'
        raise Json5Error(f'expected room for {where} at {query!r}')
