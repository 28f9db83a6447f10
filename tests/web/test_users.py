"""Users, roles, signing in by form, Basic and Digest, and the throttle."""

import base64
import gc
import hashlib
import random
import re
import subprocess
import sys
import tracemalloc

import pytest

from ioto import runtime
from ioto.http import HttpError
from ioto.web import Server, WebError, passwords
from ioto.http.digest import proof, secret
from ioto.web.digest import WINDOW, Nonces, read
from ioto.web.users import Throttle, Users

REALM = 'ioto'
WORDS = {'ann': 'wonderland', 'bob': 'builder', 'jürgen': 'größe:5€'}
ALL = ('SHA-256', 'MD5', 'Basic')
CLIENT = '192.0.2.1'


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def account(name, rounds=10, roles=()):
    word = WORDS[name]
    return {'password': passwords.hash_password(word, rounds), 'roles': list(roles),
            'digest': {algorithm: secret(algorithm, name, REALM, word) for algorithm in ('SHA-256', 'MD5')}}


def make(clock, **config):
    return Users({'users': {name: account(name) for name in WORDS}, **config}, clock)


@pytest.fixture
def users(clock):
    return make(clock)


def authenticate(users, value, method='GET', target='/x', client=CLIENT, schemes=ALL):
    return runtime.run(users.authenticate, value, method, target, client, schemes)


def refused(users, value, **request):
    """The HttpError that these credentials get."""
    with pytest.raises(HttpError) as caught:
        authenticate(users, value, **request)
    return caught.value


def login(users, name, word, client=CLIENT):
    return runtime.run(users.login, name, word, client)


def fields_of(challenge):
    """What a client reads of a challenge, by a parser of its own."""
    return {name: quoted or bare for name, quoted, bare in re.findall(r'([\w-]+)=(?:"([^"]*)"|([^", ]+))', challenge)}


class DigestClient:
    """Answers Digest challenges on its own, as RFC 7616 §3.4 describes."""

    def __init__(self, users, name, word, algorithm='SHA-256'):
        self.name, self.word, self.algorithm, self.count = name, word, algorithm, 0
        self.take(users.challenges((algorithm,)))

    def take(self, challenges):
        found = [value for _, value in challenges if f'algorithm={self.algorithm},' in value]
        self.challenge, self.count = fields_of(found[0]), 0

    def hash(self, text):
        return hashlib.new(self.algorithm.replace('-', '').lower(), text.encode()).hexdigest()

    def answer(self, method='GET', uri='/x', count=None, **changes):
        if count is None:
            self.count += 1
            count = self.count
        given = {'username': self.name, 'realm': self.challenge['realm'], 'nonce': self.challenge['nonce'], 'uri': uri,
                 'nc': f'{count:08x}', 'cnonce': 'f2/wE4q74E6z', 'qop': 'auth', 'algorithm': self.algorithm,
                 'opaque': self.challenge['opaque'], **changes}
        one = self.hash(f'{self.name}:{given["realm"]}:{self.word}')
        two = self.hash(f'{method}:{given["uri"]}')
        given.setdefault('response', self.hash(':'.join((one, given['nonce'] or '', given['nc'] or '', given['cnonce'] or '', 'auth', two))))
        bare = ('nc', 'qop', 'algorithm')
        text = ', '.join(f'{name}={value}' if name in bare else f'{name}="{value}"' for name, value in given.items() if value is not None)
        return f'Digest {text}'.encode().decode('latin-1')


def basic(name, word):
    return 'Basic ' + base64.b64encode(f'{name}:{word}'.encode()).decode()


# Roles

def test_abilities_come_through_included_roles(clock):
    users = Users({'users': {'ann': account('ann', roles=['admin']), 'bob': account('bob', roles=['user', 'audit'])},
                   'roles': {'admin': ['user', 'edit'], 'user': {'can': ['view'], 'roles': ['guest']},
                             'guest': {'abilities': ['look']}, 'audit': ['log', 'view'], 'unused': []}}, clock)
    ann, bob = users.get('ann'), users.get('bob')
    assert ann.name == 'ann' and ann.roles == ['admin', 'guest', 'user'] and ann.abilities == {'edit', 'view', 'look'}
    assert bob.roles == ['audit', 'guest', 'user'] and bob.abilities == {'view', 'look', 'log'}
    assert ann.can('look') and ann.has_role('guest') and not ann.can('log') and not bob.has_role('admin')
    assert not ann.can('admin') and not ann.has_role('edit')
    assert users.get('cy') is None and len(users) == 2


