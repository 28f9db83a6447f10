"""Servers that break the rules: each is met with a clear error of the right kind, at once, and with nothing left open."""

import os
import socket
import ssl
import subprocess
import sys
import zlib

import pytest

from ioto import runtime, url
from ioto.runtime import dial
from ioto.runtime.tls import server_context
from ioto.url import ConnectError, ProtocolError, TimeoutError, TlsError, TooLarge
from tests.url.support import CLOSE, OK, Script, answer, ask, read_request, serve

HEAD = b'HTTP/1.1 200 OK\r\n'


@pytest.mark.parametrize('data, kind, why', [
    (b'' + CLOSE, ProtocolError, 'closed the connection before its answer'),
    (b'HTTP/1.1 200 OK\r\nX: 1' + CLOSE, ProtocolError, 'inside the head'),
    (b'SSH-2.0-OpenSSH\r\n', ProtocolError, 'first line'),
    (b'\r\n' + OK, ProtocolError, 'empty line'),
    (b'HTTP/2.0 200 OK\r\n\r\n', ProtocolError, 'HTTP/2.0'),
    (b'HTTP/1.1 99 X\r\n\r\n', ProtocolError, 'first line'),
    (HEAD + b'Bad Name: 1\r\n\r\n', ProtocolError, 'field'),
    (HEAD + b' folded: 1\r\n\r\n', ProtocolError, 'field'),
    (HEAD + b'X: \0\r\n\r\n', ProtocolError, 'field'),
    (HEAD + b'Content-Length: -1\r\n\r\n', ProtocolError, 'Content-Length'),
    (HEAD + b'Content-Length: 1e3\r\n\r\n', ProtocolError, 'Content-Length'),
    (HEAD + b'Content-Length: 5, 6\r\n\r\n', ProtocolError, 'Content-Length'),
    (HEAD + b'Content-Length: 5\r\nContent-Length: 6\r\n\r\n', ProtocolError, 'Content-Length'),
    (HEAD + b'Content-Length: ' + b'9' * 20 + b'\r\n\r\n', ProtocolError, 'Content-Length'),
    (HEAD + b'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n', ProtocolError, 'with Content-Length'),
    (b'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', ProtocolError, 'HTTP/1.0'),
    (HEAD + b'Transfer-Encoding: gzip, chunked\r\n\r\n', ProtocolError, 'transfer coding'),
    (HEAD + b'Content-Length: 5\r\n\r\nabc' + CLOSE, ProtocolError, '2 bytes before'),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\nabc' + CLOSE, ProtocolError, 'before the last chunk'),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\nabcde' + CLOSE, ProtocolError, 'before the last chunk'),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\nxyz\r\n', ProtocolError, 'chunk line'),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n', ProtocolError, 'chunk line'),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n2\r\nabcde\r\n', ProtocolError, 'CRLF'),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n' + b'f' * 16 + b'\r\n' + CLOSE, ProtocolError, 'before the last chunk'),
    (HEAD + b'Content-Encoding: br\r\nContent-Length: 2\r\n\r\nab', ProtocolError, 'content coding'),
    (HEAD + b'Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab', ProtocolError, 'no gzip'),
    (HEAD + b'Content-Encoding: gzip, gzip, gzip, gzip\r\nContent-Length: 2\r\n\r\nab', ProtocolError, 'content coding'),
    (b'HTTP/1.1 100 X\r\n\r\n' * 40, ProtocolError, '1xx'),
    (b'HTTP/1.1 101 X\r\n\r\n', ProtocolError, '101'),
    (answer(301, 'Location: http://[x/'), ProtocolError, 'redirect'),
    (answer(301, 'Location: gopher://x/'), ProtocolError, 'redirect'),
    (answer(301, 'Location: unix:/etc/x:/'), ProtocolError, 'redirect'),
    (answer(301, 'Location: /a', 'Location: /b'), ProtocolError, 'several Location'),
    (answer(302, 'Location: /x'), ProtocolError, 'more than 10 redirects'),
    (HEAD + b'X: ' + b'x' * 20000 + b'\r\n\r\n', TooLarge, 'line over'),
    (HEAD + b'X: 1\r\n' * 300 + b'\r\n', TooLarge, 'fields'),
    (HEAD + b'X: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n' + b'X: 1\r\n' * 300 + b'\r\n', TooLarge, 'fields'),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n1;' + b'x' * 2000, ProtocolError, 'chunk line'),
])
def test_a_bad_answer_is_an_error_that_says_where_and_what(data, kind, why):
    with pytest.raises(kind, match=why) as caught:
        ask(data)
    assert type(caught.value) is kind and str(caught.value).startswith('http://127.0.0.1:') and '/x: ' in str(caught.value)


