"""Documentation says what is true: its code runs, its links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARY = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")


def code_blocks(language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", LIBRARY, re.DOTALL)


def test_samplers_session():
    [session] = [code for code in code_blocks() if "SamplerChain" in code]
    names: dict = {}
    checked = 0
    lines = session.splitlines()
    for node in ast.parse(session).body:
        code = ast.get_source_segment(session, node)
        if not isinstance(node, ast.Expr):
            exec(code, names)
            continue
        shown = []
        for line in lines[node.end_lineno :]:
            if not line.startswith("#"):
                break
            shown.append(line[2:])
        assert repr(eval(code, names)) == "\n".join(shown)
        checked += 1
    assert checked == 3


def test_every_name_that_the_library_page_imports_exists():
    imports = [node for code in code_blocks() for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if (node.module or "").split(".")[0] in ("samplers", "llm_core")]
    assert len(ours) >= 8
    missing = [
        f"{node.module}.{alias.name}"
        for node in ours
        for alias in node.names
        if not hasattr(importlib.import_module(node.module or ""), alias.name)
    ]
    assert missing == []


def test_the_first_notebook_examples_run_on_the_builtin_model(builtin, capsys):
    """Those that need no server of somebody else: four answers, a technique, best-of-N."""
    names: dict = {}
    local = [code for code in code_blocks() if "llm_core" in code and "Router" not in code and "Vertex" not in code]
    assert len(local) == 3
    try:
        for code in local:
            exec(code, names)
    finally:
        names["engine"].close()
    assert len(names["run"].samples) == 4
    assert names["technique_run"].answer is not None
    assert len(names["pool"].candidates()) >= 8
    assert capsys.readouterr().out


def test_links_between_pages_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    assert len(pages) >= 9
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []
