"""Writes holdings as rows of `/v2/positions`: selection, order and the derived figures."""

from decimal import Decimal
from typing import Any

import orjson

from services.sandbox.exchange import Exchange, Market
from services.sandbox.positions import Holding, Holdings
from services.sandbox.wire.answers import invalid
from services.sandbox.wire.clob import best
from services.sandbox.wire.parameters import Parameters

STATUSES = ("OPEN", "REDEEMABLE", "REDEEMABLE_LOST", "MERGEABLE", "CLOSED")
SORTS = {
    "CURRENT_VALUE": "current_value",
    "PRICE": "current_price",
    "TOKENS": "current_size",
    "UNREALIZED_PNL": "unrealized_pnl",
    "REALIZED_PNL": "realized_pnl",
    "TOTAL_PNL": "total_pnl",
    "TIMESTAMP": "last_event_at",
}
DUST = Decimal("0.1")
"""Default floor in shares."""
_ARCHIVED_AWAY = False


def position_rows(
    exchange: Exchange, holdings: Holdings, asked: Parameters, user: str | None, conditions: list[str]
) -> tuple[list[dict[str, Any]], dict[str, object]]:
    """Return the rows asked for, in order, and the filters a cursor of theirs is bound to."""
    now = exchange.timeline.now()
    exchange.advance(now)
    status = asked.one_of("status", STATUSES, "OPEN")
    sort = asked.one_of("sort_by", tuple(SORTS), "REALIZED_PNL" if status == "CLOSED" else "CURRENT_VALUE") or ""
    ascending = asked.one_of("sort_direction", ("ASC", "DESC"), "DESC") == "ASC"
    kind = asked.one_of("filter_type", ("CASH", "TOKENS"), "TOKENS")
    archived = status == "CLOSED" or asked.flag("include_archived", default=_ARCHIVED_AWAY)
    if status == "CLOSED" and asked.text("include_archived"):
        raise invalid("include_archived is not supported with status=CLOSED", "include_archived")
    least, title = _least(asked), (asked.text("title") or "").lower()
    start, end = asked.number("start") or 0, asked.number("end") or 2**62
    markets = {token: market for market in exchange.markets(now) for token in market.tokens}
    payouts = {str(row.get("condition_id")): row.get("payouts") for row in exchange.resolutions(now)}
    wallets = [user] if user else [wallet.address for wallet in exchange.wallets]
    found = []
    for wallet in wallets:
        held = holdings.of(wallet, now)
        owned = {holding.token_id for holding in held if holding.share_micros}
        for holding in held:
            market = markets.get(holding.token_id)
            row = _row(holding, market, _price(exchange, holding, market, payouts, now), payouts)
            row["mergeable"] = bool(row["current_size"]) and row["opposite_token_id"] in owned
            amount = row["current_value"] if kind == "CASH" else row["current_size"]
            if (
                _has_status(row, status)
                and (status == "CLOSED" or amount >= least)
                and (not conditions or str(row["condition_id"]).lower() in conditions)
                and title in str(row["title"]).lower()
                and start <= row["last_event_at"] <= end
                and (archived or not row["archived"])
            ):
                found.append(row)
    found.sort(key=lambda row: (row[SORTS[sort]], row["token_id"]), reverse=not ascending)
    filters: dict[str, object] = {
        "user": user,
        "condition": conditions,
        "status": status,
        "sort": sort,
        "asc": ascending,
    }
    return found, filters


def _least(asked: Parameters) -> Decimal:
    text = asked.text("filter_amount")
    try:
        return DUST if text is None else Decimal(text)
    except ArithmeticError:
        raise invalid("invalid filter_amount", "filter_amount") from None


def _has_status(row: dict[str, Any], status: str | None) -> bool:
    if status == "CLOSED":
        return bool(row["current_size"] == 0)
    if row["current_size"] == 0:
        return False
    if status == "REDEEMABLE":
        return bool(row["redeemable"] and row["current_price"] > 0)
    if status == "REDEEMABLE_LOST":
        return bool(row["redeemable"] and row["current_price"] == 0)
    return bool(row["mergeable"]) if status == "MERGEABLE" else True


