"""The store of work: bounded, expiring, and nobody's work is changed by somebody else."""

from __future__ import annotations

from types import SimpleNamespace

from llm_core import GenerationRequest, PromptSpec, Run, SampleRequest
from llm_core.generation.branches import BranchTree
from pages.ui.playground import work_store
from pages.ui.playground.work_store import KEEP_HOURS, Work, WorkStore
from samplers import SamplerConfig


def make_run(tokens: int = 1) -> Run:
    made = Run(GenerationRequest("toy", PromptSpec("Hello"), (SampleRequest(SamplerConfig()),)))
    for _ in range(tokens):
        made.samples[0].append(SimpleNamespace(seconds=0.0))
    return made


def make_work(tokens: int = 1) -> Work:
    tree = BranchTree()
    tree.root(make_run(tokens), 0)
    return Work(tree)


def test_work_is_found_under_its_id_and_under_no_other():
    store = WorkStore()
    mine = make_work()
    work_id = store.keep("", mine)
    assert len(work_id) == 32
    assert store.keep(work_id, mine) == work_id
    assert store.keep("", make_work()) != work_id
    opened = store.open(work_id)
    assert opened is not None
    assert [branch.run for branch, _ in opened.tree.list_in_order()] == [
        branch.run for branch, _ in mine.tree.list_in_order()
    ]
    assert store.open("0" * 32) is None
    assert store.open("") is None


def test_whoever_opens_gets_the_id_and_a_copy_and_the_other_goes_on_elsewhere():
    store = WorkStore()
    mine = make_work()
    work_id = store.keep("", mine)
    theirs = store.open(work_id)
    [(branch, _)] = theirs.tree.list_in_order()
    theirs.tree.prune(branch)
    assert len(mine.tree) == 1
    assert store.keep(work_id, theirs) == work_id
    moved = store.keep(work_id, mine)
    assert moved != work_id
    assert len(store.open(moved).tree) == 1
    assert len(store.open(work_id).tree) == 0


def test_work_that_nobody_uses_expires():
    now = [0.0]
    store = WorkStore(clock=lambda: now[0])
    mine, other = make_work(), make_work()
    old, used = store.keep("", mine), store.keep("", other)
    now[0] = (KEEP_HOURS - 1) * 3600
    assert store.keep(used, other) == used
    now[0] = (KEEP_HOURS + 1) * 3600
    assert store.open(old) is None
    assert store.open(used) is not None
    now[0] = (3 * KEEP_HOURS) * 3600
    assert store.open(used) is None
    assert len(store) == 0


def test_the_number_of_works_and_of_tokens_is_bounded(monkeypatch):
    monkeypatch.setattr(work_store, "MAX_WORKS", 3)
    monkeypatch.setattr(work_store, "MAX_STORED_TOKENS", 100)
    store = WorkStore()
    kept = [store.keep("", make_work()) for _ in range(5)]
    assert [store.open(each) is not None for each in kept] == [False, False, True, True, True]
    large = [store.keep("", make_work(tokens=60)) for _ in range(2)]
    assert [store.open(each) is not None for each in [*kept[2:], *large]] == [False, False, False, False, True]
    huge = store.keep("", make_work(tokens=1000))
    assert store.open(huge) is not None  # the newest stays, whatever its size
    assert len(store) == 1