def test_roles_need_no_definition_when_there_is_none(clock):
    user = Users({'users': {'ann': account('ann', roles=['admin'])}}, clock).get('ann')
    assert user.has_role('admin') and not user.abilities


def test_no_users_at_all(clock):
    for config in ({}, {'users': {}}, {'users': None, 'roles': None}):
        users = Users(config, clock)
        assert len(users) == 0 and users.get('ann') is None and login(users, 'ann', 'x') is None


def test_roles_that_share_what_they_include_cost_no_more(clock):
    roles = {f'r{n}': [f'r{n + 1}', f'r{n + 2}', f'a{n}'] for n in range(200)}
    user = Users({'users': {'ann': account('ann', roles=['r0'])}, 'roles': roles}, clock).get('ann')
    assert user.can('a199') and len(user.abilities) == 202          # r200 and r201 are no roles, so abilities


@pytest.mark.parametrize('config, property', [
    ({'roles': {'a': ['a']}}, 'auth.roles.a'),
    ({'roles': {'a': ['b'], 'b': {'roles': ['c']}, 'c': {'can': ['x', 'a']}}}, 'auth.roles.c'),
    ({'roles': {'x': ['y'], 'a': ['b'], 'b': ['a']}}, 'auth.roles.b'),
    ({'roles': {'a': []}, 'users': {'ann': {'roles': ['b']}}}, 'auth.users.ann.roles'),
    ({'users': {'ann': {'password': 'wonderland'}}}, 'auth.users.ann.password'),
    ({'users': {'ann': {'password': 5}}}, 'auth.users.ann.password'),
    ({'users': {'a:b': {}}}, 'auth.users.a:b'),
    ({'users': {'': {}}}, 'auth.users.'),
    ({'users': {'a\n': {}}}, 'auth.users.a\n'),
    ({'users': {'ann': {'roles': 'admin'}}}, 'auth.users.ann.roles'),
    ({'users': {'ann': {'roles': [{}]}}}, 'auth.users.ann.roles'),
    ({'users': {'ann': 'PBKDF2'}}, 'auth.users.ann'),
    ({'users': ['ann']}, 'auth.users'),
    ({'users': {'ann': {'digest': {'SHA-256': ''}}}}, 'auth.users.ann.digest.SHA-256'),
    ({'users': {'ann': {'digest': {'SHA-1': '0' * 64}}}}, 'auth.users.ann.digest.SHA-1'),
    ({'users': {'ann': {'digest': '0' * 64}}}, 'auth.users.ann.digest'),
    ({'roles': {'a': 'view'}}, 'auth.roles.a'),
    ({'roles': {'a': {'can': 'view'}}}, 'auth.roles.a'),
    ({'roles': {'a': {'cann': ['view']}}}, 'auth.roles.a'),
    ({'rounds': 0}, 'auth.rounds'),
    ({'roles': []}, 'auth.roles'),
    ({'realm': 'my "home"'}, 'auth.realm'),
    ({'realm': 'größe'}, 'auth.realm'),
    ({'realm': ''}, 'auth.realm'),
    ({'limits': []}, 'auth.limits'),
    ({'limits': {'wait': 'soon'}}, 'auth.limits.wait'),
    ({'limits': {'entries': []}}, 'auth.limits.entries'),
])
def test_refuses_with_the_name_of_the_property(clock, config, property):
    with pytest.raises(WebError) as caught:
        Users(config, clock)
    assert caught.value.property == property
    assert 'wonderland' not in str(caught.value)


# Passwords

@pytest.mark.parametrize('name', WORDS)
def test_login(users, name):
    assert login(users, name, WORDS[name]) is users.get(name)
    assert login(users, name, WORDS[name]) is users.get(name)
    assert login(users, name, WORDS[name] + 'x') is None
    assert login(users, name, '') is None


def test_a_user_without_password_cannot_log_in(clock):
    users = Users({'users': {'ann': {}, 'bob': {'password': None}}}, clock)
    assert login(users, 'ann', '') is None and login(users, 'bob', '') is None


