"""The recorded run of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Trace(BaseModel):
    """Under way."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
