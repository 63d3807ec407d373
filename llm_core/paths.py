"""Locate the files that Nucleus keeps: in `NUCLEUS_HOME`, or in the user's cache and data directories."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_directory() -> Path:
    """Return the directory for files that can be fetched or computed again. It is not created here."""
    override = os.environ.get("NUCLEUS_HOME")
    return Path(override).expanduser() if override else platformdirs.user_cache_path("nucleus", appauthor=False)


def data_directory() -> Path:
    """Return the directory for files that cannot be fetched again: saved recipes and the history. It is not created
    here."""
    override = os.environ.get("NUCLEUS_HOME")
    return cache_directory() / "data" if override else platformdirs.user_data_path("nucleus", appauthor=False)
