"""Plays a tape: the exchange whose every answer was recorded, with its times moved to now."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.sandbox.exchange import Market, Wallet, dump_wire
from services.sandbox.history import NO_LOG, History, Log, Row
from services.sandbox.order_filled import EXCHANGE, EXCHANGE_V3, block_number, fee_micros, micros
from services.sandbox.rebase import POSITION_TIMES, RESOLUTION_TIMES, rebase_object
from services.sandbox.tape import (
    REQUIRED_FILES,
    Head,
    Line,
    LineFile,
    TapeError,
    Versions,
    check_activity,
    check_book,
    check_log,
    read_head,
)
from services.sandbox.tape_markets import TapeMarkets
from services.sandbox.timeline import Timeline

ROWS_RENDERED_MAX = 16_384
BOOKS_RENDERED_MAX = 512


@dataclass(slots=True)
class Place:
    """Where a row was recorded: its instants on the tape and its line."""

    at_ms: int
    block_at_ms: int
    offset: int
    length: int


@dataclass(slots=True)
class RecordedLog:
    """A raw log of `logs.jsonl`; its block's number and time follow the play, its hash is the recorded one."""

    seq: int
    at_ms: int
    timestamp: int
    tape_ms: int
    block_tape_ms: int
    body: dict[str, Any]
    recorded_reorg: bool = False

    @property
    def address(self) -> str:
        """Return the emitting contract."""
        return str(self.body["address"]).lower()

    @property
    def tx_hash(self) -> str:
        """Return its transaction."""
        return str(self.body["transactionHash"]).lower()

    @property
    def log_index(self) -> int:
        """Return its index within the block."""
        return int(str(self.body["logIndex"]), 16)

    @property
    def recorded_block_hash(self) -> str | None:
        """Return its own block hash."""
        return str(self.body["blockHash"])

    @property
    def taken_back(self) -> bool:
        """Tell whether it takes an earlier log back."""
        return bool(self.body.get("removed"))

    @property
    def topics(self) -> tuple[str, ...]:
        """Return its topics."""
        return tuple(str(topic).lower() for topic in self.body["topics"])

    def log(self, block_hash: str, *, removed: bool, stamped: bool) -> bytes:
        """Write it as recorded, in the play's block."""
        body = {key: value for key, value in self.body.items() if not key.startswith("_")}
        body["blockNumber"], body["blockHash"] = hex(block_number(self.timestamp)), block_hash
        if "blockTimestamp" in body:
            body["blockTimestamp"] = hex(self.timestamp)
            if not stamped:
                del body["blockTimestamp"]
        if removed:
            body["removed"] = True
        return dump_wire(body)


