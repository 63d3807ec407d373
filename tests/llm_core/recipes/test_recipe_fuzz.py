"""What strangers send: a clear refusal or a safe recipe, in a short time; never another exception."""

from __future__ import annotations

import base64
import copy
import json
import random
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from llm_core import (
    Engine,
    Example,
    ModelStore,
    NucleusError,
    PromptSpec,
    Recipe,
    decode_link,
    dump_json,
    dump_yaml,
    encode_link,
    load_text,
)
from llm_core.generation.request import HostedOptions
from llm_core.recipes.link import _DICTIONARY
from llm_core.recipes.recipe import Limits
from llm_core.recipes.replay import RecipeRun, replay_prompts
from llm_core.recipes.trace import make_trace
from samplers import SamplerConfig
from tests.support.toy_model import toy_model

SECONDS = 10.0
"""Far more than any of them takes; a bomb would take minutes."""
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>[x](javascript:alert(1))"
BIDI = "safe\u202eexe.yaml"
NASTY: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 10**18, 10**30, -(10**400), float("nan"), float("inf"), 1e308, "", "x" * 3_000_000),
    *("\ud800", "\x00", BIDI, SCRIPT, "../../etc/passwd", "'; DROP TABLE recipes; --", "{{", "=1+1"),
    *([], {}, [[]], [None] * 1000, {"a": {"b": {}}}, ["\udfff"], {"\ud800": 1}, {"": ""}, "٣", "١e٣"),
)


@pytest.fixture(scope="module")
def full() -> Recipe:
    """A recipe with something in every part, and a recorded run."""
    model = toy_model()
    engine = Engine(ModelStore(loader=lambda model_id, report: model))
    recipe = Recipe(
        title="Everything",
        author="Somebody",
        language="en",
        licence="CC0-1.0",
        notes="Look here.",
        tags=("a", "b"),
        prompt=PromptSpec("Hi {{x}}", examples=(Example("a", "b"),), technique="few_shot", values=({"x": "y"},)),
        sampler=SamplerConfig(temperature=0.7, top_k=5, logit_bias={3: 1.0}),
        seeds=(1,),
        criteria={"sum_logprob": 1.0},
        limits=Limits(max_output_tokens=4, stop_sequences=("#",)),
        hosted=HostedOptions(thinking="low", safety=(("HARASSMENT", "BLOCK_NONE"),)),
    )
    run = RecipeRun(recipe, engine.submit)
    while run.active:
        run.advance()
    engine.close()
    return recipe.replace(trace=make_trace(run.recorded_samples()))


def open_or_refuse(read, text: Any) -> Recipe | NucleusError:
    """What came of it. Whatever opens can be shown, written and read again."""
    began = time.monotonic()
    refused = None
    try:
        recipe: Recipe = read(text)
    except NucleusError as error:
        refused = error
    assert time.monotonic() - began < SECONDS
    if refused:
        assert len(str(refused)) < 2_000
        return refused
    assert load_text(dump_yaml(recipe)) == recipe
    if recipe.trace:
        try:
            shown = replay_prompts(recipe)
        except NucleusError as error:  # a trace of prompts that the recipe does not have
            return error
        assert all(not technique_run.active for technique_run in shown)
    return recipe


def iterate_leaves(data: Any, path: tuple = ()) -> Iterator[tuple]:
    yield path
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from iterate_leaves(value, (*path, key))


def replace_leaf(data: Any, path: tuple, value: Any) -> Any:
    if not path:
        return value
    data = copy.deepcopy(data)
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return data


def test_every_value_at_every_place(full):
    data = full.data()
    count = opened = 0
    for path in iterate_leaves(data):
        for value in NASTY:
            if isinstance(value, str) and len(value) > 10**6 and len(path) > 2:
                continue  # the long one at the first levels only: it is slow to copy
            count += 1
            opened += isinstance(open_or_refuse(Recipe.read, replace_leaf(data, path, value)), Recipe)
    assert count > 1500
    assert 0 < opened < count / 2


