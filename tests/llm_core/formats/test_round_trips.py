"""What a conversion does not name as lost comes back equal, and other programs make of the files what they should."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import re
from concurrent.futures import ThreadPoolExecutor

import jinja2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_core import Example, HostedOptions, ModelReference, NucleusError, PromptSpec, Recipe
from llm_core.formats.common.chat import Turn, Variable, spec_to_turns
from llm_core.formats.common.fields import changed_fields, field_values
from llm_core.formats.handlebars import is_expressible, read, write
from llm_core.formats.registry import DROP_REASONS, FORMATS, detect_format, dump, load, make_file_name, readable_formats
from samplers import SamplerConfig
from tests.support.hostile_recipes import PIECES, TEXT, recipes

KEPT = ("nucleus_only", "as_chat", "unsafe_there", "other_model", "as_prompts", "one_step", "needs_repository")
"""Reasons that are about other programs: Nucleus still reads the field."""


@pytest.mark.parametrize("form", readable_formats())
@given(recipe=recipes())
def test_what_is_not_named_lost_comes_back(form, recipe):
    dumped = dump(form, recipe)
    assert all(each.reason in DROP_REASONS for each in dumped.dropped)
    loaded = load(dumped.text, f"x{FORMATS[form].suffix}")
    gone = {each.field for each in dumped.dropped if each.reason not in KEPT}
    there, back = field_values(recipe), field_values(loaded.recipe)
    assert {name: value for name, value in back.items() if name not in gone} == {
        name: value for name, value in there.items() if name not in gone
    }
    assert loaded.recipe == recipe  # nothing is gone: every form has a place of ours
    assert loaded.dropped == ()


@pytest.mark.parametrize("form", readable_formats())
def test_the_recorded_run_is_named_where_it_stays_behind(form, traced_recipe):
    dumped = dump(form, traced_recipe)
    loaded = load(dumped.text)
    if form in ("yaml", "json"):
        assert dumped.dropped == ()
        assert loaded.recipe == traced_recipe
    else:
        assert ("trace", "no_place") in dumped.dropped
        assert loaded.recipe == traced_recipe.model_copy(update={"trace": None})


@given(recipe=recipes())
def test_forms_are_told_apart_by_their_content(recipe):
    for form in readable_formats():
        assert detect_format(dump(form, recipe).text) in (form, "yaml" if form == "json" else form)


def merge_texts(parts: list) -> tuple:
    """Neighbouring texts as one."""
    return tuple(
        each for kind, group in itertools.groupby(parts, type) for each in (["".join(group)] if kind is str else group)
    )


PARTS = st.lists(TEXT.filter(bool) | st.sampled_from([Variable(each) for each in ("name", "the city", "role")]))
SAID = PARTS.map(merge_texts).filter(lambda parts: any(isinstance(part, Variable) or part.strip() for part in parts))
TURNS = st.lists(SAID, min_size=1, max_size=3).map(
    lambda said: tuple(map(Turn, ("system", "user", "assistant")[: len(said)], said))
)


def render_dotprompt(template: str, given: dict[str, str]) -> list[tuple[str, str]]:
    """By Google's own implementation."""
    from dotpromptz.dotprompt import Dotprompt
    from dotpromptz.typing import DataArgument

    async def render():
        result = Dotprompt().render(template, DataArgument(input=given))
        return await result if inspect.isawaitable(result) else result

    # In a thread of its own: the browser tests' event loop may still be this one's.
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(asyncio.run, render()).result()
    return [(each.role.value, "".join(part.text for part in each.content)) for each in result.messages]


VALUES = {"name": "<An & {{b}}>", "the city": "Huế", "role": "r"}


@given(turns=TURNS)
@example(turns=(Turn("user", ("a\\", Variable("name"))),))
@example(turns=(Turn("user", ("a{", Variable("name"), "}b{{{{{", Variable("role"))),))
@example(turns=(Turn("system", (" x ",)), Turn("user", ("\n", Variable("name"), "\n\n"))))
def test_google_s_dotprompt_renders_the_chat(turns):
    template = write(turns)
    if not is_expressible(turns):
        return
    said = [("model" if turn.role == "assistant" else turn.role, turn.text(variable=VALUES.get)) for turn in turns]
    assert render_dotprompt(f"---\ninput: {{}}\n---\n{template}\n", VALUES) == said
    assert read(template) == turns


