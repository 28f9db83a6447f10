"""Lists, parameters, quality values and cookies (RFC 9110 §5.6, §12.4.2; RFC 6265)."""

import time

import pytest

from ioto.http.fields import Headers, format_cookie, parse_cookies, tokens
from ioto.http.lists import members, parameters, qualities


def test_headers_ignore_the_case_of_names():
    """RFC 9110 §5.1."""
    headers = Headers([('X-A', '1'), ('x-a', '2'), ('B', '3')])
    assert headers['X-a'] == headers.get('x-A') == '1, 2' and 'X-A' in headers and 'C' not in headers
    assert headers.all('x-a') == ['1', '2'] and headers.all('c') == [] and headers.get('C', 0) == 0
    assert headers == {'x-a': '1, 2', 'b': '3'}
    with pytest.raises(KeyError):
        headers['C']


@pytest.mark.parametrize('value, found', [
    ('', []), ('a', ['a']), ('A, b', ['a', 'b']), (',a,, \t,b,', ['a', 'b']), (' a\t,b ', ['a', 'b']),
    ('keep-alive, Upgrade', ['keep-alive', 'upgrade']), ('\xa0a', ['\xa0a']),
])
def test_tokens_of_a_list(value, found):
    """RFC 9110 §5.6.1: empty members MUST be ignored."""
    assert tokens(value) == found


@pytest.mark.parametrize('value, found', [
    ('a, "b, c", d', ['a', '"b, c"', 'd']), ('a;x="1,2";y=3, b', ['a;x="1,2";y=3', 'b']),
    ('"a\\",b", c', ['"a\\",b"', 'c']), ('a, "b, c', ['a', '"b, c']), ('', []), (',,', []),
])
def test_members_of_a_list_with_quoted_strings(value, found):
    assert members(value) == found


@pytest.mark.parametrize('value, main, found', [
    ('Text/HTML', 'text/html', {}), ('text/html;charset=UTF-8', 'text/html', {'charset': 'UTF-8'}),
    ('a ; B = c', 'a', {}), ('a ; B="c \\"d\\\\" ;e=f', 'a', {'b': 'c "d\\', 'e': 'f'}),
    ('multipart/form-data; boundary="a;b"', 'multipart/form-data', {'boundary': 'a;b'}), ('a;;b=c;', 'a', {'b': 'c'}),
    ('a;b=c;b=d', 'a', {'b': 'c'}), ('a;b', 'a', {}), ('a;b="c', 'a', {}), ('', '', {}), ('a;b=""', 'a', {'b': ''}),
])
def test_parameters(value, main, found):
    """RFC 9110 §5.6.6: no white space around "="; names in any case."""
    assert parameters(value) == (main, found)


@pytest.mark.parametrize('value, found', [
    ('', []), ('gzip', [('gzip', 1.0)]), ('a;q=0.5, b;q=0.8, c', [('c', 1.0), ('b', 0.8), ('a', 0.5)]),
    ('a;q=0, *;Q=1.000', [('*', 1.0), ('a', 0.0)]),
    ('text/html;level=1;q=0.3, */*', [('*/*', 1.0), ('text/html', 0.3)]),
    ('a;q=2, b;q=x, c;q=0.1234, d;q=-1, e;q=1.', [('e', 1.0), ('a', 0.0), ('b', 0.0), ('c', 0.0), ('d', 0.0)]),
    ('a, b;q=1, c', [('a', 1.0), ('b', 1.0), ('c', 1.0)]),
])
def test_quality_values_best_first(value, found):
    """RFC 9110 §12.4.2."""
    assert qualities(value) == found


@pytest.mark.parametrize('value, found', [
    ('', {}), ('a=1', {'a': '1'}), ('a=1; b=2', {'a': '1', 'b': '2'}), ('a=1;b=2', {'a': '1', 'b': '2'}),
    ('a="1"', {'a': '1'}), ('a=b=c', {'a': 'b=c'}), ('a=', {'a': ''}), ('a', {}), ('=1', {}), ('a=1; a=2', {'a': '1'}),
    (' a = 1 ;', {'a': '1'}), ('a="', {'a': '"'}), ('A=1; a=2', {'A': '1', 'a': '2'}), ('a=%20', {'a': '%20'}),
])
def test_cookies(value, found):
    """RFC 6265 §5.4; names are case-sensitive."""
    assert parse_cookies(value) == found


def test_set_cookie_is_safe_by_default():
    assert format_cookie('a', '1') == 'a=1; Path=/; SameSite=Lax; HttpOnly'
    assert format_cookie('a', '', max_age=0) == 'a=; Path=/; Max-Age=0; SameSite=Lax; HttpOnly'
    assert format_cookie('a', '1', path='/x', max_age=60, http_only=False, secure=True, same_site='Strict',
        domain='b.example') == (
        'a=1; Path=/x; Domain=b.example; Max-Age=60; SameSite=Strict; Secure')


@pytest.mark.parametrize('arguments', [
    {'name': 'a b'}, {'name': ''}, {'name': 'a='}, {'name': 'a;'}, {'name': 'a\n'}, {'value': 'b c'}, {'value': 'b;c'},
    {'value': 'b,c'}, {'value': '"b"'}, {'value': 'b\\'}, {'value': 'é'}, {'value': 'b\r\nX: y'},
    {'path': '/;Domain=x'}, {'path': '/\r\n'}, {'domain': 'a\n'}, {'same_site': 'Lax; Domain=x'},
])
def test_a_cookie_that_cannot_be_carried_is_refused(arguments):
    with pytest.raises(ValueError):
        format_cookie(**{'name': 'a', 'value': 'b', **arguments})


@pytest.mark.parametrize('function', [tokens, members, parameters, qualities, parse_cookies])
@pytest.mark.parametrize('part', ['"\\', '"', '\\"', ',', ';', ' ', 'a;', ';a=', ';a="', 'a,"', ';a="b"', '; '])
def test_hostile_values_take_time_in_proportion_to_their_length(function, part):
    def seconds(value):
        best = 60.0
        for _ in range(3):
            begin = time.process_time()
            function(value)
            best = min(best, time.process_time() - begin)
        return best
    short, long = seconds('a' + part * 2_000), seconds('a' + part * 32_000)
    assert long < max(short, 0.0005) * 100
