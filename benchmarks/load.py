"""Share what the load benchmarks measure: a server's resources, an idle visitor's waits, percentiles."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

from tests.support.streamlit_client import StreamlitClient

CLIENTS = int(os.environ.get("NUCLEUS_BENCH_CLIENTS", "20"))
SECONDS = float(os.environ.get("NUCLEUS_BENCH_SECONDS", "90"))
TOKENS = 64
MAX_PAUSE = 3.0
"""Seconds between two runs of one person, at most."""


def memory_mb(pid: int) -> int:
    """Return the resident memory of a process in MB. Linux only."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) // 1024


class CoreMeter:
    """Cores that were busy since the meter was made, by whom. Linux only."""

    def __init__(self, server_pid: int) -> None:
        self._pid = server_pid
        self._before = self._read()

    def read(self) -> dict[str, float]:
        """Return the cores of the server, of this process, which plays the people, and of everything else."""
        span, server, clients, machine = (now - then for now, then in zip(self._read(), self._before, strict=True))
        cores = {"server": server, "clients": clients, "elsewhere": max(0.0, machine - server - clients)}
        return {name: round(seconds / span, 2) for name, seconds in cores.items()}

    def _read(self) -> tuple[float, float, float, float]:
        ticks = os.sysconf("SC_CLK_TCK")
        with open(f"/proc/{self._pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        with open("/proc/stat", encoding="ascii") as stat:
            user, nice, system, *_ = map(int, stat.readline().split()[1:])
        server = (int(fields[11]) + int(fields[12])) / ticks
        return time.monotonic(), server, time.process_time(), (user + nice + system) / ticks


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return median, 95th percentile and maximum in seconds; empty without values."""
    if not values:
        return {}
    ordered = sorted(values)
    return {
        name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))
    }


async def redraw_idle_page(url: str, until: float) -> list[float]:
    """Redraw the page of one more visitor, who runs nothing, every second; return the seconds that each time took."""
    waits = []
    async with StreamlitClient(url) as client:
        await client.rerun(timeout=180)
        while time.monotonic() < until:
            waits.append(await client.rerun(timeout=300))
            await asyncio.sleep(1)
    return waits
