"""Virtual hosts, the fields of routes and hosts, which path a match takes, and clients behind proxies."""

import pytest

from ioto.web import Server, WebError
from tests.web.support import connect, serve


def ask(client, path, host, *fields):
    return client.ask('\r\n'.join([f'GET {path} HTTP/1.1', f'Host: {host}', *fields, '', '']).encode())


@pytest.fixture
def sites(tmp_path):
    """Folders main, a and b, each with an index.html that names it."""
    for name in ('main', 'a', 'b'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'index.html').write_text(name)
    (tmp_path / 'main' / 'admin').mkdir()
    (tmp_path / 'main' / 'admin' / 'index.html').write_text('admin folder')
    return tmp_path


def hosts(sites):
    return {
        'documents': str(sites / 'main'), 'routes': [{'match': '/secret', 'methods': ['POST']}, {}], 'headers': {'X-From': 'main'},
        'hosts': [
            {'name': 'A.example', 'documents': str(sites / 'a'), 'headers': {'X-From': 'a', 'X-Frame-Options': ''}},
            {'name': ['*.b.example', 'c.example'], 'documents': str(sites / 'b'), 'routes': [{'match': '/gone', 'redirect': '/'}, {}],
             'redirect': [{'from': '/old', 'to': '/new'}]},
            {'name': '*.deep.b.example', 'index': 'none.html'},
        ],
    }


@pytest.mark.parametrize('host, body', [
    ('test', b'main'), ('a.example', b'a'), ('A.EXAMPLE:8080', b'a'), ('a.example.', b'a'), ('x.a.example', b'main'), ('c.example', b'b'),
    ('x.b.example', b'b'), ('y.x.b.example', b'b'), ('b.example', b'main'), ('xb.example', b'main'), ('127.0.0.1', b'main'),
])
def test_the_name_chooses_the_host(sites, host, body):
    async def main(client, server):
        for _ in range(2):
            answer = await ask(client, '/', host)
            assert (answer.status, answer.body) == (200, body)
    serve(main, hosts(sites))


def test_what_a_host_does_not_set_is_that_of_the_server(sites):
    async def main(client, server):
        assert (await ask(client, '/secret', 'a.example')).status == 405            # the server's routes
        assert (await ask(client, '/secret', 'c.example')).status == 200            # its own
        assert (await ask(client, '/gone', 'c.example')).fields['location'] == '/'
        assert (await ask(client, '/old', 'c.example')).fields['location'] == '/new'
        assert (await ask(client, '/old', 'a.example')).status == 404
        assert (await ask(client, '/', 'x.deep.b.example')).status == 404           # the longest name wins
        assert (await ask(client, '/act', 'x.b.example')).body == b'x.b.example'    # actions are everybody's
    serve(main, hosts(sites), {'/act': lambda web: web.host, '/secret': lambda web: 'x'})


def test_the_fields_of_a_host_take_the_place_of_the_servers(sites):
    async def main(client, server):
        for path in ('/', '/none'):
            answer = await ask(client, path, 'a.example')
            assert answer.raw_head.count(b'X-From:') == 1 and answer.fields['x-from'] == 'a'
            assert 'x-frame-options' not in answer.fields and answer.fields['x-content-type-options'] == 'nosniff'
        answer = await ask(client, '/', 'test')
        assert answer.fields['x-from'] == 'main' and 'x-frame-options' in answer.fields
    serve(main, hosts(sites))


def test_hosts_are_reloaded_whole_or_not_at_all(sites):
    async def main(client, server):
        late = []
        server.action('/late')(lambda web: late.append(web.host))
        assert (await ask(client, '/late', 'a.example')).status == 204
        wrong = {**server.config, 'hosts': [{'name': 'x.example', 'documents': str(sites / 'none')}]}
        with pytest.raises(WebError) as caught:
            server.reload(wrong)
        assert caught.value.property == 'web.hosts[0].documents'
        assert (await ask(client, '/', 'a.example')).body == b'a'
        server.remove_action('/late')
        assert (await ask(client, '/late', 'a.example')).status == 404
        server.reload({**server.config, 'hosts': []})
        assert (await ask(client, '/', 'a.example')).body == b'main'
    serve(main, hosts(sites))


@pytest.mark.parametrize('entry, property', [
    ({}, 'name'), ({'name': ''}, 'name'), ({'name': '*'}, 'name'), ({'name': 'a.*.b'}, 'name'), ({'name': '*a.b'}, 'name'),
    ({'name': 'http://a'}, 'name'), ({'name': [5]}, 'name'), ({'name': 5}, 'name'), ({'name': 'a b'}, 'name'), ({'name': 'a:80'}, 'name'), ({'name': 'dup.example'}, 'name'),
    ({'name': 'x', 'routes': [{'match': 'x'}]}, 'routes[0].match'), ({'name': 'x', 'headers': {'a b': 'c'}}, 'routes[0].headers'),
])
def test_wrong_hosts_stop_the_start(entry, property):
    with pytest.raises(WebError) as caught:
        Server({'hosts': [{'name': 'dup.example'}, entry]})
    assert caught.value.property == f'web.hosts[1].{property}'


def test_a_server_without_hosts_keeps_the_short_way():
    assert Server({}).plain and not Server({'hosts': [{'name': 'a.example'}]}).plain


# Routes

