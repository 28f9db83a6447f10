"""The shipped page in a real browser: live figures, a strict policy for its content, clear words without the device."""
import os
import signal

import pytest

from tests import webdriver
from tests.child import TREE, Child, get, write

if not webdriver.available() and os.environ.get('CI') != 'true':
    pytest.skip('chromedriver is not installed', allow_module_level=True)

CONFIG = """{
    services: {web: true},
    web: {listen: ['http://127.0.0.1:0'], documents: '%s', headers: {'Content-Security-Policy': "default-src 'self'"}},
    device: {name: 'Pump <b>7</b>', id: 'ABCDEFGHJK', model: 'P1', serial: 42},
}"""
TEXT = "document.getElementById('%s').textContent"
CONNECTED = "document.getElementById('state').dataset.state == 'connected'"


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, 'config/ioto.json5', CONFIG % os.path.join(TREE, 'site'))
    return tmp_path / 'config'


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    with webdriver.Browser(tmp_path_factory.mktemp('browser')) as found:
        yield found


@pytest.fixture
def page(folder, browser):
    browser.log()
    with Child(folder) as child:
        browser.open(f'http://127.0.0.1:{child.port}/')
        browser.wait(CONNECTED)
        yield browser, child
        browser.open('about:blank')


def test_it_shows_who_the_device_is(page):
    browser, _ = page
    assert browser.script('return document.title') == 'Pump <b>7</b>'
    assert browser.script(f"return {TEXT % 'name'}") == 'Pump <b>7</b>'
    text = browser.script("return document.body.innerText")
    for word in ('ABCDEFGHJK', 'P1', '42', 'Connected', 'Uptime', 'MB'):
        assert word in text


def test_the_figures_are_live(page):
    browser, child = page
    requests = int(browser.script(f"return {TEXT % 'requests'}"))
    uptime = browser.script(f"return {TEXT % 'uptime'}")
    for _ in range(20):
        get(child.port)
    browser.wait(f"Number({TEXT % 'requests'}) > {requests + 20}")
    browser.wait(f"{TEXT % 'uptime'} != '{uptime}'")
    browser.wait("document.getElementById('line').getAttribute('d')")
    assert float(browser.script(f"return {TEXT % 'rate'}")) > 0


def test_nothing_is_refused_by_the_policy_and_the_console_is_empty(page):
    browser, child = page
    assert get(child.port)[1]['content-security-policy'] == "default-src 'self'"
    requests = int(browser.script(f"return {TEXT % 'requests'}"))
    browser.wait(f"Number({TEXT % 'requests'}) > {requests}")
    assert browser.log() == []
    assert browser.script("return getComputedStyle(document.querySelector('.card')).display") == 'flex'


def test_every_resource_comes_from_the_device(page):
    browser, child = page
    names = browser.script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert names and all(name.startswith(f'http://127.0.0.1:{child.port}/') for name in names)


def test_a_device_that_does_not_answer_is_said_so_and_comes_back(folder, browser):
    with Child(folder) as child:
        port = child.port
        browser.open(f'http://127.0.0.1:{port}/')
        browser.wait(CONNECTED)
        requests = browser.script(f"return {TEXT % 'requests'}")
        assert child.stop() == 0
        browser.wait("document.getElementById('state').dataset.state == 'unreachable'")
        assert 'does not answer' in browser.script(f"return {TEXT % 'banner'}")
        assert browser.script("return document.getElementById('banner').hidden") is False
        assert browser.script("return document.getElementById('main').hasAttribute('data-stale')") is True
        assert browser.script(f"return {TEXT % 'requests'}") >= requests
    write(folder, 'local.json5', f"{{web: {{listen: ['http://127.0.0.1:{port}']}}}}")
    with Child(folder):
        browser.wait(CONNECTED)
        assert browser.script("return document.getElementById('banner').hidden") is True
    browser.open('about:blank')
    browser.log()


def test_a_frozen_device_is_noticed(folder, browser):
    with Child(folder) as child:
        browser.open(f'http://127.0.0.1:{child.port}/')
        browser.wait(CONNECTED)
        child.send(signal.SIGSTOP)
        try:
            browser.wait("document.getElementById('state').dataset.state == 'unreachable'")
        finally:
            child.send(signal.SIGCONT)
        browser.wait(CONNECTED)
        browser.open('about:blank')
        browser.log()


@pytest.mark.parametrize('width', [320, 390, 768, 1400])
def test_it_fits_the_window(page, width):
    browser, _ = page
    browser.command('Emulation.setDeviceMetricsOverride', width=width, height=800, deviceScaleFactor=1,
                    mobile=width < 500)
    try:
        assert browser.script('return document.documentElement.scrollWidth') <= width
    finally:
        browser.command('Emulation.clearDeviceMetricsOverride')


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_has_contrast(page, scheme):
    """WCAG 2.1 level AA, 1.4.3: at least 4.5:1, for every text on the page in either colour scheme."""
    browser, _ = page
    browser.command('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])
    weak = browser.script(CONTRAST)
    browser.command('Emulation.setEmulatedMedia', features=[])
    assert weak == []


def test_it_can_be_used_without_sight(page):
    browser, _ = page
    tree = browser.command('Accessibility.getFullAXTree')['nodes']
    roles = {}
    for node in tree:
        if not node.get('ignored'):
            roles.setdefault(node['role']['value'], []).append(node.get('name', {}).get('value', ''))
    assert browser.script("return document.querySelector('[role=status]').textContent") == 'Connected'
    assert roles['main'] and roles['banner'] and roles['contentinfo'] and 'status' in roles
    assert set(roles['heading']) >= {'Uptime', 'Requests', 'Connections', 'Device', 'System'}
    assert set(roles['region']) >= {'Uptime', 'Requests'}
    assert all(roles.get('progressIndicator', ['-']))
    assert browser.script("return document.documentElement.lang") == 'en'


CONTRAST = """
const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
const light = colour => {
    const [r, g, b] = numbers(colour).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = node => {
    for (; node; node = node.parentElement) {
        const colour = getComputedStyle(node).backgroundColor;
        if ((numbers(colour)[3] ?? 1) > 0) return colour;
    }
    return 'rgb(255, 255, 255)';
};
const weak = [];
for (const node of document.body.querySelectorAll('*')) {
    const text = [...node.childNodes].some(child => child.nodeType == 3 && child.textContent.trim());
    if (!text || !node.checkVisibility() || node.matches('script, noscript')) continue;
    const a = light(getComputedStyle(node).color), b = light(behind(node));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(`${node.tagName} ${node.id} ${ratio.toFixed(2)}`);
}
return weak;
"""
