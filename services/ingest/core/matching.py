"""Match logs and listings with what is recorded of their transactions: the rules of `fills`, sighting by sighting."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from libs.common.domain.kinds import Source
from libs.common.domain.money import within_tolerance
from services.ingest.core.fills import Fill, FillChanges
from services.ingest.core.sightings import FillKey, LogSighting, RowSighting
from services.ingest.core.tally import Tally

RESURRECTION_AFTER: Final = timedelta(seconds=60)
"""A row that still shows a reversed fill this long after its time means that it was mined again."""


def match_fills(
    known: Mapping[str, Sequence[Fill]], logs: Sequence[LogSighting], rows: Sequence[RowSighting], waiting: set[str]
) -> FillChanges:
    """Match every transaction's logs, then its rows; transactions with rows that must wait are added to `waiting`.

    `known` holds all recorded fills by transaction and is changed; `rows` holds, of each key, all rows of one complete
    listing.
    """
    transactions: dict[str, Transaction] = {}
    total = FillChanges()

    def of(tx_hash: str) -> Transaction:
        found = transactions.get(tx_hash)
        if found is None:
            found = transactions[tx_hash] = Transaction(known.get(tx_hash, ()), total)
        return found

    for log in _in_order(logs):
        of(log.key.tx_hash).see_log(log)
    by_key: defaultdict[FillKey, list[RowSighting]] = defaultdict(list)
    for row in rows:
        by_key[row.key].append(row)
    for key, alike in by_key.items():
        of(key.tx_hash).see_rows(alike)
    for tx_hash, each in transactions.items():
        if each.close():
            waiting.add(tx_hash)
    return total


def _in_order(logs: Sequence[LogSighting]) -> Sequence[LogSighting]:
    """Return a batch with what it takes back first, then the taking back, then what was mined instead."""
    left = {(log.key.tx_hash, log.block_hash) for log in logs if log.removed}
    if not left:
        return logs
    return sorted(logs, key=lambda log: 1 if log.removed else 2 * ((log.key.tx_hash, log.block_hash) not in left))


class Transaction:
    """The fills of one transaction, taking in one sighting after the other."""

    def __init__(self, known: Iterable[Fill], changes: FillChanges) -> None:
        self._tally = Tally(sorted(known, key=lambda each: (each.ordinal, each.incarnation)), changes)

    def close(self) -> bool:
        """Complete `changes` with what all sightings came to; tell whether a row has to wait."""
        self._tally.close()
        return self._tally.waiting > 0

    def see_log(self, log: LogSighting) -> None:
        """Take in a log: it names one fill, or takes it back."""
        tally = self._tally
        known = (fill for fill in tally.standing(log.key) if fill.is_at(log.log_index, log.block_hash))
        standing = next(known, None)
        if standing and log.removed:
            tally.reverse(standing)
        elif standing:
            tally.sight(standing, Source.CHAIN, log)
            tally.confirm(standing)
        elif log.removed:
            self._take_back_unseen(log)
        elif not self._is_echo(log.block_number, log.block_hash):
            # A transaction is in one block only: where a fill stands in another one, we missed that it left that.
            elsewhere = [fill for fill in tally.standing(log.key) if fill.block not in (None, log.block_hash)]
            if replaced := next((fill for fill in elsewhere if fill.logged(log.cash_micros)), None):
                tally.reverse(replaced)
            tally.sight(self._place(log), Source.CHAIN, log)

    def _take_back_unseen(self, log: LogSighting) -> None:
        """Reverse the fill of which only the API told, and whose log is taken back before it was ever seen."""
        tally = self._tally
        if any(fill.is_at(log.log_index, log.block_hash) for fill in tally.of(log.key)) or any(
            fill.block not in (None, log.block_hash) for fill in tally.fills
        ):
            return
        told = [fill for fill in self._free(log.key) if fill.event_time == log.event_time]
        if fill := nearest(told, log.cash_micros):
            tally.attach(fill, log)
            tally.reverse(fill)
            tally.sight(fill, Source.CHAIN, log)

    def _is_echo(self, block_number: int, block_hash: str) -> bool:
        """Tell whether the transaction is known to have left a block, and not to have come back from another one.

        Where it stands in a later block the older one was replaced, even if it was never heard of.
        """
        tally = self._tally
        if any(fill.stands and (fill.block_number or 0) > block_number for fill in tally.fills):
            return True
        here = [fill for fill in tally.fills if fill.block_hash == block_hash]
        if not here or any(fill.stands for fill in here):
            return False
        for fill in here:
            head = max((each for each in tally.of(fill.key) if each.ordinal == fill.ordinal), key=_incarnation)
            if not head.stands and head.block_hash not in (None, block_hash):
                return False
        return True

    def _place(self, log: LogSighting) -> Fill:
        """Give a log to the fill it is of and return that.

        First choice is a fill of its cash that has no log; then one whose log contradicts it, which moves on; then any
        without a log, flagged: the count allows no further fill. Only where every fill has its log is it a new one.
        """
        tally, cash = self._tally, log.cash_micros
        free = self._free(log.key)
        fill = nearest(free, cash)
        if fill is None:
            contradicted = [each for each in tally.standing(log.key) if each.contradicted_by(Source.CHAIN)]
            if holder := nearest(contradicted, cash):
                other, sight = tally.detach(holder, log.seen_at)
                tally.attach(holder, log)
                tally.hand_over(holder, self._place(other), Source.CHAIN, other.cash_micros, sight)
                return holder
            fill = free[0] if free else None
        if fill is None:
            return self._create(log, _gone(tally.heads(log.key), cash))
        tally.attach(fill, log)
        return fill

    def see_rows(self, rows: Sequence[RowSighting]) -> None:
        """Take in all rows that one complete listing has for one key, oldest first."""
        tally = self._tally
        heads = tally.heads(rows[0].key)
        pairs, left, unpaired = _pair(rows, [fill for fill in heads if fill.stands])
        for row, fill in pairs:
            tally.sight(fill, Source.DATA_API, row)
            tally.confirm(fill)
        if not left:
            return
        gone = [fill for fill in heads if not fill.stands]
        left.sort(key=lambda row: _gone(gone, row.cash_micros) is None)
        surplus = max(0, len(left) - len(unpaired))
        for row in left[:surplus]:
            self._see_extra_row(row, gone)
        flagged = [fill for fill in heads if fill.stands and fill.contradicted_by(Source.DATA_API)]
        for row in left[surplus:]:
            told = next((fill for fill in flagged if _near(_reported(fill), row)), None)
            if told:
                flagged.remove(told)  # it was flagged before, and the fill it was flagged on is paired now
            elif _gone(gone, row.cash_micros):
                tally.waiting += 1  # one of a fill that was taken back, not of one that stands
            else:
                fill = min(unpaired, key=lambda each: each.mismatch is not None)
                unpaired.remove(fill)
                tally.flag(fill, Source.DATA_API, row)
                tally.sight(fill, Source.DATA_API, row)
                tally.confirm(fill)

    def _see_extra_row(self, row: RowSighting, gone: list[Fill]) -> None:
        """Take in a row for which no fill stands; one of a transaction just taken back waits for the chain's word."""
        tally = self._tally
        before = _gone(gone, row.cash_micros)
        doubtful = before is not None or not any(fill.stands for fill in tally.fills)
        left = max((fill.event_time for fill in tally.fills if not fill.stands), default=None)
        early = row.seen_at - row.event_time < RESURRECTION_AFTER
        if doubtful and left and row.event_time <= left and early:
            tally.waiting += 1
            return
        if before:
            gone.remove(before)
        tally.sight(self._create(row, before), Source.DATA_API, row)

    def _create(self, seen: LogSighting | RowSighting, before: Fill | None) -> Fill:
        """Record a new fill, and give it what was flagged on another only because this one was not known."""
        tally = self._tally
        new = tally.create(seen, before)
        flagged = [fill for fill in tally.standing(new.key) if fill.mismatch and new.agrees(_reported(fill))]
        if giver := next((fill for fill in flagged if fill.contradicted_by(Source.DATA_API)), None):
            reported = _reported(giver)
            tally.hand_over(giver, new, Source.DATA_API, reported, tally.clear(giver))
        giver = next((fill for fill in flagged if fill.contradicted_by(Source.CHAIN)), None)
        if giver and new.log_index is None:
            log, sight = tally.detach(giver, seen.seen_at)
            tally.attach(new, log)
            tally.hand_over(giver, new, Source.CHAIN, log.cash_micros, sight)
        return new

    def _free(self, key: FillKey) -> list[Fill]:
        """Return the standing fills of a key that no log told of yet."""
        return [fill for fill in self._tally.standing(key) if fill.log_index is None]


