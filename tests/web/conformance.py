"""The table of HTTP/1.1 conformance cases, black-box: what a client sends, and what any correct server may answer.

A case names its source with section and level. MUST and SHOULD are those of RFC 9110 and RFC 9112; DESIGN is where
this server promises more than the RFC asks (bare LF, folding and doubtful bytes are refused, not repaired). Where an
RFC leaves a choice, each allowed answer is listed.

    case(id, source, what is sent, answers, after)

Sent are bytes, or a list of steps: bytes, PAUSE (a moment, so that pieces arrive apart), HALF (the client ends its
side), AWAIT (until a head arrives; when it is a final answer the rest is not sent). `%ETAG%`, `%OPAQUE%` and `%DATE%`
stand for the entity tag of /hello.txt, the same without quotes, and its Last-Modified. Answers are a status, a tuple
of statuses (None: closed without an answer) or a Want, or a list of these for a pipeline. `after` is what becomes of
the connection: KEEP (a further request on it is answered), CLOSE (it is closed with nothing more sent, whatever else
the client had sent), ANY (either, but no stray byte), OPEN (not looked at).
"""

from tests.web.webchild import BIG, FILES, HELLO, INDEX
from tests.web.play import (AWAIT, ANY, CLOSE, HALF, KEEP, OPEN, PAUSE, Case, Want, allow, body, complete_304, echoed, field,
                  framed, has, interim, lacks, location, only, option, server_version, without)
from tests.web.rawhttp import encode, request

CASES = []
REFUSED = (400,)
CONTROLS = [byte for byte in range(32) if byte not in (9, 10, 13)] + [127]
SEPARATORS = b'"(),/;<=>?@[\\]{}'
NEXT = request('/other.txt')


def case(name, source, send, wants=200, after=KEEP):
    if any(known.id == name for known in CASES):
        raise ValueError(f'case {name} is there twice')
    if not source.split()[-1] in ('MUST', 'SHOULD', 'DESIGN'):
        raise ValueError(f'case {name}: no level in {source}')
    CASES.append(Case(name, source, send, wants, after))


def refused(name, source, send, status=REFUSED):
    """A request whose framing is in doubt: one error answer, then close; what follows is never taken as a request."""
    case(name, source, send, status, CLOSE)


def raw(line, *fields, body=b''):
    """A request from a whole request line."""
    return b'\r\n'.join([encode(line), b'Host: test'] + [encode(item) for item in fields]) + b'\r\n\r\n' + body


def show(byte):
    return f'{byte:02x}'


