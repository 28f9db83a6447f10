"""Topics and the filters that match them (MQTT 3.1.1 §4.7).

A topic is levels between slashes. In a filter, the level "+" stands for any one level, and "#" at its end for any
number of them, none included: "sport/#" matches "sport". A wildcard as the first level matches no topic that begins
with "$" (§4.7.2).

`Tree` finds what is registered for a topic. Filters without a wildcard are keys of one dictionary. The others form a
tree of dictionaries by level; the last level of a filter has a "/" appended, which no level can have, and leads to
what is registered. So a match looks at the children by name and by "+" of each node that it comes to: its cost grows
with the levels of the topic, not with the number of filters.
"""

import re

LONGEST = 65535         # bytes of UTF-8 (§4.7.3)
SHOWN = 60              # characters of a topic in an error
TEXT = ('\0', 'it has the character U+0000'), ('[\ud800-\udfff]', 'it has half of a surrogate pair')
TOPIC = ('[+#]', 'it has a wildcard, as only filters may'), *TEXT
FILTER = (('#(?s:.)', '"#" is not at its end'), ('[^/]#', '"#" is not a level of its own'),
          (r'[^/]\+|\+[^/]', '"+" is not a level of its own'), *TEXT)


def _fault(kind, text, faults):
    """The ValueError that says what is wrong with it."""
    why = next((why for pattern, why in faults if re.search(pattern, text)), f'it is longer than {LONGEST} bytes')
    short = text if len(text) <= SHOWN else text[:SHOWN] + '…'
    return ValueError(f'bad {kind} {short!r}: {why if text else "it is empty"}')


def encode_topic(topic):
    """The UTF-8 of a topic to publish to. Raises ValueError for what is none (§4.7.3, §1.5.3)."""
    try:
        data = topic.encode()
    except UnicodeEncodeError:
        data = b''
    if not data or len(data) > LONGEST or '+' in topic or '#' in topic or '\0' in topic:
        raise _fault('topic', topic, TOPIC)
    return data


def decode_topic(data):
    """The topic of a PUBLISH that was received. Raises ValueError for what is none (§3.3.2.1, §1.5.3)."""
    try:
        topic = str(data, 'utf-8')
    except UnicodeDecodeError:
        raise ValueError(f'bad topic {bytes(data[:SHOWN])!r}: it is no UTF-8') from None
    if not topic or '+' in topic or '#' in topic or '\0' in topic:
        raise _fault('topic', topic, TOPIC)
    return topic


def check_filter(filter):
    """Raise ValueError for a topic filter that nobody may subscribe to (§4.7.1)."""
    size = len(filter.encode(errors='replace'))
    if not 0 < size <= LONGEST or any(re.search(pattern, filter) for pattern, _ in FILTER):
        raise _fault('topic filter', filter, FILTER)


def covers(filter, other):
    """Whether a filter matches each topic that the filter `other` matches."""
    if filter == other:
        return True
    ours, theirs = filter.split('/'), other.split('/')
    if other[0] == '$' and ours[0] in ('+', '#'):
        return False
    if ours[-1] == '#':
        del ours[-1]
        if theirs[-1] == '#':
            del theirs[-1]
            theirs += ['+'] * (not theirs)          # "#" matches no topic without a level
        del theirs[len(ours):]
    elif theirs[-1] == '#':
        return False
    return len(ours) == len(theirs) and all(a == b or a == '+' for a, b in zip(ours, theirs))


def matches(filter, topic):
    """Whether a filter matches a topic."""
    return covers(filter, topic)                    # a topic is a filter that matches itself alone


class Tree:
    """Values by topic filters, which have been checked; its length is the number of values."""

    def __init__(self):
        self._exact = {}            # {filter without wildcard: order and value, order and value, …}
        self._root = {}
        self._size = self._added = 0

    def __len__(self):
        return self._size

    def add(self, filter, value):
        """Register a value, which may be there already."""
        node, key = self._exact, filter
        if '+' in filter or '#' in filter:
            *levels, key = f'{filter}/'.split('/', filter.count('/'))
            node = self._root
            for level in levels:
                node = node.setdefault(level, {})
        self._added += 1
        self._size += 1
        node.setdefault(key, []).extend((self._added, value))

    def remove(self, filter, value):
        """Take one registration of a value back. Raises KeyError or ValueError when there is none."""
        path = [(self._exact, filter)]
        if '+' in filter or '#' in filter:
            node, path = self._root, []
            for level in f'{filter}/'.split('/', filter.count('/')):
                path.append((node, level))
                node = node[level]
        node, key = path[-1]
        found = node[key]
        at = 2 * found[1::2].index(value)
        del found[at:at + 2]
        self._size -= 1
        while path and not path[-1][0][path[-1][1]]:
            node, key = path.pop()
            del node[key]

    def match(self, topic):
        """The values of all filters that match a topic, in the order of `add`."""
        found = self._exact.get(topic, ())
        if self._root:
            more = self._search(topic)
            if more:
                more.append(found)
                pairs = [(values[at], values[at + 1]) for values in more for at in range(0, len(values), 2)]
                pairs.sort(key=_order)
                return [value for _, value in pairs]
        return list(found[1::2])

    def _search(self, topic):
        """What the filters with wildcards that match a topic lead to."""
        *levels, last = topic.split('/')
        nodes, found = [self._root], []
        plain = topic[0] == '$'                     # no wildcard may stand for the first level
        for level in levels:
            after = []
            for node in nodes:
                for key in (level,) if plain else (level, '+'):
                    if key in node:
                        after.append(node[key])
                if '#/' in node and not plain:
                    found.append(node['#/'])
            nodes, plain = after, False
        for node in nodes:
            for key in (last,) if plain else (last, '+'):
                if key in node and '#/' in node[key]:
                    found.append(node[key]['#/'])
            for key in (f'{last}/',) if plain else (f'{last}/', '+/', '#/'):
                if key in node:
                    found.append(node[key])
        return found


def _order(pair):
    return pair[0]
