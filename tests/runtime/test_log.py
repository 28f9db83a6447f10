"""The log: what is wanted, what a line looks like, where it goes, and that it never hurts who logs."""
import os
import random
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

from ioto.runtime import destinations, log
from ioto.runtime.log import DEBUG, ERROR, INFO, TRACE, Log

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture(autouse=True)
def as_at_the_start():
    log.configure()
    yield
    log.configure()
    assert log._sinks == ()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'agent.log')


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def everything(message='message', source='web'):
    for write in (Log(source).error, Log(source).info, Log(source).trace, Log(source).debug):
        write(message)


# Which messages

def test_a_source_has_one_log():
    assert Log('web') is Log('web') is Log.source('web') and Log('web') is not Log('app')


@pytest.mark.parametrize('types, expected', [
    ('error,info', 'error info'), ('error', 'error'), ('all', 'error info trace debug'), ('info,trace', 'info trace'),
    ('all,!debug', 'error info trace'), ('!info', 'error trace debug'), (' Error , TRACE ', 'error trace'),
    ('!all', ''),
    ('all,!info,info', 'error info trace debug'), ('info,!all,error', 'error'),
])
def test_types_choose(path, types, expected):
    log.configure(types=types, path=path, format='%T')
    everything()
    assert read(path).split() == expected.split()


@pytest.mark.parametrize('sources, expected', [
    ('all', 'web mqtt app'), ('', 'web mqtt app'), ('all,!mqtt', 'web app'), ('!mqtt', 'web app'),
    ('!mqtt,!web', 'app'),
    ('app,web', 'web app'), ('MQTT', 'mqtt'), ('all , !web , !app', 'mqtt'), ('!all,app', 'app'), ('!all', ''),
    ('none-such', ''),
])
def test_sources_choose(path, sources, expected):
    log.configure(sources=sources, path=path, format='%S')
    for source in ('web', 'mqtt', 'app'):
        Log(source).error('message')
    assert read(path).split() == expected.split()


def test_a_source_that_comes_later_is_filtered_too():
    log.configure(types='error,info,trace', sources='all,!late-unwanted')
    assert Log('late-unwanted').level == 0 and Log('late-wanted').level == TRACE


def test_levels_are_numbers_to_compare_with():
    assert (ERROR, INFO, TRACE, DEBUG) == (1, 2, 3, 4)
    web = Log('web')
    for types, level in (('error', ERROR), ('error,info', INFO), ('trace', TRACE), ('all', DEBUG), ('!all', 0)):
        log.configure(types=types, path='stderr')
        assert web.level == level


def test_an_unwanted_message_is_not_even_made_into_text():
    class Costly:
        def __str__(self):
            raise AssertionError
    Log('web').trace(Costly())
    log.configure(types='error,debug')
    lost = log.dropped
    Log('web').info(Costly())
    assert log.dropped == lost


def test_write_takes_the_level_as_an_argument(path):
    log.configure(path=path)
    Log('web').write(INFO, 'wanted')
    Log('web').write(TRACE, 'unwanted')
    assert read(path) == 'web: info: wanted\n'


@pytest.mark.parametrize('configured, raised', [
    ('error,info', ['error,info,trace', 'error,info,trace,debug', 'error,info', 'error,info,trace']),
    ('error', ['error,trace', 'error,trace,debug', 'error']),
    ('error,info,trace', ['error,info,trace,debug', 'error,info,trace']),
    ('all', ['error,info,trace,debug'] * 2),
    ('!all', ['trace', 'trace,debug', '']),
])
def test_raise_level_goes_round(path, configured, raised):
    log.configure(types=configured, path=path, format='%T')
    for expected in raised:
        log.raise_level()
        os.truncate(path, 0)
        everything()
        assert read(path).split() == expected.replace(',', ' ').split()


def test_raise_level_keeps_to_the_sources_and_says_what_is_logged(path):
    log.configure(sources='all,!mqtt', path=path)
    log.raise_level()
    assert Log('web').level == TRACE and Log('mqtt').level == 0
    assert read(path) == 'log: info: logging error, info, trace\n'


@pytest.mark.parametrize('level, expected', [(ERROR, ERROR), (TRACE, TRACE), (DEBUG, DEBUG), (0, 0)])
def test_set_level(level, expected):
    log.set_level(level)
    assert Log('web').level == expected


# What a line looks like

@pytest.mark.parametrize('format, expected', [
    ('%S: %T: %M', 'web: info: hello'), ('%A %H %P', f'my app {socket.gethostname()} {os.getpid()}'), ('%M', 'hello'),
    ('%M %M', 'hello hello'), ('100%% {} {M} %%M %%%M (S)s', '100% {} {M} %M %hello (S)s'), ('plain', 'plain'),
    ('', ''),
    ('%T%S', 'infoweb'),
])
def test_format(path, format, expected):
    log.configure(path=path, format=format, app='my app')
    Log('web').info('hello')
    assert read(path) == expected + '\n'


def test_a_message_is_not_a_format(path):
    log.configure(path=path)
    Log('web').info('100% %S %(S)s {0} {M}')
    assert read(path) == 'web: info: 100% %S %(S)s {0} {M}\n'


def test_the_date_is_local_and_follows_the_clock(path, monkeypatch):
    before = os.environ.get('TZ')
    monkeypatch.setenv('TZ', 'TEST-5:30')
    time.tzset()
    try:
        log.configure(path=path, format='%D|%M')
        for seconds in (0.0, 0.99, 1.0, 951782399.5, 951782400.0):
            monkeypatch.setattr(log, 'time', lambda: seconds)
            Log('web').info('x')
    finally:
        monkeypatch.undo()
        time.tzset()
    assert os.environ.get('TZ') == before
    assert read(path).split('\n') == ['1970-01-01 05:30:00|x', '1970-01-01 05:30:00|x', '1970-01-01 05:30:01|x',
                                      '2000-02-29 05:29:59|x', '2000-02-29 05:30:00|x', '']


@pytest.mark.parametrize('message, shown', [
    ('two\nlines', 'two\n    lines'), ('ends\n', 'ends'), ('\n', ''), ('a\n\nb', 'a\n    \n    b'),
    ('x\nweb: error: forged', 'x\n    web: error: forged'), ('x\r\nweb: error: forged', 'x\\r\n    web: error: forged'),
    ('x\rforged', 'x\\rforged'), ('x\x0bforged\x0cforged', 'x\\x0bforged\\x0cforged'),
    ('x\x1cforged\x1dforged\x1eforged', 'x\\x1cforged\\x1dforged\\x1eforged'),
    ('x\x85forged\u2028forged\u2029forged', 'x\\x85forged\\u2028forged\\u2029forged'),
    ('\x1b[2J\x1b]0;title\x07', '\\x1b[2J\\x1b]0;title\\x07'), ('\x9b31m', '\\x9b31m'),
    ('back\x08space', 'back\\x08space'),
    ('nul\0', 'nul\\x00'), ('del\x7f', 'del\\x7f'), ('tab\tstays', 'tab\tstays'), ('\u202egnp.exe', '\\u202egnp.exe'),
    ('\u2066x\u2069', '\\u2066x\\u2069'), ('grüße 世界 🙂', 'grüße 世界 🙂'), ('lone \ud800', 'lone \\ud800'),
    ('\\n stays', '\\n stays'),
])
def test_a_message_forges_nothing(path, message, shown):
    log.configure(path=path, format='%T: %M')
    Log('web').info(message)
    assert read(path) == f'info: {shown}\n'


def test_what_is_no_text_is_logged_as_text(path):
    log.configure(path=path)
    Log('web').info({'a': 1})
    Log('web').error(None)
    assert read(path) == "web: info: {'a': 1}\nweb: error: None\n"


def test_an_exception_has_its_traceback_indented(path):
    log.configure(path=path)
    try:
        [][1]
    except IndexError as error:
        Log('web').exception('it failed', error)
    Log('web').exception('without', None)
    lines = read(path).splitlines()
    assert lines[0] == 'web: error: it failed' and lines[1] == '    Traceback (most recent call last):'
    assert lines[-2:] == ['    IndexError: list index out of range', 'web: error: without']
    assert all(line.startswith('    ') for line in lines[1:-1]) and any('[][1]' in line for line in lines)


