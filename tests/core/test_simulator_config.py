"""One schema for every configuration: defaults of the SPEC, names, units, ranges, layers, clear refusals."""

import re
from decimal import Decimal
from typing import Any

import pytest

from libs.common.domain.config import (
    GUARDRAIL_FIELDS,
    SIZING_FIELDS,
    CopyConfig,
    document,
    merge,
    overrides,
    remarks,
)
from libs.common.domain.config_file import read_config_file
from libs.common.domain.config_problem import ConfigRejected
from libs.common.domain.errors import Rejected


def test_the_defaults_are_the_specs() -> None:
    config = CopyConfig()
    assert (config.copy_pct, config.max_trade_equity_pct, config.depth_multiple) == (
        Decimal(1), Decimal("0.75"), Decimal("1.25"),
    )  # fmt: skip
    assert (config.min_trade_notional_micros, config.max_trade_notional_micros) == (5_000_000, 250_000_000)
    assert (config.decision_latency_ms, config.jitter_ms) == (750, 250)
    losses = (config.daily_loss_limit_pct, config.weekly_loss_limit_pct, config.max_drawdown_limit_pct)
    assert losses == (Decimal(3), Decimal(8), Decimal(12))


def test_every_setting_belongs_to_one_of_the_two_rows() -> None:
    assert CopyConfig.model_fields.keys() == SIZING_FIELDS | GUARDRAIL_FIELDS
    assert not SIZING_FIELDS & GUARDRAIL_FIELDS
    assert {"copy_pct", "jitter_ms"} <= SIZING_FIELDS
    assert {"max_spread_micros", "market_blacklist"} <= GUARDRAIL_FIELDS


def test_later_layers_win_and_the_rest_is_inherited() -> None:
    config = merge({"copy_pct": 2, "jitter_ms": 0}, {"COPY_PCT": "0.5%"})
    assert (config.copy_pct, config.jitter_ms, config.below_min) == (Decimal("0.5"), 0, "CLAMP_UP")


def test_a_document_reads_back_as_the_same_configuration() -> None:
    config = merge(
        {"depth_multiple": 0.5, "market_blacklist": ["0xb", "0xa"], "user_max_trade_notional_micros": 7_000_000}
    )
    assert CopyConfig.model_validate(document(config)) == config
    assert document(config)["market_blacklist"] == ["0xa", "0xb"]


def test_the_specs_own_names_are_accepted() -> None:
    names = {
        "COPY_PCT": 2, "MIN_TRADE_NOTIONAL": 6_000_000, "MAX_TRADE_NOTIONAL": 300_000_000, "MIN_MARKETABLE": 2_000_000,
        "DECISION_LATENCY_MS": 0, "JITTER_MS": 0, "below_min": "SKIP", "sell_sizing": "PROPORTIONAL",
        "cap_policy": "SHRINK", "depth_multiple": 1, "MAX_TOTAL_EXPOSURE": 50, "DAILY_LOSS_LIMIT": 4,
    }  # fmt: skip
    config = merge(names)
    assert (config.min_trade_notional_micros, config.max_total_exposure_pct) == (6_000_000, Decimal(50))
    assert overrides(names).keys() <= CopyConfig.model_fields.keys()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"copy_percent": 1}, "copy_percent: unknown setting"),
        ({"copy_pct": 0}, "copy_pct: .*greater than 0"),
        ({"copy_pct": 101}, "less than or equal to 100"),
        ({"copy_pct": "much"}, "expected a number, got 'much'"),
        ({"min_trade_notional_micros": 5.5}, "expected whole micros .1 USDC is 1000000., got the decimal 5.5"),
        ({"min_trade_notional_micros": True}, "micros"),
        ({"jitter_ms": -1}, "jitter_ms"),
        ({"max_spread_micros": 1_000_001}, "max_spread_micros"),
        ({"below_min": "MAYBE"}, "CLAMP_UP"),
        (
            {"min_trade_notional_micros": 300_000_000, "max_trade_notional_micros": 250_000_000},
            "no order could ever be made",
        ),
        ({"copy_pct": 1, "COPY_PCT": 2}, "set twice"),
        ({"copy_pct": float("nan")}, "copy_pct"),
    ],
)
def test_what_is_wrong_is_refused_with_what_was_expected(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Rejected, match=re.compile(complaint, re.DOTALL)):
        overrides(values)


