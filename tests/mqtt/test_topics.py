"""Topics and filters: MQTT 3.1.1 §4.7 by its own examples, and the tree against a matcher that tries each filter."""
import random
import sys
import tracemalloc
from itertools import product

import pytest

from ioto.mqtt.topics import Tree, check_filter, covers, decode_topic, encode_topic, matches

# §4.7.1.2, §4.7.1.3, §4.7.2, §4.7.3
STANDARD = [
    ('sport/tennis/player1/#', 'sport/tennis/player1', True),
    ('sport/tennis/player1/#', 'sport/tennis/player1/ranking', True),
    ('sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', True),
    ('sport/tennis/player1/#', 'sport/tennis/player10', False),
    ('sport/#', 'sport', True),
    ('#', 'sport/tennis', True),
    ('#', '/', True),
    ('sport/tennis/+', 'sport/tennis/player1', True),
    ('sport/tennis/+', 'sport/tennis/player2', True),
    ('sport/tennis/+', 'sport/tennis/player1/ranking', False),
    ('sport/+', 'sport', False),
    ('sport/+', 'sport/', True),
    ('+', 'finance', True),
    ('+', '/finance', False),
    ('+/+', '/finance', True),
    ('/+', '/finance', True),
    ('/+', 'finance', False),
    ('+/tennis/#', 'sport/tennis/player1', True),
    ('+/tennis/#', 'tennis/player1', False),
    ('sport/+/player1', 'sport/tennis/player1', True),
    ('sport/+/player1', 'sport/player1', False),
    ('#', '$SYS/monitor/Clients', False),
    ('+/monitor/Clients', '$SYS/monitor/Clients', False),
    ('$SYS/#', '$SYS/monitor/Clients', True),
    ('$SYS/#', '$SYS', True),
    ('$SYS/monitor/+', '$SYS/monitor/Clients', True),
    ('a/+', 'a/$b', True),
    ('ACCOUNTS', 'Accounts', False),
    ('Accounts payable', 'Accounts payable', True),
    ('/', '/', True),
    ('/', 'a', False),
    ('finance', '/finance', False),
    ('a//b', 'a/b', False),
    ('a/+/b', 'a//b', True),
]

SURROGATE = chr(0xd800)
BAD_TOPICS = [('', 'empty'), ('a/+', 'wildcard'), ('#', 'wildcard'), ('a#b', 'wildcard'), ('a\0', '0000'),
              (SURROGATE, 'surrogate'), ('é' * 32768, '65535')]
BAD_FILTERS = [('', 'empty'), ('sport/tennis#', 'own'),
               ('sport/tennis/#/ranking', 'end'), ('#/', 'end'), ('#\n', 'end'),
               ('##', 'end'), ('sport+', 'own'), ('+a/b', 'own'), ('a/b+/c', 'own'), ('a/++', 'own'), ('+#', 'own'),
               ('a\0/+', '0000'), (f'a/{SURROGATE}', 'surrogate'), ('é' * 32768, '65535')]
GOOD_FILTERS = ['+', '#', '+/tennis/#', '/', '//', '+/+', '/#', 'a b', '$SYS/#', '€/+', 'a' * 65535]


def short(value):
    return ascii(value)[1:20]


@pytest.mark.parametrize('filter, topic, expected', STANDARD)
def test_filters_match_as_the_standard_says(filter, topic, expected):
    tree = Tree()
    tree.add(filter, 1)
    assert matches(filter, topic) is expected
    assert tree.match(topic) == [1] * expected


@pytest.mark.parametrize('topic, why', BAD_TOPICS, ids=short)
def test_refuses_a_topic_to_publish_to(topic, why):
    with pytest.raises(ValueError, match=why) as caught:
        encode_topic(topic)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize('filter, why', BAD_FILTERS, ids=short)
def test_refuses_a_filter(filter, why):
    with pytest.raises(ValueError, match=why):
        check_filter(filter)


@pytest.mark.parametrize('filter', GOOD_FILTERS, ids=short)
def test_takes_a_filter(filter):
    check_filter(filter)


@pytest.mark.parametrize('data, why', [
    (b'', 'empty'), (b'a/+', 'wildcard'), (b'#', 'wildcard'), (b'a\0', '0000'), (b'\xff', 'UTF-8'),
    (b'a\xc0\xaf', 'UTF-8'), (b'\xed\xa0\x80', 'UTF-8'), (b'\xf4\x90\x80\x80', 'UTF-8')])
def test_refuses_a_received_topic(data, why):
    with pytest.raises(ValueError, match=why):
        decode_topic(data)


@pytest.mark.parametrize('topic', ['a', '/', 'Accounts payable', '€/x', '\ufeff', '$SYS/x', '\U0001f600', 'x' * 65535],
                         ids=short)
