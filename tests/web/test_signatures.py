"""Signatures: what does not match is refused with the field's name, and actions get what was checked."""

import json

import pytest

from ioto.web import Server, WebError
from ioto.web.signatures import Mismatch, Shape
from tests.web.support import serve

FORM = 'application/x-www-form-urlencoded'


class User:
    def __init__(self, name, *roles):
        self.name, self.roles = name, roles

    def has_role(self, role):
        return role in self.roles


class Asker:
    def __init__(self, *roles):
        self.user = User('ann', *roles) if roles else None


@pytest.mark.parametrize('description, good, bad, message', [
    ({'type': 'string'}, ['', 'x'], [1, None, True, [], {}], 'expected a string, got 1'),
    ({'type': 'number'}, [0, -1.5, 1e300], ['1', True, None, float('inf'), float('nan')], "expected a number, got '1'"),
    ({'type': 'integer'}, [0, -7, 5.0, 10 ** 40], [1.5, '1', False], 'expected an integer, got 1.5'),
    ({'type': 'boolean'}, [True, False], [0, 1, 'true', None], 'expected true or false, got 0'),
    ({'type': 'object'}, [{}, {'a': 1}], [[], 'x', None], 'expected an object, got an array'),
    ({'type': 'array'}, [[], [1, 'x'], ()], [{}, 'x'], 'expected an array, got an object'),
    ({'type': 'null'}, [None], [0, '', False], 'expected null, got 0'),
    ({'type': ['string', 'null']}, ['x', None], [1], 'expected a string or null, got 1'),
    ({}, [1, 'x', None, [], {}, {'a': {'b': 1}}], [], None),
    ({'type': 'number', 'min': 0, 'max': 100}, [0, 100, 3.5], ['fast', -1, 100.1], "expected a number from 0 to 100, got 'fast'"),
    ({'type': 'integer', 'min': 1}, [1, 10 ** 9], [0], 'expected an integer of at least 1, got 0'),
    ({'type': 'string', 'min': 1, 'max': 3}, ['a', 'äöü'], ['', 'abcd'], "expected a string from 1 to 3 characters, got ''"),
    ({'type': 'array', 'max': 2}, [[], [1, 2]], [[1, 2, 3]], 'expected an array of at most 2 items, got an array'),
    ({'type': 'string', 'pattern': '[a-z]+'}, ['abc'], ['', 'abc1', 'abc\n'], "expected a string that matches [a-z]+, got ''"),
    ({'enum': ['on', 'off', 3]}, ['on', 3], ['ON', 4], "expected one of 'on', 'off', 3, got 'ON'"),
    ({'enum': [1, False]}, [1, 1.0, False], [True, 0], 'expected one of 1, False, got true'),
    ({'items': {'type': 'integer'}}, [[], [1, 2]], [[1, 'x']], "[1]: expected an integer, got 'x'"),
    ({'fields': {'a': {'type': 'string', 'required': True}}}, [{'a': 'x'}], [{}, {'a': None}, {'a': 'x', 'b': 1}],
     'a: expected a string, got nothing'),
    ({'fields': {'a': {}}, 'extra': True}, [{}, {'a': 1}, {'b': [2]}], [[]], 'expected an object, got an array'),
    ({'fields': {'p': {'fields': {'q': {'items': {'fields': {'r': {'type': 'boolean'}}}}}}}}, [{'p': {'q': [{'r': True}, {}]}}],
     [{'p': {'q': [{}, {'r': 1}]}}], 'p.q[1].r: expected true or false, got 1'),
])
def test_values_match_their_description_or_are_refused(description, good, bad, message):
    shape = Shape(description, 'x')
    for value in good:
        assert shape.check(value, '', None) == (list(value) if isinstance(value, tuple) and shape.items else value)
    for n, value in enumerate(bad):
        with pytest.raises(Mismatch) as caught:
            shape.check(value, '', None)
        if not n:
            error = caught.value
            assert (f'{error.field}: ' if error.field else '') + error.message == message


