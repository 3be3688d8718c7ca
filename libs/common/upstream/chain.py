"""Fills as the chain tells them: the `OrderFilled` log of the V2 and V3 exchanges.

Filtered on the `maker` topic, each fill of a wallet appears exactly once, in both roles: a taker's own order bears the
exchange itself as `taker`. Source: reference sections 6.1 to 6.3.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from libs.common.domain.kinds import Role, Side
from libs.common.domain.money import MICROS, WIRE_AMOUNT_MAX
from libs.common.upstream.fields import (
    BIGINT_MAX,
    EPOCH_SECOND_MAX,
    EPOCH_SECOND_MIN,
    EPOCH_YEARS,
    FieldError,
    an_object,
    read_flag,
    read_hash,
    read_wallet,
    shown,
)

WHAT: Final = "log"

ORDER_FILLED: Final = "0xd543adfd945773f1a62f74f0ee55a5e3b9b1a28262980ba90b1a89f2ea84d8ee"
EXCHANGE_V3: Final = "0xe3333700ca9d93003f00f0f71f8515005f6c00aa"
EXCHANGES: Final = (
    "0xe111180000d2663c0091e4f400237545b87b996b",
    "0xe2222d279d744050d28e00520010520000310f59",
    EXCHANGE_V3,
)
"""CTF Exchange V2, NegRisk CTF Exchange V2, ExchangeV3."""
AMOUNT_MAX: Final = WIRE_AMOUNT_MAX * MICROS
LOG_INDEX_MAX: Final = 2**31 - 1

_COMBO_MODULE: Final = 3
_MODULE_SHIFT: Final = 248
_WORD: Final = 64
_WORDS_NEEDED: Final = 5
_TOPICS: Final = 4
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,16}")
_ADDRESS_TOPIC = re.compile(r"0x0{24}[0-9a-f]{40}")
_DATA = re.compile(r"0x(?:[0-9a-f]{64}){5,}")


@dataclass(frozen=True, slots=True)
class ChainFill:
    """One `OrderFilled` log of the wallet in `maker`; amounts in micros, `notional` without the fee.

    `timestamp` is the block's, None where the node left it out; `is_combo` marks a multi-leg position.
    """

    wallet: str
    asset_id: str
    side: Side
    share_micros: int
    notional_micros: int
    fee_micros: int
    role: Role
    tx_hash: str
    log_index: int
    block_number: int
    block_hash: str
    timestamp: int | None
    removed: bool
    is_combo: bool
    wire: Mapping[str, Any]

    @property
    def cash_micros(self) -> int:
        """What left (BUY) or reached (SELL) the wallet, fee included."""
        fee = self.fee_micros
        return self.notional_micros + (fee if self.side is Side.BUY else -fee)

    @property
    def price_micros(self) -> int:
        """Average price, to the nearest micro; for display."""
        return (self.notional_micros * MICROS * 2 + self.share_micros) // (self.share_micros * 2)


def log_filter(wallets: Sequence[str]) -> dict[str, Any]:
    """Return the filter for fills of `wallets`, for `eth_subscribe` and `eth_getLogs`."""
    return {
        "address": list(EXCHANGES),
        "topics": [ORDER_FILLED, None, ["0x" + wallet[2:].rjust(_WORD, "0") for wallet in wallets]],
    }


def quantity(value: object, *, what: str, most: int = BIGINT_MAX) -> int:
    """Return a JSON-RPC quantity (`0x1b4`) of at most `most`; raises ValueError naming `what`."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value) or (number := int(value, 16)) > most:
        raise ValueError(f"{what}: expected a hex quantity up to {most:#x}, got {shown(value)}")
    return number


def decode_order_filled(log: object) -> ChainFill:
    """Return the fill a log tells; raises ValueError naming the field that is wrong with it."""
    wire = an_object(log, WHAT)
    address = read_wallet(wire.get("address"), "address", WHAT)
    if address not in EXCHANGES:
        raise FieldError(WHAT, "address", "of an exchange", address)
    maker, taker = _parties(wire.get("topics"))
    side_word, token, maker_amount, taker_amount, fee = _words(wire.get("data"))
    if side_word > 1:
        raise FieldError(WHAT, "data", "with side 0 or 1", side_word)
    side = Side.SELL if side_word else Side.BUY
    notional, shares = (taker_amount, maker_amount) if side_word else (maker_amount, taker_amount)
    # A share never costs more than 1 and no fee eats all of a fill: such words have another meaning than ours.
    if not token or not 0 < shares <= AMOUNT_MAX or notional > shares or fee > notional:
        raise FieldError(WHAT, "data", "with sane amounts", f"token {token}, {shares} shares for {notional}, fee {fee}")
    stamp = wire.get("blockTimestamp")
    return ChainFill(
        wallet=maker,
        asset_id=str(token),
        side=side,
        share_micros=shares,
        notional_micros=notional,
        fee_micros=fee,
        role=Role.TAKER if taker in EXCHANGES else Role.MAKER,
        tx_hash=read_hash(wire.get("transactionHash"), "transactionHash", WHAT),
        log_index=_quantity(wire, "logIndex", most=LOG_INDEX_MAX),
        block_number=_quantity(wire, "blockNumber"),
        block_hash=read_hash(wire.get("blockHash"), "blockHash", WHAT),
        timestamp=None if stamp is None else block_seconds(stamp, "blockTimestamp", WHAT),
        removed=read_flag(wire.get("removed"), "removed", WHAT),
        is_combo=address == EXCHANGE_V3 and token >> _MODULE_SHIFT == _COMBO_MODULE,
        wire=wire,
    )


def block_seconds(value: object, field: str = "timestamp", what: str = "block") -> int:
    """Return a block's time in epoch seconds; raises FieldError, for milliseconds too."""
    if isinstance(value, str) and _QUANTITY.fullmatch(value):
        seconds = int(value, 16)
        if EPOCH_SECOND_MIN <= seconds <= EPOCH_SECOND_MAX:
            return seconds
    raise FieldError(what, field, f"a hex quantity {EPOCH_YEARS}", value)


def _quantity(wire: Mapping[str, Any], field: str, most: int = BIGINT_MAX) -> int:
    return quantity(wire.get(field), what=f"{WHAT}: `{field}`", most=most)


def _parties(topics: object) -> tuple[str, str]:
    """Return maker and taker."""
    if not isinstance(topics, list) or len(topics) != _TOPICS:
        raise FieldError(WHAT, "topics", "to be the four of OrderFilled", topics)
    topic, _, maker, taker = (each.lower() if isinstance(each, str) else "" for each in topics)
    if topic != ORDER_FILLED:
        raise FieldError(WHAT, "topics", "to start with OrderFilled", topics[0])
    if not _ADDRESS_TOPIC.fullmatch(maker) or not _ADDRESS_TOPIC.fullmatch(taker):
        raise FieldError(WHAT, "topics", "to hold maker and taker", f"{maker:.70} and {taker:.70}")
    return "0x" + maker[26:], "0x" + taker[26:]


def _words(data: object) -> tuple[int, int, int, int, int]:
    text = data.lower() if isinstance(data, str) else ""
    if not _DATA.fullmatch(text):
        raise FieldError(WHAT, "data", f"of at least {_WORDS_NEEDED} words", data)
    side, token, maker_amount, taker_amount, fee = (
        int(text[2 + _WORD * word : 2 + _WORD * (word + 1)], 16) for word in range(_WORDS_NEEDED)
    )
    return side, token, maker_amount, taker_amount, fee
