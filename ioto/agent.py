"""The agent: configuration, services, app, ready; and all of it backwards at the end.

Making an `Agent` checks the configuration, so a mistake is found before a socket is opened or a daemon forked, forgets what was
learned where it is asked to, and makes the web server, so actions can be bound. That listens last, after the app's start, and stops first: no request
finds an action missing.
"""
import os
import signal as posix
import sys
import time
from threading import current_thread, main_thread

from . import config as configuration
from . import json5, runtime, version
from .config import SERVICES, ConfigError
from .runtime import log as logging
from .runtime import units

log = logging.Log('app')

BUILT = ('database', 'web', 'mqtt', 'demo', 'url')
ORDER = (*(name for name in SERVICES if name != 'web'), 'app', 'web')
LEARNED = ('auth.json5', 'device.json5', 'provision.json5', 'shadow.json5', 'ioto.crt', 'ioto.key')   # and databases
SETTINGS = {    # option: (the property that it sets, to what if not to its own value)
    'account': ('account', None), 'cloud': ('cloud', None), 'id': ('device.id', None),
    'product': ('device.product', None), 'show': ('web.show', None), 'quiet': ('log.types', 'error'),
    'verbose': ('log.types', 'error,info,trace'), 'debug': ('log.types', 'error,info,trace,debug'),
}
CLIENT = {'body': 'limit', 'hostConnections': 'per_host', 'keep': 'idle'}       # of `url`: arguments of its Client
OPTIONS = (*SETTINGS, 'app', 'exit', 'home', 'nolocal', 'nosave', 'profile', 'reset', 'state', 'timeouts', 'trace')


class StartError(Exception):
    """A service or the app did not start; str() is one line for a person."""


