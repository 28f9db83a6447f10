"""`python3 -m ioto.mqtt pub|sub`: MQTT in shell scripts, with the options of mosquitto_pub and mosquitto_sub.

    python3 -m ioto.mqtt pub -h broker -t a/b -m hello -q 1
    tail -f log | python3 -m ioto.mqtt pub -L mqtts://user:password@broker/log -l
    python3 -m ioto.mqtt sub -h broker -t 'a/#' -v -C 10 -W 60

The exit status is as mosquitto's: 0, 1 for mistakes and where there is no connection, the code of a CONNACK that
refuses (1 to 5), 7 for a lost connection, 27 when the time of -W is over; and 130 for Ctrl-C. `pub` has its message
acknowledged and comes back from a lost connection, for up to 30 seconds; `sub` without end. `sub` acknowledges what it
has written, and no more than it was asked for. While standard input or output keeps it waiting, the connection lives.
"""

import argparse
import os
import select
import signal
import stat
import sys

from .. import runtime
from ..runtime import log
from ..runtime.fiber import kernel
from ..runtime.poller import Waitable
from ..runtime.scopes import timeout as time_limit
from . import Client, MqttError
from .packet import LONGEST
from .topics import check_filter, encode_topic

PUB, SUB = 'pub', 'sub'
OPTIONS = (         # whose, names, what the value is called ('' for a switch, + for many, # for a number), what it does
    ('', '-h --host', 'HOST', 'name, address, or path of a UNIX socket (localhost)'),
    ('', '-p --port', 'PORT#', '1883, with TLS 8883'),
    ('', '-L --url', 'URL', 'mqtt[s]://user:password@host:port/topic, or ws[s]://…/path'),
    ('', '-t --topic', 'TOPIC+', 'topic to publish to; filter, any number of them, to subscribe to'),
    ('', '-q --qos', 'QOS#', '0, 1 or 2 (0)'),
    ('', '-i --id', 'ID', 'client identifier (a random one)'),
    ('', '-c --disable-clean-session', '', 'have the broker keep the session; needs -i'),
    ('', '-k --keepalive', 'SECONDS#', '60'),
    ('', '-u --username', 'NAME', ''),
    ('', '-P --pw', 'PASSWORD', ''),
    ('', '-W --timeout', 'SECONDS#', 'end with status 27 after so long'),
    ('', '-d --debug', '', 'tell what happens'),
    ('', '--quiet', '', 'no messages of errors'),
    (PUB, '-m --message', 'TEXT', 'the message'),
    (PUB, '-n --null-message', '', 'an empty message'),
    (PUB, '-f --file', 'FILE', 'a message from a file'),
    (PUB, '-s --stdin-file', '', 'a message from standard input'),
    (PUB, '-l --stdin-line', '', 'a message from each line of standard input, as it comes'),
    (PUB, '-r --retain', '', 'have the broker keep the message'),
    (PUB, '-M --max-inflight', 'NUMBER#', 'messages under way at QoS 1 and 2 (20)'),
    (SUB, '-v --verbose', '', 'write the topic before each message'),
    (SUB, '-N', '', 'write no line end after it'),
    (SUB, '-C', 'NUMBER#', 'end after so many messages'),
    (SUB, '-R', '', 'leave out what the broker kept'),
    ('', '--will-topic', 'TOPIC', 'what the broker publishes when the connection is lost'),
    ('', '--will-payload', 'TEXT', ''),
    ('', '--will-qos', 'QOS#', ''),
    ('', '--will-retain', '', ''),
    ('', '--cafile', 'FILE', 'certificates to trust (PEM); turns TLS on'),
    ('', '--tls-use-os-certs', '', "TLS with the system's"),
    ('', '--cert', 'FILE', 'certificate to show (PEM)'),
    ('', '--key', 'FILE', 'its key'),
    ('', '--insecure', '', 'take a certificate with any name in it'),
    ('', '--tls-alpn', 'NAME', 'protocol to ask for in TLS'),
)
PATIENCE = 30.0         # seconds that `pub` is without a connection before it gives up
PIPE = 4096             # bytes that a pipe takes without waiting when it takes any
LOST, TIMED_OUT = 7, 27


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(1, f'mqtt: {message}; see python3 -m ioto.mqtt {self.prog.rpartition(" ")[2]} --help\n')


class Limit(time_limit):
    """The time of -W, ended before that by `stop`; then `status` and `why` say how the command ends."""

    __slots__ = ('status', 'why')

    def __init__(self, seconds):
        super().__init__(seconds)
        self.status, self.why = TIMED_OUT, 'timed out'

    def stop(self, status, why=''):
        self.status, self.why = status, why
        self.end()


def say(text):
    """A line on standard error, without what a terminal would obey."""
    print('mqtt: ' + ''.join([c if c.isprintable() else ascii(c)[1:-1] for c in text]), file=sys.stderr)