@pytest.fixture
def work(monkeypatch):
    """Counts what is computed: calls of verify, and the rounds of all derivations."""
    done = {'verify': 0, 'rounds': 0}
    verify, derive = passwords.verify, passwords.derive

    def counting_verify(word, stored):
        done['verify'] += 1
        return verify(word, stored)

    def counting_derive(word, salt, rounds):
        done['rounds'] += rounds
        return derive(word, salt, rounds)
    monkeypatch.setattr(passwords, 'verify', counting_verify)
    monkeypatch.setattr(passwords, 'derive', counting_derive)
    return done


@pytest.mark.parametrize('name, word', [('ann', 'wonderland'), ('ann', 'wrong'), ('bob', 'wrong'), ('cy', 'wrong'), ('', ''), ('empty', 'x')])
def test_every_name_costs_the_same(clock, work, name, word):
    users = Users({'users': {'ann': account('ann', 10), 'bob': account('bob', 300), 'empty': {}}}, clock)
    work.update(verify=0, rounds=0)
    login(users, name, word)
    assert work == {'verify': 1, 'rounds': 300}


def test_the_right_password_is_hashed_once_and_wrong_ones_each_time(users, work):
    for _ in range(20):
        assert login(users, 'ann', 'wonderland')
    assert work['verify'] == 1
    for _ in range(3):
        assert login(users, 'ann', 'wrong') is None
    assert work['verify'] == 4


def test_passwords_are_hashed_off_the_loop_one_at_a_time(users, monkeypatch):
    import threading
    main, inside = threading.get_ident(), []
    verify = passwords.verify

    def watched(word, stored):
        assert threading.get_ident() != main and not inside
        inside.append(1)
        try:
            return verify(word, stored)
        finally:
            inside.pop()
    monkeypatch.setattr(passwords, 'verify', watched)

    async def main_fiber():
        fibers = [runtime.spawn(users.login(name, word, f'192.0.2.{n}')) for n, (name, word) in enumerate(WORDS.items())]
        return [await fiber.join() for fiber in fibers]
    assert [user.name for user in runtime.run(main_fiber)] == list(WORDS)


def test_a_very_long_password_is_wrong_and_cheap(users):
    assert login(users, 'ann', 'x' * 5_000_000) is None


# Basic

@pytest.mark.parametrize('name', WORDS)
def test_basic(users, name):
    assert authenticate(users, basic(name, WORDS[name])).name == name
    assert authenticate(users, basic(name, WORDS[name]).replace('Basic', 'bAsIc ')).name == name
    error = refused(users, basic(name, 'wrong'))
    assert error.status == 401
    assert [name for name, _ in error.headers] == ['WWW-Authenticate'] * 3
    assert error.headers[2][1] == 'Basic realm="ioto", charset="UTF-8"'


@pytest.mark.parametrize('text', ['', 'x', '====', 'YW5u', 'YW5u!', 'YW5uOnd vbmRlcmxhbmQ=', base64.b64encode(b'ann:\xff').decode(),
                                  'YW5uOndvbmRlcmxhbmQ', 'YW5uOndvbmRlcmxhbmQ==', '\xff\xff\xff\xff'])
def test_malformed_basic_is_400(users, text):
    assert refused(users, f'Basic {text}').status == 400


@pytest.mark.parametrize('value', ['', 'Bearer abc', 'Negotiate', 'basic', 'Digest username="ann"'])
def test_schemes_that_are_not_offered_are_nobody(users, value):
    assert authenticate(users, value, schemes=()) is None
    if not value.startswith('Digest'):
        assert authenticate(users, value, schemes=('SHA-256',)) is None


# Digest

RFC = dict(username='Mufasa', realm='http-auth@example.org', uri='/dir/index.html', nc='00000001', qop='auth',
           nonce='7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v', cnonce='f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ')


@pytest.mark.parametrize('algorithm, response', [
    ('MD5', '8ca523f5e9506fed4657c9700eebdbec'),
    ('SHA-256', '753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1'),
])
def test_vectors_of_rfc_7616_section_3_9_1(algorithm, response):
    known = secret(algorithm, 'Mufasa', 'http-auth@example.org', 'Circle of Life')
    assert proof(known, 'GET', RFC | {'algorithm': algorithm}) == response


