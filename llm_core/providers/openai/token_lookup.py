"""Look up the texts of vLLM's token ids: log-probabilities by id come without text, `/detokenize` gives one at a time.

Looked up for the most likely tokens of each step while an answer streams, cached for each model, and for at most
`MAX_SECONDS_PER_ANSWER` in one answer; other tokens show as their id. A server that does not know the path is not asked
again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

import httpx

from llm_core.providers.openai.wire import nameless
from llm_core.providers.provider import Step

EACH_STEP = 20
SECONDS = 3.0
MOST_MODELS = 16
NOT_ANSWERED = -1
"""Key in place of an id: the server gave no text for a token."""


class TokenTexts:
    """Cache of token texts by `(address, model)`. Any thread may use it: two that look up the same token both send a
    request."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], dict[int, str]] = OrderedDict()

    def reader(self, client: httpx.Client, base: str, model: str, headers: Mapping[str, str]) -> Reader:
        """Return a reader for one answer."""
        known = self._known.setdefault((base, model), {})
        if len(self._known) > MOST_MODELS:
            self._known.popitem(last=False)

        def ask(token: int) -> str:
            url = f"{base.removesuffix('/v1')}/detokenize"
            answer = client.post(url, json={"model": model, "tokens": [token]}, headers=headers)
            return str(answer.raise_for_status().json()["prompt"])

        return Reader(known, ask)


class Reader:
    """Look up the new tokens of each step. `known` is shared by all answers of a model."""

    def __init__(self, known: dict[int, str], ask: Callable[[int], str]) -> None:
        self._known = known
        self._ask = ask
        self._spent = 0.0

    def texts(self, steps: Iterable[Step]) -> dict[int, str]:
        """Return the texts of the drawn and the most likely tokens by id, as far as the server gives them in time."""
        found: dict[int, str] = {}
        for step in steps:
            likeliest = sorted(step.likeliest, key=lambda scored: -scored.logprob)[:EACH_STEP]
            for scored in (step.chosen, *likeliest):
                token = scored.token_id
                if token is None or scored.text != nameless(token):
                    continue
                if (text := self._text(token)) is not None:
                    found[token] = text
        return found

    def _text(self, token: int) -> str | None:
        if token not in self._known and NOT_ANSWERED not in self._known and self._spent < SECONDS:
            began = time.monotonic()
            try:
                self._known[token] = self._ask(token)
            except (httpx.HTTPError, ValueError, KeyError, TypeError):
                self._known[NOT_ANSWERED] = ""
            self._spent += time.monotonic() - began
        return self._known.get(token)
