"""Figures in SQL against the module that defines them, and the dashboard's against rows computed by hand."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, text

from libs.common.db import figures
from libs.common.db.tables.ledger import Portfolio, PortfolioSnapshot, Position, PositionSource
from libs.common.db.tables.markets import MarketPriceSnapshot
from libs.common.db.tables.users import FollowedUser
from libs.common.domain import statistics
from libs.common.domain.kinds import GroupKind, Scope, Side
from services.ledger.core import entries
from services.ledger.core.entries import Entry, Owner, Posting, portfolio_id
from services.ledger.core.snapshot import Valued, value
from services.ledger.store import Books
from services.simulator.breakers import read_breakers
from services.ui.queries.portfolio import GlobalFigures, read_figures, read_largest_user, read_win_rate
from tests.integration.test_breakers import Play
from tests.integration.test_ledger import LEGS, OTTER, World
from tests.support.databases import Database

pytestmark = pytest.mark.integration
EPISODES = import_module("libs.common.db.migrations.versions.0009_episodes")
GLOBAL = portfolio_id(Scope.EXEC_GLOBAL, None)
MIDNIGHT = datetime(2026, 11, 24, tzinfo=UTC)
NOW = MIDNIGHT + timedelta(hours=9, seconds=20)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
USD = 1_000_000


class Rows:
    """Rows as the ledger and the pricer would have written them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def write(self, table: Any, *rows: dict[str, Any]) -> None:
        async with self.database.engine().begin() as connection:
            await connection.execute(insert(table), rows)

    async def read(self, query: str, **parameters: Any) -> Sequence[Any]:
        async with self.database.engine().connect() as connection:
            return (await connection.execute(text(query), parameters)).all()

    async def portfolios(self, count: int) -> list[UUID]:
        users = [UUID(int=100 + number) for number in range(count)]
        ids = [portfolio_id(Scope.SHADOW_USER, user) for user in users]
        await self.write(FollowedUser, *({"id": user, "label": f"u{user.int}", "profile_wallet": f"0x{user.int}",
                                          "enabled": True, "followed_at": MIDNIGHT} for user in users))  # fmt: skip
        await self.write(Portfolio, *({"id": each, "scope": "SHADOW_USER", "user_id": user, "opened_at": MIDNIGHT}
                                      for each, user in zip(ids, users, strict=True)))  # fmt: skip
        return ids

    async def global_one(self, **columns: Any) -> None:
        await self.write(Portfolio, {"id": GLOBAL, "scope": "EXEC_GLOBAL", "opened_at": MIDNIGHT - 30 * DAY} | columns)

    async def snapshot(self, at: datetime, equity: int, deposits: int, withdrawals: int = 0) -> None:
        row = {"portfolio_id": GLOBAL, "at": at, "equity_micros": equity * USD, "cash_micros": equity * USD,
               "exposure_micros": 0, "unrealized_pnl_micros": 0, "realized_pnl_micros": 0, "fees_micros": 0,
               "deposits_micros": deposits * USD, "withdrawals_micros": withdrawals * USD}  # fmt: skip
        await self.write(PortfolioSnapshot, row)

    async def position(self, asset: str, shares: int, cost: int, **columns: Any) -> None:
        row = {"portfolio_id": GLOBAL, "asset_id": asset, "share_micros": shares, "cost_micros": cost,
               "realized_pnl_micros": 0, "flags": [], "updated_at": NOW}  # fmt: skip
        await self.write(Position, row | columns)

    async def figures(self, now: datetime = NOW) -> GlobalFigures:
        async with self.database.engine("ui").connect() as connection:
            found = await read_figures(connection, now)
        assert found is not None
        return found


