"""Loading local directories: what works, and a clear refusal for everything else."""

from __future__ import annotations

import json
import socket

import pytest
import torch

from llm_core import NucleusError
from llm_core.models.language_model import load
from tests.support.toy_model import save_toy_model, toy_model


def refusal_code(model_id) -> NucleusError:
    with pytest.raises(NucleusError) as caught:
        load(str(model_id), lambda progress: None)
    return caught.value


def test_a_local_directory_gives_the_same_model(tmp_path):
    stages = []
    model = load(str(save_toy_model(tmp_path / "toy")), lambda progress: stages.append(progress.stage))
    assert model.name == "toy"
    assert stages == ["starting", "loading"]
    assert model.context_window == toy_model().context_window
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        assert torch.equal(model.model(ids).logits, toy_model().model(ids).logits)


def test_a_directory_without_weights(tmp_path):
    save_toy_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    error = refusal_code(tmp_path)
    assert error.code == "model_no_weights"
    assert str(tmp_path) in str(error)


def test_an_empty_directory(tmp_path):
    assert refusal_code(tmp_path).code == "model_no_weights"


def test_pickled_weights_are_never_opened(tmp_path):
    save_toy_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    assert refusal_code(tmp_path).code == "model_not_safetensors"


def test_cut_off_weights(tmp_path):
    save_toy_model(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert refusal_code(tmp_path).code == "model_damaged"


def test_a_damaged_configuration(tmp_path):
    save_toy_model(tmp_path)
    (tmp_path / "config.json").write_text("{not json")
    assert refusal_code(tmp_path).code == "model_damaged"


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    save_toy_model(tmp_path)
    witness = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(witness)!r}, 'w').close()\n")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert refusal_code(tmp_path).code == "model_needs_code"
    assert not witness.exists()


def test_a_model_that_does_not_write_text(tmp_path):
    save_toy_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps(
            {"model_type": "vit", "architectures": ["ViTModel"]} | {"torch_dtype": config.get("dtype", "float32")}
        )
    )
    assert refusal_code(tmp_path).code == "model_unsupported"


@pytest.mark.parametrize("name", ["/no/such/place", "two words", "../../etc/passwd", "a/b/c"])
def test_neither_a_directory_nor_a_hub_id(name):
    error = refusal_code(name)
    assert error.code == "model_not_found"
    assert name in str(error)


@pytest.mark.thorough
def test_a_hub_that_does_not_answer(monkeypatch):
    def no_network(*_args, **_options):
        raise socket.gaierror("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    assert refusal_code("nobody/nothing-of-this-name").code == "model_not_found"


def test_a_device_that_is_not_there_is_named(tmp_path, monkeypatch):
    save_toy_model(tmp_path)
    monkeypatch.setenv("NUCLEUS_DEVICE", "cuda:77")
    with pytest.raises(NucleusError) as caught:
        load(str(tmp_path), lambda progress: None)
    assert caught.value.code == "device_unavailable"
    assert "cuda:77" in str(caught.value)
    monkeypatch.setenv("NUCLEUS_DEVICE", "cpu")
    assert load(str(tmp_path), lambda progress: None).model.device.type == "cpu"
