"""The synthetic wallets and their dealings: buy and sell again, split and merge, hold to the payout.

A dealing is drawn whole from (seed, wallet, number): every share it takes in leaves again within `DEALING_MS_MAX`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from services.sandbox.market.chance import Chance
from services.sandbox.market.depth import Books, walk
from services.sandbox.market.lives import MINUTE_MS, Life, Lives
from services.sandbox.market.questions import SUBJECTS

DEALING_MS_MAX = 45 * MINUTE_MS
WALLET_RASTER_MS = 16
"""Each wallet acts on its own milliseconds, so that no two act in the same one."""
OPENING_RUSH_MS = 1_400
"""The first dealing of each wallet falls within this of the start of play."""
KEEP_CLEAR_MS = 20_000
"""No dealing begins this shortly before a resolution or after an opening."""


@dataclass(frozen=True, slots=True)
class Habit:
    """How one wallet trades; amounts in USDC, times in seconds."""

    label: str
    period_s: float
    notional: tuple[float, float]
    hold_s: tuple[float, float]
    foresight: float
    """Share of its dealings in which it knows where the price goes."""
    maker: float = 0.0
    """Share of its orders that rest in the book and pay no fee."""
    splits: float = 0.0
    twins: float = 0.0
    """Share of its orders filled as two equal fills in one transaction."""
    places: tuple[str, ...] = ()
    """Subjects it keeps to; all when empty."""


CALM = ("bitcoin_above", "election_a", "election_b", "central_bank", "ceasefire", "soccer")
FAST = ("soccer", "basketball", "esports", "bitcoin_quarter", "temperature")

HABITS = (
    Habit("quiet-otter", 11, (500, 2_400), (30, 300), 0.60),
    Habit("brisk-heron", 7, (150, 1_200), (10, 80), 0.62, twins=0.12),
    Habit("amber-lynx", 14, (300, 1_800), (20, 240), 0.55, splits=0.45),
    Habit("steady-badger", 10, (400, 2_200), (40, 400), 0.52, maker=0.55),
    Habit("lucky-finch", 9, (100, 800), (15, 160), 0.40),
    Habit("tidal-crane", 18, (1_800, 6_000), (90, 700), 0.62, twins=0.10, places=CALM),
    Habit("copper-fox", 12, (150, 1_300), (30, 400), 0.50, places=FAST),
    Habit("velvet-mole", 16, (300, 1_800), (120, 1_500), 0.52, maker=0.2, splits=0.1),
)


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing a wallet does; `leg` is the outcome, or None where it concerns the whole condition."""

    at_ms: int
    wallet: int
    number: int
    step: int
    copy: int
    type: str
    side: str
    life: Life
    leg: int | None
    lots: int
    """Hundredths of a share."""
    gross_micros: int
    maker: bool


@dataclass(slots=True)
class _Book:
    """What a dealing has written down so far."""

    wallet: int
    number: int
    deeds: list[Deed]

    def add(
        self,
        at_ms: int,
        kind: str,
        life: Life,
        leg: int | None,
        lots: int,
        gross: int,
        *,
        side: str = "",
        maker: bool = False,
        copies: int = 1,
    ) -> None:
        """Add a deed, or its equal copies in one transaction."""
        at_ms = max(0, at_ms) // WALLET_RASTER_MS * WALLET_RASTER_MS + self.wallet
        step = len(self.deeds)
        for copy in range(copies):
            self.deeds.append(
                Deed(at_ms, self.wallet, self.number, step, copy, kind, side, life, leg, lots, gross, maker)
            )


