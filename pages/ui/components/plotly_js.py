"""Serve plotly.js as a static file, which a browser loads and caches once, instead of 5 MB with every chart."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import streamlit as st

_STATIC = Path(__file__).parents[3] / "static"


@functools.lru_cache
def url() -> str:
    """Return the URL path of plotly.js on this server, which is copied on first use from the installed package without
    importing it."""
    name = f"plotly-{importlib.metadata.version('plotly')}.min.js"
    target = _STATIC / name
    if not target.exists():
        _STATIC.mkdir(exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=_STATIC)
        os.close(handle)
        shutil.copyfile(_find_package() / "package_data" / "plotly.min.js", scratch)
        os.replace(scratch, target)  # two servers may start together: each leaves a whole file
    base = st.get_option("server.baseUrlPath").strip("/")
    return f"{'/' + base if base else ''}/app/static/{name}"


def _find_package() -> Path:
    spec = importlib.util.find_spec("plotly")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("plotly is not installed: pip install -r requirements.txt")
    return Path(spec.origin).parent
