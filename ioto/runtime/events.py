"""Named events between the parts of an agent: `watch('mqtt:connected', function)`, `signal('mqtt:connected')`.

The functions that watch a name are called in the order in which they began to. An async one is spawned as a fiber, so
nobody waits for it. An error in one is logged, and the others still hear. Watchers may come and go during a signal: who
comes is not called for it, who goes is not called any more. Call from the scheduler's thread; without async watchers
none need run.
"""
_watchers = {}      # name: tuple of functions, replaced as a whole, so that a signal under way keeps its own


def watch(name, function):
    """Call function(**data) at each signal of this name. A function watches a name once, however often it asks."""
    functions = _watchers.get(name, ())
    if function not in functions:
        _watchers[name] = (*functions, function)


def unwatch(name, function):
    """Stop calling this function for this name. Nothing happens where it does not watch."""
    left = tuple(other for other in _watchers.pop(name, ()) if other != function)
    if left:
        _watchers[name] = left


def signal(name, /, **data):
    """Call all that watch this name with `data`. Never raises what they raise."""
    for function in _watchers.get(name, ()):
        if function in _watchers.get(name, ()):
            call(function, name, **data)


def watched(name):
    """Return whether anybody watches this name."""
    return name in _watchers


def call(function, name, /, *args, **data):
    """Call one that watches `name`; an async function is spawned, and what it raises is logged."""
    try:
        result = function(*args, **data)
        if hasattr(result, '__await__') and hasattr(result, 'send'):
            _spawn(result, name)
    except Exception as error:
        from .log import Log
        Log('runtime').exception(f'a watcher of {name} failed', error)


def _spawn(coro, name):
    from .kernel import spawn
    try:
        spawn(coro, f'watcher of {name}')
    except RuntimeError:
        coro.close()        # no scheduler runs; unless it is closed, Python warns that nobody awaited it
        raise
