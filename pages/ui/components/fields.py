"""Draw form fields: widgets with label and help in the reader's language, whose values outlive a change of page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from pages.ui.shell.i18n import language, load_texts, t

Options = ParamSpec("Options")
Value = TypeVar("Value")


def show_field(
    widget: Callable[Concatenate[str, Options], Value],
    text: str,
    key: str,
    /,
    *arguments: Options.args,
    **options: Options.kwargs,
) -> Value:
    """Draw a Streamlit widget and return its value, which the session keeps under `key` while the widget is not drawn.

    Its label is the text `text`, its help the text `{text}_help`, if there is one; `help=` in `options` replaces it,
    and None leaves it out. `arguments` follow the label.
    """
    own: dict[str, Any] = {"key": key, "persist_state": "session"}
    if "help" not in options and f"{text}_help" in load_texts(language()):
        own["help"] = t(f"{text}_help")
    return widget(t(text), *arguments, **own, **options)
