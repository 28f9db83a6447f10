"""services.mqtt: an agent in a child process, against mosquitto."""

import inspect
import json
import os
import re
import signal
import subprocess

import pytest

from ioto import Agent, ConfigError, json5
from ioto.config import MQTT, load
from ioto.mqtt import Client
from ioto.mqtt.service import SESSION
from tests.child import PATIENCE, TREE, Child, get, write
from tests.mqtt.broker import Broker, free_ports, program

# Publishes and receives what tests ask for over HTTP, through actions that need nobody to sign in.
APP = '''
from ioto import runtime
from ioto.runtime.log import Log
log = Log('test')
async def start(agent):
    async def receive(message):
        log.info(f'got {message.topic} {message.payload.decode()}')
    if agent.mqtt:
        agent.mqtt.subscribe('to/device', receive, qos=1)
    runtime.watch('mqtt:connected', lambda session_present: log.info(f'signal connected {session_present}'))
    runtime.watch('mqtt:disconnected', lambda error, expected: log.info(f'signal disconnected {expected}'))
    @agent.web.action('/publish')
    async def publish(web):
        await agent.mqtt.publish('from/device', web.query, qos=1)
        return 'published'
'''


@pytest.fixture
def broker(tmp_path):
    with Broker(tmp_path / 'broker') as broker:
        yield broker


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, 'app.py', APP)
    write(tmp_path, 'config/device.json5', "{id: 'ABCDEFGHJK'}")
    return tmp_path / 'config'


def configure(folder, mqtt, **more):
    """An agent with a web server and these mqtt properties; the path of its ioto.json5."""
    values = {'services': {'web': True, 'mqtt': True}, 'web': {'listen': ['http://127.0.0.1:0']}, 'app': 'app.py',
              'mqtt': mqtt, **more}
    return write(folder, 'ioto.json5', json.dumps(values, indent=1))


def local(broker, listener='plain', **more):
    return {'endpoint': '127.0.0.1', 'port': broker.ports[listener], 'backoff': ['10 msecs', '100 msecs'], **more}


def password(name, word, *roles):
    from ioto.web import passwords
    return {name: {'password': passwords.hash_password(word, 50), 'roles': [*roles]}}


def publish(broker, topic, payload):
    subprocess.run([program('mosquitto_pub'), '-p', str(broker.port), '-t', topic, '-m', payload, '-q', '1'],
                   check=True, timeout=PATIENCE)


class Listener:
    """mosquitto_sub, from when its subscription stands."""

    def __init__(self, broker, count):
        self.process = subprocess.Popen(
            [program('mosquitto_sub'), '-p', str(broker.port), '-t', 'from/device', '-t', 'will', '-q', '1',
             '-C', str(count), '-F', '%t %p'],
            stdout=subprocess.PIPE, text=True)
        broker.wait_for('from/device (QoS 1)')

    def lines(self):
        return self.process.communicate(timeout=PATIENCE)[0].split('\n')[:-1]


# What goes over it

def test_messages_go_both_ways_and_a_stop_says_disconnect(folder, broker):
    configure(folder, local(broker))
    listener = Listener(broker, 2)
    with Child(folder) as child:
        child.wait_for('signal connected False')
        broker.wait_for("as ABCDEFGHJK (p2, c0, k60")
        assert get(child.port, '/publish?one')[2] == b'published'
        broker.wait_for('to/device (QoS 1)')
        publish(broker, 'to/device', 'hello')
        child.wait_for('got to/device hello')
        assert get(child.port, '/publish?two')[2] == b'published'
        assert child.stop() == 0
        output = child.output()
    assert listener.lines() == ['from/device one', 'from/device two']
    assert "app: info: MQTT connects to 127.0.0.1 as 'ABCDEFGHJK'\n" in output
    assert output.count('mqtt: info: ') == 2 and 'Traceback' not in output and 'error' not in output
    broker.wait_for('Received DISCONNECT from ABCDEFGHJK')
    assert os.listdir(folder.parent / 'state') == ['mqtt.db']
    assert os.stat(folder.parent / 'state/mqtt.db').st_mode & 0o777 == 0o600


