"""Signing in and out over HTTP: who passes a route, sessions and their cookies, XSRF tokens, the first administrator."""

import base64
import json
import os
import re
import socket
import stat
import subprocess
import threading
import time

import pytest

from ioto import json5, runtime
from ioto.runtime import log as logging
from ioto.web import Server, WebError, passwords
from ioto.http.digest import secret
from tests import webdriver
from tests.child import Child, get, write
from tests.web.support import Client, connect, serve

WORDS = {'ann': 'wonderland', 'bob': 'builder', 'cy': 'cypher99'}
ROLES = {'ann': ['admin'], 'bob': ['user'], 'cy': []}
USERS = {name: {'password': passwords.hash_password(word, 10), 'roles': ROLES[name],
                'digest': {kind: secret(kind, name, 'ioto', word) for kind in ('SHA-256', 'MD5')}} for name, word in WORDS.items()}
AUTH = {'users': USERS, 'roles': {'admin': ['user', 'edit'], 'user': ['view']}, 'rounds': 10}
ROUTES = [
    {'match': '/basic', 'auth': 'basic'}, {'match': '/sha', 'auth': 'digest'}, {'match': '/md5', 'auth': ['md5'], 'role': 'user'},
    {'match': '/any', 'auth': ['form', 'basic', 'digest', 'md5']},
    {'match': '/admin/', 'role': 'admin'}, {'match': '/edit', 'can': 'edit'}, {'match': '/view', 'can': 'view'},
    {'match': '/own', 'role': 'user', 'redirect': '/welcome?x=1'}, {'match': '/gone', 'redirect': '/here'},
    {'match': '/token/', 'xsrf': True}, {},
]
BROWSER = 'Accept: text/html,*/*;q=0.8\r\n'


def name_of(web):
    return web.user.name if web.user else 'nobody'


async def keep(web):
    if 'set' in web.vars:
        web.session['value'] = web.vars['set']
    return str(web.session.get('value'))


async def change(web):
    found = await web.form() if web._kind() == 'application/x-www-form-urlencoded' else {}
    return f'{web.method} {found.get("x")} {web.xsrf}'


async def enter(web):
    user = await web.login(web.vars['name'], web.vars['word'])
    return user.name if user else 'no'


async def leave(web):
    web.logout(everywhere='all' in web.vars)
    return name_of(web)


def demand(web):
    web.require('edit')
    return 'done'


ACTIONS = {'/': name_of, '/keep': keep, '/enter': enter, '/leave': leave, '/demand': demand, '/token/': change}


class Browser:
    """A client that keeps cookies, over a connection of its own."""

    def __init__(self, client, cookies=()):
        self.client, self.cookies = client, dict(cookies)

    async def ask(self, method, path, body=None, kind='application/x-www-form-urlencoded', fields=''):
        lines = f'{method} {path} HTTP/1.1\r\nHost: test\r\n{fields}'
        if self.cookies:
            lines += 'Cookie: ' + '; '.join(f'{name}={value}' for name, value in self.cookies.items()) + '\r\n'
        if body is not None:
            lines += f'Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n'
        answer = await self.client.ask(f'{lines}\r\n{body or ""}'.encode())
        answer.text = answer.body.decode()
        answer.cookies = re.findall(r'(?i)^set-cookie: ([^\r]*)', answer.raw_head.decode(), re.M)
        for cookie in answer.cookies:
            name, _, value = cookie.partition(';')[0].partition('=')
            if 'Max-Age=0' in cookie:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer

    async def get(self, path, fields=''):
        return await self.ask('GET', path, fields=fields)

    async def post(self, path, body='', fields=''):
        return await self.ask('POST', path, body, fields=fields)

    async def sign_in(self, name, word=None):
        return await self.post('/auth/login', f'username={name}&password={word or WORDS[name]}')


def run(main, config=None, **auth):
    """Run `await main(browser, server)` with users and routes."""
    async def inside(client, server):
        return await main(Browser(client), server)
    return serve(inside, {'auth': {**AUTH, **auth}, 'routes': ROUTES, **(config or {})}, ACTIONS)


def curl(path, *options, config=None, **auth):
    """What curl prints for a path of the server, with its status behind."""
    async def main(_browser, server):
        command = ['curl', '-s', '-w', ' %{http_code}', *options, server.addresses[0] + path]
        return (await runtime.to_thread(lambda: subprocess.run(command, stdout=subprocess.PIPE, timeout=30))).stdout.decode()
    return run(main, config, **auth)


# Ways of signing in

@pytest.mark.parametrize('path, option, name, status', [
    ('/basic', '--basic', 'ann', 200), ('/basic', '--basic', 'cy', 200), ('/basic', '--digest', 'ann', 401),
    ('/sha', '--digest', 'bob', 200), ('/sha', '--basic', 'bob', 401), ('/md5', '--digest', 'bob', 200), ('/md5', '--digest', 'cy', 403),
    ('/any', '--anyauth', 'cy', 200), ('/any', '--basic', 'cy', 200), ('/any', '--digest', 'cy', 200),
    ('/admin/x', '--basic', 'ann', 401), ('/admin/x', '--digest', 'ann', 401),
])
def test_curl_signs_in(path, option, name, status):
    assert curl(path, option, '-u', f'{name}:{WORDS[name]}').endswith(f' {status}')
    assert curl(path, option, '-u', f'{name}:wrong').endswith(' 401')


