"""State of the Playground of one browser tab."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llm_core.generation.beam_search import BeamRun
from llm_core.generation.branches import Branch, BranchTree
from llm_core.generation.record import Run
from llm_core.generation.technique_run import TechniqueRun
from llm_core.prompts.spec import PromptSpec
from pages.ui.recipes.opened import OpenedRecipe
from pages.ui.shell.session import session_slice

if TYPE_CHECKING:
    from llm_core.recipes.recipe import Recipe
    from llm_core.recipes.trace import Trace


@dataclass
class PlaygroundState:
    """Values of the Playground, besides its widgets: answers, their branches, and the open recipe."""

    work_id: str = ""
    """Id in the page's URL under which this tab's work is stored; empty for none."""
    technique_runs: list[TechniqueRun] = field(default_factory=list)
    """Runs of the prompts that were started together: one, or one per row of values."""
    run_values: tuple[Mapping[str, str], ...] = ()
    """Row of values of each run, if there are any."""
    shown: tuple[int, int] = (0, 0)
    """Index of the shown run, and index of its chain."""
    run_prompt: PromptSpec | None = None
    """Prompt of the runs, before its variables were filled in."""
    run_recipe: Recipe | None = None
    """Recipe that was open when the runs started."""
    panel: dict[str, object] = field(default_factory=dict)
    """Values of the sampler panel when the page was last drawn as a whole, by widget key."""
    tree: BranchTree = field(default_factory=BranchTree)
    """Answers and their branches."""
    branch: int | None = None
    """Id of the shown branch; None shows the answer at `shown`."""
    compared: int | None = None
    """Id of the branch beside it; None for no comparison."""
    pruned: list[Branch] = field(default_factory=list)
    """Branches that were pruned last, which can be restored."""
    beam: BeamRun | None = None
    """Last beam search."""
    beam_notice: str | None = None
    branch_notice: str | None = None
    """Message on why the last branch was refused, in the reader's language."""
    selected_step: int | None = None
    """Step whose distribution is shown; None follows the newest."""
    replaced_recipe: Recipe | None = None
    """Recipe of the fields before another one was opened, which can be restored."""
    replaced_answers: tuple[TechniqueRun, ...] = ()
    """Runs that a recorded run replaced."""
    opened: OpenedRecipe | None = None
    pending_recipe: OpenedRecipe | None = None
    """Recipe to open if the reader agrees that it replaces the current work."""
    sharing: bool = False
    """Whether the Share dialog is open."""
    share_notice: str | None = None
    """Message of the Share dialog on why a link or file was refused, in the reader's language."""
    recorded_trace: tuple[tuple[str, ...], Trace] | None = None
    """Last trace that was made for sharing, after the ids of its runs."""
    recipe_notice: tuple[str, str] | None = None
    """Message on opening or saving a recipe: "success", "info", "warning" or "error", and the text."""
    history_on: bool = True
    """Whether runs of this tab are recorded in the history."""
    history_notice: str | None = None
    """Message on why recording failed; None while it works."""
    recorded: set[str] = field(default_factory=set)
    """Ids of the runs that were handed to the history, or skipped for good."""
    notice: str | None = None
    """Message on why the last run was refused, in the reader's language."""

    @property
    def run(self) -> Run | None:
        """Run of the shown answer; None before the first run."""
        if branch := self.tree.get(self.branch):
            return branch.run
        return self.technique_runs[self.shown[0]].main if self.technique_runs else None


def playground_state() -> PlaygroundState:
    """Return this tab's `PlaygroundState`."""
    return session_slice(PlaygroundState)
