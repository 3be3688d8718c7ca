"""`shadowbook blacklist list|add|remove|allow`: markets that nothing is opened in; reductions pass."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.intents import actor, config_changed, look, write
from services.cli.options import DataDirOption, JsonOption

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

MarketArgument = Annotated[str, typer.Argument(metavar="MARKET", help="Condition id, slug, or the market's page.")]
UserOption = Annotated[str | None, typer.Option("--user", help="Only for the copies of this followed user.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept with it and in the audit trail.")]
SHOWN_CONDITION = 14


def register(app: typer.Typer) -> None:
    """Add the commands."""
    blacklist = typer.Typer(no_args_is_help=True, help="Markets that nothing is opened in.")
    blacklist.command("list")(list_markets)
    blacklist.command("add")(add)
    blacklist.command("remove")(remove)
    blacklist.command("allow")(allow)
    app.add_typer(blacklist, name="blacklist")


def list_markets(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List blacklisted markets and exceptions. Those in the configuration's own list are shown by `config show`."""
    from libs.common.db.blacklist import read_blacklist

    rows = look(data_dir, "blacklist list", read_blacklist)
    if as_json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows], default=str) + "\n")
        return
    for row in rows:
        state = "listed" if row.listed else "allowed"
        condition = row.condition_id[:SHOWN_CONDITION]
        reason = f"  ({row.reason})" if row.reason else ""
        sys.stdout.write(
            f"{state:<8} {row.user or 'all':<16} {condition}  {row.at:%Y-%m-%d %H:%M} {row.by}  "
            f"{row.slug or 'a market not seen yet'}{reason}\n"
        )
    if not rows:
        sys.stdout.write("No market is blacklisted.\n")


def add(
    market: MarketArgument,
    user: UserOption = None,
    reason: ReasonOption = "",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open nothing in a market any more. What is held there is still reduced."""
    _set(market, user, True, reason, data_dir, as_json)


def remove(
    market: MarketArgument,
    user: UserOption = None,
    reason: ReasonOption = "",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a market off. With --user that user's own row, so that what counts for all counts again."""
    _set(market, user, None if user else False, reason, data_dir, as_json)


def allow(
    market: MarketArgument,
    user: Annotated[str, typer.Option("--user", help="The followed user whose copies are excepted.")],
    reason: ReasonOption = "",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Except one user's copies from what is blacklisted for all."""
    _set(market, user, False, reason, data_dir, as_json)


def _set(
    market: str, user: str | None, listed: bool | None, reason: str, data_dir: DataDirOption, as_json: bool
) -> None:
    from libs.common.db.blacklist import find_condition, set_listed
    from libs.common.db.settings import find_user

    async def work(connection: "AsyncConnection") -> "tuple[str, UUID | None, bool]":
        condition = await find_condition(connection, market)
        owner = None if user is None else await find_user(connection, user)
        return condition, owner, await set_listed(connection, condition, owner, listed, reason, actor())

    condition, _, changed = write(
        data_dir, "blacklist", work, lambda found: config_changed(found[1]) if found[2] else None
    )
    if as_json:
        values = {"condition_id": condition, "user": user, "blacklisted": listed, "changed": changed}
        sys.stdout.write(json.dumps(values) + "\n")
        return
    whom = f"for {user}" if user else "for all"
    words = {True: "blacklisted", False: "not blacklisted", None: "as for all"}[listed]
    sys.stdout.write(f"{condition} is {words} {whom}{'' if changed else '; it was before'}.\n")
