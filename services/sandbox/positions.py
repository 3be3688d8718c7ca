"""What each wallet holds: the positions it started with, folded with its visible activity, at average cost."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from services.sandbox.exchange import Exchange, Market
from services.sandbox.history import Row
from services.sandbox.order_filled import micros


@dataclass(slots=True)
class Holding:
    """One token of one wallet, in micros."""

    wallet: str
    token_id: str
    condition_id: str
    share_micros: int = 0
    cost_micros: int = 0
    fees_micros: int = 0
    bought_micros: int = 0
    realised_micros: int = 0
    first_at: int = 0
    last_at: int = 0
    start: dict[str, Any] = field(default_factory=dict)
    """The recorded row it began with."""

    def add(self, shares: int, cost: int, fee: int) -> None:
        """Take shares in at a cost."""
        self.share_micros += shares
        self.cost_micros += cost
        self.bought_micros += shares
        self.fees_micros += fee

    def remove(self, shares: int, proceeds: int) -> None:
        """Give shares away for proceeds; what was never held is ignored."""
        given = min(shares, self.share_micros)
        cost = self.cost_micros * given // self.share_micros if self.share_micros else 0
        self.share_micros -= given
        self.cost_micros -= cost
        self.realised_micros += proceeds - cost


class Holdings:
    """The holdings of every wallet, folded forward as rows become visible.

    Only whole seconds are folded, so that `last_event_at` of a row covers all of its second.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._wallets: dict[str, dict[str, Holding]] = {}
        self._folded: dict[str, int] = {}
        self._markets: dict[str, Market] = {}

    def of(self, wallet: str, now: int) -> list[Holding]:
        """Return a wallet's holdings, flat ones included."""
        if wallet not in self._wallets:
            self._wallets[wallet] = {each.token_id: each for each in self._started(wallet)}
            self._folded[wallet] = 0
        held, folded = self._wallets[wallet], self._folded[wallet]
        fresh = []
        for row in reversed(self._exchange.history.rows(wallet)):
            if row.seq <= folded:
                break
            fresh.append(row)
        hidden = min((row.timestamp for row in fresh if row.visible_ms > now), default=2**62)
        markets = {market.condition_id: market for market in self._exchange.markets(now)} if fresh else {}
        for row in reversed(fresh):
            if row.timestamp < hidden:
                self._fold(held, row, markets.get(row.condition_id))
                self._folded[wallet] = row.seq
        return list(held.values())

    def _started(self, wallet: str) -> Iterator[Holding]:
        for row in self._exchange.held_at_start(wallet):
            shares = micros(row["current_size"])
            yield Holding(
                wallet,
                str(row["token_id"]),
                str(row.get("condition_id", "")),
                shares,
                micros(row.get("entry_cost_usdc") or 0),
                micros(row.get("entry_fees_usdc") or 0),
                micros(row.get("total_size") or row["current_size"]),
                micros(row.get("realized_pnl") or 0),
                int(row.get("first_entry_at") or row.get("last_event_at") or 0),
                int(row.get("last_event_at") or 0),
                row,
            )

    def _fold(self, held: dict[str, Holding], row: Row, market: Market | None) -> None:
        tokens = market.tokens if market else ()
        for place, token in enumerate([row.token_id] if row.token_id else tokens):
            holding = held.get(token)
            if holding is None:
                if row.type not in {"TRADE", "SPLIT"} or row.side == "SELL":
                    continue
                holding = held[token] = Holding(row.wallet, token, row.condition_id, first_at=row.timestamp)
            if row.type == "TRADE" and row.side == "BUY":
                holding.add(row.share_micros, row.cash_micros - row.fee_micros, row.fee_micros)
            elif row.type == "TRADE":
                holding.remove(row.share_micros, row.cash_micros + row.fee_micros)
                holding.fees_micros += row.fee_micros
            elif row.type == "SPLIT":
                holding.add(row.share_micros, row.cash_micros // 2, 0)
            elif row.type == "MERGE":
                holding.remove(row.share_micros, row.cash_micros // 2)
            elif row.type == "REDEEM":
                whole = holding.share_micros if not row.token_id else row.share_micros
                holding.remove(whole, row.cash_micros if row.token_id or place == 0 else 0)
            else:
                continue
            holding.last_at = row.timestamp