@pytest.mark.parametrize('description, text, value', [
    ({'type': 'integer'}, '7', 7), ({'type': 'number'}, '-1.5', -1.5), ({'type': 'boolean'}, 'true', True),
    ({'type': 'boolean'}, 'on', True), ({'type': 'string'}, '7', '7'), ({'type': 'array'}, '[1]', [1]), ({}, '7', '7'),
    ({'type': ['integer', 'string']}, '7', '7'), ({'type': ['integer', 'null']}, 'null', None),
])
def test_variables_of_queries_and_forms_are_converted(description, text, value):
    found = Shape(description, 'x').check(text, '', None, text=True)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize('text', ['', 'x', '1e999', 'NaN', '[' * 100000, '9' * 5000, ' '])
def test_variables_that_are_no_numbers_are_refused(text):
    with pytest.raises(Mismatch):
        Shape({'type': 'number'}, 'x').check(text, '', None, text=True)


def test_a_default_is_a_new_value_each_time():
    shape = Shape({'fields': {'list': {'type': 'array', 'default': [1]}}}, 'x')
    first = shape.check({}, '', None)
    first['list'].append(2)
    assert shape.check({}, '', None) == {'list': [1]}


def test_fields_for_a_role():
    shape = Shape({'fields': {'a': {}, 'limit': {'role': 'admin'}}}, 'x')
    value = {'a': 1, 'limit': 5}
    assert shape.check(value, '', Asker('admin')) == value
    for asker in (Asker('user'), Asker()):
        assert shape.check(value, '', asker, answer=True) == {'a': 1}
        with pytest.raises(Mismatch, match='limit: only for users with the role admin'):
            shape.check(value, '', asker)


def test_an_answer_shows_what_is_described_and_not_dropped():
    shape = Shape({'fields': {'a': {}, 'secret': {'drop': True}, 'list': {'items': {'fields': {'x': {}}}}}}, 'x')
    value = {'a': 1, 'secret': 's', 'other': 2, 'list': [{'x': 1, 'y': 2}]}
    assert shape.check(value, '', Asker(), answer=True) == {'a': 1, 'list': [{'x': 1}]}
    assert value['secret'] == 's'


@pytest.mark.parametrize('signatures, property, message', [
    ({'api': {}}, "web.signatures.api", 'expected a path'),
    ({'/a': []}, "web.signatures['/a']", 'expected a path'),
    ({'/a': {'GET': 5}}, "web.signatures['/a'].GET", 'expected an object'),
    ({'/a': {'GET': {'reply': {}}}}, "web.signatures['/a'].GET.reply", 'expected one of role, query, request, response'),
    ({'/a': {'*': {'request': {'x': {'type': 'text'}}}}}, "web.signatures['/a']['*'].request.x.type", 'expected string, number'),
    ({'/a': {'GET': {'request': {'x': 'string'}}}}, "web.signatures['/a'].GET.request.x", 'expected an object'),
    ({'/a': {'GET': {'request': {'x': {'min': '1'}}}}}, "web.signatures['/a'].GET.request.x.min", "expected an integer or a number, got '1'"),
    ({'/a': {'GET': {'request': {'x': {'required': 'yes'}}}}}, "web.signatures['/a'].GET.request.x.required", 'expected true or false, '),
    ({'/a': {'GET': {'request': {'x': {'min': 2, 'max': 1}}}}}, "web.signatures['/a'].GET.request.x.min", 'nothing can match'),
    ({'/a': {'GET': {'request': {'x': {'enum': []}}}}}, "web.signatures['/a'].GET.request.x.enum", 'nothing can match'),
    ({'/a': {'get': {}}}, "web.signatures['/a']", 'expected methods such as'),
    ({'/a': {'GET': {'request': {'x': {'pattern': '['}}}}}, "web.signatures['/a'].GET.request.x.pattern", 'no regular expression'),
    ({'/a': {'GET': {'request': {'x': {'type': 'integer', 'default': 'y'}}}}}, "web.signatures['/a'].GET.request.x.default",
     "expected an integer, got 'y'"),
    ({'/a': {'GET': {'query': {'x': {'items': {'maximum': 1}}}}}}, "web.signatures['/a'].GET.query.x.items.maximum", 'unknown property'),
    ({'/a': {'GET': {'response': {'type': 'array', 'items': {'fields': {'x': {'min': 1, 'typ': 1}}}}}}},
     "web.signatures['/a'].GET.response.items.fields.x.typ", 'unknown property'),
])
def test_wrong_signatures_stop_the_start(signatures, property, message):
    with pytest.raises(WebError) as caught:
        Server({'signatures': signatures})
    assert caught.value.property == property and message in caught.value.message


