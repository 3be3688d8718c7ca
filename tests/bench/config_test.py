"""How long the test of a configuration takes over a day of 10,000 groups, in both scopes, by the worker as it runs.

Groups of twenty users in fifty markets, each with a book of 40 levels a side of its own, decided by the real decider;
marks of all tokens each minute of a day. The draft doubles the copied share, so that nearly every decision differs.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import insert, text

from libs.common.db import migrate
from libs.common.db.config_tests import read_run, request_run
from libs.common.db.engine import transaction
from libs.common.db.tables.groups import EventGroup
from libs.common.db.tables.ledger import LedgerEntry, Portfolio
from libs.common.db.tables.markets import Market, OutcomeAsset
from libs.common.db.tables.users import FollowedUser
from libs.common.domain.book import Book, Level
from libs.common.domain.kinds import Scope
from services.simulator.core.facts import Group
from services.simulator.deciding import Decider
from services.simulator.scheduler import portfolio_id
from services.simulator.store.books import BookStore
from services.simulator.store.configs import ConfigStore
from services.simulator.store.groups import GroupStore
from tests.support.databases import Database, embedded_postgres, fresh_passwords

GROUPS: Final = 10_000
CHUNK: Final = 500
USERS: Final = 20
MARKETS: Final = 50
LEVELS: Final = 40
BANKROLL: Final = 10**12
CONSUMERS: Final = {Scope.EXEC_USER: "simulator-user", Scope.EXEC_GLOBAL: "simulator-global"}
_MARKS: Final = """
INSERT INTO market_price_snapshot (asset_id, at, price_micros, source)
SELECT o.asset_id, t, 450000 + (hashtext(o.asset_id || t) & 65535), 'MIDPOINT'
FROM outcome_asset o, generate_series(now() - interval '24 hours', now(), interval '1 minute') t
"""


def measure_config_test(groups: int = GROUPS) -> dict[str, Any]:
    """Return seconds from the worker's start to the result, decisions per second, and the worker's peak memory."""
    with ExitStack() as cleanup:
        cluster = cleanup.enter_context(embedded_postgres(fresh_passwords()))
        asyncio.run(cluster.execute("CREATE DATABASE bench"))
        database = Database(cluster, "bench")
        asyncio.run(migrate.upgrade(database.url(), dict(cluster.passwords)))
        run_id = asyncio.run(_seed(database, groups))
        started = time.monotonic()
        environment = {"PATH": os.environ["PATH"], "DATABASE_URL": database.url("simulator")}
        command = [sys.executable, "-m", "services.simulator.config_test"]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(worker.pid, 0)
        seconds = time.monotonic() - started
        run = asyncio.run(_result(database, run_id))
    if status or run.result is None:
        raise RuntimeError(f"the worker ended with {status}: {run.state} {run.error}")
    return {
        "config_test_groups": run.result.groups,
        "config_test_decisions": run.total,
        "config_test_changed": run.result.changed_total,
        "config_test_seconds": round(seconds, 2),
        "config_test_decisions_per_s": round((run.total or 0) / seconds),
        "config_test_cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "config_test_peak_rss_mb": round(usage.ru_maxrss / 1000, 1),
    }


async def _seed(database: Database, count: int) -> UUID:
    """Decide `count` groups in both scopes; return the id of a test that waits."""
    users = [UUID(int=100 + number) for number in range(USERS)]
    now = datetime.now(UTC)
    await _open(database, users, now)
    engine = database.engine("simulator")
    configs, books = ConfigStore(engine), BookStore(engine, "bench")
    await configs.merge()
    for start in range(0, count, CHUNK):
        groups = [_group(number, users[number % USERS]) for number in range(start, min(count, start + CHUNK))]
        async with transaction(database.engine()) as connection:
            await connection.execute(insert(EventGroup), groups)
        store = GroupStore(engine, Scope.EXEC_USER, CONSUMERS[Scope.EXEC_USER])
        found = await store.find([each["id"] for each in groups])
        await books.claim([each.group for each in found])
        await books.save({each["id"]: _book(each["asset_id"], each["first_ordinal"]) for each in groups}, _now())
        for scope, consumer in CONSUMERS.items():
            decider = Decider(engine, books, configs, scope=scope, consumer=consumer, seed=0, now=_now)
            chunk = await decider.run(_by_portfolio(scope, [each.group for each in found]), CHUNK)
            if len(chunk.decided) != len(groups):
                raise RuntimeError(f"decided {len(chunk.decided)} of {len(groups)}: {chunk.blocked or chunk.failed}")
    async with transaction(database.engine()) as connection:
        await connection.execute(text("ANALYZE"))
        draft = {"global": {"copy_pct": "2"}, "users": {}}
        run_id = await request_run(connection, draft, None, now - timedelta(hours=24), _now(), "bench")
    await database.dispose()
    return run_id


async def _result(database: Database, run_id: UUID) -> Any:
    async with transaction(database.engine()) as connection:
        run = await read_run(connection, run_id)
    await database.dispose()
    return run


async def _open(database: Database, users: list[UUID], now: datetime) -> None:
    async with transaction(database.engine()) as connection:
        for number, user in enumerate(users):
            row = {"label": f"u{number}", "profile_wallet": f"0x{number}", "enabled": True, "followed_at": now}
            await connection.execute(insert(FollowedUser).values(id=user, **row))
        for owner in [None, *users]:
            scope = Scope.EXEC_GLOBAL if owner is None else Scope.EXEC_USER
            of = {"scope": scope.value, "user_id": owner}
            identity, opened = portfolio_id(scope, owner), now - timedelta(days=2)
            await connection.execute(
                insert(Portfolio).values(
                    id=identity, opened_at=opened, cash_micros=BANKROLL, deposits_micros=BANKROLL, **of
                )
            )
            entry = {"entry_type": "DEPOSIT", "share_delta_micros": 0, "cash_delta_micros": BANKROLL, "ref_id": "x"}
            times = {"event_time": opened, "created_at": opened}
            await connection.execute(
                insert(LedgerEntry).values(id=uuid4(), portfolio_id=identity, **of, **entry, **times)
            )
        for number in range(MARKETS):
            row = {
                "condition_id": _condition(number), "id": str(number), "question": "?", "slug": "q", "active": True,
                "closed": False, "close_time": None, "accepting_orders": True, "neg_risk": False, "fee_rate": "0.07",
                "fee_exponent": 1, "tick_micros": 10_000, "version": "v1", "resolved": False, "refreshed_at": now,
            }  # fmt: skip
            await connection.execute(insert(Market).values(row))
            for outcome in range(2):
                place = {"outcome_index": outcome, "name": str(outcome), "condition_id": _condition(number)}
                await connection.execute(insert(OutcomeAsset).values(asset_id=_asset(number, outcome), **place))
        await connection.execute(text(_MARKS))


def _condition(number: int) -> str:
    return f"0x{number:064x}"


def _asset(number: int, outcome: int) -> str:
    return f"{10**76 + number * 2 + outcome}"


def _group(number: int, user: UUID) -> dict[str, Any]:
    """Return a group of a tape on which one in three fills is a sale."""
    market, first = number % MARKETS, _now() - timedelta(seconds=4) + timedelta(microseconds=number % CHUNK)
    return {
        "id": uuid4(), "kind": "TRADE", "user_id": user, "condition_id": _condition(market),
        "asset_id": _asset(market, 0), "side": "SELL" if number % 3 == 2 else "BUY", "share_micros": 2_000_000_000,
        "usdc_notional_micros": 1_000_000_000, "reference_price_micros": 500_000,
        "first_event_time": first - timedelta(seconds=1), "first_detect_time": first, "first_ordinal": number,
        "closed_at": first + timedelta(seconds=2),
    }  # fmt: skip


def _book(asset: str, number: int) -> Book:
    bids = tuple(Level(495_000 - place * 1_000, 90_000_000 + number) for place in range(LEVELS))
    asks = tuple(Level(500_000 + place * 1_000, 90_000_000 + number) for place in range(LEVELS))
    return Book(asset, f"h{number}", number, bids, asks)


def _by_portfolio(scope: Scope, groups: list[Group]) -> Mapping[UUID, list[Group]]:
    found: dict[UUID, list[Group]] = {}
    for group in sorted(groups, key=lambda each: each.order):
        lane = group.user_id if scope is Scope.EXEC_USER else None
        found.setdefault(portfolio_id(scope, lane), []).append(group)
    return found


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.stdout.write(
        json.dumps(measure_config_test(int(sys.argv[1]) if len(sys.argv) > 1 else GROUPS), indent=1) + "\n"
    )
