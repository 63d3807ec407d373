"""Hold what the room remembers of a browser tab, besides its widgets."""

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
    """Values of the Playground: its answers, their branches, and what is open in it."""

    work_id: str = ""
    """Under which the page's address finds this tab's work again."""
    askings: list[TechniqueRun] = field(default_factory=list)
    """The prompts that were run together: one, or one for each row of values."""
    asked_values: tuple[Mapping[str, str], ...] = ()
    """The row of values of each of them, if there is one."""
    shown: tuple[int, int] = (0, 0)
    """Which of them is shown, and which of its chains."""
    asked_prompt: PromptSpec | None = None
    """The prompt that they were filled from."""
    asked_recipe: Recipe | None = None
    """The recipe that was open when they were asked."""
    panel: dict[str, object] = field(default_factory=dict)
    """The sampler's panel when the page was last drawn as a whole, by widget."""
    tree: BranchTree = field(default_factory=BranchTree)
    """Answers and their branches."""
    branch: int | None = None
    """The one that is shown; None is the answer at `shown`."""
    compared: int | None = None
    """The one beside it."""
    pruned: list[Branch] = field(default_factory=list)
    """What was pruned last."""
    beam: BeamRun | None = None
    """The last beam search."""
    beam_notice: str | None = None
    branch_notice: str | None = None
    """Why the last branch was refused, in the reader's language."""
    selected_step: int | None = None
    """The step whose distribution is shown; None follows the newest."""
    replaced: Recipe | None = None
    """What stood in the Playground before something else was opened."""
    replaced_answers: tuple[TechniqueRun, ...] = ()
    """The answers below it, where a recorded run took their place."""
    opened: OpenedRecipe | None = None
    to_open: OpenedRecipe | None = None
    """What is to be opened if the reader agrees that it replaces what is there."""
    sharing: bool = False
    """Whether the Share dialog is open."""
    share_notice: str | None = None
    """Why a link or file was refused in it, in the reader's language."""
    recorded_trace: tuple[tuple[str, ...], Trace] | None = None
    """The last one that was made, after the ids of its runs."""
    desk_notice: tuple[str, str] | None = None
    """What came of opening or saving: "success", "info", "warning" or "error", and the words."""
    history_on: bool = True
    """Whether the runs of this tab are kept."""
    history_notice: str | None = None
    """Why they are not."""
    recorded: set[str] = field(default_factory=set)
    """Runs that the history has."""
    notice: str | None = None
    """What the last attempt to run was refused for, already in the reader's language."""

    @property
    def run(self) -> Run | None:
        """The run that is shown."""
        if branch := self.tree.get(self.branch):
            return branch.run
        return self.askings[self.shown[0]].main if self.askings else None


def playground_state() -> PlaygroundState:
    """Return what this room remembers of the tab."""
    return session_slice(PlaygroundState)
