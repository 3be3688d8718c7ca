"""The database driver itself, for the one transaction that runs hundreds of times a second.

A decision transaction is a dozen small statements; the driver's own prepared statements and records take a fraction of
what a statement costs through the layer above. Connections still come from the engine's pool.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.engine import transaction

Connection = Any
"""An asyncpg connection."""
Record = Any
"""A row: values by column name in brackets."""

LOCK_NOT_AVAILABLE: Final = "55P03"
"""SQL state of a lock that was not had in time."""

_NAME: Final = re.compile(r"(?<![:\w]):([a-z_]+)")


class Query:
    """A statement with named parameters, as the driver wants it: numbered."""

    __slots__ = ("names", "text")

    def __init__(self, text: str) -> None:
        names: list[str] = []

        def number(match: re.Match[str]) -> str:
            if match[1] not in names:
                names.append(match[1])
            return f"${names.index(match[1]) + 1}"

        self.text = _NAME.sub(number, text)
        self.names = tuple(names)

    async def rows(self, connection: Connection, **parameters: Any) -> list[Record]:
        """Run the statement and return its rows."""
        found: list[Record] = await connection.fetch(self.text, *(parameters[name] for name in self.names))
        return found


@asynccontextmanager
async def driver_connection(engine: AsyncEngine) -> AsyncIterator[Connection]:
    """Yield a driver's connection on which every statement is a transaction of its own."""
    async with transaction(engine) as pooled:
        yield (await pooled.get_raw_connection()).driver_connection


@asynccontextmanager
async def driver_transaction(engine: AsyncEngine) -> AsyncIterator[Connection]:
    """Yield a driver's connection in a transaction that commits at the end."""
    async with driver_connection(engine) as connection, connection.transaction():
        yield connection


def json_text(rows: Any) -> str:
    """Return `rows` as JSON text for a statement."""
    return orjson.dumps(rows, default=str).decode()  # the driver has a UUID class of its own
