"""Ask a language model to judge the candidates, through the same queue as every request.

Where the judge's probabilities can be seen, a score is an expectation over all grades and not the one token that it
drew (G-Eval, Liu et al. 2023, arXiv 2303.16634). Judges prefer the answer that is shown first, or second, regardless of
its text (Zheng et al. 2023, arXiv 2306.05685): pairs are shown in both orders, and the preference is reported. A
candidate's text is put into the judge's prompt as text; it may still talk a judge into a high score.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import NamedTuple

from llm_core.best_of_n.criteria.base import Need, Score, make_failed_score, make_score
from llm_core.errors import NucleusError
from llm_core.experiments.candidate_pool import Candidate
from llm_core.generation.record import Run
from llm_core.generation.request import GenerationRequest, SampleRequest
from llm_core.generation.technique_run import Submit
from llm_core.prompts.extraction import Extraction
from llm_core.prompts.output_format import OutputFormat
from llm_core.prompts.spec import PromptSpec, remove_control_characters
from samplers import SamplerConfig

SCALE = ("1", "2", "3", "4", "5")
MAX_PARALLEL_REQUESTS = 32
"""Requests to the judge at the same time."""
JUDGE_TIMEOUT_SECONDS = 300.0
_MAX_OUTPUT_TOKENS = 8
"""Tokens of an answer, for a judge that cannot be constrained to the scale."""
_POLL_SECONDS = 0.05

RATING_PROMPT = PromptSpec(
    role="You grade answers.",
    context="1: wrong or no answer. 3: right, but incomplete. 5: right and complete.",
    instruction="Grade the answer from 1 to 5. Reply with the grade alone.",
    question="Question: {{question}}\nAnswer: {{answer}}",
    output=OutputFormat("choice", SCALE),
)
"""Default prompt of a pointwise judge; a replacement must have the same two variables."""
PREFERENCE_PROMPT = PromptSpec(
    role="You compare answers.",
    instruction="Which answer to the question is better, A or B? Reply with the letter alone.",
    question="Question: {{question}}\n\nAnswer A: {{first}}\n\nAnswer B: {{second}}",
    output=OutputFormat("choice", ("A", "B")),
)


class JudgeVerdict(NamedTuple):
    """Distribution of a judge over its choices."""

    probabilities: dict[str, float]
    """Probability of each choice; 1 for the one that the judge wrote if its probabilities are not known."""
    shown: float
    """Probability that the choices had together before they were normalized; 0 if not known."""


def judge_request(model_id: str, template: GenerationRequest, prompt: PromptSpec) -> GenerationRequest:
    """Return the request for one question to a judge: one token if the format can be enforced, at temperature 1 and
    without any stage, so that the probabilities are the judge's own. Session, precision and deadline are those of
    `template`."""
    row = SampleRequest(SamplerConfig(), _MAX_OUTPUT_TOKENS, keep_logits=True)
    return dataclasses.replace(template, model_id=model_id, prompt=prompt, samples=(row,))


@dataclass(frozen=True)
class PointwiseJudge:
    """Pointwise judge: grades each text by itself, on the scale of the prompt's choices, which are numbers."""

    submit: Submit
    template: GenerationRequest
    """Request to the judge: `judge_request(model, ..., RATING_PROMPT)`."""
    id: str = "autorater"
    needs: frozenset[Need] = frozenset({"judge"})
    relative: bool = False
    timeout: float | None = JUDGE_TIMEOUT_SECONDS

    def questions(self, count: int) -> int:
        """Return the largest number of questions to the judge about `count` candidates."""
        return count

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        return None if self.template.model_id.strip() else NucleusError("criterion_needs_judge")

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterator[Score]:
        texts = list(dict.fromkeys((candidate.question, candidate.text) for candidate in candidates))
        prompts = [
            self.template.prompt.expand(
                {"question": remove_control_characters(question), "answer": remove_control_characters(text)}
            )
            for question, text in texts
        ]
        verdicts = _collect_verdicts(self.submit, self.template, prompts, stop)
        known: dict[tuple[str, str], Score] = {}
        for candidate in candidates:
            place = candidate.question, candidate.text
            while place not in known:
                try:
                    verdict = next(verdicts)
                except StopIteration:
                    return
                known[texts[len(known)]] = (
                    make_failed_score(verdict) if isinstance(verdict, Exception) else _expected_score(verdict)
                )
            yield known[place]


def _expected_score(verdict: JudgeVerdict) -> Score:
    likeliest = max(verdict.probabilities, key=lambda grade: verdict.probabilities[grade])
    mean = math.fsum(float(grade) * chance for grade, chance in verdict.probabilities.items())
    chances = {f"p_{grade}": round(chance, 4) for grade, chance in verdict.probabilities.items()}
    return make_score(mean, likeliest=likeliest, shown=verdict.shown, **chances)


