"""Integer micros: 1 USDC, a price of 1.00 and 1 share are each 1_000_000.

Wire numbers arrive as text or Decimal and become integers here; no float is accepted. Rounding is said by the name of
the function that does it.
"""

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Final, NewType

Micros = NewType("Micros", int)

MICROS: Final = 1_000_000
LOT_SHARE_MICROS: Final = 10_000
"""The exchange trades whole lots of 0.01 share."""
FEE_QUANTUM_MICROS: Final = 10
"""The exchange floors fees to 0.00001 USDC."""
TOLERANCE_MICROS: Final = 10
TOLERANCE_SHARES: Final = 10**10
"""Two reports of one fill's cash may differ by TOLERANCE_MICROS + shares / TOLERANCE_SHARES: the API rounds."""
WIRE_AMOUNT_MAX: Final = 10**9
"""Largest amount believed of one fill or row, in whole units; anything above is garbage.

Real ones stay far below a hundredth of it, and nine thousand of this size still add up within 64 bits.
"""


def micros_from_wire(value: object, *, what: str, most: int = WIRE_AMOUNT_MAX) -> int:
    """Return `value` (Decimal, int or decimal text, whole units) in micros, to the nearest micro.

    Raises ValueError, naming `what`, for floats, NaN, infinities, negatives, what is no number and more than `most`.
    """
    if isinstance(value, bool) or not isinstance(value, (Decimal, int, str)):
        raise ValueError(f"{what}: expected a decimal number, got {type(value).__name__}")  # noqa: TRY004  one error type at the edge
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{what}: expected a decimal number, got {value!r:.40}") from None
    if not number.is_finite() or number < 0 or number > most:
        raise ValueError(f"{what}: expected a number from 0 to {most:,}, got {value!s:.40}")
    return int((number * MICROS).to_integral_value(rounding=ROUND_HALF_EVEN))


def notional_floor(price_micros: int, share_micros: int) -> int:
    """Return price * shares in USDC micros, rounded down."""
    return price_micros * share_micros // MICROS


def price_floor(notional_micros: int, share_micros: int) -> int:
    """Return the average price in micros per share, rounded down; shares must be positive."""
    return notional_micros * MICROS // share_micros


def price_ceil(notional_micros: int, share_micros: int) -> int:
    """Return the average price in micros per share, rounded up; shares must be positive."""
    return -(-notional_micros * MICROS // share_micros)


def within_tolerance(one_micros: int, other_micros: int, share_micros: int) -> bool:
    """Tell whether two reports of one amount agree within 10 micros + size * 1e-10, inclusive."""
    return (abs(one_micros - other_micros) - TOLERANCE_MICROS) * TOLERANCE_SHARES <= share_micros