def test_an_agent_starts_without_its_broker_and_finds_it_later(folder, broker):
    broker.stop()
    configure(folder, local(broker))
    with Child(folder) as child:
        assert get(child.port, '/publish?early')[2] == b'published'
        broker.resume()
        child.wait_for('signal connected')
        assert child.stop() == 0
    assert 'Traceback' not in child.output()


def test_a_loss_is_told_in_a_line_and_mended(folder, broker):
    configure(folder, local(broker))
    with Child(folder) as child:
        child.wait_for('signal connected')
        broker.stop()
        child.wait_for('signal disconnected False')
        assert len(re.findall('mqtt: info: connection lost: .+\n', child.output())) == 1
        broker.resume()
        child.wait_for(re.compile('(?s)signal connected.*signal connected'))
        assert child.stop() == 0
    assert 'Traceback' not in child.output()


def test_messages_outlive_a_sigkill(folder, broker):
    broker.stop()
    configure(folder, local(broker))
    with Child(folder) as child:
        for number in range(20):
            assert get(child.port, f'/publish?{number}')[2] == b'published'
        child.stop(signal.SIGKILL)
    broker.resume()
    listener = Listener(broker, 20)
    with Child(folder) as child:
        assert listener.lines() == [f'from/device {number}' for number in range(20)]
        assert child.stop() == 0


@pytest.mark.parametrize('store', [None, ''])
def test_a_stop_with_messages_in_the_queue_is_not_delayed_for_ever(folder, broker, store):
    broker.stop()
    configure(folder, local(broker, **({} if store is None else {'store': store})))
    with Child(folder) as child:
        get(child.port, '/publish?kept')
        assert child.stop() == 0
    assert os.path.exists(folder.parent / 'state/mqtt.db') == (store is None)


def test_a_broker_that_does_not_answer_delays_a_stop_by_seconds_and_loses_nothing(folder, broker):
    configure(folder, local(broker))
    with Child(folder) as child:
        child.wait_for('signal connected')
        broker.freeze()
        get(child.port, '/publish?kept')
        assert child.stop() == 0
    broker.thaw()
    listener = Listener(broker, 1)
    with Child(folder) as child:
        assert listener.lines() == ['from/device kept']
        assert child.stop() == 0


@pytest.mark.parametrize('more', [{}, {'demand': '1 sec'}])
def test_a_refusal_is_told_and_tried_again(folder, tmp_path, more):
    with Broker(tmp_path / 'broker', users={'ann': 'good'}) as broker:
        path = configure(folder, local(broker, username='ann', password='wrong', **more))
        with Child(folder) as child:
            refused = r'mqtt: info: 127\.0\.0\.1 port \d+ refuses the connection: .+? \(code 5\)\n'
            next = '' if more else r'mqtt: error: refused: next attempt in 0\.1 secs\n'
            child.wait_for(re.compile(f'({refused}{next}.*){{2}}', re.S))
            path.write_text(path.read_text().replace('"wrong"', '"good"'))
            child.send(signal.SIGHUP)
            child.wait_for('signal connected')
            assert child.stop() == 0
        assert 'wrong' not in child.output() and 'good' not in child.output() and 'Traceback' not in child.output()


@pytest.mark.parametrize('scheme, listener, tls', [
    ('mqtt', 'plain', None), ('ws', 'websockets', None), ('mqtts', 'tls', {}), ('wss', 'wss', {}),
    ('mqtts', 'mutual', {'certificate': '@certs/device.crt', 'key': '@certs/device.key'})])
