"""mosquitto and nginx as children of the tests, each ended by its own process id.

    with Broker(folder, certs=certs) as broker:         # certs: a folder that tools/certs.py made, for the TLS listeners
        broker.port, broker.ports['tls']                # plain, websockets, unix; tls, mutual, wss where there are certs
        broker.restart()                                # on the same ports; persistence=True keeps its sessions
        broker.freeze(), broker.thaw()
    with Alpn(folder, broker.port, certs) as nginx:     # TLS on nginx.port, for who offers x-amzn-mqtt-ca
        nginx.seen()                                    # [(ALPN, server name, state of the client's certificate), …]
"""

import contextlib
import glob
import json
import os
import signal
import socket
import subprocess
import time

import pytest

from tests.url.peer import program

PATIENCE = 20
ATTEMPTS = 5            # other ports when one is taken
CONFIG = '''
user root
log_dest stderr
log_type all
connection_messages true
persistence {persistence}
persistence_location {folder}/
autosave_interval 1
autosave_on_changes true
max_queued_messages 0
{access}
{text}
'''
TLS = '''cafile {certs}/ca.crt
certfile {certs}/server.crt
keyfile {certs}/server.key
'''
LISTENERS = {'plain': '', 'websockets': 'protocol websockets\n'}
TLS_LISTENERS = {'tls': TLS, 'mutual': TLS + 'require_certificate true\n', 'wss': TLS + 'protocol websockets\n'}
NGINX = '''
load_module {module};
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 256; }}
stream {{
    log_format seen '$ssl_alpn_protocol|$ssl_server_name|$ssl_client_verify';
    access_log {folder}/seen.log seen;
    map $ssl_alpn_protocol $broker {{ x-amzn-mqtt-ca 127.0.0.1:{broker}; default 127.0.0.1:1; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certs}/server.crt; ssl_certificate_key {certs}/server.key;
        ssl_client_certificate {certs}/ca.crt; ssl_verify_client optional;
        ssl_alpn x-amzn-mqtt-ca;
        proxy_pass $broker;
    }}
}}
'''


def free_ports(number):
    """Ports that the kernel has just given out and taken back."""
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(socket.create_server(('127.0.0.1', 0))).getsockname()[1] for _ in range(number)]


def only_lets_subscribe(folder, filter):
    """Configuration that has mosquitto refuse all other subscriptions with 0x80, which its ACL files cannot do."""
    plugin = glob.glob('/usr/lib/*/mosquitto_dynamic_security.so')
    if not plugin:
        pytest.skip("mosquitto's dynamic security plugin is not installed")
    role = {'rolename': 'some', 'acls': [{'acltype': 'subscribePattern', 'topic': filter, 'allow': True}]}
    default = {'publishClientSend': True, 'publishClientReceive': True, 'subscribe': False, 'unsubscribe': True}
    groups = [{'groupname': 'all', 'roles': [{'rolename': 'some'}]}]
    rules = {'defaultACLAccess': default, 'roles': [role], 'groups': groups, 'anonymousGroup': 'all', 'clients': []}
    path = os.path.join(folder, 'rules.json')
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(rules, file)
    return f'plugin {plugin[0]}\nplugin_opt_config_file {path}\n'


