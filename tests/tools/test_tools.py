"""tools/: what is set up for the tests, what a benchmark prints, and the one budget that needs no load: size."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tools import bench, package, peers
from tools.benchmarks import footprint, load, report, servers

WRK = '''Running 1s test @ http://127.0.0.1:1/
  2064 requests in 1.00s, 0.91MB read
%sRequests/sec:   2063.02
Transfer/sec:    0.91MB
'''


@pytest.fixture
def result():
    """A Result of two servers, the peer twice as fast in the first case and without a number in the second."""
    columns = [report.Column('GET', 'requests/s'), report.Column('memory', 'KB', ratio=False)]
    made = report.Result('sample', 'two servers', columns)
    made.rows = {'agent': [21000.4, 512], 'peer': [42000.8, None]}
    return made


def test_table_shows_values_units_and_ratios_to_the_agent(result):
    assert report.table(result).splitlines() == [
        'sample: two servers',
        '                GET  agent  memory',
        '         requests/s   ÷ it      KB',
        '  agent      21,000   1.00     512',
        '  peer       42,001   0.50       -']


def test_table_says_whether_budgets_are_met(result):
    result.budget('peer', result.ratio('peer', 'GET'), 'at least', 1.0)
    result.budget('memory, KB', result.value('agent', 'memory'), 'at most', 512)
    assert report.table(result).splitlines()[-2:] == [
        '  budget: peer: 0.500, at least 1: NO', '  budget: memory, KB: 512, at most 512: yes']


def test_budget_without_a_number_is_a_note(result):
    result.budget('absent', result.ratio('absent', 'GET'), 'at least', 1.0)
    assert result.budgets == []
    assert report.table(result).endswith('note: not checked, for lack of a number: absent')


def test_plain_result_is_json_with_the_same_numbers(result):
    result.budget('peer', result.ratio('peer', 'GET'), 'at least', 1.0)
    plain = json.loads(json.dumps(result.plain()))
    assert plain['rows'][1] == {'subject': 'peer', 'values': {'GET': 42000.8, 'memory': None}, 'ratios': {'GET': 0.5}}
    assert plain['budgets'] == [{'name': 'peer', 'value': 0.5, 'relation': 'at least', 'limit': 1.0, 'met': False}]


@pytest.mark.parametrize('value, text', [
    (None, '-'), (0, '0'), (80, '80'), (48210.4, '48,210'), (123.4, '123'), (12.34, '12.3'), (1.234, '1.23'),
    (0.04126, '0.041')])
def test_number_has_few_digits(value, text):
    assert report.number(value) == text


def test_rounds_take_subjects_in_turn_and_give_medians():
    order = []
    values = {'a': [1, 9, 2], 'b': [(3, 30), (1, 10), (2, 20)]}

    def measure(subject):
        order.append(subject)
        return values[subject].pop(0)

    assert report.interleave(3, ['a', 'b'], measure) == {'a': 2, 'b': (2, 20)}
    assert order == ['a', 'b'] * 3


def test_reads_rate_and_count_from_wrk():
    assert load.wrk_numbers(WRK % '') == (2063.02, 2064)


def test_accepts_a_server_that_closes_after_each_answer():
    assert load.wrk_numbers(WRK % '  Socket errors: connect 0, read 2064, write 0, timeout 0\n') == (2063.02, 2064)


@pytest.mark.parametrize('line', [
    '  Socket errors: connect 0, read 7, write 0, timeout 0\n',
    '  Socket errors: connect 1, read 0, write 0, timeout 0\n',
    '  Socket errors: connect 0, read 2064, write 0, timeout 3\n',
    '  Non-2xx or 3xx responses: 12\n'])
def test_a_run_with_failures_is_no_number(line):
    with pytest.raises(servers.BenchError, match='wrk: '):
        load.wrk_numbers(WRK % line)


def test_wrk_without_a_report_is_an_error():
    with pytest.raises(servers.BenchError, match='unable to connect'):
        load.wrk_numbers('unable to connect to 127.0.0.1:1 Connection refused\n')


def test_without_names_all_is_measured():
    assert bench.arguments([]).names == list(bench.BENCHMARKS)
    assert bench.arguments(['size', 'http', 'size']).names == ['size', 'http']


@pytest.mark.parametrize('given', [['nothing'], ['--rounds', '0'], ['--seconds', 'x'], ['--unknown']])
def test_a_wrong_argument_is_refused_with_usage(given, capsys):
    with pytest.raises(SystemExit) as stop:
        bench.arguments(given)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith('usage: bench.py')


def test_bench_prints_json_alone_on_stdout():
    done = subprocess.run([sys.executable, os.path.join(peers.ROOT, 'tools', 'bench.py'), 'size', '--json'],
                          capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert [each['name'] for each in document['results']] == ['size']
    assert document['failed'] == []


def test_packages_of_both_profiles_are_within_their_size():
    budgets = footprint.size(SimpleNamespace()).budgets
    assert [(budget.name, budget.limit) for budget in budgets] == [('profile web, KB', 80), ('profile all, KB', 150)]
    assert all(budget.met for budget in budgets), budgets


def test_size_is_that_of_the_package_and_counts_each_source_once():
    rows = footprint.size(SimpleNamespace()).rows
    assert [rows[f'profile {profile}'][0] * 1024 for profile in ('web', 'all')] == [
        len(package.build(profile)) for profile in ('web', 'all')]
    lines = {part: values[3] for part, values in rows.items()}
    assert lines.pop('profile all') == sum(lines.values()) - lines['profile web'] > 0


def test_servers_of_the_benchmarks_serve_the_same_file():
    assert len(servers.SMALL) == 1024
    assert {what for kind in servers.SERVERS.values() for what in kind.serves} == {*servers.ALL, 'https', 'echo'}


def test_bare_loop_is_started_checked_and_ended():
    with servers.running(['bare loop']) as started:
        server = started['bare loop']
        load.check_answer(server, '/api/hello', servers.HELLO)
        with pytest.raises(servers.BenchError, match='not 200 and'):
            load.check_answer(server, '/api/hello', b'another body')
        assert server.memory()[0] > 1 << 20 and server.peak() > 1 << 20 and server.wakeups() > 0
    assert server.process.returncode is not None
    assert not os.path.exists(server.folder)


def test_a_peer_that_does_not_start_is_named_and_left_out(monkeypatch, capsys):
    broken = servers.Kind(lambda port, folder: [sys.executable, '-c', 'raise SystemExit("no such module")'], ('hello',))
    monkeypatch.setitem(servers.SERVERS, 'broken', broken)
    with servers.running(['broken', 'bare loop']) as started:
        assert list(started) == ['bare loop']
    assert 'left out: broken does not start: no such module' in capsys.readouterr().err


def test_peers_are_wanted_by_what_the_tree_has(monkeypatch, tmp_path):
    monkeypatch.setattr(peers, 'ROOT', str(tmp_path))
    assert peers.wanted(peers.PROGRAMS, 'tests') == []
    (tmp_path / 'tests' / 'mqtt').mkdir(parents=True)
    assert 'mosquitto' in [program.command for program in peers.wanted(peers.PROGRAMS, 'tests')]
    assert 'tinyproxy' not in [program.command for program in peers.wanted(peers.PROGRAMS, 'tests')]


def test_every_peer_says_what_it_is_for():
    for peer in peers.PROGRAMS + peers.PACKAGES:
        assert peer.purpose and peer.users
        assert all(user == 'bench' or user.startswith('tests/') for user in peer.users)


def test_installed_packages_are_found_by_name_alone(tmp_path):
    site = tmp_path / 'lib' / ('python%d.%d' % sys.version_info[:2]) / 'site-packages'
    (site / 'Some_Package-1.2.dist-info').mkdir(parents=True)
    assert not peers.installed(str(tmp_path), 'some-package'), 'without an interpreter it is no environment'
    (tmp_path / 'bin').mkdir()
    os.symlink(sys.executable, tmp_path / 'bin' / 'python')
    assert peers.installed(str(tmp_path), 'some-package[server] >= 1')
    assert not peers.installed(str(tmp_path), 'some')


ABSENT = """
PROGRAMS = (Program('absent-program', 'absent', 'is never there', ('tests/x',)),)
install_programs = print
install_packages = lambda venv, requirements: requirements
"""


def run_test_command(tmp_path, **environment):
    """tools/test.py in a copy of the tree that has one test, and wants a program that is nowhere."""
    tools = tmp_path / 'tools'
    tools.mkdir()
    source = open(os.path.join(peers.ROOT, 'tools', 'peers.py'), encoding='utf-8').read()
    (tools / 'peers.py').write_text(source + ABSENT, encoding='utf-8')
    for name in ('tools/test.py', 'setup.cfg'):
        (tmp_path / name).write_bytes(open(os.path.join(peers.ROOT, name), 'rb').read())
    (tmp_path / 'tests' / 'x').mkdir(parents=True)
    (tmp_path / 'tests' / 'x' / 'test_one.py').write_text('def test_one():\n    pass\n')
    clean = {name: value for name, value in os.environ.items() if name != 'CI' and not name.startswith('PYTEST')}
    return subprocess.run([sys.executable, str(tools / 'test.py'), '-q'], capture_output=True, text=True,
                          env={**clean, **environment})


def test_test_command_names_what_is_missing_and_runs(tmp_path):
    done = run_test_command(tmp_path)
    assert done.returncode == 0
    assert 'missing absent-program (is never there): apt-get install absent' in done.stderr
    assert '1 passed' in done.stdout.splitlines()[-1]


def test_test_command_fails_in_ci_before_it_runs(tmp_path):
    done = run_test_command(tmp_path, CI='true')
    assert done.returncode == 1
    assert 'absent-program' in done.stderr and 'nothing was run' in done.stderr
    assert 'passed' not in done.stdout
