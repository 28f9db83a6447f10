"""A strict HTTP/1.1 client on a raw socket, for tests of a running server.

It sends the bytes that a test gives, whole, in pieces or half-closed, and reads answers exactly as RFC 9112 frames
them: status line (§4), field lines (§5), body by method, status and fields (§6.3), chunked coding with extensions and
trailers (§7.1), 1xx answers before the final one (RFC 9110 §15.2). What a careless client would forgive is
`Malformed` here: bare line ends, folding, a repeated Content-Length, Content-Length beside Transfer-Encoding, a chunk
that does not end where it says. Each wait has the connection's deadline, so that no test hangs: `TimeoutError` says
what was waited for.
"""

import re
import socket
import time

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
STATUS_LINE = re.compile(rb'HTTP/1\.([01]) ([1-5][0-9][0-9]) ([\t \x21-\x7e\x80-\xff]*)\Z')
VISIBLE = rb'[\x21-\x7e\x80-\xff]+'
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t -\x7e])*"'
FIELD_LINE = re.compile(rb'(' + TOKEN + rb'):[ \t]*((?:' + VISIBLE + rb'(?:[ \t]+' + VISIBLE + rb')*)?)[ \t]*\Z')
CHUNK_LINE = re.compile(rb'([0-9A-Fa-f]{1,16})(?:[ \t]*;[ \t]*' + TOKEN +
                        rb'(?:[ \t]*=[ \t]*(?:' + TOKEN + rb'|' + QUOTED + rb'))?)*\Z')
# Fields of which a response carries one line at most (their grammar is no list).
SINGLETONS = ('content-length', 'content-type', 'date', 'etag', 'last-modified', 'location', 'retry-after', 'server',
              'content-range', 'age', 'expires')


class Malformed(AssertionError):
    """The server's bytes are not an HTTP/1.1 response; the message shows them."""


class Closed(Exception):
    """The server closed the connection before the first byte of a response."""


class Response:
    """One final response: version (10 or 11), status, reason, pairs [(name, value)], body, framing ('none', 'length',
    'chunked' or 'close'), trailers [(name, value)] and interim, the list of 1xx responses that came before it."""

    def __init__(self, version, status, reason, pairs):
        self.version, self.status, self.reason, self.pairs = version, status, reason, pairs
        self.body, self.framing, self.trailers, self.interim = b'', 'none', [], []

    def all(self, name):
        """Values of the lines of that field, in order."""
        return [value for key, value in self.pairs if key.lower() == name.lower()]

    def get(self, name, default=None):
        """Value of the field, its lines joined by ', '."""
        return ', '.join(self.all(name)) if self.all(name) else default

    def tokens(self, name):
        """Lower-case members of a comma-separated field."""
        return [item.strip().lower() for item in self.get(name, '').split(',') if item.strip()]

    def __repr__(self):
        return f'<{self.status} {self.reason} {self.pairs} {self.framing} {self.body[:200]!r}>'


def parse_fields(lines):
    """[(name, value)] of field lines without their CRLF; Malformed for anything but the grammar of RFC 9112 §5."""
    pairs = []
    for line in lines:
        match = FIELD_LINE.match(line)
        if not match:
            raise Malformed(f'bad field line {line!r}')
        pairs.append((match[1].decode('latin-1'), match[2].decode('latin-1')))
    return pairs


def split_lines(head):
    """Lines of a head whose line ends are all CRLF."""
    lines = head.split(b'\r\n')
    for line in lines:
        if b'\r' in line or b'\n' in line:
            raise Malformed(f'bare CR or LF in {line!r}')
    return lines


