"""Ask Vertex AI's evaluation service to judge: each text by itself on a scale from 1 to 5, with an explanation.

The service calls its own judge model, or a named one, several times per text and gives the mean. The SDK raises nothing
when it fails: every text then has an error in place of a score, which is converted here. Pairs are not offered there;
`llm_judge.PairwiseJudge` compares them with any configured model, Gemini on Vertex AI too.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm_core.best_of_n.criteria.base import Need, Score, failed, scored
from llm_core.errors import NucleusError
from llm_core.experiments.candidate_pool import Candidate
from llm_core.providers.google.identity import GoogleIdentity
from llm_core.providers.google.vertex_client import platform
from llm_core.providers.http import error_mapping
from llm_core.providers.http.connection import Line
from llm_core.providers.http.url_policy import Addresses

QUESTIONS: Mapping[str, str] = {
    "Correct": "What the response says is right, as far as can be told.",
    "Complete": "The response answers all that the prompt asks.",
    "To the point": "The response follows the prompt's instructions and says nothing that was not asked for.",
}
GRADES: Mapping[str, str] = {
    "1": "No answer to the prompt, or a wrong one.",
    "2": "Mostly wrong, or most of it is missing.",
    "3": "Right, but incomplete or hard to follow.",
    "4": "Right and complete, with small faults.",
    "5": "Right, complete and to the point.",
}
AT_ONCE = 10
"""Texts of one request to the SDK, which sends ten a second."""
RATING_SECONDS = 300.0
_SILENCE_SECONDS = 90.0
_POLL = 0.05
_MODEL = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)


@dataclass(frozen=True)
class VertexRating:
    """Pointwise scores from 1 to 5. Parts: `explanation`."""

    place: str
    """Place as `project/location`; calls use the server's application-default credentials."""
    judge: str = ""
    """Judge model of Vertex AI; empty for the service's own."""
    addresses: Addresses = field(default_factory=Addresses)
    base_url: str = ""
    """URL in place of the location's own."""
    id: str = "vertex_rating"
    needs: frozenset[Need] = frozenset({"judge"})
    relative: bool = False
    timeout: float | None = RATING_SECONDS
    _identity: GoogleIdentity = field(default_factory=GoogleIdentity, repr=False, compare=False)

    def questions(self, count: int) -> int:
        """Return the largest number of questions to the service about `count` candidates."""
        return count

    def unavailable(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        try:
            self.addresses.check_project(self.place)
        except NucleusError as error:
            return error
        if self.judge and (not _MODEL.fullmatch(self.judge) or ".." in self.judge):
            return NucleusError("provider_model_unnamed", model=self.judge[:100])
        return None

    def score(self, candidates: Sequence[Candidate], stop: threading.Event) -> Iterator[Score]:
        pairs = list(dict.fromkeys((candidate.question, candidate.text) for candidate in candidates))
        known: dict[tuple[str, str], Score] = {}
        for candidate in candidates:
            pair = candidate.question, candidate.text
            while pair not in known:
                batch = pairs[len(known) : len(known) + AT_ONCE]
                found = self._rated(batch, stop)
                if found is None:
                    return
                known |= zip(batch, found, strict=True)
            yield known[pair]

    def _rated(self, pairs: Sequence[tuple[str, str]], stop: threading.Event) -> list[Score] | None:
        """Return one score per pair; None if stopped. Runs on its own thread, because the SDK waits where nobody can
        wake it."""
        line = Line(self.addresses, _SILENCE_SECONDS)
        found: list[list[Score]] = []

        def work() -> None:
            try:
                found.append(list(self._evaluated(pairs, line)))
            except Exception as error:
                found.append([failed(error)] * len(pairs))

        thread = threading.Thread(target=work, name="rate answers", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_POLL)
            if stop.is_set():
                line.cut()
                return None
        return found[0]

    def _evaluated(self, pairs: Sequence[tuple[str, str]], line: Line) -> Iterable[Score]:
        """Return one score per pair. Raises `NucleusError` for a failure that concerns all of them."""
        if error := self.unavailable(()):
            raise error
        with platform(self.place, self._identity, line, self.base_url) as client:
            import pandas
            from agentplatform import types

            self._identity.token()  # without a token, the SDK would fail every text one by one
            written = [place for place, (_, text) in enumerate(pairs) if text.strip()]
            rows = [{"prompt": pairs[place][0] or "-", "response": pairs[place][1]} for place in written]
            scores = [Score(None, {}, NucleusError("provider_empty"))] * len(pairs)
            if rows:
                metric = types.LLMMetric(
                    name=self.id,
                    prompt_template=types.MetricPromptBuilder(criteria=dict(QUESTIONS), rating_scores=dict(GRADES)),
                    judge_model=self._judge_name(),
                )
                result = client.evals.evaluate(dataset=pandas.DataFrame(rows), metrics=[metric])
                for case in result.eval_case_results or ():
                    results = case.response_candidate_results or ()
                    said = (results[0].metric_results or {}).get(self.id) if results else None
                    scores[written[case.eval_case_index or 0]] = _score(said)
            return scores

    def _judge_name(self) -> str | None:
        if not self.judge or "/" in self.judge:
            return self.judge or None
        project, _, location = self.place.partition("/")
        return f"projects/{project}/locations/{location}/publishers/google/models/{self.judge}"


def _score(said: Any) -> Score:
    if said is None or (said.score is None and not said.error_message):
        return Score(None, {}, NucleusError("judge_unclear", said=str(getattr(said, "explanation", "") or "")[:60]))
    if said.error_message:
        return Score(None, {}, explained(said.error_message))
    return scored(float(said.score), **({"explanation": said.explanation} if said.explanation else {}))


def explained(message: str) -> NucleusError:
    """Return the error behind an error text, which is all that the SDK keeps: `429 STATUS. {'error': {...}}`."""
    status = re.match(r"(\d{3}) ", message)
    if not status:
        kind = re.search(r"code=(\d+)|'code': (\d+)", message)
        return NucleusError(
            "provider_stream_error", detail=error_mapping.said(message) if kind else message.split("\n")[0][:200]
        )
    said = re.search(r"'message': (['\"])(.*?)\1[,}]", message, re.DOTALL)
    body = json.dumps({"error": {"message": said[2] if said else message}})
    return error_mapping.from_response(int(status[1]), body, ()).error
