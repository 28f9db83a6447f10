"""The agent: configuration, then services in their order, then the app, then ready; and all of it backwards at the end.

`Agent(config)` reads and checks the configuration without starting anything, so a mistake is reported before a socket
is opened or a daemon forked. Entering it (`async with`) starts it inside the caller's scheduler; `Agent.run` brings
its own and answers POSIX signals: SIGTERM and SIGINT stop gracefully (a second one at once), SIGHUP reloads the web
configuration and reopens the log, SIGUSR2 raises the trace level.

A service that fails to start stops those that had started and raises StartError, one line for a person. An error in
the app's own code is logged with its traceback first.
"""
import os
import signal as posix
import sys
import time
from threading import current_thread, main_thread

from . import config as configuration
from . import runtime, version
from .config import SERVICES, ConfigError
from .runtime import log as logging
from .runtime import units

log = logging.Log('app')

BUILT = ('web',)
OPTIONS = {     # option: its default; what each means is in cli.OPTIONS
    'account': None, 'app': None, 'cloud': None, 'debug': False, 'exit': None, 'home': None, 'id': None,
    'nolocal': False, 'nosave': False, 'product': None, 'profile': None, 'quiet': False, 'reset': False, 'show': None,
    'state': None, 'timeouts': False, 'trace': None, 'verbose': False,
}


class StartError(Exception):
    """A service or the app did not start; str() says which and why, in one line."""


