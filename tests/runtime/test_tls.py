"""TLS streams, both sides, against each other and against the openssl program."""

import os
import socket
import ssl
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


def _s_client(port, certs, *options):
    return subprocess.run(['openssl', 's_client', '-connect', f'127.0.0.1:{port}', '-CAfile', str(certs / 'ca.crt'), *options],
                          input=b'', capture_output=True, timeout=20)


@pytest.mark.parametrize('option, accepted', [('-tls1_2', True), ('-tls1_3', True), ('-tls1_1', False)])
def test_versions_against_openssl(certs, option, accepted):
    server_side, _ = contexts(certs)

    async def main():
        async with await runtime.listen('127.0.0.1:0', echo, tls=server_side) as server:
            result = await runtime.to_thread(_s_client, server.port, certs, option, '-cipher', 'ALL:@SECLEVEL=0')
            return b'Verify return code: 0 (ok)' in result.stdout and b'Cipher is (NONE)' not in result.stdout
    assert run(main) is accepted


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


def test_a_missing_certificate_names_the_files(tmp_path):
    with pytest.raises(OSError, match='none.crt'):
        tls.server_context(tmp_path / 'none.crt', tmp_path / 'none.key')
