"""A made-up tape and the run it must lead to, worked out by hand.

Anna buys 2,000 Up at 0.51 as taker, splits 500, sells 1,000 Up at 0.505 as maker; Up then pays 1. Fee rate 0.05.

- Her cash: -(1,020 + fee 24.99) - 500 + 505 + 1,500 = 460.01.
- Copy of the buy: target 1 % of 1,020 = 10.20; limit 0.52 by both bounds; 10 at 0.51 = 5.10, then 9.80 at 0.52 = 5.096
  (9.81 would cost 5.1012); fee 0.05 * 10.196 * (19.8 - 10.196) / 19.8 = 0.24727 floored to 0.00001.
- Copy of the split: 5. Copy of the sale: target 5.05; limit 0.495; 10.10 at 0.50 = 5.05, fee 0.05 * 5.05 / 2 = 0.12625.
- Both executables end with 10,000 - 10.196 - 0.24727 - 5 + 5.05 - 0.12625 + 14.70 = 10,004.18048.
- Her Up realises 505 - 508 (of 1,270 for 2,500), then 1,500 - 762: 735. Her Down cost 250 and pays nothing.
- A copy's Up realises 5.05 - 5.170549 (of 12.696 for 24.80), then 14.70 - 7.525451: 7.054. Its Down cost 2.50.
"""

from typing import Any

from tests.oracle.worked_tape import COMBO, CONDITION, DOWN, TX, UP, WALLET, at

Rows = dict[str, list[dict[str, Any]]]
SCOPES = ("EXEC_USER", "EXEC_GLOBAL")


def _event(name: str, kind: str, second: int, **values: Any) -> dict[str, Any]:
    blank = {
        "condition_id": CONDITION,
        "asset_id": None,
        "side": None,
        "role": None,
        "price_micros": None,
        "fee_micros": 0,
        "log_index": None,
        "block_hash": None,
        "mismatch": None,
        "first_source": "DATA_API",
        "sightings": 1,
    }
    return {
        "id": f"e{name}",
        "kind": kind,
        "status": "CANONICAL",
        "incarnation": 0,
        "user_label": "anna",
        "wallet": WALLET,
        "tx_hash": TX[name],
        "event_time": at(second),
        "detect_time": at(second + 1),
        **blank,
        **values,
    }


def _events() -> list[dict[str, Any]]:
    chain = {"asset_id": UP, "first_source": "CHAIN", "block_hash": "0xb", "sightings": 2}
    buy = {
        "side": "BUY",
        "role": "TAKER",
        "price_micros": 510_000,
        "share_micros": 2_000_000_000,
        "fee_micros": 24_990_000,
    }
    sell = {"side": "SELL", "role": "MAKER", "price_micros": 505_000, "share_micros": 1_000_000_000}
    split = {"share_micros": 500_000_000, "usdc_notional_micros": 500_000_000}
    combo = {"condition_id": COMBO, "share_micros": 10_000_000, "usdc_notional_micros": 5_000_000}
    reward = {"condition_id": None, "share_micros": 1_000_000, "usdc_notional_micros": 1_000_000}
    return [
        _event("1", "TRADE", 2, **chain, **buy, log_index=7, usdc_notional_micros=1_020_000_000),
        _event("2", "SPLIT", 10, **split),
        _event("3", "TRADE", 20, **chain, **sell, log_index=9, usdc_notional_micros=505_000_000),
        _event("4", "ACCOUNT", 30, **reward),
        _event("5", "COMBO", 40, **combo),
    ]


def _group(name: str, kind: str, second: int, shares: int, notional: int, **values: Any) -> dict[str, Any]:
    times = {"first_event_time": at(second), "first_detect_time": at(second + 1), "closed_at": at(second + 3)}
    blank = {"asset_id": None, "side": None, "reference_price_micros": None}
    return {
        "id": f"g{name}",
        "kind": kind,
        "user_label": "anna",
        "condition_id": CONDITION,
        "event_ids": [f"e{name}"],
        "share_micros": shares,
        "usdc_notional_micros": notional,
        **times,
        **blank,
        **values,
    }


