"""Server-sent events of the client: the parser of the HTML standard, coming again, what ends the loop."""

import pytest

from ioto import runtime, url
from ioto.url import Client, ConnectError, ProtocolError, StatusError, TooLarge, UrlError
from ioto.url.eventstream import Parser
from ioto.web import Server
from tests.url.support import CLOSE, Script, answer, serve


def parsed(data, size=None, **options):
    """[(data, event, id)] of a stream that comes in pieces of `size` bytes."""
    parser, found = Parser(**options), []
    for at in range(0, len(data), size or len(data)):
        found += parser.feed(data[at:at + (size or len(data))])
    return [(event.data, event.event, event.id) for event in found], parser


# From the standard's section and the web platform tests

@pytest.mark.parametrize('size', [None, 1, 2, 3, 7])
@pytest.mark.parametrize('data, found', [
    ('data: a\n\n', [('a', 'message', '')]),
    ('data: a\r\n\r\ndata: b\r\rdata: c\n\n', [('a', 'message', ''), ('b', 'message', ''), ('c', 'message', '')]),
    ('data: YHOO\ndata: +2\ndata: 10\n\n', [('YHOO\n+2\n10', 'message', '')]),
    (': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n',
     [('first event', 'message', '1'), ('second event', 'message', ''), (' third event', 'message', '')]),
    ('data\n\ndata\ndata\n\ndata:', [('', 'message', ''), ('\n', 'message', '')]),
    ('data:test\n\ndata: test\n\n', [('test', 'message', ''), ('test', 'message', '')]),
    ('event: add\ndata: 73\n\nevent: x\n\ndata: 7\n\n', [('73', 'add', ''), ('7', 'message', '')]),
    ('\ufeffdata: a\n\n\ufeffdata: b\n\n', [('a', 'message', '')]),
    ('\ufeff\ufeffdata: a\n\ndata: b\n\n', [('b', 'message', '')]),
    ('id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n', [('a', 'message', '1'), ('b', 'message', '1')]),
    ('id: 7\n\ndata: a\n\n', [('a', 'message', '7')]),
    ('foo: bar\nDATA: x\n data: y\ndata : z\n:data: w\ndata: a:b\n\n', [('a:b', 'message', '')]),
    ('data: ok\ud7ff\u2028\x0b\x0c\x85 é😀\n\n', [('ok\ud7ff\u2028\x0b\x0c\x85 é😀', 'message', '')]),
    ('data: cut', []), ('data: cut\n', []), ('\n\n\n', [])])
def test_the_stream_is_parsed_as_the_standard_says(data, found, size):
    assert parsed(data.encode(), size)[0] == found


def test_what_is_not_utf8_is_replaced():
    assert parsed(b'data: \xff\xe2\x82\n\n')[0] == [('\ufffd\ufffd', 'message', '')]


@pytest.mark.parametrize('text, seconds', [('1000', 1), ('0', 0), ('00050', .05), ('1e3', None), ('-1', None), ('', None), ('\u0661', None), ('9' * 5000, 999999.999)])
def test_retry_is_digits_alone(text, seconds):
    assert parsed(f'retry: {text}\n\n'.encode())[1].retry == seconds


@pytest.mark.parametrize('data', [b'x' * 2000, b'data: ' + b'x' * 2000, b'data: x\n' * 400, b':' + b'x' * 2000, b'id: ' + b'x' * 2000 + b'\n'])
@pytest.mark.parametrize('size', [None, 10])
def test_lines_and_events_are_bounded(data, size):
    with pytest.raises(TooLarge, match='1000 bytes'):
        parsed(data, size, limit=1000)
    assert parsed(b'data: x\n\n' * 1000, size, limit=1000)[0]


# Streams

FIELDS = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n'


def stream(text):
    """An answer that ends with its connection."""
    return FIELDS.encode() + text.encode() + CLOSE


def each(*answers):
    """A server that gives one answer after the other, the last one 204."""
    left = [*answers, answer(204)]
    return Script(lambda asked: left.pop(0))


def follow(script, **options):
    """[(data, id)] of all events until the end."""
    async def main(client, base):
        return [(event.data, event.id) async for event in client.events(base + '/news', **options)]
    return serve(main, script)


def test_it_comes_again_with_the_id_of_the_last_event():
    script = each(stream('retry: 1\nid: 1\ndata: a\n\nid: ü 2\n\ndata: lost'), stream('data: b\n\n'), stream('id\ndata: c\n\n'))
    assert follow(script, last_id='0', headers={'X-Own': 'y'}) == [('a', '1'), ('b', 'ü 2'), ('c', '')]
    ids = [asked.fields.get('last-event-id') for asked in script.asked]
    assert ids == ['0', 'ü 2'.encode().decode('latin-1'), 'ü 2'.encode().decode('latin-1'), None]
    fields = script.asked[0].fields
    assert fields['accept'] == 'text/event-stream' and fields['x-own'] == 'y' and 'accept-encoding' not in fields


def test_it_comes_again_after_a_break_and_waits_longer_each_time(monkeypatch):
    waits = []

    async def wait(_flag, seconds):
        waits.append(seconds)
    monkeypatch.setattr('ioto.url.eventstream.wait', wait)
    chunked = FIELDS.replace('\r\n\r\n', '\r\nTransfer-Encoding: chunked\r\n\r\n').encode() + b'9\r\ndata: a\n\n\r\n'
    script = each(chunked + CLOSE, None, None, b'nonsense\r\n\r\n' + CLOSE, *[None] * 6, stream('retry: 200\ndata: b\n\n'), None)
    assert follow(script) == [('a', ''), ('b', '')]
    assert waits == [3, 6, 12, 24, 48, 60, 60, 60, 60, 60, .2, .4]


