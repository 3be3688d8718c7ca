"""`shadowbook backfill`: read again what wallets did in the last hours; ingest does it, this asks and watches."""

import asyncio
import io
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from services.cli.errors import CommandError
from services.cli.options import DataDirOption, JsonOption, hours_up_to

if TYPE_CHECKING:
    from services.ingest.commands import Backfill

EXIT_INCOMPLETE, EXIT_INTERRUPTED = 1, 130
HOURS_MAX: Final = 3 * 365 * 24
WAITING_WIDTH: Final = 60


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("backfill")(backfill)


def backfill(
    hours: Annotated[
        int, typer.Option("--hours", parser=hours_up_to(HOURS_MAX), metavar="N", help="How far back to read.")
    ],
    user: Annotated[
        str | None, typer.Option("--user", help="Name of a followed user, a followed wallet or its profile URL.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every followed wallet.")] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Read a user's last hours again and record what was missed. The stack must be up.

    What is known already stays as it is. Ingest does the work within the shared request budget, and goes on with it
    when this command is interrupted; the same command again shows how far it is. Fills from before the follow are
    kept, not booked. Exit 0 when all was read, 1 when something could not be.
    """
    from services.cli.stack import session

    if (user is None) != every:
        raise CommandError("expected either --user NAME or --all")
    with session(data_dir, command="backfill", require_up=True) as visit:
        try:
            states = asyncio.run(_watch(visit.database_url, user, hours, show=not as_json))
        except ValueError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            sys.stderr.write("\nNo longer watching; ingest goes on. The same command shows how far it is.\n")
            return EXIT_INTERRUPTED
    failed = [state for state in states if state.error]
    if as_json:
        sys.stdout.write(json.dumps({"ok": not failed, "wallets": [_document(state) for state in states]}) + "\n")
    else:
        rows, new = sum(state.rows for state in states), sum(state.new for state in states)
        many = "1 wallet" if len(states) == 1 else f"{len(states)} wallets"
        sys.stdout.write(f"Read {rows:,} rows of the last {hours} h of {many}; {new:,} events were new.\n")
        sys.stdout.writelines(f"not complete: {state.wallet}: {state.error}\n" for state in failed)
    return EXIT_INCOMPLETE if failed else 0


async def _watch(database_url: str, user: str | None, hours: int, *, show: bool) -> "Sequence[Backfill]":
    from services.ingest import commands

    seen: Sequence[Backfill] = ()
    hidden = None if show else io.StringIO()
    with typer.progressbar(length=1000, file=hidden or sys.stderr, label=f"last {hours} h") as bar:
        async for states in commands.backfill(database_url, user, hours):
            seen = states
            bar.label = f"last {hours} h, {_said(states)}"
            bar.update(sum(state.done_permille for state in states) // len(states) - bar.pos)
    return seen


def _said(states: "Sequence[Backfill]") -> str:
    """Tell what has been read so far, and what the first that waits is waiting for."""
    errors = [state.error for state in states if state.error and not state.finished_at]
    rows = f"{sum(state.rows for state in states):,} rows"
    return f"{rows}; waiting: {errors[0][:WAITING_WIDTH]}" if errors else rows


def _document(state: "Backfill") -> dict[str, Any]:
    return {
        "wallet": state.wallet,
        "from": state.first.isoformat(),
        "to": state.last.isoformat(),
        "rows": state.rows,
        "new": state.new,
        "error": state.error,
    }
