"""Streams over TCP and UNIX sockets: reading, writing, posting, files, closing."""

import os
import socket

import pytest

from ioto import runtime
from ioto.runtime.stream import Stream


async def pair():
    """Two connected streams."""
    a, b = socket.socketpair()
    mine = runtime.current().kernel
    for sock in (a, b):
        sock.setblocking(False)
    return Stream(mine, a), Stream(mine, b)


def with_pair(main):
    async def run():
        a, b = await pair()
        async with runtime.timeout(20):
            async with a, b:
                await main(a, b)
    runtime.run(run)


def test_read_returns_what_is_there_and_nothing_at_the_end():
    async def main(a, b):
        await a.write(b'hello')
        assert await b.read() == b'hello'
        await a.close()
        assert await b.read() == b'' and await b.read() == b''
    with_pair(main)


def test_read_takes_at_most_n():
    async def main(a, b):
        await a.write(b'hello')
        assert [await b.read(2), await b.read(2), await b.read(2)] == [b'he', b'll', b'o']
    with_pair(main)


def test_read_exactly():
    async def main(a, b):
        await a.write(b'hel')
        fiber = runtime.spawn(b.read_exactly(5))
        await runtime.sleep(0.001)
        await a.write(b'lo!')
        assert await fiber.join() == b'hello'
        await a.close()
        with pytest.raises(runtime.IncompleteRead) as caught:
            await b.read_exactly(5)
        assert caught.value.partial == b'!'
    with_pair(main)


@pytest.mark.parametrize('cut', range(1, 9))
def test_read_until_finds_a_separator_across_reads(cut):
    async def main(a, b):
        data = b'line\r\nrest'
        await a.write(data[:cut])
        fiber = runtime.spawn(b.read_until(b'\r\n', 100))
        await runtime.sleep(0.001)
        await a.write(data[cut:])
        assert await fiber.join() == b'line\r\n'
        assert await b.read_exactly(4) == b'rest'
    with_pair(main)


def test_read_until_refuses_what_is_over_the_limit_and_keeps_it():
    async def main(a, b):
        await a.write(b'0123456789\r\n')
        with pytest.raises(runtime.LimitExceeded):
            await b.read_until(b'\r\n', 5)
        assert await b.read_until(b'\r\n', 12) == b'0123456789\r\n'
    with_pair(main)


def test_a_large_write_waits_for_the_reader():
    async def main(a, b):
        data = os.urandom(3_000_000)
        fiber = runtime.spawn(a.write(data))
        await runtime.sleep(0.01)
        assert not fiber.done
        assert await b.read_exactly(len(data)) == data
        await fiber.join()
    with_pair(main)


def test_writes_of_several_fibers_stay_whole():
    async def main(a, b):
        parts = [bytes([n]) * 300_000 for n in range(5)]
        fibers = [runtime.spawn(a.write(part)) for part in parts]
        data = await b.read_exactly(1_500_000)
        for fiber in fibers:
            await fiber.join()
        assert data == b''.join(parts)
    with_pair(main)


def test_what_is_posted_in_one_turn_leaves_in_one_send():
    async def main(a, b):
        sent = []
        transmit = a.transmit

        class Spy(Stream):
            __slots__ = ()

            def transmit(self, data):
                sent.append(bytes(data))
                return transmit(data)
        a.__class__ = Spy
        a.post(b'one')
        a.post(b'two')
        assert not sent
        await runtime.sleep(0)
        assert sent == [b'onetwo']
        assert await b.read() == b'onetwo'
        a.post(b'three')
        await a.write(b'four')
        assert await b.read() == b'threefour'
    with_pair(main)


def test_posts_behind_a_slow_write_keep_their_order():
    async def main(a, b):
        big = os.urandom(2_000_000)
        a.post(big)
        await runtime.sleep(0.005)
        a.post(b'second')
        await runtime.sleep(0.005)
        a.post(b'third')
        writer = runtime.spawn(a.write(b'fourth'))
        assert await b.read_exactly(len(big) + 17) == big + b'secondthirdfourth'
        await writer.join()
        await a.drain()
        assert a.queued is None and not a.lock.locked()
    with_pair(main)


def test_posting_to_a_peer_that_has_gone_fails_at_the_next_write():
    async def main(a, b):
        await b.close()
        a.post(b'x')
        await runtime.sleep(0)
        a.post(b'y')
        await runtime.sleep(0)
        with pytest.raises(OSError):
            await a.write(b'z')
        with pytest.raises(OSError):
            await a.drain()
    with_pair(main)


def test_sendfile(tmp_path):
    data = os.urandom(2_500_000)
    path = tmp_path / 'file'
    path.write_bytes(data)

    async def main(a, b):
        with open(path, 'rb') as file:
            fiber = runtime.spawn(a.sendfile(file, 100, 2_000_000))
            assert await b.read_exactly(2_000_000) == data[100:2_000_100]
            assert await fiber.join() == 2_000_000
            assert await a.sendfile(file, 2_499_990, 100) == 10
    with_pair(main)


def test_closing_wakes_a_waiting_reader():
    async def main(a, b):
        fiber = runtime.spawn(b.read())
        await runtime.sleep(0.001)
        b.abort()
        with pytest.raises(OSError):
            await fiber.join()
        with pytest.raises(OSError):
            await b.read()
    with_pair(main)


