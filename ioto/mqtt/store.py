"""A client's session in a file: messages to be sent, and identifiers of QoS 2 messages received (MQTT 3.1.1 §4.1).

Changes are staged in memory; `commit` writes all of them in one transaction, and a message that was put and forgotten
between two commits is never written. After a commit a SIGKILL loses nothing; after `durable`, or `sync` seconds, a
power cut does not either.

A commit writes each page that it touches, so pages are small: 512 bytes. A message of 100 bytes that is put and
forgotten costs about 1.1 KB (WAL and database together) with commits of its own and none waiting, 2.4 KB with 20
waiting, and 0.6 KB where commits are shared by 20; with pages of 4096 bytes it would be 8.3, 8.3 and 1.7 KB.
"""

from ..runtime.sqlite import File, StoreError

__all__ = ['Store', 'StoreError']

VERSION = 1
PAGE = 512              # bytes
LIMIT = 1 << 20         # bytes of the WAL

TABLES = '''
CREATE TABLE session (client TEXT);
CREATE TABLE message (number INTEGER PRIMARY KEY, identifier INTEGER, qos INTEGER, retain INTEGER,
    released INTEGER, topic TEXT, payload BLOB);
CREATE TABLE received (identifier INTEGER PRIMARY KEY)'''


class Store:
    """The session of `client_id` in the file `path`, forced to the disk within `sync` seconds. Raises StoreError.

    A file that is corrupt, of a later version or of another client is renamed to path.corrupt-N, and the log says so.

    .entries    messages left from the last time, in order: (order, identifier, qos, retain, released, topic, payload);
                who takes them sets None
    .received   the set of identifiers whose PUBREC has been sent and whose PUBREL has not come
    """

    def __init__(self, path, client_id, sync=1.0):
        self.client_id = client_id
        self._clear()
        self.file = File(path, self._setup, VERSION, PAGE, sync, LIMIT)

    def _setup(self, connection, found):
        for statement in () if found else TABLES.split(';'):
            connection.execute(statement)
        if found and (fault := connection.execute('PRAGMA quick_check(1)').fetchone()[0]) != 'ok':
            raise ValueError(fault)
        owner = connection.execute('SELECT client FROM session').fetchone()
        if owner is None:
            connection.execute('INSERT INTO session VALUES (?)', (self.client_id,))
        elif owner[0] != self.client_id:
            raise ValueError(f'it is of the client {owner[0]!r}, and this is {self.client_id!r}')
        self.entries = connection.execute('SELECT * FROM message ORDER BY number').fetchall()
        self.received = {row[0] for row in connection.execute('SELECT identifier FROM received')}

    def _clear(self):
        self.messages, self.released, self.forgotten = {}, set(), set()
        self.identifiers, self.emptied = {}, False      # {identifier: whether received}; none before counts

    def put(self, order, identifier, qos, retain, topic, payload):
        """Keep a message; `identifier` is 0 for one of QoS 0. `order` grows from message to message."""
        self.messages[order] = order, identifier, qos, retain, 0, topic, payload

    def release(self, order):
        """PUBREC has come: the payload goes, and PUBREL is what is to be sent."""
        message = self.messages.get(order)
        if message:
            self.messages[order] = *message[:4], 1, message[5], b''
        else:
            self.released.add(order)

    def forget(self, order):
        """The message has been acknowledged, or is not to be sent."""
        self.released.discard(order)
        if not self.messages.pop(order, None):
            self.forgotten.add(order)

    def receive(self, identifier):
        """A message of QoS 2 has been delivered to this client, and PUBREC will be sent."""
        self.received.add(identifier)
        self.identifiers[identifier] = True

    def complete(self, identifier):
        """PUBREL has come: the identifier may come again for another message."""
        self.received.discard(identifier)
        self.identifiers[identifier] = False

    def clear_received(self):
        """The broker has no session, so identifiers mean nothing any more."""
        self.received.clear()
        self.identifiers.clear()
        self.emptied = True

    def commit(self):
        """Write all that is staged, safe from a SIGKILL, in one transaction. Returns whether that is done.

        While the WAL is being cut it does nothing, for the loop would wait: `settle` follows. Raises StoreError, such as
        for a full disk; then all is still staged, and `forget` takes a message back.
        """
        if not (self.messages or self.forgotten or self.released or self.identifiers or self.emptied):
            return True
        if self.file.held:
            return False
        with self.file as connection:
            if self.emptied:
                connection.execute('DELETE FROM received')
            if self.messages:
                connection.executemany('INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?)', self.messages.values())
            for statement, numbers in (
                    ("UPDATE message SET released = 1, payload = x'' WHERE number = ?", self.released),
                    ('DELETE FROM message WHERE number = ?', self.forgotten),
                    ('INSERT OR IGNORE INTO received VALUES (?)', [n for n, new in self.identifiers.items() if new]),
                    ('DELETE FROM received WHERE identifier = ?', [n for n, new in self.identifiers.items() if not new])
            ):
                if numbers:
                    connection.executemany(statement, zip(numbers))
        self._clear()
        return True

    async def settle(self):
        """Commit, once the WAL has been cut. Raises StoreError."""
        while not self.commit():
            await self.file.free.wait()

    async def durable(self):
        """Return when all that was staged before this call is on the disk. Raises StoreError."""
        await self.settle()
        await self.file.durable()

    async def close(self):
        """Commit, force everything to the disk, and close. Raises StoreError, with the file closed."""
        try:
            await self.durable()
        finally:
            await self.file.close()
