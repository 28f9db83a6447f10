"""Password hashes: 'PBKDF2:SHA256:rounds:salt:hash', with HMAC-SHA-256 (RFC 8018 §5.2), the last two in hex.

Hashing takes long by design, so it is for a helper thread. Without OpenSSL the rounds are computed here, at half the speed.
"""

import os
import re
import time
from _operator import _compare_digest       # hmac's, without the OpenSSL that hmac loads

ROUNDS = 100_000            # about a second on a small router
LONGEST = 1024              # characters of a password


def hash_password(word, rounds=ROUNDS):
    """Return the hash of a password. Raises ValueError."""
    if not (0 < len(word) <= LONGEST and 0 < rounds < 10_000_000):
        raise ValueError(f'expected 1 to {LONGEST} characters and fewer than 10 million rounds')
    salt = os.urandom(16)
    return f'PBKDF2:SHA256:{rounds}:{salt.hex()}:{derive(word, salt, rounds).hex()}'


def verify(word, stored):
    """Tell whether the hash is of this password."""
    rounds, salt, key = split(stored)
    return _compare_digest(derive(word, salt, rounds), key)


def needs_rehash(stored, rounds=ROUNDS):
    """Tell whether a hash has fewer rounds."""
    return split(stored)[0] < rounds


def split(stored):
    """Return (rounds, salt, key) of a hash. Raises ValueError, which does not show it."""
    found = re.fullmatch('PBKDF2:SHA256:([1-9][0-9]{0,6}):([0-9a-f]{32}):([0-9a-f]{64})', str(stored))
    if not found:
        raise ValueError('expected a hash made by "python3 -m ioto.password"')
    return int(found[1]), bytes.fromhex(found[2]), bytes.fromhex(found[3])


def derive(word, salt, rounds):
    try:
        from _hashlib import pbkdf2_hmac    # hashlib's own, where there is one, holds the interpreter
    except ImportError:
        pbkdf2_hmac = pbkdf2
    return pbkdf2_hmac('sha256', word.encode('utf-8', 'surrogatepass'), salt, rounds)


def pbkdf2(name, word, salt, rounds):
    """The first block of PBKDF2; HMAC's two hashes have taken in the key, and are copied (RFC 2104)."""
    import hashlib
    start = getattr(hashlib, name)
    key = (start(word).digest() if len(word) > 64 else word).ljust(64, b'\0')
    inner, outer = [start(bytes([byte ^ pad for byte in key])).copy for pad in (0x36, 0x5c)]
    total, block = 0, salt + b'\0\0\0\1'
    for n in range(rounds):
        one, two = inner(), outer()
        one.update(block)
        two.update(one.digest())
        block = two.digest()
        total ^= int.from_bytes(block, 'big')
        if not n & 511:
            time.sleep(1e-5)        # else the scheduler's thread waits 5 ms for the interpreter
    return total.to_bytes(32, 'big')
