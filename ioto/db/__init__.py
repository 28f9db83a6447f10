"""The embedded database: OneTable documents (https://doc.onetable.io) on SQLite.

schema checks a schema and turns values into items and keys, where turns expressions into predicates; neither knows of
SQL or fibers.
"""
