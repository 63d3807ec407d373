"""A Plotly chart that is redrawn in place while people watch: one node for its whole life, no gap, no jump."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from pages.ui.components import plotly_js
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get

_ROW = 30
"""Pixels above a figure that scrolls sideways, for the button under which it would move."""

_JS = """
let loading = null;
function plotly(url) {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { loading = null; reject(new Error("plotly.js did not load")); };
    document.head.appendChild(script);
  });
  return loading;
}

// As on the page: colours come from its style sheets, which a picture does not have.
function save(Plotly, host, name) {
  const style = getComputedStyle(host), ground = style.getPropertyValue("--st-background-color") || "#fff";
  const layout = { ...host.layout, paper_bgcolor: ground, plot_bgcolor: ground };
  layout.font = { ...layout.font, color: style.color };
  const size = { width: host.clientWidth, height: host.clientHeight, scale: 2 };
  Plotly.downloadImage({ data: host.data, layout }, { format: "png", filename: name, ...size });
}

export default function ({ data, parentElement, setTriggerValue }) {
  const host = parentElement.querySelector(".nucleus-plot");
  host.setAttribute("aria-label", data.label);
  host.latest = data;
  plotly(data.url).then((Plotly) => {
    const { figure, step } = host.latest;
    const font = { family: getComputedStyle(host).fontFamily, size: 13 };
    const drawn = JSON.stringify(figure);
    if (host.drawn !== drawn) {  // the page is drawn three times a second, and most of its figures stand still
      host.drawn = drawn;
      host.style.minWidth = `${host.latest.min_width}px`;
      parentElement.querySelector(".nucleus-figure").classList.toggle("nucleus-wide", host.latest.min_width > 0);
      Plotly.react(host, figure.data, { ...figure.layout, font }, { displayModeBar: false, responsive: true });
    }
    host.dataset.step = step;
    host.removeAllListeners("plotly_click");
    host.on("plotly_click", ({ points }) => {
      if (points[0].customdata !== undefined) setTriggerValue("picked", points[0].customdata);
    });
    const button = parentElement.querySelector(".nucleus-save");
    button.title = host.latest.save;
    button.setAttribute("aria-label", host.latest.save);
    button.onclick = () => save(Plotly, host, host.latest.name);
  }).catch(() => { host.textContent = data.failed; });
}
"""

# Colours come from the theme by style sheet, so that switching between light and dark needs no redraw.
_CSS = """
.nucleus-scroll { overflow-x: auto; overflow-y: hidden; }
.nucleus-plot { width: 100%; font-family: var(--st-font, sans-serif); color: var(--st-text-color); }
.nucleus-plot .main-svg text:not(.heatmap-label text) { fill: var(--st-text-color) !important; }
.nucleus-plot .main-svg .hoverlayer text { fill: #fff !important; }
.nucleus-plot .gridlayer path { stroke: var(--st-border-color) !important; }
.nucleus-figure { position: relative; }
.nucleus-save { position: absolute; top: 0; right: 0; width: 30px; height: 26px; border-radius: 6px;
  border: 1px solid var(--st-border-color); background: var(--st-background-color); color: var(--st-text-color);
  cursor: pointer; }
"""
_CSS += f".nucleus-wide {{ padding-top: {_ROW}px; }}\n"

_HTML = """
<div class="nucleus-figure"><div class="nucleus-scroll"><div class="nucleus-plot" role="img"></div></div>
<button class="nucleus-save" type="button">⤓</button></div>
"""

_render = st.components.v2.component(
    "nucleus_live_plot",
    html=_HTML,
    css=_CSS,
    js=_JS,
    isolate_styles=False,
)


def live_plot(
    figure: dict,
    *,
    key: str,
    label: str,
    step: str,
    min_width: int = 0,
    on_pick: Callable[[int], None] | None = None,
) -> None:
    """Draw `figure` (plotly JSON with a fixed height). Same `key`, same node: new data changes it in place.

    `label` is read by screen readers, `step` marks what is drawn. A screen narrower than `min_width` pixels scrolls
    sideways, under a row for the button. A button at the upper right, for which figures leave room, downloads the chart
    as an image. `on_pick` gets the `customdata` of a point that is clicked, before the rest of the page is drawn.
    """
    data: dict[str, Any] = {"figure": figure, "url": plotly_js.url(), "label": label, "step": step}
    data |= {"min_width": min_width, "name": f"nucleus-{key}"}
    data |= {"failed": t("charts.failed"), "save": t("charts.save")}

    def picked() -> None:
        if on_pick and (place := get(key).get("picked")) is not None:
            on_pick(int(place))

    _render(key=key, data=data, height=figure["layout"]["height"] + (_ROW if min_width else 0), on_picked_change=picked)
