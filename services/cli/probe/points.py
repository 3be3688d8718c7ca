"""What a probe settles of the points that nobody could confirm before the first live run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP
from typing import Any, Final

from libs.common.domain.book import Book
from libs.common.domain.kinds import Role
from libs.common.domain.market import MarketFacts
from libs.common.domain.money import FEE_QUANTUM_MICROS
from libs.common.upstream.chain import ChainFill
from services.cli.probe.report import Point

_ROUNDINGS: Final = {"down": ROUND_DOWN, "to the nearest": ROUND_HALF_UP, "up": ROUND_UP}


@dataclass(slots=True)
class Facts:
    """What was seen on the way; `batch` counts the tokens each batch endpoint took at once."""

    v1_answer: str | None = None
    markets: list[MarketFacts] = field(default_factory=list)
    market_wires: list[Mapping[str, Any]] = field(default_factory=list)
    books: dict[str, Book] = field(default_factory=dict)
    buy_price: tuple[str, int] | None = None
    batch: dict[str, int] = field(default_factory=dict)
    fills: Sequence[ChainFill] = ()
    filter_answer: str | None = None
    third_answer: str | None = None
    rate_limited: Sequence[str] = ()


def settle(facts: Facts) -> list[Point]:
    """Return every open point, with its answer where the facts give one."""
    batch = ", ".join(f"{name} took {count}" for name, count in facts.batch.items()) or None
    limited = "; ".join(facts.rate_limited[:3]) or None
    no_load = "a probe asks each endpoint once and makes no load"
    return [
        Point(1, "what the retired v1 routes answer", facts.v1_answer, "no answer came"),
        Point(2, "do markets of version v2 trade", _versions(facts), "no market of a recent trade was read"),
        Point(3, "what /price?side=BUY means", _buy_price(facts), "no price beside a two-sided book"),
        Point(4, "how many tokens a batch may hold (we send 250 at most)", batch, "no batch was answered"),
        Point(5, "rate limits of the Data API", None, no_load),
        Point(6, "how fees are rounded", _fee_rounding(facts), "no taker's fill with a known rate in the last blocks"),
        Point(7, "how many wallets a log filter may name", facts.filter_answer, "no node was asked"),
        Point(8, "what the exchange-like address 0xe2222d00...0036 does", facts.third_answer, "no node was asked"),
        Point(9, "does the market listing leave feeSchedule out", _fee_schedules(facts), "no market charges fees"),
        Point(10, "is the activity topic of RTDS served", None, "Shadowbook does not use it"),
        Point(11, "does a 429 carry Retry-After", limited, "nothing was rate limited"),
        Point(
            12, "is the least order of 5 shares kept for FAK and FOK", None, "only an order would tell; none is placed"
        ),
    ]


def _versions(facts: Facts) -> str | None:
    counts = Counter(market.version for market in facts.markets)
    if not counts:
        return None
    return ", ".join(f"{count} of {version}" for version, count in sorted(counts.items())) + " among recently traded"


def _buy_price(facts: Facts) -> str | None:
    if facts.buy_price is None:
        return None
    token, price = facts.buy_price
    book = facts.books.get(token)
    if book is None or not book.bids or not book.asks:
        return None
    if price == book.best_bid_micros:
        return "the best bid"
    if price == book.best_ask_micros:
        return "the best ask"
    return f"neither best bid nor best ask ({price} between {book.best_bid_micros} and {book.best_ask_micros} micros)"


def _fee_schedules(facts: Facts) -> str | None:
    charging = [wire for wire in facts.market_wires if wire.get("feesEnabled") is True]
    without = sum(wire.get("feeSchedule") is None for wire in charging)
    return f"{without} of {len(charging)} markets with fees come without it" if charging else None


def _fee_rounding(facts: Facts) -> str | None:
    """Compare the fees of takers in the last blocks with the formula, each way of rounding."""
    rates = {
        outcome.asset_id: market.fee_rate
        for market in facts.markets
        for outcome in market.outcomes
        if market.fee_rate and market.fee_exponent == 1
    }
    agreeing: Counter[str] = Counter()
    compared = 0
    for fill in facts.fills:
        rate = rates.get(fill.asset_id)
        if rate is None or fill.role is not Role.TAKER or not fill.fee_micros:
            continue
        compared += 1
        n, s = fill.notional_micros, fill.share_micros
        quanta = rate * n * (s - n) / s / FEE_QUANTUM_MICROS
        for name, rounding in _ROUNDINGS.items():
            agreeing[name] += int(quanta.to_integral_value(rounding)) * FEE_QUANTUM_MICROS == fill.fee_micros
    if not compared:
        return None
    told = ", ".join(f"{name} explains {agreeing[name]}" for name in _ROUNDINGS)
    return f"of {compared} takers' fees, rounding to 10 micros {told}"