def test_endpoints(folder, certs, tmp_path, scheme, listener, tls):
    if tls is not None:
        tls = {'tls': {'authority': '@certs/ca.crt', 'serverName': 'localhost', **tls}}
    (tmp_path / 'certs').symlink_to(certs)
    with Broker(tmp_path / 'broker', certs=certs) as broker:
        configure(folder, {'endpoint': f'{scheme}://ann:secret@127.0.0.1:{broker.ports[listener]}', **(tls or {})})
        with Child(folder) as child:
            child.wait_for('signal connected')
            broker.wait_for('as ABCDEFGHJK')
            assert child.stop() == 0
        assert f"MQTT connects to {scheme}://127.0.0.1:{broker.ports[listener]} as" in child.output()
        assert 'secret' not in child.output()


def test_a_will_is_published_when_the_agent_is_killed(folder, broker):
    configure(folder, local(broker, will={'topic': 'will', 'payload': {'gone': True}, 'qos': 1}))
    listener = Listener(broker, 1)
    with Child(folder) as child:
        child.wait_for('signal connected')
        child.stop(signal.SIGKILL)
    assert listener.lines() == ['will {"gone":true}']


# Reloading

def test_a_reload_moves_to_another_broker(folder, broker, tmp_path):
    path = configure(folder, local(broker))
    with Broker(tmp_path / 'other') as other, Child(folder) as child:
        child.wait_for('signal connected')
        child.send(signal.SIGHUP)
        child.wait_for('Configuration reloaded')
        text = path.read_text().replace(str(broker.port), str(other.port))
        path.write_text(text.replace(str(other.port), '70000'))
        child.send(signal.SIGHUP)
        child.wait_for(re.compile(r'Configuration not reloaded: .*ioto\.json5:\d+:\d+: mqtt\.port: '))
        assert child.output().count('signal connected') == 1
        path.write_text(text)
        child.send(signal.SIGHUP)
        broker.wait_for('Received DISCONNECT from ABCDEFGHJK')
        other.wait_for('as ABCDEFGHJK')
        child.wait_for(re.compile('(?s)signal connected.*signal connected'))
        assert child.stop() == 0
    assert 'Traceback' not in child.output()


def test_a_reload_takes_a_renewed_certificate(folder, certs, tmp_path):
    (tmp_path / 'certs').mkdir()
    for name in ('ca.crt', 'device.crt', 'device.key'):
        (tmp_path / 'certs' / name).write_bytes((certs / name).read_bytes())
    with Broker(tmp_path / 'broker', certs=certs) as broker:
        configure(folder, {'endpoint': f'mqtts://127.0.0.1:{broker.ports["mutual"]}', 'tls': {
            'authority': '@certs/ca.crt', 'certificate': '@certs/device.crt', 'key': '@certs/device.key',
            'serverName': 'localhost'}})
        with Child(folder) as child:
            child.wait_for('signal connected')
            child.send(signal.SIGHUP)
            child.wait_for('Configuration reloaded')
            assert 'signal disconnected' not in child.output()
            os.utime(tmp_path / 'certs/device.crt', (1, 1))
            child.send(signal.SIGHUP)
            child.wait_for(re.compile('(?s)signal connected.*signal disconnected True.*signal connected'))
            assert child.stop() == 0


# Mistakes

