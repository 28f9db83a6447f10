"""Files of SQLite that survive power cuts and never make the loop wait for the disk; only here sqlite3 is imported.

A file is in WAL mode. The connection of the loop's thread has synchronous OFF: a commit appends to the WAL in the
page cache, which a SIGKILL cannot hurt, and returns. `durable`, and a timer within `sync` seconds of a commit, force
the WAL to the disk in a helper thread. Its frames have running checksums, so a power cut leaves a prefix of the
commits, with all that was forced.

A WAL of `limit` bytes is copied into the database by a second connection in a helper thread, which forces both files
in the order that SQLite demands, while commits go on (PASSIVE); again, up to PASSES times, until none has come
meanwhile. Then the WAL is cut to nothing (TRUNCATE), which takes no time. If some came all the same and it has `most`
bytes, commits are excluded for two forcings of a few pages: who can wait looks at `held` and awaits `free`, else a
commit waits; where no scheduler runs it copies. Between copying and cutting a commit that finds all of the WAL copied
begins it anew, over old frames, which has to be forced (else a power cut could leave frames of two ages): so
synchronous is NORMAL then, and OFF only while the WAL began as an empty file.

One process has a file, by a lock on its WAL: closing any descriptor of the database itself would drop SQLite's locks
(fcntl(2)).
"""

import fcntl
import os
from threading import Lock as ThreadLock

try:
    import sqlite3
except ImportError as error:
    raise ImportError(f'{error}; on OpenWrt: opkg install python3-sqlite3', name=error.name) from None

from .fiber import local
from .log import Log
from .sync import Event, Lock
from .threads import to_thread

UNFIT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
PATIENCE = {'connection': 10_000, 'copier': 1000}      # milliseconds that each waits for the other
PASSES = 5                  # times that the WAL is copied while commits go on

log = Log('sqlite')


class StoreError(OSError):
    """A file that cannot be opened, written or forced to the disk; str() has its path and why."""


