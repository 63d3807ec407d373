"""Ask the learner to predict the next token before the Lens shows the distribution."""

from __future__ import annotations

import math

import streamlit as st

from pages.ui.lens.session_state import Guess, lens_state
from pages.ui.lens.views import ViewContext
from pages.ui.shell.i18n import escape_markdown, format_number, format_share, t
from pages.ui.shell.session import get


def show_guess(scene: ViewContext, step: int) -> bool:
    """Draw the form for a guess, or the result of the guess. Returns whether the distribution may be shown."""
    guesses = lens_state().guesses
    with st.container(border=True):
        if step in guesses:
            _show_guess_result(scene, guesses[step])
            return True
        with st.form("lens_guess_form", border=False):
            st.text_input(t("lens.guess.ask"), key=f"lens.guess.{step}", help=t("lens.guess.help"))
            st.form_submit_button(t("lens.guess.reveal"), on_click=_record_guess, args=(scene, step), type="primary")
        return False


def _record_guess(scene: ViewContext, step: int) -> None:
    """Record the guess by the likelier of its spellings.

    Whether a word begins with a space is known to the tokenizer, not to the learner.
    """
    raw = scene.view.raw
    found = scene.lens.find(get(f"lens.guess.{step}") or "")
    firsts = [each.token_id for each in found if each.token_id is not None]
    guess = max(firsts, key=raw.probability, default=None)
    if guess is not None:
        lens_state().guesses[step] = Guess(guess, raw.probability(guess), guess == raw.best)
    else:  # nothing was typed, or something that the provider did not show
        most = raw.unseen.ceiling if found and raw.unseen else None
        lens_state().guesses[step] = Guess(None, most, False)


def _show_guess_result(scene: ViewContext, guess: Guess) -> None:
    raw = scene.view.raw
    if guess.token is not None and guess.probability is not None:
        token, rank = escape_markdown(scene.label(guess.token)), format_number(raw.rank(guess.token), 0)
        st.markdown(t("lens.guess.yours", token=token, value=format_share(guess.probability), rank=rank))
    elif guess.probability is not None:
        st.markdown(t("hosted_views.guess_unseen", count=len(raw.probs), value=format_share(guess.probability)))
    else:
        st.markdown(t("lens.guess.none"))
    best = raw.best
    st.markdown(
        t(
            "lens.guess.truth",
            best=escape_markdown(scene.label(best)),
            value=format_share(raw.probability(best)),
            drawn=escape_markdown(scene.label(scene.token_id)),
        )
    )
    made = [each for each in lens_state().guesses.values() if each.probability is not None]
    if made:
        hits = sum(each.hit for each in made)
        bits = sum(-math.log2(max(each.probability or 0, 1e-12)) for each in made) / len(made)
        st.caption(t("lens.guess.score", hits=hits, count=len(made), bits=format_number(bits, 1)))
