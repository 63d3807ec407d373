"""Bundle modules of this repository in a notebook's cell: readable source, written as files beside the notebook.

Colab and Kaggle have no copy of this repository, and pip knows none.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path, PurePosixPath

from llm_core.formats.code.literals import literal

_LICENCE = "# Nucleus, Apache License 2.0 (https://www.apache.org/licenses/LICENSE-2.0), unchanged\n"

_CELL = """# {count} files of Nucleus ({size} KB, Apache License 2.0), which this recipe's samplers need.
# They are written beside this notebook.
import importlib
import pathlib

FILES = {{
{files}}}
for name, source in FILES.items():
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source.removeprefix("\\n"), encoding="utf-8")
importlib.invalidate_caches()
"""


def make_bundle_cell(modules: tuple[str, ...]) -> str:
    """Return the cell that writes these modules. They must import nothing of this repository but each other."""
    packages = dict.fromkeys(str(parent) for module in modules for parent in _package_folders(module))
    files = {f"{package}/__init__.py": _LICENCE for package in packages}
    files |= {f"{module.replace('.', '/')}.py": _LICENCE + _read_source(module) for module in modules}
    size = sum(map(len, files.values()))
    shown = "".join(f"    {literal(name)}: {_quote_source(source)},\n" for name, source in files.items())
    return _CELL.format(count=len(files), size=round(size / 1000), files=shown)


def _package_folders(module: str) -> list[PurePosixPath]:
    """Return the folders of the packages that a module lies in, the outermost first."""
    return list(PurePosixPath(module.replace(".", "/")).parents)[-2::-1]


def _read_source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


def _quote_source(source: str) -> str:
    return literal(source) if "'''" in source else f"r'''\n{source}'''"
