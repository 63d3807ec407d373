"""The list behind the example editor: every change can be undone, and typing is one change."""

from __future__ import annotations

from llm_core import Example
from pages.ui.prompt.example_list import MAX_UNDO_STEPS, ExampleList

A, B, C = Example("a", "1"), Example("b", "2"), Example("c", "3")


def make_list() -> ExampleList:
    examples = ExampleList()
    examples.add([A, B, C])
    return examples


def test_reordering_duplicating_and_removing():
    examples = make_list()
    first, second, third = (draft.id for draft in examples.drafts)
    examples.move(third, -1)
    assert examples.examples == (A, C, B)
    examples.move(first, -1)
    assert examples.examples == (A, C, B)
    examples.duplicate(first)
    assert examples.examples == (A, A, C, B)
    examples.remove(second)
    assert examples.examples == (A, A, C)
    assert len({draft.id for draft in examples.drafts}) == 3


def test_every_change_is_undone_in_turn():
    examples = make_list()
    number = examples.drafts[0].id
    examples.edit(number, "input", "x")
    examples.edit(number, "input", "xy")
    examples.edit(number, "output", "9")
    examples.remove(number)
    examples.undo()
    assert examples.examples[0] == Example("xy", "9")
    examples.undo()
    assert examples.examples[0] == Example("xy", "1")
    examples.undo()
    assert examples.examples == (A, B, C)
    examples.undo()
    assert examples.examples == ()
    assert not examples.can_undo
    examples.undo()


def test_a_seed_gives_the_same_order_whatever_came_before():
    one, other = make_list(), make_list()
    other.move(other.drafts[0].id, 2)
    one.shuffle(5)
    other.shuffle(5)
    assert one.examples == other.examples
    assert sorted(each.input for each in one.examples) == ["a", "b", "c"]
    orders = set()
    for seed in range(20):
        one.shuffle(seed)
        orders.add(one.examples)
    assert len(orders) > 3


def test_nothing_is_remembered_without_a_change_or_forever():
    examples = make_list()
    examples.edit(examples.drafts[0].id, "input", "a")
    examples.undo()
    assert not examples.can_undo
    for _ in range(MAX_UNDO_STEPS + 10):
        examples.add()
    undone = 0
    while examples.can_undo:
        examples.undo()
        undone += 1
    assert undone == MAX_UNDO_STEPS
