"""Compose, check, render and store prompts: named parts, techniques, documents and output formats."""
