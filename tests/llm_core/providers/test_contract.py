"""What every provider promises, the local engine included. Nothing here asks which one it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from pydantic import SecretStr

from llm_core import Engine, GenerationRequest, ModelStore, NucleusError, PromptSpec, SampleRequest
from llm_core.generation.technique_run import TechniqueRun
from llm_core.prompts.extraction import Extraction
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.service import DispatchLimits, HostedService
from llm_core.providers.google.client import Vertex
from llm_core.providers.google.vertex_endpoint import VertexEndpoint
from llm_core.router import PROVIDERS, Router
from samplers import SamplerConfig, pack_traces, unpack_traces
from tests.llm_core.providers.conftest import PLANTED_KEY, TIMEOUT_SECONDS
from tests.support.fake_gemini import GeminiServer
from tests.support.fake_openai import OpenAIServer
from tests.support.fake_vertex_endpoint import DEDICATED, EndpointServer, write_account
from tests.support.toy_model import toy_model


@dataclass
class Subject:
    router: Router
    model_id: str
    missing: str
    """The id of a model that does not exist."""
    credentials: Credentials

    def ask(self, text: str = "Describe the sea.", rows: int = 1, sampler: dict | None = None, **fields):
        prompt = PromptSpec(text, prefill=fields.pop("prefill", ""))
        deadline = fields.pop("deadline_seconds", 60.0)
        samples = tuple(
            SampleRequest(SamplerConfig(**({"seed": 1 + row} | (sampler or {}))), **({"max_output_tokens": 8} | fields))
            for row in range(rows)
        )
        request = GenerationRequest(self.model_id, prompt, samples, deadline_seconds=deadline)
        return self.router.submit(request, self.credentials)

    def finish(self, *args, **fields):
        run = self.ask(*args, **fields)
        assert run.wait(TIMEOUT_SECONDS), run.status
        return run


def toy_loader(model_id, report):
    if model_id != "toy":
        raise NucleusError("model_not_found", model=model_id, detail="tests")
    return toy_model()


def run_local() -> Iterator[Subject]:
    yield make_subject("toy", "none", PROVIDERS)


def make_subject(model_id: str, missing: str, providers: dict[str, Callable]) -> Subject:
    keys = {scheme: SecretStr(PLANTED_KEY) for scheme in ("openai", "gemini", "vertex")}
    for part in (model_id, missing):
        scheme, _, rest = part.partition(":")
        if "@http" in rest:
            keys[f"{scheme}:{rest.partition('@')[2]}"] = SecretStr(PLANTED_KEY)
    hosted = HostedService(providers, limits=DispatchLimits(first_wait=0.01))
    return Subject(Router(Engine(ModelStore(loader=toy_loader)), hosted), model_id, missing, Credentials(typed=keys))


def run_openai(dialect: str) -> Iterator[Subject]:
    with OpenAIServer(dialect, PLANTED_KEY) as server:
        yield make_subject(server.model, server.model.replace("sea", "none"), PROVIDERS)


def run_gemini(vertex: str) -> Iterator[Subject]:
    with (
        GeminiServer(PLANTED_KEY, vertex) as server,
        TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        account = server.write_service_account(Path(folder) / "account.json")
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
        providers = PROVIDERS | {"vertex": lambda: Vertex(server.address)}
        yield make_subject(server.model, server.model.replace("sea", "none"), providers)


def run_endpoint(kind: str) -> Iterator[Subject]:
    with EndpointServer(kind) as server, TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", write_account(server, Path(folder)))
        providers = PROVIDERS | {"endpoint": lambda: VertexEndpoint(server.address)}
        yield make_subject(server.model, server.model.replace(kind, "404"), providers)


SUBJECTS: dict[str, Callable[[], Iterator[Subject]]] = {
    "local": run_local,
    "openai": lambda: run_openai("openai"),
    "vllm": lambda: run_openai("vllm"),
    "llama_cpp": lambda: run_openai("llama_cpp"),
    "gemini": lambda: run_gemini(""),
    "vertex": lambda: run_gemini("my-project/europe-west4"),
    "vertex_express": lambda: run_gemini("express"),
    "endpoint": lambda: run_endpoint(DEDICATED),
}


@pytest.fixture(params=SUBJECTS)
def provider(request) -> Iterator[Subject]:
    yield from SUBJECTS[request.param]()


def test_rows_end_with_the_text_of_their_events(provider):
    run = provider.finish(rows=3)
    assert (run.status, run.error, run.active) == ("finished", None, False)
    for row in run.samples:
        assert row.finish_reason in ("end", "length")
        assert row.text.startswith("".join(event.text for event in row.events()))
        assert 1 <= len(row.events()) <= 8
        assert row.events(3) == row.events()[3:]
        assert row.seconds > 0
        assert row.tokens_per_second > 0
    assert len({row.text for row in run.samples}) == 3


def test_a_seed_gives_the_same_answer_again(provider):
    assert provider.finish().samples[0].text == provider.finish().samples[0].text


def test_steps_can_be_drawn_labelled_and_kept(provider):
    run = provider.finish(sampler={"temperature": 0.8, "top_p": 0.9, "order": "gemini"})
    traces = []
    for event in run.samples[0].events():
        trace = event.trace
        traces.append(trace)
        assert trace.token_id == event.token_id
        assert trace.raw.name == "raw"
        assert list(trace.raw.logprobs) == sorted(trace.raw.logprobs, reverse=True)
        assert trace.rank == 1 + trace.candidates.index(trace.token_id) or trace.rank > 20
        assert 0 <= trace.residual < 1
        assert {stage.name for stage in trace.stages} == {"raw", "top_p", "temperature"}
        kept = [math.exp(logprob) for logprob in trace.final.logprobs if logprob > -math.inf]
        assert 1 <= len(kept) <= trace.final.kept < trace.raw.kept
        assert sum(kept) < 1.0001
        assert sum(kept) == pytest.approx(1, abs=1e-4) or len(kept) < trace.final.kept
        assert trace.final.kept_mass >= 0.89
        assert trace.final.entropy_bits >= 0
        assert 0 <= event.error_bound <= 1
        assert all(isinstance(run.label(token), str) for token in trace.candidates)
    assert unpack_traces(pack_traces(traces)) == traces


def test_greedy_takes_the_likeliest(provider):
    run = provider.finish(sampler={"temperature": 0})
    assert all(event.trace.rank == 1 for event in run.samples[0].events())


def test_stop_sequences_end_an_answer_before_them(provider):
    free = provider.finish(max_output_tokens=12).samples[0].text
    middle = free[len(free) // 2 :][:3]
    [row] = provider.finish(max_output_tokens=12, stop_sequences=(middle,)).samples
    assert row.text == free[: free.index(middle)]
    assert row.finish_reason == "stop"


def test_stop_ends_it_and_keeps_what_is_there(provider):
    run = provider.ask(max_output_tokens=100)
    run.cancel()
    assert run.wait(TIMEOUT_SECONDS)
    assert run.status == "finished"
    assert run.samples[0].finish_reason in ("cancelled", "end")


def test_a_deadline_ends_it(provider):
    run = provider.ask(max_output_tokens=100, deadline_seconds=0.0)
    assert run.wait(TIMEOUT_SECONDS)
    assert run.samples[0].finish_reason in ("deadline", "end")


def test_a_model_that_is_not_there_fails_with_a_message(provider):
    provider.model_id = provider.missing
    run = provider.finish()
    assert run.status == "failed"
    assert run.error.code in ("model_not_found", "provider_model_unknown")
    assert provider.missing.partition("@")[0].rpartition(":")[2] in str(run.error)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"text": " "}, "prompt_empty"),
        ({"rows": 65}, "rows_out_of_range"),
        ({"stop_sequences": ("",)}, "stop_sequence_empty"),
        ({"max_output_tokens": 0}, "setting_out_of_range"),
    ],
)
def test_bad_requests_are_refused_at_once(provider, fields, code):
    with pytest.raises(NucleusError) as caught:
        provider.ask(**fields)
    assert caught.value.code == code


ASKINGS = [
    (PromptSpec("How wide is the sea?", technique="self_consistency", chains=3), 3),
    (PromptSpec("How wide is the sea?", technique="step_back"), 1),
    (PromptSpec("How wide?", technique="chain_of_thought", extraction=Extraction("marker", "Answer:")), 1),
]


@pytest.mark.parametrize(("spec", "chains"), ASKINGS, ids=lambda value: getattr(value, "technique", ""))
def test_askings_of_several_steps_run_through(provider, spec, chains):
    request = GenerationRequest(provider.model_id, spec, (SampleRequest(SamplerConfig(), max_output_tokens=6),))
    technique_run = TechniqueRun(lambda each: provider.router.submit(each, provider.credentials), request)
    assert technique_run.wait(TIMEOUT_SECONDS)
    assert technique_run.error is None
    assert len(technique_run.outcomes) == chains
    assert technique_run.prompt_tokens > 0
    assert technique_run.tokens > 0
