"""`shadowbook logs`: what the processes wrote, of one or of all, and on request what they write from now on."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TextIO

import typer

from services.cli.errors import CommandError
from services.cli.options import DataDirOption

LOOK_INTERVAL_SECONDS = 0.3
LINES_DEFAULT = 20
LINES_MAX = 100_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("logs")(logs)


def logs(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A process, as `shadowbook status` lists it.")
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=LINES_MAX, help="How many lines of each.")
    ] = LINES_DEFAULT,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    data_dir: DataDirOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line: process, line.")] = False,
) -> None:
    """Print the last lines of the processes' logs."""
    from services.cli.stack.data_dir import chosen_root, existing_data_dir
    from services.cli.stack.readiness import tail

    folder = existing_data_dir(chosen_root(data_dir)).logs
    files = sorted(folder.glob("*.log")) if name is None else [folder / f"{name}.log"]
    if name is not None and not files[0].exists():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.log")))
        raise CommandError(f"no log of {name!r} in {folder}: choose one of {known or 'none yet'}")
    prefixed = len(files) > 1
    ends = {file: file.stat().st_size for file in files}
    for file in files:
        for line in tail(file, lines):
            _write(file.stem, line, prefixed=prefixed, as_json=as_json)
    sys.stdout.flush()
    if follow:
        _follow(ends, prefixed=prefixed, as_json=as_json)


def _follow(ends: dict[Path, int], *, prefixed: bool, as_json: bool) -> None:
    opened: dict[Path, TextIO] = {file: file.open(errors="replace") for file in ends}
    for file, end in ends.items():
        opened[file].seek(end)
    while True:
        for file in opened:
            for line in _new_lines(file, opened):
                _write(file.stem, line.rstrip("\n"), prefixed=prefixed, as_json=as_json)
        sys.stdout.flush()
        time.sleep(LOOK_INTERVAL_SECONDS)


def _new_lines(file: Path, opened: dict[Path, TextIO]) -> Iterator[str]:
    yield from opened[file]
    if file.exists() and file.stat().st_size < opened[file].tell():  # rotated: go on in the new file
        opened[file].close()
        opened[file] = file.open(errors="replace")
        yield from opened[file]


def _write(name: str, line: str, *, prefixed: bool, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"process": name, "line": line}) + "\n")
    else:
        sys.stdout.write(f"{name:<16} | {line}\n" if prefixed else line + "\n")