@given(recipe=recipes())
def test_promptfoo_s_templates_say_the_prompt_and_run_nothing(recipe):
    """Jinja stands for Nunjucks, whose expressions these are too. Everything else in the file has no template."""
    import yaml

    data = yaml.safe_load(dump("promptfoo", recipe).text)
    turns = spec_to_turns(recipe.prompt)
    templates = [message["content"] for message in json.loads(data["prompts"][0])]
    names = list(dict.fromkeys(part.name for turn in turns for part in turn.parts if isinstance(part, Variable)))
    environment = jinja2.Environment(keep_trailing_newline=True, newline_sequence="\n")
    for test in data["tests"]:
        given_values = dict(zip(names, test["vars"].values(), strict=False))
        if len(given_values) < len(names):
            continue
        for template, turn in zip(templates, turns, strict=True):
            expected = turn.text(variable=given_values.__getitem__)
            assert environment.from_string(template).render(test["vars"]) == re.sub("\r\n?", "\n", expected)
    rest = {name: value for name, value in data.items() if name != "prompts"}
    for text in set(_iterate_texts(rest)) - {SERVER_KEY}:
        assert not re.search(r"\{[{%#]", text), text
        assert not re.match(r"(file|package|exec|python)\b", text), text


SERVER_KEY = "{{ env.SERVER_API_KEY | default('none', true) }}"


def test_promptfoo_does_not_send_the_maker_s_key_to_an_address_that_a_recipe_names():
    """It sends `OPENAI_API_KEY` wherever a provider has no key of its own, as promptfoo 0.121.20 did."""
    import yaml

    keys = {}
    for model in ("openai:m", "openai:m@http://127.0.0.1:8000/v1"):
        recipe = Recipe(prompt=PromptSpec("Say it."), model=ModelReference(id=model))
        text = dump("promptfoo", recipe).text
        keys[model] = yaml.safe_load(text)["providers"][0]["config"].get("apiKey")
        assert load(text, "x.yaml").recipe == recipe
    assert list(keys.values()) == [None, SERVER_KEY]


def _iterate_texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from (*_iterate_texts(key), *_iterate_texts(each))
    elif isinstance(value, list):
        for each in value:
            yield from _iterate_texts(each)


def test_a_file_that_others_wrote():
    """Dotprompt and promptfoo as their own pages have them: what is understood is taken, the rest is named."""
    prompt = """# a licence
---
model: googleai/gemini-2.5-flash
config: {temperature: 0.7, topK: 20, candidateCount: 2}
input:
  default: {name: Guest}
  schema: {name: string}
output: {format: json, schema: {greeting: string}}
tools: [timeOfDay]
nucleus.min_p: 0.1
nucleus.colour: red
---
{{! a comment }}{{role "system"}}You are kind.
{{role "user"}}
Greet {{name}} with \\{{braces}}.
"""
    loaded = load(prompt)
    recipe = loaded.recipe
    assert recipe.model.id == "gemini:gemini-2.5-flash"
    assert (recipe.sampler.temperature, recipe.sampler.top_k, recipe.sampler.min_p) == (0.7, 20, 0.1)
    assert recipe.prompt.variants()[0].messages()[-1].content == "\nGreet Guest with {{braces}}."
    assert set(loaded.dropped) == {
        ("tools", "unknown_here"),
        ("config.candidateCount", "unknown_here"),
        ("output.schema", "unknown_here"),
        ("nucleus.colour", "unknown_here"),
    }
    config = """
prompts: ['Translate to {{language}}: {{input}}', 'Another']
providers: [openai:gpt-5, 'vertex:gemini-2.0-flash']
tests:
  - vars: {language: French, input: Hello}
    assert: [{type: contains-json}]
  - vars: {language: German, input: 7}
"""
    loaded = load(config, "promptfooconfig.yaml")
    assert loaded.recipe.model.id == "openai:gpt-5"
    assert [dict(row) for row in loaded.recipe.prompt.values] == [
        {"language": "French", "input": "Hello"},
        {"language": "German", "input": "7"},
    ]
    assert set(loaded.dropped) == {
        ("prompts", "not_read"),
        ("providers", "not_read"),
        ("tests.assert", "unknown_here"),
    }


