"""Card with the tree of answers and branches: choose, rename, prune and compare them."""

from __future__ import annotations

import functools
from typing import Any

import streamlit as st

from llm_core.generation.branches import Branch, compare_branches, sum_logprobs
from pages.ui.components import charts
from pages.ui.components.token_cells import cells_of, strip_words
from pages.ui.components.token_strip import Mode, token_strip
from pages.ui.components.tree_list import Line, branch_tree, guides
from pages.ui.playground.session_state import playground_state
from pages.ui.shell.i18n import number, t
from pages.ui.shell.session import get, has, put

_MOST_PREVIEW = 120
_MOST_LABEL = 18


def branch_view(shown: Branch, mode: Mode) -> None:
    """Draw the card if there is more than one answer, or a pruned one to restore."""
    state = playground_state()
    if len(state.tree) < 2 and not state.pruned:
        return
    with st.container(border=True, key="branches-card"):
        st.markdown(f"**{t('branches.title')}**")
        outline = state.tree.list_in_order()
        marks = guides([depth for _, depth in outline])
        lines = [_line(branch, depth, mark, shown) for (branch, depth), mark in zip(outline, marks, strict=True)]
        branch_tree(lines, key="branches", label=t("branches.title"), on_pick=show)
        _controls(shown, [branch for branch, _ in outline])
        if other := state.tree.get(state.compared):
            _comparison(shown, other, mode)
        if st.toggle(t("branches.as_table"), key="branches_table"):
            st.dataframe([_row(branch) for branch, _ in outline], hide_index=True)


def name_of(branch: Branch) -> str:
    """Return the name that the reader gave the branch, or else its number."""
    return branch.name or t("branches.branch" if branch.parent else "branches.answer", number=branch.id)


def show(branch_id: int) -> None:
    """Show this answer, from its newest token."""
    state = playground_state()
    if branch_id != state.branch:
        state.selected_step = None
    state.branch, state.branch_notice = branch_id, None
    if state.compared == branch_id:
        state.compared = None
    branch = state.tree.get(branch_id)
    for place, asking in enumerate(state.askings):
        if branch and asking.main is branch.root.run:
            state.shown = (place, branch.root.chain)


def _line(branch: Branch, depth: int, guide: str, shown: Branch) -> Line:
    cells = cells_of(branch)
    own = "".join(cell.text for cell in cells[branch.step :])
    facts = [t("branches.tokens", count=len(cells))]
    if branch.row.active:
        facts.append("…")
    elif cells:
        facts.append(t("branches.mean", value=number(_mean(branch))))
    if branch.row.error:
        facts.append(t("branches.failed"))
    return Line(
        id=branch.id,
        depth=depth,
        guide=guide,
        name=name_of(branch),
        fork=_fork(branch),
        text=" ".join(own[:_MOST_PREVIEW].split()),
        facts=" · ".join(facts),
        shown=branch is shown,
        beside=branch.id == playground_state().compared,
    )


def _fork(branch: Branch) -> str:
    """Return where the branch left its parent, and with which token: `5: ·the → ·a`."""
    if branch.parent is None:
        return ""
    before, after = (cells_of(each)[branch.step : branch.step + 1] for each in (branch.parent, branch))
    labels = [_short(cells[0].label) if cells else "…" for cells in (before, after)]
    if branch.origin == "again":
        return t("branches.left_again", step=branch.step + 1, seed=branch.row.request.sampler.seed)
    return t("branches.left", step=branch.step + 1, old=labels[0], new=labels[1])


def _short(label: str) -> str:
    return label if len(label) <= _MOST_LABEL else label[: _MOST_LABEL - 1] + "…"


def _mean(branch: Branch) -> float:
    events = branch.events()
    return sum_logprobs(events) / len(events) if events else 0.0


