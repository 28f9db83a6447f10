"""Where items are kept: tables of SQLite, keyed by hash and sort, and what has to change with them in one transaction.

    items       (hash, sort) -> JSON            outbox      what the cloud has to hear: the last change of each item
    index …     one for each secondary index    uniques     values that only one item may have
    expires     (time, hash, sort)              meta        the schema that the tables are for

Transactions: in a running scheduler the changes of a turn, at most TURN, are one, committed when the turn ends and
before anything that was posted leaves. Without a scheduler each change is one. A batch is one, committed where it ends.
If SQLite cannot commit (a full disk), the transaction is undone, the error is logged and `flush` raises it. A SIGKILL
loses nothing that was committed; what reaches the disk is in runtime/sqlite.py.

Flash: a new item of 200 bytes makes 0.9 KB of writing where 64 are one commit, 4.6 KB alone; with an index, a unique value
and the outbox 2.2 and 16 KB. That is the WAL, by whole pages, and each page once more for each WAL.

Models that stay in memory have the same tables in a database ':memory:' that is attached as `mem`.
"""
import os

from .. import json5
from ..runtime import sqlite
from ..runtime.fiber import local
from ..runtime.log import Log
from .errors import DbError
from .fields import Prefix

TURN = 64               # changes of one turn that are one commit
PAGE = 2048             # bytes of a page: few are written for a small item, and a larger one is not torn into chains
CACHE = 1024            # KB of pages in memory, at most
WAL = 1 << 20           # bytes of the WAL that are copied into the database together
MOST = 8 << 20          # and those for which commits wait, 0.1 s for a slow SD card; rarely, even at 1,000 a second
CHECKED = 1 << 20       # bytes of a database that is checked as a whole when it is opened
STEP = 50               # items for which one step builds the tables of indexes
VERSION = 1

KEYED = 'hash = ? AND sort = ?'
TABLES = {              # name: its columns, the first of which are its key, and how many those are
    'items': ('hash sort item', 2), 'meta': ('name value', 1), 'uniques': ('name value hash sort', 2),
    'expires': ('time hash sort', 3)}
INDEX = 'hash sort phash psort', 4
OUTBOX = 'seq INTEGER PRIMARY KEY, model, hash, sort, item, UNIQUE (hash, sort)'
FAULTS = sqlite.sqlite3.Error, OverflowError, UnicodeError      # also for keys that SQLite cannot hold
log = Log('db')


class Area:
    """The tables of a file (`main`) or in memory (`mem`), and statements: fixed texts, which sqlite3 keeps prepared."""

    def __init__(self, at, indexes):
        self.at, self.put, self.drop = at, {}, {}
        self.create = [f'CREATE TABLE IF NOT EXISTS {at}.outbox ({OUTBOX})']
        for table, (columns, keys) in {**TABLES, **{f'index {name}': INDEX for name in indexes}}.items():
            names, name = columns.split(), f'{at}."{table}"'
            key = f'PRIMARY KEY ({", ".join(names[:keys])})'
            self.create.append(f'CREATE TABLE IF NOT EXISTS {name} ({", ".join(names)}, {key}) WITHOUT ROWID')
            self.put[table] = f'INSERT OR REPLACE INTO {name} VALUES ({", ".join("?" * len(names))})'
            self.drop[table] = f'DELETE FROM {name} WHERE {" AND ".join(f"{column} = ?" for column in names)}'
        self.get = f'SELECT item FROM {at}.items WHERE {KEYED}'
        self.insert = f'INSERT INTO {at}.items (item, hash, sort) VALUES (?, ?, ?)'
        self.update = f'UPDATE {at}.items SET item = ? WHERE {KEYED}'
        self.delete = f'DELETE FROM {at}.items WHERE {KEYED}'
        self.note = f'INSERT OR REPLACE INTO {at}.outbox (seq, model, hash, sort, item) VALUES (?, ?, ?, ?, ?)'
        self.forget = f'DELETE FROM {at}.outbox WHERE seq = ?'
        self.holder = f'SELECT hash, sort FROM {at}.uniques WHERE name = ? AND value = ?'
        self.due = f'SELECT time, hash, sort FROM {at}.expires ORDER BY time LIMIT ?'
        self.pending = ("SELECT seq, model, iif(i.item IS NULL, 'remove', 'upsert'), o.hash, o.sort, "
                        f'coalesce(i.item, o.item) FROM {at}.outbox o '
                        f'LEFT JOIN {at}.items i ON i.hash = o.hash AND i.sort = o.sort '
                        'WHERE seq > ? ORDER BY seq LIMIT ?')

    def select(self, index, conditions, reverse):
        """Reads (item, hash, sort) or, by an index, (item, hash, sort, primary hash, primary sort), in order."""
        columns, source = ['x.hash', 'x.sort'], f'{self.at}.items x'
        if index != 'primary':
            columns += 'phash', 'psort'
            source = f'{self.at}."index {index}" x CROSS JOIN {self.at}.items i ON i.hash = phash AND i.sort = psort'
        where = f' WHERE {" AND ".join(conditions)}' if conditions else ''
        order = ', '.join(f'{column} DESC' if reverse else column for column in columns)
        return f'SELECT item, {", ".join(columns)} FROM {source}{where} ORDER BY {order}'


