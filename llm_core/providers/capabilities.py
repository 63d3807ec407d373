"""Record what each hosted model does with each field of a request, from what comes back.

A refusal is plain. Whether a sampler setting is honoured shows only in the tokens, since many servers ignore fields
that they do not know. Every drawn token is evidence: the logarithm of how much likelier it is with the setting than
without (Wald's sequential probability ratio test, 1945; both error probabilities below one in a thousand). That needs
log-probabilities. For models that give none, `capabilities.json` lists the fields that their makers say are ignored.
"""

from __future__ import annotations

import functools
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from llm_core.providers.model_id import Target

Support = Literal["honoured", "ignored", "rejected", "untried"]

EVIDENCE_THRESHOLD = 6.9
"""Evidence in nats at which a field counts as honoured, or negated as ignored: ln 1000."""
MAX_MODELS = 512


class Capabilities:
    """Findings about one model. Shared by all sessions; any thread may read and write."""

    def __init__(self, documented_ignored: frozenset[str] = frozenset()) -> None:
        self.documented_ignored = documented_ignored
        """Fields that the model ignores, according to its maker."""
        self._refused: dict[str, str] = {}
        self._evidence: dict[str, float] = {}

    @property
    def refused(self) -> frozenset[str]:
        """Wire names of fields that the model has refused."""
        return frozenset(self._refused)

    @property
    def reasons(self) -> Mapping[str, str]:
        """The provider's words about each refused field, by wire name."""
        return dict(self._refused)

    def record_refusal(self, name: str, reason: str) -> None:
        """Record that the model refused a field, by wire name."""
        self._refused[name] = reason

    def add_evidence(self, field: str, evidence: float) -> None:
        """Add evidence, in nats, that a field has its effect; negative evidence says that it has none."""
        found = self._evidence.get(field, 0.0) + evidence
        self._evidence[field] = max(-3 * EVIDENCE_THRESHOLD, min(3 * EVIDENCE_THRESHOLD, found))

    def support(self, field: str, wire_names: Iterable[str]) -> Support:
        """Return the state of one field, given the wire names that carry it. A field is rejected if all of its names
        were refused, so also if it has none."""
        if all(name in self._refused for name in wire_names):
            return "rejected"
        evidence = self._evidence.get(field, 0.0)
        if evidence >= EVIDENCE_THRESHOLD:
            return "honoured"
        return "ignored" if evidence <= -EVIDENCE_THRESHOLD or field in self.documented_ignored else "untried"

    def forget(self) -> None:
        """Drop all findings, so that everything is tried again."""
        self._refused.clear()
        self._evidence.clear()


class CapabilityTable:
    """Findings about the models used last, at most `MAX_MODELS`. Any thread may read and write."""

    def __init__(self) -> None:
        self._models: OrderedDict[Target, Capabilities] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, target: Target) -> Capabilities:
        """Return the findings about a target, created if there are none yet."""
        with self._lock:
            found = self._models.get(target) or self._models.setdefault(
                target, Capabilities(_documented_ignored_fields(target))
            )
            self._models.move_to_end(target)
            while len(self._models) > MAX_MODELS:
                self._models.popitem(last=False)
            return found


def _documented_ignored_fields(target: Target) -> frozenset[str]:
    """Return the fields that `capabilities.json` lists as ignored by this model; an entry's name also stands for its
    versions."""
    found: set[str] = set()
    for entry in _read_facts()["ignored"]:
        named = any(target.name == name or target.name.startswith(f"{name}-") for name in entry["names"])
        if named and target.scheme in entry["schemes"]:
            found |= set(entry["fields"])
    return frozenset(found)


@functools.cache
def _read_facts() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("capabilities.json").read_text(encoding="utf-8"))
