"""Show a recorded run on the Compare page, with its answers as columns, and restore what was compared before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from llm_core.experiments.comparison import MAX_COLUMNS
from llm_core.recipes.recorded_views import RecordedComparison
from pages.ui.compare.drafts import ColumnDraft, ShownComparison
from pages.ui.compare.session_state import compare_state
from pages.ui.recipes.provenance import show_recorded_note
from pages.ui.shell.i18n import t
from pages.ui.shell.session import put, session

if TYPE_CHECKING:
    from llm_core.recipes.recipe import Recipe


def open_in_compare(recipe: Recipe) -> None:
    """Show the recorded answers in place of what was compared. The page's fields stay. A button's `on_click`."""
    from llm_core.recipes.replay import replay_prompts

    state = session()
    if (before := compare_state().comparison) is not None:
        before.comparison.stop()
        compare_state().compared_before = compare_state().compared_before if before.recorded else before
    comparison = RecordedComparison(replay_prompts(recipe))
    drafts = (
        ColumnDraft(place, column.sampler, recorded=(comparison.prompt_number(place), comparison.record(place).seed))
        for place, column in enumerate(comparison.columns)
    )
    compare_state().comparison, compare_state().compare_notice = ShownComparison(comparison, tuple(drafts)), None
    put("compare.kind", "columns")
    state.next_page = "compare"


def show_recorded_comparison(shown: ShownComparison, recorded: RecordedComparison) -> None:
    """Draw the provenance of the recorded run, and what its record lacks."""
    show_recorded_note(recorded.runs[0])
    st.caption(t("recipes.columns"))
    if recorded.count > MAX_COLUMNS:
        st.caption(t("recipes.first_columns", count=recorded.count, limit=MAX_COLUMNS))
    events = [event for place in range(len(shown.drafts)) for event in recorded.record(place).events()]
    if not all(event.trace for event in events):
        st.caption(t("recipes.without_probabilities"))
    if compare_state().compared_before:
        st.button(
            t("recipes.bring_back"), key="compare.bring_back", icon=":material/undo:", on_click=_restore_comparison
        )


def _restore_comparison() -> None:
    state = compare_state()
    state.comparison, state.compared_before = state.compared_before, None