def request_lines():
    """Request line (RFC 9112 §2.2, §3)."""
    ok = Want(200, body(HELLO), has('content-type'), server_version, field('content-length', str(len(HELLO))))
    case('line-get', '9112 3 MUST', request(), ok)
    case('line-empty-before', '9112 2.2 SHOULD', b'\r\n' + request(), ok)
    case('line-empty-between', '9112 2.2 SHOULD', request() + b'\r\n' + request(), [ok, ok])
    case('line-empty-after-body', '9112 2.2 SHOULD',
         request('/api/echo', 'Content-Length: 2', method='POST', body=b'hi\r\n') + request(),
         [Want(200, echoed('hi')), ok])
    case('line-in-pieces', '9112 2.2 MUST', [b'GE', PAUSE, b'T /hel', PAUSE, b'lo.txt HTTP/1.', PAUSE, b'1\r', PAUSE,
         b'\nHost: te', PAUSE, b'st\r', PAUSE, b'\n', PAUSE, b'\r', PAUSE, b'\n'], ok)
    for name, data in {
        'line-bare-lf': b'GET /hello.txt HTTP/1.1\nHost: test\r\n\r\n',
        'line-all-bare-lf': b'GET /hello.txt HTTP/1.1\nHost: test\n\n',
        'line-bare-lf-field': b'GET /hello.txt HTTP/1.1\r\nHost: test\nX: y\r\n\r\n',
        'line-bare-lf-blank': b'GET /hello.txt HTTP/1.1\r\nHost: test\r\n\n',
        'line-bare-lf-before': b'\n' + request(),
    }.items():
        refused(name, '9112 2.2 DESIGN', data + NEXT)
    for name, data in {
        'line-bare-cr-target': b'GET /hello\r.txt HTTP/1.1\r\nHost: test\r\n\r\n',
        'line-bare-cr-end': b'GET /hello.txt HTTP/1.1\rHost: test\r\n\r\n',
        'line-cr-cr-lf': b'GET /hello.txt HTTP/1.1\r\r\nHost: test\r\n\r\n',
        'line-bare-cr-before': b'\r' + request(),
    }.items():
        refused(name, '9112 2.2 MUST', data + NEXT)
    for name, blank in (('space', b' '), ('tab', b'\t')):
        refused(f'line-{name}-before-first-field', '9112 2.2 MUST',
                b'GET /hello.txt HTTP/1.1\r\n' + blank + b'Host: test\r\nHost: test\r\n\r\n' + NEXT)
        refused(f'line-{name}-before-method', '9112 3 SHOULD', blank + request() + NEXT)
    for name, line in {
        'two-spaces': 'GET  /hello.txt HTTP/1.1', 'two-spaces-version': 'GET /hello.txt  HTTP/1.1',
        'tab-target': 'GET\t/hello.txt HTTP/1.1', 'tab-version': 'GET /hello.txt\tHTTP/1.1',
        'space-end': 'GET /hello.txt HTTP/1.1 ', 'vt': 'GET\x0b/hello.txt HTTP/1.1', 'ff': 'GET /hello.txt\x0cHTTP/1.1',
        'nul': 'GET\x00/hello.txt HTTP/1.1', 'space-in-target': 'GET /hello .txt HTTP/1.1',
        'no-version': 'GET /hello.txt',
        'no-version-space': 'GET /hello.txt ', 'no-target': 'GET HTTP/1.1', 'method-only': 'GET',
        'no-method': '/hello.txt HTTP/1.1',
        'empty-target': 'GET  HTTP/1.1', 'four-words': 'GET /hello.txt HTTP/1.1 HTTP/1.1',
        'response': 'HTTP/1.1 200 OK',
        'colon': 'GET: /hello.txt HTTP/1.1', 'tls': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
        'binary': '\x80\x81\xfe\xff',
    }.items():
        refused(f'line-{name}', '9112 3 SHOULD', raw(line) + NEXT)
    for byte in SEPARATORS + b'\x01\x1f\x7f\x80\xff':
        refused(f'method-byte-{show(byte)}', '9110 9.1 SHOULD', raw(b'GE' + bytes([byte]) + b'T /hello.txt HTTP/1.1'))
    for name, version in {
        'one': 'HTTP/1', 'dot': 'HTTP/1.', 'none': 'HTTP/', 'minor-long': 'HTTP/1.10', 'major-long': 'HTTP/11.1',
        'lower': 'http/1.1',
        'mixed': 'Http/1.1', 'space': 'HTTP/ 1.1', 'letters': 'HTTP/a.b', 'comma': 'HTTP/1,1', 'plus': 'HTTP/+1.1',
        'minus': 'HTTP/1.-1', 'misspelt': 'HTPP/1.1', 'other': 'FTP/1.1', 'suffix': 'HTTP/1.1x',
        'zero-padded': 'HTTP/01.1',
        'hex': 'HTTP/1.0x1', 'slash': 'HTTP//1.1', 'no-slash': 'HTTP1.1', 'nul': 'HTTP/1.1\x00',
        'arabic': 'HTTP/1.\xb9',
    }.items():
        refused(f'version-{name}', '9112 2.3 MUST', raw(f'GET /hello.txt {version}') + NEXT, (400, 505))
    for version in ('1.2', '1.9'):
        case(f'version-{version}', '9110 2.5 SHOULD', request(version=version), ok)
        case(f'version-{version}-no-host', '9112 3.2 MUST', request(version=version, host=None), 400, CLOSE)
        case(f'version-{version}-chunked', '9110 2.5 SHOULD',
             request('/api/echo', 'Transfer-Encoding: chunked', method='POST', version=version,
                     body=b'2\r\nhi\r\n0\r\n\r\n'),
             Want(200, echoed('hi')))
    for version in ('0.9', '2.0', '3.0', '9.9', '0.0'):
        refused(f'version-{version}', '9110 15.6.6 DESIGN', request(version=version) + NEXT, 505)
    refused('version-h2-preface', '9113 3.4 SHOULD', b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', (400, 505))
    case('version-1.0', '9112 2.3 MUST', request(version='1.0'), ok, CLOSE)
    case('version-1.0-no-host', '9112 3.2 MUST', request(version='1.0', host=None), ok, CLOSE)
    refused('line-09', '9112 2.3 DESIGN', b'GET /hello.txt\r\n\r\n', (400, 505))
    for size in (4000, 8000):
        case(f'line-{size}-bytes', '9112 3 SHOULD', request('/hello.txt?' + 'x' * (size - 24)), ok)
    refused('line-too-long', '9112 3 MUST', request('/hello.txt?' + 'x' * 70000), 414)
    refused('line-too-long-unended', '9112 3 MUST', b'GET /' + b'x' * 70000, 414)
    refused('line-long-method', '9112 3 SHOULD', request(method='M' * 70000), (400, 414, 501))
    case('line-method-100', '9112 3 SHOULD', request(method='M' * 100), (501, 405), ANY)


def targets():
    """Request target (RFC 9112 §3.2, RFC 9110 §4)."""
    ok = Want(200, body(HELLO))
    index = Want(200, body(INDEX))
    case('target-root', '9112 3.2.1 MUST', request('/'), index)
    case('target-query', '9112 3.2.1 MUST', request('/hello.txt?a=b'), ok)
    case('target-query-empty', '9112 3.2.1 MUST', request('/hello.txt?'), ok)
    case('target-query-bytes', '3986 3.4 MUST', request("/hello.txt?a=/?:@-._~!$&'()*+,;=%20"), ok)
    case('target-query-seen', '9112 3.2.1 MUST', request('/api/echo?a=1&b=%20x'), Want(200, echoed(path='/api/echo')))
    case('target-encoded', '9110 4.2.3 MUST', request('/%68ello%2Etxt'), ok)
    case('target-encoded-lower', '9110 4.2.3 MUST', request('/%68ello%2etxt'), ok)
    case('target-encoded-space', '9110 4.2.3 MUST', request('/with%20space.txt'), Want(200, body(b'space\n')))
    case('target-plus-is-no-space', '3986 2.2 MUST', request('/with+space.txt'), 404)
    case('target-case', '9110 4.2.3 MUST', request('/HELLO.TXT'), 404)
    case('target-encoded-question', '3986 2.2 MUST', request('/hello.txt%3Fa=b'), 404)
    case('target-encoded-twice', '3986 2.4 MUST', request('/%2568ello.txt'), 404)
    case('target-dots', '3986 6.2.2.3 SHOULD', request('/dir/../hello.txt'), ok)
    case('target-dot', '3986 6.2.2.3 SHOULD', request('/./hello.txt'), ok)
    case('target-deep', '9112 3.2.1 MUST', request('/dir/sub/file.txt'), Want(200, body(b'deep\n')))
    case('target-slashes', '9112 3.2.1 MUST', request('//hello.txt'), (200, 301, 308, 400, 404), ANY)
    case('target-file-slash', '9110 4.2.3 SHOULD', request('/hello.txt/'), 404)
    case('target-file-below', '9110 15.5.5 MUST', request('/hello.txt/more'), 404)
    case('target-missing', '9110 15.5.5 MUST', request('/missing'), 404)
    case('target-folder-no-index', '9110 15 MUST', request('/bare/'), (403, 404))
    for name, path in {
        'dots': '/../hello.txt', 'dots-deep': '/dir/../../hello.txt', 'encoded': '/%2e%2e/hello.txt',
        'encoded-slash': '/..%2fhello.txt',
        'half-encoded': '/.%2e/ioto.json5', 'backslash': '/..%5cioto.json5',
        'etc': '/../../../../../../../../etc/passwd',
        'double': '/%252e%252e/ioto.json5',
    }.items():
        case(f'target-outside-{name}', '9110 17.3 MUST', request(path), (400, 403, 404), ANY)
    for name, path in {
        'percent': '/%', 'percent-one': '/hello%2', 'percent-letters': '/%zz', 'percent-u': '/%u0041',
        'percent-sign': '/%+1',
        'percent-space': '/%%20', 'percent-nul': '/hello.txt%00', 'percent-nul-inside': '/hello.txt%00.html',
    }.items():
        case(f'target-{name}', '3986 2.1 DESIGN', request(path), 400, ANY)
    for byte in CONTROLS + [0x80, 0xc3, 0xff] + list(b'"<>'):
        refused(f'target-byte-{show(byte)}', '9112 3 SHOULD', request(b'/hello.txt?' + bytes([byte])) + NEXT)
    for byte in b'\\^`{|}':
        refused(f'target-path-byte-{show(byte)}', '9112 3 SHOULD', request(b'/hello.txt' + bytes([byte])) + NEXT)
        case(f'target-query-byte-{show(byte)}', 'URL 1.3 DESIGN', request(b'/hello.txt?' + bytes([byte])), ok)
    refused('target-fragment', '9112 3.2 SHOULD', request('/hello.txt#top'))
    refused('target-no-slash', '9112 3.2 SHOULD', request('hello.txt'))
    refused('target-query-only', '9112 3.2 SHOULD', request('?a=b'))
    refused('target-asterisk-get', '9112 3.2.4 SHOULD', request('*'))
    refused('target-asterisk-more', '9112 3.2.4 SHOULD', request('*/hello.txt', method='OPTIONS'))
    refused('target-authority-get', '9112 3.2.3 SHOULD', request('test:80'))
    case('target-absolute', '9112 3.2.2 MUST', request('http://test/hello.txt'), ok)
    case('target-absolute-query', '9112 3.2.2 MUST', request('http://test/hello.txt?a=http://x/'), ok)
    case('target-absolute-port', '9112 3.2.2 MUST', request('http://test:80/hello.txt'), ok)
    case('target-absolute-root', '9112 3.2.2 MUST', request('http://test/'), index)
    case('target-absolute-no-path', '9110 4.2.3 MUST', request('http://test'), index)
    case('target-absolute-query-only', '9110 4.2.3 MUST', request('http://test?a=b'), index)
    case('target-absolute-scheme-case', '9110 4.2.3 MUST', request('HTTP://TEST/hello.txt'), ok)
    case('target-absolute-ipv6', '9112 3.2.2 MUST', request('http://[::1]:8080/hello.txt'), ok)
    case('target-absolute-other-host', '9112 3.2.2 MUST', request('http://test/hello.txt', host='other'), ok)
    case('target-absolute-redirect-host', '9112 3.2.2 MUST', request('http://test/dir', host='evil.example'),
         Want((301, 302, 307, 308), location('/dir/')))
    case('target-absolute-1.0', '9112 3.2.2 MUST', request('http://test/hello.txt', version='1.0', host=None), ok,
         CLOSE)
    case('target-absolute-options', '9112 3.2.4 DESIGN', request('http://test', method='OPTIONS'), (200, 204))
    case('target-absolute-https', '9110 7.4 MUST', request('https://test/hello.txt'), (200, 400, 421), ANY)
    refused('target-absolute-no-host-field', '9112 3.2 MUST', request('http://test/hello.txt', host=None))
    for name, target in {
        'user': 'http://user@test/hello.txt', 'password': 'http://user:word@test/hello.txt',
        'no-authority': 'http:/hello.txt',
        'no-host': 'http:///hello.txt', 'port-only': 'http://:80/hello.txt', 'bad-port': 'http://test:http/hello.txt',
        'bad-host': 'http://te[st/hello.txt', 'bad-ipv6': 'http://[::1/hello.txt', 'no-colon': 'http//test/hello.txt',
        'scheme-only': 'http://', 'bad-percent': 'http://te%zzst/hello.txt', 'fragment': 'http://test/hello.txt#a',
    }.items():
        level = 'MUST' if name in ('no-host', 'port-only') else 'SHOULD'
        refused(f'target-absolute-{name}', f'9110 4.2.1 {level}', request(target) + NEXT)
    refused('target-absolute-ftp', '9110 7.4 DESIGN', request('ftp://test/hello.txt'), (400, 404, 421))
    for name, target in {'plain': 'test:80', 'ipv6': '[::1]:80', 'path': '/hello.txt',
                         'absolute': 'http://test/hello.txt',
                         'asterisk': '*'}.items():
        case(f'connect-{name}', '9110 9.3.6 MUST', request(target, method='CONNECT'), (400, 403, 404, 405, 501), ANY)
    for name, target in {'no-port': 'test', 'empty-port': 'test:', 'bad-port': 'test:abc', 'large-port': 'test:99999',
                         'no-host': ':80', 'user': 'a@test:80'}.items():
        case(f'connect-{name}', '9110 9.3.6 MUST', request(target, method='CONNECT'), (400, 403, 404, 405, 501), ANY)


def hosts():
    """Host (RFC 9112 §3.2, RFC 9110 §7.2)."""
    ok = Want(200, body(HELLO))
    refused('host-none', '9112 3.2 MUST', request(host=None) + NEXT)
    for name, more in {'same': 'Host: test', 'other': 'Host: other', 'empty': 'Host:', 'case': 'hOST: test'}.items():
        refused(f'host-twice-{name}', '9112 3.2 MUST', request('/hello.txt', more) + NEXT)
    refused('host-twice-apart', '9112 3.2 MUST', request('/hello.txt', 'X: y', 'Host: test'))
    refused('host-twice-1.0', '9112 3.2 MUST', request('/hello.txt', 'Host: test', version='1.0'))
    refused('host-bad-1.0', '9112 3.2 MUST', request(version='1.0', host='te st'))
    for name, host in {
        'space': 'te st', 'slash': 'te/st', 'path': 'test/', 'user': 'me@test', 'port-letters': 'test:http',
        'port-minus': 'test:-1',
        'port-twice': 'test:80:80', 'port-space': 'test: 80', 'ipv6-open': '[::1', 'ipv6-close': '::1]',
        'ipv6-bare': '::1',
        'ipv6-letters': '[::g]', 'ipv6-empty': '[]', 'ipv6-tail': '[::1]x', 'ipv6-long': '[1:2:3:4:5:6:7:8:9]',
        'url': 'http://test',
        'question': 'te?st', 'hash': 'te#st', 'backslash': 'te\\st', 'quote': 'te"st', 'angle': '<test>',
        'percent': 'te%zzst',
        'percent-end': 'test%', 'caret': 'te^st', 'brace': 'te{st', 'bar': 'te|st', 'tick': 'te`st', 'tab': 'te\tst',
        'latin': 't\xe9st',
        'bracket': 'te[st', 'plus-port': 'test:+80', 'list-space': 'test, other',
    }.items():
        refused(f'host-bad-{name}', '9112 3.2 MUST', request(host=host) + NEXT)
    for name, host in {
        'name': 'example.com', 'upper': 'EXAMPLE.com', 'port': 'test:8080', 'empty-port': 'test:',
        'dot': 'example.com.', 'ipv4': '127.0.0.1',
        'ipv4-port': '127.0.0.1:80', 'ipv6': '[::1]', 'ipv6-port': '[::1]:8080', 'ipv6-v4': '[::ffff:127.0.0.1]',
        'under': 'my_device',
        'digits': '42', 'puny': 'xn--bcher-kva.example', 'percent': 'te%41st', 'delims': "a-b~c!$&'()*+;=d",
    }.items():
        case(f'host-{name}', '3986 3.2.2 MUST', request(host=host), ok)
    case('host-empty', '9112 3.2 MUST', request(host=''), (200, 400), ANY)
    case('host-last', '9110 7.2 MUST', b'GET /hello.txt HTTP/1.1\r\nX: y\r\nAccept: */*\r\nhost:test\r\n\r\n', ok)
    case('host-spaces-around', '9112 5.1 MUST', b'GET /hello.txt HTTP/1.1\r\nHost: \t test \t\r\n\r\n', ok)


def fields():
    """Field lines (RFC 9112 §5, RFC 9110 §5)."""
    def seen(line, value):
        return request('/api/echo', line), Want(200, echoed('', headers={'x-test': value}))
    for name, line, value in (
        ('plain', 'X-Test: a', 'a'), ('no-space', 'X-Test:a', 'a'), ('spaces', 'X-Test:  \t a b \t ', 'a b'),
        ('empty', 'X-Test:', ''),
        ('blank', 'X-Test:  \t ', ''), ('name-case', 'x-TEST: a', 'a'), ('colons', 'X-Test: a:b: c', 'a:b: c'),
        ('tab-inside', 'X-Test: a\tb', 'a\tb'), ('quotes', 'X-Test: "a, \\"b"', '"a, \\"b"'),
        ('visible', 'X-Test: !#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~',
        "!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"), ('long', 'X-Test: ' + 'v' * 3000, 'v' * 3000),
    ):
        case(f'field-{name}', '9110 5.5 MUST', *seen(line, value))
    for name, value in (('latin', b'caf\xe9'), ('utf8', 'é€'.encode()), ('ff', b'\xff\x80')):
        case(f'field-obs-text-{name}', '9110 5.5 SHOULD', request('/hello.txt', b'X-Test: ' + value), 200)
    case('field-combined', '9110 5.3 MUST', request('/api/echo', 'X-Test: a', 'Y: z', 'x-test: b'),
         Want(200, echoed('', headers={'x-test': 'a, b'})))
    case('field-cookies', '6265 5.4 SHOULD', request('/hello.txt', 'Cookie: a=b', 'Cookie: c=d'), 200)
    for char in "!#$%&'*+-.^_`|~09Az":
        case(f'field-name-{show(ord(char))}', '9110 5.1 MUST', request('/api/echo', f'X{char}Y: v'),
             Want(200, echoed('', headers={f'x{char}y'.lower(): 'v'})))
    for byte in CONTROLS + [9, 32] + list(SEPARATORS) + [0x80, 0xe9, 0xff]:
        refused(f'field-name-bad-{show(byte)}', '9110 5.1 MUST', request('/hello.txt',
            b'X' + bytes([byte]) + b'Y: v') + NEXT)
    for byte in CONTROLS:
        level = 'MUST' if byte == 0 else 'DESIGN'
        refused(f'field-value-{show(byte)}', f'9110 5.5 {level}', request('/hello.txt',
            b'X: a' + bytes([byte]) + b'b') + NEXT)
    refused('field-value-nul-end', '9110 5.5 MUST', request('/hello.txt', b'X: a\x00') + NEXT)
    refused('field-value-bare-cr', '9110 5.5 MUST', request('/hello.txt', b'X: a\rb') + NEXT)
    refused('field-value-bare-cr-end', '9110 5.5 MUST', request('/hello.txt', b'X: a\r') + NEXT)
    refused('field-value-bare-cr-first', '9110 5.5 MUST', request('/hello.txt', b'X:\ra') + NEXT)
    refused('field-value-bare-cr-field', '9110 5.5 MUST', request('/hello.txt', b'X: a\rContent-Length: 50') + NEXT)
    for name, line in {
        'space': 'X : v', 'tab': 'X\t: v', 'host': 'Host : test', 'length': 'Content-Length : 5',
        'coding': 'Transfer-Encoding : chunked',
        'two-spaces': 'X  : v',
    }.items():
        refused(f'field-colon-{name}', '9112 5.1 MUST', request('/hello.txt', line) + NEXT)
    for name, line in {'no-colon': 'X', 'no-name': ': v', 'no-name-space': ' : v', 'colon-only': ':',
                       'words': 'just some words',
                       'latin': 'X\xe9: v', 'again': 'GET /hello.txt HTTP/1.1'}.items():
        refused(f'field-{name}', '9112 5 MUST', request('/hello.txt', line) + NEXT)
    for name, lines in {
        'space': ('X: a', ' b'), 'tab': ('X: a', '\tb'), 'blank': ('X: a', '  '),
        'field': ('X: a', ' Content-Length: 5'),
        'coding': ('Transfer-Encoding:', ' chunked'), 'length': ('Content-Length:', ' 5'), 'name': ('X', ' : a'),
        'coding-inside': ('X: a', ' Transfer-Encoding: chunked'),
    }.items():
        refused(f'field-folded-{name}', '9112 5.2 DESIGN', request('/hello.txt', *lines) + NEXT)
    refused('field-folded-host', '9112 5.2 DESIGN', request('/hello.txt', 'Host:', ' test', host=None))
    refused('field-line-too-long', '9110 5.4 DESIGN', request('/hello.txt', 'X: ' + 'v' * 70000), 431)
    refused('field-name-too-long', '9110 5.4 DESIGN', request('/hello.txt', 'X' * 70000 + ': v'), 431)
    refused('field-too-long-unended', '9110 5.4 DESIGN', request('/hello.txt')[:-2] + b'X: ' + b'v' * 70000, 431)
    refused('field-too-many-bytes', '9110 5.4 DESIGN', request('/hello.txt',
        *[f'X-{n}: {"v" * 1000}' for n in range(70)]), 431)
    refused('field-too-many', '9110 5.4 DESIGN', request('/hello.txt', *[f'X-{n}: v' for n in range(3000)]), 431)
    case('field-browser', '9110 5.3 MUST', request('/hello.txt', 'Connection: keep-alive',
                                                   'sec-ch-ua: "Chromium";v="124", "Not-A.Brand";v="99"',
         'sec-ch-ua-mobile: ?0', 'Upgrade-Insecure-Requests: 1', 'User-Agent: Mozilla/5.0 (X11; Linux x86_64)',
         'Accept: text/html,application/xhtml+xml,*/*;q=0.8', 'Sec-Fetch-Site: none',
                                                   'Accept-Encoding: gzip, deflate, br',
         'Accept-Language: en-GB,en;q=0.9', 'Cookie: a=b; c=d'), Want(200, body(HELLO)))
    case('field-fifty', '9110 5.4 SHOULD', request('/hello.txt', *[f'X-{n}: value {n}' for n in range(50)]),
         Want(200, body(HELLO)))


def post(*lines, body=b'', target='/api/echo', **options):
    """A POST to the echo action, or what the options say."""
    return request(target, *lines, method=options.pop('method', 'POST'), body=body, **options)


def lengths():
    """Content-Length (RFC 9112 §6.2, §6.3; RFC 9110 §8.6)."""
    hello = Want(200, echoed('hello'))
    after = Want(200, body(FILES['other.txt']))
    case('length-5', '9112 6.3 MUST', post('Content-Length: 5', body=b'hello'), hello)
    case('length-0', '9112 6.3 MUST', post('Content-Length: 0'), Want(200, echoed('')))
    case('length-none', '9112 6.3 MUST', post(), Want((200, 411), echoed('')))
    case('length-case', '9110 5.1 MUST', post('cONTENT-lENGTH: 5', body=b'hello'), hello)
    case('length-zeros', '9110 8.6 MUST', post('Content-Length: 0005', body=b'hello'), hello)
    case('length-spaces', '9112 5.1 MUST', post('Content-Length: \t 5 \t', body=b'hello'), hello)
    case('length-pieces', '9112 6.3 MUST', [post('Content-Length: 5'), PAUSE, b'he', PAUSE, b'l', PAUSE, b'lo'], hello)
    case('length-binary', '9112 6.3 MUST', post('Content-Length: 256', body=bytes(range(256))),
         Want(200, echoed(bytes(range(256)).decode('latin-1'))))
    case('length-looks-like-request', '9112 6.3 MUST', post(f'Content-Length: {len(NEXT)}', body=NEXT),
         Want(200, echoed(NEXT.decode())))
    case('length-20000', '9112 6.3 MUST', post('Content-Length: 20000', body=b'x' * 20000),
         Want(200, echoed('x' * 20000)))
    case('length-next', '9112 6.3 MUST', post('Content-Length: 5', body=b'hello') + NEXT, [hello, after])
    case('length-shorter-next', '9112 6.3 MUST', post('Content-Length: 3', body=b'abc') + NEXT,
         [Want(200, echoed('abc')), after])
    case('length-0-next', '9112 6.3 MUST', post('Content-Length: 0') + NEXT, [Want(200, echoed('')), after])
    case('length-none-next', '9112 6.3 MUST', post() + NEXT, [Want((200, 411), echoed('')), after])
    case('length-rest-is-request', '9112 6.3 MUST', post('Content-Length: 2', body=b'hi') + b'junk\r\n\r\n',
         [Want(200, echoed('hi')), 400], CLOSE)
    for method in ('PUT', 'PATCH', 'DELETE'):
        case(f'length-{method.lower()}', '9112 6 MUST', post('Content-Length: 5', body=b'hello', method=method) + NEXT,
             [Want((200, 405), echoed('hello', method=method)), after])
    for method, target in (('GET', '/hello.txt'), ('GET', '/api/echo'), ('HEAD', '/hello.txt'),
                           ('OPTIONS', '/hello.txt'), ('GET', '/missing'),
                           ('POST', '/hello.txt'), ('POST', '/missing'), ('POST', '/api/ignore'),
                           ('DELETE', '/hello.txt'),
                           ('POST', '/api/get'), ('FOO', '/hello.txt'), ('POST', '/api/fail'), ('POST', '/dir')):
        name = f'length-body-{method.lower()}-{target.strip("/").replace("/", "-").replace(".", "-")}'
        wants = [Want((200, 204, 301, 302, 307, 308, 400, 404, 405, 413, 500, 501), method=method), after]
        case(name, '9112 6.3 MUST', [post(f'Content-Length: {len(request())}', target=target, method=method,
                                          body=request()) + NEXT], wants, ANY)
    for name, value in {
        'plus': '+5', 'minus': '-5', 'space': '5 5', 'hex': '0x5', 'hex-digit': 'a', 'letter-after': '5x', 'empty': '',
        'point': '5.0',
        'exponent': '5e0', 'quoted': '"5"', 'semicolon': '5;', 'underscore': '1_0', 'list-differs': '5, 6',
        'list-differs-zero': '5, 0',
        'list-bad': '5, x', 'sign-list': '5, +5', 'vt': '\x0b5', 'ff': '5\x0c', 'nul': '5\x00', 'latin': '\xb2',
        'arabic': '\xd9\xa5',
        'negative-zero': '-0', 'infinite': 'inf', 'two': '5 0', 'nbsp': '5\xa0', 'next-line': '5\x85',
    }.items():
        refused(f'length-bad-{name}', '9112 6.3 MUST', post(f'Content-Length: {value}', body=b'hello') + NEXT)
    for name, lines in {
        'differs': ('Content-Length: 5', 'Content-Length: 6'), 'zero-first': ('Content-Length: 0', 'Content-Length: 5'),
        'zero-last': ('Content-Length: 5', 'Content-Length: 0'), 'empty': ('Content-Length: 5', 'Content-Length:'),
        'bad': ('Content-Length: 5', 'Content-Length: x'), 'apart': ('Content-Length: 5', 'X: y', 'content-length: 7'),
    }.items():
        refused(f'length-twice-{name}', '9112 6.3 MUST', post(*lines, body=b'hello') + NEXT)
    for name, lines in {'same': ('Content-Length: 5', 'Content-Length: 5'), 'list': ('Content-Length: 5, 5',),
                        'list-tight': ('Content-Length: 5,5',),
                        'empty-member': ('Content-Length: ,5',)}.items():
        case(f'length-repeated-{name}', '9110 8.6 MUST', post(*lines, body=b'hello'), Want((200, 400), echoed('hello')),
             ANY)
    for digits in ('9' * 19, '18446744073709551621', '9' * 30, '9' * 1000):
        refused(f'length-huge-{len(digits)}-{digits[0]}', '9110 8.6 MUST',
                post('Content-Length: ' + digits, body=b'hello') + NEXT, (400, 413))
    refused('length-over-limit', '9110 15.5.14 SHOULD', post('Content-Length: 500000'), 413)
    refused('length-over-limit-unread', '9110 15.5.14 SHOULD', post('Content-Length: 500000', target='/api/ignore'),
            413)
    refused('length-vt-name', '9110 5.1 MUST', post(b'Content-Length\x0b: 5', body=b'hello') + NEXT)
    case('length-underscore-name', '9110 5.1 MUST', post('Content_Length: 5') + NEXT,
         [Want((200, 411), echoed('')), after])
    for name, steps in {'head-only': [post('Content-Length: 5'), HALF],
                        'half': [post('Content-Length: 5', body=b'he'), HALF],
                        'half-later': [post('Content-Length: 5', body=b'he'), PAUSE, HALF]}.items():
        case(f'length-incomplete-{name}', '9112 8 MUST', steps, (400, 408, None), CLOSE)
    case('length-incomplete-head', '9112 8 MUST', [b'GET /hello.txt HTTP/1.1\r\nHost: te', HALF], (400, 408, None),
         CLOSE)
    case('length-incomplete-line', '9112 8 MUST', [b'GET /hello.txt', HALF], (400, 408, None), CLOSE)
    case('length-incomplete-blank', '9112 8 MUST', [b'GET /hello.txt HTTP/1.1\r\nHost: test\r\n', HALF],
         (400, 408, None), CLOSE)
    case('length-1.0', '9112 6.3 MUST', post('Content-Length: 5', body=b'hello', version='1.0'), hello, CLOSE)
    case('length-1.0-none', '9112 6.3 MUST', post(version='1.0'), Want((200, 400, 411), echoed('')), CLOSE)


CHUNKED = 'Transfer-Encoding: chunked'


def codings():
    """Transfer-Encoding (RFC 9112 §6.1, §6.3)."""
    good = b'5\r\nhello\r\n0\r\n\r\n'
    hello = Want(200, echoed('hello'))
    case('coding-chunked', '9112 7.1 MUST', post(CHUNKED, body=good), hello)
    case('coding-case', '9112 7 MUST', post('transfer-encoding: ChUnKeD', body=good), hello)
    case('coding-spaces', '9112 5.1 MUST', post('Transfer-Encoding: \tchunked \t', body=good), hello)
    case('coding-next', '9112 7.1 MUST', post(CHUNKED, body=good) + NEXT, [hello, Want(200, body(FILES['other.txt']))])
    case('coding-get', '9112 6.1 MUST', post(CHUNKED, body=good, method='GET') + NEXT,
         [Want((200, 400), echoed('hello')), 200], ANY)
    case('coding-file', '9112 6.1 MUST', post(CHUNKED, body=good, method='GET', target='/hello.txt') + NEXT,
         [(200, 400), 200], ANY)
    for method, target in (('POST', '/api/ignore'), ('POST', '/hello.txt'), ('POST', '/missing'), ('POST', '/api/get'),
                           ('FOO', '/hello.txt'),
                           ('POST', '/api/fail')):
        name = f'coding-unread-{method.lower()}-{target.strip("/").replace("/", "-").replace(".", "-")}'
        inner = request()
        data = b'%x\r\n%s\r\n0\r\n\r\n' % (len(inner), inner)
        wants = [Want((200, 400, 404, 405, 411, 413, 500, 501), method=method), Want(200, body(FILES['other.txt']))]
        case(name, '9112 6.3 MUST', post(CHUNKED, body=data, target=target, method=method) + NEXT, wants, ANY)
    for name, value in {
        'twice': 'chunked, chunked', 'not-last': 'chunked, gzip', 'twice-tight': 'chunked,chunked', 'empty': '',
        'comma': ',',
        'identity-after': 'chunked, identity', 'gzip': 'gzip', 'deflate': 'deflate', 'identity': 'identity',
        'gzip-first': 'gzip, chunked',
        'identity-first': 'identity, chunked', 'prefix': 'xchunked', 'suffix': 'chunkedx', 'quoted': '"chunked"',
        'single-quoted': "'chunked'",
        'parameter': 'chunked;q=1', 'split': 'chunk ed', 'semicolon': 'chunked;', 'space-list': 'chunked chunked',
        'unknown': 'cow',
        'cow-chunked': 'cow, chunked', 'bracket': '[chunked]', 'colon': ': chunked', 'latin': 'chunk\xe9d',
        'dotless': 'chun\xc4\xb1ed',
        'nbsp': '\xa0chunked', 'kelvin': 'chun\xe2\x84\xaaed',
    }.items():
        refused(f'coding-bad-{name}', '9112 6.1 MUST', post(f'Transfer-Encoding: {value}', body=good) + NEXT,
                (400, 501))
    for name, value in {'vt': b'\x0bchunked', 'vt-after': b'chunked\x0b', 'nul': b'chunked\x00', 'ff': b'\x0cchunked',
                        'cr': b'\rchunked',
                        'bell': b'ch\x07unked', 'del': b'chunked\x7f'}.items():
        level = 'MUST' if name in ('nul', 'cr') else 'DESIGN'
        refused(f'coding-bad-{name}', f'9110 5.5 {level}', post(b'Transfer-Encoding: ' + value, body=good) + NEXT, 400)
    for name in ('gzip, chunked', 'cow, chunked', 'cow'):
        refused('coding-501-' + name.replace(', ', '-'), '9112 6.1 SHOULD',
                post('Transfer-Encoding: ' + name, body=good), (501,)
                if 'chunked' in name else (400, 501))
    for name, value in {'comma-before': ',chunked', 'comma-after': 'chunked,', 'comma-space': 'chunked , '}.items():
        case(f'coding-{name}', '9110 5.6.1.2 MUST', post(f'Transfer-Encoding: {value}', body=good),
             Want((200, 400), echoed('hello')), ANY)
    for name, lines in {
        'twice': (CHUNKED, CHUNKED), 'identity': (CHUNKED, 'Transfer-Encoding: identity'),
        'identity-first': ('Transfer-Encoding: identity', CHUNKED),
        'gzip': (CHUNKED, 'Transfer-Encoding: gzip'), 'gzip-first': ('Transfer-Encoding: gzip', CHUNKED),
        'cow': (CHUNKED, 'transfer-encoding: cow'),
    }.items():
        refused(f'coding-lines-{name}', '9112 6.1 MUST', post(*lines, body=good) + NEXT, (400, 501))
    for name, lines in {
        'cl-te': ('Content-Length: 6', CHUNKED), 'te-cl': (CHUNKED, 'Content-Length: 6'),
        'zero': ('Content-Length: 0', CHUNKED),
        'right': (f'Content-Length: {len(good)}', CHUNKED), 'apart': (CHUNKED, 'X: y', 'Content-Length: 4'),
        'case': ('cONTENT-lENGTH: 4', 'tRANSFER-eNCODING: chunked'), 'bad-length': ('Content-Length: x', CHUNKED),
        'identity': ('Content-Length: 5', 'Transfer-Encoding: identity'),
        'unknown': ('Content-Length: 5', 'Transfer-Encoding: cow'),
    }.items():
        status = 400 if name in ('cl-te', 'te-cl', 'zero', 'right', 'apart', 'case') else (400, 501)
        refused(f'coding-with-length-{name}', '9112 6.3 DESIGN', post(*lines, body=b'0\r\n\r\n') + NEXT, status)
    refused('coding-1.0', '9112 6.1 MUST', post(CHUNKED, body=good, version='1.0') + NEXT)
    refused('coding-1.0-keep-alive', '9112 6.1 MUST', post(CHUNKED, 'Connection: keep-alive', body=good,
                                                           version='1.0') + NEXT)
    refused('coding-1.0-with-length', '9112 6.1 MUST', post(CHUNKED, 'Content-Length: 5', body=good,
                                                            version='1.0') + NEXT)
    case('coding-underscore-name', '9110 5.1 MUST', post('Transfer_Encoding: chunked', 'Content-Length: 5',
                                                         body=b'hello'), hello)
    case('coding-x-name', '9110 5.1 MUST', post('X-Transfer-Encoding: chunked', 'Content-Length: 5', body=b'hello'),
         hello)
    for name, line in {'space-first': b' Transfer-Encoding: chunked', 'nul-name': b'Transfer-Encoding\x00: chunked',
                       'dash': b'Transfer\xe2\x80\x90Encoding: chunked', 'bare-lf': b'X: y\nTransfer-Encoding: chunked',
                       'bare-cr': b'X: y\rTransfer-Encoding: chunked',
                       'lf-cr': b'X: y\n\rTransfer-Encoding: chunked'}.items():
        refused(f'coding-hidden-{name}', '9112 2.2 MUST', post('Content-Length: 5', line, body=b'hello') + NEXT)


def chunks():
    """Chunked coding (RFC 9112 §7.1)."""
    hello = Want(200, echoed('hello'))
    for name, data in {
        'one': b'5\r\nhello\r\n0\r\n\r\n', 'two': b'2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n',
        'bytes': b''.join(b'1\r\n%c\r\n' % c for c in b'hello') + b'0\r\n\r\n',
        'zeros': b'0005\r\nhello\r\n000\r\n\r\n', 'extension': b'5;a\r\nhello\r\n0;b\r\n\r\n',
        'extension-value': b'5;a=b\r\nhello\r\n0\r\n\r\n',
        'extension-quoted': b'5;a="b;c\\"d, e"\r\nhello\r\n0\r\n\r\n',
        'extension-several': b'5;a=b;c;d="e"\r\nhello\r\n0;x=y\r\n\r\n',
        'extension-empty-string': b'5;a=""\r\nhello\r\n0\r\n\r\n',
        'extension-latin': b'5;a="\xe9"\r\nhello\r\n0\r\n\r\n',
        'extension-bws': b'5 ; a = b\r\nhello\r\n0\r\n\r\n', 'extension-bws-tab': b'5\t;\ta\r\nhello\r\n0\r\n\r\n',
        'trailer': b'5\r\nhello\r\n0\r\nX-Trailer: v\r\n\r\n',
        'trailers': b'5\r\nhello\r\n0\r\nA: b\r\nC: d\r\nE:\r\n\r\n',
    }.items():
        case(f'chunk-{name}', '9112 7.1 MUST', post(CHUNKED, body=data) + NEXT,
             [hello, Want(200, body(FILES['other.txt']))])
    case('chunk-empty', '9112 7.1 MUST', post(CHUNKED, body=b'0\r\n\r\n') + NEXT, [Want(200, echoed('')), 200])
    case('chunk-hex-lower', '9112 7.1 MUST', post(CHUNKED, body=b'1a\r\n' + b'x' * 26 + b'\r\n0\r\n\r\n'),
         Want(200, echoed('x' * 26)))
    case('chunk-hex-upper', '9112 7.1 MUST', post(CHUNKED, body=b'1A\r\n' + b'x' * 26 + b'\r\n0\r\n\r\n'),
         Want(200, echoed('x' * 26)))
    case('chunk-data-crlf', '9112 7.1 MUST', post(CHUNKED, body=b'7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n'),
         Want(200, echoed('0\r\n\r\n\r\n')))
    case('chunk-large', '9112 7.1 MUST', post(CHUNKED, body=b'4e20\r\n' + b'x' * 20000 + b'\r\n0\r\n\r\n'),
         Want(200, echoed('x' * 20000)))
    case('chunk-pieces', '9112 7.1 MUST', [post(CHUNKED), PAUSE, b'5', PAUSE, b'\r', PAUSE, b'\nhe', PAUSE, b'llo\r',
                                           PAUSE, b'\n0\r\n', PAUSE,
         b'\r', PAUSE, b'\n'], hello)
    case('chunk-each-byte', '9112 7.1 MUST', [bytes([c]) for c in post(CHUNKED,
        body=b'5;a="b"\r\nhello\r\n0\r\nX: y\r\n\r\n')], hello)
    case('chunk-trailer-not-merged', '9110 6.5.1 MUST', post(CHUNKED, body=b'0\r\nX-Trailer: v\r\n\r\n'),
         Want(200, echoed('', headers={'x-trailer': None})))
    case('chunk-trailer-length', '9110 6.5.1 MUST', post(CHUNKED,
                                                         body=b'5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n') + NEXT,
         [Want((200, 400), echoed('hello', headers={'content-length': None})), 200], ANY)
    case('chunk-trailer-host', '9110 6.5.1 MUST', post(CHUNKED, body=b'5\r\nhello\r\n0\r\nHost: evil\r\n\r\n') + NEXT,
         [Want((200, 400), echoed('hello', headers={'host': 'test'})), 200], ANY)
    case('chunk-trailer-coding', '9110 6.5.1 MUST', post(CHUNKED,
              body=b'5\r\nhello\r\n0\r\nTransfer-Encoding: x\r\n\r\n') + NEXT,
         [Want((200, 400), echoed('hello', headers={'transfer-encoding': 'chunked'})), 200], ANY)
    bad = {
        'empty': b'', 'letter': b'g', 'hex-prefix': b'0x5', 'plus': b'+5', 'minus': b'-5', 'space-before': b' 5',
        'space-after': b'5 ',
        'tab-after': b'5\t', 'underscore': b'0_5', 'comma': b'5,', 'point': b'5.0', 'letter-after': b'5g',
        'quoted': b'"5"', 'nul': b'5\x00',
        'vt': b'5\x0b', 'ff': b'\x0c5', 'hash': b'5#', 'arabic': b'\xd9\xa5', 'superscript': b'\xb2',
        'space-inside': b'0 5', 'h': b'5h',
        'colon': b'5:', 'equals': b'5=a', 'overflow-17': b'10000000000000005', 'overflow-f': b'f' * 17,
        'overflow-32-bit': b'f' * 20,
        'overflow-long': b'1' + b'0' * 300 + b'5', 'minus-zero': b'-0', 'cr-inside': b'5\r;a',
    }
    for name, size in bad.items():
        level = 'DESIGN' if name.endswith(('-after', '-inside')) else 'MUST'
        refused(f'chunk-size-{name}', f'9112 7.1 {level}', post(CHUNKED, body=size + b'\r\nhello\r\n0\r\n\r\n') + NEXT,
                (400, 413))
    for name, line in {
        'nul': b'5;a\x00', 'control': b'5;a=\x01', 'unterminated': b'5;a="b', 'no-name': b'5;=b', 'no-value': b'5;a=',
        'space-name': b'5;a b',
        'bare-cr': b'5;a\rb', 'bare-lf': b'5;a\nb', 'bare-lf-quoted': b'5;a="\n"', 'bare-cr-quoted': b'5;a="\r"',
        'delim': b'5;a@b', 'semicolon': b'5;',
        'quoted-tail': b'5;a="b"c', 'latin-name': b'5;\xe9', 'del': b'5;a=\x7f',
    }.items():
        refused(f'chunk-extension-{name}', '9112 7.1.1 DESIGN', post(CHUNKED,
            body=line + b'\r\nhello\r\n0\r\n\r\n') + NEXT)
    for name, data in {
        'line-lf': b'5\nhello\r\n0\r\n\r\n', 'line-cr': b'5\rhello\r\n0\r\n\r\n', 'data-lf': b'5\r\nhello\n0\r\n\r\n',
        'data-cr': b'5\r\nhello\r0\r\n\r\n',
        'data-none': b'5\r\nhello0\r\n\r\n', 'data-long': b'5\r\nhello!\r\n0\r\n\r\n',
        'data-short': b'6\r\nhello\r\n0\r\n\r\n', 'data-xx': b'5\r\nhelloXX0\r\n\r\n',
        'line-before': b'\r\n5\r\nhello\r\n0\r\n\r\n', 'line-between': b'5\r\nhello\r\n\r\n0\r\n\r\n',
        'last-lf': b'5\r\nhello\r\n0\n\r\n',
        'end-lf': b'5\r\nhello\r\n0\r\n\n', 'all-lf': b'5\nhello\n0\n\n', 'data-lf-cr': b'5\r\nhello\n\r0\r\n\r\n',
        'cr-cr-lf': b'5\r\r\nhello\r\n0\r\n\r\n',
    }.items():
        level = 'DESIGN' if 'lf' in name else 'MUST'
        refused(f'chunk-end-{name}', f'9112 7.1 {level}', post(CHUNKED, body=data) + NEXT, 400)
    for name, line in {
        'no-colon': b'X', 'space-colon': b'X : y', 'no-name': b': y', 'folded': b'X: y\r\n z', 'folded-first': b' X: y',
        'nul': b'X: \x00', 'cr': b'X: a\rb',
        'lf': b'X: a\nY: b', 'control': b'X: \x01', 'name-byte': b'X@: y', 'request': b'GET /hello.txt HTTP/1.1',
    }.items():
        level = 'DESIGN' if name in ('folded', 'folded-first', 'lf', 'control') else 'MUST'
        refused(f'chunk-trailer-bad-{name}', f'9112 7.1.2 {level}', post(CHUNKED,
            body=b'5\r\nhello\r\n0\r\n' + line + b'\r\n\r\n') + NEXT, 400)
    refused('chunk-extension-long', '9112 7.1.1 SHOULD', post(CHUNKED, body=b'5;a=' + b'b' * 70000), (400, 413, 431))
    refused('chunk-extensions-many', '9112 7.1.1 SHOULD', post(CHUNKED,
        body=(b'1;a=' + b'b' * 2000 + b'\r\nx\r\n') * 200 + b'0\r\n\r\n'), (400, 413, 431))
    refused('chunk-trailers-long', '9112 7.1.2 SHOULD', post(CHUNKED,
        body=b'0\r\n' + b'X: %s\r\n' % (b'v' * 500) * 200 + b'\r\n'), (400, 413, 431))
    refused('chunk-trailer-line-long', '9112 7.1.2 SHOULD', post(CHUNKED, body=b'0\r\nX: ' + b'v' * 70000),
            (400, 413, 431))
    refused('chunk-over-limit', '9110 15.5.14 SHOULD', post(CHUNKED,
                 body=(b'2710\r\n' + b'x' * 10000 + b'\r\n') * 30 + b'0\r\n\r\n'), 413)
    refused('chunk-over-limit-one', '9110 15.5.14 SHOULD', post(CHUNKED, body=b'ffffffff\r\n' + b'x' * 200000), 413)
    for name, data in {'nothing': b'', 'size': b'5', 'size-line': b'5\r\n', 'data': b'5\r\nhel',
                       'data-end': b'5\r\nhello\r\n', 'last': b'5\r\nhello\r\n0\r\n',
                       'trailer': b'5\r\nhello\r\n0\r\nX: y\r\n'}.items():
        case(f'chunk-incomplete-{name}', '9112 8 MUST', [post(CHUNKED, body=data), HALF], (400, 408, None), CLOSE)


def connections():
    """Connections (RFC 9112 §9)."""
    ok = Want(200, body(HELLO))
    other = Want(200, body(FILES['other.txt']))
    kept = Want(200, without('connection', 'close'))
    case('keep-default', '9112 9.3 SHOULD', request(), kept)
    case('keep-explicit', '9112 9.3 SHOULD', request('/hello.txt', 'Connection: keep-alive'), kept)
    case('keep-action', '9112 9.3 SHOULD', request('/api/get'), kept)
    case('keep-stream', '9112 9.3 SHOULD', request('/api/stream'), Want(200, framed('chunked', 'length')))
    case('keep-after-404', '9112 9.3 SHOULD', request('/missing'), 404)
    case('keep-after-405', '9112 9.3 SHOULD', request('/api/get', 'Content-Length: 0', method='POST'), 405)
    case('keep-after-204', '9112 9.3 SHOULD', request('/api/none'), 204)
    case('keep-not-an-option', '9112 9.3 SHOULD', request('/hello.txt', 'Connection: closed, xclose, close-x'), kept)
    case('keep-keep-alive-field', '9112 9.3 SHOULD', request('/hello.txt', 'Connection: Keep-Alive',
        'Keep-Alive: timeout=5, max=1'), kept)
    case('keep-proxy-connection', '9112 9.3 SHOULD', request('/hello.txt', 'Proxy-Connection: close'), kept)
    case('keep-unknown-option', '9110 7.6.1 MUST', request('/hello.txt', 'Connection: foo', 'Foo: bar'), kept)
    for name, lines in {
        'close': ('Connection: close',), 'case': ('cONNECTION: CLOSE',), 'list': ('Connection: keep-alive, close',),
        'list-first': ('Connection: close, TE', 'TE: trailers'),
        'lines': ('Connection: foo', 'Connection: close'), 'tight': ('Connection: foo,close,bar',),
        'empty-members': ('Connection: , ,close',),
        'keep-alive-line': ('Connection: close', 'Connection: keep-alive'),
    }.items():
        case(f'close-{name}', '9112 9.6 MUST', request('/hello.txt', *lines) + NEXT,
             Want(200, body(HELLO), option('connection', 'close')), CLOSE)
    for name, target in {'action': '/api/get', 'stream': '/api/stream', '404': '/missing', 'none': '/api/none',
                         'big': '/big.bin'}.items():
        case(f'close-{name}', '9112 9.6 MUST', request(target, 'Connection: close') + NEXT,
             Want((200, 204, 404), option('connection', 'close')), CLOSE)
    case('close-post', '9112 9.6 MUST', post('Connection: close', 'Content-Length: 5', body=b'hello') + NEXT,
         Want(200, echoed('hello')), CLOSE)
    case('close-post-unread', '9112 9.6 MUST', post('Connection: close', 'Content-Length: 5', body=b'hello',
                                                    target='/api/ignore') + NEXT, 200, CLOSE)
    case('close-head', '9112 9.6 MUST', request('/hello.txt', 'Connection: close', method='HEAD') + NEXT,
         Want(200, body(b'')), CLOSE)
    old = Want(200, body(HELLO), version=10)
    case('old-default', '9112 9.3 MUST', request(version='1.0') + NEXT, old, CLOSE)
    case('old-close', '9112 9.3 MUST', request('/hello.txt', 'Connection: close', version='1.0') + NEXT, old, CLOSE)
    case('old-keep-alive', '9112 9.3 SHOULD', request('/hello.txt', 'Connection: keep-alive', version='1.0'),
         Want(200, option('connection', 'keep-alive'), body(HELLO)))
    case('old-keep-alive-case', '9112 9.3 SHOULD', request('/hello.txt', 'Connection: Keep-Alive', version='1.0'),
         Want(200, option('connection', 'keep-alive')))
    case('old-keep-alive-close', '9112 9.3 MUST', request('/hello.txt', 'Connection: keep-alive, close',
                                                          version='1.0') + NEXT, old, CLOSE)
    case('old-stream', '9112 6.1 MUST', request('/api/stream', version='1.0'),
         Want(200, framed('close', 'length'), lacks('transfer-encoding')), CLOSE)
    case('old-stream-keep-alive', '9112 6.1 MUST', request('/api/stream', 'Connection: keep-alive', version='1.0'),
         Want(200, framed('close', 'length'), lacks('transfer-encoding')), ANY)
    case('old-error', '9112 9.3 MUST', request('/missing', version='1.0'), 404, CLOSE)
    case('old-head', '9112 9.3 MUST', request(version='1.0', method='HEAD'), 200, CLOSE)
    case('old-none', '9112 9.3 MUST', request('/api/none', version='1.0'), 204, CLOSE)
    case('old-post-next', '9112 9.3 MUST', post('Content-Length: 5', body=b'hello', version='1.0') + NEXT,
         Want(200, echoed('hello')), CLOSE)
    case('pipeline-two', '9112 9.3.2 MUST', request() + NEXT, [ok, other])
    mixed = (request() + request('/missing') + request('/other.txt', method='HEAD') + post('Content-Length: 5',
        body=b'hello') + request('/api/stream') +
             post(CHUNKED, body=b'5\r\nhello\r\n0\r\n\r\n') + request('/big.bin') + request('/api/none') + request())
    answers = [ok, 404, Want(200, method='HEAD'), Want(200, echoed('hello')), 200, Want(200, echoed('hello')),
               Want(200, body(BIG)), 204, ok]
    case('pipeline-mixed', '9112 9.3.2 MUST', mixed, answers)
    case('pipeline-mixed-half-closed', '9112 9.3.2 MUST', [mixed, HALF], answers, CLOSE)
    case('pipeline-in-pieces', '9112 9.3.2 MUST', [mixed[i:i + 37] for i in range(0, len(mixed), 37)], answers)
    case('pipeline-20', '9112 9.3.2 MUST', (request() + NEXT) * 10, [ok, other] * 10)
    case('pipeline-slow-first', '9112 9.3.2 MUST', request('/api/slow') + request(), [200, ok])
    case('pipeline-bad-second', '9112 9.6 MUST', request() + b'BAD\r\n\r\n' + NEXT, [ok, 400], CLOSE)
    case('pipeline-bad-length-second', '9112 6.3 MUST', request() + post('Content-Length: x', body=b'hello') + NEXT,
         [ok, 400], CLOSE)
    case('pipeline-close-second', '9112 9.6 MUST', request() + request('/other.txt', 'Connection: close') + request(),
         [ok, other], CLOSE)
    case('pipeline-error-inside', '9112 9.3.2 MUST', request('/api/fail') + NEXT, [500, other], ANY)
    case('half-close-one', '9112 9.6 SHOULD', [request(), HALF], ok, CLOSE)
    case('half-close-action', '9112 9.6 SHOULD', [request('/api/get'), HALF], Want(200, body(b'got')), CLOSE)
    case('half-close-big', '9112 9.6 SHOULD', [request('/big.bin'), HALF], Want(200, body(BIG)), CLOSE)
    case('half-close-stream', '9112 9.6 SHOULD', [request('/api/slow'), HALF], 200, CLOSE)
    case('half-close-post', '9112 9.6 SHOULD', [post('Content-Length: 5', body=b'hello'), HALF],
         Want(200, echoed('hello')), CLOSE)
    case('half-close-pipeline', '9112 9.6 SHOULD', [(request() + NEXT) * 5, HALF], [ok, other] * 5, CLOSE)
    case('half-close-after-answer', '9112 9.6 SHOULD', [request(), PAUSE, HALF], ok, CLOSE)
    case('half-close-nothing', '9112 9.6 SHOULD', [HALF], (None, 400, 408), CLOSE)
    case('half-close-empty-line', '9112 9.6 SHOULD', [b'\r\n', HALF], (None, 400, 408), CLOSE)
    case('upgrade-unknown', '9110 7.8 MUST', request('/hello.txt', 'Connection: upgrade', 'Upgrade: quux/7'), ok)
    case('upgrade-h2c', '9110 7.8 MUST', request('/hello.txt', 'Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c',
                                                 'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA'), ok)
    case('upgrade-no-option', '9110 7.8 MUST', request('/hello.txt', 'Upgrade: websocket'), ok)
    case('upgrade-1.0', '9110 7.8 MUST', request('/hello.txt', 'Connection: upgrade', 'Upgrade: quux', version='1.0'),
         old, CLOSE)
    case('te-trailers', '9110 10.1.4 MUST', request('/api/stream', 'Connection: TE', 'TE: trailers, deflate;q=0.5'),
         200)


EXPECT = 'Expect: 100-continue'


def expectations():
    """Expect (RFC 9110 §10.1.1)."""
    case('expect-length', '9110 10.1.1 MUST', [post(EXPECT, 'Content-Length: 5'), AWAIT, b'hello'],
         Want(200, echoed('hello'), interim((100,))))
    case('expect-chunked', '9110 10.1.1 MUST', [post(EXPECT, CHUNKED), AWAIT, b'5\r\nhello\r\n0\r\n\r\n'],
         Want(200, echoed('hello'), interim((100,))))
    case('expect-case', '9110 10.1.1 MUST', [post('expect: 100-Continue', 'Content-Length: 5'), AWAIT, b'hello'],
         Want(200, echoed('hello'), interim((100,))))
    case('expect-body-sent', '9110 10.1.1 MUST', post(EXPECT, 'Content-Length: 5', body=b'hello'),
         Want(200, echoed('hello'), interim((), (100,))))
    case('expect-pipelined-after', '9110 10.1.1 MUST', post(EXPECT, 'Content-Length: 5', body=b'hello') + NEXT,
         [Want(200, echoed('hello'), interim((), (100,))), Want(200, body(FILES['other.txt']), interim(()))])
    case('expect-pipelined-before', '9110 10.1.1 MUST', [request('/other.txt') + post(EXPECT, 'Content-Length: 5'),
                                                         PAUSE, b'hello'],
         [Want(200, interim(())), Want(200, echoed('hello'), interim((), (100,)))])
    case('expect-1.0', '9110 10.1.1 MUST', post(EXPECT, 'Content-Length: 5', body=b'hello', version='1.0'),
         Want(200, echoed('hello'), interim(())), CLOSE)
    case('expect-1.0-late-body', '9110 10.1.1 MUST', [post(EXPECT, 'Content-Length: 5', version='1.0'), PAUSE,
                                                      b'hello'],
         Want(200, echoed('hello'), interim(())), CLOSE)
    case('expect-no-body', '9110 10.1.1 MUST', request('/hello.txt', EXPECT),
         Want(200, body(HELLO), interim((), (100,))), ANY)
    case('expect-zero', '9110 10.1.1 MUST', post(EXPECT, 'Content-Length: 0'),
         Want(200, echoed(''), interim((), (100,))), ANY)
    case('expect-over-limit', '9110 10.1.1 MUST', [post(EXPECT, 'Content-Length: 500000'), AWAIT],
         Want(413, interim(())), CLOSE)
    case('expect-missing', '9110 10.1.1 MUST', [post(EXPECT, 'Content-Length: 5', target='/missing'), AWAIT, b'hello'],
         Want((404, 405), interim((), (100,))), OPEN)
    case('expect-not-allowed', '9110 10.1.1 MUST', [post(EXPECT, 'Content-Length: 5', target='/api/get'), AWAIT,
                                                    b'hello'], Want(405, interim((), (100,))), OPEN)
    case('expect-unread', '9110 10.1.1 MUST', [post(EXPECT, 'Content-Length: 5', target='/api/ignore'), AWAIT,
                                               b'hello'], Want(200, interim((), (100,))), OPEN)
    case('expect-unread-sent', '9110 10.1.1 MUST', post(EXPECT, f'Content-Length: {len(request())}',
                                                        target='/api/ignore', body=request()) + NEXT,
         [Want(200, interim((), (100,))), Want(200, body(FILES['other.txt']))], ANY)
    refused('expect-bad-host', '9110 10.1.1 MUST', post(EXPECT, 'Content-Length: 5', host='te st'))
    refused('expect-with-both', '9110 10.1.1 MUST', post(EXPECT, 'Content-Length: 5', CHUNKED))
    for name, value in {'unknown': 'something', 'number': '200-ok', 'prefix': '100-continue-x',
                        'parameter': '100-continue=yes'}.items():
        case(f'expect-{name}', '9110 15.5.18 DESIGN', request('/hello.txt', f'Expect: {value}'), 417, ANY)
    case('expect-list', '9110 10.1.1 MUST', request('/hello.txt', 'Expect: 100-continue, other'), (200, 417), ANY)


def methods():
    """Methods (RFC 9110 §9)."""
    empty = body(b'')
    for name, target, status in (('file', '/hello.txt', 200), ('root', '/', 200), ('action', '/api/get', 200),
                                 ('missing', '/missing', 404),
                                 ('empty', '/empty.txt', 200), ('big', '/big.bin', 200),
                                 ('redirect', '/dir', (301, 302, 307, 308)), ('stream', '/api/stream', 200),
                                 ('none', '/api/none', 204), ('json', '/api/created', 201), ('fail', '/api/fail', 500),
                                 ('action-redirect', '/api/redirect', 302)):
        after = KEEP if name not in ('stream', 'fail') else ANY
        case(f'head-{name}', '9110 9.3.2 MUST', request(target, method='HEAD'), Want(status, empty), after)
    case('head-length', '9110 8.6 MUST', request(method='HEAD'), Want(200, field('content-length', str(len(HELLO)))))
    case('head-next', '9110 9.3.2 MUST', request(method='HEAD') + NEXT,
         [Want(200, empty), Want(200, body(FILES['other.txt']))])
    case('head-expect-nothing', '9110 9.3.2 MUST', request('/big.bin', method='HEAD') * 3,
         [Want(200, empty, method='HEAD')] * 3)
    case('options-asterisk', '9110 9.3.7 DESIGN', request('*', method='OPTIONS'), (200, 204))
    case('options-file', '9110 9.3.7 SHOULD', request(method='OPTIONS'), Want((200, 204), allow('GET', 'HEAD')))
    case('options-action', '9110 9.3.7 SHOULD', request('/api/get', method='OPTIONS'), Want((200, 204), allow('GET')))
    case('options-missing', '9110 9.3.7 DESIGN', request('/missing', method='OPTIONS'), (200, 204, 404))
    case('options-1.0', '9110 9.3.7 DESIGN', request(method='OPTIONS', version='1.0'), (200, 204), CLOSE)
    case('options-body', '9110 9.3.7 DESIGN', request('/hello.txt', 'Content-Length: 5', method='OPTIONS',
                                                      body=b'hello'), (200, 204))
    case('options-max-forwards', '9110 7.6.2 DESIGN', request('/hello.txt', 'Max-Forwards: 0', method='OPTIONS'),
         (200, 204))
    case('trace-file', '9110 9.3.8 MUST', request('/hello.txt', 'Cookie: a=b', method='TRACE'), (403, 405, 501), ANY)
    case('trace-action', '9110 9.3.8 MUST', request('/api/get', 'Authorization: x', method='TRACE'), (403, 405, 501),
         ANY)
    for method in ('POST', 'PUT', 'DELETE', 'PATCH'):
        case(f'method-{method.lower()}-file', '9110 15.5.6 MUST', request(method=method),
             Want(405, allow('GET', 'HEAD')), ANY)
        case(f'method-{method.lower()}-get-action', '9110 15.5.6 MUST', request('/api/get', method=method),
             Want(405, allow('GET')), ANY)
        case(f'method-{method.lower()}-missing', '9110 15.5.5 MUST', request('/missing', method=method), (404, 405),
             ANY)
        case(f'method-{method.lower()}-folder', '9110 15.5.6 MUST', request('/dir/', method=method),
             Want(405, allow('GET', 'HEAD')), ANY)
    case('method-get-post-action', '9110 15.5.6 MUST', request('/api/post'), Want(405, allow('POST')), ANY)
    case('method-head-post-action', '9110 15.5.6 MUST', request('/api/post', method='HEAD'), Want(405, allow('POST')),
         ANY)
    case('method-get-action', '9110 9.3.1 MUST', request('/api/get'), Want(200, body(b'got')))
    case('method-post-action', '9110 9.3.3 MUST', request('/api/post', 'Content-Length: 5', method='POST',
                                                          body=b'hello'), Want(200, body(b'hello')))
    for method in ('FOO', 'get', 'Get', 'GETX', 'GE', 'M-SEARCH', 'PROPFIND', "!#$%&'*+-.^_`|~0aZ"):
        name = method.lower() if method.isalpha() else 'tokens' if '!' in method else 'm-search'
        name += '' if method.isupper() else '-small' if method.islower() else '-mixed'
        case(f'method-unknown-{name}', '9110 9.1 SHOULD', request(method=method), (405, 501), ANY)
    case('method-unknown-action', '9110 9.1 SHOULD', request('/api/get', method='FOO'), (405, 501), ANY)
    case('method-unknown-missing', '9110 9.1 SHOULD', request('/missing', method='FOO'), (404, 405, 501), ANY)
    case('method-unknown-body', '9110 9.1 SHOULD', request('/hello.txt', 'Content-Length: 5', method='FOO',
                                                           body=b'hello'), (405, 501), ANY)


def answers():
    """Answers (RFC 9110 §6.6, §8, §15)."""
    for name, kind in {'index.html': 'text/html', 'hello.txt': 'text/plain', 'style.css': 'text/css',
                       'data.json': 'application/json', 'pixel.png': 'image/png'}.items():
        def typed(response, kind=kind):
            assert response.get('content-type', '').split(';')[0].strip().lower() == kind, response.get('content-type')
        case(f'file-{name.replace(".", "-")}', '9110 8.3 SHOULD', request('/' + name),
             Want(200, body(FILES[name]), typed, field('content-length', str(len(FILES[name]))), has('etag'),
                  has('last-modified')))
    case('file-empty', '9110 8.6 MUST', request('/empty.txt'), Want(200, body(b''), field('content-length', '0')))
    case('file-big', '9110 8.6 MUST', request('/big.bin'), Want(200, body(BIG)))
    case('file-modified', '9110 8.8.2 MUST', request(), Want(200, field('last-modified',
        'Wed, 01 Jan 2020 00:00:00 GMT')))
    case('file-from-the-future', '9110 8.8.2.1 MUST', request('/future.txt'), Want(200, body(FILES['future.txt'])))
    case('file-folder', '9110 15.4 MUST', request('/dir/'), Want(200, body(FILES['dir/index.html'])))
    case('redirect-folder', '9110 10.2.2 SHOULD', request('/dir'), Want((301, 302, 307, 308), location('/dir/')))
    case('redirect-folder-query', '9110 10.2.2 SHOULD', request('/dir?a=b'),
         Want((301, 302, 307, 308), location('/dir/', '/dir/?a=b')))
    case('redirect-action', '9110 10.2.2 SHOULD', request('/api/redirect'), Want(302, location('/hello.txt')))
    case('redirect-split', '9110 5.5 MUST', request('/dir%0d%0aX-Injected:%20yes'),
         Want((301, 302, 307, 308, 400, 404), lacks('x-injected')), ANY)
    case('redirect-double-slash', '9110 17.1 MUST', request('//evil.example/..//dir'),
         (200, 301, 302, 307, 308, 400, 403, 404), ANY)
    case('answer-field-split', '9110 5.5 MUST', request('/api/split'), Want((200, 500), lacks('x-injected')), ANY)
    case('answer-stream', '9112 7.1 MUST', request('/api/stream'), Want(200, framed('chunked'),
        body(b''.join(b'line %d\n' % n for n in range(20)))))
    case('answer-stream-1.0', '9112 7.1 MUST', request('/api/stream', version='1.0'),
         Want(200, body(b''.join(b'line %d\n' % n for n in range(20)))), CLOSE)
    case('answer-204', '9110 15.3.5 MUST', request('/api/none') + NEXT,
         [Want(204, body(b'')), Want(200, body(FILES['other.txt']))])
    case('answer-204-with-text', '9110 15.3.5 MUST', request('/api/none-text') + NEXT,
         [(204, 500), Want(200, body(FILES['other.txt']))], ANY)
    case('answer-304-with-text', '9110 15.4.5 MUST', request('/api/not-modified') + NEXT,
         [(304, 500), Want(200, body(FILES['other.txt']))], ANY)
    case('answer-201', '9110 15.3.2 SHOULD', request('/api/created'), Want(201, location('/hello.txt')))
    case('answer-empty', '9110 8.6 SHOULD', request('/api/empty'), Want((200, 204), body(b'')))
    case('answer-500', '9110 15.6.1 MUST', request('/api/fail'), Want(500, lacks('etag')), ANY)
    case('answer-409', '9110 15.5.10 MUST', request('/api/error'), 409)
    case('answer-404-body', '9110 15.5 SHOULD', request('/missing'), Want(404, has('content-type')))
    case('answer-length', '9110 8.6 MUST', request('/api/get'), Want(200, framed('length'), body(b'got')))

    def varies(response):
        if response.get('content-encoding'):
            assert 'accept-encoding' in response.tokens('vary'), 'negotiated without Vary (RFC 9110 §12.5.5)'
        else:
            assert response.body == HELLO
    case('accept-encoding', '9110 12.5.3 SHOULD', request('/hello.txt', 'Accept-Encoding: gzip, br'), Want(200, varies))
    case('accept-encoding-none', '9110 12.5.3 MUST', request('/hello.txt', 'Accept-Encoding: identity'),
         Want(200, lacks('content-encoding'), body(HELLO)))
    case('accept-encoding-q0', '9110 12.5.3 MUST', request('/hello.txt', 'Accept-Encoding: gzip;q=0, br;q=0'),
         Want(200, lacks('content-encoding'), body(HELLO)))
    case('accept-other', '9110 12.4.1 MUST', request('/hello.txt', 'Accept: application/x-other'), (200, 406))
    case('accept-language', '9110 12.5.4 MUST', request('/hello.txt', 'Accept-Language: xx'), (200, 406))
    for name, value in {'unit': 'lines=1-2', 'malformed': 'bytes=a-b', 'backwards': 'bytes=5-2', 'no-unit': '0-1',
                        'empty': ''}.items():
        case(f'range-ignored-{name}', '9110 14.2 MUST', request('/hello.txt', f'Range: {value}'),
             Want(200 if name == 'unit' else (200, 400, 416), only(200, body(HELLO))), ANY)
    case('range', '9110 14.2 MUST', request('/hello.txt', 'Range: bytes=0-4'),
         Want((200, 206), only(200, body(HELLO)), only(206, body(HELLO[:5]))))
    case('range-head', '9110 14.2 MUST', request('/hello.txt', 'Range: bytes=0-4', method='HEAD'),
         Want(200, field('content-length', str(len(HELLO)))))
    case('range-post', '9110 14.2 MUST', post('Range: bytes=0-1', 'Content-Length: 5', body=b'hello'),
         Want(200, echoed('hello')))
    case('if-range-alone', '9110 13.1.5 MUST', request('/hello.txt', 'If-Range: "other"'), Want(200, body(HELLO)))
    case('if-range-other', '9110 13.1.5 MUST', request('/hello.txt', 'Range: bytes=0-4', 'If-Range: "other"'),
         Want(200, body(HELLO)))
    case('if-range-weak', '9110 13.1.5 MUST', request('/hello.txt', 'Range: bytes=0-4', 'If-Range: W/%ETAG%'),
         Want(200, body(HELLO)))


EARLIER, LATER = 'Tue, 31 Dec 2019 23:59:59 GMT', 'Thu, 02 Jan 2020 00:00:00 GMT'


def conditions():
    """Conditional requests (RFC 9110 §13)."""
    full = Want(200, body(HELLO), has('etag'))
    same = Want(304, body(b''), complete_304)
    failed = Want(412)

    def both(name, source, lines, want, after=KEEP):
        lines = (lines,) if isinstance(lines, str) else lines
        case(f'cond-{name}', source, request('/hello.txt', *lines), want, after)
        case(f'cond-{name}-head', source, request('/hello.txt', *lines, method='HEAD'), Want(want.statuses, body(b'')),
             after)

    none_match = '9110 13.1.2 MUST'
    for name, lines, want in (
        ('match', 'If-None-Match: %ETAG%', same), ('other', 'If-None-Match: "other"', full),
        ('weak', 'If-None-Match: W/%ETAG%', same),
        ('list', 'If-None-Match: "a", %ETAG%, "b"', same), ('list-tight', 'If-None-Match: "a",%ETAG%', same),
        ('list-weak', 'If-None-Match: W/"a", W/%ETAG%', same),
        ('list-none', 'If-None-Match: "a", W/"b"', full), ('star', 'If-None-Match: *', same),
        ('lines', ('If-None-Match: "a"', 'If-None-Match: %ETAG%'), same),
        ('empty-members', 'If-None-Match: , ,"a", ,%ETAG%,', same), ('comma-inside', 'If-None-Match: "a,b", %ETAG%',
            same),
        ('backslash-is-plain', 'If-None-Match: "a\\", %ETAG%', same), ('empty-tag', 'If-None-Match: ""', full),
        ('name-case', 'if-NONE-match: %ETAG%', same),
        ('prefix-of-tag', 'If-None-Match: "x%OPAQUE%"', full), ('suffix-of-tag', 'If-None-Match: "%OPAQUE%x"', full),
        ('inside-a-tag', 'If-None-Match: "a %OPAQUE%"', Want((200, 400))),
    ):
        both(f'none-match-{name}', none_match, lines, want)
    for name, value in {'bare': 'other', 'bare-weak': 'w/"other"', 'open': '"other', 'unquoted-own': '%OPAQUE%',
                        'garbage': '@#!', 'star-quoted': '"*"'}.items():
        case(f'cond-none-match-malformed-{name}', '9110 13.1.2 SHOULD',
             request('/hello.txt', f'If-None-Match: {value}'), Want((200, 400), only(200, body(HELLO))), ANY)
    case('cond-none-match-missing', '9110 13.2.1 MUST', request('/missing', 'If-None-Match: *'), 404)
    case('cond-none-match-index', '9110 13.1.2 MUST', request('/', 'If-None-Match: *'), 304)
    case('cond-none-match-next', '9110 15.4.5 MUST', request('/hello.txt', 'If-None-Match: *') + NEXT,
         [Want(304, body(b'')), Want(200, body(FILES['other.txt']))])
    case('cond-none-match-1.0', '9110 13.1.2 MUST', request('/hello.txt', 'If-None-Match: %ETAG%', version='1.0'), same,
         CLOSE)

    since = '9110 13.1.3 MUST'
    for name, lines, want in (
        ('same', 'If-Modified-Since: %DATE%', same), ('later', f'If-Modified-Since: {LATER}', same),
        ('earlier', f'If-Modified-Since: {EARLIER}', full),
        ('rfc850', 'If-Modified-Since: Wednesday, 01-Jan-20 00:00:00 GMT', same),
        ('asctime', 'If-Modified-Since: Wed Jan  1 00:00:00 2020', same),
        ('rfc850-earlier', 'If-Modified-Since: Tuesday, 31-Dec-19 23:59:59 GMT', full),
        ('asctime-earlier', 'If-Modified-Since: Tue Dec 31 23:59:59 2019', full),
        ('rfc850-last-century', 'If-Modified-Since: Friday, 01-Jan-99 00:00:00 GMT', full),
        ('epoch', 'If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT', full),
    ):
        both(f'modified-since-{name}', since, lines, want)
    for name, value in {
        'garbage': 'yesterday', 'empty': '', 'number': '1577836800', 'iso': '2020-01-02T00:00:00Z',
        'zone': 'Thu, 02 Jan 2020 00:00:00 +0000', 'utc': 'Thu, 02 Jan 2020 00:00:00 UTC',
        'no-zone': 'Thu, 02 Jan 2020 00:00:00', 'day-32': 'Wed, 32 Jan 2020 00:00:00 GMT',
        'hour-25': 'Thu, 02 Jan 2020 25:00:00 GMT', 'month': 'Thu, 02 Foo 2020 00:00:00 GMT',
        'minute-60': 'Thu, 02 Jan 2020 00:60:00 GMT', 'february-30': 'Sun, 30 Feb 2020 00:00:00 GMT',
        'one-digit-day': 'Thu, 2 Jan 2020 00:00:00 GMT',
        'tail': 'Thu, 02 Jan 2020 00:00:00 GMT; length=14', 'no-comma': 'Thu 02 Jan 2020 00:00:00 GMT',
        'day-0': 'Tue, 00 Jan 2020 00:00:00 GMT', 'lower': 'thu, 02 jan 2020 00:00:00 gmt',
        'etag': '%ETAG%',
    }.items():
        case(f'cond-modified-since-ignored-{name}', since, request('/hello.txt', f'If-Modified-Since: {value}'), full)
    case('cond-modified-since-two', since, request('/hello.txt', f'If-Modified-Since: {LATER}',
                                                   f'If-Modified-Since: {LATER}'), full)
    case('cond-modified-since-future', since, request('/hello.txt', 'If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT'),
         (200, 304))
    case('cond-modified-since-missing', '9110 13.2.1 MUST', request('/missing', f'If-Modified-Since: {LATER}'), 404)

    match = '9110 13.1.1 MUST'
    for name, lines, want in (
        ('match', 'If-Match: %ETAG%', full), ('other', 'If-Match: "other"', failed),
        ('weak', 'If-Match: W/%ETAG%', failed), ('star', 'If-Match: *', full),
        ('list', 'If-Match: "a", %ETAG%', full), ('list-none', 'If-Match: "a", "b"', failed),
        ('list-weak', 'If-Match: "a", W/%ETAG%', failed),
        ('lines', ('If-Match: "a"', 'If-Match: %ETAG%'), full), ('comma-inside', 'If-Match: "a,b", %ETAG%', full),
        ('empty-tag', 'If-Match: ""', failed),
        ('malformed', 'If-Match: other', Want((400, 412))),
    ):
        both(f'match-{name}', match, lines, want, KEEP if 400 not in want.statuses else ANY)
    case('cond-match-missing', '9110 13.2.1 MUST', request('/missing', 'If-Match: "a"'), 404)
    case('cond-match-missing-star', '9110 13.2.1 MUST', request('/missing', 'If-Match: *'), 404)
    case('cond-match-redirect', '9110 13.2.1 MUST', request('/dir', 'If-Match: "a"'),
         Want((301, 302, 307, 308), location('/dir/')))
    case('cond-match-not-allowed', '9110 13.2.1 MUST', request('/hello.txt', 'If-Match: "a"', method='DELETE'), 405,
         ANY)
    case('cond-match-options', '9110 13.2.1 MUST', request('/hello.txt', 'If-Match: "a"', method='OPTIONS'), (200, 204))
    case('cond-none-match-options', '9110 13.2.1 MUST', request('/hello.txt', 'If-None-Match: *', method='OPTIONS'),
         (200, 204))
    case('cond-none-match-options-asterisk', '9110 13.2.1 MUST', request('*', 'If-None-Match: *', method='OPTIONS'),
         (200, 204))

    unmodified = '9110 13.1.4 MUST'
    for name, lines, want in (
        ('same', 'If-Unmodified-Since: %DATE%', full), ('later', f'If-Unmodified-Since: {LATER}', full),
        ('earlier', f'If-Unmodified-Since: {EARLIER}', failed),
        ('rfc850', 'If-Unmodified-Since: Tuesday, 31-Dec-19 23:59:59 GMT', failed),
        ('asctime', 'If-Unmodified-Since: Tue Dec 31 23:59:59 2019', failed),
        ('garbage', 'If-Unmodified-Since: yesterday', full), ('empty', 'If-Unmodified-Since:', full),
        ('zone', 'If-Unmodified-Since: Tue, 31 Dec 2019 23:59:59 +0000', full),
        ('two', (f'If-Unmodified-Since: {EARLIER}', f'If-Unmodified-Since: {EARLIER}'), full),
        ('bad-day', 'If-Unmodified-Since: Tue, 32 Dec 2018 23:59:59 GMT', full),
    ):
        both(f'unmodified-since-{name}', unmodified, lines, want)
    case('cond-unmodified-since-missing', '9110 13.2.1 MUST', request('/missing', f'If-Unmodified-Since: {EARLIER}'),
         404)

    order = '9110 13.2.2 MUST'
    for name, lines, want in (
        ('none-match-over-since', ('If-None-Match: "other"', 'If-Modified-Since: %DATE%'), full),
        ('none-match-over-earlier', ('If-None-Match: %ETAG%', f'If-Modified-Since: {EARLIER}'), same),
        ('since-before-none-match', ('If-Modified-Since: %DATE%', 'If-None-Match: "other"'), full),
        ('match-over-unmodified', ('If-Match: %ETAG%', f'If-Unmodified-Since: {EARLIER}'), full),
        ('match-failed-unmodified', ('If-Match: "other"', f'If-Unmodified-Since: {LATER}'), failed),
        ('match-then-none-match', ('If-Match: %ETAG%', 'If-None-Match: %ETAG%'), same),
        ('match-failed-none-match', ('If-Match: "other"', 'If-None-Match: %ETAG%'), failed),
        ('none-match-and-failed-match', ('If-None-Match: "other"', 'If-Match: "other"'), failed),
        ('unmodified-then-none-match', (f'If-Unmodified-Since: {LATER}', 'If-None-Match: *'), same),
        ('unmodified-failed-none-match', (f'If-Unmodified-Since: {EARLIER}', 'If-None-Match: *'), failed),
        ('unmodified-then-since', ('If-Unmodified-Since: %DATE%', 'If-Modified-Since: %DATE%'), same),
        ('unmodified-failed-since', (f'If-Unmodified-Since: {EARLIER}', 'If-Modified-Since: %DATE%'), failed),
        ('match-star-since', ('If-Match: *', 'If-Modified-Since: %DATE%'), same),
        ('none-match-range', ('Range: bytes=0-4', 'If-None-Match: %ETAG%'), same),
        ('match-failed-range', ('Range: bytes=0-4', 'If-Match: "other"'), failed),
        ('all-pass', ('If-Match: %ETAG%', f'If-Unmodified-Since: {LATER}', 'If-None-Match: "other"',
                      'If-Modified-Since: %DATE%'), full),
        ('weak-tag-in-none-match', ('If-None-Match: W/"other", W/%ETAG%', f'If-Modified-Since: {EARLIER}'), same),
    ):
        both(f'order-{name}', order, lines, want)
    case('cond-action-ignored', '9110 13.2.1 MUST', post('If-Modified-Since: %DATE%', 'If-None-Match: "a"',
                                                         'Content-Length: 5', body=b'hello'),
         Want(200, echoed('hello')))


for section in (request_lines, targets, hosts, fields, lengths, codings, chunks, connections, expectations, methods,
                answers, conditions):
    section()
