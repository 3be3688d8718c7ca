"""The synthetic exchange: plans what its wallets do a little ahead and keeps a few hours of it."""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

from services.sandbox.exchange import Market, Wallet
from services.sandbox.history import NO_LOG, History, Row
from services.sandbox.market.depth import Books
from services.sandbox.market.habits import DEALING_MS_MAX, HABITS, Dealings, Deed, all_wallets
from services.sandbox.market.lives import DAY_MS, HOUR_MS, Life, Lives
from services.sandbox.market.questions import SUBJECTS
from services.sandbox.market.wording import Wording, cash_micros, taker_fee_micros
from services.sandbox.order_filled import digest, exchange_of
from services.sandbox.timeline import Timeline

AHEAD_MS = 10_000
"""How far beyond now deeds are planned."""
KEPT_MS = 2 * HOUR_MS + DEALING_MS_MAX
"""How much history is kept, of which the oldest part only completes the dealings of the rest."""
DROP_EVERY_MS = 300_000
CLOSED_KEPT_MS = 2 * DAY_MS
"""How long resolved markets stay listed."""
API_LAG_MS = 3_000
ROWS_RENDERED_MAX = 4_096
LOG_INDEX_MS = 16_000
"""Log indexes repeat after this long, far beyond any block."""


class SyntheticExchange:
    """Plays for ever; sleeps while its process does."""

    mode = "synthetic"

    def __init__(self, seed: int, timeline: Timeline) -> None:
        self.name = f"synthetic-{seed}"
        self.timeline = timeline
        self.history = History()
        self._seed = seed
        self._lives = Lives(seed)
        self._books = Books(self._lives)
        self._dealings = Dealings(seed, self._lives, self._books)
        self._wording = Wording(seed, timeline.wall)
        self.wallets: Sequence[Wallet] = tuple(
            Wallet(habit.label, self._wording.wallet(number)) for number, habit in all_wallets()
        )
        self._planned: list[tuple[int, int, Deed]] = []
        self._next: list[int] = []
        self._until_ms = -1
        self._dropped_ms = 0
        self._tokens: dict[str, tuple[Life, int]] = {}
        self._tokens_until_ms = -1
        self._rows_rendered: dict[int, bytes] = {}
        self._books_rendered: dict[str, tuple[int, bytes]] = {}
        self._listed: tuple[int, Sequence[Market]] = (-1, ())

    def advance(self, now: int) -> None:
        """Plan up to a little beyond now; the first call plans the history that is kept."""
        if not self.timeline.playing:
            return
        reached = self.timeline.source(now)
        if self._until_ms >= reached + AHEAD_MS // 2:
            return
        if not self._next:
            oldest = max(0, reached - KEPT_MS)
            self._next = [self._dealings.first_number(number, oldest) for number, _ in all_wallets()]
        until = reached + AHEAD_MS
        for wallet in range(len(HABITS)):
            while self._dealings.begins_ms(wallet, self._next[wallet]) <= until:
                for deed in self._dealings.deeds(wallet, self._next[wallet]):
                    heappush(self._planned, (deed.at_ms, _seq(deed), deed))
                self._next[wallet] += 1
        rows = []
        while self._planned and self._planned[0][0] <= until:
            rows.append(self._row(heappop(self._planned)[2]))
        self.history.extend(rows, [row for row in rows if row.log_index != NO_LOG])
        self._until_ms = until
        if now - self._dropped_ms > DROP_EVERY_MS:
            self.history.drop_before(now - KEPT_MS)
            self._dropped_ms = now

    def ends_ms(self) -> int | None:
        """Return None: it never ends."""
        return None

    def row_json(self, row: Row) -> bytes:
        """Write an activity row."""
        known = self._rows_rendered.get(row.seq)
        if known is None:
            known = self._wording.activity(row.source, row.timestamp, row.tx_hash, row.fee_micros)
            if len(self._rows_rendered) >= ROWS_RENDERED_MAX:
                del self._rows_rendered[next(iter(self._rows_rendered))]
            self._rows_rendered[row.seq] = known
        return known

    def book_json(self, token_id: str, now: int) -> bytes | None:
        """Write the book in force; a resolved market has none."""
        reached = self.timeline.source(now)
        self._learn_tokens(reached)
        found = self._tokens.get(token_id)
        if found is None or not found[0].opens_ms <= reached < found[0].resolves_ms:
            return None
        life, leg = found
        depth = self._books.at(life, reached)
        known = self._books_rendered.get(token_id)
        if known is not None and known[0] == depth.starts_ms and self.timeline.playing:
            return known[1]
        written = self._wording.book(life, leg, depth, self._books.last_price(life, depth.starts_ms))
        self._books_rendered[token_id] = (depth.starts_ms, written)
        return written

    def markets(self, now: int) -> Sequence[Market]:
        """Return open markets and those resolved in the last days."""
        reached = self.timeline.source(now)
        second = reached // 1000
        if self._listed[0] == second and self.timeline.playing:
            return self._listed[1]
        found = [
            self._wording.market(
                life,
                self._books.at(life, min(reached, life.resolves_ms - 1)),
                self._books.last_price(life, min(reached, life.resolves_ms - 1)),
                reached,
            )
            for life in self._lives.all_until(reached)
            if life.resolves_ms > reached - CLOSED_KEPT_MS
        ]
        self._listed = (second, found)
        return found

    def resolutions(self, now: int) -> Sequence[dict[str, Any]]:
        """Return the rows of every life that has ended."""
        reached = self.timeline.source(now)
        return [
            self._wording.resolution(life) for life in self._lives.all_until(reached) if life.resolves_ms <= reached
        ]

    def held_at_start(self, wallet: str) -> Sequence[dict[str, Any]]:
        """Return nothing: every wallet starts flat."""
        return ()

    def close(self) -> None:
        """Release nothing."""

    def _learn_tokens(self, reached: int) -> None:
        if reached < self._tokens_until_ms:
            return
        for place in range(len(SUBJECTS)):
            life = self._lives.at(place, reached)
            for leg, token in enumerate(self._wording.names(life).tokens):
                self._tokens[token] = (life, leg)
                if len(self._tokens) > 64 * len(SUBJECTS):
                    del self._tokens[next(iter(self._tokens))]
        self._tokens_until_ms = reached + 1_000

    def _row(self, deed: Deed) -> Row:
        names, at_ms = self._wording.names(deed.life), self.timeline.wall(deed.at_ms)
        fee = taker_fee_micros(deed)
        traded = deed.type == "TRADE"
        return Row(
            seq=_seq(deed),
            at_ms=at_ms,
            visible_ms=at_ms + self.timeline.shortened(API_LAG_MS),
            timestamp=at_ms // 1000,
            wallet=self.wallets[deed.wallet].address,
            type=deed.type,
            side=deed.side,
            condition_id=names.condition_id,
            token_id=names.tokens[deed.leg] if deed.leg is not None else "",
            tx_hash="0x" + digest("tx", self._seed, deed.wallet, deed.number, deed.step).hex(),
            share_micros=deed.lots * 10_000,
            cash_micros=cash_micros(deed, fee),
            fee_micros=fee,
            maker=deed.maker,
            log_index=_log_index(deed) if traded else NO_LOG,
            address=exchange_of(negative_risk=deed.life.subject.negative_risk, version="v1"),
            source=deed,
        )


def _log_index(deed: Deed) -> int:
    """Return an index no other fill of the same block has: instant, wallet (by the raster), dealing, copy."""
    return ((deed.at_ms % LOG_INDEX_MS) << 7) | ((deed.number & 63) << 1) | deed.copy


def _seq(deed: Deed) -> int:
    """Return a number that orders deeds and is unique: instant, wallet, dealing, step."""
    return (deed.at_ms << 20) | (deed.wallet << 14) | ((deed.number & 63) << 8) | (deed.step << 1) | deed.copy
