"""One portfolio twice, as it ran and under a draft configuration, carried side by side from decision to decision.

What a decision under the draft sees is what the real one saw, plus the difference between the two courses: cash,
equity, exposures, shares, costs and what was taken of the book's version. Where the courses have not parted the
difference is nothing, so the draft "exactly what ran" gives exactly what ran, whatever real life did in between.

What no record can tell under a draft is defined so:
- A day's or week's start is the real one plus the difference in equity, at the marks of that moment, when it began;
  what began before the range has no difference.
- The peak is the real one moved by the difference of equity: where the real peak (net of flows) rose since the last
  decision, the draft's is at least that plus the difference now; and it is at least the draft's equity at each
  decision. It starts at the real peak.
- A drawdown breaker that the draft trips stays tripped until the admin reset the real one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from libs.common.domain.book import Book
from libs.common.domain.kinds import Decision, Scope
from libs.common.domain.reasons import Reason
from libs.common.domain.statistics import Start
from services.simulator.core.decide import decide
from services.simulator.core.facts import Clock, Group, MarketView, PortfolioView
from services.simulator.core.guardrails import breakers
from services.simulator.core.outcome import Outcome
from services.simulator.core.portfolio import PortfolioState, Trade
from services.simulator.core.rules import Rules


@dataclass(frozen=True, slots=True)
class Ran:
    """What a recorded attempt came to; `fills` are (price, shares)."""

    decision: Decision
    reasons: tuple[str, ...]
    share_micros: int
    notional_micros: int
    fee_micros: int
    partial: bool
    fills: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, outcome: Outcome) -> "Ran":
        """Return an outcome as it would be recorded."""
        return cls(
            outcome.decision,
            tuple(reason.value for reason in outcome.reasons),
            outcome.filled_share_micros,
            outcome.filled_notional_micros,
            outcome.fee_micros,
            outcome.partial,
            tuple((fill.price_micros, fill.share_micros) for fill in outcome.fills),
        )

    @property
    def executed(self) -> bool:
        """Tell whether it traded."""
        return self.decision is Decision.EXECUTE


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded attempt with all it was decided from. `rules` are those that ran."""

    attempt_id: UUID
    portfolio_id: UUID
    group: Group
    view: PortfolioView
    market: MarketView | None
    clock: Clock
    book_hash: str | None
    book: Book | None
    rules: Rules
    ran: Ran


class Course:
    """A portfolio as it ran and under the draft. Feed it marks, settlements, flows, days and decisions in order."""

    def __init__(self, id: UUID, scope: Scope, marks: Mapping[str, int], follow_order: Iterable[UUID]) -> None:  # noqa: A002
        """Begin empty; `marks` is the one live table of marks, shared by all courses."""
        order = tuple(follow_order)
        self.id, self.scope = id, scope
        self._marks = marks
        self.ran, self.draft = (_empty(id, scope, order) for _ in range(2))
        for state in (self.ran, self.draft):
            state.load({}, marks)
        self.parted = False
        self.flows_micros = 0
        self.gaps = 0
        self.start_equity_micros = 0
        self._dirty: set[str] = set()
        self._day_shift = self._week_shift = 0
        self._peak: int | None = None
        self._ran_peak = 0
        self._tripped = self._ran_tripped = False

    def begin(self) -> None:
        """Note the worth at the start of the range, after what was held then was loaded and marked."""
        self._remark()
        self.start_equity_micros = self.ran.equity_micros

    def both(self) -> tuple[PortfolioState, PortfolioState]:
        """Return both courses, for loading what was before the range."""
        return self.ran, self.draft

    def marked(self, asset: str) -> None:
        """Note that an asset has a new mark."""
        self._dirty.add(asset)

    def flow(self, cash_micros: int) -> None:
        """Deposit, or withdraw where negative."""
        self.flows_micros += cash_micros
        for state in self.both():
            state.cash_micros += cash_micros

    def settle(self, asset: str, payout_micros: int) -> None:
        """End whatever either course holds of an asset at its payout."""
        for state in self.both():
            state.settle(asset, payout_micros)

    def new_day(self, *, is_monday: bool) -> None:
        """Note the worth at 00:00 UTC."""
        self._day_shift = self._difference()
        if is_monday:
            self._week_shift = self._day_shift

    def decide(self, recorded: Recorded, rules: Rules, shadow_held: int | None) -> Outcome:
        """Decide a recorded attempt again under `rules`, and carry both courses on.

        `shadow_held` is what they held before, should the recorded attempt not have needed it.
        """
        self._remark()
        view = self._view(recorded, shadow_held)
        outcome = decide(recorded.group, view, rules, recorded.market, recorded.book, recorded.clock)
        self._tripped = outcome.drawdown_tripped
        self._ran_tripped = breakers(recorded.view, recorded.rules, recorded.group.is_open)[1]
        drafted = Ran.of(outcome)
        if drafted.executed or recorded.ran.executed:
            self.parted = self.parted or (
                (drafted.share_micros, drafted.notional_micros, drafted.fee_micros, drafted.fills)
                != (
                    recorded.ran.share_micros,
                    recorded.ran.notional_micros,
                    recorded.ran.fee_micros,
                    recorded.ran.fills,
                )
            )
            _carry(self.ran, recorded, recorded.ran)
            _carry(self.draft, recorded, drafted)
        return outcome

    def held_assets(self) -> set[str]:
        """Return the assets that either course holds."""
        return {asset for state in self.both() for asset, holding in state.holdings().items() if holding.share_micros}

    def finish(self) -> None:
        """Mark everything now."""
        self._remark()

    def _remark(self) -> None:
        for asset in self._dirty:
            for state in self.both():
                state.remark(asset, self._marks[asset])
        self._dirty.clear()

    def _difference(self) -> int:
        if not self.parted:
            return 0
        self._remark()
        return self.draft.equity_micros - self.ran.equity_micros

    def _view(self, recorded: Recorded, shadow_held: int | None) -> PortfolioView:
        """Return what the decision under the draft sees."""
        view = recorded.view
        asset = recorded.group.asset_id
        if self.ran.cash_micros != view.cash_micros or (asset and self.ran.held(asset) != view.held_share_micros):
            self.gaps += 1
        if self.parted:
            ran, draft = (
                state.view(recorded.group, recorded.market, recorded.book_hash, None) for state in self.both()
            )
            view = _moved(view, ran, draft)
        self._move_peak(recorded.view, view.equity_micros)
        return replace(
            view,
            day_start_equity_micros=_plus(view.day_start_equity_micros, self._day_shift),
            week_start_equity_micros=_plus(view.week_start_equity_micros, self._week_shift),
            peak_equity_micros=(self._peak or 0) + view.net_flows_micros,
            drawdown_tripped=self._tripped,
            shadow_held_micros=view.shadow_held_micros if shadow_held is None else shadow_held,
        )

    def _move_peak(self, real: PortfolioView, equity: int) -> None:
        """Carry the draft's peak, net of flows, to this decision, and follow a reset of the breaker."""
        ran_peak = real.peak_equity_micros - real.net_flows_micros
        difference = equity - real.equity_micros
        is_reset = self._ran_tripped and not real.drawdown_tripped
        if self._peak is None:
            self._peak, self._tripped = ran_peak, real.drawdown_tripped
        elif is_reset or ran_peak < self._ran_peak:
            self._peak = ran_peak + difference
            self._tripped = self._tripped and not is_reset
        elif ran_peak > self._ran_peak:
            self._peak = max(self._peak, ran_peak + difference)
        self._ran_peak = ran_peak
        self._peak = max(self._peak, equity - real.net_flows_micros)


