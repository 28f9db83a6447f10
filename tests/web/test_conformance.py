"""Each row of the conformance table (conformance.py) against the agent, started once as a child process."""

import os
import time

import pytest

from tests.web import conformance, play, webchild
from tests.web.rawhttp import fetch

LIMITS = {'body': '100K'}


@pytest.fixture(scope='module')
def agent(tmp_path_factory):
    """The running agent; .names are the values for the placeholders of the table."""
    agent = webchild.start(tmp_path_factory.mktemp('conformance'), limits=LIMITS)
    try:
        tag = fetch(agent.port).get('etag')
        agent.names = {'ETAG': tag, 'OPAQUE': tag.strip('"'), 'DATE': 'Wed, 01 Jan 2020 00:00:00 GMT'}
        yield agent
    finally:
        agent.stop()


@pytest.mark.parametrize('case', conformance.CASES, ids=repr)
def test_conforms(agent, case):
    try:
        play.run(case, agent.port, agent.names)
    except Exception as error:
        pytest.fail(f'{case.id} (RFC {case.source}): {type(error).__name__}: {error}', pytrace=False)


def test_head_has_the_fields_of_get(agent):
    """RFC 9110 §9.3.2: the same fields, but those that only generating the content can tell."""
    for target in ('/hello.txt', '/', '/empty.txt', '/big.bin', '/dir', '/missing', '/bare/', '/api/get',
                   '/api/created', '/api/none', '/api/redirect', '/api/error'):
        answers = [fetch(agent.port, target, method=method) for method in ('GET', 'HEAD')]
        lines = [{name.lower(): value for name, value in answer.pairs if name.lower() != 'date'} for answer in answers]
        assert answers[0].status == answers[1].status, target
        assert lines[0] == lines[1], target


def test_not_modified_has_the_fields_of_the_full_answer(agent):
    """RFC 9110 §15.4.5."""
    full, same = fetch(agent.port), fetch(agent.port, '/hello.txt', f'If-None-Match: {agent.names["ETAG"]}')
    for name in ('cache-control', 'content-location', 'etag', 'expires', 'vary'):
        assert same.get(name) == full.get(name), name


def test_entity_tag_is_strong_and_stable(agent):
    """RFC 9110 §8.8.3; the tag of a file is the same on each connection and for GET and HEAD."""
    tags = {fetch(agent.port, method=method).get('etag') for method in ('GET', 'HEAD', 'GET')}
    assert tags == {agent.names['ETAG']}
    assert not agent.names['ETAG'].startswith('W/')


def test_validators_change_with_the_file(agent):
    """RFC 9110 §8.8.1: a strong validator changes whenever the content does, in size or in time."""
    path = os.path.join(agent.site, 'changing.txt')
    seen = []
    for data, later in ((b'one\n', 0), (b'two\n', 1), (b'three\n', 1)):
        with open(path, 'wb') as file:
            file.write(data)
        os.utime(path, (webchild.MODIFIED + later,) * 2)
        deadline = time.monotonic() + 10
        while (answer := fetch(agent.port, '/changing.txt')).body != data:      # a hot file may be trusted for a moment
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)
        seen.append(answer.get('etag'))
    assert len(set(seen)) == 3
    assert fetch(agent.port, '/changing.txt', f'If-None-Match: {seen[0]}').status == 200
    assert fetch(agent.port, '/changing.txt', f'If-None-Match: {seen[2]}').status == 304
    assert fetch(agent.port, '/changing.txt', f'If-Match: {seen[1]}').status == 412


def test_configuration_redirects(tmp_path):
    """RFC 9110 §15.4: status and Location as web.json5 says."""
    agent = webchild.start(tmp_path, redirect=[{'from': '/old', 'to': '/hello.txt', 'status': 301}])
    try:
        answer = fetch(agent.port, '/old')
        assert answer.status == 301
        play.location('/hello.txt')(answer)
        play.sound(answer)
        assert fetch(agent.port, '/hello.txt').status == 200
    finally:
        agent.stop()


def test_table_is_large_and_each_case_cites_its_source():
    assert len(conformance.CASES) > 900
    assert all(len(case.source.split()) == 3 for case in conformance.CASES)
