"""JSON5 1.0.0: reading, writing, querying and changing values, with errors that name line and column.

parse, load     text or a file to a value; relaxed=True for the syntax of configuration files
render, save    a value to text; to a file, atomically
get, set, remove, locate    by paths such as 'users[0].name'
blend           one configuration over another, with prefixes of keys that say how
template        '${device.name}' filled in

Every error of a text is a Json5Error, a ValueError with .message, .line and .column. Importing this takes the json and
re modules and no others but os. `python3 -m ioto.json5 --help` tells of the command.
"""

from .blend import blend
from .parser import load, locate, parse
from .query import get, remove, set
from .syntax import Json5Error
from .render import render
from .save import save
from .template import template

__all__ = ['Json5Error', 'blend', 'get', 'load', 'locate', 'parse', 'remove', 'render', 'save', 'set', 'template']