def test_curl_signs_in_by_form_with_a_cookie_jar(tmp_path):
    async def main(_browser, server):
        def ask(*options):
            command = ['curl', '-s', '-b', tmp_path / 'jar', '-c', tmp_path / 'jar', '-w', ' %{http_code} %{redirect_url}', *options]
            return subprocess.run(command, stdout=subprocess.PIPE, timeout=30).stdout.decode()
        url = server.addresses[0]
        form = ['-d', 'username=ann', '-d', 'password=wonderland', f'{url}/auth/login?next=/admin/x']
        steps = [[f'{url}/admin/x'], form, [f'{url}/admin/x'], [f'{url}/'], ['-d', '', f'{url}/auth/logout'], [f'{url}/admin/x']]
        return url, [await runtime.to_thread(ask, *step) for step in steps]
    url, answers = run(main)
    assert answers[0] == '401 Unauthorized\nsign in first\n 401 '
    assert answers[1].endswith(f' 303 {url}/admin/x') and answers[2] == 'ann 200 ' and answers[3] == 'ann 200 '
    assert answers[4].endswith(f' 303 {url}/') and answers[5].endswith(' 401 ')
    assert '#HttpOnly_127.0.0.1' in (tmp_path / 'jar').read_text() or 'ioto-session' not in (tmp_path / 'jar').read_text()


@pytest.mark.parametrize('path, schemes', [('/basic', ['Basic']), ('/sha', ['Digest']), ('/any', ['Digest', 'Digest', 'Basic', 'Form']),
                                           ('/admin/', ['Form']), ('/demand', ['Form'])])
def test_a_401_names_the_ways_to_sign_in(path, schemes):
    async def main(browser, server):
        return await browser.get(path)
    answer = run(main)
    challenges = re.findall(r'(?m)^WWW-Authenticate: (\w+) realm="ioto"', answer.raw_head.decode())
    assert answer.status == 401 and challenges == schemes


def test_digest_over_the_server_counts_and_refuses_replay():
    async def main(browser, server):
        import hashlib
        hashed = lambda *parts: hashlib.sha256(':'.join(parts).encode()).hexdigest()
        nonce, opaque = re.findall(r'(?:nonce|opaque)="(\w+)"', (await browser.get('/sha')).fields['www-authenticate'])

        async def ask(count, uri='/sha', method='GET'):
            one, two = hashed('ann', 'ioto', 'wonderland'), hashed(method, uri)
            value = hashed(one, nonce, f'{count:08x}', 'c', 'auth', two)
            found = await browser.get('/sha', f'Authorization: Digest username="ann", realm="ioto", nonce="{nonce}", uri="{uri}", '
                                      f'algorithm=SHA-256, qop=auth, nc={count:08x}, cnonce="c", response="{value}", opaque="{opaque}"\r\n')
            return found.status, 'stale=true' in found.fields.get('www-authenticate', '')
        found = [await ask(1), await ask(1), await ask(2), await ask(2, '/other'), await ask(3, method='POST')]
        server.access.users.nonces.clock = lambda: time.monotonic() + 301
        return [*found, await ask(4)]
    assert run(main) == [(200, False), (401, True), (200, False), (400, False), (401, False), (401, True)]


@pytest.mark.parametrize('value, status', [('Basic x', 400), ('Digest x', 400), ('Bearer x', 401), ('Basic', 400), ('', 401)])
def test_other_credentials(value, status):
    async def main(browser, server):
        return (await browser.get('/any', f'Authorization: {value}\r\n')).status
    assert run(main) == status


# Who passes

@pytest.mark.parametrize('name, passes', [('ann', '/admin/ /edit /view /own /any /demand'), ('bob', '/view /own /any'), ('cy', '/any'), (None, '')])
def test_roles_and_abilities_decide(name, passes):
    async def main(browser, server):
        if name:
            await browser.sign_in(name)
        return {path: (await browser.get(path)).status for path in ('/admin/', '/edit', '/view', '/own', '/any', '/demand')}
    assert run(main) == {path: 200 if path in passes.split() else 403 if name else 401
                         for path in ('/admin/', '/edit', '/view', '/own', '/any', '/demand')}


def test_every_method_of_a_guarded_path_is_guarded():
    async def main(browser, server):
        return [(await browser.ask(method, '/edit', body='x')).status for method in ('GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD')]
    assert run(main) == [401] * 6


@pytest.mark.parametrize('path, target', [
    ('/admin/', '/auth/login?next=/admin/'), ('/admin/a%20b?x=1&y=%2F', '/auth/login?next=/admin/a%2520b%3Fx%3D1%26y%3D%252F'),
    ('/own', '/welcome?x=1&next=/own'), ('/gone', '/here')])
def test_a_browser_is_sent_to_the_login_page(path, target):
    async def main(browser, server):
        return await browser.get(path, BROWSER), await browser.post(path, '', BROWSER), await browser.get(path)
    reading, writing, other = run(main)
    assert (reading.status, reading.fields['location']) == (302, target)
    if path != '/gone':
        assert writing.status == other.status == 401 and 'location' not in other.fields
        assert reading.fields['cache-control'] == 'private, no-cache'


def test_answers_for_users_stay_out_of_shared_caches(tmp_path):
    write(tmp_path, 'admin/x.css', 'body {}')

    async def main(browser, server):
        await browser.sign_in('ann')
        return [(await browser.get(path)).fields.get('cache-control') for path in ('/admin/x.css', '/plain.css', '/set')]
    routes = [{'match': '/admin/', 'role': 'admin', 'handler': 'file'}, {'match': '/set', 'role': 'admin', 'cache': '1 min'}, {'handler': 'file'}]
    write(tmp_path, 'plain.css', 'body {}')
    config = {'documents': str(tmp_path), 'cache': {'css': '1 day'}, 'routes': routes}
    assert run(main, config) == ['private, no-cache', 'max-age=86400', 'max-age=60']


@pytest.mark.parametrize('route, property', [
    ({'role': 'boss'}, 'role'), ({'can': 'fly'}, 'can'), ({'can': 'user'}, 'can'), ({'auth': 'magic'}, 'auth'), ({'auth': 5}, 'auth'),
    ({'auth': ['form', 'x']}, 'auth')])
