"""Match logs and listings with what is recorded of their transactions: the rules of `fills`, sighting by sighting."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final, TypeVar
from uuid import UUID

from libs.common.domain.kinds import Source
from services.ingest.core.fills import Fill, FillChanges
from services.ingest.core.pairing import nearest, pair
from services.ingest.core.sightings import FillKey, LogSighting, RowSighting
from services.ingest.core.tally import Flag, Tally

RESURRECTION_AFTER: Final = timedelta(seconds=60)
"""A row that still shows a reversed fill this long after its time means that it was mined again."""

Report = TypeVar("Report", RowSighting, Flag)


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
        self._reconsider(log.key)

    def _take_back_unseen(self, log: LogSighting) -> None:
        """Reverse the fill of which only the API told, and whose log is taken back before it was ever seen.

        Or seen and taken back before: then the API's row told of the same block late.
        """
        tally = self._tally
        if any(fill.block not in (None, log.block_hash) for fill in tally.fills):
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

    def _place(self, log: LogSighting, held: Sequence[UUID] = ()) -> Fill:
        """Give a log to the fill it is of and return that; fills that are `held` are about to get another one.

        First choice is a fill of its cash that has no log; then one whose log contradicts it, which moves on; then any
        without a log, flagged: the count allows no further fill. Only where every fill has its log is it a new one.
        """
        tally, cash = self._tally, log.cash_micros
        free = [fill for fill in self._free(log.key) if fill.id not in held]
        fill = nearest(free, cash)
        if fill is None:
            contradicted = [each for each in tally.standing(log.key) if each.contradictions(Source.CHAIN)]
            if holder := nearest(contradicted, cash):
                other, sight = tally.detach(holder, log.seen_at)
                home = self._place(other, (*held, holder.id))  # first, as it may be of a block that was replaced
                tally.attach(holder, log)
                tally.hand_over(holder, home, Source.CHAIN, other.cash_micros, sight)
                return holder
            fill = free[0] if free else None
        if fill is None:
            return self._create(log, _gone(tally.heads(log.key), cash))
        tally.attach(fill, log)
        return fill

    def see_rows(self, rows: Sequence[RowSighting]) -> None:
        """Take in all rows that one complete listing has for one key, oldest first."""
        tally, key = self._tally, rows[0].key
        heads = tally.heads(key)
        standing = [fill for fill in heads if fill.stands]
        left: list[RowSighting] = []
        for row, fill in zip(rows, pair([row.cash_micros for row in rows], standing), strict=True):
            if fill is None:
                left.append(row)
                continue
            tally.sight(fill, Source.DATA_API, row)
            tally.confirm(fill)
            standing.remove(fill)
        if left:
            self._see_unpaired(rows, left, standing, [fill for fill in heads if not fill.stands])
        self._reconsider(key)

    def _see_unpaired(
        self, rows: Sequence[RowSighting], left: list[RowSighting], unpaired: list[Fill], gone: list[Fill]
    ) -> None:
        """Take in the rows of a listing that agree with no standing fill of their own.

        What the count asks for is a new fill; of the others each contradicts one of the fills that have no row.
        """
        tally = self._tally
        left.sort(key=lambda row: _gone(gone, row.cash_micros) is None)
        surplus = max(0, len(left) - len(unpaired))
        waiting = [row for row in left[:surplus] if not self._see_extra_row(row, gone)]
        flagged = tally.standing(rows[0].key)
        contradicting: list[RowSighting] = []
        for row in left[surplus:]:
            told_before = any(fill.told(row.cash_micros, Source.DATA_API) for fill in flagged)
            # One of a fill that was taken back contradicts none that stands.
            waits = _gone(gone, row.cash_micros) and not told_before
            (waiting if waits else contradicting).append(row)
        tally.waiting += len(waiting)
        listing = sorted(row.cash_micros for row in rows)
        for row in waiting:
            listing.remove(row.cash_micros)
        if contradicting:
            self._flag(contradicting, unpaired, listing)

    def _flag(self, rows: Sequence[RowSighting], unpaired: list[Fill], listing: list[int]) -> None:
        """Flag rows that have no fill: each on one that was told the same before, else on one without a row."""
        tally, standing = self._tally, self._tally.standing(rows[0].key)
        known = [flag.cash_micros for flag in _flags(standing) if flag.listing == listing]
        flagged = [fill for fill in standing if fill.mismatch]
        for row in _beyond(rows, known):
            fill = next((fill for fill in flagged if fill.told(row.cash_micros)), None)
            if fill is None:
                fill = min(unpaired, key=lambda each: len(each.contradictions()))
            if fill in flagged:
                flagged.remove(fill)
            if fill in unpaired:
                unpaired.remove(fill)
                tally.sight(fill, Source.DATA_API, row)
                tally.confirm(fill)
            tally.flag(fill, Source.DATA_API, row, listing)

    def _see_extra_row(self, row: RowSighting, gone: list[Fill]) -> bool:
        """Record a row for which no fill stands, unless it is of a transaction just taken back: the chain may speak."""
        tally = self._tally
        before = _gone(gone, row.cash_micros)
        doubtful = before is not None or not any(fill.stands for fill in tally.fills)
        left = max((fill.event_time for fill in tally.fills if not fill.stands), default=None)
        early = row.seen_at - row.event_time < RESURRECTION_AFTER
        if doubtful and left and row.event_time <= left and early:
            return False
        if before:
            gone.remove(before)
        tally.sight(self._create(row, before), Source.DATA_API, row)
        return True

    def _create(self, seen: LogSighting | RowSighting, before: Fill | None) -> Fill:
        """Record a new fill, and give it the log that was flagged on another only because this one was not known."""
        tally = self._tally
        new = tally.create(seen, before)
        flagged = [fill for fill in tally.standing(new.key) if fill.contradictions(Source.CHAIN)]
        giver = next((fill for fill in flagged if fill.logged(new.cash_micros)), None)
        if giver and new.log_index is None:
            log, sight = tally.detach(giver, seen.seen_at)
            tally.attach(new, log)
            tally.hand_over(giver, new, Source.CHAIN, log.cash_micros, sight)
        return new

    def _reconsider(self, key: FillKey) -> None:
        """Withdraw the contradictions of a key's listings that can be paired with its fills by now.

        Of a listing that cannot, as many stay as it has rows too many. A row's sight goes to the last fill it agrees
        with: that is the one not known when it was flagged.
        What a log contradicts one fill with is not flagged on another one, too.
        """
        standing = self._tally.standing(key)
        by_listing: defaultdict[tuple[int, ...], list[Flag]] = defaultdict(list)
        for flag in _flags(standing):
            by_listing[tuple(flag.listing)].append(flag)
        for listing, flags in by_listing.items():
            unexplained = [cash for cash, fill in zip(listing, pair(listing, standing), strict=True) if fill is None]
            for flag in _beyond(flags, unexplained):
                agreeing = [fill for fill in standing if fill.agrees(flag.cash_micros)]
                self._tally.withdraw(flag, flag.fill if flag.fill in agreeing else agreeing[-1])
                flags.remove(flag)
            for fill in standing:
                same = [flag for flag in flags if fill.told(flag.cash_micros, Source.CHAIN)]
                astray = [flag for flag in same if not flag.fill.told(flag.cash_micros, Source.CHAIN)]
                if astray and all(flag.fill is not fill for flag in same):
                    self._tally.pass_on(astray[0], fill)
                    flags.remove(astray[0])

    def _free(self, key: FillKey) -> list[Fill]:
        """Return the standing fills of a key that no log told of yet."""
        return [fill for fill in self._tally.standing(key) if fill.log_index is None]


def _incarnation(fill: Fill) -> int:
    return fill.incarnation


def _gone(fills: Iterable[Fill], cash_micros: int) -> Fill | None:
    """Return the reversed fill among `fills` that a report of this cash is of, None where there is none."""
    gone = [fill for fill in fills if not fill.stands]
    return nearest(gone, cash_micros) or next((fill for fill in gone if fill.logged(cash_micros)), None)


def _flags(fills: Iterable[Fill]) -> list[Flag]:
    flagged = [fill for fill in fills if fill.mismatch]
    return [Flag(fill, told) for fill in flagged for told in fill.contradictions(Source.DATA_API)]


def _beyond(reports: Sequence[Report], known: Sequence[int]) -> list[Report]:
    """Return the reports beyond as many as are known; of those that are known equal ones are first."""
    rest, others = list(known), []
    for report in reports:
        if report.cash_micros in rest:
            rest.remove(report.cash_micros)
        else:
            others.append(report)
    return others[len(rest) :]