class Connection:
    """A client connection: send(bytes), half_close(), response(method), ended(seconds), close(). `timeout` (seconds)
    bounds each wait."""

    def __init__(self, port=None, host='127.0.0.1', timeout=10, receive_buffer=None, over=None):
        self.timeout = timeout
        self.buffer = b''
        self.eof = self.reset = False
        if over is not None:                    # a connected socket instead of a port
            self.socket = over
            return
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect((host, port))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        """Sends all; a server that has closed already is no error here, its answer is still to be read."""
        self.socket.settimeout(self.timeout)
        try:
            self.socket.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def half_close(self):
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def fill(self, deadline, what='bytes'):
        """Receives some more bytes; False at the end of the stream."""
        if self.eof:
            return False
        left = deadline - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            self.socket.settimeout(left)
            data = self.socket.recv(65536)
        except TimeoutError:
            raise TimeoutError(f'no {what} within {self.timeout} s; received so far {self.buffer[:300]!r}') from None
        except ConnectionResetError:
            self.eof = self.reset = True
            return False
        if not data:
            self.eof = True
            return False
        self.buffer += data
        return True

    def head(self, deadline, fields_only=False):
        """Raw head up to its blank line, taken off the buffer; fields_only: a trailer section, which may be empty."""
        while True:
            if fields_only and self.buffer.startswith(b'\r\n'):
                self.buffer = self.buffer[2:]
                return b''
            end = self.buffer.find(b'\r\n\r\n')
            if end >= 0:
                head, self.buffer = self.buffer[:end], self.buffer[end + 4:]
                return head
            if len(self.buffer) > 65536:
                raise Malformed(f'head too long: {self.buffer[:300]!r}')
            if not self.fill(deadline, 'response head'):
                if not self.buffer and not fields_only:
                    raise Closed('closed without a response' + (' (reset)' if self.reset else ''))
                raise Malformed(f'closed inside a head: {self.buffer[:300]!r}')

    def read_exactly(self, count, deadline):
        while len(self.buffer) < count:
            if not self.fill(deadline, 'response body'):
                raise Malformed(f'closed after {len(self.buffer)} of {count} body bytes')
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def read_line(self, deadline):
        while b'\r\n' not in self.buffer:
            if len(self.buffer) > 8192 or not self.fill(deadline, 'chunk line'):
                raise Malformed(f'no chunk line: {self.buffer[:100]!r}')
        line, self.buffer = self.buffer.split(b'\r\n', 1)
        return line

    def read_chunked(self, response, deadline):
        parts = []
        while True:
            line = self.read_line(deadline)
            match = CHUNK_LINE.match(line)
            if not match:
                raise Malformed(f'bad chunk line {line!r}')
            size = int(match[1], 16)
            if not size:
                break
            parts.append(self.read_exactly(size, deadline))
            if self.read_exactly(2, deadline) != b'\r\n':
                raise Malformed(f'chunk of {size} bytes does not end with CRLF')
        trailers = self.head(deadline, fields_only=True)
        response.trailers = parse_fields(split_lines(trailers)) if trailers else []
        response.body = b''.join(parts)

    def response(self, method='GET', version=11):
        """The next final response to a request of that method and version (10 or 11)."""
        deadline = time.monotonic() + self.timeout
        interim = []
        while True:
            lines = split_lines(self.head(deadline))
            match = STATUS_LINE.match(lines[0])
            if not match:
                raise Malformed(f'bad status line {lines[0]!r}')
            response = Response(10 + int(match[1]), int(match[2]), match[3].decode('latin-1'), parse_fields(lines[1:]))
            self.check_framing(response, version)
            if response.status >= 200 or response.status == 101:
                break
            interim.append(response)
        response.interim = interim
        coding = response.tokens('transfer-encoding')
        if method == 'HEAD' or response.status in (101, 204, 304) or (method == 'CONNECT' and response.status < 300):
            pass
        elif coding:
            response.framing = 'chunked'
            self.read_chunked(response, deadline)
        elif response.get('content-length') is not None:
            response.framing = 'length'
            response.body = self.read_exactly(int(response.get('content-length')), deadline)
        else:
            response.framing = 'close'
            while self.fill(deadline, 'end of a close-delimited body'):
                pass
            response.body, self.buffer = self.buffer, b''
        return response

    @staticmethod
    def check_framing(response, version):
        """Malformed for fields that frame a response in a way that RFC 9112 §6 forbids."""
        for name in SINGLETONS:
            if len(response.all(name)) > 1:
                raise Malformed(f'{name} repeated: {response.all(name)}')
        length, coding = response.get('content-length'), response.get('transfer-encoding')
        if length is not None and not re.fullmatch(r'[0-9]+', length):
            raise Malformed(f'Content-Length {length!r}')
        if coding is not None:
            if coding.lower() != 'chunked':
                raise Malformed(f'Transfer-Encoding {coding!r}')
            if length is not None:
                raise Malformed('Content-Length together with Transfer-Encoding (RFC 9112 §6.2)')
            if version < 11:
                raise Malformed('Transfer-Encoding in an answer to HTTP/1.0 (RFC 9112 §6.1)')
        if (response.status < 200 or response.status == 204) and (length is not None or coding is not None):
            raise Malformed(f'a {response.status} with a body framed (RFC 9110 §8.6, RFC 9112 §6.1)')
        if response.status < 200 and version < 11:
            raise Malformed('1xx sent to an HTTP/1.0 client (RFC 9110 §15.2)')

    def wait_head(self, seconds=None):
        """Waits for the next head, interim or final, and returns its status without taking it off the buffer; 0 when
        the server closes first."""
        deadline = time.monotonic() + (self.timeout if seconds is None else seconds)
        while b'\r\n\r\n' not in self.buffer:
            if not self.fill(deadline, 'response head'):
                return 0
        match = STATUS_LINE.match(self.buffer.split(b'\r\n', 1)[0])
        return int(match[2]) if match else 0

    def ended(self, seconds=None):
        """Waits until the server closes. Returns the bytes that came after the last response; TimeoutError if it
        stays open."""
        deadline = time.monotonic() + (self.timeout if seconds is None else seconds)
        while self.fill(deadline, 'close of the connection'):
            pass
        rest, self.buffer = self.buffer, b''
        return rest


def request(target='/hello.txt', *fields, method='GET', version='1.1', host='test', body=b''):
    """Bytes of a request; `fields` are whole lines (str or bytes) without CRLF, `host` None leaves Host out."""
    lines = [encode(f'{method} {target} HTTP/{version}') if isinstance(target, str) else
             encode(method) + b' ' + target + b' HTTP/' + encode(version)]
    if host is not None:
        lines.append(b'Host: ' + encode(host))
    lines += [encode(field) for field in fields]
    return b'\r\n'.join(lines) + b'\r\n\r\n' + body


def encode(text):
    return text if isinstance(text, bytes) else text.encode('latin-1')


def fetch(port, target='/hello.txt', *fields, method='GET', body=b'', timeout=10):
    """One request on a connection of its own: its Response."""
    if body:
        fields += (f'Content-Length: {len(body)}',)
    with Connection(port, timeout=timeout) as connection:
        connection.send(request(target, *fields, 'Connection: close', method=method, body=body))
        return connection.response(method)