@pytest.mark.parametrize('retry, seconds', [('0', .1), ('999999999999', 3600), ('1500', 1.5)])
def test_the_time_between_tries_is_bounded(monkeypatch, retry, seconds):
    waits = []

    async def wait(_flag, seconds):
        waits.append(seconds)
    monkeypatch.setattr('ioto.url.eventstream.wait', wait)
    follow(each(stream(f'retry: {retry}\n\n')))
    assert waits == [seconds]


@pytest.mark.parametrize('data, kind, why', [
    (answer(200, 'Content-Type: text/html', body=b'<p>'), ProtocolError, "'text/html'"), (answer(200), ProtocolError, 'event-stream'),
    (answer(500, 'Content-Type: text/event-stream', body=b'why'), StatusError, '500'), (answer(404), StatusError, '404'),
    (answer(206, 'Content-Type: text/event-stream'), ProtocolError, '206'), (None, ProtocolError, 'closed'),
    (stream('data: ' + 'x' * 2000), TooLarge, '1000')])
def test_what_is_no_stream_is_an_error(data, kind, why):
    with pytest.raises(kind, match=why):
        follow(Script(lambda asked: data), limit=1000)
    if data is not None:
        with pytest.raises(kind, match=why):
            follow(each(stream('retry: 1\n\n'), data), limit=1000)


def test_no_server_is_an_error():
    async def main(client, base):
        with pytest.raises(ConnectError):
            async for _event in client.events('http://127.0.0.1:1/'):
                pass
    serve(main, Script(lambda asked: None))


def test_an_id_injects_no_field():
    script = each(stream('retry: 1\nid: a\x01\x7f\tb \ndata: x\n\n'))
    assert follow(script) == [('x', 'a\x01\x7f\tb ')]
    assert script.asked[1].fields['last-event-id'] == 'a\tb'
    with pytest.raises(UrlError, match='bad field'):
        follow(Script(lambda asked: None), headers={'X': 'a\r\nb'})


def test_credentials_stay_with_their_origin():
    async def main(client, base):
        other = each(stream('retry: 1\ndata: x\n\n'))
        async with await runtime.listen('127.0.0.1:0', other) as server:
            first.append(f'http://127.0.0.1:{server.port}/')
            async with client.events(base, bearer='secret', headers={'Authorization': 'x'}) as found:
                async for event in found:
                    assert event.data == 'x'
                    break
        assert 'authorization' not in other.asked[0].fields
    first = []
    serve(main, Script(lambda asked: answer(307, f'Location: {first[0]}')))


def test_leaving_the_loop_closes_the_connection():
    script = each(*[FIELDS.encode() + b'data: a\n\n'] * 4)

    async def main(client, base):
        async for event in client.events(base):
            break
        async with client.events(base) as found:
            assert (await anext(found)).data == 'a'
        assert [event async for event in found] == []
        found = client.events(base)
        assert (await anext(found)).data == 'a'
        with pytest.raises(OSError):
            async with runtime.timeout(.05):
                await anext(found)
        assert client.pool.count == 0
        assert (await anext(found)).data == 'a'     # asked again
        found.close()
        await runtime.sleep(.01)
        assert script.open == 0
    serve(main, script)


@pytest.mark.parametrize('data', [FIELDS.encode() + b'data: a\n\n', stream('data: a\n\n')])
def test_closed_by_another_fiber_it_ends_at_once(data):
    async def main(client, base):
        async def read():
            return [event.data async for event in events]
        events = client.events(base)
        fiber = runtime.spawn(read())
        await runtime.sleep(.05)
        events.close()
        async with runtime.timeout(1):
            assert await fiber.join() == ['a']
        assert not client.pool.count
    serve(main, each(data))


def test_a_silent_stream_is_asked_for_again():
    script = each(*[FIELDS.encode() + b'retry: 1\ndata: a\n\n'] * 2)
    assert follow(script, timeout={'idle': .05}) == [('a', '')] * 2


def test_our_own_server():
    async def main(client, _base):
        server = Server({'listen': ['http://127.0.0.1:0']})

        @server.action('/news')
        async def news(web):
            channel = await web.events(retry=.1)
            for number in range(3):
                await channel.send({'number': number}, event='count', id=f'{channel.last_id}{number}')
            await channel.send('two\nlines')
        await server.start()
        found = []
        async with Client(proxy=False) as client:
            async for event in client.events(f'http://127.0.0.1:{server.listeners[0].port}/news'):
                found.append((event.event, event.data, event.id))
                if len(found) == 8:
                    break
        assert found[:4] == [('count', '{"number":0}', '0'), ('count', '{"number":1}', '1'), ('count', '{"number":2}', '2'), ('message', 'two\nlines', '2')]
        assert [each[2] for each in found[4:]] == ['20', '21', '22', '22']
        await server.stop(1)
    serve(main, Script(lambda asked: None))


def test_the_function_uses_the_client_of_the_scheduler():
    async def main(_client, base):
        for _ in range(2):
            assert [event.data async for event in url.events(base)] == ['a']
    one = stream('retry: 1\ndata: a\n\n')
    serve(main, each(one, answer(204), one))
