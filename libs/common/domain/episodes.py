"""Episodes of a position, from flat to flat, and the win rate: part of `statistics`, apart because it is folded.

An episode begins when a position leaves zero and ends when it is zero again; crossing zero ends one and begins another.
Its result is the realised PnL of its entries - their fees. From flat to flat all cost is removed again, so the result
is also the sum of its cash (of a SPLIT or MERGE: the leg's half). It is won if the result is above 0.

    win rate = episodes won / episodes closed, over all assets and all time; not defined before one was closed

A SETTLEMENT begins no episode. What came late may leave a position flat before its settlement, or short after it: the
episode closed last is resumed until the next settlement closes it again.

A fee comes after the entry it was paid for, so one that finds the position flat belongs to the episode just closed, and
so does cash without shares; before anything was held they belong to none.
The ledger keeps an `Episodes` with every position and folds it with each entry: nobody counts them over again.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final


@dataclass(frozen=True, slots=True)
class Episodes:
    """Episodes of one position so far. `result_micros`: of the open one, or while flat of the one closed last."""

    closed: int = 0
    won: int = 0
    result_micros: int = 0

    def moved(
        self, before_micros: int, after_micros: int, realised_micros: int, *, resumes: bool = False
    ) -> "Episodes":
        """Return the record after an entry took the shares from `before` to `after` without crossing zero.

        One that `resumes` leaves zero in the episode closed last; `closed` is -1 then where none ever was.
        """
        if before_micros == after_micros == 0:
            return self.charged(0, -realised_micros)
        if before_micros == 0 and resumes:
            won = self.won - (self.result_micros > 0)
            return Episodes(self.closed - 1, won, self.result_micros + realised_micros)
        result = realised_micros if before_micros == 0 else self.result_micros + realised_micros
        if after_micros != 0:
            return Episodes(self.closed, self.won, result)
        return Episodes(self.closed + 1, self.won + (result > 0), result)

    def charged(self, held_micros: int, fee_micros: int) -> "Episodes":
        """Return the record after a fee was paid while `held_micros` shares were held."""
        if held_micros == 0 and not self.closed:
            return self
        result, won = self.result_micros - fee_micros, self.won
        if held_micros == 0:
            won += (result > 0) - (self.result_micros > 0)
        return Episodes(self.closed, won, result)


NO_EPISODES: Final = Episodes()


def win_rate(won: int, closed: int) -> Fraction | None:
    """Return episodes won / episodes closed; None before one was closed."""
    return Fraction(won, closed) if closed > 0 else None