@pytest.mark.parametrize('match, paths, others', [
    ('/admin', ['/admin', '//admin', '/x/../admin', '/%61dmin'], ['/admin/', '/admin/x', '/adminx', '/']),
    ('/admin/', ['/admin/', '/admin/x', '/admin/x/y/', '/admin//', '/x/../admin/', '/admin/.'], ['/admin', '/adminx', '/', '/admin/../x']),
    ('/', ['/', '/x', '/x/y/'], []),
    ('', ['/', '/x', '/x/y/'], []),
])
def test_a_match_that_ends_in_a_slash_is_a_prefix_and_any_other_exact(match, paths, others):
    async def main(client, server):
        for path in paths:
            assert (await client.ask(f'GET {path}')).fields['location'] == '/here', path
        for path in others:
            assert (await client.ask(f'GET {path}')).status == 404, path
    serve(main, {'routes': [{'match': match, 'redirect': '/here'}]})


def test_a_folder_without_its_slash_is_redirected_to_it(sites):
    async def main(client, server):
        answer = await client.ask('GET /admin?x=1')
        assert answer.status == 301 and answer.fields['location'] == '/admin/?x=1'
        assert (await client.ask('GET /admin/')).body == b'admin folder'
        assert (await client.ask('GET /none')).status == 404
    serve(main, {'documents': str(sites / 'main'), 'routes': [{'match': '/admin/', 'cache': 'no-store'}, {}]})


def test_the_fields_of_a_route_take_the_place_of_the_servers():
    async def main(client, server):
        for path in ('/a', '/none'):
            answer = await client.ask(f'GET {path}')
            assert answer.raw_head.lower().count(b'x-frame-options:') == 1 and answer.fields['x-frame-options'] == 'DENY'
            assert 'referrer-policy' not in answer.fields and answer.fields['x-own'] == '1'
    serve(main, {'routes': [{'headers': {'X-FRAME-Options': 'DENY', 'Referrer-Policy': '', 'X-Own': '1'}}]}, {'/a': lambda web: 'x'})


# Proxies

@pytest.mark.parametrize('fields, remote', [
    ([], '127.0.0.1'),
    (['X-Forwarded-For: 198.51.100.7'], '198.51.100.7'),
    (['X-Forwarded-For: 203.0.113.1, 198.51.100.7'], '198.51.100.7'),
    (['X-Forwarded-For: 203.0.113.1', 'X-Forwarded-For: 198.51.100.7 ,10.1.2.3'], '198.51.100.7'),
    (['X-Forwarded-For: 10.1.2.3,10.255.0.1'], '10.1.2.3'),
    (['X-Forwarded-For: 2001:db8::1'], '2001:db8::1'),
    (['X-Forwarded-For: 2001:db8::1, fd00::5'], '2001:db8::1'),
    (['X-Forwarded-For: evil'], '127.0.0.1'),
    (['X-Forwarded-For: 198.51.100.7, evil, 10.0.0.1'], '10.0.0.1'),
    (['X-Forwarded-For: 198.51.100.7, unix'], '127.0.0.1'),
    (['X-Forwarded-For: 198.51.100.7,'], '127.0.0.1'),
    (['X-Forwarded-For: 198.51.100.7:80'], '127.0.0.1'),
    (['X-Forwarded-For: 0198.51.100.7'], '127.0.0.1'),
    (['X-Forwarded-For: <script>'], '127.0.0.1'),
    (['X-Forwarded-For: 1.2.3.4, ' + ','.join(['10.0.0.1'] * 900)], '1.2.3.4'),
])
def test_the_client_is_the_last_address_that_is_no_proxy(fields, remote):
    async def main(client, server):
        assert (await ask(client, '/a', 'x', *fields)).body.decode() == remote
    serve(main, {'proxies': ['127.0.0.1', '10.0.0.0/8', 'fd00::/8']}, {'/a': lambda web: web.remote})


@pytest.mark.parametrize('fields, secure', [
    ([], False), (['X-Forwarded-Proto: https'], True), (['X-Forwarded-Proto: HTTPS'], True), (['X-Forwarded-Proto: http'], False),
    (['X-Forwarded-Proto: https, http'], False), (['X-Forwarded-Proto: http, https'], True), (['X-Forwarded-Proto: '], False),
])
def test_the_scheme_is_what_the_last_proxy_says(fields, secure):
    async def main(client, server):
        assert (await ask(client, '/a', 'x', *fields)).body == str(secure).encode()
    serve(main, {'proxies': ['127.0.0.1']}, {'/a': lambda web: str(web.secure)})


@pytest.mark.parametrize('proxies', [[], ['10.0.0.0/8', 'unix', '127.0.0.2']])
def test_nobody_else_is_believed(proxies):
    async def main(client, server):
        answer = await ask(client, '/a', 'x', 'X-Forwarded-For: 198.51.100.7', 'X-Forwarded-Proto: https')
        assert answer.body == b'127.0.0.1 False'
    serve(main, {'proxies': proxies}, {'/a': lambda web: f'{web.remote} {web.secure}'})


@pytest.mark.parametrize('entry', ['', 'localhost', '10.0.0.0/33', '10.0.0.0/-1', '10.0.0.0/x', '1.2.3', '::1/129'])
def test_wrong_proxies_stop_the_start(entry):
    with pytest.raises(WebError) as caught:
        Server({'proxies': ['::1', entry]})
    assert caught.value.property == 'web.proxies[1]'


@pytest.mark.parametrize('proxies, refused', [([], True), (['127.0.0.1'], False)])
def test_connections_of_one_client_are_limited_but_not_of_a_proxy(proxies, refused):
    async def main(client, server):
        assert (await client.ask('GET /a')).status == 200
        second = await connect(server)
        assert (await second.ask('GET /a')).status == (503 if refused else 200)
        await second.stream.close()
    serve(main, {'proxies': proxies, 'limits': {'clientConnections': 1}}, {'/a': lambda web: 'x'})
