"""One row of `/v2/activity`, from wire to micros.

The API gives no id, no log and no fee: cash is `usdc_size` exactly, gross is size * price to the nearest micro, and
their distance is the fee once it is more than the row's own rounding.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from libs.common.domain.money import FEE_QUANTUM_MICROS, MICROS, micros_from_wire, within_tolerance

COMBO_CONDITION_DIGITS: Final = 62
MAX_EPOCH_SECOND: Final = 32_503_680_000  # the year 3000

_TX = re.compile(r"0x[0-9a-f]{64}")


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
    """Return the row of `wallet`; UnreadableRow where transaction, time or wallet cannot be told."""
    if not isinstance(wire, Mapping):
        return UnreadableRow(wire, f"expected an object, got {type(wire).__name__}")
    tx_hash = str(wire.get("transaction_hash") or "").lower()
    timestamp = wire.get("timestamp")
    if str(wire.get("proxy_wallet") or "").lower() != wallet:
        return UnreadableRow(wire, f"expected a row of {wallet}, got one of {wire.get('proxy_wallet')!r:.50}")
    if not _TX.fullmatch(tx_hash):
        return UnreadableRow(wire, f"expected a transaction hash, got {tx_hash!r:.80}")
    if type(timestamp) is not int or not 0 < timestamp < MAX_EPOCH_SECOND:
        return UnreadableRow(wire, f"expected epoch seconds, got {timestamp!r:.40}")
    condition_id = str(wire.get("condition_id") or "").lower()[:80]
    combo = wire.get("is_combo") is True or len(condition_id.removeprefix("0x")) == COMBO_CONDITION_DIGITS
    shares, odd_size = _amount(wire, "size")
    cash, odd_cash = _amount(wire, "usdc_size")
    price, odd_price = _price(wire)
    asset_id = str(wire.get("token_id") or "")[:100]
    type_, side = str(wire.get("type") or "")[:40], str(wire.get("side") or "")[:4]
    odd = odd_size or odd_cash
    if odd is None and type_ == "TRADE":
        odd = _odd_trade(asset_id, side, shares, odd_price)
    gross = int((Decimal(shares) * price).to_integral_value(rounding=ROUND_HALF_EVEN))
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
        is_combo=combo,
        odd=odd,
        wire=wire,
    )


def _amount(wire: Mapping[str, Any], name: str) -> tuple[int, str | None]:
    value = wire.get(name)
    if value is None or value == "":
        return 0, None
    try:
        return micros_from_wire(value, what=name), None
    except ValueError as error:
        return 0, str(error)


def _price(wire: Mapping[str, Any]) -> tuple[Decimal, str | None]:
    value = wire.get("price")
    if value is None or isinstance(value, bool) or not isinstance(value, (Decimal, int)):
        return Decimal(0), f"price: expected a number, got {value!r:.40}"
    price = Decimal(value)
    if not price.is_finite() or not 0 <= price <= 1:
        return Decimal(0), f"price: expected 0 to 1, got {value!s:.40}"
    return price, None


def _odd_trade(asset_id: str, side: str, share_micros: int, odd_price: str | None) -> str | None:
    if not asset_id.isdigit():
        return f"token_id: expected a decimal id, got {asset_id!r:.40}"
    if side not in ("BUY", "SELL"):
        return f"side: expected BUY or SELL, got {side!r}"
    if share_micros <= 0:
        return "size: expected more than 0"
    return odd_price
