"""Save, list and open prompts in Vertex AI's Prompt Management, with versions.

The SDK waits five seconds before it first checks whether a step of saving is done, and there are two steps, so a save
takes ten seconds or more.
"""

from __future__ import annotations

import functools
import itertools
import logging
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from llm_core.errors import NucleusError
from llm_core.generation.request import GenerationRequest
from llm_core.providers.google.identity import GoogleIdentity
from llm_core.providers.google.prompt_store_wire import PromptImport, export_prompt, import_prompt
from llm_core.providers.google.vertex_client import open_vertex_client
from llm_core.providers.http.background_call import BackgroundCall
from llm_core.providers.http.connection import Connection
from llm_core.providers.http.url_policy import UrlPolicy

if TYPE_CHECKING:
    from agentplatform import Client

log = logging.getLogger(__name__)

MAX_NAME_LENGTH = 128
"""Characters of a prompt's or a version's name."""
MAX_ENTRIES = 500
"""Entries of a listing."""
EXPECTED_SAVE_SECONDS = 11.0
"""Expected duration of a save: twice the SDK's five seconds, and the requests."""
SAVE_TIMEOUT_SECONDS = 200.0
"""Limit for a save."""
_STEP_TIMEOUT_SECONDS = 90
"""Limit for one step of a save."""
_READ_TIMEOUT_SECONDS = 20.0
_MODEL_NAME = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)
_RESOURCE_ID = re.compile(r"[\w-]{1,100}", re.ASCII)
"""Pattern of a prompt's or a version's id, which becomes a part of the request's path."""


class PromptEntry(NamedTuple):
    """One prompt of a listing."""

    id: str
    name: str
    model: str
    saved_at: datetime | None


class VersionEntry(NamedTuple):
    """One version of a prompt in a listing."""

    id: str
    name: str
    saved_at: datetime | None


class SavedPrompt(NamedTuple):
    """Result of saving a prompt."""

    name: str
    prompt_id: str
    version_id: str
    merged: tuple[str, ...]
    dropped: tuple[str, ...]
    """Fields that are not kept, as in `prompt_store_wire.PromptExport`."""


