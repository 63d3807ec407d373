"""Model ids taken apart without asking whether they may be called: a file that names an address calls nothing."""

from __future__ import annotations

from llm_core.providers.provider import Target


def target_of(model_id: str) -> Target | None:
    """A hosted model's id in its parts; None for a local one. Raises `NucleusError` for an address that is none."""
    from llm_core.providers.dispatch.service import HostedService
    from llm_core.router import PROVIDERS

    return HostedService(PROVIDERS).target(model_id)