class Agent:
    """One device agent: `async with Agent(config) as agent:` inside a scheduler, or `run(config)`.

    `config` is a folder, or a dictionary in the shape of ioto.json5; `start` and `stop`, plain or async, are called
    with the agent; cli.OPTIONS explains the options. Raises ConfigError.

    .config .device .profile    the configuration (bytes, seconds), its `device`, 'dev' or 'prod' or …
    .paths                      folders: .home .config .state .site .certs, and .resolve('@state/x')
    .web                        the web server or None; it has addresses after the app's start
    .mqtt                       the MQTT client (ioto.mqtt.Client) from the app's start on, or None
    .db                         the database (ioto.db.Database), likewise
    .services .started          names of those enabled; time.monotonic() of the start
    """

    web = mqtt = db = _api = None

    def __init__(self, config='config/', start=None, stop=None, **options):
        for name in options:
            if name not in OPTIONS:
                raise TypeError(f"unknown option '{name}'")
        self.options = options = {**dict.fromkeys(OPTIONS), **options}
        self.source, self.app_start, self.app_stop = config, start, stop
        self._running = []
        self._stopping = runtime.Event()
        self._trace = self._option('trace', logging.parse_spec) or {}
        self._exit_after = self._option('exit', lambda text: units.seconds(text) if str(text)[0].isdigit() else None)
        self.settings = settings = self._load()
        self.config, self.profile, self.paths = settings.values, settings.profile, settings.paths
        self.device = self.config.setdefault('device', {})
        enabled = self.config.get('services', {})
        self.services = [name for name in SERVICES if enabled.get(name) not in (None, False, 'none')]
        for name in self.services:
            if name not in BUILT:
                raise settings.error('services.' + name, 'this service is not part of this version')
        self._app = options['app'] or 'app' in self.config and self.paths.resolve(self.config['app'])
        if self._app and not os.path.isfile(self._app):
            message = f'there is no file {self._app}'
            raise ConfigError(message, '--app') if options['app'] else settings.error('app', message)
        self._database = self._make_database(settings) if 'database' in self.services else None
        if 'demo' in self.services and (not self._database or 'Store' not in self._database.schema.models):
            raise settings.error('services.demo', 'it needs services.database, and the model Store in its schema')
        self.forgotten = self._reset() if options['reset'] else ()      # before the web server reads its users
        if 'url' in self.services:
            self._client = self._make_client()
        if 'web' in self.services:
            from .status import device_status
            from .web import Server
            with settings:
                self.web = Server(self.config['web'], self.paths.resolve, self.profile == 'dev', not options['nosave'])
            self.web.action('/api/device', ['GET'])(lambda web: device_status(self, web))
        self._mqtt = self._make_mqtt(settings) if 'mqtt' in self.services else None
        if self._mqtt and self.web:
            self.web.action('/api/mqtt', ['GET'])(self._mqtt_status)
        if self._database and self.web:
            from .db.api import Api
            with settings:
                self._api = Api(self._database, self.web)

    def _make_client(self):
        """The client that `url` of the configuration describes."""
        settings = self.config.get('url', {})
        options = {CLIENT.get(name, name): value for part in ('limits', 'tls')
                   for name, value in settings.get(part, {}).items()}
        for name in {'authority', 'certificate', 'key'} & set(options):
            options[name] = self.paths.resolve(options[name])
        try:
            from .url import Client, UrlError
            try:
                client = Client(settings.get('headers'), proxy=settings.get('proxy'), timeout=settings.get('timeouts'),
                                **options)
                if 'tls' in settings:
                    client.context()
                return client
            except UrlError as error:
                where, why = 'url.proxy' if 'bad proxy' in str(error) else 'url.headers', error
        except ImportError as error:
            where, why = 'services.url', f'it needs the module {error.name}, which is not here'
        except OSError as error:
            where, why = 'url.tls.' + error.part, error
        raise self.settings.error(where, str(why))

    def _option(self, name, convert):
        try:
            return self.options[name] and convert(self.options[name])
        except ValueError as error:
            raise ConfigError(str(error), '--' + name) from None

    def _load(self):
        options, overrides = self.options, {'log': {}}
        for name, (property, value) in SETTINGS.items():
            if options[name]:
                json5.set(overrides, property, value or options[name])
        overrides['log'].update(self._trace)
        settings = configuration.load(self.source, options['profile'], options['home'], options['state'],
                                      not options['nolocal'], overrides)
        values, logs = settings.values, settings.values['log']
        if logs.setdefault('path', 'stdout') not in ('stdout', 'stderr', 'syslog', 'cloud'):
            logs['path'] = settings.paths.resolve(logs['path'])
        if options['timeouts']:
            endless = dict.fromkeys(set(configuration.TIMEOUTS) - {'grace'}, units.INFINITY)
            for part in (values['web'], *values['web'].get('routes', ())):
                part['timeouts'] = {**part.get('timeouts', {}), **endless}
        return settings

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, kind, error, trace):
        await self.close()

    async def start(self):
        """Start all; raises StartError or ConfigError with all stopped again."""
        self.started = time.monotonic()
        settings = dict(self.config['log'])
        if 'size' in settings:
            settings['max_size'] = settings.pop('size')
        logging.configure(**settings)
        log.info(f'Starting Ioto {version} with profile {self.profile}')
        for name in self.forgotten:
            log.info(f'Reset: removed {name}')
        runtime.watch(self.options['exit'], self.stop)      # nobody signals a time
        try:
            for name in ORDER:
                if name in (*self.services, 'app'):
                    await getattr(self, '_start_' + name)()
                    self._running.append(name)
        except BaseException:
            await self.close()
            raise
        log.info(f'Ioto {version} ready' + (f", device {self.device['id']}" if 'id' in self.device else ''))
        runtime.signal('app:ready')

    async def close(self):
        """Stop what runs, the last first; False if something failed to."""
        good = True
        runtime.unwatch(self.options['exit'], self.stop)
        while self._running:
            name = self._running.pop()
            try:
                await getattr(self, '_stop_' + name)()
            except Exception as error:
                log.exception(f'The {name} failed to stop', error)
                good = False
        return good

    def stop(self, **_event):
        """Ask the agent to stop: `wait` returns."""
        self._stopping.set()

    async def wait(self):
        """Wait until a signal, --exit or the app has called `stop`."""
        await self._stopping.wait()

    async def main(self):
        """Start, wait, stop and answer POSIX signals; returns the exit status."""
        starting = runtime.spawn(self.start(), 'start')

        def on_stop(function):
            for number in (posix.SIGTERM, posix.SIGINT):
                runtime.on_signal(number, function)

        def stop():
            on_stop(None)                           # a second signal ends the process
            self.stop()
            starting.cancel()

        if current_thread() is main_thread():       # only there do POSIX signals arrive
            on_stop(stop)
            runtime.on_signal(posix.SIGHUP, self.reload)
            runtime.on_signal(posix.SIGUSR2, logging.raise_level)
        try:
            await starting.join()
        except (StartError, ConfigError) as error:
            print(error, file=sys.stderr, flush=True)
            if self.config['log']['path'] not in ('stdout', 'stderr'):
                log.error(error)
            return 1
        if starting.cancelled:
            return 0
        if self._exit_after is not None:
            runtime.current().kernel.call_later(self._exit_after, self.stop)
        await self.wait()
        log.info('Stopping')
        return 0 if await self.close() else 1

    def reload(self):
        """Reopen the log file, read what web, mqtt and database are configured as; a mistake is logged and changes nothing."""
        logging.reopen()
        if not self.web and not self.mqtt and not self.db:
            return
        if self.web and self.web.journal:
            self.web.journal.reopen()
        try:
            settings = self._load()
            if len(self.settings.layers) > len(settings.layers):        # perhaps just being replaced
                raise ConfigError('a file that was read at the start is missing', None, self.source)
            mqtt = self.mqtt and self._make_mqtt(settings)
            database = self.db and self._make_database(settings)
            with settings:
                if self.web:
                    self.web.reload(settings.values['web'])
                if self._api:
                    self._api.configure(database.api)
        except ConfigError as error:
            log.error(f'Configuration not reloaded: {error}')
        else:
            self.settings, self.config['web'] = settings, settings.values['web']
            if mqtt:
                self.config['mqtt'] = settings.values['mqtt']
                runtime.spawn(self._mqtt.reload(mqtt), 'mqtt reload')
            later = self._database.differs(database) if database else ()
            hint = f"; a restart is needed for the database's {', '.join(later)}" if later else ''
            log.info('Configuration reloaded' + hint)

    @staticmethod
    def _make_mqtt(settings):
        try:
            from .mqtt.service import Service
        except ImportError as error:
            raise settings.error('services.mqtt', f'this service is not part of this version: {error}') from None
        values = settings.values
        with settings:
            return Service(values.get('mqtt', {}), values.get('device', {}).get('id'), settings.paths.resolve)

    def _make_database(self, settings):
        try:
            from .db.service import Service
        except ImportError as error:
            raise settings.error('services.database', f'this service is not part of this version: {error}') from None
        with settings:
            return Service(settings.values, settings.paths.resolve, not self.options['nosave'])

    def _reset(self):
        names, state = [], os.path.join(self.paths.state, '')
        own = os.path.split(self._database.path) if self._database else None        # which may be elsewhere
        for folder in {self.paths.state, own[0] if own else self.paths.state}:
            for name in os.listdir(folder) if os.path.isdir(folder) else ():
                base = name.removesuffix('-wal').removesuffix('-shm').removesuffix('.damaged').partition('.corrupt-')[0]
                learned = folder == self.paths.state and (name in LEARNED or base.endswith('.db'))
                if learned or (folder, base) == own:
                    names.append(os.path.join(folder, name).removeprefix(state))
        for name in names:
            try:
                os.unlink(os.path.join(self.paths.state, name))
            except OSError as error:
                raise ConfigError(f'cannot remove {error.filename}: {error.strerror}', '--reset') from None
        return names

    async def _start_url(self):
        from .url.client import set_default
        set_default(self._client)

    async def _stop_url(self):
        self._client.close()

    async def _start_web(self):
        try:
            with self.settings:
                await self.web.start()
        except OSError as error:
            raise StartError(f'web: {error.strerror or error}') from None
        documents = self.config['web'].get('documents')
        what = self.paths.resolve(documents) if documents else 'actions'
        hint = '' if self.profile != 'dev' or self.config['web'].get('tls') else '; without TLS (python3 tools/certs.py makes certificates)'
        log.info(f"Web serves {what} on {', '.join(self.web.addresses)}{hint}")

    async def _stop_web(self):
        await self.web.stop()

    async def _start_mqtt(self):
        try:
            await self._mqtt.start()
        except OSError as error:
            raise StartError(f'mqtt: {error}') from None
        self.mqtt = self._mqtt.client
        log.info(f'MQTT connects to {self._mqtt.endpoint} as {self._mqtt.identifier!r}')

    async def _stop_mqtt(self):
        await self._mqtt.stop()

    async def _mqtt_status(self, web):
        from .web.access import require_role
        await require_role(web)
        return self._mqtt.status()

    async def _start_database(self):
        from .db import DbError
        try:
            self._database.start()
        except DbError as error:
            raise StartError(f'database: {error}') from None
        self.db = self._database.db
        log.info(f'Database {self._database.path} has {self.db.size[0] / 1024:.0f} KB')

    async def _stop_database(self):
        await self.db.close()

    async def _start_demo(self):
        self._counting = runtime.spawn(self._database.count(self.config.get('demo', {}).get('period', 30.0)), 'demo')

    async def _stop_demo(self):
        self._counting.cancel()
        await self._counting.join()

    async def _start_app(self):
        path = self._app
        try:
            if path:
                app = _load_app(path)
                self.app_start, self.app_stop = getattr(app, 'start', None), getattr(app, 'stop', None)
            await self._call(self.app_start)
        except (Exception, SystemExit) as error:
            log.exception('The app failed to start', error)
            raise StartError(f'the app {path or ""} failed to start: {type(error).__name__}: {error}') from error
        if path or self.app_start:
            log.info(f'App {os.path.basename(path)} started' if path else 'App started')

    async def _stop_app(self):
        await self._call(self.app_stop)

    async def _call(self, function):
        result = function and function(self)
        if hasattr(result, '__await__'):
            await result


def _load_app(path):
    from importlib import util
    name = os.path.splitext(os.path.basename(path))[0]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = util.spec_from_file_location(name, path)
    module = sys.modules[name] = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(config='config/', start=None, stop=None, background=False, **options):
    """Run an agent until SIGTERM or SIGINT; returns the exit status: 0, 1 for a failure, 130 for a second SIGINT.

    With `background` this process ends when the agent is ready, and a daemon goes on.
    """
    try:
        agent = Agent(config, start, stop, **options)
        if background:
            _become_daemon()
        return runtime.run(agent.main)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _become_daemon():
    # Two forks, and a session between them, so no terminal can ever become the daemon's.
    reader, writer = os.pipe()
    sys.stdout.flush()
    if os.fork():
        os.close(writer)
        os._exit(0 if os.read(reader, 1) else 1)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(reader)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)

    def ready():
        sys.stdout.flush()
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.write(writer, b'.')
        os.close(writer)

    runtime.watch('app:ready', ready)
