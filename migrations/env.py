"""Runs the migrations on the connection that `cartapp.schema` hands over."""

from alembic import context

from cartapp.schema import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
