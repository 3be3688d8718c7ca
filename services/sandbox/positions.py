"""What each wallet holds: the positions it started with, folded with its visible activity, at average cost."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from services.sandbox.exchange import Exchange, Market
from services.sandbox.history import Row, api_order
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
        """Give shares away for proceeds.

        Shares below zero are what it must have held before the play without saying so; they cost nothing.
        """
        held = max(0, self.share_micros)
        cost = self.cost_micros * min(shares, held) // held if held else 0
        self.share_micros -= shares
        self.cost_micros -= cost
        self.realised_micros += proceeds - cost


class Holdings:
    """The holdings of every wallet, folded forward as rows become visible.

    Only whole seconds are folded, so that `last_event_at` of a row covers all of its second.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._wallets: dict[str, dict[str, Holding]] = {}
        self._folded: dict[str, tuple[int, int]] = {}
        self._markets: dict[str, Market] = {}

    def of(self, wallet: str, now: int) -> list[Holding]:
        """Return a wallet's holdings, flat ones included; what cannot be told, being below zero, is left out."""
        if wallet not in self._wallets:
            self._wallets[wallet] = {each.token_id: each for each in self._started(wallet)}
            self._folded[wallet] = (0, 0)
        held, folded = self._wallets[wallet], self._folded[wallet]
        fresh = []
        for row in reversed(self._exchange.history.rows(wallet)):
            if api_order(row) <= folded:
                break
            fresh.append(row)
        hidden = min((row.timestamp for row in fresh if row.visible_ms > now), default=2**62)
        markets = {market.condition_id: market for market in self._exchange.markets(now)} if fresh else {}
        for row in reversed(fresh):
            if row.timestamp < hidden:
                self._fold(held, row, markets)
                self._folded[wallet] = api_order(row)
        return [holding for holding in held.values() if holding.share_micros >= 0]

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

    def _fold(self, held: dict[str, Holding], row: Row, markets: dict[str, Market]) -> None:
        market = markets.get(row.condition_id)
        if row.type == "CONVERSION":
            self._convert(held, row, market, markets)
            return
        tokens = market.tokens if market else ()
        for place, token in enumerate([row.token_id] if row.token_id else tokens):
            if token not in held and row.type not in {"TRADE", "SPLIT"}:
                continue
            holding = _holding(held, row, token, row.condition_id)
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
                whole = max(0, holding.share_micros) if not row.token_id else row.share_micros
                holding.remove(whole, row.cash_micros if row.token_id or place == 0 else 0)
            else:
                continue
            holding.last_at = row.timestamp

    def _convert(self, held: dict[str, Holding], row: Row, market: Market | None, markets: dict[str, Market]) -> None:
        """Turn NO of one question of a negative-risk event into YES of those the same conversion does not name."""
        if market is None or not market.event_id or len(market.tokens) < 2:
            return
        rows = self._exchange.history.rows(row.wallet)
        named = {each.condition_id for each in rows if each.tx_hash == row.tx_hash and each.type == "CONVERSION"}
        given = _holding(held, row, market.tokens[1], market.condition_id)
        given.remove(row.share_micros, row.cash_micros)
        given.last_at = row.timestamp
        if market.condition_id != min(named):
            return  # the others' YES come once, however many questions a conversion names
        for other in markets.values():
            if other.event_id == market.event_id and other.condition_id not in named and other.tokens:
                taken = _holding(held, row, other.tokens[0], other.condition_id)
                taken.add(row.share_micros, 0, 0)
                taken.last_at = row.timestamp


def _holding(held: dict[str, Holding], row: Row, token: str, condition_id: str) -> Holding:
    """Return a token's holding, begun now if there was none."""
    if token not in held:
        held[token] = Holding(row.wallet, token, condition_id, first_at=row.timestamp)
    return held[token]
