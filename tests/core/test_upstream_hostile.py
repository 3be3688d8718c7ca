"""Whatever the wire says, a decoder gives a value within its bounds or a ValueError that names what is wrong."""

import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.domain.book import Book
from libs.common.domain.market import MarketFacts, Resolution
from libs.common.domain.money import MICROS
from libs.common.upstream.activity import ActivityRow, UnreadableRow, decode_activity_row
from libs.common.upstream.chain import EXCHANGES, ORDER_FILLED, ChainFill, decode_order_filled
from libs.common.upstream.clob import decode_book, decode_last_trade
from libs.common.upstream.data_api import PositionRow, decode_page, decode_position, decode_rows
from libs.common.upstream.fields import BIGINT_MAX, EPOCH_SECOND_MAX
from libs.common.upstream.gamma import decode_market, market_list
from libs.common.upstream.gateway import MalformedError, parse_json
from libs.common.upstream.resolutions import decode_resolution
from libs.common.upstream.samples import Sampler, written

WALLET = "0x" + "a1" * 20
PAYLOADS = Path(__file__).parents[3] / "shared" / "reference" / "payloads"
recorded = pytest.mark.skipif(not PAYLOADS.exists(), reason="the recorded payloads are not beside the project")

ROW: dict[str, Any] = {
    "proxy_wallet": WALLET,
    "timestamp": 1_789_380_859,
    "condition_id": "0x" + "5d" * 32,
    "type": "TRADE",
    "size": Decimal("7.44"),
    "usdc_size": Decimal("6.72948"),
    "transaction_hash": "0x" + "4a" * 32,
    "price": Decimal("0.9"),
    "token_id": "11089162117562391112326241893438906615702023116026",
    "side": "BUY",
    "outcome_index": 1,
    "title": "Will it rain?",
}
POSITION: dict[str, Any] = {
    "proxy_wallet": WALLET,
    "token_id": "5613452093482798745035483421086271813628131832036811802560883188483241941377",
    "condition_id": "0x" + "21" * 32,
    "current_size": Decimal("28.09"),
    "current_price": Decimal("0.715"),
    "last_event_at": 1_791_292_984,
}
RESOLUTION: dict[str, Any] = {
    "condition_id": "0x" + "78" * 32,
    "status": "resolved",
    "payouts": [MICROS, 0],
    "resolution_source": "reported",
    "resolved_at": "2026-09-09T21:19:19Z",
}
BOOK: dict[str, Any] = {
    "market": "0x" + "1d" * 32,
    "asset_id": "32338220190071351435772801779725302244575775216413325",
    "timestamp": "1787102287053",
    "hash": "f3285de052f887d0ce2847581636a69c1046178d",
    "bids": [{"price": "0.001", "size": "10611926.49"}, {"price": "0.044", "size": "18228.38"}],
    "asks": [{"price": "0.999", "size": "1598544.78"}, {"price": "0.045", "size": "429.57"}],
}
MARKET: dict[str, Any] = {
    "id": "559651",
    "question": "Out before 2027?",
    "conditionId": "0x" + "a4" * 32,
    "slug": "out-before-2027",
    "endDate": "2026-12-31T00:00:00Z",
    "outcomes": '["Yes", "No"]',
    "clobTokenIds": '["3233", "2565"]',
    "positionIds": ["8952", "8953"],
    "active": True,
    "closed": False,
    "acceptingOrders": True,
    "negRisk": False,
    "orderPriceMinTickSize": Decimal("0.001"),
    "feesEnabled": True,
    "feeSchedule": {"exponent": 1, "rate": Decimal("0.04")},
    "umaResolutionStatus": "resolved",
    "version": "v1",
}
LOG: dict[str, Any] = {
    "address": EXCHANGES[0],
    "topics": [ORDER_FILLED, "0x" + "0" * 64, "0x" + "0" * 24 + "11" * 20, "0x" + "0" * 24 + "22" * 20],
    "data": "0x" + "".join(format(word, "064x") for word in (0, 77, 500_000, 1_000_000, 30, 0, 0)),
    "transactionHash": "0x" + "aa" * 32,
    "blockHash": "0x" + "bb" * 32,
    "blockNumber": "0x64",
    "blockTimestamp": "0x6a93a580",
    "logIndex": "0x5",
    "removed": False,
}
LAST_TRADE: dict[str, Any] = {"token_id": "77", "price": "0.585", "side": "SELL"}


