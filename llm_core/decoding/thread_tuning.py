"""How many threads a forward pass gets: all cores, or all but one.

With all, a pass on two cores takes 0.6 to 0.75 of the time, as long as nobody else wants a core. When somebody does,
each operation waits, spinning, for the thread that does not run, and a pass takes up to three times as long as with one
thread less. Which of the two is the case changes from second to second, so both are tried, and the faster is used. The
results are the same to the last bit.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST_TRIAL_STEPS, MAX_TRIAL_STEPS = 8, 64
"""Passes between two trials of the other number: doubled each time that it was not faster."""
TRIAL_STEPS = 2
"""Passes of a trial; the faster one counts, since the first one wakes threads."""


class ThreadTuner:
    """Belongs to one thread, whose passes it times."""

    def __init__(
        self, most: int, set_threads: Callable[[int], None], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """From `most` threads down to one less. `set_threads` is `torch.set_num_threads`."""
        self.count, self._other = most, max(1, most - 1)
        self._set_threads = set_threads
        self._clock = clock
        self._recent: deque[tuple[int, float]] = deque(maxlen=TRIAL_STEPS)
        self._before: float | None = None
        """While the other number is being tried: seconds with the one that it may replace."""
        self._interval = self._left = FIRST_TRIAL_STEPS

    @contextmanager
    def time_step(self, rows: int) -> Iterator[None]:
        """Around one pass of so many rows."""
        self._set_threads(self.count)
        began = self._clock()
        yield
        self._recent.append((rows, self._clock() - began))
        self._left -= 1
        if self._left <= 0 and self.count != self._other:
            self._judge(rows)

    def _judge(self, rows: int) -> None:
        if {each for each, _ in self._recent} != {rows}:  # nothing to compare: wait until the batch is steady
            self._left = 1
            return
        fastest = min(seconds for _, seconds in self._recent)
        if self._before is None:
            self._before, self._left = fastest, TRIAL_STEPS
            self._switch()
            return
        if fastest < self._before:
            self._interval = FIRST_TRIAL_STEPS
        else:
            self._interval = min(2 * self._interval, MAX_TRIAL_STEPS)
            self._switch()
        self._before, self._left = None, self._interval

    def _switch(self) -> None:
        self.count, self._other = self._other, self.count
        self._recent.clear()


@functools.cache
def count_cores() -> int:
    """What torch starts with: a thread for each core, or what `OMP_NUM_THREADS` says. Ask before changing it."""
    import torch

    return torch.get_num_threads()


@contextmanager
def use_one_thread() -> Iterator[None]:
    """For small work beside the engine's: with several threads, each operation would wait for cores that it holds."""
    import torch

    count_cores()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
