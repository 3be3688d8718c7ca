"""The `shadowbook` command: finds the command's module, runs it, and turns errors into one line and an exit code.

0 done, 1 something failed, 2 the request was wrong and nothing was changed; commands that say more document it.
"""

import importlib
import os
import select
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
EXIT_UNREAD: Final = 128 + signal.SIGPIPE
"""What a shell says of a program whose reader, `head` say, had seen enough."""
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
        code = _run(arguments)
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
    except BrokenPipeError:
        if not _is_unread(sys.stdout.fileno()):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_UNREAD)
    sys.exit(code if isinstance(code, int) else 0)


def _run(arguments: list[str]) -> object:
    """Run the command and return what it returns; typer's own way would make a failure of a closed pipe."""
    command = typer.main.get_command(application(arguments))
    try:
        with command.make_context("shadowbook", list(arguments)) as context:
            return command.invoke(context)
    except typer.Exit as done:  # help was asked for
        return done.exit_code


def _is_unread(descriptor: int) -> bool:
    """Tell whether a pipe has no reader any more."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


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
