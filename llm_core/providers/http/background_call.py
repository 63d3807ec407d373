"""Run one cancellable function on its own thread under a time limit.

Meant for requests that a page would otherwise wait for: listings, counts, saves. Runs have their own limits
(`dispatch.service`).
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

from llm_core.errors import NucleusError
from llm_core.providers.http.connection import Connection

T = TypeVar("T")

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 60.0
"""Default limit for the whole call, however many requests it makes."""


class BackgroundCall(Generic[T]):
    """Call on its own thread, started at once. Any thread may read and stop it; a call that hangs outside of its
    connection is left behind."""

    def __init__(
        self,
        function: Callable[[Connection], T],
        connection: Connection,
        timeout: float = TIMEOUT_SECONDS,
        expected_seconds: float | None = None,
    ) -> None:
        """Start `function` on a thread. It sends over `connection` and may raise `NucleusError`; it is given up after
        `timeout` seconds. `expected_seconds` is its usual duration, where known."""
        self.error: NucleusError | None = None
        self.stopped = False
        """Whether the caller stopped waiting; a request that was already sent may still have its effect."""
        self._value: T | None = None
        self._connection = connection
        self._began = time.monotonic()
        self._expected = expected_seconds or timeout
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._timer = threading.Timer(timeout, self._give_up, (NucleusError("provider_slow", seconds=round(timeout)),))
        self._timer.daemon = True
        self._timer.start()
        threading.Thread(target=self._work, args=(function,), name="errand", daemon=True).start()

    @property
    def active(self) -> bool:
        """Whether the call has not ended yet."""
        return not self._done.is_set()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    @property
    def fraction(self) -> float:
        """Estimated progress in [0, 1] from the expected duration; below 1 until the call has ended."""
        return min(0.97, self.seconds / self._expected) if self.active else 1.0

    def value(self) -> T:
        """Return the function's result. Raises the `NucleusError` of a failed call, and `RuntimeError` if the call was
        stopped or has not ended."""
        if self.error:
            raise self.error
        if self.active or self.stopped:
            raise RuntimeError("nothing has come back")
        return self._value  # type: ignore[return-value]

    def stop(self) -> None:
        """Stop waiting and cancel the connection."""
        self._give_up(None)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the call has ended. Returns False if that takes longer than `timeout` seconds."""
        return self._done.wait(timeout)

    def _give_up(self, error: NucleusError | None) -> None:
        self._end(None, error, stopped=error is None)
        self._connection.cancel()

    def _work(self, function: Callable[[Connection], T]) -> None:
        try:
            self._end(function(self._connection), None)
        except NucleusError as error:
            self._end(None, error)
        except Exception as error:  # log the type only: the error's text could quote a header
            if not self._connection.is_cancelled:
                where = "".join(traceback.format_tb(error.__traceback__))
                log.error("a question to a service failed: %s\n%s", type(error).__name__, where)
            self._end(None, NucleusError("engine_failed", detail=type(error).__name__))

    def _end(self, value: T | None, error: NucleusError | None, stopped: bool = False) -> None:
        """Record the outcome, unless one was recorded before."""
        with self._lock:
            if self.active:
                self._value, self.error, self.stopped = value, error, stopped
                self._done.set()
        self._timer.cancel()
