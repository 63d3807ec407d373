"""Exported notebooks are valid, install first, name nothing of this machine, and their cells run."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from nbclient import NotebookClient

from llm_core import PromptSpec, Recipe
from llm_core.formats.registry import dump, load
from llm_core.prompts.output_format import OutputFormat
from samplers import SamplerConfig
from tests.support.hostile_recipes import recipes
from tests.support.toy_model import save_toy_model


@given(recipe=recipes())
def test_every_notebook_is_valid(recipe):
    notebook = nbformat.reads(dump("notebook", recipe).text, as_version=4)
    nbformat.validate(notebook, version=4, version_minor=5)
    assert notebook.cells[0].source.startswith("%pip install")
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    for cell in notebook.cells[1:]:
        compile(cell.source, "cell", "exec")
        assert str(Path.home()) not in cell.source


@pytest.mark.thorough
def test_the_cells_run_in_a_real_kernel_and_give_the_answer(tmp_path, monkeypatch):
    """All but the first, which needs a network."""
    from llm_core import Engine, ModelStore

    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    directory = save_toy_model(tmp_path / "model")
    recipe = Recipe(
        title="</script><script>alert(1)</script>",
        model={"id": str(directory)},
        prompt=PromptSpec("Describe the sea."),
        sampler=SamplerConfig(temperature=0.7, top_k=20),
        seeds=(3,),
        limits={"max_output_tokens": 12},
    )
    run = Engine(ModelStore()).submit(recipe.request())
    assert run.wait(60)
    notebook = nbformat.reads(dump("notebook", recipe).text, as_version=4)
    del notebook.cells[0]
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    said = "".join(
        out.text for out in notebook.cells[-1].outputs if out.output_type == "stream" and out.name == "stdout"
    )
    assert said == f"--- seed 3\n{run.samples[0].text}\n"
    assert load(nbformat.writes(notebook)).recipe == recipe  # as it was saved, with its outputs


@pytest.mark.parametrize(
    ("sampler", "output"),
    [
        (SamplerConfig(temperature=0.9, top_n_sigma=1.5, dry_multiplier=0.8, mirostat_tau=4.0), OutputFormat()),
        pytest.param(
            SamplerConfig(),
            OutputFormat("json", schema='{"type": "object", "properties": {"a": {"type": "integer"}}}'),
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_what_only_nucleus_has_lies_in_the_notebook(sampler, output, tmp_path, monkeypatch):
    """Its cells run in a folder, and in a kernel, that cannot import this repository."""
    from llm_core import Engine, ModelStore

    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    recipe = Recipe(
        model={"id": str(save_toy_model(tmp_path / "model"))},
        prompt=PromptSpec("Describe the sea.", output=output),
        sampler=sampler,
        seeds=(3,),
        limits={"max_output_tokens": 12},
    )
    run = Engine(ModelStore()).submit(recipe.request())
    assert run.wait(60)
    dumped = dump("notebook", recipe)
    assert not [each for each in dumped.dropped if each.field != "title"], dumped.dropped
    assert len(dumped.text) < 120_000
    notebook = nbformat.reads(dumped.text, as_version=4)
    notebook.cells[
        0
    ].source = "import importlib.util\nassert not any(map(importlib.util.find_spec, ('samplers', 'llm_core')))"
    notebook.cells[-1].source = "tokens = [answer(PROMPTS[0], seed)[0] for seed in SEEDS]\nprint(tokens)"
    notebook.cells.append(
        nbformat.v4.new_code_cell("import samplers.chain, pathlib\nprint(pathlib.Path(samplers.chain.__file__).parent)")
    )
    folder = tmp_path / "clean"
    folder.mkdir()
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    said = [out.text.strip() for cell in notebook.cells[-2:] for out in cell.outputs if out.name == "stdout"]
    assert said == [str([[event.token_id for event in run.samples[0].events()]]), str(folder / "samplers")]
    assert all(path.read_text().startswith("# Nucleus, Apache") for path in folder.glob("*/*.py"))


def test_a_stranger_s_notebook_is_no_recipe():
    from llm_core import NucleusError

    stranger = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}
    with pytest.raises(NucleusError) as refused:
        load(json.dumps(stranger))
    assert refused.value.code == "import_wrong"
