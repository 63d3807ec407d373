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
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import PendingCall, session

if TYPE_CHECKING:
    from llm_core.providers.http.background_call import BackgroundCall

T = TypeVar("T")

_REFRESH_SECONDS = 0.5
_WAIT_SECONDS = 0.4
"""Time to wait for a result before showing progress, which for a quick call would only make the page jump."""


def start_call(
    place: str, label: str, begin: Callable[[], BackgroundCall[T]], on_result: Callable[[T], None], stopped: str = ""
) -> None:
    """Start a call at `place`, cancelling an earlier one there.

    `on_result` gets the result in a later rerun, or in this one if the call ends at once. `label` is the text beside
    the progress, `stopped` the message after the reader stopped the call. A `NucleusError` of `begin` is shown by
    `show_call_status`.
    """
    cancel_call(place)
    wait = session().pending_calls[place] = PendingCall(label, on_result, stopped)
    try:
        wait.call = begin()
    except NucleusError as error:
        wait.start_error = error
        return
    wait.call.wait(_WAIT_SECONDS)
    poll_call(place)


def poll_call(place: str) -> bool:
    """Hand a finished call's result to its `on_result`. Returns whether the call is still active."""
    wait = session().pending_calls.get(place)
    if wait is None or wait.call is None:
        return False
    if wait.call.active:
        return True
    if not (wait.call.error or wait.call.stopped):
        del session().pending_calls[place]
        wait.on_result(wait.call.value())
    return False


def cancel_call(place: str) -> None:
    """Cancel the call at `place` and clear its error."""
    wait = session().pending_calls.pop(place, None)
    if wait and wait.call:
        wait.call.stop()


def show_call_status(place: str) -> None:
    """Draw the progress of the call at `place` with a Stop button, or its error.

    Draws exactly one container in every state, so that elements below keep their position.
    """
    wait = session().pending_calls.get(place)
    with st.container(key=f"shell.waiting.{place}"):
        if wait is None:
            return
        if wait.call and wait.call.active:
            st.fragment(_show_call_progress, run_every=_REFRESH_SECONDS)(place, wait.label, wait.call)
        elif error := wait.start_error or (wait.call and wait.call.error):
            st.error(i18n.explain(error), icon=":material/error:")
        else:
            st.info(wait.stopped or t("waiting.stopped"), icon=":material/info:")


def _show_call_progress(place: str, label: str, call: BackgroundCall) -> None:
    if not call.active:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(call.fraction, text=t("waiting.since", words=label, seconds=format_number(call.seconds, 0)))
        st.button(t("waiting.stop"), key=f"shell.stop.{place}", on_click=call.stop, icon=":material/stop_circle:")
