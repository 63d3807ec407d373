"""Load a causal language model with its tokenizer in float32 (the exact mode), ready to generate."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_core.errors import NucleusError
from llm_core.models import builtin
from llm_core.models.grammar_vocabulary import read_vocabulary
from llm_core.models.progress import Progress, ReportProgress

if TYPE_CHECKING:
    from llguidance import LLTokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_CODE_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
_DEFAULT_CONTEXT_WINDOW = 2048
_LOADING = threading.Lock()
"""Held while a model is made from files of this machine. transformers changes torch's own functions meanwhile, and two
that overlap put back each other's changes: every later load in the process then fails."""


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """Model and tokenizer, shared by every session, so nothing here changes after loading; caches belong to the
    engine's batches."""

    id: str
    """`builtin`, a Hub id or a local directory: the argument of `load`."""
    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @functools.cached_property
    def context_window(self) -> int:
        """Largest number of tokens, prompt and answer together, that the model attends to."""
        config = self.model.config
        for field in ("max_position_embeddings", "n_positions", "max_seq_len"):
            if isinstance(size := getattr(config, field, None), int):
                return size
        return _DEFAULT_CONTEXT_WINDOW

    @functools.cached_property
    def vocab_size(self) -> int:
        return self.model.get_output_embeddings().weight.shape[0]

    @functools.cached_property
    def end_ids(self) -> frozenset[int]:
        """Ids of the tokens that end an answer."""
        ids = self.model.generation_config.eos_token_id
        ids = self.tokenizer.eos_token_id if ids is None else ids
        return frozenset() if ids is None else frozenset([ids] if isinstance(ids, int) else ids)

    @functools.cached_property
    def vocabulary(self) -> LLTokenizer:
        """Vocabulary that constraints read. Raises `ValueError` for a tokenizer that llguidance cannot read."""
        return read_vocabulary(self.tokenizer, self.vocab_size, self.end_ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the tokens as text, without special ones."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def label(self, token_id: int) -> str:
        """Return one token as text; a token that holds a part of a character shows its bytes, as in `<E1 BA>`."""
        text = str(self.tokenizer.decode([token_id]))
        if "\ufffd" not in text:
            return text
        piece = str(self.tokenizer.convert_ids_to_tokens(token_id) or "")
        codes = [_BYTE_BY_CHARACTER.get(character) for character in piece]
        if not codes or None in codes:
            return piece or f"<{token_id}>"
        return "<" + " ".join(f"{code:02X}" for code in codes) + ">"


def load(model_id: str, report: ReportProgress) -> LanguageModel:
    """Load `builtin`, a Hub id or a local directory; only safetensors weights, and never code that comes with a model.

    Raises `NucleusError` with a `model_*` or `builtin_*` code, or `device_unavailable`.
    """
    report(Progress("starting"))
    import transformers

    transformers.logging.disable_progress_bar()
    if model_id == builtin.MODEL_ID:
        directory = builtin.ensure_builtin_model(report)
        report(Progress("loading"))
        return _from_pretrained(model_id, builtin.NAME, directory)
    path = Path(model_id).expanduser()
    if path.is_dir():
        check_directory(model_id, path)
        report(Progress("loading"))
        return _from_pretrained(model_id, path.name, path)
    if path.is_absolute() or not is_hub_id(model_id):
        raise NucleusError("model_not_found", model=model_id, detail="no such directory")
    report(Progress("downloading"))
    return _from_pretrained(model_id, model_id.rsplit("/", 1)[-1], model_id)


def _from_pretrained(model_id: str, name: str, source: Path | str) -> LanguageModel:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any] = {"trust_remote_code": False}
    one_at_a_time = _LOADING if isinstance(source, Path) else contextlib.nullcontext()  # a download may take for ever
    try:
        with one_at_a_time:
            model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, use_safetensors=True, **options)
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except Exception as error:  # transformers, safetensors and the Hub client each raise their own types
        raise explain_load_error(model_id, error) from error
    model.eval()
    device = compute_device()
    try:
        torch.nn.Module.to(model, device)
    except Exception as error:  # each kind of accelerator raises its own types
        first_line = str(error).strip().split("\n")[0][:200]
        raise NucleusError("device_unavailable", device=device, detail=first_line) from error
    return LanguageModel(id=model_id, name=name, model=model, tokenizer=tokenizer)


def compute_device() -> str:
    """Return the device of models: `NUCLEUS_DEVICE`, or else the accelerator that torch finds, or else the CPU."""
    import torch

    if wanted := os.environ.get("NUCLEUS_DEVICE"):
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def explain_load_error(model_id: str, error: Exception) -> NucleusError:
    """Return the error that tells a user why a model did not load."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    hub_errors = HfHubHTTPError, LocalEntryNotFoundError
    text = str(error).strip()
    first_line = text.splitlines()[0][:200] if text else type(error).__name__
    if "trust_remote_code" in text:
        return NucleusError("model_needs_code", model=model_id)
    if "Unrecognized configuration class" in text or "Unrecognized model" in text or "does not recognize" in text:
        return NucleusError("model_unsupported", model=model_id, detail=first_line)
    if "safetensors" in text and "no file named" in text:
        return NucleusError("model_not_safetensors", model=model_id)
    if isinstance(error, hub_errors) or "is not a valid model identifier" in text or "couldn't connect" in text:
        return NucleusError("model_not_found", model=model_id, detail=first_line)
    return NucleusError("model_damaged", model=model_id, detail=first_line)


def check_directory(model_id: str, path: Path) -> None:
    """Raise `NucleusError` unless the directory has safetensors weights and a `config.json`."""
    if any(path.glob("*.safetensors")) and (path / "config.json").exists():
        return
    if any(True for pattern in _CODE_WEIGHTS for _ in path.glob(pattern)):
        raise NucleusError("model_not_safetensors", model=model_id)
    raise NucleusError("model_no_weights", model=model_id)


def is_hub_id(model_id: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(model_id)
    except HFValidationError:
        return False
    return True


def _make_byte_table() -> dict[str, int]:
    """Return GPT-2's byte-level alphabet: printable bytes stand for themselves, others for characters from U+0100."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in printable)
    return table | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTE_BY_CHARACTER = _make_byte_table()
