"""What streaming would give in place of redrawing: the people of `class_load` over server-sent events.

The server is `stream_probe_server`: the app of today with two routes, so an idle visitor's page is the real one. Half
of the people ask for one answer, half for four. Settings as in `class_load`; NUCLEUS_BENCH_PRECISIONS is the precision.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter

import httpx

from benchmarks.load import (
    CLIENTS,
    MAX_PAUSE,
    SECONDS,
    TOKENS,
    CoreMeter,
    percentiles,
    redraw_idle_page,
)
from tests.support.browser import ServerProcess, run_server_process

PRECISION = os.environ.get("NUCLEUS_BENCH_PRECISIONS", "float32")
SAMPLE_COUNTS = (1, 4)


class Figures:
    """What the people measured together."""

    def __init__(self) -> None:
        self.first: dict[int, list[float]] = {count: [] for count in SAMPLE_COUNTS}
        self.whole: dict[int, list[float]] = {count: [] for count in SAMPLE_COUNTS}
        self.tokens = 0
        self.failures: Counter[str] = Counter()


def measure() -> dict[str, object]:
    """Return seconds to the first token and for a whole run by number of answers, the idle visitor's reruns in seconds,
    tokens a second, busy cores, and what failed."""
    with open(os.devnull, "wb") as log, run_server_process("benchmarks/stream_probe_server/server.py", log) as server:
        return asyncio.run(_measure(server))


async def _measure(server: ServerProcess) -> dict[str, object]:
    figures = Figures()
    async with httpx.AsyncClient(base_url=server.url, timeout=180, limits=httpx.Limits(max_connections=None)) as http:
        await _run(http, SAMPLE_COUNTS[0], Figures())  # loads the model
        meter, began = CoreMeter(server.pid), time.monotonic()
        until = began + SECONDS
        idle = asyncio.create_task(redraw_idle_page(server.url, until))
        people = [asyncio.create_task(_take_part(http, number, until, figures)) for number in range(CLIENTS)]
        await asyncio.sleep(SECONDS)
        span = time.monotonic() - began
        tokens, cores = figures.tokens, meter.read()
        await asyncio.gather(*people)
    return {
        "clients": CLIENTS,
        "seconds": SECONDS,
        "precision": PRECISION,
        "tokens_per_second": round(tokens / span, 1),
        "idle_rerun": percentiles(await idle),
        **{
            f"answers_{count}": {
                "runs": len(figures.whole[count]),
                "first_token": percentiles(figures.first[count]),
                "whole": percentiles(figures.whole[count]),
            }
            for count in SAMPLE_COUNTS
        },
        "failures": dict(figures.failures),
        "cores": cores,
    }


async def _take_part(http: httpx.AsyncClient, number: int, until: float, figures: Figures) -> None:
    chance = random.Random(number)
    await asyncio.sleep(2 * chance.random())
    while time.monotonic() < until:
        try:
            await _run(http, SAMPLE_COUNTS[number % 2], figures)
        except (httpx.HTTPError, ValueError) as error:
            figures.failures[f"{type(error).__name__} {error}"[:100]] += 1
        await asyncio.sleep(MAX_PAUSE * chance.random())


async def _run(http: httpx.AsyncClient, samples: int, figures: Figures) -> None:
    began, first = time.perf_counter(), 0.0
    body = {"samples": samples, "tokens": TOKENS, "precision": PRECISION}
    run_id = (await http.post("/nucleus/runs", json=body)).raise_for_status().json()["id"]
    async with http.stream("GET", f"/nucleus/events/{run_id}") as response:
        async for line in response.raise_for_status().aiter_lines():
            if line.startswith("data: ["):
                if not first:
                    first = time.perf_counter() - began
                    figures.first[samples].append(first)
                figures.tokens += len(json.loads(line.removeprefix("data: ")))
    figures.whole[samples].append(time.perf_counter() - began)
