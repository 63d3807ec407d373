"""Convert answers to cells of a token strip, and cells to table rows."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pages.ui.components import charts
from pages.ui.components.token_strip import COLOUR_MODES, SCALE_ENDS, ColourMode, TokenCell
from pages.ui.shell import i18n
from pages.ui.shell.i18n import format_number, t

if TYPE_CHECKING:
    from llm_core.generation.branches import Branch
    from llm_core.generation.record import Run, SampleRecord, TokenEvent

_TEXT_NAMES = ("token", "after", "entropy", "surprisal", "id", "part", "bare", "given", "fork", "image")

_cell_cache: WeakKeyDictionary[SampleRecord, tuple[TokenCell, ...]] = WeakKeyDictionary()
_lock = threading.Lock()


def make_token_cells(branch: Branch) -> tuple[TokenCell, ...]:
    """Return the cells of a whole answer, those shared with its parents included. Finished cells are cached, because an
    answer is drawn several times a second while it grows."""
    shared = make_token_cells(branch.parent)[: branch.step] if branch.parent else ()
    with _lock:
        known = _cell_cache.get(branch.row, ())
    new = tuple(_make_cell(branch.run, event) for event in branch.row.events(len(known)))
    if new:
        known += new
        with _lock:
            _cell_cache[branch.row] = known
    return shared + known


def fork_steps(branch: Branch) -> list[int]:
    """Return the steps at which the answer and its ancestors left their parents."""
    forks = fork_steps(branch.parent) if branch.parent else []
    return [*(fork for fork in forks if fork < branch.step), *([branch.step] if branch.parent else [])]


def forced_token_steps(branch: Branch) -> list[int]:
    """Return the steps whose tokens a person picked or typed, those of ancestors included."""
    before = forced_token_steps(branch.parent) if branch.parent else []
    return [*(step for step in before if step < branch.step), *branch.forced_steps]


def strip_texts(mode: ColourMode, title: str, empty: str = "") -> dict[str, Any]:
    """Return the texts of a strip in the reader's language."""
    low, high = SCALE_ENDS[mode]
    most = format_number(high, 0)
    if mode != "probability":
        most = t("strip.at_least" if mode == "rank" else "strip.at_least_bits", value=most)
    return {
        "title": title,
        "empty": empty,
        "legend": t("strip.legend", name=t(f"strip.modes.{mode}")),
        "low": format_number(low, 0),
        "high": most,
        "names": {name: t(f"strip.modes.{name}") for name in COLOUR_MODES},
        "lang": i18n.language(),
        **{name: t(f"strip.{name}") for name in _TEXT_NAMES},
    }


def token_table(cells: Sequence[TokenCell]) -> list[dict[str, Any]]:
    """Return the cells as table rows."""
    return [
        {t("strip.number"): step + 1, t("step.token"): cell.label}
        if cell.kind == "bare"
        else {
            t("strip.number"): step + 1,
            t("step.token"): cell.label,
            t("strip.id"): cell.token_id,
            t("strip.modes.probability"): round(cell.probability, 5),
            t("strip.after"): round(cell.after, 5),
            t("strip.modes.rank"): cell.rank,
            t("strip.entropy"): round(cell.entropy, 3),
            t("strip.surprisal"): round(cell.surprisal, 3),
        }
        for step, cell in enumerate(cells)
    ]


def _make_cell(run: Run, event: TokenEvent) -> TokenCell:
    trace = event.trace
    if trace is None:
        return TokenCell(
            event.piece, charts.escape_control_characters(event.piece), event.token_id, "bare", 0.0, 0.0, 0, 0.0, 0.0
        )
    label = charts.escape_control_characters(run.label(trace.token_id))
    is_mark = event.token_id in run.end_ids
    return TokenCell(
        text=event.piece,
        label=label,
        token_id=event.token_id,
        kind="mark" if is_mark else "text" if event.piece else "part",
        probability=math.exp(trace.logprob),
        after=math.exp(trace.final.logprobs[trace.candidates.index(trace.token_id)]),
        rank=trace.rank,
        entropy=trace.raw.entropy_bits,
        surprisal=max(0.0, trace.surprisal_bits),
    )
