"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="SHADOWBOOK_DATA_DIR", help="The stack's data directory (./var if left out)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
