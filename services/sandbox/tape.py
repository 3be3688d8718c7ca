"""Reads and checks a tape, a folder of recorded wire objects (SPEC 14); lines stay on disk, their places are kept."""

import os
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from services.sandbox.exchange import Wallet, parse_wire

REQUIRED_FILES = ("activity.jsonl", "books.jsonl", "markets.jsonl")

AMOUNT_MAX = 10**12
"""In whole units; anything above is garbage."""

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")


class TapeError(ValueError):
    """A tape that cannot be played; the text is `file:line: what was expected, what came`."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file: the parsed object and where it lies."""

    path: Path
    number: int
    offset: int
    length: int
    value: dict[str, Any]

    def fail(self, expected: str, came: object) -> TapeError:
        """Return the error that names this line."""
        return TapeError(f"{self.path}:{self.number}: expected {expected}, got {str(came)[:80]!r}")

    def text(self, key: str, pattern: re.Pattern[str] | None = None) -> str:
        """Return a text field, checked."""
        value = self.value.get(key)
        if not isinstance(value, str) or (pattern and not pattern.fullmatch(value)):
            raise self.fail(f"`{key}` to be {'text' if pattern is None else 'hex like ' + pattern.pattern}", value)
        return value

    def whole(self, key: str, default: int | None = None) -> int:
        """Return a whole number, given as number or text."""
        value = self.value.get(key, default)
        if isinstance(value, bool) or not str(value).lstrip("-").isdigit():
            raise self.fail(f"`{key}` to be a whole number", value)
        return int(str(value))

    def amount(self, key: str) -> Decimal:
        """Return a decimal number; null counts as 0."""
        value = self.value.get(key)
        if value is None:
            return Decimal(0)
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise self.fail(f"`{key}` to be a number", value)
        number = Decimal(value)
        if not abs(number) <= AMOUNT_MAX:
            raise self.fail(f"`{key}` to be at most {AMOUNT_MAX}", value)
        return number


class LineFile:
    """A JSON-lines file, read once through and later line by line where it lies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY) if path.exists() else -1

    def lines(self) -> Iterator[Line]:
        """Yield every line that is not blank; raises TapeError at the first that is no JSON object."""
        if self._descriptor < 0:
            return
        offset = 0
        with self.path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if raw.strip():
                    yield Line(self.path, number, offset, len(raw), self._object(raw, number))
                offset += len(raw)

    def read(self, offset: int, length: int) -> dict[str, Any]:
        """Return the object of one line."""
        value: dict[str, Any] = parse_wire(os.pread(self._descriptor, length, offset))
        return value

    def close(self) -> None:
        """Release the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _object(self, raw: bytes, number: int) -> dict[str, Any]:
        try:
            value = parse_wire(raw)
        except ValueError as error:
            raise TapeError(f"{self.path}:{number}: expected a JSON object, got no JSON ({error})") from error
        if not isinstance(value, dict):
            raise TapeError(f"{self.path}:{number}: expected a JSON object, got {type(value).__name__}")
        return value


@dataclass(slots=True)
class Versions:
    """Places of the versions of one thing, by the instant from which each is in force."""

    at_ms: "array[int]" = field(default_factory=lambda: array("q"))
    offset: "array[int]" = field(default_factory=lambda: array("q"))
    length: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, at_ms: int, line: Line) -> None:
        """Add a version; of two with the same instant the later line counts."""
        place = bisect_right(self.at_ms, at_ms)
        self.at_ms.insert(place, at_ms)
        self.offset.insert(place, line.offset)
        self.length.insert(place, line.length)

    def in_force(self, at_ms: int) -> int:
        """Return the place of the version in force, -1 before the first."""
        return bisect_right(self.at_ms, at_ms) - 1


@dataclass(frozen=True, slots=True)
class Head:
    """`tape.json`."""

    name: str
    start_ms: int
    end_ms: int
    wallets: tuple[Wallet, ...]
    api_lag_ms: int
    config: dict[str, Any]


