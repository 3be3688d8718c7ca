"""The market catalogue host: what a token is an outcome of, when its market closes and what it charges.

Lists arrive as JSON inside strings, or as real arrays; which field holds the token ids is said by `version`, never by
presence. Source: reference section 3.
"""

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.domain.market import MarketFacts, Outcome, PartlyReadError
from libs.common.domain.money import MICROS
from libs.common.upstream.fields import (
    FieldError,
    an_object,
    clean,
    read_flag,
    read_hex_id,
    read_price_micros,
    read_token,
)
from libs.common.upstream.gateway import Gateway, MalformedError, parse_json
from libs.common.upstream.parts import chunks
from libs.common.upstream.samples import note_ignored

WHAT: Final = "market"
IDS_PER_CALL: Final = 25
PAGE_SIZE: Final = 100
TICK_MICROS_DEFAULT: Final = 10_000
OUTCOMES_MAX: Final = 256
TEXT_LENGTH_MAX: Final = 1_000
NAME_LENGTH_MAX: Final = 200
ID_LENGTH_MAX: Final = 40
YEAR_MAX: Final = 2999
FEE_EXPONENT_MAX: Final = 10
FEE_DIGITS: Final = 12

_ID = re.compile(rf"[0-9A-Za-z_-]{{1,{ID_LENGTH_MAX}}}")


def _listed(value: object, field: str) -> list[Any]:
    if value is None or value == "":
        return []
    try:
        document = parse_json(value) if isinstance(value, str) else value
    except ValueError:
        document = value
    if not isinstance(document, list) or len(document) > OUTCOMES_MAX:
        raise FieldError(WHAT, field, f"a list of at most {OUTCOMES_MAX}", value)
    return document


def decode_instant(value: object, field: str = "time", what: str = "wire") -> datetime | None:
    """Return a wire time as UTC: RFC 3339, `2025-11-01 06:28:08+00`, or a bare date; None for nothing or 1970.

    Raises FieldError for anything else.
    """
    if value is None or value == "":
        return None
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
        at = at if at is None else at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        at = None
    if at is None or not 1900 <= at.year <= YEAR_MAX:
        raise FieldError(what, field, f"a date and time before {YEAR_MAX + 1}", value)
    return at if at.year > 1970 else None


def _fees(wire: Mapping[str, Any]) -> tuple[Decimal, Decimal] | None:
    """Return (rate, exponent); None where fees are on but the schedule is missing from this listing.

    A schedule counts unless `feesEnabled` says that it does not.
    """
    schedule = wire.get("feeSchedule")
    if not read_flag(wire.get("feesEnabled"), "feesEnabled", WHAT, default=schedule is not None):
        return Decimal(0), Decimal(1)
    if schedule is None:
        return None
    if not isinstance(schedule, Mapping):
        raise FieldError(WHAT, "feeSchedule", "an object", schedule)
    rate = _plain(schedule.get("rate"), "feeSchedule.rate", 1)
    return rate, _plain(schedule.get("exponent", 1), "feeSchedule.exponent", FEE_EXPONENT_MAX)


