"""TLS streams, both sides, against each other and against the openssl program."""

import os
import socket
import ssl
import struct
import subprocess

import pytest

from ioto import runtime
from ioto.runtime import tls


async def echo(stream):
    while data := await stream.read():
        await stream.write(data)


def run(main):
    async def limited():
        async with runtime.timeout(30):
            return await main()
    return runtime.run(limited)


def contexts(certs, **options):
    return (tls.server_context(certs / 'server.crt', certs / 'server.key', **options),
            tls.client_context(certs / 'ca.crt'))


def test_echo_over_tls_1_3(certs):
    server_side, client_side = contexts(certs)

    async def main():
        async with await runtime.listen('127.0.0.1:0', echo, tls=server_side) as server:
            async with await runtime.connect('127.0.0.1', server.port, tls=client_side, server_name='localhost') as stream:
                assert stream.secure and stream.version == 'TLSv1.3'
                await stream.write(b'hello')
                assert await stream.read() == b'hello'
                data = os.urandom(1_000_000)
                fiber = runtime.spawn(stream.write(data))
                assert await stream.read_exactly(len(data)) == data
                await fiber.join()
    run(main)


def test_a_wrong_name_and_an_unknown_authority_are_refused(certs):
    server_side, client_side = contexts(certs)

    async def main():
        async with await runtime.listen('127.0.0.1:0', echo, tls=server_side) as server:
            with pytest.raises(ssl.SSLCertVerificationError):
                await runtime.connect('127.0.0.1', server.port, tls=client_side, server_name='other.example')
            with pytest.raises(ssl.SSLCertVerificationError):
                await runtime.connect('127.0.0.1', server.port, tls=True, server_name='localhost')
    run(main)


def test_alpn_is_agreed(certs):
    server_side, client_side = contexts(certs, alpn=['x-amzn-mqtt-ca', 'http/1.1'])
    seen = []

    async def handler(stream):
        seen.append(stream.alpn)

    async def main():
        async with await runtime.listen('127.0.0.1:0', handler, tls=server_side) as server:
            async with await runtime.connect('127.0.0.1', server.port, tls=client_side, server_name='localhost',
                                             alpn=['x-amzn-mqtt-ca']) as stream:
                assert stream.alpn == 'x-amzn-mqtt-ca'
                assert await stream.read() == b''
    run(main)
    assert seen == ['x-amzn-mqtt-ca']


def test_client_certificates(certs):
    server_side, client_side = contexts(certs, authority=certs / 'ca.crt', verify=True)
    with_certificate = tls.client_context(certs / 'ca.crt', certs / 'client.crt', certs / 'client.key')
    seen = []

    async def handler(stream):
        seen.append(stream.peer_certificate()['subject'])
        await echo(stream)

    async def main():
        async with await runtime.listen('127.0.0.1:0', handler, tls=server_side) as server:
            async with await runtime.connect('127.0.0.1', server.port, tls=with_certificate, server_name='localhost') as stream:
                await stream.write(b'x')
                assert await stream.read() == b'x'
            with pytest.raises(OSError):
                async with await runtime.connect('127.0.0.1', server.port, tls=client_side, server_name='localhost') as stream:
                    await stream.write(b'x')
                    await stream.read()
                    raise ConnectionError('the server closed without a word')
    run(main)
    assert seen == [((('commonName', 'client'),),)]


def test_a_session_is_resumed(certs):
    server_side, client_side = contexts(certs)

    async def main():
        async with await runtime.listen('127.0.0.1:0', echo, tls=server_side) as server:
            resumed = []
            for _ in range(3):
                async with await runtime.connect('127.0.0.1', server.port, tls=client_side, server_name='localhost') as stream:
                    resumed.append(stream.resumed)
                    await stream.write(b'x')
                    assert await stream.read() == b'x'
            return resumed
    assert run(main) == [False, True, True]


def test_sendfile_over_tls(certs, tmp_path):
    server_side, client_side = contexts(certs)
    data = os.urandom(500_000)
    (tmp_path / 'file').write_bytes(data)

    async def handler(stream):
        with open(tmp_path / 'file', 'rb') as file:
            assert await stream.sendfile(file, 10, 1_000_000) == len(data) - 10

    async def main():
        async with await runtime.listen('127.0.0.1:0', handler, tls=server_side) as server:
            async with await runtime.connect('127.0.0.1', server.port, tls=client_side, server_name='localhost') as stream:
                assert await stream.read_exactly(len(data) - 10) == data[10:]
    run(main)


