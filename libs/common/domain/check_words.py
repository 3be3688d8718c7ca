"""Every check of a decision in plain words: what it is called, what it found, and what the bound is.

Written against the documents that attempts store (`{"phase", "check", "verdict", "value", "bound", "reason"?}`). A
check this release does not know, or one whose numbers are not what they were, is shown as it is.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final

from libs.common.domain.explanation import CheckMade
from libs.common.domain.money import LOT_SHARE_MICROS
from libs.common.domain.wording import percent, seconds, usdc

Words = tuple[str, str]
"""What was found, and its bound."""

_NO_BOUND: Final = ""


def in_words(check: Mapping[str, Any], side: str | None) -> CheckMade:
    """Return a stored check of a group with its words; `side` is the group's."""
    phase, name = str(check.get("phase", "")), str(check.get("check", ""))
    value, bound = check.get("value"), check.get("bound")
    title, speak = _CHECKS.get(f"{phase}.{name}", (name.replace("_", " "), _as_it_is))
    try:
        found, limit = speak(value, bound)
        if f"{phase}.{name}" in _PRICES and bound is not None:
            limit = f"at {'most' if side == 'BUY' else 'least'} {usdc(bound)}"
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError):
        found, limit = _as_it_is(value, bound)
    return CheckMade(
        phase=phase,
        check=name,
        verdict=str(check.get("verdict", "")),
        reason=check.get("reason"),
        value=value,
        bound=bound,
        title=title,
        found=found,
        limit=limit,
    )


def _as_it_is(value: Any, bound: Any) -> Words:
    if isinstance(value, Mapping):
        found = ", ".join(f"{key} {each}" for key, each in value.items())
    else:
        found = "" if value is None else str(value)
    return found, "" if bound is None else str(bound)


def _share(bound: Any) -> str:
    """Return a stored ratio ("3/400") in per cent, exact."""
    ratio = Fraction(bound)
    return percent(ratio.numerator, ratio.denominator, places=9)


def _engine(value: Any, _bound: Any) -> Words:
    return ("paused" if value else "running"), "must run"


def _user(value: Any, _bound: Any) -> Words:
    return ("enabled" if value else "disabled"), "must be enabled"


def _event(value: Any, _bound: Any) -> Words:
    return str(value), "something we can copy"


def _known(value: Any, _bound: Any) -> Words:
    return str(value), "must be known"


def _open(value: Any, _bound: Any) -> Words:
    closed = [word for word, state in (("closed", value["closed"]), ("resolved", value["resolved"])) if state]
    if not value["accepting_orders"]:
        closed.append("not accepting orders")
    return " and ".join(closed) or "open", "must be open"


def _time_to_close(value: Any, bound: Any) -> Words:
    found = value if isinstance(value, str) else f"{seconds(value)} to go"
    return found, f"at least {seconds(bound)}"


def _blacklist(value: Any, _bound: Any) -> Words:
    return ("blacklisted" if value else "not blacklisted"), "must not be listed"


def _age(value: Any, bound: Any) -> Words:
    return f"{seconds(value)} old", f"at most {seconds(bound)}"


def _loss(value: Any, bound: Any) -> Words:
    limit = f"at most {_share(bound)}"
    if isinstance(value, str):
        return "no start yet", limit
    start, equity = value["start"], value["equity"]
    if equity >= start:
        return f"none of {usdc(start, 2)}", limit
    return f"{percent(start - equity, start)} of {usdc(start, 2)}", limit


def _drawdown(value: Any, bound: Any) -> Words:
    equity, peak = value["equity"], value["peak"]
    tripped = ", tripped before and not reset" if value["tripped_before"] else ""
    fall = f"{percent(peak - equity, peak)} below" if equity < peak else "at"
    return f"{fall} the peak {usdc(peak, 2)}{tripped}", f"at most {_share(bound)}"


def _minimum(value: Any, bound: Any) -> Words:
    if "maximum" not in value:
        return f"{usdc(value['copied'])} to copy", "more than nothing"
    copied, most = value["copied"], value["maximum"]
    note = (
        f", clamped up to {usdc(bound)}"
        if copied < bound <= most
        else f", clamped to {usdc(most)}"
        if copied > most
        else ""
    )
    return f"our share {usdc(copied)}{note}", f"at least {usdc(bound)}, at most {usdc(most)}"


