"""Define strategies of recipes with the texts that break files: braces, backslashes, markup, quotes, line ends."""

from __future__ import annotations

from hypothesis import strategies as st

from llm_core import Example, NucleusError, PromptSpec, Recipe
from llm_core.prompts.extraction import Extraction
from llm_core.prompts.output_format import OutputFormat
from llm_core.prompts.spec import TECHNIQUES
from samplers import ORDERS, SamplerConfig

PIECES = [
    *("{{name}}", "{{ the city }}", "{{thành phố}}", "{{role}}", "{{env}}", "{{9}}", "{", "}", "\\{{", "\\", "'", '"'),
    *('{"a": {"b": 1}}', "{% if x %}", "{# c #}", "\n", "\n---\n", " ", "\t", "<b>", "</script>", "<script>alert(1)"),
    *("<<<dotprompt:role:system>>>", "a", "Xin chào", "\u2028", "\u202e", "😀", "'''", '"""', "#", ": ", "- ", "&amp;"),
    *("file:///etc/passwd", "=1+1", "*", "${x}", "%s", "!!python/object:os.system", "&a", "*a", "no", "1e5", "null"),
]
TEXT = st.lists(st.sampled_from(PIECES), max_size=7).map("".join)
NONEMPTY_TEXT = TEXT.map(lambda text: f"x{text}")
LINE = st.sampled_from(["", "Title", "A: b", "{{x}}", "'", "<script>", "file://x", "a {% b", "Đường về"])
SAMPLER_FIELDS = {
    "temperature": st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    "top_k": st.integers(0, 50),
    "top_p": st.sampled_from([0.1, 0.9, 1.0]),
    "min_p": st.sampled_from([0.0, 0.05]),
    "typical_p": st.sampled_from([0.5, 1.0]),
    "presence_penalty": st.sampled_from([0.0, 0.5, -1.5]),
    "repetition_penalty": st.sampled_from([1.0, 1.3]),
    "dry_multiplier": st.sampled_from([0.0, 0.8]),
    "no_repeat_ngram_size": st.integers(0, 3),
    "order": st.sampled_from([*ORDERS]),
    "banned_tokens": st.sampled_from([(), (3, 7)]),
    "logit_bias": st.sampled_from([(), ((5, -2.0),)]),
}
MODELS = [
    *(
        "builtin",
        "gpt2",
        "gemini:gemini-4",
        "vertex:gemini-4@my-project/us-central1",
        "vertex:gemini-4",
        "openai:gpt-6",
    ),
    *(
        "openai:some/model@http://127.0.0.1:8000/v1",
        "gemini:g@https://gateway.example/x",
        "endpoint:7@my-project/asia-1",
    ),
]


@st.composite
def specs(draw: st.DrawFn) -> PromptSpec:
    names = ("name", "the city", "thành phố", "role", "env", "9")
    rows = st.lists(st.fixed_dictionaries(dict.fromkeys(names, TEXT)), max_size=2).map(tuple)
    output = st.sampled_from(
        [OutputFormat(), OutputFormat("choice", ("a", "{{7*7}}")), OutputFormat("json", schema='{"type": "object"}')]
    )
    return PromptSpec(
        draw(NONEMPTY_TEXT),
        system=draw(TEXT),
        technique=draw(st.sampled_from([*TECHNIQUES])),
        role=draw(st.just("") | TEXT),
        context=draw(st.just("") | TEXT),
        question=draw(st.just("") | TEXT),
        examples=tuple(draw(st.lists(st.builds(Example, NONEMPTY_TEXT, NONEMPTY_TEXT, TEXT), max_size=2))),
        examples_as=draw(st.sampled_from(["turns", "text"])),
        prefill=draw(st.just("") | TEXT),
        output=draw(output),
        extraction=draw(st.sampled_from([Extraction(), Extraction("marker", "Answer:")])),
        values=draw(rows),
    )


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Draw any recipe that is accepted; refused ones, as with unbalanced braces, are filtered out."""
    from hypothesis import assume

    fields = {name: draw(each) for name, each in SAMPLER_FIELDS.items() if draw(st.booleans())}
    try:
        spec = draw(specs())
        spec.variables()
        recipe = Recipe(
            title=draw(LINE),
            author=draw(LINE),
            notes=draw(st.sampled_from(["", "Look:\n{{ env.KEY }}", "</pre><script>alert(1)</script>"])),
            tags=draw(st.sampled_from([(), ("a", "{{b}}")])),
            model={"id": draw(st.sampled_from(MODELS))},
            prompt=spec,
            sampler=SamplerConfig(**fields),
            seeds=draw(st.sampled_from([(0,), (7,), (1, 2, 3)])),
            candidates=draw(st.integers(1, 3)),
            limits={
                "max_output_tokens": draw(st.integers(1, 500)),
                "stop_sequences": draw(st.sampled_from([(), ("\n",), ("END", "{{7*7}}"), ("file://x",)])),
            },
        )
    except NucleusError:
        assume(False)
        raise
    return recipe
