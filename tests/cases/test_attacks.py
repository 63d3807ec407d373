"""What one visitor, one link or one server must not do to everybody; what succeeds today is a strict xfail.

What would freeze or end the process runs in a process of its own, which is killed when its time is up.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import subprocess
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import transformers
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg

from benchmarks.load import memory_mb
from llm_core import ModelStore
from tests.support.browser import ServerProcess, run_server_process
from tests.support.raw_server import RawServer
from tests.support.streamlit_client import StreamlitClient
from tests.support.toy_model import save_toy_model

ROOT = Path(__file__).parents[2]
FAULT = 3
"""Exit code by which an attack's code says that it succeeded."""
SHORT = 4.0
"""Seconds that a harmless input takes a small part of."""


def run_apart(prepare: str, attack: str, seconds: float = SHORT) -> int:
    """Run `attack` in a new process and return its exit code. `prepare`, such as imports, takes its time before.

    Raises `subprocess.TimeoutExpired` after `seconds`, when the process is killed, and `RuntimeError` for a mistake in
    the code, which no test expects.
    """
    code = f"import os\nFAULT = {FAULT}\n{prepare}\nprint('ready', flush=True)\n{attack}\nos._exit(0)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the preparation failed")
        process.communicate(timeout=seconds)
        if process.returncode == 1:  # Python's own, after a traceback
            raise RuntimeError("the attack's code failed")
        return process.returncode
    finally:
        process.kill()
        process.communicate()


def expect_failure(reason: str, raises: Any = AssertionError) -> pytest.MarkDecorator:
    return pytest.mark.xfail(strict=True, reason=reason, raises=raises)


def expect_freeze(reason: str) -> pytest.MarkDecorator:
    return expect_failure(reason, subprocess.TimeoutExpired)


EXTRACTION = """
from llm_core import NucleusError, PromptSpec, Recipe
from llm_core.prompts.extraction import Extraction
import jsonpath
"""


def extract(path: str, text: str) -> str:
    """Return code that opens a recipe with a JSON path and extracts; refusing the recipe is right as well."""
    return f"""
try:
    extraction = Extraction("json_path", {path})
    Recipe(prompt=PromptSpec("Say it.", extraction=extraction))
    extraction.extract({text})
except NucleusError:
    pass
"""


BACKTRACKING_TEXT = """'["' + 'a' * 60 + '!"]'"""


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param("'$..[?@ =~ /a+$/]'", BACKTRACKING_TEXT, id="harmless"),
        pytest.param(
            "'$..[?@ =~ /(a+)+$/]'",
            BACKTRACKING_TEXT,
            id="backtracks",
            marks=expect_freeze("a pattern backtracks inside the interpreter's lock"),
        ),
        pytest.param(
            "'$' + '.a' * 60_000",
            "'[1]'",
            id="60,000 segments",
            marks=expect_failure(
                "as many nested generators overflow the stack and end the process",
                (AssertionError, subprocess.TimeoutExpired),  # by how soon they do
            ),
        ),
    ],
)
def test_json_path_of_a_link_ends_in_time(path, text):
    assert run_apart(EXTRACTION, extract(path, text)) == 0


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("'{{a}}' + ' ' * 199_000", id="harmless"),
        pytest.param("'{{a' + ' ' * 199_000", id="open"),
    ],
)
def test_variables_of_a_link_are_found_in_time(text):
    find = f"""
try:
    PromptSpec({text}).variables()
except NucleusError as error:
    assert error.code == "variable_unbalanced", error
"""
    assert run_apart("from llm_core import NucleusError, PromptSpec", find) == 0


@pytest.mark.parametrize(
    "letter",
    [
        pytest.param("x", id="harmless"),
        pytest.param("<", id="open tags"),
    ],
)
def test_error_page_of_a_server_is_read_in_time(letter):
    with RawServer() as server:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"
        server.response = head + letter.encode() * 300_000
        prepare = """
from llm_core import Credentials, Engine, ModelStore, NucleusError, Router
import llm_core.providers.openai.client
hosted = Router(Engine(ModelStore())).hosted
"""
        attack = f"""
try:
    hosted.models("openai", "{server.address}/v1", Credentials())
except NucleusError as error:
    assert error.code == "provider_not_api", error
"""
        assert run_apart(prepare, attack) == 0


