"""Files from strangers: a clear refusal or a recipe, never a traceback; nothing in them is run, fetched or opened."""

from __future__ import annotations

import base64
import builtins
import json
import socket
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core import NucleusError, PromptSpec, Recipe
from llm_core.formats.registry import FORMATS, dump, load, readable_formats
from tests.support.hostile_recipes import PIECES

FORMS = readable_formats()
RECIPE = Recipe(
    title="Sea",
    model={"id": "openai:m@http://127.0.0.1:9/v1"},
    prompt=PromptSpec("Describe {{it}}.", system="Be brief.", values=({"it": "the sea"},)),
    seeds=(1, 2),
)


def read_safely(text: str | bytes, name: str = "") -> NucleusError | None:
    """Whatever else is raised fails the test, and so do a file that is opened and a connection that is made."""

    def refuse(*arguments, **_):
        raise AssertionError(f"reached for {arguments[:1]}")

    with mock.patch.object(builtins, "open", refuse), mock.patch.object(socket.socket, "connect", refuse):
        try:
            load(text, name)
        except NucleusError as error:
            return error
    return None


@pytest.fixture(autouse=True, scope="module")
def everything_is_imported():
    """What is loaded when it is first needed."""
    for form in FORMS:
        load(dump(form, RECIPE).text)


@pytest.mark.parametrize("form", FORMS)
def test_truncated_anywhere(form):
    text = dump(form, RECIPE).text
    for place in range(0, len(text), max(1, len(text) // 120)):
        read_safely(text[:place], f"x{FORMATS[form].suffix}")


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
def test_changed_anywhere(form, data):
    text = dump(form, RECIPE).text
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 6))
        text = text[:place] + data.draw(st.sampled_from(PIECES)) + text[place + cut :]
    read_safely(text, f"x{FORMATS[form].suffix}")


WRONG = [None, True, 7, -1, 1e308, "x", "{{x}}", [], [1], [[]], {}, {"a": {}}, ["x"] * 3, {"id": []}, 2**70]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_wrong_types_in_every_place(wrong):
    places = {
        "x.prompt": (
            "model",
            "config",
            "input",
            "output",
            "description",
            "nucleus.prompt",
            "nucleus.seeds",
            "nucleus.min_p",
        ),
        "x.promptfoo.yaml": ("prompts", "providers", "tests", "metadata", "description"),
        "x.ipynb": ("cells", "metadata", "nbformat"),
    }
    value = json.dumps(wrong)
    for key in places["x.prompt"]:
        read_safely(f"---\n{key}: {value}\n---\nSay {{{{x}}}}.", "x.prompt")
    for inner in (
        "config: {temperature: %s}",
        "config: {stopSequences: %s}",
        "input: {default: %s}",
        "output: {schema: %s}",
    ):
        read_safely(f"---\n{inner % value}\n---\nSay.", "x.prompt")
    promptfoo = {"prompts": ["Say."], "providers": [{"id": "openai:m", "config": {}}], "tests": [{"vars": {}}]}
    for key in places["x.promptfoo.yaml"]:
        read_safely(json.dumps(promptfoo | {key: wrong}), "x.yaml")
    for changed in (
        {"providers": [wrong]},
        {"providers": [{"id": wrong}]},
        {
            "providers": [
                {"id": "openai:m", "config": {"temperature": wrong, "passthrough": wrong, "apiBaseUrl": wrong}}
            ]
        },
        {"providers": [{"id": "vertex:m", "config": {"projectId": wrong, "region": wrong}}]},
        {"prompts": [wrong]},
        {"prompts": [{"raw": wrong}]},
        {"prompts": [json.dumps([{"role": "user", "content": wrong}])]},
        {"prompts": [json.dumps(wrong)]},
        {"tests": [wrong]},
        {"tests": [{"vars": wrong}]},
        {"metadata": {"nucleus": wrong}},
        {"metadata": {"nucleus": value}},
    ):
        read_safely(json.dumps(promptfoo | changed), "x.yaml")
    notebook = json.loads(dump("notebook", RECIPE).text)
    for key in places["x.ipynb"]:
        read_safely(json.dumps(notebook | {key: wrong}), "x.ipynb")
    read_safely(json.dumps(notebook | {"metadata": {"nucleus": wrong}}))
    read_safely(json.dumps(notebook | {"metadata": {"nucleus": {"recipe": wrong}}}))
    read_safely(json.dumps(notebook | {"cells": [wrong, {"cell_type": "code", "source": wrong}]}))


