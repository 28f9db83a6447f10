"""CORS: who may call a route from a page of another origin."""

import pytest

from ioto.http import HttpError
from ioto.web import Server, WebError
from tests.web.support import serve

PAGE = 'https://app.example'


def ask(client, line, *fields):
    return client.ask('\r\n'.join([f'{line} HTTP/1.1', 'Host: t', *fields, '', '']).encode(), line.split()[0])


def preflight(client, path, method, origin=PAGE):
    return ask(client, f'OPTIONS {path}', f'Origin: {origin}', f'Access-Control-Request-Method: {method}',
               'Access-Control-Request-Headers: content-type')


def allowed(answer):
    return {name: value for name, value in answer.fields.items() if name.startswith('access-control-')}


CONFIG = {'routes': [
    {'match': '/api/', 'cors': {'origins': [PAGE, 'http://Other.example:8080'], 'headers': ['Content-Type', 'X-Token'],
                                'expose': ['ETag'], 'credentials': True, 'age': '1 hr'}},
    {'match': '/some/', 'cors': {'origins': [PAGE], 'methods': ['GET']}},
    {'match': '/open/', 'cors': {'origins': ['*']}},
    {'match': '/mixed', 'methods': ['GET'], 'cors': {'origins': ['*']}},
    {'match': '/mixed', 'methods': ['POST']},
    {},
]}


async def fail(web):
    raise HttpError(409, 'in conflict')


async def stream(web):
    await web.write('streamed')


ACTIONS = dict.fromkeys(('/api/a', '/some/a', '/open/a', '/mixed', '/plain'), lambda web: 'x') | {'/api/fail': fail, '/api/stream': stream}


def test_a_preflight_says_what_is_allowed():
    async def main(client, server):
        for origin in (PAGE, 'http://other.example:8080'):
            answer = await preflight(client, '/api/a', 'PUT', origin)
            assert answer.status == 204 and answer.fields['vary'] == 'Origin'
            assert allowed(answer) == {
                'access-control-allow-origin': origin, 'access-control-allow-methods': 'PUT',
                'access-control-allow-headers': 'Content-Type, X-Token', 'access-control-max-age': '3600',
                'access-control-allow-credentials': 'true', 'access-control-expose-headers': 'ETag'}
        answer = await preflight(client, '/open/a', 'DELETE')
        assert answer.status == 204 and 'vary' not in answer.fields
        assert allowed(answer) == {'access-control-allow-origin': '*', 'access-control-allow-methods': 'DELETE',
                                   'access-control-allow-headers': 'Content-Type'}
    serve(main, CONFIG, ACTIONS)


@pytest.mark.parametrize('path, method, origin', [
    ('/api/a', 'PUT', 'https://evil.example'), ('/api/a', 'PUT', 'https://app.example.evil'), ('/api/a', 'PUT', 'null'),
    ('/api/a', 'PUT', 'http://app.example'), ('/some/a', 'PUT', PAGE), ('/mixed', 'POST', PAGE), ('/plain', 'GET', PAGE),
    ('/none', 'GET', PAGE), ('/open/a', 'BREW', PAGE),
])
def test_a_preflight_of_others_allows_nothing(path, method, origin):
    async def main(client, server):
        answer = await preflight(client, path, method, origin)
        assert answer.status in (200, 204, 404) and 'access-control-allow-methods' not in answer.fields
        if method != 'BREW':
            assert not allowed(answer)
    serve(main, CONFIG, ACTIONS)


@pytest.mark.parametrize('line, status', [('GET /api/a', 200), ('HEAD /api/a', 200), ('GET /api/fail', 409), ('GET /api/none', 404),
                                          ('GET /api/stream', 200), ('BREW /api/a', 501), ('TRACE /api/a', 405)])
def test_answers_carry_the_origin_errors_too(line, status):
    async def main(client, server):
        answer = await ask(client, line, f'Origin: {PAGE}')
        assert answer.status == status and answer.fields['vary'] == 'Origin'
        assert allowed(answer) == {'access-control-allow-origin': PAGE, 'access-control-allow-credentials': 'true',
                                   'access-control-expose-headers': 'ETag'}
        answer = await ask(client, line, 'Origin: https://evil.example')
        assert answer.status == status and answer.fields['vary'] == 'Origin' and not allowed(answer)
        answer = await ask(client, line)
        assert answer.status == status and answer.fields['vary'] == 'Origin' and not allowed(answer)
    serve(main, CONFIG, {path: action for path, action in ACTIONS.items() if path != '/api/none'})


def test_documents_and_304_carry_the_origin(tmp_path):
    (tmp_path / 'api').mkdir()
    (tmp_path / 'api' / 'x.txt').write_text('x')

    async def main(client, server):
        etag = (await ask(client, 'GET /api/x.txt', f'Origin: {PAGE}')).fields['etag']
        answer = await ask(client, 'GET /api/x.txt', f'Origin: {PAGE}', f'If-None-Match: {etag}')
        assert answer.status == 304 and answer.fields['access-control-allow-origin'] == PAGE and answer.fields['vary'] == 'Origin'
    serve(main, {**CONFIG, 'documents': str(tmp_path)})


def test_vary_is_kept_where_the_action_has_one_of_its_own():
    def action(web):
        web.set_header('Vary', 'Accept')
        return 'x'

    async def main(client, server):
        assert (await ask(client, 'GET /api/v', f'Origin: {PAGE}')).raw_head.count(b'Vary: ') == 2
    serve(main, CONFIG, {'/api/v': action})


def test_other_routes_have_no_such_fields():
    async def main(client, server):
        answer = await ask(client, 'GET /plain', f'Origin: {PAGE}')
        assert not allowed(answer) and 'vary' not in answer.fields
        answer = await ask(client, 'OPTIONS /api/a')
        assert answer.status == 200 and 'PUT' in answer.fields['allow']
    serve(main, CONFIG, ACTIONS)


def test_a_preflight_needs_no_user():
    async def refuse(web):
        raise HttpError(401)

    async def main(client, server):
        server.router.routes[0].checks.append(refuse)
        assert (await preflight(client, '/api/a', 'GET')).status == 204
        answer = await ask(client, 'GET /api/a', f'Origin: {PAGE}')
        assert answer.status == 401 and answer.fields['access-control-allow-origin'] == PAGE
    serve(main, CONFIG, ACTIONS)


@pytest.mark.parametrize('cors, property', [
    ({'origins': ['*'], 'credentials': True}, '.credentials'), ({'origins': ['NULL', PAGE], 'credentials': True}, '.credentials'),
    ({}, '.origins'), ({'origins': [PAGE], 'methods': []}, '.methods'), ({'methods': ['GET']}, '.origins'),
    ({'origins': [PAGE, 'app.example']}, '.origins[1]'), ({'origins': ['https://a.example/']}, '.origins[0]'),
    ({'origins': ['https://a b']}, '.origins[0]'), ({'origins': [PAGE], 'methods': ['get']}, '.methods'),
    ({'origins': [PAGE], 'headers': ['a\r\nb']}, ''), ({'origins': [PAGE], 'age': 'soon'}, ''),
])
def test_wrong_properties_stop_the_start(cors, property):
    with pytest.raises(WebError) as caught:
        Server({'routes': [{'cors': cors}]})
    assert caught.value.property == f'web.routes[0].cors{property}'