def test_topics_go_as_utf_8(topic):
    data = encode_topic(topic)
    assert data == topic.encode()
    assert decode_topic(data) == decode_topic(memoryview(data)) == topic


def naive(filter, topic):
    """§4.7 level by level."""
    filter, topic = filter.split('/'), topic.split('/')
    if topic[0].startswith('$') and filter[0] in '+#' and filter[0]:
        return False
    for n, level in enumerate(filter):
        if level == '#':
            return True
        if n >= len(topic) or level not in ('+', topic[n]):
            return False
    return len(filter) == len(topic)


def some_filter(rng):
    levels = [rng.choice(['', 'a', 'b', '$c', '+', '+']) for _ in range(rng.randint(1, 5))]
    if rng.random() < 0.3:
        levels[-1] = '#'
    return '/'.join(levels) or 'a'


def some_topic(rng):
    return '/'.join(rng.choice(['', 'a', 'b', '$c']) for _ in range(rng.randint(1, 5))) or 'a'


def test_the_tree_finds_what_a_naive_matcher_finds():
    seed = random.randrange(1 << 32)
    print('seed', seed)
    rng = random.Random(seed)
    for _ in range(30):
        tree, registered = Tree(), []
        for n in range(300):
            if registered and rng.random() < 0.3:
                tree.remove(*registered.pop(rng.randrange(len(registered))))
            else:
                registered.append((some_filter(rng), rng.choice([n, 0])))
                tree.add(*registered[-1])
            assert len(tree) == len(registered) and bool(tree) is bool(registered)
            topic = some_topic(rng)
            found, expected = tree.match(topic), [value for filter, value in registered if naive(filter, topic)]
            assert sorted(found) == sorted(expected)
            assert [value for value in found if value] == [value for value in expected if value]
        for filter, value in registered:
            tree.remove(filter, value)
        assert not tree and not tree._root and not tree._exact


@pytest.mark.parametrize('filter', ['a', 'a/+', 'b', 'b/+/#'])
def test_what_is_not_there_cannot_be_removed(filter):
    tree = Tree()
    tree.add('a', 1)
    tree.add('a/+', 1)
    with pytest.raises((KeyError, ValueError)):
        tree.remove(filter, 2)
    assert tree.match('a') == tree.match('a/b') == [1]


LEVELS = ['a', 'b', '$c']
TOPICS = ['/'.join(levels) for size in range(1, 5) for levels in product(LEVELS, repeat=size)]
FILTERS = [f'{"/".join(levels)}{end}' for size in range(1, 4) for levels in product(['a', '+', '$c'], repeat=size)
           for end in ('', '/#')] + ['#']


def test_a_filter_covers_another_when_it_matches_all_that_the_other_matches():
    sets = {filter: {topic for topic in TOPICS if naive(filter, topic)} for filter in FILTERS}
    wrong = [(one, other) for one in FILTERS for other in FILTERS
             if covers(one, other) is not (sets[other] <= sets[one])]
    assert not wrong


def calls(function, *arguments):
    """How many lines of Python a call ran."""
    count = 0

    def trace(_frame, _event, _argument):
        nonlocal count
        count += 1
        return trace
    sys.settrace(trace)
    try:
        function(*arguments)
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize('shape', ['site/{}/state', 'site/{}/+', 'site/{}/+/a/#', '{}/+/+/x', 'site/+/{}'])
def test_the_cost_of_a_match_does_not_grow_with_the_number_of_filters(shape):
    few, many = Tree(), Tree()
    for n in range(10):
        few.add(shape.format(n), n)
    for n in range(10000):
        many.add(shape.format(n), n)
    topic = shape.format(7).replace('+', 'y').replace('#', 'z')
    assert few.match(topic) == many.match(topic) == [7]
    assert calls(few.match, topic) == calls(many.match, topic) < 100


def test_the_cost_of_a_match_grows_with_the_depth():
    tree = Tree()
    for n in range(10000):
        tree.add(f'a/b/c/d/e/f/g/h/{n}/+', n)
    steps = [calls(tree.match, '/'.join('abcdefgh'[:depth])) for depth in range(1, 9)]
    assert [b - a for a, b in zip(steps, steps[1:])] == [steps[1] - steps[0]] * 7


def test_ten_thousand_filters_take_little_memory():
    filters = [f'site/{n}/+' for n in range(10000)]
    tracemalloc.start()
    try:
        tree = Tree()
        for filter in filters:
            tree.add(filter, 1)
        assert tracemalloc.get_traced_memory()[0] < 10000 * 600
    finally:
        tracemalloc.stop()
