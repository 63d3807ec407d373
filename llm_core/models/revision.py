"""Identify a model's weights, to distinguish them from others of the same name."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from llm_core.models import builtin

if TYPE_CHECKING:
    from llm_core.models.language_model import LanguageModel


def find_revision(model: LanguageModel | None) -> str:
    """Return `sha256:...` of the weights for the built-in model and for directories, `hub:COMMIT` for models of the
    Hub, and "" if unknown, as for hosted models. Reads a directory's weights once, which takes a second a gigabyte."""
    if model is None:
        return ""
    if model.id == builtin.MODEL_ID:
        return builtin_revision()
    path = Path(model.id).expanduser()
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        return _hash_directory(tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files))
    commit = getattr(model.model.config, "_commit_hash", None)
    return f"hub:{commit}" if isinstance(commit, str) else ""


def builtin_revision() -> str:
    """Return the revision of the built-in model, or "" before it has been fetched."""
    try:
        manifest = json.loads(builtin.manifest_path().read_text(encoding="utf-8"))
        return f"sha256:{manifest['weights_sha256']}"
    except (OSError, ValueError, KeyError):
        return ""


@functools.lru_cache
def _hash_directory(files: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _, _ in files:
        with open(name, "rb") as file:
            while chunk := file.read(2**22):
                digest.update(chunk)
    return f"sha256:{digest.hexdigest()}" if files else ""
