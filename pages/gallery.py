"""Gallery: ready prompts for the whitepaper's applications; each opens in the Playground with one click."""

from __future__ import annotations

import streamlit as st

from llm_core.gallery import Entry, Language, applications
from pages.ui import i18n
from pages.ui.composer import write_prompt
from pages.ui.controls import write_settings
from pages.ui.frame import page
from pages.ui.i18n import t
from pages.ui.recipe_opening import set_aside
from pages.ui.state import session
from pages.ui.vertex_prompts import vertex_prompts
from samplers import SamplerConfig


def gallery() -> None:
    st.caption(t("gallery.intro"))
    reader: Language = "vi" if i18n.language() == "vi" else "en"
    names = {each.id: each.title[reader] for each in applications()}
    chosen = st.selectbox(
        t("gallery.application"), list(names), format_func=names.__getitem__, key="gallery_application"
    )
    language = st.segmented_control(
        t("gallery.prompt_language"),
        list(i18n.LANGUAGES),
        default="en",
        required=True,
        format_func=i18n.LANGUAGES.__getitem__,
        help=t("gallery.prompt_language_help"),
        key="gallery_language",
    )
    [application] = (each for each in applications() if each.id == chosen)
    for entry in application.entries:
        _card(entry, "vi" if language == "vi" else "en", reader)
    vertex_prompts()


def _card(entry: Entry, language: Language, reader: Language) -> None:
    spec = entry.prompts[language]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{i18n.plain(entry.title[reader])}**", width="content")
            st.badge(t(f"techniques.{entry.technique}.name"))
            st.space("stretch")
            if st.button(
                t("gallery.open"),
                key=f"open_{entry.application}_{entry.id}",
                icon=":material/play_arrow:",
                on_click=_open,
                args=(entry, language),
            ):
                st.switch_page("pages/playground.py")
        st.markdown(i18n.plain(entry.teaches[reader]))
        st.caption(t("gallery.expect", text=i18n.plain(entry.expect[reader])))
        with st.expander(t("gallery.show_prompt")):
            shown = spec.prompts()[0].messages()
            st.code("\n\n".join(message.content for message in shown), language=None, wrap_lines=True)


def _open(entry: Entry, language: Language) -> None:
    """Fill the Playground. What was in it is kept, to be brought back there."""
    set_aside()
    write_prompt(entry.prompts[language])
    write_settings(SamplerConfig(**entry.sampler), entry.max_output_tokens, entry.prompts[language].stop_sequences)
    session().notice = None


with page("gallery.title"):
    gallery()
