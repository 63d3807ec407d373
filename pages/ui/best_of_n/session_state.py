"""Hold what the Best-of-N page remembers of a browser tab, besides its widgets."""

from __future__ import annotations

from pages.ui.best_of_n.drafts import BestOfNState
from pages.ui.shell.session import session_slice


def best_of_n_state() -> BestOfNState:
    """Return what this room remembers of the tab."""
    return session_slice(BestOfNState)
