"""What is known of a market, as far as decisions and the ledger need it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from libs.common.domain.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Outcome:
    """One token of a market; `index` pairs it with `payouts`."""

    asset_id: str
    index: int
    name: str


OUTCOMES_MIN: Final = 2
"""A market with fewer is not told yet: nothing can be split or merged in it."""


@dataclass(frozen=True, slots=True)
class MarketFacts:
    """A market as Gamma describes it. `fee_rate` is the taker rate, 0 where fees are off."""

    id: str
    condition_id: str
    question: str
    slug: str
    outcomes: tuple[Outcome, ...]
    close_time: datetime | None
    active: bool
    closed: bool
    accepting_orders: bool
    neg_risk: bool
    fee_rate: Decimal
    fee_exponent: Decimal
    tick_micros: int
    version: str
    resolved: bool


@dataclass(frozen=True, slots=True)
class Resolution:
    """Final payouts of a condition, in micros per share by outcome index."""

    condition_id: str
    payouts_micros: tuple[int, ...]
    resolved_at: datetime | None
    source: str


class PartlyReadError(Unavailable):
    """Some markets could not be read; `found` are the others."""

    def __init__(self, error: Unavailable, found: Sequence[MarketFacts]) -> None:
        super().__init__(str(error))
        self.found = found
