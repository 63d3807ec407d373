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

from llm_core.best_of_n.criteria.base import Need, Score, make_failed_score, make_score
from llm_core.errors import NucleusError
from llm_core.experiments.candidate_pool import Candidate
from llm_core.providers.google.identity import GoogleIdentity
from llm_core.providers.google.vertex_client import open_vertex_client
from llm_core.providers.http import error_mapping
from llm_core.providers.http.connection import Connection
from llm_core.providers.http.url_policy import UrlPolicy

RATING_CRITERIA: Mapping[str, str] = {
    "Correct": "What the response says is right, as far as can be told.",
    "Complete": "The response answers all that the prompt asks.",
    "To the point": "The response follows the prompt's instructions and says nothing that was not asked for.",
}
RATING_SCORES: Mapping[str, str] = {
    "1": "No answer to the prompt, or a wrong one.",
    "2": "Mostly wrong, or most of it is missing.",
    "3": "Right, but incomplete or hard to follow.",
    "4": "Right and complete, with small faults.",
    "5": "Right, complete and to the point.",
}
BATCH_SIZE = 10
"""Texts of one request to the SDK, which sends ten a second."""
RATING_TIMEOUT_SECONDS = 300.0
_READ_TIMEOUT_SECONDS = 90.0
_POLL_SECONDS = 0.05
_MODEL_NAME = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)


@dataclass(frozen=True)
class VertexJudge:
    """Pointwise scores from 1 to 5. Parts: `explanation`."""

    place: str
    """Place as `project/location`; calls use the server's application-default credentials."""
    judge: str = ""
    """Judge model of Vertex AI; empty for the service's own."""
    url_policy: UrlPolicy = field(default_factory=UrlPolicy)
    base_url: str = ""
    """URL in place of the location's own."""
    id: str = "vertex_rating"
    needs: frozenset[Need] = frozenset({"judge"})
    relative: bool = False
    timeout: float | None = RATING_TIMEOUT_SECONDS
    _identity: GoogleIdentity = field(default_factory=GoogleIdentity, repr=False, compare=False)

    def questions(self, count: int) -> int:
        """Return the largest number of questions to the service about `count` candidates."""
        return count

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        try:
            self.url_policy.check_project(self.place)
        except NucleusError as error:
            return error
        if self.judge and (not _MODEL_NAME.fullmatch(self.judge) or ".." in self.judge):
            return NucleusError("provider_model_unnamed", model=self.judge[:100])
        return None

    def score(self, candidates: Sequence[Candidate], stop: threading.Event) -> Iterator[Score]:
        pairs = list(dict.fromkeys((candidate.question, candidate.text) for candidate in candidates))
        known: dict[tuple[str, str], Score] = {}
        for candidate in candidates:
            pair = candidate.question, candidate.text
            while pair not in known:
                batch = pairs[len(known) : len(known) + BATCH_SIZE]
                found = self._rate(batch, stop)
                if found is None:
                    return
                known |= zip(batch, found, strict=True)
            yield known[pair]

    def _rate(self, pairs: Sequence[tuple[str, str]], stop: threading.Event) -> list[Score] | None:
        """Return one score per pair; None if stopped. Runs on its own thread, because the SDK waits where nobody can
        wake it."""
        line = Connection(self.url_policy, _READ_TIMEOUT_SECONDS)
        found: list[list[Score]] = []

        def work() -> None:
            try:
                found.append(list(self._evaluate(pairs, line)))
            except Exception as error:
                found.append([make_failed_score(error)] * len(pairs))

        thread = threading.Thread(target=work, name="rate answers", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
            if stop.is_set():
                line.cancel()
                return None
        return found[0]

    def _evaluate(self, pairs: Sequence[tuple[str, str]], connection: Connection) -> Iterable[Score]:
        """Return one score per pair. Raises `NucleusError` for a failure that concerns all of them."""
        if error := self.unavailable_reason(()):
            raise error
        with open_vertex_client(self.place, self._identity, connection, self.base_url) as client:
            import pandas
            from agentplatform import types

            self._identity.token()  # without a token, the SDK would fail every text one by one
            written = [place for place, (_, text) in enumerate(pairs) if text.strip()]
            rows = [{"prompt": pairs[place][0] or "-", "response": pairs[place][1]} for place in written]
            scores = [Score(None, {}, NucleusError("provider_empty"))] * len(pairs)
            if rows:
                metric = types.LLMMetric(
                    name=self.id,
                    prompt_template=types.MetricPromptBuilder(
                        criteria=dict(RATING_CRITERIA), rating_scores=dict(RATING_SCORES)
                    ),
                    judge_model=self._judge_name(),
                )
                result = client.evals.evaluate(dataset=pandas.DataFrame(rows), metrics=[metric])
                for case in result.eval_case_results or ():
                    results = case.response_candidate_results or ()
                    said = (results[0].metric_results or {}).get(self.id) if results else None
                    scores[written[case.eval_case_index or 0]] = _parse_score(said)
            return scores

    def _judge_name(self) -> str | None:
        if not self.judge or "/" in self.judge:
            return self.judge or None
        project, _, location = self.place.partition("/")
        return f"projects/{project}/locations/{location}/publishers/google/models/{self.judge}"


def _parse_score(result: Any) -> Score:
    if result is None or (result.score is None and not result.error_message):
        return Score(None, {}, NucleusError("judge_unclear", said=str(getattr(result, "explanation", "") or "")[:60]))
    if result.error_message:
        return Score(None, {}, error_from_message(result.error_message))
    return make_score(float(result.score), **({"explanation": result.explanation} if result.explanation else {}))


def error_from_message(message: str) -> NucleusError:
    """Return the error behind an error text, which is all that the SDK keeps: `429 STATUS. {'error': {...}}`."""
    status = re.match(r"(\d{3}) ", message)
    if not status:
        kind = re.search(r"code=(\d+)|'code': (\d+)", message)
        return NucleusError(
            "provider_stream_error",
            detail=error_mapping.error_message_from_body(message) if kind else message.split("\n")[0][:200],
        )
    said = re.search(r"'message': (['\"])(.*?)\1[,}]", message, re.DOTALL)
    body = json.dumps({"error": {"message": said[2] if said else message}})
    return error_mapping.failure_from_response(int(status[1]), body, ()).error
