"""
Documents of 100 bytes in a database: SUBJECT CASE FOLDER SECONDS prints numbers as JSON.

SUBJECT is agent, sqlite3 (the same tables, statements and transactions, and nothing else: the ceiling) or tinydb. CASE is
rates (gets, creates and updates a second), large (a find of 20 by prefix and a get among a million items, milliseconds, and
the KB of memory that they cost), or latency (milliseconds of a turn of the loop in which a document is written).
"""

import json
import os
import random
import sys
import time

COUNT = 50_000              # documents that gets and updates choose from
LARGE = 1_000_000
TURN = 64                   # operations until other fibers run, and plain sqlite3 commits
VALUE = 'v' * 60
SCHEMA = {
    'indexes': {'primary': {'hash': 'pk', 'sort': 'sk'}},
    'models': {'Store': {'pk': {'type': 'string', 'value': 'store'}, 'sk': {'type': 'string', 'value': 'store#${key}'},
                         'key': {'type': 'string', 'required': True}, 'value': {'type': 'string'}, 'count': {'type': 'number'}}},
}


def key(n):
    """Keys in order, as a ULID's are."""
    return f'k{n:08}'


def text(n):
    return json.dumps({'_type': 'Store', 'key': key(n), 'value': VALUE, 'count': n, 'pk': 'store', 'sk': f'store#{key(n)}'},
                      separators=(',', ':'))


def agent(path):
    """get(n), create(n), update(n) and the database."""
    from ioto.db import Database
    db = Database(path, SCHEMA)
    return (lambda n: db.get('Store', {'key': key(n)}),
            lambda n: db.create('Store', {'key': key(n), 'value': VALUE, 'count': n}),
            lambda n: db.update('Store', {'key': key(n), 'count': -n})), db


class Plain:
    """The statements of the agent's database by sqlite3 alone; `turn` commits."""

    def __init__(self, path):
        import sqlite3
        self.connection = connection = sqlite3.connect(path, isolation_level=None)
        for statement in ('PRAGMA page_size = 2048', 'PRAGMA journal_mode = WAL', 'PRAGMA synchronous = OFF',
                          'CREATE TABLE items (hash, sort, item, PRIMARY KEY (hash, sort)) WITHOUT ROWID'):
            connection.execute(statement)
        self.execute = connection.execute

    def turn(self):
        if self.connection.in_transaction:
            self.execute('COMMIT')

    def begin(self):
        if not self.connection.in_transaction:
            self.execute('BEGIN IMMEDIATE')

    def get(self, n):
        return json.loads(self.execute('SELECT item FROM items WHERE hash = ? AND sort = ?', ('store', f'store#{key(n)}')).fetchone()[0])

    def create(self, n):
        self.begin()
        self.execute('INSERT INTO items (hash, sort, item) VALUES (?, ?, ?)', ('store', f'store#{key(n)}', text(n)))

    def update(self, n):
        item = self.get(n)
        item['count'] = -n
        self.begin()
        self.execute('UPDATE items SET item = ? WHERE hash = ? AND sort = ?', (json.dumps(item), 'store', f'store#{key(n)}'))


def rates(subject, folder, seconds):
    path = os.path.join(folder, 'rates.db')
    found, rng = {}, random.Random(1)
    order = [rng.randrange(COUNT) for _ in range(200_000)]
    if subject == 'tinydb':
        return tinydb(path, seconds)
    if subject == 'agent':
        from ioto import runtime
        (get, create, update), db = agent(path)

        async def main():
            async def rate(function, arguments, limit):
                began, done = time.perf_counter(), 0
                for n in arguments:
                    function(n)
                    done += 1
                    if done % TURN == 0:
                        await runtime.sleep(0)
                        if time.perf_counter() - began > limit:
                            break
                return done / (time.perf_counter() - began)
            found['create'] = await rate(create, range(COUNT), 1000)
            found['get'] = await rate(get, order, seconds)
            found['update'] = await rate(update, order, seconds)
            await db.close()
        runtime.run(main)
        return found
    plain = Plain(path)

    def rate(function, arguments, limit):
        began, done = time.perf_counter(), 0
        for n in arguments:
            function(n)
            done += 1
            if done % TURN == 0:
                plain.turn()
                if time.perf_counter() - began > limit:
                    break
        plain.turn()
        return done / (time.perf_counter() - began)
    return {'create': rate(plain.create, range(COUNT), 1000), 'get': rate(plain.get, order, seconds),
            'update': rate(plain.update, order, seconds)}


