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
from tests.oracle.switches import ENGINE, Switches
from tests.oracle.tape import Tape, TapeBook, TapeMarket
from tests.oracle.walk import LOT, Quote, quote, walk

NOTICE_MICROSECONDS = 120_000_000
"""By then a close or a resolution on the tape must have been noticed; before, it may have been."""
EDGE_MICROSECONDS = 2_000_000
"""Where no close was recorded this is not judged: the tape's clock is known to about a second."""
LEGS = 2

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
    """BREAKER_DRAWDOWN was given before; it stays until it is reset."""
    drawdown_seen: bool = False
    """Some decision before was made beyond the bound, if only a reduction's."""
    switches: Switches = field(default_factory=Switches)
    close: int | None = None
    """The market's close as the run recorded it."""
    shadow_before: int | None = None
    """What they held of the token before the group."""

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

    @property
    def proportional(self) -> bool:
        """Whether it is a SELL of the fraction that they sold."""
        return bool(self.attempt["side"] == "SELL" and self.rules.sell_sizing == "PROPORTIONAL")

    @property
    def sellable(self) -> int:
        """Shares a SELL may take: all that is held, or the fraction they sold of what they had, whole at most."""
        held = int(self.attempt["held_share_micros"] or 0)
        if not self.proportional:
            return held
        sold = int(self.group["share_micros"])
        return held * sold // max(sold, self.shadow_before or 0)

    def quote(self, *, no_reference: bool = False, no_mid: bool = False) -> Quote:
        """Return what the recorded book offers within the bounds, or without one of them."""
        return quote(
            self.book, self.buying, self.reference, self.taken, self.rules, no_reference=no_reference, no_mid=no_mid
        )


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
    if case.proportional:
        return {int(case.sellable * case.reference / 10**6)}
    if target is None:
        return set()
    if case.attempt["kind"] == "MERGE":
        return {min(target, held or 0)}
    if case.attempt["kind"] == "SPLIT":  # as far as cash goes; without any it cannot even begin
        target = min(target, case.attempt["cash_micros"] or 0) or target
    if case.attempt["kind"] == "TRADE" and not case.buying and held is not None:
        return {min(target, int(held * case.reference / 10**6))}
    return {target, shrunk(case, target)} if case.is_open else {target}


def shrunk(case: Case, target: int) -> int:
    """Return the target after the caps: with SHRINK the headroom, if that is still the minimum."""
    least = 1 if case.attempt["kind"] == "SPLIT" else max(case.rules.min_trade_notional, case.rules.min_marketable)
    room = headroom(case)
    if case.rules.cap_policy != "SHRINK" or room >= target or room < min(least, target):
        return target
    return room


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


def control_phase(case: Case) -> Finding:
    """Paused, disabled, or a split of what has not two outcomes."""
    finding, decided = Finding(), case.attempt["decided_at"]
    for code, who in (("ENGINE_PAUSED", ENGINE), ("USER_DISABLED", case.attempt["user_label"])):
        off = case.switches.is_off(who, decided)
        finding.judge(code, bool(off), sure=off is not None)
    odd = case.attempt["kind"] != "TRADE" and case.market is not None and len(case.market.assets) != LEGS
    finding.judge("UNSUPPORTED_EVENT", odd)
    return finding


def market_phase(case: Case) -> Finding:
    """Unknown, closed, closing, stale."""
    finding, decided, market = Finding(), case.attempt["decided_at"], case.market
    age = decided - case.group["first_event_time"]
    finding.judge("STALE_EVENT", age > case.rules.stale_microseconds)
    if market is None:
        finding.judge("MARKET_UNKNOWN", True)
        named = {case.group["condition_id"], case.group["asset_id"]}
        finding.judge("MARKET_BLACKLISTED", case.is_open and bool(named & set(case.rules.blacklist)))
        return finding
    first_seen = case.clock.wall(market.states[0].at_ms)
    if decided < first_seen + EDGE_MICROSECONDS and market.states[0].at_ms > case.tape.start_ms:
        finding.may.add("MARKET_UNKNOWN")
    ends = [state.at_ms for state in market.states if state.closed or not state.accepting]
    if market.condition_id in case.tape.payouts:
        ends.append(case.tape.payouts[market.condition_id][0])
    if ends:
        ended = case.clock.wall(min(ends))
        noticed = decided > ended + NOTICE_MICROSECONDS or min(ends) <= case.tape.start_ms
        if noticed or decided > ended - EDGE_MICROSECONDS:
            finding.judge("MARKET_CLOSED", noticed, sure=noticed)
    _closing(case, market, finding)
    if case.is_open and {market.condition_id, *market.assets} & set(case.rules.blacklist):
        finding.judge("MARKET_BLACKLISTED", True)
    return finding


def _closing(case: Case, market: TapeMarket, finding: Finding) -> None:
    if not case.is_open:
        return
    if len({state.close_ms for state in market.states}) == 1 and case.close is not None:
        left = case.close - case.attempt["decided_at"]
        finding.judge("MARKET_CLOSING_SOON", 0 < left < case.rules.close_guard_microseconds)
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
    elif case.drawdown_seen:
        finding.may.add("BREAKER_DRAWDOWN")
    return finding


def beyond_drawdown(case: Case) -> bool:
    """Tell whether equity had fallen too far from its peak at this decision, whatever it was about."""
    peak, equity = case.attempt["peak_equity_micros"], case.attempt["equity_micros"]
    return bool(peak) and equity is not None and Fraction(peak - equity, peak) > case.rules.drawdown


def size_phase(case: Case) -> Finding:
    """Too small, or nothing to reduce."""
    finding, row = Finding(), case.attempt
    target, held = full_target(case), row["held_share_micros"]
    if row["kind"] == "TRADE":
        small = not target or (case.buying and target < case.rules.min_marketable)
        finding.judge("BELOW_MIN_NOTIONAL", small and not case.proportional)
        if not case.buying and held is not None:
            finding.judge("NO_POSITION", held < LOT, sure=held == 0 or held >= LOT)
    elif row["kind"] == "MERGE" and held is not None:
        finding.judge("NO_POSITION_TO_MERGE", held == 0)
    if row["kind"] != "TRADE":
        finding.judge("BELOW_MIN_NOTIONAL", not target)
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
    fee, limit = 0, case.quote().limit
    if row["kind"] == "TRADE" and case.market is not None and limit < 10**6:
        price = limit / 10**6
        exact = case.market.fee_rate * target / price * (price * (1 - price)) ** case.market.fee_exponent
        fee = int(exact // 10) * 10
    short = target + fee - row["cash_micros"]
    finding.judge("INSUFFICIENT_CASH", short > 0, sure=limit.denominator == 1 or abs(short) > 10)
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
    if not case.buying and not walk(seen.within, buying=False, target=target, held=case.sellable):
        finding.may.add("NO_LIQUIDITY_WITHIN_BOUNDS")  # what is held is worth less than one lot
    return finding


JUDGES: dict[str, Callable[[Case], Finding]] = {
    "control": control_phase, "market": market_phase, "breakers": breaker_phase,
    "size": size_phase, "risk": risk_phase, "book": book_phase,
}  # fmt: skip
