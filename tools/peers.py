"""
The programs that the tests and benchmarks compare the agent with, and how they get onto this machine.

Two tables say what is wanted, what for, and for whom. A peer is wanted by paths of the tree: `tests/mqtt` wants
mosquitto, so a tree that has no such folder neither installs it nor misses it; `bench` stands for tools/bench.py.
Programs come through apt, when this is root on a system that has it; Python packages go into `.venv` (what runs the
tests) and `.venv-peers` (other servers and parsers, kept apart so that no test can import one by accident).

Whether something is there is read from the file system: a program on the path, a `dist-info` folder in a `.venv`. So a
second run starts no installer and asks no network. What cannot be had is returned by name; the caller decides whether
that means a skipped test or a failure.
"""

import configparser
import os
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, '.venv')
PEERS = os.path.join(ROOT, '.venv-peers')

# Daemons live in /usr/sbin, which the path of an ordinary user leaves out.
PATH = os.pathsep.join([os.environ.get('PATH', os.defpath), '/usr/local/sbin', '/usr/sbin', '/sbin'])
POLICY = '/usr/sbin/policy-rc.d'


class Program(NamedTuple):
    """A program of the system: the command that shows it is there, its apt package, what it is for, who wants it."""
    command: str
    package: str
    purpose: str
    users: tuple


class Package(NamedTuple):
    """A package of .venv-peers: its name for pip, what it is for, who wants it."""
    name: str
    purpose: str
    users: tuple


PROGRAMS = (
    Program('openssl', 'openssl', 'makes certificates; the other end of TLS', ('tests/runtime', 'tests/web', 'tests/url', 'tests/mqtt', 'bench')),
    Program('wrk', 'wrk', 'makes HTTP load', ('tests/web', 'bench')),
    Program('nginx', 'nginx', 'a web server to be compared with', ('tests/web', 'tests/url', 'tests/mqtt', 'bench')),
    Program('/usr/lib/nginx/modules/ngx_stream_module.so', 'libnginx-mod-stream', 'lets nginx stand in front of a broker', ('tests/mqtt',)),
    Program('chromium', 'chromium', 'a browser that loads the site', ('tests/web', 'tests/test_site.py')),
    Program('chromedriver', 'chromium-driver', 'drives that browser', ('tests/web', 'tests/test_site.py')),
    Program('certutil', 'libnss3-tools', 'makes that browser trust a certificate', ('tests/web',)),
    Program('tinyproxy', 'tinyproxy-bin', 'an HTTP proxy', ('tests/url',)),
    Program('mosquitto', 'mosquitto', 'an MQTT broker', ('tests/mqtt', 'tests/cloud', 'bench')),
    Program('mosquitto_pub', 'mosquitto-clients', 'an MQTT client to be compared with', ('tests/mqtt',)),
)

PACKAGES = (
    Package('moto[server]', 'stands in for AWS', ('tests/aws', 'tests/cloud')),
    Package('websockets', 'the other end of a WebSocket', ('tests/websocket', 'tests/web', 'tests/url', 'bench')),
    Package('wsproto', 'the other end of a WebSocket', ('tests/websocket', 'tests/web')),
    Package('aiohttp', 'web server and HTTP client', ('tests/url', 'bench')),
    Package('requests', 'HTTP client', ('bench',)),
    Package('httpbin', 'a web server that shows what it gets', ('tests/url',)),
    Package('gunicorn', 'serves httpbin', ('tests/url',)),
    Package('uvicorn', 'web server', ('bench',)),
    Package('httptools', "uvicorn's parser", ('bench',)),
    Package('uvloop', "uvicorn's event loop", ('bench',)),
    Package('waitress', 'web server', ('bench',)),
    Package('microdot', 'web server', ('bench',)),
    Package('paho-mqtt', 'MQTT client', ('bench',)),
    Package('gmqtt', 'MQTT client', ('bench',)),
    Package('tinydb', 'document database', ('bench',)),
    Package('json5', 'JSON5 parser', ('bench',)),
    Package('pyjson5', 'JSON5 parser', ('bench',)),
)


def say(message):
    """One line of progress on stderr: stdout belongs to the tests' and benchmarks' own results."""
    print(f'tools: {message}', file=sys.stderr, flush=True)


def wanted(peers, user):
    """
    Those of `peers` that `user` wants: 'bench', or 'tests' for all tests that the tree has.
    """
    if user == 'tests':
        return [peer for peer in peers if any(os.path.exists(os.path.join(ROOT, path)) for path in peer.users)]
    return [peer for peer in peers if user in peer.users]


def which(command):
    """The path of a program, also when it is in a folder of daemons, or of a module of one; None if it is not there."""
    return shutil.which(command, mode=os.F_OK if command.endswith('.so') else os.F_OK | os.X_OK, path=PATH)


