"""Read JavaScript and CSS of the components, which lie beside them as files."""

from __future__ import annotations

import functools
from pathlib import Path

_FOLDER = Path(__file__).parent


@functools.cache
def read_asset(name: str) -> str:
    """Return the text of a file of this folder, which is read once."""
    return (_FOLDER / name).read_text(encoding="utf-8")
