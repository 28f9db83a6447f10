"""Filling in `${device.name}` from a value."""

import re

from .parser import Json5Error
from .query import get
from .render import to_json


def template(text, values, default=None):
    """Return the text with each ${query} replaced by what the query names: a string as it is, other values as JSON.

    What is not there becomes `default`, or stays as it stands.
    """
    def replace(found):
        missing = found[0] if default is None else default
        try:
            value = get(values, found[1].strip() or '[$]', missing)
        except Json5Error:                      # ${…} of another language
            return missing
        return value if isinstance(value, str) else to_json(value)

    return re.sub(r'\$\{([^{}]*+)\}', replace, text)
