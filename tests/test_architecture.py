"""Imports point one way: app, pages -> llm_core -> samplers -> torch; only pages know streamlit and plotly."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "samplers": {"llm_core", "pages", "app", "streamlit", "plotly", "transformers"},
    "llm_core": {"pages", "app", "streamlit", "plotly"},
    "pages": {"app"},
}


def imported_packages(file: Path) -> set[str]:
    """Top-level names of everything that a module imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        assert not imported_packages(file) & FORBIDDEN[package], file


def test_only_state_touches_session_state_and_only_pages_are_discovered():
    pages = ROOT / "pages"
    users = {file.name for file in pages.rglob("*.py") if "st.session_state" in file.read_text(encoding="utf-8")}
    assert users == {"session.py"}
    discovered = {file.stem for file in pages.glob("*.py")}
    assert discovered == {"__init__", "best_of_n", "compare", "gallery", "lens", "models", "playground", "techniques"}


@pytest.mark.parametrize(
    "module", ["llm_core", "llm_core.router", "pages.ui.shell.frame", "pages.ui.playground.run_view"]
)
def test_heavy_packages_load_lazily(module):
    """So that the first page shows before torch, transformers and the provider SDKs have been read."""
    heavy = "{'transformers', 'google.genai', 'vertexai', 'torch'}"
    code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