def test_a_file_has_a_global_part_users_and_a_bankroll() -> None:
    file = read_config_file(
        {
            "global": {"sizing": {"copy_pct": 2}, "guardrails": {"max_spread_micros": 30_000}},
            "users": {"otter": {"max_trade_notional_micros": 3_000_000}},
            "bankroll_micros": 5_000_000_000,
        }
    )
    assert file.global_values == {"copy_pct": "2", "max_spread_micros": 30_000}
    assert file.user_values == {"otter": {"max_trade_notional_micros": 3_000_000}}
    assert file.bankroll_micros == 5_000_000_000
    assert read_config_file({}).bankroll_micros is None
    assert read_config_file({"COPY_PCT": 3}).global_values == {"copy_pct": "3"}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([], "expected a JSON object, got list"),
        ({"global": 5}, "global: expected a JSON object, got int"),
        ({"users": {"otter": {"x": 1}}}, "users.otter: x: unknown setting"),
        ({"bankroll_micros": 1.5}, "bankroll_micros: expected whole micros"),
        ({"bankroll": 10_000}, "bankroll: expected micros .1 USDC is 1000000., got 10000; write 10000000000"),
        ({"wallets": []}, "wallets: unknown setting"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(content: object, complaint: str) -> None:
    with pytest.raises(Rejected, match=complaint):
        read_config_file(content)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"copy_pct": Decimal("NaN")}, "copy_pct: expected a finite number, got NaN"),
        ({"copy_pct": 0}, "copy_pct: expected greater than 0, got 0"),
        ({"jitter_ms": -1}, "jitter_ms: expected greater than or equal to 0, got -1"),
        ({"depth_multiple": "-0.5"}, "depth_multiple: expected greater than or equal to 0, got"),
        ({"below_min": "MAYBE"}, "below_min: expected 'CLAMP_UP' or 'SKIP', got 'MAYBE'"),
        (
            {"max_trade_notional_micros": 4_999_999, "min_trade_notional_micros": 5_000_000},
            r"at least min_trade_notional_micros \(5000000\), got 4999999",
        ),
        ({"decision_latency_ms": 117_751}, "max_event_age_seconds: expected at least 121, got 120"),
        ({"market_blacklist": ["will-it-rain"]}, "market_blacklist: expected condition ids .* got 'will-it-rain'"),
        ({"copy_pct": 0, "jitter_ms": -1}, "copy_pct: .*; jitter_ms: "),
    ],
)
def test_a_refusal_names_the_setting_what_was_expected_and_what_came(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigRejected, match=sentence) as refused:
        overrides(values)
    assert {each.name for each in refused.value.problems} & {*values, "max_event_age_seconds"}


@pytest.mark.parametrize(
    "values",
    [
        {"decision_latency_ms": 117_750},  # 2000 + 117750 + 250 ms is just 120 s
        {"max_event_age_seconds": 2},  # nothing is ever copied, and whoever sets that is told so
        {"max_trade_notional_micros": 4_999_999},  # below the minimum by default: SPEC 5 skips everything
        {"min_trade_notional_micros": 1},  # no minimum
        {"user_max_trade_notional_micros": 999_999},
        {"user_max_trade_notional_micros": 1_000_000},
        {"min_trade_notional_micros": 250_000_000},
        {"weekly_loss_limit_pct": 1},  # a weekly limit below the daily one is what an admin may want
        {"depth_multiple": 0},
        {"market_blacklist": [" 0xAB ", "77"]},
    ],
)
def test_what_sits_on_a_bound_is_accepted(values: dict[str, Any]) -> None:
    assert overrides(values).keys() == values.keys()


def test_null_takes_a_setting_back_and_is_not_a_value() -> None:
    assert overrides({"copy_pct": None, "jitter_ms": 5}) == {"copy_pct": None, "jitter_ms": 5}
    merged = merge({"copy_pct": 2, "user_max_trade_notional_micros": 9_000_000}, {"copy_pct": None})
    assert (merged.copy_pct, merged.user_max_trade_notional_micros) == (Decimal(2), 9_000_000)


def test_a_blacklist_is_kept_as_the_exchange_writes_ids() -> None:
    assert overrides({"market_blacklist": [" 0xAB ", "0xab"]}) == {"market_blacklist": ["0xab"]}


def test_a_part_is_judged_by_what_it_says_alone() -> None:
    assert overrides({"decision_latency_ms": 300_000}, is_part=True)  # rows nobody showed us may allow for that
    with pytest.raises(ConfigRejected, match="max_event_age_seconds"):
        overrides({"decision_latency_ms": 300_000, "max_event_age_seconds": 300}, is_part=True)


def test_a_users_maximum_below_the_minimum_means_copy_nothing_and_is_remarked_on() -> None:
    own = {"user_max_trade_notional_micros": 3_000_000}
    assert overrides(own, over={})
    (remark,) = remarks(merge(own))
    assert remark.startswith("user_max_trade_notional_micros (3000000) is below min_trade_notional_micros (5000000)")
    assert remarks(CopyConfig()) == []
