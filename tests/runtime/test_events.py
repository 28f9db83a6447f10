"""Named events: order, isolation, and watchers that change during a signal."""
import gc
import warnings

import pytest

from ioto import runtime
from ioto.runtime import events, log


@pytest.fixture(autouse=True)
def nobody_keeps_watching():
    yield
    left = dict(events._watchers)
    events._watchers.clear()
    assert all(name == 'left' for name in left), left


@pytest.fixture
def logged():
    messages = []

    def sink(_time, kind, _source, message):
        messages.append((kind, message))
    log.add_sink(sink)
    yield messages
    log.remove_sink(sink)


def watch(*functions, name='left'):
    for function in functions:
        events.watch(name, function)


def test_watchers_are_called_in_order_with_the_data():
    heard = []
    watch(lambda **data: heard.append(('first', data)), lambda **data: heard.append(('second', data)))
    events.signal('left', a=1, name='x')
    assert heard == [('first', {'a': 1, 'name': 'x'}), ('second', {'a': 1, 'name': 'x'})]


def test_names_are_apart():
    heard = []
    watch(lambda: heard.append('heard'))
    events.signal('other')
    events.signal('')
    assert heard == []


def test_a_function_watches_once_however_often_it_asks():
    heard = []
    watch(*[heard.append] * 3)
    bound = type('Watcher', (), {'hear': lambda self: heard.append('bound')})()
    watch(bound.hear, bound.hear)
    events.unwatch('left', heard.append)
    events.signal('left')
    assert heard == ['bound']


def test_nothing_is_left_when_the_last_has_gone():
    watch(print, name='temporary')
    events.unwatch('temporary', repr)
    events.unwatch('unknown', print)
    assert 'temporary' in events._watchers
    events.unwatch('temporary', print)
    assert not events._watchers


def test_an_error_is_logged_and_the_others_hear(logged):
    heard = []

    def failing(**_data):
        raise ValueError('the reason')
    watch(failing, lambda **_data: heard.append('heard'))
    events.signal('left', a=1)
    assert heard == ['heard']
    (kind, message), = logged
    assert kind == 'error' and 'left' in message and 'the reason' in message and 'in failing' in message


def test_data_that_a_watcher_does_not_take_is_its_error(logged):
    heard = []
    watch(lambda: heard.append('strict'), lambda **_data: heard.append('heard'))
    events.signal('left', unexpected=1)
    assert heard == ['heard'] and 'TypeError' in logged[0][1]


def test_who_comes_during_a_signal_hears_the_next():
    heard = []

    def first():
        heard.append('first')
        watch(late)

    def late():
        heard.append('late')
    watch(first)
    events.signal('left')
    assert heard == ['first']
    events.signal('left')
    assert heard == ['first', 'first', 'late']


def test_who_goes_during_a_signal_hears_no_more():
    heard = []

    def first():
        heard.append('first')
        events.unwatch('left', first)
        events.unwatch('left', second)

    def second():
        heard.append('second')
    watch(first, second, lambda: heard.append('third'))
    events.signal('left')
    assert heard == ['first', 'third']


def test_a_signal_within_a_signal():
    heard = []

    def outer(depth):
        heard.append(depth)
        if depth < 3:
            events.signal('left', depth=depth + 1)
    watch(outer, lambda depth: heard.append(-depth))
    events.signal('left', depth=1)
    assert heard == [1, 2, 3, -3, -2, -1]


def test_an_async_watcher_is_a_fiber_of_its_own(logged):
    heard = []

    async def slow(**data):
        await runtime.sleep(0)
        heard.append(data)

    async def failing(**_data):
        await runtime.sleep(0)
        raise ValueError('the reason')

    async def main():
        watch(failing, slow)
        events.signal('left', a=1)
        assert heard == []
        for _ in range(5):
            await runtime.sleep(0)
        assert heard == [{'a': 1}]
    runtime.run(main)
    assert len(logged) == 1 and 'left' in logged[0][1] and 'the reason' in logged[0][1]


def test_an_async_watcher_without_a_scheduler_is_an_error_in_the_log(logged):
    async def watcher():
        pass
    heard = []
    watch(watcher, lambda: heard.append('heard'))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter('always')
        events.signal('left')
        gc.collect()
    assert heard == ['heard'] and 'no scheduler' in logged[0][1] and not warned


def test_what_a_plain_watcher_returns_is_not_run(logged):
    class Stream:
        def send(self, _value):
            raise AssertionError

        def close(self):
            raise AssertionError
    watch(Stream, lambda: 1)
    events.signal('left')
    assert logged == []
