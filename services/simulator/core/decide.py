"""The copy decision of SPEC section 5: a pure function of group, portfolio, rules, market, book and clock.

Phases run in order; the first with a failure stops, and all its failures are recorded. With a book at hand a SKIP also
says what the walk would have filled without the checks that failed.
"""

from collections.abc import Sequence

from libs.common.domain.book import Book
from libs.common.domain.kinds import Decision, GroupKind, Side
from libs.common.domain.money import price_ceil, price_floor
from libs.common.domain.reasons import Reason
from services.simulator.core import guardrails
from services.simulator.core.facts import Clock, Group, MarketView, PortfolioView
from services.simulator.core.fees import order_fee, share_fee
from services.simulator.core.outcome import Check, LevelFill, Outcome
from services.simulator.core.rules import Rules
from services.simulator.core.sizing import Size, size
from services.simulator.core.walk import Band, Bounds, Walked, band, bounds, walk

_RANK = {reason: place for place, reason in enumerate(Reason)}


def decide(
    group: Group, view: PortfolioView, rules: Rules, market: MarketView | None, book: Book | None, clock: Clock
) -> Outcome:
    """Return the decision on `group`, with everything it was made from."""
    outcome = Outcome(Decision.SKIP)
    breaker_checks, outcome.drawdown_tripped = guardrails.breakers(view, rules, group.is_open)
    checks: list[Check] = []
    control = guardrails.control(group, market, clock)
    controlled = _passes(control, checks)
    supported = control[-1][1] is not False
    if not supported:
        return _finish(outcome, checks)
    sized = size(group, view, rules)
    quote = _Quote(group, view, rules, book)
    quote.describe(outcome)
    outcome.target_notional_micros = sized.target_micros
    if (
        controlled
        and _passes(guardrails.market_state(group, market, rules, clock), checks)
        and _passes(breaker_checks, checks)
        and _passes(sized.checks, checks)
        and _passes(_risk(group, view, rules, market, clock, sized, quote, outcome), checks)
        and (group.kind is not GroupKind.TRADE or _passes(quote.checks(outcome.target_notional_micros), checks))
    ):
        return _execute(outcome, group, view, sized, quote, market, checks)
    _finish(outcome, checks)
    _imagine(outcome, group, sized, quote)
    return outcome


def _passes(phase: Sequence[Check], checks: list[Check]) -> bool:
    """Record the checks of a phase that was reached; tell whether none of them failed."""
    checks += phase
    for check in phase:  # noqa: SIM110  all() over a generator costs three times as much, six times a decision
        if check[1] is False:
            return False
    return True


def _risk(
    group: Group,
    view: PortfolioView,
    rules: Rules,
    market: MarketView | None,
    clock: Clock,
    sized: Size,
    quote: "_Quote",
    outcome: Outcome,
) -> list[Check]:
    """Return the risk phase; what it leaves of the target is written into `outcome`."""
    if market is None:
        raise AssertionError(f"group {group.id}: an unknown market must not pass the market phase")
    risk = guardrails.risk(group, view, rules, clock.scope, sized.target_micros, quote.limit, market)
    outcome.target_notional_micros = risk.target_micros
    return risk.checks


class _Quote:
    """One side of the book as the group's order meets it."""

    __slots__ = ("_rules", "_taken", "ask", "band", "bid", "book", "bounds", "buying", "limit", "mid")

    def __init__(self, group: Group, view: PortfolioView, rules: Rules, book: Book | None) -> None:
        trades = group.kind is GroupKind.TRADE
        self.book = book = book if trades else None
        self._rules = rules
        self._taken = dict(view.taken)
        self.buying = group.side is Side.BUY
        self.bid = self.ask = self.mid = None
        if book is not None:
            self.bid, self.ask, self.mid = book.best_bid_micros, book.best_ask_micros, book.mid_micros
        theirs, shares = group.notional_micros, group.share_micros if trades else 0
        self.bounds = bounds(theirs, shares, self.mid, rules.worse_than_theirs, rules.chase_mid, self.buying)
        self.limit = self.bounds.limit(self.buying)
        self.band = self.within(self.limit)

    def within(self, limit: int | None) -> Band:
        """Return what our side of the book offers up to `limit`, net of what we took."""
        if self.book is None:
            return Band([], 0, 0)
        return band(self.book.asks if self.buying else self.book.bids, limit, self._taken, self.buying)

    def describe(self, outcome: Outcome) -> None:
        """Write the book's values into `outcome`."""
        outcome.limit_price_micros = self.limit
        if self.book is not None:
            outcome.best_bid_micros = self.bid
            outcome.best_ask_micros = self.ask
            outcome.mid_price_micros = self.mid
            outcome.depth_micros = self.band.notional_micros

    def checks(self, target: int) -> list[Check]:
        """Return the book phase: spread, both price bounds, depth, liquidity."""
        rules = self._rules
        if self.book is None:
            return [("book.available", False, None, None, Reason.BOOK_UNAVAILABLE)]
        spread = None if self.bid is None or self.ask is None else self.ask - self.bid
        narrow = spread is not None and spread <= rules.spread
        offered = self.band
        thin = offered.notional_micros > 0 and (
            offered.notional_micros * rules.depth.denominator < rules.depth.numerator * target
        )
        return [
            ("book.available", True, self.book.hash, None, None),
            ("book.spread", narrow, spread, rules.spread, None if narrow else Reason.SPREAD_TOO_WIDE),
            self._bound("book.their_price", self.bounds.by_reference, Reason.WORSE_THAN_THEIR_PRICE),
            self._bound("book.mid", self.bounds.by_mid, Reason.CHASING_MID),
            (
                "book.depth",
                not thin,
                {"band": offered.notional_micros, "target": target},
                rules.depth.shown,
                Reason.INSUFFICIENT_DEPTH if thin else None,
            ),
            (
                "book.liquidity",
                offered.lots > 0,
                offered.lots,
                1,
                None if offered.lots > 0 else Reason.NO_LIQUIDITY_WITHIN_BOUNDS,
            ),
        ]

    def _bound(self, name: str, bound: int | None, reason: Reason) -> Check:
        price = self.ask if self.buying else self.bid
        if price is None or bound is None:
            return (name, None, price, bound, None)
        passed = price <= bound if self.buying else price >= bound
        return (name, passed, price, bound, None if passed else reason)


