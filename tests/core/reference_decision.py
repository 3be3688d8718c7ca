"""SPEC section 5 written a second time: slow, in rationals, straight from its words, sharing no code with the engine.

Money is in whole USDC and shares as Fractions; only what the exchange or the SPEC rounds is rounded. The engine is held
against this by Hypothesis.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

MICRO = Fraction(1, 1_000_000)
LOT = Fraction(1, 100)
FEE_STEP = Fraction(1, 100_000)


def floor_micro(value: Fraction) -> Fraction:
    return floor(value / MICRO) * MICRO


def ceil_micro(value: Fraction) -> Fraction:
    return ceil(value / MICRO) * MICRO


@dataclass
class Config:
    copy_pct: Fraction = Fraction(1)
    min_trade: Fraction = Fraction(5)
    max_trade: Fraction = Fraction(250)
    max_of_equity_pct: Fraction = Fraction(3, 4)
    own_maximum: Fraction | None = None
    min_marketable: Fraction = Fraction(1)
    below_min: str = "CLAMP_UP"
    sell_sizing: str = "NOTIONAL"
    worse: Fraction = Fraction(1, 100)
    chase: Fraction = Fraction(15, 1000)
    spread: Fraction = Fraction(2, 100)
    depth_multiple: Fraction = Fraction(5, 4)
    close_guard_s: Fraction = Fraction(1800)
    stale_s: Fraction = Fraction(120)
    daily_pct: Fraction = Fraction(3)
    weekly_pct: Fraction = Fraction(8)
    drawdown_pct: Fraction = Fraction(12)
    total_pct: Fraction = Fraction(70)
    market_pct: Fraction = Fraction(5)
    user_pct: Fraction = Fraction(20)
    cap_policy: str = "SKIP"
    blacklisted: bool = False


@dataclass
class Case:
    """Everything a decision can see. `their_*` is the group; levels are (price, size), best first."""

    scope: str = "EXEC_USER"
    kind: str = "TRADE"
    side: str | None = "BUY"
    their_notional: Fraction = Fraction(1000)
    their_shares: Fraction = Fraction(2000)
    age_s: Fraction = Fraction(3)
    paused: bool = False
    user_enabled: bool = True
    market_known: bool = True
    closed: bool = False
    resolved: bool = False
    accepting: bool = True
    seconds_to_close: Fraction | None = None
    fee_rate: Fraction = Fraction(0)
    fee_exponent: int = 1
    bids: list[tuple[Fraction, Fraction]] = field(default_factory=list)
    asks: list[tuple[Fraction, Fraction]] = field(default_factory=list)
    has_book: bool = True
    taken: dict[Fraction, Fraction] = field(default_factory=dict)
    cash: Fraction = Fraction(10_000)
    equity: Fraction = Fraction(10_000)
    exposure_total: Fraction = Fraction(0)
    exposure_market: Fraction = Fraction(0)
    exposure_user: Fraction = Fraction(0)
    held: Fraction = Fraction(0)
    day_start: Fraction | None = None
    day_flows: Fraction = Fraction(0)
    week_start: Fraction | None = None
    week_flows: Fraction = Fraction(0)
    peak: Fraction = Fraction(10_000)
    tripped: bool = False
    shadow_held: Fraction | None = None


@dataclass
class Answer:
    reasons: set[str]
    target: Fraction = Fraction(0)
    shares: Fraction = Fraction(0)
    notional: Fraction = Fraction(0)
    fee: Fraction = Fraction(0)
    levels: list[tuple[int, Fraction, Fraction, Fraction]] = field(default_factory=list)
    imagined: tuple[Fraction, Fraction] | None = None


def opens(case: Case) -> bool:
    return case.kind == "SPLIT" or case.side == "BUY"


def percent(value: Fraction, of: Fraction) -> Fraction:
    return value / 100 * of


def fee_of(case: Case, notional: Fraction, shares: Fraction) -> Fraction:
    if case.fee_rate == 0 or shares == 0:
        return Fraction(0)
    price = notional / shares
    if not 0 < price < 1:
        return Fraction(0)
    exact = case.fee_rate * shares * (price * (1 - price)) ** case.fee_exponent
    return floor(exact / FEE_STEP) * FEE_STEP


def control_failures(case: Case) -> set[str]:
    return {
        code for code, failed in (("ENGINE_PAUSED", case.paused), ("USER_DISABLED", not case.user_enabled)) if failed
    }


def market_failures(case: Case, config: Config) -> set[str]:
    found: set[str] = set()
    if case.age_s > config.stale_s:
        found.add("STALE_EVENT")
    if not case.market_known:
        return found | {"MARKET_UNKNOWN"}
    if case.closed or case.resolved or not case.accepting:
        found.add("MARKET_CLOSED")
    if opens(case):
        left = case.seconds_to_close
        if left is not None and 0 < left < config.close_guard_s:
            found.add("MARKET_CLOSING_SOON")
        if config.blacklisted:
            found.add("MARKET_BLACKLISTED")
    return found


def breaker_failures(case: Case, config: Config) -> set[str]:
    found: set[str] = set()
    if not opens(case):
        return found
    for code, start, flows, limit in (
        ("BREAKER_DAILY_LOSS", case.day_start, case.day_flows, config.daily_pct),
        ("BREAKER_WEEKLY_LOSS", case.week_start, case.week_flows, config.weekly_pct),
    ):
        if start is not None and start + flows > 0:
            loss = (start + flows - case.equity) / (start + flows)
            if loss * 100 > limit:
                found.add(code)
    if case.tripped or (case.peak > 0 and (case.peak - case.equity) / case.peak * 100 > config.drawdown_pct):
        found.add("BREAKER_DRAWDOWN")
    return found


def sized(case: Case, config: Config) -> tuple[Fraction, Fraction | None, set[str]]:
    """Return target, shares a SELL may use, failures."""
    found: set[str] = set()
    if case.kind != "TRADE":
        target = floor_micro(percent(config.copy_pct, case.their_shares))
        if target <= 0:
            found.add("BELOW_MIN_NOTIONAL")
        if case.kind == "SPLIT":
            return (min(target, case.cash) if case.cash > 0 else target), None, found
        if case.held == 0:
            found.add("NO_POSITION_TO_MERGE")
        return min(target, case.held), None, found
    vwap = case.their_notional / case.their_shares
    hoped = max(vwap, case.bids[0][0]) if case.bids else vwap
    raw = floor_micro(percent(config.copy_pct, case.their_notional))
    most = min(config.max_trade, floor_micro(percent(config.max_of_equity_pct, case.equity)))
    if config.own_maximum is not None:
        most = min(most, config.own_maximum)
    if case.side == "SELL" and config.sell_sizing == "PROPORTIONAL":
        whole = max(case.shadow_held or Fraction(0), case.their_shares)
        shares = floor_micro(case.held * case.their_shares / whole)
        return floor_micro(shares * hoped), shares, {"NO_POSITION"} if case.held == 0 else set()
    if most < config.min_trade or (raw < config.min_trade and config.below_min == "SKIP"):
        found.add("BELOW_MIN_NOTIONAL")
        target = max(Fraction(0), min(raw, most))
    else:
        target = min(max(raw, config.min_trade), most)
        if target <= 0:
            found.add("BELOW_MIN_NOTIONAL")
            target = Fraction(0)
    if case.side == "BUY":
        if target < config.min_marketable:
            found.add("BELOW_MIN_NOTIONAL")
        return target, None, found
    if case.held == 0:
        found.add("NO_POSITION")
    return min(target, floor_micro(case.held * hoped)), case.held, found


def capped(case: Case, config: Config, target: Fraction) -> tuple[Fraction, set[str]]:
    """Return the target the caps leave, and the caps that stop it."""
    caps = [
        ("RISK_CAP_TOTAL", percent(config.total_pct, case.equity) - case.exposure_total),
        ("RISK_CAP_MARKET", percent(config.market_pct, case.equity) - case.exposure_market),
    ]
    if case.scope == "EXEC_GLOBAL":
        caps.append(("RISK_CAP_USER", percent(config.user_pct, case.equity) - case.exposure_user))
    minimum = target
    if config.cap_policy == "SHRINK":
        minimum = min(target, max(config.min_trade, config.min_marketable) if case.kind == "TRADE" else MICRO)
    cannot = any(room < minimum for _, room in caps)
    stopped = {code for code, room in caps if cannot and room < target}
    if config.cap_policy == "SHRINK" and not stopped:
        target = min([target, *(floor_micro(room) for _, room in caps)])
    if stopped and case.scope == "EXEC_GLOBAL":
        stopped.add("RISK_CAP_GLOBAL")
    return target, stopped


def walked(
    levels: list[tuple[int, Fraction, Fraction]], target: Fraction, share_cap: Fraction | None, buying: bool
) -> tuple[list[tuple[int, Fraction, Fraction, Fraction]], Fraction, Fraction]:
    """Take whole lots while they fit, level after level, until the first that does not."""
    fills: list[tuple[int, Fraction, Fraction, Fraction]] = []
    total = taken = Fraction(0)
    for index, price, size in levels:
        before, held_before = total, taken

        def after(lots: int, price: Fraction = price, before: Fraction = before) -> Fraction:
            exact = price * lots * LOT
            return before + (ceil_micro(exact) if buying else floor_micro(exact))

        def too_many(lots: int, held_before: Fraction = held_before) -> bool:
            return after(lots) > target or (share_cap is not None and held_before + lots * LOT > share_cap)

        available = floor(size / LOT)
        lots = max(0, bisect_left(range(available + 1), True, key=too_many) - 1)
        if lots:
            fills.append((index, price, lots * LOT, after(lots) - before))
            total, taken = after(lots), taken + lots * LOT
        if lots < available:
            break
    return fills, taken, total


class Quote:
    """The book as this group's order meets it."""

    def __init__(self, case: Case, config: Config) -> None:
        self.case = case
        self.buying = case.side == "BUY"
        self.sign = 1 if self.buying else -1
        self.is_there = case.has_book and case.kind == "TRADE"
        self.bid = case.bids[0][0] if case.bids and self.is_there else None
        self.ask = case.asks[0][0] if case.asks and self.is_there else None
        self.best = self.ask if self.buying else self.bid
        self.mid = None
        if self.bid is not None and self.ask is not None:
            self.mid = floor_micro((self.bid + self.ask) / 2)
        self.vwap = case.their_notional / case.their_shares
        self.by_vwap = self.vwap + self.sign * config.worse
        self.by_mid = None if self.mid is None else self.mid + self.sign * config.chase

    def within(self, *limits: Fraction | None) -> list[tuple[int, Fraction, Fraction]]:
        side = [] if not self.is_there else self.case.asks if self.buying else self.case.bids
        return [
            (index, price, max(Fraction(0), size - self.case.taken.get(price, Fraction(0))))
            for index, (price, size) in enumerate(side)
            if all(limit is None or self.sign * (price - limit) <= 0 for limit in limits)
        ]

    def limit(self) -> Fraction:
        return self.by_vwap if self.by_mid is None else min(self.by_vwap, self.by_mid)


