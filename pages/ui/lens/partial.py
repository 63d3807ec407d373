"""Format the Lens's numbers of a step of which only the likeliest tokens are known.

A provider shows the top tokens of a step, so numbers come with the mass that is missing and an error bound. Every
function also takes a wholly known step and then formats exact numbers.
"""

from __future__ import annotations

import streamlit as st

from llm_core.analysis.step_inspector import StageView, StepInspector, StepView, TokenAtStage
from pages.ui.shell.i18n import format_number, format_share, t
from samplers import SamplerConfig

_MIN_VISIBLE_ERROR = 5e-5
"""Smallest error that a percentage with one digit shows."""


def format_kept(stage: StageView) -> str:
    """Return how many tokens are possible after a stage, and whether unseen tokens may be possible too."""
    if stage.unseen is None:
        return t("lens.kept", count=format_number(stage.kept, 0))
    words = t("hosted_views.kept", kept=format_number(stage.kept, 0), shown=format_number(len(stage.probs), 0))
    return f"{words} {t('hosted_views.and_others')}" if stage.unseen.possible else words


def format_entropy(stage: StageView) -> str:
    """Return the entropy in bits, or the two numbers that it lies between."""
    low = format_number(stage.entropy_bits)
    if stage.unseen is None or (high := format_number(stage.unseen.max_entropy_bits)) == low:
        return low
    return f"{low}–{high}"


def format_error_bound(stage: StageView) -> str:
    """Return the error bound of the stage's probabilities; empty where they are exact."""
    if stage.unseen is None:
        return ""
    if stage.error_bound >= 1:
        return t("hosted_views.no_bound")
    return (
        f"± {format_share(stage.error_bound)}" if stage.error_bound >= _MIN_VISIBLE_ERROR else t("hosted_views.exact")
    )


def rest_label(view: StepView) -> str:
    return t("lens.rest" if view.raw.unseen is None else "hosted_views.rest")


def format_probability(seen: TokenAtStage, shown: bool) -> str:
    """Return a probability with its error bound, or an upper bound for a token that was not shown."""
    if not shown:
        return t("hosted_views.at_most", value=f"{seen.probability:.3g}") if seen.probability else "0"
    bound = f" ± {seen.error_bound:.2g}" if seen.error_bound >= _MIN_VISIBLE_ERROR else ""
    return f"{seen.probability:.3g}{bound}"


def format_rank(seen: TokenAtStage, shown: bool) -> str:
    if seen.rank is None:
        return t("step.cut")
    rank = format_number(seen.rank, 0)
    return rank if shown else t("hosted_views.at_least", value=rank)


def show_partial_note(lens: StepInspector, view: StepView, config: SamplerConfig) -> None:
    """Draw a note on what is missing from the step, and on the error bound; nothing for a wholly known step."""
    raw, final = view.raw.unseen, view.final
    if raw is None:
        return
    words = [t("hosted_views.shown", count=format_number(len(view.raw.probs), 0), value=format_share(1 - raw.mass))]
    words.append(t("hosted_views.one_bar"))
    if unbounded := lens.unbounded_stages(config):
        names = ", ".join(t(f"stages.{name}.name") for name in unbounded)
        words.append(t("hosted_views.unbounded", stages=names))
    elif final.error_bound >= 1:
        words.append(t("hosted_views.constrained" if config.stages else "hosted_views.odd"))
    else:
        words.append(t("hosted_views.bound", value=format_share(final.error_bound)))
    st.caption(" ".join(words), help=t("hosted_views.bound_help"))
