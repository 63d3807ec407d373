"""Parse and write model ids; nothing else in the project takes one apart.

Ids are `openai:NAME@URL` (any server that speaks OpenAI's language; without a URL, OpenAI), `gemini:NAME`,
`vertex:NAME@PROJECT/LOCATION` (`vertex:NAME` with a key: express mode), `endpoint:ID@PROJECT/LOCATION` (an open model
deployed on Vertex AI); anything else is a local model: `builtin`, a Hub id or a directory.
"""

from __future__ import annotations

from typing import NamedTuple

from llm_core.errors import NucleusError
from llm_core.providers.http.url_policy import UrlPolicy

SCHEMES = ("openai", "gemini", "vertex", "endpoint")
MAX_NAME_LENGTH = 300


class Target(NamedTuple):
    """Parts of a hosted model's id, `scheme:name@place`."""

    scheme: str
    name: str
    place: str = ""
    """Base URL, or `project/location` for Vertex AI; empty for the provider's own address."""

    @property
    def model_id(self) -> str:
        """Id of the model as a request names it."""
        return f"{self.scheme}:{self.name}@{self.place}" if self.place else f"{self.scheme}:{self.name}"


def split_model_id(model_id: str) -> Target | None:
    """Return the parts of a hosted model's id as they are written, or None for a local model. Checks nothing."""
    scheme, colon, rest = model_id.partition(":")
    if not colon or scheme not in SCHEMES:
        return None
    for mark in ("@http://", "@https://"):  # names may hold an `@` themselves
        if mark in rest:
            name, _, place = rest.partition(mark)
            return Target(scheme, name, mark[1:] + place)
    name, at, place = rest.rpartition("@")
    return Target(scheme, name, place) if at and "/" in place else Target(scheme, rest)


def parse_model_id(model_id: str, policy: UrlPolicy | None = None) -> Target | None:
    """Return the parts of a hosted model's id, its place checked by `policy`, or None for a local model.

    Without a policy a place only has to be well formed. Raises `NucleusError` for an id without a name, and for a place
    that is malformed or may not be called.
    """
    target = split_model_id(model_id)
    if target is None:
        return None
    if not target.name.strip() or not target.name.isprintable() or len(target.name) > MAX_NAME_LENGTH:
        raise NucleusError("provider_model_unnamed", model=model_id[:100])
    return target._replace(place=check_place(target.place, policy or UrlPolicy()))


def check_place(place: str, policy: UrlPolicy) -> str:
    """Return a base URL normalized, or `project/location` as it is. Raises `NucleusError` if it may not be called."""
    if not place:
        return place
    return policy.check(place) if "://" in place else policy.check_project(place)


def is_local(model_id: str) -> bool:
    """Return whether the model runs on the machine that runs Nucleus."""
    return split_model_id(model_id) is None