def test_validate_without_signatures_stops_the_start():
    with pytest.raises(WebError, match=r'web.routes\[0\].validate'):
        Server({'routes': [{'validate': True}]})


PUMP = {
    '/api/pump': {
        'POST': {'query': {'unit': {'enum': ['a', 'b'], 'default': 'a'}, 'n': {'type': 'integer'}},
                 'request': {'speed': {'type': 'number', 'min': 0, 'max': 100, 'required': True}, 'on': {'type': 'boolean', 'default': False},
                             'note': {'drop': True}},
                 'response': {'speed': {'type': 'number', 'required': True}, 'secret': {'drop': True}}},
        'GET': {'response': {'speed': {'type': 'number', 'required': True}}},
    },
    '/api/admin': {'*': {'role': 'admin'}},
    '/api/below/': {'*': {'request': {'type': 'array', 'items': {'type': 'integer'}}}},
}
CONFIG = {'routes': [{'match': '/api/', 'validate': True}, {}], 'signatures': PUMP}


def post(path, body, kind='application/json', accept=''):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (f'POST {path} HTTP/1.1\r\nHost: t\r\nContent-Type: {kind}\r\n{accept and f"Accept: {accept}"}'
            f'{accept and chr(13) + chr(10)}Content-Length: {len(data)}\r\n\r\n').encode() + data


def test_requests_are_checked_and_actions_get_what_was_checked():
    seen = []

    async def pump(web):
        kind = web.headers.get('content-type', '')
        seen.append((await (web.form(progress=None) if kind == FORM else web.json()), dict(web.vars)))
        return {'speed': seen[-1][0]['speed'], 'secret': 1, 'other': 2}

    async def main(client, server):
        answer = await client.ask(post('/api/pump?n=7', {'speed': 5, 'note': 'x'}))
        assert (answer.status, json.loads(answer.body)) == (200, {'speed': 5})
        assert seen.pop() == ({'speed': 5, 'on': False}, {'unit': 'a', 'n': 7})
        answer = await client.ask(post('/api/pump?unit=b', b'speed=5.5&on=on&note=x', FORM))
        assert (answer.status, json.loads(answer.body)) == (200, {'speed': 5.5})
        assert seen.pop() == ({'speed': 5.5, 'on': True}, {'unit': 'b', 'speed': 5.5, 'on': True})

        answer = await client.ask(post('/api/pump', {'speed': 'fast'}))
        assert answer.status == 400 and answer.fields['content-type'] == 'application/json'
        assert json.loads(answer.body) == {'error': "speed: expected a number from 0 to 100, got 'fast'", 'field': 'speed'}
        answer = await client.ask(post('/api/pump', b'speed=fast', FORM))
        assert answer.status == 400 and answer.fields['content-type'] == 'text/plain; charset=utf-8'
        assert answer.body == b"400 Bad Request\nspeed: expected a number from 0 to 100, got 'fast'\n"
        answer = await client.ask(post('/api/pump', {}, accept='text/html'))
        assert answer.body == b'400 Bad Request\nspeed: expected a number from 0 to 100, got nothing\n'
        answer = await client.ask(post('/api/pump', b'speed=fast', FORM, accept='application/json'))
        assert json.loads(answer.body)['field'] == 'speed'

        for request, text in ((post('/api/pump?unit=c', {'speed': 1}), b'unit: expected one of'),
                              (post('/api/pump?n=x', {'speed': 1}), b'n: expected an integer'),
                              (post('/api/pump?x=1', {'speed': 1}), b'x: unknown field'),
                              (post('/api/pump', []), b'body: expected an object, got an array'),
                              (post('/api/pump', b'{'), b'not JSON'),
                              (b'POST /api/pump HTTP/1.1\r\nHost: t\r\n\r\n', b'speed: expected a number')):
            answer = await client.ask(request)
            assert answer.status == 400 and text in answer.body
        assert not seen
        assert server.stats['errors'] == 10
    serve(main, CONFIG, {'/api/pump': pump})


