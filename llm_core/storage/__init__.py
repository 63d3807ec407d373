"""Store saved recipes and the history of runs, in SQLite or PostgreSQL.

`Database` opens and migrates the database, `RecipeStore` and `History` are what pages and programs use. Without
accounts, an **owner** is whoever holds a secret; the database knows only its hash (`hash_owner_secret`).
"""
