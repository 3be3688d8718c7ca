"""`shadowbook breaker list|reset`: what stops opening positions, how far it is, and the reset of a drawdown."""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.columns import columns
from services.cli.errors import CommandError
from services.cli.intents import actor, control_changed, write
from services.cli.options import DataDirOption, JsonOption

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from libs.common.db.switches import Reset
    from services.simulator.commands import PortfolioBreakers

HEAD = ("PORTFOLIO", "EQUITY", "BREAKER", "FROM", "LOST", "LIMIT", "STATE")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    breaker = typer.Typer(no_args_is_help=True, help="Loss and drawdown breakers of the executable portfolios.")
    breaker.command("list")(list_all)
    breaker.command("reset")(reset)
    app.add_typer(breaker, name="breaker")


def list_all(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Show every breaker as the next decision would find it. Portfolio by portfolio, at the latest marks."""
    from services.cli.stack import session
    from services.simulator import commands

    with session(data_dir, command="breaker list") as visit:
        found = asyncio.run(commands.list_breakers(visit.database_url))
    if as_json:
        sys.stdout.write(json.dumps([asdict(each) for each in found], default=str) + "\n")
        return
    sys.stdout.writelines(f"{line}\n" for line in _table(found))
    if any(breaker.is_open and breaker.name == "drawdown" for each in found for breaker in each.breakers):
        sys.stdout.write("A drawdown stays open until `shadowbook breaker reset --global` or `--user USER`.\n")


def reset(
    user: Annotated[str | None, typer.Option("--user", help="The portfolio of this followed user.")] = None,
    everyone: Annotated[bool, typer.Option("--global", help="The global portfolio.")] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reset the drawdown breaker of one portfolio. Its peak becomes its equity; daily and weekly ones end by time."""
    from libs.common.db.settings import find_user
    from libs.common.db.switches import reset_drawdown, reset_key
    from libs.common.domain.kinds import Scope

    if (user is None) != everyone:
        raise CommandError("expected either --user USER or --global")

    async def work(connection: "AsyncConnection") -> "Reset":
        owner = None if user is None else await find_user(connection, user)
        scope = Scope.EXEC_GLOBAL if owner is None else Scope.EXEC_USER
        return await reset_drawdown(connection, actor(), scope=scope, user=owner)

    done = write(data_dir, "breaker reset", work, lambda found: control_changed(reset_key(found.portfolio_id)))
    if as_json:
        sys.stdout.write(json.dumps(asdict(done), default=str) + "\n")
    else:
        whose = done.user or "global"
        sys.stdout.write(f"The drawdown of {whose} counts from {_usdc(done.equity_micros)} USDC on.\n")


def _table(found: "Sequence[PortfolioBreakers]") -> Iterator[str]:
    rows: list[Sequence[str]] = [HEAD]
    for each in found:
        for place, breaker in enumerate(each.breakers):
            state = "OPEN" if breaker.is_open else "ok"
            if each.is_reset and breaker.name == "drawdown":
                state += ", reset"
            whose = [each.user or "global", _usdc(each.equity_micros)] if place == 0 else ["", ""]
            rows.append([*whose, breaker.name, _usdc(breaker.start_micros), _percent(breaker.lost_ppm),
                         _percent(breaker.limit_ppm), state])  # fmt: skip
    yield from columns(rows, right=(1, 3, 4, 5))


def _usdc(micros: int | None) -> str:
    from libs.common.domain.wording import fixed_usdc

    return "-" if micros is None else fixed_usdc(micros, 2)


def _percent(ppm: int | None) -> str:
    return "-" if ppm is None else f"{_usdc(ppm * 100)}%"  # a per cent is a million micros, too
