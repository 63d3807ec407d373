"""Draw the Lens's views of one step, one function a view: stages, orders, curves, ranks, any token, draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from llm_core.analysis.step_inspector import DrawCounts, StageView, StepInspector, StepView, TextSpelling, draw_many
from pages.ui.components.charts import escape_control_characters
from pages.ui.components.live_plot import show_live_plot
from pages.ui.lens import figures
from pages.ui.lens.figures import WaterfallColumn
from pages.ui.lens.partial import (
    format_entropy,
    format_error_bound,
    format_kept,
    format_probability,
    format_rank,
    rest_label,
)
from pages.ui.lens.session_state import lens_state
from pages.ui.shell.i18n import escape_markdown, format_number, format_share, t
from samplers import ORDERS, SamplerConfig

_BLANK = "\u00a0"
DRAW_COUNTS = (100, 1_000, 10_000, 100_000)


@dataclass(frozen=True, slots=True)
class ViewContext:
    """The step that the views draw, with the sampler settings applied to it."""

    lens: StepInspector
    name: Callable[[int], str]
    """Returns a token's text by its id."""
    config: SamplerConfig
    view: StepView
    token_id: int
    """The token that the run drew."""

    def label(self, token_id: int) -> str:
        return escape_control_characters(self.name(token_id))

    @property
    def shown_tokens(self) -> list[int]:
        """The tokens in the figures, with the run's token: all that a provider shows, otherwise the likeliest."""
        ids = self.view.raw.ids
        return self.view.likeliest(figures.MAX_TOKENS_SHOWN if ids is None else len(ids), also=[self.token_id])


def show_stages(scene: ViewContext) -> None:
    """Draw the waterfall: one panel for each stage, in the order in which the stages run."""
    columns = {stage.name: stage for stage in scene.view.stages}
    _show_waterfall(scene, columns, stage_title, _stage_summary, "lens.stages")
    st.caption(t("lens.stages_help"))


def show_orders(scene: ViewContext) -> None:
    """Draw the same settings in the stage order of each provider and in the learner's own order."""
    st.caption(t("lens.orders_help"))
    own = _edit_own_order(scene.config)
    views = scene.lens.inspect_orders(scene.config, own)
    finals = {name: view.final for name, view in views.items()}
    _show_waterfall(scene, finals, lambda name: t(f"lens.order_names.{name}"), _final_summary, "lens.orders")
    kept = {name: view.final.possible for name, view in views.items()}
    if len(set(kept.values())) == 1:
        st.caption(t("lens.orders_same"))
        return
    common = frozenset.intersection(*kept.values())
    for name, ids in kept.items():
        more = sorted(ids - common, key=lambda token: -scene.view.raw.probability(token))
        listed = ", ".join(f"`{scene.label(token).replace('`', 'ˋ')}`" for token in more[:6])
        more_than = (
            t("lens.order_more", count=format_number(len(more), 0), tokens=listed) if more else t("lens.order_common")
        )
        title, chain = t(f"lens.order_names.{name}"), _format_chain(ORDERS.get(name, own), scene.config)
        st.markdown(f"**{title}** ({chain}): {more_than}")


def _edit_own_order(config: SamplerConfig) -> tuple[str, ...]:
    """Draw buttons that reorder the stages in use. Returns the learner's order, with stages added since at the end."""
    active = config.stages
    known = [name for name in lens_state().own_order if name in active]
    order = tuple(known + [name for name in active if name not in known])
    if len(order) < 2:
        return ()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(t("lens.own_order"), width="content")
        for place, name in enumerate(order):
            st.button(
                stage_title(name),
                icon=":material/arrow_back:" if place else None,
                disabled=place == 0,
                help=t("lens.earlier", stage=stage_title(name)),
                on_click=_move_stage_earlier,
                args=(order, place),
                key=f"lens.own.{name}",
            )
    return order


def _move_stage_earlier(order: tuple[str, ...], place: int) -> None:
    moved = list(order)
    moved[place - 1 : place + 1] = moved[place], moved[place - 1]
    lens_state().own_order = tuple(moved)


def _format_chain(order: Sequence[str], config: SamplerConfig) -> str:
    return " → ".join(stage_title(name) for name in order if config.uses(name)) or t("lens.nothing")


