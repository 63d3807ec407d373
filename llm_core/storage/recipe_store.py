"""Store recipes: every save is a version, and no later save removes an earlier one.

**Who may do what**, on a server without accounts. A recipe belongs to the holder of the secret that it was first saved
with (a browser, `hash_owner_secret`). The owner alone saves versions, restores, lists and deletes. Whoever knows the id
may open, compare, run and copy it; ids cannot be guessed, and only recipes that their owner has listed appear in other
people's searches. A copy (`fork`) belongs to whoever makes it, and names its origin.

**Two tabs saving the same recipe** both succeed: each save gets a number of its own, and the one that did not know of
the other's is told so (`SaveResult.concurrent_versions`).

Deleted recipes can be restored for `RETENTION_DAYS`; then they are purged. Sizes and counts are bounded.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, and_, case, delete, func, insert, or_, select, true, update

from llm_core.errors import NucleusError
from llm_core.recipes.recipe import Recipe
from llm_core.recipes.yaml_json import dump_yaml
from llm_core.storage.database import Database
from llm_core.storage.schema import recipes, tags, versions
from llm_core.storage.search_text import fold, make_search_text, match_words, sanitize_text

MAX_VERSION_CHARACTERS = 8 * 2**20
"""Characters of one version."""
MAX_VERSIONS = 1_000
MAX_RECIPES = 2_000
"""Recipes of one owner."""
MAX_ALL_RECIPES = 50_000
"""Recipes of all owners."""
MAX_OWNER_CHARACTERS = 64 * 2**20
"""Characters of all versions of one owner."""
RETENTION_DAYS = 30
PAGE_SIZE = 20
"""Recipes that a search returns at a time."""

_ID_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Characters of ids, without those that a projector makes look alike."""
_ID_LENGTH = 12
"""Characters of an id: 59 bits."""
_PURGE_INTERVAL_SECONDS = 3600
MAX_TAG_CHARACTERS = 64
"""Characters of a tag that tell it from others."""

SearchScope = Literal["all", "mine", "deleted"]


@dataclass(frozen=True, slots=True)
class SaveResult:
    """Result of a save."""

    id: str
    number: int
    concurrent_versions: tuple[int, ...] = ()
    """Versions that others saved since the one that this save was made from. They are kept."""
    changed: bool = True
    """False where the latest version is equal, so that no other was made."""


@dataclass(frozen=True, slots=True)
class RecipeEntry:
    """Saved recipe in a list."""

    id: str
    title: str
    author: str
    language: str
    tags: tuple[str, ...]
    latest: int
    mine: bool
    listed: bool
    origin: tuple[str, int] | None
    """Recipe and version that this is a copy of, or None."""
    created_at: float
    saved_at: float
    deleted_at: float | None


@dataclass(frozen=True, slots=True)
class RecipeVersion:
    """One version of a saved recipe."""

    number: int
    title: str
    base: int | None
    """Version it was made from; None for the first."""
    restored: int | None
    """Earlier version that it brings back, or None."""
    saved_at: float


@dataclass(frozen=True, slots=True)
class RecipePage:
    """One page of a search."""

    entries: tuple[RecipeEntry, ...]
    total: int


