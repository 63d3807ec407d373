"""Define the one error type for failures that a user can meet: a code that pages translate, with the details to fill
in.

`MESSAGES` is the English text for notebooks and logs; pages show `errors.<code>` of their locale instead, and a test
compares its codes with this table.
"""

from __future__ import annotations

import errno
from pathlib import Path

from llm_core.error_messages import MESSAGES


class NucleusError(Exception):
    """Failure with a `code` from `MESSAGES` and the `details` that its text names."""

    def __init__(self, code: str, **details: object) -> None:
        super().__init__(MESSAGES[code].format(**details))
        self.code = code
        self.details = details


def make_storage_error(error: OSError, path: Path, needed_mb: int = 0) -> NucleusError:
    """Return the error that tells a user why the disk refused a write; `needed_mb` is the space needed in MB."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return make_disk_full_error(path, needed_mb)
    return NucleusError("disk_refused", path=path, detail=error.strerror or type(error).__name__)


def make_disk_full_error(path: Path, needed_mb: int) -> NucleusError:
    import shutil

    return NucleusError("disk_full", path=path, free=shutil.disk_usage(path).free // 2**20, needed=needed_mb)
