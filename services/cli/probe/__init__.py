"""`shadowbook probe`: can Shadowbook work with what the exchange answers? Exit 0: yes; 1: no; 2: wrong arguments.

Every endpoint is read once; nothing is written, and neither a stack nor a database is needed.
"""

import asyncio
import json
import re
import sys
from typing import Annotated

import typer

from services.cli.errors import CommandError
from services.cli.options import DataDirOption, JsonOption

EXIT_UNUSABLE = 1


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("probe")(probe)


def probe(
    live: Annotated[bool, typer.Option("--live", help="The real exchange, whatever stack there is here.")] = False,
    wallet: Annotated[
        str | None, typer.Option("--wallet", help="Ask about this wallet (else who traded last).")
    ] = None,
    token: Annotated[str | None, typer.Option("--token", help="Ask about this token (else what traded last).")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Ask every upstream endpoint once, read-only. Tells what works, what changed and what that settles."""
    from services.cli.probe.run import Wishes, run
    from services.cli.probe.targets import choose_target

    if wallet is not None and not re.fullmatch(r"0x[0-9a-fA-F]{40}", wallet):
        raise CommandError(f"--wallet: expected 0x and 40 hex digits, got {wallet!r:.60}")
    if token is not None and not re.fullmatch(r"[1-9][0-9]{0,77}", token):
        raise CommandError(f"--token: expected a decimal token id, got {token!r:.60}")
    target = choose_target(data_dir, live=live)
    report = asyncio.run(run(target, Wishes(wallet.lower() if wallet else None, token)))
    sys.stdout.write(json.dumps(report.document(), indent=1) + "\n" if as_json else report.text())
    return 0 if report.usable else EXIT_UNUSABLE
