"""What a decision is: verdict, reasons, every check with its numbers, and the fills."""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from libs.common.domain.kinds import Decision
from libs.common.domain.reasons import Reason

Check = tuple[str, bool | None, Any, Any, Reason | None]
"""(phase.name, verdict, value, bound, reason when failed); verdict None: did not apply, value says why."""

_VERDICTS: Final = {True: "pass", False: "fail", None: "n/a"}


class LevelFill(NamedTuple):
    """What our order takes from one book level; levels count from the best, those not taken from are left out."""

    level: int
    price_micros: int
    share_micros: int
    notional_micros: int
    fee_micros: int = 0


@dataclass(slots=True)
class Outcome:
    """A decision with the values it was made on; None where a value does not exist for this kind of group."""

    decision: Decision
    reasons: tuple[Reason, ...] = ()
    checks: list[Check] = field(default_factory=list)
    fills: tuple[LevelFill, ...] = ()
    target_notional_micros: int | None = None
    filled_share_micros: int = 0
    filled_notional_micros: int = 0
    vwap_price_micros: int | None = None
    fee_micros: int = 0
    partial: bool = False
    best_bid_micros: int | None = None
    best_ask_micros: int | None = None
    mid_price_micros: int | None = None
    limit_price_micros: int | None = None
    depth_micros: int | None = None
    counterfactual_share_micros: int | None = None
    counterfactual_notional_micros: int | None = None
    drawdown_tripped: bool = False


def check_document(check: Check) -> dict[str, Any]:
    """Return a check as it is stored and shown."""
    name, verdict, value, bound, reason = check
    phase, _, short = name.partition(".")
    found: dict[str, Any] = {
        "phase": phase,
        "check": short,
        "verdict": _VERDICTS[verdict],
        "value": value,
        "bound": bound,
    }
    if reason is not None:
        found["reason"] = reason.value
    return found
