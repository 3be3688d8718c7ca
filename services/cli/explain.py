"""`shadowbook explain ATTEMPT`: one decision taken apart, from its inputs to its fills. Exit 2 if it means nothing."""

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.errors import CommandError
from services.cli.options import DataDirOption, JsonOption

if TYPE_CHECKING:
    from services.simulator.commands import AmbiguousError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


def explain(
    attempt: Annotated[
        str,
        typer.Argument(
            metavar="ATTEMPT", help="An attempt's or a group's id, its first 8 or more digits, or a transaction's hash."
        ),
    ],
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take one decision apart. Shows each check with its numbers, the book level by level, and the result.

    A group's id shows its attempts in both scopes, a hash those on all trades of that transaction. Works with the
    stack up or down.

    JSON: attempts, each described in libs/common/domain/explanation.py.
    """
    from services.cli.stack import session
    from services.simulator import commands

    try:
        with session(data_dir, command="explain") as visit:
            found = asyncio.run(commands.explain_attempts(visit.database_url, attempt))
    except commands.AmbiguousError as error:
        raise CommandError(_candidates(error)) from error
    if as_json:
        document = {"attempts": [each.model_dump(mode="json") for each in found]}
        sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        return
    from services.cli.explain_text import printed
    from services.cli.printing import show

    show(printed(found))


def _candidates(error: "AmbiguousError") -> str:
    lines = [
        f"  {each.id}  {each.scope:<11}  {each.decided_at:%Y-%m-%d %H:%M:%S}  {each.user}  {each.side or each.kind}  "
        f"{each.decision} {' '.join(each.reasons)}".rstrip()
        for each in error.candidates
    ]
    return "\n".join([str(error), *lines])
