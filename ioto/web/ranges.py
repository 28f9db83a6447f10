"""Ranges of a document (RFC 9110 §14): loaded when a client first asks for some.

A Range that is malformed, of another unit, of many parts or for another version (If-Range) is ignored, as the standard
allows: the whole document is the answer. Ranges that overlap, or are closer than the head of a part is long, become
one.
"""

import os
import re
from time import time

from ..http import HttpError, encode_field
from ..http.conditions import if_range

MANY = 10               # ranges that are served
NEAR = 80               # bytes between two that are sent as one
RANGES = re.compile(r'(?i:bytes)=[\t ,]*+(?:(?:[0-9]{1,100}-[0-9]{0,100}|-[0-9]{1,100})[\t ]*+(?:,[\t ,]*+|$))++')


def parse(value, size):
    """The [(first, end), …] that a Range asks of `size` bytes, [] where none of it is there, None to ignore it."""
    if not RANGES.fullmatch(value):
        return None
    found = []
    asked = re.findall(r'([0-9]*)-([0-9]*)', value)
    for first, last in asked:
        if not first:
            begin, end = max(0, size - int(last)), size
        else:
            begin, end = int(first), min(int(last or size) + 1, size)
            if last and int(last) < begin:
                return None
        if begin < end:
            found.append((begin, end))
    if len(asked) > MANY or not size:
        return None
    merged = []
    for begin, end in sorted(found):
        if merged and begin - merged[-1][1] < NEAR:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return found if len(found) == len(merged) else merged


def select(web, document):
    """What is asked for as (fields, [(bytes before, offset, count), …]), or None for all. Raises HttpError 416."""
    # A date that may yet get another version is no strong validator (RFC 9110 §8.8.2.2).
    modified = document.modified if document.modified < time() - 1 else None
    size = document.size
    if not if_range(web.fields, document.etag, modified):
        return None
    ranges = parse(web.fields['range'], size)
    if ranges is None:
        return None
    if not ranges:
        raise HttpError(416, f'the document has {size} bytes', (('Content-Range', f'bytes */{size}'),))
    places = [encode_field('Content-Range', f'bytes {begin}-{end - 1}/{size}') for begin, end in ranges]
    if len(ranges) == 1:
        begin, end = ranges[0]
        return document.fields + places[0], [(b'', begin, end - begin)]
    boundary = os.urandom(12).hex()
    kind, line, fields = document.fields.partition(b'\r\n')         # Content-Type comes first
    pieces = [(b'\r\n--%b\r\n%b\r\n%b\r\n' % (boundary.encode(), kind, place), begin, end - begin)
              for place, (begin, end) in zip(places, ranges)]
    pieces.append((b'\r\n--%b--\r\n' % boundary.encode(), 0, 0))
    return encode_field('Content-Type', f'multipart/byteranges; boundary={boundary}') + fields, pieces
