"""Writes the cases of `edge_cases` as a tape with a configuration of its own."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tests.support.edge_cases import (
    BLACKLISTED_CONDITIONS,
    BLACKLISTED_TOKENS,
    LENGTH_SECONDS,
    STEPS,
    USDC,
    USERS,
    VENUES,
    Levels,
    Step,
    Venue,
)

START_MS: Final = 1_780_000_000_000
BANKROLL: Final = 10_000 * USDC
_NUMBERS: Final = {name: number for number, name in enumerate(VENUES, 1)}
_LATER: Final = 10**9


def condition_of(venue: str) -> str:
    """Return the id of a venue's condition."""
    return f"0xed{_NUMBERS[venue]:062x}"


def token_of(venue: str, outcome: int) -> str:
    """Return the id of one of a venue's tokens, as long as real ones."""
    return str(5 * 10**76 + _NUMBERS[venue] * 10 + outcome)


def transaction_of(step: Step) -> str:
    """Return the transaction a step happens in; what became of the step is found by it."""
    return "0x" + sha256(step.name.encode()).hexdigest()


def wallet_of(user: str) -> str:
    """Return the wallet of a user."""
    return "0x" + sha256(user.encode()).hexdigest()[:40]


def _activity() -> list[dict[str, Any]]:
    rows = []
    for step in sorted(STEPS, key=lambda each: each.at):
        at_ms = START_MS + round(step.at * 1000)
        trade = step.kind in {"BUY", "SELL"}
        for size, price in step.fills:
            rows.append(
                {
                    "proxy_wallet": wallet_of(step.user),
                    "type": "TRADE" if trade else step.kind,
                    "transaction_hash": transaction_of(step),
                    "timestamp": at_ms // 1000,
                    "_at_ms": at_ms,
                    "_maker": True,
                    "condition_id": condition_of(step.venue),
                    "token_id": token_of(step.venue, step.outcome) if trade else "",
                    "side": step.kind if trade else "",
                    "size": Decimal(size),
                    "price": Decimal(price) if trade else Decimal(0),
                    "usdc_size": Decimal(size) * Decimal(price),
                    "outcome_index": step.outcome if trade else 999,
                    "title": step.name,
                }
            )
    return rows


def _market(name: str, venue: Venue) -> dict[str, Any]:
    tokens = [token_of(name, outcome) for outcome in range(venue.outcomes)]
    ends = START_MS / 1000 + (_LATER if venue.ends is None else venue.ends)
    line: dict[str, Any] = {
        "id": str(_NUMBERS[name]),
        "question": f"{name}?",
        "conditionId": condition_of(name),
        "slug": name,
        "endDate": datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "outcomes": json.dumps([f"outcome {number}" for number in range(venue.outcomes)]),
        "clobTokenIds": json.dumps(tokens),
        "active": True,
        "closed": venue.closed,
        "acceptingOrders": venue.accepting,
        "enableOrderBook": True,
        "negRisk": False,
        "feesEnabled": venue.rate != "0",
        "version": "v1",
    }
    if venue.rate != "0":
        line["feeSchedule"] = {"rate": Decimal(venue.rate), "exponent": venue.exponent, "takerOnly": True}
    return line


def _books() -> list[dict[str, Any]]:
    found = []
    for name, venue in VENUES.items():
        versions = [] if venue.bids is None or venue.asks is None else [(0.0, venue.bids, venue.asks)]
        versions += [venue.then] if venue.then else []
        for outcome in range(2):
            found += [_book(name, outcome, *version) for version in versions]
    return found


def _book(name: str, outcome: int, at: float, bids: Levels, asks: Levels) -> dict[str, Any]:
    def worst_first(levels: Levels) -> list[dict[str, str]]:
        return [{"price": price, "size": size} for price, size in reversed(levels)]

    return {
        "market": condition_of(name),
        "asset_id": token_of(name, outcome),
        "timestamp": str(START_MS + round(at * 1000)),
        "hash": sha256(f"{name} {outcome} {at}".encode()).hexdigest()[:40],
        "bids": worst_first(bids),
        "asks": worst_first(asks),
        "min_order_size": "5",
        "tick_size": "0.001",
        "neg_risk": False,
        "last_trade_price": "0.5",
    }


def _config() -> dict[str, Any]:
    blacklist = [condition_of(name) for name in BLACKLISTED_CONDITIONS]
    blacklist += [token_of(name, 0) for name in BLACKLISTED_TOKENS]
    return {
        "global": {"market_blacklist": blacklist},
        "users": {label: values for label, values in USERS.items() if values},
        "bankroll_micros": BANKROLL,
    }


def write_edge_tape(folder: Path) -> Path:
    """Write the tape into a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    head = {
        "name": "edges",
        "start_ms": START_MS,
        "end_ms": START_MS + LENGTH_SECONDS * 1000,
        "api_lag_ms": 0,
        "wallets": [{"label": label, "wallet": wallet_of(label)} for label in USERS],
        "config": _config(),
    }
    (folder / "tape.json").write_text(json.dumps(head), encoding="utf-8")
    files = {
        "activity.jsonl": _activity(),
        "books.jsonl": _books(),
        "markets.jsonl": [_market(name, venue) for name, venue in VENUES.items() if venue.known],
    }
    for name, lines in files.items():
        text = "".join(json.dumps(line, default=_number) + "\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def _number(value: object) -> float:
    if not isinstance(value, Decimal) or Decimal(repr(float(value))) != value:
        raise TypeError(f"{value!r} is no number that JSON keeps")
    return float(value)
