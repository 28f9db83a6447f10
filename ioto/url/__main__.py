"""`python3 -m ioto.url`: a small curl. The body goes to standard output as it comes, or to a file that is there only
when it is whole; errors go to standard error, a line each.

The command line is read, and so are files that are not sent as they are, before the scheduler runs: an interrupt ends
that at once. From then on, what may block is done in helper threads. The exit statuses are those of curl.
"""

import argparse
import os
import re
import sys
from time import monotonic

from .. import runtime
from ..http.url import parse_url
from ..runtime.threads import to_thread
from .body import FORM, Payload, payload_of
from .client import Client
from .downloads import Part
from .errors import ConnectError, ProtocolError, StatusError, TimeoutError, TlsError, TooLarge, UrlError
from .fetch import Fetch

OPTIONS = (         # names, what the value is called ('' for a switch, + for any number), what it does
    ('-X --request', 'METHOD', 'GET, or POST for -d and -F'),
    ('-H --header', 'FIELD+', "'Name: value', 'Name;' for an empty one, or 'Name:' for none"),
    ('-d --data', 'DATA+', 'text, or @file to send as it is; several are joined by &'),
    ('-F --form', 'NAME=VALUE+', 'a part of a form: text, <file or @file, then ;type=... or ;filename=...'),
    ('-u --user', 'USER:PASSWORD', 'for Basic and Digest, when the server asks'),
    ('-o --output', 'FILE+', 'write to a file, one for each URL'),
    ('-O --remote-name', '', 'write to files named as the URLs'),
    ('-i --include', '', 'write the heads of answers too'),
    ('-I --head', '', 'ask for the head alone'),
    ('-L --location', '', 'follow redirects'),
    ('-f --fail', '', 'an answer from 400 up is an error'),
    ('-k --insecure', '', 'trust any certificate'),
    ('-v --verbose', '', 'show the heads of requests and answers'),
    ('-s --silent', '', 'show neither progress nor errors'),
    ('--resume', '', 'go on with what failed before'),
    ('--checksum', 'SHA256', "or algorithm:digest of the output"),
    ('--cacert', 'FILE', 'certificates to trust (PEM)'),
    ('--cert', 'FILE', 'certificate to show (PEM)'),
    ('--key', 'FILE', 'its key'),
    ('--proxy', 'URL', "http://user:password@host:port, '' for none"),
    ('-m --timeout', 'SECONDS', 'for a transfer'),
)
STATUSES = (        # the kind of an error, how its text begins, the exit status
    (StatusError, '', 22), (TimeoutError, '', 28), (TooLarge, '', 63),
    (ConnectError, 'cannot find host', 6), (ConnectError, 'cannot connect', 7),
    (TlsError, '.*: cannot use authority', 77), (TlsError, '.*: cannot use', 58),
    (TlsError, 'no TLS with .*: its certificate', 60), (TlsError, 'no TLS', 35),
    (ProtocolError, 'bad answer: the connection ended|the part ended', 18), (ProtocolError, r'more than \d+ redir', 47),
    (ProtocolError, 'the server closed the connection before', 52),
    (ProtocolError, 'the (body is no|compressed) |expected the content c', 61),
    ((ConnectError, TlsError, ProtocolError), '', 56),
    (UrlError, 'bad proxy', 5), (UrlError, '(the|a) file .*ended|the input', 26), (UrlError, '', 2),
)
HELP = ('exit status, that of curl: 2 command line, 3 URL, 5 proxy, 6 host, 7 connection, 18 body cut, 22 an answer '
        'from 400 up with -f, 23 output, 26 input, 28 time, 35 TLS, 47 redirects, 52 no answer, 56 bad answer or '
        "checksum, 58 --cert or --key, 60 server's certificate, 61 compression, 63 size, 77 --cacert, 130 interrupt")
LONG = 1.0              # seconds after which progress is shown, and
OFTEN = 0.2             # between two times


class Shown(Fetch):
    """A fetch whose heads are shown and kept, those of redirects too."""

    def _head(self):
        head = super()._head()
        self.client.show('>', head.decode('latin-1').split('\r\n')[:-1])
        return head

    async def _ask(self):
        self.status = 0
        await super()._ask()
        lines = [f'HTTP/{self.version // 10}.{self.version % 10} {self.status} {self.reason}']
        lines += [f'{name}: {value}' for name, value in self.headers.pairs] + ['']
        self.client.show('<', lines)
        self.client.answers.append('\r\n'.join(lines + ['']).encode('latin-1'))


