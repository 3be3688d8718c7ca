"""What a portfolio is worth: the one definition of exposure, equity and PnL (SPEC sections 5 to 7).

- value of a position = floor(shares * mark); never marked: its own cost. A short's value is negative, and floor makes
  it no smaller a debt than it is: rounding is against us on both sides.
- exposure = sum of values over open positions; both outcomes of a condition add
- equity = cash + exposure
- unrealised PnL = exposure - cost of open positions
- realised PnL of a portfolio = realised of all its positions - fees paid; a position's own excludes fees
- PnL = equity - (deposits + openings) + withdrawals = realised + unrealised

The store computes the same in SQL for every posting; `verify` and the tests hold it against this module.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from libs.common.domain.money import notional_floor


@dataclass(frozen=True, slots=True)
class Valued:
    """An open position and its latest mark, None where it was never marked."""

    share_micros: int
    cost_micros: int
    mark_micros: int | None

    @property
    def value_micros(self) -> int:
        """Return shares * mark, rounded down, or the cost."""
        return self.cost_micros if self.mark_micros is None else notional_floor(self.mark_micros, self.share_micros)


@dataclass(frozen=True, slots=True)
class Valuation:
    """Worth of a portfolio at its positions' latest marks."""

    cash_micros: int
    exposure_micros: int
    cost_micros: int

    @property
    def equity_micros(self) -> int:
        """Return cash plus positions."""
        return self.cash_micros + self.exposure_micros

    @property
    def unrealized_pnl_micros(self) -> int:
        """Return what closing every position at its mark would realise."""
        return self.exposure_micros - self.cost_micros


def value(cash_micros: int, positions: Iterable[Valued]) -> Valuation:
    """Value a portfolio."""
    exposure = cost = 0
    for position in positions:
        if position.share_micros:
            exposure += position.value_micros
            cost += position.cost_micros
    return Valuation(cash_micros, exposure, cost)


def pnl_micros(equity_micros: int, deposits_micros: int, withdrawals_micros: int) -> int:
    """Return the profit or loss since the start; `deposits_micros` includes openings."""
    return equity_micros - deposits_micros + withdrawals_micros
