"""What a page's fields say of the recipe that is open in them, and what it says beyond them. No Streamlit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from llm_core.recipes.recipe import Limits, Recipe

if TYPE_CHECKING:
    from llm_core.storage.recipe_store import Saved
    from pages.ui.recipes.opened import OpenedRecipe


class Source(NamedTuple):
    """A page that recipes are saved from."""

    read: Callable[..., Recipe]
    """Its recipe, with JSON data of further fields by name, and `with_run=True` with what was written. Raises
    `NucleusError`."""
    opened: Callable[[], OpenedRecipe | None]
    """What is open there."""
    saved: Callable[[Recipe, Saved, tuple[str, str]], None]
    """Told after a save, with what to say of it: "success", "info" or "warning", and the words."""
    can_record: Callable[[], bool]
    """Whether `with_run` has something to add."""
    left_out: Callable[[], str]
    """What no recipe can hold of what the page says, in the reader's language; empty where it holds all."""


def kept(now: Recipe, opened: OpenedRecipe | None) -> Recipe:
    """What a page's fields say now, and what the recipe that was opened in them says beyond them."""
    if opened is None or opened.shown is None:
        return now
    shown, whole = opened.shown, opened.recipe
    parts = ("model", "precision", "prompt", "seeds", "candidates")
    changed: dict[str, Any] = {name: getattr(now, name) for name in parts if getattr(now, name) != getattr(shown, name)}
    if "candidates" in changed:  # they follow the seed that the page shows
        changed["seeds"] = now.seeds
    for name in ("sampler", "limits", "hosted", "criteria"):
        before, after, all_of_it = (dict(_items(getattr(each, name))) for each in (shown, now, whole))
        if before != after:
            moved = {key: after[key] for key in after if key not in before or before[key] != after[key]}
            rest = {key: value for key, value in all_of_it.items() if key in after or key not in before}
            changed[name] = rest | moved if name == "criteria" else _replaced(getattr(whole, name), moved)
    if changed:  # what was recorded was a run of something else
        whole = whole.changed(**changed, trace=None)
    return whole


def _items(part: Any) -> Iterable[tuple[str, Any]]:
    """The fields of a part of a recipe, with their values."""
    if dataclasses.is_dataclass(part):
        return ((each.name, getattr(part, each.name)) for each in dataclasses.fields(part))
    return part.items() if isinstance(part, Mapping) else part


def _replaced(part: Any, fields: Mapping[str, Any]) -> Any:
    if dataclasses.is_dataclass(part):
        return dataclasses.replace(part, **fields)  # type: ignore[type-var]
    return part.model_copy(update=fields)


def deadline_of(opened: OpenedRecipe | None) -> float:
    """Seconds that an answer may take: no field shows it, so it is the open recipe's."""
    return (opened.recipe.limits if opened else Limits()).deadline_seconds


def hidden_fields(recipe: Recipe, shown: Recipe) -> list[str]:
    """What of the recipe the fields, which now say `shown`, do not say: keys of `fields`."""
    left_out = set() if len(recipe.sampler.stages) > 1 else {"order"}  # one stage alone has none
    names = [each.name for each in dataclasses.fields(recipe.sampler) if each.name not in left_out]
    hidden = [name for name in names if getattr(recipe.sampler, name) != getattr(shown.sampler, name)]
    hidden += [name for name in ("seeds", "candidates", "criteria") if getattr(recipe, name) != getattr(shown, name)]
    options = ("thinking", "safety", "top_logprobs")
    hidden += [name for name in options if getattr(recipe.hosted, name) != getattr(shown.hosted, name)]
    return ["several_candidates" if name == "candidates" else name for name in hidden]
