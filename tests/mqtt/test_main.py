"""`python3 -m ioto.mqtt` as a child, beside mosquitto_pub and mosquitto_sub: the same output, the same exit status."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from tests.child import PATIENCE, TREE
from tests.mqtt.broker import Alpn, Broker, program
from tests.mqtt.hostile import CLOSE, HOLD, RESET, Hostile
from tests.mqtt.proxy import Proxy
from tests.mqtt.wire import DOWN, UP, connack, reply
from tests.test_profiles import HOOK, LACKING

OURS, THEIRS = 'ioto', 'mosquitto'
ACL = 'user all\ntopic readwrite #\n'


@pytest.fixture(scope='module')
def broker(tmp_path_factory, certs):
    with Broker(tmp_path_factory.mktemp('broker'), certs=certs) as broker:
        yield broker


@pytest.fixture(scope='module')
def closed(tmp_path_factory):
    """A broker that wants a name and password."""
    with Broker(tmp_path_factory.mktemp('closed'), users={'all': 'word'}, acl=ACL) as broker:
        yield broker


def command(whose, what, *words):
    start = [sys.executable, '-m', 'ioto.mqtt', what] if whose == OURS else [program(f'mosquitto_{what}')]
    return [*start, *map(str, words)]


ENVIRONMENT = {**os.environ, 'PYTHONPATH': TREE}


def run(whose, what, *words, stdin=b''):
    """(exit status, standard output, standard error) of a command that ends."""
    done = subprocess.run(command(whose, what, *words), input=stdin, capture_output=True, timeout=PATIENCE, env=ENVIRONMENT)
    return done.returncode, done.stdout, done.stderr.decode()


@contextlib.contextmanager
def started(whose, what, *words, **options):
    """A command that goes on."""
    options = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'stdin': subprocess.DEVNULL, **options}
    with subprocess.Popen(command(whose, what, *words), env=ENVIRONMENT, **options) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@contextlib.contextmanager
def subscriber(broker, whose, *words, count=None):
    """A subscriber that has its SUBACK, by a proxy that saw it."""
    with Proxy(broker.port) as proxy, started(whose, 'sub', '-p', proxy.port, *words, *(('-C', count) if count else ())) as process:
        process.proxy = proxy
        proxy.wait_for('SUBACK')
        yield process


BOTH_WAYS = [(OURS, THEIRS), (THEIRS, OURS), (OURS, OURS)]
LINES = [(b'one\ntwo\n\nlast', 4), (b'a\r\nb\tc\n', 2), ('ä€😀\n'.encode(), 1), (b'\xff\xfe\n', 1), (b'\n', 1), (b'x' * 70000 + b'\n' + b'y', 2)]


@pytest.mark.parametrize('publisher, reader', BOTH_WAYS)
@pytest.mark.parametrize('verbose', [(), ('-v',)])
@pytest.mark.parametrize('lines, count', LINES, ids=range(len(LINES)))
def test_lines_of_standard_input_arrive_as_lines(broker, publisher, reader, verbose, lines, count):
    with subscriber(broker, reader, '-t', 'lines/#', *verbose, count=count) as process:
        assert run(publisher, 'pub', '-p', broker.port, '-t', 'lines/a', '-l', stdin=lines) == (0, b'', '')
        out, err = process.communicate(timeout=PATIENCE)
    expected = [line for line in lines.removesuffix(b'\n').split(b'\n')]
    if verbose:
        expected = [b'lines/a ' + (line or b'(null)') for line in expected]
    assert (out, err, process.returncode) == (b''.join([line + b'\n' for line in expected if line]), b'', 0)


@pytest.mark.parametrize('reader', [OURS, THEIRS])
def test_messages_without_line_ends(broker, reader):
    with subscriber(broker, reader, '-t', 'ends', '-N', count=2) as process:
        assert run(OURS, 'pub', '-p', broker.port, '-t', 'ends', '-l', stdin=b'a\nb\n')[0] == 0
        assert process.communicate(timeout=PATIENCE) == (b'ab', b'')


@pytest.mark.parametrize('publisher, reader', BOTH_WAYS)
@pytest.mark.parametrize('qos', [0, 1, 2])
def test_every_qos_both_ways(broker, publisher, reader, qos):
    with subscriber(broker, reader, '-t', 'qos', '-q', qos, count=3) as process:
        for n in range(3):
            assert run(publisher, 'pub', '-p', broker.port, '-t', 'qos', '-m', n, '-q', qos) == (0, b'', '')
        assert process.communicate(timeout=PATIENCE) == (b'0\n1\n2\n', b'')
        assert [each.qos for each in process.proxy.seen('PUBLISH', DOWN)] == [qos] * 3


# What the command line says, and where it is wrong: (command, options, standard input, exit status, what is on standard error)
MISTAKES = [
    ('pub', ['-t', 'a'], 1, '-m, -n, -f, -s, -l'), ('pub', ['-m', 'a'], 1, 'topic'), ('pub', ['-t', 'a', '-m', 'x', '-n'], 1, 'one of'),
    ('pub', ['-t', 'a/#', '-m', 'x'], 1, 'wildcard'), ('pub', ['-t', 'a', '-m', 'x', '-q', 3], 1, 'QoS'), ('pub', ['-z'], 1, '-z'),
    ('pub', ['-t', 'a', '-f', '/none'], 1, '/none'), ('pub', ['-t', 'a', '-s'], 1, 'empty'), ('pub', ['-t'], 1, '-t'),
    ('pub', ['-t', 'a', '-n', '--will-payload', 'x'], 1, 'will'), ('sub', [], 1, 'topic'), ('sub', ['-t', 'a/#/b'], 1, 'a/#/b'),
    ('sub', ['-t', 'a', '-c'], 1, '-i'), ('sub', ['-t', 'a', '-C', 0], 1, '-C'), ('sub', ['-t', 'a', '--cafile', '/none'], 1, '/none'),
    ('sub', ['-t', 'a', '-W', 0], 1, '-W'), ('pub', ['-t', 'a', '-n', '-L', 'http://x'], 1, 'http://x'),
    ('pub', ['-n', '-L', 'mqtt://x'], 1, 'topic'), ('pub', ['-t', 'a', '-n', '-p', 'x'], 1, 'x'),
]


@pytest.mark.parametrize('what, words, status, why', MISTAKES, ids=[f'{what} {" ".join(map(str, words))}' for what, words, *_ in MISTAKES])
def test_mistakes_are_one_line_and_the_status_is_mosquittos(broker, what, words, status, why):
    where = () if '-L' in words else ('-p', broker.port) if '-p' not in words else ()
    ours = run(OURS, what, *where, *words)
    assert ours[:2] == (status, b'') and why in ours[2] and ours[2].count('\n') == 1 and ours[2].startswith('mqtt: ')
    assert run(THEIRS, what, *where, *words)[0] == status


def test_no_command():
    done = subprocess.run([sys.executable, '-m', 'ioto.mqtt'], capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stdout, done.stderr) == (1, '', 'usage: python3 -m ioto.mqtt pub|sub --help\n')
    assert run(OURS, 'sub', '--help')[0] == 0


# Where the broker is not, or refuses: the same exit status

def test_nobody_there():
    for what in 'pub', 'sub':
        words = what, '-p', 1, '-t', 'a', *(['-m', 'x'] if what == 'pub' else [])
        assert run(OURS, *words) == (1, b'', 'mqtt: cannot connect to 127.0.0.1 port 1: Connection refused\n')
        assert run(THEIRS, *words)[0] == 1
        assert run(OURS, *words, '--quiet') == (1, b'', '')
    assert 'cannot find host nosuch.invalid' in run(OURS, 'pub', '-h', 'nosuch.invalid', '-t', 'a', '-n')[2]


@pytest.mark.parametrize('code', [1, 2, 3, 4, 5])
def test_a_refusal_is_the_exit_status(code):
    with Hostile(['CONNECT', connack(code=code), HOLD]) as broker:
        for whose in OURS, THEIRS:
            found = run(whose, 'pub', '-p', broker.port, '-t', 'a', '-n')
            assert (found[0], found[1]) == (code, b'')
    assert f'(code {code})' in run_refused(code)


def run_refused(code):
    with Hostile(['CONNECT', connack(code=code), HOLD]) as broker:
        return run(OURS, 'sub', '-p', broker.port, '-t', 'a')[2]


def test_names_and_passwords(closed):
    good, bad = ('-u', 'all', '-P', 'word'), ('-u', 'all', '-P', 'wrong')
    url = f'mqtt://all:word@127.0.0.1:{closed.port}/named'
    for whose in OURS, THEIRS:
        assert run(whose, 'pub', '-p', closed.port, '-t', 'a', '-n', *bad)[0] == 5
        assert run(whose, 'pub', '-p', closed.port, '-t', 'a', '-n')[0] == 5
        assert run(whose, 'pub', '-p', closed.port, '-t', 'named', '-m', 'x', '-r', *good) == (0, b'', '')
        assert run(whose, 'sub', '-L', url, '-C', 1, '-v') == (0, b'named x\n', '')
        assert run(whose, 'pub', '-L', url, '-n', '-r') == (0, b'', '')


def test_the_time_out_of_pub():
    with Hostile(['CONNECT', connack(), 'PUBLISH', RESET], ['CONNECT', connack(code=3)]) as broker:
        status, _, err = run(OURS, 'pub', '-p', broker.port, '-t', 'a', '-m', 'x', '-q', 1, '-W', 1)
        assert status == 27 and err.startswith('mqtt: connection lost') and err.endswith('\nmqtt: timed out\n')


def test_a_connection_that_does_not_come_back_is_status_7():
    program = 'import sys, ioto.mqtt.__main__ as main; main.PATIENCE = 0.5; sys.exit(main.main(sys.argv[1:]))'
    with Hostile(['CONNECT', connack(), 'PUBLISH', RESET], ['CONNECT', connack(code=3)]) as broker:
        done = subprocess.run([sys.executable, '-c', program, 'pub', '-p', str(broker.port), '-t', 'a', '-n', '-q', '1'],
                              capture_output=True, text=True, timeout=PATIENCE, env=ENVIRONMENT)
        assert done.returncode == 7 and done.stderr.endswith('\nmqtt: it did not come back\n')


# TLS

def test_tls_with_certificates_and_alpn(broker, certs, tmp_path):
    ca, client = ('--cafile', certs / 'ca.crt'), ('--cert', certs / 'client.crt', '--key', certs / 'client.key')
    with Alpn(tmp_path, broker.port, certs) as nginx:
        table = [((*ca, '-p', broker.ports['tls']), 0), ((*ca, *client, '-p', broker.ports['mutual']), 0),
                 ((*ca, '-p', broker.ports['mutual']), 1), (('--tls-use-os-certs', '-p', broker.ports['tls']), 1),
                 ((*ca, *client, '-p', nginx.port, '--tls-alpn', 'x-amzn-mqtt-ca'), 0), ((*ca, '-p', nginx.port), 1),
                 ((*ca, '-h', '127.0.0.2', '-p', broker.ports['tls']), 1)]
        for words, status in table:
            for whose in OURS, THEIRS:
                found = run(whose, 'pub', '-t', 'tls', '-m', 'x', '-q', 1, *words)
                assert found[2].count('\n') == status, (whose, words, found)
                assert found[0] == status or whose == THEIRS and found[0] in (7, 8)     # they are late to hear of the refusal


def test_insecure_takes_any_name_but_not_any_authority(broker, certs, tmp_path, named_certs):
    with Broker(tmp_path, certs=named_certs['one.example']) as other:
        words = 'pub', '-t', 'a', '-n', '-p', other.ports['tls']
        for whose in OURS, THEIRS:
            assert run(whose, *words, '--cafile', certs / 'ca.crt')[0] in ((1,) if whose == OURS else (1, 8))
            assert run(whose, *words, '--cafile', certs / 'ca.crt', '--insecure') == (0, b'', '')
            assert run(whose, *words, '--cafile', '/etc/ssl/certs/ca-certificates.crt', '--insecure')[0] in ((1,) if whose == OURS else (1, 8))
        assert run(OURS, 'pub', '-t', 'a', '-n', '-L', f'mqtts://127.0.0.1:{other.ports["tls"]}', '--insecure') == (0, b'', '')


def test_urls_of_websockets_and_unix_sockets(broker, certs):
    assert run(OURS, 'pub', '-h', broker.unix, '-t', 'unix', '-m', 'x', '-r') == (0, b'', '')
    assert run(THEIRS, 'sub', '-p', broker.port, '-t', 'unix', '-C', 1) == (0, b'x\n', '')
    assert run(OURS, 'sub', '-L', f'ws://127.0.0.1:{broker.ports["websockets"]}/mqtt', '-t', 'unix', '-C', 1) == (0, b'x\n', '')
    assert run(OURS, 'sub', '-L', f'wss://localhost:{broker.ports["wss"]}', '-t', 'unix', '-C', 1, '--cafile', certs / 'ca.crt') == (0, b'x\n', '')


# pub

@pytest.mark.parametrize('whose', [OURS, THEIRS])
def test_messages_of_the_command_line_of_files_and_of_standard_input(broker, tmp_path, whose):
    (tmp_path / 'file').write_bytes(b'a\nb\xff\0')
    table = [(('-m', 'text'), b'', b'text'), (('-m', '-x'), b'', b'-x'), (('-m', '--will'), b'', b'--will'), (('-m', '-5'), b'', b'-5'),
             (('-m', 'ä'), b'', 'ä'.encode()), (('-f', tmp_path / 'file'), b'', b'a\nb\xff\0'), (('-s',), b'a\n\nb\n', b'a\n\nb\n'),
             (('-n',), b'', b''), (('--message', 'long'), b'', b'long')]
    with Proxy(broker.port) as proxy:
        for words, stdin, payload in table:
            assert run(whose, 'pub', '-p', proxy.port, '-t', 'a', *words, stdin=stdin) == (0, b'', '')
            assert proxy.wait_for('PUBLISH', UP)[-1].payload == payload
            proxy.clear()


def test_lines_leave_as_they_come(broker):
    with subscriber(broker, THEIRS, '-t', 'log') as process, \
            started(OURS, 'pub', '-p', process.proxy.port, '-t', 'log', '-l', '-q', 1, stdin=subprocess.PIPE) as publisher:
        for line in b'first\n', b'second\n':
            publisher.stdin.write(line)
            publisher.stdin.flush()
            assert process.stdout.readline() == line
        publisher.stdin.close()
        assert publisher.wait(PATIENCE) == 0


def test_a_slow_broker_slows_the_lines():
    """Nothing is read ahead beyond some buffers, where the broker takes nothing."""
    with Hostile(['CONNECT', connack(), lambda connection: time.sleep(3), CLOSE], ['CONNECT', connack(code=3)]) as broker, \
            started(OURS, 'pub', '-p', broker.port, '-t', 'a', '-l', '-W', 20, stdin=subprocess.PIPE) as publisher:
        os.set_blocking(publisher.stdin.fileno(), False)
        taken, limit = 0, time.monotonic() + 2
        while time.monotonic() < limit:
            with contextlib.suppress(BlockingIOError):
                taken += os.write(publisher.stdin.fileno(), b'x' * 4095 + b'\n')
                continue
            time.sleep(0.01)
        assert 100_000 < taken < 16 << 20
        publisher.stdin.close()


def test_a_message_survives_a_lost_connection(broker):
    with Proxy(broker.port) as proxy:
        proxy.rule('cut before', DOWN, 'PUBACK')
        status, _, err = run(OURS, 'pub', '-p', proxy.port, '-t', 'a', '-m', 'x', '-q', 1)
        assert status == 0 and err == 'mqtt: connection lost: the broker closed the connection\n'
        first, second = proxy.seen('PUBLISH', UP)
        assert (first.dup, second.dup) == (False, True) and first.identifier == second.identifier
        assert proxy.seen('DISCONNECT', UP)


def test_pub_says_farewell_and_its_will_stays_unsaid(broker):
    will = '--will-topic', 'will', '--will-payload', 'gone', '--will-qos', 1, '--will-retain'
    assert run(OURS, 'pub', '-p', broker.port, '-t', 'a', '-n', *will) == (0, b'', '')
    assert run(THEIRS, 'sub', '-p', broker.port, '-t', 'will', '-W', 1)[:2] == (27, b'')
    with started(OURS, 'sub', '-p', broker.port, '-t', 'x', '-i', 'dying', *will) as process:
        broker.wait_for(' dying 0 x')
        process.kill()
    assert run(THEIRS, 'sub', '-p', broker.port, '-t', 'will', '-C', 1, '-W', 10) == (0, b'gone\n', '')
    assert run(OURS, 'pub', '-p', broker.port, '-t', 'will', '-n', '-r') == (0, b'', '')


# sub

@pytest.mark.parametrize('whose', [OURS, THEIRS])
def test_retained_messages(broker, whose):
    assert run(whose, 'pub', '-p', broker.port, '-t', 'kept/1', '-m', 'x', '-r') == (0, b'', '')
    assert run(whose, 'sub', '-p', broker.port, '-t', 'kept/#', '-C', 1, '-v') == (0, b'kept/1 x\n', '')
    assert run(whose, 'sub', '-p', broker.port, '-t', 'kept/#', '-R', '-W', 1)[:2] == (27, b'')
    assert run(whose, 'pub', '-p', broker.port, '-t', 'kept/1', '-n', '-r') == (0, b'', '')
    assert run(whose, 'sub', '-p', broker.port, '-t', 'kept/#', '-W', 1)[:2] == (27, b'')


def test_the_time_out_says_so(broker):
    assert run(OURS, 'sub', '-p', broker.port, '-t', 'none', '-W', 1) == (27, b'', 'mqtt: timed out\n')


@pytest.mark.parametrize('whose', [OURS, THEIRS])
def test_overlapping_filters_give_a_message_once(broker, whose):
    with subscriber(broker, whose, '-t', 'over/#', '-t', 'over/+', '-t', 'over/a', '-v', count=2) as process:
        for text in 'one', 'two':
            assert run(OURS, 'pub', '-p', broker.port, '-t', 'over/a', '-m', text) == (0, b'', '')
        assert process.communicate(timeout=PATIENCE)[0] == b'over/a one\nover/a two\n'


def test_what_was_not_asked_for_waits_in_the_session(broker):
    """Of a session that is kept, -C takes so many and leaves the rest for the next time."""
    words = 'sub', '-p', broker.port, '-t', 'work', '-q', 1, '-c', '-i', 'worker'
    assert run(OURS, *words, '-W', 1)[0] == 27
    assert run(OURS, 'pub', '-p', broker.port, '-t', 'work', '-l', '-q', 1, stdin=b'1\n2\n3\n4\n5\n')[0] == 0
    assert run(OURS, *words, '-C', 2) == (0, b'1\n2\n', '')
    assert run(OURS, *words, '-C', 1) == (0, b'3\n', '')
    assert run(THEIRS, *words, '-C', 2) == (0, b'4\n5\n', '')


def test_sub_comes_back_after_a_restart_of_the_broker(tmp_path):
    with Broker(tmp_path) as broker, started(OURS, 'sub', '-p', broker.port, '-t', 'a', '-i', 'back') as process:
        broker.wait_for(' back 0 a')
        broker.restart()
        broker.wait_for(' back 0 a')
        assert run(OURS, 'pub', '-p', broker.port, '-t', 'a', '-m', 'x')[0] == 0
        assert process.stdout.readline() == b'x\n'


@pytest.mark.parametrize('number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_with_a_farewell(broker, number, status):
    with subscriber(broker, OURS, '-t', 'a') as process:
        process.send_signal(number)
        assert process.communicate(timeout=PATIENCE) == (b'', b'') and process.returncode == status
        process.proxy.wait_for('DISCONNECT', UP)


def test_ctrl_c_while_lines_are_awaited(broker):
    with Proxy(broker.port) as proxy, started(OURS, 'pub', '-p', proxy.port, '-t', 'a', '-l', stdin=subprocess.PIPE) as process:
        process.stdin.write(b'line\n')
        process.stdin.flush()
        proxy.wait_for('PUBLISH', UP)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        proxy.wait_for('DISCONNECT', UP)


@pytest.mark.parametrize('whose', [OURS, THEIRS])
def test_a_reader_that_has_had_enough_ends_it_quietly(broker, whose):
    with subscriber(broker, whose, '-t', 'pipe', '-q', 1) as process:
        process.stdout.close()
        for _ in range(3):
            run(OURS, 'pub', '-p', broker.port, '-t', 'pipe', '-m', 'x')
        assert process.wait(PATIENCE) == 0 and process.stderr.read() == b''
    if whose == OURS:
        assert process.proxy.seen('PUBLISH', DOWN)


def test_a_slow_reader_slows_the_messages_and_the_connection_lives(broker):
    """Standard output is full for longer than the keep-alive allows to be silent; then all is there, in order."""
    with subscriber(broker, OURS, '-t', 'slow/#', '-t', 'slow/+', '-q', 1, '-k', 1, count=600) as process:
        lines = b''.join(b'%d %s\n' % (n, b'x' * 1000) for n in range(600))
        assert run(OURS, 'pub', '-p', broker.port, '-t', 'slow/a', '-l', '-q', 1, stdin=lines)[0] == 0
        time.sleep(3)
        assert process.communicate(timeout=PATIENCE) == (lines, b'')
        assert process.proxy.connections == 1


def test_a_full_disk_is_an_error(broker):
    with open('/dev/full', 'wb') as full, subscriber_to(broker, full) as process:
        run(OURS, 'pub', '-p', broker.port, '-t', 'full', '-m', 'x')
        assert process.wait(PATIENCE) == 1 and process.stderr.read() == b'mqtt: No space left on device\n'


@contextlib.contextmanager
def subscriber_to(broker, file):
    with Proxy(broker.port) as proxy, started(OURS, 'sub', '-p', proxy.port, '-t', 'full', stdout=file) as process:
        proxy.wait_for('SUBACK')
        yield process


def test_a_terminal_at_both_ends(broker):
    """Lines that a person types, and messages on a screen."""
    main, other = pty.openpty()
    with subscriber(broker, OURS, '-t', 'typed', count=1) as process, \
            started(OURS, 'pub', '-p', broker.port, '-t', 'typed', '-l', stdin=other, stdout=other, stderr=other):
        os.write(main, b'hello\n')
        assert process.communicate(timeout=PATIENCE)[0] == b'hello\n'
    os.close(main)
    os.close(other)


def test_debug_tells_what_happens(broker):
    status, _, err = run(OURS, 'pub', '-p', broker.port, '-t', 'a', '-n', '-d', '-i', 'talkative')
    assert status == 0 and "connected as 'talkative'" in err and 'disconnected' in err


def test_all_subscriptions_refused():
    with Hostile(['CONNECT', connack(), 'SUBSCRIBE', lambda connection: reply('SUBACK', connection.last.identifier, 0x80), HOLD]) as broker:
        status, out, err = run(OURS, 'sub', '-p', broker.port, '-t', 'a')
        assert (status, out, err) == (1, b'', "mqtt: the broker refuses a subscription to 'a'\n")


def test_a_flood_is_written_whole_and_in_order(broker):
    lines = b''.join(b'%d\n' % n for n in range(20000))
    with subscriber(broker, OURS, '-t', 'flood', '-q', 1, count=20000) as process:
        with started(OURS, 'pub', '-p', broker.port, '-t', 'flood', '-l', '-q', 1, stdin=subprocess.PIPE) as publisher:
            publisher.communicate(lines, timeout=PATIENCE)
            assert publisher.returncode == 0
        assert process.communicate(timeout=PATIENCE) == (lines, b'')


def test_a_message_larger_than_a_pipe(broker):
    payload = os.urandom(1 << 20).replace(b'\n', b' ')
    with subscriber(broker, OURS, '-t', 'large', count=1) as process:
        assert run(OURS, 'pub', '-p', broker.port, '-t', 'large', '-s', stdin=payload)[0] == 0
        assert process.communicate(timeout=PATIENCE) == (payload + b'\n', b'')


def test_it_runs_with_nothing_but_python3_light(broker):
    program = HOOK % (LACKING, TREE) + (
        'from ioto.mqtt.__main__ import main\n'
        'status = main(sys.argv[1:])\n'
        'print(status, *sorted(name for name in sys.modules if name.startswith(("ioto.web", "ioto.http", "ioto.url", "ioto.db"))))')
    for words, out in (['pub', '-t', 'light', '-m', 'x', '-r', '-q', '2'], '0\n'), (['sub', '-t', 'light', '-C', '1'], 'x\n0\n'):
        done = subprocess.run([sys.executable, '-I', '-S', '-c', program, *words, '-p', str(broker.port)], capture_output=True,
                              text=True, timeout=PATIENCE)
        assert (done.stdout, done.stderr) == (out, '')
    assert run(OURS, 'pub', '-p', broker.port, '-t', 'light', '-n', '-r')[0] == 0
