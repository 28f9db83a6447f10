"""The client with nothing but python3-light, and ssl for https only (see tests/test_profiles.py)."""

import hashlib
import json
import subprocess
import sys

import pytest

from tests.child import PATIENCE, TREE
from tests.test_profiles import HEAVY, HOOK, LACKING

PROGRAM = f'''
SHA = {hashlib.sha256(b'done').hexdigest()!r}
''' + '''
import json
from ioto import runtime, url
from ioto.web import Server

async def main():
    server = Server({'listen': ['http://127.0.0.1:0']})

    @server.action('/')
    async def action(web):
        if web.path == '/auth' and 'authorization' not in web.headers:
            web.status = 401
            web.set_header('WWW-Authenticate', 'Digest realm="a", nonce="b", qop="auth", algorithm=SHA-256')
            return ''
        if web.path == '/moved':
            return await web.redirect('/ü')
        web.set_header('Set-Cookie', 'a=1')
        return 'done'

    @server.action('/socket')
    async def echo(web):
        socket = await web.upgrade()
        async for message in socket:
            await socket.send(message)

    @server.action('/events')
    async def news(web):
        await (await web.events()).send('news')
    await server.start()
    base = f'http://localhost:{server.listeners[0].port}'
    await url.get(base)
    first = sorted(sys.modules)
    await url.post(base + '/moved', {'a': 'ü'})
    await url.get(base + '/auth', auth=('me', 'pw'))
    async with url.websocket(base + '/socket') as socket:
        await socket.send('hello' * 1000)
        assert await socket.receive() == 'hello' * 1000
    async for event in url.events(base + '/events'):
        assert event.data == 'news'
        break
    assert await url.download(base, sys.argv[1], checksum=SHA) == 4
    for bad in ('http://bücher.invalid/', 'http://127.0.0.1:1/'):
        try:
            await url.get(bad)
        except url.ConnectError:
            pass
    url.Client(proxy='http://p:1')
    if SECURE:
        try:
            await url.get('https://127.0.0.1:%d/' % server.listeners[0].port)
        except url.TlsError:
            pass
    await server.stop(1)
    print(json.dumps([first, sorted(sys.modules)]))

runtime.run(main)
'''


@pytest.mark.parametrize('secure', [False, True])
def test_the_client_needs_python3_light_and_ssl_for_https_alone(secure, tmp_path):
    lacking = [name for name in LACKING if not secure or name not in ('ssl', '_ssl', '_hashlib')]
    done = subprocess.run([sys.executable, '-I', '-S', '-c', HOOK % (lacking, TREE) + f'SECURE = {secure}\n' + PROGRAM, tmp_path / 'got'],
                          capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    first, last = json.loads(done.stdout)
    assert not set(LACKING) & set(first) and ('ssl' in last) == secure
    assert not set(HEAVY) - {'ssl'} & set(first)
    later = {f'ioto.url.{name}' for name in ('auth', 'coding', 'cookies', 'downloads', 'eventstream', 'follow', 'proxies', 'sockets')}
    assert not (later - {'ioto.url.cookies'}) & set(first) and later <= set(last) | {'ioto.url.coding'}