@pytest.mark.parametrize("form", ["dotprompt", "promptfoo"])
def test_what_somebody_changed_by_hand_wins_over_what_we_kept_beside_it(form):
    spec = PromptSpec("Say it.", question="sea", examples=(Example("a", "b"),), technique="few_shot")
    recipe = Recipe(
        prompt=spec, model={"id": "gemini:gemini-4@https://gateway.example/x"}, sampler=SamplerConfig(min_p=0.1)
    )
    text = dump(form, recipe).text
    assert load(text).recipe == recipe
    before, _, after = text.partition("Say it.") if form == "promptfoo" else text.rpartition("Say it.")
    edited = load(f"{before}Tell it.{after}")
    assert [each.content for each in edited.recipe.prompt.messages()] == ["Tell it.\n\na", "b", "sea"]
    assert edited.recipe.sampler == recipe.sampler
    assert {each.reason for each in edited.dropped} == {"edited"}
    other = load(text.replace("gemini-4", "gemini-5", 1))
    assert other.recipe.model.id == "gemini:gemini-5"


def test_notebook_tells_that_its_code_was_changed():
    text = dump("notebook", Recipe(prompt=PromptSpec("Say it."))).text
    data = json.loads(text)
    data["cells"][-1]["source"] = "print(1)"
    assert load(json.dumps(data)).dropped == (("cells", "edited"),)
    data["cells"][-1]["source"] = json.loads(text)["cells"][-1]["source"]
    data["cells"][-1] |= {"outputs": [{"output_type": "stream", "name": "stdout", "text": "x"}], "execution_count": 3}
    assert load(json.dumps(data)).dropped == ()


def test_every_field_of_a_recipe_is_spoken_of():
    """Whoever adds a field to recipes is led here: each is carried or named by every program."""
    recipe = Recipe(
        title="t",
        author="a",
        language="en",
        licence="l",
        notes="n",
        tags=("x",),
        model={"id": "gpt2", "revision": "r"},
        precision="int4",
        prompt=PromptSpec("Say {{a}}", values=({"a": "1"},)),
        sampler=SamplerConfig(min_p=0.1),
        seeds=(4,),
        candidates=2,
        criteria={"mean_logprob": 1.0},
        hosted=HostedOptions(thinking="low"),
    )
    dropped = {each.field for each in dump("python_gemini", recipe).dropped}
    assert {"model.id", "model.revision", "precision", "criteria", "sampler.min_p", "prompt.values"} <= dropped
    assert not {"title", "seeds", "hosted.thinking"} & dropped
    assert set(changed_fields(recipe)) >= dropped - {"prompt"}


@pytest.mark.parametrize(
    "title", ["../../etc/passwd", "C:\\x\\con", "", "\u202egnp.exe", "Đường về", "a/b\0c", "." * 300]
)
def test_file_names_are_plain_whatever_the_title(title):
    for form, each in FORMATS.items():
        name = make_file_name(title, form)
        assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*" + re.escape(each.suffix), name), name
        assert len(name) < 100
    assert make_file_name("Đường về", "yaml") == "duong-ve.yaml"


def test_pieces_have_what_breaks_files():
    assert {"{", "\\", "'", '"', "\n"} <= set("".join(PIECES))


def test_unknown_forms_and_files_are_refused_with_the_way_out():
    for text, name in (("just words", "x.txt"), ("[1, 2]", "x.json"), ('{"a": 1}', "x.json"), ("a: 1", "x.yaml")):
        with pytest.raises(NucleusError) as refused:
            load(text, name)
        assert refused.value.code == "import_unknown"
        assert "dotprompt" in str(refused.value)