def parse(words):
    """The options of the command line; it exits where that is wrong."""
    command = words[0] if words else ''
    if command not in (PUB, SUB):
        print(f'usage: python3 -m ioto.mqtt {PUB}|{SUB} --help', file=sys.stdout if command == '--help' else sys.stderr)
        sys.exit(0 if command == '--help' else 1)
    parser = Parser(f'python3 -m ioto.mqtt {command}', allow_abbrev=False, add_help=False,
                    epilog='Status: 1-5 refused, 7 connection lost, 27 timed out.')
    parser.add_argument('--help', action='help', help='show this')
    valued = {}
    for whose, names, value, text in OPTIONS:
        names = names.split()
        if whose not in ('', command):
            continue
        if not value:
            parser.add_argument(*names, action='store_true', help=text)
            continue
        names += [f'--{name[1:]}' for name in names if len(names) == 1 and name[1] != '-']
        valued.update(dict.fromkeys(names, names[-1]))
        parser.add_argument(*names, metavar=value.rstrip('+#'), type=int if value.endswith('#') else str, help=text,
                            action='append' if value.endswith('+') else 'store')
    words, out = iter(words[1:]), []
    for word in words:                          # a value may look like an option
        follows = next(words, None) if word in valued else None
        out.append(word if follows is None else f'{valued[word]}={follows}')
    options = parser.parse_args(out)
    if not options.topic:
        options.topic = []
    if options.url and options.url.startswith('mqtt') and '/' in options.url.partition('://')[2]:
        at = options.url.index('/', options.url.index('://') + 3)
        options.topic.append(options.url[at + 1:])
        options.url = options.url[:at]
    wrong = _wrong(options, command)
    if wrong:
        parser.error(wrong)
    options.command = command
    return options


def _wrong(options, command):
    """What is wrong with the options, or None."""
    try:
        for topic in options.topic:
            (check_filter if command == SUB else encode_topic)(topic)
        if options.will_topic is not None:
            encode_topic(options.will_topic)
    except ValueError as error:
        return str(error)
    if command == PUB:
        kinds = (options.message is not None, options.null_message, options.file is not None, options.stdin_file,
                 options.stdin_line)
        if len(options.topic) != 1 or sum(kinds) != 1:
            return 'expected one topic (-t) and one of -m, -n, -f, -s, -l'
    elif not options.topic:
        return 'expected a topic (-t)'
    elif options.C is not None and options.C < 1:
        return 'expected a number of messages from 1 up (-C)'
    if {options.qos, options.will_qos} - {None, 0, 1, 2}:
        return 'expected QoS 0, 1 or 2'
    if options.disable_clean_session and not options.id:
        return 'a session that is kept (-c) needs a client identifier (-i)'
    if options.will_topic is None and (options.will_payload is not None or options.will_qos or options.will_retain):
        return 'a will needs --will-topic'
    if options.timeout is not None and options.timeout < 1:
        return 'expected seconds from 1 up (-W)'
    return None


def security(options):
    """The TLS context that the options ask for, or None. Raises OSError."""
    secure = options.url and options.url.partition('://')[0] in ('mqtts', 'wss')
    if not (secure or options.cafile or options.tls_use_os_certs or options.cert):
        return None
    from ..runtime.tls import client_context
    context = client_context(options.cafile, options.cert, options.key, bool(options.cafile or not options.insecure))
    if options.insecure:
        context.check_hostname = False
    return context


async def connect(client, options, limit):
    """Connect as the options say. Raises MqttError, OSError, ValueError.

    A lost connection is told of; `pub` gives up when it does not come back.
    """
    will, timers = None, []
    if options.will_topic is not None:
        will = {'topic': options.will_topic, 'payload': options.will_payload or '', 'qos': options.will_qos or 0,
                'retain': options.will_retain}
    await client.connect(options.url or options.host or 'localhost', options.port, security(options),
                         [options.tls_alpn] if options.tls_alpn else (), None, options.username, options.pw, will)

    def lost(error, expected):
        if not expected:
            if not options.quiet:
                say(f'connection lost: {error}')
            if options.command == PUB:
                timers.append(kernel().call_later(PATIENCE, limit.stop, LOST, 'it did not come back'))

    def back(**_):
        while timers:
            timers.pop().cancel()
    runtime.watch('mqtt:disconnected', lost)
    runtime.watch('mqtt:connected', back)


# pub

async def publish(client, options, limit):
    """Send what there is to send, and wait until the broker has it."""
    topic, settings = options.topic[0], {'qos': options.qos or 0, 'retain': options.retain}
    if not options.stdin_line:
        payload = _payload(options)
        await connect(client, options, limit)
        receipt = await client.publish(topic, payload, **settings)
    else:
        await connect(client, options, limit)
        receipt = None
        async for line in _lines():
            receipt = await client.publish(topic, line, **settings)
    if receipt is not None:
        await receipt.wait('ack' if settings['qos'] else 'sent')
    while client.stats['queued']:
        await runtime.sleep(0.02)
    return 0