class Child:
    """A program whose standard error is in a file, and what says that it is ready."""

    def start(self, command, path, ready):
        """Start it; whether it became `ready()` before it ended."""
        self.path = path
        with open(path, 'ab') as file:
            self.begin = file.tell()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        limit = time.monotonic() + PATIENCE
        while not ready():
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < limit, self.log()
            time.sleep(0.01)
        return True

    def log(self):
        """What it has said since it was started last."""
        with open(self.path, encoding='utf-8', errors='replace') as file:
            file.seek(self.begin)
            return file.read()

    def stop(self, number=signal.SIGTERM):
        """End it and wait for that."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(PATIENCE)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        self.stop()


class Broker(Child):
    """mosquitto. `users`: {name: password}; `acl`: text of an ACL file; `text`: more configuration; `each`: of each listener."""

    def __init__(self, folder, text='', certs=None, persistence=False, users=None, acl=None, each=''):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.listeners = {**LISTENERS, **(TLS_LISTENERS if certs else {})}
        self.unix = f'{self.folder}/socket'
        self.settings = {'text': text, 'certs': certs, 'users': users, 'acl': acl, 'each': each}
        self.persistence = persistence

    def __enter__(self):
        for _ in range(ATTEMPTS):
            self.ports = dict(zip(self.listeners, free_ports(len(self.listeners))))
            if self.begin_again():
                return self
        raise AssertionError(self.log())

    @property
    def port(self):
        return self.ports['plain']

    @property
    def pid(self):
        return self.process.pid

    def begin_again(self):
        """Start with the ports of before; whether it runs."""
        path = f'{self.folder}/mosquitto.conf'
        with open(path, 'w', encoding='utf-8') as file:
            file.write(self.configuration())
        with contextlib.suppress(OSError):
            os.unlink(self.unix)
        return self.start([program('mosquitto'), '-c', path], f'{self.folder}/mosquitto.log',
                          lambda: ' running\n' in self.log())

    def configuration(self):
        text, certs, users, acl, each = self.settings.values()
        access = 'allow_anonymous true\n'
        if users:
            path = f'{self.folder}/passwords'
            with open(path, 'w', encoding='utf-8') as file:
                file.writelines(f'{name}:{word}\n' for name, word in users.items())
            os.chmod(path, 0o600)
            subprocess.run([program('mosquitto_passwd'), '-U', path], check=True, capture_output=True)
            access = f'allow_anonymous false\npassword_file {path}\n'
        if acl:
            with open(f'{self.folder}/acl', 'w', encoding='utf-8') as file:
                file.write(acl)
            access += f'acl_file {self.folder}/acl\n'
        listeners = [f'listener {self.ports[name]} 127.0.0.1\n{more.format(certs=certs)}{each}'
                     for name, more in self.listeners.items()]
        start = CONFIG.format(folder=self.folder, persistence=str(self.persistence).lower(), access=access, text=text)
        return start + ''.join([*listeners, f'listener 0 {self.unix}\n'])

    def restart(self, number=signal.SIGTERM):
        """End it and start it again, on the same ports. SIGKILL leaves it no time to save."""
        self.stop(number)
        self.resume()

    def resume(self):
        """Start it again after `stop`, on the same ports."""
        limit = time.monotonic() + PATIENCE
        while not self.begin_again():
            assert time.monotonic() < limit, self.log()

    def freeze(self):
        """Let it do nothing, with all connections open."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def wait_for(self, text, count=1):
        """Wait until its log has a text, `count` times."""
        limit = time.monotonic() + PATIENCE
        while self.log().count(text) < count:
            assert time.monotonic() < limit, f'{text!r} not in {self.log()}'
            time.sleep(0.01)


class Alpn(Child):
    """nginx that ends TLS in front of a broker's plain port, for clients that offer ALPN x-amzn-mqtt-ca; others get nothing."""

    def __init__(self, folder, broker, certs):
        self.folder, self.broker, self.certs = str(folder), broker, certs

    def __enter__(self):
        module = program('/usr/lib/nginx/modules/ngx_stream_module.so')
        os.makedirs(self.folder, exist_ok=True)
        path = f'{self.folder}/nginx.conf'
        for _ in range(ATTEMPTS):
            self.port, = free_ports(1)
            with open(path, 'w', encoding='utf-8') as file:
                file.write(NGINX.format(module=module, **vars(self)))
            command = [program('nginx'), '-p', self.folder, '-e', 'stderr', '-c', path]
            if self.start(command, f'{self.folder}/nginx.log', self.listens):
                return self
        raise AssertionError(self.log())

    def listens(self):
        """Whether its port answers."""
        try:
            socket.create_connection(('127.0.0.1', self.port)).close()
        except OSError:
            return False
        return self.process.poll() is None

    def seen(self):
        """What it saw of the connections that have ended: (ALPN, server name, 'SUCCESS' for a good certificate or 'NONE')."""
        with open(f'{self.folder}/seen.log', encoding='utf-8') as file:
            found = [tuple(line.rstrip('\n').split('|')) for line in file]
        return [each for each in found if each[:2] != ('-', '-')]
