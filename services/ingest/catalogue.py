"""Ask the catalogue of markets about many names, so that one of them that is trouble costs the others nothing."""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import structlog

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.domain.market import MarketFacts, PartlyReadError

NAMES_PER_CALL: Final = 25
ALONE_MAX: Final = 5
"""Of names that cannot be had together, how many are asked about alone before all are asked about again."""

LookUp = Callable[[Sequence[str]], Awaitable[list[MarketFacts]]]
_log = structlog.get_logger()
_order = random.Random()  # noqa: S311  no name is always the last one, it guards nothing


class Catalogue(Protocol):
    """The part of Gamma that is asked."""

    async def markets_by_token(self, asset_ids: Sequence[str]) -> list[MarketFacts]:
        """Return markets by token."""

    async def markets_by_condition(self, condition_ids: Sequence[str]) -> list[MarketFacts]:
        """Return markets by condition."""


async def ask_about(
    look_up: LookUp, names: Sequence[str], keep: Callable[[Sequence[MarketFacts]], Awaitable[None]]
) -> Unavailable | None:
    """Look names up and keep what is found; returns why some could not be had now, None where all were answered.

    One that the host refuses keeps none of the others unknown, nor does one that it stumbles over: where it answers for
    some names asked about alone it goes on. Raises Unavailable where it does not.
    """
    failure: Unavailable | None = None
    for first in range(0, len(names), NAMES_PER_CALL):
        part = names[first : first + NAMES_PER_CALL]
        try:
            await keep(await look_up(part))
        except PartlyReadError as error:
            await keep(error.found)
            failure = error
        except Rejected as error:
            if len(part) == 1:
                _log.warning("market_refused", name=part[0], error=str(error)[:300])
                continue
            middle = len(part) // 2
            for half in (part[:middle], part[middle:]):
                failure = await ask_about(look_up, half, keep) or failure
        except Unavailable as error:
            if len(part) == 1:
                raise
            failure = error
            for name in _order.sample(part, min(ALONE_MAX, len(part))):
                await ask_about(look_up, [name], keep)
    return failure