def test_a_route_that_nobody_could_pass_stops_the_start(route, property):
    with pytest.raises(WebError) as caught:
        Server({'auth': AUTH, 'routes': [route]})
    assert caught.value.property == f'web.routes[0].{property}'


@pytest.mark.parametrize('auth, property', [({'methods': 'x'}, 'auth.methods'), ({'login': 'x'}, 'auth.match'), ({'rounds': 0.5}, 'auth.rounds'),
                                            ({'setup': 5}, 'auth.setup'), ({'users': 5}, 'auth.users'), ({'roles': 5}, 'auth.roles')])
def test_a_bad_auth_stops_the_start(auth, property):
    with pytest.raises(WebError) as caught:
        Server({'auth': {**AUTH, **auth}})
    assert caught.value.property == property


# The login page

def test_the_page_is_a_form_that_needs_no_script():
    async def main(browser, server):
        return await browser.get('/auth/login?next=/admin/')
    answer = run(main)
    assert answer.status == 200 and answer.fields['content-type'] == 'text/html; charset=utf-8'
    assert answer.fields['cache-control'] == 'no-store' and 'set-cookie' not in answer.fields
    assert '<script' not in answer.text and 'style=' not in answer.text and 'method="post"' in answer.text
    assert re.findall('name="([a-z]+)" type="([a-z]+)"', answer.text) == [('username', 'text'), ('password', 'password')]


@pytest.mark.parametrize('next, location', [
    ('/admin/x', '/admin/x'), ('/a%2520b%3Fx%3D1%26y%3D%252F', '/a%20b?x=1&y=%2F'), ('', '/'), ('//evil.example', '/'), ('/%5Cevil.example', '/'),
    ('%5C%5Cevil.example', '/'), ('https://evil.example', '/'), ('javascript:alert(1)', '/'), ('/%09/evil.example', '/'), ('evil.example', '/'),
    ('/x%0D%0AX-A:%20b', '/'), ('/x%00', '/'), ('%20//evil.example', '/'), ('///evil.example', '/'), ('/x%C3%A9', '/'), ('.', '/'),
    ('/%0A/evil.example', '/'), ('/x%0A', '/'),
])
def test_the_way_back_stays_on_this_server(next, location):
    async def main(browser, server):
        return await browser.post(f'/auth/login?next={next}', 'username=ann&password=wonderland')
    answer = run(main)
    assert (answer.status, answer.fields['location']) == (303, location)


def test_the_home_and_the_paths_can_be_set():
    async def main(browser, server):
        found = [await browser.get('/edit', BROWSER), await browser.post('/in', 'username=ann&password=wonderland'), await browser.post('/out')]
        return [answer.fields['location'] for answer in found] + [(await browser.get('/auth/login')).text]
    assert run(main, login='/in', logout='/out', home='/home') == ['/in?next=/edit', '/home', '/home', 'nobody']


def test_a_wrong_password_shows_the_form_again():
    async def main(browser, server):
        return [await browser.sign_in(*pair) for pair in (('ann', 'wrong'), ('nobody', 'wrong'), ('', 'x'))], await browser.get('/')
    answers, after = run(main)
    for answer in answers:
        assert answer.status == 401 and '<p role="alert">wrong name or password</p>' in answer.text
        assert answer.fields['www-authenticate'].startswith('Form ') and 'set-cookie' not in answer.fields
    assert after.text == 'nobody'


def test_json_clients_get_json():
    async def main(browser, server):
        async def ask(**values):
            return await browser.ask('POST', '/auth/login', json.dumps(values), 'application/json')
        wrong, odd = await ask(username='ann', password='x'), await ask(username=5, password=['x'])
        listed = await browser.ask('POST', '/auth/login', '[]', 'application/json')
        right = await ask(username='ann', password='wonderland')
        return wrong, odd, listed, right, await browser.get('/'), await browser.ask('POST', '/auth/logout', '{}', 'application/json')
    wrong, odd, listed, right, name, out = run(main)
    for answer in (wrong, odd, listed):
        assert answer.status == 401 and json.loads(answer.text) == {'error': 'wrong name or password'}
    assert right.status == 200 and json.loads(right.text) == {'user': 'ann', 'roles': ['admin', 'user']}
    assert name.text == 'ann' and json.loads(out.text) == {'user': None}


@pytest.mark.parametrize('body, kind, status', [('{', 'application/json', 400), ('x' * 20000, 'application/x-www-form-urlencoded', 413),
                                                ('username=%ff', 'application/x-www-form-urlencoded', 400), ('x', 'text/plain', 415)])
def test_bad_bodies(body, kind, status):
    async def main(browser, server):
        return (await browser.ask('POST', '/auth/login', body, kind)).status
    assert run(main) == status


@pytest.mark.parametrize('fields, good', [
    ('', True), ('Origin: http://test\r\n', True), ('Origin: http://TEST\r\n', True), ('Origin: http://evil.example\r\n', False),
    ('Origin: null\r\n', False), ('Sec-Fetch-Site: same-origin\r\n', True), ('Sec-Fetch-Site: none\r\n', True), ('Origin: http://test:8080\r\n', False),
    ('Sec-Fetch-Site: cross-site\r\n', False), ('Sec-Fetch-Site: same-site\r\nOrigin: http://test\r\n', False),
    ('Sec-Fetch-Site: same-origin\r\nOrigin: https://outside.example\r\n', True),
])
@pytest.mark.parametrize('path', ['/auth/login', '/auth/logout'])
def test_posts_from_other_sites_are_refused(path, fields, good):
    async def main(browser, server):
        if path == '/auth/logout':
            await browser.sign_in('ann')
        answer = await browser.post(path, 'username=ann&password=wonderland', fields)
        return answer.status, (await browser.get('/')).text
    name = 'ann' if good == (path == '/auth/login') else 'nobody'
    assert run(main) == (303 if good else 403, name)