def show_cumulative(scene: ViewContext) -> None:
    """Draw the cumulative probability of the most likely tokens, with top-P's threshold as a line."""
    words = {name: t(f"lens.curve.{name}") for name in ("raw", "after", "rank", "cumulative")}
    words["beyond"] = t("hosted_views.beyond")
    top_p = scene.config.top_p if scene.config.top_p < 1 else None
    words["top_p"] = t("lens.curve.top_p", value=format_number(scene.config.top_p))
    _show_plot(scene, figures.cumulative_figure(scene.view, words, top_p), "lens.cumulative", t("lens.views.curves"))
    st.caption(t("lens.curves_help"))
    _show_table_switch("lens.curve_table", lambda: _rank_table(scene, words))


def show_ranks(scene: ViewContext) -> None:
    """Draw probability by rank, both logarithmic."""
    words = {name: t(f"lens.curve.{name}") for name in ("raw", "after", "rank", "probability")}
    words["beyond"] = t("hosted_views.beyond_most")
    _show_plot(scene, figures.rank_probability_figure(scene.view, words), "lens.ranks", t("lens.views.ranks"))
    st.caption(t("lens.ranks_help"))
    _show_table_switch("lens.rank_table", lambda: _rank_table(scene, words))


def _rank_table(scene: ViewContext, words: dict[str, str]) -> list[dict]:
    raw, after = scene.view.raw.descending, scene.view.final.descending
    sums = raw.cumsum(0), after.cumsum(0)
    places = [rank for rank in (1, 2, 3, 5, 10, 20, 50, 100, 1_000, 10_000) if rank <= len(raw)]
    return [
        {
            words["rank"]: rank,
            words["raw"]: f"{float(raw[rank - 1]):.3g}",
            words["after"]: f"{float(after[rank - 1]):.3g}",
            t("lens.curve.sum_raw"): round(float(sums[0][rank - 1]), 4),
            t("lens.curve.sum_after"): round(float(sums[1][rank - 1]), 4),
        }
        for rank in places
    ]


def show_token(scene: ViewContext) -> None:
    """Draw the probability and rank of a token, asked for by its text, at every stage."""
    text = st.text_input(t("lens.ask"), key="lens.question", placeholder=t("lens.ask_example"), help=t("lens.ask_help"))
    if not text:
        return
    for found in scene.lens.find(text):
        shown = found.token_id is not None
        token = f" · {t('step.token_id')} {found.token_id}" if shown else ""
        st.markdown(f"**`{escape_control_characters(found.text).replace('`', 'ˋ')}`**{token}")
        _show_token_note(scene, found)
        st.dataframe(
            [
                {
                    t("lens.stage"): stage_title(seen.stage),
                    t("step.probability"): format_probability(seen, shown),
                    t("lens.log_probability"): format_number(math.log(seen.probability)) if seen.probability else "−∞",
                    t("lens.rank"): format_rank(seen, shown),
                }
                for seen in scene.view.trace_token(found.token_id)
            ],
            hide_index=True,
        )


def _show_token_note(scene: ViewContext, found: TextSpelling) -> None:
    """Say where a text is more than one token, or none of the tokens that were shown."""
    if found.token_id is None:
        st.caption(t("hosted_views.not_shown", count=len(scene.view.raw.probs)))
    elif found.begins:
        st.caption(t("hosted_views.begins", first=escape_markdown(scene.label(found.token_id))))
    elif len(found.pieces) > 1:
        pieces = " + ".join(map(scene.label, found.pieces))
        st.caption(
            t("lens.several_tokens", pieces=escape_markdown(pieces), first=escape_markdown(scene.label(found.token_id)))
        )