def _payload(options):
    """The one message. Raises OSError."""
    if options.message is not None:
        return os.fsencode(options.message)
    if options.null_message:
        return b''
    with open(0 if options.stdin_file else options.file, 'rb', closefd=not options.stdin_file) as file:
        payload = file.read(LONGEST)
    if not payload:
        raise OSError(f'{options.file or "standard input"} is empty; -n sends an empty message')
    return payload


async def _lines():
    """The lines of standard input, as they come."""
    source = Waitable(kernel(), 0) if _waits(0) else None
    rest = b''
    try:
        while True:
            if source is not None:
                await source.readable()
            data = os.read(0, 65536)
            if not data:
                break
            first, *lines = data.split(b'\n')
            rest += first
            for line in lines:
                yield rest
                rest = line
            if len(rest) > LONGEST:
                raise OSError(f'a line of more than {LONGEST} bytes')
        if rest:
            yield rest
    finally:
        if source is not None:
            source.forget()


def _waits(fd):
    """Whether reading and writing a descriptor may have to wait for somebody: a pipe, a terminal."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


# sub

class Printer:
    """The handler of all subscriptions: writes messages to standard output, `left` of them at most; sets `done`."""

    def __init__(self, options):
        self.options, self.left = options, options.C or float('inf')
        self.last = self.failure = None
        self.done, self.never = runtime.Event(), runtime.Event()
        self.sink = Waitable(kernel(), 1) if _waits(1) else None
        self.lock = runtime.Lock()
        self.waiting = 0            # messages that wait for standard output

    def __call__(self, message):
        if message is self.last or self.options.R and message.retain:
            return None                         # it came by two filters
        self.last = message
        if not self.left or self.failure:
            return self.never.wait()            # so it is not acknowledged
        self.left -= 1
        data = self._format(message)
        if self.sink is not None and (self.waiting or len(data) > PIPE or not select.select((), (1,), (), 0)[1]):
            self.waiting += 1
            return self._write(data, not self.left)
        self._put(data)
        if not self.left:
            self.done.set()
        return self.never.wait() if self.failure else None

    def _format(self, message):
        data, options = message.payload, self.options
        if options.verbose:
            data = message.topic.encode() + b' ' + (data or b'(null)')
        return data if options.N or not data else data + b'\n'

    async def _write(self, data, last):
        """Write when there is room."""
        async with self.lock:
            view = memoryview(data)
            while view and not self.failure:
                await self.sink.writable()
                self._put(view[:PIPE])
                view = view[PIPE:]
        self.waiting -= 1
        if self.failure:
            await self.never.wait()
        if last:
            self.done.set()

    def _put(self, data):
        try:
            while data:
                data = data[os.write(1, data):]
        except OSError as error:
            self.failure = error
            self.done.set()


async def subscribe(client, options, limit):
    """Write what comes; the exit status."""
    printer = Printer(options)
    try:
        subscriptions = [client.subscribe(topic, printer, options.qos or 0) for topic in options.topic]
        await connect(client, options, limit)
        refused = 0
        for subscription in subscriptions:
            try:
                await subscription
            except MqttError as error:
                say(str(error))
                refused += 1
        if refused == len(subscriptions):
            return 1
        await printer.done.wait()
    finally:
        if printer.sink is not None:
            printer.sink.forget()
    if printer.failure and not isinstance(printer.failure, BrokenPipeError):        # who reads has had enough
        raise printer.failure
    return 0


async def run(options):
    """The exit status of a command."""
    limit, client, why = Limit(options.timeout or float('inf')), None, ''
    for number in (signal.SIGINT, signal.SIGTERM):
        runtime.on_signal(number, lambda number=number: limit.stop(128 + number))
    try:
        client = Client(options.id or f'ioto-{os.urandom(6).hex()}', not options.disable_clean_session,
                        60 if options.keepalive is None else options.keepalive, backoff=(0.5, 10),
                        inflight=getattr(options, 'max_inflight', None) or 20, max_packet=LONGEST)
        async with limit:
            return await (publish if options.command == PUB else subscribe)(client, options, limit)
    except MqttError as error:
        status, why = error.code or (LOST if client.counts['connects'] else 1), str(error)
    except (OSError, ValueError) as error:
        status, why = 1, getattr(error, 'strerror', None) or str(error)
        if limit.expired:
            status, why = limit.status, limit.why
        elif getattr(error, 'filename', None):
            why = f'{error.filename}: {why}'
    finally:
        if client is not None:
            await client.disconnect(0)
    if why and not options.quiet:
        say(why)
    return status


def main(words=None):
    """Run the command line (sys.argv) and return the exit status."""
    options = parse(sys.argv[1:] if words is None else words)
    types = 'all' if options.debug else '!all' if options.quiet else 'error'
    log.configure(types, format='%S: %M')
    try:
        return runtime.run(run, options)
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
