"""The cookie jar (RFC 6265)."""

import pytest

from ioto.http.url import parse_url
from ioto.url.cookies import DOMAIN, TOTAL, Jar, date_of
from tests.url.support import OK, Script, answer, serve


class Clock:
    def __init__(self):
        self.now = 1_000_000_000.0

    def __call__(self):
        return self.now


def jar(where, *fields):
    made = Jar(Clock())
    made.store(parse_url(where), fields)
    return made


@pytest.mark.parametrize('where, field, to, sent', [
    ('http://a.example/', 'x=1', 'http://a.example/', 'x=1'),
    ('http://a.example/', 'x=1', 'http://A.EXAMPLE:81/b?c', 'x=1'),
    ('http://a.example/', 'x=1', 'http://b.a.example/', ''),
    ('http://a.example/', 'x=1', 'http://example/', ''),
    ('http://a.example/', 'x=1; Domain=a.example', 'http://b.a.example/', 'x=1'),
    ('http://b.a.example/', 'x=1; Domain=.a.example', 'http://a.example/', 'x=1'),
    ('http://b.a.example/', 'x=1; domain=A.Example', 'http://c.a.example/', 'x=1'),
    ('http://a.example/', 'x=1; Domain=a.example', 'http://aa.example/', ''),
    ('http://a.example/', 'x=1; Domain=b.example', 'http://b.example/', ''),
    ('http://a.example/', 'x=1; Domain=b.a.example', 'http://b.a.example/', ''),
    ('http://a.example/', 'x=1; Domain=example', 'http://a.example/', ''),
    ('http://localhost/', 'x=1; Domain=localhost', 'http://localhost/', 'x=1'),
    ('http://10.0.0.1/', 'x=1; Domain=0.0.1', 'http://10.0.0.1/', ''),
    ('http://10.0.0.1/', 'x=1; Domain=10.0.0.1', 'http://10.0.0.1/', 'x=1'),
    ('http://[::1]/', 'x=1', 'http://[::1]:8/', 'x=1'),
    ('http://a.example/b/c', 'x=1', 'http://a.example/b/d', 'x=1'),
    ('http://a.example/b/c', 'x=1', 'http://a.example/b', 'x=1'),
    ('http://a.example/b/c', 'x=1', 'http://a.example/bb', ''),
    ('http://a.example/b/c', 'x=1', 'http://a.example/', ''),
    ('http://a.example/b/c', 'x=1; Path=/', 'http://a.example/', 'x=1'),
    ('http://a.example/', 'x=1; Path=/b/', 'http://a.example/b/c', 'x=1'),
    ('http://a.example/', 'x=1; Path=/b/', 'http://a.example/b', ''),
    ('http://a.example/b/c', 'x=1; Path=relative', 'http://a.example/b/', 'x=1'),
    ('https://a.example/', 'x=1; Secure', 'https://a.example/', 'x=1'),
    ('https://a.example/', 'x=1; Secure', 'http://a.example/', ''),
    ('http://a.example/', 'x=1; Secure', 'https://a.example/', ''),
    ('https://a.example/', '__Secure-x=1', 'https://a.example/', ''),
    ('https://a.example/', '__Secure-x=1; Secure', 'https://a.example/', '__Secure-x=1'),
    ('https://a.example/', '__Host-x=1; Secure; Path=/; Domain=a.example', 'https://a.example/', ''),
    ('https://a.example/', '__Host-x=1; Secure; Path=/', 'https://a.example/', '__Host-x=1'),
    ('http://a.example/', 'x="a b"; HttpOnly; SameSite=Lax', 'http://a.example/', 'x="a b"'),
    ('http://a.example/', ' x = a=b ;', 'http://a.example/', 'x=a=b'),
    ('http://a.example/', 'x=', 'http://a.example/', 'x='),
    ('http://a.example/', 'x', 'http://a.example/', ''), ('http://a.example/', '=1', 'http://a.example/', ''),
    ('http://a.example/', 'x=' + 'y' * 5000, 'http://a.example/', ''),
    ('http://a.example/', 'x=1; Max-Age=10', 'http://a.example/', 'x=1'),
    ('http://a.example/', 'x=1; Max-Age=0', 'http://a.example/', ''),
    ('http://a.example/', 'x=1; Max-Age=-1', 'http://a.example/', ''),
    ('http://a.example/', 'x=1; Max-Age=soon', 'http://a.example/', 'x=1'),
    ('http://a.example/', 'x=1; Expires=Wed, 21 Oct 2065 07:28:00 GMT', 'http://a.example/', 'x=1'),
    ('http://a.example/', 'x=1; Expires=Thu, 01 Jan 1970 00:00:01 GMT', 'http://a.example/', ''),
    ('http://a.example/', 'x=1; Expires=Thu, 01-Jan-1970 00:00:00 GMT', 'http://a.example/', ''),
    ('http://a.example/', 'x=1; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=9', 'http://a.example/', 'x=1'),
])
def test_a_cookie_goes_where_it_belongs(where, field, to, sent):
    assert jar(where, field).header(parse_url(to)) == sent


