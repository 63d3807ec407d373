"""Draw and read the Best-of-N page's fields: presets, prompt, check of the right answer, number of candidates."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import TYPE_CHECKING, Any, get_args

import streamlit as st

from llm_core import NucleusError, PromptSpec
from llm_core.experiments.tasks import Task, load_task, task_names
from llm_core.generation.request import MAX_SAMPLES_PER_REQUEST
from llm_core.prompts.extraction import Extraction, ExtractionKind
from pages.ui.best_of_n.drafts import BEST_OF_N_PRESETS, CHECKS
from pages.ui.components.fields import show_field
from pages.ui.prompt.composer import read_prompt
from pages.ui.shell.i18n import t
from pages.ui.shell.session import Key, get, has, put

if TYPE_CHECKING:
    from llm_core.best_of_n.criteria import Criterion

PROMPT_KEY, WHOLE_PROMPT_KEY, N_KEY, CHECK_KEY = (
    "best_of_n.prompt",
    "best_of_n.whole_prompt",
    "best_of_n.n",
    "best_of_n.check",
)
CRITERIA_KEY, EXTRACTION_KEY, ARGUMENT_KEY, EQUALITY_KEY = (
    "best_of_n.criteria",
    "best_of_n.extraction",
    "best_of_n.argument",
    "best_of_n.equality",
)
TASK_ITEM_COUNT, TASK_SEED = 40, 1
_DEFAULTS: dict[str, Any] = {
    "best_of_n.answer": "",
    "best_of_n.target": 19.0,
    "best_of_n.tolerance": 0.0,
    "best_of_n.pattern": "",
    "best_of_n.schema": "",
    "best_of_n.task": task_names()[0],
    "best_of_n.item": 1,
    ARGUMENT_KEY: "",
    EQUALITY_KEY: False,
}


def fill_once() -> None:
    """Fill the page with the first preset when it is opened for the first time."""
    if not has(PROMPT_KEY):
        for key, value in _DEFAULTS.items():
            put(key, value)
        apply_preset("sum")


def apply_preset(name: str) -> None:
    """Fill the fields with a preset. Candidates of an earlier run stay."""
    ready = BEST_OF_N_PRESETS[name]
    values = {
        PROMPT_KEY: ready.prompt,
        N_KEY: ready.n,
        CHECK_KEY: ready.check,
        EXTRACTION_KEY: ready.extraction,
        WHOLE_PROMPT_KEY: False,
    }
    for key, value in (values | {CRITERIA_KEY: list(ready.criteria)} | ready.fields).items():
        put(key, value)


def show_presets() -> None:
    st.caption(t("best.start_from"))
    with st.container(horizontal=True):
        for name in BEST_OF_N_PRESETS:
            st.button(t(f"best.ready.{name}"), on_click=apply_preset, args=(name,), key=f"best_of_n.preset.{name}")


def show_prompt_fields() -> None:
    """Draw the prompt's field: the page's own prompt, the Playground's whole prompt, or an item of a task."""
    if get(CHECK_KEY) == "task":
        task, item = read_task_item()
        st.caption(t("best.task_prompt"))
        st.code(f"{task.instruction}\n{task.items[item].question}", language=None, wrap_lines=True)
        return
    whole = has(Key.INSTRUCTION) and show_field(st.toggle, "compare.whole_prompt", WHOLE_PROMPT_KEY)
    if not whole:
        show_field(st.text_area, "playground.prompt", PROMPT_KEY, height=68)


def show_check_fields() -> None:
    """Draw the fields of the right answer's check, of the number of candidates and of the result's extraction."""
    kinds = {kind: t(f"best.checks.{kind}") for kind in CHECKS}
    how, what, count = st.columns([1.5, 1.6, 1.1])
    show_field(how.selectbox, "best.check", CHECK_KEY, list(kinds), format_func=kinds.__getitem__)
    with what:
        _CHECK_FIELDS[str(get(CHECK_KEY))]()
    show_field(
        count.number_input, "best.n", N_KEY, value=None, step=1, help=t("best.n_help", limit=MAX_SAMPLES_PER_REQUEST)
    )
    if get(CHECK_KEY) != "task" and not get(WHOLE_PROMPT_KEY):
        _show_extraction()


def _show_extraction() -> None:
    with st.expander(t("best.result")):
        kind, argument = st.columns(2, vertical_alignment="bottom")
        names = {name: t(f"extraction.{name}") for name in get_args(ExtractionKind)}
        show_field(kind.selectbox, "extraction.title", EXTRACTION_KEY, list(names), format_func=names.__getitem__)
        if (name := get(EXTRACTION_KEY)) in ("marker", "regex", "json_path"):
            show_field(argument.text_input, f"extraction.{name}_argument", ARGUMENT_KEY)
        show_field(st.toggle, "best.mathematics", EQUALITY_KEY)


