"""What the Lens says of a step of which a provider showed only the likeliest tokens: how much is missing, and how far a
number may be off. Each function also takes a step that is wholly known, and then says what it always says."""

from __future__ import annotations

import streamlit as st

from llm_core.lens import Lens, Sighting, StageView, View
from pages.ui.i18n import number, share, t
from samplers import SamplerConfig

_SURE = 5e-5
"""What a percentage with one digit does not show."""


def kept_words(stage: StageView) -> str:
    """How many tokens are left; of shown ones, whether others may be left too."""
    if stage.unseen is None:
        return t("lens.kept", count=number(stage.kept, 0))
    words = t("hosted_views.kept", kept=number(stage.kept, 0), shown=number(len(stage.probs), 0))
    return f"{words} {t('hosted_views.and_others')}" if stage.unseen.possible else words


def entropy_words(stage: StageView) -> str:
    """One number, or the two that it lies between, in bits."""
    low = number(stage.entropy_bits)
    if stage.unseen is None or (high := number(stage.unseen.entropy_most)) == low:
        return low
    return f"{low}–{high}"


def bound_words(stage: StageView) -> str:
    """How far the stage's probabilities may be off; empty where they are exact."""
    if stage.unseen is None:
        return ""
    if stage.error_bound >= 1:
        return t("hosted_views.no_bound")
    return f"± {share(stage.error_bound)}" if stage.error_bound >= _SURE else t("hosted_views.exact")


def rest_words(view: View) -> str:
    return t("lens.rest" if view.raw.unseen is None else "hosted_views.rest")


def probability_words(seen: Sighting, shown: bool) -> str:
    """A probability, with its bound; the most that it can be for a token that was not shown."""
    if not shown:
        return t("hosted_views.at_most", value=f"{seen.probability:.3g}") if seen.probability else "0"
    bound = f" ± {seen.error_bound:.2g}" if seen.error_bound >= _SURE else ""
    return f"{seen.probability:.3g}{bound}"


def rank_words(seen: Sighting, shown: bool) -> str:
    if seen.rank is None:
        return t("step.cut")
    rank = number(seen.rank, 0)
    return rank if shown else t("hosted_views.at_least", value=rank)


def partial_note(lens: Lens, view: View, config: SamplerConfig) -> None:
    """What is missing, said once below the figures. Nothing for a step that is wholly known."""
    raw, final = view.raw.unseen, view.final
    if raw is None:
        return
    words = [t("hosted_views.shown", count=number(len(view.raw.probs), 0), value=share(1 - raw.mass))]
    words.append(t("hosted_views.one_bar"))
    if unbounded := lens.unbounded(config):
        names = ", ".join(t(f"stages.{name}.name") for name in unbounded)
        words.append(t("hosted_views.unbounded", stages=names))
    elif final.error_bound >= 1:
        words.append(t("hosted_views.constrained" if config.stages else "hosted_views.odd"))
    else:
        words.append(t("hosted_views.bound", value=share(final.error_bound)))
    st.caption(" ".join(words), help=t("hosted_views.bound_help"))
