"""Breakers from real snapshots: a real ledger keeps the books that the real decisions look at, by one clock."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from libs.common.db import switches
from libs.common.db.engine import transaction
from libs.common.db.settings import write_settings
from libs.common.domain.errors import Rejected
from libs.common.domain.kinds import Scope
from services.ledger.core.entries import Owner, Posting, deposit, withdrawal
from services.ledger.store import Books
from services.simulator.commands import PortfolioBreakers, list_breakers, replay_attempts
from services.simulator.scheduler import portfolio_id
from tests.support.databases import Database
from tests.support.decisions import YES, book, levels, usdc
from tests.support.simulator_world import HERON, OTTER, World

pytestmark = pytest.mark.integration
USER, GLOBAL = Scope.EXEC_USER, Scope.EXEC_GLOBAL
WEDNESDAY = datetime(2026, 11, 18, 10, 0, tzinfo=UTC)
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
GENEROUS = {
    "copy_pct": 100, "max_trade_notional_micros": usdc(5_000), "max_trade_equity_pct": 100,
    "max_total_exposure_pct": 100, "max_exposure_per_market_pct": 100, "max_exposure_per_user_pct": 100,
    "daily_loss_limit_pct": 100, "weekly_loss_limit_pct": 100, "max_drawdown_limit_pct": 100,
}  # fmt: skip


class Play(World):
    """Otter's portfolio holds 10,000 shares bought at 0.50 of its 10,000 USDC; every part is made anew each time."""

    def __init__(self, database: Database, start: datetime) -> None:
        super().__init__(database)
        self.at = start
        self.now = lambda: self.at
        self.exchange.books_by_asset[YES] = book(levels(("0.49", "1000000")), levels(("0.50", "1000000")))

    @property
    def books(self) -> Books:
        """A ledger that has just started."""
        return Books(self.database.engine("ledger"), now=self.now)

    async def begin(self, *scopes: Scope, **limits: Any) -> None:
        await self.open(market=False, portfolios=False)
        await self.open_market(fee_rate=Decimal(0), close_time=None)
        await self.books.open_portfolios()
        async with transaction(self.database.engine("ui")) as connection:
            await write_settings(connection, {None: GENEROUS | limits}, "admin")
        await self.replica(USER).configs.merge()
        await self.decide(*(scopes or (USER,)), notional=5_000)
        await self.mark_at("0.50")

    async def decide(self, *scopes: Scope, notional: int = 5, user: UUID = OTTER, **changes: Any) -> Any:
        """Have a BUY at 0.50 decided by a simulator that has just started, and posted; return the last attempt."""
        size = {"share_micros": usdc(2 * notional), "usdc_notional_micros": usdc(notional)}
        group = await self.close_group(user=user, **size, **changes)
        for scope in scopes or (USER,):
            replica = self.replica(scope)
            await replica.hear(group)
            await replica.decide_all()
            (attempt,) = [each for each in await self.attempts(scope) if each.group_id == group]
            await self.books.post_attempts({attempt.id: attempt.portfolio_id})
        return attempt

    async def mark_at(self, price: str) -> None:
        """Mark the market, as the pricer does, and let the ledger snapshot its holders; a moment later than before."""
        self.at += timedelta(milliseconds=1)
        await self.mark(YES, price)
        await self.books.revalue([YES])

    async def flow(self, amount: int) -> None:
        posting = Posting(Owner(USER, OTTER), str(uuid4()), self.at)
        entry = deposit(posting, usdc(amount)) if amount > 0 else withdrawal(posting, usdc(-amount))
        await self.books.post_entries([entry])

    async def reset(self, scope: Scope = USER, user: UUID | None = OTTER) -> switches.Reset:
        async with transaction(self.database.engine("ui")) as connection:
            return await switches.reset_drawdown(connection, "admin", scope=scope, user=user)

    async def listed(self, scope: Scope = USER, user: str | None = "otter") -> PortfolioBreakers:
        (found,) = [
            each for each in await list_breakers(self.database.url()) if (each.scope, each.user) == (scope, user)
        ]
        return found


