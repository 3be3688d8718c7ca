"""SPEC section 5 written a second time: slow, in rationals, sentence by sentence, sharing no code with the engine.

Money is in whole USDC and shares as Fractions; only what the exchange or the SPEC rounds is rounded. The functions
stand in the SPEC's order, its words above them; what it leaves open is read as decision record 0009 says. The engine is
held against this by Hypothesis.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import Any

ZERO = Fraction(0)
MICRO = Fraction(1, 1_000_000)
LOT = Fraction(1, 100)
FEE_STEP = 10 * MICRO
COMBO_DIGITS = 62


@dataclass
class Config:
    """The defaults of SPEC 5; percentages are per cent, times seconds."""

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
    blacklist: frozenset[str] = frozenset()


@dataclass
class Case:
    """Everything a decision can see. `their_*` is the group; levels are (price, size), best first."""

    scope: str = "EXEC_USER"
    kind: str = "TRADE"
    side: str | None = "BUY"
    has_asset: bool = True
    condition: str | None = "0x"
    their_notional: Fraction = Fraction(1000)
    their_shares: Fraction = Fraction(2000)
    age_s: Fraction = Fraction(3)
    paused: bool = False
    user_enabled: bool = True
    market_known: bool = True
    market_names: frozenset[str] = frozenset()
    outcomes: int = 2
    closed: bool = False
    resolved: bool = False
    accepting: bool = True
    seconds_to_close: Fraction | None = None
    fee_rate: Fraction = ZERO
    fee_exponent: int = 1
    bids: list[tuple[Fraction, Fraction]] = field(default_factory=list)
    asks: list[tuple[Fraction, Fraction]] = field(default_factory=list)
    has_book: bool = True
    taken: dict[Fraction, Fraction] = field(default_factory=dict)
    cash: Fraction = Fraction(10_000)
    equity: Fraction = Fraction(10_000)
    exposure_total: Fraction = ZERO
    exposure_market: Fraction = ZERO
    exposure_user: Fraction = ZERO
    held: Fraction = ZERO
    day_start: Fraction | None = None
    day_flows: Fraction = ZERO
    week_start: Fraction | None = None
    week_flows: Fraction = ZERO
    peak: Fraction = Fraction(10_000)
    tripped: bool = False
    shadow_held: Fraction | None = None

    @property
    def opens(self) -> bool:
        """Reductions are SELL and MERGE."""
        return self.kind == "SPLIT" or self.side == "BUY"

    @property
    def trades(self) -> bool:
        return self.kind == "TRADE"


@dataclass
class Fill:
    level: int
    price: Fraction
    shares: Fraction
    notional: Fraction
    fee: Fraction = ZERO


@dataclass
class Answer:
    """`phase` is the one that failed; no reasons: executed. `imagined` is the counterfactual (shares, notional)."""

    phase: str
    reasons: set[str]
    tripped: bool
    target: Fraction | None = None
    fills: list[Fill] = field(default_factory=list)
    shares: Fraction = ZERO
    notional: Fraction = ZERO
    fee: Fraction = ZERO
    vwap: Fraction | None = None
    partial: bool = False
    bid: Fraction | None = None
    ask: Fraction | None = None
    mid: Fraction | None = None
    limit: Fraction | None = None
    depth: Fraction | None = None
    imagined: tuple[Fraction, Fraction] | None = None


def down(value: Fraction, step: Fraction = MICRO) -> Fraction:
    return floor(value / step) * step


def up(value: Fraction, step: Fraction = MICRO) -> Fraction:
    return ceil(value / step) * step


def percent(value: Fraction, of: Fraction) -> Fraction:
    return value * of / 100


def most(limit: int, fits: Callable[[int], bool]) -> int:
    """Return the largest count from 0 to `limit` that fits, where what fits goes on fitting when there is less."""
    fitting, too_many = 0, limit + 1
    while too_many - fitting > 1:
        count = (fitting + too_many) // 2
        if fits(count):
            fitting = count
        else:
            too_many = count
    return fitting


# **Sizing.** their = group notional; target = floor(their * COPY_PCT), clamped to [MIN_TRADE_NOTIONAL,
# MAX_TRADE_NOTIONAL = min(250 USDC, floor(0.75% of equity), the user's own maximum)]; max < min -> BELOW_MIN_NOTIONAL.


def clamped(case: Case, config: Config) -> tuple[Fraction, set[str]]:
    copied = down(percent(config.copy_pct, case.their_notional))
    maximum = min(config.max_trade, down(percent(config.max_of_equity_pct, case.equity)))
    if config.own_maximum is not None:
        maximum = min(maximum, config.own_maximum)
    too_small = copied < config.min_trade and config.below_min == "SKIP"
    if maximum < config.min_trade or too_small:
        return max(ZERO, min(copied, maximum)), {"BELOW_MIN_NOTIONAL"}
    target = min(max(copied, config.min_trade), maximum)
    return target, set() if target > 0 else {"BELOW_MIN_NOTIONAL"}


# SELL: same target, then capped by shares held (0 -> NO_POSITION); a capped SELL may be below the minimum.
# PROPORTIONAL: the fraction of the shadow position before the group that they sold. BUY below MIN_MARKETABLE ->
# BELOW_MIN_NOTIONAL. SPLIT / MERGE: floor(amount * COPY_PCT), no min/max clamp; MERGE capped by min(both legs) (0 ->
# NO_POSITION_TO_MERGE).


def sized(case: Case, config: Config) -> tuple[Fraction, Fraction | None, set[str]]:
    """Return target, shares a SELL may use, failures."""
    if not case.trades:
        copied = down(percent(config.copy_pct, case.their_shares))
        failures = set() if copied > 0 else {"BELOW_MIN_NOTIONAL"}
        if case.kind == "MERGE":
            return min(copied, max(ZERO, case.held)), None, failures | nothing(case, "NO_POSITION_TO_MERGE")
        return min(copied, case.cash) if case.cash > 0 else copied, None, failures
    if case.side == "BUY":
        target, failures = clamped(case, config)
        return target, None, failures | ({"BELOW_MIN_NOTIONAL"} if target < config.min_marketable else set())
    vwap = case.their_notional / case.their_shares
    if config.sell_sizing == "PROPORTIONAL":
        before = max(case.shadow_held or ZERO, case.their_shares)
        shares = down(case.held * case.their_shares / before)
        return down(shares * vwap), shares, nothing(case, "NO_POSITION")
    target, failures = clamped(case, config)
    return min(target, down(case.held * vwap)), case.held, failures | nothing(case, "NO_POSITION")


def nothing(case: Case, code: str) -> set[str]:
    return {code} if case.held <= 0 else set()


# **Checks**, in phases; the first phase with a failure stops, all failures of that phase are recorded.
# control: engine paused; user disabled; unsupported event.


def control(case: Case) -> set[str]:
    found = set()
    if case.paused:
        found.add("ENGINE_PAUSED")
    if not case.user_enabled:
        found.add("USER_DISABLED")
    if not is_supported(case):
        found.add("UNSUPPORTED_EVENT")
    return found


def is_supported(case: Case) -> bool:
    """SPEC 3: combos, events without an asset, zero sizes; only a pair can be split or merged."""
    if case.their_shares <= 0 or (case.condition is not None and len(case.condition) - len("0x") == COMBO_DIGITS):
        return False
    if case.trades:
        return case.has_asset and case.side is not None
    return case.condition is not None and (case.outcomes == 2 or not case.market_known)


# market: unknown; closed or resolved; < 30 min to close (opens); blacklisted (opens); group older than 120 s at
# decision. A past `endDate` with acceptingOrders = true is open with unknown close: the close check passes.


def market(case: Case, config: Config) -> set[str]:
    found = {"STALE_EVENT"} if case.age_s > config.stale_s else set()
    if case.opens and config.blacklist & case.market_names:
        found.add("MARKET_BLACKLISTED")
    if not case.market_known:
        return found | {"MARKET_UNKNOWN"}
    if case.closed or case.resolved or not case.accepting:
        found.add("MARKET_CLOSED")
    left = case.seconds_to_close
    if case.opens and left is not None and 0 < left < config.close_guard_s:
        found.add("MARKET_CLOSING_SOON")
    return found


# breakers (opens): daily loss 3%, weekly loss 8%, drawdown 12%.
# Loss = (start + net flows - equity) / (start + net flows). Drawdown stays tripped until the admin resets it.


def breakers(case: Case, config: Config) -> set[str]:
    if not case.opens:
        return set()
    found = set()
    if lost(case.day_start, case.day_flows, case.equity) > percent(config.daily_pct, Fraction(1)):
        found.add("BREAKER_DAILY_LOSS")
    if lost(case.week_start, case.week_flows, case.equity) > percent(config.weekly_pct, Fraction(1)):
        found.add("BREAKER_WEEKLY_LOSS")
    if is_tripped(case, config):
        found.add("BREAKER_DRAWDOWN")
    return found


def lost(start: Fraction | None, flows: Fraction, equity: Fraction) -> Fraction:
    """Return the loss as a share of what was there; nothing is lost where nothing was."""
    if start is None or start + flows <= 0:
        return ZERO
    return (start + flows - equity) / (start + flows)


def is_tripped(case: Case, config: Config) -> bool:
    return case.tripped or lost(case.peak, ZERO, case.equity) > percent(config.drawdown_pct, Fraction(1))


# risk (opens): exposure + target <= 70% total, 5% per market, 20% per user (EXEC_GLOBAL only) of equity;
# cash >= target + fee at the limit price. `cap_policy` = SKIP | SHRINK (to the headroom, if still >= minimum).
# In EXEC_GLOBAL a cap carries RISK_CAP_GLOBAL beside its own code.


def risk(case: Case, config: Config, target: Fraction, limit: Fraction | None) -> tuple[Fraction, set[str]]:
    """Return the target the caps leave, and what stops it."""
    if not case.opens:
        return target, set()
    room = {
        "RISK_CAP_TOTAL": percent(config.total_pct, case.equity) - case.exposure_total,
        "RISK_CAP_MARKET": percent(config.market_pct, case.equity) - case.exposure_market,
    }
    if case.scope == "EXEC_GLOBAL":
        room["RISK_CAP_USER"] = percent(config.user_pct, case.equity) - case.exposure_user
    if config.cap_policy == "SKIP":
        found = {code for code in room if room[code] < target}
    else:
        minimum = max(config.min_trade, config.min_marketable) if case.trades else MICRO
        cannot = any(each < min(target, minimum) for each in room.values())
        found = {code for code in room if cannot and room[code] < target}
        if not cannot:
            target = min(target, *(down(each) for each in room.values()))
    if found and case.scope == "EXEC_GLOBAL":
        found.add("RISK_CAP_GLOBAL")
    fee = ZERO
    if case.trades and limit is not None and limit > 0:
        fee = fee_of(case, target, target / limit)
    if case.cash < target + fee:
        found.add("INSUFFICIENT_CASH")
    return target, found


# Reference = the group's VWAP; mid = (best bid + best ask) // 2; limit = the tighter of the two price bounds; band =
# sum over levels within the limit, net of own consumption, of price * size // 1_000_000.


class Quote:
    """The book as this group's order meets it."""

    def __init__(self, case: Case, config: Config) -> None:
        self.buying = case.side == "BUY"
        self.sign = 1 if self.buying else -1  # against us is up for a BUY
        self.is_there = case.trades and case.has_book
        self.side = [] if not self.is_there else case.asks if self.buying else case.bids
        self.taken = case.taken
        self.bid = case.bids[0][0] if self.is_there and case.bids else None
        self.ask = case.asks[0][0] if self.is_there and case.asks else None
        self.best = self.ask if self.buying else self.bid
        self.mid = None if self.bid is None or self.ask is None else down((self.bid + self.ask) / 2)
        self.vwap = case.their_notional / case.their_shares
        self.by_vwap = self.vwap + self.sign * config.worse if case.trades else None
        self.by_mid = None if self.mid is None else self.mid + self.sign * config.chase
        self.limit = self.tighter(self.by_vwap, self.by_mid)

    def tighter(self, *bounds: Fraction | None) -> Fraction | None:
        """Return the tighter bound in whole micros: no price between it and the exact one exists."""
        exact = min((self.sign * bound for bound in bounds if bound is not None), default=None)
        return None if exact is None else self.sign * down(exact)

    def within(self, limit: Fraction | None) -> list[tuple[int, Fraction, Fraction]]:
        """Return the levels within the limit as (index, price, size left)."""
        return [
            (index, price, max(ZERO, size - self.taken.get(price, ZERO)))
            for index, (price, size) in enumerate(self.side)
            if limit is None or self.sign * price <= self.sign * limit
        ]

    @property
    def band(self) -> Fraction:
        return sum((down(price * size) for _, price, size in self.within(self.limit)), ZERO)


