"""The request log: what a line says, that nobody can forge one, and that a file is rotated; what `show` shows."""

import json
import os
import re
import signal

import pytest

from ioto import runtime
from ioto.web import Server, WebError
from tests.child import Child, get, write
from tests.web.support import connect, serve


def logged(path, requests, config=None, actions=(), form='common', **log):
    """The lines that requests leave, bytes or texts of request lines, each on a connection of its own."""
    async def main(client, server):
        for request in requests:
            client = await connect(server)
            await client.ask(request, 'HEAD' if 'HEAD' in str(request) else 'GET')
            await client.stream.close()
        await server.stop(1)
    serve(main, {'log': {'path': str(path), 'format': form, **log}, **(config or {})}, actions)
    with open(path, encoding='utf-8') as file:
        return file.read().splitlines()


async def stream(web):
    await web.write('12345')
    await web.write('67890')


async def fail(web):
    raise ValueError('meant to fail')


async def cut(web):
    await web.write('123')
    raise ValueError('meant to fail')

ACTIONS = {'/a': lambda web: 'abc', '/none': lambda web: None, '/stream': stream, '/fail': fail, '/cut': cut, '/post': lambda web: web.text()}


@pytest.mark.parametrize('request_, line, status, size', [
    ('GET /a?x=1', 'GET /a?x=1 HTTP/1.1', 200, '3'),
    ('HEAD /a', 'HEAD /a HTTP/1.1', 200, '-'),
    ('GET /none', 'GET /none HTTP/1.1', 204, '-'),
    (b'GET /a HTTP/1.0\r\n\r\n', 'GET /a HTTP/1.0', 200, '3'),
    ('GET /x', 'GET /x HTTP/1.1', 404, '14'),
    ('BREW /a', 'BREW /a HTTP/1.1', 501, None),
    ('GET /fail', 'GET /fail HTTP/1.1', 500, None),
    (b'GET /stream HTTP/1.0\r\n\r\n', 'GET /stream HTTP/1.0', 200, '10'),
    ('GET /stream', 'GET /stream HTTP/1.1', 200, '25'),                 # with the framing of its chunks
    ('HEAD /stream', 'HEAD /stream HTTP/1.1', 200, '-'),
    (b'POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi', 'POST /post HTTP/1.1', 200, '2'),
    (b'GET /a HTTP/1.1\r\n\r\n', 'GET /a HTTP/1.1', 400, '24'),         # no Host
    (b'GET /a HTTP/3.0\r\nHost: x\r\n\r\n', 'GET /a HTTP/3.0', 505, None),
    (b'rubbish\r\n\r\n', 'rubbish', 400, None),
    (b'GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n', 'GET /%zz HTTP/1.1', 400, None),
    (b'POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 'POST /post HTTP/1.1', 400, None),
    (b'GET /' + b'a' * 9000 + b' HTTP/1.1\r\nHost: x\r\n\r\n', None, 414, None),
])
def test_each_request_has_a_line(tmp_path, request_, line, status, size):
    lines = logged(tmp_path / 'log', [request_], actions=ACTIONS)
    assert len(lines) == 1
    found = re.fullmatch(r'127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "(.*)" (\d+) (\d+|-)', lines[0])
    assert found[2] == str(status) and line in (None, found[1]) and size in (None, found[3])


def test_documents_are_logged_with_their_size(tmp_path):
    write(tmp_path, 'site/small.txt', 'small')
    write(tmp_path, 'site/large.bin', 'x' * 300000)
    lines = logged(tmp_path / 'log', ['GET /small.txt', 'GET /large.bin'], {'documents': str(tmp_path / 'site')}, form='%s %b')
    assert lines == ['200 5', '200 300000']


def test_what_a_client_leaves_unfinished_is_logged(tmp_path):
    async def slow(web):
        await runtime.sleep(60)

    async def main(client, server):
        await (await connect(server)).stream.close()                    # no request, no line
        for start in (b'GET /cut HTTP/1.1\r\nHost: x\r\n\r\n', b'GET /slow HTTP/1.1\r\nHost: x\r\n\r\n'):
            other = await connect(server)
            await other.stream.write(start)
            if b'cut' in start:
                while await other.stream.read():
                    pass
            else:
                await runtime.sleep(0.05)
            await other.stream.close()
        await client.ask(b'POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi')
        await client.stream.write(b'POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n')
        await client.stream.read()
        await client.stream.close()
        await runtime.sleep(0.05)
        await server.stop(0)
    serve(main, {'log': {'path': str(tmp_path / 'log'), 'format': '%r %s %B'}}, {**ACTIONS, '/slow': slow})
    assert (tmp_path / 'log').read_text().splitlines() == [
        'GET /cut HTTP/1.1 200 8', 'POST /post HTTP/1.1 200 2', 'POST /post HTTP/1.1 499 0', 'GET /slow HTTP/1.1 499 0']


def test_a_head_that_does_not_come_in_time_is_logged(tmp_path):
    async def main(client, server):
        await client.stream.write(b'GET /slow HTTP/1.1\r\nHos')
        assert b' 408 ' in await client.stream.read()
    serve(main, {'log': {'path': str(tmp_path / 'log'), 'format': '%r %s'}, 'timeouts': {'parse': 0.05}})
    assert (tmp_path / 'log').read_text() == 'GET /slow HTTP/1.1 408\n'


@pytest.mark.parametrize('form, line', [
    ('%h %l %u', '127.0.0.1 - -'), ('%>s %B', '200 3'), ('100%% %r', '100% GET /a?x HTTP/1.1'), ('%v', 'test'), ('plain %s', 'plain 200'),
    ('%{User-Agent}i|%{x-none}i', 'me \\x22you\\x22|-'),
])
def test_tokens(tmp_path, form, line):
    request = b'GET /a?x HTTP/1.1\r\nHost: Test:80\r\nUser-Agent: me "you"\r\n\r\n'
    assert logged(tmp_path / 'log', [request], actions=ACTIONS, form=form) == [line]


def test_the_time_is_in_microseconds(tmp_path):
    line, = logged(tmp_path / 'log', ['GET /a'], actions=ACTIONS, form='%D')
    assert 10 < int(line) < 1e6


def test_combined_adds_referer_and_agent(tmp_path):
    line, = logged(tmp_path / 'log', [b'GET /a HTTP/1.1\r\nHost: x\r\nReferer: http://r/\r\n\r\n'], actions=ACTIONS, form='combined')
    assert line.endswith(' "GET /a HTTP/1.1" 200 3 "http://r/" "-"')


def test_json_lines(tmp_path):
    line, = logged(tmp_path / 'log', [b'GET /a HTTP/1.1\r\nHost: x\r\nUser-Agent: "\xe4\x80"\r\n\r\n'], actions=ACTIONS, form='json')
    value = json.loads(line)
    assert line.isascii() and re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}', value.pop('time')) and value.pop('ms') > 0
    assert value == {'remote': '127.0.0.1', 'user': None, 'host': 'x', 'request': 'GET /a HTTP/1.1', 'status': 200, 'bytes': 3,
                     'referer': None, 'agent': '"\xe4\x80"'}


