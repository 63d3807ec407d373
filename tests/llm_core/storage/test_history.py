"""The history of runs: private, searchable, prunable, bounded; on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from llm_core.errors import NucleusError
from llm_core.storage import history as module
from llm_core.storage.history import History, is_history_enabled
from tests.llm_core.storage.conftest import ANN, BINH, make_recipe


def make_answers(found) -> list[str]:
    return [run.answer for run in found.runs]


def test_a_run_is_kept_with_its_recipe_for_its_owner_only(history: History):
    made = make_recipe("Describe the sea.", title="Sea", seeds=(3,))
    history.add("r1", ANN, made, "It is wide.", {"tokens": 4, "mean_logprob": -1.5})
    [run] = history.search(ANN).runs
    assert (run.title, run.model, run.answer) == ("Sea", "builtin", "It is wide.")
    assert run.summary == {"tokens": 4, "mean_logprob": -1.5}
    assert history.recipe("r1", ANN) == made
    assert history.search(BINH).total == 0
    with pytest.raises(NucleusError) as caught:
        history.recipe("r1", BINH)
    assert caught.value.code == "run_unknown"
    history.delete("r1", BINH)
    assert history.prune(BINH) == 0
    assert history.search(ANN).total == 1
    history.delete("r1", ANN)
    assert history.search(ANN).total == 0


def test_the_same_run_is_kept_once_whoever_reports_it(history: History):
    history.add("r1", ANN, make_recipe(), "one", {})
    history.add("r1", ANN, make_recipe(), "two", {})
    history.add("r1", BINH, make_recipe(), "three", {})
    assert make_answers(history.search(ANN)) == ["one"]
    assert history.search(BINH).total == 0
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: history.add("r2", ANN, make_recipe(), str(n), {}), range(8)))
    assert history.search(ANN).total == 2


def test_prompt_answer_and_model_are_searched_whatever_the_marks(history: History):
    history.add("r1", ANN, make_recipe("Tả biển đêm."), "Biển rộng và tối.", {})
    history.add("r2", ANN, make_recipe("Describe a hill."), "100% green_hill'); --", {})
    assert make_answers(history.search(ANN, "bien rong")) == ["Biển rộng và tối."]
    for query in ("TA BIEN", "tối"):
        assert history.search(ANN, query).total == 1
    for query in ("100% green", "green_hill'); --", "builtin hill"):
        assert history.search(ANN, query).runs[0].id == "r2"
    assert history.search(ANN, "10%").total == 0
    assert history.search(ANN, "builtin").total == 2


def test_the_newest_come_first_page_by_page(history: History):
    for number in range(module.PAGE_SIZE + 2):
        history.add(f"r{number}", ANN, make_recipe(), str(number), {})
    found = history.search(ANN)
    assert found.total == module.PAGE_SIZE + 2
    assert make_answers(found)[0] == str(module.PAGE_SIZE + 1)
    assert make_answers(history.search(ANN, skip=module.PAGE_SIZE)) == ["1", "0"]


def test_pruning_by_number_age_and_all(history: History, clock):
    for number in range(6):
        history.add(f"r{number}", ANN, make_recipe(), str(number), {})
        clock.advance_days(1)
    history.add("other", BINH, make_recipe(), "other", {})
    assert history.prune(ANN, days=3.5) == 3
    assert make_answers(history.search(ANN)) == ["5", "4", "3"]
    assert history.prune(ANN, newest=2) == 1
    assert make_answers(history.search(ANN)) == ["5", "4"]
    assert history.prune(ANN) == 2
    assert make_answers(history.search(BINH)) == ["other"]


def test_old_runs_and_those_beyond_the_limits_go_by_themselves(history: History, clock, monkeypatch):
    monkeypatch.setattr(module, "MAX_RUNS", 3)
    history.add("old", BINH, make_recipe(), "old", {})
    clock.advance_days(module.RETENTION_DAYS + 1)
    for number in range(5):
        history.add(f"r{number}", ANN, make_recipe(), str(number), {})
    assert history.search(BINH).total == 0
    assert make_answers(history.search(ANN)) == ["4", "3", "2"]
    monkeypatch.setattr(module, "MAX_ALL_RUNS", 2)
    history.add("new", BINH, make_recipe(), "new", {})
    assert make_answers(history.search(ANN)) == ["4"]
    monkeypatch.setattr(module, "MAX_RECIPE_CHARACTERS", 50)
    with pytest.raises(NucleusError) as caught:
        history.add("large", ANN, make_recipe("x" * 60), "", {})
    assert caught.value.code == "recipe_too_large_to_save"


def test_whatever_a_model_writes_can_be_kept(history: History):
    history.add("r1", ANN, make_recipe(), "zero \0 half \ud800 <script>alert(1)</script> '; DROP TABLE runs;--", {})
    [kept] = make_answers(history.search(ANN, "<script>"))
    assert "<script>alert(1)</script> '; DROP TABLE runs;--" in kept
    history.add("r2", ANN, make_recipe(), "x" * (module.MAX_ANSWER_CHARACTERS + 9), {})
    assert len(make_answers(history.search(ANN))[0]) == module.MAX_ANSWER_CHARACTERS


@pytest.mark.parametrize(
    ("value", "allowed"), [("0", False), ("off", False), ("FALSE", False), ("1", True), ("", True)]
)
def test_an_installation_can_turn_it_off(monkeypatch, value, allowed):
    monkeypatch.setenv("NUCLEUS_HISTORY", value)
    assert is_history_enabled() is allowed
