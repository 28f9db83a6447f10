"""gzip and deflate (RFC 9110 §8.4.1, RFC 1952)."""

import gzip
import random
import zlib

import pytest

from ioto.url import ProtocolError, TooLarge
from ioto.url.coding import PIECE, decoder_of
from tests.url.support import answer, ask

DATA = b'The quick brown fox. ' * 20000
RAW = zlib.compressobj(9, zlib.DEFLATED, -15)
RAW = RAW.compress(DATA) + RAW.flush()
PACKED = gzip.compress(DATA)

GOOD = [
    ('gzip', PACKED), ('x-gzip', PACKED), ('GZIP', PACKED), ('deflate', zlib.compress(DATA)), ('deflate', RAW),
    ('gzip', gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:])), ('gzip', PACKED + bytes(100)),
    ('deflate, gzip', gzip.compress(zlib.compress(DATA))), ('gzip, deflate', zlib.compress(PACKED)),
    ('identity', DATA), ('', DATA), ('gzip, identity', PACKED)]


@pytest.mark.parametrize('coding, data', GOOD)
def test_an_answer_is_decoded(coding, data):
    assert ask(answer(200, f'Content-Encoding: {coding}', body=data)).body == DATA


def test_an_answer_may_stay_as_it_is():
    assert ask(answer(200, 'Content-Encoding: gzip', body=PACKED), decode=False).body == PACKED


def test_an_empty_body_is_no_broken_gzip():
    assert ask(answer(200, 'Content-Encoding: gzip')).body == b''


def decoded(coding, data, cut, limit=1 << 30):
    decoder = decoder_of(coding, limit)
    out = []
    for at in range(0, len(data), cut):
        decoder.feed(data[at:at + cut])
        while piece := decoder.read():
            assert len(piece) <= PIECE
            out.append(piece)
    decoder.finish()
    return b''.join(out)


@pytest.mark.parametrize('coding, data', [each for each in GOOD if each[0] not in ('', 'identity')])
@pytest.mark.parametrize('cut', [1, 7, 1000, 1 << 20])
def test_it_does_not_matter_how_the_bytes_were_cut(coding, data, cut):
    assert decoded(coding, data, cut) == DATA


def test_sizes_around_the_piece_come_out_whole():
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    for size in (PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 257):
        for data in (bytes(size), rng.randbytes(size)):
            assert decoded('gzip', gzip.compress(data), rng.randrange(1, 70000)) == data, f'seed {seed}'


@pytest.mark.parametrize('data', [PACKED[:-1], PACKED[:-8], PACKED[:100], PACKED[:5], PACKED + gzip.compress(b'x')[:-1]])
def test_what_is_cut_is_an_error(data):
    with pytest.raises(ProtocolError, match='cut'):
        ask(answer(200, 'Content-Encoding: gzip', body=data))


@pytest.mark.parametrize('coding, data', [
    ('gzip', b'no'), ('deflate', b'\xff\xff\xff'), ('gzip', PACKED[:-8] + bytes(8)), ('gzip', PACKED + b'garbage'), ('gzip', zlib.compress(DATA))])
def test_what_is_broken_is_an_error(coding, data):
    with pytest.raises(ProtocolError, match=f'no {coding}'):
        ask(answer(200, f'Content-Encoding: {coding}', body=data))


@pytest.mark.parametrize('coding, data', [('gzip', gzip.compress(b'') + bytes(200_000)), ('deflate', b'\0\0\0\xff\xff' * 40_000)])
def test_what_brings_nothing_for_ever_is_too_large(coding, data):
    with pytest.raises(TooLarge, match='compressed'):
        decoded(coding, data, 1000, 1000)


def test_the_limit_counts_what_comes_out():
    assert decoded('gzip', PACKED, 100, len(DATA)) == DATA
    with pytest.raises(TooLarge):
        decoded('gzip', PACKED, 100, len(DATA) - 1)
