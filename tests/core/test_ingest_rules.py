"""Kinds of rows, other events, reach of polls, doubts about a socket, wallets as people type them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from libs.common.domain.kinds import EventKind
from libs.common.upstream.activity import ActivityRow, decode_activity_row
from services.ingest.commands import parse_label, parse_wallet
from services.ingest.core.activity import match_facts
from services.ingest.core.listings import ShownTransactions
from services.ingest.core.polling import Reach, poll_interval, retry_delay
from services.ingest.core.sightings import FactSighting, RowSighting
from services.ingest.core.silence import Silence
from services.ingest.reading import Follow, read_listing

WALLET = "0x" + "11" * 20
TX = "0x" + "cd" * 32
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
FOLLOW = Follow(WALLET, UUID(int=1), NOON)


def wire(**values: Any) -> dict[str, Any]:
    return {
        "proxy_wallet": WALLET,
        "timestamp": int(NOON.timestamp()),
        "condition_id": "0x" + "aa" * 32,
        "type": "TRADE",
        "size": Decimal("22.84"),
        "usdc_size": Decimal("12.16184"),
        "transaction_hash": TX,
        "price": Decimal("0.52"),
        "token_id": "123",
        "side": "BUY",
        "outcome_index": 999,
        **values,
    }


def read(*wires: object) -> tuple[list[RowSighting], list[FactSighting]]:
    decoded = [decode_activity_row(each, WALLET) for each in wires]
    good = [row for row in decoded if isinstance(row, ActivityRow)]
    bad = [row for row in decoded if not isinstance(row, ActivityRow)]
    return read_listing(good, bad, FOLLOW, NOON + timedelta(seconds=5))


def test_a_trade_row_keeps_its_cash_and_shows_its_fee() -> None:
    (fill,), facts = read(wire())
    assert (fill.notional_micros, fill.fee_micros) == (11_876_800, 285_040)
    assert facts == []
    (sell,), _ = read(wire(side="SELL", usdc_size=Decimal("11.59176")))
    assert (sell.notional_micros, sell.fee_micros) == (11_876_800, 285_040)


def test_rows_of_one_listing_are_seen_in_its_order() -> None:
    fills, facts = read(wire(), wire(type="SPLIT"), wire())
    seen = [fills[0].seen_at, facts[0].seen_at, fills[1].seen_at]
    assert seen == sorted(set(seen))
    assert seen[-1] - seen[0] < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"type": "SPLIT"}, EventKind.SPLIT),
        ({"type": "MERGE"}, EventKind.MERGE),
        ({"type": "REDEEM", "token_id": ""}, EventKind.REDEEM),
        ({"type": "CONVERSION"}, EventKind.CONVERSION),
        ({"type": "REWARD", "condition_id": ""}, EventKind.ACCOUNT),
        ({"type": "TAKER_REBATE"}, EventKind.ACCOUNT),
        ({"type": "MIGRATION"}, EventKind.ACCOUNT),
        ({"type": "FLASH_LOAN"}, EventKind.OTHER),
        ({"type": ""}, EventKind.OTHER),
        ({"is_combo": True}, EventKind.COMBO),
        ({"condition_id": "0x" + "a" * 62, "type": "SPLIT"}, EventKind.COMBO),
        ({"size": Decimal(0)}, EventKind.OTHER),
        ({"token_id": ""}, EventKind.OTHER),
        ({"side": "HOLD"}, EventKind.OTHER),
        ({"price": None}, EventKind.OTHER),
        ({"size": "many"}, EventKind.OTHER),
        ({"type": "SPLIT", "usdc_size": Decimal(-1)}, EventKind.OTHER),
    ],
)
def test_rows_that_are_no_fills_are_kept_by_kind(values: dict[str, Any], kind: EventKind) -> None:
    fills, (fact,) = read(wire(**values))
    assert fills == []
    assert fact.kind is kind


@pytest.mark.parametrize(
    "odd", ["text", None, wire(transaction_hash=""), wire(timestamp="now"), wire(proxy_wallet="0x" + "22" * 20)]
)
def test_a_row_nobody_can_place_is_kept_all_the_same(odd: object) -> None:
    fills, (fact,) = read(odd)
    assert fills == []
    assert (fact.kind, fact.booked) == (EventKind.OTHER, False)
    assert read(odd)[1][0].key == fact.key


def test_what_happened_before_the_follow_is_kept_but_not_booked() -> None:
    before = int(NOON.timestamp()) - 1
    assert [fill.booked for fill in read(wire(), wire(timestamp=before))[0]] == [True, False]


def test_a_split_of_nothing_or_of_no_condition_is_counted_as_odd_and_not_booked() -> None:
    facts = read(wire(type="SPLIT", size=None), wire(type="MERGE", condition_id=None), wire(type="MERGE"))[1]
    assert [fact.booked for fact in facts] == [False, False, True]
    assert [fact.ignored and fact.ignored[0] for fact in facts] == ["odd_row", "odd_row", None]


def test_a_time_further_ahead_than_clocks_differ_is_none() -> None:
    seen = int(NOON.timestamp()) + 5
    fills, (fact,) = read(wire(timestamp=seen + 300), wire(timestamp=seen + 301))
    assert [fill.event_time for fill in fills] == [datetime.fromtimestamp(seen + 300, UTC)]
    assert (fact.kind, fact.booked) == (EventKind.OTHER, False)
    assert fact.ignored
    assert "not after 2026-11-01 12:00 and 5 minutes" in fact.ignored[1]


def test_equal_rows_of_one_listing_are_events_of_their_own_and_known_ones_are_not_new() -> None:
    split = read(wire(type="SPLIT"))[1][0]
    new, old = match_facts({}, [split, split])
    assert len({fact.id for fact in new}) == 2
    assert old == []
    detected = NOON + timedelta(seconds=1)
    new, old = match_facts({split.key: [detected]}, [split, split])
    assert [fact.ordinal for fact in new] == [1]
    assert [(fact.ordinal, fact.detect_time) for fact in old] == [(0, detected)]


def test_a_transaction_shown_again_with_the_same_rows_is_no_news() -> None:
    shown = ShownTransactions(limit=1)
    first, other = read(wire(), wire(type="SPLIT")), read(wire(transaction_hash="0x" + "ef" * 32))
    signatures = shown.signatures(*first)
    assert shown.news(signatures) == {(WALLET, TX)}
    shown.keep((WALLET, TX), signatures[WALLET, TX])
    assert shown.news(shown.signatures(first[0][::-1], first[1])) == set()
    assert shown.news(shown.signatures(first[0] * 2, first[1])) == {(WALLET, TX)}
    ((place, signature),) = shown.signatures(*other).items()
    shown.keep(place, signature)
    assert len(shown) == 1
    shown.forget(place)
    assert len(shown) == 0


def test_polls_keep_their_rhythm_until_the_budget_is_short_then_stretch_evenly() -> None:
    assert poll_interval(1) == poll_interval(240) == 30
    assert poll_interval(480) == 60


def test_failed_polls_are_tried_again_ever_later_up_to_the_interval() -> None:
    assert [retry_delay(failures, 30) for failures in (1, 2, 3, 5, 99)] == [2, 4, 8, 30, 30]


def test_a_poll_reaches_back_two_minutes_and_over_any_gap() -> None:
    assert Reach().start(10_000, first=False) == 9_880
    assert Reach(through=9_000).start(10_000, first=False) == 8_880
    assert Reach(through=9_990).start(10_000, first=True) == 9_100
    assert Reach(through=5_000).start(10_000, first=True) == 4_880
    assert Reach(wished=2_000).start(10_000, first=False) == 2_000
    assert Reach().start(60, first=True) == 1


def test_a_socket_is_doubted_when_the_api_shows_a_fill_it_kept_to_itself() -> None:
    silence = Silence()
    silence.renew(1_000)
    silence.miss(UUID(int=1), 1_001)
    silence.miss(UUID(int=2), 1_010)
    assert silence.doubt(1_030) is None
    assert silence.doubt(1_031) == "undelivered"
    silence.deliver(UUID(int=2))
    assert silence.doubt(1_031) is None


def test_a_quiet_socket_is_probed_at_most_once_a_minute() -> None:
    silence = Silence()
    silence.renew(1_000)
    silence.hear(1_050)
    assert silence.doubt(1_109) is None
    assert silence.doubt(1_110) == "quiet"
    silence.probe(1_110)
    assert silence.doubt(1_169) is None
    assert silence.doubt(1_170) == "quiet"


MIXED = "0x8f09D12e4d386adc4225ffede0f32d61d3C3e605"


@pytest.mark.parametrize(
    "text",
    [
        MIXED,
        f" {MIXED.lower()}\n",
        f"https://polymarket.com/profile/{MIXED}",
        f"https://www.polymarket.com/profile/{MIXED}/?tab=positions",
    ],
)
def test_wallets_are_read_from_addresses_and_profile_urls(text: str) -> None:
    assert parse_wallet(text) == MIXED.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x12",
        MIXED + "0",
        MIXED[2:],
        "0x" + "0" * 40,
        "https://polymarket.com/event/x",
        f"https://polymarket.com.evil.example/profile/{MIXED}",
        f"ftp://polymarket.com/profile/{MIXED}",
        "https://polymarket.com/@name",
        "0x" + "g" * 40,
    ],
)
def test_anything_else_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected a wallet"):
        parse_wallet(text)


def test_labels_are_trimmed_and_bounded() -> None:
    assert parse_label(" whale ") == "whale"
    assert parse_label(None) == ""
    for bad in (" ", "x" * 61, "a\nb"):
        with pytest.raises(ValueError, match="expected a label"):
            parse_label(bad)
