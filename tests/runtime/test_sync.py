"""Event, Lock, Semaphore, Queue, and threads: what they promise, also under cancellation."""

import threading
import time

import pytest

from ioto import runtime


def run(main):
    return runtime.run(main)


def test_event_lets_all_go_on():
    async def main():
        event, done = runtime.Event(), []

        async def waiter(n):
            assert await event.wait() is True
            done.append(n)
        fibers = [runtime.spawn(waiter(n)) for n in range(3)]
        await runtime.sleep(0)
        assert not done and not event.is_set()
        event.set()
        event.clear()
        for fiber in fibers:
            await fiber.join()
        assert sorted(done) == [0, 1, 2] and not event.is_set()
    run(main)


def test_lock_is_held_by_one_and_served_in_order():
    async def main():
        lock, order = runtime.Lock(), []

        async def worker(n):
            async with lock:
                order.append(n)
                await runtime.sleep(0.001)
                order.append(n)
        async with runtime.TaskGroup() as group:
            for n in range(4):
                group.spawn(worker(n))
        assert order == [0, 0, 1, 1, 2, 2, 3, 3] and not lock.locked()
    run(main)


def test_lock_that_is_free_cannot_be_released():
    with pytest.raises(RuntimeError):
        runtime.Lock().release()


def test_a_cancelled_waiter_passes_the_lock_on():
    async def main():
        lock = runtime.Lock()
        await lock.acquire()
        first = runtime.spawn(lock.acquire())
        second = runtime.spawn(lock.acquire())
        await runtime.sleep(0)
        lock.release()              # first is served ...
        first.cancel()              # ... and cancelled before it runs
        await first.join()
        async with runtime.timeout(1):
            assert await second.join() is True
    run(main)


def test_semaphore_counts():
    async def main():
        semaphore, running, most = runtime.Semaphore(2), [], []

        async def worker():
            async with semaphore:
                running.append(1)
                most.append(len(running))
                await runtime.sleep(0.001)
                running.pop()
        async with runtime.TaskGroup() as group:
            for _ in range(7):
                group.spawn(worker())
        assert max(most) == 2
    run(main)


def test_queue_keeps_order_and_bounds():
    async def main():
        queue, got = runtime.Queue(2), []

        async def producer():
            for n in range(20):
                await queue.put(n)
                assert queue.qsize() <= 2

        async def consumer():
            for _ in range(20):
                got.append(await queue.get())
                await runtime.sleep(0)
        async with runtime.TaskGroup() as group:
            group.spawn(producer())
            group.spawn(consumer())
        assert got == list(range(20)) and queue.empty()
    run(main)


def test_queue_nowait():
    async def main():
        queue = runtime.Queue(1)
        with pytest.raises(runtime.QueueEmpty):
            queue.get_nowait()
        queue.put_nowait(1)
        assert queue.full()
        with pytest.raises(runtime.QueueFull):
            queue.put_nowait(2)
        assert queue.get_nowait() == 1
    run(main)


def test_queue_join_waits_for_task_done():
    async def main():
        queue, done = runtime.Queue(), []
        for n in range(3):
            await queue.put(n)

        async def worker():
            for _ in range(3):
                item = await queue.get()
                await runtime.sleep(0.001)
                done.append(item)
                queue.task_done()
        fiber = runtime.spawn(worker())
        await queue.join()
        assert done == [0, 1, 2]
        await fiber.join()
        with pytest.raises(ValueError):
            queue.task_done()
    run(main)


def test_an_item_promised_to_a_cancelled_getter_goes_to_the_next():
    async def main():
        queue = runtime.Queue()
        first, second = runtime.spawn(queue.get()), runtime.spawn(queue.get())
        await runtime.sleep(0)
        await queue.put('item')
        first.cancel()
        async with runtime.timeout(1):
            assert await second.join() == 'item'
        assert queue.empty()
    run(main)


def test_a_place_promised_to_a_cancelled_putter_goes_to_the_next():
    async def main():
        queue = runtime.Queue(1)
        await queue.put(0)
        first, second = runtime.spawn(queue.put(1)), runtime.spawn(queue.put(2))
        await runtime.sleep(0)
        assert await queue.get() == 0
        first.cancel()
        async with runtime.timeout(1):
            await second.join()
            assert await queue.get() == 2
    run(main)


def test_queue_under_random_cancellation_loses_and_repeats_nothing():
    import random
    seed = random.randrange(1 << 30)
    print('seed', seed)
    dice = random.Random(seed)

    async def main():
        queue, got, put = runtime.Queue(3), [], []

        async def producer(n):
            await queue.put(n)
            put.append(n)

        async def consumer():
            item = await queue.get()
            got.append(item)
        fibers = []
        for n in range(600):
            fibers.append(runtime.spawn(producer(n) if dice.random() < 0.5 else consumer()))
            if dice.random() < 0.3:
                dice.choice(fibers).cancel()
            if dice.random() < 0.4:
                await runtime.sleep(0)
        for _ in range(20):
            await runtime.sleep(0)
        for fiber in fibers:
            fiber.cancel()
        for fiber in fibers:
            await fiber.join()
        while not queue.empty():
            got.append(queue.get_nowait())
        assert sorted(got) == sorted(put) and queue.qsize() == 0
    run(main)


def test_to_thread_returns_raises_and_lets_others_run():
    async def main():
        ticks = []

        async def ticker():
            while True:
                ticks.append(1)
                await runtime.sleep(0.001)
        fiber = runtime.spawn(ticker())
        assert await runtime.to_thread(lambda a: (time.sleep(0.05), a)[1], 5) == 5
        assert len(ticks) > 3
        with pytest.raises(ZeroDivisionError):
            await runtime.to_thread(lambda: 1 / 0)
        assert await runtime.to_thread(threading.current_thread) is not threading.main_thread()
        fiber.cancel()
    run(main)


def test_more_jobs_than_threads_all_get_done():
    async def main():
        async def job(n):
            return await runtime.to_thread(lambda: (time.sleep(0.002), n)[1])
        fibers = [runtime.spawn(job(n)) for n in range(100)]
        assert [await fiber.join() for fiber in fibers] == list(range(100))
    run(main)


def test_a_cancelled_wait_for_a_thread_drops_its_result():
    async def main():
        release = threading.Event()
        fiber = runtime.spawn(runtime.to_thread(release.wait, 5))
        await runtime.sleep(0.01)
        fiber.cancel()
        assert await fiber.join() is None
        release.set()
        assert await runtime.to_thread(lambda: 1) == 1
    run(main)
