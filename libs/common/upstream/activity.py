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
    type_, side = row.get("type"), row.get("side")
    odd = None
    if type_ == "TRADE" and side in ("BUY", "SELL"):
        try:
            values = _read_trade(row)
        except ValueError:
            values, odd = _read_patiently(row, is_trade=True)
    else:
        values, odd = _read_patiently(row, is_trade=type_ == "TRADE")
        type_, side = clean(type_, TYPE_LENGTH_MAX), clean(side, SIDE_LENGTH_MAX)
    condition_id, is_combo, asset_id, shares, cash, price = values
    gross = int((shares * price).to_integral_value(rounding=ROUND_HALF_EVEN))
    if type_ == "TRADE" and odd is None and _is_far(side, cash, gross, shares):
        about = f"about size * price, {Decimal(gross) / MICROS}"
        odd = str(FieldError(WHAT, "usdc_size", about, row.get("usdc_size")))
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
        odd=odd,
        wire=row,
    )


def _is_far(side: str, cash_micros: int, gross_micros: int, share_micros: int) -> bool:
    """Tell whether cash and size * price have different units or meanings: a fee is a few cents a share.

    So it never is as much as was traded, and without it no share costs more than 1.
    """
    fee = fee_within(cash_micros, gross_micros, share_micros)
    notional = cash_micros - fee if side == "BUY" else cash_micros + fee
    if fee > share_micros or notional > share_micros + FEE_QUANTUM_MICROS:
        return True
    return fee > 0 and fee >= min(cash_micros, gross_micros)


_Values = tuple[str, bool, str, int, int, Decimal]
"""Condition, combo or not, token, shares and cash in micros, price."""


def _read_trade(row: Mapping[str, Any]) -> _Values:
    """Return the values of an ordinary fill; raises FieldError where it is none."""
    condition_id = read_hex_id(row.get("condition_id"), "condition_id", WHAT)
    is_combo = read_flag(row.get("is_combo"), "is_combo", WHAT) or len(condition_id) == COMBO_CONDITION_DIGITS + 2
    shares = read_amount(row.get("size"), "size", WHAT)
    if not shares:
        raise FieldError(WHAT, "size", "more than 0", row.get("size"))
    return (
        condition_id,
        is_combo,
        read_token(row.get("token_id"), "token_id", WHAT),
        shares,
        read_amount(row.get("usdc_size"), "usdc_size", WHAT),
        read_price(row.get("price"), "price", WHAT),
    )


def _read_patiently(row: Mapping[str, Any], *, is_trade: bool) -> tuple[_Values, str | None]:
    """Return what can be read of a row, and what is odd about it: first of all what makes a trade none."""
    odd: list[str] = []

    def read(reader: Callable[[Any, str, str], T], field: str, default: T, notes: list[str] = odd) -> T:
        try:
            return reader(row.get(field), field, WHAT)
        except ValueError as error:
            notes.append(str(error))
            return default

    def absent(field: str) -> bool:
        return row.get(field) in (None, "")

    if is_trade and row.get("side") not in ("BUY", "SELL"):
        odd.append(str(FieldError(WHAT, "side", "BUY or SELL", row.get("side"))))
    condition_id = "" if absent("condition_id") else read(read_hex_id, "condition_id", "")
    is_combo = read(read_flag, "is_combo", default=False) or len(condition_id) == COMBO_CONDITION_DIGITS + 2
    shares = 0 if absent("size") and not is_trade else read(read_amount, "size", 0)
    cash = 0 if absent("usdc_size") and not is_trade else read(read_amount, "usdc_size", 0)
    price = read(read_price, "price", Decimal(0), odd if is_trade else [])
    if is_trade:
        read(read_token, "token_id", "")
        if not shares:
            odd.append(str(FieldError(WHAT, "size", "more than 0", row.get("size"))))
    values = (condition_id, is_combo, clean(row.get("token_id"), TOKEN_DIGITS_MAX), shares, cash, price)
    return values, odd[0] if odd else None
