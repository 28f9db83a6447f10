"""Fixtures that several packages of tests share."""

import os
import subprocess
import sys

import pytest

from ioto.runtime import log

CERTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'tools', 'certs.py')


@pytest.fixture(autouse=True)
def nothing_leaks():
    """Each test gives back the descriptors that it opened."""
    before = set(os.listdir('/proc/self/fd'))
    yield
    left = {fd: _target(fd) for fd in set(os.listdir('/proc/self/fd')) - before}
    left = {fd: name for fd, name in left.items() if name.startswith(('socket:', 'pipe:', 'anon_inode:[event'))}
    assert not left, f'descriptors left open: {left}'


@pytest.fixture(autouse=True)
def the_log_goes_to_stderr():
    """Whatever an agent in this process has made of the log."""
    yield
    log.configure()


def _target(fd):
    try:
        return os.readlink(f'/proc/self/fd/{fd}')
    except OSError:
        return ''


@pytest.fixture(scope='session')
def certs(tmp_path_factory):
    """A folder with ca.crt, and server, client and device certificates signed by it (server.crt, server.key, …)."""
    folder = tmp_path_factory.mktemp('certs')
    subprocess.run([sys.executable, CERTS, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope='session')
def named_certs(certs, tmp_path_factory):
    """Folders with server.crt and server.key of other names, signed by the same authority: {name: folder}."""
    found = {}
    for name in ('one.example', '*.two.example'):
        found[name] = folder = tmp_path_factory.mktemp('named')
        for end in ('crt', 'key'):
            (folder / f'ca.{end}').write_bytes((certs / f'ca.{end}').read_bytes())
        subprocess.run([sys.executable, CERTS, folder, name], check=True, capture_output=True)
    return found


@pytest.fixture
def disk(tmp_path):
    """A file system of 1 MB, for root; `remount` changes it."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder], capture_output=True).returncode:
        pytest.skip('only root may mount')
    try:
        yield folder
    finally:
        subprocess.run(['umount', '-l', folder], check=True)


@pytest.fixture
def remount(disk):
    """A function that changes an option of `disk`, such as 'ro' or 'size=2m'."""
    return lambda option: subprocess.run(['mount', '-o', f'remount,{option}', disk], check=True)
