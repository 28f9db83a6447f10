"""Request heads: request line, targets, Host, fields, framing, options (RFC 9112 §2, §3, §5, §6, §9; RFC 9110 §7)."""

import pytest

from ioto.http import CHUNKED, ParseError, Request, find_head, parse_request
from ioto.http.client import request_head
from tests.http.feeding import agreed, head, request, status

GET = b'GET / HTTP/1.1'
ALPHANUMERIC = set(b'0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz')


def fault(data):
    """The error of a head, as (status, message)."""
    kind, code, message = agreed(data)[-1]
    assert kind == 'error'
    return code, message


def target(line, **given):
    return request(head(line=line, **given))


# The request line

def test_gives_every_attribute_of_a_plain_request():
    line, host = b'GET /a/b.html?x=1&y=%20 HTTP/1.1', b'Host: Example.COM:8080'
    found = request(head(b'X-One: 1', b'X-TWO:\t two words', line=line, host=host))
    assert {name: getattr(found, name) for name in Request.__slots__} == {
        'method': 'GET', 'target': '/a/b.html?x=1&y=%20', 'path': '/a/b.html', 'query': 'x=1&y=%20', 'version': 11,
        'fields': {'host': 'Example.COM:8080', 'x-one': '1', 'x-two': 'two words'},
        'pairs': [('Host', 'Example.COM:8080'), ('X-One', '1'), ('X-TWO', 'two words')],
        'authority': 'Example.COM:8080', 'host': 'example.com', 'length': 0, 'keep_alive': True, 'expect': False,
        'protocol': None}


def test_fills_an_object_of_the_class_asked_for():
    class Mine(Request):
        __slots__ = ('more',)

    data = head(line=GET)
    assert type(parse_request(data, *find_head(data), Mine)) is Mine


def test_reads_a_head_within_a_larger_buffer_and_from_a_bytearray():
    data = bytearray(b'xxxx' + head(line=b'GET /a HTTP/1.1') + b'rest')
    start, end = find_head(data, 4)
    assert (start, data[end + 2:]) == (4, b'rest')
    assert parse_request(data, start, end).path == '/a'


@pytest.mark.parametrize('method', ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH', 'get', 'X',
    "M-SEARCH!#$%&'*+.^_`|~9"])
def test_any_token_is_a_method_and_its_case_counts(method):
    """RFC 9110 §9.1."""
    assert target(f'{method} / HTTP/1.1'.encode()).method == method


@pytest.mark.parametrize('version, number', [('1.0', 10), ('1.1', 11), ('1.2', 11), ('1.9', 11)])
def test_higher_minor_versions_count_as_1_1(version, number):
    """RFC 9110 §6.2: a higher minor version is processed as the highest one known."""
    assert target(f'GET / HTTP/{version}'.encode()).version == number


@pytest.mark.parametrize('version', ['0.9', '2.0', '3.0', '9.9', '0.0'])
def test_other_major_versions_are_505(version):
    """RFC 9110 §15.6.6."""
    assert status(head(line=f'GET / HTTP/{version}'.encode())) == 505


