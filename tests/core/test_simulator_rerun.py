"""Two courses of one portfolio: a draft gives what a life under it would have given; what ran gives what ran."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.domain.book import Book
from libs.common.domain.config import merge
from libs.common.domain.kinds import Decision, GroupKind, Scope, Side
from libs.common.domain.statistics import Start
from services.simulator.core.decide import decide
from services.simulator.core.facts import Clock, Group
from services.simulator.core.outcome import Outcome
from services.simulator.core.portfolio import PortfolioState, Trade
from services.simulator.core.rerun import Course, Ran, Recorded
from services.simulator.core.rules import Rules, compile_rules
from tests.support.decisions import CONDITION, GROUP, MARKET, NO, NOW, YES, book, levels, usdc

ME, OTTER, HERON = UUID(int=1), UUID(int=2), UUID(int=3)
BANKROLL = usdc(100)
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Step:
    """What happens: a decision, a mark, a flow, a settlement, midnight, a reset of the breaker."""

    what: str
    group: Group = GROUP
    book: Book | None = None
    asset: str = YES
    amount: int = 0


def group(what: str, user: UUID, asset: str, cents: int, shares: int) -> Group:
    kind = GroupKind.TRADE if what in {"BUY", "SELL"} else GroupKind(what)
    notional = usdc(shares) * cents // 100 if kind is GroupKind.TRADE else usdc(shares)
    return replace(
        GROUP,
        kind=kind,
        user_id=user,
        asset_id=asset if kind is GroupKind.TRADE else None,
        side=Side(what) if kind is GroupKind.TRADE else None,
        share_micros=usdc(shares),
        notional_micros=notional,
        first_event_time=NOW,
    )


def books(version: int, cents: int, size: int) -> Book:
    bid, ask = f"0.{cents - 1:02}", f"0.{cents:02}"
    asks = levels((ask, str(size)), (f"0.{cents + 1:02}", "900"))
    return book(levels((bid, str(size)), (f"0.{cents - 2:02}", "900")), asks, f"h{version}")


decisions = st.builds(
    lambda what, user, asset, cents, shares, version, size: Step(
        "decide", group(what, user, asset, cents, shares), books(version, 50, size) if asset == YES else None
    ),
    st.sampled_from(["BUY", "BUY", "BUY", "SELL", "SPLIT", "MERGE"]),
    st.sampled_from([OTTER, HERON]),
    st.sampled_from([YES, YES, NO]),
    st.integers(49, 51),
    st.sampled_from([200, 1000, 3000, 9000]),
    st.integers(1, 3),
    st.sampled_from([7, 40, 500]),
)
steps = st.lists(
    st.one_of(
        decisions,
        decisions,
        decisions,
        st.builds(lambda asset, cents: Step("mark", asset=asset, amount=cents * 10_000), st.sampled_from([YES, NO]),
                  st.integers(35, 65)),
        st.builds(lambda amount: Step("flow", amount=amount), st.integers(0, usdc(30))),
        st.builds(lambda payout: Step("settle", amount=payout), st.sampled_from([0, 1_000_000])),
        st.sampled_from([Step("midnight"), Step("midnight"), Step("reset"), Step("glimpse")]),
    ),
    min_size=10,
    max_size=40,
)  # fmt: skip
BASE = {
    "min_time_to_close_seconds": 0, "max_event_age_seconds": 10**6, "max_trade_equity_pct": 20, "depth_multiple": 0,
    "daily_loss_limit_pct": 100, "weekly_loss_limit_pct": 100, "max_drawdown_limit_pct": 100, "copy_pct": 2,
    "max_total_exposure_pct": 100, "max_exposure_per_market_pct": 100, "max_exposure_per_user_pct": 100,
}  # fmt: skip
"""Rules that let much pass, so that a small portfolio soon feels what it did before."""
configs = st.fixed_dictionaries(
    {},
    optional={
        "copy_pct": st.sampled_from(["0.5", "1", "3"]),
        "depth_multiple": st.sampled_from(["0", "1.25"]),
        "below_min": st.sampled_from(["SKIP", "CLAMP_UP"]),
        "max_trade_equity_pct": st.sampled_from(["6", "40"]),
        "cap_policy": st.sampled_from(["SKIP", "SHRINK"]),
        "max_exposure_per_user_pct": st.sampled_from(["15", "40"]),
        "max_exposure_per_market_pct": st.sampled_from(["30", "60"]),
        "daily_loss_limit_pct": st.sampled_from(["1", "4"]),
        "max_drawdown_limit_pct": st.sampled_from(["2", "12"]),
    },
)


@dataclass
class Life:
    """A portfolio that lives through steps under one configuration: the plain way, one state."""

    scope: Scope
    rules: Rules
    marks: dict[str, int]

    def __post_init__(self) -> None:
        start = Start(BANKROLL, 0)
        self.state = PortfolioState(
            ME, self.scope, BANKROLL, BANKROLL, start, start, None, False, 0, None, (OTTER, HERON)
        )
        self.state.load({}, self.marks)
        self.flows = self.flows_at_midnight = 0
        self.midnight = BANKROLL

    def live(self, step: Step, number: int) -> tuple[Recorded, Outcome] | None:
        state = self.state
        if step.what == "mark":
            self.marks[step.asset] = step.amount
            state.remark(step.asset, step.amount)
        elif step.what == "flow":
            state.cash_micros += step.amount
            state.net_flows_micros += step.amount
            self.flows += step.amount
            if state.peak_equity_micros is not None:
                state.peak_equity_micros += step.amount
        elif step.what == "settle":
            for asset, payout in ((YES, step.amount), (NO, 1_000_000 - step.amount)):
                state.settle(asset, payout)
        elif step.what == "midnight":
            self.midnight, self.flows_at_midnight = state.equity_micros, self.flows
        elif step.what == "glimpse" and state.peak_equity_micros is not None:
            state.peak_equity_micros = max(state.peak_equity_micros, state.equity_micros)
        elif step.what == "reset" and state.drawdown_tripped:
            state.drawdown_tripped, state.peak_equity_micros = False, None
        elif step.what == "decide":
            state.day = state.week = Start(self.midnight, self.flows - self.flows_at_midnight)
            return self.decide(step, number)
        return None

    def decide(self, step: Step, number: int) -> tuple[Recorded, Outcome]:
        asked, state = step.group, self.state
        clock = Clock(self.scope, NOW + number * SECOND, engine_paused=False, user_enabled=True)
        version = step.book.hash if step.book else None
        view = state.view(asked, MARKET, version, None)
        outcome = decide(asked, view, self.rules, MARKET, step.book, clock)
        state.decided(asked, view, outcome.drawdown_tripped)
        if outcome.decision is Decision.EXECUTE:
            made = (outcome.filled_share_micros, outcome.filled_notional_micros, outcome.fee_micros)
            legs = MARKET.asset_ids
            state.apply(Trade(asked.kind, asked.side, CONDITION, asked.asset_id, legs, asked.user_id, *made))
            if version is not None and asked.asset_id is not None:
                taken = [(fill.price_micros, fill.share_micros) for fill in outcome.fills]
                state.take((asked.asset_id, version, asked.side), taken)
        ran = Ran.of(outcome)
        recorded = Recorded(UUID(int=number), ME, asked, view, MARKET, clock, version, step.book, self.rules, ran)
        return recorded, outcome


def rerun(
    course: Course, marks: dict[str, int], lived: Sequence[tuple[Step, Recorded | None]], rules: Rules
) -> list[Ran]:
    """Return what the draft makes of a recorded life."""
    found = []
    for step, recorded in lived:
        if recorded is not None:
            found.append(Ran.of(course.decide(recorded, rules, None)))
        elif step.what == "mark":
            marks[step.asset] = step.amount
            course.marked(step.asset)
        elif step.what == "flow":
            course.flow(step.amount)
        elif step.what == "settle":
            course.settle(YES, step.amount)
            course.settle(NO, 1_000_000 - step.amount)
        elif step.what == "midnight":
            course.new_day(is_monday=True)
    course.finish()
    return found


def compiled(config: dict[str, Any]) -> Rules:
    return compile_rules(merge(BASE, config), 1)


def told(scope: Scope, plan: list[Step], config: dict[str, Any]) -> tuple[Life, list[tuple[Step, Recorded | None]]]:
    life = Life(scope, compiled(config), {})
    lived: list[tuple[Step, Recorded | None]] = []
    for number, step in enumerate(plan):
        made = life.live(step, number)
        lived.append((step, made[0] if made else None))
    return life, lived


def begun(scope: Scope, marks: dict[str, int]) -> Course:
    course = Course(ME, scope, marks, (OTTER, HERON))
    course.ran.cash_micros = course.draft.cash_micros = BANKROLL
    course.begin()
    return course


@given(st.sampled_from([Scope.EXEC_USER, Scope.EXEC_GLOBAL]), steps, configs)
def test_what_ran_decided_again_is_what_ran(scope: Scope, plan: list[Step], config: dict[str, Any]) -> None:
    life, lived = told(scope, plan, config)
    marks: dict[str, int] = {}
    course = begun(scope, marks)
    assert rerun(course, marks, lived, life.rules) == [recorded.ran for _, recorded in lived if recorded]
    assert (course.gaps, course.parted) == (0, False)
    assert course.ran.equity_micros == course.draft.equity_micros == life.state.equity_micros


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([Scope.EXEC_USER, Scope.EXEC_GLOBAL]),
    steps.map(lambda plan: [step for step in plan if step.what not in {"reset", "glimpse"}]),
    configs,
    configs,
)
def test_a_draft_gives_what_a_life_under_it_gives(
    scope: Scope, plan: list[Step], config: dict[str, Any], draft: dict[str, Any]
) -> None:
    """A reset of the real breaker comes at another moment of a draft's life, and no snapshot glimpsed its peak between
    decisions: neither is among the steps."""
    _, lived = told(scope, plan, config)
    other, other_lived = told(scope, plan, draft)
    marks: dict[str, int] = {}
    course = begun(scope, marks)
    assert rerun(course, marks, lived, other.rules) == [recorded.ran for _, recorded in other_lived if recorded]
    assert course.draft.equity_micros == other.state.equity_micros
    assert course.gaps == 0
    assert all(shares >= 0 for shares in (course.draft.held(YES), course.draft.held(NO)))


def test_a_breaker_the_draft_tripped_stays_tripped_until_the_real_one_is_reset() -> None:
    big = group("BUY", OTTER, YES, 50, 5000)
    plan = [
        Step("decide", big, books(1, 50, 500)), Step("mark", amount=10_000), Step("decide", big, books(2, 50, 500)),
        Step("reset"), Step("mark", amount=500_000), Step("decide", big, books(3, 50, 500)),
    ]  # fmt: skip
    strict = {"max_drawdown_limit_pct": "0.2", "daily_loss_limit_pct": "100", "weekly_loss_limit_pct": "100"}
    for config, expected in (
        (strict, ["", "BREAKER_DRAWDOWN", ""]),
        ({}, ["", "BREAKER_DRAWDOWN", "BREAKER_DRAWDOWN"]),
    ):
        _, lived = told(Scope.EXEC_USER, plan, config)
        marks: dict[str, int] = {}
        found = rerun(begun(Scope.EXEC_USER, marks), marks, lived, compiled(strict))
        assert [",".join(made.reasons) for made in found] == expected
