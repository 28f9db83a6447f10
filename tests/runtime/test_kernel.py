"""Fibers, the scheduler's turns, timers and POSIX signals."""

import os
import signal
import threading
import time

import pytest

from ioto import runtime
from ioto.runtime import kernel as kernel_module
from ioto.runtime.timers import Deadline


def test_run_returns_what_main_returns():
    async def main(a, b):
        return a + b
    assert runtime.run(main, 2, 3) == 5


def test_run_raises_what_main_raises():
    async def main():
        raise KeyError('x')
    with pytest.raises(KeyError):
        runtime.run(main)


def test_spawn_outside_a_scheduler_says_so():
    async def nothing():
        pass
    coro = nothing()
    with pytest.raises(RuntimeError, match='runtime.run'):
        runtime.spawn(coro)
    coro.close()


def test_a_second_scheduler_in_one_thread_is_refused():
    async def inner():
        pass

    async def main():
        with pytest.raises(RuntimeError, match='already runs'):
            runtime.run(inner)
    runtime.run(main)


def test_two_threads_may_each_run_one():
    async def main(value):
        await runtime.sleep(0.01)
        return value
    found = []
    thread = threading.Thread(target=lambda: found.append(runtime.run(main, 2)))
    thread.start()
    found.append(runtime.run(main, 1))
    thread.join()
    assert sorted(found) == [1, 2]


def test_join_returns_the_result_and_raises_the_error():
    async def good():
        await runtime.sleep(0)
        return 7

    async def bad():
        await runtime.sleep(0)
        raise ValueError('no')

    async def main():
        assert await runtime.spawn(good()).join() == 7
        with pytest.raises(ValueError):
            await runtime.spawn(bad()).join()
    runtime.run(main)


def test_join_of_a_cancelled_fiber_returns_none():
    async def main():
        fiber = runtime.spawn(runtime.sleep(100))
        await runtime.sleep(0)
        fiber.cancel()
        assert await fiber.join() is None
        assert fiber.cancelled and fiber.done
    runtime.run(main)


def test_a_fiber_cancelled_before_it_ran_ends():
    async def main():
        fiber = runtime.spawn(runtime.sleep(100))
        fiber.cancel()
        assert await fiber.join() is None
    runtime.run(main)


def test_finally_may_await_after_cancellation():
    seen = []

    async def worker():
        try:
            await runtime.sleep(100)
        finally:
            await runtime.sleep(0.001)
            seen.append('cleaned')

    async def main():
        fiber = runtime.spawn(worker())
        await runtime.sleep(0)
        fiber.cancel()
        await fiber.join()
    runtime.run(main)
    assert seen == ['cleaned']


def test_fibers_left_at_the_end_are_cancelled_and_cleaned_up():
    seen = []

    async def worker():
        try:
            await runtime.sleep(100)
        finally:
            await runtime.sleep(0)
            seen.append('cleaned')

    async def main():
        runtime.spawn(worker())
        await runtime.sleep(0)
    runtime.run(main)
    assert seen == ['cleaned']


def test_an_error_that_nobody_joins_is_logged_with_name_and_traceback_and_kills_nothing():
    heard = []

    def sink(_time, kind, source, message):
        heard.append((kind, message))

    async def failing():
        raise ValueError('the reason')

    async def main():
        runtime.spawn(failing(), 'the-fiber')
        await runtime.sleep(0.01)
        return 'alive'
    runtime.log.add_sink(sink)
    try:
        assert runtime.run(main) == 'alive'
    finally:
        runtime.log.remove_sink(sink)
    text = '\n'.join(message for _, message in heard)
    assert 'the-fiber' in text and 'the reason' in text and 'failing' in text


def test_awaiting_something_foreign_is_an_error_not_a_hang():
    class Foreign:
        def __await__(self):
            yield self

    async def main():
        await Foreign()
    with pytest.raises(RuntimeError, match='not of this runtime'):
        runtime.run(main)


def test_a_fiber_that_is_always_ready_gives_others_their_turn():
    counts = {'busy': 0, 'other': 0}

    async def busy(event):
        while counts['other'] < 3:
            await event.wait()
            counts['busy'] += 1

    async def other():
        for _ in range(3):
            await runtime.sleep(0)
            counts['other'] += 1

    async def main():
        event = runtime.Event()
        event.set()
        async with runtime.TaskGroup() as group:
            group.spawn(busy(event))
            group.spawn(other())
    runtime.run(main)
    assert counts['other'] == 3 and counts['busy'] < 1000


def test_sleep_lasts_at_least_as_long_as_asked_and_in_order():
    order = []

    async def sleeper(seconds):
        begin = time.monotonic()
        await runtime.sleep(seconds)
        assert time.monotonic() - begin >= seconds
        order.append(seconds)

    async def main():
        async with runtime.TaskGroup() as group:
            for seconds in (0.03, 0.01, 0.02):
                group.spawn(sleeper(seconds))
    runtime.run(main)
    assert order == [0.01, 0.02, 0.03]