def test_the_http2_preface_is_505():
    assert status(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n') == 505


@pytest.mark.parametrize('line', [
    b'GET /', b'GET', b'GET / ', b'GET  / HTTP/1.1', b'GET /  HTTP/1.1', b'GET / HTTP/1.1 ', b'GET / HTTP/1.1\t',
    b' GET / HTTP/1.1',
    b'GET\t/ HTTP/1.1', b'GET /\tHTTP/1.1', b'GET\x0b/ HTTP/1.1', b'GET\x0c/ HTTP/1.1', b'GET\xa0/ HTTP/1.1',
    b'GET /a b HTTP/1.1',
    b'GET / http/1.1', b'GET / Http/1.1', b'GET / HTTP/1', b'GET / HTTP/1.', b'GET / HTTP/.1', b'GET / HTTP/11',
    b'GET / HTTP/1.10',
    b'GET / HTTP/11.1', b'GET / HTTP/01.1', b'GET / HTTP/1,1', b'GET / HTTP 1.1', b'GET / HTTP/1.1x', b'GET / HTTP/x.1',
    b'GET / HTTP/1.x',
    b'GET / HTTP/+1.1', b'GET / HTTP/-1.1', b'GET / HTTP/ 1.1', b'GET / HTTP /1.1', b'GET / HTTPS/1.1',
    b'GET / ICY/1.1', b'GET / HTTP/\xb9.1',
    b'GET / \x00HTTP/1.1', b'G\x00ET / HTTP/1.1', b'GET /\x00 HTTP/1.1', b'G(T / HTTP/1.1', b'G,T / HTTP/1.1',
    b'G/T / HTTP/1.1',
    b'G:T / HTTP/1.1', b'G@T / HTTP/1.1', b'"GET" / HTTP/1.1', b'G\xc9T / HTTP/1.1', b'/ HTTP/1.1', b'HTTP/1.1 200 OK',
    b'\x16\x03\x01\x02\x00',
    b'\xef\xbb\xbfGET / HTTP/1.1', b'{"a": 1}', b'GET / HTTP/1.1\r', b'\rGET / HTTP/1.1', b'GET /\r HTTP/1.1',
    b'GET / HTTP/1.1\n', b'GET\r\n/ HTTP/1.1',
])
def test_malformed_request_lines_are_400(line):
    """RFC 9112 §3; white space other than one space is not taken for one, though a server MAY."""
    assert status(head(line=line)) == 400


@pytest.mark.parametrize('byte', sorted(set(range(256)) - ALPHANUMERIC - set(b"!$&'()*+,-./:;=?@[]_~%")))
def test_bytes_that_no_uri_has_are_400_in_a_target(byte):
    """RFC 3986 §2, RFC 9112 §3.2; a fragment is no part of a target, so "#" is one of them."""
    assert status(head(line=b'GET /a%cb HTTP/1.1' % byte)) == 400
    if byte not in FROM_BROWSERS:
        assert status(head(line=b'GET /?a%cb HTTP/1.1' % byte)) == 400


FROM_BROWSERS = b'\\^`{|}'          # they send these unescaped in a query (URL Standard, query percent-encode set)


@pytest.mark.parametrize('path', [b'/a', b'/a%20b', b'http://a.example/a'])
def test_bytes_that_browsers_leave_unescaped_are_taken_in_a_query(path):
    assert target(b'GET %b?q=%b HTTP/1.1' % (path, FROM_BROWSERS)).query == 'q=' + FROM_BROWSERS.decode()


def test_empty_lines_before_a_request_are_skipped():
    """RFC 9112 §2.2."""
    one = agreed(head(line=GET))
    assert agreed(b'\r\n' + head(line=GET)) == one
    assert agreed(b'\r\n\r\n\r\n' + head(line=GET)) == one
    assert agreed(head(line=GET) + b'\r\n' + head(line=GET)) == one * 2


@pytest.mark.parametrize('junk', [b'\n', b'\r', b'\r\n\n', b'\r\n ', b' \r\n', b'\x00', b'\r\r\n', b'\t'])
def test_what_is_no_empty_line_before_a_request_is_400(junk):
    assert status(junk + head(line=GET)) == 400


def test_pipelined_requests_and_bodies_are_told_apart():
    """RFC 9112 §9.3.2."""
    first = head(b'Content-Length: 5') + b'GET /'
    second = head(b'Transfer-Encoding: chunked') + b'3\r\nabc\r\n0\r\n\r\n'
    found = agreed(first + head(line=GET) + second + head(line=GET))
    assert [event[:2] if event[0] == 'body' else event[0] for event in found] == [
        'POST', ('body', b'GET /'), 'GET', 'POST', ('body', b'abc'), 'GET']


# Targets

@pytest.mark.parametrize('line, authority, host, path, query', [
    ('GET /where?q=now', 'a.example', 'a.example', '/where', 'q=now'),
    ('GET /', 'a.example', 'a.example', '/', ''),
    ('GET /?', 'a.example', 'a.example', '/', ''),
    ('GET /??a=?/', 'a.example', 'a.example', '/', '?a=?/'),
    ('GET /a[1]?b[]=2', 'a.example', 'a.example', '/a[1]', 'b[]=2'),
    ('GET /%61%2F%62?%61', 'a.example', 'a.example', '/a/b', '%61'),
    ('GET //b.example/x', 'a.example', 'a.example', '/b.example/x', ''),
    ('GET /http://b.example/', 'a.example', 'a.example', '/http:/b.example/', ''),
    ('GET http://b.example/where?q', 'b.example', 'b.example', '/where', 'q'),
    ('GET HTTP://B.example:8080/x', 'B.example:8080', 'b.example', '/x', ''),
    ('GET https://b.example', 'b.example', 'b.example', '/', ''),
    ('GET http://b.example?x', 'b.example', 'b.example', '/', 'x'),
    ('GET http://b.example:/', 'b.example:', 'b.example', '/', ''),
    ('GET http://[::1]:80/', '[::1]:80', '[::1]', '/', ''),
    ('GET http://b.example/a/../c/./d', 'b.example', 'b.example', '/c/d', ''),
    ('OPTIONS http://b.example:8001', 'b.example:8001', 'b.example', '*', ''),
    ('OPTIONS http://b.example/', 'b.example', 'b.example', '/', ''),
    ('OPTIONS http://b.example?x', 'b.example', 'b.example', '/', 'x'),
    ('OPTIONS *', 'a.example', 'a.example', '*', ''),
    ('OPTIONS /x', 'a.example', 'a.example', '/x', ''),
    ('CONNECT b.example:443', 'b.example:443', 'b.example', '', ''),
    ('CONNECT [2001:db8::1]:443', '[2001:db8::1]:443', '[2001:db8::1]', '', ''),
])
def test_the_four_forms_of_target(line, authority, host, path, query):
    """RFC 9112 §3.2; in absolute form the target's authority goes before Host."""
    found = target(f'{line} HTTP/1.1'.encode())
    assert (found.authority, found.host, found.path, found.query) == (authority, host, path, query)
    assert found.target == line.partition(' ')[2]
    assert found.fields['host'] == 'a.example'


@pytest.mark.parametrize('line', [
    'GET *', 'POST *', 'OPTIONS *?x', 'OPTIONS **', 'OPTIONS */', 'GET a.example:80', 'GET where', 'GET ?x', 'GET .',
    'GET ../x', 'GET a/b',
    'GET ftp://b.example/', 'GET ws://b.example/', 'GET file:///x', 'GET urn:a:b', 'GET http:/b.example/',
    'GET http:b.example', 'GET http:',
    'GET http://', 'GET http:///x', 'GET http://?x', 'GET http://:80/', 'GET http://u@b.example/',
    'GET http://u:p@b.example/', 'GET http://@b.example/',
    'GET http://b.example:x/', 'GET http://b.example:65536/', 'GET http://b.example:80:80/', 'GET http://[::1/',
    'GET http://::1/', 'GET http://[::1]x/',
    'GET http://b.example%zz/', 'GET http://[b.example]/', 'GET ://b.example/', 'GET xhttp://b.example/',
    'GET http//b.example/',
    'CONNECT b.example', 'CONNECT b.example:', 'CONNECT :443', 'CONNECT /', 'CONNECT *',
    'CONNECT http://b.example:443/', 'CONNECT b.example:443/',
    'CONNECT b.example:443?', 'CONNECT u@b.example:443', 'CONNECT b.example:99999', 'CONNECT b.example:443:443',
    'CONNECT /a?b',
])
def test_targets_of_no_form_or_of_another_method_are_400(line):
    """RFC 9112 §3.2, RFC 9110 §4.2.4 (user information)."""
    assert status(head(line=f'{line} HTTP/1.1'.encode())) == 400


@pytest.mark.parametrize('path', ['/%', '/%4', '/%4g', '/%zz', '/%%41', '/%00', '/a%00b', '/%ff', '/%c0%af', '/..',
    '/../x', '/a/../../x', '/%2e%2e/x', '/a/%2e%2e%2f../x'])
def test_paths_that_name_nothing_are_400(path):
    assert status(head(line=f'GET {path} HTTP/1.1'.encode())) == 400
    assert status(head(line=f'GET {path} HTTP/1.0'.encode())) == 400
    assert status(head(line=f'GET http://b.example{path} HTTP/1.1'.encode())) == 400


# Host

def test_a_request_without_host_is_400_in_1_1_only():
    """RFC 9112 §3.2."""
    assert status(head(line=GET, host=None)) == 400
    assert status(head(line=b'GET / HTTP/1.2', host=None)) == 400
    found = target(b'GET / HTTP/1.0', host=None)
    assert (found.authority, found.host) == ('', '')


@pytest.mark.parametrize('target', [b'http://a.example/', b'*', b'a.example:1'])
def test_host_is_required_with_every_form_of_target(target):
    method = {b'*': b'OPTIONS', b'a.example:1': b'CONNECT'}.get(target, b'GET')
    assert status(head(line=method + b' ' + target + b' HTTP/1.1', host=None)) == 400


@pytest.mark.parametrize('version', [b'1.0', b'1.1'])
@pytest.mark.parametrize('second', [b'Host: a.example', b'Host: b.example', b'host:', b'HOST: x'])
def test_repeated_host_is_400(version, second):
    """RFC 9112 §3.2, even if both are the same."""
    assert status(head(second, line=b'GET / HTTP/' + version)) == 400
    assert status(head(b'X: y', second, line=b'GET http://a.example/ HTTP/' + version)) == 400


def test_two_empty_hosts_are_400():
    assert status(head(b'Host:', line=GET, host=b'Host:')) == 400


@pytest.mark.parametrize('value, host', [
    ('a.example', 'a.example'), ('A.Example', 'a.example'), ('a.example:80', 'a.example'), ('a.example:', 'a.example'),
    ('localhost', 'localhost'),
    ('127.0.0.1:8080', '127.0.0.1'), ('[::1]', '[::1]'), ('[::1]:8080', '[::1]'), ('[FE80::a:B]', '[fe80::a:b]'),
    ('', ''), ('my_device', 'my_device'),
    ('a.example.', 'a.example.'), ('a%2Db', 'a%2db'), ("a!$&'()*+,;=~-b", "a!$&'()*+,;=~-b"),
])
def test_valid_hosts(value, host):
    """RFC 9110 §7.2, RFC 3986 §3.2.2; the value is empty if the target has no authority."""
    found = target(GET, host=f'Host: {value}'.encode())
    assert (found.authority, found.host) == (value, host)


@pytest.mark.parametrize('value', [
    'a b', 'a/b', 'a.example/', 'http://a.example', 'u@a.example', 'u:p@a.example', 'a.example:x', 'a.example:-1',
    'a.example:+1', 'a.example:65536', 'a.example:123456',
    'a.example:80:80', ':80', ':', 'a,\tb', 'a.example, b.example', '[::1', '::1', '[::1]x', '[]', '[:::]', '[1::2::3]',
    '[12345::]', '[1:2:3:4:5:6:7]', '[1:2:3:4:5:6:7:8:9]',
    '[fe80::1%25eth0]', '[v1.x]', '[127.0.0.1]', 'a?b', 'a#b', 'a\\b', '<a>', 'a"b', 'a|b', 'a^b', 'a`b', '{a}', 'a%',
    'a%2', 'a%zz', 'h\xf6st', 'a' * 400,
])
@pytest.mark.parametrize('line', [GET, b'GET / HTTP/1.0', b'GET http://a.example/ HTTP/1.1'])
def test_malformed_hosts_are_400(value, line):
    """RFC 9112 §3.2, in HTTP/1.0 and with an absolute target as well."""
    assert status(head(line=line, host=f'Host: {value}'.encode('latin-1'))) == 400


# Fields

@pytest.mark.parametrize('line, pair', [
    (b'A: b', ('A', 'b')), (b'A:b', ('A', 'b')), (b'A:  b', ('A', 'b')), (b'A:\tb', ('A', 'b')), (b'A: b ', ('A', 'b')),
    (b'A: b\t', ('A', 'b')),
    (b'A: \t b \t ', ('A', 'b')), (b'A:', ('A', '')), (b'A: ', ('A', '')), (b'A:\t \t', ('A', '')),
    (b'A: b c', ('A', 'b c')), (b'A: b\tc', ('A', 'b\tc')),
    (b'A: b:c', ('A', 'b:c')), (b'A::', ('A', ':')), (b'A: \xe9\xff\x80', ('A', '\xe9\xff\x80')),
    (b'A: "b\\"c"', ('A', '"b\\"c"')), (b'A: \xa0b\xa0', ('A', '\xa0b\xa0')),
    (b"a!#$%&'*+-.^_`|~09: b", ("a!#$%&'*+-.^_`|~09", 'b')), (b'A: \x85', ('A', '\x85')),
    (b'A: b\xa0 ', ('A', 'b\xa0')), (b'0: 1', ('0', '1')),
])
def test_field_lines(line, pair):
    """RFC 9112 §5, RFC 9110 §5.5: white space around a value is no part of it; bytes from 0x80 are kept."""
    for data in (head(line, line=GET), head(b'B: 1 ', line, b'C:', line=GET), head(line, line=b'GET / HTTP/1.0')):
        found = request(data)
        assert pair in found.pairs
        assert found.fields[pair[0].lower()] == pair[1]


def test_repeated_fields_are_joined_in_order():
    """RFC 9110 §5.3; RFC 6265 §5.4 for Cookie."""
    found = request(head(b'Accept: a', b'X: 1', b'ACCEPT: b', b'cookie: a=1', b'accept:', b'Cookie: b=2', line=GET))
    assert found.fields == {'host': 'a.example', 'accept': 'a, b, ', 'x': '1', 'cookie': 'a=1; b=2'}
    assert found.pairs[1:] == [('Accept', 'a'), ('X', '1'), ('ACCEPT', 'b'), ('cookie', 'a=1'), ('accept', ''),
        ('Cookie', 'b=2')]


def test_hundreds_of_different_names_are_read_like_the_first():
    for number in range(400):
        assert request(head(b'X-%d-Name: %d' % (number, number), line=GET)).fields[f'x-{number}-name'] == str(number)


@pytest.mark.parametrize('byte', [*range(9), *range(10, 32), 127])
@pytest.mark.parametrize('form', [b'A: %c', b'A: b%cc', b'A: b%c', b'A:%cb'])
def test_control_bytes_in_a_value_are_400(byte, form):
    """RFC 9110 §5.5: CR, LF and NUL MUST be refused or replaced; the others are refused with them."""
    assert status(head(form % byte, b'B: c', line=GET)) == 400


@pytest.mark.parametrize('byte', sorted(set(range(256)) - ALPHANUMERIC - set(b"!#$%&'*+-.^_`|~:")))
@pytest.mark.parametrize('form', [b'%cA: b', b'A%cB: b', b'A%c: b'])
def test_bytes_that_no_token_has_are_400_in_a_name(byte, form):
    """RFC 9110 §5.6.2; white space before the colon included (RFC 9112 §5.1)."""
    assert status(head(form % byte, line=GET)) == 400


@pytest.mark.parametrize('line', [b' A: b', b'\tA: b', b' ', b'\t', b' folded', b'A', b'A b', b': b', b':', b'A b: c',
    b'A\x0b: b', b'', b'A: b\r', b'A: b\n', b'A: b\nB: c', b'A: b\rB: c'])
def test_malformed_field_lines_are_400_wherever_they_stand(line):
    """RFC 9112 §2.2 (white space before the first field, bare CR), §5.1, §5.2 (folding)."""
    if line:
        assert status(head(line, host=None)) == 400
        assert status(head(b'B: c', line, b'C: d')) == 400
        assert status(head(b'B: c', line)) == 400


# Faults

@pytest.mark.parametrize('data, message', [
    (b'GET / HTTP/1.1\nHost: a\n\n', r"bad line end: 'GET / HTTP/1.1\n'"),
    (head(b'A: b\nC: d'), r"bad line end: 'A: b\n'"),
    (head(b'A: b\rC: d'), r"bad line end: 'A: b\rC'"),
    (head(b'A : b'), "bad field: 'A '"),
    (head(b' b'), "bad field: ' '"),
    (head(b'A: \x00'), r"bad field: 'A: \x00'"),
    (head(b'"A": b'), "bad field: '\"'"),
    (head(b'A\xe9: b'), r"bad field: 'A\xe9'"),
    (b'GET / http/1.1\r\n', "bad first line: 'GET / h'"),
    (b'\x16\x03\x01', r"bad first line: '\x16'"),
    (head(b'A: ' + b'x' * 100 + b'\x01'), "bad field: '" + 'x' * 39 + "\\x01'"),
    (head(line=GET, host=None), 'no Host'),
    (head(b'Content-Length: 1x'), "bad Content-Length: '1x'"),
])
def test_a_fault_is_told_with_the_bytes_that_show_it(data, message):
    assert fault(data)[1] == message


@pytest.mark.parametrize('data', [
    b'GET / HTTP/1.1\n', b'GET / HTTP/1.1\r\nHost ', b'GE\x00', b'GET / HTTP/1.1\r\n ', b'GET / HTTP/1.1\r\nA: b\r\n\t',
    b'GET /\r', b'GET / HTTP/1.1\rX',
    b'\r\r', b'\r\n\n', b'GET / HTTP/1.1\r\nA: b\r\n\r\r', b'GET  ', b'GET / HTTP/1.1 ', b'GET / HTTP/1.1\r\nA: \x7f',
    b'GET / HTTP/1.1\r\nA: b\n',
])
def test_a_fault_is_raised_with_its_byte_and_not_later(data):
    assert find_head(data[:-1])[1] == -1
    with pytest.raises(ParseError):
        find_head(data)


@pytest.mark.parametrize('data, code', [
    (b'GET / HTTP/2.0\r\nHost: a\r\nA : b\r\n\r\n', 400),
    (b'GET / HTTP/2.0\r\nA: b\r\n\r\n', 505),
    (b'GET /\x00 HTTP/1.1\r\nA\nB\r\n\r\n', 400),
    (b'POST / HTTP/1.1\r\nTransfer-Encoding: x, chunked\r\n\r\n', 400),
    (b'POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nTransfer-Encoding: x, chunked\r\n\r\n', 501),
    (b'POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: x\r\n\r\n', 400),
])
def test_the_first_fault_in_the_bytes_wins_then_version_target_host_framing_expectation(data, code):
    assert fault(data)[0] == code


def test_parse_errors_close_the_connection():
    with pytest.raises(ParseError) as caught:
        find_head(b'\x00')
    assert caught.value.close and caught.value.status == 400 and str(caught.value).startswith('400: ')


# Framing

@pytest.mark.parametrize('fields, length', [
    ([], 0), ([b'Content-Length: 0'], 0), ([b'Content-Length: 5'], 5), ([b'Content-Length: 005'], 5),
    ([b'Content-Length: ' + b'9' * 18], 10 ** 18 - 1),
    ([b'Content-Length:5 \t'], 5), ([b'Content-Length: 5, 5'], 5), ([b'Content-Length: 5,5 ,\t5'], 5),
    ([b'Content-Length: 5', b'content-length: 5'], 5),
    ([b'Content-Length: 0', b'Content-Length: 0, 0'], 0), ([b'Transfer-Encoding: chunked'], CHUNKED),
    ([b'transfer-encoding:CHUNKED'], CHUNKED),
    ([b'Transfer-Encoding: \tChunked '], CHUNKED),
])
def test_the_length_of_a_body(fields, length):
    """RFC 9112 §6.3, RFC 9110 §8.6: an identical repeated Content-Length counts once."""
    assert agreed(head(*fields))[0][9] == length


@pytest.mark.parametrize('method', ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'POST', 'X'])
def test_framing_does_not_depend_on_the_method(method):
    """RFC 9112 §6: the presence of a body is told by the fields alone."""
    assert agreed(head(b'Content-Length: 3', line=f'{method} / HTTP/1.1'.encode()) + b'abc')[1] == ('body', b'abc', {})


