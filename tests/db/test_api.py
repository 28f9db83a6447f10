"""/api/db: REST for who has the roles, and changes as they happen."""

import json
from base64 import b64encode

import pytest

from ioto import runtime
from ioto.db import api
from ioto.db.service import Service
from ioto.runtime.units import PropertyError
from ioto.web import passwords
from tests.web.opened import open_socket, read_frame, serve, slow_client, until
from tests.web.support import Client

SCHEMA = {
    'indexes': {'primary': {'hash': 'pk', 'sort': 'sk'}, 'gs1': {'hash': 'gs1pk', 'sort': 'gs1sk'}},
    'context': {'deviceId': 'd1'},
    'models': {
        'Port': {'pk': {'value': '${_type}#${deviceId}'}, 'sk': {'value': '${bridge}#${n}'}, 'deviceId': {'required': True},
                 'bridge': {'required': True}, 'n': {'type': 'number', 'required': True}, 'speed': {'type': 'number'},
                 'mac': {'unique': True}, 'address': {'type': 'object'}, 'secret': {'hidden': True},
                 'gs1pk': {'value': 'speed#${speed}'}, 'gs1sk': {'value': '${n:3}'}},
        'Note': {'pk': {'value': 'note#'}, 'sk': {'value': 'note#${id}'}, 'id': {'generate': 'ulid'}, 'text': {}},
        'State': {'pk': {'value': 'state#'}, 'sk': {'value': 'state#'}, 'value': {}},
        'Quiet': {'pk': {'value': 'quiet#'}, 'sk': {'value': '${id}'}, 'id': {'required': True}},
        'Far': {'pk': {'value': 'far#'}, 'sk': {'value': '${id}'}, 'id': {'required': True}},
    },
    'process': {'Quiet': {'show': False}, 'Far': {'enable': 'cloud'}},
}
ROLES = {'ann': ['admin'], 'bob': ['user'], 'cy': []}
AUTH = {'users': {name: {'password': passwords.hash_password(name * 3, 10), 'roles': roles} for name, roles in ROLES.items()},
        'roles': {'admin': ['user'], 'user': []}, 'rounds': 10, 'methods': ['basic', 'form']}
OPEN = {'read': 'anyone', 'write': 'anyone'}


class Peer:
    """A client: of a user's name with Basic credentials, or with the cookies that it was given."""

    def __init__(self, client, user=None):
        self.client, self.cookies, self.fields = client, {}, {}
        if user:
            self.fields['Authorization'] = 'Basic ' + b64encode(f'{user}:{user * 3}'.encode()).decode()

    def request(self, method, path, value=None, **fields):
        fields = {'Host': 'test', **self.fields, **{name.replace('_', '-'): text for name, text in fields.items()}}
        if self.cookies:
            fields['Cookie'] = '; '.join(f'{name}={text}' for name, text in self.cookies.items())
        body = b'' if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
        if value is not None:
            fields = {'Content-Type': 'application/json', **fields, 'Content-Length': len(body)}
        lines = ''.join(f'{name}: {text}\r\n' for name, text in fields.items())
        return f'{method} {path} HTTP/1.1\r\n{lines}\r\n'.encode() + body

    async def ask(self, method, path, value=None, **fields):
        """(status, the value of the JSON or the text, fields)."""
        answer = await self.client.ask(self.request(method, path, value, **fields), method)
        for line in answer.raw_head.decode().split('\r\n'):
            if line.lower().startswith('set-cookie: '):
                name, _, text = line[12:].partition(';')[0].partition('=')
                self.cookies[name] = text
        is_json = answer.fields.get('content-type') == 'application/json' and answer.body
        return answer.status, json.loads(answer.body) if is_json else answer.body.decode(), answer.fields


def run(main, roles=OPEN, web=None, **database):
    """Run `await main(peer, db, server)` against a server with the API of a database in memory."""
    async def inside(client, server):
        service = Service({'schema': SCHEMA, 'database': {'path': ':memory:', 'api': roles, **database}}, str)
        server.api = api.Api(service, server)
        service.start()
        server.others = []
        try:
            return await main(Peer(client), service.db, server)
        finally:
            for other in server.others:
                await other.close()
            await service.db.close()
    return serve(inside, {'auth': AUTH, **(web or {})})


