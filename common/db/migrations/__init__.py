"""The schema's history, oldest first; made with Alembic, carried out by ``common.db.migrate``."""
