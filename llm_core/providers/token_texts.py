"""What vLLM's token ids say: its log-probabilities by id come without text, and `/detokenize` gives it, one at a time.

Looked up for the likeliest tokens of each step while an answer streams, remembered for each model, and never for
longer than `SECONDS` in one answer; what is left shows as its id. A server that does not know the path is not asked
again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

import httpx

from llm_core.providers.base import Step
from llm_core.providers.openai_wire import nameless

EACH_STEP = 20
SECONDS = 3.0
MOST_MODELS = 16
NOT_ANSWERED = -1
"""In place of an id: the server gave no text for one."""


class TokenTexts:
    """Texts by `(address, model)`. Any thread may use it: what two look up at once they both find."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], dict[int, str]] = OrderedDict()

    def reader(self, client: httpx.Client, base: str, model: str, headers: Mapping[str, str]) -> Reader:
        """For one answer."""
        known = self._known.setdefault((base, model), {})
        if len(self._known) > MOST_MODELS:
            self._known.popitem(last=False)

        def ask(token: int) -> str:
            url = f"{base.removesuffix('/v1')}/detokenize"
            answer = client.post(url, json={"model": model, "tokens": [token]}, headers=headers)
            return str(answer.raise_for_status().json()["prompt"])

        return Reader(known, ask)


class Reader:
    """Looks up what is new in each step. `known` is shared by all answers of a model."""

    def __init__(self, known: dict[int, str], ask: Callable[[int], str]) -> None:
        self._known = known
        self._ask = ask
        self._spent = 0.0

    def texts(self, steps: Iterable[Step]) -> dict[int, str]:
        """Texts of the drawn and the likeliest tokens, as far as they can be had."""
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
