"""Predict, then reveal: the distribution stays hidden until the learner has said which token comes next."""

from __future__ import annotations

import math

import streamlit as st

from llm_core.lens import spellings
from pages.ui.i18n import number, plain, share, t
from pages.ui.lens_views import Scene
from pages.ui.state import Guess, get, session


def guessing(scene: Scene, step: int) -> bool:
    """Ask for a guess, or tell what came of it. True once the distribution may be seen."""
    guesses = session().lens.guesses
    with st.container(border=True):
        if step in guesses:
            _revealed(scene, guesses[step])
            return True
        with st.form("lens_guess_form", border=False):
            st.text_input(t("lens.guess.ask"), key=f"lens_guess_{step}", help=t("lens.guess.help"))
            st.form_submit_button(t("lens.guess.reveal"), on_click=_take, args=(scene, step), type="primary")
        return False


def _take(scene: Scene, step: int) -> None:
    """The likelier spelling counts: whether a word begins with a space is for the tokenizer to know."""
    probs = scene.view.raw.probs
    firsts = [ids[0] for ids in spellings(scene.model, get(f"lens_guess_{step}") or "").values()]
    guess = max(firsts, key=lambda token: float(probs[token]), default=None)
    probability = 0.0 if guess is None else float(probs[guess])
    session().lens.guesses[step] = (guess, probability, guess == int(probs.argmax()))


def _revealed(scene: Scene, guess: Guess) -> None:
    token, probability, _ = guess
    if token is None:
        st.markdown(t("lens.guess.none"))
    else:
        rank = scene.view.raw.rank(token)
        st.markdown(
            t("lens.guess.yours", token=plain(scene.label(token)), value=share(probability), rank=number(rank, 0))
        )
    best = int(scene.view.raw.probs.argmax())
    st.markdown(
        t(
            "lens.guess.truth",
            best=plain(scene.label(best)),
            value=share(float(scene.view.raw.probs[best])),
            drawn=plain(scene.label(scene.token_id)),
        )
    )
    made = [each for each in session().lens.guesses.values() if each[0] is not None]
    if made:
        hits = sum(hit for *_, hit in made)
        bits = sum(-math.log2(max(chance, 1e-12)) for _, chance, _ in made) / len(made)
        st.caption(t("lens.guess.score", hits=hits, count=len(made), bits=number(bits, 1)))
