"""Replay is the identity: a decision made again from what was stored of it is the same, in every field."""

import copy
import hashlib
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.domain.book import Book, Level
from libs.common.domain.kinds import Scope, Side
from services.simulator import replay as replaying
from services.simulator.core.facts import MarketView, PortfolioView
from services.simulator.records import INPUTS_VERSION
from services.simulator.replay import Replayed, compare
from tests.core.decision_worlds import scenes
from tests.support.decisions import BUY, CONDITION, GLOBAL, MERGE, NOW, SELL, SPLIT, YES, Scene, book, levels, usdc
from tests.support.recorded import recorded_of, stored_rules

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
BIGINT = st.one_of(st.integers(-(2**60), 2**60), st.integers(0, 20_000 * 10**6))
"""Sums of a few still fit the column."""
AMOUNT = st.one_of(st.integers(0, 2**60), st.integers(0, 20_000 * 10**6))


def replayed(scene: Scene, **tampered: Any) -> Replayed:
    """Record a decision, change what was stored, and decide it again."""
    return compare(recorded_of(scene) | tampered, stored_rules(scene.config))


@st.composite
def instants(draw: st.DrawFn) -> datetime:
    """Any time, whole microseconds, also such as print without a fraction."""
    return (
        NOW
        + timedelta(microseconds=draw(st.sampled_from([0, 1, 10, 999_999, 500_000])))
        + timedelta(seconds=draw(st.integers(-(10**9), 10**9)))
    )


@st.composite
def wild(draw: st.DrawFn) -> Scene:
    """Values far outside of what happens: huge, negative, missing, odd decimals, many outcomes, any time."""
    legs = draw(st.integers(0, 4))
    view = PortfolioView(
        **{name: draw(BIGINT) for name in (
            "cash_micros", "equity_micros", "exposure_total_micros", "exposure_market_micros", "exposure_user_micros",
            "held_share_micros", "day_flows_micros", "week_flows_micros", "peak_equity_micros", "net_flows_micros",
        )},
        leg_share_micros=tuple(draw(BIGINT) for _ in range(legs)),
        leg_cost_micros=tuple(draw(BIGINT) for _ in range(legs)),
        day_start_equity_micros=draw(st.none() | BIGINT),
        week_start_equity_micros=draw(st.none() | BIGINT),
        drawdown_tripped=draw(st.booleans()),
        taken=tuple(draw(st.lists(st.tuples(st.integers(1, 999_999), st.integers(0, 2**62)), max_size=3))),
        shadow_held_micros=draw(st.none() | BIGINT),
    )  # fmt: skip
    market = MarketView(
        condition_id=draw(st.sampled_from([CONDITION, "0x" + "é" * 3, ""])),
        asset_ids=tuple(str(10**76 + place) for place in range(legs)),
        close_time=draw(st.none() | instants()),
        closed=draw(st.booleans()),
        resolved=draw(st.booleans()),
        accepting_orders=draw(st.booleans()),
        fee_rate=draw(st.sampled_from([Decimal(each) for each in ("0", "0.0700", "1E-7", "0.3333333333333", "7E+1")])),
        fee_exponent=draw(st.sampled_from([Decimal(each) for each in ("1", "1.0", "2", "0.5", "0", "1.25")])),
    )  # fmt: skip
    side, shares = draw(st.sampled_from(list(Side))), draw(AMOUNT)
    middle = draw(st.integers(10, 999_980))
    rest = draw(st.lists(st.integers(1, 10**15), max_size=8))
    asks = [Level(middle + 1 + place, size) for place, size in enumerate(rest)]
    bids = [Level(middle - place, size) for place, size in enumerate(reversed(rest))]
    return Scene(
        view=view,
        market=draw(st.sampled_from([market, market, market, None])),
        book=draw(st.sampled_from([None, Book(YES, "h/+=" * 20, 2**53, tuple(bids), tuple(asks))])),
    ).with_(
        side=side,
        scope=draw(st.sampled_from([Scope.EXEC_USER, Scope.EXEC_GLOBAL])),
        share_micros=shares,
        notional_micros=draw(st.integers(0, shares)),
        reference_micros=draw(st.none() | st.integers(0, 10**6)),
        condition_id=draw(st.sampled_from([CONDITION, None])),
        decided_at=draw(instants()),
        first_event_time=draw(instants()),
        copy_pct=draw(st.sampled_from(["1", "0.000000001", "33.333333333", "100"])),
        depth_multiple=draw(st.sampled_from(["1.25", "0.333333333", "0"])),
        max_event_age_seconds=10**9,
        min_time_to_close_seconds=draw(st.sampled_from([0, 10**9])),
        sell_sizing=draw(st.sampled_from(["NOTIONAL", "PROPORTIONAL"])),
        cap_policy=draw(st.sampled_from(["SKIP", "SHRINK"])),
        max_spread_micros=10**6,
    )  # fmt: skip


