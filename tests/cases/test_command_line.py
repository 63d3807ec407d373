"""Command lines, terminals and pipes under which an answer is lost today. The model is a server in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_core.cli import main
from tests.support.raw_server import RawServer

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[2]
SENTENCE = "Biển rộng 🌊"


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with RawServer() as server:
        response = (DATA / "control.http").read_bytes().decode()
        server.response = response.replace("The sea is wide.", SENTENCE).encode()
        yield server


@pytest.fixture
def recipe(server, tmp_path) -> Path:
    """Return the file of a recipe in Vietnamese that one answer of `server` fulfils."""
    text = (DATA / "viet.yaml").read_text(encoding="utf-8")
    text = text.replace("id: builtin", f"id: openai:sea@{server.address}/v1").replace("[7, 8]", "[7]")
    file = tmp_path / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def run_shell(arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run `python -m llm_core` with `arguments`, which may redirect."""
    command = f"exec {sys.executable} -m llm_core {arguments}"
    return subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=os.environ | environment, capture_output=True, timeout=60
    )


def test_the_answer_arrives(recipe):
    """Without this, a fault of the harness would look like the faults below."""
    done = run_shell(f"run {recipe}", PYTHONIOENCODING="utf-8")
    assert (done.returncode, done.stdout.decode().strip()) == (0, SENTENCE)


@pytest.mark.xfail(strict=True, reason="the trace's ending is looked at after the run", raises=AssertionError)
def test_unknown_ending_of_a_trace_is_refused_before_the_run(recipe, server, tmp_path, capsys):
    before, target = server.served, tmp_path / "record.txt"
    assert main(["run", str(recipe), "--trace", str(target)]) == 3
    assert "'.txt'" in capsys.readouterr().err
    assert not target.exists()
    assert server.served == before


@pytest.mark.parametrize("arguments", ["convert {} -", "run {} --json"])
@pytest.mark.xfail(strict=True, reason="output that is not UTF-8 ends in a traceback", raises=AssertionError)
def test_output_that_is_not_utf8(recipe, arguments):
    done = run_shell(arguments.format(recipe), PYTHONIOENCODING="cp1252")
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0
    assert done.stdout


@pytest.mark.parametrize(
    ("arguments", "codes"),
    [
        pytest.param("run {} >&-", (3,), id="output closed"),
        pytest.param("run {} 2>&-", (0,), id="errors closed"),
        pytest.param("run {} > /dev/full", (3,), id="output full"),
        pytest.param("run - <&-", (3,), id="input closed"),
    ],
)
@pytest.mark.xfail(strict=True, reason="a closed or full standard stream ends in a traceback", raises=AssertionError)
def test_closed_and_full_standard_streams(recipe, arguments, codes):
    done = run_shell(arguments.format(recipe))
    assert b"Traceback" not in done.stderr
    assert done.returncode in codes