class RecipeStore:
    """Saved recipes of all owners. Any thread may use it. Every method raises `NucleusError`."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock
        self._tidied_at = 0.0

    def save(self, recipe: Recipe, owner: str, *, listed: bool = False) -> SaveResult:
        """Save a new recipe."""
        return self._create(recipe, owner, listed, None)

    def save_version(self, recipe_id: str, recipe: Recipe, owner: str, base: int) -> SaveResult:
        """Save another version of the owner's recipe, made from its version `base`."""
        return self._append(recipe_id, recipe, owner, base, None)

    def restore(self, recipe_id: str, number: int, owner: str, base: int) -> SaveResult:
        """Save an earlier version as the latest one; those between are kept."""
        return self._append(recipe_id, self.recipe(recipe_id, number, owner), owner, base, number)

    def fork(self, recipe_id: str, number: int, owner: str) -> SaveResult:
        """Copy a version as a recipe of `owner` that names its origin."""
        return self._create(self.recipe(recipe_id, number, owner), owner, False, (recipe_id, number))

    def recipe(self, recipe_id: str, number: int, owner: str) -> Recipe:
        """Return one version of a recipe."""
        c = versions.c
        with self._database.read_transaction() as connection:
            _get_visible_row(connection, recipe_id, owner)
            statement = select(c.recipe).where(c.recipe_id == recipe_id, c.number == number)
            text = connection.execute(statement).scalar_one_or_none()
        if text is None:
            raise NucleusError("version_unknown", id=recipe_id, number=number)
        return Recipe.read(json.loads(text))

    def diff(self, recipe_id: str, old: int, new: int, owner: str) -> str:
        """Return the unified diff between two versions' YAML; empty where they are equal."""
        before, after = (dump_yaml(self.recipe(recipe_id, number, owner)).splitlines() for number in (old, new))
        return "\n".join(difflib.unified_diff(before, after, str(old), str(new), lineterm=""))

    def get(self, recipe_id: str, owner: str) -> RecipeEntry:
        """Return the list entry of a recipe whose id is known. A deleted one is found by its owner only."""
        with self._database.read_transaction() as connection:
            row = _get_visible_row(connection, recipe_id, owner)
            return _make_entry(row, _read_tags(connection, [recipe_id]).get(recipe_id, ()), owner)

    def owner(self, recipe_id: str) -> str:
        """Return the owner of a recipe, deleted or not: for whoever runs the server, who may act in the owner's
        place."""
        statement = select(recipes.c.owner).where(recipes.c.id == sanitize_text(recipe_id[:40]))
        with self._database.read_transaction() as connection:
            if (found := connection.execute(statement).scalar_one_or_none()) is None:
                raise NucleusError("recipe_gone", id=sanitize_text(recipe_id[:40]))
        return str(found)

    def versions(self, recipe_id: str, owner: str) -> tuple[RecipeVersion, ...]:
        """Return all versions of a recipe, the latest first."""
        c = versions.c
        statement = select(c.number, c.title, c.base, c.restored, c.saved_at).where(c.recipe_id == recipe_id)
        with self._database.read_transaction() as connection:
            _get_visible_row(connection, recipe_id, owner)
            return tuple(RecipeVersion(*row) for row in connection.execute(statement.order_by(c.number.desc())))

    def search(
        self, owner: str, query: str = "", tag: str = "", whose: SearchScope = "all", language: str = "", skip: int = 0
    ) -> RecipePage:
        """Return the recipes with every word of `query` in title, author, notes, tags or prompt, ignoring case and
        diacritics.

        Those with the words in the title come first, then the last saved.
        """
        self._purge_if_due()
        wanted = [_visible_to(owner, whose), *match_words(recipes.c.found_by, query)]
        if tag:
            wanted.append(recipes.c.id.in_(select(tags.c.recipe_id).where(tags.c.folded == fold(tag))))
        if language:
            wanted.append(recipes.c.language == sanitize_text(language))
        in_title = and_(true(), *match_words(recipes.c.found_title, query))
        statement: Select[Any] = select(recipes).where(*wanted)
        order = (case((in_title, 0), else_=1), recipes.c.saved_at.desc(), recipes.c.id)
        with self._database.read_transaction() as connection:
            total = connection.execute(select(func.count()).select_from(recipes).where(*wanted)).scalar_one()
            rows = connection.execute(statement.order_by(*order).limit(PAGE_SIZE).offset(max(0, skip))).all()
            named = _read_tags(connection, [row.id for row in rows])
        return RecipePage(tuple(_make_entry(row, named.get(row.id, ()), owner) for row in rows), total)

    def tags(self, owner: str) -> list[tuple[str, int]]:
        """Return the tags of the recipes that `owner` sees, with the number of recipes, the most frequent first."""
        count = func.count()
        statement = (
            select(func.min(tags.c.tag), count)
            .join(recipes, recipes.c.id == tags.c.recipe_id)
            .where(_visible_to(owner, "all"))
            .group_by(tags.c.folded)
            .order_by(count.desc(), tags.c.folded)
            .limit(100)
        )
        with self._database.read_transaction() as connection:
            return [(tag, number) for tag, number in connection.execute(statement)]

    def set_listed(self, recipe_id: str, listed: bool, owner: str) -> None:
        """Set whether other people's searches find the recipe."""
        with self._database.write_transaction() as connection:
            _lock_owned_row(connection, recipe_id, owner)
            connection.execute(_update_statement(recipe_id).values(listed=listed))

    def delete(self, recipe_id: str, owner: str) -> None:
        """Hide a recipe from everybody; its owner can undelete it for `RETENTION_DAYS`."""
        with self._database.write_transaction() as connection:
            _lock_owned_row(connection, recipe_id, owner)
            connection.execute(_update_statement(recipe_id).values(deleted_at=self._clock()))

    def undelete(self, recipe_id: str, owner: str) -> None:
        with self._database.write_transaction() as connection:
            _lock_owned_row(connection, recipe_id, owner, deleted=True)
            connection.execute(_update_statement(recipe_id).values(deleted_at=None))

    def delete_forever(self, recipe_id: str, owner: str) -> None:
        """Delete a deleted recipe for good."""
        with self._database.write_transaction() as connection:
            if _lock_owned_row(connection, recipe_id, owner, deleted=True).deleted_at is not None:
                connection.execute(delete(recipes).where(recipes.c.id == recipe_id))

    def purge(self) -> int:
        """Delete for good what was deleted more than `RETENTION_DAYS` ago; return the number of recipes."""
        oldest = self._clock() - RETENTION_DAYS * 86_400
        with self._database.write_transaction() as connection:
            return connection.execute(delete(recipes).where(recipes.c.deleted_at < oldest)).rowcount

    def _purge_if_due(self) -> None:
        if self._clock() > self._tidied_at + _PURGE_INTERVAL_SECONDS:
            self._tidied_at = self._clock()
            self.purge()

    def _create(self, recipe: Recipe, owner: str, listed: bool, origin: tuple[str, int] | None) -> SaveResult:
        text = _dump_recipe(recipe)
        recipe_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
        now = self._clock()
        owned = select(func.count(), func.coalesce(func.sum(recipes.c.size), 0)).where(recipes.c.owner == owner)
        with self._database.write_transaction() as connection:
            count, size = connection.execute(owned).one()
            if count >= MAX_RECIPES:
                raise NucleusError("recipes_full", limit=MAX_RECIPES)
            if connection.execute(select(func.count()).select_from(recipes)).scalar_one() >= MAX_ALL_RECIPES:
                raise NucleusError("server_full", limit=MAX_ALL_RECIPES)
            _check_quota(size + len(text))
            values = _make_recipe_columns(recipe) | {"latest": 1, "size": len(text), "saved_at": now, "created_at": now}
            values |= {"origin_id": origin and origin[0], "origin_version": origin and origin[1]}
            connection.execute(insert(recipes).values(values | {"id": recipe_id, "owner": owner, "listed": listed}))
            _write_version(connection, recipe_id, RecipeVersion(1, recipe.title, None, None, now), recipe, text)
        return SaveResult(recipe_id, 1)

    def _append(self, recipe_id: str, recipe: Recipe, owner: str, base: int, restored: int | None) -> SaveResult:
        text = _dump_recipe(recipe)
        now = self._clock()
        last = select(versions.c.recipe).where(versions.c.recipe_id == recipe_id).order_by(versions.c.number.desc())
        owned = select(func.sum(recipes.c.size)).where(recipes.c.owner == owner)
        with self._database.write_transaction() as connection:
            row = _lock_owned_row(connection, recipe_id, owner)
            if connection.execute(last.limit(1)).scalar_one() == text:
                return SaveResult(recipe_id, row.latest, changed=False)
            if row.latest >= MAX_VERSIONS:
                raise NucleusError("versions_full", limit=MAX_VERSIONS)
            _check_quota(connection.execute(owned).scalar_one() + len(text))
            number = row.latest + 1
            values = _make_recipe_columns(recipe) | {"latest": number, "size": row.size + len(text), "saved_at": now}
            connection.execute(_update_statement(recipe_id).values(values))
            _write_version(
                connection, recipe_id, RecipeVersion(number, recipe.title, base, restored, now), recipe, text
            )
        return SaveResult(recipe_id, number, tuple(range(base + 1, number)))