def test_reads_the_credentials_of_rfc_7616_section_3_9_1():
    text = '''username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=MD5,
       nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001,
       cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth,
       response="8ca523f5e9506fed4657c9700eebdbec", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'''.replace('\n      ', '')
    found = read(text)
    assert {name: found[name] for name in RFC} == RFC
    assert found['opaque'].startswith('FQhe') and found['algorithm'] == 'MD5'


@pytest.mark.parametrize('algorithm', ['SHA-256', 'MD5'])
@pytest.mark.parametrize('name', WORDS)
def test_digest(users, algorithm, name):
    client = DigestClient(users, name, WORDS[name], algorithm)
    for method in ('GET', 'POST', 'DELETE'):
        assert authenticate(users, client.answer(method), method).name == name
    client.word += 'x'
    error = refused(users, client.answer())
    assert error.status == 401 and not any('stale' in value for _, value in error.headers)


def test_challenges_offer_what_the_route_takes_in_order(users):
    (_, sha), (_, md5), (_, plain) = users.challenges(ALL)
    for challenge, algorithm in ((sha, 'SHA-256'), (md5, 'MD5')):
        fields = fields_of(challenge)
        assert challenge.startswith('Digest realm="ioto", qop="auth", ')
        assert fields['algorithm'] == algorithm and fields['charset'] == 'UTF-8' and 'stale' not in fields
    assert plain.startswith('Basic ')
    assert fields_of(sha)['nonce'] != fields_of(md5)['nonce'] and fields_of(sha)['opaque'] == fields_of(md5)['opaque']
    assert fields_of(users.challenges(('MD5',), stale=True)[0][1])['stale'] == 'true'


def test_an_extended_user_name(users):
    client = DigestClient(users, 'jürgen', WORDS['jürgen'])
    value = client.answer().replace('username="jürgen"'.encode().decode('latin-1'), "username*=UTF-8''j%C3%BCrgen")
    assert "username*" in value and authenticate(users, value).name == 'jürgen'


def test_quoted_numbers_and_lower_case_schemes_are_taken(users):
    client = DigestClient(users, 'ann', WORDS['ann'])
    value = client.answer().replace('qop=auth', 'qop="auth"').replace('nc=00000001', 'NC = "00000001"').replace('Digest', 'digest')
    assert authenticate(users, value).name == 'ann'


def test_a_proof_is_for_one_method_and_uri(users):
    client = DigestClient(users, 'ann', WORDS['ann'])
    assert refused(users, client.answer('GET'), method='DELETE').status == 401
    assert refused(users, client.answer(uri='/y')).status == 400
    assert refused(users, client.answer(uri='/x?a'), target='/x').status == 400
    assert authenticate(users, client.answer(uri='/x?a=1'), target='/x?a=1').name == 'ann'


@pytest.mark.parametrize('change', [
    {'realm': 'other'}, {'qop': 'auth-int'}, {'qop': None}, {'algorithm': 'SHA-512-256'}, {'algorithm': None}, {'cnonce': 'other'},
    {'username': 'bob'}, {'username': 'nobody'}, {'response': ''}, {'response': None}, {'response': 'é'},
    {'algorithm': 'SHA-256-sess'}, {'algorithm': 'MD5'}, {'realm': None},
])
def test_changed_credentials_are_401(users, change):
    client = DigestClient(users, 'ann', WORDS['ann'])
    if 'cnonce' in change or 'username' in change:
        value = client.answer().replace('f2/wE4q74E6z', change.get('cnonce', 'f2/wE4q74E6z')).replace('"ann"', f'"{change.get("username", "ann")}"')
    else:
        value = client.answer(**change)
    error = refused(users, value)
    assert error.status == 401 and not any('stale' in value for _, value in error.headers)


@pytest.mark.parametrize('text', [
    '', 'username="ann"', 'username="ann", username="bob", nc=00000001', 'nc=00000001', 'username="ann", nc=1', ',', '=', 'a=b',
    'username="ann", nc=00000000', 'username="ann", nc=0000000g', 'username="ann", nc=+0000001', 'username="\xff", nc=00000001',
    "username*=UTF-8''%ff, nc=00000001", "username*=UTF-8''%, nc=00000001", '"' * 1000, 'x' * 15000, ',' * 15000, 'username="ann" nc=00000001',
])
def test_malformed_digest_is_400(users, text):
    assert refused(users, f'Digest {text}').status == 400


