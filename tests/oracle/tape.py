"""What a tape says happened: followed wallets, their fills and other rows, books by hash, markets, payouts.

Read straight from the tape's files as SPEC 14 describes them; nothing of the services is used, so that a mistake made
there is not made here too.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

MICROS = 1_000_000
ORDER_FILLED = "0xd543adfd945773f1a62f74f0ee55a5e3b9b1a28262980ba90b1a89f2ea84d8ee"
EXCHANGES = {
    "0xe111180000d2663c0091e4f400237545b87b996b",
    "0xe2222d279d744050d28e00520010520000310f59",
    "0xe3333700ca9d93003f00f0f71f8515005f6c00aa",
}

FillKey = tuple[str, str, str, str, int]
"""Transaction, wallet, asset, side, shares: what an activity row tells fills apart by."""


@dataclass(frozen=True)
class TapeFill:
    """One fill of a followed wallet; `cash_micros` includes the fee."""

    key: FillKey
    label: str
    condition_id: str
    cash_micros: int
    fee_micros: int
    maker: bool | None
    at_ms: int

    @property
    def notional_micros(self) -> int:
        """Cash without the fee."""
        return self.cash_micros - self.fee_micros if self.key[3] == "BUY" else self.cash_micros + self.fee_micros


@dataclass(frozen=True)
class TapeRow:
    """Any other activity row of a followed wallet."""

    label: str
    wallet: str
    type: str
    condition_id: str
    asset_id: str
    share_micros: int
    usdc_micros: int
    tx_hash: str
    at_ms: int


@dataclass(frozen=True)
class TapeBook:
    """One book version: (price, size) in micros, best first."""

    asset_id: str
    hash: str
    at_ms: int
    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class MarketState:
    """A market from `at_ms` on; `close_ms` is on the tape's clock."""

    at_ms: int
    closed: bool
    accepting: bool
    close_ms: int | None


@dataclass
class TapeMarket:
    """A market's tokens by outcome index, its taker fee, and its states in order."""

    condition_id: str
    assets: tuple[str, ...]
    fee_rate: Fraction
    fee_exponent: int
    states: list[MarketState]
    event_id: str = ""


