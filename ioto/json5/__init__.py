"""JSON5 1.0.0 (https://spec.json5.org): parse and load read, render, to_json and save write; get, set, remove and
locate take paths such as users[0].name; blend lays one configuration over another; template fills in ${device.name}.
"""

from .blend import blend
from .parser import Json5Error, load, parse
from .query import get, locate, remove, set
from .render import render, to_json


LATER = {'save': 'atomic', 'template': 'fill'}


def __getattr__(name):
    if name not in LATER:
        raise AttributeError(f'module {__name__} has no attribute {name}')
    from importlib import import_module
    found = globals()[name] = getattr(import_module(f'.{LATER[name]}', __name__), name)
    return found
