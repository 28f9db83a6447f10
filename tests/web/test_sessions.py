"""Sessions: identifiers, lifetime, bounds, tokens and cookies."""

import random

import pytest

from ioto.web.sessions import Session, Sessions


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_session_keeps_values_and_is_found_by_its_identifier(clock):
    sessions = Sessions(clock=clock)
    session = sessions.create()
    session['cart'] = [1]
    assert sessions.get(session.id) is session and sessions.get(session.id) == {'cart': [1]}
    assert session.user is None and isinstance(session, dict)


@pytest.mark.parametrize('identifier', [None, '', 'x', '0' * 32, '0' * 10000])
def test_others_find_nothing(clock, identifier):
    sessions = Sessions(clock=clock)
    sessions.create()
    assert sessions.get(identifier) is None


def test_identifiers_and_tokens_are_128_random_bits(clock):
    sessions = Sessions(limit=1000, clock=clock)
    made = [sessions.create() for _ in range(1000)]
    words = {session.id for session in made} | {session.token for session in made}
    assert len(words) == 2000
    assert all(len(bytes.fromhex(word)) == 16 for word in words)
    ones = sum(int(word, 16).bit_count() for word in words)
    assert abs(ones / (2000 * 128) - 0.5) < 0.01


def test_ends_after_inactivity_and_use_prolongs(clock):
    sessions = Sessions(lifetime=100, clock=clock)
    session = sessions.create()
    for _ in range(5):
        clock.now += 99
        assert sessions.get(session.id) is session
    clock.now += 100
    assert sessions.get(session.id) is None
    assert len(sessions) == 0


def test_ended_sessions_make_room_when_one_is_created(clock):
    sessions = Sessions(lifetime=100, clock=clock)
    for user in (None, 'ann', None, 'bob'):
        sessions.create(user)
    clock.now += 50
    young = sessions.create('cy')
    clock.now += 50
    sessions.create()
    assert len(sessions) == 2 and sessions.get(young.id) is young


def test_signing_in_changes_identifier_and_token_and_keeps_values(clock):
    sessions = Sessions(clock=clock)
    session = sessions.create()
    session['page'] = '/x'
    planted, token = session.id, session.token
    assert sessions.renew(session, 'ann') is session
    assert session.id != planted and session.token != token
    assert session.user == 'ann' and session == {'page': '/x'}
    assert sessions.get(planted) is None and sessions.get(session.id) is session
    assert len(sessions) == 1
    signed_in = session.id
    sessions.renew(session)
    assert session.user is None and sessions.get(signed_in) is None and len(sessions) == 1


def test_destroy(clock):
    sessions = Sessions(clock=clock)
    session = sessions.create('ann')
    sessions.destroy(session)
    sessions.destroy(session)
    assert sessions.get(session.id) is None and len(sessions) == 0


def test_a_destroyed_session_can_begin_again(clock):
    sessions = Sessions(clock=clock)
    session = sessions.create('ann')
    sessions.destroy(session)
    sessions.renew(session, 'ann')
    assert sessions.get(session.id) is session


def test_destroy_all_of_a_user(clock):
    sessions = Sessions(clock=clock)
    anns = [sessions.create('ann') for _ in range(3)]
    bob, guest = sessions.create('bob'), sessions.create()
    sessions.destroy_user('ann')
    assert [sessions.get(session.id) for session in anns] == [None] * 3
    assert sessions.get(bob.id) is bob and sessions.get(guest.id) is guest


def test_the_one_unused_longest_makes_room(clock):
    sessions = Sessions(limit=3, clock=clock)
    one, two, three = [sessions.create('ann') for _ in range(3)]
    sessions.get(one.id)
    four = sessions.create('ann')
    assert sessions.get(two.id) is None
    assert [sessions.get(session.id) for session in (one, three, four)] == [one, three, four]


def test_strangers_push_out_strangers_first(clock):
    sessions = Sessions(limit=10, clock=clock)
    ann = sessions.create('ann')
    for _ in range(1000):
        sessions.create()
    assert sessions.get(ann.id) is ann and len(sessions) == 10


def test_strangers_push_out_no_user_even_when_all_are_users(clock):
    sessions = Sessions(limit=5, clock=clock)
    users = [sessions.create(f'user{n}') for n in range(5)]
    strangers = [sessions.create() for _ in range(100)]
    assert [sessions.get(session.id) for session in users] == users
    assert [stranger for stranger in strangers if sessions.get(stranger.id) is not None] == strangers[-1:]
    sessions.create('ann')
    assert len(sessions) == 5 and sessions.get(users[0].id) is None


def test_values_of_a_user_are_not_for_the_next_one(clock):
    sessions = Sessions(clock=clock)
    session = sessions.create()
    session['cart'] = 1
    assert sessions.renew(session, 'ann') == sessions.renew(session, 'ann') == {'cart': 1}
    assert sessions.renew(session, 'bob') == {}


def test_memory_is_bounded(clock):
    seed = random.randrange(1 << 32)
    print('seed', seed)
    source = random.Random(seed)
    sessions = Sessions(limit=100, lifetime=1000, clock=clock)
    alive = []
    for _ in range(100_000):
        clock.now += source.random()
        session = sessions.create(source.choice((None, 'ann', 'bob')))
        alive = [*alive[-9:], session]
        if source.random() < 0.2:
            sessions.get(source.choice(alive).id)
        if source.random() < 0.1:
            sessions.renew(source.choice(alive), 'ann')
        assert len(sessions) <= 101         # one stranger has a place where all are users
    assert len(sessions) >= 100


def test_renewing_when_full_costs_no_other_session(clock):
    sessions = Sessions(limit=2, clock=clock)
    ann, bob = sessions.create('ann'), sessions.create('bob')
    sessions.renew(ann, 'ann')
    assert sessions.get(bob.id) is bob and sessions.get(ann.id) is ann


def test_token(clock):
    session = Sessions(clock=clock).create()
    assert session.check_token(session.token)
    for wrong in (None, '', session.token[:-1], session.token + 'x', session.token.upper() + 'x', session.id, 'ä€\ud800', 'x' * 100000):
        assert not session.check_token(wrong)


@pytest.mark.parametrize('secure, name, attributes', [
    (False, 'ioto-session', {'Path=/', 'SameSite=Lax', 'HttpOnly'}),
    (True, '__Host-ioto-session', {'Path=/', 'SameSite=Lax', 'HttpOnly', 'Secure'}),
])
def test_cookie(clock, secure, name, attributes):
    sessions = Sessions(clock=clock)
    session = sessions.create()
    assert sessions.cookie_name(secure) == name
    first, *rest = sessions.cookie(session, secure).split('; ')
    assert first == f'{name}={session.id}' and {*rest} == attributes
    sessions.destroy(session)
    first, *rest = sessions.cookie(session, secure).split('; ')
    assert first == f'{name}=' and {*rest} == attributes | {'Max-Age=0'}


def test_a_session_that_was_never_entered_can_be_destroyed(clock):
    Sessions(clock=clock).destroy(Session())
