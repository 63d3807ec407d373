"""What each hosted model was found to do with each field of a request: data, filled by what comes back.

A refusal is plain. Whether a sampler setting is honoured shows only in the tokens, since many servers ignore what they
do not know: every drawn token is evidence, the logarithm of how much likelier it is with the setting than without
(Wald's sequential probability ratio test, 1945; both errors below one in a thousand).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Literal

Support = Literal["honoured", "ignored", "rejected", "untried"]

ENOUGH = 6.9
"""ln 1000."""
MOST_MODELS = 512


class Capabilities:
    """One model's. Shared by all sessions; any thread may read and write."""

    def __init__(self) -> None:
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
        return "honoured" if evidence >= ENOUGH else "ignored" if evidence <= -ENOUGH else "untried"

    def forget(self) -> None:
        """Try everything again."""
        self._refused.clear()
        self._evidence.clear()


class CapabilityTable:
    """Those of the models used last, by model id."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, Capabilities] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, model_id: str) -> Capabilities:
        with self._lock:
            found = self._models.setdefault(model_id, Capabilities())
            self._models.move_to_end(model_id)
            while len(self._models) > MOST_MODELS:
                self._models.popitem(last=False)
            return found
