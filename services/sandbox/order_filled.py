"""The `OrderFilled` event of the V2 and V3 exchanges, and the block arithmetic of the sandbox's chain.

Sources: reference sections 6.2 and 6.3. All amounts are micros; the log carries the notional without the fee and the
fee apart, so that notional plus fee (BUY) or minus fee (SELL) is the cash the Data API reports.
"""

import hashlib
from decimal import ROUND_HALF_EVEN, Decimal

import orjson

ORDER_FILLED = "0xd543adfd945773f1a62f74f0ee55a5e3b9b1a28262980ba90b1a89f2ea84d8ee"
EXCHANGE = "0xe111180000d2663c0091e4f400237545b87b996b"
NEG_RISK_EXCHANGE = "0xe2222d279d744050d28e00520010520000310f59"
EXCHANGE_V3 = "0xe3333700ca9d93003f00f0f71f8515005f6c00aa"
PROTOCOL_CONTRACTS = frozenset({EXCHANGE, NEG_RISK_EXCHANGE, EXCHANGE_V3})

FIRST_BLOCK_SECOND = 1_695_000_000
"""One block a second, numbered from here: close to the real chain's pace and height, and a pure function of time."""

_WORD = 64
_TOLERANCE_PER_SHARE = Decimal("1e-10")


def digest(*parts: object) -> bytes:
    """Return 32 bytes that depend on all parts: hashes and ids of what was never on a chain."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).digest()


def block_number(second: int) -> int:
    """Return the number of the block with this timestamp."""
    return second - FIRST_BLOCK_SECOND


def block_second(number: int) -> int:
    """Return the timestamp of a block."""
    return number + FIRST_BLOCK_SECOND


def micros(value: object) -> int:
    """Return a wire number in micros, to the nearest."""
    return int((Decimal(str(value)) * 1_000_000).to_integral_value(rounding=ROUND_HALF_EVEN))


def fee_micros(size: Decimal, price: Decimal, cash: int) -> int:
    """Return the fee hidden in a row's cash: its distance from size * price, to the nearest 10 micros.

    Within 10 micros + size * 1e-10 the distance is the row's own rounding, and the fee 0.
    """
    distance = abs(cash - micros(size * price))
    if distance <= 10 + micros(size) * _TOLERANCE_PER_SHARE:
        return 0
    return int((Decimal(distance) / 10).to_integral_value(rounding=ROUND_HALF_EVEN)) * 10


def exchange_of(*, negative_risk: bool, version: str) -> str:
    """Return the contract on which a market's orders are filled."""
    if version == "v2":
        return EXCHANGE_V3
    return NEG_RISK_EXCHANGE if negative_risk else EXCHANGE


def address_topic(address: str) -> str:
    """Return an address as a 32-byte topic."""
    return "0x" + address[2:].rjust(_WORD, "0")


def fill_data(side: str, token_id: str, share_micros: int, cash: int, fee: int) -> str:
    """Return the seven data words of a fill."""
    if side == "BUY":
        words = (0, int(token_id), max(cash - fee, 0), share_micros, fee, 0, 0)
    else:
        words = (1, int(token_id), share_micros, max(cash + fee, 0), fee, 0, 0)
    return "0x" + "".join(format(word, "064x") for word in words)


def log_object(
    *,
    address: str,
    topics: tuple[str, ...],
    data: str,
    second: int,
    block_hash: str,
    tx_hash: str,
    log_index: int,
    removed: bool,
    stamped: bool,
) -> bytes:
    """Write a log as a node does; `stamped` tells whether this node adds `blockTimestamp`."""
    log: dict[str, object] = {
        "address": address,
        "topics": topics,
        "data": data,
        "blockNumber": hex(block_number(second)),
        "transactionHash": tx_hash,
        "transactionIndex": hex(int(tx_hash[-2:], 16)),
        "blockHash": block_hash,
    }
    if stamped:
        log["blockTimestamp"] = hex(second)
    log["logIndex"] = hex(log_index)
    log["removed"] = removed
    return orjson.dumps(log)
