#!/usr/bin/env python3
"""
Make one file of the agent, to be copied onto a board and run there: a zip archive that Python takes as a program.

    python3 tools/package.py [--profile web|all] [--output ioto.pyz] [--keep-docstrings] [--plain] [--check]
    python3 ioto.pyz --config config/
    PYTHONPATH=ioto.pyz python3 -m ioto.json5 FILE          and so on, and `import ioto` in a program

The sources in it do what those of the tree do, at a fifth of the size: comments and docstrings are gone, an indentation is one
space, and no space stands where two tokens need none. Names and line numbers stay, so a traceback from the board points into
the tree. Each is held against its source before it is packed: the same syntax tree, each node on the same line. The same
sources give the same bytes.

All but two modules stand in one entry, compressed by bzip2, which packed.py explains: this is two fifths smaller than a file for
each. With --plain each is a file of its own, for a Python without bz2.
"""

import argparse
import ast
import bz2
import io
import os
import subprocess
import sys
import tokenize
import zipfile
from functools import lru_cache

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tools import peers

KB = 1024
# What an archive of each profile may weigh, in bytes.
BUDGETS = {'web': 80 * KB, 'all': 150 * KB}
# The packages of the profile `web`, which has each feature of the web server but TLS, and what it leaves out of them. Modules
# directly in ioto/ belong to every profile. A test holds this list against the imports of the modules that remain.
WEB_PACKAGES = ('runtime', 'json5', 'http', 'websocket', 'web')
WEB_WITHOUT = {f'ioto/{name}.py' for name in (
    'runtime/tls',                                              # needs python3-openssl
    'runtime/sqlite',                                           # needs python3-sqlite3
    'runtime/dial', 'http/client', 'http/url', 'websocket/client',      # for clients
    'runtime/group', 'runtime/queue', 'runtime/cron',           # for apps, and parts of the agent that are not the web server
    'json5/__main__', 'json5/fill')}                            # for developers

LEVEL = 9                       # of bzip2: one block of 900 KB
START = 'ioto.py'               # what runs when the archive does
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
DATE = 1980, 1, 1, 0, 0, 0
UNIX = 3
UNSEEN = (tokenize.COMMENT, tokenize.ENDMARKER, tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)
QUOTES = '\'"'


class PackageError(Exception):
    """A file that would not be what its source is, or an archive that does not do; str() says which and why."""


def source_files():
    """What runs on a board: ioto.py and every module below ioto/, as paths relative to the tree."""
    found = [START]
    for folder, _, names in os.walk(os.path.join(peers.ROOT, 'ioto')):
        found += [os.path.relpath(os.path.join(folder, name), peers.ROOT) for name in names if name.endswith('.py')]
    return sorted(found)


def part_of(path):
    """The package below ioto/ that a file belongs to; 'agent' for the modules of no package."""
    pieces = path.split('/')
    return pieces[1] if len(pieces) > 2 else 'agent'


def profile_files(profile):
    """The source files of a profile."""
    everything = source_files()
    if profile == 'all':
        return everything
    return [path for path in everything if part_of(path) in (*WEB_PACKAGES, 'agent') and path not in WEB_WITHOUT]


def read_source(path):
    """The text of a source file of the tree, in whatever encoding it declares."""
    with tokenize.open(os.path.join(peers.ROOT, path)) as file:
        return file.read()


@lru_cache(256)
def squeeze(source, keep_docstrings=False):
    """Return the source without what Python does not need. One that reads a __doc__ keeps its docstrings. Raises PackageError."""
    tree = ast.parse(source)
    unwanted = {} if keep_docstrings or '__doc__' in source else docstrings(tree)
    pieces, line, level = [], 1, 0          # line: the one that the next piece goes to
    last, bracketed = None, False           # the token before in this statement; whether a line has ended since, as in brackets
    for token in tokens(source):
        level += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
        if token.type in UNSEEN:
            bracketed = bracketed or token.type == tokenize.NL
            last = None if token.type == tokenize.NEWLINE else last
            continue
        if token.start in unwanted:
            if not unwanted[token.start]:
                continue
            token = token._replace(string='pass', end=token.start)
        fresh = token.start[0] > line
        if fresh:
            pieces.append(('\n' if last is None or bracketed else '\\\n') * (token.start[0] - line))
        if last is None:
            pieces.append(' ' * level)
        elif not fresh and last.end != token.start and not may_join(last.string, token.string):
            pieces.append(' ')
        pieces.append(token.string)
        line, last, bracketed = token.end[0], token, False
    squeezed = ''.join(pieces) + '\n' * (source.count('\n') - line + 1)
    compare(tree, ast.parse(squeezed), unwanted)
    return squeezed


def docstrings(tree):
    """{(line, column) of a docstring: whether a statement has to stand in for it}"""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            found[first.lineno, first.col_offset] = len(node.body) == 1 and not isinstance(node, ast.Module)
    return found


