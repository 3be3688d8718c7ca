"""Wire objects become domain values, recorded ones included; nonsense is refused by name."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from libs.common.domain.kinds import Role, Side
from libs.common.domain.money import within_tolerance
from libs.common.upstream.activity import ActivityRow, decode_activity_row, fee_within
from libs.common.upstream.chain import EXCHANGES, ORDER_FILLED, decode_order_filled, log_filter
from libs.common.upstream.clob import decode_book
from libs.common.upstream.data_api import decode_position
from libs.common.upstream.gamma import decode_instant, decode_market
from libs.common.upstream.resolutions import decode_resolution

PAYLOADS = Path(__file__).parents[3] / "shared" / "reference" / "payloads"
recorded = pytest.mark.skipif(not PAYLOADS.exists(), reason="the recorded payloads are not beside the project")


def payload(name: str) -> Any:
    return json.loads((PAYLOADS / name).read_text(), parse_float=Decimal)


def payloads(folder: str) -> Iterator[Any]:
    for path in sorted((PAYLOADS / folder).glob("*.json")):
        document = json.loads(path.read_text(), parse_float=Decimal)
        yield from document if isinstance(document, list) else [document]


@recorded
def test_recorded_books_are_sorted_best_first() -> None:
    for wire in payloads("books"):
        book = decode_book(wire)
        bids, asks = [level.price_micros for level in book.bids], [level.price_micros for level in book.asks]
        assert bids == sorted(set(bids), reverse=True)
        assert asks == sorted(set(asks))
        assert len(bids) + len(asks) == len(wire["bids"]) + len(wire["asks"])
        assert not bids or not asks or bids[0] < asks[0]


@recorded
def test_recorded_markets_are_understood() -> None:
    markets = [decode_market(wire) for wire in payloads("gamma")]
    assert all(len(market.outcomes) == 2 and market.condition_id.startswith("0x") for market in markets)
    assert any(market.fee_rate == Decimal("0.072") for market in markets)
    assert any(market.closed and not market.resolved for market in markets)
    assert any(market.resolved for market in markets)


@recorded
def test_recorded_logs_tell_what_the_api_told_of_them() -> None:
    for case in payload("onchain/order_filled_with_api_values.json"):
        fill, told = decode_order_filled(case["log"]), case["expected"].get("data_api", {})
        ours = {
            "side": fill.side,
            "size": Decimal(fill.share_micros) / 1_000_000,
            "usdcSize": Decimal(fill.cash_micros) / 1_000_000,
            "proxyWallet": fill.wallet,
            "asset": fill.asset_id,
            "transactionHash": fill.tx_hash,
        }
        assert {name: ours[name] for name in ours.keys() & told.keys()} == {
            name: told[name] for name in ours.keys() & told.keys()
        }


@recorded
def test_a_recorded_receipt_holds_one_fill_of_each_party() -> None:
    logs = payload("onchain/v2_receipt.json")["result"]["logs"]
    fills = [decode_order_filled(log) for log in logs if log["topics"][0] == ORDER_FILLED]
    assert [(fill.role, fill.side, fill.notional_micros) for fill in fills] == [
        (Role.MAKER, Side.BUY, 1_083_333),
        (Role.TAKER, Side.BUY, 999_999),
    ]
    assert {fill.share_micros for fill in fills} == {2_083_332}
    assert fills[0].price_micros == 520_000


@recorded
def test_recorded_activity_rows_are_fills_with_their_fee() -> None:
    rows = [decode_activity_row(wire, wire["proxy_wallet"]) for wire in payload("data_api_v2/activity.json")]
    assert [row.odd for row in rows if isinstance(row, ActivityRow)] == [None, None]
    assert [row.fee_micros for row in rows if isinstance(row, ActivityRow)] == [0, 489_750]


@recorded
def test_recorded_positions_are_read_and_resolutions_without_payouts_are_not_final() -> None:
    assert all(decode_position(wire).share_micros > 0 for wire in payload("data_api_v2/positions.json"))
    assert [decode_resolution(wire) for wire in payload("data_api_v2/resolutions.json")] == [None, None]


@recorded
def test_taker_fees_of_recorded_fills_survive_the_way_through_cash() -> None:
    for fill in payload("onchain/taker_fees_21.json"):
        buy = fill["side"] == "BUY"
        paid, fee = int(fill["maker_amount_filled" if buy else "taker_amount_filled"]), int(fill["fee"])
        shares = int(fill["taker_amount_filled" if buy else "maker_amount_filled"])
        assert fee_within(paid + fee if buy else paid - fee, paid, shares) == fee


def book(**values: Any) -> dict[str, Any]:
    return {
        "asset_id": "123",
        "hash": "abc",
        "timestamp": "1790586656766",
        "bids": [{"price": "0.40", "size": "5"}, {"price": "0.41", "size": "0"}],
        "asks": [{"price": "0.60", "size": "1.5"}, {"price": "0.50", "size": "2"}],
        **values,
    }


def test_a_book_is_turned_best_first_and_empty_levels_vanish() -> None:
    found = decode_book(book())
    assert [level.price_micros for level in found.bids] == [400_000]
    assert [(level.price_micros, level.share_micros) for level in found.asks] == [
        (500_000, 2_000_000),
        (600_000, 1_500_000),
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"asset_id": "0xab"},
        {"asset_id": None},
        {"hash": ""},
        {"timestamp": "soon"},
        {"bids": None},
        {"bids": ["0.4"]},
        {"asks": [{"price": "1.0", "size": "1"}]},
        {"asks": [{"price": "0", "size": "1"}]},
        {"asks": [{"price": 0.5, "size": "1"}]},
        {"asks": [{"price": "0.5", "size": "-1"}]},
        {"asks": [{"price": "NaN", "size": "1"}]},
        {"asks": [{"price": "0.5"}]},
        {"asks": [{"price": "0.5", "size": "1"}, {"price": "0.50", "size": "2"}]},
    ],
)
def test_a_bad_book_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|listed twice"):
        decode_book(book(**values))


def market(**values: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "conditionId": "0xAB",
        "outcomes": '["Yes", "No"]',
        "clobTokenIds": '["11", "12"]',
        "positionIds": ["21", "22"],
        "endDate": "2026-12-31T00:00:00Z",
        "active": True,
        "closed": False,
        "acceptingOrders": True,
        "orderPriceMinTickSize": Decimal("0.001"),
        "feesEnabled": True,
        "feeSchedule": {"rate": Decimal("0.04"), "exponent": 1},
        **values,
    }


def test_the_version_decides_which_token_ids_count() -> None:
    assert [outcome.asset_id for outcome in decode_market(market()).outcomes] == ["11", "12"]
    assert [outcome.asset_id for outcome in decode_market(market(version="v2")).outcomes] == ["21", "22"]


def test_ids_and_names_are_paired_by_their_place_and_an_unknown_version_is_refused() -> None:
    swapped = decode_market(market(clobTokenIds='["12", "11"]', outcomes='["No", "Yes"]'))
    assert [(each.asset_id, each.index, each.name) for each in swapped.outcomes] == [("12", 0, "No"), ("11", 1, "Yes")]
    with pytest.raises(ValueError, match="`version` v1 or v2"):
        decode_market(market(version="v3"))


def test_a_market_that_does_not_say_whether_it_is_closed_is_not_taken_for_open() -> None:
    with pytest.raises(ValueError, match="`closed` true or false"):
        decode_market(market(closed=None))


def test_lists_are_read_from_strings_and_from_arrays_alike() -> None:
    assert decode_market(market(outcomes=["Up", "Down"])).outcomes[1].name == "Down"


def test_fees_are_zero_where_they_are_off_and_closed_is_not_resolved() -> None:
    assert decode_market(market(feesEnabled=False)).fee_rate == 0
    assert decode_market(market(feesEnabled=None)).fee_rate == Decimal("0.04")  # the schedule says it
    assert decode_market(market()).fee_rate == Decimal("0.04")
    assert not decode_market(market(closed=True)).resolved
    assert decode_market(market(closed=True, umaResolutionStatus="resolved")).resolved
    assert decode_market(market(closed=True, version="v2", resolutionStatus="resolved")).resolved


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-12-31T00:00:00Z", datetime(2026, 12, 31, tzinfo=UTC)),
        ("2025-11-01 06:28:08+00", datetime(2025, 11, 1, 6, 28, 8, tzinfo=UTC)),
        ("2026-10-08", datetime(2026, 10, 8, tzinfo=UTC)),
        ("1970-01-01", None),
        ("", None),
        (None, None),
    ],
)
def test_times_of_every_shape_are_read(text: str | None, instant: datetime | None) -> None:
    assert decode_instant(text) == instant


def test_a_final_resolution_gives_its_payouts_and_nonsense_is_refused() -> None:
    wire = {"condition_id": "0xAB", "status": "resolved", "payouts": [1_000_000, 0], "resolved_at": "soon"}
    found = decode_resolution(wire)
    assert found is not None
    assert (found.condition_id, found.payouts_micros, found.resolved_at) == ("0xab", (1_000_000, 0), None)
    assert decode_resolution({**wire, "status": "proposed"}) is None
    for payouts in ([1.5], [-1], "all", [2_000_000], [True]):
        with pytest.raises(ValueError, match="expected `payouts`"):
            decode_resolution({**wire, "payouts": payouts})


def fill_log(side: int = 0, *, taker: str = "0x" + "22" * 20, **values: Any) -> dict[str, Any]:
    words = (side, 77, *((1_000_000, 500_000) if side else (500_000, 1_000_000)), 30, 0, 0)
    return {
        "address": EXCHANGES[0].upper().replace("0X", "0x"),
        "topics": [ORDER_FILLED, "0x" + "0" * 64, "0x" + "0" * 24 + "11" * 20, "0x" + "0" * 24 + taker[2:]],
        "data": "0x" + "".join(format(word, "064x") for word in words),
        "transactionHash": "0x" + "aa" * 32,
        "blockHash": "0x" + "bb" * 32,
        "blockNumber": "0x64",
        "logIndex": "0x5",
        "removed": False,
        **values,
    }


def test_a_log_tells_side_amounts_role_and_block() -> None:
    buy = decode_order_filled(fill_log(blockTimestamp="0x6a93a580"))
    assert (buy.side, buy.share_micros, buy.notional_micros, buy.cash_micros) == (Side.BUY, 1_000_000, 500_000, 500_030)
    assert (buy.role, buy.log_index, buy.block_number, buy.timestamp) == (Role.MAKER, 5, 100, 0x6A93A580)
    sell = decode_order_filled(fill_log(1, taker=EXCHANGES[2]))
    assert (sell.side, sell.share_micros, sell.notional_micros, sell.cash_micros) == (
        Side.SELL,
        1_000_000,
        500_000,
        499_970,
    )
    assert (sell.role, sell.timestamp, sell.price_micros) == (Role.TAKER, None, 500_000)


@pytest.mark.parametrize(
    "values",
    [
        {"address": "0x" + "33" * 20},
        {"topics": [ORDER_FILLED]},
        {"topics": None},
        {"topics": ["0x0", "0x0", "0x0", "0x0"]},
        {"topics": [ORDER_FILLED, "0x0", "0x12", "0x12"]},
        {"data": "0x12"},
        {"data": None},
        {"data": "0x" + format(2, "064x") + "0" * 256},
        {"transactionHash": None},
        {"blockHash": "0x12"},
        {"logIndex": 5},
        {"blockNumber": None},
        {"blockTimestamp": 16},
    ],
)
def test_a_bad_log_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        decode_order_filled(fill_log(**values))


def test_a_log_without_shares_is_refused() -> None:
    nothing = "0x" + "".join(format(word, "064x") for word in (0, 77, 5, 0, 0, 0, 0))
    with pytest.raises(ValueError, match="sane amounts"):
        decode_order_filled(fill_log(data=nothing))


def test_combo_positions_are_told_by_their_module_on_the_third_exchange_only() -> None:
    token = 3 << 248 | 5
    data = "0x" + "".join(format(word, "064x") for word in (0, token, 5, 10, 0, 0, 0))
    assert decode_order_filled(fill_log(data=data, address=EXCHANGES[2])).is_combo
    assert not decode_order_filled(fill_log(data=data)).is_combo


def test_the_filter_names_makers_only() -> None:
    wanted = log_filter(["0x" + "11" * 20])
    assert wanted["topics"] == [ORDER_FILLED, None, ["0x" + "0" * 24 + "11" * 20]]
    assert wanted["address"] == list(EXCHANGES)


@pytest.mark.parametrize(("distance", "fee"), [(0, 0), (10, 0), (11, 10), (16, 20), (114_996, 115_000)])
def test_a_fee_is_the_distance_of_cash_and_gross_beyond_the_tolerance(distance: int, fee: int) -> None:
    assert fee_within(1_000_000 + distance, 1_000_000, 1_000_000) == fee
    assert fee_within(1_000_000 - distance, 1_000_000, 1_000_000) == fee


def test_the_tolerance_grows_with_the_size() -> None:
    assert within_tolerance(0, 12, 2 * 10**10)
    assert not within_tolerance(0, 12, 2 * 10**10 - 1)
