"""Ioto: a device agent for constrained Linux boards.

`ioto.run(config='config/', start=start, stop=stop)` runs an agent until a signal stops it and returns the exit
status; `async with ioto.Agent('config/') as agent:` runs one inside a scheduler of one's own. Both are loaded when
they are first used, and so is each package below (runtime, json5, http, web): importing ioto costs nothing.
"""

__version__ = version = '0.1.0'

_LAZY = {'run': 'agent', 'Agent': 'agent', 'StartError': 'agent', 'ConfigError': 'config'}


def __getattr__(name):
    home = _LAZY.get(name, name)
    if name.startswith('_'):
        raise AttributeError(f"module 'ioto' has no attribute '{name}'")
    from importlib import import_module
    try:
        module = import_module('ioto.' + home)
    except ModuleNotFoundError as error:
        if error.name != 'ioto.' + home:
            raise
        raise AttributeError(f"module 'ioto' has no attribute '{name}'") from None
    value = globals()[name] = getattr(module, name) if name in _LAZY else module
    return value
