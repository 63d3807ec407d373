"""Measure best of 16, 64 tokens each, with every built-in criterion that needs no other model's answer, beside 16 calls
of transformers' `generate` (float32) and the same scoring; and the effect of best-of-N on the answers of two tasks.

Sides alternate within a round; a ratio is the median over the rounds of the ratio within a round. `generate` keeps its
logits, from which its log-probabilities and self-certainty are computed. `NUCLEUS_BENCH_PARTS` chooses among `speed`,
`judges` and `tasks`.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Sequence
from importlib.metadata import version
from statistics import median

import torch

from benchmarks.samplers import median_ratio
from llm_core import Engine, GenerationRequest, ModelStore, PromptSpec, SampleRequest
from llm_core.analysis.significance import mcnemar
from llm_core.best_of_n.criteria import (
    PREFERENCE_PROMPT,
    RATING_PROMPT,
    Consensus,
    Criterion,
    ExactMatch,
    Likelihood,
    MajorityVote,
    NumericMatch,
    PairwiseJudge,
    PatternMatch,
    PointwiseJudge,
    SchemaMatch,
    SelfCertainty,
    Sentiment,
    TaskVerifier,
    judge_request,
)
from llm_core.best_of_n.scoring import CandidateScorer
from llm_core.best_of_n.study import BestOfNStudy
from llm_core.decoding.precision import Precision
from llm_core.decoding.thread_tuning import default_thread_count
from llm_core.experiments.candidate_pool import Candidate, CandidatePool
from llm_core.experiments.tasks import load_task
from llm_core.models.builtin import MODEL_ID
from llm_core.models.language_model import LanguageModel
from llm_core.prompts.rendering import render
from samplers import SamplerConfig
from samplers.trace import uniform_kl

N, TOKENS = 16, 64
ROUNDS = int(os.environ.get("NUCLEUS_BENCH_ROUNDS", "3"))
TASKS = (("gcd", 20, 0.8), ("letter_counting", 12, 1.0))
"""Task, items and temperature."""
ANSWER_TOKENS = 16
PRECISION: Precision = "int4"
"""Precision of the tasks: their answers are a token or two, and the machine may be small."""
SIZES = (1, 2, 4, 8, 16)


def make_criteria() -> list[Criterion]:
    """Return all criteria except those that ask or load another model to judge."""
    return [
        Likelihood("sum"),
        Likelihood("mean"),
        SelfCertainty(),
        MajorityVote("mathematics"),
        ExactMatch(("1/2",), "mathematics"),
        NumericMatch(0.5),
        PatternMatch(r"\bsea\b"),
        SchemaMatch({"type": "object"}),
        TaskVerifier(load_task("chain_sum", 1), 0),
        Consensus(),
        Sentiment(),
    ]


def measure() -> dict[str, object]:
    """Return ratios of seconds, `generate` / ours, so 6 is six times as fast, and the share of our time that is
    scoring."""
    engine = Engine(ModelStore())
    parts = os.environ.get("NUCLEUS_BENCH_PARTS", "speed,judges,tasks").split(",")
    results: dict[str, object] = {"transformers": version("transformers"), "threads": default_thread_count()}
    measured = {"speed": _measure_speed, "judges": _measure_judges, "tasks": _measure_tasks}
    results |= {part: measured[part](engine) for part in parts}
    engine.close()
    return results


def _measure_speed(engine: Engine) -> dict[str, object]:
    fresh = itertools.count()
    scoring: dict[str, list[float]] = {"float32": [], "auto": [], "generate": []}
    times: dict[str, list[float]] = {side: [] for side in scoring}
    by_criterion: dict[str, list[float]] = {}

    def ours(precision: Precision, n: int) -> LanguageModel:
        judging = CandidateScorer(_make_pool(engine, precision, _make_question(next(fresh)), n), make_criteria())
        assert judging.pool.wait(900)
        began = time.perf_counter()
        assert judging.wait(120)
        scoring[precision].append(time.perf_counter() - began)
        for criterion in judging.criteria:
            by_criterion.setdefault(criterion.id, []).append(judging.seconds(criterion.id))
        model = judging.pool.runs[0].model
        assert model is not None
        return model

    def generate(n: int) -> None:
        torch.set_num_threads(default_thread_count())
        text = render(PromptSpec(_make_question(next(fresh))), model).text
        candidates = [_generate_candidate(model, text, seed) for seed in range(n)]
        began = time.perf_counter()
        for criterion in make_criteria():
            assert len(list(criterion.score(candidates, threading.Event()))) == n
        scoring["generate"].append(time.perf_counter() - began)

    def theirs(n: int) -> None:
        """Generate in a thread that ends: OpenMP's helpers of a thread that stays would slow down those of the
        engine's."""
        side = threading.Thread(target=generate, args=(n,))
        side.start()
        side.join()

    model = ours("float32", 1)
    vars(model)["end_ids"] = frozenset()  # nobody's answer ends early
    sides = {"float32": lambda n: ours("float32", n), "auto": lambda n: ours("auto", n), "generate": theirs}
    for side in sides.values():
        side(1)  # everything is loaded
    for seconds in (*scoring.values(), *by_criterion.values()):
        seconds.clear()
    for _ in range(ROUNDS):
        for name, side in sides.items():
            began = time.perf_counter()
            side(N)
            times[name].append(time.perf_counter() - began)
            print(f"{name}: {times[name][-1]:.1f} s", file=sys.stderr)
    return {
        "rounds": ROUNDS,
        "times_as_fast": {name: median_ratio(times["generate"], times[name]) for name in ("float32", "auto")},
        "seconds": {name: round(median(each), 2) for name, each in times.items()},
        "scoring_seconds": {name: round(median(each), 3) for name, each in scoring.items()},
        "scoring_share": {name: median_ratio(scoring[name], times[name]) for name in times},
        "criterion_seconds": {name: round(median(each), 3) for name, each in by_criterion.items()},
    }


