"""Cells, their places on the colour scales, and the lines of the tree, without a page."""

from __future__ import annotations

import pytest

from pages.ui.components.token_strip import COLOUR_MODES, TokenCell, colour_position
from pages.ui.components.tree_list import outline_guides

LIKELY = TokenCell("a", "a", 1, "text", probability=1.0, after=1.0, rank=1, entropy=0.0, surprisal=0.0)
UNLIKELY = TokenCell("b", "b", 2, "text", probability=0.0, after=0.0, rank=40_000, entropy=15.6, surprisal=30.0)


@pytest.mark.parametrize("mode", COLOUR_MODES)
def test_the_ends_of_each_scale(mode):
    ends = (colour_position(LIKELY, mode), colour_position(UNLIKELY, mode))
    assert ends == ((1, 0) if mode == "probability" else (0, 1))


def test_ranks_are_placed_by_their_logarithm():
    places = [colour_position(LIKELY._replace(rank=rank), "rank") for rank in (1, 10, 100, 1000)]
    assert places == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_the_lines_of_a_tree():
    assert outline_guides([0, 1, 2, 2, 1, 0, 1]) == ["", "├─", "│ ├─", "│ └─", "└─", "", "└─"]
    assert outline_guides([0, 1, 2, 3]) == ["", "└─", "  └─", "    └─"]