@pytest.mark.parametrize('request_', [
    b'GET /a"%0d%0aX\xff\x80\\ HTTP/1.1\r\nHost: x\r\nUser-Agent: "\t\x9b\\\r\n\r\n', b'GET /\x1b[31m\x00\n HTTP/1.1\r\nHost: x\r\n\r\n',
    b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\r\n\r\n',
])
@pytest.mark.parametrize('form', ['combined', 'json'])
def test_no_client_can_forge_a_line(tmp_path, request_, form):
    lines = logged(tmp_path / 'log', [request_], actions=ACTIONS, form=form)
    assert len(lines) == 1 and re.fullmatch('[ -~]*', lines[0])
    if form == 'combined':
        assert lines[0].count('"') == 6 and re.sub(r'\\x[0-9a-f]{2}', '', lines[0]).count('\\') == 0
    else:
        json.loads(lines[0])


def test_the_user_and_the_client_behind_a_proxy(tmp_path):
    class User:
        name = 'änn "x"'

    def action(web):
        web._user = User
        return 'x'
    request = b'GET /u HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n'
    lines = logged(tmp_path / 'log', [request], {'proxies': ['127.0.0.1']}, {'/u': action}, form='%h %u')
    assert lines == [r'198.51.100.7 \xc3\xa4nn \x22x\x22']