def decode_row(wire: object) -> object:
    return decode_activity_row(wire, WALLET)


Decoder = Callable[[object], object]
DECODERS: dict[str, tuple[Decoder, dict[str, Any]]] = {
    "activity": (decode_row, ROW),
    "position": (decode_position, POSITION),
    "resolution": (decode_resolution, RESOLUTION),
    "book": (decode_book, BOOK),
    "market": (decode_market, MARKET),
    "log": (decode_order_filled, LOG),
    "last_trade": (decode_last_trade, LAST_TRADE),
}

HOSTILE: list[Any] = [
    None, True, False, "", " ", "0", "1", "-1", "1e400", "NaN", "Infinity", "-Infinity", "sNaN", "\0", "a\0b",
    "\ud800", "²", "\uff11", "true", "null", "0x", "0x0", "0xZZ", "0X" + "AB" * 20, "0x" + "ab" * 31, "0x" + "F" * 64,
    "x" * 5_000, "9" * 4_000, 0, 1, -1, 2, 10**30, -(10**30), 2**63, 2**31, 1_789_380_859_000, 4_102_444_800,
    99_999_999_999, Decimal("NaN"), Decimal("Infinity"), Decimal("-0.1"), Decimal("1.0000001"), Decimal("1E+30"),
    Decimal("1E-30"), Decimal("1E+999999"), Decimal("1E-999999"), Decimal(1), 0.5, [], {}, [[]], [None], [{}], ["1"],
    {"price": "1"}, [[[[]]]], "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "[1,", '["1", "1"]', '["a"]',
    "2026-13-45", "v2", "v3", "TRADE", "SELL", "resolved",
]  # fmt: skip

SCALARS = st.none() | st.booleans() | st.integers() | st.decimals() | st.text() | st.sampled_from(HOSTILE[:46])
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def inside(found: object) -> None:  # noqa: C901  one case a decoder
    """Fail unless a decoded value keeps what the rest of the house relies on."""
    for name in getattr(found, "__slots__", ()):
        value = None if name == "wire" else getattr(found, name)
        if isinstance(value, int):
            assert 0 <= value <= BIGINT_MAX, (name, value)
        if isinstance(value, str) and name not in ("odd", "reason"):
            assert "\0" not in value
            value.encode()
            assert len(value) <= 1_000, name
    match found:
        case ActivityRow():
            assert found.timestamp <= EPOCH_SECOND_MAX
            assert 0 <= found.price_micros <= MICROS
            assert found.wallet == found.wallet.lower()
            assert found.condition_id == found.condition_id.lower()
            assert (len(found.type), len(found.side), len(found.condition_id)) <= (40, 4, 66)
            if found.type == "TRADE" and found.odd is None:
                assert found.share_micros > 0
                assert found.asset_id.isascii()
                assert found.asset_id.isdigit()
                assert found.side in ("BUY", "SELL")
                assert found.cash_micros + found.fee_micros <= BIGINT_MAX
                assert found.side == "SELL" or found.cash_micros >= found.fee_micros
            assert found.odd is None or "expected `" in found.odd
        case UnreadableRow():
            assert "expected" in found.reason
        case ChainFill():
            assert 0 <= found.price_micros <= MICROS
            assert found.share_micros > 0
            assert found.cash_micros >= 0
            assert found.log_index < 2**31
            assert found.timestamp is None or found.timestamp <= EPOCH_SECOND_MAX
        case Book():
            for levels in (found.bids, found.asks):
                assert all(0 < level.price_micros < MICROS for level in levels)
                assert all(0 < level.share_micros <= BIGINT_MAX for level in levels)
        case MarketFacts():
            assert 0 <= found.fee_rate <= 1
            assert 0 < found.tick_micros < MICROS
            assert len(found.id) <= 66
            assert all(len(each.asset_id) <= 78 and len(each.name) <= 200 for each in found.outcomes)
            assert found.close_time is None or found.close_time.utcoffset() is not None
        case Resolution():
            assert 0 < sum(found.payouts_micros) <= MICROS
            assert len(found.source) <= 20
        case PositionRow():
            assert found.price_micros is None or found.price_micros <= MICROS
        case (str() as token, int() as price):
            assert token.isdigit()
            assert 0 <= price <= MICROS


def check(decode: Decoder, wire: object, field: str | None = None) -> None:
    refusal = ""
    try:
        inside(decode(wire))
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert "expected" in refusal, refusal
        assert len(refusal) < 500
        assert field is None or f"`{field}" in refusal, (field, refusal)


@pytest.mark.parametrize("name", DECODERS)
def test_a_valid_object_decodes(name: str) -> None:
    decode, valid = DECODERS[name]
    found = decode(valid)
    inside(found)
    assert found is not None
    assert not isinstance(found, UnreadableRow)
    assert getattr(found, "odd", None) is None


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=60, deadline=None)
@given(wire=JSON)
def test_arbitrary_json_is_a_value_within_bounds_or_an_error(name: str, wire: Any) -> None:
    check(DECODERS[name][0], wire)


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_one_changed_field_is_taken_within_bounds_or_named(name: str, data: st.DataObject) -> None:
    decode, valid = DECODERS[name]
    field = data.draw(st.sampled_from(sorted(valid)))
    check(decode, {**valid, field: data.draw(st.sampled_from(HOSTILE) | JSON)}, None if field == "version" else field)


