"""The Safe Runtime: fibers, time, synchronisation, streams, events and the log. No other package stands below it.

    async def main():
        async with runtime.timeout(5):
            stream = await runtime.connect('127.0.0.1', 7)
            await stream.write(b'hello')
            print(await stream.read())

    runtime.run(main)

What a web server needs no part of is imported when it is first asked for.
"""

from . import log, units
from .events import signal, unwatch, watch
from .fiber import Cancelled, Fiber
from .kernel import current, now, on_signal, run, sleep, spawn
from .listener import listen
from .stream import IncompleteRead, LimitExceeded, Stream
from .sync import Event, Lock, Semaphore

LATER = {'TaskGroup': 'group', 'Queue': 'queue', 'QueueEmpty': 'queue', 'QueueFull': 'queue', 'timeout': 'scopes',
         'connect': 'dial', 'start_tls': 'dial', 'to_thread': 'threads'}


def __getattr__(name):
    from importlib import import_module
    if name == 'cron':
        return import_module('.cron', __name__)
    if name not in LATER:
        raise AttributeError(f'module {__name__} has no attribute {name}')
    found = globals()[name] = getattr(import_module(f'.{LATER[name]}', __name__), name)
    return found
