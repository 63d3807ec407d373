"""Lay out the Lens page: one decoding step, with the distribution before and after every sampler stage."""

from __future__ import annotations

import streamlit as st

from llm_core import NucleusError
from pages.ui.components.token_cells import forced_token_steps, fork_steps, make_token_cells, strip_texts
from pages.ui.components.token_strip import show_token_strip
from pages.ui.lens.guess_first import show_guess
from pages.ui.lens.partial import format_entropy, format_kept, show_partial_note
from pages.ui.lens.session_state import lens_state
from pages.ui.lens.step import SelectedStep, find_selected_step, inspect_step
from pages.ui.lens.views import VIEWS, ViewContext
from pages.ui.playground.run_view import has_active_runs
from pages.ui.settings.sampler_panel import read_sample_request, show_sampler_panel, write_settings
from pages.ui.shell import i18n
from pages.ui.shell.frame import page
from pages.ui.shell.i18n import format_number, format_share, t
from pages.ui.shell.session import get

REFRESH_SECONDS = 0.5


def show_lens_page() -> None:
    waiting = bool(lens_state().runs) or has_active_runs()
    st.fragment(_show_page, run_every=REFRESH_SECONDS if waiting else None)(waiting)


def _show_page(waited: bool) -> None:
    place = find_selected_step()
    if place is None:
        with st.container(border=True):
            st.markdown(t("lens.empty"))
            st.page_link("pages/playground.py", label=t("lens.to_playground"), icon=":material/arrow_forward:")
        return
    work, panel = st.columns([2.5, 1], gap="medium")
    with panel:
        _show_settings(place)
    with work:
        hidden = bool(get("lens.guess_first")) and place.step not in lens_state().guesses
        with st.container(border=True):
            _show_answer(place, hidden)
        _show_step(place)
    if waited != (bool(lens_state().runs) or has_active_runs()):
        st.rerun()


def _show_settings(place: SelectedStep) -> None:
    st.caption(t("lens.move_anything"))
    row = place.branch.row.request
    st.button(
        t("lens.as_in_the_run"),
        on_click=write_settings,
        args=(row.sampler, row.max_output_tokens, row.stop_sequences),
        icon=":material/settings_backup_restore:",
        key="lens.reset",
    )
    show_sampler_panel()


def _show_answer(place: SelectedStep, hidden: bool) -> None:
    """Draw the answer with the inspected step marked, and the buttons to the steps beside it."""
    count = len(place.events)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{t('step.place', step=place.step + 1, count=count)}**", width="content")
        st.space("stretch")
        st.toggle(t("lens.guess_first"), key="lens.guess_first", help=t("lens.guess_help"))
        with st.container(horizontal=True, width="content", gap="small"):
            _show_step_button("lens.previous", "chevron_left", place.step - 1, place.step == 0)
            _show_step_button("lens.next", "chevron_right", place.step + 1, place.step == count - 1)
    show_token_strip(
        make_token_cells(place.branch)[: place.step if hidden else count],
        key="lens.strip",
        mode="probability",
        selected=None if hidden else place.step,
        words=strip_texts("probability", t("run.answer"), t("lens.first_step")),
        on_pick=_select_step,
        forks=fork_steps(place.branch),
        given=forced_token_steps(place.branch),
    )


def _show_step_button(name: str, icon: str, step: int, disabled: bool) -> None:
    st.button(
        t(name),
        key=f"lens.icon_{icon}",
        icon=f":material/{icon}:",
        help=t(name),
        on_click=_select_step,
        args=(step,),
        disabled=disabled,
    )


def _select_step(step: int) -> None:
    lens_state().step = step


def _show_step(place: SelectedStep) -> None:
    try:
        looking = inspect_step(place)
    except NucleusError as error:
        st.error(i18n.explain(error), icon=":material/error:")
        return
    if looking is None:
        st.info(t("lens.waiting"), icon=":material/hourglass_top:")
        return
    config = read_sample_request().sampler
    event = place.events[place.step]
    scene = ViewContext(looking, place.branch.run.label, config, looking.inspect(config), event.known_trace.token_id)
    if get("lens.guess_first") and not show_guess(scene, place.step):
        return
    with st.container(border=True):
        names = {name: t(f"lens.views.{name}") for name in VIEWS}
        st.segmented_control(
            t("lens.view"),
            list(names),
            format_func=names.__getitem__,
            key="lens.view",
            default="stages",
            required=True,
            label_visibility="collapsed",
        )
        VIEWS[get("lens.view")](scene)
        _show_summary(scene)


def _show_summary(scene: ViewContext) -> None:
    raw, final = scene.view.raw, scene.view.final
    drawn = scene.lens.draw_token(scene.view, scene.config.seed)
    said = [
        t("step.kept", kept=format_number(final.kept, 0), vocabulary=format_number(raw.kept, 0))
        if raw.unseen is None
        else format_kept(final),
        t("lens.entropy", before=format_entropy(raw), after=format_entropy(final)),
        t("lens.top", value=format_share(final.probability(final.best))),
    ]
    if drawn is None:
        token, value = (
            i18n.escape_markdown(scene.label(scene.token_id)),
            format_share(final.probability(scene.token_id)),
        )
        said.append(t("hosted_views.drawn", token=token, value=value))
    else:
        same = drawn == scene.token_id
        said.append(
            t("lens.draws_same" if same else "lens.draws_other", token=i18n.escape_markdown(scene.label(drawn)))
        )
    st.caption(" · ".join(said))
    show_partial_note(scene.lens, scene.view, scene.config)


with page("lens.title"):
    show_lens_page()
