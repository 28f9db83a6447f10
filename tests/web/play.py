"""Plays a conformance case against a running server and judges what comes back.

A `Case` is what a client sends, the answers that a correct server may give, and what becomes of the connection
afterwards; the table is conformance.py. `run` sends the steps over a connection of its own and reads the answers with
the strict client of rawhttp.py. Whatever the case, each answer must be `sound`: a true Date, validators of the right
form, the fields that its status requires, a Content-Length on each error. A connection that should persist is proved
by a further request on it; one that should end is read to its end, where no byte may follow the last answer.
"""

import calendar
import json
import re
import time

from tests.web.rawhttp import Closed, Connection, encode, request
from tests.web.webchild import HELLO

KEEP, CLOSE, ANY, OPEN = 'keep', 'close', 'any', 'open'
PAUSE, HALF, AWAIT = object(), object(), object()
DATE = re.compile(r'(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3]\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} '
                  r'[0-2]\d:[0-5]\d:[0-6]\d GMT')
ETAG = re.compile('(W/)?"[\x21\x23-\x7e\x80-\xff]*"')


class Case:
    """One row of the table."""

    def __init__(self, name, source, send, wants, after):
        self.id, self.source = name, source
        self.level = source.split()[-1]
        self.steps = send if isinstance(send, list) else [send]
        self.wants = wants if isinstance(wants, list) else [wants]
        self.after = after

    def __repr__(self):
        return self.id


class Want:
    """An expected answer: its statuses, the method that it answers, and checks: functions of the Response."""

    def __init__(self, status, *checks, method=None, version=11):
        self.statuses = status if isinstance(status, tuple) else (status,)
        self.checks, self.method, self.version = checks, method, version


def body(expected):
    def check(response):
        assert response.body == expected, f'body {response.body[:200]!r}, expected {expected[:200]!r}'
    return check


def field(name, expected):
    def check(response):
        assert response.get(name) == expected, f'{name}: {response.get(name)!r}, expected {expected!r}'
    return check


def has(name):
    def check(response):
        assert response.get(name) is not None, f'no {name} field'
    return check


def lacks(name):
    def check(response):
        assert response.get(name) is None, f'{name}: {response.get(name)!r} should not be there'
    return check


def option(name, token):
    def check(response):
        assert token in response.tokens(name), f'{name}: {response.get(name)!r} lacks {token}'
    return check


def without(name, token):
    def check(response):
        assert token not in response.tokens(name), f'{name}: {response.get(name)!r} has {token}'
    return check


def only(status, check):
    """The check, where the answer has that status (others are allowed too)."""
    def conditional(response):
        if response.status == status:
            check(response)
    return conditional


def echoed(content=None, headers=None, **expected):
    """The echo action saw that body; other arguments are its JSON members, `headers` those that must be among them (a
    value None: not there)."""
    def check(response):
        if response.status != 200:
            return
        seen = json.loads(response.body)
        if content is not None:
            assert seen['body'] == content, f'body {seen["body"][:200]!r}, expected {content[:200]!r}'
        arrived = {key.lower(): text for key, text in seen['headers'].items()}
        for name, value in (headers or {}).items():
            assert arrived.get(name) == value, f'the action saw {name}: {arrived.get(name)!r}, expected {value!r}'
        for name, value in expected.items():
            assert seen[name] == value, f'{name} {seen[name]!r}, expected {value!r}'
    return check


def interim(*statuses):
    def check(response):
        got = [one.status for one in response.interim]
        assert got in [list(status) for status in statuses], f'interim answers {got}'
    return check


def framed(*kinds):
    def check(response):
        assert response.framing in kinds, f'framed by {response.framing}'
    return check


def location(*paths):
    """Location refers to one of these absolute paths on this host."""
    def check(response):
        value = response.get('location')
        assert value, 'no Location'
        path = re.sub(r'^(https?:)?//(test|127\.0\.0\.1)(:\d+)?(?=/|$)', '', value)
        assert path in paths, f'Location {value!r}, expected {paths}'
    return check


def allow(*methods):
    def check(response):
        got = [item.strip() for item in response.get('allow', '').split(',')]
        assert set(methods) <= set(got), f'Allow: {response.get("allow")!r} lacks one of {methods}'
    return check


def server_version(response):
    assert response.version == 11, f'answered as version {response.version} (RFC 9110 §6.2)'


def complete_304(response):
    """RFC 9110 §15.4.5: the fields of a 200 that belong in a 304; §8.6: no other length than that of a 200."""
    assert response.get('etag'), 'a 304 lacks the ETag that the 200 has'
    assert response.get('content-length') in (None, str(len(HELLO))), 'a 304 with the length of something else'


