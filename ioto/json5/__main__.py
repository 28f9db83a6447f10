"""usage: python3 -m ioto.json5 [options] FILE

Print the value of a JSON5 file, of the standard input if FILE is "-". The file is never changed.

  --query Q     only what Q names, such as users[0].name; a string without quotes, unless --style is given
  --set Q=V     with this change; V is JSON5, or text. 'users[$]=Ann' appends. May be repeated
  --style S     pretty (JSON on indented lines, the default), json (one line) or json5 (bare keys)
  --relaxed     accept the syntax of configuration files, too

Exit status: 1 for input that cannot be used, as FILE:LINE:COLUMN: MESSAGE; 2 for a wrong command line.
"""

import re
import sys
from getopt import GetoptError, gnu_getopt

from . import Json5Error, get, load, parse, render, set
from .render import STYLES


def main(arguments):
    """Run the command and return its exit status."""
    path = None
    try:
        options, paths = gnu_getopt(arguments, 'h', ['query=', 'set=', 'style=', 'relaxed', 'help'])
        given = dict(options)
        if '--help' in given or '-h' in given:
            sys.stdout.write(__doc__)
            return 0
        query, style, relaxed = given.get('--query', ''), given.get('--style'), '--relaxed' in given
        changes = [read_change(option) for name, option in options if name == '--set']
        get(None, query)                        # refuses what cannot be read
        if len(paths) != 1 or style not in (None, *STYLES):
            raise GetoptError(f'expected one file, and one of the styles {", ".join(STYLES)}')
        path = paths[0]
        value = parse(sys.stdin.buffer.read(), relaxed) if path == '-' else load(path, relaxed)
        for name, new in changes:
            value = set(value, name, new)
        value = get(value, query, main)
        if value is main:
            raise Json5Error(f'nothing at {query!r}')
        bare = query and not style and isinstance(value, str)
        text = value if bare else render(value, style or 'pretty')
        with open(1, 'wb', closefd=False) as output:        # sys.stdout may be unbuffered, and then writes in part
            output.write(text.encode('utf-8', 'backslashreplace') + b'\n')
        return 0
    except BrokenPipeError:                     # the reader has seen enough
        return 1
    except (GetoptError, Json5Error, OSError) as error:
        if path is None:
            sys.stderr.write(f'{error}\nTry --help.\n')
            return 2
        place = f':{error.line}:{error.column}' if getattr(error, 'line', 0) else ''
        sys.stderr.write(f'{path}{place}: {error.strerror if isinstance(error, OSError) else error.message}\n')
        return 1


def read_change(text):
    """Return (query, value) of Q=V. The first '=' outside of brackets parts them."""
    found = re.fullmatch(r'((?:[^[=]|\[[^]]*\])*)=(.*)', text, re.DOTALL)
    if not found:
        raise GetoptError(f'--set needs Q=V, found {text!r}')
    query, value = found.groups()
    get(None, query)
    try:
        return query, parse(value, relaxed=True)
    except Json5Error:
        if value.lstrip()[:1] in tuple('{["\'`'):
            raise
        return query, value


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
