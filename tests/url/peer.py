"""Servers and proxies of others, as children that are ended by their own process id.

`with nginx(folder) as port:` and so on; `folder` holds their configuration and what they serve.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time

import pytest

from tools import peers

PATIENCE = 20

NGINX = '''
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off; gzip on; types {{ text/html txt; }} default_type application/octet-stream;
    client_max_body_size 0; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder};
        location /few/ {{ keepalive_requests 3; alias {folder}/; }}
        location /never/ {{ keepalive_timeout 0; alias {folder}/; }}
        location /moved/ {{ rewrite ^/moved(.*)$ $1 permanent; }}
    }}
}}
'''

TINYPROXY = '''
Port {port}
Listen 127.0.0.1
Timeout 20
MaxClients 50
LogLevel Critical
{more}
'''

AIOHTTP = '''
import sys
from aiohttp import web

async def echo(request):
    answer = web.StreamResponse()
    await answer.prepare(request)
    async for piece in request.content.iter_any():
        await answer.write(piece)
    await answer.write_eof()
    return answer

app = web.Application(client_max_size=0)
app.router.add_route('*', '/echo', echo)
web.run_app(app, host='127.0.0.1', port=int(sys.argv[1]), print=None)
'''


def free_port():
    """A port that the kernel has just given out and taken back."""
    with socket.create_server(('127.0.0.1', 0)) as sock:
        return sock.getsockname()[1]


@contextlib.contextmanager
def child(port, *command):
    """Run a program until the end of the block; it is there when its port answers."""
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    limit = time.monotonic() + PATIENCE
    try:
        while True:
            try:
                socket.create_connection(('127.0.0.1', port)).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > limit:
                    process.kill()
                    raise AssertionError(process.communicate()[1].decode()) from None
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def program(name):
    """The path of a program; without it the test is skipped."""
    path = peers.which(name)
    if not path:
        pytest.skip(f'{name} is not installed')
    return path


def package(name):
    """The interpreter of .venv-peers; without that package the test is skipped."""
    if not peers.installed(peers.PEERS, name):
        pytest.skip(f'{name} is not in .venv-peers')
    return peers.python_of(peers.PEERS)


def nginx(folder):
    port, path = free_port(), os.path.join(folder, 'nginx.conf')
    with open(path, 'w') as file:
        file.write(NGINX.format(folder=folder, port=port))
    return child(port, program('nginx'), '-p', folder, '-e', 'stderr', '-c', path)


def tinyproxy(folder, more=''):
    port, path = free_port(), os.path.join(folder, 'tinyproxy.conf')
    with open(path, 'w') as file:
        file.write(TINYPROXY.format(port=port, more=more))
    return child(port, program('tinyproxy'), '-d', '-c', path)


def httpbin():
    port = free_port()
    return child(port, package('httpbin'), '-m', 'gunicorn', '-b', f'127.0.0.1:{port}', '-k', 'gthread', '--threads', 4, 'httpbin:app')


def aiohttp():
    port = free_port()
    return child(port, package('aiohttp'), '-c', AIOHTTP, port)


def http_server(folder):
    port = free_port()
    return child(port, sys.executable, '-m', 'http.server', '-b', '127.0.0.1', '-d', folder, port)
