"""`shadowbook config show|set|history`: sizing and guardrails, for all and for one user."""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.intents import actor, look
from services.cli.options import DataDirOption, JsonOption

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from libs.common.db.settings_view import Change, SettingsView

UserOption = Annotated[str | None, typer.Option("--user", help="Name or id of a followed user; left out: global.")]
SHOWN_LIST = 3


def register(app: typer.Typer) -> None:
    """Add the commands."""
    config = typer.Typer(no_args_is_help=True, help="Sizing and guardrails, for all and for one user.")
    config.command("show")(show)
    config.command("set")(set_file)
    config.command("history")(history)
    app.add_typer(config, name="config")


def show(user: UserOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Show every setting, its value and where it comes from. That is user, global or default."""
    from libs.common.db.settings import find_user
    from libs.common.db.settings_view import read_settings

    async def work(connection: "AsyncConnection") -> "SettingsView":
        return await read_settings(connection, None if user is None else await find_user(connection, user))

    view = look(data_dir, "config show", work)
    if as_json:
        sys.stdout.write(view.model_dump_json() + "\n")
        return
    since = f"version {view.version} since {view.effective_at:%Y-%m-%d %H:%M:%S} UTC" if view.version else "not merged"
    sys.stdout.write(f"{view.user or 'global'}: {since}\n")
    values = view.in_force or view.values
    width = max(map(len, view.sources))
    for name, source in view.sources.items():
        sys.stdout.write(f"{name:<{width}}  {_shown(values[name]):<24} {source}\n")
    if view.bankroll_micros is not None and view.user is None:
        sys.stdout.write(f"{'bankroll_micros':<{width}}  {view.bankroll_micros:<24} global\n")
    sys.stdout.writelines(f"note: {each}\n" for each in view.remarks)
    if view.problem:
        sys.stdout.write(f"NOT MERGED, the last good version is in force: {view.problem}\n")


def set_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON, as for `up --config`; - for standard input.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Inherit again what FILE leaves out, for those it names.")
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Apply a file. Works with the stack up or down; a null takes one setting back to what is inherited.

    All of it is validated, merged with what is set already, or nothing is changed. In force within two seconds.
    """
    from services.cli.stack import session
    from services.simulator import commands

    content = _standard_input() if str(file) == "-" else file
    with session(data_dir, command="config set") as visit:
        changed = asyncio.run(
            commands.apply_config_file(visit.database_url, visit.redis_url, content, actor(), replace=replace)
        )
    if as_json:
        sys.stdout.write(json.dumps({"changed": [None if each is None else str(each) for each in changed]}) + "\n")
    elif not changed:
        sys.stdout.write("Nothing changed: all of it was set so already.\n")
    else:
        users = sum(each is not None for each in changed)
        parts = (["the global configuration"] if None in changed else []) + ([f"{users} of users"] if users else [])
        sys.stdout.write(f"Changed {' and '.join(parts)}; see `shadowbook config history`.\n")


def history(
    user: UserOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most this many versions.")] = 50,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List versions as decisions name them, and what each changed. The youngest comes first."""
    from libs.common.db.settings import find_user
    from libs.common.db.settings_view import read_history

    async def work(connection: "AsyncConnection") -> "list[Change]":
        owner = None if user is None else await find_user(connection, user)
        return await read_history(connection, owner, everybody=user is None, limit=limit)

    found = look(data_dir, "config history", work)
    if as_json:
        sys.stdout.write(json.dumps([each.model_dump(mode="json") for each in found]) + "\n")
        return
    for each in found:
        moved = ", ".join(f"{name} {_shown(old)} -> {_shown(new)}" for name, (old, new) in each.changes.items())
        whose = each.user or "global"
        sys.stdout.write(f"{each.version:>6}  {each.effective_at:%Y-%m-%d %H:%M:%S}  {whose:<16} {moved or 'first'}\n")


def _standard_input() -> dict[str, Any]:
    from decimal import Decimal

    from libs.common.domain.errors import Rejected

    try:
        found = json.load(sys.stdin, parse_float=Decimal)
    except ValueError as error:
        raise Rejected(f"standard input: expected JSON: {error}") from error
    if not isinstance(found, dict):
        raise Rejected(f"standard input: expected a JSON object, got {type(found).__name__}")
    return found


def _shown(value: object) -> str:
    if isinstance(value, list):
        return (
            f"{len(value)} markets" if len(value) > SHOWN_LIST else ", ".join(str(each)[:10] for each in value) or "-"
        )
    return "-" if value is None else str(value)