def tokens(source):
    """The tokens of a source, each f-string as one of them, as it was before Python 3.12."""
    lines = io.StringIO(source).readlines()
    opening, closing = getattr(tokenize, 'FSTRING_START', None), getattr(tokenize, 'FSTRING_END', None)
    around = []                             # the f-strings that are open, the outermost first
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == opening:
            around.append(token)
        elif token.type == closing:
            first = around.pop()
            (begin, left), (end, right) = first.start, token.end
            within = lines[begin - 1:end]
            within[-1] = within[-1][:right]
            within[0] = within[0][left:]
            token = first._replace(type=tokenize.STRING, string=''.join(within), end=token.end)
        if not around:
            yield token


def may_join(left, right):
    """Whether two tokens that were apart are still two when nothing stands between them."""
    if left[0].isdigit() and right[0] == '.' or left[-1] in QUOTES and right[0] in QUOTES:
        return False
    return not (is_word(left[-1]) and is_word(right[0]))


def is_word(letter):
    return letter.isalnum() or letter == '_'


def compare(tree, squeezed, unwanted):
    """Raise PackageError unless the trees are the same but for the docstrings, statement by statement on the same line."""
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and node.body and (node.body[0].lineno, node.body[0].col_offset) in unwanted:
            first = node.body.pop(0)
            if unwanted[first.lineno, first.col_offset]:
                node.body.append(ast.Pass(lineno=first.lineno))
    if ast.dump(tree) != ast.dump(squeezed):
        raise PackageError('squeezed, it would be another program')
    for one, other in zip(ast.walk(tree), ast.walk(squeezed)):
        if getattr(one, 'lineno', None) != getattr(other, 'lineno', None):
            raise PackageError(f'squeezed, its line {one.lineno} would move')


def entries(paths, keep_docstrings=False):
    """Yield (name, bytes) of what an archive holds for these modules."""
    for path in paths:
        try:
            source = squeeze(read_source(path), keep_docstrings)
        except (PackageError, SyntaxError) as error:
            raise PackageError(f'{path}: {error}') from None
        yield ('__main__.py' if path == START else path), source.encode()


def joined(contents):
    """Yield (name, bytes) of an archive of the same modules that compresses them as one; see packed.py."""
    modules = []
    for name, source in contents:
        if name == '__main__.py':
            yield name, source
        elif name == 'ioto/__init__.py':
            yield name, source + b'from . import packed\n'
        else:
            modules.append(b'\0%s\n%s' % (name.encode(), source))
    yield 'ioto/packed.py', squeeze(read_source('tools/packed.py')).encode()
    yield 'ioto/modules', bz2.compress(b''.join(modules), LEVEL)


def archive(contents):
    """The bytes of a zip archive of (name, bytes) pairs that depends on nothing else."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as packed:
        for name, data in contents:
            entry = zipfile.ZipInfo(name, DATE)
            entry.create_system, entry.external_attr = UNIX, 0o100644 << 16
            packed.writestr(entry, data, zipfile.ZIP_STORED if name == 'ioto/modules' else zipfile.ZIP_DEFLATED, 9)
    return buffer.getvalue()


def build(profile='all', keep_docstrings=False, plain=False):
    """The bytes of a package. Raises PackageError."""
    contents = entries(profile_files(profile), keep_docstrings)
    return archive(contents if plain else joined(contents))


def check(path, profile):
    """Raise PackageError unless the package runs and is within the budget of its profile."""
    for command in ([path, '--version'], ['-c', f'import sys; sys.path.insert(0, {path!r}); import ioto.web, ioto.agent']):
        done = subprocess.run([sys.executable, '-I', '-S', *command], capture_output=True, text=True)
        if done.returncode:
            raise PackageError(f'{path} does not run: {done.stderr.strip()}')
    size, limit = os.path.getsize(path), BUDGETS[profile]
    if size > limit:
        raise PackageError(f'{path}: {size / KB:.1f} KB, {(size - limit) / KB:.1f} KB more than the profile {profile} may weigh')


def main(given):
    parser = argparse.ArgumentParser(prog='package.py', description='Make one file of the agent, which Python runs.')
    parser.add_argument('--profile', choices=BUDGETS, default='all', help='web: only the web server, without TLS (all)')
    parser.add_argument('--output', default='ioto.pyz', metavar='FILE', help='what to write (ioto.pyz)')
    parser.add_argument('--keep-docstrings', action='store_true', help='for help() and pydoc')
    parser.add_argument('--plain', action='store_true', help='each module as a file of its own, for other programs to read')
    parser.add_argument('--check', action='store_true', help='also run it, and fail where it is over the budget of its profile')
    options = parser.parse_args(given)
    try:
        data = build(options.profile, options.keep_docstrings, options.plain)
        with open(options.output, 'wb') as file:
            file.write(data)
        if options.check:
            check(os.path.abspath(options.output), options.profile)
    except (PackageError, OSError) as error:
        print(f'tools/package.py: {error}', file=sys.stderr)
        return 1
    print(f'{options.output}: {len(data) / KB:.1f} KB, profile {options.profile}')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
