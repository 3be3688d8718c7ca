"""Bring a database to this code's schema, create the services' roles, and refuse a database newer than the code."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, cast

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import AdaptedConnection, Connection, NullPool, text
from sqlalchemy.ext.asyncio import create_async_engine

from libs.common.db.engine import async_url
from libs.common.domain.errors import ShadowbookError, Unavailable

SERVICES: Final = ("ingest", "grouper", "simulator", "ledger", "pricer", "ui")
"""Services that have a role of their own, `shadowbook_<service>`."""

_HERE: Final = Path(__file__).parent
_LOCK_KEY: Final = 0x5AD0B00C
"""Two processes that migrate at once take turns."""


class DatabaseIsNewerError(ShadowbookError):
    """The database was written by a later version of Shadowbook."""


def role_of(service: str) -> str:
    """Return the Postgres role of a service."""
    return f"shadowbook_{service}"


async def upgrade(url: str, passwords: Mapping[str, str] | None = None) -> None:
    """Migrate the database at `url` (its owner's) to this code's schema and apply the grants.

    `passwords` by service sets the roles' passwords; without it the roles are created unable to log in.
    Raises DatabaseIsNewerError and changes nothing when the database is ahead.
    """
    await _run(url, lambda connection: _upgrade(connection, passwords or {}))


async def downgrade(url: str, revision: str = "base") -> None:
    """Take the database at `url` back to `revision`."""
    await _run(url, lambda connection: command.downgrade(_config(connection), revision))


async def _run(url: str, work: Callable[[Connection], None]) -> None:
    engine = create_async_engine(async_url(url), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(work)
    finally:
        await engine.dispose()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE / "migrations"))
    config.attributes["connection"] = connection
    return config


def _check_version(connection: Connection) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config(connection)).walk_revisions()}
    unknown = set(MigrationContext.configure(connection).get_current_heads()) - known
    if unknown:
        raise DatabaseIsNewerError(
            f"the database is at revision {', '.join(sorted(unknown))}, which this version does not know: "
            "it was written by a newer Shadowbook; update the code, or choose another data dir"
        )


def _upgrade(connection: Connection, passwords: Mapping[str, str]) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    _check_version(connection)
    command.upgrade(_config(connection), "head")
    for service in SERVICES:
        _provision_role(connection, role_of(service), passwords.get(service))
    _run_script(connection, (_HERE / "roles.sql").read_text())


def _run_script(connection: Connection, script: str) -> None:
    # A prepared statement holds one command; the driver's own simple protocol takes a whole script.
    dbapi_connection = connection.connection.dbapi_connection
    if dbapi_connection is None:
        raise Unavailable("the database connection was lost while the grants were applied")
    cast("AdaptedConnection", dbapi_connection).run_async(lambda driver: driver.execute(script))


def _provision_role(connection: Connection, role: str, password: str | None) -> None:
    exists = connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role})
    if not exists:
        connection.execute(text(f'CREATE ROLE "{role}"'))
    if password is not None:
        # Utility statements take no parameters; the literal is quoted by the server itself.
        quoted = connection.scalar(text("SELECT quote_literal(:password)"), {"password": password})
        connection.exec_driver_sql(f'ALTER ROLE "{role}" LOGIN PASSWORD {quoted}')
    database = connection.scalar(text("SELECT current_database()"))
    connection.exec_driver_sql(f'GRANT CONNECT ON DATABASE "{database}" TO "{role}"')
