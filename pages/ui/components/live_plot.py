"""Plotly chart that is redrawn in place while an answer grows: one DOM node for its whole life, without jumps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from pages.ui.components import plotly_js
from pages.ui.components.assets import read_asset
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get

_BUTTON_ROW_HEIGHT = 30
"""Pixels above a figure that scrolls sideways, for the download button."""

# Colours come from the theme through CSS, so that switching between light and dark needs no redraw.

_HTML = """
<div class="nucleus-figure"><div class="nucleus-scroll"><div class="nucleus-plot" role="img"></div></div>
<button class="nucleus-save" type="button">⤓</button></div>
"""

_render = st.components.v2.component(
    "nucleus_live_plot",
    html=_HTML,
    css=read_asset("live_plot.css"),
    js=read_asset("live_plot.js"),
    isolate_styles=False,
)


def show_live_plot(
    figure: dict,
    *,
    key: str,
    label: str,
    step: str,
    min_width: int = 0,
    on_pick: Callable[[int], None] | None = None,
) -> None:
    """Draw `figure`, plotly JSON with a fixed height. The same `key` keeps the same node, and new data changes it in
    place.

    `label` is for screen readers, `step` identifies the drawn data. On a screen narrower than `min_width` pixels the
    figure scrolls sideways, below a row for the button. The button at the upper right, for which figures leave room,
    downloads the chart as an image. `on_pick` gets the `customdata` of a clicked point before the rest of the page is
    drawn.
    """
    data: dict[str, Any] = {"figure": figure, "url": plotly_js.url(), "label": label, "step": step}
    data |= {"min_width": min_width, "name": f"nucleus-{key.replace('.', '-')}"}
    data |= {"failed": t("charts.failed"), "save": t("charts.save")}

    def picked() -> None:
        if on_pick and (place := get(key).get("picked")) is not None:
            on_pick(int(place))

    _render(
        key=key,
        data=data,
        height=figure["layout"]["height"] + (_BUTTON_ROW_HEIGHT if min_width else 0),
        on_picked_change=picked,
    )