def test_only_a_post_signs_out():
    async def main(browser, server):
        await browser.sign_in('ann')
        page = await browser.get('/auth/logout')
        before = (await browser.get('/')).text
        out = await browser.post('/auth/logout?next=/bye')
        return page, before, out, (await browser.get('/')).text, browser.cookies
    page, before, out, after, cookies = run(main)
    assert page.status == 200 and '<button>Sign out</button>' in page.text and before == 'ann'
    assert (out.status, out.fields['location'], after, cookies) == (303, '/bye', 'nobody', {})
    assert 'Max-Age=0' in out.cookies[0]


def test_sign_out_everywhere():
    async def main(browser, server):
        others = [Browser(await connect(server)) for _ in range(3)]
        for one, name in zip((browser, *others), ('ann', 'ann', 'ann', 'bob')):
            await one.sign_in(name)
        await others[0].post('/auth/logout', 'everywhere=1')
        found = [(await one.get('/')).text for one in (browser, *others)]
        for one in others:
            await one.client.stream.close()
        return found
    assert run(main) == ['nobody', 'nobody', 'nobody', 'bob']


def test_documents_may_have_their_own_page(tmp_path):
    write(tmp_path, 'enter.html', 'my own')

    async def main(browser, server):
        return [(await browser.get('/enter.html')).text, (await browser.post('/enter.html', 'username=ann&password=x')).status,
                (await browser.post('/enter.html', 'username=ann&password=wonderland')).status]
    assert run(main, {'documents': str(tmp_path)}, login='/enter.html') == ['my own', 401, 303]


def test_too_many_failures():
    async def main(browser, server):
        for _ in range(5):
            await browser.sign_in('ann', 'wrong')
        form = await browser.sign_in('ann')
        data = await browser.ask('POST', '/auth/login', '{"username": "bob", "password": "builder"}', 'application/json')
        basic = await browser.get('/basic', 'Authorization: Basic YW5uOndvbmRlcmxhbmQ=\r\n')
        return form, data, basic
    form, data, basic = run(main)
    for answer in (form, data, basic):
        assert answer.status == 429 and 1 <= int(answer.fields['retry-after']) <= 2
    assert f'too many failures: wait {form.fields["retry-after"]} s' in form.text and 'error' in json.loads(data.text)


def test_actions_sign_in_and_out():
    async def main(browser, server):
        found = [(await browser.get(path)).text for path in ('/enter?name=ann&word=x', '/', '/enter?name=ann&word=wonderland', '/', '/demand')]
        return found + [(await browser.get(path)).text for path in ('/leave?all', '/')]
    assert run(main) == ['no', 'nobody', 'ann', 'ann', 'done', 'nobody', 'nobody']


def test_without_users_nobody_signs_in_and_sessions_work():
    async def main(client, server):
        browser = Browser(client)
        found = [(await browser.get(path)).text for path in ('/', '/enter?name=a&word=b', '/keep?set=5', '/keep', '/leave', '/keep')]
        return found, (await browser.get('/demand')).status, (await browser.get('/auth/login')).text
    assert serve(main, None, ACTIONS) == (['nobody', 'no', '5', '5', 'nobody', 'None'], 403, 'nobody')


# Sessions

def test_a_session_begins_when_it_holds_something():
    async def main(browser, server):
        looked = await browser.get('/keep')
        count = len(server.sessions)
        kept = await browser.get('/keep?set=here')
        again = await browser.get('/keep')
        return looked, count, kept, again, len(server.sessions)
    looked, count, kept, again, after = run(main)
    assert 'set-cookie' not in looked.fields and 'cache-control' not in looked.fields and count == 0
    cookie, = kept.cookies
    assert re.fullmatch('ioto-session=[0-9a-f]{32}; Path=/; SameSite=Lax; HttpOnly', cookie)
    assert kept.fields['cache-control'] == 'private, no-cache'
    assert again.text == 'here' and again.cookies == [] and 'cache-control' not in again.fields and after == 1


def test_signing_in_and_out_changes_the_identifier():
    async def main(browser, server):
        seen = []
        await browser.get('/keep?set=mine')
        for step in (browser.sign_in('ann'), browser.sign_in('ann'), browser.sign_in('bob'), browser.post('/auth/logout')):
            seen.append(browser.cookies.get('ioto-session'))
            await step
        old = [(await Browser(browser.client, {'ioto-session': value}).get('/')).text for value in seen]
        return seen, old
    seen, old = run(main)
    assert len(set(seen)) == 4 and old == ['nobody'] * 4


def test_a_planted_identifier_is_not_taken():
    planted = 'a' * 32

    async def main(browser, server):
        browser.cookies['ioto-session'] = planted
        await browser.get('/keep?set=1')
        first = browser.cookies['ioto-session']
        browser.cookies['ioto-session'] = planted
        await browser.sign_in('ann')
        return first, browser.cookies['ioto-session'], (await Browser(browser.client, {'ioto-session': planted}).get('/')).text
    first, second, name = run(main)
    assert planted not in (first, second) and name == 'nobody'


@pytest.mark.parametrize('value', ['', '=', 'x', 'ioto-session', 'ioto-session=', 'ioto-session=' + 'a' * 7000, 'ioto-session="', ';;;=;',
                                   'ioto-session=%00', 'ioto-session=\xff\xfe', 'ioto-session=../../etc', 'a=b; ' * 1400, '$Version=1; ioto-session=1',
                                   'ioto-session=' + 'a' * 31, 'ioto-session=' + 'a' * 33, '__Host-ioto-session=' + 'a' * 32])
