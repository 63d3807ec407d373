"""Start a real server process and find an installed browser, for the browser tests and the benchmarks."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from playwright.sync_api import Locator, expect

ROOT = Path(__file__).parents[2]
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BROWSER_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
    "microsoft-edge",
)
BROWSER_PATHS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)


def find_browser() -> str | None:
    on_path = (shutil.which(name) for name in BROWSER_NAMES)
    return next((place for place in [*on_path, *BROWSER_PATHS] if place and Path(place).exists()), None)


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def choose_option(option: Locator, tries: int = 6) -> None:
    """Click an option of an open list until the list has taken it, which removes it from the page.

    A rerun that ends between the press and the release replaces the list, and the click with it, on a busy machine.
    """
    for _ in range(tries):
        option.click()
        with contextlib.suppress(AssertionError):
            return expect(option).to_have_count(0, timeout=5000)
    raise AssertionError(f"{option} was clicked {tries} times and is still there")


class ServerProcess(NamedTuple):
    """A running server."""

    url: str
    pid: int


@contextlib.contextmanager
def run_server(output: IO[bytes] | None = None, /, **environment: str) -> Iterator[str]:
    """Run a new server process on a free port and yield its URL; its output goes to `output` if given."""
    with run_server_process("app.py", output, **environment) as server:
        yield server.url


@contextlib.contextmanager
def run_server_process(script: str, output: IO[bytes] | None = None, /, **environment: str) -> Iterator[ServerProcess]:
    """Run `script`, a path from the project's root, as a new server process on a free port and yield the server."""
    port = find_free_port()
    command = [sys.executable, "-m", "streamlit", "run", script, "--server.headless", "true"]
    command += ["--server.address", "127.0.0.1", "--server.port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):
                break
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with {process.returncode}")
            time.sleep(0.1)
        yield ServerProcess(url, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
