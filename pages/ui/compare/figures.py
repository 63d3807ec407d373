"""Build charts of comparisons and sweeps as plotly JSON. No Streamlit here.

Colours are Okabe and Ito's, distinct in every common form of colour blindness, and every second round of them is
dashed; maps use the cividis scale. Every axis has a title with its unit, and every point of a sweep carries its index.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pages.ui.components.figure import (
    COLOURS,
    RAW_COLOUR,
    Figure,
    escape_label,
    fade_colour,
    make_axis,
    make_figure,
    make_heatmap,
    make_horizontal_line,
)

_DASHES = ("solid", "dash")
_LOG_SCALE_RATIO = 30
_MAX_NUMBERED_CELLS = 100
"""Most cells of a map in which their numbers are written."""


def entropy_figure(lines: Mapping[str, Sequence[float]], position: str, bits: str) -> Figure:
    """Return the model's entropy along each text, in bits, by token position."""
    return make_figure(
        [
            {
                "type": "scatter",
                "mode": "lines",
                "name": escape_label(name),
                "x": list(range(1, len(values) + 1)),
                "y": [round(value, 3) for value in values],
                "line": {"color": COLOURS[place % 8], "dash": _DASHES[place // 8 % 2], "width": 2},
            }
            for place, (name, values) in enumerate(lines.items())
        ],
        height=330 + 20 * math.ceil(len(lines) / 3),
        margin=(56, 12, 30, 48),
        legend={"orientation": "h", "y": -0.28, "yanchor": "top"},
        xaxis=make_axis(position),
        yaxis=make_axis(bits, rangemode="tozero"),
        hovermode="x unified",
    )


def curve_figure(
    values: Sequence[float | str],
    figures: Sequence[float | None],
    seeds: Sequence[Sequence[float]],
    lines: Mapping[str, float],
    titles: tuple[str, str],
    chosen: int | None,
) -> Figure:
    """Return one statistic over one setting.

    A line passes through the grid points that have a value, with a dot for each seed and horizontal lines for reference
    texts. Points carry their index in `values`.
    """
    known = [place for place, figure in enumerate(figures) if figure is not None]
    dots = [(place, value) for place, each in enumerate(seeds) for value in each]
    numbers = [value for value in values if not isinstance(value, str)]
    named = len(numbers) < len(values)
    xs = [escape_label(str(value)) for value in values] if named else list(values)
    everything = [*(figure for figure in figures if figure is not None), *lines.values(), *(y for _, y in dots)]
    wide = _needs_log_scale(everything)
    return make_figure(
        [
            {
                "type": "scatter",
                "mode": "markers",
                "x": [xs[place] for place, _ in dots],
                "y": [value for _, value in dots],
                "customdata": [place for place, _ in dots],
                "marker": {"color": RAW_COLOUR, "size": 6, "opacity": 0.65},
                "hovertemplate": "%{x}: %{y:.3g}<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "markers" if named else "lines+markers",
                "x": [xs[place] for place in known],
                "y": [figures[place] for place in known],
                "customdata": known,
                "line": {"color": COLOURS[0], "width": 2},
                "marker": {
                    "color": COLOURS[0],
                    "size": [15 if place == chosen else 11 for place in known],
                    "symbol": ["diamond" if place == chosen else "circle" for place in known],
                },
                "hovertemplate": "%{x}: %{y:.3g}<extra></extra>",
            },
        ],
        height=380,
        margin=(66, 16, 30, 60),
        xaxis=make_axis(
            titles[0],
            automargin=True,
            **({"type": "category", "categoryarray": xs} if named else {"range": _padded_range(numbers)}),
        ),
        yaxis=make_axis(
            titles[1],
            **({"type": "log", "dtick": 1} if wide else {"rangemode": "tozero"}),
            **({} if everything else {"range": [0, 1]}),
        ),
        shapes=[make_horizontal_line(y, {"color": COLOURS[1], "width": 1.5, "dash": "dot"}) for y in lines.values()],
        annotations=[
            {
                "xref": "paper",
                "x": 1,
                "xanchor": "right",
                "y": math.log10(y) if wide else y,
                "yanchor": "bottom",
                "text": name,
                "showarrow": False,
                "font": {"size": 11},
            }
            for name, y in _merge_close_labels(lines, everything, wide)
        ],
    )


def heatmap_figure(
    values: tuple[Sequence[float | str], Sequence[float | str]],
    figures: Sequence[Sequence[float | None]],
    titles: tuple[str, str, str],
    chosen: tuple[int, int] | None,
) -> Figure:
    """Return one statistic over two settings: `figures[down][across]`, None where no value is known yet.

    Cells carry the index of their grid point: `values[1]` varies fastest.
    """
    across, down = ([escape_label(str(value)) for value in each] for each in values)
    shapes = []
    if chosen:
        x, y = chosen
        shapes = [
            {
                "type": "rect",
                **{"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5},
                "line": {"color": COLOURS[1], "width": 3},
            }
        ]
    everything = [figure for row in figures for figure in row if figure is not None]
    wide = _needs_log_scale(everything)
    colorbar = None
    if wide:
        ticks = [10**power for power in range(math.floor(math.log10(min(everything))), 10)]
        ticks = [tick for tick in ticks if min(everything) <= tick <= max(everything)]
        colorbar = {"tickvals": [math.log10(tick) for tick in ticks], "ticktext": [f"{tick:g}" for tick in ticks]}
    trace = make_heatmap(
        across,
        down,
        [[None if figure is None else math.log10(figure) if wide else figure for figure in row] for row in figures],
        [["" if figure is None else _format_short(figure) for figure in row] for row in figures],
        title=titles[2],
        colorbar=colorbar,
        write_text=len(across) * len(down) <= _MAX_NUMBERED_CELLS,
        customdata=[[x * len(down) + y for x in range(len(across))] for y in range(len(down))],
        colorscale="Cividis",
        hovertemplate=f"{titles[0]} %{{x}}<br>{titles[1]} %{{y}}<br>{titles[2]}: %{{text}}<extra></extra>",
    )
    return make_figure(
        [trace],
        height=130 + 44 * max(4, len(down)),
        margin=(70, 10, 30, 56),
        xaxis=make_axis(titles[0], type="category", showgrid=False, categoryarray=across),
        yaxis=make_axis(titles[1], type="category", showgrid=False, categoryarray=down),
        shapes=shapes,
        plot_bgcolor=fade_colour(RAW_COLOUR, 0.16),  # shows through cells without a value
    )


def _padded_range(values: Sequence[float]) -> list[float]:
    """Return an axis range around all values, which stays fixed while points come in."""
    room = (max(values) - min(values)) / 20 or 0.5
    return [min(values) - room, max(values) + room]


def _needs_log_scale(values: Sequence[float]) -> bool:
    """Return whether the values span so much that only a logarithmic scale shows them all."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > _LOG_SCALE_RATIO


def _merge_close_labels(lines: Mapping[str, float], everything: Sequence[float], wide: bool) -> list[tuple[str, float]]:
    """Merge the names of lines that are too close to be labelled separately."""

    def height(value: float) -> float:
        return math.log10(value) if wide else value

    heights = [height(value) for value in everything] + ([] if wide else [0.0])
    near = (max(heights) - min(heights)) / 20 if heights else 0.0
    groups: list[tuple[str, float]] = []
    for name, value in sorted(lines.items(), key=lambda line: line[1]):
        if groups and height(value) - height(groups[-1][1]) <= near:
            groups[-1] = (f"{groups[-1][0]} · {name}", groups[-1][1])
        else:
            groups.append((name, value))
    return groups


def _format_short(value: float) -> str:
    """Format a value with two or three digits, without a power of ten."""
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"