def book_failures(quote: Quote, config: Config, target: Fraction) -> set[str]:
    if not quote.is_there:
        return {"BOOK_UNAVAILABLE"}
    found: set[str] = set()
    if quote.bid is None or quote.ask is None or quote.ask - quote.bid > config.spread:
        found.add("SPREAD_TOO_WIDE")
    if quote.best is not None and quote.sign * (quote.best - quote.vwap) > config.worse:
        found.add("WORSE_THAN_THEIR_PRICE")
    if quote.best is not None and quote.mid is not None and quote.sign * (quote.best - quote.mid) > config.chase:
        found.add("CHASING_MID")
    levels = quote.within(quote.by_vwap, quote.by_mid)
    band = sum((floor_micro(price * size) for _, price, size in levels), Fraction(0))
    if 0 < band < config.depth_multiple * target:
        found.add("INSUFFICIENT_DEPTH")
    if not any(size >= LOT for _, _, size in levels):
        found.add("NO_LIQUIDITY_WITHIN_BOUNDS")
    return found


def risk_failures(case: Case, config: Config, quote: Quote, target: Fraction) -> tuple[Fraction, set[str]]:
    if not opens(case):
        return target, set()
    target, stopped = capped(case, config, target)
    fee = Fraction(0)
    if case.kind == "TRADE" and 0 < floor_micro(quote.limit()) < 1:
        fee = fee_of(case, target, target / floor_micro(quote.limit()))
    if case.cash < target + fee:
        stopped.add("INSUFFICIENT_CASH")
    return target, stopped