# book: BOOK_UNAVAILABLE; spread > 20_000 or one-sided: SPREAD_TOO_WIDE; best beyond reference +- 10_000:
# WORSE_THAN_THEIR_PRICE; best beyond mid +- 15_000: CHASING_MID; 0 < band < 1.25 * target: INSUFFICIENT_DEPTH; band
# under one lot after own consumption: NO_LIQUIDITY_WITHIN_BOUNDS.


def book(quote: Quote, config: Config, target: Fraction) -> set[str]:
    if not quote.is_there:
        return {"BOOK_UNAVAILABLE"}
    found = set()
    if quote.bid is None or quote.ask is None or quote.ask - quote.bid > config.spread:
        found.add("SPREAD_TOO_WIDE")
    if quote.best is not None and quote.sign * (quote.best - quote.vwap) > config.worse:
        found.add("WORSE_THAN_THEIR_PRICE")
    if quote.best is not None and quote.mid is not None and quote.sign * (quote.best - quote.mid) > config.chase:
        found.add("CHASING_MID")
    if 0 < quote.band < config.depth_multiple * target:
        found.add("INSUFFICIENT_DEPTH")
    if not any(size >= LOT for _, _, size in quote.within(quote.limit)):
        found.add("NO_LIQUIDITY_WITHIN_BOUNDS")
    return found


