"""Exports from a real database: SPEC 14's columns, micros as integers, times to the microsecond, JSON in CSV too."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import typer
from sqlalchemy import insert
from sqlmodel import SQLModel
from typer.testing import CliRunner

from libs.common.db.exports import EXPORTS
from libs.common.db.tables.attempts import BookSnapshot, CopyAttempt
from libs.common.db.tables.config import EffectiveConfig
from libs.common.db.tables.events import ActivityEvent, EventSighting, TradeEvent
from libs.common.db.tables.groups import EventGroup, EventGroupMember
from libs.common.db.tables.ledger import Portfolio
from libs.common.db.tables.markets import Market, OutcomeAsset
from libs.common.db.tables.system import AuditLog
from libs.common.db.tables.users import FollowedUser
from services.cli import export as export_command
from services.cli.errors import CommandError
from services.cli.export import Format, write_rows
from tests.support.databases import Database

pytestmark = pytest.mark.integration

CONTRACT = {
    "events": "id, kind, status, incarnation, user_label, wallet, condition_id, asset_id, side, role, share_micros, "
    "price_micros, usdc_notional_micros, fee_micros, tx_hash, log_index, block_hash, event_time, detect_time, "
    "first_source, sightings, mismatch",
    "sightings": "event_id, source, seen_at, share_micros, usdc_micros",
    "groups": "id, kind, user_label, condition_id, asset_id, side, share_micros, usdc_notional_micros, "
    "reference_price_micros, first_event_time, first_detect_time, closed_at, event_ids",
    "attempts": "id, seq, scope, user_label, group_id, kind, condition_id, asset_id, side, decision, reason_codes, "
    "out_of_order, due_at, decided_at, book_hash, book_fetched_at, best_bid_micros, best_ask_micros, mid_price_micros, "
    "their_reference_price_micros, limit_price_micros, depth_micros, target_notional_micros, filled_share_micros, "
    "filled_notional_micros, vwap_price_micros, fee_micros, fee_rate, cash_micros, equity_micros, held_share_micros, "
    "exposure_total_micros, exposure_market_micros, exposure_user_micros, day_start_equity_micros, "
    "week_start_equity_micros, peak_equity_micros, counterfactual_share_micros, counterfactual_notional_micros, "
    "config_version",
    "fills": "attempt_id, level, share_micros, price_micros, notional_micros, fee_micros",
    "ledger": "id, seq, scope, user_label, source_user, condition_id, asset_id, entry_type, share_delta_micros, "
    "cash_delta_micros, price_micros, ref_id, event_time, created_at, reverses",
    "positions": "scope, user_label, condition_id, asset_id, share_micros, cost_micros, realized_pnl_micros, flags",
    "snapshots": "scope, user_label, at, equity_micros, cash_micros, exposure_micros, unrealized_pnl_micros, "
    "realized_pnl_micros, deposits_micros, fees_micros",
    "marks": "asset_id, at, price_micros, source",
    "books": "hash, asset_id, fetched_at, bids, asks",
    "config": "version, scope, user_label, effective_at, values",
}
ANNA, FILL, SPLIT, GROUP, BOUGHT, COPY = (UUID(int=number) for number in range(1, 7))
TEN = datetime(2026, 11, 22, 10, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return TEN + timedelta(seconds=seconds)


def rows() -> list[SQLModel]:
    """One of most things, with nulls, arrays, documents and a quoted comma."""
    fill: dict[str, Any] = {"share_micros": 20_000_000, "usdc_notional_micros": 10_200_000}
    seen: dict[str, Any] = {"event_id": FILL, "share_micros": 20_000_000, "usdc_micros": 10_449_900}
    return [
        FollowedUser(id=ANNA, label="anna", profile_wallet="0xa", followed_at=TEN),
        Market(
            condition_id="0xc",
            id="1",
            question='Up, or "down"?',
            slug="s",
            active=True,
            closed=False,
            neg_risk=False,
            accepting_orders=True,
            fee_rate=Decimal("0.050"),
            fee_exponent=Decimal(1),
            tick_micros=10_000,
            version="v1",
            resolved=False,
            refreshed_at=TEN,
        ),
        OutcomeAsset(asset_id="111", condition_id="0xc", outcome_index=0, name="Up"),
        OutcomeAsset(asset_id="222", condition_id="0xc", outcome_index=1, name="Down"),
        TradeEvent(
            id=FILL,
            user_id=ANNA,
            wallet="0xa",
            asset_id="111",
            side="BUY",
            **fill,
            price_micros=510_000,
            fee_micros=249_900,
            tx_hash="0x1",
            ordinal=0,
            event_time=TEN,
            detect_time=after(1.000123),
            first_source="CHAIN",
            booked=True,
        ),
        ActivityEvent(
            id=SPLIT,
            user_id=ANNA,
            wallet="0xa",
            type="SPLIT",
            kind="SPLIT",
            condition_id="0xc",
            share_micros=5_000_000,
            usdc_micros=5_000_000,
            tx_hash="0x2",
            ordinal=0,
            event_time=after(2),
            detect_time=after(3),
            booked=True,
        ),
        EventSighting(**seen, source="CHAIN", seen_at=after(1)),
        EventSighting(**seen, source="DATA_API", seen_at=after(4)),
        EventGroup(
            id=GROUP,
            kind="TRADE",
            user_id=ANNA,
            asset_id="111",
            side="BUY",
            **fill,
            reference_price_micros=510_000,
            first_event_time=TEN,
            first_detect_time=after(1.000123),
            first_ordinal=0,
            closed_at=after(3),
        ),
        EventGroupMember(event_id=FILL, group_id=GROUP, position=0),
        Portfolio(id=COPY, scope="EXEC_GLOBAL", opened_at=TEN),
        CopyAttempt(
            id=BOUGHT,
            portfolio_id=COPY,
            seq=1,
            scope="EXEC_GLOBAL",
            user_id=ANNA,
            group_id=GROUP,
            kind="TRADE",
            asset_id="111",
            side="BUY",
            decision="SKIP",
            reason_codes=["RISK_CAP_TOTAL", "RISK_CAP_GLOBAL"],
            due_at=after(4),
            decided_at=after(4.1),
            fee_rate=Decimal("0.050"),
            inputs={},
            checks=[],
        ),
        BookSnapshot(
            asset_id="111", hash="h1", timestamp_ms=1, fetched_at=after(4), bids=[[500_000, 1_000_000]], asks=[]
        ),
        EffectiveConfig(scope="GLOBAL", values={"copy_pct": 1}, effective_at=TEN),
        AuditLog(id=ANNA, at=TEN, actor="operator", action="follow", subject="anna", detail={"wallet": "0xa"}),
    ]


async def exported(database: Database, kind: str, output_format: Format = Format.JSONL) -> str:
    stream = io.StringIO()
    await write_rows(database.url(), kind, output_format, stream)
    return stream.getvalue()


async def json_rows(database: Database, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await exported(database, kind)).splitlines()]


@pytest.fixture
async def seeded(database: Database) -> Database:
    async with database.engine().begin() as connection:
        for row in rows():
            await connection.execute(insert(type(row)).values(row.model_dump(exclude_unset=False, exclude_none=True)))
    return database


async def test_every_kind_of_the_contract_exports_its_columns_first(database: Database) -> None:
    for kind, columns in CONTRACT.items():
        header = (await exported(database, kind, Format.CSV)).splitlines()[0].split(",")
        wanted = columns.split(", ")
        assert header[: len(wanted)] == wanted, kind


async def test_all_kinds_answer_on_an_empty_database(database: Database) -> None:
    assert set(EXPORTS) >= {*CONTRACT, "markets", "deadletters", "audit"}
    for kind in EXPORTS:
        assert await exported(database, kind) == ""


async def test_a_fill_keeps_integers_and_microseconds(seeded: Database) -> None:
    fill, split = await json_rows(seeded, "events")
    assert fill["id"] == str(FILL)
    assert (fill["kind"], fill["usdc_notional_micros"], fill["fee_micros"]) == ("TRADE", 10_200_000, 249_900)
    assert fill["event_time"] == "2026-11-22T10:00:00.000000Z"
    assert fill["detect_time"] == "2026-11-22T10:00:01.000123Z"
    assert (fill["sightings"], fill["mismatch"], fill["condition_id"]) == (2, None, "0xc")
    assert (split["kind"], split["asset_id"], split["first_source"]) == ("SPLIT", None, "DATA_API")


async def test_arrays_are_json_in_both_formats(seeded: Database) -> None:
    group = (await json_rows(seeded, "groups"))[0]
    assert group["event_ids"] == [str(FILL)]
    attempt = (await json_rows(seeded, "attempts"))[0]
    assert attempt["reason_codes"] == ["RISK_CAP_TOTAL", "RISK_CAP_GLOBAL"]
    rows = list(csv.DictReader(io.StringIO(await exported(seeded, "attempts", Format.CSV))))
    assert json.loads(rows[0]["reason_codes"]) == ["RISK_CAP_TOTAL", "RISK_CAP_GLOBAL"]
    books = list(csv.DictReader(io.StringIO(await exported(seeded, "books", Format.CSV))))
    assert json.loads(books[0]["bids"]) == [[500_000, 1_000_000]]


async def test_nulls_are_empty_and_numbers_plain_in_csv(seeded: Database) -> None:
    row = next(csv.DictReader(io.StringIO(await exported(seeded, "attempts", Format.CSV))))
    assert (row["book_hash"], row["fee_rate"], row["out_of_order"]) == ("", "0.050", "false")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", row["decided_at"])
    market = next(csv.DictReader(io.StringIO(await exported(seeded, "markets", Format.CSV))))
    assert market["question"] == 'Up, or "down"?'
    assert json.loads(market["asset_ids"]) == ["111", "222"]


async def test_documents_stay_documents(seeded: Database) -> None:
    assert (await json_rows(seeded, "config"))[0]["values"] == {"copy_pct": 1}
    assert (await json_rows(seeded, "audit"))[0]["detail"] == {"wallet": "0xa"}
    assert (await json_rows(seeded, "attempts"))[0]["fee_rate"] == pytest.approx(0.05)


def test_an_unknown_kind_is_refused_before_anything_is_opened() -> None:
    app = typer.Typer()
    export_command.register(app)
    result = CliRunner().invoke(app, ["trades"])
    assert isinstance(result.exception, CommandError)
    assert "choose one of events" in str(result.exception)
    assert result.exception.exit_code == 2