def _dump_recipe(recipe: Recipe) -> str:
    text = json.dumps(recipe.data(), ensure_ascii=False, separators=(",", ":"))
    if len(text) > MAX_VERSION_CHARACTERS:
        raise NucleusError("recipe_too_large_to_save", size=len(text), limit=MAX_VERSION_CHARACTERS)
    return text


def _check_quota(size: int) -> None:
    if size > MAX_OWNER_CHARACTERS:
        raise NucleusError("gallery_full", limit=MAX_OWNER_CHARACTERS // 2**20)


def _visible_to(owner: str, whose: SearchScope):
    mine, kept = recipes.c.owner == owner, recipes.c.deleted_at.is_(None)
    if whose == "deleted":
        return and_(mine, ~kept)
    return and_(kept, mine if whose == "mine" else or_(mine, recipes.c.listed))


def _get_visible_row(connection: Connection, recipe_id: str, owner: str) -> Row[Any]:
    name = sanitize_text(recipe_id[:40])
    row = connection.execute(select(recipes).where(recipes.c.id == name)).one_or_none()
    if row is None or (row.deleted_at is not None and row.owner != owner):
        raise NucleusError("recipe_gone", id=name)
    return row


def _lock_owned_row(connection: Connection, recipe_id: str, owner: str, deleted: bool = False) -> Row[Any]:
    """Return the owner's recipe, locked until the transaction ends, so that no other save comes between.

    Raises `NucleusError` for a recipe of another owner, and for a deleted one unless `deleted`.
    """
    connection.execute(select(recipes.c.id).where(recipes.c.id == sanitize_text(recipe_id)).with_for_update())
    row = _get_visible_row(connection, recipe_id, owner)
    if row.owner != owner:
        raise NucleusError("recipe_not_yours")
    if row.deleted_at is not None and not deleted:
        raise NucleusError("recipe_gone", id=recipe_id)
    return row


def _update_statement(recipe_id: str):
    return update(recipes).where(recipes.c.id == recipe_id)


def _read_tags(connection: Connection, ids: list[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    statement = select(tags.c.recipe_id, tags.c.tag).where(tags.c.recipe_id.in_(ids)).order_by(tags.c.folded)
    for recipe_id, tag in connection.execute(statement):
        found[recipe_id] = (*found.get(recipe_id, ()), tag)
    return found


def _make_recipe_columns(recipe: Recipe) -> dict[str, Any]:
    """Return the columns that describe the latest version."""
    prompt = " ".join(text for _, text in recipe.prompt.texts())
    return {
        "title": recipe.title,
        "author": recipe.author,
        "language": recipe.language,
        "found_title": make_search_text(recipe.title),
        "found_by": make_search_text(recipe.title, recipe.author, *recipe.tags, recipe.notes, prompt),
    }


def _write_version(connection: Connection, recipe_id: str, version: RecipeVersion, recipe: Recipe, text: str) -> None:
    """Write the version, and its tags as those of the recipe; tags that readers would not tell apart are one."""
    values = dataclasses.asdict(version) | {"recipe_id": recipe_id, "recipe": text}
    connection.execute(insert(versions).values(values))
    connection.execute(delete(tags).where(tags.c.recipe_id == recipe_id))
    once = {fold(name)[:MAX_TAG_CHARACTERS] or name: name for name in reversed(recipe.tags)}
    if once:
        rows = [{"recipe_id": recipe_id, "folded": folded, "tag": tag} for folded, tag in once.items()]
        connection.execute(insert(tags), rows)


def _make_entry(row: Row[Any], names: tuple[str, ...], owner: str) -> RecipeEntry:
    return RecipeEntry(
        id=row.id,
        title=row.title,
        author=row.author,
        language=row.language,
        tags=names,
        latest=row.latest,
        mine=row.owner == owner,
        listed=row.listed,
        origin=(row.origin_id, row.origin_version) if row.origin_id else None,
        created_at=row.created_at,
        saved_at=row.saved_at,
        deleted_at=row.deleted_at,
    )