def python_of(venv):
    """The interpreter of a virtual environment."""
    return os.path.join(venv, 'bin', 'python')


def installed(venv, requirement):
    """Whether `venv` works with this interpreter's version and holds the package that `requirement` names."""
    name = re.match(r'[A-Za-z0-9._-]+', requirement).group()
    wanted_name = re.sub(r'[-_.]+', '_', name).lower()
    site = os.path.join(venv, 'lib', 'python%d.%d' % sys.version_info[:2], 'site-packages')
    if not os.path.exists(python_of(venv)) or not os.path.isdir(site):
        return False
    found = [entry[:-len('.dist-info')].rsplit('-', 1)[0] for entry in os.listdir(site) if entry.endswith('.dist-info')]
    return wanted_name in (re.sub(r'[-_.]+', '_', entry).lower() for entry in found)


def test_requirements():
    """What runs the tests: the `test` extra of setup.cfg, the one place that names it."""
    parser = configparser.ConfigParser()
    parser.read(os.path.join(ROOT, 'setup.cfg'), encoding='utf-8')
    return parser['options.extras_require']['test'].split()


def prepare(user):
    """
    Get what `user` ('tests' or 'bench') wants. Returns lines that name each peer still missing, with its purpose and
    how to get it; an empty list when all is there.
    """
    programs = [program for program in wanted(PROGRAMS, user) if not which(program.command)]
    if programs:
        install_programs([program.package for program in programs])
    missing = [f'{program.command} ({program.purpose}): apt-get install {program.package}'
               for program in programs if not which(program.command)]
    packages = wanted(PACKAGES, user)
    if packages:
        lacking = set(install_packages(PEERS, [package.name for package in packages]))
        missing += [f'{package.name} ({package.purpose}): {python_of(PEERS)} -m pip install {package.name!r}'
                    for package in packages if package.name in lacking]
    return missing


def run(command, **options):
    """Run an installer; whether it succeeded. What it prints is shown if it did not."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors='replace', **options)
    except OSError as error:
        say(f'{command[0]}: {error.strerror}')
        return False
    if done.returncode:
        say('\n  '.join([f'{" ".join(command)} failed:', *done.stdout.splitlines()[-20:]]))
    return done.returncode == 0


def install_programs(packages):
    """Install packages of the system, if this is root and there is an apt; no service is started by it."""
    if os.geteuid() != 0 or not shutil.which('apt-get'):
        return
    say(f'installing {", ".join(packages)}')
    environment = dict(os.environ, DEBIAN_FRONTEND='noninteractive', PATH=PATH)
    apt = ['apt-get', '-qq', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Acquire::Retries=2', '-o', 'Dpkg::Use-Pty=0']
    install = [*apt, 'install', '-y', '--no-install-recommends']
    guarded = forbid_services()
    try:
        run([*apt, 'update'], env=environment)
        if not run([*install, *packages], env=environment) and len(packages) > 1:
            for package in packages:
                run([*install, package], env=environment)
    finally:
        if guarded:
            os.unlink(POLICY)


def forbid_services():
    """
    Make package scripts start no daemon, by the policy file that invoke-rc.d asks (101: action forbidden). Returns
    whether the file is ours to remove; one that is there already is the administrator's, and stays.
    """
    try:
        descriptor = os.open(POLICY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755)
    except OSError:
        return False
    with os.fdopen(descriptor, 'w') as file:
        file.write('#!/bin/sh\nexit 101\n')
    os.chmod(POLICY, 0o755)
    return True


def install_packages(venv, requirements):
    """Bring packages into a virtual environment, made when needed; returns the requirements that it still lacks."""
    lacking = [name for name in requirements if not installed(venv, name)]
    if not lacking or not make_venv(venv):
        return lacking
    say(f'installing {", ".join(lacking)} into {os.path.basename(venv)}')
    install = [python_of(venv), '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-input',
               '--retries', '2']
    if not run([*install, *lacking]) and len(lacking) > 1:
        for name in lacking:
            run([*install, name])
    return [name for name in lacking if not installed(venv, name)]


def make_venv(venv):
    """Make a virtual environment of this interpreter, or make a broken or older one again; whether it is there."""
    if installed(venv, 'pip'):
        return True
    if not has_ensurepip():
        # Debian keeps ensurepip in a package of its own, for its own interpreter.
        if os.path.realpath(sys.executable).startswith('/usr/bin/'):
            install_programs(['python3-venv'])
        if not has_ensurepip():
            say(f'{sys.executable} has no ensurepip, so it cannot make {os.path.basename(venv)}: install python3-venv')
            return False
    return run([sys.executable, '-m', 'venv', '--clear', venv])


def has_ensurepip():
    """Asked in a child: this process may have looked before the package came."""
    return subprocess.run([sys.executable, '-c', 'import ensurepip'], stderr=subprocess.DEVNULL).returncode == 0
