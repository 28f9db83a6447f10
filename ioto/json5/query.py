"""Paths into a value: get, set, remove and locate.

users[0].name is a property of an item ([-1] is the last), types['text/css'] one of any name, routes[$] the place past
the last item, and the empty path the value itself. Numbers, as in [0] or .0, are names in an object. A path that cannot
be read raises Json5Error.
"""

import re

from .parser import Json5Error, Reader, decode, position

APPEND = object()
match_step = re.compile(r'''(\.?)([^][.'"]+)|\[(?:(\$)|(-?[0-9]+)|(?=["']))''').match


def get(value, query, default=None):
    """Return what the query names, or `default` if it is not there."""
    for step in split(query):
        step, present = find(value, step)
        if not present:
            return default
        value = value[step]
    return value


def set(value, query, new):
    """Put `new` where the query says, in place, and return the value (`new` itself for the empty query).

    Missing objects and arrays on the way are made. Raises Json5Error, with nothing changed, if one cannot be there.
    """
    return _put(value, split(query), new, query)


def remove(value, query):
    """Remove what the query names, in place, and tell whether it was there."""
    present = False
    for step in split(query):
        container = value
        step, present = find(container, step)
        if not present:
            return False
        value = container[step]
    if present:
        del container[step]
    return present


def locate(text, query, relaxed=True):
    """Return (line, column) of the key or item that the query names, or of the nearest around it, for messages."""
    reader = Reader(text if isinstance(text, str) else decode(text), relaxed, {})
    value = reader.document()
    at = reader.skip(0)
    for step in split(query):
        step, present = find(value, step)
        if not present:
            break
        at = reader.places[id(value), step][0]
        value = value[step]
    return position(reader.text, at)


def split(query):
    steps = []
    at = 0
    while at < len(query):
        found = match_step(query, at)
        if not found or found[2] and (found[1] == '.') != (at > 0):
            break
        at = found.end()
        if found[2]:
            steps.append(found[2])
            continue
        if found[3] or found[4]:
            step = APPEND if found[3] else int(found[4][:20])
        else:
            step, at = Reader(query).string(at)
        steps.append(step)
        if query[at:at + 1] != ']':
            break
        at += 1
    else:
        return steps
    raise Json5Error(f'expected a query such as users[0].name, found {query!r}', 1, at + 1)


def find(value, step):
    """Return the key or index that the step means in this value, and whether something is there."""
    if isinstance(value, dict):
        step = str(step) if isinstance(step, int) else step
        return step, step in value
    if isinstance(step, str) and re.fullmatch('[0-9]{1,20}', step):
        step = int(step)
    if not isinstance(value, list) or not isinstance(step, int):
        return step, False
    if step < 0:
        step += len(value)
    return step, 0 <= step < len(value)


def _put(value, steps, new, query):
    """Return the value with `new` where the steps lead; the change comes last, after all that can fail."""
    if not steps:
        return new
    step, *rest = steps
    if value is None:
        value = {} if isinstance(step, str) else []
    key, present = find(value, step)
    new = _put(value[key] if present else None, rest, new, query)
    if present or isinstance(value, dict) and step is not APPEND:
        value[key] = new
    elif isinstance(value, list) and (step is APPEND or key == len(value)):
        value.append(new)
    else:
        raise Json5Error(f'expected room for {"another item" if step is APPEND else repr(step)} at {query!r}')
    return value
