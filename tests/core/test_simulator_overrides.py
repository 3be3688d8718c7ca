"""Every setting can be overridden, and the override is what decides: it passes at its bound and fires beyond it."""

from datetime import timedelta
from typing import Any

import pytest

from libs.common.domain.config import CopyConfig, merge
from services.simulator.core.rules import compile_rules
from services.simulator.core.schedule import own_due
from tests.support.decisions import BUY, GLOBAL, GROUP, NOW, SELL, Scene, book, levels, usdc

RICH = BUY.with_(equity_micros=usdc(100_000), peak_equity_micros=usdc(100_000))
LARGE = RICH.with_(notional_micros=usdc(100_000), share_micros=usdc(200_000))


def quoted(bid: str, ask: str) -> Scene:
    return BUY.with_(book=book(levels((bid, "10000")), levels((ask, "10000"))))


FIRES: list[tuple[dict[str, Any], Scene, Scene, str]] = [
    # override, scene at its bound, scene beyond it, reason
    ({"user_max_trade_notional_micros": usdc(5)}, BUY, BUY.with_(min_trade_notional_micros=usdc(5) + 1),
     "BELOW_MIN_NOTIONAL"),
    ({"min_trade_notional_micros": usdc(12), "below_min": "SKIP"}, BUY.with_(notional_micros=usdc(1200)),
     BUY.with_(notional_micros=usdc(1200) - 1), "BELOW_MIN_NOTIONAL"),
    ({"min_marketable_micros": usdc(7)}, BUY.with_(notional_micros=usdc(700), share_micros=usdc(1400)),
     BUY.with_(notional_micros=usdc(700) - 1, share_micros=usdc(1400)), "BELOW_MIN_NOTIONAL"),
    ({"max_worse_than_their_price_micros": 5_000}, quoted("0.49", "0.505"), quoted("0.49", "0.505001"),
     "WORSE_THAN_THEIR_PRICE"),
    ({"max_chase_mid_micros": 5_000}, quoted("0.49", "0.50"), quoted("0.489999", "0.50"), "CHASING_MID"),
    ({"max_spread_micros": 12_000}, quoted("0.488", "0.50"), quoted("0.487999", "0.50"), "SPREAD_TOO_WIDE"),
    ({"depth_multiple": 2}, BUY.with_(book=book(levels(("0.49", "1")), levels(("0.50", "40")))),
     BUY.with_(book=book(levels(("0.49", "1")), levels(("0.50", "39.999998")))), "INSUFFICIENT_DEPTH"),
    ({"min_time_to_close_seconds": 60}, BUY.with_(close_time=NOW + timedelta(seconds=60)),
     BUY.with_(close_time=NOW + timedelta(seconds=60, microseconds=-1)), "MARKET_CLOSING_SOON"),
    ({"max_event_age_seconds": 5}, BUY.with_(first_event_time=NOW - timedelta(seconds=5)),
     BUY.with_(first_event_time=NOW - timedelta(seconds=5, microseconds=1)), "STALE_EVENT"),
    ({"daily_loss_limit_pct": 1}, BUY.with_(equity_micros=usdc(9_900)), BUY.with_(equity_micros=usdc(9_900) - 1),
     "BREAKER_DAILY_LOSS"),
    ({"weekly_loss_limit_pct": 1}, BUY.with_(equity_micros=usdc(9_900)), BUY.with_(equity_micros=usdc(9_900) - 1),
     "BREAKER_WEEKLY_LOSS"),
    ({"max_drawdown_limit_pct": 1}, BUY.with_(equity_micros=usdc(9_900)), BUY.with_(equity_micros=usdc(9_900) - 1),
     "BREAKER_DRAWDOWN"),
    ({"max_total_exposure_pct": 50}, BUY.with_(exposure_total_micros=usdc(4_990)),
     BUY.with_(exposure_total_micros=usdc(4_990) + 1), "RISK_CAP_TOTAL"),
    ({"max_exposure_per_market_pct": 3}, BUY.with_(exposure_market_micros=usdc(290)),
     BUY.with_(exposure_market_micros=usdc(290) + 1), "RISK_CAP_MARKET"),
    ({"max_exposure_per_user_pct": 10}, GLOBAL.with_(exposure_user_micros=usdc(990)),
     GLOBAL.with_(exposure_user_micros=usdc(990) + 1), "RISK_CAP_USER"),
]  # fmt: skip
TARGETS: list[tuple[dict[str, Any], Scene, str, str]] = [
    # override, scene, target without and with it
    ({"copy_pct": 2}, RICH, "10", "20"),
    ({"copy_pct": "0.75"}, RICH, "10", "7.5"),
    ({"min_trade_notional_micros": usdc(12)}, RICH, "10", "12"),
    ({"max_trade_notional_micros": usdc(90)}, LARGE, "250", "90"),
    ({"max_trade_equity_pct": "0.2"}, LARGE, "250", "200"),
    ({"user_max_trade_notional_micros": usdc(8)}, RICH, "10", "8"),
    ({"sell_sizing": "PROPORTIONAL"}, SELL.with_(shadow_held_micros=usdc(20_000)), "10", "5"),
    ({"cap_policy": "SHRINK"}, BUY.with_(exposure_market_micros=usdc(492)), "10", "8"),
]


def test_every_setting_of_a_decision_is_tried() -> None:
    tried = {name for override, *_ in (*FIRES, *TARGETS) for name in override}
    here = {"market_blacklist", "decision_latency_ms", "jitter_ms"}  # in other tests
    assert tried | here == set(CopyConfig.model_fields)


@pytest.mark.parametrize(("override", "at", "beyond", "reason"), FIRES, ids=[edge[-1] for edge in FIRES])
def test_an_overridden_bound_passes_at_itself_and_fires_beyond(
    override: dict[str, Any], at: Scene, beyond: Scene, reason: str
) -> None:
    assert at.with_(**override).reasons() == set()
    assert reason in beyond.with_(**{**override, **beyond.config}).reasons()


@pytest.mark.parametrize(("override", "scene", "without", "with_it"), TARGETS)
def test_an_overridden_size_is_the_size(override: dict[str, Any], scene: Scene, without: str, with_it: str) -> None:
    assert scene.decide().target_notional_micros == usdc(without)
    assert scene.with_(**override).decide().target_notional_micros == usdc(with_it)


def test_rules_name_their_version() -> None:
    assert compile_rules(CopyConfig(), 7).version == 7


def test_latency_and_the_largest_jitter_belong_to_the_delay() -> None:
    for seed in range(50):
        delays = {own_due(GROUP, compile_rules(merge({"decision_latency_ms": 5, "jitter_ms": 1}), 1), seed)}
        assert delays <= {GROUP.closed_at + timedelta(milliseconds=5), GROUP.closed_at + timedelta(milliseconds=6)}
    rules = compile_rules(merge({"decision_latency_ms": 5, "jitter_ms": 1}), 1)
    assert len({own_due(GROUP, rules, seed) for seed in range(50)}) == 2