def test_cookies_of_attackers_are_nobody(value):
    async def main(client, server):
        heads = [f'GET {path} HTTP/1.1\r\nHost: test\r\nCookie: {value}\r\n\r\n'.encode('latin-1') for path in ('/', '/keep', '/edit')]
        return [(await client.ask(head)).status for head in heads], len(server.sessions)
    assert serve(main, {'auth': AUTH, 'routes': ROUTES}, ACTIONS) == ([200, 200, 401], 0)


def test_of_two_session_cookies_the_first_counts():
    async def main(browser, server):
        await browser.sign_in('ann')
        mine = browser.cookies['ioto-session']
        other = Browser(browser.client)
        return [(await other.get('/', f'Cookie: ioto-session={one}; ioto-session={two}\r\n')).text
                for one, two in ((mine, 'a' * 32), ('a' * 32, mine))]
    assert run(main) == ['ann', 'nobody']


def test_sessions_are_bounded_and_strangers_push_out_no_user():
    async def main(browser, server):
        await browser.sign_in('ann')
        for n in range(20):
            await Browser(browser.client).get(f'/keep?set={n}')
        return len(server.sessions), (await browser.get('/')).text
    assert run(main, {'limits': {'sessions': 5}}) == (5, 'ann')


def test_a_session_ends_when_it_is_not_used():
    async def main(browser, server):
        await browser.sign_in('ann')
        now = time.monotonic()
        found = []
        for later in (50, 100, 161):
            server.sessions.clock = lambda: now + later
            found.append((await browser.get('/')).text)
        return found, browser.cookies
    assert run(main, {'timeouts': {'session': '1 min'}}) == (['ann', 'ann', 'nobody'], {})


def test_an_error_keeps_the_session():
    async def main(client, server):
        browser = Browser(client)
        failed = await browser.get('/fail')
        return failed.status, (await browser.get('/keep')).text

    def fail(web):
        web.session['value'] = 'kept'
        raise ValueError('meant to fail')
    logging.configure(types='', path='stderr')
    try:
        assert serve(main, None, {**ACTIONS, '/fail': fail}) == (500, 'kept')
    finally:
        logging.configure(path='stderr')


def test_streamed_answers_and_files_set_the_cookie(tmp_path):
    write(tmp_path, 'page.html', 'x' * 100)

    async def stream(web):
        web.session['value'] = 'streamed'
        await web.write('part')
    async def main(client, server):
        browser = Browser(client)
        one, two = await browser.get('/stream'), await Browser(client).get('/token/page.html')
        return one, two, (await browser.get('/keep')).text
    routes = [{'match': '/token/', 'xsrf': True}, {}]
    write(tmp_path, 'token/page.html', 'x' * 100)
    for cached in ('64K', 0):
        one, two, kept = serve(main, {'documents': str(tmp_path), 'routes': routes, 'limits': {'item': cached}}, {**ACTIONS, '/stream': stream})
        assert len(one.cookies) == 1 and kept == 'streamed' and two.status == 200 and len(two.cookies) == 2


def test_under_tls_the_cookie_is_bound_to_the_host():
    async def main(browser, server):
        from ioto.web.exchange import Web
        original, Web.secure = Web.secure, True
        try:
            answer = await browser.sign_in('ann')
            return answer.cookies, (await browser.get('/')).text, (await browser.get('/token/')).cookies
        finally:
            Web.secure = original
    (cookie,), name, (token,) = run(main)
    assert re.fullmatch('__Host-ioto-session=[0-9a-f]{32}; Path=/; SameSite=Lax; Secure; HttpOnly', cookie) and name == 'ann'
    assert re.fullmatch('XSRF-TOKEN=[0-9a-f]{32}; Path=/; SameSite=Strict; Secure', token)


# Reload

def test_a_reload_keeps_sessions_and_takes_rights_away_at_once():
    async def main(browser, server):
        others = {name: Browser(await connect(server)) for name in WORDS}
        for name, other in others.items():
            await other.sign_in(name)
            await other.get(f'/keep?set={name}')
        for _ in range(5):
            await browser.sign_in('zoe', 'wrong')
        ann = {**USERS['ann'], 'roles': ['user']}
        cy = {**USERS['cy'], 'password': passwords.hash_password('another password', 10)}
        server.reload({**server.config, 'auth': {**AUTH, 'users': {'ann': ann, 'cy': cy}}})
        names = [(await other.get('/')).text for other in others.values()]
        values = [(await other.get('/keep')).text for other in others.values()]
        statuses = [(await others['ann'].get(path)).status for path in ('/view', '/edit')]
        waiting = (await browser.sign_in('zoe', 'wrong')).status
        server.reload({'routes': [{}]})
        plain = [(await others['ann'].get('/')).text, (await others['ann'].get('/keep')).text]
        server.reload({'auth': AUTH, 'routes': [{}]})
        plain.append((await others['ann'].get('/')).text)
        for other in others.values():
            await other.client.stream.close()
        return names, values, statuses, waiting, plain
    assert run(main) == (['ann', 'nobody', 'nobody'], ['ann', 'None', 'None'], [200, 403], 429, ['nobody', 'ann', 'nobody'])


def test_a_reload_that_fails_changes_nothing():
    async def main(browser, server):
        await browser.sign_in('ann')
        access = server.access
        for auth, routes in (({**AUTH, 'realm': '"'}, ROUTES), (AUTH, [{'role': 'boss'}]), (AUTH, [{'match': 'x'}])):
            with pytest.raises(WebError):
                server.reload({**server.config, 'auth': auth, 'routes': routes})
        return server.access is access, (await browser.get('/edit')).text
    assert run(main) == (True, 'ann')


