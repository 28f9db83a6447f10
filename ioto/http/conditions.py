"""Conditional requests: whether to do what is asked (RFC 9110 §13).

`etag` is the entity tag as it is sent, quotes and `W/` included, or None; `modified` is in seconds since 1970, or None.
"""

import re

from .dates import parse_date

_TAG = r'(?:W/)?+"[\x21\x23-\x7e\x80-\xff]*+"'                      # RFC 9110 §8.8.3
TAG = re.compile(_TAG)
TAGS = re.compile(rf'[\t ,]*+(?:{_TAG}[\t ]*+(?:,[\t ,]*+|$))++')
UNCONDITIONAL = frozenset(('CONNECT', 'OPTIONS', 'TRACE'))          # RFC 9110 §13.2.1


def evaluate(method, fields, etag=None, modified=None, exists=True):
    """0 to go on, 304 or 412, in the order of RFC 9110 §13.2.2; `exists` is whether there is a resource.

    To be asked where the answer would else be 2xx: any other comes before the conditions.
    """
    if method in UNCONDITIONAL:
        return 0
    reading = method == 'GET' or method == 'HEAD'
    if (wanted := fields.get('if-match')) is not None:
        if not (exists if wanted == '*' else exists and _listed(wanted, etag, True)):
            return 412
    elif (wanted := fields.get('if-unmodified-since')) is not None and modified is not None:
        date = parse_date(wanted)
        if date is not None and int(modified) > date:
            return 412
    if (known := fields.get('if-none-match')) is not None:
        if exists and (known == '*' or _listed(known, etag, False)):
            return 304 if reading else 412
    elif reading and modified is not None and (known := fields.get('if-modified-since')) is not None:
        date = parse_date(known)
        if date is not None and int(modified) <= date:
            return 304
    return 0


def if_range(fields, etag=None, modified=None):
    """Whether Range counts: no If-Range, or one that names this very version (RFC 9110 §13.1.5)."""
    wanted = fields.get('if-range')
    if wanted is None:
        return True
    if TAG.fullmatch(wanted):
        return wanted == etag and not etag.startswith('W/')
    date = parse_date(wanted)
    return date is not None and modified is not None and int(modified) == date


def _listed(tags, etag, strong):
    """Whether `etag` is in a list, where a malformed one has none (RFC 9110 §8.8.3.2)."""
    if etag is None or not TAGS.fullmatch(tags):
        return False
    if strong:
        return not etag.startswith('W/') and etag in TAG.findall(tags)
    return etag.removeprefix('W/') in [tag.removeprefix('W/') for tag in TAG.findall(tags)]
