"""Draw a running comparison: columns side by side, the divergence of two of them, and statistics.

While the engine works, the answers alone are redrawn a little more than three times a second, and what explains them
once a second: on a machine with few cores, whatever the browser redraws is time that the engine lacks. An idle
comparison is not redrawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import streamlit as st

from llm_core.analysis.text_metrics import diff_tokens
from llm_core.experiments.comparison import DivergencePoint, aligned_point
from pages.ui.compare.column_settings import column_names, setting_chips
from pages.ui.compare.divergence import find_divergence, show_divergence
from pages.ui.compare.drafts import ShownComparison
from pages.ui.compare.recorded import show_recorded_comparison
from pages.ui.compare.session_state import compare_state
from pages.ui.compare.statistics import show_statistics
from pages.ui.components import charts
from pages.ui.components.answer_columns import AnswerColumn, show_answer_columns
from pages.ui.model.hosted_notes import show_comparison_notes, show_queue_note
from pages.ui.shell import i18n, services
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import get, put

if TYPE_CHECKING:
    from llm_core.generation.record import Run, SampleRecord, TokenEvent

REFRESH_SECONDS = 0.3
EXPLANATION_REFRESH_SECONDS = 1.0


def show_comparison() -> None:
    """Draw the session's comparison and redraw it while it is active."""
    shown = compare_state().comparison
    if shown is None:
        st.caption(t("compare.empty"))
        return
    if shown.recorded:
        show_recorded_comparison(shown, shown.recorded)
    names = column_names(shown.drafts)
    now = _view_state(shown)
    _show_column_choice(shown, names)
    # The same fragments whether active or idle, because Streamlit redraws the elements of a different fragment.
    st.fragment(_show_answers, run_every=REFRESH_SECONDS if now.active else None)(shown, names, now)
    st.fragment(_show_explanation, run_every=EXPLANATION_REFRESH_SECONDS if now.active else None)(shown, names, now)


class _ViewState(NamedTuple):
    """The state that the whole page is drawn by; a change of it redraws the page."""

    active: bool
    other: int
    step: int | None


def _view_state(shown: ShownComparison) -> _ViewState:
    return _ViewState(shown.comparison.active, shown.other, shown.step)


def _show_answers(shown: ShownComparison, names: Sequence[str], drawn: _ViewState) -> None:
    shown.comparison.touch()
    now = _view_state(shown)  # before the events are read, so none is missed
    events = _column_events(shown)
    place = find_selected_point(shown, events)
    show_answer_columns(
        [_answer_column(shown, column, name, events, not now.active) for column, name in enumerate(names)],
        key="compare.columns",
        selected=None if place is None else (shown.other, place.other),
        legend=[
            ("first", "abc", t("compare.legend_first", reference=names[shown.reference])),
            ("other", "abc", t("compare.legend_other")),
        ],
        totals=_totals_text(shown),
        on_pick=_toggle_step,
    )
    show_queue_note(shown.comparison.runs)
    if now != drawn:
        st.rerun()


def _show_explanation(shown: ShownComparison, names: Sequence[str], drawn: _ViewState) -> None:
    events = _column_events(shown)
    show_divergence(shown, names, events, find_selected_point(shown, events))
    if not shown.recorded:  # the notes on seeds are about answers that share one
        show_comparison_notes(shown.comparison)
    if drawn.active:
        st.caption(t("compare.figures_later"))
    else:
        show_statistics(shown, names)


def _column_events(shown: ShownComparison) -> list[list[TokenEvent]]:
    """Return the events of every column, in the repetition that is shown."""
    return [shown.comparison.record(place, shown.repeat).events() for place in range(len(shown.drafts))]


def find_selected_point(shown: ShownComparison, events: Sequence[Sequence[TokenEvent]]) -> DivergencePoint | None:
    """Return the point that is shown: the pinned step, or where the two columns diverge."""
    if shown.step is not None and shown.step < len(events[shown.other]):
        share_ids = shown.comparison.has_shared_ids(shown.reference, shown.other)
        return aligned_point(events[shown.reference], events[shown.other], shown.step, share_ids)
    return find_divergence(shown, events, shown.other)


def _show_column_choice(shown: ShownComparison, names: Sequence[str]) -> None:
    """Draw the choice of the two columns that are compared and of the repetition."""
    choices = [("reference", t("compare.reference")), ("other", t("compare.other"))]
    boxes = st.columns(2 + (shown.comparison.repeats > 1))
    for box, (field, label) in zip(boxes, choices, strict=False):
        key = f"compare.{field}"
        if get(key) != getattr(shown, field):
            put(key, getattr(shown, field))
        box.selectbox(label, range(len(names)), format_func=names.__getitem__, key=key, on_change=_apply_column_choice)
    if shown.comparison.repeats > 1:
        boxes[2].selectbox(
            t("compare.repeat"),
            range(shown.comparison.repeats),
            index=shown.repeat,
            format_func=lambda repeat: t("compare.seed_of", seed=_repeat_seed(shown, repeat)),
            key="compare.repeat",
            on_change=_apply_column_choice,
        )


