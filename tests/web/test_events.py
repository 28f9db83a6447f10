"""Server-sent events: the stream's form, its head, clients that go away, come again or read slowly, and many of them."""

import pytest

from ioto import runtime
from ioto.web import Disconnected
from tests.web.opened import serve, slow_client, until
from tests.web.support import connect

GET = b'GET / HTTP/1.1\r\nHost: test\r\n\r\n'


class News:
    """An action whose clients wait for what `publish` sends; `.gone` counts those that have gone."""

    def __init__(self):
        self.channels, self.gone = [], 0

    async def __call__(self, web):
        channel = await web.events()
        self.channels.append(channel)
        try:
            await channel.wait()
        finally:
            self.channels.remove(channel)
            self.gone += 1

    async def publish(self, *event):
        dropped = []
        for channel in list(self.channels):
            try:
                await channel.send(*event)
            except Disconnected:
                dropped.append(channel)
        return dropped


@pytest.fixture
def news():
    return News()


def run(main, action, config=None):
    return serve(main, config, {'/': action})


async def listen(client, news, request=GET):
    """Ask for the events; the head, once the action waits."""
    before = len(news.channels)
    await client.stream.write(request)
    head = await client.stream.read_until(b'\r\n\r\n')
    await until(lambda: len(news.channels) > before, 'the action waits')
    return head


async def read_chunk(stream):
    size = int(await stream.read_until(b'\r\n'), 16)
    data = await stream.read_exactly(size + 2)
    return data[:-2].decode()


@pytest.mark.parametrize('sent, text', [
    (('plain',), 'data: plain\n\n'),
    (('',), 'data: \n\n'),
    (('one\ntwo',), 'data: one\ndata: two\n\n'),
    (('one\rtwo\r\nthree\n',), 'data: one\ndata: two\ndata: three\ndata: \n\n'),
    (('a\u2028b\x85c\x0bd',), 'data: a\u2028b\x85c\x0bd\n\n'),
    (({'a': [1, None]},), 'data: {"a":[1,null]}\n\n'),
    ((7, 'count', 5), 'id: 5\nevent: count\ndata: 7\n\n'),
    (('x', None, ''), 'id: \ndata: x\n\n'),
    (('ä', 'ö', 'ü'), 'id: ü\nevent: ö\ndata: ä\n\n'),
])
def test_an_event_as_it_is_sent(sent, text, news):
    async def main(client, server):
        await listen(client, news)
        assert await news.publish(*sent) == []
        assert await read_chunk(client.stream) == text
    run(main, news)


@pytest.mark.parametrize('name', ['event', 'id'])
@pytest.mark.parametrize('value', ['a\nb', 'a\rb', 'a\0b', '\n'])
def test_refuses_names_that_would_be_lines_of_their_own(name, value, news):
    async def main(client, server):
        await listen(client, news)
        with pytest.raises(ValueError, match=name):
            await news.channels[0].send('x', **{name: value})
    run(main, news)


def test_the_head_of_the_stream(news):
    async def main(client, server):
        head = (await listen(client, news)).decode()
        assert head.startswith('HTTP/1.1 200 OK\r\n')
        for field in ('Content-Type: text/event-stream', 'Cache-Control: no-store', 'X-Accel-Buffering: no',
                      'Transfer-Encoding: chunked', 'Connection: close', 'X-Content-Type-Options: nosniff'):
            assert f'\r\n{field}\r\n' in head
        assert head.count('Cache-Control') == 1
    run(main, news, {'routes': [{'cache': '1 day'}]})


