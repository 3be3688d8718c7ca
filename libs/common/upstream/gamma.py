"""The market catalogue host: what a token is an outcome of, when its market closes and what it charges.

Lists arrive as JSON inside strings, or as real arrays; which field holds the token ids is said by `version`, never by
presence. Source: reference section 3.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from libs.common.domain.errors import Rejected
from libs.common.domain.market import MarketFacts, Outcome
from libs.common.domain.money import micros_from_wire
from libs.common.upstream.clob import chunks
from libs.common.upstream.gateway import Gateway, MalformedError, parse_json

IDS_PER_CALL: Final = 25
PAGE_SIZE: Final = 100
TICK_MICROS_DEFAULT: Final = 10_000
VERSIONS: Final = ("v1", "v2")
"""Where a market of another version keeps its token ids is not known, and not guessed."""


def _listed(value: object, *, what: str) -> list[Any]:
    if value is None or value == "":
        return []
    document = parse_json(value) if isinstance(value, str) else value
    if not isinstance(document, list):
        raise ValueError(f"{what}: expected a list, got {type(document).__name__}")  # noqa: TRY004  one error type at the edge
    return document


def decode_instant(value: object) -> datetime | None:
    """Return a wire time as UTC: RFC 3339, `2025-11-01 06:28:08+00`, or a bare date; None for nothing or 1970."""
    if not isinstance(value, str) or not value:
        return None
    at = datetime.fromisoformat(value)
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at if at.year > 1970 else None


def _fees(wire: Mapping[str, Any]) -> tuple[Decimal, Decimal] | None:
    """Return (rate, exponent); None where fees are on but the schedule is missing from this listing."""
    if not wire.get("feesEnabled"):
        return Decimal(0), Decimal(1)
    schedule = wire.get("feeSchedule")
    if not isinstance(schedule, Mapping):
        return None
    rate, exponent = Decimal(str(schedule.get("rate") or 0)), Decimal(str(schedule.get("exponent", 1)))
    if not 0 <= rate <= 1 or not 0 <= exponent <= 10:
        raise ValueError(f"feeSchedule: expected a rate from 0 to 1, got {rate} with exponent {exponent}")
    return rate, exponent


def decode_market(wire: object) -> MarketFacts:
    """Return the facts of a market object; raises ValueError saying what is wrong with it."""
    if not isinstance(wire, Mapping):
        raise ValueError(f"market: expected an object, got {type(wire).__name__}")  # noqa: TRY004
    condition_id = str(wire.get("conditionId") or "").lower()
    if not condition_id.startswith("0x"):
        raise ValueError(f"market {wire.get('id')!r:.40}: expected a conditionId, got {condition_id!r:.80}")
    version = str(wire.get("version") or "v1")
    if version not in VERSIONS:
        raise ValueError(f"market {wire.get('id')!r:.40}: expected version v1 or v2, got {version!r:.20}")
    ids = _listed(wire.get("positionIds") if version == "v2" else wire.get("clobTokenIds"), what="token ids")
    names = _listed(wire.get("outcomes"), what="outcomes")
    tick = wire.get("orderPriceMinTickSize")
    fees = _fees(wire)
    resolution = wire.get("resolutionStatus") if version == "v2" else wire.get("umaResolutionStatus")
    closed = bool(wire.get("closed"))
    return MarketFacts(
        id=str(wire.get("id") or condition_id),
        condition_id=condition_id,
        question=str(wire.get("question") or ""),
        slug=str(wire.get("slug") or ""),
        outcomes=tuple(
            Outcome(str(asset_id), index, str(names[index]) if index < len(names) else str(index))
            for index, asset_id in enumerate(ids)
            if asset_id
        ),
        close_time=decode_instant(wire.get("endDate")),
        active=bool(wire.get("active", True)),
        closed=closed,
        accepting_orders=bool(wire.get("acceptingOrders", not closed)),
        neg_risk=bool(wire.get("negRisk")),
        fee_rate=fees[0] if fees else Decimal(0),
        fee_exponent=fees[1] if fees else Decimal(1),
        tick_micros=micros_from_wire(tick, what="tick") if tick is not None else TICK_MICROS_DEFAULT,
        version=version,
        resolved=closed and resolution == "resolved",
    )


class GammaClient:
    """Looks markets up by token or condition, open and closed ones; unknown ids are absent from the answer."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def markets_by_token(self, asset_ids: Sequence[str]) -> list[MarketFacts]:
        """Return the markets that have one of these tokens as an outcome."""

        def keys(market: MarketFacts) -> set[str]:
            return {outcome.asset_id for outcome in market.outcomes}

        return await self._look_up("clob_token_ids", asset_ids, keys)

    async def markets_by_condition(self, condition_ids: Sequence[str]) -> list[MarketFacts]:
        """Return the markets with these condition ids."""
        return await self._look_up("condition_ids", [each.lower() for each in condition_ids], _condition_of)

    async def _look_up(
        self, parameter: str, ids: Sequence[str], keys: Callable[[MarketFacts], set[str]]
    ) -> list[MarketFacts]:
        found: dict[str, MarketFacts] = {}
        missing = list(dict.fromkeys(ids))
        # The host answers with open markets only, unless asked for closed ones.
        for closed in ("false", "true"):
            for part in chunks(missing, IDS_PER_CALL):
                query = [*((parameter, each) for each in part), ("closed", closed), ("limit", PAGE_SIZE)]
                wanted = set(part)
                for wire in await self._gateway.get("/markets/keyset", query, _market_list):
                    market = await self._decode(wire)
                    if market is not None and keys(market) & wanted:
                        found[market.condition_id] = market
            known = set().union(*(keys(market) for market in found.values()))
            missing = [each for each in missing if each not in known]
        return list(found.values())

    async def _decode(self, wire: Any) -> MarketFacts | None:
        try:
            market = decode_market(wire)
            if _fees(wire) is None and not market.closed:  # what is closed charges nobody any more
                market = await self._with_fees(market)
        except (ValueError, ArithmeticError):
            self._gateway.metrics.count("rows_ignored", reason="market")
            return None
        return market

    async def _with_fees(self, market: MarketFacts) -> MarketFacts:
        """Read again by id what the listing left out; raises ValueError where it is not told there either."""
        try:
            fees = await self._gateway.get(f"/markets/{market.id}", (), _fees)
        except Rejected as error:
            raise ValueError(f"market {market.id}: {error}") from error
        if fees is None:
            raise ValueError(f"market {market.id}: expected a feeSchedule where fees are enabled")
        return replace(market, fee_rate=fees[0], fee_exponent=fees[1])


def _condition_of(market: MarketFacts) -> set[str]:
    return {market.condition_id}


def _market_list(document: Any) -> list[Any]:
    items = document.get("markets", document.get("data")) if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise MalformedError(f"expected a list of markets, got {type(items).__name__}")
    return items
