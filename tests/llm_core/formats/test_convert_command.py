"""`python -m llm_core convert` from and to every form."""

from __future__ import annotations

import pytest

from llm_core import dump_json
from llm_core.cli import main
from llm_core.formats.registry import FORMATS, dump, find_format_by_suffix, load, readable_formats


@pytest.mark.parametrize("form", FORMATS)
def test_to_every_form_and_back(form, traced_recipe, tmp_path, capsys):
    source, target = tmp_path / "recipe.json", tmp_path / f"out{FORMATS[form].suffix}"
    source.write_text(dump_json(traced_recipe), encoding="utf-8")
    assert main(["convert", str(source), str(target), "--to", form]) == 0
    said = capsys.readouterr().err
    assert (
        all(f"{each.field}: {each.reason}" in said for each in dump("dotprompt", traced_recipe).dropped)
        or form != "dotprompt"
    )
    text = target.read_text(encoding="utf-8")
    assert text
    if form in readable_formats():
        assert load(text).recipe.prompt == traced_recipe.prompt
        assert main(["convert", str(target), "-"]) == 0
        assert "Describe the sea." in capsys.readouterr().out


def test_the_ending_says_the_form(toy_recipe):
    hosted = toy_recipe.model_copy(update={"model": toy_recipe.model.model_copy(update={"id": "gemini:g"})})
    assert find_format_by_suffix("x/a.YML", toy_recipe) == "yaml"
    assert find_format_by_suffix("a.promptfoo.yaml", toy_recipe) == "promptfoo"
    assert find_format_by_suffix("a.py", toy_recipe) == "python_transformers"
    assert find_format_by_suffix("a.py", hosted) == "python_gemini"
    for form, each in FORMATS.items():
        if not form.startswith("python_"):
            assert find_format_by_suffix(f"a{each.suffix}", toy_recipe) == form


def test_an_unknown_form_is_refused(traced_recipe, tmp_path, capsys):
    source = tmp_path / "recipe.json"
    source.write_text(dump_json(traced_recipe), encoding="utf-8")
    assert main(["convert", str(source), str(tmp_path / "x"), "--to", "docx"]) == 3
    assert "dotprompt" in capsys.readouterr().err