def _plain(value: object, field: str, most: int) -> Decimal:
    """Return a number from 0 to `most` of a few digits; raises FieldError."""
    number = None
    if isinstance(value, (Decimal, int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ArithmeticError):
            number = Decimal(value)
    if number is None or not number.is_finite() or not 0 <= number <= most or round(number, FEE_DIGITS) != number:
        raise FieldError(WHAT, field, f"a number from 0 to {most}", value)
    return number


def _outcomes(wire: Mapping[str, Any], version: str) -> tuple[Outcome, ...]:
    field = "positionIds" if version == "v2" else "clobTokenIds"
    names = _listed(wire.get("outcomes"), "outcomes")
    outcomes = tuple(
        Outcome(
            read_token(asset_id, field, WHAT),
            index,
            (clean(names[index], NAME_LENGTH_MAX) if index < len(names) else "") or str(index),
        )
        for index, asset_id in enumerate(_listed(wire.get(field), field))
        if asset_id not in (None, "")
    )
    if len({outcome.asset_id for outcome in outcomes}) != len(outcomes):
        raise FieldError(WHAT, field, "distinct ids", wire.get(field))
    return outcomes


def _tick(value: object) -> int:
    if value is None:
        return TICK_MICROS_DEFAULT
    tick = read_price_micros(value, "orderPriceMinTickSize", WHAT)
    if not 0 < tick < MICROS:
        raise FieldError(WHAT, "orderPriceMinTickSize", "more than 0 and less than 1", value)
    return tick


def decode_market(wire: object) -> MarketFacts:
    """Return the facts of a market object; raises ValueError naming the field that is wrong with it."""
    market = an_object(wire, WHAT)
    condition_id = read_hex_id(market.get("conditionId"), "conditionId", WHAT)
    version = "v1" if market.get("version") in (None, "") else market["version"]
    if version not in ("v1", "v2"):  # which field holds the token ids of another one, nobody knows
        raise FieldError(WHAT, "version", "v1 or v2", version)
    fees = _fees(market)
    resolution = market.get("resolutionStatus" if version == "v2" else "umaResolutionStatus")
    closed = read_flag(market.get("closed"), "closed", WHAT, default=None)
    id_ = clean(market.get("id"), ID_LENGTH_MAX + 1)
    if id_ and not _ID.fullmatch(id_):
        raise FieldError(WHAT, "id", f"at most {ID_LENGTH_MAX} letters and digits", market.get("id"))
    return MarketFacts(
        id=id_ or condition_id,
        condition_id=condition_id,
        question=clean(market.get("question"), TEXT_LENGTH_MAX),
        slug=clean(market.get("slug"), TEXT_LENGTH_MAX),
        outcomes=_outcomes(market, version),
        close_time=decode_instant(market.get("endDate"), "endDate", WHAT),
        active=read_flag(market.get("active"), "active", WHAT, default=True),
        closed=closed,
        accepting_orders=read_flag(market.get("acceptingOrders"), "acceptingOrders", WHAT, default=not closed),
        neg_risk=read_flag(market.get("negRisk"), "negRisk", WHAT),
        fee_rate=fees[0] if fees else Decimal(0),
        fee_exponent=fees[1] if fees else Decimal(1),
        tick_micros=_tick(market.get("orderPriceMinTickSize")),
        version=version,
        resolved=closed and resolution == "resolved",
    )


def lacks_fees(wire: Mapping[str, Any]) -> bool:
    """Tell whether a market that was decoded charges fees this listing does not name."""
    return wire.get("feeSchedule") is None and read_flag(wire.get("feesEnabled"), "feesEnabled", WHAT)


class GammaClient:
    """Looks markets up by token or condition, open and closed ones; unknown ids are absent from the answer.

    A market that is wrong is left out; one that cannot be read now raises PartlyReadError with the rest.
    """

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
        failure: Unavailable | None = None
        missing = list(dict.fromkeys(ids))
        # The host answers with open markets only, unless asked for closed ones.
        for closed in ("false", "true"):
            for part in chunks(missing, IDS_PER_CALL):
                query = [*((parameter, each) for each in part), ("closed", closed), ("limit", PAGE_SIZE)]
                wanted = set(part)
                try:
                    wires = await self._gateway.get("/markets/keyset", query, market_list)
                except Unavailable as error:
                    if not found:
                        raise
                    raise PartlyReadError(error, list(found.values())) from error
                for wire in wires:
                    try:
                        market = await self._decode(wire)
                    except Unavailable as error:
                        failure = failure or error
                        continue
                    if market is not None and keys(market) & wanted:
                        found[market.condition_id] = market
            known = set().union(*(keys(market) for market in found.values()))
            missing = [each for each in missing if each not in known]
        if failure:
            raise PartlyReadError(failure, list(found.values()))
        return list(found.values())

    async def _decode(self, wire: Any) -> MarketFacts | None:
        try:
            market = decode_market(wire)
            if lacks_fees(wire) and not market.closed:  # what is closed charges nobody any more
                market = await self._with_fees(market)
        except ValueError as error:
            note_ignored(self._gateway.metrics, "market", error, wire)
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


def market_list(document: Any) -> list[Any]:
    """Return the markets of a listing; raises MalformedError."""
    items = document.get("markets", document.get("data")) if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise MalformedError(f"expected a list of markets, got {type(items).__name__}")
    return items