def _show_no_check() -> None:
    st.caption(t("best.no_check"))


def _show_number_check() -> None:
    target, tolerance = st.columns(2)
    show_field(target.number_input, "best.target", "best_of_n.target", value=None, step=1.0, format="%.6g")
    show_field(tolerance.number_input, "best.tolerance", "best_of_n.tolerance", value=None, step=0.1, format="%.6g")


def _show_exact_check() -> None:
    show_field(st.text_input, "best.answers", "best_of_n.answer")


def _show_pattern_check() -> None:
    show_field(st.text_input, "best.pattern", "best_of_n.pattern")


def _show_schema_check() -> None:
    show_field(st.text_area, "best.schema", "best_of_n.schema", height=90)


def _show_task_check() -> None:
    names = {name: t(f"tasks.{name}") for name in task_names()}
    name, item = st.columns([2, 1])
    show_field(name.selectbox, "study.task", "best_of_n.task", list(names), format_func=names.__getitem__)
    show_field(item.number_input, "best.item", "best_of_n.item", value=None, step=1)


_CHECK_FIELDS = {
    "none": _show_no_check,
    "number": _show_number_check,
    "exact": _show_exact_check,
    "pattern": _show_pattern_check,
    "schema": _show_schema_check,
    "task": _show_task_check,
}


def read_task_item() -> tuple[Task, int]:
    """Return the task and the index of its item, clamped to the items that exist."""
    task = load_task(str(get("best_of_n.task")), TASK_ITEM_COUNT, TASK_SEED)
    return task, min(max(int(get("best_of_n.item") or 1), 1), len(task.items)) - 1


def read_best_prompt() -> PromptSpec:
    """Return the prompt of the fields. Raises `NucleusError`."""
    if get(CHECK_KEY) == "task":
        task, item = read_task_item()
        return task.prompt("zero_shot", item)
    if get(WHOLE_PROMPT_KEY) and has(Key.INSTRUCTION):
        return read_prompt().variants()[0]
    extraction = Extraction(get(EXTRACTION_KEY) or "whole", get(ARGUMENT_KEY) or "")
    extraction.validate()
    return PromptSpec(get(PROMPT_KEY) or "", extraction=extraction)


def read_n() -> int:
    """Return the number of candidates; 0 while the field is empty, which every pool refuses."""
    return int(get(N_KEY) or 0)


def read_check(check: str) -> Criterion | None:
    """Make the criterion that checks for the right answer from the fields, or None without a check.

    Invalid fields make a criterion that says in `unavailable_reason` what is wrong.
    """
    from llm_core.best_of_n import criteria

    if check == "number":
        return criteria.NumericMatch(_read_float("best_of_n.target"), _read_float("best_of_n.tolerance"))
    if check == "exact":
        answers = tuple(part.strip() for part in str(get("best_of_n.answer") or "").split("|") if part.strip())
        return criteria.ExactMatch(answers, read_equality())
    if check == "pattern":
        return criteria.PatternMatch(str(get("best_of_n.pattern") or ""))
    if check == "schema":
        return make_schema_criterion(str(get("best_of_n.schema") or ""))
    if check == "task":
        return criteria.TaskVerifier(*read_task_item())
    return None


def read_equality() -> Any:
    return "mathematics" if get(EQUALITY_KEY) else "text"


@functools.lru_cache(maxsize=32)
def make_schema_criterion(text: str) -> Criterion:
    """Make a criterion from a JSON schema; an invalid schema makes one that is unavailable and says why."""
    from llm_core.best_of_n import criteria

    try:
        schema = json.loads(text)
        if not isinstance(schema, dict):
            raise ValueError("no object")
    except ValueError as error:
        return _InvalidCheck(NucleusError("criterion_schema_invalid", detail=str(error)[:200]))
    return criteria.SchemaMatch(schema)


@dataclasses.dataclass(frozen=True)
class _InvalidCheck:
    """A criterion that stands for a check whose fields are invalid."""

    reason: NucleusError
    id: str = "schema"
    needs: frozenset = frozenset({"answer"})
    relative: bool = False
    timeout: float | None = None

    def unavailable_reason(self, candidates: Any) -> NucleusError | None:
        return self.reason

    def score(self, candidates: Any, stop: Any) -> Any:
        return ()


def _read_float(key: str) -> float:
    value = get(key)
    return float("nan") if value is None else float(value)
