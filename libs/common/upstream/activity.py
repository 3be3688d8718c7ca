"""One row of `/v2/activity`, from wire to micros.

The API gives no id, no log and no fee: cash is `usdc_size` exactly, gross is size * price to the nearest micro, and
their distance is the fee once it is more than the row's own rounding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final, TypeVar

from libs.common.domain.money import FEE_QUANTUM_MICROS, MICROS, within_tolerance
from libs.common.upstream.fields import (
    TOKEN_DIGITS_MAX,
    FieldError,
    an_object,
    clean,
    read_amount,
    read_flag,
    read_hash,
    read_hex_id,
    read_price,
    read_seconds,
    read_token,
)

WHAT: Final = "activity row"
COMBO_CONDITION_DIGITS: Final = 62
TYPE_LENGTH_MAX: Final = 40
SIDE_LENGTH_MAX: Final = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """What the API says a wallet did. Amounts are micros; `cash` includes the fee, `gross` is size * price.

    `odd` names what is unusual about the row, None for an ordinary one; `wire` is the row as it came.
    """

    wallet: str
    type: str
    tx_hash: str
    timestamp: int
    condition_id: str
    asset_id: str
    side: str
    share_micros: int
    cash_micros: int
    gross_micros: int
    price_micros: int
    is_combo: bool
    odd: str | None
    wire: Mapping[str, Any]

    @property
    def fee_micros(self) -> int:
        """The fee within the cash, to the nearest 10 micros; 0 below the tolerance."""
        return fee_within(self.cash_micros, self.gross_micros, self.share_micros)


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that could not be placed at all; `reason` says why."""

    wire: Any
    reason: str


def fee_within(cash_micros: int, gross_micros: int, share_micros: int) -> int:
    """Return the fee that explains the distance of cash and gross, to the nearest 10 micros."""
    if within_tolerance(cash_micros, gross_micros, share_micros):
        return 0
    quanta = Decimal(abs(cash_micros - gross_micros)) / FEE_QUANTUM_MICROS
    return int(quanta.to_integral_value(rounding=ROUND_HALF_EVEN)) * FEE_QUANTUM_MICROS


def decode_activity_row(wire: object, wallet: str) -> ActivityRow | UnreadableRow:
    """Return the row of `wallet`; UnreadableRow where transaction, time or wallet cannot be told.

    What else is amiss makes the row `odd`: it is kept, with 0 or nothing in the place of what was no value.
    """
    try:
        row = an_object(wire, WHAT)
        tx_hash = read_hash(row.get("transaction_hash"), "transaction_hash", WHAT)
        timestamp = read_seconds(row.get("timestamp"), "timestamp", WHAT)
        whose = row.get("proxy_wallet")
        if not isinstance(whose, str) or whose.lower() != wallet:
            raise FieldError(WHAT, "proxy_wallet", wallet, whose)
    except ValueError as error:
        return UnreadableRow(wire, str(error))
    odd = _Oddities()
    type_, side = clean(row.get("type"), TYPE_LENGTH_MAX), clean(row.get("side"), SIDE_LENGTH_MAX)
    is_trade = type_ == "TRADE"
    condition_id = "" if _absent(row, "condition_id") else odd.read(read_hex_id, row, "condition_id", "")
    is_combo = odd.read(read_flag, row, "is_combo", False) or len(condition_id) == COMBO_CONDITION_DIGITS + 2
    shares = 0 if _absent(row, "size") and not is_trade else odd.read(read_amount, row, "size", 0)
    cash = 0 if _absent(row, "usdc_size") and not is_trade else odd.read(read_amount, row, "usdc_size", 0)
    price = (odd if is_trade else _Oddities()).read(read_price, row, "price", Decimal(0))
    asset_id = clean(row.get("token_id"), TOKEN_DIGITS_MAX)
    gross = int((Decimal(shares) * price).to_integral_value(rounding=ROUND_HALF_EVEN))
    if is_trade and odd.first is None:
        odd.first = _odd_trade(row, side, shares, cash, gross)
    return ActivityRow(
        wallet=wallet,
        type=type_,
        tx_hash=tx_hash,
        timestamp=timestamp,
        condition_id=condition_id,
        asset_id=asset_id,
        side=side,
        share_micros=shares,
        cash_micros=cash,
        gross_micros=gross,
        price_micros=int((price * MICROS).to_integral_value(rounding=ROUND_HALF_EVEN)),
        is_combo=is_combo,
        odd=odd.first,
        wire=row,
    )


class _Oddities:
    """Reads fields one by one and remembers the first that could not be read."""

    __slots__ = ("first",)

    def __init__(self) -> None:
        self.first: str | None = None

    def read(self, read: Callable[[Any, str, str], T], row: Mapping[str, Any], field: str, default: T) -> T:
        try:
            return read(row.get(field), field, WHAT)
        except ValueError as error:
            self.first = self.first or str(error)
            return default


def _absent(row: Mapping[str, Any], field: str) -> bool:
    return row.get(field) in (None, "")


def _odd_trade(row: Mapping[str, Any], side: str, shares: int, cash: int, gross: int) -> str | None:
    try:
        read_token(row.get("token_id"), "token_id", WHAT)
        if side not in ("BUY", "SELL"):
            raise FieldError(WHAT, "side", "BUY or SELL", row.get("side"))
        if shares <= 0:
            raise FieldError(WHAT, "size", "more than 0", row.get("size"))
        # A fee is a few cents a share: cash this far from size * price is another unit, or another meaning.
        if abs(cash - gross) > shares or (side == "BUY" and cash < fee_within(cash, gross, shares)):
            raise FieldError(WHAT, "usdc_size", f"about size * price, {Decimal(gross) / MICROS}", row.get("usdc_size"))
    except ValueError as error:
        return str(error)
    return None
