"""Amounts as a person reads them, made from integer micros; exact unless a number of places is asked for."""

from decimal import Decimal
from fractions import Fraction
from typing import Final

from libs.common.domain.money import MICROS

_DIGITS: Final = 6
_PLACES_MIN: Final = 2


def usdc(micros: int, places: int | None = None) -> str:
    """Return an amount, a price or a number of shares: `1,234.50`, `0.503781`; at least two decimals."""
    if places is not None:
        scale = 10 ** (_DIGITS - places)
        micros = (abs(micros) + scale // 2) // scale * scale * (-1 if micros < 0 else 1)
    whole, part = divmod(abs(micros), MICROS)
    decimals = f"{part:0{_DIGITS}d}".rstrip("0").ljust(_PLACES_MIN, "0")
    return f"{'-' if micros < 0 else ''}{whole:,}.{decimals}"


def signed_usdc(micros: int, places: int | None = None) -> str:
    """Return an amount with its sign, none for nothing."""
    text = usdc(micros, places)
    return text if text.startswith("-") or not text.strip("0.,") else f"+{text}"


def fixed_usdc(micros: int, places: int) -> str:
    """Return an amount for a column: exactly `places` decimals, what is beyond cut off."""
    whole, part = divmod(abs(micros), MICROS)
    cut = part // 10 ** (_DIGITS - places)
    return f"{'-' if micros < 0 and (whole or cut) else ''}{whole:,}.{cut:0{places}d}"


def percent(part: int, whole: int, places: int = 2) -> str:
    """Return `part` of `whole` in per cent, towards zero, without trailing zeros: `12.5 %`; `<0.01 %` if too small."""
    if not whole:
        return "-"
    scaled = int(Fraction(part * 100 * 10**places, whole))
    if not scaled and part > 0 < whole:
        return f"<{Decimal(1).scaleb(-places)} %"
    sign, scaled = ("-" if scaled < 0 else ""), abs(scaled)
    whole_part, rest = divmod(scaled, 10**places)
    decimals = f"{rest:0{places}d}".rstrip("0") if places else ""
    return f"{sign}{whole_part:,}{'.' + decimals if decimals else ''} %"


def seconds(value: float) -> str:
    """Return a duration: `750 ms`, `3.2 s`, `29 min 59 s`, `2 h 5 min`, `3 d 4 h`."""
    if value < 0:
        return f"-{seconds(-value)}"
    if value < 1:
        return f"{round(value * 1000)} ms"
    if value < 60:
        return f"{value:.3f}".rstrip("0").rstrip(".") + " s"
    minutes, rest = divmod(value, 60)
    if minutes < 60:
        return f"{int(minutes)} min" + (f" {rest:.3f}".rstrip("0").rstrip(".") + " s" if rest else "")
    hours, minutes = divmod(int(minutes), 60)
    if hours < 24:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    days, hours = divmod(hours, 24)
    return f"{days:,} d" + (f" {hours} h" if hours else "")
