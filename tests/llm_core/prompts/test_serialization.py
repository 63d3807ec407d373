"""Prompts survive being written down, and nothing else is taken for one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core import NucleusError, PromptSpec
from llm_core.prompts.extraction import Extraction
from llm_core.prompts.output_format import OutputFormat
from llm_core.prompts.serialization import MAX_JSON_CHARACTERS, dump_prompt, load_prompt
from llm_core.prompts.spec import MAX_CHAINS, TECHNIQUES, Example

text = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=8)
said = text.filter(str.strip)
outputs = st.one_of(
    st.builds(OutputFormat, schema=text),
    st.builds(OutputFormat, st.just("choice"), st.lists(said, min_size=1, max_size=3, unique=True).map(tuple)),
    st.builds(OutputFormat, st.just("json"), schema=st.just('{"type": "object"}')),
)
prompts = st.builds(
    PromptSpec,
    instruction=said,
    **dict.fromkeys(
        ["system", "role", "context", "question", "input_label", "trigger", "answer_marker", "prefill"], text
    ),
    technique=st.sampled_from(list(TECHNIQUES)),
    examples=st.lists(st.builds(Example, said, said, text), max_size=3).map(tuple),
    examples_as=st.sampled_from(["turns", "text"]),
    chains=st.integers(1, MAX_CHAINS),
    output=outputs,
    extraction=st.sampled_from([Extraction(), Extraction("number"), Extraction("marker", "Answer:")]),
    stop_sequences=st.lists(text, max_size=2).map(tuple),
    values=st.lists(st.dictionaries(text, text, max_size=2), max_size=2).map(tuple),
)


@given(prompts)
def test_what_was_written_is_read(spec):
    assert load_prompt(json.loads(json.dumps(dump_prompt(spec)))) == spec


def test_defaults_are_left_out():
    spec = PromptSpec("Hi", examples=(Example("a", "b"),), output=OutputFormat("choice", ("x",)))
    assert dump_prompt(spec) == {
        "version": 1,
        "instruction": "Hi",
        "examples": [{"input": "a", "output": "b"}],
        "output": {"kind": "choice", "choices": ["x"]},
    }


def refusal_code(data: object) -> NucleusError:
    with pytest.raises(NucleusError) as caught:
        load_prompt(data)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "code", "place"),
    [
        ({"temprature": 1}, "prompt_data_unknown", "temprature"),
        ({"output": {"form": "json"}}, "prompt_data_unknown", "output.form"),
        ({"examples": [{"input": "a", "output": "b"}, {"input": "a"}]}, "prompt_data_missing", "examples.2.output"),
        ({"chains": True}, "prompt_data_wrong", "chains"),
        ({"chains": "5"}, "prompt_data_wrong", "chains"),
        ({"chains": 5.0}, "prompt_data_wrong", "chains"),
        ({"system": None}, "prompt_data_wrong", "system"),
        ({"examples": {"input": "a"}}, "prompt_data_wrong", "examples"),
        ({"output": {"kind": "xml"}}, "prompt_data_wrong", "output.kind"),
        ({"values": [{"a": 1}]}, "prompt_data_wrong", "values.1.a"),
        ({"technique": "magic"}, "prompt_data_wrong", "technique"),
        ({"system": "\ud800"}, "prompt_data_wrong", "prompt"),
        ({"system": {1, 2}}, "prompt_data_wrong", "prompt"),
    ],
)
def test_what_is_not_a_prompt_is_refused_at_its_place(fields, code, place):
    error = refusal_code({"version": 1, "instruction": "Hi", **fields})
    assert (error.code, error.details["place"]) == (code, place)


def test_the_value_at_fault_is_shown_and_kept_short():
    assert "'magic'" in str(refusal_code({"version": 1, "technique": "magic"}))
    assert len(str(refusal_code({"version": 1, "technique": "x" * 5_000}))) < 400


@pytest.mark.parametrize("data", [[], "text", None, 5])
def test_only_an_object_is_a_prompt(data):
    assert refusal_code(data).code == "prompt_data_wrong"


@pytest.mark.parametrize("version", [2, 0, "1", True, None])
def test_other_versions(version):
    assert refusal_code({"version": version, "instruction": "Hi"}).code == "prompt_data_version"


def test_version_is_required():
    assert refusal_code({"instruction": "Hi"}).code == "prompt_data_version"


def test_limits_hold():
    assert refusal_code({"version": 1}).code == "prompt_empty"
    assert refusal_code({"version": 1, "instruction": "Hi", "chains": 10_000}).code == "setting_out_of_range"
    values = [{"name": "x" * (MAX_JSON_CHARACTERS // 2)}] * 2
    assert refusal_code({"version": 1, "instruction": "Hi", "values": values}).code == "prompt_data_too_large"
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert refusal_code({"version": 1, "instruction": deep}).code == "prompt_data_wrong"
