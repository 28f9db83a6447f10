"""Filling in `${device.name}` from a value."""

import re

from .query import get
from .render import render
from .syntax import Json5Error

MISSING = object()


def template(text, values, default=None):
    """Return the text with each ${query} replaced by what the query names in `values` (see query.py).

    Strings go in as they are, other values as JSON. A name that is not there gives `default` if that is a string, and
    is left as it stands if not: the mistake stays visible, and a second template can fill in what the first did not
    know. What was put in is not looked at again.
    """
    def replace(found):
        query = found[1].strip()
        try:
            value = get(values, query, MISSING) if query else MISSING
        except Json5Error:                      # ${…} of another language
            value = MISSING
        if value is MISSING:
            return found[0] if default is None else default
        return value if isinstance(value, str) else render(value)

    return re.sub(r'\$\{([^{}]*+)\}', replace, text)