def test_digest_nonces_outlive_a_reload():
    async def main(browser, server):
        first = server.access.users.nonces
        server.reload({**server.config, 'auth': {**AUTH, 'limits': {'nonce': '1 min'}}})
        return server.access.users.nonces is first, first.lifetime
    assert run(main) == (True, 60)


# XSRF

def test_what_changes_something_needs_the_token():
    async def main(browser, server):
        async def post(body='x=1', path='/token/', fields='', kind='application/x-www-form-urlencoded', method='POST'):
            return (await browser.ask(method, path, body, kind, fields)).status
        statuses = [await post()]
        page = await browser.get('/token/')
        token = browser.cookies['XSRF-TOKEN']
        field = f'X-XSRF-TOKEN: {token}\r\n'
        statuses += [await post(), await post(f'x=1&_xsrf={token}'), await post(fields=field), await post(path=f'/token/?_xsrf={token}', kind='text/plain')]
        statuses += [await post(fields=field, method=method) for method in ('PUT', 'DELETE', 'PATCH')]
        statuses += [await post(method=method) for method in ('PUT', 'DELETE', 'PATCH')]
        statuses += [await post(fields=f'X-XSRF-TOKEN: {wrong}\r\n') for wrong in ('', 'x', token[:-1], token + '0')]
        statuses += [await post(f'_xsrf={token}', kind='text/plain'), await post(f'"{token}"', kind='application/json')]
        form = await browser.post('/token/', f'x=7&_xsrf={token}')
        stranger = await Browser(browser.client).post('/token/', f'_xsrf={token}')
        return page, token, statuses, form.text, stranger
    page, token, statuses, form, stranger = run(main)
    assert statuses == [403, 403, 200, 200, 200] + [200] * 3 + [403] * 3 + [403] * 4 + [403] * 2 and stranger.status == 403
    assert page.fields['x-xsrf-token'] == token and page.text == f'GET None {token}' and form == f'POST 7 {token}'
    assert f'XSRF-TOKEN={token}; Path=/; SameSite=Strict' in page.cookies and page.fields['cache-control'] == 'private, no-cache'
    assert 'load the page again' in stranger.text


def test_a_form_with_files_may_hold_the_token(tmp_path):
    async def main(browser, server):
        async def post(token):
            body = ''.join(f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in (
                ('f"; filename="a.txt', 'data'), ('x', '7'), ('_xsrf', token))) + '--x--\r\n'
            answer = await browser.ask('POST', '/token/', body, 'multipart/form-data; boundary=x')
            return answer.status, answer.text, os.listdir(tmp_path)
        stranger = await post('')
        await browser.get('/token/')
        return stranger, await post('0' * 32), await post(browser.cookies['XSRF-TOKEN'])
    stranger, wrong, right = run(main, {'upload': {'dir': str(tmp_path)}})
    assert stranger[::2] == wrong[::2] == (403, []) and right[::2] == (200, []) and right[1].startswith('POST ')


def test_the_token_follows_the_session():
    async def main(browser, server):
        await browser.get('/token/')
        before = browser.cookies['XSRF-TOKEN']
        await browser.sign_in('ann')
        return before, browser.cookies['XSRF-TOKEN'], (await browser.post('/token/', '', f'X-XSRF-TOKEN: {before}\r\n')).status
    before, after, status = run(main)
    assert before != after and status == 403


# The first administrator

@pytest.fixture
def messages():
    """What is logged meanwhile."""
    found = []
    sink = lambda when, kind, source, message: found.append(message)
    logging.configure(path='stderr')
    logging.add_sink(sink)
    yield found
    logging.remove_sink(sink)


def code_in(messages):
    return re.findall(r'set-up code ([0-9A-HJKMNP-TV-Z]{8})$', '\n'.join(messages), re.M)


def setting_up(main, tmp_path, auth=None, routes=({'match': '/admin/', 'role': 'admin'}, {}), keeps=True):
    """Run `await main(browser, server)` on a server without users that keeps its state in tmp_path."""
    async def inside():
        server = Server({'listen': ['http://127.0.0.1:0'], 'auth': auth or {'rounds': 10}, 'routes': list(routes)},
                        lambda path: path.replace('@state', str(tmp_path / 'state')), keeps=keeps)
        for path, function in ACTIONS.items():
            server.action(path)(function)
        await server.start()
        try:
            async with runtime.timeout(30), await runtime.connect('127.0.0.1', server.listeners[0].port) as stream:
                return await main(Browser(Client(stream)), server)
        finally:
            await server.stop(1)
    return runtime.run(inside)


def basic_field(name, word):
    return f'Authorization: Basic {base64.b64encode(f"{name}:{word}".encode()).decode()}\r\n'


def set_up(code, name='root', word='correct horse', again=None):
    return f'code={code}&username={name}&password={word}&again={word if again is None else again}'.replace(' ', '+')


@pytest.mark.parametrize('auth', [{}, {'roles': {'user': ['view']}}, {'roles': {'admin': ['edit'], 'user': []}}])
def test_the_first_administrator_is_made_with_the_code(tmp_path, messages, auth):
    async def main(browser, server):
        code, = code_in(messages)
        page = await browser.get('/auth/login')
        sent = await browser.get('/admin/', BROWSER)
        made = await browser.post('/auth/login?next=/admin/', set_up(code))
        inside = await browser.get('/admin/')
        again = await Browser(browser.client).post('/auth/login', set_up(code, 'mallory'))
        return page, sent, made, inside, again, (await browser.get('/auth/login')).text
    page, sent, made, inside, again, after = setting_up(main, tmp_path, {'rounds': 10, **auth})
    assert re.findall('name="([a-z]+)"', page.text)[1:] == ['code', 'username', 'password', 'again'] and code_in(messages)[0] not in page.text
    assert sent.fields['location'] == '/auth/login?next=/admin/'
    assert (made.status, made.fields['location'], inside.text) == (303, '/admin/', 'root')
    assert again.status == 401 and 'wrong name' in again.text and 'Sign in' in after and 'code' not in after
    path = tmp_path / 'state/auth.json5'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    entry, = json5.load(path)['users'].items()
    assert entry[0] == 'root' and entry[1]['roles'] == ['admin'] and passwords.verify('correct horse', entry[1]['password'])

    async def later(browser, server):
        return (await browser.post('/auth/login', 'username=root&password=correct+horse')).status, (await browser.get('/admin/')).text
    assert setting_up(later, tmp_path) == (303, 'root') and len(code_in(messages)) == 1