def tinydb(path, seconds):
    """With its cache, written out each TURN changes, and a hundredth of the documents: it reads through all for each call."""
    from tinydb import Query, TinyDB
    from tinydb.middlewares import CachingMiddleware
    from tinydb.storages import JSONStorage
    storage = CachingMiddleware(JSONStorage)
    storage.WRITE_CACHE_SIZE = TURN
    db, query = TinyDB(path, storage=storage), Query()

    def rate(function):
        began, done = time.perf_counter(), 0
        while done < COUNT // 100 or time.perf_counter() - began < seconds and function is not create:
            function(done % (COUNT // 100))
            done += 1
        return done / (time.perf_counter() - began)

    def create(n):
        db.insert({'key': key(n), 'value': VALUE, 'count': n})
    found = {'create': rate(create), 'get': rate(lambda n: db.get(query.key == key(n))),
             'update': rate(lambda n: db.update({'count': -n}, query.key == key(n)))}
    db.close()
    return found


def memory():
    """KB resident."""
    with open('/proc/self/status') as file:
        return int(next(line for line in file if line.startswith('VmRSS')).split()[1])


def large(subject, folder, seconds):
    path, rng = os.path.join(folder, 'large.db'), random.Random(2)
    if not os.path.exists(path):
        plain = Plain(path) if subject == 'sqlite3' else None
        connection = plain.connection if plain else agent(path)[1]._store.connection
        connection.execute('BEGIN')
        connection.executemany("INSERT INTO items (hash, sort, item) VALUES ('store', ?, ?)",
                               ((f'store#{key(n)}', text(n)) for n in range(LARGE)))
        connection.execute('COMMIT')
        connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        connection.close()
        return {}
    if subject == 'sqlite3':
        import sqlite3
        connection = sqlite3.connect(path)

        def find(prefix):
            rows = connection.execute("SELECT item FROM items WHERE hash = 'store' AND sort >= ? AND sort < ? ORDER BY sort LIMIT 20",
                                      (f'store#{prefix}', f'store#{prefix}~'))
            return [json.loads(row[0]) for row in rows]

        def get(n):
            return json.loads(connection.execute("SELECT item FROM items WHERE hash = 'store' AND sort = ?",
                                                 (f'store#{key(n)}',)).fetchone()[0])
        before = memory()
    else:
        get = agent(os.path.join(folder, 'small.db'))[0][0]         # a database of one item, for comparison
        before = memory()
        (get, _, _), db = agent(path)

        def find(prefix):
            return db.find('Store', {'sk': {'begins': f'store#{prefix}'}}, limit=20).items

    def measure(function, arguments):
        times = []
        for argument in arguments:
            began = time.perf_counter()
            result = function(argument)
            times.append(time.perf_counter() - began)
            assert result
        return sorted(times)[len(times) // 2] * 1000
    found = {'find': measure(find, [key(rng.randrange(LARGE - 100))[:-2] for _ in range(3000)]),
             'get': measure(get, [rng.randrange(LARGE) for _ in range(10_000)])}
    if subject == 'agent':
        for _ in range(3):
            db.count('Store', {'sk': {'begins': 'store#k0001'}})
    return {**found, 'memory': memory() - before}


def latency(folder, seconds, delay):
    """1,000 writes a second and a flush each second: the 99.9th percentile and the longest of a write with the end of its turn, ms.

    `delay`: seconds that each forcing of a file to the disk takes longer than here, as on a slow SD card.
    """
    from ioto import runtime
    from ioto.runtime import sqlite
    for owner, name, forcings in (sqlite.os, 'fdatasync', 1), (sqlite.File, '_copy', 2), (sqlite.File, '_cut', 2):
        def slow(*args, function=getattr(owner, name), forcings=forcings):
            time.sleep(delay * forcings if 'TRUNCATE' not in args else 0)
            return function(*args)
        setattr(owner, name, slow)
    (get, create, update), db = agent(os.path.join(folder, 'latency.db'))
    times = []

    async def write():
        began, n = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            n += 1
            before = time.perf_counter()
            create(n)
            await runtime.sleep(0)
            times.append(time.perf_counter() - before)
            await runtime.sleep(max(0, began + n / 1000 - time.perf_counter()))

    async def flush():
        while True:
            await runtime.sleep(1)
            await db.flush()

    async def main():
        fiber = runtime.spawn(flush())
        await write()
        fiber.cancel()
        await db.close()
    runtime.run(main)
    times.sort()
    return {'p99.9': times[int(len(times) * 0.999)] * 1000, 'longest': times[-1] * 1000, 'writes': len(times) / seconds}


if __name__ == '__main__':
    subject, case, folder, seconds = sys.argv[1:]
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))))
    run = {'rates': rates, 'large': large, 'latency': lambda _, folder, seconds: latency(folder, seconds, 0), 'slow': lambda _, folder, seconds: latency(folder, seconds, 0.05)}[case]
    json.dump(run(subject, folder, float(seconds)), sys.stdout)
