"""The opening handshake, from both sides (RFC 6455 §4, RFC 7692 §5, §7.1)."""

import base64
import hashlib

import pytest

from ioto.http import HttpError
from ioto.websocket import ProtocolError, accept_key, negotiate
from ioto.websocket.client import confirm, offer

KEY, ACCEPT = 'dGhlIHNhbXBsZSBub25jZQ==', 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
REQUEST = {'upgrade': 'websocket', 'connection': 'Upgrade', 'sec-websocket-key': KEY, 'sec-websocket-version': '13'}
ANSWER = {'upgrade': 'websocket', 'connection': 'Upgrade', 'sec-websocket-accept': ACCEPT}


def refusal(**options):
    with pytest.raises(HttpError) as caught:
        negotiate(**options)
    return caught.value.status, dict(caught.value.headers)


def without(fields, name):
    return {key: value for key, value in fields.items() if key != name}


def extended(value, **options):
    """(extensions that a server answers, what it agreed to) for those of a request."""
    pairs, _, deflate = negotiate({**REQUEST, 'sec-websocket-extensions': value}, **options)
    return dict(pairs).get('Sec-WebSocket-Extensions'), deflate


def test_the_key_of_the_rfc():
    """§1.3, §4.2.2."""
    assert accept_key(KEY) == ACCEPT


def test_the_answer_of_a_server():
    pairs = [('Upgrade', 'websocket'), ('Connection', 'Upgrade'), ('Sec-WebSocket-Accept', ACCEPT)]
    assert negotiate(REQUEST) == (pairs, None, None)
    assert negotiate({**REQUEST, 'upgrade': 'h2c, WebSocket', 'connection': 'keep-alive, UPGRADE'}) == (pairs, None, None)


@pytest.mark.parametrize('method', ['POST', 'HEAD', 'CONNECT', 'get', 'OPTIONS'])
def test_only_get(method):
    assert refusal(fields=REQUEST, method=method) == (405, {'Allow': 'GET'})


@pytest.mark.parametrize('fields', [
    without(REQUEST, 'upgrade'), {**REQUEST, 'upgrade': 'h2c'}, {**REQUEST, 'upgrade': 'websocket/13'}, without(REQUEST, 'sec-websocket-version'),
    *[{**REQUEST, 'sec-websocket-version': version} for version in ('', '8', '12', '14', '13, 13', '13, 8', '013', '+13', '13.0')]])
def test_asks_for_version_13_with_426(fields):
    status, headers = refusal(fields=fields)
    assert status == 426
    assert headers == {'Upgrade': 'websocket', 'Connection': 'Upgrade', 'Sec-WebSocket-Version': '13'}


def test_http_1_0_knows_no_upgrade():
    assert refusal(fields=REQUEST, version=10)[0] == 426


@pytest.mark.parametrize('fields', [
    without(REQUEST, 'connection'), {**REQUEST, 'connection': 'keep-alive'}, {**REQUEST, 'connection': 'upgrades'}, without(REQUEST, 'sec-websocket-key'),
    *[{**REQUEST, 'sec-websocket-key': key} for key in (
        '', 'x', KEY[:-1], KEY[:-2], KEY + '=', KEY + ' ', f'{KEY}, {KEY}', KEY.replace('d', '-'), KEY.replace('d', 'é'), KEY + '\n', 'A' * 24)],
    *[{**REQUEST, 'sec-websocket-extensions': value} for value in (
        'a;', ';a', 'a; b=', 'a; b="', 'a; b=""', 'a b', 'a; b="c d"', 'a=b', 'a; b=c=d', '"a"', 'a; b="c', 'permessage-deflate;;', 'é')]], ids=str)
def test_refuses_with_400_what_is_malformed(fields):
    """§4.2.1, §9.1."""
    assert refusal(fields=fields)[0] == 400


@pytest.mark.parametrize('asked, known, chosen', [
    ('chat, superchat', ('superchat', 'chat'), 'chat'), ('a, b', ('b',), 'b'), ('a', ('b',), None), ('a', (), None), ('Chat', ('chat',), None),
    ('', ('',), None), (', ,b', ('b',), 'b'), ('soap,wamp', ['wamp'], 'wamp'),
])
def test_the_first_subprotocol_of_the_client_that_the_server_knows(asked, known, chosen):
    pairs, subprotocol, _ = negotiate({**REQUEST, 'sec-websocket-protocol': asked}, known)
    assert subprotocol == chosen and dict(pairs).get('Sec-WebSocket-Protocol') == chosen
    assert negotiate(REQUEST, known)[1] is None