def test_methods_prefixes_and_paths_without_a_signature():
    async def body(web):
        return await web.json()

    async def main(client, server):
        answer = await client.ask('DELETE /api/pump')
        assert answer.status == 405 and answer.fields['allow'] == 'GET, HEAD, OPTIONS, POST'
        assert (await client.ask(post('/api/below/x', [1, 2]))).body == b'[1,2]'
        assert (await client.ask(post('/api/below/x', [1, 'x']))).status == 400
        assert (await client.ask(post('/api/free', [1, 'x']))).body == b'[1,"x"]'
        assert (await client.ask(post('/outside', {'speed': 'fast'}))).status == 200
    serve(main, CONFIG, dict.fromkeys(('/api/pump', '/api/below/', '/api/free', '/outside'), body))


@pytest.mark.parametrize('value', [{}, {'speed': 'fast'}, [], 'text', b'bytes', 5])
def test_a_wrong_answer_is_an_error_of_the_server(value, capfd):
    async def main(client, server):
        answer = await client.ask('GET /api/pump')
        assert answer.status == 500 and b'fast' not in answer.body
        assert (await client.ask('HEAD /api/pump')).status == 500
    serve(main, CONFIG, {'/api/pump': lambda web: value})
    assert 'GET /api/pump: the answer is not as its signature says' in capfd.readouterr().err


def test_errors_redirects_and_streams_are_left_alone():
    async def action(web):
        if web.query == 'error':
            await web.error(409, 'in conflict')
        elif web.query == 'redirect':
            await web.redirect('/x')
        elif web.query == 'stream':
            await web.write('streamed')
        elif web.query == 'status':
            web.status = 422
            return {'why': 'x'}

    async def main(client, server):
        for query, status in (('error', 409), ('redirect', 302), ('stream', 200), ('status', 422), ('none', 204)):
            assert (await client.ask(f'GET /api/pump?{query}')).status == status
    serve(main, CONFIG, {'/api/pump': action})


def test_a_role_needs_a_user_who_has_it():
    users = {'': None, 'user': User('bob', 'user'), 'admin': User('ann', 'admin')}

    async def sign_in(web):
        web._user = users[web.query]

    async def main(client, server):
        server.router.routes[2].checks.append(sign_in)
        for query, status in (('', 401), ('user', 403), ('admin', 200)):
            answer = await client.ask(f'GET /api/admin?{query}')
            assert answer.status == status and (status == 401) == ('www-authenticate' in answer.fields)
    serve(main, CONFIG | {'auth': {'rounds': 10}}, {'/api/admin': lambda web: 'in'})


def test_routes_that_do_not_validate_keep_their_handler():
    def action(web):
        return 'x'
    server = Server(CONFIG)
    server.action('/free')(action)
    server.action('/api/free')(action)
    assert server.router.find('/free').handlers['GET'][1] is action
    assert server.router.find('/api/free').handlers['GET'][1] is action


def test_signatures_are_reloaded():
    async def main(client, server):
        assert (await client.ask(post('/api/x', {'a': 1}))).status == 200
        config = {**server.config, 'signatures': {'/api/x': {'POST': {'request': {}}}}}
        server.reload(config)
        assert (await client.ask(post('/api/x', {'a': 1}))).status == 400
        with pytest.raises(WebError):
            server.reload({**config, 'signatures': {'/api/x': {'POST': {'request': 5}}}})
        assert (await client.ask(post('/api/x', {'a': 1}))).status == 400
    serve(main, CONFIG, {'/api/x': lambda web: 'x'})
