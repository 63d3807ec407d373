"""Run functions on untrusted texts in a process of their own, which is killed when one takes too long.

A thread cannot be stopped, and timeouts by signals fail outside the main thread; a process can be killed. Requests and
responses are lines of JSON. The process serves one request at a time, stays for the next ones, and has limited memory
where the system supports that. Nothing in a request is executed as code.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

START_TIMEOUT_SECONDS = 30.0
"""Limit for the process to start, packages included."""
MAX_MEMORY_BYTES = 2 * 1024**3
_READY = "ready"


class WorkerProcess:
    """Subprocess that serves calls from any thread, one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._output_lines: queue.Queue[str] = queue.Queue()
        self._warm: set[str] = set()
        """Functions whose packages the process has loaded, which takes longer than the call itself."""
        atexit.register(self.close)

    def call(self, function: str, *arguments: Any, seconds: float) -> Any:
        """Return the result of a function of `FUNCTIONS`. Raises `TimeoutError` if it takes longer than `seconds` once
        the process runs, and `RuntimeError` for what it raises itself."""
        with self._lock:
            self._start()
            if function in FUNCTIONS and function not in self._warm:
                self._exchange([function, WARM_UP_ARGUMENTS[function]], START_TIMEOUT_SECONDS)
                self._warm.add(function)
            answer = self._exchange([function, arguments], seconds)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def _exchange(self, question: Any, seconds: float) -> Any:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
        except OSError as error:
            self._kill()
            raise RuntimeError("the process ended") from error
        return json.loads(self._read_line(seconds))

    def close(self) -> None:
        """End the process. The next call starts another one."""
        with self._lock:
            self._kill()

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        root = str(Path(__file__).resolve().parents[3])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "llm_core.best_of_n.criteria.worker_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self._output_lines, self._warm = queue.Queue(), set()
        threading.Thread(
            target=_read_lines, args=(self._process, self._output_lines), name="bounded worker", daemon=True
        ).start()
        self._read_line(START_TIMEOUT_SECONDS)

    def _read_line(self, seconds: float) -> str:
        try:
            line = self._output_lines.get(timeout=seconds)
        except queue.Empty:
            self._kill()
            raise TimeoutError from None
        if not line:
            self._kill()
            raise RuntimeError("the process ended")
        return line

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    assert stream is not None
                    stream.close()
            self._process = None


def _read_lines(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout is not None
    with contextlib.suppress(ValueError, OSError):  # closed when the process is killed
        for line in process.stdout:
            lines.put(line)
    lines.put("")


def mathematically_equal(one: str, other: str) -> bool:
    """Return whether two expressions are equal by math-verify: `1/2` equals `0.5` and `\\frac{1}{2}`. They are parsed
    as LaTeX only, because its parser for plain expressions hands text to `eval`."""
    from math_verify import verify

    first, second = _parse_expressions(one), _parse_expressions(other)
    return bool(first and second and verify(first, second, timeout_seconds=None))


@functools.lru_cache(maxsize=256)  # a vote compares every answer with many others
def _parse_expressions(text: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    delimited = any(mark in text for mark in ("$", "\\(", "\\[", "\\boxed"))
    return parse(text if delimited else f"${text}$", [LatexExtractionConfig()], "no_fallback", parsing_timeout=None)


def schema_errors(schema: dict[str, Any], value: Any) -> list[str]:
    """Return where a JSON value does not match a JSON Schema, at most 20 places. References to other addresses are not
    followed. Raises an exception for an invalid schema."""
    import itertools

    from jsonschema.validators import validator_for
    from referencing import Registry

    kind = validator_for(schema)
    kind.check_schema(schema)
    errors = kind(schema, registry=Registry()).iter_errors(value)
    return [f"{error.json_path}: {error.validator}" for error in itertools.islice(errors, 20)]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "mathematically_equal": mathematically_equal,
    "schema_errors": schema_errors,
}
WARM_UP_ARGUMENTS: dict[str, Sequence[Any]] = {"mathematically_equal": ("1/2", "0.5"), "schema_errors": ({}, 1)}


def serve() -> None:
    """Serve the requests on the standard input, until it ends."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on Windows; a container may allow less
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    answers, sys.stdout = sys.stdout, sys.stderr  # output that a package prints must not mix with the responses
    import logging

    logging.disable()
    print(json.dumps(_READY), file=answers, flush=True)
    for line in sys.stdin:
        work, arguments = json.loads(line)
        try:
            answer = {"value": FUNCTIONS[work](*arguments)}
        except (Exception, MemoryError, RecursionError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)


WORKER = WorkerProcess()

if __name__ == "__main__":
    serve()
