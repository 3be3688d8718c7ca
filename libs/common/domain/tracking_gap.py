"""Why a copy is behind the wallet it follows: the tracking gap, split exactly by cause (SPEC section 6).

gap = our PnL - c * their PnL, with c the copy share. Every posting is a signed quantity q of an asset at price p, and a
portfolio's PnL is the sum of q * (m - p) minus fees, m being the asset's mark or payout. So for what they did in one
group (S at P, fee F) and what we did about it (s at v, fee f; d is the midpoint at our decision), all signed:

    size              (s - c * S) * (m - P)     booked to what made s differ from c * S
    drift             s * (P - d)               the price moved until we decided
    spread and depth  s * (d - v)               crossing the book, and walking down it
    fees              c * F - f
    openings          -c * (PnL of what they held before the follow)

Size goes down a ladder of shares, each step booked to its cause: c * S -> at the copy share then in force -> after
minimum and maximum -> after the position's or a cap's limit -> filled. A skip is one step, booked to its first reason.
All arithmetic is in fractions; `Gap.residual` is what whole micros and assets that were never marked leave over.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from libs.common.domain.money import MICROS

COPY_SHARE: Final = "COPY_PCT_CHANGED"
"""Decided under another copy share than the one the gap is measured at."""
CLAMP: Final = "CLAMP"
"""Raised to the smallest trade, or cut to the largest."""
POSITION_CAP: Final = "POSITION_CAP"
"""A reduction went only as far as what we held, or an open only as far as a cap or the cash left room."""
PARTIAL_OR_LOTS: Final = "PARTIAL_OR_LOTS"
"""The book ended first, whole lots were less, or the same money bought another number of shares at our price."""
UNDECIDED: Final = "UNDECIDED"
"""They did it, and no decision on it is booked yet."""
MINED_AGAIN: Final = "MINED_AGAIN"
"""A fill that a reorganisation moved to another block: booked again in shadow, never copied twice."""
REVERSED: Final = "REVERSED"
"""We copied what a reorganisation took back."""
CONVERSION: Final = "CONVERSION"
"""Their shares changed by a conversion, which is not copied."""

HALF: Final = Fraction(1, 2)
ZERO: Final = Fraction(0)


@dataclass(frozen=True, slots=True)
class Side:
    """What one side did in one asset. Shares are signed; `amount_micros` = shares * price, signed like the shares."""

    share_micros: int = 0
    amount_micros: int = 0
    fee_micros: int = 0


@dataclass(frozen=True, slots=True)
class Sizing:
    """What a decision made of their notional, in micros, unsigned; None where it knew no such step.

    `copy_share` was in force then; `clamped_micros` is their notional at it after minimum and maximum, `target_micros`
    what was finally wanted. A leg of a SPLIT or MERGE counts half of each.
    """

    copy_share: Fraction
    clamped_micros: Fraction | int | None = None
    target_micros: Fraction | int | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """Their postings and ours in one asset, of one group or of one cause.

    `cause` books the whole difference in size: a skip's first reason, or why there is no decision; None: executed, and
    `sizing` says where shares were lost. `mid_micros` is the midpoint at the decision, None where nothing was quoted.
    """

    theirs: Side
    ours: Side
    mark_micros: Fraction | int | None
    mid_micros: int | None = None
    cause: str | None = None
    sizing: Sizing | None = None
    is_opening: bool = False


@dataclass(slots=True)
class Parts:
    """Parts of a gap in micros, exact; `size` by cause."""

    size: defaultdict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    drift: Fraction = ZERO
    spread_and_depth: Fraction = ZERO
    fees: Fraction = ZERO
    openings: Fraction = ZERO

    @property
    def total(self) -> Fraction:
        """Return their sum."""
        return sum(self.size.values(), ZERO) + self.drift + self.spread_and_depth + self.fees + self.openings

    def minus(self, earlier: "Parts") -> "Parts":
        """Return what was added since `earlier`."""
        found = Parts(
            drift=self.drift - earlier.drift,
            spread_and_depth=self.spread_and_depth - earlier.spread_and_depth,
            fees=self.fees - earlier.fees,
            openings=self.openings - earlier.openings,
        )
        for cause in self.size.keys() | earlier.size.keys():
            found.size[cause] = self.size.get(cause, ZERO) - earlier.size.get(cause, ZERO)
        return found


@dataclass(frozen=True, slots=True)
class Gap:
    """A tracking gap in whole micros: `ours` - `theirs` = the sum of all parts, `residual` included."""

    ours_micros: int
    theirs_micros: int
    size_micros: Mapping[str, int]
    drift_micros: int
    spread_and_depth_micros: int
    fees_micros: int
    openings_micros: int
    residual_micros: int

    @property
    def gap_micros(self) -> int:
        """Return by how much we are ahead of their PnL at our copy share; negative: behind."""
        return self.ours_micros - self.theirs_micros


def split(rows: Iterable[Compared], copy_share: Fraction) -> Parts:
    """Return the parts of the gap that `rows` explain."""
    parts = Parts()
    for row in rows:
        add(parts, row, copy_share)
    return parts


def add(parts: Parts, row: Compared, copy_share: Fraction) -> None:
    """Add what one row explains."""
    theirs, ours = row.theirs, row.ours
    parts.fees += copy_share * theirs.fee_micros - ours.fee_micros
    their_price = _price(theirs) if theirs.share_micros else _first(_unit(row.mid_micros), _price(ours))
    mark = _first(_unit(row.mark_micros), their_price)
    if row.is_opening:
        parts.openings -= copy_share * (theirs.share_micros * mark - theirs.amount_micros)
        return
    mid = _first(_unit(row.mid_micros), their_price)
    step = mark - their_price
    wanted = copy_share * theirs.share_micros
    for cause, shares in _ladder(row, their_price):
        parts.size[cause] += (shares - wanted) * step
        wanted = shares
    # What a row without shares of theirs moved in cash alone has no price.
    if not theirs.share_micros:
        parts.size[row.cause or REVERSED] += copy_share * theirs.amount_micros
    parts.drift += ours.share_micros * (their_price - mid)
    parts.spread_and_depth += ours.share_micros * mid - ours.amount_micros


def _ladder(row: Compared, their_price: Fraction) -> Iterable[tuple[str, Fraction]]:
    """Yield the steps from their shares at our copy share to what we filled, as (cause, shares after it)."""
    filled = Fraction(row.ours.share_micros)
    if not row.theirs.share_micros:
        yield row.cause or REVERSED, filled
        return
    if row.sizing is not None:
        now = row.sizing.copy_share * row.theirs.share_micros
        yield COPY_SHARE, now
        if row.cause is None and their_price:
            sign = 1 if row.theirs.share_micros >= 0 else -1
            if row.sizing.clamped_micros is not None:
                now = sign * row.sizing.clamped_micros / their_price
                yield CLAMP, now
            if row.sizing.target_micros is not None:
                now = sign * row.sizing.target_micros / their_price
                yield POSITION_CAP, now
    yield row.cause or PARTIAL_OR_LOTS, filled


def rounded(parts: Parts, ours_micros: Fraction | int, theirs_micros: Fraction | int) -> Gap:
    """Return `parts` in whole micros beside both results; the rest is the residual."""
    size = {cause: round(value) for cause, value in sorted(parts.size.items()) if round(value)}
    ours, theirs = round(ours_micros), round(theirs_micros)
    drift, spread_and_depth = round(parts.drift), round(parts.spread_and_depth)
    fees, openings = round(parts.fees), round(parts.openings)
    residual = ours - theirs - sum(size.values()) - drift - spread_and_depth - fees - openings
    return Gap(ours, theirs, size, drift, spread_and_depth, fees, openings, residual)


def _price(side: Side) -> Fraction:
    return Fraction(side.amount_micros, side.share_micros) if side.share_micros else ZERO


def _unit(price_micros: Fraction | int | None) -> Fraction | None:
    return None if price_micros is None else Fraction(price_micros, MICROS)


def _first(one: Fraction | None, other: Fraction) -> Fraction:
    return other if one is None else one