def parse_date(text):
    months = 'JanFebMarAprMayJunJulAugSepOctNovDec'
    day, month, year, clock = text[5:].split(' ')[:4]
    hours, minutes, seconds = clock.split(':')
    when = calendar.timegm((int(year), months.index(month) // 3 + 1, int(day), int(hours), int(minutes), int(seconds)))
    assert time.strftime('%a', time.gmtime(when)) == text[:3], f'wrong day of the week in {text!r}'
    return when


def sound(response):
    """What holds for each answer whatever the request (an AssertionError names the rule)."""
    date = response.get('date')
    assert date and DATE.fullmatch(date), f'Date: {date!r} (RFC 9110 §6.6.1)'
    assert abs(parse_date(date) - time.time()) < 60, f'Date: {date!r} is not the time'
    modified = response.get('last-modified')
    if modified is not None:
        assert DATE.fullmatch(modified), f'Last-Modified: {modified!r} (RFC 9110 §5.6.7)'
        assert parse_date(modified) <= parse_date(date), f'Last-Modified {modified} is after Date (RFC 9110 §8.8.2.1)'
    tag = response.get('etag')
    assert tag is None or ETAG.fullmatch(tag), f'ETag: {tag!r} (RFC 9110 §8.8.3)'
    for status, name in ((405, 'allow'), (426, 'upgrade'), (401, 'www-authenticate'), (206, 'content-range'),
                         (301, 'location'),
                         (302, 'location'), (307, 'location'), (308, 'location')):
        if response.status == status and not (status == 206 and 'multipart' in response.get('content-type', '')):
            assert response.get(name) is not None, f'a {status} without {name} (RFC 9110 §15)'
    if response.status == 426:
        assert 'upgrade' in response.tokens('connection'), 'a 426 without Connection: upgrade (RFC 9110 §7.8)'
    if response.status >= 400:
        assert response.get('content-length') is not None, 'an error answer without Content-Length (DESIGN)'
        assert response.reason, 'an error answer without a reason phrase (DESIGN)'
    assert response.get('server') is None, 'a Server field (DESIGN)'


def run(case, port, names, timeout=10, base=sound):
    """Plays the case; AssertionError (rawhttp.Malformed is one), Closed or TimeoutError when the server is wrong."""
    steps = [fill(step, names) for step in case.steps]
    sent = b''.join(step for step in steps if isinstance(step, bytes))
    first = sent.lstrip(b'\r\n').split(b' ', 1)[0].decode('latin-1')
    old = b'HTTP/1.0\r\n' in sent
    with Connection(port, timeout=timeout) as connection:
        play(connection, steps)
        closing = False
        for number, want in enumerate(case.wants):
            if not isinstance(want, Want):
                want = Want(want)
            assert not closing, f'answer {number} came after Connection: close'
            method = want.method or (first if number == 0 else 'GET')
            try:
                response = connection.response(method, 10 if old else want.version)
            except Closed:
                if None in want.statuses or (number and case.after == ANY):
                    return
                raise
            assert response.status in want.statuses, f'answer {number}: {response!r}, expected {want.statuses}'
            base(response)
            for check in want.checks:
                check(response)
            closing = 'close' in response.tokens('connection') or response.framing == 'close'
            if closing and case.after == ANY:
                break
        finish(case, connection, closing, old, HALF in steps)


def fill(step, names):
    if isinstance(step, bytes):
        for name, value in names.items():
            step = step.replace(b'%' + name.encode() + b'%', encode(value))
    return step


def play(connection, steps):
    for step in steps:
        if step is PAUSE:
            time.sleep(0.03)
        elif step is HALF:
            connection.half_close()
        elif step is AWAIT:
            if connection.wait_head() != 100:
                return
        elif not connection.send(step):
            return


def finish(case, connection, closing, old, halved):
    """Checks what becomes of the connection."""
    if case.after == OPEN:
        return
    if case.after == CLOSE or halved or closing:
        rest = connection.ended()
        assert not rest, f'bytes after the last answer: {rest[:300]!r}'
        assert case.after != KEEP or halved, 'closed, though the connection should persist'
        if case.after == CLOSE and not old and not halved:
            assert closing, 'closed without Connection: close (RFC 9112 §9.6)'
        return
    connection.send(request('/hello.txt', 'Connection: close'))
    try:
        probe = connection.response('GET')
    except Closed:
        assert case.after == ANY, 'closed without Connection: close, though the connection should persist'
        return
    assert probe.status == 200 and probe.body == HELLO, f'a further request was answered {probe!r}'
    rest = connection.ended()
    assert not rest, f'bytes after the last answer: {rest[:300]!r}'
