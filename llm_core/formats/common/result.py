"""Define the result of every export and import: the text or recipe, and the fields that were dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from llm_core.recipes.recipe import Recipe

DropReason = Literal[
    "no_place",
    "nucleus_only",
    "as_chat",
    "as_prompts",
    "one_step",
    "other_model",
    "unsafe_there",
    "first_few",
    "unknown_here",
    "not_read",
    "guarded",
    "not_in_results",
    "later_steps",
    "edited",
    "needs_repository",
]
"""Reasons for which a field was not carried:

- `no_place`: the format has none for it, or its provider no such setting;
- `nucleus_only`: it is in the file, and other programs take no notice of it;
- `as_chat`: the prompt's parts became the chat that they make, and cannot be taken apart again;
- `as_prompts`: variables were filled in, a prompt for each row of values;
- `one_step`: the technique takes several steps, of which the file asks the first;
- `other_model`: the recipe's model is not one of that provider, so the reader has to name one;
- `unsafe_there`: other programs would read it as a template, a file's name or code;
- `first_few`: only the first of them, as many as the provider takes;
- `unknown_here`: a field of the file that Nucleus does not have;
- `not_read`: the file has more than one of it, and the first was taken;
- `guarded`: cells that a spreadsheet would run as formulas got a quotation mark in front;
- `not_in_results`: results hold what a run gave, not how it was asked for;
- `later_steps`: only so many steps are drawn, to keep the file small;
- `edited`: the file was changed by hand since, and says something else in its own place;
- `needs_repository`: only this repository has that stage, so the script imports `samplers` or `llm_core` from it.
"""
DROP_REASONS: tuple[DropReason, ...] = get_args(DropReason)


class DroppedField(NamedTuple):
    """Field that was not carried as it is, by its place in the recipe or, on import, in the file."""

    field: str
    reason: DropReason


class ExportResult(NamedTuple):
    """Recipe or run in another format."""

    text: str
    dropped: tuple[DroppedField, ...] = ()


class ImportResult(NamedTuple):
    """Recipe from another format."""

    recipe: Recipe
    dropped: tuple[DroppedField, ...] = ()