@pytest.mark.parametrize('change, message', [
    ({'code': 'AAAAAAAA'}, 'wrong set-up code'), ({'code': ''}, 'wrong set-up code'), ({'again': 'other'}, 'the passwords differ'),
    ({'word': 'short'}, '8 characters'), ({'word': 'x' * 2000}, '8 characters'), ({'name': 'a:b'}, 'colons'), ({'name': ''}, 'colons'),
    ({'name': '%0a'}, 'colons')])
def test_what_the_set_up_refuses(tmp_path, messages, change, message):
    async def main(browser, server):
        code, = code_in(messages)
        refused = await browser.post('/auth/login', set_up(**{'code': code, **change}))
        left = os.path.exists(tmp_path / 'state')
        return refused, left, (await browser.post('/auth/login', set_up(f' {code[:4].lower()}-{code[4:]} ').replace('0', 'o'))).status
    refused, left, then = setting_up(main, tmp_path)
    assert refused.status in (400, 401) and message in refused.text and not left and then == 303


def test_guessing_the_code_is_throttled(tmp_path, messages):
    async def main(browser, server):
        found = [(await browser.post('/auth/login', set_up('AAAAAAAA'))).status for _ in range(6)]
        return found, (await browser.post('/auth/login', set_up(code_in(messages)[0]))).status
    assert setting_up(main, tmp_path) == ([401] * 5 + [429], 429)


def test_what_was_refused_need_not_be_typed_again_and_is_no_markup(tmp_path, messages):
    async def main(browser, server):
        return (await browser.post('/auth/login', set_up('AAAA', '%22%3E%3Cb%3E%26')))
    text = setting_up(main, tmp_path).text
    assert ' name="username" value="&quot;><b>&amp;" type="text"' in text and ' name="code" value="AAAA"' in text
    assert 'correct' not in text and text.count('autofocus') == 1 and '<input autofocus name="password"' in text


def test_the_log_tells_who_signs_in_and_who_fails(tmp_path, messages):
    async def main(browser, server):
        code, = code_in(messages)
        await browser.post('/auth/login', set_up('AAAAAAAA'))
        await browser.post('/auth/login', set_up(code))
        await browser.post('/auth/logout')
        await browser.post('/auth/login', 'username=root&password=correct+horse')
        for _ in range(3):
            await browser.get('/basic', basic_field('root', 'correct horse'))
        await browser.get('/basic', basic_field('ro\not', 'x'))
        for _ in range(8):
            await browser.post('/auth/login', 'username=root&password=wrong')
    start = len(messages)
    setting_up(main, tmp_path, routes=[{'match': '/basic', 'auth': 'basic'}, {}])
    told = messages[start + 1:]
    here = 'from 127.0.0.1'
    assert told[:5] == [f'Wrong set-up code {here}', f'root became the first administrator, {here}', f'root signed out {here}',
                        f'root signed in {here}', f"Wrong name or password of 'ro\\not' {here}"]
    assert told[5:] == [f"Wrong name or password of 'root' {here}"] * 5 + [f"Too many failures of 'root' {here}: the next try has to wait"]


def test_the_log_tells_once_who_signs_in_with_each_request(messages):
    async def main(browser, server):
        for _ in range(3):
            assert (await browser.get('/basic', basic_field('ann', WORDS['ann']))).status == 200
    run(main)
    assert [message for message in messages if 'signed in' in message] == ['ann signed in from 127.0.0.1 by Basic']


@pytest.mark.parametrize('route', [{'auth': ''}, {'auth': []}, {'auth': {}}, {'auth': None}])
def test_no_route_lies_open_because_of_an_empty_property(route):
    with pytest.raises(WebError, match=r'web.routes\[0\].auth'):
        Server({'routes': [route]})


@pytest.mark.parametrize('methods', ['', [], {}])
def test_there_is_a_way_to_sign_in(methods):
    with pytest.raises(WebError, match='auth.methods'):
        Server({'auth': {'methods': methods}})


@pytest.mark.parametrize('auth, name, told', [('digest', 'ann', 1), ('digest', 'bob', 0), (['digest', 'basic'], 'ann', 0)])
def test_the_log_tells_of_digest_without_anybody_who_can_use_it(messages, auth, name, told):
    user = {'password': USERS[name]['password']} | ({'digest': USERS[name]['digest']} if name == 'bob' else {})
    Server({'auth': {'users': {name: user}}, 'routes': [{'auth': auth}]})
    assert len([message for message in messages if 'nobody can sign in' in message]) == told


def test_of_two_browsers_one_wins(tmp_path, messages):
    async def main(browser, server):
        code, = code_in(messages)
        other = Browser(await connect(server))
        fibers = [runtime.spawn(one.post('/auth/login', set_up(code, name))) for one, name in ((browser, 'one'), (other, 'two'))]
        answers = [await fiber.join() for fiber in fibers]
        await other.client.stream.close()
        return [answer.status for answer in answers]
    assert setting_up(main, tmp_path) == [303, 409]
    assert [*json5.load(tmp_path / 'state/auth.json5')['users']] == ['one']


