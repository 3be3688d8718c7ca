"""Seeded chance: the same parts give the same draws, on every machine and in every process."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_RANGE = float(1 << 64)


def seed_of(*parts: object) -> int:
    """Return a 64-bit seed that depends on all parts."""
    return int.from_bytes(blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def mixed(seed: int) -> int:
    """Return 64 well mixed bits of a seed (the finaliser of splitmix64)."""
    seed = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    seed = ((seed ^ (seed >> 27)) * 0x94D049BB133111EB) & _MASK
    return seed ^ (seed >> 31)


def unit(seed: int, index: int) -> float:
    """Return a number in [0, 1) for a place in a lattice."""
    return mixed((seed + index * _STEP) & _MASK) / _RANGE


class Chance:
    """A stream of draws."""

    def __init__(self, *parts: object) -> None:
        self._state = seed_of(*parts)

    def unit(self) -> float:
        """Draw from [0, 1)."""
        self._state = (self._state + _STEP) & _MASK
        return mixed(self._state) / _RANGE

    def happens(self, probability: float) -> bool:
        """Draw whether something happens."""
        return self.unit() < probability

    def whole(self, low: int, high: int) -> int:
        """Draw a whole number, both ends included."""
        return low + int(self.unit() * (high - low + 1))

    def scaled(self, low: float, high: float) -> float:
        """Draw from a range of magnitudes: each doubling is as likely as the next."""
        return low * float((high / low) ** self.unit())

    def choice(self, options: Sequence[T]) -> T:
        """Draw one of several."""
        return options[int(self.unit() * len(options))]
