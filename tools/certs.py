#!/usr/bin/env python3
"""
Make certificates for trying out TLS: an authority of your own, and what it signs.

    python3 tools/certs.py FOLDER [NAME …] [--device ID] [--days N] [--rsa] [--force]

FOLDER gets, each as NAME.crt and NAME.key in PEM form:

    ca          the authority: import ca.crt into browsers, give it to `curl --cacert` and to `tls.authority`
    server      for the web server, valid for the names and addresses given (localhost, 127.0.0.1 and ::1)
    client      for a person or program that has to show a certificate
    device      for a device, its ID as the common name

An authority that is there already signs the others, so who trusts it trusts what is made later; --force replaces the
others (renews them), never the authority. Keys are of P-256, can be read by their owner only, and have no password. It
needs the openssl program.
"""

import argparse
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile

AUTHORITY_DAYS = 3650
# What RFC 5280 §4.2 demands, and the strict checks of Python 3.13 look for.
IDENTIFIERS = 'subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n'
AUTHORITY = 'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n'
END = 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature{more}\nextendedKeyUsage={usage}\n' + IDENTIFIERS


class CertError(Exception):
    """What stands in the way; its text is for a person."""


def arguments(given):
    """The command line as options; argparse ends the program on a mistake."""
    parser = argparse.ArgumentParser(
        prog='certs.py', description='Make an authority, and server, client and device certificates.')
    parser.add_argument('folder', help='where they go; made when it is not there')
    parser.add_argument('names', nargs='*', metavar='name', default=['localhost', '127.0.0.1', '::1'],
                        help='host names (also *.example) and addresses of the server; default: localhost, 127.0.0.1, ::1')
    parser.add_argument('--device', default='device', metavar='ID', help='common name of the device certificate (device)')
    parser.add_argument('--days', type=int, default=825, help='how long they are valid (825)')
    parser.add_argument('--rsa', action='store_true', help='RSA keys of 2048 bits, for old clients')
    parser.add_argument('--force', action='store_true', help='replace certificates that are there; the authority stays')
    return parser.parse_args(given)


def openssl(*words):
    """Run the openssl program. Raises CertError with what it says."""
    try:
        done = subprocess.run(['openssl', *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError:
        raise CertError('the openssl program is not there') from None
    if done.returncode:
        raise CertError(f'openssl {words[0]}: {done.stderr.strip()}')


def alternative_names(names):
    """The subjectAltName of host names and addresses. Raises CertError."""
    found = []
    for name in names:
        if any(is_address(family, name) for family in (socket.AF_INET, socket.AF_INET6)):
            found.append('IP:' + name)
        elif re.fullmatch(r'(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*', name):
            found.append('DNS:' + name)
        else:
            raise CertError(f'{name!r} is neither a host name nor an address')
    return 'subjectAltName=' + ','.join(found) + '\n'


def is_address(family, name):
    try:
        socket.inet_pton(family, name)
    except OSError:
        return False
    return True


def make(folder, name, common_name, extensions, days, rsa=False, signer=None):
    """Make NAME.key and NAME.crt in the folder, signed by the authority in the folder `signer`, or by itself."""
    kind = ['RSA', '-pkeyopt', 'rsa_keygen_bits:2048'] if rsa else ['EC', '-pkeyopt', 'ec_paramgen_curve:P-256']
    key, certificate, request, settings = (os.path.join(folder, name + end) for end in ('.key', '.crt', '.csr', '.cnf'))
    with open(settings, 'w', encoding='utf-8') as file:
        file.write(f'[req]\nprompt=no\nutf8=yes\ndistinguished_name=subject\n[subject]\nCN={common_name}\n'
                   f'[extensions]\n{extensions}')
    openssl('genpkey', '-algorithm', *kind, '-out', key)
    os.chmod(key, 0o600)
    openssl('req', '-new', '-config', settings, '-key', key, '-out', request)
    by = ['-signkey', key]
    if signer:
        by = ['-CA', os.path.join(signer, 'ca.crt'), '-CAkey', os.path.join(signer, 'ca.key')]
    # 127 random bits: positive, and never the same twice (RFC 5280 §4.1.2.2).
    openssl('x509', '-req', '-in', request, *by, '-set_serial', hex(secrets.randbits(126) | 1 << 126), '-days', str(days),
            '-sha256', '-extfile', settings, '-extensions', 'extensions', '-out', certificate)


def make_all(options):
    """Make what the options ask for; returns the names made. Raises CertError."""
    folder, names = options.folder, alternative_names(options.names)
    if not 0 < options.days <= 36500:
        raise CertError('--days: expected 1 to 36500')
    if not re.fullmatch(r'[\w.:@ -]{1,64}', options.device):
        raise CertError('--device: expected up to 64 letters, digits and . : @ - _')
    os.makedirs(folder, exist_ok=True)
    authority = [os.path.exists(os.path.join(folder, name)) for name in ('ca.crt', 'ca.key')]
    if any(authority) and not all(authority):
        raise CertError(f'{folder} has one of ca.crt and ca.key: both, or neither, must be there')
    more = ',keyEncipherment' if options.rsa else ''
    made = {
        'server': (options.names[0][:64], END.format(more=more, usage='serverAuth') + names),
        'client': ('client', END.format(more=more, usage='clientAuth')),
        'device': (options.device, END.format(more=more, usage='clientAuth')),
    }
    there = [file for name in made for file in (name + '.crt', name + '.key') if os.path.exists(os.path.join(folder, file))]
    if there and not options.force:
        raise CertError(f'{", ".join(there)} in {folder} would be overwritten: say so with --force')
    # Made beside the folder's files and moved there last, so a server that starts or reloads meanwhile finds no half of it.
    with tempfile.TemporaryDirectory(prefix='.certs-', dir=folder) as temporary:
        signer = folder
        if not all(authority):
            make(temporary, 'ca', 'Ioto test authority ' + secrets.token_hex(4), AUTHORITY, AUTHORITY_DAYS, options.rsa)
            signer = temporary
        for name, (common_name, extensions) in made.items():
            make(temporary, name, common_name, extensions, options.days, options.rsa, signer)
        names = [*(() if all(authority) else ('ca',)), *made]
        for name in names:
            for end in ('.key', '.crt'):
                os.replace(os.path.join(temporary, name + end), os.path.join(folder, name + end))
    return names


def main(given):
    options = arguments(given)
    try:
        names = make_all(options)
    except (CertError, OSError) as error:
        print(f'certs: {error}', file=sys.stderr)
        return 1
    print(f'made in {options.folder}: {", ".join(names)}; the server is {", ".join(options.names)}')
    print("web.json5: listen: ['https://:8443'], tls: {certificate: '@certs/server.crt', key: '@certs/server.key'}")
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
