"""An attempt taken apart, and printed: from scenes decided in memory, no database."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings

from libs.common.domain.check_words import _CHECKS, in_words
from libs.common.domain.config import document, merge
from libs.common.domain.explaining import Recorded, explain
from libs.common.domain.explanation import Explanation
from libs.common.domain.skips import Counterfactual
from libs.common.domain.wording import fixed_usdc, percent, seconds, signed_usdc, usdc
from services.cli.explain_text import printed
from services.cli.printing import plain_lines
from tests.core.decision_worlds import scenes
from tests.support.decisions import BUY, GLOBAL, MERGE, NOW, SELL, SPLIT, Scene, book, levels
from tests.support.decisions import usdc as micros
from tests.support.recorded import attempt_of, decided_of, recorded_of

SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FILL = ("level", "price_micros", "share_micros", "notional_micros", "fee_micros")


def recorded(scene: Scene, *, kept: bool = True, counterfactual: Counterfactual | None = None) -> Recorded:
    row, decided = recorded_of(scene), decided_of(scene)
    group = {
        "kind": row["kind"], "side": row["side"], "condition_id": scene.group.condition_id,
        "asset_id": scene.group.asset_id, "share_micros": scene.group.share_micros,
        "usdc_notional_micros": scene.group.notional_micros, "reference_price_micros": scene.group.reference_micros,
        "first_event_time": scene.group.first_event_time, "first_detect_time": scene.group.first_detect_time,
        "closed_at": scene.group.closed_at,
    }  # fmt: skip
    member = {
        "event_id": str(UUID(int=5)), "tx_hash": "0x" + "a" * 64, "share_micros": scene.group.share_micros,
        "notional_micros": scene.group.notional_micros, "event_time": scene.group.first_event_time.isoformat(),
        "detect_time": scene.group.first_detect_time.isoformat(), "first_source": "CHAIN",
    }  # fmt: skip
    values = document(merge(scene.config))
    return Recorded(
        attempt=attempt_of(decided) | {"posted_at": None},
        group=group,
        user="otter",
        question="Will it rain?",
        outcome="Yes",
        members=[member],
        fills=[dict(zip(FILL, fill, strict=True)) for fill in row["fills"]],
        book=row if kept and row["hash"] is not None else None,
        config={"version": 3, "scope": "GLOBAL", "values": values, "effective_at": NOW - timedelta(hours=1)},
        global_config={"version": 3, "values": values},
        counterfactual=counterfactual,
    )


def explained(scene: Scene, **more: Any) -> Explanation:
    return explain(recorded(scene, **more))


@SETTINGS
@given(scenes())
def test_any_decision_can_be_taken_apart(scene: Scene) -> None:
    outcome, found = decided_of(scene).outcome, explained(scene)
    again = Explanation.model_validate_json(found.model_dump_json())
    assert again == found
    assert all(len(line) <= 100 for line in plain_lines(printed([found])))
    assert [(check.check, check.reason) for check in found.checks if check.verdict == "fail"] == [
        (name.partition(".")[2], reason.value) for name, passed, _, _, reason in outcome.checks if not passed and reason
    ]  # fmt: skip
    assert found.result.partial == outcome.partial
    if found.book is None or not found.book.levels:
        return
    took = [(level.took_share_micros, level.took_notional_micros) for level in found.book.levels]
    sums = tuple(sum(column) for column in zip(*took, strict=True))
    if outcome.decision == "EXECUTE":
        assert sums == (outcome.filled_share_micros, outcome.filled_notional_micros)
        assert (found.book.ended in {"LIMIT", "LIQUIDITY"}) == outcome.partial
        assert found.book.ended is not None
    elif outcome.counterfactual_share_micros is not None:
        assert sums == (outcome.counterfactual_share_micros, outcome.counterfactual_notional_micros)
    for level in found.book.levels:
        assert not level.took_share_micros or level.within_limit or found.book.limit_lifted


def test_every_check_a_decision_makes_has_words() -> None:
    made = {
        f"{check.phase}.{check.check}"
        for scene in (BUY, GLOBAL, SELL, SELL.with_(sell_sizing="PROPORTIONAL"), SPLIT, MERGE, BUY.with_(book=None))
        for check in explained(scene).checks
    }
    assert made == _CHECKS.keys()


def test_a_check_of_another_release_is_shown_as_it_is() -> None:
    shown = in_words(
        {"phase": "book", "check": "moon_phase", "verdict": "fail", "value": {"a": 1}, "bound": [2]}, "BUY"
    )
    assert (shown.title, shown.found, shown.limit) == ("moon phase", "a 1", "[2]")
    shown = in_words({"phase": "book", "check": "spread", "verdict": "fail", "value": "wide", "bound": None}, None)
    assert (shown.found, shown.limit) == ("wide", "")


@pytest.mark.parametrize(
    ("scene", "check", "found", "limit"),
    [
        (BUY, "spread", "0.01", "at most 0.02"),
        (BUY, "their_price", "best 0.50", "at most 0.51"),
        (SELL, "mid", "best 0.49", "at least 0.48"),
        (BUY, "depth", "1,010.00 within the limit", "at least 1.25 x 10.00 = 12.50"),
        (BUY, "market", "0.00 + 10.00 = 0.1 % of 10,000.00", "at most 5 % = 500.00"),
        (BUY.with_(fee_rate=Decimal("0.07")), "cash", "10.00 + fee 0.343 = 10.343", "cash 10,000.00"),
        (BUY.with_(notional_micros=micros(10), share_micros=micros(20)), "minimum",
         "our share 0.10, clamped up to 5.00", "at least 5.00, at most 75.00"),
        (BUY.with_(day_start_equity_micros=micros(10_400)), "daily_loss", "3.84 % of 10,400.00", "at most 3 %"),
        (BUY.with_(drawdown_tripped=True), "drawdown", "at the peak 10,000.00, tripped before and not reset",
         "at most 12 %"),
        (BUY.with_(close_time=NOW + timedelta(seconds=1799)), "time_to_close", "29 min 59 s to go", "at least 30 min"),
        (BUY.with_(accepting_orders=False, closed=True), "open", "closed and not accepting orders", "must be open"),
        (SELL.with_(sell_sizing="PROPORTIONAL", shadow_held_micros=micros(8_000)), "proportion",
         "they sold 2,000.00 of 8,000.00, 25 %", "we sell the same part"),
    ],
)  # fmt: skip
def test_checks_in_words(scene: Scene, check: str, found: str, limit: str) -> None:
    shown = next(each for each in explained(scene).checks if each.check == check and each.phase != "control")
    assert (shown.found, shown.limit) == (found, limit)


def test_an_executed_buy() -> None:
    scene = BUY.with_(
        fee_rate=Decimal("0.07"),
        reference_micros=micros("0.5"),
        book=book(levels(("0.49", "1000")), levels(("0.50", "13.345"), ("0.51", "1000"), ("0.52", "9"))),
        taken=((micros("0.50"), micros(1)),),
    )
    found = explained(scene)
    assert found.summary == "Bought 19.84 shares for 9.995 USDC at 0.503781; theirs was 0.50."
    assert (found.result.slippage_micros, found.result.slippage_bps, found.result.fill_ratio_pct) == (
        3_781,
        "75.6",
        "99.95",
    )
    assert found.result.fee.words == "0.07 x 9.995 x (19.84 - 9.995) / 19.84 = 0.34718, floored to 0.00001"
    assert found.book is not None
    first, second, third = found.book.levels
    assert (first.before_micros, first.took_share_micros, first.cumulative_notional_micros) == (
        micros(1), micros("12.34"), micros("6.17"),
    )  # fmt: skip
    assert (second.took_share_micros, second.cumulative_notional_micros) == (micros("7.50"), micros("9.995"))
    assert [level.within_limit for level in (first, second, third)] == [True, True, False]
    assert (found.book.ended, found.book.ended_words) == (
        "TARGET", "one more lot, at 0.51, would go beyond the target 10.00",
    )  # fmt: skip
    assert found.times.detection_lag_ms == 1000
    assert found.times.lateness_ms == 5


@pytest.mark.parametrize(
    ("scene", "ended"),
    [
        (BUY.with_(book=book(levels(("0.49", "9")), levels(("0.50", "10"), ("0.52", "99"))), depth_multiple="0.5"),
         "LIMIT"),
        (BUY.with_(book=book(levels(("0.49", "9")), levels(("0.50", "10"))), depth_multiple="0.5"), "LIQUIDITY"),
        (SELL.with_(held_share_micros=micros("7.777")), "HOLDING"),
        (SELL.with_(sell_sizing="PROPORTIONAL", shadow_held_micros=micros(8_000)), "HOLDING"),
        (BUY, "TARGET"),
        # what is left of the target pays for a lot at 0.50, not at 0.52: the limit ended it
        (BUY.with_(notional_micros=micros("1000.51"), share_micros=micros("2001.02"), depth_multiple="0.5",
                   book=book(levels(("0.49", "9")), levels(("0.50", "20"), ("0.52", "9")))), "LIMIT"),
        (BUY.with_(cash_micros=micros("12.475"), fee_rate=Decimal("0.5"),
                   book=book(levels(("0.485", "1000")), levels(("0.495", "1000")))), "CASH"),
    ],
)  # fmt: skip
def test_why_a_walk_ended(scene: Scene, ended: str) -> None:
    found = explained(scene)
    assert found.book is not None
    assert (found.result.decision, found.book.ended) == ("EXECUTE", ended)


def test_a_skip_shows_what_its_walk_would_have_taken_beyond_the_failed_bound() -> None:
    found = explained(BUY.with_(book=book(levels(("0.54", "1000")), levels(("0.55", "10"), ("0.56", "1000")))))
    assert found.summary.startswith("Not copied: against their price: best 0.55, at most 0.51")
    assert found.book is not None
    assert (found.book.is_hypothetical, found.book.limit_lifted, found.book.ended) == (True, True, "TARGET")
    assert [level.took_share_micros for level in found.book.levels] == [micros(10), micros("8.03")]


def test_a_counterfactual_that_does_not_add_up_is_not_spread_over_levels() -> None:
    whole = recorded(BUY.with_(engine_paused=True))
    broken = {**whole.attempt, "counterfactual_notional_micros": 1}
    found = explain(Recorded(**{name: getattr(whole, name) for name in whole.__slots__} | {"attempt": broken}))
    assert found.book is not None
    assert found.book.ended is None
    assert not any(level.took_share_micros for level in found.book.levels)


def test_settings_say_for_whom_they_were_set() -> None:
    whole = recorded(BUY.with_(copy_pct="2", jitter_ms=0))
    values = {**whole.config["values"], "copy_pct": "3"} if whole.config else {}
    config = {"version": 4, "scope": "USER", "values": values, "effective_at": NOW}
    found = explain(Recorded(**{name: getattr(whole, name) for name in whole.__slots__} | {"config": config}))
    assert {
        each.name: (each.source, each.value, each.global_value, each.default)
        for each in found.configuration.settings
        if each.source != "DEFAULT"
    } == {"copy_pct": ("USER", "3", "2", "1"), "jitter_ms": ("GLOBAL", 0, 0, 250)}


def shown(scene: Scene, **more: Any) -> str:
    return "\n".join(plain_lines(printed([explained(scene, **more)])))


def test_the_printed_book_has_its_lines() -> None:
    text = shown(
        BUY.with_(fee_rate=Decimal("0.07"), book=book(levels(("0.49", "1")), levels(("0.50", "99"), ("0.52", "9"))))
    )
    assert "\x1b" not in text
    marks = [line.strip() for line in text.splitlines() if "──" in line and any(ch.isdigit() for ch in line)]
    assert marks == ["── mid 0.495", "── their price 0.50", "── LIMIT 0.51"]
    assert re.search(r"^ +0 +0\.50 +99\.00 +20\.00 +10\.00 +10\.00 +fee 0\.35$", text, re.MULTILINE)
    assert re.search(r"^ +1 +0\.52 +9\.00 +beyond the limit$", text, re.MULTILINE)


def test_a_book_that_is_no_longer_kept_is_said_and_the_rest_explained() -> None:
    text = shown(BUY, kept=False)
    assert "Its levels are no longer kept (30 days)" in text
    assert "best bid 0.49, best ask 0.50, mid 0.495" in text
    assert re.search(r"^ +LEVEL +PRICE +SHARES +USDC +FEE$", text, re.MULTILINE)
    assert "20.00 shares for 10.00 USDC" in text


@pytest.mark.parametrize(
    ("pnl", "said"), [(510_000, "+0.51 USDC: this skip missed"), (-510_000, "-0.51 USDC: this skip saved")]
)
def test_a_counterfactual_says_what_it_would_be_worth(pnl: int, said: str) -> None:
    imagined = Counterfactual(
        share_micros=micros(20), notional_micros=micros(10), fee_micros=10, mark_micros=micros("0.6"), marked_at=NOW,
        mark_source="MIDPOINT", pnl_micros=pnl,
    )  # fmt: skip
    text = shown(BUY.with_(engine_paused=True), counterfactual=imagined)
    assert said in text
    assert "0.60, midpoint at 2026-09-28 12:00:00 UTC" in text
    unmarked = imagined.model_copy(
        update={"mark_micros": None, "marked_at": None, "mark_source": None, "pnl_micros": None}
    )
    assert "not marked yet" in shown(BUY.with_(engine_paused=True), counterfactual=unmarked)


def test_a_skip_without_a_book_says_so() -> None:
    text = shown(BUY.with_(book=None))
    assert "No book" in text
    assert "Not to be told: there was no book." in text


def test_amounts_in_words() -> None:
    assert [usdc(each) for each in (0, 1, -1_500_000, 1_234_567_890_000)] == [
        "0.00",
        "0.000001",
        "-1.50",
        "1,234,567.89",
    ]
    assert [usdc(each, 2) for each in (4_999, 5_000, -5_000, -4_999)] == ["0.00", "0.01", "-0.01", "0.00"]
    assert [fixed_usdc(each, 2) for each in (9_999, -9_999, -10_000, 1_234_567_899_999)] == [
        "0.00",
        "0.00",
        "-0.01",
        "1,234,567.89",
    ]
    assert [signed_usdc(each) for each in (0, 10_000, -10_000)] == ["0.00", "+0.01", "-0.01"]
    assert [percent(*each) for each in ((0, 3), (1, 10_001))] == ["0 %", "<0.01 %"]
    assert [percent(*each) for each in ((1, 3), (5, 0), (-1, 3), (10_000, 1))] == [
        "33.33 %",
        "-",
        "-33.33 %",
        "1,000,000 %",
    ]
    assert [seconds(each) for each in (0.75, 3.2, 121, 3_600, 90_000, -5)] == [
        "750 ms",
        "3.2 s",
        "2 min 1 s",
        "1 h",
        "1 d 1 h",
        "-5 s",
    ]