def read_head(folder: Path) -> Head:
    """Read and check `tape.json`; raises TapeError."""
    path = folder / "tape.json"
    if not path.is_file():
        raise TapeError(f"{path}:1: expected a tape folder with tape.json, found no such file")
    text = path.read_bytes()
    try:
        value = parse_wire(text)
    except ValueError as error:
        number = getattr(error, "lineno", 1)
        raise TapeError(f"{path}:{number}: expected a JSON object, got no JSON ({error})") from error
    if not isinstance(value, dict):
        raise TapeError(f"{path}:1: expected a JSON object, got {type(value).__name__}")
    line = Line(path, 1, 0, len(text), value)
    start_ms, end_ms = line.whole("start_ms"), line.whole("end_ms")
    if end_ms < start_ms:
        raise line.fail(f"`end_ms` not before start_ms {start_ms}", end_ms)
    config = value.get("config") or {}
    if not isinstance(config, dict):
        raise line.fail("`config` to be an object", config)
    return Head(line.text("name"), start_ms, end_ms, _wallets(line), line.whole("api_lag_ms", 0), config)


def _wallets(line: Line) -> tuple[Wallet, ...]:
    given = line.value.get("wallets")
    if not isinstance(given, list) or not given:
        raise line.fail("`wallets` to be a list of {label, wallet}", given)
    wallets = []
    for each in given:
        label, address = (each.get("label"), each.get("wallet")) if isinstance(each, dict) else (None, None)
        if not isinstance(label, str) or not isinstance(address, str) or not _ADDRESS.fullmatch(address):
            raise line.fail("a wallet {label, wallet: 0x and 40 hex digits}", each)
        wallets.append(Wallet(label, address.lower()))
    return tuple(wallets)


def check_activity(line: Line) -> None:
    """Raise TapeError unless the line is an activity row."""
    line.text("proxy_wallet", _ADDRESS)
    line.text("transaction_hash", _HASH)
    line.text("type")
    line.whole("timestamp")
    line.whole("_at_ms", 0)
    line.whole("_log_index", 0)
    for name in ("size", "usdc_size", "price"):
        line.amount(name)


def check_book(line: Line) -> None:
    """Raise TapeError unless the line is a book."""
    line.text("market")
    if not line.text("asset_id").isdigit():
        raise line.fail("`asset_id` to be a decimal token id", line.value["asset_id"])
    line.text("hash")
    line.whole("timestamp")
    for side in ("bids", "asks"):
        levels = line.value.get(side)
        if not isinstance(levels, list):
            raise line.fail(f"`{side}` to be a list", levels)
        for level in levels:
            if not isinstance(level, dict) or not {"price", "size"} <= level.keys():
                raise line.fail(f"levels {{price, size}} in `{side}`", level)


def check_market(line: Line) -> None:
    """Raise TapeError unless the line is a Gamma market."""
    line.text("conditionId")
    line.whole("_at_ms", 0)
    name = "positionIds" if line.value.get("version") == "v2" else "clobTokenIds"
    if not token_ids(line.value):
        raise line.fail(f"`{name}` to list token ids", line.value.get(name))


def check_log(line: Line) -> None:
    """Raise TapeError unless the line is a raw log with its instant."""
    line.whole("_at_ms")
    line.text("address", _ADDRESS)
    line.text("data")
    line.text("transactionHash", _HASH)
    line.text("blockHash", _HASH)
    for name in ("blockNumber", "logIndex"):
        line.text(name, re.compile(r"0x[0-9a-fA-F]+"))
    if not isinstance(line.value.get("topics"), list):
        raise line.fail("`topics` to be a list", line.value.get("topics"))


def listed(value: object) -> list[str]:
    """Return a list that the wire gives as JSON inside a string, or as a list."""
    if isinstance(value, str):
        try:
            value = parse_wire(value)
        except ValueError:
            return []
    return [str(each) for each in value] if isinstance(value, list) else []


def token_ids(market: dict[str, Any]) -> list[str]:
    """Return a market's token ids, chosen by its version."""
    return listed(market.get("positionIds") if market.get("version") == "v2" else market.get("clobTokenIds"))
