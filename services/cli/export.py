"""`shadowbook export KIND`: stream every row of a KIND as JSON lines or CSV, with the stack up or down.

Micros stay integers, times are `YYYY-MM-DDTHH:MM:SS.ffffffZ`, arrays and documents JSON (in CSV too), nulls empty.
"""

import asyncio
import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO
from uuid import UUID

import orjson
import typer

from libs.common.db.engine import make_engine
from libs.common.db.exports import EXPORTS, Rows, open_rows
from services.cli.errors import CommandError
from services.cli.options import DataDirOption
from services.cli.stack import session


class Format(StrEnum):
    """How rows are written."""

    JSONL = "jsonl"
    CSV = "csv"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"What to export: {', '.join(EXPORTS)}.")],
    output_format: Annotated[Format, typer.Option("--format", help="jsonl or csv.")] = Format.JSONL,
    out: Annotated[Path | None, typer.Option("--out", help="File to write; standard output if left out.")] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Stream every row of a KIND, also with the stack down."""
    if kind not in EXPORTS:
        raise CommandError(f"KIND {kind!r} is not known: choose one of {', '.join(EXPORTS)}")
    with _opened(out) as stream, session(data_dir, command="export") as visit:
        count = asyncio.run(write_rows(visit.database_url, kind, output_format, stream))
    if out is not None:
        sys.stderr.write(f"{count:,} rows of {kind} in {out}\n")


async def write_rows(database_url: str, kind: str, output_format: Format, stream: TextIO) -> int:
    """Write all rows of a KIND; returns how many there were."""
    engine = make_engine(database_url, application="shadowbook-export", pool_size=1)
    count = 0
    try:
        async with open_rows(engine, kind) as (columns, chunks):
            if output_format is Format.CSV:
                csv.writer(stream, lineterminator="\n").writerow(columns)
            async for rows in chunks:
                if output_format is Format.CSV:
                    _write_csv(stream, rows)
                else:
                    _write_json_lines(stream, columns, rows)
                count += len(rows)
    finally:
        await engine.dispose()
    return count


def _write_json_lines(stream: TextIO, columns: Sequence[str], rows: Rows) -> None:
    for row in rows:
        values = {name: _plain(value) for name, value in zip(columns, row, strict=True)}
        stream.write(orjson.dumps(values).decode() + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant_text(value)
    if isinstance(value, Decimal):
        return orjson.Fragment(f"{value:f}")
    return str(value) if isinstance(value, UUID) else value  # the driver's own kind of UUID is unknown to the encoder


def _write_csv(stream: TextIO, rows: Rows) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([[_cell(value) for value in row] for row in rows])


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return instant_text(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return orjson.dumps(value).decode()
    return value


def instant_text(moment: datetime) -> str:
    """Return a UTC-aware time as `YYYY-MM-DDTHH:MM:SS.ffffffZ`."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    """Yield standard output, or a file that appears under its name only once it is complete."""
    if out is None:
        yield sys.stdout
        return
    if out.is_dir() or not out.name:
        raise CommandError(f"--out {out} cannot be written (it is a folder): choose another file")
    partial = out.with_name(f".{out.name}.partial")
    try:
        stream = partial.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise CommandError(f"--out {out} cannot be written ({error.strerror}): choose another file") from error
    try:
        with stream:
            yield stream
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