class TapeExchange:
    """The tape's exchange. Nothing has happened before play; books and markets in force at its start are served."""

    mode = "tape"

    def __init__(self, folder: Path, timeline_of: Callable[[Head], Timeline]) -> None:
        self.head: Head = read_head(folder)
        self.name = self.head.name
        self.wallets: Sequence[Wallet] = self.head.wallets
        self.timeline: Timeline = timeline_of(self.head)
        self.history = History()
        self._files = {name: LineFile(folder / name) for name in _FILES}
        for name in REQUIRED_FILES:
            if not (folder / name).is_file():
                raise TapeError(f"{folder / name}:1: expected a file of JSON lines, found no such file")
        self._markets = TapeMarkets(self._files["markets.jsonl"], self.head.start_ms)
        self._rows: list[Row] = []
        self._logs: list[RecordedLog] = []
        self._books: dict[str, Versions] = {}
        self._resolutions: list[tuple[int, dict[str, Any]]] = []
        self._held: dict[str, list[dict[str, Any]]] = {}
        self._rendered_rows: OrderedDict[int, bytes] = OrderedDict()
        self._rendered_books: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._built = False
        self._read()

    def advance(self, now: int) -> None:
        """Put the rows on the wall clock once play has started."""
        if self._built or not self.timeline.playing:
            return
        wall, lag = self.timeline.wall, self.timeline.shortened(self.head.api_lag_ms)
        for row in self._rows:
            place: Place = row.source
            row.at_ms = wall(place.at_ms)
            row.visible_ms = row.at_ms + lag
            row.timestamp = wall(place.block_at_ms) // 1000
        for log in self._logs:
            log.at_ms, log.timestamp = wall(log.tape_ms), wall(log.block_tape_ms) // 1000
        logs: list[Log] = [*self._logs] if self._logs else [row for row in self._rows if row.log_index != NO_LOG]
        self.history.extend(self._rows, logs)
        self._built = True

    def ends_ms(self) -> int | None:
        """Return when the last recorded thing is in force and visible."""
        if not self.timeline.playing:
            return None
        self.advance(self.timeline.now())
        instants = [self.head.end_ms, *(at_ms for at_ms, _ in self._resolutions), self._markets.last_ms]
        instants.extend(versions.at_ms[-1] for versions in self._books.values())
        instants.extend(log.tape_ms for log in self._logs)
        return max(self.timeline.wall(max(instants)), self.history.last_visible_ms)

    def row_json(self, row: Row) -> bytes:
        """Write a row as recorded, with the play's timestamp."""
        known = self._rendered_rows.get(row.seq)
        if known is not None:
            return known
        place: Place = row.source
        recorded = self._files["activity.jsonl"].read(place.offset, place.length)
        body = {key: value for key, value in recorded.items() if not key.startswith("_")}
        body["timestamp"] = row.timestamp
        written = dump_wire(body)
        self._rendered_rows[row.seq] = written
        if len(self._rendered_rows) > ROWS_RENDERED_MAX:
            self._rendered_rows.popitem(last=False)
        return written

    def book_json(self, token_id: str, now: int) -> bytes | None:
        """Write the book in force with its own hash; a closed market has none any more."""
        versions = self._books.get(token_id)
        source_ms = self.timeline.source(now)
        if versions is None or self._markets.closed(token_id, source_ms):
            return None
        place = versions.in_force(source_ms)
        if place < 0:
            return None
        known = self._rendered_books.get((token_id, place))
        if known is not None:
            return known
        body = self._files["books.jsonl"].read(versions.offset[place], versions.length[place])
        body["timestamp"] = str(self.timeline.wall(versions.at_ms[place]))
        written = dump_wire({key: value for key, value in body.items() if not key.startswith("_")})
        if self.timeline.playing:
            self._rendered_books[token_id, place] = written
            if len(self._rendered_books) > BOOKS_RENDERED_MAX:
                self._rendered_books.popitem(last=False)
        return written

    def markets(self, now: int) -> Sequence[Market]:
        """Return the markets in their versions in force."""
        return self._markets.at(self.timeline.source(now), self.timeline)

    def resolutions(self, now: int) -> Sequence[dict[str, Any]]:
        """Return the resolution rows in force; a later row of a condition replaces the earlier one."""
        source_ms = self.timeline.source(now)
        current = {str(body.get("condition_id")): body for at_ms, body in self._resolutions if at_ms <= source_ms}
        return [rebase_object(body, RESOLUTION_TIMES, self.timeline.wall) for body in current.values()]

    def held_at_start(self, wallet: str) -> Sequence[dict[str, Any]]:
        """Return the recorded positions of a wallet."""
        return [rebase_object(row, POSITION_TIMES, self.timeline.wall) for row in self._held.get(wallet, ())]

    def close(self) -> None:
        """Release the tape's files."""
        for file in self._files.values():
            file.close()

    def _read(self) -> None:
        self._read_activity()
        for line in self._files["books.jsonl"].lines():
            check_book(line)
            self._books.setdefault(line.value["asset_id"], Versions()).add(line.whole("timestamp"), line)
        for line in self._files["resolutions.jsonl"].lines():
            line.text("condition_id")
            self._resolutions.append((line.whole("_at_ms"), line.value))
        self._resolutions.sort(key=lambda each: each[0])
        for line in self._files["positions.jsonl"].lines():
            line.text("token_id")
            line.amount("current_size")
            self._held.setdefault(line.text("proxy_wallet").lower(), []).append(line.value)
        self._read_logs()

    def _read_logs(self) -> None:
        first_seen: dict[str, int] = {}
        for line in self._files["logs.jsonl"].lines():
            check_log(line)
            at_ms = line.whole("_at_ms")
            block_ms = min(first_seen.get(line.value["blockHash"], at_ms), at_ms)
            first_seen[line.value["blockHash"]] = block_ms
            self._logs.append(RecordedLog(line.number, 0, 0, at_ms, block_ms, line.value))
        gone = {log.recorded_block_hash for log in self._logs if log.taken_back}
        for log in self._logs:
            log.block_tape_ms = first_seen[log.body["blockHash"]]
            log.recorded_reorg = log.recorded_block_hash in gone

    def _read_activity(self) -> None:
        lines: list[tuple[int, int, Row]] = []
        reserved: set[int] = set()
        block_at: dict[tuple[str, int], int] = {}
        emitters = self._markets.emitters
        for line in self._files["activity.jsonl"].lines():
            check_activity(line)
            row, at_ms = _row(line, emitters), line.whole("_at_ms", line.whole("timestamp") * 1000)
            if row.log_index >= 0:
                reserved.add(row.log_index)
            transaction = row.tx_hash, line.whole("timestamp")
            block_at[transaction] = min(block_at.get(transaction, at_ms), at_ms)
            row.source = Place(at_ms, line.whole("timestamp"), line.offset, line.length)
            lines.append((at_ms, line.number, row))
        lines.sort(key=lambda each: each[:2])
        index = 0
        for seq, (_, _, row) in enumerate(lines, 1):
            row.seq = seq
            row.source.block_at_ms = block_at[row.tx_hash, row.source.block_at_ms]
            if row.log_index == _TO_NUMBER:
                while index in reserved:
                    index += 1
                row.log_index = index
                index += 1
            self._rows.append(row)


_FILES = (*REQUIRED_FILES, "resolutions.jsonl", "positions.jsonl", "logs.jsonl")
_TO_NUMBER = -2


def _row(line: Line, emitters: dict[str, str]) -> Row:
    value = line.value
    size, price, cash = line.amount("size"), line.amount("price"), micros(line.amount("usdc_size"))
    side, token_id = str(value.get("side") or ""), str(value.get("token_id") or "")
    condition_id, maker = str(value.get("condition_id") or ""), bool(value.get("_maker"))
    filled = value["type"] == "TRADE" and side in {"BUY", "SELL"} and token_id.isdigit() and size > 0
    log_index = NO_LOG
    if filled and not value.get("_no_log"):
        log_index = line.whole("_log_index", _TO_NUMBER)
    return Row(
        seq=0,
        at_ms=0,
        visible_ms=0,
        timestamp=0,
        wallet=value["proxy_wallet"].lower(),
        type=value["type"],
        side=side,
        condition_id=condition_id,
        token_id=token_id,
        tx_hash=value["transaction_hash"].lower(),
        share_micros=micros(size),
        cash_micros=cash,
        fee_micros=0 if maker else fee_micros(size, price, cash),
        maker=maker,
        log_index=log_index,
        address=EXCHANGE_V3 if value.get("is_combo") else emitters.get(condition_id, EXCHANGE),
        source=None,
    )
