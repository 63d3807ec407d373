"""Answers as a tree: a branch shares the beginning of its parent and goes on with what somebody picked or typed.

    tree = BranchTree()
    root = tree.root(run, 0)
    other = engine.submit(continuation(root, 4, SampleRequest(sampler), forced=(token,)))
    branch = tree.grow(root, 4, other, "token")
    branch.events()     # the parent's first four, the picked token, and what the model wrote after it

Only the tokens after the shared ones are new work: the engine's prefix cache knows the others. A tree holds the runs of
its branches, so what is pruned and not kept elsewhere is forgotten. Not locked: one thread at a time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from llm_core.generation.record import Run, SampleRecord, TokenEvent
from llm_core.generation.request import GenerationRequest, SampleRequest

if TYPE_CHECKING:
    from llm_core.models.language_model import LanguageModel

BranchOrigin = Literal["run", "token", "text", "again"]
"""A root; or how a branch left its parent: with a picked token, with a typed text, or by being drawn again."""

_CONTEXT = 16
"""Tokens in front of a typed text that are looked at."""


@dataclass(eq=False, slots=True)
class Branch:
    """One answer of the tree."""

    id: int
    """Counted from 1, never used again within a tree."""
    run: Run
    chain: int
    """Which row of the run it is."""
    parent: Branch | None = None
    step: int = 0
    """Tokens that it shares with its parent."""
    origin: BranchOrigin = "run"
    name: str = ""
    """What somebody called it."""

    @property
    def row(self) -> SampleRecord:
        return self.run.samples[self.chain]

    @property
    def root(self) -> Branch:
        branch = self
        while branch.parent:
            branch = branch.parent
        return branch

    def events(self) -> list[TokenEvent]:
        """From the first token of the answer, whoever wrote it."""
        shared = self.parent.events()[: self.step] if self.parent else []
        return shared + self.row.events()

    @property
    def text(self) -> str:
        """The answer so far, without the tokens that end it."""
        shared = self.parent.events()[: self.step] if self.parent else []
        return "".join(event.piece for event in shared) + self.row.text

    @property
    def forced_text(self) -> range:
        """Steps of the tokens that somebody picked or typed."""
        return range(self.step, self.step + len(self.row.request.forced_ids))


class BranchTree:
    """Branches of several answers; each answer that the model wrote from the start is a root."""

    def __init__(self) -> None:
        self._branches: dict[int, Branch] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._branches)

    def __contains__(self, branch: Branch) -> bool:
        return self._branches.get(branch.id) is branch

    def get(self, branch_id: int | None) -> Branch | None:
        return None if branch_id is None else self._branches.get(branch_id)

    def root(self, run: Run, chain: int) -> Branch:
        """The root that is this row of the run, new if there was none."""
        known = (each for each in self._branches.values() if each.run is run and each.chain == chain)
        return next(known, None) or self._add(Branch(self._next, run, chain))

    def add_branch(self, parent: Branch, step: int, run: Run, origin: BranchOrigin) -> Branch:
        """A branch that leaves `parent` before its token `step`, counted from 0. `run` has one row: what comes then.

        One that leaves where `parent` itself has not begun belongs to the answer that `parent` grew from.
        """
        if parent not in self:
            raise ValueError("the parent is not in this tree")
        while parent.parent and step <= parent.step:
            parent = parent.parent
        return self._add(Branch(self._next, run, 0, parent, step, origin))

    def list_in_order(self) -> list[tuple[Branch, int]]:
        """Every branch below its parent, with its depth; siblings in the order of their beginnings."""
        children: dict[Branch | None, list[Branch]] = {}
        for branch in self._branches.values():
            children.setdefault(branch.parent, []).append(branch)
        lines: list[tuple[Branch, int]] = []

        def add(branch: Branch, depth: int) -> None:
            lines.append((branch, depth))
            for child in children.get(branch, ()):
                add(child, depth + 1)

        for root in children.get(None, ()):
            add(root, 0)
        return lines

    def prune(self, branch: Branch) -> list[Branch]:
        """Take a branch out with everything that grew on it. Returns them, for `restore`."""
        gone = {branch}
        for each in self._branches.values():  # parents stand before their children
            if each.parent in gone:
                gone.add(each)
        self._branches = {id: each for id, each in self._branches.items() if each not in gone}
        return sorted(gone, key=lambda each: each.id)

    def restore(self, pruned: Sequence[Branch]) -> None:
        """Put back what `prune` took out. Branches whose parent has gone since stay out."""
        together = {*self._branches.values(), *pruned}
        back = [each for each in pruned if each.parent is None or each.parent in together]
        self._branches = {each.id: each for each in sorted([*self._branches.values(), *back], key=lambda e: e.id)}

    def drop_bare_roots(self, keep: int) -> None:
        """Drop the oldest roots that nobody branched from or named, beyond the newest `keep`."""
        parents = {each.parent for each in self._branches.values()}
        bare = [each for each in self._branches.values() if not (each.parent or each.name or each in parents)]
        for branch in bare[: max(0, len(bare) - keep)]:
            del self._branches[branch.id]

    def choose_unused_seed(self, branch: Branch, seed: int) -> int:
        """The first one from `seed` on that no branch of the same root was written with."""
        used = {each.row.request.sampler.seed for each in self._branches.values() if each.root is branch.root}
        while seed in used:
            seed += 1
        return seed

    @property
    def active(self) -> bool:
        return any(branch.row.active for branch in self._branches.values())

    def touch(self) -> None:
        """Somebody is still interested in what is being written."""
        for branch in self._branches.values():
            if branch.row.active:
                branch.run.touch()

    def copy(self) -> BranchTree:
        """The same answers in a tree that can be named and pruned on its own."""
        other = BranchTree()
        twins: dict[Branch | None, Branch | None] = {None: None}
        for branch in self._branches.values():
            twin = dataclasses.replace(branch, parent=twins[branch.parent])
            other._branches[branch.id] = twins[branch] = twin
        other._next = self._next
        return other

    def _add(self, branch: Branch) -> Branch:
        self._branches[branch.id] = branch
        self._next += 1
        return branch


def build_continuation(
    parent: Branch, step: int, row: SampleRequest, forced: tuple[int, ...] = ()
) -> GenerationRequest:
    """What to ask for so that `parent` goes on from its token number `step` with the tokens in `forced`, and then with
    up to `row.max_output_tokens` of the model's own. Raises `ValueError` for a step that it has not reached."""
    events = parent.events()
    if not 0 <= step <= len(events):
        raise ValueError(f"step={step}: the answer has {len(events)} tokens")
    begin = tuple(event.known_id for event in events[:step])
    longest = row.max_output_tokens + len(forced)
    row = dataclasses.replace(row, prefix_ids=begin, forced_ids=forced, max_output_tokens=longest)
    return dataclasses.replace(parent.run.request, samples=(row,))