class Store:
    """The tables in the file `path`, or ':memory:'. Raises DbError.

    indexes     names of the secondary ones
    digest      'a.b': changes when the tables of indexes have to be built again, and a if keys or uniques have
    sync        seconds until a commit is forced to the disk
    limit       bytes of the database
    """

    opened = reading = posted = torn = closed = False
    seen = None                     # when the turn of the last get began
    depth = count = 0
    marker = ''                     # the file that says that damage was met

    def __init__(self, path, indexes, digest, sync=1.0, limit=None):
        self.indexes, self.digest, self.limit = indexes, digest, limit
        self.areas = {at: Area(at, indexes) for at in ('main', 'mem')}
        self.building = None            # the key after which index tables are to be built
        self.lost = {}                  # fiber: why what it had changed is lost; None: for who asks first
        self.writers = set()            # fibers that have part in what is open
        try:
            if path == ':memory:':
                self.file = sqlite.Memory(self._setup)
            else:
                self.marker = f'{path}.damaged'
                wal = limit or MOST
                self.file = sqlite.File(path, self._setup, VERSION, PAGE, sync, min(WAL, wal // 4), min(MOST, wal))
        except sqlite.StoreError as error:
            raise DbError(str(error)) from None
        self.connection = self.file.connection
        self.execute = self.connection.execute

    # Tables

    def _setup(self, connection, found):
        run = connection.execute
        run(f'PRAGMA cache_size = -{CACHE}')
        pages, size = (run(f'PRAGMA {name}').fetchone()[0] for name in ('page_count', 'page_size'))
        self.roomy, self.pages = None, int(self.limit // size) if self.limit else 0
        if found:
            self._check(run, pages * size)
        meta = dict(run('SELECT name, value FROM meta')) if found else {'schema': self.digest}
        made = str(meta.get('schema'))
        self.urgent = made.split('.')[0] != self.digest.split('.')[0]
        if made != self.digest:
            for (name,) in run("SELECT name FROM sqlite_schema WHERE type = 'table' AND (name LIKE 'index %' "
                               "OR name = 'expires' OR name = 'uniques' AND ?)", (self.urgent,)).fetchall():
                run(f'DROP TABLE "{name}"')
            meta['built'] = '[]'
        for statement in self.areas['main'].create:
            run(statement)
        self.building = meta.get('built')
        self.seq = max(meta.get('seq', 0), run('SELECT max(seq) FROM outbox').fetchone()[0] or 0)
        for name, value in (('schema', '' if self.urgent else self.digest), ('built', self.building),
                            ('seq', self.seq + (1 << 32))):
            run('INSERT OR REPLACE INTO meta VALUES (?, ?)', (name, value))

    def _bound(self, run, remove):
        """Bound the file: to remove needs a little more room than there is, for the outbox; to open must not fail."""
        if self.pages and not self.urgent and self.roomy is not remove:
            self.roomy = remove
            run(f'PRAGMA max_page_count = {self.pages + remove * (self.pages // 16 + 16)}')

    def _check(self, run, size):
        """Raise ValueError, or sqlite3's errors, for a damaged file; a large one is checked if damage was met."""
        marked = os.path.exists(self.marker)
        if size <= CHECKED or marked:
            found = run('PRAGMA quick_check(1)').fetchone()[0]
            if marked:
                os.unlink(self.marker)
            if found != 'ok':
                raise ValueError(found.replace('\n', ' '))

    def attach(self):
        """Make the tables of the models that stay in memory."""
        for statement in ["ATTACH ':memory:' AS mem", *self.areas['mem'].create]:
            self.execute(statement)

    # Transactions

    def _fault(self, error, torn=False):
        """The DbError for an error of SQLite. A transaction that is `torn`, or that SQLite has ended, is undone."""
        if getattr(error, 'sqlite_errorcode', 0) & 0xff in sqlite.UNFIT and self.file.path != ':memory:':
            log.error(f'{self.file.path} is damaged, and is set aside at the next start: {error}')
            try:
                os.close(os.open(self.marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError:                     # a read-only file system, or another root
                pass
        error = DbError(f'{self.file.path}: {error}')
        if self.opened and (torn or not self.connection.in_transaction):
            self._undo(error)
        return error

    def _undo(self, error):
        """Undo what is open, and note who has part in it."""
        if self.opened:
            self.opened = False
            self.file.__exit__(DbError, error, None)
        if self.depth:
            self.torn = error
        elif self.writers:
            log.error(f'changes are lost: {error}')
            self.lost = {fiber: reason for fiber, reason in self.lost.items() if fiber is not None and not fiber.done}
            self.lost.update(dict.fromkeys([None, *self.writers], error))
            self.writers.clear()

    def _begin(self):
        """Make sure that a transaction is open, before a change."""
        if self.depth:
            if self.owner is not (local.kernel and local.kernel.current):
                raise DbError('the batch of another fiber is open: it must not await')
            if self.opened:
                return
        if self.count >= TURN or self.reading:
            self.commit()
        if not self.opened:
            if self.torn:
                raise self.torn
            try:
                self.file.__enter__()
            except sqlite.StoreError as error:
                raise DbError(str(error)) from None
            self.opened, self.count = True, 0
            if local.kernel is not None:
                self._post(local.kernel)
                local.kernel.unsaved = True
        if self.posted and not self.depth:
            self.count += 1
            self.writers.add(local.kernel.current)

    def _post(self, kernel):
        if not self.posted:
            self.posted = True
            kernel.posted.appendleft(self)

    def commit(self):
        """Commit what is open. Raises DbError where that fails: what was open is undone."""
        if self.depth:
            raise DbError('expected the end of the batch first')
        self.count = 0
        if self.reading:
            self.reading = False
            self.execute('COMMIT')
        elif self.opened:
            self.opened = False
            try:
                self.file.__exit__(None, None, None)
            except sqlite.StoreError as error:
                error = DbError(str(error))
                self._undo(error)
                raise error from None
            self.writers.clear()

    def send_posted(self):
        """Commit at the end of a turn; the scheduler calls this before the streams send what was posted."""
        self.posted = False
        if self.depth:
            self._undo(DbError('a batch must end in the turn in which it began: nothing may be awaited in it'))
            return
        try:
            self.commit()
        except DbError:
            pass                                # logged, and kept for `flush`

    def __enter__(self):
        """Begin a batch, or one within a batch."""
        if self.depth:
            if self.torn:
                raise self.torn
            self._run(f'SAVEPOINT batch{self.depth}')
        else:
            self.commit()
            self._begin()
            self.writers.clear()
            self.owner = local.kernel and local.kernel.current
        self.depth += 1

    def __exit__(self, kind, error, trace):
        self.depth -= 1
        if self.depth:
            if not self.torn:
                if kind:
                    self._run(f'ROLLBACK TO batch{self.depth}')
                self._run(f'RELEASE batch{self.depth}')
            return
        torn, self.torn = self.torn, self.closed
        if not (kind or torn):
            self.commit()
        elif self.opened:
            self._undo(error or torn)
        if torn and not kind:
            raise torn

    def _run(self, statement, values=()):
        try:
            return self.execute(statement, values).fetchall()
        except FAULTS as error:
            raise self._fault(error) from None

    async def flush(self):
        """Return when what this fiber has changed is on the disk. Raises DbError where that could not be."""
        failed = None
        try:
            self.commit()
        except DbError as error:
            failed = error
        for fiber in local.kernel.current, None:        # both: whoever asks first is told of what was lost
            failed = self.lost.pop(fiber, None) or failed
        if failed:
            raise failed
        try:
            await self.file.durable()
        except sqlite.StoreError as error:
            raise DbError(str(error)) from None

    # Items

    def get(self, at, hash, sort):
        """The text of one item, or None. From the second in a turn on they share a transaction, which saves locking."""
        kernel = local.kernel
        try:
            if kernel is not None and not self.opened:
                if kernel.time != self.seen:
                    self.seen = kernel.time
                elif not self.reading:
                    self.execute('BEGIN')
                    self.reading = True
                    self._post(kernel)
            found = self.execute(self.areas[at].get, (hash, sort)).fetchone()
        except FAULTS as error:
            raise self._fault(error) from None
        return found and found[0]

    def change(self, at, hash, sort, text, new=False, links=(), gone=(), note=None):
        """Put the text of an item, or remove it where that is None; False where a new one is there already.

        links       rows for other tables as (table, values); gone: those that it had
        note        for the outbox: the name of its model
        """
        area, run, torn = self.areas[at], self.execute, False
        self._begin()
        try:
            for row in links:                   # refuse what SQLite would, before anything has changed
                for value in row[1]:
                    if type(value) is str:
                        value.encode()
                    elif type(value) is int:
                        value.to_bytes(8, 'big', signed=True)
            self._bound(run, text is None)
            if text is None:
                item = run(area.get, (hash, sort)).fetchone() if note else None
                run(area.delete, (hash, sort))
            elif new:
                item = None,
                try:
                    run(area.insert, (text, hash, sort))
                except sqlite.sqlite3.IntegrityError:
                    return False
            else:
                item = None,
                run(area.update, (text, hash, sort))
            torn = True
            for row in gone:
                if row not in links:
                    run(area.drop[row[0]], row[1])
            for row in links:
                if row not in gone:
                    run(area.put[row[0]], row[1])
            if note:
                self.seq += 1
                run(area.note, (self.seq, note, hash, sort, *item))
        except FAULTS as error:
            raise self._fault(error, torn) from None
        finally:
            if not self.posted and not self.depth:
                self.commit()
        return True

    def rows(self, at, index, hash, sort, reverse=False, after=None):
        """Yield (item, hash, sort) or, by an index, (item, hash, sort, primary hash, primary sort), in order.

        A key is a value, Prefix or None for any; `after` is where to go on: the keys of the last row.
        """
        conditions, values, exact = [], [], 0
        for place, key in enumerate((hash, sort)):
            name = ('x.hash', 'x.sort')[place]
            if type(key) is Prefix:
                end, goes_on = _after(key.text), after is not None and place == exact
                if goes_on and not str(after[place]).startswith(key.text):
                    raise DbError('expected a key with this prefix')
                if not goes_on or reverse:
                    conditions.append(f'{name} >= ?')
                    values.append(key.text)
                if end and not (goes_on and reverse):
                    conditions.append(f'{name} < ?')
                    values.append(end)
            elif key is not None:
                conditions.append(f'{name} = ?')
                values.append(key)
                exact += place == exact
        if after is not None:                   # takes the place of a bound, so that SQLite seeks there
            if exact == len(after):
                return
            names, after = ('x.hash', 'x.sort', 'phash', 'psort')[exact:len(after)], after[exact:]
            conditions.append(f'({", ".join(names)}) {"<" if reverse else ">"} ({", ".join("?" * len(after))})')
            values += after
        try:
            yield from self.execute(self.areas[at].select(index, conditions, reverse), values)
        except FAULTS as error:
            raise self._fault(error) from None

    def run(self, at, statement, *values):
        """What a statement of Area reads, as a list."""
        return self._run(getattr(self.areas[at], statement), values)

    def drop(self, at, table, row):
        """Take a row out of a table."""
        self._run(self.areas[at].drop[table], row)

    def build(self, link):
        """Do one step of building the tables of indexes, and return whether there is more to do.

        link(hash, sort, text) gives the rows of an item.
        """
        if self.building is not None:
            after = json5.parse(self.building)
            where = ' WHERE (hash, sort) > (?, ?)' if after else ''
            with self:
                rows = self._run(f'SELECT hash, sort, item FROM items{where} ORDER BY hash, sort LIMIT {STEP}', after)
                for hash, sort, text in rows:
                    for table, values in link(hash, sort, text):
                        self._run(self.areas['main'].put[table], values)
                self.building = json5.to_json(rows[-1][:2]) if len(rows) == STEP else None
                self._run("UPDATE meta SET value = ? WHERE name = 'built'", (self.building,))
                if self.building is None:
                    self.urgent = False
                    self._run("UPDATE meta SET value = ? WHERE name = 'schema'", (self.digest,))
        return self.building is not None

    # The file

    @property
    def size(self):
        """Bytes of the database that are in use, and bytes of the file."""
        names = 'page_count', 'freelist_count', 'page_size'
        total, free, size = (self._run(f'PRAGMA {name}')[0][0] for name in names)
        return (total - free) * size, total * size

    def vacuum(self):
        """Give back the space of what was removed. All calls wait for it."""
        self.commit()
        self._run('VACUUM')

    def end(self):
        """Commit, and take no more; the file is still to be closed."""
        self.closed = DbError(f'{self.file.path}: the database is closed')
        try:
            self._undo(self.closed) if self.depth else self.commit()
        finally:
            self.torn, self.execute = self.closed, self._refuse     # a helper thread is about to close it

    def _refuse(self, *_):
        raise self.closed

    def check(self):
        """What is wrong with the file: a list of texts, empty where nothing is."""
        try:
            return [row[0] for row in self._run('PRAGMA integrity_check') if row[0] != 'ok']
        except DbError as error:
            return [str(error)]


def _after(prefix):
    """The least text that is greater than all that begin with a prefix, or None where there is none."""
    prefix = prefix.rstrip('\U0010ffff')
    if not prefix:
        return None
    last = ord(prefix[-1]) + 1
    return prefix[:-1] + chr(0xe000 if last == 0xd800 else last)