@SETTINGS
@given(scenes())
def test_replay_is_the_identity(scene: Scene) -> None:
    assert replayed(scene).differences == ()


@SETTINGS
@given(wild())
def test_replay_is_the_identity_on_values_that_never_happen(scene: Scene) -> None:
    assert replayed(scene).differences == ()


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of every leaf of a document."""
    if isinstance(value, dict) and value:
        return [found for key, each in value.items() for found in paths(each, (*at, key))]
    if isinstance(value, list) and value:
        return [found for place, each in enumerate(value) for found in paths(each, (*at, place))]
    return [at]


def changed(value: Any) -> Any:
    """Return something else of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    return {"changed": True} if value is None else f"{value}1" if isinstance(value, str) else None


SCENES = {
    "buy": BUY.with_(fee_rate=Decimal("0.07"), taken=((usdc("0.50"), usdc("1")),)),
    "sell": SELL.with_(sell_sizing="PROPORTIONAL", shadow_held_micros=usdc(8_000)),
    "skip": GLOBAL.with_(book=book(levels(("0.47", "1000")), levels(("0.50", "1000")))),
    "merge": MERGE,
}


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("part", ["checks", "fills"])
def test_every_tampered_leaf_of_checks_and_fills_is_reported_as_exactly_that(name: str, part: str) -> None:
    scene = SCENES[name]
    row, rules = recorded_of(scene), stored_rules(scene.config)
    found = row[part]
    for path in paths(found):
        tampered = copy.deepcopy(found)
        if path:
            holder = tampered
            for step in path[:-1]:
                holder = holder[step]
            holder[path[-1]] = changed(holder[path[-1]])
        else:
            tampered = [[0, 1, 1, 1, 0]]
        (difference,) = compare(row | {part: tampered}, rules).differences
        assert (difference.attempt_id, difference.name) == (row["attempt_id"], part), path
        assert (difference.recorded, difference.decided) == (tampered, found)


@pytest.mark.parametrize("name", SCENES)
def test_every_tampered_leaf_of_the_inputs_is_reported(name: str) -> None:
    """A value that is also a column, or that the outcome rests on, shows there; any other shows as nothing at all."""
    scene = SCENES[name]
    row, rules = recorded_of(scene), stored_rules(scene.config)
    silent = set()
    for path in paths(row["inputs"]):
        tampered = copy.deepcopy(row["inputs"])
        holder = tampered
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = changed(holder[path[-1]]) if holder[path[-1]] != [] else [[1, 1]]
        if not compare(row | {"inputs": tampered}, rules).differences:
            silent.add(path[-1] if isinstance(path[-1], str) else path[-2])
    recorded_only = {
        "effective_due_at", "book_error", "net_flows_micros", "leg_share_micros", "leg_cost_micros", "condition_id",
        "asset_ids", "close_time", "fee_exponent", "taken", "shadow_held_micros",
    }  # fmt: skip
    assert silent <= recorded_only