class Curl(Client):
    """The client of the transfers: `last` is the fetch in hand, `answers` the heads that came."""

    verbose = False

    def fetch(self, method, target, body=None, **options):
        self.answers = []
        self.last = Shown(self, method, target, body, **options)
        return self.last

    def show(self, mark, lines):
        if self.verbose:
            for line in lines:
                say(f'{mark} {line}')


class Progress:
    """A line on a terminal that tells how far a long transfer is."""

    def __init__(self, wanted):
        self.start = self.drawn = monotonic()
        self.wanted, self.visible, self.first = wanted, False, None

    def __call__(self, received, total):
        now = monotonic()
        if self.first is None or received < self.first:
            self.first = received               # what an earlier call left cost no time
        if not self.wanted or now - self.start < LONG or now - self.drawn < OFTEN:
            return
        self.drawn, self.visible = now, True
        speed = (received - self.first) / (now - self.start)
        text = f'{received / 1e6:.1f} MB, {speed / 1e6:.1f} MB/s'
        if total:
            left = (total - received) / max(speed, 1)
            text = (f'{received * 100 // total:3}% [{"#" * (received * 30 // total):30}] {text}, '
                    f'{left // 60:.0f}:{left % 60:02.0f} left')
        print(f'\r\x1b[K{text}', end='', file=sys.stderr, flush=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if self.visible:
            print('\r\x1b[K', end='', file=sys.stderr, flush=True)


def say(text):
    """A line on standard error, without what a terminal would obey."""
    print(''.join([c if c.isprintable() else ascii(c)[1:-1] for c in text]), file=sys.stderr)


def parse(words):
    """The options of the command line; it exits where that is wrong."""
    parser = argparse.ArgumentParser('python3 -m ioto.url', '%(prog)s [OPTION]... URL...', epilog=HELP,
                                     allow_abbrev=False)
    parser.add_argument('urls', nargs='+', metavar='URL')
    for names, value, text in OPTIONS:
        names = names.split()
        if not value:
            parser.add_argument(*names, action='store_true', help=text)
        elif value.endswith('+'):
            parser.add_argument(*names, action='append', default=[], metavar=value[:-1], help=text)
        else:
            parser.add_argument(*names, metavar=value, type=float if value == 'SECONDS' else str, help=text)
    options = parser.parse_args(words)
    whole = options.resume or options.checksum
    wrong = ('-d, -F and -I exclude each other' if bool(options.data) + bool(options.form) + options.head > 1 else
             'more -o than URLs' if len(options.output) > len(options.urls) else
             '--resume and --checksum need a plain GET to files' if whole and (
                 options.data or options.form or options.request or options.head or options.include
                 or '-' in options.output or not options.remote_name and len(options.output) < len(options.urls)) else
             '' if options.timeout is None or options.timeout > 0 else '--timeout expects seconds')
    if wrong:
        parser.error(wrong)
    return options


def request_of(options):
    """(method, body, options of fetch) for each of the URLs. Raises UrlError, OSError."""
    headers = {}
    for field in options.header:
        name, colon, value = os.fsencode(field).decode('latin-1').partition(':')
        value = value.strip() or None
        if not colon:
            if not name.endswith(';'):
                raise UrlError(f"expected -H 'Name: value', got {field!a}")
            name, value = name[:-1], ''
        headers[name] = [*headers[name], value] if value and headers.get(name) else value and [value]
    body = data_of(options.data) if options.data else form_of(options.form) if options.form else None
    more = {'headers': headers, 'redirects': 10 if options.location else 0}
    if options.timeout:
        more['timeout'] = {'whole': options.timeout}
    if options.user is not None:
        user, colon, password = options.user.partition(':')
        if not colon and sys.stdin.isatty():
            from getpass import getpass
            password = getpass(f'Password of {user}: ')
        more['auth'] = user, password
    return options.request or ('HEAD' if options.head else 'POST' if body else 'GET'), body, more


def source(path):
    """A file to send, standard input for '-'."""
    return sys.stdin.buffer if path == '-' else open(path, 'rb')


def data_of(items):
    """The body of -d: one file is sent as it is read, all else is joined."""
    if len(items) == 1 and items[0].startswith('@'):
        body = payload_of(source(items[0][1:]))
        body.media = FORM
        return body
    parts = []
    for item in items:
        if item.startswith('@'):
            parts.append(source(item[1:]).read())
        else:
            parts.append(os.fsencode(item))
    return Payload(b'&'.join(parts), FORM)


def form_of(items):
    """The body of -F."""
    from .form import Form
    form = Form()
    for item in items:
        name, equals, value = item.partition('=')
        if not equals:
            raise UrlError(f'expected -F name=value, got {item!a}')
        value, *settings = re.split('; *(?=type=|filename=)', value)
        found = dict(setting.partition('=')[::2] for setting in settings)
        if value.startswith('@'):
            form.add(name, source(value[1:]), found.get('filename', os.path.basename(value[1:])), found.get('type'))
        else:
            data = source(value[1:]).read() if value.startswith('<') else os.fsencode(value)
            form.add(name, data, found.get('filename'), found.get('type'))
    return form


async def transfer(client, url, path, options, request, progress):
    """One URL to a file, or standard output for None."""
    method, body, more = request
    if options.resume or options.checksum:
        return await client.download(url, path, resume=options.resume, checksum=options.checksum, progress=progress,
                                     **more)
    if body and body.once and not body.again:
        raise UrlError('the input can be sent only once')
    async with client.fetch(method, url, body, **more) as up:
        if options.fail and up.status >= 400:
            raise StatusError(up.status, up.reason, up.headers, b'', up.method, up.url.place)
        async def save(write):
            received = 0
            if options.include or options.head:
                await write(b''.join(client.answers))
            async for chunk in up:
                await write(chunk)
                received += len(chunk)
                progress(received, up.length)
        if path is None or os.path.exists(path) and not os.path.isfile(path):
            descriptor = 1 if path is None else await to_thread(os.open, path, os.O_WRONLY | os.O_NOCTTY)
            try:
                await save(lambda data: to_thread(put, descriptor, data))
            finally:
                path is None or os.close(descriptor)
        else:
            async with Part(path) as part:
                await part.do(part.open)
                await part.do(part.begin)
                await save(part.write)
                await part.finish()


def put(descriptor, data):
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view):]


