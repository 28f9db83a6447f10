"""Whole URLs (RFC 3986), their host names (RFC 3492, RFC 5891)."""

import random

import pytest

from ioto.http.url import ascii_host, build_query, parse_url, punycode, resolve, with_query


@pytest.mark.parametrize('text, whole, target, authority', [
    ('http://h', 'http://h/', '/', 'h'),
    ('HTTP://Example.COM:80/A', 'http://example.com/A', '/A', 'example.com'),
    ('https://h:443?x', 'https://h/?x', '/?x', 'h'),
    ('https://h:80/', 'https://h:80/', '/', 'h:80'),
    ('http://h/#f', 'http://h/#f', '/', 'h'),
    ('http://h?', 'http://h/?', '/?', 'h'),
    ('http://[::1]:8080/a', 'http://[::1]:8080/a', '/a', '[::1]:8080'),
    ('http://h/a/./b/../c', 'http://h/a/c', '/a/c', 'h'),
    ('http://h/../..', 'http://h/', '/', 'h'),
    ('http://h//a//', 'http://h//a//', '//a//', 'h'),
    ('http://h/%2e%2E/%41', 'http://h/%2e%2E/%41', '/%2e%2E/%41', 'h'),
    ('http://h/a b"<>', 'http://h/a%20b%22%3C%3E', '/a%20b%22%3C%3E', 'h'),
    ('http://h/ü?ü=%C3%BC#ü', 'http://h/%C3%BC?%C3%BC=%C3%BC#%C3%BC', '/%C3%BC?%C3%BC=%C3%BC', 'h'),
    ('http://h/100%?50%', 'http://h/100%25?50%25', '/100%25?50%25', 'h'),
    ('http://u:p%40w@h/', 'http://h/', '/', 'h'),
    ('http://bücher.example/', 'http://xn--bcher-kva.example/', '/', 'xn--bcher-kva.example'),
    ('http://BÜCHER。example:81/', 'http://xn--bcher-kva.example:81/', '/', 'xn--bcher-kva.example:81'),
    ('ws://h/s', 'ws://h/s', '/s', 'h'), ('wss://h:443/s', 'wss://h/s', '/s', 'h'),
    ('unix:/run/a.sock:/v1?x', 'unix:/run/a.sock:/v1?x', '/v1?x', 'localhost'),
    ('unix:/run/a%20b', 'unix:/run/a b:/', '/', 'localhost'),
])
def test_a_url_has_a_target_and_an_authority(text, whole, target, authority):
    url = parse_url(text)
    assert (str(url), url.target, url.authority) == (whole, target, authority)
    assert str(parse_url(whole.replace(' ', '%20'))) == whole


def test_the_user_is_decoded_and_never_shown():
    url = parse_url('https://us%65r:p%3Aw%40@h:8443/p?q=secret')
    assert (url.user, url.password, url.host, url.port, url.secure) == ('user', 'p:w@', 'h', 8443, True)
    assert 'p:w' not in str(url) and 'secret' not in repr(url) and url.place == 'https://h:8443/p'
    assert parse_url('http://@h/').user == '' and parse_url('http://h/').user is None


def test_an_error_shows_no_password():
    with pytest.raises(ValueError, match=r"control character in the URL: '\\n' at 18"):
        parse_url('http://u:secret@h/\n')


@pytest.mark.parametrize('text', [
    '', '/', '/path', 'h', 'localhost:80', 'h:80/x', '//h/', 'http:', 'http:/', 'http:h', 'http://', 'http:///x', 'http://:80/',
    'ftp://h/', 'javascript:alert(1)', 'file:///etc/passwd', 'http://h:0/', 'http://h:65536/', 'http://h:x/', 'http://h:-1/',
    'http://a b/', 'http://a%20b/', 'http://[::1', 'http://[::g]/', 'http://::1/', 'http://[v1.x]/', 'http://a@b@c/', 'http://u s@h/',
    'http://good\\@evil/', 'http://good\\evil/', 'http://h\r\n/', 'http://h/\r\nX: 1', 'http://h/\0', 'http://h/\t', 'http://h/\x7f',
    'http://ü\u200b.example/', 'http://ü*.example/', 'http://' + 'ü' * 80 + '/', 'http://h/\ud800',
    'unix:', 'unix:x', 'unix://h/x', 'unix:/a:b',
])
def test_what_is_no_url_or_could_be_read_in_two_ways_is_refused(text):
    with pytest.raises(ValueError):
        parse_url(text)