# **Walk.** Whole 0.01-share lots in book order, best first, no level beyond the limit, while cumulative notional <=
# target (fee on top); SELL also while shares <= held. One fill per level. BUY cost is rounded up, SELL proceeds down.
# Partial = limit or liquidity ended the walk, not lot rounding.


def walk(quote: Quote, limit: Fraction | None, target: Fraction, held: Fraction | None) -> tuple[list[Fill], bool]:
    """Return the fills, and whether another lot was wanted but not there."""
    fills: list[Fill] = []

    def fits(price: Fraction, shares: Fraction) -> bool:
        has = held is None or sum((fill.shares for fill in fills), ZERO) + shares <= held
        return has and sum((fill.notional for fill in fills), ZERO) + worth(quote, price * shares) <= target

    for index, price, size in quote.within(limit):
        there = floor(size / LOT)
        lots = most(there, lambda count, price=price: fits(price, count * LOT))  # type: ignore[misc]
        if lots:
            fills.append(Fill(index, price, lots * LOT, worth(quote, price * lots * LOT)))
        if lots < there:
            return fills, False
    return fills, bool(fills) and fits(fills[-1].price, LOT)


def worth(quote: Quote, exact: Fraction) -> Fraction:
    return up(exact) if quote.buying else down(exact)


# **Fee**: n = filled notional, s = filled shares: floor to 10 micros of rate * n * (s - n) / s (exponent e other than
# 1: rate * s * (p(1-p))^e at p = n/s); shared to levels by notional, the rest to the last.


