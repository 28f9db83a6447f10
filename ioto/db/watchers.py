"""Who is asked before a change, and who is told after it.

Who is asked may refuse by raising DbError, and must not change anything itself. Who is told hears of each change when it
is made, of those in a batch when that is committed, in order; what is changed by one that is told is told when it has
returned, so none is ever called within itself. The signal db:change(event, model, item) tells the same.
"""
from collections import deque

from ..runtime import events
from .errors import DbError

EVENTS = ('create', 'update', 'remove', 'expire')


class Watchers:
    """Functions by model, and the changes that are still to be told, `.queue`."""

    asking = telling = False

    def __init__(self):
        self.before, self.after, self.queue = {}, {}, deque()

    def add(self, model, function, wanted, before):
        for event in wanted:
            if event not in EVENTS:
                raise DbError(f'expected events of {", ".join(EVENTS)}; got {event!r}')
        (self.before if before else self.after).setdefault(model, []).append((function, tuple(wanted)))

    def remove(self, function):
        for table in self.before, self.after:
            for model, watchers in list(table.items()):
                table[model] = [one for one in watchers if one[0] != function]
                if not table[model]:
                    del table[model]

    def ask(self, event, model, item, old):
        """Ask those who want to be, if any. Raises what they raise."""
        if not (self.before or self.asking):
            return
        if self.asking:
            raise DbError('who is asked before a change must not make another', model.name)
        self.asking = True
        try:
            for function in _wanted(self.before, event, model.name):
                function(event, model.name, item and model.output(item), old and model.output(old))
        finally:
            self.asking = False

    def note(self, event, model, item, old):
        """Keep a change for `tell`, if anybody wants it."""
        if self.after or events.watched('db:change'):
            self.queue.append((event, model.name, item and model.output(item), old and model.output(old)))

    def tell(self):
        """Tell what is kept."""
        if self.telling:
            return
        self.telling = True
        try:
            while self.queue:
                event, name, item, old = self.queue.popleft()
                for function in _wanted(self.after, event, name):
                    events.call(function, f'changes of {name}', event, name, item, old)
                events.signal('db:change', event=event, model=name, item=item or old)
        finally:
            self.telling = False


def _wanted(table, event, name):
    return [function for function, wanted in (*table.get(name, ()), *table.get('*', ())) if event in wanted]