def _attempt(scope: str, seq: int, group: dict[str, Any], second: int, **values: Any) -> dict[str, Any]:
    blank = {
        "book_hash": None,
        "book_fetched_at": None,
        "best_bid_micros": None,
        "best_ask_micros": None,
        "mid_price_micros": None,
        "limit_price_micros": None,
        "depth_micros": None,
        "vwap_price_micros": None,
        "fee_micros": 0,
        "fee_rate": None,
        "equity_micros": 10_000_000_000,
        "held_share_micros": 0,
        "exposure_total_micros": 0,
        "exposure_market_micros": 0,
        "exposure_user_micros": 0,
        "day_start_equity_micros": 10_000_000_000,
        "week_start_equity_micros": 10_000_000_000,
        "peak_equity_micros": 10_000_000_000,
        "counterfactual_share_micros": None,
        "counterfactual_notional_micros": None,
        "config_version": 1,
    }
    copied = {name: group[name] for name in ("user_label", "kind", "condition_id", "asset_id", "side")}
    return {
        "id": f"{scope}-{group['id']}",
        "seq": seq,
        "scope": scope,
        "group_id": group["id"],
        **copied,
        "decision": "EXECUTE",
        "reason_codes": [],
        "out_of_order": False,
        "due_at": at(second),
        "decided_at": at(second + 0.1),
        "their_reference_price_micros": group["reference_price_micros"],
        **blank,
        **values,
    }