def test_random_damage_never_fails_otherwise(users):
    seed = random.randrange(1 << 32)
    print('seed', seed)
    source = random.Random(seed)
    limits = {'failures': 1 << 60}
    users.throttle.limits.update(limits)
    for value in (DigestClient(users, 'ann', 'wrong').answer(), basic('ann', 'wrong')):
        for _ in range(300):
            text = list(value)
            for _ in range(source.randrange(1, 6)):
                text[source.randrange(7, len(text))] = source.choice('\x00\t ",=\\aA0%é\xff')
            assert refused(users, ''.join(text)).status in (400, 401)


def test_a_count_is_accepted_once(users):
    client = DigestClient(users, 'ann', WORDS['ann'])
    value = client.answer()
    assert authenticate(users, value).name == 'ann'
    for _ in range(20):
        error = refused(users, value)
        assert error.status == 401 and 'stale=true' in error.headers[0][1]
    client.take(error.headers)
    assert authenticate(users, client.answer()).name == 'ann'


def test_counts_may_come_out_of_order_within_the_window(users):
    client = DigestClient(users, 'ann', WORDS['ann'])
    seed = random.randrange(1 << 32)
    print('seed', seed)
    counts = list(range(1, WINDOW + 1))
    random.Random(seed).shuffle(counts)
    for count in counts:
        assert authenticate(users, client.answer(count=count)).name == 'ann'
    for count in counts:
        assert refused(users, client.answer(count=count)).status == 401
    assert authenticate(users, client.answer(count=1000))
    assert refused(users, client.answer(count=1000 - WINDOW)).status == 401
    assert authenticate(users, client.answer(count=1000 - WINDOW + 1))
    assert authenticate(users, client.answer(count=0xffffffff))
    assert refused(users, client.answer(count=1000)).status == 401


def test_an_old_nonce_is_stale(users, clock):
    client = DigestClient(users, 'ann', WORDS['ann'])
    clock.now += 299
    assert authenticate(users, client.answer())
    clock.now += 2
    error = refused(users, client.answer())
    assert error.status == 401 and 'stale=true' in error.headers[0][1]
    client.take(error.headers)
    assert authenticate(users, client.answer()).name == 'ann'


@pytest.mark.parametrize('nonce', ['', 'x', '00' * 48, '00' * 10000, 'zz'])
def test_a_nonce_of_another_server_is_stale(users, nonce):
    client = DigestClient(users, 'ann', WORDS['ann'])
    assert 'stale=true' in refused(users, client.answer(nonce=nonce)).headers[0][1]
    client.word = 'wrong'
    assert 'stale' not in refused(users, client.answer(nonce=nonce)).headers[0][1]


def test_a_nonce_written_in_another_way_has_the_same_counts(users):
    client = DigestClient(users, 'ann', WORDS['ann'])
    assert authenticate(users, client.answer())
    nonce = client.challenge['nonce']
    for again in (nonce.upper(), f'{nonce[:2]} {nonce[2:]}'):
        if again != nonce:
            assert refused(users, client.answer(count=1, nonce=again)).status == 401


def test_after_a_restart_the_client_gets_a_new_nonce(clock, users):
    client = DigestClient(make(clock), 'ann', WORDS['ann'])
    error = refused(users, client.answer())
    client.take(error.headers)
    assert authenticate(users, client.answer()).name == 'ann'


def test_a_nonce_that_was_forgotten_is_stale(clock):
    users = make(clock, limits={'entries': 3})
    first = DigestClient(users, 'ann', WORDS['ann'])
    value = first.answer()
    assert authenticate(users, value)
    for n in range(4):
        clock.now += 1
        assert authenticate(users, DigestClient(users, 'ann', WORDS['ann']).answer())
        if n == 1:
            clock.now += 0.5
            waiting = DigestClient(users, 'bob', WORDS['bob'])
    assert 'stale=true' in refused(users, value).headers[0][1]
    assert authenticate(users, waiting.answer())            # made after all that was forgotten
    assert len(users.nonces.used) == 3


