"""Measure the accuracy of the built-in model by task and technique: greedy, float32, so every run gives the same
table."""

from __future__ import annotations

import os
import time

from llm_core import Engine, GenerationRequest, ModelStore, SampleRequest
from llm_core.analysis.significance import mcnemar, proportion
from llm_core.experiments.study import GridExperiment
from llm_core.experiments.tasks import load_task
from llm_core.models.builtin import MODEL_ID
from llm_core.prompts.spec import Technique
from samplers import SamplerConfig

TASKS = ("arithmetic", "capitals", "inference", "phrases", "sentiment", "chain_sum", "letter_counting")
TECHNIQUES: tuple[Technique, ...] = (
    "zero_shot",
    "one_shot",
    "few_shot",
    "chain_of_thought",
    "few_shot_chain_of_thought",
)
ITEMS = 40
EXAMPLES = 4
ANSWER_TOKENS, CHAIN_TOKENS = 32, 96


def measure() -> dict[str, object]:
    """Return for each task the accuracy of each technique with its 95 % interval, and the exact McNemar test of the
    best against the worst."""
    engine = Engine(ModelStore())
    names = os.environ.get("NUCLEUS_BENCH_TASKS", ",".join(TASKS)).split(",")
    results: dict[str, object] = {name: _measure_task(engine, name) for name in names}
    engine.close()
    return results


def _measure_task(engine: Engine, name: str) -> dict[str, object]:
    task = load_task(name, ITEMS, seed=1)
    examples = task.examples[:EXAMPLES]

    def request(technique: Technique, item: int) -> GenerationRequest:
        prompt = task.prompt(technique, item, examples)
        tokens = CHAIN_TOKENS if prompt.traits.reasoning else ANSWER_TOKENS
        return GenerationRequest(MODEL_ID, prompt, (SampleRequest(SamplerConfig(temperature=0), tokens),), "float32")

    study = GridExperiment(engine.submit, TECHNIQUES, len(task.items), request, task.score)
    while not study.finished:
        study.advance()
        time.sleep(0.05)
    scores = {way: [study.cells[way, item].score for item in range(study.items)] for way in TECHNIQUES}
    shares = {way: proportion(sum(each), len(each)) for way, each in scores.items()}
    best, worst = max(scores, key=lambda way: sum(scores[way])), min(scores, key=lambda way: sum(scores[way]))
    pairs = list(zip(scores[best], scores[worst], strict=True))
    return {
        "items": len(task.items),
        "percent": {way: round(100 * share.value) for way, share in shares.items()},
        "interval": {way: [round(100 * share.low), round(100 * share.high)] for way, share in shares.items()},
        "best": best,
        "worst": worst,
        "mcnemar_p": round(mcnemar(sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)), 4),
    }
