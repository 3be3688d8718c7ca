"""SPEC 5's checks, phase by phase, from the inputs an attempt recorded: which reasons it must and may give.

`must` holds reasons that the recorded inputs force; `may` those that depend on something the exports do not pin down,
such as whether a resolution had already been noticed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from tests.oracle.clock import Clock
from tests.oracle.rules import Rules
from tests.oracle.run import Row
from tests.oracle.tape import Tape, TapeBook, TapeMarket
from tests.oracle.walk import LOT, Quote, quote, walk

NOTICE_MICROSECONDS = 120_000_000
"""By then a close or a resolution on the tape must have been noticed; before, it may have been."""
EDGE_MICROSECONDS = 2_000_000
"""Time checks this close to their bound are not judged: the tape's clock is known to about a second."""

PHASES: dict[str, frozenset[str]] = {
    "control": frozenset({"ENGINE_PAUSED", "USER_DISABLED", "UNSUPPORTED_EVENT"}),
    "market": frozenset({
        "MARKET_UNKNOWN", "MARKET_CLOSED", "MARKET_CLOSING_SOON", "MARKET_BLACKLISTED", "STALE_EVENT",
    }),
    "breakers": frozenset({"BREAKER_DAILY_LOSS", "BREAKER_WEEKLY_LOSS", "BREAKER_DRAWDOWN"}),
    "size": frozenset({"BELOW_MIN_NOTIONAL", "NO_POSITION", "NO_POSITION_TO_MERGE"}),
    "risk": frozenset({"INSUFFICIENT_CASH", "RISK_CAP_TOTAL", "RISK_CAP_MARKET", "RISK_CAP_USER", "RISK_CAP_GLOBAL"}),
    "book": frozenset({
        "BOOK_UNAVAILABLE", "SPREAD_TOO_WIDE", "WORSE_THAN_THEIR_PRICE", "CHASING_MID",
        "INSUFFICIENT_DEPTH", "NO_LIQUIDITY_WITHIN_BOUNDS",
    }),
}  # fmt: skip


@dataclass
class Finding:
    """Reasons of one phase that must and that may be given."""

    must: set[str] = field(default_factory=set)
    may: set[str] = field(default_factory=set)

    def judge(self, code: str, failed: bool, *, sure: bool = True) -> None:
        """Record that a check failed, surely or perhaps."""
        if failed and sure:
            self.must.add(code)
        elif failed or not sure:
            self.may.add(code)


@dataclass
class Case:
    """One attempt with all that its decision could see."""

    attempt: Row
    group: Row
    rules: Rules
    tape: Tape
    clock: Clock
    taken: dict[int, int]
    drawdown_tripped: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it adds risk: BUY and SPLIT do, SELL and MERGE reduce."""
        return bool(self.attempt["kind"] == "SPLIT" or self.attempt["side"] == "BUY")

    @property
    def buying(self) -> bool:
        """Whether it takes the ask side."""
        return bool(self.attempt["side"] == "BUY")

    @property
    def market(self) -> TapeMarket | None:
        """The tape's market of the group."""
        if self.attempt["kind"] == "TRADE":
            return self.tape.market_of(self.attempt["asset_id"])
        return self.tape.markets.get(self.attempt["condition_id"])

    @property
    def book(self) -> TapeBook | None:
        """The tape's book of the recorded hash."""
        return self.tape.books.get((self.attempt["asset_id"], self.attempt["book_hash"]))

    @property
    def reference(self) -> Fraction:
        """The group's VWAP in micros a share, exact."""
        return Fraction(self.group["usdc_notional_micros"] * 10**6, self.group["share_micros"])

    def quote(self) -> Quote:
        """Return what the recorded book offers within the bounds."""
        return quote(self.book, self.buying, self.reference, self.taken, self.rules)


def full_target(case: Case) -> int | None:
    """Return the clamped target, None where no amount satisfies minimum and maximum."""
    their, equity, rules = case.group["usdc_notional_micros"], case.attempt["equity_micros"] or 0, case.rules
    if case.attempt["kind"] != "TRADE":
        return int(case.group["share_micros"] * rules.copy_pct)
    target = int(their * rules.copy_pct)
    most = min(rules.max_trade_notional, rules.user_max_trade_notional, int(equity * rules.max_trade_of_equity))
    if most < rules.min_trade_notional or (target < rules.min_trade_notional and rules.below_min == "SKIP"):
        return None
    return min(max(target, rules.min_trade_notional), most)