def ports(db, count):
    for n in range(count):
        db.create('Port', {'bridge': 'b', 'n': n, 'speed': n % 10 * 100, 'secret': 'xyzzy'})


async def another(server, user=None):
    server.others.append(await runtime.connect('127.0.0.1', server.listeners[0].port))
    return Peer(Client(server.others[-1]), user)


# Items

def test_an_item_is_created_read_changed_replaced_and_removed():
    async def main(peer, db, server):
        path = '/api/db/Port/a%20b/7'
        status, item, fields = await peer.ask('POST', '/api/db/Port', {'bridge': 'a b', 'n': 7, 'speed': 10, 'secret': 'x'})
        assert (status, fields['location'], fields['cache-control']) == (201, path, 'no-store')
        assert item == {'deviceId': 'd1', 'bridge': 'a b', 'n': 7, 'speed': 10}
        assert (await peer.ask('GET', path))[:2] == (200, item)
        assert (await peer.ask('HEAD', path))[0] == 200
        assert (await peer.ask('GET', f'{path}?fields=n,speed'))[1] == {'n': 7, 'speed': 10}
        assert (await peer.ask('PATCH', path, {'address.zip': '98', 'speed': None}))[1]['address'] == {'zip': '98'}
        assert db.get('Port', {'bridge': 'a b', 'n': 7}, hidden=True)['secret'] == 'x'
        status, item, fields = await peer.ask('PUT', path, {'speed': 5})
        assert status == 200 and item['speed'] == 5 and 'address' not in item and 'location' not in fields
        assert (await peer.ask('PUT', '/api/db/Port/c/1', {'speed': 1}))[0] == 201
        assert (await peer.ask('DELETE', path))[0] == 204
        assert (await peer.ask('GET', path))[0] == 404
    run(main)


def test_the_key_may_stand_in_the_query():
    async def main(peer, db, server):
        await peer.ask('POST', '/api/db/Port', {'bridge': 'a/b', 'n': 7})
        assert len((await peer.ask('GET', '/api/db/Port?bridge=a%2Fb&n=7'))[1]['items']) == 1
        assert (await peer.ask('PATCH', '/api/db/Port?bridge=a%2Fb&n=7', {'speed': 2}))[1]['speed'] == 2
        assert (await peer.ask('DELETE', '/api/db/Port?bridge=a%2Fb&n=7'))[0] == 204
        assert (await peer.ask('PUT', '/api/db/State', {'value': 'on'}))[0] == 201
        assert (await peer.ask('GET', '/api/db/State'))[1]['items'] == [{'value': 'on'}]
        status, item, fields = await peer.ask('POST', '/api/db/Note', {'text': 'made'})
        assert status == 201 and fields['location'] == f'/api/db/Note/{item["id"]}'
    run(main)