def test_two_readers_at_once_are_refused():
    async def main(a, b):
        fiber = runtime.spawn(b.read())
        await runtime.sleep(0.001)
        with pytest.raises(RuntimeError, match='already reading'):
            await b.read()
        await a.write(b'x')
        assert await fiber.join() == b'x'
    with_pair(main)


def test_a_cancelled_read_loses_nothing():
    async def main(a, b):
        for n in range(50):
            fiber = runtime.spawn(b.read())
            await runtime.sleep(0)
            await a.write(b'%02d' % n)
            fiber.cancel()
            found = await fiber.join()
            if found is None:
                found = await b.read()
            assert found == b'%02d' % n
    with_pair(main)


def test_events_that_nobody_waits_for_do_not_spin():
    async def main(a, b):
        fiber = runtime.spawn(b.read())
        await runtime.sleep(0)
        await a.write(b'x')
        await fiber.join()
        await a.write(b'unread')
        mine = runtime.current().kernel
        polls = []
        poll = mine.poller.poll
        mine.poller.poll = lambda timeout: polls.append(timeout) or poll(timeout)
        await runtime.sleep(0.05)
        await a.close()
        await runtime.sleep(0.05)
        assert len(polls) < 10
        assert await b.read() == b'unread'
    with_pair(main)


def test_linger_gives_the_peer_the_last_bytes():
    async def main(a, b):
        await b.write(b'x' * 100_000)       # unread by a, which would reset the connection
        await a.write(b'goodbye')
        fiber = runtime.spawn(a.linger(5))
        assert await b.read() == b'goodbye'
        assert await b.read() == b''
        await b.close()
        await fiber.join()
        assert a.closed
    with_pair(main)


def test_offer_sends_at_once_and_queues_the_rest():
    async def main(a, b):
        assert a.offer(b'small') is True
        assert await b.read() == b'small'
        big = os.urandom(2_000_000)
        assert a.offer(big) is False
        assert a.offer(b'after') is False
        drained = runtime.spawn(a.drain())
        assert await b.read_exactly(len(big) + 5) == big + b'after'
        await drained.join()
        assert a.sent == len(big) + 10
    with_pair(main)


def test_closing_does_not_wait_for_ever_for_a_peer_that_does_not_read(monkeypatch):
    monkeypatch.setattr('ioto.runtime.stream.LINGER', 0.05)

    async def main(a, b):
        a.post(os.urandom(3_000_000))
        await runtime.sleep(0.01)           # a fiber of its own is sending the rest
        waiting = runtime.spawn(a.drain())
        await runtime.sleep(0)
        await a.close()
        assert a.closed
        with pytest.raises(OSError):
            await waiting.join()
    with_pair(main)


def test_a_read_interrupted_for_its_budget_loses_nothing():
    async def main(a, b):
        for n in range(200):
            await a.write(b'%03d' % n)
            found = b''
            while not found:
                try:
                    async with runtime.timeout(0):
                        found = await b.read(3)
                except TimeoutError:
                    pass
            assert found == b'%03d' % n
    with_pair(main)


def test_read_until_costs_in_proportion_and_gives_others_their_turn():
    async def main(a, b):
        ticks = []

        async def ticker():
            while True:
                ticks.append(1)
                await runtime.sleep(0)
        fiber = runtime.spawn(ticker())
        writer = runtime.spawn(a.write(b'\n' * 200_000))
        for _ in range(200_000):
            assert await b.read_until(b'\n') == b'\n'
        await writer.join()
        fiber.cancel()
        assert len(ticks) > 1000
    with_pair(main)


def test_bytes_of_one_write_stay_together_whatever_others_post():
    async def main(a, b):
        big = os.urandom(3_000_000)
        writer = runtime.spawn(a.write(big))
        await runtime.sleep(0)
        a.post(b'other')
        assert await b.read_exactly(len(big) + 5) == big + b'other'
        await writer.join()
    with_pair(main)


def test_writes_wait_behind_a_file_that_is_being_sent(tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / 'file').write_bytes(data)

    async def main(a, b):
        with open(tmp_path / 'file', 'rb') as file:
            sender = runtime.spawn(a.sendfile(file, 0, len(data)))
            await runtime.sleep(0.005)
            writer = runtime.spawn(a.write(b'behind'))
            assert await b.read_exactly(len(data) + 6) == data + b'behind'
            assert await sender.join() == len(data)
            await writer.join()
    with_pair(main)


def test_what_is_no_bytes_fails_at_the_next_write_and_hurts_nobody_else():
    async def main(a, b):
        a.post('text')
        await runtime.sleep(0)
        a.post(b'dropped')
        with pytest.raises(TypeError):
            await a.write(b'x')
    with_pair(main)


@pytest.mark.parametrize('how', ['write', 'offer and close', 'post and drain'])
def test_nothing_leaves_before_what_is_committed_at_the_end_of_the_turn(how):
    """A peer that has an answer may rely on what it says, even when the process is killed right after it."""
    class Commit:
        def send_posted(self):
            with pytest.raises(BlockingIOError):
                peer.recv(1)
            committed.append(True)

    async def main(a, b):
        nonlocal peer
        peer, kernel = b.sock, a.kernel
        kernel.posted.insert(0, Commit())
        kernel.unsaved = True
        if how == 'write':
            await a.write(b'told')
        elif how == 'offer and close':
            assert not a.offer(b'told')
            await a.close()
        else:
            a.post(b'told')
            await a.drain()
        assert committed and not kernel.unsaved and await b.read() == b'told'
    committed, peer = [], None
    with_pair(main)