def encode_typed_text(model: LanguageModel, before: Sequence[int], text: str) -> tuple[int, ...]:
    """The tokens of a text that goes on right after the tokens `before`.

    Some tokenizers put a space in front of a text; theirs are then the tokens of the text within another one.
    """
    ids = _encode(model, text)
    context = list(before[-_CONTEXT:])
    written = model.decode(context) + text
    if model.decode([*context, *ids]) == written:
        return ids
    anchor = _encode(model, "\n")
    within = _encode(model, "\n" + text)
    rest = within[len(anchor) :]
    return rest if within[: len(anchor)] == anchor and model.decode([*context, *rest]) == written else ids


def _encode(model: LanguageModel, text: str) -> tuple[int, ...]:
    return tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"])


class BranchComparison(NamedTuple):
    """Two branches, token by token."""

    shared: int
    """Tokens that both begin with."""
    left: list[TokenEvent]
    """What the first says after them."""
    right: list[TokenEvent]


def compare_branches(left: Branch, right: Branch) -> BranchComparison:
    """Where two answers part, and what each says from there."""
    ours, theirs = left.events(), right.events()
    pairs = enumerate(zip(ours, theirs, strict=False))
    length = min(len(ours), len(theirs))
    shared = next((place for place, (a, b) in pairs if a.token_id != b.token_id), length)
    return BranchComparison(shared, ours[shared:], theirs[shared:])


def sum_logprobs(events: Iterable[TokenEvent]) -> float:
    """Of the tokens together, under the model's own distribution. All of them have to have a trace."""
    return math.fsum(event.known_trace.logprob for event in events)
