"""Provide a router with short waits, and servers that speak the providers' wire formats."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from llm_core import Engine, GenerationRequest, ModelStore, PromptSpec, Run, SampleRequest
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.service import DispatchLimits, HostedService
from llm_core.router import PROVIDERS, Router
from samplers import SamplerConfig
from tests.support.fake_openai import OpenAIServer
from tests.support.toy_model import toy_model

TIMEOUT_SECONDS = 30.0
PLANTED_KEY = "sk-planted-7f3a91c4e5"
QUICK_LIMITS = DispatchLimits(first_wait=0.01, max_wait=0.3, read_timeout=2.0)


def make_router(limits: DispatchLimits = QUICK_LIMITS) -> Router:
    engine = Engine(ModelStore(loader=lambda model_id, report: toy_model()))
    return Router(engine, HostedService(PROVIDERS, limits=limits))


@pytest.fixture
def router() -> Router:
    return make_router()


@pytest.fixture
def openai() -> Iterator[OpenAIServer]:
    with OpenAIServer(key=PLANTED_KEY) as server:
        yield server


def make_credentials(server: OpenAIServer, path: str = "/v1") -> Credentials:
    return Credentials(typed={f"openai:{server.address}{path}": SecretStr(PLANTED_KEY)})


def make_request(model_id: str, text: str = "Describe the sea.", rows: int = 1, **fields) -> GenerationRequest:
    """Return a request with `rows` samples, seeded from 1 on.

    `fields` go to the sampler, the sample, the prompt or the request, whichever has the field.
    """
    of_row = {name: fields.pop(name) for name in list(fields) if name in ("max_output_tokens", "stop_sequences")}
    of_prompt = {name: fields.pop(name) for name in list(fields) if name in ("prefill", "system", "output")}
    shared = {name: fields.pop(name) for name in list(fields) if name in ("hosted", "session", "deadline_seconds")}
    request = tuple(SampleRequest(SamplerConfig(**({"seed": 1 + row} | fields)), **of_row) for row in range(rows))
    return GenerationRequest(model_id, PromptSpec(text, **of_prompt), request, **shared)


def wait_until_finished(run: Run) -> Run:
    assert run.wait(TIMEOUT_SECONDS), run.status
    return run


def setting_notices(run: Run) -> list[tuple[str, str]]:
    """Return the kind and the setting of each notice about a setting."""
    told = [notice for notice in run.notices if "setting" in notice.details]
    return [(notice.code.removeprefix("provider_setting_"), str(notice.details["setting"])) for notice in told]
