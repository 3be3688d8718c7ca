"""SQL of figures that must be computed over sets of rows; each mirrors the function of `statistics` it names.

Arguments are names of rows or columns in our own queries, never anything that came from outside.
"""


def pnl(row: str) -> str:
    """Return SQL of `statistics.pnl` of a row of portfolio_snapshot or portfolio_snapshot-like columns."""
    return f"{row}.equity_micros - {row}.deposits_micros + {row}.withdrawals_micros"


def net_flows(row: str) -> str:
    """Return SQL of `statistics.net_flows` of a row of portfolio_snapshot or portfolio."""
    return f"{row}.deposits_micros - {row}.withdrawals_micros"


def position_value(shares: str, cost: str, mark: str) -> str:
    """Return SQL of `statistics.position_value`, a numeric; `mark` is null where the asset was never marked."""
    return f"CASE WHEN {mark} IS NULL THEN {cost} ELSE floor({shares}::numeric * {mark} * 0.000001) END"


def last_snapshot(portfolio: str, moment: str = "'infinity'") -> str:
    """Return a subquery for the last snapshot of a portfolio that counts at a moment (`statistics.counts_at`)."""
    return (
        f"(SELECT h.* FROM portfolio_snapshot h WHERE h.portfolio_id = {portfolio} "  # noqa: S608  parts are constants
        f"AND h.at <= {moment} ORDER BY h.at DESC LIMIT 1)"
    )
