"""Prompt Management through the real SDK and service-account flow, against a server that speaks its wire format."""

from __future__ import annotations

import re
import threading
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core import Example, GenerationRequest, HostedOptions, NucleusError, PromptSpec, SampleRequest
from llm_core.prompts.extraction import Extraction
from llm_core.prompts.output_format import OutputFormat
from llm_core.providers.google.prompt_store import VertexPromptStore
from llm_core.providers.google.prompt_store_wire import export_prompt, import_prompt
from llm_core.providers.http.url_policy import UrlPolicy
from samplers import SamplerConfig
from tests.support.fake_gemini import error_reply
from tests.support.fake_server import ACCESS_TOKEN, Reply
from tests.support.fake_vertex import PLACE, VertexServer

MODEL = "gemini-3.8-flash"
PATIENCE = 30


@pytest.fixture
def vertex(tmp_path, monkeypatch):
    with VertexServer() as running:
        monkeypatch.setenv(
            "GOOGLE_APPLICATION_CREDENTIALS", str(running.write_service_account(tmp_path / "account.json"))
        )
        yield running


@pytest.fixture
def prompts(vertex) -> VertexPromptStore:
    return VertexPromptStore(base_url=vertex.address)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The SDK's pauses, a hundred times shorter."""
    from agentplatform._genai import prompts as module

    clock = SimpleNamespace(time=time.time, sleep=lambda seconds: time.sleep(seconds / 100), strftime=time.strftime)
    monkeypatch.setattr(module, "time", clock)


def request_bodies(spec: PromptSpec, sampler: SamplerConfig | None = None, **fields) -> GenerationRequest:
    row = {name: fields.pop(name) for name in ("max_output_tokens", "stop_sequences") if name in fields}
    rows = (SampleRequest(sampler or SamplerConfig(order="gemini"), **row),)
    return GenerationRequest(f"vertex:{MODEL}@{PLACE}", spec, rows, **fields)


def wait_for_result(
    prompts: VertexPromptStore, request: GenerationRequest, name: str = "A prompt", prompt_id: str = ""
):
    """What became of it. Raises what came instead."""
    saving = prompts.save(PLACE, request, name, MODEL, prompt_id)
    assert saving.wait(PATIENCE)
    return saving.value()


def test_a_whole_request_comes_back(vertex, prompts):
    spec = PromptSpec(
        "Describe {{thing}} in {{words}} words. Braces: {x} \\{{y}}",
        system="Be exact.",
        output=OutputFormat("choice", ("a", "b")),
        stop_sequences=("END",),
        values=({"thing": "the sea", "words": "five"}, {"thing": "Huế", "words": "ba"}),
    )
    sampler = SamplerConfig(temperature=0.5, top_k=40, top_p=0.9, seed=7, presence_penalty=0.5, order="gemini")
    hosted = HostedOptions("low", show_thoughts=True, safety=(("HARASSMENT", "BLOCK_NONE"),))
    request = request_bodies(spec, sampler, max_output_tokens=64, stop_sequences=("END",), hosted=hosted)
    saving = wait_for_result(prompts, request, " A  name ")
    assert (saving.name, saving.merged, saving.dropped) == ("A name", (), ())
    found = prompts.open(PLACE, saving.prompt_id, saving.version_id)
    assert found == (request, ())
    [entry] = prompts.prompts(PLACE)
    assert (entry.id, entry.name, entry.model) == (saving.prompt_id, "A name", MODEL)
    assert {request.headers["authorization"] for request in vertex.requests if request.path != "/token"} == {
        f"Bearer {ACCESS_TOKEN}"
    }
    assert [request.path for request in vertex.requests].count("/token") == 1


TEXT = st.text(st.sampled_from("ab {}\\n$é"), max_size=12)


