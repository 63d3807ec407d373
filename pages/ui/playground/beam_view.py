"""Card for a beam search of the Playground's prompt: its settings, its growing tree and its results."""

from __future__ import annotations

from typing import Any

import streamlit as st

from llm_core import NucleusError, SampleRequest
from llm_core.generation.beam_search import MAX_BEAM_TOKENS, MAX_BEAMS, BeamRun, BeamSettings
from llm_core.generation.request import HostedOptions
from pages.ui.components import charts
from pages.ui.components.beam_tree import BeamTreeNode, show_beam_tree
from pages.ui.components.fields import show_field
from pages.ui.model.request_builder import build_request
from pages.ui.playground.session_state import playground_state
from pages.ui.prompt.composer import read_prompt
from pages.ui.shell import i18n, services
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import get
from samplers import SamplerConfig

REFRESH_SECONDS = 0.4


def show_beam_search() -> None:
    """Draw the card, whose content is a fragment that redraws while a search is active."""
    run = playground_state().beam
    with st.expander(t("beam.title"), expanded=run is not None):
        st.caption(t("beam.text"))
        following = run is not None and run.active
        st.fragment(_refresh_search, run_every=REFRESH_SECONDS if following else None)(following)


def _refresh_search(following: bool) -> None:
    state = playground_state()
    run = state.beam
    active = bool(run and run.active)  # read before the tree, so that the last nodes are not missed
    _show_controls(active)
    if state.beam_notice:
        st.error(state.beam_notice, icon=":material/error:")
    if run:
        run.touch()
        _show_results(run, active)
    if following != active:
        st.rerun()


def _show_controls(active: bool) -> None:
    beams, length, penalty = st.columns(3, vertical_alignment="bottom")
    show_field(beams.number_input, "beam.beams", "playground.beam_count", 1, MAX_BEAMS, 3)
    show_field(length.number_input, "beam.length", "playground.beam_length", 1, MAX_BEAM_TOKENS, 12)
    show_field(penalty.number_input, "beam.penalty", "playground.beam_penalty", -10.0, 10.0, 1.0, 0.25)
    with st.container(horizontal=True):
        st.button(t("beam.start"), key="playground.beam_start", on_click=_start_search)
        st.button(t("beam.stop"), key="playground.beam_stop", on_click=_stop_search, disabled=not active)


def _start_search() -> None:
    playground_state().beam_notice = None
    try:
        prompt = read_prompt().variants()[0]
        request = build_request(prompt, SampleRequest(SamplerConfig()), hosted=HostedOptions())
        settings = BeamSettings(
            get("playground.beam_count"), get("playground.beam_length"), get("playground.beam_penalty")
        )
        begun = BeamRun(services.submitter(), request, settings)
    except NucleusError as error:
        playground_state().beam_notice = i18n.explain(error)
        return
    _stop_search()
    playground_state().beam = begun


def _stop_search() -> None:
    if run := playground_state().beam:
        run.stop()


def _show_results(run: BeamRun, active: bool) -> None:
    if run.error:
        st.error(i18n.explain(run.error), icon=":material/error:")
    nodes = beam_tree_nodes(run)
    if not nodes:
        st.caption(t("beam.waiting") if active else t("beam.nothing"))
        return
    finished = run.finished
    kept = [place for place, node in enumerate(nodes) if node.status == "kept"]
    best = finished[0].node if finished else kept[0] if kept and not nodes[kept[0]].step else -1
    words = {name: t(f"beam.{name}") for name in ("title", "step", "rank", "kept", "pruned", "finished", "image")}
    words["lang"] = i18n.language()
    show_beam_tree(nodes, key="playground.beam_tree", search=str(id(run)), best=best, live=active, words=words)
    if finished:
        st.markdown(f"**{t('beam.best')}**")
        st.dataframe(
            [
                {
                    t("beam.place"): place,
                    t("run.answer"): run.texts[hypothesis.node],
                    t("beam.tokens"): len(hypothesis.tokens),
                    t("beam.total"): round(hypothesis.logprob, 3),
                    t("beam.score"): round(hypothesis.score, 3),
                }
                for place, hypothesis in enumerate(finished, start=1)
            ],
            hide_index=True,
        )
    if st.toggle(t("beam.as_table"), key="playground.beam_table"):
        st.dataframe([_node_row(node, nodes) for node in nodes], hide_index=True, height=320)


def beam_tree_nodes(run: BeamRun) -> list[BeamTreeNode]:
    """Return the nodes of a search for the tree."""
    if run.model is None:
        return []
    drawn: list[BeamTreeNode] = []
    ranks: dict[int, int] = {}
    for node, text in zip(run.nodes, run.texts, strict=False):
        rank = ranks.get(node.step, 0)
        ranks[node.step] = rank + 1
        label = charts.escape_control_characters(run.model.label(node.token_id))
        facts = t(
            "beam.facts",
            status=t(f"beam.{node.status}"),
            logprob=format_number(node.logprob),
            total=format_number(node.score),
        )
        drawn.append(BeamTreeNode(node.parent, node.step, rank, label, node.status, text, facts))
    return drawn


def _node_row(node: BeamTreeNode, nodes: list[BeamTreeNode]) -> dict[str, Any]:
    return {
        t("beam.step"): node.step + 1,
        t("beam.rank"): node.rank + 1,
        t("step.token"): node.label,
        t("beam.after"): nodes[node.parent].text if node.parent is not None else "",
        t("beam.status"): t(f"beam.{node.status}"),
        t("beam.figures"): node.facts,
    }
