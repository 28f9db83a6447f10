"""The Store of the database on the shipped page: live for who has signed in, and nobody else."""
import json
import os
import shutil
import subprocess
import sys

import pytest

from ioto import json5
from ioto.web import passwords
from tests import webdriver
from tests.child import TREE, Child
from tests.test_site import CONTRAST

if not webdriver.available() and os.environ.get('CI') != 'true':
    pytest.skip('chromedriver is not installed', allow_module_level=True)

USERS = {name: {'password': passwords.hash_password('wonderland', 10), 'roles': roles}
         for name, roles in {'ann': ['user'], 'cy': []}.items()}
HIDDEN = "document.getElementById('store').hidden"
ROWS = "[...document.querySelectorAll('#items tr')].map(row => [...row.cells].map(cell => cell.textContent))"
COUNTER = "document.querySelector('#items tr:nth-child(1) td:nth-child(2)')?.textContent"


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    with webdriver.Browser(tmp_path_factory.mktemp('browser')) as found:
        yield found

@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'config').mkdir()
    shutil.copy(os.path.join(TREE, 'config/schema.json5'), tmp_path / 'config')
    (tmp_path / 'config/ioto.json5').write_text(json5.render({
        'services': {'web': True, 'database': True, 'demo': True}, 'demo': {'period': '100 msecs'},
        'web': {'listen': ['http://127.0.0.1:0'], 'documents': os.path.join(TREE, 'site')},
        'auth': {'users': USERS, 'rounds': 10, 'roles': {'admin': ['user'], 'user': []}}}))
    subprocess.run([sys.executable, '-m', 'ioto.db', '--config', tmp_path / 'config', 'create', 'Store', 'key=markup',
                    'value=<b>bold</b>'], cwd=tmp_path, env={**os.environ, 'PYTHONPATH': TREE}, check=True, capture_output=True)
    return tmp_path / 'config'


def sign_in(browser, child, name):
    browser.open(f'http://127.0.0.1:{child.port}/auth/login')
    browser.script("document.querySelector('[name=username]').value = arguments[0];"
                   "document.querySelector('[name=password]').value = 'wonderland'; document.querySelector('button').click()", name)
    browser.wait(f"document.getElementById('sign')?.textContent == 'Sign out {name}'")


def test_the_counter_counts_for_who_has_signed_in_until_it_signs_out(browser, folder):
    with Child(folder) as child:
        browser.open(f'http://127.0.0.1:{child.port}/')
        browser.wait("document.getElementById('state').dataset.state == 'connected'")
        assert browser.script(f'return {HIDDEN}') is True
        sign_in(browser, child, 'ann')
        browser.wait(f'!{HIDDEN}')
        before = int(browser.script(f'return {COUNTER}'))
        browser.wait(f'Number({COUNTER}) > {before + 2}')
        rows = browser.script(f'return {ROWS}')
        assert [row[0] for row in rows] == ['counter', 'markup'] and rows[1][1] == '<b>bold</b>'
        for width, scheme in (320, 'dark'), (1200, 'light'):
            browser.command('Emulation.setDeviceMetricsOverride', width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
            browser.command('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])
            assert browser.script('return document.documentElement.scrollWidth') <= width
            assert browser.script(CONTRAST) == []
        browser.command('Emulation.clearDeviceMetricsOverride')
        browser.command('Emulation.setEmulatedMedia', features=[])
        assert [entry['message'] for entry in browser.log() if 'favicon' not in entry['message']] == []
        browser.script("fetch('/auth/logout', {method: 'POST'})")
        browser.wait(HIDDEN)
        browser.open('about:blank')
        assert child.stop() == 0
        assert 'Traceback' not in child.output()
    browser.log()


def test_who_may_not_read_sees_nothing_and_is_asked_once(browser, folder):
    with Child(folder) as child:
        sign_in(browser, child, 'cy')
        requests = "performance.getEntriesByType('resource').filter(entry => entry.name.endsWith('/api/db/Store')).length"
        browser.wait(f'{requests} == 1')
        answered = "document.getElementById('requests').textContent"
        before = browser.script(f'return {answered}')
        browser.wait(f"{answered} != '{before}'")
        assert browser.script(f'return [{HIDDEN}, {requests}]') == [True, 1]
        browser.open('about:blank')
    assert json.dumps(browser.log()).count('403') <= 2