@given(TEXT, TEXT, st.lists(st.fixed_dictionaries({"a": TEXT, "b c": TEXT}), max_size=3))
def test_texts_and_values_survive_the_way_there_and_back(before, after, values):
    """Whatever is text stays text, and what is a variable is filled with the same values."""
    before, after = (re.sub(r"(\{{2,})", r"\\\1", text) for text in (before, after))
    spec = PromptSpec(f"{before} x {{{{a}}}}, {{{{ b c }}}} {after}", values=tuple(values))
    kept = export_prompt(request_bodies(spec), MODEL)
    if "values" in kept.dropped:
        return
    message = {name: value for name, value in kept.data.items() if name != "variables"}
    executions = [
        {"arguments": {name: {"part_list": {"parts": [text]}} for name, text in row.items()}}
        for row in kept.data["variables"]
    ]
    found, dropped = import_prompt(message, executions, PLACE)
    assert dropped == ()
    rows = values or [{"a": "1", "b c": "2"}]
    assert [found.prompt.expand(row).messages() for row in rows] == [spec.expand(row).messages() for row in rows]


def test_versions_keep_what_each_one_said(prompts):
    """`get_version` itself would give the newest text for both."""
    first = wait_for_result(prompts, request_bodies(PromptSpec("One", system="First.")))
    second = wait_for_result(
        prompts, request_bodies(PromptSpec("Two {{a}}", values=({"a": "b"},))), "Renamed", first.prompt_id
    )
    assert second.prompt_id == first.prompt_id
    assert [entry.name for entry in prompts.prompts(PLACE)] == ["Renamed"]
    assert [entry.id for entry in prompts.versions(PLACE, first.prompt_id)] == [second.version_id, first.version_id]
    old = prompts.open(PLACE, first.prompt_id, first.version_id).request.prompt
    assert (old.instruction, old.system, old.values) == ("One", "First.", ())
    for version in (second.version_id, ""):
        new = prompts.open(PLACE, first.prompt_id, version).request.prompt
        assert (new.instruction, new.system, new.values) == ("Two {{a}}", "", ({"a": "b"},))


def test_the_sdk_still_has_the_fault_that_is_worked_around(vertex, prompts):
    """When this fails, `VertexPromptStore.open` may use `prompt_data`."""
    saving = wait_for_result(prompts, request_bodies(PromptSpec("One")))
    wait_for_result(prompts, request_bodies(PromptSpec("Two")), prompt_id=saving.prompt_id)
    with prompts._client(PLACE) as client:
        version = client.prompts.get_version(prompt_id=saving.prompt_id, version_id=saving.version_id)
    assert version.prompt_data.contents[0].parts[0].text == "Two"


def test_listings_go_through_all_pages_the_newest_first(vertex, prompts):
    for name in ("one", "two", "three"):
        wait_for_result(prompts, request_bodies(PromptSpec(name)), name)
    vertex.datasets["1"] = {"name": "projects/p/locations/l/datasets/1", "metadata": None}  # none of a prompt
    assert [entry.name for entry in prompts.prompts(PLACE)] == ["three", "two", "one"]


def test_what_is_not_kept_is_named(prompts):
    examples = (Example("2", "4"), Example("3", "9"))
    spec = PromptSpec(
        "Square it.",
        question="5",
        technique="self_consistency",
        role="You count.",
        context="Numbers.",
        examples=examples,
        prefill="It is",
        extraction=Extraction("marker", "Answer:"),
    )
    sampler = SamplerConfig(temperature=0.5, min_p=0.1, top_k=3, seed=2**40)
    saving = wait_for_result(prompts, request_bodies(spec, sampler))
    assert saving.merged == ("role", "context", "instruction", "question", "examples", "trigger")
    assert saving.dropped == ("technique", "prefill", "extraction", "min_p", "order", "seed")
    text = prompts.open(PLACE, saving.prompt_id).request.prompt.instruction
    parts = ["Numbers.", "Square it.", "Input: 2\nOutput: 4", "Input: 3\nOutput: 9", "Input: 5\nOutput:"]
    assert text.startswith("\n\n".join(parts))
    assert spec.trigger in text
    other = prompts.save(PLACE, request_bodies(PromptSpec("x")), "x", "gemini-other")
    assert other.wait(PATIENCE)
    assert other.value().dropped == ("model",)