def test_1_0_may_have_a_content_length():
    assert agreed(head(b'Content-Length: 3', line=b'POST / HTTP/1.0') + b'abc')[1] == ('body', b'abc', {})


# Connection, Expect, Upgrade

@pytest.mark.parametrize('version, fields, keep', [
    ('1.1', [], True), ('1.0', [], False), ('1.1', [b'Connection: close'], False),
    ('1.1', [b'Connection: CLOSE'], False),
    ('1.1', [b'Connection: keep-alive'], True), ('1.0', [b'Connection: keep-alive'], True),
    ('1.0', [b'Connection: Keep-Alive'], True),
    ('1.0', [b'Connection: close'], False), ('1.0', [b'Connection: keep-alive, close'], False),
    ('1.1', [b'Connection: keep-alive, close'], False),
    ('1.1', [b'Connection: x', b'Connection: y, close'], False), ('1.1', [b'Connection: x,, ,close'], False),
    ('1.1', [b'Connection: closed'], True),
    ('1.1', [b'Connection:'], True), ('1.0', [b'Connection:'], False),
    ('1.0', [b'Connection: upgrade, keep-alive'], True), ('1.2', [], True),
    ('1.1', [b'Proxy-Connection: close'], True), ('1.0', [b'Keep-Alive: timeout=5'], False),
    ('1.1', [b'Connection: "close"'], True),
])
def test_persistence(version, fields, keep):
    """RFC 9112 §9.3."""
    assert target(f'GET / HTTP/{version}'.encode()).keep_alive == (version != '1.0')
    assert request(head(*fields, line=f'GET / HTTP/{version}'.encode())).keep_alive is keep