@dataclass
class Tape:
    """A whole tape."""

    name: str
    start_ms: int
    labels: dict[str, str]
    config: dict[str, Any]
    fills: list[TapeFill] = field(default_factory=list)
    rows: list[TapeRow] = field(default_factory=list)
    combos: list[TapeRow] = field(default_factory=list)
    books: dict[tuple[str, str], TapeBook] = field(default_factory=dict)
    book_times: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    markets: dict[str, TapeMarket] = field(default_factory=dict)
    payouts: dict[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    openings: Counter[tuple[str, str]] = field(default_factory=Counter)
    opening_costs: Counter[tuple[str, str]] = field(default_factory=Counter)

    def market_of(self, asset_id: str) -> TapeMarket | None:
        """Return the market a token belongs to."""
        return next((market for market in self.markets.values() if asset_id in market.assets), None)


def exact_micros(value: object) -> int:
    """Return a wire number in micros, to the nearest."""
    return round(Fraction(Decimal(str(value))) * MICROS)


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file; nothing where there is none."""
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.strip():
                    yield json.loads(line, parse_float=Decimal)


def _listed(value: object) -> list[Any]:
    return list(json.loads(value)) if isinstance(value, str) else list(value or [])  # type: ignore[call-overload]


def is_combo(row: dict[str, Any]) -> bool:
    """Tell a multi-leg row, whose condition id has 62 hex digits."""
    condition = str(row.get("condition_id") or "")
    return bool(row.get("is_combo")) or len(condition.removeprefix("0x")) == 62


def _fill(row: dict[str, Any], label: str, at_ms: int) -> TapeFill:
    shares, cash = exact_micros(row["size"]), exact_micros(row["usdc_size"])
    gross = round(Fraction(Decimal(str(row["size"]))) * Fraction(Decimal(str(row["price"]))) * MICROS)
    distance = abs(cash - gross)
    tolerance = 10 + Fraction(shares, 10**10)
    fee = 0 if row.get("_maker") or distance <= tolerance else round(Fraction(distance, 10)) * 10
    key = (
        str(row["transaction_hash"]).lower(),
        str(row["proxy_wallet"]).lower(),
        str(row["token_id"]),
        str(row["side"]),
        shares,
    )
    return TapeFill(key, label, str(row["condition_id"]).lower(), cash, fee, row.get("_maker"), at_ms)


def _read_activity(tape: Tape, folder: Path) -> None:
    for row in json_lines(folder / "activity.jsonl"):
        wallet = str(row.get("proxy_wallet", "")).lower()
        if wallet not in tape.labels:
            continue
        at_ms = int(row.get("_at_ms", int(row["timestamp"]) * 1000))
        shares = exact_micros(row.get("size") or 0)
        real = row["type"] == "TRADE" and shares > 0 and row.get("token_id") and row.get("side") in {"BUY", "SELL"}
        if real and not is_combo(row):
            tape.fills.append(_fill(row, tape.labels[wallet], at_ms))
            continue
        other = TapeRow(
            label=tape.labels[wallet],
            wallet=wallet,
            type=str(row["type"]),
            condition_id=str(row.get("condition_id") or "").lower(),
            asset_id=str(row.get("token_id") or ""),
            share_micros=shares,
            usdc_micros=exact_micros(row.get("usdc_size") or 0),
            tx_hash=str(row["transaction_hash"]).lower(),
            at_ms=at_ms,
        )
        (tape.combos if is_combo(row) else tape.rows).append(other)


def _decoded_log(log: dict[str, Any], labels: dict[str, str]) -> TapeFill | None:
    topics = [str(topic).lower() for topic in log.get("topics", [])]
    if len(topics) != 4 or topics[0] != ORDER_FILLED or str(log.get("address", "")).lower() not in EXCHANGES:
        return None
    wallet, taker = "0x" + topics[2][-40:], "0x" + topics[3][-40:]
    if wallet not in labels:
        return None
    words = [int(str(log["data"])[2 + 64 * n : 66 + 64 * n], 16) for n in range(5)]
    side = "BUY" if words[0] == 0 else "SELL"
    notional, shares = (words[2], words[3]) if side == "BUY" else (words[3], words[2])
    cash = notional + words[4] if side == "BUY" else notional - words[4]
    key = (str(log["transactionHash"]).lower(), wallet, str(words[1]), side, shares)
    return TapeFill(key, labels[wallet], "", cash, words[4], taker not in EXCHANGES, int(log["_at_ms"]))


def _merge_logs(tape: Tape, folder: Path) -> None:
    """Count each key's fills as SPEC 3 does: the larger of valid logs and rows of one listing, never their sum."""
    valid: dict[tuple[str, str, int], TapeFill] = {}
    for log in json_lines(folder / "logs.jsonl"):
        place = (str(log.get("blockHash")), str(log["transactionHash"]).lower(), int(str(log["logIndex"]), 16))
        fill = _decoded_log(log, tape.labels)
        if fill is None:
            continue
        if log.get("removed"):
            valid.pop(place, None)
        else:
            valid[place] = fill
    seen = Counter(fill.key for fill in tape.fills)
    conditions = {fill.key[2]: fill.condition_id for fill in tape.fills}
    logged: Counter[FillKey] = Counter()
    for fill in valid.values():
        logged[fill.key] += 1
        if logged[fill.key] > seen[fill.key]:
            condition = conditions.get(fill.key[2], "")
            tape.fills.append(
                TapeFill(fill.key, fill.label, condition, fill.cash_micros, fill.fee_micros, fill.maker, fill.at_ms)
            )


def _read_books(tape: Tape, folder: Path) -> None:
    for row in json_lines(folder / "books.jsonl"):
        sides = {
            name: [
                (exact_micros(each["price"]), exact_micros(each["size"])) for each in row[name] if float(each["size"])
            ]
            for name in ("bids", "asks")
        }
        asset, at_ms = str(row["asset_id"]), int(row["timestamp"])
        bids, asks = tuple(sorted(sides["bids"], reverse=True)), tuple(sorted(sides["asks"]))
        tape.books[asset, str(row["hash"])] = TapeBook(asset, str(row["hash"]), at_ms, bids, asks)
        tape.book_times.setdefault(asset, []).append((at_ms, str(row["hash"])))
    for versions in tape.book_times.values():
        versions.sort(key=lambda version: version[0])


def _milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _read_markets(tape: Tape, folder: Path) -> None:
    for row in json_lines(folder / "markets.jsonl"):
        condition = str(row["conditionId"]).lower()
        ids = _listed(row.get("positionIds") if row.get("version") == "v2" else row.get("clobTokenIds"))
        schedule = row.get("feeSchedule") or {}
        charged = bool(row.get("feesEnabled")) and bool(schedule)
        rate = Fraction(Decimal(str(schedule["rate"]))) if charged else Fraction(0)
        close = _milliseconds(str(row["endDate"])) if row.get("endDate") else None
        state = MarketState(
            int(row.get("_at_ms", tape.start_ms)),
            bool(row.get("closed")),
            bool(row.get("acceptingOrders", True)),
            close,
        )
        known = tape.markets.get(condition)
        states = [*(known.states if known else []), state]
        exponent = int(schedule.get("exponent", 1))
        event = next((str(each.get("id") or "") for each in row.get("events") or ()), "")
        assets = tuple(str(each) for each in ids)
        tape.markets[condition] = TapeMarket(condition, assets, rate, exponent, states, event)


def read_tape(folder: Path) -> Tape:
    """Read a tape folder."""
    head = json.loads((folder / "tape.json").read_text(encoding="utf-8"))
    labels = {str(each["wallet"]).lower(): str(each["label"]) for each in head["wallets"]}
    tape = Tape(str(head["name"]), int(head["start_ms"]), labels, head.get("config") or {})
    _read_activity(tape, folder)
    _merge_logs(tape, folder)
    _read_books(tape, folder)
    _read_markets(tape, folder)
    for row in json_lines(folder / "resolutions.jsonl"):
        if row["status"] == "resolved":
            payouts = tuple(int(each) for each in row["payouts"])
            tape.payouts[str(row["condition_id"]).lower()] = (int(row["_at_ms"]), payouts)
    for row in json_lines(folder / "positions.jsonl"):
        wallet = str(row["proxy_wallet"]).lower()
        if wallet in labels:
            place, shares = (labels[wallet], str(row["token_id"])), exact_micros(row["current_size"])
            tape.openings[place] += shares
            tape.opening_costs[place] += shares * exact_micros(row.get("current_price") or 0) // MICROS
    return tape
