"""`shadowbook follow` and `unfollow`: whose fills are shadowed and copied."""

import asyncio
import json
import sys
from typing import Annotated, Any

import typer

from services.cli.errors import CommandError
from services.cli.options import DataDirOption, JsonOption

WalletArgument = Annotated[str, typer.Argument(metavar="WALLET_OR_URL", help="0x... (40 hex digits) or a profile URL.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("follow")(follow)
    app.command("unfollow")(unfollow)


def follow(
    wallet: WalletArgument,
    user: Annotated[
        str | None, typer.Option("--user", help="Name of the followed user; made from the wallet if left out.")
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow a wallet. With the name of a followed user it becomes a further wallet of theirs."""
    from services.cli.stack import session
    from services.ingest import commands

    with session(data_dir, command="follow", require_up=True) as visit:
        try:
            followed = asyncio.run(commands.follow(visit.database_url, wallet, user))
        except ValueError as error:
            raise CommandError(str(error)) from error
    sentence = f"Following {followed}." if followed.new else f"Already following {followed}; nothing changed."
    _say({"user": followed.label, "wallet": followed.follow.wallet, "new": followed.new}, sentence, as_json=as_json)


def unfollow(
    user: Annotated[str, typer.Argument(metavar="WALLET_OR_USER", help="A followed wallet, or the name of its user.")],
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop following; history and positions are kept."""
    from services.cli.stack import session
    from services.ingest import commands

    with session(data_dir, command="unfollow", require_up=True) as visit:
        try:
            wallets = asyncio.run(commands.unfollow(visit.database_url, user))
        except ValueError as error:
            raise CommandError(str(error)) from error
    named = ", ".join(wallets)
    _say({"unfollowed": wallets}, f"No longer following {named}; history and positions are kept.", as_json=as_json)


def _say(values: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    sys.stdout.write((json.dumps(values) if as_json else sentence) + "\n")