@pytest.mark.parametrize("name", DECODERS)
def test_every_hostile_value_in_every_field_is_taken_within_bounds_or_named(name: str) -> None:
    decode, valid = DECODERS[name]
    for wire, path in mutations(valid):
        # `version` decides which list is read, so another field may be the one that is amiss.
        check(decode, wire, None if path[0] == "version" else str(path[0]))


def mutations(valid: dict[str, Any]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield `valid` with one place at any depth changed or gone."""
    for path in list(places(valid)):
        for value in HOSTILE:
            wire = copy.deepcopy(valid)
            holder = wire
            for step in path[:-1]:
                holder = holder[step]
            holder[path[-1]] = value
            yield wire, path
        if len(path) == 1:
            yield {key: value for key, value in valid.items() if key != path[0]}, path
    yield {**valid, "brand_new": HOSTILE}, ("brand_new",)


def places(wire: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = list(wire.items()) if isinstance(wire, dict) else list(enumerate(wire)) if isinstance(wire, list) else []
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@recorded
@pytest.mark.parametrize(
    ("folder", "decoder"),
    [("books", "book"), ("gamma", "market"), ("data_api_v2/positions", "position"), ("onchain/order", "log")],
)
def test_recorded_objects_with_one_field_changed_are_taken_within_bounds_or_named(folder: str, decoder: str) -> None:
    for valid in objects(folder)[:2]:
        small = {
            key: value[:2] if isinstance(value, list) and key != "topics" else value for key, value in valid.items()
        }
        for wire, path in mutations(small):
            if len(path) == 1:
                check(DECODERS[decoder][0], wire, None if path[0] == "version" else str(path[0]))


def objects(name: str) -> list[dict[str, Any]]:
    """Return the recorded objects of a folder or of files whose name starts like this."""
    found: list[dict[str, Any]] = []
    for path in sorted(PAYLOADS.rglob("*.json")):
        if str(path.relative_to(PAYLOADS)).startswith(name):
            document = json.loads(path.read_text(), parse_float=Decimal)
            found += [each.get("log", each) for each in (document if isinstance(document, list) else [document])]
    return found


def as_v2(row: dict[str, Any]) -> dict[str, Any]:
    """Return an old camelCase row under today's names."""
    names = {"proxyWallet": "proxy_wallet", "conditionId": "condition_id", "usdcSize": "usdc_size", "asset": "token_id"}
    names |= {"transactionHash": "transaction_hash"}
    return {names.get(key, key): value for key, value in row.items()}


@recorded
def test_every_recorded_activity_row_is_read_and_none_is_odd() -> None:
    wires = objects("data_api_v2/activity.json") + [as_v2(row) for row in objects("data_api_v1/activity")]
    rows = [decode_activity_row(wire, wire["proxy_wallet"].lower()) for wire in wires]
    assert len(rows) > 100
    assert [row.reason for row in rows if isinstance(row, UnreadableRow)] == []
    assert [row.odd for row in rows if isinstance(row, ActivityRow) and row.odd] == []


@recorded
def test_every_recorded_object_of_each_kind_decodes() -> None:
    assert all(decode_book(wire) for wire in objects("books") + objects("ws"))
    assert all(decode_market(wire) for wire in objects("gamma"))
    assert all(decode_position(wire) for wire in objects("data_api_v2/positions"))
    assert all(decode_order_filled(wire) for wire in objects("onchain/order_filled"))
    for wire in objects("data_api_v2/resolutions"):
        decode_resolution(wire)
    for wire in objects("data_api_v2/activity_combos") + objects("data_api_v2/trades"):
        inside(decode_activity_row(wire, str(wire["proxy_wallet"])))


@recorded
def test_recorded_error_bodies_are_never_taken_for_data() -> None:
    for case in objects("errors"):
        with pytest.raises(MalformedError):
            decode_page(case.get("body", case))


@settings(max_examples=80, deadline=None)
@given(body=st.binary(max_size=200) | JSON.map(lambda each: json.dumps(each, default=str).encode()))
def test_any_body_is_a_document_or_malformed(body: bytes) -> None:
    try:
        document = parse_json(body)
    except MalformedError:
        return
    for decode in (decode_page, decode_rows, market_list):
        with contextlib.suppress(MalformedError):
            decode(document)


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e9999999999999999999", "9" * 5_000, "1e400", "-1", "1" + "0" * 30]
)
def test_a_number_beyond_all_bounds_costs_its_row_and_not_the_page(number: str) -> None:
    good = json.dumps(ROW, default=float)
    body = f'{{"data": [{good}, {good.replace("7.44", number)}], "pagination": {{"has_more": false}}}}'
    page = decode_page(parse_json(body))
    first, second = (decode_activity_row(each, WALLET) for each in page.rows)
    assert isinstance(first, ActivityRow)
    assert first.odd is None
    assert isinstance(second, ActivityRow)
    assert "expected `size` a number" in str(second.odd)