def nearest(fills: Iterable[Fill], cash_micros: int) -> Fill | None:
    """Return the fill that agrees best with a report of this cash, None where none does."""
    agreeing = [fill for fill in fills if fill.agrees(cash_micros)]
    return min(agreeing, key=lambda fill: abs(fill.cash_micros - cash_micros), default=None)


def _incarnation(fill: Fill) -> int:
    return fill.incarnation


def _gone(fills: Iterable[Fill], cash_micros: int) -> Fill | None:
    """Return the reversed fill among `fills` that a report of this cash is of, None where there is none."""
    gone = [fill for fill in fills if not fill.stands]
    return nearest(gone, cash_micros) or next((fill for fill in gone if fill.logged(cash_micros)), None)


def _reported(fill: Fill) -> int:
    """Return the cash that contradicts a flagged fill."""
    assert fill.mismatch is not None  # noqa: S101  a bug, not input
    return int(fill.mismatch["reported_cash_micros"])


def _near(cash_micros: int, row: RowSighting) -> bool:
    return within_tolerance(cash_micros, row.cash_micros, row.key.share_micros)


def _pair(
    rows: Sequence[RowSighting], fills: Sequence[Fill]
) -> tuple[list[tuple[RowSighting, Fill]], list[RowSighting], list[Fill]]:
    """Pair rows with fills of agreeing cash, equal ones first; return the pairs, and what is left of both."""
    free, left = list(fills), list(rows)
    pairs: list[tuple[RowSighting, Fill]] = []
    for exact in (True, False):
        remaining, left = left, []
        for row in remaining:
            fill = nearest(free, row.cash_micros)
            if fill is None or (exact and fill.cash_micros != row.cash_micros):
                left.append(row)
            else:
                free.remove(fill)
                pairs.append((row, fill))
    return pairs, left, free
