"""`shadowbook status`: processes, streams, addresses. Exit 0: all runs; 1: something does not; 3: the stack is down."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import typer

from services.cli.options import DataDirOption, JsonOption

EXIT_IMPAIRED, EXIT_DOWN = 1, 3


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(data_dir: DataDirOption = None, as_json: JsonOption = False) -> int:
    """Show what runs, what waits and where to look."""
    report = _report(data_dir)
    sys.stdout.write(json.dumps(report, indent=1) + "\n" if as_json else _text(report))
    if not report["processes"]:
        return EXIT_DOWN
    return 0 if all(process["state"] == "RUNNING" for process in report["processes"]) else EXIT_IMPAIRED


def _report(root: Path | None) -> dict[str, Any]:
    from services.cli.stack.assembly import dashboard_url
    from services.cli.stack.data_dir import Memory, chosen_root, existing_data_dir, load_secrets
    from services.cli.stack.endpoints import endpoints, without_password
    from services.cli.stack.processes import processes

    data_dir = existing_data_dir(chosen_root(root))
    memory = Memory(data_dir.root / "stack.json")
    where = endpoints(memory.ports, load_secrets(data_dir))
    running = processes(data_dir, memory)
    return {
        "processes": running,
        "streams": _streams(where.redis_urls["operator"]) if running else [],
        "database_url": without_password(where.database_urls["operator"].replace("+asyncpg", "")),
        "redis_url": without_password(where.redis_urls["operator"]),
        "dashboard_url": dashboard_url(memory),
    }


def _streams(redis_url: str) -> list[dict[str, Any]]:
    from libs.common.bus.status import stream_status
    from libs.common.domain.errors import Unavailable

    try:
        rows = asyncio.run(stream_status(redis_url))
    except Unavailable as error:
        sys.stderr.write(f"shadowbook: streams are not known: {error}\n")
        return []
    return [
        {"name": row.name, "group": row.group, "lag": row.lag, "pending": row.pending, "dead": row.dead} for row in rows
    ]


def _text(report: dict[str, Any]) -> str:
    if not report["processes"]:
        return "The stack is down.\n"
    lines = [f"{'PROCESS':<18}{'STATE':<10}{'PID':>8}{'UP':>9}{'PSS':>9}"]
    for row in report["processes"]:
        uptime = f"{row['uptime_s'] // 3600}:{row['uptime_s'] // 60 % 60:02}:{row['uptime_s'] % 60:02}"
        lines.append(f"{row['name']:<18}{row['state']:<10}{row['pid']:>8}{uptime:>9}{row['pss_bytes'] / 1e6:>6.0f} MB")
    total = sum(row["pss_bytes"] for row in report["processes"])
    lines.append(f"{'':<45}{total / 1e6:>6.0f} MB\n")
    lines.append(f"{'STREAM':<22}{'GROUP':<18}{'LAG':>7}{'PENDING':>9}{'DEAD':>6}")
    lines += [
        f"{row['name']:<22}{row['group']:<18}{row['lag']:>7}{row['pending']:>9}{row['dead']:>6}"
        for row in report["streams"]
    ]
    lines.append(
        f"\nDashboard {report['dashboard_url']}\nDatabase  {report['database_url']}\nBus       {report['redis_url']}\n"
    )
    return "\n".join(lines)