def skip(quote: Quote, reasons: set[str], target: Fraction, share_cap: Fraction | None) -> Answer:
    answer = Answer(reasons, target)
    if quote.is_there:
        limits = (
            None if "WORSE_THAN_THEIR_PRICE" in reasons else quote.by_vwap,
            None if "CHASING_MID" in reasons else quote.by_mid,
        )
        _, shares, notional = walked(quote.within(*limits), target, share_cap, quote.buying)
        answer.imagined = (shares, notional)
    return answer


def decide(case: Case, config: Config) -> Answer:
    target, share_cap, size_failures = sized(case, config)
    quote = Quote(case, config)
    before_risk = (
        control_failures(case), market_failures(case, config), breaker_failures(case, config), size_failures
    )  # fmt: skip
    for failures in before_risk:
        if failures:
            return skip(quote, failures, target, share_cap)
    target, stopped = risk_failures(case, config, quote, target)
    if stopped:
        return skip(quote, stopped, target, share_cap)
    if case.kind != "TRADE":
        return Answer(set(), target, target, target)
    failures = book_failures(quote, config, target)
    if failures:
        return skip(quote, failures, target, share_cap)
    levels = quote.within(quote.by_vwap, quote.by_mid)
    fills, shares, notional = walked(levels, target, share_cap, quote.buying)
    if quote.buying and notional + fee_of(case, notional, shares) > case.cash:

        def too_dear(amount: int) -> bool:
            _, bought, paid = walked(levels, amount * MICRO, share_cap, quote.buying)
            return paid + fee_of(case, paid, bought) > case.cash

        most = bisect_left(range(floor(target / MICRO)), True, key=too_dear) - 1
        fills, shares, notional = walked(levels, most * MICRO, share_cap, quote.buying)
    if not shares:
        return skip(quote, {"NO_LIQUIDITY_WITHIN_BOUNDS"}, target, share_cap)
    return Answer(set(), target, shares, notional, fee_of(case, notional, shares), fills)
