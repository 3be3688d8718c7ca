"""Openings and conversions from the wire to the books: a real sandbox, ingest and ledger, Postgres and Redis."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from structlog.testing import capture_logs

from services.cli.stack.ports import free_port
from services.ingest import app as ingest
from services.ingest.commands import compare_positions, follow, request_reconcile, unfollow
from services.ingest.settings import Settings as IngestSettings
from services.ledger import app as ledger
from services.ledger.commands import verify
from services.ledger.settings import Settings as LedgerSettings
from services.sandbox.timeline import wall_clock_ms
from tests.support.databases import Database
from tests.support.sandbox import (
    HERON,
    OTTER,
    START_MS,
    HandClock,
    RunningSandbox,
    ended,
    head,
    market,
    row,
    running_sandbox,
    write_tape,
)
from tests.support.sandbox import until as sandbox_until

pytestmark = pytest.mark.integration

SETTLE_SECONDS = 1.2
EVENT = {"events": [{"id": "77", "slug": "who-wins", "title": "Who wins?"}], "negRisk": True}
MARKETS = [market(f"0xc{n}", f"{n}001", f"{n}002", **EVENT) for n in (1, 2, 3)] + [market("0xc9", "9001", "9002")]
PRICE = {"1001": 0.2, "1002": 0.8, "2001": 0.3, "9001": 0.65, "9002": 0.35}


def position(wallet: str, token: str, size: float, **more: Any) -> dict[str, Any]:
    return {
        "proxy_wallet": wallet,
        "token_id": token,
        "condition_id": f"0xc{token[0]}",
        "current_size": size,
        "current_price": PRICE[token],
        "event_id": "77" if token[0] != "9" else "",
        "archived": False,
        "last_event_at": START_MS // 1000 - 900,
    } | more


HELD = [
    position(OTTER, "1002", 100.0),
    position(OTTER, "9001", 40.0),
    position(OTTER, "2001", 0.03, archived=True),
    position(HERON, "9001", 7.5),
    position(HERON, "9002", 12.0),
]


def fills(token: str, condition: str, start: int, *plan: tuple[int, str, float, str]) -> list[dict[str, Any]]:
    return [
        row(start + n, at_ms, wallet=who, condition_id=condition, token_id=token, side=side, size=size,
            usdc_size=size * 0.5)
        for n, (at_ms, side, size, who) in enumerate(plan)
    ]  # fmt: skip


def conversion(number: int, at_ms: int, condition: str, size: float, cash: float = 0.0) -> dict[str, Any]:
    blank: dict[str, Any] = {"type": "CONVERSION", "token_id": "", "side": "", "price": 0}
    return row(number, at_ms, condition_id=condition, size=size, usdc_size=cash, **blank)


ACTIVITY = [
    *fills("9001", "0xc9", 10, (500, "SELL", 40, OTTER), (900, "BUY", 5, HERON), (2600, "BUY", 3, OTTER)),
    *fills("9002", "0xc9", 20, (700, "SELL", 12, HERON), (2200, "BUY", 4, OTTER)),
    row(30, 1_000, type="SPLIT", condition_id="0xc9", token_id="", side="", size=6, usdc_size=6),
    conversion(40, 5_000, "0xc1", 60),
]
WHAT_IS_HELD = {"1002": 40.0, "2001": 60.03, "3001": 60.0, "9001": 40 - 40 + 3 + 6 + 7.5 + 5, "9002": 6 + 4}


def write(folder: Path) -> Path:
    resolved = {"condition_id": "0xc9", "status": "resolved", "payouts": [1_000_000, 0], "_at_ms": START_MS + 7_000}
    return write_tape(folder, head(7_500), activity=ACTIVITY, markets=MARKETS, positions=HELD, resolutions=[resolved])


@asynccontextmanager
async def services(
    database: Database,
    redis_url: str,
    sandbox: RunningSandbox,
    *,
    ingests: int = 1,
    chain: bool = True,
    settle_seconds: float = SETTLE_SECONDS,
) -> AsyncIterator[None]:
    """Run ingests and a ledger in this loop."""
    stop = asyncio.Event()
    common: dict[str, Any] = {"redis_url": SecretStr(redis_url)}
    tasks = [
        asyncio.create_task(
            ingest.serve(
                IngestSettings(
                    database_url=SecretStr(database.url("ingest")), instance=f"ingest-{number}", http_port=free_port(),
                    data_api_url=sandbox.data_api_url, clob_url=sandbox.clob_url, gamma_url=sandbox.gamma_url,
                    rpc_ws_url=SecretStr(sandbox.rpc_ws_url) if chain else None,
                    positions_settle_seconds=settle_seconds, **common,
                ),
                stop,
            )
        )
        for number in range(ingests)
    ]  # fmt: skip
    books = LedgerSettings(
        database_url=SecretStr(database.url("ledger")), instance="ledger-0", http_port=free_port(), **common
    )
    tasks.append(asyncio.create_task(ledger.serve(books, stop)))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await asyncio.gather(*tasks)


async def rows(database: Database, query: str) -> Sequence[Any]:
    async with database.engine().connect() as connection:
        return (await connection.execute(text(query))).all()


async def unfollow_heard(database: Database, wallet: str) -> None:
    """Unfollow a wallet, and wait until ingest, which runs in this loop, knows."""
    with capture_logs() as lines:
        await unfollow(database.url(), wallet)
        await sandbox_until(lambda: _said(lines, "follows_changed", wallet))


async def _said(lines: Sequence[Mapping[str, Any]], event: str, wallet: str) -> bool:
    return any(line["event"] == event and wallet in line["gone"] for line in lines)


async def until(database: Database, query: str, expected: Any, seconds: float = 30) -> None:
    """Wait until a query gives one value."""
    found: Any = None
    try:
        async with asyncio.timeout(seconds):
            while (found := (await rows(database, query))[0][0]) != expected:  # noqa: ASYNC110  it is in Postgres
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{query}: expected {expected}, still {found}") from None


OPENED = """SELECT count(*) FROM system_checkpoint c JOIN followed_user_proxy_wallet w ON c.key = 'opening:' || w.wallet
WHERE (c.value->>'followed_at')::timestamptz = w.followed_at"""
UNPOSTED = """SELECT count(*) FROM position_sync s WHERE NOT EXISTS (
  SELECT FROM ledger_entry l WHERE (l.ref_id, l.entry_type, l.asset_id) = (s.ref_id, s.kind, s.asset_id))"""
ADJUSTED = "SELECT count(DISTINCT event_id) FROM position_sync WHERE event_id IS NOT NULL"


async def shadow(database: Database) -> dict[str, float]:
    found = await rows(
        database,
        """SELECT asset_id, sum(share_delta_micros) AS n FROM ledger_entry
           WHERE scope = 'SHADOW_USER' AND entry_type <> 'SETTLEMENT' AND asset_id IS NOT NULL
           GROUP BY asset_id HAVING sum(share_delta_micros) <> 0""",
    )
    return {each.asset_id: int(each.n) / 1e6 for each in found}


async def entries(database: Database, kind: str) -> list[tuple[str, int]]:
    found = await rows(
        database,
        f"SELECT asset_id, share_delta_micros AS n FROM ledger_entry WHERE entry_type = '{kind}' ORDER BY 1, 2",  # noqa: S608
    )
    return [(each.asset_id, each.n) for each in found]


HELD_MICROS = sorted((each["token_id"], round(each["current_size"] * 1e6)) for each in HELD)


@pytest.mark.parametrize("case", ["read before play", "followed amid the fills", "no websocket, two ingests"])
async def test_openings_and_a_conversion_are_booked_once_and_settle(
    case: str, database: Database, redis_url: str, tmp_path: Path
) -> None:
    late, clock = case == "followed amid the fills", HandClock()
    sandbox_of = running_sandbox(tape=write(tmp_path), clock=clock if late else wall_clock_ms)
    async with sandbox_of as sandbox, AsyncExitStack() as running:
        wait = services(database, redis_url, sandbox, ingests=1 + ("two" in case), chain="no web" not in case)
        if late:
            # Nobody looks while the first fills happen: the reading comes after them, the activity tells them.
            for wallet in (OTTER, HERON):
                await follow(database.url(), wallet, "both")
            await sandbox.play()
            clock.reach(4_900)
        await running.enter_async_context(wait)
        if late:
            await until(database, OPENED, 2)
            clock.reach(8_000)
        else:
            for wallet in (OTTER, HERON):
                await follow(database.url(), wallet, "both")
            await until(database, "SELECT count(*) FROM position_sync", len(HELD))
            await until(database, UNPOSTED, 0)
            await check_no_profit(database)
            await sandbox.play()
        await sandbox_until(lambda: ended(sandbox), 30)
        await check_books(database, redis_url)


async def test_an_ingest_that_dies_between_reading_and_conversion_opens_what_it_read(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    async with running_sandbox(tape=write(tmp_path)) as sandbox:
        # It reads, books what was left alone since the follow, and dies while it waits for activity.
        async with services(database, redis_url, sandbox, settle_seconds=600):
            for wallet in (OTTER, HERON):
                await follow(database.url(), wallet, "both")
            await until(database, "SELECT count(*) FROM position_sync", len(HELD))
        await sandbox.play()
        await sandbox_until(lambda: ended(sandbox), 30)
        async with services(database, redis_url, sandbox):
            await check_books(database, redis_url)


async def test_a_conversion_before_the_reading_is_counted_by_the_openings_alone(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    async with running_sandbox(tape=write(tmp_path)) as sandbox:
        for wallet in (OTTER, HERON):
            await follow(database.url(), wallet, "both")
        await sandbox.play()
        await sandbox_until(lambda: ended(sandbox), 30)
        async with services(database, redis_url, sandbox):
            await settle(database, redis_url)
            assert await shadow(database) == WHAT_IS_HELD
            assert [shares for _, shares in await entries(database, "ADJUSTMENT")] == [0]


async def settle(database: Database, redis_url: str) -> None:
    """Wait until all is posted."""
    await request_reconcile(database.url(), redis_url, hours=1)
    await until(database, ADJUSTED, 1)
    await until(database, OPENED, 2)
    await until(database, UNPOSTED, 0)
    await until(database, "SELECT count(*) FROM ledger_entry WHERE entry_type = 'TRADE_FILL'", 5)
    await until(database, "SELECT count(*) FROM ledger_entry WHERE entry_type = 'SPLIT'", 2)


async def check_books(database: Database, redis_url: str) -> None:
    """What was held at the follow is opened, the conversion adjusts, and nothing else, once all is posted."""
    await settle(database, redis_url)
    assert await shadow(database) == WHAT_IS_HELD
    assert await entries(database, "OPENING") == HELD_MICROS
    assert await entries(database, "ADJUSTMENT") == [
        ("1002", -60_000_000),
        ("2001", 60_000_000),
        ("3001", 60_000_000),
    ]
    refs = Counter(
        each.ref_id for each in await rows(database, "SELECT ref_id FROM position_sync WHERE kind = 'OPENING'")
    )
    assert len(refs) == len(HELD)
    assert [str(each) for each in await verify(database.url())] == []


async def check_no_profit(database: Database) -> None:
    """The opening portfolio is a deposit: nothing gained, nothing in cash, equity is what it is worth."""
    [found] = await rows(
        database,
        """SELECT f.cash_micros, f.deposits_micros, f.realized_pnl_micros, s.equity_micros
           FROM portfolio f JOIN LATERAL (SELECT equity_micros FROM portfolio_snapshot
             WHERE portfolio_id = f.id ORDER BY at DESC LIMIT 1) s ON true WHERE f.scope = 'SHADOW_USER'""",
    )
    worth = sum(round(each["current_size"] * each["current_price"] * 1e6) for each in HELD)
    assert tuple(found) == (0, worth, 0, worth)


async def check_comparison(database: Database, redis_url: str, sandbox: RunningSandbox) -> None:
    """Every position equals the exchange's; one that is off by a micro is named."""
    found = (await compare_positions(database.url(), redis_url, sandbox.data_api_url)).positions
    assert {each.asset_id: each.verdict for each in found} == dict.fromkeys(("1002", "2001", "9001"), "equal")
    for step in ("+ 1", "- 1"):
        async with database.engine().begin() as connection:
            await connection.execute(
                text(f"UPDATE position SET share_micros = share_micros {step} WHERE asset_id = '1002'")  # noqa: S608
            )
        if step == "+ 1":
            found = (await compare_positions(database.url(), redis_url, sandbox.data_api_url)).positions
            [off] = [each for each in found if each.verdict != "equal"]
            assert (off.asset_id, off.difference_micros, off.verdict) == ("1002", 1, "different")


async def test_a_wallet_followed_again_is_brought_to_what_it_holds_then(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    async with running_sandbox(tape=write(tmp_path)) as sandbox, services(database, redis_url, sandbox):
        await follow(database.url(), OTTER, "otter")
        await until(database, OPENED, 1)
        await until(database, UNPOSTED, 0)
        await check_comparison(database, redis_url, sandbox)
        await unfollow_heard(database, OTTER)
        await sandbox.play()
        await sandbox_until(lambda: ended(sandbox), 30)
        # All of the tape happened unseen: the second opening is the difference, and what is less is believed in time.
        await follow(database.url(), OTTER)
        await until(database, OPENED, 1)
        await until(database, UNPOSTED, 0)
        assert await shadow(database) == {"1002": 40.0, "2001": 60.03, "3001": 60.0, "9001": 9.0, "9002": 10.0}
        assert await entries(database, "TRADE_FILL") == []
        assert ("9001", -31_000_000) in await entries(database, "OPENING")
        assert [str(each) for each in await verify(database.url())] == []
