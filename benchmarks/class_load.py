"""A class on one server, page included: everybody runs and reads, and one more visitor only looks.

Half of the people press Run in the Playground (one answer of 64 tokens), half in Compare (four answers), each again
0 to 3 s after the last run ended. They speak Streamlit's protocol and rerun fragments as a browser does, so drawing on
the server counts and drawing in a browser does not. NUCLEUS_BENCH_CLIENTS (default 20) and NUCLEUS_BENCH_SECONDS
(default 90) say how many and how long; runs under way then may take up to 240 s. Linux only.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from typing import Any

from benchmarks.load import (
    CLIENTS,
    MAX_PAUSE,
    SECONDS,
    TOKENS,
    CoreMeter,
    memory_mb,
    percentiles,
    redraw_idle_page,
)
from tests.support.browser import ServerProcess, run_server_process
from tests.support.streamlit_client import StreamlitClient

MAX_RUN_SECONDS = 240.0
PAGES = ("playground", "compare")


def measure() -> dict[str, object]:
    """Return seconds to the first token and for a whole run by page, the idle visitor's reruns in seconds, tokens a
    second, busy cores, the server's MB, and what failed."""
    with open(os.devnull, "wb") as log, run_server_process("app.py", log) as server:
        return asyncio.run(_measure(server))


class Person:
    """One visitor who runs again and again, with what was measured."""

    def __init__(self, client: StreamlitClient, page: str) -> None:
        self.client, self.page = client, page
        self.tokens = 0
        """Tokens that arrived, of all runs."""
        self.first: list[float] = []
        self.whole: list[float] = []
        self._shown = 0
        self._pressed_at = 0.0
        self._fresh = self._waits_for_first = False
        client.on_component = self._count_tokens

    async def open(self) -> None:
        await self.client.rerun(timeout=180)
        if self.page == "compare":
            await self.client.rerun(page="compare", timeout=180)
            for _ in range(2):  # the page begins with six samplers
                await self.client.press("compare.remove", timeout=180)
        else:
            await self.client.wait_until(lambda: "settings.max_output_tokens" in self.client.widgets, 60)

    async def run(self) -> None:
        """Press Run and wait for the end. Raises `TimeoutError` after `MAX_RUN_SECONDS`."""
        self._fresh, self._waits_for_first = not self._shown, True
        self._pressed_at = time.perf_counter()
        if self.page == "playground":
            await self.client.press(
                "playground.run", [self.client.state("settings.max_output_tokens", TOKENS)], timeout=180
            )
        else:
            await self.client.press("compare.run", timeout=180)
        until = self._pressed_at + MAX_RUN_SECONDS
        await asyncio.sleep(1)
        while self._waits_for_first or self.client.fragments:
            if self.client.closed:
                raise ConnectionError("the server closed the connection")
            if time.perf_counter() > until:
                raise TimeoutError(f"not done in {MAX_RUN_SECONDS:.0f} s")
            await asyncio.sleep(0.05)
        self.whole.append(time.perf_counter() - self._pressed_at)

    def _count_tokens(self, key: str, data: Any) -> None:
        if key == "playground.answer" and self.page == "playground":
            shown = len((data or {}).get("cells", []))
        elif key == "compare.columns":
            shown = sum(len(column["cells"]) for column in (data or {}).get("columns", []))
        else:
            return
        self._fresh |= shown < self._shown  # the last run's answer has left the page
        self.tokens += shown - self._shown if shown >= self._shown else shown
        self._shown = shown
        if self._waits_for_first and self._fresh and shown:
            self._waits_for_first = False
            self.first.append(time.perf_counter() - self._pressed_at)


async def _measure(server: ServerProcess) -> dict[str, object]:
    alone = await _measure_alone(server.url)
    memory, meter, began = memory_mb(server.pid), CoreMeter(server.pid), time.monotonic()
    until = began + SECONDS
    people: list[Person] = []
    failures: Counter[str] = Counter()
    tasks = [asyncio.create_task(_take_part(server.url, number, until, people, failures)) for number in range(CLIENTS)]
    idle = asyncio.create_task(redraw_idle_page(server.url, until))
    await asyncio.sleep(SECONDS)
    span = time.monotonic() - began
    tokens, cores = sum(person.tokens for person in people), meter.read()
    await asyncio.gather(*tasks)
    return {
        "clients": CLIENTS,
        "seconds": SECONDS,
        "alone": alone,
        "tokens_per_second": round(tokens / span, 1),
        "idle_rerun": percentiles(await idle),
        **{page: _summarize(page, people) for page in PAGES},
        "failures": dict(failures),
        "cores": cores,
        "server_memory_mb": [memory, memory_mb(server.pid)],
    }


async def _measure_alone(url: str) -> dict[str, float]:
    """Return the figures of a single run on an otherwise idle server, which also loads the model."""
    async with StreamlitClient(url) as client:
        person = Person(client, "playground")
        await person.open()
        await person.run()
        await client.rerun()
        await person.run()
        return {"first": round(person.first[-1], 2), "whole": round(person.whole[-1], 2)}


async def _take_part(url: str, number: int, until: float, people: list[Person], failures: Counter[str]) -> None:
    chance = random.Random(number)
    try:
        async with StreamlitClient(url, cookie=f"nucleus_owner={number:032x}") as client:
            person = Person(client, PAGES[number % 2])
            people.append(person)
            await person.open()
            await asyncio.sleep(2 * chance.random())
            while time.monotonic() < until:
                await person.run()
                failures.update(f"{person.page}: {error[:80]}" for error in client.errors)
                client.errors.clear()
                await asyncio.sleep(MAX_PAUSE * chance.random())
    except Exception as error:  # counted, whatever it is: a load test that stops here would hide the rest
        failures[f"{PAGES[number % 2]}: {type(error).__name__} {error}"[:100]] += 1


def _summarize(page: str, people: list[Person]) -> dict[str, object]:
    of_page = [person for person in people if person.page == page]
    whole = [seconds for person in of_page for seconds in person.whole]
    first = [seconds for person in of_page for seconds in person.first]
    return {"runs": len(whole), "first_token": percentiles(first), "whole": percentiles(whole)}
