"""A configuration compiled for deciding: ratios of integers and durations instead of decimals and seconds."""

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Final

from libs.common.domain.config import CopyConfig

PER_CENT: Final = 100


@dataclass(frozen=True, slots=True)
class Ratio:
    """An exact share: `numerator / denominator`."""

    numerator: int
    denominator: int
    shown: str = field(init=False, compare=False, repr=False)
    """As checks show it; made once, for a decision shows nine."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shown", f"{self.numerator}/{self.denominator}")

    @classmethod
    def of(cls, value: Decimal, divisor: int = 1) -> "Ratio":
        """Return `value / divisor` exactly."""
        numerator, denominator = value.as_integer_ratio()
        return cls(numerator, denominator * divisor)

    def floor_of(self, amount: int) -> int:
        """Return this share of `amount`, rounded down."""
        return amount * self.numerator // self.denominator

    def is_exceeded(self, part: int, whole: int) -> bool:
        """Tell whether `part` is more than this share of `whole`; equality is not."""
        return part * self.denominator > self.numerator * whole


@dataclass(frozen=True, slots=True)
class Rules:
    """One version of EffectiveConfig, ready for arithmetic; fields as in `CopyConfig`."""

    version: int
    copy: Ratio
    min_trade: int
    max_trade: int
    max_trade_of_equity: Ratio
    user_max_trade: int | None
    min_marketable: int
    clamps_up: bool
    sells_proportionally: bool
    decision_latency: timedelta
    jitter_ms: int
    worse_than_theirs: int
    chase_mid: int
    spread: int
    depth: Ratio
    time_to_close: timedelta
    event_age: timedelta
    daily_loss: Ratio
    weekly_loss: Ratio
    drawdown: Ratio
    cap_total: Ratio
    cap_market: Ratio
    cap_user: Ratio
    shrinks: bool
    blacklist: frozenset[str]


def compile_rules(config: CopyConfig, version: int) -> Rules:
    """Return `config` as rules that name their version."""
    return Rules(
        version=version,
        copy=Ratio.of(config.copy_pct, PER_CENT),
        min_trade=config.min_trade_notional_micros,
        max_trade=config.max_trade_notional_micros,
        max_trade_of_equity=Ratio.of(config.max_trade_equity_pct, PER_CENT),
        user_max_trade=config.user_max_trade_notional_micros,
        min_marketable=config.min_marketable_micros,
        clamps_up=config.below_min == "CLAMP_UP",
        sells_proportionally=config.sell_sizing == "PROPORTIONAL",
        decision_latency=timedelta(milliseconds=config.decision_latency_ms),
        jitter_ms=config.jitter_ms,
        worse_than_theirs=config.max_worse_than_their_price_micros,
        chase_mid=config.max_chase_mid_micros,
        spread=config.max_spread_micros,
        depth=Ratio.of(config.depth_multiple),
        time_to_close=timedelta(seconds=config.min_time_to_close_seconds),
        event_age=timedelta(seconds=config.max_event_age_seconds),
        daily_loss=Ratio.of(config.daily_loss_limit_pct, PER_CENT),
        weekly_loss=Ratio.of(config.weekly_loss_limit_pct, PER_CENT),
        drawdown=Ratio.of(config.max_drawdown_limit_pct, PER_CENT),
        cap_total=Ratio.of(config.max_total_exposure_pct, PER_CENT),
        cap_market=Ratio.of(config.max_exposure_per_market_pct, PER_CENT),
        cap_user=Ratio.of(config.max_exposure_per_user_pct, PER_CENT),
        shrinks=config.cap_policy == "SHRINK",
        blacklist=config.market_blacklist,
    )
