"""WebSockets and events over TLS, and in a real browser, directly and with nginx in front."""

import os
import socket
import subprocess

import pytest

from ioto import runtime
from tests import webdriver
from tests.web.opened import handshake, read_frame, serve, until
from tests.web.support import Client
from tests.websocket.feeding import frame
from tools import peers

CI = os.environ.get('CI') == 'true'
PAGE = '<!DOCTYPE html><title>page</title><link rel="icon" href="data:,">'
NGINX = '''
daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
    server {
        listen 127.0.0.1:%d;
        location / {
            proxy_pass http://127.0.0.1:%d;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }
    }
}
'''
# What the page runs; `await` is allowed in it, and what it leaves in `found` is returned.
SOCKET = '''
    const socket = new WebSocket(`ws://${location.host}/echo`, ['other', 'chat']);
    socket.binaryType = 'arraybuffer';
    await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
    const next = () => new Promise(resolve => { socket.onmessage = event => resolve(event.data); });
    found.push(socket.protocol, socket.extensions);
    for (const text of ['', 'Grüße, 😀', 'x'.repeat(100000)]) {
        const answer = next();
        socket.send(text);
        found.push(await answer === text);
    }
    const answer = next();
    socket.send(new Uint8Array([0, 255, 128]));
    found.push([...new Uint8Array(await answer)]);
    const closed = new Promise(resolve => { socket.onclose = resolve; });
    socket.close(4000, 'enough');
    const event = await closed;
    found.push([event.code, event.reason, event.wasClean]);
'''
EVENTS = '''
    const source = new EventSource('/events');
    await new Promise(resolve => {
        source.addEventListener('step', event => {
            found.push([event.lastEventId, event.data]);
            if (found.length === 4) resolve();
        });
    });
    source.close();
'''


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    if not webdriver.available() and not CI:
        pytest.skip('chromedriver is not installed')
    with webdriver.Browser(tmp_path_factory.mktemp('browser')) as found:
        yield found


def run_page(browser, port, script):
    browser.open(f'http://127.0.0.1:{port}/')
    browser.script('''window.found = []; window.done = false;
        (async found => {%s})(window.found).catch(error => window.found.push(String(error))).then(() => { window.done = true; });''' % script)
    browser.wait('window.done')
    return browser.script('return window.found')


class Actions:
    """`/echo`, and `/events` that sends two steps, then ends; a client that comes again gets the next two and is waited for."""

    def __init__(self):
        self.ended, self.gone = [], []

    async def echo(self, web):
        socket = await web.upgrade(['chat'])
        async for message in socket:
            await socket.send(message)
        self.ended.append((socket.code, socket.reason))

    async def events(self, web):
        self.channel = channel = await web.events(retry=0.05)
        last = int(channel.last_id or 0)
        for n in (last + 1, last + 2):
            await channel.send(f'{n}\nof 4', 'step', n)
        if last:
            await channel.wait()
            self.gone.append(last)


@pytest.fixture
def actions():
    return Actions()


@pytest.fixture(params=['directly', 'through nginx'])
def front(request, tmp_path):
    """A context for a server's port that gives the port for clients."""
    if request.param == 'directly':
        return Direct
    if not peers.which('nginx') and not CI:
        pytest.skip('nginx is not installed')
    return lambda port: Nginx(port, tmp_path)


class Direct:
    def __init__(self, port):
        self.port = port

    async def __aenter__(self):
        return self.port

    async def __aexit__(self, *_):
        pass


class Nginx:
    def __init__(self, port, folder):
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            self.port = probe.getsockname()[1]
        (folder / 'nginx.conf').write_text(NGINX % (self.port, port))
        self.command = [peers.which('nginx'), '-p', str(folder), '-e', 'stderr', '-c', str(folder / 'nginx.conf')]

    async def __aenter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        limit = runtime.now() + 10
        while True:
            try:
                await (await runtime.connect('127.0.0.1', self.port)).close()
                return self.port
            except OSError:
                assert runtime.now() < limit and self.process.poll() is None
                await runtime.sleep(0.02)

    async def __aexit__(self, *_):
        self.process.terminate()
        await runtime.to_thread(self.process.wait, 10)


def serve_page(main, actions, tmp_path):
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site' / 'index.html').write_text(PAGE)
    quickly = {'inactivity': 0.5}           # gone are the connections that the browser keeps
    serve(main, {'documents': str(tmp_path / 'site'), 'timeouts': quickly}, {'/echo': actions.echo, '/events': actions.events}, limit=60)


def test_a_browser_talks_over_a_websocket(browser, front, actions, tmp_path):
    async def main(client, server):
        async with front(server.listeners[0].port) as port:
            found = await runtime.to_thread(run_page, browser, port, SOCKET)
            assert found[0] == 'chat' and found[1].startswith('permessage-deflate')
            assert found[2:] == [True, True, True, [0, 255, 128], [4000, 'enough', True]]
            await until(lambda: actions.ended, 'the action ends')
            browser.open('about:blank')
    serve_page(main, actions, tmp_path)
    assert actions.ended == [(4000, 'enough')]


def test_a_browser_follows_events_and_comes_again(browser, front, actions, tmp_path):
    async def main(client, server):
        async with front(server.listeners[0].port) as port:
            found = await runtime.to_thread(run_page, browser, port, EVENTS)
            assert found == [[str(n), f'{n}\nof 4'] for n in (1, 2, 3, 4)]
            await until(lambda: actions.gone, 'the server sees that the page has closed the stream')
            browser.open('about:blank')
    serve_page(main, actions, tmp_path)
    assert actions.gone == [2]


def serve_tls(main, actions, certs):
    """Run `await main(connect)` where `await connect()` gives a Client over TLS."""
    from ioto.runtime.tls import client_context, server_context

    async def run(client, server):
        listener = await runtime.listen('127.0.0.1:0', server._serve, tls=server_context(str(certs / 'server.crt'), str(certs / 'server.key')))
        context = client_context(str(certs / 'ca.crt'))

        async def connect():
            return Client(await runtime.connect('127.0.0.1', listener.port, tls=context, server_name='localhost'))
        async with listener:
            await main(connect)
    serve(run, {}, {'/echo': actions.echo, '/events': actions.events})


def test_websockets_over_tls(actions, certs):
    async def main(connect):
        client = await connect()
        assert (await client.ask(handshake('/echo', Origin='http://test'))).status == 403
        assert (await client.ask(handshake('/echo', Origin='https://test'))).status == 101
        for data in (b'x', bytes(300_000)):
            sender = runtime.spawn(client.stream.write(frame(0x82, data)))
            assert await read_frame(client.stream) == (0x82, data)
            await sender.join()
        await client.stream.write(frame(0x88))
        assert await read_frame(client.stream) == (0x88, b'')
        assert await client.closed()
        await client.stream.close()
    serve_tls(main, actions, certs)
    assert actions.ended == [(1005, '')]


def test_events_over_tls_closed_by_another_fiber(actions, certs):
    async def main(connect):
        client = await connect()
        await client.stream.write(b'GET /events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 2\r\n\r\n')
        await client.stream.read_until(b'data: of 4\n\n\r\n')
        await client.stream.read_until(b'data: of 4\n\n\r\n')
        actions.channel.close()
        assert await client.stream.read() == b'0\r\n\r\n'
        assert await client.closed()
        await client.stream.close()
    serve_tls(main, actions, certs)
    assert actions.gone == [2]
