"""The agent behind nginx: what the proxy makes of our answers, and we of its requests."""

import json
import os
import time

import pytest

from ioto import json5
from ioto.web.passwords import hash_password
from tests.child import Child, write
from tests.web import webchild
from tests.web.nginx import Nginx
from tests.web.rawhttp import Connection, fetch, request
from tools import peers

pytestmark = pytest.mark.skipif(not peers.which('nginx'), reason='nginx is not there')


@pytest.fixture(scope='module')
def agent(tmp_path_factory):
    folder = tmp_path_factory.mktemp('agent')
    agent = webchild.start(folder, listen=['http://127.0.0.1:0', f'unix:{folder}/sock'], proxies=['127.0.0.1', 'unix'],
                           log={'path': 'access.log', 'format': '%h %r %s'}, redirect=[{'from': '/secure', 'to': 'https://'}],
                           limits={'body': '2MB', 'clientConnections': 1})
    yield agent
    assert agent.stop() == 0, agent.log()


@pytest.fixture(scope='module')
def proxy(agent, tmp_path_factory):
    with Nginx(tmp_path_factory.mktemp('nginx'), agent.port) as proxy:
        yield proxy


def logged(agent, line):
    """Whether the request log gets this line: it is written when the answer has left."""
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        with open(os.path.join(agent.folder, 'access.log'), encoding='utf-8') as file:
            if line in file.read().splitlines():
                return True
        time.sleep(0.01)
    return False


def test_requests_share_a_connection_to_the_agent(agent, proxy):
    def accepted():
        return json.loads(fetch(agent.port, '/api/stats').body)['accepted']
    with Connection(proxy.port) as connection:
        for n in range(20):
            connection.send(request('/hello.txt'))
            assert connection.response().body == webchild.HELLO
            if n == 0:
                before = accepted()
    assert accepted() - before == 1             # that which asks


def test_the_agent_knows_the_client(agent, proxy):
    fetch(proxy.port, '/hello.txt?known', 'X-Forwarded-For: 198.51.100.9')
    fetch(agent.port, '/hello.txt?direct')
    assert logged(agent, '198.51.100.9 GET /hello.txt?known HTTP/1.1 200')
    assert logged(agent, '127.0.0.1 GET /hello.txt?direct HTTP/1.1 200')


def test_by_a_unix_socket_as_well(agent, tmp_path):
    with Nginx(tmp_path, f'unix:{agent.folder}/sock', 'https') as proxy:
        assert fetch(proxy.port, '/hello.txt?unix', 'X-Forwarded-For: 198.51.100.9').body == webchild.HELLO
        assert fetch(proxy.port, '/secure').status == 404         # it is
    assert logged(agent, '198.51.100.9 GET /hello.txt?unix HTTP/1.1 200')


def test_the_scheme_and_host_are_those_of_the_client(proxy):
    answer = fetch(proxy.port, '/secure?x=1')
    assert answer.status == 302 and answer.get('location') == 'https://test/secure?x=1'


def test_an_upload_in_chunks_goes_through(proxy):
    with Connection(proxy.port) as connection:
        connection.send(request('/api/count', 'Transfer-Encoding: chunked', method='POST'))
        for _ in range(16):
            connection.send(b'10000\r\n' + bytes(0x10000) + b'\r\n')
        connection.send(b'0\r\n\r\n')
        assert connection.response('POST').body == b'1048576'


def test_an_upload_over_the_limit_is_refused(proxy):
    answer = fetch(proxy.port, '/api/count', 'Content-Length: 3000000', method='POST')
    assert answer.status == 413


def test_a_large_document_arrives_whole(proxy):
    answer = fetch(proxy.port, '/big.bin')
    assert answer.status == 200 and answer.body == webchild.BIG


def test_streams_arrive_as_they_are_written(proxy):
    answer = fetch(proxy.port, '/api/stream')
    assert answer.framing == 'chunked' and answer.body.count(b'line') == 20


def test_head_304_and_errors(proxy):
    answer = fetch(proxy.port, '/hello.txt', method='HEAD')
    assert (answer.status, answer.get('content-length'), answer.body) == (200, '14', b'')
    answer = fetch(proxy.port, '/hello.txt', f'If-None-Match: {answer.get("etag")}')
    assert (answer.status, answer.body) == (304, b'')
    for path, status in (('/none', 404), ('/api/error', 409), ('/api/fail', 500), ('/api/none', 204), ('/api/redirect', 302)):
        assert fetch(proxy.port, path).status == status
    assert fetch(proxy.port, '/api/get', method='POST').status == 405


def test_an_upgrade_that_the_agent_does_not_know_is_an_ordinary_request(proxy):
    with Connection(proxy.port) as connection:
        connection.send(request('/hello.txt', 'Connection: Upgrade', 'Upgrade: none'))
        assert connection.response().body == webchild.HELLO


def test_signing_in_through_a_proxy_that_speaks_https(tmp_path):
    """The cookie is that of a secure site, and the client who guesses is made to wait, not all who come by the proxy."""
    write(tmp_path, 'config/ioto.json5', json5.render({
        'services': {'web': True},
        'web': {'listen': ['http://127.0.0.1:0'], 'documents': 'site', 'proxies': ['127.0.0.1'], 'routes': [{'role': 'user'}]},
        'auth': {'users': {'ann': {'password': hash_password('open sesame', 100), 'roles': ['user']}}}}))
    write(tmp_path, 'site/index.html', 'inside')

    def login(word, client):
        body = f'username=ann&password={word}'
        return fetch(proxy.port, '/auth/login', f'X-Forwarded-For: {client}', 'Origin: https://test',
                     'Content-Type: application/x-www-form-urlencoded', method='POST', body=body.encode())
    with Child(tmp_path / 'config') as child, Nginx(tmp_path / 'nginx', child.port, 'https') as proxy:
        answer = login('open+sesame', '198.51.100.9')
        assert answer.status == 303 and answer.get('set-cookie').startswith('__Host-') and 'Secure' in answer.get('set-cookie')
        cookie = answer.get('set-cookie').partition(';')[0]
        assert fetch(proxy.port, '/', f'Cookie: {cookie}').body == b'inside' and fetch(proxy.port, '/').status == 401
        assert [login('guess', '198.51.100.66').status for _ in range(7)][-1] == 429
        assert login('open+sesame', '198.51.100.9').status == 303
