"""Makes tapes for measuring: many wallets, many deep books, fills as fast as wanted, nothing random."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

START_MS = 1_790_000_000_000
BOOK_EVERY_MS = 5_000
LEVELS = 40
WALLETS = 50
MARKETS = 50


@dataclass(frozen=True, slots=True)
class Load:
    """How many fills over how long; all at once when `spread_ms` is small.

    Each order of a wallet is filled in `parts` that follow one another. No two of up to 200 orders a wallet are of the
    same token and side, so that there are as many groups as orders, however fast fills are taken in.
    """

    fills: int
    spread_ms: int
    length_ms: int
    wallets: int = WALLETS
    parts: int = 1


def _hex(*facts: object, digits: int) -> str:
    return "0x" + sha256("|".join(map(str, facts)).encode()).hexdigest()[:digits]


def token(number: int) -> str:
    return str(int(_hex("token", number, digits=64), 16))[:76].ljust(76, "7")


def condition(market: int) -> str:
    return _hex("condition", market, digits=64)


def wallets(count: int = WALLETS) -> list[dict[str, str]]:
    return [{"label": f"bench-{n:02d}", "wallet": _hex("wallet", n, digits=40)} for n in range(count)]


def _markets() -> Iterator[dict[str, Any]]:
    for market in range(MARKETS):
        yield {
            "id": str(9_000_000 + market),
            "question": f"Bench market {market}?",
            "conditionId": condition(market),
            "slug": f"bench-{market}",
            "endDate": "2030-01-01T00:00:00Z",
            "outcomes": '["Yes", "No"]',
            "outcomePrices": '["0.5", "0.5"]',
            "clobTokenIds": json.dumps([token(2 * market), token(2 * market + 1)]),
            "active": True,
            "closed": False,
            "archived": False,
            "acceptingOrders": True,
            "enableOrderBook": True,
            "orderPriceMinTickSize": 0.001,
            "orderMinSize": 5,
            "negRisk": False,
            "feesEnabled": True,
            "umaResolutionStatuses": "[]",
            "version": "v1",
            "feeSchedule": {"rate": 0.05, "exponent": 1, "takerOnly": True, "rebateRate": 0.2},
        }


def _books(length_ms: int) -> Iterator[dict[str, Any]]:
    for at_ms in range(-BOOK_EVERY_MS, length_ms, BOOK_EVERY_MS):
        for place in range(2 * MARKETS):
            yield {
                "market": condition(place // 2),
                "asset_id": token(place),
                "timestamp": str(START_MS + at_ms),
                "hash": _hex("book", token, at_ms, digits=40)[2:],
                "bids": [{"price": f"{0.499 - 0.001 * n:.3f}", "size": str(400 + 40 * n)} for n in range(LEVELS)][::-1],
                "asks": [{"price": f"{0.501 + 0.001 * n:.3f}", "size": str(400 + 40 * n)} for n in range(LEVELS)][::-1],
                "min_order_size": "5",
                "tick_size": "0.001",
                "neg_risk": False,
                "last_trade_price": "0.5",
            }


def _fills(load: Load) -> Iterator[dict[str, Any]]:
    people = wallets(load.wallets)
    for number in range(load.fills):
        order = number // load.parts
        place = (order * 37 + order // load.wallets) % (2 * MARKETS)
        lap = order // (load.wallets * 2 * MARKETS)  # in the second a wallet sells what it bought in the first
        at_ms = START_MS + 1_000 + number * load.spread_ms // load.fills
        size = 1_200 + (number * 13) % 2_000
        yield {
            "proxy_wallet": people[order % load.wallets]["wallet"],
            "timestamp": at_ms // 1000,
            "condition_id": condition(place // 2),
            "type": "TRADE",
            "size": size,
            "usdc_size": size * 0.5,
            "transaction_hash": _hex("fill", number, digits=64),
            "price": 0.5,
            "token_id": token(place),
            "side": "SELL" if (order % 5 == 4) != (lap % 2 == 1) else "BUY",
            "outcome_index": place % 2,
            "title": f"Bench market {place // 2}?",
            "slug": f"bench-{place // 2}",
            "icon": "",
            "event_slug": f"bench-{place // 2}",
            "outcome": "Yes",
            "name": "",
            "pseudonym": "",
            "bio": "",
            "profile_image": "",
            "profile_image_optimized": "",
            "_at_ms": at_ms,
            "_maker": True,
        }


def write_tape(folder: Path, load: Load) -> None:
    """Write a tape of `load` into `folder`; its bankroll is large enough that no cap ends the measurement."""
    folder.mkdir(parents=True, exist_ok=True)
    meta = {
        "name": folder.name,
        "start_ms": START_MS,
        "end_ms": START_MS + load.length_ms,
        "wallets": wallets(load.wallets),
        "api_lag_ms": 3_000,
    }
    (folder / "tape.json").write_text(json.dumps(meta))
    parts = {"activity": _fills(load), "books": _books(load.length_ms), "markets": _markets()}
    for name, rows in parts.items():
        with (folder / f"{name}.jsonl").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
