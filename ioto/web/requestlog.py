r"""The request log: a line for each exchange, in a file of its own that is rotated.

    log: {path: 'access.log', format: 'combined', size: '1 MB', backups: 3}

`path` is a file or 'stdout'; `format` is 'common', 'combined', 'json' or a text with tokens, which mean what they mean
to Apache's mod_log_config: %h client, %l -, %u user, %t time, %r request line, %s status, %b bytes of the body (- for
none), %B (0 for none), %D microseconds, %v host, %{Name}i a field of the request, %%.

What a client has sent is escaped (\xHH for control characters, quotes, backslashes and all but ASCII), so it can forge
no line. Lines of one turn of the scheduler leave in one write; what cannot be written, as on a full disk, is dropped
and said once in the agent's log. A request that was not understood has its first line as received, and 499 is a client
that left before its answer.
"""

import json
import re
import sys
from time import localtime, strftime, time

from ..runtime import units
from ..runtime.destinations import File
from ..runtime.fiber import kernel
from ..runtime.log import Console, Log
from .routes import WebError

FORMATS = {'common': '%h %l %u %t "%r" %s %b', 'combined': '%h %l %u %t "%r" %s %b "%{Referer}i" "%{User-Agent}i"'}
PROPERTIES = ('path', 'format', 'size', 'backups')
WANTED = "expected 'common', 'combined', 'json' or tokens such as %h"

log = Log('web')


def safe(text):
    """A text of a client for a line of the log."""
    return re.sub(r'[^ !#-\[\]-~]', lambda found: f'\\x{ord(found[0]):02x}', text) or '-'


class RequestLog:
    """A log of the properties in `config`; `resolve` turns its path into a real one. Raises WebError."""

    def __init__(self, config, resolve):
        if not isinstance(config, dict):
            raise WebError('web.log', 'expected true, false or an object with path and format')
        for name in config:
            if name not in PROPERTIES:
                raise WebError(f'web.log.{name}', f'unknown property: the request log has {", ".join(PROPERTIES)}')
        path, form = config.get('path', 'stdout'), config.get('format', 'common')
        size, backups = (self._measure(config, name, default) for name, default in (('size', '1 MB'), ('backups', 3)))
        if not isinstance(path, str):
            raise WebError('web.log.path', "expected a file or 'stdout'")
        if not isinstance(form, str) or form not in (*FORMATS, 'json') and '%' not in form:
            raise WebError('web.log.format', WANTED)
        self.fields = []                # that the format names
        self.template = None
        if form != 'json':
            self.template = re.sub(r'%(?:>?([hlutrsbBDv%])|\{([\w-]+)\}i|)', self._token, FORMATS.get(form, form))
        self.lines, self.failing, self.second = [], '', None
        self.file = Console(sys.__stdout__)
        try:
            if path != 'stdout':
                self.file = File(resolve(path), size, backups)
            self.file.reopen()
        except OSError as error:
            raise WebError('web.log.path', f'{self.file.path} cannot be opened: {error.strerror}') from None

    @staticmethod
    def _measure(config, name, default):
        try:
            return units.size(config.get(name, default))
        except ValueError as error:
            raise WebError(f'web.log.{name}', str(error)) from None

    def _token(self, found):
        letter, field = found.groups()
        if field:
            self.fields.append(letter := field.lower())
        if not letter:
            raise WebError('web.log.format', f'{WANTED}, got {found.string[found.start():][:2]!r}')
        return f'%({letter})s'

    def add(self, web, status, size, took):
        """Log an exchange: status, bytes of the answer's body, seconds."""
        now = int(time())
        if now != self.second:
            style = '%Y-%m-%dT%H:%M:%S%z' if self.template is None else '[%d/%b/%Y:%H:%M:%S %z]'
            self.second, self.date = now, strftime(style, localtime(now))
        fields, user = web.fields, web.user.name if web.user else None
        line = f'{web.method} {web.target} HTTP/1.{web.version - 10}' if web.line is None else web.line
        if self.template is None:
            line = json.dumps({
                'time': self.date, 'remote': web.remote, 'user': user, 'host': web.host, 'request': line, 'status': status,
                'bytes': size, 'ms': round(took * 1000, 3), 'referer': fields.get('referer'), 'agent': fields.get('user-agent')})
        else:
            line = self.template % {
                'h': web.remote, 'l': '-', 'u': safe((user or '').encode().decode('latin-1')), 't': self.date, 'r': safe(line),
                's': status, 'b': size or '-', 'B': size, 'D': int(took * 1e6), 'v': safe(web.host), '%': '%',
                **{name: safe(fields.get(name, '')) for name in self.fields}}
        if not self.lines:
            kernel().posted.append(self)
        self.lines.append(line)

    def send_posted(self):
        """Write what has gathered in this turn."""
        data, self.lines = '\n'.join(self.lines).encode('utf-8', 'backslashreplace'), []
        try:
            failure = '' if not data or self.file.write(0, data) else 'it is not open'
        except OSError as error:
            failure = error.strerror
        if failure and not self.failing:
            log.error(f'the request log cannot be written, and lines are lost: {failure}')
        self.failing = failure

    def reopen(self):
        """Open the file again by its name."""
        try:
            self.file.reopen()
        except OSError as error:
            log.error(f'the request log cannot be opened: {error.strerror}')

    def close(self):
        """Write what is left and close."""
        self.send_posted()
        self.file.close()
