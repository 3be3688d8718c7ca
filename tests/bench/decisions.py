"""How many pure decisions a second one core makes: 40-level books, every phase, executed and skipped.

`decide` alone, from inputs in memory to an outcome with checks, fills or counterfactual; medians of several rounds.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from libs.common.domain.book import Book, Level
from libs.common.domain.config import CopyConfig
from libs.common.domain.kinds import GroupKind, Scope, Side
from libs.common.domain.money import MICROS
from services.simulator.core.decide import decide
from services.simulator.core.facts import Clock, Group, MarketView, PortfolioView
from services.simulator.core.rules import compile_rules
from tests.bench.decoders import per_second

LEVELS: Final = 40
COUNT: Final = 2_000
BAR_PER_S: Final = 20_000
AIM_PER_S: Final = 60_000
NOW: Final = datetime(2026, 9, 28, 12, 0, tzinfo=UTC)
TICK_MICROS: Final = 1_000
RULES: Final = compile_rules(CopyConfig(), 1)
EQUITY_MICROS: Final = 100_000 * MICROS


@dataclass(frozen=True, slots=True)
class Case:
    """The arguments of one decision."""

    group: Group
    view: PortfolioView
    market: MarketView
    book: Book
    clock: Clock


def _book(number: int) -> Book:
    """Return a book around 0.50 whose best levels are too small for our order, so that a walk takes several."""

    def side(first: int, step: int) -> tuple[Level, ...]:
        sizes = ((20 + 7 * ((number + level) % 9)) * MICROS for level in range(LEVELS))
        return tuple(Level(first + step * level, size) for level, size in enumerate(sizes))

    bids, asks = side(499_000, -TICK_MICROS), side(501_000, TICK_MICROS)
    return Book("1", f"{number:040x}", 1, bids, asks)


def _case(number: int) -> Case:
    """Return a decision that executes: a BUY or a SELL of a few hundred shares, in either scope."""
    side = Side.SELL if number % 4 == 3 else Side.BUY
    notional = (3_000 + 37 * (number % 500)) * MICROS
    group = Group(
        id=UUID(int=number),
        kind=GroupKind.TRADE,
        user_id=UUID(int=1),
        condition_id="0x" + "c" * 64,
        asset_id="1",
        side=side,
        share_micros=notional * 2,
        notional_micros=notional,
        reference_micros=500_000,
        first_event_time=NOW - timedelta(seconds=4),
        first_detect_time=NOW - timedelta(seconds=3),
        first_ordinal=number,
        closed_at=NOW - timedelta(seconds=1),
    )
    view = PortfolioView(
        cash_micros=EQUITY_MICROS // 2,
        equity_micros=EQUITY_MICROS,
        exposure_total_micros=EQUITY_MICROS // 2,
        exposure_market_micros=EQUITY_MICROS // 100,
        exposure_user_micros=EQUITY_MICROS // 10,
        held_share_micros=5_000 * MICROS,
        leg_share_micros=(5_000 * MICROS, 0),
        leg_cost_micros=(2_500 * MICROS, 0),
        day_start_equity_micros=EQUITY_MICROS,
        day_flows_micros=0,
        week_start_equity_micros=EQUITY_MICROS,
        week_flows_micros=0,
        peak_equity_micros=EQUITY_MICROS,
        drawdown_tripped=False,
        net_flows_micros=EQUITY_MICROS,
        taken=((501_000, 5 * MICROS), (502_000, 3 * MICROS)) if number % 10 == 0 else (),
    )
    market = MarketView(
        condition_id="0x" + "c" * 64,
        asset_ids=("1", "2"),
        close_time=NOW + timedelta(days=1),
        closed=False,
        resolved=False,
        accepting_orders=True,
        fee_rate=Decimal("0.05"),
        fee_exponent=Decimal(1),
    )
    scope = Scope.EXEC_GLOBAL if number % 2 else Scope.EXEC_USER
    return Case(group, view, market, _book(number), Clock(scope, NOW, engine_paused=False, user_enabled=True))


def cases() -> Iterator[Case]:
    """Yield COUNT decisions: of ten, six execute and four are skipped, each in another phase."""
    for number in range(COUNT):
        case = _case(number)
        match number % 10:
            case 1:  # market phase
                case = replace(case, market=replace(case.market, close_time=NOW + timedelta(minutes=5)))
            case 4:  # breakers
                case = replace(case, view=replace(case.view, day_start_equity_micros=2 * EQUITY_MICROS))
            case 6:  # risk
                case = replace(case, view=replace(case.view, exposure_market_micros=EQUITY_MICROS // 10))
            case 8:  # book
                case = replace(case, group=replace(case.group, notional_micros=case.group.notional_micros * 9 // 10))
            case _:
                pass
        yield case


def measure_decisions() -> dict[str, Any]:
    """Return the rate with its bar, and what the decisions came to."""
    every = list(cases())

    def work() -> None:
        for each in every:
            decide(each.group, each.view, RULES, each.market, each.book, each.clock)

    made = [decide(each.group, each.view, RULES, each.market, each.book, each.clock) for each in every]
    outcomes = Counter(",".join(outcome.reasons) or outcome.decision.value for outcome in made)
    filled = sum(len(outcome.fills) for outcome in made) / max(1, sum(bool(outcome.fills) for outcome in made))
    return {
        "decisions_per_s": per_second(COUNT, work),
        "decisions_bar_per_s": BAR_PER_S,
        "decisions_aim_per_s": AIM_PER_S,
        "decisions_levels_filled": round(filled, 1),
        "decisions_mix": dict(outcomes),
    }


if __name__ == "__main__":
    for name, value in measure_decisions().items():
        sys.stdout.write(f"{name:28}{value}\n")
