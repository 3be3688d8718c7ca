"""What a portfolio is worth at its positions' latest marks, by the definitions of `libs.common.domain.statistics`.

The store computes the same in SQL for every posting; `verify` and the tests hold it against this module.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from libs.common.domain.statistics import equity, exposure, position_value, unrealised_pnl


@dataclass(frozen=True, slots=True)
class Valued:
    """An open position and its latest mark, None where it was never marked."""

    share_micros: int
    cost_micros: int
    mark_micros: int | None

    @property
    def value_micros(self) -> int:
        """Return what it is worth."""
        return position_value(self.share_micros, self.cost_micros, self.mark_micros)


@dataclass(frozen=True, slots=True)
class Valuation:
    """Worth of a portfolio at its positions' latest marks."""

    cash_micros: int
    exposure_micros: int
    cost_micros: int

    @property
    def equity_micros(self) -> int:
        """Return cash plus positions."""
        return equity(self.cash_micros, self.exposure_micros)

    @property
    def unrealized_pnl_micros(self) -> int:
        """Return what closing every position at its mark would realise."""
        return unrealised_pnl(self.exposure_micros, self.cost_micros)


def value(cash_micros: int, positions: Iterable[Valued]) -> Valuation:
    """Value a portfolio."""
    held = [position for position in positions if position.share_micros]
    return Valuation(cash_micros, exposure(each.value_micros for each in held), sum(each.cost_micros for each in held))