def test_prompts_made_elsewhere(vertex, prompts):
    """With earlier turns, pictures, tools and numbers that have no place here."""
    saving = wait_for_result(prompts, request_bodies(PromptSpec("x")))
    message = {
        "model": "projects/p/locations/l/publishers/google/models/gemini-x",
        "contents": [
            {"role": "user", "parts": [{"text": "2"}]},
            {"role": "model", "parts": [{"text": "4"}]},
            {
                "role": "user",
                "parts": [{"text": "3"}, {"file_data": {"file_uri": "gs://a/b", "mime_type": "image/png"}}],
            },
            {"role": "model", "parts": [{"text": "It"}]},
        ],
        "generation_config": {"temperature": 1.0, "top_k": 5.0, "audio_timestamp": True, "seed": -1},
        "tools": [{"google_search": {}}],
    }
    vertex.datasets[saving.prompt_id]["metadata"]["prompt_api_schema"]["multimodal_prompt"]["prompt_message"] = message
    request, dropped = prompts.open(PLACE, saving.prompt_id)
    assert request.model_id == f"vertex:gemini-x@{PLACE}"
    assert request.prompt == PromptSpec("3", technique="few_shot", examples=(Example("2", "4"),), prefill="It")
    assert request.samples[0].sampler == SamplerConfig(top_k=5, order="gemini")
    assert dropped == ("images", "seed", "audio_timestamp", "tools")


def test_each_pair_of_earlier_turns_is_an_example():
    said = [("user", "2"), ("model", "4"), ("user", "3"), ("model", "9"), ("user", "5")]
    message = {"contents": [{"role": role, "parts": [{"text": text}]} for role, text in said]}
    found, lost = import_prompt(message, [], PLACE)
    assert found.prompt == PromptSpec("5", technique="few_shot", examples=(Example("2", "4"), Example("3", "9")))
    assert lost == ()


@pytest.mark.parametrize(
    ("fields", "merged"),
    [({}, ()), ({"question": "5"}, ("instruction", "question")), ({"context": "Numbers."}, ("context", "instruction"))],
)
def test_two_texts_that_become_one_are_named(fields, merged):
    assert export_prompt(request_bodies(PromptSpec("Square it.", **fields)), MODEL).merged == merged


@pytest.mark.parametrize(
    "metadata",
    [{}, {"text": "legacy"}, {"prompt_api_schema": {}}, {"prompt_api_schema": {"structured_prompt": {}}}, None],
)
def test_a_form_that_is_not_known_is_refused(vertex, prompts, metadata):
    saving = wait_for_result(prompts, request_bodies(PromptSpec("x")))
    vertex.datasets[saving.prompt_id]["metadata"] = metadata
    with pytest.raises(NucleusError) as caught:
        prompts.open(PLACE, saving.prompt_id)
    assert caught.value.code in ("vertex_prompt_foreign", "provider_malformed")


def test_stop_ends_the_waiting_at_once(vertex, prompts):
    assert prompts.prompts(PLACE) == ()
    before, gate = len(vertex.requests), threading.Event()
    vertex.replies.append(Reply(body={}, gate=gate))
    saving = prompts.save(PLACE, request_bodies(PromptSpec("x")), "x", MODEL)
    while len(vertex.requests) == before:
        time.sleep(0.01)
    assert saving.active
    assert 0 <= saving.fraction < 1
    began = time.monotonic()
    saving.stop()
    assert saving.wait(1)
    assert time.monotonic() - began < 0.5
    assert (saving.stopped, saving.error, saving.fraction) == (True, None, 1.0)
    gate.set()
    until = time.monotonic() + 5
    while any(thread.name == "errand" for thread in threading.enumerate()) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(thread.name == "errand" for thread in threading.enumerate())


def test_an_operation_that_takes_long_and_one_that_fails(vertex, prompts):
    vertex.polls_until_done = 3
    wait_for_result(prompts, request_bodies(PromptSpec("x")))
    vertex.operation_error = "quota of datasets"
    with pytest.raises(NucleusError) as caught:
        wait_for_result(prompts, request_bodies(PromptSpec("x")))
    assert caught.value.code == "vertex_prompt_unsaved"


