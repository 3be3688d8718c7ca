"""Fill a database with a long past, in SQL: what Shadowbook would have kept of months of trading by 50 users.

Half of the fills are in a hundred assets that trade all the time, most of them in a few positions with thousands of
entries; the other half in thousands of markets that open, resolve and are settled. Every asset has one price, so cost
and realised profit are exact without folding, and `verify` and `rebuild` must find nothing.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from libs.common.db.engine import async_url
from libs.common.domain.identity import user_id
from libs.common.domain.kinds import Scope
from services.ledger.core.entries import portfolio_id
from tests.bench.preload_statements import AFTER, AROUND, BEFORE, STEPS

FILLS_PER_GROUP = 2
USERS = 50
DAYS = 90
MARKET_GROUPS = 50
"""Groups of a market that is not always open."""


@dataclass(frozen=True, slots=True)
class Past:
    """What to preload: fills, the wallets (label, wallet) and assets (asset, condition) that will go on trading."""

    fills: int
    wallets: Sequence[tuple[str, str]]
    assets: Sequence[tuple[str, str]]
    bankroll_micros: int
    days: int = DAYS


async def preload(url: str, past: Past) -> int:
    """Write `past` into the empty, migrated database at `url`, as its owner, and vacuum it; return its last entry."""
    connection = await asyncpg.connect(async_url(url).set(drivername="postgresql").render_as_string(False))
    started = time.monotonic()
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(BEFORE)
            await _people(connection, past)
            for name, statement in STEPS.items():
                await connection.execute(statement)
                _say(f"{name}: {time.monotonic() - started:.0f} s")
            await connection.execute(AFTER)
        await connection.execute("VACUUM (ANALYZE, FREEZE)")
        await connection.execute("CHECKPOINT")
        _say(f"preloaded in {time.monotonic() - started:.0f} s")
        return int(await connection.fetchval("SELECT max(seq) FROM ledger_entry"))
    finally:
        await connection.close()


async def _people(connection: asyncpg.Connection, past: Past) -> None:
    """Make the tables the statements build on: users, assets, and how much of everything."""
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
    labels = [(label, wallet, True) for label, wallet in past.wallets]
    labels += [(f"former-{n:02d}", f"0x{n:040x}", False) for n in range(USERS - len(labels))]
    await connection.execute(AROUND)
    groups = past.fills // FILLS_PER_GROUP
    await connection.execute(
        "INSERT INTO span VALUES ($1, $2, $3, $4, $5)",
        groups, max(1, groups // 2 // MARKET_GROUPS), end - timedelta(days=past.days), end, past.bankroll_micros,
    )  # fmt: skip
    rows = []
    for number, (label, wallet, is_followed) in enumerate(labels):
        user = user_id(label)
        shadow, mine = portfolio_id(Scope.SHADOW_USER, user), portfolio_id(Scope.EXEC_USER, user)
        rows.append((number, user, label, wallet, is_followed, shadow, mine))
    await connection.copy_records_to_table("people", records=rows)
    await connection.execute("INSERT INTO everybody VALUES ($1)", portfolio_id(Scope.EXEC_GLOBAL, None))
    await connection.copy_records_to_table(
        "tokens",
        columns=["n", "asset_id", "condition_id", "outcome_index", "price_micros"],
        records=[
            (n, asset, condition, n % 2, 10_000 * (20 + n * 7 % 60)) for n, (asset, condition) in enumerate(past.assets)
        ],
    )


def _say(what: str) -> None:
    sys.stderr.write(f"  {what}\n")