def allowed_targets(case: Case) -> set[int]:
    """Return the targets an attempt may record: a SELL or MERGE is capped by what is held, a BUY perhaps shrunk."""
    target, held = full_target(case), case.attempt["held_share_micros"]
    if target is None:
        return set()
    if case.attempt["kind"] == "MERGE":
        return {min(target, held or 0)}
    if case.attempt["kind"] == "SPLIT":
        return {min(target, case.attempt["cash_micros"] or 0)}
    if case.attempt["kind"] == "TRADE" and not case.buying and held is not None:
        prices = [case.reference, Fraction(case.quote().best or 0), case.quote().limit]
        worth = {int(held * price / 10**6) + up for price in prices for up in (0, 1)}
        return {target} | {each for each in worth if each <= target}
    if case.rules.cap_policy == "SHRINK" and case.is_open:
        return {target, min(target, headroom(case))}
    return {target}


def headroom(case: Case) -> int:
    """Return how much more the exposure caps let in."""
    row, equity, rules = case.attempt, case.attempt["equity_micros"] or 0, case.rules
    rooms = [
        int(equity * rules.cap_total) - (row["exposure_total_micros"] or 0),
        int(equity * rules.cap_market) - (row["exposure_market_micros"] or 0),
    ]
    if row["scope"] == "EXEC_GLOBAL":
        rooms.append(int(equity * rules.cap_user) - (row["exposure_user_micros"] or 0))
    return min(rooms)


def control_phase(_case: Case) -> Finding:
    """Nothing pauses the engine or disables a user in the runs we judge."""
    return Finding()


def market_phase(case: Case) -> Finding:
    """Unknown, closed, closing, stale."""
    finding, decided, market = Finding(), case.attempt["decided_at"], case.market
    age = decided - case.group["first_event_time"]
    at_edge = abs(age - case.rules.stale_microseconds) < EDGE_MICROSECONDS
    finding.judge("STALE_EVENT", age > case.rules.stale_microseconds, sure=not at_edge)
    if market is None:
        finding.judge("MARKET_UNKNOWN", True)
        return finding
    first_seen = case.clock.wall(market.states[0].at_ms)
    if decided < first_seen + EDGE_MICROSECONDS and market.states[0].at_ms > case.tape.start_ms:
        finding.may.add("MARKET_UNKNOWN")
    ends = [state.at_ms for state in market.states if state.closed or not state.accepting]
    if market.condition_id in case.tape.payouts:
        ends.append(case.tape.payouts[market.condition_id][0])
    if ends:
        ended = case.clock.wall(min(ends))
        noticed = decided > ended + NOTICE_MICROSECONDS
        if noticed or decided > ended - EDGE_MICROSECONDS:
            finding.judge("MARKET_CLOSED", noticed, sure=noticed)
    _closing(case, market, finding)
    if case.is_open and {market.condition_id, *market.assets} & set(case.rules.blacklist):
        finding.judge("MARKET_BLACKLISTED", True)
    return finding


def _closing(case: Case, market: TapeMarket, finding: Finding) -> None:
    if not case.is_open:
        return
    for state in market.states:
        if state.close_ms is not None:
            left = case.clock.wall(state.close_ms) - case.attempt["decided_at"]
            soon = 0 < left < case.rules.close_guard_microseconds
            sure = min(abs(left), abs(left - case.rules.close_guard_microseconds)) > EDGE_MICROSECONDS
            finding.judge(
                "MARKET_CLOSING_SOON", soon, sure=sure and len({each.close_ms for each in market.states}) == 1
            )