def test_memory_is_bounded_under_random_nonces(clock):
    nonces = Nonces(300, 100, clock)
    seed = random.randrange(1 << 32)
    print('seed', seed)
    source = random.Random(seed)
    spent, sizes = [], []
    for n in range(100_000):
        clock.now += 0.001
        fields = {'nonce': source.randbytes(48).hex() if source.random() < 0.5 else nonces.make(), 'nc': '00000001', 'opaque': nonces.opaque}
        if nonces.spend(fields):
            spent.append(fields)
        sizes.append(len(nonces.used))
    assert 40_000 < len(spent) < 60_000 and max(sizes) == 100
    assert not any(nonces.spend(fields) for fields in spent)


# The throttle

def throttle(clock, **limits):
    return Throttle({'failures': 5, 'wait': 1, 'longest': 300, 'forget': 900, 'entries': 1000, **limits}, clock)


def wait(gate, client=CLIENT, name='ann'):
    """The Retry-After of a try, or 0."""
    try:
        gate.attempt(client, name)
    except HttpError as error:
        assert error.status == 429
        return int(dict(error.headers)['Retry-After'])
    return 0


def test_waits_double_after_five_failures(clock):
    gate = throttle(clock)
    assert [wait(gate) for _ in range(5)] == [0] * 5
    waits = []
    for _ in range(12):
        waits.append(wait(gate))
        clock.now += waits[-1] - 1.5
        assert wait(gate) or waits[-1] == 2
        clock.now += 1.5
        assert wait(gate) == 0
    assert waits == [2, 3, 5, 9, 17, 33, 65, 129, 257, 301, 301, 301]


def test_a_refused_try_is_not_counted(clock):
    gate = throttle(clock)
    for _ in range(5):
        wait(gate)
    assert {wait(gate) for _ in range(100)} == {2}
    clock.now += 1
    assert wait(gate) == 0


def test_failures_are_forgotten(clock):
    gate = throttle(clock)
    for _ in range(5):
        wait(gate)
    clock.now += 900
    assert [wait(gate) for _ in range(5)] == [0] * 5


def test_clients_and_users_are_counted_apart(clock):
    gate = throttle(clock)
    for n in range(5):
        assert wait(gate, '192.0.2.7', f'user{n}') == 0
    assert wait(gate, '192.0.2.7', 'other') > 0 and wait(gate, '192.0.2.8', 'other') == 0
    for n in range(5):
        assert wait(gate, f'192.0.3.{n}', 'bob') == 0
    assert wait(gate, '192.0.3.99', 'bob') > 0 and wait(gate, '192.0.3.99', 'cy') == 0


def test_strangers_cannot_lock_out_a_client_that_signed_in_before(clock):
    gate = throttle(clock)
    gate.succeeded(gate.attempt(CLIENT, 'ann'))
    for n in range(50):
        wait(gate, f'198.51.100.{n}', 'ann')
    assert wait(gate, '198.51.100.99', 'ann') > 0
    assert [wait(gate) for _ in range(5)] == [0] * 5
    assert wait(gate) > 0                       # but it may not guess without end either


def test_an_account_of_ones_own_does_not_help_to_guess_at_others(clock):
    gate = throttle(clock)
    passed = 0
    for _ in range(100):
        passed += wait(gate, CLIENT, 'ann') == 0
        try:
            gate.succeeded(gate.attempt(CLIENT, 'mallory'))
        except HttpError:
            pass
    assert passed == 5


def test_signing_in_forgets_the_failures_of_the_user(clock):
    gate = throttle(clock)
    for _ in range(10):
        for _ in range(4):
            assert wait(gate, f'192.0.2.{random.randrange(1 << 30)}', 'ann') == 0
        gate.succeeded(gate.attempt(f'203.0.113.{random.randrange(1 << 30)}', 'ann'))


def test_many_tries_at_once_gain_nothing(users, work):
    async def burst():
        fibers = [runtime.spawn(attempt(n)) for n in range(50)]
        return [await fiber.join() for fiber in fibers]

    async def attempt(n):
        try:
            return await users.login('ann', f'guess {n}', CLIENT)
        except HttpError as error:
            return error.status
    answers = runtime.run(burst)
    assert answers.count(None) == 5 and answers.count(429) == 45 and work['verify'] == 5


