"""A person at a browser, over HTTPS with a CA of our own: sign-in and sign-out, an upload with progress, a WebSocket, events."""

import os
import subprocess

import pytest

from ioto.web.passwords import hash_password
from tests import webdriver
from tests.child import Child, write

if not webdriver.available() and os.environ.get('CI') != 'true':
    pytest.skip('chromedriver is not installed', allow_module_level=True)

CONFIG = """{
    services: {web: true},
    web: {
        listen: ['https://127.0.0.1:0'], documents: 'site', upload: {dir: '@state/'}, limits: {upload: '10 MB'},
        tls: {certificate: '%(certs)s/server.crt', key: '%(certs)s/server.key'},
        routes: [{match: '/auth/'}, {match: '/open.html'}, {match: '/style.css'}, {match: '/favicon.ico'}, {match: '/api/', role: 'user', xsrf: true}, {match: '/', role: 'user'}],
    },
    auth: {users: {ann: {password: '%(password)s', roles: ['user']}}},
}"""
APP = """
import os
from ioto import runtime

async def start(agent):
    @agent.web.action('/api/echo')
    async def echo(web):
        socket = await web.upgrade()
        async for message in socket:
            await socket.send(message)

    @agent.web.action('/api/ticks')
    async def ticks(web):
        channel = await web.events(retry=0.1)
        for number in range(int(channel.last_id or 0) + 1, 4):
            await channel.send({'tick': number}, id=str(number))
            if number == 2 and not channel.last_id:
                return                          # the browser comes back by itself
        await channel.wait()

    @agent.web.action('/api/upload', methods=['POST'])
    async def upload(web):
        await web.form()
        found = web.files['file']
        return {'name': found.client_filename, 'size': found.size, 'there': os.path.getsize(found.filename), 'user': web.user.name}
"""
PAGE = '<!doctype html><title>Inside</title><form id=form><input type=file name=file id=file></form>'
SOCKET = """
    window.got = [];
    const socket = new WebSocket('wss://' + location.host + '/api/echo');
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => { socket.send('grüße'); socket.send(new Uint8Array([0, 255, 7])); socket.send('x'.repeat(100000)); };
    socket.onmessage = event => {
        const data = event.data;
        got.push(typeof data == 'string' ? (data.length > 10 ? data.length : data) : Array.from(new Uint8Array(data)));
        if (got.length == 3) socket.close(4000, 'enough');
    };
    socket.onclose = event => { window.ended = [event.code, event.reason, event.wasClean, socket.extensions]; };
"""
EVENTS = """
    window.ticks = [];
    window.source = new EventSource('/api/ticks');
    source.onmessage = event => ticks.push([JSON.parse(event.data).tick, event.lastEventId]);
"""
UPLOAD = """
    window.steps = [];
    const request = new XMLHttpRequest();
    request.upload.onprogress = event => steps.push(event.loaded);
    request.onload = () => { window.answer = [request.status, request.responseText]; };
    request.open('POST', '/api/upload');
    request.setRequestHeader('X-XSRF-TOKEN', document.cookie.split('XSRF-TOKEN=')[1].split(';')[0]);
    request.send(new FormData(document.getElementById('form')));
"""


@pytest.fixture(scope='module')
def child(tmp_path_factory, certs):
    folder = tmp_path_factory.mktemp('agent')
    write(folder, 'config/ioto.json5', CONFIG % {'certs': certs, 'password': hash_password('open sesame', 1000)})
    write(folder, 'site/index.html', PAGE)
    write(folder, 'site/deep/page.html', PAGE.replace('Inside', 'Deep'))
    write(folder, 'site/open.html', '<!doctype html><title>Open</title>')
    write(folder, 'site/style.css', 'body { margin: 2em }')
    write(folder, 'site/favicon.ico', '')
    app = write(folder, 'app.py', APP)
    with Child(folder / 'config', '--app', str(app)) as found:
        yield found


@pytest.fixture(scope='module')
def browser(tmp_path_factory, certs):
    """A browser that trusts our CA, as a person would make it: through the store of certificates in the home folder."""
    folder = tmp_path_factory.mktemp('browser')
    store = folder / '.pki' / 'nssdb'
    store.mkdir(parents=True)
    subprocess.run(['certutil', '-d', f'sql:{store}', '-N', '--empty-password'], check=True)
    subprocess.run(['certutil', '-d', f'sql:{store}', '-A', '-t', 'C,,', '-n', 'device CA', '-i', str(certs / 'ca.crt')], check=True)
    with webdriver.Browser(folder) as found:
        yield found


