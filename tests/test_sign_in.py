"""Signing in with a real browser: the first administrator, the way back, a wrong password, signing out."""
import os
import re

import pytest

from ioto import json5
from ioto.web import passwords
from tests import webdriver
from tests.child import TREE, Child, get, write

if not webdriver.available() and os.environ.get('CI') != 'true':
    pytest.skip('chromedriver is not installed', allow_module_level=True)

SITE = os.path.join(TREE, 'site')
ALERT = "document.querySelector('[role=alert]').textContent"
USER = {'password': passwords.hash_password('wonderland', 1000), 'roles': ['user']}


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    with webdriver.Browser(tmp_path_factory.mktemp('browser')) as found:
        yield found


def agent(folder, users, *options):
    write(folder, 'app.py', '''
async def start(agent):
    @agent.web.action('/admin/')
    async def admin(web):
        web.set_header('Content-Type', 'text/html')
        return f'<title>Inside</title><p id="who">{web.user.name} {web.target}</p>'
''')
    write(folder, 'config/ioto.json5', json5.render({
        'services': {'web': True}, 'app': 'app.py', 'auth': {'users': users, 'rounds': 1000, 'roles': {'admin': ['user'], 'user': []}},
        'web': {'listen': ['http://127.0.0.1:0'], 'documents': SITE, 'routes': [{'match': '/admin/', 'role': 'user'}, {}]}}))
    return Child(folder / 'config', *options, cwd=folder)


def fill(browser, **values):
    browser.script('for (const [name, value] of Object.entries(arguments[0])) document.querySelector(`[name=${name}]`).value = value;'
                   "document.body.dataset.old = 1; document.querySelector('button').click()", values)
    browser.wait("document.readyState == 'complete' && document.body && !document.body.dataset.old")


def test_a_user_signs_in_and_out(browser, tmp_path):
    with agent(tmp_path, {'ann': USER}) as child:
        url = f'http://127.0.0.1:{child.port}'
        browser.open(f'{url}/admin/page?x=1&y=%2F')
        assert browser.script('return location.href') == f'{url}/auth/login?next=/admin/page%3Fx%3D1%26y%3D%252F'
        assert browser.script('return document.title') == 'Sign in'
        assert browser.script("return [...document.querySelectorAll('input')].map(input => input.labels[0].textContent.trim())") == ['Name', 'Password']
        fill(browser, username='ann', password='wrong')
        assert browser.script(f'return {ALERT}') == 'wrong name or password'
        fill(browser, username='ann', password='wonderland')
        assert browser.script('return location.href') == f'{url}/admin/page?x=1&y=%2F'
        assert browser.script("return document.getElementById('who').textContent") == 'ann /admin/page?x=1&y=%2F'
        assert browser.script('return document.cookie') == ''
        browser.open(f'{url}/')
        browser.wait("document.getElementById('sign').textContent == 'Sign out ann'")
        browser.script("document.getElementById('sign').click()")
        browser.wait("document.title == 'Sign out'")
        fill(browser)
        browser.wait("document.getElementById('sign')?.textContent == 'Sign in'")
        browser.open(f'{url}/admin/page')
        assert browser.script('return document.title') == 'Sign in'
        browser.open('about:blank')
    refused = [entry['message'] for entry in browser.log() if '401' not in entry['message'] and 'favicon' not in entry['message']]
    assert refused == []


def test_the_first_administrator_is_made_in_the_browser(browser, tmp_path):
    with agent(tmp_path, {}) as child:
        code = child.wait_for(re.compile('set-up code ([0-9A-Z]{8})\n'))[1]
        url = f'http://127.0.0.1:{child.port}'
        assert code.encode() not in get(child.port, '/auth/login')[2]
        browser.open(f'{url}/admin/')
        assert browser.script('return document.title') == 'Set up'
        fill(browser, code='00000000', username='root', password='correct horse', again='correct horse')
        assert browser.script(f'return {ALERT}') == 'wrong set-up code'
        fill(browser, code=code.lower(), username='root', password='correct horse', again='correct hose')
        assert browser.script(f'return {ALERT}') == 'the passwords differ'
        fill(browser, code=code.lower(), username='root', password='correct horse', again='correct horse')
        assert browser.script("return document.getElementById('who').textContent") == 'root /admin/'
        browser.open('about:blank')
        assert child.stop() == 0
    with agent(tmp_path, {}) as child:
        browser.open(f'http://127.0.0.1:{child.port}/admin/')
        assert browser.script('return document.title') == 'Sign in'
        fill(browser, username='root', password='correct horse')
        assert browser.script("return document.getElementById('who').textContent") == 'root /admin/'
        assert 'set-up code' not in child.output()
        browser.open('about:blank')
    with agent(tmp_path, {}, '--reset') as child:
        child.wait_for('set-up code')
    browser.log()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_page_has_contrast_and_fits(browser, tmp_path, scheme):
    from tests.test_site import CONTRAST
    with agent(tmp_path, {}) as child:
        browser.command('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])
        browser.command('Emulation.setDeviceMetricsOverride', width=320, height=600, deviceScaleFactor=1, mobile=True)
        browser.open(f'http://127.0.0.1:{child.port}/auth/login')
        weak, width = browser.script(CONTRAST), browser.script('return document.documentElement.scrollWidth')
        browser.command('Emulation.clearDeviceMetricsOverride')
        browser.command('Emulation.setEmulatedMedia', features=[])
        browser.open('about:blank')
    assert weak == [] and width <= 320
