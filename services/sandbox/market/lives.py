"""The life of each synthetic market: when it opens, resolves and to what, and its price at every instant between."""

from dataclasses import dataclass
from functools import lru_cache
from math import exp, floor, log

from services.sandbox.market.chance import Chance, seed_of, unit
from services.sandbox.market.questions import SUBJECTS, Subject

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
PAUSE_MS = 5_000
"""Between a resolution and the next question of the subject."""
FINISH = 0.12
"""Share of a life in which the price runs to its outcome."""
FINISH_LOGIT = 3.3
PRICE_LEAST, PRICE_MOST = 0.03, 0.97

_LAYERS = ((12_000, 0.025), (60_000, 0.09), (300_000, 0.22), (1_500_000, 0.40), (7_200_000, 0.60))
"""Period in ms and amplitude in logits of each layer of noise."""
_FIRST_END_MS = {
    "bitcoin_quarter": 7 * MINUTE_MS,
    "soccer": 16 * MINUTE_MS,
    "basketball": 28 * MINUTE_MS,
    "esports": 3 * MINUTE_MS,
    "temperature": 11 * MINUTE_MS,
}
"""When the first question of a subject resolves, so that the first minutes already see some."""


@dataclass(frozen=True, slots=True)
class Life:
    """One question of one subject; times in ms since the start of play."""

    place: int
    generation: int
    opens_ms: int
    resolves_ms: int
    end_date_ms: int
    winner: int
    base_logit: float
    seed: int

    @property
    def subject(self) -> Subject:
        """Return what it is about."""
        return SUBJECTS[self.place]

    @property
    def finite(self) -> bool:
        """Tell whether it resolves within a day, so that its price runs to the outcome in sight."""
        return self.resolves_ms - self.opens_ms < DAY_MS


class Lives:
    """All lives of one seed, found by place and instant."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._lives: list[list[Life]] = [[self._first(place)] for place in range(len(SUBJECTS))]
        self.price = lru_cache(maxsize=4096)(self._price)

    def at(self, place: int, at_ms: int) -> Life:
        """Return the life of a subject at an instant; in the pause between two, the one that ended."""
        lives = self._lives[place]
        while lives[-1].resolves_ms + PAUSE_MS <= at_ms:
            lives.append(self._next(lives[-1]))
        for life in reversed(lives):
            if life.opens_ms <= at_ms:
                return life
        return lives[0]

    def all_until(self, at_ms: int) -> list[Life]:
        """Return every life opened by an instant."""
        found: list[Life] = []
        for place in range(len(SUBJECTS)):
            self.at(place, at_ms)
            found.extend(life for life in self._lives[place] if life.opens_ms <= at_ms)
        return found

    def _price(self, life: Life, at_ms: int) -> float:
        """Return the probability of outcome 0 at an instant."""
        logit = life.base_logit
        for layer, (period, amplitude) in enumerate(_LAYERS):
            logit += amplitude * life.subject.volatility * _noise(life.seed + layer, at_ms / period)
        if life.finite:
            left = (life.resolves_ms - at_ms) / (life.resolves_ms - life.opens_ms)
            pull = min(1.0, max(0.0, 1 - left / FINISH))
            goal = FINISH_LOGIT if life.winner == 0 else -FINISH_LOGIT
            logit += (goal - logit) * pull * pull * (3 - 2 * pull)
        return min(PRICE_MOST, max(PRICE_LEAST, 1 / (1 + exp(-logit))))

    def _first(self, place: int) -> Life:
        subject = SUBJECTS[place]
        chance = Chance(self._seed, "life", place, 0)
        lasts = _lasts(subject, chance)
        ends = _FIRST_END_MS.get(subject.name, lasts - chance.whole(HOUR_MS, 4 * DAY_MS))
        return self._life(place, 0, ends - lasts, ends, chance)

    def _next(self, before: Life) -> Life:
        chance = Chance(self._seed, "life", before.place, before.generation + 1)
        opens = before.resolves_ms + PAUSE_MS
        return self._life(
            before.place, before.generation + 1, opens, opens + _lasts(SUBJECTS[before.place], chance), chance
        )

    def _life(self, place: int, generation: int, opens: int, resolves: int, chance: Chance) -> Life:
        subject = SUBJECTS[place]
        start = 0.15 + 0.7 * chance.unit()
        beyond = {
            "quarter_hour": 0,
            "match": chance.whole(2, 5) * HOUR_MS,
            "day": chance.whole(6, 16) * HOUR_MS,
            "long": 0,
        }
        return Life(
            place=place,
            generation=generation,
            opens_ms=opens,
            resolves_ms=resolves,
            end_date_ms=resolves + beyond[subject.pace],
            winner=int(chance.happens(1 - start)),
            base_logit=log(start / (1 - start)),
            seed=seed_of(self._seed, "price", place, generation) >> 8,
        )


def _lasts(subject: Subject, chance: Chance) -> int:
    if subject.pace == "quarter_hour":
        return 15 * MINUTE_MS - PAUSE_MS
    if subject.pace == "match":
        return chance.whole(14 * MINUTE_MS, 50 * MINUTE_MS)
    if subject.pace == "day":
        return chance.whole(40 * MINUTE_MS, 110 * MINUTE_MS)
    return chance.whole(6 * DAY_MS, 45 * DAY_MS)


def _noise(seed: int, at: float) -> float:
    """Return smooth noise in [-1, 1]: values drawn at whole numbers, eased between."""
    low = floor(at)
    part = at - low
    one, other = unit(seed, low), unit(seed, low + 1)
    return 2 * (one + (other - one) * part * part * (3 - 2 * part)) - 1
