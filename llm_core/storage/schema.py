"""Define the tables as the newest migration leaves them; a test compares the two. Times are seconds since 1970, UTC."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

recipes = Table(
    "recipes",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("listed", Boolean, nullable=False),
    Column("title", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("latest", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("found_title", Text, nullable=False),
    Column("found_by", Text, nullable=False),
    Column("origin_id", String(16)),
    Column("origin_version", Integer),
    Column("created_at", Float, nullable=False),
    Column("saved_at", Float, nullable=False),
    Column("deleted_at", Float),
    Index("recipes_by_owner", "owner"),
    Index("recipes_by_time", "saved_at"),
)
"""Saved recipes: one row each, describing the latest version. `size` is the characters of all versions, the column
`found_by` the folded text that a search looks through."""

versions = Table(
    "versions",
    metadata,
    Column("recipe_id", String(16), ForeignKey("recipes.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("title", Text, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("base", Integer),
    Column("restored", Integer),
    Column("saved_at", Float, nullable=False),
)
"""Versions of recipes: `base` is the version that one was made from, `restored` the one that it brings back."""

tags = Table(
    "tags",
    metadata,
    Column("recipe_id", String(16), ForeignKey("recipes.id", ondelete="CASCADE"), primary_key=True),
    Column("folded", String(64), primary_key=True),
    Column("tag", Text, nullable=False),
    Index("tags_by_name", "folded"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("title", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("found_by", Text, nullable=False),
    Column("ended_at", Float, nullable=False),
    Index("runs_by_owner", "owner", "ended_at"),
)
"""History: one row for each finished run. `summary` is JSON."""
