"""Paths, queries and hosts (RFC 3986)."""

import random

import pytest

from ioto.http import HttpError, ParseError
from ioto.http.uri import (
    normalize_path, parse_form, parse_pairs, parse_query, percent_decode, percent_encode, split_host)


@pytest.mark.parametrize('path, normal', [
    ('/', '/'), ('/a', '/a'), ('/a/', '/a/'), ('/a/b', '/a/b'), ('//', '/'), ('///a//b//', '/a/b/'), ('/.', '/'),
    ('/./', '/'), ('/a/.', '/a/'), ('/a/./b', '/a/b'), ('/a/..', '/'),
    ('/a/../', '/'), ('/a/b/..', '/a/'), ('/a/b/../c', '/a/c'), ('/a/b/../../c', '/c'), ('/a//../b', '/b'),
    ('/...', '/...'), ('/..a', '/..a'), ('/a..', '/a..'), ('/.a', '/.a'), ('/a./b', '/a./b'),
    ('/%61', '/a'), ('/%7Ea', '/~a'), ('/a%20b', '/a b'), ('/a+b', '/a+b'), ('/%C3%A9', '/é'), ('/%f0%9f%98%80', '/😀'),
    ('/a%2Fb', '/a/b'), ('/a%2f%2fb', '/a/b'), ('/a/%2e', '/a/'),
    ('/a/%2E%2e/b', '/b'), ('/a/.%2e/b', '/b'), ('/a%2f..%2fb', '/b'), ('/%2561', '/%61'),
    ('/%252e%252e/a', '/%2e%2e/a'), ('/%25%32%65', '/%2e'), ('/%25', '/%'), ('/a%5Cb', '/a\\b'),
    ('/a/..%5c..%5cb', '/a/..\\..\\b'), ('/%3F%23', '/?#'), ('/a;x=1/..;/b', '/a;x=1/..;/b'), ('/%0a', '/\n'),
    ('/%7f', '/\x7f'),
])
def test_paths_are_decoded_once_and_then_normalised(path, normal):
    """RFC 3986 §5.2.4, §6.2.2; an escaped slash or dot is one, an escaped percent sign starts no escape."""
    assert normalize_path(path) == normal


@pytest.mark.parametrize('path', [
    '/..', '/../', '/../a', '/a/../..', '/a/../../b', '/./..', '//..', '/%2e%2e', '/%2e./a', '/..%2fa',
    '/%2e%2e%2fetc%2fpasswd', '/a/%2e%2e/%2e%2e/b', '/../../../../etc/passwd', '/a%2f..%2f..%2fb',
    '/%00', '/a%00.html', '/%', '/%a', '/%g0', '/%0g', '/% 0', '/%+1', '/%-1', '/%0x', '/a%', '/%\xb2\xb2',
    '/%ff', '/%80', '/%c0%af', '/%c0%ae%c0%ae/a', '/%e0%80%af', '/%f0%80%80%af', '/%c1%81', '/%ed%a0%80',
    '/%f4%90%80%80', '/%c3', '/%c3/%a9', '/%e2%82',
])
def test_paths_above_the_root_and_undecodable_ones_are_refused(path):
    """Overlong UTF-8 and surrogates included (RFC 3629 §3)."""
    with pytest.raises(ParseError) as caught:
        normalize_path(path)
    assert caught.value.status == 400


def test_no_normal_path_has_dot_segments_or_leaves_the_root():
    """Random paths of the pieces that attacks are made of; the seed is fixed."""
    rng = random.Random(2)
    pieces = ['/', '.', '..', '%2e', '%2F', '%5c', '%25', 'a', '%c0%ae', '%00', '//', '/../', ';', '%', '2e']
    accepted = 0
    for _ in range(20_000):
        path = '/' + ''.join(rng.choices(pieces, k=rng.randrange(8)))
        try:
            normal = normalize_path(path)
        except ParseError:
            continue
        accepted += 1
        assert normal.startswith('/') and '//' not in normal and '\0' not in normal
        assert not {'.', '..'} & set(normal.split('/'))
        assert normalize_path(percent_encode(normal)) == normal
    assert accepted > 5_000