def _attempts(scope: str, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    book = {
        "book_hash": "h1",
        "best_bid_micros": 500_000,
        "best_ask_micros": 510_000,
        "mid_price_micros": 505_000,
        "fee_rate": 0.05,
    }
    buy = {
        "limit_price_micros": 520_000,
        "depth_micros": 525_100_000,
        "target_notional_micros": 10_200_000,
        "filled_share_micros": 19_800_000,
        "filled_notional_micros": 10_196_000,
        "fee_micros": 247_270,
        "vwap_price_micros": 514_950,
        "cash_micros": 10_000_000_000,
        "book_fetched_at": at(6.05),
    }
    split = {
        "target_notional_micros": 5_000_000,
        "filled_share_micros": 5_000_000,
        "filled_notional_micros": 5_000_000,
        "cash_micros": 9_989_556_730,
        "equity_micros": 9_999_752_730,
        "exposure_total_micros": 10_196_000,
        "exposure_market_micros": 10_196_000,
        "exposure_user_micros": 10_196_000,
    }
    sell = {
        "limit_price_micros": 495_000,
        "depth_micros": 500_000_000,
        "target_notional_micros": 5_050_000,
        "filled_share_micros": 10_100_000,
        "filled_notional_micros": 5_050_000,
        "fee_micros": 126_250,
        "vwap_price_micros": 500_000,
        "cash_micros": 9_984_556_730,
        "equity_micros": 9_999_752_730,
        "exposure_total_micros": 15_196_000,
        "exposure_market_micros": 15_196_000,
        "exposure_user_micros": 15_196_000,
        "held_share_micros": 24_800_000,
        "book_fetched_at": at(24.05),
    }
    return [
        _attempt(scope, 1, groups[0], 6, **book, **buy),
        _attempt(scope, 2, groups[1], 14, **split),
        _attempt(scope, 3, groups[2], 24, **book, **sell),
    ]


def _fills(scope: str) -> list[dict[str, Any]]:
    levels = {
        "g1": [(10_000_000, 510_000, 5_100_000, 123_683), (9_800_000, 520_000, 5_096_000, 123_587)],
        "g3": [(10_100_000, 500_000, 5_050_000, 126_250)],
    }
    names = ("share_micros", "price_micros", "notional_micros", "fee_micros")
    return [
        {"attempt_id": f"{scope}-{group}", "level": level, **dict(zip(names, taken, strict=True))}
        for group, rows in levels.items()
        for level, taken in enumerate(rows)
    ]


def _entries(
    scope: str, refs: dict[str, str], amounts: list[tuple[str, str, str | None, int, int, float]]
) -> list[dict[str, Any]]:
    label = None if scope == "EXEC_GLOBAL" else "anna"
    return [
        {
            "scope": scope,
            "user_label": label,
            "source_user": "anna" if scope == "EXEC_GLOBAL" and ref in refs else None,
            "condition_id": CONDITION if asset else None,
            "asset_id": asset,
            "entry_type": kind,
            "share_delta_micros": shares,
            "cash_delta_micros": cash,
            "price_micros": None,
            "ref_id": refs.get(ref, ref),
            "event_time": at(second),
            "created_at": at(second),
            "reverses": None,
        }
        for ref, kind, asset, shares, cash, second in amounts
    ]


def _ledger() -> list[dict[str, Any]]:
    shadow = [
        ("1", "TRADE_FILL", UP, 2_000_000_000, -1_020_000_000, 3.0),
        ("1", "FEE", UP, 0, -24_990_000, 3.0),
        ("2", "SPLIT", UP, 500_000_000, -500_000_000, 11.0),
        ("2", "SPLIT", DOWN, 500_000_000, 0, 11.0),
        ("3", "TRADE_FILL", UP, -1_000_000_000, 505_000_000, 21.0),
        (CONDITION, "SETTLEMENT", UP, -1_500_000_000, 1_500_000_000, 61.0),
        (CONDITION, "SETTLEMENT", DOWN, -500_000_000, 0, 61.0),
    ]
    copied: list[tuple[str, str, str | None, int, int, float]] = [
        ("bankroll", "DEPOSIT", None, 0, 10_000_000_000, 0.0),
        ("1", "TRADE_FILL", UP, 19_800_000, -10_196_000, 7.0),
        ("1", "FEE", UP, 0, -247_270, 7.0),
        ("2", "SPLIT", UP, 5_000_000, -5_000_000, 15.0),
        ("2", "SPLIT", DOWN, 5_000_000, 0, 15.0),
        ("3", "TRADE_FILL", UP, -10_100_000, 5_050_000, 25.0),
        ("3", "FEE", UP, 0, -126_250, 25.0),
        (CONDITION, "SETTLEMENT", UP, -14_700_000, 14_700_000, 61.0),
        (CONDITION, "SETTLEMENT", DOWN, -5_000_000, 0, 61.0),
    ]
    rows = _entries("SHADOW_USER", {name: f"e{name}" for name in "123"}, list(shadow))
    for scope in SCOPES:
        rows += _entries(scope, {name: f"{scope}-g{name}" for name in "123"}, copied)
    rows.sort(key=lambda row: row["created_at"])
    return [{"id": f"l{seq}", "seq": seq, **row} for seq, row in enumerate(rows, 1)]


ENDS = (
    ("SHADOW_USER", "anna", 460_010_000, 0, 24_990_000, (735_000_000, -250_000_000)),
    ("EXEC_USER", "anna", 10_004_180_480, 10_000_000_000, 373_520, (7_054_000, -2_500_000)),
    ("EXEC_GLOBAL", None, 10_004_180_480, 10_000_000_000, 373_520, (7_054_000, -2_500_000)),
)
"""Scope, user, cash, deposits, fees, and what Up and Down realised, in the end."""


def _snapshots() -> list[dict[str, Any]]:
    return [
        {
            "scope": scope,
            "user_label": label,
            "at": at(60),
            "equity_micros": cash,
            "cash_micros": cash,
            "exposure_micros": 0,
            "unrealized_pnl_micros": 0,
            "realized_pnl_micros": sum(realized) - fees,
            "deposits_micros": deposits,
            "withdrawals_micros": 0,
            "fees_micros": fees,
        }
        for scope, label, cash, deposits, fees, realized in ENDS
    ]


def _positions() -> list[dict[str, Any]]:
    blank = {"condition_id": CONDITION, "share_micros": 0, "cost_micros": 0, "flags": []}
    return [
        {"scope": scope, "user_label": label, "asset_id": asset, "realized_pnl_micros": each, **blank}
        for scope, label, _, _, _, realized in ENDS
        for asset, each in zip((UP, DOWN), realized, strict=True)
    ]


def run_rows() -> Rows:
    """Return the exports of the run by KIND."""
    trade = {"asset_id": UP}
    groups = [
        _group("1", "TRADE", 2, 2_000_000_000, 1_020_000_000, **trade, side="BUY", reference_price_micros=510_000),
        _group("2", "SPLIT", 10, 500_000_000, 500_000_000),
        _group("3", "TRADE", 20, 1_000_000_000, 505_000_000, **trade, side="SELL", reference_price_micros=505_000),
    ]
    return {
        "events": _events(),
        "groups": groups,
        "attempts": [row for scope in SCOPES for row in _attempts(scope, groups)],
        "fills": [row for scope in SCOPES for row in _fills(scope)],
        "ledger": _ledger(),
        "positions": _positions(),
        "snapshots": _snapshots(),
        "books": [
            {
                "hash": "h1",
                "asset_id": UP,
                "fetched_at": at(6.05),
                "bids": [[500_000, 1_000_000_000]],
                "asks": [[510_000, 10_000_000], [520_000, 1_000_000_000]],
            }
        ],
        "config": [{"version": 1, "scope": "EXEC_GLOBAL", "user_label": None, "effective_at": at(0), "values": {}}],
    }
