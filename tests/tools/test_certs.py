"""tools/certs.py: what it makes is accepted by openssl and by Python's strictest checks, and nothing is lost by a second run."""

import os
import socket
import ssl
import stat
import subprocess
import sys
import threading

import pytest

from tools import certs

STRICT = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN          # what Python 3.13 and later check by default


def run(*words):
    return subprocess.run([sys.executable, certs.__file__, *map(str, words)], capture_output=True, text=True)


def shake_hands(folder, name):
    """Names that each side sees in the other's certificate, under the strict checks."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / 'ca.crt')
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(folder / 'server.crt', folder / 'server.key')
    client = ssl.create_default_context(cafile=folder / 'ca.crt')
    client.load_cert_chain(folder / 'device.crt', folder / 'device.key')
    for context in (server, client):
        context.verify_flags |= STRICT
    seen = []

    def serve(sock):
        with server.wrap_socket(sock, server_side=True) as stream:
            seen.append(stream.getpeercert()['subject'][0][0][1])

    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve, args=(theirs,))
    thread.start()
    with ours, client.wrap_socket(ours, server_hostname=name) as stream:
        seen.append(stream.getpeercert()['subject'][0][0][1])
        assert stream.recv(1) == b''
    thread.join()
    return set(seen)


@pytest.mark.parametrize('options', [(), ('--rsa',)])
def test_the_strict_checks_of_python_accept_them(tmp_path, options):
    assert run(tmp_path, '--device', 'ABCDEFGHJK', *options).returncode == 0
    for name in ('localhost', '127.0.0.1', '::1'):
        assert shake_hands(tmp_path, name) == {'localhost', 'ABCDEFGHJK'}


def test_keys_are_private_and_only_they_and_the_certificates_are_left(tmp_path):
    folder = tmp_path / 'new' / 'certs'
    assert run(folder).returncode == 0
    names = [f'{name}.{end}' for name in ('ca', 'server', 'client', 'device') for end in ('crt', 'key')]
    assert sorted(os.listdir(folder)) == sorted(names)
    for path in folder.glob('*.key'):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert 'ENCRYPTED' not in path.read_text()


def test_names_and_addresses_are_those_given(tmp_path):
    assert run(tmp_path, 'device.example', '*.device.example', '10.0.0.1', 'fd00::1', '--days', 10).returncode == 0
    text = subprocess.run(['openssl', 'x509', '-in', tmp_path / 'server.crt', '-noout', '-ext', 'subjectAltName'],
                          capture_output=True, text=True).stdout
    assert 'DNS:device.example, DNS:*.device.example, IP Address:10.0.0.1, IP Address:FD00:0:0:0:0:0:0:1' in text
    for days, status in ((9, 0), (11, 1)):
        assert subprocess.run(['openssl', 'x509', '-in', tmp_path / 'server.crt', '-noout', '-checkend', str(days * 86400)],
                              capture_output=True).returncode == status


def test_nothing_is_overwritten_unless_forced_and_the_authority_never(tmp_path):
    assert run(tmp_path).returncode == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    refused = run(tmp_path)
    assert refused.returncode == 1 and 'server.crt' in refused.stderr and '--force' in refused.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert run(tmp_path, '--force').returncode == 0
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name for name in before if before[name] == after[name]} == {'ca.crt', 'ca.key'}
    shake_hands(tmp_path, 'localhost')


@pytest.mark.parametrize('words, message', [
    (('bad_name,DNS:x',), "'bad_name,DNS:x' is neither"), (('-days', 'x'), 'usage'), (('--days', '0'), '--days'),
    (('--device', 'a\nb'), '--device'), (('a..b',), "'a..b' is neither"), (('*',), "'*' is neither")])
def test_what_cannot_be_is_refused(tmp_path, words, message):
    done = run(tmp_path, *words)
    assert done.returncode and message in done.stderr and not list(tmp_path.iterdir())


def test_half_an_authority_is_refused(tmp_path):
    (tmp_path / 'ca.crt').write_text('x')
    done = run(tmp_path)
    assert done.returncode == 1 and 'both, or neither' in done.stderr