@dataclass(frozen=True)
class PairwiseJudge:
    """Pairwise judge: compares each text with others, in both orders. The score is the mean probability of being
    preferred, in [0, 1], so a judge's preference for a position in the prompt cancels out.

    Parts: `comparisons`; and for the whole scoring `prefers_first`, how often the judge prefers the answer shown first
    (0.5 is fair), and `consistent`, the share of pairs of which it chose the same text in both orders.
    """

    submit: Submit
    template: GenerationRequest
    """Request to the judge: `judge_request(model, ..., PREFERENCE_PROMPT)`."""
    opponents: int = 3
    """Texts after each one in a ring of all texts that it is compared with: N texts take 2 x 3 x N questions and not
    N^2."""
    id: str = "pairwise"
    needs: frozenset[Need] = frozenset({"judge"})
    relative: bool = True
    timeout: float | None = JUDGE_TIMEOUT_SECONDS

    def questions(self, count: int) -> int:
        """Return the largest number of questions to the judge about `count` candidates."""
        return 2 * len(ring_pairs(count, self.opponents))

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        return None if self.template.model_id.strip() else NucleusError("criterion_needs_judge")

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterator[Score]:
        texts = list(dict.fromkeys((candidate.question, candidate.text) for candidate in candidates))
        if len(texts) < 2:
            for _ in candidates:
                yield make_score(0.5, comparisons=0)
            return
        pairs = ring_pairs(len(texts), self.opponents)
        prompts = [self._prompt(texts, *order) for one, other in pairs for order in ((one, other), (other, one))]
        verdicts = list(_collect_verdicts(self.submit, self.template, prompts, stop))
        if len(verdicts) < len(prompts):
            return
        both = list(zip(pairs, verdicts[::2], verdicts[1::2], strict=True))
        heard = [
            (pair, one.probabilities.get("A", 0.0), other.probabilities.get("A", 0.0))
            for pair, one, other in both
            if isinstance(one, JudgeVerdict) and isinstance(other, JudgeVerdict)
        ]
        if not heard:
            raise next(verdict for verdict in verdicts if isinstance(verdict, Exception))
        wins: dict[int, list[float]] = {place: [] for place in range(len(texts))}
        for (one, other), first, turned in heard:
            preferred = (first + 1 - turned) / 2
            wins[one].append(preferred)
            wins[other].append(1 - preferred)
        parts = {
            "prefers_first": math.fsum(first + turned for _, first, turned in heard) / (2 * len(heard)),
            "consistent": sum((first > 0.5) != (turned > 0.5) for _, first, turned in heard) / len(heard),
        }
        for candidate in candidates:
            won = wins[texts.index((candidate.question, candidate.text))]
            if won:
                yield make_score(math.fsum(won) / len(won), comparisons=2 * len(won), **parts)
            else:
                yield make_failed_score(NucleusError("criterion_incomplete"))

    def _prompt(self, texts: Sequence[tuple[str, str]], one: int, other: int) -> PromptSpec:
        values = {"question": texts[one][0], "first": texts[one][1], "second": texts[other][1]}
        return self.template.prompt.expand({name: remove_control_characters(value) for name, value in values.items()})


def ring_pairs(count: int, opponents: int) -> list[tuple[int, int]]:
    """Return pairs of `count` indices, each with the `opponents` that follow it in a ring; every pair at most once."""
    pairs = {tuple(sorted((one, (one + step) % count))) for step in range(1, opponents + 1) for one in range(count)}
    return sorted((one, other) for one, other in pairs if one != other)


def _collect_verdicts(
    submit: Submit, template: GenerationRequest, prompts: Sequence[PromptSpec], stop: Event
) -> Iterator[JudgeVerdict | Exception]:
    """Yield the judge's verdicts in the order of the prompts, several of them requested at the same time. Ends early on
    `stop`; runs that nobody waits for are cancelled."""
    waiting: deque[PromptSpec] = deque(prompts)
    under_way: deque[Run] = deque()
    try:
        while waiting or under_way:
            while waiting and len(under_way) < MAX_PARALLEL_REQUESTS:
                try:
                    under_way.append(submit(dataclasses.replace(template, prompt=waiting[0])))
                except NucleusError as error:
                    if error.code != "queue_full" or not under_way:
                        raise
                    break
                waiting.popleft()
            first = under_way[0]
            while not first.wait(_POLL_SECONDS):
                if stop.is_set():
                    return
                for run in under_way:
                    run.touch()
            yield read_verdict(under_way.popleft(), template.prompt.output.choices)
    finally:
        for run in under_way:
            run.cancel()


def read_verdict(run: Run, choices: Sequence[str]) -> JudgeVerdict | NucleusError:
    """Return the verdict of the judge's first token on each choice, each of which begins with a token of its own; if
    the judge's probabilities are not seen, the choice that it wrote. An unclear answer gives a `NucleusError`."""
    [record] = run.samples
    if record.error:
        return record.error
    weights = _choice_probabilities(run, choices)
    total = math.fsum(weights.values())
    if total > 0:
        return JudgeVerdict({choice: weight / total for choice, weight in weights.items()}, total)
    said = record.text.strip()
    found = next((choice for choice in choices if said == choice), None) or Extraction("number").extract(said)
    if found not in choices:
        return NucleusError("judge_unclear", said=said[:60])
    return JudgeVerdict({choice: float(choice == found) for choice in choices}, 0.0)


def _choice_probabilities(run: Run, choices: Sequence[str]) -> Mapping[str, float]:
    """Return the judge's own probability of each choice; empty if the probabilities are not seen."""
    [record] = run.samples
    if record.first_step is not None and run.model is not None:
        probabilities = record.first_step.logits.softmax(-1)
        model = run.model
        ids = {choice: model.tokenizer.encode(choice, add_special_tokens=False) for choice in choices}
        if all(len(tokens) == 1 for tokens in ids.values()):
            return {choice: float(probabilities[tokens[0]]) for choice, tokens in ids.items()}
    weights = dict.fromkeys(choices, 0.0)
    for event in record.events():
        if event.trace is None:
            return {}
        if event.piece.strip() in choices:  # a judge may begin with a space or a line break
            for token, logprob in zip(event.trace.candidates, event.trace.raw.logprobs, strict=True):
                if (label := run.label(token).strip()) in weights:
                    weights[label] += math.exp(logprob)
            return weights
    return {}