def test_the_network_of_an_ipv6_client_counts(clock):
    gate = throttle(clock)
    for n in range(5):
        assert wait(gate, f'2001:db8::{n:x}', f'u{n}') == 0
    assert wait(gate, '2001:db8::ffff:1', 'x') > 0 and wait(gate, '2001:db8:0:1::1', 'x') == 0
    assert wait(gate, 'fe80::1%eth0', 'y') == 0 and wait(gate, '::ffff:192.0.2.1', 'y') == 0 and wait(gate, 'unix', 'y') == 0


def test_all_ways_of_signing_in_are_throttled_together(users):
    client = DigestClient(users, 'ann', 'wrong')
    for _ in range(2):
        assert refused(users, client.answer()).status == 401
        assert refused(users, basic('ann', 'wrong')).status == 401
    assert login(users, 'ann', 'wrong') is None
    client.word = WORDS['ann']
    for value in (client.answer(), basic('ann', WORDS['ann'])):
        error = refused(users, value)
        assert error.status == 429 and dict(error.headers)['Retry-After'] == '2'


def test_good_requests_are_never_throttled(users):
    client = DigestClient(users, 'ann', WORDS['ann'])
    for _ in range(100):
        assert authenticate(users, client.answer()) and authenticate(users, basic('bob', WORDS['bob']))


def test_throttle_can_be_set_and_switched_off(clock):
    users = make(clock, limits={'failures': 1, 'wait': '1 min'})
    assert login(users, 'ann', 'x') is None
    with pytest.raises(HttpError):
        login(users, 'ann', 'x')
    users = make(clock, limits={'failures': 'unlimited'})
    assert [login(users, 'ann', 'x') for _ in range(50)] == [None] * 50


def test_memory_is_bounded_under_random_clients_and_names(clock):
    gate = throttle(clock)
    seed = random.randrange(1 << 32)
    print('seed', seed)
    source = random.Random(seed)
    tracemalloc.start()
    try:
        for n in range(100_000):
            clock.now += 0.01
            keys = gate.attempt(f'10.{n >> 16}.{n >> 8 & 255}.{n & 255}', source.randbytes(20).hex() * 100)
            if source.random() < 0.3:
                gate.succeeded(keys)
            assert len(gate.failed) <= 1000 and len(gate.known) <= 1000
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()


# Real peers, and what the server loads

@pytest.mark.parametrize('schemes, option', [(('SHA-256',), '--digest'), (('MD5',), '--digest'), (('SHA-256', 'MD5'), '--digest'),
                                             (('Basic',), '--basic'), (ALL, '--anyauth')])
def test_curl_signs_in(schemes, option):
    users = make(Clock())

    async def main():
        server = Server({'listen': ['http://127.0.0.1:0']})

        @server.action('/')
        async def action(web):
            user = await users.authenticate(web.fields.get('authorization', ''), web.method, web.target, web.remote, schemes)
            if not user:
                raise HttpError(401, '', users.challenges(schemes))
            return user.name
        await server.start()
        try:
            url = server.addresses[0] + '/a%20b?c=d&e="f"'
            command = ['curl', '-s', '--globoff', option, url.replace('"', '%22'), url.replace('"', '%22'), '-w', '%{http_code} ', '-u']
            good = [await runtime.to_thread(subprocess.run, [*command, f'{name}:{word}'], -1, None, None, subprocess.PIPE)
                    for name, word in WORDS.items()]
            bad = await runtime.to_thread(subprocess.run, [*command, 'ann:wrong'], -1, None, None, subprocess.PIPE)
        finally:
            await server.stop(1)
        return [result.stdout.decode() for result in good], bad.stdout.decode()
    good, bad = runtime.run(main)
    assert good == [f'{name}200 {name}200 ' for name in WORDS]
    assert bad.count('\n401 ') == 2


def test_a_server_without_users_loads_none_of_it():
    program = '''
import sys
from ioto.web import Server
Server({})
print(*{'hashlib', '_hashlib', 'hmac', 'ioto.web.users', 'ioto.web.digest', 'ioto.web.passwords'} & {*sys.modules})
from ioto.web import sessions
print(*{'hashlib', '_hashlib', 'hmac'} & {*sys.modules})
'''
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=60)
    assert result.stdout.split() == [] and result.returncode == 0, result.stdout + result.stderr
