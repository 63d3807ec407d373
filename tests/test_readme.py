"""The README's session with the samplers does what its comments say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_samplers_session():
    [session] = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "SamplerChain" in code]
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