def test_an_unwanted_exception_costs_no_traceback():
    lost = log.dropped
    Log('web').exception('wanted', object())                # has no traceback, so it cannot be logged
    assert log.dropped == lost + 1
    log.configure(types='info')
    Log('web').exception('unwanted', object())
    assert log.dropped == lost + 1


# Files

def test_a_file_is_made_with_its_folder_and_not_for_everybody(tmp_path):
    path = tmp_path / 'a' / 'b' / 'agent.log'
    log.configure(path=str(path))
    Log('web').info('message')
    assert path.read_text() == 'web: info: message\n'
    assert stat.S_IMODE(path.stat().st_mode) & 0o137 == 0


def test_a_file_is_appended_to(path):
    for number in (1, 2):
        log.configure(path=path)
        Log('web').info(number)
    assert read(path) == 'web: info: 1\nweb: info: 2\n'


def test_a_file_is_rotated_before_it_exceeds_its_size(path):
    log.configure(path=path, format='%M', max_size=100, backups=3)
    for number in range(40):
        Log('web').info(f'{number:09}')                     # ten bytes with its newline, so ten fit
        assert os.path.getsize(path) <= 100
    texts = [read(name) for name in (path, path + '.1', path + '.2', path + '.3')]
    assert [text.split()[0] for text in texts] == ['000000030', '000000020', '000000010', '000000000']
    for number in range(40, 51):
        Log('web').info(f'{number:09}')
    assert sorted(os.listdir(os.path.dirname(path))) == ['agent.log', 'agent.log.1', 'agent.log.2', 'agent.log.3']
    assert read(path) == '000000050\n' and read(path + '.3').startswith('000000020')


@pytest.mark.parametrize('backups, max_size, kept', [(0, 30, 1), (1, 30, 2), (float('inf'), 30, 4), (3, 0, 1),
                                                     (3, float('inf'), 1)])
def test_how_much_is_kept(path, backups, max_size, kept):
    log.configure(path=path, format='%M', max_size=max_size, backups=backups)
    for number in range(10):
        Log('web').info(f'{number:09}')
    assert len(os.listdir(os.path.dirname(path))) == kept
    assert read(path).endswith('000000009\n')


@pytest.mark.parametrize('max_size, messages', [(30, 3), (31, 3), (39, 3), (40, 4), (29, 2)])
def test_the_newline_counts(path, max_size, messages):
    log.configure(path=path, format='%M', max_size=max_size, backups=1)
    for number in range(messages + 1):
        Log('web').info(f'{number:09}')
    assert len(read(path + '.1').split()) == messages and len(read(path).split()) == 1


def test_what_is_no_regular_file_is_not_rotated(tmp_path):
    path = str(tmp_path / 'pipe')
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log.configure(path=path, format='%M', max_size=10)
        for number in range(5):
            Log('web').info(f'{number:09}')
        assert os.read(reader, 1000).count(b'\n') == 5 and os.listdir(tmp_path) == ['pipe']
    finally:
        log.configure()
        os.close(reader)


def test_a_message_larger_than_the_file_may_be_is_written_whole(path):
    log.configure(path=path, format='%M', max_size=50, backups=1)
    Log('web').info('x' * 200)
    Log('web').info('y')
    assert read(path + '.1') == 'x' * 200 + '\n' and read(path) == 'y\n'


def test_rotation_goes_on_with_what_an_earlier_run_has_left(path):
    with open(path, 'w') as file:
        file.write('a' * 95 + '\n')
    with open(path + '.2', 'w') as file:
        file.write('older\n')
    log.configure(path=path, format='%M', max_size=100, backups=3)
    Log('web').info('message')
    assert read(path) == 'message\n' and read(path + '.1') == 'a' * 95 + '\n' and read(path + '.2') == 'older\n'


def test_a_file_that_was_moved_away_is_opened_again(path):
    log.configure(path=path)
    Log('web').info('one')
    os.rename(path, path + '.moved')
    Log('web').info('two')
    log.reopen()
    Log('web').info('three')
    assert read(path + '.moved') == 'web: info: one\nweb: info: two\n' and read(path) == 'web: info: three\n'