@pytest.mark.parametrize(
    ("limit", "at_the_limit", "beyond", "reason"),
    [
        ({"daily_loss_limit_pct": 3}, "0.47", "0.4699", "BREAKER_DAILY_LOSS"),
        ({"weekly_loss_limit_pct": 8}, "0.42", "0.4199", "BREAKER_WEEKLY_LOSS"),
        ({"max_drawdown_limit_pct": 12}, "0.38", "0.3799", "BREAKER_DRAWDOWN"),
    ],
)
async def test_losses_by_marks_trip_a_breaker_that_survives_restarts_and_stops_opens_only(
    database: Database, limit: dict[str, int], at_the_limit: str, beyond: str, reason: str
) -> None:
    play = Play(database, WEDNESDAY)
    await play.begin(**limit)
    play.at += timedelta(hours=1)
    await play.mark_at(at_the_limit)
    assert (await play.decide()).decision == "EXECUTE"
    play.at += timedelta(hours=1)
    await play.mark_at(beyond)
    assert (await play.decide()).reason_codes == [reason]  # simulator and ledger are new ones, each time
    await play.execute("DELETE FROM portfolio_snapshot WHERE extract(minute FROM at)::int % 15 <> 0")
    assert (await play.decide(age_s=3.9)).reason_codes == [reason]
    assert (await play.decide(side="SELL")).decision == "EXECUTE"
    assert (await play.decide(user=HERON)).decision == "EXECUTE"  # another portfolio
    assert not await replay_attempts(database.url())


async def test_a_day_and_a_week_start_from_the_last_snapshot_before_them(database: Database) -> None:
    play = Play(database, MONDAY - timedelta(minutes=5))
    await play.begin(daily_loss_limit_pct=3, weekly_loss_limit_pct=4)
    play.at = MONDAY - timedelta(seconds=30)
    await play.mark_at("0.46")
    sunday = await play.decide()
    assert sunday.reason_codes == ["BREAKER_DAILY_LOSS"]  # 4 % since the first deposit; the weekly bound is inclusive
    play.at = MONDAY + timedelta(minutes=1)  # the row of 00:00 itself would hold what came until 00:01
    monday = await play.decide()  # the same loss, from 23:59's 9,600
    assert (monday.decision, monday.day_start_equity_micros, monday.week_start_equity_micros) == (
        "EXECUTE", usdc(9_600), usdc(9_600),
    )  # fmt: skip
    play.at = MONDAY + timedelta(hours=12)
    await play.mark_at("0.44")
    tuesday = MONDAY + timedelta(days=1)
    play.at = tuesday + timedelta(minutes=1)
    attempt = await play.decide()
    equity = attempt.equity_micros
    assert (attempt.decision, attempt.day_start_equity_micros, attempt.week_start_equity_micros) == (
        "EXECUTE", equity, usdc(9_600),
    )  # fmt: skip
    play.at = tuesday + timedelta(hours=1)
    await play.mark_at("0.42")
    assert (await play.decide()).reason_codes == ["BREAKER_WEEKLY_LOSS"]  # some 2 % of the day, 4.2 % of the week


async def test_a_quiet_week_starts_from_the_last_snapshot_there_is(database: Database) -> None:
    play = Play(database, WEDNESDAY)
    await play.begin()
    await play.execute("DELETE FROM portfolio_snapshot WHERE at > :t", t=WEDNESDAY)
    play.at = MONDAY + timedelta(days=2)
    attempt = await play.decide()
    (at,) = (await play.execute("SELECT max(at) FROM portfolio_snapshot WHERE at <= :t", t=MONDAY))[0]
    assert (at, attempt.week_start_equity_micros) == (WEDNESDAY, usdc(10_000))