@pytest.mark.parametrize('reference, target', [
    ('g', '/b/c/g'), ('./g', '/b/c/g'), ('g/', '/b/c/g/'), ('/g', '/g'), ('?y', '/b/c/d;p?y'), ('g?y', '/b/c/g?y'),
    ('#s', '/b/c/d;p?q'), ('g#s', '/b/c/g'), ('g?y#s', '/b/c/g?y'), (';x', '/b/c/;x'), ('g;x', '/b/c/g;x'), ('', '/b/c/d;p?q'),
    ('.', '/b/c/'), ('./', '/b/c/'), ('..', '/b/'), ('../', '/b/'), ('../g', '/b/g'), ('../..', '/'), ('../../', '/'), ('../../g', '/g'),
    ('../../../g', '/g'), ('../../../../g', '/g'), ('/./g', '/g'), ('/../g', '/g'), ('g.', '/b/c/g.'), ('.g', '/b/c/.g'),
    ('g..', '/b/c/g..'), ('..g', '/b/c/..g'), ('./../g', '/b/g'), ('./g/.', '/b/c/g/'), ('g/./h', '/b/c/g/h'), ('g/../h', '/b/c/h'),
    ('g;x=1/./y', '/b/c/g;x=1/y'), ('g;x=1/../y', '/b/c/y'), ('g?y/./x', '/b/c/g?y/./x'), ('g#s/../x', '/b/c/g'),
])
def test_references_resolve_as_in_the_standard(reference, target):
    """RFC 3986 §5.4"""
    base = parse_url('http://a/b/c/d;p?q')
    assert resolve(base, reference).target == target
    unix = parse_url('unix:/s:/b/c/d;p?q')
    assert (resolve(unix, reference).target, resolve(unix, reference).host) == (target, '/s')


def test_references_with_an_authority_leave_the_user_behind():
    base = parse_url('https://u:p@a:8443/b')
    assert resolve(base, '/c').user == 'u' and resolve(base, '//g/x').user is None
    assert str(resolve(base, '//g/x')) == 'https://g/x' and str(resolve(base, 'http://g')) == 'http://g/'
    assert str(base) == 'https://a:8443/b'


def test_queries_are_built_so_that_nothing_in_them_separates():
    assert build_query({'a b': '&=+/ü', 'n': 1, 'l': [1, '2']}) == 'a%20b=%26%3D%2B%2F%C3%BC&n=1&l=1&l=2'
    assert build_query([('a', 1), ('a', 2)]) == 'a=1&a=2'
    assert with_query(parse_url('http://h/p?x=1#f'), {'y': 2}).target == '/p?x=1&y=2'
    assert with_query(parse_url('http://h'), {'y': 2}).target == '/?y=2'
    assert with_query(parse_url('http://h?x'), 'a=1&b=ü%20').target == '/?x&a=1&b=%C3%BC%20'


@pytest.mark.parametrize('host, coded', [
    ('例え.テスト', 'xn--r8jz45g.xn--zckzah'), ('пример.испытание', 'xn--e1afmkfd.xn--80akhbyknj4f'), ('faß.de', 'xn--fa-hia.de'),
    ('उदाहरण.परीक्षा', 'xn--p1b6ci4b4b3a.xn--11b5bs3a9aj6g'), ('a.b', 'a.b'), ('ü', 'xn--tda')])
def test_host_names_have_an_ascii_form(host, coded):
    assert ascii_host(host) == coded


def test_punycode_is_that_of_the_codec():
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    ranges = [(97, 123), (0xe0, 0x250), (0x400, 0x500), (0x4e00, 0x9fff), (0x1f300, 0x1f600)]
    for _ in range(2000):
        label = ''.join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(1, 30)))
        assert punycode(label) == label.encode('punycode').decode(), f'seed {seed}: {label!a}'