def show_draws(scene: ViewContext) -> None:
    """Draw how often tokens are drawn against how often they are predicted, with a goodness-of-fit test."""
    counts = {count: format_number(count, 0) for count in DRAW_COUNTS}
    count = st.segmented_control(
        t("lens.draw_count"),
        list(counts),
        format_func=counts.__getitem__,
        default=1_000,
        required=True,
        key="lens.draw_count",
    )
    seed = int(st.number_input(t("settings.seed"), 0, 10**6, 0, key="lens.draw_seed"))
    drawn = _count_draws(scene, count or 1_000, seed)
    words = {name: t(f"lens.draw.{name}") for name in ("counted", "predicted", "count")}
    words["rest"] = rest_label(scene.view)
    labels = [scene.label(token) for token in drawn.token_ids[: figures.MAX_TOKENS_SHOWN]]
    _show_plot(scene, figures.draws_figure(drawn, labels, words), "lens.draws", t("lens.views.draws"))
    if drawn.fit.degrees:
        fit = {
            "statistic": format_number(drawn.fit.statistic),
            "degrees": drawn.fit.degrees,
            "p": format_number(drawn.fit.p, 3),
        }
        st.markdown(t("lens.fit_good" if drawn.fit.p >= 0.01 else "lens.fit_bad", **fit))
    else:
        st.markdown(t("lens.fit_none"))
    _show_table_switch(
        "lens.draw_table",
        lambda: [
            {t("step.token"): label, words["predicted"]: round(expected, 1), words["counted"]: observed}
            for label, expected, observed in zip(labels, drawn.expected, drawn.observed, strict=False)
        ],
    )


def _count_draws(scene: ViewContext, count: int, seed: int) -> DrawCounts:
    state = lens_state()
    asked = (state.of, state.step, scene.config, count, seed)
    if state.draws is None or state.draws[0] != asked:
        state.draws = asked, draw_many(scene.view.final, count, seed)
    return state.draws[1]


VIEWS: dict[str, Callable[[ViewContext], None]] = {
    "stages": show_stages,
    "orders": show_orders,
    "curves": show_cumulative,
    "ranks": show_ranks,
    "token": show_token,
    "draws": show_draws,
}


def stage_title(name: str) -> str:
    return t("lens.raw") if name == "raw" else t(f"stages.{name}.name")


def _stage_summary(stage: StageView) -> tuple[str, ...]:
    removed = t("lens.removed", count=format_number(stage.removed, 0), mass=format_share(stage.removed_mass))
    kept, bits, *bound = _final_summary(stage)
    return kept, removed if stage.removed or stage.removed_mass else _BLANK, bits, *bound


def _final_summary(stage: StageView) -> tuple[str, ...]:
    lines = format_kept(stage), t("lens.bits", value=format_entropy(stage))
    return lines if stage.unseen is None else (*lines, format_error_bound(stage))


def _show_waterfall(
    scene: ViewContext,
    panels: Mapping[str, StageView],
    title: Callable[[str], str],
    lines: Callable[[StageView], tuple[str, ...]],
    key: str,
) -> None:
    logarithmic = st.toggle(t("lens.logarithmic"), key=f"{key}_log", help=t("lens.logarithmic_help"))
    ids = scene.shown_tokens
    columns = []
    for name, stage in panels.items():
        values = stage.probabilities(ids)
        others = stage.kept > sum(value > 0 for value in values) or (stage.unseen and stage.unseen.possible)
        rest = max(0.0, 1.0 - math.fsum(values)) if others else 0.0
        errors = (stage.error_bound, stage.unseen.mass_bound if stage.unseen else 0.0)
        columns.append(WaterfallColumn(title(name), lines(stage), tuple(values), rest, errors))
    labels = [scene.label(token) for token in ids]
    words = {"rest": rest_label(scene.view), "probability": t("step.probability"), "cut": t("step.cut")}
    figure = figures.waterfall_figure(
        columns, labels, marked=ids.index(scene.token_id), logarithmic=logarithmic, number=format_share, words=words
    )
    _show_plot(scene, figure, key, t("lens.views.stages"), figures.waterfall_width(len(columns)))

    def rows() -> list[dict]:
        shown = zip((*labels, words["rest"]), range(len(ids) + 1), strict=True)
        return [
            {t("step.token"): label}
            | {column.title: f"{(*column.values, column.rest)[place]:.4g}" for column in columns}
            for label, place in shown
        ]

    _show_table_switch(f"{key}_table", rows)


def _show_plot(scene: ViewContext, figure: dict, key: str, label: str, min_width: int = 0) -> None:
    show_live_plot(
        figure,
        key=key,
        label=label,
        step=repr(scene.config),
        min_width=min_width,
    )


def _show_table_switch(key: str, rows: Callable[[], list[dict]]) -> None:
    """Draw a figure's numbers as a table, behind a switch."""
    if st.toggle(t("step.as_table"), key=key):
        st.dataframe(rows(), hide_index=True)
