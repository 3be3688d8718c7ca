"""The `shadowbook` command: finds the command's module, runs it, and turns errors into one line and an exit code.

0 done, 1 something failed, 2 the request was wrong and nothing was changed; commands that say more document it.
"""

import importlib
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any, Final, NoReturn, cast

import typer

from libs.common.domain.errors import ShadowbookError, Unavailable
from services.cli.errors import CommandError

MODULES: Final = {
    "up": "services.cli.up",
    "down": "services.cli.down",
    "status": "services.cli.status",
    "logs": "services.cli.logs",
    "login": "services.cli.login",
    "follow": "services.cli.follow",
    "unfollow": "services.cli.follow",
    "backfill": "services.cli.backfill",
    "export": "services.cli.export",
    "verify": "services.cli.verify",
    "rebuild": "services.cli.rebuild",
    "explain": "services.cli.explain",
    "replay": "services.cli.replay",
    "skips": "services.cli.skips",
    "coverage": "services.cli.coverage",
    "gap": "services.cli.gap",
    "deposit": "services.cli.flows",
    "withdraw": "services.cli.flows",
    "test-config": "services.cli.trying",
    "dlq": "services.cli.dlq",
    "probe": "services.cli.probe",
    "config": "services.cli.config",
    "blacklist": "services.cli.blacklist",
    "breaker": "services.cli.breaker",
    "pause": "services.cli.control",
    "resume": "services.cli.control",
    "enable": "services.cli.control",
    "disable": "services.cli.control",
}
"""Commands and the modules that register them; only the one that was asked for is imported."""

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
HELP: Final = "Usage: "
"""How the help begins that typer raises as a problem where no command is given."""
UsageProblem: Final = cast("type[Exception]", typer.BadParameter.__mro__[2])
"""What typer raises for anything wrong on the command line; it has no public name there."""


def application(arguments: Iterable[str]) -> typer.Typer:
    """Return the application with the command these arguments name, or with all of them."""
    app = typer.Typer(
        name="shadowbook",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_shadowbook)
    named = next((argument for argument in arguments if not argument.startswith("-")), None)
    wanted = [MODULES[named]] if named in MODULES else list(dict.fromkeys(MODULES.values()))
    for module in wanted:
        importlib.import_module(module).register(app)
    return app


def _shadowbook() -> None:
    """Follow Polymarket wallets and see, on paper, what copying them would have earned."""


def main() -> NoReturn:
    """Run the command named by the arguments and exit with its code."""
    arguments = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that what is open gets closed
    try:
        code = application(arguments)(arguments, prog_name="shadowbook", standalone_mode=False)
        sys.stdout.flush()
    except UsageProblem as problem:
        _show(problem)
        sys.exit(EXIT_USAGE)
    except CommandError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except ShadowbookError as error:
        _complain(str(error))
        sys.exit(EXIT_FAILED if isinstance(error, Unavailable) else EXIT_USAGE)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


def _show(problem: Any) -> None:
    """Say in one line what is wrong and where help is; a command that only groups others is answered with its help."""
    text, path = problem.format_message(), getattr(getattr(problem, "ctx", None), "command_path", "shadowbook")
    if text.startswith(HELP):
        sys.stderr.write(f"{text}\n")
    else:
        _complain(f"{' '.join(text.split())} (see `{path} --help`)")


def _complain(text: str) -> None:
    sys.stderr.write(f"shadowbook: {text}\n")


if __name__ == "__main__":
    main()