def _price(exchange: Exchange, holding: Holding, market: Market | None, payouts: dict[str, Any], now: int) -> Decimal:
    paid = payouts.get(holding.condition_id)
    if paid and market:
        return Decimal(int(paid[market.tokens.index(holding.token_id)])) / 1_000_000
    book = exchange.book_json(holding.token_id, now)
    if book:
        bid, ask = best(orjson.loads(book))
        if bid is not None and ask is not None:
            return (bid + ask) / 2
    return Decimal(str(holding.start.get("current_price") or 0))


def _units(micros: int) -> Decimal:
    return Decimal(micros) / 1_000_000


def _pointed(value: Decimal) -> Decimal:
    """Return the number in a form that is written with a decimal point, as the wire's amounts always are."""
    text = format(value.normalize(), "f")
    return Decimal(text if "." in text else text + ".0")


def _cut(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.0001"))


def _row(holding: Holding, market: Market | None, price: Decimal, payouts: dict[str, Any]) -> dict[str, Any]:
    size, cost, fees = _units(holding.share_micros), _units(holding.cost_micros), _units(holding.fees_micros)
    value, realised = _cut(size * price), _cut(_units(holding.realised_micros))
    unrealised = _cut(value - cost)
    index = market.tokens.index(holding.token_id) if market else 999
    other = 1 - index if market and len(market.tokens) == 2 else None
    resolved = bool(payouts.get(holding.condition_id))
    event = (market.event if market else None) or {}
    body = market.body if market else {}
    figures = {
        "proxy_wallet": holding.wallet,
        "token_id": holding.token_id,
        "condition_id": holding.condition_id,
        "current_size": size,
        "avg_price": _cut(cost / size) if size else Decimal(0),
        "entry_cost_usdc": cost,
        "entry_fees_usdc": fees,
        "total_cost_usdc": cost + fees,
        "current_price": price,
        "current_value": value,
        "total_size": _units(holding.bought_micros),
        "realized_pnl": realised,
        "unrealized_pnl": unrealised,
        "total_pnl": realised + unrealised,
        "percent_pnl": _cut(unrealised / cost * 100) if cost else Decimal(0),
        "percent_realized_pnl": _cut(realised / cost * 100) if cost else Decimal(0),
        "status": "CLOSED" if not size else "REDEEMABLE" if resolved else "OPEN",
        "redeemable": resolved,
        "mergeable": False,
        "negative_risk": market.negative_risk if market else False,
        "archived": False,
        "title": body.get("question", ""),
        "slug": market.slug if market else "",
        "icon": body.get("icon", ""),
        "event_id": str(event.get("id", "")),
        "event_slug": str(event.get("slug", "")),
        "outcome": market.outcomes[index] if market and index < len(market.outcomes) else "",
        "outcome_index": index,
        "opposite_outcome": market.outcomes[other] if market and other is not None else "",
        "opposite_token_id": market.tokens[other] if market and other is not None else "",
        "end_date": str(body.get("endDate") or "1970-01-01")[:10],
        "last_event_at": holding.last_at,
        "first_entry_at": holding.first_at,
        "name": "",
        "profile_image": "",
        "verified": False,
    }
    figures = {key: _pointed(item) if isinstance(item, Decimal) else item for key, item in figures.items()}
    if not holding.start:
        return figures
    if holding.last_at == holding.start.get("last_event_at"):
        told = {**holding.start, **{key: figures[key] for key in _NEEDED if key not in holding.start}}
        return told | {key: figures[key] for key in _SETTLED} if resolved else told
    return {**figures, **{key: item for key, item in holding.start.items() if key in _LASTING}}


_NEEDED = ("condition_id", "archived", "title", "opposite_token_id", "last_event_at", *SORTS.values())
"""What rows are chosen and ordered by; a tape may tell less."""
_SETTLED = ("current_price", "current_value", "status", "redeemable")
"""What a resolution changes of a position nobody touched."""
_LASTING = frozenset(
    [
        "title",
        "slug",
        "icon",
        "event_id",
        "event_slug",
        "outcome",
        "outcome_index",
        "end_date",
        "name",
        "profile_image",
        "verified",
    ]
)
