"""When a session's changes go into its store, and when what waits for the disk may leave.

What is published in one turn of the scheduler shares a commit at its end: `send_posted` is called then, as it is for streams. A fiber
waits for the disk where a QoS 2 PUBLISH or a PUBREL has to; several waits share one.
"""

from ..runtime.fiber import kernel
from ..runtime.log import Log
from .receipt import Answer

log = Log('mqtt')


class Commits:
    """`go_on()` is called when something that waited for the disk may leave."""

    def __init__(self, session, go_on):
        self.session, self.store, self.go_on = session, session.store, go_on
        self.turn = None            # the Answer of this turn's commit
        self.syncing = False

    async def turn_end(self):
        """Wait for the commit at the end of this turn. Raises StoreError."""
        turn = self.turn
        if turn is None:
            turn = self.turn = Answer()
            kernel().posted.append(self)
        await turn.wait()

    def send_posted(self):
        """Commit what this turn has brought."""
        turn, self.turn = self.turn, None
        try:
            if not self.store.commit(wait=False):
                kernel().spawn(self._later(turn), 'mqtt store')
                return
        except OSError as error:
            turn.finish(error=error)
            return
        turn.finish()
        self.sync()

    async def _later(self, turn):
        try:
            await self.store.settle()
        except OSError as error:
            turn.finish(error=error)
        else:
            turn.finish()
            self.sync()

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