def test_every_value_as_text(full):
    """As JSON and as YAML, where the words mean other things than in Python."""
    data = full.replace(trace=None).data()
    for path in iterate_leaves(data):
        for written in ("1e999", "-1e999", "NaN", "Infinity", "9" * 5000, '"\\ud800"', ".nan", ".inf", "!!int 3", "*x"):
            text = json.dumps(replace_leaf(data, path, "@@")).replace('"@@"', written)
            assert isinstance(open_or_refuse(load_text, text), Recipe | NucleusError)
            assert isinstance(open_or_refuse(load_text, " - " + text), NucleusError)


def test_unknown_fields_everywhere(full):
    data = full.data()
    for path in iterate_leaves(data):
        place = data
        for key in path:
            place = place[key]
        if isinstance(place, dict) and path[-1:] not in (("logit_bias",), ("criteria",)) and "values" not in path:
            error = open_or_refuse(Recipe.read, replace_leaf(data, path, place | {"surprise": 1}))
            assert isinstance(error, NucleusError)
            assert "surprise" in str(error)


def test_damaged_links(full):
    link = encode_link(full)
    numbers = random.Random(1)
    for end in range(len(link)):
        assert isinstance(open_or_refuse(decode_link, link[:end]), NucleusError)
    for place in range(len(link)):
        for _ in range(2):
            flipped = chr(ord(link[place]) ^ (1 << numbers.randrange(7)))
            found = open_or_refuse(decode_link, link[:place] + flipped + link[place + 1 :])
            assert isinstance(found, NucleusError) or found == decode_link(link)  # bits that base64 does not use
    packed = base64.urlsafe_b64decode(link[1:] + "=" * (-len(link[1:]) % 4))
    for place in range(len(packed)):
        damaged = bytearray(packed)
        damaged[place] ^= 1 << numbers.randrange(8)
        again = "a" + base64.urlsafe_b64encode(bytes(damaged)).decode().rstrip("=")
        found = open_or_refuse(decode_link, again)
        assert isinstance(found, NucleusError) or found == decode_link(link)  # bits that deflate does not use


def make_link(data: bytes) -> str:
    packer = zlib.compressobj(9, zdict=_DICTIONARY)
    return "a" + base64.urlsafe_b64encode(packer.compress(data) + packer.flush()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        "a",
        "https://example.org",
        "https://example.org/?r=",
        "https://[/?r=a",
        "?" + "&".join(f"a{n}=1" for n in range(500)),
        "aéé",
        "b" + "A" * 40,
        "a" + "A" * 40,
        make_link(b""),
        make_link(b"{}"),
        make_link(b"[]"),
        make_link(b"\xff\xfe"),
        make_link(b'{"schema_version": 1, "schema_version": 1}'),
        make_link(b'{"schema_version": 99, "prompt": {"instruction": "x"}}'),
        make_link(b'{"schema_version": 1, "prompt": {"instruction": "' + b"x" * 4_000_000 + b'"}}'),
        make_link(b"[" * 500_000),
        make_link(b"{a: " * 100_000),
        make_link(b"&a [*a]"),
        make_link(b'{"schema_version": 1, "prompt": {"instruction": "x"}}') + "AAAA",
    ],
)
def test_links_that_hold_no_recipe(text):
    assert isinstance(open_or_refuse(decode_link, text), NucleusError)


