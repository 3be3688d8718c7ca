"""Breakers as the next decision in each executable portfolio would find them; reads only, takes no lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.domain.kinds import Scope
from libs.common.domain.statistics import Loss, Start, drawdown, loss_since
from services.simulator.core.guardrails import breakers
from services.simulator.core.portfolio import PortfolioState
from services.simulator.core.rules import Ratio, Rules
from services.simulator.store.configs import ConfigStore
from services.simulator.store.driver import driver_transaction
from services.simulator.store.rows import Market
from services.simulator.store.session import DecisionSession

PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Breaker:
    """One breaker: what it counts from, how much of that is lost (parts per million, up), and where it stops."""

    name: str
    start_micros: int | None
    lost_ppm: int | None
    limit_ppm: int
    is_open: bool
    """Whether it stops opening positions now."""


@dataclass(frozen=True, slots=True)
class PortfolioBreakers:
    """The breakers of one portfolio. `is_reset`: the admin reset its drawdown after the last decision."""

    portfolio_id: UUID
    scope: Scope
    user: str | None
    equity_micros: int
    breakers: tuple[Breaker, ...]
    is_reset: bool


async def read_breakers(engine: AsyncEngine, now: datetime) -> list[PortfolioBreakers]:
    """Return every executable portfolio's breakers, the global one first, under the limits in force for its owner.

    In EXEC_GLOBAL a user's own limits count for that user's groups; shown are those for all.
    """
    rules = await ConfigStore(engine).current()
    found: list[PortfolioBreakers] = []
    async with driver_transaction(engine) as connection:
        for scope in (Scope.EXEC_GLOBAL, Scope.EXEC_USER):
            session = DecisionSession(connection, scope, "")
            portfolios = await session.unlocked()
            states, starts = await session.states(portfolios, Market(), await session.switches(), set(), now)
            labels = await session.labels()
            for each in portfolios:
                own = rules.for_all if each.user_id is None else rules.of(each.user_id)
                found.append(
                    PortfolioBreakers(
                        each.id,
                        scope,
                        labels.get(each.user_id) if each.user_id else None,
                        states[each.id].equity_micros,
                        _breakers(states[each.id], own),
                        bool(starts[each.id]["is_reset"]),
                    )
                )
    return found


def _breakers(state: PortfolioState, rules: Rules) -> tuple[Breaker, ...]:
    """Return the breakers of a portfolio, judged by the same function as a decision's."""
    view = state.worth()
    checks, _ = breakers(view, rules, opens=True)
    day = (view.day_start_equity_micros, view.day_flows_micros)
    week = (view.week_start_equity_micros, view.week_flows_micros)
    starts = [Start(*day).moved_micros, Start(*week).moved_micros, view.peak_equity_micros]
    losses = [
        loss_since(*day, view.equity_micros),
        loss_since(*week, view.equity_micros),
        drawdown(view.peak_equity_micros, view.equity_micros),
    ]
    limits: Sequence[Ratio] = (rules.daily_loss, rules.weekly_loss, rules.drawdown)
    return tuple(
        Breaker(
            name.rpartition(".")[2],
            start,
            None if loss is None else _ppm(loss),
            limit.floor_of(PPM),
            passed is False,
        )
        for (name, passed, *_), start, loss, limit in zip(checks, starts, losses, limits, strict=True)
    )


def _ppm(loss: Loss) -> int:
    """Return a loss in parts per million, rounded up."""
    return -(-loss.lost_micros * PPM // loss.base_micros)
