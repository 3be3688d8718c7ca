"""Rows and arrays of the books: what comes out of entries and positions, and how they go in."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from libs.common.domain.episodes import Episodes
from libs.common.domain.kinds import EntryType, Scope
from services.ledger.core.entries import Entry, Owner
from services.ledger.core.fold import NOTHING, Holding
from services.ledger.core.standing import Base, Standing

Place = tuple[UUID, str]
"""A position: portfolio and asset."""


def entry_of(row: Row[Any]) -> Entry:
    """Return the entry a row of ledger_entry holds."""
    return Entry(
        id=row.id,
        portfolio_id=row.portfolio_id,
        owner=Owner(Scope(row.scope), row.user_id),
        source_user_id=row.source_user_id,
        condition_id=row.condition_id,
        asset_id=row.asset_id,
        entry_type=EntryType(row.entry_type),
        share_delta_micros=row.share_delta_micros,
        cash_delta_micros=row.cash_delta_micros,
        cost_micros=row.cost_micros,
        price_micros=row.price_micros,
        ref_id=row.ref_id,
        event_time=row.event_time,
        tx_hash=row.tx_hash,
        log_index=row.log_index,
        reverses=row.reverses,
    )


def base_of(row: Row[Any]) -> Base | None:
    """Return the base a row of position keeps."""
    if row.base_before is None:
        return None
    episodes = Episodes(row.base_episodes_closed, row.base_episodes_won, row.base_episode_result_micros)
    held = Holding(row.base_share_micros, row.base_cost_micros, row.base_realized_pnl_micros, episodes)
    return Base(row.base_before, held)


def standing_of(row: Row[Any]) -> Standing:
    """Return where a position stands, of a row of POSITIONS."""
    if row.share_micros is None:
        return Standing(Holding(), None, None)
    folded = row.folded_event_time and (row.folded_event_time, row.folded_tx_hash)
    return Standing(holding_of(row, row.cost_micros), row.condition_id, folded, base_of(row))


def holding_of(row: Row[Any], cost_micros: int | None) -> Holding:
    """Return the position a row holds, an empty one where there is none."""
    if row.share_micros is None:
        return NOTHING
    episodes = Episodes(row.episodes_closed, row.episodes_won, row.episode_result_micros)
    return Holding(row.share_micros, cost_micros or 0, row.realized_pnl_micros, episodes)


def entry_columns(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return entries as the arrays that INSERT_ENTRIES takes."""
    names = (
        "id", "portfolio_id", "source_user_id", "condition_id", "asset_id", "entry_type", "share_delta_micros",
        "cash_delta_micros", "cost_micros", "price_micros", "ref_id", "event_time", "tx_hash", "log_index", "reverses",
    )  # fmt: skip
    columns: dict[str, Any] = {name: [getattr(entry, name) for entry in entries] for name in names}
    columns["scope"] = [entry.owner.scope for entry in entries]
    columns["user_id"] = [entry.owner.user_id for entry in entries]
    return columns


def position_columns(standings: Mapping[Place, Standing]) -> dict[str, Any]:
    """Return positions as the arrays that UPSERT_POSITIONS takes."""
    ordered = list(standings.items())
    folded = [standing.folded or (None, None) for _, standing in ordered]
    bases = [standing.base for _, standing in ordered]
    return {
        "portfolio_id": [place[0] for place, _ in ordered],
        "asset_id": [place[1] for place, _ in ordered],
        "condition_id": [standing.condition_id for _, standing in ordered],
        "share_micros": [standing.holding.share_micros for _, standing in ordered],
        "cost_micros": [standing.holding.cost_micros for _, standing in ordered],
        "realized_pnl_micros": [standing.holding.realized_pnl_micros for _, standing in ordered],
        "episodes_closed": [standing.holding.episodes.closed for _, standing in ordered],
        "episodes_won": [standing.holding.episodes.won for _, standing in ordered],
        "episode_result_micros": [standing.holding.episodes.result_micros for _, standing in ordered],
        "folded_event_time": [at for at, _ in folded],
        "folded_tx_hash": [tx for _, tx in folded],
        "base_before": [base and base.before for base in bases],
        "base_share_micros": [base and base.holding.share_micros for base in bases],
        "base_cost_micros": [base and base.holding.cost_micros for base in bases],
        "base_realized_pnl_micros": [base and base.holding.realized_pnl_micros for base in bases],
        "base_episodes_closed": [base and base.holding.episodes.closed for base in bases],
        "base_episodes_won": [base and base.holding.episodes.won for base in bases],
        "base_episode_result_micros": [base and base.holding.episodes.result_micros for base in bases],
    }
