"""Start a real PostgreSQL server for the tests, if PostgreSQL is installed.

The server is a new cluster in a temporary directory, on a free port of 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


def find_postgresql() -> Path | None:
    """Return the directory of the newest installation's programs, or None."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    return Path(found).parent if found else None


@contextlib.contextmanager
def run_postgresql(programs: Path) -> Iterator[str]:
    """Run a new server and yield its URL, without a database's name."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # PostgreSQL refuses to run as root, and the user that it runs as must reach its directory.
    user = "postgres" if os.geteuid() == 0 else None
    place = Path(tempfile.mkdtemp(prefix="nucleus-postgresql-", dir="/tmp"))
    if user:
        shutil.chown(place, user, user)

    def call(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        done = subprocess.run(
            command, user=user, group=user, extra_groups=[] if user else None, cwd=place,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout

    try:
        call("initdb", "-D", "data", "-U", "nucleus", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-locale")
        options = f"-h 127.0.0.1 -p {port} -k {place} -c fsync=off -c max_connections=60"
        call("pg_ctl", "-D", "data", "-w", "-t", "60", "-l", "log", "-o", options, "start")
        try:
            yield f"postgresql://nucleus@127.0.0.1:{port}"
        finally:
            call("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(place, ignore_errors=True)