async def test_flows_move_starts_and_peak_and_are_no_loss(database: Database) -> None:
    play = Play(database, WEDNESDAY)
    await play.begin(daily_loss_limit_pct=3, max_drawdown_limit_pct=12)
    play.at += timedelta(hours=1)
    await play.flow(-4_000)
    attempt = await play.decide()
    assert (attempt.decision, attempt.equity_micros, attempt.peak_equity_micros) == (
        "EXECUTE",
        usdc(6_000),
        usdc(6_000),
    )
    await play.flow(14_000)
    await play.mark_at("0.45")  # 500 of 20,000
    attempt = await play.decide(age_s=3.9)
    assert (attempt.decision, attempt.peak_equity_micros) == ("EXECUTE", usdc(20_000))
    await play.flow(-8_000)
    attempt = await play.decide(age_s=3.8)  # the same 500 of 12,000 are too much for a day
    assert (attempt.reason_codes, attempt.peak_equity_micros) == (["BREAKER_DAILY_LOSS"], usdc(12_000))


async def test_a_drawdown_stays_tripped_until_its_reset_and_then_counts_from_the_new_peak(database: Database) -> None:
    play = Play(database, datetime.now(UTC))
    await play.begin(USER, GLOBAL, max_drawdown_limit_pct=12)
    await play.mark_at("0.36")
    for scope in (USER, GLOBAL):
        assert (await play.decide(scope)).reason_codes == ["BREAKER_DRAWDOWN"]
    await play.mark_at("0.55")  # more than it ever was
    assert (await play.decide(USER, GLOBAL, age_s=3.9)).reason_codes == ["BREAKER_DRAWDOWN"]
    await play.mark_at("0.45")
    done = await play.reset()
    assert done.equity_micros == usdc(9_500)
    assert (await play.decide(USER, age_s=3.8)).decision == "EXECUTE"
    assert (await play.decide(GLOBAL, age_s=3.8)).reason_codes == ["BREAKER_DRAWDOWN"]  # only that portfolio
    peak = (await play.attempts(USER))[-1].peak_equity_micros
    assert peak == usdc(9_500)
    await play.mark_at("0.34")
    assert (await play.decide(age_s=3.7)).decision == "EXECUTE"  # 11.6 % below the new peak, 20 % below the old
    await play.mark_at("0.33")
    assert (await play.decide(age_s=3.6)).reason_codes == ["BREAKER_DRAWDOWN"]
    await play.mark_at("0.45")
    assert (await play.decide(age_s=3.5)).reason_codes == ["BREAKER_DRAWDOWN"]  # that reset was carried out once
    audit = await play.execute("SELECT actor, detail ->> 'user' FROM audit_log WHERE action = 'breaker.reset'")
    assert [tuple(row) for row in audit] == [("admin", "otter")]
    assert not await replay_attempts(database.url())


async def test_what_snapshots_saw_between_the_reset_and_the_next_decision_counts(database: Database) -> None:
    play = Play(database, datetime.now(UTC))
    await play.begin(max_drawdown_limit_pct=12)
    await play.mark_at("0.36")
    assert (await play.decide()).reason_codes == ["BREAKER_DRAWDOWN"]
    assert (await play.reset()).equity_micros == usdc(8_600)
    play.at += timedelta(minutes=2)
    await play.mark_at("0.60")  # nobody decides here
    play.at += timedelta(minutes=2)
    await play.mark_at("0.45")
    attempt = await play.decide()
    assert (attempt.reason_codes, attempt.peak_equity_micros) == (["BREAKER_DRAWDOWN"], usdc(11_000))


async def test_the_equity_at_the_reset_is_the_peak_though_marks_fell_within_its_minute(database: Database) -> None:
    play = Play(database, datetime.now(UTC).replace(second=1, microsecond=0))
    await play.begin(max_drawdown_limit_pct=12)
    await play.mark_at("0.36")
    assert (await play.decide()).reason_codes == ["BREAKER_DRAWDOWN"]
    await play.mark_at("0.50")
    await play.reset()
    await play.mark_at("0.37")  # 13 % in the same minute, whose one snapshot has only the last value
    attempt = await play.decide(age_s=3.9)
    assert (attempt.reason_codes, attempt.peak_equity_micros) == (["BREAKER_DRAWDOWN"], usdc(10_000))


async def test_a_reset_before_anybody_decided_on_the_fall_counts(database: Database) -> None:
    play = Play(database, datetime.now(UTC))
    await play.begin(max_drawdown_limit_pct=12)
    await play.mark_at("0.30")
    assert [each.is_open for each in (await play.listed()).breakers] == [False, False, True]
    await play.reset()
    assert [each.is_open for each in (await play.listed()).breakers] == [False, False, False]
    assert (await play.decide()).decision == "EXECUTE"


