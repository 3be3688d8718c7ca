"""The taker fee of one order at its average price, and its share per level (SPEC section 5)."""

from decimal import Context, Decimal
from typing import Final

from libs.common.domain.money import FEE_QUANTUM_MICROS, MICROS

_APPROXIMATE: Final = Context(prec=40)


def order_fee(rate: Decimal, exponent: Decimal, notional_micros: int, share_micros: int) -> int:
    """Return the fee of an order of n = `notional_micros` for s = `share_micros`, floored to 10 micros.

    rate * n * (s - n) / s; for an exponent e other than 1: rate * s * (p * (1 - p)) ** e at p = n / s.
    """
    if not rate or share_micros <= 0 or not 0 < notional_micros < share_micros:
        return 0
    numerator, denominator = rate.as_integer_ratio()
    n, s = notional_micros, share_micros
    if exponent == 1:
        return numerator * n * (s - n) // (denominator * s) // FEE_QUANTUM_MICROS * FEE_QUANTUM_MICROS
    return _powered(numerator * s, denominator, n * (s - n), s * s, exponent)


def _powered(numerator: int, denominator: int, base: int, base_of: int, exponent: Decimal) -> int:
    """Return numerator / denominator * (base / base_of) ** exponent, floored to 10 micros, exactly.

    With e = a / b, k quanta are not too many exactly when (10 k * denominator) ** b * base_of ** a
    <= numerator ** b * base ** a; a decimal estimate is corrected by that test.
    """
    a, b = exponent.as_integer_ratio()
    power = _APPROXIMATE.power(_APPROXIMATE.divide(Decimal(base), Decimal(base_of)), exponent)
    estimate = _APPROXIMATE.divide(_APPROXIMATE.multiply(Decimal(numerator), power), Decimal(denominator))
    quanta = max(0, int(estimate) // FEE_QUANTUM_MICROS)
    most = numerator**b * base**a

    def fits(count: int) -> bool:
        return bool((FEE_QUANTUM_MICROS * count * denominator) ** b * base_of**a <= most)

    while quanta and not fits(quanta):
        quanta -= 1
    while fits(quanta + 1):
        quanta += 1
    return quanta * FEE_QUANTUM_MICROS


def fee_at_price(rate: Decimal, exponent: Decimal, notional_micros: int, price_micros: int) -> int:
    """Return the fee of an order of `notional_micros` filled at one price; 0 at prices outside 0 to 1."""
    if not rate or not 0 < price_micros < MICROS or notional_micros <= 0:
        return 0
    numerator, denominator = rate.as_integer_ratio()
    if exponent == 1:  # s = n / p, so n * (s - n) / s = n * (1 - p)
        left = MICROS - price_micros
        return numerator * notional_micros * left // (denominator * MICROS) // FEE_QUANTUM_MICROS * FEE_QUANTUM_MICROS
    return _powered(
        numerator * notional_micros * MICROS,
        denominator * price_micros,
        price_micros * (MICROS - price_micros),
        MICROS * MICROS,
        exponent,
    )


def share_fee(fee_micros: int, notionals: list[int]) -> list[int]:
    """Return the fee of each level: by notional, rounded down, the rest to the last."""
    total = sum(notionals)
    if not fee_micros or not total:
        return [0] * len(notionals)
    parts = [fee_micros * each // total for each in notionals]
    parts[-1] += fee_micros - sum(parts)
    return parts
