"""Which report is of which fill, where nothing but the cash tells: as many pairs as agree, and of these the nearest."""

from collections.abc import Iterable, Sequence

from services.ingest.core.fills import Fill


def nearest(fills: Iterable[Fill], cash_micros: int) -> Fill | None:
    """Return the fill that agrees best with a report of this cash, None where none does."""
    agreeing = [fill for fill in fills if fill.agrees(cash_micros)]
    return min(agreeing, key=lambda fill: abs(fill.cash_micros - cash_micros), default=None)


def pair(reports: Sequence[int], fills: Sequence[Fill]) -> list[Fill | None]:
    """Return the fill of each report, given by its cash, where one is left that agrees; all are of one key.

    Equal ones are paired first and then the nearest, unless that leaves more reports without a fill than must be.
    """
    by_distance = _by_distance(reports, fills)
    if None not in by_distance:
        return by_distance
    return min(by_distance, _in_order(reports, fills), key=lambda paired: paired.count(None))


def _by_distance(reports: Sequence[int], fills: Sequence[Fill]) -> list[Fill | None]:
    free = list(fills)
    paired: list[Fill | None] = [None] * len(reports)
    for exact in (True, False):
        for place, cash in enumerate(reports):
            if paired[place] is None:
                fill = nearest(free, cash)
                if fill and (fill.cash_micros == cash or not exact):
                    free.remove(fill)
                    paired[place] = fill
    return paired


def _in_order(reports: Sequence[int], fills: Sequence[Fill]) -> list[Fill | None]:
    """Pair both in the order of their cash. As the tolerance is one for a key no other way makes more pairs."""
    free = sorted(fills, key=lambda fill: fill.cash_micros, reverse=True)
    paired: list[Fill | None] = [None] * len(reports)
    for place in sorted(range(len(reports)), key=lambda place: reports[place]):
        cash = reports[place]
        while free and free[-1].cash_micros < cash and not free[-1].agrees(cash):
            free.pop()
        if free and free[-1].agrees(cash):
            paired[place] = free.pop()
    return paired