@pytest.fixture
def site(child, browser):
    """(browser, URL of the site), with nobody signed in."""
    browser.open(f'{child.url}/open.html')
    browser.command('Network.clearBrowserCookies')
    browser.log()
    return browser, child.url


def sign_in(browser, word='open sesame'):
    fill(browser, username='ann', password=word)


def fill(browser, **values):
    """Fill a form in and send it, as by the keyboard."""
    for name, value in values.items():
        found = browser.call('POST', f'{browser.session}/element', {'using': 'css selector', 'value': f'[name={name}]'})
        browser.call('POST', f'{browser.session}/element/{next(iter(found.values()))}/clear', {})
        text = value + ('\ue007' if name == list(values)[-1] else '')
        browser.call('POST', f'{browser.session}/element/{next(iter(found.values()))}/value', {'text': text})


def test_signing_in_leads_back_to_the_page_that_was_asked_for(site):
    browser, url = site
    browser.open(url + '/deep/page.html?x=1')
    assert browser.script('return location.pathname') == '/auth/login'
    assert browser.script('return isSecureContext') is True
    sign_in(browser, 'wrong')
    browser.wait("document.body.innerText.includes('rong')")
    sign_in(browser)
    browser.wait("document.title == 'Deep'")
    assert browser.script('return location.pathname + location.search') == '/deep/page.html?x=1'
    assert browser.script('return document.cookie').find('session') < 0


def test_signing_out_closes_the_pages(site):
    browser, url = site
    browser.open(url + '/')
    sign_in(browser)
    browser.wait("document.title == 'Inside'")
    browser.script("""const form = document.createElement('form'); form.method = 'post'; form.action = '/auth/logout';
                      document.body.append(form); form.submit()""")
    browser.wait("location.pathname == '/auth/login' || document.title != 'Inside'")
    browser.open(url + '/deep/page.html')
    assert browser.script('return location.pathname') == '/auth/login'


def test_an_upload_shows_its_progress(site, tmp_path):
    browser, url = site
    browser.open(url + '/')
    sign_in(browser)
    browser.wait("document.title == 'Inside'")
    path = tmp_path / 'firm ware.bin'
    path.write_bytes(os.urandom(6 << 20))
    browser.script("return fetch('/api/none')")         # an answer of the API sets the token's cookie
    browser.wait("document.cookie.includes('XSRF-TOKEN')")
    found = browser.call('POST', f'{browser.session}/element', {'using': 'css selector', 'value': '#file'})
    browser.call('POST', f'{browser.session}/element/{next(iter(found.values()))}/value', {'text': str(path)})
    conditions = {'offline': False, 'latency': 0, 'downloadThroughput': -1}
    browser.command('Network.enable')
    browser.command('Network.emulateNetworkConditions', **conditions, uploadThroughput=8 << 20)
    browser.script(UPLOAD)
    browser.wait('window.answer')
    browser.command('Network.emulateNetworkConditions', **conditions, uploadThroughput=-1)
    assert browser.script('return [answer[0], JSON.parse(answer[1])]') == [
        200, {'name': 'firm ware.bin', 'size': 6 << 20, 'there': 6 << 20, 'user': 'ann'}]
    assert browser.script('return steps.length > 2 && steps[0] < 6 * 1048576 && steps.at(-1) > 6 * 1048576')


def test_a_websocket_and_events_over_tls(site):
    browser, url = site
    browser.open(url + '/')
    sign_in(browser)
    browser.wait("document.title == 'Inside'")
    browser.script(SOCKET)
    browser.wait('window.ended')
    assert browser.script('return got') == ['grüße', [0, 255, 7], 100000]
    code, reason, clean, extensions = browser.script('return ended')
    assert (code, reason, clean) == (4000, 'enough', True) and extensions.startswith('permessage-deflate')
    browser.script(EVENTS)
    browser.wait('ticks.length == 3')
    assert browser.script('return ticks') == [[1, '1'], [2, '2'], [3, '3']]
    browser.script('source.close()')
    assert [entry for entry in browser.log() if entry['level'] == 'SEVERE'] == []
