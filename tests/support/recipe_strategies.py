"""Define Hypothesis strategies of recipes."""

from __future__ import annotations

from hypothesis import strategies as st

from llm_core import ModelReference, Recipe
from llm_core.decoding.precision import PRECISIONS
from llm_core.generation.request import THINKING, HostedOptions, Image
from llm_core.recipes.recipe import Limits
from samplers import ORDERS, STAGE_NAMES, SamplerConfig
from tests.llm_core.prompts.test_serialization import prompts

printable_text = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp"]), max_size=12)
lines = printable_text.map(str)
names = printable_text.filter(bool)
token_ids = st.integers(0, 200_000)


def bounded_floats(low: float, high: float, **bounds: bool) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, **bounds)


samplers = st.builds(
    SamplerConfig,
    temperature=st.one_of(st.just(0), bounded_floats(0, 100)),
    top_k=st.integers(0, 2**40),
    top_p=bounded_floats(0, 1, exclude_min=True),
    min_p=bounded_floats(0, 1),
    epsilon_cutoff=bounded_floats(0, 1, exclude_max=True),
    repetition_penalty=bounded_floats(0, 100, exclude_min=True),
    presence_penalty=bounded_floats(-2, 2),
    dry_multiplier=bounded_floats(0, 100),
    dry_sequence_breakers=st.lists(token_ids, max_size=3).map(tuple),
    logit_bias=st.dictionaries(token_ids, bounded_floats(-100, 100), max_size=3),
    banned_tokens=st.lists(token_ids, max_size=3).map(tuple),
    min_new_tokens=st.integers(0, 100),
    order=st.one_of(st.sampled_from(list(ORDERS)), st.permutations(STAGE_NAMES).map(tuple)),
)
hosted = st.builds(
    HostedOptions,
    thinking=st.one_of(st.sampled_from(THINKING), st.integers(0, 10_000)),
    show_thoughts=st.booleans(),
    safety=st.lists(st.tuples(st.just("HARASSMENT"), st.just("BLOCK_NONE")), max_size=1).map(tuple),
    images=st.lists(st.builds(Image, st.just("image/png"), st.binary(max_size=40)), max_size=1).map(tuple),
    top_logprobs=st.integers(0, 20),
)
recipes = st.builds(
    Recipe,
    title=lines,
    author=lines,
    language=st.sampled_from(["", "en", "vi"]),
    licence=lines,
    notes=st.lists(printable_text, max_size=3).map("\n".join),
    tags=st.lists(names, max_size=3).map(tuple),
    model=st.builds(ModelReference, id=st.sampled_from(["builtin", "openai:m@http://127.0.0.1:1/v1"]), revision=lines),
    precision=st.sampled_from(PRECISIONS),
    prompt=prompts,
    sampler=samplers,
    seeds=st.lists(st.integers(0, 2**63 - 65), min_size=1, max_size=4).map(tuple),
    candidates=st.integers(1, 16),
    criteria=st.dictionaries(names, bounded_floats(-1e6, 1e6), max_size=2),
    limits=st.builds(
        Limits,
        max_output_tokens=st.integers(1, 100_000),
        stop_sequences=st.lists(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5), max_size=2
        ).map(tuple),
        deadline_seconds=bounded_floats(0.1, 86_400),
    ),
    hosted=hosted,
)