async def test_snapshots_of_a_set_are_worth_what_the_module_says(database: Database) -> None:
    dice, rows = Random(5), Rows(database)  # noqa: S311  the same every time
    ids = await rows.portfolios(40)
    marks = {str(asset): dice.choice([None, 0, 1, 333_333, 500_000, 999_999, USD]) for asset in range(30)}
    await rows.write(MarketPriceSnapshot, *({"asset_id": asset, "at": MIDNIGHT + age * MINUTE, "source": "MIDPOINT",
                                             "price_micros": mark if age else USD - mark}
                                            for asset, mark in marks.items() if mark is not None for age in (0, 1)),
                     )  # fmt: skip
    held = {each: {asset: (dice.choice([-1, 0, 1]) * dice.randrange(10**15), dice.randrange(-(10**14), 10**14))
                   for asset in dice.sample(sorted(marks), dice.randrange(8))} for each in ids}  # fmt: skip
    await rows.write(Position, *({"portfolio_id": each, "asset_id": asset, "share_micros": shares,
                                  "cost_micros": cost if shares else 0, "realized_pnl_micros": 0, "flags": [],
                                  "updated_at": NOW}
                                 for each in ids for asset, (shares, cost) in held[each].items()))  # fmt: skip
    async with database.engine().begin() as connection:
        await connection.execute(text("UPDATE portfolio SET cash_micros = (random() * 1e12)::bigint"))
    await Books(database.engine("ledger"), now=lambda: NOW).revalue(sorted(marks))
    found = {row.portfolio_id: row for row in await rows.read("SELECT * FROM portfolio_snapshot")}
    for each in ids:
        positions = [Valued(shares, cost, marks[asset]) for asset, (shares, cost) in held[each].items() if shares]
        assert (each in found) == bool(positions)
        if each in found:
            worth = value(found[each].cash_micros, positions)
            assert (found[each].equity_micros, found[each].exposure_micros, found[each].unrealized_pnl_micros) == (
                worth.equity_micros, worth.exposure_micros, worth.unrealized_pnl_micros)  # fmt: skip


async def test_the_last_snapshot_that_counts_and_its_figures_are_those_of_the_module(database: Database) -> None:
    dice, rows = Random(7), Rows(database)  # noqa: S311  the same every time
    ids = await rows.portfolios(12)
    made: list[dict[str, Any]] = [
            {"portfolio_id": each, "at": MIDNIGHT + minute * MINUTE, "cash_micros": 0, "exposure_micros": 0,
             "unrealized_pnl_micros": 0, "realized_pnl_micros": 0, "fees_micros": 0,
             "equity_micros": dice.randrange(-(10**12), 10**12), "deposits_micros": dice.randrange(10**12),
             "withdrawals_micros": dice.randrange(10**12)}
            for each in ids for minute in dice.sample(range(60), 15)]  # fmt: skip
    await rows.write(PortfolioSnapshot, *made)
    for _ in range(12):
        moment = MIDNIGHT + timedelta(seconds=dice.randrange(-60, 3_700))
        query = f"""SELECT p.id, s.at, {figures.pnl("s")} AS pnl, {figures.net_flows("s")} AS flows FROM portfolio p
            LEFT JOIN LATERAL {figures.last_snapshot("p.id", ":moment")} s ON true"""  # noqa: S608  our own parts
        for row in await rows.read(query, moment=moment):
            own = [one for one in made if one["portfolio_id"] == row.id]
            counted = max((one for one in own if statistics.counts_at(one["at"], moment)),
                          key=lambda one: one["at"], default=None)  # fmt: skip
            assert (row.at, row.pnl, row.flows) == (
                (None, None, None) if counted is None else (
                    counted["at"],
                    statistics.pnl(counted["equity_micros"], counted["deposits_micros"], counted["withdrawals_micros"]),
                    statistics.net_flows(counted["deposits_micros"], counted["withdrawals_micros"])))  # fmt: skip


