"""Alembic's entry: runs migrations on the connection that `libs.common.db.migrate` hands over."""

from alembic import context
from sqlalchemy import Connection

from libs.common.db.tables import metadata

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
