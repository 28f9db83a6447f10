"""The command line: `python3 ioto.py --config config/`.

The parser is a table and one loop, because argparse alone costs a fifth of the time that the agent may take to start.
An option's value follows it or is joined by '='. Exit status: 0 stopped as asked, 1 configuration, service or app
failed, 2 the command line is wrong, 130 interrupted a second time while stopping.
"""
import os
import sys

OPTIONS = {     # option: (what its value is called, '' for a switch; what it does)
    'app': ('FILE.py', 'run this app: its start(agent) and stop(agent)'),
    'account': ('ID', 'cloud account that owns the device'),
    'background': ('', 'run as a daemon; returns when the agent is ready, or 1 if it is not to be'),
    'cloud': ('NAME', 'device cloud to use'),
    'config': ('FOLDER', 'configuration folder (config/)'),
    'debug': ('', 'log everything'),
    'exit': ('EVENT|TIME', "stop after an event such as cloud:ready, or a time such as '10 secs' or 10"),
    'home': ('FOLDER', 'where state/ and other relative paths are (the current folder)'),
    'id': ('ID', 'claim ID of the device'),
    'nolocal': ('', 'do not read local.json5'),
    'nosave': ('', 'keep no state on disk'),
    'product': ('ID', 'product that the device is registered as'),
    'profile': ('NAME', "configuration profile ('dev' unless ioto.json5 names another)"),
    'quiet': ('', 'log errors only'),
    'reset': ('', 'first forget what the device has learned: certificate, provisioning, database'),
    'show': ('HhBb', 'log headers and bodies: H B of requests, h b of responses'),
    'state': ('FOLDER', "folder for what the device learns (state/)"),
    'timeouts': ('', 'switch the web time-outs off, for debugging'),
    'trace': ('FILE[:TYPES[:SOURCES]]', "log to a file or stdout, such as 'trace.log:error,info,trace:all,!web'"),
    'verbose': ('', 'log errors, information and trace'),
    'version': ('', 'print the version and stop'),
    'help': ('', 'print this and stop'),
}


class UsageError(Exception):
    """The command line cannot be understood; str() says why."""


def usage():
    """The text of --help."""
    lines = ['Usage: python3 ioto.py [options]', '']
    for name, (value, text) in OPTIONS.items():
        head = f'  --{name} {value}'
        lines.append(f'{head:<34}{text}' if len(head) < 33 else f'{head}\n{"":34}{text}')
    lines += ['', 'SIGTERM stops gracefully, SIGHUP reads the web configuration again, SIGUSR2 raises the trace level.']
    return '\n'.join(lines)


def parse(words):
    """The options of a command line as a dictionary: a text each, True for a switch. Raises UsageError."""
    options = {}
    words = iter(words)
    for word in words:
        if not word.startswith('--'):
            raise UsageError(f"unexpected '{word}'" if word != '-h' else "unknown option '-h'")
        name, equals, value = word[2:].partition('=')
        if name not in OPTIONS:
            raise UsageError(f"unknown option '--{name}'{_hint(name)}")
        wants = OPTIONS[name][0]
        if not wants and equals:
            raise UsageError(f'--{name} takes no value')
        if wants and not equals:
            value = next(words, '')
        if wants and (not value or not equals and value.startswith('--')):
            raise UsageError(f'--{name} expects a value: {wants}')
        options[name] = value if wants else True
    return options


def main(words=None):
    """Run the command line, by default that of this process, and return the exit status."""
    try:
        options = parse(sys.argv[1:] if words is None else words)
    except UsageError as error:
        print(f'ioto: {error}\nTry: python3 ioto.py --help', file=sys.stderr)
        return 2
    if 'help' in options or 'version' in options:
        from . import version
        print(usage() if 'help' in options else version)
        return 0
    background = options.pop('background', False)
    from .agent import Agent
    from .config import ConfigError
    try:
        agent = Agent(options.pop('config', 'config/'), **options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        return daemon(agent.run) if background else agent.run()
    except KeyboardInterrupt:
        return 130


def daemon(run):
    """Run `run(ready)` in a process of its own, without a terminal. Returns 0 when it calls ready, 1 if it ends before.

    Two forks and a session of its own between them, so no terminal can ever become the daemon's. Messages reach the
    terminal until the daemon is ready.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader, 'rb') as pipe:
            return 0 if pipe.read(1) else 1
    os.close(reader)
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)

    def ready():
        sys.stdout.flush()
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.write(writer, b'1')
        os.close(writer)

    status = 1
    try:
        status = run(ready)
        sys.stdout.flush()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _hint(name):
    from difflib import get_close_matches
    near = get_close_matches(name, OPTIONS, 1)
    return f", did you mean '--{near[0]}'?" if near else ''