@pytest.mark.parametrize('value, answer', [
    ('permessage-deflate', 'permessage-deflate'),
    ('permessage-deflate; client_max_window_bits', 'permessage-deflate; client_max_window_bits=12'),
    ('permessage-deflate; client_max_window_bits=15', 'permessage-deflate; client_max_window_bits=12'),
    ('permessage-deflate;client_max_window_bits="9"', 'permessage-deflate; client_max_window_bits=9'),
    ('permessage-deflate; server_max_window_bits=10', 'permessage-deflate; server_max_window_bits=10'),
    ('permessage-deflate; server_max_window_bits=8, permessage-deflate; client_max_window_bits=8, permessage-deflate', 'permessage-deflate'),
    ('permessage-deflate ; server_no_context_takeover;client_no_context_takeover',
     'permessage-deflate; server_no_context_takeover; client_no_context_takeover'),
    ('x-other; a=1, permessage-deflate', 'permessage-deflate'), ('x-webkit-deflate-frame', None), ('', None), (' , ', None),
    ('permessage-deflate; server_max_window_bits=7, permessage-deflate; server_no_context_takeover', 'permessage-deflate; server_no_context_takeover'),
    ('permessage-deflate; server_no_context_takeover, permessage-deflate', 'permessage-deflate; server_no_context_takeover'),
    *[(f'permessage-deflate; {parameter}', None) for parameter in (
        'unknown', 'server_max_window_bits=8', 'client_max_window_bits=8', 'server_max_window_bits', 'server_max_window_bits=7', 'server_max_window_bits=16', 'server_max_window_bits=08',
        'client_max_window_bits=0', 'client_max_window_bits=100', 'client_max_window_bits=x', 'server_no_context_takeover=1',
        'client_no_context_takeover=true', 'client_max_window_bits; client_max_window_bits=10',
        'server_no_context_takeover; server_no_context_takeover', 'Server_no_context_takeover')],
])
def test_the_first_offer_of_compression_that_is_valid(value, answer):
    """RFC 7692 §5.1, §7.1."""
    assert extended(value)[0] == answer
    assert (extended(value)[1] is None) == (answer is None)
    assert extended(value, deflate=False) == (None, None)


def test_the_request_of_a_client():
    pairs, key = offer()
    assert len(base64.b64decode(key, validate=True)) == 16 and key != offer()[1]
    assert pairs == [('Upgrade', 'websocket'), ('Connection', 'Upgrade'), ('Sec-WebSocket-Version', '13'), ('Sec-WebSocket-Key', key),
                     ('Sec-WebSocket-Extensions', 'permessage-deflate; client_max_window_bits')]
    assert offer(('a', 'b'), deflate=False)[0][4:] == [('Sec-WebSocket-Protocol', 'a, b')]


@pytest.mark.parametrize('asked, known, deflate', [((), (), True), (('a', 'b'), ('b',), True), (('a',), (), False)])
def test_both_sides_agree(asked, known, deflate):
    pairs, key = offer(asked, deflate)
    answer, subprotocol, parameters = negotiate({name.lower(): value for name, value in pairs}, known)
    confirmed = confirm(101, {name.lower(): value for name, value in answer}, key, asked, deflate)
    assert confirmed[0] == subprotocol == next(iter(known), None)
    assert bool(confirmed[1]) == bool(parameters) == deflate
    assert not deflate or {name: str(value) for name, value in parameters.items()} == confirmed[1] == {'client_max_window_bits': '12'}


@pytest.mark.parametrize('fields, subprotocol, deflate', [
    ({}, None, None), ({'upgrade': 'WebSocket', 'connection': 'keep-alive, upgrade'}, None, None), ({'sec-websocket-protocol': 'b'}, 'b', None),
    ({'sec-websocket-extensions': 'permessage-deflate'}, None, {}),
    ({'sec-websocket-extensions': 'permessage-deflate; client_max_window_bits=10; server_max_window_bits="9"; server_no_context_takeover'},
     None, {'client_max_window_bits': '10', 'server_max_window_bits': '9', 'server_no_context_takeover': ''}),
])
def test_a_client_takes_what_it_offered(fields, subprotocol, deflate):
    assert confirm(101, {**ANSWER, **fields}, KEY, ('a', 'b')) == (subprotocol, deflate)


@pytest.mark.parametrize('status, fields', [
    (200, ANSWER), (400, ANSWER), *[(101, without(ANSWER, name)) for name in ANSWER], (101, {**ANSWER, 'upgrade': 'websocket, h2c'}),
    (101, {**ANSWER, 'connection': 'close'}), (101, {**ANSWER, 'sec-websocket-accept': ACCEPT.lower()}),
    (101, {**ANSWER, 'sec-websocket-accept': base64.b64encode(hashlib.sha1(KEY.encode()).digest()).decode()}),
    (101, {**ANSWER, 'sec-websocket-protocol': 'c'}), (101, {**ANSWER, 'sec-websocket-protocol': ''}),
    (101, {**ANSWER, 'sec-websocket-protocol': 'a, b'}),
    *[(101, {**ANSWER, 'sec-websocket-extensions': value}) for value in (
        'x', 'permessage-deflate, x', 'permessage-deflate, permessage-deflate', 'permessage-deflate; client_max_window_bits',
        'permessage-deflate; server_max_window_bits', 'permessage-deflate; x', 'permessage-deflate; client_max_window_bits=8', 'permessage-deflate; server_max_window_bits=16', ';')],
])
def test_a_client_refuses_what_it_did_not_ask_for(status, fields):
    """§4.1, RFC 7692 §7.1."""
    with pytest.raises(ProtocolError):
        confirm(status, fields, KEY, ('a', 'b'))


def test_a_client_refuses_compression_that_it_did_not_offer():
    with pytest.raises(ProtocolError):
        confirm(101, {**ANSWER, 'sec-websocket-extensions': 'permessage-deflate'}, KEY, deflate=False)
