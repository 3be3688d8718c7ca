"""The tape of the worked example; what happens on it is told in `worked_example`."""

import json
from pathlib import Path
from typing import Any

WALLET = "0x" + "a1" * 20
CONDITION = "0x" + "c0" * 32
COMBO = "0x" + "c0" * 31
UP, DOWN = "111", "222"
TX = {name: "0x" + name * 64 for name in "1234567"}
START_MS = 1_700_000_000_000


def at(seconds: float) -> str:
    """Return a wall time, in seconds after play started."""
    return f"2026-11-22T10:{int(seconds) // 60:02d}:{seconds % 60:09.6f}Z"


def _row(kind: str, tx: str, second: int, **values: Any) -> dict[str, Any]:
    blank = {"size": 0, "usdc_size": 0, "price": 0, "token_id": "", "side": "", "condition_id": CONDITION}
    stamp = START_MS // 1000 + second
    return {"type": kind, "proxy_wallet": WALLET, "transaction_hash": TX[tx], "timestamp": stamp, **blank, **values}


def tape_files() -> dict[str, Any]:
    """Return the tape's files by name."""
    book = {
        "asset_id": UP,
        "timestamp": str(START_MS),
        "hash": "h1",
        "bids": [{"price": "0.50", "size": "1000"}],
        "asks": [{"price": "0.52", "size": "1000"}, {"price": "0.51", "size": "10"}],
    }
    market = {
        "conditionId": CONDITION,
        "clobTokenIds": json.dumps([UP, DOWN]),
        "version": "v1",
        "endDate": "2030-01-01T12:00:00Z",
        "closed": False,
        "acceptingOrders": True,
        "feesEnabled": True,
        "feeSchedule": {"rate": 0.05, "exponent": 1},
    }
    buy = {"size": 2000, "price": 0.51, "usdc_size": 1044.99, "token_id": UP, "side": "BUY", "_maker": False}
    sell = {"size": 1000, "price": 0.505, "usdc_size": 505, "token_id": UP, "side": "SELL", "_maker": True}
    combo = {"size": 10, "price": 0.5, "usdc_size": 5, "token_id": "999", "side": "BUY", "condition_id": COMBO}
    return {
        "tape.json": {
            "name": "worked",
            "start_ms": START_MS,
            "end_ms": START_MS + 70_000,
            "api_lag_ms": 0,
            "wallets": [{"label": "anna", "wallet": WALLET}],
        },
        "activity.jsonl": [
            _row("TRADE", "1", 2, **buy),
            _row("SPLIT", "2", 10, size=500, usdc_size=500),
            _row("TRADE", "3", 20, **sell),
            _row("REWARD", "4", 30, size=1, usdc_size=1, condition_id=""),
            _row("TRADE", "5", 40, **combo),
        ],
        "books.jsonl": [book],
        "markets.jsonl": [market],
        "resolutions.jsonl": [
            {"condition_id": CONDITION, "status": "resolved", "payouts": [1000000, 0], "_at_ms": START_MS + 60_000}
        ],
    }


def write_files(folder: Path, files: dict[str, Any]) -> None:
    """Write JSON and JSON-lines files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        lines = content if isinstance(content, list) else [content]
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
