"""Run by Alembic with a connection that ``common.db.migrate`` gives."""

from alembic import context

from common.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=False,
    transactional_ddl=True,  # SQLite can, and a database that is half made or half upgraded would be of no use to anyone
)
with context.begin_transaction():
    context.run_migrations()
