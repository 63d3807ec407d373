"""Tasks have right answers that score, wrong ones that do not, and demonstrations that give nothing away."""

from __future__ import annotations

import pytest

from llm_core import Example, NucleusError
from llm_core.experiments.tasks import GYM_TASKS, load_task, task_from_table, task_names
from llm_core.prompts.spec import TECHNIQUES

OWN = [name for name in task_names() if name not in GYM_TASKS]


@pytest.mark.parametrize("name", task_names())
def test_every_task(name):
    task = load_task(name, 15, seed=3)
    assert len(task.items) >= 15 - 3
    assert len({item.question for item in task.items}) == len(task.items)
    assert not {item.question for item in task.items} & {example.input for example in task.examples}
    for place, item in enumerate(task.items):
        assert task.score(place, item.answers[0]) == 1.0
        assert task.score(place, "certainly not this") == 0.0
    for technique in TECHNIQUES:
        prompt = task.prompt(technique, 0)
        prompt.validate()
        assert prompt.expand({}).messages()[-1].role == "user"


@pytest.mark.parametrize("name", OWN)
def test_own_sets_are_whole(name):
    task = load_task(name, 200)
    assert len(task.items) >= 24
    assert len({item.question for item in task.items}) == len(task.items)
    assert all(example.reasoning for example in task.examples)
    if task.choices:
        labels = [item.answers[0] for item in task.items]
        assert set(labels) == set(task.choices)
        assert all(labels.count(choice) >= 0.4 * len(labels) for choice in task.choices)


def test_arithmetic_answers_are_what_the_texts_say():
    for item in load_task("arithmetic", 200).items:
        numbers = [int(word) for word in item.question.replace(".", " ").split() if word.isdigit()]
        match item.question:
            case text if "buys" in text:
                expected = numbers[0] + numbers[1]
            case text if "fly away" in text:
                expected = numbers[0] - numbers[1]
            case text if "boxes" in text:
                expected = numbers[0] * numbers[1]
            case _:
                expected = numbers[0] + numbers[1] - numbers[2]
        assert item.answers == (str(expected),)


def test_a_sentence_with_the_right_name_counts_where_knowledge_is_asked_for():
    task = load_task("capitals", 2)
    assert task.score(0, "The capital of Japan is Tokyo.") == 1.0
    assert task.score(0, "Tokyoland") == 0.0
    assert task.score(0, "Kyoto") == 0.0
    reviews = load_task("sentiment", 1)
    assert reviews.score(0, "It is positive") == 0.0


def test_numbers_are_found_in_sentences():
    task = load_task("letter_counting", 1, seed=1)
    said = task.extraction.extract(f"It appears {task.items[0].answers[0]} times.")
    assert task.score(0, said) == 1.0


def test_seeds_repeat():
    assert load_task("chain_sum", 5, seed=2).items == load_task("chain_sum", 5, seed=2).items
    assert load_task("chain_sum", 5, seed=2).items != load_task("chain_sum", 5, seed=3).items


def test_a_table_of_ones_own():
    rows = [{"input": "a", "output": "1"}, {"input": "b", "output": "2 | two"}]
    task = task_from_table(rows, "Number it.", [Example("a", "1")])
    assert [item.question for item in task.items] == ["b"]
    assert (task.score(0, "Two."), task.score(0, "3")) == (1.0, 0.0)
    with pytest.raises(NucleusError):
        task_from_table(rows[:1], "Number it.", [Example("a", "1")])
