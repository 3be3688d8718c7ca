"""How a process reaches Postgres: one asyncpg pool with every limit spelled out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from libs.common.domain.errors import Unavailable

COMMAND_TIMEOUT_SECONDS: Final = 30
CONNECT_TIMEOUT_SECONDS: Final = 5
IDLE_SECONDS: Final = 4.0
"""How long a service may stop in mid-transaction before the server cuts it off: others wait for its locks."""
IDLE_SECONDS_MAX: Final = 300.0
"""The same for a command that a person runs, which may compute between two statements."""


def async_url(url: str) -> URL:
    """Return `url` (postgres:// or postgresql://) for the asyncpg driver."""
    return make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+asyncpg")


def make_engine(
    url: str, *, application: str, pool_size: int = 4, idle_seconds: float = IDLE_SECONDS_MAX
) -> AsyncEngine:
    """Return an engine whose sessions speak UTC and name `application` to the operator.

    The server ends a session that stands still in a transaction for `idle_seconds`.
    """
    limits = {"idle_in_transaction_session_timeout": str(round(idle_seconds * 1_000)), "jit": "off"}
    engine = create_async_engine(
        async_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=COMMAND_TIMEOUT_SECONDS,
        connect_args={
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "command_timeout": COMMAND_TIMEOUT_SECONDS,
            "server_settings": {"application_name": application, "timezone": "UTC", **limits},
        },
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Have the pool replace a connection the server closed; the driver knows, so no ping must ask."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError("the server closed the connection")


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Yield a connection in a transaction that commits at the end; raises Unavailable when the database is away."""
    try:
        async with engine.begin() as connection:
            yield connection
    except (SQLAlchemyError, OSError) as error:
        if is_outage(error):
            raise Unavailable(f"the database is away: {str(error)[:200]}") from error
        raise


def is_outage(error: BaseException) -> bool:
    """Tell whether `error` means the database is away (wait) rather than that a statement is wrong (count)."""
    if isinstance(error, PoolTimeoutError):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or _is_connection_failure(error.orig)
    return _is_connection_failure(error)


def _is_connection_failure(error: BaseException | None) -> bool:
    if isinstance(error, (ConnectionError, TimeoutError, OSError)):
        return True
    if type(error).__name__ == "InterfaceError":  # the driver's own: the connection is closed
        return True
    state = getattr(error, "sqlstate", None) or ""
    # 08: connection exception, 53: insufficient resources, 57P: operator intervention (shutdown, crash, starting up)
    return state.startswith(("08", "53", "57P"))
