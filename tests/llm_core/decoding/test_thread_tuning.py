"""All threads or one less, whichever is faster at the time."""

from __future__ import annotations

import pytest
import torch

from llm_core.decoding.thread_tuning import MAX_TRIAL_STEPS, ThreadTuner, use_one_thread


class SimulatedMachine:
    """Passes take as many seconds as `seconds` says for the number of threads in use."""

    def __init__(self, most: int, seconds: dict[int, float]) -> None:
        self.now, self.used, self.seconds = 0.0, [], seconds
        self.choice = ThreadTuner(most, self.used.append, lambda: self.now)

    def run(self, passes: int, rows: int = 1) -> list[int]:
        """Threads of each pass."""
        counts = []
        for _ in range(passes):
            with self.choice.time_step(rows):
                counts.append(self.used[-1])
                self.now += self.seconds[self.used[-1]]
        return counts


def test_all_threads_are_kept_while_they_are_faster_and_trials_become_rare():
    counts = SimulatedMachine(2, {2: 0.6, 1: 1.0}).run(1000)
    assert counts[:8] == [2] * 8
    assert 10 < counts.count(1) < 50
    assert counts[-MAX_TRIAL_STEPS:].count(1) <= 2


def test_a_core_is_left_soon_after_somebody_else_needs_it_and_taken_back_soon_after():
    machine = SimulatedMachine(4, {4: 0.6, 3: 1.0})
    machine.run(200)
    machine.seconds = {4: 3.0, 3: 1.1}
    assert machine.run(100)[-20:].count(3) >= 18
    machine.seconds = {4: 0.6, 3: 1.0}
    assert machine.run(100)[-20:].count(4) >= 18


def test_passes_of_different_sizes_are_not_compared():
    machine = SimulatedMachine(2, {2: 0.6, 1: 0.1})
    for rows in range(1, 40):
        assert machine.run(1, rows) == [2]
    assert machine.run(10, 5)[-1] == 1


def test_one_core_leaves_nothing_to_choose():
    machine = SimulatedMachine(1, {1: 1.0})
    assert set(machine.run(200)) == {1}


def test_one_thread_is_given_back():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), use_one_thread():
        _ = 1 / 0
    with use_one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
