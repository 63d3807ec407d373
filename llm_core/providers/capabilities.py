"""What each hosted model was found to do with each field of a request: data, filled by what comes back.

A refusal is plain. Whether a sampler setting is honoured shows only in the tokens, since many servers ignore what they
do not know: every drawn token is evidence, the logarithm of how much likelier it is with the setting than without
(Wald's sequential probability ratio test, 1945; both errors below one in a thousand). That takes log-probabilities.
Where a model gives none, `capabilities.json` has what its maker says that it ignores.
"""

from __future__ import annotations

import functools
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from llm_core.providers.base import Target

Support = Literal["honoured", "ignored", "rejected", "untried"]

ENOUGH = 6.9
"""ln 1000."""
MOST_MODELS = 512


class Capabilities:
    """One model's. Shared by all sessions; any thread may read and write."""

    def __init__(self, documented: frozenset[str] = frozenset()) -> None:
        self.documented = documented
        """Fields that the model ignores, as its maker says."""
        self._refused: dict[str, str] = {}
        self._evidence: dict[str, float] = {}

    @property
    def refused(self) -> frozenset[str]:
        """Wire names of fields that the model has refused."""
        return frozenset(self._refused)

    @property
    def reasons(self) -> Mapping[str, str]:
        """What the provider said, by wire name."""
        return dict(self._refused)

    def refuse(self, name: str, reason: str) -> None:
        self._refused[name] = reason

    def observe(self, field: str, evidence: float) -> None:
        """Add evidence, in nats, that a field does what it says; negative where it does not."""
        found = self._evidence.get(field, 0.0) + evidence
        self._evidence[field] = max(-3 * ENOUGH, min(3 * ENOUGH, found))

    def support(self, field: str, wire_names: Iterable[str]) -> Support:
        """What is known of one field, which these wire names carry: none of them, and it cannot be sent."""
        if all(name in self._refused for name in wire_names):
            return "rejected"
        evidence = self._evidence.get(field, 0.0)
        if evidence >= ENOUGH:
            return "honoured"
        return "ignored" if evidence <= -ENOUGH or field in self.documented else "untried"

    def forget(self) -> None:
        """Try everything again."""
        self._refused.clear()
        self._evidence.clear()


class CapabilityTable:
    """Those of the models used last."""

    def __init__(self) -> None:
        self._models: OrderedDict[Target, Capabilities] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, target: Target) -> Capabilities:
        with self._lock:
            found = self._models.get(target) or self._models.setdefault(target, Capabilities(_documented(target)))
            self._models.move_to_end(target)
            while len(self._models) > MOST_MODELS:
                self._models.popitem(last=False)
            return found


def _documented(target: Target) -> frozenset[str]:
    found: set[str] = set()
    for entry in _facts()["ignored"]:
        named = any(target.name == name or target.name.startswith(f"{name}-") for name in entry["names"])
        if named and target.scheme in entry["schemes"]:
            found |= set(entry["fields"])
    return frozenset(found)


@functools.cache
def _facts() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("capabilities.json").read_text(encoding="utf-8"))