def breaker_phase(case: Case) -> Finding:
    """Losses since day and week start, drawdown from the peak; equality passes."""
    finding, row = Finding(), case.attempt
    if not case.is_open:
        return finding
    for code, start, bound in (
        ("BREAKER_DAILY_LOSS", row["day_start_equity_micros"], case.rules.daily_loss),
        ("BREAKER_WEEKLY_LOSS", row["week_start_equity_micros"], case.rules.weekly_loss),
        ("BREAKER_DRAWDOWN", row["peak_equity_micros"], case.rules.drawdown),
    ):
        if start:
            finding.judge(code, Fraction(start - row["equity_micros"], start) > bound)
    if case.drawdown_tripped:
        finding.judge("BREAKER_DRAWDOWN", True)
    return finding


def size_phase(case: Case) -> Finding:
    """Too small, or nothing to reduce."""
    finding, row = Finding(), case.attempt
    target, held = full_target(case), row["held_share_micros"]
    if row["kind"] == "TRADE":
        finding.judge("BELOW_MIN_NOTIONAL", target is None or (case.buying and target < case.rules.min_marketable))
        if not case.buying and held is not None:
            finding.judge("NO_POSITION", held < LOT, sure=held == 0 or held >= LOT)
    elif row["kind"] == "MERGE" and held is not None:
        finding.judge("NO_POSITION_TO_MERGE", held == 0)
    if row["kind"] != "TRADE" and not target:
        finding.may.add("BELOW_MIN_NOTIONAL")
    return finding


def risk_phase(case: Case) -> Finding:
    """Caps on exposure after the target, and cash for target and fee at the limit price; equality passes."""
    finding, row, rules = Finding(), case.attempt, case.rules
    target, equity = row["target_notional_micros"], row["equity_micros"]
    if not case.is_open or target is None or equity is None:
        return finding
    caps = [
        ("RISK_CAP_TOTAL", row["exposure_total_micros"], rules.cap_total),
        ("RISK_CAP_MARKET", row["exposure_market_micros"], rules.cap_market),
    ]
    if row["scope"] == "EXEC_GLOBAL":
        caps.append(("RISK_CAP_USER", row["exposure_user_micros"], rules.cap_user))
    for code, exposure, share in caps:
        finding.judge(code, (exposure or 0) + target > equity * share)
    if finding.must and row["scope"] == "EXEC_GLOBAL":
        finding.must.add("RISK_CAP_GLOBAL")
    fee = Fraction(0)
    if row["kind"] == "TRADE" and case.market is not None:
        price = case.quote().limit / 10**6
        fee = case.market.fee_rate * target / price * (price * (1 - price)) ** case.market.fee_exponent
    short = target + fee - row["cash_micros"]
    finding.judge("INSUFFICIENT_CASH", short > 0, sure=abs(short) > 10 or row["kind"] == "SPLIT")
    return finding


def book_phase(case: Case) -> Finding:
    """Spread, both price bounds, depth in band and liquidity left; splits and merges need no book."""
    finding, row, rules = Finding(), case.attempt, case.rules
    if row["kind"] != "TRADE":
        return finding
    if row["book_hash"] is None:
        finding.judge("BOOK_UNAVAILABLE", True)
        return finding
    seen = case.quote()
    sign = 1 if case.buying else -1
    one_sided = seen.bid is None or seen.ask is None
    finding.judge("SPREAD_TOO_WIDE", one_sided or (seen.ask or 0) - (seen.bid or 0) > rules.spread)
    if seen.best is not None:
        finding.judge("WORSE_THAN_THEIR_PRICE", sign * (seen.best - case.reference) > rules.price_worse_than_theirs)
        finding.judge(
            "CHASING_MID", seen.mid is not None and sign * (seen.best - (seen.mid or 0)) > rules.price_beyond_mid
        )
    target = row["target_notional_micros"] or 0
    finding.judge("INSUFFICIENT_DEPTH", 0 < seen.band < rules.depth_multiple * target)
    finding.judge("NO_LIQUIDITY_WITHIN_BOUNDS", seen.lots == 0)
    if not case.buying and not walk(seen.within, buying=False, target=target, held=row["held_share_micros"] or 0):
        finding.may.add("NO_LIQUIDITY_WITHIN_BOUNDS")  # what is held is worth less than one lot
    return finding


JUDGES: dict[str, Callable[[Case], Finding]] = {
    "control": control_phase, "market": market_phase, "breakers": breaker_phase,
    "size": size_phase, "risk": risk_phase, "book": book_phase,
}  # fmt: skip
