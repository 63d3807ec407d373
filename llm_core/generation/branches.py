"""Keep answers as a tree: a branch shares the beginning of its parent and continues with a picked or typed text.

    tree = BranchTree()
    root = tree.root(run, 0)
    other = engine.submit(build_continuation(root, 4, SampleRequest(sampler), forced=(token,)))
    branch = tree.add_branch(root, 4, other, "token")
    branch.events()     # the parent's first four, the picked token, and the model's tokens after it

Only the tokens after the shared ones are new work: the engine's prefix cache holds the others. A tree holds the runs of
its branches, so the memory of a pruned branch that is not kept elsewhere is freed. Not locked: one thread at a time.
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
"""Origin of a branch: `run` for a root; else how it left its parent, by a picked token, a typed text, or another draw.
"""

_CONTEXT = 16
"""Number of tokens before a typed text that are decoded with it."""


@dataclass(eq=False, slots=True)
class Branch:
    """One answer of the tree."""

    id: int
    """Number from 1 on, never reused within a tree."""
    run: Run
    chain: int
    """Index of the branch's sample in the run."""
    parent: Branch | None = None
    step: int = 0
    """Number of tokens that the branch shares with its parent."""
    origin: BranchOrigin = "run"
    name: str = ""
    """Name given by a user, or ""."""

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
        """Return the events from the first token of the answer on, shared ones included."""
        shared = self.parent.events()[: self.step] if self.parent else []
        return shared + self.row.events()

    @property
    def text(self) -> str:
        """Text of the answer so far, without the tokens that end it."""
        shared = self.parent.events()[: self.step] if self.parent else []
        return "".join(event.piece for event in shared) + self.row.text

    @property
    def forced_steps(self) -> range:
        """Range of the steps whose tokens a user picked or typed."""
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
        """Return the root for sample `chain` of the run, added if it is new."""
        known = (each for each in self._branches.values() if each.run is run and each.chain == chain)
        return next(known, None) or self._add(Branch(self._next, run, chain))

    def add_branch(self, parent: Branch, step: int, run: Run, origin: BranchOrigin) -> Branch:
        """Add a branch that leaves `parent` before its token `step`, counted from 0. `run` has one sample: the
        continuation.

        A branch that leaves no later than at `parent`'s first own token is attached to the parent of `parent` instead,
        and so on up. Raises `ValueError` if the parent is not in this tree.
        """
        if parent not in self:
            raise ValueError("the parent is not in this tree")
        while parent.parent and step <= parent.step:
            parent = parent.parent
        return self._add(Branch(self._next, run, 0, parent, step, origin))

    def list_in_order(self) -> list[tuple[Branch, int]]:
        """Return every branch below its parent, with its depth; siblings in the order that they were added."""
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
        """Remove a branch with all its descendants, and return them for `restore`."""
        gone = {branch}
        for each in self._branches.values():  # parents come before their children
            if each.parent in gone:
                gone.add(each)
        self._branches = {id: each for id, each in self._branches.items() if each not in gone}
        return sorted(gone, key=lambda each: each.id)

    def restore(self, pruned: Sequence[Branch]) -> None:
        """Put back what `prune` removed, except branches whose parent has been removed since."""
        together = {*self._branches.values(), *pruned}
        back = [each for each in pruned if each.parent is None or each.parent in together]
        self._branches = {each.id: each for each in sorted([*self._branches.values(), *back], key=lambda e: e.id)}

    def drop_bare_roots(self, keep: int) -> None:
        """Drop the oldest roots without a name or branches, beyond the newest `keep`."""
        parents = {each.parent for each in self._branches.values()}
        bare = [each for each in self._branches.values() if not (each.parent or each.name or each in parents)]
        for branch in bare[: max(0, len(bare) - keep)]:
            del self._branches[branch.id]

    def choose_unused_seed(self, branch: Branch, seed: int) -> int:
        """Return the first seed from `seed` on that no branch of the same root used."""
        used = {each.row.request.sampler.seed for each in self._branches.values() if each.root is branch.root}
        while seed in used:
            seed += 1
        return seed

    @property
    def active(self) -> bool:
        return any(branch.row.active for branch in self._branches.values())

    def touch(self) -> None:
        """Keep the active runs alive: a reader is still interested."""
        for branch in self._branches.values():
            if branch.row.active:
                branch.run.touch()

    def copy(self) -> BranchTree:
        """Return a tree of the same answers that can be named and pruned independently."""
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
    """Return the request that continues `parent` before its token `step` with the tokens in `forced`, and then with up
    to `row.max_output_tokens` of the model's own. Raises `ValueError` for a step that the parent has not reached."""
    events = parent.events()
    if not 0 <= step <= len(events):
        raise ValueError(f"step={step}: the answer has {len(events)} tokens")
    begin = tuple(event.known_id for event in events[:step])
    longest = row.max_output_tokens + len(forced)
    row = dataclasses.replace(row, prefix_ids=begin, forced_ids=forced, max_output_tokens=longest)
    return dataclasses.replace(parent.run.request, samples=(row,))


def encode_typed_text(model: LanguageModel, before: Sequence[int], text: str) -> tuple[int, ...]:
    """Return the tokens of a text that directly follows the tokens `before`.

    Some tokenizers prepend a space to a text; then the tokens are taken from a longer text that contains it.
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
    """Two branches compared token by token."""

    shared: int
    """Number of tokens that both begin with."""
    left: list[TokenEvent]
    """Events of the first branch after the shared ones; `right` holds those of the second."""
    right: list[TokenEvent]


def compare_branches(left: Branch, right: Branch) -> BranchComparison:
    """Return where two answers diverge, and the events of each from there."""
    ours, theirs = left.events(), right.events()
    pairs = enumerate(zip(ours, theirs, strict=False))
    length = min(len(ours), len(theirs))
    shared = next((place for place, (a, b) in pairs if a.token_id != b.token_id), length)
    return BranchComparison(shared, ours[shared:], theirs[shared:])


def sum_logprobs(events: Iterable[TokenEvent]) -> float:
    """Return the log-probability of the tokens together, under the model's own distribution, in nats. Raises
    `ValueError` for a token without a trace."""
    return math.fsum(event.known_trace.logprob for event in events)
