"""The command: make and check password hashes, and give them to the users in auth.json5."""

import argparse
import os
import re
import sys

from . import json5
from .http.digest import ALGORITHMS, secret
from .json5.parser import Reader, decode
from .web import passwords
from .web.users import Users


def main(arguments):
    """Return the exit status: 0, or 1 after a message; argparse exits with 2."""
    parser = argparse.ArgumentParser('python3 -m ioto.password', description='Print the hash of a password, which is asked for '
                                     'where there is a terminal and else read as a line.')
    parser.add_argument('user', nargs='?')
    parser.add_argument('role', nargs='*')
    parser.add_argument('--password', help='visible in the list of processes')
    parser.add_argument('--rounds', type=int, help=f'of PBKDF2-SHA256 (those of the file, else {passwords.ROUNDS})')
    parser.add_argument('--file', help='auth.json5, to give the user this password and these roles')
    parser.add_argument('--realm', help='for Digest authentication in this realm, too')
    parser.add_argument('--remove', action='store_true', help='take the user out of the file')
    parser.add_argument('--check', metavar='HASH', help='tell whether this is of the password')
    options = parser.parse_args(arguments)
    if not options.user and not options.check:
        parser.error('expected the name of a user')
    if options.remove and not options.file:
        parser.error('--remove expects --file')
    try:
        if options.remove:
            return change(options)
        word = ask(not options.check) if options.password is None else options.password
        if options.check:
            right = passwords.verify(word, options.check)
            print('the password matches' if right else 'the password does not match')
            return not right
        return change(options, word)
    except (EOFError, KeyboardInterrupt):
        error = 'no password'
    except OSError as why:
        error = f'{options.file}: {why.strerror}'
    except ValueError as why:
        error = why
    except AttributeError:
        error = f'{options.file}: expected objects as in auth.json5'
    print(error, file=sys.stderr)
    return 1


def ask(twice):
    """Return the password, typed without echo."""
    if not sys.stdin.isatty():
        return input()
    from getpass import getpass
    word = getpass()
    if twice and getpass('Again: ') != word:
        raise ValueError('the passwords differ')
    return word


def change(options, word=None):
    """Write the user to the file, or print what to write, and print the hash; without a password take the user away."""
    path = options.file
    new = not path or not os.path.exists(path)
    document = {} if new else json5.load(path)
    auth = document.get('auth', document)
    realm = auth.setdefault('realm', options.realm) if options.realm else auth.get('realm', 'ioto')
    if realm != (options.realm or realm):
        raise ValueError(f'the realm of {path} is {realm}')
    if word is None:
        if not auth.get('users', {}).pop(options.user, None):
            raise ValueError(f'{path} has no user {options.user}')
        return save(path, document, options.user)
    rounds = options.rounds if options.rounds is not None else Users(auth).target
    user = auth.setdefault('users', {}).setdefault(options.user, {})
    hashed = user['password'] = passwords.hash_password(word, rounds)
    if options.role:
        user['roles'] = options.role
    if options.realm or 'digest' in user:
        user['digest'] = {algorithm: secret(algorithm, options.user, realm, word) for algorithm in ALGORITHMS}
    Users(auth)
    if path:
        save(path, document, options.user)
    else:
        print(json5.render({options.user: user}, 'json5'))
    print(hashed)


def save(path, document, user):
    """Write the document; where there is a file, the rest of its text, with the comments, stays."""
    if not os.path.exists(path):
        return json5.save(path, document, mode=0o600)
    with open(path, 'rb') as file:
        text = decode(file.read())
    outer = ['auth'] if 'auth' in document else []
    auth = document.get('auth', document)
    if 'realm' in auth:
        text = edit(text, [*outer, 'realm'], auth['realm'])
    text = edit(text, [*outer, 'users', user], auth['users'].get(user))
    if json5.parse(text, relaxed=True) == document:
        json5.save(path, text, None)
    else:
        json5.save(path, document)


def edit(text, keys, value):
    """The text of an object with a value put at `keys` (an object, or where there is none so far), or None: taken away."""
    reader = Reader(text, True, {})
    found, at = reader.document(), reader.skip(0)
    for n, key in enumerate(keys):
        if key not in found:
            for inner in keys[:n:-1]:
                value = {inner: value}
            return f'{text[:at + 1]}\n{"    " * (n + 1)}{json5.render({key: value}, "json5")[1:-1]},{text[at + 1:]}'
        start = reader.places[id(found), key][0]
        at = reader.skip(reader.key({}, '}', '', start)[1])
        found = found[key]
    for brace in re.finditer('}', text) if type(found) is dict else ():
        end = brace.end()
        try:
            json5.parse(text[at:end], relaxed=True)
        except json5.Json5Error:
            continue
        if value:
            return text[:at] + json5.render(value, 'json5') + text[end:]
        comma = reader.skip(end)
        head, tail = text[:start], text[end:comma] + text[comma + (text[comma] == ','):]
        return (head.rstrip() if tail[0] == '\n' else head) + tail         # a line of its own goes with it
    return text


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
