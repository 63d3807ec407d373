"""Merge a page's fields with the recipe that is open in them. Free of Streamlit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from llm_core.recipes.recipe import Limits, Recipe

if TYPE_CHECKING:
    from llm_core.storage.recipe_store import SaveResult
    from pages.ui.recipes.opened import OpenedRecipe


class RecipeSource(NamedTuple):
    """Page that recipes are saved from, as functions."""

    read: Callable[..., Recipe]
    """Return the page's recipe; keyword arguments are JSON data of further fields, and `with_run=True` adds the
    recorded run. Raises `NucleusError`."""
    get_opened: Callable[[], OpenedRecipe | None]
    """Return the open recipe of the page."""
    on_saved: Callable[[Recipe, SaveResult, tuple[str, str]], None]
    """Called after a save with the recipe, its version, and a message: "success", "info" or "warning", and the text."""
    can_record: Callable[[], bool]
    """Return whether `with_run` would add a run."""
    unsaved_note: Callable[[], str]
    """Return a text on the page's values that a recipe cannot hold, in the reader's language; empty if it holds all."""


def merge_edits(now: Recipe, opened: OpenedRecipe | None) -> Recipe:
    """Merge the page's current fields into the opened recipe; fields that the page cannot show keep the recipe's value.

    A change drops the recorded run, which was a run of something else.
    """
    if opened is None or opened.shown is None:
        return now
    shown, whole = opened.shown, opened.recipe
    parts = ("model", "precision", "prompt", "seeds", "candidates")
    changed: dict[str, Any] = {name: getattr(now, name) for name in parts if getattr(now, name) != getattr(shown, name)}
    if "candidates" in changed:  # the seeds of candidates follow from the seed of the page
        changed["seeds"] = now.seeds
    for name in ("sampler", "limits", "hosted", "criteria"):
        before, after, all_of_it = (dict(_field_items(getattr(each, name))) for each in (shown, now, whole))
        if before != after:
            moved = {key: after[key] for key in after if key not in before or before[key] != after[key]}
            rest = {key: value for key, value in all_of_it.items() if key in after or key not in before}
            changed[name] = rest | moved if name == "criteria" else _replace_fields(getattr(whole, name), moved)
    if changed:  # the recorded run no longer belongs to the recipe
        whole = whole.replace(**changed, trace=None)
    return whole


def _field_items(part: Any) -> Iterable[tuple[str, Any]]:
    """Return the fields of a part of a recipe with their values."""
    if dataclasses.is_dataclass(part):
        return ((each.name, getattr(part, each.name)) for each in dataclasses.fields(part))
    return part.items() if isinstance(part, Mapping) else part


def _replace_fields(part: Any, fields: Mapping[str, Any]) -> Any:
    if dataclasses.is_dataclass(part):
        return dataclasses.replace(part, **fields)  # type: ignore[type-var]
    return part.model_copy(update=fields)


def recipe_deadline(opened: OpenedRecipe | None) -> float:
    """Return the deadline of an answer in seconds, from the open recipe, because no field shows it."""
    return (opened.recipe.limits if opened else Limits()).deadline_seconds


def hidden_fields(recipe: Recipe, shown: Recipe) -> list[str]:
    """Return the fields whose values the page does not show, as keys of the `fields` texts. `shown` is the recipe that
    the page's fields make."""
    left_out = set() if len(recipe.sampler.stages) > 1 else {"order"}  # the order of a single stage has no effect
    names = [each.name for each in dataclasses.fields(recipe.sampler) if each.name not in left_out]
    hidden = [name for name in names if getattr(recipe.sampler, name) != getattr(shown.sampler, name)]
    hidden += [name for name in ("seeds", "candidates", "criteria") if getattr(recipe, name) != getattr(shown, name)]
    options = ("thinking", "safety", "top_logprobs")
    hidden += [name for name in options if getattr(recipe.hosted, name) != getattr(shown.hosted, name)]
    return ["several_candidates" if name == "candidates" else name for name in hidden]
