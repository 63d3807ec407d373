"""Find the key for a target: typed in one browser session, written in a secrets file, or set in the environment.

A key belongs to the place that it was given for. One from the environment goes to its maker's own address only, so that
nobody can have it sent to their server by typing a base URL. Requests never store keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from llm_core.providers.model_id import Target

KEY_VARIABLES = {
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "vertex": ("VERTEX_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
}
"""Names of each scheme's key in the environment and in a secrets file, in order of precedence."""


@dataclass(frozen=True)
class Credentials:
    """Keys that one browser session may use. Its text form shows no key."""

    typed: Mapping[str, SecretStr] = field(default_factory=dict)
    """Typed keys, by `scheme` for a provider's own address and by `scheme:place` for others."""
    stored: Mapping[str, object] = field(default_factory=dict, repr=False)
    """Stored keys by the names in `KEY_VARIABLES`, and a table `keys` by `scheme:place`."""

    @classmethod
    def from_sources(
        cls,
        typed: Mapping[str, SecretStr] | None = None,
        secrets: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Credentials:
        """Create credentials from typed keys, a secrets file and the environment; a secrets file takes precedence over
        the environment."""
        names = [name for family in KEY_VARIABLES.values() for name in family]
        stored: dict[str, object] = {}
        for source, known in ((environment or {}, names), (secrets or {}, [*names, "keys"])):
            stored |= {name: source[name] for name in known if name in source}
        return cls(typed or {}, stored)

    def key(self, target: Target, default_place: str) -> SecretStr | None:
        """Return the key for this target, or None."""
        place = "" if target.place == default_place else target.place
        name = f"{target.scheme}:{place}" if place else target.scheme
        if typed := self.typed.get(name):
            return typed
        table = self.stored.get("keys")
        if isinstance(table, Mapping) and (found := table.get(name)):
            return SecretStr(str(found))
        if place:
            return None
        known = (self.stored.get(variable) for variable in KEY_VARIABLES.get(target.scheme, ()))
        return next((SecretStr(str(value)) for value in known if value), None)