@pytest.mark.parametrize('version, fields, expect', [
    ('1.1', [b'Expect: 100-continue', b'Content-Length: 5'], True),
    ('1.1', [b'Expect: 100-Continue', b'Transfer-Encoding: chunked'], True),
    ('1.1', [b'Expect: 100-continue'], False), ('1.1', [b'Expect: 100-continue', b'Content-Length: 0'], False),
    ('1.0', [b'Expect: 100-continue', b'Content-Length: 5'], False), ('1.1', [b'Content-Length: 5'], False),
    ('1.1', [b'Expect:', b'Content-Length: 5'], False),
    ('1.1', [b'Expect: 100-continue, 100-continue', b'Content-Length: 5'], True),
])
def test_expect_is_set_if_the_client_waits_before_a_body(version, fields, expect):
    """RFC 9110 §10.1.1; in HTTP/1.0 it MUST be ignored."""
    assert agreed(head(*fields, line=f'POST / HTTP/{version}'.encode()))[0][11] is expect


@pytest.mark.parametrize('value', [b'200-ok', b'100', b'100-continue, x', b'x', b'100-continue;a', b'"100-continue"',
    b'100-continu'])
@pytest.mark.parametrize('version', [b'1.0', b'1.1'])
def test_other_expectations_are_417(value, version):
    """RFC 9110 §10.1.1, §15.5.18."""
    assert status(head(b'Expect: ' + value, line=b'POST / HTTP/' + version)) == 417


