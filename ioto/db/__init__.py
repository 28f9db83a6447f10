"""The embedded database: OneTable documents (https://doc.onetable.io) on SQLite.

    from ioto.db import Database, DbError, SchemaError, load

schema checks a schema and turns values into items and keys, where turns expressions into predicates; neither knows of
SQL or fibers. store keeps items in tables of SQLite; database is what an app calls, watchers whom it tells.
"""

LATER = {'Database': 'database', 'Page': 'database', 'DbError': 'errors', 'Conflict': 'errors', 'SchemaError': 'errors', 'load': 'schema'}


def __getattr__(name):
    if name not in LATER:
        raise AttributeError(f'module {__name__} has no attribute {name}')
    from importlib import import_module
    found = globals()[name] = getattr(import_module(f'.{LATER[name]}', __name__), name)
    return found