def test_every_tampered_column_is_reported_as_exactly_that() -> None:
    for scene in SCENES.values():
        row, rules = recorded_of(scene), stored_rules(scene.config)
        for name, column in replaying.COMPARED.items():
            if name in {"inputs", "checks", "id"} or column == "decided_at":
                continue
            value = ["ENGINE_PAUSED"] if name == "reason_codes" else changed(row[column])
            if isinstance(row[column], Decimal):
                value = row[column] + 1
            differences = compare(row | {column: value}, rules).differences
            assert [each.name for each in differences] == [name], name


@pytest.mark.parametrize(
    "inputs", [{}, {"version": INPUTS_VERSION}, None, {"version": INPUTS_VERSION + 1}, {"version": "1"}, []]
)
def test_inputs_that_cannot_be_read_are_a_difference(inputs: Any) -> None:
    (difference,) = replayed(BUY, inputs=inputs).differences
    assert difference.name.startswith("inputs")


def test_a_decision_by_earlier_rules_is_told_apart() -> None:
    found = replayed(BUY, inputs=recorded_of(BUY)["inputs"] | {"version": INPUTS_VERSION - 1})
    assert (found.differences, found.is_older) == ((), True)


def test_a_book_that_is_no_longer_kept_is_told_apart() -> None:
    found = replayed(BUY, hash=None, bids=None, asks=None)
    assert (found.differences, found.book_is_gone) == ((), True)


def test_a_missing_configuration_is_a_difference() -> None:
    (difference,) = compare(recorded_of(BUY), "it is not there").differences
    assert difference.name == "config_version"


def test_another_book_is_a_difference() -> None:
    found = replayed(BUY, asks=[[usdc("0.50"), usdc("5")]])
    assert {"depth_micros", "reason_codes", "fills"} <= {each.name for each in found.differences}


PINNED = {1: "22ed9ebf8373d795", 2: "560a8cc9522d845d"}
"""Digest of the decisions below by INPUTS_VERSION."""


def test_decisions_change_only_with_the_version_of_their_inputs() -> None:
    """Replay compares attempts of one version, so what `decide` makes of the same inputs may not change within it.

    If this fails and the change is meant, raise INPUTS_VERSION and add the digest it prints (ADR 0018).
    """
    digest = hashlib.sha256()
    books = [
        None,
        book(levels(("0.49", "1000"), ("0.48", "7.77")), levels(("0.50", "12.345"), ("0.51", "1000"))),
        book(levels(("0.47", "1000")), levels(("0.50", "1000"))),
        book((), levels(("0.50", "9"))),
    ]
    changes: list[dict[str, Any]] = [
        {},
        {"fee_rate": Decimal("0.07")},
        {"cash_micros": usdc(3), "fee_rate": Decimal("0.0625"), "fee_exponent": Decimal(2)},
        {"equity_micros": usdc(8_000), "day_start_equity_micros": None},
        {"exposure_market_micros": usdc(494), "cap_policy": "SHRINK"},
        {"market_blacklist": [CONDITION], "close_time": NOW + timedelta(seconds=5)},
        {"engine_paused": True},
        {"first_event_time": NOW - timedelta(seconds=121)},
        {"sell_sizing": "PROPORTIONAL", "shadow_held_micros": usdc(8_000), "held_share_micros": usdc("7.777")},
        {"market": None},
    ]
    for scene, given_book, change in product((BUY, GLOBAL, SELL, SPLIT, MERGE), books, changes):
        row = recorded_of(scene.with_(book=given_book, **change))
        kept = {name: value for name, value in row.items() if name not in {"attempt_id", "inputs", "config_version"}}
        digest.update(orjson.dumps(kept, default=str, option=orjson.OPT_SORT_KEYS))
    assert PINNED.get(INPUTS_VERSION) == digest.hexdigest()[:16]
