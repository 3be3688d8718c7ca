"""Tapes are read whole or refused with the line that is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.sandbox.commands import TapeError, validate_tape
from tests.support.sandbox import write_tape

TAPES = Path(__file__).parents[3] / "shared" / "tapes"
WALLET = "0x" + "ab" * 20
HEAD = {"name": "t", "start_ms": 1_000_000, "end_ms": 2_000_000, "wallets": [{"label": "w", "wallet": WALLET}]}
ROW = {
    "proxy_wallet": WALLET,
    "timestamp": 1_001,
    "type": "TRADE",
    "transaction_hash": "0x" + "1" * 64,
    "size": 1,
    "usdc_size": 0.5,
    "price": 0.5,
    "side": "BUY",
    "token_id": "7",
    "condition_id": "0xc",
}
BOOK = {"market": "0xc", "asset_id": "7", "timestamp": "1000000", "hash": "h", "bids": [], "asks": []}
MARKET = {"id": "1", "conditionId": "0xc", "clobTokenIds": '["7", "8"]'}


@pytest.mark.parametrize("name", ["btc-15m-a", "wallets-a"])
def test_recorded_tapes_are_valid(name: str) -> None:
    if not TAPES.is_dir():
        pytest.skip(f"recorded tapes are not at {TAPES}")
    head = validate_tape(TAPES / name)
    assert head.name == name
    assert head.api_lag_ms == 3000


def test_a_valid_tape_tells_its_wallets_and_config(tmp_path: Path) -> None:
    config = {"global": {"COPY_PCT": "2"}}
    tape = write_tape(tmp_path, {**HEAD, "config": config}, activity=[ROW], books=[BOOK], markets=[MARKET])
    head = validate_tape(tape)
    assert [each.label for each in head.wallets] == ["w"]
    assert head.config == config


def without(value: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name != key}


@pytest.mark.parametrize(
    ("file", "line", "says"),
    [
        ("activity", {**ROW, "proxy_wallet": "0x12"}, "`proxy_wallet` to be hex"),
        ("activity", {**ROW, "transaction_hash": None}, "`transaction_hash`"),
        ("activity", without(ROW, "type"), "`type` to be text"),
        ("activity", {**ROW, "timestamp": "soon"}, "`timestamp` to be a whole number, got 'soon'"),
        ("activity", {**ROW, "size": "1"}, "`size` to be a number"),
        ("activity", {**ROW, "_log_index": "x"}, "`_log_index` to be a whole number"),
        ("books", {**BOOK, "asset_id": "x7"}, "`asset_id` to be a decimal token id"),
        ("books", {**BOOK, "bids": [{"price": "0.5"}]}, "levels {price, size} in `bids`"),
        ("markets", {**MARKET, "clobTokenIds": "[]"}, "`clobTokenIds` to list token ids"),
        ("markets", {**MARKET, "version": "v2"}, "`positionIds` to list token ids"),
        ("resolutions", {"condition_id": "0xc", "status": "resolved"}, "`_at_ms` to be a whole number, got 'None'"),
        ("positions", {"token_id": "7", "current_size": 1}, "`proxy_wallet`"),
        ("logs", {"_at_ms": 1}, "`address`"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, file: str, line: dict[str, Any], says: str) -> None:
    good: dict[str, dict[str, Any]] = {"activity": ROW, "books": BOOK, "markets": MARKET}
    lines = [good[file], line] if file in good else [line]
    tape = write_tape(tmp_path, HEAD, **{file: lines})
    with pytest.raises(TapeError) as refused:
        validate_tape(tape)
    assert f"{file}.jsonl:{len(lines)}: expected " in str(refused.value)
    assert says in str(refused.value)


def remove_books(folder: Path) -> None:
    (folder / "books.jsonl").unlink()


def break_json(folder: Path) -> None:
    (folder / "activity.jsonl").write_text('{"a": 1\n')


def list_for_object(folder: Path) -> None:
    (folder / "markets.jsonl").write_text("\n[]\n")


def break_head(folder: Path) -> None:
    (folder / "tape.json").write_text(json.dumps({**HEAD, "wallets": []}))


def remove_head(folder: Path) -> None:
    (folder / "tape.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (remove_books, "books.jsonl:1: expected a file of JSON lines, found no such file"),
        (break_json, "activity.jsonl:1: expected a JSON object, got no JSON"),
        (list_for_object, "markets.jsonl:2: expected a JSON object, got list"),
        (break_head, "tape.json:1: expected `wallets` to be a list"),
        (remove_head, "tape.json:1: expected a tape folder with tape.json, found no such file"),
    ],
)
def test_a_broken_folder_is_named(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(write_tape(tmp_path, HEAD))
    with pytest.raises(TapeError, match=says.replace("(", r"\(")):
        validate_tape(tmp_path)