def fee_of(case: Case, n: Fraction, s: Fraction) -> Fraction:
    if case.fee_rate == 0 or not 0 < n < s:
        return ZERO
    p = n / s
    exact = case.fee_rate * n * (s - n) / s if case.fee_exponent == 1 else None
    return down(case.fee_rate * s * (p * (1 - p)) ** case.fee_exponent if exact is None else exact, FEE_STEP)


def share(fee: Fraction, fills: list[Fill]) -> None:
    total = sum((fill.notional for fill in fills), ZERO)
    for fill in fills:
        fill.fee = down(fee * fill.notional / total) if total else ZERO
    if total:
        fills[-1].fee = fee - sum((fill.fee for fill in fills[:-1]), ZERO)


def ordered(
    case: Case, quote: Quote, target: Fraction, held: Fraction | None
) -> tuple[list[Fill], bool, Fraction, Fraction, Fraction]:
    """Return fills, whether partial, shares, notional and fee of an order of `target`."""
    fills, partial = walk(quote, quote.limit, target, held)
    shares = sum((fill.shares for fill in fills), ZERO)
    notional = sum((fill.notional for fill in fills), ZERO)
    return fills, partial, shares, notional, fee_of(case, notional, shares)


# **Counterfactual.** A SKIP with a book stores what the walk would have filled without the failed checks.


