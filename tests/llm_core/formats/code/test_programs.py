"""Exported programs run: local ones write the engine's tokens, the others ask strict servers by the makers' SDKs."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core import Engine, HostedOptions, ModelStore, PromptSpec, Recipe
from llm_core.formats.code.literals import literal
from llm_core.formats.registry import FORMATS, dump
from llm_core.generation.request import Image
from llm_core.paths import cache_directory
from llm_core.prompts.output_format import OutputFormat
from samplers import SamplerConfig
from tests.llm_core.providers.conftest import PLANTED_KEY
from tests.support.fake_gemini import GeminiServer
from tests.support.fake_openai import OpenAIServer
from tests.support.hostile_recipes import TEXT, recipes
from tests.support.toy_model import save_toy_model

PROGRAMS = [form for form in FORMATS if form.startswith("python_")]
ROOT = Path(__file__).parents[4]


def run_source(source: str, **names) -> dict:
    """The program's names once it has been run as a module."""
    space = {"__name__": "exported"} | names
    exec(compile(source, "exported.py", "exec"), space)
    return space


@pytest.fixture(scope="session")
def toy_directory(tmp_path_factory) -> Path:
    return save_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine(ModelStore())


LOCAL = [
    ({"temperature": 0}, {}, True),
    ({"temperature": 0, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2}, {}, True),
    ({"temperature": 0, "typical_p": 0.4, "order": "llama_cpp"}, {}, True),
    ({"temperature": 0.8, "top_p": 0.9}, {}, True),
    (
        {"temperature": 1.4, "top_k": 30, "top_p": 0.95, "min_p": 0.02, "order": "llama_cpp"},
        {"prefill": "Sure: "},
        True,
    ),
    (
        {"typical_p": 0.9, "epsilon_cutoff": 0.001, "eta_cutoff": 0.001, "min_new_tokens": 30},
        {"system": "Be kind."},
        True,
    ),
    ({"banned_tokens": (40, 41), "logit_bias": {60: 4.0}, "repetition_penalty": 1.1}, {}, True),
    ({"temperature": 1.2, "top_n_sigma": 1.5, "xtc_probability": 0.5}, {}, False),
    ({"mirostat_tau": 4.0, "presence_penalty": 0.6, "dry_multiplier": 0.8, "order": "llama_cpp"}, {}, False),
    ({"temperature": 0.9, "order": ("temperature", "frequency_penalty"), "frequency_penalty": 0.5}, {}, False),
    ({}, {"output": OutputFormat("choice", ("yes", "no"))}, False),
    (
        {},
        {"output": OutputFormat("json", schema='{"type": "object", "properties": {"a": {"type": "integer"}}}')},
        False,
    ),
    ({"temperature": 2.0}, {"stops": ("e", "a")}, True),
]


@pytest.mark.parametrize(("sampler", "rest", "alone"), LOCAL)
def test_the_transformers_program_writes_the_engine_s_tokens(sampler, rest, alone, toy_directory, engine):
    rest = dict(rest)
    stops = rest.pop("stops", ())
    recipe = Recipe(
        title="Local",
        model={"id": str(toy_directory)},
        prompt=PromptSpec("Describe the sea.", **rest),
        sampler=SamplerConfig(**sampler),
        seeds=(5, 2**40 + 1),
        limits={"max_output_tokens": 40, "stop_sequences": stops},
    )
    run = engine.submit(recipe.request())
    assert run.wait(60)
    assert run.error is None
    dumped = dump("python_transformers", recipe)
    assert ("samplers" not in dumped.text) == alone
    assert bool([each for each in dumped.dropped if each.reason == "needs_repository"]) != alone
    space = run_source(dumped.text)
    for row, seed in zip(run.samples, space["SEEDS"], strict=True):
        tokens, text = space["answer"](space["PROMPTS"][0], seed)
        assert tokens == [event.token_id for event in row.events()]
        assert text == row.text


def test_a_model_without_a_chat_template_reads_the_same_text(tmp_path, engine):
    directory = save_toy_model(tmp_path)
    (directory / "chat_template.jinja").unlink()
    spec = PromptSpec("Describe it.", question="The sea", system="Be kind.", prefill="It")
    recipe = Recipe(model={"id": str(directory)}, prompt=spec, limits={"max_output_tokens": 8})
    run = engine.submit(recipe.request())
    assert run.wait(60)
    space = run_source(dump("python_transformers", recipe).text)
    assert space["prompt_ids"](space["PROMPTS"][0])[0].tolist() == [*run.rendered.token_ids]
    assert space["answer"](space["PROMPTS"][0], 0)[0] == [event.token_id for event in run.samples[0].events()]


