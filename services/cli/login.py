"""`shadowbook login`: a new one-time link to the dashboard."""

import asyncio
import json
import sys

import typer

from services.cli.options import DataDirOption, JsonOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("login")(login)


def login(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Print a login link that works once, within ten minutes."""
    from services.cli.stack import session
    from services.cli.stack.assembly import dashboard_url
    from services.cli.stack.data_dir import Memory
    from services.ui.commands import new_login_link

    with session(data_dir, command="login", require_up=True) as visit:
        memory = Memory(visit.data_dir.root / "stack.json")
        link = asyncio.run(new_login_link(visit.database_url, dashboard_url(memory)))
    sys.stdout.write((json.dumps({"url": link}) if as_json else link) + "\n")
