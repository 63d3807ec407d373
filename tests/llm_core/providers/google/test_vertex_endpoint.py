"""Open models on endpoints of Vertex AI, against a server that speaks the wire format of both kinds."""

from __future__ import annotations

import pytest

from llm_core import Engine, ModelStore, NucleusError
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.service import HostedService
from llm_core.providers.google.vertex_endpoint import VertexEndpoint
from llm_core.router import PROVIDERS, Router
from samplers import SamplerConfig
from tests.llm_core.providers.conftest import QUICK_LIMITS, make_request, wait_until_finished
from tests.support.fake_gemini import error_reply
from tests.support.fake_server import WORDS, Reply, sample_tokens
from tests.support.fake_vertex_endpoint import DEDICATED, PLACE, SHARED, EndpointServer, write_account

ASKED = {"temperature": 0.7, "top_k": 6, "max_output_tokens": 10}


def expected_text() -> str:
    config = SamplerConfig(temperature=0.7, top_k=6, seed=1)
    return "".join(WORDS[each.token_id] for each in sample_tokens(config, 10) if each.token_id)


@pytest.fixture(params=[DEDICATED, SHARED], ids=["dedicated", "shared"])
def server(request, tmp_path, monkeypatch):
    with EndpointServer(request.param) as running:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", write_account(running, tmp_path))
        yield running


def make_endpoint_router(server: EndpointServer) -> Router:
    providers = PROVIDERS | {"endpoint": lambda: VertexEndpoint(server.address)}
    return Router(Engine(ModelStore()), HostedService(providers, limits=QUICK_LIMITS))


def run_request(server: EndpointServer, router: Router | None = None, model: str = "", **fields):
    return wait_until_finished(
        (router or make_endpoint_router(server)).submit(make_request(model or server.model, **ASKED | fields))
    )


def test_both_kinds_answer_and_the_dedicated_one_tells_probabilities(server):
    run = run_request(server)
    assert run.status == "finished", run.error
    [row] = run.samples
    assert row.text == expected_text()
    if server.endpoint == DEDICATED:
        drawn = list(sample_tokens(SamplerConfig(temperature=0.7, top_k=6, seed=1), 10))
        assert [event.known_trace.logprob for event in row.events()] == pytest.approx(
            [each.logprobs[each.token_id] for each in drawn if each.token_id], abs=1e-4
        )
        assert row.usage.output_tokens == len(drawn)


def test_the_endpoint_and_the_token_are_asked_for_once(server):
    router = make_endpoint_router(server)
    for _ in range(3):
        run_request(server, router)
    paths = [request.path.partition("?")[0] for request in server.requests]
    assert paths.count("/token") == 1
    assert sum(path.endswith(f"/endpoints/{server.endpoint}") for path in paths) == 1


def test_endpoints_without_a_model_are_not_listed(server):
    models = make_endpoint_router(server).hosted.models("endpoint", PLACE, Credentials())
    assert [(model.id, model.name) for model in models] == [
        (f"endpoint:{DEDICATED}@{PLACE}", "gemma 456"),
        (f"endpoint:{SHARED}@{PLACE}", "gemma 789"),
    ]


@pytest.mark.parametrize("endpoints", [7, [7], [{"deployedModels": [{}]}]], ids=str)
def test_a_listing_of_another_form_ends_in_a_message(server, endpoints):
    hosted = make_endpoint_router(server).hosted
    hosted.models("endpoint", PLACE, Credentials())
    server.replies.append(Reply(200, {"endpoints": endpoints}))
    with pytest.raises(NucleusError) as caught:
        hosted.models("endpoint", PLACE, Credentials())
    assert caught.value.code == "provider_malformed"


@pytest.mark.parametrize("server", [SHARED], indirect=True)
def test_a_plain_prediction_is_the_text_after_the_prompt(server):
    server.plain = True
    assert run_request(server).samples[0].text == expected_text()


@pytest.mark.parametrize(
    ("model", "code"),
    [
        (f"endpoint:404@{PLACE}", "provider_model_unknown"),
        (f"endpoint:../x@{PLACE}", "provider_model_unnamed"),
        ("endpoint:456@My Project/x", "provider_place_invalid"),
    ],
)
def test_what_is_not_there_is_said(server, model, code):
    run = run_request(server, model=model)
    assert run.samples[0].error.code == code


def test_a_refusal_of_the_model_is_explained(server):
    router = make_endpoint_router(server)
    run_request(server, router)
    server.replies.append(error_reply(403, "Permission 'aiplatform.endpoints.predict' denied", "PERMISSION_DENIED"))
    assert run_request(server, router).samples[0].error.code == "provider_forbidden"


def test_without_credentials_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with EndpointServer() as server:
        assert run_request(server).samples[0].error.code == "provider_credentials_missing"
        with pytest.raises(NucleusError, match="gcloud auth application-default login"):
            make_endpoint_router(server).hosted.models("endpoint", PLACE, Credentials())
