"""Starter recipes for the whitepaper's applications, in English and Vietnamese."""

from __future__ import annotations

import streamlit as st

from llm_core.recipes.recipe import ModelReference
from llm_core.recipes.starter_prompts import Language, StarterPrompt, load_applications
from pages.ui.playground.open_recipe import open_or_confirm
from pages.ui.recipes.opened import OpenedRecipe
from pages.ui.shell import i18n
from pages.ui.shell.i18n import t
from pages.ui.shell.session import session


def show_starters() -> None:
    """Draw the choice of application and language, and the recipes of the chosen application."""
    st.caption(t("gallery.intro"))
    reader: Language = "vi" if i18n.language() == "vi" else "en"
    names = {each.id: each.title[reader] for each in load_applications()}
    chosen = st.selectbox(
        t("gallery.application"), list(names), format_func=names.__getitem__, key="gallery.application"
    )
    language = st.segmented_control(
        t("gallery.prompt_language"),
        list(i18n.LANGUAGES),
        default="en",
        required=True,
        format_func=i18n.LANGUAGES.__getitem__,
        help=t("gallery.prompt_language_help"),
        key="gallery.language",
    )
    [application] = (each for each in load_applications() if each.id == chosen)
    for entry in application.entries:
        _show_card(entry, "vi" if language == "vi" else "en", reader)


def _show_card(entry: StarterPrompt, language: Language, reader: Language) -> None:
    spec = entry.prompts[language]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{i18n.escape_markdown(entry.title[reader])}**", width="content")
            st.badge(t(f"techniques.{entry.technique}.name"))
            st.space("stretch")
            st.button(
                t("gallery.open"),
                key=f"gallery.open.{entry.application}.{entry.id}",
                icon=":material/play_arrow:",
                on_click=_open_starter,
                args=(entry, language),
            )
        st.markdown(i18n.escape_markdown(entry.teaches[reader]))
        st.caption(t("gallery.expect", text=i18n.escape_markdown(entry.expect[reader])))
        with st.expander(t("gallery.show_prompt")):
            shown = spec.variants()[0].messages()
            st.code("\n\n".join(message.content for message in shown), language=None, wrap_lines=True)


def _open_starter(entry: StarterPrompt, language: Language) -> None:
    """Open a starter recipe for the reader's current model, because it suits any model."""
    recipe = entry.recipe(language, model=ModelReference(id=session().model_id), precision=session().precision)
    open_or_confirm(OpenedRecipe(recipe))