def test_a_client_that_never_shakes_hands_blocks_nobody_and_is_dropped(certs):
    server_side, client_side = contexts(certs)

    async def main():
        async with await runtime.listen('127.0.0.1:0', echo, tls=server_side, handshake=0.2) as server:
            silent = await runtime.connect('127.0.0.1', server.port)
            async with await runtime.connect('127.0.0.1', server.port, tls=client_side, server_name='localhost') as stream:
                await stream.write(b'x')
                assert await stream.read() == b'x'
            assert await silent.read() == b''
            await silent.close()
            garbage = await runtime.connect('127.0.0.1', server.port)
            await garbage.write(b'GET / HTTP/1.1\r\n\r\n')
            try:
                while await garbage.read():
                    pass
            except ConnectionError:
                pass
            await garbage.close()
    run(main)


def _s_client(port, certs, *options, data=b''):
    return subprocess.run(['openssl', 's_client', '-connect', f'127.0.0.1:{port}', '-CAfile', str(certs / 'ca.crt'), *options],
                          input=data, capture_output=True, timeout=20)


def accepted(result):
    return b'Verify return code: 0 (ok)' in result.stdout and b'Cipher is (NONE)' not in result.stdout


def ask_openssl(context, certs, *calls):
    """What `openssl s_client` prints for each tuple of options, one after the other, against a listener with this context."""
    async def main():
        async with await runtime.listen('127.0.0.1:0', echo, tls=context) as server:
            return [await runtime.to_thread(_s_client, server.port, certs, *options) for options in calls]
    return run(main)


@pytest.mark.parametrize('minimum, option, good', [
    ('1.2', '-tls1_2', True), ('1.2', '-tls1_3', True), ('1.2', '-tls1_1', False),
    ('1.3', '-tls1_2', False), ('1.3', '-tls1_3', True)])
def test_versions_against_openssl(certs, minimum, option, good):
    server_side, _ = contexts(certs, minimum=minimum)
    result, = ask_openssl(server_side, certs, (option, '-cipher', 'DEFAULT@SECLEVEL=0'))
    assert accepted(result) is good
    if option == '-tls1_1':             # the client did offer it, and the server said no
        assert b'alert protocol version' in result.stderr


def test_ciphers_of_tls_1_2_are_chosen(certs):
    server_side, _ = contexts(certs, ciphers='ECDHE+CHACHA20')
    good, bad = ask_openssl(server_side, certs, ('-tls1_2',), ('-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256'))
    assert b'ECDHE-ECDSA-CHACHA20-POLY1305' in good.stdout and accepted(good)
    assert not accepted(bad)


@pytest.mark.parametrize('version, tickets, given, resumed', [
    ('-tls1_3', True, 2, True), ('-tls1_3', 1, 1, True), ('-tls1_3', 5, 5, True),
    ('-tls1_3', False, 0, False), ('-tls1_3', 0, 0, False),
    ('-tls1_2', True, 1, True), ('-tls1_2', False, 0, True)])         # TLS 1.2 can also resume what the server remembers
def test_sessions_are_resumed(certs, tmp_path, version, tickets, given, resumed):
    server_side, _ = contexts(certs, tickets=tickets)
    session = str(tmp_path / 'session')

    async def greet(stream):
        await stream.write(b'hello')

    async def main():
        async with await runtime.listen('127.0.0.1:0', greet, tls=server_side) as server:
            def call(*options):
                return _s_client(server.port, certs, version, '-ign_eof', *options)
            first = await runtime.to_thread(call, '-sess_out', session)
            return first, os.path.exists(session) and await runtime.to_thread(call, '-sess_in', session)

    first, again = run(main)
    assert accepted(first) and b'\nNew, ' in first.stdout
    assert first.stdout.count(b'TLS session ticket:') == given
    assert bool(again and accepted(again) and b'\nReused, ' in again.stdout) is resumed


