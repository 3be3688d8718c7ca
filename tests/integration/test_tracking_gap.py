"""Tracking gaps read from real books: sums to the micro, causes, periods, and reorganised fills."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from libs.common.db.settings import UnknownUserError
from libs.common.db.tables.config import EffectiveConfig
from libs.common.db.tables.groups import EventGroup, EventGroupMember
from libs.common.db.tables.markets import MarketPriceSnapshot
from libs.common.db.tracking_gap import UserGap, read_gaps
from libs.common.domain.kinds import Scope
from services.ledger.core import entries
from services.ledger.core.entries import Owner, Posting
from tests.integration.test_ledger import LEGS, OTTER, START, World
from tests.support.databases import Database

pytestmark = pytest.mark.integration

USDC = 1_000_000
LATER = START + timedelta(days=3650)
"""After everything that the tests post, whose entries bear the clock of the database."""


class Copied(World):
    """Books in which groups of fills meet attempts."""

    async def begin(self) -> None:
        await self.follow()
        await self.market()
        await self.write(EffectiveConfig, scope="GLOBAL", values={"copy_pct": "1"}, effective_at=START)

    async def group(self, *events: UUID) -> UUID:
        group = uuid4()
        await self.write(
            EventGroup, id=group, kind="TRADE", user_id=OTTER, asset_id=LEGS[0], share_micros=1, usdc_notional_micros=1,
            first_event_time=START, first_detect_time=START, first_ordinal=0, closed_at=START,
        )  # fmt: skip
        for place, event in enumerate(events):
            await self.write(EventGroupMember, event_id=event, group_id=group, position=place)
        return group

    async def decide(self, group: UUID, shares: int = 0, notional: int = 0, fee: int = 0, **changes: Any) -> UUID:
        row = {
            "group_id": group, "config_version": 1, "mid_price_micros": 510_000, "target_notional_micros": notional,
            "decision": "EXECUTE" if shares else "SKIP",
        }  # fmt: skip
        attempt = await self.attempt(Scope.EXEC_USER, shares, notional, fee, **(row | changes))
        if shares:
            await self.execute(Scope.EXEC_USER, attempt)
        return attempt

    async def gap(self, **window: Any) -> UserGap:
        (found,) = await read_gaps(self.database.engine(), LATER, **window)
        return found

    async def take_back(self, event: UUID) -> None:
        async with self.database.engine().begin() as connection:
            await connection.execute(text("UPDATE trade_event SET status = 'REVERSED' WHERE id = :id"), {"id": event})
        await self.post(event)

    async def mark_at(self, asset: str, price: int, at: datetime) -> None:
        await self.write(MarketPriceSnapshot, asset_id=asset, at=at, price_micros=price, source="MIDPOINT")

    async def pnl(self, scope: Scope) -> int:
        newest = (await self.snapshots(scope))[-1]
        return int(newest.equity_micros - newest.deposits_micros + newest.withdrawals_micros)


@pytest.fixture
async def copied(database: Database) -> Copied:
    world = Copied(database)
    await world.begin()
    return world


def copied_at(raw: int, target: int) -> list[dict[str, Any]]:
    """The size check of a decision whose target was cut from `raw` to `target`."""
    value = {"copied": raw, "maximum": target}
    return [{"phase": "size", "check": "minimum", "verdict": "pass", "value": value, "bound": 5 * USDC}]


async def test_a_copy_and_a_skip_sum_to_what_both_portfolios_made(copied: Copied) -> None:
    await copied.mark(LEGS[0], 600_000)
    first = await copied.fill("BUY", 10_000 * USDC, 5_000 * USDC, fee=80 * USDC)
    second = await copied.fill("SELL", 4_000 * USDC, 2_400 * USDC)
    await copied.post(first, second)
    # 1% of 5,000 is 50, cut to 40; 78 shares at 0.512
    await copied.decide(
        await copied.group(first), 78 * USDC, 39_936_000, 680_000, checks=copied_at(50 * USDC, 40 * USDC),
        target_notional_micros=40 * USDC,
    )  # fmt: skip
    await copied.decide(await copied.group(second), reason_codes=["SPREAD_TOO_WIDE"])
    found = await copied.gap()
    assert found.shadow_pnl_micros == await copied.pnl(Scope.SHADOW_USER) == 920 * USDC
    assert found.gap.ours_micros == await copied.pnl(Scope.EXEC_USER) == 6_184_000
    # the skipped SELL would have sold 40 shares at 0.60, where they are marked: it cost nothing
    assert found.gap.size_micros == {"CLAMP": -2 * USDC, "PARTIAL_OR_LOTS": -200_000}
    assert (found.gap.drift_micros, found.gap.spread_and_depth_micros) == (-780_000, -156_000)
    assert (found.gap.fees_micros, found.gap.residual_micros) == (120_000, 0)


async def test_what_is_not_decided_an_opening_and_a_conversion_have_causes_of_their_own(copied: Copied) -> None:
    await copied.mark(LEGS[0], 500_000)
    await copied.post(await copied.fill("BUY", 1_000 * USDC, 400 * USDC))
    again = await copied.fill("BUY", 1_000 * USDC, 300 * USDC, incarnation=1)
    await copied.post(again)
    found = await copied.gap()
    assert found.gap.size_micros == {"MINED_AGAIN": -2 * USDC, "UNDECIDED": -USDC}
    assert (found.gap.gap_micros, found.gap.residual_micros) == (-3 * USDC, 0)


async def test_a_copied_fill_that_the_chain_took_back_stays_ours_alone(copied: Copied) -> None:
    await copied.mark(LEGS[0], 600_000)
    event = await copied.fill("BUY", 10_000 * USDC, 5_000 * USDC)
    await copied.post(event)
    await copied.decide(
        await copied.group(event), 100 * USDC, 51 * USDC, checks=copied_at(50 * USDC, 250 * USDC),
        target_notional_micros=50 * USDC,
    )  # fmt: skip
    await copied.take_back(event)
    found = await copied.gap()
    assert found.shadow_pnl_micros == await copied.pnl(Scope.SHADOW_USER) == 0
    assert found.gap.gap_micros == await copied.pnl(Scope.EXEC_USER) == 9 * USDC
    assert found.gap.size_micros == {"REVERSED": 9 * USDC}  # 100 shares from the mid of 0.51 to 0.60
    assert (found.gap.spread_and_depth_micros, found.gap.residual_micros) == (0, 0)


async def test_a_period_counts_what_was_posted_before_by_how_its_marks_moved(copied: Copied) -> None:
    await copied.mark(LEGS[0], 500_000)
    await copied.post(await copied.fill("BUY", 1_000 * USDC, 500 * USDC))
    (posted,) = await copied.rows("SELECT max(created_at) AS at FROM ledger_entry")
    await copied.mark_at(LEGS[0], 700_000, posted.at + timedelta(seconds=1))
    whole, since = await copied.gap(), await copied.gap(since=posted.at)
    assert whole.gap.size_micros == since.gap.size_micros == {"UNDECIDED": -2 * USDC}
    assert since.shadow_pnl_micros == 200 * USDC
    before = await read_gaps(copied.database.engine(), posted.at)
    assert before[0].gap.gap_micros == 0


async def test_an_asset_without_a_mark_is_worth_its_cost(copied: Copied) -> None:
    await copied.post(await copied.fill("BUY", 1_000 * USDC, 500 * USDC))
    found = await copied.gap()
    assert (found.shadow_pnl_micros, found.gap.gap_micros, found.gap.residual_micros) == (0, 0, 0)


async def test_shares_given_away_of_an_asset_never_marked_leave_nothing_unexplained(copied: Copied) -> None:
    await copied.post(await copied.fill("BUY", 300 * USDC, 243 * USDC))
    owner = Owner(Scope.SHADOW_USER, OTTER)
    given = entries.adjustment(
        Posting(owner, "away", START), LEGS[0], share_delta_micros=-120 * USDC, cash_delta_micros=0
    )
    await copied.books.post_entries([given])
    found = await copied.gap()
    assert found.shadow_pnl_micros == await copied.pnl(Scope.SHADOW_USER) == -97_200_000
    assert found.gap.size_micros == {"CONVERSION": 972_000}
    assert found.gap.residual_micros == 0


async def test_an_unknown_label_is_refused(copied: Copied) -> None:
    with pytest.raises(UnknownUserError, match="got 'nobody'"):
        await read_gaps(copied.database.engine(), LATER, user="nobody")