@pytest.mark.parametrize('mqtt, property, reason', [
    ({}, 'services.mqtt', "it needs mqtt.endpoint, the broker's host or URL"),
    ({'endpoint': 'http://x'}, 'mqtt.endpoint', 'expected mqtt://, mqtts://, ws:// or wss://'),
    ({'endpoint': ''}, 'mqtt.endpoint', 'a text that is not empty'),
    ({'endpoint': 'mqtt://x', 'port': 1}, 'mqtt.port', 'the endpoint is a URL, which has the port'),
    ({'endpoint': 'x', 'port': 70000}, 'mqtt.port', 'a port from 1 to 65535'),
    ({'endpoint': 'x', 'clientID': 'y'}, 'mqtt.clientID', "unknown property, did you mean 'clientId'?"),
    ({'endpoint': 'mqtt://x', 'tls': {}}, 'mqtt.tls', 'the endpoint says no TLS'),
    ({'endpoint': 'x', 'tls': {'authority': 'none.crt'}}, 'mqtt.tls.authority', 'No such file'),
    ({'endpoint': 'x', 'tls': {'key': 'none', 'certificate': 'none.crt'}}, 'mqtt.tls.certificate', 'No such file'),
    ({'endpoint': 'x', 'tls': {'verify': 'yes'}}, 'mqtt.tls.verify', 'true or false'),
    ({'endpoint': 'x', 'keepalive': '1 day'}, 'mqtt.keepalive', "at most 65535 secs, or 'never'"),
    ({'endpoint': 'x', 'backoff': ['1 sec']}, 'mqtt.backoff', 'two times'),
    ({'endpoint': 'x', 'backoff': ['2 secs', '1 sec']}, 'mqtt.backoff', 'two times'),
    ({'endpoint': 'x', 'backoff': ['2 secs', 'soon']}, 'mqtt.backoff[1]', 'a time above 0'),
    ({'endpoint': 'x', 'schedule': '* * *'}, 'mqtt.schedule', "expected 'minute hour day month weekday'"),
    ({'endpoint': 'x', 'will': {'topic': 'a/#'}}, 'mqtt.will.topic', '#'),
    ({'endpoint': 'x', 'will': {'payload': 'gone'}}, 'mqtt.will.topic', 'empty'),
    ({'endpoint': 'x', 'will': {'topic': 'a', 'payload': 5}}, 'mqtt.will.payload', 'expected a text, or an object'),
    ({'endpoint': 'x', 'will': {'topic': 'a', 'qos': 3}}, 'mqtt.will.qos', '0, 1 or 2'),
    ({'endpoint': 'x', 'inflight': 0}, 'mqtt.inflight', 'a whole number from 1'),
])
def test_a_mistake_has_its_place(folder, mqtt, property, reason):
    path = configure(folder, mqtt)
    with pytest.raises(ConfigError, match=re.escape(reason)) as caught:
        Agent(str(folder))
    assert re.match(rf'{path}:\d+:\d+: {re.escape(property)}: ', str(caught.value))


def test_a_client_needs_a_name(folder):
    os.unlink(folder / 'device.json5')
    configure(folder, {'endpoint': 'x'})
    with pytest.raises(ConfigError, match='mqtt.clientId: it is missing, and so is device.id'):
        Agent(str(folder))
    configure(folder, {'endpoint': 'x', 'clean': True, 'store': ''})
    Agent(str(folder))


def test_a_store_that_cannot_be_opened_stops_the_start(folder):
    configure(folder, {'endpoint': 'x', 'store': str(folder / 'ioto.json5' / 'mqtt.db')})
    child = Child(folder)
    assert child.wait() == 1
    assert re.search('\nmqtt: .*/ioto.json5/mqtt.db: (File exists|Not a directory)\n', child.output())


def test_a_second_agent_on_the_same_state_says_so(folder, broker):
    configure(folder, local(broker))
    with Child(folder):
        second = Child(folder)
        assert second.wait() == 1
        assert 'state/mqtt.db: it is in use by another process' in second.output()


def test_a_damaged_store_does_not_stop_the_start(folder, broker):
    write(folder.parent, 'state/mqtt.db', 'nonsense' * 100)
    configure(folder, local(broker))
    with Child(folder) as child:
        child.wait_for('state/mqtt.db was set aside as ')
        child.wait_for('signal connected')
        assert child.stop() == 0
    assert (folder.parent / 'state/mqtt.db.corrupt-1').read_text() == 'nonsense' * 100