class VertexPromptStore:
    """Prompts of any project and location, with the server's application-default credentials.

    Places are `project/location`; every method raises `NucleusError`. Methods that call Google send over a `connection`
    of the caller's, who can cancel it, or else over a new one.
    """

    def __init__(self, url_policy: UrlPolicy | None = None, base_url: str = "") -> None:
        """Create the store; `base_url` replaces the location's own URL."""
        self._url_policy = url_policy or UrlPolicy()
        self._identity = GoogleIdentity()
        self._base_url = base_url

    def save(
        self, place: str, request: GenerationRequest, name: str, model: str, prompt_id: str = ""
    ) -> BackgroundCall[SavedPrompt]:
        """Start saving a request under a model of Vertex AI: as a new prompt, or as the next version of an existing
        one."""
        if not _MODEL_NAME.fullmatch(model) or ".." in model:
            raise NucleusError("provider_model_unnamed", model=model[:100])
        name = " ".join(name.split())
        if not name or len(name) > MAX_NAME_LENGTH or not name.isprintable():
            raise NucleusError("vertex_prompt_name", value=name[:MAX_NAME_LENGTH], limit=MAX_NAME_LENGTH)
        self._check_ids(place, prompt_id)
        what = export_prompt(request, model)

        def send(line: Connection) -> SavedPrompt:
            return SavedPrompt(name, *self._save(line, place, name, what.data, prompt_id), what.merged, what.dropped)

        return BackgroundCall(send, self.make_connection(), SAVE_TIMEOUT_SECONDS, EXPECTED_SAVE_SECONDS)

    def prompts(self, place: str, connection: Connection | None = None) -> tuple[PromptEntry, ...]:
        """Return the saved prompts of a project and location, newest first."""
        from agentplatform._genai._prompt_management_utils import PROMPT_SCHEMA_URI

        only = f'metadata_schema_uri="{PROMPT_SCHEMA_URI}"'
        with self._client(place, connection) as client:
            # Not `list`: it gives ids without names, so each prompt would have to be fetched to tell them apart.
            pages = _iterate_entries(client.prompts._list_prompts, "datasets", filter=only)
            found = [
                PromptEntry(
                    _last_segment(each.name),
                    each.display_name or "",
                    _last_segment(each.model_reference),
                    _last_change(each),
                )
                for each in itertools.islice(pages, MAX_ENTRIES)
                if each.name and each.model_reference
            ]
        return tuple(sorted(found, key=_newest_first))

    def versions(self, place: str, prompt_id: str, connection: Connection | None = None) -> tuple[VersionEntry, ...]:
        """Return the versions of one prompt, newest first."""
        self._check_ids(place, prompt_id)
        with self._client(place, connection) as client:
            # Not `list_versions`: it requests every page after the first one without the prompt's id.
            pages = _iterate_entries(
                functools.partial(client.prompts._list_versions, dataset_id=prompt_id), "dataset_versions"
            )
            found = [
                VersionEntry(_last_segment(each.name), each.display_name or "", _last_change(each))
                for each in itertools.islice(pages, MAX_ENTRIES)
                if each.name
            ]
        return tuple(sorted(found, key=_newest_first))

    def open(
        self, place: str, prompt_id: str, version_id: str = "", connection: Connection | None = None
    ) -> PromptImport:
        """Return the request that a version holds; without a version, that of the current prompt."""
        self._check_ids(place, prompt_id, version_id)
        with self._client(place, connection) as client:
            if version_id:
                # What `get_version` gives as `prompt_data` is the newest version's (python-aiplatform#5907): the
                # requested one's is in the resource beside it.
                source: Any = client.prompts.get_version(prompt_id=prompt_id, version_id=version_id).dataset_version
            else:
                source = client.prompts.get(prompt_id=prompt_id).dataset
        schema = source.metadata.prompt_api_schema if source.metadata else None
        data = schema.model_dump(mode="json", exclude_none=True) if schema else {}
        message = (data.get("multimodal_prompt") or {}).get("prompt_message")
        if not message:
            raise NucleusError("vertex_prompt_foreign", prompt=prompt_id)
        try:
            found = import_prompt(message, data.get("executions") or (), place)
            found.request.validate()
        except (AttributeError, LookupError, TypeError, ValueError) as error:  # an undocumented form
            raise NucleusError("provider_malformed", detail=type(error).__name__) from error
        return found

    def make_connection(self) -> Connection:
        """Return a new connection for one listing, opening or save."""
        return Connection(self._url_policy, _READ_TIMEOUT_SECONDS)

    def _save(
        self, connection: Connection, place: str, name: str, data: Mapping[str, Any], prompt_id: str
    ) -> tuple[str, str]:
        try:
            with self._client(place, connection) as client:
                return _send_version(client, name, data, prompt_id)
        except NucleusError:
            raise
        except Exception as error:  # the error's text could quote a header
            if not connection.is_cancelled:
                log.error("a prompt was not saved: %s\n%s", type(error).__name__, _format_traceback(error))
            raise NucleusError("vertex_prompt_unsaved", detail=type(error).__name__) from None

    @contextmanager
    def _client(self, place: str, connection: Connection | None = None) -> Iterator[Client]:
        self._url_policy.check_project(place)
        with open_vertex_client(place, self._identity, connection or self.make_connection(), self._base_url) as client:
            yield client

    def _check_ids(self, place: str, *ids: str) -> None:
        self._url_policy.check_project(place)
        for each in ids:
            if each and not _RESOURCE_ID.fullmatch(each):
                raise NucleusError("vertex_prompt_foreign", prompt=each[:100])


def _send_version(client: Client, name: str, data: Mapping[str, Any], prompt_id: str) -> tuple[str, str]:
    """Save a version and return its prompt's and its own id."""
    prompt: Any = {"prompt_data": data}
    config: Any = {"timeout": _STEP_TIMEOUT_SECONDS, "max_wait_time": 10, "prompt_display_name": name}
    try:
        if prompt_id:
            kept = client.prompts.update(prompt_id=prompt_id, prompt=prompt, config=config)
        else:
            kept = client.prompts.create_version(prompt=prompt, config=config)
    except TimeoutError:
        raise NucleusError("vertex_prompt_unsaved", detail=f"{_STEP_TIMEOUT_SECONDS} s") from None
    except ValueError as error:
        if isinstance(error, httpx.HTTPError) or "prompt version resource" not in str(error):
            raise
        raise NucleusError("vertex_prompt_unsaved", detail=str(error)[:200]) from None
    return str(kept.prompt_id or ""), str(kept.version_id or "")


def _iterate_entries(list_page: Callable[..., Any], entries: str, **config: Any) -> Iterator[Any]:
    """Yield the entries of all pages of a listing."""
    from agentplatform import types

    token: str | None = None
    while True:
        page = list_page(config=types.ListPromptsConfig(page_size=100, page_token=token, **config))
        yield from getattr(page, entries) or ()
        token = page.next_page_token
        if not token:
            return


def _last_change(entry: Any) -> datetime | None:
    return getattr(entry, "update_time", None) or entry.create_time


def _last_segment(name: str) -> str:
    return name.rpartition("/")[2]


def _newest_first(entry: PromptEntry | VersionEntry) -> float:
    return -entry.saved_at.timestamp() if entry.saved_at else 0.0


def _format_traceback(error: Exception) -> str:
    return "".join(traceback.format_tb(error.__traceback__))