def _marketable(value: Any, bound: Any) -> Words:
    return f"target {usdc(value)}", f"at least {usdc(bound)}"


def _proportion(value: Any, bound: Any) -> Words:
    return f"they sold {usdc(value)} of {usdc(bound)}, {percent(value, bound)}", "we sell the same part"


def _position(value: Any, _bound: Any) -> Words:
    return f"we hold {usdc(value)} shares", "more than none"


def _cap(value: Any, bound: Any) -> Words:
    exposure, target, equity = value["exposure"], value["target"], value["equity"]
    shrunk = f" (shrunk from {usdc(value['wanted'])})" if value.get("wanted", target) != target else ""
    after = exposure + target
    ratio = Fraction(bound)
    most = equity * ratio.numerator // ratio.denominator
    found = f"{usdc(exposure, 2)} + {usdc(target)}{shrunk} = {percent(after, equity)} of {usdc(equity, 2)}"
    return found, f"at most {_share(bound)} = {usdc(most, 2)}"


def _global(_value: Any, _bound: Any) -> Words:
    return "together", "no cap exceeded"


def _cash(value: Any, bound: Any) -> Words:
    needed = value["target"] + value["fee_at_limit"]
    return f"{usdc(value['target'])} + fee {usdc(value['fee_at_limit'])} = {usdc(needed)}", f"cash {usdc(bound)}"


def _caps(_value: Any, _bound: Any) -> Words:
    return "a reduction", "caps bind opens only"


def _available(value: Any, _bound: Any) -> Words:
    return (f"version {value}" if value else "none could be had"), "must be there"


def _spread(value: Any, bound: Any) -> Words:
    return ("one side is empty" if value is None else usdc(value)), f"at most {usdc(bound)}"


def _price(value: Any, bound: Any) -> Words:
    return ("no price" if value is None else f"best {usdc(value)}"), ("none" if bound is None else usdc(bound))


def _depth(value: Any, bound: Any) -> Words:
    ratio, target = Fraction(bound), value["target"]
    needed = -(-target * ratio.numerator // ratio.denominator)
    times = usdc(int(ratio * 1_000_000))
    found = f"{usdc(value['band'])} within the limit" if value["band"] else "nothing within the limit: see liquidity"
    return found, f"at least {times} x {usdc(target)} = {usdc(needed)}"


def _liquidity(value: Any, bound: Any) -> Words:
    return f"{value:,} lots ({usdc(value * LOT_SHARE_MICROS)} shares) left", f"at least {bound} lot"


def _filled(value: Any, bound: Any) -> Words:
    if not isinstance(value, Mapping):
        return "not a single lot fitted", "at least 1 lot"
    return f"{usdc(value['filled'])}{', partial' if value['partial'] else ''}", f"target {usdc(bound)}"


_CHECKS: Final[Mapping[str, tuple[str, Callable[[Any, Any], Words]]]] = {
    "control.engine": ("engine", _engine),
    "control.user": ("user", _user),
    "control.event": ("kind of event", _event),
    "market.known": ("market", _known),
    "market.open": ("market state", _open),
    "market.time_to_close": ("time to close", _time_to_close),
    "market.blacklist": ("blacklist", _blacklist),
    "market.age": ("age of their trade", _age),
    "breakers.daily_loss": ("daily loss", _loss),
    "breakers.weekly_loss": ("weekly loss", _loss),
    "breakers.drawdown": ("drawdown", _drawdown),
    "size.minimum": ("size", _minimum),
    "size.marketable": ("marketable minimum", _marketable),
    "size.proportion": ("proportion", _proportion),
    "size.position": ("position", _position),
    "risk.caps": ("exposure caps", _caps),
    "risk.total": ("total exposure", _cap),
    "risk.market": ("exposure in market", _cap),
    "risk.user": ("exposure to user", _cap),
    "risk.global": ("global caps", _global),
    "risk.cash": ("cash", _cash),
    "book.available": ("book", _available),
    "book.spread": ("spread", _spread),
    "book.their_price": ("against their price", _price),
    "book.mid": ("against mid", _price),
    "book.depth": ("depth", _depth),
    "book.liquidity": ("liquidity", _liquidity),
    "book.filled": ("walk", _filled),
}
"""Title and words of each check, by `phase.check`."""
_PRICES: Final = frozenset({"book.their_price", "book.mid"})