def test_a_cookie_replaces_its_like_and_ends_in_time():
    cookies = jar('http://a.example/', 'x=1', 'y=2; Max-Age=60', 'x=3', 'x=4; Path=/b')
    where = parse_url('http://a.example/b/c')
    assert cookies.header(where) == 'x=4; y=2; x=3'
    cookies.clock.now += 61
    assert cookies.header(where) == 'x=4; x=3' and len(cookies) == 2
    cookies.store(where, ['x=; Path=/b; Max-Age=0'])
    assert cookies.header(where) == 'x=3'


def test_a_cookie_without_tls_stands_in_for_no_secure_one():
    """RFC 6265bis §5.7"""
    cookies = jar('https://b.a.example/', 'x=1; Secure; Domain=a.example', 'y=2')
    for where, field in (('a', 'x=0'), ('c.a', 'x=0'), ('b.a', 'x=0; Path=/p'), ('b.a', 'x=; Max-Age=0; Domain=a.example'), ('b.a', 'y=3')):
        cookies.store(parse_url(f'http://{where}.example/'), [field])
    assert cookies.header(parse_url('https://b.a.example/p')) == 'x=1; y=3'


def test_the_jar_is_bounded():
    cookies = jar('http://a.example/', *[f'x{n}=1' for n in range(DOMAIN + 10)])
    assert len(cookies) == DOMAIN and 'x9=' not in cookies.header(parse_url('http://a.example/'))
    for n in range(TOTAL + 10):
        cookies.store(parse_url(f'http://h{n}.example/'), ['x=1'])
    assert len(cookies) == TOTAL and not cookies.header(parse_url('http://h5.example/'))


@pytest.mark.parametrize('text, seconds', [
    ('Sun, 06 Nov 1994 08:49:37 GMT', 784111777), ('Sunday, 06-Nov-94 08:49:37 GMT', 784111777), ('Sun Nov  6 08:49:37 1994', 784111777),
    ('Sun, 06-Nov-1994 08:49:37 GMT', 784111777), ('6 nov 1994 8:49:37', 784111777), ('Sun, 06-Nov-94 08:49:37 GMT', 784111777),
    ('1994 Nov 6 08:49:37', 784111777), ('', None), ('tomorrow', None), ('99 Nov 1994 08:49:37', None), ('06 Nov 1994', None)])
def test_dates_of_cookies_come_in_many_forms(text, seconds):
    assert date_of(text) == seconds


def test_cookies_are_kept_over_redirects_and_requests():
    def tell(asked):
        if asked.target == '/in':
            return answer(302, 'Location: /home', 'Set-Cookie: id=7; Path=/; HttpOnly', 'Set-Cookie: b=8')
        return OK
    script = Script(tell)

    async def main(client, base):
        await client.get(base + '/in')
        await client.get(base + '/other')
        await client.get(base + '/other', headers={'Cookie': 'own=1'})
    serve(main, script)
    assert [asked.fields.get('cookie') for asked in script.asked] == [None, 'id=7; b=8', 'id=7; b=8', 'own=1']
    del script.asked[:]
    serve(main, script, cookies=False)
    assert [asked.fields.get('cookie') for asked in script.asked] == [None, None, None, 'own=1']