def test_cancelled_timers_do_not_pile_up():
    async def main():
        mine = runtime.current().kernel
        for _ in range(10000):
            async with runtime.timeout(1000):
                pass
        assert len(mine.timers) < 300
    runtime.run(main)


def test_moving_a_deadline_later_makes_no_timer():
    async def main():
        mine = runtime.current().kernel
        fired = []
        deadline = Deadline(mine, lambda: fired.append(time.monotonic()))
        begin = time.monotonic()
        deadline.set(begin + 0.01)
        made = mine.timer_count
        for n in range(1000):
            deadline.when = begin + 0.03
        assert mine.timer_count == made
        await runtime.sleep(0.06)
        assert len(fired) == 1 and fired[0] >= begin + 0.03
        deadline.set(time.monotonic() + 100)
        deadline.set(time.monotonic() + 0.001)
        await runtime.sleep(0.01)
        assert len(fired) == 2
    runtime.run(main)


def test_a_posix_signal_calls_its_function_and_the_old_handler_comes_back():
    before = signal.getsignal(signal.SIGUSR1)

    async def main():
        event = runtime.Event()
        runtime.on_signal(signal.SIGUSR1, event.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        async with runtime.timeout(5):
            await event.wait()
    runtime.run(main)
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_posix_signal_may_start_an_async_function():
    async def main():
        event = runtime.Event()

        async def handler():
            event.set()
        runtime.on_signal(signal.SIGUSR1, handler)
        os.kill(os.getpid(), signal.SIGUSR1)
        async with runtime.timeout(5):
            await event.wait()
    runtime.run(main)


def test_sigint_cancels_main_and_raises_keyboard_interrupt():
    seen = []

    async def main():
        threading.Timer(0.02, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            await runtime.sleep(100)
        finally:
            seen.append('cleaned')
    with pytest.raises(KeyboardInterrupt):
        runtime.run(main)
    assert seen == ['cleaned']


def test_system_exit_in_a_fiber_ends_the_run():
    async def leave():
        raise SystemExit(3)

    async def main():
        runtime.spawn(leave())
        await runtime.sleep(100)
    with pytest.raises(SystemExit):
        runtime.run(main)


def test_an_idle_scheduler_does_not_wake_up():
    async def main():
        mine = runtime.current().kernel
        polls = []
        poll = mine.poller.poll
        mine.poller.poll = lambda timeout: polls.append(timeout) or poll(timeout)
        await runtime.sleep(0.2)
        return len(polls)
    turns = runtime.run(main)
    assert turns <= 3


def test_the_fallback_without_epoll_works(monkeypatch):
    monkeypatch.setattr(kernel_module.Poller, '__init__', _without_epoll)
    import socket

    async def main():
        async def echo(stream):
            await stream.write(await stream.read())
        server = await runtime.listen('127.0.0.1:0', echo)
        stream = await runtime.connect('127.0.0.1', server.port)
        await stream.write(b'hello')
        assert await stream.read() == b'hello'
        await stream.close()
        await server.close()
    assert socket
    runtime.run(main)


def _without_epoll(self):
    import selectors
    self.selector = selectors.PollSelector()
    self.register, self.modify, self.unregister = self.selector.register, self.selector.modify, self.selector.unregister
    self.epoll = None


def test_a_timer_weeks_away_is_no_error():
    async def main():
        fiber = runtime.spawn(runtime.sleep(60 * 86400))
        await runtime.sleep(0.01)
        assert not fiber.done
    runtime.run(main)


def test_a_fiber_spawned_while_the_run_ends_is_cancelled_too():
    async def stubborn():
        try:
            await runtime.sleep(100)
        finally:
            runtime.spawn(runtime.sleep(100))

    async def main():
        runtime.spawn(stubborn())
        await runtime.sleep(0)
    begin = time.monotonic()
    runtime.run(main)
    assert time.monotonic() - begin < 5


def test_what_is_no_coroutine_is_refused_and_leaves_nothing_behind():
    with pytest.raises(TypeError, match='expects a coroutine'):
        runtime.run(lambda: None)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_wake_up_descriptor_is_given_back_with_the_last_handler():
    async def main():
        runtime.on_signal(signal.SIGINT, None)
        assert signal.set_wakeup_fd(-1) == -1
    runtime.run(main)


def test_what_can_be_awaited_can_be_spawned():
    class Later:
        def __await__(self):
            yield from runtime.sleep(0).__await__()
            return 'done'

    async def main():
        assert await runtime.spawn(Later(), 'later').join() == 'done'
        with pytest.raises(TypeError, match='expects a coroutine'):
            runtime.spawn(5)
    runtime.run(main)
