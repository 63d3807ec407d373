"""Provide tasks with known answers to compare prompts by: small sets in `task_sets`, and seeded ones from
reasoning-gym.

Demonstrations are never among the items.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_core.errors import NucleusError
from llm_core.prompts.extraction import Extraction, ExtractionKind, normalize_result
from llm_core.prompts.output_format import OutputFormat
from llm_core.prompts.spec import TECHNIQUES, Example, PromptSpec, Technique

_SETS = Path(__file__).parent / "task_sets"
GYM_TASKS: dict[str, ExtractionKind] = {
    "chain_sum": "number",
    "letter_counting": "number",
    "number_sorting": "last_line",
    "simple_equations": "number",
    "word_sorting": "last_line",
    "gcd": "number",
    "leg_counting": "number",
}
"""Some short tasks of reasoning-gym's hundred, with the result that their verifiers want."""
MAX_ITEMS = 200
_GYM_EXAMPLE_COUNT = 5


@dataclass(frozen=True, slots=True)
class TaskItem:
    """One question and its accepted answers."""

    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """Items to ask about, and the parts of a prompt for them."""

    name: str
    instruction: str
    items: tuple[TaskItem, ...]
    examples: tuple[Example, ...] = ()
    choices: tuple[str, ...] = ()
    """Labels of a classification."""
    extraction: Extraction = Extraction()  # noqa: RUF009 (frozen)
    within: bool = False
    """Whether an accepted answer also counts as a word or words of a longer one: for tasks that ask for knowledge, not
    form."""
    verify: Callable[[int, str], float] | None = None
    """Verifier of the task's own, `(item, answer) -> [0, 1]`."""

    def score(self, item: int, answer: str) -> float:
        """Return the worth of an answer, in [0, 1]: by the task's verifier, or else 1 for an accepted answer."""
        if self.verify is not None:
            return self.verify(item, answer)
        found, accepted = normalize_result(answer), map(normalize_result, self.items[item].answers)
        if self.within:
            return float(any(re.search(rf"\b{re.escape(each)}\b", found) for each in accepted))
        return float(found in accepted)

    def prompt(self, technique: Technique, item: int, examples: Sequence[Example] | None = None) -> PromptSpec:
        """Return the prompt that asks an item by a technique, with these examples or the task's own. Labels are
        enforced; after reasoning, a free answer is the text after the marker."""
        method = TECHNIQUES[technique]
        extraction = Extraction("marker", "Answer:") if method.reasoning and not self.choices else self.extraction
        if self.extraction.kind == "number":
            extraction = self.extraction
        return PromptSpec(
            instruction=self.instruction,
            question=self.items[item].question,
            technique=technique,
            examples=tuple(self.examples if examples is None else examples),
            output=OutputFormat("choice", self.choices) if self.choices else OutputFormat(),
            extraction=extraction,
        )


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks, those of `task_sets` first."""
    return (*sorted(file.stem for file in _SETS.glob("*.json")), *GYM_TASKS)


@functools.lru_cache(maxsize=16)  # pages ask at every rerun, and a generator takes up to a millisecond an item
def load_task(name: str, count: int = 24, seed: int = 1) -> Task:
    """Return the first `count` items of a set (sets are small), or as many new ones that follow from the seed."""
    if name in GYM_TASKS:
        return _make_gym_task(name, min(count, MAX_ITEMS), seed)
    data = json.loads((_SETS / f"{name}.json").read_text(encoding="utf-8"))
    return Task(
        name,
        data["instruction"],
        tuple(TaskItem(item["question"], tuple(item["answers"])) for item in data["items"][:count]),
        tuple(Example(**example) for example in data["examples"]),
        tuple(data.get("choices", ())),
        Extraction(*data.get("extraction", ("whole", ""))),
        data.get("within", False),
    )


def task_from_table(rows: Sequence[Mapping[str, str]], instruction: str, examples: Sequence[Example] = ()) -> Task:
    """Return a task from a user's table with the columns `input` and `output`; several accepted outputs are separated
    by `|`. Rows that are among the examples are left out. Raises `NucleusError` for a table without other rows."""
    from llm_core.prompts.table_import import make_examples

    wanted, _ = make_examples([dict(row) for row in rows])
    shown = {example.input for example in examples}
    items = tuple(
        TaskItem(each.input, tuple(part.strip() for part in each.output.split("|")))
        for each in wanted
        if each.input not in shown
    )
    if not items:
        raise NucleusError("table_empty")
    return Task("own", instruction, items[:MAX_ITEMS], tuple(examples), extraction=Extraction("last_line"))


def _make_gym_task(name: str, count: int, seed: int) -> Task:
    import reasoning_gym

    dataset = reasoning_gym.create_dataset(name, size=count + _GYM_EXAMPLE_COUNT, seed=seed)
    entries: list[dict[str, Any]] = [dataset[place] for place in range(count + _GYM_EXAMPLE_COUNT)]
    shown, items = entries[:_GYM_EXAMPLE_COUNT], entries[_GYM_EXAMPLE_COUNT:]
    questions = {entry["question"] for entry in shown}
    items = [entry for entry in items if entry["question"] not in questions]

    def verify(item: int, answer: str) -> float:
        return float(dataset.score_answer(answer=answer, entry=items[item]) >= 1.0)

    return Task(
        name,
        "Solve the task. Give the result only.",
        tuple(TaskItem(entry["question"], (str(entry["answer"]),)) for entry in items),
        tuple(Example(entry["question"], str(entry["answer"])) for entry in shown),
        extraction=Extraction(GYM_TASKS[name]),
        verify=verify,
    )