def _controls(shown: Branch, branches: list[Branch]) -> None:
    state = playground_state()
    name, other, prune, back = st.columns([1.4, 1.4, 0.8, 0.8], vertical_alignment="bottom")
    if shown in state.tree:
        key = f"branch_name_{shown.id}"
        if not has(key):
            put(key, shown.name)
        name.text_input(
            t("branches.name"),
            key=key,
            max_chars=60,
            placeholder=name_of(shown),
            on_change=_rename,
            args=(shown, key),
        )
        names = {branch.id: name_of(branch) for branch in branches if branch is not shown}
        if names:
            compare_key = f"branch_compare_{shown.id}"
            put(compare_key, state.compared if state.compared in names else None)
            other.selectbox(
                t("branches.compare"),
                list(names),
                index=None,
                format_func=names.__getitem__,
                placeholder=t("branches.compare_none"),
                key=compare_key,
                on_change=_compare,
                args=(compare_key,),
            )
        prune.button(
            t("branches.prune"),
            key="branch_prune",
            width="stretch",
            disabled=any(shown.run in asking.runs for asking in state.askings),
            help=t("branches.prune_help"),
            on_click=_prune,
            args=(shown,),
        )
    if state.pruned:
        back.button(t("branches.restore"), key="branch_restore", width="stretch", on_click=_restore)


def _rename(branch: Branch, key: str) -> None:
    branch.name = (get(key) or "").strip()


def _compare(key: str) -> None:
    playground_state().compared = get(key)


def _prune(branch: Branch) -> None:
    """Remove the branch and its descendants, stop their runs, and show the parent instead."""
    state = playground_state()
    state.pruned = state.tree.prune(branch)
    for each in state.pruned:
        each.run.cancel()
    state.branch = branch.parent.id if branch.parent else _first_left()
    state.selected_step = None


def _first_left() -> int | None:
    outline = playground_state().tree.list_in_order()
    return outline[-1][0].root.id if outline else None


def _restore() -> None:
    state = playground_state()
    state.tree.restore(state.pruned)
    state.branch, state.selected_step, state.pruned = state.pruned[0].id, None, []


def _comparison(shown: Branch, other: Branch, mode: Mode) -> None:
    """Draw two answers side by side, from where they diverge."""
    shared = compare_branches(shown, other).shared
    st.markdown(t("branches.shared", count=shared))
    for column, branch, key in zip(st.columns(2), (shown, other), ("compared_left", "compared_right"), strict=True):
        with column, st.container(border=True):
            cells = cells_of(branch)[shared:]
            token_strip(
                cells,
                key=key,
                mode=mode,
                selected=None,
                words=strip_words(mode, name_of(branch), t("branches.nothing_more")) | {"legend": ""},
                on_pick=functools.partial(_open, branch, shared),
            )
            events = branch.events()[shared:]
            if events:
                total = sum_logprobs(events)
                figures = (len(events), number(total), number(total / len(events)))
                st.caption(t("branches.rest", count=figures[0], total=figures[1], mean=figures[2]))


def _open(branch: Branch, shared: int, index: int) -> None:
    state = playground_state()
    if state.branch != branch.id:
        state.compared, state.branch = state.branch, branch.id
    state.selected_step = shared + index


def _row(branch: Branch) -> dict[str, Any]:
    events = branch.events()
    total = sum_logprobs(events)
    return {
        t("branches.name"): name_of(branch),
        t("branches.parent"): name_of(branch.parent) if branch.parent else "",
        t("branches.at"): branch.step + 1 if branch.parent else None,
        t("branches.with"): charts.escape_control_characters(_given(branch)) if branch.forced_steps else "",
        t("branches.seed"): branch.row.request.sampler.seed,
        t("branches.count"): len(events),
        t("branches.total"): round(total, 3),
        t("branches.mean_column"): round(total / len(events), 3) if events else None,
        t("run.answer"): branch.text,
    }


def _given(branch: Branch) -> str:
    return "".join(cell.text for cell in cells_of(branch)[branch.forced_steps.start : branch.forced_steps.stop])