def test_http_1_0_gets_a_stream_that_ends_with_the_connection():
    async def action(web):
        channel = await web.events(retry=1.5)
        await channel.send('only')

    async def main(client, server):
        await client.stream.write(b'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
        head = await client.stream.read_until(b'\r\n\r\n')
        assert b'chunked' not in head and b'keep-alive' not in head
        data = b''
        while more := await client.stream.read():
            data += more
        assert data == b'retry: 1500\n\ndata: only\n\n'
    run(main, action)


def test_head_gets_the_head_alone(news):
    async def main(client, server):
        answer = await client.ask('HEAD /')
        assert answer.status == 200 and answer.fields['content-type'] == 'text/event-stream'
        assert await client.closed()
    run(main, news)
    assert not news.gone


@pytest.mark.parametrize('ends', ['returns', 'closes', 'raises'])
def test_the_end_of_the_action_ends_the_stream(ends):
    async def action(web):
        channel = await web.events()
        await channel.send('last')
        if ends == 'closes':
            channel.close()
            assert channel.closed
            await channel.wait()
            with pytest.raises(Disconnected):
                await channel.send('later')
            channel.close()
        if ends == 'raises':
            raise ValueError('mine')
        return {'not': 'sent'}

    async def main(client, server):
        await client.stream.write(GET)
        await client.stream.read_until(b'\r\n\r\n')
        assert await read_chunk(client.stream) == 'data: last\n\n'
        assert await client.stream.read() == (b'0\r\n\r\n' if ends != 'raises' else b'')
    run(main, action)


def test_events_of_one_turn_leave_in_one_write(news, monkeypatch):
    async def main(client, server):
        await listen(client, news)
        sends = []
        stream = news.channels[0].stream
        transmit = type(stream).transmit
        monkeypatch.setattr(type(stream), 'transmit', lambda self, data: (sends.append(self), transmit(self, data))[1])
        for n in range(20):
            await news.publish(n)
        for n in range(20):
            assert await read_chunk(client.stream) == f'data: {n}\n\n'
        assert sends == [stream]
    run(main, news)


# Clients that go away and come again

@pytest.mark.parametrize('leave', ['half close', 'close', 'reset'])
def test_a_client_that_goes_is_noticed_without_a_send(leave, news):
    async def main(client, server):
        await listen(client, news)
        channel = news.channels[0]
        if leave == 'half close':
            client.stream.shutdown()
        elif leave == 'close':
            await client.stream.close()
        else:
            client.stream.sock.setsockopt(1, 13, b'\1\0\0\0\0\0\0\0')        # SO_LINGER of 0 s: a reset
            client.stream.abort()
        await until(lambda: news.gone, 'the client is gone')
        assert channel.closed
        with pytest.raises(Disconnected):
            await channel.send('x')
    run(main, news)


def test_an_action_that_only_sends_notices_as_well(monkeypatch):
    monkeypatch.setattr('ioto.web.outlet.LOOK', 0.02)

    async def action(web):
        channel = await web.events()
        with pytest.raises(Disconnected):
            while True:
                await channel.send('tick')
                await runtime.sleep(0.01)
        ended.append(channel.closed)

    async def main(client, server):
        await client.stream.write(GET)
        await client.stream.read_until(b'tick')
        client.stream.shutdown()
        await until(lambda: ended, 'the action ends')
    ended = []
    run(main, action)
    assert ended == [True]


def test_what_a_listening_client_says_is_dropped(news):
    async def main(client, server):
        await listen(client, news, GET + GET)
        await client.stream.write(b'x' * 200_000)
        await news.publish('x')
        assert await read_chunk(client.stream) == 'data: x\n\n'
        assert len(news.channels) == 1
    run(main, news)


@pytest.mark.parametrize('field, found', [(b'', ''), (b'Last-Event-ID: 17\r\n', '17'), ('Last-Event-ID: ä\r\n'.encode(), 'ä')])
def test_a_client_that_comes_again_says_what_it_saw(field, found, news):
    async def main(client, server):
        await listen(client, news, GET[:-2] + field + b'\r\n')
        assert news.channels[0].last_id == found
    run(main, news)


def test_a_comment_shows_that_the_stream_lives_when_nothing_else_does(news):
    async def main(client, server):
        await listen(client, news)
        for _ in range(3):
            assert await read_chunk(client.stream) == ':\n\n'
        for _ in range(4):
            await runtime.sleep(0.05)
            await news.publish('x')
            assert await read_chunk(client.stream) == 'data: x\n\n'
    run(main, news, {'timeouts': {'ping': 0.1, 'inactivity': 0.1, 'request': 0.1}})


def test_a_stopping_server_ends_the_streams(news):
    async def main(client, server):
        await listen(client, news)
        began = runtime.now()
        stopping = runtime.spawn(server.stop())
        assert await client.stream.read() == b'0\r\n\r\n'
        await client.stream.close()
        await stopping.join()
        assert news.gone == 1 and runtime.now() - began < 5
    run(main, news)


# Clients that read slowly

def test_the_action_itself_waits_for_a_slow_client_and_then_drops_it():
    async def action(web):
        channel = await web.events()
        with pytest.raises(Disconnected):
            while True:
                waiting.append(channel.stream.queued_bytes)
                await channel.send('x' * 2000)
        ended.append(channel.closed)

    async def main(client, server):
        with await slow_client(server, GET):
            await until(lambda: ended, 'the client is dropped')
        assert max(waiting) < 20000
    waiting, ended = [], []
    run(main, action, {'timeouts': {'inactivity': 0.2}})
    assert ended == [True]


def test_a_stuck_client_is_dropped_also_when_little_waits_for_it(news):
    async def main(client, server):
        with await slow_client(server, GET):
            await until(lambda: news.channels, 'the action waits')
            for _ in range(20):
                await news.publish('x' * 1000)
            await until(lambda: news.gone, 'the client is dropped')
    run(main, news, {'timeouts': {'inactivity': 0.2, 'ping': 0.1}})


def test_500_clients_get_all_at_once_beside_one_that_is_stuck(news):
    async def main(client, server):
        with await slow_client(server, GET):
            await until(lambda: news.channels, 'the action waits')
            stuck = news.channels[0]
            others = [await connect(server) for _ in range(500)]
            for other in others:
                await other.stream.write(GET)
            for other in others:
                await other.stream.read_until(b'\r\n\r\n')
            await until(lambda: len(news.channels) == 501, 'all wait')
            dropped, slowest, highest = [], 0, 0
            for n in range(30):
                began = runtime.now()
                dropped += await news.publish(f'{n} {"x" * 2000}')
                slowest = max(slowest, runtime.now() - began)
                highest = max(highest, stuck.stream.queued_bytes)
                for other in others:
                    assert (await read_chunk(other.stream)).startswith(f'data: {n} x')
            assert dropped == [stuck] and highest < 36000
            assert slowest < 5                  # nobody is waited for, which would take 60 s; 500 sends take about 10 ms
            for other in others:
                await other.stream.close()
    run(main, news, {'limits': {'backlog': '32K'}})


def test_a_burst_beyond_the_backlog_reaches_a_client_that_reads(news):
    async def main(client, server):
        await listen(client, news)
        reader = runtime.spawn(count(client.stream))
        for _ in range(40):
            assert await news.publish('x' * 30_000) == []
            await runtime.sleep(0)
        news.channels[0].close()
        assert await reader.join() > 1_200_000

    async def count(stream):
        total = 0
        while data := await stream.read():
            total += len(data)
        return total
    run(main, news, {'limits': {'backlog': '100K'}})
