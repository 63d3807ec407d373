"""Run a call to a service in the background of a page, with progress, a Stop button and an error message.

`start_call` begins it, from a button's `on_click`. Each rerun calls `poll_call` before it draws anything that the
result changes, and `show_call_status` at the place for progress and errors. A page has one pending call per `place`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import streamlit as st

from llm_core.errors import NucleusError
from pages.ui.shell import i18n
from pages.ui.shell.i18n import number, t
from pages.ui.shell.session import Wait, session

if TYPE_CHECKING:
    from llm_core.providers.http.background_call import BackgroundCall

T = TypeVar("T")

_REFRESH_SECONDS = 0.5
_AT_ONCE_SECONDS = 0.4
"""Time to wait for a result before showing progress, which for a quick call would only make the page jump."""


def ask(
    place: str, words: str, begin: Callable[[], BackgroundCall[T]], take: Callable[[T], None], stopped: str = ""
) -> None:
    """Start a call at `place`, cancelling an earlier one there.

    `on_result` gets the result in a later rerun, or in this one if the call ends at once. `label` is the text beside
    the progress, `stopped` the message after the reader stopped the call. A `NucleusError` of `begin` is shown by
    `show_call_status`.
    """
    give_up(place)
    wait = session().waits[place] = Wait(words, take, stopped)
    try:
        wait.errand = begin()
    except NucleusError as error:
        wait.refusal = error
        return
    wait.errand.wait(_AT_ONCE_SECONDS)
    settle(place)


def settle(place: str) -> bool:
    """Hand a finished call's result to its `on_result`. Returns whether the call is still active."""
    wait = session().waits.get(place)
    if wait is None or wait.errand is None:
        return False
    if wait.errand.active:
        return True
    if not (wait.errand.error or wait.errand.stopped):
        del session().waits[place]
        wait.take(wait.errand.value())
    return False


def give_up(place: str) -> None:
    """Cancel the call at `place` and clear its error."""
    wait = session().waits.pop(place, None)
    if wait and wait.errand:
        wait.errand.stop()


def waiting_line(place: str) -> None:
    """Draw the progress of the call at `place` with a Stop button, or its error.

    Draws exactly one container in every state, so that elements below keep their position.
    """
    wait = session().waits.get(place)
    with st.container(key=f"waiting-{place}"):
        if wait is None:
            return
        if wait.errand and wait.errand.active:
            st.fragment(_on_its_way, run_every=_REFRESH_SECONDS)(place, wait.words, wait.errand)
        elif error := wait.refusal or (wait.errand and wait.errand.error):
            st.error(i18n.explain(error), icon=":material/error:")
        else:
            st.info(wait.stopped or t("waiting.stopped"), icon=":material/info:")


def _on_its_way(place: str, words: str, errand: BackgroundCall) -> None:
    if not errand.active:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(errand.fraction, text=t("waiting.since", words=words, seconds=number(errand.seconds, 0)))
        st.button(t("waiting.stop"), key=f"stop-{place}", on_click=errand.stop, icon=":material/stop_circle:")