@pytest.mark.parametrize('text, encoded',
    [('/a b', '/a%20b'), ('é', '%C3%A9'), ("-._~", "-._~"), ('%', '%25'), ('a?b#c', 'a%3Fb%23c'), ('a\r\n', 'a%0D%0A'),
     ('', ''), ('a+b&c=d', 'a%2Bb%26c%3Dd')])
def test_percent_encoding(text, encoded):
    """RFC 3986 §2.1."""
    assert percent_encode(text) == encoded
    assert percent_decode(encoded) == text


def test_safe_characters_are_the_callers_choice():
    assert percent_encode('/a:b', safe='') == '%2Fa%3Ab'
    assert percent_encode('/a:b', safe='/:') == '/a:b'


@pytest.mark.parametrize('text, pairs', [
    ('', []), ('a=1', [('a', '1')]), ('a=1&b=2', [('a', '1'), ('b', '2')]), ('a=1&a=2', [('a', '1'), ('a', '2')]),
    ('a', [('a', '')]), ('a=', [('a', '')]), ('=1', [('', '1')]), ('a=b=c', [('a', 'b=c')]),
    ('&&a=1&', [('a', '1')]), ('a+b=c+d', [('a b', 'c d')]), ('a%2Bb=c%20d', [('a+b', 'c d')]),
    ('%61%26=%3D', [('a&', '=')]), ('a=%C3%A9', [('a', 'é')]), ('a=%2541', [('a', '%41')]),
    ('a[]=1;2', [('a[]', '1;2')]),
    ('a=%00', [('a', '\0')]), ('é=ü', [('é', 'ü')]),
])
def test_queries_and_forms(text, pairs):
    """application/x-www-form-urlencoded."""
    assert parse_pairs(text) == parse_pairs(text.encode()) == parse_pairs(bytearray(text.encode())) == pairs
    assert parse_query(text) == parse_form(text.encode()) == dict(pairs)


@pytest.mark.parametrize('text', ['a=%', 'a=%4', 'a=%zz', 'a=%ff', 'a=%c0%af', '%=1', b'a=\xff'])
def test_bad_queries_are_400_and_keep_the_connection(text):
    with pytest.raises(HttpError) as caught:
        parse_pairs(text)
    assert caught.value.status == 400 and not caught.value.close


@pytest.mark.parametrize('authority, found', [
    ('a.example', ('a.example', None)), ('A.example:80', ('a.example', 80)), ('a:', ('a', None)), ('', ('', None)),
    ('127.0.0.1:0', ('127.0.0.1', 0)), ('a:65535', ('a', 65535)), ('[::]', ('[::]', None)),
    ('[::1]:80', ('[::1]', 80)), ('[1:2:3:4:5:6:7:8]', ('[1:2:3:4:5:6:7:8]', None)), ('[1::8]', ('[1::8]', None)),
    ('[1:2:3:4:5:6:7::]', ('[1:2:3:4:5:6:7::]', None)), ('[::2:3:4:5:6:7:8]', ('[::2:3:4:5:6:7:8]', None)),
    ('[::ffff:192.0.2.1]', ('[::ffff:192.0.2.1]', None)),
    ('[1:2:3:4:5:6:192.0.2.1]', ('[1:2:3:4:5:6:192.0.2.1]', None)), ('[2001:DB8::A]', ('[2001:db8::a]', None)),
])
def test_hosts_and_ports(authority, found):
    """RFC 3986 §3.2."""
    assert split_host(authority) == found


@pytest.mark.parametrize('authority', [
    ':80', 'a:b', 'a:65536', 'a:1:2', 'u@a', '[]', '[:]', '[1]', '[:::]', '[1::2::3]', '[1:2:3:4:5:6:7:8::]',
    '[1:2:3:4:5:6:7]', '[::12345]', '[::g]', '[::1.2.3]', '[::1.2.3.256]', '[::01.2.3.4]', '[::1.2.3.4.]',
    '[1.2.3.4::]', '[1:2:3:4:5:6:7:1.2.3.4]', '[::1', '::1', '[::1]]', '[::1]a', 'a/b', ' a', 'a ', 'a\n', '[::1]\n',
    'a:80\n', '[:1::2]', '[1:2:3:4:5:6:7:]', '[fe80::1%25lo]',
])
def test_what_is_no_host(authority):
    with pytest.raises(ParseError):
        split_host(authority)