def test_pipelined_requests_are_written_at_once(tmp_path):
    async def main(client, server):
        writes = []
        write = server.journal.file.write
        server.journal.file.write = lambda level, data: writes.append(data) or write(level, data)
        await client.stream.write(b'GET /a HTTP/1.1\r\nHost: x\r\n\r\n' * 5)
        while len(writes) == 0 or sum(data.count(b'\n') + 1 for data in writes) < 5:
            await runtime.sleep(0.01)
        assert len(writes) == 1
    serve(main, {'log': {'path': str(tmp_path / 'log'), 'format': '%r'}}, ACTIONS)
    assert (tmp_path / 'log').read_text() == 'GET /a HTTP/1.1\n' * 5


def test_the_file_is_rotated(tmp_path):
    logged(tmp_path / 'log', ['GET /a'] * 10, actions=ACTIONS, form='0123456789' * 10 + '%%', size=250, backups=2)
    assert sorted(os.listdir(tmp_path)) == ['log', 'log.1', 'log.2']
    assert all(os.path.getsize(tmp_path / name) == 204 for name in os.listdir(tmp_path))


def test_a_full_disk_never_stops_the_serving(capfd):
    async def main(client, server):
        for _ in range(3):
            assert (await client.ask('GET /a')).status == 200
    serve(main, {'log': {'path': '/dev/full', 'format': 'common'}}, ACTIONS)
    assert capfd.readouterr().err.count('lines are lost: No space left on device') == 1


@pytest.mark.parametrize('log, property', [
    ({'path': '/proc/none/x'}, 'log.path'), ({'format': '%x'}, 'log.format'), ({'format': '%'}, 'log.format'), ({'paht': 'x'}, 'log.paht'),
    ({'size': 'lots'}, 'log.size'), ({'path': '/dev/null', 'backups': -1}, 'log.backups'), ({'path': 3}, 'log.path'), ({'path': 'x', 'format': 'comon'}, 'log.format'),
    ('access.log', 'log'), (1, 'log'),
])
def test_wrong_properties_stop_the_start(log, property):
    with pytest.raises(WebError) as caught:
        Server({'log': log})
    assert caught.value.property == f'web.{property}'


def test_a_reload_takes_another_file_and_a_wrong_one_changes_nothing(tmp_path):
    async def main(client, server):
        await client.ask('GET /a')
        for wrong in ({'log': {'path': str(tmp_path / 'new'), 'format': '%r'}, 'routes': [{'match': 'x'}]}, {'log': {'format': '%x'}}):
            with pytest.raises(WebError):
                server.reload({**server.config, **wrong})
        await client.ask('GET /a')
        server.reload({**server.config, 'log': {'path': str(tmp_path / 'other'), 'format': '%s'}})
        await client.ask('GET /a')
        server.reload({**server.config, 'log': False})
        await client.ask('GET /a')
    serve(main, {'log': {'path': str(tmp_path / 'log'), 'format': '%r'}}, ACTIONS)
    assert (tmp_path / 'log').read_text() == 'GET /a HTTP/1.1\n' * 2 and (tmp_path / 'other').read_text() == '200\n'
    descriptors = [f'/proc/self/fd/{fd}' for fd in os.listdir('/proc/self/fd')]
    assert not [fd for fd in descriptors if os.path.islink(fd) and str(tmp_path) in os.readlink(fd)]


