"""One thing asked of a service on a thread of its own: bounded in time, and given up from any thread at any moment.

For what a page would otherwise wait for: listings, counts, saves. Runs have their own bounds (`service`).
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

from llm_core.errors import NucleusError
from llm_core.providers.network import Line

T = TypeVar("T")

log = logging.getLogger(__name__)

LIMIT_SECONDS = 60.0
"""For all of it, however many requests it takes."""


class Errand(Generic[T]):
    """Begins at once. Any thread may read and stop it; one that hangs outside of its line is left behind."""

    def __init__(
        self, ask: Callable[[Line], T], line: Line, limit: float = LIMIT_SECONDS, usual: float | None = None
    ) -> None:
        """`ask` sends over the line and raises `NucleusError`. Usually it takes `usual` seconds, where that is known,
        and it is given up after `limit`."""
        self.error: NucleusError | None = None
        self.stopped = False
        """Whether nobody waits for it any more: what was sent by then may have its effect all the same."""
        self._value: T | None = None
        self._line = line
        self._began = time.monotonic()
        self._usual = usual or limit
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._bell = threading.Timer(limit, self._give_up, (NucleusError("provider_slow", seconds=round(limit)),))
        self._bell.daemon = True
        self._bell.start()
        threading.Thread(target=self._work, args=(ask,), name="errand", daemon=True).start()

    @property
    def active(self) -> bool:
        return not self._done.is_set()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    @property
    def fraction(self) -> float:
        """A guess by the time that it may take, below 1 until it has ended."""
        return min(0.97, self.seconds / self._usual) if self.active else 1.0

    def value(self) -> T:
        """What came back. Raises the `NucleusError` that came instead, and `RuntimeError` for one that was stopped or
        has not ended."""
        if self.error:
            raise self.error
        if self.active or self.stopped:
            raise RuntimeError("nothing has come back")
        return self._value  # type: ignore[return-value]

    def stop(self) -> None:
        """Wait no longer."""
        self._give_up(None)

    def wait(self, timeout: float | None = None) -> bool:
        """Until it has ended; false if not within `timeout` seconds."""
        return self._done.wait(timeout)

    def _give_up(self, error: NucleusError | None) -> None:
        self._end(None, error, stopped=error is None)
        self._line.cut()

    def _work(self, ask: Callable[[Line], T]) -> None:
        try:
            self._end(ask(self._line), None)
        except NucleusError as error:
            self._end(None, error)
        except Exception as error:  # the thread's last net; the error's text could quote a header
            if not self._line.is_cut:
                where = "".join(traceback.format_tb(error.__traceback__))
                log.error("a question to a service failed: %s\n%s", type(error).__name__, where)
            self._end(None, NucleusError("engine_failed", detail=type(error).__name__))

    def _end(self, value: T | None, error: NucleusError | None, stopped: bool = False) -> None:
        """The first end counts."""
        with self._lock:
            if self.active:
                self._value, self.error, self.stopped = value, error, stopped
                self._done.set()
        self._bell.cancel()
