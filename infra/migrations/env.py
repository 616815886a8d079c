"""Alembic runs this script for each of its commands. `infra.migrations.upgrade` passes the connection."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    on_version_apply=context.config.attributes["on_version_apply"],
    has_session=context.config.attributes["has_session"],
    transaction_per_migration=True,
)
context.run_migrations()
