"""Equity, exposure, and the day's, week's and peak equity recorded before a decision, against marks and snapshots."""

from collections import Counter
from collections.abc import Iterator

from tests.oracle.holdings import Holdings, attempts_in_order, opening
from tests.oracle.ledger import portfolio
from tests.oracle.run import Row, Run, Violation
from tests.oracle.tape import MICROS, Tape

CHECK = "valuation"
GLOBAL = "EXEC_GLOBAL"
RACE_MICROSECONDS = 2_000_000
"""A mark or settlement written about when a decision was made may or may not have been seen by it."""
MINUTE = 60 * 1_000_000
DAY = 86_400 * 1_000_000
MONDAY = 4 * DAY
"""The first Monday of the epoch."""


def _worth(shares: int, cost: int, marks: list[Row], at: int) -> tuple[int, int]:
    """Return the least and the most a position may have been worth at a moment."""
    if not shares:
        return 0, 0
    before = [mark for mark in marks if mark["at"] <= at - RACE_MICROSECONDS]
    around = [mark["price_micros"] for mark in marks if at - RACE_MICROSECONDS < mark["at"] <= at + RACE_MICROSECONDS]
    values = [shares * price // MICROS for price in ([before[-1]["price_micros"]] if before else []) + around]
    if not before:
        values.append(cost)
    return min(values), max(values)


def _markets_by_asset(tape: Tape) -> dict[str, str]:
    return {asset: market.condition_id for market in tape.markets.values() for asset in market.assets}


def _exposures(
    state: Holdings, attempt: Row, marks: dict[str, list[Row]], conditions: dict[str, str]
) -> dict[str, tuple[int, int]]:
    least = most = here_least = here_most = theirs_least = theirs_most = 0
    for asset, shares in state.shares.items():
        low, high = _worth(shares, state.cost[asset], marks.get(asset, []), attempt["decided_at"])
        least, most = least + low, most + high
        if conditions.get(asset) == attempt["condition_id"]:
            here_least, here_most = here_least + low, here_most + high
        part = state.sources.get(asset, Counter())[attempt["user_label"]] if attempt["scope"] == GLOBAL else shares
        cost = state.cost[asset] * part // shares if shares else 0
        low, high = _worth(part, cost, marks.get(asset, []), attempt["decided_at"])
        theirs_least, theirs_most = theirs_least + low, theirs_most + high
    return {
        "equity_micros": (state.cash + least, state.cash + most),
        "exposure_total_micros": (least, most),
        "exposure_market_micros": (here_least, here_most),
        "exposure_user_micros": (theirs_least, theirs_most),
    }


def check_recorded_values(tape: Tape, run: Run) -> Iterator[Violation]:
    """Equity and exposure are cash and holdings at the latest marks, own cost where there is none yet."""
    marks: dict[str, list[Row]] = {}
    for mark in sorted(run["marks"], key=lambda row: int(row["at"])):
        marks.setdefault(mark["asset_id"], []).append(mark)
    conditions = _markets_by_asset(tape)
    for owner, attempts in attempts_in_order(run).items():
        state = opening(run, owner)
        for attempt in attempts:
            while state.settlements and state.settlements[0]["created_at"] <= attempt["decided_at"] - RACE_MICROSECONDS:
                state.settle_one()
            racing = any(row["created_at"] <= attempt["decided_at"] + RACE_MICROSECONDS for row in state.settlements)
            for name, (least, most) in _exposures(state, attempt, marks, conditions).items():
                value = attempt[name]
                if name == "exposure_user_micros" and attempt["scope"] != GLOBAL:
                    continue  # a user's own portfolio has no such cap
                if value is not None and not least <= value <= most and not racing:
                    message = f"{name} {value}, cash and marks give {least} to {most}"
                    yield Violation(CHECK, f"attempt {attempt['id']}", message)
            state.apply(attempt, tape)


def _start_of(at: int, period: int, first: int) -> int:
    return (at - first) // period * period + first


def check_recorded_starts(_tape: Tape, run: Run) -> Iterator[Violation]:
    """Day and week start are the last snapshot's equity at or before them, else the first deposit.

    The peak is at least every equity seen before, unless somebody reset a breaker.
    """
    was_reset = any("reset" in row["action"] for row in run["audit"])
    for owner, attempts in attempts_in_order(run).items():
        snapshots = sorted((row for row in run["snapshots"] if portfolio(row) == owner), key=lambda row: int(row["at"]))
        deposit = opening(run, owner).cash
        peak = deposit
        for attempt in attempts:
            for name, period, first in (
                ("day_start_equity_micros", DAY, 0),
                ("week_start_equity_micros", 7 * DAY, MONDAY),
            ):
                until = _start_of(attempt["decided_at"], period, first)
                before = [row["equity_micros"] for row in snapshots if row["at"] <= until]
                expected = before[-1] if before else deposit
                if attempt[name] is not None and attempt[name] != expected:
                    yield Violation(CHECK, f"attempt {attempt['id']}", f"{name} {attempt[name]}, expected {expected}")
            past = [row["equity_micros"] for row in snapshots if row["at"] <= attempt["decided_at"] - 2 * MINUTE]
            peak = max([peak, attempt["equity_micros"] or 0, *past])
            if attempt["peak_equity_micros"] is not None and attempt["peak_equity_micros"] < peak and not was_reset:
                message = f"peak {attempt['peak_equity_micros']}, there was an equity of {peak}"
                yield Violation(CHECK, f"attempt {attempt['id']}", message)
            peak = max(peak, attempt["peak_equity_micros"] or 0)


CHECKS = (check_recorded_values, check_recorded_starts)