@pytest.mark.parametrize('method, path, value, status, field, reason', [
    ('GET', 'Nope', None, 404, None, 'expected a model: Port, Note, State'),
    ('GET', 'Quiet', None, 404, None, 'expected a model'),
    ('GET', 'Far', None, 404, None, 'expected a model'),
    ('GET', 'Port/b/99', None, 404, None, 'there is no such item'),
    ('GET', 'Port/b', None, 400, None, 'expected the whole key: bridge/n'),
    ('GET', 'Port/b/x', None, 400, 'n', 'expected a number'),
    ('GET', 'State/x', None, 400, None, 'there is one item'),
    ('GET', 'Port?colour=red', None, 400, 'colour', 'expected deviceId, bridge, n, speed, mac, address'),
    ('GET', 'Port?secret=xyzzy', None, 400, 'secret', 'expected deviceId'),
    ('GET', 'Port?fields=n,secret', None, 400, 'secret', 'expected deviceId'),
    ('GET', 'Port?where=begins_with(%24{secret},{x})', None, 400, 'secret', 'expected deviceId'),
    ('GET', "Port?where=%24{['secret']}={xyzzy}", None, 400, 'secret', 'expected deviceId'),
    ('GET', 'Port?where=%24{n}', None, 400, None, 'where: column 5: expected ='),
    ('GET', 'Port?where=@{x}={1}', None, 400, None, 'expected a substitution'),
    ('GET', 'Port?limit=0', None, 400, None, 'expected a limit of 1 to 1000'),
    ('GET', 'Port?limit=1001', None, 400, None, 'expected a limit of 1 to 1000'),
    ('GET', 'Port?next=x', None, 400, None, 'expected the next of a page'),
    ('GET', 'Port?index=gs9', None, 400, None, 'expected an index: primary or gs1'),
    ('POST', 'Port', {'bridge': 'b', 'n': 0}, 409, None, 'expected no item with this key'),
    ('POST', 'Port', {'bridge': 'c', 'n': 0, 'mac': 'm'}, 409, 'mac', 'expected a value that no other item has'),
    ('POST', 'Port', {'bridge': 'c'}, 400, 'n', 'expected a value, for it is required'),
    ('POST', 'Port', [], 400, None, 'expected an object'),
    ('POST', 'Port', b'{', 400, None, 'the body is not JSON'),
    ('POST', 'Port/b/0', {}, 405, None, 'an item is created at its model'),
    ('PUT', 'Port', {'bridge': 'b', 'n': 0}, 400, None, 'expected the whole key'),
    ('PATCH', 'Port/b/99', {}, 404, None, 'there is no such item'),
    ('PATCH', 'Port/b/0', {'n': 5}, 400, 'n', 'expected the value in the path'),
    ('PATCH', 'Port/b/0', {'speed': 'fast'}, 400, 'speed', 'expected a number'),
    ('PATCH', 'Port/b/0?where=%24{speed}={9}', {'speed': 1}, 409, None, 'expected an item that meets'),
    ('DELETE', 'Port/b/0?where=%24{speed}={9}', None, 409, None, 'expected an item that meets'),
    ('DELETE', 'Port/b/99', None, 404, None, 'there is no such item'),
])
def test_an_error_has_status_field_and_reason(method, path, value, status, field, reason):
    async def main(peer, db, server):
        ports(db, 1)
        db.create('Port', {'bridge': 'm', 'n': 1, 'mac': 'm'})
        found, answer, _ = await peer.ask(method, f'/api/db/{path}', value)
        assert found == status and reason in answer['error'] and answer.get('field') == field, answer
        assert db.count('Port') == 2
    run(main)


def test_a_database_that_is_full_says_so_and_goes_on():
    async def main(peer, db, server):
        found = []
        while not found or found[-1][0] == 201:
            found.append((await peer.ask('POST', '/api/db/Note', {'id': f'{len(found):04}', 'text': 'x' * 2000}))[:2])
        assert found[-1][0] == 507 and 'full' in found[-1][1]['error']
        assert (await peer.ask('GET', '/api/db/Note?count'))[1]['count'] == db.count('Note') == len(found) - 1
        assert (await peer.ask('DELETE', '/api/db/Note/0000'))[0] == 204
    run(main, limit=200_000)


# Lists

def test_a_list_comes_in_pages():
    async def main(peer, db, server):
        ports(db, 25)
        found, path = [], '/api/db/Port?limit=10&fields=n'
        while True:
            answer = (await peer.ask('GET', path))[1]
            found.append([item['n'] for item in answer['items']])
            if 'next' not in answer:
                break
            path = '/api/db/Port?limit=10&fields=n&next=' + answer['next'].replace('+', '%2B')
        assert [len(page) for page in found] == [10, 10, 5] and sorted(sum(found, [])) == [*range(25)]
    run(main)


@pytest.mark.parametrize('query, expected', [
    ('bridge=b&n=3', [3]), ('speed=100', [1, 11]), ('where=%24{n}%3E{9}+and+%24{speed}={0}', [10]), ('limit=2&reverse=true', [9, 8]),
    ('index=gs1&speed=100', [1, 11]), ('index=gs1&speed=100&reverse=1', [11, 1]), ('speed=100&count', 2), ('count=true', 12),
])
def test_a_list_is_chosen_by_fields_where_and_indexes(query, expected):
    async def main(peer, db, server):
        ports(db, 12)
        answer = (await peer.ask('GET', f'/api/db/Port?{query}'))[1]
        assert (answer['count'] if 'count' in answer else [item['n'] for item in answer['items']]) == expected
    run(main)


