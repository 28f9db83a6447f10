"""https:// listeners: what a client sees, what actions see, certificates that are renewed, and clients that do not play along."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys

import pytest

from ioto import runtime
from ioto.runtime.tls import client_context
from ioto.web import Server, WebError
from tests.child import Child, get, write
from tests.conftest import CERTS
from tests.web.support import Client, read_answer

HTTPS = re.compile(r'https://127\.0\.0\.1:(\d+)')


def tls_of(folder, **more):
    return {'certificate': str(folder / 'server.crt'), 'key': str(folder / 'server.key'), **more}


def serve(main, certs, config=None, actions=(), limit=30, **tls):
    """Run `await main(server)` against a server that listens on https://, with these `web` and `tls` properties."""
    async def run():
        server = Server({'listen': ['https://127.0.0.1:0'], 'tls': tls_of(certs, **tls), **(config or {})})
        for path, function in dict(actions).items():
            server.action(path)(function)
        await server.start()
        async with runtime.timeout(limit):
            result = await main(server)
        await server.stop(1)
        return result
    return runtime.run(run)


async def secure(server, certs, name='localhost', certificate=None):
    """A connection to the server over TLS, with a client certificate of the folder where one is named."""
    pair = (certs / f'{certificate}.crt', certs / f'{certificate}.key') if certificate else ()
    context = client_context(certs / 'ca.crt', *pair)
    return Client(await runtime.connect('127.0.0.1', server.listeners[0].port, tls=context, server_name=name))


async def facts(web):
    return {'secure': web.secure, 'tls': web.tls, 'peer': web.peer_certificate}


def curl(*words, **options):
    return subprocess.run(['curl', '-sS', '--max-time', '20', *map(str, words)], capture_output=True, **options)


# Requests over TLS

def test_requests_are_served_on_one_connection_and_in_order(certs, tmp_path):
    write(tmp_path, 'small.txt', 'small')
    large = os.urandom(3_000_000)
    (tmp_path / 'large.bin').write_bytes(large)

    async def echo(web):
        return await web.read_all()

    async def streamed(web):
        for _ in range(100):
            await web.write(b'0123456789' * 1000)

    async def main(server):
        assert server.addresses == [f'https://127.0.0.1:{server.listeners[0].port}']
        client = await secure(server, certs)
        async with client.stream as stream:
            for _ in range(3):
                assert (await client.ask('GET /small.txt')).body == b'small'
            await stream.write(b'GET /small.txt HTTP/1.1\r\nHost: test\r\n\r\n' * 300)
            for _ in range(300):
                assert (await read_answer(stream)).body == b'small'
            assert (await client.ask('GET /large.bin')).body == large
            assert (await client.ask('GET /streamed')).body == b'0123456789' * 100_000
            body = large[:900_000]
            request = b'POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n' % len(body) + body
            assert (await client.ask(request)).body == body
            last = await client.ask(b'GET /small.txt HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n')
            assert last.body == b'small' and await client.closed()
            assert not stream.truncated         # the end is said, by close_notify
        assert server.stats['requests'] == 307 and server.accepted == 1
    serve(main, certs, {'documents': str(tmp_path)}, {'/echo': echo, '/streamed': streamed})


def test_an_upload_that_is_refused_gets_its_answer(certs):
    async def main(server):
        client = await secure(server, certs)
        async with client.stream as stream:
            await stream.write(b'POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n' + bytes(100_000))
            assert (await read_answer(stream)).status == 413
        return await runtime.to_thread(lambda: curl(
            '--cacert', certs / 'ca.crt', '-w', '%{http_code}', '--data-binary', '@-', '-H', 'Expect:',
            f'https://localhost:{server.listeners[0].port}/x', input=bytes(3_000_000)))
    done = serve(main, certs, {'limits': {'body': '1K'}}, {'/x': facts})
    assert done.stdout.endswith(b'413'), done