class Agent:
    """One device agent.

    Agent(config='config/', start=None, stop=None, **options): `config` is a folder, or a dictionary in the shape of
    ioto.json5; `start` and `stop` are called with the agent, plain or async; `options` are those of OPTIONS. Raises
    ConfigError, or TypeError for an unknown option.

    .config      the configuration, a dictionary (sizes in bytes, times in seconds)
    .device      its `device` part: id, name, model, …
    .profile     'dev', 'prod', …
    .paths       folders: .home .config .state .site .certs, and .resolve('@state/x')
    .web         the web server (ioto.web.Server), None unless services.web is true
    .services    names of the services that have started
    .started     when it started (time.monotonic(), seconds)
    """

    def __init__(self, config='config/', start=None, stop=None, **options):
        unknown = set(options) - set(OPTIONS)
        if unknown:
            raise TypeError(f"unknown option '{min(unknown)}'")
        self.options = {**OPTIONS, **options}
        self.source = config
        self.settings = self._load()
        self.config = self.settings.values
        self.device = self.config.setdefault('device', {})
        self.profile, self.paths = self.settings.profile, self.settings.paths
        self.save = not self.options['nosave']
        self.version = version
        self.started = time.monotonic()
        self.services = []
        self.app_start, self.app_stop = start, stop
        self._app_runs = False
        self.web = None
        self._starting = None
        self._stopping = runtime.Event()
        self._exit_after, self._exit_event = self._option('exit', _exit_rule, (None, None))
        self._trace = self._option('trace', logging.parse_spec, {})
        self._app = self._app_file()
        self._enabled = self._check_services()
        if 'web' in self._enabled:
            self._make_web()

    # Configuration

    def _load(self):
        options = self.options
        device = {name: options[name] for name in ('id', 'product') if options[name]}
        overrides = {name: options[name] for name in ('account', 'cloud') if options[name]}
        if device:
            overrides['device'] = device
        if options['show']:
            overrides['web'] = {'show': options['show']}
        settings = configuration.load(self.source, options['profile'], options['home'], options['state'],
                                      not options['nolocal'], overrides)
        web = settings.values['web']
        if options['timeouts']:
            for part in (web, *web.get('routes', ())):
                endless = {name: float('inf') for name in configuration.TIMEOUTS if name != 'grace'}
                part['timeouts'] = {**part.get('timeouts', {}), **endless}
        return settings

    def _check_services(self):
        wanted = self.config.get('services', {})
        enabled = [name for name in SERVICES if wanted.get(name) not in (None, False, 'none')]
        for name in enabled:
            if name not in BUILT:
                raise self.settings.error('services.' + name, 'this service is not part of this version')
        return enabled

    def _app_file(self):
        path = self.options['app']
        if not path and 'app' in self.config:
            path = self.paths.resolve(self.config['app'])
        if path and not os.path.isfile(path):
            message = f'there is no file {path}'
            raise ConfigError(message, '--app') if self.options['app'] else self.settings.error('app', message)
        return path

    def _option(self, name, convert, default):
        """The value of an option through a function that raises ValueError, or the default where it is not given."""
        try:
            return convert(self.options[name]) if self.options[name] else default
        except ValueError as error:
            raise ConfigError(str(error), '--' + name) from None

    def _make_web(self):
        from . import web
        try:
            self.web = web.Server(self.config['web'], resolve=self.paths.resolve)
        except ValueError as error:
            raise self._web_error(error, self.settings) from None

        @self.web.action('/api/device', methods=['GET'])
        async def device(_request):
            from .status import device_status
            return device_status(self)

    @staticmethod
    def _web_error(error, settings):
        """What the web server says of a property, or of a path in one, as a ConfigError with its place."""
        return settings.error(getattr(error, 'property', None) or 'web.documents', getattr(error, 'message', str(error)))

    def _configure_log(self):
        options, settings = self.options, dict(self.config.get('log', {}))
        for option, types in (('quiet', 'error'), ('verbose', 'error,info,trace'), ('debug', 'error,info,trace,debug')):
            if options[option]:
                settings['types'] = types
        settings.update(self._trace)
        path = settings.get('path', 'stdout')
        if path not in ('stdout', 'stderr', 'syslog', 'cloud'):
            path = self.paths.resolve(path) if path.startswith('@') else os.path.join(self.paths.home, path)
        logging.configure(types=settings.get('types', 'error,info'), sources=settings.get('sources', 'all'),
                          format=settings.get('format', '%S: %T: %M'), path=path, app='ioto',
                          max_size=settings.get('size', 1 << 20), backups=settings.get('backups', 3))

    # Life

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, kind, error, trace):
        await self.close()

    async def start(self):
        """Start the services and the app. Raises StartError, or what the app raised, with everything stopped again."""
        self.started = time.monotonic()
        self._configure_log()
        log.info(f'Starting Ioto {version} with profile {self.profile}')
        if self.options['reset']:
            self._reset()
        if self._exit_event:
            runtime.watch(self._exit_event, self._on_exit_event)
        try:
            for name in self._enabled:
                await getattr(self, '_start_' + name)()
                self.services.append(name)
            await self._start_app()
        except BaseException:
            await self.close()
            raise
        log.info(f'Ioto {version} ready' + (f", device {self.device['id']}" if 'id' in self.device else ''))
        runtime.signal('app:ready')

    async def close(self):
        """Stop the app and then the services, the last started first. True if the app's own stop did not fail."""
        good = True
        runs, self._app_runs = self._app_runs, False
        if runs and self.app_stop:
            try:
                await _call(self.app_stop, self)
            except Exception as error:
                log.exception('The app failed to stop', error)
                good = False
        if self._exit_event:
            runtime.unwatch(self._exit_event, self._on_exit_event)
        while self.services:
            await getattr(self, '_stop_' + self.services.pop())()
        return good

    def stop(self):
        """Ask a running agent to stop; `run` then returns. Harmless when called again."""
        self._stopping.set()
        if self._starting:
            self._starting.cancel()

    async def wait(self):
        """Wait until somebody calls `stop` (a signal, --exit, the app)."""
        await self._stopping.wait()

    def run(self, ready=None):
        """Run in a scheduler of its own until it is stopped; `ready` is called when all has started.

        Returns the exit status: 0 after a stop that was asked for, 1 where something failed.
        """
        return runtime.run(self._main, ready)

    async def _main(self, ready):
        if current_thread() is main_thread():               # only there do POSIX signals arrive
            for number, function in ((posix.SIGTERM, self._on_stop_signal), (posix.SIGINT, self._on_stop_signal),
                                     (posix.SIGHUP, self.reload), (posix.SIGUSR2, logging.raise_level)):
                runtime.on_signal(number, function)
        self._starting = runtime.spawn(self.start(), 'start')
        try:
            await self._starting.join()
        except (StartError, ConfigError) as error:
            self._complain(str(error))
            return 1
        cancelled, self._starting = self._starting.cancelled, None
        if cancelled:
            return 0
        if ready:
            ready()
        if self._exit_after is not None:
            runtime.spawn(self._stop_later(self._exit_after), 'exit')
        await self.wait()
        log.info('Stopping')
        return 0 if await self.close() else 1

    async def _stop_later(self, seconds):
        await runtime.sleep(seconds)
        self.stop()

    def _on_exit_event(self, **_data):
        self._stopping.set()

    def _on_stop_signal(self):
        for number in (posix.SIGTERM, posix.SIGINT):
            runtime.on_signal(number, None)
        self.stop()

    def _complain(self, message):
        """One line for the person at the terminal, and in the log where that is a file."""
        print(message, file=sys.stderr, flush=True)
        if {**self.config.get('log', {}), **self._trace}.get('path', 'stdout') not in ('stdout', 'stderr'):
            log.error(message)

    def reload(self):
        """Read the web configuration again and open the log file again. A mistake is logged and changes nothing."""
        logging.reopen()
        if not self.web:
            return
        try:
            settings = self._load()
            self.web.reload(settings.values['web'])
        except ConfigError as error:
            log.error(f'Configuration not reloaded: {error}')
        except ValueError as error:
            log.error(f'Configuration not reloaded: {self._web_error(error, settings)}')
        else:
            self.settings, self.config['web'] = settings, settings.values['web']
            log.info('Configuration reloaded')

    def _reset(self):
        """Forget what the device has learned: its files in the state folder."""
        try:
            found = os.listdir(self.paths.state)
        except FileNotFoundError:
            return
        for name in found:
            if name in configuration.LEARNED or name.endswith(('.db', '.db-wal', '.db-shm')):
                os.unlink(os.path.join(self.paths.state, name))
                log.info(f'Reset: removed {name}')

    # Services

    async def _start_web(self):
        try:
            await self.web.start()
        except OSError as error:
            raise StartError(f'web: {error.strerror or error}') from None
        except ValueError as error:
            raise self._web_error(error, self.settings) from None
        documents = self.config['web'].get('documents')
        what = self.paths.resolve(documents) if documents else 'actions'
        log.info(f"Web serves {what} on {', '.join(self.web.addresses)}")

    async def _stop_web(self):
        await self.web.stop()

    async def _start_app(self):
        path = self._app
        try:
            if path:
                app = _load_app(path)
                self.app_start, self.app_stop = getattr(app, 'start', None), getattr(app, 'stop', None)
            if self.app_start:
                await _call(self.app_start, self)
        except Exception as error:
            log.exception('The app failed to start', error)
            raise StartError(f'the app {path or ""} failed to start: {type(error).__name__}: {error}') from error
        self._app_runs = True
        if path or self.app_start:
            log.info(f'App {os.path.basename(path)} started' if path else 'App started')


def _exit_rule(text):
    """--exit as (seconds, None) or (None, name of an event)."""
    return (units.seconds(text), None) if text[0].isdigit() else (None, text)


async def _call(function, agent):
    result = function(agent)
    if hasattr(result, '__await__'):
        await result


def _load_app(path):
    from importlib import util
    name = os.path.splitext(os.path.basename(path))[0]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = util.spec_from_file_location(name, path)
    module = util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def run(config='config/', start=None, stop=None, **options):
    """Run an agent until it is stopped and return the exit status (0 stopped, 1 failed). Options: see OPTIONS."""
    try:
        agent = Agent(config, start, stop, **options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        return agent.run()
    except KeyboardInterrupt:
        return 130
