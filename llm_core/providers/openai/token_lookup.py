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

from llm_core.providers.openai.wire import placeholder_text
from llm_core.providers.provider import TokenLogprobs

MAX_TOKENS_PER_STEP = 20
MAX_SECONDS_PER_ANSWER = 3.0
MAX_MODELS = 16
UNAVAILABLE = -1
"""Key in place of an id: the server gave no text for a token."""


class TokenTextCache:
    """Cache of token texts by `(address, model)`. Any thread may use it: two that look up the same token both send a
    request."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], dict[int, str]] = OrderedDict()

    def make_reader(
        self, client: httpx.Client, base_url: str, model: str, headers: Mapping[str, str]
    ) -> TokenTextReader:
        """Return a reader for one answer."""
        known = self._known.setdefault((base_url, model), {})
        if len(self._known) > MAX_MODELS:
            self._known.popitem(last=False)

        def ask(token: int) -> str:
            url = f"{base_url.removesuffix('/v1')}/detokenize"
            answer = client.post(url, json={"model": model, "tokens": [token]}, headers=headers)
            return str(answer.raise_for_status().json()["prompt"])

        return TokenTextReader(known, ask)


class TokenTextReader:
    """Look up the new tokens of each step. `known` is shared by all answers of a model."""

    def __init__(self, known: dict[int, str], fetch_text: Callable[[int], str]) -> None:
        self._known = known
        self._fetch_text = fetch_text
        self._spent = 0.0

    def look_up(self, steps: Iterable[TokenLogprobs]) -> dict[int, str]:
        """Return the texts of the drawn and the most likely tokens by id, as far as the server gives them in time."""
        found: dict[int, str] = {}
        for step in steps:
            likeliest = sorted(step.likeliest, key=lambda scored: -scored.logprob)[:MAX_TOKENS_PER_STEP]
            for scored in (step.chosen, *likeliest):
                token = scored.token_id
                if token is None or scored.text != placeholder_text(token):
                    continue
                if (text := self._find_text(token)) is not None:
                    found[token] = text
        return found

    def _find_text(self, token: int) -> str | None:
        if token not in self._known and UNAVAILABLE not in self._known and self._spent < MAX_SECONDS_PER_ANSWER:
            began = time.monotonic()
            try:
                self._known[token] = self._fetch_text(token)
            except (httpx.HTTPError, ValueError, KeyError, TypeError):
                self._known[UNAVAILABLE] = ""
            self._spent += time.monotonic() - began
        return self._known.get(token)
