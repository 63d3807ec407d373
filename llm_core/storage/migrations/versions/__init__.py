"""Versions of the database's schema, each a step up from the one before and back down to it."""
