"""Options of hosted models: thinking, safety settings and images; and what a provider returned beside the answer."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import streamlit as st

from llm_core import NucleusError
from llm_core.generation.record import Run, SampleRecord, Usage
from llm_core.generation.request import IMAGE_TYPES, THINKING, HostedOptions, Image
from pages.ui.components.fields import show_field
from pages.ui.model.session_state import model_state
from pages.ui.shell import i18n, services
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import Key, get, has, put

if TYPE_CHECKING:
    from llm_core.providers.model_id import Target

SAFETY_CATEGORIES = ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")
SAFETY_LEVELS = ("default", "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE")


def show_hosted_options() -> None:
    """Draw the fields that `read_hosted_options` reads."""
    if not has(Key.THINKING):
        put(Key.THINKING, "default")
        put(Key.SAFETY, "default")
        put(Key.SHOW_THOUGHTS, False)
    with st.expander(t("hosted.options")):
        levels = {level: t(f"hosted.thinking.{level}") for level in THINKING}
        show_field(st.selectbox, "hosted.thinking_title", Key.THINKING, list(levels), format_func=levels.__getitem__)
        show_field(st.toggle, "hosted.show_thoughts", Key.SHOW_THOUGHTS)
        bars = {bar: t(f"hosted.safety.{bar}") for bar in SAFETY_LEVELS}
        show_field(st.selectbox, "hosted.safety_title", Key.SAFETY, list(bars), format_func=bars.__getitem__)
        st.file_uploader(
            t("hosted.images"),
            type=["png", "jpg", "jpeg", "webp"],
            accept_multiple_files=True,
            key="model.images",
            help=t("hosted.images_help", known=", ".join(IMAGE_TYPES)),
        )
        if model_state().images and not get("model.images"):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.caption(t("hosted.images_opened", count=len(model_state().images)), width="content")
                st.button(t("hosted.images_remove"), key="model.remove_images", on_click=_remove_images)


def read_hosted_options() -> HostedOptions:
    """Return the options as the fields have them, with the open recipe's images if no files are chosen."""
    files = get("model.images") or ()
    bar = get(Key.SAFETY) or "default"
    return HostedOptions(
        thinking=get(Key.THINKING) or "default",
        show_thoughts=bool(get(Key.SHOW_THOUGHTS)),
        safety=() if bar == "default" else tuple((category, bar) for category in SAFETY_CATEGORIES),
        images=tuple(Image(file.type, file.getvalue()) for file in files) or model_state().images,
    )


def write_hosted_options(options: HostedOptions) -> None:
    """Fill the fields as far as they can show the options; thinking by level only. Call it before they are drawn."""
    bars = {bar for _, bar in options.safety}
    put(Key.THINKING, options.thinking if options.thinking in THINKING else "default")
    put(Key.SHOW_THOUGHTS, options.show_thoughts)
    put(Key.SAFETY, bars.pop() if len(bars) == 1 and bars <= set(SAFETY_LEVELS) else "default")
    model_state().images = options.images


def _remove_images() -> None:
    model_state().images = ()


def show_response_notes(run: Run, row: SampleRecord) -> None:
    """Draw notices, thoughts, token usage and cost of one answer."""
    for notice in run.notices:
        st.info(i18n.explain(notice), icon=":material/info:")
    if row.thoughts:
        with st.expander(t("hosted.thoughts")):
            st.code(row.thoughts, language=None, wrap_lines=True)
    if row.from_cache:
        st.caption(f":material/cached: {t('hosted_views.cache.answer')}")
    if row.shares_call:
        st.caption(f":material/stacks: {t('hosted.shared')}")
    if usage := row.usage:
        counted = {"prompt": usage.prompt_tokens, "output": usage.output_tokens, "thoughts": usage.thought_tokens}
        parts = [t(f"hosted.usage.{name}", value=format_number(value, 0)) for name, value in counted.items() if value]
        st.caption(" · ".join([*parts, *_format_sample_cost(run, row)]))


def _format_sample_cost(run: Run, row: SampleRecord) -> list[str]:
    if row.usage is None or row.from_cache:
        return []
    try:
        target = services.router().target(run.request.model_id)
    except NucleusError:  # a recorded run at a URL that may not be called from here
        return []
    return format_cost(target, row.usage) if target else []


def format_cost(target: Target, usage: Usage) -> list[str]:
    try:
        estimate = services.price_table().estimate(target, usage, date.today())
    except NucleusError as error:
        return [i18n.explain(error)]
    if estimate is None:
        return []
    day = estimate.as_of.isoformat()
    return [t("hosted.cost", value=format_number(estimate.amount, 5), currency=estimate.currency, date=day)]