@pytest.mark.parametrize('option', ['--tlsv1.2', '--tlsv1.3'])
def test_curl_trusts_the_authority(certs, option):
    async def main(server):
        url = f'https://localhost:{server.listeners[0].port}/facts'
        good = await runtime.to_thread(curl, '--cacert', certs / 'ca.crt', option, '--tls-max', option[-3:], '-i', url)
        bad = await runtime.to_thread(curl, url)
        return good.stdout, bad.returncode
    head_and_body, status = serve(main, certs, {'headers': {'Strict-Transport-Security': 'max-age=60'}}, {'/facts': facts})
    head, _, body = head_and_body.partition(b'\r\n\r\n')
    assert head.startswith(b'HTTP/1.1 200 ') and b'\r\nStrict-Transport-Security: max-age=60' in head
    seen = json.loads(body)
    assert seen['secure'] and seen['peer'] is None
    assert seen['tls']['version'] == 'TLSv' + option[-3:] and seen['tls']['cipher'] and not seen['tls']['resumed']
    assert status == 60                         # curl does not trust an authority that it does not know


def test_plain_and_secure_listeners_stand_side_by_side(certs):
    async def main(server):
        assert [address.partition(':')[0] for address in server.addresses] == ['http', 'https']
        plain = Client(await runtime.connect('127.0.0.1', server.listeners[0].port))
        async with plain.stream:
            answer = await plain.ask(b'GET /a?b=c HTTP/1.1\r\nHost: localhost\r\n\r\n')
            assert answer.status == 302 and answer.fields['location'] == 'https://localhost/a?b=c'
        context = client_context(certs / 'ca.crt')
        stream = await runtime.connect('127.0.0.1', server.listeners[1].port, tls=context, server_name='localhost')
        async with stream:
            assert b'"secure":true' in (await Client(stream).ask('GET /facts')).body.replace(b' ', b'')
    config = {'listen': ['http://127.0.0.1:0', 'https://127.0.0.1:0'], 'redirect': [{'from': 'http://', 'to': 'https://'}]}
    serve(main, certs, config, {'/facts': facts})


# Certificates of clients

@pytest.mark.parametrize('verify, shown, status, subject', [
    (True, 'client', 200, 'client'), (True, 'device', 200, 'device'), (True, None, None, None), (True, 'stranger', None, None),
    ({'client': True}, None, None, None), ({'client': True, 'issuer': True}, 'client', 200, 'client'),
    (False, 'client', 200, 'client'), (False, None, 200, None), (False, 'stranger', None, None),
    ({'issuer': True}, None, 200, None), ({'issuer': True}, 'stranger', None, None),
])
def test_client_certificates(certs, tmp_path, verify, shown, status, subject):
    if shown == 'stranger':
        subprocess.run([sys.executable, CERTS, tmp_path], check=True, capture_output=True)
        for end in ('crt', 'key'):
            shutil.copy(tmp_path / f'client.{end}', tmp_path / f'stranger.{end}')
        shutil.copy(certs / 'ca.crt', tmp_path / 'ca.crt')

    async def main(server):
        try:
            client = await secure(server, tmp_path if shown == 'stranger' else certs, certificate=shown)
            async with client.stream:
                answer = await client.ask('GET /facts')
        except (OSError, EOFError):
            return None, None
        peer = json.loads(answer.body)['peer']
        return answer.status, peer and peer['subject'][0][0][1]
    assert serve(main, certs, None, {'/facts': facts}, authority=str(certs / 'ca.crt'), verify=verify) == (status, subject)


# Several certificates, and renewed ones

def test_the_name_picks_the_certificate(certs, named_certs):
    more = [tls_of(folder) for folder in named_certs.values()]

    async def main(server):
        for name in ('localhost', 'one.example', 'www.two.example'):
            client = await secure(server, certs, name)          # raises when the certificate is for another name
            async with client.stream:
                assert (await client.ask('GET /facts')).status == 200
    serve(main, certs, None, {'/facts': facts}, certificates=more)


