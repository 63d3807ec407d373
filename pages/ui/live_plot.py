"""A Plotly chart that is redrawn in place while people watch: one node for its whole life, no gap, no jump."""

from __future__ import annotations

import streamlit as st

from pages.ui import plotly_js

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

export default function ({ data, parentElement }) {
  const host = parentElement.querySelector(".nucleus-plot");
  host.setAttribute("aria-label", data.label);
  host.latest = data;
  plotly(data.url).then((Plotly) => {
    const { figure, step } = host.latest;
    const font = { family: getComputedStyle(host).fontFamily, size: 13 };
    const config = { displaylogo: false, modeBarButtons: [["toImage"]], displayModeBar: "hover", responsive: true };
    host.style.minWidth = `${host.latest.min_width}px`;
    Plotly.react(host, figure.data, { ...figure.layout, font }, config);
    host.dataset.step = step;
  }).catch(() => { host.textContent = data.failed; });
}
"""

# Colours come from the theme by style sheet, so that switching between light and dark needs no redraw.
_CSS = """
.nucleus-scroll { overflow-x: auto; overflow-y: hidden; }
.nucleus-plot { width: 100%; font-family: var(--st-font, sans-serif); color: var(--st-text-color); }
.nucleus-plot .main-svg text { fill: var(--st-text-color) !important; }
.nucleus-plot .main-svg .hoverlayer text { fill: #fff !important; }
.nucleus-plot .gridlayer path { stroke: var(--st-border-color) !important; }
"""

_render = st.components.v2.component(
    "nucleus_live_plot",
    html='<div class="nucleus-scroll"><div class="nucleus-plot" role="img"></div></div>',
    css=_CSS,
    js=_JS,
    isolate_styles=False,
)


def live_plot(figure: dict, *, key: str, label: str, failed: str, step: str, min_width: int = 0) -> None:
    """Draw `figure` (plotly JSON with a fixed height). Same `key`, same node: new data changes it in place.

    `label` is read by screen readers, `failed` shows if plotly.js cannot be loaded, `step` marks what is drawn.
    A screen narrower than `min_width` pixels scrolls sideways. A button over the chart saves it as an image.
    """
    data = {
        "figure": figure,
        "url": plotly_js.url(),
        "label": label,
        "failed": failed,
        "step": step,
        "min_width": min_width,
    }
    _render(key=key, data=data, height=figure["layout"]["height"])