def test_a_file_that_was_deleted_is_made_again(path):
    log.configure(path=path, max_size=60)
    Log('web').info('one')
    os.unlink(path)
    log.reopen()
    Log('web').info('two')
    assert read(path) == 'web: info: two\n'
    os.unlink(path)
    Log('web').info('x' * 60)                               # its rotation finds nothing to rename
    Log('web').info('three')
    assert 'three' in read(path)


def test_a_folder_that_takes_no_backup_lets_the_file_grow(path, monkeypatch):
    attempts = []

    def refuse(*_names):
        attempts.append(_names)
        raise PermissionError(13, 'Permission denied')
    monkeypatch.setattr(os, 'replace', refuse)              # a mode would not stop root
    log.configure(path=path, format='%M', max_size=30, backups=2)
    for number in range(10):
        Log('web').info(f'{number:09}')
    assert len(read(path).split()) == 10 and os.listdir(os.path.dirname(path)) == ['agent.log']
    assert len(attempts) == 3                               # once for each 30 bytes, not for each message


def test_a_file_that_cannot_be_opened_is_reported_and_stderr_takes_its_place(tmp_path, capfd):
    (tmp_path / 'file').write_text('')
    path = str(tmp_path / 'file' / 'agent.log')
    log.configure(path=path)
    Log('web').info('message')
    written = capfd.readouterr().err.splitlines()
    assert written[0].startswith(f'log: error: {path} cannot be opened') and 'Not a directory' in written[0]
    assert written[1:] == ['web: info: message']
    (tmp_path / 'file').unlink()
    log.reopen()
    Log('web').info('again')
    assert read(path) == 'web: info: again\n' and capfd.readouterr().err == ''


def test_a_nonsensical_path_is_reported_too(capfd):
    log.configure(path='a\0b')
    Log('web').info('message')
    assert 'cannot be opened' in capfd.readouterr().err


# Trouble

def test_a_full_disk_drops_and_counts(tmp_path):
    lost = log.dropped
    log.configure(path='/dev/full')
    for _ in range(3):
        Log('web').info('message')
    assert log.dropped == lost + 3


def test_when_the_disk_has_room_again_the_log_says_what_is_missing(path):
    os.symlink('/dev/full', path)
    log.configure(path=path)
    for _ in range(3):
        Log('web').info('lost')
    os.unlink(path)
    log.reopen()
    Log('web').info('message')
    Log('web').info('another')
    assert read(path) == ('log: error: 3 messages could not be written\n'
                          'web: info: message\nweb: info: another\n')


def test_a_disk_that_fills_in_the_middle_of_a_line_leaves_the_next_line_whole(path):
    program = f'''
import resource, signal, sys
sys.path.insert(0, {TREE!r})
from ioto.runtime import destinations, log
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log.configure(path={path!r}, format='%M')
resource.setrlimit(resource.RLIMIT_FSIZE, (50, resource.RLIM_INFINITY))
for number in range(10):
    log.Log('web').info(str(number) * 19)
assert log.dropped == 8, log.dropped
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.Log('web').info('end')
'''
    subprocess.run([sys.executable, '-c', program], check=True, timeout=60)
    assert read(path) == f'{"0" * 19}\n{"1" * 19}\n{"2" * 10}\n8 messages could not be written\nend\n'


def test_a_reader_that_does_not_keep_up_loses_messages_and_stops_nobody(tmp_path):
    path = str(tmp_path / 'pipe')
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log.configure(path=path)
        lost = log.dropped
        for _ in range(200):
            Log('web').info('x' * 4000)
        assert log.dropped > lost
    finally:
        log.configure()
        os.close(reader)


def test_a_message_that_cannot_be_made_is_dropped(path):
    class Broken:
        def __str__(self):
            raise RecursionError
    log.configure(path=path, types='all')
    lost = log.dropped
    everything(Broken())
    Log('web').exception(Broken(), ValueError())
    assert log.dropped == lost + 5