def test_sighup_opens_the_file_again(tmp_path):
    write(tmp_path, 'config/ioto.json5', "{services: {web: true}, web: {listen: ['http://127.0.0.1:0'], documents: 'site'}}")
    write(tmp_path, 'config/web.json5', "{log: {path: 'log/access.log', format: 'common'}}")
    write(tmp_path, 'site/index.html', 'hello')
    log = tmp_path / 'log' / 'access.log'
    with Child(tmp_path / 'config') as child:
        get(child.port, '/one')
        os.rename(log, tmp_path / 'log' / 'old')
        child.send(signal.SIGHUP)
        child.wait_for('Configuration reloaded')
        get(child.port, '/two')
        assert child.stop() == 0
    assert '/one' in (tmp_path / 'log' / 'old').read_text() and '/two' in log.read_text()


def test_lines_in_the_agents_log(capfd):
    async def main(client, server):
        await client.ask('GET /a')
        await client.ask('GET /stream')
        await client.ask(b'rubbish\r\n\r\n')
    serve(main, {'log': True}, ACTIONS)
    text = capfd.readouterr().err
    assert re.search(r'request: info: 127\.0\.0\.1 GET /a 200 3 \d+\.\d ms\n', text)
    assert re.search(r'request: info: 127\.0\.0\.1 GET /stream 200 25 \d+\.\d ms\n', text)
    assert re.search(r'request: info: 127\.0\.0\.1 refused 400: ', text)


# What `show` shows

EXCHANGES = {
    'answer': (b'POST /post HTTP/1.1\r\nHost: x\r\nX-In: 1\r\nContent-Length: 2\r\n\r\nhi', ['X-In: 1', 'request body\n    hi', '200 OK', 'response body\n    hi']),
    'stream': (b'GET /stream HTTP/1.1\r\nHost: x\r\nX-In: 1\r\n\r\n', ['X-In: 1', None, 'chunked', 'response body\n    67890']),
    'error': (b'GET /fail HTTP/1.1\r\nHost: x\r\nX-In: 1\r\n\r\n', ['X-In: 1', None, '500 Internal', "device's log says why"]),
    'cut': (b'GET /cut HTTP/1.1\r\nHost: x\r\nX-In: 1\r\n\r\n', ['X-In: 1', None, 'chunked', 'response body\n    123']),
    'refused': (b'GET /a HTTP/1.1\r\nX-In: 1\r\n\r\n', ['X-In: 1', None, '400 Bad', 'no Host']),
    'file': (b'GET /large.bin HTTP/1.1\r\nHost: x\r\nX-In: 1\r\n\r\n', ['X-In: 1', None, 'Content-Length: 300000', '300000 bytes of a file']),
    'head': (b'HEAD /a HTTP/1.1\r\nHost: x\r\nX-In: 1\r\n\r\n', ['X-In: 1', None, 'Content-Length: 3', None]),
}


@pytest.mark.parametrize('name', EXCHANGES)
@pytest.mark.parametrize('letters', ['H', 'B', 'h', 'b', 'HhBb', ''])
def test_show_shows_what_its_letters_say_and_no_more(tmp_path, name, letters, capfd):
    write(tmp_path, 'large.bin', 'x' * 300000)
    request, texts = EXCHANGES[name]

    async def main(client, server):
        await client.stream.write(request)
        await client.stream.read()
        await runtime.sleep(0.01)
        await client.stream.close()
    serve(main, {'show': letters, 'documents': str(tmp_path)}, ACTIONS)
    text = capfd.readouterr().err
    for letter, part, wanted in zip('HBhb', ('request\n', 'request body\n', 'response\n', 'response body\n'), texts):
        expected = letter in letters and wanted is not None
        assert (f'info: {part}' in text) == expected, (part, text)
        if expected:
            assert wanted in text