async def test_a_reset_that_commits_beside_a_decision_or_by_a_slow_clock_is_not_lost(database: Database) -> None:
    play = Play(database, datetime.now(UTC))
    await play.begin(max_drawdown_limit_pct=12)
    await play.mark_at("0.36")
    assert (await play.decide()).reason_codes == ["BREAKER_DRAWDOWN"]
    await play.reset()
    await play.execute("UPDATE control_flag SET updated_at = updated_at - interval '1 hour'")
    assert (await play.decide(age_s=3.9)).decision == "EXECUTE"
    await play.mark_at("0.20")
    assert (await play.decide(age_s=3.8)).reason_codes == ["BREAKER_DRAWDOWN"]
    await play.reset()
    assert (await play.decide(age_s=3.7)).decision == "EXECUTE"


async def test_the_list_shows_what_the_next_decision_will_find(database: Database) -> None:
    play = Play(database, datetime.now(UTC))
    await play.begin(daily_loss_limit_pct=3, weekly_loss_limit_pct=8, max_drawdown_limit_pct=12)
    await play.mark_at("0.46")
    shown = await play.listed()
    attempt = await play.decide()
    assert (shown.portfolio_id, shown.equity_micros) == (portfolio_id(USER, OTTER), attempt.equity_micros)
    figures = [(each.name, each.start_micros, each.lost_ppm, each.limit_ppm, each.is_open) for each in shown.breakers]
    start = usdc(10_000)
    assert figures == [
        ("daily_loss", start, 40_000, 30_000, True),
        ("weekly_loss", start, 40_000, 80_000, False),
        ("drawdown", start, 40_000, 120_000, False),
    ]
    assert attempt.reason_codes == ["BREAKER_DAILY_LOSS"]
    everyone: Sequence[PortfolioBreakers] = await list_breakers(database.url())
    assert [(each.scope, each.user) for each in everyone] == [(GLOBAL, None), (USER, "otter"), (USER, "heron")]


async def test_only_executable_portfolios_have_a_breaker_to_reset(database: Database) -> None:
    play = Play(database, WEDNESDAY)
    await play.open(market=False, portfolios=False)
    await play.books.open_portfolios()
    for wrong in ({"portfolio": portfolio_id(Scope.SHADOW_USER, OTTER)}, {"portfolio": uuid4()}, {"scope": USER}):
        with pytest.raises(Rejected, match="expected an executable portfolio"):
            async with transaction(database.engine("ui")) as connection:
                await switches.reset_drawdown(connection, "admin", **wrong)


async def test_in_the_global_portfolio_each_is_stopped_by_their_own_limits_and_a_drawdown_stops_all(
    database: Database,
) -> None:
    play = Play(database, WEDNESDAY)
    await play.begin(GLOBAL)
    strict: dict[UUID | None, dict[str, int]] = {HERON: {"daily_loss_limit_pct": 3, "max_drawdown_limit_pct": 12}}
    async with transaction(play.database.engine("ui")) as connection:
        await write_settings(connection, strict, "admin")
    await play.replica(GLOBAL).configs.merge()
    play.at += timedelta(hours=1)
    await play.mark_at("0.45")  # a loss of 5 %
    assert (await play.decide(GLOBAL, user=HERON)).reason_codes == ["BREAKER_DAILY_LOSS"]
    assert (await play.decide(GLOBAL, user=OTTER)).decision == "EXECUTE"
    await play.mark_at("0.37")  # 13 % below the peak, which only heron's limit minds
    assert (await play.decide(GLOBAL, user=OTTER)).decision == "EXECUTE"
    assert (await play.decide(GLOBAL, user=HERON)).reason_codes == ["BREAKER_DAILY_LOSS", "BREAKER_DRAWDOWN"]
    assert (await play.decide(GLOBAL, user=OTTER)).reason_codes == ["BREAKER_DRAWDOWN"]
    await play.reset(GLOBAL, None)
    assert (await play.decide(GLOBAL, user=OTTER)).decision == "EXECUTE"