def _apply_column_choice() -> None:
    shown = compare_state().comparison
    if shown is None:
        return
    shown.reference, shown.other = get("compare.reference"), get("compare.other")
    shown.repeat, shown.step = get("compare.repeat") or 0, None


def _toggle_step(column: int, step: int) -> None:
    """Pin this token's step. Picking it again unpins it, which shows where the two columns diverge."""
    shown = compare_state().comparison
    if shown is None:
        return
    again = (shown.other, shown.step) == (column, step)
    shown.other, shown.step = column, None if again else step
    put("compare.other", column)


def _repeat_seed(shown: ShownComparison, repeat: int) -> int:
    return shown.comparison.record(0, repeat).request.sampler.seed


def _answer_column(
    shown: ShownComparison, place: int, name: str, events: Sequence[Sequence[TokenEvent]], ended: bool
) -> AnswerColumn:
    record, run = shown.comparison.record(place, shown.repeat), shown.comparison.run(place)
    own, reference = events[place], events[shown.reference]
    kinds = [""] * len(own)
    tag = t("compare.is_reference") if place == shown.reference else ""
    if place != shown.reference and (parts := find_divergence(shown, events, place)) is not None:
        kinds = _token_kinds(reference, own, parts, ended, shown.comparison.has_shared_ids(shown.reference, place))
        tag = t("compare.parts_at", step=parts.other + 1)
    elif place != shown.reference and ended and own:
        tag = t("compare.never_parts")
    return AnswerColumn(
        name=name,
        tag=tag,
        chips=setting_chips(shown.drafts[place], shown.drafts),
        cells=[
            (event.piece or "‥", kind, title)
            for event, kind, title in zip(own, kinds, _token_tooltips(shown, place, own), strict=True)
        ],
        empty=_status_text(run, record),
        foot=_footer_text(record, own),
    )


def _token_kinds(
    reference: Sequence[TokenEvent], own: Sequence[TokenEvent], parts: DivergencePoint, ended: bool, share_ids: bool
) -> list[str]:
    """Return how each token relates to the reference: same, first difference or other.

    Ended answers are compared by a diff of the two texts; before that, all tokens after the first difference count as
    other.
    """
    kinds = [""] * parts.other + ["other"] * (len(own) - parts.other)
    if ended:
        both = [[event.token_id if share_ids else event.piece for event in each] for each in (reference, own)]
        for kind, _, (start, end) in diff_tokens(*both):
            if kind == "same":
                kinds[start:end] = [""] * (end - start)
    kinds[parts.other] = "first"
    return kinds


def _token_tooltips(shown: ShownComparison, place: int, events: Sequence[TokenEvent]) -> list[str]:
    """Return the tooltips of the tokens. Cached, because a growing answer is redrawn several times a second."""
    titles = shown.tooltips.setdefault((place, shown.repeat, i18n.language()), [])
    run = shown.comparison.run(place)
    titles += [_format_tooltip(run, step, event) for step, event in enumerate(events[len(titles) :], len(titles))]
    return titles[: len(events)]


def _format_tooltip(run: Run, step: int, event: TokenEvent) -> str:
    label = charts.escape_control_characters(event.piece if event.token_id is None else run.label(event.token_id))
    if event.trace is None:
        return t("hosted_views.compare.token", step=step + 1, token=label)
    value = format_number(math.exp(event.trace.logprob), 3)
    return t("compare.token", step=step + 1, token=label, value=value, rank=event.trace.rank)


def _status_text(run: Run, record: SampleRecord) -> str:
    if record.error:
        return i18n.explain(record.error)
    if run.status == "waiting":
        ahead = services.router().position(run)
        return t("run.queued", ahead=ahead) if ahead else t("run.starting")
    if record.status == "waiting":
        return t("hosted_views.queue.place", ahead=services.router().hosted.samples_ahead(record))
    return t("run.reading") if record.active else t("run.nothing")


def _footer_text(record: SampleRecord, own: Sequence[TokenEvent]) -> str:
    told = all(event.token_id is not None for event in own)
    parts = [t("compare.tokens" if told else "hosted_views.compare.pieces", count=len(own))] if own else []
    traces = [event.trace for event in own if event.trace]
    if own and len(traces) == len(own):
        mean = sum(trace.logprob for trace in traces) / len(traces)
        parts.append(t("compare.perplexity", value=format_number(math.exp(-mean), 1)))
    if record.from_cache:
        parts.append(t("hosted_views.cache.mark"))
    if record.error and own:
        parts.append(i18n.explain(record.error))
    if record.finish_reason:
        parts.append(t(f"run.finished.{record.finish_reason}"))
    return " · ".join(parts)


def _totals_text(shown: ShownComparison) -> str:
    comparison = shown.comparison
    columns, repeats = range(len(shown.drafts)), range(comparison.repeats)
    records = [comparison.record(column, repeat) for column in columns for repeat in repeats]
    tokens = sum(row.length for row in records)
    seconds = max(row.seconds for row in records)
    speed = format_number(tokens / seconds, 0) if seconds else "0"
    done = sum(not row.active for row in records)
    return t("compare.totals", done=done, total=len(records), tokens=format_number(tokens, 0), speed=speed)