def test_a_search_that_finds_little_does_not_hold_up_others(monkeypatch):
    monkeypatch.setattr(api, 'SCAN', 10)

    async def main(peer, db, server):
        with db.batch():
            ports(db, 1000)
        turns, searching = 0, runtime.spawn(peer.ask('GET', '/api/db/Port?where=%24{n}={999}'))
        while not searching.done:
            await runtime.sleep(0)
            turns += 1
        assert [item['n'] for item in (await searching.join())[1]['items']] == [999] and turns >= 100
    run(main)


def test_the_models_are_described_without_what_is_hidden():
    async def main(peer, db, server):
        models = {model['name']: model for model in (await peer.ask('GET', '/api/db'))[1]['models']}
        assert [*models] == ['Port', 'Note', 'State'] and models['Port']['key'] == ['bridge', 'n']
        assert models['Port']['indexes'] == ['primary', 'gs1'] and not {'secret', 'pk', '_type'} & {*models['Port']['fields']}
        assert models['Port']['fields']['n'] == {'type': 'number', 'required': True}
        assert models['State']['key'] == []
    run(main)


# Who may

@pytest.mark.parametrize('user, read, write', [('ann', 200, 201), ('bob', 200, 403), ('cy', 403, 403), (None, 401, 401)])
def test_roles(user, read, write):
    async def main(_, db, server):
        peer = await another(server, user)
        assert (await peer.ask('GET', '/api/db/Note'))[0] == (await peer.ask('GET', '/api/db'))[0] == read
        assert (await peer.ask('POST', '/api/db/Note', {'text': 'x'}))[0] == write
        assert (await peer.ask('GET', '/api/db/Note', Accept='text/event-stream, */*') if read != 200 else (read,))[0] == read
        assert db.count('Note') == (write == 201)
    run(main, {})


@pytest.mark.parametrize('roles, read, write', [
    ({'read': 'anyone'}, 200, 401), ({'read': 'nobody', 'write': 'nobody'}, 404, 404), (OPEN, 200, 201)])
def test_a_property_may_open_and_close_it(roles, read, write):
    async def main(peer, db, server):
        assert (await peer.ask('GET', '/api/db/Note'))[0] == read
        assert (await peer.ask('POST', '/api/db/Note', {'text': 'x'}))[0] == write
    run(main, roles)


def test_nobody_passes_where_there_are_no_users():
    async def main(peer, db, server):
        server.access = None
        assert (await peer.ask('GET', '/api/db/Note'))[0] == 403
    run(main, {})


def test_a_role_that_there_is_not_is_refused():
    with pytest.raises(PropertyError, match="database.api.read: expected a role of auth.roles, 'anyone' or 'nobody', got 'usr'"):
        run(None, {'read': 'usr'})


async def sign_in(peer, name):
    assert (await peer.ask('POST', '/auth/login', {'username': name, 'password': name * 3}))[0] == 200


def test_a_session_needs_its_token_to_change_something():
    async def main(peer, db, server):
        await sign_in(peer, 'ann')
        assert (await peer.ask('POST', '/api/db/Note', {'text': 'x'}))[0] == 403
        _, _, fields = await peer.ask('GET', '/api/db/Note')
        assert fields['x-xsrf-token'] == peer.cookies['XSRF-TOKEN']
        assert (await peer.ask('POST', '/api/db/Note', {'text': 'x'}, X_XSRF_Token=peer.cookies['XSRF-TOKEN']))[0] == 201
    run(main, {})


@pytest.mark.parametrize('fields', [{'Origin': 'http://evil.example'}, {'Sec_Fetch_Site': 'cross-site'}])
def test_pages_of_other_sites_change_nothing(fields):
    async def main(peer, db, server):
        for roles, peer in ((OPEN, peer), ({'read': 'user', 'write': 'admin'}, await another(server, 'ann'))):
            server.api.configure(roles)
            assert (await peer.ask('POST', '/api/db/Note', {'text': 'x'}, **fields))[0] == 403
        assert db.count('Note') == 0
    run(main)


# Changes

