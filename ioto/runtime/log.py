"""The agent's log: who says what, at which level, and where it goes.

    log = Log('mqtt')                       # one object for each source
    if log.level >= TRACE:                  # where making the message costs something
        log.trace(f'packet {packet!r}')

A source's level is 0 to 4, so an unwanted message costs a comparison. A message is one write, so lines of several threads or
processes do not mix; control characters and those that change the direction of writing are shown escaped, so text from the network
can forge neither a line nor a terminal sequence, and further lines are indented by four spaces. Logging never raises and never
waits: what cannot be written (full disk, reader too slow) is counted, and the next message that can be is preceded by that number.
"""
import os
import re
import sys
from threading import RLock, get_ident
from time import localtime, strftime, time

ERROR, INFO, TRACE, DEBUG = 1, 2, 3, 4
TYPES = (None, 'error', 'info', 'trace', 'debug')

dropped = 0                             # messages lost since the start

_logs = {}                              # source: Log
_sinks = ()
_sinking = set()                        # threads that are calling a sink
_lost = 0                               # messages lost since the last that could be written
_lock = RLock()                         # reentrant: a signal handler may log in the middle of a message
_unsafe = re.compile('[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]')


class Log:
    """The log of one source; Log('web') is the same object everywhere. `level` is the highest type wanted, 0 for none.

    error is for what failed and should not have, info for the owner of the device, trace for what happens step by
    step, debug for who works on the code.
    """
    __slots__ = ('name', 'level')

    def __new__(cls, name):
        with _lock:
            log = _logs.get(name)
            if log is None:
                log = _logs[name] = object.__new__(cls)
                log.name, log.level = name, _settings.level(name)
        return log

    @classmethod
    def source(cls, name):
        return cls(name)

    def error(self, message):
        if self.level >= ERROR:
            self.write(ERROR, message)

    def info(self, message):
        if self.level >= INFO:
            self.write(INFO, message)

    def trace(self, message):
        if self.level >= TRACE:
            self.write(TRACE, message)

    def debug(self, message):
        if self.level >= DEBUG:
            self.write(DEBUG, message)

    def exception(self, message, error):
        """An error, with the traceback of an exception or None."""
        self.write(ERROR, message, error)

    def write(self, level, message, error=None):
        """Write a message of level ERROR to DEBUG, if it is wanted."""
        if level <= self.level and level in _settings.types:
            try:
                text = str(message)
                if error is not None:
                    from traceback import format_exception
                    text += '\n' + ''.join(format_exception(error)).rstrip()
                _deliver(level, self.name, text)
            except Exception:
                _drop()


class _Settings:
    def __init__(self, types, sources, format, app):
        self.configured = _parse_types(types)
        self.every, self.names = _words(sources)
        self.values = {'A': app, 'H': os.uname().nodename, '%': '%', **dict.fromkeys('DMPST')}

        def token(found):
            if found[1] not in self.values:
                raise ValueError(f'log format: expected one of %A %D %H %M %P %S %T %%, got {found[0]!r}')
            return f'%({found[1]})s'
        self.format = re.sub('%(.?)', token, format, flags=re.S)
        self.second = None
        self.choose(self.configured)

    def choose(self, types):
        self.types, self.top = types, max(types, default=0)

    def level(self, source):
        return self.top if self.names.get(source.lower(), self.every) else 0

    def line(self, level, source, message):
        now = int(time())
        if now != self.second:
            self.second, self.values['D'] = now, strftime('%Y-%m-%d %H:%M:%S', localtime(now))
        values = {**self.values, 'P': os.getpid(), 'S': source, 'T': TYPES[level], 'M': message}
        return (self.format % values).encode('utf-8', 'backslashreplace')


def _words(text):
    """'all,!mqtt' -> (whether a word that is not named counts, {word: whether it counts}). A later word wins."""
    words = [word.strip() for word in text.lower().split(',') if word.strip()]
    every, names = not words or words[0][0] == '!', {}
    for word in words:
        if word.lstrip('!') == 'all':
            every, names = word[0] != '!', {}
        else:
            names[word.lstrip('!')] = word[0] != '!'
    return every, names


def _parse_types(text):
    every, names = _words(text)
    for name in names:
        if name not in TYPES:
            raise ValueError(f'log types: expected error, info, trace, debug or all, with commas between, got {name!r}')
    return {level for level in (ERROR, INFO, TRACE, DEBUG) if names.get(TYPES[level], every)}


def parse_spec(text):
    """Return what 'file[:types[:sources]]' sets, such as 'stdout:error,info:all,!mqtt': a dict for `configure` with
    those of path, types and sources that are not empty. Raises ValueError."""
    parts = zip(('path', 'types', 'sources'), text.split(':', 2))
    settings = {name: part.strip() for name, part in parts if part.strip()}
    if not settings:
        raise ValueError(f'log: expected file[:types[:sources]], got {text!r}')
    _parse_types(settings.get('types', ''))
    return settings


