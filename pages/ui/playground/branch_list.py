"""Card with the tree of answers and branches: choose, rename, prune and compare them."""

from __future__ import annotations

import functools
from typing import Any

import streamlit as st

from llm_core.generation.branches import Branch, compare_branches, sum_logprobs
from pages.ui.components import charts
from pages.ui.components.figure import shorten_label
from pages.ui.components.token_cells import make_token_cells, strip_texts
from pages.ui.components.token_strip import ColourMode, show_token_strip
from pages.ui.components.tree_list import TreeEntry, outline_guides, show_tree_list
from pages.ui.playground.session_state import playground_state
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import get, has, put

_MAX_PREVIEW_LENGTH = 120
_MAX_LABEL_LENGTH = 18


def show_branches(shown: Branch, mode: ColourMode) -> None:
    """Draw the card if there is more than one answer, or a pruned one to restore."""
    state = playground_state()
    if len(state.tree) < 2 and not state.pruned:
        return
    with st.container(border=True, key="playground.branches_card"):
        st.markdown(f"**{t('branches.title')}**")
        outline = state.tree.list_in_order()
        marks = outline_guides([depth for _, depth in outline])
        lines = [_make_entry(branch, depth, mark, shown) for (branch, depth), mark in zip(outline, marks, strict=True)]
        show_tree_list(lines, key="playground.branches", label=t("branches.title"), on_pick=select_branch)
        _show_controls(shown, [branch for branch, _ in outline])
        if other := state.tree.get(state.compared):
            _show_comparison(shown, other, mode)
        if st.toggle(t("branches.as_table"), key="playground.branches_table"):
            st.dataframe([_branch_row(branch) for branch, _ in outline], hide_index=True)


def branch_name(branch: Branch) -> str:
    """Return the name that the reader gave the branch, or else its number."""
    return branch.name or t("branches.branch" if branch.parent else "branches.answer", number=branch.id)


def select_branch(branch_id: int) -> None:
    """Show this answer, from its newest token."""
    state = playground_state()
    if branch_id != state.branch:
        state.selected_step = None
    state.branch, state.branch_notice = branch_id, None
    if state.compared == branch_id:
        state.compared = None
    branch = state.tree.get(branch_id)
    for place, technique_run in enumerate(state.technique_runs):
        if branch and technique_run.main is branch.root.run:
            state.shown = (place, branch.root.chain)


def _make_entry(branch: Branch, depth: int, guide: str, shown: Branch) -> TreeEntry:
    cells = make_token_cells(branch)
    own = "".join(cell.text for cell in cells[branch.step :])
    facts = [t("branches.tokens", count=len(cells))]
    if branch.row.active:
        facts.append("…")
    elif cells:
        facts.append(t("branches.mean", value=format_number(_mean_logprob(branch))))
    if branch.row.error:
        facts.append(t("branches.failed"))
    return TreeEntry(
        id=branch.id,
        depth=depth,
        guide=guide,
        name=branch_name(branch),
        fork=_format_fork(branch),
        text=" ".join(own[:_MAX_PREVIEW_LENGTH].split()),
        facts=" · ".join(facts),
        shown=branch is shown,
        beside=branch.id == playground_state().compared,
    )


def _format_fork(branch: Branch) -> str:
    """Return where the branch left its parent, and with which token: `5: ·the → ·a`."""
    if branch.parent is None:
        return ""
    before, after = (make_token_cells(each)[branch.step : branch.step + 1] for each in (branch.parent, branch))
    labels = [shorten_label(cells[0].label, _MAX_LABEL_LENGTH) if cells else "…" for cells in (before, after)]
    if branch.origin == "again":
        return t("branches.left_again", step=branch.step + 1, seed=branch.row.request.sampler.seed)
    return t("branches.left", step=branch.step + 1, old=labels[0], new=labels[1])


def _mean_logprob(branch: Branch) -> float:
    events = branch.events()
    return sum_logprobs(events) / len(events) if events else 0.0


