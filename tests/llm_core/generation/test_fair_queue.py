"""Sessions take turns; nobody overtakes within a session."""

from __future__ import annotations

from llm_core.generation.fair_queue import FairQueue


def make_queue() -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        queue.push(item[0], item)
    return queue


def drain(queue: FairQueue[str], ready=lambda item: True) -> list[str]:
    out = []
    while (item := queue.pop(ready)) is not None:
        out.append(item)
    return out


def test_sessions_take_turns_and_the_queue_says_so_beforehand():
    expected = ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert list(make_queue()) == expected
    queue = make_queue()
    assert len(queue) == 6
    assert drain(queue) == expected
    assert len(queue) == 0
    assert list(queue) == []


def test_a_session_that_was_just_served_waits_for_the_others():
    queue = make_queue()
    assert queue.pop(lambda item: True) == "a1"
    queue.push("d", "d1")
    assert drain(queue) == ["b1", "c1", "a2", "d1", "c2", "a3"]


def test_what_is_not_ready_holds_up_nobody():
    queue = make_queue()
    assert drain(queue, lambda item: item not in ("a1", "b1")) == ["a2", "c1", "a3", "c2"]
    assert drain(queue) == ["b1", "a1"]
