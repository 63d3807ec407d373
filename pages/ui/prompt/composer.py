"""Composer of prompts: technique, texts, examples, values, output, and the rendered prompt.

Every field keeps its value, whatever the technique shows. `read_prompt` makes a `PromptSpec` from the fields,
`write_prompt` fills them from one.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, get_args

import streamlit as st

from llm_core import NucleusError, PromptSpec
from llm_core.prompts.extraction import Extraction, ExtractionKind
from llm_core.prompts.output_format import OutputFormat, OutputKind
from llm_core.prompts.rendering import render
from llm_core.prompts.retrieval import MAX_PASSAGES
from llm_core.prompts.spec import MAX_CHAINS, TECHNIQUES
from pages.ui.components.fields import show_field
from pages.ui.components.prompt_tokens import PromptToken, show_prompt_tokens
from pages.ui.prompt.document_field import has_document, show_document_field, show_passages
from pages.ui.prompt.example_editor import show_example_editor
from pages.ui.prompt.session_state import prompt_state
from pages.ui.prompt.value_table import show_value_table
from pages.ui.shell import i18n
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import Key, get, get_number, has, put

if TYPE_CHECKING:
    from llm_core.models.language_model import LanguageModel

_PLAIN_FIELDS = (
    *(Key.TECHNIQUE, Key.SYSTEM, Key.ROLE, Key.CONTEXT, Key.INSTRUCTION, Key.QUESTION, Key.EXAMPLES_AS),
    *(Key.INPUT_LABEL, Key.OUTPUT_LABEL, Key.TRIGGER, Key.ANSWER_MARKER, Key.STEP_BACK_QUESTION, Key.PREFILL),
    Key.DOCUMENT,
)
"""Widgets that hold a field of `PromptSpec` unchanged, under the name of the field."""

_PREFILLED_FIELDS = ("trigger", "answer_marker", "step_back_question", "input_label", "output_label")
"""Fields with an initial text in the reader's language."""

_MAX_TOKENS_SHOWN = 4000
"""Tokens of the rendered prompt to show at most; a page with more elements becomes slow."""


def show_composer(model: LanguageModel | None) -> None:
    """Draw the composer. `model` renders the prompt for display; None while no local model is loaded."""
    if not has(Key.INSTRUCTION):
        words: dict[str, Any] = {field: t(f"first_prompt.{field}") for field in _PREFILLED_FIELDS}
        write_prompt(PromptSpec(t("playground.first_prompt"), **words))
    show_field(
        st.pills,
        "techniques.title",
        Key.TECHNIQUE,
        list(TECHNIQUES),
        format_func=lambda name: t(f"techniques.{name}.name"),
        required=True,
    )
    technique = str(get(Key.TECHNIQUE))
    method = TECHNIQUES[get(Key.TECHNIQUE)]
    shows_examples = method.examples != 0
    about_an_input = shows_examples or bool(get(Key.QUESTION))
    st.caption(t(f"techniques.{technique}.text"))
    show_field(st.text_area, "playground.prompt", Key.INSTRUCTION, height=100)
    if about_an_input:
        show_field(st.text_area, "parts.question", Key.QUESTION, height=68)
    if method.steps_back:
        show_field(st.text_input, "parts.step_back_question", Key.STEP_BACK_QUESTION)
    if method.votes:
        show_field(st.number_input, "parts.chains", Key.CHAINS, value=None, step=1)
        st.caption(t("techniques.chains_help"))
    if method.reasoning:
        left, right = st.columns([3, 2])
        show_field(left.text_input, "parts.trigger", Key.TRIGGER)
        show_field(right.text_input, "parts.answer_marker", Key.ANSWER_MARKER)
    if shows_examples:
        show_example_editor(method.reasoning)
        _show_example_style()
    if variables := _prompt_variables():
        show_value_table(variables)
    with st.expander(t("playground.parts")):
        show_field(st.text_area, "parts.role", Key.ROLE, height=68)
        show_field(st.text_area, "parts.system", Key.SYSTEM, height=68)
        show_field(st.text_area, "parts.context", Key.CONTEXT, height=68)
        if not about_an_input:
            show_field(st.text_area, "parts.question", Key.QUESTION, height=68)
        show_field(st.text_input, "parts.prefill", Key.PREFILL)
    with st.expander(t("document.title")):
        show_document_field()
        _show_passages()
    with st.expander(t("playground.output")):
        _show_output_fields()
    # Behind a switch, since rendering costs time at every rerun.
    if model and st.toggle(t("playground.show_rendered"), key="prompt.show_rendered"):
        _show_rendered_prompt(model)


def is_default_prompt(spec: PromptSpec) -> bool:
    """Return whether a prompt is the initial one. Texts that differ by language are ignored."""
    words: dict[str, Any] = dict.fromkeys(_PREFILLED_FIELDS, "")
    return dataclasses.replace(spec, **words) == PromptSpec(t("playground.first_prompt"), **words)