@pytest.mark.parametrize('closed, lost', [('>&-', 0), ('2>&-', 1), ('>&- 2>&-', 2), ('>/dev/full 2>/dev/full', 2)])
def test_without_standard_streams_nothing_else_is_written_to(tmp_path, closed, lost):
    """A descriptor that is closed at the start goes to the next file that is opened."""
    other, count = tmp_path / 'other', tmp_path / 'count'
    program = f'''
import sys
sys.path.insert(0, {TREE!r})
files = [open({str(other)!r}, 'a') for _ in range(3)]
from ioto.runtime import destinations, log
for path in ('stdout', 'stderr'):
    log.configure(path=path)
    log.Log('web').info('message')
open({str(count)!r}, 'w').write(str(log.dropped))
'''
    subprocess.run(['sh', '-c', f'exec {sys.executable} -c "$PROGRAM" {closed}'], timeout=60, check=True,
                   env={**os.environ, 'PROGRAM': program}, capture_output=True)
    assert other.read_text() == '' and count.read_text() == str(lost)


def test_threads_tear_no_line_and_lose_none(path):
    log.configure(path=path, format='%T|%S|%M', max_size=20000, backups=100)

    def talk(name):
        mine = Log(f'thread{name}')
        for number in range(300):
            mine.info(f'{number:04} ' + chr(97 + name) * (number % 200))
    threads = [threading.Thread(target=talk, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = os.path.dirname(path)
    names = sorted(os.listdir(folder), key=lambda name: -int(name.rpartition('.')[2]) if name[-1].isdigit() else 0)
    assert len(names) > 5
    seen = {name: [] for name in range(8)}
    for line in ''.join(read(os.path.join(folder, name)) for name in names).splitlines():
        found = re.fullmatch(r'info\|thread(\d)\|(\d{4}) ([a-h]*)', line)
        assert found and found[3] == chr(97 + int(found[1])) * (int(found[2]) % 200), line
        seen[int(found[1])].append(int(found[2]))
    assert all(numbers == list(range(300)) for numbers in seen.values())


def test_processes_that_share_a_file_tear_no_line(path):
    program = f'''
import sys
sys.path.insert(0, {TREE!r})
from ioto.runtime import destinations, log
log.configure(path={path!r}, format='%M')
for number in range(500):
    log.Log('web').info(sys.argv[1] * (number % 300 + 1))
'''
    children = [subprocess.Popen([sys.executable, '-c', program, letter]) for letter in 'abc']
    assert [child.wait(60) for child in children] == [0, 0, 0]
    lines = read(path).splitlines()
    assert len(lines) == 1500 and all(len(set(line)) == 1 for line in lines)


def test_a_signal_handler_may_log_in_the_middle_of_a_message(path):
    log.configure(path=path, format='%M')
    old = signal.signal(signal.SIGALRM, lambda *_: Log('signal').info('from the handler'))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
    try:
        for number in range(3000):
            Log('web').info(f'message {number}')
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    lines = read(path).splitlines()
    assert [line for line in lines if line[0] == 'm'] == [f'message {number}' for number in range(3000)]
    assert set(lines) - {f'message {number}' for number in range(3000)} <= {'from the handler'}


def test_random_text_is_one_message_of_safe_lines(path):
    seed = random.randrange(1 << 32)
    print(f'seed {seed}')
    rng = random.Random(seed)
    log.configure(path=path, format='>%M')
    for number in range(500):
        Log('web').info(''.join(chr(rng.choice((rng.randrange(0x100), rng.randrange(0x2100), rng.randrange(0x110000))))
                                for _ in range(rng.randrange(40))))
    with open(path, 'rb') as file:
        lines = file.read().decode().split('\n')
    assert sum(line.startswith('>') for line in lines) == 500 and lines.pop() == ''
    assert all(line.startswith(('>', '    ')) for line in lines)
    assert not re.search('[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]', '\n'.join(lines))


# Standard streams, the cloud, syslog

@pytest.mark.parametrize('path', ['stdout', 'stderr'])
def test_standard_streams(path, capfd):
    log.configure(path=path)
    Log('web').info('message')
    written = capfd.readouterr()
    assert getattr(written, path[3:]) == 'web: info: message\n' and written.out + written.err == 'web: info: message\n'


def test_before_it_is_configured_errors_and_infos_go_to_stderr():
    program = f'''
import sys
sys.path.insert(0, {TREE!r})
from ioto.runtime.log import Log
for write in (Log('web').error, Log('web').info, Log('web').trace, Log('web').debug):
    write('message')
'''
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ('', 'web: error: message\nweb: info: message\n')


def test_the_cloud_is_the_sinks_alone_and_stderr_without_one(capfd):
    log.configure(path='cloud')
    Log('web').info('before')
    log.add_sink(sink := lambda *_: None)
    Log('web').info('message')
    log.remove_sink(sink)
    assert capfd.readouterr().err == 'web: info: before\n'
    assert not os.path.exists('cloud')


@pytest.fixture
def daemon(tmp_path):
    """A function that starts a log daemon's socket; its .received() is the packets until now."""
    sockets = []
    path = str(tmp_path / 'log')

    class Daemon:
        def __init__(self):
            if os.path.exists(path):
                os.unlink(path)
            self.path, self.socket = path, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.socket.bind(path)
            self.socket.setblocking(False)
            sockets.append(self.socket)

        def received(self):
            packets = []
            try:
                while True:
                    packets.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                return packets
    yield Daemon
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize('write, priority', [('error', 27), ('info', 30), ('trace', 31), ('debug', 31)])
def test_syslog_packets_are_of_rfc_3164(daemon, write, priority):
    daemon = daemon()
    log.configure(types='all', path='syslog', syslog=daemon.path, app='my app/1', format='%S: %M')
    before = time.localtime()
    getattr(Log('web'), write)('grüße')
    after = time.localtime()
    packet, = daemon.received()
    dates = [f'{time.strftime("%b", now)} {now.tm_mday:2} {time.strftime("%H:%M:%S", now)}' for now in (before, after)]
    assert packet in [f'<{priority}>{date} myapp1[{os.getpid()}]: web: grüße' for date in dates]


@pytest.mark.parametrize('month, name', list(enumerate('Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(), 1)))
def test_syslog_dates(daemon, month, name, monkeypatch):
    daemon = daemon()
    log.configure(path='syslog', syslog=daemon.path)
    monkeypatch.setattr(destinations, 'localtime', lambda *_: time.struct_time((2026, month, 5, 1, 2, 3, 0, 1, 0)))
    Log('web').info('x')
    assert daemon.received()[0].startswith(f'<30>{name}  5 01:02:03 ioto[')


def test_syslog_has_a_packet_for_each_line_and_none_too_long(daemon):
    daemon = daemon()
    log.configure(path='syslog', syslog=daemon.path)
    Log('web').info('first\nsecond\n' + 'ü' * 2000)
    first, second, third = daemon.received()
    assert first.endswith('web: info: first') and second.endswith(']:     second')
    assert 1020 <= len(third.encode()) <= 1024 and third.endswith('üü...')


def test_without_a_log_daemon_stderr_has_the_messages_until_one_comes(daemon, tmp_path, capfd):
    lost = log.dropped
    log.configure(path='syslog', syslog=str(tmp_path / 'log'))
    Log('web').info('one')
    assert capfd.readouterr().err == 'web: info: one\n'
    first = daemon()
    Log('web').info('two')
    assert first.received()[0].endswith('two')
    first.socket.close()
    Log('web').info('three')
    assert capfd.readouterr().err == 'web: info: three\n'
    second = daemon()
    Log('web').info('four')
    assert second.received()[0].endswith('four') and capfd.readouterr().err == '' and log.dropped == lost


def test_a_log_daemon_that_comes_again_loses_nothing(daemon):
    first = daemon()
    log.configure(path='syslog', syslog=first.path)
    Log('web').info('one')
    first.socket.close()
    second = daemon()
    Log('web').info('two')
    log.reopen()
    Log('web').info('three')
    assert [packet.split()[-1] for packet in second.received()] == ['two', 'three']


def test_a_log_daemon_that_does_not_keep_up_stops_nobody(daemon):
    daemon = daemon()
    log.configure(path='syslog', syslog=daemon.path)
    lost = log.dropped
    for number in range(5000):
        Log('web').info(number)
    assert log.dropped > lost
    count = log.dropped - lost
    assert len(daemon.received()) == 5000 - count
    Log('web').info('message')
    packets = daemon.received()
    assert packets[0].endswith(f'{count} messages could not be written') and packets[1].endswith('message')


# Sinks

def test_a_sink_has_each_wanted_message_as_it_was_given(path):
    heard = []
    log.configure(path=path, sources='all,!mqtt')
    log.add_sink(heard_by := lambda *args: heard.append(args))
    before = time.time()
    Log('web').info('two\nlines\x1b')
    Log('web').trace('unwanted')
    Log('mqtt').error('unwanted')
    log.remove_sink(heard_by)
    log.remove_sink(heard_by)
    Log('web').info('later')
    (when, *rest), = heard
    assert before <= when <= time.time() and rest == ['info', 'web', 'two\nlines\x1b']


def test_sinks_survive_configure_and_a_full_disk(path):
    heard = []
    log.add_sink(sink := lambda *args: heard.append(args[3]))
    log.configure(path='/dev/full')
    Log('web').info('message')
    log.remove_sink(sink)
    assert heard == ['message']


def test_a_sink_may_log_and_does_not_hear_itself(path):
    heard = []

    def sink(_time, _type, source, message):
        heard.append(message)
        Log('cloud').info('sending ' + message)
    log.configure(path=path, format='%M')
    log.add_sink(sink)
    Log('web').info('one')
    Log('web').info('two')
    log.remove_sink(sink)
    assert heard == ['one', 'two'] and read(path).split('\n') == ['one', 'sending one', 'two', 'sending two', '']


def test_a_failing_sink_is_reported_and_the_others_hear(path):
    heard = []

    def failing(*_args):
        raise ValueError('the reason')
    log.configure(path=path)
    log.add_sink(failing)
    log.add_sink(sink := lambda *args: heard.append(args[3]))
    Log('web').info('message')
    log.remove_sink(failing)
    log.remove_sink(sink)
    assert heard == ['message'] and "log: error: a sink failed: ValueError('the reason')" in read(path)


# Settings

@pytest.mark.parametrize('text, settings', [
    ('stdout', {'path': 'stdout'}), ('a/b.log:trace', {'path': 'a/b.log', 'types': 'trace'}),
    ('stdout:error,info:all,!mqtt', {'path': 'stdout', 'types': 'error,info', 'sources': 'all,!mqtt'}),
    ('stderr::web', {'path': 'stderr', 'sources': 'web'}), (':all', {'types': 'all'}),
    ('x: error : web ', {'path': 'x', 'types': 'error', 'sources': 'web'}),
])
def test_a_spec_on_the_command_line(text, settings, tmp_path):
    assert log.parse_spec(text) == settings
    log.configure(**{**settings, 'path': str(tmp_path / 'x')})


@pytest.mark.parametrize('text, expected', [
    ('', 'expected file[:types[:sources]]'), ('::', 'expected file[:types[:sources]]'),
    (' ', 'expected file[:types[:sources]]'),
    ('x:warning', "expected error, info, trace, debug or all, with commas between, got 'warning'"),
])
def test_a_bad_spec_is_refused(text, expected):
    with pytest.raises(ValueError) as caught:
        log.parse_spec(text)
    assert expected in str(caught.value)


@pytest.mark.parametrize('settings, expected', [
    ({'types': 'error,warning'}, "'warning'"), ({'types': '!inf'}, "'inf'"), ({'types': '!'}, "''"),
    ({'format': '%X'}, "'%X'"), ({'format': '%'}, "'%'"), ({'format': '%s'}, "'%s'"), ({'format': '%(S)s'}, "'%('"),
    ({'format': '%M%5M'}, "'%5'"), ({'format': '%\n'}, "'%\\n'"),
])
def test_bad_settings_are_refused_and_change_nothing(settings, expected, path, tmp_path):
    log.configure(path=path, types='all')
    with pytest.raises(ValueError) as caught:
        log.configure(**{'path': str(tmp_path / 'other'), **settings})
    assert 'expected' in str(caught.value) and expected in str(caught.value)
    Log('web').debug('message')
    assert read(path) == 'web: debug: message\n' and not (tmp_path / 'other').exists()


def test_a_message_below_the_filter_costs_next_to_nothing():
    web, rounds = Log('web'), 100000

    def measure(call):
        began = time.process_time()
        for _ in range(rounds):
            call('message')
        return time.process_time() - began
    bare = min(measure(str.upper) for _ in range(5))
    assert min(measure(web.debug) for _ in range(5)) < 10 * bare
