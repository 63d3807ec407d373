"""Saved recipes and the history of runs, in SQLite or PostgreSQL.

`Database` opens and migrates it, `RecipeStore` and `History` are what pages and programs use. Without accounts, an
**owner** is whoever holds a secret; the database knows only its hash (`owner_of`).
"""
