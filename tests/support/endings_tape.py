"""A tape of how markets end: won, halved, split in thirds, disputed, never, late; redeems and fills around it.

One market is learned late, one never.

Every book stands still and nothing is charged, so shares, cash and profit can be worked out by hand. Two users: ann and
ben. Times in seconds after the start.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.support.tapes import CENT, START_MS, MarketPlan, TapeBuilder

SPEED: Final = 4
END_S: Final = 140
API_LAG_MS: Final = 2_000
ANN: Final = "0x" + "a1" * 20
BEN: Final = "0x" + "b2" * 20


def _market(number: int, price: str) -> MarketPlan:
    return MarketPlan(number, Decimal(0), Decimal(price), CENT, Decimal(5_000))


WON = _market(1, "0.50")
HALVED = _market(2, "0.60")
THIRDS = _market(3, "0.30")
DISPUTED = _market(4, "0.60")
ABANDONED = _market(5, "0.20")
LATE = _market(6, "0.50")
REOPENED = _market(7, "0.50")
VOIDED = _market(8, "0.50")
"""Told as resolved without payouts at first."""
UNHELD = _market(9, "0.50")
LEARNED: Final = _market(10, "0.50")
"""Told by Gamma long after it was split."""
UNKNOWN: Final = _market(11, "0.50")
"""Never told."""
MARKETS: Final = (WON, HALVED, THIRDS, DISPUTED, ABANDONED, LATE, REOPENED, VOIDED, UNHELD, LEARNED)
"""`price` is what outcome 0 is bought at; outcome 1 at 1 - price."""

DISPUTE_ENDS_S: Final = 114
LEARNED_S: Final = 56
LATE_S: Final = 152
"""After the tape's end."""

CLOSED: Final = {
    WON: 64,
    HALVED: 64,
    THIRDS: 64,
    DISPUTED: 58,
    ABANDONED: 64,
    REOPENED: 64,
    VOIDED: 58,
    UNHELD: 64,
    LEARNED: 64,
}

Told = tuple[int, str, Sequence[int] | None]
RESOLUTIONS: Final[dict[MarketPlan, list[Told]]] = {
    WON: [(50, "proposed", None), (68, "resolved", (1_000_000, 0))],
    HALVED: [(68, "resolved", (500_000, 500_000))],
    THIRDS: [(68, "resolved", (333_333, 666_667))],
    DISPUTED: [
        (54, "proposed", None),
        (60, "disputed", None),
        (72, "reproposed", None),
        (80, "challenged", None),
        (94, "arbitration", None),
        (DISPUTE_ENDS_S, "resolved", (0, 1_000_000)),
    ],
    LATE: [(LATE_S, "resolved", (0, 1_000_000))],
    REOPENED: [(68, "resolved", (1_000_000, 0))],
    VOIDED: [(60, "resolved", ()), (88, "resolved", (500_000, 500_000))],
    UNHELD: [(68, "resolved", (0, 1_000_000))],
    LEARNED: [(68, "resolved", (500_000, 500_000))],
}


def _fill(
    tape: TapeBuilder, wallet: str, at_s: float, market: MarketPlan, outcome: int, size: str, **values: Any
) -> None:
    price = values.pop("price", market.price if outcome == 0 else 1 - market.price)
    tape.row(
        "TRADE",
        wallet,
        int(at_s * 1000),
        condition_id=market.condition_id,
        token_id=market.tokens[outcome],
        side="BUY",
        size=Decimal(size),
        price=price,
        usdc_size=Decimal(size) * price,
        outcome_index=outcome,
        **values,
    )


def _redeem(tape: TapeBuilder, wallet: str, at_s: float, market: MarketPlan, size: str) -> None:
    amount = Decimal(size)
    tape.row("REDEEM", wallet, int(at_s * 1000), condition_id=market.condition_id, size=amount, usdc_size=amount)


