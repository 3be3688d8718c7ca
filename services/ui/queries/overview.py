"""Everything the overview shows, read in one transaction; what changes slowly is read at a slower pace."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.engine import transaction
from libs.common.domain.config import CopyConfig
from libs.common.domain.statistics import exposure_by_market
from services.ui.queries.control import Control, read_control
from services.ui.queries.decisions import DecisionRow, Reasons, read_latest, read_reasons
from services.ui.queries.health import HealthFacts, read_health
from services.ui.queries.people import Person, read_configs, read_people, with_trends
from services.ui.queries.portfolio import (
    Frozen,
    GlobalFigures,
    Holding,
    WinRate,
    read_closed,
    read_figures,
    read_holdings,
    read_largest_user,
    read_win_rate,
)
from services.ui.queries.verdict import Verdict, Waiting, judge

TOP: Final = 6


class Gap(Frozen):
    """What copying each user alone made against what they made, at our copy share; each user's own bankroll."""

    theirs_micros: int
    ours_micros: int
    fees_micros: int
    copy_pcts: tuple[str, ...]

    @property
    def gap_micros(self) -> int:
        """Ours - theirs; below zero copying lost against them."""
        return self.ours_micros - self.theirs_micros


class LimitUse(Frozen):
    """One limit: how much of it is used, both as amounts; `of` names whose use it is."""

    name: str
    of: str
    used_micros: int
    base_micros: int
    limit_pct: str


class Slow(Frozen):
    """What is read once a minute."""

    top_people: tuple[Person, ...]
    reasons: Reasons
    win_rate: WinRate


class Facts(Frozen):
    """What is read every ten seconds."""

    taken_at: datetime
    control: Control
    figures: GlobalFigures | None
    people: tuple[Person, ...]
    gap: Gap
    holdings: tuple[Holding, ...]
    closed: tuple[Holding, ...]
    limits: tuple[LimitUse, ...]
    latest: tuple[DecisionRow, ...]
    health: HealthFacts
    verdict: Verdict


class Overview(Frozen):
    """The overview: the same for the page and the API. Amounts are micros of USDC."""

    facts: Facts
    slow: Slow

    @property
    def top_people(self) -> tuple[Person, ...]:
        """The users whose copies made most, with their curves as far as they are read."""
        curves = {person.user_id: person for person in self.slow.top_people}
        return tuple(
            person.model_copy(
                update={
                    "shadow_trend": curves[person.user_id].shadow_trend,
                    "exec_trend": curves[person.user_id].exec_trend,
                }
            )
            if person.user_id in curves
            else person
            for person in best_of(self.facts.people)
        )

    @property
    def is_first_run(self) -> bool:
        """Whether nobody was ever followed."""
        return not self.facts.people


async def read_facts(engine: AsyncEngine, waiting: Waiting, now: datetime) -> Facts:
    """Return the fast part; raises Unavailable while the database is away."""
    async with transaction(engine) as connection:
        configs = await read_configs(connection)
        people = await read_people(connection, configs)
        figures = await read_figures(connection, now)
        holdings: list[Holding] = []
        closed: list[Holding] = []
        largest = None
        if figures is not None:
            holdings = await read_holdings(connection, figures.portfolio_id)
            if len(holdings) < TOP:
                closed = await read_closed(connection, figures.portfolio_id, TOP - len(holdings))
            largest = await read_largest_user(connection)
        health = await read_health(connection, now)
        control = await read_control(connection)
        latest = await read_latest(connection)
    return Facts(
        taken_at=now,
        control=control,
        figures=figures,
        people=tuple(people),
        gap=gap_of(people),
        holdings=tuple(holdings),
        closed=tuple(closed),
        limits=limits_of(figures, holdings, largest, configs.everyone) if figures else (),
        latest=tuple(latest),
        health=health,
        verdict=judge(health, waiting, now, holds=bool(holdings)),
    )


async def read_slow(engine: AsyncEngine, facts: Facts, now: datetime) -> Slow:
    """Return the slow part; raises Unavailable while the database is away."""
    async with transaction(engine) as connection:
        top = await with_trends(connection, best_of(facts.people), now)
        reasons = await read_reasons(connection, now)
        rate = WinRate(closed=0, won=0)
        if facts.figures is not None:
            rate = await read_win_rate(connection, facts.figures.portfolio_id)
    return Slow(top_people=tuple(top), reasons=reasons, win_rate=rate)


def best_of(people: Sequence[Person]) -> list[Person]:
    """Return the users whose copies made most."""
    copied = [person for person in people if person.exec_id is not None]
    return sorted(copied, key=lambda each: (-each.ours_micros, -each.theirs_micros, each.label))[:TOP]


def gap_of(people: list[Person]) -> Gap:
    """Return the gap over all users who were ever copied."""
    copied = [person for person in people if person.exec_id is not None]
    return Gap(
        theirs_micros=sum(person.theirs_micros for person in copied),
        ours_micros=sum(person.ours_micros for person in copied),
        fees_micros=sum(person.fees_micros for person in copied),
        copy_pcts=tuple(sorted({f"{person.copy_pct.normalize():f}" for person in copied})),
    )


def limits_of(
    figures: GlobalFigures, holdings: list[Holding], largest_user: tuple[str, int] | None, config: CopyConfig
) -> tuple[LimitUse, ...]:
    """Return the use of every limit of the global portfolio."""
    equity, fall = figures.equity_micros, figures.drawdown
    market, in_market = _largest_market(holdings)
    user, in_user = largest_user or ("", 0)
    rows = (
        ("Total exposure", "", figures.exposure_micros, equity, config.max_total_exposure_pct),
        ("Largest market", market, in_market, equity, config.max_exposure_per_market_pct),
        ("Largest user", user, in_user, equity, config.max_exposure_per_user_pct),
        ("Loss today", "", max(0, -figures.today_micros), figures.today_base_micros, config.daily_loss_limit_pct),
        (
            "Loss this week",
            "",
            max(0, -figures.this_week_micros),
            figures.this_week_base_micros,
            config.weekly_loss_limit_pct,
        ),
        (
            "Drawdown from peak",
            "",
            fall.lost_micros if fall else 0,
            figures.peak_equity_micros,
            config.max_drawdown_limit_pct,
        ),
    )
    return tuple(
        LimitUse(name=name, of=of, used_micros=used, base_micros=base, limit_pct=f"{limit:f}")
        for name, of, used, base, limit in rows
    )


def _largest_market(holdings: list[Holding]) -> tuple[str, int]:
    names = {holding.condition_id or holding.asset_id: holding.question for holding in holdings}
    values = exposure_by_market(
        (holding.condition_id or holding.asset_id, holding.value_micros) for holding in holdings
    )
    if not values:
        return "", 0
    largest = max(values, key=lambda key: (values[key], key))
    return names[largest], values[largest]