def test_who_is_kept_in_memory_only_lasts_over_a_reload(tmp_path, messages):
    async def main(browser, server):
        await browser.post('/auth/login', set_up(code_in(messages)[0]))
        server.reload(server.config)
        return (await browser.get('/admin/')).text, server.access.code, os.path.exists(tmp_path / 'state')
    assert setting_up(main, tmp_path, keeps=False) == ('root', None, False)


def test_a_reload_while_the_administrator_is_made_leaves_no_code(tmp_path, messages):
    async def main(browser, server):
        made = runtime.spawn(browser.post('/auth/login', set_up(code_in(messages)[0])))
        while not server.access.users.hashing.locked():
            await runtime.sleep(0)
        server.reload(server.config)
        status = (await made.join()).status
        return status, server.access.code, len(server.access.users)
    assert setting_up(main, tmp_path, {'rounds': 200_000}) == (303, None, 1)


def test_digest_works_for_the_administrator_where_it_is_a_method(tmp_path, messages):
    async def main(browser, server):
        await browser.post('/auth/login', set_up(code_in(messages)[0]))
        command = ['curl', '-s', '--digest', '-u', 'root:correct horse', server.addresses[0] + '/admin/']
        return (await runtime.to_thread(lambda: subprocess.run(command, stdout=subprocess.PIPE, timeout=30))).stdout
    assert setting_up(main, tmp_path, {'rounds': 10, 'methods': ['form', 'digest']}) == b'root'
    os.unlink(tmp_path / 'state/auth.json5')
    messages.clear()
    routes = {'match': '/admin/', 'role': 'admin', 'auth': ['form', 'digest']}, {}
    assert setting_up(main, tmp_path, routes=routes) == b'root'


def test_users_of_the_state_add_to_the_configured_ones(tmp_path, messages):
    write(tmp_path, 'state/auth.json5', json5.render({'users': {'bob': {**USERS['bob'], 'roles': ['admin']}}}))

    async def main(browser, server):
        found = []
        for name in ('ann', 'bob'):
            await browser.sign_in(name)
            found.append((await browser.get('/admin/')).text)
        os.unlink(tmp_path / 'state/auth.json5')
        server.reload(server.config)
        return found, (await browser.get('/')).text, (await browser.get('/admin/')).status
    assert setting_up(main, tmp_path, AUTH) == (['ann', 'bob'], 'bob', 403)
    assert code_in(messages) == []


@pytest.mark.parametrize('text', ['{users: ', '[]', '{users: []}', '{users: {root: {password: "plain"}}}'])
def test_a_damaged_state_stops_the_start_and_lets_nobody_in(tmp_path, text):
    path = write(tmp_path, 'state/auth.json5', text)
    with pytest.raises(WebError):
        Server({'auth': {'rounds': 10}}, lambda name: name.replace('@state', str(tmp_path / 'state')))
    assert path.read_text() == text


def test_hashes_of_the_state_get_the_configured_rounds_at_login(tmp_path, messages):
    write(tmp_path, 'state/auth.json5', json5.render({'users': {'bob': {**USERS['bob'], 'note': 'kept'}}}))

    async def main(browser, server):
        await browser.sign_in('ann')
        return [(await browser.sign_in('bob')).status for _ in range(2)], server.access.users.passwords['bob']
    statuses, stored = setting_up(main, tmp_path, {**AUTH, 'rounds': 20})
    kept = json5.load(tmp_path / 'state/auth.json5')['users']['bob']
    assert statuses == [303, 303] and kept['password'] == stored and passwords.split(stored)[0] == 20 and kept['note'] == 'kept'


def test_a_login_brings_back_no_user_who_was_taken_away_by_hand(tmp_path, messages):
    write(tmp_path, 'state/auth.json5', json5.render({'users': {'bob': USERS['bob']}}))

    async def main(browser, server):
        write(tmp_path, 'state/auth.json5', '{users: {}}')
        return (await browser.sign_in('bob')).status
    assert setting_up(main, tmp_path, {**AUTH, 'rounds': 20}) == 303
    assert json5.load(tmp_path / 'state/auth.json5') == {'users': {}}


# Nothing else waits

def test_plain_requests_are_answered_while_logins_run(tmp_path):
    """Each hash takes a few tenths of a second of a thread; that plain requests come in between cannot depend on luck."""
    users = {f'user{n}': {'password': passwords.hash_password('word', 300_000)} for n in range(4)}
    write(tmp_path, 'config/ioto.json5', json5.render({'services': {'web': True}, 'web': {'listen': ['http://127.0.0.1:0']}, 'auth': {'users': users}}))
    with Child(tmp_path / 'config') as child:
        body = 'username={}&password=word'
        statuses = []

        def login(name):
            with socket.create_connection(('127.0.0.1', child.port), 30) as sock:
                text = body.format(name)
                sock.sendall(f'POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n'
                             f'Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}'.encode())
                statuses.append(sock.recv(65536)[:12])
        threads = [threading.Thread(target=login, args=(name,)) for name in users]
        for thread in threads:
            thread.start()
        answered = 0
        while any(thread.is_alive() for thread in threads):
            assert get(child.port, '/api/device')[0] == 200
            answered += 1
        for thread in threads:
            thread.join()
    assert statuses == [b'HTTP/1.1 303'] * 4 and answered > 10


def test_right_passwords_that_come_at_once_are_no_failures():
    async def main(browser, server):
        async def sign_in(name):
            stream = await runtime.connect('127.0.0.1', server.listeners[0].port)
            async with stream:
                return (await Browser(Client(stream)).sign_in(name)).status
        fibers = [runtime.spawn(sign_in(name)) for name in [*WORDS] * 10]
        return [await fiber.join() for fiber in fibers]
    assert run(main) == [303] * 30
