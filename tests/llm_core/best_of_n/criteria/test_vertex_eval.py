"""Vertex AI's evaluation service as a criterion of best-of-N: the real SDK and service-account flow, against a server
that speaks its wire format."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from llm_core import NucleusError
from llm_core.best_of_n.criteria.vertex_eval import VertexJudge, error_from_message
from llm_core.experiments.candidate_pool import Candidate
from llm_core.providers.http.url_policy import UrlPolicy
from tests.support.fake_gemini import error_reply
from tests.support.fake_server import Reply
from tests.support.fake_vertex import PLACE, VertexServer


@pytest.fixture
def vertex(tmp_path, monkeypatch):
    with VertexServer() as running:
        monkeypatch.setenv(
            "GOOGLE_APPLICATION_CREDENTIALS", str(running.write_service_account(tmp_path / "account.json"))
        )
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The SDK tries again five times and waits up to 16 s before; here it waits a hundredth of that."""
    from agentplatform._genai import _evals_metric_handlers as module

    clock = SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 100))
    monkeypatch.setattr(module, "time", clock)


def make_candidates(*texts: str, question: str = "How deep is the sea?") -> list[Candidate]:
    return [Candidate(place, place, text, question=question) for place, text in enumerate(texts)]


def rate(server: VertexServer, *texts: str, **fields):
    criterion = VertexJudge(PLACE, base_url=server.address, **fields)
    return list(criterion.score(make_candidates(*texts), threading.Event()))


def error_codes(scores) -> list[str | None]:
    return [score.error and score.error.code for score in scores]


def test_every_text_gets_its_score_and_equal_ones_are_asked_about_once(vertex):
    texts = [f"text {place}" for place in range(13)]
    vertex.scores = {text: 1 + place / 4 for place, text in enumerate(texts)}
    scores = rate(vertex, *texts, "text 3")
    assert [score.value for score in scores] == [*vertex.scores.values(), vertex.scores["text 3"]]
    assert scores[2].parts == {"explanation": "Because of text 2."}
    assert sum("evaluateInstances" in request.path for request in vertex.requests) == 13
    assert [request.path for request in vertex.requests].count("/token") == 1


def test_a_judge_can_be_named(vertex):
    assert rate(vertex, "deep", judge="gemini-x")[0].value == 3.0
    [metric] = vertex.requests[-1].body["metrics"]
    judge = metric["llm_based_metric_spec"]["judge_autorater_config"]["autorater_model"]
    assert judge == "projects/my-project/locations/us-central1/publishers/google/models/gemini-x"
    assert error_codes(rate(vertex, "deep", judge="../x")) == ["provider_model_unnamed"]


FAILURES = [
    (error_reply(400, "Invalid", "INVALID_ARGUMENT"), "provider_request_refused", 1),
    (error_reply(401, "No", "UNAUTHENTICATED"), "provider_key_refused", 1),
    (error_reply(403, "Permission denied", "PERMISSION_DENIED"), "provider_forbidden", 1),
    (error_reply(429, "Quota of 'evaluations'", "RESOURCE_EXHAUSTED"), "provider_quota", 5),
    (error_reply(503, "Overloaded", "UNAVAILABLE"), "provider_busy", 5),
    (Reply(502, "<html><title>502</title></html>", headers={"Content-Type": "text/html"}), "provider_busy", 5),
    (Reply(200, "<html>Login</html>", headers={"Content-Type": "text/html"}), "provider_stream_error", 1),
    (Reply(200, {"metricResults": []}), "provider_stream_error", 1),
    (Reply(200, {}), "provider_stream_error", 1),
    (Reply(200, {"metricResults": [{"explanation": "I cannot say."}]}), "judge_unclear", 1),
    (Reply(200, {"metricResults": [{"error": {"code": 9, "message": "judge failed"}}]}), "provider_stream_error", 1),
    (Reply(200, {"metricResults": [{"score": "NaN"}]}), "criterion_not_number", 1),
    (Reply(events=[], drop_after=0), "provider_stream_error", 1),
]


@pytest.mark.parametrize(
    ("reply", "code", "tries"), FAILURES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_one_failure_spoils_no_other_score(vertex, reply, code, tries):
    vertex.scores = {"bad": reply, "good": 5}
    scores = rate(vertex, "good", "bad", "")
    assert error_codes(scores) == [None, f"{code}", "provider_empty"]
    assert scores[0].value == 5
    assert sum("evaluateInstances" in request.path for request in vertex.requests) == 1 + tries


def test_what_concerns_all_is_said_of_all(vertex, monkeypatch, tmp_path):
    addresses = UrlPolicy(hosted=True, projects=("other/us-central1",), allowed=(vertex.address,))
    assert error_codes(rate(vertex, "a", "b", url_policy=addresses)) == ["provider_project_not_allowed"] * 2
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    assert error_codes(rate(vertex, "a", "b")) == ["provider_credentials_missing"] * 2
    assert vertex.requests == []


def test_stop_ends_it_at_once(vertex):
    gate, stop = threading.Event(), threading.Event()
    vertex.scores = {"slow": Reply(200, {}, gate=gate)}
    found: list = []
    criterion = VertexJudge(PLACE, base_url=vertex.address)
    thread = threading.Thread(target=lambda: found.extend(criterion.score(make_candidates("slow"), stop)))
    thread.start()
    while not any("evaluateInstances" in request.path for request in vertex.requests):
        time.sleep(0.01)
    stop.set()
    thread.join(2)
    assert not thread.is_alive()
    assert found == []
    gate.set()


def test_messages_are_all_that_the_sdk_keeps():
    said = "403 PERMISSION_DENIED. {'error': {'code': 403, 'message': 'Denied: \\'x\\'.', 'status': 'X'}}"
    assert str(error_from_message(said)).startswith("The key may not do this: Denied")
    assert isinstance(error_from_message("surprise"), NucleusError)