# A destination (the others are in destinations.py): write(level, line) is False where there is nothing to write to, and raises
# OSError where writing failed.

class Console:
    """stdout or stderr, by descriptor: nothing is buffered that could fail when Python ends."""

    def __init__(self, stream):
        try:
            self.fd = stream.fileno()
        except (AttributeError, OSError, ValueError):
            self.fd = -1        # it was closed when Python began; that number may be a socket's by this time
        self.torn = False

    def write(self, level, line):
        if self.fd < 0:
            return False
        data = b'\n' + line + b'\n' if self.torn else line + b'\n'
        sent = 0
        try:
            while sent < len(data):
                sent += os.write(self.fd, data[sent:])
        finally:
            if sent:
                self.torn = sent < len(data)
        return True

    def reopen(self):
        pass

    close = reopen


class _Cloud(Console):
    """The sinks alone."""

    def write(self, level, line):
        return bool(_sinks)


_settings = _Settings('error,info', 'all', '%S: %T: %M', 'ioto')
_stderr = _destination = Console(sys.__stderr__)


def _deliver(level, source, message):
    global _lost
    safe = _unsafe.sub(lambda found: repr(found[0])[1:-1], message)
    if '\n' in safe:
        safe = safe.rstrip('\n').replace('\n', '\n    ')
    with _lock:
        try:
            if _lost:
                _put(ERROR, _settings.line(ERROR, 'log', f'{_lost} messages could not be written'))
                _lost = 0
            _put(level, _settings.line(level, source, safe))
        except Exception:
            _drop()
    if _sinks and (me := get_ident()) not in _sinking:
        _sinking.add(me)
        now = time()
        for sink in _sinks:
            try:
                sink(now, TYPES[level], source, message)
            except Exception as error:
                Log('log').error(f'a sink failed: {error!r}')
        _sinking.discard(me)


def _put(level, line):
    if not (_destination.write(level, line) or _stderr.write(level, line)):
        raise OSError


def _drop():
    global dropped, _lost
    with _lock:
        dropped += 1
        _lost += 1


def configure(types='error,info', sources='all', format='%S: %T: %M', path='stderr', app='ioto', max_size=1 << 20,
              backups=3, syslog='/dev/log'):
    """Choose what is logged and where; without arguments, as before the first call.

    types     of error, info, trace, debug, all, with commas; '!debug' takes one away
    sources   likewise: 'all,!mqtt', 'app,web'
    format    %A app, %D date and time, %H host, %M message, %P process, %S source, %T type, %% a percent sign
    path      'stdout', 'stderr', 'syslog', 'cloud' (sinks alone), or a file, made with mode 0640 and its folder with it
    max_size  bytes of a file, before it is rotated; 0 or infinity: never
    backups   how many rotated files are kept, path.1 the youngest
    syslog    the log daemon's UNIX socket

    Raises ValueError for unknown types or tokens, and changes nothing. A file that cannot be opened is reported on
    stderr, which takes its place until `reopen` succeeds.
    """
    global _destination, _settings, _lost
    settings = _Settings(types, sources, format, app)
    if path in ('stdout', 'stderr'):
        destination = Console(getattr(sys, f'__{path}__'))
    elif path == 'cloud':
        destination = _Cloud(None)
    else:
        from .destinations import File, Syslog
        destination = Syslog(syslog, app) if path == 'syslog' else File(path, max_size, backups)
    with _lock:
        _destination.close()
        _destination, _settings, _lost = destination, settings, 0
        _choose(settings.types)
    reopen()


def reopen():
    """Open the log file again by its name, when something else has moved or deleted it (logrotate, SIGHUP)."""
    problem = None
    with _lock:
        try:
            _destination.reopen()
        except (OSError, ValueError) as error:
            problem = f'{_destination.path} cannot be opened, so the log goes to stderr: {error}'
    if problem:
        Log('log').error(problem)


def _choose(types):
    _settings.choose(types)
    for name, log in _logs.items():
        log.level = _settings.level(name)


def set_level(level):
    """Log all types up to this one, ERROR to DEBUG; 0 for none."""
    with _lock:
        _choose(set(range(ERROR, level + 1)))


def raise_level():
    """Log one more type: trace, then debug, then again what is configured. For SIGUSR2."""
    with _lock:
        top = max(_settings.top, INFO)
        _choose(_settings.types | {top + 1} if top < DEBUG else _settings.configured)
        types = ', '.join(TYPES[level] for level in sorted(_settings.types))
    Log('log').info(f'logging {types}')


def add_sink(function):
    """Call function(time, type, source, message) for each message that is logged: epoch seconds, and the message
    unescaped. It is called in the thread that logs and must not wait. What it logs itself reaches no sink."""
    global _sinks
    with _lock:
        _sinks = (*_sinks, function)


def remove_sink(function):
    """Stop calling this function. Nothing happens where it is not called."""
    global _sinks
    with _lock:
        _sinks = tuple(sink for sink in _sinks if sink != function)
