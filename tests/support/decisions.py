"""Decision inputs for tests: a BUY that executes unless a test spoils it, in USDC, shares and prices as text."""

from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from libs.common.domain.book import Book, Level
from libs.common.domain.config import CopyConfig, merge
from libs.common.domain.kinds import GroupKind, Scope, Side
from services.simulator.core.decide import decide
from services.simulator.core.facts import Clock, Group, MarketView, PortfolioView
from services.simulator.core.outcome import Outcome
from services.simulator.core.rules import compile_rules

NOW = datetime(2026, 9, 28, 12, 0, tzinfo=UTC)
YES, NO = "1001", "1002"
CONDITION = "0x" + "c" * 64


def usdc(amount: str | int) -> int:
    """Return an amount, number of shares or price in micros."""
    return int(Decimal(amount) * 1_000_000)


def levels(*pairs: tuple[str, str]) -> tuple[Level, ...]:
    """Return levels from (price, shares)."""
    return tuple(Level(usdc(price), usdc(shares)) for price, shares in pairs)


def book(bids: tuple[Level, ...], asks: tuple[Level, ...], version: str = "h1") -> Book:
    """Return a book of YES."""
    return Book(YES, version, 1, bids, asks)


GROUP = Group(
    id=UUID(int=7),
    kind=GroupKind.TRADE,
    user_id=UUID(int=1),
    condition_id=CONDITION,
    asset_id=YES,
    side=Side.BUY,
    share_micros=usdc(2000),
    notional_micros=usdc(1000),
    reference_micros=usdc("0.5"),
    first_event_time=NOW - timedelta(seconds=4),
    first_detect_time=NOW - timedelta(seconds=3),
    first_ordinal=3,
    closed_at=NOW - timedelta(seconds=1),
)
VIEW = PortfolioView(
    cash_micros=usdc(10_000),
    equity_micros=usdc(10_000),
    exposure_total_micros=0,
    exposure_market_micros=0,
    exposure_user_micros=0,
    held_share_micros=0,
    leg_share_micros=(0, 0),
    leg_cost_micros=(0, 0),
    day_start_equity_micros=usdc(10_000),
    day_flows_micros=0,
    week_start_equity_micros=usdc(10_000),
    week_flows_micros=0,
    peak_equity_micros=usdc(10_000),
    drawdown_tripped=False,
    net_flows_micros=usdc(10_000),
)
MARKET = MarketView(
    condition_id=CONDITION,
    asset_ids=(YES, NO),
    close_time=NOW + timedelta(days=1),
    closed=False,
    resolved=False,
    accepting_orders=True,
    fee_rate=Decimal(0),
    fee_exponent=Decimal(1),
)
BOOK = book(levels(("0.49", "1000"), ("0.48", "1000")), levels(("0.50", "1000"), ("0.51", "1000")))
CLOCK = Clock(Scope.EXEC_USER, NOW, engine_paused=False, user_enabled=True)


@dataclass(frozen=True)
class Scene:
    """Everything one decision sees; `with_` replaces fields of any part by name."""

    group: Group = GROUP
    view: PortfolioView = VIEW
    market: MarketView | None = MARKET
    book: Book | None = BOOK
    clock: Clock = CLOCK
    config: dict[str, Any] = field(default_factory=dict)

    def with_(self, **changes: Any) -> "Scene":
        """Return a scene with fields of group, view, market, clock or config replaced."""
        scene = self
        for name, value in changes.items():
            if name in {"group", "view", "market", "book", "clock"}:
                scene = replace(scene, **{name: value})
            elif name in CopyConfig.model_fields:
                scene = replace(scene, config={**scene.config, name: value})
            else:
                scene = scene._with_field(name, value)
        return scene

    def _with_field(self, name: str, value: Any) -> "Scene":
        for part in ("group", "view", "market", "clock"):
            found = getattr(self, part)
            if found is not None and name in {each.name for each in fields(found)}:
                return replace(self, **{part: replace(found, **{name: value})})
        raise AssertionError(f"no part of a scene has a field {name}")

    def decide(self) -> Outcome:
        """Return the decision on the scene."""
        return decide(self.group, self.view, compile_rules(merge(self.config), 1), self.market, self.book, self.clock)

    def reasons(self) -> set[str]:
        """Return the reason codes of the decision; none when it executes."""
        outcome = self.decide()
        assert (outcome.decision == "EXECUTE") == (not outcome.reasons)
        return {reason.value for reason in outcome.reasons}


BUY = Scene()
SELL = Scene().with_(side=Side.SELL, held_share_micros=usdc(100), leg_share_micros=(usdc(100), 0))
SPLIT = Scene(book=None).with_(
    kind=GroupKind.SPLIT, side=None, asset_id=None, reference_micros=None, share_micros=usdc(1000)
)
MERGE = SPLIT.with_(kind=GroupKind.MERGE, held_share_micros=usdc(100), leg_share_micros=(usdc(100), usdc(200)))
GLOBAL = BUY.with_(scope=Scope.EXEC_GLOBAL)