@settings(max_examples=100, deadline=None)
@given(wire=JSON)
def test_any_wire_object_can_be_written_down(wire: Any) -> None:
    orjson.loads(written(wire))


def test_what_cannot_be_written_or_is_too_long_is_written_shorter() -> None:
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    for wire in (deep, "x" * 10**6, {"n": 10**30}, "\ud800", {"d": Decimal("NaN")}, {"t": ("\0", object())}):
        assert len(written(wire)) < 70_000
        orjson.loads(written(wire))
    assert written({"price": Decimal("0.10")}) == b'{"price":0.10}'


def test_one_sample_of_each_reason_is_shown_a_minute() -> None:
    now = [0.0]
    sampler = Sampler(lambda: now[0])
    assert sampler.show("book", "expected", {"a": 10**30})
    assert not sampler.show("book", "expected", {})
    assert sampler.show("log", "expected", "\0")
    now[0] = 60.0
    assert sampler.show("book", "expected", None)


@pytest.mark.parametrize(
    ("side", "price", "cash", "is_odd"),
    [
        ("BUY", "0.5", "5", False),
        ("BUY", "0.5", "5.175", False),  # the highest fee there is
        ("SELL", "0.5", "4.825", False),
        ("SELL", "0.999", "9.995", False),  # a price that was rounded
        ("BUY", "0.001", "0.0107", False),
        ("BUY", "0", "5", True),
        ("SELL", "0.5", "0", True),
        ("BUY", "0.5", "0", True),
        ("SELL", "0.5", "9.9", True),
        ("BUY", "0.5", "10", True),
        ("BUY", "1", "10.1", False),
        ("BUY", "0.5", "500", True),
        ("BUY", "0.5", "0.00005", True),
    ],
)
def test_cash_that_no_price_and_fee_explain_is_odd(side: str, price: str, cash: str, is_odd: bool) -> None:
    wire = ROW | {"side": side, "size": Decimal(10), "price": Decimal(price), "usdc_size": Decimal(cash)}
    row = decode_activity_row(wire, WALLET)
    assert isinstance(row, ActivityRow)
    assert ("expected `usdc_size` about" in (row.odd or "")) == is_odd