def imagined(
    quote: Quote, reasons: set[str], target: Fraction, held: Fraction | None
) -> tuple[Fraction, Fraction] | None:
    if not quote.is_there:
        return None
    limit = quote.tighter(
        None if "WORSE_THAN_THEIR_PRICE" in reasons else quote.by_vwap,
        None if "CHASING_MID" in reasons else quote.by_mid,
    )
    fills, _ = walk(quote, limit, target, held)
    return sum((fill.shares for fill in fills), ZERO), sum((fill.notional for fill in fills), ZERO)


def decide(case: Case, config: Config) -> Answer:
    tripped = is_tripped(case, config)
    if not is_supported(case):
        return Answer("control", control(case), tripped)
    target, held, size_failures = sized(case, config)
    quote = Quote(case, config)
    after_caps, risk_failures = risk(case, config, target, quote.limit)
    phases = [
        ("control", target, control(case)),
        ("market", target, market(case, config)),
        ("breakers", target, breakers(case, config)),
        ("size", target, size_failures),
        ("risk", after_caps, risk_failures),
    ]
    if case.trades:
        phases.append(("book", after_caps, book(quote, config, after_caps)))
    phase, target, reasons = next((each for each in phases if each[2]), ("", after_caps, set()))
    answer = Answer(phase, reasons, tripped, target)
    answer.bid, answer.ask, answer.mid, answer.limit = quote.bid, quote.ask, quote.mid, quote.limit
    answer.depth = quote.band if quote.is_there else None
    if not reasons and case.trades:
        execute(answer, case, quote, held)
    elif not reasons:
        answer.shares = answer.notional = target
    if answer.reasons:
        answer.imagined = imagined(quote, answer.reasons, target, held)
    return answer


def execute(answer: Answer, case: Case, quote: Quote, held: Fraction | None) -> None:
    """Walk to the target; a BUY whose cost and fee exceed the cash, to the most that does not."""
    target = answer.target or ZERO
    order = ordered(case, quote, target, held)
    if quote.buying and order[3] + order[4] > case.cash:

        def is_affordable(micros: int) -> bool:
            _, _, _, notional, fee = ordered(case, quote, micros * MICRO, held)
            return notional + fee <= case.cash

        order = ordered(case, quote, most(floor(target / MICRO), is_affordable) * MICRO, held)
    fills, partial, shares, notional, fee = order
    if not shares:
        answer.phase, answer.reasons = "book", {"NO_LIQUIDITY_WITHIN_BOUNDS"}
        return
    share(fee, fills)
    answer.fills, answer.partial, answer.shares, answer.notional, answer.fee = order[0], partial, shares, notional, fee
    answer.vwap = worth(quote, notional / shares)


# PortfolioView: cash, equity, exposure (total, this market, this user), shares, what this portfolio already consumed of
# this book version; all including fills decided but not yet posted. Exposure = sum of shares * mark (own cost where
# never marked); selling q of Q with cost C removes floor(C * q / Q). Peak = max over snapshots and decisions.


@dataclass
class Kept:
    """A portfolio of one token, kept by hand."""

    cash: Fraction
    mark: Fraction | None
    shares: Fraction = ZERO
    cost: Fraction = ZERO
    peak: Fraction = ZERO
    taken: dict[tuple[str, str], dict[Fraction, Fraction]] = field(default_factory=dict)

    def seen_by(self, version: str, side: str) -> dict[str, Any]:
        """Return what the next decision on that version of the book, on that side, must see."""
        exposure = self.cost if self.mark is None else down(self.shares * self.mark)
        self.peak = max(self.peak, self.cash + exposure)
        return {
            "cash": self.cash, "equity": self.cash + exposure, "peak": self.peak, "held": self.shares,
            "exposure_total": exposure, "exposure_market": exposure, "exposure_user": exposure,
            "taken": self.taken.get((version, side), {}),
        }  # fmt: skip

    def keep(self, version: str, side: str, answer: Answer) -> None:
        """Do what was decided."""
        if answer.reasons:
            return
        if side == "BUY":
            self.cash -= answer.notional + answer.fee
            self.cost += answer.notional
            self.shares += answer.shares
        else:
            self.cash += answer.notional - answer.fee
            self.cost -= down(self.cost * answer.shares / self.shares)
            self.shares -= answer.shares
        taken = self.taken.setdefault((version, side), {})
        for fill in answer.fills:
            taken[fill.price] = taken.get(fill.price, ZERO) + fill.shares