def test_renewed_certificates_serve_new_connections_and_bad_ones_are_not_used(tmp_path, certs, named_certs):
    folder = tmp_path / 'certs'
    shutil.copytree(certs, folder)
    write(tmp_path, 'config/ioto.json5', json.dumps({'services': {'web': True}, 'web': {
        'listen': ['https://127.0.0.1:0'], 'documents': 'site', 'tls': tls_of(folder)}}))
    write(tmp_path, 'site/index.html', 'hello')
    context = ssl.create_default_context(cafile=certs / 'ca.crt')

    def connect(name):
        return context.wrap_socket(socket.create_connection(('127.0.0.1', port), 20), server_hostname=name)

    def ask(sock):
        sock.sendall(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
        data = b''
        while not data.endswith(b'hello'):
            more = sock.recv(4096)
            assert more, data
            data += more

    with Child(tmp_path / 'config', '--profile', 'prod') as child:
        port = int(child.wait_for(HTTPS)[1])
        with connect('localhost') as old:
            ask(old)
            for name in ('server.crt', 'server.key'):
                shutil.copy(named_certs['one.example'] / name, folder / name)
            child.send(signal.SIGHUP)
            child.wait_for('Configuration reloaded')
            ask(old)
            with connect('one.example') as new, pytest.raises(ssl.SSLCertVerificationError):
                ask(new)
                connect('localhost')
            shutil.copy(certs / 'client.key', folder / 'server.key')
            child.send(signal.SIGHUP)
            child.wait_for(f'web.tls.key: cannot use key {folder}/server.key: the key belongs to another certificate')
            (folder / 'server.crt').unlink()
            child.send(signal.SIGHUP)
            child.wait_for(f'web.tls.certificate: there is no {folder}/server.crt')
            ask(old)
            with connect('one.example') as new:
                ask(new)
        assert child.stop() == 0


def test_a_secure_listener_never_becomes_a_plain_one(certs):
    async def main(server):
        server.configure({'listen': ['http://127.0.0.1:0'], 'tls': server.config['tls']})
        with pytest.raises(WebError):
            server.configure({'listen': ['http://127.0.0.1:0']})
        client = await secure(server, certs)
        async with client.stream:
            assert (await client.ask('GET /facts')).status == 200
    serve(main, certs, None, {'/facts': facts})


# Start

def agent(tmp_path, tls, profile):
    listen = ['https://127.0.0.1:0']
    write(tmp_path, 'config/ioto.json5', json.dumps({'services': {'web': True}, 'web': {
        'listen': listen, 'documents': 'site', 'redirect': [{'to': 'https://'}], **({'tls': tls} if tls else {})}}))
    write(tmp_path, 'site/index.html', 'hello')
    return Child(tmp_path / 'config', '--profile', profile)


@pytest.mark.parametrize('tls', [None, {'certificate': '@certs/server.crt', 'key': '@certs/server.key'}])
def test_without_a_certificate_only_development_starts_and_says_how_to_make_one(tmp_path, tls):
    child = agent(tmp_path, tls, 'prod')
    with pytest.raises(AssertionError):
        child.wait_for('ready')
    assert child.wait() == 1
    assert 'ioto.json5:1:' in child.output() and 'web.tls.certificate: ' in child.output()
    assert 'python3 tools/certs.py certs' in child.output()
    with agent(tmp_path, tls, 'dev') as child:
        child.wait_for('python3 tools/certs.py certs')
        assert get(child.port)[2] == b'hello'           # and no redirection to what is not there
        if tls:
            subprocess.run([sys.executable, CERTS, tmp_path / 'certs'], check=True, capture_output=True)
            child.send(signal.SIGHUP)
            child.wait_for('Configuration reloaded')
            done = curl('--cacert', tmp_path / 'certs/ca.crt', f'https://localhost:{child.port}/')
            assert done.stdout == b'hello', done
        assert child.stop() == 0


@pytest.mark.parametrize('tls, property, message', [
    ({}, 'tls.certificate', 'https:// needs a certificate'),
    ({'certificate': 'none.crt'}, 'tls.certificate', 'there is no none.crt'),
    ({'key': 'none.key'}, 'tls.key', 'none.key: No such file'),
    ({'key': 'client.key'}, 'tls.key', 'belongs to another certificate'), ({'key': 'server.crt'}, 'tls.key', 'none in PEM form'),
    ({'verify': True}, 'tls.authority', 'PEM file'),
    ({'authority': 'none.crt'}, 'tls.authority', 'none.crt'),
    ({'minimum': '1.0'}, 'tls.minimum', "'1.0'"),
    ({'ciphers': 'NONE'}, 'tls.ciphers', "'NONE'"),
    ({'tickets': 'many'}, 'tls.tickets', "'many'"),
    ({'certificates': [{'key': 'x'}]}, 'tls.certificates[0].certificate', 'expected the name'),
    ({'certificates': [{'certificate': 'client.crt', 'key': 'client.key'}]}, 'tls.certificates[0].certificate', 'no name'),
])
def test_wrong_properties_stop_the_start(certs, monkeypatch, tls, property, message):
    monkeypatch.chdir(certs)
    given = {'certificate': 'server.crt', 'key': 'server.key', **tls} if tls else {}
    with pytest.raises(WebError) as caught:
        Server({'listen': 'https://127.0.0.1:0', 'tls': given})
    assert caught.value.property == 'web.' + property and message in caught.value.message


def test_without_secure_listeners_no_certificate_is_read(capfd):
    Server({'listen': ['http://127.0.0.1:0'], 'tls': {'certificate': '/none.crt', 'key': '/none.key'}})
    assert 'web.tls is not used' in capfd.readouterr().err


# Clients that do not play along

@pytest.mark.parametrize('sent', [
    b'', b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', b'\x16\x03\x01', b'\x16\x03\x01\xff\xff' + bytes(70000), bytes(range(256)) * 50,
    b'\x15\x03\x03\x00\x02\x02\x28', b'\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10'])
def test_who_speaks_no_tls_disturbs_nobody(certs, sent):
    async def main(server):
        good = await secure(server, certs)
        assert (await good.ask('GET /facts')).status == 200
        bad = [await runtime.connect('127.0.0.1', server.listeners[0].port) for _ in range(20)]
        for stream in bad:
            await stream.write(sent)
        other = await secure(server, certs)
        for client in (good, other):
            assert (await client.ask('GET /facts')).status == 200
            await client.stream.close()
        for stream in bad:                      # the time for handshakes ends them at the latest
            try:
                while await stream.read():
                    pass
            except ConnectionError:
                pass
            await stream.close()
        while server.connections:
            await runtime.sleep(0.01)
        assert not server.clients and server.stats['requests'] == 3
    serve(main, certs, {'timeouts': {'tls': 0.3}}, {'/facts': facts})


def test_handshakes_count_as_connections_and_are_cut_at_the_stop(certs):
    async def main(server):
        waiting = [await runtime.connect('127.0.0.1', server.listeners[0].port) for _ in range(3)]
        while len(server.connections) < 2:
            await runtime.sleep(0.01)
        assert await waiting[2].read() == b''   # one more than limits.clientConnections: closed, without a handshake
        await server.stop(5)
        for stream in waiting:
            assert await stream.read() == b''
            await stream.close()
        assert not server.connections
    serve(main, certs, {'limits': {'clientConnections': 2}, 'timeouts': {'tls': 'never'}})


def test_a_client_that_goes_away_in_the_middle_leaves_nothing(certs, tmp_path):
    (tmp_path / 'large.bin').write_bytes(bytes(20_000_000))

    async def main(server):
        for _ in range(5):
            client = await secure(server, certs)
            await client.stream.write(b'GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n')
            await client.stream.read()
            client.stream.sock._sslobj = None   # the connection is cut without a word
            client.stream.abort()
        while server.connections:
            await runtime.sleep(0.01)
    serve(main, certs, {'documents': str(tmp_path)})
