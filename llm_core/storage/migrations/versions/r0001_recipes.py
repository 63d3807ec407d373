"""Create the tables of saved recipes, their versions and tags."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "recipes",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("listed", sa.Boolean, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("latest", sa.Integer, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("found_title", sa.Text, nullable=False),
        sa.Column("found_by", sa.Text, nullable=False),
        sa.Column("origin_id", sa.String(16)),
        sa.Column("origin_version", sa.Integer),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("saved_at", sa.Float, nullable=False),
        sa.Column("deleted_at", sa.Float),
    )
    op.create_index("recipes_by_owner", "recipes", ["owner"])
    op.create_index("recipes_by_time", "recipes", ["saved_at"])
    op.create_table(
        "versions",
        sa.Column("recipe_id", sa.String(16), sa.ForeignKey("recipes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("base", sa.Integer),
        sa.Column("restored", sa.Integer),
        sa.Column("saved_at", sa.Float, nullable=False),
    )
    op.create_table(
        "tags",
        sa.Column("recipe_id", sa.String(16), sa.ForeignKey("recipes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("folded", sa.String(64), primary_key=True),
        sa.Column("tag", sa.Text, nullable=False),
    )
    op.create_index("tags_by_name", "tags", ["folded"])


def downgrade() -> None:
    for name in ("tags", "versions", "recipes"):
        op.drop_table(name)
