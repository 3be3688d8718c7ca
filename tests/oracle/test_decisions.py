"""The oracle and the simulator's core agree on made-up groups, portfolios and books."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.domain.book import Book, Level
from libs.common.domain.config import CopyConfig, document, merge
from libs.common.domain.kinds import GroupKind, Scope, Side
from services.simulator.core.decide import decide
from services.simulator.core.facts import Clock, Group, MarketView, PortfolioView
from services.simulator.core.outcome import Outcome
from services.simulator.core.rules import compile_rules
from tests.oracle.attempts import check_counterfactual, check_fills, check_inputs, check_reasons
from tests.oracle.clock import Clock as TapeClock
from tests.oracle.decision import Case
from tests.oracle.rules import rules_from
from tests.oracle.tape import MarketState, Tape, TapeBook, TapeMarket

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOON_MICROSECONDS = int(NOON.timestamp()) * 1_000_000
USDC = 1_000_000
Levels = tuple[tuple[int, int], ...]


def made_group(dice: Random) -> Group:
    kind = dice.choice([*[GroupKind.TRADE] * 6, GroupKind.SPLIT, GroupKind.MERGE])
    side = dice.choice(list(Side)) if kind is GroupKind.TRADE else None
    count = dice.choice([dice.randrange(1, 200), dice.randrange(1, 20_000), dice.randrange(1_000, 10**6)])
    shares = count * dice.choice([10_000, 10_000, 1_000_000, 1, 7])
    notional = shares
    if side is not None:
        price = dice.randrange(20, 980) * 1_000
        notional = max(1, shares * price // USDC + dice.choice([0, 0, 0, 1, 7]))
    up, down = -(-notional * USDC // shares), notional * USDC // shares
    trade = kind is GroupKind.TRADE
    return Group(
        id=UUID(int=1),
        kind=kind,
        user_id=UUID(int=2),
        condition_id=None if trade else "0xc",
        asset_id="111" if trade else None,
        side=side,
        share_micros=shares,
        notional_micros=notional,
        reference_micros=(up if side is Side.BUY else down) if trade else None,
        first_event_time=NOON,
        first_detect_time=NOON,
        first_ordinal=0,
        closed_at=NOON + timedelta(seconds=2),
    )


def made_config(dice: Random) -> CopyConfig:
    """Return the defaults half of the time, else something odd in several places."""
    if dice.random() < 0.5:
        return CopyConfig()
    choices: dict[str, list[Any]] = {
        "copy_pct": [1, 2, "0.37"],
        "below_min": ["CLAMP_UP", "SKIP"],
        "sell_sizing": ["NOTIONAL", "PROPORTIONAL"],
        "cap_policy": ["SKIP", "SHRINK"],
        "depth_multiple": ["0", "0.5", "1.25", "3"],
        "min_trade_notional_micros": [0, 5 * USDC, 75 * USDC],
        "user_max_trade_notional_micros": [None, 5 * USDC, 5 * USDC - 1],
        "max_spread_micros": [20_000, 50_000, USDC],
        "max_chase_mid_micros": [0, 15_000, USDC],
        "max_worse_than_their_price_micros": [0, 10_000, USDC],
        "max_exposure_per_market_pct": [5, "0.1", 100],
        "max_total_exposure_pct": [70, "1.11", 100],
        "max_exposure_per_user_pct": [20, "1.07", 100],
        "max_event_age_seconds": [120, 3, 2],
        "market_blacklist": [[], ["0xc"], ["222"]],
    }
    return merge({name: dice.choice(found) for name, found in choices.items() if dice.random() < 0.4})


def made_side(dice: Random, start: int, direction: int) -> Levels:
    tick, price, found = dice.choice([10_000, 1_000, 100]), start, []
    for _ in range(dice.randrange(12)):
        size = dice.choice([10_000, 5_000, dice.randrange(1, 500) * 10_000, dice.randrange(1, 10**9)])
        if 0 < price < USDC:
            found.append((price, size))
        price += direction * tick * dice.randrange(1, 8)
    return tuple(found)


def made_book(dice: Random, group: Group) -> Book | None:
    if group.reference_micros is None or dice.random() < 0.05:
        return None
    middle = group.reference_micros // 1_000 * 1_000 + dice.choice([0, 0, dice.randrange(-30, 31) * 1_000])
    half = dice.choice([500, 1_000, 5_000, 5_000, 10_000, 10_500])
    bids, asks = made_side(dice, middle - half, -1), made_side(dice, middle + half, 1)
    return Book("111", "h", 1, tuple(Level(*each) for each in bids), tuple(Level(*each) for each in asks))


def made_view(dice: Random, taken: Levels) -> PortfolioView:
    base = dice.choice([10_000, dice.randrange(1, 10_000)]) * USDC
    exposure = dice.choice([0, 0, base // 100, base * 49 // 1_000, base // 21, base * 69 // 100])
    cash = base - exposure if dice.random() < 0.9 else dice.randrange(20 * USDC)
    equity, held = cash + exposure, dice.choice([0, 5_000, 10_000, 123_450, dice.randrange(1, 10**9)])
    start = dice.choice([base, equity, equity * 100 // 97, equity * 100 // 97 + 1, equity * 2])
    return PortfolioView(
        cash_micros=cash,
        equity_micros=equity,
        exposure_total_micros=exposure,
        exposure_market_micros=dice.choice([0, exposure]),
        exposure_user_micros=dice.choice([0, exposure]),
        held_share_micros=held,
        leg_share_micros=(held, held),
        leg_cost_micros=(0, 0),
        day_start_equity_micros=start,
        day_flows_micros=0,
        week_start_equity_micros=dice.choice([start, equity]),
        week_flows_micros=0,
        peak_equity_micros=max(equity, dice.choice([base, equity, equity * 100 // 88])),
        drawdown_tripped=False,
        net_flows_micros=base,
        taken=taken,
        shadow_held_micros=dice.choice([0, -held, held, dice.randrange(1, 10**10)]),
    )


def made_taken(dice: Random, book: Book | None, side: Side | None) -> Levels:
    levels = () if book is None else book.asks if side is Side.BUY else book.bids
    return tuple(
        (level.price_micros, level.share_micros // dice.choice([1, 2]) // 10_000 * 10_000)
        for level in levels
        if dice.random() < 0.15
    )


def attempt_row(
    group: Group, view: PortfolioView, outcome: Outcome, scope: Scope, rate: Decimal, book: Book | None
) -> dict[str, Any]:
    recorded = {
        name: getattr(outcome, name)
        for name in [
            "best_bid_micros",
            "best_ask_micros",
            "mid_price_micros",
            "limit_price_micros",
            "depth_micros",
            "target_notional_micros",
            "filled_share_micros",
            "filled_notional_micros",
            "vwap_price_micros",
            "fee_micros",
            "counterfactual_share_micros",
            "counterfactual_notional_micros",
        ]
    }
    seen = {
        name: getattr(view, name)
        for name in [
            "cash_micros",
            "equity_micros",
            "held_share_micros",
            "exposure_total_micros",
            "exposure_market_micros",
            "exposure_user_micros",
            "day_start_equity_micros",
            "week_start_equity_micros",
            "peak_equity_micros",
        ]
    }
    return {
        "id": "a",
        "user_label": "ann",
        "scope": scope.value,
        "kind": group.kind.value,
        "asset_id": group.asset_id,
        "condition_id": "0xc",
        "side": group.side.value if group.side else None,
        "decision": outcome.decision.value,
        "reason_codes": [reason.value for reason in outcome.reasons],
        "decided_at": NOON_MICROSECONDS + 3_000_000,
        "book_hash": book.hash if book else None,
        "their_reference_price_micros": group.reference_micros,
        "fee_rate": str(rate),
        "config_version": 1,
        **recorded,
        **seen,
    }


def made_tape(rate: Decimal, exponent: int, book: Book | None) -> Tape:
    tape = Tape("made up", 0, {}, {})
    state = MarketState(0, False, True, None)
    tape.markets["0xc"] = TapeMarket("0xc", ("111", "222"), Fraction(rate), exponent, [state])
    if book is not None:
        bids, asks = (
            tuple((level.price_micros, level.share_micros) for level in side) for side in (book.bids, book.asks)
        )
        tape.books["111", "h"] = TapeBook("111", "h", 0, bids, asks)
    return tape


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32))
def test_any_decision_passes_the_oracle(seed: int) -> None:
    dice = Random(seed)  # noqa: S311  examples, not secrets
    group = made_group(dice)
    book = made_book(dice, group)
    taken = made_taken(dice, book, group.side)
    view, rate = made_view(dice, taken), Decimal(dice.choice(["0.05", "0.07", "0", "0.03"]))
    config, exponent = made_config(dice), dice.choice([1, 1, 2])
    scope = dice.choice([Scope.EXEC_USER, Scope.EXEC_GLOBAL])
    market = MarketView("0xc", ("111", "222"), None, False, False, True, rate, Decimal(exponent))
    clock = Clock(scope, NOON + timedelta(seconds=3), False, True)
    outcome = decide(group, view, compile_rules(config, 1), market, book, clock)
    row = attempt_row(group, view, outcome, scope, rate, book)
    shared = {"share_micros": group.share_micros, "usdc_notional_micros": group.notional_micros}
    told = {"id": "g", "first_event_time": NOON_MICROSECONDS, **shared}
    case = Case(
        row,
        told,
        rules_from(document(config)),
        made_tape(rate, exponent, book),
        TapeClock(0, 0, Fraction(1)),
        dict(taken),
        shadow_before=view.shadow_held_micros,
    )
    names = ("price_micros", "share_micros", "notional_micros", "fee_micros")
    fills = [{name: getattr(fill, name) for name in names} for fill in outcome.fills]
    found = [*check_reasons(case), *check_inputs(case), *check_fills(case, fills), *check_counterfactual(case)]
    assert [str(violation) for violation in found] == []