def _finish(outcome: Outcome, checks: list[Check]) -> Outcome:
    """Record checks and the reasons of those that failed, in the order of the enum."""
    outcome.checks = checks
    outcome.reasons = tuple(sorted({check[4] for check in checks if check[4] is not None}, key=_RANK.__getitem__))
    return outcome


def _imagine(outcome: Outcome, group: Group, sized: Size, quote: _Quote) -> None:
    """Store what the walk would have filled without the failed checks: a failed price bound is lifted."""
    if quote.book is None:
        return
    failed = set(outcome.reasons)
    by_reference = None if Reason.WORSE_THAN_THEIR_PRICE in failed else quote.bounds.by_reference
    by_mid = None if Reason.CHASING_MID in failed else quote.bounds.by_mid
    limit = Bounds(by_reference, by_mid).limit(quote.buying)
    offered = quote.band if limit == quote.limit else quote.within(limit)
    target = sized.target_micros if outcome.target_notional_micros is None else outcome.target_notional_micros
    walked = walk(offered, target, sized.share_cap_micros, quote.buying)
    outcome.counterfactual_share_micros = walked.share_micros
    outcome.counterfactual_notional_micros = walked.notional_micros


def _execute(
    outcome: Outcome,
    group: Group,
    view: PortfolioView,
    sized: Size,
    quote: _Quote,
    market: MarketView | None,
    checks: list[Check],
) -> Outcome:
    target = outcome.target_notional_micros or 0
    if group.kind is not GroupKind.TRADE:
        outcome.decision = Decision.EXECUTE
        outcome.filled_share_micros = outcome.filled_notional_micros = target
        return _finish(outcome, checks)
    if market is None:
        raise AssertionError(f"group {group.id}: an unknown market must not reach the walk")
    walked, fee = _affordable(target, sized, view, quote, market)
    if not walked.share_micros:
        reason = Reason.NO_LIQUIDITY_WITHIN_BOUNDS
        checks.append(("book.filled", False, 0, 1, reason))
        _finish(outcome, checks)
        _imagine(outcome, group, sized, quote)
        return outcome
    outcome.decision = Decision.EXECUTE
    parts = share_fee(fee, [notional for _, _, _, notional in walked.fills])
    outcome.fills = tuple([LevelFill(*fill, part) for fill, part in zip(walked.fills, parts, strict=True)])
    outcome.filled_share_micros = walked.share_micros
    outcome.filled_notional_micros = walked.notional_micros
    outcome.fee_micros = fee
    outcome.partial = walked.exhausted
    average = price_ceil if quote.buying else price_floor
    outcome.vwap_price_micros = average(walked.notional_micros, walked.share_micros)
    checks.append(("book.filled", True, {"filled": walked.notional_micros, "partial": walked.exhausted}, target, None))
    outcome.checks = checks
    return outcome


def _affordable(target: int, sized: Size, view: PortfolioView, quote: _Quote, market: MarketView) -> tuple[Walked, int]:
    """Walk to `target`, or to the largest amount below it that, with its fee, a BUY can pay.

    The risk phase reserves the fee at the limit price; at better prices the same amount buys more shares, whose fee may
    be higher.
    """

    def order(amount: int) -> tuple[Walked, int]:
        walked = walk(quote.band, amount, sized.share_cap_micros, quote.buying)
        return walked, order_fee(market.fee_rate, market.fee_exponent, walked.notional_micros, walked.share_micros)

    walked, fee = order(target)
    if not quote.buying or walked.notional_micros + fee <= view.cash_micros:
        return walked, fee
    low, high = 0, target - 1
    while low < high:
        middle = (low + high + 1) // 2
        walked, fee = order(middle)
        if walked.notional_micros + fee <= view.cash_micros:
            low = middle
        else:
            high = middle - 1
    return order(low)
