"""Run migrations for Alembic, inside the transaction that `Database` has begun."""

from __future__ import annotations

from alembic import context

from llm_core.storage.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