class File:
    """An open database. `with file as connection:` is a transaction, committed or rolled back at its end.

    `setup(connection, found)` makes the tables, in a transaction, and may read; `found` is the version that the file
    has, 0 for a new one. A file that is corrupt, of a later version, or for which it raises ValueError, is renamed to
    path.corrupt-N and begun anew. `page_size` in bytes, of a new file; `sync` in seconds. A WAL of `limit`
    bytes is copied, and cut if there is a moment without commits; one of `most` bytes makes them wait.
    Opening and transactions raise StoreError.

    .connection     sqlite3's, for this thread's use; it commits each statement by itself outside a transaction
    .held .free     whether the WAL is being cut, and a runtime.Event for its end
    """

    wal, broken, timer, copying, blocked, closing = -1, None, None, False, False, False
    connection = copier = None
    commits = synced = 0        # how many commits there were, and how many of them are on the disk

    def __init__(self, path, setup, version=1, page_size=4096, sync=1.0, limit=1 << 20, most=0):
        self.path, self.sync, self.limit, self.most = os.path.abspath(path), sync, limit, most
        self.mark = limit       # bytes of the WAL at which the next checkpoint begins
        self.turn, self.lock, self.free = Lock(), ThreadLock(), Event()
        self.free.set()
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            try:
                self._open(setup, version, page_size)
            except ValueError as reason:
                self._set_aside(reason)
                self._open(setup, version, page_size)
        except (OSError, ValueError, sqlite3.Error) as error:
            self.shut()
            raise error if isinstance(error, StoreError) else self._error(error) from None
        except BaseException:
            self.shut()
            raise

    @property
    def held(self):
        return not self.free.is_set()

    def _error(self, error):
        return StoreError(f'{self.path}: {getattr(error, "strerror", None) or error}')

    def _open(self, setup, version, page_size):
        self.wal = os.open(self.path + '-wal', os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.wal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f'{self.path}: it is in use by another process') from None
        new = not os.path.exists(self.path) or not os.path.getsize(self.path)
        if new:
            os.ftruncate(self.wal, 0)           # a WAL whose database never reached the disk
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        try:
            self._connect(setup, version, page_size)
        except sqlite3.Error as error:
            if getattr(error, 'sqlite_errorcode', sqlite3.SQLITE_CORRUPT) & 0xff in UNFIT:
                raise ValueError(str(error)) from None
            raise
        if os.stat(self.path + '-wal').st_ino != os.fstat(self.wal).st_ino:
            raise StoreError(f'{self.path}: it has just been closed by another process')
        if new:
            self._copy('TRUNCATE')
            folder = os.open(os.path.dirname(self.path), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        else:
            os.fdatasync(self.wal)              # a process that was killed may not have come to it
        self.connection.execute('PRAGMA synchronous=OFF')

    def _connect(self, setup, version, page_size):
        for name in ('connection', 'copier'):
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            setattr(self, name, connection)
            connection.execute(f'PRAGMA busy_timeout={PATIENCE[name]}')
            connection.execute(f'PRAGMA page_size={page_size}')
            if connection.execute('PRAGMA journal_mode=WAL').fetchone()[0] != 'wal':
                raise StoreError(f'{self.path}: this file system has no shared memory, which SQLite needs')
            connection.execute('PRAGMA wal_autocheckpoint=0')
        connection = self.connection
        found = connection.execute('PRAGMA user_version').fetchone()[0]
        if found > version:
            raise ValueError(f'it is of version {found}, and this program knows version {version}')
        connection.execute('BEGIN IMMEDIATE')
        setup(connection, found)
        if found < version:
            connection.execute(f'PRAGMA user_version={version}')
        connection.commit()

    def _set_aside(self, reason):
        number = 1
        while os.path.exists(f'{self.path}.corrupt-{number}'):
            number += 1
        aside = f'{self.path}.corrupt-{number}'
        self._disconnect()
        for end in ('', '-wal', '-shm'):
            if os.path.exists(self.path + end):
                if os.path.getsize(self.path + end) and end != '-shm':
                    os.rename(self.path + end, aside + end)
                else:
                    os.unlink(self.path + end)
        self._release()
        log.error(f'{self.path} was set aside as {aside}: {reason}')

    # Transactions

    def __enter__(self):
        if self.broken:
            raise self._error(self.broken)
        if self.blocked:
            with self.lock:                     # SQLite would wait by sleeping, longer than needed
                pass
        try:
            self.connection.execute('BEGIN IMMEDIATE')
        except sqlite3.Error as error:
            raise self._error(error) from None
        return self.connection

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                self.connection.commit()
        except sqlite3.Error as problem:
            error = problem
        if error is not None:
            self.connection.rollback()
            if isinstance(error, sqlite3.Error):
                raise self._error(error) from None
            return
        self._committed()

    def _committed(self):
        self.commits += 1
        kernel, size = local.kernel, os.fstat(self.wal).st_size
        if size >= self.mark + (16 if kernel else 1) * self.most > self.mark:
            self._relax(self._copy('TRUNCATE'))             # there is no fiber to do it, or no turn for it
        elif kernel is not None:
            if self.timer is None:
                self.timer = kernel.call_later(self.sync, self._force_later, kernel)
            if not self.copying and size >= self.mark:
                self.copying = True
                self.connection.execute('PRAGMA synchronous=NORMAL')
                kernel.spawn(self._checkpoint(), f'checkpoint of {self.path}')
            elif size >= self.mark + 3 * self.limit:
                self.free.clear()               # the disk is slower than the writer
                self.blocked = 0 < 4 * self.most <= size

    # What waits for the disk

    async def durable(self):
        """Return when all that was committed before this call is on the disk. Callers at the same time share a forcing.

        Raises StoreError. After that nothing is taken any more: the system may have forgotten what it could not write.
        """
        number = self.commits
        if self.synced < number:
            async with self.turn:
                if self.synced < number and not self.broken:
                    upto = self.commits
                    try:
                        await to_thread(os.fdatasync, self.wal)
                        self.synced = max(upto, self.synced)
                    except OSError as error:
                        self.broken = error
        if self.broken:
            raise self._error(self.broken)

    def _force_later(self, kernel):
        self.timer = None
        if self.synced < self.commits:
            kernel.spawn(self._force(), f'sync of {self.path}')

    async def _force(self):
        try:
            await self.durable()
        except StoreError as error:
            log.error(error)

    async def _checkpoint(self):
        try:
            for _ in range(PASSES):
                number = self.commits
                await to_thread(self._copy, 'PASSIVE')
                if self.closing:
                    return
                if self.commits == number and not self.connection.in_transaction:
                    self._relax(self._copy('TRUNCATE'))     # all is in the database, and forced: this takes no time
                    return
            if self.wal < 0 or os.fstat(self.wal).st_size < self.most:
                return
            self.free.clear()
            self.blocked = self.lock.acquire()
            self._relax(await to_thread(self._cut))
        except sqlite3.Error as error:
            log.error(f'{self.path}: checkpoint: {error}')
        finally:
            self.copying = self.blocked = False
            if self.wal >= 0:
                self.mark = os.fstat(self.wal).st_size + self.limit     # not cut if that failed or somebody reads
            self.free.set()

    def _copy(self, mode):
        """Checkpoint; returns whether nobody was in the way."""
        with self.lock:
            return self._checkpointed(mode)

    def _checkpointed(self, mode):
        return self.wal >= 0 and not self.copier.execute(f'PRAGMA wal_checkpoint({mode})').fetchone()[0]

    def _cut(self):
        try:
            return self._checkpointed('TRUNCATE')
        finally:
            self.lock.release()

    def _relax(self, cut):
        if cut and not self.closing and not self.connection.in_transaction:
            self.connection.execute('PRAGMA synchronous=OFF')

    async def close(self):
        """Force everything to the disk, in the database itself, and close; harmless when it is closed."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.closing = True                     # this thread uses the connection no more
        async with self.turn:                   # who waits for the disk is told that it is there
            await to_thread(self.shut)

    def shut(self):
        """Close, waiting for the disk."""
        self.closing = True
        with self.lock:
            self._disconnect()
            self._release()
            self.synced = self.commits

    def _disconnect(self):
        for connection in (self.connection, self.copier):       # the last to close checkpoints, and forces
            if connection is not None:
                connection.close()
        self.connection = self.copier = None

    def _release(self):
        if self.wal >= 0:
            os.close(self.wal)
            self.wal = -1


class Memory(File):
    """The same in memory, gone when it is closed: `setup` as for File."""

    def __init__(self, setup):
        self.path, self.lock, self.turn = ':memory:', ThreadLock(), Lock()
        self.connection = sqlite3.connect(':memory:', isolation_level=None, check_same_thread=False)
        setup(self.connection, 0)

    def _committed(self):
        pass

    async def durable(self):
        """Return."""
