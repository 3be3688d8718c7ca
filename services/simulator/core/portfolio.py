"""One portfolio as decisions see it: loaded once, then carried forward in memory from decision to decision.

What it is worth, its exposures, its peak and whose shares are: `libs.common.domain.statistics`. Exposures are running
sums of the same values, so that a decision does not add up all positions again.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from libs.common.domain.kinds import GroupKind, Scope, Side
from libs.common.domain.money import notional_floor
from libs.common.domain.statistics import Start, attribute, equity, part_value, peak_with, position_value
from services.simulator.core.facts import Group, MarketView, Order, PortfolioView


@dataclass(slots=True)
class Holding:
    """An open position; `mark_micros` is None where the asset was never marked."""

    condition_id: str | None
    share_micros: int = 0
    cost_micros: int = 0
    mark_micros: int | None = None
    sources: dict[UUID, int] = field(default_factory=dict)
    """Open shares by source user; EXEC_GLOBAL only."""

    @property
    def value_micros(self) -> int:
        """Return what the position is worth."""
        return position_value(self.share_micros, self.cost_micros, self.mark_micros)

    def value_of(self, share_micros: int) -> int:
        """Return what `share_micros` of the shares are worth."""
        return part_value(share_micros, self.share_micros, self.cost_micros, self.mark_micros)


@dataclass(frozen=True, slots=True)
class Trade:
    """What an executed attempt did, as far as a portfolio feels it. `legs` are the assets of a SPLIT or MERGE."""

    kind: GroupKind
    side: Side | None
    condition_id: str | None
    asset_id: str | None
    legs: tuple[str, ...]
    source: UUID
    share_micros: int
    notional_micros: int
    fee_micros: int


BookSide = tuple[str, str, Side | None]
"""Asset, book hash, and the side of ours that takes from it."""


class PortfolioState:
    """The portfolio under its row lock; `apply` after each EXECUTE, `decided` after each decision."""

    def __init__(
        self,
        id: UUID,  # noqa: A002  the row's own name
        scope: Scope,
        cash_micros: int,
        net_flows_micros: int,
        day: Start,
        week: Start,
        peak_equity_micros: int | None,
        drawdown_tripped: bool,
        seq: int,
        last_order: Order | None,
        follow_order: Sequence[UUID] = (),
    ) -> None:
        self.id, self.scope = id, scope
        self.cash_micros, self.net_flows_micros = cash_micros, net_flows_micros
        self.day, self.week = day, week
        self.peak_equity_micros, self.drawdown_tripped = peak_equity_micros, drawdown_tripped
        self.drawdown_reset_at: datetime | None = None
        """Which reset of the breaker is carried out with the next decision, or was with an earlier one."""
        self.seq, self.last_order = seq, last_order
        self.taken: defaultdict[BookSide, dict[int, int]] = defaultdict(dict)
        self._follow_rank = {user: rank for rank, user in enumerate(follow_order)}
        self._holdings: dict[str, Holding] = {}
        self._marks: Mapping[str, int] = {}
        self._total = 0
        self._by_condition: defaultdict[str | None, int] = defaultdict(int)
        self._by_user: defaultdict[UUID, int] = defaultdict(int)

    def load(self, holdings: Mapping[str, Holding], marks: Mapping[str, int]) -> None:
        """Take over posted positions; `marks` covers whatever may be bought, too."""
        self._marks = marks
        self._holdings = dict(holdings)
        for holding in self._holdings.values():
            self._count(holding, 1)

    @property
    def equity_micros(self) -> int:
        """Return cash plus positions."""
        return equity(self.cash_micros, self._total)

    def held(self, asset_id: str | None) -> int:
        """Return the shares of an asset."""
        holding = self._holdings.get(asset_id or "")
        return holding.share_micros if holding else 0

    def view(
        self, group: Group, market: MarketView | None, book_hash: str | None, shadow_held: int | None
    ) -> PortfolioView:
        """Return what a decision on `group` sees."""
        legs = market.asset_ids if market else (group.asset_id,) if group.asset_id else ()
        holdings = [self._holdings.get(asset) for asset in legs]
        shares = tuple(holding.share_micros if holding else 0 for holding in holdings)
        held = self.held(group.asset_id) if group.kind is GroupKind.TRADE else min(shares, default=0)
        condition = market.condition_id if market else group.condition_id
        taken = self.taken.get((group.asset_id or "", book_hash or "", group.side)) if book_hash else None
        worth = self.equity_micros
        return PortfolioView(
            cash_micros=self.cash_micros,
            equity_micros=worth,
            exposure_total_micros=self._total,
            exposure_market_micros=self._by_condition.get(condition, 0),
            exposure_user_micros=self._by_user.get(group.user_id, 0)
            if self.scope is Scope.EXEC_GLOBAL
            else self._total,
            held_share_micros=held,
            leg_share_micros=shares,
            leg_cost_micros=tuple(holding.cost_micros if holding else 0 for holding in holdings),
            day_start_equity_micros=self.day.equity_micros,
            day_flows_micros=self.day.flows_micros,
            week_start_equity_micros=self.week.equity_micros,
            week_flows_micros=self.week.flows_micros,
            peak_equity_micros=peak_with(self.peak_equity_micros, worth),
            drawdown_tripped=self.drawdown_tripped,
            net_flows_micros=self.net_flows_micros,
            taken=tuple(sorted(taken.items())) if taken else (),
            shadow_held_micros=shadow_held,
        )

    def worth(self) -> PortfolioView:
        """Return the view without any group: what breakers look at."""
        return PortfolioView(
            cash_micros=self.cash_micros,
            equity_micros=self.equity_micros,
            exposure_total_micros=self._total,
            exposure_market_micros=0,
            exposure_user_micros=0,
            held_share_micros=0,
            leg_share_micros=(),
            leg_cost_micros=(),
            day_start_equity_micros=self.day.equity_micros,
            day_flows_micros=self.day.flows_micros,
            week_start_equity_micros=self.week.equity_micros,
            week_flows_micros=self.week.flows_micros,
            peak_equity_micros=peak_with(self.peak_equity_micros, self.equity_micros),
            drawdown_tripped=self.drawdown_tripped,
            net_flows_micros=self.net_flows_micros,
        )

    def decided(self, group: Group, view: PortfolioView, drawdown_tripped: bool) -> tuple[int, bool]:
        """Count a decision; return its `seq` and whether it came out of order."""
        late = self.last_order is not None and group.order < self.last_order
        if not late:
            self.last_order = group.order
        self.seq += 1
        self.peak_equity_micros = view.peak_equity_micros
        self.drawdown_tripped = drawdown_tripped
        return self.seq, late

    def apply(self, trade: Trade) -> None:
        """Post an executed attempt: cash, shares, cost and sources move as the ledger will move them."""
        if trade.kind is GroupKind.TRADE:
            if trade.asset_id is None:
                raise ValueError(f"expected a TRADE with an asset, got {trade}")
            buying = trade.side is Side.BUY
            self.cash_micros += (-trade.notional_micros if buying else trade.notional_micros) - trade.fee_micros
            shares = trade.share_micros if buying else -trade.share_micros
            self._move(trade.asset_id, trade.condition_id, shares, trade.notional_micros, trade.source)
            return
        sign = 1 if trade.kind is GroupKind.SPLIT else -1
        self.cash_micros -= sign * trade.notional_micros
        half = trade.share_micros // 2
        for asset, cost in zip(trade.legs, (trade.share_micros - half, half), strict=False):
            self._move(asset, trade.condition_id, sign * trade.share_micros, cost, trade.source)

    def take(self, side: BookSide, fills: Iterable[tuple[int, int]]) -> None:
        """Remember what was taken of a book version, as (price, shares)."""
        taken = self.taken[side]
        for price, shares in fills:
            taken[price] = taken.get(price, 0) + shares

    def holdings(self) -> Mapping[str, Holding]:
        """Return what was ever held, by asset; sold positions have no shares."""
        return self._holdings

    def move(self, asset: str, condition: str | None, shares: int, cost: int, source: UUID) -> None:
        """Gain shares at a cost, or lose some with their part of it."""
        self._move(asset, condition, shares, cost, source)

    def remark(self, asset: str, mark_micros: int) -> None:
        """Give a position a new mark."""
        holding = self._holdings.get(asset)
        if holding is not None and holding.mark_micros != mark_micros:
            self._count(holding, -1)
            holding.mark_micros = mark_micros
            self._count(holding, 1)

    def settle(self, asset: str, payout_micros: int) -> int:
        """End a position at its payout, as the ledger does; return the cash it brought."""
        holding = self._holdings.get(asset)
        if holding is None or not holding.share_micros:
            return 0
        brought = notional_floor(payout_micros, holding.share_micros)
        self.cash_micros += brought
        self._move(asset, holding.condition_id, -holding.share_micros, 0, self.id)
        return brought

    def _move(self, asset: str, condition: str | None, shares: int, cost: int, source: UUID) -> None:
        holding = self._holdings.get(asset)
        if holding is None:
            holding = self._holdings[asset] = Holding(condition, mark_micros=self._marks.get(asset))
        else:
            self._count(holding, -1)
        if holding.condition_id is None:
            holding.condition_id = condition
        if self.scope is Scope.EXEC_GLOBAL:
            holding.sources = attribute(holding.sources, shares, source, self._follow_rank)
        if shares >= 0:
            holding.cost_micros += cost
        elif holding.share_micros:
            sold = min(-shares, holding.share_micros)
            holding.cost_micros -= holding.cost_micros * sold // holding.share_micros
        holding.share_micros += shares
        self._count(holding, 1)

    def _count(self, holding: Holding, sign: int) -> None:
        value = sign * holding.value_micros
        self._total += value
        self._by_condition[holding.condition_id] += value
        for user, shares in holding.sources.items():
            self._by_user[user] += sign * holding.value_of(shares)
