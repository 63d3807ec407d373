"""Form for hosted models: provider, key, address, list of models, and what the chosen model supports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st
from pydantic import SecretStr

from llm_core import NucleusError
from llm_core.providers.model_id import split_model_id
from pages.ui.components.fields import show_field
from pages.ui.model.session_state import model_state
from pages.ui.shell import i18n, services
from pages.ui.shell.background_call import cancel_call, poll_call, show_call_status, start_call
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import Key, get, has, put, secret_key, session

if TYPE_CHECKING:
    from llm_core.providers.http.background_call import BackgroundCall
    from llm_core.providers.provider import HostedModel

PROVIDER_FORMS = {
    "gemini": ("gemini", ""),
    "vertex": ("vertex", ""),
    "endpoint": ("endpoint", ""),
    "openai": ("openai", ""),
    "server": ("openai", "http://127.0.0.1:8000/v1"),
}
"""Providers of the form: scheme and initial address of each."""
MODEL_LIST_CALL = "hosted-models"
"""Place of the pending call that lists a provider's models."""
_SUPPORT_SIGNS = {"honoured": "✓", "ignored": "∅", "rejected": "✗", "untried": "?"}


def show_provider_form() -> None:
    """Draw the form."""
    if not has(Key.PROVIDER):
        put(Key.PROVIDER, "gemini")
        put(Key.SERVER_URL, PROVIDER_FORMS["server"][1])
    if not has(Key.VERTEX_PLACE):
        put(Key.VERTEX_PLACE, "")
    names = {each: t(f"hosted.providers.{each}") for each in PROVIDER_FORMS}
    show_field(
        st.segmented_control,
        "hosted.provider",
        Key.PROVIDER,
        list(names),
        format_func=names.__getitem__,
        required=True,
        on_change=_clear_messages,
    )
    chosen = str(get(Key.PROVIDER))
    st.caption(t(f"hosted.about.{chosen}"))
    if chosen == "server":
        show_field(st.text_input, "hosted.url", Key.SERVER_URL, max_chars=500)
    if chosen in ("vertex", "endpoint"):
        show_field(
            st.text_input,
            "hosted.place",
            Key.VERTEX_PLACE,
            max_chars=200,
            placeholder="my-project/us-central1",
            help=t("hosted.place_help" if chosen == "vertex" else "hosted.place_needed"),
        )
    if chosen != "endpoint":  # an endpoint authenticates by the server's Google Cloud identity and takes no key
        _show_key_field(chosen)
    _show_model_field(chosen)
    show_call_status(MODEL_LIST_CALL)
    if model_state().hosted_notice:
        st.error(model_state().hosted_notice, icon=":material/error:")


def _clear_messages() -> None:
    """Clear messages and the pending call, which belong to another provider."""
    model_state().hosted_notice = None
    cancel_call(MODEL_LIST_CALL)


def _read_target() -> tuple[str, str]:
    """Return scheme and place (address, or project and location) as the form has them, unchecked."""
    chosen = str(get(Key.PROVIDER))
    field = {"server": Key.SERVER_URL, "vertex": Key.VERTEX_PLACE, "endpoint": Key.VERTEX_PLACE}.get(chosen)
    return PROVIDER_FORMS[chosen][0], str(get(field) or "").strip() if field else ""


def _key_name() -> str:
    scheme, place = _read_target()
    return f"{scheme}:{place.rstrip('/')}" if place else scheme


def _show_key_field(chosen: str) -> None:
    name = _key_name()
    st.text_input(
        t("hosted.key"),
        type="password",
        key=secret_key(chosen),
        on_change=_store_key,
        args=(chosen, name),
        placeholder=t("hosted.key_there") if name in session().keys else "",
        help=t("hosted.key_help"),
        autocomplete="off",
    )


def _store_key(chosen: str, name: str) -> None:
    if typed := str(get(secret_key(chosen)) or "").strip():
        session().keys[name] = SecretStr(typed)
    else:
        session().keys.pop(name, None)


def _show_model_field(chosen: str) -> None:
    under_way = poll_call(MODEL_LIST_CALL)
    listed = model_state().listed_models.get(_key_name(), ())
    facts = {target.name: model for model in listed if (target := split_model_id(model.id))}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            t("hosted.model"),
            list(facts),
            index=None,
            key=f"model.name.{chosen}",
            accept_new_options=True,
            placeholder=t("hosted.model_placeholder" if listed else "hosted.model_type"),
        )
        st.button(
            t("hosted.list"), on_click=_list_models, icon=":material/refresh:", key="model.list", disabled=under_way
        )
    name = str(get(f"model.name.{chosen}") or "").strip()
    if fact := facts.get(name):
        st.caption(_format_model_facts(fact))
    st.button(t("hosted.use"), type="primary", on_click=_use_model, args=(name,), disabled=not name, key="model.use")


def _format_model_facts(model: HostedModel) -> str:
    known = {"window": model.context_window, "output": model.output_limit}
    told = [t(f"hosted.facts.{name}", value=format_number(value, 0)) for name, value in known.items() if value]
    named = [] if model.name in model.id else [i18n.escape_markdown(model.name)]
    text = " · ".join(named + told) or t("hosted.facts.none")
    return text[:1].upper() + text[1:]


def _check_target() -> tuple[str, str]:
    """Return scheme and place of the form. Raises `NucleusError` for an invalid address, or an invalid project and
    location."""
    from llm_core.providers.google.client import PROJECT_AND_LOCATION
    from llm_core.providers.http.url_policy import normalize_url

    scheme, place = _read_target()
    if (
        (place or scheme == "endpoint")
        and scheme in ("vertex", "endpoint")
        and not PROJECT_AND_LOCATION.fullmatch(place)
    ):
        raise NucleusError("provider_place_invalid", place=place)
    return scheme, normalize_url(place) if get(Key.PROVIDER) == "server" else place


def _list_models() -> None:
    _state, name = session(), _key_name()
    model_state().hosted_notice = None

    def begin() -> BackgroundCall[tuple[HostedModel, ...]]:
        from llm_core.providers.http.background_call import BackgroundCall

        hosted, credentials = services.router().hosted, services.credentials()
        scheme, place = _check_target()
        return BackgroundCall(lambda line: hosted.models(scheme, place, credentials, line), hosted.make_connection())

    def take(found: tuple[HostedModel, ...]) -> None:
        model_state().listed_models[name] = found

    start_call(MODEL_LIST_CALL, t("hosted.listing"), begin, take)


def _use_model(name: str) -> None:
    state = session()
    _clear_messages()
    try:
        scheme, place = _check_target()
        model_id = f"{scheme}:{name}@{place}" if place else f"{scheme}:{name}"
        target = services.router().target(model_id)
    except NucleusError as error:
        model_state().hosted_notice = i18n.explain(error)
        return
    if target:
        state.model_id = target.model_id


def show_capabilities(model_id: str) -> None:
    """Draw a table of what is known of each setting with a model: honoured, ignored, rejected or untried."""
    support = services.router().hosted.support(model_id)
    st.caption(t("hosted.capabilities_help"))
    st.dataframe(
        [
            {
                t("hosted.setting"): t(f"fields.{field}"),
                t("hosted.support"): f"{_SUPPORT_SIGNS[known]} {t(f'hosted.supports.{known}')}",
            }
            for field, known in support.items()
        ],
        hide_index=True,
        height=300,
    )
    st.button(
        t("hosted_views.dead.again"),
        on_click=services.router().hosted.forget,
        args=(model_id,),
        help=t("hosted_views.dead.again_help"),
        key="model.forget",
    )