def lacks_book(outcome: Outcome) -> bool:
    """Tell whether a decision would have needed a book that nobody fetched."""
    return Reason.BOOK_UNAVAILABLE in outcome.reasons


def _empty(identity: UUID, scope: Scope, follow_order: tuple[UUID, ...]) -> PortfolioState:
    return PortfolioState(
        identity,
        scope,
        0,
        0,
        Start(None, 0),
        Start(None, 0),
        None,
        False,
        0,
        None,
        follow_order,
    )


def _carry(state: PortfolioState, recorded: Recorded, made: Ran) -> None:
    if not made.executed:
        return
    group, market = recorded.group, recorded.market
    state.apply(
        Trade(
            kind=group.kind,
            side=group.side,
            condition_id=market.condition_id if market else group.condition_id,
            asset_id=group.asset_id,
            legs=market.asset_ids if market else (),
            source=group.user_id,
            share_micros=made.share_micros,
            notional_micros=made.notional_micros,
            fee_micros=made.fee_micros,
        )
    )
    if recorded.book_hash is not None and group.asset_id is not None:
        state.take((group.asset_id, recorded.book_hash, group.side), made.fills)


def _plus(start: int | None, shift: int) -> int | None:
    return None if start is None else start + shift


def _moved(real: PortfolioView, ran: PortfolioView, draft: PortfolioView) -> PortfolioView:
    """Return the real view moved by the difference of two courses; what cannot be negative is not."""
    taken = dict(real.taken)
    for price, shares in draft.taken:
        taken[price] = taken.get(price, 0) + shares
    for price, shares in ran.taken:
        taken[price] = taken.get(price, 0) - shares
    return replace(
        real,
        cash_micros=real.cash_micros + draft.cash_micros - ran.cash_micros,
        equity_micros=real.equity_micros + draft.equity_micros - ran.equity_micros,
        exposure_total_micros=max(
            0, real.exposure_total_micros + draft.exposure_total_micros - ran.exposure_total_micros
        ),
        exposure_market_micros=max(
            0, real.exposure_market_micros + draft.exposure_market_micros - ran.exposure_market_micros
        ),
        exposure_user_micros=max(0, real.exposure_user_micros + draft.exposure_user_micros - ran.exposure_user_micros),
        held_share_micros=max(0, real.held_share_micros + draft.held_share_micros - ran.held_share_micros),
        leg_share_micros=_legs(real.leg_share_micros, ran.leg_share_micros, draft.leg_share_micros),
        leg_cost_micros=_legs(real.leg_cost_micros, ran.leg_cost_micros, draft.leg_cost_micros),
        taken=tuple(sorted((price, shares) for price, shares in taken.items() if shares > 0)),
    )


def _legs(real: tuple[int, ...], ran: tuple[int, ...], draft: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(0, old + new - base) for old, base, new in zip(real, ran, draft, strict=True))
