"""The embedded database: OneTable documents (https://doc.onetable.io) on SQLite.

schema checks a schema and turns values into items and keys, where turns expressions into predicates; both know nothing of
files, SQL or fibers. store keeps items in tables of SQLite, database is what an app calls.
"""

from .database import Database, Page
from .errors import DbError, SchemaError
from .schema import load
