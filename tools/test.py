#!/usr/bin/env python3
"""
The one test command: set up what the tests need, then run them. Arguments go on to pytest.

    python3 tools/test.py                    everything
    python3 tools/test.py tests/json5 -x     a part

The first run makes `.venv` with pytest and, as root, installs the programs that the tests talk to (see tools/peers.py
for the list). Later runs find all that in place and start the tests at once. Without root or network the run names what
is missing and the tests that need it are skipped; with CI=true in the environment a missing peer is a failure, since a
skipped test there would look like a passed one.
"""

import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tools import peers


def main(arguments):
    if sys.version_info < (3, 11):
        return fail('Python 3.11 or later is needed, this is ' + sys.version.split()[0])
    keep_standard_input()
    python = test_python()
    if python is None:
        return fail(f'pytest is missing and cannot be installed: {" ".join(peers.test_requirements())}')
    missing = peers.prepare('tests')
    for line in missing:
        peers.say(f'missing {line}')
    if missing:
        if os.environ.get('CI', '').lower() in ('1', 'true'):
            return fail('with CI=true every peer must be there: nothing was run')
        peers.say('the tests that need these are skipped')
    os.chdir(peers.ROOT)
    sys.stdout.flush()
    os.execve(python, [python, '-m', 'pytest', *arguments], dict(os.environ, PATH=peers.PATH))


def keep_standard_input():
    """A closed standard input becomes /dev/null: otherwise the first socket of a test would be descriptor 0."""
    try:
        os.fstat(0)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)


def test_python():
    """The interpreter that has what runs the tests: that of .venv, or else this one; None if neither has it."""
    requirements = peers.test_requirements()
    if not peers.install_packages(peers.VENV, requirements):
        return peers.python_of(peers.VENV)
    here = subprocess.run([sys.executable, '-c', 'import pytest'], stderr=subprocess.DEVNULL)
    return sys.executable if here.returncode == 0 else None


def fail(message):
    print(f'tools/test.py: {message}', file=sys.stderr)
    return 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
