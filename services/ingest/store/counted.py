"""What openings and adjustments were made from, kept in Postgres: the reading under way, and the rows that count.

Everything here happens in the caller's transaction and in the wallet's turn: a sync holds it alone, recorders of new
events hold it together. So an event is either among what a sync knew, or finds the rows that count it.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db.checkpoints import load_checkpoint, save_checkpoint
from services.ingest.core.activity import Fact
from services.ingest.core.fills import Fill
from services.ingest.core.late import Adjusted, Counted, Told, corrections, happened
from services.ingest.core.positions import Owner, Sync
from services.ingest.core.readings import (
    Reading,
    counted_document,
    counted_from,
    reading_document,
    reading_from,
)

SERVICE: Final = "ingest"

_TURN: Final = text("SELECT pg_advisory_xact_lock(:number)")
_FORGET: Final = text("DELETE FROM system_checkpoint WHERE service = 'ingest' AND key = :key")


async def take_turn(connection: AsyncConnection, wallet: str) -> None:
    """Wait until nobody else syncs this wallet or records what it did: all of that is known to us."""
    await connection.execute(_TURN, {"number": _number(wallet)})


async def load_reading(connection: AsyncConnection, owner: Owner) -> Reading | None:
    """Return the reading that this follow's openings are made from, if one was taken."""
    document = await load_checkpoint(connection, SERVICE, _reading_key(owner.wallet))
    reading = reading_from(document) if document else None
    return reading if reading and reading.followed_at == owner.followed_at else None


async def save_reading(connection: AsyncConnection, wallet: str, reading: Reading) -> None:
    """Keep a reading until the openings are made."""
    await save_checkpoint(connection, SERVICE, _reading_key(wallet), reading_document(reading))


async def forget_reading(connection: AsyncConnection, wallet: str) -> None:
    """Drop a reading: its openings are made."""
    await connection.execute(_FORGET, {"key": _reading_key(wallet)})


async def load_counted(connection: AsyncConnection, owner: Owner) -> Counted:
    """Return the rows that this follow's openings and adjustments were made from."""
    document = await load_checkpoint(connection, SERVICE, _counted_key(owner.wallet))
    counted = counted_from(document) if document else None
    return counted if counted and counted.followed_at == owner.followed_at else Counted(owner.followed_at)


async def count(
    connection: AsyncConnection, owner: Owner, told: Mapping[str, Told], adjusted: Mapping[str, Adjusted]
) -> None:
    """Remember rows that openings and adjustments were made from."""
    if told or adjusted:
        before = await load_counted(connection, owner)
        counted = Counted(owner.followed_at, {**before.told, **told}, {**before.adjusted, **adjusted})
        await save_checkpoint(connection, SERVICE, _counted_key(owner.wallet), counted_document(counted))


def shared_turns(wallets: Iterable[str]) -> list[int]:
    """Return the locks of these wallets' turns, in order; recorders of what they did hold them, shared, to the end."""
    return sorted({_number(wallet) for wallet in wallets})


def corrections_of(
    fills: Sequence[Fill], facts: Sequence[Fact], documents: Mapping[str, Mapping[str, Any]]
) -> list[Sync]:
    """Return the corrections of what new events are counted by already: `documents` of their wallets, read in turn."""
    counted = {wallet: counted_from(document) for wallet, document in documents.items()}
    news = [event for event in happened(fills, facts) if event.wallet in counted]
    return [sync for event in news for sync in corrections(event, counted[event.wallet])]


def _number(wallet: str) -> int:
    return int.from_bytes(blake2b(f"positions:{wallet}".encode(), digest_size=8).digest(), "big", signed=True)


def _reading_key(wallet: str) -> str:
    return f"reading:{wallet}"


def _counted_key(wallet: str) -> str:
    return f"counted:{wallet}"