ENGINE = """
import dataclasses
from llm_core import Engine, GenerationRequest, ModelStore, PromptSpec, SampleRequest
from samplers import SamplerConfig
from tests.support.toy_model import toy_model, toy_tokenizer
tokenizer = toy_tokenizer()
tokenizer.chat_template = {template!r}
models = {{"good": toy_model(), "bad": dataclasses.replace(toy_model(), id="bad", tokenizer=tokenizer)}}
engine = Engine(ModelStore(loader=lambda name, report: models[name]))
def submit(name):
    return engine.submit(GenerationRequest(name, PromptSpec("hi"), (SampleRequest(SamplerConfig(), 4),), session=name))
assert submit("good").wait(60)
"""
BLOCKED = """
import time
bad = submit("bad")
time.sleep(0.3)
good = submit("good")
if not good.wait(2):
    os._exit(FAULT)
"""


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("{{ messages[0]['content'] }}", id="harmless"),
        pytest.param(
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}x",
            id="loops",
            marks=expect_failure("a model's chat template holds the engine's thread"),
        ),
        pytest.param(
            "{{ 9**(9**9) }}x",
            id="power",
            marks=expect_freeze("a model's chat template holds the interpreter's lock"),
        ),
    ],
)
@pytest.mark.thorough
def test_chat_template_of_one_model_stops_no_other(template):
    assert run_apart(ENGINE.format(template=template), BLOCKED, seconds=4) == 0


def test_models_load_one_after_the_other(tmp_path, monkeypatch):
    folder = save_toy_model(tmp_path / "toy")
    load, loading, most = transformers.AutoModelForCausalLM.from_pretrained, 0, 0

    def load_slowly(*arguments: Any, **options: Any) -> Any:
        nonlocal loading, most
        loading += 1
        most = max(most, loading)
        time.sleep(0.5)
        model = load(*arguments, **options)
        loading -= 1
        return model

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", load_slowly)
    store = ModelStore()
    entries = [store.request(str(folder.parent) + detour + "/toy") for detour in ("/.", "/./.")]
    for entry in entries:
        entry.result.result(60)
    assert most == 1


ENDLESS = """
import json, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from llm_core import Credentials, Engine, GenerationRequest, ModelStore, PromptSpec, Router, SampleRequest
from samplers import SamplerConfig
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass
    def do_POST(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        event = {{"choices": [{{"index": 0, "delta": {{"{field}": "word " * 200}}}}]}}
        pieces = f"data: {{json.dumps(event)}}\\n\\n".encode() * 20
        while True:
            self.wfile.write(pieces)
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
router = Router(Engine(ModelStore()))
router.hosted.provider("openai")
model = f"openai:endless@http://127.0.0.1:{{server.server_port}}/v1"
request = GenerationRequest(model, PromptSpec("hi"), (SampleRequest(SamplerConfig(), 64),))
"""


@pytest.mark.parametrize("field", ["content", "reasoning_content"])
@expect_failure("an answer of 64 tokens has no limit of bytes")
def test_endless_answer_is_cut(field):
    run = "run = router.submit(request, Credentials())\nif not run.wait(1.5): os._exit(FAULT)"
    assert run_apart(ENDLESS.format(field=field), run, seconds=10) == 0


# The following need the whole server, and visitors that do what no browser does.

PACKED_ROWS, PACKED_TOKENS = 16, 7000
UPLOAD_MB, UPLOADS = 19, 12

on_one_server = pytest.mark.xdist_group("attacked server")


@pytest.fixture(scope="session")
def server(builtin) -> Iterator[ServerProcess]:
    with run_server_process("app.py") as server:
        yield server


async def generate(client: StreamlitClient) -> str:
    """Run 8 tokens in the Playground and return the address under which the answer is kept."""
    await client.rerun()
    await client.wait_until(lambda: {"playground.run", "settings.max_output_tokens"} <= client.widgets.keys(), 60)
    await client.rerun()
    await client.press("playground.run", [client.state("settings.max_output_tokens", 8)])
    await client.wait_until(lambda: client.token_count() and not client.fragments, 60)
    await client.rerun()
    return client.query