@pytest.mark.thorough
def test_the_builtin_model_s_program_stands_alone_and_writes_the_same_tokens(builtin, engine, tmp_path):
    """From the wheel's own weights, in a process of its own that has nothing of this repository."""
    recipe = Recipe(
        prompt=PromptSpec("Describe the sea."),
        sampler=SamplerConfig(temperature=0.8, top_p=0.9, repetition_penalty=1.1),
        seeds=(3,),
        limits={"max_output_tokens": 20},
    )
    run = engine.submit(recipe.request())
    assert run.wait(120)
    source = dump("python_transformers", recipe).text
    kept = cache_directory() / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if kept.exists():  # as if it had been downloaded before
        (tmp_path / kept.name).symlink_to(kept)
    tail = "\nimport json, sys\nprint(json.dumps([answer(PROMPTS[0], SEEDS[0]), sorted(sys.modules)]))\n"
    (tmp_path / "exported.py").write_text(source.partition('\n\nif __name__ == "__main__":')[0] + tail)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "exported.py"],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (tokens, text), modules = json.loads(done.stdout.splitlines()[-1])
    assert tokens == [event.token_id for event in run.samples[0].events()]
    assert text == run.samples[0].text
    assert not {"samplers", "llm_core"} & set(modules)


HOSTED = Recipe(
    title="Hosted",
    prompt=PromptSpec("Describe {{it}}.", system="Be brief.", values=({"it": "the sea"}, {"it": "<b>{{x}}</b>"})),
    sampler=SamplerConfig(temperature=0.7, top_p=0.9, top_k=12, presence_penalty=0.5),
    seeds=(3, 4),
    limits={"max_output_tokens": 9, "stop_sequences": ("END",)},
)


def make_hosted_recipe(model: str, **changes) -> Recipe:
    return HOSTED.model_copy(update={"model": HOSTED.model.model_copy(update={"id": model})} | changes)


def test_the_gemini_program_asks_what_nucleus_asks(monkeypatch):
    monkeypatch.setenv("SERVER_API_KEY", PLANTED_KEY)
    with GeminiServer(PLANTED_KEY) as server:
        image = Image("image/png", b"\x89PNG")
        recipe = make_hosted_recipe(server.model, hosted=HostedOptions(images=(image,), thinking=64))
        dumped = dump("python_gemini", recipe)
        answers = list(run_source(dumped.text)["answers"]())
        assert len(answers) == 4
        assert all(answers)
        assert {request.path for request in server.requests} == {"/v1beta/models/sea:streamGenerateContent?alt=sse"}
        first, last = server.requests[0].body, server.requests[-1].body
        assert first["systemInstruction"]["parts"] == [{"text": "Be brief."}]
        assert first["contents"][0]["parts"][0] == {"text": "Describe the sea."}
        assert "inlineData" in first["contents"][0]["parts"][1]
        assert last["contents"][0]["parts"][0] == {"text": "Describe <b>{{x}}</b>."}
        told = first["generationConfig"]
        assert (told["temperature"], told["topP"], told["topK"], told["seed"]) == (0.7, 0.9, 12, 3)
        assert (told["maxOutputTokens"], told["stopSequences"], told["presencePenalty"]) == (9, ["END"], 0.5)
        assert last["generationConfig"]["seed"] == 4
    assert PLANTED_KEY not in dumped.text
    assert [*dumped.dropped] == [("prompt.values", "as_prompts")]


def test_the_vertex_program_asks_what_nucleus_asks(monkeypatch, tmp_path):
    with GeminiServer("", vertex="my-project/us-central1") as server:
        monkeypatch.setenv(
            "GOOGLE_APPLICATION_CREDENTIALS", str(server.write_service_account(tmp_path / "account.json"))
        )
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", server.address)
        dumped = dump("python_vertex", make_hosted_recipe(server.model))
        assert len(list(run_source(dumped.text)["answers"]())) == 4
        assert server.requests[-1].path.startswith(
            "/v1beta1/projects/my-project/locations/us-central1/publishers/google/"
        )