def _make_question(number: int) -> str:
    """Return a prompt that was never read before, so that no side's cache holds it."""
    return f"Describe sea number {number} in a few sentences."


def _make_pool(engine: Engine, precision: Precision, text: str, n: int) -> CandidatePool:
    row = SampleRequest(SamplerConfig(temperature=0.8), TOKENS)
    return CandidatePool(engine.submit, GenerationRequest(MODEL_ID, PromptSpec(text), (row,), precision), n)


@torch.inference_mode()
def _generate_candidate(model: LanguageModel, text: str, seed: int) -> Candidate:
    ids = torch.tensor([model.tokenizer(text, add_special_tokens=False)["input_ids"]])
    torch.manual_seed(seed)
    output = model.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        temperature=0.8,
        top_k=0,
        max_new_tokens=TOKENS,
        min_new_tokens=TOKENS,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    logits, written = torch.cat(output.logits), output.sequences[0, ids.shape[1] :]
    normaliser = logits.logsumexp(-1)
    logprobs = logits.gather(-1, written[:, None]).squeeze(-1) - normaliser
    said = model.decode(written.tolist())
    certainties = tuple(uniform_kl(logits, normaliser).tolist())
    return Candidate(seed, seed, said, said, tuple(logprobs.tolist()), certainties, tokens=len(written))


def _measure_judges(engine: Engine) -> dict[str, object]:
    """Measure the built-in model as a judge of its own candidates, in seconds and judgements: once, after a warm-up."""
    pool = _make_pool(engine, "auto", "Describe the sea in a few sentences.", N)
    pool.wait()
    ask = {
        "autorater": PointwiseJudge(engine.submit, judge_request(MODEL_ID, pool.template, RATING_PROMPT)),
        "pairwise": PairwiseJudge(engine.submit, judge_request(MODEL_ID, pool.template, PREFERENCE_PROMPT)),
    }
    judging = CandidateScorer(pool, list(ask.values()))
    assert judging.wait(600)
    parts = judging.scores("pairwise")[0].parts
    return {
        "candidates_seconds": round(pool.seconds, 2),
        "seconds": {name: round(judging.seconds(name), 2) for name in ask},
        "prefers_first": round(float(parts["prefers_first"]), 3),
        "consistent": round(float(parts["consistent"]), 3),
        "agreement": judging.agreement(),
    }


def _measure_tasks(engine: Engine) -> dict[str, object]:
    return {task[0]: _measure_task(engine, *task) for task in TASKS}


def _measure_task(engine: Engine, name: str, items: int, temperature: float) -> dict[str, object]:
    task = load_task(name, items)

    def request(item: int) -> GenerationRequest:
        prompt = task.prompt("few_shot", item, task.examples[:4])
        return GenerationRequest(
            MODEL_ID, prompt, (SampleRequest(SamplerConfig(temperature=temperature), ANSWER_TOKENS),), PRECISION
        )

    def judges(item: int) -> Sequence[Criterion]:
        return [TaskVerifier(task, item), Likelihood("sum"), Likelihood("mean"), SelfCertainty()]

    study = BestOfNStudy(engine.submit, len(task.items), request, task.score, N, judges, timeout=60)
    while not study.finished:
        study.advance()
        print(f"\r{name}: {len(study.results)} of {study.items}", end="", file=sys.stderr)
        time.sleep(0.2)
    solved = [(max(each.worths, default=0.0), each.greedy) for each in study.results.values()]
    return {
        "items": len(task.items),
        "percent": {way: [round(100 * study.accuracy(way, n).value) for n in SIZES] for way in study.strategies},
        "interval_at_16": {way: [round(100 * edge) for edge in study.accuracy(way, N)[1:]] for way in study.strategies},
        "proxy": {way: [round(study.expected_score(way, n) or 0.0, 3) for n in SIZES] for way in study.strategies[3:]},
        "verifier_against_greedy_p": mcnemar(sum(a > b for a, b in solved), sum(a < b for a, b in solved)),
        "tokens_an_item": {"greedy": study.cost("greedy", 1).tokens, "16": study.cost("verifier", N).tokens},
        "seconds_an_item": {
            "greedy": round(study.cost("greedy", 1).seconds, 2),
            "16": round(study.cost("verifier", N).seconds, 2),
        },
    }
