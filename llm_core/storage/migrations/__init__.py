"""Migrations of the database; `llm_core.storage.database` runs the missing ones when it opens one."""
