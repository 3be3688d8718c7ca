"""The books of the synthetic market: redrawn every two seconds around the price, deep, mostly one tick wide."""

from dataclasses import dataclass
from functools import lru_cache

from services.sandbox.market.chance import Chance, unit
from services.sandbox.market.lives import Life, Lives

SLICE_MS = 2_000
SIZES_MS = 10_000
"""Sizes are redrawn this often; between, only the price moves through them."""
LEVELS = 14
TICKS = 100
"""Prices are whole cents."""
CENT_MICROS = 10_000
LOT_MICROS = 10_000

Levels = tuple[tuple[int, int], ...]
"""(price in cents, size in hundredths of a share), best first."""


@dataclass(frozen=True, slots=True)
class Depth:
    """Bids and asks of outcome 0 in one slice; outcome 1 is their mirror image."""

    starts_ms: int
    bids: Levels
    asks: Levels

    def of(self, leg: int) -> tuple[Levels, Levels]:
        """Return bids and asks of an outcome."""
        if leg == 0:
            return self.bids, self.asks
        mirrored = tuple((TICKS - price, size) for price, size in self.asks)
        return mirrored, tuple((TICKS - price, size) for price, size in self.bids)


class Books:
    """Draws the book of a life at an instant."""

    def __init__(self, lives: Lives) -> None:
        self._lives = lives
        self._drawn = lru_cache(maxsize=512)(self._draw)

    def at(self, life: Life, at_ms: int) -> Depth:
        """Return the depth in force."""
        offset = life.seed % SLICE_MS
        return self._drawn(life, (at_ms - offset) // SLICE_MS * SLICE_MS + offset)

    def last_price(self, life: Life, at_ms: int) -> int:
        """Return the last traded price of outcome 0, in cents."""
        return max(1, min(TICKS - 1, round(self._lives.price(life, max(life.opens_ms, at_ms - 3 * SLICE_MS)) * TICKS)))

    def _draw(self, life: Life, starts_ms: int) -> Depth:
        chance = Chance(life.seed, "book", starts_ms)
        thin = life.subject.depth < 0.5
        spread = 1 if not thin and chance.happens(0.93) else chance.whole(2, 6 if thin else 4)
        middle = self._lives.price(life, starts_ms) * TICKS
        best_bid = max(1, min(TICKS - 1 - spread, round(middle - spread / 2)))
        return Depth(
            starts_ms,
            tuple(
                (price, self._size(life, starts_ms, price, rank))
                for rank, price in enumerate(range(best_bid, 0, -1)[:LEVELS])
            ),
            tuple(
                (price, self._size(life, starts_ms, price, rank))
                for rank, price in enumerate(range(best_bid + spread, TICKS)[:LEVELS])
            ),
        )

    def _size(self, life: Life, at_ms: int, price: int, rank: int) -> int:
        drawn = unit(life.seed + 7919, at_ms // SIZES_MS * TICKS + price)
        return int(100 * life.subject.depth * (900 + 5_200 * drawn) * (0.7 + 0.45 * rank)) + 500


def walk(levels: Levels, lots: int) -> tuple[int, int]:
    """Return (lots taken, notional in micros) of an order for `lots` hundredths of a share, best level first."""
    taken = notional = 0
    for price, size in levels:
        part = min(size, lots - taken)
        taken += part
        notional += part * LOT_MICROS * price * CENT_MICROS // 1_000_000
        if taken == lots:
            break
    return taken, notional