@pytest.mark.parametrize('version, fields, upgrade', [
    ('1.1', [b'Upgrade: websocket', b'Connection: Upgrade'], 'websocket'),
    ('1.1', [b'Upgrade: WebSocket', b'Connection: keep-alive, UPGRADE'], 'WebSocket'),
    ('1.1', [b'Upgrade: websocket'], None), ('1.1', [b'Upgrade: websocket', b'Connection: x'], None),
    ('1.1', [b'Connection: upgrade'], None),
    ('1.0', [b'Upgrade: websocket', b'Connection: upgrade'], None),
    ('1.1', [b'Upgrade: h2c', b'Upgrade: websocket', b'Connection: upgrade'], 'h2c, websocket'),
    ('1.1', [b'Upgrade: x', b'Connection: keep-alive'], None),
])
def test_upgrade_counts_if_connection_names_it(version, fields, upgrade):
    """RFC 9110 §7.8: in HTTP/1.0 it MUST be ignored."""
    assert request(head(*fields, line=f'GET / HTTP/{version}'.encode())).protocol == upgrade


# Building

def test_builds_a_head_that_parses_to_the_same():
    data = request_head('POST', '/a?b', [('Host', 'a.example'), ('X-Y', 'z \xe9'), ('Content-Length', 0)])
    assert data == b'POST /a?b HTTP/1.1\r\nHost: a.example\r\nX-Y: z \xe9\r\nContent-Length: 0\r\n\r\n'
    assert request(data).fields == {'host': 'a.example', 'x-y': 'z \xe9', 'content-length': '0'}


@pytest.mark.parametrize('method, target, pairs', [
    ('GET', '/a b', []), ('GET', '', []), ('', '/', []), ('G T', '/', []), ('GET', '/\r\nX: y', []), ('GET', '/#x', []),
    ('GET', '/\xe9', []), ('GET', '/ HTTP/1.1\r\nA: b\r\n', []),
    ('GET', '/', [('A b', 'c')]), ('GET', '/', [('', 'c')]), ('GET', '/', [('A:', 'c')]),
    ('GET', '/', [('A', 'b\r\nC: d')]), ('GET', '/', [('A', 'b\n')]),
    ('GET', '/', [('A', 'b\r')]), ('GET', '/', [('A', '\0')]), ('GET', '/', [('A', '\u20ac')]),
    ('GET', '/', [('A\n', 'b')]), ('GET', '/', [('A', '\x7f')]),
])
def test_refuses_to_build_what_would_be_another_message(method, target, pairs):
    with pytest.raises(ValueError):
        request_head(method, target, pairs)
