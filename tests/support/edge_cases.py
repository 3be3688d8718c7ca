"""What happens on the edge tape and what must come of it, worked out by hand; `edge_tape` writes it down.

Every followed user has a portfolio and a configuration of their own, so that a case stands alone in EXEC_USER. The
bankroll B is 10,000. Unless a case says otherwise they fill 2,000 shares at 0.50 as makers: 1,000 USDC, of which one
per cent is a target of 10; the book is bid 0.49, ask 0.50, a thousand shares each, no fee, so we take 20 shares for 10.
In EXEC_GLOBAL everybody's groups share one B. Up to second 6 all books there are locked (bid = ask: a mark equals its
cost) and free, so equity is exactly B; from second 7 on fees and spreads have been paid, and equity is below B.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

USDC: Final = 1_000_000
HALF_HOUR: Final = 1_800
Levels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Expected:
    """What a decision must be; amounts in USDC and shares as text, None for a SKIP."""

    reasons: frozenset[str] = frozenset()
    target: str | None = None
    shares: str | None = None
    notional: str | None = None
    fee: str = "0"


@dataclass(frozen=True)
class Venue:
    """One market of the tape and its outcome-0 book; outcome 1 has the same book. No `asks` and `bids`: no book."""

    bids: Levels | None = (("0.49", "1000"),)
    asks: Levels | None = (("0.50", "1000"),)
    then: tuple[float, Levels, Levels] | None = None
    """Another version of the book, from a second on."""
    rate: str = "0"
    exponent: int = 1
    ends: float | None = None
    """Seconds after the start of the tape; None: years later."""
    closed: bool = False
    accepting: bool = True
    outcomes: int = 2
    known: bool = True


LOCKED: Final = Venue((("0.50", "1000"),), (("0.50", "1000"),))
FEES: Final = Venue((("0.50", "1000"),), (("0.50", "1000"),), rate="0.05")


@dataclass(frozen=True)
class Step:
    """One group of theirs. `fills` are (size, price) in one transaction; SPLIT and MERGE have one, at price 1."""

    name: str
    user: str
    at: float
    venue: str
    kind: str
    fills: tuple[tuple[str, str], ...]
    outcome: int
    alone: Expected | None
    """In EXEC_USER; None where it depends on the second."""
    together: Expected | None
    """In EXEC_GLOBAL."""


VENUES: Final[dict[str, Venue]] = {}
STEPS: Final[list[Step]] = []
THEIRS: Final = (("2000", "0.50"),)


def took(target: str, shares: str, notional: str, fee: str = "0") -> Expected:
    """Return what an EXECUTE must be."""
    return Expected(frozenset(), target, shares, notional, fee)


def skip(*reasons: str) -> Expected:
    """Return what a SKIP must be."""
    return Expected(frozenset(reasons))


TEN: Final = took("10", "20", "10")
WORSE: Final = skip("WORSE_THAN_THEIR_PRICE", "NO_LIQUIDITY_WITHIN_BOUNDS")
"""Nothing lies within a bound that even the best level is beyond."""


def step(
    name: str,
    user: str,
    at: float,
    kind: str = "BUY",
    *fills: tuple[str, str],
    at_venue: "Venue | str" = Venue(),
    outcome: int = 0,
    alone: Expected | None = TEN,
    together: Expected | str | None = "alike",
) -> None:
    """Add a step, at a venue of its own or at that of another step."""
    venue = at_venue if isinstance(at_venue, str) else name
    if isinstance(at_venue, Venue):
        VENUES[name] = at_venue
    both = alone
    if alone is not None and any(reason.startswith("RISK_CAP") for reason in alone.reasons):
        both = skip(*alone.reasons, "RISK_CAP_GLOBAL")
    chosen = both if isinstance(together, str) else together
    STEPS.append(Step(name, user, at, venue, kind, fills or THEIRS, outcome, alone, chosen))


def user_cap_and_caps() -> None:
    """Exposure after the target is compared with a share of equity; equality passes."""
    # 0.1 % of B is 10: the whole run's first decision reaches it exactly; in EXEC_USER there is no such cap
    step("cap-user-at", "capuser", 3, at_venue=LOCKED)
    step("cap-user-beyond", "capuser", 12, at_venue=LOCKED, together=skip("RISK_CAP_USER", "RISK_CAP_GLOBAL"))
    # 0.2 % of B is 20: together the first already makes 20 with the 10 above, alone the second does
    step("cap-total-at-together", "captotal", 4, at_venue=LOCKED)
    step("cap-total-at", "captotal", 9, at_venue=LOCKED, together=skip("RISK_CAP_TOTAL", "RISK_CAP_GLOBAL"))
    step("cap-total-beyond", "captotal", 14, at_venue=LOCKED, alone=skip("RISK_CAP_TOTAL"))
    # 0.1 % of B is 10, reached by one; 0.099999990 % is 9.999999, one micro less
    step("cap-market-at", "capmarket", 5, at_venue=LOCKED)
    step("cap-market-beyond", "capmarket", 10, at_venue="cap-market-at", alone=skip("RISK_CAP_MARKET"))
    step("cap-market-one-micro", "undermarket", 8, at_venue=LOCKED, alone=skip("RISK_CAP_MARKET"))
    # 0.2 %: both outcomes of a condition add; together equity is below B, so 20 is already too much
    step("legs-first", "legs", 6, at_venue=LOCKED)
    step("legs-add-at", "legs", 11, at_venue="legs-first", outcome=1,
         together=skip("RISK_CAP_MARKET", "RISK_CAP_GLOBAL"))  # fmt: skip
    step("legs-add-beyond", "legs", 16, at_venue="legs-first", outcome=1, alone=skip("RISK_CAP_MARKET"))
    # SHRINK at 0.15 %: 15 leaves 5 of headroom after 10, the minimum exactly; 14.999999 leaves one micro less
    step("shrink-first", "shrink", 8, at_venue=LOCKED)
    step("shrink-to-minimum", "shrink", 13, at_venue="shrink-first", alone=took("5", "10", "5"),
         together=skip("RISK_CAP_MARKET", "RISK_CAP_GLOBAL"))  # fmt: skip
    step("shrink-no-headroom", "shrink", 18, at_venue="shrink-first", alone=skip("RISK_CAP_MARKET"))
    step("shrink-first-4", "shrink4", 8, at_venue=LOCKED)
    step("shrink-one-micro", "shrink4", 13, at_venue="shrink-first-4", alone=skip("RISK_CAP_MARKET"))
    # 0.1 %: what was decided a moment ago counts, posted or not
    step("in-flight-first", "inflight", 9, at_venue=LOCKED, together=skip("RISK_CAP_TOTAL", "RISK_CAP_GLOBAL"))
    step("in-flight-second", "inflight", 9.4, at_venue=LOCKED, alone=skip("RISK_CAP_TOTAL"))


def prices_and_books() -> None:
    """Bounds around their price and the midpoint, spread, depth, liquidity."""
    at_51 = took("10", "19.60", "9.996")  # 19.60 * 0.51; another lot would make 10.0011
    step("fee-buy", "seller", 7, at_venue=FEES, alone=took("10", "20", "10", "0.25"))  # 0.05 * 10 * 0.5
    step("price-at", "plain", 7, at_venue=Venue((("0.50", "1000"),), (("0.51", "1000"),)), alone=at_51)
    step("price-beyond", "plain", 7, at_venue=Venue((("0.50", "1000"),), (("0.510001", "1000"),)), alone=WORSE)
    # (500 + 1020) / 3000 = 0.50666..., the bound 0.516666...; 2941 lots of 0.516666 cost 15.19514706, rounded up
    thirds = (("1000", "0.50"), ("2000", "0.51"))
    step("thirds-at", "plain", 8, "BUY", *thirds, at_venue=Venue((("0.51", "1000"),), (("0.516666", "1000"),)),
         alone=took("15.2", "29.41", "15.195148"))  # fmt: skip
    step("thirds-beyond", "plain", 8, "BUY", *thirds, at_venue=Venue((("0.51", "1000"),), (("0.516667", "1000"),)),
         alone=WORSE)  # fmt: skip
    step("spread-at", "plain", 9, at_venue=Venue((("0.49", "1000"),), (("0.51", "1000"),)), alone=at_51)
    step("spread-beyond", "plain", 9, at_venue=Venue((("0.489999", "1000"),), (("0.51", "1000"),)),
         alone=skip("SPREAD_TOO_WIDE"))  # fmt: skip
    step("asks-alone", "plain", 10, at_venue=Venue((), (("0.50", "1000"),)), alone=skip("SPREAD_TOO_WIDE"))
    step("bids-alone", "plain", 10, at_venue=Venue((("0.49", "1000"),), ()),
         alone=skip("SPREAD_TOO_WIDE", "NO_LIQUIDITY_WITHIN_BOUNDS"))  # fmt: skip
    # 1.25 * 10 = 12.50
    step("depth-at", "plain", 11, at_venue=Venue(asks=(("0.50", "25"),)))
    step("depth-beyond", "plain", 11, at_venue=Venue(asks=(("0.50", "24.999998"),)), alone=skip("INSUFFICIENT_DEPTH"))
    # 45 shares: 25 are left for the second, exactly 12.50; 5 for the third
    step("twin-first", "plain", 12, at_venue=Venue(asks=(("0.50", "45"),)))
    step("twin-at", "plain", 16, at_venue="twin-first")
    step("twin-beyond", "plain", 20, at_venue="twin-first", alone=skip("INSUFFICIENT_DEPTH"))
    # 40 shares, two users: alone each has all of it, together the second has 20, 10 USDC
    step("rival-first", "plain", 13, at_venue=Venue(asks=(("0.50", "40"),)))
    step("rival-second", "rival", 14.5, at_venue="rival-first", together=skip("INSUFFICIENT_DEPTH"))
    # spread up to 0.05: mid 0.485 + 0.015 = 0.50; a bid one micro lower makes the floored mid 0.484999
    step("chase-at", "chaser", 8, at_venue=Venue((("0.47", "1000"),)))
    step("chase-beyond", "chaser", 8, at_venue=Venue((("0.469999", "1000"),)),
         alone=skip("CHASING_MID", "NO_LIQUIDITY_WITHIN_BOUNDS"))  # fmt: skip
    # then a SELL at 0.50 on 0.50 / 0.530001: the mid 0.5150005 is floored, so the bound is 0.50 exactly;
    # 1 % of 1010 is 10.10, capped by what 19.60 are worth at their 0.505: 9.898; 19.60 * 0.50 = 9.80 fits
    turned = Venue((("0.50", "1000"),), (("0.51", "1000"),), (11, (("0.50", "1000"),), (("0.530001", "1000"),)))
    step("chase-buy", "chaser", 7, at_venue=turned, alone=at_51)
    step("chase-sell-floor", "chaser", 15, "SELL", ("2000", "0.505"), at_venue="chase-buy",
         alone=took("9.898", "19.60", "9.80"))  # fmt: skip
    # 10 at 0.50 and 9.80 at 0.51 make 9.998; 0.05 * 9.998 * 9.802 / 19.8 = 0.2474757
    step("two-levels", "plain", 14, at_venue=Venue(asks=(("0.50", "10"), ("0.51", "1000")), rate="0.05"),
         alone=took("10", "19.80", "9.998", "0.24747"))  # fmt: skip
    step("exponent-two", "plain", 15, at_venue=Venue(rate="0.25", exponent=2),
         alone=took("10", "20", "10", "0.3125"))  # 0.25 * 20 * 0.25 ** 2  # fmt: skip
    step("no-book", "odd", 4.5, at_venue=Venue(None, None), alone=skip("BOOK_UNAVAILABLE"))


def thin_books() -> None:
    """`depth_multiple` 0.5: partial fills, and a level taken to its last lot."""
    step("partial-at", "partial", 8, at_venue=Venue(asks=(("0.50", "10"),)), alone=took("10", "10", "5"))
    step("partial-beyond", "partial", 8, at_venue=Venue(asks=(("0.50", "9.999998"),)),
         alone=skip("INSUFFICIENT_DEPTH"))  # fmt: skip
    step("last-level", "partial", 9, at_venue=Venue(asks=(("0.50", "20"),)))
    step("nothing-left", "partial", 13, at_venue="last-level", alone=skip("NO_LIQUIDITY_WITHIN_BOUNDS"))


def sizes() -> None:
    """Clamps, maxima, SELLs capped by what is held."""
    step("clamped-up", "plain", 17, "BUY", ("200", "0.50"), alone=took("5", "10", "5"))
    step("skip-at", "skipper", 8, "BUY", ("1000", "0.50"), alone=took("5", "10", "5"))
    step("skip-beyond", "skipper", 8, "BUY", ("999.9998", "0.50"), alone=skip("BELOW_MIN_NOTIONAL"))  # 4.999999
    step("marketable-at", "small", 8, "BUY", ("200", "0.50"), alone=took("1", "2", "1"))
    step("marketable-beyond", "small", 8, "BUY", ("199.9998", "0.50"), alone=skip("BELOW_MIN_NOTIONAL"))  # 0.999999
    step("own-maximum", "most7", 8, alone=took("7", "14", "7"))
    step("maximum-is-minimum", "most5", 8, alone=took("5", "10", "5"))
    step("maximum-one-micro", "most4", 8, alone=skip("BELOW_MIN_NOTIONAL"))
    # 0.75 % of B is 75, the minimum; together equity is below B
    step("equity-share-at", "least75", 19, alone=took("75", "150", "75"), together=skip("BELOW_MIN_NOTIONAL"))
    step("equity-share-one-micro", "least76", 19, alone=skip("BELOW_MIN_NOTIONAL"))
    # 2 is clamped to 5, 10.20 * 0.49 = 4.998; then 9.80 held, worth 4.90 at their price: 9.80 * 0.49 = 4.802
    step("sell-buy", "seller", 8)
    step("sell-at", "seller", 13, "SELL", ("400", "0.50"), at_venue="sell-buy", alone=took("5", "10.20", "4.998"))
    step("sell-rest", "seller", 17, "SELL", at_venue="sell-buy", alone=took("4.9", "9.80", "4.802"))
    step("sell-nothing", "seller", 21, "SELL", at_venue="sell-buy", alone=skip("NO_POSITION"))
    step("sell-worse-buy", "seller", 8, at_venue=Venue((("0.489999", "1000"),)))
    step("sell-beyond", "seller", 13, "SELL", at_venue="sell-worse-buy", alone=WORSE)
    # 10 * 0.50: 0.05 * 5 * 0.5
    step("fee-sell", "seller", 12, "SELL", ("1000", "0.50"), at_venue="fee-buy", alone=took("5", "10", "5", "0.125"))
    # PROPORTIONAL: 500 of 2000 is a quarter of 20; 3000 of 1500 is all of 15, and then there is nothing
    step("share-buy", "prop", 8)
    step("share-quarter", "prop", 13, "SELL", ("500", "0.50"), at_venue="share-buy", alone=took("2.5", "5", "2.45"))
    step("share-oversold", "prop", 17, "SELL", ("3000", "0.50"), at_venue="share-buy",
         alone=took("7.5", "15", "7.35"))  # fmt: skip
    step("share-nothing", "prop", 21, "SELL", ("10", "0.50"), at_venue="share-buy", alone=skip("NO_POSITION"))


def pairs() -> None:
    """SPLIT as far as cash goes, MERGE as far as the smaller leg."""
    step("split", "pairs", 8, "SPLIT", ("1000", "1"), alone=took("10", "10", "10"))
    step("split-nothing", "pairs", 8, "SPLIT", ("0.00009", "1"), alone=skip("BELOW_MIN_NOTIONAL"))
    step("split-and-buy", "pairs", 9, at_venue="split")  # legs 30 and 10
    step("merge-half", "pairs", 12, "MERGE", ("500", "1"), at_venue="split", alone=took("5", "5", "5"))
    step("merge-smaller-leg", "pairs", 16, "MERGE", ("10000", "1"), at_venue="split", alone=took("5", "5", "5"))
    step("merge-nothing", "pairs", 20, "MERGE", ("100", "1"), at_venue="split", alone=skip("NO_POSITION_TO_MERGE"))
    step("split-of-three", "pairs", 9, "SPLIT", ("1000", "1"), at_venue=Venue(outcomes=3),
         alone=skip("UNSUPPORTED_EVENT"))  # fmt: skip


def markets_and_times() -> None:
    """Unknown, closed, closing, blacklisted, stale."""
    step("unknown", "odd", 28, at_venue=Venue(known=False), alone=skip("MARKET_UNKNOWN"))
    step("closed", "odd", 9, at_venue=Venue(closed=True, accepting=False), alone=skip("MARKET_CLOSED"))
    step("no-orders", "odd", 9, at_venue=Venue(accepting=False), alone=skip("MARKET_CLOSED"))
    step("blacklisted-condition", "odd", 10, alone=skip("MARKET_BLACKLISTED"))
    step("blacklisted-token", "odd", 10, alone=skip("MARKET_BLACKLISTED"))
    step("blacklisted-reduction", "odd", 11, "SELL", at_venue="blacklisted-token", alone=skip("NO_POSITION"))
    step("closed-and-blacklisted", "odd", 11, at_venue=Venue(closed=True), alone=skip("MARKET_CLOSED",
         "MARKET_BLACKLISTED"))  # fmt: skip
    step("past-its-end", "odd", 12, at_venue=Venue(ends=-3600))
    step("stale", "stale", 9, alone=skip("STALE_EVENT"))
    step("stale-reduction", "stale", 13, "SELL", at_venue="stale", alone=skip("STALE_EVENT"))
    step("closing-far", "ender", 7, at_venue=Venue(ends=HALF_HOUR + 16))
    step("closing-soon", "ender", 19, at_venue="closing-far", alone=skip("MARKET_CLOSING_SOON"))
    # its worth of 10 at 0.50 is the target; 20 * 0.49 = 9.80
    step("closing-reduction", "ender", 23, "SELL", at_venue="closing-far", alone=took("10", "20", "9.8"))
    for number in range(8):  # decided within a second of half an hour before their ends: which side, the clock says
        ends = HALF_HOUR + 22.6 + number / 10
        step(f"closing-edge-{number}", "edge", 20, at_venue=Venue(ends=ends), alone=None, together=None)
    for number in range(5):  # at most 3 s old: event times are whole seconds, decisions 2.75 s to 4 s after them
        step(f"stale-edge-{number}", "three", 10 + 2.2 * number, alone=None, together=None)


def cash() -> None:
    """Cash for target and fee at the limit; maxima and caps of these users are all of equity."""
    deep = Venue((("0.50", "100000"),), (("0.50", "100000"),))
    # together neither cash nor exposure has room for so much; a maximum of all equity is what is left of the target
    too_much = skip("INSUFFICIENT_CASH", "RISK_CAP_TOTAL", "RISK_CAP_GLOBAL")
    step("cash-all", "spender", 20, "BUY", ("2000000", "0.50"), at_venue=deep, alone=took("10000", "20000", "10000"),
         together=too_much)  # fmt: skip
    step("cash-none", "spender", 25, at_venue=LOCKED, alone=skip("INSUFFICIENT_CASH", "RISK_CAP_TOTAL"), together=TEN)
    step("cash-none-split", "spender", 21.5, "SPLIT", ("1000", "1"),
         alone=skip("INSUFFICIENT_CASH", "RISK_CAP_TOTAL"), together=took("10", "10", "10"))  # fmt: skip
    # 9,997 spent, 3 left: the SPLIT of 10 goes as far as that
    step("cash-most", "part", 20, "BUY", ("1999400", "0.50"), at_venue=deep, alone=took("9997", "19994", "9997"),
         together=too_much)  # fmt: skip
    step("cash-part-split", "part", 21.5, "SPLIT", ("1000", "1"), alone=took("3", "3", "3"),
         together=took("10", "10", "10"))  # fmt: skip
    # mid 0.735 + 0.015 = 0.75: the fee at the limit is 0.04 * 0.25 of the target, 99.009901 floored to 99.0099, and
    # 9,900.9901 + 99.0099 = B; 13,201.32 * 0.75 = 9,900.99 and 1 % of it is 99.0099; one micro more is one too many
    dear = Venue((("0.72", "100000"),), (("0.75", "100000"),), rate="0.04")
    step("cash-at", "cashat", 20, "BUY", ("1237623.7625", "0.80"), at_venue=dear,
         alone=took("9900.9901", "13201.32", "9900.99", "99.0099"), together=too_much)  # fmt: skip
    step("cash-one-micro", "cashshort", 20, "BUY", ("1237623.762625", "0.80"), at_venue=dear,
         alone=skip("INSUFFICIENT_CASH"), together=too_much)  # fmt: skip


def losses() -> None:
    """Books bought at 0.50 and marked far below: a loss equal to the limit passes, a fee of 0.25 more does not."""

    def fall(bid: str) -> Venue:
        return Venue(((bid, "10000"),), (("0.50", "10000"),))

    paid, twenty = took("10", "20", "10", "0.25"), ("10000", "0.20")
    # 200 shares marked at 0.35 lose 30, 0.3 % of B
    step("daily-fall", "daily", 8, "BUY", ("20000", "0.50"), at_venue=fall("0.20"), alone=took("100", "200", "100"))
    step("daily-at", "daily", 17, at_venue=FEES, alone=paid, together=skip("BREAKER_DAILY_LOSS"))
    step("daily-beyond", "daily", 22, at_venue=LOCKED, alone=skip("BREAKER_DAILY_LOSS"))
    step("daily-reduction", "daily", 26, "SELL", twenty, at_venue="daily-fall", alone=took("20", "100", "20"))
    # 500 shares marked at 0.38 lose 60, 0.6 % of B
    step("weekly-fall", "weekly", 12, "BUY", ("50000", "0.50"), at_venue=fall("0.26"), alone=took("250", "500", "250"))
    step("weekly-at", "weekly", 21, at_venue=FEES, alone=paid, together=skip("BREAKER_WEEKLY_LOSS"))
    step("weekly-beyond", "weekly", 26, at_venue=LOCKED, alone=skip("BREAKER_WEEKLY_LOSS"))
    # 800 shares marked at 0.3125 lose 150, 1.5 % of B
    step("peak-fall", "peak", 17, "BUY", ("80000", "0.50"), at_venue=fall("0.125"), alone=took("400", "800", "400"))
    step("peak-at", "peak", 27, at_venue=FEES, alone=paid, together=skip("BREAKER_DRAWDOWN"))
    step("peak-beyond", "peak", 32, at_venue=LOCKED, alone=skip("BREAKER_DRAWDOWN"))
    step("peak-split", "peak", 32, "SPLIT", ("1000", "1"), alone=skip("BREAKER_DRAWDOWN"))
    # 1 % of 10,000 * 0.125 is 12.50: 100 shares
    step("peak-reduction", "peak", 35, "SELL", ("10000", "0.125"), at_venue="peak-fall",
         alone=took("12.5", "100", "12.5"))  # fmt: skip


FIRST_LOOK: Final = "daily-beyond"
"""When its fill is there, splits and merges are asked for: only the API tells of them, and it may be asked late."""
SECOND_LOOK: Final = "peak-reduction"
PAUSED_FROM: Final = 40.0
"""Everything before this second is decided before the pause."""
DISABLED: Final = "off"


def switches() -> None:
    """A user disabled from the start, and a pause before the tape ends: they stop everything."""
    step("disabled", DISABLED, 20, alone=skip("USER_DISABLED"))
    step("disabled-reduction", DISABLED, 24, "SELL", at_venue="disabled", alone=skip("USER_DISABLED"))
    step("paused", "plain", 46, alone=skip("ENGINE_PAUSED"))
    step("paused-reduction", "seller", 46, "SELL", at_venue="sell-worse-buy", alone=skip("ENGINE_PAUSED"))
    step("paused-and-disabled", DISABLED, 46, alone=skip("ENGINE_PAUSED", "USER_DISABLED"))


LENGTH_SECONDS: Final = 48
_ALL = {"max_trade_notional_micros": 10**11, "max_trade_equity_pct": 100, "max_total_exposure_pct": 100,
        "max_exposure_per_market_pct": 100, "max_exposure_per_user_pct": 100}  # fmt: skip
_WIDE = {"max_spread_micros": USDC, "max_chase_mid_micros": USDC, "max_trade_equity_pct": 100,
         "max_trade_notional_micros": 1_000 * USDC}  # fmt: skip
USERS: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "rival": {},
    "odd": {},
    "seller": {},
    "pairs": {},
    "ender": {},
    "edge": {},
    DISABLED: {},
    "capuser": {"max_exposure_per_user_pct": "0.1"},
    "captotal": {"max_total_exposure_pct": "0.2"},
    "capmarket": {"max_exposure_per_market_pct": "0.1"},
    "undermarket": {"max_exposure_per_market_pct": "0.09999999"},
    "legs": {"max_exposure_per_market_pct": "0.2"},
    "shrink": {"max_exposure_per_market_pct": "0.15", "cap_policy": "SHRINK"},
    "shrink4": {"max_exposure_per_market_pct": "0.14999999", "cap_policy": "SHRINK"},
    "inflight": {"max_total_exposure_pct": "0.1"},
    "chaser": {"max_spread_micros": 50_000},
    "partial": {"depth_multiple": "0.5"},
    "skipper": {"below_min": "SKIP"},
    "small": {"min_trade_notional_micros": 0},
    "most7": {"user_max_trade_notional_micros": 7 * USDC},
    "most5": {"user_max_trade_notional_micros": 5 * USDC},
    "most4": {"user_max_trade_notional_micros": 5 * USDC - 1},
    "least75": {"min_trade_notional_micros": 75 * USDC},
    "least76": {"min_trade_notional_micros": 75 * USDC + 1},
    "prop": {"sell_sizing": "PROPORTIONAL"},
    "stale": {"max_event_age_seconds": 1},
    "three": {"max_event_age_seconds": 3},
    "spender": _ALL,
    "part": _ALL,
    "cashat": {**_ALL, "max_spread_micros": 50_000},
    "cashshort": {**_ALL, "max_spread_micros": 50_000},
    "daily": {**_WIDE, "daily_loss_limit_pct": "0.3"},
    "weekly": {**_WIDE, "daily_loss_limit_pct": 100, "weekly_loss_limit_pct": "0.6"},
    "peak": {**_WIDE, "daily_loss_limit_pct": 100, "weekly_loss_limit_pct": 100, "max_drawdown_limit_pct": "1.5"},
}
BLACKLISTED_CONDITIONS: Final = ("blacklisted-condition", "closed-and-blacklisted")
BLACKLISTED_TOKENS: Final = ("blacklisted-token",)

for _part in (user_cap_and_caps, prices_and_books, thin_books, sizes, pairs, markets_and_times, cash, losses, switches):
    _part()


def micros(text: str) -> int:
    """Return an amount, a number of shares or a price in micros."""
    exact = Decimal(text) * USDC
    if exact != int(exact):
        raise ValueError(f"{text} is finer than a micro")
    return int(exact)
