"""Choose the number of threads of a forward pass: all cores, or all but one.

With all, a pass on two cores takes 0.6 to 0.75 of the time, as long as no other work wants a core. When other work
does, each operation waits, spinning, for the thread that does not run, and a pass takes up to three times as long as
with one thread less. This changes from second to second, so both numbers are tried and the faster is used. The results
are the same to the last bit.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST_TRIAL_STEPS, MAX_TRIAL_STEPS = 8, 64
"""Number of passes between two trials of the other thread count: doubled each time that it was not faster."""
TRIAL_STEPS = 2
"""Number of passes of a trial; the faster one counts, since the first one wakes threads."""


class ThreadTuner:
    """Tuner of the thread count of one thread's passes, which it times."""

    def __init__(
        self, max_threads: int, set_threads: Callable[[int], None], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Start with `most` threads and try one less. `set_threads` is `torch.set_num_threads`."""
        self.count, self._other = max_threads, max(1, max_threads - 1)
        self._set_threads = set_threads
        self._clock = clock
        self._recent: deque[tuple[int, float]] = deque(maxlen=TRIAL_STEPS)
        self._before: float | None = None
        """Seconds of a pass with the replaced thread count during a trial of the other; None outside a trial."""
        self._interval = self._left = FIRST_TRIAL_STEPS

    @contextmanager
    def time_step(self, rows: int) -> Iterator[None]:
        """Time one pass of `rows` rows in a `with` block, with the chosen number of threads."""
        self._set_threads(self.count)
        began = self._clock()
        yield
        self._recent.append((rows, self._clock() - began))
        self._left -= 1
        if self._left <= 0 and self.count != self._other:
            self._judge(rows)

    def _judge(self, rows: int) -> None:
        if {each for each, _ in self._recent} != {rows}:  # not comparable: wait until the batch size is steady
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
def default_thread_count() -> int:
    """Return torch's initial thread count: one a core, or `OMP_NUM_THREADS`. Call it before changing the count."""
    import torch

    return torch.get_num_threads()


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Run a block with one torch thread, for small work beside the engine: with several, each operation would wait for
    cores that the engine holds."""
    import torch

    default_thread_count()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