def test_the_shipped_configuration_shows_the_properties_and_their_defaults():
    with open(os.path.join(TREE, 'config/ioto.json5'), encoding='utf-8') as file:
        block = re.search('(?ms)^    // mqtt: .*?^    // },', file.read())[0]
    shown = json5.parse('{' + re.sub('(?m)^    //', '', block) + '}')['mqtt']
    values = load({'mqtt': shown}).values['mqtt']
    assert set(values) == set(MQTT) and all(set(values[name]) == set(MQTT[name]) for name in ('tls', 'will', 'requests'))
    defaults = {name: each.default for name, each in inspect.signature(Client).parameters.items()}
    for name, argument in SESSION.items():
        if name not in ('clean', 'demand', 'schedule'):
            assert values[name] == (list(defaults[argument]) if name == 'backoff' else defaults[argument]), name
    assert (values['requests']['topic'], values['requests']['answer']) == defaults['request']
    assert values['timeout'] == inspect.signature(Client.connect).parameters['timeout'].default


# Status

def curl(child, *options):
    done = subprocess.run(['curl', '-s', '-w', '\n%{http_code}', *options, f'http://127.0.0.1:{child.port}/api/mqtt'],
                          capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout.rsplit('\n', 1)


@pytest.mark.parametrize('routes', [
    None, [{'match': '/api/mqtt', 'role': 'user'}, {}], [{'match': '/api/'}, {'match': '/publish'}]])
def test_only_administrators_see_the_status(folder, broker, routes):
    auth = {'rounds': 50, 'methods': ['form', 'basic'], 'roles': {'admin': ['user'], 'user': []},
            'users': {**password('root', 'correct horse', 'admin'), **password('ann', 'battery staple', 'user')}}
    web = {'listen': ['http://127.0.0.1:0'], **({'routes': routes} if routes else {})}
    configure(folder, local(broker, username='u', password='secret'), auth=auth, web=web)
    with Child(folder) as child:
        child.wait_for('signal connected')
        get(child.port, '/publish?one')
        assert curl(child)[1] == '401'
        assert curl(child, '-u', 'root:wrong')[1] == '401'
        assert curl(child, '-u', 'ann:battery staple')[1] == '403'
        text, status = curl(child, '-u', 'root:correct horse')
        assert child.stop() == 0
    found = json.loads(text)
    assert status == '200' and 'secret' not in text
    assert (found['state'], found['error'], found['clientId']) == ('connected', None, 'ABCDEFGHJK')
    assert found['endpoint'] == '127.0.0.1' and found['counts']['sent'] == 1 and found['counts']['reconnects'] == 0
    assert found['queue']['limit'] == 10000 and found['queue']['store'].endswith('/state/mqtt.db')


def test_where_nobody_can_sign_in_nobody_sees_the_status(folder, broker):
    configure(folder, local(broker))
    with Child(folder) as child:
        assert curl(child)[1] == '403'
        assert get(child.port, '/publish?one')[0] == 200


def test_the_status_of_a_client_that_cannot_connect_says_why(folder):
    port, = free_ports(1)
    auth = {'rounds': 50, 'methods': 'basic', 'users': password('root', 'correct horse', 'admin')}
    configure(folder, {'endpoint': f'mqtt://u:secret@127.0.0.1:{port}'}, auth=auth)
    with Child(folder) as child:
        get(child.port, '/publish?kept')
        child.wait_for('mqtt: ')
        text, status = curl(child, '-u', 'root:correct horse')
        assert child.stop() == 0
    found = json.loads(text)
    assert status == '200' and found['state'] in ('waiting', 'connecting') and found['error'] and 'secret' not in text
    assert found['queue']['messages'] == 1 and found['queue']['bytes'] > 0


def test_connections_only_on_demand(folder, broker):
    configure(folder, local(broker, demand='200 msecs'))
    listener = Listener(broker, 1)
    with Child(folder) as child:
        child.wait_for('signal connected')              # for the subscription
        child.wait_for('signal disconnected True')
        get(child.port, '/publish?wanted')
        assert listener.lines() == ['from/device wanted']
        assert child.stop() == 0