HEAD = "schema_version: 1\nprompt:\n  instruction: x\n"
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        HEAD + "title: !!python/object/apply:os.system ['true']\n",
        HEAD + "title: !!python/name:os.system\n",
        HEAD + "title: !<tag:yaml.org,2002:str> x\n",
        HEAD + "title: !x y\n",
        HEAD + "!x title: y\n",
        HEAD + "&x title: y\n",
        HEAD + "title: &t x\nauthor: *t\n",
        HEAD + "<<: {title: x}\n",
        HEAD + "title: x\ntitle: y\n",
        HEAD + '"title": x\ntitle: y\n',
        HEAD + "? [a, b]\n: x\n",
        HEAD + "? {a: b}\n: x\n",
        HEAD + "--- \n" + HEAD,
        HEAD + "title: [" * 5_000,
        HEAD + "tags: " + "[" * 100_000,
        HEAD + "tags: [" + "x," * 300_000 + "]",
        HEAD + "title: .nan\nseeds: [.inf]\n",
        HEAD + "seeds: [1e999]\n",
        HEAD + "seeds: [" + "9" * 10_000 + "]\n",
        HEAD + "seeds: [0x10]\n",
        HEAD + "seeds: [1:30]\n",
        HEAD + "seeds: [2026-11-25]\n",
        HEAD + "title: \x00\n",
        HEAD + "title: \x07\n",
        HEAD + 'title: "\\ud800"\n',
        HEAD + f"title: {BIDI}\n",
        HEAD + f"author: {BIDI}\n",
        HEAD + f"notes: {BIDI}\n",
        HEAD + f"licence: {BIDI}\n",
        HEAD + f"language: {BIDI}\n",
        HEAD + f"tags: [{BIDI}]\n",
        HEAD + f"model: {{id: {BIDI}}}\n",
        HEAD + f"criteria: {{{BIDI}: 1}}\n",
        HEAD + "model: {id: 'openai:m@https://user:secret@example.org/v1'}\n",
        HEAD + "model: {id: 'openai:m@https://example.org/v1?key=secret'}\n",
        HEAD + "\ttitle: x\n",
        "%YAML 9.9\n---\n" + HEAD,
        "just text",
        "- a\n- b\n",
        "---\n...\n",
        "",
        "\n\n",
        "{",
        '{"schema_version": 1',
        '{"schema_version": 1e0, "prompt": {"instruction": "x"}}',
        '{"schema_version": true, "prompt": {"instruction": "x"}}',
        '{"schema_version": "1", "prompt": {"instruction": "x"}}',
        '{"a":' * 100_000,
        b"\xff\xfe\x00",
        b"\x80",
        "x" * 33_000_000 * 2,
    ],
)
def test_files_that_hold_no_recipe(text):
    assert isinstance(open_or_refuse(load_text, text), NucleusError)


@pytest.mark.parametrize("field", ["title", "author", "notes", "licence", "language"])
def test_scripts_are_text(field):
    recipe = open_or_refuse(load_text, HEAD + json.dumps(field) + ": " + json.dumps(SCRIPT) + "\n")
    assert isinstance(recipe, Recipe)
    assert getattr(recipe, field) == SCRIPT


def test_bombs_in_a_trace(full):
    bomb = base64.b64encode(zlib.compress(b"[" + b" " * 200_000_000 + b"]", 9)).decode()
    for name in ("events", "stages"):
        data = replace_leaf(full.data(), ("trace", "rows", 0, name), bomb)
        assert isinstance(open_or_refuse(Recipe.read, data), NucleusError)
    assert isinstance(open_or_refuse(Recipe.read, replace_leaf(full.data(), ("trace", "labels"), bomb)), NucleusError)


def test_damaged_traces(full):
    """Bits flipped in what is packed, with a right checksum put on again, so that the reader has to see it."""
    numbers = random.Random(2)
    opened = 0
    for name in ("events", "stages"):
        plain = zlib.decompress(base64.b64decode(full.data()["trace"]["rows"][0][name]))
        for _ in range(400):
            damaged = bytearray(plain)
            for _ in range(numbers.choice((1, 1, 1, 5))):
                damaged[numbers.randrange(len(damaged))] ^= 1 << numbers.randrange(8)
            packed = base64.b64encode(zlib.compress(bytes(damaged))).decode()
            data = replace_leaf(full.data(), ("trace", "rows", 0, name), packed)
            opened += isinstance(open_or_refuse(Recipe.read, data), Recipe)
    assert 0 < opened < 800, "a digit of a probability may change; what cannot be shown is refused"


def test_no_key_in_any_form(full, monkeypatch, capsys):
    """Keys are nowhere near a recipe: not in the request that it is made of, not in what is written."""
    secret = "AIza" + "planted" * 5
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "VERTEX_API_KEY"):
        monkeypatch.setenv(name, secret)
    hosted = full.replace(model={"id": "gemini:gemini-2.0-flash"}, trace=full.trace)
    link = encode_link(hosted)
    unpacked = zlib.decompressobj(zdict=_DICTIONARY).decompress(
        base64.urlsafe_b64decode(link[1:] + "=" * (-len(link[1:]) % 4))
    )
    for text in (dump_yaml(hosted), dump_json(hosted), link, unpacked.decode(), repr(hosted)):
        assert secret not in text
