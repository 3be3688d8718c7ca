"""Books to look at: a month of copying, its first minutes, or nothing yet; written as the services would have.

`python -m tests.support.seed_ui DATABASE_URL month|minutes|watching|empty` fills a migrated, empty database.
"""

import asyncio
import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID, uuid5

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.checkpoints import save_checkpoint
from libs.common.db.engine import make_engine
from libs.common.db.tables.attempts import CopyAttempt
from libs.common.db.tables.config import EffectiveConfig
from libs.common.db.tables.events import TradeEvent
from libs.common.db.tables.groups import EventGroup
from libs.common.db.tables.ledger import LedgerEntry, Portfolio, PortfolioSnapshot, Position, PositionSource
from libs.common.db.tables.markets import Market, MarketPriceSnapshot, OutcomeAsset
from libs.common.db.tables.users import FollowedUser, FollowedUserProxyWallet
from libs.common.domain.config import CopyConfig, document

Scene = Literal["month", "minutes", "watching", "empty"]
SCENES: tuple[Scene, ...] = ("month", "minutes", "watching", "empty")
NAMESPACE = UUID("6d0f3f0e-3f6c-4f0a-9a55-0d5b6f0f6a11")
USD = 1_000_000
BANKROLL = 10_000 * USD
ROWS_AT_ONCE = 2_000
USERS = (
    "Harbourmaster",
    "quiet-otter",
    "LateCaller",
    "0xMarlowe",
    "north-sea-92",
    "Basilisk",
    "tinfoil",
    "PennyDreadful",
)
MARKETS = (
    ("ECB cuts rates in December?", "Yes", "No", 614_000, 460),
    ("Bitcoin above $120k on 31 December?", "Yes", "No", 389_000, 388),
    ("Celtics beat Lakers, 24 November", "Celtics", "Lakers", 570_000, 302),
    ("Government shutdown ends before December?", "Yes", "No", 825_000, 260),
    ("Highest temperature in London on 23 November: 11 °C or 12 °C?", "Yes", "No", 241_000, 215),
    ("Chilean presidential election: winner", "Kast", "Jara", 713_000, 180),
    ("Best Picture: which film?", "Hamnet", "Other", 455_000, 95),
)
REASONS = (
    ("SPREAD_TOO_WIDE", 38, -12),
    ("INSUFFICIENT_DEPTH", 27, -17),
    ("WORSE_THAN_THEIR_PRICE", 21, 9),
    ("MARKET_CLOSING_SOON", 13, 20),
    ("STALE_EVENT", 7, -14),
    ("RISK_CAP_MARKET", 5, -6),
)
PROCESSES = ("ingest", "grouper", "simulator-user", "simulator-global", "ledger", "pricer")


def key(*parts: object) -> UUID:
    return uuid5(NAMESPACE, "/".join(map(str, parts)))


