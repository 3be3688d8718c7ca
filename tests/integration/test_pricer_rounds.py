"""The pricer's rounds on a real Postgres, with a made-up exchange."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import insert, text

from libs.common.db.engine import transaction
from libs.common.db.tables.events import ActivityEvent
from libs.common.db.tables.ledger import Position
from libs.common.db.tables.markets import Market, OutcomeAsset
from libs.common.db.tables.users import FollowedUser
from libs.common.domain.errors import PartlyAnswered, Rejected, Unavailable
from libs.common.domain.kinds import MarkSource
from libs.common.domain.market import Resolution
from libs.common.messages import MarketResolved, MarkUpdated
from services.pricer.core import Freshness, Mark
from services.pricer.rounds import Rounds
from services.pricer.settings import Settings
from services.pricer.store import PriceStore
from tests.support.databases import Database

pytestmark = pytest.mark.integration

START = datetime(2026, 9, 28, 9, 0, tzinfo=UTC)
PORTFOLIO = UUID(int=3)

T = TypeVar("T")


class Exchange:
    """Prices and resolutions as this test wants them; counts what it is asked."""

    def __init__(self) -> None:
        self.mids: dict[str, int] = {}
        self.trades: dict[str, int] = {}
        self.resolved: dict[str, Resolution] = {}
        self.asked: list[list[str]] = []
        self.away = False
        self.refuses = False
        self.trades_fail: Unavailable | Rejected | None = None
        self.stumbles: set[str] = set()

    async def midpoints(self, asset_ids: Sequence[str]) -> dict[str, int]:
        if self.away:
            raise Unavailable("no exchange")
        if self.refuses:
            raise Rejected("no such token")
        return self._told({asset: self.mids[asset] for asset in asset_ids if asset in self.mids}, asset_ids)

    async def last_trades(self, asset_ids: Sequence[str]) -> dict[str, int]:
        if self.trades_fail:
            raise self.trades_fail
        return {asset: self.trades[asset] for asset in asset_ids if asset in self.trades}

    async def resolutions(self, condition_ids: Sequence[str]) -> dict[str, Resolution]:
        self.asked.append(list(condition_ids))
        told = {condition: self.resolved[condition] for condition in condition_ids if condition in self.resolved}
        return self._told(told, condition_ids)

    def _told(self, told: dict[str, T], ids: Sequence[str]) -> dict[str, T]:
        """Return what is told, but for what the exchange stumbles over."""
        if missed := self.stumbles.intersection(ids):
            others = {name: value for name, value in told.items() if name not in missed}
            raise PartlyAnswered(Unavailable("status 500"), others, missed)
        return told


class Stage:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.exchange = Exchange()
        self.now = START
        self.marks: list[MarkUpdated] = []
        self.resolved: list[MarketResolved] = []
        settings = Settings(
            database_url=SecretStr("postgresql://x"), redis_url=SecretStr("redis://x"), instance="pricer-0", http_port=1
        )
        self.settings = settings
        self.fresh: Freshness | None = None
        self.refused: Mapping[str, str] = {}
        self.rounds = self.pricer()

    def pricer(self) -> Rounds:
        return Rounds(
            PriceStore(self.database.engine("pricer")), self.exchange, self.exchange, self._marked, self._ended,
            self.settings, now=lambda: self.now, report=self._report,
        )  # fmt: skip

    def _report(self, fresh: Freshness, refused: Mapping[str, str]) -> None:
        self.fresh, self.refused = fresh, dict(refused)

    async def _marked(self, marks: Sequence[MarkUpdated]) -> None:
        self.marks += marks

    async def _ended(self, resolved: Sequence[MarketResolved]) -> None:
        self.resolved += resolved

    async def after(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.marks.clear()
        self.resolved.clear()
        await self.rounds.look()

    async def rows(self, query: str) -> list[Any]:
        async with self.database.engine().connect() as connection:
            return [tuple(row) for row in await connection.execute(text(query))]


async def given_market(database: Database, condition: str, assets: Sequence[str], close_time: datetime) -> None:
    async with transaction(database.engine("ingest")) as connection:
        market = {
            "condition_id": condition, "id": condition, "question": "?", "slug": "s", "close_time": close_time,
            "active": True, "closed": False, "accepting_orders": True, "neg_risk": False, "resolved": False,
            "fee_rate": Decimal("0.05"), "fee_exponent": Decimal(1), "tick_micros": 10_000, "version": "v1",
            "refreshed_at": START,
        }  # fmt: skip
        await connection.execute(insert(Market).values(market))
        for index, asset in enumerate(assets):
            row = {"asset_id": asset, "condition_id": condition, "outcome_index": index, "name": asset}
            await connection.execute(insert(OutcomeAsset).values(row))


async def given_position(database: Database, asset: str) -> None:
    async with transaction(database.engine()) as connection:
        portfolio = text(
            "INSERT INTO portfolio (id, scope, opened_at, cash_micros, deposits_micros, withdrawals_micros,"
            " fees_micros, realized_pnl_micros, decision_seq, drawdown_tripped)"
            " VALUES (:id, 'EXEC_GLOBAL', now(), 0, 0, 0, 0, 0, 0, false) ON CONFLICT DO NOTHING"
        )
        await connection.execute(portfolio, {"id": PORTFOLIO})
        row = {
            "portfolio_id": PORTFOLIO, "asset_id": asset, "share_micros": 5, "cost_micros": 1, "realized_pnl_micros": 0,
            "flags": [], "updated_at": START,
        }  # fmt: skip
        await connection.execute(insert(Position).values(row))


async def given_skip(database: Database, asset: str, shares: int) -> None:
    """A skip that would have bought `shares`, of a portfolio that holds nothing."""
    user, group, portfolio = UUID(int=7), uuid4(), PORTFOLIO
    statements = (
        "INSERT INTO followed_user (id, label, profile_wallet, enabled, followed_at)"
        " VALUES (:user, 'otter', '0x7', true, now()) ON CONFLICT DO NOTHING",
        "INSERT INTO event_group (id, kind, user_id, share_micros, usdc_notional_micros, first_event_time,"
        " first_detect_time, first_ordinal, closed_at) VALUES (:group, 'TRADE', :user, 1, 1, now(), now(), 0, now())",
        "INSERT INTO copy_attempt (id, portfolio_id, seq, scope, user_id, group_id, kind, asset_id, decision,"
        " reason_codes, out_of_order, due_at, decided_at, filled_share_micros, filled_notional_micros, fee_micros,"
        " counterfactual_share_micros, inputs, checks) VALUES (:group, :portfolio, 1, 'EXEC_GLOBAL', :user, :group,"
        " 'TRADE', :asset, 'SKIP', '{SPREAD_TOO_WIDE}', false, now(), now(), 0, 0, 0, :shares, '{}', '[]')",
    )
    await given_position(database, "nothing")
    parameters = {"user": user, "group": group, "portfolio": portfolio, "asset": asset, "shares": shares}
    async with transaction(database.engine()) as connection:
        await connection.execute(text("UPDATE position SET share_micros = 0"))
        for statement in statements:
            names = {name: value for name, value in parameters.items() if f":{name}" in statement}
            await connection.execute(text(statement), names)


@pytest.fixture
async def stage(database: Database) -> Stage:
    await given_market(database, "0xc", ["1", "2"], START + timedelta(hours=1))
    return Stage(database)


async def test_nothing_held_means_nothing_asked(stage: Stage) -> None:
    await stage.after(0)
    assert stage.exchange.asked == []
    assert [key for (key,) in await stage.rows("SELECT key FROM system_checkpoint ORDER BY key")] == [
        "marking",
        "resolutions",
    ]


async def test_a_first_held_asset_is_marked_at_once_and_then_every_thirty_seconds(stage: Stage) -> None:
    await stage.after(0)
    await given_position(stage.database, "1")
    stage.exchange.mids = {"1": 400_000}
    await stage.after(1)
    assert [(m.asset_id, m.price_micros) for m in stage.marks] == [("1", 400_000)]
    stage.exchange.mids = {"1": 410_000}
    await stage.after(28)
    assert stage.marks == []
    await stage.after(1)
    assert [m.price_micros for m in stage.marks] == [410_000]
    assert await stage.rows("SELECT price_micros, source FROM market_price_snapshot ORDER BY at") == [
        (400_000, "MIDPOINT"),
        (410_000, "MIDPOINT"),
    ]


async def test_last_trade_stands_in_and_without_it_the_mark_stays(stage: Stage) -> None:
    await given_position(stage.database, "1")
    stage.exchange.trades = {"1": 300_000}
    await stage.after(0)
    assert [m.source for m in stage.marks] == ["LAST_TRADE"]
    stage.exchange.trades = {}
    await stage.after(30)
    assert stage.marks == []


async def test_a_resolution_is_kept_announced_and_marked_at_its_payout(stage: Stage) -> None:
    await given_position(stage.database, "1")
    stage.exchange.mids = {"1": 400_000}
    await stage.after(0)
    stage.exchange.resolved = {"0xc": Resolution("0xc", (500_000, 500_000), START, "reported")}
    await stage.after(59)
    assert stage.resolved == []
    await stage.after(1)
    assert [m.payouts_micros for m in stage.resolved] == [(500_000, 500_000)]
    assert {(m.asset_id, m.price_micros, m.source.value) for m in stage.marks} == {
        ("1", 500_000, "PAYOUT"),
        ("2", 500_000, "PAYOUT"),
    }
    asked = len(stage.exchange.asked)
    await stage.after(120)
    assert len(stage.exchange.asked) == asked


async def test_a_market_past_its_end_is_asked_about_at_once(stage: Stage) -> None:
    await given_position(stage.database, "1")
    stage.now = START + timedelta(minutes=59, seconds=50)
    await stage.after(0)
    asked = len(stage.exchange.asked)
    await stage.after(11)
    assert len(stage.exchange.asked) == asked + 1
    await stage.after(5)
    assert len(stage.exchange.asked) == asked + 1


async def test_what_a_skip_would_have_filled_is_marked_until_its_market_is_over(stage: Stage) -> None:
    await given_skip(stage.database, "2", 5)
    stage.exchange.mids = {"1": 400_000, "2": 600_000}
    await stage.after(0)
    assert [(mark.asset_id, mark.price_micros) for mark in stage.marks] == [("2", 600_000)]
    assert stage.exchange.asked == []  # nobody holds it and it is not over: nothing is worth a call
    stage.now = START + timedelta(hours=1)
    stage.exchange.resolved = {"0xc": Resolution("0xc", (0, 1_000_000), START, "reported")}
    await stage.after(1)
    assert ("2", 1_000_000, "PAYOUT") in {(mark.asset_id, mark.price_micros, mark.source) for mark in stage.marks}
    await stage.after(60)
    assert stage.marks == []
    assert len(stage.exchange.asked) == 1


async def test_a_skip_that_would_have_filled_nothing_is_not_marked(stage: Stage) -> None:
    await given_skip(stage.database, "2", 0)
    stage.exchange.mids = {"2": 600_000}
    await stage.after(0)
    assert stage.marks == []


async def test_an_outage_changes_nothing_and_is_made_up(stage: Stage) -> None:
    await given_position(stage.database, "1")
    stage.exchange.mids = {"1": 400_000}
    stage.exchange.away = True
    with pytest.raises(Unavailable):
        await stage.after(0)
    stage.exchange.away = False
    await stage.after(1)
    assert len(stage.marks) == 1


def resolved(*payouts: int, condition: str = "0xc", at: datetime | None = START) -> dict[str, Resolution]:
    return {condition: Resolution(condition, payouts, at, "reported")}


async def given_redeem(database: Database, condition: str, at: datetime) -> None:
    async with transaction(database.engine()) as connection:
        user = {
            "id": PORTFOLIO, "label": "otter", "profile_wallet": "0x1", "enabled": True, "followed_at": START,
        }  # fmt: skip
        await connection.execute(insert(FollowedUser).values(user))
        row = {
            "id": uuid4(), "user_id": PORTFOLIO, "wallet": "0x1", "type": "REDEEM", "kind": "REDEEM",
            "condition_id": condition, "asset_id": "", "side": "", "share_micros": 5, "usdc_micros": 5,
            "tx_hash": "0x1", "ordinal": 0, "event_time": at, "detect_time": at, "status": "CANONICAL", "booked": True,
        }  # fmt: skip
        await connection.execute(insert(ActivityEvent).values(row))


async def test_marks_that_could_not_be_announced_are_announced_later_and_by_the_next_life(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise Unavailable("no bus")

    await given_position(stage.database, "11")
    stage.exchange.mids = {"11": 500_000}
    await stage.after(0)
    with monkeypatch.context() as patched:
        patched.setattr(stage.rounds, "_publish_marks", away)
        stage.exchange.mids = {"11": 600_000}
        with pytest.raises(Unavailable):
            await stage.after(30)
    await stage.after(1)
    assert [mark.price_micros for mark in stage.marks] == [600_000]
    await stage.after(30)
    assert stage.marks == []
    stage.rounds = stage.pricer()
    await stage.after(1)
    assert [mark.price_micros for mark in stage.marks] == [600_000]


async def test_a_refusal_of_marks_does_not_stop_resolutions(stage: Stage) -> None:
    await given_position(stage.database, "1")
    stage.exchange.refuses = True
    stage.exchange.resolved = resolved(1_000_000, 0)
    with pytest.raises(Rejected):
        await stage.after(0)
    assert [m.payouts_micros for m in stage.resolved] == [(1_000_000, 0)]


@pytest.mark.parametrize("failure", [Unavailable("no last trades"), Rejected("no such route")])
async def test_no_last_trades_do_not_keep_midpoints_from_being_marks(
    stage: Stage, failure: Unavailable | Rejected
) -> None:
    for asset in ("1", "2"):
        await given_position(stage.database, asset)
    stage.exchange.mids = {"1": 400_000}
    stage.exchange.trades_fail = failure
    await stage.rounds.look()
    assert await stage.rows("SELECT asset_id, price_micros FROM market_price_snapshot") == [("1", 400_000)]
    assert [mark.asset_id for mark in stage.marks] == ["1"]
    assert stage.fresh == Freshness(assets=2, missing=1, stale=1, oldest_seconds=0.0, overdue=0)
    stage.exchange.trades_fail = None
    stage.exchange.trades = {"2": 300_000}
    await stage.after(30)
    assert await stage.rows("SELECT asset_id, price_micros FROM market_price_snapshot ORDER BY 1") == [
        ("1", 400_000),
        ("2", 300_000),
    ]


async def test_a_redeem_seen_first_asks_and_settles_nothing_by_itself(stage: Stage) -> None:
    await given_position(stage.database, "1")
    await stage.after(0)
    await given_redeem(stage.database, "0xc", stage.now)
    asked = len(stage.exchange.asked)
    await stage.after(10)
    assert stage.exchange.asked[asked:] == [["0xc"]]
    assert stage.resolved == []
    assert await stage.rows("SELECT condition_id FROM market_resolution") == []
    stage.exchange.resolved = resolved(1_000_000, 0)
    await stage.after(10)
    assert [m.payouts_micros for m in stage.resolved] == [(1_000_000, 0)]


async def test_a_redeem_of_what_nobody_holds_asks_nothing(stage: Stage) -> None:
    await stage.after(0)
    await given_redeem(stage.database, "0xc", stage.now)
    await stage.after(1)
    assert stage.exchange.asked == []


async def test_a_market_that_does_not_end_is_asked_about_less_often_after_a_while(stage: Stage) -> None:
    await given_position(stage.database, "1")
    stage.now = START + timedelta(hours=1)
    for _ in range(11 * 60):
        await stage.after(1)
    stage.exchange.asked.clear()
    for _ in range(120):
        await stage.after(1)
    assert len(stage.exchange.asked) == 2
    assert stage.fresh is not None
    assert stage.fresh.overdue == 1


@pytest.mark.parametrize("payouts", [(1_000_000,), (0, 0, 1_000_000)])
async def test_payouts_of_another_number_of_outcomes_are_refused_and_asked_for_again(
    stage: Stage, payouts: tuple[int, ...]
) -> None:
    await given_position(stage.database, "1")
    stage.exchange.resolved = resolved(*payouts)
    await stage.after(0)
    assert (stage.resolved, stage.marks) == ([], [])
    assert stage.refused == {"0xc": f"condition 0xc: expected payouts of 2 outcomes, got {len(payouts)}"}
    stage.exchange.resolved = resolved(0, 1_000_000)
    await stage.after(60)
    assert [m.payouts_micros for m in stage.resolved] == [(0, 1_000_000)]
    assert stage.refused == {}


async def test_payouts_follow_the_outcomes_not_the_tokens(stage: Stage) -> None:
    await given_market(stage.database, "0xd", ["9", "3"], START + timedelta(hours=1))
    await given_position(stage.database, "3")
    stage.exchange.resolved = resolved(0, 1_000_000, condition="0xd")
    await stage.after(0)
    assert {(m.asset_id, m.price_micros) for m in stage.marks} == {("9", 0), ("3", 1_000_000)}


async def test_the_first_payouts_stay_and_others_that_come_later_are_told(stage: Stage) -> None:
    await given_position(stage.database, "1")
    stage.exchange.resolved = resolved(1_000_000, 0)
    await stage.after(0)
    stage.exchange.resolved = resolved(0, 1_000_000)
    await stage.after(600)
    assert stage.resolved == []
    assert {(m.asset_id, m.price_micros) for m in stage.marks} == {("1", 1_000_000)}
    words = "condition 0xc: settled at (1000000, 0), now told (0, 1000000)"
    assert stage.refused == {"0xc": words}
    await stage.after(1)
    assert stage.refused == {"0xc": words}
    stage.exchange.resolved = resolved(1_000_000, 0)
    await stage.after(600)
    assert stage.refused == {}
    assert await stage.rows("SELECT payouts_micros FROM market_resolution") == [([1_000_000, 0],)]


async def test_of_two_pricers_that_are_told_different_payouts_the_first_counts(stage: Stage) -> None:
    stores = [PriceStore(stage.database.engine("pricer")) for _ in range(2)]
    told = [resolved(1_000_000, 0), resolved(0, 1_000_000)]
    kept = await asyncio.gather(
        *(store.add_resolutions(each.values(), START) for store, each in zip(stores, told, strict=True))
    )
    ((payouts,),) = await stage.rows("SELECT payouts_micros FROM market_resolution")
    assert [each.payouts["0xc"][0] for each in kept] == [tuple(payouts)] * 2
    assert sorted(len(each.refused) for each in kept) == [0, 1]
    rows = await stage.rows("SELECT asset_id, price_micros FROM market_price_snapshot ORDER BY asset_id")
    assert rows == [("1", payouts[0]), ("2", payouts[1])]


async def test_the_payout_is_the_last_mark_whatever_other_pricers_clocks_say(stage: Stage) -> None:
    store = PriceStore(stage.database.engine("pricer"))
    ahead = START + timedelta(seconds=5)
    await store.add_marks([Mark("1", 400_000, MarkSource.MIDPOINT, ahead)])
    await store.add_resolutions(resolved(1_000_000, 0).values(), START)
    await store.add_marks([Mark("1", 410_000, MarkSource.MIDPOINT, ahead + timedelta(seconds=1))])
    assert (await store.latest(["1"]))["1"] == Mark(
        "1", 1_000_000, MarkSource.PAYOUT, ahead + timedelta(microseconds=1)
    )


async def test_a_resolution_that_says_it_lies_ahead_is_of_now(stage: Stage) -> None:
    await given_position(stage.database, "1")
    stage.exchange.resolved = resolved(1_000_000, 0, at=START + timedelta(days=900))
    await stage.after(0)
    assert [m.occurred_at for m in stage.resolved] == [START]


async def test_what_has_no_price_keeps_its_mark_and_its_age_shows(stage: Stage) -> None:
    for asset in ("1", "2"):
        await given_position(stage.database, asset)
    stage.exchange.mids = {"1": 400_000}
    await stage.after(0)
    assert stage.fresh == Freshness(assets=2, missing=1, stale=1, oldest_seconds=0.0, overdue=0)
    stage.exchange.mids = {}
    for _ in range(7):
        await stage.after(30)
    assert stage.fresh == Freshness(assets=2, missing=1, stale=2, oldest_seconds=210.0, overdue=0)
    assert await stage.rows("SELECT asset_id, price_micros FROM market_price_snapshot") == [("1", 400_000)]
    ((marking,),) = await stage.rows("SELECT value FROM system_checkpoint WHERE key = 'marking'")
    assert sorted(marking["unmarked"]) == ["1", "2"]
    stage.exchange.mids = {"1": 500_000, "2": 500_000}
    await stage.after(30)
    assert stage.fresh == Freshness(assets=2, missing=0, stale=0, oldest_seconds=0.0, overdue=0)


async def test_a_token_the_exchange_stumbles_over_keeps_no_other_from_its_mark(stage: Stage) -> None:
    for asset in ("1", "2"):
        await given_position(stage.database, asset)
    stage.exchange.mids, stage.exchange.trades = {"1": 400_000, "2": 600_000}, {"2": 100_000}
    stage.exchange.stumbles = {"2"}
    for seconds in (0, 30):
        with pytest.raises(PartlyAnswered):
            await stage.after(seconds)
        await stage.after(1)  # is not asked for again before the next round
    # A last trade would be another price, not a second source of the same one.
    assert await stage.rows("SELECT asset_id, price_micros FROM market_price_snapshot") == [("1", 400_000)]
    ((marking,),) = await stage.rows("SELECT value FROM system_checkpoint WHERE key = 'marking'")
    assert marking == {"assets": 2, "unmarked": ["2"]}
    stage.exchange.stumbles = set()
    await stage.after(30)
    ((marking,),) = await stage.rows("SELECT value FROM system_checkpoint WHERE key = 'marking'")
    assert (marking["completed_at"], marking["unmarked"]) == (stage.now.isoformat(), [])
    stage.exchange.stumbles, completed = {"2"}, marking["completed_at"]
    with pytest.raises(PartlyAnswered):
        await stage.after(30)
    ((marking,),) = await stage.rows("SELECT value FROM system_checkpoint WHERE key = 'marking'")
    assert (marking["completed_at"], marking["unmarked"]) == (completed, ["2"])


async def test_a_condition_the_exchange_stumbles_over_keeps_no_other_open(stage: Stage) -> None:
    await given_market(stage.database, "0xd", ["3", "4"], START + timedelta(hours=1))
    for asset in ("1", "3"):
        await given_position(stage.database, asset)
    stage.exchange.resolved = resolved(1_000_000, 0)
    stage.exchange.stumbles = {"0xd"}
    with pytest.raises(PartlyAnswered):
        await stage.after(0)
    assert [message.condition_id for message in stage.resolved] == ["0xc"]
    assert await stage.rows("SELECT key FROM system_checkpoint WHERE key = 'resolutions'") == []
    await stage.after(1)
    stage.exchange.stumbles = set()
    await stage.after(60)
    assert len(await stage.rows("SELECT key FROM system_checkpoint WHERE key = 'resolutions'")) == 1


async def test_after_a_restart_ages_go_on_and_an_outage_ages_everything(stage: Stage) -> None:
    await given_position(stage.database, "1")
    stage.exchange.mids = {"1": 400_000}
    await stage.after(0)
    stage.exchange.away = True
    stage.rounds = stage.pricer()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await stage.after(300)
    assert stage.fresh == Freshness(assets=1, missing=0, stale=1, oldest_seconds=600.0, overdue=0)


async def test_while_the_pricer_is_away_no_mark_is_made_up(stage: Stage) -> None:
    await given_position(stage.database, "1")
    stage.exchange.mids = {"1": 400_000}
    await stage.after(0)
    stage.exchange.mids = {"1": 420_000}
    stage.rounds = stage.pricer()
    await stage.after(3600)
    assert await stage.rows("SELECT at, price_micros FROM market_price_snapshot ORDER BY at") == [
        (START, 400_000),
        (START + timedelta(hours=1), 420_000),
    ]