def test_as_a_client_of_openssl(certs):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(['openssl', 's_server', '-accept', f'127.0.0.1:{port}', '-cert', str(certs / 'server.crt'),
                               '-key', str(certs / 'server.key'), '-quiet', '-rev'],
                              stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def main():
        for attempt in range(200):
            try:
                stream = await runtime.connect('127.0.0.1', port, tls=tls.client_context(certs / 'ca.crt'), server_name='localhost')
                break
            except ConnectionRefusedError:
                await runtime.sleep(0.02)
        async with stream:
            await stream.write(b'hello\n')
            assert await stream.read_until(b'\n') == b'olleh\n'
    try:
        run(main)
    finally:
        server.kill()
        server.wait()
        server.stdin.close()


# Several certificates

@pytest.mark.parametrize('asked, subject', [
    ('one.example', 'one.example'), ('ONE.Example', 'one.example'), ('www.two.example', '*.two.example'),
    ('two.example', 'localhost'), ('a.b.two.example', 'localhost'), ('other.example', 'localhost'),
    ('localhost', 'localhost'), (None, 'localhost')])
def test_the_name_that_is_asked_for_picks_the_certificate(certs, named_certs, asked, subject):
    pairs = [(folder / 'server.crt', folder / 'server.key') for folder in named_certs.values()]
    server_side, _ = contexts(certs, certificates=pairs)
    result, = ask_openssl(server_side, certs, ('-servername', asked) if asked else ('-noservername',))
    assert f'subject=CN = {subject}\n'.encode() in result.stdout and accepted(result)


def test_each_of_several_certificates_demands_one_of_the_client(certs, named_certs):
    folder = named_certs['one.example']
    server_side, _ = contexts(certs, certificates=[(folder / 'server.crt', folder / 'server.key')],
                              authority=certs / 'ca.crt', verify=True)
    mine = ('-cert', str(certs / 'client.crt'), '-key', str(certs / 'client.key'))
    for name in ('localhost', 'one.example'):
        asking = ('-servername', name, '-tls1_2')
        without, with_one = ask_openssl(server_side, certs, asking, (*asking, *mine))
        assert b'alert handshake failure' in without.stderr and accepted(with_one) and b'alert' not in with_one.stderr


# What cannot be used

def _files(certs, folder):
    """Files with all that may be wrong with them."""
    def openssl(*words):
        subprocess.run(['openssl', *words], check=True, capture_output=True)
    openssl('ec', '-in', str(certs / 'server.key'), '-aes128', '-passout', 'pass:secret', '-out', str(folder / 'encrypted.key'))
    (folder / 'empty.pem').write_bytes(b'')
    (folder / 'text.pem').write_bytes(b'hello\n')
    (folder / 'binary.pem').write_bytes(bytes(range(256)))
    (folder / 'broken.pem').write_bytes((certs / 'server.crt').read_bytes()[:300])


@pytest.mark.parametrize('options, part, message', [
    ({'certificate': 'none.crt'}, 'certificate', 'none.crt: No such file'),
    ({'key': 'none.key'}, 'key', 'none.key: No such file'),
    ({'certificate': '.'}, 'certificate', 'Is a directory'),
    ({'certificate': 'empty.pem'}, 'certificate', 'empty.pem: it has no certificate'),
    ({'certificate': 'text.pem'}, 'certificate', 'text.pem: it has no certificate'),
    ({'certificate': 'binary.pem'}, 'certificate', 'binary.pem: it has no certificate'),
    ({'certificate': 'broken.pem'}, 'certificate', 'broken.pem: it has no certificate'),
    ({'certificate': 'server.key'}, 'certificate', 'server.key: it has no certificate'),
    ({'key': 'client.key'}, 'key', 'client.key: the key belongs to another certificate'),
    ({'key': 'text.pem'}, 'key', 'text.pem: '),
    ({'key': None}, 'key', 'server.crt: '),
    ({'key': 'encrypted.key'}, 'key', 'encrypted.key: it is encrypted'),
    ({'authority': 'none.crt'}, 'authority', 'none.crt: No such file'),
    ({'authority': 'text.pem'}, 'authority', 'text.pem: it has no certificate'),
    ({'authority': 'empty.pem'}, 'authority', 'empty.pem: it has no certificate'),
    ({'authority': None}, 'authority', 'needs the PEM file'),
    ({'verify': {'client': True, 'issuer': False}}, 'verify', 'proves nothing'),
    ({'verify': {'issuer': True}, 'authority': None}, 'authority', 'needs the PEM file'),
    ({'verify': {'clients': True}}, 'verify', 'expected true, false or'),
    ({'verify': 'yes'}, 'verify', "'yes'"),
    ({'minimum': '1.1'}, 'minimum', "expected '1.2' or '1.3', got '1.1'"),
    ({'ciphers': 'ROT13'}, 'ciphers', "'ROT13'"),
    ({'tickets': 'some'}, 'tickets', "'some'"),
    ({'tickets': -1}, 'tickets', '-1'),
    ({'certificates': [('client.crt', 'client.key')]}, 'certificates[0].certificate', 'client.crt has no name'),
    ({'certificates': [('server.crt', 'server.key'), ('none.crt', None)]}, 'certificates[1].certificate', 'none.crt: No such file'),
    ({'certificates': [('server.crt', 'client.key')]}, 'certificates[0].key', 'client.key: the key belongs to another'),
])
def test_what_is_wrong_is_named(certs, tmp_path, monkeypatch, options, part, message):
    for file in certs.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    _files(certs, tmp_path)
    monkeypatch.chdir(tmp_path)
    given = {'certificate': 'server.crt', 'key': 'server.key', 'authority': 'ca.crt', 'verify': True, **options}
    with pytest.raises(tls.TlsError) as caught:
        tls.server_context(**given)
    assert caught.value.part == part and message in str(caught.value)


def test_certificate_and_key_may_be_one_file(certs, tmp_path):
    (tmp_path / 'both.pem').write_bytes((certs / 'server.key').read_bytes() + (certs / 'server.crt').read_bytes())
    result, = ask_openssl(tls.server_context(tmp_path / 'both.pem', None), certs, ())
    assert accepted(result)


def test_a_client_names_the_files_as_well(certs):
    with pytest.raises(tls.TlsError, match='none.crt'):
        tls.client_context(certs / 'none.crt')
    with pytest.raises(tls.TlsError, match='server.key: the key belongs'):
        tls.client_context(certs / 'ca.crt', certs / 'client.crt', certs / 'server.key')


# Streams

def test_a_closed_stream_touches_no_descriptor(certs):
    server_side, client_side = contexts(certs)

    async def main():
        async with await runtime.listen('127.0.0.1:0', echo, tls=server_side) as server:
            stream = await runtime.connect('127.0.0.1', server.port, tls=client_side, server_name='localhost')
            stream.abort()
            one, other = socket.socketpair()                # which take the number of the closed descriptor
            with one, other:
                with pytest.raises(OSError):
                    await stream.write(b'x')
                with pytest.raises(OSError):
                    await stream.read()
    run(main)


def test_a_client_that_resets_before_it_is_accepted_is_no_error(certs, capfd):
    server_side, client_side = contexts(certs)

    async def main():
        async with await runtime.listen('127.0.0.1:0', echo, tls=server_side, accept=False) as server:
            for sent in (b'', b'x', b'\x16\x03\x01'):
                sock = socket.create_connection(('127.0.0.1', server.port))
                sock.sendall(sent)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                sock.close()
            server.accept()
            async with await runtime.connect('127.0.0.1', server.port, tls=client_side, server_name='localhost') as stream:
                await stream.write(b'x')
                assert await stream.read() == b'x'
    run(main)
    assert capfd.readouterr().err == ''


def test_a_listener_takes_its_context_anew_for_each_connection(certs, named_certs):
    server_side, client_side = contexts(certs)
    folder = named_certs['one.example']
    other = tls.server_context(folder / 'server.crt', folder / 'server.key')

    async def main():
        async with await runtime.listen('127.0.0.1:0', echo, tls=server_side) as server:
            async with await runtime.connect('127.0.0.1', server.port, tls=client_side, server_name='localhost') as old:
                server.tls = other
                async with await runtime.connect('127.0.0.1', server.port, tls=client_side, server_name='one.example') as new:
                    for stream in (old, new):
                        await stream.write(b'x')
                        assert await stream.read() == b'x'
    run(main)
