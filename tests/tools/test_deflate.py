"""tools/deflate.py: what zlib reads is what was written, in fewer bytes than zlib takes."""

import random
import zlib

import pytest

from tools import package
from tools.deflate import LENGTHS, code_lengths, codes, deflate, runs

NOISE = random.Random(7).randbytes(40_000)


@pytest.mark.parametrize('data', [
    b'', b'a', b'ab', b'aaa', b'a' * 259, b'a' * 3000, bytes(range(256)), bytes(range(256)) * 3, b'abc' * 500 + b'abd' * 500,
    NOISE[:5000], b'word' + NOISE[:32764] + b'word', b'word' + NOISE[:32765] + b'word', NOISE[:300] + b'\0' * 700 + NOISE[:300],
    bytes(byte % 7 for byte in NOISE[:5000])],
    ids=lambda data: f'{len(data)} bytes')
def test_zlib_reads_it(data):
    made = zlib.decompressobj(-15)
    assert made.decompress(deflate(data)) + made.flush() == data
    assert made.eof and not made.unused_data


def test_random_texts():
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    for _ in range(60):
        words = [rng.randbytes(rng.randrange(1, 9)) for _ in range(rng.randrange(1, 40))]
        data = b''.join(rng.choices(words, k=rng.randrange(200)))
        assert zlib.decompress(deflate(data), -15) == data, seed


def test_sources_are_smaller_than_zlib_makes_them():
    data = package.read_source('ioto/json5/parser.py').encode()
    writer = zlib.compressobj(9, zlib.DEFLATED, -15)
    assert len(deflate(data)) < 0.99 * len(writer.compress(data) + writer.flush())


def test_the_table_of_lengths_is_that_of_the_rfc():
    """RFC 1951 §3.2.5."""
    for length, symbol in ((3, 257), (10, 264), (11, 265), (12, 265), (13, 266), (130, 280), (131, 281), (257, 284), (258, 285)):
        assert LENGTHS[length][0] == symbol
    assert len(LENGTHS) == 259


def test_codes_are_those_of_the_rfc():
    """RFC 1951 §3.2.2, its example; here the first bit is the lowest."""
    made = codes([3, 3, 3, 3, 3, 2, 4, 4])
    assert [f'{code:0{bits}b}'[::-1] for code, bits in made] == ['010', '011', '100', '101', '110', '00', '1110', '1111']


def test_a_code_is_full_and_within_its_limit():
    fibonacci = [1, 1]
    while len(fibonacci) < 30:
        fibonacci.append(sum(fibonacci[-2:]))
    for limit in (5, 7, 15):
        bits = code_lengths(fibonacci, limit)
        assert max(bits) == limit and sum(2 ** -size for size in bits) == 1
    assert code_lengths([0, 5, 0]) == [0, 1, 0] and code_lengths([0, 0]) == [0, 0]


@pytest.mark.parametrize('bits', [[0] * 2, [0] * 10, [0] * 11, [0] * 139, [0] * 141, [5] * 3, [5] * 4, [5] * 12, [1, 0, 0, 0, 2, 2]])
def test_runs_say_the_same(bits):
    said = []
    for symbol, value, _ in runs(bits):
        if symbol < 16:
            said.append(symbol)
        else:
            said += ([said[-1]] if symbol == 16 else [0]) * (value + (11 if symbol == 18 else 3))
    assert said == bits
