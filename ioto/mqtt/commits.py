"""When a session's changes go into its store, and when what waits for the disk may leave.

What is published in one turn of the scheduler shares a commit at its end: `send_posted` is called then, as it is for streams, and
what was committed leaves. While the WAL is being cut a fiber commits later, so that the loop does not wait. Another one waits for
the disk where a packet of QoS 2 has to (see session.py); several waits share one.
"""

from ..runtime.fiber import kernel
from ..runtime.log import Log
from .receipt import Answer

log = Log('mqtt')


class Commits:
    """`go_on()` is called when something that waited for a commit, or for the disk, may leave."""

    def __init__(self, session, go_on):
        self.session, self.store, self.go_on = session, session.store, go_on
        self.turn = None            # the Answer of this turn's commit
        self.syncing = False

    def soon(self):
        """Commit at the end of this turn. Returns the Answer, which may raise StoreError."""
        if self.turn is None:
            self.turn = Answer()
            kernel().posted.append(self)
        return self.turn

    def send_posted(self):
        """Commit what this turn has brought."""
        turn, self.turn = self.turn, None
        self._commit(turn)

    def _commit(self, turn):
        try:
            done = self.store.commit()
        except OSError as error:
            turn.finish(error=error)
            return
        if done:
            turn.finish()
            self.go_on()
        else:
            kernel().spawn(self._later(turn), 'mqtt store')

    async def _later(self, turn):
        await self.store.file.free.wait()
        self._commit(turn)

    def sync(self):
        """Have a fiber see to it that what waits for the disk does not wait in vain."""
        if not self.syncing and self.session.unsafe():
            self.syncing = True
            kernel().spawn(self._make_durable(), 'mqtt store')

    async def _make_durable(self):
        session = self.session
        try:
            while session.unsafe():
                change = session.change
                await self.store.durable()
                session.stored(change)
                self.go_on()
        except OSError as error:
            log.error(f'messages of QoS 2 wait, for the store cannot be written: {error}')
        finally:
            self.syncing = False