@pytest.mark.parametrize("dialect", ["vllm", "openai"])
def test_the_openai_program_asks_what_nucleus_asks(dialect, monkeypatch):
    monkeypatch.setenv("SERVER_API_KEY", PLANTED_KEY)
    monkeypatch.setenv("OPENAI_API_KEY", PLANTED_KEY)
    with OpenAIServer(dialect, key=PLANTED_KEY) as server:
        recipe = make_hosted_recipe(
            server.model if dialect == "vllm" else "openai:sea", prompt=PromptSpec("Hi", prefill="Sure")
        )
        dumped = dump("python_openai", recipe)
        source = dumped.text
        if dialect == "openai":  # its own address cannot be reached from here; what is sent there is the point
            source = source.replace("BASE_URL = None", f"BASE_URL = {server.address + '/v1'!r}")
        assert len(list(run_source(source)["answers"]())) == 2
        body = server.requests[-1].body
        assert body["messages"][0] == {"role": "user", "content": "Hi"}
        assert (body["temperature"], body["top_p"], body["seed"], body["stop"]) == (0.7, 0.9, 4, ["END"])
        assert body.get("top_k") == (12 if dialect == "vllm" else None)
        assert body.get("continue_final_message") == (True if dialect == "vllm" else None)
        assert (("sampler.top_k", "no_place") in dumped.dropped) == (dialect == "openai")
    assert PLANTED_KEY not in dumped.text


@pytest.mark.parametrize("form", ["python_gemini", "python_openai"])
def test_a_stranger_s_server_is_never_sent_the_maker_s_key(form, monkeypatch):
    """A recipe names the address: whoever runs its program has keys of Google and OpenAI in the environment."""
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "OPENAI_API_KEY", "GOOGLE_GENAI_API_KEY"):
        monkeypatch.setenv(name, "the-maker-s-key")
    monkeypatch.setenv("SERVER_API_KEY", PLANTED_KEY)
    server = GeminiServer(PLANTED_KEY) if form == "python_gemini" else OpenAIServer(key=PLANTED_KEY)
    with server:
        list(run_source(dump(form, make_hosted_recipe(server.model)).text)["answers"]())
        assert server.requests
        assert all("the-maker-s-key" not in str(request.headers) for request in server.requests)


@pytest.mark.parametrize("form", PROGRAMS)
def test_another_provider_s_model_is_for_the_reader_to_name(form, monkeypatch):
    model = "openai:gpt-6" if form != "python_openai" else "builtin"
    dumped = dump(form, make_hosted_recipe(model))
    assert ("model.id", "other_model") in dumped.dropped
    assert 'MODEL = os.environ["MODEL"]' in dumped.text
    assert "gpt-6" not in dumped.text


@given(recipe=recipes())
@pytest.mark.parametrize("form", PROGRAMS)
def test_no_text_of_a_recipe_becomes_code(form, recipe):
    """Whatever the texts say, the program has the same statements; they stand in it as literals only."""
    text = dump(form, recipe).text
    tree = ast.parse(text)
    assert text.isprintable() or all(line.isprintable() for line in text.split("\n"))
    data = ("ABOUT", "PROMPTS", "CONFIG", "SETTINGS", "EXTRA", "STOP", "BASE_URL", "SEEDS")
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in data:
            ast.literal_eval(_strip_bytes(node.value))
    plain = ast.parse(dump(form, _replace_texts(recipe)).text)
    assert [type(node) for node in _statements(tree)] == [type(node) for node in _statements(plain)]


def _replace_texts(recipe: Recipe) -> Recipe:
    """The recipe with harmless texts in the same places."""

    def calm(text: str) -> str:
        return "x" if text.strip() else text

    spec = recipe.prompt
    values = tuple(dict.fromkeys(row, "x") for row in spec.values)
    names = "".join(f"{{{{{name}}}}}" for name in spec.variables())
    calmed = dataclasses.replace(
        spec,
        instruction=f"x{names}",
        system=calm(spec.system),
        role=calm(spec.role),
        context=calm(spec.context),
        question=calm(spec.question),
        prefill=calm(spec.prefill),
        examples=tuple(dataclasses.replace(each, input="x", output="x", reasoning="") for each in spec.examples),
        values=values,
    )
    return recipe.model_copy(
        update={
            "prompt": calmed,
            "title": calm(recipe.title),
            "author": calm(recipe.author),
            "notes": calm(recipe.notes),
        }
    )


def _statements(tree: ast.Module) -> list[ast.AST]:
    """Every node that does something, not counting how literals are put together."""
    kinds = (ast.stmt, ast.Call, ast.Attribute, ast.Subscript, ast.Name, ast.Lambda)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def _strip_bytes(node: ast.expr) -> ast.expr:
    class Bytes(ast.NodeTransformer):
        def visit_Call(self, call: ast.Call) -> ast.AST:
            assert ast.unparse(call.func) == "base64.b64decode"
            return call.args[0]

    return Bytes().visit(node)


@given(st.recursive(TEXT | st.integers() | st.none() | st.booleans() | st.binary(), lambda inner: st.lists(inner)))
def test_literals_are_equal_to_the_data(value):
    import base64

    assert eval(literal(value), {"base64": base64, "__builtins__": {}}) == value
