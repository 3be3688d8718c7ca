"""Writes the synthetic market in the wire's words: ids, Gamma objects, resolution rows, books and activity rows."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson

from services.sandbox.exchange import Market, fitted
from services.sandbox.market.chance import Chance
from services.sandbox.market.depth import TICKS, Depth, Levels
from services.sandbox.market.habits import HABITS, Deed
from services.sandbox.market.lives import Life
from services.sandbox.market.questions import Question, ask
from services.sandbox.order_filled import block_number, digest

FIRST_MARKET_ID = 600_000
RESERVED_IDS = 10_000


@dataclass(frozen=True, slots=True)
class Names:
    """The fixed names of one life."""

    market_id: str
    condition_id: str
    question_id: str
    tokens: tuple[str, str]
    slug: str
    event_id: str
    event_slug: str
    question: Question


def iso(ms: int) -> str:
    """Write an instant as Gamma does."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _slug(text: str) -> str:
    words = "".join(each if each.isascii() and each.isalnum() else " " for each in text.lower().replace("°c", "c"))
    return "-".join(words.split())


class Wording:
    """Writes for one seed; `wall` maps the market's instants to wall time."""

    def __init__(self, seed: int, wall: Callable[[int], int]) -> None:
        self._seed = seed
        self._wall = wall
        self.names = lru_cache(maxsize=1024)(self._names)

    def wallet(self, number: int) -> str:
        """Return the address of a wallet."""
        return "0x" + digest("wallet", self._seed, HABITS[number].label).hex()[:40]

    def _names(self, life: Life) -> Names:
        key = (self._seed, life.place, life.generation)
        starts, ends = (datetime.fromtimestamp(self._wall(ms) / 1000, UTC) for ms in (life.opens_ms, life.resolves_ms))
        question = ask(life.subject, Chance("question", *key), starts, ends)
        number = FIRST_MARKET_ID + life.place * RESERVED_IDS + life.generation
        first, second = (int.from_bytes(digest("token", *key, leg), "big") for leg in (0, 1))
        suffix = f"-{number % 1000:03d}"
        return Names(
            market_id=str(number),
            condition_id="0x" + digest("condition", *key).hex(),
            question_id="0x" + digest("question", *key).hex(),
            tokens=(str(first), str(second)),
            slug=_slug(question.text) + suffix,
            event_id=str(number + 1_000_000),
            event_slug=_slug(question.event) + suffix,
            question=question,
        )

    def market(self, life: Life, depth: Depth, last_cents: int, now_ms: int) -> Market:
        """Return the Gamma object at an instant of the market's own time."""
        names, subject = self.names(life), life.subject
        closed = now_ms >= life.resolves_ms
        bid, ask_price = depth.bids[0][0] / TICKS, depth.asks[0][0] / TICKS
        price = (bid + ask_price) / 2
        prices = [str(int(leg == life.winner)) for leg in (0, 1)] if closed else [f"{price:.3f}", f"{1 - price:.3f}"]
        volume = round(subject.depth * (now_ms - life.opens_ms) / 1000 * 35, 2)
        body: dict[str, Any] = {
            "id": names.market_id,
            "question": names.question.text,
            "conditionId": names.condition_id,
            "slug": names.slug,
            "endDate": iso(self._wall(life.end_date_ms)),
            "startDate": iso(self._wall(life.opens_ms)),
            "liquidity": str(round(subject.depth * 180_000, 2)),
            "image": "",
            "icon": "",
            "description": f"This market resolves according to its title: {names.question.text}",
            "outcomes": json.dumps(names.question.outcomes, ensure_ascii=False),
            "outcomePrices": json.dumps(prices),
            "volume": str(volume),
            "active": True,
            "closed": closed,
            "archived": False,
            "questionID": names.question_id,
            "enableOrderBook": True,
            "orderPriceMinTickSize": 0.01,
            "orderMinSize": 5,
            "volumeNum": volume,
            "liquidityNum": round(subject.depth * 180_000, 2),
            "clobTokenIds": json.dumps(names.tokens),
            "umaBond": "500",
            "umaReward": "5",
            "makerBaseFee": 1000,
            "takerBaseFee": 1000,
            "acceptingOrders": not closed,
            "negRisk": subject.negative_risk,
            "spread": round(ask_price - bid, 3),
            "lastTradePrice": last_cents / TICKS,
            "bestBid": bid,
            "bestAsk": ask_price,
            "umaResolutionStatuses": '["proposed", "resolved"]' if closed else "[]",
            "feesEnabled": subject.fee_rate != "0",
            "feeType": f"{subject.name}_fees" if subject.fee_rate != "0" else None,
            "version": "v1",
            "events": [self._event(life, names, closed=closed)],
        }
        body |= _fee_schedule(subject.fee_rate)
        if closed:
            body |= self._outcome(life)
        return Market(
            names.market_id, names.condition_id, names.question_id, names.slug, names.tokens,
            names.question.outcomes, closed, subject.negative_risk, body,
        )  # fmt: skip

    def _event(self, life: Life, names: Names, *, closed: bool) -> dict[str, Any]:
        return {
            "id": names.event_id,
            "slug": names.event_slug,
            "title": names.question.event,
            "endDate": iso(self._wall(life.end_date_ms)),
            "active": True,
            "closed": closed,
            "negRisk": life.subject.negative_risk,
        }

    def _outcome(self, life: Life) -> dict[str, Any]:
        """Return what a resolved market says besides."""
        moment = datetime.fromtimestamp(self._wall(life.resolves_ms) / 1000, UTC)
        return {"closedTime": f"{moment:%Y-%m-%d %H:%M:%S}+00", "umaResolutionStatus": "resolved"}

    def resolution(self, life: Life) -> dict[str, Any]:
        """Return the settled row of a life."""
        names, at_ms = self.names(life), self._wall(life.resolves_ms)
        return {
            "question_id": names.question_id,
            "condition_id": names.condition_id,
            "status": "resolved",
            "extended_review": False,
            "was_disputed": False,
            "new_version_q": False,
            "transaction_hash": "",
            "log_index": "",
            "last_update_timestamp": iso(at_ms),
            "payouts": [1_000_000 * (leg == life.winner) for leg in (0, 1)],
            "resolution_source": "reported",
            "was_arbitrated": False,
            "resolved_block": block_number(at_ms // 1000),
            "resolved_at": iso(at_ms),
        }

    def book(self, life: Life, leg: int, depth: Depth, last_cents: int) -> bytes:
        """Write the book of an outcome, worst level first, hashed over its content."""
        names = self.names(life)
        bids, asks = depth.of(leg)
        last = last_cents if leg == 0 else TICKS - last_cents
        body = {
            "market": names.condition_id,
            "asset_id": names.tokens[leg],
            "timestamp": str(self._wall(depth.starts_ms)),
            "hash": "",
            "bids": _levels(bids),
            "asks": _levels(asks),
            "min_order_size": "5",
            "tick_size": "0.01",
            "neg_risk": life.subject.negative_risk,
            "last_trade_price": f"{last / TICKS:.2f}",
        }
        body["hash"] = digest(orjson.dumps(body)).hex()[:40]
        return fitted(orjson.dumps(body))

    def activity(self, deed: Deed, timestamp: int, tx_hash: str, fee_micros: int) -> bytes:
        """Write a deed as an activity row."""
        names, label = self.names(deed.life), HABITS[deed.wallet].label
        size = Decimal(deed.lots) / 100
        price = (
            (Decimal(deed.gross_micros) / deed.lots / 10_000).quantize(Decimal("1e-10")) if deed.side else Decimal(0)
        )
        leg = deed.leg
        outcome = names.question.outcomes[leg] if leg is not None else ""
        body = {
            "proxy_wallet": self.wallet(deed.wallet),
            "timestamp": timestamp,
            "condition_id": names.condition_id,
            "type": deed.type,
            "size": _number(size),
            "usdc_size": _number(Decimal(cash_micros(deed, fee_micros)) / 1_000_000),
            "transaction_hash": tx_hash,
            "price": _number(price),
            "token_id": names.tokens[leg] if leg is not None else "",
            "side": deed.side,
            "outcome_index": 999 if leg is None else leg,
            "title": names.question.text,
            "slug": names.slug,
            "icon": "",
            "event_slug": names.event_slug,
            "outcome": outcome,
            "name": label,
            "pseudonym": label.title(),
            "bio": "",
            "profile_image": "",
            "profile_image_optimized": "",
        }
        return fitted(orjson.dumps(body))


def _fee_schedule(rate: str) -> dict[str, Any]:
    """Return what a market that charges takers says of it; one that does not says nothing."""
    schedule = {"exponent": 1, "rate": float(rate), "takerOnly": True, "rebateRate": 0.25}
    return {"feeSchedule": schedule} if rate != "0" else {}


def cash_micros(deed: Deed, fee_micros: int) -> int:
    """Return what a deed paid or received, the fee included."""
    if deed.side == "BUY":
        return deed.gross_micros + fee_micros
    return deed.gross_micros - fee_micros if deed.side == "SELL" else deed.gross_micros


def taker_fee_micros(deed: Deed) -> int:
    """Return the taker's fee of an order: floor to 10 micros of rate * n * (s - n) / s."""
    if deed.maker or deed.type != "TRADE":
        return 0
    shares = deed.lots * 10_000
    exact = Decimal(deed.life.subject.fee_rate) * deed.gross_micros * (shares - deed.gross_micros) / shares
    return int(exact // 10) * 10


def _levels(levels: Levels) -> list[dict[str, str]]:
    return [{"price": f"{price / TICKS:.2f}", "size": _plain(size)} for price, size in reversed(levels)]


def _plain(lots: int) -> str:
    whole, rest = divmod(lots, 100)
    return f"{whole}.{rest:02d}".rstrip("0") if rest else str(whole)


def _number(value: Decimal) -> orjson.Fragment:
    return orjson.Fragment(format(value.normalize(), "f"))
