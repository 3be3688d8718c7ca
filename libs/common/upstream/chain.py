"""Fills as the chain tells them: the `OrderFilled` log of the V2 and V3 exchanges.

Filtered on the `maker` topic, each fill of a wallet appears exactly once, in both roles: a taker's own order bears the
exchange itself as `taker`. Source: reference sections 6.1 to 6.3.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from libs.common.domain.kinds import Role, Side
from libs.common.domain.money import MICROS

ORDER_FILLED: Final = "0xd543adfd945773f1a62f74f0ee55a5e3b9b1a28262980ba90b1a89f2ea84d8ee"
EXCHANGE_V3: Final = "0xe3333700ca9d93003f00f0f71f8515005f6c00aa"
EXCHANGES: Final = (
    "0xe111180000d2663c0091e4f400237545b87b996b",
    "0xe2222d279d744050d28e00520010520000310f59",
    EXCHANGE_V3,
)
"""CTF Exchange V2, NegRisk CTF Exchange V2, ExchangeV3."""
AMOUNT_MAX: Final = 10**18
"""Micros; anything above is no real fill."""

_COMBO_MODULE: Final = 3
_MODULE_SHIFT: Final = 248
_WORD: Final = 64
_WORDS_NEEDED: Final = 5
_HASH = re.compile(r"0x[0-9a-f]{64}")
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


def quantity(value: object, *, what: str) -> int:
    """Return a JSON-RPC quantity (`0x1b4`); raises ValueError."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise ValueError(f"{what}: expected a hex quantity, got {value!r:.40}")
    return int(value, 16)


def decode_order_filled(log: object) -> ChainFill:
    """Return the fill a log tells; raises ValueError saying what is wrong with it."""
    if not isinstance(log, Mapping):
        raise ValueError(f"log: expected an object, got {type(log).__name__}")  # noqa: TRY004  one error type at the edge
    topics = log.get("topics")
    address = str(log.get("address") or "").lower()
    if not isinstance(topics, list) or len(topics) != 4 or str(topics[0]).lower() != ORDER_FILLED:
        raise ValueError("log: expected the four topics of OrderFilled")
    if address not in EXCHANGES:
        raise ValueError(f"log: expected an exchange as emitter, got {address!r:.50}")
    maker, taker = str(topics[2]).lower(), str(topics[3]).lower()
    if not _ADDRESS_TOPIC.fullmatch(maker) or not _ADDRESS_TOPIC.fullmatch(taker):
        raise ValueError(f"log: expected addresses as maker and taker, got {maker!r:.70} and {taker!r:.70}")
    tx_hash = str(log.get("transactionHash") or "").lower()
    block_hash = str(log.get("blockHash") or "").lower()
    if not _HASH.fullmatch(tx_hash) or not _HASH.fullmatch(block_hash):
        raise ValueError(f"log: expected transaction and block hashes, got {tx_hash!r:.70} and {block_hash!r:.70}")
    side_word, token, maker_amount, taker_amount, fee = _words(log.get("data"))
    if side_word > 1:
        raise ValueError(f"log: expected side 0 or 1, got {side_word}")
    side = Side.SELL if side_word else Side.BUY
    notional, shares = (taker_amount, maker_amount) if side_word else (maker_amount, taker_amount)
    if not 0 < shares <= AMOUNT_MAX or notional > AMOUNT_MAX or fee > AMOUNT_MAX:
        raise ValueError(f"log: expected sane amounts, got {shares} shares for {notional}, fee {fee}")
    stamp = log.get("blockTimestamp")
    return ChainFill(
        wallet="0x" + maker[26:],
        asset_id=str(token),
        side=side,
        share_micros=shares,
        notional_micros=notional,
        fee_micros=fee,
        role=Role.TAKER if "0x" + taker[26:] in EXCHANGES else Role.MAKER,
        tx_hash=tx_hash,
        log_index=quantity(log.get("logIndex"), what="logIndex"),
        block_number=quantity(log.get("blockNumber"), what="blockNumber"),
        block_hash=block_hash,
        timestamp=quantity(stamp, what="blockTimestamp") if stamp is not None else None,
        removed=log.get("removed") is True,
        is_combo=address == EXCHANGE_V3 and token >> _MODULE_SHIFT == _COMBO_MODULE,
        wire=log,
    )


def _words(data: object) -> tuple[int, int, int, int, int]:
    text = data.lower() if isinstance(data, str) else ""
    if not _DATA.fullmatch(text):
        raise ValueError(f"log: expected at least {_WORDS_NEEDED} data words, got {str(data)!r:.60}")
    side, token, maker_amount, taker_amount, fee = (
        int(text[2 + _WORD * word : 2 + _WORD * (word + 1)], 16) for word in range(_WORDS_NEEDED)
    )
    return side, token, maker_amount, taker_amount, fee
