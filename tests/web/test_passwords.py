"""PBKDF2 with and without OpenSSL, and the format of stored hashes."""

import hashlib
import os
import random
import subprocess
import sys
import threading
import time

import pytest

from ioto.web import passwords

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

VECTORS = [     # RFC 7914 §11 (its first 32 bytes), and RFC 6070's inputs with SHA-256
    ('passwd', 'salt', 1, '55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc'),
    ('Password', 'NaCl', 80000, '4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56'),
    ('password', 'salt', 1, '120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b'),
    ('password', 'salt', 2, 'ae4d0c95af6b46d32d0adff928f06dd02a303f8ef3c251dfd6e2d85a95474c43'),
    ('password', 'salt', 4096, 'c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a'),
    ('passwordPASSWORDpassword', 'saltSALTsaltSALTsaltSALTsaltSALTsalt', 4096,
     '348c89dbcbd32b2f32d814b8116e84cf2b17347ebc1800181c4e2a1fb8dd53e1'),
]


@pytest.mark.parametrize('word, salt, rounds, key', VECTORS)
def test_vectors_with_openssl_and_without(word, salt, rounds, key):
    assert passwords.derive(word, salt.encode(), rounds).hex() == key
    assert passwords.pbkdf2('sha256', word.encode(), salt.encode(), rounds).hex() == key


def test_both_ways_agree_on_words_of_any_length():
    seed = random.randrange(1 << 32)
    print('seed', seed)
    source = random.Random(seed)
    for size in (0, 1, 63, 64, 65, 127, 128, 200, 1024):
        word, salt, rounds = source.randbytes(size), source.randbytes(16), source.randrange(1, 40)
        assert passwords.pbkdf2('sha256', word, salt, rounds) == hashlib.pbkdf2_hmac('sha256', word, salt, rounds)


def test_a_hash_is_of_its_word_only():
    stored = passwords.hash_password('secret', 10)
    assert stored.startswith('PBKDF2:SHA256:10:')
    assert passwords.verify('secret', stored)
    for word in ('Secret', 'secret ', '', 'secre', 'sécret', 'x' * 5000):
        assert not passwords.verify(word, stored)


@pytest.mark.parametrize('word', ['x', 'ä€😀', 'a:b', 'x' * 1024, 'with\0nul', '\ud800'])
def test_words_of_any_characters(word):
    stored = passwords.hash_password(word, 1)
    assert passwords.verify(word, stored)
    assert not passwords.verify(word + 'x', stored)


def test_each_hash_has_a_salt_of_its_own():
    assert len({passwords.hash_password('same', 1) for _ in range(100)}) == 100


@pytest.mark.parametrize('word, rounds', [('', 10), ('x' * 1025, 10), ('x', 0), ('x', -1), ('x', 10_000_000)])
def test_refuses_what_cannot_be_used(word, rounds):
    with pytest.raises(ValueError):
        passwords.hash_password(word, rounds)


@pytest.mark.parametrize('stored', [
    '', 'secret', 'PBKDF2', 'PBKDF2:SHA256:10:00', None, 5, b'PBKDF2', f'PBKDF2:SHA1:10:{"0" * 32}:{"0" * 64}',
    f'PBKDF2:SHA256:0:{"0" * 32}:{"0" * 64}', f'PBKDF2:SHA256:10000000:{"0" * 32}:{"0" * 64}',
    f'PBKDF2:SHA256:10:{"0" * 30}:{"0" * 64}', f'PBKDF2:SHA256:10:{"0" * 32}:{"0" * 62}', f'PBKDF2:SHA256:10:{"0" * 32}:{"0" * 64}\n',
    f'PBKDF2:SHA256:10:{"g" * 32}:{"0" * 64}', f'PBKDF2:SHA256:1_0:{"0" * 32}:{"0" * 64}', f'PBKDF2:SHA256:٣:{"0" * 32}:{"0" * 64}',
])
def test_refuses_what_is_no_hash_without_showing_it(stored):
    for function in (passwords.split, passwords.needs_rehash, lambda text: passwords.verify('x', text)):
        with pytest.raises(ValueError) as caught:
            function(stored)
        assert str(caught.value) == 'expected a hash made by "python3 -m ioto.password"'


def test_needs_rehash_when_there_are_fewer_rounds():
    stored = passwords.hash_password('x', 1000)
    assert passwords.needs_rehash(stored)
    assert passwords.needs_rehash(stored, 1001)
    assert not passwords.needs_rehash(stored, 1000)
    assert not passwords.needs_rehash(stored, 999)


def test_works_on_a_board_without_openssl():
    program = '''
import sys
class Board:
    def find_spec(self, name, path=None, target=None):
        if name in ('_hashlib', '_ssl', 'ssl'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Board())
from ioto.web import passwords
assert passwords.verify(sys.argv[1], sys.argv[2]) and not passwords.verify('other', sys.argv[2])
assert '_hashlib' not in sys.modules
print(passwords.hash_password('back', 50))
'''
    result = subprocess.run([sys.executable, '-c', program, 'there', passwords.hash_password('there', 50)], cwd=TREE,
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert passwords.verify('back', result.stdout.strip())


def test_rounds_without_openssl_give_way_to_other_threads(monkeypatch):
    pauses = []
    monkeypatch.setattr(time, 'sleep', pauses.append)
    thread = threading.Thread(target=passwords.pbkdf2, args=('sha256', b'x', b'y', 5120))
    thread.start()
    thread.join()
    assert len(pauses) == 10 and all(0 < pause < 0.001 for pause in pauses)
