"""What a part of a page asks of a service: the one way to wait, with a progress display, a Stop and an end.

`ask` begins, from a button's `on_click`. Each rerun calls `settle` before it draws what the answer changes, and
`waiting_line` where the reader is to see how it stands.
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
"""An answer that comes this soon needs no progress display, which would only make the page jump."""


def ask(
    place: str, words: str, begin: Callable[[], BackgroundCall[T]], take: Callable[[T], None], stopped: str = ""
) -> None:
    """Ask for something in one place of a page: what was asked there before is given up. `take` is called in a rerun of
    the page with what comes back. `words` say what is waited for, `stopped` what it means that it was stopped."""
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
    """Take in what has come back there. Whether something is still on its way."""
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
    """Forget what was asked there, and why it was refused."""
    wait = session().waits.pop(place, None)
    if wait and wait.errand:
        wait.errand.stop()


def waiting_line(place: str) -> None:
    """How far it is, with a way to stop it; or why nothing came of it. Always one element, so that what follows keeps
    its place."""
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
