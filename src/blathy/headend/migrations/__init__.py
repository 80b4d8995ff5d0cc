"""Alembic migrations of the head-end's schema, applied when the store is opened."""
