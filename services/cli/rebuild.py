"""`shadowbook rebuild`: recompute positions, portfolios and minute snapshots from entries, and repair what differs."""

import asyncio
import json
import sys
from typing import Annotated, Any, Final

import typer

from libs.common.domain.kinds import Scope
from services.cli.options import DataDirOption, JsonOption

EXIT_DIFFERS: Final = 1
SHOWN_MAX: Final = 50


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rebuild")(rebuild)


def rebuild(
    scope: Annotated[
        Scope | None, typer.Option("--scope", help="Only portfolios of this kind; all if left out.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare and tell; write nothing.")] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Put right what is not as the ledger's entries say. The projection is recomputed and compared with the live rows.

    Entries are never changed. Works with the stack up or down. Exit 0: everything is as its entries say, or is so now;
    1: with --dry-run, something differs.
    """
    from services.cli.stack import session
    from services.ledger import commands

    with session(data_dir, command="rebuild") as visit:
        found = asyncio.run(commands.rebuild(visit.database_url, scope, dry_run=dry_run))
    if as_json:
        sys.stdout.write(json.dumps(_document(found), indent=1) + "\n")
    else:
        counted = ((found.positions, "positions"), (found.portfolios, "portfolios"), (found.snapshots, "minutes"))
        sys.stdout.write(f"Compared {', '.join(f'{count:,} {what}' for count, what in counted)} with their entries.\n")
        for each in found.changes[:SHOWN_MAX]:
            sys.stdout.write(f"  {each.portfolio_id} {each.what}: {each.kept} -> {each.rebuilt}\n")
        if len(found.changes) > SHOWN_MAX:
            sys.stdout.write(f"  and {len(found.changes) - SHOWN_MAX:,} more; --json has them all\n")
        done = "were rebuilt" if found.applied else "differ; nothing was written"
        sys.stdout.write(f"{len(found.changes):,} rows {done}.\n" if found.changes else "Nothing differs.\n")
    return EXIT_DIFFERS if found.changes and not found.applied else 0


def _document(found: Any) -> dict[str, Any]:
    changes = [
        {"portfolio_id": str(each.portfolio_id), "what": each.what, "kept": each.kept, "rebuilt": each.rebuilt}
        for each in found.changes
    ]
    counts = {name: getattr(found, name) for name in ("positions", "portfolios", "assets", "snapshots")}
    return {"applied": found.applied, "compared": counts, "changes": changes}
