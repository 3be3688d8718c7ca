"""Money, percent, prices and ages as people read them (UI.md section 7): sign before $, U+2212, tabular digits."""

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from services.ui.parts.html import esc

MINUS: Final = "\u2212"
DASH: Final = '<span class="sb-mut">\u2013</span>'
CENTS_BELOW_MICROS: Final = 10_000_000_000
"""From $10,000 on, cents are shown only in tables and hints."""
_CENT: Final = Decimal("0.01")


def _decimal(micros: int) -> Decimal:
    return (Decimal(micros) / 1_000_000).quantize(_CENT, ROUND_HALF_EVEN)


def usd(micros: int, *, sign: bool = False, short: bool = False) -> str:
    """Return an amount with two decimals; `sign` shows the plus, `short` drops cents from $10,000 on."""
    amount = _decimal(micros)
    digits = 0 if short and abs(micros) >= CENTS_BELOW_MICROS else 2
    mark = MINUS if amount < 0 else "+" if sign and amount > 0 else ""
    return f"{mark}${abs(amount):,.{digits}f}"


def tone(micros: int) -> str:
    """Return the colour class of a result: gain, loss, or none for what rounds to zero."""
    amount = _decimal(micros)
    return "sb-pos" if amount > 0 else "sb-neg" if amount < 0 else ""


def pnl(micros: int) -> str:
    """Return a result as markup, coloured by its sign."""
    return f'<span class="sb-num {tone(micros)}">{usd(micros, sign=True)}</span>'


def percent(part: Decimal | int, whole: Decimal | int, *, digits: int = 1, sign: bool = False) -> str:
    """Return part / whole in per cent, a dash where whole is not positive."""
    if whole <= 0:
        return "\u2013"
    value = (Decimal(part) * 100 / Decimal(whole)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN)
    mark = MINUS if value < 0 else "+" if sign and value > 0 else ""
    return f"{mark}{abs(value):,.{digits}f}%"


def plain_percent(value: Decimal) -> str:
    """Return a configured percentage without needless zeros."""
    text = f"{value:f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}%"


def cents(price_micros: int) -> str:
    """Return a price in cents with one decimal."""
    return f"{Decimal(price_micros) / 10_000:.1f}\u00a2"


def duration(value: float) -> str:
    """Return a duration in its largest unit."""
    whole = max(0, int(value))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def ago(at: datetime, now: datetime, suffix: str = " ago") -> str:
    """Return an age that goes on ticking in the browser."""
    text = duration((now - at).total_seconds())
    return f'<time data-ago="{int(at.timestamp() * 1000)}" data-suffix="{esc(suffix)}">{text}{esc(suffix)}</time>'


def clock(at: datetime) -> str:
    """Return a moment that the browser shows in its own time zone; without scripts it is UTC and says so."""
    return f'<time data-at="{int(at.timestamp() * 1000)}">{at:%H:%M} UTC</time>'


def day(at: datetime) -> str:
    """Return a date."""
    return f"{at.day} {at:%B}"