def life(dice: Random, owner: Owner, may_be_short: bool) -> list[tuple[Entry, ...]]:
    """Return postings of a random life in two outcomes: trades with fees, splits, merges, crossings."""
    held, found = dict.fromkeys(LEGS, 0), []
    for number in range(40):
        kind = dice.choice(["TRADE"] * 4 + ["SPLIT", "MERGE"])
        posting = Posting(owner, f"{owner.scope}-{number}", MIDNIGHT + timedelta(seconds=number), condition_id="0xc1",
                          source_user_id=OTTER, tx_hash=f"0x{number:03}", log_index=number)  # fmt: skip
        asset = dice.choice(LEGS)
        if kind == "TRADE":
            side, size = dice.choice([Side.BUY, Side.SELL]), dice.choice([dice.randrange(1, 50), abs(held[asset])])
            size = size if side is Side.BUY or may_be_short else min(size, held[asset])
            posted = entries.trade(posting, asset, side, share_micros=size, notional_micros=dice.randrange(60),
                                   fee_micros=dice.choice([0, 1, 5]))  # fmt: skip
        else:
            size = dice.randrange(1, 50) if kind == "SPLIT" or may_be_short else min(held.values())
            posted = entries.pair(posting, GroupKind(kind), LEGS, share_micros=size)
        for entry in posted:
            held[entry.asset_id or ""] += entry.share_delta_micros
        found.append(posted)
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_episodes_posted_one_by_one_are_what_a_query_over_all_entries_counts(
    database: Database, seed: int
) -> None:
    dice, world = Random(seed), World(database)  # noqa: S311  the same every time
    await world.follow()
    await world.market()
    shadow = life(dice, Owner(Scope.SHADOW_USER, OTTER), may_be_short=True)
    reversed_ones = [tuple(entries.reversal(entry, 0) for entry in posted) for posted in dice.sample(shadow, 5)]
    dice.shuffle(shadow)  # told late: refolded in the order of the chain
    for posted in (*shadow, *reversed_ones):
        await world.books.post_entries(posted)
    for posted in life(dice, Owner(Scope.EXEC_GLOBAL, None), may_be_short=False):
        await world.books.post_entries(posted)
    query = """SELECT portfolio_id, asset_id, episodes_closed, episodes_won, episode_result_micros
        FROM position ORDER BY 1, 2"""
    folded = await world.rows(query)
    assert sum(row.episodes_closed for row in folded) > 4
    async with database.engine().begin() as connection:
        await connection.execute(text("UPDATE position SET episodes_closed = 9, episodes_won = 9"))
        await connection.execute(text(EPISODES.BACKFILL))
    assert await world.rows(query) == folded
    async with database.engine("ui").connect() as connection:
        rate = await read_win_rate(connection, GLOBAL)
    mine = [row for row in folded if row.portfolio_id == GLOBAL]
    assert (rate.closed, rate.won) == (sum(row.episodes_closed for row in mine), sum(row.episodes_won for row in mine))


async def test_a_win_rate_counts_every_position_ever_closed(database: Database) -> None:
    rows = Rows(database)
    await rows.global_one()
    for first in range(0, 3_000, 1_000):
        await rows.write(Position, *({"portfolio_id": GLOBAL, "asset_id": str(number), "share_micros": 0,
                                      "cost_micros": 0, "realized_pnl_micros": 0, "flags": [], "updated_at": NOW,
                                      "episodes_closed": 2, "episodes_won": number % 2}
                                     for number in range(first, first + 1_000)))  # fmt: skip
    async with database.engine("ui").connect() as connection:
        rate = await read_win_rate(connection, GLOBAL)
    assert (rate.closed, rate.won) == (6_000, 1_500)


async def test_profit_of_the_day_counts_from_the_last_row_before_midnight_however_old(database: Database) -> None:
    rows = Rows(database)
    await rows.global_one(peak_equity_micros=None)
    await rows.snapshot(MIDNIGHT - 6 * DAY, 9_500, 10_000)  # the last of the week before
    await rows.snapshot(MIDNIGHT - 5 * timedelta(hours=1), 10_300, 10_000)  # down from here on: a gap
    await rows.snapshot(MIDNIGHT + 2 * timedelta(hours=1), 10_900, 11_000)  # 1,000 came in the gap
    await rows.snapshot(NOW.replace(second=0), 9_200, 11_000, 2_000)  # and 2,000 went
    found = await rows.figures()
    assert (found.pnl_micros, found.net_flows_micros) == (200 * USD, 9_000 * USD)
    assert (found.today_micros, found.today_base_micros) == (-100 * USD, 9_300 * USD)  # 300 then, 200 now
    assert (found.this_week_micros, found.this_week_base_micros) == (700 * USD, 8_500 * USD)
    assert found.seven_days_micros == 200 * USD  # nothing is older: since the first deposit
    assert found.peak_equity_micros == 9_300 * USD  # 300 made was the most, with the flows of now
    assert found.drawdown == (100 * USD, 9_300 * USD)


