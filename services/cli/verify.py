"""`shadowbook verify`: do the books add up? Exit 0 if every invariant holds, 1 if one does not."""

import asyncio
import json
import sys

import typer

from services.cli.options import DataDirOption, JsonOption

EXIT_VIOLATED = 1


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(data_dir: DataDirOption = None, as_json: JsonOption = False) -> int:
    """Check every invariant of the books, with the stack up or down."""
    from services.cli.stack import session
    from services.ledger import commands

    with session(data_dir, command="verify") as visit:
        report = asyncio.run(commands.verify(visit.database_url))
    if as_json:
        checks = [
            {"name": check.name, "compared": check.compared, "unit": check.unit, "violated": check.violated}
            for check in report.checks
        ]
        sys.stdout.write(json.dumps({"ok": report.ok, "checks": checks, "violations": list(report)}, indent=1) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in report.lines())
        sys.stdout.write("The books add up.\n" if report.ok else "The books do NOT add up.\n")
    return 0 if report.ok else EXIT_VIOLATED
