"""The command line: `python3 ioto.py --config config/`.

A table and one loop, because argparse alone takes a fifth of the time for a start. An option's value follows it or is
joined by '='. Exit status: 2 for a wrong command line, else that of `agent.run`.
"""
import os
import sys

OPTIONS = {     # option: (what its value is called, '' for a switch; what it does)
    'app': ('FILE.py', 'run this app: its start(agent) and stop(agent)'),
    'account': ('ID', 'account that owns the device'),
    'background': ('', 'run as a daemon, and return when it is ready'),
    'cloud': ('NAME', 'device cloud to use'),
    'config': ('FOLDER', 'configuration folder (config/)'),
    'debug': ('', 'log everything'),
    'exit': ('EVENT|TIME', "stop after an event such as app:ready, or a time such as '10 secs'"),
    'home': ('FOLDER', 'where state/ and other relative paths are (the current folder)'),
    'id': ('ID', 'claim ID of the device'),
    'nolocal': ('', 'do not read local.json5'),
    'nosave': ('', 'keep no state on disk'),
    'product': ('ID', 'product of the device'),
    'profile': ('NAME', 'configuration profile (that of ioto.json5, or dev)'),
    'quiet': ('', 'log errors only'),
    'reset': ('', 'first forget what the device has learned'),
    'show': ('HhBb', 'log headers and bodies: H B of requests, h b of responses'),
    'state': ('FOLDER', 'folder for what the device learns (state/)'),
    'timeouts': ('', 'switch the web time-outs off, for debugging'),
    'trace': ('FILE[:TYPES[:SOURCES]]', "log to a file or stdout, such as 'trace.log:error,info:all,!web'"),
    'verbose': ('', 'log errors, information and trace'),
    'version': ('', 'print the version and stop'),
    'help': ('', 'print this and stop'),
}


class UsageError(Exception):
    """The command line is wrong; str() says why."""


def usage():
    """The text of --help."""
    lines = [f'  {f"--{name} {value}":<32}{text}' for name, (value, text) in OPTIONS.items()]
    return '\n'.join(['Usage: python3 ioto.py [options]', '', *lines])


def parse(words):
    """The options as a dictionary: a text each, True for a switch. Raises UsageError."""
    options = {}
    words = iter(words)
    for word in words:
        flag, equals, value = word.partition('=')
        name = flag[2:]
        if not word.startswith('-'):
            raise UsageError(f"unexpected '{word}'")
        if name not in OPTIONS or not flag.startswith('--'):
            from .config import hint
            raise UsageError(f"unknown option '{flag}'{hint(flag, ['--' + name for name in OPTIONS])}")
        wanted = OPTIONS[name][0]
        if not wanted and equals:
            raise UsageError(f'{flag} takes no value')
        if wanted and not equals:
            value = next(words, '--')
        if wanted and (not value or not equals and value.startswith('--')):
            raise UsageError(f'{flag} expects a value: {wanted}')
        options[name] = value or True
    return options


def main(words=None):
    """Run the command line (sys.argv) and return the exit status."""
    try:
        options = parse(sys.argv[1:] if words is None else words)
        if 'help' in options or 'version' in options:
            from . import version
            print(usage() if 'help' in options else version)
            return 0
        if 'config' not in options and not os.path.isdir('config'):
            raise UsageError('there is no folder config/ here, expected --config FOLDER')
    except UsageError as error:
        print(f'ioto: {error}\nTry: python3 ioto.py --help', file=sys.stderr)
        return 2
    from .agent import run
    return run(**options)
