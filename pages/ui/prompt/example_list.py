"""List of a prompt's examples while they are edited, with undo and with ids that survive reordering.

Free of Streamlit, so the list is tested without a page.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from llm_core.prompts.spec import Example

MAX_UNDO_STEPS = 50
"""Changes that can be undone."""


@dataclass(frozen=True, slots=True)
class ExampleDraft:
    """One example, complete or not, with an id that is never reused."""

    id: int
    example: Example


@dataclass
class ExampleList:
    """Editable list of examples. Every change is one undo step, but successive changes to the same text share one."""

    drafts: tuple[ExampleDraft, ...] = ()
    _undo_stack: list[tuple[ExampleDraft, ...]] = field(default_factory=list)
    _editing: tuple[int, str] | None = None
    _numbers: itertools.count = field(default_factory=itertools.count)

    def __len__(self) -> int:
        return len(self.drafts)

    @property
    def examples(self) -> tuple[Example, ...]:
        return tuple(draft.example for draft in self.drafts)

    @property
    def can_undo(self) -> bool:
        return bool(self._undo_stack)

    def add(self, examples: Iterable[Example] = (Example("", ""),)) -> None:
        """Append examples, by default an empty one."""
        self._change((*self.drafts, *map(self._draft, examples)))

    def replace(self, examples: Iterable[Example]) -> None:
        """Replace all examples."""
        self._change(tuple(map(self._draft, examples)))

    def edit(self, number: int, part: str, text: str) -> None:
        """Set one text of the example with this id; `part` is the name of the field."""
        changed = tuple(
            dataclasses.replace(draft, example=dataclasses.replace(draft.example, **{part: text}))
            if draft.id == number
            else draft
            for draft in self.drafts
        )
        self._change(changed, editing=(number, part))

    def remove(self, number: int) -> None:
        self._change(tuple(draft for draft in self.drafts if draft.id != number))

    def duplicate(self, number: int) -> None:
        """Insert a copy after the example."""
        place = self._find_index(number)
        copy = self._draft(self.drafts[place].example)
        self._change((*self.drafts[: place + 1], copy, *self.drafts[place + 1 :]))

    def move(self, number: int, by: int) -> None:
        """Move the example by `by` places, up if negative, as far as the ends."""
        place = self._find_index(number)
        rest = [draft for draft in self.drafts if draft.id != number]
        rest.insert(max(0, place + by), self.drafts[place])
        self._change(tuple(rest))

    def shuffle(self, seed: int) -> None:
        """Shuffle the examples into an order that depends on the seed alone, and not on the current order."""
        drafts = sorted(self.drafts, key=lambda draft: draft.id)
        random.Random(seed).shuffle(drafts)
        self._change(tuple(drafts))

    def undo(self) -> None:
        """Undo the last change, if there is one."""
        if self._undo_stack:
            self.drafts, self._editing = self._undo_stack.pop(), None

    def _draft(self, example: Example) -> ExampleDraft:
        return ExampleDraft(next(self._numbers), example)

    def _find_index(self, number: int) -> int:
        return [draft.id for draft in self.drafts].index(number)

    def _change(self, drafts: tuple[ExampleDraft, ...], editing: tuple[int, str] | None = None) -> None:
        if drafts == self.drafts:
            return
        if editing is None or editing != self._editing:
            self._undo_stack = [*self._undo_stack, self.drafts][-MAX_UNDO_STEPS:]
        self.drafts, self._editing = drafts, editing
