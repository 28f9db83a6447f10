"""nginx as a child that passes requests on to a server under test.

`with Nginx(folder, port) as proxy:` listens on `proxy.port`; its files are below `folder`. It is ended by its own process id.
"""

import os
import socket
import subprocess
import time

from tools import peers

PATIENCE = 20
CONFIG = '''
daemon off; master_process off; worker_processes 1; pid %(folder)s/nginx.pid; error_log stderr warn;
events { worker_connections 256; }
http {
    access_log off;
    client_max_body_size 0;
    client_body_temp_path %(folder)s/body; proxy_temp_path %(folder)s/proxy; fastcgi_temp_path %(folder)s/fastcgi;
    uwsgi_temp_path %(folder)s/uwsgi; scgi_temp_path %(folder)s/scgi;
    map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
    upstream device { server %(upstream)s; keepalive 4; }
    server {
        listen 127.0.0.1:%(port)d;
        location / {
            proxy_pass http://device;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto %(scheme)s;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_request_buffering off;
            proxy_buffering off;
        }
    }
}
'''


def free_port():
    """A port that the kernel has just given out and taken back."""
    with socket.create_server(('127.0.0.1', 0)) as sock:
        return sock.getsockname()[1]


class Nginx:
    """A reverse proxy for `upstream`, a port of this machine or 'unix:/path'; `scheme` is what it says the client used."""

    def __init__(self, folder, upstream, scheme='$scheme'):
        self.folder, self.upstream, self.scheme = str(folder), upstream, scheme

    def __enter__(self):
        os.makedirs(self.folder, exist_ok=True)
        self.port = free_port()
        path = os.path.join(self.folder, 'nginx.conf')
        with open(path, 'w', encoding='utf-8') as file:
            upstream = f'127.0.0.1:{self.upstream}' if isinstance(self.upstream, int) else self.upstream
            file.write(CONFIG % {'folder': self.folder, 'upstream': upstream, 'port': self.port, 'scheme': self.scheme})
        self.process = subprocess.Popen([peers.which('nginx'), '-p', self.folder, '-e', 'stderr', '-c', path],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        limit = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(('127.0.0.1', self.port)).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > limit:
                    self.process.kill()
                    raise AssertionError(self.process.communicate()[1].decode()) from None
                time.sleep(0.01)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE)