REFUSED = {
    "aliases": "---\nconfig: &a {temperature: 1}\ninput: *a\n---\nSay.",
    "a bomb of aliases": "---\na: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n---\nSay.",
    "a tag": "---\nmodel: !!python/object/apply:os.system ['true']\n---\nSay.",
    "a key twice": "---\nmodel: googleai/a\nmodel: googleai/b\n---\nSay.",
    "a condition": "---\nmodel: googleai/a\n---\n{{#if x}}Say.{{/if}}",
    "a partial": "---\nmodel: googleai/a\n---\n{{>secrets}}",
    "a helper": "---\nmodel: googleai/a\n---\n{{media url=x}}",
    "braces left open": "---\nmodel: googleai/a\n---\nSay {{x",
    "an unknown role": '---\nmodel: googleai/a\n---\n{{role "root"}}Say.',
    "turns out of order": '---\nmodel: googleai/a\n---\n{{role "model"}}a{{role "system"}}b',
    "code in Nunjucks": "prompts: ['{{ range.constructor(\"return 1\")() }}']\nproviders: [openai:m]",
    "a statement of Nunjucks": "prompts: ['{% include \"/etc/passwd\" %}']\nproviders: [openai:m]",
    "a prompt in another file": "prompts: [file:///etc/passwd]\nproviders: [openai:m]",
    "too deep": "prompts: " + "[" * 60 + "]" * 60 + "\nproviders: [openai:m]",
    "a number without end": "---\nconfig: {maxOutputTokens: 1" + "0" * 400 + "}\n---\nSay.",
    "no number": "---\nconfig: {temperature: .nan}\n---\nSay.",
    "a half of a letter": '{"nbformat": 4, "cells": [], "metadata": {"nucleus": {"recipe": {"title": "\\ud800"}}}}',
    "an unknown version": '{"nbformat": 4, "cells": [], "metadata": {"nucleus": {"recipe": {"schema_version": 99}}}}',
    "an address with a key": '---\nnucleus.model: {id: "openai:m@https://user:pass@x.example/v1"}\n---\nSay.',
    "nothing": "",
    "binary": "\x00\x01\x02",
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_reason(case):
    error = read_safely(REFUSED[case])
    assert error is not None, case


def test_what_would_run_elsewhere_is_not_even_named_as_a_provider():
    loaded = load("prompts: [Say.]\nproviders: ['exec:rm -rf /', 'file://x.py', 'python:x.py']\ntests: [{vars: {}}]")
    assert loaded.recipe.model.id == "builtin"
    assert ("providers.id", "unknown_here") in loaded.dropped


def test_values_that_name_files_are_left_out():
    text = "prompts: ['Say {{x}}']\nproviders: [openai:m]\ntests: [{vars: {x: 'file:///etc/passwd'}}, {vars: {x: ok}}]"
    loaded = load(text)
    assert [dict(row) for row in loaded.recipe.prompt.values] == [{"x": "ok"}]
    assert ("tests.vars", "not_read") in loaded.dropped


def test_huge_files_are_refused_at_once():
    for text in ("x" * (33 * 2**20), b"\xff" * (33 * 2**20)):
        error = read_safely(text)
        assert error is not None
        assert error.code == "import_too_large"


@given(st.binary(max_size=300))
def test_any_bytes(data):
    read_safely(data)
    read_safely(base64.b64encode(data), "x.prompt")


@given(st.lists(st.sampled_from([*PIECES, "prompts: ", "providers: ", "---\n", "{{#", "}}", "nbformat"])).map("".join))
def test_any_text(text):
    read_safely(text)
    read_safely(text, "x.prompt")