def status_of(error, client=None):
    """The exit status for an error."""
    text = str(error).removeprefix(f'{error.url}: ')
    code = next(code for kind, begin, code in STATUSES if isinstance(error, kind) and re.match(begin, text))
    return 5 if code == 6 and error.url != client.last.url.place else code


def place_of(text, options, number):
    """(Url, path or None) of the URL at a place of the command line. Raises ValueError."""
    url = parse_url(text if '://' in text or text.startswith('unix:') else f'http://{text}')
    path = None
    if number < len(options.output):
        path = options.output[number]
    elif options.remote_name:
        path = url.path.rpartition('/')[2]
        if not path:
            raise ValueError('-O needs a URL that ends in a name')
    return url, None if path == '-' else path


def failed(options, code, why):
    """Say why, if that is wanted; the exit status."""
    if not options.silent:
        if isinstance(why, OSError) and not isinstance(why, UrlError) and why.strerror:
            why = f'{why.filename or "the output"}: {why.strerror}'
        say(f'url: ({code}) {why}')
    return code


async def run(client, options, request):
    """All transfers; the exit status."""
    result = 0
    async with client:
        for number, text in enumerate(options.urls):
            try:
                url, path = place_of(text, options, number)
                shown = not options.silent and sys.stderr.isatty() and (path or not sys.stdout.isatty())
                with Progress(shown) as progress:
                    await transfer(client, url, path, options, request, progress)
                continue
            except UrlError as error:
                code, why = status_of(error, client), error
            except BrokenPipeError:             # who reads has had enough
                return result or 23
            except (ValueError, OSError) as error:
                code, why = 3 if isinstance(error, ValueError) else 23, error
            failed(options, code, why)
            result = result or code
    return result


def main(words=None):
    """Run the command line (sys.argv) and return the exit status."""
    for name in 'stdin', 'stdout', 'stderr':    # the number of a closed one would become that of a socket
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, 'w' if name == 'stderr' else 'r'))
    options = parse(sys.argv[1:] if words is None else words)
    try:
        try:
            request = request_of(options)
            client = Curl(proxy=options.proxy, authority=options.cacert, certificate=options.cert, key=options.key,
                          verify=not options.insecure)
        except UrlError as error:
            return failed(options, status_of(error), error)
        except OSError as error:
            return failed(options, 26, error)
        client.verbose = options.verbose
        return runtime.run(run, client, options, request)
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
