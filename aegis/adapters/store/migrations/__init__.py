"""The schema's history, run by Alembic in order."""
