"""When a stack counts as drained: each kind of unfinished work holds it open, and only while it is unfinished."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert
from sqlmodel import SQLModel

from libs.common.db.checkpoints import save_checkpoint
from libs.common.db.drain import backlog
from libs.common.db.tables.events import ActivityEvent, PositionSync, TradeEvent
from libs.common.db.tables.groups import EventGroup, EventGroupMember
from libs.common.db.tables.ledger import Portfolio, Position, WaitingEvent
from libs.common.db.tables.markets import Market, OutcomeAsset
from libs.common.db.tables.system import DeadLetter
from libs.common.db.tables.users import FollowedUser, FollowedUserProxyWallet
from tests.support.databases import Database

pytestmark = pytest.mark.integration
END = datetime(2026, 1, 1, tzinfo=UTC)
BEFORE, AFTER = END - timedelta(seconds=1), END + timedelta(seconds=1)
WALLET = "0x" + "a" * 40


async def add(database: Database, table: type[SQLModel], **values: Any) -> None:
    async with database.engine().begin() as connection:
        await connection.execute(insert(table).values(**values))


async def checkpoint(database: Database, service: str, key: str, **value: Any) -> None:
    async with database.engine(service).begin() as connection:
        await save_checkpoint(connection, service, key, value)


def epoch(at: datetime) -> int:
    return int(at.timestamp())


async def follow(database: Database) -> UUID:
    user_id = uuid4()
    await add(database, FollowedUser, id=user_id, label="w", profile_wallet=WALLET, enabled=True, followed_at=BEFORE)
    await add(database, FollowedUserProxyWallet, wallet=WALLET, user_id=user_id, followed_at=BEFORE)
    return user_id


async def opened(database: Database, followed_at: datetime = BEFORE) -> None:
    await asked(database, AFTER)
    await checkpoint(database, "ingest", f"opening:{WALLET}", followed_at=followed_at.isoformat())


async def asked(database: Database, at: datetime) -> None:
    await checkpoint(database, "ingest", "markets:asked", at=at.isoformat())


async def waiting(database: Database) -> dict[str, int]:
    return (await backlog(database.engine(), END)).waiting


async def test_nothing_followed_is_nothing_to_wait_for(database: Database) -> None:
    left = await backlog(database.engine(), END)
    assert left.is_empty
    assert left.dead_letters_open == 0


async def test_a_wallet_waits_for_a_poll_that_began_after_the_end(database: Database) -> None:
    await follow(database)
    await opened(database)
    assert await waiting(database) == {"wallets without a complete poll": 1}
    await checkpoint(database, "ingest", f"poll:{WALLET}", completed_at=AFTER.isoformat(), through=epoch(BEFORE))
    assert await waiting(database) == {"wallets without a complete poll": 1}
    await checkpoint(database, "ingest", f"poll:{WALLET}", completed_at=AFTER.isoformat(), through=epoch(AFTER))
    assert await waiting(database) == {}


async def test_a_wallet_waits_for_the_opening_of_this_follow(database: Database) -> None:
    await follow(database)
    await checkpoint(database, "ingest", f"poll:{WALLET}", through=epoch(AFTER))
    await opened(database, BEFORE - timedelta(days=1))
    assert await waiting(database) == {"wallets whose opening positions are not told yet": 1}
    await opened(database)
    assert await waiting(database) == {}


async def test_an_opening_waits_for_its_shadow_entry(database: Database) -> None:
    user_id = await follow(database)
    await opened(database)
    await checkpoint(database, "ingest", f"poll:{WALLET}", through=epoch(AFTER))
    await add(
        database, PositionSync, id=uuid4(), kind="OPENING", user_id=user_id, wallet=WALLET, asset_id="1",
        price_micros=1, share_delta_micros=1, cash_delta_micros=0, ref_id="r", as_of=BEFORE, event_time=BEFORE,
        detect_time=BEFORE,
    )  # fmt: skip
    assert await waiting(database) == {"openings and adjustments without shadow entries": 1}


async def test_open_dead_letters_are_counted(database: Database) -> None:
    for status in ("OPEN", "OPEN", "REPLAYED"):
        await add(
            database, DeadLetter, id=uuid4(), stream="events.detected", group_name="ledger", message_id="1-0",
            payload="{}", error="x", attempts=4, first_at=BEFORE, last_at=BEFORE, status=status,
        )  # fmt: skip
    assert (await backlog(database.engine(), END)).dead_letters_open == 2


async def fill_by(database: Database, user_id: UUID, **values: Any) -> UUID:
    event_id = uuid4()
    fill = {
        "id": event_id, "user_id": user_id, "wallet": WALLET, "asset_id": "1", "side": "BUY", "share_micros": 1_000_000,
        "price_micros": 500_000, "usdc_notional_micros": 500_000, "fee_micros": 0, "tx_hash": f"0x{event_id.hex}",
        "ordinal": 0, "incarnation": 0, "event_time": BEFORE, "detect_time": BEFORE, "first_source": "CHAIN",
        "status": "CANONICAL", "booked": True,
    }  # fmt: skip
    await add(database, TradeEvent, **(fill | values))
    return event_id


async def dead_letter(database: Database, subject: UUID, status: str) -> None:
    await add(
        database, DeadLetter, id=uuid4(), stream="events.detected", group_name="ledger", message_id="1-0",
        subject=str(subject), payload="{}", error="x", attempts=4, first_at=BEFORE, last_at=BEFORE, status=status,
    )  # fmt: skip


async def test_a_fill_waits_for_its_group_and_its_shadow_entries(database: Database) -> None:
    user_id = await follow(database)
    await opened(database)
    await checkpoint(database, "ingest", f"poll:{WALLET}", through=epoch(AFTER))
    await fill_by(database, user_id)
    assert await waiting(database) == {"events without a group": 1, "fills without shadow entries": 1}


async def test_a_fill_of_an_unknown_market_waits_until_gamma_was_asked_after_it(database: Database) -> None:
    user_id = await follow(database)
    await opened(database)
    await checkpoint(database, "ingest", f"poll:{WALLET}", through=epoch(AFTER))
    await dead_letter(database, await fill_by(database, user_id, detect_time=AFTER), "OPEN")
    unanswered = {"an answer about markets that are unknown": 1}
    assert await waiting(database) == unanswered
    await asked(database, BEFORE)
    assert await waiting(database) == unanswered
    await asked(database, AFTER + timedelta(seconds=1))
    assert await waiting(database) == {}


async def split_by(database: Database, user_id: UUID) -> UUID:
    event_id = uuid4()
    await add(
        database, ActivityEvent, id=event_id, user_id=user_id, wallet=WALLET, type="SPLIT", kind="SPLIT",
        condition_id="0xc", share_micros=7, usdc_micros=7, tx_hash="0x1", ordinal=0, event_time=BEFORE,
        detect_time=AFTER, status="CANONICAL", booked=True,
    )  # fmt: skip
    group = uuid4()
    await add(
        database, EventGroup, id=group, kind="SPLIT", user_id=user_id, share_micros=7, usdc_notional_micros=7,
        first_event_time=BEFORE, first_detect_time=AFTER, first_ordinal=0, closed_at=AFTER,
    )  # fmt: skip
    await add(database, EventGroupMember, event_id=event_id, group_id=group, position=0)
    await dead_letter(database, group, "OPEN")
    return event_id


async def test_a_split_of_an_unknown_market_is_waited_for_until_nobody_knows_it(database: Database) -> None:
    user_id = await follow(database)
    await opened(database)
    await checkpoint(database, "ingest", f"poll:{WALLET}", through=epoch(AFTER))
    split = await split_by(database, user_id)
    unposted, unanswered = "splits and merges without shadow entries", "an answer about markets that are unknown"
    assert await waiting(database) == {unposted: 1, unanswered: 1}
    await asked(database, AFTER + timedelta(seconds=1))
    assert await waiting(database) == {unposted: 1}
    await add(
        database, WaitingEvent, event_id=split, kind="SPLIT", user_id=user_id, condition_id="0xc", waits_since=AFTER
    )
    assert await waiting(database) == {}
    await add(
        database, Market, condition_id="0xc", id="1", question="?", slug="s", active=True, closed=False,
        accepting_orders=True, neg_risk=False, fee_rate=0, fee_exponent=1, tick_micros=10_000, version="v1",
        resolved=False, refreshed_at=AFTER,
    )  # fmt: skip
    await add(database, OutcomeAsset, asset_id="1", condition_id="0xc", outcome_index=0, name="Yes")
    assert await waiting(database) == {}
    await add(database, OutcomeAsset, asset_id="2", condition_id="0xc", outcome_index=1, name="No")
    assert await waiting(database) == {unposted: 1}


async def test_a_fill_of_before_the_follow_is_not_waited_for(database: Database) -> None:
    user_id = await follow(database)
    await opened(database)
    await checkpoint(database, "ingest", f"poll:{WALLET}", through=epoch(AFTER))
    await fill_by(database, user_id, booked=False)
    assert await waiting(database) == {}


async def test_what_was_given_up_is_not_waited_for_but_what_was_replayed_is(database: Database) -> None:
    user_id = await follow(database)
    await opened(database)
    await checkpoint(database, "ingest", f"poll:{WALLET}", through=epoch(AFTER))
    await dead_letter(database, await fill_by(database, user_id), "OPEN")
    left = await backlog(database.engine(), END)
    assert (left.waiting, left.dead_letters_open) == ({}, 1)
    await dead_letter(database, await fill_by(database, user_id), "REPLAYED")
    assert await waiting(database) == {"events without a group": 1, "fills without shadow entries": 1}


async def test_a_group_waits_for_a_decision_in_each_scope(database: Database) -> None:
    user_id = await follow(database)
    await opened(database)
    await checkpoint(database, "ingest", f"poll:{WALLET}", through=epoch(AFTER))
    await add(
        database, EventGroup, id=uuid4(), kind="TRADE", user_id=user_id, share_micros=1, usdc_notional_micros=1,
        first_event_time=BEFORE, first_detect_time=BEFORE, first_ordinal=0, closed_at=BEFORE,
    )  # fmt: skip
    assert await waiting(database) == {"groups without a decision": 2}


async def test_what_is_held_waits_for_a_later_resolution_check_and_marking(database: Database) -> None:
    user_id, portfolio_id = await follow(database), uuid4()
    await opened(database)
    await checkpoint(database, "ingest", f"poll:{WALLET}", through=epoch(AFTER))
    await add(
        database, Portfolio, id=portfolio_id, scope="SHADOW_USER", user_id=user_id, opened_at=BEFORE, cash_micros=0,
        deposits_micros=0, withdrawals_micros=0, fees_micros=0, realized_pnl_micros=0, decision_seq=0,
        drawdown_tripped=False,
    )  # fmt: skip
    await add(
        database, Position, portfolio_id=portfolio_id, asset_id="1", condition_id="0x1", share_micros=1, cost_micros=1,
        realized_pnl_micros=0, flags=[], updated_at=BEFORE,
    )  # fmt: skip
    both = {"a resolution check of what is held": 1, "a marking of what is held": 1}
    assert await waiting(database) == both
    for key in ("resolutions", "marking"):
        await checkpoint(database, "pricer", key, completed_at=BEFORE.isoformat())
    assert await waiting(database) == both
    for key in ("resolutions", "marking"):
        await checkpoint(database, "pricer", key, completed_at=AFTER.isoformat())
    assert await waiting(database) == {}
    await checkpoint(database, "ingest", "markets:learned", at=AFTER.isoformat())  # both were made without it
    assert await waiting(database) == both