async def count_kept_tokens(url: str, address: str) -> int:
    """Return the number of tokens that somebody finds who opens this address anew."""
    async with StreamlitClient(url, query=address) as client:
        await client.rerun()
        await client.rerun()
        return client.token_count()


@on_one_server
@pytest.mark.thorough
@expect_failure("one message of any visitor empties st.cache_resource, with everybody's answers")
def test_no_visitor_clears_what_the_server_keeps(server):
    async def attack() -> tuple[int, int]:
        async with StreamlitClient(server.url) as victim:
            address = await generate(victim)
        before = await count_kept_tokens(server.url, address)
        async with StreamlitClient(server.url) as attacker:
            await attacker.rerun()
            message = BackMsg()
            message.clear_cache = True
            await attacker.send(message)
            await attacker.rerun()
        return before, await count_kept_tokens(server.url, address)

    before, after = asyncio.run(attack())
    if not before:
        pytest.fail("the answer was not kept even before the attack")
    assert after == before


def _pack(data: object) -> str:
    return base64.b64encode(zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 9)).decode()


def _recipe_with_huge_trace() -> str:
    """Return a recipe of under a megabyte whose recorded run has 112,000 tokens, more than all kept works may have."""
    row = {
        "text": "a " * PACKED_TOKENS,
        "tokens": [None] * PACKED_TOKENS,
        "finish_reason": "length",
        "events": _pack([["a ", "a ", 0.1, 0.0, False]] * PACKED_TOKENS),
    }
    rows = [row | {"seed": number} for number in range(1, PACKED_ROWS + 1)]
    return json.dumps(
        {
            "schema_version": 1,
            "title": "Huge",
            "model": {"id": "builtin"},
            "prompt": {"instruction": "x"},
            "seeds": list(range(1, PACKED_ROWS + 1)),
            "trace": {"at": "2026-01-01T00:00:00Z", "model": "m", "rows": rows, "labels": _pack({"1": "a"})},
        }
    )


@on_one_server
@pytest.mark.thorough
@expect_failure("one pasted recipe pushes out everybody's kept work")
def test_pasted_recipe_leaves_the_work_of_others(server):
    async def attack() -> tuple[int, int]:
        async with StreamlitClient(server.url) as victim:
            address = await generate(victim)
        before = await count_kept_tokens(server.url, address)
        async with StreamlitClient(server.url) as attacker:
            await attacker.rerun()
            await attacker.press("playground.share")
            await attacker.wait_until(lambda: "playground.share_paste" in attacker.widgets, 20)
            text_state = (
                attacker.widgets["playground.share_paste"][0],
                "string_value",
                "\n" + _recipe_with_huge_trace(),
            )
            await attacker.press("playground.share_open", [text_state])
            with contextlib.suppress(TimeoutError):  # refused, which is right as well
                await attacker.wait_until(attacker.token_count, 10)
            await attacker.rerun()
        return before, await count_kept_tokens(server.url, address)

    before, after = asyncio.run(attack())
    if not before:
        pytest.fail("the answer was not kept even before the attack")
    assert after == before


@on_one_server
@pytest.mark.thorough
@expect_failure("files that no field asks for stay in memory, whatever their sum")
def test_uploads_that_no_field_asks_for_are_refused(server):
    async def attack() -> int:
        async with StreamlitClient(server.url) as attacker:
            await attacker.rerun()
            before = memory_mb(server.pid)
            async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
                await http.get("/_stcore/health")
                headers = {"X-Xsrftoken": http.cookies.get("_streamlit_xsrf") or ""}
                for _ in range(UPLOADS):
                    path = f"/_stcore/upload_file/{attacker.session_id}/{uuid.uuid4()}"
                    await http.put(path, files={"file": ("x", b"a" * (UPLOAD_MB * 2**20))}, headers=headers)
            return memory_mb(server.pid) - before

    assert asyncio.run(attack()) < UPLOAD_MB * UPLOADS / 2


@on_one_server
@pytest.mark.thorough
@expect_failure("any Host and Origin is served, so a page may rebind its name to 127.0.0.1", pytest.fail.Exception)
def test_foreign_host_is_refused(server):
    async def attack() -> int:
        async with StreamlitClient(server.url, host="evil.example") as attacker:
            await attacker.rerun()
            return attacker.element_count

    with pytest.raises(websockets.InvalidHandshake):
        asyncio.run(attack())
