"""How the database came to its present shape; `llm_core.storage.database` runs what is missing when it opens one."""