async def test_the_row_of_midnight_is_the_start_and_thinned_rows_serve_for_seven_days(database: Database) -> None:
    rows = Rows(database)
    await rows.global_one()
    week = NOW - 7 * DAY
    await rows.snapshot(week.replace(minute=0, second=0) - 46 * MINUTE, 10_010, 10_000)
    await rows.snapshot(week.replace(minute=0, second=0) - 1 * MINUTE, 10_020, 10_000)  # the last of its quarter
    await rows.snapshot(week.replace(minute=14, second=0), 10_900, 10_000)  # after it
    await rows.snapshot(MIDNIGHT, 10_100, 10_000)
    await rows.snapshot(MIDNIGHT + MINUTE, 10_190, 10_000)
    found = await rows.figures()
    assert (found.today_micros, found.seven_days_micros) == (90 * USD, 170 * USD)


async def test_what_was_never_marked_counts_at_its_cost_for_the_user_it_came_from(database: Database) -> None:
    rows, (ann, ben) = Rows(database), (UUID(int=100), UUID(int=101))
    await rows.portfolios(2)
    await rows.global_one()
    await rows.position("1", 30 * USD, 12 * USD)
    await rows.position("2", 10 * USD, 9 * USD)
    await rows.write(PositionSource, *({"asset_id": asset, "source_user_id": user, "share_micros": shares * USD}
                                       for asset, user, shares in (("1", ann, 20), ("1", ben, 10), ("2", ben, 10)))
                     )  # fmt: skip
    await rows.write(MarketPriceSnapshot, {"asset_id": "2", "at": NOW, "price_micros": 300_000, "source": "MIDPOINT"})
    async with database.engine("ui").connect() as connection:
        assert await read_largest_user(connection) == ("u100", 8 * USD)  # 20 / 30 of the cost; Ben: 4 + 3


async def test_the_dashboard_and_the_breakers_count_from_the_same_start_and_peak(database: Database) -> None:
    play = Play(database, MIDNIGHT - 2 * timedelta(hours=1))
    await play.begin(Scope.EXEC_GLOBAL)
    await play.mark_at("0.56")
    play.at = MIDNIGHT + timedelta(seconds=30)
    await play.mark_at("0.54")
    play.at = MIDNIGHT + timedelta(hours=4)
    posting = Posting(Owner(Scope.EXEC_GLOBAL, None), str(uuid4()), play.at)
    await play.books.post_entries([entries.withdrawal(posting, 1_000 * USD)])
    await play.mark_at("0.47")
    for decide in (False, True):  # once more with the peak that a decision kept
        if decide:
            await play.decide(Scope.EXEC_GLOBAL)
        seen = await Rows(database).figures(play.at)
        (found,) = [each for each in await read_breakers(database.engine(), play.at) if each.scope is Scope.EXEC_GLOBAL]
        starts = {each.name: (each.start_micros, each.lost_ppm) for each in found.breakers}
        fall = seen.drawdown
        assert fall is not None
        assert starts == {
            name: (base, -(-lost * 10**6 // base))
            for name, lost, base in (
                ("daily_loss", -seen.today_micros, seen.today_base_micros),
                ("weekly_loss", -seen.this_week_micros, seen.this_week_base_micros),
                ("drawdown", *fall),
            )
        }
        assert seen.today_base_micros == (10_000 + 400 - 1_000) * USD  # the row of 00:00: marked 0.54 at 00:00:30
        assert seen.peak_equity_micros == (10_000 + 600 - 1_000) * USD