@pytest.mark.parametrize('begin, again, kind', [
    (HEAD, b'X: 1\r\n', TooLarge),
    (HEAD + b'X: ', b'x' * 1000, TooLarge),
    (b'', b'HTTP/1.1 103 Early\r\n\r\n', ProtocolError),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n', b'1\r\nx\r\n', TooLarge),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n', b'1;a=b\r\nx\r\n', ProtocolError),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n0\r\n', b'X: 1\r\n', TooLarge),
    (HEAD + b'\r\n', b'x' * 1000, TooLarge),
])
def test_what_never_ends_meets_a_limit(begin, again, kind):
    async def endless(stream):
        await read_request(stream)
        try:
            await stream.write(begin)
            while True:
                await stream.write(again * 20)
        except OSError:
            pass

    async def main(client, base):
        with pytest.raises(kind):
            await client.get(base, limit=100_000)
    serve(main, endless)


@pytest.mark.parametrize('data, phase', [
    (b'', 'first'), (HEAD, 'first'), (HEAD + b'Content-Length: 9\r\n\r\nab', 'idle'),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n', 'idle')])
def test_silence_is_a_time_out(data, phase):
    async def silent(stream):
        await read_request(stream)
        await stream.write(data)
        await stream.read()

    async def main(client, base):
        with pytest.raises(TimeoutError, match='within 0.05 s') as caught:
            await client.get(base, timeout={'first': 5, 'idle': 5, phase: .05})
        assert caught.value.phase == phase and isinstance(caught.value, OSError)
    serve(main, silent)


@pytest.mark.parametrize('whole, phase', [({'first': .2}, 'first'), ({'whole': .2}, 'whole')])
def test_a_head_that_drips_is_a_time_out(whole, phase):
    async def drip(stream):
        await read_request(stream)
        try:
            for byte in b'HTTP/1.1 200 ' + b'O' * 1000:
                await stream.write(bytes((byte,)))
                await runtime.sleep(.02)
        except OSError:
            pass

    async def main(client, base):
        with pytest.raises(TimeoutError) as caught:
            await client.get(base, timeout=whole)
        assert caught.value.phase == phase
    serve(main, drip)


def test_a_body_that_drips_is_bounded_by_the_whole():
    async def drip(stream):
        await read_request(stream)
        try:
            await stream.write(HEAD + b'Content-Length: 1000\r\n\r\n')
            while True:
                await stream.write(b'x')
                await runtime.sleep(.02)
        except OSError:
            pass

    async def main(client, base):
        with pytest.raises(TimeoutError, match='0.2 s'):
            await client.get(base, timeout=.2)
    serve(main, drip)


def test_a_server_that_does_not_read_is_a_time_out():
    async def deaf(stream):
        await runtime.sleep(5)

    async def main(client, base):
        for body in (b'x' * (8 << 20), 'x' * 60000 * 200):
            with pytest.raises(TimeoutError, match='nothing more'):
                await client.post(base, body, timeout={'idle': .1, 'first': .1})
    serve(main, deaf)


def test_a_server_that_does_not_speak_tls_is_a_time_out_or_a_tls_error():
    async def silent(stream):
        await stream.read()
        await runtime.sleep(5)

    async def loud(stream):
        await stream.write(b'HTTP/1.1 400 Bad\r\n\r\n')
        await stream.read()

    async def main(client, base):
        with pytest.raises(kind) as caught:
            await client.get(base.replace('http:', 'https:'), timeout={'tls': .1})
        assert getattr(caught.value, 'phase', 'tls') == 'tls'
    for handler, kind in ((silent, TimeoutError), (loud, TlsError)):
        serve(main, handler)


def test_nobody_there_is_a_connect_error():
    async def main():
        with socket.socket() as sock:
            sock.bind(('127.0.0.1', 0))
            with pytest.raises(ConnectError, match='refused'):
                await url.get(f'http://127.0.0.1:{sock.getsockname()[1]}/')
        with pytest.raises(ConnectError, match='cannot find host'):
            await url.get('http://no-such-host.invalid/')
        with pytest.raises(ConnectError):
            await url.get('unix:/no/such/socket:/')
    runtime.run(main)


def test_a_connection_that_takes_too_long_is_a_time_out():
    async def main():
        with socket.socket() as sock:               # its queue is full, so a further one gets no answer
            sock.bind(('127.0.0.1', 0))
            sock.listen(0)
            others = [socket.socket() for _ in range(4)]
            for other in others:
                other.setblocking(False)
                other.connect_ex(sock.getsockname())
            where = f'http://127.0.0.1:{sock.getsockname()[1]}/'
            for timeout, phase in (({'connect': .1}, 'connect'), (.1, 'whole')):
                with pytest.raises(TimeoutError) as caught:
                    await url.get(where, timeout=timeout)
                assert caught.value.phase == phase
            for other in others:
                other.close()
    runtime.run(main)


def bomb(size, wbits=31):
    engine = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return b''.join([engine.compress(bytes(1 << 20)) for _ in range(size)]) + engine.flush()


@pytest.mark.parametrize('coding, data', [('gzip', bomb(100)), ('deflate', bomb(100, 15)), ('gzip, gzip', None)])
def test_a_bomb_is_too_large_and_does_not_fill_the_memory(coding, data):
    import tracemalloc
    if data is None:
        engine = zlib.compressobj(9, zlib.DEFLATED, 31)
        data = engine.compress(bomb(100)) + engine.flush()
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match='decompressed'):
            ask(answer(200, f'Content-Encoding: {coding}', body=data), limit=8 << 20)
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


@pytest.fixture(scope='module')
def bad_certs(tmp_path_factory):
    """{what: (certificate, key)} of certificates that nobody should take; ca.crt signed none but the last two."""
    folder = tmp_path_factory.mktemp('bad')
    subprocess.run([sys.executable, 'tools/certs.py', folder], check=True, capture_output=True)
    settings = folder / 'x.cnf'

    def make(name, names, *signing):
        settings.write_text('[req]\nprompt=no\ndistinguished_name=d\n[d]\nCN=x\n[e]\nbasicConstraints=critical,CA:FALSE\n'
                            f'subjectAltName={names}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n')
        key, certificate, request = (folder / f'{name}.{end}' for end in ('key', 'crt', 'csr'))
        for command in (['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', key],
                        ['req', '-new', '-config', settings, '-key', key, '-out', request],
                        ['x509', '-req', '-in', request, '-out', certificate, '-extfile', settings, '-extensions', 'e',
                         *(signing or ('-signkey', key))]):
            subprocess.run(['openssl', *map(str, command)], check=True, capture_output=True)
        return certificate, key
    signed = '-CA', folder / 'ca.crt', '-CAkey', folder / 'ca.key', '-CAcreateserial'
    return {'ca': folder / 'ca.crt', 'good': (folder / 'server.crt', folder / 'server.key'),
            'self-signed': make('own', 'IP:127.0.0.1'),
            'wrong name': make('name', 'DNS:other.example', *signed),
            'expired': make('old', 'IP:127.0.0.1', *signed, '-not_before', '20200101000000Z', '-not_after', '20210101000000Z')
            if b'-not_after' in subprocess.run(['openssl', 'x509', '-help'], capture_output=True).stderr
            else make('old', 'IP:127.0.0.1', *signed, '-days', '-1')}


@pytest.mark.parametrize('what, why', [
    ('self-signed', 'self-signed certificate'), ('expired', 'expired'), ('wrong name', "IP address mismatch|doesn't match")])
def test_a_bad_certificate_is_a_tls_error_that_says_why(bad_certs, what, why):
    certificate, key = bad_certs[what]

    async def main(client, base):
        with pytest.raises(TlsError, match=why):
            await client.get(base)
    script = Script(lambda asked: OK)
    serve(main, script, tls=server_context(str(certificate), str(key)), authority=str(bad_certs['ca']))
    assert not script.asked

    async def trusting(client, base):
        assert await client.get(base) == 'ok'
    serve(trusting, script, tls=server_context(str(certificate), str(key)), verify=False)


def test_a_name_may_end_in_a_dot(bad_certs, monkeypatch):
    """Certificates and SNI leave it out (RFC 6066 §3)."""
    async def main(client, base):
        connect = dial.connect
        monkeypatch.setattr(dial, 'connect', lambda host, port: connect('127.0.0.1', port))
        assert await client.get(base.replace('127.0.0.1', 'localhost.')) == 'ok'
    serve(main, Script(lambda asked: OK), tls=server_context(*map(str, bad_certs['good'])), authority=str(bad_certs['ca']))


def test_an_authority_that_is_not_known_is_a_tls_error(bad_certs):
    async def main(client, base):
        with pytest.raises(TlsError, match='certificate'):
            await client.get(base)
    serve(main, Script(lambda asked: OK), tls=server_context(*map(str, bad_certs['good'])))


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_old_tls_is_refused(bad_certs):
    context = server_context(*map(str, bad_certs['good']))
    context.set_ciphers('ALL:@SECLEVEL=0')
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

    async def main(client, base):
        with pytest.raises(TlsError):
            await client.get(base)
    serve(main, Script(lambda asked: OK), tls=context, authority=str(bad_certs['ca']))


def test_tls_that_is_cut_ends_no_body(bad_certs):
    """RFC 9112 §9.8: without close_notify, a body that ends with the connection may be cut."""
    async def cut(stream):
        await read_request(stream)
        await stream.write(HEAD + b'\r\nhalf of it')
        stream.forget()
        stream.closed = True
        os.close(stream.sock.detach())

    async def main(client, base):
        with pytest.raises(ProtocolError, match='cut'):
            await client.get(base)
    serve(main, cut, tls=server_context(*map(str, bad_certs['good'])), authority=str(bad_certs['ca']))
