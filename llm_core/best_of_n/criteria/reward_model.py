"""Score answers with a reward model: a transformer that was trained to give one number for how good an answer is.

Loaded like any other model: safetensors only, no code of its own. Both conventions in use are followed: a model with a
chat template reads the question and the answer as a chat, any other one as a pair of texts; its one logit is the score.
Tested on tiny checkpoints only: no large one can be reached where the tests run.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from llm_core.best_of_n.criteria.base import Need, Score, make_score, score_each
from llm_core.errors import NucleusError
from llm_core.experiments.candidate_pool import Candidate
from llm_core.models.language_model import check_directory, compute_device, explain_load_error, is_hub_id

_load_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class RewardModel:
    """Logit `logits[0, 0]` of a model by Hub id or local directory, which is loaded at the first use and kept."""

    source: str
    id: str = "reward_model"
    needs: frozenset[Need] = frozenset({"judge"})
    relative: bool = False
    timeout: float | None = 300.0

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        return None if self.source.strip() else NucleusError("criterion_needs_judge")

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterable[Score]:
        import torch

        with _load_lock:
            tokenizer, model = _load_model(self.source.strip())
        known: dict[tuple[str, str], float] = {}

        def one(candidate: Candidate) -> Score:
            pair = candidate.question, candidate.text
            if pair not in known:
                with torch.inference_mode():
                    known[pair] = float(model(**_tokenize(tokenizer, model, *pair)).logits[0, 0])
            return make_score(known[pair])

        return score_each(candidates, one, stop)


def _tokenize(tokenizer: Any, model: Any, question: str, answer: str) -> Any:
    longest = getattr(model.config, "max_position_embeddings", None) or 512
    options = {"return_tensors": "pt", "truncation": True, "max_length": longest}
    if tokenizer.chat_template:
        chat = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        inputs = tokenizer.apply_chat_template(chat, return_dict=True, **options)
    else:
        inputs = tokenizer(question, answer, **options)
    return inputs.to(model.device)


@functools.lru_cache(maxsize=1)
def _load_model(source: str) -> tuple[Any, Any]:
    import torch
    import transformers
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    transformers.logging.disable_progress_bar()
    path = Path(source).expanduser()
    if path.is_dir():
        check_directory(source, path)
    elif path.is_absolute() or not is_hub_id(source):
        raise NucleusError("model_not_found", model=source, detail="no such directory")
    options: dict[str, Any] = {"trust_remote_code": False}
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            path if path.is_dir() else source,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
        tokenizer = AutoTokenizer.from_pretrained(path if path.is_dir() else source, **options)
    except Exception as error:  # transformers, safetensors and the Hub client each raise their own types
        raise explain_load_error(source, error) from error
    if model.config.num_labels != 1 or found["missing_keys"]:
        raise NucleusError("reward_model_unfit", model=source, outputs=model.config.num_labels)
    return tokenizer, model.eval().to(compute_device())