def walk(rng: random.Random, points: int, end: int, roughness: int) -> list[int]:
    """A random walk from 0 to `end`."""
    values, at = [0], 0
    for _ in range(points - 1):
        at += rng.randint(-roughness, roughness)
        values.append(at)
    drift = end - values[-1]
    return [value + drift * i // max(1, points - 1) for i, value in enumerate(values)]


@dataclass(frozen=True, slots=True)
class Seed:
    """Writes one scene."""

    connection: AsyncConnection
    now: datetime
    scene: Scene
    labels: tuple[str, ...] = USERS

    @property
    def opened_at(self) -> datetime:
        return self.now - (timedelta(days=26, hours=5) if self.scene == "month" else timedelta(minutes=4, seconds=20))

    async def write(self) -> None:
        if self.scene == "empty":
            return
        await self.users()
        await self.config()
        if self.scene == "watching":
            return
        await self.markets()
        await self.portfolios()
        await self.positions()
        await self.attempts()

    async def rows(self, table: Any, rows: Iterable[dict[str, Any]]) -> None:
        every = list(rows)
        for start in range(0, len(every), ROWS_AT_ONCE):
            await self.connection.execute(insert(table.__table__), every[start : start + ROWS_AT_ONCE])

    async def users(self) -> None:
        wallets = {label: f"0x{key('wallet', label).hex:0>40}" for label in self.labels}
        await self.rows(
            FollowedUser,
            (
                {
                    "id": key("user", label),
                    "label": label,
                    "profile_wallet": wallets[label],
                    "enabled": label != "tinfoil",
                    "followed_at": self.opened_at,
                }
                for label in self.labels
            ),
        )
        await self.rows(
            FollowedUserProxyWallet,
            (
                {"wallet": wallets[label], "user_id": key("user", label), "followed_at": self.opened_at}
                for label in self.labels
            ),
        )

    async def config(self) -> None:
        values = document(CopyConfig())
        await self.rows(EffectiveConfig, [{"scope": "GLOBAL", "values": values, "effective_at": self.opened_at}])

    async def markets(self) -> None:
        for number, (question, first, second, price, _) in enumerate(MARKETS):
            await self.rows(
                Market,
                [
                    {
                        "condition_id": condition(number),
                        "id": str(number),
                        "question": question,
                        "slug": f"market-{number}",
                        "close_time": self.now + timedelta(days=9),
                        "active": True,
                        "closed": False,
                        "accepting_orders": True,
                        "neg_risk": False,
                        "fee_rate": Decimal("0.02"),
                        "fee_exponent": Decimal(1),
                        "tick_micros": 1_000,
                        "version": "V2",
                        "resolved": False,
                        "refreshed_at": self.now,
                    }
                ],
            )
            await self.rows(
                OutcomeAsset,
                (
                    {"asset_id": asset(number, i), "condition_id": condition(number), "outcome_index": i, "name": name}
                    for i, name in enumerate((first, second))
                ),
            )
            marks = ((asset(number, 0), price), (asset(number, 1), USD - price))
            await self.rows(
                MarketPriceSnapshot,
                (
                    {
                        "asset_id": each,
                        "at": self.now - timedelta(seconds=14),
                        "price_micros": mark,
                        "source": "MIDPOINT",
                    }
                    for each, mark in marks
                ),
            )

    async def portfolios(self) -> None:
        rng = random.Random(92)  # noqa: S311  repeatable pictures
        month = self.scene == "month"
        await self.portfolio(
            "EXEC_GLOBAL", None, BANKROLL, 412_360_000 if month else 1_840_000, rng, 7_000_000 if month else 400_000
        )
        results = (38.2, 51.72, 33.08, 24.9, 19.85, 12.63, -8.4, -3.11)
        shadows = (61.84, 48.1, 92.45, 30.02, 27.66, 74.2, -2.1, 6.4)
        for i, label in enumerate(self.labels):
            ours, theirs = int(results[i % 8] * USD), int(shadows[i % 8] * 100 * USD)
            if not month:
                ours, theirs = ours // 50, theirs // 50
            await self.portfolio("EXEC_USER", label, BANKROLL, ours, rng, 1_800_000 if month else 60_000)
            await self.portfolio("SHADOW_USER", label, 45_000 * USD, theirs, rng, 180_000_000 if month else 9_000_000)

    async def portfolio(
        self, scope: str, label: str | None, deposits: int, pnl: int, rng: random.Random, roughness: int
    ) -> None:
        own = key("portfolio", scope, label)
        user = None if label is None else key("user", label)
        exposure = 4_290 * USD if label is None else 900 * USD
        fees = 14_300_000 if label is None else 1_790_000
        row: dict[str, Any] = {
            "id": own,
            "scope": scope,
            "user_id": user,
            "opened_at": self.opened_at,
            "cash_micros": deposits + pnl - exposure,
            "deposits_micros": deposits,
            "withdrawals_micros": 0,
            "fees_micros": 0 if scope == "SHADOW_USER" else fees,
            "realized_pnl_micros": pnl // 2,
            "decision_seq": 0,
            "drawdown_tripped": False,
        }
        await self.rows(Portfolio, [row])
        every = timedelta(minutes=15 if label is None else 60) if self.scene == "month" else timedelta(minutes=1)
        minute = self.opened_at.replace(second=0, microsecond=0)
        count = int((self.now - minute) / every) + 1
        values = walk(rng, count, pnl, roughness)
        await self.rows(
            PortfolioSnapshot,
            (
                {
                    "portfolio_id": own,
                    "at": minute + i * every,
                    "equity_micros": deposits + value,
                    "cash_micros": deposits + value - exposure,
                    "exposure_micros": exposure,
                    "unrealized_pnl_micros": value // 2,
                    "realized_pnl_micros": value - value // 2,
                    "deposits_micros": deposits,
                    "withdrawals_micros": 0,
                    "fees_micros": row["fees_micros"],
                }
                for i, value in enumerate(values)
            ),
        )

    async def positions(self) -> None:
        own = key("portfolio", "EXEC_GLOBAL", None)
        effects = (88.12, 41.06, 27.4, 12.91, -6.72, -18.3, 4.2)
        for number, (*_, price, value) in enumerate(MARKETS):
            shares = value * USD * USD // price
            cost = value * USD - int(effects[number] * USD)
            await self.rows(
                Position,
                [
                    {
                        "portfolio_id": own,
                        "asset_id": asset(number, 0),
                        "condition_id": condition(number),
                        "share_micros": shares,
                        "cost_micros": cost,
                        "realized_pnl_micros": 0,
                        "flags": [],
                        "updated_at": self.now,
                    }
                ],
            )
            holder = self.labels[0 if number < 4 else number % len(self.labels)]
            await self.rows(
                PositionSource,
                [{"asset_id": asset(number, 0), "source_user_id": key("user", holder), "share_micros": shares}],
            )
            await self.entries(own, number, cost, shares)

    async def entries(self, own: UUID, number: int, cost: int, shares: int) -> None:
        """Two closed episodes in the other outcome, then the open position."""
        at = self.opened_at
        won, lost = 30 * USD, 24 * USD
        postings = (
            (asset(number, 1), "a", 50 * USD, -25 * USD, "TRADE_FILL"),
            (asset(number, 1), "b", -50 * USD, won if number % 3 else lost, "TRADE_FILL"),
            (asset(number, 1), "b", 0, -200_000, "FEE"),
            (asset(number, 1), "c", 40 * USD, -20 * USD, "TRADE_FILL"),
            (asset(number, 1), "d", -40 * USD, 21 * USD if number % 2 else 19 * USD, "SETTLEMENT"),
            (asset(number, 0), "e", shares, -cost, "TRADE_FILL"),
        )
        await self.rows(
            LedgerEntry,
            (
                {
                    "id": key("entry", number, i),
                    "portfolio_id": own,
                    "scope": "EXEC_GLOBAL",
                    "condition_id": condition(number),
                    "asset_id": which,
                    "entry_type": kind,
                    "share_delta_micros": delta,
                    "cash_delta_micros": cash,
                    "ref_id": f"{number}-{ref}",
                    "event_time": at + timedelta(seconds=i),
                    "created_at": at + timedelta(seconds=i),
                }
                for i, (which, ref, delta, cash, kind) in enumerate(postings)
            ),
        )
        await self.rows(
            Position,
            [
                {
                    "portfolio_id": own,
                    "asset_id": asset(number, 1),
                    "condition_id": condition(number),
                    "share_micros": 0,
                    "cost_micros": 0,
                    "realized_pnl_micros": 5 * USD,
                    "episodes_closed": 2,
                    "episodes_won": (number % 3 > 0) + number % 2,
                    "flags": [],
                    "updated_at": self.now - timedelta(hours=number),
                }
            ],
        )

    async def attempts(self) -> None:
        rng = random.Random(7)  # noqa: S311  repeatable pictures
        skips = [(code, effect) for code, count, effect in REASONS for _ in range(count)]
        rng.shuffle(skips)
        plan: list[tuple[str, int] | None] = [each for skip in skips for each in (skip, None)]
        if self.scene == "minutes":
            plan = plan[:9]
        step = (self.now - self.opened_at) / (len(plan) + 1)
        ages = [timedelta(seconds=s) for s in (5, 31, 64, 128, 190, 300, 425, 610)]
        groups, made, events = [], [], []
        for i, skip in enumerate(reversed(plan)):
            age = ages[i] if i < len(ages) and self.scene == "month" else step * (i + 1) / 1
            at = max(self.now - age, self.opened_at)
            number, label = rng.randrange(len(MARKETS)), self.labels[rng.randrange(len(self.labels))]
            side, price = ("SELL", 600_000) if rng.random() < 0.3 else ("BUY", MARKETS[number][3])
            their = rng.randint(400, 4200) * USD
            target = max(5 * USD, their // 100)
            groups.append(self.group(i, number, label, side, their, price, at))
            made.append(self.attempt(i, number, label, side, target, price, at, skip, partial=i == 3))
            events.append(self.event(i, number, label, side, their, price, at))
        await self.rows(EventGroup, groups)
        await self.rows(CopyAttempt, made)
        await self.rows(TradeEvent, events)

    def group(self, i: int, number: int, label: str, side: str, their: int, price: int, at: datetime) -> dict[str, Any]:
        return {
            "id": key("group", i),
            "kind": "TRADE",
            "user_id": key("user", label),
            "condition_id": condition(number),
            "asset_id": asset(number, 0),
            "side": side,
            "share_micros": their * USD // price,
            "usdc_notional_micros": their,
            "reference_price_micros": price,
            "first_event_time": at - timedelta(seconds=2),
            "first_detect_time": at,
            "first_ordinal": i,
            "closed_at": at,
        }

    def attempt(
        self,
        i: int,
        number: int,
        label: str,
        side: str,
        target: int,
        price: int,
        at: datetime,
        skip: tuple[str, int] | None,
        *,
        partial: bool,
    ) -> dict[str, Any]:
        filled = 0 if skip else target * (62 if partial else 100) // 100
        mark = MARKETS[number][3]
        shares = target * USD // mark
        effect = skip[1] * 10_000 if skip else 0
        worth = shares * mark // USD
        sign = 1 if side == "SELL" else -1
        codes = [skip[0]] if skip else []
        return {
            "id": key("attempt", i),
            "portfolio_id": key("portfolio", "EXEC_GLOBAL", None),
            "seq": i + 1,
            "scope": "EXEC_GLOBAL",
            "user_id": key("user", label),
            "group_id": key("group", i),
            "kind": "TRADE",
            "condition_id": condition(number),
            "asset_id": asset(number, 0),
            "side": side,
            "decision": "SKIP" if skip else "EXECUTE",
            "reason_codes": [*codes, "CHASING_MID"] if skip and i % 5 == 1 else codes,
            "due_at": at,
            "decided_at": at + timedelta(seconds=3),
            "their_reference_price_micros": price,
            "target_notional_micros": target,
            "filled_share_micros": filled * USD // price,
            "filled_notional_micros": filled,
            "counterfactual_share_micros": shares if skip else None,
            "counterfactual_notional_micros": worth - sign * effect if skip else None,
            "inputs": {},
            "checks": [],
            "posted_at": at if not skip else None,
        }

    def event(self, i: int, number: int, label: str, side: str, their: int, price: int, at: datetime) -> dict[str, Any]:
        return {
            "id": key("event", i),
            "user_id": key("user", label),
            "wallet": f"0x{key('wallet', label).hex:0>40}",
            "asset_id": asset(number, 0),
            "side": side,
            "share_micros": their * USD // price,
            "price_micros": price,
            "usdc_notional_micros": their,
            "fee_micros": 0,
            "tx_hash": f"0x{key('tx', i).hex:0>64}",
            "ordinal": 0,
            "event_time": at - timedelta(seconds=2, milliseconds=100 * (i % 14)),
            "detect_time": at,
            "first_source": "CHAIN",
            "booked": True,
        }


def condition(number: int) -> str:
    return f"0x{key('condition', number).hex:0>64}"


def asset(number: int, outcome: int) -> str:
    return str(key("asset", number, outcome).int)


async def beat_once(engine: AsyncEngine, now: datetime, *, marks_age: timedelta, down: tuple[str, ...] = ()) -> None:
    """Register every process but the dashboard, a poll of every wallet and a marking, as if all were running."""
    from sqlalchemy import select

    async with engine.begin() as connection:
        for program in PROCESSES:
            service = program.split("-")[0]
            beat = now - (timedelta(minutes=3) if program in down else timedelta(seconds=1))
            detail = {"websocket": {"state": "up", "detail": "8 wallets in 1 subscriptions"}}
            value = {
                "pid": 1,
                "host": "here",
                "http_port": 1,
                "instance": f"{program}-0",
                "started_at": (now - timedelta(hours=3)).isoformat(),
                "beat_at": beat.isoformat(),
                "status": "ok",
                "faults": {},
                "detail": detail if service == "ingest" else {},
            }
            await save_checkpoint(connection, service, f"process:{program}-0", value)
        for wallet in await connection.scalars(select(FollowedUserProxyWallet.__table__.c.wallet)):  # type: ignore[attr-defined]
            polled = {
                "completed_at": (now - timedelta(seconds=12)).isoformat(),
                "through": int(now.timestamp()),
                "rows": 3,
            }
            await save_checkpoint(connection, "ingest", f"poll:{wallet}", polled)
        marking = {"completed_at": (now - marks_age).isoformat(), "assets": 7}
        await save_checkpoint(connection, "pricer", "marking", marking)


async def seed(engine: AsyncEngine, scene: Scene, now: datetime, labels: tuple[str, ...] = USERS) -> None:
    """Write `scene` into a migrated, empty database; `engine` is the operator's."""
    async with engine.begin() as connection:
        await Seed(connection, now, scene, labels).write()
    await beat_once(engine, now, marks_age=timedelta(seconds=14))


async def _main(url: str, scene: Scene) -> None:
    engine = make_engine(url, application="seed")
    try:
        await seed(engine, scene, datetime.now(UTC))
    finally:
        await engine.dispose()


if __name__ == "__main__":
    wanted = next(each for each in SCENES if each == sys.argv[2])
    asyncio.run(_main(sys.argv[1], wanted))
