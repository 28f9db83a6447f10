"""The command: print a JSON5 file, a part of it, or the file with a change."""

import sys

from . import Json5Error, get, load, parse, render, set
from .render import STYLES

USAGE = '''usage: python3 -m ioto.json5 [options] FILE

Print the value of a JSON5 file; "-" reads the standard input. The file is never changed.

  --query Q     only what the query names: users[0].name, types['text/css']; a string comes without
                quotes, unless --style is given. If nothing is there, the exit status is 1
  --set Q=V     with this change; may be repeated. V is JSON5, or text. [$] appends: 'users[$].name=Ann'
  --style S     pretty (JSON on indented lines, the default), json (one line) or json5 (bare keys)
  --relaxed     accept the syntax of configuration files, too: `backticks`, strings of several lines
                or without quotes, undefined, /regular expressions/
  --help        this text

Exit status: 0; 1 for input that cannot be used, as FILE:LINE:COLUMN: MESSAGE; 2 for a wrong command line.
'''


class UsageError(Exception):
    pass


def main(arguments):
    """Run the command and return its exit status."""
    try:
        options = read_options(arguments)
        if options is None:
            sys.stdout.write(USAGE)
            return 0
        path, query, changes, style, relaxed = options
        value = parse(sys.stdin.buffer.read(), relaxed) if path == '-' else load(path, relaxed)
        for name, new in changes:
            value = set(value, name, new)
        if query is not None:
            value = get(value, query, UsageError)
            if value is UsageError:
                raise Json5Error(f'nothing at {query!r}')
        bare = style is None and query is not None and isinstance(value, str)
        text = value if bare else render(value, style or 'pretty')
        with open(1, 'wb', closefd=False) as output:        # sys.stdout may be unbuffered, and then writes in part
            output.write(text.encode('utf-8', 'backslashreplace') + b'\n')
        return 0
    except UsageError as error:
        message, status = f'{error}\nTry --help.', 2
    except Json5Error as error:
        place = f':{error.line}:{error.column}' if error.line else ''
        message, status = f'{path}{place}: {error.message}', 1
    except BrokenPipeError:                     # the reader has seen enough
        return 1
    except OSError as error:
        message, status = f'{path}: {error.strerror}', 1
    sys.stderr.write(message + '\n')
    return status


def read_options(arguments):
    """Return (path, query, [(query, value)], style, relaxed), or None if help is asked for. Raises UsageError."""
    paths, changes = [], []
    query = style = None
    relaxed = False
    words = iter(arguments)
    for word in words:
        if not word.startswith('-') or word == '-':
            paths.append(word)
            continue
        if word == '--':
            paths.extend(words)
            break
        name, equals, option = word.partition('=')
        if name in ('--query', '--set', '--style'):
            if not equals:
                option = next(words, None)
                if option is None:
                    raise UsageError(f'{name} needs an argument')
            if name == '--query':
                query = check_query(option)
            elif name == '--set':
                changes.append(read_change(option))
            elif option in STYLES:
                style = option
            else:
                raise UsageError(f'--style is one of {", ".join(STYLES)}, not {option!r}')
        elif word == '--relaxed':
            relaxed = True
        elif word in ('--help', '-h'):
            return None
        else:
            raise UsageError(f'no such option: {word}')
    if len(paths) != 1:
        raise UsageError('expected one file' if paths else 'expected a file, or - for the standard input')
    return paths[0], query, changes, style, relaxed


def check_query(query):
    try:
        get(None, query)
    except Json5Error as error:
        raise UsageError(error.message) from None
    return query


def read_change(text):
    """Return (query, value) of Q=V. The first '=' outside of brackets parts them."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char == '[') - (char == ']')
        if char == '=' and depth <= 0:
            break
    else:
        raise UsageError(f'--set needs Q=V, found {text!r}')
    query, value = check_query(text[:at]), text[at + 1:]
    try:
        return query, parse(value, relaxed=True)
    except Json5Error as error:
        if value.lstrip()[:1] in tuple('{["\'`'):
            raise UsageError(f'--set {query}: {error}') from None
        return query, value


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