def _show_controls(shown: Branch, branches: list[Branch]) -> None:
    state = playground_state()
    name, other, prune, back = st.columns([1.4, 1.4, 0.8, 0.8], vertical_alignment="bottom")
    if shown in state.tree:
        key = f"playground.branch_name.{shown.id}"
        if not has(key):
            put(key, shown.name)
        name.text_input(
            t("branches.name"),
            key=key,
            max_chars=60,
            placeholder=branch_name(shown),
            on_change=_rename_branch,
            args=(shown, key),
        )
        names = {branch.id: branch_name(branch) for branch in branches if branch is not shown}
        if names:
            compare_key = f"playground.branch_compare.{shown.id}"
            put(compare_key, state.compared if state.compared in names else None)
            other.selectbox(
                t("branches.compare"),
                list(names),
                index=None,
                format_func=names.__getitem__,
                placeholder=t("branches.compare_none"),
                key=compare_key,
                on_change=_select_compared,
                args=(compare_key,),
            )
        prune.button(
            t("branches.prune"),
            key="playground.branch_prune",
            width="stretch",
            disabled=any(shown.run in technique_run.runs for technique_run in state.technique_runs),
            help=t("branches.prune_help"),
            on_click=_prune_branch,
            args=(shown,),
        )
    if state.pruned:
        back.button(t("branches.restore"), key="playground.branch_restore", width="stretch", on_click=_restore_branches)


def _rename_branch(branch: Branch, key: str) -> None:
    branch.name = (get(key) or "").strip()


def _select_compared(key: str) -> None:
    playground_state().compared = get(key)


def _prune_branch(branch: Branch) -> None:
    """Remove the branch and its descendants, stop their runs, and show the parent instead."""
    state = playground_state()
    state.pruned = state.tree.prune(branch)
    for each in state.pruned:
        each.run.cancel()
    state.branch = branch.parent.id if branch.parent else _remaining_root()
    state.selected_step = None


def _remaining_root() -> int | None:
    outline = playground_state().tree.list_in_order()
    return outline[-1][0].root.id if outline else None


def _restore_branches() -> None:
    state = playground_state()
    state.tree.restore(state.pruned)
    state.branch, state.selected_step, state.pruned = state.pruned[0].id, None, []


def _show_comparison(shown: Branch, other: Branch, mode: ColourMode) -> None:
    """Draw two answers side by side, from where they diverge."""
    shared = compare_branches(shown, other).shared
    st.markdown(t("branches.shared", count=shared))
    for column, branch, key in zip(
        st.columns(2), (shown, other), ("playground.compared_left", "playground.compared_right"), strict=True
    ):
        with column, st.container(border=True):
            cells = make_token_cells(branch)[shared:]
            show_token_strip(
                cells,
                key=key,
                mode=mode,
                selected=None,
                words=strip_texts(mode, branch_name(branch), t("branches.nothing_more")) | {"legend": ""},
                on_pick=functools.partial(_select_step, branch, shared),
            )
            events = branch.events()[shared:]
            if events:
                total = sum_logprobs(events)
                figures = (len(events), format_number(total), format_number(total / len(events)))
                st.caption(t("branches.rest", count=figures[0], total=figures[1], mean=figures[2]))


def _select_step(branch: Branch, shared: int, index: int) -> None:
    state = playground_state()
    if state.branch != branch.id:
        state.compared, state.branch = state.branch, branch.id
    state.selected_step = shared + index


def _branch_row(branch: Branch) -> dict[str, Any]:
    events = branch.events()
    total = sum_logprobs(events)
    return {
        t("branches.name"): branch_name(branch),
        t("branches.parent"): branch_name(branch.parent) if branch.parent else "",
        t("branches.at"): branch.step + 1 if branch.parent else None,
        t("branches.with"): charts.escape_control_characters(_forced_text(branch)) if branch.forced_steps else "",
        t("branches.seed"): branch.row.request.sampler.seed,
        t("branches.count"): len(events),
        t("branches.total"): round(total, 3),
        t("branches.mean_column"): round(total / len(events), 3) if events else None,
        t("run.answer"): branch.text,
    }


def _forced_text(branch: Branch) -> str:
    return "".join(cell.text for cell in make_token_cells(branch)[branch.forced_steps.start : branch.forced_steps.stop])
