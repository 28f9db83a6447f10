"""`services.mqtt`: a Client made of the `mqtt` properties, which connects in a fiber of its own.

Making a Service checks all that can be checked without a broker, reads certificates, and opens nothing; a mistake is
a PropertyError that names its property. A broker that is not there, or refuses, is asked again and again; what is
published meanwhile is queued. What CONNECTION names takes effect at a `reload`, with a new connection; the rest at a
restart.
"""

import os
import re

from ..runtime import spawn, sleep
from ..runtime.log import Log
from ..runtime.units import PropertyError
from .client import Client
from .errors import MqttError
from .topics import encode_topic

log = Log('mqtt')

# Properties, and the arguments of Client and Client.connect that they are
SESSION = {name: name for name in 'clean keepalive inflight queue backoff demand schedule'.split()} | {
    'queueBytes': 'queue_bytes', 'maxPacket': 'max_packet'}
CONNECTION = {name: name for name in 'port username password alpn timeout'.split()} | {'endpoint': 'host'}
FILES = ('authority', 'certificate', 'key')


class Service:
    """The client of a configuration. `device` is its identifier by default, `resolve` makes '@state/x' a path.

    .client     the Client from `start` on
    """

    client = fiber = None

    def __init__(self, config, device, resolve):
        self.config, self.resolve = config, resolve
        config = {'clean': False, 'backoff': [1, 120], 'store': '@state/mqtt.db', **config}
        if 'endpoint' not in config:
            raise PropertyError('services.mqtt', "it needs mqtt.endpoint, the broker's host or URL")
        self.identifier = config.get('clientId', device) or ''
        if not self.identifier and (config['store'] or not config['clean']):
            raise PropertyError('mqtt.clientId', 'it is missing, and so is device.id: expected a name of its own')
        self.store, self.sync = config['store'] and resolve(config['store']), config.get('sync', 1.0)
        self.patience = _backoff(config['backoff'])
        self.options = {name: config[key] for key, name in SESSION.items() if key in config}
        for key in ('keepalive', 'demand'):
            if config.get(key) == float('inf'):
                self.options[key] = 0 if key == 'keepalive' else None
        if self.options.get('keepalive', 0) > 65535:
            raise PropertyError('mqtt.keepalive', "expected at most 65535 secs, or 'never'")
        requests = {'topic': 'ioto/service/{id}/', 'answer': 'ioto/device/{id}/', **config.get('requests', {})}
        self.options['request'] = requests['topic'], requests['answer']
        self._check_schedule(config)
        self.where = {name: config[key] for key, name in CONNECTION.items() if key in config}
        self.where['will'] = _will(config.get('will'))
        self.endpoint = re.sub('//.*@', '//', config['endpoint'])       # without a password
        self._secure(config)
        if self.store:
            try:
                from . import store     # whether this board can
            except ImportError as error:
                raise PropertyError('mqtt.store', f"{error}; or set store: '' to keep messages in memory") from None

    def _check_schedule(self, config):
        if 'schedule' in config:
            from ..runtime.cron import parse
            try:
                parse(config['schedule'])
            except ValueError as error:
                raise PropertyError('mqtt.schedule', str(error)) from None

    def _secure(self, config):
        """Find out whether there is TLS, and make its context."""
        tls, self.files, secure = config.get('tls'), [], False
        if '://' in config['endpoint']:
            from .transport import split_url
            try:
                secure = split_url(config['endpoint'])['tls']
            except ValueError as error:
                raise PropertyError('mqtt.endpoint', str(error)) from None
            if tls is not None and not secure:
                raise PropertyError('mqtt.tls', 'the endpoint says no TLS: expected mqtts:// or wss:// there')
            if 'port' in config:
                raise PropertyError('mqtt.port', 'the endpoint is a URL, which has the port')
        if tls is None and not secure:
            return
        try:
            from ..runtime.tls import TlsError, client_context
        except ImportError as error:
            where = 'mqtt.endpoint' if tls is None else 'mqtt.tls'
            raise PropertyError(where, f'TLS: {error}; on OpenWrt: opkg install python3-openssl') from None
        tls = tls or {}
        paths = {name: self.resolve(tls[name]) for name in FILES if tls.get(name)}
        try:
            self.where['tls'] = client_context(verify=tls.get('verify', True), **paths)
            self.files = [(path, os.stat(path).st_mtime_ns) for path in paths.values()]
        except TlsError as error:
            raise PropertyError(f'mqtt.tls.{error.part}', str(error)) from None
        self.where['server_name'] = tls.get('serverName')

    # The agent's side

    async def start(self):
        """Make the client, and begin to connect. Raises StoreError where the store cannot be opened."""
        store = None
        if self.store:
            from .store import Store
            store = Store(self.store, self.identifier, self.sync)
        self.client = Client(self.identifier, store=store, **self.options)
        self.fiber = spawn(self._connect(), 'mqtt service')

    async def _connect(self):
        client = self.client
        while True:
            try:
                await client.connect(retry=True, **self.where)
                return                          # from here on the client mends what is lost
            except MqttError as error:
                if error.code is None:          # the app has disconnected
                    return
            log.error(f'refused: next attempt in {self.patience:g} secs')
            await sleep(self.patience)

    async def stop(self):
        """Say DISCONNECT when what is queued has been sent, for at most 5 s, and close the store."""
        self.fiber.cancel()
        await self.fiber.join()
        await self.client.close()

    async def reload(self, other):
        """Take over CONNECTION, `will` and `tls` from another Service, by a new connection where they differ."""
        names = (*CONNECTION, 'will', 'tls')
        if self.files == other.files and all(self.config.get(name) == other.config.get(name) for name in names):
            return
        self.config, self.where, self.files, self.endpoint = other.config, other.where, other.files, other.endpoint
        self.fiber.cancel()
        await self.fiber.join()
        await self.client.disconnect()
        self.fiber = spawn(self._connect(), 'mqtt service')

    def status(self):
        """What an administrator may know, for JSON."""
        client = self.client
        session = client.session
        return {'state': client.state, 'error': client.error, 'endpoint': self.endpoint, 'clientId': client.client_id,
                'counts': client.stats, 'queue': {
                    'messages': len(session), 'bytes': session.size, 'unsent': len(session.line), 'limit': client.queue,
                    'limitBytes': client.queue_bytes, 'store': self.store or None}}


def _backoff(span):
    """The longest wait. Raises PropertyError."""
    if len(span) != 2 or not span[0] <= span[1] < float('inf'):
        raise PropertyError('mqtt.backoff', "expected two times, the first and longest wait, such as ['1 sec', '2 mins']")
    return span[1]


def _will(will):
    """A will, checked. Raises PropertyError."""
    if will is not None:
        try:
            encode_topic(will.get('topic', ''))
        except ValueError as error:
            raise PropertyError('mqtt.will.topic', str(error)) from None
        if not isinstance(will.get('payload', ''), (str, dict, list)):
            raise PropertyError('mqtt.will.payload', 'expected a text, or an object or list, which becomes JSON')
    return will
