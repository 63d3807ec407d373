"""Recipes without a browser: the real command in a process of its own, with the real built-in model."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llm_core import Engine, ModelStore, NucleusError, PromptSpec, Recipe, dump_yaml, encode_link, load_text
from llm_core.recipes.recipe import Limits, ModelReference
from llm_core.storage.database import Database
from llm_core.storage.recipe_store import RecipeStore
from samplers import SamplerConfig
from tests.support.toy_model import save_toy_model

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "llm_core"]
RECIPE = Recipe(
    prompt=PromptSpec("Name three colours."),
    sampler=SamplerConfig(temperature=0.9),
    seeds=(4,),
    limits=Limits(max_output_tokens=6),
)
LONG = RECIPE.replace(limits=Limits(max_output_tokens=4_000), sampler=SamplerConfig(min_new_tokens=3_900))


def run_cli(*arguments: str, text: str = "") -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *arguments], cwd=ROOT, input=text, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def expected(builtin) -> str:
    """What the engine, and so the page, answers."""
    engine = Engine(ModelStore(loader=lambda model_id, report: builtin))
    run = engine.submit(RECIPE.request())
    run.wait(120)
    engine.close()
    return run.samples[0].text


def test_run_in_a_pipe(expected):
    done = run_cli("run", "-", text=dump_yaml(RECIPE))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{expected}\n", "")


def test_run_record_verify(toy, tmp_path):
    recipe = RECIPE.replace(model=ModelReference(id=str(save_toy_model(tmp_path / "toy"))), seeds=(4, 5))
    engine = Engine(ModelStore(loader=lambda model_id, report: toy))
    expected = engine.submit(recipe.request())
    assert expected.wait(60)
    engine.close()
    traced = tmp_path / "traced.json"
    done = run_cli("run", "-", "--json", "--trace", str(traced), text=dump_yaml(recipe))
    assert done.returncode == 0
    first, second = json.loads(done.stdout)["answers"]
    assert [first["text"], second["text"]] == [row.text for row in expected.samples]
    assert (first["seed"], second["seed"]) == (4, 5)
    assert len(first["tokens"]) == 6
    assert first["finish_reason"] == "length"
    recipe = load_text(traced.read_text(encoding="utf-8"))
    assert recipe.trace is not None
    assert recipe.trace.rows[0].text == first["text"]
    assert recipe.model.revision.startswith("sha256:")
    done = run_cli("verify", str(traced))
    assert done.returncode == 0
    assert done.stdout.startswith("identical: 2 answers")
    changed = recipe.replace(sampler=SamplerConfig(temperature=3))
    traced.write_text(dump_yaml(changed), encoding="utf-8")
    done = run_cli("verify", str(traced), "--json")
    assert done.returncode == 1
    verdict = json.loads(done.stdout)
    assert (verdict["identical"], verdict["nats"] < 1e-3) == (False, True)


def test_convert(tmp_path):
    target = tmp_path / "recipe.json"
    assert run_cli("convert", "-", str(target), text=dump_yaml(RECIPE)).returncode == 0
    assert load_text(target.read_text(encoding="utf-8")) == RECIPE
    done = run_cli("convert", str(target), "-")
    assert done.stdout == dump_yaml(RECIPE)
    link = f"https://nucleus.example/?r={encode_link(RECIPE)}"
    assert run_cli("convert", link, "-").stdout == dump_yaml(RECIPE)


@pytest.mark.parametrize(
    ("arguments", "text", "code", "words"),
    [
        ((), "", 2, "usage"),
        (("run",), "", 2, "usage"),
        (("run", "/no/such/file"), "", 3, "/no/such/file cannot be read"),
        (("run", "-"), "title: [", 3, "of the recipe cannot be read"),
        (("run", "-"), "schema_version: 7", 3, "version is 7"),
        (("verify", "-"), dump_yaml(RECIPE), 3, "no recorded run"),
        (("convert", "-", "x.docx"), dump_yaml(RECIPE), 3, "'.docx'"),
        (("convert", "-", "/no/such/folder/x.yaml"), dump_yaml(RECIPE), 3, "cannot be written"),
        (("run", "-", "--trace", "/no/such/folder/x.yaml"), dump_yaml(RECIPE), 3, "cannot be written"),
    ],
)
def test_what_is_wrong_is_said(arguments, text, code, words):
    done = run_cli(*arguments, text=text)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.thorough
def test_ctrl_c_keeps_what_was_written(tmp_path):
    """On a terminal, where progress is shown."""
    file = tmp_path / "long.yaml"
    file.write_text(dump_yaml(LONG), encoding="utf-8")
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, "run", str(file)], cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = ""
    until = time.monotonic() + 240
    while " tokens" not in seen and time.monotonic() < until:
        seen += os.read(ours, 4096).decode()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    os.close(ours)
    assert process.returncode == 130
    assert output.strip()
    assert "Traceback" not in seen


def test_a_reader_that_leaves_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [*COMMAND, "convert", "-", "-"],
        cwd=ROOT,
        input=dump_yaml(RECIPE.replace(notes="x" * 20_000)).encode(),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=120,
    )
    os.close(writer)
    assert process.returncode == 141
    assert process.stderr == b""


@pytest.mark.thorough
def test_an_operator_removes_a_listed_recipe_and_brings_it_back(tmp_path, monkeypatch):
    monkeypatch.setenv("NUCLEUS_DATABASE_URL", f"sqlite:///{tmp_path}/gallery.sqlite3")
    store = RecipeStore(Database())
    rude = store.save(RECIPE.replace(title="Rude words", author="Somebody"), "one", listed=True).id
    store.save(RECIPE.replace(title="Kind words"), "two", listed=True)
    store.save(RECIPE.replace(title="Unlisted words"), "one")
    listed = run_cli("gallery", "list", "words").stdout.splitlines()
    assert {line.split("\t")[2] for line in listed} == {"Rude words", "Kind words"}
    assert [line.split("\t")[0] for line in run_cli("gallery", "list", "rude").stdout.splitlines()] == [rude]
    assert run_cli("gallery", "remove", rude).returncode == 0
    with pytest.raises(NucleusError):
        store.get(rude, "three")
    assert run_cli("gallery", "list", "rude").stdout == ""
    assert run_cli("gallery", "restore", rude).returncode == 0
    assert store.get(rude, "three").listed
    assert run_cli("gallery", "remove", "nothing").returncode == 3
