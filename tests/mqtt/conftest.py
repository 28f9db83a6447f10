"""Time that passes faster."""

import time

import pytest

from ioto.runtime.timers import Deadline

PACE = 100
START = time.monotonic()


class Hasty:
    """A Deadline by a clock that runs a hundred times faster."""

    def __init__(self, kernel, function):
        self.deadline = Deadline(kernel, function)
        self.cancel = self.deadline.cancel

    @property
    def when(self):
        return START + (self.deadline.when - START) * PACE

    def set(self, when):
        self.deadline.set(START + (when - START) / PACE)


@pytest.fixture
def hasty(monkeypatch):
    """The keep-alive of connections goes by such a clock."""
    monkeypatch.setattr('ioto.mqtt.connection.Deadline', Hasty)
    monkeypatch.setattr('ioto.mqtt.connection.monotonic', lambda: START + (time.monotonic() - START) * PACE)