def read_prompt(stop_sequences: tuple[str, ...] = ()) -> PromptSpec:
    """Return the prompt of the fields. Raises `NucleusError` for a number field that is empty or out of range;
    `PromptSpec.validate` checks the rest."""
    simple: dict[str, Any] = {key.field: get(key) or "" for key in _PLAIN_FIELDS}
    return PromptSpec(
        **simple,
        chains=int(get_number(Key.CHAINS, Key.CHAINS.field, 1, MAX_CHAINS)),
        passages=int(get_number(Key.PASSAGES, Key.PASSAGES.field, 1, MAX_PASSAGES)),
        examples=prompt_state().examples.examples,
        output=OutputFormat(get(Key.OUTPUT_KIND), _split_lines(get(Key.CHOICES) or ""), get(Key.SCHEMA) or ""),
        extraction=Extraction(get(Key.EXTRACTION_KIND), get(Key.EXTRACTION_ARGUMENT) or ""),
        stop_sequences=stop_sequences,
        values=tuple(prompt_state().value_table.rows),
    )


def write_prompt(spec: PromptSpec) -> None:
    """Fill the fields from a prompt. Call it before they are drawn, as from a button's `on_click`."""
    for key in _PLAIN_FIELDS:
        put(key, getattr(spec, key.field))
    put(Key.CHAINS, spec.chains)
    put(Key.PASSAGES, spec.passages)
    put(Key.OUTPUT_KIND, spec.output.kind)
    put(Key.CHOICES, "\n".join(spec.output.choices))
    put(Key.SCHEMA, spec.output.schema)
    put(Key.EXTRACTION_KIND, spec.extraction.kind)
    put(Key.EXTRACTION_ARGUMENT, spec.extraction.argument)
    prompt_state().examples.replace(spec.examples)
    prompt_state().value_table.set([dict(row) for row in spec.values])


def _show_passages() -> None:
    """Draw the passages of the document that match the current question."""
    if has_document() and not _prompt_variables():
        try:
            show_passages(read_prompt().expand({}))
        except NucleusError as error:
            st.caption(i18n.explain(error))


def _show_choice(text: str, key: Key, names: dict[str, str]) -> None:
    show_field(st.segmented_control, text, key, list(names), format_func=names.__getitem__, required=True)


def _show_example_style() -> None:
    styles = {style: t(f"examples.as_{style}") for style in ("turns", "text")}
    _show_choice("examples.as", Key.EXAMPLES_AS, styles)
    if get(Key.EXAMPLES_AS) == "text":
        before, after = st.columns(2)
        show_field(before.text_input, "examples.input_label", Key.INPUT_LABEL)
        show_field(after.text_input, "examples.output_label", Key.OUTPUT_LABEL)


def _show_output_fields() -> None:
    kinds = {kind: t(f"output.{kind}") for kind in get_args(OutputKind)}
    _show_choice("output.title", Key.OUTPUT_KIND, kinds)
    if get(Key.OUTPUT_KIND) == "choice":
        show_field(st.text_area, "output.choices", Key.CHOICES, height=100)
    if get(Key.OUTPUT_KIND) == "json":
        show_field(
            st.text_area,
            "output.schema",
            Key.SCHEMA,
            height=150,
            placeholder='{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}',
        )
    kind, argument = st.columns([1, 1], vertical_alignment="bottom")
    names = {name: t(f"extraction.{name}") for name in get_args(ExtractionKind)}
    show_field(kind.selectbox, "extraction.title", Key.EXTRACTION_KIND, list(names), format_func=names.__getitem__)
    if (name := get(Key.EXTRACTION_KIND)) in ("marker", "regex", "json_path"):
        show_field(argument.text_input, f"extraction.{name}_argument", Key.EXTRACTION_ARGUMENT)


def _split_lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


def _prompt_variables() -> tuple[str, ...]:
    """Return the variables of the prompt; empty while a field is incomplete."""
    try:
        return read_prompt().variables()
    except NucleusError:
        return ()


def _show_rendered_prompt(model: LanguageModel) -> None:
    try:
        spec = read_prompt().variants()[0]
        spec = spec.make_step_back_prompt() if spec.traits.steps_back else spec
        rendered = render(spec, model)
    except NucleusError as error:
        st.caption(i18n.explain(error))
        return
    total, window = len(rendered.token_ids), model.context_window
    st.caption(
        t(
            "playground.rendered",
            tokens=format_number(total, 0),
            window=format_number(window, 0),
            share=format_number(100 * total / window, 1),
        )
    )
    counts = rendered.tokens_by_part
    names = {part: t(f"fields.{part}") for part in counts}
    cells = [
        PromptToken(model.label(token).replace("\n", "↵\n"), part, f"{token} · {names[part]}")
        for token, part in zip(rendered.token_ids[:_MAX_TOKENS_SHOWN], rendered.token_parts, strict=False)
    ]
    show_prompt_tokens(
        cells,
        {part: (names[part], format_number(count, 0)) for part, count in counts.items()},
        key="prompt.tokens",
    )
    if total > _MAX_TOKENS_SHOWN:
        st.caption(t("playground.rendered_cut", shown=format_number(_MAX_TOKENS_SHOWN, 0)))
