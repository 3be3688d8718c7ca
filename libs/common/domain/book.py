"""The order book of one token, best level first on both sides."""

from dataclasses import dataclass
from typing import NamedTuple


class Level(NamedTuple):
    """Resting size at one price; both in micros."""

    price_micros: int
    share_micros: int


@dataclass(frozen=True, slots=True)
class Book:
    """One version of a token's book, named by the exchange's own `hash`.

    `bids` fall and `asks` rise in price; prices are distinct and strictly inside 0 to 1_000_000; sizes are positive.
    """

    asset_id: str
    hash: str
    timestamp_ms: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]

    @property
    def best_bid_micros(self) -> int | None:
        """Return the highest bid, or None on an empty side."""
        return self.bids[0].price_micros if self.bids else None

    @property
    def best_ask_micros(self) -> int | None:
        """Return the lowest ask, or None on an empty side."""
        return self.asks[0].price_micros if self.asks else None

    @property
    def mid_micros(self) -> int | None:
        """Return (best bid + best ask) // 2, or None where a side is empty."""
        if not self.bids or not self.asks:
            return None
        return (self.bids[0].price_micros + self.asks[0].price_micros) // 2