def _write_activity(tape: TapeBuilder) -> None:
    _fill(tape, ANN, 4, WON, 0, "1000")
    tape.both_legs("SPLIT", BEN, 5_000, HALVED, Decimal(300))
    _fill(tape, BEN, 6, HALVED, 1, "801")
    _fill(tape, ANN, 8, THIRDS, 0, "1000.01")
    _fill(tape, ANN, 10, DISPUTED, 0, "500")
    _fill(tape, BEN, 11, DISPUTED, 1, "500")
    _fill(tape, ANN, 12, ABANDONED, 0, "700")
    _fill(tape, BEN, 13, LATE, 0, "400")
    tape.both_legs("SPLIT", ANN, 14_000, REOPENED, Decimal(500))
    _fill(tape, ANN, 15, REOPENED, 0, "200")
    tape.both_legs("SPLIT", ANN, 16_000, VOIDED, Decimal(100))
    tape.both_legs("MERGE", ANN, 30_000, REOPENED, Decimal(200))
    tape.both_legs("SPLIT", BEN, 3_000, LEARNED, Decimal(50))
    for second in (18, 20, 22):
        tape.both_legs("SPLIT", ANN, second * 1000, UNKNOWN, Decimal(second))
    tape.both_legs("MERGE", ANN, 24_000, UNKNOWN, Decimal(10))
    # Redeems: before the resolution, at it, after it, twice, while it is disputed, and of what nobody here holds.
    _redeem(tape, BEN, 66, HALVED, "550.5")
    _redeem(tape, BEN, 68, HALVED, "150")
    _redeem(tape, ANN, 84, WON, "1000")
    _redeem(tape, ANN, 90, WON, "1000")
    _redeem(tape, BEN, 86, WON, "0")
    _redeem(tape, ANN, 76, DISPUTED, "0")
    _redeem(tape, BEN, 78, UNHELD, "77")
    # After the settlement: one that happened before it and is shown late, and one that happened after it.
    shown_late = {"timestamp": START_MS // 1000 + 62, "_no_log": True}
    _fill(tape, ANN, 104, REOPENED, 1, "10.01", **shown_late)
    _fill(tape, ANN, 132, REOPENED, 0, "30", price=Decimal("0.97"), _maker=True)


def _books() -> list[dict[str, Any]]:
    rows = []
    for market in MARKETS:
        for outcome, token in enumerate(market.tokens):
            ask = market.price if outcome == 0 else 1 - market.price
            asks = [{"price": str(ask + CENT * step), "size": "5000"} for step in (3, 2, 1, 0)]
            bids = [{"price": str(ask - CENT * step), "size": "5000"} for step in (4, 3, 2, 1)]
            rows.append(
                {
                    "market": market.condition_id,
                    "asset_id": token,
                    "timestamp": str(START_MS),
                    "hash": f"{market.number:039x}{outcome}",
                    "bids": bids,
                    "asks": asks,
                    "min_order_size": "5",
                    "tick_size": "0.01",
                    "neg_risk": False,
                }
            )
    return rows


def _markets() -> list[dict[str, Any]]:
    lines = []
    for market in MARKETS:
        line: dict[str, Any] = {
            "id": str(market.number),
            "question": f"Ending {market.number}?",
            "conditionId": market.condition_id,
            "slug": f"ending-{market.number}",
            # Past, yet open: what is held of it is asked about every ten seconds, and copied all the same.
            "endDate": "2026-05-28T19:00:00Z",
            "outcomes": '["No", "Yes"]' if market is WON else '["Yes", "No"]',
            "clobTokenIds": json.dumps(market.tokens),
            "active": True,
            "closed": False,
            "acceptingOrders": True,
            "orderPriceMinTickSize": CENT,
            "negRisk": False,
            "feesEnabled": False,
            "version": "v1",
        }
        if market is LEARNED:
            line["_at_ms"] = START_MS + LEARNED_S * 1000
        lines.append(line)
        if market in CLOSED:
            word = "disputed" if market is DISPUTED else "resolved"
            closed = {"closed": True, "acceptingOrders": False, "umaResolutionStatus": word}
            lines.append({**line, **closed, "_at_ms": START_MS + CLOSED[market] * 1000})
    return lines


def _resolutions() -> list[dict[str, Any]]:
    rows = []
    for market, told in RESOLUTIONS.items():
        for at_s, status, payouts in told:
            seconds = START_MS // 1000 + at_s
            row: dict[str, Any] = {"condition_id": market.condition_id, "status": status, "_at_ms": seconds * 1000}
            if payouts is None:
                row |= {"proposed_price": "1000000000000000000", "price": "69", "last_update_timestamp": str(seconds)}
            else:
                row |= {
                    "payouts": list(payouts),
                    "resolution_source": "reported",
                    "last_update_timestamp": str(seconds),
                }
            rows.append(row)
    return rows


def write_endings_tape(folder: Path) -> Path:
    """Write the tape into a folder and return it."""
    tape = TapeBuilder(Random(3), [("ann", ANN), ("ben", BEN)])  # noqa: S311  hashes, no secrets
    _write_activity(tape)
    folder.mkdir(parents=True, exist_ok=True)
    head = {
        "name": "endings",
        "start_ms": START_MS,
        "end_ms": START_MS + END_S * 1000,
        "api_lag_ms": API_LAG_MS,
        "wallets": [{"label": label, "wallet": wallet} for label, wallet in tape.wallets],
    }
    (folder / "tape.json").write_text(json.dumps(head), encoding="utf-8")
    files = {
        "activity.jsonl": sorted(tape.activity, key=lambda row: int(row["_at_ms"])),
        "books.jsonl": _books(),
        "markets.jsonl": _markets(),
        "resolutions.jsonl": _resolutions(),
    }
    for name, lines in files.items():
        text = "".join(json.dumps(line, default=float) + "\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