class Dealings:
    """Draws the dealings of every wallet of one seed."""

    def __init__(self, seed: int, lives: Lives, books: Books) -> None:
        self._seed = seed
        self._lives = lives
        self._books = books

    def first_number(self, wallet: int, at_ms: int) -> int:
        """Return the number of the first dealing that may begin at or after an instant."""
        return max(0, int(at_ms / (HABITS[wallet].period_s * 1000)))

    def begins_ms(self, wallet: int, number: int) -> int:
        """Return when a dealing begins."""
        period = HABITS[wallet].period_s * 1000
        drawn = Chance(self._seed, "begin", wallet, number).unit()
        return int(OPENING_RUSH_MS * (0.1 + 0.9 * drawn)) if number == 0 else int((number + drawn) * period)

    def deeds(self, wallet: int, number: int) -> list[Deed]:
        """Return everything one dealing does, in order; nothing where its wallet finds nothing to do."""
        habit, begins = HABITS[wallet], self.begins_ms(wallet, number)
        chance = Chance(self._seed, "dealing", wallet, number)
        book = _Book(wallet, number, [])
        life, leg, leaves = self._chosen(habit, chance, begins)
        if life is None:
            return []
        if chance.happens(habit.splits):
            self._split(habit, chance, book, life, leg, begins, leaves)
        else:
            self._trade(habit, chance, book, life, leg, begins, leaves)
        return book.deeds

    def _chosen(self, habit: Habit, chance: Chance, begins: int) -> tuple[Life | None, int, int]:
        """Return what to deal in, which outcome, and when to leave; the best of three with foresight."""
        knows = chance.happens(habit.foresight)
        best: tuple[float, Life | None, int, int] = (-1.0, None, 0, 0)
        names = habit.places or tuple(subject.name for subject in SUBJECTS)
        for _ in range(4 if knows else 1):
            name = chance.choice(names)
            place = next(index for index, subject in enumerate(SUBJECTS) if subject.name == name)
            life = self._lives.at(place, begins)
            leaves = begins + int(1000 * chance.scaled(*habit.hold_s))
            if not life.opens_ms + KEEP_CLEAR_MS <= begins <= life.resolves_ms - KEEP_CLEAR_MS:
                continue
            change = self._worth(life, min(leaves, begins + DEALING_MS_MAX)) - self._lives.price(life, begins)
            leg = int(change < 0) if knows else chance.whole(0, 1)
            if abs(change) > best[0]:
                best = (abs(change), life, leg, leaves)
        return best[1:]

    def _worth(self, life: Life, at_ms: int) -> float:
        return self._lives.price(life, at_ms) if at_ms < life.resolves_ms else float(life.winner == 0)

    def _trade(self, habit: Habit, chance: Chance, book: _Book, life: Life, leg: int, begins: int, leaves: int) -> None:
        held, at_ms = 0, begins
        notional = chance.scaled(*habit.notional) * (0.15 if life.subject.depth < 0.5 else 1)
        parts = chance.whole(1, 3)
        for _ in range(parts):
            if at_ms >= life.resolves_ms - KEEP_CLEAR_MS // 2:
                break
            price = self._lives.price(life, at_ms)
            lots = int(100 * notional / parts / max(price if leg == 0 else 1 - price, 0.03))
            held += self._order(habit, chance, book, life, leg, at_ms, "BUY", lots)
            at_ms += int(1000 * chance.scaled(0.3, 14))
        self._leave(habit, chance, book, life, leg, max(leaves, at_ms + 2_000), held)

    def _leave(self, habit: Habit, chance: Chance, book: _Book, life: Life, leg: int, at_ms: int, held: int) -> None:
        """Sell what is held in one or two orders; what the market's end overtakes is redeemed."""
        for part in range(2 if chance.happens(0.4) else 1):
            if held <= 0 or at_ms >= life.resolves_ms - 3_000:
                break
            lots = held // 2 if part == 0 and held > 2_000 and chance.happens(0.4) else held
            held -= self._order(habit, chance, book, life, leg, at_ms, "SELL", lots)
            at_ms += int(1000 * chance.scaled(1, 40))
        last = min(at_ms + MINUTE_MS, life.resolves_ms - 1_500 - book.number % 64 * WALLET_RASTER_MS)
        if held > 0 and at_ms < life.resolves_ms - 3_000:
            _, gross = walk(self._books.at(life, last).of(leg)[0], held)
            book.add(last, "TRADE", life, leg, held, gross or held * 100, side="SELL")
        elif held > 0:
            self._redeem(chance, book, life, leg, held)

    def _order(
        self, habit: Habit, chance: Chance, book: _Book, life: Life, leg: int, at_ms: int, side: str, lots: int
    ) -> int:
        """Fill one order, twins included; returns the lots it moved."""
        bids, asks = self._books.at(life, at_ms).of(leg)
        maker = chance.happens(habit.maker)
        copies = 2 if chance.happens(habit.twins) and lots % 2 == 0 and lots > 200 else 1
        levels = (bids if side == "BUY" else asks)[:1] if maker else (asks if side == "BUY" else bids)
        each, gross = walk(levels, max(1, lots // copies))
        if each > 0:
            book.add(at_ms, "TRADE", life, leg, each, gross, side=side, maker=maker, copies=copies)
        return each * copies

    def _split(self, habit: Habit, chance: Chance, book: _Book, life: Life, leg: int, begins: int, leaves: int) -> None:
        """Split a full set, sell some of the leg it does not believe in, merge what it can, leave with the rest."""
        lots = int(100 * chance.scaled(*habit.notional)) // 100 * 100
        book.add(begins, "SPLIT", life, None, lots, lots * 10_000)
        sold = 0
        if chance.happens(0.7) and begins + 8_000 < life.resolves_ms - KEEP_CLEAR_MS:
            sold = self._order(habit, chance, book, life, 1 - leg, begins + 6_000, "SELL", lots // 2)
        merge_at = begins + int(1000 * chance.scaled(20, 90))
        if merge_at < life.resolves_ms - KEEP_CLEAR_MS // 2:
            book.add(merge_at, "MERGE", life, None, lots - sold, (lots - sold) * 10_000)
            self._leave(habit, chance, book, life, leg, max(leaves, merge_at + 5_000), sold)
        else:
            self._redeem(chance, book, life, leg, lots)
            self._redeem(chance, book, life, 1 - leg, lots - sold)

    def _redeem(self, chance: Chance, book: _Book, life: Life, leg: int, lots: int) -> None:
        """Redeem after the payout; what lost pays nothing."""
        if lots > 0:
            at_ms = life.resolves_ms + chance.whole(15_000, 90_000)
            book.add(at_ms, "REDEEM", life, leg, lots, lots * 10_000 if leg == life.winner else 0)


def all_wallets() -> Iterator[tuple[int, Habit]]:
    """Yield the wallets by number."""
    yield from enumerate(HABITS)
