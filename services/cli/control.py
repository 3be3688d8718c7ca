"""`shadowbook pause`, `resume`, `enable`, `disable`: switches that count from the next decision on."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.intents import actor, control_changed, write
from services.cli.options import DataDirOption, JsonOption

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from libs.common.db.switches import Switch

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="Name or id of a followed user.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("pause")(pause)
    app.command("resume")(resume)
    app.command("enable")(enable)
    app.command("disable")(disable)


def pause(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Stop copying. Trades are seen and shadowed all the same; every group is skipped until `resume`."""
    _turn_pause(True, data_dir, as_json)


def resume(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Copy again."""
    _turn_pause(False, data_dir, as_json)


def enable(user: UserArgument, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Copy a user again."""
    _turn_user(user, True, data_dir, as_json)


def disable(user: UserArgument, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Stop copying a user. They are shadowed all the same; `unfollow` ends that, too."""
    _turn_user(user, False, data_dir, as_json)


def _turn_pause(paused: bool, data_dir: DataDirOption, as_json: bool) -> None:
    from libs.common.db import switches

    async def work(connection: "AsyncConnection") -> "Switch":
        return await switches.set_paused(connection, paused, actor())

    switch = write(data_dir, "pause" if paused else "resume", work, lambda _: control_changed(switches.PAUSE))
    _say({"paused": switch.on}, switch, "Copying is paused" if switch.on else "Copying", as_json)


def _turn_user(name: str, enabled: bool, data_dir: DataDirOption, as_json: bool) -> None:
    from uuid import UUID

    from libs.common.db import switches
    from libs.common.db.settings import find_user, read_layers

    async def work(connection: "AsyncConnection") -> "tuple[UUID, str, Switch]":
        user = await find_user(connection, name)
        label = (await read_layers(connection)).labels[user]
        return user, label, await switches.set_enabled(connection, user, label, enabled, actor())

    command = "enable" if enabled else "disable"
    _, label, switch = write(data_dir, command, work, lambda found: control_changed(switches.disabled_key(found[0])))
    words = f"{label} is shadowed, not copied" if switch.on else f"{label} is copied"
    _say({"user": label, "enabled": not switch.on}, switch, words, as_json)


def _say(values: dict[str, object], switch: "Switch", words: str, as_json: bool) -> None:
    if as_json:
        since = switch.since.isoformat(timespec="seconds") if switch.since else None
        sys.stdout.write(json.dumps({**values, "since": since, "by": switch.by}) + "\n")
    elif switch.since:
        sys.stdout.write(f"{words}, since {switch.since:%Y-%m-%d %H:%M:%S} UTC by {switch.by}.\n")
    else:
        sys.stdout.write(f"{words}.\n")