class Listener:
    """A client of server-sent events."""

    @classmethod
    async def make(cls, peer, server, path='/api/db'):
        self, before = cls(), len(server.api.listeners)
        self.stream = peer.client.stream
        await self.stream.write(peer.request('GET', path, Accept='text/event-stream'))
        head = await self.stream.read_until(b'\r\n\r\n')
        assert b' 200 ' in head and b'text/event-stream' in head
        assert (await self.read()) == 'retry: 2000'
        await until(lambda: len(server.api.listeners) > before, 'it listens')
        return self

    async def read(self):
        size = int(await self.stream.read_until(b'\r\n'), 16)
        return (await self.stream.read_exactly(size + 2)).decode().strip()

    async def change(self):
        text = await self.read()
        assert text.startswith('data: ')
        return json.loads(text[6:])


def test_changes_are_told_without_what_is_hidden():
    async def main(peer, db, server):
        everything = await Listener.make(await another(server), server)
        notes = await Listener.make(await another(server), server, '/api/db/Note')
        ports(db, 1)
        db.create('Quiet', {'id': 'x'})
        made = db.create('Note', {'text': 'x'})
        db.update('Note', {'id': made['id'], 'text': 'y'})
        db.remove('Note', {'id': made['id']})
        found = [await everything.change() for _ in range(4)]
        assert found[0] == {'event': 'create', 'model': 'Port', 'item': {'deviceId': 'd1', 'bridge': 'b', 'n': 0, 'speed': 0}}
        assert [(one['event'], one['item']['text']) for one in found[1:]] == [('create', 'x'), ('update', 'y'), ('remove', 'y')]
        assert [await notes.change() for _ in range(3)] == found[1:]
        await notes.stream.close()
        await everything.stream.close()
        await until(lambda: not server.api.listeners, 'they have gone')
        assert not db._watchers.after and server.api.fiber.done
    run(main)


def test_changes_over_a_websocket():
    async def main(peer, db, server):
        await open_socket(peer.client, '/api/db/Note')
        await until(lambda: server.api.listeners, 'it listens')
        db.create('Note', {'id': 'a', 'text': 'x'})
        _, data = await read_frame(peer.client.stream)
        assert json.loads(data) == {'event': 'create', 'model': 'Note', 'item': {'id': 'a', 'text': 'x'}}
    run(main)


@pytest.mark.parametrize('end', ['signs out', 'loses the role', 'is taken away'])
def test_who_may_not_read_any_more_is_told_nothing(end):
    async def main(peer, db, server):
        await sign_in(peer, 'bob')
        listening = await another(server)
        listening.cookies = peer.cookies
        listener = await Listener.make(listening, server)
        if end == 'signs out':
            await peer.ask('POST', '/auth/logout', {})
        elif end == 'loses the role':
            server.access.users.users['bob'].roles = []
        else:
            del server.access.users.users['bob']
        db.create('Note', {'text': 'secret'})
        assert await listener.stream.read() == b'0\r\n\r\n'
        await until(lambda: not server.api.listeners, 'it was dropped')
    run(main, {})


def test_more_changes_than_anybody_takes_drop_who_listens(monkeypatch):
    monkeypatch.setattr(api, 'QUEUE', 10)

    async def main(peer, db, server):
        listener = await Listener.make(await another(server), server)
        with db.batch():
            ports(db, 20)
        with pytest.raises(OSError):
            while await listener.stream.read():
                pass
            raise ConnectionResetError          # an end is as good
        await until(lambda: not server.api.listeners, 'it was dropped')
    run(main)


def test_a_slow_client_is_dropped_and_holds_nobody_up():
    async def main(peer, db, server):
        with await slow_client(server, peer.request('GET', '/api/db', Accept='text/event-stream')):
            await until(lambda: len(server.api.listeners) == 1, 'it listens')
            listener = await Listener.make(await another(server), server)
            for n in range(100):
                db.create('Note', {'text': 'x' * 2000})
                assert (await listener.change())['event'] == 'create'
            await until(lambda: len(server.api.listeners) == 1, 'it was dropped')
    run(main, web={'limits': {'backlog': '20K'}})


def test_there_is_a_limit_of_clients(monkeypatch):
    monkeypatch.setattr(api, 'LISTENERS', 1)

    async def main(peer, db, server):
        await Listener.make(await another(server), server)
        assert (await peer.ask('GET', '/api/db', Accept='text/event-stream'))[0] == 503
    run(main)
