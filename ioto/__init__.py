"""Ioto: a device agent for constrained Linux boards.

`ioto.run(config='config/', start=start, stop=stop)` runs an agent until a signal stops it and returns the exit
status; `async with ioto.Agent('config/') as agent:` runs one inside a scheduler. Importing ioto loads nothing else.
"""
__version__ = version = '0.1.0'

LATER = {'run': 'agent', 'Agent': 'agent', 'StartError': 'agent', 'ConfigError': 'config'}


def __getattr__(name):
    if name not in LATER:
        raise AttributeError(f'module {__name__} has no attribute {name}')
    from importlib import import_module
    return getattr(import_module(f'.{LATER[name]}', __name__), name)
