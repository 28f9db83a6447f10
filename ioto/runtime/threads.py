"""Helper threads for what blocks: name look-ups, fsync, hashing.

A few daemon threads take jobs from one queue. They are started when there is more work than idle threads, up to `LIMIT`, and
end after being idle for `IDLE` seconds, so an agent that needs none has none and one at rest is not woken. A result travels
back through `Kernel.call_threadsafe`.
"""

import threading
from queue import Empty, SimpleQueue

from .fiber import kernel, suspend

LIMIT = 8               # threads at most
IDLE = 60.0             # seconds after which a thread without work ends

_jobs = SimpleQueue()
_lock = threading.Lock()
_threads = 0
_idle = 0


class _Job:
    __slots__ = ('function', 'args', 'kernel', 'fiber', 'done', 'result', 'error')

    def run(self):
        try:
            self.result = self.function(*self.args)
        except BaseException as error:
            self.error = error
        self.kernel.call_threadsafe(self._finish)

    def _finish(self):
        self.done = True
        if self.fiber is not None:
            self.kernel.wake(self.fiber)


def _work():
    global _threads, _idle
    while True:
        try:
            job = _jobs.get(timeout=IDLE)
        except Empty:
            with _lock:
                if _jobs.empty():
                    _threads -= 1
                    _idle -= 1
                    return
            continue
        job.run()
        del job
        with _lock:
            _idle += 1


async def to_thread(function, *args):
    """Call a blocking function in a helper thread and return what it returns, or raise what it raises.

    If the awaiting fiber is cancelled the function still runs to its end, and its result is dropped.
    """
    global _threads, _idle
    job = _Job()
    job.function, job.args = function, args
    job.kernel = kernel()
    job.fiber = job.kernel.current
    job.done, job.result, job.error = False, None, None
    with _lock:
        if _idle > 0:
            _idle -= 1
        elif _threads < LIMIT:
            threading.Thread(target=_work, name='helper', daemon=True).start()
            _threads += 1
        else:
            _idle -= 1          # taken by the thread that is idle next
        _jobs.put(job)          # within the lock: a thread that is about to end must see it
    try:
        while not job.done:
            await suspend()
    finally:
        job.fiber = None
    if job.error is not None:
        raise job.error
    return job.result