FAILURES = [
    (error_reply(400, "Invalid", "INVALID_ARGUMENT"), "provider_request_refused"),
    (error_reply(401, "Unauthenticated", "UNAUTHENTICATED"), "provider_key_refused"),
    (error_reply(403, "Permission 'aiplatform.datasets.list' denied", "PERMISSION_DENIED"), "provider_forbidden"),
    (error_reply(404, "Not found", "NOT_FOUND"), "vertex_not_found"),
    (error_reply(429, "Quota", "RESOURCE_EXHAUSTED"), "provider_quota"),
    (error_reply(503, "Overloaded", "UNAVAILABLE"), "provider_busy"),
    (Reply(502, "<html><title>502</title></html>", headers={"Content-Type": "text/html"}), "provider_not_api"),
    (Reply(200, "<html>Login</html>", headers={"Content-Type": "text/html"}), "provider_malformed"),
    (Reply(events=[], drop_after=0), "provider_disconnected"),
]


@pytest.mark.parametrize(("reply", "code"), FAILURES, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("what", ["list", "versions", "open", "save", "update"])
def test_failures_end_in_a_message(vertex, prompts, what, reply, code):
    saving = wait_for_result(prompts, request_bodies(PromptSpec("x")))
    vertex.replies.extend([reply] * 8)
    assert make_failure(prompts, what, saving).code == code


MALFORMED = [
    *[(what, {"name": 7}) for what in ("open", "save", "update")],
    *[(what, {"name": "x"}) for what in ("open", "save", "update")],
    *[("list", {"datasets": found}) for found in (5, [5], [{"name": 5}])],
    *[("versions", {"datasetVersions": found}) for found in (5, [5], [{"name": 5}])],
]


@pytest.mark.parametrize(("what", "body"), MALFORMED)
def test_answers_that_are_none_end_in_a_message(vertex, prompts, what, body):
    saving = wait_for_result(prompts, request_bodies(PromptSpec("x")))
    vertex.replies.extend([Reply(200, body)] * 8)
    codes = ("vertex_prompt_unsaved", "provider_malformed", "vertex_prompt_foreign", "vertex_not_found")
    assert make_failure(prompts, what, saving).code in codes


def make_failure(prompts, what, kept) -> NucleusError:
    ask = {
        "save": lambda: wait_for_result(prompts, request_bodies(PromptSpec("x"))),
        "update": lambda: wait_for_result(prompts, request_bodies(PromptSpec("x")), prompt_id=kept.prompt_id),
        "list": lambda: prompts.prompts(PLACE),
        "versions": lambda: prompts.versions(PLACE, kept.prompt_id),
        "open": lambda: prompts.open(PLACE, kept.prompt_id, kept.version_id),
    }[what]
    with pytest.raises(NucleusError) as caught:
        ask()
    return caught.value


def test_what_is_refused_before_anything_is_sent(vertex, prompts):
    request = request_bodies(PromptSpec("x"))
    for arguments, code in (
        ((PLACE, request, "", MODEL), "vertex_prompt_name"),
        ((PLACE, request, "n" * 129, MODEL), "vertex_prompt_name"),
        ((PLACE, request, "a\x00b", MODEL), "vertex_prompt_name"),
        ((PLACE, request, "n", "../x"), "provider_model_unnamed"),
        ((PLACE, request, "n", MODEL, "../x"), "vertex_prompt_foreign"),
        ((PLACE, request_bodies(PromptSpec(" ")), "n", MODEL), "prompt_empty"),
    ):
        with pytest.raises(NucleusError) as caught:
            prompts.save(*arguments)
        assert caught.value.code == code
    with pytest.raises(NucleusError) as caught:
        prompts.open(PLACE, "1/../2")
    assert caught.value.code == "vertex_prompt_foreign"
    for place in ("no place", "../x"):
        with pytest.raises(NucleusError) as caught:
            prompts.prompts(place)
        assert caught.value.code == "provider_place_invalid"
    assert vertex.requests == []


def test_an_installation_for_others_uses_only_its_projects(vertex):
    addresses = UrlPolicy(hosted=True, allowed=(vertex.address,), projects=("other/us-central1",))
    with pytest.raises(NucleusError) as caught:
        VertexPromptStore(addresses, vertex.address).prompts(PLACE)
    assert caught.value.code == "provider_project_not_allowed"
    assert vertex.requests == []


def test_without_credentials_the_way_out_is_named(monkeypatch, tmp_path, vertex):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(NucleusError) as caught:
        VertexPromptStore(base_url=vertex.address).prompts(PLACE)
    assert caught.value.code == "provider_credentials_missing"
