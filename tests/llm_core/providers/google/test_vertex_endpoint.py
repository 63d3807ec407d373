"""Open models on endpoints of Vertex AI, against a server that speaks the wire format of both kinds."""

from __future__ import annotations

import pytest

from llm_core import Engine, ModelStore, NucleusError
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.service import HostedService
from llm_core.providers.google.vertex_endpoint import VertexEndpoint
from llm_core.router import PROVIDERS, Router
from samplers import SamplerConfig
from tests.llm_core.providers.conftest import QUICK, finished, request
from tests.support.fake_gemini import error
from tests.support.fake_server import WORDS, tokens
from tests.support.fake_vertex_endpoint import DEDICATED, PLACE, SHARED, EndpointServer, account

ASKED = {"temperature": 0.7, "top_k": 6, "max_output_tokens": 10}


def expected() -> str:
    config = SamplerConfig(temperature=0.7, top_k=6, seed=1)
    return "".join(WORDS[each.token_id] for each in tokens(config, 10) if each.token_id)


@pytest.fixture(params=[DEDICATED, SHARED], ids=["dedicated", "shared"])
def server(request, tmp_path, monkeypatch):
    with EndpointServer(request.param) as running:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", account(running, tmp_path))
        yield running


def router_for(server: EndpointServer) -> Router:
    providers = PROVIDERS | {"endpoint": lambda: VertexEndpoint(server.address)}
    return Router(Engine(ModelStore()), HostedService(providers, limits=QUICK))


def ask(server: EndpointServer, router: Router | None = None, model: str = "", **fields):
    return finished((router or router_for(server)).submit(request(model or server.model, **ASKED | fields)))


def test_both_kinds_answer_and_the_dedicated_one_tells_probabilities(server):
    run = ask(server)
    assert run.status == "finished", run.error
    [row] = run.rows
    assert row.text == expected()
    if server.endpoint == DEDICATED:
        drawn = list(tokens(SamplerConfig(temperature=0.7, top_k=6, seed=1), 10))
        assert [event.known_trace.logprob for event in row.events()] == pytest.approx(
            [each.logprobs[each.token_id] for each in drawn if each.token_id], abs=1e-4
        )
        assert row.usage.output_tokens == len(drawn)


def test_the_endpoint_and_the_token_are_asked_for_once(server):
    router = router_for(server)
    for _ in range(3):
        ask(server, router)
    paths = [asked.path.partition("?")[0] for asked in server.asked]
    assert paths.count("/token") == 1
    assert sum(path.endswith(f"/endpoints/{server.endpoint}") for path in paths) == 1


def test_endpoints_without_a_model_are_not_listed(server):
    models = router_for(server).hosted.models("endpoint", PLACE, Credentials())
    assert [(model.id, model.name) for model in models] == [
        (f"endpoint:{DEDICATED}@{PLACE}", "gemma 456"),
        (f"endpoint:{SHARED}@{PLACE}", "gemma 789"),
    ]


@pytest.mark.parametrize("server", [SHARED], indirect=True)
def test_a_plain_prediction_is_the_text_after_the_prompt(server):
    server.plain = True
    assert ask(server).rows[0].text == expected()


@pytest.mark.parametrize(
    ("model", "code"),
    [
        (f"endpoint:404@{PLACE}", "provider_model_unknown"),
        (f"endpoint:../x@{PLACE}", "provider_model_unnamed"),
        ("endpoint:456@My Project/x", "provider_place_invalid"),
    ],
)
def test_what_is_not_there_is_said(server, model, code):
    run = ask(server, model=model)
    assert run.rows[0].error.code == code


def test_a_refusal_of_the_model_is_explained(server):
    router = router_for(server)
    ask(server, router)
    server.replies.append(error(403, "Permission 'aiplatform.endpoints.predict' denied", "PERMISSION_DENIED"))
    assert ask(server, router).rows[0].error.code == "provider_forbidden"


def test_without_credentials_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with EndpointServer() as server:
        assert ask(server).rows[0].error.code == "provider_credentials_missing"
        with pytest.raises(NucleusError, match="gcloud auth application-default login"):
            router_for(server).hosted.models("endpoint", PLACE, Credentials())
