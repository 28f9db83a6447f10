"""`python3 -m ioto.web`: the web server without the agent, for a folder of files or the properties of a web.json5."""

import argparse
import os
import signal
import sys

from .. import config as configuration
from .. import runtime
from ..runtime import log as logging
from . import Server

FOLDER_LISTENS = ['http://127.0.0.1:8080']
TYPES = {'quiet': 'error', 'verbose': 'error,info,trace', 'debug': 'error,info,trace,debug'}

log = logging.Log('web')


def parse(words):
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        'python3 -m ioto.web', description='Serve files over HTTP, or what a web.json5 says.',
        epilog='SIGTERM and SIGINT end it when the requests in hand are done, SIGHUP makes it read the configuration again.')
    parser.add_argument('path', nargs='?', default='.', metavar='PATH', help='a folder of files to serve (this one, unless told), a '
                        'web.json5, or a configuration folder that holds a web.json5 or ioto.json5')
    parser.add_argument('--listen', action='append', metavar='ADDRESS', help="such as 'http://:8080' (every address), "
                        f"'http://[::1]:80' or 'unix:/path'; may be repeated ({FOLDER_LISTENS[0]}, or what the configuration says)")
    parser.add_argument('--documents', metavar='FOLDER', help='serve the files of this folder, whatever PATH says of them')
    parser.add_argument('--show', metavar='HhBb', help='log headers and bodies: H B of requests, h b of responses')
    for name, types in TYPES.items():
        parser.add_argument(f'--{name}', action='store_const', const=types, dest='types', help=f'log {types}')
    return parser.parse_args(words)


def load(options):
    """The configuration. Raises ConfigError."""
    source, web = options.path, {}
    if options.listen:
        web['listen'] = options.listen
    if options.show:
        web['show'] = options.show
    if options.documents:
        web['documents'] = os.path.abspath(options.documents)
    if os.path.isdir(source) and not any(os.path.exists(f'{source}/{name}.json5') for name in ('web', 'ioto', 'config')):
        source = {'web': {'documents': os.path.abspath(source), 'listen': FOLDER_LISTENS}}
    elif not os.path.exists(source):
        raise configuration.ConfigError('there is no such file or folder', None, source)
    return configuration.load(source, overrides={'web': web, 'log': {'types': options.types} if options.types else {}})


def start_log(settings):
    """Send the log where the configuration says."""
    options = {'path': 'stderr', **settings.values['log']}
    if options['path'] not in ('stdout', 'stderr', 'syslog', 'cloud'):
        options['path'] = settings.paths.resolve(options['path'])
    if 'size' in options:
        options['max_size'] = options.pop('size')
    logging.configure(**options)


async def serve(server, settings, options):
    """Run the server until a signal ends it; returns the exit status."""
    ended = runtime.Event()

    def stop():
        for number in (signal.SIGTERM, signal.SIGINT):
            runtime.on_signal(number, None)             # a second one ends the process
        ended.set()

    def reload():
        logging.reopen()
        if server.journal:
            server.journal.reopen()
        try:
            settings = load(options)
            with settings:
                server.reload(settings.values['web'])
            log.info('Configuration reloaded')
        except configuration.ConfigError as error:
            log.error(f'Configuration not reloaded: {error}')

    try:
        with settings:
            await server.start()
    except OSError as error:
        print(f'ioto.web: {error.strerror or error}', file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        runtime.on_signal(number, stop)
    runtime.on_signal(signal.SIGHUP, reload)
    documents = settings.values['web'].get('documents')
    print(f"Serving {settings.paths.resolve(documents) if documents else 'no files'} on {', '.join(server.addresses)}", flush=True)
    await ended.wait()
    await server.stop()
    return 0


def main(words=None):
    """Run the command line and return the exit status: 1 for a configuration or an address that cannot be had."""
    options = parse(words)
    try:
        settings = load(options)
        start_log(settings)
        with settings:
            server = Server(settings.values['web'], settings.paths.resolve)
        return runtime.run(serve, server, settings, options)
    except configuration.ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
