"""Fixtures that several packages of tests share."""

import os
import subprocess

import pytest


@pytest.fixture(autouse=True)
def nothing_leaks():
    """Each test gives back the descriptors that it opened."""
    before = set(os.listdir('/proc/self/fd'))
    yield
    left = {fd: _target(fd) for fd in set(os.listdir('/proc/self/fd')) - before}
    left = {fd: name for fd, name in left.items() if name.startswith(('socket:', 'pipe:', 'anon_inode:[event'))}
    assert not left, f'descriptors left open: {left}'


def _target(fd):
    try:
        return os.readlink(f'/proc/self/fd/{fd}')
    except OSError:
        return ''


def _openssl(*args, cwd):
    subprocess.run(['openssl', *args], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope='session')
def certs(tmp_path_factory):
    """A folder with ca.crt, and server and client certificates signed by it (server.crt, server.key, client.crt, client.key)."""
    folder = tmp_path_factory.mktemp('certs')
    _openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=test CA',
             '-addext', 'keyUsage=critical,keyCertSign,cRLSign', '-keyout', 'ca.key', '-out', 'ca.crt', cwd=folder)
    for name, extensions in (('server', 'subjectAltName=DNS:localhost,IP:127.0.0.1'), ('client', 'extendedKeyUsage=clientAuth')):
        (folder / f'{name}.ext').write_text(extensions + '\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n')
        _openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', f'/CN={name}',
                 '-keyout', f'{name}.key', '-out', f'{name}.csr', cwd=folder)
        _openssl('x509', '-req', '-in', f'{name}.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2',
                 '-extfile', f'{name}.ext', '-out', f'{name}.crt', cwd=folder)
    return folder
