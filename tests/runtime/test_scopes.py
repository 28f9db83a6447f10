"""Time-outs inside time-outs, cancellation, and groups."""

import time

import pytest

from ioto import runtime


def run(main):
    return runtime.run(main)


def test_timeout_raises_timeout_error():
    async def main():
        with pytest.raises(TimeoutError):
            async with runtime.timeout(0.01):
                await runtime.sleep(100)
    run(main)


def test_timeout_that_does_not_expire_changes_nothing():
    async def main():
        async with runtime.timeout(100) as scope:
            await runtime.sleep(0)
        assert not scope.expired
        await runtime.sleep(0.01)
    run(main)


@pytest.mark.parametrize('seconds', [None, float('inf')])
def test_no_limit(seconds):
    async def main():
        async with runtime.timeout(seconds):
            await runtime.sleep(0.001)
    run(main)


def test_zero_expires_at_the_first_await_that_waits():
    async def main():
        with pytest.raises(TimeoutError):
            async with runtime.timeout(0):
                await runtime.sleep(10)
    run(main)


def test_the_inner_timeout_is_charged_to_the_inner():
    async def main():
        async with runtime.timeout(100) as outer:
            with pytest.raises(TimeoutError):
                async with runtime.timeout(0.01) as inner:
                    await runtime.sleep(50)
            assert inner.expired and not outer.expired
            await runtime.sleep(0.001)
    run(main)


def test_the_outer_timeout_passes_through_the_inner():
    async def main():
        with pytest.raises(TimeoutError):
            async with runtime.timeout(0.01) as outer:
                try:
                    async with runtime.timeout(100) as inner:
                        await runtime.sleep(50)
                except TimeoutError:
                    pytest.fail('charged to the inner')
        assert outer.expired and not inner.expired
    run(main)


def test_both_expire_in_one_turn_the_outer_wins():
    async def main():
        with pytest.raises(TimeoutError):
            async with runtime.timeout(0.01) as outer:
                try:
                    async with runtime.timeout(0.01):
                        time.sleep(0.03)                # both are due at the next await
                        await runtime.sleep(50)
                except TimeoutError:
                    pass
                await runtime.sleep(50)
        assert outer.expired
    run(main)


def test_the_outer_that_expires_while_the_inner_unwinds_is_not_lost():
    async def main():
        with pytest.raises(TimeoutError):
            async with runtime.timeout(0.03) as outer:
                try:
                    async with runtime.timeout(0.01):
                        try:
                            await runtime.sleep(50)
                        finally:
                            await runtime.sleep(0.06)
                except TimeoutError:
                    pytest.fail('the outer was due')
        assert outer.expired
    run(main)


def test_a_limit_on_the_clean_up_of_a_cancelled_fiber_holds():
    seen = []

    async def worker():
        try:
            await runtime.sleep(100)
        finally:
            try:
                async with runtime.timeout(0.01):
                    await runtime.sleep(100)
            except TimeoutError:
                seen.append('gave up')

    async def main():
        fiber = runtime.spawn(worker())
        await runtime.sleep(0)
        fiber.cancel()
        await fiber.join()
        assert fiber.cancelled
    run(main)
    assert seen == ['gave up']


def test_cancellation_is_not_taken_for_a_timeout():
    async def worker():
        async with runtime.timeout(100):
            await runtime.sleep(50)

    async def main():
        fiber = runtime.spawn(worker())
        await runtime.sleep(0)
        fiber.cancel()
        assert await fiber.join() is None and fiber.cancelled
    run(main)


def test_an_error_of_the_body_passes():
    async def main():
        with pytest.raises(ValueError):
            async with runtime.timeout(10):
                raise ValueError
    run(main)


def test_group_waits_for_all():
    done = []

    async def worker(n):
        await runtime.sleep(0.001 * n)
        done.append(n)

    async def main():
        async with runtime.TaskGroup() as group:
            for n in (3, 1, 2):
                group.spawn(worker(n))
        assert done == [1, 2, 3]
    run(main)


def test_the_first_error_cancels_the_rest_and_is_raised():
    ended = []

    async def failing():
        await runtime.sleep(0.01)
        raise ValueError('first')

    async def patient():
        try:
            await runtime.sleep(100)
        finally:
            ended.append('patient')

    async def main():
        with pytest.raises(ValueError, match='first'):
            async with runtime.TaskGroup() as group:
                group.spawn(failing())
                group.spawn(patient())
                await runtime.sleep(100)
        assert ended == ['patient']
    run(main)


def test_an_error_of_the_body_cancels_the_fibers():
    ended = []

    async def patient():
        try:
            await runtime.sleep(100)
        finally:
            await runtime.sleep(0)
            ended.append('patient')

    async def main():
        with pytest.raises(KeyError):
            async with runtime.TaskGroup() as group:
                group.spawn(patient())
                await runtime.sleep(0)
                raise KeyError
        assert ended == ['patient']
    run(main)


def test_cancelling_the_parent_cancels_the_group_and_waits_for_it():
    ended = []

    async def patient():
        try:
            await runtime.sleep(100)
        finally:
            await runtime.sleep(0.005)
            ended.append('patient')

    async def parent():
        async with runtime.TaskGroup() as group:
            group.spawn(patient())

    async def main():
        fiber = runtime.spawn(parent())
        await runtime.sleep(0.001)
        fiber.cancel()
        await fiber.join()
        assert fiber.cancelled and ended == ['patient']
    run(main)


def test_a_timeout_around_a_group():
    async def main():
        with pytest.raises(TimeoutError):
            async with runtime.timeout(0.01):
                async with runtime.TaskGroup() as group:
                    group.spawn(runtime.sleep(100))
                    group.spawn(runtime.sleep(100))
    run(main)


def test_a_group_that_has_ended_takes_no_more():
    async def main():
        async with runtime.TaskGroup() as group:
            pass
        with pytest.raises(RuntimeError):
            group.spawn(runtime.sleep(0))
    run(main)


def test_a_fiber_of_the_group_may_spawn_into_it():
    done = []

    async def main():
        async with runtime.TaskGroup() as group:
            async def child():
                done.append('child')

            async def parent():
                await runtime.sleep(0.001)
                group.spawn(child())
            group.spawn(parent())
        assert done == ['child']
    run(main)
